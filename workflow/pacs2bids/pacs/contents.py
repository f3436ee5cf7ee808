"""What one file holds: an instance with the attributes to search by, or the reason why it is none; or many.

The engine's reader reads the headers: of files that are alike it decodes only what differs, 20 times faster
than pydicom reads each anew.
"""

from __future__ import annotations

import os
import re
import stat
from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from contextlib import suppress
from functools import partial
from io import FileIO
from pathlib import Path, PurePosixPath

from msgspec import Struct, structs

from pacs2bids.header import Header
from pacs2bids.model import HeaderError, NoInstanceError, NotDicomError, Reason
from pacs2bids.pacs.archives import (
    ArchiveError,
    Member,
    NoArchiveError,
    Refusal,
    is_archive,
    members,
)
from pacs2bids.pacs.dicomdir import Listed, listed_in
from pacs2bids.pacs.whole import has_cut_header, has_cut_pixels, tail_of
from pacs2bids.reading import ParsedFile, Reader, Stream
from pacs2bids.recalled import recalled

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
_LONGEST_HEADER = 1 << 28  # bytes; those of 20,000 frames take 60 MB
_LONGEST_ODD_HEADER = 1 << 22  # of those that pydicom reads: of nothing but empty elements in some 10 s
_LONGEST_DIRECTORY = 1 << 24  # of 40,000 files
_BLOCK = 512  # bytes that tell an archive
_MOST_PROBLEMS = 1000  # that are told one by one, in each archive
# the names of archives, and of files that hold one instance; by their content others are known, too
ARCHIVE_SUFFIXES = (".zip", ".tar", ".tgz", ".tbz2", ".txz", ".tar.gz", ".tar.bz2", ".tar.xz", ".dcm.gz")
_START = 1 << 16  # a file that begins with so many zeros, or has nothing else, was emptied


class Head(Struct, frozen=True, array_like=True, tag="instance"):
    """The attributes of an instance: ``shared``, the values of SHARED_KEYS, and ``image``, of IMAGE_KEYS.

    ``is_cut``: its file ends too early.
    """

    transfer_syntax_uid: str
    shared: tuple[str, ...]
    image: tuple[str, ...]
    is_cut: bool = False

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


class Problem(Struct, frozen=True, array_like=True, tag="none"):
    """Why a file is no instance.

    UNREADABLE: it may be one, or hold some, that are lost; of the study ``study_instance_uid`` if that is
    known. Other reasons are harmless.
    """

    reason: Reason
    detail: str
    study_instance_uid: str = ""


class Entry(Struct, frozen=True, array_like=True):
    """What a file holds, or one in it: the ``member``-th of an archive, which calls it ``name``.

    ``listed``: what it lists, if it is a DICOMDIR.
    """

    content: Head | Problem
    size_bytes: int
    member: int | None = None
    name: str = ""
    listed: tuple[Listed, ...] = ()


def contents_of(reader: Reader, path: Path) -> tuple[Entry, ...]:
    """What a file holds: one entry, or those of an archive. Raises OSError if it cannot be read."""
    (entry,) = plain_contents_of(reader, path)
    if not _is_harmless(entry.content):
        return (entry,)
    with suppress(NoArchiveError):
        return tuple(_members(reader, path, entry.size_bytes))
    if _is_called_an_archive(path.name):
        what = "is no archive, though it is called so: a copy that failed?"
        return (Entry(Problem(Reason.UNREADABLE, what), entry.size_bytes),)
    return (entry,)


def plain_contents_of(reader: Reader, path: Path) -> tuple[Entry, ...]:
    """As ``contents_of``; archives are not looked into."""
    return _one_content_of(
        path,
        lambda stream, size_bytes: _head_of(
            reader, stream, size_bytes, partial(tail_of, stream.fileno(), size_bytes), path
        ),
    )


def _one_content_of(path: Path, head_of: Callable[[FileIO, int], Head | Problem]) -> tuple[Entry, ...]:
    # a pipe would block for ever
    descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC | os.O_NONBLOCK)
    with FileIO(descriptor, "rb") as stream:
        status = os.fstat(descriptor)
        if not stat.S_ISREG(status.st_mode):
            return (Entry(Problem(Reason.UNSUPPORTED, "is no file but a pipe or a device"), 0),)
        size_bytes = status.st_size
        return (_entry(head_of(stream, size_bytes), stream, size_bytes),)


def _entry(content: Head | Problem, stream: Stream, size_bytes: int, member: Member | None = None) -> Entry:
    """With what it lists, if it is a DICOMDIR."""
    listed: tuple[Listed, ...] = ()
    if isinstance(content, Problem) and content.detail == DICOMDIR:
        stream.seek(0)
        try:
            listed = listed_in(stream)
        except ValueError as error:
            content = Problem(Reason.UNREADABLE, str(error))
    if member is None:
        return Entry(content, size_bytes, listed=listed)
    return Entry(content, size_bytes, member.number, member.name, listed)


