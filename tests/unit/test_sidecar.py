"""The sidecar table: names, units and types as BIDS has them, every row cited, nothing that identifies."""

from __future__ import annotations

import ast
import copy
import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import jsonschema
import pytest
from bidsschematools.schema import load_schema
from msgspec.structs import fields
from pydicom.datadict import dictionary_VR, tag_for_keyword
from pydicom.dataelem import RawDataElement
from pydicom.dataset import Dataset
from pydicom.sequence import Sequence
from pydicom.tag import Tag

from pacs2bids import __version__, vendors
from pacs2bids.header import Header
from pacs2bids.model import Facts, Mosaic
from pacs2bids.sidecar import of_volumes, per_volume, sidecar
from pacs2bids.sidecar_fields import FIELDS, HELD_BACK, VOLUME_FIELDS, Field
from pacs2bids.sidecar_readers import Source, clock_time, fact, first_of

# Names that BIDS does not define. All are dcm2niix's, which most tools that read sidecars know.
NOT_BIDS = {
    "Modality": "tells MR from CT and PET where the suffix does not",
    "ImagingFrequency": "turns ppm into Hz",
    "PatientPosition": "checks the affine",
    "SeriesDescription": "what people called the series at the scanner",
    "ProtocolName": "the same, of the protocol",
    "SeriesNumber": "finds the series again in the PACS",
    "AcquisitionNumber": "tells repeated acquisitions of a series apart",
    "AcquisitionTime": "orders runs, and pairs field maps with them",
    "ImageType": "tells original from derived, magnitude from phase",
    "EchoNumber": "orders the echoes of a multi-echo series",
    "SAR": "safety of a protocol",
    "NumberOfAverages": "signal to noise",
    "SpacingBetweenSlices": "gap between slices; BIDS keeps only the voxel size in the NIfTI header",
    "EchoTrainLength": "checks TotalReadoutTime",
    "PercentPhaseFOV": "checks TotalReadoutTime",
    "PercentSampling": "checks TotalReadoutTime",
    "PhaseEncodingSteps": "checks TotalReadoutTime",
    "PhaseEncodingStepsOutOfPlane": "the same along slices of a 3-D acquisition",
    "FrequencyEncodingSteps": "acquired resolution",
    "AcquisitionMatrixPE": "acquired resolution",
    "ReconMatrixPE": "scales EffectiveEchoSpacing to TotalReadoutTime",
    "InPlanePhaseEncodingDirectionDICOM": "checks PhaseEncodingDirection",
    "ImageOrientationPatientDICOM": "checks the affine",
    "PixelBandwidth": "distortion along readout",
    "BandwidthPerPixelPhaseEncode": "EffectiveEchoSpacing follows from it",
    "ExposureTime": "CT, for which BIDS has no metadata",
    "XRayTubeCurrent": "CT, for which BIDS has no metadata",
    "XRayExposure": "CT, for which BIDS has no metadata",
    "NumberOfKSpaceTrajectories": "interleaves of a segmented acquisition",
    "KVP": "CT, for which BIDS has no metadata",
    "ConvolutionKernel": "CT, for which BIDS has no metadata",
    "GantryDetectorTilt": "CT, for which BIDS has no metadata",
    "CTDIvol": "CT, for which BIDS has no metadata",
    "ConversionSoftware": "provenance; BIDS has GeneratedBy for whole datasets only",
    "ConversionSoftwareVersion": "provenance",
}

# What vendors' modules add (``Facts.extra``) under names that BIDS does not define; all but one dcm2niix's.
VENDOR_FIELDS = {
    "BaseResolution": "Siemens protocol: acquired resolution along readout",
    "PhaseResolution": "Siemens protocol: acquired resolution along phase",
    "PhaseOversampling": "Siemens protocol: checks TotalReadoutTime",
    "ShimSetting": "Siemens, GE: currents of the shim, the same where runs share a shim",
    "TxRefAmp": "Siemens protocol: reference amplitude of the transmitter",
    "ConsistencyInfo": "Siemens protocol: software baseline",
    "RefLinesPE": "Siemens protocol: reference lines of parallel imaging",
    "DiffusionScheme": "Siemens protocol: monopolar or bipolar",
    "VendorReportedEchoSpacing": "Siemens protocol: checks EffectiveEchoSpacing",
    "BolusDuration": "Siemens protocol: of pulsed labelling, which BIDS keeps for (P)CASL",
    "CompressedSensingFactor": "Philips: acceleration beside parallel imaging",
    "DiffGradientCyclingGE": "GE: the order of gradients, by which slices heat alike",
    "InternalPulseSequenceName": "GE: sequence family behind a research name",
    "PhaseEncodingPolarityGE": "GE: checks PhaseEncodingDirection",
    "PrescanReuseString": "GE: which prescan results were used again",
    "DeepLearning": "GE: reconstructed by a network",
    "DeepLearningDetails": "GE: which, and how strong",
    "NumberOfDiffusionDirectionGE": "GE: checks the gradient table",
    "NumberOfDiffusionT2GE": "GE: checks the gradient table",
    "TensorFileNumberGE": "GE: finds the gradient table",
    "NumberOfPointsPerArm": "GE spiral ASL",
    "NumberOfArms": "GE spiral ASL",
    "NumberOfExcitations": "GE spiral ASL",
    "PhilipsRescaleSlope": "Philips: turns precise values into displayed ones",
    "PhilipsRescaleIntercept": "Philips: turns precise values into displayed ones",
    "PhilipsScaleSlope": "Philips: turns precise values into displayed ones",
    "PhilipsRWVSlope": "Philips: real-world values",
    "PhilipsRWVIntercept": "Philips: real-world values",
    "UsePhilipsFloatNotDisplayScaling": "Philips: which of both values the file holds",
    "PartialFourierEnabled": "Philips: that there is a partial Fourier fraction, where nobody says which",
    "PhaseEncodingStepsNoPartialFourier": "Philips: steps that a full scan would have",
    "WaterFatShift": "Philips: distortion along phase",
    "EstimatedEffectiveEchoSpacing": "Philips: from the water-fat shift, too unsure for EffectiveEchoSpacing",
    "EstimatedTotalReadoutTime": "Philips: from the water-fat shift, too unsure for TotalReadoutTime",
    "PhaseEncodingDirectionDisplayed": "United Imaging: its own words, not dcm2niix's name",
}

