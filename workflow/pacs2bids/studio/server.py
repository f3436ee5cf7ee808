"""The server of the page: one browser of this machine, whoever else asks is refused.

Everything lies under a secret word in the path, which only who started us knows. What asks by another name
than the loopback's (DNS rebinding), or from another page (its Origin), gets nothing, whatever it knows.
Python's own server suffices: a page and a dozen small questions, on the loopback alone.
"""

from __future__ import annotations

import hmac
import os
import secrets
import socket
import threading
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from http import HTTPStatus
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from importlib.resources import files
from typing import Any, TypeVar
from urllib.parse import parse_qs, urlsplit

import msgspec
from msgspec import Struct

from pacs2bids.model import ConfigError, ConversionError, Pacs2BidsError
from pacs2bids.studio import records
from pacs2bids.studio.caller import user_of
from pacs2bids.studio.desk import ConflictError, Desk
from pacs2bids.studio.document import MOST_BYTES, differences

HOST = "127.0.0.1"
MOST_BODY_BYTES = 2 * MOST_BYTES  # a text as JSON
MOST_CONNECTIONS = 40
TIMEOUT_S = 20.0  # of a connection that says nothing
HEARTBEAT_S = 10.0
ASSETS = {
    "": ("page.html", "text/html"),
    "page.css": ("page.css", "text/css"),
    "page.js": ("page.js", "text/javascript"),
    "editor.js": ("editor.js", "text/javascript"),
    "plan.js": ("plan.js", "text/javascript"),
    "apply.js": ("apply.js", "text/javascript"),
    "dom.js": ("dom.js", "text/javascript"),
    "icon.svg": ("icon.svg", "image/svg+xml"),
}
HEADERS = {
    "Content-Security-Policy": "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self';"
    " connect-src 'self'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'",
    "Cross-Origin-Opener-Policy": "same-origin",
    "Cross-Origin-Resource-Policy": "same-origin",
    "Referrer-Policy": "no-referrer",
    "X-Content-Type-Options": "nosniff",
    "Cache-Control": "no-store",
}

T = TypeVar("T")


class _Words(Struct, forbid_unknown_fields=True):
    """What the page sends. ``base``: digest of the file that the text is an edit of."""

    text: str = ""
    base: str = ""
    keys: tuple[str, ...] = ()
    session: str = ""
    study: str = ""
    series: str = ""
    stack: str = ""


class _Refused(Struct):
    """Why a question has no answer. ``digest``: of the file, if it is another than the page knew."""

    error: str
    digest: str = ""


class _Difference(Struct):
    """Lines of a unified diff from the file, as it is, to the text that was sent."""

    lines: tuple[str, ...]


class _Done(Struct):
    """Nothing more is to be said."""


@dataclass(frozen=True, slots=True, kw_only=True)
class _Answer:
    """What is sent back."""

    content: bytes
    kind: str = "application/json"
    status: HTTPStatus = HTTPStatus.OK


class StudioServer(ThreadingHTTPServer):
    """Listens on the loopback. ``port`` 0 takes a free one. Raises OSError for a port that is taken."""

    daemon_threads = True
    allow_reuse_address = True
    request_queue_size = MOST_CONNECTIONS

    def __init__(self, desk: Desk, port: int) -> None:
        self.desk = desk
        self.token = secrets.token_urlsafe(32)
        self._ticket = secrets.token_urlsafe(16)
        self._free = threading.BoundedSemaphore(MOST_CONNECTIONS)
        super().__init__((HOST, port), _Handler)
        self.hosts = {f"{name}:{self.server_port}" for name in (HOST, "localhost")}

    @property
    def url(self) -> str:
        """Of the page, with its secret."""
        return f"http://{HOST}:{self.server_port}/{self.token}/"

    @property
    def ticket_url(self) -> str:
        """Leads to the page, once: for a browser's command line, which other users can read.

        It is of no use to them where the system says who calls (Linux).
        """
        return f"http://{HOST}:{self.server_port}/{self._ticket}"

    def is_ticket(self, word: str, client: tuple[str, int]) -> bool:
        """Whether it is the ticket, and our own user shows it; it is used up by that."""
        if not self._ticket or not hmac.compare_digest(word.encode(), self._ticket.encode()):
            return False
        if user_of(client, (HOST, self.server_port)) not in (os.getuid(), None):
            return False
        self._ticket = ""
        return True

    def process_request(self, request: Any, client_address: Any) -> None:
        """Refuse more connections at a time than a page needs."""
        if self._free.acquire(blocking=False):
            super().process_request(request, client_address)
        else:
            self.shutdown_request(request)

    def process_request_thread(self, request: Any, client_address: Any) -> None:
        """Count it."""
        try:
            super().process_request_thread(request, client_address)
        finally:
            self._free.release()

    def handle_error(self, request: Any, client_address: Any) -> None:
        """Say nothing: a browser that goes away leaves broken connections."""


