"""The header of our files against the one that nibabel makes of the same facts."""

from __future__ import annotations

import itertools

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from nibabel.nifti1 import Nifti1Header, data_type_codes

from pacs2bids import nifti
from pacs2bids.model import ConversionError

RGB = np.dtype([("R", "u1"), ("G", "u1"), ("B", "u1")])
QUATERNION = ("quatern_b", "quatern_c", "quatern_d")
TURNS = (0.0, 1e-6, 1.0, np.pi / 2, np.pi - 1e-3, np.pi - 1e-7, np.pi)


def rotation(axis: np.ndarray, angle: float) -> np.ndarray:
    """Rodrigues' formula."""
    x, y, z = axis / np.linalg.norm(axis)
    cross = np.array([[0, -z, y], [z, 0, -x], [-y, x, 0]])
    return np.eye(3) + np.sin(angle) * cross + (1 - np.cos(angle)) * cross @ cross


def affine(axis: np.ndarray, angle: float, zooms: tuple[float, float, float]) -> np.ndarray:
    """A negative zoom makes the axes left-handed."""
    result = np.eye(4)
    result[:3, :3] = rotation(axis, angle) * zooms
    result[:3, 3] = -98.5, 12.25, 1e-3
    return result


def ours(affine_ras: np.ndarray, **changes: object) -> bytes:
    facts = {
        "shape": (64, 60, 30, 7),
        "dtype": np.dtype(np.int16),
        "is_rgb": False,
        "affine_ras": affine_ras,
        "has_sform": True,
        "has_qform": True,
        "repetition_time_s": 2.5,
        "slope": 0.5,
        "intercept": -3.0,
    }
    return nifti.header(**{**facts, **changes})  # type: ignore[arg-type]


def expected(affine_ras: np.ndarray, dtype: np.dtype = RGB, is_3d: bool = False) -> Nifti1Header:
    header = Nifti1Header()
    header.set_data_dtype(dtype)
    header.set_data_shape((64, 60, 30) if is_3d else (64, 60, 30, 7))
    header.set_zooms((1, 1, 1) if is_3d else (1, 1, 1, 2.5))
    header.set_xyzt_units("mm", None if is_3d else "sec")
    header.set_dim_info(slice=2)
    header.set_sform(affine_ras, code=1)
    header.set_qform(affine_ras, code=1)
    header.set_slope_inter(0.5, -3.0)
    header["magic"], header["vox_offset"] = b"n+1", 352
    return header


def assert_same(content: bytes, header: Nifti1Header) -> None:
    assert content[nifti.HEADER_BYTES :] == bytes(4)
    mine = Nifti1Header(content[: nifti.HEADER_BYTES])
    for field in set(header.keys()) - set(QUATERNION):
        assert np.array_equal(mine[field], header[field]), field
    one, other = ([float(each[field]) for field in QUATERNION] for each in (mine, header))
    signs = (
        (1, -1) if np.linalg.norm(other) > 1 - 1e-6 else (1,)
    )  # a turn and its reverse meet at half a turn
    assert any(np.allclose(np.multiply(sign, one), other, rtol=0, atol=2e-7) for sign in signs)


@pytest.mark.parametrize("angle", TURNS)
@pytest.mark.parametrize("zooms", [(2.0, 3.0, 4.0), (0.5, 0.5, -7.25)])
def test_every_field_is_what_nibabel_writes(angle: float, zooms: tuple[float, float, float]) -> None:
    for axis in itertools.product((0.0, 1.0, -0.3), repeat=3):
        if any(axis):
            turned = affine(np.array(axis), angle, zooms)
            assert_same(ours(turned), expected(turned, np.dtype(np.int16)))


@given(
    axis=st.tuples(*[st.floats(-1, 1)] * 3).filter(lambda axis: np.linalg.norm(axis) > 0.1),
    angle=st.floats(0, np.pi),
)
def test_the_qform_says_what_the_affine_says(axis: tuple[float, float, float], angle: float) -> None:
    turned = affine(np.array(axis), angle, (2.0, 3.0, 4.0))
    header = Nifti1Header(ours(turned)[: nifti.HEADER_BYTES])
    # float32 leaves 1 - bb - cc - dd uncertain by 1e-7, so its root, a, by 3e-4 near half a turn
    assert np.allclose(header.get_qform(), turned, rtol=0, atol=4e-3)
    assert np.allclose(header.get_sform(), turned, rtol=0, atol=1e-5)


@pytest.mark.parametrize("name", nifti.DATATYPES)
def test_types(name: str) -> None:
    dtype = np.dtype(name)
    plain = affine(np.array([1.0, 0, 0]), 0.25, (2.0, 3.0, 4.0))
    assert_same(ours(plain, dtype=dtype), expected(plain, dtype))
    assert nifti.DATATYPES[name] == data_type_codes[dtype]


def test_colour_and_a_single_volume() -> None:
    plain = affine(np.array([0, 1.0, 0]), 0.25, (2.0, 3.0, 4.0))
    content = ours(plain, dtype=np.dtype(np.uint8), is_rgb=True, shape=(64, 60, 30))
    assert_same(content, expected(plain, RGB, is_3d=True))


@pytest.mark.parametrize("has_sform", [True, False])
def test_without_quaternion_and_without_a_place(has_sform: bool) -> None:
    plain = affine(np.array([0, 1.0, 0]), 0.25, (2.0, 3.0, 4.0))
    code = int(has_sform)
    header = expected(plain, np.dtype(np.int16))
    header.set_qform(None, code=0)
    for field in (*QUATERNION, "qoffset_x", "qoffset_y", "qoffset_z"):
        header[field] = 0
    header["pixdim"][0] = 1
    header.set_sform(plain if has_sform else np.zeros((4, 4)), code=code)
    assert_same(ours(plain, has_qform=False, has_sform=has_sform), header)
    assert header.get_zooms() == (2.0, 3.0, 4.0, 2.5)


@pytest.mark.parametrize("absurd", [1e39, -np.inf, np.nan])
def test_numbers_that_the_format_cannot_hold(absurd: float) -> None:
    far = np.eye(4)
    far[0, 3] = absurd
    with pytest.raises(ConversionError, match="no number of NIfTI-1"):
        ours(far)
    with pytest.raises(ConversionError, match="no number of NIfTI-1"):
        ours(np.eye(4), repetition_time_s=absurd)


def test_axes_that_the_format_cannot_hold() -> None:
    with pytest.raises(ConversionError, match="NIfTI-1 holds up to 32767"):
        ours(np.eye(4), shape=(32768, 2, 2))
