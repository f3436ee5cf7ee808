"""Ways to spoil a DICOM file: what disks, networks and de-identifiers do to real ones, and worse."""

from __future__ import annotations

import random
import struct
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path

import pydicom
from pydicom.dataset import Dataset
from pydicom.tag import Tag

# elements on which geometry, order and pixels hang, and what stands there when writers fail
KEYWORDS = (
    "SOPClassUID",
    "SOPInstanceUID",
    "StudyInstanceUID",
    "SeriesInstanceUID",
    "ImageType",
    "Manufacturer",
    "SeriesNumber",
    "AcquisitionNumber",
    "InstanceNumber",
    "ImagePositionPatient",
    "ImageOrientationPatient",
    "PixelSpacing",
    "SliceThickness",
    "SamplesPerPixel",
    "PhotometricInterpretation",
    "NumberOfFrames",
    "Rows",
    "Columns",
    "BitsAllocated",
    "BitsStored",
    "HighBit",
    "PixelRepresentation",
    "PlanarConfiguration",
    "RescaleSlope",
    "RescaleIntercept",
    "EchoTime",
    "EchoNumbers",
    "TemporalPositionIdentifier",
    "AcquisitionTime",
    "TransferSyntaxUID",
)
TEXTS = (
    b"0",
    b"-1",
    b"nan",
    b"inf",
    b"1e308",
    b"-1e-320",
    b"\\",
    b"\\\\\\",
    b"x",
    b"99999999999",
    b"1.2.3",
    b"",
)
NUMBERS = (0, 1, 7, 255, 0x7FFF, 0x8000, 0xFFFF)
LENGTHS = (0, 1, 3, 0x7FFFFFFF, 0xFFFFFFFE, 0xFFFFFFFF)


@dataclass(frozen=True, kw_only=True)
class Element:
    """An element of the outermost data set: offsets of its tag, of its value, and of what follows."""

    name: str
    start: int
    value: int
    end: int
    length_bytes: int


@dataclass(frozen=True, kw_only=True)
class Original:
    """A file as it was. ``header``: where its pixels begin."""

    content: bytes
    header: int
    elements: tuple[Element, ...]


@cache
def original(path: Path) -> Original:
    """Read a file, and find its elements by pydicom."""
    content = path.read_bytes()
    dataset = pydicom.dcmread(path)
    elements = [*_elements(dataset.file_meta), *_elements(dataset)]
    pixels = [one.value for one in elements if one.name in ("PixelData", "FloatPixelData")]
    return Original(content=content, header=min(pixels, default=len(content)), elements=tuple(elements))


def _elements(dataset: Dataset) -> list[Element]:
    found = []
    for tag in dataset.keys():  # noqa: SIM118 - iterating the data set would decode its elements
        raw = dataset.get_item(tag)
        if raw is None or not hasattr(raw, "value_tell") or raw.value is None or not raw.value_tell:
            continue
        is_long = raw.VR in ("OB", "OW", "OF", "OD", "SQ", "UN", "UT", "UC", "UR", None)
        before = 12 if is_long and raw.VR is not None else 8
        length = len(raw.value) if isinstance(raw.value, bytes) else raw.length
        found.append(
            Element(
                name=pydicom.datadict.keyword_for_tag(Tag(tag)) or str(tag),
                start=raw.value_tell - before,
                value=raw.value_tell,
                end=raw.value_tell + max(length, 0),
                length_bytes=4 if before == 12 or raw.VR is None else 2,
            )
        )
    return found


def mutated(source: Original, dice: random.Random) -> tuple[bytes, str]:
    """A spoilt copy, and what was done to it."""
    way = dice.choices([way for way, _ in WAYS], [weight for _, weight in WAYS])[0]
    content, done = way(source, dice)
    if dice.random() < 0.15:  # misfortunes come in pairs
        again = dice.choice([flip, blank, insert])
        content, more = again(
            Original(content=content, header=min(source.header, len(content)), elements=()), dice
        )
        done = f"{done}; {more}"
    return content, done


def _place(source: Original, dice: random.Random) -> int:
    """Mostly in the header; a header has its weightiest part in front of private blocks and pixels."""
    end = source.header if dice.random() < 0.97 else len(source.content)
    return dice.randrange(max(end, 1))


