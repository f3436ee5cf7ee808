"""A small PACS over a folder: C-ECHO, C-FIND, C-MOVE and C-GET (PS3.4 annexes A and C).

For the demo, the tests, and users who want to try a configuration: it listens on loopback unless told
otherwise, keeps nothing, and takes nothing in. pynetdicom negotiates and runs each association. Retrieval is
our own: pynetdicom names itself, not the station that asked, as the originator of a move, and encodes every
data set anew; here the stored bytes are sent as they are (see ``sender``).
"""

from __future__ import annotations

import logging
import socket
import threading
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from socketserver import BaseServer
from types import MappingProxyType
from typing import Any

from pydicom.dataset import Dataset
from pydicom.uid import ExplicitVRLittleEndian, ImplicitVRLittleEndian
from pynetdicom import AE, _config, evt
from pynetdicom.association import Association
from pynetdicom.dimse_primitives import C_GET, C_MOVE
from pynetdicom.sop_class import (  # type: ignore[attr-defined]  # pynetdicom makes these names at run time
    PatientRootQueryRetrieveInformationModelFind,
    PatientRootQueryRetrieveInformationModelGet,
    PatientRootQueryRetrieveInformationModelMove,
    StudyRootQueryRetrieveInformationModelFind,
    StudyRootQueryRetrieveInformationModelGet,
    StudyRootQueryRetrieveInformationModelMove,
    Verification,
)
from pynetdicom.transport import RequestHandler, ThreadedAssociationServer

from pacs2bids.model import ConfigError
from pacs2bids.pacs.catalogue import LEVELS, UNIQUE_KEYS, Catalogue, scan, tell_leftovers
from pacs2bids.pacs.contents import plain_contents_of
from pacs2bids.pacs.find import without_delay
from pacs2bids.pacs.identifiers import attributes_of, identifier_of, text_of
from pacs2bids.pacs.retrieval import BAD_IDENTIFIER, CANCELLED, PENDING, Retrieval
from pacs2bids.pacs.sender import Destination
from pacs2bids.text import counted

AE_TITLE = "PACS2BIDS_PACS"
# Somebody who tries a configuration has our own receiver, with the defaults of config.yaml
DEFAULT_DESTINATIONS = MappingProxyType({"PACS2BIDS": Destination(host="127.0.0.1", port=11112)})

_QUERY_MODELS = (
    Verification,
    PatientRootQueryRetrieveInformationModelFind,
    PatientRootQueryRetrieveInformationModelGet,
    PatientRootQueryRetrieveInformationModelMove,
    StudyRootQueryRetrieveInformationModelFind,
    StudyRootQueryRetrieveInformationModelGet,
    StudyRootQueryRetrieveInformationModelMove,
)

_PATIENCE_S = 5.0  # for a thread to end

log = logging.getLogger("pacs2bids.serve")


@dataclass(frozen=True, slots=True, kw_only=True)
class EmbeddedPacs:
    """What is served, where, and to whom it may move. ``port`` is the true one, even if 0 was asked for."""

    catalogue: Catalogue
    ae_title: str
    host: str
    port: int
    destinations: Mapping[str, Destination]

    def __str__(self) -> str:
        studies = self.catalogue.studies
        series, instances = sum(len(one.series) for one in studies), sum(1 for _ in self.catalogue.instances)
        destinations = ", ".join(f"{name}={to.host}:{to.port}" for name, to in self.destinations.items())
        held = (
            f"{counted(len(studies), 'study', 'studies')}, {series} series, {counted(instances, 'instance')}"
        )
        return (
            f"{held} of {self.catalogue.root} "
            f"served as {self.ae_title} at {self.host}:{self.port}, moving to {destinations or 'nobody'}"
        )


@contextmanager
def serving(
    folder: Path,
    *,
    host: str = "127.0.0.1",
    port: int = 0,
    ae_title: str = AE_TITLE,
    destinations: Mapping[str, Destination] = DEFAULT_DESTINATIONS,
    any_title: bool = True,
) -> Iterator[EmbeddedPacs]:
    """Serve ``folder`` from threads of this process while the block runs; port 0 takes a free one.

    Calls to another title than ``ae_title`` are rejected (PS3.8 table 9-21) unless ``any_title``.

    Raises ConfigError if the folder does not exist or the port is taken.
    """
    # a PACS hands on what it has, cut or not: to keep that back would hide the loss from who asks
    catalogue = scan(folder, plain_contents_of, with_cut=True)
    tell_leftovers(catalogue, folder)
    with _process_settings():
        server = _listen(catalogue, host, port, ae_title, destinations)
        server.ae.require_called_aet = not any_title
        thread = threading.Thread(target=server.serve_forever, args=(0.05,), name="pacs", daemon=True)
        thread.start()
        try:
            yield server.pacs
        finally:
            with ExitStack() as steps:  # each is taken though one before it fails; errors still show
                steps.callback(server.hang_up)
                steps.callback(thread.join)
                server.shutdown()


@contextmanager
def _process_settings() -> Iterator[None]:
    """Settings that pynetdicom has for the whole process, for as long as we serve."""
    names = (
        "STORE_SEND_CHUNKED_DATASET",
        "LOG_HANDLER_LEVEL",
        "LOG_REQUEST_IDENTIFIERS",
        "LOG_RESPONSE_IDENTIFIERS",
    )
    before = {name: getattr(_config, name) for name in names}
    _config.STORE_SEND_CHUNKED_DATASET = True  # C-GET: files as they are
    _config.LOG_HANDLER_LEVEL = "none"  # its log of each message takes time, and names patients
    _config.LOG_REQUEST_IDENTIFIERS = _config.LOG_RESPONSE_IDENTIFIERS = False
    try:
        yield
    finally:
        for name, value in before.items():
            setattr(_config, name, value)


