"""C-MOVE (PS3.4 section C.4.2): the PACS calls a move destination that it knows, us, and stores there.

A C-MOVE runs in a thread of its own, so that what the PACS says and what arrives can be watched together.
What it says is noted for a person to read and believed by nobody: PACS answer 0000 with instances missing,
and failures with all of them sent.
"""

from __future__ import annotations

import itertools
import logging
import secrets
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager

from msgspec.structs import replace
from pydicom.dataset import Dataset
from pynetdicom.association import Association
from pynetdicom.presentation import build_context
from pynetdicom.sop_class import (  # type: ignore[attr-defined]  # pynetdicom makes these names at run time
    StudyRootQueryRetrieveInformationModelMove,
)

from pacs2bids.model import TransferStatus
from pacs2bids.pacs.find import associated
from pacs2bids.pacs.identifiers import identifier_of
from pacs2bids.pacs.inbox import Inbox
from pacs2bids.pacs.receiver import Address, Receiver, receiving
from pacs2bids.pacs.transport import Explanation, Request, explained
from pacs2bids.pacs.turns import own_turn
from pacs2bids.peers import MOVE, PacsPeer, Slot

# A PACS may send everything before it says a word: who watches what arrives decides when to give up
_LONGEST_MOVE_S = 7 * 24 * 3600.0
_HIGHEST_MESSAGE_ID = 0xFFFF

PENDING = (0xFF00, 0xFF01)

log = logging.getLogger("pacs2bids.pull")


@contextmanager
def moving(peer: PacsPeer, inbox: Inbox, *, turn_s: float) -> Iterator[MoveTransport]:
    """C-MOVE into ``inbox``: our receiver listens until the block ends.

    Waits ``turn_s`` for other pulls to end. Raises PullError if the port cannot be had.
    """
    slot = peer.slots[0]
    address = Address(
        ae_title=slot.ae_title,
        host=peer.receive_host,
        port=slot.port,
        callers=(peer.ae_title,),
        tls=peer.tls,
    )
    with own_turn(slot.ae_title, slot.port, wait_s=turn_s), receiving(address, inbox) as receiver:
        yield MoveTransport(peer, slot, receiver)


class MoveTransport:
    """C-MOVE to our receiver; a ``Transport``."""

    way = MOVE

    def __init__(self, peer: PacsPeer, slot: Slot, receiver: Receiver) -> None:
        self._peer, self._slot, self._receiver = peer, slot, receiver
        # not those of a pull just before (PS3.7 section 9.1.4.1)
        self._numbers = itertools.count(secrets.randbelow(_HIGHEST_MESSAGE_ID))

    @property
    def reached_us(self) -> bool:
        """Whether the PACS called us."""
        return self._receiver.associations > 0

    @contextmanager
    def transferring(self, request: Request) -> Iterator[Move]:
        """Ask the PACS to send to our slot. Raises QueryError if it does not talk to us."""
        message_id = next(self._numbers) % _HIGHEST_MESSAGE_ID + 1
        self._receiver.moves.add((self._peer.calling_ae_title, message_id))
        contexts = [build_context(StudyRootQueryRetrieveInformationModelMove)]
        with associated(self._peer, contexts, response_timeout_s=_LONGEST_MOVE_S) as association:
            move = Move(association, self._slot.ae_title, request, message_id)
            try:
                yield move
            finally:
                move.abandon()

    def explanation(self, last: TransferStatus) -> Explanation:
        """What the PACS said; and if it never called us, what it must know to do so."""
        told = explained(last, "the PACS")
        if self.reached_us:
            return told
        if self._receiver.rejected:
            callers = ", ".join(sorted(self._receiver.rejected))
            cause = f"calls came from {callers} instead of {self._peer.ae_title} and were turned away"
            hint = "If that is your PACS, correct its ae_title in config.yaml"
            return Explanation(cause=cause, hint=hint)
        if self._receiver.insecure:
            why = ", ".join(sorted(self._receiver.insecure))
            hint = "Check tls in config.yaml, and that the PACS sends to us with TLS"
            return Explanation(cause=f"calls to our receiver failed to become encrypted: {why}", hint=hint)
        us = f"AE title {self._slot.ae_title} with this machine's address and port {self._receiver.port}"
        return Explanation(
            cause=f"{told.cause} and never called us: it does not know where to, or cannot get through",
            hint=f"Register {us} there as a move destination, and open the port to it",
        )


def identifier_for(request: Request) -> Dataset:
    """The unique keys of all levels down to the one asked for (PS3.4 sections C.4.2.1.4 and C.4.3.1.3)."""
    keys = {
        "StudyInstanceUID": request.study_instance_uid,
        "SeriesInstanceUID": request.series_instance_uid,
        "SOPInstanceUID": "\\".join(request.sop_instance_uids),
    }
    identifier = identifier_of(request.level, {keyword: value for keyword, value in keys.items() if value})
    del identifier.SpecificCharacterSet  # nothing here but UIDs
    return identifier


class Move:
    """A C-MOVE under way; a ``Transfer``."""

    def __init__(self, association: Association, destination: str, request: Request, message_id: int) -> None:
        self.status = TransferStatus(way=MOVE, level=request.level, message_id=message_id, status="")
        self.last_word_s = time.monotonic()
        self._association, self._message_id = association, message_id
        self._answers = association.send_c_move(
            identifier_for(request),
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
        log.info("C-MOVE %d: cancelled", self._message_id)
        self._association.send_c_cancel(
            self._message_id, query_model=StudyRootQueryRetrieveInformationModelMove
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


def _noted(status: TransferStatus, answer: Dataset) -> TransferStatus:
    return replace(
        status,
        status="" if answer.Status in PENDING else f"{answer.Status:04X}",
        completed=answer.get("NumberOfCompletedSuboperations", status.completed),
        failed=answer.get("NumberOfFailedSuboperations", status.failed),
        warning=answer.get("NumberOfWarningSuboperations", status.warning),
        comment=str(answer.get("ErrorComment", status.comment)),
    )
