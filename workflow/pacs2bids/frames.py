"""Storage forms to frames: classic, mosaic, enhanced. One row of ``FORMS`` a SOP class.

A frame is one plane with its header, its facts and a reference to its pixels. Nothing above this module
knows in which form it was stored.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable, Iterator

from msgspec import Struct
from msgspec.structs import replace

from pacs2bids import vendors
from pacs2bids.geometry import mosaic_planes
from pacs2bids.header import Header
from pacs2bids.model import Facts, ImageRef, Mosaic, Pacs2BidsError, Plane, Reason, Vector
from pacs2bids.reading import ParsedFile, frame_headers
from pacs2bids.recalled import recall


class Frame(Struct, frozen=True, kw_only=True):
    """One plane. ``tile``: its place in a mosaic, 0 otherwise; ``tile_row``/``tile_column``: first pixel.

    ``instance``: the header of the whole instance. Its identity is asked there: Philips keeps the UIDs and
    numbers of former classic images in private per-frame items (2005,140F).
    """

    header: Header
    instance: Header
    facts: Facts
    plane: Plane
    image: ImageRef
    tile: int = 0
    tile_row: int = 0
    tile_column: int = 0


class UnusableError(Pacs2BidsError):
    """An instance that gives no frames; ``reason`` goes to the leftovers."""

    def __init__(self, reason: Reason, what: str, *, where: str) -> None:
        super().__init__(what, where=where)
        self.reason = reason


Form = Callable[[ParsedFile, str], Iterator[Frame]]

MOST_CAPTURED = 100_000  # an hour of video: nothing else bounds the frames of a compressed capture


def frames_of(parsed: ParsedFile, path: str) -> list[Frame]:
    """All frames of one instance, in stored order; ``path`` is what their ``ImageRef`` will hold.

    Raises UnusableError with the reason if there are none.
    """
    sop_class = parsed.header.text("SOPClassUID") or ""
    form = FORMS.get(sop_class)
    if parsed.pixels is None or parsed.header.integer("Rows") is None:
        if form is not None:
            missing = "pixel data: the file is cut short" if parsed.pixels is None else "Rows"
            raise UnusableError(Reason.UNREADABLE, f"is an image without {missing}", where=path)
        kind = SOP_CLASSES_WITHOUT_IMAGE.get(sop_class, f"SOP class {sop_class or 'unknown'}")
        raise UnusableError(Reason.NO_IMAGE, f"holds no image ({kind})", where=path)
    if form is None:
        form = _enhanced if parsed.frames else _classic
    return list(form(parsed, path))


def _classic(parsed: ParsedFile, path: str) -> Iterator[Frame]:
    header = parsed.header
    if (header.integer("NumberOfFrames") or 1) > 1:
        what = f"has {header.integer('NumberOfFrames')} frames without functional groups"
        raise UnusableError(Reason.UNSUPPORTED, what, where=path)
    facts = recall(vendors.facts, header)
    recall(_require_numbers, header)
    if facts.mosaic is not None:
        yield from _mosaic(parsed, facts, facts.mosaic, path)
        return
    plane, image = recall(_plane, header), _image(parsed, path)
    image = replace(image, bottom_up=True) if facts.rows_reversed else image
    yield Frame(header=header, instance=header, facts=facts, plane=plane, image=image)


def _capture(parsed: ParsedFile, path: str) -> Iterator[Frame]:
    """Secondary captures: no Image Plane module is due to them (PS3.3 A.8), some have one all the same."""
    header = parsed.header
    if header.numbers("ImagePositionPatient") or header.numbers("ImageOrientationPatient"):
        yield from _classic(parsed, path)
        return
    facts, plane = recall(vendors.facts, header), recall(_unplaced, header)
    count = header.integer("NumberOfFrames") or 1
    if not 0 < count <= MOST_CAPTURED:
        raise UnusableError(Reason.UNREADABLE, f"says {count} frames", where=path)
    for image in itertools.islice(_images(parsed, path), count):
        yield Frame(header=header, instance=header, facts=facts, plane=plane, image=image)


def _mosaic(parsed: ParsedFile, facts: Facts, mosaic: Mosaic, path: str) -> Iterator[Frame]:
    header = parsed.header
    # UIH's grids have no position of their own: only that of their first tile (corpus uih)
    plane = _plane(header, position=mosaic.first_position_lps)
    image = _image(parsed, path)
    for tile, (tile_plane, row, column) in enumerate(mosaic_planes(plane, mosaic)):
        yield Frame(
            header=header,
            instance=header,
            facts=facts,
            plane=tile_plane,
            image=image,
            tile=tile,
            tile_row=row,
            tile_column=column,
        )


def _enhanced(parsed: ParsedFile, path: str) -> Iterator[Frame]:
    count = parsed.header.integer("NumberOfFrames") or 1
    headers = list(frame_headers(parsed))
    if len(headers) != count:
        what = f"says {count} frames but describes {len(headers)}"
        raise UnusableError(Reason.UNREADABLE, what, where=path)
    images = _images(parsed, path)
    for header in headers:
        yield Frame(
            header=header,
            instance=parsed.header,
            plane=recall(_sound_plane, header),
            facts=recall(vendors.facts, header),
            image=next(images),
        )


def _unplaced(header: Header) -> Plane:
    """The plane of a picture without a place in the patient: of its size, with any spacing it gives."""
    spacing = header.numbers("PixelSpacing")
    known = spacing if len(spacing) == 2 and min(spacing) > 0 else (1.0, 1.0)
    return Plane(
        position_lps=(0.0, 0.0, 0.0),
        row_cosines_lps=(1.0, 0.0, 0.0),
        column_cosines_lps=(0.0, 1.0, 0.0),
        row_spacing_mm=known[0],
        column_spacing_mm=known[1],
        rows=header.integer("Rows") or 0,
        columns=header.integer("Columns") or 0,
        placed=False,
    )


def _segmentation(parsed: ParsedFile, path: str) -> Iterator[Frame]:
    """Refused: labels may overlap, and planes without any are left out (PS3.3 C.8.20.2)."""
    del parsed
    what = "holds a segmentation (SEG): labels drawn on a scan, not a scan"
    raise UnusableError(Reason.UNSUPPORTED, what, where=path)


LARGEST_SPACING_MM = 1000  # a pixel longer than a patient is wide: the text was damaged


def _sound_plane(header: Header) -> Plane:
    _require_numbers(header)
    return _plane(header)


def _plane(header: Header, *, position: tuple[float, ...] | None = None) -> Plane:
    position = position or header.numbers("ImagePositionPatient")
    orientation = header.numbers("ImageOrientationPatient")
    spacing = header.numbers("PixelSpacing")
    for keyword, values, size in (
        ("ImagePositionPatient", position, 3),
        ("ImageOrientationPatient", orientation, 6),
        ("PixelSpacing", spacing, 2),
    ):
        if len(values) != size:
            raise UnusableError(Reason.NO_GEOMETRY, f"has no usable {keyword}", where="")
    row, column = _unit(orientation[:3]), _unit(orientation[3:])
    if row is None or column is None or abs(sum(a * b for a, b in zip(row, column, strict=True))) > 1e-2:
        what = "has direction cosines that are no right angle (ImageOrientationPatient)"
        raise UnusableError(Reason.NO_GEOMETRY, what, where="")
    if not 0 < min(spacing) <= max(spacing) < LARGEST_SPACING_MM:
        raise UnusableError(Reason.NO_GEOMETRY, f"has a PixelSpacing of {spacing}", where="")
    return Plane(
        position_lps=(position[0], position[1], position[2]),
        row_cosines_lps=row,
        column_cosines_lps=column,
        row_spacing_mm=spacing[0],
        column_spacing_mm=spacing[1],
        rows=header.integer("Rows") or 0,
        columns=header.integer("Columns") or 0,
    )


def _unit(vector: tuple[float, ...]) -> Vector | None:
    """The vector at length one: files round its components, to two decimals at worst."""
    length = math.sqrt(sum(value * value for value in vector))
    if not 0.99 < length < 1.01:
        return None
    return (vector[0] / length, vector[1] / length, vector[2] / length)


def _require_numbers(header: Header) -> None:
    """Raises where a rescale is there and is no number, or a map's is a table: values would be others."""
    header.sound_number("RescaleSlope")
    header.sound_number("RescaleIntercept")
    mapped = header.text("SOPClassUID") == PARAMETRIC_MAP and len(header.items(MAPPINGS)) == 1
    # the mapping is linear or a table, RealWorldValueLUTData (PS3.3 C.7.6.16.2.11)
    if mapped and None in (header.number("RealWorldValueSlope"), header.number("RealWorldValueIntercept")):
        what = f"has values by a table ({MAPPINGS}), which this engine cannot read"
        raise UnusableError(Reason.UNSUPPORTED, what, where="")


