"""Headers of the phantom: the standard and private elements that a Siemens scanner (syngo MR E11) writes.

Each function fills one part of a dataset. Times of a study are counted from its start; DICOM wants them as
times of day, and lengths of time in ms.
"""

from __future__ import annotations

import datetime
import math
from dataclasses import dataclass
from functools import lru_cache

import numpy as np
from pydicom.dataset import Dataset, PrivateBlock
from pydicom.uid import EnhancedMRImageStorage, EnhancedSRStorage, MRImageStorage
from pydicom.valuerep import format_number_as_ds

from pacs2bids.model import Vector
from pacs2bids.phantom import csa
from pacs2bids.phantom.protocol import (
    Diffusion,
    Form,
    Grid,
    PhantomSeries,
    PhantomStack,
    PhantomStudy,
    uid_of,
)
from pacs2bids.phantom.sequences import Sequence, sequence_of

SOP_CLASSES = {
    Form.CLASSIC: MRImageStorage,
    Form.MOSAIC: MRImageStorage,
    Form.ENHANCED: EnhancedMRImageStorage,
    Form.REPORT: EnhancedSRStorage,
}
COIL = "HEA;HEP"


@dataclass(frozen=True, slots=True, kw_only=True)
class Instance:
    """Which one of a series: counted from 0, except ``number`` (InstanceNumber)."""

    number: int
    stack: PhantomStack
    volume: int = 0
    slice: int | None = None  # None: all slices


def identity(study: PhantomStudy, series: PhantomSeries, number: int) -> Dataset:
    """Patient, study, equipment, series and SOP: what every instance has."""
    made = study.started + datetime.timedelta(seconds=series.start_s + series.duration_s + 2)
    data = Dataset()
    data.SpecificCharacterSet = "ISO_IR 100"
    data.InstanceCreationDate, data.InstanceCreationTime = _date(made), _time(made)
    data.SOPClassUID = SOP_CLASSES[series.form]
    data.SOPInstanceUID = uid_of("instance", series.uid, number)
    data.StudyDate, data.StudyTime = _date(study.started), _time(study.started)
    data.SeriesDate, data.SeriesTime = _date(made), _time(made)
    data.ContentDate, data.ContentTime = _date(made), _time(made)
    data.AccessionNumber = study.accession_number
    data.Modality = "SR" if series.form is Form.REPORT else "MR"
    data.Manufacturer = "SIEMENS"
    data.InstitutionName = "Phantom Institute"
    data.ReferringPhysicianName = ""
    data.StationName = "PHANTOM1"
    data.StudyDescription = study.description
    data.SeriesDescription = series.description
    data.ManufacturerModelName = "Prisma"
    data.PatientName = study.patient_name
    data.PatientID = study.patient_id
    data.PatientBirthDate = _date(study.birth_date)
    data.PatientSex = study.patient_sex
    data.PatientAge = f"{(study.started.date() - study.birth_date).days // 365.25:03.0f}Y"
    data.PatientWeight = "70"
    data.DeviceSerialNumber = "00001"
    data.SoftwareVersions = "syngo MR E11"
    data.StudyInstanceUID, data.SeriesInstanceUID = study.uid, series.uid
    data.StudyID = "1"
    data.SeriesNumber, data.InstanceNumber = series.number, number
    return data


def acquired(study: PhantomStudy, series: PhantomSeries, instance: Instance) -> datetime.datetime:
    """When this instance's volume, or its one slice, was acquired."""
    return study.started + datetime.timedelta(seconds=series.start_s + after_start_s(series, instance))


def after_start_s(series: PhantomSeries, instance: Instance) -> float:
    """The same, from the start of the series."""
    seconds = instance.volume * series.repetition_time_s
    if instance.slice is not None and series.slice_times_s:
        seconds += series.slice_times_s[instance.slice]
    return seconds


