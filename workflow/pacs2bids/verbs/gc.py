"""``pacs2bids gc``: show what lies in the workdir for nothing, and remove it."""

from __future__ import annotations

import argparse
from pathlib import Path

from pacs2bids.model import ConfigError
from pacs2bids.rubbish import Rubbish, remove, rubbish_in
from pacs2bids.text import aligned, counted, listed
from pacs2bids.turn import alone

_SHOWN = 2


def configure(parser: argparse.ArgumentParser) -> None:
    """Declare the arguments."""
    parser.add_argument(
        "--workdir", type=Path, default=Path("work"), help="where the stages leave their files (work)"
    )
    parser.add_argument("--delete", action="store_true", help="remove it; without it, it is only listed")


def run(arguments: argparse.Namespace) -> str:
    """List it, or remove it. Raises ConfigError without a table and during a run."""
    workdir: Path = arguments.workdir
    if not workdir.is_dir():
        hint = "Give the workdir of the configuration: --workdir FOLDER"
        raise ConfigError("is no folder", where=str(workdir), hint=hint)
    with alone(workdir):
        found = rubbish_in(workdir)
        if not found:
            return "nothing to remove"
        total = _megabytes(sum(one.size_bytes for one in found))
        if arguments.delete:
            remove(found)
            return (
                f"{counted(sum(len(one.paths) for one in found), 'file or folder', 'files or folders')}"
                + (f" removed, {total}")
            )
    lines = aligned([_cells(one) for one in found])
    return "\n".join([*lines, f"{total} in all. Nothing is removed yet: add --delete"])


def _cells(one: Rubbish) -> tuple[str, str, str]:
    return _megabytes(one.size_bytes), one.why, listed([str(path) for path in one.paths], _SHOWN)


def _megabytes(size_bytes: int) -> str:
    return f"{size_bytes / 1e6:,.1f} MB"
