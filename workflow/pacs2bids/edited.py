"""Tables and their descriptions that people edit, too: what they wrote stays, what we wrote may change.

A table is merged by rows (its first column is the key) and cells, a description by columns. To tell theirs
from ours, whoever writes keeps what we wrote the last time: ``before``. A cell, row, column or description
that a person wrote, changed or deleted stays as it is.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from itertools import zip_longest
from pathlib import Path

import msgspec

from pacs2bids.files import read_cells
from pacs2bids.model import DatasetError, Json

Cells = Mapping[str, str]  # column -> cell, without the key
Rows = Mapping[str, Cells]  # key -> cells

UNKNOWN = ("", "n/a")
_HINT = "Repair it, or delete it to have it written anew"


def read_rows(path: Path, key: str, what: str, *, prefix: str = "") -> dict[str, dict[str, str]] | None:
    """Read a table by the column ``key``; None if there is none, or it has no row.

    Raises DatasetError for a table that is no UTF-8 text, repeats a column or has a cell without one, or for
    a row whose key is missing, repeats, or does not begin with ``prefix``; ``what`` the key names.
    """
    try:
        heading, *lines = read_cells(path) or [[]]
    except FileNotFoundError:
        return None
    except UnicodeDecodeError:
        raise DatasetError("is not UTF-8 text", where=str(path), hint=_HINT) from None
    rows: dict[str, dict[str, str]] = {}
    _refuse_repeated(heading, path)
    for number, cells in enumerate(lines, start=2):
        row = dict(zip_longest(heading, cells, fillvalue=""))
        if any(cell for column, cell in zip_longest(heading, cells, fillvalue="") if not column):
            raise DatasetError(f"line {number} has a cell without a heading", where=str(path), hint=_HINT)
        row.pop("", None)
        name = row.pop(key, "")
        if not name or not name.startswith(prefix):
            raise DatasetError(f"line {number} names no {what}", where=str(path), hint=_HINT)
        if name in rows:
            raise DatasetError(f"{name} stands there twice", where=str(path), hint=_HINT)
        rows[name] = row
    return rows or None


def _refuse_repeated(heading: Sequence[str], path: Path) -> None:
    """Of two columns of one name only one would be written back. Raises DatasetError."""
    for column in heading:
        if column and heading.count(column) > 1:
            raise DatasetError(f"line 1 names the column {column} twice", where=str(path), hint=_HINT)


def distance(found: Rows | None, written: Rows) -> int:
    """In how many cells a table differs from one that we wrote: of several, it was made from the nearest."""
    return len(_each_cell(found or {}) ^ _each_cell(written))


def _each_cell(rows: Rows) -> set[tuple[str, str, str]]:
    return {(name, column, cell or "n/a") for name, cells in rows.items() for column, cell in cells.items()}


def distance_of_objects(found: Mapping[str, Json], written: Mapping[str, Json]) -> int:
    """The same of JSON objects, in keys."""
    return sum(found.get(key) != written.get(key) for key in {*found, *written})


def merged_table(
    found: Rows | None, wanted: Rows, before: Rows, *, ours: Iterable[str], ours_before: Iterable[str]
) -> tuple[list[str], dict[str, dict[str, str]]]:
    """Columns (without the key) and rows: their columns in their order, then ours that nobody deleted.

    ``ours``, ``ours_before``: our columns, now and the last time. One that we have no more goes with its
    cells, but for those that people wrote.
    """
    ours, ours_before = list(ours), set(ours_before)
    rows = merged_rows(found, wanted, before)
    there = list(dict.fromkeys(name for cells in (found or {}).values() for name in cells))
    deleted = ours_before.difference(there) if found else set()
    columns = [*there, *(name for name in ours if name not in there and name not in deleted)]
    used = {name for cells in rows.values() for name in cells}
    return [name for name in columns if name in ours or name not in ours_before or name in used], rows


def merged_rows(found: Rows | None, wanted: Rows, before: Rows) -> dict[str, dict[str, str]]:
    """Their rows with our news, then the new ones; without ours that are not wanted any more."""
    found = found or {}
    merged: dict[str, dict[str, str]] = {}
    for name, cells in found.items():
        if name in wanted:
            merged[name] = _merged_cells(cells, wanted[name], before.get(name, {}))
        elif not is_untouched(cells, before.get(name, {})):
            merged[name] = dict(cells)
    for name in wanted:
        merged.setdefault(name, dict(wanted[name]))
    return {name: {key: cell or "n/a" for key, cell in cells.items()} for name, cells in merged.items()}


def is_untouched(theirs: Cells, before: Cells) -> bool:
    """Whether a row is ours alone: every cell as we wrote it, and nothing in the columns of others."""
    return bool(before) and all(before.get(key, "n/a") == (cell or "n/a") for key, cell in theirs.items())


def _merged_cells(theirs: Cells, ours: Cells, before: Cells) -> dict[str, str]:
    cells = {key: _merged_cell(theirs.get(key), before.get(key), new) for key, new in ours.items()}
    left = {key: cell for key, cell in theirs.items() if not _is_withdrawn(key, cell, ours, before)}
    return {**left, **cells}


def _is_withdrawn(key: str, cell: str, ours: Cells, before: Cells) -> bool:
    """Whether a cell is what we wrote in a column that we have no more."""
    return key not in ours and key in before and cell == before[key]


def _merged_cell(theirs: str | None, before: str | None, new: str) -> str:
    if theirs is None or theirs == before:
        return new
    if theirs in UNKNOWN and before in (None, *UNKNOWN):
        return new
    return theirs


def merged_descriptions(
    found: Mapping[str, Json], ours: Mapping[str, Json], before: Mapping[str, Json]
) -> dict[str, Json]:
    """Describe our columns, unless a person described them better or deleted the description."""
    kept = {name: text for name, text in found.items() if text != before.get(name)}
    new = {
        name: text
        for name, text in ours.items()
        if name not in kept and (name in found or not found or name not in before)
    }
    return new | kept


def read_object(path: Path) -> dict[str, Json]:
    """Read a JSON object; an empty one if there is no file. Raises DatasetError if it is none."""
    try:
        return msgspec.json.decode(path.read_bytes(), type=dict[str, Json])
    except FileNotFoundError:
        return {}
    except msgspec.DecodeError as error:
        raise DatasetError(f"is no JSON object: {error}", where=str(path), hint=_HINT) from None
