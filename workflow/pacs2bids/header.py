"""Headers: of a whole instance, and of each frame of an enhanced one.

A ``Header`` is a stack of layers, first hit wins: this frame's functional groups, the groups shared by all
frames, the instance's own elements. Code above asks by keyword, or by private creator, and cannot tell a
classic image from a frame of an enhanced one. ``RawLayer`` reads what ``template`` found, and ``datasets``
(which is pydicom) what is unusual.
"""

from __future__ import annotations

import math
import struct
from collections.abc import Callable, Iterable, Iterator, Sequence
from functools import partial
from typing import Any, Protocol, TypeVar

from msgspec import Struct

from pacs2bids.dictionary import Private, tag_of, vr_of
from pacs2bids.model import HeaderError
from pacs2bids.template import (
    ITEM,
    SEQUENCE_END,
    UNDEFINED,
    MalformedError,
    Path,
    ShortError,
    Template,
    element_at,
    end_of_item,
    is_creator,
    walk,
)

__all__ = ["Header", "Layer", "Private", "RawLayer"]

_MOST = 2.0**53  # beyond, floats leave integers out; no element of DICOM that counts reaches it

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
    number): see ``recalled``.
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
        layer.charsets = stripped_texts(layer.values("SpecificCharacterSet")) or charsets
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
            creators[span.path, group, element] = first(stripped_texts((template.raw(number),))) or ""
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
        return first(self.texts(keyword))

    def texts(self, keyword: str) -> tuple[str, ...]:
        """All values as stripped text."""
        return stripped_texts(self._values(keyword))

    def number(self, keyword: str) -> float | None:
        """First value as a float; None if it is no finite number."""
        return first(_numbers(self._values(keyword)[:1]))

    def sound_number(self, keyword: str) -> float | None:
        """The only value as a float; None if there is none. Raises HeaderError if it is no finite number."""
        values = self._values(keyword)
        numbers = _numbers(values)
        if stripped_texts(values) and len(numbers) != 1:
            raise HeaderError(f"{keyword} is no number")
        return first(numbers)

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
        return first(self.private_texts(element))

    def private_texts(self, element: Private) -> tuple[str, ...]:
        """All values of a private element as stripped text."""
        return stripped_texts(_of_vr(self._private(element), element.vr))

    def private_number(self, element: Private) -> float | None:
        """First value of a private element as a float."""
        return first(_numbers(_of_vr(self._private(element), element.vr)[:1]))

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


def first(values: tuple[T, ...]) -> T | None:
    """The first value; None if there is none."""
    return values[0] if values else None


def _integer(value: float | None) -> int | None:
    return int(value) if value is not None and abs(value) < _MOST and value == int(value) else None


def stripped_texts(values: tuple[Any, ...]) -> tuple[str, ...]:
    """Values of an element as texts without padding; empty if all of them are."""
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


def _memory_of(layers: Sequence[Layer]) -> dict[Any, Any] | None:
    """By function: what headers of these templates share. None if one of the layers has no template."""
    templates = [layer.template for layer in layers if isinstance(layer, RawLayer)]
    if not templates or len(templates) != len(layers):
        return None
    memory: dict[Any, Any] = templates[0].memory.setdefault(tuple(templates[1:]), {})
    return memory
