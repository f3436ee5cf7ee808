"""Does a source work for us, and if not, why? Step by step, from the connection to one instance that comes.

A PACS must know us three times over: it must accept our calls, allow us to query, and know where to send.
Each has its own way to fail, and of the last a PACS says little. So it is tried: one instance is found and
moved to each of our slots. Nothing of a patient is told, and what comes is thrown away unless it is wanted.
"""

from __future__ import annotations

import http.client
import secrets
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, replace
from datetime import date, timedelta
from functools import partial
from pathlib import Path
from typing import TypeAlias

from pydicom.uid import UID
from pynetdicom.association import Association
from pynetdicom.presentation import build_context
from pynetdicom.sop_class import (  # type: ignore[attr-defined]  # pynetdicom makes these names at run time
    StudyRootQueryRetrieveInformationModelFind,
    StudyRootQueryRetrieveInformationModelGet,
    StudyRootQueryRetrieveInformationModelMove,
    Verification,
)

from pacs2bids.model import Pacs2BidsError, Reason, TransferStatus, UnansweredError
from pacs2bids.pacs import web_find
from pacs2bids.pacs.catalogue import scan
from pacs2bids.pacs.find import associated, find_some, settle
from pacs2bids.pacs.get import getting
from pacs2bids.pacs.inbox import Inbox, is_uid
from pacs2bids.pacs.move import MoveTransport, moving
from pacs2bids.pacs.transport import SPOKEN, Request, Transport, Way
from pacs2bids.pacs.web_retrieve import retrieving
from pacs2bids.peers import GET, MOVE, WADO, Attributes, FolderSource, PacsPeer, Source, WebPeer
from pacs2bids.text import counted, listed

# (level, question, how many answers) -> the first answers
FindSome: TypeAlias = Callable[[str, Attributes, int], Sequence[Mapping[str, str]]]