def _head_of(
    reader: Reader,
    stream: Stream,
    size_bytes: int,
    tail: Callable[[int], bytes] | None = None,
    path: Path | None = None,
) -> Head | Problem:
    """What a stream of ``size_bytes`` holds; it is read up to the pixels.

    ``tail`` gives the last bytes, ``path`` is the file; None where they cannot be had yet.
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
    is_cut = has_cut_pixels(parsed, size_bytes, tail)
    is_cut = is_cut or (path is not None and has_cut_header(parsed, size_bytes, path))
    if problem := _without_identity(head):
        return Problem(Reason.UNREADABLE, CUT if is_cut else problem, head.study_instance_uid)
    return structs.replace(head, is_cut=True) if is_cut else head


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


def _without_identity(head: Head) -> str | None:
    """What is wrong with the UIDs that an instance must have."""
    uids = dict(zip((*SHARED_KEYS, *IMAGE_KEYS), (*head.shared, *head.image), strict=True))
    uids["TransferSyntaxUID"] = head.transfer_syntax_uid
    if missing := [key for key in _UIDS if not uids[key]]:
        return f"has no {', '.join(missing)}"
    if wrong := [key for key in _UIDS if not _UID.fullmatch(uids[key])]:
        return f"{', '.join(wrong)} is no UID"
    return None


# ------------------------------------------------------------------------------------------------ archives


def _members(reader: Reader, path: Path, size_bytes: int) -> Iterator[Entry]:
    """What an archive holds: a single problem if nothing in it has to do with DICOM."""
    entries: list[Entry] = []
    problems = Counter[Reason]()
    try:
        for member in members(path):
            entry = _member_entry(reader, member)
            if isinstance(entry.content, Problem):
                problems[entry.content.reason] += 1
                if problems.total() > _MOST_PROBLEMS:
                    continue
            entries.append(entry)
    except NoArchiveError:
        raise
    except ArchiveError as error:
        entries.append(Entry(Problem(Reason.UNREADABLE, error.what), size_bytes))
        problems[Reason.UNREADABLE] += 1
    if problems.total() > _MOST_PROBLEMS:
        reason = Reason.UNREADABLE if problems[Reason.UNREADABLE] else Reason.NOT_DICOM
        what = f"has {problems.total() - _MOST_PROBLEMS:,} more files that are no instances"
        entries.append(Entry(Problem(reason, what), size_bytes))
    if all(_is_harmless(one.content) for one in entries):
        yield Entry(Problem(Reason.NOT_DICOM, "is an archive without DICOM files"), size_bytes)
    else:
        yield from entries


def _is_harmless(content: Head | Problem) -> bool:
    return isinstance(content, Problem) and content.reason is Reason.NOT_DICOM


def _member_entry(reader: Reader, member: Member) -> Entry:
    """Raises ArchiveError if the archive cannot be read on."""
    stream = _Kept(member)
    if member.refusal is not None:
        is_lost = member.refusal not in (Refusal.LINK, Refusal.DEVICE)
        problem = Problem(Reason.UNREADABLE if is_lost else Reason.UNSUPPORTED, member.refusal.value)
        return _entry(problem, stream, member.size_bytes, member)
    content = _head_of(reader, stream, member.size_bytes)
    if _is_harmless(content) and _is_called_an_archive(member.name):
        stream.seek(0)
        if is_archive(stream.read(_BLOCK)):
            what = "is an archive inside of an archive, which is not read: unpack it"
            content = Problem(Reason.UNREADABLE, what)
    return _entry(content, stream, member.size_bytes, member)


def _is_called_an_archive(name: str) -> bool:
    return name.lower().endswith(ARCHIVE_SUFFIXES)


class _Kept:
    """The beginning of a member, kept so that it can be read again."""

    def __init__(self, member: Member) -> None:
        self._member = member
        self._bytes = bytearray()
        self._at = 0
        self._most_bytes = _LONGEST_HEADER

    def read(self, size: int = -1, /) -> bytes:
        """See ``Stream``. Raises HeaderError where a header is absurdly long."""
        end = self._member.size_bytes if size < 0 else min(self._at + size, self._member.size_bytes)
        if end > self._most_bytes:
            raise HeaderError("has a header longer than any: a bomb?")
        if end > len(self._bytes):
            self._bytes += self._member.read(end - len(self._bytes))
        piece = bytes(self._bytes[self._at : end])
        self._at += len(piece)
        return piece

    def seek(self, offset: int, whence: int = os.SEEK_SET, /) -> int:
        """See ``Stream``."""
        start = {os.SEEK_SET: 0, os.SEEK_CUR: self._at, os.SEEK_END: self._member.size_bytes}[whence]
        self._at = max(0, start + offset)
        if self._at == 0:  # to be read anew, by pydicom
            is_directory = PurePosixPath(self._member.name).name.upper().startswith("DICOMDIR")
            self._most_bytes = _LONGEST_DIRECTORY if is_directory else _LONGEST_ODD_HEADER
        return self._at

    def tell(self) -> int:
        """See ``Stream``."""
        return self._at
