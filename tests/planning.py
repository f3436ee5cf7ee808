"""Sessions made of records alone, to be planned: no pixels, no files."""

from __future__ import annotations

from collections.abc import Sequence

import pytest

from pacs2bids.bids import BidsName
from pacs2bids.model import (
    Json,
    Leftover,
    NamingRules,
    PlanError,
    SeriesInfo,
    Stack,
    StackFacts,
    StudyIndex,
)
from pacs2bids.model import Placement as Nowhere
from pacs2bids.plan import DEFAULT_RULES, SessionPlan, plan_session
from pacs2bids.session import Answer, Answers, Named, Series

Row = tuple[float, float, float, float]
Affine = tuple[Row, Row, Row, Row]

IDENTITY: Affine = ((1.0, 0, 0, 0), (0, 1.0, 0, 0), (0, 0, 1.0, 0), (0, 0, 0, 1.0))
STUDY = "1.2.3"


def stack(
    number: int,
    ordinal: int = 1,
    *,
    volumes: int = 1,
    grid: tuple[int, int, int] = (64, 64, 30),
    affine: Affine = IDENTITY,
    sidecar: dict[str, Json] | None = None,
    **facts: object,
) -> Stack:
    """A stack, acquired at as many minutes past ten as its series has for a number."""
    known: dict[str, object] = {"acquired": f"2026-01-02T10:{number:02d}:00"}
    return Stack(
        stack_id=f"{number:03d}-{ordinal}",
        series_instance_uid=f"{STUDY}.{number}",
        sop_instance_uids=(f"{STUDY}.{number}.{ordinal}",),
        shape=(*grid, volumes),
        affine_ras=affine,
        repetition_time_s=None,
        images=(),
        placement=Nowhere(image=(), tile_row=(), tile_column=(), slice=(), volume=()),
        rescale=(),
        gradients=None,
        facts=StackFacts(**(known | facts)),  # type: ignore[arg-type]
        sidecar=sidecar or {},
    )


def series(number: int, stacks: Sequence[Stack], *, study: str = STUDY) -> SeriesInfo:
    """The series of these stacks."""
    return SeriesInfo(
        series_key=f"{number:03d}",
        study_instance_uid=study,
        series_instance_uid=f"{study}.{number}",
        series_number=number,
        modality="MR",
        acquired=f"2026-01-02T10:{number:02d}:00",
        instances=max(len(stacks), 1),
        stack_ids=tuple(one.stack_id for one in stacks),
        example_path="x/y.dcm",
        dims=(64, 64, 30, 1),
        series_files=30,
        series_description=f"protocol {number}",
    )


def index(*groups: Sequence[Stack], leftovers: tuple[Leftover, ...] = ()) -> StudyIndex:
    """A study of one series a group."""
    infos = [series(int(group[0].stack_id[:3]), group) for group in groups]
    return StudyIndex(
        engine_version="0",
        study_instance_uid=STUDY,
        instances=1,
        series=tuple(infos),
        stacks=tuple(one for group in groups for one in group),
        leftovers=leftovers,
    )


def answer(
    number: int, name: str, *, chosen: int | None = None, study: str = STUDY, **more: object
) -> Answer:
    """What a heuristic says of a series, as "func/task-rest_bold"."""
    datatype, words = name.split("/")
    path = f"sub-01/ses-a/{datatype}/sub-01_ses-a_{words}"
    uid = f"{study}.{number}"
    return Answer(
        study_instance_uid=study,
        series_instance_uid=uid,
        template=name,
        path=path,
        stack=chosen,
        **more,  # type: ignore[arg-type]
    )


def planned(study: StudyIndex, *named: Answer, rules: NamingRules = DEFAULT_RULES) -> SessionPlan:
    """The plan of a session with this study."""
    answers = Answers(named=named)
    return plan_session(subject="01", session="a", indexes=[study], answers=answers, rules=rules)


def names(plan: SessionPlan) -> dict[str, str]:
    """Stack -> its name, from the entities on."""
    return {row.stack_id: row.bids_name.rpartition("_ses-a_")[2] for row in plan.rows}


def said(study: StudyIndex, *named: Answer) -> str:
    """The error of a plan."""
    with pytest.raises(PlanError) as caught:
        planned(study, *named)
    return str(caught.value)


def named_stack(stack: Stack, template: str, path: str) -> Named:
    """The one volume of a series that a heuristic named so."""
    info = SeriesInfo(
        series_key="001",
        study_instance_uid="1",
        series_instance_uid="1.2",
        series_number=1,
        modality="MR",
        acquired=None,
        instances=1,
        stack_ids=("001-1",),
        example_path="",
        dims=(1, 1, 1, 1),
        series_files=1,
    )
    answer = Answer(study_instance_uid="1", series_instance_uid="1.2", template=template, path=path)
    series = Series(info=info, stacks=(stack,), leftovers=(), refused=())
    return Named(series=series, stack=stack, answer=answer, name=BidsName.parse(path))
