"""Our own C-STORE SCP: where a PACS sends the instances that a C-MOVE asks for.

It stores what comes byte for byte, in the transfer syntax that came, and decodes of it only what tells which
study it belongs to. What nobody asked for is refused. It listens only while ``receiving`` is open.
"""

from __future__ import annotations

import errno
import logging
import socket
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from io import BytesIO
from typing import Any

from pydicom.config import IGNORE, settings
from pydicom.dataset import Dataset, FileMetaDataset
from pydicom.filebase import DicomBytesIO
from pydicom.filereader import read_dataset
from pydicom.filewriter import write_file_meta_info
from pydicom.uid import UID, ExplicitVRLittleEndian, ImplicitVRLittleEndian
from pynetdicom import _config, build_context, evt

from pacs2bids.model import PullError
from pacs2bids.pacs.acceptor import Acceptor, Entity
from pacs2bids.pacs.inbox import Identity, Inbox, Kept, after_series, is_uid
from pacs2bids.pacs.tls import refused_caller, server_context
from pacs2bids.peers import Tls

IMPLEMENTATION_CLASS_UID = UID("2.25.38391135611779705313118730173819751004")
IMPLEMENTATION_VERSION_NAME = "PACS2BIDS"

# answers to C-STORE, PS3.4 table B.2-1 and PS3.7 annex C
SUCCESS = 0x0000
NOT_AUTHORIZED = 0x0124
OUT_OF_RESOURCES = 0xA700
DOES_NOT_MATCH = 0xA900
CANNOT_UNDERSTAND = 0xC000

_VERIFICATION = "1.2.840.10008.1.1"
_QUICKACK = getattr(socket, "TCP_QUICKACK", None)  # Linux

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
        with acceptor.serving():
            yield receiver


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
    entity.maximum_pdu_size = 0  # no limit: a PDU costs two polls of 1 ms
    entity.maximum_associations = 50
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
        (evt.EVT_C_STORE, _on_store, [inbox, receiver]),
        (evt.EVT_CONN_OPEN, _acknowledge_at_once),
        (evt.EVT_DATA_RECV, on_data, [inbox]),
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


def _acknowledge_at_once(event: Any) -> None:
    """Against a PACS with Nagle's algorithm: 20 to 128 instances/s (Linux forgets it, so after each PDU)."""
    connection = event.assoc.dul.socket.socket
    if _QUICKACK is not None and connection is not None:
        connection.setsockopt(socket.IPPROTO_TCP, _QUICKACK, 1)


def on_data(event: Any, inbox: Inbox) -> None:
    """Handler of EVT_DATA_RECV: the inbox learns that data are coming in, the sender that they came."""
    inbox.touch()
    _acknowledge_at_once(event)


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


# ---------------------------------------------------------------------------------------------- C-STORE


class _RefusalError(Exception):
    """An instance that is not kept: the status to answer, and why."""

    def __init__(self, status: int, reason: str) -> None:
        super().__init__(reason)
        self.status, self.reason = status, reason


def _on_store(event: Any, inbox: Inbox, receiver: Receiver) -> int:
    try:
        _check_originator(event.request, receiver)
    except _RefusalError as refusal:
        return _refuse(inbox, str(event.request.AffectedSOPInstanceUID), refusal)
    return store(event, inbox)


def store(event: Any, inbox: Inbox) -> int:
    """Handler of EVT_C_STORE: keep an instance of the inbox's study, or refuse it; returns the status."""
    request = event.request
    uid = str(request.AffectedSOPInstanceUID)
    try:
        identity = _identity(request, UID(event.context.transfer_syntax))
        _check_study(identity, inbox)
        kept = inbox.write(identity, [_file_head(identity), request.DataSet.getbuffer()])
    except _RefusalError as refusal:
        return _refuse(inbox, uid, refusal)
    except OSError as error:
        return _refuse(inbox, uid, _RefusalError(OUT_OF_RESOURCES, f"cannot be written: {error.strerror}"))
    if kept is Kept.CONFLICTING:
        log.warning("instance %s came again with other content; the first is kept, see quarantine", uid)
    return SUCCESS