# What BIDS defines for MR images and PET and the table has not: who gives it, or why nobody can.
STACK = "needs all planes of a stack: indexing and timing add it"
NAME = "depends on the BIDS name or on other files of the session: place adds it, or the user"
VENDOR = "in private elements only: the vendor's module adds it where it reads them"
UNSAID = "DICOM has no element for it, and no header of the corpus tells it"
PERSON = "says something of a person or a date"
BLOOD = "of blood samples, which are no images"
RAREST = "PET: of each volume, relative to TimeZero, which somebody has to choose"
MANUAL = "told by people at the site, or by documents; never by a header"
# fmt: off
NOT_IN_TABLE: dict[str, tuple[str, ...]] = {
    STACK: ("PhaseEncodingDirection", "SliceTiming"),
    NAME: (
        "AnatomicalLandmarkCoordinates", "B0FieldIdentifier", "B0FieldSource", "BodyPartDetails",
        "BodyPartDetailsOntology", "CogAtlasID", "CogPOID", "Density", "EchoTime1", "EchoTime2",
        "Instructions", "IntendedFor", "M0Estimate", "M0Type", "MultipartID", "NegativeContrast",
        "RepetitionTimePreparation", "Resolution", "SamplePrimaryAntibody", "SampleSecondaryAntibody",
        "SampleStaining", "TaskDescription", "TaskName", "TotalAcquiredPairs",
    ),
    VENDOR: (
        "AcquisitionVoxelSize", "BackgroundSuppression", "BackgroundSuppressionNumberPulses",
        "BackgroundSuppressionPulseTime", "CASLType", "CoilCombinationMethod", "DelayTime", "DwellTime",
        "GradientSetType", "LabelingDistance", "LabelingPulseAverageB1", "LabelingPulseAverageGradient",
        "LabelingPulseDuration", "LabelingPulseFlipAngle", "LabelingPulseInterval",
        "LabelingPulseMaximumGradient", "LookLocker", "MTNumberOfPulses", "MTOffsetFrequency",
        "MTPulseBandwidth", "MTPulseDuration", "MTPulseShape", "MatrixCoilMode",
        "NonlinearGradientCorrection", "NumberShots", "PASLType", "PCASLType", "PulseSequenceDetails",
        "TablePosition",
    ),
    UNSAID: (
        "B0ShimmingTechnique", "B1ShimmingTechnique", "BigDelta", "LabelingEfficiency",
        "LabelingLocationDescription", "MixingTime", "NumberReceiveCoilActiveElements",
        "NumberTransmitCoilActiveElements", "SmallDelta",
        "SpoilingGradientDuration", "SpoilingGradientMoment", "SpoilingRFPhaseIncrement",
    ),
    "forbidden or needless beside RepetitionTime, which we give": (
        "DelayAfterTrigger", "FrameAcquisitionDuration", "VolumeTiming",
    ),
    "k, which is BIDS's default: slices are stored along the third axis": ("SliceEncodingDirection",),
    "of a printer, for pictures of pictures": ("HardcopyDeviceSoftwareVersion",),
    "MR spectroscopy: PS3.3 defines it for spectra only": ("WaterSuppressionTechnique",),
    "discarded volumes are not in the series": (
        "NumberOfVolumesDiscardedByScanner", "NumberOfVolumesDiscardedByUser",
    ),
    BLOOD: (
        "BloodDensity", "DispersionConstant", "DispersionCorrected", "Haematocrit", "MetaboliteAvail",
        "MetaboliteMethod", "MetaboliteRecoveryCorrectionApplied", "PlasmaAvail", "PlasmaFreeFraction",
        "PlasmaFreeFractionMethod", "TubingLength", "TubingType", "WholeBloodAvail", "WithdrawalRate",
    ),
    PERSON: ("Anaesthesia", "ScanDate"),
    RAREST: (
        "DecayCorrectionFactor", "FrameDuration", "FrameTimesStart", "ImageDecayCorrectionTime",
        "InfusionStart", "InjectionEnd", "InjectionStart", "MolarActivityMeasTime", "PharmaceuticalDoseTime",
        "PromptRate", "RandomRate", "ScaleFactor", "ScanStart", "ScatterFraction", "SinglesRate",
        "SpecificRadioactivityMeasTime", "TimeZero",
    ),
    MANUAL: (
        "AcquisitionMode", "AttenuationCorrectionMethodReference", "InfusionRadioactivity", "InfusionSpeed",
        "InfusionSpeedUnits", "InjectedMass", "InjectedMassPerWeight", "InjectedMassPerWeightUnits",
        "InjectedMassUnits", "ModeOfAdministration", "MolarActivity", "MolarActivityUnits",
        "PharmaceuticalDoseAmount", "PharmaceuticalDoseRegimen", "PharmaceuticalDoseUnits",
        "PharmaceuticalName", "Purity", "ReconFilterSize", "ReconMethodImplementationVersion",
        "ReconMethodParameterLabels", "ReconMethodParameterUnits", "ReconMethodParameterValues",
        "SpecificRadioactivity", "SpecificRadioactivityUnits", "TracerMolecularWeight",
        "TracerMolecularWeightUnits", "TracerRadLex", "TracerSNOMED",
    ),
}
# fmt: on
IMAGES = (
    "anat",
    "asl",
    "dwi",
    "entity_rules",
    "fmap",
    "func",
    "mri",
    "pet",
    "qmri",
)  # groups of BIDS's rules

