"""Canon and Toshiba: the standard's elements, and a comment for b-values in older classic instances.

Toshiba writes no diffusion element at all for b = 0 (corpus toshiba/8006): only the rest of its series
tells that such a picture is diffusion-weighted with b = 0.
"""

from __future__ import annotations

import re
from dataclasses import replace

from pacs2bids.header import Header
from pacs2bids.model import Facts
from pacs2bids.vendors import standard

CREATORS: tuple[tuple[str, int], ...] = ()  # nothing private is read
_COMMENT = re.compile(r"\bb=(\d+(?:\.\d+)?)\s*\(")


def claims(header: Header) -> bool:
    """By Manufacturer ("TOSHIBA_MEC", "CANON_MEC")."""
    return (header.text("Manufacturer") or "").upper().startswith(("TOSHIBA", "CANON"))


def facts(header: Header) -> Facts:
    """Facts of one instance or enhanced frame."""
    base = standard.facts(header)
    found = _COMMENT.search(header.text("ImageComments") or "")
    if base.b_value_s_per_mm2 is not None or found is None:
        return base
    # a direction follows, "b=1500(0.445,0.000,0.895)", in a frame that nobody has documented: left out
    b_value = float(found[1])
    return replace(base, b_value_s_per_mm2=b_value, b_vector_lps=standard.direction((), b_value))
