"""Stacks and answers become names, or reasons; all that is wrong is told before anything is written."""

from __future__ import annotations

from pathlib import Path

import pytest
from msgspec.structs import replace

from pacs2bids.meant import UNPLACED
from pacs2bids.model import FailedStack, Leftover, PlanError, PlanRow, Reason, Stack, StudyIndex
from pacs2bids.plan import LOCALIZER, NOT_NAMED, plan_session
from pacs2bids.plan_table import COLUMNS, read_plan, write_plan
from pacs2bids.session import Answers, Unanswered
from planning import STUDY, answer, index, names, planned, said, series, stack

# ---------------------------------------------------------------------------------------------- names


def test_every_stack_has_a_name_or_a_reason() -> None:
    plan = planned(index([stack(1)], [stack(2)]), answer(2, "anat/T1w"))
    first, second = plan.rows
    assert (first.stack_id, first.bids_name, first.reason) == ("001-1", "", NOT_NAMED)
    assert (second.bids_name, second.reason) == ("sub-01/ses-a/anat/sub-01_ses-a_T1w", "")
    assert (second.acquired, second.dims, second.instances) == ("2026-01-02T10:02:00", "64x64x30x1", 1)
    assert plan.warnings == ()


def test_echoes_get_their_number_by_echo_time_not_by_order() -> None:
    stacks = [stack(3, n, echo_time_s=t) for n, t in ((1, 0.045), (2, 0.015), (3, 0.030))]
    plan = planned(index(stacks), answer(3, "func/task-rest_run-1_bold"))
    assert names(plan) == {
        "003-1": "task-rest_run-1_echo-3_bold",
        "003-2": "task-rest_run-1_echo-1_bold",
        "003-3": "task-rest_run-1_echo-2_bold",
    }


def test_magnitude_and_phase_get_their_part_and_phase_its_units() -> None:
    stacks = [stack(3, 1, component="magnitude"), stack(3, 2, component="phase")]
    plan = planned(index(stacks), answer(3, "func/task-rest_bold"))
    assert names(plan) == {"003-1": "task-rest_part-mag_bold", "003-2": "task-rest_part-phase_bold"}
    assert plan.rows[0].metadata == {"TaskName": "rest"}
    assert plan.rows[1].metadata == {"TaskName": "rest", "Units": "arbitrary"}


def test_parts_and_echoes_together() -> None:
    stacks = [
        stack(3, 1 + 2 * n + m, component=component, echo_time_s=time)
        for n, component in enumerate(("magnitude", "phase"))
        for m, time in enumerate((0.01, 0.02))
    ]
    plan = planned(index(stacks), answer(3, "anat/MEGRE"))
    assert sorted(names(plan).values()) == [
        "echo-1_part-mag_MEGRE",
        "echo-1_part-phase_MEGRE",
        "echo-2_part-mag_MEGRE",
        "echo-2_part-phase_MEGRE",
    ]


@pytest.mark.parametrize("suffix", ["magnitude", "magnitude1"])
def test_two_echoes_of_a_field_map_and_their_times_for_the_phase_difference(suffix: str) -> None:
    magnitudes = [
        stack(5, 1, echo_time_s=0.00738, component="magnitude"),
        stack(5, 2, echo_time_s=0.00492, component="magnitude"),
    ]
    difference = stack(6, 1, echo_time_s=0.00738, component="phase")
    study = index(magnitudes, [difference])
    plan = planned(study, answer(5, f"fmap/run-1_{suffix}"), answer(6, "fmap/run-1_phasediff"))
    assert names(plan) == {
        "005-1": "run-1_magnitude2",
        "005-2": "run-1_magnitude1",
        "006-1": "run-1_phasediff",
    }
    assert echo_times(plan.rows[2]) == {"EchoTime1": 0.00492, "EchoTime2": 0.00738}


def echo_times(row: PlanRow) -> dict[str, object]:
    return {name: value for name, value in row.metadata.items() if name.startswith("EchoTime")}