# ------------------------------------------------------------------------------------------------ network


class _Server(ThreadedAssociationServer):
    """pynetdicom's server, which also knows what it serves."""

    pacs: EmbeddedPacs

    def shutdown(self) -> None:
        """Stop listening, and wait for the calls that are being taken.

        pynetdicom's own raises ValueError: it takes the server off a list of its AE on which only
        ``AE.start_server`` puts it.
        """
        BaseServer.shutdown(self)
        self.server_close()

    def hang_up(self) -> None:
        """Close all connections, and see their threads end: they use settings that are put back next.

        No A-ABORT: pynetdicom's state machine raises if the caller has not yet asked for an association. A
        connection that is closed is an event in all of its states (PS3.8 table 9-10).
        """
        associations = self.active_associations
        for association in associations:
            connection = association.dul.socket
            if connection is not None and connection.socket is not None:
                with suppress(OSError):  # the other side was first
                    connection.socket.shutdown(socket.SHUT_RDWR)
            if association.requestor.primitive is None:
                association.dul.to_user_queue.put(None)  # wakes the thread as the end of its timeout would
            association.kill()
        for association in associations:
            association.join(_PATIENCE_S)


class _Connection(RequestHandler):
    """Gives each association of pynetdicom our own retrieval."""

    def _create_association(self) -> Association:
        association = super()._create_association()
        association.__class__ = _RetrievingAssociation
        return association


class _RetrievingAssociation(Association):
    """An association that answers C-MOVE and C-GET itself and leaves all else to pynetdicom."""

    def _serve_request(self, msg: Any, context_id: int) -> None:
        context = self._accepted_cx.get(context_id)
        if context is None or not isinstance(msg, C_MOVE | C_GET) or not msg.is_valid_request:
            super()._serve_request(msg, context_id)
            return
        assert isinstance(self._server, _Server)
        self.dimse.cancel_req = {}
        self._is_paused = True  # send_c_store waits for it
        try:
            pacs = self._server.pacs
            Retrieval(
                association=self,
                catalogue=pacs.catalogue,
                ae_title=pacs.ae_title,
                destinations=pacs.destinations,
                request=msg,
                context=context,
            ).run()
        except Exception as error:
            # not its words: they may quote a header; --debug is for who looks for the defect
            what = "a retrieval failed and was broken off: unexpected %s; --debug shows where"
            log.log(logging.ERROR, what, type(error).__name__, exc_info=log.isEnabledFor(logging.DEBUG))
            self.abort()
        finally:
            self._is_paused = False
            self.dimse.cancel_req = {}


def _listen(
    catalogue: Catalogue, host: str, port: int, ae_title: str, destinations: Mapping[str, Destination]
) -> _Server:
    ae = AE(ae_title=ae_title)
    ae.maximum_pdu_size = 0
    ae.maximum_associations = 50
    ae.acse_timeout, ae.dimse_timeout, ae.network_timeout = 10, 600, 600
    for model in _QUERY_MODELS:
        ae.add_supported_context(model, [ExplicitVRLittleEndian, ImplicitVRLittleEndian])
    for sop_class, syntaxes in _stored_forms(catalogue).items():
        # C-GET: the requestor may take the role of the SCP, and only that (PS3.7 section D.3.3.4)
        ae.add_supported_context(sop_class, syntaxes, scu_role=False, scp_role=True)
    handlers: list[Any] = [
        (evt.EVT_CONN_OPEN, without_delay),
        (evt.EVT_C_FIND, _answer, [catalogue, ae_title]),
    ]
    try:
        server = ae.make_server(
            (host, port), evt_handlers=handlers, server_class=_Server, request_handler=_Connection
        )
    except OSError as error:
        hint = "Another program listens there; choose another --port" if port else "Check --host"
        where = f"{host}:{port}"
        raise ConfigError(f"cannot listen: {error.strerror}", where=where, hint=hint) from None
    assert isinstance(server, _Server)
    server.pacs = EmbeddedPacs(
        catalogue=catalogue,
        ae_title=ae_title,
        host=host,
        port=server.server_address[1],
        destinations=dict(destinations),
    )
    return server


def _stored_forms(catalogue: Catalogue) -> dict[str, list[str]]:
    """SOP class -> transfer syntaxes in which its instances are stored."""
    forms: dict[str, list[str]] = {}
    for instance in catalogue.instances:
        syntaxes = forms.setdefault(instance.sop_class_uid, [])
        if instance.transfer_syntax_uid not in syntaxes:
            syntaxes.append(instance.transfer_syntax_uid)
    return forms


# ------------------------------------------------------------------------------------------------ C-FIND


def _answer(event: evt.Event, catalogue: Catalogue, ae_title: str) -> Iterator[tuple[int, Dataset | None]]:
    level, question = text_of(event.identifier, "QueryRetrieveLevel"), attributes_of(event.identifier)
    if level not in LEVELS:
        yield BAD_IDENTIFIER, None
        return
    asked = (*question, UNIQUE_KEYS[level])
    for row in catalogue.find(level, question):
        if event.is_cancelled:
            yield CANCELLED, None
            return
        answer = {keyword: row[keyword] for keyword in asked if keyword in row}
        yield PENDING, identifier_of(level, answer | {"RetrieveAETitle": ae_title})