# BIDS defines these names for another modality, in another unit than MRI software expects.
OTHER_UNIT = {
    "SliceThickness": ("mm", "um", "BIDS means microscopy slices; MRI tools expect DICOM's millimetres"),
}

# Elements of PS3.15 Table E.1-1 (basic profile) that name or describe a person or an examination.
# fmt: off
IDENTIFYING = (
    "AccessionNumber", "AcquisitionComments", "AcquisitionDate", "AdditionalPatientHistory", "AdmissionID",
    "AdmittingDate", "AdmittingDiagnosesDescription", "Allergies", "ContentDate", "CountryOfResidence",
    "FrameComments", "ImageComments", "IssuerOfPatientID", "MedicalAlerts", "MedicalRecordLocator",
    "MilitaryRank", "NameOfPhysiciansReadingStudy", "Occupation", "OperatorsName", "OtherPatientIDs",
    "OtherPatientNames", "PatientAddress", "PatientAge", "PatientBirthDate", "PatientBirthName",
    "PatientBirthTime", "PatientComments", "PatientID", "PatientMotherBirthName", "PatientName",
    "PatientReligiousPreference", "PatientSex", "PatientSexNeutered", "PatientSize", "PatientState",
    "PatientTelephoneNumbers", "PatientWeight", "PerformedProcedureStepDescription",
    "PerformedProcedureStepID", "PerformingPhysicianName", "PregnancyStatus", "ReferringPhysicianAddress",
    "ReferringPhysicianName", "RegionOfResidence", "RequestAttributesSequence",
    "RequestedProcedureDescription", "RequestingPhysician", "SOPInstanceUID", "SeriesDate",
    "SeriesInstanceUID", "SmokingStatus", "StudyComments", "StudyDate", "StudyDescription", "StudyID",
    "StudyInstanceUID", "FrameOfReferenceUID",
)
# fmt: on
IDENTIFYING_VRS = {"PN", "DA", "UI", "LT", "UT", "UR"}
IDENTIFYING_SITE = {
    "InstitutionName",
    "InstitutionAddress",
    "InstitutionalDepartmentName",
    "StationName",
    "DeviceSerialNumber",
}


@pytest.fixture(scope="module")
def metadata() -> dict[str, list[dict[str, Any]]]:
    """BIDS name -> its definitions; one that differs between data types has several."""
    definitions: dict[str, list[dict[str, Any]]] = {}
    for definition in load_schema().objects.metadata.to_dict().values():
        definitions.setdefault(definition["name"], []).append(definition)
    return definitions


class Recorder(Header):
    """An empty header that remembers what it was asked for."""

    __slots__ = ("asked",)

    def __init__(self, asked: set[str]) -> None:
        super().__init__([])
        self.asked = asked

    def texts(self, keyword: str) -> tuple[str, ...]:
        self.asked.add(keyword)
        return ()

    def numbers(self, keyword: str) -> tuple[float, ...]:
        self.asked.add(keyword)
        return ()

    def number(self, keyword: str) -> float | None:
        self.asked.add(keyword)
        return None

    def items(self, keyword: str) -> tuple[Header, ...]:
        self.asked.add(keyword)
        return (Recorder(self.asked),)


def asked_by(row: Field) -> set[str]:
    asked: set[str] = set()
    row.read(Source(header=Recorder(asked), facts=Facts(), matrix=(64, 64)))
    return asked


def header(**elements: Any) -> Header:
    dataset = Dataset()
    for keyword, value in elements.items():
        setattr(dataset, keyword, value)
    return Header.of(dataset)


def stored(keyword: str, raw: bytes) -> Header:
    """A header whose element holds these bytes, as a file would give them."""
    tag = Tag(keyword)
    dataset = Dataset()
    dataset[tag] = RawDataElement(tag, dictionary_VR(tag), len(raw), raw, 0, False, True)
    return Header.of(dataset)


