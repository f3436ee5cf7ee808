"""A stack and a way to load pictures become blocks of voxels in NIfTI order, with their scaling.

``assemble`` opens nothing: the loader is an argument, so that it is tested on plain arrays. Each picture is
loaded once.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Sequence
from typing import Any

import numpy as np
from msgspec import Struct
from numpy.typing import NDArray

from pacs2bids.model import ConversionError, ImageRef, Stack
from pacs2bids.text import AGAIN

Pixels = NDArray[Any]
Load = Callable[[ImageRef], Pixels]
Notice = Callable[[ImageRef], None]

BLOCK = 1 << 20


class Layout(Struct, frozen=True, kw_only=True):
    """How a stack lies in its file, known before any pixel is read: plane after plane, volume after volume.

    ``plane_shape``: (rows, columns) or (rows, columns, 3). True values are ``voxels * slope + intercept``.
    ``blocks``: the planes, as indices into ``Stack.placement``, in the order of the file, in runs of about a
    megabyte. A block needs no other one, so that memory holds a few of them, never the whole stack.
    """

    dtype: np.dtype[Any]
    plane_shape: tuple[int, ...]
    slope: float
    intercept: float
    blocks: tuple[tuple[int, ...], ...]


def decode(raw: bytes, image: ImageRef, notice: Notice) -> Pixels:
    """Stored values of a natively stored picture, shape (rows, columns) or (rows, columns, samples).

    Bits above the stored ones (overlays of old files) are cut off; signed values are extended
    (PS3.5 section 8.1.1). ``notice``: see ``stored_bits``. Raises ConversionError if ``raw`` is short.
    """
    if len(raw) < (image.length or 0):
        what = f"is cut short: {len(raw)} bytes of pixels where {image.length} are due"
        raise ConversionError(what, where=image.path, hint=AGAIN)
    if image.big_endian and image.bits_allocated % 16:
        raw = np.frombuffer(raw, "u2").byteswap().tobytes()
    kind = "f" if image.is_float else "i" if image.signed else "u"
    order = ">" if image.big_endian else "<"
    count = image.rows * image.columns * image.samples_per_pixel
    if image.bits_allocated == 12:
        values = _unpacked(raw, count).view(f"{kind}2")
    else:
        values = np.frombuffer(raw, f"{order}{kind}{image.bits_allocated // 8}", count)
    values = stored_bits(values, image, notice)
    if image.samples_per_pixel == 1:
        return values.reshape(image.rows, image.columns)
    if image.planar_configuration == 1:
        planes = values.reshape(image.samples_per_pixel, image.rows, image.columns)
        return np.moveaxis(planes, 0, -1)
    return values.reshape(image.rows, image.columns, image.samples_per_pixel)


def _unpacked(raw: bytes, count: int) -> NDArray[np.uint16]:
    """Samples of 12 bits from a stream of bits, lowest first: two in three bytes (PS3.5 section 8.1.1)."""
    octets = np.frombuffer(raw.ljust(-(-count // 2) * 3, b"\0"), np.uint8)
    low, middle, high = octets[: -(-count // 2) * 3].reshape(-1, 3).astype(np.uint16).T
    return np.stack([low | (middle & 15) << 8, middle >> 4 | high << 4], axis=-1).reshape(-1)[:count]


def stored_bits(values: Pixels, image: ImageRef, notice: Notice) -> Pixels:
    """The stored bits alone (PS3.5 section 8.1.1); ``values`` itself where the spare ones are clean.

    Spare bits hold zeros, copies of the sign, ones throughout (65535), or an old file's overlay, which its
    header declares. Anything else is cut off, too, but ``notice`` is called: an overlay may have lost its
    declaration when a file was de-identified, or BitsStored may be wrong.
    """
    width = 8 * values.dtype.itemsize
    if image.is_float or image.bits_stored == width or _is_clean(values, image):
        return values
    if not image.overlaid and not _is_plain_above(values, image):
        notice(image)
    # left then right: drops the bits above, and the arithmetic shift of signed types extends the sign
    return np.right_shift(np.left_shift(values, width - 1 - image.high_bit), width - image.bits_stored)


def _is_clean(values: Pixels, image: ImageRef) -> bool:
    """Looking costs less than shifting: it writes nothing (256 x 256 of 16 bits: 3 us against 12)."""
    if image.high_bit >= image.bits_stored:
        return False
    if not image.signed:
        return bool(values.max() < 1 << image.bits_stored)
    limit = 1 << image.bits_stored - 1
    return bool(-limit <= values.min() and values.max() < limit)


def _is_plain_above(values: Pixels, image: ImageRef) -> bool:
    """Whether the spare bits of each value are zero, or all its bits are one (65535: corpus sag)."""
    unsigned = values.view(f"u{values.dtype.itemsize}")
    ones = np.iinfo(unsigned.dtype).max
    stored = (1 << image.high_bit + 1) - (1 << image.high_bit + 1 - image.bits_stored)
    above = unsigned & unsigned.dtype.type(ones & ~stored)
    return bool(((above == 0) | (unsigned == ones)).all())


def layout_of(stack: Stack) -> Layout:
    """What the file of a stack holds, and where.

    One rescale for all pictures stays in slope and intercept; several are applied, to float32.
    Raises ConversionError if the planes do not fill the grid, each place once, or if values are absurd.
    """
    _require_finite(stack)
    where = stack.placement
    _, _, slices, volumes = stack.shape
    places = [volume * slices + slice_ for volume, slice_ in zip(where.volume, where.slice, strict=True)]
    order = sorted(range(len(places)), key=places.__getitem__)
    if [places[plane] for plane in order] != list(range(slices * volumes)):
        raise ConversionError(f"its {len(places)} planes do not fill {volumes} volumes of {slices} slices")
    one_rescale = len(stack.rescale) == 1
    first = stack.images[0]
    dtype = _stored_type(stack.images) if one_rescale else np.dtype(np.float32)
    samples = (3,) if first.is_colour else ()
    slope, intercept = stack.rescale[0] if one_rescale else (1.0, 0.0)
    return Layout(
        dtype=dtype,
        plane_shape=(stack.shape[1], stack.shape[0], *samples),
        slope=slope,
        intercept=intercept,
        blocks=tuple(_blocks(order, where.image, math.prod(stack.shape[:2], start=dtype.itemsize))),
    )


def _require_finite(stack: Stack) -> None:
    """NIfTI keeps slope and intercept in single precision."""
    least, most = float(np.finfo(np.float32).tiny), float(np.finfo(np.float32).max)
    for slope, intercept in stack.rescale:
        if not (least <= abs(slope) <= most and abs(intercept) <= most):
            what = f"its header gives values of an absurd size (slope {slope:g}, intercept {intercept:g})"
            raise ConversionError(what)


def _blocks(order: Sequence[int], image: Sequence[int], plane_bytes: int) -> Iterator[tuple[int, ...]]:
    """Cut after BLOCK bytes, but only between pictures: each is loaded once."""
    start = 0
    for end in range(1, len(order) + 1):
        full = (end - start) * plane_bytes >= BLOCK
        if end == len(order) or (full and image[order[end]] != image[order[end - 1]]):
            yield tuple(order[start:end])
            start = end


def assemble(stack: Stack, layout: Layout, block: tuple[int, ...], load: Load) -> Pixels:
    """The voxels of one block, (planes, rows bottom-up, columns[, RGB]), of the layout's type.

    ``load`` gives the stored values of one picture, as ``decode`` does.
    Raises ConversionError if a picture does not have the promised size.
    """
    where = stack.placement
    rows, columns = layout.plane_shape[:2]
    voxels: Pixels = np.empty((len(block), *layout.plane_shape), layout.dtype)
    number, picture = -1, voxels[0]
    for place, plane in enumerate(block):
        if where.image[plane] != number:
            number = where.image[plane]
            picture = _values(stack, number, load)
        top, left = where.tile_row[plane], where.tile_column[plane]
        tile = picture[top : top + rows, left : left + columns]
        if tile.shape != layout.plane_shape:
            what = f"has a picture of {picture.shape[1]} x {picture.shape[0]} pixels, too small"
            raise ConversionError(what, where=stack.images[number].path)
        voxels[place] = tile[::-1]
    return voxels


def _values(stack: Stack, number: int, load: Load) -> Pixels:
    """The values of one picture as the file holds them, first row at the top."""
    picture = load(stack.images[number])
    picture = picture[::-1] if stack.images[number].bottom_up else picture
    if len(stack.rescale) == 1:
        return picture
    slope, intercept = stack.rescale[number]
    return picture.astype(np.float64) * slope + intercept


def _stored_type(images: tuple[ImageRef, ...]) -> np.dtype[Any]:
    """The NIfTI type that holds every stored value; signed 16 bit where that is enough, as tools expect."""
    first = images[0]
    if first.is_colour:
        return np.dtype(np.uint8)
    if first.is_float:
        return np.dtype(np.float64 if first.bits_allocated == 64 else np.float32)
    stored = max(image.bits_stored for image in images)
    if first.signed:
        return np.dtype(np.int16 if stored <= 16 else np.int32)
    if stored <= 8:
        return np.dtype(np.uint8)
    if stored <= 16:
        return np.dtype(np.int16 if stored < 16 else np.uint16)
    return np.dtype(np.uint32)