def truncate(source: Original, dice: random.Random) -> tuple[bytes, str]:
    at = _place(source, dice) if dice.random() < 0.6 else dice.randrange(len(source.content))
    return source.content[:at], f"cut at {at}"


def flip(source: Original, dice: random.Random) -> tuple[bytes, str]:
    content = bytearray(source.content)
    places = [_place(source, dice) for _ in range(dice.choice((1, 1, 2, 8)))]
    for at in places:
        if at < len(content):
            content[at] ^= 1 << dice.randrange(8)
    return bytes(content), f"bits flipped at {places}"


def blank(source: Original, dice: random.Random) -> tuple[bytes, str]:
    at, size = _place(source, dice), dice.choice((1, 4, 16, 512, 4096))
    filler = dice.choice((b"\0", b"\xff", b" ", b"A"))
    content = source.content[:at] + filler * size + source.content[at + size :]
    return content, f"{size} bytes of {filler!r} at {at}"


def insert(source: Original, dice: random.Random) -> tuple[bytes, str]:
    at, size = _place(source, dice), dice.choice((1, 2, 8, 100))
    return source.content[:at] + dice.randbytes(size) + source.content[at:], f"{size} bytes inserted at {at}"


def remove(source: Original, dice: random.Random) -> tuple[bytes, str]:
    at, size = _place(source, dice), dice.choice((1, 2, 8, 100))
    return source.content[:at] + source.content[at + size :], f"{size} bytes removed at {at}"


def length(source: Original, dice: random.Random) -> tuple[bytes, str]:
    one = dice.choice(source.elements)
    number = dice.choice((*LENGTHS, dice.randrange(1 << 16)))
    size = one.length_bytes
    said = (number & (0xFFFF if size == 2 else 0xFFFFFFFF)).to_bytes(size, "little")
    content = source.content[: one.value - size] + said + source.content[one.value :]
    return content, f"length of {one.name}: {number:#x}"


def value(source: Original, dice: random.Random) -> tuple[bytes, str]:
    """Another value of the same length."""
    one = _known(source, dice)
    size = one.end - one.value
    if size == 2:
        new = struct.pack("<H", dice.choice(NUMBERS))
    else:
        new = dice.choice((*TEXTS, dice.randbytes(8)))[:size].ljust(size)
    return source.content[: one.value] + new + source.content[one.end :], f"{one.name} is {new[:20]!r}"


def digit(source: Original, dice: random.Random) -> tuple[bytes, str]:
    """One character of a text that is a number."""
    one = _known(source, dice)
    content = bytearray(source.content)
    if one.end > one.value:
        at = dice.randrange(one.value, one.end)
        content[at] = dice.choice(b"0123456789.-\\e ")
    return bytes(content), f"a character of {one.name}"


def drop(source: Original, dice: random.Random) -> tuple[bytes, str]:
    one = _known(source, dice)
    return source.content[: one.start] + source.content[one.end :], f"no {one.name}"


def double(source: Original, dice: random.Random) -> tuple[bytes, str]:
    one = dice.choice(source.elements)
    copy = source.content[one.start : one.end][:100_000]
    return source.content[: one.end] + copy + source.content[one.end :], f"{one.name} twice"


def splice(source: Original, dice: random.Random) -> tuple[bytes, str]:
    at, other, size = _place(source, dice), _place(source, dice), dice.choice((8, 64, 1024))
    content = source.content[:at] + source.content[other : other + size] + source.content[at + size :]
    return content, f"{size} bytes of {other} at {at}"


def append(source: Original, dice: random.Random) -> tuple[bytes, str]:
    return source.content + dice.randbytes(dice.choice((1, 8, 4096))), "bytes behind the end"


def _known(source: Original, dice: random.Random) -> Element:
    known = [one for one in source.elements if one.name in KEYWORDS]
    return dice.choice(known or source.elements)


Way = Callable[[Original, random.Random], tuple[bytes, str]]
WAYS: Sequence[tuple[Way, int]] = (
    (truncate, 2),
    (flip, 4),
    (blank, 2),
    (insert, 1),
    (remove, 1),
    (length, 3),
    (value, 4),
    (digit, 3),
    (drop, 2),
    (double, 1),
    (splice, 1),
    (append, 1),
)
