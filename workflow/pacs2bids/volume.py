"""A stack and a way to load pictures become an array in NIfTI order, with its scaling.

``assemble`` opens nothing: the loader is an argument, so that it is tested on plain arrays. Each picture is
loaded once and written straight into its place.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from pacs2bids.model import ConversionError, ImageRef, Stack

Pixels = NDArray[Any]
Load = Callable[[ImageRef], Pixels]


@dataclass(frozen=True, slots=True, kw_only=True)
class Volume:
    """Voxels in memory order (volume, slice, row bottom-up, column[, RGB]): the file's, its first axis last.

    True values are ``voxels * slope + intercept``.
    """

    voxels: Pixels
    slope: float
    intercept: float


def decode(raw: bytes, image: ImageRef) -> Pixels:
    """Stored values of a natively stored picture, shape (rows, columns) or (rows, columns, samples).

    Bits above the stored ones (overlays of old files) are cut off; signed values are extended
    (PS3.5 section 8.1.1). Raises ConversionError if ``raw`` is short.
    """
    if image.length is None or len(raw) < image.length:
        what = f"is cut short: {len(raw)} bytes of pixels where {image.length} are due"
        raise ConversionError(
            what, where=image.path, hint="If the source has it whole: remove the study's folder and run again"
        )
    kind = "f" if image.is_float else "i" if image.signed else "u"
    order = ">" if image.big_endian else "<"
    values = np.frombuffer(raw, dtype=f"{order}{kind}{image.bits_allocated // 8}")
    values = _stored_bits(values, image)
    if image.samples_per_pixel == 1:
        return values.reshape(image.rows, image.columns)
    if image.planar_configuration == 1:
        planes = values.reshape(image.samples_per_pixel, image.rows, image.columns)
        return np.moveaxis(planes, 0, -1)
    return values.reshape(image.rows, image.columns, image.samples_per_pixel)


def _stored_bits(values: Pixels, image: ImageRef) -> Pixels:
    spare = image.bits_allocated - image.bits_stored
    if image.is_float or spare == 0:
        return values
    above = image.bits_allocated - 1 - image.high_bit
    # left then right: drops the bits above, and the arithmetic shift of signed types extends the sign
    return np.right_shift(np.left_shift(values, above), spare)


def assemble(stack: Stack, load: Load) -> Volume:
    """The voxels of a stack. ``load`` gives the stored values of one picture, as ``decode`` does.

    One rescale for all pictures stays in slope and intercept; several are applied, to float32.
    Raises ConversionError if a picture does not have the promised size.
    """
    one_rescale = len(stack.rescale) == 1
    columns, rows, slices, volumes = stack.shape
    first = stack.images[0]
    dtype = _stored_type(stack.images) if one_rescale else np.dtype(np.float32)
    samples = (first.samples_per_pixel,) if first.samples_per_pixel > 1 else ()
    voxels: Pixels = np.empty((volumes, slices, rows, columns, *samples), dtype=dtype)
    for number, cells in _cells_by_image(stack).items():
        picture = load(stack.images[number])
        if not one_rescale:
            slope, intercept = stack.rescale[number]
            picture = picture.astype(np.float64) * slope + intercept
        for tile_row, tile_column, slice_, volume in cells:
            tile = picture[tile_row : tile_row + rows, tile_column : tile_column + columns]
            if tile.shape[:2] != (rows, columns):
                what = f"has a picture of {picture.shape[1]} x {picture.shape[0]} pixels, too small"
                raise ConversionError(what, where=stack.images[number].path)
            voxels[volume, slice_] = tile[::-1]
    slope, intercept = stack.rescale[0] if one_rescale else (1.0, 0.0)
    return Volume(voxels=voxels, slope=slope, intercept=intercept)


def _cells_by_image(stack: Stack) -> dict[int, list[tuple[int, int, int, int]]]:
    cells: dict[int, list[tuple[int, int, int, int]]] = defaultdict(list)
    where = stack.placement
    rows = zip(where.image, where.tile_row, where.tile_column, where.slice, where.volume, strict=True)
    for image, tile_row, tile_column, slice_, volume in rows:
        cells[image].append((tile_row, tile_column, slice_, volume))
    return cells


def _stored_type(images: tuple[ImageRef, ...]) -> np.dtype[Any]:
    """The NIfTI type that holds every stored value; signed 16 bit where that is enough, as tools expect."""
    first = images[0]
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
