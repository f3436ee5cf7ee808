"""C-MOVE (PS3.4 section C.4.2): the PACS calls a move destination that it knows, us, and stores there."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from pynetdicom.presentation import build_context
from pynetdicom.sop_class import (  # type: ignore[attr-defined]  # pynetdicom makes these names at run time
    StudyRootQueryRetrieveInformationModelMove,
)

from pacs2bids.model import TransferStatus
from pacs2bids.pacs.dimse import (
    LONGEST_TRANSFER_S,
    DimseTransfer,
    identifier_for,
    listening,
    message_ids,
)
from pacs2bids.pacs.find import associated, settle
from pacs2bids.pacs.inbox import Inbox
from pacs2bids.pacs.receiver import Address, Receiver, receiving
from pacs2bids.pacs.transport import Explanation, Request, explained
from pacs2bids.pacs.turns import own_slot
from pacs2bids.peers import MOVE, PacsPeer, Slot

_MODEL = StudyRootQueryRetrieveInformationModelMove


@contextmanager
def moving(peer: PacsPeer, inbox: Inbox, *, turn_s: float) -> Iterator[MoveTransport]:
    """C-MOVE into ``inbox``: our receiver listens until the block ends.

    Waits ``turn_s`` for other pulls to end. Raises PullError if the port cannot be had.
    """
    with own_slot(peer.slots, peer.receive_host, wait_s=turn_s) as slot:
        address = Address(
            ae_title=slot.ae_title,
            host=peer.receive_host,
            port=slot.port,
            callers=(peer.ae_title,),
            tls=peer.tls,
        )
        with receiving(address, inbox) as receiver:
            yield MoveTransport(peer, slot, receiver)


class MoveTransport:
    """C-MOVE to our receiver; a ``Transport``."""

    way = MOVE
    asks_one_by_one = False

    def __init__(self, peer: PacsPeer, slot: Slot, receiver: Receiver) -> None:
        self._peer, self._slot, self._receiver = peer, slot, receiver
        self._message_ids = message_ids()

    @property
    def reached_us(self) -> bool:
        """Whether the PACS called us."""
        return self._receiver.associations > 0

    @property
    def callers(self) -> set[str]:
        """Who called us, as "PACS at 192.0.2.1"."""
        return self._receiver.callers

    @contextmanager
    def transferring(self, request: Request) -> Iterator[DimseTransfer]:
        """Ask the PACS to send to our slot. Raises QueryError if it does not talk to us."""
        message_id = next(self._message_ids)
        self._receiver.moves.add((self._peer.calling_ae_title, message_id))
        contexts = [build_context(_MODEL)]
        with associated(self._peer, contexts, response_timeout_s=LONGEST_TRANSFER_S) as association:
            destination = self._slot.ae_title
            settle(association)
            answers = association.send_c_move(identifier_for(request), destination, _MODEL, message_id)
            started = TransferStatus(way=MOVE, level=request.level, message_id=message_id, status="")
            with listening(association, answers, _MODEL, started) as transfer:
                yield transfer

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
