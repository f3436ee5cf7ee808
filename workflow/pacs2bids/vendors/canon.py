"""Canon and Toshiba: the standard's elements, and in some classic instances a comment on diffusion weighting.

Toshiba writes no diffusion element at all for b = 0 (corpus toshiba/8006): only the rest of its series
tells that such a picture is diffusion-weighted with b = 0.
"""

from __future__ import annotations

import re

from msgspec.structs import replace

from pacs2bids.header import Header
from pacs2bids.model import Facts, Vector
from pacs2bids.vendors import standard

CREATORS: tuple[tuple[str, int], ...] = ()  # nothing private is read
_NUMBER = r"(-?\d+(?:\.\d+)?)"
_COMMENT = re.compile(rf"\bb={_NUMBER}\s*\(\s*{_NUMBER}\s*,\s*{_NUMBER}\s*,\s*{_NUMBER}\s*\)")


def claims(header: Header) -> bool:
    """By Manufacturer ("TOSHIBA_MEC", "CANON_MEC")."""
    return (header.text("Manufacturer") or "").upper().startswith(("TOSHIBA", "CANON"))


def facts(header: Header) -> Facts:
    """Facts of one instance or enhanced frame; where the standard's elements speak, the comment does not."""
    base = standard.facts(header)
    found = _COMMENT.search(header.text("ImageComments") or "")
    if base.b_vector_lps is not None or base.is_diffusion_map or found is None:
        return base
    told, *vector = (float(number) for number in found.groups())
    b_value = told if base.b_value_s_per_mm2 is None else base.b_value_s_per_mm2
    b_vector_lps = _direction(header, tuple(vector), b_value)
    return replace(base, b_value_s_per_mm2=b_value, b_vector_lps=b_vector_lps)


def _direction(header: Header, comment: tuple[float, ...], b_value: float) -> Vector | None:
    """The three numbers of a comment "b=1500(0.445,0.000,0.895)" in the patient frame.

    They are along the picture's columns, rows and against its normal (as an axis: the sign is dcm2niix's),
    found on classic images of software V6.0 (github.com/rordenlab/dcm2niix/issues/422), all of which encode
    phase along columns. Along rows nobody has shown the order: left out.
    """
    if b_value and header.text("InPlanePhaseEncodingDirection") != "COL":
        return None
    along_column, along_row, against_normal = comment
    return standard.along_image_axes(header, (-along_row, -along_column, against_normal), b_value)
