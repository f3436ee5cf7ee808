"""Siemens: Numaris 4 (VA to VE), which keeps much in CSA headers and in mosaics, and Numaris X (XA).

Elements by creator: "SIEMENS MR HEADER" (groups 0019, 0051) and "SIEMENS CSA HEADER" (0029) before XA;
"SIEMENS MR SDS 01" (series) and "SIEMENS MR SDI 02" (image), both group 0021, since XA, in classic instances
as in functional groups. Names: the CSA header's own, which say what the numbered elements mean.
"""

from __future__ import annotations

import logging
import math
import re
from collections import Counter

from msgspec import Struct
from msgspec.structs import replace

from pacs2bids.header import Header, Private
from pacs2bids.model import Facts, HeaderError, Json, Mosaic, Vector
from pacs2bids.recalled import recall, recalled
from pacs2bids.vendors import _csa, _protocol, standard

log = logging.getLogger("pacs2bids.vendors")

_HEADER, _CSA = "SIEMENS MR HEADER", "SIEMENS CSA HEADER"
_SERIES_XA, _IMAGE_XA = "SIEMENS MR SDS 01", "SIEMENS MR SDI 02"
CREATORS: tuple[tuple[str, int], ...] = ((_CSA, 0x29), (_HEADER, 0x19), (_SERIES_XA, 0x21), (_IMAGE_XA, 0x21))

MOSAIC_IMAGES = Private(creator=_HEADER, group=0x19, element=0x0A, vr="US")
B_VALUE = Private(creator=_HEADER, group=0x19, element=0x0C, vr="IS")
GRADIENT = Private(creator=_HEADER, group=0x19, element=0x0E, vr="FD")
TABLE_POSITION_MM = Private(creator=_HEADER, group=0x19, element=0x14, vr="IS")
DWELL_TIME_NS = Private(creator=_HEADER, group=0x19, element=0x18, vr="IS")
BANDWIDTH = Private(creator=_HEADER, group=0x19, element=0x28, vr="FD")
MOSAIC_TIMES_MS = Private(creator=_HEADER, group=0x19, element=0x29, vr="FD")
COILS = Private(creator=_HEADER, group=0x51, element=0x0F, vr="LO")
PARALLEL_TEXT = Private(creator=_HEADER, group=0x51, element=0x11, vr="LO")
CSA_IMAGE = Private(creator=_CSA, group=0x29, element=0x10, vr="UN")
CSA_SERIES = Private(creator=_CSA, group=0x29, element=0x20, vr="UN")

BASELINE_XA = Private(creator=_SERIES_XA, group=0x21, element=0x10, vr="LO")
# Enhanced images lack these three of the standard's elements (C.8.3.1); the private ones say the same
SEQUENCE_XA = {
    "ScanningSequence": Private(creator=_SERIES_XA, group=0x21, element=0x5A, vr="CS"),
    "SequenceVariant": Private(creator=_SERIES_XA, group=0x21, element=0x5B, vr="CS"),
    "ScanOptions": Private(creator=_SERIES_XA, group=0x21, element=0x5C, vr="CS"),
}
IMAGE_TYPE_XA = Private(creator=_IMAGE_XA, group=0x21, element=0x75, vr="CS")
TABLE_POSITION_MM_XA = Private(creator=_IMAGE_XA, group=0x21, element=0x59, vr="IS")
PROTOCOL_XA = Private(creator=_SERIES_XA, group=0x21, element=0x19, vr="UN")
PARALLEL_TEXT_XA = Private(creator=_SERIES_XA, group=0x21, element=0x09, vr="LO")
POLARITY_XA = Private(creator=_IMAGE_XA, group=0x21, element=0x1C, vr="IS")
DWELL_TIME_NS_XA = Private(creator=_IMAGE_XA, group=0x21, element=0x42, vr="IS")
COILS_XA = Private(creator=_IMAGE_XA, group=0x21, element=0x4F, vr="LO")
TIME_AFTER_START_XA = Private(creator=_IMAGE_XA, group=0x21, element=0x04, vr="DS")
BANDWIDTH_XA = Private(creator=_IMAGE_XA, group=0x21, element=0x53, vr="FD")

