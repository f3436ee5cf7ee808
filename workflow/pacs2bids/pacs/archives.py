"""The files in an archive, one after the other, without unpacking it to disk.

Zip, and tar, plain or compressed by gzip, bzip2 or xz; by their first bytes, whatever they are called. In a
plain tar and in a zip only what is asked for is read, where it lies. A compressed tar is one stream: it is
read once from its beginning, as far as it is needed.

An archive may come from anywhere, so nothing in it is trusted. No file is ever written under a member's name
(the caller names files by their UIDs). A member called by an absolute path or with ``..``, a link, a device,
an encrypted or sparse one is refused by itself, and the rest goes on. A damaged, cut or bloated archive ends
with ``ArchiveError``, behind the members that came before; ``Limits`` says how much one may hold.

Tar headers are read here: the standard library takes a damaged header, or the lack of an end, for the end, so
that an archive that was cut seems to be whole; and it reads extended headers of any size into memory.
"""

from __future__ import annotations

import bz2
import lzma
import os
import re
import stat
import zipfile
import zlib
from collections.abc import Callable, Generator, Iterator
from contextlib import AbstractContextManager, ExitStack, contextmanager
from dataclasses import dataclass
from enum import Enum
from functools import partial
from pathlib import Path
from typing import IO, NamedTuple, NoReturn, Protocol, TypeAlias

from isal import igzip

from pacs2bids.model import HeaderError, Pacs2BidsError

_BLOCK = 512
_PIECE = 1 << 20
_ZIP = b"PK\x03\x04"
_ZIP_END, _ZIP64_END, _ZIP_END_BYTES, _ZIP64_END_BYTES = b"PK\x05\x06", b"PK\x06\x06", 22, 76
_MOST_COMMENT_BYTES = 0xFFFF  # behind a zip
_ENCRYPTED = 0x1
_KNOWN_METHODS = (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED)
_CUT = "ends too early: a copy that failed?"
# what reading damaged bytes raises
_DAMAGED = (OSError, EOFError, RuntimeError, ValueError, zlib.error, lzma.LZMAError, zipfile.BadZipFile)


class ArchiveError(Pacs2BidsError):
    """An archive that cannot be read, or not to its end."""


