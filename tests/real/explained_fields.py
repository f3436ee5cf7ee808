"""Where sidecars of ours and dcm2niix's differ on the corpus, and why: one table."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from enum import StrEnum
from typing import Any

Sidecar = dict[str, Any]


class How(StrEnum):
    """What is different: only dcm2niix has the field, only we have it, or both and the values differ."""

    MISSING = "missing"
    ADDED = "added"
    DIFFERS = "differs"


Check = Callable[[str, Sidecar, Sidecar], bool]


def anything(_field: str, _ours: Sidecar, _theirs: Sidecar) -> bool:
    """No more than the kind of difference is asked."""
    return True


def theirs_is(*values: Any) -> Check:
    """Dcm2niix's value is one of these."""
    return lambda field, _ours, theirs: theirs[field] in values


def ours_is(*values: Any) -> Check:
    """Our value is one of these."""
    return lambda field, ours, _theirs: ours[field] in values


def words(value: Any) -> set[str]:
    """Words of a text or of a list of texts, in lower case."""
    texts = value if isinstance(value, list) else [value]
    return {word for text in texts for word in str(text).lower().replace("_", " ").split()}


# fmt: off
COMPONENTS = {
    "field", "fieldmaphz", "imaginary", "magnitude", "mixed", "mosaic", "none", "phase", "phasemap", "real",
}
# fmt: on


def same_words(field: str, ours: Sidecar, theirs: Sidecar) -> bool:
    """The same words, but for those of the component and for words that dcm2niix replaces."""
    return (words(ours[field]) ^ words(theirs[field])) - COMPONENTS <= REPLACED


# Canon writes DIFFUSION or T1 into FrameType, and dcm2niix shows ImageType of the whole instance
REPLACED = {"diffusion", "gdc", "m", "p", "r", "ffe", "se", "ir", "phase", "map", "b0", "t1", "tensor"}


def coil_is_named(_field: str, ours: Sidecar, theirs: Sidecar) -> bool:
    """The same name under BIDS's own: of the coil, or of its elements without Siemens's "T:"."""
    name = theirs["CoilString"]
    return name == ours.get("ReceiveCoilName") or name.removeprefix("T:") == ours.get(
        "ReceiveCoilActiveElements"
    )


def begins_alike(field: str, ours: Sidecar, theirs: Sidecar) -> bool:
    """One name of a vendor is the beginning of the other."""
    return str(ours[field]).lower().startswith(str(theirs[field]).lower().split()[0])


@dataclass(frozen=True, kw_only=True)
class Explained:
    """Why some fields may differ in one way. ``sets``: of the corpus; empty: wherever it occurs.

    ``is_settled``: the difference is meant to stay, so an entry that no set needs any more is an error.
    """

    how: How
    fields: tuple[str, ...]
    why: str
    holds: Check = anything
    sets: tuple[str, ...] = ()
    is_settled: bool = True


