"""What a folder of DICOM files holds: studies, series, instances, each with the attributes to search by.

One pass over the headers (no pixels, no private elements) makes frozen records. They answer questions as a
PACS answers C-FIND (PS3.4 section C.6), so that a folder can stand in for a PACS: the embedded one serves
them over the network, the folder source of ``query`` and ``pull`` asks them directly.
"""

from __future__ import annotations

import logging
import os
import re
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

from pydicom.datadict import keyword_dict
from pydicom.errors import InvalidDicomError
from pydicom.filereader import read_partial

from pacs2bids.files import is_emptied
from pacs2bids.model import ConfigError, Leftover, Reason
from pacs2bids.pacs.identifiers import text_of
from pacs2bids.pacs.matching import matches
from pacs2bids.peers import Attributes

LEVELS = ("PATIENT", "STUDY", "SERIES", "IMAGE")

# The key that makes an answer unique at each level (PS3.4 tables C.6-1 to C.6-5)
UNIQUE_KEYS = {
    "PATIENT": "PatientID",
    "STUDY": "StudyInstanceUID",
    "SERIES": "SeriesInstanceUID",
    "IMAGE": "SOPInstanceUID",
}

# Attributes kept at each level. More than the standard asks for: labels are mapped from them.
PATIENT_KEYS = (
    "PatientID",
    "PatientName",
    "PatientBirthDate",
    "PatientSex",
    "IssuerOfPatientID",
    "OtherPatientIDs",
    "PatientComments",
)
STUDY_KEYS = (
    "StudyInstanceUID",
    "StudyDate",
    "StudyTime",
    "StudyID",
    "StudyDescription",
    "AccessionNumber",
    "ReferringPhysicianName",
    "PatientAge",
    "PatientSize",
    "PatientWeight",
    "InstitutionName",
    "StationName",
)
SERIES_KEYS = (
    "SeriesInstanceUID",
    "Modality",
    "SeriesNumber",
    "SeriesDescription",
    "SeriesDate",
    "SeriesTime",
    "ProtocolName",
    "BodyPartExamined",
    "Manufacturer",
    "ManufacturerModelName",
    "PatientPosition",
    "SequenceName",
)
IMAGE_KEYS = (
    "SOPInstanceUID",
    "SOPClassUID",
    "InstanceNumber",
    "ImageType",
    "AcquisitionDate",
    "AcquisitionTime",
    "AcquisitionNumber",
    "ContentDate",
    "ContentTime",
    "NumberOfFrames",
)
_WANTED = [keyword_dict[key] for key in ("SpecificCharacterSet", *PATIENT_KEYS, *STUDY_KEYS)]
_WANTED += [keyword_dict[key] for key in (*SERIES_KEYS, *IMAGE_KEYS)]
_LAST_TAG = max(_WANTED)
_UID = re.compile(r"[0-9.]{1,64}")  # leading zeros are wrong, but harmless and not rare
_DICOMDIR_CLASS = "1.2.840.10008.1.3.10"  # Media Storage Directory: an index, not an instance

log = logging.getLogger("pacs2bids.catalogue")


@dataclass(frozen=True, slots=True, kw_only=True)
class Instance:
    """One DICOM file. ``path`` is the whole path; UIDs are those of the data set."""

    path: Path
    sop_instance_uid: str
    sop_class_uid: str
    transfer_syntax_uid: str
    attributes: Attributes


