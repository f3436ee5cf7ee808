"""What the standard's own elements say (PS3.3); every vendor module starts from these facts."""

from __future__ import annotations

import math
import re
from datetime import datetime

from pacs2bids.header import Header
from pacs2bids.model import Facts, Vector
from pacs2bids.recalled import recalled

COMPONENTS = {
    "M": "magnitude",
    "MAGNITUDE": "magnitude",
    "P": "phase",
    "PHASE": "phase",
    "PHASE MAP": "phase",
    "R": "real",
    "REAL": "real",
    "I": "imaginary",
    "IMAGINARY": "imaginary",
}

# Words of ImageType and FrameType for pictures computed from diffusion-weighted ones: the standard's
# (PS3.3 C.8.13.3.1.3, value 4 DIFFUSION_ANISO, ... ) and those that scanners write
_STANDARD_MAPS = {"FRACTIONAL_ANISO", "RELATIVE_ANISO", "VOLUME_RATIO", "DIFFUSION_ANISO", "DIFFUSION_ATTNTD"}
_SCANNER_MAPS = {"ADC", "EADC", "EXPADC", "FA", "RA", "VR", "TRACE", "TRACEW", "TENSOR", "TENSOR_B0", "COLFA"}
DIFFUSION_MAPS = frozenset(_STANDARD_MAPS | _SCANNER_MAPS)

# ASL Context (PS3.3 C.8.13.5.14, (0018,9257)) -> volume_type of BIDS's aslcontext.tsv
VOLUME_TYPES = {"CONTROL": "control", "LABEL": "label", "M_ZERO_SCAN": "m0scan"}

_PHASE_ENCODING = {"ROW": "row", "COL": "column", "COLUMN": "column"}
EPOCH = datetime(2000, 1, 1)  # any: no clock of this machine, with its summer time, counts


@recalled
def facts(header: Header) -> Facts:
    """Facts from standard elements only; phase-encoding polarity and mosaics are beyond them."""
    image_type = header.texts("FrameType") or header.texts("ImageType")
    repetition_ms = header.number("RepetitionTime")
    b_value = header.number("DiffusionBValue")
    return Facts(
        component=component(header, image_type),
        phase_encoding=phase_encoding(header),
        b_value_s_per_mm2=b_value,
        b_vector_lps=gradient(header, b_value),
        is_diffusion_map=is_diffusion_map(image_type),
        volume_type=VOLUME_TYPES.get(header.text("ASLContext") or ""),
        repetition_time_s=None if repetition_ms is None else repetition_ms / 1000,
        # the enumeration tells that some of k-space was left out, not how much (C.8.13.5.9)
        partial_fourier=1.0 if header.text("PartialFourier") == "NO" else None,
        parallel_reduction_factor_in_plane=header.number("ParallelReductionFactorInPlane"),
    )


def component(header: Header, image_type: tuple[str, ...]) -> str | None:
    """Which part of the complex signal: ComplexImageComponent, else the words of ImageType."""
    named = COMPONENTS.get((header.text("ComplexImageComponent") or "").upper())
    if named is not None:
        return named
    # the first two values are pixel and patient characteristics, never a component
    return next((COMPONENTS[word] for word in image_type[2:] if word in COMPONENTS), None)


def phase_encoding(header: Header) -> str | None:
    """Axis along which phase is encoded, from InPlanePhaseEncodingDirection."""
    return _PHASE_ENCODING.get((header.text("InPlanePhaseEncodingDirection") or "").upper())


def is_diffusion_map(image_type: tuple[str, ...]) -> bool:
    """Whether the picture was computed from diffusion-weighted ones."""
    return any(word in DIFFUSION_MAPS for word in image_type[2:])


def gradient(header: Header, b_value: float | None) -> Vector | None:
    """Gradient direction in the patient frame by the MR Diffusion macro (PS3.3 C.8.13.5.9)."""
    if header.text("DiffusionDirectionality") == "ISOTROPIC":
        return None
    return direction(header.numbers("DiffusionGradientOrientation"), b_value)


