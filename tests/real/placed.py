"""Where frames are in our volumes: found by their values at their place in the world."""

from __future__ import annotations

import functools
import json
from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import nibabel as nib
import numpy as np
from stored_frames import Floats, StoredFrame

TO_RAS = np.diag([-1, -1, 1, 1])
NEAR_VOXELS = 0.02
ROUNDED = 0.02  # of a stored unit: slopes are 32-bit floats
ANGLE_DEG = 0.5
UNWEIGHTED = 5  # b below this may have no direction

Group = tuple[str, int]  # StudyInstanceUID, SeriesNumber


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


def images_of(ours: Path) -> dict[Group, list[Image]]:
    """Our volumes by study (empty if the folder has only one) and SeriesNumber."""
    images = defaultdict(list)
    for path in sorted(ours.rglob("*.nii.gz")):
        sidecar = json.loads(path.with_name(path.name.replace(".nii.gz", ".json")).read_text())
        image = nib.nifti1.load(path)
        study = path.parent.name if path.parent != ours else ""
        slope = image.dataobj.slope if hasattr(image.dataobj, "slope") else 1.0
        images[study, sidecar["SeriesNumber"]].append(Image(path=path, affine=image.affine, slope=slope))
    return images


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


# --------------------------------------------------------------------------------------------- weighting


def assert_weighted(image: Image, seen: Mapping[tuple[Path, int], Sequence[StoredFrame]]) -> None:
    """.bval and .bvec are those of the frames; ``seen``: the frames that a volume of a file holds."""
    b_values = np.loadtxt(beside(image, ".bval"), ndmin=1)
    b_vectors = patient_frame(np.loadtxt(beside(image, ".bvec"), ndmin=2).T, image.affine)
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


def beside(image: Image, suffix: str) -> Path:
    return image.path.with_name(image.path.name.replace(".nii.gz", suffix))
