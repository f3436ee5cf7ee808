"""What becomes of the parts of WADO-RS answers: checked, and sent to the disk while the next are read."""

from __future__ import annotations

import logging
import threading

from pacs2bids.pacs.inbox import Inbox, Kept
from pacs2bids.pacs.web_multipart import Part, media_type
from pacs2bids.pacs.web_part import Instance, UnusableError
from pacs2bids.reading import Reader

DICOM = "application/dicom"
_KINDS = ("", DICOM, "application/octet-stream")  # of parts; not every server says it right

log = logging.getLogger("pacs2bids.pull")


class Keeper:
    """Takes parts into an inbox, from any thread. ``completed``: instances that came whole and were wanted.

    What is in the inbox at the beginning is passed over: the server was not asked for it, but for its series.
    """

    def __init__(self, inbox: Inbox) -> None:
        self.completed = 0
        self._inbox = inbox
        self._known = inbox.uids
        self._lock = threading.Lock()

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
                if uid not in self._known:
                    self._take(instance)
            else:
                self._inbox.turn_away(uid)
                self._refuse(uid, f"belongs to study {study}")
        except UnusableError as error:
            self._refuse(uid, str(error))

    def _take(self, instance: Instance) -> None:
        kept = self._inbox.write_soon(instance.identity, instance.content())
        with self._lock:
            self.completed += 1
        if kept is Kept.CONFLICTING:
            uid = instance.identity.sop_instance_uid
            log.warning("instance %s came again with other content; the first is kept, see quarantine", uid)

    def _refuse(self, uid: str, reason: str) -> None:
        new = self._inbox.refuse(uid, reason)
        log.log(logging.WARNING if new else logging.INFO, "refused instance %.64s: %s", uid, reason)
