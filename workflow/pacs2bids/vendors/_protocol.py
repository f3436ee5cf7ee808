"""The Siemens measurement protocol ("ASCCONV"), a text of ``key = value`` lines inside a private element.

It is the same bytes in every instance of a series, and longer than the rest of the header, so what is read
from it is kept for the last few distinct byte strings: one parse a series, afterwards a hash and a compare.
"""

from __future__ import annotations

import math
import re
from functools import lru_cache

from msgspec import Struct, field

from pacs2bids.model import Json

_BEGIN, _END = b"### ASCCONV BEGIN", b"### ASCCONV END"

# sKSpace.ucPhasePartialFourier: SEQ::PF_HALF 1, PF_5_8 2, PF_6_8 4, PF_7_8 8, PF_OFF 16
_PARTIAL_FOURIER = {1: 4 / 8, 2: 5 / 8, 4: 6 / 8, 8: 7 / 8, 16: 1.0}
_COMBINATION = {1: "Sum of Squares", 2: "Adaptive Combine"}
_DIFFUSION_SCHEME = {1: "Bipolar", 2: "Monopolar"}
# sPat.ucPATMode. dcm2niix writes it as MatrixCoilMode too, with "SENSE" for 1, which is no acceleration: the
# mode of the coil matrix (BIDS) is another thing, and left out
_PARALLEL = {2: "GRAPPA", 4: "SENSE"}

_FAIR_QII, _PSEUDO_CONTINUOUS = 4, 32  # sAsl.ulMode (corpus asl/PASL3D, xa30i/20001)
_RF_BLOCK_S = 0.0184  # ep2d_pcasl labels in blocks of 20 pulses of 0.56 ms with gaps of 0.36 ms

_UUID = re.compile(r"[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}")
_MP2RAGE_CONTRASTS = 2  # inversion contrasts
_OFFSETS = ("lOffsetX", "lOffsetY", "lOffsetZ")
_SECOND_ORDER = 5  # shim channels after the three linear ones


class Protocol(Struct, frozen=True, kw_only=True):
    """What the protocol says. ``extra``: sidecar fields by dcm2niix's names, in BIDS units.

    ``slice_step_mm``: between the centres of its first two slices. ``segments``: shots a volume, where they
    alone make it. ``is_turbo_flash``: of MPRAGE's family, where RepetitionTime is from one preparation to the
    next. ``echo_times_s``: of all echoes, in their order. ``measurement``: UUID of the scan, in lower case.
    """

    slice_step_mm: float | None = None
    multiband_factor: int | None = None  # above 1
    echo_times_s: tuple[float, ...] = ()
    measurement: str | None = None
    segments: int | None = None
    is_turbo_flash: bool = False
    partial_fourier: float | None = None
    parallel_reduction_factor_in_plane: float | None = None
    extra: dict[str, Json] = field(default_factory=dict)


@lru_cache(maxsize=16)
def read(raw: bytes) -> Protocol:
    """The protocol inside a CSA series header, or inside (0021,xx19) of XA; empty if there is none."""
    values = _lines(raw)
    if not values:
        return Protocol()
    extra = _extra(values) | _labelling(values)
    bands = _integer(values, "sSliceAcceleration.lMultiBandFactor") or 1
    return Protocol(
        slice_step_mm=_slice_step_mm(values),
        multiband_factor=bands if bands > 1 else None,
        # of GRASE one train of echoes covers all partitions, and segments share the lines; of 3-D EPI not so
        segments=_integer(values, "sFastImaging.lSegments") if "tgse" in _sequence(values) else None,
        is_turbo_flash=_sequence(values).startswith("tfl"),
        partial_fourier=_PARTIAL_FOURIER.get(_integer(values, "sKSpace.ucPhasePartialFourier") or 0),
        parallel_reduction_factor_in_plane=_number(values, "sPat.lAccelFactPE"),
        echo_times_s=_echo_times_s(values),
        measurement=_measurement(values),
        extra={name: value for name, value in extra.items() if value is not None},
    )


def _measurement(values: dict[str, str]) -> str | None:
    """What CMRR's sequences call one scan: "<UUID>||Sequence: R017 ..." (CMRR-C2P/MB#389)."""
    match = _UUID.match(values.get("sWipMemBlock.tFree", "").lower())
    return match[0] if match else None


