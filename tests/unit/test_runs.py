"""Runs are numbered by time, short ones are marked, and references go with their runs."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st
from msgspec.structs import replace

from pacs2bids.model import Leftover, NamingRules, Reason, StudyIndex
from pacs2bids.plan import SessionPlan, plan_session
from pacs2bids.session import Answer, Answers
from planning import STUDY, answer, index, names, planned, said, stack

BY_TIME = NamingRules(runs="several")
BOLD = "func/task-rest_bold"


def at(minute: int) -> str:
    return f"2026-01-02T11:{minute:02d}:00"


def runs(*minutes: int, **facts: object) -> StudyIndex:
    """A series for each time, the first with series number 1."""
    groups = [[stack(n, acquired=at(m), **facts)] for n, m in enumerate(minutes, start=1)]  # type: ignore[arg-type]
    return index(*groups)


def all_called(study: StudyIndex, name: str, **more: object) -> list[Answer]:
    return [answer(series.series_number or 0, name, **more) for series in study.series]


# ------------------------------------------------------------------------------------------------ numbers


@given(minutes=st.permutations(range(5)), spoken=st.permutations(range(5)))
def test_runs_are_numbered_by_time_whatever_the_order_of_series_and_answers(
    minutes: list[int], spoken: list[int]
) -> None:
    study = runs(*minutes)
    answers = all_called(study, BOLD, run="several")
    plan = planned(study, *(answers[place] for place in spoken))
    expected = {f"{n:03d}-1": f"task-rest_run-{m + 1}_bold" for n, m in enumerate(minutes, start=1)}
    assert names(plan) == expected


@pytest.mark.parametrize(
    ("run", "name", "count", "expected"),
    [
        ("several", "anat/T1w", 1, ["T1w"]),
        ("always", "anat/T1w", 1, ["run-1_T1w"]),
        ("several", "anat/run-07_T1w", 1, ["run-01_T1w"]),
        ("several", "anat/run-07_T1w", 2, ["run-01_T1w", "run-02_T1w"]),
        ("written", "anat/run-07_T1w", 1, ["run-07_T1w"]),
        ("", "anat/run-07_T1w", 1, ["run-07_T1w"]),
    ],
)
def test_who_numbers_runs(run: str, name: str, count: int, expected: list[str]) -> None:
    study = runs(*range(count))
    assert list(names(planned(study, *all_called(study, name, run=run))).values()) == expected


def test_the_configuration_decides_where_the_answer_does_not() -> None:
    study = runs(5, 3)
    numbered = [answer(n, f"func/task-rest_run-{n:02d}_bold") for n in (1, 2)]
    assert names(planned(study, *numbered, rules=BY_TIME)) == {
        "001-1": "task-rest_run-02_bold",
        "002-1": "task-rest_run-01_bold",
    }
    plan = planned(study, *numbered)
    assert names(plan) == {"001-1": "task-rest_run-01_bold", "002-1": "task-rest_run-02_bold"}
    assert "run-02_bold (series 002 (protocol 2)) was acquired before run-01 (series 001" in plan.warnings[0]
    assert "by_time" in plan.warnings[0]


def test_echoes_and_parts_of_one_run_have_its_number() -> None:
    groups = [
        [stack(n, e, acquired=at(m), component=c, echo_time_s=e / 100) for e in (1, 2)]
        for n, m, c in ((1, 9, "magnitude"), (2, 9, "phase"), (3, 4, "magnitude"), (4, 4, "phase"))
    ]
    study = index(*groups)
    found = names(planned(study, *all_called(study, BOLD, run="several")))
    assert found["001-2"] == "task-rest_run-2_echo-2_part-mag_bold"
    assert found["002-1"] == "task-rest_run-2_echo-1_part-phase_bold"
    assert found["003-1"] == "task-rest_run-1_echo-1_part-mag_bold"
    assert found["004-2"] == "task-rest_run-1_echo-2_part-phase_bold"


def test_echoes_in_series_of_their_own_are_no_runs() -> None:
    """Each echo bears a time of its own, within one repetition (corpus fmap); Dcm2Bids#175."""
    begun = [f"2026-01-02T11:0{minute}:00.{ms:03d}000" for minute in (0, 7) for ms in (0, 13, 840)]
    groups = [
        [stack(n, acquired=time, echo_time_s=0.013 * (1 + (n - 1) % 3), repetition_time_s=0.8, volumes=300)]
        for n, time in enumerate(begun, start=1)
    ]
    found = names(planned(index(*groups), *all_called(index(*groups), BOLD, run="several")))
    assert list(found.values()) == [
        f"task-rest_run-{run}_echo-{echo}_bold" for run in (1, 2) for echo in (1, 2, 3)
    ]


