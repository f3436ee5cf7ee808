"""``pacs2bids phantom OUT``: a synthetic study set to try everything on."""

from __future__ import annotations

import argparse
from pathlib import Path

from pacs2bids.model import ConfigError
from pacs2bids.text import counted, megabytes


def configure(parser: argparse.ArgumentParser) -> None:
    """Declare the arguments."""
    parser.add_argument("out", type=Path, metavar="OUT", help="folder to write, one subfolder a study")
    parser.add_argument("--subjects", type=int, default=2, metavar="N", help="1 to 9 (default: 2)")
    parser.add_argument("--sessions", type=int, default=2, metavar="N", help="1 to 9 a subject (default: 2)")
    parser.add_argument("--small", action="store_true", help="coarse voxels and few volumes, for tests")
    parser.add_argument("--force", action="store_true", help="write even if OUT holds something already")


def run(arguments: argparse.Namespace) -> str:
    """Write the study set."""
    from pacs2bids.phantom.protocol import studies  # noqa: PLC0415 - numpy and pydicom only when needed
    from pacs2bids.phantom.write import write  # noqa: PLC0415 - see above

    for option, count in (("--subjects", arguments.subjects), ("--sessions", arguments.sessions)):
        if not 1 <= count <= 9:
            raise ConfigError(f"{count} is not between 1 and 9", where=option)
    made = studies(subjects=arguments.subjects, sessions=arguments.sessions, small=arguments.small)
    written = write(made, arguments.out, force=arguments.force)
    series = sum(len(study.series) for study in made)
    counts = f"{counted(len(made), 'study', 'studies')} of {counted(arguments.subjects, 'subject')}"
    size = f"{counted(written.instances, 'instance')}, {megabytes(written.bytes)}"
    return f"{counts}, {series} series, {size} -> {arguments.out}"
