"""What a NIfTI file of the phantom must hold, asked of the phantom itself at the file's own world positions.

Independent of the engine on purpose: an affine, an array and the phantom's records are all that is used.

Why a tolerance of one stored unit: a NIfTI affine has 32-bit floats, so a position is known to about 1e-5 mm,
and the phantom's steepest edge (2200 units over 1 mm, see ``head.py``) makes that 0.02 units. A value within
0.02 of a half is then rounded the other way: off by one, in few voxels (``ROUNDED_AT_MOST`` bounds how few).
A picture that is flipped, shifted or out of order is off by hundreds of units in thousands of voxels.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from pathlib import Path

import nibabel as nib
import numpy as np
from numpy.typing import NDArray

from pacs2bids.phantom.picture import volumes
from pacs2bids.phantom.protocol import PhantomSeries, PhantomStack, PhantomStudy

Floats = NDArray[np.float64]

TO_LPS = np.array([-1.0, -1.0, 1.0])  # RAS and LPS differ in the sign of x and y, both ways
ROUNDED_AT_MOST = 0.02  # share of voxels that may be off by one
POSITION_MM = 1e-3


def series_numbered(study: PhantomStudy, number: int) -> PhantomSeries:
    """The series with this SeriesNumber."""
    return next(series for series in study.series if series.number == number)


def stack_of(
    series: PhantomSeries, affine: Floats, shape: Sequence[int], echo_time_s: float | None = None
) -> PhantomStack:
    """The stack that a file shows: the one with its corners and, where several, its echo time."""
    away = [_farthest_corner_mm(stack, affine, shape) for stack in series.stacks]
    found = [stack for stack, mm in zip(series.stacks, away, strict=True) if mm < POSITION_MM]
    assert found, f"series {series.number}: a corner is {min(away):.3f} mm from where it should be"
    if len(found) > 1:
        assert echo_time_s is not None, f"series {series.number}: say which echo"
        found = [stack for stack in found if abs(stack.echo_time_s - echo_time_s) < 1e-6]
    assert len(found) == 1, f"series {series.number}: {len(found)} stacks lie as this file says"
    return found[0]


def _farthest_corner_mm(stack: PhantomStack, affine: Floats, shape: Sequence[int]) -> float:
    ours, theirs = _corners(stack.grid.points_lps()), _corners(positions_lps(affine, shape))
    return float(np.linalg.norm(ours[:, np.newaxis] - theirs, axis=-1).min(axis=1).max())


def _corners(points: Floats) -> Floats:
    steps = tuple(slice(None, None, max(count - 1, 1)) for count in points.shape[:3])
    return points[steps].reshape(-1, 3)


def positions_lps(affine: Floats, shape: Sequence[int]) -> Floats:
    """World position of every voxel, in the patient frame: (i, j, k, 3)."""
    i, j, k = np.ogrid[: shape[0], : shape[1], : shape[2]]
    steps = (index[..., np.newaxis] * affine[:3, axis] for axis, index in enumerate((i, j, k)))
    return (sum(steps) + affine[:3, 3]) * TO_LPS


def expected(
    study: PhantomStudy, series: PhantomSeries, stack: PhantomStack, image: nib.Nifti1Image
) -> Floats:
    """True values at the file's own positions, volumes last, rescaled as the header says."""
    points = positions_lps(np.asarray(image.affine), image.shape)
    slope, intercept = series.rescale or (1.0, 0.0)
    truth = volumes(points, series=series, stack=stack, head=study.head)
    return np.stack([np.rint(values) * slope + intercept for values in truth], axis=-1)


def assert_true(
    path: Path, study: PhantomStudy, series: PhantomSeries, echo_time_s: float | None = None
) -> None:
    """Every voxel of the file holds what is at its position, and the file covers the stack's grid."""
    image = nib.load(path)
    affine = np.asarray(image.affine, dtype=np.float64)
    stack = stack_of(series, affine, image.shape, echo_time_s)
    _assert_covers(path, stack, image.shape)
    truth = expected(study, series, stack, image)
    actual = np.asarray(image.dataobj, dtype=np.float64).reshape(truth.shape)
    slope = (series.rescale or (1.0, 0.0))[0]
    off = np.abs(actual - truth) / slope
    assert off.max() <= 1, (
        f"{path.name}: {np.count_nonzero(off > 1)} voxels are wrong, by up to {off.max():.0f}"
    )
    assert np.mean(off > 0) < ROUNDED_AT_MOST, f"{path.name}: {np.mean(off > 0):.1%} of voxels are off by one"


def _assert_covers(path: Path, stack: PhantomStack, shape: Sequence[int]) -> None:
    grid = stack.grid
    count = shape[3] if len(shape) > 3 else 1
    assert count == stack.volumes, f"{path.name}: {count} volumes instead of {stack.volumes}"
    assert sorted(shape[:3]) == sorted((grid.rows, grid.columns, grid.slices)), f"{path.name}: shape {shape}"


def slice_times_s(series: PhantomSeries, stack: PhantomStack, affine: Floats) -> list[float]:
    """Onset of each slice in the order of the file's third axis, found by position."""
    same_way = np.dot(affine[:3, 2] * TO_LPS, stack.grid.normal_lps) > 0
    times = list(series.slice_times_s)
    return times if same_way else times[::-1]


def b_vectors_lps(bvec: Floats, affine: Floats) -> Floats:
    """FSL's vectors (3, n) to the patient frame (n, 3).

    FSL's axes are those of the image, with x reversed where the affine's determinant is positive.
    """
    axes = affine[:3, :3] / np.linalg.norm(affine[:3, :3], axis=0)
    image = np.array(bvec, dtype=np.float64)
    if np.linalg.det(axes) > 0:
        image[0] = -image[0]
    return (axes @ image).T * TO_LPS


def true_b_vectors_lps(series: PhantomSeries) -> Floats:
    """One row a volume; (0, 0, 0) where b = 0."""
    return np.array([weight.b_vector_lps for weight in series.diffusion])


def true_b_values(series: PhantomSeries) -> list[float]:
    """One a volume, in s/mm2."""
    return [weight.b_value_s_per_mm2 for weight in series.diffusion]


def phase_encoding_lps(direction: str, affine: Floats) -> Floats:
    """BIDS's letters ("j", "j-") to a unit vector in the patient frame.

    BIDS: the axis of the image, towards increasing index unless a minus follows.
    """
    axis = affine[:3, "ijk".index(direction[0])] * TO_LPS
    return axis / np.linalg.norm(axis) * (-1 if direction.endswith("-") else 1)


def with_pixels(study: PhantomStudy) -> Iterable[PhantomSeries]:
    """The series that make volumes."""
    return (series for series in study.series if series.stacks)
