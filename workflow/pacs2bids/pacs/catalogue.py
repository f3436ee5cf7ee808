"""What a folder of DICOM files holds: studies, series, instances, each with the attributes to search by.

One pass over the headers (no pixels, no private elements) makes frozen records. They answer questions as a
PACS answers C-FIND (PS3.4 section C.6), so that a folder can stand in for a PACS: the embedded one serves
them over the network, the folder source of ``query`` and ``pull`` asks them directly.
"""

from __future__ import annotations

import logging
import os
import re
from collections import Counter
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping
from dataclasses import dataclass, replace
from operator import attrgetter
from pathlib import Path, PurePosixPath
from typing import TypeAlias

from pacs2bids.model import ConfigError, Reason
from pacs2bids.pacs.contents import (
    ARCHIVE_SUFFIXES,
    CUT,
    EMPTIED,
    IMAGE_KEYS,
    PATIENT_KEYS,
    SERIES_KEYS,
    SHARED_KEYS,
    STUDY_KEYS,
    Entry,
    Head,
    Problem,
    contents_of,
)
from pacs2bids.pacs.dicomdir import Listed
from pacs2bids.pacs.matching import matches
from pacs2bids.peers import Attributes
from pacs2bids.reading import Reader
from pacs2bids.text import counted, listed

LEVELS = ("PATIENT", "STUDY", "SERIES", "IMAGE")

# The key that makes an answer unique at each level (PS3.4 tables C.6-1 to C.6-5)
UNIQUE_KEYS = {
    "PATIENT": "PatientID",
    "STUDY": "StudyInstanceUID",
    "SERIES": "SeriesInstanceUID",
    "IMAGE": "SOPInstanceUID",
}

_MOST_NAMED = 3  # files, in a warning

log = logging.getLogger("pacs2bids.catalogue")


@dataclass(frozen=True, slots=True, kw_only=True)
class Instance:
    """One DICOM file. UIDs are those of the data set.

    ``path``: the whole path of the file, or of the archive in which it is the ``member``-th, called ``name``.
    """

    path: Path
    member: int | None
    name: str
    size_bytes: int
    sop_instance_uid: str
    sop_class_uid: str
    transfer_syntax_uid: str
    attributes: Attributes

    @property
    def folder(self) -> Path:
        """The folder or archive in which it lies."""
        return self.path.parent if self.member is None else self.path


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
class LeftOut:
    """A file that is not served, and why. ``path``: below the root, for people.

    ``file``: the file, or the archive in which it is the ``member``-th; ``folder``: the folder or archive in
    which it lies. UNREADABLE: it may be an instance that is lost; its UIDs, if its header or a DICOMDIR tells
    them. DUPLICATE: a second file of ``sop_instance_uid``; ``oddity``: what it means if its content differs.
    Anything else is harmless.
    """

    path: str
    file: Path
    folder: Path
    reason: Reason
    detail: str
    study_instance_uid: str = ""
    series_instance_uid: str = ""
    sop_instance_uid: str = ""
    member: int | None = None
    oddity: str = ""

    def __str__(self) -> str:
        return f"{self.path} {self.detail}"


@dataclass(frozen=True, slots=True, kw_only=True)
class Catalogue:
    """A folder's studies, and the files that are not served."""

    root: Path
    studies: tuple[Study, ...]
    leftovers: tuple[LeftOut, ...]

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

Contents: TypeAlias = Callable[[Reader, Path], Iterable[Entry]]


@dataclass(frozen=True, slots=True, kw_only=True)
class _Found:
    """An instance that was found. ``name``: its path below the root, for people; in an archive, a.zip!IM1."""

    path: Path
    name: str
    entry: Entry
    head: Head


