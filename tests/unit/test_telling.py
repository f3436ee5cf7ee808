"""Volumes of one name are told apart by their facts, or not at all."""

from __future__ import annotations

import pytest
from msgspec.structs import replace

from pacs2bids.model import NamingRules, Stack
from pacs2bids.telling import direction
from planning import answer, index, names, planned, said, stack

TOGETHER = "2026-01-02T10:00:00"

# name that the heuristic gives to all; facts of each volume; what each is called then
CASES: dict[str, tuple[str, list[dict[str, object]], list[str]]] = {
    "phase is a series of its own (Siemens)": (
        "func/task-rest_bold",
        [{"component": "magnitude"}, {"component": "phase"}],
        ["task-rest_part-mag_bold", "task-rest_part-phase_bold"],
    ),
    "real and imaginary": (
        "anat/T2starw",
        [{"component": "real"}, {"component": "imaginary"}],
        ["part-real_T2starw", "part-imag_T2starw"],
    ),
    "two echoes of a field map in two series": (
        "fmap/magnitude",
        [{"echo_time_s": 0.00765}, {"echo_time_s": 0.00519}],
        ["magnitude2", "magnitude1"],
    ),
    "two phases of a field map in two series": (
        "fmap/phase1",
        [{"echo_time_s": 0.005, "component": "phase"}, {"echo_time_s": 0.007, "component": "phase"}],
        ["phase1", "phase2"],
    ),
    "a field map with its phases": (
        "fmap/magnitude1",
        [
            {"component": component, "echo_time_s": time}
            for component in ("magnitude", "phase")
            for time in (0.01, 0.007)
        ],
        ["magnitude2", "magnitude1", "phase2", "phase1"],
    ),
    "inversions of MP2RAGE": (
        "anat/MP2RAGE",
        [
            {"inversion_time_s": 2.5, "flip_angle_deg": 5.0},
            {"inversion_time_s": 0.8, "flip_angle_deg": 4.0},
        ],
        ["inv-2_MP2RAGE", "inv-1_MP2RAGE"],
    ),
    "inversions of MP2RAGE with their phases": (
        "anat/MP2RAGE",
        [
            {"inversion_time_s": time, "component": component}
            for time in (0.8, 2.5)
            for component in ("magnitude", "phase")
        ],
        [f"inv-{inv}_part-{part}_MP2RAGE" for inv in (1, 2) for part in ("mag", "phase")],
    ),
    "inversions of IRT1": (
        "anat/IRT1",
        [{"inversion_time_s": time} for time in (0.05, 0.4, 2.2)],
        ["inv-1_IRT1", "inv-2_IRT1", "inv-3_IRT1"],
    ),
    "variable flip angles": (
        "anat/VFA",
        [{"flip_angle_deg": angle} for angle in (20.0, 5.0, 10.0)],
        ["flip-3_VFA", "flip-1_VFA", "flip-2_VFA"],
    ),
    "multi-parametric mapping": (
        "anat/MPM",
        [
            {"flip_angle_deg": angle, "sidecar": {"MTState": state}, "echo_time_s": time, "series": number}
            for number, angle, state in ((1, 6.0, True), (2, 6.0, False), (3, 21.0, False))
            for time in (0.0023, 0.0046)
        ],
        [
            f"echo-{echo}_flip-{flip}_mt-{mt}_MPM"
            for flip, mt in ((1, "on"), (1, "off"), (2, "off"))
            for echo in (1, 2)
        ],
    ),
    "magnetisation transfer": (
        "anat/MTR",
        [{"sidecar": {"MTState": state}} for state in (True, False)],
        ["mt-on_MTR", "mt-off_MTR"],
    ),
    "multi-echo gradient and spin echoes": (
        "anat/MESE",
        [{"echo_time_s": time} for time in (0.03, 0.01, 0.02)],
        ["echo-3_MESE", "echo-1_MESE", "echo-2_MESE"],
    ),
    "double angle maps": (
        "fmap/TB1DAM",
        [{"flip_angle_deg": angle} for angle in (120.0, 60.0)],
        ["flip-2_TB1DAM", "flip-1_TB1DAM"],
    ),
    "stimulated echoes of a field map": (
        "fmap/TB1EPI",
        [
            {"flip_angle_deg": angle, "echo_time_s": time, "series": 1}
            for angle in (220.0, 230.0)
            for time in (0.039, 0.078)
        ],
        [f"echo-{echo}_flip-{flip}_TB1EPI" for flip in (1, 2) for echo in (1, 2)],
    ),
    "two repetition times (AFI)": (
        "fmap/TB1AFI",
        [{"repetition_time_s": time, "series": 1} for time in (0.1, 0.02)],
        ["acq-tr2_TB1AFI", "acq-tr1_TB1AFI"],
    ),
    "an anatomical image and its map of flip angles": (
        "fmap/TB1TFL",
        [{"image_type": ("ORIGINAL", "PRIMARY", kind)} for kind in ("M", "FLIP ANGLE MAP")],
        ["acq-anat_TB1TFL", "acq-famp_TB1TFL"],
    ),
    "two coils": (
        "fmap/RB1COR",
        [{"sidecar": {"ReceiveCoilName": name}} for name in ("BC", "Head_32")],
        ["acq-body_RB1COR", "acq-head_RB1COR"],
    ),
    "opposed phase encoding in two series": (
        "fmap/epi",
        [{"phase_encoding_direction": letters} for letters in ("j-", "j")],
        ["dir-AP_epi", "dir-PA_epi"],
    ),
    "opposed phase encoding in one series (GE)": (
        "fmap/epi",
        [
            {"phase_encoding_direction": letters, "content": content, "series": 1}
            for letters, content in (("i-", None), ("i", "reversed"))
        ],
        ["dir-RL_epi", "dir-LR_epi"],
    ),
}


