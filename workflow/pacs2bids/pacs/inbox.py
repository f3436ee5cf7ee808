"""What has come of one study: the files on disk, and the record of everything that was offered.

Under the study's folder: ``dicom/<SeriesInstanceUID>/<SOPInstanceUID>.dcm``, and ``quarantine/`` for a
second, different content under a SOPInstanceUID that is already there. Folders are 0700 and files 0600: they
identify patients. A file stands under its name only when it is whole and on the disk: it is written as
``*.part``, flushed, then renamed. Who sends may go on meanwhile: that he was told 0000 proves nothing to us,
and an instance that the disk did not take is asked for again.
"""

from __future__ import annotations

import hashlib
import itertools
import logging
import os
import re
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from enum import Enum
from functools import partial
from pathlib import Path
from typing import TypeAlias

from pacs2bids.files import private_folder, sha256
from pacs2bids.model import ReceivedInstance, Refused
from pacs2bids.pacs.left_behind import left_behind

# PS3.5 section 9.1: digits and dots, at most 64. Leading zeros are common in the field and harmless here;
# what matters is that the UID can be a file name.
_UID = re.compile(r"[0-9]+(\.[0-9]+)*")

_PIECE = 1 << 20  # bytes
_FLUSHERS = 4  # a file system commits together what is flushed together
_MOST_UNFLUSHED = 64

Bytes: TypeAlias = bytes | bytearray | memoryview

log = logging.getLogger("pacs2bids.pull")


def is_uid(text: str) -> bool:
    """Whether a text is a UID, and with that a safe file name."""
    return len(text) <= 64 and _UID.fullmatch(text) is not None


class Kept(Enum):
    """What became of an instance that was offered."""

    NEW = "new"
    DUPLICATE = "duplicate"  # the same bytes are there already
    CONFLICTING = "conflicting"  # other bytes are there already: the first stays, this one is quarantined


@dataclass(frozen=True, slots=True, kw_only=True)
class Identity:
    """What an instance says of itself; all are checked UIDs."""

    study_instance_uid: str
    series_instance_uid: str
    sop_instance_uid: str
    sop_class_uid: str
    transfer_syntax_uid: str


