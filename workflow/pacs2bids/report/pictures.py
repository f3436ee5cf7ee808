"""Three-plane pictures of volumes, small enough to stand in a page by the hundred.

Array axes are brought to the nearest axes of the world (RAS+), so that every volume is shown the same way
however it is stored: the patient's left is on the left of the picture ("neurological"), anterior is up or, in
a sagittal slice, to the right. Pictures without a place in the patient are shown as they are stored, without
letters. A volume is read once, from its first byte on, one 3D volume in memory at a
time, and no further than the pictures need. Of pictures that are but bright or dark, stored values are shown,
since the grey scale adapts to them.
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
from nibabel.orientations import apply_orientation, inv_ornt_aff, io_orientation
from nibabel.spatialimages import HeaderDataError
from nibabel.wrapstruct import WrapStructError
from numpy.typing import NDArray
from PIL import Image, ImageDraw, ImageFont

from pacs2bids.model import ConversionError
from pacs2bids.report.view import VolumeRef

Floats = NDArray[np.float32]
Voxels = NDArray[Any]

PANEL_PIXELS = 200
GAP_PIXELS = 8
LETTER_PIXELS, MARGIN_PIXELS = 20, 5
JPEG_QUALITY = 78
LONGEST = 100  # voxels along an axis of a solid: a few hundred kB
SERIES = 6  # volumes from which on it makes sense to ask how they vary
THIN = 12  # with fewer slices, the planes across them are slivers: show slices instead
WINDOW_PERCENT = (1.0, 99.0)


@dataclass(frozen=True, slots=True, kw_only=True)
class Picture:
    """A JPEG; ``planes`` says which planes it shows, ``caption`` what else there is to say of it.

    ``scale``: the values that are black and white, and their unit, where values measure something.
    """

    jpeg: bytes
    width: int
    height: int
    planes: str
    caption: str
    scale: tuple[float, float, str] | None = None


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Solid:
    """A 3D volume along the world's axes, averaged over blocks where it is large, all values finite.

    ``affine_ras``: of its array, mm.
    """

    voxels: Floats
    affine_ras: NDArray[np.float64]


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Drawing:
    """What is drawn of a volume, or why nothing is (``problem``).

    ``signal``: of a series, the mean of all voxels, one a volume: motion hardly changes it; () of values that
    measure. ``solid``: what the first picture shows, where it has a place in the patient.
    """

    pictures: tuple[Picture, ...] = ()
    signal: tuple[float, ...] = ()
    solid: Solid | None = None
    problem: str = ""


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
# what is no part of a patient: rows and columns as they are stored, bottom-up as our files have them
PLAIN = _View(name="picture", normal=2, across=0, up=1, left="", right="")
AS_STORED = np.array([[0, 1], [1, 1], [2, 1]])  # the orientation that moves no axis


@dataclass(frozen=True, slots=True, kw_only=True)
class _Panel:
    """One plane of the picture: a view, and which slice along its normal."""

    view: _View
    position: int


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class _Shown:
    """What becomes one picture: the planes of its panels, and what to call it.

    ``is_spread``: they tell how values vary, so that the file's intercept and unit are not theirs.
    """

    planes: list[Floats]
    caption: str
    is_spread: bool = False


def pictures_of(path: Path, b_values_s_per_mm2: Sequence[float] = ()) -> tuple[Picture, ...]:
    """Pictures of a ``.nii.gz``: see ``drawing_of``."""
    return drawing_of(VolumeRef(path=path, b_values_s_per_mm2=tuple(b_values_s_per_mm2))).pictures


def drawing_of(volume: VolumeRef) -> Drawing:
    """What is drawn of a ``.nii.gz``.

    One picture; of a time series, mean and standard deviation; of a diffusion series, b = 0 and the strongest
    weighting. Raises ConversionError if the file cannot be read as far as needed.
    """
    try:
        with igzip.IGzipFile(volume.path, "rb") as stream:  # type: ignore[no-untyped-call]
            return _draw(stream, volume)
    except (OSError, EOFError, ImageFileError, HeaderDataError, WrapStructError) as error:
        raise ConversionError(f"cannot be drawn: {error}", where=str(volume.path)) from error
    except igzip_lib.IsalError as error:  # type: ignore[misc]  # its stub is wrong
        raise ConversionError(f"is damaged: {error}", where=str(volume.path)) from error


def _draw(stream: igzip.IGzipFile, volume: VolumeRef) -> Drawing:
    header = Nifti1Header.from_fileobj(stream)
    stream.read(int(header["vox_offset"]) - stream.tell())
    columns, rows, slices, *volumes = header.get_data_shape()
    count = int(volumes[0]) if volumes else 1
    is_placed = bool(header["sform_code"] or header["qform_code"])
    orientation = io_orientation(header.get_best_affine()) if is_placed else AS_STORED
    sizes_mm = _in_world_order(header.get_zooms()[:3], orientation)
    panels = _panels(_in_world_order((columns, rows, slices), orientation), VIEWS if is_placed else (PLAIN,))
    read = (apply_orientation(one, orientation) for one in _volumes(stream, header, count))
    weightings = volume.b_values_s_per_mm2
    if count > 1 and len(weightings) == count and len(set(weightings)) > 1:
        solid, shown, signal = _weighted(read, weightings, panels)
    else:
        solid, shown, signal = _over_time(read, count, panels)
    slope, intercept = _rescale(header, volume)
    pictures = tuple(
        _picture(one.planes, panels, sizes_mm, one.caption, "")
        if one.is_spread
        else _picture(
            [plane * slope + intercept for plane in one.planes], panels, sizes_mm, one.caption, volume.unit
        )
        for one in shown
    )
    affine = header.get_best_affine() @ inv_ornt_aff(orientation, (columns, rows, slices))
    whole = _solid(solid * slope + intercept, affine) if solid.ndim == 3 and is_placed else None
    # how far an angle or a field is from its mean, in percent of it, means nothing
    return Drawing(pictures=pictures, signal=() if volume.unit else signal, solid=whole)


def _rescale(header: Nifti1Header, volume: VolumeRef) -> tuple[np.float32, np.float32]:
    """Slope and intercept of values that measure; of others the sign alone: what is bright must stay so."""
    slope, intercept = header.get_slope_inter()
    if volume.unit:
        slope = 1 if slope is None else slope
        return np.float32(slope * volume.factor), np.float32((intercept or 0) * volume.factor)
    return np.float32(-1 if slope is not None and slope < 0 else 1), np.float32(0)


def _weighted(
    volumes: Iterator[Voxels], b_values: Sequence[float], panels: Sequence[_Panel]
) -> tuple[Floats, list[_Shown], tuple[float, ...]]:
    """The first without (or with the least) weighting, the first with the most; mean signal of all."""
    chosen = (b_values.index(min(b_values)), b_values.index(max(b_values)))
    kept: dict[int, Floats] = {}
    signal = []
    for number, volume in enumerate(volumes):
        signal.append(float(volume.mean(dtype=np.float64)))
        if number in chosen:
            kept[number] = volume.astype(np.float32)
    shown = [
        _Shown(planes=_cut(kept[one], panels), caption=f"b = {b_values[one]:.0f} s/mm²") for one in chosen
    ]
    return kept[chosen[0]], shown, tuple(signal)


def _over_time(
    volumes: Iterator[Voxels], count: int, panels: Sequence[_Panel]
) -> tuple[Floats, list[_Shown], tuple[float, ...]]:
    """Mean, standard deviation and mean signal of all volumes, one volume in memory at a time."""
    first = next(volumes).astype(np.float32)
    base = _cut(first, panels)
    # of differences from the first: squares of large values would eat up small differences
    total, squares = np.zeros_like(first), [np.zeros_like(plane) for plane in base]
    signal = [float(first.mean(dtype=np.float64))]
    for volume in volumes:
        change = volume - first
        total += change
        signal.append(signal[0] + float(change.mean(dtype=np.float64)))
        if count >= SERIES:
            squares = [
                square + plane * plane for square, plane in zip(squares, _cut(change, panels), strict=True)
            ]
    total /= count
    mean = first + total
    shown = [_Shown(planes=_cut(mean, panels), caption=f"mean of {count} volumes" if count > 1 else "")]
    if count < SERIES or mean.ndim > 3:
        return mean, shown, ()
    drift = _cut(total, panels)
    spread = [np.sqrt(np.maximum(s / count - d * d, 0)) for s, d in zip(squares, drift, strict=True)]
    shown.append(_Shown(planes=spread, caption="standard deviation over time", is_spread=True))
    return mean, shown, tuple(signal)


def _solid(voxels: Floats, affine_ras: NDArray[np.float64]) -> Solid:
    """Blocks of voxels become one, so that no axis is long; what is over at an end is left out."""
    factors = [-(-length // LONGEST) for length in voxels.shape]
    for axis, factor in enumerate(factors):
        if factor > 1:
            length = voxels.shape[axis] // factor
            kept = voxels[(slice(None),) * axis + (slice(length * factor),)]
            shape = (*kept.shape[:axis], length, factor, *kept.shape[axis + 1 :])
            voxels = kept.reshape(shape).mean(axis=axis + 1, dtype=np.float32)
    # the middle of the first block, in voxels of the whole
    first = [(factor - 1) / 2 for factor in factors]
    affine = affine_ras @ np.diag([*factors, 1.0])
    affine[:3, 3] = affine_ras[:3] @ [*first, 1.0]
    return Solid(voxels=_finite(voxels), affine_ras=affine)


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


def _panels(shape: Sequence[int], views: Sequence[_View]) -> tuple[_Panel, ...]:
    """The three planes through the middle, or three slices where there are too few for planes across them."""
    thin = min(views, key=lambda view: shape[view.normal])
    count = shape[thin.normal]
    if count < THIN or len(views) == 1:
        positions = sorted({count // 4, count // 2, 3 * count // 4})
        return tuple(_Panel(view=thin, position=position) for position in positions)
    return tuple(_Panel(view=view, position=shape[view.normal] // 2) for view in views)


def _cut(volume: Voxels, panels: Sequence[_Panel]) -> list[Floats]:
    """Each panel's slice as a picture lies: rows from top to bottom, then columns, then colours if any."""
    # by a slice, which is a view: `take` copies the volume first
    planes = (volume[(slice(None),) * panel.view.normal + (panel.position,)] for panel in panels)
    return [np.swapaxes(plane, 0, 1)[::-1].astype(np.float32) for plane in planes]