def volumes(facts: list[dict[str, object]]) -> list[list[Stack]]:
    """A series each, but for those that say which they are of."""
    groups: dict[object, list[Stack]] = {}
    for number, one in enumerate(facts, start=1):
        series = one.get("series", number)
        group = groups.setdefault(series, [])
        known = {key: value for key, value in one.items() if key != "series"}
        group.append(stack(int(str(series)), len(group) + 1, **known))  # type: ignore[arg-type]
    return list(groups.values())


@pytest.mark.parametrize("case", CASES)
def test_facts_tell_volumes_of_one_name_apart(case: str) -> None:
    name, facts, expected = CASES[case]
    groups = volumes(facts)
    plan = planned(index(*groups), *(answer(int(group[0].stack_id[:3]), name) for group in groups))
    found = names(plan)
    assert [found[one.stack_id] for group in groups for one in group] == expected


@pytest.mark.parametrize("case", CASES)
def test_no_name_depends_on_the_order_in_which_the_heuristic_speaks(case: str) -> None:
    name, facts, _ = CASES[case]
    groups = volumes(facts)
    answers = [answer(int(group[0].stack_id[:3]), name) for group in groups]
    study = index(*groups)
    assert names(planned(study, *answers)) == names(planned(study, *reversed(answers)))


def test_what_one_excitation_gave_in_two_series_are_echoes() -> None:
    pair = [[stack(n, acquired=TOGETHER, echo_time_s=n / 100)] for n in (1, 2)]
    plan = planned(index(*pair), *(answer(n, "func/task-rest_bold") for n in (1, 2)))
    assert names(plan) == {"001-1": "task-rest_echo-1_bold", "002-1": "task-rest_echo-2_bold"}


def test_other_echo_times_of_another_acquisition_are_no_echoes() -> None:
    study = index([stack(1, echo_time_s=0.03)], [stack(2, echo_time_s=0.035)])
    text = said(study, *(answer(n, "func/task-rest_bold") for n in (1, 2)))
    assert (
        "is the name of 2 volumes: series 001 (protocol 1) stack 1, series 002 (protocol 2) stack 1" in text
    )
    assert "They differ in: acquired 10:01:00, 10:02:00; echo time 0.03, 0.035." in text
    assert "Give them a run" in text


