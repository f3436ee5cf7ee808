"""Headers of one series are nearly the same bytes: walk the first, verify the others against it.

Theory of operation. ``walk`` goes over a data set (PS3.5 section 7) once and lists its elements as spans of
the buffer. A ``Template`` holds such a header, of which some elements vary. ``Template.match`` runs over
another file's bytes: all other bytes must be equal, and so must tag, VR and length of the varying elements,
whose raw values are collected. So a match is proof, not a guess: the new header differs from the first only
where it was looked at. Elements that differ in length, too, divide the header into stretches; inside one all
places are known, so that it is cut and compared in a few steps, however many elements vary.
When a file of the same structure differs elsewhere, these elements become varying, or elastic
(``Templates.learn``); another structure makes another template.

Decoding is left to ``header`` (and pydicom), element by element, when a value is asked for.
"""

from __future__ import annotations

import struct
from collections.abc import Callable, Iterator, Sequence
from operator import itemgetter
from typing import Any, NamedTuple

from msgspec import Struct, field

UNDEFINED = 0xFFFFFFFF
PER_FRAME = 0x52009230  # the functional groups of each frame of an enhanced instance (PS3.3 C.7.6.16)
PIXEL_DATA = (0x7FE00008, 0x7FE00009, 0x7FE00010)  # float, double float, integer (PS3.5 section 8.2)
_FRAMES_OR_PIXELS = frozenset((PER_FRAME, *PIXEL_DATA))

ITEM, ITEM_END, SEQUENCE_END = 0xFFFEE000, 0xFFFEE00D, 0xFFFEE0DD
_ITEM_TAG, _SEQUENCE_DELIMITER = b"\xfe\xff\x00\xe0", b"\xfe\xff\xdd\xe0\0\0\0\0"
# VRs with a 32-bit length behind two reserved bytes (PS3.5 table 7.1-1)
LONG = frozenset((b"OB", b"OD", b"OF", b"OL", b"OV", b"OW", b"SQ", b"SV", b"UC", b"UN", b"UR", b"UT", b"UV"))
VRS = LONG | frozenset(b"AE AS AT CS DA DS DT FL FD IS LO LT PN SH SL SS ST TM UI UL US".split())
_TAG = struct.Struct("<HH").unpack_from
_ELEMENT = struct.Struct("<HHI").unpack_from  # the start of any element: group, element, VR and length
_LENGTH = struct.Struct("<I").unpack_from
KEEP = 32  # templates tried on a file before it is walked anew

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
        group, element, length = _ELEMENT(buffer, at)
        if group == 0xFFFE or implicit:
            return group << 16 | element, b"", at + 8, length
        vr = buffer[at + 4 : at + 6]
        if vr in LONG:
            return group << 16 | element, vr, at + 12, _LENGTH(buffer, at + 8)[0]
    except struct.error:
        raise ShortError from None
    if vr not in VRS:
        raise MalformedError(f"VR {vr!r} of ({group:04X},{element:04X})")
    return group << 16 | element, vr, at + 8, length >> 16  # the lower half is the VR


def end_of_undefined(buffer: bytes, at: int, *, implicit: bool, heads: list[slice] | None = None) -> int:
    """Where a sequence of undefined length ends whose first item begins at ``at`` (PS3.5 section 7.5).

    ``heads`` collects where tags, VRs and lengths stand that this follows from.
    """
    while True:
        tag, _, value, length = element_at(buffer, at, implicit=True)
        if heads is not None:
            heads.append(slice(at, value))
        if tag == SEQUENCE_END:
            return value
        if tag != ITEM:
            raise MalformedError(f"tag {tag:08X} between items")
        is_open = length == UNDEFINED
        at = end_of_item(buffer, value, implicit=implicit, heads=heads) if is_open else value + length


def end_of_item(buffer: bytes, at: int, *, implicit: bool, heads: list[slice] | None = None) -> int:
    """Behind the delimiter of an item of undefined length whose content begins at ``at``."""
    while True:
        tag, vr, value, length = element_at(buffer, at, implicit=implicit)
        if heads is not None:
            heads.append(slice(at, value))
        if tag == ITEM_END:
            return value
        at = _end(buffer, vr, value, length, implicit=implicit, heads=heads)


def _end(
    buffer: bytes, vr: bytes, value: int, length: int, *, implicit: bool, heads: list[slice] | None = None
) -> int:
    if length != UNDEFINED:
        return value + length
    # a sequence of unknown VR is written in implicit VR (PS3.5 section 6.2.2 note 3)
    return end_of_undefined(buffer, value, implicit=implicit or vr == b"UN", heads=heads)


def tag_at(buffer: bytes, at: int) -> int:
    """Tag of the element at ``at``. Raises ShortError."""
    try:
        group, element = _TAG(buffer, at)
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


