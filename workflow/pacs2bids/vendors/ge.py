"""GE: creators GEMS_PARM_01 (group 0043), GEMS_ACQU_01 (0019), GEMS_RELA_01 (0021), GEMS_SERS_01 (0025).

What they mean: GE's DICOM conformance statements, and what GE's developers answered in
github.com/rordenlab/dcm2niix (GE/README.md; issues 163, 501, 544, 602, 635, 690, 970) and
github.com/neurolabusc/dcm_qa_ge.
"""

from __future__ import annotations

import math

from msgspec.structs import replace

from pacs2bids.header import Header, Private
from pacs2bids.model import Facts, HeaderError, Json, Vector
from pacs2bids.recalled import recalled
from pacs2bids.vendors import _ge_epi, standard
from pacs2bids.vendors._ge_epi import (
    ACQUISITION,
    ASSET,
    INTERNAL_PULSE_SEQUENCE,
    LOCATIONS,
    PARAMETERS,
    PULSE_SEQUENCE,
    RELATION,
)

_ARMS = "GEMS_IMAG_01"
CREATORS: tuple[tuple[str, int], ...] = ((PARAMETERS, 0x43), (ACQUISITION, 0x19))

DURATION_US = Private(creator=ACQUISITION, group=0x19, element=0x5A, vr="FL")
GRADIENT = tuple(
    Private(creator=ACQUISITION, group=0x19, element=element, vr="DS") for element in (0xBB, 0xBC, 0xBD)
)
TENSOR_FILE = Private(creator=ACQUISITION, group=0x19, element=0xD9, vr="DS")
UNWEIGHTED_VOLUMES = Private(creator=ACQUISITION, group=0x19, element=0xDF, vr="DS")
DIRECTIONS = Private(creator=ACQUISITION, group=0x19, element=0xE0, vr="DS")
DIFFUSION_KIND = Private(creator=RELATION, group=0x21, element=0x5A, vr="SL")
POINTS_PER_ARM = Private(creator=_ARMS, group=0x27, element=0x60, vr="FL")
NUMBER_OF_ARMS = Private(creator=_ARMS, group=0x27, element=0x61, vr="FL")
EXCITATIONS = Private(creator=_ARMS, group=0x27, element=0x62, vr="FL")
SHIMS = tuple(
    Private(creator=PARAMETERS, group=0x43, element=element, vr="SS") for element in (0x02, 0x03, 0x04)
)
COMPONENT = Private(creator=PARAMETERS, group=0x43, element=0x2F, vr="SS")
CONTENT = Private(creator=PARAMETERS, group=0x43, element=0x30, vr="SS")
B_VALUE = Private(creator=PARAMETERS, group=0x43, element=0x39, vr="IS")
PRESCAN_REUSE = Private(creator=PARAMETERS, group=0x43, element=0x95, vr="LO")
LABELLING = Private(creator=PARAMETERS, group=0x43, element=0xA3, vr="CS")
LABEL_DURATION_MS = Private(creator=PARAMETERS, group=0x43, element=0xA5, vr="IS")
TABLE = Private(creator=PARAMETERS, group=0x43, element=0xB2, vr="LO")
DEEP_LEARNING = Private(creator=PARAMETERS, group=0x43, element=0xCA, vr="LO")

_COMPONENTS = ("magnitude", "phase", "real", "imaginary")
_FIELD_MAPS = {"b0map", "b0rf", "3db0map"}
_MAGNITUDE = 2  # of CONTENT, which is 0 for the map itself
_TENSOR = 16  # of DIFFUSION_KIND: directions from a table
_B_VALUE_BIAS = 1_000_000_000  # added where one scan has several b-values (issue 602)
_UNSCALED = 0.97  # a gradient table is rounded: a vector this long has length one
_POLARITIES: dict[bool | None, str] = {True: "Unflipped", False: "Flipped"}
_LABELLING = {"PSEUDOCONTINUOUS": "PCASL", "CONTINUOUS": "CASL", "PULSED": "PASL"}


def claims(header: Header) -> bool:
    """By Manufacturer ("GE MEDICAL SYSTEMS")."""
    return (header.text("Manufacturer") or "").upper().startswith("GE")


def facts(header: Header) -> Facts:
    """Facts of one instance. Raises HeaderError where which side is left is not known."""
    same = _facts_but_time(header)
    onset = _ge_epi.slice_time(header, _ge_epi.read(header))
    return same if onset is None else replace(same, slice_time_s=onset)


