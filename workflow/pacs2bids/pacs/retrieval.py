"""C-MOVE and C-GET of the embedded PACS: which instances, to whom, and what is said about it.

Status and counters follow PS3.4 sections C.4.2 and C.4.3. A move that matches nothing ends with 0000 and 0
completed, as dcmqrscp answers it; an unreachable destination with A702 and the list of what was not sent.
"""

from __future__ import annotations

import itertools
import logging
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from io import BytesIO
from typing import Any

from pydicom.dataset import Dataset
from pydicom.errors import InvalidDicomError
from pynetdicom.association import Association
from pynetdicom.dimse_primitives import C_GET
from pynetdicom.dsutils import decode, encode
from pynetdicom.service_class import ServiceClass

from pacs2bids.pacs.catalogue import LEVELS, UNIQUE_KEYS, Catalogue, Instance
from pacs2bids.pacs.identifiers import attributes_of, text_of
from pacs2bids.pacs.sender import NOT_SUPPORTED, Destination, Originator, Sender

# PS3.4 tables C.4-1 to C.4-3
SUCCESS, PENDING, CANCELLED, SOME_FAILED = 0x0000, 0xFF00, 0xFE00, 0xB000
ALL_FAILED, UNKNOWN_DESTINATION, BAD_IDENTIFIER, CANNOT_PROCESS = 0xA702, 0xA801, 0xA900, 0xC000
_WARNINGS = (0xB000, 0xB006, 0xB007)  # of C-STORE: stored, but (PS3.4 table B.2-1)
_SECONDS_BETWEEN_PROGRESS = 0.2  # pending responses are optional; one for each instance costs a third

log = logging.getLogger("pacs2bids.serve")


@dataclass(slots=True)
class _Counters:
    """Sub-operations of one retrieval (PS3.7 section 9.3.4.2)."""

    remaining: int
    completed: int = 0
    warning: int = 0
    failed: list[str] = field(default_factory=list)

    def count(self, instance: Instance, status: int | None) -> None:
        """One C-STORE ended; None: it got no answer."""
        self.remaining -= 1
        if status == SUCCESS:
            self.completed += 1
        elif status in _WARNINGS:
            self.warning += 1
        else:
            self.failed.append(instance.sop_instance_uid)

    @property
    def final_status(self) -> int:
        if self.failed and not self.completed and not self.warning:
            return ALL_FAILED
        return SOME_FAILED if self.failed or self.warning else SUCCESS


@dataclass(frozen=True, slots=True, kw_only=True)
class Retrieval:
    """One C-MOVE or C-GET, from its request to its final response."""

    association: Association
    catalogue: Catalogue
    ae_title: str
    destinations: Mapping[str, Destination]
    request: Any
    context: Any

    def run(self) -> None:
        """Serve the request; the final response is sent when this returns, unless the other side left."""
        instances = self._selected()
        if isinstance(instances, int):
            self._respond(instances, _Counters(0))
        elif isinstance(self.request, C_GET):
            self._transfer(instances, self._store_here)
        else:
            self._move(instances)

    def _selected(self) -> list[Instance] | int:
        """What is asked for, or the status that refuses it."""
        syntax = self.context.transfer_syntax[0]
        try:
            identifier = decode(self.request.Identifier, syntax.is_implicit_VR, syntax.is_little_endian)
            level, question = text_of(identifier, "QueryRetrieveLevel"), attributes_of(identifier)
        except Exception as error:  # noqa: BLE001 - pydicom raises anything on what is no DICOM
            log.warning("an identifier cannot be read: %s", type(error).__name__)
            return CANNOT_PROCESS
        if level not in LEVELS or not question.get(UNIQUE_KEYS[level]):
            return BAD_IDENTIFIER
        keys = {name: question[name] for name in UNIQUE_KEYS.values() if question.get(name)}
        return self.catalogue.select(level, keys)

    def _move(self, instances: list[Instance]) -> None:
        name = str(self.request.MoveDestination).strip()
        destination = self.destinations.get(name)
        if destination is None:
            log.warning(
                "C-MOVE to the unknown destination %r; start with --destination %s=HOST:PORT", name, name
            )
            self._respond(UNKNOWN_DESTINATION, _Counters(0))
            return
        if not instances:
            self._respond(SUCCESS, _Counters(0))
            return
        originator = Originator(
            ae_title=str(self.association.requestor.ae_title), message_id=self.request.MessageID
        )
        try:
            sender = Sender(destination, instances, calling_ae_title=self.ae_title, called_ae_title=name)
        except OSError as error:
            log.warning("C-MOVE to %s (%s:%d): %s", name, destination.host, destination.port, error)
            failed = [one.sop_instance_uid for one in instances]
            self._respond(ALL_FAILED, _Counters(0, failed=failed))
            return
        with sender:
            self._transfer(
                instances,
                lambda instance, number: sender.store(instance, message_id=number, originator=originator),
            )

    def _store_here(self, instance: Instance, number: int) -> int | None:
        try:
            status = self.association.send_c_store(instance.path, msg_id=number)
        except (ValueError, AttributeError, OSError) as error:  # no context for it; no file meta; gone
            log.info("C-GET of %s: %s", instance.sop_instance_uid, error)
            return NOT_SUPPORTED
        return int(status.Status) if "Status" in status else None

    def _transfer(self, instances: list[Instance], store: Callable[[Instance, int], int | None]) -> None:
        counters = _Counters(len(instances))
        is_cancelled = ServiceClass(self.association).is_cancelled
        message_ids = itertools.cycle(range(1, 65536))
        told = time.monotonic()
        for instance in instances:
            if self.association.acse.is_aborted():
                return
            if is_cancelled(self.request.MessageID):
                self._respond(CANCELLED, counters)
                return
            counters.count(instance, _tried(store, instance, next(message_ids)))
            if counters.remaining and time.monotonic() - told > _SECONDS_BETWEEN_PROGRESS:
                self._respond(PENDING, counters)
                told = time.monotonic()
        if counters.failed:
            log.warning("%d of %d instances were not taken", len(counters.failed), len(instances))
        self._respond(counters.final_status, counters)

    def _respond(self, status: int, counters: _Counters) -> None:
        response = type(self.request)()
        response.MessageID = response.MessageIDBeingRespondedTo = self.request.MessageID
        response.AffectedSOPClassUID = self.request.AffectedSOPClassUID
        response.Status = status
        if status in (PENDING, CANCELLED):
            response.NumberOfRemainingSuboperations = counters.remaining
        response.NumberOfCompletedSuboperations = counters.completed
        response.NumberOfWarningSuboperations = counters.warning
        response.NumberOfFailedSuboperations = len(counters.failed)
        if counters.failed and status != PENDING:
            response.Identifier = self._failed_list(counters.failed)
        self.association.dimse.send_msg(response, self.context.context_id)

    def _failed_list(self, uids: list[str]) -> Any:
        identifier = Dataset()
        identifier.FailedSOPInstanceUIDList = uids
        syntax = self.context.transfer_syntax[0]
        return BytesIO(encode(identifier, syntax.is_implicit_VR, syntax.is_little_endian) or b"")


def _tried(store: Callable[[Instance, int], int | None], instance: Instance, number: int) -> int | None:
    """The status of one C-STORE; None if the connection broke or the file has gone or has no preamble."""
    try:
        return store(instance, number)
    except (OSError, ValueError, InvalidDicomError) as error:
        log.info("%s was not sent: %s", instance.sop_instance_uid, error)
        return None
