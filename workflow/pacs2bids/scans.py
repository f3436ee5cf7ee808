"""The scans table of a session (BIDS, "Scans file"), merged with what people wrote into it.

Its rows follow the volumes: when a volume gets another name, what a person noted of it (a column "quality",
say) stands beside the new one. A note on a volume that has lost its name is kept for when it has one again.
"""

from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace

from pacs2bids.edited import UNKNOWN, Cells, Rows, merged_descriptions, merged_table
from pacs2bids.files import tsv_text
from pacs2bids.model import Json

log = logging.getLogger("pacs2bids.place")

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
    cells of people, of volumes that have no row. ``columns``: our descriptions of columns. ``described``:
    those of people while there is no table. ``by_table``: meanwhile, what we wrote by the SHA-256 of the
    table that stands there ("": none).
    """

    rows: dict[str, tuple[Scan, ...]] = field(default_factory=dict)
    notes: dict[str, dict[str, str]] = field(default_factory=dict)
    columns: dict[str, Json] = field(default_factory=dict)
    described: dict[str, Json] = field(default_factory=dict)
    by_table: dict[str, ScansBase] = field(default_factory=dict)

    def until(self, digest: str, after: ScansBase, digest_after: str) -> ScansBase:
        """What may stand in the table while ``after`` replaces this; digests: as ``by_table``."""
        names = dict.fromkeys([*self.rows, *after.rows])
        rows = {name: (*after.rows.get(name, ()), *self.rows.get(name, ())) for name in names}
        return ScansBase(
            rows=rows,
            notes=self.notes | after.notes,
            columns=self.columns,
            described=self.described | after.described,
            by_table={digest: replace(self, by_table={}), digest_after: after},
        )

    def of_table(self, digest: str) -> ScansBase:
        """What we wrote into this table. After a kill both that may be, if people edited it since."""
        return self.by_table.get(digest, self)


@dataclass(frozen=True, slots=True, kw_only=True)
class ScansTable:
    """The table and its description to be, and the next base. ``text``: "" for no table."""

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
    described = {**before.described, **described}
    description = merged_descriptions(described, columns, before.columns)
    theirs = {name: text for name, text in description.items() if text != columns.get(name)}
    base = ScansBase(
        rows={scan.filename: (scan,) for scan in scans},
        notes=notes,
        columns=columns if order else {},
        described={} if order else theirs,
    )
    text = tsv_text([KEY, *names], ({KEY: name, **merged[name]} for name in order))
    return ScansTable(text=text if order else "", description=description, base=base)


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
    written = {name: as_written(before.rows.get(name, ()), cells) for name, cells in found.items()}
    # first the rows that stay where they are, so that another one is never put into their place
    for name in sorted(found, key=lambda name: not _stays(name, volumes, written[name])):
        scan, cells = written[name], found[name]
        now = _name_now(name, volumes, scan, before)
        if now is not None and now not in rows:
            rows[now], ours[now] = cells, _cells(scan) if scan else {}
        elif note := note_of(cells) | _time_of(cells, scan):
            whose = scan.volume if scan else _whose(name, before)
            notes[whose] = {**notes.get(whose, {}), **note}
            log.warning("%s: what people noted there is kept in the workdir for volume %s", name, whose)
    there = {column: "" for cells in found.values() for column in cells}
    for scan in scans:
        # where there is no table, the time is a column of it to be, and none that people deleted
        if found or scan.volume in notes:
            rows.setdefault(scan.filename, there if found else {TIME: ""})
        if scan.volume in notes:
            rows[scan.filename] = _completed(rows[scan.filename], notes[scan.volume])
    return rows, ours, {volume: note for volume, note in notes.items() if volume not in volumes.values()}


def _completed(row: Cells, note: Cells) -> Cells:
    """What was noted of a volume beside what its row says; the row wins."""
    return {**row, **note, **{column: cell for column, cell in row.items() if cell not in UNKNOWN}}


def as_written(written: Sequence[Scan], cells: Cells) -> Scan | None:
    """Which of the rows that we may have written a row was; None if it was none, or cannot be told."""
    same = [scan for scan in written if _cells(scan)[TIME] == cells.get(TIME)] or written
    return same[0] if len({scan.volume for scan in same}) == 1 else None


def _stays(name: str, volumes: Mapping[str, str], written: Scan | None) -> bool:
    return written is not None and volumes.get(name) == written.volume


def _name_now(name: str, volumes: Mapping[str, str], written: Scan | None, before: ScansBase) -> str | None:
    """Where a row belongs: to a name that its volume has now. None: nowhere, or that cannot be told."""
    if written is None:
        return None if name in before.rows else name
    if _stays(name, volumes, written):
        return name
    return next((other for other, volume in volumes.items() if volume == written.volume), None)


def _whose(name: str, before: ScansBase) -> str:
    """Under what to keep a note of which it cannot be told whose it is: apart from others of these."""
    volumes = " or ".join(sorted({scan.volume for scan in before.rows.get(name, ())}))
    return f"{volumes} ({name})"


def _time_of(cells: Cells, written: Scan | None) -> dict[str, str]:
    """The time, where people changed it."""
    is_theirs = written is not None and cells.get(TIME, "") not in (*UNKNOWN, _cells(written)[TIME])
    return {TIME: cells[TIME]} if is_theirs else {}


def note_of(cells: Cells) -> dict[str, str]:
    """What people wrote of a volume."""
    return {column: cell for column, cell in cells.items() if column != TIME and cell not in UNKNOWN}
