"""``pacs2bids conclude``: what every run ends with. The run holds the lock, so nothing is locked here.

Which sessions need a person, and the messages that the configuration asks for.
"""

from __future__ import annotations

import argparse
from pathlib import Path

from pacs2bids.config import load_config
from pacs2bids.notify import closing_lines, notify
from pacs2bids.status import status_of


def configure(parser: argparse.ArgumentParser) -> None:
    """Declare the arguments."""
    parser.add_argument("--config", type=Path, required=True, metavar="FILE", help="config.yaml")


def run(arguments: argparse.Namespace) -> str:
    """Say how the run ended. Nothing that fails here fails the run."""
    config = load_config(arguments.config)
    status = status_of(config.workdir, is_over=True)
    told = notify(config.notify, status, config.workdir) if config.notify else ""
    return closing_lines(status) + (f"\nTold by {told}" if told else "")