_WINDOWS_DAYS = (7, 90, 1000)  # back from today: a PACS is not asked for all that it has
_MOST_NAMED = 5  # files
_LOOKED_AT = 20  # studies, or series, of which the smallest is taken
_LONGEST_S = 60.0  # for one instance to come
_QUIET_S = 5.0  # after the source said that it has sent it: some say so first
_QUIET_AFTER_FAILURE_S = 1.0
_POLL_S = 0.1
_HTTP_TIMEOUT_S = 3.0
# what the final status of a C-MOVE means if the PACS never called us (PS3.4 table C.4-2)
_NEVER_CALLED = {
    "0000": "the PACS says that it sent an instance, and not to us: it has another address, or port, for us",
    "A702": "the PACS could not reach us: it has another address or port for us, or a firewall is in between",
    "A801": "the PACS does not know this move destination",
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Step:
    """One thing that was tried. ``said``: what came of it. ``hint``: what to do if it is not ``ok``."""

    name: str
    ok: bool
    said: str
    hint: str = ""

    def __str__(self) -> str:
        line = f"{'ok  ' if self.ok else 'FAIL'}  {self.name}: {self.said}"
        return f"{line}. {self.hint}" if self.hint else line


@dataclass(frozen=True, slots=True, kw_only=True)
class Sample:
    """Which instance to bring, and where to: ``study``, "" for any; ``folder``, None to throw it away."""

    study: str = ""
    folder: Path | None = None


def ping(source: Source, sample: Sample) -> Iterator[Step]:
    """Try all that a query and a pull will need of ``source``; ends with the first step that others need."""
    if isinstance(source, FolderSource):
        yield from _ping_folder(source)
    elif isinstance(source, WebPeer):
        yield from _ping_web(source, sample)
    else:
        yield from _ping_pacs(source, sample)


def _failed(name: str, error: Pacs2BidsError) -> Step:
    return Step(name=name, ok=False, said=error.what, hint=error.hint)


def _ping_folder(source: FolderSource) -> Iterator[Step]:
    try:
        catalogue = scan(source.path)
    except Pacs2BidsError as error:
        yield _failed("folder", error)
        return
    studies = counted(len(catalogue.studies), "study", "studies")
    instances = counted(sum(1 for _ in catalogue.instances), "instance")
    hint = "" if catalogue.studies else "Check path in config.yaml"
    said = f"{studies}, {instances}, {len(catalogue.leftovers):,} other files"
    yield Step(name="folder", ok=bool(catalogue.studies), said=said, hint=hint)
    if unreadable := [one for one in catalogue.leftovers if one.reason is Reason.UNREADABLE]:
        names = listed([f"{one.path}: {one.detail}" for one in unreadable], _MOST_NAMED, separator="; ")
        said = names if len(unreadable) == 1 else f"{len(unreadable):,} cannot be read: {names}"
        hint = "Mend or remove them: no study that they may belong to can be pulled"
        yield Step(name="files", ok=False, said=said, hint=hint)


def _ping_web(web: WebPeer, sample: Sample) -> Iterator[Step]:
    def find(level: str, question: Attributes, at_most: int) -> Sequence[Mapping[str, str]]:
        return web_find.find_some(web, level, question, at_most=at_most)

    ways = [(SPOKEN[WADO], Way(name=WADO, opening=partial(retrieving, web)))]
    yield from _query_and_retrieve("QIDO-RS", find, ways, sample)


def _ping_pacs(peer: PacsPeer, sample: Sample) -> Iterator[Step]:
    services: set[str] = set()
    yield from _call(peer, services)
    if "C-FIND" not in services:
        return

    def find(level: str, question: Attributes, at_most: int) -> Sequence[Mapping[str, str]]:
        return find_some(peer, level, question, at_most=at_most)

    ways = [
        one for way in peer.retrieve for one in _ways(peer, way) if way == WADO or SPOKEN[way] in services
    ]
    yield from _query_and_retrieve("C-FIND", find, ways, sample)


def _ways(peer: PacsPeer, name: str) -> Iterator[tuple[str, Way]]:
    """A way to retrieve, of C-MOVE one to each slot; and what to call it."""
    if name == MOVE:
        for slot in peer.slots:
            opening = partial(moving, replace(peer, slots=(slot,)), turn_s=0.0)
            yield f"{SPOKEN[MOVE]} to {slot}", Way(name=MOVE, opening=opening)
    elif name == GET:
        yield SPOKEN[GET], Way(name=GET, opening=partial(getting, peer))
    elif peer.web is not None:
        yield SPOKEN[WADO], Way(name=WADO, opening=partial(retrieving, peer.web))


# ------------------------------------------------------------------------------------------------ the call


def _call(peer: PacsPeer, services: set[str]) -> Iterator[Step]:
    """Connection, association, C-ECHO, and which services the PACS offers to us."""
    wanted = {
        Verification: "C-ECHO",
        StudyRootQueryRetrieveInformationModelFind: "C-FIND",
        StudyRootQueryRetrieveInformationModelMove: SPOKEN[MOVE],
        StudyRootQueryRetrieveInformationModelGet: SPOKEN[GET],
    }
    needed = ["C-FIND", *(SPOKEN[way] for way in peer.retrieve if way != WADO)]
    started_s = time.monotonic()
    try:
        with associated(peer, [build_context(one) for one in wanted], response_timeout_s=30.0) as association:
            services |= {wanted[context.abstract_syntax] for context in association.accepted_contexts}
            status = _echo(association) if "C-ECHO" in services else None
    except Pacs2BidsError as error:
        yield _what_listens(peer, error) or _failed("C-ECHO", error)
        return
    yield _echoed(peer, status, services, time.monotonic() - started_s)
    for service in (one for one in needed if one not in services):
        hint = f"Ask those who run the PACS to allow Study Root {service} to {peer.calling_ae_title}"
        yield Step(name=service, ok=False, said="the PACS does not offer it to us", hint=hint)


def _echo(association: Association) -> int | None:
    settle(association)
    status = association.send_c_echo()
    return int(status.Status) if "Status" in status else None


def _echoed(peer: PacsPeer, status: int | None, services: set[str], seconds: float) -> Step:
    tls = " over TLS" if peer.tls else ""
    if "C-ECHO" not in services:
        said = f"{peer.ae_title} takes our call as {peer.calling_ae_title}{tls}, and has no C-ECHO"
        return Step(name="C-ECHO", ok=True, said=said)
    if status != 0:
        said = "no answer" if status is None else f"status {status:04X}"
        return Step(name="C-ECHO", ok=False, said=said, hint="Look into the log of the PACS")
    said = f"{peer.ae_title} answers {peer.calling_ae_title}{tls}, {seconds * 1000:.0f} ms"
    return Step(name="C-ECHO", ok=True, said=said)


def _what_listens(peer: PacsPeer, error: Pacs2BidsError) -> Step | None:
    """Better words where a server took our call and answered with nothing that we understand."""
    if not isinstance(error, UnansweredError) or peer.tls is not None:
        return None
    connection = http.client.HTTPConnection(peer.host, peer.port, timeout=_HTTP_TIMEOUT_S)
    try:
        connection.request("HEAD", "/")
        connection.getresponse()
    except (OSError, http.client.HTTPException):
        return None
    finally:
        connection.close()
    hint = f"Check port ({peer.port}): the PACS's DICOM port is another"
    return Step(name="C-ECHO", ok=False, said="a web server listens there, and no DICOM server", hint=hint)


# ------------------------------------------------------------------------------------------------ an instance


def _query_and_retrieve(
    service: str, find: FindSome, ways: Sequence[tuple[str, Way]], sample: Sample
) -> Iterator[Step]:
    try:
        study, said = _a_study(find, sample.study)
        instance = _an_instance(find, study) if study and ways else None
    except Pacs2BidsError as error:
        yield _failed(service, error)
        return
    seen = bool(study) or not sample.study
    hint = "" if study else "If it should have some, ask whether we may see them"
    yield Step(name=service, ok=seen, said=said, hint=hint)
    for name, way in ways:
        if instance is None:
            hint = "" if sample.study else "Name a study that the source has with --study"
            said = "not tried: there is no instance to try it with"
            yield Step(name=name, ok=False, said=said, hint=hint)
        else:
            yield _brought(name, way, instance, sample.folder)


def _a_study(find: FindSome, wanted: str) -> tuple[str, str]:
    """The StudyInstanceUID of a study to try things with, "" if there is none; and what to tell of it."""
    question = {"StudyInstanceUID": wanted, "StudyDate": "", "ModalitiesInStudy": ""}
    question["NumberOfStudyRelatedInstances"] = ""
    if wanted:
        found = find("STUDY", question, 1)
        return (wanted, "has that study") if found else ("", "does not have that study")
    today = date.today()
    for days in _WINDOWS_DAYS:
        since = f"{today - timedelta(days=days):%Y%m%d}-"
        found = find("STUDY", {**question, "StudyDate": since}, _LOOKED_AT)
        if found:
            return _smallest(found, "Study"), f"answers; it has studies of the last {days} days"
    found = find("STUDY", question, _LOOKED_AT)
    return (_smallest(found, "Study"), "answers") if found else ("", "answers, and shows us no study")


def _an_instance(find: FindSome, study: str) -> Request | None:
    """One instance of the smallest series."""
    keys = {"StudyInstanceUID": study, "SeriesInstanceUID": "", "Modality": ""}
    series = _smallest(find("SERIES", {**keys, "NumberOfSeriesRelatedInstances": ""}, _LOOKED_AT), "Series")
    if not series:
        return None
    keys = {"StudyInstanceUID": study, "SeriesInstanceUID": series, "SOPInstanceUID": ""}
    uids = [one.get("SOPInstanceUID", "") for one in find("IMAGE", keys, 1)]
    if not uids or not is_uid(uids[0]):
        return None
    return Request(study_instance_uid=study, series_instance_uid=series, sop_instance_uids=(uids[0],))


def _smallest(found: Sequence[Mapping[str, str]], level: str) -> str:
    """The UID of the one with the fewest instances, of MR if there is any; "" if there is none."""

    def rank(one: Mapping[str, str]) -> tuple[bool, int]:
        modalities = one.get("ModalitiesInStudy", "") + one.get("Modality", "")
        count = one.get(f"NumberOf{level}RelatedInstances", "")
        return "MR" not in modalities, int(count) if count.isdecimal() else 1 << 30

    usable = [one for one in found if is_uid(one.get(f"{level}InstanceUID", ""))]
    return min(usable, key=rank)[f"{level}InstanceUID"] if usable else ""


def _brought(name: str, way: Way, request: Request, folder: Path | None) -> Step:
    """Bring one instance, and tell how it came or why it did not."""
    with ExitStack() as stack:
        private = folder or Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="pacs2bids-ping-")))
        # one for each trial: what an earlier one brought would count as come
        inbox = Inbox(private / secrets.token_hex(4), request.study_instance_uid)
        try:
            transport = stack.enter_context(way.opening(inbox))
            return _transferred(name, transport, inbox, request)
        except Pacs2BidsError as error:
            return _failed(name, error)


