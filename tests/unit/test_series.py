"""Series exported as one series a volume (Siemens XA, MFSPLIT): joined if all proves it, else kept apart.

The headers follow corpus xa30i/7001 to 7020: one SeriesTime, NumberOfTemporalPositions, AcquisitionNumber
counting volumes, InstanceNumber beginning anew.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import nibabel
import numpy as np
import pytest
from pydicom.dataset import Dataset

from pacs2bids.dialects.seqinfos import series_to_show
from pacs2bids.model import Reason, StudyIndex
from pacs2bids.store import index_folder, reconstruct
from synthetic import Series, uid

VOLUMES = 4
SCAN = Series(name="bold", number=7001, slices=3, volumes=VOLUMES)

Change = Callable[[Dataset, int], None]


def exported(data: Dataset, volume: int, slice_: int) -> None:
    """As XA exports a volume: identity of its own, the time of the common source."""
    data.SeriesInstanceUID = uid("bold", "volume", volume)
    data.SeriesNumber = SCAN.number + volume
    data.SeriesDate, data.SeriesTime = "20260102", "103016.310000"
    data.FrameOfReferenceUID = uid("frame")
    data.ProtocolName = "bold"
    data.ImageType = ["ORIGINAL", "PRIMARY", "M", "MB", "ND", "MFSPLIT"]
    data.AcquisitionNumber = 1 + volume
    data.InstanceNumber = 1 + slice_
    data.NumberOfTemporalPositions = VOLUMES


def write(
    folder: Path, change: Change | None = None, lost: Callable[[int, int], bool] | None = None
) -> StudyIndex:
    """``change`` edits an instance of a volume; ``lost`` (volume, slice) -> whether it is missing."""
    folder.mkdir()
    for volume in range(VOLUMES):
        for slice_ in range(SCAN.slices):
            data = SCAN.dataset(slice_, volume)
            exported(data, volume, slice_)
            if change is not None:
                change(data, volume)
            if lost is None or not lost(volume, slice_):
                # names that say nothing, in an order that is not that of the volumes
                data.save_as(folder / f"{uid('name', volume, slice_)}.dcm", enforce_file_format=True)
    (index,) = index_folder(folder).indices
    return index


def test_volumes_in_series_of_their_own_are_one_time_series(tmp_path: Path) -> None:
    index = write(tmp_path / "in")
    (stack,) = index.stacks
    assert (stack.stack_id, stack.shape) == ("7001-1", (5, 4, 3, VOLUMES))
    assert not stack.warnings
    assert not index.leftovers
    assert [one.joined_to for one in index.series] == [None, "7001", "7001", "7001"]
    assert [one.instances for one in index.series] == [3] * VOLUMES
    assert len(stack.sop_instance_uids) == VOLUMES * 3
    manifest = reconstruct(index, tmp_path / "in", tmp_path / "out", jobs=1, gzip="fast")
    assert not manifest.failed
    image = nibabel.load(tmp_path / "out" / "7001-1.nii.gz")
    data = np.asanyarray(image.dataobj)
    for volume in range(VOLUMES):
        assert np.array_equal(data[..., volume], SCAN.expected(image.affine, data.shape, volume))


def test_heuristics_see_a_joined_scan_once(tmp_path: Path) -> None:
    (one,) = series_to_show([write(tmp_path / "in")])
    series, shown = one.series, one.info
    assert (series.series_number, shown.series_files) == (7001, VOLUMES * 3)


def test_the_last_volume_of_an_interrupted_scan_is_listed(tmp_path: Path) -> None:
    index = write(tmp_path / "in", lost=lambda volume, slice_: volume == VOLUMES - 1 and slice_ == 1)
    (stack,) = index.stacks
    assert stack.shape[3] == VOLUMES - 1
    assert [one.reason for one in index.leftovers] == [Reason.INCOMPLETE] * 2
    last = uid("bold", "volume", VOLUMES - 1)
    assert {one.series_instance_uid for one in index.leftovers} == {last}


def test_a_volume_within_the_scan_that_lacks_a_slice_is_told(tmp_path: Path) -> None:
    index = write(tmp_path / "in", lost=lambda volume, slice_: volume == 1 and slice_ == 1)
    (stack,) = index.stacks
    assert stack.shape[3] == VOLUMES - 1
    assert any("later ones come too early" in warning for warning in stack.warnings)


def test_fewer_volumes_than_announced_are_told(tmp_path: Path) -> None:
    index = write(tmp_path / "in", lost=lambda volume, _: volume == VOLUMES - 1)
    (stack,) = index.stacks
    assert stack.shape[3] == VOLUMES - 1
    assert stack.warnings == ("3 of 4 volumes: the others are missing or were never acquired",)


def left_out(data: Dataset, volume: int) -> None:
    data.AcquisitionNumber = 1 + volume + volume // 2


def numbered_twice(data: Dataset, volume: int) -> None:
    data.AcquisitionNumber = 1 + volume // 2


def numbered_backwards(data: Dataset, volume: int) -> None:
    data.SeriesNumber = 7010 - volume


def timed_backwards(data: Dataset, volume: int) -> None:
    data.AcquisitionTime = f"1030{50 - volume}.5"


def of_another_slab(data: Dataset, volume: int) -> None:
    x, y, z = data.ImagePositionPatient
    data.ImagePositionPatient = [x, y, z + 12 * volume]


def of_fewer_announced(data: Dataset, _volume: int) -> None:
    data.NumberOfTemporalPositions = 2


@pytest.mark.parametrize(
    "change",
    [left_out, numbered_twice, numbered_backwards, timed_backwards, of_another_slab, of_fewer_announced],
)
def test_what_only_looks_like_one_scan_stays_apart_with_a_warning(tmp_path: Path, change: Change) -> None:
    index = write(tmp_path / "in", change)
    assert len(index.stacks) == len(index.series) == VOLUMES
    assert all("may be part of one scan" in stack.warnings[0] for stack in index.stacks)
    assert not any(one.joined_to for one in index.series)


def run_again(data: Dataset, volume: int) -> None:
    data.SeriesTime = f"1030{16 + volume}.310000"


def without_series_time(data: Dataset, _volume: int) -> None:
    del data.SeriesTime


def of_single_volumes(data: Dataset, _volume: int) -> None:
    data.NumberOfTemporalPositions = 1


def of_other_protocols(data: Dataset, volume: int) -> None:
    data.ProtocolName = f"bold {volume}"


def of_other_echoes(data: Dataset, volume: int) -> None:
    data.EchoTime = 10.0 + volume


def of_other_types(data: Dataset, volume: int) -> None:
    data.ImageType = ["ORIGINAL", "PRIMARY", "MP"[volume % 2], f"V{volume}"]


@pytest.mark.parametrize(
    "change",
    [run_again, without_series_time, of_single_volumes, of_other_protocols, of_other_echoes, of_other_types],
)
def test_series_of_their_own_are_never_joined(tmp_path: Path, change: Change) -> None:
    index = write(tmp_path / "in", change)
    assert [stack.shape[3] for stack in index.stacks] == [1] * VOLUMES
    assert not any(stack.warnings for stack in index.stacks)