def acquisition(data: Dataset, study: PhantomStudy, series: PhantomSeries, instance: Instance) -> None:
    """The MR image module of a classic image (PS3.3 C.8.3.1), and where the patient lay."""
    sequence, grid = sequence_of(series), instance.stack.grid
    moment = acquired(study, series, instance)
    data.ImageType = list(series.image_type)
    data.AcquisitionDate, data.AcquisitionTime = _date(moment), _time(moment)
    data.AcquisitionNumber = instance.volume + 1
    data.BodyPartExamined = "BRAIN"
    data.ScanningSequence = sequence.scanning
    data.SequenceVariant = [*sequence.variants, "MTC"] if series.has_transfer else sequence.variants
    data.ScanOptions = sequence.options
    data.MRAcquisitionType = sequence.acquisition
    data.SequenceName = _sequence_name(series, instance, sequence)
    data.AngioFlag = "N"
    data.SliceThickness = _ds(grid.slice_thickness_mm)
    data.RepetitionTime = _ds(series.repetition_time_s * 1000)
    data.EchoTime = _ds(instance.stack.echo_time_s * 1000)
    if series.inversion_time_s is not None:
        data.InversionTime = _ds(series.inversion_time_s * 1000)
    data.NumberOfAverages = "1"
    data.ImagingFrequency = "123.25"
    data.ImagedNucleus = "1H"
    data.EchoNumbers = instance.stack.echo_number
    data.MagneticFieldStrength = "3"
    if sequence.acquisition == "2D":
        data.SpacingBetweenSlices = _ds(grid.slice_spacing_mm)
    data.NumberOfPhaseEncodingSteps = grid.rows
    data.EchoTrainLength = _echo_train(series, grid)
    data.PercentSampling = data.PercentPhaseFieldOfView = "100"
    data.PixelBandwidth = _ds(sequence.pixel_bandwidth_hz)
    data.ProtocolName = series.description
    data.TransmitCoilName = "Body"
    data.FlipAngle = _ds(series.flip_angle_deg)
    data.VariableFlipAngleFlag = "N"
    data.PatientPosition = "HFS"
    data.FrameOfReferenceUID = study.frame_of_reference_uid
    data.PositionReferenceIndicator = ""
    _phase_encoding(data, series, grid)


def _phase_encoding(data: Dataset, series: PhantomSeries, grid: Grid) -> None:
    along_row = phase_encoding(series, grid)
    if along_row is None:
        return
    data.InPlanePhaseEncodingDirection = "ROW" if along_row[0] else "COL"
    size = [grid.columns, grid.rows]
    data.AcquisitionMatrix = [0, *size, 0] if along_row[0] else [*size[:1], 0, 0, *size[1:]]


def phase_encoding(series: PhantomSeries, grid: Grid) -> tuple[bool, bool] | None:
    """Whether phase is encoded along rows of the picture, and towards increasing index; None: not stated."""
    if series.phase_encoding_lps is None:
        return None
    along_row = float(np.dot(series.phase_encoding_lps, grid.row_cosines_lps))
    along_column = float(np.dot(series.phase_encoding_lps, grid.column_cosines_lps))
    if abs(along_row) > abs(along_column):
        return True, along_row > 0
    return False, along_column > 0


def plane(data: Dataset, grid: Grid, position_lps: Vector) -> None:
    """The image plane module (PS3.3 C.7.6.2)."""
    data.ImagePositionPatient = [_ds(value) for value in position_lps]
    data.ImageOrientationPatient = orientation(grid)
    data.SliceLocation = _ds(float(np.dot(position_lps, grid.normal_lps)))
    data.PixelSpacing = spacing(grid)


def orientation(grid: Grid) -> list[str]:
    """ImageOrientationPatient."""
    return [_ds(value) for value in (*grid.row_cosines_lps, *grid.column_cosines_lps)]


def spacing(grid: Grid) -> list[str]:
    """PixelSpacing: between rows, then between columns."""
    return [_ds(grid.row_spacing_mm), _ds(grid.column_spacing_mm)]


def position(grid: Grid, number: int) -> list[str]:
    """ImagePositionPatient of one slice."""
    return [_ds(value) for value in grid.position_lps(number)]


def mosaic_position(grid: Grid, tiles: int) -> Vector:
    """Where Siemens says a mosaic lies: as if the whole picture were one slice, centred like the first."""
    margin = (tiles - 1) / 2
    along_row = np.array(grid.row_cosines_lps) * grid.column_spacing_mm * grid.columns * margin
    along_column = np.array(grid.column_cosines_lps) * grid.row_spacing_mm * grid.rows * margin
    x, y, z = (float(value) for value in np.array(grid.first_lps) - along_row - along_column)
    return x, y, z


