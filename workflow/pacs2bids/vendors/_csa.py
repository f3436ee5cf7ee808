"""Siemens CSA headers: a table of named values inside one private element.

Layout after https://nipy.org/nibabel/dicom/siemens_csa.html. Two forms exist. "SV10" (CSA2): the four bytes
"SV10", four unused bytes, then the table; an item says its length in its second number. The older form
(CSA1) starts with the table; its items say length plus the first tag's item count in their first number.
The table: number of tags (1 to 128), a check word (77), then each tag (name, multiplicity, VR, type, number
of items, check word 77 or 205) followed by its items: four numbers and the text, padded to four bytes.
"""

from __future__ import annotations

import struct
from collections.abc import Collection

from pacs2bids.model import HeaderError

_TABLE = struct.Struct("<2I")
_TAG = struct.Struct("<64si4s3i")
_ITEM = struct.Struct("<4i")

_MOST_TAGS = 1024  # nibabel documents 128; Siemens files with 101 and 79 are usual
_MOST_ITEMS = 4096  # MosaicRefAcqTimes has one a slice


def read(raw: bytes, names: Collection[str]) -> dict[str, tuple[str, ...]]:
    """Values of the tags called ``names``, as text, without empty ones; absent tags are left out.

    Stops at the last tag asked for. Raises HeaderError if the bytes are no CSA header.
    """
    wanted = {name.encode("latin-1"): name for name in names}
    found: dict[str, tuple[str, ...]] = {}
    try:
        sv10, count, position = _open(raw)
        base: int | None = None
        for _ in range(count):
            if not wanted:
                break
            name, multiplicity, _, _, items, _ = _TAG.unpack_from(raw, position)
            if not 0 <= items <= _MOST_ITEMS:
                raise HeaderError(f"Siemens CSA header: a tag claims {items} items")
            base = (0 if sv10 else items) if base is None else base
            key = wanted.pop(name[: (name + b"\0").index(b"\0")], None)
            values, position = _items(raw, position + _TAG.size, items, 1 if sv10 else 0, base)
            if key is not None:
                kept = values[:multiplicity] if multiplicity > 0 else values
                found[key] = tuple(text for text in map(_text, kept) if text)
    except struct.error:
        raise HeaderError("Siemens CSA header ends early") from None
    return {name: values for name, values in found.items() if values}


def _open(raw: bytes) -> tuple[bool, int, int]:
    """(is it SV10, number of tags, where they start)."""
    sv10 = raw[:4] == b"SV10"
    start = 8 if sv10 else 0
    count, check = _TABLE.unpack_from(raw, start)
    if check != 77 or not 1 <= count <= _MOST_TAGS:
        raise HeaderError(f"not a Siemens CSA header ({count} tags, check word {check})")
    return sv10, count, start + _TABLE.size


def _items(raw: bytes, position: int, count: int, which: int, base: int) -> tuple[list[bytes], int]:
    """The items of one tag and the position after them."""
    values = []
    size = len(raw)
    for _ in range(count):
        length = _ITEM.unpack_from(raw, position)[which] - base
        position += _ITEM.size
        if length < 0 or position + length > size:
            if which == 0:
                break  # the older form's unused items carry meaningless lengths (nibabel's csareader)
            raise HeaderError("Siemens CSA header: an item reaches beyond its end")
        values.append(raw[position : position + length])
        position += (length + 3) & ~3
    return values, position


def _text(value: bytes) -> str:
    return value.split(b"\0", 1)[0].decode("latin-1").strip()
