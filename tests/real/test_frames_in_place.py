"""The files themselves against our volumes: no converter is asked.

Of every series, sampled frames are read by pydicom, and found in a volume of that series at the world
position of their own header, with the values that their header gives them. Planes and instances are counted,
so that none is there twice, and none is missing without being listed.
"""

from __future__ import annotations

import csv
import functools
import json
import random
from collections import defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

import nibabel as nib
import numpy as np
import pytest
from agreement import SETS, Conversion, Conversions
from pydicom.dataset import Dataset
from pydicom.uid import RawDataStorage
from stored_frames import Floats, StoredFrame, dicom_headers, stored_frames

SAMPLE = 12  # frames a series, the first and the last among them
TO_RAS = np.diag([-1, -1, 1, 1])
NEAR_VOXELS = 0.02
ROUNDED = 0.02  # of a stored unit: slopes are 32-bit floats
ANGLE_DEG = 0.5
UNWEIGHTED = 5  # b below this may have no direction

Group = tuple[str, int]  # StudyInstanceUID, SeriesNumber

# XA's classic form gives each volume of one run a series of its own; they become one volume file
# (corpus README): the numbers of the run, by that of the first
RUNS = {
    "sag": dict.fromkeys(range(5001, 5006), 5001),
    "xa30i": dict.fromkeys(range(7001, 7021), 7001),
}


@dataclass(frozen=True, kw_only=True, eq=False)
class Image:
    """A volume of ours. ``values``: (i, j, k, volume) or, of a colour picture, (i, j, k, volume, sample)."""

    path: Path
    affine: Floats
    slope: float

    @functools.cached_property
    def values(self) -> np.ndarray:
        image = nib.nifti1.load(self.path)
        held = np.asanyarray(image.dataobj)
        if held.dtype.names:
            held = np.stack([held[name] for name in held.dtype.names], axis=-1)
            return held[:, :, :, np.newaxis]
        return held.reshape(*held.shape[:3], -1)


def images_of(conversion: Conversion) -> dict[Group, list[Image]]:
    """Our volumes by study (empty if the folder has only one) and SeriesNumber."""
    images = defaultdict(list)
    for path in sorted(conversion.ours.rglob("*.nii.gz")):
        sidecar = json.loads(path.with_name(path.name.replace(".nii.gz", ".json")).read_text())
        image = nib.nifti1.load(path)
        study = path.parent.name if path.parent != conversion.ours else ""
        slope = image.dataobj.slope if hasattr(image.dataobj, "slope") else 1.0
        images[study, sidecar["SeriesNumber"]].append(Image(path=path, affine=image.affine, slope=slope))
    return images


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
    files, images = files_of(conversion(name)), images_of(conversion(name))
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
    files, images = files_of(conversion(name)), images_of(conversion(name))
    for key, headers in files.items():
        for path, chosen in sampled(headers):
            for frame in stored_frames(path, chosen):
                assert volumes_that_hold(frame, images[key]), f"{path.name}, frame {frame.frame} of {key}"


@pytest.mark.parametrize("name", SETS)
def test_gradients_are_those_of_the_headers(conversion: Conversions, name: str) -> None:
    files, images = files_of(conversion(name)), images_of(conversion(name))
    for key, headers in files.items():
        weighted = [image for image in images[key] if _beside(image, ".bvec").exists()]
        seen: dict[tuple[Path, int], list[StoredFrame]] = defaultdict(list)
        for frame in one_slice(headers) if weighted else ():
            for image, volume in volumes_that_hold(frame, weighted):
                seen[image.path, volume].append(frame)
        for image in weighted:
            _assert_weighted(image, seen)


def _assert_weighted(image: Image, seen: dict[tuple[Path, int], list[StoredFrame]]) -> None:
    b_values = np.loadtxt(_beside(image, ".bval"), ndmin=1)
    b_vectors = patient_frame(np.loadtxt(_beside(image, ".bvec"), ndmin=2).T, image.affine)
    assert len(b_values) == len(b_vectors) == image.values.shape[3]
    for volume, (b_value, b_vector) in enumerate(zip(b_values, b_vectors, strict=True)):
        frames = seen[image.path, volume]
        assert frames, f"{image.path.name}: volume {volume} holds no frame of the series"
        # copies of one picture under several weightings (GE's test data) are in several volumes: one is it
        assert any(_agrees(frame, b_value, b_vector) for frame in frames), f"{image.path.name}, {volume}"


def _agrees(frame: StoredFrame, b_value: float, b_vector: Floats) -> bool:
    weighting = frame.weighting
    if weighting is None:  # Toshiba says nothing of a picture without weighting
        return b_value == 0 and not b_vector.any()
    if abs(weighting.b_value - b_value) > 0.5:
        return False
    if b_value < UNWEIGHTED:
        return True
    cosine = abs(float(weighting.b_vector_lps @ b_vector))  # weighting has no sign
    return bool(np.degrees(np.arccos(min(cosine, 1.0))) < ANGLE_DEG)


def patient_frame(b_vectors: Floats, affine: Floats) -> Floats:
    """FSL's convention to LPS: along the axes of the array, x reversed if the determinant is positive."""
    axes = affine[:3, :3] / np.linalg.norm(affine[:3, :3], axis=0)
    vectors = b_vectors * [-1 if np.linalg.det(axes) > 0 else 1, 1, 1]
    return np.asarray((vectors @ axes.T) * [-1, -1, 1])


def _beside(image: Image, suffix: str) -> Path:
    return image.path.with_name(image.path.name.replace(".nii.gz", suffix))


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


# ----------------------------------------------------------------------------------------------- finding


def volumes_that_hold(frame: StoredFrame, images: Sequence[Image]) -> list[tuple[Image, int]]:
    """Every volume that has the frame's values at its place in the world: (image, number of the volume)."""
    corners = np.indices(frame.stored.shape[:3]).reshape(3, -1)
    places = TO_RAS @ frame.affine_lps @ np.vstack([corners, np.ones(corners.shape[1])])
    slope, intercept = frame.scale if frame.stored.ndim == 3 else (1.0, 0.0)
    true = (frame.stored * slope + intercept).reshape(corners.shape[1], 1, -1)
    tolerance = 0.0 if (slope, intercept) == (1.0, 0.0) else ROUNDED * abs(slope)
    found = []
    for image in images:
        voxels = (np.linalg.inv(image.affine) @ places)[:3]
        nearest = voxels.round().astype(int)
        inside = (nearest >= 0).all() and (nearest.max(axis=1) < image.values.shape[:3]).all()
        if not inside or np.abs(voxels - nearest).max() > NEAR_VOXELS:
            continue
        held = image.values[tuple(nearest)]  # voxel, volume[, sample]
        held = held.reshape(*held.shape[:2], -1)
        if held.shape[2] == true.shape[2]:
            same = (np.abs(held - true) <= tolerance).all(axis=(0, 2))
            found += [(image, int(volume)) for volume in np.flatnonzero(same)]
    return found
