"""The files at the top of the dataset, and of subjects. This is their single writer, so sessions never race.

People edit these files too, and none of their edits is lost (``edited``):

- ``participants.tsv/.json``, ``sub-<label>_sessions.tsv/.json``: a cell, row, column or description that a
  person wrote, changed or deleted stays as it is. To tell theirs from ours, ``<out>.base.json`` keeps what we
  wrote the last time.
- ``dataset_description.json``: what the configuration says wins; every other key stays.
- README, CHANGES, .bidsignore: written once, if there is none.

Nothing depends on when this runs: the same sessions give the same bytes.
"""

from __future__ import annotations

import hashlib
import logging
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

import msgspec

from pacs2bids import __version__
from pacs2bids.dates import ABOUT, DAY_ONE
from pacs2bids.edited import (
    Rows,
    distance,
    distance_of_objects,
    is_untouched,
    merged_descriptions,
    merged_table,
    read_object,
    read_rows,
)
from pacs2bids.files import (
    read_record,
    remove_unfinished,
    sha256,
    tsv_text,
    write_json,
    write_record,
    write_text,
)
from pacs2bids.model import Json, PlacedSession
from pacs2bids.owned import SOURCEDATA

log = logging.getLogger("pacs2bids.dataset")

# the newest version that both bids-validator 3.0 (schema 1.2.7) and the readers of datasets know
BIDS_VERSION = "1.10.1"

# BIDS, Participants file: "participant ages should be capped at 89 years"
OLDEST_AGE_YEARS = 89

EDITED = ("dataset_description.json", "participants.tsv", "participants.json")
PARTICIPANT, SESSION = "participant_id", "session_id"
_AGE: Json = {"Description": "Age at the first session that tells one", "Units": "year"}
_SEX: Json = {
    "Description": "Sex as registered at the scanner, at the first session that tells it",
    "Levels": {"F": "female", "M": "male", "O": "other"},
}
COLUMNS: dict[str, Json] = {"age": _AGE, "sex": _SEX}
_SESSION_AGE: Json = {"Description": "Age at this session", "Units": "year"}

README_NAMES = ("README", "README.md", "README.rst", "README.txt")
README = """\
# {name}

This dataset follows the Brain Imaging Data Structure (BIDS). It was converted from DICOM by pacs2bids, which
also wrote this text because there was none: replace it by your own, it will not be touched again.

What a reader wants to know: what the study is about, who took part and how they were chosen, which tasks
they did, how the data were acquired, what is missing and why, and whom to ask.
"""
# BIDS wants the format of CPAN::Changes::Spec, which allows "Not Released" for the date
CHANGES = """\
0.1.0 Not Released
  - Converted from DICOM by pacs2bids.
"""
BIDSIGNORE = "# What the validator shall not look at, one pattern a line, as in .gitignore\n"


@dataclass(frozen=True, slots=True, kw_only=True)
class DatasetRecord:
    """``dataset.json``: what stands at the top of the dataset; ``files`` maps names to SHA-256.

    ``placed``: SHA-256 of the records of all sessions, so that this one changes with any of them: check and
    report come after it, and need not look at a thousand files to know that they are out of date.
    """

    bids_version: str
    placed: str
    participants: tuple[str, ...]
    sessions: tuple[str, ...]
    files: dict[str, str]


@dataclass(frozen=True, slots=True, kw_only=True)
class Told:
    """What a person tells of the dataset.

    ``description``: fields of dataset_description.json; Name is among them. ``participants``: participant_id
    -> cells for participants.tsv, which win over headers. ``columns``: their descriptions. ``container``:
    what this program runs in, as BIDS describes it (GeneratedBy); empty if in none.
    """

    description: Mapping[str, Json]
    participants: Rows = field(default_factory=dict)
    columns: Mapping[str, Json] = field(default_factory=dict)
    container: Mapping[str, Json] = field(default_factory=dict)