def fields_of(header: Header, facts: Facts | None = None, **options: Any) -> dict[str, Any]:
    return sidecar(header, facts or Facts(), **options)


# ---------------------------------------------------------------------------------------------- the table


def units(definition: dict[str, Any]) -> Iterator[str | None]:
    for part in (definition, *definition.get("anyOf", ()), definition.get("items", {})):
        if "unit" in part:
            yield part["unit"]


@pytest.mark.parametrize("row", FIELDS, ids=lambda row: row.bids)
def test_name_and_unit_are_those_of_bids(row: Field, metadata: dict[str, list[dict[str, Any]]]) -> None:
    if row.bids in NOT_BIDS:
        assert row.bids not in metadata, "BIDS has it now: take it off the list"
        return
    expected = {unit for definition in metadata[row.bids] for unit in units(definition)}
    if row.bids in OTHER_UNIT:
        ours, theirs, _ = OTHER_UNIT[row.bids]
        assert (row.unit, expected) == (ours, {theirs})
    elif expected:
        assert {row.unit} == expected
    # else BIDS gives no unit in the schema (MagneticFieldStrength: tesla in its description)


def test_each_field_of_bids_is_in_the_table_or_somebody_elses() -> None:
    schema = load_schema()
    defined: set[str] = set()
    for group in IMAGES:
        collect_fields(schema.rules.sidecars[group].to_dict(), defined)
    names = {schema.objects.metadata[key].name for key in defined}
    elsewhere = [name for group in NOT_IN_TABLE.values() for name in group]
    assert len(elsewhere) == len(set(elsewhere))
    rows = {row.bids for row in FIELDS}
    assert names - rows - set(elsewhere) == set(), "new in BIDS: a row, or an entry in NOT_IN_TABLE?"
    assert set(elsewhere) - names == set(), "not in BIDS any more"
    assert rows & set(elsewhere) == set(), "has a row now: take it off NOT_IN_TABLE"


def collect_fields(rules: Any, found: set[str]) -> None:
    """Names under every "fields" of a group of rules."""
    if isinstance(rules, dict):
        found.update(rules["fields"] if isinstance(rules.get("fields"), dict) else ())
        for rule in rules.values():
            collect_fields(rule, found)


def emitted_by(module: Path) -> set[str]:
    """Names of sidecar fields in the source of a vendor's module: CamelCase keys of its dicts and updates."""
    names: set[str] = set()
    for node in ast.walk(ast.parse(module.read_text())):
        keys = (
            node.keys
            if isinstance(node, ast.Dict)
            else [node.slice]
            if isinstance(node, ast.Subscript)
            else []
        )
        texts = {key.value for key in keys if isinstance(key, ast.Constant) and isinstance(key.value, str)}
        names |= {text for text in texts if re.fullmatch(r"[A-Z]+[a-z][A-Za-z0-9]*", text)}
    return names


@pytest.mark.parametrize(
    "module", sorted(Path(vendors.__file__).parent.glob("*.py")), ids=lambda path: path.stem
)
def test_what_vendors_add_is_bids_or_explained(
    module: Path, metadata: dict[str, list[dict[str, Any]]]
) -> None:
    unknown = emitted_by(module) - set(metadata) - set(VENDOR_FIELDS) - set(NOT_BIDS)
    assert unknown == set(), "use the name that BIDS has, or say in VENDOR_FIELDS what it is for"
    assert not {name for name in VENDOR_FIELDS if name in metadata}, "BIDS has it now"


def test_lists_of_exceptions_name_rows_only() -> None:
    names = [row.bids for row in FIELDS]
    assert len(names) == len(set(names))
    assert set(NOT_BIDS) | set(OTHER_UNIT) <= set(names)


@pytest.mark.parametrize("row", FIELDS, ids=lambda row: row.bids)
def test_row_cites_every_element_it_reads(row: Field) -> None:
    cited = {Tag(int(g, 16), int(e, 16)) for g, e in re.findall(r"\(([0-9A-F]{4}),([0-9A-F]{4})\)", row.cite)}
    read = asked_by(row)
    assert {Tag(tag_for_keyword(keyword)) for keyword in read} <= cited, read
    if read:
        assert re.search(r"\bC\.\d+(\.\d+)+", row.cite), "no section of PS3.3"
    assert row.cite


@pytest.mark.parametrize("row", FIELDS, ids=lambda row: row.bids)
def test_row_reads_nothing_that_identifies_a_person(row: Field) -> None:
    for keyword in asked_by(row):
        tag = Tag(tag_for_keyword(keyword))
        assert keyword not in IDENTIFYING
        assert tag.group != 0x0010
        assert dictionary_VR(tag) not in IDENTIFYING_VRS
        assert (keyword in IDENTIFYING_SITE) == (row.policy in HELD_BACK)


def test_identity_in_the_header_does_not_come_out() -> None:
    dataset = Dataset()
    for keyword in IDENTIFYING:
        if (vr := dictionary_VR(keyword)) != "SQ":
            setattr(
                dataset,
                keyword,
                {"DA": "19370131", "TM": "133713", "AS": "037Y", "DS": "37.13"}.get(vr, "1.37.37"),
            )
    dataset.AcquisitionDateTime = "19370131091500.5"
    dataset.Modality = "MR"
    said = sidecar(Header.of(dataset), Facts(), site=True)
    assert said["Modality"] == "MR"
    assert said["AcquisitionTime"] == "09:15:00.500000"
    assert "37" not in json.dumps({key: value for key, value in said.items() if not key.startswith("Conv")})


