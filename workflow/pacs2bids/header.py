"""Reading headers: of a whole instance, and of each frame of an enhanced one.

A ``Header`` is a stack of layers, first hit wins: this frame's functional groups, the groups shared by all
frames, the instance's own elements. Code above asks by keyword, or by private creator, and cannot tell a
classic image from a frame of an enhanced one. ``RawLayer`` reads what ``template`` found, and ``datasets``
(which is pydicom) what is unusual.
"""

from __future__ import annotations

import math
import struct
import sys
import zlib
from collections.abc import Callable, Iterable, Iterator, Sequence
from functools import partial, wraps
from itertools import chain, groupby
from operator import itemgetter
from typing import Any, Protocol, TypeVar

from msgspec import Struct

from pacs2bids.dictionary import Private, tag_of, vr_of
from pacs2bids.model import HeaderError
from pacs2bids.template import (
    ITEM,
    PER_FRAME,
    PIXEL_DATA,
    SEQUENCE_END,
    UNDEFINED,
    MalformedError,
    Path,
    ShortError,
    Span,
    Template,
    Templates,
    element_at,
    end_of_item,
    is_behind,
    is_creator,
    tag_at,
    walk,
    walk_into,
)

__all__ = ["Header", "Layer", "ParsedFile", "PixelSpan", "Private", "Reader"]

# transfer syntaxes (PS3.5 section 10)
IMPLICIT_LITTLE_ENDIAN = "1.2.840.10008.1.2"
EXPLICIT_BIG_ENDIAN = "1.2.840.10008.1.2.2"
DEFLATED = "1.2.840.10008.1.2.1.99"
DELIMITER = b"\xfe\xff\x0d\xe0\0\0\0\0"  # of an item of undefined length

FIRST_READ = 1 << 15
LONGEST_GUESS = 1 << 18  # a header longer than this is that of one odd file
_MOST = 2.0**53  # beyond, floats leave integers out; no element of DICOM that counts reaches it
REMEMBERED = 1024  # results of one function under one template
_PIXEL_KEYWORDS = dict(zip(PIXEL_DATA, ("FloatPixelData", "DoubleFloatPixelData", "PixelData"), strict=True))

T = TypeVar("T")
Decoder = Callable[[bytes], tuple[Any, ...]]

_CHARSET_TEXTS = frozenset({"LO", "LT", "PN", "SH", "ST", "UC", "UT"})
_TEXTS = _CHARSET_TEXTS | {"AE", "AS", "CS", "DA", "DS", "DT", "IS", "TM", "UI", "UR"}
_BINARY = {"US": "H", "SS": "h", "UL": "I", "SL": "i", "FL": "f", "FD": "d"}


class Layer(Protocol):
    """One data set of a header. Missing, empty and malformed elements have no values."""

    def values(self, keyword: str) -> tuple[Any, ...]:
        """Values of an element: numbers, texts or bytes."""
        ...

    def private(self, element: Private) -> tuple[Any, ...]:
        """Values of a private element."""
        ...

    def has_creator(self, creator: str, group: int) -> bool:
        """Whether a private block is reserved for ``creator``."""
        ...

    def items(self, keyword: str) -> Sequence[Layer]:
        """Items of a sequence."""
        ...

    def private_items(self, element: Private) -> Sequence[Layer]:
        """Items of a private sequence."""
        ...


class _View(Struct, frozen=True):
    """Elements of a template below one path, outer ones first: span numbers by tag and by creator.

    ``asked``: span numbers by keyword, of those that were asked for.
    """

    tags: dict[int, int]
    privates: dict[tuple[int, str, int], int]
    creators: frozenset[tuple[int, str]]
    asked: dict[str, int | None]

    def number(self, keyword: str) -> int | None:
        """The span of a keyword."""
        try:
            return self.asked[keyword]
        except KeyError:
            number = self.asked[keyword] = self.tags.get(tag_of(keyword))
            return number


