"""GE: creators GEMS_PARM_01 (group 0043), GEMS_ACQU_01 (0019), GEMS_RELA_01 (0021), GEMS_SERS_01 (0025).

What they mean: GE's DICOM conformance statements, and what GE's developers answered in
github.com/rordenlab/dcm2niix (GE/README.md; issues 163, 544, 602, 933) and github.com/neurolabusc/dcm_qa_ge.
"""

from __future__ import annotations

import math
import re
import struct
import zlib
from dataclasses import dataclass, replace
from functools import lru_cache

from pacs2bids.header import Header, Private
from pacs2bids.model import Facts, Json, Vector
from pacs2bids.vendors import standard

_PARAMETERS, _ACQUISITION = "GEMS_PARM_01", "GEMS_ACQU_01"
CREATORS: tuple[tuple[str, int], ...] = ((_PARAMETERS, 0x43), (_ACQUISITION, 0x19))

PULSE_SEQUENCE = Private(creator=_ACQUISITION, group=0x19, element=0x9C, vr="LO")
INTERNAL_PULSE_SEQUENCE = Private(creator=_ACQUISITION, group=0x19, element=0x9E, vr="LO")
GRADIENT = tuple(
    Private(creator=_ACQUISITION, group=0x19, element=element, vr="DS") for element in (0xBB, 0xBC, 0xBD)
)
LOCATIONS = Private(creator="GEMS_RELA_01", group=0x21, element=0x4F, vr="SS")
ACQUISITIONS = Private(creator="GEMS_SERS_01", group=0x25, element=0x11, vr="SS")
PROTOCOL_BLOCK = Private(creator="GEMS_SERS_01", group=0x25, element=0x1B)
USER_DATA = Private(creator=_PARAMETERS, group=0x43, element=0x2A)
ECHO_SPACING_US = Private(creator=_PARAMETERS, group=0x43, element=0x2C, vr="SS")
COMPONENT = Private(creator=_PARAMETERS, group=0x43, element=0x2F, vr="SS")
B_VALUE = Private(creator=_PARAMETERS, group=0x43, element=0x39, vr="IS")
GROUP_DELAY_S = Private(creator=_PARAMETERS, group=0x43, element=0x7C, vr="FL")
ASSET = Private(creator=_PARAMETERS, group=0x43, element=0x83, vr="DS")
MULTIBAND = Private(creator=_PARAMETERS, group=0x43, element=0xB6, vr="LO")

_COMPONENTS = ("magnitude", "phase", "real", "imaginary")
_B_VALUE_BIAS = 1_000_000_000  # added where one scan has several b-values (issue 602)
_PHASE_FLIPPED = 4  # bit of dacq_ctrl


@dataclass(frozen=True, slots=True, kw_only=True)
class _Epi:
    """What is needed of an echo-planar header, read once."""

    sequence: str
    options: tuple[str, ...]
    matrix: int | None
    acceleration: float | None
    acquisitions: int  # passes that make one volume
    multiband: int | None
    protocol: dict[str, str]


def claims(header: Header) -> bool:
    """By Manufacturer ("GE MEDICAL SYSTEMS")."""
    return (header.text("Manufacturer") or "").upper().startswith("GE")


def facts(header: Header) -> Facts:
    """Facts of one instance."""
    base = standard.facts(header)
    epi = _epi(header, base)
    b_value = _b_value(header)
    spacing, readout = _readout(header, epi) or (None, None)
    return replace(
        base,
        component=_component(header) or base.component,
        phase_encoding_positive=_polarity(header, base, epi),
        slice_time_s=_slice_time(header, epi),
        b_value_s_per_mm2=b_value,
        b_vector_lps=None if base.is_diffusion_map else _gradient(header, base, b_value),
        repetition_time_s=_repetition_time(header, base, epi),
        multiband_factor=epi.multiband,
        effective_echo_spacing_s=spacing,
        total_readout_time_s=readout,
        parallel_reduction_factor_in_plane=epi.acceleration or base.parallel_reduction_factor_in_plane,
        extra=_extra(header),
    )


def _epi(header: Header, base: Facts) -> _Epi:
    asset = header.private_numbers(ASSET)
    multiband = header.private_texts(MULTIBAND)[:1]
    bands = int(multiband[0]) if multiband and multiband[0].isdecimal() else 0
    return _Epi(
        sequence=header.private_text(PULSE_SEQUENCE) or "",
        options=header.texts("ScanOptions"),
        matrix=standard.phase_matrix(header, base.phase_encoding),
        # the reciprocal of the factor is stored
        acceleration=round(1 / asset[0], 4) if asset and asset[0] > 0 else None,
        acquisitions=int(header.private_number(ACQUISITIONS) or 1),
        multiband=bands if bands > 1 else None,
        protocol=_protocol(header.private_bytes(PROTOCOL_BLOCK) or b""),
    )


