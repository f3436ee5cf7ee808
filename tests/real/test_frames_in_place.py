"""The files themselves against our volumes: no converter is asked.

Of every series, sampled frames are read by pydicom, and found in a volume of that series at the world
position of their own header, with the values that their header gives them. Planes and instances are counted,
so that none is there twice, and none is missing without being listed.
"""

from __future__ import annotations

import csv
import random
from collections import defaultdict
from collections.abc import Iterable, Sequence
from pathlib import Path

import nibabel as nib
import numpy as np
import pydicom
import pytest
from agreement import SETS, Conversion, Conversions
from placed import Group, assert_weighted, beside, images_of, volumes_that_hold
from pydicom.dataset import Dataset
from pydicom.uid import RawDataStorage, SecondaryCaptureImageStorage
from stored_frames import StoredFrame, dicom_headers, stored_frames

SAMPLE = 12  # frames a series, the first and the last among them

# XA's classic form gives each volume of one run a series of its own; they become one volume file
# (corpus README): the numbers of the run, by that of the first
RUNS = {
    "sag": dict.fromkeys(range(5001, 5006), 5001),
    "xa30i": dict.fromkeys(range(7001, 7021), 7001),
}


def files_of(conversion: Conversion) -> dict[Group, dict[Path, Dataset]]:
    """The files that are in some volume of ours, grouped as ``images_of`` does."""
    with (conversion.ours / "leftovers.tsv").open() as lines:
        left = {row["path"] for row in csv.DictReader(lines, delimiter="\t")}
    headers = dicom_headers(conversion.folder)
    several = len({header.get("StudyInstanceUID") for header in headers.values()} - {None}) > 1
    runs = RUNS.get(conversion.name, {})
    groups: dict[Group, dict[Path, Dataset]] = defaultdict(dict)
    for path, header in headers.items():
        if str(path.relative_to(conversion.folder)) not in left:
            number = int(header.SeriesNumber)
            key = header.StudyInstanceUID if several else "", runs.get(number, number)
            groups[key][path] = header
    return groups


@pytest.mark.parametrize("name", SETS)
def test_every_plane_is_in_one_volume(conversion: Conversions, name: str) -> None:
    files, images = files_of(conversion(name)), images_of(conversion(name).ours)
    assert files.keys() == images.keys()
    for key, headers in files.items():
        stored = sum(_planes(header) for header in headers.values())
        held = sum(int(np.prod(nib.nifti1.load(image.path).shape[2:])) for image in images[key])
        assert held == stored, key


def _planes(header: Dataset) -> int:
    if "MOSAIC" in header.ImageType:
        return int(header[0x0019, 0x100A].value)
    if "VFRAME" in header.ImageType:
        return int(header[0x0065, 0x1050].value)
    return int(header.get("NumberOfFrames") or 1)


@pytest.mark.parametrize("name", SETS)
def test_what_is_left_over_has_no_image(conversion: Conversions, name: str) -> None:
    kept = {path for headers in files_of(conversion(name)).values() for path in headers}
    for path, header in dicom_headers(conversion(name).folder).items():
        if path not in kept:
            assert "Rows" not in header or header.SOPClassUID == RawDataStorage, path


@pytest.mark.parametrize("name", SETS)
def test_frames_lie_where_their_headers_say(conversion: Conversions, name: str) -> None:
    files, images = files_of(conversion(name)), images_of(conversion(name).ours)
    for key, headers in files.items():
        for path, chosen in sampled(headers):
            for frame in stored_frames(path, chosen) if _has_place(headers[path]) else ():
                assert volumes_that_hold(frame, images[key]), f"{path.name}, frame {frame.frame} of {key}"


def _has_place(header: Dataset) -> bool:
    """Secondary captures need none (PS3.3 A.8)."""
    return header.SOPClassUID != SecondaryCaptureImageStorage or "ImagePositionPatient" in header


@pytest.mark.parametrize("name", SETS)
def test_pictures_without_a_place_lie_in_volumes_without_one(conversion: Conversions, name: str) -> None:
    files, images = files_of(conversion(name)), images_of(conversion(name).ours)
    for key, headers in files.items():
        for path in (path for path, header in headers.items() if not _has_place(header)):
            expected = pydicom.dcmread(path).pixel_array[::-1].swapaxes(0, 1)
            assert any(
                image.values.shape[:2] == expected.shape[:2]
                and (image.values[:, :, slice_, 0] == expected).all()
                for image in images[key]
                if not nib.nifti1.load(image.path).header["sform_code"]
                for slice_ in range(image.values.shape[2])
            ), path.name


@pytest.mark.parametrize("name", SETS)
def test_gradients_are_those_of_the_headers(conversion: Conversions, name: str) -> None:
    files, images = files_of(conversion(name)), images_of(conversion(name).ours)
    for key, headers in files.items():
        weighted = [image for image in images[key] if beside(image, ".bvec").exists()]
        seen: dict[tuple[Path, int], list[StoredFrame]] = defaultdict(list)
        for frame in one_slice(headers) if weighted else ():
            for image, volume in volumes_that_hold(frame, weighted):
                seen[image.path, volume].append(frame)
        for image in weighted:
            assert_weighted(image, seen)


# ---------------------------------------------------------------------------------------------- sampling


def sampled(headers: dict[Path, Dataset]) -> Iterable[tuple[Path, Sequence[int]]]:
    """Files and frames in them: the first and the last of the series, and some between, always the same."""
    order = sorted(headers, key=lambda path: (int(headers[path].InstanceNumber), path))
    frames = [
        (path, number) for path in order for number in range(int(headers[path].get("NumberOfFrames") or 1))
    ]
    between = frames[1:-1]
    chosen = random.Random(0).sample(between, min(len(between), SAMPLE - 2))
    by_file = defaultdict(set)
    for path, number in (frames[0], *chosen, frames[-1]):
        by_file[path].add(number)
    return [(path, sorted(numbers)) for path, numbers in by_file.items()]


def one_slice(headers: dict[Path, Dataset]) -> Iterable[StoredFrame]:
    """All frames at one place in the middle of the head: one a volume."""
    places = defaultdict(list)
    for path, header in headers.items():
        for number, place in enumerate(_places(header)):
            places[place].append((path, number))
    middle = sorted(places)[len(places) // 2]
    for path, number in places[middle]:
        yield from stored_frames(path, [number])


def _places(header: Dataset) -> list[tuple[float, ...]]:
    if "PerFrameFunctionalGroupsSequence" not in header:
        return [tuple(round(float(value), 1) for value in header.get("ImagePositionPatient", ()))]
    positions = [
        frame.PlanePositionSequence[0].ImagePositionPatient
        for frame in header.PerFrameFunctionalGroupsSequence
    ]
    return [tuple(round(float(value), 1) for value in position) for position in positions]
