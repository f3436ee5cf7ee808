"""Stored bytes to values (PS3.5 section 8), and pictures to their place."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest
from msgspec.structs import replace

from pacs2bids.model import ConversionError, ImageRef, Placement, Stack, StackFacts
from pacs2bids.volume import BLOCK, Layout, assemble, decode, layout_of
from synthetic import IMAGE


def decoded(raw: bytes, image: ImageRef) -> np.ndarray:
    """Without anything odd."""
    odd: list[ImageRef] = []
    values = decode(raw, image, odd.append)
    assert not odd
    return values


def test_bits_above_the_stored_ones_are_cut_off() -> None:
    raw = np.array([0xF001, 0x1FFF, 0x0800, 0, 1, 2], "<u2").tobytes()
    assert decoded(raw, replace(IMAGE, overlaid=True)).tolist() == [[1, 0xFFF, 0x800], [0, 1, 2]]


@pytest.mark.parametrize("signed", [False, True])
def test_bits_above_that_nothing_explains_are_noticed(signed: bool) -> None:
    raw = np.array([0x1001, 0, 0xFFF0, 0, 1, 2], "<u2").tobytes()
    image, odd = replace(IMAGE, signed=signed), []
    assert decode(raw, image, odd.append)[0, 0] == 1
    assert odd == [image]


def test_a_value_of_ones_throughout_is_the_largest() -> None:
    """Siemens writes 65535 among unsigned values of 12 bits (corpus sag/2_gre_field_mapping)."""
    raw = np.array([0xFFFF, 0, 0xFFF, 0, 1, 2], "<u2").tobytes()
    assert decoded(raw, IMAGE).tolist() == [[0xFFF, 0, 0xFFF], [0, 1, 2]]


def test_sign_is_extended_from_the_stored_bits() -> None:
    raw = np.array([0x0FFF, 0x0800, 0x07FF, 0, 1, 2], "<u2").tobytes()
    assert decoded(raw, replace(IMAGE, signed=True)).tolist() == [[-1, -2048, 2047], [0, 1, 2]]


def test_stored_bits_may_lie_high() -> None:
    raw = np.array([0x0010, 0xFFF0, 0x1230, 0, 0, 0], "<u2").tobytes()
    assert decoded(raw, replace(IMAGE, high_bit=15)).tolist() == [[1, 0xFFF, 0x123], [0, 0, 0]]


@pytest.mark.parametrize("signed", [False, True])
def test_clean_values_are_not_copied(signed: bool) -> None:
    raw = np.array([0, 1, 2, 3, 4, -2048 if signed else 4095], "<i2").tobytes()
    values = decoded(raw, replace(IMAGE, signed=signed))
    assert np.shares_memory(values, np.frombuffer(raw, np.uint8))
    assert values[1, 2] == (-2048 if signed else 4095)


def test_an_odd_number_of_packed_samples() -> None:
    # PS3.5 section 8.1.1: 0x123, 0xABC and 0x7FF, each from its lowest bit on
    image = replace(IMAGE, rows=1, columns=3, bits_allocated=12, length=5)
    assert decoded(bytes([0x23, 0xC1, 0xAB, 0xFF, 0x07]), image).tolist() == [[0x123, 0xABC, 0x7FF]]


def test_values_of_absurd_size_are_refused() -> None:
    with pytest.raises(ConversionError, match="absurd"):
        layout_of(stack(rescale=((1e300, 0.0),), images=TWO))


def test_big_endian() -> None:
    raw = np.array([1, 256, 3, 4, 5, 6], ">u2").tobytes()
    assert decoded(raw, replace(IMAGE, big_endian=True)).tolist() == [[1, 256, 3], [4, 5, 6]]


@pytest.mark.parametrize("planar", [0, 1])
def test_colour_in_either_configuration(planar: int) -> None:
    colour = np.arange(18, dtype=np.uint8).reshape(2, 3, 3)
    raw = (np.moveaxis(colour, -1, 0) if planar else colour).tobytes()
    image = replace(
        IMAGE,
        samples_per_pixel=3,
        planar_configuration=planar,
        bits_allocated=8,
        bits_stored=8,
        high_bit=7,
        length=18,
        photometric_interpretation="RGB",
    )
    assert np.array_equal(decoded(raw, image), colour)


def test_float_pixels() -> None:
    raw = np.array([0.5, -1e9, 3, 4, 5, 6], "<f4").tobytes()
    image = replace(IMAGE, is_float=True, bits_allocated=32, bits_stored=32, high_bit=31, length=24)
    assert decoded(raw, image).tolist() == [[0.5, -1e9, 3], [4, 5, 6]]


def test_short_pixels_name_the_file() -> None:
    with pytest.raises(ConversionError, match=r"one\.dcm: is cut short: 11 bytes"):
        decoded(bytes(11), IMAGE)


def stack(
    *, rescale: tuple[tuple[float, float], ...], images: tuple[ImageRef, ...], **place: object
) -> Stack:
    size = len(images)
    where = {
        "image": tuple(range(size)),
        "tile_row": (0,) * size,
        "tile_column": (0,) * size,
        "slice": tuple(range(size)),
        "volume": (0,) * size,
    }
    return Stack(
        stack_id="001-1",
        series_instance_uid="1.2",
        sop_instance_uids=tuple(str(n) for n in range(size)),
        shape=(3, 2, size, 1),
        affine_ras=((1, 0, 0, 0), (0, 1, 0, 0), (0, 0, 1, 0), (0, 0, 0, 1)),
        repetition_time_s=None,
        images=images,
        placement=Placement(**{**where, **place}),  # type: ignore[arg-type]
        rescale=rescale,
        gradients=None,
        facts=StackFacts(),
        sidecar={},
    )


def pictures(image: ImageRef) -> np.ndarray:
    return np.arange(6, dtype=np.uint16).reshape(2, 3) + 100 * image.frame


def whole(stack: Stack, load: Callable[[ImageRef], np.ndarray]) -> tuple[Layout, np.ndarray]:
    """All blocks of a stack, (volume, slice, row, column)."""
    layout = layout_of(stack)
    planes = np.concatenate([assemble(stack, layout, block, load) for block in layout.blocks])
    return layout, planes.reshape(stack.shape[3], stack.shape[2], *layout.plane_shape)


TWO = (IMAGE, replace(IMAGE, frame=1))


def test_rows_are_stored_bottom_up_and_one_rescale_is_kept() -> None:
    layout, voxels = whole(stack(rescale=((2.0, -1.0),), images=TWO), pictures)
    assert voxels.dtype == layout.dtype == np.int16
    assert voxels[0, 0].tolist() == [[3, 4, 5], [0, 1, 2]]
    assert voxels[0, 1].tolist() == [[103, 104, 105], [100, 101, 102]]
    assert (layout.slope, layout.intercept) == (2.0, -1.0)


def test_rows_that_come_bottom_up_stay() -> None:
    _, voxels = whole(stack(rescale=((1.0, 0.0),), images=(replace(IMAGE, bottom_up=True),)), pictures)
    assert voxels[0, 0].tolist() == [[0, 1, 2], [3, 4, 5]]


def test_several_rescales_are_applied() -> None:
    layout, voxels = whole(stack(rescale=((1.0, 0.0), (0.5, 3.0)), images=TWO), pictures)
    assert voxels.dtype == np.float32
    assert voxels[0, 1].tolist() == [[54.5, 55.0, 55.5], [53.0, 53.5, 54.0]]
    assert (layout.slope, layout.intercept) == (1.0, 0.0)


def test_each_picture_is_loaded_once_for_all_its_tiles() -> None:
    loads: list[ImageRef] = []

    def mosaic(image: ImageRef) -> np.ndarray:
        loads.append(image)
        return np.arange(24, dtype=np.uint16).reshape(4, 6)

    tiled = stack(rescale=((1.0, 0.0),), images=TWO, image=(0, 0), tile_row=(0, 2), tile_column=(3, 0))
    _, voxels = whole(tiled, mosaic)
    assert len(loads) == 1
    assert voxels[0, 0].tolist() == [[9, 10, 11], [3, 4, 5]]
    assert voxels[0, 1].tolist() == [[18, 19, 20], [12, 13, 14]]


def test_planes_come_in_the_order_of_the_file_whatever_theirs() -> None:
    turned = stack(rescale=((1.0, 0.0),), images=TWO, slice=(1, 0))
    _, voxels = whole(turned, pictures)
    assert voxels[0, 0].tolist() == [[103, 104, 105], [100, 101, 102]]
    assert voxels[0, 1].tolist() == [[3, 4, 5], [0, 1, 2]]


def test_blocks_are_cut_between_pictures_only() -> None:
    side = 512  # four tiles of half a megabyte in each picture
    images = tuple(replace(IMAGE, frame=frame) for frame in range(3))
    tiles = {
        "image": [0] * 4 + [1] * 4 + [2] * 4,
        "tile_row": (0,) * 12,
        "tile_column": (0,) * 12,
        "slice": [0, 1, 2, 3] * 3,
        "volume": [0] * 4 + [1] * 4 + [2] * 4,
    }
    mosaics = replace(stack(rescale=((1.0, 0.0),), images=images, **tiles), shape=(side, side, 4, 3))
    assert 4 * 2 * side * side > BLOCK
    assert layout_of(mosaics).blocks == ((0, 1, 2, 3), (4, 5, 6, 7), (8, 9, 10, 11))


@pytest.mark.parametrize("slices", [(0, 0), (0, 2), (-1, 0)])
def test_planes_that_do_not_fill_the_grid_are_refused(slices: tuple[int, int]) -> None:
    with pytest.raises(ConversionError, match="do not fill"):
        layout_of(stack(rescale=((1.0, 0.0),), images=TWO, slice=slices))


def test_a_picture_that_is_too_small_is_named() -> None:
    with pytest.raises(ConversionError, match=r"one\.dcm: has a picture of 3 x 1 pixels"):
        whole(stack(rescale=((1.0, 0.0),), images=TWO), lambda image: pictures(image)[:1])


@pytest.mark.parametrize(("stored", "kind"), [(12, np.int16), (15, np.int16), (16, np.uint16)])
def test_unsigned_values_become_signed_where_they_fit(stored: int, kind: type) -> None:
    images = tuple(replace(image, bits_stored=stored, high_bit=stored - 1) for image in TWO)
    assert layout_of(stack(rescale=((1.0, 0.0),), images=images)).dtype == kind
