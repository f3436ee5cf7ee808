"""Enhanced multi-frame MR images (PS3.3 A.36): one file a volume, as Siemens writes them.

No private elements: what only those can say (slice times, polarity of phase encoding) such a file does not.
"""

from __future__ import annotations

from pydicom.dataset import Dataset
from pydicom.sequence import Sequence

from pacs2bids.phantom import headers
from pacs2bids.phantom.headers import Instance
from pacs2bids.phantom.protocol import Diffusion, PhantomSeries, PhantomStack, PhantomStudy, uid_of
from pacs2bids.phantom.sequences import sequence_of

DIMENSIONS = (0x00209056, 0x00209057, 0x00209128)  # StackID, InStackPositionNumber, TemporalPositionIndex
FRAME_CONTENT = 0x00209111  # the functional group that holds all three


def fill(data: Dataset, study: PhantomStudy, series: PhantomSeries, instance: Instance) -> None:
    """All of an enhanced image but its identity and its pixels."""
    stack = instance.stack
    _image(data, study, series, instance)
    data.SharedFunctionalGroupsSequence = Sequence([_shared(series, stack)])
    data.PerFrameFunctionalGroupsSequence = Sequence(
        [_frame(study, series, instance, number) for number in range(stack.grid.slices)]
    )


def _image(data: Dataset, study: PhantomStudy, series: PhantomSeries, instance: Instance) -> None:
    sequence = sequence_of(series)
    data.ImageType = ["ORIGINAL", "PRIMARY", "DIFFUSION" if series.diffusion else "M", "NONE"]
    data.AcquisitionDateTime = _moment(study, series, instance)
    data.AcquisitionNumber = instance.volume + 1
    data.AcquisitionDuration = series.duration_s * 1000
    data.ContentQualification = "RESEARCH"
    data.PixelPresentation = "MONOCHROME"
    data.VolumetricProperties = "VOLUME"
    data.VolumeBasedCalculationTechnique = "NONE"
    data.ComplexImageComponent = "MAGNITUDE"
    data.AcquisitionContrast = "DIFFUSION" if series.diffusion else "T1"
    if series.labels:
        data.ArterialSpinLabelingContrast = "PSEUDOCONTINUOUS"
    data.BodyPartExamined = "BRAIN"
    data.MagneticFieldStrength = 3.0
    data.ResonantNucleus = "1H"
    data.MRAcquisitionType = sequence.acquisition
    data.PulseSequenceName = sequence.name
    data.EchoPulseSequence = "SPIN" if series.diffusion or "SE" in sequence.scanning else "GRADIENT"
    data.EchoPlanarPulseSequence = "YES" if series.echoplanar else "NO"
    data.ProtocolName = series.description
    data.PatientPosition = "HFS"
    data.FrameOfReferenceUID = study.frame_of_reference_uid
    data.PositionReferenceIndicator = ""
    data.NumberOfFrames = instance.stack.grid.slices
    data.BurnedInAnnotation = "NO"
    data.LossyImageCompression = "00"
    data.PresentationLUTShape = "IDENTITY"
    organization = uid_of("dimensions", series.uid)
    data.DimensionOrganizationSequence = Sequence([_item(DimensionOrganizationUID=organization)])
    data.DimensionIndexSequence = Sequence(
        [
            _item(
                DimensionOrganizationUID=organization,
                DimensionIndexPointer=counted,
                FunctionalGroupPointer=FRAME_CONTENT,
            )
            for counted in DIMENSIONS
        ]
    )


def _shared(series: PhantomSeries, stack: PhantomStack) -> Dataset:
    grid, direction = stack.grid, headers.phase_encoding(series, stack.grid)
    groups = Dataset()
    groups.MRImageFrameTypeSequence = _group(
        FrameType=["ORIGINAL", "PRIMARY", "DIFFUSION" if series.diffusion else "M", "NONE"],
        PixelPresentation="MONOCHROME",
        VolumetricProperties="VOLUME",
        VolumeBasedCalculationTechnique="NONE",
        ComplexImageComponent="MAGNITUDE",
        AcquisitionContrast="DIFFUSION" if series.diffusion else "T1",
    )
    groups.FrameAnatomySequence = _group(FrameLaterality="U")
    groups.PixelMeasuresSequence = _group(
        SliceThickness=grid.slice_thickness_mm,
        SpacingBetweenSlices=grid.slice_spacing_mm,
        PixelSpacing=headers.spacing(grid),
    )
    groups.PlaneOrientationSequence = _group(ImageOrientationPatient=headers.orientation(grid))
    groups.MRTimingAndRelatedParametersSequence = _group(
        RepetitionTime=series.repetition_time_s * 1000,
        FlipAngle=series.flip_angle_deg,
        EchoTrainLength=1,
    )
    if direction is not None:
        groups.MRFOVGeometrySequence = _group(
            InPlanePhaseEncodingDirection="ROW" if direction[0] else "COLUMN",
            MRAcquisitionFrequencyEncodingSteps=grid.columns,
            MRAcquisitionPhaseEncodingStepsInPlane=grid.rows,
            PercentSampling=100.0,
            PercentPhaseFieldOfView=100.0,
        )
    groups.MRModifierSequence = _modifier(series)
    groups.MRAveragesSequence = _group(NumberOfAverages=1.0)
    groups.MRReceiveCoilSequence = _group(
        ReceiveCoilName="HeadNeck_64",
        ReceiveCoilType="MULTICOIL",
        MultiCoilDefinitionSequence=Sequence(
            [_item(MultiCoilElementName=name, MultiCoilElementUsed="YES") for name in headers.COIL.split(";")]
        ),
    )
    return groups


