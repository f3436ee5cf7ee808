"""Stored pictures from files: plain ones in place, compressed ones through pydicom's decoders.

A loader keeps what it found of the last file, so that a compressed file of many frames is walked once and
not once a frame. It is for one thread.
"""

from __future__ import annotations

import os
import struct
import warnings
import zlib
from collections.abc import Callable
from dataclasses import dataclass, field
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np

from pacs2bids.model import ConversionError, ImageRef
from pacs2bids.volume import Pixels, decode, stored_bits

DEFLATED = "1.2.840.10008.1.2.1.99"
EXPLICIT_LITTLE_ENDIAN = "1.2.840.10008.1.2.1"
RLE = "1.2.840.10008.1.2.5"
# JPEG baseline and extended, JPEG-LS near-lossless, JPEG 2000, High-Throughput JPEG 2000 (PS3.6 table A-1)
LOSSY = frozenset(f"1.2.840.10008.1.2.4.{last}" for last in (50, 51, 81, 91, 203))
ITEM, END = 0xFFFEE000, 0xFFFEE0DD
# the first bytes of a JPEG or JPEG-LS picture (SOI), of a JPEG 2000 one (SOC), and of the JP2 file format
STARTS = (b"\xff\xd8\xff", b"\xff\x4f\xff\x51", b"\0\0\0\x0cjP  ")
ELSEWHERE = "Ask the source for Explicit VR Little Endian, or decompress the files first (gdcmconv --raw)"
AGAIN = "If the source has it whole: remove the study's folder and run again"
PALETTE = ["Red", "Green", "Blue"]

Span = tuple[int, int]


def pixel_loader(folder: Path) -> Callable[[ImageRef], Pixels]:
    """A loader of the stored values of pictures whose paths are relative to ``folder``; colour comes as RGB.

    It raises ConversionError, naming file and transfer syntax, where pixels are cut short or no decoder fits.
    """
    return _Loader(folder).load


class _Loader:
    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.last: _Encapsulated | _Inflated | None = None

    def load(self, image: ImageRef) -> Pixels:
        try:
            return self._load(image)
        except OSError as error:
            raise ConversionError(f"cannot be read: {error.strerror}", where=image.path) from error

    def _load(self, image: ImageRef) -> Pixels:
        if image.length is None:
            values = decompressed(self._encapsulated(image).frame(image), image)
        else:
            raw = self._raw(image, image.offset, image.length)
            if image.photometric_interpretation.startswith("YBR"):
                values = decompressed(raw, image)
            else:
                values = decode(raw, image)
        if image.photometric_interpretation == "PALETTE COLOR":
            values = _coloured(values, self.folder / image.path, image)
        return values

    def _raw(self, image: ImageRef, offset: int, length: int) -> bytes:
        if image.transfer_syntax_uid == DEFLATED:
            return self._inflated(image).read(offset, length)
        descriptor = os.open(f"{self.folder}/{image.path}", os.O_RDONLY)
        try:
            return os.pread(descriptor, length, offset)
        finally:
            os.close(descriptor)

    def _encapsulated(self, image: ImageRef) -> _Encapsulated:
        last = self.last
        if not isinstance(last, _Encapsulated) or last.path != image.path:
            with (self.folder / image.path).open("rb") as stream:
                stream.seek(image.offset)
                buffer = stream.read()
            last = self.last = _Encapsulated(
                path=image.path,
                buffer=buffer,
                frames=frames(buffer, whole_fragments=image.transfer_syntax_uid == RLE),
            )
        return last

    def _inflated(self, image: ImageRef) -> _Inflated:
        last = self.last
        if not isinstance(last, _Inflated) or last.path != image.path:
            last = self.last = _Inflated(path=image.path, rest=_deflated(self.folder / image.path))
        return last


# ---------------------------------------------------------------------------------------------- encapsulated


@dataclass(frozen=True, slots=True, kw_only=True)
class _Encapsulated:
    """The compressed pictures of one file: each a run of fragments of ``buffer``."""

    path: str
    buffer: bytes
    frames: tuple[tuple[Span, ...], ...]

    def frame(self, image: ImageRef) -> bytes:
        if image.frame >= len(self.frames):
            what = f"is cut short: holds {len(self.frames)} compressed pictures; {image.frame + 1} are due"
            raise ConversionError(what, where=image.path, hint=AGAIN)
        return b"".join([self.buffer[start:end] for start, end in self.frames[image.frame]])


