"""WADO-RS: retrieving from a DICOMweb server (PS3.18 section 10.4), as a transport.

A study is brought series by series, so that a stream that breaks costs no more than the rest of one series;
one at a time, or as many as ``courtesy.moves`` allows. What is here already and comes again with the rest of
its series is passed over.
Instances come as the server stores them (transfer-syntax=*) and are kept byte for byte as they flow by: of
one, no more than its header and a chunk is in memory. What came whole before a break stays.
"""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from functools import partial

import urllib3
from msgspec.structs import replace
from urllib3.exceptions import HTTPError

from pacs2bids.model import Pacs2BidsError, QueryError, TransferStatus
from pacs2bids.pacs.inbox import Inbox, is_uid
from pacs2bids.pacs.transport import Errand, Explanation, Request, explained
from pacs2bids.pacs.web import AnswerError, Client
from pacs2bids.pacs.web_find import searched
from pacs2bids.pacs.web_keep import DICOM, Keeper
from pacs2bids.pacs.web_multipart import BrokenError, Part, boundary_of, media_type, parts
from pacs2bids.peers import WADO, WebPeer
from pacs2bids.reading import Reader

# in the order of trial: as stored; as the server likes; whatever it takes for the default
_ACCEPT = (
    f'multipart/related; type="{DICOM}"; transfer-syntax=*',
    f'multipart/related; type="{DICOM}"',
    "*/*",
)
_NOT_ACCEPTABLE = (400, 406, 415)  # the first: Orthanc's answer
_MOST_IN_VAIN = 10  # questions
_BROKEN = ""

log = logging.getLogger("pacs2bids.pull")


@contextmanager
def retrieving(web: WebPeer, inbox: Inbox) -> Iterator[WadoTransport]:
    """WADO-RS into ``inbox``. Raises ConfigError if secrets or certificates are of no use."""
    yield WadoTransport(Client(web), inbox)


class WadoTransport:
    """WADO-RS; a ``Transport``."""

    way = WADO
    asks_one_by_one = True

    def __init__(self, client: Client, inbox: Inbox) -> None:
        self.client, self.inbox = client, inbox
        # of all transfers together, which may run at once themselves
        self.turns = threading.Semaphore(max(1, client.web.courtesy.moves))
        self.accept = 0  # number of the media type that the server gives
        self.is_heard = False  # by the server, whatever it answers of what we ask for
        self.has_given = False

    @property
    def reached_us(self) -> bool:
        """Whether the server let us in and took our questions."""
        return self.is_heard

    @contextmanager
    def transferring(self, request: Request) -> Iterator[Retrieval]:
        """Ask for it; the answers are read in a thread. Raises QueryError if the first is no answer to us."""
        retrieval = Retrieval(self, request)
        try:
            retrieval.wait_for_answer()
            yield retrieval
        finally:
            retrieval.abandon()

    def explanation(self, last: TransferStatus) -> Explanation:
        """The server's last words."""
        told = explained(last, "the server")
        cause = f"{told.cause} ({last.comment})" if last.comment else told.cause
        return Explanation(cause=cause, hint=told.hint)


