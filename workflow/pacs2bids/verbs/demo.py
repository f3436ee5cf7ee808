"""``pacs2bids demo``: the whole line on the phantom, from an embedded PACS to a validated dataset."""

from __future__ import annotations

import argparse
import functools
import os
from pathlib import Path

from pacs2bids.demo import run_demo


def configure(parser: argparse.ArgumentParser) -> None:
    """Declare the arguments."""
    parser.add_argument("--dir", type=Path, default=Path("demo"), help="where (default: %(default)s)")
    parser.add_argument("--cores", type=int, default=os.cpu_count() or 1, metavar="N", help="default: all")


def run(arguments: argparse.Namespace) -> str:
    """Run the demo; it shows its progress on standard output."""
    return run_demo(arguments.dir, cores=arguments.cores, say=functools.partial(print, flush=True))
