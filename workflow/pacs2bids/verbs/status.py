"""``pacs2bids status``: where each session stands and why."""

from __future__ import annotations

import argparse
from pathlib import Path

import msgspec

from pacs2bids.model import ConfigError, DatasetError
from pacs2bids.status import SessionStatus, Status, status_of
from pacs2bids.text import counted


def configure(parser: argparse.ArgumentParser) -> None:
    """Declare the arguments."""
    parser.add_argument(
        "--workdir", type=Path, default=Path("work"), help="where the stages leave their files (work)"
    )
    parser.add_argument("--problems", action="store_true", help="only those that need a person")
    parser.add_argument("--json", action="store_true", help="as JSON, for programs")


def run(arguments: argparse.Namespace) -> str:
    """Print a line a session. Raises DatasetError if some need a person, so that the exit code tells it."""
    if not arguments.workdir.is_dir():
        hint = "Give the workdir of the configuration: --workdir FOLDER"
        raise ConfigError("is no folder", where=str(arguments.workdir), hint=hint)
    status = status_of(arguments.workdir)
    lines = status.problems if arguments.problems else status.lines
    shown = _json(status, lines) if arguments.json else _text(status, lines)
    problems = len(status.problems)
    if not problems:
        return shown
    print(shown, flush=True)  # noqa: T201 - before the error, which says that there is something to do
    needs = "needs" if problems == 1 else "need"
    raise DatasetError(f"{counted(problems, 'line')} above {needs} a person")


def _text(status: Status, lines: tuple[SessionStatus, ...]) -> str:
    width = max((len(line.session) for line in lines), default=0)
    rows = [f"{line.session.ljust(width)}  {str(line).removeprefix(line.session).lstrip()}" for line in lines]
    if status.at_work:
        rows.append(f"A run is at work: {status.at_work}")
    return "\n".join([*rows, status.summary])


def _json(status: Status, lines: tuple[SessionStatus, ...]) -> str:
    content = {
        "sessions": lines,
        "counts": status.counts,
        "problems": len(status.problems),
        "at_work": status.at_work,
    }
    return msgspec.json.format(msgspec.json.encode(content), indent=2).decode()