def test_noise_in_echo_times_makes_no_more_echoes() -> None:
    times = [[0.0120001, 0.0280003], [0.0120004, 0.028]]
    groups = [
        [stack(n, e, acquired=at(n), echo_time_s=time) for e, time in enumerate(pair, start=1)]
        for n, pair in enumerate(times, start=1)
    ]
    plan = planned(index(*groups), *all_called(index(*groups), BOLD, run="several"))
    assert list(names(plan).values()) == [
        f"task-rest_run-{run}_echo-{echo}_bold" for run in (1, 2) for echo in (1, 2)
    ]
    assert not any("no repeats" in warning for warning in plan.warnings)


def test_runs_that_are_no_repeats_are_told() -> None:
    study = index([stack(1, echo_time_s=0.03)], [stack(2, echo_time_s=0.035)])
    plan = planned(study, *all_called(study, BOLD, run="several"))
    assert list(names(plan).values()) == ["task-rest_run-1_bold", "task-rest_run-2_bold"]
    assert plan.warnings[0].endswith("echo time 0.03, 0.035")
    assert "runs that are no repeats (series 001 (protocol 1), series 002" in plan.warnings[0]


def test_what_is_said_twice_is_said_once() -> None:
    study = runs(1)
    assert names(planned(study, *all_called(study, BOLD), *all_called(study, BOLD))) == {
        "001-1": "task-rest_bold"
    }


def test_parts_that_the_heuristic_names_itself_share_numbers() -> None:
    study = runs(9, 9, 4, 4, 1)
    words = (
        "part-mag",
        "part-phase",
        "part-mag",
        "part-phase",
        "part-mag",
    )
    answers = [
        answer(n, f"func/task-rest_{word}_bold", run="several") for n, word in enumerate(words, start=1)
    ]
    assert list(names(planned(study, *answers)).values()) == [
        "task-rest_run-1_part-mag_bold",
        "task-rest_run-2_part-mag_bold",
        "task-rest_run-2_part-phase_bold",
        "task-rest_run-3_part-mag_bold",
        "task-rest_run-3_part-phase_bold",
    ]


def test_the_files_of_a_field_map_share_a_number_though_one_lacks_its_phase() -> None:
    groups = [
        [stack(1, e, acquired=f"{at(1)}.{e}", echo_time_s=e / 100, component="magnitude") for e in (1, 2)],
        [stack(2, e, acquired=f"{at(5)}.{e}", echo_time_s=e / 100, component="magnitude") for e in (1, 2)],
        [stack(3, acquired=f"{at(5)}.2", echo_time_s=0.02, component="phase")],  # as Siemens: of echo 2
    ]
    answers = [answer(n, f"fmap/{s}", run="several") for n, s in ((1, "magnitude"), (2, "magnitude"))]
    found = names(planned(index(*groups), *answers, answer(3, "fmap/phasediff", run="several")))
    assert found == {
        "001-1": "run-1_magnitude1",
        "001-2": "run-1_magnitude2",
        "002-1": "run-2_magnitude1",
        "002-2": "run-2_magnitude2",
        "003-1": "run-2_phasediff",
    }


def test_flip_angles_that_were_measured_apart_make_runs_where_it_comes_out_even() -> None:
    study = index(*([stack(n, flip_angle_deg=5.0 + 10 * (n % 2))] for n in range(1, 5)))
    assert list(names(planned(study, *all_called(study, "anat/VFA", run="several"))).values()) == [
        "run-1_flip-2_VFA",
        "run-1_flip-1_VFA",
        "run-2_flip-2_VFA",
        "run-2_flip-1_VFA",
    ]
    odd = index(*([stack(n, flip_angle_deg=angle)] for n, angle in ((1, 5.0), (2, 15.0), (3, 15.0))))
    text = said(odd, *all_called(odd, "anat/VFA", run="several"))
    assert "nothing tells which of these belong to one run" in text
    assert "series 003 (protocol 3) stack 1 (10:03:00): sub-01_ses-a_flip-2_VFA" in text


def test_opposed_directions_are_numbered_each_by_itself() -> None:
    letters = ("j-", "j", "j-")
    study = index(*([stack(n, phase_encoding_direction=way)] for n, way in enumerate(letters, start=1)))
    assert list(names(planned(study, *all_called(study, BOLD, run="several"))).values()) == [
        "task-rest_dir-AP_run-1_bold",
        "task-rest_dir-PA_bold",
        "task-rest_dir-AP_run-2_bold",
    ]


