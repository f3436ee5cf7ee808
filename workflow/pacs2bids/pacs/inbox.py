"""What has come of one study: the files on disk, and the record of everything that was offered.

Under the study's folder: ``dicom/<SeriesInstanceUID>/<SOPInstanceUID>.dcm``, and ``quarantine/`` for a
second, different content under a SOPInstanceUID that is already there. Folders are 0700 and files 0600: they
identify patients. A file stands under its name only when it is whole and on the disk: it is written as
``*.part``, flushed, then renamed.
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
from collections.abc import Callable, Iterable
from contextlib import suppress
from dataclasses import dataclass
from enum import Enum
from pathlib import Path

from pydicom.tag import BaseTag

from pacs2bids.files import private_folder, sha256
from pacs2bids.model import ReceivedInstance, Refused
from pacs2bids.pacs.left_behind import left_behind

# PS3.5 section 9.1: digits and dots, at most 64. Leading zeros are common in the field and harmless here;
# what matters is that the UID can be a file name.
_UID = re.compile(r"[0-9]+(\.[0-9]+)*")
_SERIES_INSTANCE_UID = 0x0020000E

log = logging.getLogger("pacs2bids.pull")


def is_uid(text: str) -> bool:
    """Whether a text is a UID, and with that a safe file name."""
    return len(text) <= 64 and _UID.fullmatch(text) is not None


def after_series(tag: BaseTag, _vr: str | None, _length: int) -> bool:
    """Where reading an instance's head may stop: the UIDs of study and series are behind us."""
    return int(tag) > _SERIES_INSTANCE_UID


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
        self._received: dict[str, ReceivedInstance] = {}
        self._refused: set[tuple[str, str]] = set()
        self._duplicates: set[str] = set()
        self._conflicting: set[str] = set()
        self._foreign: set[str] = set()
        for part in self.dicom.glob("*/.*.part"):  # of an attempt that was killed
            part.unlink()

    # ------------------------------------------------------------------------------------------ coming in

    def write(self, identity: Identity, content: Iterable[bytes | memoryview]) -> Kept:
        """Keep an instance given as the pieces of its file, which may be on their way still.

        Raises OSError if it cannot be written, and whatever ``content`` raises when it breaks off (which must
        be no OSError); nothing is left behind then.
        """
        return self._keep(identity, lambda part: _write(part, content))

    def link(self, identity: Identity, source: Path) -> Kept:
        """Keep an instance that lies in a file: a hard link, or a copy across file systems.

        The source is not touched. Raises OSError as ``write``.
        """
        digest = sha256(source)
        return self._keep(identity, lambda part: _link(source, part, digest))

    def resume(self, earlier: Iterable[ReceivedInstance] = ()) -> int:
        """Take the whole files that an earlier attempt left in their places; returns how many.

        ``earlier``: what its receipt says of them. A file that differs from that, that ends too early or is
        not what its name says, is moved to the quarantine.
        """
        for path, found in left_behind(self.dicom, self.study_instance_uid, earlier):
            if isinstance(found, str):
                path.rename(private_folder(self.folder / "quarantine") / path.name)
                log.warning("%s: %s; moved to quarantine", path, found)
                continue
            with self._changed:
                self._received[found.sop_instance_uid] = found
                self.size_bytes += found.bytes
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

    def _keep(self, identity: Identity, fill: Callable[[Path], str]) -> Kept:
        path = self.dicom / identity.series_instance_uid / f"{identity.sop_instance_uid}.dcm"
        part = path.with_name(f".{path.name}.{next(self._numbers)}.part")
        try:
            path.parent.mkdir(mode=0o700, exist_ok=True)
            digest = fill(part)
            with self._changed:
                kept = self._settle(identity, digest, part, path)
                self._changed.notify_all()
        except BaseException as error:
            if isinstance(error, OSError):
                self.disk_error = error
            with suppress(OSError):
                part.unlink()
            raise
        self.touch()
        return kept

    def _settle(self, identity: Identity, digest: str, part: Path, path: Path) -> Kept:
        uid = identity.sop_instance_uid
        first = self._received.get(uid)
        if first is None:
            part.rename(path)
            self._received[uid] = self._record(identity, path, digest)
            self.size_bytes += self._received[uid].bytes
            return Kept.NEW
        if first.sha256 == digest:
            part.unlink()
            self._duplicates.add(uid)
            return Kept.DUPLICATE
        quarantine = private_folder(self.folder / "quarantine")
        part.rename(quarantine / f"{uid}.{digest[:8]}.dcm")
        self._conflicting.add(uid)
        return Kept.CONFLICTING

    def _record(self, identity: Identity, path: Path, digest: str) -> ReceivedInstance:
        return ReceivedInstance(
            sop_instance_uid=identity.sop_instance_uid,
            sop_class_uid=identity.sop_class_uid,
            series_instance_uid=identity.series_instance_uid,
            transfer_syntax_uid=identity.transfer_syntax_uid,
            path=path.relative_to(self.dicom).as_posix(),
            bytes=path.stat().st_size,
            sha256=digest,
        )

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
    def sizes(self) -> Counter[str]:
        """SeriesInstanceUID -> how many instances of it are there."""
        with self._changed:
            return Counter(one.series_instance_uid for one in self._received.values())

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


def _write(part: Path, content: Iterable[bytes | memoryview]) -> str:
    """Fill a new file; returns its SHA-256."""
    digest = hashlib.sha256()
    handle = os.open(part, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW, 0o600)
    try:
        for piece in content:
            digest.update(piece)
            rest = memoryview(piece)
            while rest:
                rest = rest[os.write(handle, rest) :]
        os.fsync(handle)  # before its name says that it is whole
    finally:
        os.close(handle)  # may be the first to say that the disk is full (NFS)
    return digest.hexdigest()


def _link(source: Path, part: Path, digest: str) -> str:
    whole = source.resolve(strict=True)
    try:
        part.hardlink_to(whole)
    except OSError:  # another file system, or one without links, or fs.protected_hardlinks
        return _write(part, [whole.read_bytes()])
    return digest