class _Scan:
    """Files as they are read, sorted into instances and the rest."""

    def __init__(self, root: Path, contents: Contents) -> None:
        self.root = root
        self.found: dict[str, _Found] = {}
        self.left_out: list[LeftOut] = []
        self.listed: list[tuple[str, Listed]] = []  # by DICOMDIRs; with their paths below the root
        self._contents = contents
        self._reader = Reader()

    def add(self, name: str) -> None:
        """Read one file."""
        try:
            entries = self._contents(self._reader, self.root / name)
        except OSError as error:
            self.add_unreadable(name, error)
            return
        for entry in entries:
            self._add_entry(name, entry)

    def add_unreadable(self, name: str, error: OSError) -> None:
        """Note a file or folder that cannot be read."""
        what = f"cannot be read: {error.strerror or type(error).__name__}"
        self._add_entry(name, Entry(Problem(Reason.UNREADABLE, what), 0))

    def _add_entry(self, name: str, entry: Entry) -> None:
        path, content = self.root / name, entry.content
        name = os.fsencode(name).decode(errors="replace")  # it need not be Unicode, what we write must
        shown = f"{name}!{entry.name}" if entry.name else name
        here = shown[: 1 + max(shown.rfind("/"), shown.rfind("!"))]
        self.listed += [(f"{here}{one.file}", one) for one in entry.listed]
        if isinstance(content, Problem):
            self.left_out.append(_left_out(path, shown, entry, content))
            return
        one = _Found(path=path, name=shown, entry=entry, head=content)
        first = self.found.setdefault(content.sop_instance_uid, one)
        if first is one:
            return
        if first.head.is_cut and not content.is_cut:  # the whole one counts, whichever comes first
            self.found[content.sop_instance_uid] = one
            one, first = first, one
        self.left_out.append(_duplicate(one, first))

    def leave_out_cut(self) -> None:
        """Of which there is no whole file, those are lost."""
        for one in [one for one in self.found.values() if one.head.is_cut]:
            del self.found[one.head.sop_instance_uid]
            problem = Problem(Reason.UNREADABLE, CUT, one.head.study_instance_uid)
            self.left_out.append(_left_out(one.path, one.name, one.entry, problem))


def scan(path: Path, contents: Contents = contents_of, *, with_cut: bool = False) -> Catalogue:
    """Read the header of every file below the folder ``path``, also in archives; or in the archive ``path``.

    ``contents`` says what one file holds. Files that are no DICOM instance, and second copies of one, become
    leftovers. An instance whose file ends too early is one only ``with_cut``; a whole file is preferred.
    Raises ConfigError if there is no such folder or archive.
    """
    found = _Scan(path if path.is_dir() else path.parent, contents)
    if path.is_dir():
        for name, error in _files(str(path), "", frozenset([os.path.realpath(path)])):
            if error is None:
                found.add(name)
            else:
                found.add_unreadable(name, error)
    elif path.is_file():
        found.add(path.name)
    else:
        raise ConfigError("is no folder and no archive", where=str(path), hint="Name what holds DICOM files")
    if not with_cut:
        found.leave_out_cut()
    leftovers = tuple(_judged(found))
    return Catalogue(root=found.root, studies=_studies(found.found.values()), leftovers=leftovers)


def tell_leftovers(catalogue: Catalogue, path: Path, level: int = logging.WARNING) -> None:
    """Tell what was left out of ``path``, the first few by name; all are named in the log."""
    if not (leftovers := catalogue.leftovers):
        return
    # a README or a .DS_Store beside the images is nothing to worry about; a damaged header is
    grave = [one for one in leftovers if one.reason is not Reason.NOT_DICOM]
    files = f"{counted(len(leftovers), 'file is', 'files are')} left out"
    if grave:
        grave.sort(key=lambda one: one.reason is not Reason.UNREADABLE)
        named = listed([str(one) for one in grave], _MOST_NAMED, separator="; ")
        log.log(level, "%s: %s (%s): %s", path, files, _summary(leftovers), named)
    else:
        log.info("%s: %s (%s)", path, files, _summary(leftovers))
    for one in leftovers:
        log.info("left out: %s", one)


