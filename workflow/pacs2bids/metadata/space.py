"""Where stacks lie, as far as field maps ask: plain arithmetic, so that a plan needs no numerical library."""

from __future__ import annotations

from functools import lru_cache
from itertools import product
from math import dist, hypot
from typing import NamedTuple

from pacs2bids.model import Stack, Vector

# of a header's rounding, at the corners of the grid
GRID_TOLERANCE_MM = 0.5
_POINTS = 6  # along each axis, at which two fields of view are compared
_AXES = {"i": 0, "j": 1, "k": 2}


def phase_encoding(stack: Stack) -> Vector | None:
    """Unit vector along which phase is encoded, with its polarity, in RAS; None if it is not told."""
    letters = stack.facts.phase_encoding_direction
    if not letters:
        return None
    x, y, z = _column(stack, _AXES[letters[0]])
    length = hypot(x, y, z) * (-1 if letters.endswith("-") else 1)
    return (x / length, y / length, z / length)


def same_grid(one: Stack, other: Stack) -> bool:
    """Whether two stacks have the same voxels."""
    if one.shape[:3] != other.shape[:3]:
        return False
    if one.affine_ras == other.affine_ras:
        return True  # most are: a session of 1,000 series asks this a million times
    columns, rows, slices = one.shape[:3]
    corners = ((0, 0, 0), (columns, 0, 0), (0, rows, 0), (0, 0, slices))
    return all(dist(_position(one, at), _position(other, at)) < GRID_TOLERANCE_MM for at in corners)


def covered(target: Stack, by: Stack) -> float:
    """Share of one stack's field of view that lies in another's, from 0 to 1."""
    if same_grid(target, by):
        return 1.0
    boxes = [Box(stack.shape[:3], stack.affine_ras) for stack in (target, by)]
    return _covered(*boxes)


class Box(NamedTuple):
    """The field of view of a stack: columns, rows and slices, and where they lie, as ``Stack.affine_ras``."""

    sizes: tuple[int, ...]
    affine_ras: tuple[tuple[float, float, float, float], ...]


@lru_cache(maxsize=1024)  # the few protocols of a session, each asked of by many images
def _covered(target: Box, by: Box) -> float:
    if not _determinant(*(_column(by, number) for number in range(3))):
        return 0.0  # slices on top of each other enclose nothing
    i, j, k, origin = _voxels_of(target, by)
    steps = [[(step + 0.5) / _POINTS * size - 0.5 for step in range(_POINTS)] for size in target.sizes]
    inside = 0
    for x, y, z in product(*steps):
        at = [i[axis] * x + j[axis] * y + k[axis] * z + origin[axis] for axis in range(3)]
        inside += all(-0.5 <= one <= size - 0.5 for one, size in zip(at, by.sizes, strict=True))
    return float(inside) / _POINTS**3


def _voxels_of(target: Box, by: Box) -> tuple[Vector, Vector, Vector, Vector]:
    """The three axes of one grid, and its first voxel, in voxels of another.

    By Cramer's rule, since the axes of a tilted stack are not at right angles.
    """
    a, b, c, first = (_column(by, number) for number in range(4))
    i, j, k, origin = (_column(target, number) for number in range(4))
    away = (origin[0] - first[0], origin[1] - first[1], origin[2] - first[2])
    volume = _determinant(a, b, c)

    def seen(v: Vector) -> Vector:
        return _determinant(v, b, c) / volume, _determinant(a, v, c) / volume, _determinant(a, b, v) / volume

    return seen(i), seen(j), seen(k), seen(away)


def _column(stack: Stack | Box, number: int) -> Vector:
    x, y, z = (row[number] for row in stack.affine_ras[:3])
    return (x, y, z)


def _position(stack: Stack, voxel: tuple[float, ...]) -> Vector:
    x, y, z = (sum(a * b for a, b in zip(row, (*voxel, 1.0), strict=True)) for row in stack.affine_ras[:3])
    return (x, y, z)


def _determinant(a: Vector, b: Vector, c: Vector) -> float:
    return (
        a[0] * (b[1] * c[2] - b[2] * c[1])
        - a[1] * (b[0] * c[2] - b[2] * c[0])
        + a[2] * (b[0] * c[1] - b[1] * c[0])
    )