class _Handler(BaseHTTPRequestHandler):
    server: StudioServer
    server_version, sys_version = "pacs2bids", ""
    timeout = TIMEOUT_S

    def do_GET(self) -> None:
        path = self._path_within()
        if path is None:
            return
        if path == "events":
            self._tell_news()
        elif path == "picture":
            self._respond(lambda: self._picture(parse_qs(urlsplit(self.path).query)))
        elif path in ASSETS:
            name, kind = ASSETS[path]
            content = files("pacs2bids.studio").joinpath(name).read_bytes()
            self._send(_Answer(content=content, kind=f"{kind}; charset=utf-8"))
        else:
            self._refuse(HTTPStatus.NOT_FOUND, "there is no such page")

    def do_POST(self) -> None:
        path = self._path_within()
        if path is None:
            return
        if path not in QUESTIONS:
            self._refuse(HTTPStatus.NOT_FOUND, "there is no such question")
        elif self.headers.get_content_type() != "application/json":  # what a form of another page may send
            self._refuse(HTTPStatus.UNSUPPORTED_MEDIA_TYPE, "is no JSON")
        elif (words := self._words()) is not None:
            self._respond(lambda: _json(QUESTIONS[path](self.server.desk, words)))

    def log_message(self, *_: Any) -> None:
        """Nothing: the secret would stand there."""

    # ------------------------------------------------------------------------------------------- who may ask

    def _path_within(self) -> str | None:
        """The path behind the secret; None if the question was refused."""
        if self.headers.get("Host") not in self.server.hosts:
            self._refuse(HTTPStatus.FORBIDDEN, "this page is for this machine alone")
            return None
        origin = self.headers.get("Origin")
        if origin is not None and origin.removeprefix("http://") not in self.server.hosts:
            self._refuse(HTTPStatus.FORBIDDEN, "this page answers to itself alone")
            return None
        word, slash, path = urlsplit(self.path).path.removeprefix("/").partition("/")
        if slash and hmac.compare_digest(word.encode(), self.server.token.encode()):
            return path
        if not slash and self.server.is_ticket(word, self.client_address):
            self.send_response(HTTPStatus.SEE_OTHER)
            self.send_header("Location", f"/{self.server.token}/")
            self.end_headers()
            return None
        self._refuse(HTTPStatus.FORBIDDEN, "open the address that `pacs2bids studio` printed")
        return None

    def _words(self) -> _Words | None:
        length = self.headers.get("Content-Length", "")
        if not length.isdecimal():
            self._refuse(HTTPStatus.LENGTH_REQUIRED, "does not say how long it is")
        elif int(length) > MOST_BODY_BYTES:
            self._refuse(HTTPStatus.REQUEST_ENTITY_TOO_LARGE, "is too long")
        else:
            try:
                return msgspec.json.decode(self.rfile.read(int(length)), type=_Words)
            except (msgspec.DecodeError, UnicodeDecodeError):
                self._refuse(HTTPStatus.BAD_REQUEST, "is not what the page sends")
        return None

    # ----------------------------------------------------------------------------------------------- answers

    def _respond(self, answer: Callable[[], _Answer]) -> None:
        try:
            self._send(answer())
        except ConflictError as error:
            self._refuse(HTTPStatus.CONFLICT, str(error))
        except (Pacs2BidsError, OSError) as error:
            self._refuse(HTTPStatus.UNPROCESSABLE_ENTITY, str(error))

    def _refuse(self, status: HTTPStatus, what: str) -> None:
        self._send(_Answer(content=msgspec.json.encode(_Refused(error=what)), status=status))

    def _send(self, answer: _Answer) -> None:
        self._head(answer.status, {"Content-Type": answer.kind, "Content-Length": str(len(answer.content))})
        self.wfile.write(answer.content)

    def _head(self, status: HTTPStatus, more: Mapping[str, str]) -> None:
        self.send_response(status)
        for name, value in {**HEADERS, **more}.items():
            self.send_header(name, value)
        self.end_headers()

    def _tell_news(self) -> None:
        """Server-sent events, until the browser goes: each topic as it is, then as it changes."""
        self._head(HTTPStatus.OK, {"Content-Type": "text/event-stream"})
        self.connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        since = 0
        while True:
            since, news = self.server.desk.board.news(since, HEARTBEAT_S)
            for topic, word in news:
                self.wfile.write(b"event: %s\ndata: %s\n\n" % (topic.encode(), word))
            if not news:
                self.wfile.write(b": still here\n\n")  # a browser that has gone is told by the failure
            self.wfile.flush()

    def _picture(self, query: Mapping[str, list[str]]) -> _Answer:
        study, stack = (query.get(name, [""])[0] for name in ("study", "stack"))
        drawn = self.server.desk.pictures(study, stack)
        number = query.get("number", ["0"])[0]
        if number.isdecimal() and int(number) < len(drawn):
            return _Answer(content=drawn[int(number)].jpeg, kind="image/jpeg")
        raise ConversionError("there is no such picture", where=stack)