def direction(vector: tuple[float, ...], b_value: float | None) -> Vector | None:
    """``vector`` scaled to unit length; (0, 0, 0) for b = 0; None if there is none.

    A vector of length zero with b > 0 is a trace-weighted picture: its direction does not exist.
    """
    if b_value is None:
        return None
    if b_value == 0:
        return (0.0, 0.0, 0.0)
    length = math.hypot(*vector) if len(vector) == 3 else 0.0
    if length < 1e-6:
        return None
    x, y, z = vector
    return (x / length, y / length, z / length)


def along_image_axes(header: Header, vector: tuple[float, ...], b_value: float | None) -> Vector | None:
    """A gradient given along columns, rows and slices of the picture, in the patient frame.

    ``vector``: components along increasing column index, increasing row index, and their cross product.
    """
    orientation = header.numbers("ImageOrientationPatient")
    unit = direction(vector, b_value)
    if unit is None or len(orientation) != 6:
        return None if b_value else unit
    row, column = orientation[:3], orientation[3:]
    normal = cross(row, column)
    x, y, z = (unit[0] * row[axis] + unit[1] * column[axis] + unit[2] * normal[axis] for axis in range(3))
    return direction((x, y, z), b_value)


def cross(a: tuple[float, ...], b: tuple[float, ...]) -> Vector:
    """Cross product of two vectors of three."""
    return (a[1] * b[2] - a[2] * b[1], a[2] * b[0] - a[0] * b[2], a[0] * b[1] - a[1] * b[0])


def echo_spacing(bandwidth_per_pixel_hz: float | None, matrix: int | None) -> tuple[float, float] | None:
    """(effective echo spacing, total readout time) in s on a reconstructed matrix of ``matrix`` lines.

    BIDS: the readout lasts from the centre of the first effective echo to the centre of the last.
    """
    if not bandwidth_per_pixel_hz or not matrix or matrix < 2:
        return None
    spacing = 1 / (bandwidth_per_pixel_hz * matrix)
    return spacing, spacing * (matrix - 1)


def phase_matrix(header: Header, axis: str | None) -> int | None:
    """Reconstructed lines along the phase-encoding axis of the stored picture."""
    if axis is None:
        return None
    return header.integer("Columns" if axis == "row" else "Rows")


def moment(header: Header) -> float | None:
    """When this picture's acquisition began, in s since 2000: FrameAcquisitionDateTime, AcquisitionDateTime,
    or AcquisitionDate with AcquisitionTime.
    """
    date_time = header.text("FrameAcquisitionDateTime") or header.text("AcquisitionDateTime")
    if date_time is None:
        date, time = header.text("AcquisitionDate"), header.text("AcquisitionTime")
        if time is None:
            return None
        date_time = (date or "20000101") + time
    return date_time_s(date_time)


def date_time_s(text: str) -> float | None:
    """Seconds since 2000 of a DICOM date and time. None if it is not given to the second."""
    instant = date_time(text, least=14)
    return None if instant is None else (instant - EPOCH).total_seconds()


def date_time(text: str, *, least: int = 8) -> datetime | None:
    """A DICOM date and time YYYYMMDDHHMMSS.FFFFFF (DT, PS3.5 section 6.2); what is missing behind it is zero.

    The offset from UTC, if any, is left out: all of a study has one. None if there are fewer than ``least``
    digits before the fraction, or if there is no such moment.
    """
    found = _DATE_TIME.fullmatch(text)
    if found is None or len(found["whole"]) < least:
        return None
    digits, fraction = found["whole"][:14].ljust(14, "0"), (found["fraction"] or "")[:6].ljust(6, "0")
    try:
        return datetime.fromisoformat(f"{digits[:8]}T{digits[8:]}.{fraction}")
    except ValueError:
        return None


_DATE_TIME = re.compile(r"(?P<whole>[0-9]{8,})(?:\.(?P<fraction>[0-9]*))?(?:[+-].*)?")