PARAMETRIC_MAP, MAPPINGS = "1.2.840.10008.5.1.4.1.1.30", "RealWorldValueMappingSequence"
BIG_ENDIAN = "1.2.840.10008.1.2.2"
# implicit, explicit, deflated, big endian (PS3.5 section A); others, as GE's 1.2.840.113619.5.2, order their
# bytes as they like
NATIVE = ("1.2.840.10008.1.2", "1.2.840.10008.1.2.1", "1.2.840.10008.1.2.1.99", BIG_ENDIAN)
GREYS = ("MONOCHROME1", "MONOCHROME2", "PALETTE COLOR")
COLOURS = ("RGB", "YBR_FULL", "YBR_FULL_422", "YBR_ICT", "YBR_RCT")  # the loader gives RGB of each
PRIMARIES = ("Red", "Green", "Blue")


class _Format(Struct, frozen=True, kw_only=True):
    """How the pixels of an instance are stored (PS3.3 C.7.6.3)."""

    rows: int
    columns: int
    samples: int
    planar_configuration: int
    bits_allocated: int
    bits_stored: int
    high_bit: int
    signed: bool | None  # None: the header does not say, as it need not where pixels are floats
    photometric_interpretation: str
    overlaid: bool

    @property
    def frame_bits(self) -> int:
        # YBR_FULL_422: two pixels share their colour (PS3.3 C.7.6.3.1.2)
        samples = 2 if self.photometric_interpretation == "YBR_FULL_422" else self.samples
        return self.rows * self.columns * samples * self.bits_allocated


