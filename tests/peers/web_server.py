"""A DICOMweb server on loopback that answers as a test tells it: for what a real one cannot be made to do."""

from __future__ import annotations

import json
import ssl
import threading
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import TypeAlias
from urllib.parse import parse_qsl, urlsplit

import pydicom

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
def web_server(script: Script, context: ssl.SSLContext | None = None) -> Iterator[WebServer]:
    """Listen on a free port of loopback until the block ends; ``context``: by https."""

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
        if context is not None:
            listener.socket = context.wrap_socket(
                listener.socket, server_side=True, do_handshake_on_connect=False
            )
        scheme = "http" if context is None else "https"
        server = WebServer(url=f"{scheme}://127.0.0.1:{listener.server_address[1]}/dicom-web")
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


def multipart(contents: Iterable[bytes], *, counted: bool = True, closed: bool = True) -> list[bytes]:
    """A body of ``contents``; ``counted``: parts say how long they are; ``closed``: with its end."""
    pieces = list[bytes]()
    for content in contents:
        length = f"Content-Length: {len(content)}\r\n" if counted else ""
        head = f"\r\n--{BOUNDARY}\r\nContent-Type: application/dicom\r\n{length}\r\n"
        pieces += [head.encode(), content]
    return [*pieces, f"\r\n--{BOUNDARY}--\r\n".encode()] if closed else pieces


def instances(contents: Iterable[bytes], *, counted: bool = True, closed: bool = True) -> Answer:
    """An answer of WADO-RS."""
    return Answer(
        headers={"Content-Type": MULTIPART}, body=multipart(contents, counted=counted, closed=closed)
    )


@dataclass(kw_only=True)
class WebPacs:
    """A script: a server that has some studies.

    ``held``: StudyInstanceUID -> SeriesInstanceUID -> SOPInstanceUID -> file. ``retrieve``: how it answers
    WADO-RS, to be changed by a test.
    """

    held: dict[str, dict[str, dict[str, bytes]]]
    retrieve: Callable[[Asked, list[bytes]], Answer] = lambda _, contents: instances(contents)

    def __call__(self, asked: Asked) -> Answer:
        """Answer QIDO-RS or WADO-RS."""
        words = asked.path.removeprefix("/dicom-web/").split("/")
        level, uids = words[::2], words[1::2]
        if len(level) > len(uids):
            found: Mapping[str, object] = self.held
            for uid in uids:
                found = found.get(uid, {})  # type: ignore[assignment]
            return self._search(asked, level[-1], found)
        contents = [
            content
            for series, inside in self.held.get(uids[0], {}).items()
            for uid, content in inside.items()
            if uids[1:] in ([], [series], [series, uid])
        ]
        return self.retrieve(asked, contents) if contents else Answer(status=404, length=0)

    def _search(self, asked: Asked, level: str, found: Mapping[str, object]) -> Answer:
        key, count = {
            "studies": ("0020000D", "00201208"),
            "series": ("0020000E", "00201209"),
            "instances": ("00080018", "00280008"),
        }[level]
        uids = sorted(found)[int(dict(asked.query)["offset"]) :]
        return json_answer(
            [
                {
                    key: {"vr": "UI", "Value": [uid]},
                    count: {"vr": "IS", "Value": [len(found[uid])]},  # type: ignore[arg-type]
                }
                for uid in uids
            ]
        )


def web_pacs(paths: Iterable[Path]) -> WebPacs:
    """A server that has these files."""
    held: dict[str, dict[str, dict[str, bytes]]] = {}
    for path in paths:
        header = pydicom.dcmread(path, stop_before_pixels=True)
        series = held.setdefault(header.StudyInstanceUID, {}).setdefault(header.SeriesInstanceUID, {})
        series[header.SOPInstanceUID] = path.read_bytes()
    return WebPacs(held=held)
