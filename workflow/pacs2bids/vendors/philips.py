"""Philips: creators "Philips Imaging DD 001" (group 2001) and "Philips MR Imaging DD 001" (group 2005).

What they mean: Philips's DICOM conformance statements; Philips/README.md of github.com/rordenlab/dcm2niix.
Classic images keep the standard's elements of enhanced ones in the item of a private sequence, (2005,xx0F) of
"Philips MR Imaging DD 005".

Polarity of phase encoding and the order of slices are in no Philips header, nor is how much of k-space
partial Fourier leaves out.
"""

from __future__ import annotations

import math

from msgspec.structs import replace

from pacs2bids.header import Header, Private
from pacs2bids.model import Facts, Json, Vector
from pacs2bids.vendors import standard

_IMAGING, _MR = "Philips Imaging DD 001", "Philips MR Imaging DD 001"
CREATORS: tuple[tuple[str, int], ...] = ((_IMAGING, 0x2001), (_MR, 0x2005))

B_VALUE = Private(creator=_IMAGING, group=0x2001, element=0x03, vr="FL")
DIRECTION_CLASS = Private(creator=_IMAGING, group=0x2001, element=0x04, vr="CS")
EPI_FACTOR = Private(creator=_IMAGING, group=0x2001, element=0x13, vr="SL")
TECHNIQUE = Private(creator=_IMAGING, group=0x2001, element=0x20, vr="LO")
WATER_FAT_SHIFT = Private(creator=_IMAGING, group=0x2001, element=0x22, vr="FL")
SCALE_INTERCEPT = Private(creator=_MR, group=0x2005, element=0x0D, vr="FL")
SCALE_SLOPE = Private(creator=_MR, group=0x2005, element=0x0E, vr="FL")
COMPONENT = Private(creator=_MR, group=0x2005, element=0x11, vr="CS")
DURATION_S = Private(creator=_MR, group=0x2005, element=0x33, vr="FL")
# "LABEL", "CONTROL" or empty (corpus philips_asl/402: 8 of each for every slice)
LABEL_TYPE = Private(creator="Philips MR Imaging DD 005", group=0x2005, element=0x29, vr="CS")
# towards Left, Posterior and Head when positive: the axes of the DICOM patient frame
GRADIENT = tuple(
    Private(creator=_MR, group=0x2005, element=element, vr="FL") for element in (0xB0, 0xB1, 0xB2)
)
ENHANCED = Private(creator="Philips MR Imaging DD 005", group=0x2005, element=0x0F, vr="SQ")

# of the stack as it was planned, and in its item where the table stood
STACK = Private(creator=_IMAGING, group=0x2001, element=0x5F, vr="SQ")
TABLE_MM = tuple(
    Private(creator="Philips MR Imaging DD 005", group=0x2005, element=element, vr="FL")
    for element in (0x3C, 0x3D, 0x3E)
)

_CLASSIC = "1.2.840.10008.5.1.4.1.1.4"
_WATER_FAT_PPM = 3.4
_UNSET_MM = 1e38  # Philips fills in 1.7e38 (corpus cs_dl, table)
_FIELD_MAPS = {"B0", "B0 MAP", "FIELD_MAP"}
_STATES = {"NONE": False, "RF": True, "GRADIENT": True, "RF_AND_GRADIENT": True}
_TRANSFERS = {"NONE": False, "ON_RESONANCE": True, "OFF_RESONANCE": True}


def claims(header: Header) -> bool:
    """By Manufacturer ("Philips", "Philips Medical Systems")."""
    return "philips" in (header.text("Manufacturer") or "").lower()


def facts(header: Header) -> Facts:
    """Facts of one instance or enhanced frame."""
    base = standard.facts(header)
    told = _with_enhanced(header)
    field_map = not _FIELD_MAPS.isdisjoint((header.texts("FrameType") or header.texts("ImageType"))[2:])
    b_value = base.b_value_s_per_mm2
    if b_value is None:
        b_value = header.private_number(B_VALUE) if _is_diffusion(header) else None
    diffusion_map = base.is_diffusion_map or _is_isotropic(header, b_value)
    component = base.component or standard.COMPONENTS.get(header.private_text(COMPONENT) or "")
    return replace(
        base,
        component=component,
        content="fieldmap" if field_map else None,
        b_value_s_per_mm2=b_value,
        b_vector_lps=None if diffusion_map else _gradient(header, base, b_value),
        is_diffusion_map=diffusion_map,
        volume_type=base.volume_type or standard.VOLUME_TYPES.get(header.private_text(LABEL_TYPE) or ""),
        multiband_factor=_multiband(told),
        partial_fourier=1.0 if told.text("PartialFourier") == "NO" else None,
        parallel_reduction_factor_in_plane=told.number("ParallelReductionFactorInPlane"),
        rescale=_precise(header),
        extra=_extra(told, base, units=_units(header, component, field_map=field_map)),
    )


