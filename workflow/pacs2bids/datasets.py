"""pydicom, for what ``header`` does not read by itself: unusual files, character sets, damaged sequences.

Importing this module imports pydicom, a quarter of a second: so it is imported only where it is needed.
"""

from __future__ import annotations

import struct
from collections.abc import Iterable, Sequence
from functools import lru_cache
from typing import Any, NamedTuple

import pydicom
from pydicom import config as pydicom_config
from pydicom.charset import convert_encodings, decode_bytes
from pydicom.dataset import Dataset
from pydicom.errors import BytesLengthException, InvalidDicomError
from pydicom.filereader import dcmread
from pydicom.multival import MultiValue
from pydicom.tag import BaseTag, Tag
from pydicom.uid import (
    ExplicitVRBigEndian,
    ExplicitVRLittleEndian,
    ImplicitVRLittleEndian,
)
from pydicom.values import convert_SQ

from pacs2bids.dictionary import Private, tag_of
from pacs2bids.model import HeaderError, NoInstanceError, NotDicomError
from pacs2bids.template import PIXEL_DATA, is_creator

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
DICOMDIR = "1.2.840.10008.1.3.10"  # Media Storage Directory Storage (PS3.10 section 8.6)
MULTIPLE = (MultiValue, list, tuple, pydicom.Sequence)


class DataSetLayer:
    """A data set that pydicom parsed, with its private creators looked up once. See ``header.Layer``."""

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
            value = self._stored(key)
        if value is None or value in ("", b""):
            return ()
        return tuple(value) if isinstance(value, MULTIPLE) else (value,)

    def _stored(self, key: str | BaseTag) -> bytes | None:
        """The bytes of a value that pydicom cannot convert: no number or time, but not nothing either."""
        raw = self.dataset.get_item(key)
        return raw.value if raw is not None and isinstance(raw.value, bytes) else None

    def values(self, keyword: str) -> tuple[Any, ...]:
        """Values of an element: numbers, texts or bytes."""
        return self._values(Tag(tag_of(keyword)))

    def private(self, element: Private) -> tuple[Any, ...]:
        """Values of a private element."""
        block = self._blocks().get((element.group, element.creator))
        return () if block is None else self._values(Tag(element.group, block << 8 | element.element))

    def has_creator(self, creator: str, group: int) -> bool:
        """Whether a private block is reserved for ``creator``."""
        return (group, creator) in self._blocks()

    def items(self, keyword: str) -> tuple[DataSetLayer, ...]:
        """Items of a sequence."""
        return tuple(DataSetLayer(item) for item in self.values(keyword) if isinstance(item, Dataset))

    def private_items(self, element: Private) -> tuple[DataSetLayer, ...]:
        """Items of a private sequence."""
        return tuple(DataSetLayer(item) for item in self.private(element) if isinstance(item, Dataset))

    def _blocks(self) -> dict[tuple[int, str], int]:
        if self._creators is None:
            self._creators = {
                (tag.group, _creator(self._values(tag))): tag.element
                for tag in self.dataset.keys()  # noqa: SIM118 - iterating a data set decodes every element
                if is_creator(tag)
            }
        return self._creators


def _creator(values: tuple[Any, ...]) -> str:
    value = values[0] if values else ""
    return (value.decode("latin-1") if isinstance(value, bytes) else str(value)).strip(" \0")


class DataSetFile(NamedTuple):
    """A file that pydicom parsed. ``pixels``: tag, VR, offset and length of its pixel data."""

    dataset: Dataset
    transfer_syntax_uid: str
    pixels: tuple[int, bytes, int, int] | None


