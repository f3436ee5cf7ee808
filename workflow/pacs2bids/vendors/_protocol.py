"""The Siemens measurement protocol ("ASCCONV"), a text of ``key = value`` lines inside a private element.

It is the same bytes in every instance of a series, and longer than the rest of the header, so what is read
from it is kept for the last few distinct byte strings: one parse a series, afterwards a hash and a compare.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from functools import lru_cache

from pacs2bids.model import Json

_BEGIN, _END = b"### ASCCONV BEGIN", b"### ASCCONV END"

# sKSpace.ucPhasePartialFourier: SEQ::PF_HALF 1, PF_5_8 2, PF_6_8 4, PF_7_8 8, PF_OFF 16
_PARTIAL_FOURIER = {1: 4 / 8, 2: 5 / 8, 4: 6 / 8, 8: 7 / 8, 16: 1.0}
_COMBINATION = {1: "Sum of Squares", 2: "Adaptive Combine"}
_DIFFUSION_SCHEME = {1: "Bipolar", 2: "Monopolar"}
_PARALLEL = {2: "GRAPPA", 4: "SENSE"}

_OFFSETS = ("lOffsetX", "lOffsetY", "lOffsetZ")
_SECOND_ORDER = 5  # shim channels after the three linear ones


@dataclass(frozen=True, slots=True, kw_only=True)
class Protocol:
    """What the protocol says. ``extra``: sidecar fields by dcm2niix's names, in BIDS units."""

    partial_fourier: float | None = None
    parallel_reduction_factor_in_plane: float | None = None
    extra: dict[str, Json] = field(default_factory=dict)


@lru_cache(maxsize=16)
def read(raw: bytes) -> Protocol:
    """The protocol inside a CSA series header, or inside (0021,xx19) of XA; empty if there is none."""
    values = _lines(raw)
    if not values:
        return Protocol()
    return Protocol(
        partial_fourier=_PARTIAL_FOURIER.get(_integer(values, "sKSpace.ucPhasePartialFourier") or 0),
        parallel_reduction_factor_in_plane=_number(values, "sPat.lAccelFactPE"),
        extra={name: value for name, value in _extra(values).items() if value is not None},
    )


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
        "ShimSetting": _shims(values),
        "TxRefAmp": _number(values, "sTXSPEC.asNucleusInfo[0].flReferenceAmplitude"),
        "ReceiveCoilName": _coil(values),
        "PulseSequenceDetails": values.get("tSequenceFileName"),
        "ConsistencyInfo": values.get("sProtConsistencyInfo.tMeasuredBaselineString")
        or values.get("sProtConsistencyInfo.tBaselineString"),
        "CoilCombinationMethod": _COMBINATION.get(_integer(values, "ucCoilCombineMode") or 0),
        "ParallelAcquisitionTechnique": _PARALLEL.get(_integer(values, "sPat.ucPATMode") or 0),
        "RefLinesPE": _integer(values, "sPat.lRefLinesPE"),
        "DiffusionScheme": _DIFFUSION_SCHEME.get(_integer(values, "sDiffusion.dsScheme") or 0)
        if "sDiffusion.lDiffDirections" in values or "sDiffusion.alBValue[0]" in values
        else None,
        "VendorReportedEchoSpacing": None if spacing_us is None else spacing_us / 1e6,
        "DelayTime": None if not delay_us else delay_us / 1e6,
    }


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
