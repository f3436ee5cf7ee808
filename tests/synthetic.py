"""Small DICOM series made in memory or on disk, whose voxel values encode their own world position."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np
from pydicom.dataset import Dataset, FileMetaDataset
from pydicom.uid import ExplicitVRLittleEndian, MRImageStorage, generate_uid

from pacs2bids import nifti
from pacs2bids.model import ImageRef, StudyIndex
from pacs2bids.store import index_folder

IMAGE = ImageRef(
    path="one.dcm",
    frame=0,
    transfer_syntax_uid="1.2.840.10008.1.2.1",
    offset=0,
    length=12,
    rows=2,
    columns=3,
    samples_per_pixel=1,
    planar_configuration=0,
    bits_allocated=16,
    bits_stored=12,
    high_bit=11,
    signed=False,
    is_float=False,
    photometric_interpretation="MONOCHROME2",
    big_endian=False,
)


def save(data: Dataset, path: Path) -> None:
    """Write one instance; folders are made."""
    path.parent.mkdir(parents=True, exist_ok=True)
    data.save_as(path, enforce_file_format=True)


def indexed(folder: Path) -> StudyIndex:
    """The index of the one study that a folder holds."""
    (index,) = index_folder(folder).indices
    return index


def uid(*parts: object) -> str:
    """A UID that is always the same for the same parts."""
    return str(generate_uid(entropy_srcs=[repr(part) for part in parts]))


@dataclass(frozen=True, kw_only=True)
class Series:
    """A classic series on a grid. Directions are LPS; spacing is (column, row, slice) in mm."""

    name: str = "series"
    number: int = 1
    columns: int = 5
    rows: int = 4
    slices: int = 3
    volumes: int = 1
    row_cosines: tuple[float, float, float] = (1.0, 0.0, 0.0)
    column_cosines: tuple[float, float, float] = (0.0, 1.0, 0.0)
    step: tuple[float, float, float] | None = None  # from slice to slice; None: along the normal
    spacing: tuple[float, float, float] = (2.0, 3.0, 4.0)
    origin: tuple[float, float, float] = (-10.0, -20.0, 30.0)

    def slice_step(self) -> np.ndarray:
        if self.step is not None:
            return np.array(self.step)
        return np.cross(self.row_cosines, self.column_cosines) * self.spacing[2]

    def position(self, slice_: int) -> np.ndarray:
        return np.array(self.origin) + slice_ * self.slice_step()

    def value(self, points_lps: np.ndarray, volume: int) -> np.ndarray:
        """A whole number that tells position and volume; distinct for neighbouring voxels."""
        x, y, z = np.moveaxis(np.asarray(points_lps), -1, 0)
        return np.round(7 * x + 31 * y + 101 * z + 1000 * volume).astype(np.int16)

    def points(self, slice_: int) -> np.ndarray:
        """World position of every voxel of a slice, LPS: (row, column, 3)."""
        r, c = np.array(self.row_cosines), np.array(self.column_cosines)
        i, j = np.meshgrid(np.arange(self.columns), np.arange(self.rows))
        along = i[..., None] * r * self.spacing[0] + j[..., None] * c * self.spacing[1]
        return np.asarray(self.position(slice_) + along)

    def stored(self, slice_: int, volume: int) -> np.ndarray:
        """Stored values of one slice: (row, column), 16 bit."""
        return self.value(self.points(slice_), volume)

    def dataset(self, slice_: int, volume: int = 0) -> Dataset:
        """One instance. InstanceNumber counts slices within volumes."""
        data = Dataset()
        data.file_meta = FileMetaDataset()
        data.file_meta.TransferSyntaxUID = ExplicitVRLittleEndian
        data.file_meta.MediaStorageSOPClassUID = data.SOPClassUID = MRImageStorage
        sop = uid(self.name, slice_, volume)
        data.file_meta.MediaStorageSOPInstanceUID = data.SOPInstanceUID = sop
        data.StudyInstanceUID, data.SeriesInstanceUID = uid("study"), uid(self.name)
        data.Modality, data.SeriesNumber, data.SeriesDescription = "MR", self.number, self.name
        data.ImageType = ["ORIGINAL", "PRIMARY", "M", "ND"]
        data.InstanceNumber = 1 + slice_ + volume * self.slices
        data.ImagePositionPatient = [float(value) for value in self.position(slice_)]
        data.ImageOrientationPatient = [*map(float, self.row_cosines), *map(float, self.column_cosines)]
        data.PixelSpacing = [self.spacing[1], self.spacing[0]]
        data.SliceThickness = self.spacing[2]
        data.EchoTime, data.RepetitionTime, data.FlipAngle = 30.0, 2000.0, 70.0
        minute, second = divmod(2 * volume, 60)  # a volume each repetition time
        data.AcquisitionDate, data.AcquisitionTime = "20260102", f"{1030 + minute}{second:02d}.5"
        data.Rows, data.Columns, data.SamplesPerPixel = self.rows, self.columns, 1
        data.BitsAllocated, data.BitsStored, data.HighBit, data.PixelRepresentation = 16, 16, 15, 1
        data.PhotometricInterpretation = "MONOCHROME2"
        data.PixelData = self.stored(slice_, volume).astype("<i2").tobytes()
        return data

    def write(self, folder: Path) -> list[Path]:
        """Write all instances; returns their paths."""
        folder.mkdir(parents=True, exist_ok=True)
        paths = []
        for volume in range(self.volumes):
            for slice_ in range(self.slices):
                path = folder / f"{self.name}-{volume:03d}-{slice_:03d}.dcm"
                self.dataset(slice_, volume).save_as(path, enforce_file_format=True)
                paths.append(path)
        return paths

    def expected(self, affine_ras: np.ndarray, shape: tuple[int, ...], volume: int) -> np.ndarray:
        """The values that the array of a NIfTI file with this affine must hold."""
        indices = np.stack(np.meshgrid(*map(np.arange, shape[:3]), indexing="ij"), axis=-1)
        ras = indices @ affine_ras[:3, :3].T + affine_ras[:3, 3]
        return self.value(ras * [-1, -1, 1], volume)


def small_header() -> bytes:
    """The NIfTI header of 2 x 2 x 2 integers of 16 bits."""
    return nifti.header(
        shape=(2, 2, 2),
        dtype=np.dtype("<i2"),
        is_rgb=False,
        affine_ras=np.eye(4),
        has_sform=True,
        has_qform=True,
        repetition_time_s=None,
        slope=1,
        intercept=0,
    )