class RawLayer:
    """A data set that matched a template: decoded element by element, when asked.

    ``path`` restricts it to the item of an opened sequence. ``charsets``: SpecificCharacterSet; the same for
    all that share the template. ``recorder`` collects which varying elements are read, as (``index``, span
    number): see ``recall``.
    """

    __slots__ = ("charsets", "index", "path", "recorder", "template", "varying", "view")

    def __init__(
        self,
        template: Template,
        varying: dict[int, bytes],
        *,
        charsets: tuple[str, ...] = (),
        index: int = 0,
        path: Path = (),
    ) -> None:
        self.template, self.varying, self.index, self.path = template, varying, index, path
        self.charsets = charsets
        self.recorder: set[tuple[int, int]] | None = None
        view = template.views.get(path)
        self.view: _View = view or template.views.setdefault(path, _view(template, path))

    def at(self, index: int) -> RawLayer:
        """The same data set as the ``index``-th layer of another header."""
        return RawLayer(self.template, self.varying, charsets=self.charsets, index=index, path=self.path)

    def values(self, keyword: str) -> tuple[Any, ...]:
        """See ``Layer``."""
        view = self.view
        number = view.asked[keyword] if keyword in view.asked else view.number(keyword)
        return () if number is None else self._values(number)

    def private(self, element: Private) -> tuple[Any, ...]:
        """See ``Layer``."""
        number = self.view.privates.get((element.group, element.creator, element.element))
        return () if number is None else self._values(number, element.vr)

    def has_creator(self, creator: str, group: int) -> bool:
        """See ``Layer``."""
        return (group, creator) in self.view.creators

    def items(self, keyword: str) -> Sequence[Layer]:
        """See ``Layer``."""
        number = self.view.number(keyword)
        return () if number is None else self._items(number)

    def private_items(self, element: Private) -> Sequence[Layer]:
        """See ``Layer``."""
        number = self.view.privates.get((element.group, element.creator, element.element))
        return () if number is None else self._items(number)

    def raw(self, number: int) -> bytes:
        """Value bytes of one span."""
        raw = self.varying.get(number)
        if raw is None:
            return self.template.raw(number)
        if self.recorder is not None:
            self.recorder.add((self.index, number))
        return raw

    def _values(self, number: int, private_vr: str | None = None) -> tuple[Any, ...]:
        template = self.template
        raw = self.varying.get(number)
        if raw is None:
            values = template.decoded.get(number)
            if values is None:
                values = template.decoded[number] = self._decoder(number, private_vr)(template.raw(number))
            return values
        if self.recorder is not None:
            self.recorder.add((self.index, number))
        decoder = template.decoders.get(number)
        if decoder is None:
            decoder = template.decoders[number] = self._decoder(number, private_vr)
        return decoder(raw)

    def _decoder(self, number: int, private_vr: str | None) -> Decoder:
        span = self.template.spans[number]
        if span.is_length:
            return _nothing
        vr = span.vr.decode()
        if vr in ("", "UN"):
            vr = private_vr or vr_of(span.tag)
        return decoder_of(vr, self.charsets)

    def _items(self, number: int) -> Sequence[Layer]:
        span = self.template.spans[number]
        if span.is_length:
            path = (*span.path, span.tag)
            layer = RawLayer(self.template, self.varying, charsets=self.charsets, index=self.index, path=path)
            layer.recorder = self.recorder
            return (layer,)
        raw, implicit = self.raw(number), self.template.implicit
        items = _items_of(raw, self.charsets, implicit=implicit) if span.vr in (b"", b"SQ") else None
        if items is None:
            from pacs2bids import datasets  # noqa: PLC0415 - pydicom takes long to import

            return datasets.sequence(raw, self.charsets, implicit=implicit)
        return items


def _items_of(raw: bytes, charsets: tuple[str, ...], *, implicit: bool) -> list[RawLayer] | None:
    """Items from the value of a sequence; None if it is not quite as it should be."""
    try:
        return list(_each_item(raw, charsets, implicit=implicit))
    except (ShortError, MalformedError):
        return None


