"""What lies in a workdir and nobody needs any more. Nothing is guessed: whatever is not told here stays.

What a session of the studies table needs is never among it, nor what a session that left the table still has
in the dataset: that is for ``prune``, which looks after what people wrote.
"""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path

from pacs2bids.notes import home_of
from pacs2bids.roster import rows_of_table
from pacs2bids.status import PROVISIONAL

# of logs: by what the file is called
_OF_STUDIES, _OF_SESSIONS = ("pull", "index", "reconstruct", "opinion"), ("plan", "place")


@dataclass(frozen=True, slots=True, kw_only=True)
class Rubbish:
    """Files or folders that can go, and why. ``size_bytes``: what the disk gets back: a file that has another
    name elsewhere, as volumes in the dataset have, counts for nothing."""

    why: str
    paths: tuple[Path, ...]
    size_bytes: int


def rubbish_in(workdir: Path) -> list[Rubbish]:
    """All of it. For whoever holds the lock of the workdir. Raises ConfigError without a studies table."""
    rows = rows_of_table(workdir / "studies.tsv")
    studies, sessions = {row.study_instance_uid for row in rows}, {row.session_key for row in rows}
    gone = [path for path in _folders(workdir / "studies") if path.name not in studies]
    here = [path for path in _folders(workdir / "studies") if path.name in studies]
    found = [_rubbish("study that is not in the studies table", [path]) for path in gone if _is_free(path)]
    quarantined = [path / "quarantine" for path in here if (path / "quarantine").is_dir()]
    found += [_rubbish("quarantine: what came and cannot be used", [path]) for path in quarantined]
    logs = [*_logs(workdir, _OF_STUDIES, studies), *_logs(workdir, _OF_SESSIONS, sessions)]
    if logs:
        found.append(_rubbish("logs of what is not in the studies table", logs))
    for path in here:
        if parts := [*path.glob("**/.*.part")]:
            found.append(_rubbish("left half-written by a job that was killed", parts))
    provisional = workdir / PROVISIONAL
    if provisional.exists() and (workdir / "check.json").exists():
        found.append(_rubbish("check of an earlier run that failed", [provisional]))
    return found


def remove(rubbish: Iterable[Rubbish]) -> None:
    """Remove it."""
    for path in (path for one in rubbish for path in one.paths):
        if path.is_dir():
            shutil.rmtree(path)
        else:
            path.unlink(missing_ok=True)


def _is_free(study: Path) -> bool:
    """Whether no session has placed it that is still there, listed or to be pruned."""
    home = home_of(study)
    return not home or not (study.parent.parent / "sessions" / home).is_dir()


def _folders(path: Path) -> list[Path]:
    return sorted(one for one in path.iterdir() if one.is_dir()) if path.is_dir() else []


def _logs(workdir: Path, stages: Iterable[str], known: set[str]) -> Iterator[Path]:
    for stage in stages:
        for path in sorted((workdir / "logs" / stage).glob("*.log")):
            if path.stem not in known:
                yield path


def _rubbish(why: str, paths: list[Path]) -> Rubbish:
    return Rubbish(why=why, paths=tuple(paths), size_bytes=sum(_size_bytes(path) for path in paths))


def _size_bytes(path: Path) -> int:
    if not path.is_dir():
        return _alone_bytes(path)
    return sum(_alone_bytes(Path(folder, name)) for folder, _, names in os.walk(path) for name in names)


def _alone_bytes(path: Path) -> int:
    status = path.lstat()
    return status.st_size if status.st_nlink == 1 else 0