def _lines(raw: bytes) -> dict[str, str]:
    begin = raw.find(_BEGIN)
    end = raw.find(_END, begin)
    if begin < 0 or end < 0:
        return {}
    values: dict[str, str] = {}
    for line in raw[begin:end].decode("latin-1").splitlines():
        key, separator, value = line.partition("=")
        if separator:
            # VB quotes strings twice; a comment may follow a number
            values.setdefault(key.strip(), value.split("#")[0].strip().strip('"'))
    return values


def _extra(values: dict[str, str]) -> dict[str, Json]:
    spacing_us = _number(values, "sFastImaging.lEchoSpacing")
    delay_us = _number(values, "lDelayTimeInTR")
    return {
        "BaseResolution": _integer(values, "sKSpace.lBaseResolution"),
        "PhaseResolution": _number(values, "sKSpace.dPhaseResolution"),
        "PhaseOversampling": _number(values, "sKSpace.dPhaseOversamplingForDialog"),
        "ProtocolName": values.get("tProtocolName", "").replace(" ", "") or None,
        "ShimSetting": _shims(values),
        "TxRefAmp": _number(values, "sTXSPEC.asNucleusInfo[0].flReferenceAmplitude"),
        "ReceiveCoilName": _coil(values),
        "PulseSequenceDetails": values.get("tSequenceFileName"),
        "ConsistencyInfo": values.get("sProtConsistencyInfo.tMeasuredBaselineString")
        or values.get("sProtConsistencyInfo.tBaselineString"),
        "CoilCombinationMethod": _COMBINATION.get(_integer(values, "ucCoilCombineMode") or 0),
        "ParallelAcquisitionTechnique": _PARALLEL.get(_integer(values, "sPat.ucPATMode") or 0),
        "ParallelReductionFactorOutOfPlane": _number(values, "sPat.lAccelFact3D"),
        "PartialFourierDirection": _partial_fourier_direction(values),
        # excitations after each inversion (github.com/rordenlab/dcm2niix/pull/1031)
        "NumberShots": _integer(values, "sFastImaging.lTurboFactor")
        if _integer(values, "lInvContrasts") == _MP2RAGE_CONTRASTS
        else None,
        "RefLinesPE": _integer(values, "sPat.lRefLinesPE"),
        "DiffusionScheme": _DIFFUSION_SCHEME.get(_integer(values, "sDiffusion.dsScheme") or 0)
        if "sDiffusion.lDiffDirections" in values or "sDiffusion.alBValue[0]" in values
        else None,
        "VendorReportedEchoSpacing": None if spacing_us is None else spacing_us / 1e6,
        "DelayTime": None if not delay_us else delay_us / 1e6,
    }


def _partial_fourier_direction(values: dict[str, str]) -> str | None:
    """In the words of (0018,9036); None if no lines, or nobody knows which, were left out."""
    keys = ("sKSpace.ucPhasePartialFourier", "sKSpace.ucSlicePartialFourier")
    phase, slices = (_PARTIAL_FOURIER.get(_integer(values, key) or 0, 1.0) < 1 for key in keys)
    return {(True, False): "PHASE", (False, True): "SLICE_SELECT", (True, True): "COMBINATION"}.get(
        (phase, slices)
    )


def _sequence(values: dict[str, str]) -> str:
    r"""Name of the sequence, in lower case: "tgse_pasl" of "%SiemensSeq%\\tgse_pasl"."""
    return values.get("tSequenceFileName", "").replace("\\", "/").rpartition("/")[2].lower()


def _echo_times_s(values: dict[str, str]) -> tuple[float, ...]:
    """Of as many echoes as there are contrasts; entries beyond them are left from other protocols."""
    contrasts = _integer(values, "lContrasts") or 0
    found = [_number(values, f"alTE[{echo}]") for echo in range(min(contrasts, len(values)))]
    times = [time_us / 1e6 for time_us in found if time_us is not None]
    return tuple(times) if len(times) == contrasts else ()


# ---------------------------------------------------------------------------------------------- labelling