class Retrieval(Errand):
    """Answers that are being read, ``courtesy.moves`` at a time; a ``Transfer``.

    Its ``status`` is of HTTP: "200" if all came whole, "" if an answer broke off, else the last refusal.
    """

    def __init__(self, transport: WadoTransport, request: Request) -> None:
        self.status = TransferStatus(way=WADO, level=request.level, status=_BROKEN)
        self.last_word_s = self.last_progress_s = time.monotonic()
        self._transport, self._inbox = transport, transport.inbox
        self._client = transport.client.waiting_by(self._wait)
        self._keeper = Keeper(transport.inbox)
        self._answered, self._stopped = threading.Event(), threading.Event()
        self._error: Pacs2BidsError | None = None  # instead of a first answer
        self._failure: Pacs2BidsError | BrokenError | OSError | None = None  # that ended all
        self._troubles: list[AnswerError | BrokenError] = []  # with single series or instances
        self._responses: set[urllib3.BaseHTTPResponse] = set()
        super().__init__("WADO-RS", partial(self._bring, request))

    def wait_for_answer(self) -> None:
        """Until the first answer begins. Raises QueryError if there is none, or would be none to anything."""
        self._answered.wait()
        if self._error is not None:
            raise self._error

    def abandon(self) -> None:
        """Read no further."""
        self._stopped.set()
        for response in tuple(self._responses):
            with suppress(ValueError, RuntimeError, OSError):  # it was read to its end just now
                response.shutdown()  # wakes the reader up
        self.join(2.0)

    # ------------------------------------------------------------------------------------------ in the thread

    def _bring(self, request: Request) -> None:
        try:
            paths = self._paths(request)
            left = iter(paths)  # one for all: of a list, several threads may take from it
            # threads that hold up no end of the program: each may wait for the server for minutes
            at_once = min(len(paths), self._client.web.courtesy.moves)
            others = [Errand("WADO-RS", partial(self._go_through, left)) for _ in range(1, at_once)]
            self._go_through(left)
            for other in others:
                other.join()
        except (Pacs2BidsError, BrokenError) as error:
            self._failure = error
        finally:
            if isinstance(self._failure, Pacs2BidsError) and not self._answered.is_set():
                self._error = self._failure
            self._conclude()
            self._answered.set()

    def _go_through(self, paths: Iterator[str]) -> None:
        try:
            for path in paths:
                self._in_turn(path)
        except (Pacs2BidsError, BrokenError, OSError) as error:  # the last of our disk: the inbox knows
            self._failure = self._failure or error

    def _wait(self, seconds: float) -> None:
        if self._stopped.wait(seconds):
            raise BrokenError("abandoned")

    def _conclude(self) -> None:
        last = self._failure or (self._troubles[-1] if self._troubles else None)
        if last is None and self._stopped.is_set():
            last = BrokenError("abandoned")
        of_http = str(last.status) if isinstance(last, AnswerError) else _BROKEN
        self.status = replace(
            self.status,
            status="200" if last is None else of_http,
            completed=self._keeper.completed,
            failed=len(self._troubles),
            comment="" if last is None else _words_of(last),
        )

    def _in_turn(self, path: str) -> None:
        with self._transport.turns:
            if not self._stopped.is_set():
                self._try(path)

    def _try(self, path: str) -> None:
        """Ask for one resource; what cannot be had is noted, what bodes ill for all others is raised."""
        try:
            self._retrieve(path)
        except (AnswerError, BrokenError) as error:
            if isinstance(error, AnswerError) and _is_meant_for_all(error.status):
                self._stopped.set()
                raise
            log.info("WADO-RS %s: %s", path, _words_of(error))
            self._troubles.append(error)
            self._transport.is_heard = True
            if len(self._troubles) >= _MOST_IN_VAIN and not self._transport.has_given:
                self._stopped.set()  # leave it alone
        except BaseException:
            self._stopped.set()
            raise

    def _paths(self, request: Request) -> list[str]:
        study = f"/studies/{request.study_instance_uid}"
        series = f"{study}/series/{request.series_instance_uid}"
        if request.sop_instance_uids:
            return [f"{series}/instances/{uid}" for uid in request.sop_instance_uids]
        if request.series_instance_uid:
            return [series]
        question = {"StudyInstanceUID": request.study_instance_uid, "SeriesInstanceUID": ""}
        found = searched(self._client, "SERIES", question)
        uids = [one.get("SeriesInstanceUID", "") for one in found]
        return [f"{study}/series/{uid}" for uid in uids if is_uid(uid)]

    def _retrieve(self, path: str) -> None:
        for number in range(self._transport.accept, len(_ACCEPT)):
            try:
                with self._client.get(path, accept=_ACCEPT[number]) as response:
                    self._transport.accept = number  # the next will be alike
                    self._responses.add(response)
                    try:
                        return self._read(response)
                    finally:
                        self._responses.discard(response)
            except AnswerError as error:
                if error.status not in _NOT_ACCEPTABLE or number + 1 == len(_ACCEPT):
                    raise
                log.info("WADO-RS: the server does not give %s", _ACCEPT[number])
        return None

    def _read(self, response: urllib3.BaseHTTPResponse) -> None:
        said = response.headers.get("Content-Type", "")
        kind, boundary = media_type(said), boundary_of(said)
        is_multipart = kind == "multipart/related" and boundary
        if response.status == 204:
            return
        if kind != DICOM and not is_multipart:
            what = f"the answer to WADO-RS calls itself {kind:.60}, which is no DICOM"
            hint = "Check url in config.yaml; it may also be a page to log in: check token or password"
            raise QueryError(what, where=str(self._client.web), hint=hint)
        self.last_word_s = self.last_progress_s = time.monotonic()
        self._transport.is_heard = self._transport.has_given = True
        self._answered.set()
        reader = Reader()
        if is_multipart:
            for part in parts(lambda size: self._chunk(response, size), boundary):
                self._keeper.keep(part, reader)
        else:
            length = response.headers.get("Content-Length", "")
            known = int(length) if length.isdecimal() else None
            content = self._single(response, known)
            self._keeper.keep(Part(content_type=kind, length=known, content=content), reader)

    def _chunk(self, response: urllib3.BaseHTTPResponse, size: int) -> bytes:
        if self._stopped.is_set():
            raise BrokenError("abandoned")
        try:
            chunk = response.read1(size)
        except HTTPError as error:
            raise BrokenError(f"the connection broke ({type(error).__name__})") from None
        self._inbox.touch()
        return chunk

    def _single(self, response: urllib3.BaseHTTPResponse, length: int | None) -> Iterator[bytes]:
        """An instance that is the whole answer."""
        size = 0
        while chunk := self._chunk(response, 1 << 18):
            size += len(chunk)
            yield chunk
        if length is not None and size != length:
            raise BrokenError(f"it ends after {size:,} of {length:,} bytes")


def _is_meant_for_all(status: int) -> bool:
    """Whether what was answered to one question would be answered to the next: sent elsewhere, not let in."""
    return 300 <= status < 400 or status in (401, 403, 429, 503)


def _words_of(error: Exception) -> str:
    if isinstance(error, OSError):
        return f"cannot be written: {error.strerror}"
    return error.what if isinstance(error, Pacs2BidsError) else str(error)
