"""A sheared stack (tilted gantry) on an orthogonal grid of the same planes: resampled, so only on request.

Each slice moves within its own plane and by linear interpolation. Number, order and times of the slices stay
as they are, and so do voxel sizes and directions within them; the third axis becomes their normal.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from msgspec import Struct
from msgspec.structs import replace
from numpy.typing import NDArray

from pacs2bids.model import Stack

Pixels = NDArray[Any]
Floats = NDArray[np.float64]

EDGE = 0.01  # voxels: texts of positions are rounded; less than this beyond the last voxel is still on it
DESCRIPTION = (
    "Resampled from the tilted slices of the source to a grid of right angles: each slice was moved within "
    "its own plane, by linear interpolation; outside of it stands the smallest value of the source"
)


class Unshearing(Struct, frozen=True, kw_only=True):
    """How a stack gets to its new grid. ``stack``: as it is there, with shape, affine and without shear.

    ``shift``: from slice to slice along the first two axes, in voxels. ``first``: where the new grid begins
    on that of the old slice 0, in voxels along the same axes (whole numbers, 0 or less).
    """

    stack: Stack
    shift: tuple[float, float]
    first: tuple[int, int]


def unshearing_of(stack: Stack) -> Unshearing:
    """The smallest grid of right angles that holds all voxels of the stack, those of slice 0 as they are."""
    affine = np.array(stack.affine_ras)
    within, step = affine[:3, :2], affine[:3, 2]
    shift = np.linalg.lstsq(within, step, rcond=None)[0]
    last = shift * (stack.shape[2] - 1)
    first = np.floor(np.minimum(last, 0) + EDGE)
    columns, rows = (np.array(stack.shape[:2]) + np.ceil(np.maximum(last, 0) - EDGE) - first).astype(int)
    affine[:3, 2] = step - within @ shift
    affine[:3, 3] += within @ first
    return Unshearing(
        stack=replace(
            stack,
            shape=(int(columns), int(rows), *stack.shape[2:]),
            affine_ras=tuple(tuple(row) for row in affine.tolist()),
            sidecar=stack.sidecar | {"Description": DESCRIPTION},
            shear=False,
        ),
        shift=(float(shift[0]), float(shift[1])),
        first=(int(first[0]), int(first[1])),
    )


def smallest(voxels: Pixels, slope: float) -> float:
    """The stored value whose true value is the smallest; NaN only if there is no other."""
    return float((np.fmin if slope > 0 else np.fmax).reduce(voxels, axis=None))


def resampled(planes: Pixels, slices: Sequence[int], to: Unshearing, fill: float) -> Pixels:
    """The planes on the new grid, of the same type; integers are rounded.

    ``planes``: (planes, rows, columns[, RGB]), rows and columns along the second and first axis of the grid.
    ``slices``: which slice each plane is. ``fill``: the stored value outside of the old grid.
    """
    columns, rows = to.stack.shape[:2]
    moved = np.full((len(planes), rows, columns, *planes.shape[3:]), fill, planes.dtype)
    for plane, slice_, target in zip(planes, slices, moved, strict=True):
        values, inside_rows = _along_first(plane, rows, to.first[1] - slice_ * to.shift[1])
        values, inside_columns = _along_first(
            values.swapaxes(0, 1), columns, to.first[0] - slice_ * to.shift[0]
        )
        values = values.swapaxes(0, 1)
        target[inside_rows, inside_columns] = np.rint(values) if planes.dtype.kind in "iu" else values
    return moved


def _along_first(values: Pixels, length: int, start: float) -> tuple[Floats, slice]:
    """Values at ``start``, ``start`` + 1, ... along the first axis, and which of ``length`` are inside."""
    at = np.arange(length) + start
    inside = np.flatnonzero((at >= -EDGE) & (at <= len(values) - 1 + EDGE))
    at = at[inside].clip(0, len(values) - 1)
    before = np.floor(at).astype(int)
    weight = (at - before).reshape(-1, *[1] * (values.ndim - 1))
    after = np.where(at > before, before + 1, before)  # where it weighs nothing it may be NaN, or not there
    where = slice(int(inside[0]), int(inside[-1]) + 1) if len(inside) else slice(0, 0)
    return values[before] * (1 - weight) + values[after] * weight, where
