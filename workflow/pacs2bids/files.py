"""Files between the stages: written whole or not at all, read back as records.

Every write goes to a temporary neighbour, is flushed to disk and renamed over the final name, so that a
reader, a crash or a full disk never meets half a file. Who writes many files that something else vouches for
(volumes: a record with their SHA-256) leaves the flush out, and flushes them all at the end.
"""

from __future__ import annotations

import csv
import errno
import fcntl
import glob
import hashlib
import io
import os
import shutil
import tempfile
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from itertools import zip_longest
from pathlib import Path
from typing import IO, TypeVar

import msgspec

from pacs2bids.model import DatasetError, HeaderError, Json

Record = TypeVar("Record")


@contextmanager
def atomic(path: Path, *, mode: int = 0o644, flushed: bool = True) -> Iterator[IO[bytes]]:
    """A binary file that appears under ``path`` only when the block ends without an exception.

    ``flushed``: it is on the disk then, so that a power cut does not empty it.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    handle, temporary = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.", suffix=".part")
    try:
        with _claimed(handle):
            with os.fdopen(handle, "wb") as stream:
                yield stream
                stream.flush()
                os.fchmod(stream.fileno(), mode)
                if flushed:
                    os.fsync(stream.fileno())
            Path(temporary).replace(path)
    except BaseException as error:
        Path(temporary).unlink(missing_ok=True)
        if isinstance(error, OSError) and error.errno in (errno.ENOSPC, errno.EDQUOT):
            error.filename = str(path)  # write(2) names none
        raise


@contextmanager
def _claimed(handle: int) -> Iterator[None]:
    """Hold a lock on a file beyond its closing, for ``remove_left``; without where there are no locks."""
    held = os.dup(handle)
    try:
        with suppress(OSError):
            fcntl.flock(held, fcntl.LOCK_EX | fcntl.LOCK_NB)
        yield
    finally:
        os.close(held)


def remove_unfinished(path: Path) -> None:
    """Remove what killed writers of ``path`` left beside it. For a job to call before it writes anything."""
    for part in path.parent.glob(f".{glob.escape(path.name)}.*.part"):
        remove_left(part)


def remove_left(part: Path) -> None:
    """Remove a temporary file, unless who writes it is at work: a job may outlive the run that began it."""
    try:
        with part.open("rb") as stream:
            fcntl.flock(stream, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except (FileNotFoundError, BlockingIOError):
        return
    except OSError:
        pass  # another user's, or there are no locks: nobody can tell
    part.unlink(missing_ok=True)


def flush_to_disk(paths: Iterable[Path]) -> None:
    """Flush files that were written with ``flushed=False``, and the folders that name them."""
    paths = list(paths)
    for path in [*paths, *{path.parent for path in paths}]:
        descriptor = os.open(path, os.O_RDONLY)
        try:
            os.fsync(descriptor)
        finally:
            os.close(descriptor)


def write_bytes(path: Path, content: bytes, *, mode: int = 0o644, flushed: bool = True) -> None:
    """Write ``content`` atomically."""
    with atomic(path, mode=mode, flushed=flushed) as stream:
        stream.write(content)


def write_chunks(path: Path, chunks: Iterable[bytes | memoryview], *, flushed: bool = True) -> str:
    """Write chunk after chunk, atomically; returns the SHA-256 of the file, hexadecimal."""
    digest = hashlib.sha256()
    with atomic(path, flushed=flushed) as stream:
        for chunk in chunks:
            digest.update(chunk)
            stream.write(chunk)
    return digest.hexdigest()


def write_text(path: Path, content: str, *, mode: int = 0o644, flushed: bool = True) -> None:
    """Write ``content`` atomically as UTF-8."""
    write_bytes(path, content.encode(), mode=mode, flushed=flushed)


def write_json(
    path: Path, content: Json | Mapping[str, Json], *, mode: int = 0o644, flushed: bool = True
) -> None:
    """Write a JSON document for people: indented, keys in the order given, one newline at the end."""
    encoded = msgspec.json.format(msgspec.json.encode(content), indent=2)
    write_bytes(path, encoded + b"\n", mode=mode, flushed=flushed)


def write_record(path: Path, record: object, *, mode: int = 0o600, flushed: bool = True) -> None:
    """Write a record of ``model`` as compact JSON, readable by its owner alone unless ``mode`` says more."""
    write_bytes(path, msgspec.json.encode(record) + b"\n", mode=mode, flushed=flushed)


def read_record(path: Path, kind: type[Record]) -> Record:
    """Read what ``write_record`` wrote.

    Raises HeaderError if the file is missing or is no such record.
    """
    try:
        return msgspec.json.decode(path.read_bytes(), type=kind)
    except FileNotFoundError:
        if not path.parent.is_dir():
            hint = "Name a folder that the workflow made, as work/studies/<StudyInstanceUID>"
            raise HeaderError("there is no such folder", where=str(path.parent), hint=hint) from None
        raise HeaderError("is missing", where=str(path), hint="Run the stage that writes it first") from None
    except msgspec.DecodeError as error:
        hint = "It was written by another version; delete it and run its stage again"
        raise HeaderError(f"is no {kind.__name__}: {error}", where=str(path), hint=hint) from error


def write_tsv(
    path: Path, columns: Sequence[str], rows: Iterable[Mapping[str, object]], *, mode: int = 0o644
) -> None:
    """Write a tab-separated table, atomically; its text is ``tsv_text``."""
    write_text(path, tsv_text(columns, rows), mode=mode)


def tsv_text(columns: Sequence[str], rows: Iterable[Mapping[str, object]]) -> str:
    """A tab-separated table; None becomes "n/a" as BIDS wants; tabs and newlines become spaces."""
    text = io.StringIO()
    writer = csv.writer(text, delimiter="\t", lineterminator="\n", quoting=csv.QUOTE_NONE, quotechar=None)
    writer.writerow(columns)
    for row in rows:
        writer.writerow([_cell(row.get(column)) for column in columns])
    return text.getvalue()


def _cell(value: object) -> str:
    return "n/a" if value is None else " ".join(str(value).split("\t")).replace("\n", " ").replace("\r", " ")


def read_tsv(path: Path) -> list[dict[str, str]]:
    """Read a tab-separated table into one dict a row; missing cells are ""."""
    heading, *lines = read_cells(path) or [[]]
    return [dict(zip_longest(heading, cells[: len(heading)], fillvalue="")) for cells in lines]


def read_cells(path: Path) -> list[list[str]]:
    """The lines of a tab-separated table that hold something, its heading first.

    Spreadsheets write lines of nothing but tabs.
    """
    with path.open(encoding="utf-8-sig", newline="") as stream:
        lines = csv.reader(stream, delimiter="\t", quoting=csv.QUOTE_NONE)
        return [cells for cells in lines if any(map(str.strip, cells))]


PREAMBLE_BYTES = 132  # of a DICOM file: 128 bytes, mostly zeros, and "DICM" (PS3.10 section 7.1)


def is_emptied(path: Path) -> bool:
    """Whether a file has nothing but zeros, and too few to be DICOM: what a copy that failed leaves."""
    try:
        return path.stat().st_size < PREAMBLE_BYTES and not path.read_bytes().strip(b"\0")
    except OSError:
        return False


def private_folder(path: Path) -> Path:
    """Make a folder (and its parents) that only its owner may enter: it holds identities."""
    path.mkdir(parents=True, exist_ok=True)
    path.chmod(0o700)
    return path


def link_or_copy(source: Path, target: Path) -> None:
    """Put ``source`` under the name ``target``, atomically: a hard link, or a copy across file systems.

    Raises DatasetError if neither is possible.
    """
    target.parent.mkdir(parents=True, exist_ok=True)
    temporary = target.with_name(f".{target.name}.{os.getpid()}.part")
    temporary.unlink(missing_ok=True)
    try:
        try:
            os.link(source, temporary)
        except OSError:
            shutil.copy2(source, temporary)
        temporary.replace(target)
        # rename(2) does nothing when both names are already the same file; the spare name must still go
        temporary.unlink(missing_ok=True)
    except OSError as error:
        temporary.unlink(missing_ok=True)
        raise DatasetError(f"cannot be written: {error.strerror}", where=str(target)) from error


def sha256(path: Path) -> str:
    """SHA-256 of a file, hexadecimal."""
    with path.open("rb") as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest()
