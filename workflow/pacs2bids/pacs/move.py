"""The C-MOVE client (PS3.4 section C.4.2).

A C-MOVE runs in a thread of its own, so that what the PACS says and what arrives can be watched together.
What it says is noted for a person to read and believed by nobody: PACS answer 0000 with instances missing,
and failures with all of them sent.
"""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass

from msgspec.structs import replace
from pydicom.dataset import Dataset
from pynetdicom.association import Association
from pynetdicom.presentation import build_context
from pynetdicom.sop_class import (  # type: ignore[attr-defined]  # pynetdicom makes these names at run time
    StudyRootQueryRetrieveInformationModelMove,
)

from pacs2bids.model import MoveStatus
from pacs2bids.pacs.find import associated
from pacs2bids.pacs.identifiers import identifier_of
from pacs2bids.peers import PacsPeer

# A PACS may send everything before it says a word: who watches what arrives decides when to give up
_LONGEST_MOVE_S = 7 * 24 * 3600.0

PENDING = (0xFF00, 0xFF01)
UNKNOWN_DESTINATION = "A801"

log = logging.getLogger("pacs2bids.pull")


@dataclass(frozen=True, slots=True, kw_only=True)
class MoveRequest:
    """What to send: a study, one of its series, or some instances of one series."""

    study_instance_uid: str
    series_instance_uid: str = ""
    sop_instance_uids: tuple[str, ...] = ()

    @property
    def level(self) -> str:
        """QueryRetrieveLevel."""
        if self.sop_instance_uids:
            return "IMAGE"
        return "SERIES" if self.series_instance_uid else "STUDY"

    def identifier(self) -> Dataset:
        """The unique keys of all levels down to the one asked for (PS3.4 section C.4.2.1.4)."""
        keys = {
            "StudyInstanceUID": self.study_instance_uid,
            "SeriesInstanceUID": self.series_instance_uid,
            "SOPInstanceUID": "\\".join(self.sop_instance_uids),
        }
        identifier = identifier_of(self.level, {keyword: value for keyword, value in keys.items() if value})
        del identifier.SpecificCharacterSet  # nothing here but UIDs
        return identifier


class Move:
    """A C-MOVE under way. ``status``: its last words; ``last_word_s``: when they came (monotonic)."""

    def __init__(
        self, association: Association, destination: str, request: MoveRequest, message_id: int
    ) -> None:
        self.status = MoveStatus(level=request.level, message_id=message_id, status="")
        self.last_word_s = time.monotonic()
        self._association = association
        self._answers = association.send_c_move(
            request.identifier(),
            destination,
            StudyRootQueryRetrieveInformationModelMove,
            msg_id=message_id,
        )
        self._thread = threading.Thread(target=self._listen, name=f"C-MOVE {message_id}", daemon=True)
        self._thread.start()

    @property
    def finished(self) -> bool:
        """Whether the PACS gave its final answer, or will give none."""
        return not self._thread.is_alive()

    def join(self, timeout_s: float) -> None:
        """Wait for the final answer, at most so long."""
        self._thread.join(timeout_s)

    def abandon(self) -> None:
        """End a move that is not finished: ask the PACS to stop, then hang up."""
        if self.finished or not self._association.is_established:
            return
        log.info("C-MOVE %d: cancelled", self.status.message_id)
        self._association.send_c_cancel(
            self.status.message_id, query_model=StudyRootQueryRetrieveInformationModelMove
        )
        self.join(2.0)
        # the thread would sleep in get_msg until the DIMSE timeout: give it what a closed connection gives
        self._association.dimse.msg_queue.put((None, None))
        self.join(2.0)

    def _listen(self) -> None:
        for answer, _ in self._answers:
            self.last_word_s = time.monotonic()
            if "Status" in answer:  # empty: the connection broke, or the PACS was silent for too long
                self.status = _noted(self.status, answer)


def _noted(status: MoveStatus, answer: Dataset) -> MoveStatus:
    return replace(
        status,
        status="" if answer.Status in PENDING else f"{answer.Status:04X}",
        completed=answer.get("NumberOfCompletedSuboperations", status.completed),
        failed=answer.get("NumberOfFailedSuboperations", status.failed),
        warning=answer.get("NumberOfWarningSuboperations", status.warning),
        comment=str(answer.get("ErrorComment", status.comment)),
    )


@contextmanager
def moving(peer: PacsPeer, destination: str, request: MoveRequest, message_id: int) -> Iterator[Move]:
    """Ask ``peer`` to send to the AE title ``destination``.

    A move that is not finished when the block ends is abandoned.
    Raises QueryError if the PACS cannot be reached or does not talk to us.
    """
    contexts = [build_context(StudyRootQueryRetrieveInformationModelMove)]
    with associated(peer, contexts, response_timeout_s=_LONGEST_MOVE_S) as association:
        move = Move(association, destination, request, message_id)
        try:
            yield move
        finally:
            move.abandon()
