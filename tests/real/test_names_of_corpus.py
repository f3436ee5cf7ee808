"""Names of real series: what scanners of four vendors put into one series, or spread over several.

Each case: a folder of one study, the name that a heuristic gives to series by their key, and what each volume
is called then. What is expected was read from the headers: component from ImageType and the vendors' private
elements, echo times, directions from the affine.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path

import pydicom
import pytest

from pacs2bids.model import NamingRules, PlanError, StudyIndex
from pacs2bids.plan import SessionPlan, plan_session
from pacs2bids.session import Answer, Answers
from pacs2bids.store import index_study

Corpus = Callable[[str], Path]
BY_TIME = NamingRules(runs="several")


@dataclass(frozen=True, slots=True, kw_only=True)
class Case:
    """``said``: series key -> name. ``names``: stack -> name; "" if it must have none."""

    folder: str
    said: dict[str, str]
    names: dict[str, str]
    rules: NamingRules = field(default=BY_TIME)


CASES = {
    "Siemens, magnitudes of two echoes and their difference": Case(
        folder="fmap/Siemens",
        said={
            "002": "fmap/magnitude",
            "003": "fmap/phasediff",
            "005": "fmap/magnitude",
            "004": "fmap/phasediff",
        },
        names={
            "002-1": "run-1_magnitude1",
            "002-2": "run-1_magnitude2",
            "003-1": "run-1_phasediff",
            "004-1": "run-2_phasediff",
            "005-1": "run-2_magnitude1",
            "005-2": "run-2_magnitude2",
        },
    ),
    "Siemens XA, the same": Case(
        folder="xa30",
        said={"008": "fmap/magnitude1", "009": "fmap/phasediff"},
        names={"008-1": "magnitude1", "008-2": "magnitude2", "009-1": "phasediff"},
    ),
    "GE, a map in Hz and its magnitude": Case(
        folder="fmap/GE",
        said={"002": "fmap/fieldmap"},
        names={"002-1": "fieldmap", "002-2": "magnitude"},
    ),
    "Philips, a map in Hz and its magnitude": Case(
        folder="fmap/Philips",
        said={"801": "fmap/magnitude"},
        names={"801-1": "magnitude", "801-2": "fieldmap"},
    ),
    "GE, two polarities in one series": Case(
        folder="polar",
        said={"006": "fmap/epi"},
        names={"006-1": "dir-AP_epi", "006-2": "dir-PA_epi"},
    ),
    "Philips, two echoes with magnitude and phase, as a field map": Case(
        folder="table/Ph",
        said={"1301": "fmap/magnitude1"},
        names={"1301-1": "magnitude1", "1301-2": "magnitude2", "1301-3": "phase1", "1301-4": "phase2"},
    ),
    "Philips, the same as an anatomical scan": Case(
        folder="table/Ph",
        said={"1301": "anat/MEGRE"},
        names={
            "1301-1": "echo-1_part-mag_MEGRE",
            "1301-2": "echo-2_part-mag_MEGRE",
            "1301-3": "echo-1_part-phase_MEGRE",
            "1301-4": "echo-2_part-phase_MEGRE",
        },
    ),
    "Siemens XA, maps under the name of what they come from": Case(
        folder="xa30",
        said={f"{number:03d}": "dwi/dir-PA_dwi" for number in (10, 11, 12, 13, 14, 16)},
        names={
            "010-1": "dir-PA_dwi",
            "011-1": "dir-PA_ADC",
            "012-1": "dir-PA_trace",
            "013-1": "dir-PA_FA",
            "014-1": "dir-PA_colFA",
            "016-1": "",
        },
        rules=NamingRules(computed_maps="name"),
    ),
    "Philips, a map beside the diffusion volumes of its series": Case(
        folder="philips/Vanderbilt_2018",
        said={"601": "dwi/dwi"},
        names={"601-1": "dwi", "601-2": ""},
    ),
    "Siemens mosaics of opposed directions": Case(
        folder="dcm_qa/TotalReadoutTime",
        said={"008": "func/task-a_sbref", "009": "func/task-a_sbref", "010": "func/task-a_sbref"},
        names={
            "008-1": "task-a_dir-AP_run-1_sbref",
            "009-1": "task-a_dir-PA_sbref",
            "010-1": "task-a_dir-AP_run-2_sbref",
        },
    ),
}


@cache
def indexed(folder: Path) -> StudyIndex:
    """Of the one study in a folder."""
    first = next(path for path in sorted(folder.rglob("*")) if _is_dicom(path))
    uid = str(pydicom.dcmread(first, specific_tags=["StudyInstanceUID"]).StudyInstanceUID)
    return index_study(folder, uid)


def _is_dicom(path: Path) -> bool:
    return path.is_file() and path.read_bytes()[128:132] == b"DICM"


def planned(corpus: Corpus, folder: str, said: dict[str, str], rules: NamingRules) -> SessionPlan:
    top, _, rest = folder.partition("/")
    index = indexed(corpus(top) / rest)
    answers = []
    for series in index.series:
        name = said.get(series.series_key)
        if name is None:
            continue
        datatype, _, words = name.partition("/")
        answers.append(
            Answer(
                study_instance_uid=index.study_instance_uid,
                series_instance_uid=series.series_instance_uid,
                template=name,
                path=f"sub-01/{datatype}/sub-01_{words}",
            )
        )
    assert len(answers) == len(said)
    return plan_session(
        subject="01", session="", indexes=[index], answers=Answers(named=tuple(answers)), rules=rules
    )


@pytest.mark.parametrize("case", CASES.values(), ids=CASES.keys())
def test_names_follow_from_the_headers(corpus: Corpus, case: Case) -> None:
    plan = planned(corpus, case.folder, case.said, case.rules)
    found = {row.stack_id: row.bids_name.rpartition("/sub-01_")[2] for row in plan.rows}
    assert {stack: found[stack] for stack in case.names} == case.names


def test_maps_are_left_out_by_default(corpus: Corpus) -> None:
    plan = planned(corpus, "xa30", {"010": "dwi/dwi", "011": "dwi/dwi"}, NamingRules())
    reasons = {row.stack_id: row.reason for row in plan.rows}
    assert reasons["010-1"] == ""
    assert "DERIVED/PRIMARY/DIFFUSION/ADC" in reasons["011-1"]
    assert "_ADC" in reasons["011-1"]


def test_runs_that_were_cut_are_told(corpus: Corpus) -> None:
    """The corpus keeps 3 of 60 volumes of these (NumberOfTemporalPositions)."""
    said = {"010": "func/task-a_bold", "011": "func/task-a_bold"}
    rows = planned(corpus, "ge/SliceTiming", said, BY_TIME).rows
    told = {
        row.bids_name.rpartition("_task-")[2]: row.notes.partition(";")[0] for row in rows if row.bids_name
    }
    note = "short: 3 of the 60 volumes that its header promises"
    assert told == {"a_run-1_bold": note, "a_run-2_bold": note}


def test_one_acquisition_in_two_forms_is_no_two_runs(corpus: Corpus) -> None:
    """``sag/XA30`` holds one run as enhanced and as classic images."""
    said = {"005": "func/task-a_bold", "5001": "func/task-a_bold"}
    with pytest.raises(PlanError, match="is the name of 2 volumes"):
        planned(corpus, "sag/XA30", said, BY_TIME)
