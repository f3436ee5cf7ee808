"""C-STORE requests into an inbox (PS3.4 annex B), on an association that either side opened.

pynetdicom negotiates, keeps the state of the association (PS3.8 section 9.2) and serves all other messages.
C-STORE requests it would hold in memory until they are whole, make pydicom data sets of, and hand from thread
to thread with two naps of 1 ms. Here they are served as their bytes come: as soon as these tell that the
instance is one of ours, they go to the disk; of others nothing does.
"""

from __future__ import annotations

import logging
import select
import socket
import ssl
from collections.abc import Callable, Container, Mapping
from contextlib import suppress
from queue import Empty
from typing import Any

from pynetdicom import evt
from pynetdicom.association import Association
from pynetdicom.dimse import DIMSEServiceProvider
from pynetdicom.pdu_primitives import P_DATA
from pynetdicom.transport import AssociationSocket

from pacs2bids.pacs.command import StoreRequest, store_request, store_response
from pacs2bids.pacs.heads import SERIES_INSTANCE_UID, SOP_INSTANCE_UID, STUDY_INSTANCE_UID, file_head, uids_of
from pacs2bids.pacs.inbox import Identity, Inbox, Incoming, Kept, is_uid
from pacs2bids.pacs.whole import ends_with_pixels, is_cut
from pacs2bids.reading import Reader

# answers to C-STORE, PS3.4 table B.2-1 and PS3.7 annex C
SUCCESS = 0x0000
NOT_AUTHORIZED = 0x0124
OUT_OF_RESOURCES = 0xA700
DOES_NOT_MATCH = 0xA900
CANNOT_UNDERSTAND = 0xC000

_COMMAND, _LAST = 0x01, 0x02  # bits of a fragment's control header (PS3.8 section E.2)
_INVALID_PDU = "Evt19"  # of the state machine (PS3.8 table 9-10): the association is aborted
_FIRST_LOOK = 1 << 16  # bytes of an instance that come before it is looked whose it is; mostly they tell
_IN_MEMORY = 1 << 20  # bytes of an instance that are kept before they go to the disk
_READ = 1 << 18
_NAP_S = 0.01
_QUICKACK = getattr(socket, "TCP_QUICKACK", None)  # Linux

log = logging.getLogger("pacs2bids.pull")


def store_into(
    inbox: Inbox, association: Association, moves: Container[tuple[str, int]] | None = None
) -> None:
    """From now on, keep what is stored on an association; for a handler of EVT_CONN_OPEN.

    ``moves``: those that we asked for, as (our AE title, message ID); None: it is our own association.
    """
    storing = _Storing(association, inbox, moves)
    association.dimse = storing
    association.bind(evt.EVT_CONN_CLOSE, lambda _: storing.give_up())
    connection: Any = association.dul.socket
    connection.__class__ = _Connection  # it has no state of its own
    connection.acknowledge_at_once()


class _RefusalError(Exception):
    """An instance that is not kept: the status to answer, and why."""

    def __init__(self, status: int, reason: str) -> None:
        super().__init__(reason)
        self.status, self.reason = status, reason