class Inbox:
    """The instances of one study as they come. All methods may be called from several threads."""

    def __init__(self, folder: Path, study_instance_uid: str) -> None:
        self.study_instance_uid = study_instance_uid
        self.folder = private_folder(folder)
        self.dicom = private_folder(folder / "dicom")
        self.disk_error: OSError | None = None
        self.last_activity_s = time.monotonic()
        self.size_bytes = 0  # of all that is there
        self._changed = threading.Condition()
        self._numbers = itertools.count()
        self._digests: dict[str, str] = {}  # of what is here, and of what is on its way to the disk
        self._received: dict[str, ReceivedInstance] = {}
        self._refused: set[tuple[str, str]] = set()
        self._duplicates: set[str] = set()
        self._conflicting: set[str] = set()
        self._foreign: set[str] = set()
        self._flushers = ThreadPoolExecutor(_FLUSHERS, thread_name_prefix="flush")
        self._unflushed = 0
        self._closed = False
        for part in self.dicom.glob("*/.*.part"):  # of an attempt that was killed
            part.unlink()

    # ------------------------------------------------------------------------------------------ coming in

    def incoming(self, identity: Identity) -> Incoming:
        """Begin with an instance that comes piece by piece. Raises OSError if it cannot be written."""
        part = self._part(identity)
        try:
            part.parent.mkdir(mode=0o700, exist_ok=True)
            handle = os.open(part, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW, 0o600)
        except OSError as error:
            self.disk_error = error
            raise
        return Incoming(self, identity, part, handle)

    def write(self, identity: Identity, content: Iterable[Bytes]) -> Kept:
        """Keep an instance given as the pieces of its file, which may be on their way still.

        Raises OSError if it cannot be written, and whatever ``content`` raises when it breaks off; nothing is
        left behind then.
        """
        with self._written(identity, content) as incoming:
            return incoming.keep()

    def write_soon(self, identity: Identity, content: Iterable[Bytes]) -> Kept:
        """As ``write``, but it does not wait for the disk (``Incoming.keep_soon``)."""
        with self._written(identity, content) as incoming:
            return incoming.keep_soon()

    @contextmanager
    def _written(self, identity: Identity, content: Iterable[Bytes]) -> Iterator[Incoming]:
        incoming = self.incoming(identity)
        try:
            for piece in content:
                incoming.write(piece)
            yield incoming
        except BaseException:
            incoming.discard()
            raise

    def link(self, identity: Identity, source: Path) -> Kept:
        """Keep an instance that lies in a file: a hard link, or a copy across file systems.

        The source is not touched. Raises OSError as ``write``.
        """
        part = self._part(identity)
        try:
            part.parent.mkdir(mode=0o700, exist_ok=True)
            part.hardlink_to(source.resolve(strict=True))
        except OSError:  # another file system, or one without links, or fs.protected_hardlinks
            with source.open("rb") as stream:
                return self.write(identity, iter(lambda: stream.read(_PIECE), b""))
        digest = sha256(part)
        kept = self._claim(identity, digest)
        self._settle(identity, part, digest, kept)
        return kept

    def resume(self, earlier: Iterable[ReceivedInstance] = ()) -> int:
        """Take the whole files that an earlier attempt left in their places; returns how many.

        ``earlier``: what its receipt says of them. A file that differs from that, that ends too early or is
        not what its name says, is moved to the quarantine.
        """
        for path, found in left_behind(self.dicom, self.study_instance_uid, earlier):
            if isinstance(found, str):
                aside = f"{path.stem}.{sha256(path)[:8]}.dcm"  # one of an earlier attempt may lie there
                path.rename(private_folder(self.folder / "quarantine") / aside)
                log.warning("%s: %s; moved to quarantine", path, found)
                continue
            self._note(found)
        return len(self._received)

    def refuse(self, sop_instance_uid: str, reason: str) -> bool:
        """Note an instance that was offered and is not kept; UID "" for a file that tells none.

        Returns whether it is the first for this reason.
        """
        with self._changed:
            new = all(reason != other for _, other in self._refused)
            self._refused.add((sop_instance_uid, reason))
        return new

    def turn_away(self, sop_instance_uid: str) -> None:
        """Note an instance of another study, or of another station's move."""
        with self._changed:
            self._foreign.add(sop_instance_uid)

    def touch(self) -> None:
        """Note that data are coming in."""
        self.last_activity_s = time.monotonic()

    def flush(self) -> None:
        """Wait until what came is on the disk, or has failed to go there."""
        with self._changed:
            self._changed.wait_for(lambda: not self._unflushed)

    def close(self) -> None:
        """Take nothing more: what a transfer that was given up brings must not come after the receipt."""
        self.flush()
        with self._changed:
            self._closed = True

    def _soon(self, settling: Callable[[], None]) -> None:
        with self._changed:
            self._changed.wait_for(lambda: self._unflushed < _MOST_UNFLUSHED)
            self._unflushed += 1
        self._flushers.submit(settling).add_done_callback(self._flushed)

    def _flushed(self, _: Future[None]) -> None:
        with self._changed:
            self._unflushed -= 1
            self._changed.notify_all()

    def _part(self, identity: Identity) -> Path:
        name = f".{identity.sop_instance_uid}.dcm.{next(self._numbers)}.part"
        return self.dicom / identity.series_instance_uid / name

    def _claim(self, identity: Identity, digest: str) -> Kept:
        """What becomes of an instance whose bytes are all here: the first to come has the name."""
        uid = identity.sop_instance_uid
        with self._changed:
            first = self._digests.setdefault(uid, "")
            if not first:
                self._digests[uid] = digest
                return Kept.NEW
            if first == digest:
                self._duplicates.add(uid)
                return Kept.DUPLICATE
            self._conflicting.add(uid)
            return Kept.CONFLICTING

    def _settle(self, identity: Identity, part: Path, digest: str, kept: Kept) -> None:
        """Give a whole file the place that it has a claim to. Raises OSError."""
        uid = identity.sop_instance_uid
        try:
            if kept is Kept.NEW:
                self._place(self._record(identity, part, digest), part)
            elif kept is Kept.CONFLICTING:
                part.rename(private_folder(self.folder / "quarantine") / f"{uid}.{digest[:8]}.dcm")
            # a link stays where its file has the other name already, as of an earlier attempt (rename(2))
            part.unlink(missing_ok=True)
        except OSError as error:
            self._fail(identity, kept, error)
            with suppress(OSError):
                part.unlink()
            raise
        self.touch()

    def _place(self, record: ReceivedInstance, part: Path) -> None:
        with self._changed:
            if self._closed:
                return
            part.rename(self.dicom / record.path)
            self._note(record)

    def _note(self, record: ReceivedInstance) -> None:
        with self._changed:
            self._received[record.sop_instance_uid] = record
            self._digests[record.sop_instance_uid] = record.sha256
            self.size_bytes += record.bytes
            self._changed.notify_all()

    def _record(self, identity: Identity, part: Path, digest: str) -> ReceivedInstance:
        return ReceivedInstance(
            sop_instance_uid=identity.sop_instance_uid,
            sop_class_uid=identity.sop_class_uid,
            series_instance_uid=identity.series_instance_uid,
            transfer_syntax_uid=identity.transfer_syntax_uid,
            path=f"{identity.series_instance_uid}/{identity.sop_instance_uid}.dcm",
            bytes=part.stat().st_size,
            sha256=digest,
        )

    def _fail(self, identity: Identity, kept: Kept, error: OSError) -> None:
        self.disk_error = error
        if kept is Kept.NEW:
            with self._changed:
                self._digests.pop(identity.sop_instance_uid, None)

    # ------------------------------------------------------------------------------------------ asking

    def wait(self, timeout_s: float) -> None:
        """Sleep until an instance comes, at most ``timeout_s``."""
        with self._changed:
            self._changed.wait(timeout_s)

    def holds(self, sop_instance_uid: str, digest: str = "") -> bool:
        """Whether an instance is there, with this content if a digest is given."""
        instance = self._received.get(sop_instance_uid)
        return instance is not None and digest in ("", instance.sha256)

    def __len__(self) -> int:
        return len(self._received)

    @property
    def uids(self) -> frozenset[str]:
        """SOPInstanceUIDs of what is there."""
        with self._changed:
            return frozenset(self._received)

    @property
    def sizes(self) -> Counter[str]:
        """SeriesInstanceUID -> how many instances of it are there."""
        with self._changed:
            return Counter(one.series_instance_uid for one in self._received.values())

    @property
    def sizes_bytes(self) -> Counter[str]:
        """SeriesInstanceUID -> how many bytes of it are there."""
        sizes = Counter[str]()
        with self._changed:
            for one in self._received.values():
                sizes[one.series_instance_uid] += one.bytes
        return sizes

    @property
    def received(self) -> tuple[ReceivedInstance, ...]:
        """What is there, ordered by path."""
        with self._changed:
            return tuple(sorted(self._received.values(), key=lambda instance: instance.path))

    @property
    def refused(self) -> tuple[Refused, ...]:
        """What was refused and did not come later."""
        with self._changed:
            return tuple(
                Refused(sop_instance_uid=uid, reason=reason)
                for uid, reason in sorted(self._refused)
                if uid not in self._received
            )

    @property
    def duplicates(self) -> tuple[str, ...]:
        """SOPInstanceUIDs that came more than once, with the same bytes."""
        with self._changed:
            return tuple(sorted(self._duplicates))

    @property
    def conflicting(self) -> tuple[str, ...]:
        """SOPInstanceUIDs that came with different bytes; the first stayed."""
        with self._changed:
            return tuple(sorted(self._conflicting))

    @property
    def foreign(self) -> tuple[str, ...]:
        """SOPInstanceUIDs of what was turned away."""
        with self._changed:
            return tuple(sorted(self._foreign))