def test_two_pictures_of_one_acquisition_are_no_runs() -> None:
    study = index(
        [stack(1, acquired=at(1), image_type=("ORIGINAL", "PRIMARY", "M", "ND"))],
        [stack(2, acquired=at(1), image_type=("ORIGINAL", "PRIMARY", "M", "ND", "NORM"))],
    )
    text = said(study, *all_called(study, "anat/T1w", run="several"))
    assert "They differ in: ImageType ORIGINAL/PRIMARY/M/ND, ORIGINAL/PRIMARY/M/ND/NORM." in text
    assert "They are of one acquisition, no runs: tell them apart by 'rec-'" in text


@pytest.mark.parametrize(("apart_s", "is_run"), [(5, True), (0, False)])
def test_a_series_started_anew_within_a_repetition_is_a_run(apart_s: int, is_run: bool) -> None:
    """Cancelled after the first volume, of a repetition of ten seconds."""
    times = [f"2026-01-02T10:00:{second:02d}" for second in (0, apart_s)]
    groups = [
        [
            stack(2 * n + place, acquired=time, repetition_time_s=10.0, component=component)
            for place, component in enumerate(("magnitude", "phase"), start=1)
        ]
        for n, time in enumerate(times)
    ]
    study = index(*[[one] for group in groups for one in group], [stack(9)])
    answers = [*(answer(n, "dwi/dwi", run="several") for n in (1, 2, 3, 4)), answer(9, "anat/T1w")]
    if not is_run:
        assert "is wrong, write 'run-'" in said(study, *answers)
        return
    plan = planned(study, *answers)
    expected = [f"run-{run}_part-{part}_dwi" for run in (1, 2) for part in ("mag", "phase")]
    assert sorted(names(plan).values()) == ["T1w", *expected]
    assert [warning for warning in plan.warnings if "began within one repetition" in warning]


def test_without_times_nothing_is_numbered() -> None:
    study = index(*([stack(n, acquired=None)] for n in (1, 2)))
    timeless = replace(study, series=tuple(replace(one, acquired=None) for one in study.series))
    same = replace(study, series=tuple(replace(one, acquired=at(0)) for one in study.series))
    for unclear in (timeless, same):
        text = said(unclear, *all_called(unclear, BOLD, run="several"))
        assert "series 002 (protocol 2): their headers have no times of acquisition" in text
    assert names(planned(study, *all_called(study, BOLD, run="several"))) == {
        "001-1": "task-rest_run-1_bold",
        "002-1": "task-rest_run-2_bold",
    }


# ----------------------------------------------------------------------------------------------- short ones


def short(*volumes: int, **more: object) -> SessionPlan:
    """Of runs of so many volumes, one after the other."""
    study = index(*([stack(n, volumes=count)] for n, count in enumerate(volumes, start=1)))
    return planned(study, *all_called(study, BOLD, **({"run": "several"} | more)))


def test_a_short_run_is_kept_and_marked() -> None:
    plan = short(12, 300)
    assert list(names(plan).values()) == ["task-rest_run-1_bold", "task-rest_run-2_bold"]
    note = "short: 12 volumes, where another of its name has 300"
    assert [row.notes for row in plan.rows] == [note, ""]
    assert plan.warnings == (f"series 001 (protocol 1): {note}",)


def test_a_short_run_is_dropped_by_rule_and_not_counted() -> None:
    plan = short(12, 300, 300, short="drop")
    assert list(names(plan).values()) == ["", "task-rest_run-1_bold", "task-rest_run-2_bold"]
    assert plan.rows[0].reason.startswith("short: 12 volumes, where another of its name has 300; dropped")
    assert list(names(short(12, 300, short="drop")).values()) == ["", "task-rest_bold"]


def test_a_short_run_is_renamed_by_rule() -> None:
    plan = short(12, 300, short="acq-short")
    assert list(names(plan).values()) == ["task-rest_acq-short_bold", "task-rest_bold"]
    study = index([stack(1, volumes=1)], [stack(2, volumes=2)])
    plan = planned(study, *all_called(study, "func/task-rest_acq-mb4_bold", run="several", short="acq-short"))
    assert list(names(plan).values()) == ["task-rest_acq-mb4Short_bold", "task-rest_acq-mb4_bold"]


def test_what_is_short_can_be_said_in_volumes() -> None:
    assert list(names(short(290, 300, short="drop", volumes=280)).values()) == [
        "task-rest_run-1_bold",
        "task-rest_run-2_bold",
    ]
    plan = short(12, short="drop", volumes=280)
    assert plan.rows[0].reason.startswith("short: 12 of 280 volumes")


