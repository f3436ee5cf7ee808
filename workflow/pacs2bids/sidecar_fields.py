"""The table of sidecar fields: what the sidecar of a volume says of how it was acquired.

A row of ``FIELDS`` is a name of BIDS (or, where BIDS has none, of dcm2niix, whose sidecars most tools know),
its unit, where DICOM keeps the value, and a reader made of the small combinators of ``sidecar_readers``. The
header that is read is that of a stack's first frame. What makes voxels incomparable splits a stack
(``splitting.SPLIT``, ``splitting.CLOSE``), so that every frame gives the same value; of the rest that scope
SERIES has, scanners keep it constant in a series and nothing checks it. What is known to vary is marked in
the table: FIRST is by intent that of the first frame, VOLUME is stated only where it holds for all volumes,
or as a list where BIDS has one (``sidecar.per_volume``).

Not in the table, on purpose: anything about the patient or a person, dates, UIDs, and free text that a
technician types beyond the names of series and protocol (PS3.15 Annex E). Fields that need the stored image
axes (PhaseEncodingDirection, SliceTiming) come with the stack, those that need the BIDS name (TaskName,
EchoTime1, Units, ...) when it is placed.
"""

from __future__ import annotations

from collections.abc import Mapping
from enum import StrEnum

from msgspec import Struct

from pacs2bids import __version__
from pacs2bids.model import Json
from pacs2bids.sidecar_readers import (
    MS_PER_S,
    Reader,
    acquisition_matrix_phase,
    active_coil_elements,
    choice,
    clock_time,
    constant,
    contains,
    ct_units,
    deidentification_codes,
    excitation_time_s,
    fact,
    first_of,
    in_plane_phase_encoding,
    integer,
    inversion_time_s,
    is_pet,
    item,
    labeling_delay_s,
    megahertz,
    number,
    numbers,
    positive,
    pulse_sequence_type,
    radionuclide,
    reconstructed_matrix_phase,
    text,
    texts,
    vendor,
    whole_body_sar,
)


class Policy(StrEnum):
    """When a field leaves. SITE: where the scanner stands, DEVICE: which one it is; both if it is wanted
    (``privacy`` of the configuration). CHECKED: always; people type it, so that the gate may take it away."""

    ALWAYS = "always"
    CHECKED = "checked"
    SITE = "site"
    DEVICE = "device"


class Scope(StrEnum):
    """For what a value holds. SERIES: for every frame of a stack. FIRST: for its first frame only, where one
    wants to know when or how it began. VOLUME: it may change from volume to volume."""

    SERIES = "series"
    FIRST = "first"
    VOLUME = "volume"


class Field(Struct, frozen=True, kw_only=True):
    """One sidecar field: its name, the unit of the value that ``read`` gives, and where DICOM defines it.

    ``is_list``: of a field of VOLUME scope, BIDS lets it be a list with one value a volume.
    """

    bids: str
    read: Reader
    cite: str
    unit: str | None = None
    policy: Policy = Policy.ALWAYS
    scope: Scope = Scope.SERIES
    is_list: bool = False


YES_NO: Mapping[str, Json] = {"YES": True, "NO": False}

