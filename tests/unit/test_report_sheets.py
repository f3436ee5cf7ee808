"""Protocol drift, and the matrix of sessions: small datasets whose truth is written down by hand."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import pytest

from pacs2bids.report.diagrams import directions_svg, shells_of, signal_svg, weighted_signal_svg
from pacs2bids.report.drift import (
    PARAMETERS,
    Parameter,
    consensus_of,
    drift_of,
    is_alike,
    models_of,
    table_of,
)
from pacs2bids.report.evidence import Outline
from pacs2bids.report.matrix import matrix_of
from pacs2bids.report.page import render_dataset
from pacs2bids.report.series import key_of
from pacs2bids.report.view import Acquired, Badge, SessionSummary, Value
from pacs2bids.report.whole import page_of
from summaries import summary as session

BOLD = "func/task-rest_bold"
TR = next(one for one in PARAMETERS if one.label == "TR")


def bold(
    subject: str = "01",
    run: int = 1,
    *,
    state: str = "placed",
    short: str = "",
    scanner: str = "",
    **values: Value,
) -> Acquired:
    said: dict[str, Value] = {"TR": 2000.0, "Volumes": 300, "Coil": "HeadNeck_64"} | values
    name = f"sub-{subject}/ses-a/func/sub-{subject}_ses-a_task-rest_run-{run}_bold"
    return Acquired(name=name, key=key_of(name), state=state, scanner=scanner, short=short, values=said)


def t1w(subject: str = "01") -> Acquired:
    name = f"sub-{subject}/ses-a/anat/sub-{subject}_ses-a_T1w"
    return Acquired(
        name=name, key=key_of(name), state="placed", values={"TR": 2300.0, "Voxel": (1.0, 1.0, 1.0)}
    )


@pytest.mark.parametrize(
    ("name", "key"),
    [
        ("sub-01/ses-a/func/sub-01_ses-a_task-rest_dir-AP_run-2_bold", "func/task-rest_dir-AP_bold"),
        ("sub-01/anat/sub-01_T1w", "anat/T1w"),
        ("sub-01/ses-a/fmap/sub-01_ses-a_acq-run_dir-PA_epi", "fmap/acq-run_dir-PA_epi"),
    ],
)
def test_key_is_the_name_without_its_occasion(name: str, key: str) -> None:
    assert key_of(name) == key


# ---------------------------------------------------------------------------------------------- drift


def test_who_deviates_from_what_most_have() -> None:
    sheet = drift_of(
        [
            session("01", [bold("01"), t1w("01")]),
            session("02", [bold("02"), bold("02", 2, TR=2000.4)]),  # 0.02 %: rounding
            session("03", [bold("03", TR=2500.0, Coil="Head_32")]),
            session("04", [bold("04", Software="XA60")]),  # the others do not tell theirs
        ]
    )
    (anat, func) = sheet
    assert (anat.key, anat.volumes, anat.sessions, anat.deviations) == ("anat/T1w", 1, 1, ())
    assert (func.key, func.volumes, func.sessions) == (BOLD, 5, 4)
    assert {one.label: (one.value, one.holding, one.deviating) for one in func.consensus} == {
        "TR": ("2,000 ms", 4, 1),
        "Volumes": ("300", 5, 0),
        "Coil": ("HeadNeck_64", 4, 1),
        "Software": ("", 4, 1),
    }
    assert [(one.session, one.label, one.value) for one in func.deviations] == [
        ("sub-03_ses-a", "TR", "2,500 ms"),
        ("sub-03_ses-a", "Coil", "Head_32"),
        ("sub-04_ses-a", "Software", "XA60"),
    ]
    assert func.deviating_sessions() == 2


def test_missing_value_deviates() -> None:
    silent = Acquired(name="x", key=BOLD, state="placed", values={"Volumes": 300})
    (func,) = drift_of([session("01", [bold()]), session("02", [bold("02")]), session("03", [silent])])
    assert [(one.session, one.label, one.value) for one in func.deviations] == [
        ("sub-03_ses-a", "TR", ""),
        ("sub-03_ses-a", "Coil", ""),
    ]


def test_scanners_are_compared_with_their_like() -> None:
    """Three of one model, of which one is upgraded, which changes its name; two of another; one unknown."""
    sheet = drift_of(
        [
            session("01", [bold("01", scanner="Prisma_fit 3 T", Software="E11")]),
            session("02", [bold("02", scanner="Prisma_fit 3 T", Software="E11")]),
            session("03", [bold("03", scanner="MAGNETOM Prisma Fit 3 T", Software="XA30")]),
            session("04", [bold("04", scanner="SIGNA Premier 3 T", TR=2500.0)]),
            session("05", [bold("05", scanner="SIGNA Premier 3 T", TR=2500.0)]),
            session("06", [bold("06", TR=1000.0)]),
        ]
    )
    assert [(one.scanner, one.volumes) for one in sheet] == [
        ("", 1),
        ("Prisma_fit 3 T", 3),
        ("SIGNA Premier 3 T", 2),
    ]
    assert {one.key for one in sheet} == {BOLD}
    assert [(one.session, one.label, one.value) for drift in sheet for one in drift.deviations] == [
        ("sub-03_ses-a", "Software", "XA30")
    ]
    assert {row["scanner"] for row in table_of(sheet)} == {None, "Prisma_fit 3 T", "SIGNA Premier 3 T"}


@pytest.mark.parametrize(
    ("scanners", "told"),
    [
        (("Prisma 3 T", "Prisma 3 T"), ("with, all on Prisma 3 T;",)),
        (
            ("Prisma 3 T", "Skyra 3 T"),
            ("volumes of different models are not compared;", ">Prisma 3 T<", ">Skyra 3 T<"),
        ),
        (("Prisma 3 T", ""), ("volumes of different models are not compared;", ">scanner not told<")),
        (("", ""), ("were measured with;",)),
    ],
)
def test_the_page_says_which_scanners_it_compares(scanners: tuple[str, str], told: tuple[str, ...]) -> None:
    known = Outline(description={}, workdir=Path("work"), bids=Path("bids"), sessions=(), check=None, logs={})
    acquired = [session(f"0{number}", [bold(scanner=one)]) for number, one in enumerate(scanners)]
    page = render_dataset(page_of(known, acquired), files="report_files", drift_table="drift.tsv")
    assert [words for words in told if words not in page] == []


def test_models_that_are_called_alike_are_others() -> None:
    different = ["Ingenia 3 T", "Ingenia Elition X 3 T", "Ingenia 1.5 T", "Prisma 3 T", "Prisma_fit 3 T", ""]
    assert models_of(different) == {one: one for one in different}


def test_near_numbers_count_together() -> None:
    # 2000.3 and 2001 are within a thousandth of 2000, not of each other's far sides: five against four
    values: list[Value | None] = [1500.0] * 4 + [2000.0, 2000.3, 2001.0, 1999.0, 2000.0]
    assert consensus_of(values, TR) == 2000.0
    assert consensus_of([3.0, 3.0, 2.0, 2.0], TR) == 3.0  # of equals the first
    assert consensus_of([None, None, 3.0], TR) is None
    assert consensus_of([(1.0, 1.0), (1.004, 1.0), (2.0, 2.0)], Parameter(label="v", absolute=0.01)) == (
        1.0,
        1.0,
    )


def test_what_is_alike() -> None:
    voxel = next(one for one in PARAMETERS if one.label == "Voxel")
    assert is_alike((3.0, 3.0, 3.0), (3.0, 3.009, 3.0), voxel)
    assert not is_alike((3.0, 3.0, 3.0), (3.0, 3.02, 3.0), voxel)
    assert not is_alike(None, 2000.0, TR)
    assert is_alike(2000, 2001.9, TR)
    assert not is_alike(2000, 2003, TR)


def test_table_has_every_deviation_and_every_consensus() -> None:
    rows = list(
        table_of(
            drift_of(
                [session("01", [bold()]), session("02", [bold("02")]), session("03", [bold("03", TR=1.0)])]
            )
        )
    )
    assert [
        (row["parameter"], row["consensus"], row["holding"], row.get("session"), row.get("value"))
        for row in rows
    ] == [
        ("TR", "2,000 ms", "2 of 3", "sub-03_ses-a", "1 ms"),
        ("Volumes", "300", "3 of 3", None, None),
        ("Coil", "HeadNeck_64", "3 of 3", None, None),
    ]


# ---------------------------------------------------------------------------------------------- matrix


def states(sessions: Sequence[SessionSummary]) -> dict[str, str]:
    """Session -> signs of its cells."""
    matrix = matrix_of(sessions)
    return {row.session: "".join(cell.sign for cell in row.cells) for row in matrix.rows}


def test_what_each_session_has() -> None:
    sessions = [
        session("01", [t1w("01"), bold("01")]),
        session("02", [t1w("02"), bold("02", Volumes=120)]),
        session("03", [t1w("03")]),
        session("04", [t1w("04"), bold("04"), bold("04", 2)]),
        session("05", [t1w("05"), bold("05", state="absent")]),
        session("06", [t1w("06"), bold("06")]),
        session("07", [], failed=True, badge=Badge(tone="bad", text="failed: not received")),
        session("08", [t1w("08"), bold("08", short="short: 290 of 300 volumes")]),
    ]
    assert matrix_of(sessions).keys == ("anat/T1w", BOLD)
    assert list(states(sessions).values()) == ["●●", "●◐", "●○", "●+", "●✕", "●●", "✕✕", "●◐"]
    rows = {row.session: row for row in matrix_of(sessions).rows}
    assert rows["sub-02_ses-a"].cells[1].title == "short: 120 of 300 volumes"
    assert rows["sub-04_ses-a"].cells[1].title == "repeated: 2 of it; most have 1"
    assert rows["sub-07_ses-a"].cells[1].title == "failed: not received"
    assert rows["sub-08_ses-a"].cells[1].title == "short: 290 of 300 volumes"
    assert [row.session for row in rows.values() if row.is_whole] == ["sub-01_ses-a", "sub-06_ses-a"]
    assert matrix_of(sessions).count("failed") == 3


def test_another_scanner_may_have_fewer_volumes() -> None:
    first = [session(f"0{number}", [bold(scanner="Prisma 3 T")]) for number in range(1, 4)]
    upgraded = session("04", [bold(scanner="MAGNETOM Prisma 3 T", Volumes=120)])
    other = [session(f"0{number}", [bold(scanner="Skyra 3 T", Volumes=200)]) for number in range(5, 8)]
    cut = session("08", [bold(scanner="Skyra 3 T", Volumes=150)])
    rows = matrix_of([*first, upgraded, *other, cut]).rows
    assert {row.session: row.cells[0].title for row in rows if row.cells[0].title} == {
        "sub-04_ses-a": "short: 120 of 300 volumes",
        "sub-08_ses-a": "short: 150 of 200 volumes",
    }


def test_runs_that_all_have_of_several_lengths_are_not_cut() -> None:
    """Two long runs and a short one in each session; in the last the short one was cut."""
    lengths = [(300, 300, 200)] * 3 + [(300, 300, 120)]
    sessions = [
        session(f"0{number}", [bold(run=run, Volumes=length) for run, length in enumerate(of_runs, start=1)])
        for number, of_runs in enumerate(lengths, start=1)
    ]
    assert [row.cells[0].title for row in matrix_of(sessions).rows] == [
        *[""] * 3,
        "short: 120 of 200 volumes",
    ]


def test_second_visits_are_compared_among_themselves() -> None:
    first = [session(f"0{number}", [t1w(), bold()], "a") for number in range(1, 5)]
    second = [session(f"0{number}", [bold()], "b") for number in range(1, 4)]
    alone = session("09", [bold()], "c")  # no three of its label: with all
    assert states([*first, *second, alone]) == {
        **{f"sub-0{number}_ses-a": "●●" for number in range(1, 5)},
        **{f"sub-0{number}_ses-b": "·●" for number in range(1, 4)},
        "sub-09_ses-c": "○●",
    }


def test_one_of_two_runs_is_missing() -> None:
    sessions = [session(f"0{number}", [bold(), bold(run=2)]) for number in range(1, 4)]
    matrix = matrix_of([*sessions, session("04", [bold()])])
    assert matrix.rows[-1].cells[0].title == "missing: 1 of 2"


def test_a_thousand_sessions_take_no_time() -> None:
    acquired = [
        Acquired(
            name=f"n{key}",
            key=f"func/task-{key}_bold",
            state="placed",
            values={"TR": 2000.0 + key, "Volumes": 3},
        )
        for key in range(60)
    ]
    sessions = [session(f"{number:04}", acquired) for number in range(1000)]
    assert matrix_of(sessions).count("present") == 60_000
    assert sum(drift.volumes for drift in drift_of(sessions)) == 60_000


# ---------------------------------------------------------------------------------------------- diagrams


def test_shells() -> None:
    shells = shells_of([1000, 0, 1005, 5, 2000, 995, 1990, 700])
    assert [(round(shell.b_value_s_per_mm2), shell.volumes) for shell in shells] == [
        (2, (1, 3)),
        (700, (7,)),
        (1000, (0, 2, 5)),
        (1995, (4, 6)),
    ]
    assert shells_of([]) == ()


def test_directions_lie_as_the_patient_does_in_the_pictures() -> None:
    drawn = directions_svg(shells_of([0, 1000, 1000]), [(0, 0, 0), (1, 0, 0), (0, -0.6, -0.8)])
    assert drawn.count("<circle r=") == 1  # the sphere
    left, front = [part for part in drawn.split("<circle ") if part.startswith("cx=")]
    assert left.startswith('cx="-78.0" cy="0.0"')  # to the patient's left: on the left
    assert "above" in left
    assert front.startswith('cx="0.0" cy="-46.8"')  # to the front: up
    assert "below" in front
    assert directions_svg(shells_of([0, 0]), [(0, 0, 0)] * 2) == ""


def test_a_weighted_volume_that_lost_signal_stands_out_of_its_shell() -> None:
    # b = 0 is four times as bright as b = 1000; volume 3 of the latter lost a fifth of its signal
    shells = shells_of([0, 1000, 1000, 1000, 0, 1000, 1000])
    drawn = weighted_signal_svg([400, 100, 80, 100, 400, 100, 100], shells, 3.5)
    points = [part for part in drawn.split("<circle ") if part.startswith("cx=")]
    heights = [float(point.split('cy="')[1].partition('"')[0]) for point in points]
    assert heights[0] == heights[4]
    assert heights[2] == max(heights)  # down is less
    assert heights[1] == heights[3] == heights[5] == heights[6] == min(heights)
    assert ["unweighted" in point for point in points] == [True, False, False, False, True, False, False]
    assert "-16.67 %" in drawn  # 80 of the mean of 96
    assert "+4.17 %" in drawn
    assert "volume 7, 0:24 min" in drawn
    assert weighted_signal_svg([0, 0, 0], shells_of([0, 1000, 1000]), None) == ""


def test_a_volume_alone_in_its_shell_is_not_said_to_be_as_it_should() -> None:
    """As of b-values that all differ: each would be its own mean."""
    shells = shells_of([0, 0, 500, 1000, 2000])
    drawn = weighted_signal_svg([398, 402, 200, 5, 50], shells, None)
    assert [part.partition(" r=")[0] for part in drawn.split("<circle ")[1:]] == [
        'cx="58.0" cy="76.0"',
        'cx="196.0" cy="10.0"',
    ]
    assert "-0.50 %" in drawn
    assert weighted_signal_svg([400, 200, 5, 50], shells_of([0, 500, 1000, 2000]), None) == ""


def test_signal_is_told_in_percent_of_its_mean() -> None:
    drawn = signal_svg([99.0, 100.0, 101.0, 100.0], 2.0)
    assert "+1.00 %" in drawn
    assert "-1.00 %" in drawn
    assert "volume 4, 0:08 min" in drawn
    points = drawn.split('points="')[1].split('"')[0].split()
    heights = [float(point.split(",")[1]) for point in points]
    assert heights[0] > heights[1] == heights[3] > heights[2]
    assert signal_svg([0.0, 0.0], None) == signal_svg([float("nan"), 1.0], None) == signal_svg([], None) == ""