@recalled
def _facts_but_time(header: Header) -> Facts:
    """What hardly varies from instance to instance, so that it is worth remembering."""
    base = standard.facts(header)
    epi = _ge_epi.read(header)
    _require_known_reversal(base, epi)
    field_map = _is_field_map(header)
    lines = standard.phase_matrix(header, base.phase_encoding)
    spacing, readout = _ge_epi.readout(header, epi, lines) or (None, None)
    positive = _ge_epi.polarity(header, epi) if base.phase_encoding else None
    b_value, b_vector = _diffusion(header, base, epi)
    return replace(
        base,
        component=None if field_map else _component(header) or base.component,
        content="fieldmap" if field_map else "reversed" if epi.reversed_rows else None,
        rows_reversed=bool(epi.reversed_rows),
        phase_encoding_positive=positive,
        b_value_s_per_mm2=b_value,
        b_vector_lps=None if base.is_diffusion_map else b_vector,
        repetition_time_s=_ge_epi.repetition_time(header, base, epi),
        multiband_factor=epi.multiband,
        effective_echo_spacing_s=spacing,
        total_readout_time_s=readout,
        parallel_reduction_factor_in_plane=epi.acceleration or base.parallel_reduction_factor_in_plane,
        extra=_extra(header, epi, positive),
    )


def _require_known_reversal(base: Facts, epi: _ge_epi.Epi) -> None:
    """Reversed volumes of epi_pepolar have been shown with phase along columns only: there the order of rows
    is reversed (dcm2niix issue 532). Along rows, left and right would be at stake: nobody has shown whether
    then columns are stored in reverse, or rows, or nothing.
    """
    if epi.reversed_rows and base.phase_encoding == "row":
        what = (
            "is a reversed volume of GE's sequence epi_pepolar with phase along rows: which side of its "
            "picture is left is not known"
        )
        raise HeaderError(what, hint="Acquire or export the two directions as series of their own")


def _component(header: Header) -> str | None:
    code = header.private_number(COMPONENT)
    return _COMPONENTS[int(code)] if code is not None and 0 <= code < len(_COMPONENTS) else None


def _is_field_map(header: Header) -> bool:
    """A map of B0 in Hz. The sequences that make one store it first and their magnitude behind it, with the
    same ImageType (issue 501); (0043,xx30) is 0 in the map and 2 in the magnitude (corpus fmap/GE).
    """
    names = (header.private_text(PULSE_SEQUENCE), header.private_text(INTERNAL_PULSE_SEQUENCE))
    if _FIELD_MAPS.isdisjoint((name or "").lower() for name in names):
        return False
    locations, number = header.private_number(LOCATIONS) or math.inf, header.integer("InstanceNumber") or 1
    return header.private_number(CONTENT) != _MAGNITUDE and number <= locations


# ---------------------------------------------------------------------------------------------- diffusion


def _diffusion(header: Header, base: Facts, epi: _ge_epi.Epi) -> tuple[float | None, Vector | None]:
    """(b-value in s/mm^2, b-vector).

    (0019,xxBB..BD) are the gradient in GE's logical axes. Where a table has several b-values, its vectors
    are scaled by the root of their share of the largest, and (0043,xx39) may say the largest for all
    (GE/README.md; dcm2niix rounds the product to tens, as the digits of a table allow no more). A vector of
    length zero in a table is b = 0 (issue 690); elsewhere it is a picture without direction.
    """
    b_value = _nominal_b_value(header, base, epi)
    vector = tuple(
        number
        for number in map(header.private_number, GRADIENT)
        if number is not None and math.isfinite(number)
    )
    if not b_value or len(vector) != 3:
        return b_value, standard.direction((), b_value)
    length = math.hypot(*vector)
    if length == 0 and header.private_number(DIFFUSION_KIND) == _TENSOR:
        b_value = 0.0
    elif 0 < length < _UNSCALED:
        b_value = round(b_value * length**2 / 10) * 10.0
    return b_value, _gradient(header, base, vector, b_value)


def _nominal_b_value(header: Header, base: Facts, epi: _ge_epi.Epi) -> float | None:
    values = header.private_numbers(B_VALUE)
    b_value = values[0] % _B_VALUE_BIAS if values and values[0] >= 0 else None
    if b_value:
        return b_value
    # every GE header holds (0043,xx39); its zero means b = 0 only in a diffusion sequence
    diffusion = base.b_value_s_per_mm2 is not None or epi.diffusion
    return (base.b_value_s_per_mm2 or b_value) if diffusion else None