def test_facts_named_in_the_table_exist() -> None:
    known = {each.name for each in fields(Facts)}
    for row in FIELDS:
        row.read(Source(header=header(), facts=Facts()))  # a wrong name raises AttributeError
    assert "multiband_factor" in known
    with pytest.raises(AttributeError):
        fact("no_such_fact")(Source(header=header(), facts=Facts()))


# ---------------------------------------------------------------------------------------------- values


def test_empty_header_says_nothing() -> None:
    assert fields_of(header()) == {
        "ConversionSoftware": "pacs2bids",
        "ConversionSoftwareVersion": __version__,
    }


@pytest.mark.parametrize(
    ("elements", "name", "value"),
    [
        ({"EchoTime": "35.7"}, "EchoTime", 0.0357),
        ({"EffectiveEchoTime": 30.0, "EchoTime": "99"}, "EchoTime", 0.03),
        ({"EchoTime": "0"}, "EchoTime", None),  # BIDS: above zero
        ({"InversionTime": "900"}, "InversionTime", 0.9),
        ({"InversionTimes": [900.0, 2750.0]}, "InversionTime", 0.9),
        ({"FlipAngle": "9"}, "FlipAngle", 9.0),
        ({"MagneticFieldStrength": "1.494"}, "MagneticFieldStrength", 1.494),
        ({"TransmitterFrequency": 123.25}, "ImagingFrequency", 123.25),
        ({"SoftwareVersions": ["5.7.1", "5.7.1.1"]}, "SoftwareVersions", "5.7.1\\5.7.1.1"),
        ({"ScanningSequence": ["GR", "IR"]}, "ScanningSequence", "GR\\IR"),
        ({"SeriesDescription": ""}, "SeriesDescription", None),
        ({"SeriesDescription": "  "}, "SeriesDescription", None),
        ({"ImageType": ["ORIGINAL", "PRIMARY", "M"]}, "ImageType", ["ORIGINAL", "PRIMARY", "M"]),
        ({"ImageType": ["MIXED"], "FrameType": ["DERIVED", "PRIMARY"]}, "ImageType", ["DERIVED", "PRIMARY"]),
        ({"MRAcquisitionType": "3D"}, "MRAcquisitionType", "3D"),
        ({"MRAcquisitionType": "4D"}, "MRAcquisitionType", None),
        ({"PulseSequenceName": "epfid2d1_64"}, "SequenceName", "epfid2d1_64"),
        ({"MagnetizationTransfer": "NONE"}, "MTState", False),
        ({"MagnetizationTransfer": "OFF_RESONANCE"}, "MTState", True),
        ({"SequenceVariant": ["SK", "MTC"]}, "MTState", True),
        ({"SequenceVariant": ["SK"]}, "MTState", None),
        ({"Spoiling": "RF_AND_GRADIENT"}, "SpoilingState", True),
        ({"Spoiling": "RF_AND_GRADIENT"}, "SpoilingType", "COMBINED"),
        ({"Spoiling": "NONE"}, "SpoilingState", False),
        ({"Spoiling": "NONE"}, "SpoilingType", None),
        ({"SequenceVariant": ["SK", "SP", "MP"]}, "SpoilingState", True),
        ({"AcquisitionMatrix": [72, 0, 0, 70]}, "AcquisitionMatrixPE", 70),
        ({"AcquisitionMatrix": [0, 64, 48, 0]}, "AcquisitionMatrixPE", 48),
        ({"AcquisitionMatrix": [64, 64, 48, 50]}, "AcquisitionMatrixPE", None),
        ({"AcquisitionMatrix": [64, 48]}, "AcquisitionMatrixPE", None),
        ({"MRAcquisitionPhaseEncodingStepsInPlane": 70}, "AcquisitionMatrixPE", 70),
        ({"NumberOfPhaseEncodingSteps": "70"}, "PhaseEncodingSteps", 70),
        ({"ImageOrientationPatient": [1, 0, 0, 0, 1]}, "ImageOrientationPatientDICOM", None),
        ({"SAR": "0.05"}, "SAR", 0.05),
        ({"ArterialSpinLabelingContrast": "PSEUDOCONTINUOUS"}, "ArterialSpinLabelingType", "PCASL"),
        ({"ASLPulseTrainDuration": 1800}, "LabelingDuration", 1.8),
        ({"ASLBolusCutoffFlag": "NO"}, "BolusCutOffFlag", False),
        ({"ExposureTime": "880"}, "ExposureTime", 0.88),
        (
            {"EchoPulseSequence": "SPIN", "EchoPlanarPulseSequence": "YES"},
            "PulseSequenceType",
            "Spin Echo EPI",
        ),
        ({"ScanningSequence": ["EP", "GR"]}, "PulseSequenceType", "Gradient Echo EPI"),
        ({"ScanningSequence": ["GR", "SE"]}, "PulseSequenceType", "Gradient and Spin Echo"),
        ({"ScanningSequence": "EP"}, "PulseSequenceType", "EPI"),
        ({"ScanningSequence": "RM"}, "PulseSequenceType", None),
        (
            {"ScanningSequence": "GR", "SequenceVariant": ["SK", "SP"]},
            "PulseSequenceType",
            "Spoiled Gradient Echo",
        ),
        (
            {
                "ScanningSequence": ["GR", "IR"],
                "SequenceVariant": ["SK", "SP", "MP"],
                "MRAcquisitionType": "3D",
                "InversionTime": "900",
            },
            "PulseSequenceType",
            "MPRAGE",
        ),
        ({"AcquisitionDuration": 150.0}, "AcquisitionDuration", 150.0),
        ({"SpectrallySelectedSuppression": "FAT"}, "WaterSuppression", False),
        ({"SpectrallySelectedSuppression": "FAT_AND_WATER"}, "WaterSuppression", True),
        ({"TransmitCoilName": "Body"}, "MRTransmitCoilSequence", "Body"),
        ({"InversionTime": "1800"}, "PostLabelingDelay", None),
        (
            {"InversionTime": "1800", "ArterialSpinLabelingContrast": "PSEUDOCONTINUOUS"},
            "PostLabelingDelay",
            1.8,
        ),
        ({"ConvolutionKernel": "H30s"}, "ConvolutionKernel", "H30s"),
        ({"ConvolutionKernel": "XYZ Gauss2.00", "Modality": "PT"}, "ReconFilterType", "XYZ Gauss2.00"),
        ({"ConvolutionKernel": "XYZ Gauss2.00", "Modality": "PT"}, "ConvolutionKernel", None),
        ({"RescaleType": "HU"}, "Units", "HU"),
        ({"RescaleType": "normalized"}, "Units", None),
        (
            {"Modality": "CT", "ImageType": ["ORIGINAL", "PRIMARY", "AXIAL"], "RescaleSlope": "1"},
            "Units",
            "HU",
        ),
        (
            {"Modality": "CT", "ImageType": ["DERIVED", "SECONDARY", "SURVIEW"], "RescaleSlope": "1"},
            "Units",
            None,
        ),
        ({"ImagingFrequency": "128176031"}, "ImagingFrequency", None),  # Hz: corpus uih
        ({"Units": "BQML"}, "Units", "Bq/mL"),
        ({"DecayCorrection": "NONE"}, "ImageDecayCorrected", False),
        ({"DeidentificationMethod": ["Basic", "Clean"]}, "DeidentificationMethod", ["Basic", "Clean"]),
    ],
)
def test_value(elements: dict[str, Any], name: str, value: Any) -> None:
    assert fields_of(header(**elements)).get(name) == value


