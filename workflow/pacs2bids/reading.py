"""Reading files: from the first bytes of one to its header, where its pixels lie, and its frames' headers.

``Reader`` matches files against what it has learnt of others (``template``): no more is read and parsed than
differs. What is in any way unusual goes to pydicom (``datasets``).
"""

from __future__ import annotations

import sys
import zlib
from collections.abc import Iterator, Sequence
from itertools import chain
from typing import Protocol

from msgspec import Struct

from pacs2bids.header import Header, Layer, RawLayer, first, stripped_texts
from pacs2bids.template import (
    ITEM,
    PER_FRAME,
    PIXEL_DATA,
    SEQUENCE_END,
    UNDEFINED,
    MalformedError,
    ShortError,
    Span,
    Template,
    Templates,
    element_at,
    end_of_item,
    is_behind,
    tag_at,
    walk,
    walk_into,
)

# transfer syntaxes (PS3.5 section 10)
IMPLICIT_LITTLE_ENDIAN = "1.2.840.10008.1.2"
EXPLICIT_BIG_ENDIAN = "1.2.840.10008.1.2.2"
DEFLATED = "1.2.840.10008.1.2.1.99"
DELIMITER = b"\xfe\xff\x0d\xe0\0\0\0\0"  # of an item of undefined length

FIRST_READ = 1 << 15
LONGEST_GUESS = 1 << 18  # a header longer than this is that of one odd file
_PIXEL_KEYWORDS = dict(zip(PIXEL_DATA, ("FloatPixelData", "DoubleFloatPixelData", "PixelData"), strict=True))


class PixelSpan(Struct, frozen=True, kw_only=True):
    """Where the pixel data of a file lie, in bytes; in a deflated file: of its inflated data set.

    ``length``: None where they are encapsulated (compressed): ``offset`` is that of their first item.
    ``keyword``: PixelData, FloatPixelData or DoubleFloatPixelData. ``is_words``: not of VR OB.
    """

    keyword: str
    offset: int
    length: int | None
    is_words: bool


class ParsedFile(Struct, frozen=True, kw_only=True):
    """One DICOM file without its pixels. ``pixels`` is None where it has none.

    ``frames``: the functional groups of each frame of an enhanced instance; ``shared``: those of all frames
    (PS3.3 C.7.6.16). Each is the item itself, and the single items of sequences nested in it.
    """

    header: Header
    transfer_syntax_uid: str
    pixels: PixelSpan | None
    frames: Sequence[Sequence[Layer]]
    shared: Sequence[Layer]


class Stream(Protocol):
    """What is needed of an open file."""

    def read(self, size: int = -1, /) -> bytes | None:
        """The next bytes, up to ``size``."""
        ...

    def seek(self, offset: int, whence: int = 0, /) -> int:
        """Go to another place."""
        ...

    def tell(self) -> int:
        """The place."""
        ...


class Reader:
    """Reads the headers of many files; the more alike they are, the faster.

    ``parse`` raises HeaderError, naming the path, if a file is not DICOM or its header is damaged.
    """

    def __init__(self) -> None:
        self._meta = Templates(implicit=False)
        self._data = {implicit: Templates(implicit=implicit) for implicit in (False, True)}
        self._behind: dict[tuple[bool, tuple[str, ...]], Templates] = {}
        self._items: dict[tuple[bool, tuple[str, ...]], Templates] = {}
        self._guess = FIRST_READ

    def parse(self, stream: Stream, path: str) -> ParsedFile:
        """The header of a file (PS3.10 section 7), and where its pixels are, without reading them."""
        try:
            return self._parse(_Head(stream, self._guess))
        except MalformedError:
            pass
        stream.seek(0)
        return parse_slowly(stream, path)

    def _parse(self, head: _Head) -> ParsedFile:
        if head.buffer[128:132] != b"DICM":
            raise MalformedError("no preamble")
        meta, start = _layer(self._meta, head, 132, meta=True)
        syntax = first(stripped_texts(meta.values("TransferSyntaxUID"))) or ""
        if syntax in ("", EXPLICIT_BIG_ENDIAN):
            raise MalformedError("pydicom reads these")
        if syntax == DEFLATED:
            head, start = head.inflated(start), 0
        implicit = syntax == IMPLICIT_LITTLE_ENDIAN
        own, end = _layer(self._data[implicit], head, start)
        own.charsets = stripped_texts(own.values("SpecificCharacterSet"))
        layers, frames, shared = [own], list[list[RawLayer]](), list[RawLayer]()
        if head.tag(end) == PER_FRAME:
            # these parts do not tell their character set: those of another may not share a template
            key = (implicit, own.charsets)
            items = self._items.setdefault(key, Templates(implicit=implicit))
            frames, end = head.frames(end, items)
            shared = _shared(own, items)
            behind, end = _layer(self._behind.setdefault(key, Templates(implicit=implicit)), head, end)
            layers.append(behind.at(1))  # ``recall`` tells layers apart by their place
        for layer in (*shared, *layers, *chain.from_iterable(frames)):
            layer.charsets = own.charsets
        # the next header is likely to be as long, but for its varying elements
        self._guess = min(end + 512, LONGEST_GUESS)
        header = Header(layers)
        if header.text("SOPInstanceUID") is None:
            raise MalformedError("no SOPInstanceUID")
        pixels = head.pixels(end, implicit=implicit)
        return ParsedFile(
            header=header, transfer_syntax_uid=syntax, pixels=pixels, frames=frames, shared=shared
        )


