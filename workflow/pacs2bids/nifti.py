"""The header of a single-file NIfTI-1, byte for byte.

Source: nifti1.h of the NIfTI Data Format Working Group (sizes, offsets and codes as there). nibabel writes
the same, but costs as much time to import as the conversion of a thousand files.
"""

from __future__ import annotations

import struct
from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from pacs2bids.model import ConversionError

Floats = NDArray[np.float64]

HEADER_BYTES = 348
LONGEST = 32767  # dim[] is a signed 16-bit number
MM, MM_AND_S = 2, 2 | 8  # xyzt_units
SLICE_AXIS_K = 3 << 4  # dim_info
DATATYPES = {"u1": 2, "i2": 4, "i4": 8, "f4": 16, "f8": 64, "i1": 256, "u2": 512, "u4": 768}
RGB24 = 128
FIELDS = struct.Struct(
    "<i 10x 18x i h c B"  # sizeof_hdr, data_type, db_name, extents, session_error, regular, dim_info
    "8h 3f h h h h"  # dim, intent_p1 to 3, intent_code, datatype, bitpix, slice_start
    "8f f f f h B B"  # pixdim, vox_offset, scl_slope, scl_inter, slice_end, slice_code, xyzt_units
    "4f 2i 80x 24x"  # cal_max, cal_min, slice_duration, toffset, glmax, glmin, descrip, aux_file
    "2h 6f 12f 16x 4s"  # qform_code, sform_code, quatern, qoffset, srow, intent_name, magic
)


def header(
    *,
    shape: tuple[int, ...],
    dtype: np.dtype[Any],
    is_rgb: bool,
    affine_ras: Floats,
    has_sform: bool,
    has_qform: bool,
    repetition_time_s: float | None,
    slope: float,
    intercept: float,
) -> bytes:
    """The 348 bytes and four zeros: no extensions follow.

    ``shape``: three or four axes. ``affine_ras``: 4 x 4 in mm; it becomes the sform and the qform, of code 1
    (scanner), or of code 0 and all zero where the grid has no such form: a sheared one has no quaternion.
    Raises ConversionError if an axis is too long for the format, or a number too large.
    """
    _require_room(shape, [*affine_ras.flat, slope, intercept, repetition_time_s or 0.0])
    zooms = np.sqrt((affine_ras[:3, :3] ** 2).sum(axis=0))
    handedness, quaternion, offset = 1.0, np.zeros(3), np.zeros(3)
    if has_qform:
        handedness, quaternion = quaternion_of(affine_ras[:3, :3] / zooms)
        offset = affine_ras[:3, 3]
    rows = affine_ras[:3].ravel() * has_sform
    is_series = len(shape) > 3
    padding = [1] * (7 - len(shape))
    datatype = RGB24 if is_rgb else DATATYPES[dtype.str[1:]]
    bits = 8 * dtype.itemsize * (3 if is_rgb else 1)
    steps = [*zooms, *([repetition_time_s or 0.0] if is_series else []), *padding]
    return FIELDS.pack(
        *(HEADER_BYTES, 0, 0, b"\0", SLICE_AXIS_K),
        *(len(shape), *shape, *padding, 0, 0, 0, 0, datatype, bits, 0),
        *(handedness, *steps, 352, slope, intercept, 0, 0, MM_AND_S if is_series else MM),
        *(0, 0, 0, 0, 0, 0),
        *(int(has_qform), int(has_sform), *quaternion, *offset, *rows, b"n+1"),
    ) + bytes(4)


def _require_room(shape: tuple[int, ...], numbers: Sequence[float]) -> None:
    if max(shape) > LONGEST:
        raise ConversionError(f"has {max(shape)} voxels along one axis; NIfTI-1 holds up to {LONGEST}")
    if not np.all(np.abs(numbers) < np.finfo(np.float32).max):
        raise ConversionError("has a position, a size or a time that no number of NIfTI-1 can hold")


def quaternion_of(axes: Floats) -> tuple[float, Floats]:
    """qfac and (b, c, d) of the rotation nearest to ``axes``, whose columns are unit vectors, (3, 3).

    qfac is -1 where the axes are left-handed: the third one is then reversed first (nifti1.h, method 2).
    a = sqrt(1 - bb - cc - dd) is not stored, so the sign is chosen that makes it positive.
    """
    handedness = 1.0 if np.linalg.det(axes) > 0 else -1.0
    left, _, right = np.linalg.svd(axes * [1, 1, handedness])
    r = left @ right
    # the quaternion is the eigenvector of its largest eigenvalue (Bar-Itzhack, J. Guid. Control Dyn. 23:1085,
    # 2000): exact near half a turn, too, where a formula by the trace divides by nearly 0
    (xx, xy, xz), (yx, yy, yz), (zx, zy, zz) = r
    symmetric = np.array(
        [
            [xx + yy + zz, zy - yz, xz - zx, yx - xy],
            [zy - yz, xx - yy - zz, xy + yx, xz + zx],
            [xz - zx, xy + yx, yy - xx - zz, yz + zy],
            [yx - xy, xz + zx, yz + zy, zz - xx - yy],
        ]
    )
    _, vectors = np.linalg.eigh(symmetric)
    a, *vector = vectors[:, -1]
    return handedness, np.array(vector) * (-1 if a < 0 else 1)