@dataclass(frozen=True, slots=True, kw_only=True)
class Series:
    """The instances of one SeriesInstanceUID, ordered by InstanceNumber, then UID."""

    series_instance_uid: str
    attributes: Attributes
    instances: tuple[Instance, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Study:
    """The series of one StudyInstanceUID, ordered by SeriesNumber, then UID."""

    study_instance_uid: str
    attributes: Attributes
    series: tuple[Series, ...]

    @property
    def instances(self) -> Iterator[Instance]:
        """All instances, series by series."""
        return (instance for series in self.series for instance in series.instances)


@dataclass(frozen=True, slots=True, kw_only=True)
class Catalogue:
    """A folder's studies, and the files that are not served, each with its reason."""

    root: Path
    studies: tuple[Study, ...]
    leftovers: tuple[Leftover, ...]

    @property
    def instances(self) -> Iterator[Instance]:
        """All instances, study by study."""
        return (instance for study in self.studies for instance in study.instances)

    def find(self, level: str, question: Attributes) -> list[Attributes]:
        """Every attribute of each patient, study, series or image that matches, as C-FIND would answer."""
        return [row for row, _ in self._rows(level) if matches(question, row)]

    def select(self, level: str, question: Attributes) -> list[Instance]:
        """The instances under each study, series or image that matches, as C-MOVE would send them."""
        return [instance for row, below in self._rows(level) if matches(question, row) for instance in below]

    def _rows(self, level: str) -> Iterator[tuple[Attributes, tuple[Instance, ...]]]:
        if level == "PATIENT":
            yield from self._patients()
            return
        for study in self.studies:
            if level == "STUDY":
                yield study.attributes, tuple(study.instances)
                continue
            for series in study.series:
                row = {**study.attributes, **series.attributes}
                if level == "SERIES":
                    yield row, series.instances
                    continue
                for instance in series.instances:
                    yield {**row, **instance.attributes}, (instance,)

    def _patients(self) -> Iterator[tuple[Attributes, tuple[Instance, ...]]]:
        for patient_id in dict.fromkeys(study.attributes["PatientID"] for study in self.studies):
            studies = [study for study in self.studies if study.attributes["PatientID"] == patient_id]
            row = {key: studies[0].attributes[key] for key in PATIENT_KEYS}
            row["NumberOfPatientRelatedStudies"] = str(len(studies))
            yield row, tuple(instance for study in studies for instance in study.instances)


# ------------------------------------------------------------------------------------------------ scanning


@dataclass(frozen=True, slots=True, kw_only=True)
class _Scanned:
    """One file as read: all its attributes, before they are sorted into levels."""

    path: Path
    transfer_syntax_uid: str
    attributes: Attributes


def scan(folder: Path) -> Catalogue:
    """Read the header of every file below ``folder``.

    Files that are no DICOM instance, and second copies of one, become leftovers; their number is logged.
    Raises ConfigError if the folder does not exist.
    """
    if not folder.is_dir():
        raise ConfigError("is no folder", where=str(folder), hint="Name a folder that holds DICOM files")
    scanned: dict[str, _Scanned] = {}
    leftovers = []
    for path in _files(folder):
        found = _read(path, folder)
        if isinstance(found, Leftover):
            leftovers.append(found)
            continue
        first = scanned.setdefault(found.attributes["SOPInstanceUID"], found)
        if first is not found:
            leftovers.append(_duplicate(found, first, folder))
    if leftovers:
        # a README or a .DS_Store beside the images is nothing to worry about; a damaged header is
        harmless = all(one.reason is Reason.NOT_DICOM for one in leftovers)
        level = logging.INFO if harmless else logging.WARNING
        log.log(level, "%s: %d files are left out: %s", folder, len(leftovers), _summary(leftovers))
    return Catalogue(root=folder, studies=_studies(scanned.values()), leftovers=tuple(leftovers))


def _files(folder: Path) -> Iterator[Path]:
    for parent, folders, names in os.walk(folder):
        folders.sort()
        yield from (Path(parent, name) for name in sorted(names))


def _read(path: Path, root: Path) -> _Scanned | Leftover:
    def leftover(reason: Reason, detail: str) -> Leftover:
        return Leftover(path=str(path.relative_to(root)), reason=reason, detail=detail)

    try:
        with path.open("rb") as stream:
            header = read_partial(stream, lambda tag, _vr, _length: tag > _LAST_TAG, specific_tags=[*_WANTED])
            attributes = {key: text_of(header, key) for key in (*PATIENT_KEYS, *STUDY_KEYS)}
            attributes |= {key: text_of(header, key) for key in (*SERIES_KEYS, *IMAGE_KEYS)}
    except InvalidDicomError:
        emptied = (Reason.UNREADABLE, "is empty: a copy that failed?")
        return leftover(*(emptied if is_emptied(path) else (Reason.NOT_DICOM, "has no DICOM preamble")))
    except OSError as error:
        return leftover(Reason.UNREADABLE, f"cannot be read: {error.strerror or type(error).__name__}")
    except Exception as error:  # noqa: BLE001 - pydicom raises anything on damaged files; none may stop the rest
        return leftover(Reason.UNREADABLE, f"damaged header: {type(error).__name__}")
    if header.file_meta.get("MediaStorageSOPClassUID") == _DICOMDIR_CLASS:
        return leftover(Reason.NO_IMAGE, "is a DICOMDIR")
    syntax = str(header.file_meta.get("TransferSyntaxUID", ""))
    problem = _without_identity({**attributes, "TransferSyntaxUID": syntax})
    if problem:
        return leftover(Reason.UNREADABLE, problem)
    return _Scanned(path=path, transfer_syntax_uid=syntax, attributes=attributes)


def _without_identity(attributes: Attributes) -> str | None:
    """What is wrong with the UIDs that an instance must have."""
    keys = ("StudyInstanceUID", "SeriesInstanceUID", "SOPInstanceUID", "SOPClassUID", "TransferSyntaxUID")
    if missing := [key for key in keys if not attributes[key]]:
        return f"has no {', '.join(missing)}"
    if wrong := [key for key in keys if not _UID.fullmatch(attributes[key])]:
        return f"{', '.join(wrong)} is no UID"
    return None


def _duplicate(found: _Scanned, first: _Scanned, root: Path) -> Leftover:
    return Leftover(
        path=str(found.path.relative_to(root)),
        reason=Reason.DUPLICATE,
        detail=f"the same SOPInstanceUID as {first.path.relative_to(root)}",
        sop_instance_uid=found.attributes["SOPInstanceUID"],
        series_instance_uid=found.attributes["SeriesInstanceUID"],
    )


def _summary(leftovers: list[Leftover]) -> str:
    counts = {reason: sum(one.reason is reason for one in leftovers) for reason in Reason}
    return ", ".join(f"{count} {reason}" for reason, count in counts.items() if count)


# ------------------------------------------------------------------------------------------------ sorting


def _studies(scanned: Iterable[_Scanned]) -> tuple[Study, ...]:
    groups = _grouped(scanned, "StudyInstanceUID")
    return tuple(_study(uid, groups[uid]) for uid in sorted(groups))


def _study(uid: str, scanned: list[_Scanned]) -> Study:
    groups = _grouped(scanned, "SeriesInstanceUID")
    series = sorted(
        (_series(series_uid, members) for series_uid, members in groups.items()),
        key=lambda one: (_number(one.attributes["SeriesNumber"]), one.series_instance_uid),
    )
    attributes = _shared(scanned, (*PATIENT_KEYS, *STUDY_KEYS), f"study {uid}")
    modalities = sorted({one.attributes["Modality"] for one in series} - {""})
    classes = sorted({one.attributes["SOPClassUID"] for one in scanned})
    attributes |= {
        "ModalitiesInStudy": "\\".join(modalities),
        "SOPClassesInStudy": "\\".join(classes),
        "NumberOfStudyRelatedSeries": str(len(series)),
        "NumberOfStudyRelatedInstances": str(len(scanned)),
    }
    return Study(study_instance_uid=uid, attributes=attributes, series=tuple(series))


def _series(uid: str, scanned: list[_Scanned]) -> Series:
    attributes = _shared(scanned, SERIES_KEYS, f"series {uid}")
    attributes["NumberOfSeriesRelatedInstances"] = str(len(scanned))
    instances = sorted(
        (_instance(one) for one in scanned),
        key=lambda one: (_number(one.attributes["InstanceNumber"]), one.sop_instance_uid),
    )
    return Series(series_instance_uid=uid, attributes=attributes, instances=tuple(instances))


def _instance(one: _Scanned) -> Instance:
    attributes = {key: one.attributes[key] for key in IMAGE_KEYS}
    return Instance(
        path=one.path,
        sop_instance_uid=attributes["SOPInstanceUID"],
        sop_class_uid=attributes["SOPClassUID"],
        transfer_syntax_uid=one.transfer_syntax_uid,
        attributes=attributes | {"AvailableTransferSyntaxUID": one.transfer_syntax_uid},
    )


def _grouped(scanned: Iterable[_Scanned], keyword: str) -> Mapping[str, list[_Scanned]]:
    groups: dict[str, list[_Scanned]] = {}
    for one in scanned:
        groups.setdefault(one.attributes[keyword], []).append(one)
    return groups


def _shared(scanned: list[_Scanned], keywords: Iterable[str], where: str) -> dict[str, str]:
    """The first value of each attribute that ought to be the same in all; a difference is logged."""
    attributes = {}
    for keyword in keywords:
        values = list(dict.fromkeys(one.attributes[keyword] for one in scanned if one.attributes[keyword]))
        attributes[keyword] = values[0] if values else ""
        if len(values) > 1:
            log.info("%s: %s differs between its instances; the first is used", where, keyword)
    return attributes


def _number(text: str) -> int:
    try:
        return int(text)
    except ValueError:
        return 0