def _layer(templates: Templates, head: _Head, start: int, *, meta: bool = False) -> tuple[RawLayer, int]:
    """The file meta information, or the data set up to its frames or pixels; and where it ends."""
    found = head.match(templates, start)
    if found is not None:
        template, values, end = found
        if head.ends(end, meta=meta):
            return RawLayer(template, values), end
    spans = head.walk(start, implicit=templates.implicit, meta=meta)
    end = spans[-1].end if spans else start
    template, values = templates.learn(head.buffer, spans, start, end)
    return RawLayer(template, values), end


def parse(stream: Stream, path: str) -> ParsedFile:
    """As ``Reader.parse``, for a single file."""
    return Reader().parse(stream, path)


def parse_slowly(stream: Stream, path: str) -> ParsedFile:
    """As ``Reader.parse`` by pydicom: big endian, deflated, without preamble, or in any way unusual."""
    from pacs2bids import datasets  # noqa: PLC0415 - pydicom takes long to import

    dataset, syntax, pixels = datasets.read(stream, path)
    shared = datasets.flattened(dataset, "SharedFunctionalGroupsSequence")[:1]
    return ParsedFile(
        header=Header([datasets.DataSetLayer(dataset)]),
        transfer_syntax_uid=syntax,
        pixels=None if pixels is None else _pixel_span(*pixels),
        frames=datasets.flattened(dataset, "PerFrameFunctionalGroupsSequence"),
        shared=[layer for group in shared for layer in group],
    )


def _pixel_span(tag: int, vr: bytes, offset: int, length: int) -> PixelSpan:
    return PixelSpan(
        keyword=_PIXEL_KEYWORDS[tag],
        offset=offset,
        length=None if length == UNDEFINED else length,
        is_words=vr != b"OB",
    )


class _Readable(Protocol):
    def read(self, size: int, /) -> bytes | None: ...


class _Head:
    """The first bytes of a file, as many as the header needs."""

    def __init__(self, stream: _Readable, size: int) -> None:
        self._stream = stream
        self.buffer = stream.read(size) or b""
        self._whole = len(self.buffer) < size

    def inflated(self, at: int) -> _Head:
        """The data set that begins at ``at`` and is deflated (PS3.5 section A.5)."""
        while self.more():
            pass
        return _Head(_Inflating(self.buffer[at:]), FIRST_READ)

    def more(self) -> bool:
        """Read three times as much again; False if there is no more."""
        if self._whole:
            return False
        further = self._stream.read(3 * max(len(self.buffer), FIRST_READ)) or b""
        self._whole = not further
        self.buffer += further
        return bool(further)

    def tag(self, at: int) -> int | None:
        """Tag of the element at ``at``; None at the end of the file. Raises MalformedError."""
        # its length must be here, too
        while at + 12 > len(self.buffer) and self.more():
            pass
        try:
            return tag_at(self.buffer, at)
        except ShortError:
            if at < len(self.buffer):
                raise MalformedError("the file ends inside an element") from None
            return None

    def ends(self, at: int, *, meta: bool) -> bool:
        """Whether a header that was matched up to ``at`` is complete."""
        tag = self.tag(at)
        return tag is None or is_behind(tag, meta=meta)

    def match(self, templates: Templates, at: int) -> tuple[Template, dict[int, bytes], int] | None:
        """As ``Templates.match``."""
        while True:
            try:
                return templates.match(self.buffer, at)
            except ShortError:
                if not self.more():
                    return None

    def walk(self, start: int, *, implicit: bool, meta: bool) -> list[Span]:
        """The elements of a data set. Raises MalformedError if the file ends inside one."""
        spans: list[Span] = []
        at = start
        while True:
            try:
                for span in walk(self.buffer, at, sys.maxsize, implicit=implicit, meta=meta):
                    spans.append(span)
                    at = span.end
            except ShortError:
                if self.more():
                    continue
                if at < len(self.buffer):
                    raise MalformedError("the file ends inside an element") from None
            return spans

    def frames(self, at: int, templates: Templates) -> tuple[list[list[RawLayer]], int]:
        """The items of the sequence at ``at``, and where it ends. Raises MalformedError."""
        _, vr, at, length = element_at(self.buffer, at, implicit=templates.implicit)
        if vr not in (b"", b"SQ"):
            raise MalformedError("a sequence in disguise")
        stop = None if length == UNDEFINED else at + length
        frames: list[list[RawLayer]] = []
        while stop is None or at < stop:
            layer, at = self._item(at, templates)
            if layer is None:
                break
            frames.append([layer])
        if stop is not None and at != stop:
            raise MalformedError("a sequence ends inside an item")
        return frames, at

    def _item(self, at: int, templates: Templates) -> tuple[RawLayer | None, int]:
        while True:
            try:
                return _item(self.buffer, at, templates)
            except ShortError:
                if not self.more():
                    raise MalformedError("the file ends inside an item") from None

    def pixels(self, at: int, *, implicit: bool) -> PixelSpan | None:
        """Where the pixel data at ``at`` lie."""
        tag = self.tag(at)
        if tag not in PIXEL_DATA:
            return None
        try:
            _, vr, value, length = element_at(self.buffer, at, implicit=implicit)
        except ShortError:
            raise MalformedError("the file ends inside its pixel data element") from None
        return _pixel_span(tag, vr, value, length)


