"""Headers of one series are nearly the same bytes: walk the first, verify the others against it.

Theory of operation. ``walk`` goes over a data set (PS3.5 section 7) once and lists its elements as spans of
the buffer. A ``Template`` cuts that buffer into constant stretches and varying elements. ``Template.match``
runs over another file's bytes: constant stretches must be equal byte for byte, varying elements must have the
same tag and VR, and their raw values are collected. So a match is proof, not a guess: the new header differs
from the first only where it was looked at. When a file of the same structure differs elsewhere, these
elements become varying (``Templates.learn``); another structure makes another template.

Decoding is left to ``header`` (and pydicom), element by element, when a value is asked for.
"""

from __future__ import annotations

import struct
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any, NamedTuple

UNDEFINED = 0xFFFFFFFF
PER_FRAME = 0x52009230  # the functional groups of each frame of an enhanced instance (PS3.3 C.7.6.16)
PIXEL_DATA = (0x7FE00008, 0x7FE00009, 0x7FE00010)  # float, double float, integer (PS3.5 section 8.2)
_FRAMES_OR_PIXELS = frozenset((PER_FRAME, *PIXEL_DATA))

ITEM, ITEM_END, SEQUENCE_END = 0xFFFEE000, 0xFFFEE00D, 0xFFFEE0DD
# VRs with a 32-bit length behind two reserved bytes (PS3.5 table 7.1-1)
LONG = frozenset((b"OB", b"OD", b"OF", b"OL", b"OV", b"OW", b"SQ", b"SV", b"UC", b"UN", b"UR", b"UT", b"UV"))
VRS = LONG | frozenset(b"AE AS AT CS DA DS DT FL FD IS LO LT PN SH SL SS ST TM UI UL US".split())
KEEP = 12  # templates tried on a file before it is walked anew

Path = tuple[int, ...]  # tags of the sequences above an element


class MalformedError(Exception):
    """The bytes are no data set that this walker understands. pydicom may."""


class ShortError(Exception):
    """The buffer ends inside the header."""


class Span(NamedTuple):
    """One element: its own header begins at ``start``, its value at ``value``, the next element at ``end``.

    ``vr`` is b"" in implicit VR. ``is_length``: not an element but the length field of a sequence or item
    whose parts are listed by themselves; it follows from them.
    """

    path: Path
    tag: int
    vr: bytes
    start: int
    value: int
    end: int
    is_length: bool = False


# ---------------------------------------------------------------------------------------------- walk


def element_at(buffer: bytes, at: int, *, implicit: bool) -> tuple[int, bytes, int, int]:
    """Tag, VR, start of the value and its length, of the element at ``at``.

    Raises ShortError or MalformedError.
    """
    try:
        group, element = struct.unpack_from("<HH", buffer, at)
        if group == 0xFFFE or implicit:
            return group << 16 | element, b"", at + 8, struct.unpack_from("<I", buffer, at + 4)[0]
        vr = buffer[at + 4 : at + 6]
        if vr in LONG:
            return group << 16 | element, vr, at + 12, struct.unpack_from("<I", buffer, at + 8)[0]
        length = struct.unpack_from("<H", buffer, at + 6)[0]
    except struct.error:
        raise ShortError from None
    if vr not in VRS:
        raise MalformedError(f"VR {vr!r} of ({group:04X},{element:04X})")
    return group << 16 | element, vr, at + 8, length


def end_of_undefined(buffer: bytes, at: int, *, implicit: bool) -> int:
    """Where a sequence of undefined length ends whose first item begins at ``at`` (PS3.5 section 7.5)."""
    while True:
        tag, _, value, length = element_at(buffer, at, implicit=True)
        if tag == SEQUENCE_END:
            return value
        if tag != ITEM:
            raise MalformedError(f"tag {tag:08X} between items")
        at = value + length if length != UNDEFINED else end_of_item(buffer, value, implicit=implicit)


def end_of_item(buffer: bytes, at: int, *, implicit: bool) -> int:
    """Behind the delimiter of an item of undefined length whose content begins at ``at``."""
    while True:
        tag, vr, value, length = element_at(buffer, at, implicit=implicit)
        if tag == ITEM_END:
            return value
        at = _end(buffer, vr, value, length, implicit=implicit)