def pixels(data: Dataset, stored: np.ndarray[tuple[int, ...], np.dtype[np.uint16]]) -> None:
    """The image pixel module (PS3.3 C.7.6.3): 12 bits of 16."""
    data.SamplesPerPixel = 1
    data.PhotometricInterpretation = "MONOCHROME2"
    data.Rows, data.Columns = stored.shape[-2:]
    data.BitsAllocated, data.BitsStored, data.HighBit, data.PixelRepresentation = 16, 12, 11, 0
    data.SmallestImagePixelValue, data.LargestImagePixelValue = int(stored.min()), int(stored.max())
    data.PixelData = stored.astype("<u2").tobytes()


def window(data: Dataset, series: PhantomSeries, brightest: int) -> None:
    """Rescale, if the series has one, and a window in its units."""
    slope, intercept = series.rescale or (1.0, 0.0)
    data.WindowCenter = _ds(slope * brightest / 2 + intercept)
    data.WindowWidth = _ds(max(slope * brightest, 1))
    if series.rescale is not None:
        data.RescaleIntercept, data.RescaleSlope, data.RescaleType = _ds(intercept), _ds(slope), "US"


# ---------------------------------------------------------------------------------------------- private


def private(data: Dataset, series: PhantomSeries, instance: Instance) -> None:
    """Siemens' private elements: group 0019 in the clear, the two CSA headers in group 0029."""
    grid = instance.stack.grid
    _clear(data, series, instance)
    block = data.private_block(0x29, "SIEMENS CSA HEADER", create=True)
    block.add_new(0x08, "CS", "IMAGE NUM 4")
    block.add_new(0x09, "LO", "20260112")
    block.add_new(0x10, "OB", _even(csa.pack(_image_tags(series, instance))))
    block.add_new(0x18, "CS", "MR")
    block.add_new(0x19, "LO", "20260112")
    block.add_new(0x20, "OB", _series_header(series, instance.stack))
    shown = data.private_block(0x51, "SIEMENS MR HEADER", create=True)
    shown.add_new(0x0B, "LO", f"{grid.columns}*{grid.rows}")
    shown.add_new(0x0F, "LO", COIL)
    if series.echoplanar is not None:
        shown.add_new(0x11, "LO", f"p{series.echoplanar.reduction_factor}")


def _clear(data: Dataset, series: PhantomSeries, instance: Instance) -> None:
    block = data.private_block(0x19, "SIEMENS MR HEADER", create=True)
    block.add_new(0x08, "CS", "IMAGE NUM 4")
    block.add_new(0x09, "LO", "1.0")
    if series.form is Form.MOSAIC:
        block.add_new(0x0A, "US", instance.stack.grid.slices)
        block.add_new(0x29, "FD", [seconds * 1000 for seconds in series.slice_times_s])
    if series.diffusion:
        _clear_diffusion(block, series.diffusion[instance.volume])
    block.add_new(0x16, "DS", _ds(after_start_s(series, instance)))
    block.add_new(0x18, "IS", 3000)
    if series.echoplanar is not None:
        block.add_new(0x28, "FD", series.echoplanar.bandwidth_per_pixel_phase_encode_hz)


def _clear_diffusion(block: PrivateBlock, weight: Diffusion) -> None:
    add = block.add_new
    add(0x0C, "IS", round(weight.b_value_s_per_mm2))
    if weight.b_value_s_per_mm2 == 0:
        add(0x0D, "CS", "NONE")
        return
    add(0x0D, "CS", "DIRECTIONAL")
    add(0x0E, "FD", list(weight.b_vector_lps))
    add(0x27, "FD", b_matrix(weight))


def b_matrix(weight: Diffusion) -> list[float]:
    """b g g': xx, xy, xz, yy, yz, zz, rounded to whole numbers as the scanner does."""
    x, y, z = weight.b_vector_lps
    products = (x * x, x * y, x * z, y * y, y * z, z * z)
    return [float(round(weight.b_value_s_per_mm2 * product)) for product in products]