def _component(header: Header) -> str | None:
    code = header.private_number(COMPONENT)
    return _COMPONENTS[int(code)] if code is not None and 0 <= code < len(_COMPONENTS) else None


def _extra(header: Header) -> dict[str, Json]:
    sequence = header.private_text(PULSE_SEQUENCE)
    internal = header.private_text(INTERNAL_PULSE_SEQUENCE)
    fields: dict[str, Json] = {
        "SequenceName": sequence,
        "PulseSequenceDetails": sequence,
        "InternalPulseSequenceName": internal,
    }
    return {name: value for name, value in fields.items() if value is not None}


# ---------------------------------------------------------------------------------------------- diffusion


def _b_value(header: Header) -> float | None:
    standard_b = header.number("DiffusionBValue")
    values = header.private_numbers(B_VALUE)
    b_value = values[0] % _B_VALUE_BIAS if values and values[0] >= 0 else None
    if b_value:
        return b_value
    # every GE header holds (0043,xx39); its zero means b = 0 only in a diffusion sequence
    diffusion = standard_b is not None or header.private_text(INTERNAL_PULSE_SEQUENCE) == "EPI2"
    return (standard_b or b_value) if diffusion else None


def _gradient(header: Header, base: Facts, b_value: float | None) -> Vector | None:
    """(0019,xxBB..BD): along frequency, phase and slice encoding, whatever the patient frame (GE/README.md).

    Verified where phase is encoded along columns, so that frequency runs along rows (corpus ge/01, ge/04:
    b-vectors of dcm2niix): there (x, y, -z) of the image axes, up to the sign of the whole, which diffusion
    weighting does not have; (-x, -y, z) is what dcm2niix writes. Along rows nobody has verified it: unknown.
    """
    if not b_value:
        return standard.direction((), b_value)
    numbers = [header.private_number(element) for element in GRADIENT]
    vector = [number for number in numbers if number is not None]
    if len(vector) != 3 or base.phase_encoding != "column":
        return None
    return standard.along_image_axes(header, (-vector[0], -vector[1], vector[2]), b_value)


# ---------------------------------------------------------------------------------------------- echo-planar


def _readout(header: Header, epi: _Epi) -> tuple[float, float] | None:
    """(effective echo spacing, total readout time) in s.

    GE gives the time between acquired echoes (0043,xx2C). Lines acquired: matrix over acceleration, rounded
    up to an even number, or to a multiple of four with partial Fourier (GE/README.md, Total Readout Time).
    """
    spacing_us = header.private_number(ECHO_SPACING_US)
    lines = max(header.numbers("AcquisitionMatrix")[2:], default=0.0)
    if not spacing_us or not lines or epi.matrix is None or epi.matrix < 2 or "EPI_GEMS" not in epi.options:
        return None
    multiple = 4 if {"PFF", "PFP"} & set(epi.options) else 2
    acquired = math.ceil(lines / (epi.acceleration or 1) / multiple) * multiple
    readout = (acquired - 1) * spacing_us / 1e6
    return readout / (epi.matrix - 1), readout


def _repetition_time(header: Header, base: Facts, epi: _Epi) -> float | None:
    """From volume to volume, in s. RepetitionTime is that of one pass, without the pause after a volume.

    The pause: group delay of "epiRT" (corpus ge/SliceTimingRT), DELACQ of multiphase (ge/SliceTimingMPh).
    Multiphase may need several passes a volume (corpus trt/10, trt/12): its trigger times agree. Where
    delays vary from volume to volume ("MPhVar", ge/SliceTimingMPh/5) there is no such time.
    """
    repetition = base.repetition_time_s
    if repetition is None or "EPI_GEMS" not in epi.options:
        return repetition
    if "MP_GEMS" not in epi.options:
        return round(repetition + (header.private_number(GROUP_DELAY_S) or 0.0), 6)
    if "MPhVar" in epi.protocol.get("IOPT", ""):
        return None
    pause = epi.protocol.get("DELACQ", "")  # "Minimum", or seconds
    seconds = float(pause) if re.fullmatch(r"\d+(\.\d+)?", pause) else 0.0
    return round(repetition * max(epi.acquisitions, 1) + seconds, 6)


