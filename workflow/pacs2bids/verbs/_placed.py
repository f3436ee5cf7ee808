"""The sessions that ``dataset`` and ``check`` speak of: one by one, or all of the studies table.

A command line holds 128 kB, which is the paths of some 2,500 sessions.
"""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from pathlib import Path

from pacs2bids.files import read_record
from pacs2bids.model import ConfigError, PlacedSession
from pacs2bids.owned import placed_before
from pacs2bids.roster import session_keys


def add_placed(parser: argparse.ArgumentParser) -> None:
    """Declare the arguments."""
    parser.add_argument("placed", type=Path, nargs="*", metavar="PLACED", help="placed.json of each session")
    parser.add_argument(
        "--sessions", type=Path, metavar="FOLDER", help="instead: the folder of the sessions in --studies"
    )
    parser.add_argument(
        "--studies", type=Path, metavar="FILE", help="the resolved studies.tsv, with --sessions"
    )
    parser.add_argument(
        "--partial", action="store_true", help="go on without those of --sessions that are not placed"
    )


def placed_paths(arguments: argparse.Namespace) -> list[Path]:
    """The ``placed.json`` of each session that the arguments speak of, there or not.

    Raises ConfigError for a mixture of both forms and a table that is missing.
    """
    sessions, studies = arguments.sessions, arguments.studies
    paths: list[Path] = arguments.placed
    if not (sessions or studies):
        return paths
    if paths or not (sessions and studies):
        what = "--sessions and --studies go together, and without further files"
        raise ConfigError(what, where="PLACED")
    return [sessions / key / "placed.json" for key in session_keys(studies)]


def read_in_dataset(paths: Sequence[Path], bids: Path, *, partial: bool) -> list[PlacedSession]:
    """The sessions that are in the dataset; ``partial``: also as before those that could not be placed anew.

    Raises HeaderError as ``read_placed``.
    """
    if not partial:
        return read_placed(paths)
    each = (
        read_record(path, PlacedSession) if path.exists() else placed_before(path.parent, bids)
        for path in paths
    )
    return [placed for placed in each if placed is not None]


def read_placed(paths: Sequence[Path], *, partial: bool = False) -> list[PlacedSession]:
    """Read the records; ``partial``: those that are there.

    Raises HeaderError for a session without its record.
    """
    return [read_record(path, PlacedSession) for path in paths if path.exists() or not partial]
