"""Philips: creators "Philips Imaging DD 001" (group 2001) and "Philips MR Imaging DD 001" (group 2005).

What they mean: Philips's DICOM conformance statements; Philips/README.md of github.com/rordenlab/dcm2niix.
"""

from __future__ import annotations

import math
from dataclasses import replace

from pacs2bids.header import Header, Private
from pacs2bids.model import Facts, Json, Vector
from pacs2bids.vendors import standard

_IMAGING, _MR = "Philips Imaging DD 001", "Philips MR Imaging DD 001"
CREATORS: tuple[tuple[str, int], ...] = ((_IMAGING, 0x2001), (_MR, 0x2005))

B_VALUE = Private(creator=_IMAGING, group=0x2001, element=0x03, vr="FL")
WATER_FAT_SHIFT = Private(creator=_IMAGING, group=0x2001, element=0x22, vr="FL")
DIRECTION_CLASS = Private(creator=_IMAGING, group=0x2001, element=0x04, vr="CS")
SCALE_SLOPE = Private(creator=_MR, group=0x2005, element=0x0E, vr="FL")
COMPONENT = Private(creator=_MR, group=0x2005, element=0x11, vr="CS")
# towards Left, Posterior and Head when positive: the axes of the DICOM patient frame
GRADIENT = tuple(
    Private(creator=_MR, group=0x2005, element=element, vr="FL") for element in (0xB0, 0xB1, 0xB2)
)


def claims(header: Header) -> bool:
    """By Manufacturer ("Philips", "Philips Medical Systems")."""
    return "philips" in (header.text("Manufacturer") or "").lower()


def facts(header: Header) -> Facts:
    """Facts of one instance or enhanced frame. Polarity and slice times are not in Philips headers."""
    base = standard.facts(header)
    b_value = base.b_value_s_per_mm2
    if b_value is None:
        b_value = header.private_number(B_VALUE) if _is_diffusion(header) else None
    diffusion_map = base.is_diffusion_map or _is_isotropic(header, b_value)
    return replace(
        base,
        component=base.component or standard.COMPONENTS.get(header.private_text(COMPONENT) or ""),
        b_value_s_per_mm2=b_value,
        b_vector_lps=None if diffusion_map else _gradient(header, base, b_value),
        is_diffusion_map=diffusion_map,
        multiband_factor=_multiband(header),
        rescale=_precise(header),
        extra=_extra(header),
    )


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
    """
    scale = header.private_number(SCALE_SLOPE)
    slope, intercept = header.number("RescaleSlope"), header.number("RescaleIntercept")
    if not scale or not slope or intercept is None or slope * scale == 0:
        return None
    precise = (1 / scale, intercept / (slope * scale))
    return precise if all(map(math.isfinite, precise)) else None


def _extra(header: Header) -> dict[str, Json]:
    fields: dict[str, Json] = {
        "PhilipsRescaleSlope": header.number("RescaleSlope"),
        "PhilipsRescaleIntercept": header.number("RescaleIntercept"),
        "PhilipsScaleSlope": header.private_number(SCALE_SLOPE),
        "UsePhilipsFloatNotDisplayScaling": 1 if _precise(header) else None,
        "WaterFatShift": header.private_number(WATER_FAT_SHIFT),
    }
    return {name: value for name, value in fields.items() if value is not None}
