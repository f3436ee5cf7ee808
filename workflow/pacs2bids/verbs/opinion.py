"""``pacs2bids opinion``: the volumes of one study beside those that dcm2niix makes of the same files."""

from __future__ import annotations

import argparse
import logging
from pathlib import Path

from pacs2bids.files import read_record
from pacs2bids.model import HeaderError, Manifest, StudyIndex
from pacs2bids.released import OPINIONS, is_put_back, released_of

log = logging.getLogger("pacs2bids.opinion")


def configure(parser: argparse.ArgumentParser) -> None:
    """Add the arguments."""
    parser.add_argument("study", type=Path, metavar="STUDY", help="the study's folder: holds volumes/")


def run(arguments: argparse.Namespace) -> str:
    """Write ``second_opinion.tsv`` into the study's folder; a difference is a warning, no failure.

    Raises ConfigError if dcm2niix is not installed.
    """
    from pacs2bids.second_opinion import second_opinion, write_opinions  # noqa: PLC0415 - heavy: nibabel

    folder: Path = arguments.study
    if released_of(folder) is not None:
        return _as_it_was(folder)
    index = read_record(folder / "index.json", StudyIndex)
    manifest = read_record(folder / "volumes" / "manifest.json", Manifest)
    opinions = second_opinion(index, manifest, folder / "dicom", folder / "volumes")
    return f"study {folder.name}: {write_opinions(folder / 'second_opinion.tsv', opinions)}"


def _as_it_was(folder: Path) -> str:
    """Of a study whose DICOM files were removed: the table that was made, or one that says nothing."""
    from pacs2bids.second_opinion import write_opinions  # noqa: PLC0415 - as above

    try:
        is_put_back(folder, OPINIONS)
    except HeaderError as error:  # nobody asked for opinions then; that is no reason to have no report now
        log.warning("%s", error)
        return f"study {folder.name}: {write_opinions(folder / OPINIONS, ())}"
    return f"study {folder.name}: asked before its DICOM files were removed (keep)"
