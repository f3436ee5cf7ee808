"""Our own C-STORE SCP: where a PACS sends the instances that a C-MOVE asks for.

It stores what comes byte for byte, in the transfer syntax that came, and decodes of it only what tells which
study it belongs to. What nobody asked for is refused. It listens only while ``receiving`` is open.
"""

from __future__ import annotations

import errno
import logging
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

from pydicom.config import IGNORE, settings
from pydicom.uid import ExplicitVRLittleEndian, ImplicitVRLittleEndian
from pynetdicom import _config, build_context, evt

from pacs2bids.model import PullError
from pacs2bids.pacs.acceptor import Acceptor, Entity
from pacs2bids.pacs.heads import IMPLEMENTATION_CLASS_UID, IMPLEMENTATION_VERSION_NAME
from pacs2bids.pacs.inbox import Inbox
from pacs2bids.pacs.storing import SUCCESS, store_into
from pacs2bids.pacs.tls import refused_caller, server_context
from pacs2bids.peers import Tls

_VERIFICATION = "1.2.840.10008.1.1"
_MOST_AT_ONCE = 50
_LARGEST_PDU = 1 << 20  # bytes: what an association holds in memory at most, of data that come

log = logging.getLogger("pacs2bids.pull")


@dataclass(frozen=True, slots=True, kw_only=True)
class Address:
    """Where the receiver listens, and as whom. ``host`` "" means all interfaces, ``port`` 0 any free one.

    ``callers``: AE titles that may send; empty: any. ``tls``: with a certificate callers must speak TLS, and
    show one, too.
    """

    ae_title: str
    host: str
    port: int
    callers: tuple[str, ...] = ()
    tls: Tls | None = None

    def __str__(self) -> str:
        return f"{self.ae_title} at {self.host or '*'}:{self.port}"


@dataclass(slots=True, kw_only=True)
class Receiver:
    """A receiver that listens. ``associations``: how many were accepted. ``rejected``: who was turned away.

    ``callers``: who was let in, as "PACS at 192.0.2.1". ``insecure``: why calls were not let in that failed
    to become encrypted. ``moves``: those that we asked for, as (our AE title, message ID).
    """

    port: int
    associations: int = 0
    callers: set[str] = field(default_factory=set)
    rejected: set[str] = field(default_factory=set)
    insecure: set[str] = field(default_factory=set)
    moves: set[tuple[str, int]] = field(default_factory=set)


@contextmanager
def receiving(address: Address, inbox: Inbox) -> Iterator[Receiver]:
    """Listen, and keep what belongs to the inbox's study, until the block ends.

    Raises PullError if the port cannot be had, ConfigError if the files of ``tls`` cannot be used.
    """
    receiver = Receiver(port=address.port)
    with process_settings():
        acceptor = _acceptor(address, inbox, receiver)
        receiver.port = acceptor.server_address[1]
        try:
            with acceptor.serving():
                yield receiver
        finally:
            inbox.flush()


def _acceptor(address: Address, inbox: Inbox, receiver: Receiver) -> Acceptor:
    secured = server_context(address.tls) if address.tls and address.tls.certificate else None
    try:
        return Acceptor(
            _application_entity(address),
            (address.host, address.port),
            handlers=_handlers(address, inbox, receiver),
            secured=secured,
            on_insecure=lambda host, error: _on_insecure(address, receiver, host, error),
        )
    except OSError as error:
        raise _cannot_listen(address, error) from error


def _application_entity(address: Address) -> Entity:
    entity = Entity(ae_title=address.ae_title)
    entity.implementation_class_uid = IMPLEMENTATION_CLASS_UID
    entity.implementation_version_name = IMPLEMENTATION_VERSION_NAME
    entity.require_called_aet = True
    entity.require_calling_aet = list(address.callers)
    entity.maximum_pdu_size = _LARGEST_PDU
    entity.maximum_associations = _MOST_AT_ONCE
    entity.acse_timeout = 10
    entity.dimse_timeout = entity.network_timeout = 600
    entity.supported_contexts = [build_context(_VERIFICATION)]  # whoever sets up the PACS tests with C-ECHO
    return entity