class NoArchiveError(ArchiveError):
    """What is compressed is no archive."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Limits:
    """How much an archive may hold.

    Unpacked, it may be ``ratio`` times as large as it is, and anyway ``free_bytes``: reading these takes some
    10 s. Scans shrink to a half or a fifth; an empty volume may shrink to a thousandth, which is all that
    deflate can, but gigabytes of nothing else are no scan. ``members``: to read a million takes a minute.
    ``extended_bytes``: of a header that gives a long name. ``directory_bytes``: of a zip's list of its
    members, 500,000 or so, which is held in memory. ``memory_bytes``: for xz, of which -9 takes 65 MB.
    """

    ratio: int = 200
    free_bytes: int = 4 << 30
    members: int = 1_000_000
    extended_bytes: int = 1 << 20
    directory_bytes: int = 64 << 20
    memory_bytes: int = 256 << 20


LIMITS = Limits()


class Refusal(Enum):
    """Why a member is not read."""

    PATH = "its name is an absolute path or leads out of the archive, as in an attack; unpack it by hand"
    LINK = "is a link, which is not followed"
    DEVICE = "is a device or a pipe"
    SPARSE = "is stored as a sparse file; unpack the archive with tar"
    ENCRYPTED = "is encrypted; unpack the archive by hand"
    METHOD = "is compressed in a way that is not known here; unpack the archive by hand"
    KIND = "is of a kind that is not known here; unpack the archive by hand"


@dataclass(frozen=True, slots=True, kw_only=True)
class Member:
    """One file of an archive. ``number``: its place in it. ``name``: for people only.

    ``read`` gives its next bytes, so many but at the end, until the next member is asked for. It raises
    HeaderError if the member is damaged, ArchiveError if the archive is.
    """

    number: int
    name: str
    size_bytes: int
    read: Callable[[int], bytes]
    refusal: Refusal | None = None


_Opener: TypeAlias = "Callable[[Path, Limits], Iterator[Member]]"


# ------------------------------------------------------------------------------------------------ which


def is_archive(start: bytes) -> bool:
    """Whether a file that begins so (512 bytes) is an archive, or compressed."""
    return _opener_of(start) is not None


def members(path: Path, limits: Limits = LIMITS) -> Generator[Member, None, None]:
    """The files in the archive ``path``, in order, without folders.

    Raises ArchiveError where it cannot be read on, NoArchiveError if it is none, and OSError.
    """
    with path.open("rb") as stream:
        opener = _opener_of(stream.read(_BLOCK))
    if opener is None:
        raise NoArchiveError("is no archive")
    yield from opener(path, limits)


def _opener_of(start: bytes) -> _Opener | None:
    if start.startswith((_ZIP, _ZIP_END)):
        return _zip_members
    for magic, unpacking in _COMPRESSIONS.items():
        if start.startswith(magic):
            return partial(_compressed_members, unpacking)
    return _plain_members if _is_tar(start) else None


def _shown(name: str) -> str:
    return "".join(letter if letter.isprintable() else "?" for letter in name)


def _refused_name(name: str) -> Refusal | None:
    is_absolute = name.startswith(("/", "\\")) or re.match("[A-Za-z]:", name)
    return Refusal.PATH if is_absolute or ".." in re.split(r"[/\\]", name) else None


# ------------------------------------------------------------------------------------------------ streams


class _Input(Protocol):
    """The bytes of a tar, in order. All raise ArchiveError."""

    def expect(self, size_bytes: int) -> None:
        """Raises ArchiveError if so many more cannot be there, or would be too many."""
        ...

    def read(self, size_bytes: int) -> bytes:
        """The next bytes; fewer only at the end."""
        ...

    def skip(self, size_bytes: int) -> None:
        """Go on by so many bytes."""
        ...


class _File:
    """A plain tar: what is skipped is not read."""

    def __init__(self, stream: IO[bytes]) -> None:
        self._stream = stream
        self._size_bytes = os.fstat(stream.fileno()).st_size

    def expect(self, size_bytes: int) -> None:
        """See ``_Input``."""
        if self._stream.tell() + size_bytes > self._size_bytes:
            raise ArchiveError(_CUT)

    def read(self, size_bytes: int) -> bytes:
        """See ``_Input``."""
        return self._stream.read(size_bytes)

    def skip(self, size_bytes: int) -> None:
        """See ``_Input``."""
        self.expect(size_bytes)
        self._stream.seek(size_bytes, os.SEEK_CUR)


class _Unpacked:
    """A compressed tar: all is unpacked that is read or skipped, and no more than ``most_bytes``."""

    def __init__(self, stream: IO[bytes], most_bytes: int) -> None:
        self._stream = stream
        self._left_bytes = self._most_bytes = most_bytes

    def expect(self, size_bytes: int) -> None:
        """See ``_Input``."""
        if size_bytes > self._left_bytes:
            raise ArchiveError(_bloated(self._most_bytes))

    def read(self, size_bytes: int) -> bytes:
        """See ``_Input``."""
        pieces = []
        while size_bytes:
            try:
                piece = self._stream.read(min(size_bytes, _PIECE))
            except _DAMAGED as error:
                raise ArchiveError(f"is damaged or cut short ({type(error).__name__})") from error
            if not piece:
                break
            pieces.append(piece)
            size_bytes -= len(piece)
            self._left_bytes -= len(piece)
            self.expect(0)
        return b"".join(pieces)

    def skip(self, size_bytes: int) -> None:
        """See ``_Input``."""
        while size_bytes:
            piece = self.read(min(size_bytes, _PIECE))
            if not piece:
                raise ArchiveError(_CUT)
            size_bytes -= len(piece)


def _most_bytes(path: Path, limits: Limits) -> int:
    return max(limits.free_bytes, limits.ratio * path.stat().st_size)


def _bloated(most_bytes: int) -> str:
    return (
        f"unpacks to more than {most_bytes / 1e9:,.1f} GB, far too much for its size: it is not read further"
    )


@contextmanager
def _xz(path: Path, limits: Limits) -> Iterator[IO[bytes]]:
    with path.open("rb") as stream:
        try:  # the header of the first block says how large the dictionary is
            lzma.LZMADecompressor(memlimit=limits.memory_bytes).decompress(stream.read(_PIECE), _BLOCK)
        except lzma.LZMAError as error:
            raise ArchiveError(f"cannot be unpacked ({error})") from error
    with lzma.open(path) as stream:
        yield stream


@contextmanager
def _gzip(path: Path, _limits: Limits) -> Iterator[IO[bytes]]:
    with igzip.open(path) as stream:  # type: ignore[no-untyped-call]
        yield stream


@contextmanager
def _bzip2(path: Path, _limits: Limits) -> Iterator[IO[bytes]]:
    with bz2.open(path) as stream:
        yield stream


_Unpacking: TypeAlias = "Callable[[Path, Limits], AbstractContextManager[IO[bytes]]]"
_COMPRESSIONS: dict[bytes, _Unpacking] = {b"\x1f\x8b": _gzip, b"BZh": _bzip2, b"\xfd7zXZ\0": _xz}


# ------------------------------------------------------------------------------------------------ tar

# the kinds of members (POSIX.1-2017, pax, "ustar Interchange Format"; capitals are GNU tar's)
_FILES, _FOLDER, _WITHOUT_DATA = b"0\x007", b"5", b"123456"
_EXTENSIONS, _LONG_NAME, _PAX = b"xgXLK", b"L", b"xX"
_LABEL, _SPARSE = b"V", b"S"
_REFUSALS = dict.fromkeys(b"12", Refusal.LINK) | dict.fromkeys(b"346", Refusal.DEVICE)


class _Header(NamedTuple):
    """One member of a tar: its data follow."""

    name: str
    size_bytes: int
    is_file: bool
    refusal: Refusal | None


def _plain_members(path: Path, limits: Limits) -> Iterator[Member]:
    with path.open("rb") as stream:
        yield from _tar_members(_File(stream), limits)


def _compressed_members(unpacking: _Unpacking, path: Path, limits: Limits) -> Iterator[Member]:
    with unpacking(path, limits) as stream:
        unpacked = _Unpacked(stream, _most_bytes(path, limits))
        yield from _tar_members(unpacked, limits)


def _tar_members(tar: _Input, limits: Limits) -> Iterator[Member]:
    number = 0
    for header in _headers(tar, limits):
        tar.expect(header.size_bytes)
        window = _Window(tar, header.size_bytes)
        if header.is_file:
            yield Member(
                number=number,
                name=_shown(header.name),
                size_bytes=header.size_bytes,
                read=window.read,
                refusal=header.refusal,
            )
            number += 1
        tar.skip(window.left_bytes + -header.size_bytes % _BLOCK)
    while rest := tar.read(_PIECE):  # zeros; and then the checksum of what is compressed
        if rest.strip(b"\0"):
            raise ArchiveError("goes on behind its end, as if joined of several: unpack it by hand")


class _Window:
    """The data of one member."""

    def __init__(self, tar: _Input, size_bytes: int) -> None:
        self._tar = tar
        self.left_bytes = size_bytes

    def read(self, size_bytes: int) -> bytes:
        """See ``Member``."""
        wanted = min(size_bytes, self.left_bytes)
        piece = self._tar.read(wanted)
        if len(piece) < wanted:
            raise ArchiveError(_CUT)
        self.left_bytes -= wanted
        return piece


def _headers(tar: _Input, limits: Limits) -> Iterator[_Header]:
    """What each member's header says; the caller goes on behind its data.

    Raises ArchiveError if the tar does not end as tars do, with a block of zeros.
    """
    extended: dict[str, str] = {}
    for number in range(limits.members):
        block = tar.read(_BLOCK)
        if number and len(block) == _BLOCK and not any(block):
            return
        if not _is_tar(block):
            _explain(block, is_first=not number)
        kind = block[156]
        if kind in _EXTENSIONS:
            extended |= _extension(kind, _extension_data(tar, _size(block), limits))
            continue
        yield _header(tar, block, extended)
        extended = {}
    raise ArchiveError(f"has more than {limits.members:,} members: it is not read further")


def _explain(block: bytes, *, is_first: bool) -> NoReturn:
    if is_first and block[128:132] == b"DICM":
        raise ArchiveError("is a compressed file; uncompress it")
    if is_first:
        raise NoArchiveError("is compressed, but no archive")
    raise ArchiveError(_CUT if len(block) < _BLOCK else "is damaged: what should be a header is none")


def _header(tar: _Input, block: bytes, extended: dict[str, str]) -> _Header:
    kind = block[156]
    prefix = _text(block[345:500]) if block[257:263] == b"ustar\0" else ""
    name = extended.get("path") or "/".join(filter(None, (prefix, _text(block[:100]))))
    size_bytes = 0 if kind in _WITHOUT_DATA else _told_size(extended) or _size(block)
    is_sparse = kind == _SPARSE[0] or any(key.startswith("GNU.sparse.") for key in extended)
    if kind == _SPARSE[0]:
        _skip_sparse_map(tar, block)
    refusal = _REFUSALS.get(kind)
    if is_sparse:
        refusal = Refusal.SPARSE
    elif kind in _FILES:
        refusal = _refused_name(name)
    elif refusal is None:
        refusal = Refusal.KIND
    is_file = kind not in (*_FOLDER, *_LABEL) and not name.endswith("/")
    return _Header(name, size_bytes, is_file, refusal)


def _skip_sparse_map(tar: _Input, block: bytes) -> None:
    goes_on = block[482]
    while goes_on:
        block = tar.read(_BLOCK)
        goes_on = len(block) == _BLOCK and block[504]


def _extension_data(tar: _Input, size_bytes: int, limits: Limits) -> bytes:
    if size_bytes > limits.extended_bytes:
        raise ArchiveError("is damaged: a header says that it is larger than any is")
    data = tar.read(size_bytes + -size_bytes % _BLOCK)
    return data[:size_bytes]


def _extension(kind: int, data: bytes) -> dict[str, str]:
    """What a header says of the next member, in words of pax. Of all members nothing that counts is said."""
    if kind in _LONG_NAME:
        return {"path": _text(data)}
    records = {}
    while kind in _PAX and data:
        length, space, _ = data.partition(b" ")
        end = int(length) if length.isdigit() and len(length) < 9 else 0
        if not space or not len(length) < end <= len(data):
            raise ArchiveError("is damaged: a header cannot be read")
        key, _, value = data[len(length) + 1 : end - 1].partition(b"=")
        records[_text(key)] = _text(value)
        data = data[end:]
    return records


def _told_size(extended: dict[str, str]) -> int | None:
    if "size" not in extended:
        return None
    if not extended["size"].isdecimal():
        raise ArchiveError("is damaged: the size of a member is no number")
    return int(extended["size"])


def _size(block: bytes) -> int:
    field = block[124:136]
    if field[0] == 0x80:  # too large for digits: binary, as GNU tar writes it
        return int.from_bytes(field[1:], "big")
    digits = field.split(b"\0", 1)[0].strip() or b"0"
    if not re.fullmatch(b"[0-7]+", digits):
        raise ArchiveError("is damaged: the size of a member is no number")
    return int(digits, 8)


def _text(raw: bytes) -> str:
    return raw.split(b"\0", 1)[0].decode(errors="replace")


def _is_tar(block: bytes) -> bool:
    """Whether a block is a header: it carries the sum of its bytes, the sum itself counted as blanks."""
    told = block[148:156].strip(b" \0")
    if len(block) < _BLOCK or not re.fullmatch(b"[0-7]+", told):
        return False
    return int(told, 8) == sum(block) - sum(block[148:156]) + 8 * ord(" ")


# ------------------------------------------------------------------------------------------------ zip


def _zip_members(path: Path, limits: Limits) -> Iterator[Member]:
    with path.open("rb") as stream:
        if _directory_bytes(stream) > limits.directory_bytes:
            raise ArchiveError("lists far too many files: it is not read")
        try:
            archive = zipfile.ZipFile(stream)
        except _DAMAGED as error:
            raise ArchiveError(
                "is damaged or cut short: its list of files, at its end, is not there"
            ) from error
        with archive:
            most_bytes = left_bytes = _most_bytes(path, limits)
            files = [info for info in archive.infolist() if not info.is_dir()]
            for number, info in enumerate(files[: limits.members]):
                left_bytes -= info.file_size
                if left_bytes < 0:
                    raise ArchiveError(_bloated(most_bytes))
                yield from _zip_member(archive, number, info)
            if len(files) > limits.members:
                raise ArchiveError(f"has more than {limits.members:,} members: it is not read further")


def _directory_bytes(stream: IO[bytes]) -> int:
    """The size of the list of files at the end of a zip (PKWARE APPNOTE 4.3.14 and 4.3.16), as it says."""
    size_bytes = stream.seek(0, os.SEEK_END)
    stream.seek(max(0, size_bytes - _MOST_COMMENT_BYTES - _ZIP_END_BYTES - _ZIP64_END_BYTES))
    tail = stream.read()
    at = tail.rfind(_ZIP_END)
    if at < 0:
        return 0
    large = at - _ZIP64_END_BYTES
    if large >= 0 and tail[large : large + 4] == _ZIP64_END:
        return int.from_bytes(tail[large + 40 : large + 48], "little")
    return int.from_bytes(tail[at + 12 : at + 16], "little")


def _zip_member(archive: zipfile.ZipFile, number: int, info: zipfile.ZipInfo) -> Iterator[Member]:
    """One member, which is opened when it is read first."""
    with ExitStack() as opened:
        stream: list[IO[bytes]] = []

        def read(size_bytes: int) -> bytes:
            try:
                if not stream:
                    stream.append(opened.enter_context(archive.open(info)))
                return stream[0].read(size_bytes)
            except _DAMAGED as error:
                raise HeaderError(f"is damaged in the archive ({type(error).__name__})") from error

        yield Member(
            number=number,
            name=_shown(info.filename),
            size_bytes=info.file_size,
            read=read,
            refusal=_zip_refusal(info),
        )


def _zip_refusal(info: zipfile.ZipInfo) -> Refusal | None:
    if stat.S_ISLNK(info.external_attr >> 16):
        return Refusal.LINK
    if info.flag_bits & _ENCRYPTED:
        return Refusal.ENCRYPTED
    if info.compress_type not in _KNOWN_METHODS:
        return Refusal.METHOD
    return _refused_name(info.filename)
