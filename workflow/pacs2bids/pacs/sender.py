"""C-STORE of stored files, as they are, as fast as a plain socket goes (PS3.7 9.1.1, PS3.8 9.3).

pynetdicom polls its queues every millisecond and copies each data set several times: 135 instances a second.
Here the association is negotiated with its PDU classes, and then the bytes of each file go straight from disk
to a blocking socket, fragmented as the receiver allows. The data set is never decoded, so what arrives is
what is stored, in its own transfer syntax.
"""

from __future__ import annotations

import logging
import socket
import struct
from collections.abc import Iterable
from dataclasses import dataclass
from io import BytesIO
from types import TracebackType
from typing import Self

from pydicom.uid import UID
from pynetdicom import PYNETDICOM_IMPLEMENTATION_UID
from pynetdicom.dsutils import decode, split_dataset
from pynetdicom.pdu import A_ASSOCIATE_AC, A_ASSOCIATE_RJ, A_ASSOCIATE_RQ, A_RELEASE_RQ
from pynetdicom.pdu_primitives import (
    A_ASSOCIATE,
    ImplementationClassUIDNotification,
    MaximumLengthNotification,
)
from pynetdicom.presentation import PresentationContext, build_context
from pynetdicom.transport import AddressInformation

from pacs2bids.pacs.catalogue import Instance

NOT_SUPPORTED = 0x0122  # Refused: SOP Class not supported (PS3.7 section C.5.6)
_ASSOCIATE_AC, _ASSOCIATE_RJ, _P_DATA, _RELEASE_RP = 0x02, 0x03, 0x04, 0x06
_COMMAND, _LAST = 0x01, 0x02  # message control header, PS3.8 annex E.2
_APPLICATION_CONTEXT = UID("1.2.840.10008.3.1.1.1")
_OUR_MAXIMUM_PDU = 16384
_LARGEST_FRAGMENT = 1 << 20  # where the receiver sets no limit
_MOST_CONTEXTS = 128  # context ids are the odd numbers of one byte

log = logging.getLogger("pacs2bids.serve")


@dataclass(frozen=True, slots=True, kw_only=True)
class Destination:
    """Where a move destination listens."""

    host: str
    port: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Originator:
    """Who asked for the C-MOVE that a C-STORE serves."""

    ae_title: str
    message_id: int