def _each_item(raw: bytes, charsets: tuple[str, ...], *, implicit: bool) -> Iterator[RawLayer]:
    at = 0
    while at < len(raw):
        tag, _, start, length = element_at(raw, at, implicit=True)
        if tag == SEQUENCE_END:
            return
        if tag != ITEM:
            raise MalformedError("no item")
        at = start + length if length != UNDEFINED else end_of_item(raw, start, implicit=implicit)
        stop = at if length != UNDEFINED else at - 8
        spans = tuple(walk(raw, start, stop, implicit=implicit))
        if at > len(raw) or (spans[-1].end if spans else start) != stop:
            raise MalformedError("an item is longer than its elements")
        layer = RawLayer(Template(raw, spans, start, stop, implicit, frozenset(), frozenset()), {})
        layer.charsets = _texts(layer.values("SpecificCharacterSet")) or charsets
        yield layer


def _view(template: Template, path: Path) -> _View:
    """Elements below ``path``; those of outer data sets win over those of items inside them."""
    tags: dict[int, int] = {}
    privates: dict[tuple[int, str, int], int] = {}
    creators: dict[tuple[Path, int, int], str] = {}
    below = [
        (number, span)
        for number, span in enumerate(template.spans)
        if span.path[: len(path)] == path and span.tag != ITEM
    ]
    places = {inner: place for place, inner in enumerate(dict.fromkeys(span.path for _, span in below))}
    # stable: document order inside a data set, outer data sets before inner ones
    for number, span in sorted(below, key=lambda one: places[one[1].path]):
        if span.path == template.spans[tags.setdefault(span.tag, number)].path:
            tags[span.tag] = number  # written twice in one data set: the last counts, as in pydicom
        group, element = span.tag >> 16, span.tag & 0xFFFF
        if is_creator(span.tag):
            creators[span.path, group, element] = _first(_texts((template.raw(number),))) or ""
        elif group & 1:
            creator = creators.get((span.path, group, element >> 8))
            if creator:
                privates.setdefault((group, creator, element & 0xFF), number)
    known = frozenset((group, creator) for (_, group, _), creator in creators.items())
    return _View(tags, privates, known, {})


class Header:
    """Elements of one frame by keyword. A missing, empty or malformed element is None (or an empty tuple)."""

    __slots__ = ("layers", "memory")

    def __init__(self, layers: Iterable[Layer]) -> None:
        self.layers = tuple(layers)
        self.memory = _memory_of(self.layers)

    @classmethod
    def of(cls, dataset: Any) -> Header:
        """The header of one data set of pydicom."""
        from pacs2bids.datasets import DataSetLayer  # noqa: PLC0415 - pydicom takes long to import

        return cls([DataSetLayer(dataset)])

    def text(self, keyword: str) -> str | None:
        """First value as stripped text."""
        return _first(self.texts(keyword))

    def texts(self, keyword: str) -> tuple[str, ...]:
        """All values as stripped text."""
        return _texts(self._values(keyword))

    def number(self, keyword: str) -> float | None:
        """First value as a float; None if it is no finite number."""
        return _first(_numbers(self._values(keyword)[:1]))

    def sound_number(self, keyword: str) -> float | None:
        """The only value as a float; None if there is none. Raises HeaderError if it is no finite number."""
        values = self._values(keyword)
        numbers = _numbers(values)
        if _texts(values) and len(numbers) != 1:
            raise HeaderError(f"{keyword} is no number")
        return _first(numbers)

    def numbers(self, keyword: str) -> tuple[float, ...]:
        """All values as floats; empty if any is no finite number."""
        return _numbers(self._values(keyword))

    def integer(self, keyword: str) -> int | None:
        """First value as an integer; None if it has a fraction, or beyond 2^53."""
        return _integer(self.number(keyword))

    def items(self, keyword: str) -> tuple[Header, ...]:
        """Items of a sequence."""
        found = next((found for layer in self.layers if (found := layer.items(keyword))), ())
        return tuple(Header([item]) for item in found)

    def has_private(self, creator: str, group: int) -> bool:
        """Whether a block of this creator is there."""
        return any(layer.has_creator(creator, group) for layer in self.layers)

    def private_bytes(self, element: Private) -> bytes | None:
        """Raw value of a private element (OB, OW, UN)."""
        values = self._private(element)
        return values[0] if values and isinstance(values[0], bytes) else None

    def private_text(self, element: Private) -> str | None:
        """First value of a private element as stripped text."""
        return _first(self.private_texts(element))

    def private_texts(self, element: Private) -> tuple[str, ...]:
        """All values of a private element as stripped text."""
        return _texts(_of_vr(self._private(element), element.vr))

    def private_number(self, element: Private) -> float | None:
        """First value of a private element as a float."""
        return _first(_numbers(_of_vr(self._private(element), element.vr)[:1]))

    def private_numbers(self, element: Private) -> tuple[float, ...]:
        """All values of a private element as floats."""
        return _numbers(_of_vr(self._private(element), element.vr))

    def private_items(self, element: Private) -> tuple[Header, ...]:
        """Items of a private sequence."""
        found = next((found for layer in self.layers if (found := layer.private_items(element))), ())
        return tuple(Header([item]) for item in found)

    def _values(self, keyword: str) -> tuple[Any, ...]:
        for layer in self.layers:
            values = layer.values(keyword)
            if values:
                return values
        return ()

    def _private(self, element: Private) -> tuple[Any, ...]:
        for layer in self.layers:
            values = layer.private(element)
            if values:
                return values
        return ()