def test_a_phase_difference_takes_the_times_of_its_own_run() -> None:
    def pair(number: int, first: float, second: float) -> list[Stack]:
        return [stack(number, 1, echo_time_s=first), stack(number, 2, echo_time_s=second)]

    study = index(pair(1, 0.004, 0.006), [stack(2)], pair(3, 0.005, 0.007), [stack(4)])
    plan = planned(
        study,
        *(answer(n, f"fmap/run-{1 + n // 3}_magnitude") for n in (1, 3)),
        answer(2, "fmap/run-1_phasediff"),
        answer(4, "fmap/run-2_phasediff"),
    )
    found = {row.stack_id: echo_times(row) for row in plan.rows}
    assert found["002-1"] == {"EchoTime1": 0.004, "EchoTime2": 0.006}
    assert found["004-1"] == {"EchoTime1": 0.005, "EchoTime2": 0.007}


def test_a_phase_difference_without_magnitudes_is_a_warning() -> None:
    plan = planned(index([stack(6, component="phase")]), answer(6, "fmap/phasediff"))
    assert echo_times(plan.rows[0]) == {}
    assert "its echo times are unknown" in plan.warnings[0]


def test_maps_beside_diffusion_volumes_are_left_out() -> None:
    study = index([stack(7, 1), stack(7, 2, is_diffusion_map=True)])
    plan = planned(study, answer(7, "dwi/dwi"))
    assert names(plan)["007-1"] == "dwi"
    assert plan.rows[1].bids_name == ""
    assert "map computed from the diffusion volumes" in plan.rows[1].reason


def test_a_series_of_maps_alone_is_named_as_the_heuristic_says() -> None:
    plan = planned(index([stack(7, is_diffusion_map=True)]), answer(7, "dwi/ADC"))
    assert names(plan) == {"007-1": "ADC"}


def test_one_stack_of_several_can_be_chosen() -> None:
    study = index([stack(8, 1, orientation="axial"), stack(8, 2, orientation="coronal")])
    plan = planned(study, answer(8, "anat/T1w", chosen=2))
    assert names(plan) == {"008-1": "", "008-2": "T1w"}
    assert plan.rows[0].reason == "the heuristic names other stacks"
    assert "there is no stack 3 (stacks: 1, 2)" in said(study, answer(8, "anat/T1w", chosen=3))


# ---------------------------------------------------------------------------------------------- mistakes


def test_stacks_that_no_entity_tells_apart_are_listed() -> None:
    study = index([stack(8, 1, orientation="axial"), stack(8, 2, orientation="coronal")])
    text = said(study, answer(8, "anat/T1w"))
    for words in ("series 008 (protocol 8)", "template 'anat/T1w'", "stack 1: 64x64x30x1, axial", "coronal"):
        assert words in text


def test_an_unknown_component_is_not_guessed() -> None:
    study = index([stack(8, 1, component="phase"), stack(8, 2)])
    assert "one name for 2 stacks" in said(study, answer(8, "anat/T1w"))


def test_an_echo_that_the_template_claims_for_all_is_an_error() -> None:
    study = index([stack(8, 1, echo_time_s=0.01), stack(8, 2, echo_time_s=0.02)])
    assert "it says echo-1, but the series holds several" in said(
        study, answer(8, "func/task-rest_echo-1_bold")
    )


def test_all_mistakes_are_told_at_once_each_with_series_and_template() -> None:
    study = index([stack(1)], [stack(2)], [stack(3)], [stack(4)])
    text = said(
        study,
        answer(1, "anat/T1"),
        answer(2, "func/run-1_task-a_bold"),
        answer(3, "anat/T2w"),
        answer(4, "anat/T2w"),
    )
    assert "3 names are wrong; nothing is placed" in text
    assert "series 001 (protocol 1), template 'anat/T1': " in text
    assert "did you mean T1w?" in text
    assert "'task' must come before 'run'" in text
    assert (
        "anat/sub-01_ses-a_T2w is the name of 2 volumes: series 003 (protocol 3) stack 1, series 004" in text
    )