# name; by acquisition, what tells its volumes apart; what they are called as runs
REPEATS: dict[str, tuple[str, str, list[tuple[float, ...]], list[str]]] = {
    "three echoes, and three others": (
        "func/task-rest_bold",
        "echo_time_s",
        [(0.012, 0.028, 0.044), (0.0125, 0.029, 0.0455)],
        [f"task-rest_run-{run}_echo-{echo}_bold" for run in (1, 2) for echo in (1, 2, 3)],
    ),
    "one echo, and three": (
        "func/task-rest_bold",
        "echo_time_s",
        [(0.03,), (0.012, 0.028, 0.044)],
        ["task-rest_run-1_echo-1_bold", *(f"task-rest_run-2_echo-{echo}_bold" for echo in (1, 2, 3))],
    ),
    "two inversions, and two others": (
        "anat/MP2RAGE",
        "inversion_time_s",
        [(0.7, 2.5), (0.75, 2.6)],
        [f"run-{run}_inv-{inv}_MP2RAGE" for run in (1, 2) for inv in (1, 2)],
    ),
    "multi-echo gradient echoes, and others": (
        "anat/MEGRE",
        "echo_time_s",
        [(0.005, 0.010, 0.015), (0.006, 0.012, 0.018)],
        [f"run-{run}_echo-{echo}_MEGRE" for run in (1, 2) for echo in (1, 2, 3)],
    ),
    "multi-echo gradient echoes, the last one later": (
        "anat/MEGRE",
        "echo_time_s",
        [(0.005, 0.010, 0.015), (0.005, 0.010, 0.020)],
        [f"run-{run}_echo-{echo}_MEGRE" for run in (1, 2) for echo in (1, 2, 3)],
    ),
    "magnitudes of two field maps": (
        "fmap/magnitude",
        "echo_time_s",
        [(0.00492, 0.00738), (0.005, 0.0075)],
        [f"run-{run}_magnitude{echo}" for run in (1, 2) for echo in (1, 2)],
    ),
}


@pytest.mark.parametrize("case", REPEATS)
def test_a_repeat_with_other_times_is_no_part_of_the_first(case: str) -> None:
    name, fact, values, expected = REPEATS[case]
    groups = [
        [stack(number, place, **{fact: value}) for place, value in enumerate(times, start=1)]  # type: ignore[arg-type]
        for number, times in enumerate(values, start=1)
    ]
    plan = planned(index(*groups), *(answer(n, name, run="several") for n in (1, 2)))
    assert list(names(plan).values()) == expected
    assert any("no repeats" in warning for warning in plan.warnings)
    assert "Give them a run" in said(index(*groups), *(answer(n, name) for n in (1, 2)))


@pytest.mark.parametrize(
    ("numbers", "expected"),
    [((2, 3), (2, 3)), ((3, 2), (1, 2)), ((0, 1), (1, 2)), ((1, 1), (1, 2)), ((None, 2), (1, 2))],
)
def test_a_series_without_its_first_echo_has_the_others(
    numbers: tuple[int | None, int], expected: tuple[int, int]
) -> None:
    echoes = [
        stack(5, place, echo_number=number, echo_time_s=place / 100)
        for place, number in enumerate(numbers, start=1)
    ]
    plan = planned(index(echoes), answer(5, "func/task-a_bold"))
    assert tuple(names(plan).values()) == tuple(f"task-a_echo-{echo}_bold" for echo in expected)
    told = any("task-a_bold: there are echoes 2, 3, but not 1" in warning for warning in plan.warnings)
    assert told == (expected == (2, 3))


def test_echoes_that_were_measured_in_turns_are_of_one_image() -> None:
    groups = [[stack(n, e, echo_time_s=(2 * e + n) / 1000) for e in (1, 2)] for n in (1, 2)]
    plan = planned(index(*groups), *(answer(n, "anat/MEGRE") for n in (1, 2)))
    assert list(names(plan).values()) == [f"echo-{echo}_MEGRE" for echo in (1, 3, 2, 4)]
    again = [[stack(n, e, echo_time_s=(2 * e + 2 - n % 2) / 1000) for e in (1, 2)] for n in (1, 2, 3, 4)]
    plan = planned(index(*again), *(answer(n, "anat/MEGRE", run="several") for n in (1, 2, 3, 4)))
    expected = [f"run-{run}_echo-{echo}_MEGRE" for run in (1, 2) for echo in (1, 3, 2, 4)]
    assert list(names(plan).values()) == expected