def _first(values: tuple[T, ...]) -> T | None:
    return values[0] if values else None


def _integer(value: float | None) -> int | None:
    return int(value) if value is not None and abs(value) < _MOST and value == int(value) else None


def _texts(values: tuple[Any, ...]) -> tuple[str, ...]:
    if not values:
        return ()
    if len(values) == 1 and type(values[0]) is str:  # nearly all
        text = values[0].strip(" \0")
        return (text,) if text else ()
    texts = [
        (value.decode("latin-1") if isinstance(value, bytes) else str(value)).strip(" \0") for value in values
    ]
    return tuple(texts) if any(texts) else ()


def _numbers(values: tuple[Any, ...]) -> tuple[float, ...]:
    numbers: list[float] = []
    for value in values:
        try:
            number = float(value.strip(b" \0") if isinstance(value, bytes) else value)
        except (ValueError, TypeError, OverflowError):
            return ()
        if not math.isfinite(number):
            return ()
        numbers.append(number)
    return tuple(numbers)


def _of_vr(values: tuple[Any, ...], vr: str) -> tuple[Any, ...]:
    """Values of an element whose VR the file does not know (UN), read as ``vr``."""
    if len(values) != 1 or not isinstance(values[0], bytes) or vr == "UN":
        return values
    raw = values[0]
    if vr in _BINARY:
        size = struct.calcsize(_BINARY[vr])
        count = len(raw) // size
        return struct.unpack(f"<{count}{_BINARY[vr]}", raw[: count * size])
    return tuple(raw.decode("latin-1").rstrip(" \0").split("\\"))


def decoder_of(vr: str, charsets: Sequence[str]) -> Decoder:
    """What gives the values of a little-endian element from its bytes (PS3.5 section 6.2).

    Numbers stay text where they are stored as text: they become numbers when they are asked for.
    """
    if vr in _BINARY:
        return partial(_binary_values, vr)
    if vr not in _TEXTS:
        return _whole
    separator = None if vr in ("LT", "ST", "UT", "UR") else "\\"
    return partial(_text_values, charsets if vr in _CHARSET_TEXTS else (), separator)


def _nothing(raw: bytes) -> tuple[Any, ...]:
    del raw
    return ()


def _whole(raw: bytes) -> tuple[Any, ...]:
    return (raw,) if raw else ()


def _binary_values(vr: str, raw: bytes) -> tuple[Any, ...]:
    return _of_vr((raw,), vr) if raw else ()


def _text_values(charsets: Sequence[str], separator: str | None, raw: bytes) -> tuple[Any, ...]:
    text = (_text(raw, charsets) if charsets else raw.decode("latin-1")).rstrip(" \0")
    if not text:
        return ()
    return (text,) if separator is None or separator not in text else tuple(text.split(separator))


