"""Slice times of a stack: which volume's reading counts, and when none does."""

from __future__ import annotations

import numpy as np
import pytest
from pydicom.dataset import Dataset

from pacs2bids.frames import Frame
from pacs2bids.header import Header
from pacs2bids.model import Facts, Plane
from pacs2bids.stack import Arrangement, Piece
from pacs2bids.timing import pause, repetition_time_s, slice_times_s
from synthetic import IMAGE

PLANE = Plane(
    position_lps=(0, 0, 0),
    row_cosines_lps=(1, 0, 0),
    column_cosines_lps=(0, 1, 0),
    row_spacing_mm=1,
    column_spacing_mm=1,
    rows=2,
    columns=2,
)


def piece(time: float | None, tile: int, acquired: str = "") -> Piece:
    return Piece(
        plane=PLANE,
        image=IMAGE,
        tile=tile,
        tile_row=0,
        tile_column=0,
        sop_instance_uid="1.2",
        instance_number=1,
        temporal_position=None,
        acquisition_number=None,
        acquired=acquired,
        b_value_s_per_mm2=None,
        b_vector_lps=None,
        slice_time_s=time,
        rescale=(1, 0),
        display_rescale=(1, 0),
        per_volume=(),
    )


def told(
    *volumes: list[float | None], bands: int | None = None, tiled: bool = False, tr: float | None = 2.0
) -> list[float]:
    """SliceTiming of a stack whose volumes hold these times, in s."""
    grid = tuple(
        tuple(piece(time, tile if tiled else 0) for tile, time in enumerate(times)) for times in volumes
    )
    header = Header.of(Dataset())
    template = Frame(
        header=header, instance=header, facts=Facts(multiband_factor=bands), plane=PLANE, image=IMAGE
    )
    arrangement = Arrangement(grid=grid, slice_step_lps=np.array([0, 0, 1.0]), incomplete=())
    return [round(time, 6) for time in slice_times_s(template, arrangement, tr)]


def test_times_count_from_the_first_excitation_of_the_volume() -> None:
    assert told([105.5, 105.0, 106.5]) == [0.5, 0, 1.5]


def test_slices_stored_one_by_one_take_the_second_volume() -> None:
    assert told([0, 0.5025, 1.0], [2.0, 2.5, 3.0]) == [0, 0.5, 1.0]


def test_tiles_take_the_first_volume_unless_it_took_another_time() -> None:
    assert told([0, 0.5025, 1.0], [0, 0.5, 1.0], tiled=True) == [0, 0.5025, 1.0]
    assert told([0, 0.5025, 1.0], [0, 0.5, 1.0025], tiled=True) == [0, 0.5, 1.0025]


@pytest.mark.parametrize("reference", [[0, 1.5, 3.0, 4.5], [None, 0, 0.5, 1], [0, 0, 0, 0]])
def test_first_volume_that_contradicts_is_passed_over(reference: list[float | None]) -> None:
    assert told(reference, [2, 2.5, 3, 3.5], tiled=True) == [0, 0.5, 1, 1.5]
    assert told(reference, reference, [2, 2.5, 3, 3.5]) == [0, 0.5, 1, 1.5]


def test_slices_of_a_multiband_volume_coincide() -> None:
    single_band: list[float | None] = [0, 0.1, 0.2, 0.3]
    assert told(single_band, [2, 3, 2.0025, 3], bands=2) == [0, 1, 0.0025, 1]
    assert told(single_band, bands=2) == []
    assert told([0, 1, 0.5, 0, 1], bands=2) == [0, 1, 0.5, 0, 1]  # five slices: one excitation is not full
    # GE throws away the slices of an excitation that only makes their number odd (dcm2niix issue 933)
    assert told([0, 3, 1, 4, 2, 0, 3, 1], tr=5, bands=2) == [0, 3, 1, 4, 2, 0, 3, 1]


@pytest.mark.parametrize("times", [[0, 1, 2], [0, None, 1], [0, 0, 0]])
def test_times_that_are_no_schedule_are_left_out(times: list[float | None]) -> None:
    assert told(times) == []
    assert told([0, 1, 2], tr=None) == [0, 1, 2]


def pace(*starts: str, dimensions: str = "3D") -> float | None:
    """RepetitionTime of echo-planar volumes that start at these times of the clock, 55 ms in the header."""
    dataset = Dataset()
    dataset.ScanningSequence, dataset.MRAcquisitionType, dataset.RepetitionTime = "EP", dimensions, 55
    header = Header.of(dataset)
    template = Frame(header=header, instance=header, facts=Facts(), plane=PLANE, image=IMAGE)
    stamps = [start and f"2020-01-01T10:{start}" for start in starts]
    grid = tuple((piece(None, 0, stamp), piece(None, 0, stamp)) for stamp in stamps)
    arrangement = Arrangement(grid=grid, slice_step_lps=np.array([0, 0, 1.0]), incomplete=())
    return repetition_time_s(template, arrangement)


def test_volumes_of_several_shots_follow_at_their_own_pace() -> None:
    assert pace("00:58.500", "00:59.7025", "01:00.905") == pytest.approx(1.2025)
    assert pace("00:58.500", "00:59.7025") == pytest.approx(1.2025)
    assert pace("00:58.500", "00:59.7025", "01:30.905") == 0.055  # a pause: no one time between volumes
    assert pace("", "", "") == 0.055
    assert pace("00:00.000", "00:00.055", "00:00.110") == 0.055
    assert pace("00:00.000", "00:00.0575", "00:00.1125") == 0.055  # a clock tick late
    assert pace("00:58.500", "00:59.7025", "01:00.905", dimensions="2D") == 0.055
    label_and_control = ("00:10", "00:10", "00:20", "00:20", "00:30", "00:30")
    assert pace(*label_and_control) == 5
    assert pace(*label_and_control[:-1]) == 0.055  # the last of them is missing


@pytest.mark.parametrize(("gap_s", "warned"), [(2, False), (19, False), (90, True)])
def test_pause_between_volumes_is_told(gap_s: int, warned: bool) -> None:
    starts = [f"2026-01-02T10:{second // 60:02d}:{second % 60:02d}" for second in (0, 2, 4, 4 + gap_s)]
    grid = tuple((piece(None, 0, start), piece(None, 0, start)) for start in starts)
    arrangement = Arrangement(grid=grid, slice_step_lps=np.array([0, 0, 1.0]), incomplete=())
    assert pause(arrangement, 2.0).startswith("volume 4 comes 90 s behind volume 3") is warned
    assert bool(pause(arrangement, 2.0)) is warned
    assert not pause(arrangement, None)