def _format(header: Header) -> _Format:
    rows, columns = header.integer("Rows") or 0, header.integer("Columns") or 0
    allocated = header.integer("BitsAllocated") or 0
    # samples of 12 bits, two in three bytes, were allowed until 2011 (PS3.5 section 8.1.1)
    if min(rows, columns) <= 0 or allocated not in (8, 12, 16, 32, 64):
        what = f"has an image of {columns} x {rows} pixels of {allocated} bits, which this engine cannot read"
        raise UnusableError(Reason.UNSUPPORTED, what, where="")
    representation = header.integer("PixelRepresentation")
    form = _Format(
        rows=rows,
        columns=columns,
        samples=header.integer("SamplesPerPixel") or 1,
        planar_configuration=header.integer("PlanarConfiguration") or 0,
        bits_allocated=allocated,
        bits_stored=_given(header.integer("BitsStored"), allocated),
        high_bit=_given(header.integer("HighBit"), _given(header.integer("BitsStored"), allocated) - 1),
        signed=None if representation is None else representation == 1,
        photometric_interpretation=(header.text("PhotometricInterpretation") or "").upper(),
        overlaid=bool(header.number("OverlayBitPosition")),
    )
    problem = "" if representation in (0, 1, None) else f"PixelRepresentation {representation}"
    problem = problem or _unreadable(form) or _unreadable_tables(header, form)
    if problem:
        raise UnusableError(Reason.UNSUPPORTED, f"has {problem}, which this engine cannot read", where="")
    return form


def _given(value: int | None, default: int) -> int:
    return default if value is None else value