def test_nothing_is_put_in_that_bids_does_not_allow_there() -> None:
    study = index([stack(1, component="magnitude"), stack(1, 2, component="phase")])
    text = said(study, answer(1, "anat/T1map"))
    assert "one name for 2 stacks (stack 1: 64x64x30x1, magnitude; stack 2: 64x64x30x1, phase)" in text


@pytest.mark.parametrize("suffix", ["VFA", "MP2RAGE", "MTR", "IRT1"])
def test_an_entity_that_bids_wants_is_not_made_up(suffix: str) -> None:
    study = index([stack(1)], [stack(2)])
    text = said(study, *(answer(n, f"anat/{suffix}") for n in (1, 2)))
    assert "needs the entity" in text
    assert "is the name of 2 volumes" in text


def test_a_fact_that_one_of_them_does_not_have_is_not_guessed() -> None:
    study = index([stack(1, inversion_time_s=0.8)], [stack(2)])
    text = said(study, *(answer(n, "anat/MP2RAGE") for n in (1, 2)))
    assert "inversion time 0.8, unknown" in text


def test_a_single_phase_beside_two_magnitudes_is_left_to_the_heuristic() -> None:
    facts = [("magnitude", 0.005), ("magnitude", 0.007), ("phase", 0.007)]
    study = index([stack(1, n, component=c, echo_time_s=t) for n, (c, t) in enumerate(facts, start=1)])
    assert "is wrong" in said(study, answer(1, "fmap/magnitude"))


def test_a_lone_field_map_of_opposed_phase_is_named_as_the_heuristic_says() -> None:
    plan = planned(index([stack(1, phase_encoding_direction="j-")]), answer(1, "fmap/epi"))
    assert names(plan) == {"001-1": "epi"}


# ------------------------------------------------------------------------------------- of one protocol

# a T1w and the magnitudes of a field map, which a rule that takes too much brings together
MPRAGE = ((128, 128, 96), {"component": "magnitude", "echo_time_s": 0.003, "repetition_time_s": 1.8})
ECHO_1 = ((64, 64, 33), {"component": "magnitude", "echo_time_s": 0.01, "repetition_time_s": 0.6})
ECHO_2 = ((64, 64, 33), {"component": "magnitude", "echo_time_s": 0.01246, "repetition_time_s": 0.6})
PHASE = ((64, 64, 33), {"component": "phase", "echo_time_s": 0.01246, "repetition_time_s": 0.6})
GRE, EPSE = {"ScanningSequence": ["GR"]}, {"ScanningSequence": ["EP", "SE"]}
AP = {"phase_encoding_direction": "j-"}
PA = {"phase_encoding_direction": "j"}

Volume = tuple[tuple[int, int, int], dict[str, object]]
# name; volumes of each series; names where runs are numbered by time
UNLIKE: dict[str, tuple[str, list[list[Volume]], list[str]]] = {
    "echoes of something else": (
        "anat/T1w",
        [[MPRAGE], [ECHO_1, ECHO_2]],
        ["run-1_echo-1_T1w", "run-2_echo-1_T1w", "run-2_echo-2_T1w"],
    ),
    "a phase of something else": ("anat/T1w", [[MPRAGE], [PHASE]], ["run-1_T1w", "run-2_T1w"]),
    "magnitude and phase of something else": (
        "anat/T1w",
        [[MPRAGE], [ECHO_2], [PHASE]],
        ["run-1_part-mag_T1w", "run-2_part-mag_T1w", "run-2_part-phase_T1w"],
    ),
    "the same matrix, another repetition time": (
        "anat/T2starw",
        [[((64, 64, 33), {"echo_time_s": 0.02, "repetition_time_s": 1.8})], [ECHO_1, ECHO_2]],
        ["run-1_echo-1_T2starw", "run-2_echo-1_T2starw", "run-2_echo-2_T2starw"],
    ),
    "the same matrix and repetition time, another sequence": (
        "anat/T2starw",
        [
            [((64, 64, 33), {"echo_time_s": 0.02, "sidecar": EPSE})],
            [((64, 64, 33), {"echo_time_s": time, "sidecar": GRE}) for time in (0.01, 0.03)],
        ],
        ["run-1_echo-1_T2starw", "run-2_echo-1_T2starw", "run-2_echo-2_T2starw"],
    ),
    "directions of a time series and of diffusion": (
        "func/task-x_bold",
        [[((64, 64, 33), AP)], [((72, 72, 39), PA)]],
        ["task-x_run-1_bold", "task-x_run-2_bold"],
    ),
}