class _Storing(DIMSEServiceProvider):
    """pynetdicom's provider of messages, but it serves C-STORE requests itself, as their fragments come."""

    def __init__(
        self, association: Association, inbox: Inbox, moves: Container[tuple[str, int]] | None
    ) -> None:
        super().__init__(association)
        self._inbox, self._moves = inbox, moves
        self._reader = Reader()
        self._syntaxes: Mapping[int | None, str] = {}
        self._command = bytearray()
        self._store: _Store | None = None

    def receive_primitive(self, primitive: P_DATA) -> None:
        """Take what came in one PDU: fragments of messages, each with its presentation context."""
        for context_id, fragment in primitive.presentation_data_value_list:
            if not fragment:
                self.dul.event_queue.put(_INVALID_PDU)
                return
            is_last = bool(fragment[0] & _LAST)
            if fragment[0] & _COMMAND:
                self._command += memoryview(fragment)[1:]
                if is_last:
                    self._begin(context_id)
            elif self._store is None:
                self._pass_on(context_id, fragment)
            else:
                self._store.take(memoryview(fragment)[1:])
                if is_last:
                    self._answer(context_id, self._store)

    def give_up(self) -> None:
        """The connection has ended; what is not whole by now never will be."""
        if self._store is not None:
            self._store.give_up()

    def get_msg(self, block: bool = False) -> Any:
        """The next of the other messages. Not to block is to wait a little: pynetdicom asks in a loop."""
        if block:
            return super().get_msg(block=True)
        try:
            return self.msg_queue.get(timeout=_NAP_S)
        except Empty:
            return None, None

    def _begin(self, context_id: int) -> None:
        self.give_up()  # what has not ended by the next command is not whole
        command, self._command = bytes(self._command), bytearray()
        request, syntax = store_request(command), self._syntax(context_id)
        if request is None or syntax is None:
            self._store = None
            self._pass_on(context_id, bytes([_COMMAND | _LAST]) + command)
            return
        self._store = _Store(request, syntax, self._inbox, self._moves, self._reader)
        if not request.has_data_set:
            self._answer(context_id, self._store)

    def _answer(self, context_id: int, store: _Store) -> None:
        self._store = None
        command = store_response(store.request, store.end())
        self.dul.send_pdu(_one(context_id, bytes([_COMMAND | _LAST]) + command))

    def _pass_on(self, context_id: int, fragment: bytes) -> None:
        try:
            super().receive_primitive(_one(context_id, fragment))
        except Exception as error:  # noqa: BLE001 - pynetdicom raises anything on noise; its thread would end
            log.info("a message cannot be read: %s", type(error).__name__)
            self.dul.event_queue.put(_INVALID_PDU)

    def _syntax(self, context_id: int) -> str | None:
        """The transfer syntax of a presentation context; None if it was not accepted."""
        if not self._syntaxes:
            accepted = self.assoc.accepted_contexts
            self._syntaxes = {one.context_id: str(one.transfer_syntax[0]) for one in accepted}
        return self._syntaxes.get(context_id)


def _one(context_id: int, fragment: bytes) -> P_DATA:
    primitive = P_DATA()
    primitive.presentation_data_value_list.append((context_id, fragment))
    return primitive


