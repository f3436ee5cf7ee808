"""Compressed pictures: what their code streams say of themselves, and their stored values.

imagecodecs' decoders do JPEG, JPEG-LS and JPEG 2000, pydicom's do RLE. Some decoders fill what is missing in
silence, so a stream must agree with the data set around it before it is decoded, and must have an end.

What that cannot notice is damage in the middle of a stream. JPEG and JPEG 2000 carry no check sum, libjpeg
and OpenJPEG make some picture of nearly any bits, and imagecodecs does not hand on their warnings: of 300
streams with one wrong byte, baseline and lossless JPEG give another picture for more than 290 in silence, and
so does JPEG 2000; JPEG-LS refuses 290. Against that stand the check sums of a network or an archive alone.
"""

from __future__ import annotations

import struct
import warnings
from collections.abc import Callable
from contextlib import suppress
from typing import Any

import numpy as np
from msgspec import Struct

from pacs2bids.model import ConversionError, ImageRef
from pacs2bids.volume import Notice, Pixels, stored_bits

EXPLICIT_LITTLE_ENDIAN, RLE = "1.2.840.10008.1.2.1", "1.2.840.10008.1.2.5"
JPEG = "1.2.840.10008.1.2.4."
# JPEG baseline and extended, JPEG-LS near-lossless, JPEG 2000, High-Throughput JPEG 2000 (PS3.6 table A-1)
LOSSY = frozenset(f"{JPEG}{last}" for last in (50, 51, 81, 91, 203))
ELSEWHERE = "Ask the source for Explicit VR Little Endian, or decompress the files first (gdcmconv --raw)"
# frame headers of JPEG (ISO 10918-1 table B.1; C4, C8 and CC are none) and of JPEG-LS (ISO 14495-1 table C.1)
FRAME_HEADERS = frozenset({*range(0xC0, 0xD0), 0xF7} - {0xC4, 0xC8, 0xCC})
LOSSLESS_HEADER = 0xC3
SCAN, END = b"\xff\xda", b"\xff\xd9"
SIZE = (
    b"\xff\x4f\xff\x51"  # SOC and SIZ, with which every JPEG 2000 code stream begins (ISO 15444-1 A.4, A.5)
)


class _Stated(Struct, frozen=True, kw_only=True):
    """What a code stream says of its picture. ``component_ids``, ``lossless``, ``jfif``: of JPEG alone."""

    rows: int
    columns: int
    samples: int
    bits: int
    component_ids: bytes = b""
    lossless: bool = True
    jfif: bool = False


def decompressed(code: bytes, image: ImageRef, notice: Notice) -> Pixels:
    """Stored values of one picture: compressed, or native but not in RGB. Colour comes as RGB.

    Shape (rows, columns) or (rows, columns, 3) (PS3.3 C.7.6.3.1.2). Raises ConversionError where no decoder
    fits, and where the stream is damaged, cut short, or contradicts the header.
    """
    syntax = EXPLICIT_LITTLE_ENDIAN if image.length is not None else image.transfer_syntax_uid
    try:
        values = _by_imagecodecs(code, image) if syntax in DECODERS else _by_pydicom(code, image, syntax)
    except (RuntimeError, ValueError, AttributeError, LookupError, TypeError, struct.error) as error:
        from pydicom.uid import UID  # noqa: PLC0415 - costs start-up time

        reason = " ".join(str(error).split())
        what = f"pixels in transfer syntax {UID(syntax).name} ({syntax}) cannot be decoded: {reason}"
        raise ConversionError(what, where=image.path, hint=ELSEWHERE) from error
    if image.samples_per_pixel > 1:
        return values
    return _clipped(values, image) if syntax in LOSSY else stored_bits(values, image, notice)


def _clipped(values: Pixels, image: ImageRef) -> Pixels:
    """Within the stored range: a lossy codec may err past its ends, where cut-off bits would wrap around."""
    low, count = (-(1 << image.bits_stored - 1) if image.signed else 0), 1 << image.bits_stored
    return np.clip(values, low, low + count - 1)