def nested(*elements: tuple[str, Any]) -> Dataset:
    dataset = Dataset()
    for keyword, value in elements:
        setattr(dataset, keyword, value)
    return dataset


def test_tracer() -> None:
    nuclide = nested(("CodeValue", "C-111A1"), ("CodeMeaning", "^18^Fluorine"))  # PS3.16 CID 4020
    tracer = nested(
        ("Radiopharmaceutical", "Fluorodeoxyglucose"),
        ("RadiopharmaceuticalVolume", "4.5"),
        ("RadionuclideTotalDose", "370000000"),
        ("RadionuclideCodeSequence", Sequence([nuclide])),
    )
    said = fields_of(header(Modality="PT", RadiopharmaceuticalInformationSequence=Sequence([tracer])))
    assert said["TracerName"] == "Fluorodeoxyglucose"
    assert said["TracerRadionuclide"] == "F18"
    assert (said["InjectedRadioactivity"], said["InjectedRadioactivityUnits"]) == (370.0, "MBq")
    assert said["InjectedVolume"] == 4.5


def test_active_elements_of_a_coil() -> None:
    elements = [
        nested(("MultiCoilElementName", name), ("MultiCoilElementUsed", used))
        for name, used in (("H1", "YES"), ("H2", "NO"), ("H3", "YES"))
    ]
    said = fields_of(header(MultiCoilDefinitionSequence=Sequence(elements)))
    assert said["ReceiveCoilActiveElements"] == "H1;H3"
    vendor = Facts(extra={"ReceiveCoilActiveElements": "HEA"})
    assert (
        fields_of(header(MultiCoilDefinitionSequence=Sequence(elements)), vendor)["ReceiveCoilActiveElements"]
        == "HEA"
    )


def test_excitations_of_a_volume_that_takes_several() -> None:
    volume = Facts(repetition_time_s=21.6)
    said = header(RepetitionTime="3600", MRAcquisitionType="3D")
    assert fields_of(said, volume)["RepetitionTimeExcitation"] == 3.6
    assert "RepetitionTimeExcitation" not in fields_of(said, Facts(repetition_time_s=3.6))
    flat = header(RepetitionTime="3600", MRAcquisitionType="2D")
    assert "RepetitionTimeExcitation" not in fields_of(flat, volume)


def frames(flip_angle: str, inversion_time: str, slices: int = 2) -> list[tuple[Any, ...]]:
    return [per_volume(header(FlipAngle=flip_angle, InversionTime=inversion_time))] * slices


