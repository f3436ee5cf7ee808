"""United Imaging: group 0065, creator "Image Private Header".

What the elements mean: United Imaging's table in github.com/rordenlab/dcm2niix, UIH/README.md (issue 225).
"""

from __future__ import annotations

import math
import re

from msgspec.structs import replace

from pacs2bids.header import Header, Private
from pacs2bids.model import Facts, HeaderError, Json, Mosaic, Vector
from pacs2bids.vendors import standard

_CREATOR = "Image Private Header"
CREATORS: tuple[tuple[str, int], ...] = ((_CREATOR, 0x65),)

DISPLAYED_DIRECTION = Private(creator=_CREATOR, group=0x65, element=0x05, vr="SH")
B_VALUE = Private(creator=_CREATOR, group=0x65, element=0x09, vr="FD")
PARALLEL = Private(creator=_CREATOR, group=0x65, element=0x0D, vr="SH")
PRESCRIBED_B_VALUE = Private(creator=_CREATOR, group=0x65, element=0x0A, vr="FD")
GRADIENT = Private(creator=_CREATOR, group=0x65, element=0x37, vr="FD")
GRID_SLICES = Private(creator=_CREATOR, group=0x65, element=0x50, vr="DS")
GRID_ITEMS = Private(creator=_CREATOR, group=0x65, element=0x51, vr="SQ")

_TIME = re.compile(r"(\d\d)(\d\d)(\d\d)(?:\.(\d{1,6}))?")
_MOST_MHZ = 3000  # hydrogen at 70 T


def claims(header: Header) -> bool:
    """By Manufacturer ("UIH")."""
    return (header.text("Manufacturer") or "").upper().startswith("UIH")


def facts(header: Header) -> Facts:
    """Facts of one instance. Raises HeaderError for a grid whose layout cannot be read."""
    base = standard.facts(header)
    b_value = header.private_number(B_VALUE)
    if b_value is None:
        b_value = base.b_value_s_per_mm2
    tiles = header.private_items(GRID_ITEMS) if "VFRAME" in header.texts("ImageType") else ()
    return replace(
        base,
        mosaic=_grid(header, tiles),
        slice_times_s=_slice_times(tiles),
        slice_time_s=None if tiles else _slice_time(header),
        b_value_s_per_mm2=b_value,
        b_vector_lps=None if base.is_diffusion_map else _gradient(header, base, b_value),
        parallel_reduction_factor_in_plane=base.parallel_reduction_factor_in_plane or _acceleration(header),
        extra=_extra(header, tiles),
    )


def _acceleration(header: Header) -> float | None:
    """Of "F:2S" and the like: parallel imaging twofold (corpus uih)."""
    found = re.fullmatch(r"F:(\d+(?:\.\d+)?)S?", header.private_text(PARALLEL) or "")
    return float(found[1]) if found else None


def _extra(header: Header, tiles: tuple[Header, ...]) -> dict[str, Json]:
    """Fields that only private elements tell.

    TotalReadoutTime is not among them: dcm2niix takes the AcquisitionDuration of a tile, whole milliseconds
    that are 21 for some tiles and 22 for others (corpus uih), and not what BIDS defines.
    """
    fields: dict[str, Json] = {}
    displayed = header.private_text(DISPLAYED_DIRECTION)
    if displayed is not None:
        fields["PhaseEncodingDirectionDisplayed"] = displayed
    frequency = header.number("ImagingFrequency")
    if frequency is not None and frequency > _MOST_MHZ:
        fields["ImagingFrequency"] = frequency / 1e6  # written in Hz (corpus uih: 128176051)
    moments = [_TIME.fullmatch(tile.text("AcquisitionTime") or "") for tile in tiles]
    known = [moment.groups(default="") for moment in moments if moment]
    if known:
        hour, minute, second, fraction = min(known)  # a grid has no time of its own
        fields["AcquisitionTime"] = f"{hour}:{minute}:{second}.{fraction:0<6}"
    return fields


def _gradient(header: Header, base: Facts, b_value: float | None) -> Vector | None:
    """(0065,xx37), along the image axes. Where b = 0 was prescribed, (0065,xx09) still is above zero."""
    if header.private_number(PRESCRIBED_B_VALUE) == 0:
        return (0.0, 0.0, 0.0)
    along_image = header.private_numbers(GRADIENT)
    return standard.along_image_axes(header, along_image, b_value) if along_image else base.b_vector_lps


def _grid(header: Header, tiles: tuple[Header, ...]) -> Mosaic | None:
    """One picture a volume; each tile has its own position, in the order of the tiles."""
    slices = header.private_number(GRID_SLICES)
    if "VFRAME" not in header.texts("ImageType"):
        return None
    positions = [tile.numbers("ImagePositionPatient") for tile in tiles]
    if not slices or len(positions) != slices or any(len(position) != 3 for position in positions):
        raise HeaderError(
            "a United Imaging grid without the positions of its slices (0065,xx51)",
            where=f"instance {header.text('SOPInstanceUID')}",
            hint="Get the instance with its private elements",
        )
    first, last = positions[0], positions[-1]
    span = tuple(b - a for a, b in zip(first, last, strict=True))
    length = math.hypot(*span)
    if length == 0:
        return None
    return Mosaic(
        slices=len(positions),
        tiles_per_row=math.isqrt(len(positions) - 1) + 1,
        normal_lps=(span[0] / length, span[1] / length, span[2] / length),
        slice_step_mm=length / (len(positions) - 1),
        first_position_lps=(first[0], first[1], first[2]),
    )


def _slice_time(header: Header) -> float | None:
    """Onset of a picture of one slice; whole stacks leave out those that exceed a repetition."""
    return standard.moment(header) if header.text("MRAcquisitionType") == "2D" else None


def _slice_times(tiles: tuple[Header, ...]) -> tuple[float, ...] | None:
    moments = [standard.moment(tile) for tile in tiles]
    known = [moment for moment in moments if moment is not None]
    if not known or len(known) != len(moments) or min(known) == max(known):
        return None
    return tuple(round(moment - min(known), 6) for moment in known)
