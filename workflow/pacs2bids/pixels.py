"""Stored pictures from files: plain ones in place, compressed ones through their codecs.

A loader keeps what it found of the last file, so that a compressed file of many frames is walked once and
not once a frame. It is for one thread.
"""

from __future__ import annotations

import os
import struct
import warnings
import zlib
from collections.abc import Callable
from itertools import pairwise
from pathlib import Path

import numpy as np
from msgspec import Struct, field

from pacs2bids.codecs import decompressed
from pacs2bids.model import ConversionError, ImageRef
from pacs2bids.text import AGAIN
from pacs2bids.volume import Notice, Pixels, decode

DEFLATED = "1.2.840.10008.1.2.1.99"
RLE = "1.2.840.10008.1.2.5"
ITEM = 0xFFFEE000
# the first bytes of a JPEG or JPEG-LS picture (SOI), of a JPEG 2000 one (SOC), and of the JP2 file format
STARTS = (b"\xff\xd8\xff", b"\xff\x4f\xff\x51", b"\0\0\0\x0cjP  ")
PALETTE = ["Red", "Green", "Blue"]

Span = tuple[int, int]


def pixel_loader(folder: Path, notice: Notice) -> Callable[[ImageRef], Pixels]:
    """A loader of the stored values of pictures whose paths are relative to ``folder``; colour comes as RGB.

    ``notice`` is told of pictures with bits beyond the stored ones that nothing explains.
    It raises ConversionError, naming file and transfer syntax, where pixels are cut short or no decoder fits.
    """
    return _Loader(folder, notice).load


class _Loader:
    def __init__(self, folder: Path, notice: Notice) -> None:
        self.folder, self.notice = folder, notice
        self.last: _Encapsulated | _Inflated | None = None

    def load(self, image: ImageRef) -> Pixels:
        try:
            return self._load(image)
        except OSError as error:
            raise ConversionError(f"cannot be read: {error.strerror}", where=image.path) from error

    def _load(self, image: ImageRef) -> Pixels:
        if image.length is None:
            values = decompressed(self._encapsulated(image).frame(image), image, self.notice)
        else:
            raw = self._raw(image, image.offset, image.length)
            if image.photometric_interpretation.startswith("YBR"):
                values = decompressed(raw, image, self.notice)
            else:
                values = decode(raw, image, self.notice)
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


class _Encapsulated(Struct, frozen=True, kw_only=True):
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

    A picture begins at the first bytes of a code stream, which cannot occur inside one: there, entropy coding
    never lets 0xFF be followed by such a marker. So no offset table is needed, and none that lies can harm.
    ``whole_fragments``: one fragment a picture, as in RLE (section G.2). A fragment that the file's end cuts
    off is left out.
    """
    fragments = _items(buffer)[1:]
    heads = [
        number
        for number, (start, _) in enumerate(fragments)
        if number == 0 or whole_fragments or buffer.startswith(STARTS, start)
    ]
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


# ---------------------------------------------------------------------------------------------- deflated


class _Inflated(Struct, kw_only=True):
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