def _end(buffer: bytes, vr: bytes, value: int, length: int, *, implicit: bool) -> int:
    if length != UNDEFINED:
        return value + length
    # a sequence of unknown VR is written in implicit VR (PS3.5 section 6.2.2 note 3)
    return end_of_undefined(buffer, value, implicit=implicit or vr == b"UN")


def tag_at(buffer: bytes, at: int) -> int:
    """Tag of the element at ``at``. Raises ShortError."""
    try:
        group, element = struct.unpack_from("<HH", buffer, at)
    except struct.error:
        raise ShortError from None
    return int(group << 16 | element)


def is_behind(tag: int, *, meta: bool) -> bool:
    """Whether this element comes after the file meta information, or begins the frames or the pixels."""
    return tag >> 16 != 0x0002 if meta else tag in _FRAMES_OR_PIXELS


def walk(buffer: bytes, at: int, stop: int, *, implicit: bool, meta: bool = False) -> Iterator[Span]:
    """Elements from byte ``at`` to byte ``stop``, or to the first that ``is_behind``; a sequence is one."""
    while at < stop:
        if is_behind(tag_at(buffer, at), meta=meta):
            return
        tag, vr, value, length = element_at(buffer, at, implicit=implicit)
        end = _end(buffer, vr, value, length, implicit=implicit)
        if end > len(buffer):
            raise ShortError
        yield Span((), tag, vr, at, value, end)
        at = end


def walk_into(buffer: bytes, at: int, stop: int, path: Path, *, implicit: bool) -> Iterator[Span]:
    """As ``walk``, but sequences of a single item are opened: their elements follow, one level deeper."""
    for span in walk(buffer, at, stop, implicit=implicit):
        at = span.end
        item = _single_item(buffer, span, implicit=implicit) if _is_sequence(span, buffer) else None
        if item is None:
            yield span._replace(path=path)
            continue
        first, last, item_at = item
        yield Span(path, span.tag, span.vr, span.start, span.value - 4, span.value, is_length=True)
        yield Span(path, ITEM, b"", item_at, item_at + 4, item_at + 8, is_length=True)
        yield from walk_into(buffer, first, last, (*path, span.tag), implicit=implicit)
    if at != stop:
        raise MalformedError("an item is longer than its elements")


def _is_sequence(span: Span, buffer: bytes) -> bool:
    if span.vr:
        return span.vr == b"SQ"
    return buffer[span.value : span.value + 4] == b"\xfe\xff\x00\xe0"


def _single_item(buffer: bytes, span: Span, *, implicit: bool) -> tuple[int, int, int] | None:
    """First byte, last byte and place of the only item of a sequence; None if it has none or several."""
    if span.end - span.value < 8:
        return None
    tag, _, value, length = element_at(buffer, span.value, implicit=True)
    if tag != ITEM:
        return None
    if length == UNDEFINED:
        after = end_of_item(buffer, value, implicit=implicit)
        last = after - 8
    else:
        after = last = value + length
    closed = after == span.end or buffer[after : after + 8] == b"\xfe\xff\xdd\xe0\0\0\0\0"
    return (value, last, span.value) if closed else None


# ---------------------------------------------------------------------------------------------- template