def _text(raw: bytes, charsets: Sequence[str]) -> str:
    if not charsets or (raw.isascii() and b"\x1b" not in raw):
        return raw.decode("latin-1")
    from pacs2bids import datasets  # noqa: PLC0415 - pydicom takes long to import

    return datasets.text(raw, charsets)


def _memory_of(layers: Sequence[Layer]) -> dict[Any, _Memory] | None:
    """By function: what headers of these templates share. None if one of the layers has no template."""
    templates = [layer.template for layer in layers if isinstance(layer, RawLayer)]
    if not templates or len(templates) != len(layers):
        return None
    memory: dict[Any, _Memory] = templates[0].memory.setdefault(tuple(templates[1:]), {})
    return memory


def recall(function: Callable[[Header], T], header: Header) -> T:
    """``function(header)``, remembered for headers that read the same.

    While the function runs, the varying elements that it reads are noted. Another header of the same template
    with the same bytes in all of these must give the same result, so it is not computed again. The function
    must depend on the header alone, and nobody may change its result. It may call ``recall`` for a part of
    its work that reads less.
    """
    memory, layers = header.memory, header.layers
    if memory is None:
        return function(header)
    known = memory.get(function)
    if known is None:
        known = memory[function] = _Memory(())
    elif known.is_useless:
        return function(header)
    read = known.read(layers)
    if read in known.results:
        known.hits += 1
        first = layers[0]
        if isinstance(first, RawLayer) and first.recorder is not None:
            first.recorder.update(known.touched)
        remembered: T = known.results[read]
        return remembered
    result, seen = _watched(function, header)
    if not seen.issubset(known.touched):
        known = memory[function] = _Memory(tuple(sorted(seen.union(known.touched))))
        read = known.read(layers)
    known.keep(read, result)
    return result


def recalled(function: Callable[[Header], T]) -> Callable[[Header], T]:
    """A function whose results are remembered: see ``recall``."""

    @wraps(function)
    def remembering(header: Header) -> T:
        return recall(function, header)

    return remembering


class _Memory:
    """What one function gave: which varying elements it reads, and its results by their bytes.

    ``touched``: (layer, span number) in order. ``is_useless``: what it reads hardly ever comes again.
    """

    __slots__ = ("_readers", "hits", "is_useless", "results", "touched")

    def __init__(self, touched: tuple[tuple[int, int], ...]) -> None:
        self.touched = touched
        self.results: dict[Any, Any] = {}
        self.hits = 0
        self.is_useless = False
        self._readers = [
            (index, itemgetter(*[number for _, number in numbers]))
            for index, numbers in groupby(touched, key=itemgetter(0))
        ]

    def keep(self, read: Any, result: Any) -> None:
        """Remember one more result; all are forgotten when there are too many."""
        if len(self.results) >= REMEMBERED:
            self.is_useless = self.hits < REMEMBERED
            self.results, self.hits = {}, 0
        if not self.is_useless:
            self.results[read] = result

    def read(self, layers: Sequence[Any]) -> Any:
        """The bytes of these elements: what results are kept by."""
        if len(self._readers) == 1:
            index, reader = self._readers[0]
            return reader(layers[index].varying)
        return tuple([reader(layers[index].varying) for index, reader in self._readers])


def _watched(function: Callable[[Header], T], header: Header) -> tuple[T, set[tuple[int, int]]]:
    layers = [layer for layer in header.layers if isinstance(layer, RawLayer)]
    outer = layers[0].recorder
    seen: set[tuple[int, int]] = set()
    for layer in layers:
        layer.recorder = seen
    try:
        return function(header), seen
    finally:
        for layer in layers:
            layer.recorder = outer
        if outer is not None:
            outer.update(seen)


# ---------------------------------------------------------------------------------------------- files


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
        syntax = _first(_texts(meta.values("TransferSyntaxUID"))) or ""
        if syntax in ("", EXPLICIT_BIG_ENDIAN):
            raise MalformedError("pydicom reads these")
        if syntax == DEFLATED:
            head, start = head.inflated(start), 0
        implicit = syntax == IMPLICIT_LITTLE_ENDIAN
        own, end = _layer(self._data[implicit], head, start)
        own.charsets = _texts(own.values("SpecificCharacterSet"))
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