def _polarity(header: Header, base: Facts, epi: _Epi) -> bool | None:
    """Whether phase is encoded towards increasing row index; None except for echo-planar along columns.

    Unflipped runs towards increasing row index. RectilinearPhaseEncodeReordering says it from release 27
    on. Before: k-space is traversed bottom-up or top-down (VIEWORDER of the protocol) and the gradient may be
    flipped (dacq_ctrl of the raw header, a copy of which lies in (0043,xx2A)); one of both flips it, neither
    alone tells (issue 163). Agrees with dcm2niix on all 22 such series of the corpus.
    """
    if "EPI_GEMS" not in epi.options or base.phase_encoding != "column" or "pepolar" in epi.sequence:
        return None  # research pepolar sequences change polarity from volume to volume (corpus polar)
    order = header.text("RectilinearPhaseEncodeReordering")
    if order in ("LINEAR", "REVERSE_LINEAR"):
        return order == "REVERSE_LINEAR"
    control = _acquisition_control(header.private_bytes(USER_DATA) or b"")
    view_order = epi.protocol.get("VIEWORDER")
    if control is None or view_order not in ("0", "1"):
        return None
    flipped = (view_order == "1") != bool(control & _PHASE_FLIPPED)
    return not flipped


def _acquisition_control(user_data: bytes) -> int | None:
    """dacq_ctrl of the raw header that (0043,xx2A) embeds, in its layout of releases 26 to 30.

    The header's offset is the 32-bit number at byte 24; the header starts with its version and holds the
    logo "GE" at byte 110, file contents, lock mode, then dacq_ctrl (rdbm.h).
    """
    try:
        (start,) = struct.unpack_from("<I", user_data, 24)
        logo, control = struct.unpack_from("<10s4xH", user_data, start + 110)
    except struct.error:
        return None
    return int(control) if logo.startswith(b"GE") else None


def _slice_time(header: Header, epi: _Epi) -> float | None:
    """Onset of this slice within its volume, in s from a fixed origin; None where GE does not say.

    "epi" with multiphase writes the end of the slice's slot into TriggerTime (wrong with multiband before
    release 28: dcm2niix issue 336). "epiRT" does not; its slots follow from the order of excitation in the
    protocol. Diffusion ("epi2") excites slices that are later thrown away (issue 933): unknown.
    """
    if "EPI_GEMS" not in epi.options:
        return None
    if "MP_GEMS" in epi.options:
        trigger_ms = header.number("TriggerTime")
        known = epi.multiband is None or _release(header) >= 28
        return trigger_ms / 1000 if trigger_ms and known else None
    if epi.sequence == "epiRT" and epi.acquisitions == 1:
        return _slot_time(header, epi)
    return None


def _slot_time(header: Header, epi: _Epi) -> float | None:
    number, locations = header.integer("InstanceNumber"), header.private_number(LOCATIONS)
    repetition_ms = header.number("RepetitionTime")
    interleaved = {"0": False, "1": True}.get(epi.protocol.get("SLICEORDER", ""))
    if not number or not locations or locations < 0 or repetition_ms is None or interleaved is None:
        return None
    bands = epi.multiband or 1
    excitations = int(locations) // bands
    if excitations * bands != locations:
        return None
    if bands > 1 and interleaved and excitations % 2 == 0 and _release(header) < 28:
        return None  # the remedy for cross-talk changed between releases (issue 544)
    index = (number - 1) % int(locations) % excitations
    slot = _slot(index, excitations, swap=bands > 1) if interleaved else index
    return slot * repetition_ms / 1000 / excitations


def _slot(index: int, excitations: int, *, swap: bool) -> int:
    """When slice ``index`` is excited if even slices come first, then odd ones.

    ``swap``: with multiband and an even number of excitations the last two change places, which keeps the
    neighbours at the band's border apart (issue 544; RTIA timer of corpus ge/SliceTiming/10 agrees).
    """
    slot = index // 2 if index % 2 == 0 else (excitations + 1) // 2 + index // 2
    if swap and excitations > 2 and excitations % 2 == 0:
        return {excitations - 1: excitations - 2, excitations - 2: excitations - 1}.get(slot, slot)
    return slot


def _release(header: Header) -> int:
    """Software release as a number: 28 of "DV28.0_R02", "MR28.1", "RX28.0"; 0 if it is not there."""
    found = re.search(r"(?:DV|MR|RX)(\d\d)\.", "\\".join(header.texts("SoftwareVersions")))
    return int(found[1]) if found else 0


@lru_cache(maxsize=16)
def _protocol(block: bytes) -> dict[str, str]:
    """The protocol data block: a gzip stream after four bytes of length, of lines KEY "value".

    One a series, the same in each of its instances: kept for the last few distinct ones.
    """
    start = block.find(b"\x1f\x8b")
    if start < 0:
        return {}
    try:
        text = zlib.decompressobj(31).decompress(block[start:], 1 << 20).decode("latin-1")
    except zlib.error:
        return {}
    lines = (line.partition(" ") for line in text.splitlines())
    return {key: value.strip().strip('"') for key, _, value in lines if value}