def test_the_header_tells_how_many_volumes_were_planned() -> None:
    study = index([stack(1, volumes=3, volumes_promised=60)], [stack(2, volumes=60, volumes_promised=60)])
    plan = planned(study, answer(1, BOLD), answer(2, "func/task-go_bold"))
    assert [row.notes for row in plan.rows] == ["short: 3 of the 60 volumes that its header promises", ""]
    halves = [stack(1, n, volumes=2, volumes_promised=4, content=c) for n, c in ((1, None), (2, "reversed"))]
    assert "short" not in planned(index(halves), answer(1, "fmap/epi", chosen=1)).rows[0].notes


def test_a_volume_that_was_cut_is_told_and_no_reason_to_drop() -> None:
    lost = Leftover(
        path="a", reason=Reason.INCOMPLETE, detail="12 of 30 slices", series_instance_uid=f"{STUDY}.1"
    )
    study = replace(index([stack(1, volumes=299)]), leftovers=(lost, lost))
    plan = planned(study, answer(1, BOLD, short="drop"))
    assert names(plan) == {"001-1": "task-rest_bold"}
    assert plan.rows[0].notes == "2 pictures of a volume that lacks slices left out"
    assert plan.warnings == ("series 001 (protocol 1): 2 pictures of a volume that lacks slices left out",)


def test_the_phase_of_a_short_run_goes_with_it() -> None:
    groups = [
        [stack(n, acquired=at(m), component=c, volumes=v)]
        for n, m, c, v in ((1, 1, "magnitude", 5), (2, 1, "phase", 5), (3, 6, "magnitude", 9))
    ]
    study = index(*groups)
    plan = planned(study, *all_called(study, BOLD, run="several", short="drop"))
    assert list(names(plan).values()) == ["", "", "task-rest_part-mag_bold"]


def test_a_short_run_takes_nothing_with_it_that_is_whole() -> None:
    """De-identified data have one time for all; a scan of a long TR may be started anew within it."""
    kinds = [("anat/T1w", 1), (BOLD, 12), (BOLD, 300), ("dwi/dwi", 64), ("func/task-go_bold", 1)]
    study = index(*([stack(n, acquired=at(0), volumes=v)] for n, (_, v) in enumerate(kinds, start=1)))
    answers = [answer(n, name, short="drop") for n, (name, _) in enumerate(kinds, start=1)]
    assert list(names(planned(study, *answers)).values()) == [
        "T1w",
        "",
        "task-rest_bold",
        "dwi",
        "task-go_bold",
    ]
    begun = ("2026-01-02T11:00:00", "2026-01-02T11:00:10")
    study = index(
        *([stack(n, acquired=begun[n - 1], volumes=v, repetition_time_s=10.0)] for n, v in ((1, 1), (2, 64)))
    )
    for rule in (NamingRules(runs="several", short_runs="drop"), NamingRules(short_runs="drop")):
        plan = planned(study, *all_called(study, "dwi/dwi"), rules=rule)
        assert names(plan) == {"001-1": "", "002-1": "dwi"}


def test_short_runs_are_marked_under_names_as_written_too() -> None:
    study = index([stack(1, volumes=12)], [stack(2, volumes=300)])
    written = [answer(n, f"func/task-rest_run-{n}_bold") for n in (1, 2)]
    assert planned(study, *written).rows[0].notes.startswith("short: 12 volumes")
    plan = planned(study, *written, rules=NamingRules(short_runs="drop"))
    assert list(names(plan).values()) == ["", "task-rest_run-2_bold"]


# ----------------------------------------------------------------------------------------------- references


def with_references(*words: tuple[str, int], **more: object) -> dict[str, str]:
    """Of references ("sbref") and runs ("bold") with so many volumes, one after the other."""
    study = index(*([stack(n, volumes=count)] for n, (_, count) in enumerate(words, start=1)))
    answers = [
        answer(n, f"func/task-rest_{suffix}", **({"run": "several"} | more))
        for n, (suffix, _) in enumerate(words, start=1)
    ]
    plan = planned(study, *answers)
    return {row.stack_id: row.bids_name.rpartition("task-rest_")[2] or row.reason for row in plan.rows}


def test_a_reference_takes_the_number_of_the_run_after_it() -> None:
    found = with_references(("bold", 300), ("sbref", 1), ("bold", 300), ("sbref", 1), ("bold", 300))
    assert list(found.values()) == ["run-1_bold", "run-2_sbref", "run-2_bold", "run-3_sbref", "run-3_bold"]


