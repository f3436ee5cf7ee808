"""The order of volumes, where the corpus' own pictures do not tell: in GE's they are copies of each other.

Each frame of a series is filled with a number of its own, in a copy. Where the numbers are in our volumes
says which frame went where; the headers say which of two frames at one place came first.
"""

from __future__ import annotations

import random
from collections import defaultdict
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pydicom
import pytest
from agreement import Corpus, study_folder
from placed import assert_weighted, beside, images_of, volumes_that_hold
from pydicom.dataset import Dataset
from pydicom.errors import InvalidDicomError
from stored_frames import StoredFrame, item, stored_frames

from pacs2bids.__main__ import main


@dataclass(frozen=True, kw_only=True)
class Case:
    """Series of one set; ``clocks``: elements by which the frames at one place follow each other in time."""

    name: str
    numbers: Sequence[int]
    clocks: Sequence[str]
    below: str = ""


TRIGGER = ("TemporalPositionIdentifier", "TriggerTime")
NUMBER = ("InstanceNumber",)
FRAME = ("TemporalPositionIndex", "FrameAcquisitionDateTime")
GROUPS = "PerFrameFunctionalGroupsSequence"

CASES = {
    "GE multiphase": Case(name="ge", below="SliceTimingMPh", numbers=[2], clocks=TRIGGER),
    "GE multiphase, delay": Case(name="ge", below="SliceTimingMPh", numbers=[3], clocks=TRIGGER),
    "GE multiphase, delays that vary": Case(name="ge", below="SliceTimingMPh", numbers=[5], clocks=TRIGGER),
    "GE multiphase, hyperband": Case(
        name="trt", below="05_EPI_mph_hb3_acc2_nointerp", numbers=[5], clocks=TRIGGER
    ),
    "GE multiphase, two passes": Case(
        name="trt", below="10_EPI_mph_acc1_interpPF", numbers=[10], clocks=TRIGGER
    ),
    "GE epiRT": Case(name="ge", below="SliceTimingRT/3_epiRT_IntAsc_GD33", numbers=[3], clocks=NUMBER),
    "GE epiRT, hyperband": Case(
        name="ge", below="SliceTiming/10_Ax_fMRI_HB8_80sl_int_des", numbers=[10], clocks=NUMBER
    ),
    "GE diffusion": Case(name="ge", below="01_Ax_DWI_TENSOR_R2", numbers=[1], clocks=NUMBER),
    "GE diffusion, hyperband": Case(name="ge", below="04_Ax_DWI_TENSOR_R2MB2", numbers=[4], clocks=NUMBER),
    "Siemens mosaic": Case(name="mosaic", numbers=[4], clocks=["AcquisitionTime"]),
    "Siemens mosaic, diffusion": Case(
        name="decubitus", below="HFDR", numbers=[3], clocks=["AcquisitionTime"]
    ),
    "Siemens, a series each volume": Case(
        name="sag", below="XA30/classic", numbers=range(5001, 5006), clocks=["AcquisitionTime"]
    ),
    "Siemens enhanced": Case(name="sag", below="XA30/enhanced", numbers=[5], clocks=FRAME),
    "Siemens enhanced, diffusion": Case(name="xa60", numbers=[16], clocks=FRAME),
    "Philips, phases of labelling": Case(name="philips_asl", numbers=[301], clocks=TRIGGER),
    # label and control share a temporal position
    "Philips, label and control": Case(name="philips_asl", numbers=[402], clocks=[TRIGGER[0], *NUMBER]),
    "Toshiba": Case(name="toshiba", numbers=[8006], clocks=NUMBER),
    "Canon enhanced": Case(name="canon_61/enh", numbers=[3000], clocks=FRAME[:1]),
    "UIH grid": Case(name="uih", numbers=[6], clocks=NUMBER),
}


@pytest.mark.parametrize("case", CASES.values(), ids=CASES.keys())
def test_volumes_follow_each_other_in_time(corpus: Corpus, tmp_path: Path, case: Case) -> None:
    stamp(files_of(study_folder(corpus, case.name) / case.below, case.numbers), tmp_path / "in")
    assert main(["convert", str(tmp_path / "in"), str(tmp_path / "out"), "-j", "2"]) == 0
    ((image,),) = images_of(tmp_path / "out").values()
    at_one_place: dict[bytes, list[tuple[tuple[float, ...], int]]] = defaultdict(list)
    seen: dict[tuple[Path, int], list[StoredFrame]] = defaultdict(list)
    for path in (tmp_path / "in").iterdir():
        header = pydicom.dcmread(path, specific_tags=[GROUPS, *case.clocks])
        for frame in stored_frames(path):
            ((_, volume),) = volumes_that_hold(frame, [image])  # no two frames have the same number
            place = frame.affine_lps[:3, 3].round(1) + 0.0
            at_one_place[place.tobytes()].append((times(header, frame.frame, case.clocks), volume))
            seen[image.path, volume].append(frame)
    for times_and_volumes in at_one_place.values():
        assert len({time for time, _ in times_and_volumes}) == len(times_and_volumes)
        in_time = [volume for _, volume in sorted(times_and_volumes)]
        assert in_time == list(range(image.values.shape[3]))
    if beside(image, ".bvec").exists():
        assert_weighted(image, seen)


def files_of(folder: Path, numbers: Sequence[int]) -> list[Path]:
    """The files below a folder that are of these series."""
    found = []
    for path in sorted(path for path in folder.rglob("*") if path.is_file()):
        with suppress(InvalidDicomError):  # notes beside the images
            if pydicom.dcmread(path, specific_tags=["SeriesNumber"]).get("SeriesNumber") in numbers:
                found.append(path)
    return found


def stamp(paths: Sequence[Path], folder: Path) -> None:
    """Copy files under random names; each frame is filled with a number of its own."""
    folder.mkdir()
    chance = random.Random(0)
    numbers = iter(chance.sample(range(1, 2**12), 2**12 - 1))
    for path in paths:
        data = pydicom.dcmread(path)
        if "PixelData" not in data:
            continue
        assert data.BitsAllocated == 16
        assert not data.file_meta.TransferSyntaxUID.is_compressed
        size = data.Rows * data.Columns
        frames = [np.full(size, next(numbers), "<u2") for _ in range(int(data.get("NumberOfFrames") or 1))]
        data.PixelData = b"".join(frame.tobytes() for frame in frames)
        data.save_as(folder / str(chance.random()))


def times(header: Dataset, frame: int, clocks: Sequence[str]) -> tuple[float, ...]:
    """What the elements say of one frame, of its functional group if it has one."""
    groups = header.get(GROUPS)
    content = header if groups is None else item(header, [groups[frame]], "FrameContentSequence")
    return tuple(float(content[clock].value) for clock in clocks)