def _labelling(values: dict[str, str]) -> dict[str, Json]:
    """Arterial spin labelling, in BIDS's terms; what the sequence does not surely say is left out.

    Delays that vary from volume to volume are left out: the protocol does not say which volume has which.
    """
    name, mode = _sequence(values), _integer(values, "sAsl.ulMode")
    if "pcasl" in name:
        # the pulse blocks of ep2d_pcasl are documented (dcm2niix BIDS/README.md), those of others are not
        return {"ArterialSpinLabelingType": "PCASL"} | (_pcasl_2d(values) if "ep2d_pcasl" in name else {})
    if name in ("ep2d_pasl", "tgse_pasl"):
        return _pulsed(values, is_fair_qii=mode == _FAIR_QII)
    if "asl" in name and mode == _PSEUDO_CONTINUOUS:
        return {
            "ArterialSpinLabelingType": "PCASL",
            "LabelingDuration": _seconds(values, "sAsl.ulLabelingDuration"),
            "PostLabelingDelay": _post_labelling_delay(values),
        }
    return {}


def _pulsed(values: dict[str, str], *, is_fair_qii: bool) -> dict[str, Json]:
    """Siemens's own pulsed sequences: alTI[0] is the length of the bolus, alTI[2] the inversion time."""
    one_delay = _integer(values, "sAsl.ulArrayLength") in (None, 1)
    inversion_s = _seconds(values, "alTI[2]") if one_delay else None
    bolus_s = _seconds(values, "alTI[0]")
    pulsed: dict[str, Json] = {
        "ArterialSpinLabelingType": "PASL",
        "InversionTime": inversion_s,
        "PostLabelingDelay": inversion_s,  # BIDS: for PASL, from the labelling pulse to the excitation
        "BolusDuration": bolus_s,
    }
    if is_fair_qii and bolus_s is not None:
        pulsed |= {
            "PASLType": "FAIR QII",
            "BolusCutOffFlag": True,
            "BolusCutOffTechnique": "QUIPSSII",
            "BolusCutOffDelayTime": bolus_s,
        }
    return pulsed


def _pcasl_2d(values: dict[str, str]) -> dict[str, Json]:
    """University of Southern California's ep2d_pcasl; units in its free parameters: mm, us."""
    blocks = _integer(values, "sWipMemBlock.adFree[3]")
    return {
        "LabelingDistance": _number(values, "sWipMemBlock.adFree[1]"),
        "PostLabelingDelay": _seconds(values, "sWipMemBlock.adFree[2]"),
        "LabelingDuration": None if blocks is None else round(blocks * _RF_BLOCK_S, 6),
    }


def _post_labelling_delay(values: dict[str, str]) -> float | None:
    count = _integer(values, "sAsl.ulDelayArraySize") or 1
    delays = {_seconds(values, f"sAsl.sPostLabelingDelay[{number}]") for number in range(count)}
    return delays.pop() if len(delays) == 1 else None


def _seconds(values: dict[str, str], key: str) -> float | None:
    microseconds = _number(values, key)
    return None if microseconds is None else microseconds / 1e6


# ---------------------------------------------------------------------------------------------- coils, values


def _slice_step_mm(values: dict[str, str]) -> float | None:
    """Slices are listed in anatomical order; a coordinate of zero is not written."""
    keys = [f"sSliceArray.asSlice[{slice_}].sPosition.d" for slice_ in (0, 1)]
    if _integer(values, "sSliceArray.lSize") in (None, 1):
        return None  # a slab
    first, second = ([_number(values, key + axis) or 0.0 for axis in ("Sag", "Cor", "Tra")] for key in keys)
    return math.dist(first, second) or None


def _shims(values: dict[str, str]) -> list[Json] | None:
    """Linear shims, then second order, in the scanner's own units; channels at zero are not written."""
    prefix = "sGRADSPEC.asGPAData[0]."  # VE and later
    if not any(prefix + offset in values for offset in _OFFSETS):
        prefix = "sGRADSPEC."
    keys = [prefix + offset for offset in _OFFSETS]
    keys += [f"sGRADSPEC.alShimCurrent[{channel}]" for channel in range(_SECOND_ORDER)]
    if not any(key in values for key in keys):
        return None
    return [_integer(values, key) or 0 for key in keys]


def _coil(values: dict[str, str]) -> str | None:
    element = ".asList[0].sCoilElementID.tCoilID"
    return values.get("sCoilSelectMeas.aRxCoilSelectData[0]" + element) or values.get(
        "asCoilSelectMeas[0]" + element
    )


def _number(values: dict[str, str], key: str) -> float | None:
    text = values.get(key, "")
    try:
        return float(int(text, 16)) if text.startswith("0x") else float(text)
    except ValueError:
        return None


def _integer(values: dict[str, str], key: str) -> int | None:
    number = _number(values, key)
    return int(number) if number is not None and number.is_integer() else None
