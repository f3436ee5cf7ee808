"""docs/rules.md: each of its recipes names a session as the page says, and its tables are complete."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import pytest

from pacs2bids.dialects.linting import lint
from pacs2bids.dialects.rules import ask
from pacs2bids.dialects.rules.facts import FACTS
from pacs2bids.dialects.rules.reading import OPERATORS, RULE_KEYS, RUNS
from pacs2bids.plan import plan_session
from rules_sessions import AXIAL, series, session, volume

PAGE = (Path(__file__).resolve().parents[2] / "docs" / "rules.md").read_text()

BACK, FORTH = volume(phase_encoding_direction="j"), volume(phase_encoding_direction="j-")
PHASE = volume(component="phase")
LONG, CUT = volume(shape=(64, 64, 30, 200)), volume(shape=(64, 64, 30, 37))
ASL = {"ArterialSpinLabelingType": "PCASL"}
WEIGHTED = volume(is_diffusion=True, phase_encoding_direction="j-", shape=(64, 64, 30, 60))

# recipe -> (series, and the name, or the reason, of each of its volumes; None: no name, whatever the reason)
SESSIONS: dict[int, list[tuple[Any, list[str | None]]]] = {
    1: [
        (series(1, "AAHead_Scout", volume(is_localizer=True), volume(is_localizer=True)), ["localizer"] * 2),
        (series(2, "t1_mprage_sag"), ["T1w"]),
        (
            series(3, "t1_mprage_sag", volume(image_type=("DERIVED", "SECONDARY", "MPR"))),
            ["reformatted by the scanner"],
        ),
    ],
    2: [
        (series(1, "fmri_task-faces_mb4", series_description="fmri_SBRef"), ["task-faces_run-1_sbref"]),
        (series(2, "fmri_task-faces_mb4", LONG), ["task-faces_run-1_bold"]),
        (series(3, "fmri_task-rest_mb4", LONG), ["task-rest_bold"]),
        (series(4, "fmri_task-faces_mb4", series_description="fmri_SBRef"), ["task-faces_run-2_sbref"]),
        (series(5, "fmri_task-faces_mb4", LONG), ["task-faces_run-2_bold"]),
    ],
    3: [
        (series(1, "se_epi_1", BACK), ["dir-PA_epi"]),
        (series(2, "se_epi_2", FORTH), ["dir-AP_epi"]),
        (series(3, "se_epi_3"), ["the heuristic does not name this series"]),
    ],
    4: [
        (
            series(1, "gre_field_mapping", volume(echo_time_s=0.00492), volume(echo_time_s=0.00738)),
            ["magnitude1", "magnitude2"],
        ),
        (series(2, "gre_field_mapping", PHASE), ["phasediff"]),
    ],
    5: [
        (series(1, "dwi_64", WEIGHTED), ["dir-AP_dwi"]),
        (
            series(2, "dwi_64", volume(is_diffusion_map=True)),
            ["computed by the scanner from the diffusion images"],
        ),
        (series(3, "dwi_PA", BACK), ["acq-dwi_dir-PA_epi"]),
    ],
    6: [
        (series(1, "t2_T2w", volume(image_type=("ORIGINAL", "PRIMARY", "M", "ND", "NORM"))), ["T2w"]),
        (series(2, "t2_T2w"), ["the copy without correction of intensity"]),
        (series(3, "MoCoSeries", is_motion_corrected=True), ["motion-corrected by the scanner"]),
    ],
    7: [
        (series(1, "fmri_nback", LONG), ["task-nback_run-1_bold"]),
        (series(2, "fmri_nback", CUT), [None]),
        (series(3, "fmri_nback", LONG), ["task-nback_run-2_bold"]),
    ],
    8: [
        (series(1, "t1_mp2rage", series_description="t1_mp2rage_INV1"), ["inv-1_MP2RAGE"]),
        (series(2, "t1_mp2rage", series_description="t1_mp2rage_INV2"), ["inv-2_MP2RAGE"]),
        (series(3, "t1_mp2rage", series_description="t1_mp2rage_UNI_Images"), ["UNIT1"]),
    ],
    9: [
        (
            series(1, "bold rest", volume(repetition_time_s=0.8), manufacturer="SIEMENS"),
            ["task-rest_acq-fast_bold"],
        ),
        (series(2, "bold rest", volume(repetition_time_s=2.0), manufacturer="SIEMENS"), [None]),
        (series(3, "bold rest", volume(repetition_time_s=0.8), manufacturer="Philips"), [None]),
    ],
    10: [
        (series(1, "pcasl_m0", volume(sidecar=ASL)), ["m0scan"]),
        (series(2, "pcasl", volume(sidecar=ASL, shape=(64, 64, 30, 40))), ["asl"]),
        (series(3, "relCBF", volume(sidecar=ASL, is_derived=True)), [None]),
    ],
}


def recipe(number: int) -> str:
    """The block of a recipe."""
    found = re.search(rf"^\*\*{number}\. .*?^```yaml\n(.*?)^```$", PAGE, re.DOTALL | re.MULTILINE)
    assert found, number
    return found[1]


@pytest.mark.parametrize("number", SESSIONS)
def test_recipe(tmp_path: Path, number: int) -> None:
    path = tmp_path / "recipe.yaml"
    path.write_text("rules:\n" + recipe(number))
    assert lint(path) == []
    index = session(*(one for one, _ in SESSIONS[number]))
    answers = ask(path, [index], subject="01", session="")
    plan = plan_session(subject="01", session="", indexes=[index], answers=answers)
    for (info, _), names in SESSIONS[number]:
        rows = [row for row in plan.rows if row.series_instance_uid == info.series_instance_uid]
        said = [row.bids_name.removeprefix("sub-01/").partition("/sub-01_")[2] for row in rows]
        told = [name or row.reason for name, row in zip(said, rows, strict=True)]
        assert [
            None if wanted is None and not name else name_or_reason
            for wanted, name, name_or_reason in zip(names, said, told, strict=True)
        ] == names


def test_what_recipe_9_says_in_the_sidecar(tmp_path: Path) -> None:
    path = tmp_path / "recipe.yaml"
    path.write_text("rules:\n" + recipe(9))
    answers = ask(path, [session(SESSIONS[9][0][0])], subject="01", session="")
    assert [one.metadata for one in answers.named] == [
        {"Instructions": "Keep your eyes open and look at the cross", "CogAtlasID": None}
    ]


def test_the_example_on_top(tmp_path: Path) -> None:
    path = tmp_path / "mine.yaml"
    path.write_text(re.findall(r"^```yaml\n(.*?)^```$", PAGE, re.DOTALL | re.MULTILINE)[0])
    assert lint(path) == []
    index = session(series(1, "my localizer"), series(2, "Rest", LONG), series(3, "rest", CUT))
    answers = ask(path, [index], subject="01", session="")
    assert [one.path for one in answers.named] == ["sub-01/func/sub-01_task-rest_bold"]
    assert [one.reason for one in answers.unanswered] == ["localizer", "not part of the study"]


def test_every_fact_and_key_stands_on_the_page() -> None:
    words = set(re.findall(r"[a-z_0-9]+", PAGE))
    assert {*FACTS, *RULE_KEYS, *OPERATORS, *RUNS} - words == set()


def test_the_page_tells_the_direction_as_the_volumes_of_this_test_have_it() -> None:
    """j of AXIAL grows towards anterior: "j" is encoded from posterior to anterior."""
    assert AXIAL[1][1] > 0