def _json(record: Struct) -> _Answer:
    status = HTTPStatus.CONFLICT if isinstance(record, _Refused) else HTTPStatus.OK
    return _Answer(content=msgspec.json.encode(record), status=status)


# ---------------------------------------------------------------------------------------------- questions


def _save(desk: Desk, words: _Words) -> Struct:
    try:
        desk.save(words.text, words.base)
    except ConflictError as error:
        return _Refused(error=str(error), digest=desk.document().digest)
    return desk.document()


def _compare(desk: Desk, words: _Words) -> Struct:
    return _Difference(lines=tuple(differences(desk.document().text, words.text)))


def _draft(desk: Desk, words: _Words) -> Struct:
    desk.draft(words.text)
    return _Done()


def _choose(desk: Desk, words: _Words) -> Struct:
    desk.choose(words.keys)
    return _Done()


def _series(desk: Desk, words: _Words) -> Struct:
    return desk.series(words.session, words.study, words.series)


def _changes(desk: Desk, _: _Words) -> Struct:
    return desk.changes()


def _apply(desk: Desk, words: _Words) -> Struct:
    desk.apply(words.base)
    return _Done()


def _cancel(desk: Desk, _: _Words) -> Struct:
    desk.cancel()
    return _Done()


def _pictures(desk: Desk, words: _Words) -> Struct:
    return records.Pictures(captions=tuple(one.caption for one in desk.pictures(words.study, words.stack)))


def _stop(desk: Desk, _: _Words) -> Struct:
    desk.stop()
    return _Done()


QUESTIONS: Mapping[str, Callable[[Desk, _Words], Struct]] = {
    "save": _save,
    "compare": _compare,
    "draft": _draft,
    "choose": _choose,
    "series": _series,
    "pictures": _pictures,
    "changes": _changes,
    "cancel": _cancel,
    "apply": _apply,
    "stop": _stop,
}


def listening(desk: Desk, port: int) -> StudioServer:
    """The server, which answers once it is told to ``serve_forever``. Raises ConfigError for a taken port."""
    try:
        return StudioServer(desk, port)
    except (OSError, OverflowError) as error:
        what = f"cannot listen there: {getattr(error, 'strerror', '') or error}"
        raise ConfigError(what, where=f"{HOST}:{port}", hint="Give another --port, or none") from error