def _with_enhanced(header: Header) -> Header:
    """The header of a classic image, and behind it what it says in the words of an enhanced one.

    Only for single elements: MR Image Storage alone decides whether a picture is diffusion-weighted, as the
    item has a b-value for every sequence.
    """
    items = header.private_items(ENHANCED) if header.text("SOPClassUID") == _CLASSIC else ()
    return Header([*header.layers, *items[0].layers]) if items else header


def _is_diffusion(header: Header) -> bool:
    # (2001,xx03) is 0 in scans without diffusion weighting
    return bool(header.private_number(B_VALUE)) or (header.private_text(DIRECTION_CLASS) or "N") not in "N"


def _is_isotropic(header: Header, b_value: float | None) -> bool:
    """The trace or ADC that Philips appends to a diffusion series: class I, or no direction with b > 0."""
    if header.text("DiffusionDirectionality") == "ISOTROPIC":
        return True
    return bool(b_value) and header.private_text(DIRECTION_CLASS) == "I"


def _gradient(header: Header, base: Facts, b_value: float | None) -> Vector | None:
    if base.b_vector_lps is not None:
        return base.b_vector_lps
    numbers = [header.private_number(element) for element in GRADIENT]
    return standard.direction(tuple(number for number in numbers if number is not None), b_value)


def _multiband(header: Header) -> int | None:
    """2-D scans accelerated across slices ("MBSENSE"): there the out-of-plane factor counts the bands."""
    if not (header.text("ParallelAcquisitionTechnique") or "").startswith("MB"):
        return None
    factor = header.integer("ParallelReductionFactorOutOfPlane")
    return factor if factor and factor > 1 and header.text("MRAcquisitionType") == "2D" else None


def _precise(header: Header) -> tuple[float, float] | None:
    """(slope, intercept) to Philips's floating-point value, comparable between scans.

    With stored value PV, rescale slope RS and intercept RI, scale slope SS: the displayed value is
    DV = PV * RS + RI, the precise one FP = DV / (RS * SS). (Chenevert et al. 2014, doi 10.1593/tlo.13811.)
    Phase comes out in radians, field maps in Hz (corpus table/Ph 1301, fmap/Philips 801). Each frame has its
    own scale slope, and they may differ (corpus philips_asl/301). A real world value mapping repeats the
    displayed values, with or without units; dcm2niix, too, prefers the precise ones to it (its issue 493).

    dcm2niix takes the slope as FP(1) - FP(0) in single precision, so that where there is an intercept it is
    off by up to 1e-4 of itself: by its slope fmap/Philips 801 ends at 500.006 Hz, where the header maps to
    [-500, 500]. By ours it ends at 500.0000.

    FP does not depend on RS: with the scale intercept SI = -RI / RS it is (PV - SI) / SS. So where an image
    has no rescale, DV is PV (PS3.3 C.11.1: no other values), and FP follows from SS and SI alone.
    """
    scale = header.private_number(SCALE_SLOPE)
    slope, intercept = header.number("RescaleSlope"), header.number("RescaleIntercept")
    if slope is None and intercept is None:
        slope, intercept = 1.0, -(header.private_number(SCALE_INTERCEPT) or 0.0)
    if not scale or not slope or intercept is None or slope * scale == 0:
        return None
    precise = (1 / scale, intercept / (slope * scale))
    return precise if all(map(math.isfinite, precise)) else None


def _units(header: Header, component: str | None, *, field_map: bool) -> str | None:
    """Of the precise values (``_precise``). What the console shows of phase is in thousandths."""
    if field_map:
        return "Hz"
    return "rad" if component == "phase" and _precise(header) else None