def walk_into(
    buffer: bytes, at: int, stop: int | None, path: Path, *, implicit: bool
) -> tuple[list[Span], int]:
    """Elements of an item from byte ``at`` to byte ``stop`` (None: to its delimiter), and where they end.

    Sequences of a single item are opened: its elements follow, one level deeper. Raises ShortError or
    MalformedError.
    """
    spans: list[Span] = []
    while stop is None or at < stop:
        tag, vr, value, length = element_at(buffer, at, implicit=implicit)
        if tag == ITEM_END and stop is None:
            return spans, at
        is_sequence = vr == b"SQ" if vr else buffer[value : value + 4] == _ITEM_TAG
        opened = _opened(buffer, value, length, (*path, tag), implicit=implicit) if is_sequence else None
        if opened is None:
            end = _end(buffer, vr, value, length, implicit=implicit)
            spans.append(Span(path, tag, vr, at, value, end))
        else:
            inside, end = opened
            spans.append(Span(path, tag, vr, at, value - 4, value, is_length=True))
            spans.append(Span(path, ITEM, b"", value, value + 4, value + 8, is_length=True))
            spans += inside
        if end > len(buffer):
            raise ShortError
        at = end
    if at != stop:
        raise MalformedError("an item is longer than its elements")
    return spans, at


def _opened(
    buffer: bytes, at: int, length: int, path: Path, *, implicit: bool
) -> tuple[list[Span], int] | None:
    """What is in the only item of the sequence at ``at``, and its end; None if it has none or several."""
    if length < 8:
        return None
    tag, _, value, size = element_at(buffer, at, implicit=True)
    stop = None if size == UNDEFINED else value + size
    if tag != ITEM or (length != UNDEFINED and value + (size if stop else 8) > at + length):
        return None
    spans, after = walk_into(buffer, value, stop, path, implicit=implicit)
    after += 0 if stop else 8
    if length != UNDEFINED:
        return (spans, after) if after == at + length else None
    return (spans, after + 8) if buffer[after : after + 8] == _SEQUENCE_DELIMITER else None


# ---------------------------------------------------------------------------------------------- template


class Template(Struct, eq=False):
    """One structure: ``spans`` of ``buffer`` (that of the first file), of which ``varying`` may differ.

    ``elastic``: those that may also differ in length. ``endings``: the last one of those whose length is
    undefined.
    ``memory`` keeps what functions made of such headers (``recalled.recall``), ``decoded`` decoded constant
    elements, ``decoders`` how to read each varying one, ``views`` the elements by tag (``header``).
    """

    buffer: bytes
    spans: tuple[Span, ...]
    start: int
    end: int
    implicit: bool
    varying: frozenset[int]
    elastic: frozenset[int]
    stretches: list[_Stretch] = field(default_factory=list)
    decoded: dict[Any, Any] = field(default_factory=dict)
    decoders: dict[int, Any] = field(default_factory=dict)
    endings: dict[int, _Ending] = field(default_factory=dict)
    memory: dict[Any, Any] = field(default_factory=dict)
    views: dict[Path, Any] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self.stretch(self.elastic)

    def stretch(self, elastic: frozenset[int]) -> None:
        """Let these elements differ in length."""
        self.elastic = elastic
        self.stretches = []
        begin, fixed = self.start, list[int]()
        for number in sorted(self.varying):
            if number in elastic:
                self.stretches.append(self._stretch(begin, fixed, number))
                begin, fixed = self.spans[number].end, []
            else:
                fixed.append(number)
        self.stretches.append(self._stretch(begin, fixed, None))

    def _stretch(self, begin: int, fixed: Sequence[int], elastic: int | None) -> _Stretch:
        """From ``begin`` to the length field of an elastic element, or to the end of the header."""
        width = 0 if elastic is None else _length_width(self.spans[elastic])
        end = self.end if elastic is None else self.spans[elastic].value - width
        edges = [
            begin,
            *[edge for number in fixed for edge in (self.spans[number].value, self.spans[number].end)],
            end,
        ]
        constant = [slice(one - begin, two - begin) for one, two in zip(edges[::2], edges[1::2], strict=True)]
        values = [
            slice(self.spans[number].value - begin, self.spans[number].end - begin)
            for number in fixed
            if not self.spans[number].is_length
        ]
        pick = itemgetter(*constant, _NOTHING)
        return _Stretch(
            size=end - begin,
            constant=pick,
            expected=pick(self.buffer[begin:end]),
            values=itemgetter(*values, _NOTHING, _NOTHING),
            numbers=tuple(number for number in fixed if not self.spans[number].is_length),
            elastic=-1 if elastic is None else elastic,
            width=width,
        )

    def raw(self, number: int) -> bytes:
        """Value bytes of a constant element."""
        span = self.spans[number]
        return self.buffer[span.value : span.end]

    def match(self, buffer: bytes, at: int) -> tuple[dict[int, bytes], int] | None:
        """Raw values of the varying elements and the end of the header; None if it differs elsewhere.

        Raises ShortError if the buffer ends before it differs.
        """
        found: dict[int, bytes] = {}
        for size, constant, expected, values, numbers, elastic, width in self.stretches:
            part = buffer[at : at + size]
            if constant(part) != expected:
                if len(part) < size and _begins(constant(part), expected):
                    raise ShortError
                return None
            found.update(zip(numbers, values(part)))  # noqa: B905 - ``values`` ends with two empty ones
            at += size
            if elastic < 0:
                break
            length_field = buffer[at : at + width]
            if len(length_field) < width:
                raise ShortError
            at += width
            length = int.from_bytes(length_field, "little")
            end = at + length if length != UNDEFINED else self._end(buffer, at, elastic)
            found[elastic] = buffer[at:end]
            at = end
        if at > len(buffer):
            raise ShortError
        return found, at

    def _end(self, buffer: bytes, at: int, number: int) -> int:
        """Where a varying element of undefined length ends: as the last one, if that has the same inner tags,
        VRs and lengths in the same places.
        """
        last = self.endings.get(number)
        if last is not None and last.heads(buffer[at : at + last.size]) == last.expected:
            return at + last.size
        implicit = self.implicit or self.spans[number].vr == b"UN"
        heads: list[slice] = []
        try:
            end = end_of_undefined(buffer, at, implicit=implicit, heads=heads)
        except MalformedError:
            return len(buffer) + 1
        pick = itemgetter(*[slice(head.start - at, head.stop - at) for head in heads], _NOTHING)
        self.endings[number] = _Ending(size=end - at, heads=pick, expected=pick(buffer[at:end]))
        return end


