"""What people noted of the volumes of a session, for another session that has the volumes now.

A study is of one session at a time; its folder says which placed it the last time (``placed_in.json``). Where
that was another one, the next session takes the notes over. It only reads the files of the other, which may
be placed at the same moment: first its table, then ``scans.base.json``. Whoever places writes them in the
other order, so that a note which is not in the table any more is in the record.
"""

from __future__ import annotations

import logging
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path

from pacs2bids.edited import UNKNOWN, Cells, Rows, read_object, read_rows
from pacs2bids.files import read_record, sha256, write_record
from pacs2bids.model import DatasetError, Json, session_folder
from pacs2bids.scans import KEY, TIME, Scan, ScansBase, as_written, note_of

log = logging.getLogger("pacs2bids.place")

SCANS_BASE = "scans.base.json"  # what we wrote into the scans table the last time
_HOME = "placed_in.json"


@dataclass(frozen=True, slots=True, kw_only=True)
class Home:
    """``placed_in.json`` of a study: the session that placed it the last time."""

    session_key: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Noted:
    """What people wrote of a session's volumes.

    ``notes``: volume ("<study>/<stack>") -> cells. ``unnamed``: those of them that only the record of the
    session has, as their volumes have no name. ``columns``: their descriptions of columns. ``is_more``:
    whether the table holds more of people, which belongs to no volume: rows of their own, times they changed.
    ``studies``: of which there are volumes.
    """

    notes: Mapping[str, dict[str, str]] = field(default_factory=dict)
    unnamed: frozenset[str] = frozenset()
    columns: Mapping[str, Json] = field(default_factory=dict)
    is_more: bool = False
    studies: frozenset[str] = frozenset()

    def without(self, other: Noted) -> Noted:
        """What of it the other does not have."""
        notes = {
            volume: left
            for volume, cells in self.notes.items()
            if (left := dict(cells.items() - other.notes.get(volume, {}).items()))
        }
        columns = {name: text for name, text in self.columns.items() if other.columns.get(name) != text}
        return Noted(
            notes=notes,
            unnamed=self.unnamed & notes.keys(),
            columns=columns,
            is_more=self.is_more,
            studies=self.studies,
        )

    def instead_of(self, found: Rows | None, recorded: ScansBase) -> tuple[Rows | None, ScansBase]:
        """A session's own table and record, with this instead of what they still say of these studies.

        Who had them last knows best: a session to which a study comes back holds old notes of it.
        """
        rows: dict[str, Cells] = {}
        for name, cells in (found or {}).items():
            scan = as_written(recorded.rows.get(name, ()), cells)
            is_old = scan is not None and _study(scan.volume) in self.studies
            rows[name] = dict.fromkeys(cells, "") | _time(cells) if is_old else cells
        kept = {volume: note for volume, note in recorded.notes.items() if _study(volume) not in self.studies}
        return rows or None, replace(recorded, notes=kept | dict(self.notes))

    @property
    def is_in_table(self) -> bool:
        """Whether anything of it stands in the table or its description."""
        return self.is_more or bool(self.columns) or not self.notes.keys() <= self.unnamed


def scans_paths(session_key: str) -> tuple[str, str]:
    """The session's scans table in the dataset, and its description."""
    path = f"{session_folder(session_key)}/{session_key}_scans"
    return f"{path}.tsv", f"{path}.json"


def read_base(session_dir: Path) -> ScansBase:
    """What we wrote into the session's table the last time; empty if never."""
    record = session_dir / SCANS_BASE
    return read_record(record, ScansBase) if record.exists() else ScansBase()


def table_digest(path: Path) -> str:
    """SHA-256 of a table, as ``ScansBase.by_table``."""
    return sha256(path) if path.exists() else ""


def noted_in(session_dir: Path, bids: Path) -> Noted:
    """What people noted in a session. Raises DatasetError if they left a table that cannot be read."""
    table, about = (bids / path for path in scans_paths(session_dir.name))
    found = read_rows(table, KEY, "file") or {}
    described = read_object(about)
    base = read_base(session_dir).of_table(table_digest(table))  # after the table: see above
    described = base.described | described
    written = {name: as_written(base.rows.get(name, ()), cells) for name, cells in found.items()}
    notes = {volume: note for volume, cells in base.notes.items() if (note := note_of(cells))}
    named = set()
    for name, cells in found.items():
        scan = written[name]
        if scan is not None and (note := note_of(cells)):
            notes[scan.volume] = {**notes.get(scan.volume, {}), **note}
            named.add(scan.volume)
    volumes = {scan.volume for scans in base.rows.values() for scan in scans} | notes.keys()
    return Noted(
        notes=notes,
        unnamed=frozenset(notes.keys() - named),
        columns={name: text for name, text in described.items() if text != base.columns.get(name)},
        is_more=any(_is_more(cells, written[name]) for name, cells in found.items()),
        studies=frozenset(_study(volume) for volume in volumes),
    )


def _is_more(cells: Cells, written: Scan | None) -> bool:
    return written is None or cells.get(TIME, "") not in (*UNKNOWN, written.acq_time)


def _time(cells: Cells) -> dict[str, str]:
    return {column: cell for column, cell in cells.items() if column == TIME}


def _study(volume: str) -> str:
    return volume.partition("/")[0]


# ------------------------------------------------------------------------------------ from one to another


def home_of(study_dir: Path) -> str:
    """The session that placed the study the last time; "" if none did."""
    record = study_dir / _HOME
    return read_record(record, Home).session_key if record.exists() else ""


def bring_home(session_key: str, study_dirs: Iterable[Path]) -> None:
    """Note that this session has placed the studies, and with them what was noted of them."""
    for folder in study_dirs:
        if home_of(folder) != session_key:
            write_record(folder / _HOME, Home(session_key=session_key))


def noted_elsewhere(session_dir: Path, bids: Path, study_dirs: Iterable[Path]) -> Noted:
    """What people noted of volumes of these studies while these were another session's."""
    notes: dict[str, dict[str, str]] = {}
    columns: dict[str, Json] = {}
    studies: set[str] = set()
    for folder in study_dirs:
        other = home_of(folder)
        if other in ("", session_dir.name):
            continue
        try:
            noted = noted_in(session_dir.with_name(other), bids)
        except DatasetError as error:
            log.warning("what was noted in %s cannot be taken over: %s", other, error)
            continue
        moved = {volume: note for volume, note in noted.notes.items() if _study(volume) == folder.name}
        used = {column for note in moved.values() for column in note}
        studies.add(folder.name)
        notes |= moved
        columns |= {name: text for name, text in noted.columns.items() if name in used}
        if moved:
            log.info("notes on %d volumes taken over from %s", len(moved), other)
    return Noted(notes=notes, columns=columns, studies=frozenset(studies))


def left_to_lose(session_dir: Path, bids: Path, studies_dir: Path) -> Noted:
    """What people noted in a session that is to be removed, and no session that has its volumes now holds.

    Raises DatasetError if a table cannot be read.
    """
    noted = noted_in(session_dir, bids)
    homes = {home_of(studies_dir / study) for study in noted.studies} - {"", session_dir.name}
    for home in sorted(homes):
        noted = noted.without(noted_in(session_dir.with_name(home), bids))
    return noted