@dataclass(slots=True, eq=False)
class Template:
    """One structure: ``spans`` of ``buffer`` (that of the first file), of which ``varying`` may differ.

    ``memory`` keeps what functions made of such headers (``header.recall``), ``decoded`` decoded constant
    elements, ``views`` the elements by tag (``header``).
    """

    buffer: bytes
    spans: tuple[Span, ...]
    start: int
    end: int
    implicit: bool
    varying: frozenset[int]
    program: list[tuple[bytes, int, Any, int, int]] = field(default_factory=list)
    tail: bytes = b""
    decoded: dict[Any, Any] = field(default_factory=dict)
    memory: dict[Any, Any] = field(default_factory=dict)
    views: dict[Path, Any] = field(default_factory=dict)

    def __post_init__(self) -> None:
        at = self.start
        for number in sorted(self.varying):
            span = self.spans[number]
            width = 4 if span.is_length else _length_width(span)
            # the constant stretch runs up to the element's length field, so it proves tag and VR
            stop = span.value if span.is_length else span.value - width
            unpack = _LONG_LENGTH if width == 4 else _SHORT_LENGTH
            constant = self.buffer[at:stop]
            self.program.append((constant, stop - at, unpack, width, -1 if span.is_length else number))
            at = span.end
        self.tail = self.buffer[at : self.end]

    def raw(self, number: int) -> bytes:
        """Value bytes of a constant element."""
        span = self.spans[number]
        return self.buffer[span.value : span.end]

    def match(self, buffer: bytes, at: int) -> tuple[dict[int, bytes], int] | None:
        """Raw values of the varying elements and the end of the header; None if it differs elsewhere.

        Raises ShortError if the buffer ends before it differs.
        """
        values: dict[int, bytes] = {}
        startswith = buffer.startswith
        for constant, size, unpack, width, number in self.program:
            if not startswith(constant, at) or at + size + width > len(buffer):
                _check_length(constant, buffer, at)
                return None
            at += size
            length = unpack(buffer, at)[0]
            at += width
            if number < 0:
                continue
            end = at + length if length != UNDEFINED else self._end(buffer, at, number)
            values[number] = buffer[at:end]
            at = end
        if not startswith(self.tail, at) or at > len(buffer):
            _check_length(self.tail, buffer, at)
            return None
        return values, at + len(self.tail)

    def _end(self, buffer: bytes, at: int, number: int) -> int:
        """Where a varying element of undefined length ends."""
        implicit = self.implicit or self.spans[number].vr == b"UN"
        try:
            return end_of_undefined(buffer, at, implicit=implicit)
        except MalformedError:
            return len(buffer) + 1


def _check_length(constant: bytes, buffer: bytes, at: int) -> None:
    """Raises ShortError if the buffer ends before it differs from ``constant`` and the next length."""
    if at + len(constant) + 4 > len(buffer) and constant.startswith(buffer[at : at + len(constant)]):
        raise ShortError


_SHORT_LENGTH = struct.Struct("<H").unpack_from
_LONG_LENGTH = struct.Struct("<I").unpack_from


def _length_width(span: Span) -> int:
    return 2 if span.vr and span.vr not in LONG else 4


def _structure(buffer: bytes, spans: Sequence[Span]) -> tuple[Any, ...]:
    """What two files must share to share a template: tags, VRs, and what others are read by."""
    return tuple(
        (span.path, span.tag, span.vr, buffer[span.value : span.end] if _is_key(span.tag) else b"")
        for span in spans
    )


def _is_key(tag: int) -> bool:
    """Elements on which the reading of others depends: private creators and SpecificCharacterSet."""
    return is_creator(tag) or tag == 0x00080005


def is_creator(tag: int) -> bool:
    """Whether an element reserves a private block (PS3.5 section 7.8.1)."""
    return bool(tag & 0x10000) and 0x10 <= tag & 0xFFFF <= 0xFF


@dataclass(slots=True, kw_only=True)
class Templates:
    """The templates of a scan, the last used first."""

    implicit: bool
    recent: list[Template] = field(default_factory=list)
    by_structure: dict[tuple[Any, ...], Template] = field(default_factory=dict)

    def match(self, buffer: bytes, at: int) -> tuple[Template, dict[int, bytes], int] | None:
        """The first recent template that fits, the varying values, and where the header ends."""
        for place, template in enumerate(self.recent):
            found = template.match(buffer, at)
            if found is not None:
                if place:
                    self.recent.insert(0, self.recent.pop(place))
                return template, *found
        return None

    def learn(
        self, buffer: bytes, spans: Sequence[Span], start: int, end: int
    ) -> tuple[Template, dict[int, bytes]]:
        """A template for a header that was walked: a new one, or a known structure that varies more."""
        key = _structure(buffer, spans)
        known = self.by_structure.get(key)
        varying: frozenset[int] = frozenset()
        if known is not None:
            differ = (
                number
                for number, (old, new) in enumerate(zip(known.spans, spans, strict=True))
                if known.buffer[old.start : old.end] != buffer[new.start : new.end]
            )
            varying = known.varying.union(differ)
            if known in self.recent:
                self.recent.remove(known)
        template = Template(buffer[:end], tuple(spans), start, end, self.implicit, varying)
        self.by_structure[key] = template
        self.recent.insert(0, template)
        del self.recent[KEEP:]
        return template, {
            number: buffer[spans[number].value : spans[number].end]
            for number in varying
            if not spans[number].is_length
        }