# fmt: off
NEVER = (
    "AccessionNumber", "AcquisitionDateTime", "ImageComments", "PatientAge", "PatientBirthDate", "PatientID",
    "PatientName", "PatientSex", "PatientSize", "PatientWeight", "ProcedureStepDescription",
    "ReferringPhysicianName", "SeriesInstanceUID", "StudyDescription", "StudyID", "StudyInstanceUID",
    "WipMemBlock",
)
SITE = (
    "DeviceSerialNumber", "InstitutionAddress", "InstitutionName", "InstitutionalDepartmentName",
    "StationName",
)
IN_PRIVATE_ELEMENTS = (
    "AcquisitionDuration", "AcquisitionVoxelSize", "ArterialSpinLabelingType", "BolusDuration",
    "CompressedSensingFactor", "ConsistencyInfo", "EffectiveEchoSpacing", "FrequencyEncodingSteps",
    "InversionTime", "LabelingDistance", "LabelingDuration", "MTState", "MatrixCoilMode", "MeanGzx10",
    "MultibandAccelerationFactor", "NonlinearGradientCorrection", "NumRFBlocks",
    "NumberOfDiffusionDirectionGE", "NumberOfDiffusionT2GE", "NumberOfKSpaceTrajectories", "PASLType",
    "ParallelAcquisitionTechnique", "ParallelReductionFactorInPlane", "ParallelReductionFactorOutOfPlane",
    "PartialFourier", "PartialFourierDirection", "PhaseEncodingPolarityGE", "PhaseEncodingStepsOutOfPlane",
    "PhiAdjust", "PostLabelingDelay", "PrescanReuseString", "RFGap", "RepetitionTimeExcitation",
    "RepetitionTimePreparation", "ScanOptions", "ScanningSequence", "SequenceName", "SequenceVariant",
    "ShimSetting", "SpoilingState", "TablePosition", "TotalReadoutTime", "Units",
)
READ_IN_PRIVATE_ELEMENTS = (
    "ArterialSpinLabelingType", "BackgroundSuppression", "BackgroundSuppressionNumberPulses",
    "BolusCutOffDelayTime", "BolusCutOffFlag", "BolusCutOffTechnique", "DiffusionScheme",
    "PostLabelingDelay", "RepetitionTimePreparation",
    "InternalPulseSequenceName", "MultibandAccelerationFactor", "ParallelAcquisitionTechnique",
    "PartialFourier", "PhilipsRescaleIntercept", "PhilipsRescaleSlope", "PulseSequenceDetails",
)
# fmt: on