@contextmanager
def process_settings() -> Iterator[None]:
    """Settings that pynetdicom and pydicom have for the whole process, for as long as instances come."""
    before = _config.UNRESTRICTED_STORAGE_SERVICE, _config.LOG_HANDLER_LEVEL
    modes = settings.reading_validation_mode, settings.writing_validation_mode
    # private SOP classes too (Siemens CSA, 1.3.12.2.1107.5.9.1): one refused context ends an Orthanc move
    _config.UNRESTRICTED_STORAGE_SERVICE = True
    _config.LOG_HANDLER_LEVEL = "none"  # its log of each message takes time, and names patients
    # what a UID must be is said by is_uid; pydicom warns on standard error for each of them
    settings.reading_validation_mode = settings.writing_validation_mode = IGNORE
    try:
        yield
    finally:
        _config.UNRESTRICTED_STORAGE_SERVICE, _config.LOG_HANDLER_LEVEL = before
        settings.reading_validation_mode, settings.writing_validation_mode = modes


def _cannot_listen(address: Address, error: OSError) -> PullError:
    where = f"receiver {address}"
    if error.errno == errno.EADDRINUSE:
        hint = (
            f"See who has it with 'ss -ltnp sport = :{address.port}' and end that program, "
            "or set another receive_port and register it at the PACS"
        )
        return PullError(f"port {address.port} is taken by another program", where=where, hint=hint)
    what = f"cannot listen: {error.strerror or error}"
    return PullError(what, where=where, hint="Check receive_host and receive_port")


# ---------------------------------------------------------------------------------------------- association


def _handlers(address: Address, inbox: Inbox, receiver: Receiver) -> list[tuple[Any, ...]]:
    return [
        (evt.EVT_C_ECHO, lambda _: SUCCESS),
        (evt.EVT_CONN_OPEN, lambda event: store_into(inbox, event.assoc, receiver.moves)),
        (evt.EVT_REQUESTED, _prefer_explicit),
        (evt.EVT_ACCEPTED, _on_accepted, [receiver]),
        (evt.EVT_REJECTED, _on_rejected, [address, receiver]),
    ]


def _prefer_explicit(event: Any) -> None:
    """Where a context offers Explicit VR Little Endian, take it before Implicit.

    pynetdicom accepts the first transfer syntax on offer, and many PACS name Implicit first: it makes them
    decompress, and loses the VR of private elements.
    """
    for context in event.assoc.requestor.primitive.presentation_context_definition_list:
        offered = list(context.transfer_syntax)
        if offered[0] == ImplicitVRLittleEndian and ExplicitVRLittleEndian in offered:
            context.transfer_syntax = [*offered[1:], offered[0]]


def _on_accepted(event: Any, receiver: Receiver) -> None:
    receiver.associations += 1
    requestor = event.assoc.requestor
    receiver.callers.add(f"{requestor.primitive.calling_ae_title} at {requestor.address}")


def _on_rejected(event: Any, address: Address, receiver: Receiver) -> None:
    caller, called = (
        event.assoc.requestor.primitive.calling_ae_title,
        event.assoc.requestor.primitive.called_ae_title,
    )
    receiver.rejected.add(caller)
    allowed = ", ".join(address.callers) or "anybody"
    log.warning(
        "receiver %s: turned away a call of %s to %s; only %s may send here", address, caller, called, allowed
    )


def _on_insecure(address: Address, receiver: Receiver, host: str, error: OSError) -> None:
    why = refused_caller(error)
    level = logging.INFO if why in receiver.insecure else logging.WARNING
    receiver.insecure.add(why)
    log.log(level, "receiver %s: a call from %s failed to become encrypted: %s", address, host, why)
