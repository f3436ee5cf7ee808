"""A session of single-frame GE-like files, made in half a minute: the same bytes for the same arguments.

One data set is encoded by pydicom, element by element; each file is its elements with the varying ones
replaced. What varies does so as on a scanner: UIDs, numbers, times and positions of unequal lengths.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from pydicom.dataset import Dataset, FileMetaDataset
from pydicom.filebase import DicomBytesIO
from pydicom.filewriter import write_dataset
from pydicom.uid import UID, ExplicitVRLittleEndian, MRImageStorage

ROOT = "1.2.826.0.1.3680043.8.498.7"  # below the root that pydicom gives to everybody
PRIVATE = 40  # elements in each private block: GE writes a few hundred
NOISES = 16


@dataclass(frozen=True, slots=True, kw_only=True)
class Protocol:
    """One series: its pictures in time order, volume after volume."""

    name: str
    slices: int
    volumes: int = 1
    matrix: int = 160
    b_values: tuple[int, ...] = ()


SESSION = (
    Protocol(name="T1w", slices=180),
    Protocol(name="T2w", slices=180),
    Protocol(name="rest run 1", slices=40, volumes=68),
    Protocol(name="rest run 2", slices=40, volumes=68),
    Protocol(name="task run 1", slices=40, volumes=75),
    Protocol(name="dwi", slices=50, volumes=33, b_values=(0, 1000, 2000)),
    Protocol(name="perfusion", slices=36, volumes=40),
    Protocol(name="field map", slices=40, volumes=2),
    Protocol(name="flair", slices=30),
)


def one_series(files: int) -> tuple[Protocol, ...]:
    """One long series of at least ``files`` files."""
    return (Protocol(name=f"bold {files}", slices=40, volumes=-(-files // 40), matrix=96),)


def write_session(folder: Path, protocols: tuple[Protocol, ...], *, seed: int = 1) -> int:
    """Write all series below ``folder``, each in a folder of its own; returns the number of files."""
    written = 0
    for number, protocol in enumerate(protocols, start=1):
        written += _write_series(
            folder / f"{number:03d}", number, protocol, np.random.default_rng([seed, number])
        )
    return written


def _write_series(folder: Path, number: int, protocol: Protocol, rng: np.random.Generator) -> int:
    folder.mkdir(parents=True)
    fixed = _elements(_constant(number, protocol))
    noises = [rng.normal(0, 12, (protocol.matrix, protocol.matrix)) for _ in range(NOISES)]
    heads = [_head(protocol.matrix, slice_ / protocol.slices) for slice_ in range(protocol.slices)]
    count = 0
    for volume in range(protocol.volumes):
        for slice_ in range(protocol.slices):
            count += 1
            noise = np.roll(noises[count % NOISES], count, axis=count % 2)
            pixels = np.abs(heads[slice_] + noise).astype("<i2")
            varying = _elements(_varying(number, protocol, volume, slice_, pixels))
            content = b"".join(content for _, content in sorted((fixed | varying).items()))
            meta = _meta(f"{ROOT}.{number}.{count}")
            (folder / f"i{count:06d}.MRDC").write_bytes(bytes(128) + b"DICM" + meta + content)
    return count


def _elements(data: Dataset) -> dict[int, bytes]:
    """Tag -> encoded element, explicit little endian."""
    encoded = {}
    for element in data:
        stream = DicomBytesIO()
        stream.is_little_endian, stream.is_implicit_VR = True, False
        one = Dataset()
        one.add(element)
        write_dataset(stream, one)
        encoded[int(element.tag)] = stream.getvalue()
    return encoded


def _meta(sop_instance_uid: str) -> bytes:
    meta = FileMetaDataset()
    meta.FileMetaInformationVersion = b"\0\1"
    meta.MediaStorageSOPClassUID, meta.MediaStorageSOPInstanceUID = MRImageStorage, UID(sop_instance_uid)
    meta.TransferSyntaxUID, meta.ImplementationClassUID = ExplicitVRLittleEndian, UID(f"{ROOT}.0")
    content = b"".join(_elements(meta).values())
    length = FileMetaDataset()
    length.FileMetaInformationGroupLength = len(content)
    return b"".join(_elements(length).values()) + content


def _constant(number: int, protocol: Protocol) -> Dataset:
    data = Dataset()
    data.SpecificCharacterSet = "ISO_IR 100"
    data.ImageType = ["ORIGINAL", "PRIMARY", "OTHER"]
    data.SOPClassUID, data.StudyInstanceUID = MRImageStorage, UID(f"{ROOT}.1000")
    data.SeriesInstanceUID, data.FrameOfReferenceUID = UID(f"{ROOT}.1000.{number}"), UID(f"{ROOT}.1001")
    data.StudyDate = data.SeriesDate = data.AcquisitionDate = data.ContentDate = "20260105"
    data.StudyTime, data.SeriesTime = "100000", f"{100000 + 100 * number}"
    data.Modality, data.Manufacturer, data.ManufacturerModelName = "MR", "GE MEDICAL SYSTEMS", "SIGNA Premier"
    data.PatientName, data.PatientID, data.PatientPosition = "Phantom^One", "phantom-1", "HFS"
    data.SeriesDescription = data.ProtocolName = protocol.name
    data.SoftwareVersions, data.MagneticFieldStrength = ["29", "LX", "MR Software release:RX29.1"], 3
    data.ScanningSequence, data.SequenceVariant, data.ScanOptions = ["EP", "GR"], "SS", ["EPI_GEMS", "PFF"]
    data.MRAcquisitionType, data.SliceThickness, data.SpacingBetweenSlices = "2D", 3, 3
    data.RepetitionTime, data.EchoTime, data.FlipAngle, data.EchoNumbers = 2000, 30, 77, 1
    data.EchoTrainLength, data.PixelBandwidth, data.ImagedNucleus = 1, 7812.5, "1H"
    data.InPlanePhaseEncodingDirection, data.AcquisitionMatrix = "COL", [96, 0, 0, 96]
    data.SeriesNumber, data.AcquisitionNumber = number, 1
    data.ImageOrientationPatient = [1, 0, 0, 0, 0.9961947, -0.0871557]
    data.ImagesInAcquisition = protocol.slices * protocol.volumes
    data.NumberOfTemporalPositions = protocol.volumes
    data.SamplesPerPixel, data.PhotometricInterpretation = 1, "MONOCHROME2"
    data.Rows = data.Columns = protocol.matrix
    data.PixelSpacing = [240 / protocol.matrix] * 2
    data.BitsAllocated, data.BitsStored, data.HighBit, data.PixelRepresentation = 16, 16, 15, 1
    for group, creator in (
        (0x0009, "GEMS_IDEN_01"),
        (0x0019, "GEMS_ACQU_01"),
        (0x0021, "GEMS_RELA_01"),
        (0x0027, "GEMS_IMAG_01"),
        (0x0043, "GEMS_PARM_01"),
    ):
        block = data.private_block(group, creator, create=True)
        for offset in range(0x50, 0x50 + PRIVATE):  # where nobody looks: only their number counts
            block.add_new(offset, "DS", f"{1000 + offset}.125")
    return data


def _varying(number: int, protocol: Protocol, volume: int, slice_: int, pixels: NDArray[np.int16]) -> Dataset:
    """What differs between the instances of one series."""
    data = Dataset()
    instance = 1 + volume * protocol.slices + slice_
    time_s = 2.0 * volume + 2.0 * slice_ / protocol.slices
    clock = f"10{int(time_s // 60) % 60:02d}{time_s % 60:09.6f}"
    data.SOPInstanceUID = UID(f"{ROOT}.{number}.{instance}")
    data.AcquisitionTime = data.ContentTime = clock
    data.InstanceNumber, data.TemporalPositionIdentifier = instance, 1 + volume
    data.TriggerTime = f"{1000 * time_s:.1f}"
    position = (-120.0, -119.5435 + 0.261467 * slice_, -50.25 + 2.988584 * slice_)
    data.ImagePositionPatient = [f"{value:.6g}" for value in position]
    data.SliceLocation = f"{position[2]:.6g}"
    data.SmallestImagePixelValue, data.LargestImagePixelValue = int(pixels.min()), int(pixels.max())
    data.WindowCenter, data.WindowWidth = int(pixels.mean()), int(pixels.max())
    if protocol.b_values:
        b_value = protocol.b_values[0] if volume == 0 else protocol.b_values[1 + volume % 2]
        angle = 2.399963 * volume  # the golden angle
        acquisition = data.private_block(0x0019, "GEMS_ACQU_01", create=True)
        for offset, value in zip((0xBB, 0xBC, 0xBD), (np.cos(angle), np.sin(angle), 0), strict=True):
            acquisition.add_new(offset, "DS", f"{value if b_value else 0:.6f}")
        parameters = data.private_block(0x0043, "GEMS_PARM_01", create=True)
        parameters.add_new(0x39, "IS", [b_value, 8, 0, 0])
    data["SmallestImagePixelValue"].VR = data["LargestImagePixelValue"].VR = "SS"
    data.add_new(0x7FE00010, "OW", pixels.tobytes())
    return data


def _head(matrix: int, height: float) -> NDArray[np.float64]:
    """A slice of an egg with some texture."""
    y, x = np.mgrid[-1 : 1 : matrix * 1j, -1 : 1 : matrix * 1j]
    radius = 0.35 + 0.5 * np.sin(np.pi * (0.05 + 0.9 * height))
    inside = x**2 / 0.8 + y**2 < radius**2
    texture: NDArray[np.float64] = inside * (600 + 150 * np.sin(9 * x + 5 * height) * np.cos(11 * y))
    return texture