MISSING, ADDED, DIFFERS = How.MISSING, How.ADDED, How.DIFFERS
EXPLAINED_FIELDS: tuple[Explained, ...] = (
    # -- only dcm2niix has it
    Explained(how=MISSING, fields=NEVER, why="persons, dates, identifiers, free text"),
    Explained(how=MISSING, fields=SITE, why="where the scanner stands: Policy.SITE, off by default"),
    Explained(
        how=MISSING,
        fields=("BidsGuess", "EchoTime1", "EchoTime2", "M0Type"),
        why="needs the name: the plan names, place adds",
    ),
    Explained(how=MISSING, fields=("CoilString",), why="under BIDS's names", holds=coil_is_named),
    Explained(
        how=MISSING,
        fields=("DerivedVendorReportedEchoSpacing",),
        why="EffectiveEchoSpacing times the acceleration; VendorReportedEchoSpacing is what the vendor says",
    ),
    Explained(
        how=MISSING,
        fields=("EstimatedEffectiveEchoSpacing", "EstimatedTotalReadoutTime"),
        why="Philips headers do not say it, and an estimate is not a fact (5e-6 s for a field map)",
    ),
    Explained(how=MISSING, fields=("ImageOrientationText",), why="follows from the affine"),
    Explained(how=MISSING, fields=("ImageTypeText",), why="Siemens's private copy of ImageType"),
    Explained(how=MISSING, fields=("RawImage",), why="ImageType says DERIVED"),
    Explained(
        how=MISSING,
        fields=("PhaseEncodingStepsNoPartialFourier",),
        why="PhaseEncodingSteps as stored",
        holds=lambda field, ours, theirs: ours["PhaseEncodingSteps"] == theirs[field],
    ),
    Explained(
        how=MISSING, fields=("PartialFourierEnabled",), why="says that there is a PartialFourier, not which"
    ),
    Explained(
        how=MISSING,
        fields=(
            "PhilipsRWVIntercept",
            "PhilipsRWVSlope",
            "PhilipsRescaleIntercept",
            "PhilipsRescaleSlope",
            "PhilipsScaleSlope",
            "UsePhilipsFloatNotDisplayScaling",
        ),
        why="values are scaled in the NIfTI header, and where scales vary in a stack no one number holds",
        is_settled=False,
    ),
    Explained(
        how=MISSING,
        fields=("ParallelReductionFactorInPlane", "ParallelReductionFactorOutOfPlane"),
        why="dcm2niix writes 1 where the header says nothing",
        holds=theirs_is(1),
        is_settled=False,
    ),
    Explained(
        how=MISSING,
        fields=("TriggerDelayTime",),
        why="TriggerTime of one slice, in ms: it differs from slice to slice, and SliceTiming says it",
        is_settled=False,
    ),
    Explained(
        how=MISSING,
        fields=("NumberOfAverages",),
        why="differs between the volumes of the stack, 2 and 6 (more for the higher b-value)",
        sets=("uih",),
    ),
    Explained(
        how=MISSING,
        fields=("AcquisitionTime",),
        why="of the first tile, in a private sequence; the instance has none",
        sets=("uih",),
        is_settled=False,
    ),
    Explained(how=MISSING, fields=("EchoNumber",), why="enhanced images have no element for it"),
    Explained(
        how=MISSING,
        fields=("Units",),
        why="HU of a screen shot in colour (Secondary Capture, 401): it is none",
        holds=lambda _field, _ours, theirs: "SECONDARY" in theirs["ImageType"],
        sets=("ct",),
    ),
    Explained(
        how=MISSING,
        fields=("AcquisitionMatrixPE", "ReconMatrixPE"),
        why="derived maps whose phase encoding the header does not give",
        sets=("xa30i",),
        is_settled=False,
    ),
    Explained(
        how=MISSING,
        fields=IN_PRIVATE_ELEMENTS,
        why="in private elements: the vendor's module adds it where it reads them",
        is_settled=False,
    ),
    # -- both have it, and values differ
    Explained(
        how=DIFFERS,
        fields=("ConversionSoftware", "ConversionSoftwareVersion"),
        why="another program",
        holds=lambda _field, ours, _theirs: ours["ConversionSoftware"] == "pacs2bids",
    ),
    Explained(
        how=DIFFERS,
        fields=("Manufacturer",),
        why="as stored (SIEMENS, Siemens Healthineers, GE MEDICAL SYSTEMS); dcm2niix: one name a vendor",
        holds=begins_alike,
    ),
    Explained(
        how=DIFFERS,
        fields=("ImageType",),
        why="as stored; dcm2niix splits values at underscores, drops some and appends the component",
        holds=same_words,
    ),
    Explained(
        how=DIFFERS,
        fields=("PulseSequenceType",),
        why="from standard elements: EP alone tells neither spin nor gradient echo; dcm2niix calls diffusion "
        "of United Imaging and GRASE a gradient echo",
        holds=lambda field, ours, theirs: (
            bool(words(ours[field]) & words(theirs[field])) or theirs[field] == "MPRAGE"
        ),
    ),
    Explained(
        how=DIFFERS,
        fields=("EchoTrainLength",),
        why="as stored (PS3.3 C.8.3.1: lines acquired per excitation); dcm2niix gives the gradient echoes of "
        "each spin echo of a GRASE",
        holds=lambda field, ours, theirs: ours[field] // theirs[field] > 1,
    ),
    Explained(
        how=DIFFERS,
        fields=("EchoNumber",),
        why="of the first frame of a field map that is computed from two echoes",
        sets=("enh", "fmap"),
        is_settled=False,
    ),
    Explained(
        how=DIFFERS,
        fields=("ScanningSequence",),
        why="GR as stored in the standard element of a Philips field map; dcm2niix takes a private copy",
        sets=("enh", "fmap"),
        is_settled=False,
    ),
    Explained(
        how=DIFFERS,
        fields=("EffectiveEchoSpacing", "TotalReadoutTime"),
        why="GE: half of dcm2niix's, which has drifted between versions; "
        "ours from lines acquired with acceleration",
        sets=("ge", "polar", "trt"),
        is_settled=False,
    ),
    Explained(
        how=DIFFERS,
        fields=("ParallelReductionFactorInPlane",),
        why="enhanced: (0018,9069) as stored; dcm2niix shows another frame's",
        sets=("cs_dl",),
        is_settled=False,
    ),
    Explained(
        how=DIFFERS,
        fields=("RepetitionTimePreparation",),
        why="in s; dcm2niix gives it in ms",
        holds=lambda field, ours, theirs: ours[field] == theirs[field] / 1000,
        sets=("asl",),
    ),
    Explained(
        how=DIFFERS,
        fields=("SeriesNumber",),
        why="as stored; dcm2niix adds 1000 for volumes of the other polarity",
        holds=lambda field, ours, theirs: theirs[field] == ours[field] + 1000,
        sets=("polar",),
        is_settled=False,
    ),
    Explained(
        how=DIFFERS,
        fields=("SoftwareVersions",),
        why="(0018,1020) as pydicom reads it in each screen shot; dcm2niix has another program's",
        holds=lambda _field, _ours, theirs: "SECONDARY" in theirs["ImageType"],
        sets=("ct",),
        is_settled=False,
    ),
    Explained(
        how=MISSING,
        fields=("ProtocolName",),
        why="these screen shots have no (0018,1030); dcm2niix gives SeriesDescription",
        holds=lambda _field, _ours, theirs: "SECONDARY" in theirs["ImageType"],
        sets=("ct",),
        is_settled=False,
    ),
    # -- only we have it
    Explained(
        how=ADDED,
        fields=("EchoNumber", "EchoTrainLength", "NumberOfAverages", "PartialFourier"),
        why="dcm2niix leaves 1 out",
        holds=ours_is(1),
        is_settled=False,
    ),
    Explained(
        how=ADDED,
        fields=("PhaseEncodingSteps",),
        why="as stored; dcm2niix renames it where a Philips scan is partial",
        holds=lambda field, ours, theirs: ours[field] == theirs["PhaseEncodingStepsNoPartialFourier"],
    ),
    Explained(
        how=ADDED,
        fields=("ReceiveCoilName", "ReceiveCoilActiveElements"),
        why="dcm2niix calls it CoilString, or does not read the multi-coil of enhanced images",
    ),
    Explained(
        how=ADDED,
        fields=("SAR",),
        why="enhanced, (0018,9239), which dcm2niix does not read; IEC 60601-2-33 allows 4 W/kg",
        holds=lambda field, ours, _theirs: 0 < ours[field] < 4,
    ),
    Explained(
        how=ADDED,
        fields=("BolusCutOffFlag", "VascularCrushing"),
        why="C.8.13.5.14, which dcm2niix does not read",
        holds=ours_is(False),
    ),
    Explained(
        how=ADDED,
        fields=(
            "LabelingOrientation",
            "LabelingSlabThickness",
            "MRTransmitCoilSequence",
            "WaterSuppression",
        ),
        why="BIDS defines it and the standard's elements say it",
    ),
    Explained(
        how=ADDED,
        fields=("NumberOfAverages",),
        why="as stored; dcm2niix leaves 1 and less out (0.5625 of GE's localizers with half an acquisition)",
        holds=lambda field, ours, _theirs: 0 < ours[field] < 1,
    ),
    Explained(
        how=ADDED,
        fields=("EchoTime",),
        why="as stored; dcm2niix gives the two echoes of a field map instead",
        holds=lambda _field, _ours, theirs: "EchoTime1" in theirs,
        sets=("fmap",),
        is_settled=False,
    ),
    Explained(
        how=ADDED,
        fields=("CTDIvol", "GantryDetectorTilt", "KVP", "SliceThickness", "SpacingBetweenSlices", "Units"),
        why="CT, of which dcm2niix writes little",
        sets=("ct",),
    ),
    Explained(how=ADDED, fields=("AcquisitionNumber",), why="as stored; dcm2niix leaves 0 out", sets=("ct",)),
    Explained(
        how=ADDED,
        fields=("PulseSequenceType",),
        why="from (0018,9008) or (0018,0020), where dcm2niix does not know the sequence",
        is_settled=False,
    ),
    Explained(
        how=ADDED,
        fields=("AcquisitionMatrixPE", "ReconMatrixPE"),
        why="from (0018,9231), and from the matrix",
        is_settled=False,
    ),
    Explained(
        how=ADDED,
        fields=("ImagingFrequency",),
        why="United Imaging writes it in Hz, which dcm2niix leaves out",
        holds=lambda field, ours, theirs: (
            abs(ours[field] / theirs["MagneticFieldStrength"] - 42.577) < 1  # of 1H, MHz/T
        ),
        sets=("uih",),
    ),
    Explained(
        how=ADDED,
        fields=READ_IN_PRIVATE_ELEMENTS,
        why="the vendor's module reads it; tests of vendors cover it",
        is_settled=False,
    ),
)