# ---------------------------------------------------------------------------------------------- imagecodecs


def _by_imagecodecs(code: bytes, image: ImageRef) -> Pixels:
    read, decode = DECODERS[image.transfer_syntax_uid]
    _require_end(code)
    stated = read(code)
    _require_agreement(stated, image)
    values = decode(code, stated, image)
    if values.shape[:1] == (3,) and values.ndim == 3:
        values = np.moveaxis(values, 0, -1)
    due = (image.rows, image.columns, *([image.samples_per_pixel] if image.samples_per_pixel > 1 else []))
    if values.shape != due:
        raise ValueError(f"a picture of {values.shape} where {due} is due")
    return _of_type(values, stated, image)


def _require_end(code: bytes) -> None:
    """libjpeg fills what is missing with grey, CharLS seeks it for seconds.

    Coded pixels cannot hold these bytes (ISO 10918-1 B.1.1.5, ISO 14495-1 A.1, ISO 15444-1 A.1), earlier
    segments may; what follows the end is padding.
    """
    if END not in code[max(code.rfind(SCAN), 0) :]:
        raise ValueError("its code stream is cut short (it has no end)")


def _require_agreement(stated: _Stated, image: ImageRef) -> None:
    """Before anything is decoded: an absurd size would cost as much memory."""
    found = (stated.columns, stated.rows, stated.samples)
    due = (image.columns, image.rows, image.samples_per_pixel)
    if found != due:
        how = "{} x {} pixels of {} samples"
        raise ValueError(f"its code stream has {how.format(*found)}, its header {how.format(*due)}")
    if stated.bits > image.bits_allocated:
        what = f"its code stream has samples of {stated.bits} bits, its header of {image.bits_allocated}"
        raise ValueError(what)


def _of_type(values: Pixels, stated: _Stated, image: ImageRef) -> Pixels:
    """In the type of the allocated bits. Codecs that know no sign have coded a signed value's bits alone."""
    size = values.dtype.itemsize * 8
    if image.signed and values.dtype.kind == "u":
        if stated.bits < image.bits_stored:
            what = f"its code stream has {stated.bits} bits, too few for signed values of {image.bits_stored}"
            raise ValueError(what)
        values = values.view(f"i{size // 8}")
        values = np.right_shift(np.left_shift(values, size - stated.bits), size - stated.bits)
    elif not image.signed and values.dtype.kind == "i" and values.min() < 0:
        raise ValueError("its code stream has negative values, its header (PixelRepresentation) none")
    width = next(width for width in (8, 16, 32, 64) if width >= image.bits_allocated)
    return values.astype(f"{'i' if image.signed else 'u'}{width // 8}", copy=False)


def _jpeg_stated(code: bytes) -> _Stated:
    """From the frame header of JPEG and JPEG-LS (ISO 10918-1 B.2.2); markers may be padded with 0xFF."""
    at = 2
    while code[at] == 0xFF:
        marker = code[at + 1]
        if marker in FRAME_HEADERS:
            bits, rows, columns, samples = struct.unpack_from(">BHHB", code, at + 4)
            return _Stated(
                rows=rows,
                columns=columns,
                samples=samples,
                bits=bits,
                component_ids=code[at + 10 : at + 10 + 3 * samples : 3],
                lossless=marker == LOSSLESS_HEADER,
                jfif=code[6:10] == b"JFIF",
            )
        at += 1 if marker == 0xFF else 2 + struct.unpack_from(">H", code, at + 2)[0]
    raise ValueError("its code stream has no frame header")


def _jpeg_2000_stated(code: bytes) -> _Stated:
    """From the size marker (ISO 15444-1 A.5.1), also inside the JP2 file format."""
    at = code.find(SIZE)
    if at < 0:
        raise ValueError("its code stream has no frame header")
    right, bottom, left, top = struct.unpack_from(">4I", code, at + 8)
    samples, bits = struct.unpack_from(">HB", code, at + 40)
    return _Stated(rows=bottom - top, columns=right - left, samples=samples, bits=(bits & 0x7F) + 1)