def frames(buffer: bytes, *, whole_fragments: bool = False) -> tuple[tuple[Span, ...], ...]:
    """The fragments of each picture in encapsulated pixel data (PS3.5 section A.4), as spans of ``buffer``.

    The basic offset table tells where pictures begin; where it is empty (as it is beside an extended one) a
    picture begins at the first bytes of a code stream, which cannot occur inside one: there, entropy coding
    never lets 0xFF be followed by such a marker. ``whole_fragments``: one fragment a picture, as in RLE
    (section G.2). A fragment that the file's end cuts off is left out.
    """
    items = _items(buffer)
    if len(items) < 2:
        return ()
    table, fragments = items[0], items[1:]
    # offsets count from the item of the first fragment
    places = {start - fragments[0][0]: number for number, (start, _) in enumerate(fragments)}
    offsets = np.frombuffer(buffer[slice(*table)], "<u4", (table[1] - table[0]) // 4).tolist()
    if whole_fragments:
        heads = list(range(len(fragments)))
    elif len(offsets) > 1 and places.keys() >= set(offsets):
        heads = sorted(places[offset] for offset in offsets)
    else:
        heads = [n for n, (start, _) in enumerate(fragments) if n == 0 or buffer.startswith(STARTS, start)]
    return tuple(tuple(fragments[one:other]) for one, other in pairwise([*heads, len(fragments)]))


def _items(buffer: bytes) -> list[Span]:
    items: list[Span] = []
    at = 0
    while at + 8 <= len(buffer):
        group, element, length = struct.unpack_from("<HHI", buffer, at)
        if group << 16 | element != ITEM or at + 8 + length > len(buffer):
            break
        items.append((at + 8, at + 8 + length))
        at += 8 + length
    return items


def decompressed(code: bytes, image: ImageRef) -> Pixels:
    """Stored values of one picture through pydicom's decoders: compressed, or native but not in RGB.

    Colour comes as RGB (PS3.3 C.7.6.3.1.2). Raises ConversionError.
    """
    from pydicom.pixels.decoders.base import get_decoder  # noqa: PLC0415 - costs start-up time, seldom needed
    from pydicom.uid import UID  # noqa: PLC0415

    native = image.length is not None
    syntax = UID(EXPLICIT_LITTLE_ENDIAN if native else image.transfer_syntax_uid)
    options: dict[str, Any] = {
        "number_of_frames": 1,
        "rows": image.rows,
        "columns": image.columns,
        "samples_per_pixel": image.samples_per_pixel,
        "planar_configuration": image.planar_configuration,
        "photometric_interpretation": image.photometric_interpretation,
        "bits_allocated": image.bits_allocated,
        "bits_stored": image.bits_stored,
        "pixel_representation": int(image.signed),
        "pixel_keyword": "PixelData",
        "correct_unused_bits": False,
    }
    stream = code if native else _item(b"") + _item(code)
    try:
        with warnings.catch_warnings(action="ignore"):
            values, _ = get_decoder(syntax).as_array(stream, index=0, **options)
    except (RuntimeError, ValueError, AttributeError, NotImplementedError, IndexError, TypeError) as error:
        reason = " ".join(str(error).split())
        what = f"pixels in transfer syntax {syntax.name} ({syntax}) cannot be decoded: {reason}"
        raise ConversionError(what, where=image.path, hint=ELSEWHERE) from error
    if image.samples_per_pixel > 1:
        return values
    return clipped(values, image) if syntax in LOSSY else stored_bits(values, image)


def clipped(values: Pixels, image: ImageRef) -> Pixels:
    """Within the stored range: a lossy codec may err past its ends, where cut-off bits would wrap around."""
    low, count = (-(1 << image.bits_stored - 1) if image.signed else 0), 1 << image.bits_stored
    return np.clip(values, low, low + count - 1)


def _item(content: bytes) -> bytes:
    return struct.pack("<HHI", ITEM >> 16, ITEM & 0xFFFF, len(content)) + content


# ---------------------------------------------------------------------------------------------- deflated


@dataclass(slots=True, kw_only=True)
class _Inflated:
    """The data set of a deflated file (PS3.5 section A.5), inflated as far as was asked for."""

    path: str
    rest: bytes
    data: bytearray = field(default_factory=bytearray)
    inflater: zlib._Decompress = field(default_factory=lambda: zlib.decompressobj(-zlib.MAX_WBITS))

    def read(self, offset: int, length: int) -> bytes:
        missing = offset + length - len(self.data)
        if missing > 0 and self.rest:
            try:
                self.data += self.inflater.decompress(self.rest, missing)
            except zlib.error as error:
                raise ConversionError(f"is damaged: {error}", where=self.path, hint=AGAIN) from error
            self.rest = self.inflater.unconsumed_tail
        return bytes(self.data[offset : offset + length])


def _deflated(path: Path) -> bytes:
    """What follows the file meta information: it begins with its own length (PS3.10 section 7.1)."""
    with path.open("rb") as stream:
        head = stream.read(144)
        (length,) = struct.unpack_from("<I", head, 140)
        stream.seek(144 + length)
        return stream.read()


# ---------------------------------------------------------------------------------------------- palette


def _coloured(values: Pixels, path: Path, image: ImageRef) -> Pixels:
    """RGB of a picture in PALETTE COLOR (PS3.3 C.7.6.3.1.5); NIfTI's RGB has the upper 8 of 16 bits."""
    from pydicom.filereader import dcmread  # noqa: PLC0415 - seldom needed
    from pydicom.pixels.processing import apply_color_lut  # noqa: PLC0415

    tags = [
        f"{prefix}{colour}PaletteColorLookupTable{suffix}"
        for colour in PALETTE
        for prefix, suffix in (("", "Data"), ("", "Descriptor"), ("Segmented", "Data"))
    ]
    try:
        with warnings.catch_warnings(action="ignore"):
            tables = dcmread(path, stop_before_pixels=True, specific_tags=tags)
            colours: Pixels = apply_color_lut(values, tables)
    except (ValueError, AttributeError, KeyError, IndexError, TypeError) as error:
        what = f"its colour palette cannot be read ({type(error).__name__})"
        raise ConversionError(what, where=image.path) from error
    return (colours >> 8 if colours.dtype.itemsize > 1 else colours).astype(np.uint8)