def _refuse(inbox: Inbox, uid: str, refusal: _RefusalError) -> int:
    if refusal.status == NOT_AUTHORIZED:
        inbox.turn_away(uid)
    new = inbox.refuse(uid, refusal.reason)
    log.log(logging.WARNING if new else logging.INFO, "refused instance %.64s: %s", uid, refusal.reason)
    return refusal.status


def _check_originator(request: Any, receiver: Receiver) -> None:
    """A C-STORE that names the move it serves (PS3.7 section 9.1.1.1) must name one of ours.

    One that names none is judged by its study alone: not every PACS passes the move on.
    """
    station, message_id = request.MoveOriginatorApplicationEntityTitle, request.MoveOriginatorMessageID
    if station and message_id is not None and (station.strip(), message_id) not in receiver.moves:
        raise _RefusalError(NOT_AUTHORIZED, f"serves another move: message {message_id} of {station}")


def _check_study(identity: Identity, inbox: Inbox) -> None:
    if identity.study_instance_uid != inbox.study_instance_uid:
        raise _RefusalError(NOT_AUTHORIZED, f"belongs to study {identity.study_instance_uid}")


def _identity(request: Any, syntax: UID) -> Identity:
    uid = str(request.AffectedSOPInstanceUID)
    head = _head(request.DataSet, syntax)
    identity = Identity(
        study_instance_uid=_uid(head, "StudyInstanceUID"),
        series_instance_uid=_uid(head, "SeriesInstanceUID"),
        sop_instance_uid=_uid(head, "SOPInstanceUID"),
        sop_class_uid=str(request.AffectedSOPClassUID),
        transfer_syntax_uid=str(syntax),
    )
    if identity.sop_instance_uid != uid:
        raise _RefusalError(DOES_NOT_MATCH, f"the dataset calls itself {identity.sop_instance_uid}")
    return identity


def _head(dataset: BytesIO | None, syntax: UID) -> Dataset:
    if dataset is None:
        raise _RefusalError(CANNOT_UNDERSTAND, "came without a dataset")
    stream = dataset
    stream.seek(0)
    try:
        if syntax.is_deflated:  # PS3.5 annex A.5: raw deflate, no zlib header
            stream = BytesIO(zlib.decompressobj(-zlib.MAX_WBITS).decompress(dataset.getvalue()))
        return read_dataset(stream, syntax.is_implicit_VR, syntax.is_little_endian, stop_when=after_series)
    except Exception as error:
        # broad: on what is no DICOM, zlib and pydicom raise anything; each must become an answer and a record
        raise _RefusalError(CANNOT_UNDERSTAND, f"cannot be read: {type(error).__name__}") from error


def _uid(head: Dataset, keyword: str) -> str:
    value = str(head.get(keyword, ""))
    if not is_uid(value):
        raise _RefusalError(CANNOT_UNDERSTAND, f"has no valid {keyword}")
    return value


def _file_head(identity: Identity) -> bytes:
    """Preamble and file meta information (PS3.10 section 7.1); the same bytes for the same instance."""
    meta = FileMetaDataset()
    meta.MediaStorageSOPClassUID = UID(identity.sop_class_uid)
    meta.MediaStorageSOPInstanceUID = UID(identity.sop_instance_uid)
    meta.TransferSyntaxUID = UID(identity.transfer_syntax_uid)
    meta.ImplementationClassUID = IMPLEMENTATION_CLASS_UID
    meta.ImplementationVersionName = IMPLEMENTATION_VERSION_NAME
    stream = DicomBytesIO()
    stream.write(bytes(128) + b"DICM")
    write_file_meta_info(stream, meta, enforce_standard=True)
    return bytes(stream.getvalue())