def _summary(leftovers: Iterable[LeftOut]) -> str:
    counts = Counter(one.reason for one in leftovers)
    return ", ".join(f"{counts[reason]} {reason}" for reason in Reason if counts[reason])


def _files(folder: str, prefix: str, above: frozenset[str]) -> Iterator[tuple[str, OSError | None]]:
    """Paths of all files below ``folder``, relative to it, in order, and of folders that cannot be read.

    Links are followed, but not to the folders that they lie in (``above``).
    """
    try:
        with os.scandir(folder) as listing:
            entries = sorted(listing, key=attrgetter("name"))
    except OSError as error:
        yield prefix or ".", error
        return
    yield from ((prefix + entry.name, None) for entry in entries if not entry.is_dir())
    for entry in entries:
        if entry.is_dir() and (real := os.path.realpath(entry.path)) not in above:
            yield from _files(entry.path, f"{prefix}{entry.name}/", above | {real})


def _left_out(path: Path, shown: str, entry: Entry, problem: Problem) -> LeftOut:
    is_place = entry.member is not None or path.is_dir() or path.name.lower().endswith(ARCHIVE_SUFFIXES)
    return LeftOut(
        path=shown,
        file=path,
        folder=path if is_place else path.parent,
        reason=problem.reason,
        detail=problem.detail,
        study_instance_uid=problem.study_instance_uid,
    )


def _duplicate(one: _Found, first: _Found) -> LeftOut:
    oddity = f"another content than {first.name}, which is used, under the same SOPInstanceUID"
    if one.head.is_cut:
        oddity = f"ends too early; {first.name}, which is used, has the same instance"
    return LeftOut(
        path=one.name,
        file=one.path,
        folder=one.path.parent,
        reason=Reason.DUPLICATE,
        detail=oddity if one.head.is_cut else f"has the same SOPInstanceUID as {first.name}",
        oddity=oddity,
        study_instance_uid=first.head.study_instance_uid,
        sop_instance_uid=one.head.sop_instance_uid,
        member=one.entry.member,
    )


def _judged(scanned: _Scan) -> list[LeftOut]:
    """What is left out, and what is not even there; judged by all that is."""
    found = scanned.found.values()
    suffixes = {_kind_of_name(one.name) for one in found} | {""}
    here = {_plain_name(one.name) for one in found}
    here |= {_plain_name(one.path) for one in scanned.left_out if one.reason is Reason.DUPLICATE}
    listed = {
        _plain_name(name): (name, one)
        for name, one in scanned.listed
        if _plain_name(name) not in here and one.sop_instance_uid not in scanned.found
    }
    judged = []
    for one in scanned.left_out:
        if (there := listed.pop(_plain_name(one.path), None)) is not None:
            judged.append(_identified(one, there[1]))
        elif _is_harmless(one, suffixes):
            judged.append(replace(one, reason=Reason.NOT_DICOM, detail="is empty"))
        else:
            judged.append(one)
    judged += [_missing(scanned.root, name, one) for name, one in listed.values()]
    return judged


def _is_harmless(one: LeftOut, suffixes: Collection[str]) -> bool:
    """An empty file is a lost instance, unless it is hidden or called otherwise than all instances are."""
    name = PurePosixPath(one.path.rpartition("!")[2]).name
    is_called_otherwise = _kind_of_name(name) not in suffixes and not name.endswith(ARCHIVE_SUFFIXES)
    return one.detail == EMPTIED and (name.startswith(".") or is_called_otherwise)


def _identified(one: LeftOut, listed: Listed) -> LeftOut:
    """A file that is no instance, though a DICOMDIR lists it."""
    return replace(
        one,
        reason=Reason.UNREADABLE,
        study_instance_uid=listed.study_instance_uid,
        series_instance_uid=listed.series_instance_uid,
        sop_instance_uid=listed.sop_instance_uid,
    )