@dataclass(frozen=True, slots=True, kw_only=True)
class Base:
    """``<out>.base.json``: what we ourselves wrote the last time, without anybody's edits.

    ``sessions``: participant_id -> rows of its table. ``session_columns``: of all these tables. ``studies``:
    participant_id -> session_id -> UIDs. ``others``: what else may stand there instead, file by file, because
    a run was killed while it wrote.
    """

    description: dict[str, Json] = field(default_factory=dict)
    participants: dict[str, dict[str, str]] = field(default_factory=dict)
    columns: dict[str, Json] = field(default_factory=dict)
    sessions: dict[str, dict[str, dict[str, str]]] = field(default_factory=dict)
    session_columns: dict[str, Json] = field(default_factory=dict)
    studies: dict[str, dict[str, tuple[str, ...]]] = field(default_factory=dict)
    others: tuple[Base, ...] = ()

    @property
    def each(self) -> tuple[Base, ...]:
        """All that may stand there, without others of their own."""
        return (replace(self, others=()), *self.others)

    def until(self, after: Base) -> Base:
        """What may stand there while ``after`` replaces it."""
        return self if after in self.each else replace(self, others=(*self.others, after))


@dataclass(frozen=True, slots=True, kw_only=True)
class _Table:
    """What we write into a table, or wrote into it: rows, and columns with their descriptions.

    ``studies``: of each row.
    """

    rows: Rows
    columns: Mapping[str, Json]
    studies: Mapping[str, tuple[str, ...]]


def write_dataset(*, bids: Path, out: Path, placed: Sequence[PlacedSession], told: Told) -> DatasetRecord:
    """Write the top-level files for these sessions; the record goes to ``out``.

    Sessions without volumes bring no participant. Raises DatasetError if a file that people edit cannot be
    read any more.
    """
    _remove_empty_subjects(bids)
    remove_unfinished(out.with_suffix(".base.json"))
    for name in (*EDITED, "README.md", "CHANGES", ".bidsignore"):
        remove_unfinished(bids / name)
    sessions = sorted((one for one in placed if one.volumes), key=lambda one: one.session_key)
    base_path = out.with_suffix(".base.json")
    base = read_record(base_path, Base) if base_path.exists() else Base()
    wanted = _wanted(sessions, told)
    write_record(base_path, base.until(wanted))
    _write_description(bids / "dataset_description.json", wanted, base.each)
    _write_participants(bids, wanted, base.each)
    tables = _write_sessions(bids, wanted, base.each)
    readme = _write_once(bids, README_NAMES, "README.md", README.format(name=told.description["Name"]))
    changes = _write_once(bids, ("CHANGES",), "CHANGES", CHANGES)
    ignore = _write_once(bids, (".bidsignore",), ".bidsignore", BIDSIGNORE)
    write_record(base_path, wanted)
    names = [*EDITED, readme, changes, ignore, *tables]
    record = DatasetRecord(
        bids_version=BIDS_VERSION,
        placed=_digest(placed),
        participants=tuple(wanted.participants),
        sessions=tuple(session.session_key for session in sessions),
        files={name: sha256(bids / name) for name in sorted(names)},
    )
    write_record(out, record)
    return record


def _digest(placed: Iterable[PlacedSession]) -> str:
    """SHA-256 of the records, in whatever order they came."""
    records = sorted(msgspec.json.encode(session) for session in placed)
    return hashlib.sha256(b"\n".join(records)).hexdigest()


def _wanted(sessions: Sequence[PlacedSession], told: Told) -> Base:
    by_subject: dict[str, list[PlacedSession]] = {}
    for session in sorted(sessions, key=lambda one: (one.begun or "~", one.session_key)):
        by_subject.setdefault(f"sub-{session.subject}", []).append(session)
    subjects = dict(sorted(by_subject.items()))
    for name, in_time_order in subjects.items():
        _warn_of_mixed_dates(name, in_time_order)
    return Base(
        description=_description(told),
        participants={name: _participant(name, subjects[name], told) for name in subjects},
        columns={**COLUMNS, **told.columns},
        sessions={name: rows for name in subjects if (rows := _session_rows(subjects[name]))},
        session_columns=_session_columns(sessions),
        studies={name: {f"ses-{one.session}": _studies(one) for one in subjects[name]} for name in subjects},
    )


def _studies(session: PlacedSession) -> tuple[str, ...]:
    return tuple(sorted({volume.partition("/")[0] for volume in session.volumes.values()} - {""}))


# ---------------------------------------------------------------------------------- dataset_description.json


def _description(told: Told) -> dict[str, Json]:
    generated: dict[str, Json] = {"Name": "pacs2bids", "Version": __version__}
    if told.container:
        generated["Container"] = dict(told.container)
    name = told.description["Name"]
    fixed: dict[str, Json] = {"Name": name, "BIDSVersion": BIDS_VERSION, "DatasetType": "raw"}
    return fixed | dict(told.description) | {"GeneratedBy": [generated]}


