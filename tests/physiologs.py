"""Logs of physiology, written after the description of their form (CMRR-C2P/MB, readCMRRPhysio.m)."""

from __future__ import annotations

import struct
from collections.abc import Mapping, Sequence

from pydicom.dataset import Dataset, FileMetaDataset
from pydicom.uid import ExplicitVRLittleEndian

from pacs2bids.vendors.siemens import CSA_SERIES
from synthetic import uid

MEASUREMENT = "0f1e2d3c-4b5a-4968-8776-a5b4c3d2e1f0"
FIRST = 14_000_000  # tics: 2.5 ms each
REPETITION = 800  # tics: 2 s

Sample = tuple[int, str, object] | tuple[int, str, object, str]


def text(kind: str, lines: Sequence[str], measurement: str = MEASUREMENT, **more: object) -> str:
    """One log: what it says of itself, then its lines."""
    said = {"UUID": measurement, "ScanDate": "20260102_103000", "LogVersion": "EJA_1", "LogDataType": kind}
    head = [f"{key:<11} = {value}" for key, value in {**said, **more}.items()]
    return "\r\n".join([*head, "", *lines, ""])


def sensor(kind: str, step: int, samples: Sequence[Sample], **more: object) -> str:
    """The log of a sensor: time in tics, channel, value, and perhaps a mark."""
    lines = ["ACQ_TIME_TICS  CHANNEL  VALUE  SIGNAL"]
    lines += ["  ".join(f"{word:>8}" for word in map(str, sample)) for sample in samples]
    return text(kind, lines, SampleTime=step, **more)


def volumes(count: int, *, slices: int = 3, first: int = FIRST, **more: object) -> str:
    """When each slice of each volume was acquired, by two echoes; the last slice comes first."""
    lines = ["VOLUME   SLICE   ACQ_START_TICS  ACQ_FINISH_TICS  ECHO"]
    for volume in range(count):
        for slice_ in range(slices):
            start = first + volume * REPETITION + (slices - 1 - slice_) * 50
            lines += [
                f"{volume} {slice_} {start + 9 * echo} {start + 9 * echo + 8} {echo}" for echo in (0, 1)
            ]
    said = {
        "NumSlices": slices,
        "NumVolumes": count,
        "FirstTime": first,
        "LastTime": first + count * REPETITION,
    }
    return text("ACQUISITION_INFO", lines, **(said | more))


def payload(texts: Mapping[str, str]) -> tuple[bytes, int]:
    """The private element that holds these files, by the ending of their names; and its AcquisitionNumber."""
    rows = 1 + max(-(-len(content) // 1024) for content in texts.values())
    whole = b""
    for ending, content in texts.items():
        name = f"Physio_20260102_103000_{MEASUREMENT}_{ending}.log".encode()
        first = struct.pack("<II", len(content), len(name)) + name
        whole += first.ljust(1024, b"\0") + content.encode().ljust((rows - 1) * 1024, b"\0")
    return whole, rows


def two_sensors(count: int, **more: object) -> dict[str, str]:
    """A scan of ``count`` volumes with a pulse oximeter and a belt that began a second before it."""
    end = FIRST + count * REPETITION
    pulse = [(tics, "PULS", 1000 + tics % 97) for tics in range(FIRST - 400, end, 2)]
    belt = [(tics, "RESP", 2000 + tics % 89) for tics in range(FIRST - 400, end, 8)]
    return {
        "Info": volumes(count, **more),
        "PULS": sensor("PULS", 2, pulse, **more),
        "RESP": sensor("RESP", 8, belt, **more),
    }


def instance(texts: Mapping[str, str], number: int, description: str) -> Dataset:
    """The instance that holds a log."""
    content, rows = payload(texts)
    return stored(content, rows, number, description)


def stored(content: bytes, rows: int, number: int, description: str) -> Dataset:
    """An instance without an image that holds these bytes."""
    data = Dataset()
    data.file_meta = FileMetaDataset()
    data.file_meta.TransferSyntaxUID = ExplicitVRLittleEndian
    sop_class = "1.3.12.2.1107.5.9.1"  # CSA Non-Image Storage
    data.file_meta.MediaStorageSOPClassUID = data.SOPClassUID = sop_class
    data.file_meta.MediaStorageSOPInstanceUID = data.SOPInstanceUID = uid("log", number)
    data.StudyInstanceUID, data.SeriesInstanceUID = uid("study"), uid("log series", number)
    data.Modality, data.SeriesNumber, data.SeriesDescription = "MR", number, description
    data.Manufacturer, data.AcquisitionNumber, data.InstanceNumber = "SIEMENS", rows, 1
    data.ImageType = ["ORIGINAL", "PRIMARY", "RAWDATA", "PHYSIO"]
    data.private_block(0x7FE1, "SIEMENS CSA NON-IMAGE", create=True).add_new(0x10, "OB", content)
    return data


def says_measurement(data: Dataset, measurement: str = MEASUREMENT) -> None:
    """Have an image say its measurement, as Siemens' do."""
    data.Manufacturer = "SIEMENS"
    line = f'sWipMemBlock.tFree = ""{measurement}||Sequence: R017""'
    protocol = f"### ASCCONV BEGIN ###\n{line}\n### ASCCONV END ###\n".encode()
    block = data.private_block(CSA_SERIES.group, CSA_SERIES.creator, create=True)
    block.add_new(CSA_SERIES.element, "OB", protocol + b" " * (len(protocol) % 2))
