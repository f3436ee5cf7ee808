"""What becomes of the parts of WADO-RS answers: checked, and written beside the reading.

Flushing a file to the disk takes long and costs nothing, and several flushes at once hardly take longer than
one: so small instances are written by threads of their own while the next are read. A large one flows to the
disk as it comes.
"""

from __future__ import annotations

import logging
import threading
from collections.abc import Iterable
from concurrent.futures import Future, ThreadPoolExecutor, wait
from itertools import chain

from pacs2bids.header import Reader
from pacs2bids.pacs.inbox import Identity, Inbox, Kept
from pacs2bids.pacs.web_multipart import Part, media_type
from pacs2bids.pacs.web_part import Instance, UnusableError

DICOM = "application/dicom"
_KINDS = ("", DICOM, "application/octet-stream")  # of parts; not every server says it right
_WRITERS = 8
_WAITING = 16  # small instances between reader and disk, at most
_SMALL_BYTES = 4 << 20

log = logging.getLogger("pacs2bids.pull")


class Keeper:
    """Takes parts into an inbox, from any thread. ``completed``: instances that were written."""

    def __init__(self, inbox: Inbox) -> None:
        self.completed = 0
        self._inbox = inbox
        self._pool = ThreadPoolExecutor(_WRITERS, thread_name_prefix="WADO-RS disk")
        self._room = threading.Semaphore(_WAITING)
        self._writing: dict[str, Future[None]] = {}  # SOPInstanceUID -> its last writing
        self._lock = threading.Lock()

    def close(self) -> None:
        """Wait until everything is written."""
        self._pool.shutdown()

    def keep(self, part: Part, reader: Reader) -> None:
        """Keep the instance in a part, or note why it is refused. ``reader``: of headers of its series.

        Raises OSError if the disk fails (maybe for an earlier one), BrokenError if the part breaks off.
        """
        if self._inbox.disk_error is not None:
            raise self._inbox.disk_error
        if media_type(part.content_type) not in _KINDS:
            self._refuse("", f"a part of the answer calls itself {media_type(part.content_type):.60}")
            return
        uid = ""
        try:
            instance = Instance(part, reader)
            uid = instance.identity.sop_instance_uid
            study = instance.identity.study_instance_uid
            if study == self._inbox.study_instance_uid:
                self._write(instance)
            else:
                self._inbox.turn_away(uid)
                self._refuse(uid, f"belongs to study {study}")
        except UnusableError as error:
            self._refuse(uid, str(error))

    def _write(self, instance: Instance) -> None:
        uid, content = instance.identity.sop_instance_uid, instance.content()
        if uid in self._writing:  # of two with one UID, the first is to stay
            wait([self._writing[uid]])
        held, size = list[bytes | memoryview](), 0
        for piece in content:
            held.append(piece)
            size += len(piece)
            if size > _SMALL_BYTES:
                self._put(instance.identity, chain(held, content))
                return
        self._room.acquire()
        self._writing[uid] = self._pool.submit(self._put_later, instance.identity, held)

    def _put_later(self, identity: Identity, content: Iterable[bytes | memoryview]) -> None:
        try:
            self._put(identity, content)
        except OSError as error:  # the inbox has it: the next part is refused with it
            log.info("%s: %s", identity.sop_instance_uid, error.strerror)
        finally:
            self._room.release()

    def _put(self, identity: Identity, content: Iterable[bytes | memoryview]) -> None:
        kept = self._inbox.write(identity, content)
        with self._lock:
            self.completed += 1
        if kept is Kept.CONFLICTING:
            uid = identity.sop_instance_uid
            log.warning("instance %s came again with other content; the first is kept, see quarantine", uid)

    def _refuse(self, uid: str, reason: str) -> None:
        new = self._inbox.refuse(uid, reason)
        log.log(logging.WARNING if new else logging.INFO, "refused instance %.64s: %s", uid, reason)