class _Ending(NamedTuple):
    """A sequence of undefined length: ``heads`` picks the inner tags, VRs and lengths that it ends by."""

    size: int
    heads: Callable[[bytes], tuple[bytes, ...]]
    expected: tuple[bytes, ...]


class _Stretch(NamedTuple):
    """Bytes of known places, up to the next element that may differ in length.

    ``constant`` picks what must be as ``expected``, ``values`` what varies: the elements ``numbers``.
    ``elastic``: the element whose length field, of ``width`` bytes, comes next; -1 at the end.
    """

    size: int
    constant: Callable[[bytes], tuple[bytes, ...]]
    expected: tuple[bytes, ...]
    values: Callable[[bytes], tuple[bytes, ...]]
    numbers: tuple[int, ...]
    elastic: int
    width: int


_NOTHING = slice(0, 0)  # lets itemgetter give a tuple for any number of slices


def _begins(cut: tuple[bytes, ...], whole: tuple[bytes, ...]) -> bool:
    """Whether each of ``cut`` is the beginning of what it should be."""
    return all(one.startswith(other) for one, other in zip(whole, cut, strict=True))


def _length_width(span: Span) -> int:
    return 2 if span.vr and span.vr not in LONG else 4


def _is_undefined(buffer: bytes, span: Span) -> bool:
    return _length_width(span) == 4 and buffer[span.value - 4 : span.value] == b"\xff\xff\xff\xff"


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


class Templates(Struct, kw_only=True):
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
        varying, elastic = _differences(known, buffer, spans)
        if known is not None and varying == known.varying:
            template = known
            template.stretch(elastic)
        else:
            template = Template(buffer[:end], tuple(spans), start, end, self.implicit, varying, elastic)
            self.by_structure[key] = template
        if known in self.recent:
            self.recent.remove(known)
        self.recent.insert(0, template)
        del self.recent[KEEP:]
        return template, {
            number: buffer[spans[number].value : spans[number].end]
            for number in varying
            if not spans[number].is_length
        }


def _differences(
    known: Template | None, buffer: bytes, spans: Sequence[Span]
) -> tuple[frozenset[int], frozenset[int]]:
    """Which elements vary, and which of them in length, with this header and those before it."""
    if known is None:
        return frozenset(), frozenset()
    pairs = list(enumerate(zip(known.spans, spans, strict=True)))
    differ = {
        number
        for number, (old, new) in pairs
        if known.buffer[old.start : old.end] != buffer[new.start : new.end]
    }
    varying = known.varying.union(differ)
    stretched = {
        number
        for number, (old, new) in pairs
        if number in varying
        and not new.is_length
        and (
            old.end - old.value != new.end - new.value
            or _is_undefined(known.buffer, old)
            or _is_undefined(buffer, new)
        )
    }
    return varying, known.elastic.union(stretched)