class Sender:
    """An association that stores instances at ``destination``; a context manager that releases it.

    Raises OSError, also later from ``store``, if the destination cannot be reached, rejects or aborts.
    """

    def __init__(
        self,
        destination: Destination,
        instances: Iterable[Instance],
        *,
        calling_ae_title: str,
        called_ae_title: str,
        timeout_s: float = 120.0,
    ) -> None:
        address = (destination.host, destination.port)
        self._socket = socket.create_connection(address, timeout=min(timeout_s, 10.0))
        try:
            self._socket.settimeout(timeout_s)
            self._socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            self._negotiate(_contexts(instances), calling_ae_title, called_ae_title)
        except BaseException:
            self._socket.close()
            raise

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        with self._socket:
            if not isinstance(error, OSError):
                self._release()

    def store(self, instance: Instance, *, message_id: int, originator: Originator) -> int:
        """Send one file; returns the receiver's status, 0x0122 if it takes no such instance."""
        if self._socket.fileno() < 0:
            raise ConnectionAbortedError("the association is over")
        context_id = self._context_ids.get((instance.sop_class_uid, instance.transfer_syntax_uid))
        if context_id is None:
            return NOT_SUPPORTED
        _, offset = split_dataset(instance.path)
        data_set = memoryview(instance.path.read_bytes())[offset:]
        command = memoryview(_store_request(instance, message_id, originator))
        try:
            self._send(context_id, _COMMAND, command)
            self._send(context_id, 0, data_set)
            response = self._receive_command()
        except OSError:
            self._socket.close()  # so that no later instance waits as long again
            raise
        return int(decode(BytesIO(response), True, True).Status)

    # ---------------------------------------------------------------------------------------- association

    def _negotiate(self, contexts: list[PresentationContext], calling: str, called: str) -> None:
        local, remote = self._socket.getsockname(), self._socket.getpeername()
        request = A_ASSOCIATE()
        request.application_context_name = _APPLICATION_CONTEXT
        request.calling_ae_title, request.called_ae_title = calling, called
        request.calling_presentation_address = AddressInformation.from_tuple(local)
        request.called_presentation_address = AddressInformation.from_tuple(remote)
        request.presentation_context_definition_list = contexts
        length, implementation = MaximumLengthNotification(), ImplementationClassUIDNotification()
        length.maximum_length_received = _OUR_MAXIMUM_PDU
        implementation.implementation_class_uid = PYNETDICOM_IMPLEMENTATION_UID
        request.user_information = [length, implementation]
        self._socket.sendall(A_ASSOCIATE_RQ(request).encode())

        kind, body = self._receive_pdu()
        if kind == _ASSOCIATE_RJ:
            rejection = A_ASSOCIATE_RJ()
            rejection.decode(body)
            raise ConnectionRefusedError(f"association rejected: {rejection.reason_str}")
        if kind != _ASSOCIATE_AC:
            raise ConnectionAbortedError("association aborted")
        acceptance = A_ASSOCIATE_AC()
        acceptance.decode(body)
        limit = acceptance.user_information.maximum_length if acceptance.user_information else None
        self._fragment = min(limit or _LARGEST_FRAGMENT, _LARGEST_FRAGMENT) - 6
        accepted = {item.context_id for item in acceptance.presentation_context if item.result == 0}
        self._context_ids = {
            (str(context.abstract_syntax), str(context.transfer_syntax[0])): context.context_id
            for context in contexts
            if context.context_id in accepted
        }

    def _release(self) -> None:
        try:
            self._socket.sendall(A_RELEASE_RQ().encode())
            self._receive_pdu()  # its answer; whatever it is, the socket closes next
        except OSError as error:
            log.info("the destination did not answer the release: %s", error)

    # ---------------------------------------------------------------------------------------- PDUs

    def _send(self, context_id: int, control: int, message: memoryview) -> None:
        """One P-DATA-TF PDU with one fragment each, until ``message`` is sent."""
        for start in range(0, max(len(message), 1), self._fragment):
            part = message[start : start + self._fragment]
            last = _LAST if start + self._fragment >= len(message) else 0
            size = len(part)
            head = struct.pack(">BxIIBB", _P_DATA, size + 6, size + 2, context_id, control | last)
            # one write for small parts: a header on its own is a packet on its own
            self._socket.sendall(head + part)

    def _receive_command(self) -> bytes:
        command = b""
        while True:
            kind, pdu = self._receive_pdu()
            if kind != _P_DATA:
                raise ConnectionAbortedError("association aborted")
            start = 6
            while start < len(pdu):
                size, control = struct.unpack_from(">IxB", pdu, start)
                if control & _COMMAND:
                    command += pdu[start + 6 : start + 4 + size]
                    if control & _LAST:
                        return command
                start += 4 + size

    def _receive_pdu(self) -> tuple[int, bytes]:
        head = self._receive(6)
        kind, size = struct.unpack(">BxI", head)
        return kind, head + self._receive(size)

    def _receive(self, size: int) -> bytes:
        received = bytearray()
        while len(received) < size:
            part = self._socket.recv(size - len(received))
            if not part:
                raise ConnectionAbortedError("connection closed by the destination")
            received += part
        return bytes(received)


def _contexts(instances: Iterable[Instance]) -> list[PresentationContext]:
    """One context for each SOP class in each transfer syntax it is stored in."""
    pairs = dict.fromkeys((one.sop_class_uid, one.transfer_syntax_uid) for one in instances)
    contexts = []
    for number, (sop_class, syntax) in enumerate(list(pairs)[:_MOST_CONTEXTS]):
        context = build_context(sop_class, syntax)
        context.context_id = 2 * number + 1
        contexts.append(context)
    return contexts


def _store_request(instance: Instance, message_id: int, originator: Originator) -> bytes:
    """The command set of C-STORE-RQ (PS3.7 table 9.3-1), implicit VR little endian."""
    elements = b"".join(
        (
            _element(0x0002, _padded(instance.sop_class_uid, b"\0")),
            _element(0x0100, struct.pack("<H", 0x0001)),  # CommandField: C-STORE-RQ
            _element(0x0110, struct.pack("<H", message_id)),
            _element(0x0700, struct.pack("<H", 0x0000)),  # Priority: medium
            _element(0x0800, struct.pack("<H", 0x0001)),  # CommandDataSetType: there is one
            _element(0x1000, _padded(instance.sop_instance_uid, b"\0")),
            _element(0x1030, _padded(originator.ae_title, b" ")),
            _element(0x1031, struct.pack("<H", originator.message_id)),
        )
    )
    return _element(0x0000, struct.pack("<I", len(elements))) + elements


def _element(number: int, value: bytes) -> bytes:
    return struct.pack("<HHI", 0x0000, number, len(value)) + value


def _padded(text: str, filler: bytes) -> bytes:
    value = text.encode("ascii")
    return value + filler * (len(value) % 2)
