"""How people are told of a run: to a real HTTP server on loopback, and by a real command."""

from __future__ import annotations

import json
import socket
import sys
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path

import pytest

from pacs2bids.model import ConfigError
from pacs2bids.notify import closing_lines, notify, text_of
from pacs2bids.peers import Notify, Secret
from pacs2bids.status import SessionStatus, Standing, Status

FINE = SessionStatus(session="sub-01", state=Standing.PLACED, why="12 volumes")
BAD = SessionStatus(session="sub-02", state=Standing.FAILED, why="not received: the PACS is away", log="l")


class Hook:
    """What a webhook was told; ``status``: its answer. A redirect leads to itself."""

    def __init__(self) -> None:
        self.told: list[tuple[str, str, dict[str, object]]] = []
        self.status = 200
        hook = self

        class Handler(BaseHTTPRequestHandler):
            def do_POST(self) -> None:
                body = self.rfile.read(int(self.headers["Content-Length"]))
                hook.told.append((self.path, self.headers.get("Authorization", ""), json.loads(body)))
                self.send_response(hook.status)
                self.send_header("Location", "/elsewhere")
                self.end_headers()

            def log_message(self, format: str, *args: object) -> None:
                pass

        self.server = HTTPServer(("127.0.0.1", 0), Handler)
        self.url = f"http://127.0.0.1:{self.server.server_port}/hook/secret-in-the-path"


@pytest.fixture
def hook() -> Iterator[Hook]:
    made = Hook()
    thread = threading.Thread(target=made.server.serve_forever)
    thread.start()
    yield made
    made.server.shutdown()
    thread.join()
    made.server.server_close()


def status(*lines: SessionStatus) -> Status:
    return Status(lines=lines)


def test_webhook_gets_counts_and_reasons(hook: Hook, tmp_path: Path) -> None:
    token = tmp_path / "token"
    token.write_text("abc.def\nsecond line\n")
    how = Notify(webhook=hook.url, token=Secret(file=token))
    assert notify(how, status(FINE, BAD), tmp_path) == "webhook"
    ((path, who, message),) = hook.told
    assert path == "/hook/secret-in-the-path"
    assert who == "Bearer abc.def"
    assert message["counts"] == {"placed": 1, "failed": 1}
    assert message["sessions"] == [
        {"session": "sub-02", "state": "failed", "why": "not received: the PACS is away"}
    ]
    assert message["summary"] == "2 sessions: 1 placed, 1 failed"


@pytest.mark.parametrize("answer", [500, 404, 302])
def test_webhook_that_fails_is_a_warning_without_its_address(
    hook: Hook, tmp_path: Path, caplog: pytest.LogCaptureFixture, answer: int
) -> None:
    hook.status = answer
    how = Notify(webhook=hook.url, when="changes")
    for _ in range(2):  # what was not told is tried again
        assert notify(how, status(BAD), tmp_path) == ""
    assert len(hook.told) == 2
    assert f"127.0.0.1 was not told: it answers HTTP {answer}" in caplog.text
    assert "secret-in-the-path" not in caplog.text


