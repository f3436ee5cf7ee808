"""Names that BIDS allows and facts contradict are told, once each."""

from __future__ import annotations

import pytest

from pacs2bids.model import NamingRules
from pacs2bids.naming import name_all
from pacs2bids.session import series_of
from planning import answer, index, stack

MAG, PHASE = {"component": "magnitude"}, {"component": "phase"}

# name, minute, facts of each series; what is told of it, or "" if nothing
CASES: dict[str, tuple[list[tuple[str, int, dict[str, object]]], str]] = {
    "a phase of another acquisition": (
        [("func/task-rest_bold", 3, MAG), ("func/task-rest_bold", 40, PHASE)],
        "named as parts of one image, but not measured together "
        "(series 001 (protocol 1) at 10:03:00, series 002 (protocol 2) at 10:40:00)",
    ),
    "a phase of its own series": (
        [("func/task-rest_bold", 3, MAG), ("func/task-rest_bold", 3, PHASE)],
        "",
    ),
    "a phase difference of another map": (
        [("fmap/magnitude1", 3, MAG), ("fmap/phasediff", 30, PHASE)],
        "named as files of one field map, but not measured together",
    ),
    "a phase difference after something else": (
        [("fmap/magnitude1", 3, MAG), ("anat/T1w", 4, {}), ("fmap/phasediff", 5, PHASE)],
        "named as files of one field map, but not measured together "
        "(series 001 (protocol 1) at 10:03:00, series 003 (protocol 3) at 10:05:00)",
    ),
    "a magnitude that is called a phase difference": (
        [("fmap/magnitude1", 3, MAG), ("fmap/phasediff", 3, MAG)],
        "series 002 (protocol 2) is named phasediff, but its header says magnitude",
    ),
    "a filtered picture that is called a run": (
        [("anat/run-1_T1w", 3, {}), ("anat/run-2_T1w", 3, {}), ("anat/run-3_T1w", 9, {})],
        "they are no runs, but need a 'rec-' (series 001 (protocol 1), series 002 (protocol 2))",
    ),
    "a phase that is called a magnitude": (
        [("fmap/magnitude1", 3, PHASE)],
        "series 001 (protocol 1) is named magnitude1, but its header says phase",
    ),
    "a phase that is called the magnitude part": (
        [("func/task-rest_part-mag_bold", 3, PHASE)],
        "series 001 (protocol 1) is named part-mag, but its header says phase",
    ),
    "another direction than it says": (
        [
            ("fmap/dir-PA_epi", 3, {"phase_encoding_direction": "j-"}),
            ("fmap/dir-AP_run-2_epi", 4, {"phase_encoding_direction": "j-"}),
            ("fmap/dir-blipup_epi", 5, {"phase_encoding_direction": "j-"}),
            ("fmap/dir-LR_epi", 6, {}),
        ],
        "series 001 (protocol 1) is named dir-PA, but its header says that phase encoding runs AP",
    ),
    "one task, spelt in two ways": (
        [
            ("func/task-Rest_bold", 3, {}),
            ("func/task-rest_bold", 5, {}),
            ("func/task-rest_run-2_bold", 7, {}),
        ],
        "task-Rest (series 001 (protocol 1)), task-rest (series 002 (protocol 2))",
    ),
    "echoes of a map, one after the other": (
        [("fmap/magnitude1", 3, MAG), ("fmap/magnitude2", 4, MAG), ("anat/T1w", 5, {})],
        "",
    ),
}


@pytest.mark.parametrize("case", CASES)
def test_what_names_and_facts_contradict_is_told_once(case: str) -> None:
    series, expected = CASES[case]
    groups = [
        [stack(n, acquired=f"2026-01-02T10:{minute:02d}:00", **facts)]  # type: ignore[arg-type]
        for n, (_, minute, facts) in enumerate(series, start=1)
    ]
    answers = [answer(n, name) for n, (name, _, _) in enumerate(series, start=1)]
    told = name_all([*series_of(index(*groups))], answers, "01", "a", NamingRules()).warnings
    assert [expected in one for one in told] == ([True] if expected else []), told
