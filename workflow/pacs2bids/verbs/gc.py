"""``pacs2bids gc``: show what lies in the workdir for nothing, and remove it."""

from __future__ import annotations

import argparse
from math import ceil
from pathlib import Path

from pacs2bids.config import Config, load_config
from pacs2bids.keeping import let_go, release_all
from pacs2bids.model import ConfigError
from pacs2bids.released import DICOM
from pacs2bids.rubbish import Rubbish, remove, rubbish_in, size_bytes
from pacs2bids.text import aligned, counted, listed
from pacs2bids.turn import alone

_SHOWN = 2


def configure(parser: argparse.ArgumentParser) -> None:
    """Declare the arguments."""
    parser.add_argument(
        "--workdir", type=Path, default=Path("work"), help="where the stages leave their files (work)"
    )
    parser.add_argument(
        "--config", type=Path, metavar="FILE", help="also what its `keep` lets go, without waiting for a run"
    )
    parser.add_argument("--delete", action="store_true", help="remove it; without it, it is only listed")


def run(arguments: argparse.Namespace) -> str:
    """List it, or remove it. Raises ConfigError without a table and during a run."""
    workdir: Path = arguments.workdir
    if not workdir.is_dir():
        hint = "Give the workdir of the configuration: --workdir FOLDER"
        raise ConfigError("is no folder", where=str(workdir), hint=hint)
    config = _config(arguments.config, workdir) if arguments.config else None
    with alone(workdir):
        found, studies = rubbish_in(workdir), let_go(config) if config else []
        kept = [_dicom(study, config.keep) for study in studies] if config else []
        if not (found or kept):
            return "nothing to remove"
        total = _size(sum(one.size_bytes for one in [*found, *kept]))
        if arguments.delete:
            remove(found)
            released = release_all(studies, config.keep) if config else 0
            count = sum(len(one.paths) for one in found) + released
            return f"{counted(count, 'file or folder', 'files or folders')} removed, {total}"
    lines = aligned([_cells(one) for one in [*found, *kept]])
    return "\n".join([*lines, f"{total} in all. Nothing is removed yet: add --delete"])


def _config(path: Path, workdir: Path) -> Config:
    """Raises ConfigError for one of another workdir."""
    config = load_config(path)
    if config.workdir.resolve() != workdir.resolve():
        what = f"its workdir is {config.workdir}, not {workdir}"
        raise ConfigError(what, where=str(path), hint=f"Add --workdir {config.workdir}")
    return config


def _dicom(study: Path, keep: str) -> Rubbish:
    why, dicom = f"DICOM files that are needed no more (keep: {keep})", study / DICOM
    return Rubbish(why=why, paths=(dicom,), size_bytes=size_bytes(dicom))


def _cells(one: Rubbish) -> tuple[str, str, str]:
    return _size(one.size_bytes), one.why, listed([str(path) for path in one.paths], _SHOWN)


def _size(size_bytes: int) -> str:
    """A log is a few kilobytes: not "0.0 MB"."""
    return f"{size_bytes / 1e6:,.1f} MB" if size_bytes >= 1e5 else f"{ceil(size_bytes / 1e3)} kB"