class Incoming:
    """An instance on its way to the disk: ``write`` its pieces, then ``keep`` or ``discard`` it.

    ``path``: its file until then. ``write`` and ``keep`` raise OSError if the disk does not take it;
    ``discard`` it then.
    """

    def __init__(self, inbox: Inbox, identity: Identity, part: Path, handle: int) -> None:
        self._inbox, self._identity, self.path = inbox, identity, part
        self._file = os.fdopen(handle, "wb", buffering=0)
        self._digest = hashlib.sha256()

    def write(self, piece: Bytes) -> None:
        """The next bytes of its file."""
        self._digest.update(piece)
        rest = memoryview(piece)
        try:
            while rest:
                rest = rest[self._file.write(rest) :]
        except OSError as error:
            self._inbox.disk_error = error
            raise

    def keep(self) -> Kept:
        """It is whole: put it into its place."""
        digest = self._digest.hexdigest()
        kept = self._inbox._claim(self._identity, digest)
        self._settle(digest, kept)
        return kept

    def keep_soon(self) -> Kept:
        """It is whole: put it into its place, without waiting for the disk.

        If the disk does not take it, it is noted as refused.
        """
        digest = self._digest.hexdigest()
        kept = self._inbox._claim(self._identity, digest)
        self._inbox._soon(partial(self._settle_or_refuse, digest, kept))
        return kept

    def discard(self) -> None:
        """It will not become whole."""
        with suppress(OSError):
            self._file.close()
        with suppress(OSError):
            self.path.unlink()

    def _settle(self, digest: str, kept: Kept) -> None:
        try:
            if kept is not Kept.DUPLICATE:
                os.fsync(self._file.fileno())  # before its name says that it is whole
            self._file.close()  # may be the first to say that the disk is full (NFS)
        except OSError as error:
            self._inbox._fail(self._identity, kept, error)
            raise
        self._inbox._settle(self._identity, self.path, digest, kept)

    def _settle_or_refuse(self, digest: str, kept: Kept) -> None:
        try:
            self._settle(digest, kept)
        except OSError as error:
            self.discard()
            uid, reason = self._identity.sop_instance_uid, f"cannot be written: {error.strerror}"
            self._inbox.refuse(uid, reason)
            log.warning("instance %s %s", uid, reason)
