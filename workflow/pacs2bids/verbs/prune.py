"""``pacs2bids prune``: remove the sessions that the studies table does not have any more."""

from __future__ import annotations

import argparse
import logging
from collections.abc import Collection, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from pacs2bids.config import load_config
from pacs2bids.files import sha256
from pacs2bids.filled_in import taken_over
from pacs2bids.images import put_back
from pacs2bids.model import ConfigError, DatasetError
from pacs2bids.notes import Noted, left_to_lose, scans_paths
from pacs2bids.owned import SKELETONS, Remains, owned_files, remains_of, remove_remains
from pacs2bids.report.kept import folder_beside, pages_of, remove
from pacs2bids.roster import rows_of_table, session_keys
from pacs2bids.text import counted
from pacs2bids.turn import alone
from pacs2bids.verbs._workdir import CONFIG

log = logging.getLogger("pacs2bids.prune")


def configure(parser: argparse.ArgumentParser) -> None:
    """Declare the arguments."""
    parser.add_argument(
        "--config",
        type=Path,
        default=CONFIG,
        metavar="FILE",
        help="which folders these are (%(default)s)",
    )
    parser.add_argument(
        "--workdir", type=Path, help="where the stages left their files; default: the configuration's"
    )
    parser.add_argument("--bids", type=Path, help="root of the BIDS dataset; default: the configuration's")
    parser.add_argument(
        "--report",
        type=Path,
        metavar="FILE",
        help="whose pages go, too; default: the configuration's, or with --bids report.html beside it",
    )
    parser.add_argument("--yes", action="store_true", help="remove them; without it they are only listed")


@dataclass(frozen=True, slots=True, kw_only=True)
class _Folders:
    """Where to look. ``report``: the first page."""

    workdir: Path
    bids: Path
    report: Path


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
    """List, or remove, what such sessions left.

    Raises ConfigError without a table, during a run, and for a folder that is not the dataset.
    """
    of = _folders(arguments)
    workdir, bids = of.workdir, of.bids
    session_keys(workdir / "studies.tsv")  # what is no workdir gets no lock
    with alone(workdir):
        wanted = session_keys(workdir / "studies.tsv")
        folders = sorted(path for path in workdir.glob("sessions/*/") if path.name not in wanted)
        found = [_left(folder, bids) for folder in folders]
        if not found:
            return "nothing to prune: every session is in the studies table"
        _require_dataset(bids, found, [workdir / "sessions" / key for key in sorted(wanted)])
        gone = [left.remains.session_dir.name for left in found if not left.tables_stay]
        pages = pages_of(folder_beside(of.report), gone)
        if not arguments.yes:
            listed = [*_listed(found), *(f"  {page}" for page in pages)]
            return "\n".join(["Would remove:", *listed, "Nothing is removed yet: add --yes"])
        for left in found:  # all of them, before anything goes
            put_back(left.remains.session_dir, bids, left.remains.ours, _studies_of(workdir))
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


def _folders(arguments: argparse.Namespace) -> _Folders:
    """Those of the command line, else of the configuration. Raises ConfigError if that is needed and none."""
    workdir, bids, report = arguments.workdir, arguments.bids, arguments.report
    if bids:
        report = report or bids.resolve().parent / "report.html"
    if workdir and bids:
        return _Folders(workdir=workdir, bids=bids, report=report)
    config = load_config(arguments.config)
    return _Folders(
        workdir=workdir or config.workdir, bids=bids or config.bids, report=report or config.report
    )


def _require_dataset(bids: Path, found: Sequence[_Left], staying: Collection[Path]) -> None:
    """Raise ConfigError if the sessions were not placed in this folder.

    Else the records would go, and the files stay in the dataset, as if people had put them there.
    ``staying``: folders of the sessions of the table, which tell where a dataset is from which people removed
    all files of those that left.
    """
    leaving = [left.remains.session_dir for left in found]
    if any(left.remains.ours for left in found) or not any(map(owned_files, leaving)):
        return
    if not bids.is_dir():
        what = "is no folder"
    elif any(map(owned_files, staying)):
        if any(_has_sidecar_of(folder, bids) for folder in staying):
            return
        what = "holds no file of the sessions in the studies table, so this is not their dataset"
    elif (bids / "dataset_description.json").is_file():
        return
    else:
        what = "is no dataset: it has no dataset_description.json"
    hint = "Give the dataset that the workdir is of: `bids` in the configuration, or --bids FOLDER"
    raise ConfigError(f"{what}; nothing is removed", where=str(bids), hint=hint)


def _has_sidecar_of(session_dir: Path, bids: Path) -> bool:
    """Whether the folder holds one of the session as it was placed; volumes would take long to read."""
    owned = owned_files(session_dir)
    sidecars = (path for path in owned if path.endswith(".json") and (bids / path).is_file())
    return any(sha256(bids / path) in owned[path] for path in sidecars)


def _studies_of(workdir: Path) -> list[Path]:
    """Folders of the studies in the table: of these the dataset may hold images that are nowhere else."""
    rows = rows_of_table(workdir / "studies.tsv")
    folders = {workdir / "studies" / row.study_instance_uid for row in rows}
    return sorted(path for path in folders if path.is_dir())


def _left(session_dir: Path, bids: Path) -> _Left:
    """Raises DatasetError for a link, before anything is removed: what lies elsewhere is not ours."""
    if session_dir.is_symlink():
        what = f"is a link to {session_dir.readlink()}; nothing is removed"
        hint = "Put the folder itself in its place, and prune again"
        raise DatasetError(what, where=str(session_dir), hint=hint)
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