# In the CSA image header only. The rest of it is repeated in (0019,xxxx), which is quicker to read, from
# VB15 on; older software has CSA alone.
_ONLY_CSA = ("PhaseEncodingDirectionPositive", "NumberOfImagesInMosaic", "SliceNormalVector")
_ALSO_CSA = ("B_value", "DiffusionGradientDirection", "BandwidthPerPixelPhaseEncode", "MosaicRefAcqTimes")

_DAY_MS = 86_400_000.0
_ECHO_TOLERANCE_S = 1e-5  # headers round to microseconds or 10 of them; echoes are a millisecond apart


class _Image(Struct, frozen=True, kw_only=True):
    """Private values of one instance, whichever generation wrote them."""

    polarity: int | None
    bandwidth_hz: float | None
    b_value: float | None
    gradient: tuple[float, ...]
    mosaic_images: int | None
    normal: tuple[float, ...]
    times_ms: tuple[float, ...]


def claims(header: Header) -> bool:
    """By Manufacturer ("SIEMENS", "Siemens", "Siemens Healthineers")."""
    return "siemens" in (header.text("Manufacturer") or "").lower()


def facts(header: Header) -> Facts:
    """Facts of one instance or enhanced frame.

    Raises HeaderError for a mosaic whose layout cannot be read: cutting it would be a guess.
    """
    same = _facts_but_time(header)
    onset = None if same.mosaic else _slice_time(header)
    return same if onset is None else replace(same, slice_time_s=onset)


@recalled
def _facts_but_time(header: Header) -> Facts:
    """What hardly varies from frame to frame, so that it is worth remembering."""
    base = standard.facts(header)
    image = _image(header)
    protocol = _protocol.read(header.private_bytes(CSA_SERIES) or header.private_bytes(PROTOCOL_XA) or b"")
    mosaic = _mosaic(header, image, protocol)
    times = _slice_times(image.times_ms, mosaic, base.repetition_time_s)
    matrix = standard.phase_matrix(header, base.phase_encoding)
    if matrix is not None and mosaic is not None:
        matrix //= mosaic.tiles_per_row
    spacing, readout = standard.echo_spacing(image.bandwidth_hz, matrix) or (None, None)
    shots = _shots(protocol, is_planar_3d=_is_planar_3d(header))
    extra = protocol.extra | recall(_extra, header) | _repetition_times(header, base, protocol)
    extra |= _echo_number(header, protocol)
    b_value = base.b_value_s_per_mm2 if image.b_value is None else image.b_value
    return replace(
        base,
        mosaic=mosaic,
        phase_encoding_positive=None if image.polarity is None else image.polarity == 1,
        slice_times_s=times,
        b_value_s_per_mm2=b_value,
        b_vector_lps=_gradient(base, image, b_value),
        measurement=protocol.measurement,
        multiband_factor=_multiband(header, times, protocol),
        effective_echo_spacing_s=spacing,
        total_readout_time_s=readout,
        bandwidth_per_pixel_phase_encode_hz=image.bandwidth_hz,
        partial_fourier=base.partial_fourier or protocol.partial_fourier,
        parallel_reduction_factor_in_plane=protocol.parallel_reduction_factor_in_plane
        or base.parallel_reduction_factor_in_plane,
        repetition_time_s=None if base.repetition_time_s is None else base.repetition_time_s * shots,
        extra=extra,
    )