def read(stream: Any, path: str) -> DataSetFile:
    """A file of any kind: big endian, deflated, without preamble, or in any way unusual.

    Raises HeaderError, naming the path, if it is not DICOM or its header is damaged; NoInstanceError for a
    DICOMDIR.
    """
    try:
        with pydicom_config.disable_value_validation():
            dataset = dcmread(stream, stop_before_pixels=True, force=_looks_bare(stream))
        kind, instance = dataset.file_meta.get("MediaStorageSOPClassUID"), dataset.get("SOPInstanceUID")
        syntax = str(dataset.file_meta.get("TransferSyntaxUID") or _guessed_syntax(dataset))
    except InvalidDicomError:
        raise NotDicomError("is not a DICOM file", where=path) from None
    except (*MALFORMED, EOFError, OSError, MemoryError) as error:
        # not the library's words: they may quote values
        raise HeaderError(f"header is damaged ({type(error).__name__})", where=path) from error
    if kind == DICOMDIR:
        raise NoInstanceError("is the directory of a medium (DICOMDIR), no instance", where=path)
    if instance is None:
        raise HeaderError("is no DICOM instance: it has no SOPInstanceUID", where=path)
    return DataSetFile(dataset, syntax, _pixels(stream, syntax))


def _looks_bare(stream: Any) -> bool:
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


def _pixels(stream: Any, syntax: str) -> tuple[int, bytes, int, int] | None:
    order = ">" if syntax == ExplicitVRBigEndian else "<"
    start = stream.tell()
    head = stream.read(12)
    if len(head) < 8:
        return None
    group, element = struct.unpack(order + "HH", head[:4])
    tag = group << 16 | element
    if tag not in PIXEL_DATA:
        return None
    explicit = head[4:6].isalpha() and head[4:6].isupper()
    size = 12 if explicit else 8
    length = struct.unpack(order + "I", head[size - 4 : size])[0]
    return tag, head[4:6] if explicit else b"", start + size, length


def flattened(dataset: Dataset, keyword: str) -> list[list[DataSetLayer]]:
    """Each item of a sequence of functional groups, followed by the single items nested in it.

    Raises HeaderError if one is damaged.
    """
    try:
        items = dataset[keyword].value if keyword in dataset else None
        return [_layers([item]) for item in items or ()]
    except (*MALFORMED, EOFError) as error:
        raise HeaderError(f"{keyword} is damaged ({type(error).__name__})") from error


def _layers(items: Iterable[Dataset]) -> list[DataSetLayer]:
    layers: list[DataSetLayer] = []
    for item in items:
        layers.append(DataSetLayer(item))
        for element in (item[tag] for tag in item.keys() if _may_nest(item, tag)):  # noqa: SIM118 - as above
            if element.VR == "SQ" and element.value is not None and len(element.value) == 1:
                layers.extend(_layers(element.value))
    return layers


def _may_nest(item: Dataset, tag: BaseTag) -> bool:
    """Whether an element is a sequence or does not tell."""
    raw = item.get_item(tag)
    return raw is not None and raw.VR in ("SQ", "UN", None)


def sequence(raw: bytes, charsets: Sequence[str], *, implicit: bool) -> tuple[DataSetLayer, ...]:
    """Items of a sequence from the bytes of its value; none if they are malformed."""
    try:
        items = convert_SQ(raw, implicit, True, list(_encodings(tuple(charsets))) or None)
    except (*MALFORMED, EOFError):
        return ()
    return tuple(DataSetLayer(item) for item in items)


def text(raw: bytes, charsets: Sequence[str]) -> str:
    """Text in the character sets that SpecificCharacterSet names (PS3.3 C.12.1.1.2)."""
    encodings = _encodings(tuple(charsets))
    if not encodings or (raw.isascii() and b"\x1b" not in raw):
        return raw.decode("latin-1")
    return decode_bytes(raw, list(encodings), {ord(mark) for mark in "\\^="})


@lru_cache(maxsize=256)
def _encodings(charsets: tuple[str, ...]) -> tuple[str, ...]:
    try:
        return tuple(convert_encodings(list(charsets))) if charsets else ()
    except LookupError:
        return ()
