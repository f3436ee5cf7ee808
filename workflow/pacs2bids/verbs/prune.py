"""``pacs2bids prune``: remove the sessions that the studies table does not have any more."""

from __future__ import annotations

import argparse
import logging
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from pacs2bids.filled_in import taken_over
from pacs2bids.model import DatasetError
from pacs2bids.notes import Noted, left_to_lose, scans_paths
from pacs2bids.owned import SKELETONS, Remains, remains_of, remove_remains
from pacs2bids.report.kept import folder_beside, pages_of, remove
from pacs2bids.roster import session_keys
from pacs2bids.text import counted
from pacs2bids.turn import alone

log = logging.getLogger("pacs2bids.prune")


def configure(parser: argparse.ArgumentParser) -> None:
    """Declare the arguments."""
    parser.add_argument("--workdir", type=Path, required=True, help="where the stages left their files")
    parser.add_argument("--bids", type=Path, required=True, help="root of the BIDS dataset")
    parser.add_argument(
        "--report", type=Path, metavar="FILE", help="whose pages go, too; default: report.html beside BIDS"
    )
    parser.add_argument("--yes", action="store_true", help="remove them; without it they are only listed")


@dataclass(frozen=True, slots=True, kw_only=True)
class _Left:
    """A session that is to go. ``noted``: what people noted in it that no other session holds; None if its
    table cannot be read."""

    remains: Remains
    noted: Noted | None

    @property
    def tables_stay(self) -> bool:
        """Then the records stay, too, by which a later run tells what is of people in them."""
        return any(path in scans_paths(self.remains.session_dir.name) for path in self.remains.others)


def run(arguments: argparse.Namespace) -> str:
    """List, or remove, what such sessions left. Raises ConfigError without a table and during a run."""
    workdir, bids = arguments.workdir, arguments.bids
    session_keys(workdir / "studies.tsv")  # what is no workdir gets no lock
    with alone(workdir):
        wanted = session_keys(workdir / "studies.tsv")
        folders = sorted(path for path in workdir.glob("sessions/*/") if path.name not in wanted)
        found = [_left(folder, bids) for folder in folders]
        if not found:
            return "nothing to prune: every session is in the studies table"
        gone = [left.remains.session_dir.name for left in found if not left.tables_stay]
        pages = pages_of(folder_beside(arguments.report or bids.resolve().parent / "report.html"), gone)
        if not arguments.yes:
            listed = [*_listed(found), *(f"  {page}" for page in pages)]
            return "\n".join(["Would remove:", *listed, "Nothing is removed yet: add --yes"])
        for left in found:
            for line in (*_staying(left), *_lost(left)):
                log.warning("%s", line)
            remove_remains(left.remains, bids, keep_records=left.tables_stay)
        for page in pages:
            remove(page)
        # so that the next run writes and checks the dataset without them
        for product in ("dataset.json", "check.json", "valid"):
            (workdir / product).unlink(missing_ok=True)
    files = sum(len(left.remains.ours) for left in found)
    sessions = counted(len(gone), "session")
    shown = f", {counted(len(pages), 'part')} of the report" if pages else ""
    removed = f"{sessions}, {counted(files, 'file')}{shown} removed"
    return f"{removed}. Run snakemake again to have the dataset checked"


def _left(session_dir: Path, bids: Path) -> _Left:
    try:
        noted = left_to_lose(session_dir, bids, session_dir.parent.parent / "studies")
    except DatasetError:
        noted = None
    are_ours = noted is not None and not noted.is_in_table
    moved = taken_over(session_dir, bids)
    remains = remains_of(session_dir, bids, scans_paths(session_dir.name), are_ours=are_ours, moved=moved)
    return _Left(remains=remains, noted=noted)


def _listed(found: Sequence[_Left]) -> Iterator[str]:
    for left in found:
        if not left.tables_stay:
            yield f"  {left.remains.session_dir}/"
        yield from (f"  {path}" for path in left.remains.ours)
        yield from (f"  ({line})" for line in (*_staying(left), *_lost(left)))


def _staying(left: _Left) -> Iterator[str]:
    tables = scans_paths(left.remains.session_dir.name)
    for path in left.remains.others:
        if path in tables:
            what = (
                "it holds what people wrote, and no session took it over: copy what you need into the table"
            )
            yield f"{path} stays: {what} of the right session, delete the file, and prune again"
        elif path.endswith(SKELETONS):
            yield f"{path} stays: people filled it in. Move it beside its volume, or delete it"
        else:
            what = "pacs2bids did not place it as it is. Move it out of the dataset, or delete it"
            yield f"{path} stays: {what}"


def _lost(left: _Left) -> Iterator[str]:
    """Notes that stand nowhere but in the records that go."""
    if left.noted is None or left.tables_stay:
        return
    for volume in sorted(left.noted.unnamed):
        cells = ", ".join(f"{column}: {cell}" for column, cell in left.noted.notes[volume].items())
        yield f"goes, too, what was noted of volume {volume}, which has no name: {cells}"