def _jpeg(code: bytes, stated: _Stated, image: ImageRef) -> Pixels:
    import imagecodecs  # noqa: PLC0415 - costs start-up time, seldom needed

    if stated.samples == 1:
        return imagecodecs.jpeg8_decode(code)
    # as pydicom decides: JFIF is never RGB, components that are called so are, else the header is believed
    named = stated.component_ids in (b"RGB", b"rgb") or image.photometric_interpretation == "RGB"
    space = "RGB" if named and not stated.jfif else "YCBCR"
    if not stated.lossless:
        return imagecodecs.jpeg8_decode(code, colorspace=space, outcolorspace="RGB")
    values = imagecodecs.jpeg8_decode(code, colorspace="RGB", outcolorspace="RGB")  # as they are
    return values if space == "RGB" else _rgb(values)


def _jpeg_ls(code: bytes, _: _Stated, image: ImageRef) -> Pixels:
    import imagecodecs  # noqa: PLC0415 - costs start-up time, seldom needed

    values = imagecodecs.jpegls_decode(code)
    return _rgb(values) if image.photometric_interpretation.startswith("YBR_FULL") else values


def _jpeg_2000(code: bytes, _: _Stated, image: ImageRef) -> Pixels:
    """OpenJPEG reads High-Throughput streams too, and undoes YBR_RCT and YBR_ICT as parts of the codec."""
    import imagecodecs  # noqa: PLC0415 - costs start-up time, seldom needed

    values = imagecodecs.jpeg2k_decode(code)
    return _rgb(values) if image.photometric_interpretation.startswith("YBR_FULL") else values


def _rgb(values: Pixels) -> Pixels:
    from pydicom.pixels.processing import convert_color_space  # noqa: PLC0415 - costs start-up time

    return convert_color_space(values, "YBR_FULL", "RGB")


Decoder = tuple[Callable[[bytes], _Stated], Callable[[bytes, _Stated, ImageRef], Pixels]]
DECODERS: dict[str, Decoder] = {
    **dict.fromkeys([f"{JPEG}{last}" for last in (50, 51, 57, 70)], (_jpeg_stated, _jpeg)),
    **dict.fromkeys([f"{JPEG}{last}" for last in (80, 81)], (_jpeg_stated, _jpeg_ls)),
    **dict.fromkeys([f"{JPEG}{last}" for last in (90, 91, 201, 202, 203)], (_jpeg_2000_stated, _jpeg_2000)),
}


# ---------------------------------------------------------------------------------------------- pydicom


def _by_pydicom(code: bytes, image: ImageRef, syntax: str) -> Pixels:
    from pydicom.encaps import encapsulate  # noqa: PLC0415 - costs start-up time, seldom needed
    from pydicom.pixels.decoders.base import get_decoder  # noqa: PLC0415

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
    stream = code if image.length is not None else encapsulate([code])
    with warnings.catch_warnings(action="ignore"):
        values, _ = get_decoder(syntax).as_array(stream, index=0, **options)
    if syntax == RLE:
        _require_no_more(code, image)
    return values


def _require_no_more(code: bytes, image: ImageRef) -> None:
    """RLE does not say its size, but a row too many contradicts the header; a byte too many is known padding.

    (pydicom, which cuts off any, learned of it in its issue 1438.) One segment tells of all (PS3.5 G.5).
    """
    import imagecodecs  # noqa: PLC0415 - costs start-up time, seldom needed

    start, end = struct.unpack_from("<4xII", code)
    with suppress(RuntimeError):  # where pydicom has found nothing amiss
        length = len(imagecodecs.packbits_decode(code[start : end or len(code)]))
        if length >= image.rows * image.columns + image.columns:
            raise ValueError(f"holds {length} bytes a segment, its header gives {image.rows * image.columns}")