def _image(header: Header) -> _Image:
    mosaic_images = header.private_number(MOSAIC_IMAGES)
    bandwidth = header.private_number(BANDWIDTH) or header.private_number(BANDWIDTH_XA)
    b_value = header.private_number(B_VALUE)
    gradient = header.private_numbers(GRADIENT)
    times = header.private_numbers(MOSAIC_TIMES_MS)
    csa = _read_csa(header)
    polarity = _numbers(csa, "PhaseEncodingDirectionPositive") or header.private_numbers(POLARITY_XA)
    images = _numbers(csa, "NumberOfImagesInMosaic")
    return _Image(
        polarity=int(polarity[0]) if polarity else None,
        bandwidth_hz=bandwidth or _first(_numbers(csa, "BandwidthPerPixelPhaseEncode")),
        b_value=b_value if b_value is not None else _first(_numbers(csa, "B_value")),
        gradient=gradient or _numbers(csa, "DiffusionGradientDirection"),
        mosaic_images=int(mosaic_images or _first(images) or 0) or None,
        normal=_numbers(csa, "SliceNormalVector"),
        times_ms=times or _numbers(csa, "MosaicRefAcqTimes"),
    )


def _read_csa(header: Header) -> dict[str, tuple[str, ...]]:
    raw = header.private_bytes(CSA_IMAGE)
    if raw is None:
        return {}
    names = _ONLY_CSA if header.has_private(_HEADER, 0x19) else _ONLY_CSA + _ALSO_CSA
    try:
        return _csa.read(raw, names)
    except HeaderError as error:
        log.warning("instance %s: %s; its private values are left out", header.text("SOPInstanceUID"), error)
        return {}


def _numbers(csa: dict[str, tuple[str, ...]], name: str) -> tuple[float, ...]:
    try:
        numbers = tuple(float(text) for text in csa.get(name, ()))
    except ValueError:
        return ()
    return numbers if all(map(math.isfinite, numbers)) else ()


def _first(values: tuple[float, ...]) -> float | None:
    return values[0] if values else None


# ---------------------------------------------------------------------------------------------- mosaic


def _is_normal(header: Header, normal: tuple[float, ...]) -> bool:
    """Whether a vector is at right angles to the picture (within a quarter of a degree), either way."""
    orientation = header.numbers("ImageOrientationPatient")
    if len(orientation) != 6 or len(normal) != 3:
        return False
    across = standard.cross(orientation[:3], orientation[3:])
    lengths = math.hypot(*across) * math.hypot(*normal)
    return abs(sum(a * b for a, b in zip(across, normal, strict=True))) > (1 - 1e-5) * lengths


def _mosaic(header: Header, image: _Image, protocol: _protocol.Protocol) -> Mosaic | None:
    """The tiling; tile n + 1 lies one slice step along SliceNormalVector from tile n.

    Checked against the slice positions of the protocol (sSliceArray.asSlice[n].sPosition) in every mosaic
    series of the corpus: tiles lie in anatomical order whatever the order of excitation. Where image
    numbering is reversed (sSliceArray.ucImageNumbTra = 1, corpus mosaic/*_HF_*) tiles run the other way, and
    SliceNormalVector already points that way; the cross product of the row and column directions would miss
    it, as it does for every sagittal mosaic.
    """
    kinds = header.texts("ImageType")
    if not _is_mosaic(header, image):
        return None
    # never SliceThickness: it leaves out the gap between slices
    step = header.sound_number("SpacingBetweenSlices") or protocol.slice_step_mm
    length = math.hypot(*image.normal)
    slices = image.mosaic_images or 0
    tiles = math.isqrt(max(slices, 1) - 1) + 1
    matrix = (header.integer("Rows") or 1, header.integer("Columns") or 1)
    whole = all(size % tiles == 0 for size in matrix) and bool(kinds) and _is_normal(header, image.normal)
    if slices < 1 or not step or len(image.normal) != 3 or length < 1e-6 or not whole:
        raise HeaderError(
            "a Siemens mosaic whose number of slices, slice normal or spacing is missing or contradictory",
            where=f"instance {header.text('SOPInstanceUID')}",
            hint="The CSA header (0029,xx10) is missing or damaged, often by de-identification: "
            "get the instance with its private elements",
        )
    x, y, z = image.normal
    return Mosaic(
        slices=slices,
        tiles_per_row=tiles,
        normal_lps=(x / length, y / length, z / length),
        slice_step_mm=step,
    )