class _Store:
    """One C-STORE request: ``take`` its data set piece by piece, ``end`` it for the status to answer."""

    def __init__(
        self,
        request: StoreRequest,
        syntax: str,
        inbox: Inbox,
        moves: Container[tuple[str, int]] | None,
        reader: Reader,
    ) -> None:
        self.request = request
        self._syntax, self._inbox, self._moves, self._reader = syntax, inbox, moves, reader
        self._waiting = bytearray()  # what is not on its way to the disk yet
        self._patience = _FIRST_LOOK
        self._incoming: Incoming | None = None
        self._status: int | None = None

    def take(self, piece: memoryview) -> None:
        """The next bytes of the data set."""
        if self._status is not None:
            return
        if self._incoming is not None:
            self._inbox.touch()  # only by what is ours: strangers may send for ever
        self._waiting += piece
        if len(self._waiting) >= self._patience:
            self._try(self._advance)

    def end(self) -> int:
        """Nothing more comes."""
        self._try(self._finish)
        if self._status is None:
            return SUCCESS
        self.give_up()
        return self._status

    def give_up(self) -> None:
        """The rest will not come."""
        if self._incoming is not None:
            self._incoming.discard()

    def _try(self, step: Callable[[], None]) -> None:
        if self._status is not None:
            return
        try:
            step()
        except _RefusalError as refusal:
            self._refuse(refusal)
        except OSError as error:
            self._refuse(_RefusalError(OUT_OF_RESOURCES, f"cannot be written: {error.strerror}"))

    def _refuse(self, refusal: _RefusalError) -> None:
        uid = self.request.sop_instance_uid
        self._status = refusal.status
        self._waiting = bytearray()
        if refusal.status == NOT_AUTHORIZED:
            self._inbox.turn_away(uid)
        new = self._inbox.refuse(uid, refusal.reason)
        log.log(logging.WARNING if new else logging.INFO, "refused instance %.64s: %s", uid, refusal.reason)

    def _advance(self, *, is_whole: bool = False) -> None:
        if self._incoming is None:
            identity = self._identity(is_whole=is_whole)
            if identity is None:
                self._patience = 2 * len(self._waiting)
                return
            self._incoming = self._inbox.incoming(identity)
            self._incoming.write(
                file_head(identity.sop_class_uid, identity.sop_instance_uid, identity.transfer_syntax_uid)
            )
        self._incoming.write(self._waiting)
        self._waiting = bytearray()
        self._patience = _IN_MEMORY

    def _finish(self) -> None:
        if not self.request.has_data_set:
            raise _RefusalError(CANNOT_UNDERSTAND, "came without a dataset")
        is_whole = self._incoming is None and ends_with_pixels(self._waiting)
        self._advance(is_whole=True)
        if self._incoming is None:
            return
        if not is_whole and is_cut(self._reader, self._incoming.path):
            # all fragments came: it is so at the PACS, and one such must not keep its study from coming whole
            uid = self.request.sop_instance_uid
            log.warning("instance %s is cut short: its dataset ends within an element; kept as it came", uid)
        if self._incoming.keep_soon() is Kept.CONFLICTING:
            uid = self.request.sop_instance_uid
            log.warning("instance %s came again with other content; the first is kept, see quarantine", uid)

    # ------------------------------------------------------------------------------------------ whose it is

    def _identity(self, *, is_whole: bool) -> Identity | None:
        """What the bytes so far say of the instance; None if they do not yet."""
        request = self.request
        self._check_originator()
        try:
            uids = uids_of(bytes(self._waiting), self._syntax, is_whole=is_whole)
        except ValueError as error:
            raise _RefusalError(CANNOT_UNDERSTAND, f"cannot be read: {error}") from error
        if uids is None:
            return None
        identity = Identity(
            study_instance_uid=_checked(uids.get(STUDY_INSTANCE_UID, ""), "StudyInstanceUID"),
            series_instance_uid=_checked(uids.get(SERIES_INSTANCE_UID, ""), "SeriesInstanceUID"),
            sop_instance_uid=_checked(uids.get(SOP_INSTANCE_UID, ""), "SOPInstanceUID"),
            sop_class_uid=_checked(request.sop_class_uid, "SOPClassUID"),
            transfer_syntax_uid=self._syntax,
        )
        if identity.sop_instance_uid != request.sop_instance_uid:
            raise _RefusalError(DOES_NOT_MATCH, f"the dataset calls itself {identity.sop_instance_uid}")
        if identity.study_instance_uid != self._inbox.study_instance_uid:
            raise _RefusalError(NOT_AUTHORIZED, f"belongs to study {identity.study_instance_uid}")
        return identity

    def _check_originator(self) -> None:
        """A request that names the move it serves (PS3.7 section 9.1.1.1) must name one of ours.

        One that names none is judged by its study alone: not every PACS passes the move on.
        """
        originator = self.request.originator
        if self._moves is not None and originator is not None and originator not in self._moves:
            station, message_id = originator
            reason = f"serves another move: message {message_id} of {station}"
            raise _RefusalError(NOT_AUTHORIZED, reason)


def _checked(uid: str, name: str) -> str:
    if not is_uid(uid):
        raise _RefusalError(CANNOT_UNDERSTAND, f"has no valid {name}")
    return uid


class _Connection(AssociationSocket):
    """pynetdicom's socket, but it waits for data rather than to be asked every millisecond."""

    @property
    def ready(self) -> bool:
        """Whether there is data to read, or will be soon."""
        if self.socket is not None and not self._holds_back():
            with suppress(OSError, ValueError):  # closed meanwhile: pynetdicom sees it, too
                select.select([self.socket], [], [], _NAP_S)
        return super().ready

    def recv(self, nr_bytes: int) -> bytearray:
        """So many bytes, or fewer if the connection ends. Raises OSError, also after too long a silence."""
        received = bytearray()
        while self.socket is not None and len(received) < nr_bytes:
            piece = self.socket.recv(min(_READ, nr_bytes - len(received)))
            if not piece:
                break
            received += piece
        self.acknowledge_at_once()
        return received

    def acknowledge_at_once(self) -> None:
        """Against a PACS with Nagle's algorithm: 20 to 128 instances/s (Linux forgets it: after each PDU)."""
        if _QUICKACK is not None and self.socket is not None:
            self.socket.setsockopt(socket.IPPROTO_TCP, _QUICKACK, 1)

    def _holds_back(self) -> bool:
        """Whether decrypted data are waiting of which the operating system does not know."""
        return isinstance(self.socket, ssl.SSLSocket) and self.socket.pending() > 0