def _extra(header: Header, base: Facts, *, units: str | None) -> dict[str, Json]:
    """EchoTrainLength stays the standard's, which counts all lines of an excitation; dcm2niix writes the EPI
    factor of classic 3-D GraSE (corpus philips_asl/401).
    """
    if header.text("Modality") == "CT":
        return {}
    fields: dict[str, Json] = {
        "AcquisitionDuration": header.private_number(DURATION_S),
        "PhilipsRescaleSlope": header.number("RescaleSlope"),
        "PhilipsRescaleIntercept": header.number("RescaleIntercept"),
        "PhilipsScaleSlope": header.private_number(SCALE_SLOPE),
        "UsePhilipsFloatNotDisplayScaling": 1 if _precise(header) else None,
        "WaterFatShift": header.private_number(WATER_FAT_SHIFT),
        "Units": units,
        "SequenceName": header.private_text(TECHNIQUE),
        "NumberOfKSpaceTrajectories": header.integer("NumberOfKSpaceTrajectories"),
        "TablePosition": _table_position(header),
    }
    fields |= _real_world(header) | _readout(header, base) | _acceleration(header) | _classic_fields(header)
    return {name: value for name, value in fields.items() if value is not None}


def _table_position(header: Header) -> list[Json] | None:
    """Along the bore; the other two are 0 or not set in all that we know: nobody can tell their signs.

    BIDS counts into the scanner; Philips's sign is the opposite by dcm2niix (corpus cs_dl: 30.7, -30.7).
    """
    stack = next(iter(header.private_items(STACK)), Header([]))
    along, *others = [stack.private_number(element) for element in TABLE_MM]
    if along is None or along > _UNSET_MM or any(other is None or 0 != other < _UNSET_MM for other in others):
        return None
    return [0.0, 0.0, round(0.0 - along, 4)]


def _real_world(header: Header) -> dict[str, Json]:
    """The real-world value mapping: an item of its own in a classic image, flat among an enhanced frame's."""
    told = next(iter(header.items("RealWorldValueMappingSequence")), header)
    return {
        "PhilipsRWVSlope": told.number("RealWorldValueSlope"),
        "PhilipsRWVIntercept": told.number("RealWorldValueIntercept"),
    }


def _readout(header: Header, base: Facts) -> dict[str, Json]:
    """Estimates, as they come from the water-fat shift in pixels of the echo-planar train.

    Fat is 3.4 ppm off: a shift of s pixels over a train of n echoes is s / (frequency * 3.4 * (n + 1)) from
    echo to echo (github.com/rordenlab/dcm2niix/issues/377; data of four scanners, osf.io/xvguw). dcm2niix
    writes them of trains of one echo too, where they mean nothing, and takes all lines of an excitation for
    n in enhanced 3-D GraSE (corpus philips_enh/1901).
    """
    shift, echoes = header.private_number(WATER_FAT_SHIFT), header.private_number(EPI_FACTOR) or 0
    frequency_mhz = header.number("ImagingFrequency") or header.number("TransmitterFrequency")
    lines = standard.phase_matrix(header, base.phase_encoding)
    if not shift or echoes < 2 or not frequency_mhz or lines is None or lines < 2:
        return {}
    readout = echoes * shift / (frequency_mhz * _WATER_FAT_PPM * (echoes + 1))
    return {"EstimatedTotalReadoutTime": readout, "EstimatedEffectiveEchoSpacing": readout / (lines - 1)}


def _acceleration(header: Header) -> dict[str, Json]:
    """Of compressed SENSE the standard's element says that it reduces in plane; dcm2niix writes 1 there."""
    technique = header.text("ParallelAcquisitionTechnique")
    return {
        "CompressedSensingFactor": header.number("ParallelReductionFactorInPlane")
        if technique == "CSENSE"
        else None,
        "ParallelAcquisitionTechnique": technique,
        "ParallelReductionFactorOutOfPlane": header.number("ParallelReductionFactorOutOfPlane"),
    }


def _classic_fields(header: Header) -> dict[str, Json]:
    """What the table of fields finds in enhanced images by itself."""
    partial = header.text("PartialFourier") == "YES"
    steps = header.integer("MRAcquisitionPhaseEncodingStepsInPlane")
    return {
        "MTState": _TRANSFERS.get(header.text("MagnetizationTransfer") or ""),
        "SpoilingState": _STATES.get(header.text("Spoiling") or ""),
        "FrequencyEncodingSteps": header.integer("MRAcquisitionFrequencyEncodingSteps"),
        "PhaseEncodingStepsOutOfPlane": header.integer("MRAcquisitionPhaseEncodingStepsOutOfPlane"),
        "PhaseEncodingStepsNoPartialFourier": steps if partial else None,
        "PartialFourierEnabled": "YES" if partial else None,
        "PartialFourierDirection": header.text("PartialFourierDirection") if partial else None,
    }