def test_names_collide_across_the_studies_of_a_session() -> None:
    first = index([stack(1)])
    other = "9.9"
    second = replace(
        first,
        study_instance_uid=other,
        series=(replace(series(1, first.stacks, study=other)),),
        stacks=(replace(first.stacks[0], series_instance_uid=f"{other}.1"),),
    )
    both = Answers(named=(answer(1, "anat/T1w"), answer(1, "anat/T1w", study=other)))
    with pytest.raises(PlanError, match="is the name of 2 volumes"):
        plan_session(subject="01", session="a", indexes=[first, second], answers=both)


def test_a_name_of_another_subject_or_session_is_an_error() -> None:
    wrong = replace(answer(1, "anat/T1w"), path="sub-02/ses-a/anat/sub-02_ses-a_T1w")
    assert "is not a name of sub-01_ses-a" in said(index([stack(1)]), wrong)
    wrong = replace(answer(1, "anat/T1w"), path="sub-01/anat/sub-01_T1w")
    assert "is not a name of sub-01_ses-a" in said(index([stack(1)]), wrong)


# ---------------------------------------------------------------------------------------------- reasons


def test_instances_are_files_not_frames() -> None:
    frames = replace(stack(1), sop_instance_uids=("1.1", "1.1", "1.2", "1.2"))
    assert planned(index([frames])).rows[0].instances == 2


def test_a_series_without_volumes_has_a_row_and_is_a_warning_if_named() -> None:
    info = series(9, [])
    gone = Leftover(
        path="a", reason=Reason.INCOMPLETE, detail="12 of 30 slices", series_instance_uid=f"{STUDY}.9"
    )
    study = replace(index([stack(1)], leftovers=(gone,)), series=(series(1, [stack(1)]), info))
    plan = planned(study, answer(9, "anat/T1w"))
    row = plan.rows[1]
    assert (row.stack_id, row.bids_name, row.instances) == ("", "", 1)
    assert row.reason == "no volume in it: 1 incomplete (12 of 30 slices)"
    assert "series 009 (protocol 9) is named" in plan.warnings[0]


def test_a_recording_of_physiology_is_told_as_one() -> None:
    kinds = ("ORIGINAL", "PRIMARY", "RAWDATA", "PHYSIO")
    study = replace(index([stack(1)]), series=(replace(series(9, []), image_type=kinds),), stacks=())
    assert "a recording of physiology" in planned(study).rows[0].reason


def test_what_nobody_names_says_what_it_is_where_that_is_plain() -> None:
    plan = planned(index([stack(1, is_localizer=True)], [replace(stack(2), placed=False)]))
    assert [row.reason for row in plan.rows] == [f"{NOT_NAMED}; {LOCALIZER}", f"{NOT_NAMED}; {UNPLACED}"]


def test_a_series_that_the_engine_refused_says_why() -> None:
    refused = (FailedStack(stack_id="009", error="slices are unevenly spaced"),)
    study = replace(index([stack(1)]), series=(series(9, []),), stacks=(), refused=refused)
    assert planned(study).rows[0].reason == "no volume in it: slices are unevenly spaced"


def refused(study: StudyIndex, *stack_ids: str) -> StudyIndex:
    lost = tuple(FailedStack(stack_id=one, error="slices are unevenly spaced") for one in stack_ids)
    return replace(study, refused=lost)


@pytest.mark.parametrize(
    ("name", "left", "lost", "expected"),
    [
        ("fmap/magnitude", [(2, "magnitude")], ["005-1"], ["magnitude2"]),
        ("func/task-a_bold", [(1, None), (3, None)], ["005-2"], ["task-a_echo-1_bold", "task-a_echo-3_bold"]),
        (
            "anat/MEGRE",
            [(1, "magnitude"), (2, "phase")],
            ["005-3", "005-4"],
            ["echo-1_part-mag_MEGRE", "echo-2_part-phase_MEGRE"],
        ),
    ],
)
def test_what_is_left_of_a_series_is_named_as_if_it_were_whole(
    name: str, left: list[tuple[int, str | None]], lost: list[str], expected: list[str]
) -> None:
    free = [n for n in range(1, 5) if f"005-{n}" not in lost]
    stacks = [
        stack(5, ordinal, echo_number=echo, echo_time_s=echo / 100, component=component)
        for ordinal, (echo, component) in zip(free, left, strict=False)
    ]
    plan = planned(refused(index(stacks), *lost), answer(5, name))
    found = names(plan)
    assert [found[one.stack_id] for one in stacks] == expected
    for row in (row for row in plan.rows if row.stack_id in lost):
        assert (row.bids_name, row.reason) == ("", "refused: slices are unevenly spaced")
        assert row.instances == 0
    assert {row.stack_id for row in plan.rows} == {*lost, *(one.stack_id for one in stacks)}