def _write_description(path: Path, wanted: Base, bases: Sequence[Base]) -> None:
    found = read_object(path)
    before = _nearest(found, [base.description for base in bases])
    merged = dict(wanted.description)
    for key, value in found.items():
        ours_before = before.get(key)
        if key == "GeneratedBy":
            merged[key] = [*_list(merged[key]), *(entry for entry in _list(value) if not _is_ours(entry))]
        elif key not in merged and value != ours_before:
            merged[key] = value
        elif key in merged and value not in (merged[key], ours_before):
            log.warning("%s: %s was edited; the configuration says otherwise, and wins", path, key)
    _write_object(path, found, merged)


def _list(value: Json) -> list[Json]:
    return value if isinstance(value, list) else [value]


def _is_ours(entry: Json) -> bool:
    return isinstance(entry, dict) and entry.get("Name") == "pacs2bids"


# ------------------------------------------------------------------------------------------ participants.tsv


def _participant(name: str, sessions: Sequence[PlacedSession], told: Told) -> dict[str, str]:
    """Of its sessions in time order the first that says it; what a person tells wins."""
    facts = [session.participant for session in sessions]
    ages = [age for each in facts if (age := _age(each)) != "n/a"]
    sexes = [str(each["sex"]) for each in facts if each.get("sex")]
    if len(set(sexes)) > 1 and "sex" not in told.participants.get(name, {}):
        listed = ", ".join(sorted(set(sexes)))
        log.warning(
            "%s: sex differs between sessions (%s); the first counts: is it one person?", name, listed
        )
    row = {"age": next(iter(ages), "n/a"), "sex": next(iter(sexes), "n/a")}
    for column in told.columns:
        row.setdefault(column, "n/a")
    return row | {column: cell for column, cell in told.participants.get(name, {}).items() if cell}


def _age(facts: Mapping[str, Json]) -> str:
    age = facts.get("age")
    return str(min(age, OLDEST_AGE_YEARS)) if isinstance(age, int | float) else "n/a"


def _write_participants(bids: Path, wanted: Base, bases: Sequence[Base]) -> None:
    path = bids / "participants.tsv"
    found = read_rows(path, PARTICIPANT, "participant", prefix="sub-")
    ours, *before = (
        _Table(rows=base.participants, columns=base.columns, studies=_by_participant(base))
        for base in (wanted, *bases)
    )
    _write_table(path, PARTICIPANT, found, ours, before)


def _by_participant(base: Base) -> dict[str, tuple[str, ...]]:
    return {name: tuple(sorted(sum(each.values(), ()))) for name, each in base.studies.items()}


def _relabelled(found: Rows | None, before: _Table, after: _Table) -> dict[str, str]:
    """Rows whose label was corrected, old -> new: its studies have another one now, and that row is free."""
    label_of = {studies: name for name, studies in after.studies.items() if studies}
    now = {name: label_of.get(studies, name) for name, studies in before.studies.items()}
    moved = {name: new for name, new in now.items() if new != name and name in (found or {})}
    while taken := [name for name, new in moved.items() if new in (found or {}) and new not in moved]:
        for name in taken:
            del moved[name]
    return moved


def _write_table(path: Path, key: str, found: Rows | None, ours: _Table, before: Sequence[_Table]) -> None:
    """Merge a table and its description with what people made of ours, which was one of ``before``."""
    last = min(before, key=lambda table: distance(found, table.rows))
    moved = _relabelled(found, last, ours)
    found, rows_before = (
        rows and {moved.get(name, name): cells for name, cells in rows.items()} for rows in (found, last.rows)
    )
    names, merged = merged_table(
        found, ours.rows, rows_before or {}, ours=ours.columns, ours_before=last.columns
    )
    about = path.with_suffix(".json")
    described = read_object(about)
    columns = {name: text for name, text in ours.columns.items() if name in names}
    columns_before = _nearest(described, [table.columns for table in before])
    _write_changed(path, tsv_text([key, *names], ({key: name} | merged[name] for name in sorted(merged))))
    _write_object(about, described, merged_descriptions(described, columns, columns_before))


def _nearest(found: Mapping[str, Json], written: Iterable[Mapping[str, Json]]) -> Mapping[str, Json]:
    """From which of the objects that we wrote a person's was made."""
    return min(written, key=lambda one: distance_of_objects(found, one))