def _gradient(header: Header, base: Facts, vector: tuple[float, ...], b_value: float) -> Vector | None:
    """``vector`` lies along frequency, phase and slice encoding, whatever the patient frame (GE/README.md).

    With phase along columns it is (-f, -p, s) along rows, columns and normal of an axial or sagittal slice;
    with phase along rows (-p, f, s). Coronal slices have the opposite sign of the second resp. the first.
    GE proved all six on volunteers, head first and feet first (issues 737, 970); dcm2niix 1.0.20260724 gives
    the same for each of them (corpus ge/04 with another orientation written into it).
    """
    orientation = header.numbers("ImageOrientationPatient")
    if base.phase_encoding is None or len(orientation) != 6:
        return None
    normal = [abs(value) for value in standard.cross(orientation[:3], orientation[3:])]
    phase = 1 if normal[1] == max(normal) else -1
    frequency_, phase_, slice_ = vector
    if base.phase_encoding == "column":
        along = (-frequency_, phase * phase_, slice_)
    else:
        along = (phase * phase_, frequency_, slice_)
    return standard.along_image_axes(header, along, b_value)


# ---------------------------------------------------------------------------------------------- the rest


def _extra(header: Header, epi: _ge_epi.Epi, positive: bool | None) -> dict[str, Json]:
    """Not TriggerDelayTime: what dcm2niix writes there is the TriggerTime of one slice, no delay."""
    sequence = epi.sequence or None
    duration_us = header.private_number(DURATION_US)
    asset = header.private_numbers(ASSET)
    shims = [header.private_number(element) for element in SHIMS]
    learning = header.private_texts(DEEP_LEARNING)
    fields: dict[str, Json] = {
        "SequenceName": sequence,
        "PulseSequenceDetails": sequence,
        "InternalPulseSequenceName": header.private_text(INTERNAL_PULSE_SEQUENCE),
        "AcquisitionDuration": round(duration_us / 1e6, 6) if duration_us else None,
        "ParallelReductionFactorOutOfPlane": round(1 / asset[1], 4) if asset[1:] and asset[1] > 0 else None,
        "PhaseEncodingPolarityGE": _POLARITIES.get(positive),
        "ShimSetting": None if None in shims else list(shims),
        "PrescanReuseString": header.private_text(PRESCAN_REUSE),
        "TablePosition": _table_position(header),
        "DeepLearning": True if learning else None,
        "DeepLearningDetails": "\\".join(learning) or None,
        "Units": "Hz" if _is_field_map(header) else None,
    }
    fields |= _diffusion_extra(header, epi) | _labelling_extra(header)
    return {name: value for name, value in fields.items() if value is not None}


def _table_position(header: Header) -> list[Json] | None:
    """[0, 0, z] in mm: the third value of (0043,xxB2) is where the table is, relative to the landmark."""
    values = header.private_texts(TABLE)
    try:
        return [0.0, 0.0, float(values[2])]
    except (IndexError, ValueError):
        return None


def _diffusion_extra(header: Header, epi: _ge_epi.Epi) -> dict[str, Json]:
    if not epi.diffusion:
        return {}
    counts = {
        "NumberOfDiffusionDirectionGE": header.private_number(DIRECTIONS),
        "NumberOfDiffusionT2GE": header.private_number(UNWEIGHTED_VOLUMES),
        "TensorFileNumberGE": header.private_number(TENSOR_FILE),
    }
    fields: dict[str, Json] = {name: int(count) for name, count in counts.items() if count and count > 0}
    return fields | {"DiffGradientCyclingGE": _ge_epi.diffusion_cycling(header)}


def _labelling_extra(header: Header) -> dict[str, Json]:
    """Arterial spin labelling (GE/README.md): InversionTime is the delay after labelling."""
    kind = header.private_text(LABELLING)
    if kind is None:
        return {}
    duration_ms, delay_ms = header.private_number(LABEL_DURATION_MS), header.number("InversionTime")
    return {
        "ArterialSpinLabelingType": _LABELLING.get(kind.upper()),
        "LabelingDuration": duration_ms / 1000 if duration_ms else None,
        "PostLabelingDelay": delay_ms / 1000 if delay_ms else None,
        "NumberOfPointsPerArm": header.private_number(POINTS_PER_ARM),
        "NumberOfArms": header.private_number(NUMBER_OF_ARMS),
        "NumberOfExcitations": header.private_number(EXCITATIONS),
    }
