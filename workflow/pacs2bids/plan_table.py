"""``plan.tsv``: the plan of one session as a table that a person can read, compare and keep.

Columns are the fields of ``model.PlanRow``, in the order of ``COLUMNS``; what is empty is written "n/a" as
in BIDS tables. ``acquired``: ISO date and time. ``dims``: columns x rows x slices x volumes. ``metadata``
and ``beside``: JSON objects; ``calls``: a list of them. ``instances``: DICOM instances of the stack (0: it
was refused), or of a series that has none. The table may hold free text of the console
(``series_description``), so that only its owner may read it.
"""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

import msgspec

from pacs2bids.files import read_tsv, write_tsv
from pacs2bids.model import PlanError, PlanRow

COLUMNS = (
    "acquired",
    "series_number",
    "series_description",
    "dims",
    "instances",
    "bids_name",
    "reason",
    "origin",
    "metadata",
    "notes",
    "beside",
    "sourcedata",
    "calls",
    "physiology",
    "stack_id",
    "series_instance_uid",
    "study_instance_uid",
)
_JSON = {"metadata": "{}", "beside": "{}", "calls": "[]"}  # when empty
_EMPTY = "n/a"


def write_plan(path: Path, rows: Iterable[PlanRow]) -> None:
    """Write ``plan.tsv``, atomically."""
    write_tsv(path, COLUMNS, (_cells(row) for row in rows), mode=0o600)


def read_plan(path: Path) -> list[PlanRow]:
    """Read ``plan.tsv``.

    Raises PlanError if the file is missing or a row is no row of a plan.
    """
    try:
        table = read_tsv(path)
    except FileNotFoundError:
        raise PlanError("is missing", where=str(path), hint="Run 'pacs2bids plan' first") from None
    return [_row(cells, where=f"{path}, line {number}") for number, cells in enumerate(table, start=2)]


def _cells(row: PlanRow) -> dict[str, object]:
    cells: dict[str, object] = {column: getattr(row, column) for column in COLUMNS}
    for column in _JSON:
        cells[column] = msgspec.json.encode(cells[column]).decode() if cells[column] else None
    return {column: None if value == "" else value for column, value in cells.items()}


def _row(cells: dict[str, str], *, where: str) -> PlanRow:
    said: dict[str, object] = {
        column: "" if value == _EMPTY else value for column, value in cells.items() if column in COLUMNS
    }
    said["series_number"] = said.get("series_number") or None
    try:
        for column, empty in _JSON.items():
            said[column] = msgspec.json.decode(str(said.get(column) or empty))
        return msgspec.convert(said, PlanRow, strict=False)
    except (msgspec.ValidationError, msgspec.DecodeError) as error:
        hint = "Delete the file and run 'pacs2bids plan' again"
        raise PlanError(f"is no row of a plan: {error}", where=where, hint=hint) from error