# ---------------------------------------------------------------------------------------------- sessions.tsv


def _session_rows(sessions: Iterable[PlacedSession]) -> dict[str, dict[str, str]]:
    """session_id -> cells; nothing of a subject without sessions."""
    return {
        f"ses-{one.session}": {"acq_time": _first_time(one) or "n/a", "age": _age(one.participant)}
        for one in sessions
        if one.session
    }


def _first_time(session: PlacedSession) -> str:
    """When it began, unless all sessions are said to begin on one day."""
    return "" if session.dates.startswith(DAY_ONE) else session.acq_time


def _session_columns(sessions: Iterable[PlacedSession]) -> dict[str, Json]:
    policies = sorted({one.dates.partition(" ")[0] for one in sessions if one.session and _first_time(one)})
    about = " ".join(["Start of the first acquisition.", *(ABOUT[one] for one in policies if one in ABOUT)])
    return {"acq_time": {"Description": about}, "age": _SESSION_AGE}


def _warn_of_mixed_dates(name: str, sessions: Sequence[PlacedSession]) -> None:
    if len({session.dates for session in sessions}) > 1:
        what = "dates of its sessions are hidden in different ways, so that intervals between them are wrong"
        log.warning("%s: %s; run `snakemake --forcerun place`", name, what)


def _write_sessions(bids: Path, wanted: Base, bases: Sequence[Base]) -> list[str]:
    """The table of each subject with sessions; returns paths in the dataset. Those of subjects gone go."""
    written = []
    for name in sorted({name for base in (wanted, *bases) for name in base.sessions}):
        path = bids / name / f"{name}_sessions.tsv"
        for killed in (path, path.with_suffix(".json")):
            remove_unfinished(killed)
        tables = (
            _Table(
                rows=base.sessions.get(name, {}),
                columns=base.session_columns,
                studies=base.studies.get(name, {}),
            )
            for base in (wanted, *bases)
        )
        ours, *before = tables
        found = read_rows(path, SESSION, "session", prefix="ses-")
        if not ours.rows and _is_gone(path, found, before):
            continue
        _write_table(path, SESSION, found, ours, before)
        written += [path.relative_to(bids).as_posix()]
    return [name for path in written for name in (path, path.removesuffix(".tsv") + ".json")]


def _is_gone(path: Path, found: Rows | None, before: Sequence[_Table]) -> bool:
    """Whether the table of a subject without sessions is not there, or was ours alone and is removed now.

    A description that a person edited stays.
    """
    rows = min((table.rows for table in before), key=lambda one: distance(found, one))
    if found and not all(is_untouched(cells, rows.get(name, {})) for name, cells in found.items()):
        return False
    path.unlink(missing_ok=True)
    about = path.with_suffix(".json")
    described = read_object(about)
    columns = _nearest(described, [table.columns for table in before])
    if all(text == columns.get(name) for name, text in described.items()):
        about.unlink(missing_ok=True)
    else:
        log.warning("%s: kept, for it was edited; its subject has no sessions any more", about)
    _remove_if_empty(path.parent)
    return True


# ---------------------------------------------------------------------------------------------------- files


def _remove_empty_subjects(bids: Path) -> None:
    """Folders that renamed sessions left; a session cannot know whether another one is about to use it."""
    for root in (bids / SOURCEDATA, bids):
        for folder in root.glob("sub-*"):
            _remove_if_empty(folder)
    _remove_if_empty(bids / SOURCEDATA)


def _remove_if_empty(folder: Path) -> None:
    """Remove a folder if there is one with nothing in it."""
    if folder.is_dir() and not any(folder.iterdir()):
        folder.rmdir()


def _write_changed(path: Path, text: str) -> None:
    """Write a file unless it says the same already."""
    if not path.exists() or path.read_bytes() != text.encode():
        write_text(path, text)


def _write_object(path: Path, found: Mapping[str, Json], merged: Mapping[str, Json]) -> None:
    if dict(found) != dict(merged) or not path.exists():
        write_json(path, merged)


def _write_once(bids: Path, names: Iterable[str], name: str, content: str) -> str:
    """Write the file unless there is one under any of ``names``; returns the name it has."""
    for there in names:
        if (bids / there).exists():
            return there
    write_text(bids / name, content)
    return name