# ------------------------------------------------------------------------------------------ picture


def _picture(
    planes: Sequence[Floats], panels: Sequence[_Panel], sizes_mm: Sequence[float], caption: str, unit: str
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
    low, high = _window(planes, is_signed=bool(unit))
    for number, (grey, extent) in enumerate(zip(_grey(planes, low, high), extents_mm, strict=True)):
        width, height = (max(round(side_mm * scale), 1) for side_mm in extent)
        image = Image.fromarray(grey).resize((width, height), Image.Resampling.BICUBIC)
        left = number * step
        sheet.paste(image, (left + (PANEL_PIXELS - width) // 2, (PANEL_PIXELS - height) // 2))
        _mark_sides(draw, left, panels[number].view)
    stream = BytesIO()
    sheet.save(stream, "JPEG", quality=JPEG_QUALITY, optimize=True)
    names = ", ".join(panel.view.name for panel in panels)
    return Picture(
        jpeg=stream.getvalue(),
        width=size[0],
        height=size[1],
        planes=names,
        caption=caption,
        scale=(low, high, unit) if unit else None,
    )


def _mark_sides(draw: ImageDraw.ImageDraw, left: int, view: _View) -> None:
    font = ImageFont.load_default(LETTER_PIXELS)
    bottom, right = PANEL_PIXELS - MARGIN_PIXELS, left + PANEL_PIXELS - MARGIN_PIXELS
    outlined: dict[str, Any] = {"fill": "white", "stroke_width": 2, "stroke_fill": "black"}
    draw.text((left + MARGIN_PIXELS, bottom), view.left, font=font, anchor="ls", **outlined)
    draw.text((right, bottom), view.right, font=font, anchor="rs", **outlined)


def _window(planes: Sequence[Floats], *, is_signed: bool) -> tuple[float, float]:
    """The values that are black and white, the same for all planes: from percentiles; of colours all.

    ``is_signed``: around 0 where values lie on both sides of it.
    """
    if planes[0].ndim == 3:
        return 0.0, 255.0
    values = np.concatenate([_finite(plane).ravel() for plane in planes])
    low, high = (float(value) for value in np.percentile(values, WINDOW_PERCENT))
    if high <= low:  # nearly all voxels are alike: a mask
        low, high = float(values.min()), float(values.max())
    if is_signed and low < 0 < high:
        high = max(-low, high)
        low = -high
    return low, high


def _grey(planes: Sequence[Floats], low: float, high: float) -> list[NDArray[np.uint8]]:
    scale = 255 / (high - low) if high > low else 0.0
    return [np.clip((_finite(plane) - low) * scale, 0, 255).astype(np.uint8) for plane in planes]


def _finite(plane: Floats) -> Floats:
    return np.nan_to_num(plane, nan=0.0, posinf=0.0, neginf=0.0)