def _transferred(name: str, transport: Transport, inbox: Inbox, request: Request) -> Step:
    started_s = time.monotonic()
    (uid,) = request.sop_instance_uids
    with transport.transferring(request) as transfer:
        until_s = started_s + _LONGEST_S
        is_over = False
        while not inbox.holds(uid) and time.monotonic() < until_s:
            inbox.wait(_POLL_S)
            if transfer.finished and not is_over:
                is_over = True
                quiet_s = _QUIET_S if transfer.status.status == "0000" else _QUIET_AFTER_FAILURE_S
                until_s = min(until_s, time.monotonic() + quiet_s)
        seconds = time.monotonic() - started_s
        transfer.join(_QUIET_S)
    if not inbox.holds(uid):
        return _not_brought(name, transport, inbox, transfer.status)
    (received,) = inbox.received
    syntax = UID(received.transfer_syntax_uid).name
    callers = ", ".join(sorted(transport.callers)) if isinstance(transport, MoveTransport) else ""
    origin = f" from {callers}" if callers else ""
    said = f"an instance came{origin} after {seconds:.1f} s ({received.bytes:,} bytes, {syntax})"
    return Step(name=name, ok=True, said=said)


def _not_brought(name: str, transport: Transport, inbox: Inbox, last: TransferStatus) -> Step:
    told = transport.explanation(last)
    said, hint = told.cause, told.hint
    if transport.reached_us:
        hint = "Look into the log of the source"
        said += "".join(f"; we refused the instance: {one.reason}" for one in inbox.refused[:1])
    elif last.status in _NEVER_CALLED and "never called us" in said:
        said = f"{_NEVER_CALLED[last.status]} ({last.status})"
    return Step(name=name, ok=False, said=said, hint=hint)