@pytest.mark.parametrize(
    "left",
    [
        [(1, "magnitude")],  # the other may be echo 2 or a phase
        [(None, "magnitude")],
        [(1, "magnitude"), (1, "phase")],
        [(1, None), (2, "phase")],
        [(2, "magnitude"), (2, "magnitude")],
    ],
)
def test_no_name_is_guessed_beside_a_refused_stack(left: list[tuple[int | None, str | None]]) -> None:
    stacks = [
        stack(5, n, echo_number=echo, component=component)
        for n, (echo, component) in enumerate(left, start=1)
    ]
    plan = planned(refused(index(stacks), "005-9"), answer(5, "fmap/magnitude"))
    assert not any(row.bids_name for row in plan.rows)
    for row in plan.rows:
        assert "refused: slices are unevenly spaced" in row.reason
    assert "series 005 (protocol 5): stack 005-9 was refused" in plan.warnings[0]
    assert 'choose it, as in {"item": s.series_id, "stack": 1}' in plan.warnings[0]


def test_a_stack_is_chosen_beside_a_refused_one() -> None:
    study = refused(index([stack(5, 1, echo_number=1)]), "005-2")
    plan = planned(study, answer(5, "fmap/magnitude1", chosen=1), answer(5, "fmap/magnitude2", chosen=2))
    assert names(plan) == {"005-1": "magnitude1", "005-2": ""}
    assert "named is stack 005-2, which was refused: slices are unevenly spaced" in plan.warnings[0]


def test_a_chosen_stack_of_a_series_without_any_is_a_warning() -> None:
    study = replace(refused(index([stack(1)]), "009-1"), series=(series(9, []),), stacks=())
    plan = planned(study, answer(9, "anat/T1w", chosen=1))
    assert plan.rows[0].reason == "no volume in it: slices are unevenly spaced"
    assert "is named sub-01/ses-a/anat/sub-01_ses-a_T1w, but there is no volume in it" in plan.warnings[0]


def test_a_series_of_which_no_header_can_be_read_has_a_row() -> None:
    uid = f"{STUDY}.77"
    files = tuple(
        Leftover(path=name, reason=Reason.UNREADABLE, detail="", series_instance_uid=uid) for name in "ab"
    )
    plan = planned(refused(index([stack(1)], leftovers=files), uid))
    row = plan.rows[1]
    assert (row.study_instance_uid, row.series_instance_uid, row.stack_id) == (STUDY, uid, "")
    assert (row.instances, row.reason) == (2, "no volume in it: slices are unevenly spaced")


def test_a_series_on_which_the_heuristic_failed_says_why() -> None:
    odd = Unanswered(study_instance_uid=STUDY, series_instance_uid=f"{STUDY}.1", reason="IndexError, line 7")
    answers = Answers(named=(), unanswered=(odd,), warnings=("beware",))
    plan = plan_session(subject="01", session="a", indexes=[index([stack(1)])], answers=answers)
    assert plan.rows[0].reason == "IndexError, line 7"
    assert plan.warnings == ("beware", "series 001 (protocol 1): IndexError, line 7")


def test_rows_come_in_the_order_of_acquisition() -> None:
    late = stack(1, acquired="2026-01-02T12:00:00")
    plan = planned(index([late], [stack(2)]))
    assert [row.stack_id for row in plan.rows] == ["002-1", "001-1"]


# ---------------------------------------------------------------------------------------------- the table


