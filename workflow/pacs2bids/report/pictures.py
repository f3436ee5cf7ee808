"""Three-plane pictures of volumes, small enough to stand in a page by the hundred.

Array axes are brought to the nearest axes of the world (RAS+), so that every volume is shown the same way
however it is stored: the patient's left is on the left of the picture ("neurological"), anterior is up or, in
a sagittal slice, to the right. A volume is read once, from its first byte on, one 3D volume in memory at a
time, and no further than the pictures need. Stored values are shown, since the grey scale adapts to them.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from io import BytesIO
from pathlib import Path
from typing import Any

import numpy as np
from isal import igzip, igzip_lib
from nibabel.filebasedimages import ImageFileError
from nibabel.nifti1 import Nifti1Header
from nibabel.orientations import apply_orientation, io_orientation
from nibabel.spatialimages import HeaderDataError
from nibabel.wrapstruct import WrapStructError
from numpy.typing import NDArray
from PIL import Image, ImageDraw, ImageFont

from pacs2bids.model import ConversionError

Floats = NDArray[np.float32]
Voxels = NDArray[Any]

PANEL_PIXELS = 200
GAP_PIXELS = 8
LETTER_PIXELS, MARGIN_PIXELS = 16, 5
JPEG_QUALITY = 78
AVERAGED = 10  # volumes of a series; enough to see it, and early in the file
THIN = 12  # with fewer slices, the planes across them are slivers: show slices instead
WINDOW_PERCENT = (1.0, 99.6)


@dataclass(frozen=True, slots=True, kw_only=True)
class Picture:
    """A JPEG; ``planes`` says which planes it shows, ``caption`` what else there is to say of it."""

    jpeg: bytes
    width: int
    height: int
    planes: str
    caption: str


@dataclass(frozen=True, slots=True, kw_only=True)
class _View:
    """A way to look: along the world axis ``normal``; the picture's right is axis ``across``, up is ``up``.

    ``left``, ``right``: letters of the patient's sides at the picture's edges.
    """

    name: str
    normal: int
    across: int
    up: int
    left: str
    right: str


# axes of RAS+: 0 to the patient's right, 1 to anterior, 2 to superior
AXIAL = _View(name="axial", normal=2, across=0, up=1, left="L", right="R")
CORONAL = _View(name="coronal", normal=1, across=0, up=2, left="L", right="R")
SAGITTAL = _View(name="sagittal", normal=0, across=1, up=2, left="P", right="A")
VIEWS = (AXIAL, CORONAL, SAGITTAL)


@dataclass(frozen=True, slots=True, kw_only=True)
class _Wanted:
    """One picture to be: which volumes to average, and what to call it."""

    volumes: tuple[int, ...]
    caption: str


@dataclass(frozen=True, slots=True, kw_only=True)
class _Panel:
    """One plane of the picture: a view, and which slice along its normal."""

    view: _View
    position: int


def pictures_of(path: Path, b_values_s_per_mm2: Sequence[float] = ()) -> tuple[Picture, ...]:
    """Pictures of a ``.nii.gz``: one, or b = 0 and the strongest weighting of a diffusion series.

    Raises ConversionError if the file cannot be read as far as needed.
    """
    try:
        with igzip.IGzipFile(path, "rb") as stream:  # type: ignore[no-untyped-call]
            return _draw(stream, b_values_s_per_mm2)
    except (OSError, EOFError, ImageFileError, HeaderDataError, WrapStructError) as error:
        raise ConversionError(f"cannot be drawn: {error}", where=str(path)) from error
    except igzip_lib.IsalError as error:  # type: ignore[misc]  # its stub is wrong
        raise ConversionError(f"is damaged: {error}", where=str(path)) from error


def _draw(stream: igzip.IGzipFile, b_values: Sequence[float]) -> tuple[Picture, ...]:
    header = Nifti1Header.from_fileobj(stream)
    stream.read(int(header["vox_offset"]) - stream.tell())
    columns, rows, slices, *volumes = header.get_data_shape()
    count = int(volumes[0]) if volumes else 1
    orientation = io_orientation(header.get_best_affine())
    sizes_mm = _in_world_order(header.get_zooms()[:3], orientation)
    panels = _panels(_in_world_order((columns, rows, slices), orientation))
    wanted = _wanted(count, b_values)
    sums: dict[str, list[Floats]] = {}
    last = max(number for one in wanted for number in one.volumes)
    for number, volume in enumerate(_volumes(stream, header, last + 1)):
        for one in wanted:
            if number in one.volumes:
                planes = _cut(apply_orientation(volume, orientation), panels)
                sums[one.caption] = _added(sums.get(one.caption), planes)
    slope, _ = header.get_slope_inter()
    scale = np.float32(-1 if slope is not None and slope < 0 else 1)
    return tuple(
        _picture(
            [total * scale / np.float32(len(one.volumes)) for total in sums[one.caption]],
            panels,
            sizes_mm,
            one.caption,
        )
        for one in wanted
    )


def _added(sums: list[Floats] | None, planes: list[Floats]) -> list[Floats]:
    return planes if sums is None else [total + plane for total, plane in zip(sums, planes, strict=True)]


def _wanted(count: int, b_values: Sequence[float]) -> tuple[_Wanted, ...]:
    if count > 1 and len(b_values) == count and len(set(b_values)) > 1:
        chosen = (b_values.index(min(b_values)), b_values.index(max(b_values)))
        return tuple(_Wanted(volumes=(one,), caption=f"b = {b_values[one]:.0f} s/mm²") for one in chosen)
    averaged = min(count, AVERAGED)
    if count == 1:
        caption = ""
    elif averaged == count:
        caption = f"mean of {count} volumes"
    else:
        caption = f"mean of the first {averaged} of {count} volumes"
    return (_Wanted(volumes=tuple(range(averaged)), caption=caption),)


# ------------------------------------------------------------------------------------------ voxels


def _volumes(stream: igzip.IGzipFile, header: Nifti1Header, count: int) -> Iterator[Voxels]:
    """The first ``count`` volumes, as stored; colour is a fourth axis. Raises EOFError if one is short."""
    shape, dtype = header.get_data_shape()[:3], header.get_data_dtype()
    size = int(np.prod(shape)) * dtype.itemsize
    for _ in range(count):
        octets = stream.read(size)
        if len(octets) < size:
            raise EOFError("it ends too early")
        voxels = np.frombuffer(octets, dtype).reshape(shape, order="F")
        yield np.stack([voxels[name] for name in "RGB"], axis=-1) if dtype.names else voxels


def _in_world_order(values: Sequence[Any], orientation: Floats) -> tuple[Any, ...]:
    """One value an array axis becomes one value a world axis."""
    of_world = {int(world): value for (world, _), value in zip(orientation, values, strict=True)}
    return tuple(of_world[world] for world in range(3))


def _panels(shape: Sequence[int]) -> tuple[_Panel, ...]:
    """The three planes through the middle, or three slices where there are too few for planes across them."""
    thin = min(VIEWS, key=lambda view: shape[view.normal])
    count = shape[thin.normal]
    if count < THIN:
        positions = sorted({count // 4, count // 2, 3 * count // 4})
        return tuple(_Panel(view=thin, position=position) for position in positions)
    return tuple(_Panel(view=view, position=shape[view.normal] // 2) for view in VIEWS)


def _cut(volume: Voxels, panels: Sequence[_Panel]) -> list[Floats]:
    """Each panel's slice as a picture lies: rows from top to bottom, then columns, then colours if any."""
    planes = (np.take(volume, panel.position, axis=panel.view.normal) for panel in panels)
    return [np.swapaxes(plane, 0, 1)[::-1].astype(np.float32) for plane in planes]


