"""Reading headers: the only module that knows pydicom's datasets.

A ``Header`` is a stack of layers, first hit wins: this frame's functional groups, the groups shared by all
frames, the instance's own elements. Code above asks by keyword, or by private creator, and cannot tell a
classic image from a frame of an enhanced one.
"""

from __future__ import annotations

import math
import struct
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import Any, BinaryIO, TypeVar

import pydicom
from pydicom import config as pydicom_config
from pydicom.dataset import Dataset
from pydicom.errors import BytesLengthException, InvalidDicomError
from pydicom.filereader import dcmread
from pydicom.multival import MultiValue
from pydicom.tag import BaseTag, Tag
from pydicom.uid import DeflatedExplicitVRLittleEndian, ExplicitVRBigEndian

from pacs2bids.model import HeaderError

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

PIXEL_DATA = (0x7FE00008, 0x7FE00009, 0x7FE00010)  # float, double float, integer (PS3.5 section 8.2)
UNDEFINED_LENGTH = 0xFFFFFFFF

T = TypeVar("T")

MULTIPLE = (MultiValue, list, tuple, pydicom.Sequence)

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


class Layer:
    """One data set of a header, with its private creators looked up once."""

    __slots__ = ("_creators", "dataset")

    def __init__(self, dataset: Dataset) -> None:
        self.dataset = dataset
        self._creators: dict[tuple[int, str], int] | None = None

    def values(self, key: str | BaseTag) -> tuple[Any, ...]:
        """The values of one element, decoded when asked for; missing and malformed ones are empty."""
        if key not in self.dataset:
            return ()
        try:
            value = self.dataset[key].value
        except MALFORMED:
            return ()
        if value is None or value in ("", b""):
            return ()
        return tuple(value) if isinstance(value, MULTIPLE) else (value,)

    def private_tag(self, element: Private) -> BaseTag | None:
        """The tag under which this data set holds a private element; None if its creator has no block."""
        if self._creators is None:
            self._creators = {
                (tag.group, _first(_texts(self.values(tag))) or ""): tag.element
                for tag in self.dataset.keys()  # noqa: SIM118 - iterating a data set decodes every element
                if tag.group & 1 and 0x10 <= tag.element <= 0xFF
            }
        block = self._creators.get((element.group, element.creator))
        return None if block is None else Tag(element.group, block << 8 | element.element)


class Header:
    """Elements of one frame by keyword. A missing, empty or malformed element is None (or an empty tuple)."""

    __slots__ = ("layers",)

    def __init__(self, layers: Iterable[Layer]) -> None:
        self.layers = tuple(layers)

    @classmethod
    def of(cls, dataset: Dataset) -> Header:
        """The header of one plain data set."""
        return cls([Layer(dataset)])

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
        return tuple(Header.of(item) for item in self._values(keyword) if isinstance(item, Dataset))

    def has_private(self, creator: str, group: int) -> bool:
        """Whether a block of this creator is there."""
        return any(
            layer.private_tag(Private(creator=creator, group=group, element=0)) for layer in self.layers
        )

    def private_bytes(self, element: Private) -> bytes | None:
        """Raw value of a private element (OB, OW, UN)."""
        values = self._private(element)
        return values[0] if values and isinstance(values[0], bytes) else None

    def private_text(self, element: Private) -> str | None:
        """First value of a private element as stripped text."""
        return _first(self.private_texts(element))

    def private_texts(self, element: Private) -> tuple[str, ...]:
        """All values of a private element as stripped text."""
        return _texts(_decoded(self._private(element), element.vr))

    def private_number(self, element: Private) -> float | None:
        """First value of a private element as a float."""
        return _first(_numbers(_decoded(self._private(element), element.vr)[:1]))

    def private_numbers(self, element: Private) -> tuple[float, ...]:
        """All values of a private element as floats."""
        return _numbers(_decoded(self._private(element), element.vr))

    def private_items(self, element: Private) -> tuple[Header, ...]:
        """Items of a private sequence."""
        return tuple(Header.of(item) for item in self._private(element) if isinstance(item, Dataset))

    def _values(self, keyword: str) -> tuple[Any, ...]:
        for layer in self.layers:
            values = layer.values(keyword)
            if values:
                return values
        return ()

    def _private(self, element: Private) -> tuple[Any, ...]:
        for layer in self.layers:
            tag = layer.private_tag(element)
            values = () if tag is None else layer.values(tag)
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