def _image_tags(series: PhantomSeries, instance: Instance) -> list[csa.Tag]:
    grid, plane_rate = instance.stack.grid, series.echoplanar
    mosaic = series.form is Form.MOSAIC
    direction = phase_encoding(series, grid)
    weight = series.diffusion[instance.volume] if series.diffusion else None
    directional = weight is not None and weight.b_value_s_per_mm2 > 0
    slice_number = instance.slice or 0
    if mosaic and grid.normal_lps[2] < -0.5:
        slice_number = grid.slices - 1  # the protocol counts from the feet whatever the order of storage
    tag = csa.Tag
    return [
        tag("B_value", "IS", [weight.b_value_s_per_mm2] if weight else []),
        tag("ProtocolSliceNumber", "IS", [slice_number]),
        tag("RealDwellTime", "IS", [3000]),
        tag("SliceMeasurementDuration", "DS", [1000 * (series.repetition_time_s or 1)]),
        tag("AcquisitionMatrixText", "LO", [f"{grid.columns}*{grid.rows}"]),
        tag("PhaseEncodingDirectionPositive", "IS", [int(direction[1])] if direction else []),
        tag("NumberOfImagesInMosaic", "US", [grid.slices] if mosaic else []),
        tag("DiffusionGradientDirection", "FD", weight.b_vector_lps if weight and directional else [], 3),
        tag("SliceNormalVector", "FD", grid.normal_lps, 3),
        tag("DiffusionDirectionality", "CS", [_directionality(weight)] if weight else []),
        tag("TimeAfterStart", "DS", [after_start_s(series, instance)]),
        tag("ImaCoilString", "LO", [COIL]),
        tag("ImaPATModeText", "LO", [f"p{plane_rate.reduction_factor}"] if plane_rate else []),
        tag("B_matrix", "FD", b_matrix(weight) if weight and directional else [], 6),
        tag(
            "BandwidthPerPixelPhaseEncode",
            "FD",
            [plane_rate.bandwidth_per_pixel_phase_encode_hz] if plane_rate else [],
        ),
        tag("MosaicRefAcqTimes", "FD", [1000 * s for s in series.slice_times_s] if mosaic else [], 0),
    ]


def _directionality(weight: Diffusion) -> str:
    return "DIRECTIONAL" if weight.b_value_s_per_mm2 else "NONE"


@lru_cache
def _series_header(series: PhantomSeries, stack: PhantomStack) -> bytes:
    tags = [
        csa.Tag("MrProtocolVersion", "IS", [51130001]),
        csa.Tag("CoilString", "LO", [COIL]),
        csa.Tag("SliceArrayConcatenations", "IS", [1]),
        csa.Tag("MrPhoenixProtocol", "UN", [csa.phoenix(series, stack)]),
    ]
    return _even(csa.pack(tags))


# ----------------------------------------------------------------------------------------------- details


def _sequence_name(series: PhantomSeries, instance: Instance, sequence: Sequence) -> str:
    if not series.diffusion:
        return sequence.name
    weight = series.diffusion[instance.volume]
    if weight.b_value_s_per_mm2 == 0:
        return sequence.name
    ordinal = sum(one.b_value_s_per_mm2 > 0 for one in series.diffusion[: instance.volume + 1])
    return f"ep_b{weight.b_value_s_per_mm2:.0f}#{ordinal}"


def _echo_train(series: PhantomSeries, grid: Grid) -> int:
    return grid.rows // series.echoplanar.reduction_factor if series.echoplanar else 1


def _even(content: bytes) -> bytes:
    return content + bytes(len(content) % 2)


def _ds(value: float) -> str:
    """A decimal string of at most 16 characters (PS3.5 section 6.2), as exact as fits."""
    tidy = round(value, 12)  # 2.98 ms, not 2.9799999999999
    if math.isclose(tidy, round(tidy), abs_tol=1e-12):
        return str(round(tidy))
    return format_number_as_ds(tidy)


def _date(day: datetime.date) -> str:
    return f"{day:%Y%m%d}"


def _time(moment: datetime.datetime) -> str:
    return f"{moment:%H%M%S.%f}"
