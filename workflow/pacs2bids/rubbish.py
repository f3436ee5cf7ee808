"""What lies in a workdir and nobody needs any more. Nothing is guessed: whatever is not told here stays.

What a session of the studies table needs is never among it, nor what a session that left the table still has
in the dataset: that is for ``prune``, which looks after what people wrote.
"""

from __future__ import annotations

import logging
import os
import re
import shutil
import time
from collections.abc import Collection, Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path

from pacs2bids.notes import home_of
from pacs2bids.released import OURS as RELEASED_OURS
from pacs2bids.roster import rows_of_table
from pacs2bids.status import PROVISIONAL
from pacs2bids.studies_table import is_uid
from pacs2bids.text import listed

# of logs: by what the file is called
_OF_STUDIES, _OF_SESSIONS = ("pull", "index", "reconstruct", "opinion"), ("plan", "place")
# in the folder of a study; what else lies there is of people
_OURS = {
    *("dicom", "quarantine", "volumes", "archives", "defaced", "receipt.json", "receipt.incomplete.json"),
    *(".receipt.json", "grown.json", "identity.json", "identity.pacs.json", "index.json"),
    *("second_opinion.tsv", "placed_in.json", *RELEASED_OURS),
}
_REMOVED = re.compile(r"\.[0-9.]+\.removed")
_LONGEST_JOB_S = 24 * 3600.0

log = logging.getLogger("pacs2bids.gc")


@dataclass(frozen=True, slots=True, kw_only=True)
class Rubbish:
    """Files or folders that can go, and why. ``size_bytes``: what the disk gets back: a file that has another
    name elsewhere, as volumes in the dataset have, counts for nothing."""

    why: str
    paths: tuple[Path, ...]
    size_bytes: int


def rubbish_in(workdir: Path) -> list[Rubbish]:
    """All of it. For whoever holds the lock of the workdir.

    Raises ConfigError without a studies table, or if that is empty.
    """
    rows = rows_of_table(workdir / "studies.tsv")
    known = {row.study_instance_uid for row in rows}
    studies = [path for path in _folders(workdir / "studies") if is_uid(path.name)]
    found = [_rubbish("study that is not in the studies table", [path]) for path in _gone(studies, known)]
    here = [path for path in studies if path.name in known]
    quarantined = [one for path in here for one in _folders(path) if one.name == "quarantine"]
    found += [_rubbish("quarantine: what came and cannot be used", [path]) for path in quarantined]
    sessions = {row.session_key for row in rows}
    if logs := [*_logs(workdir, _OF_STUDIES, known), *_logs(workdir, _OF_SESSIONS, sessions)]:
        found.append(_rubbish("logs of what is not in the studies table", logs))
    parts = [part for path in here if (part := _unfinished(path))]
    found += [_rubbish("left half-written by a job that was killed", part) for part in parts]
    if removed := [path for path in _folders(workdir / "studies") if _REMOVED.fullmatch(path.name)]:
        found.append(_rubbish("left half-removed by a gc that was killed", removed))
    provisional = workdir / PROVISIONAL
    if provisional.exists() and (workdir / "check.json").exists():
        found.append(_rubbish("check of an earlier run that failed", [provisional]))
    return found


def remove(rubbish: Iterable[Rubbish]) -> None:
    """Remove it. No link is followed."""
    for path in (path for one in rubbish for path in one.paths):
        if path.is_symlink() or not path.is_dir():
            path.unlink(missing_ok=True)
        elif is_uid(path.name):
            # the study may come back to the table: half a study must never lie under its name
            shutil.rmtree(path.rename(path.with_name(f".{path.name}.removed")))
        else:
            shutil.rmtree(path)


def _gone(studies: Iterable[Path], known: set[str]) -> Iterator[Path]:
    """Studies that are not in the table, that no session has, and in which people have put nothing."""
    for path in studies:
        if path.name in known or not _is_free(path):
            continue
        if others := sorted(one.name for one in path.iterdir() if not _is_ours(one.name)):
            log.warning("%s stays: it holds %s, which pacs2bids did not put there", path, listed(others, 2))
            continue
        yield path


def _is_ours(name: str) -> bool:
    return name in _OURS or (name.startswith(".") and name.endswith(".part"))


def _is_free(study: Path) -> bool:
    """Whether no session has placed it that is still there, listed or to be pruned."""
    home, sessions = home_of(study), study.parent.parent / "sessions"
    # a link to a disk that is not mounted is still there
    return not home or (sessions.is_dir() and not os.path.lexists(sessions / home))


def _folders(path: Path) -> list[Path]:
    """The folders in a folder; no links: what is behind them may be needed by others."""
    return sorted(one for one in path.iterdir() if _is_folder(one)) if _is_folder(path) else []


def _is_folder(path: Path) -> bool:
    return path.is_dir() and not path.is_symlink()


def _unfinished(study: Path) -> list[Path]:
    """What killed jobs left half-written. Not of the last day: a job of a cluster goes on without its run."""
    found = []
    for folder, below, names in os.walk(study):
        if "quarantine" in below:
            below.remove("quarantine")
        parts = [Path(folder, name) for name in names if name.startswith(".") and name.endswith(".part")]
        found += [path for path in parts if time.time() - path.lstat().st_mtime > _LONGEST_JOB_S]
    return found


def _logs(workdir: Path, stages: Collection[str], known: set[str]) -> Iterator[Path]:
    for folder in _folders(workdir / "logs"):
        if folder.name in stages:
            yield from (path for path in sorted(folder.glob("*.log")) if path.stem not in known)


def _rubbish(why: str, paths: list[Path]) -> Rubbish:
    return Rubbish(why=why, paths=tuple(paths), size_bytes=sum(size_bytes(path) for path in paths))


def size_bytes(path: Path) -> int:
    """What the disk gets back when a file or folder goes."""
    if not path.is_dir():
        return _alone_bytes(path)
    return sum(_alone_bytes(Path(folder, name)) for folder, _, names in os.walk(path) for name in names)


def _alone_bytes(path: Path) -> int:
    status = path.lstat()
    return status.st_size if status.st_nlink == 1 else 0
