"""Instances from a folder or its archives into an inbox.

A file is hard-linked, or copied across file systems. The members of one archive are unpacked in one go, into
spool files that then become the instances: so a compressed tar is read once, not further than the last
instance that is asked for, and memory holds a piece of 1 MB at a time. What comes is compared with
what the catalogue says: a source may change while it is read.
"""

from __future__ import annotations

import logging
import os
import shutil
from collections.abc import Callable, Iterable, Iterator
from contextlib import closing, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Self

from pacs2bids.files import flush_to_disk, private_folder, sha256
from pacs2bids.model import HeaderError, PullError
from pacs2bids.pacs.archives import ArchiveError, Member, members
from pacs2bids.pacs.contents import CUT, Head, plain_contents_of
from pacs2bids.pacs.inbox import Identity, Inbox, Kept, is_uid
from pacs2bids.reading import Reader
from pacs2bids.text import megabytes

_PIECE = 1 << 20
_MOST_TOGETHER, _MOST_BYTES_TOGETHER = 64, 64 << 20  # that are flushed to the disk at a time
_SPARE_BYTES = 64 << 20  # of the disk, that are left free

log = logging.getLogger("pacs2bids.pull")


@dataclass(frozen=True, slots=True, kw_only=True)
class Item:
    """An instance in a file, or in the archive ``path`` as its ``member``-th, which it calls ``name``.

    ``oddity``: of a further file of an instance, what is to be said if it differs from the one that is kept.
    """

    path: Path
    member: int | None
    name: str
    size_bytes: int
    identity: Identity
    oddity: str = ""


class Delivery:
    """What is brought from a source into ``inbox``. ``root``: what paths are told below."""

    def __init__(self, inbox: Inbox, root: Path) -> None:
        self._inbox, self._root = inbox, root
        self._reader = Reader()

    def bring(self, items: Iterable[Item]) -> None:
        """Keep the instances; those that an earlier attempt left in their place stay.

        What cannot be kept is refused. Raises PullError if there is no room, or a file cannot be linked.
        """
        files, archives = _sorted(items)
        self._check_room(item for wanted in archives.values() for item in wanted.values())
        for item in files:
            with _explained(item.path):
                self._settle(item, item.path)
        for path, wanted in archives.items():
            with _explained(path):
                for item, problem in self._unpack(path, wanted, self._settle):
                    self._inbox.refuse(item.identity.sop_instance_uid, f"{self._shown(item)}: {problem}")

    def bring_again(self, items: Iterable[Item]) -> None:
        """Keep further files of instances that are here: as duplicates, or aside if they differ."""
        files, archives = _sorted(items)
        for item in files:
            try:
                self._keep(item, item.path)
            except OSError as error:
                self._inbox.refuse("", f"{item.path}: cannot be read: {error.strerror}")
        for path, wanted in archives.items():
            with _explained(path):
                for item, problem in self._unpack(path, wanted, self._keep):
                    self._inbox.refuse("", f"{self._shown(item)}: {problem}")

    def _settle(self, item: Item, file: Path) -> None:
        """Keep the instance that lies in ``file``."""
        problem = self._problem(item.identity, file)
        uid = item.identity.sop_instance_uid
        if problem:
            self._inbox.refuse(uid, f"{self._shown(item)}: {problem}")
        elif not self._inbox.holds(uid) or not self._inbox.holds(uid, sha256(file)):  # by an earlier attempt
            self._keep(item, file)

    def _problem(self, identity: Identity, file: Path) -> str:
        """Why a file cannot be kept as the instance that the catalogue says it is."""
        if not is_uid(identity.sop_instance_uid) or not is_uid(identity.series_instance_uid):
            return "its UIDs are not valid, so they cannot name a file"
        (entry,) = plain_contents_of(self._reader, file)
        if not isinstance(entry.content, Head):
            return entry.content.detail
        if entry.content.is_cut:
            return CUT
        found = (entry.content.study_instance_uid, entry.content.sop_instance_uid)
        told = (identity.study_instance_uid, identity.sop_instance_uid)
        return "" if found == told else "has changed while it was read"

    def _keep(self, item: Item, file: Path) -> None:
        if self._inbox.link(item.identity, file) is Kept.CONFLICTING:
            oddity = item.oddity or "another content than what an earlier attempt brought of this instance"
            log.warning("%s: %s. It is put aside, in quarantine/", self._shown(item), oddity)

    def _shown(self, item: Item) -> str:
        shown = str(item.path.relative_to(self._root))
        return shown if item.member is None else f"{shown}!{item.name}"

    # ------------------------------------------------------------------------------------------ archives

    def _check_room(self, items: Iterable[Item]) -> None:
        """Raises PullError if what is to be unpacked does not fit on the disk."""
        held = self._inbox.holds
        needed = sum(item.size_bytes for item in items if not held(item.identity.sop_instance_uid))
        free = shutil.disk_usage(self._inbox.folder).free - _SPARE_BYTES
        if needed > free:
            what = f"its archives unpack to {megabytes(needed)}, but {megabytes(max(free, 0))} are free"
            hint = "Make room, then run again"
            raise PullError(what, where=str(self._inbox.folder), hint=hint)

    def _unpack(
        self, path: Path, wanted: dict[int, Item], settle: Callable[[Item, Path], None]
    ) -> Iterator[tuple[Item, str]]:
        """Unpack members and ``settle`` them; yields those that cannot be had, and why."""
        problem = "is not in the archive any more"
        with _Spool(self._inbox.folder / ".unpacking", settle) as spool:
            try:
                with closing(members(path)) as found:
                    for member in found:
                        item = wanted.pop(member.number, None)
                        if item is not None:
                            try:
                                spool.add(item, member)
                            except HeaderError as error:
                                yield item, error.what
                        if not wanted:
                            break
            except ArchiveError as error:
                problem = f"cannot be unpacked: the archive {error.what}"
            spool.empty()
        yield from ((item, problem) for item in wanted.values())