def _decoded(values: tuple[Any, ...], vr: str) -> tuple[Any, ...]:
    """Values of an element whose VR the file does not know (UN), read as ``vr``."""
    if len(values) != 1 or not isinstance(values[0], bytes) or vr == "UN":
        return values
    raw = values[0]
    if vr in _BINARY:
        size = struct.calcsize(_BINARY[vr])
        count = len(raw) // size
        return struct.unpack(f"<{count}{_BINARY[vr]}", raw[: count * size])
    return tuple(raw.decode("latin-1").rstrip(" \0").split("\\"))


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
    """One DICOM file without its pixels. ``pixels`` is None where it has none."""

    dataset: Dataset
    header: Header
    transfer_syntax_uid: str
    pixels: PixelSpan | None


def parse(stream: BinaryIO, path: str) -> ParsedFile:
    """Read the header of a DICOM file (PS3.10 section 7) and find its pixels, without reading them.

    Raises HeaderError, naming ``path``, if it is not DICOM or its header is damaged.
    """
    try:
        with pydicom_config.disable_value_validation():
            dataset = dcmread(stream, stop_before_pixels=True, force=_looks_bare(stream))
    except InvalidDicomError:
        raise HeaderError("is not a DICOM file", where=path) from None
    except (*MALFORMED, EOFError, OSError) as error:
        raise HeaderError(f"header is damaged: {error}", where=path) from error
    if "SOPInstanceUID" not in dataset:
        raise HeaderError("is no DICOM instance: it has no SOPInstanceUID", where=path)
    syntax = str(getattr(dataset.file_meta, "TransferSyntaxUID", "") or _guessed_syntax(dataset))
    return ParsedFile(
        dataset=dataset,
        header=Header.of(dataset),
        transfer_syntax_uid=syntax,
        pixels=None if syntax == "" else _pixels(stream, dataset, syntax),
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
    return "1.2.840.10008.1.2" if implicit else "1.2.840.10008.1.2.1"


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
    tag = group << 16 | element
    if tag not in PIXEL_DATA:
        return None
    keyword = {PIXEL_DATA[0]: "FloatPixelData", PIXEL_DATA[1]: "DoubleFloatPixelData"}.get(tag, "PixelData")
    explicit = head[4:6].isalpha() and head[4:6].isupper()
    size = 12 if explicit else 8
    length = struct.unpack(order + "I", head[size - 4 : size])[0]
    if length == UNDEFINED_LENGTH:
        return PixelSpan(keyword=keyword, offset=None, length=None)
    return PixelSpan(keyword=keyword, offset=start + size, length=length)


# ---------------------------------------------------------------------------------------------- enhanced


def frame_headers(parsed: ParsedFile) -> Iterator[Header]:
    """One header a frame of an enhanced multi-frame instance (PS3.3 C.7.6.16), in stored order.

    Functional groups are flattened: each group's single item, and single items of sequences nested in it,
    become layers, so that EffectiveEchoTime or a vendor's private elements are found at any depth.
    """
    dataset = parsed.dataset
    shared = _layers(_sequence(dataset, "SharedFunctionalGroupsSequence")[:1])
    own = parsed.header.layers
    for item in _sequence(dataset, "PerFrameFunctionalGroupsSequence"):
        yield Header([*_layers([item]), *shared, *own])


def _layers(items: Iterable[Dataset]) -> list[Layer]:
    layers: list[Layer] = []
    for item in items:
        layers.append(Layer(item))
        for element in item:
            if element.VR == "SQ" and element.value is not None and len(element.value) == 1:
                layers.extend(_layers(element.value))
    return layers


def _sequence(dataset: Dataset, keyword: str) -> list[Dataset]:
    return list(dataset[keyword].value) if keyword in dataset and dataset[keyword].value else []