def test_values_that_change_between_volumes_are_listed_or_left_out() -> None:
    assert [row.bids for row in VOLUME_FIELDS if row.is_list] == ["FlipAngle"]
    assert of_volumes([frames("5", "900"), frames("5", "900")]) == {}
    # BIDS has a list for the flip angle, and one number for the inversion time
    assert of_volumes([frames("5", "900"), frames("20", "900")]) == {"FlipAngle": [5.0, 20.0]}
    assert of_volumes([frames("5", "900"), frames("5", "2700")]) == {"InversionTime": None}


def test_values_that_change_within_a_volume_are_left_out() -> None:
    assert of_volumes([frames("5", "900", 1) + frames("20", "900", 1)]) == {"FlipAngle": None}


def test_rate_of_the_whole_body_is_found_among_others() -> None:
    rates = []
    for definition, value in (("IEC_HEAD", 0.5), ("IEC_WHOLE_BODY", 0.125), ("IEC_LOCAL", 1.5)):
        rate = Dataset()
        rate.SpecificAbsorptionRateDefinition, rate.SpecificAbsorptionRateValue = definition, value
        rates.append(rate)
    assert fields_of(header(SpecificAbsorptionRateSequence=Sequence(rates)))["SAR"] == 0.125
    assert "SAR" not in fields_of(header(SpecificAbsorptionRateSequence=Sequence(rates[:1])))


@pytest.mark.parametrize(
    ("keyword", "raw"),
    [
        ("EchoTime", b"1.2.3 "),
        ("EchoTime", b"3O"),
        ("EchoTime", b"nan "),
        ("EchoTime", b"-1"),
        ("SeriesNumber", b"4.5 "),
        ("SeriesNumber", b"four"),
        ("MagneticFieldStrength", b"strong"),
        ("ImageOrientationPatient", b"1\\0\\0\\0\\one\\0 "),
        ("MRAcquisitionType", b"2D3D"),
        ("AcquisitionTime", b"noon"),
    ],
)
def test_malformed_value_is_left_out(keyword: str, raw: bytes) -> None:
    assert fields_of(stored(keyword, raw)) == fields_of(header())


def test_first_of_several_values_counts_where_one_is_meant() -> None:
    assert fields_of(stored("EchoTime", b"2.5\\4.5 "))["EchoTime"] == 0.0025


@pytest.mark.parametrize(
    ("keyword", "said", "time"),
    [
        ("AcquisitionTime", "122458.102500", "12:24:58.102500"),
        ("AcquisitionTime", "000000", "00:00:00.000000"),
        ("AcquisitionTime", "093844.5", "09:38:44.500000"),
        ("AcquisitionTime", "09:38:44.5", "09:38:44.500000"),
        ("AcquisitionTime", "235960", "23:59:60.000000"),  # leap second, PS3.5 section 6.2
        ("AcquisitionTime", "1224", None),
        ("AcquisitionTime", "246060", None),
        ("AcquisitionTime", "20180918122458", "12:24:58.000000"),  # a DT where a TM belongs
        ("AcquisitionDateTime", "20210902132954.44000", "13:29:54.440000"),
        ("AcquisitionDateTime", "20210902132954.44+0100", "13:29:54.440000"),
        ("AcquisitionDateTime", "20210902", None),
    ],
)
def test_clock_time(keyword: str, said: str, time: str | None) -> None:
    assert clock_time(keyword)(Source(header=header(**{keyword: said}), facts=Facts())) == time


def test_acquisition_time_takes_the_frames_own_only_if_the_image_has_none() -> None:
    assert (
        fields_of(header(FrameAcquisitionDateTime="20220711120905.225000"))["AcquisitionTime"]
        == "12:09:05.225000"
    )
    both = header(AcquisitionDateTime="20220711120904", FrameAcquisitionDateTime="20220711120905")
    assert fields_of(both)["AcquisitionTime"] == "12:09:04.000000"


def test_first_of_keeps_false_and_zero() -> None:
    source = Source(header=header(), facts=Facts())
    assert first_of(lambda _: None, lambda _: False, lambda _: True)(source) is False
    assert first_of(lambda _: 0, lambda _: 1)(source) == 0
    assert first_of()(source) is None


# ---------------------------------------------------------------------------------------------- arguments


def test_repetition_time_of_the_stack_precedes_that_of_the_facts() -> None:
    vendor = Facts(repetition_time_s=2.43537)
    assert fields_of(header(), vendor)["RepetitionTime"] == 2.43537
    assert fields_of(header(), vendor, repetition_time_s=1.5)["RepetitionTime"] == 1.5
    # PS3.3 C.8.13.5.2: 0 for a single excitation a volume; BIDS wants more than 0
    assert "RepetitionTime" not in fields_of(header(), Facts(repetition_time_s=0.0))


def test_matrix_along_phase_encoding() -> None:
    said = header(Rows=96, Columns=80)
    assert fields_of(said, Facts(phase_encoding="column"))["ReconMatrixPE"] == 96
    assert fields_of(said, Facts(phase_encoding="row"))["ReconMatrixPE"] == 80
    assert "ReconMatrixPE" not in fields_of(said)
    assert "ReconMatrixPE" not in fields_of(header(Rows=96), Facts(phase_encoding="row"))