def test_webhook_that_nobody_serves_is_a_warning(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    with socket.socket() as taken:  # and does not listen
        taken.bind(("127.0.0.1", 0))
        how = Notify(webhook=f"http://127.0.0.1:{taken.getsockname()[1]}/secret")
        assert notify(how, status(BAD), tmp_path) == ""
    assert "127.0.0.1 was not told" in caplog.text
    assert "secret" not in caplog.text


def test_webhook_without_its_token_is_not_called(hook: Hook, tmp_path: Path) -> None:
    how = Notify(webhook=hook.url, token=Secret(file=tmp_path / "none"))
    assert notify(how, status(BAD), tmp_path) == ""
    assert not hook.told


def mailing(tmp_path: Path, words: str = "") -> tuple[Notify, Path]:
    """A command that keeps what it gets."""
    script, box = tmp_path / "keep.py", tmp_path / "box"
    script.write_text(f"import sys\nopen({str(box)!r}, 'a').write(sys.stdin.read() + '--\\n')\n{words}")
    return Notify(mail=f"'{sys.executable}' '{script}' -s 'to me'"), box


def test_mail_gets_a_line_a_session(tmp_path: Path) -> None:
    how, box = mailing(tmp_path)
    assert notify(how, status(FINE, BAD), tmp_path) == "mail"
    lines = box.read_text().splitlines()
    assert "2 sessions: 1 placed, 1 failed" in lines
    assert "sub-02  failed: not received: the PACS is away (see l)" in lines
    assert not any("sub-01" in line for line in lines)


@pytest.mark.parametrize("words", ["sys.exit('no such list')", ""])
def test_command_that_fails_is_a_warning(
    tmp_path: Path, caplog: pytest.LogCaptureFixture, words: str
) -> None:
    how, _ = mailing(tmp_path, words)
    if not words:
        how = Notify(mail="/nowhere/mail -s x")
    assert notify(how, status(BAD), tmp_path) == ""
    assert ("no such list" if words else "cannot be run") in caplog.text


@pytest.mark.parametrize(
    ("when", "told"),
    [
        ("always", [True, True, True, True, True]),
        ("problems", [False, True, True, False, False]),
        ("changes", [False, True, False, True, False]),
    ],
)
def test_when_it_is_told(tmp_path: Path, when: str, told: list[bool]) -> None:
    """Nights: all fine, one fails, the same still fails, all fine again, still."""
    how, _ = mailing(tmp_path)
    how = Notify(mail=how.mail, when=when)
    nights = [status(FINE), status(FINE, BAD), status(FINE, BAD), status(FINE), status(FINE)]
    assert [bool(notify(how, night, tmp_path)) for night in nights] == told


def test_each_line_of_the_dataset_counts(tmp_path: Path) -> None:
    how = Notify(mail=mailing(tmp_path)[0].mail, when="changes")
    query, check = (
        SessionStatus(session="dataset", state=Standing.FAILED, why=why) for why in ("query", "check")
    )
    nights = [status(query, check), status(query, check), status(check), status(FINE)]
    assert [bool(notify(how, night, tmp_path)) for night in nights] == [True, False, True, True]


def test_a_thousand_problems_are_not_a_thousand_lines() -> None:
    many = status(*(SessionStatus(session=f"sub-{n}", state=Standing.FAILED, why="x") for n in range(1000)))
    assert len(closing_lines(many).splitlines()) == 52
    assert "and 900 more" in text_of(many, Path())
    assert "Nothing needs a person" in text_of(status(FINE), Path())


def test_configuration(tmp_path: Path) -> None:
    from pacs2bids.config import load_config  # noqa: PLC0415 - only here

    path = tmp_path / "config.yaml"
    start = (
        "sources: {disk: {kind: folder, path: x}}\nstudies: {table: t.tsv}\nheuristic: h.py\n"
        "dataset: {name: n}\nnotify: "
    )

    def read(text: str) -> Notify | None:
        path.write_text(start + text)
        return load_config(path).notify

    assert read("{webhook: 'https://chat.example/a?b=c', token: {env: T}, when: changes}") == Notify(
        webhook="https://chat.example/a?b=c", token=Secret(env="T"), when="changes"
    )
    assert read("{mail: mail -s x me@example.org}") == Notify(mail="mail -s x me@example.org")
    for text, says in {
        "{webhook: 'http://chat.example/secret'}": "https://",
        "{webhook: 'https://me:word@chat.example/'}": "https://",
        "{when: always}": "'webhook' or 'mail'",
        "{mail: x, token: {env: T}}": "'token' needs 'webhook'",
        "{mail: 'mail \"'}": "is no command",
        "{mail: x, when: never}": "'never' is not allowed",
    }.items():
        with pytest.raises(ConfigError) as error:
            read(text)
        assert says in str(error.value)
        assert "secret" not in str(error.value)
        assert "word" not in str(error.value).replace("password", "")