def _modifier(series: PhantomSeries) -> Sequence:
    inverted = series.inversion_time_s is not None
    modifier = _item(InversionRecovery="YES" if inverted else "NO")
    if series.inversion_time_s is not None:
        modifier.InversionTimes = series.inversion_time_s * 1000
    modifier.PartialFourier = "NO"
    modifier.ParallelAcquisition = "YES" if series.echoplanar else "NO"
    if series.echoplanar:
        modifier.ParallelReductionFactorInPlane = float(series.echoplanar.reduction_factor)
        modifier.ParallelReductionFactorOutOfPlane = 1.0
        modifier.ParallelAcquisitionTechnique = "GRAPPA"
    return Sequence([modifier])


def _frame(study: PhantomStudy, series: PhantomSeries, instance: Instance, number: int) -> Dataset:
    stack, volume = instance.stack, instance.volume
    moment = _moment(study, series, instance)
    groups = Dataset()
    groups.MREchoSequence = _group(EffectiveEchoTime=stack.echo_time_s * 1000)
    groups.FrameContentSequence = _group(
        FrameAcquisitionNumber=volume + 1,
        FrameReferenceDateTime=moment,
        FrameAcquisitionDateTime=moment,
        FrameAcquisitionDuration=series.repetition_time_s * 1000,
        StackID="1",
        InStackPositionNumber=number + 1,
        TemporalPositionIndex=volume + 1,
        DimensionIndexValues=[1, number + 1, volume + 1],
    )
    groups.PlanePositionSequence = _group(ImagePositionPatient=headers.position(stack.grid, number))
    groups.PixelValueTransformationSequence = _group(RescaleIntercept="0", RescaleSlope="1", RescaleType="US")
    if series.diffusion:
        groups.MRDiffusionSequence = _diffusion(series.diffusion[volume])
    if series.labels:
        groups.MRArterialSpinLabelingSequence = _labelling(series.labels[volume])
    return groups


def _labelling(context: str) -> Sequence:
    """The MR arterial spin labelling group (PS3.3 C.8.13.5.14)."""
    group = _item(ASLContext=context, ASLCrusherFlag="NO", ASLPulseTrainDuration=1800)
    slab = _item(
        ASLSlabNumber=1,
        ASLSlabThickness=20.0,
        ASLSlabOrientation=[0.0, 0.0, 1.0],
        ASLMidSlabPosition=[0.0, 0.0, -90.0],
    )
    group.ASLSlabSequence = Sequence([slab])
    return Sequence([group])


def _diffusion(weight: Diffusion) -> Sequence:
    """The MR diffusion group (PS3.3 C.8.13.5.9)."""
    group = _item(DiffusionBValue=weight.b_value_s_per_mm2)
    if weight.b_value_s_per_mm2 == 0:
        group.DiffusionDirectionality = "NONE"
    else:
        group.DiffusionDirectionality = "DIRECTIONAL"
        group.DiffusionGradientDirectionSequence = _group(
            DiffusionGradientOrientation=list(weight.b_vector_lps)
        )
    return Sequence([group])


def _moment(study: PhantomStudy, series: PhantomSeries, instance: Instance) -> str:
    return f"{headers.acquired(study, series, instance):%Y%m%d%H%M%S.%f}"


def _item(**elements: object) -> Dataset:
    item = Dataset()
    for keyword, value in elements.items():
        setattr(item, keyword, value)
    return item


def _group(**elements: object) -> Sequence:
    """A functional group: a sequence of one item."""
    return Sequence([_item(**elements)])