def _missing(root: Path, name: str, listed: Listed) -> LeftOut:
    """A file that a DICOMDIR lists, and that is not there."""
    there = LeftOut(
        path=name,
        file=root,
        folder=root,
        reason=Reason.UNREADABLE,
        detail="is listed in the DICOMDIR, but is not there",
    )
    return _identified(there, listed)


def _plain_name(name: str) -> str:
    """A path as file systems of media may have changed it: case, and a version (ISO 9660 section 7.5)."""
    return re.sub(r"(\.?;[0-9]+|\.)$", "", name).lower()


def _kind_of_name(name: str) -> str:
    """The suffix; a number is none: the names of files are often UIDs."""
    suffix = PurePosixPath(name).suffix.lower()
    return "" if suffix[1:].isdigit() else suffix


# ------------------------------------------------------------------------------------------------ sorting


def _studies(found: Iterable[_Found]) -> tuple[Study, ...]:
    groups = _grouped(found, attrgetter("head.study_instance_uid"))
    return tuple(_study(uid, groups[uid]) for uid in sorted(groups))


def _study(uid: str, found: list[_Found]) -> Study:
    groups = _grouped(found, attrgetter("head.series_instance_uid"))
    series = sorted(
        (_series(series_uid, members) for series_uid, members in groups.items()),
        key=lambda one: (_number(one.attributes["SeriesNumber"]), one.series_instance_uid),
    )
    attributes = _shared(found, (*PATIENT_KEYS, *STUDY_KEYS), f"study {uid}")
    modalities = sorted({one.attributes["Modality"] for one in series} - {""})
    classes = sorted({one.sop_class_uid for each in series for one in each.instances})
    attributes |= {
        "ModalitiesInStudy": "\\".join(modalities),
        "SOPClassesInStudy": "\\".join(classes),
        "NumberOfStudyRelatedSeries": str(len(series)),
        "NumberOfStudyRelatedInstances": str(len(found)),
    }
    return Study(study_instance_uid=uid, attributes=attributes, series=tuple(series))


def _series(uid: str, found: list[_Found]) -> Series:
    attributes = _shared(found, SERIES_KEYS, f"series {uid}")
    attributes["NumberOfSeriesRelatedInstances"] = str(len(found))
    instances = sorted(
        map(_instance, found),
        key=lambda one: (_number(one.attributes["InstanceNumber"]), one.sop_instance_uid),
    )
    return Series(series_instance_uid=uid, attributes=attributes, instances=tuple(instances))


def _instance(one: _Found) -> Instance:
    attributes = dict(zip(IMAGE_KEYS, one.head.image, strict=True))
    syntax = one.head.transfer_syntax_uid
    return Instance(
        path=one.path,
        member=one.entry.member,
        name=one.entry.name,
        size_bytes=one.entry.size_bytes,
        sop_instance_uid=attributes["SOPInstanceUID"],
        sop_class_uid=attributes["SOPClassUID"],
        transfer_syntax_uid=syntax,
        attributes=attributes | {"AvailableTransferSyntaxUID": syntax},
    )


def _grouped(found: Iterable[_Found], key: Callable[[_Found], str]) -> Mapping[str, list[_Found]]:
    groups: dict[str, list[_Found]] = {}
    for one in found:
        groups.setdefault(key(one), []).append(one)
    return groups


def _shared(found: list[_Found], keywords: Iterable[str], where: str) -> dict[str, str]:
    """The first value of each attribute that ought to be the same in all; a difference is logged."""
    rows = [
        dict(zip(SHARED_KEYS, shared, strict=True))
        for shared in dict.fromkeys(one.head.shared for one in found)
    ]
    attributes = {}
    for keyword in keywords:
        values = list(dict.fromkeys(row[keyword] for row in rows if row[keyword]))
        attributes[keyword] = values[0] if values else ""
        if len(values) > 1:
            log.info("%s: %s differs between its instances; the first is used", where, keyword)
    return attributes


def _number(text: str) -> int:
    try:
        return int(text)
    except ValueError:
        return 0