def test_the_table_comes_back_as_it_was(tmp_path: Path) -> None:
    row = PlanRow(
        study_instance_uid=STUDY,
        series_instance_uid=f"{STUDY}.1",
        series_number=None,
        series_description='EPI "fast", 10% µT',
        stack_id="",
        acquired="",
        dims="",
        instances=3,
        bids_name="",
        reason="why\nnot",
        metadata={"TaskName": "rest", "EchoTime1": 0.00492, "IntendedFor": ["a\tb"]},
        notes="the shims are the same",
        beside={"_aslcontext.tsv": "volume_type\ncontrol\n"},
    )
    path = tmp_path / "plan.tsv"
    write_plan(path, [row, replace(row, series_number=4, metadata={})])
    assert path.read_text().splitlines()[0].split("\t") == list(COLUMNS)
    assert path.stat().st_mode & 0o777 == 0o600
    first, second = read_plan(path)
    assert first == replace(row, reason="why not")
    assert (second.series_number, second.metadata) == (4, {})


def test_a_table_that_is_none_says_where(tmp_path: Path) -> None:
    path = tmp_path / "plan.tsv"
    with pytest.raises(PlanError, match="is missing"):
        read_plan(path)
    path.write_text("series_number\tinstances\nx\t1\n")
    with pytest.raises(PlanError, match=r"plan\.tsv, line 2: is no row of a plan"):
        read_plan(path)


def test_pictures_without_a_place_get_no_name() -> None:
    plan = planned(index([replace(stack(7), placed=False)]), answer(7, "dwi/FA"))
    assert (plan.rows[0].bids_name, plan.rows[0].reason) == ("", UNPLACED)
    assert UNPLACED in plan.warnings[0]


def test_a_picture_without_a_place_leaves_the_name_to_the_volume_beside_it() -> None:
    study = index([stack(7, 1), replace(stack(7, 2), placed=False)])
    plan = planned(study, answer(7, "anat/T1w"))
    assert [(row.stack_id, bool(row.bids_name)) for row in plan.rows] == [("007-1", True), ("007-2", False)]
    assert plan.rows[1].reason == UNPLACED


def test_a_series_joined_to_another_says_so() -> None:
    study = index([stack(7)])
    joined = replace(series(8, []), joined_to="007")
    plan = planned(replace(study, series=(*study.series, joined)), answer(7, "func/task-rest_bold"))
    assert [row.reason for row in plan.rows] == ["", "no volume in it: its pictures are part of series 007"]
    assert not plan.warnings


@pytest.mark.parametrize("said", ["fieldmap", "magnitude"])
def test_a_field_map_and_its_magnitude_in_one_series_get_names_of_their_own(said: str) -> None:
    plan = planned(index([stack(7, 1), stack(7, 2, content="fieldmap")]), answer(7, f"fmap/{said}"))
    assert [row.bids_name.rpartition("_")[2] for row in plan.rows] == ["magnitude", "fieldmap"]


def test_two_contents_without_a_word_in_bids_ask_for_a_choice() -> None:
    study = index([stack(7, 1), stack(7, 2, content="reversed")])
    with pytest.raises(PlanError, match=r"stack 2: .*reversed"):
        planned(study, answer(7, "fmap/epi"))


def test_a_target_that_is_no_file_of_the_session_is_told() -> None:
    there, gone = (
        "bids::sub-01/ses-a/func/sub-01_ses-a_task-" + task + "_bold.nii.gz" for task in ("rest", "go")
    )
    other = "bids::sub-01/ses-b/func/sub-01_ses-b_task-rest_bold.nii.gz"
    below = "ses-a/func/sub-01_ses-a_task-away_bold.nii.gz"
    targets = {"IntendedFor": [there, gone, other, below]}
    study = index([stack(4)], [stack(5)])
    plan = planned(study, answer(4, "fmap/dir-AP_epi", metadata=targets), answer(5, "func/task-rest_bold"))
    lost = [told for told in plan.warnings if "IntendedFor" in told]
    assert lost == [
        f"sub-01/ses-a/fmap/sub-01_ses-a_dir-AP_epi: its IntendedFor names {target}, which no series of this "
        "session becomes"
        for target in (gone, below)
    ]