def _is_mosaic(header: Header, image: _Image) -> bool:
    """Whether the picture is a grid of slices.

    XA30 cuts some mosaics into enhanced frames and leaves the word in ImageType
    (github.com/rordenlab/dcm2niix/issues/553); navigators of XA are mosaics with the word in private (716).
    """
    if (header.integer("NumberOfFrames") or 1) > 1:
        return False
    kinds = header.texts("ImageType")
    named = "MOSAIC" in kinds or "MOSAIC" in header.private_texts(IMAGE_TYPE_XA)
    return named or (not kinds and (image.mosaic_images or 0) > 1)


def _slice_times(
    times_ms: tuple[float, ...], mosaic: Mosaic | None, repetition_time_s: float | None
) -> tuple[float, ...] | None:
    """MosaicRefAcqTimes in s, from the first excitation; in tile order as stored.

    Two defects, both in the corpus (dcm_qa Orientation/axmb, CMRR multiband on VB17, volume 1, a single-band
    reference): times before the reference wrap round midnight (86 397 492.5 ms for -2 507.5 ms), and times
    exceed the repetition time. Those contradict RepetitionTime and are left out; volume 2 is right.
    """
    if mosaic is None or len(times_ms) < mosaic.slices:
        return None
    unwrapped = [time - _DAY_MS if time > _DAY_MS / 2 else time for time in times_ms[: mosaic.slices]]
    first = min(unwrapped)
    # clock ticks of 2.5 ms come as 1549.99999999
    times = tuple(round((time - first) / 1000, 6) for time in unwrapped)
    if max(times) == 0 or (repetition_time_s is not None and max(times) >= repetition_time_s):
        return None  # all zero: a 3-D acquisition
    return times


def _slice_time(header: Header) -> float | None:
    """Onset of one slice of a 2-D acquisition: of its first excitation, by the clock of the sequence.

    TimeAfterStart (0021,xx04) since XA, in s, else the acquisition time: two readings of one clock of 2.5 ms.
    In volume 1 of a multiband series TimeAfterStart may be that of the single-band reference (corpus
    sag/XA30, xa60/4, github.com/rordenlab/dcm2niix/issues/875); whole stacks tell. In multi-slice gradient or
    spin echoes each slice keeps its place in every repetition (corpus decubitus/2: 0 to 0.2925 s of 0.3 s);
    where slices come one after another, onsets lie beyond the repetition time and the stack leaves them out
    (corpus sag/2_gre_field_mapping: 2.0 s of 6.7 ms).
    """
    if header.text("MRAcquisitionType") != "2D":
        return None
    after_start = header.private_number(TIME_AFTER_START_XA)
    return standard.moment(header) if after_start is None else after_start


# ---------------------------------------------------------------------------------------------- the rest


def _gradient(base: Facts, image: _Image, b_value: float | None) -> Vector | None:
    if base.is_diffusion_map:
        return None
    # already in the patient frame, like (0018,9089)
    return (
        standard.direction(image.gradient, b_value)
        if image.gradient
        else ((0.0, 0.0, 0.0) if b_value == 0 else base.b_vector_lps)
    )


