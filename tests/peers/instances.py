"""Small DICOM instances for tests of transfer, and what of a file must survive it."""

from __future__ import annotations

from pathlib import Path

import pydicom
from pydicom.dataset import Dataset, FileMetaDataset
from pydicom.filereader import read_file_meta_info
from pydicom.uid import UID, ExplicitVRLittleEndian, MRImageStorage

STUDY = "1.2.826.0.1.3680043.10.1"
SERIES = f"{STUDY}.7"
CSA_NON_IMAGE = "1.3.12.2.1107.5.9.1"  # a private SOP class of Siemens


def instance(number: int, *, study: str = STUDY, sop_class: str = MRImageStorage, text: str = "") -> Dataset:
    dataset = Dataset()
    dataset.SOPClassUID = sop_class
    dataset.SOPInstanceUID = f"{SERIES}.{number}"
    dataset.PatientName = "Phantom^One"
    dataset.StudyInstanceUID = study
    dataset.SeriesInstanceUID = SERIES
    dataset.InstanceNumber = number
    dataset.ImageComments = text
    dataset.file_meta = FileMetaDataset()
    dataset.file_meta.TransferSyntaxUID = ExplicitVRLittleEndian
    dataset.file_meta.MediaStorageSOPClassUID = UID(sop_class)
    dataset.file_meta.MediaStorageSOPInstanceUID = dataset.SOPInstanceUID
    return dataset


def write_study(folder: Path, *, series: int = 2, instances: int = 5, study: str = STUDY) -> list[Path]:
    """A study of small instances, one folder a series."""
    paths = []
    for one in range(1, series + 1):
        for number in range(1, instances + 1):
            dataset = instance(number, study=study, text=f"{one}/{number}")
            dataset.SeriesInstanceUID = f"{study}.{one}"
            dataset.SeriesNumber = one
            dataset.SOPInstanceUID = f"{study}.{one}.{number}"
            dataset.file_meta.MediaStorageSOPInstanceUID = dataset.SOPInstanceUID
            path = folder / f"{one}" / f"{number}.dcm"
            path.parent.mkdir(parents=True, exist_ok=True)
            pydicom.dcmwrite(path, dataset, enforce_file_format=True)
            paths.append(path)
    return paths


def write_visits(folder: Path, *, root: str, letters: str, name: str) -> None:
    """Three studies of two patients, <letters>01 and 02, of January, February and January 2026.

    ``root``: study 0 to 2 are below it, each with one instance. ``name``: of both patients, in UTF-8.
    """
    visits = (("01", "20260103"), ("01", "20260201"), ("02", "20260102"))
    for number, (patient, date) in enumerate(visits):
        dataset = instance(number, study=f"{root}.{number}")
        dataset.SpecificCharacterSet, dataset.PatientName = "ISO_IR 192", name
        dataset.PatientID, dataset.StudyDate, dataset.StudyTime = f"{letters}{patient}", date, "120000"
        dataset.AccessionNumber = f"{letters[0]}{number}"
        dataset.StudyDescription, dataset.Modality = "Visit 3", "MR"
        dataset.SeriesInstanceUID = f"{root}.{number}.1"
        dataset.SOPInstanceUID = f"{root}.{number}.1.1"
        dataset.file_meta.MediaStorageSOPInstanceUID = dataset.SOPInstanceUID
        pydicom.dcmwrite(folder / f"{number}.dcm", dataset, enforce_file_format=True)


def first_of(folder: Path, transfer_syntax: str) -> Path:
    for path in sorted(folder.rglob("*")):
        if path.is_file() and path.read_bytes()[128:132] == b"DICM":
            meta = read_file_meta_info(path)
            if meta.TransferSyntaxUID == transfer_syntax:
                return path
    raise AssertionError(f"no instance in {transfer_syntax} under {folder.name}")


def data_set_bytes(path: Path) -> bytes:
    """What follows the file meta information (PS3.10 section 7.1)."""
    content = path.read_bytes()
    length = int.from_bytes(content[140:144], "little")  # value of (0002,0000)
    return content[144 + length :]
