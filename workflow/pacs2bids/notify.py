"""Tell people how a run ended: a webhook, a command that gets the text on its standard input, or both.

A message holds counts, session keys and errors, which never identify a patient. Who cannot be reached is a
warning and fails nothing: the run is over, and its exit code tells the same. The address of a webhook may be
a secret itself: messages name its host alone.
"""

from __future__ import annotations

import logging
import os
import shlex
import socket
import subprocess
import threading
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import urlsplit

import msgspec

from pacs2bids.files import read_record, write_record
from pacs2bids.model import Json, Pacs2BidsError
from pacs2bids.peers import Notify, Secret
from pacs2bids.status import SessionStatus, Status
from pacs2bids.text import counted, printable

LAST = "notified.json"
_MOST_SESSIONS = 100  # in one message
_LONGEST_S = 30.0  # for the webhook as a whole, and for the command
_CONNECT_S = 10.0

log = logging.getLogger("pacs2bids.notify")


@dataclass(frozen=True, slots=True, kw_only=True)
class Told:
    """``notified.json``: what needed a person when that was told last: "session state: why"."""

    problems: tuple[str, ...] = ()


def notify(how: Notify, status: Status, workdir: Path) -> str:
    """Tell it, if it is to be told now (``Notify.when``); returns by which ways it was told, "" if not."""
    record = workdir / LAST
    # a list: of the dataset there may be several lines
    now = Told(problems=tuple(f"{line.session} {line.state}: {line.why}" for line in status.problems))
    if not _is_due(how.when, now, record):
        return ""
    told = []
    if how.webhook and _posted(how, _message(status, workdir)):
        told.append("webhook")
    if how.mail and _mailed(how.mail, text_of(status, workdir)):
        told.append("mail")
    if len(told) == bool(how.webhook) + bool(how.mail):  # else it is tried again after the next run
        write_record(record, now)
    return " and ".join(told)


def text_of(status: Status, workdir: Path) -> str:
    """The same for a person: one line a session that needs one."""
    problems = status.problems
    lines = [f"pacs2bids on {socket.gethostname()}, {workdir.resolve()}", status.summary, ""]
    lines += [printable(str(line)) for line in problems[:_MOST_SESSIONS]]
    if len(problems) > _MOST_SESSIONS:
        lines.append(f"and {len(problems) - _MOST_SESSIONS:,} more: pacs2bids status --problems")
    return "\n".join(lines if problems else [*lines, "Nothing needs a person."]) + "\n"


def _is_due(when: str, now: Told, record: Path) -> bool:
    if when == "always":
        return True
    if when == "problems":
        return bool(now.problems)
    try:
        last = read_record(record, Told) if record.exists() else Told()
    except Pacs2BidsError:
        return True
    return now != last


def _message(status: Status, workdir: Path) -> dict[str, Json]:
    problems = status.problems
    return {
        "host": socket.gethostname(),
        "workdir": str(workdir.resolve()),
        "summary": status.summary,
        "text": text_of(status, workdir),  # what Slack, Mattermost and Teams show
        "counts": dict(status.counts),
        "problems": len(problems),
        "sessions": _sessions(problems[:_MOST_SESSIONS]),
    }


def _sessions(lines: Sequence[SessionStatus]) -> list[Json]:
    return [{"session": line.session, "state": line.state.value, "why": line.why} for line in lines]


# ------------------------------------------------------------------------------------------ a webhook


def _posted(how: Notify, message: Mapping[str, Json]) -> bool:
    """POST it as JSON, for a bounded time: a server that drips must not hold up the end of a run."""
    outcome: list[str] = []
    thread = threading.Thread(target=lambda: outcome.append(_post(how, message)), daemon=True)
    thread.start()
    thread.join(_LONGEST_S)
    trouble = outcome[0] if outcome else f"no answer within {_LONGEST_S:.0f} s"
    if trouble:
        host = urlsplit(how.webhook).hostname
        log.warning("the webhook at %s was not told: %s", host, trouble)
    return not trouble


def _post(how: Notify, message: Mapping[str, Json]) -> str:
    """What went wrong, "" if nothing; exceptions of libraries name the address, so their text is not told."""
    import urllib3  # noqa: PLC0415 - only where there is a webhook

    headers = {"Content-Type": "application/json"}
    if how.token is not None:
        token = _secret(how.token)
        if not token:
            return "its token cannot be read, or is no token"
        headers["Authorization"] = f"Bearer {token}"
    pool = urllib3.PoolManager(
        retries=False, timeout=urllib3.Timeout(connect=_CONNECT_S, read=_LONGEST_S), num_pools=1
    )
    try:
        response = pool.request(
            "POST",
            how.webhook,
            body=msgspec.json.encode(message),
            headers=headers,
            redirect=False,
            preload_content=False,
        )
    except (urllib3.exceptions.HTTPError, OSError, ValueError) as error:
        return type(error).__name__
    response.close()
    return "" if 200 <= response.status < 300 else f"it answers HTTP {response.status}"


def _secret(secret: Secret) -> str:
    """The first line of its file, or the environment variable; "" if there is none that a header can hold."""
    try:
        text = secret.file.read_text() if secret.file else os.environ.get(secret.env, "")
    except (OSError, UnicodeDecodeError):
        return ""
    first = text.partition("\n")[0].strip()
    return first if first.isascii() and first.isprintable() and " " not in first else ""


# ------------------------------------------------------------------------------------------ a command


def _mailed(command: str, text: str) -> bool:
    """Give it to the command, without a shell."""
    words = shlex.split(command)
    try:
        done = subprocess.run(
            words, input=text.encode(), capture_output=True, timeout=_LONGEST_S, check=False
        )
    except subprocess.TimeoutExpired:
        log.warning("the command %r did not end within %.0f s: it is stopped", words[0], _LONGEST_S)
        return False
    except OSError as error:
        log.warning("the command %r cannot be run: %s", words[0], error.strerror)
        return False
    if done.returncode:
        said = printable(" ".join(done.stderr.decode(errors="replace").split())[:200])
        log.warning("the command %r failed (%d): %s", words[0], done.returncode, said)
    return not done.returncode


def closing_lines(status: Status, most: int = 50) -> str:
    """What a run says at its end: one line a session that needs a person, and the sum."""
    problems = status.problems
    lines = [printable(str(line)) for line in problems[:most]]
    if len(problems) > most:
        lines.append(f"and {counted(len(problems) - most, 'line')} more: pacs2bids status --problems")
    return "\n".join([*lines, status.summary])