def _multiband(header: Header, times: tuple[float, ...] | None, protocol: _protocol.Protocol) -> int | None:
    """Slices excited at once, where the header shows more than one.

    CMRR writes it into ImageComments ("Unaliased MB3/PE3/LB") and leaves the protocol's
    lMultiBandFactor at 1 (corpus xa30/7, xa60); the product writes "p2 s3" (corpus sag/XA30); else
    simultaneous slices of a mosaic share their time.
    """
    comment = re.search(r"Unaliased MB(\d+)", header.text("ImageComments") or "")
    parallel = header.private_text(PARALLEL_TEXT) or header.private_text(PARALLEL_TEXT_XA) or ""
    found = comment or re.search(r"\bs(\d+)$", parallel)
    if found:
        return int(found[1])
    if protocol.multiband_factor:
        return protocol.multiband_factor
    counts = set(Counter(times or ()).values())
    return counts.pop() if len(counts) == 1 and counts != {1} else None


def _extra(header: Header) -> dict[str, Json]:
    dwell_ns = header.private_number(DWELL_TIME_NS) or header.private_number(DWELL_TIME_NS_XA)
    coils = header.private_text(COILS) or header.private_text(COILS_XA)
    table_mm = header.private_numbers(TABLE_POSITION_MM) or header.private_numbers(TABLE_POSITION_MM_XA)
    fields: dict[str, Json] = {
        "DwellTime": None if dwell_ns is None else dwell_ns / 1e9,
        # VB writes "T:HEA;HEP". dcm2niix's CoilString is this once more, or the coil's name since XA
        "ReceiveCoilActiveElements": None if coils is None else coils.removeprefix("T:"),
        "TablePosition": [int(value) for value in table_mm] if len(table_mm) == 3 else None,
        "NonlinearGradientCorrection": _is_distortion_corrected(header),
        "ConsistencyInfo": header.private_text(BASELINE_XA),
    }
    for name, element in SEQUENCE_XA.items():
        if not header.texts(name):
            fields[name] = "\\".join(header.private_texts(element)) or None
    return {name: value for name, value in fields.items() if value is not None}


def _echo_number(header: Header, protocol: _protocol.Protocol) -> dict[str, Json]:
    """Which of the protocol's echoes an enhanced frame is, which has no EchoNumbers (corpus xa30/8)."""
    time_ms = header.number("EffectiveEchoTime")
    if time_ms is None or len(protocol.echo_times_s) < 2:
        return {}
    near = [abs(time_ms / 1000 - time_s) < _ECHO_TOLERANCE_S for time_s in protocol.echo_times_s]
    return {"EchoNumber": near.index(True) + 1} if near.count(True) == 1 else {}


def _is_distortion_corrected(header: Header) -> bool | None:
    """Siemens's words in ImageType: DIS2D, DIS3D corrected, ND not. Enhanced images have them in private."""
    words = set(header.texts("ImageType")) | set(header.private_texts(IMAGE_TYPE_XA))
    return True if words & {"DIS2D", "DIS3D"} else False if "ND" in words else None


def _repetition_times(header: Header, base: Facts, protocol: _protocol.Protocol) -> dict[str, Json]:
    """What else BIDS calls a repetition time, where RepetitionTime (0018,0080) means that."""
    seconds = base.repetition_time_s
    if seconds is None:
        return {}
    # from shot to shot; RepetitionTime will be from volume to volume
    times: dict[str, Json] = {"RepetitionTimeExcitation": seconds} if _is_planar_3d(header) else {}
    is_inverted = header.number("InversionTime") or header.numbers("InversionTimes")
    if "ArterialSpinLabelingType" in protocol.extra or (protocol.is_turbo_flash and is_inverted):
        times["RepetitionTimePreparation"] = seconds
    return times


def _shots(protocol: _protocol.Protocol, *, is_planar_3d: bool) -> int:
    """Excitations a volume of segmented 3-D GRASE, each one RepetitionTime after the last.

    Corpus asl/PASL3D: 3.6 s and 6 segments; its 12 volumes begin 21.6 s apart.
    """
    return (protocol.segments or 1) if is_planar_3d else 1


def _is_planar_3d(header: Header) -> bool:
    planar = "EP" in header.texts("ScanningSequence") or header.text("EchoPlanarPulseSequence") == "YES"
    return planar and header.text("MRAcquisitionType") == "3D"
