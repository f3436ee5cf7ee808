"""``pacs2bids opinion``: the volumes of one study beside those that dcm2niix makes of the same files."""

from __future__ import annotations

import argparse
from pathlib import Path

from pacs2bids.files import read_record
from pacs2bids.model import Manifest, StudyIndex
from pacs2bids.released import OPINIONS, is_put_back


def configure(parser: argparse.ArgumentParser) -> None:
    """Add the arguments."""
    parser.add_argument("study", type=Path, metavar="STUDY", help="the study's folder: holds volumes/")


def run(arguments: argparse.Namespace) -> str:
    """Write ``second_opinion.tsv`` into the study's folder; a difference is a warning, no failure.

    Raises ConfigError if dcm2niix is not installed.
    """
    from pacs2bids.second_opinion import second_opinion, write_opinions  # noqa: PLC0415 - heavy: nibabel

    folder: Path = arguments.study
    if is_put_back(folder, OPINIONS):
        return f"study {folder.name}: asked before its DICOM files were removed (keep)"
    index = read_record(folder / "index.json", StudyIndex)
    manifest = read_record(folder / "volumes" / "manifest.json", Manifest)
    opinions = second_opinion(index, manifest, folder / "dicom", folder / "volumes")
    return f"study {folder.name}: {write_opinions(folder / 'second_opinion.tsv', opinions)}"
