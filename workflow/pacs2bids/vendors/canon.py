"""Canon and Toshiba: standard elements, and b-values in a comment where classic instances lack them."""

from __future__ import annotations

import re
from dataclasses import replace

from pacs2bids.header import Header
from pacs2bids.model import Facts
from pacs2bids.vendors import standard

_COMMENT = re.compile(r"b=([0-9.]+)\s*\(\s*([-0-9.]+)\s*,\s*([-0-9.]+)\s*,\s*([-0-9.]+)\s*\)")


def claims(header: Header) -> bool:
    """By Manufacturer ("TOSHIBA_MEC", "CANON_MEC")."""
    return (header.text("Manufacturer") or "").upper().startswith(("TOSHIBA", "CANON"))


def facts(header: Header) -> Facts:
    """Facts of one instance or enhanced frame."""
    base = standard.facts(header)
    found = _COMMENT.search(header.text("ImageComments") or "")
    if base.b_value_s_per_mm2 is not None or found is None:
        return base
    b_value, x, y, z = (float(text) for text in found.groups())
    return replace(base, b_value_s_per_mm2=b_value, b_vector_lps=standard.direction((x, y, z), b_value))
