"""Whether an instance is all there: a file ends with the value of its last element (PS3.5 section 7.1)."""

from __future__ import annotations

import logging
import os
from collections.abc import Callable
from functools import partial
from io import FileIO
from pathlib import Path

from pydicom.filereader import read_partial
from pydicom.tag import BaseTag

from pacs2bids.model import HeaderError
from pacs2bids.reading import DEFLATED, ParsedFile, Reader

TAIL_BYTES = 64 * 1024  # in which compressed pixels must end: little may follow, as padding and signatures
_SEQUENCE_END = b"\xfe\xff\xdd\xe0\0\0\0\0"  # of compressed pixels, and what else tells no length (annex A.4)
_UNDEFINED_LENGTH = 0xFFFFFFFF
_PIXEL_DATA = b"\xe0\x7f\x10\x00"
_LARGE_BYTES = 1 << 16  # values that are passed over

log = logging.getLogger("pacs2bids.pull")


def ends_with_pixels(data_set: bytes | bytearray) -> bool:
    """Whether a data set, little endian, ends with its pixels, found by their tag: mostly, and in 0.01 ms.

    What is denied is not cut by that: ``is_cut`` tells.
    """
    at = data_set.find(_PIXEL_DATA)
    while at >= 0:
        for value in (at + 12, at + 8):  # explicit, implicit VR
            length = int.from_bytes(data_set[value - 4 : value], "little")
            if value + length == len(data_set):
                return True
            if length == _UNDEFINED_LENGTH and data_set.endswith(_SEQUENCE_END):
                return True
        at = data_set.find(_PIXEL_DATA, at + 1)  # that one was of an icon, or stood in a text
    return False


def is_cut(reader: Reader, path: Path) -> bool:
    """Whether a file ends within its last element. Of one that cannot be read that is not known: False.

    It takes 0.1 to 1 ms where headers are alike. A deflated file is not looked through.
    """
    with FileIO(path, "rb") as stream:
        size_bytes = os.fstat(stream.fileno()).st_size
        try:
            parsed = reader.parse(stream, "")
        except HeaderError:
            return False
        tail = partial(tail_of, stream.fileno(), size_bytes)
        return has_cut_pixels(parsed, size_bytes, tail) or has_cut_header(parsed, size_bytes, path)


def has_cut_pixels(parsed: ParsedFile, size_bytes: int, tail: Callable[[int], bytes] | None) -> bool:
    """Whether the pixels end behind a file of so many bytes.

    ``tail``: gives as many of the last ones as are wanted; None where they cannot be had yet.
    """
    pixels = parsed.pixels
    if pixels is None or parsed.transfer_syntax_uid == DEFLATED:
        return False  # deflated: that its header could be inflated must do
    if pixels.length is not None:
        return pixels.offset + pixels.length > size_bytes
    return tail is not None and _SEQUENCE_END not in tail(TAIL_BYTES)


def has_cut_header(parsed: ParsedFile, size_bytes: int, path: Path) -> bool:
    """Whether a file of so many bytes that has no pixels ends within its last element."""
    if parsed.pixels is not None or parsed.transfer_syntax_uid == DEFLATED:
        return False
    return (end_of(path) or 0) > size_bytes


def tail_of(descriptor: int, size_bytes: int, wanted: int) -> bytes:
    """The last bytes of an open file."""
    return os.pread(descriptor, wanted, max(0, size_bytes - wanted))


def end_of(path: Path) -> int | None:
    """Where a file must end, by a walk through its elements; None if that fails."""
    ends_at = 0

    def note(_tag: BaseTag, _vr: str | None, length: int) -> bool:
        nonlocal ends_at
        ends_at = length if length == _UNDEFINED_LENGTH else stream.tell() + length
        return False

    with path.open("rb") as stream:
        try:
            read_partial(stream, note, defer_size=_LARGE_BYTES)
        except Exception as error:  # noqa: BLE001 - pydicom raises anything on damaged files
            log.info("%s: cannot be read: %s", path, type(error).__name__)
            return None
        if ends_at != _UNDEFINED_LENGTH:
            return ends_at
        size_bytes = os.fstat(stream.fileno()).st_size
        is_ended = tail_of(stream.fileno(), size_bytes, len(_SEQUENCE_END)) == _SEQUENCE_END
        return size_bytes if is_ended else size_bytes + len(_SEQUENCE_END)
