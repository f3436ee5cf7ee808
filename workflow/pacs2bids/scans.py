"""The scans table of a session (BIDS, "Scans file"), merged with what people wrote into it.

Its rows follow the volumes: when a volume gets another name, what a person noted of it (a column "quality",
say) stands beside the new one. A note on a volume that has lost its name is kept for when it has one again.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from pacs2bids.edited import UNKNOWN, Cells, Rows, merged_descriptions, merged_table
from pacs2bids.files import tsv_text
from pacs2bids.model import Json

KEY, TIME = "filename", "acq_time"


@dataclass(frozen=True, slots=True, kw_only=True)
class Scan:
    """A row: file, relative to the table; when, as the dataset tells it; which volume ("<study>/<stack>")."""

    filename: str
    acq_time: str | None
    volume: str


@dataclass(frozen=True, slots=True, kw_only=True)
class ScansBase:
    """``scans.base.json``: what we wrote the last time.

    ``rows``: by filename; two in one place while a run goes from one table to the next. ``notes``: volume ->
    cells of people, of volumes that have no row. ``columns``: their descriptions.
    """

    rows: dict[str, tuple[Scan, ...]] = field(default_factory=dict)
    notes: dict[str, dict[str, str]] = field(default_factory=dict)
    columns: dict[str, Json] = field(default_factory=dict)

    def until(self, after: ScansBase) -> ScansBase:
        """What may stand in the table while ``after`` replaces this."""
        names = dict.fromkeys([*self.rows, *after.rows])
        rows = {name: (*after.rows.get(name, ()), *self.rows.get(name, ())) for name in names}
        return ScansBase(rows=rows, notes=self.notes | after.notes, columns=self.columns)


@dataclass(frozen=True, slots=True, kw_only=True)
class ScansTable:
    """The table and its description to be, and the next base."""

    text: str
    description: dict[str, Json]
    base: ScansBase


def scans_table(
    scans: Sequence[Scan], found: Rows | None, described: Mapping[str, Json], before: ScansBase, about: str
) -> ScansTable:
    """Merge. ``found``, ``described``: what stands in the dataset. ``about``: what to say of the times.

    Rows of ours come in time order, then those of people.
    """
    # "n" sorts after digits, so that files without a time come last
    scans = sorted(scans, key=lambda scan: (scan.acq_time or "n/a", scan.filename))
    wanted = {scan.filename: _cells(scan) for scan in scans}
    columns: dict[str, Json] = {TIME: {"Description": about}}
    rows, ours_before, notes = _followed(found or {}, scans, before)
    names, merged = merged_table(rows, wanted, ours_before, ours=columns, ours_before=before.columns)
    order = [*wanted, *(name for name in merged if name not in wanted)]
    base = ScansBase(rows={scan.filename: (scan,) for scan in scans}, notes=notes, columns=columns)
    return ScansTable(
        text=tsv_text([KEY, *names], ({KEY: name, **merged[name]} for name in order)),
        description=merged_descriptions(described, columns, before.columns),
        base=base,
    )


def _cells(scan: Scan) -> dict[str, str]:
    return {TIME: scan.acq_time or "n/a"}


def _followed(
    found: Rows, scans: Sequence[Scan], before: ScansBase
) -> tuple[dict[str, Cells], dict[str, Cells], dict[str, dict[str, str]]]:
    """Their rows under the names of now, what we had written of these, and notes on volumes without a row."""
    volumes = {scan.filename: scan.volume for scan in scans}
    rows: dict[str, Cells] = {}
    ours: dict[str, Cells] = {}
    notes = dict(before.notes)
    for name, cells in found.items():
        written = as_written(before.rows.get(name, ()), cells)
        now = _name_now(name, volumes, written)
        if now in volumes or written is None:
            rows[now], ours[now] = cells, _cells(written) if written else {}
        elif note := note_of(cells):
            notes[written.volume] = note
    for scan in scans:
        if scan.volume in notes:
            # where there is no table, the time is a column of it to be, and none that people deleted
            _complete(rows, scan.filename, notes[scan.volume], {} if found else _cells(scan))
    return rows, ours, {volume: note for volume, note in notes.items() if volume not in volumes.values()}


def _complete(rows: dict[str, Cells], name: str, note: Cells, new: Cells) -> None:
    """Put what was noted of a volume beside what its row says; the row wins."""
    known = {column: cell for column, cell in rows.get(name, new).items() if cell not in UNKNOWN}
    rows[name] = {**rows.get(name, new), **note, **known}


def as_written(written: Sequence[Scan], cells: Cells) -> Scan | None:
    """Which of the rows that we may have written a row was."""
    same = [scan for scan in written if _cells(scan)[TIME] == cells.get(TIME)]
    return next(iter([*same, *written]), None)


def _name_now(name: str, volumes: Mapping[str, str], written: Scan | None) -> str:
    """Where a row belongs: to the name that its volume has now."""
    if written is None:
        return name
    names = [other for other, volume in volumes.items() if volume == written.volume]
    return names[0] if len(names) == 1 else name


def note_of(cells: Cells) -> dict[str, str]:
    """What people wrote of a volume."""
    return {column: cell for column, cell in cells.items() if column != TIME and cell not in UNKNOWN}