def protocols_of(series: list[list[Volume]], order: list[int]) -> list[list[Stack]]:
    """These series, acquired in this order; magnitude and phase of series of their own at the same moment."""
    number_of = {place: number for number, place in enumerate(order, start=1)}
    found = []
    for place in order:
        number = number_of[place]
        is_phase_of_last = len(series) > 2 and place > 0
        minute = min(number_of[1], number_of[2]) if is_phase_of_last else number
        found.append(
            [
                replace(
                    stack(number, n, acquired=f"2026-01-02T10:{minute:02d}:00", **facts),  # type: ignore[arg-type]
                    shape=(*shape, 1),
                )
                for n, (shape, facts) in enumerate(series[place], start=1)
            ]
        )
    return found


@pytest.mark.parametrize("is_turned", [False, True])
@pytest.mark.parametrize("case", UNLIKE)
def test_volumes_of_another_protocol_are_no_echoes_parts_or_directions(case: str, is_turned: bool) -> None:
    name, series, by_time = UNLIKE[case]
    order = sorted(range(len(series)), reverse=is_turned)
    groups = protocols_of(series, order)
    study, numbers = index(*groups), range(1, len(groups) + 1)
    assert "is the name of 2 volumes" in said(study, *(answer(n, name) for n in numbers))

    plan = planned(study, *(answer(n, name, run="several") for n in numbers))
    found = names(plan)
    called = [found[one.stack_id] for place in range(len(series)) for one in groups[order.index(place)]]
    if is_turned:
        swap = {"run-1": "run-2", "run-2": "run-1"}
        by_time = ["_".join(swap.get(word, word) for word in one.split("_")) for one in by_time]
    assert called == by_time
    if "the same matrix" not in case:
        assert any("runs that are no repeats" in one and "matrix" in one for one in plan.warnings)


MOVED = ((1.0, 0, 0, 8.0), (0, 1.0, 0, 0), (0, 0, 1.0, 0), (0, 0, 0, 1.0))
SHAKEN = ((1.0001, 0, 0, 0.0004), (0, 1.0, 0, -0.0003), (0, 0, 1.0, 0), (0, 0, 0, 1.0))


def test_echoes_share_their_place_in_space() -> None:
    one, other = (stack(n, acquired=TOGETHER, echo_time_s=n / 100) for n in (1, 2))
    both = [answer(n, "func/task-rest_bold") for n in (1, 2)]
    text = said(index([one], [replace(other, affine_ras=MOVED)]), *both)  # type: ignore[arg-type]
    assert "first voxel at (mm) 0.0 0.0 0.0, 8.0 0.0 0.0" in text
    noisy = index([one], [replace(other, affine_ras=SHAKEN)])  # type: ignore[arg-type]
    assert list(names(planned(noisy, *both)).values()) == ["task-rest_echo-1_bold", "task-rest_echo-2_bold"]


def test_echoes_of_a_run_after_the_patient_moved_are_the_same_echoes() -> None:
    groups = [
        [replace(stack(n, e, echo_time_s=e / 100), affine_ras=MOVED if n > 1 else SHAKEN) for e in (1, 2)]  # type: ignore[arg-type]
        for n in (1, 2)
    ]
    plan = planned(index(*groups), *(answer(n, "func/task-rest_bold", run="several") for n in (1, 2)))
    assert list(names(plan).values()) == [
        f"task-rest_run-{run}_echo-{echo}_bold" for run in (1, 2) for echo in (1, 2)
    ]
    assert not any("no repeats" in one for one in plan.warnings)


