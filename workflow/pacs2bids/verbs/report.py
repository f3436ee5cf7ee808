"""``pacs2bids report``: write the page to look at."""

from __future__ import annotations

import argparse
import logging
from pathlib import Path

from pacs2bids.files import remove_unfinished, write_text
from pacs2bids.model import Pacs2BidsError
from pacs2bids.plan_table import read_plan
from pacs2bids.report.evidence import gather
from pacs2bids.report.facts import page_of
from pacs2bids.report.page import Drawing, render
from pacs2bids.report.pictures import pictures_of
from pacs2bids.report.view import VolumeRef
from pacs2bids.text import counted

log = logging.getLogger("pacs2bids.report")


def configure(parser: argparse.ArgumentParser) -> None:
    """Declare the arguments."""
    parser.add_argument("--workdir", type=Path, required=True, help="where the stages left their files")
    parser.add_argument("--bids", type=Path, required=True, help="root of the BIDS dataset")
    parser.add_argument("--out", type=Path, required=True, metavar="FILE", help="the page, one HTML file")


def run(arguments: argparse.Namespace) -> str:
    """Write the page. What is missing or broken is said there; raises ConfigError without a workdir."""
    remove_unfinished(arguments.out)
    evidence = gather(arguments.workdir, arguments.bids, read_plan=read_plan)
    for problem in evidence.problems:
        log.warning("%s", problem)
    page = page_of(evidence)
    drawings = {volume: _drawing(volume) for volume in page.volumes()}
    # its owner's alone: it holds faces and the free text of the console
    write_text(arguments.out, render(page, drawings), mode=0o600)
    series = sum(len(session.series) for session in page.sessions)
    sessions = counted(len(page.sessions), "session")
    return f"report of {sessions}, {counted(series, 'series', 'series')} -> {arguments.out}"


def _drawing(volume: VolumeRef) -> Drawing:
    try:
        return Drawing(pictures=pictures_of(volume.path, volume.b_values_s_per_mm2))
    except Pacs2BidsError as error:
        log.warning("no picture: %s", error)
        return Drawing(problem=error.what)
