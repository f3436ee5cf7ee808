"""Where sidecars of ours and dcm2niix's differ on the corpus, and why: one table."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from enum import StrEnum
from typing import Any

import pytest

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


def of_ge(_field: str, ours: Sidecar, _theirs: Sidecar) -> bool:
    """Of a scanner of GE."""
    return bool(ours["Manufacturer"] == "GE MEDICAL SYSTEMS")


@dataclass(frozen=True, kw_only=True)
class Explained:
    """Why some fields may differ in one way. ``sets``: of the corpus; empty: wherever it occurs.

    An entry that no set needs any more is an error.
    """

    how: How
    fields: tuple[str, ...]
    why: str
    holds: Check = anything
    sets: tuple[str, ...] = ()


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
        fields=("TriggerDelayTime",),
        why="GE: (0018,1060) of one slice, since the run began, and no delay; SliceTiming tells it, and "
        "BIDS has no such field",
        holds=of_ge,
        sets=("ge", "polar", "table", "trt"),
    ),
    Explained(
        how=MISSING,
        fields=("NumberOfAverages",),
        why="differs between the volumes of the stack, 2 and 6 (more for the higher b-value)",
        sets=("uih",),
    ),
    Explained(
        how=MISSING,
        fields=("EchoNumber",),
        why="maps of perfusion: (0018,0086) is not in the header",
        holds=lambda _field, ours, theirs: "DERIVED" in ours["ImageType"] and theirs["EchoNumber"] == 1,
        sets=("xa30i",),
    ),
    Explained(
        how=MISSING,
        fields=("Units",),
        why="HU of a screen shot in colour (Secondary Capture, 401): it is none",
        holds=lambda _field, _ours, theirs: "SECONDARY" in theirs["ImageType"],
        sets=("ct",),
    ),
    Explained(
        how=MISSING,
        fields=("AcquisitionMatrixPE", "EffectiveEchoSpacing", "ReconMatrixPE", "TotalReadoutTime"),
        why="derived pictures: (0018,1312), which would say along which axis, is OTHER or absent",
        holds=lambda _field, ours, _theirs: "InPlanePhaseEncodingDirectionDICOM" not in ours,
        sets=("xa30i",),
    ),
    Explained(
        how=MISSING,
        fields=("MatrixCoilMode",),
        why="sPat.ucPATMode, the parallel imaging, which we call by BIDS's name for it; SENSE stands for 1, "
        "none (corpus nih/3); the mode of the coil matrix is another thing",
        holds=lambda field, ours, theirs: (
            theirs[field] in ("None", "SENSE")
            or theirs[field] == ours.get("ParallelAcquisitionTechnique") == "GRAPPA"
        ),
    ),
    Explained(
        how=MISSING,
        fields=("AcquisitionVoxelSize",),
        why="voxels of the picture, which the NIfTI says; BIDS means those before interpolation",
        holds=lambda field, ours, theirs: theirs[field][2] == pytest.approx(ours["SliceThickness"], rel=1e-5),
        sets=("asl",),
    ),
    Explained(
        how=MISSING,
        fields=("MeanGzx10", "NumRFBlocks", "PhiAdjust", "RFGap"),
        why="cells of a research sequence's memory, by names that BIDS has not",
        holds=lambda _field, ours, _theirs: ours["ArterialSpinLabelingType"] == "PCASL",
        sets=("asl",),
    ),
    Explained(
        how=MISSING,
        fields=("TablePosition",),
        why="derived pictures whose header does not say it: dcm2niix fills in zeros",
        holds=lambda field, ours, theirs: theirs[field] == [0, 0, 0] and "DERIVED" in ours["ImageType"],
        sets=("xa30i",),
    ),
    Explained(
        how=MISSING,
        fields=("MultibandAccelerationFactor",),
        why="gradient echoes, one slice at a time: lMultiBandFactor of the protocol is not above 1",
        holds=lambda _field, ours, _theirs: (
            ours["ScanningSequence"] == "GR" and ours.get("EchoTrainLength", 1) == 1
        ),
        sets=("decubitus", "fmap"),
    ),
    Explained(
        how=MISSING,
        fields=("EffectiveEchoSpacing", "TotalReadoutTime"),
        why="GE's field map of one echo a train: (0043,102C) is of no train of echoes",
        holds=lambda _field, ours, _theirs: ours.get("EchoTrainLength") == 1,
        sets=("fmap",),
    ),
    Explained(
        how=MISSING,
        fields=("TotalReadoutTime",),
        why="United Imaging: AcquisitionDuration of a tile in whole ms, 21 for some and 22 for others",
        holds=lambda field, _ours, theirs: theirs[field] in (0.021, 0.022),
        sets=("uih",),
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
        fields=("EstimatedEffectiveEchoSpacing", "EstimatedTotalReadoutTime"),
        why="enhanced 3-D GraSE: echoes of the echo-planar train, (2001,xx13), not all of one excitation: "
        "of the same scan's classic images dcm2niix says what we say",
        holds=lambda field, ours, theirs: theirs[field] > ours[field],
        sets=("philips_enh/enh",),
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
        why="(0018,0086) is 1 in all 64 frames; dcm2niix counts the field map's echo time of 0",
        holds=lambda field, ours, theirs: (ours[field], theirs[field], "EchoTime" in ours) == (1, 2, False),
        sets=("enh", "fmap"),
    ),
    Explained(
        how=DIFFERS,
        fields=("ScanningSequence",),
        why="(2005,140F) says GR of the 32 magnitude frames, RM of the map's; dcm2niix says RM of both",
        holds=lambda field, ours, theirs: (
            (ours[field], theirs[field], ours["ImageType"][-1]) == ("GR", "RM", "M")
        ),
        sets=("enh", "fmap"),
    ),
    Explained(
        how=DIFFERS,
        fields=("ParallelReductionFactorInPlane",),
        why="compressed SENSE: (0018,9069) as stored in each frame, 2 and 4; dcm2niix writes 1",
        holds=lambda field, ours, theirs: (
            (ours[field], theirs[field]) == (theirs["CompressedSensingFactor"], 1)
        ),
        sets=("cs_dl",),
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
    ),
    Explained(
        how=DIFFERS,
        fields=("SoftwareVersions",),
        why="(0018,1020) as pydicom reads it in each screen shot; dcm2niix has another program's",
        holds=lambda _field, _ours, theirs: "SECONDARY" in theirs["ImageType"],
        sets=("ct",),
    ),
    Explained(
        how=MISSING,
        fields=("ProtocolName",),
        why="these screen shots have no (0018,1030); dcm2niix gives SeriesDescription",
        holds=lambda _field, _ours, theirs: "SECONDARY" in theirs["ImageType"],
        sets=("ct",),
    ),
    # -- only we have it
    Explained(
        how=ADDED,
        fields=("EchoNumber", "EchoTrainLength", "NumberOfAverages", "PartialFourier"),
        why="dcm2niix leaves 1 out",
        holds=ours_is(1),
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
    ),
    Explained(
        how=ADDED,
        fields=("CTDIvol", "GantryDetectorTilt", "KVP", "SliceThickness", "SpacingBetweenSlices", "Units"),
        why="CT, of which dcm2niix writes little",
        sets=("ct",),
    ),
    Explained(
        how=ADDED,
        fields=("PartialFourierDirection",),
        why="which of ucPhasePartialFourier and ucSlicePartialFourier of the protocol is less than all (16)",
        holds=lambda _field, ours, _theirs: (
            ours["PartialFourier"] < 1 and "Siemens" in ours["Manufacturer"].title()
        ),
        sets=("dcm_qa", "decubitus", "sag", "stc", "xa30i"),
    ),
    Explained(
        how=ADDED,
        fields=("Units",),
        why="phase in radians: Philips's precise values (test_precise_phase_is_in_radians)",
        holds=lambda _field, ours, _theirs: ours["Units"] == "rad" and "PHASE" in "_".join(ours["ImageType"]),
        sets=("table",),
    ),
    Explained(how=ADDED, fields=("AcquisitionNumber",), why="as stored; dcm2niix leaves 0 out", sets=("ct",)),
    Explained(
        how=ADDED,
        fields=("PulseSequenceType",),
        why="from (0018,9008) or (0018,0020), where dcm2niix does not know the sequence",
    ),
    Explained(
        how=ADDED,
        fields=("AcquisitionMatrixPE",),
        why="enhanced: (0018,9231)",
        holds=lambda field, ours, _theirs: ours[field] == ours["PhaseEncodingSteps"],
        sets=("canon_61/enh",),
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
        fields=("ParallelAcquisitionTechnique",),
        why="dcm2niix calls Siemens's MatrixCoilMode, and leaves compressed SENSE out",
        holds=lambda field, ours, theirs: (
            ours[field]
            == theirs.get("MatrixCoilMode", "CSENSE" if "CompressedSensingFactor" in theirs else None)
        ),
    ),
    Explained(
        how=ADDED,
        fields=("BolusCutOffDelayTime", "BolusCutOffFlag", "BolusCutOffTechnique", "PostLabelingDelay"),
        why="pulsed labelling (FAIR QII): alTI[0] 700000 and alTI[2] 1990000 us in the protocol",
        holds=lambda field, ours, _theirs: (
            ours[field]
            == {
                "BolusCutOffDelayTime": 0.7,
                "BolusCutOffFlag": True,
                "BolusCutOffTechnique": "QUIPSSII",
                "PostLabelingDelay": 1.99,
            }[field]
        ),
        sets=("asl",),
    ),
    Explained(
        how=ADDED,
        fields=("RepetitionTimePreparation",),
        why="MPRAGE and ASL: (0018,0080), from one preparation to the next",
        holds=lambda field, ours, _theirs: (
            ours[field] == ours.get("RepetitionTimeExcitation", ours["RepetitionTime"])
        ),
        sets=("asl", "frag", "xa30", "xa30i"),
    ),
    Explained(
        how=ADDED,
        fields=("InternalPulseSequenceName", "PulseSequenceDetails"),
        why="GE: (0019,109E) and (0019,109C), which dcm2niix writes of some sequences only",
        holds=of_ge,
    ),
    Explained(
        how=ADDED,
        fields=("MultibandAccelerationFactor",),
        why="Philips: MBSENSE with two slices (MB2 in the protocol's name); Siemens: ImageComments, MB3",
        holds=lambda field, ours, _theirs: ours[field] == (2 if ours["Manufacturer"] == "Philips" else 3),
        sets=("philips_enh/cl", "xa30i"),
    ),
    Explained(
        how=ADDED,
        fields=("ArterialSpinLabelingType", "DiffusionScheme"),
        why="derived maps carry the protocol, too: sAsl.ulMode 32 and sDiffusion.dsScheme 2",
        holds=lambda _field, ours, _theirs: "DERIVED" in ours["ImageType"],
        sets=("xa30", "xa30i"),
    ),
)
