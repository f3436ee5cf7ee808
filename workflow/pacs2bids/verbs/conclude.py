"""``pacs2bids conclude``: what every run ends with. The run holds the lock, so nothing is locked here.

What ``keep`` lets go, which sessions need a person, and the messages that the configuration asks for.
"""

from __future__ import annotations

import argparse
import logging
from pathlib import Path

from pacs2bids.config import Config, load_config
from pacs2bids.keeping import ALL, hooks_of, let_go, release_all
from pacs2bids.model import Pacs2BidsError
from pacs2bids.notify import closing_lines, notify
from pacs2bids.released import DICOM
from pacs2bids.rubbish import size_bytes
from pacs2bids.status import status_of
from pacs2bids.text import counted, megabytes

log = logging.getLogger("pacs2bids.keep")


def configure(parser: argparse.ArgumentParser) -> None:
    """Declare the arguments."""
    parser.add_argument("--config", type=Path, required=True, metavar="FILE", help="config.yaml")


def run(arguments: argparse.Namespace) -> str:
    """Say how the run ended. Nothing that fails here fails the run."""
    config = load_config(arguments.config)
    removed = _kept(config)
    status = status_of(config.workdir, is_over=True)
    told = notify(config.notify, status, config.workdir) if config.notify else ""
    return "\n".join([*removed, closing_lines(status), *([f"Told by {told}"] if told else [])])


def _kept(config: Config) -> list[str]:
    """Remove what ``keep`` lets go, and tell of it."""
    if config.keep == ALL:
        return []
    if hooks := hooks_of(config.heuristic):
        return [f"keep: no DICOM files are removed, as the heuristic has {hooks[0]}, which reads them"]
    try:
        going = let_go(config)
    except Pacs2BidsError as error:  # there is no table yet
        log.info("%s", error)
        return []
    dicom = sum(size_bytes(one.study / DICOM) for one in going if one.dicom)
    spared = sum(size_bytes(file) for one in going for file, _ in one.images)
    freed = release_all(going, config.keep)
    studies, images = counted(freed.studies, "study", "studies"), counted(freed.images, "image")
    images = f"{images} without a name, or with a copy in the dataset, removed"
    told = {
        f"keep: the DICOM files of {studies} are removed, {megabytes(dicom)}": freed.studies,
        f"keep: {images}, {megabytes(spared)}": freed.images,
    }
    return [line for line, count in told.items() if count]
