"""What the directory of a medium (DICOMDIR) lists: the instances that its maker put on a CD or a stick.

The files need no directory to be found, they are told by their content. But it knows how many there were.
"""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping
from typing import Any

from msgspec import Struct
from pydicom import config as pydicom_config
from pydicom.dataset import Dataset
from pydicom.filereader import dcmread

from pacs2bids.reading import Stream

_INACTIVE = 0
_ROOT = "OffsetOfTheFirstDirectoryRecordOfTheRootDirectoryEntity"
_NEXT, _BELOW = "OffsetOfTheNextDirectoryRecord", "OffsetOfReferencedLowerLevelDirectoryEntity"


class Listed(Struct, frozen=True, array_like=True):
    """An instance that a DICOMDIR lists; "" for what it does not tell. ``file``: its path from there on."""

    study_instance_uid: str
    series_instance_uid: str
    sop_instance_uid: str
    file: str


def listed_in(stream: Stream) -> tuple[Listed, ...]:
    """The instances that a DICOMDIR lists (PS3.3 annex F). Raises ValueError if it cannot be read."""
    try:
        with pydicom_config.disable_value_validation():
            directory = dcmread(stream)  # type: ignore[arg-type]
            return tuple(_listed(directory, stream.seek(0, os.SEEK_END)))
    except Exception as error:  # pydicom raises anything on damaged files
        raise ValueError(f"is a DICOMDIR that cannot be read ({type(error).__name__})") from error


def _listed(directory: Dataset, size_bytes: int) -> Iterator[Listed]:
    """Raises EOFError if records are referred to that would lie behind the end."""
    records = {item.seq_item_tell: item for item in directory.get("DirectoryRecordSequence") or ()}
    root = _number(directory, _ROOT)
    offsets = {root, *(_number(one, key) for one in records.values() for key in (_NEXT, _BELOW))} - {0}
    if max(offsets, default=0) >= size_bytes:
        raise EOFError
    # offsets that lead nowhere: somebody edited it and did not mind them; mostly it is in order
    ordered = _linked(records, root) if offsets <= records.keys() else records.values()
    study = series = ""
    for record in ordered:
        kind = record.get("DirectoryRecordType")
        if kind == "STUDY":
            study = _text(record, "StudyInstanceUID")
        if kind == "SERIES":
            series = _text(record, "SeriesInstanceUID")
        file = record.get("ReferencedFileID")
        if file and study and record.get("RecordInUseFlag") != _INACTIVE:
            path = file if isinstance(file, str) else "/".join(file)
            yield Listed(study, series, _text(record, "ReferencedSOPInstanceUIDInFile"), path)


def _linked(records: Mapping[int, Dataset], root: int) -> Iterator[Dataset]:
    """Each record, then all below it; they may stand in any order in the file (PS3.3 section F.3.2.2)."""
    ways, seen = [root], {0}
    while ways:
        offset = ways.pop()
        if offset not in seen:  # or it is a circle
            seen.add(offset)
            record = records[offset]
            yield record
            ways += [_number(record, _NEXT), _number(record, _BELOW)]


def _number(record: Dataset, keyword: str) -> int:
    return int(record.get(keyword) or 0)


def _text(record: Dataset, keyword: str) -> str:
    value: Any = record.get(keyword)
    return "" if value is None else str(value).strip(" \0")