class _Inflating:
    """A deflated data set as a stream: no more is inflated than is read."""

    def __init__(self, deflated: bytes) -> None:
        self._rest = deflated
        self._inflater = zlib.decompressobj(-zlib.MAX_WBITS)

    def read(self, size: int, /) -> bytes:
        """The next ``size`` bytes, or as many as there are. Raises MalformedError."""
        try:
            inflated = self._inflater.decompress(self._rest, size)
        except zlib.error:
            raise MalformedError("is no deflated data set") from None
        self._rest = self._inflater.unconsumed_tail
        return inflated


# ---------------------------------------------------------------------------------------------- enhanced


def frame_headers(parsed: ParsedFile) -> Iterator[Header]:
    """One header a frame of an enhanced multi-frame instance (PS3.3 C.7.6.16), in stored order.

    Functional groups are flattened: each group's single item, and single items of sequences nested in it,
    are searched after the frame itself, so that EffectiveEchoTime or a vendor's private elements are found at
    any depth. Then come the groups shared by all frames, then the instance.
    """
    rest = [
        layer.at(place) if isinstance(layer, RawLayer) else layer
        for place, layer in enumerate([*parsed.shared, *parsed.header.layers], start=1)
    ]
    for layers in parsed.frames:
        yield Header([*layers, *rest])


def _shared(own: RawLayer, templates: Templates) -> list[RawLayer]:
    """The functional groups that all frames share: the first item of their sequence, if there is one."""
    number = own.view.number("SharedFunctionalGroupsSequence")
    if number is None:
        return []
    raw = own.raw(number)
    try:
        layer, _ = _item(raw, 0, templates)
    except ShortError:
        if raw:
            raise MalformedError("a sequence ends inside an item") from None
        return []
    return [] if layer is None else [layer]


def _item(buffer: bytes, at: int, templates: Templates) -> tuple[RawLayer | None, int]:
    """The item at ``at`` (None: the sequence ends), and what follows. Raises ShortError, MalformedError."""
    tag, _, start, length = element_at(buffer, at, implicit=True)
    if tag == SEQUENCE_END:
        return None, start
    if tag != ITEM:
        raise MalformedError(f"tag {tag:08X} between items")
    open_ended = length == UNDEFINED
    if not open_ended and start + length > len(buffer):
        raise ShortError
    found = templates.match(buffer, start)
    if found is not None:
        template, values, end = found
        if not open_ended and end == start + length:
            return RawLayer(template, values), end
        if open_ended and buffer[end : end + 8] == DELIMITER:
            return RawLayer(template, values), end + 8
    after = end_of_item(buffer, start, implicit=templates.implicit) if open_ended else start + length
    content = buffer[start : after - 8 if open_ended else after]
    spans, _ = walk_into(content, 0, len(content), (), implicit=templates.implicit)
    template, values = templates.learn(content, spans, 0, len(content))
    return RawLayer(template, values), after
