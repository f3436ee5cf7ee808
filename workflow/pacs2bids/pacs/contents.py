"""What one file holds: an instance with the attributes to search by, or the reason why it is none.

The engine's reader reads the headers: of files that are alike it decodes only what differs, 20 times faster
than pydicom reads each anew.
"""

from __future__ import annotations

import os
import re
import stat
from collections.abc import Callable, Iterable
from pathlib import Path

from msgspec import Struct

from pacs2bids.header import DEFLATED, Header, ParsedFile, Reader, Stream, recalled
from pacs2bids.model import HeaderError, NoInstanceError, NotDicomError, Reason

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
SHARED_KEYS = (*PATIENT_KEYS, *STUDY_KEYS, *SERIES_KEYS)
DICOMDIR = "is a DICOMDIR"
EMPTIED = "is empty: a copy that failed?"
CUT = "is cut short: a copy that failed?"
_UIDS = ("StudyInstanceUID", "SeriesInstanceUID", "SOPInstanceUID", "SOPClassUID", "TransferSyntaxUID")
_UID = re.compile(r"[0-9.]{1,64}")  # leading zeros are wrong, but harmless and not rare
_DICOMDIR_CLASS = "1.2.840.10008.1.3.10"  # Media Storage Directory: an index, not an instance
_SEQUENCE_END = b"\xfe\xff\xdd\xe0\0\0\0\0"  # behind compressed pixels (PS3.5 annex A.4)
_TAIL = 4096  # bytes in which that must be: little may follow
_START = 1 << 16  # a file that begins with so many zeros, or has nothing else, was emptied


class Head(Struct, frozen=True, array_like=True):
    """The attributes of an instance: ``shared``, the values of SHARED_KEYS, and ``image``, of IMAGE_KEYS."""

    transfer_syntax_uid: str
    shared: tuple[str, ...]
    image: tuple[str, ...]

    @property
    def study_instance_uid(self) -> str:
        """Of the data set."""
        return self.shared[SHARED_KEYS.index("StudyInstanceUID")]

    @property
    def series_instance_uid(self) -> str:
        """Of the data set."""
        return self.shared[SHARED_KEYS.index("SeriesInstanceUID")]

    @property
    def sop_instance_uid(self) -> str:
        """Of the data set."""
        return self.image[IMAGE_KEYS.index("SOPInstanceUID")]

    @property
    def sop_class_uid(self) -> str:
        """Of the data set."""
        return self.image[IMAGE_KEYS.index("SOPClassUID")]


class Problem(Struct, frozen=True, array_like=True):
    """Why a file is no instance.

    UNREADABLE: it may be one, or hold some, that are lost; of the study ``study_instance_uid`` if that is
    known. Other reasons are harmless.
    """

    reason: Reason
    detail: str
    study_instance_uid: str = ""


def content_of(reader: Reader, path: Path) -> Head | Problem:
    """What a file holds. Raises OSError if it cannot be read."""
    # a pipe would block for ever
    descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC | os.O_NONBLOCK)
    with os.fdopen(descriptor, "rb", buffering=0) as stream:
        status = os.fstat(descriptor)
        if not stat.S_ISREG(status.st_mode):
            return Problem(Reason.UNSUPPORTED, "is no file but a pipe or a device")
        return head_of(reader, stream, status.st_size, lambda size: _tail(descriptor, status.st_size, size))


def _tail(descriptor: int, size_bytes: int, wanted: int) -> bytes:
    return os.pread(descriptor, wanted, max(0, size_bytes - wanted))


def head_of(
    reader: Reader, stream: Stream, size_bytes: int, tail: Callable[[int], bytes] | None = None
) -> Head | Problem:
    """What a stream of ``size_bytes`` holds; it is read up to the pixels.

    ``tail`` gives the last bytes; None where they cannot be had yet.
    """
    try:
        parsed = reader.parse(stream, "")
    except NotDicomError:
        emptied = _is_emptied(stream)
        return Problem(Reason.UNREADABLE, EMPTIED) if emptied else Problem(Reason.NOT_DICOM, "is no DICOM")
    except NoInstanceError:
        return Problem(Reason.NO_IMAGE, DICOMDIR)
    except HeaderError as error:
        return Problem(Reason.UNREADABLE, error.what)
    head = _head(parsed)
    if head.sop_class_uid == _DICOMDIR_CLASS:
        return Problem(Reason.NO_IMAGE, DICOMDIR)
    if _is_cut(parsed, size_bytes, tail):
        return Problem(Reason.UNREADABLE, CUT, head.study_instance_uid)
    problem = _without_identity(head)
    return head if problem is None else Problem(Reason.UNREADABLE, problem, head.study_instance_uid)


def _head(parsed: ParsedFile) -> Head:
    header = parsed.header
    return Head(parsed.transfer_syntax_uid, _shared(header), _values(header, IMAGE_KEYS))


@recalled
def _shared(header: Header) -> tuple[str, ...]:
    return _values(header, SHARED_KEYS)


def _values(header: Header, keys: Iterable[str]) -> tuple[str, ...]:
    """Each as text: "" if missing or empty, several values separated by a backslash."""
    return tuple(["\\".join(header.texts(key)) for key in keys])


def _is_emptied(stream: Stream) -> bool:
    """Whether there is nothing but zeros: what a copy that failed leaves."""
    stream.seek(0)
    return not (stream.read(_START) or b"").strip(b"\0")


def _is_cut(parsed: ParsedFile, size_bytes: int, tail: Callable[[int], bytes] | None) -> bool:
    """Whether the pixels end behind the file."""
    pixels = parsed.pixels
    if pixels is None or parsed.transfer_syntax_uid == DEFLATED:
        return False  # deflated: that it could be inflated is the proof
    if pixels.length is not None:
        return pixels.offset + pixels.length > size_bytes
    return tail is not None and _SEQUENCE_END not in tail(_TAIL)


def _without_identity(head: Head) -> str | None:
    """What is wrong with the UIDs that an instance must have."""
    uids = dict(zip((*SHARED_KEYS, *IMAGE_KEYS), (*head.shared, *head.image), strict=True))
    uids["TransferSyntaxUID"] = head.transfer_syntax_uid
    if missing := [key for key in _UIDS if not uids[key]]:
        return f"has no {', '.join(missing)}"
    if wrong := [key for key in _UIDS if not _UID.fullmatch(uids[key])]:
        return f"{', '.join(wrong)} is no UID"
    return None