def test_matrix_of_a_mosaic_comes_from_the_caller_only() -> None:
    said = header(Rows=432, Columns=432)
    mosaic = Mosaic(slices=36, tiles_per_row=6, normal_lps=(0, 0, 1), slice_step_mm=3)
    tiled = Facts(mosaic=mosaic, phase_encoding="column")
    assert "ReconMatrixPE" not in fields_of(said, tiled)
    assert fields_of(said, tiled, matrix=(72, 70))["ReconMatrixPE"] == 72


def test_scanner_and_institution_are_named_on_demand_only() -> None:
    said = header(Modality="MR", **dict.fromkeys(IDENTIFYING_SITE, "Phantom Site"))
    assert set(fields_of(said, site=True)) - set(fields_of(said)) == IDENTIFYING_SITE


def test_vendor_fills_gaps_and_overrides_nothing() -> None:
    vendor = Facts(multiband_factor=3, extra={"DwellTime": 3e-06, "FlipAngle": 1.0})
    said = fields_of(header(FlipAngle="75", ScanningSequence=["EP", "GR"]), vendor)
    assert said["DwellTime"] == 3e-06
    assert said["FlipAngle"] == 75.0
    assert said["PulseSequenceType"] == "Multiband Gradient Echo EPI"


@pytest.mark.parametrize(
    ("facts", "name", "value"),
    [
        (Facts(multiband_factor=3), "MultibandAccelerationFactor", 3),
        (Facts(partial_fourier=0.75), "PartialFourier", 0.75),
        (Facts(parallel_reduction_factor_in_plane=2.0), "ParallelReductionFactorInPlane", 2.0),
        (Facts(bandwidth_per_pixel_phase_encode_hz=27.778), "BandwidthPerPixelPhaseEncode", 27.778),
        (Facts(effective_echo_spacing_s=0.0005), "EffectiveEchoSpacing", 0.0005),
        (Facts(effective_echo_spacing_s=0.0), "EffectiveEchoSpacing", None),
        (Facts(total_readout_time_s=0.0355), "TotalReadoutTime", 0.0355),
        (Facts(phase_encoding="row"), "InPlanePhaseEncodingDirectionDICOM", "ROW"),
        (Facts(phase_encoding="column"), "InPlanePhaseEncodingDirectionDICOM", "COL"),
    ],
)
def test_fact(facts: Facts, name: str, value: Any) -> None:
    assert fields_of(header(), facts).get(name) == value


def plausible(keyword: str) -> Any:
    """Any legal value of an element."""
    coded = {
        "MRAcquisitionType": "3D",
        "SpectrallySelectedSuppression": "WATER",
        "MultiCoilElementUsed": "YES",
        "CodeMeaning": "^11^Carbon",
        "ASLSlabOrientation": [0.0, 0.0, 1.0],
        "Units": "BQML",
        "DecayCorrection": "START",
        "MagnetizationTransfer": "NONE",
        "Spoiling": "RF",
        "ContrastBolusIngredient": "GADOLINIUM",
        "ArterialSpinLabelingContrast": "PULSED",
        "ASLCrusherFlag": "YES",
        "ASLBolusCutoffFlag": "YES",
        "EchoPulseSequence": "SPIN",
        "AcquisitionMatrix": [64, 0, 0, 64],
        "ImageOrientationPatient": [1, 0, 0, 0, 1, 0],
    }
    by_vr = {"TM": "101010", "DT": "20200101101010", "DS": "5", "IS": "5", "US": 5, "UL": 5, "FD": 5.0}
    return coded.get(keyword, by_vr.get(dictionary_VR(keyword), "A"))


def all_elements(modality: str) -> Dataset:
    """Every element that a row reads; each sequence holds one item with all of them."""
    asked = {keyword for row in FIELDS for keyword in asked_by(row)}
    asked |= {"RepetitionTime", "MultiCoilElementName"}  # only after another says so
    dataset = Dataset()
    for keyword in asked:
        if dictionary_VR(keyword) != "SQ":
            setattr(dataset, keyword, plausible(keyword))
    dataset.Modality = modality
    for _ in range(2):  # a sequence inside a sequence
        item = copy.deepcopy(dataset)
        for keyword in asked:
            if dictionary_VR(keyword) == "SQ":
                setattr(dataset, keyword, Sequence([item]))
    return dataset


def test_every_row_gives_a_value_that_bids_allows(metadata: dict[str, list[dict[str, Any]]]) -> None:
    vendor = Facts(
        phase_encoding="row",
        repetition_time_s=2.0,
        partial_fourier=0.875,
        parallel_reduction_factor_in_plane=2.0,
        multiband_factor=2,
        effective_echo_spacing_s=0.0005,
        total_readout_time_s=0.03,
        bandwidth_per_pixel_phase_encode_hz=30.0,
    )
    said: dict[str, Any] = {}
    for modality in ("MR", "PT"):
        said |= sidecar(Header.of(all_elements(modality)), vendor, matrix=(64, 64), site=True)
    assert {row.bids for row in FIELDS} == set(said)
    for name, value in said.items():
        if name not in NOT_BIDS:
            allowed = [jsonschema.Draft202012Validator(definition) for definition in metadata[name]]
            assert any(validator.is_valid(value) for validator in allowed), (name, value)
    assert json.loads(json.dumps(said, allow_nan=False)) == said