class _Spool:
    """Unpacked members, each in a file of its own, that are flushed to the disk together, and then settled.

    So it takes half to four fifths of the time (2,160 of 45 KB: 220 to 670/s, one by one 140 to 380/s).
    """

    def __init__(self, folder: Path, settle: Callable[[Item, Path], None]) -> None:
        self._folder, self._settle = folder, settle
        self._items: dict[Path, Item] = {}
        self._size_bytes = 0

    def __enter__(self) -> Self:
        shutil.rmtree(self._folder, ignore_errors=True)  # of an attempt that was killed
        private_folder(self._folder)
        return self

    def __exit__(self, *_: object) -> None:
        shutil.rmtree(self._folder, ignore_errors=True)

    def add(self, item: Item, member: Member) -> None:
        """Unpack a member. Raises HeaderError if it is damaged."""
        path = self._folder / str(len(self._items))
        _write(member, path)
        self._items[path] = item
        self._size_bytes += member.size_bytes
        if len(self._items) == _MOST_TOGETHER or self._size_bytes > _MOST_BYTES_TOGETHER:
            self.empty()

    def empty(self) -> None:
        """Settle what is here."""
        flush_to_disk(self._items)
        for path, item in self._items.items():
            self._settle(item, path)
            path.unlink()  # its second name
        self._items, self._size_bytes = {}, 0


def _sorted(items: Iterable[Item]) -> tuple[list[Item], dict[Path, dict[int, Item]]]:
    """Those in files; and those in archives, by archive and number."""
    files, archives = [], dict[Path, dict[int, Item]]()
    for item in items:
        if item.member is None:
            files.append(item)
        else:
            archives.setdefault(item.path, {})[item.member] = item
    return files, archives


def _write(member: Member, spool: Path) -> None:
    """Unpack a member. Raises HeaderError if it is damaged."""
    handle = os.open(spool, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_NOFOLLOW, 0o600)
    with os.fdopen(handle, "wb", buffering=0) as stream:
        size_bytes = 0
        while piece := member.read(_PIECE):
            rest = memoryview(piece)
            while rest:
                rest = rest[stream.write(rest) :]
            size_bytes += len(piece)
    if size_bytes != member.size_bytes:
        raise HeaderError(f"unpacks to {size_bytes:,} bytes instead of {member.size_bytes:,}")


@contextmanager
def _explained(path: Path) -> Iterator[None]:
    """Turns OSError into PullError."""
    try:
        yield
    except OSError as error:
        where = error.filename or path
        hint = "Make room or give permission, then run again"
        raise PullError(f"cannot be brought over: {error.strerror}", where=str(where), hint=hint) from error
