"""One session, asked of a heuristic: its plan, what stands of it already, and why a series is called so."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from pacs2bids.dialects import ask, explain
from pacs2bids.files import read_record
from pacs2bids.metadata import Choices, Events, FieldMaps, Shims
from pacs2bids.model import NamingRules, PlacedSession, StudyIndex
from pacs2bids.plan import SessionPlan, plan_session
from pacs2bids.plan_text import Key, Names
from pacs2bids.roster import Session, indexes_of
from pacs2bids.session import Tried

if TYPE_CHECKING:
    from pacs2bids.config import Config


@dataclass(frozen=True, slots=True, kw_only=True)
class Asked:
    """What names are asked of, and how what it leaves open is decided."""

    heuristic: Path
    seqinfo: str
    rules: NamingRules
    choices: Choices
    on_heuristic_error: str = "fail"


def asked_of_config(config: Config) -> Asked:
    """As the configuration says, and the workflow asks."""
    return Asked(
        heuristic=config.heuristic,
        seqinfo=config.seqinfo,
        rules=config.naming,
        choices=Choices(
            fieldmaps=FieldMaps(config.fieldmaps),
            shims=Shims(config.fieldmap_shims),
            events=Events(config.events),
        ),
        on_heuristic_error=config.on_heuristic_error,
    )


@dataclass(frozen=True, slots=True, kw_only=True)
class Planned:
    """A session with its plan."""

    session: Session
    indexes: Sequence[StudyIndex]
    plan: SessionPlan


def plan_of(session: Session, asked: Asked, indexes: Sequence[StudyIndex] | None = None) -> Planned:
    """The plan of one session. ``indexes``: of its studies, where they are read already.

    Raises HeuristicError and PlanError.
    """
    indexes, labels = indexes or indexes_of(session), (session.subject, session.session)
    answers = ask(
        asked.heuristic,
        indexes,
        subject=labels[0],
        session=labels[1],
        folders=[study / "dicom" for study in session.studies],
        seqinfo=asked.seqinfo,
    )
    plan = plan_session(
        subject=labels[0],
        session=labels[1],
        indexes=indexes,
        answers=answers,
        rules=asked.rules,
        choices=asked.choices,
    )
    return Planned(session=session, indexes=indexes, plan=plan)


def placed_names(session: Session) -> Names:
    """What stands in the dataset: (StudyInstanceUID, stack_id) -> names."""
    record = session.folder / "placed.json" if session.folder else None
    if record is None or not record.exists():
        return {}
    names: dict[Key, set[str]] = {}
    placed = read_record(record, PlacedSession)
    for name, volume in placed.volumes.items():
        study, _, stack = volume.partition("/")
        names.setdefault((study, stack), set()).add(name)
    return names


def tried_of(planned: Planned, asked: Asked, series: tuple[str, str]) -> tuple[Tried, ...]:
    """What each place of the heuristic made of a series (StudyInstanceUID, SeriesInstanceUID)."""
    session = planned.session
    return explain(
        asked.heuristic,
        planned.indexes,
        subject=session.subject,
        session=session.session,
        folders=[study / "dicom" for study in session.studies],
        seqinfo=asked.seqinfo,
        series=series,
    )
