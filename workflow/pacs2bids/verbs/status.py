"""``pacs2bids status``: where each session stands and why."""

from __future__ import annotations

import argparse
from pathlib import Path

import msgspec

from pacs2bids.config import Config
from pacs2bids.model import ConfigError, DatasetError
from pacs2bids.roster import edited_since
from pacs2bids.status import SessionStatus, Status, status_of
from pacs2bids.text import counted
from pacs2bids.verbs._workdir import CONFIG, config_of, of_config, there


def configure(parser: argparse.ArgumentParser) -> None:
    """Declare the arguments."""
    parser.add_argument(
        "--workdir",
        type=Path,
        help="where the stages leave their files; default: the configuration's",
    )
    parser.add_argument(
        "--config",
        type=Path,
        default=CONFIG,
        metavar="FILE",
        help="the configuration, also for what its studies table has gained or lost since (%(default)s)",
    )
    parser.add_argument("--problems", action="store_true", help="only those that need a person")
    parser.add_argument("--json", action="store_true", help="as JSON, for programs")


def run(arguments: argparse.Namespace) -> str:
    """Print a line a session.

    Raises DatasetError if some need a person, so that the exit code tells it, and ConfigError if it cannot be
    known where the workdir is.
    """
    config = _config(arguments)
    workdir = there(arguments.workdir or of_config(config))
    status = status_of(workdir)
    lines = status.problems if arguments.problems else status.lines
    edited = _edited(config, workdir)
    shown = _json(status, lines, edited) if arguments.json else _text(status, lines, edited)
    problems = len(status.problems)
    if not problems:
        return shown
    print(shown, flush=True)  # noqa: T201 - before the error, which says that there is something to do
    needs = "needs" if problems == 1 else "need"
    raise DatasetError(f"{counted(problems, 'line')} above {needs} a person")


def _config(arguments: argparse.Namespace) -> Config | None:
    """None without one, where none is needed. Raises ConfigError for one that cannot be read, if it is."""
    try:
        return config_of(arguments.config)
    except ConfigError:
        if arguments.workdir is None:
            raise
        return None  # a run says what is wrong; here it hides nothing of what there is


def _edited(config: Config | None, workdir: Path) -> str:
    """What the table by hand says that no run has read yet; "" of another workdir, or if there is none."""
    if config is None or config.table is None or config.workdir.resolve() != workdir.resolve():
        return ""
    try:
        return edited_since(config.table, workdir / "studies.tsv")
    except ConfigError:  # a run says what is wrong; here it hides nothing of what there is
        return ""


def _text(status: Status, lines: tuple[SessionStatus, ...], edited: str) -> str:
    width = max((len(line.session) for line in lines), default=0)
    rows = [f"{line.session.ljust(width)}  {str(line).removeprefix(line.session).lstrip()}" for line in lines]
    if status.at_work:
        rows.append(f"A run is at work: {status.at_work}")
    if edited:
        rows.append(edited)
    return "\n".join([*rows, status.summary])


def _json(status: Status, lines: tuple[SessionStatus, ...], edited: str) -> str:
    content = {
        "sessions": lines,
        "counts": status.counts,
        "problems": len(status.problems),
        "at_work": status.at_work,
        "edited": edited or None,
    }
    return msgspec.json.format(msgspec.json.encode(content), indent=2).decode()
