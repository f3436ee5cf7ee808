"""Tables of events that people filled in go with their volume when its name changes.

``events.json`` of the session says of which volumes each table tells. It is written before each move, with
the old and the new place together, so that a killed run loses no table from sight and moves none twice.
"""

from __future__ import annotations

import logging
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path, PurePosixPath

from pacs2bids.files import read_record, write_record
from pacs2bids.model import DatasetError
from pacs2bids.owned import is_filled_in, owned_files

log = logging.getLogger("pacs2bids.place")

EVENTS = "_events.tsv"
_RECORD = "events.json"
_OF_ONE_IMAGE = re.compile(r"_(echo|part)-[0-9A-Za-z+]+")


@dataclass(frozen=True, slots=True, kw_only=True)
class EventTables:
    """``events.json``: path in the dataset -> the volumes ("<study>/<stack>") of which the table tells."""

    tables: dict[str, tuple[str, ...]] = field(default_factory=dict)


def table_beside(bids_name: str, ending: str) -> str:
    """The path of a table that goes with a volume: one for all echoes and parts of a scan.

    Source: BIDS schema, rules.files.raw: neither "echo" nor "part" in names of events and aslcontext.
    """
    return _OF_ONE_IMAGE.sub("", bids_name).rpartition("_")[0] + ending


def moves_of_filled(session_dir: Path, bids: Path, volumes: Mapping[str, str]) -> dict[str, str]:
    """Where filled tables of events are, and belong now, in an order in which they can be moved.

    ``volumes``: name -> volume. Raises DatasetError if one would stand beside another volume, or in another's
    place.
    """
    tables = _recorded(session_dir)
    owned = owned_files(session_dir)
    filled = {path for path in tables if is_filled_in(bids / path, owned.get(path, ()))}
    moves = {path: now for path in sorted(filled) if (now := _now(path, tables[path], volumes, bids)) != path}
    taken = {path for path in moves.values() if is_filled_in(bids / path, owned.get(path, ()))}
    return {path: moves[path] for path in _in_order(moves, taken, bids)}


def move_filled(session_dir: Path, bids: Path, moves: Mapping[str, str]) -> None:
    """Move tables, in this order."""
    tables = _recorded(session_dir)
    for path, now in moves.items():
        tables[now] = tables[path]
        write_record(session_dir / _RECORD, EventTables(tables=tables))
        (bids / path).replace(bids / now)
        log.info("%s: its volume has another name, moved to %s", path, now)
        del tables[path]


def remember(session_dir: Path, bids: Path, volumes: Mapping[str, str], begun: Iterable[str]) -> None:
    """Keep of which volumes tables tell: those begun now (paths in the dataset), and those still there."""
    before = _recorded(session_dir)
    after = {path: told for path, told in before.items() if (bids / path).is_file()}
    after |= {path: tuple(sorted(_beside(path, volumes).values())) for path in begun}
    if after != before:
        write_record(session_dir / _RECORD, EventTables(tables=after))


def _recorded(session_dir: Path) -> dict[str, tuple[str, ...]]:
    record = session_dir / _RECORD
    return read_record(record, EventTables).tables if record.exists() else {}


def _beside(path: str, volumes: Mapping[str, str]) -> dict[str, str]:
    """Of ``volumes`` those of which a table tells that lies there. A reference image has no events."""
    return {
        name: volume
        for name, volume in volumes.items()
        if table_beside(name, EVENTS) == path and not name.endswith("_sbref")
    }


def _now(path: str, of: tuple[str, ...], volumes: Mapping[str, str], bids: Path) -> str:
    """Where a table belongs now; where it is, if its volumes have no name or several."""
    folder = PurePosixPath(path).parent
    names = [
        name for name, volume in volumes.items() if volume in of and PurePosixPath(name).parent == folder
    ]
    places = {table_beside(name, EVENTS) for name in names}
    if path in places:
        return path
    if len(places) == 1:
        return places.pop()
    if _beside(path, volumes):
        what = "was filled in, its volume has no name any more, and another one has its name"
        raise DatasetError(what, where=str(bids / path), hint="Move it out of the dataset, and run again")
    log.warning("%s: kept, for it was filled in; its volume has no name any more", path)
    return path


def _in_order(moves: Mapping[str, str], taken: set[str], bids: Path) -> list[str]:
    """First those tables whose new place is free. Raises DatasetError if there is none."""
    order: list[str] = []
    taken = set(taken)
    while len(order) < len(moves):
        free = [path for path, now in moves.items() if path not in order and now not in taken]
        if not free:
            path = next(path for path in moves if path not in order)
            what = f"was filled in, and its volume's table is {moves[path]} now, which was filled in, too"
            hint = "Move it out of the dataset, run again, and put it back under that name"
            raise DatasetError(what, where=str(bids / path), hint=hint)
        order.append(free[0])
        taken.discard(free[0])
        taken.add(moves[free[0]])
    return order
