"""A DICOMweb server on loopback that answers as a test tells it: for what a real one cannot be made to do."""

from __future__ import annotations

import json
import threading
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import TypeAlias
from urllib.parse import parse_qsl, urlsplit

BOUNDARY = "a-boundary"
MULTIPART = f'multipart/related; type="application/dicom"; boundary={BOUNDARY}'


@dataclass(frozen=True, kw_only=True)
class Asked:
    """A request as it came."""

    path: str
    query: tuple[tuple[str, str], ...]
    headers: Mapping[str, str]


@dataclass(frozen=True, kw_only=True)
class Answer:
    """What to answer: pieces of the body are sent as they come; the connection is closed behind them.

    ``length``: Content-Length to claim; None: none is said, the body ends with the connection.
    """

    status: int = 200
    headers: Mapping[str, str] = field(default_factory=dict)
    body: Iterable[bytes] = ()
    length: int | None = None


Script: TypeAlias = Callable[[Asked], Answer]


@dataclass(kw_only=True)
class WebServer:
    """A server that listens. ``asked``: all requests so far."""

    url: str
    asked: list[Asked] = field(default_factory=list)


@contextmanager
def web_server(script: Script) -> Iterator[WebServer]:
    """Listen on a free port of loopback until the block ends."""

    class Handler(BaseHTTPRequestHandler):
        timeout = 20

        def do_GET(self) -> None:
            parts = urlsplit(self.path)
            asked = Asked(
                path=parts.path, query=tuple(parse_qsl(parts.query)), headers=dict(self.headers.items())
            )
            server.asked.append(asked)
            answer = script(asked)
            self.send_response(answer.status)
            for name, value in answer.headers.items():
                self.send_header(name, value)
            if answer.length is not None:
                self.send_header("Content-Length", str(answer.length))
            self.end_headers()
            for piece in answer.body:
                self.wfile.write(piece)

        def log_message(self, format: str, *arguments: object) -> None:
            """Silent."""

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as listener:
        server = WebServer(url=f"http://127.0.0.1:{listener.server_address[1]}/dicom-web")
        thread = threading.Thread(target=listener.serve_forever, kwargs={"poll_interval": 0.02}, daemon=True)
        thread.start()
        try:
            yield server
        finally:
            listener.shutdown()
            thread.join(5)


def json_answer(elements: Sequence[Mapping[str, object]]) -> Answer:
    """An answer of QIDO-RS: the elements of each match by tag (PS3.18 annex F)."""
    body = json.dumps(elements).encode()
    return Answer(headers={"Content-Type": "application/dicom+json"}, body=[body], length=len(body))