def test_protocols_of_multi_parametric_mapping_have_repetition_times_of_their_own() -> None:
    groups = [
        [
            stack(
                n,
                e,
                flip_angle_deg=angle,
                repetition_time_s=time,
                echo_time_s=e / 400,
                sidecar={"MTState": state},
            )
            for e in (1, 2)
        ]
        for n, angle, time, state in ((1, 6.0, 0.037, True), (2, 6.0, 0.025, False), (3, 21.0, 0.0187, False))
    ]
    plan = planned(index(*groups), *(answer(n, "anat/MPM") for n in (1, 2, 3)))
    assert list(names(plan).values()) == [
        f"echo-{echo}_flip-{flip}_mt-{mt}_MPM"
        for flip, mt in ((1, "on"), (1, "off"), (2, "off"))
        for echo in (1, 2)
    ]


@pytest.mark.parametrize("name", ["anat/VFA", "anat/MP2RAGE", "anat/MTR", "fmap/epi", "fmap/magnitude"])
def test_other_matrices_are_never_one_set(name: str) -> None:
    facts: list[dict[str, object]] = [
        {
            "flip_angle_deg": 5.0 * n,
            "inversion_time_s": 0.8 * n,
            "echo_time_s": 0.005 * n,
            "phase_encoding_direction": letters,
            "sidecar": {"MTState": n == 1},
        }
        for n, letters in ((1, "j"), (2, "j-"))
    ]
    first, second = (stack(n, **one) for n, one in enumerate(facts, start=1))  # type: ignore[arg-type]
    both = [answer(n, name) for n in (1, 2)]
    planned(index([first], [second]), *both)  # a set, were it not for the matrix
    assert "matrix 64x64x30, 72x72x30" in said(
        index([first], [replace(second, shape=(72, 72, 30, 1))]), *both
    )


# ------------------------------------------------------------------------------------------- directions


@pytest.mark.parametrize(
    ("letters", "affine", "expected"),
    [
        ("j-", ((2, 0, 0, 0), (0, 2, 0, 0), (0, 0, 2, 0)), "AP"),
        ("j", ((-2, 0, 0, 0), (0, 1.9, 0.3, 0), (0, -0.3, 1.9, 0)), "PA"),
        ("i", ((-2, 0, 0, 0), (0, 2, 0, 0), (0, 0, 2, 0)), "RL"),
        ("i-", ((0, 0, 2, 0), (2, 0, 0, 0), (0, 2, 0, 0)), "AP"),  # sagittal
        ("j", ((0, 0, 2, 0), (2, 0, 0, 0), (0, 2, 0, 0)), "IS"),
        (None, ((2, 0, 0, 0), (0, 2, 0, 0), (0, 0, 2, 0)), None),
    ],
)
def test_direction_is_the_patients(
    letters: str | None, affine: tuple[tuple[float, ...], ...], expected: str | None
) -> None:
    rows = (*affine, (0.0, 0.0, 0.0, 1.0))
    one = replace(stack(1, phase_encoding_direction=letters), affine_ras=rows)  # type: ignore[arg-type]
    assert direction(one) == expected
    assert direction(replace(one, placed=False)) is None


# ------------------------------------------------------------------------------------------ computed maps


@pytest.mark.parametrize(
    ("kinds", "suffix"),
    [(("DERIVED", "PRIMARY", "DIFFUSION", kind), suffix) for kind, suffix in
     (("ADC", "ADC"), ("FA", "FA"), ("TRACEW", "trace"), ("TENSOR_B0", ""))],
)  # fmt: skip
def test_maps_that_are_named_as_diffusion_volumes(kinds: tuple[str, ...], suffix: str) -> None:
    study = index([stack(1)], [stack(2, is_diffusion_map=True, image_type=kinds)])
    named = [answer(n, f"dwi/dir-AP_run-{n}_dwi") for n in (1, 2)]
    row = planned(study, *named).rows[1]
    assert row.bids_name == ""
    assert "a map that the scanner computed, no diffusion volumes" in row.reason
    assert ("BIDS has no name for it" in row.reason) == (not suffix)
    plan = planned(study, *named, rules=NamingRules(computed_maps="name"))
    assert names(plan)["002-1"] == (f"dir-AP_run-2_{suffix}" if suffix else "")
    assert "left out: series 002 (protocol 2)" in planned(study, *named).warnings[0]


def test_a_map_that_is_named_as_one_keeps_its_name() -> None:
    plan = planned(index([stack(2, is_diffusion_map=True)]), answer(2, "dwi/ADC"))
    assert names(plan) == {"002-1": "ADC"}
