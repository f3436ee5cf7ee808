"""The standard's elements that the engine asks for: tag and VR by keyword (PS3.6).

pydicom has them all, but takes a quarter of a second to import: as long as a thousand headers take to read.
What is not here is looked up in pydicom; a test holds each row against its dictionary.
"""

from __future__ import annotations

from functools import cache
from typing import NamedTuple

from msgspec import Struct


class Private(Struct, frozen=True, kw_only=True):
    """A private element: found by its creator, wherever the block lies (PS3.5 section 7.8.1).

    ``element`` is the low byte. ``vr`` reads the value where the file does not say it (UN, implicit VR).
    """

    creator: str
    group: int
    element: int
    vr: str = "UN"


_ROWS = """
00020002 UI MediaStorageSOPClassUID
00020010 UI TransferSyntaxUID
00080005 CS SpecificCharacterSet
00080008 CS ImageType
00080016 UI SOPClassUID
00080017 UI AcquisitionUID
00080018 UI SOPInstanceUID
00080020 DA StudyDate
00080021 DA SeriesDate
00080022 DA AcquisitionDate
00080023 DA ContentDate
0008002A DT AcquisitionDateTime
00080030 TM StudyTime
00080031 TM SeriesTime
00080032 TM AcquisitionTime
00080033 TM ContentTime
00080050 SH AccessionNumber
00080060 CS Modality
00080070 LO Manufacturer
00080080 LO InstitutionName
00080081 ST InstitutionAddress
00080090 PN ReferringPhysicianName
0008009C PN ConsultingPhysicianName
00080100 SH CodeValue
00080102 SH CodingSchemeDesignator
00080103 SH CodingSchemeVersion
00080104 LO CodeMeaning
00080201 SH TimezoneOffsetFromUTC
00081010 SH StationName
00081030 LO StudyDescription
00081032 SQ ProcedureCodeSequence
0008103E LO SeriesDescription
00081040 LO InstitutionalDepartmentName
00081048 PN PhysiciansOfRecord
00081050 PN PerformingPhysicianName
00081060 PN NameOfPhysiciansReadingStudy
00081070 PN OperatorsName
00081090 LO ManufacturerModelName
00089007 CS FrameType
00089205 CS PixelPresentation
00089206 CS VolumetricProperties
00089207 CS VolumeBasedCalculationTechnique
00089208 CS ComplexImageComponent
00089209 CS AcquisitionContrast
00100010 PN PatientName
00100020 LO PatientID
00100030 DA PatientBirthDate
00100040 CS PatientSex
00101000 LO OtherPatientIDs
00101001 PN OtherPatientNames
00101002 SQ OtherPatientIDsSequence
00101005 PN PatientBirthName
00101010 AS PatientAge
00101020 DS PatientSize
00101030 DS PatientWeight
00101040 LO PatientAddress
00101060 PN PatientMotherBirthName
00101090 LO MedicalRecordLocator
00102154 SH PatientTelephoneNumbers
00102155 LT PatientTelecomInformation
00102297 PN ResponsiblePerson
00120063 LO DeidentificationMethod
00120064 SQ DeidentificationMethodCodeSequence
00180010 LO ContrastBolusAgent
00180015 CS BodyPartExamined
00180020 CS ScanningSequence
00180021 CS SequenceVariant
00180022 CS ScanOptions
00180023 CS MRAcquisitionType
00180024 SH SequenceName
00180031 LO Radiopharmaceutical
00180050 DS SliceThickness
00180060 DS KVP
00180080 DS RepetitionTime
00180081 DS EchoTime
00180082 DS InversionTime
00180083 DS NumberOfAverages
00180084 DS ImagingFrequency
00180085 SH ImagedNucleus
00180086 IS EchoNumbers
00180087 DS MagneticFieldStrength
00180088 DS SpacingBetweenSlices
00180089 IS NumberOfPhaseEncodingSteps
00180090 DS DataCollectionDiameter
00180091 IS EchoTrainLength
00180093 DS PercentSampling
00180094 DS PercentPhaseFieldOfView
00180095 DS PixelBandwidth
00181000 LO DeviceSerialNumber
00181020 LO SoftwareVersions
00181030 LO ProtocolName
00181048 CS ContrastBolusIngredient
00181060 DS TriggerTime
00181071 DS RadiopharmaceuticalVolume
00181074 DS RadionuclideTotalDose
00181080 CS BeatRejectionFlag
00181088 IS HeartRate
00181094 IS TriggerWindow
00181100 DS ReconstructionDiameter
00181110 DS DistanceSourceToDetector
00181111 DS DistanceSourceToPatient
00181120 DS GantryDetectorTilt
00181130 DS TableHeight
00181140 CS RotationDirection
00181150 IS ExposureTime
00181151 IS XRayTubeCurrent
00181152 IS Exposure
00181153 IS ExposureInuAs
00181160 SH FilterType
00181170 IS GeneratorPower
00181190 DS FocalSpots
00181210 SH ConvolutionKernel
00181250 SH ReceiveCoilName
00181251 SH TransmitCoilName
00181310 US AcquisitionMatrix
00181312 CS InPlanePhaseEncodingDirection
00181314 DS FlipAngle
00181316 DS SAR
00185100 CS PatientPosition
00188151 DS XRayTubeCurrentInuA
00189004 CS ContentQualification
00189005 SH PulseSequenceName
00189008 CS EchoPulseSequence
00189009 CS InversionRecovery
00189010 CS FlowCompensation
00189011 CS MultipleSpinEcho
00189014 CS PhaseContrast
00189015 CS TimeOfFlightContrast
00189016 CS Spoiling
00189017 CS SteadyStatePulseSequence
00189018 CS EchoPlanarPulseSequence
00189020 CS MagnetizationTransfer
00189021 CS T2Preparation
00189022 CS BloodSignalNulling
00189025 CS SpectrallySelectedSuppression
00189027 CS SpatialPresaturation
00189034 CS RectilinearPhaseEncodeReordering
00189035 FD TagThickness
00189036 CS PartialFourierDirection
00189043 CS ReceiveCoilType
00189045 SQ MultiCoilDefinitionSequence
00189047 SH MultiCoilElementName
00189048 CS MultiCoilElementUsed
00189049 SQ MRTransmitCoilSequence
00189051 CS TransmitCoilType
00189058 US MRAcquisitionFrequencyEncodingSteps
00189069 FD ParallelReductionFactorInPlane
00189073 FD AcquisitionDuration
00189074 DT FrameAcquisitionDateTime
00189075 CS DiffusionDirectionality
00189076 SQ DiffusionGradientDirectionSequence
00189077 CS ParallelAcquisition
00189078 CS ParallelAcquisitionTechnique
00189079 FD InversionTimes
00189081 CS PartialFourier
00189082 FD EffectiveEchoTime
00189087 FD DiffusionBValue
00189089 FD DiffusionGradientOrientation
00189093 US NumberOfKSpaceTrajectories
00189094 CS CoverageOfKSpace
00189098 FD TransmitterFrequency
00189100 CS ResonantNucleus
00189107 SQ MRSpatialSaturationSequence
00189151 DT FrameReferenceDateTime
00189155 FD ParallelReductionFactorOutOfPlane
00189179 CS SpecificAbsorptionRateDefinition
00189180 CS GradientOutputType
00189181 FD SpecificAbsorptionRateValue
00189199 CS WaterReferencedPhaseCorrection
00189220 FD FrameAcquisitionDuration
00189231 US MRAcquisitionPhaseEncodingStepsInPlane
00189232 US MRAcquisitionPhaseEncodingStepsOutOfPlane
00189239 SQ SpecificAbsorptionRateSequence
00189240 US RFEchoTrainLength
00189241 US GradientEchoTrainLength
00189250 CS ArterialSpinLabelingContrast
00189251 SQ MRArterialSpinLabelingSequence
00189252 LO ASLTechniqueDescription
00189254 FD ASLSlabThickness
00189255 FD ASLSlabOrientation
00189256 FD ASLMidSlabPosition
00189257 CS ASLContext
00189258 UL ASLPulseTrainDuration
00189259 CS ASLCrusherFlag
0018925A FD ASLCrusherFlowLimit
0018925C CS ASLBolusCutoffFlag
0018925D SQ ASLBolusCutoffTimingSequence
0018925E LO ASLBolusCutoffTechnique
0018925F UL ASLBolusCutoffDelayTime
00189260 SQ ASLSlabSequence
00189305 FD RevolutionTime
00189306 FD SingleCollimationWidth
00189307 FD TotalCollimationWidth
00189309 FD TableSpeed
00189311 FD SpiralPitchFactor
00189315 CS ReconstructionAlgorithm
00189327 FD TablePosition
00189345 FD CTDIvol
00189601 SQ DiffusionBMatrixSequence
00189602 FD DiffusionBValueXX
0020000D UI StudyInstanceUID
0020000E UI SeriesInstanceUID
00200010 SH StudyID
00200011 IS SeriesNumber
00200012 IS AcquisitionNumber
00200013 IS InstanceNumber
00200030 DS ImagePosition
00200032 DS ImagePositionPatient
00200035 DS ImageOrientation
00200037 DS ImageOrientationPatient
00200052 UI FrameOfReferenceUID
00200100 IS TemporalPositionIdentifier
00200105 IS NumberOfTemporalPositions
00200110 DS TemporalResolution
00201001 IS AcquisitionsInSeries
00201040 LO PositionReferenceIndicator
00201041 DS SliceLocation
00204000 LT ImageComments
00209056 SH StackID
00209057 UL InStackPositionNumber
00209111 SQ FrameContentSequence
00209128 UL TemporalPositionIndex
00209153 FD NominalCardiacTriggerDelayTime
00209156 US FrameAcquisitionNumber
00209157 UL DimensionIndexValues
00209158 LT FrameComments
00209161 UI ConcatenationUID
00209162 US InConcatenationNumber
00209228 UL ConcatenationFrameOffsetNumber
00209252 FD ActualCardiacTriggerDelayTime
0020930D FD TemporalPositionTimeOffset
00280002 US SamplesPerPixel
00280004 CS PhotometricInterpretation
00280006 US PlanarConfiguration
00280008 IS NumberOfFrames
00280010 US Rows
00280011 US Columns
00280030 DS PixelSpacing
00280100 US BitsAllocated
00280101 US BitsStored
00280102 US HighBit
00280103 US PixelRepresentation
00280106 US SmallestImagePixelValue
00280107 US LargestImagePixelValue
00280120 US PixelPaddingValue
00280301 CS BurnedInAnnotation
00281050 DS WindowCenter
00281051 DS WindowWidth
00281052 DS RescaleIntercept
00281053 DS RescaleSlope
00281054 LO RescaleType
00281101 US RedPaletteColorLookupTableDescriptor
00281102 US GreenPaletteColorLookupTableDescriptor
00281103 US BluePaletteColorLookupTableDescriptor
00281201 OW RedPaletteColorLookupTableData
00281202 OW GreenPaletteColorLookupTableData
00281203 OW BluePaletteColorLookupTableData
00281221 OW SegmentedRedPaletteColorLookupTableData
00281222 OW SegmentedGreenPaletteColorLookupTableData
00281223 OW SegmentedBluePaletteColorLookupTableData
00282110 CS LossyImageCompression
00283000 SQ ModalityLUTSequence
00321032 PN RequestingPhysician
00321060 LO RequestedProcedureDescription
00380010 LO AdmissionID
00380060 LO ServiceEpisodeID
00400006 PN ScheduledPerformingPhysicianName
00400009 SH ScheduledProcedureStepID
00400253 SH PerformedProcedureStepID
00400254 LO PerformedProcedureStepDescription
00400275 SQ RequestAttributesSequence
004008EA SQ MeasurementUnitsCodeSequence
00401001 SH RequestedProcedureID
00402016 LO PlacerOrderNumberImagingServiceRequest
00402017 LO FillerOrderNumberImagingServiceRequest
00409096 SQ RealWorldValueMappingSequence
00409210 SH LUTLabel
00409224 FD RealWorldValueIntercept
00409225 FD RealWorldValueSlope
0040A370 SQ ReferencedRequestSequence
00540016 SQ RadiopharmaceuticalInformationSequence
00540081 US NumberOfSlices
00540300 SQ RadionuclideCodeSequence
00541000 CS SeriesType
00541001 CS Units
00541101 LO AttenuationCorrectionMethod
00541102 CS DecayCorrection
00541103 LO ReconstructionMethod
00541322 DS DoseCalibrationFactor
00541330 US ImageIndex
20500020 CS PresentationLUTShape
52009229 SQ SharedFunctionalGroupsSequence
52009230 SQ PerFrameFunctionalGroupsSequence
60000102 US OverlayBitPosition
"""


