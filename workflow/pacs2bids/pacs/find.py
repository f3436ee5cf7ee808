"""Asking a PACS: associations that say why they failed, and C-FIND (PS3.4 section C.4.1)."""

from __future__ import annotations

import logging
import socket
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from itertools import chain, islice
from typing import Any

from pydicom.dataset import Dataset
from pynetdicom import AE, evt
from pynetdicom.association import Association
from pynetdicom.presentation import PresentationContext, build_context
from pynetdicom.sop_class import (  # type: ignore[attr-defined]  # pynetdicom makes this name at run time
    StudyRootQueryRetrieveInformationModelFind,
)

from pacs2bids.model import QueryError, UnansweredError, UnavailableError
from pacs2bids.pacs.identifiers import attributes_of, identifier_of
from pacs2bids.pacs.tls import Trouble, client_context, speaks_tls, trouble_with
from pacs2bids.peers import Attributes, PacsPeer

_CONNECT_TIMEOUT_S = 10.0
# Orthanc closes at once behind a rejection, and pynetdicom may see the end before the reason: ask again
_ATTEMPTS = 3
_LOOP_S = 0.01  # pynetdicom's loop comes by every millisecond
_AT_ONCE_S = 1.0
_NEGOTIATION_TIMEOUT_S = 30.0
_TLS_TIMEOUT_S = 3.0
_TRANSIENT = 2  # result of a rejection
# source and reason of a rejection (PS3.8 table 9-21): the calling, the called AE title is not recognised
_TITLE_HINTS: Mapping[tuple[int | None, int | None], str] = {
    (1, 3): "The PACS does not know us: have our calling_ae_title ({calling}) registered there, with this "
    "machine's address. Some say so of their own title, too: check ae_title ({called})",
    (1, 7): "Check ae_title ({called}): ask for the PACS's own AE title",
}
_ANY_TITLE_HINT = (
    "Check ae_title ({called}), and that the PACS knows our calling_ae_title ({calling}) at this host's "
    "address"
)
_UNSUPPORTED_KEYS = 0xFF01  # go on: not every optional key is supported (PS3.4 table C.4-1)
_PENDING = (0xFF00, _UNSUPPORTED_KEYS)
_MEANINGS = {
    0xA700: "out of resources",
    0xA900: "the query does not match its information model",
    0xFE00: "cancelled",
    0x0110: "processing failure",
    0x0122: "SOP class not supported",
    0x0124: "not authorized",
}

log = logging.getLogger("pacs2bids.find")


def find(
    peer: PacsPeer, level: str, question: Attributes, *, response_timeout_s: float = 120.0
) -> list[dict[str, str]]:
    """What the PACS answers to one C-FIND at ``level`` (STUDY, SERIES or IMAGE) of the Study Root model.

    ``question``: keyword -> key; "" asks for the value, other keys restrict (wildcards, ranges, UID lists).
    Each answer holds the attributes that came back, by keyword, as text. Order is the PACS's.
    ``response_timeout_s`` bounds the silence before each answer, not the whole query.
    Raises QueryError that says what happened and what to do.
    """
    return find_all(peer, level, [question], response_timeout_s=response_timeout_s)


def find_all(
    peer: PacsPeer,
    level: str,
    questions: Sequence[Attributes],
    *,
    at_most: int | None = None,
    response_timeout_s: float = 120.0,
) -> list[dict[str, str]]:
    """What the PACS answers to several questions, asked one after the other over one association.

    Raises QueryError as ``find`` does, and as soon as there are more than ``at_most`` answers.
    """
    identifiers = [_identifier(peer, level, question) for question in questions]
    answers: list[dict[str, str]] = []
    with _finding(peer, level, response_timeout_s) as finding:
        for answer in chain.from_iterable(map(finding.answers, identifiers)):
            answers.append(answer)
            if at_most is not None and len(answers) > at_most:
                hint = "Narrow the question, with a range of StudyDate for example"
                raise QueryError(f"more than {at_most:,} answers", where=str(peer), hint=hint)
    log.info("%s: %d answers at level %s", peer, len(answers), level)
    return answers


def find_some(
    peer: PacsPeer, level: str, question: Attributes, *, at_most: int, response_timeout_s: float = 120.0
) -> list[dict[str, str]]:
    """The first answers to a question; the rest is not waited for. Raises QueryError as ``find`` does."""
    identifier = _identifier(peer, level, question)
    with _finding(peer, level, response_timeout_s) as finding:
        return list(islice(finding.answers(identifier), at_most))