def _unreadable(form: _Format) -> str:
    """What of a format is against the standard (PS3.5 8.1.1, PS3.3 C.7.6.3) or not built; "" if fine."""
    if not 0 < form.bits_stored <= form.bits_allocated:
        return f"BitsStored {form.bits_stored} of {form.bits_allocated}"
    if not form.bits_stored - 1 <= form.high_bit < form.bits_allocated:
        return f"HighBit {form.high_bit} with BitsStored {form.bits_stored} of {form.bits_allocated}"
    colour = form.samples == 3 and form.bits_allocated == 8 and not form.signed
    if form.samples != 1 and not colour:
        return f"{form.samples} samples of {form.bits_allocated} bits a pixel"
    known = COLOURS if form.samples == 3 else GREYS
    if form.photometric_interpretation not in known:
        return f"PhotometricInterpretation {form.photometric_interpretation!r}"
    return ""


def _unreadable_tables(header: Header, form: _Format) -> str:
    """What of the tables that give pixels their values is missing or not built; "" if fine."""
    if form.photometric_interpretation == "PALETTE COLOR":
        complete = all(header.numbers(f"{name}PaletteColorLookupTableDescriptor") for name in PRIMARIES)
        if not complete or form.bits_allocated > 16 or form.signed or form.samples != 1:
            return "a colour palette against the standard"
    # no scan has one: MR and CT have a rescale at most (PS3.3 A.3.3, A.4.3, C.11.1)
    if header.items("ModalityLUTSequence"):
        return "values by a table (ModalityLUTSequence)"
    return ""


def _images(parsed: ParsedFile, path: str) -> Iterator[ImageRef]:
    """One frame after the other, without end. Raises UnusableError where there are no pixels for the next."""
    first = _image(parsed, path)
    yield first
    length = None if parsed.pixels is None else parsed.pixels.length
    bits = recall(_format, parsed.header).frame_bits
    if first.length is not None and bits != 8 * first.length:
        raise UnusableError(Reason.UNSUPPORTED, f"has frames of {bits} bits in a row", where=path)
    for frame in itertools.count(1):
        if first.length is None or length is None:
            yield replace(first, frame=frame)
        else:
            _require_frame(length, first.length, frame, path)
            yield replace(first, frame=frame, offset=first.offset + first.length * frame)


