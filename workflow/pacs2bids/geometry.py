"""Planes in the patient frame to voxel grids; the only place where LPS becomes RAS.

A stored picture has rows from top to bottom; NIfTI files of this project (as those of dcm2niix) hold them
bottom-up. With r, c the direction cosines of a row and a column (PS3.3 C.7.6.2.1.1) the array axes are
i: +r, j: -c, k: +n where n = r x c. Slices ascend along n.
"""

from __future__ import annotations

from functools import lru_cache

import numpy as np
from numpy.typing import NDArray

from pacs2bids.model import Mosaic, Plane, Vector

Floats = NDArray[np.float64]

LPS_TO_RAS = np.diag([-1.0, -1.0, 1.0, 1.0])


def slice_normal(plane: Plane) -> Floats:
    """Unit vector n = row x column cosines, shape (3,), LPS."""
    return np.cross(plane.row_cosines_lps, plane.column_cosines_lps)


@lru_cache(maxsize=64)  # the volumes of a series share the planes of their tiles
def mosaic_planes(picture: Plane, mosaic: Mosaic) -> tuple[tuple[Plane, int, int], ...]:
    """The planes of the tiles of a mosaic, each with its first stored row and column.

    Siemens gives the position that the whole picture would have were it one slice about the same centre
    (NA-MIC wiki and nibabel's "DICOM and Siemens mosaics"): tile 0 begins half the difference further in.
    """
    tiles_down = -(-mosaic.slices // mosaic.tiles_per_row)
    # the grid is square even when its last rows are empty
    tiles_down = max(tiles_down, mosaic.tiles_per_row) if mosaic.first_position_lps is None else tiles_down
    rows, columns = picture.rows // tiles_down, picture.columns // mosaic.tiles_per_row
    r, c = np.array(picture.row_cosines_lps), np.array(picture.column_cosines_lps)
    if mosaic.first_position_lps is not None:
        first = np.array(mosaic.first_position_lps)
    else:
        inwards = r * picture.column_spacing_mm * (picture.columns - columns) / 2
        downwards = c * picture.row_spacing_mm * (picture.rows - rows) / 2
        first = np.array(picture.position_lps) + inwards + downwards
    step = np.array(mosaic.normal_lps) * mosaic.slice_step_mm
    return tuple(
        (
            Plane(
                position_lps=as_vector(first + step * tile),
                row_cosines_lps=picture.row_cosines_lps,
                column_cosines_lps=picture.column_cosines_lps,
                row_spacing_mm=picture.row_spacing_mm,
                column_spacing_mm=picture.column_spacing_mm,
                rows=rows,
                columns=columns,
            ),
            rows * (tile // mosaic.tiles_per_row),
            columns * (tile % mosaic.tiles_per_row),
        )
        for tile in range(mosaic.slices)
    )


def as_vector(array: Floats) -> Vector:
    """Three floats as a tuple."""
    return (float(array[0]), float(array[1]), float(array[2]))


def grid_affine_ras(plane: Plane, slice_step_lps: Floats) -> Floats:
    """4x4 from array indices (i, j, k) to RAS mm, for the volume whose slice 0 is ``plane``.

    ``slice_step_lps``: vector from one slice's centre to the next, mm, shape (3,). It need not be
    perpendicular to the slices: a tilted gantry shears the grid.
    """
    row = np.array(plane.row_cosines_lps) * plane.column_spacing_mm
    column = np.array(plane.column_cosines_lps) * plane.row_spacing_mm
    affine = np.eye(4)
    affine[:3, 0] = row
    affine[:3, 1] = -column
    affine[:3, 2] = slice_step_lps
    affine[:3, 3] = np.array(plane.position_lps) + column * (plane.rows - 1)
    ras: Floats = LPS_TO_RAS @ affine
    return ras


def unplaced_affine_ras(plane: Plane, slices: int, slice_step_mm: float) -> Floats:
    """4x4 of a grid whose place is unknown: what nibabel and others assume where both codes are 0.

    The middle of the grid is the origin and the first axis runs to the left (NIfTI-1, "METHOD 1").
    """
    zooms = np.array([-plane.column_spacing_mm, plane.row_spacing_mm, slice_step_mm])
    affine = np.diag([*zooms, 1.0])
    affine[:3, 3] = -zooms * (np.array([plane.columns, plane.rows, slices]) - 1) / 2
    return affine


def is_sheared(affine: Floats, tolerance_degrees: float = 0.01) -> bool:
    """Whether the third axis is not perpendicular to the first two.

    A hundredth of a degree is 0.04 mm over a stack of 250 mm; texts of positions are rounded to less.
    """
    axes = affine[:3, :3] / np.linalg.norm(affine[:3, :3], axis=0)
    cosine = abs(float(np.dot(np.cross(axes[:, 0], axes[:, 1]), axes[:, 2])))
    return bool(cosine < np.cos(np.radians(tolerance_degrees)))


def fsl_b_vectors(b_vectors_lps: Floats, affine_ras: Floats) -> Floats:
    """Gradient directions in FSL's convention, shape (n, 3), from the patient frame, shape (n, 3).

    FSL takes them along the array axes, with the first axis reversed if the affine's determinant is positive
    (FDT user guide, "What conventions do the bvecs use?").
    """
    axes = affine_ras[:3, :3] / np.linalg.norm(affine_ras[:3, :3], axis=0)
    vectors: Floats = (b_vectors_lps @ LPS_TO_RAS[:3, :3]) @ axes
    if np.linalg.det(affine_ras[:3, :3]) > 0:
        vectors[:, 0] = -vectors[:, 0]
    return vectors + 0.0  # no negative zeros in text


def phase_encoding_direction(along: str, *, positive: bool) -> str:
    """BIDS letter of the array axis: "row" is i; "column" is j, against stored order as rows are flipped."""
    if along == "row":
        return "i" if positive else "i-"
    return "j-" if positive else "j"


def orientation_name(plane: Plane) -> str:
    """The plane that the slices lie nearest to: axial, coronal, sagittal; "oblique" beyond 45 degrees."""
    normal = np.abs(slice_normal(plane))
    axis = int(np.argmax(normal))
    return ("sagittal", "coronal", "axial")[axis] if normal[axis] > np.cos(np.pi / 4) else "oblique"