def _identifier(peer: PacsPeer, level: str, question: Attributes) -> Dataset:
    try:
        return identifier_of(level, question)
    except KeyError as error:
        raise QueryError(f"{error} is no DICOM keyword", where=str(peer)) from None


@dataclass(slots=True, kw_only=True)
class _Finding:
    """C-FINDs at one level over one association. ``pending``: the PACS has more to say."""

    peer: PacsPeer
    level: str
    association: Association
    response_timeout_s: float
    pending: bool = False
    unsupported: bool = False

    def answers(self, identifier: Dataset) -> Iterator[dict[str, str]]:
        """Ask one question."""
        self.pending, heard = True, time.monotonic()
        settle(self.association)
        answers = self.association.send_c_find(identifier, StudyRootQueryRetrieveInformationModelFind)
        for status, answer in answers:
            if "Status" not in status:
                raise _silent(self.peer, time.monotonic() - heard, self.response_timeout_s)
            heard = time.monotonic()
            self.unsupported = self.unsupported or status.Status == _UNSUPPORTED_KEYS
            self.pending = status.Status in _PENDING
            if self.pending and answer is not None:
                yield attributes_of(answer)
            elif status.Status != 0x0000:
                raise _failed(self.peer, self.level, status)


@contextmanager
def _finding(peer: PacsPeer, level: str, response_timeout_s: float) -> Iterator[_Finding]:
    contexts = [build_context(StudyRootQueryRetrieveInformationModelFind)]
    with associated(peer, contexts, response_timeout_s=response_timeout_s) as association:
        finding = _Finding(
            peer=peer, level=level, association=association, response_timeout_s=response_timeout_s
        )
        try:
            yield finding
        finally:
            if finding.pending and association.is_established:
                association.abort()  # a release would wait for all that the PACS still has to say
    if finding.unsupported:
        # counts that a PACS cannot give harm no pull; a condition that it does not heed may harm a query
        loudness = logging.WARNING if level == "STUDY" else logging.INFO
        what = "%s: does not support every key that it was asked for (status FF01)"
        log.log(loudness, what, peer)


@contextmanager
def associated(
    peer: PacsPeer,
    contexts: Sequence[PresentationContext],
    *,
    response_timeout_s: float = 120.0,
    handlers: Sequence[Any] = (),
    roles: Sequence[Any] = (),
) -> Iterator[Association]:
    """An association with a PACS, released at the end; ``handlers`` are pynetdicom's (event, function, args).

    ``roles``: pynetdicom's items of role selection, for contexts of which we are the SCP.

    Raises QueryError if the PACS cannot be reached, rejects us, or takes none of ``contexts``; ConfigError if
    the files of ``peer.tls`` cannot be used.
    """
    ae = AE(ae_title=peer.calling_ae_title)
    ae.connection_timeout, ae.acse_timeout = _CONNECT_TIMEOUT_S, _NEGOTIATION_TIMEOUT_S
    ae.dimse_timeout = ae.network_timeout = response_timeout_s
    handlers = [(evt.EVT_CONN_OPEN, without_delay), *handlers]
    for _ in range(_ATTEMPTS):
        begun_s = time.monotonic()
        association = _associate(ae, peer, contexts, handlers, roles)
        took_s = time.monotonic() - begun_s
        if not association.is_aborted or took_s > _AT_ONCE_S:
            break
    if not association.is_established:
        raise _unassociated(peer, association, took_s)
    try:
        yield association
    finally:
        if association.is_established:
            association.release()


def _associate(
    ae: AE,
    peer: PacsPeer,
    contexts: Sequence[PresentationContext],
    handlers: Sequence[Any],
    roles: Sequence[Any],
) -> Association:
    try:
        return ae.associate(
            peer.host,
            peer.port,
            contexts=list(contexts),
            ae_title=peer.ae_title,
            max_pdu=0,
            evt_handlers=list(handlers),
            tls_args=(client_context(peer.tls), peer.tls.server_name or peer.host) if peer.tls else None,
            ext_neg=list(roles),
        )
    except (socket.gaierror, UnicodeError) as error:  # the latter: what cannot be a host name at all
        reason = error.strerror if isinstance(error, OSError) else "it is not well formed"
        what = f"the host name {peer.host!r} is unknown: {reason}"
        raise QueryError(what, where=str(peer), hint="Check host in config.yaml") from None


