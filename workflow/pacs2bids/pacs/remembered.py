"""What files held when they were read last, so that each pull of a folder does not read all of it anew.

A folder of N studies is scanned by each of N pulls. To look at a file's size and time costs a tenth of
reading its header (less on a slow disk), and a packed tar would be unpacked each time: 10,500 files take 1 s
of a processor instead of 4. A file counts as the same while its size, its time of change and its inode are;
not if it changed within 2 s of being read, when a second change might show nothing. What is brought over is
held against its header in any case (``delivery``).

The record identifies patients: it lies in the work folder, readable by its owner alone, has some 300 bytes a
file, and is replaced as a whole. Without it, or if it is damaged or of another version, all is read.
"""

from __future__ import annotations

import logging
import os
import time
from collections.abc import Iterable
from pathlib import Path

from msgspec import Struct, structs

from pacs2bids.engine import digest_of, engine_version
from pacs2bids.files import private_folder, read_record, write_record
from pacs2bids.model import HeaderError
from pacs2bids.pacs.contents import Entry, Head, contents_of
from pacs2bids.reading import Reader

_READERS = ("pacs/archives.py", "pacs/contents.py", "pacs/dicomdir.py")
_SETTLED_NS = 2_000_000_000  # a file system may count in steps of 2 s (FAT)

log = logging.getLogger("pacs2bids.catalogue")


class _File(Struct, frozen=True, array_like=True):
    size_bytes: int
    changed_ns: int
    inode: int
    entries: tuple[Entry, ...]


class _Record(Struct, frozen=True, kw_only=True):
    """``shared``: attributes that many instances have; in ``files``, by path, a number stands for them."""

    version: str
    shared: tuple[tuple[str, ...], ...] = ()
    files: dict[str, _File] = {}


class Remembered:
    """As ``contents_of``, but what is in the record ``path`` already is not read again."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._before = _read(path)
        self._shared: dict[tuple[str, ...], int] = {}
        self._files: dict[str, _File] = {}
        self._is_new = False

    def __call__(self, reader: Reader, path: Path) -> Iterable[Entry]:
        """What a file holds. Raises OSError as ``contents_of``."""
        status = path.stat()
        name = os.fsencode(path).decode(errors="backslashreplace")  # a name need not be Unicode
        known = self._before.files.get(name)
        if known is not None and _key(known) == (status.st_size, status.st_mtime_ns, status.st_ino):
            entries = tuple([_whole(entry, self._before.shared) for entry in known.entries])
        else:
            self._is_new = True
            entries = contents_of(reader, path)
        if time.time_ns() - status.st_mtime_ns > _SETTLED_NS:
            kept = tuple([self._slim(entry) for entry in entries])
            self._files[name] = _File(status.st_size, status.st_mtime_ns, status.st_ino, kept)
        return entries

    def save(self) -> None:
        """Write the record of the files that were looked at, and of no others; not if nothing is new."""
        if not self._is_new and len(self._files) == len(self._before.files):
            return
        record = _Record(version=_version(), shared=tuple(self._shared), files=self._files)
        try:
            private_folder(self._path.parent)
            write_record(self._path, record, flushed=False)
        except OSError as error:  # it only makes the next time slower
            log.warning("%s cannot be written: %s", self._path, error.strerror)

    def _slim(self, entry: Entry) -> Entry:
        if not isinstance(entry.content, Head):
            return entry
        number = self._shared.setdefault(entry.content.shared, len(self._shared))
        return structs.replace(entry, content=structs.replace(entry.content, shared=(str(number),)))


def _whole(entry: Entry, shared: tuple[tuple[str, ...], ...]) -> Entry:
    if not isinstance(entry.content, Head):
        return entry
    (number,) = entry.content.shared
    return structs.replace(entry, content=structs.replace(entry.content, shared=shared[int(number)]))


def _key(file: _File) -> tuple[int, int, int]:
    return file.size_bytes, file.changed_ns, file.inode


def _version() -> str:
    """Changes whenever something that reads files does."""
    return f"{engine_version()} {digest_of(_READERS)}"


def _read(path: Path) -> _Record:
    nothing = _Record(version=_version())
    if not path.exists():
        return nothing
    try:
        record = read_record(path, _Record)
    except (HeaderError, OSError) as error:
        log.info("%s", error)
        return nothing
    return record if record.version == nothing.version else nothing
