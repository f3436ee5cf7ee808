"""``pacs2bids prune``: remove the sessions that the studies table does not have any more."""

from __future__ import annotations

import argparse
import fcntl
import logging
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

from pacs2bids.model import ConfigError
from pacs2bids.owned import Remains, remains_of, remove_remains
from pacs2bids.text import counted
from pacs2bids.verbs._placed import session_keys

log = logging.getLogger("pacs2bids.prune")


def configure(parser: argparse.ArgumentParser) -> None:
    """Declare the arguments."""
    parser.add_argument("--workdir", type=Path, required=True, help="where the stages left their files")
    parser.add_argument("--bids", type=Path, required=True, help="root of the BIDS dataset")
    parser.add_argument("--yes", action="store_true", help="remove them; without it they are only listed")


def run(arguments: argparse.Namespace) -> str:
    """List, or remove, what such sessions left. Raises ConfigError without a table and during a run."""
    workdir, bids = arguments.workdir, arguments.bids
    wanted = session_keys(workdir / "studies.tsv")
    with _alone(workdir):
        folders = sorted(path for path in workdir.glob("sessions/*/") if path.name not in wanted)
        found = [remains_of(folder, bids) for folder in folders]
        if not found:
            return "nothing to prune: every session is in the studies table"
        if not arguments.yes:
            return "\n".join(["Would remove:", *_listed(found), "Nothing is removed yet: add --yes"])
        for remains in found:
            remove_remains(remains, bids)
            for path in remains.others:
                log.warning("%s: kept, pacs2bids did not place it as it is; remove it by hand", bids / path)
        # so that the next run writes and checks the dataset without them
        for product in ("dataset.json", "check.json", "valid"):
            (workdir / product).unlink(missing_ok=True)
    files = sum(len(remains.ours) for remains in found)
    removed = f"{counted(len(found), 'session')}, {counted(files, 'file')} removed"
    return f"{removed}. Run snakemake again to have the dataset checked"


def _listed(found: Sequence[Remains]) -> Iterator[str]:
    for remains in found:
        yield f"  {remains.session_dir}/"
        yield from (f"  {path}" for path in remains.ours)
        yield from (f"  (stays, pacs2bids did not place it as it is: {path})" for path in remains.others)


@contextmanager
def _alone(workdir: Path) -> Iterator[None]:
    """Hold the workflow's own lock."""
    with (workdir / ".lock").open("w") as stream:
        try:
            fcntl.flock(stream, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            what = "a snakemake is at work on it"
            raise ConfigError(what, where=str(workdir), hint="Wait for it") from None
        yield