def settle(association: Any) -> None:
    """Wait until pynetdicom's own loop rests; to be called before each ``send_*`` on an association of ours.

    pynetdicom 3.0.4 pauses that loop before it sends, but may take it for paused when it has just gone on
    (Association._run_reactor). The answer of a fast peer is then taken by the loop, and waited for in vain.
    """
    association._reactor_checkpoint.clear()
    time.sleep(_LOOP_S)


def without_delay(event: evt.Event) -> None:
    """Switch Nagle's algorithm off: with delayed acknowledgements it costs 40 ms for each small message."""
    connection = event.assoc.dul.socket
    if connection is not None and connection.socket is not None:
        connection.socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)


def _unassociated(peer: PacsPeer, association: Association, took_s: float) -> QueryError:
    if association.is_rejected:
        answer = association.acceptor.primitive
        reason = answer.reason_str if answer is not None else "no reason given"
        hint = _TITLE_HINTS.get(
            (answer.result_source, answer.diagnostic) if answer else (0, 0), _ANY_TITLE_HINT
        )
        hint = hint.format(called=peer.ae_title, calling=peer.calling_ae_title)
        kind = UnavailableError if _is_passing(answer) else QueryError
        return kind(f"the association was rejected: {reason}", where=str(peer), hint=hint)
    if association.rejected_contexts and not association.accepted_contexts:
        hint = "The PACS must allow query and retrieve (Study Root) to our AE title"
        return QueryError("the PACS offers no service that we asked for", where=str(peer), hint=hint)
    trouble = _why_not_connected(peer)
    if trouble is not None:
        return trouble
    # what listens there while a PACS starts accepts connections, and closes them
    what = "takes our calls and hangs up without an answer"
    hint = "Check that a DICOM server listens there, and that it allows our AE title"
    if took_s >= _NEGOTIATION_TIMEOUT_S:
        what = f"takes our calls and does not answer (no word for {took_s:.0f} s)"
        hint = "It may hang: ask those who run it; or another program listens there: check port"
    return UnansweredError(what, where=str(peer), hint=hint)


def _is_passing(rejection: Any) -> bool:
    """Whether a rejection is one for now (PS3.8 table 9-21), as of a PACS with too many associations.

    Some say so of AE titles that they do not know, too.
    """
    if rejection is None or rejection.result != _TRANSIENT:
        return False
    return (rejection.result_source, rejection.diagnostic) not in _TITLE_HINTS


def _why_not_connected(peer: PacsPeer) -> QueryError | None:
    """Connect once more to learn the reason, which pynetdicom keeps to itself."""
    trouble = None
    try:
        with socket.create_connection((peer.host, peer.port), timeout=_CONNECT_TIMEOUT_S):
            pass
        if peer.tls is not None:
            trouble = trouble_with(peer.host, peer.port, peer.tls, timeout_s=_CONNECT_TIMEOUT_S)
        elif speaks_tls(peer.host, peer.port, timeout_s=_TLS_TIMEOUT_S):
            hint = "Set tls for this source in config.yaml"
            trouble = Trouble(what="the PACS speaks TLS there, and we do not", hint=hint)
    except OSError as error:
        late = isinstance(error, TimeoutError)
        why = f" within {_CONNECT_TIMEOUT_S:.0f} s" if late else f": {error.strerror or error}"
        hint = "Check host and port, and that no firewall is in between"
        return UnavailableError(f"no connection{why}", where=str(peer), hint=hint)
    return None if trouble is None else QueryError(trouble.what, where=str(peer), hint=trouble.hint)


def _silent(peer: PacsPeer, silence_s: float, timeout_s: float) -> QueryError:
    """pynetdicom answers an abort, a lost connection and its own timeout alike; time tells them apart."""
    if silence_s < timeout_s:
        hint = (
            f"It may not know us: ask its administrator to register our AE title {peer.calling_ae_title!r} "
            "(`calling_ae_title`); else look into the log of the PACS"
        )
        return UnavailableError("the connection was broken off during the query", where=str(peer), hint=hint)
    hint = "The PACS may be busy: narrow the query, or try later"
    return QueryError(f"no answer to the query within {timeout_s:.0f} s", where=str(peer), hint=hint)


def _failed(peer: PacsPeer, level: str, status: Any) -> QueryError:
    code = int(status.Status)
    meaning = _MEANINGS.get(code, "unable to process" if 0xC000 <= code <= 0xCFFF else "failure")
    what = f"the query at level {level} failed with status {code:04X} ({meaning})"
    comment = str(status.get("ErrorComment", "")).strip()
    hint = "Look into the log of the PACS; a simpler `match` may help"
    return QueryError(f"{what}: {comment}" if comment else what, where=str(peer), hint=hint)
