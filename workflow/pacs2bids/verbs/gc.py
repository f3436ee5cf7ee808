"""``pacs2bids gc``: show what lies in the workdir for nothing, and remove it."""

from __future__ import annotations

import argparse
from collections.abc import Iterator
from pathlib import Path

from pacs2bids.config import Config, load_config
from pacs2bids.keeping import Going, let_go, release_all
from pacs2bids.model import ConfigError
from pacs2bids.released import DICOM
from pacs2bids.rubbish import Rubbish, remove, rubbish_in, size_bytes
from pacs2bids.text import aligned, counted, listed, megabytes
from pacs2bids.turn import alone
from pacs2bids.verbs._workdir import CONFIG, config_of, of_config, there

_SHOWN = 2


def configure(parser: argparse.ArgumentParser) -> None:
    """Declare the arguments."""
    parser.add_argument(
        "--workdir",
        type=Path,
        help="where the stages leave their files; default: that of --config, or of config.yaml",
    )
    parser.add_argument(
        "--config", type=Path, metavar="FILE", help="also what its `keep` lets go, without waiting for a run"
    )
    parser.add_argument("--delete", action="store_true", help="remove it; without it, it is only listed")


def run(arguments: argparse.Namespace) -> str:
    """List it, or remove it. Raises ConfigError without a table and during a run."""
    config = load_config(arguments.config) if arguments.config else None
    workdir = there(arguments.workdir or of_config(config or config_of(CONFIG)))
    if config:
        _require_workdir(config, workdir, arguments.config)
    with alone(workdir):
        found, going = rubbish_in(workdir), let_go(config, at_once=True) if config else []
        kept = [one for study in going for one in _kept(study, config.keep)] if config else []
        if not (found or kept):
            return "nothing to remove"
        total = megabytes(sum(one.size_bytes for one in [*found, *kept]))
        if arguments.delete:
            remove(found)
            count = sum(len(one.paths) for one in found)
            if config:
                freed = release_all(going, config.keep)
                count += freed.studies + freed.images
            return f"{counted(count, 'file or folder', 'files or folders')} removed, {total}"
    lines = aligned([_cells(one) for one in [*found, *kept]])
    return "\n".join([*lines, f"{total} in all. Nothing is removed yet: add --delete"])


def _require_workdir(config: Config, workdir: Path, path: Path) -> None:
    """Raise ConfigError for a configuration of another workdir."""
    if config.workdir.resolve() != workdir.resolve():
        what = f"its workdir is {config.workdir}, not {workdir}"
        raise ConfigError(what, where=str(path), hint=f"Add --workdir {config.workdir}")


def _kept(going: Going, keep: str) -> Iterator[Rubbish]:
    """What ``keep`` lets go of a study."""
    of_dicom = (going.study / DICOM,) if going.dicom else ()
    copied = tuple(file for file, spare in going.images if spare.copies)
    nameless = tuple(file for file, spare in going.images if not spare.copies)
    for paths, what in (
        (of_dicom, "DICOM files that are needed no more"),
        (copied, "images of which the dataset has a copy"),
        (nameless, "images without a name"),
    ):
        if paths:
            size = sum(size_bytes(path) for path in paths)
            yield Rubbish(why=f"{what} (keep: {keep})", paths=paths, size_bytes=size)


def _cells(one: Rubbish) -> tuple[str, str, str]:
    return megabytes(one.size_bytes), one.why, listed([str(path) for path in one.paths], _SHOWN)