# Sections are of PS3.3; "enh." marks the functional groups and modules of enhanced multi-frame images.
FIELDS: tuple[Field, ...] = (
    # -- scanner
    Field(bids="Modality", read=text("Modality"), cite="C.7.3.1 (0008,0060)"),
    Field(
        bids="MagneticFieldStrength",
        unit="T",
        read=positive(number("MagneticFieldStrength")),
        cite="C.8.3.1 (0018,0087) T",
    ),
    Field(
        bids="ImagingFrequency",
        unit="MHz",
        read=megahertz(first_of(number("ImagingFrequency"), number("TransmitterFrequency"))),
        cite="C.8.3.1 (0018,0084) MHz; enh. C.8.13.5.6 (0018,9098) MHz",
    ),
    Field(bids="Manufacturer", read=text("Manufacturer"), cite="C.7.5.1 (0008,0070)"),
    Field(bids="ManufacturersModelName", read=text("ManufacturerModelName"), cite="C.7.5.1 (0008,1090)"),
    Field(bids="SoftwareVersions", read=text("SoftwareVersions"), cite="C.7.5.1 (0018,1020)"),
    Field(
        bids="InstitutionName",
        read=text("InstitutionName"),
        cite="C.7.5.1 (0008,0080)",
        policy=Policy.SITE,
    ),
    Field(
        bids="InstitutionAddress",
        read=text("InstitutionAddress"),
        cite="C.7.5.1 (0008,0081)",
        policy=Policy.SITE,
    ),
    Field(
        bids="InstitutionalDepartmentName",
        read=text("InstitutionalDepartmentName"),
        cite="C.7.5.1 (0008,1040)",
        policy=Policy.SITE,
    ),
    Field(bids="StationName", read=text("StationName"), cite="C.7.5.1 (0008,1010)", policy=Policy.SITE),
    Field(
        bids="DeviceSerialNumber",
        read=text("DeviceSerialNumber"),
        cite="C.7.5.1 (0018,1000)",
        policy=Policy.DEVICE,
    ),
    # -- series
    Field(bids="BodyPart", read=text("BodyPartExamined"), cite="C.7.3.1 (0018,0015)"),
    Field(bids="PatientPosition", read=text("PatientPosition"), cite="C.7.3.1 (0018,5100)"),
    Field(
        bids="SeriesDescription",
        read=text("SeriesDescription"),
        cite="C.7.3.1 (0008,103E)",
        policy=Policy.CHECKED,
    ),
    Field(bids="ProtocolName", read=text("ProtocolName"), cite="C.7.3.1 (0018,1030)", policy=Policy.CHECKED),
    Field(bids="SeriesNumber", read=integer("SeriesNumber"), cite="C.7.3.1 (0020,0011)"),
    Field(
        bids="AcquisitionNumber",
        read=first_of(integer("AcquisitionNumber"), integer("FrameAcquisitionNumber")),
        cite="C.7.10.1 (0020,0012); enh. C.7.6.16.2.2 (0020,9156)",
        scope=Scope.FIRST,
    ),
    Field(
        bids="AcquisitionTime",
        read=first_of(
            clock_time("AcquisitionTime"),
            clock_time("AcquisitionDateTime"),
            clock_time("FrameAcquisitionDateTime"),
        ),
        cite="C.7.10.1 (0008,0032); enh. C.7.10.1 (0008,002A), C.7.6.16.2.2 (0018,9074)",
        scope=Scope.FIRST,
    ),
    Field(
        bids="ImageType",
        read=first_of(texts("FrameType"), texts("ImageType")),
        cite="C.7.6.1 (0008,0008); enh. C.8.13.5.1 (0008,9007)",
    ),
    # -- sequence
    Field(
        bids="MRAcquisitionType",
        read=choice("MRAcquisitionType", {"1D": "1D", "2D": "2D", "3D": "3D"}),
        cite="C.8.3.1 (0018,0023); enh. C.8.13.4",
    ),
    Field(bids="ScanningSequence", read=text("ScanningSequence"), cite="C.8.3.1 (0018,0020)"),
    Field(bids="SequenceVariant", read=text("SequenceVariant"), cite="C.8.3.1 (0018,0021)"),
    Field(bids="ScanOptions", read=text("ScanOptions"), cite="C.8.3.1 (0018,0022)"),
    Field(
        bids="SequenceName",
        read=first_of(text("SequenceName"), text("PulseSequenceName")),
        cite="C.8.3.1 (0018,0024); enh. C.8.13.4 (0018,9005)",
        scope=Scope.FIRST,  # Siemens names the direction of diffusion in it, "ep_b1000#12" (corpus decubitus)
    ),
    Field(
        bids="PulseSequenceType",
        read=first_of(vendor("PulseSequenceType"), pulse_sequence_type),
        cite="C.8.3.1 (0018,0020), (0018,0021), (0018,0023), (0018,0082); "
        "enh. C.8.13.4 (0018,9008), (0018,9018), C.8.13.5.5 (0018,9079)",
    ),
    # -- times and angles
    Field(bids="EchoNumber", read=integer("EchoNumbers"), cite="C.8.3.1 (0018,0086)"),
    Field(
        bids="EchoTime",
        unit="s",
        read=positive(first_of(number("EffectiveEchoTime", MS_PER_S), number("EchoTime", MS_PER_S))),
        cite="C.8.3.1 (0018,0081) ms; enh. C.8.13.5.4 (0018,9082) ms",
    ),
    Field(
        bids="RepetitionTime",
        unit="s",
        read=positive(first_of(fact("repetition_time_s"), number("RepetitionTime", MS_PER_S))),
        cite="C.8.3.1 (0018,0080) ms; enh. C.8.13.5.2; the time from volume to volume where a vendor says it",
        scope=Scope.VOLUME,  # triggered by the heart, or several in one series to map T1 or B1
    ),
    Field(
        bids="InversionTime",
        unit="s",
        read=inversion_time_s,
        cite="C.8.3.1 (0018,0082) ms; enh. C.8.13.5.5 (0018,9079) ms",
        scope=Scope.VOLUME,
    ),
    Field(
        bids="FlipAngle",
        unit="degree",
        read=positive(number("FlipAngle")),
        cite="C.8.3.1 (0018,1314) degrees; enh. C.8.13.5.2",
        scope=Scope.VOLUME,
        is_list=True,
    ),
    Field(
        bids="RepetitionTimeExcitation",
        unit="s",
        read=excitation_time_s,
        cite="C.8.3.1 (0018,0080) ms, (0018,0023); enh. C.8.13.5.2",
    ),
    Field(
        bids="AcquisitionDuration",
        unit="s",
        read=positive(number("AcquisitionDuration")),
        cite="C.8.3.1, enh. C.8.13.1 (0018,9073) s; BIDS: of the whole scan",
    ),
    # -- magnetisation
    Field(
        bids="MTState",
        read=first_of(
            choice("MagnetizationTransfer", {"ON_RESONANCE": True, "OFF_RESONANCE": True, "NONE": False}),
            contains("SequenceVariant", "MTC"),
        ),
        cite="C.8.3.1 (0018,0021); enh. C.8.13.5.6 (0018,9020)",
    ),
    Field(
        bids="SpoilingState",
        read=first_of(
            choice("Spoiling", {"RF": True, "GRADIENT": True, "RF_AND_GRADIENT": True, "NONE": False}),
            contains("SequenceVariant", "SP"),
        ),
        cite="C.8.3.1 (0018,0021); enh. C.8.13.5.5 (0018,9016)",
    ),
    Field(
        bids="SpoilingType",
        read=choice("Spoiling", {"RF": "RF", "GRADIENT": "GRADIENT", "RF_AND_GRADIENT": "COMBINED"}),
        cite="enh. C.8.13.5.5 (0018,9016)",
    ),
    Field(
        bids="ContrastBolusIngredient",
        read=choice(
            "ContrastBolusIngredient",
            {code: code for code in ("IODINE", "GADOLINIUM", "CARBON DIOXIDE", "BARIUM", "XENON")},
        ),
        cite="C.7.6.4 (0018,1048)",
    ),
    Field(
        bids="WaterSuppression",
        read=choice(
            "SpectrallySelectedSuppression",
            {"WATER": True, "FAT_AND_WATER": True, "FAT": False, "SILICON_GEL": False, "NONE": False},
        ),
        cite="enh. C.8.13.4 (0018,9025)",
    ),
    Field(
        bids="SAR",
        unit="W/kg",
        read=whole_body_sar,
        cite="C.8.3.1 (0018,1316); enh. C.8.13.5.2 (0018,9239), (0018,9179), (0018,9181)",
        scope=Scope.FIRST,
    ),
    Field(
        bids="NumberOfAverages",
        read=positive(number("NumberOfAverages")),
        cite="C.8.3.1 (0018,0083); enh. C.8.13.5.10",
        scope=Scope.VOLUME,  # more for higher b-values (corpus uih)
    ),
    # -- geometry and k-space
    Field(
        bids="SliceThickness",
        unit="mm",
        read=positive(number("SliceThickness")),
        cite="C.7.6.2 (0018,0050) mm; enh. C.7.6.16.2.1",
    ),
    Field(
        bids="SpacingBetweenSlices",
        unit="mm",
        read=number("SpacingBetweenSlices"),
        cite="C.8.3.1 (0018,0088) mm; enh. C.7.6.16.2.1",
    ),
    Field(
        bids="EchoTrainLength",
        read=positive(integer("EchoTrainLength")),
        cite="C.8.3.1 (0018,0091); enh. C.8.13.5.2",
    ),
    Field(
        bids="PercentPhaseFOV",
        unit="%",
        read=positive(number("PercentPhaseFieldOfView")),
        cite="C.8.3.1 (0018,0094); enh. C.8.13.5.3",
    ),
    Field(
        bids="PercentSampling",
        unit="%",
        read=positive(number("PercentSampling")),
        cite="C.8.3.1 (0018,0093); enh. C.8.13.5.3",
    ),
    Field(
        bids="PhaseEncodingSteps",
        read=positive(
            first_of(integer("NumberOfPhaseEncodingSteps"), integer("MRAcquisitionPhaseEncodingStepsInPlane"))
        ),
        cite="C.8.3.1 (0018,0089); enh. C.8.13.5.3 (0018,9231)",
    ),
    Field(
        bids="PhaseEncodingStepsOutOfPlane",
        read=positive(integer("MRAcquisitionPhaseEncodingStepsOutOfPlane")),
        cite="enh. C.8.13.5.3 (0018,9232)",
    ),
    Field(
        bids="FrequencyEncodingSteps",
        read=positive(integer("MRAcquisitionFrequencyEncodingSteps")),
        cite="enh. C.8.13.5.3 (0018,9058)",
    ),
    Field(
        bids="NumberOfKSpaceTrajectories",
        read=positive(integer("NumberOfKSpaceTrajectories")),
        cite="enh. C.8.13.4 (0018,9093)",
    ),
    Field(
        bids="AcquisitionMatrixPE",
        read=first_of(acquisition_matrix_phase, integer("MRAcquisitionPhaseEncodingStepsInPlane")),
        cite="C.8.3.1 (0018,1310); enh. C.8.13.5.3 (0018,9231)",
    ),
    Field(
        bids="ReconMatrixPE",
        read=reconstructed_matrix_phase,
        cite="C.7.6.3 (0028,0010), (0028,0011); C.8.3.1 (0018,1312)",
    ),
    Field(
        bids="InPlanePhaseEncodingDirectionDICOM",
        read=in_plane_phase_encoding,
        cite="C.8.3.1 (0018,1312); enh. C.8.13.5.3",
    ),
    Field(
        bids="ImageOrientationPatientDICOM",
        read=numbers("ImageOrientationPatient", 6),
        cite="C.7.6.2 (0020,0037); enh. C.7.6.16.2.4",
        scope=Scope.FIRST,  # within the tolerance of splitting.CLOSE (corpus ge: the tenth digit)
    ),
    Field(
        bids="PartialFourier",
        read=fact("partial_fourier"),
        cite="enh. C.8.13.5.5 (0018,9081); the fraction is the vendor's to tell",
    ),
    Field(
        bids="PartialFourierDirection",
        read=text("PartialFourierDirection"),
        cite="enh. C.8.13.5.5 (0018,9036)",
    ),
    Field(
        bids="ParallelReductionFactorInPlane",
        read=positive(fact("parallel_reduction_factor_in_plane")),
        cite="enh. C.8.13.5.5 (0018,9069)",
    ),
    Field(
        bids="ParallelReductionFactorOutOfPlane",
        read=positive(number("ParallelReductionFactorOutOfPlane")),
        cite="enh. C.8.13.5.5 (0018,9155)",
    ),
    Field(
        bids="ParallelAcquisitionTechnique",
        read=text("ParallelAcquisitionTechnique"),
        cite="enh. C.8.13.5.5 (0018,9078)",
    ),
    Field(
        bids="MultibandAccelerationFactor",
        read=fact("multiband_factor"),
        cite="BIDS; DICOM has no element for it: the vendor's to tell",
    ),
    # -- readout
    Field(
        bids="PixelBandwidth",
        unit="Hz",
        read=positive(number("PixelBandwidth")),
        cite="C.8.3.1 (0018,0095) Hz/pixel; enh. C.8.13.5.6",
    ),
    Field(
        bids="BandwidthPerPixelPhaseEncode",
        unit="Hz",
        read=fact("bandwidth_per_pixel_phase_encode_hz"),
        cite="DICOM has no element for it: the vendor's to tell",
    ),
    Field(
        bids="EffectiveEchoSpacing",
        unit="s",
        read=positive(fact("effective_echo_spacing_s")),
        cite="BIDS; DICOM has no element for it: the vendor's to tell",
    ),
    Field(
        bids="TotalReadoutTime",
        unit="s",
        read=positive(fact("total_readout_time_s")),
        cite="BIDS; DICOM has no element for it: the vendor's to tell",
    ),
    Field(
        bids="ReceiveCoilName",
        read=text("ReceiveCoilName"),
        cite="C.8.3.1 (0018,1250); enh. C.8.13.5.7",
    ),
    Field(
        bids="ReceiveCoilActiveElements",
        read=first_of(vendor("ReceiveCoilActiveElements"), active_coil_elements),
        cite="enh. C.8.13.5.7 (0018,9045), (0018,9047), (0018,9048)",
    ),
    Field(
        bids="MRTransmitCoilSequence",
        read=text("TransmitCoilName"),
        cite="C.8.3.1 (0018,1251); enh. C.8.13.5.8",
    ),
    # -- arterial spin labelling
    Field(
        bids="ArterialSpinLabelingType",
        read=choice(
            "ArterialSpinLabelingContrast",
            {"CONTINUOUS": "CASL", "PSEUDOCONTINUOUS": "PCASL", "PULSED": "PASL"},
        ),
        cite="enh. C.8.13.4 (0018,9250)",
    ),
    Field(
        bids="LabelingDuration",
        unit="s",
        read=positive(number("ASLPulseTrainDuration", MS_PER_S)),
        cite="enh. C.8.13.5.14 (0018,9258) ms",
    ),
    Field(
        bids="VascularCrushing",
        read=choice("ASLCrusherFlag", YES_NO),
        cite="enh. C.8.13.5.14 (0018,9259)",
    ),
    Field(
        bids="BolusCutOffFlag",
        read=choice("ASLBolusCutoffFlag", YES_NO),
        cite="enh. C.8.13.5.14 (0018,925C)",
    ),
    Field(
        bids="BolusCutOffTechnique",
        read=text("ASLBolusCutoffTechnique"),
        cite="enh. C.8.13.5.14 (0018,925E)",
    ),
    Field(
        bids="BolusCutOffDelayTime",
        unit="s",
        read=number("ASLBolusCutoffDelayTime", MS_PER_S),
        cite="enh. C.8.13.5.14 (0018,925F) ms",
    ),
    Field(
        bids="PostLabelingDelay",
        unit="s",
        read=first_of(vendor("PostLabelingDelay"), labeling_delay_s),
        cite="BIDS; C.8.3.1 (0018,0082) ms; enh. C.8.13.4 (0018,9250), C.8.13.5.5 (0018,9079) ms",
    ),
    Field(
        bids="VascularCrushingVENC",
        unit="cm/s",
        read=positive(number("ASLCrusherFlowLimit")),
        cite="enh. C.8.13.5.14 (0018,925A) cm/s",
    ),
    Field(
        bids="LabelingSlabThickness",
        unit="mm",
        read=item("ASLSlabSequence", positive(number("ASLSlabThickness"))),
        cite="enh. C.8.13.5.14 (0018,9260), (0018,9254) mm",
    ),
    Field(
        bids="LabelingOrientation",
        read=item("ASLSlabSequence", numbers("ASLSlabOrientation", 3)),
        cite="enh. C.8.13.5.14 (0018,9260), (0018,9255)",
    ),
    # -- positron emission tomography
    Field(
        bids="TracerName",
        read=item("RadiopharmaceuticalInformationSequence", text("Radiopharmaceutical")),
        cite="C.8.9.2 (0054,0016), (0018,0031)",
    ),
    Field(
        bids="TracerRadionuclide",
        read=item("RadiopharmaceuticalInformationSequence", item("RadionuclideCodeSequence", radionuclide)),
        cite="C.8.9.2 (0054,0016), (0054,0300), (0008,0104)",
    ),
    Field(
        bids="InjectedRadioactivity",
        unit="MBq",
        read=item("RadiopharmaceuticalInformationSequence", positive(number("RadionuclideTotalDose", 1e6))),
        cite="C.8.9.2 (0054,0016), (0018,1074) Bq",
    ),
    Field(
        bids="InjectedRadioactivityUnits",
        read=item(
            "RadiopharmaceuticalInformationSequence",
            lambda source: "MBq" if positive(number("RadionuclideTotalDose"))(source) else None,
        ),
        cite="C.8.9.2 (0054,0016), (0018,1074) Bq",
    ),
    Field(
        bids="InjectedVolume",
        unit="mL",
        read=item("RadiopharmaceuticalInformationSequence", positive(number("RadiopharmaceuticalVolume"))),
        cite="C.8.9.2 (0054,0016), (0018,1071) cm3",
    ),
    Field(
        bids="Units",
        read=first_of(vendor("Units"), choice("Units", {"BQML": "Bq/mL"}), ct_units),
        cite="C.8.9.1 (0054,1001); CT: C.8.2.1 (0028,1054), (0028,1053), of C.7.3.1 (0008,0060), (0008,0008)",
    ),
    Field(
        bids="ImageDecayCorrected",
        read=choice("DecayCorrection", {"START": True, "ADMIN": True, "NONE": False}),
        cite="C.8.9.1 (0054,1102)",
    ),
    Field(
        bids="AttenuationCorrection",
        read=text("AttenuationCorrectionMethod"),
        cite="C.8.9.1 (0054,1101)",
    ),
    Field(bids="ReconMethodName", read=text("ReconstructionMethod"), cite="C.8.9.1 (0054,1103)"),
    Field(
        bids="ReconFilterType",
        read=lambda source: text("ConvolutionKernel")(source) if is_pet(source) else None,
        cite="C.8.9.1 (0018,1210), of C.7.3.1 (0008,0060) PT",
    ),
    Field(
        bids="DoseCalibrationFactor",
        read=positive(number("DoseCalibrationFactor")),
        cite="C.8.9.4 (0054,1322)",
        scope=Scope.FIRST,
    ),
    # -- computed tomography
    Field(
        bids="ExposureTime",
        unit="s",
        read=positive(number("ExposureTime", MS_PER_S)),
        cite="C.8.2.1 (0018,1150) ms",
        scope=Scope.FIRST,  # dose modulation: it follows the body from slice to slice
    ),
    Field(
        bids="XRayTubeCurrent",
        unit="mA",
        read=positive(number("XRayTubeCurrent")),
        cite="C.8.2.1 (0018,1151) mA",
        scope=Scope.FIRST,  # dose modulation
    ),
    Field(
        bids="XRayExposure",
        unit="mAs",
        read=positive(number("Exposure")),
        cite="C.8.2.1 (0018,1152) mAs",
        scope=Scope.FIRST,  # dose modulation
    ),
    Field(bids="KVP", unit="kV", read=positive(number("KVP")), cite="C.8.2.1 (0018,0060) kV"),
    Field(
        bids="ConvolutionKernel",
        read=lambda source: None if is_pet(source) else text("ConvolutionKernel")(source),
        cite="C.8.2.1 (0018,1210), but of C.7.3.1 (0008,0060) PT",
    ),
    Field(
        bids="GantryDetectorTilt",
        unit="degree",
        read=number("GantryDetectorTilt"),
        cite="C.8.2.1 (0018,1120) degrees",
    ),
    Field(
        bids="CTDIvol",
        unit="mGy",
        read=positive(number("CTDIvol")),
        cite="C.8.2.1 (0018,9345) mGy",
        scope=Scope.FIRST,
    ),
    # -- what was done to the header
    Field(
        bids="DeidentificationMethod",
        read=texts("DeidentificationMethod"),
        cite="C.7.1.1 (0012,0063)",
    ),
    Field(
        bids="DeidentificationMethodCodeSequence",
        read=deidentification_codes,
        cite="C.7.1.1 (0012,0064), (0008,0100), (0008,0104), (0008,0102), (0008,0103)",
    ),
    # -- this program
    Field(bids="ConversionSoftware", read=constant("pacs2bids"), cite="pacs2bids"),
    Field(bids="ConversionSoftwareVersion", read=constant(__version__), cite="pacs2bids"),
)

HELD_BACK = (Policy.SITE, Policy.DEVICE)
VOLUME_FIELDS = tuple(row for row in FIELDS if row.scope is Scope.VOLUME)