# ------------------------------------------------------------------------------------------ picture


def _picture(
    planes: Sequence[Floats], panels: Sequence[_Panel], sizes_mm: Sequence[float], caption: str
) -> Picture:
    """The planes side by side, all at one scale, each in the middle of its square."""
    extents_mm = [
        (plane.shape[1] * sizes_mm[panel.view.across], plane.shape[0] * sizes_mm[panel.view.up])
        for plane, panel in zip(planes, panels, strict=True)
    ]
    scale = PANEL_PIXELS / max(max(extent) for extent in extents_mm)
    step = PANEL_PIXELS + GAP_PIXELS
    size = (step * len(panels) - GAP_PIXELS, PANEL_PIXELS)
    sheet = Image.new("RGB" if planes[0].ndim == 3 else "L", size)
    draw = ImageDraw.Draw(sheet)
    for number, (grey, extent) in enumerate(zip(_grey(planes), extents_mm, strict=True)):
        width, height = (max(round(side_mm * scale), 1) for side_mm in extent)
        image = Image.fromarray(grey).resize((width, height), Image.Resampling.BICUBIC)
        left = number * step
        sheet.paste(image, (left + (PANEL_PIXELS - width) // 2, (PANEL_PIXELS - height) // 2))
        _mark_sides(draw, left, panels[number].view)
    stream = BytesIO()
    sheet.save(stream, "JPEG", quality=JPEG_QUALITY, optimize=True)
    names = ", ".join(panel.view.name for panel in panels)
    return Picture(jpeg=stream.getvalue(), width=size[0], height=size[1], planes=names, caption=caption)


def _mark_sides(draw: ImageDraw.ImageDraw, left: int, view: _View) -> None:
    font = ImageFont.load_default(LETTER_PIXELS)
    bottom, right = PANEL_PIXELS - MARGIN_PIXELS, left + PANEL_PIXELS - MARGIN_PIXELS
    outlined: dict[str, Any] = {"fill": "white", "stroke_width": 2, "stroke_fill": "black"}
    draw.text((left + MARGIN_PIXELS, bottom), view.left, font=font, anchor="ls", **outlined)
    draw.text((right, bottom), view.right, font=font, anchor="rs", **outlined)


def _grey(planes: Sequence[Floats]) -> list[NDArray[np.uint8]]:
    """Values to bytes: the same window for all planes, from percentiles; colour is shown as it is."""
    finite = [np.nan_to_num(plane, nan=0.0, posinf=0.0, neginf=0.0) for plane in planes]
    if planes[0].ndim == 3:
        low, high = 0.0, 255.0
    else:
        values = np.concatenate([plane.ravel() for plane in finite])
        low, high = (float(value) for value in np.percentile(values, WINDOW_PERCENT))
        if high <= low:  # nearly all voxels are alike: a mask
            low, high = float(values.min()), float(values.max())
    scale = 255 / (high - low) if high > low else 0.0
    return [np.clip((plane - low) * scale, 0, 255).astype(np.uint8) for plane in finite]