def _image(parsed: ParsedFile, path: str) -> ImageRef:
    """The first frame of an instance."""
    pixels = parsed.pixels
    if pixels is None:
        raise UnusableError(Reason.NO_IMAGE, "holds no image", where=path)
    form = recall(_format, parsed.header)
    if pixels.keyword == "PixelData" and form.bits_allocated == 64:
        what = "has integers of 64 bits, which this engine cannot read"
        raise UnusableError(Reason.UNSUPPORTED, what, where=path)
    if pixels.keyword == "PixelData" and form.signed is None:
        what = "does not tell whether its pixels are signed (PixelRepresentation)"
        raise UnusableError(Reason.UNSUPPORTED, what, where=path)
    if pixels.length is not None and parsed.transfer_syntax_uid not in NATIVE:
        what = f"has plain pixels in transfer syntax {parsed.transfer_syntax_uid}, which is unknown"
        raise UnusableError(Reason.UNSUPPORTED, what, where=path)
    big_endian = parsed.transfer_syntax_uid == BIG_ENDIAN and (form.bits_allocated > 8 or pixels.is_words)
    size = -(-form.frame_bits // 8)
    size += size % 2 if big_endian else 0
    if pixels.length is not None:
        _require_no_more(parsed.header, form, pixels.length, path)
        _require_frame(pixels.length, size, 0, path)
    return ImageRef(
        path=path,
        frame=0,
        transfer_syntax_uid=parsed.transfer_syntax_uid,
        offset=pixels.offset,
        length=None if pixels.length is None else size,
        rows=form.rows,
        columns=form.columns,
        samples_per_pixel=form.samples,
        planar_configuration=form.planar_configuration,
        bits_allocated=form.bits_allocated,
        bits_stored=form.bits_stored,
        high_bit=form.high_bit,
        signed=bool(form.signed),
        is_float=pixels.keyword != "PixelData",
        photometric_interpretation=form.photometric_interpretation,
        big_endian=big_endian,
        overlaid=form.overlaid,
    )


def _require_frame(length: int, size: int, frame: int, path: str) -> None:
    """Native pixels reach to the end of this frame."""
    need = size * (frame + 1)
    if length < need:
        what = f"is cut short: pixel data of {length} bytes where frame {frame + 1} ends at {need}"
        raise UnusableError(Reason.UNREADABLE, what, where=path)


def _require_no_more(header: Header, form: _Format, length: int, path: str) -> None:
    """Native pixels fill their element but for one byte (PS3.5 8.1.1).

    Some writers pad more; but if a whole row or column is left, Rows or Columns are wrong.
    """
    due = -(-form.frame_bits * (header.integer("NumberOfFrames") or 1) // 8)
    line = min(form.frame_bits // form.rows, form.frame_bits // form.columns) // 8
    if length - due > 1 and length - due >= line:
        what = (
            f"holds {length} bytes of pixels where Rows, Columns and its format make {due}: they contradict"
        )
        raise UnusableError(Reason.UNREADABLE, what, where=path)


# PS3.4 B.5; a class that is not here is read by what it holds
FORMS: dict[str, Form] = {
    "1.2.840.10008.5.1.4.1.1.2": _classic,  # CT
    "1.2.840.10008.5.1.4.1.1.4": _classic,  # MR
    "1.2.840.10008.5.1.4.1.1.128": _classic,  # PET
    "1.2.840.10008.5.1.4.1.1.7": _capture,  # Secondary Capture
    "1.2.840.10008.5.1.4.1.1.7.2": _capture,  # Multi-frame Grayscale Byte Secondary Capture
    "1.2.840.10008.5.1.4.1.1.7.3": _capture,  # Multi-frame Grayscale Word Secondary Capture
    "1.2.840.10008.5.1.4.1.1.7.4": _capture,  # Multi-frame True Color Secondary Capture
    "1.2.840.10008.5.1.4.1.1.2.1": _enhanced,  # Enhanced CT
    "1.2.840.10008.5.1.4.1.1.4.1": _enhanced,  # Enhanced MR
    "1.2.840.10008.5.1.4.1.1.4.3": _enhanced,  # Enhanced MR Color
    "1.2.840.10008.5.1.4.1.1.130": _enhanced,  # Enhanced PET
    "1.2.840.10008.5.1.4.1.1.2.2": _enhanced,  # Legacy Converted Enhanced CT
    "1.2.840.10008.5.1.4.1.1.4.4": _enhanced,  # Legacy Converted Enhanced MR
    "1.2.840.10008.5.1.4.1.1.128.1": _enhanced,  # Legacy Converted Enhanced PET
    PARAMETRIC_MAP: _enhanced,
    "1.2.840.10008.5.1.4.1.1.66.4": _segmentation,
    "1.2.840.10008.5.1.4.1.1.66.7": _segmentation,  # Label Map Segmentation
}

SOP_CLASSES_WITHOUT_IMAGE = {
    "1.2.840.10008.5.1.4.1.1.66": "raw data",
    "1.2.840.10008.5.1.4.1.1.4.2": "MR spectroscopy",
    "1.2.840.10008.5.1.4.1.1.11.1": "grayscale presentation state",
    "1.2.840.10008.5.1.4.1.1.11.2": "color presentation state",
    "1.2.840.10008.5.1.4.1.1.11.4": "blending presentation state",
    "1.2.840.10008.5.1.4.1.1.88.11": "basic text report",
    "1.2.840.10008.5.1.4.1.1.88.22": "enhanced report",
    "1.2.840.10008.5.1.4.1.1.88.33": "comprehensive report",
    "1.2.840.10008.5.1.4.1.1.88.67": "radiation dose report",
    "1.2.840.10008.5.1.4.1.1.104.1": "encapsulated PDF",
    "1.3.12.2.1107.5.9.1": "Siemens CSA non-image",
}