@pytest.mark.parametrize("late", ["00.5", "00.0"])
def test_a_reference_may_bear_the_time_of_its_run_or_a_little_later(late: str) -> None:
    minutes = (3, 7, 13)
    times = [f"2026-01-02T10:{m:02d}:{second}" for m in minutes for second in (late, "00.0")]
    study = index(*([stack(n, acquired=time)] for n, time in enumerate(times, start=1)))
    suffixes = ("sbref", "bold") * 3
    answers = [answer(n, f"func/task-a_{s}", run="several") for n, s in enumerate(suffixes, start=1)]
    found = names(planned(study, *answers))
    assert found == {f"{n:03d}-1": f"task-a_run-{(n + 1) // 2}_{s}" for n, s in enumerate(suffixes, start=1)}


def test_a_reference_of_a_run_that_was_dropped_goes_with_it() -> None:
    found = with_references(("sbref", 1), ("bold", 9), ("sbref", 1), ("bold", 300), short="drop")
    assert found["001-1"] == "the reference of series 002 (protocol 2), which is left out"
    assert (found["003-1"], found["004-1"]) == ("sbref", "bold")


def test_a_reference_of_a_run_that_was_marked_is_marked_with_it() -> None:
    words = [("sbref", 1), ("bold", 9), ("sbref", 1), ("bold", 300), ("sbref", 1), ("bold", 300)]
    assert list(with_references(*words, short="acq-short").values()) == [
        "acq-short_sbref",
        "acq-short_bold",
        *(f"run-{run}_{suffix}" for run in (1, 2) for suffix in ("sbref", "bold")),
    ]


def test_a_reference_whose_run_was_never_recorded_is_told() -> None:
    found = with_references(("sbref", 1), ("sbref", 1), ("bold", 300))
    assert "its run was never recorded" in found["001-1"]
    assert found["002-1"] == "sbref"


def test_a_lone_reference_is_of_the_lone_run_whatever_the_times() -> None:
    found = with_references(("bold", 300), ("sbref", 1), run="always")
    assert list(found.values()) == ["run-1_bold", "run-1_sbref"]
    study = index([stack(1, acquired=None)], [stack(2, acquired=None)], [stack(3, acquired=None)])
    study = replace(study, series=tuple(replace(one, acquired=None) for one in study.series))
    both = [answer(n, f"func/task-rest_{s}", run="several") for n, s in ((1, "sbref"), (2, "bold"))]
    assert list(names(planned(study, *both)).values())[:2] == ["task-rest_sbref", "task-rest_bold"]
    text = said(study, *both, answer(3, "func/task-rest_sbref", run="several"))
    assert "no times of acquisition" in text


def test_a_reference_has_the_direction_of_its_run() -> None:
    facts = [("sbref", "j-"), ("bold", "j-"), ("bold", "j")]  # the second run was made without
    study = index(*([stack(n, phase_encoding_direction=way)] for n, (_, way) in enumerate(facts, start=1)))
    answers = [answer(n, f"func/task-rest_{s}", run="several") for n, (s, _) in enumerate(facts, start=1)]
    assert list(names(planned(study, *answers)).values()) == [
        "task-rest_dir-AP_sbref",
        "task-rest_dir-AP_bold",
        "task-rest_dir-PA_bold",
    ]


def test_a_reference_goes_with_a_run_that_the_heuristic_numbers_itself() -> None:
    study = index(*([stack(n)] for n in range(1, 5)))
    answers = [answer(n, "func/task-rest_sbref", run="several") for n in (1, 3)]
    answers += [answer(n, f"func/task-rest_run-0{4 - n // 2}_bold") for n in (2, 4)]
    assert list(names(planned(study, *answers)).values()) == [
        f"task-rest_run-0{run}_{suffix}" for run in (3, 2) for suffix in ("sbref", "bold")
    ]


def test_runs_of_all_studies_of_a_session_are_numbered_together() -> None:
    """A console that was started anew makes a second study, whose series numbers begin at 1 again."""
    first, second = runs(8), runs(3)
    uid = "9.9"
    second = replace(
        second,
        study_instance_uid=uid,
        series=tuple(replace(one, study_instance_uid=uid) for one in second.series),
    )
    answers = (
        answer(1, BOLD, run="several"),
        replace(answer(1, BOLD, run="several"), study_instance_uid=uid),
    )
    plan = plan_session(subject="01", session="a", indexes=[first, second], answers=Answers(named=answers))
    found = {row.study_instance_uid: row.bids_name.rpartition("task-")[2] for row in plan.rows}
    assert found == {STUDY: "rest_run-2_bold", uid: "rest_run-1_bold"}


def test_references_alone_are_numbered_by_time() -> None:
    found = with_references(("sbref", 1), ("sbref", 1))
    assert list(found.values()) == ["run-1_sbref", "run-2_sbref"]
