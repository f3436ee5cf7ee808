"""Reading headers: the only module that knows pydicom's datasets.

A ``Header`` is a stack of layers, first hit wins: this frame's functional groups, the groups shared by all
frames, the instance's own elements. Code above asks by keyword, or by private creator, and cannot tell a
classic image from a frame of an enhanced one.
"""

from __future__ import annotations

import math
import struct
import sys
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import Any, BinaryIO, NamedTuple, Protocol, TypeVar

import pydicom
from pydicom import config as pydicom_config
from pydicom.charset import convert_encodings, decode_bytes
from pydicom.datadict import dictionary_VR, private_dictionary_VR, tag_for_keyword
from pydicom.dataset import Dataset
from pydicom.errors import BytesLengthException, InvalidDicomError
from pydicom.filereader import dcmread
from pydicom.multival import MultiValue
from pydicom.tag import BaseTag, Tag
from pydicom.uid import (
    DeflatedExplicitVRLittleEndian,
    ExplicitVRBigEndian,
    ExplicitVRLittleEndian,
    ImplicitVRLittleEndian,
)
from pydicom.values import convert_SQ

from pacs2bids.model import HeaderError, NotDicomError
from pacs2bids.template import (
    ITEM,
    PIXEL_DATA,
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

# what pydicom and the decoding of a malformed value may raise; anything else is a defect and must be seen
MALFORMED = (
    ValueError,
    TypeError,
    KeyError,
    AttributeError,
    OverflowError,
    BytesLengthException,
    NotImplementedError,
    struct.error,
)

FIRST_READ = 1 << 15
REMEMBERED = 8192  # results of one function under one template
_PIXEL_KEYWORDS = dict(zip(PIXEL_DATA, ("FloatPixelData", "DoubleFloatPixelData", "PixelData"), strict=True))

T = TypeVar("T")

MULTIPLE = (MultiValue, list, tuple, pydicom.Sequence)

_CHARSET_TEXTS = frozenset({"LO", "LT", "PN", "SH", "ST", "UC", "UT"})
_TEXTS = _CHARSET_TEXTS | {"AE", "AS", "CS", "DA", "DS", "DT", "IS", "TM", "UI", "UR"}
_BINARY = {"US": "H", "SS": "h", "UL": "I", "SL": "i", "FL": "f", "FD": "d"}


@dataclass(frozen=True, slots=True, kw_only=True)
class Private:
    """A private element: found by its creator, wherever the block lies (PS3.5 section 7.8.1).

    ``element`` is the low byte. ``vr`` reads the value where the file says UN.
    """

    creator: str
    group: int
    element: int
    vr: str = "UN"


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

    def items(self, keyword: str) -> tuple[Header, ...]:
        """Items of a sequence."""
        ...

    def private_items(self, element: Private) -> tuple[Header, ...]:
        """Items of a private sequence."""
        ...


class DataSetLayer:
    """A data set that pydicom parsed, with its private creators looked up once."""

    __slots__ = ("_creators", "dataset")

    def __init__(self, dataset: Dataset) -> None:
        self.dataset = dataset
        self._creators: dict[tuple[int, str], int] | None = None

    def _values(self, key: str | BaseTag) -> tuple[Any, ...]:
        if key not in self.dataset:
            return ()
        try:
            value = self.dataset[key].value
        except MALFORMED:
            return ()
        if value is None or value in ("", b""):
            return ()
        return tuple(value) if isinstance(value, MULTIPLE) else (value,)

    def values(self, keyword: str) -> tuple[Any, ...]:
        """See ``Layer``."""
        return self._values(keyword)

    def private(self, element: Private) -> tuple[Any, ...]:
        """See ``Layer``."""
        block = self._blocks().get((element.group, element.creator))
        return () if block is None else self._values(Tag(element.group, block << 8 | element.element))

    def has_creator(self, creator: str, group: int) -> bool:
        """See ``Layer``."""
        return (group, creator) in self._blocks()

    def items(self, keyword: str) -> tuple[Header, ...]:
        """See ``Layer``."""
        return tuple(Header.of(item) for item in self.values(keyword) if isinstance(item, Dataset))

    def private_items(self, element: Private) -> tuple[Header, ...]:
        """See ``Layer``."""
        return tuple(Header.of(item) for item in self.private(element) if isinstance(item, Dataset))

    def _blocks(self) -> dict[tuple[int, str], int]:
        if self._creators is None:
            self._creators = {
                (tag.group, _first(_texts(self._values(tag))) or ""): tag.element
                for tag in self.dataset.keys()  # noqa: SIM118 - iterating a data set decodes every element
                if is_creator(tag)
            }
        return self._creators


@dataclass(frozen=True, slots=True)
class _View:
    """Elements of a template below one path, outer ones first: span numbers by tag and by creator."""

    tags: dict[int, int]
    privates: dict[tuple[int, str, int], int]
    creators: frozenset[tuple[int, str]]
    creator_of: dict[int, str]


class RawLayer:
    """A data set that matched a template: decoded element by element, when asked.

    ``path`` restricts it to the item of an opened sequence. ``recorder`` collects which varying elements are
    read, as (``index``, span number): see ``recall``.
    """

    __slots__ = ("encodings", "index", "path", "recorder", "template", "varying", "view")

    def __init__(
        self,
        template: Template,
        varying: dict[int, bytes],
        *,
        encodings: tuple[str, ...] = (),
        index: int = 0,
        path: Path = (),
    ) -> None:
        self.template, self.varying, self.index, self.path = template, varying, index, path
        self.recorder: set[tuple[int, int]] | None = None
        view = template.views.get(path)
        self.view: _View = view or template.views.setdefault(path, _view(template, path))
        self.encodings = encodings

    def at(self, index: int) -> RawLayer:
        """The same data set as the ``index``-th layer of another header."""
        return RawLayer(self.template, self.varying, encodings=self.encodings, index=index, path=self.path)

    def values(self, keyword: str) -> tuple[Any, ...]:
        """See ``Layer``."""
        return self._values(self.view.tags.get(_tag(keyword)))

    def private(self, element: Private) -> tuple[Any, ...]:
        """See ``Layer``."""
        return self._values(self.view.privates.get((element.group, element.creator, element.element)))

    def has_creator(self, creator: str, group: int) -> bool:
        """See ``Layer``."""
        return (group, creator) in self.view.creators

    def items(self, keyword: str) -> tuple[Header, ...]:
        """See ``Layer``."""
        return self._items(self.view.tags.get(_tag(keyword)))

    def private_items(self, element: Private) -> tuple[Header, ...]:
        """See ``Layer``."""
        return self._items(self.view.privates.get((element.group, element.creator, element.element)))

    def raw(self, number: int) -> bytes:
        """Value bytes of one span."""
        raw = self.varying.get(number)
        if raw is None:
            return self.template.raw(number)
        if self.recorder is not None:
            self.recorder.add((self.index, number))
        return raw

    def _values(self, number: int | None) -> tuple[Any, ...]:
        if number is None:
            return ()
        if number in self.varying:
            return self._decoded(number)
        # items of functional groups do not tell their character set: files of several may share a template
        key = (number, self.encodings) if self.encodings else number
        decoded = self.template.decoded
        if key not in decoded:
            decoded[key] = self._decoded(number)
        values: tuple[Any, ...] = decoded[key]
        return values

    def _decoded(self, number: int) -> tuple[Any, ...]:
        span = self.template.spans[number]
        if span.is_length:
            return ()
        vr = span.vr.decode()
        if vr in ("", "UN"):
            vr = _vr(span.tag, self.view.creator_of.get(number))
        return decode(vr, self.raw(number), self.encodings)

    def _items(self, number: int | None) -> tuple[Header, ...]:
        if number is None:
            return ()
        span, implicit = self.template.spans[number], self.template.implicit
        if span.is_length:
            path = (*span.path, span.tag)
            layer = RawLayer(
                self.template, self.varying, encodings=self.encodings, index=self.index, path=path
            )
            layer.recorder = self.recorder
            return (Header([layer]),)
        try:
            sequence = convert_SQ(self.raw(number), implicit, True, list(self.encodings) or None)
        except (*MALFORMED, EOFError):
            return ()
        return tuple(Header.of(item) for item in sequence)


def _view(template: Template, path: Path) -> _View:
    """Elements below ``path``; those of outer data sets win over those of items inside them."""
    tags: dict[int, int] = {}
    privates: dict[tuple[int, str, int], int] = {}
    creator_of: dict[int, str] = {}
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
                creator_of[number] = creator
                privates.setdefault((group, creator, element & 0xFF), number)
    known = frozenset((group, creator) for (_, group, _), creator in creators.items())
    return _View(tags, privates, known, creator_of)


@lru_cache(maxsize=4096)
def _tag(keyword: str) -> int:
    tag = tag_for_keyword(keyword)
    if tag is None:
        raise LookupError(f"{keyword} is no DICOM keyword")
    return tag


class Header:
    """Elements of one frame by keyword. A missing, empty or malformed element is None (or an empty tuple)."""

    __slots__ = ("layers",)

    def __init__(self, layers: Iterable[Layer]) -> None:
        self.layers = tuple(layers)

    @classmethod
    def of(cls, dataset: Dataset) -> Header:
        """The header of one plain data set."""
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

    def numbers(self, keyword: str) -> tuple[float, ...]:
        """All values as floats; empty if any is no finite number."""
        return _numbers(self._values(keyword))

    def integer(self, keyword: str) -> int | None:
        """First value as an integer; None if it has a fraction."""
        return _integer(self.number(keyword))

    def items(self, keyword: str) -> tuple[Header, ...]:
        """Items of a sequence."""
        return next((found for layer in self.layers if (found := layer.items(keyword))), ())

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
        return next((found for layer in self.layers if (found := layer.private_items(element))), ())

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
    return int(value) if value is not None and value == int(value) else None


def _texts(values: tuple[Any, ...]) -> tuple[str, ...]:
    texts = [
        (value.decode("latin-1") if isinstance(value, bytes) else str(value)).strip(" \0") for value in values
    ]
    return tuple(texts) if any(texts) else ()


def _numbers(values: tuple[Any, ...]) -> tuple[float, ...]:
    numbers: list[float] = []
    for value in values:
        try:
            number = float(value.strip(b" \0") if isinstance(value, bytes) else value)
        except MALFORMED:
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


def decode(vr: str, raw: bytes, encodings: Sequence[str]) -> tuple[Any, ...]:
    """Values of one little-endian element (PS3.5 section 6.2).

    Numbers stay text where they are stored as text: they become numbers when they are asked for.
    """
    if not raw:
        return ()
    if vr in _BINARY:
        return _of_vr((raw,), vr)
    if vr not in _TEXTS:
        return (raw,)
    text = _text(raw, encodings if vr in _CHARSET_TEXTS else ()).rstrip(" \0")
    if not text:
        return ()
    return (text,) if vr in ("LT", "ST", "UT", "UR") else tuple(text.split("\\"))


def _text(raw: bytes, encodings: Sequence[str]) -> str:
    if not encodings or (raw.isascii() and b"\x1b" not in raw):
        return raw.decode("latin-1")
    return decode_bytes(raw, list(encodings), {ord(mark) for mark in "\\^="})


@lru_cache(maxsize=4096)
def _vr(tag: int, creator: str | None) -> str:
    """VR of an element that does not tell it, by pydicom's dictionaries."""
    try:
        return str(dictionary_VR(tag) if creator is None else private_dictionary_VR(tag, creator))[:2]
    except KeyError:
        return "UN"


def recall(function: Callable[[Header], T], header: Header) -> T:
    """``function(header)``, remembered for headers that read the same.

    While the function runs, the varying elements that it reads are noted. Another header of the same template
    with the same bytes in all of these must give the same result, so it is not computed again. The function
    must depend on the header alone, and nobody may change its result.
    """
    layers = [layer for layer in header.layers if isinstance(layer, RawLayer)]
    if len(layers) < len(header.layers):
        return function(header)
    memory = layers[0].template.memory
    key = (function, *[layer.template for layer in layers[1:]])
    known = memory.get(key) or Memory((), {})
    read = tuple([layers[index].varying[number] for index, number in known.touched])
    if read in known.results:
        remembered: T = known.results[read]
        return remembered
    result, seen = _watched(function, header, layers)
    if not seen.issubset(known.touched) or len(known.results) >= REMEMBERED:
        known = Memory(tuple(sorted(seen.union(known.touched))), {})
    memory[key] = known
    known.results[tuple([layers[index].varying[number] for index, number in known.touched])] = result
    return result


class Memory(NamedTuple):
    """What one function gave: which varying elements it reads, and its results by their bytes."""

    touched: tuple[tuple[int, int], ...]
    results: dict[tuple[bytes, ...], Any]


def _watched(
    function: Callable[[Header], T], header: Header, layers: Sequence[RawLayer]
) -> tuple[T, set[tuple[int, int]]]:
    seen: set[tuple[int, int]] = set()
    for layer in layers:
        layer.recorder = seen
    try:
        return function(header), seen
    finally:
        for layer in layers:
            layer.recorder = None


# ---------------------------------------------------------------------------------------------- files


@dataclass(frozen=True, slots=True, kw_only=True)
class PixelSpan:
    """Where the pixel data of a file lie. ``native``: stored plainly, so that frames can be read in place.

    ``offset``/``length`` in bytes; None where the data are compressed or inside a deflated stream.
    ``keyword``: PixelData, FloatPixelData or DoubleFloatPixelData.
    """

    keyword: str
    offset: int | None
    length: int | None


@dataclass(frozen=True, slots=True, kw_only=True)
class ParsedFile:
    """One DICOM file without its pixels. ``pixels`` is None where it has none.

    ``items``: the templates with which items of functional groups are read; None: pydicom parsed the file.
    """

    header: Header
    transfer_syntax_uid: str
    pixels: PixelSpan | None
    items: Templates | None


class Reader:
    """Reads the headers of many files; the more alike they are, the faster.

    ``parse`` raises HeaderError, naming the path, if a file is not DICOM or its header is damaged.
    """

    def __init__(self) -> None:
        self._meta = Templates(implicit=False)
        self._data = {implicit: Templates(implicit=implicit) for implicit in (False, True)}
        self._items = {implicit: Templates(implicit=implicit) for implicit in (False, True)}
        self._guess = FIRST_READ

    def parse(self, stream: BinaryIO, path: str) -> ParsedFile:
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
        meta, start = self._layer(self._meta, head, 132, meta=True)
        syntax = _first(_texts(meta.values("TransferSyntaxUID"))) or ""
        if syntax in ("", ExplicitVRBigEndian, DeflatedExplicitVRLittleEndian):
            raise MalformedError("pydicom reads these")
        implicit = syntax == ImplicitVRLittleEndian
        layer, end = self._layer(self._data[implicit], head, start)
        layer.encodings = _encodings(layer)
        self._guess = max(self._guess, end + 64)
        header = Header([layer])
        if header.text("SOPInstanceUID") is None:
            raise MalformedError("no SOPInstanceUID")
        return ParsedFile(
            header=header,
            transfer_syntax_uid=syntax,
            pixels=head.pixels(end, implicit=implicit),
            items=self._items[implicit],
        )

    def _layer(
        self, templates: Templates, head: _Head, start: int, *, meta: bool = False
    ) -> tuple[RawLayer, int]:
        """The file meta information, or the data set up to its pixels; and where it ends."""
        found = templates.match(head.buffer, start)
        if found is not None:
            template, values, end = found
            if head.ends(end, meta=meta):
                return RawLayer(template, values), end
        spans = head.walk(start, implicit=templates.implicit, meta=meta)
        end = spans[-1].end if spans else start
        template, values = templates.learn(head.buffer, spans, start, end)
        return RawLayer(template, values), end


def parse(stream: BinaryIO, path: str) -> ParsedFile:
    """As ``Reader.parse``, for a single file."""
    return Reader().parse(stream, path)


class _Head:
    """The first bytes of a file, as many as the header needs."""

    def __init__(self, stream: BinaryIO, size: int) -> None:
        self._stream = stream
        self.buffer = stream.read(size) or b""
        self._whole = len(self.buffer) < size

    def more(self) -> bool:
        """Read as much again; False if there is no more."""
        if self._whole:
            return False
        size = max(len(self.buffer), FIRST_READ)
        further = self._stream.read(size) or b""
        self._whole = not further
        self.buffer += further
        return bool(further)

    def tag(self, at: int) -> int | None:
        """Tag of the element at ``at``; None at the end of the file. Raises MalformedError."""
        while True:
            try:
                tag = tag_at(self.buffer, at)
            except ShortError:
                if not self.more():
                    break
            else:
                # its length must be here, too
                if at + 12 <= len(self.buffer) or not self.more():
                    return tag
        if at < len(self.buffer):
            raise MalformedError("the file ends inside an element")
        return None

    def ends(self, at: int, *, meta: bool) -> bool:
        """Whether a header that was matched up to ``at`` is complete."""
        tag = self.tag(at)
        return tag is None or is_behind(tag, meta=meta)

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

    def pixels(self, at: int, *, implicit: bool) -> PixelSpan | None:
        """Where the pixel data at ``at`` lie."""
        tag = self.tag(at)
        if tag not in PIXEL_DATA:
            return None
        try:
            _, _, value, length = element_at(self.buffer, at, implicit=implicit)
        except ShortError:
            raise MalformedError("the file ends inside its pixel data element") from None
        if length == UNDEFINED:
            return PixelSpan(keyword=_PIXEL_KEYWORDS[tag], offset=None, length=None)
        return PixelSpan(keyword=_PIXEL_KEYWORDS[tag], offset=value, length=length)


def _encodings(layer: RawLayer) -> tuple[str, ...]:
    names = _texts(layer.values("SpecificCharacterSet"))
    try:
        return tuple(convert_encodings(list(names))) if names else ()
    except LookupError:
        return ()


def parse_slowly(stream: BinaryIO, path: str) -> ParsedFile:
    """As ``Reader.parse`` by pydicom: big endian, deflated, without preamble, or in any way unusual."""
    try:
        with pydicom_config.disable_value_validation():
            dataset = dcmread(stream, stop_before_pixels=True, force=_looks_bare(stream))
    except InvalidDicomError:
        raise NotDicomError("is not a DICOM file", where=path) from None
    except (*MALFORMED, EOFError, OSError, MemoryError) as error:
        # not the library's words: they may quote values
        raise HeaderError(f"header is damaged ({type(error).__name__})", where=path) from error
    if "SOPInstanceUID" not in dataset:
        raise HeaderError("is no DICOM instance: it has no SOPInstanceUID", where=path)
    syntax = str(getattr(dataset.file_meta, "TransferSyntaxUID", "") or _guessed_syntax(dataset))
    return ParsedFile(
        header=Header.of(dataset),
        transfer_syntax_uid=syntax,
        pixels=_pixels(stream, dataset, syntax),
        items=None,
    )


def _looks_bare(stream: BinaryIO) -> bool:
    """Whether the file lacks the preamble but starts like a data set of group 0002 or 0008."""
    start = stream.read(132)
    stream.seek(0)
    bare = start[:4] in (b"\x02\0\0\0", b"\x08\0\0\0", b"\x08\0\x05\0", b"\x08\0\x08\0", b"\x08\0\x01\0")
    return start[128:132] != b"DICM" and bare


def _guessed_syntax(dataset: Dataset) -> str:
    implicit, little = dataset.original_encoding
    if not little:
        return str(ExplicitVRBigEndian)
    return str(ImplicitVRLittleEndian if implicit else ExplicitVRLittleEndian)


def _pixels(stream: BinaryIO, dataset: Dataset, syntax: str) -> PixelSpan | None:
    if syntax == DeflatedExplicitVRLittleEndian:
        # the header was inflated in memory: the file position says nothing; Rows tells of an image
        return PixelSpan(keyword="PixelData", offset=None, length=None) if "Rows" in dataset else None
    order = ">" if syntax == ExplicitVRBigEndian else "<"
    start = stream.tell()
    head = stream.read(12)
    if len(head) < 8:
        return None
    group, element = struct.unpack(order + "HH", head[:4])
    keyword = _PIXEL_KEYWORDS.get(group << 16 | element)
    if keyword is None:
        return None
    explicit = head[4:6].isalpha() and head[4:6].isupper()
    size = 12 if explicit else 8
    length = struct.unpack(order + "I", head[size - 4 : size])[0]
    if length == UNDEFINED:
        return PixelSpan(keyword=keyword, offset=None, length=None)
    return PixelSpan(keyword=keyword, offset=start + size, length=length)


# ---------------------------------------------------------------------------------------------- enhanced


def frame_headers(parsed: ParsedFile) -> Iterator[Header]:
    """One header a frame of an enhanced multi-frame instance (PS3.3 C.7.6.16), in stored order.

    Functional groups are flattened: each group's single item, and single items of sequences nested in it,
    are searched after the frame itself, so that EffectiveEchoTime or a vendor's private elements are found at
    any depth. Then come the groups shared by all frames, then the instance.
    """
    own = parsed.header.layers[0]
    if isinstance(own, RawLayer) and parsed.items is not None:
        yield from _frames(own, parsed.items)
    elif isinstance(own, DataSetLayer):
        shared = _flattened(own.dataset, "SharedFunctionalGroupsSequence")[:1]
        for layers in _flattened(own.dataset, "PerFrameFunctionalGroupsSequence"):
            yield Header([*layers, *(layer for group in shared for layer in group), own])


def _frames(own: RawLayer, templates: Templates) -> Iterator[Header]:
    shared = list(_item_layers(own, _tag("SharedFunctionalGroupsSequence"), templates))[:1]
    rest = [layer.at(place) for place, layer in enumerate([*shared, own], start=1)]
    for layer in _item_layers(own, _tag("PerFrameFunctionalGroupsSequence"), templates):
        yield Header([layer, *rest])


def _item_layers(own: RawLayer, tag: int, templates: Templates) -> Iterator[RawLayer]:
    number = own.view.tags.get(tag)
    if number is None:
        return
    buffer = own.raw(number)
    at = 0
    while at + 8 <= len(buffer):
        group_tag, _, start, length = element_at(buffer, at, implicit=True)
        if group_tag != ITEM:
            return
        layer, at = _item_layer(buffer, start, length, templates)
        layer.encodings = own.encodings
        yield layer


def _item_layer(buffer: bytes, start: int, length: int, templates: Templates) -> tuple[RawLayer, int]:
    """The item whose content begins at ``start``, and where the next one begins."""
    open_ended = length == UNDEFINED
    found = templates.match(buffer, start)
    if found is not None:
        template, values, end = found
        if not open_ended and end == start + length:
            return RawLayer(template, values), end
        if open_ended and buffer[end : end + 8] == b"\xfe\xff\x0d\xe0\0\0\0\0":
            return RawLayer(template, values), end + 8
    after = end_of_item(buffer, start, implicit=templates.implicit) if open_ended else start + length
    content = buffer[start : after - 8 if open_ended else after]
    spans = list(walk_into(content, 0, len(content), (), implicit=templates.implicit))
    template, values = templates.learn(content, spans, 0, len(content))
    return RawLayer(template, values), after


def _flattened(dataset: Dataset, keyword: str) -> list[list[DataSetLayer]]:
    items = dataset[keyword].value if keyword in dataset else None
    return [_layers([item]) for item in items or ()]


def _layers(items: Iterable[Dataset]) -> list[DataSetLayer]:
    layers: list[DataSetLayer] = []
    for item in items:
        layers.append(DataSetLayer(item))
        for element in item:
            if element.VR == "SQ" and element.value is not None and len(element.value) == 1:
                layers.extend(_layers(element.value))
    return layers