class Row(NamedTuple):
    """One element of the standard."""

    tag: int
    vr: str
    keyword: str


def rows() -> list[Row]:
    """The table."""
    cells = (line.split() for line in _ROWS.strip().splitlines())
    return [Row(int(tag, 16), vr, keyword) for tag, vr, keyword in cells]


_TAGS = {row.keyword: row.tag for row in rows()}
_VRS = {row.tag: row.vr for row in rows()}


@cache
def tag_of(keyword: str) -> int:
    """The tag of a keyword. Raises LookupError if DICOM has none such."""
    tag = _TAGS.get(keyword)
    if tag is None:
        from pydicom.datadict import tag_for_keyword  # noqa: PLC0415 - takes long to import

        tag = tag_for_keyword(keyword)
    if tag is None:
        raise LookupError(f"{keyword} is no DICOM keyword")
    return tag


@cache
def vr_of(tag: int) -> str:
    """The VR of an element that a file does not tell; "UN" if the standard has no such element."""
    if tag in _VRS:
        return _VRS[tag]
    from pydicom.datadict import dictionary_VR  # noqa: PLC0415 - takes long to import

    try:
        # "US or SS": unsigned, as long as nothing else tells
        return dictionary_VR(tag)[:2]
    except KeyError:
        return "UN"
