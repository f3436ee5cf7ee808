"""The files at the top of the dataset. This is their single writer, so sessions never race for them.

People edit these files too, and none of their edits is lost:

- ``participants.tsv/.json``: a cell, row, column or description that a person wrote, changed or deleted stays
  as it is. To tell theirs from ours, ``<out>.base.json`` keeps what we wrote the last time.
- ``dataset_description.json``: what the configuration says wins; every other key stays.
- README, CHANGES, .bidsignore: written once, if there is none.

Nothing depends on when or where this runs: the same sessions give the same bytes.
"""

from __future__ import annotations

import hashlib
import logging
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import msgspec

from pacs2bids import __version__
from pacs2bids.files import (
    read_record,
    read_tsv,
    remove_unfinished,
    write_json,
    write_record,
    write_text,
    write_tsv,
)
from pacs2bids.model import DatasetError, Json, PlacedSession

log = logging.getLogger("pacs2bids.dataset")

# the newest version that both bids-validator 3.0 (schema 1.2.7) and the readers of datasets know
BIDS_VERSION = "1.10.1"

# BIDS, Participants file: "participant ages should be capped at 89 years"
OLDEST_AGE_YEARS = 89

EDITED = ("dataset_description.json", "participants.tsv", "participants.json")
COLUMNS: dict[str, Json] = {
    "age": {"Description": "Age at the first session that is in the dataset", "Units": "year"},
    "sex": {
        "Description": "Sex as registered at the scanner",
        "Levels": {"F": "female", "M": "male", "O": "other"},
    },
}
_UNKNOWN = ("", "n/a")

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
    """``dataset.json``: what stands at the top of the dataset; ``files`` maps names to SHA-256."""

    bids_version: str
    participants: tuple[str, ...]
    sessions: tuple[str, ...]
    files: dict[str, str]


@dataclass(frozen=True, slots=True, kw_only=True)
class Base:
    """``<out>.base.json``: what we ourselves wrote the last time, without anybody's edits."""

    description: dict[str, Json] = field(default_factory=dict)
    participants: dict[str, dict[str, str]] = field(default_factory=dict)
    columns: dict[str, Json] = field(default_factory=dict)


def write_dataset(
    *, bids: Path, out: Path, placed: Sequence[PlacedSession], description: Mapping[str, Json]
) -> DatasetRecord:
    """Write the top-level files for these sessions; the record goes to ``out``.

    ``description``: fields of dataset_description.json that the configuration tells; Name is among them.
    Sessions without files bring no participant. Raises DatasetError if a file that people edit cannot be
    read any more.
    """
    _remove_empty_subjects(bids)
    remove_unfinished(out.with_suffix(".base.json"))
    for name in (*EDITED, "README.md", "CHANGES", ".bidsignore"):
        remove_unfinished(bids / name)
    sessions = sorted((session for session in placed if session.files), key=lambda each: each.session_key)
    base_path = out.with_suffix(".base.json")
    base = read_record(base_path, Base) if base_path.exists() else Base()
    wanted = Base(
        description=_description(description), participants=_participants(sessions), columns=COLUMNS
    )
    _write_description(bids / "dataset_description.json", wanted, base)
    columns = _write_participants(bids / "participants.tsv", wanted, base)
    _write_columns(bids / "participants.json", columns, base)
    readme = _write_once(bids, README_NAMES, "README.md", README.format(name=description["Name"]))
    changes = _write_once(bids, ("CHANGES",), "CHANGES", CHANGES)
    ignore = _write_once(bids, (".bidsignore",), ".bidsignore", BIDSIGNORE)
    write_record(base_path, wanted)
    names = [*EDITED, readme, changes, ignore]
    record = DatasetRecord(
        bids_version=BIDS_VERSION,
        participants=tuple(wanted.participants),
        sessions=tuple(session.session_key for session in sessions),
        files={name: hashlib.sha256((bids / name).read_bytes()).hexdigest() for name in sorted(names)},
    )
    write_record(out, record)
    return record


# ---------------------------------------------------------------------------------- dataset_description.json


def _description(told: Mapping[str, Json]) -> dict[str, Json]:
    generated: dict[str, Json] = {"Name": "pacs2bids", "Version": __version__}
    fixed: dict[str, Json] = {"Name": told["Name"], "BIDSVersion": BIDS_VERSION, "DatasetType": "raw"}
    return fixed | dict(told) | {"GeneratedBy": [generated]}


def _write_description(path: Path, wanted: Base, base: Base) -> None:
    found = _read_object(path)
    merged = dict(wanted.description)
    for key, value in found.items():
        ours_before = base.description.get(key)
        if key == "GeneratedBy":
            merged[key] = [*_list(merged[key]), *(entry for entry in _list(value) if not _is_ours(entry))]
        elif key not in merged and value != ours_before:
            merged[key] = value
        elif key in merged and value not in (merged[key], ours_before):
            log.warning("%s: %s was edited; the configuration says otherwise, and wins", path, key)
    _write_changed(path, found, merged)


def _list(value: Json) -> list[Json]:
    return value if isinstance(value, list) else [value]


def _is_ours(entry: Json) -> bool:
    return isinstance(entry, dict) and entry.get("Name") == "pacs2bids"


# ------------------------------------------------------------------------------------------ participants.tsv


def _participants(sessions: Iterable[PlacedSession]) -> dict[str, dict[str, str]]:
    """participant_id -> age and sex, over all sessions of each."""
    facts: dict[str, list[Mapping[str, Json]]] = {}
    for session in sessions:
        facts.setdefault(f"sub-{session.subject}", []).append(session.participant)
    return {name: {"age": _age(told), "sex": _sex(told, name)} for name, told in sorted(facts.items())}


def _age(told: Iterable[Mapping[str, Json]]) -> str:
    ages = [age for facts in told if isinstance(age := facts.get("age"), int | float)]
    return str(min(*ages, OLDEST_AGE_YEARS)) if ages else "n/a"


def _sex(told: Iterable[Mapping[str, Json]], name: str) -> str:
    sexes = sorted({str(facts["sex"]) for facts in told if facts.get("sex")})
    if len(sexes) > 1:
        log.warning("%s: sex differs between sessions (%s); written as n/a", name, ", ".join(sexes))
    return sexes[0] if len(sexes) == 1 else "n/a"


def _write_participants(path: Path, wanted: Base, base: Base) -> list[str]:
    """Merge the table with what people made of it; returns its columns."""
    found = _read_participants(path)
    if found is None:
        rows, columns = dict(wanted.participants), ["participant_id", *COLUMNS]
    else:
        there = next(iter(found.values()), {})
        # a column of ours that is gone was deleted by a person
        columns = [
            "participant_id",
            *there,
            *(name for name in COLUMNS if name not in {**there, **base.columns}),
        ]
        rows = _merged_rows(found, wanted.participants, base.participants)
    table = [{"participant_id": name} | _filled(row) for name, row in sorted(rows.items())]
    write_tsv(path, columns, table)
    return columns


def _filled(row: Mapping[str, str]) -> dict[str, str]:
    return {column: value or "n/a" for column, value in row.items()}


def _merged_rows(
    found: Mapping[str, Mapping[str, str]],
    wanted: Mapping[str, Mapping[str, str]],
    base: Mapping[str, Mapping[str, str]],
) -> dict[str, dict[str, str]]:
    merged: dict[str, dict[str, str]] = {}
    for name in [*found, *(name for name in wanted if name not in found)]:
        theirs, before = found.get(name, {}), base.get(name, {})
        if name in wanted:
            ours = {
                key: _merged_cell(theirs.get(key), before.get(key), new) for key, new in wanted[name].items()
            }
            merged[name] = {**theirs, **ours}
        elif _is_untouched(theirs, before):
            log.info("participants.tsv: %s has no session any more, its row is removed", name)
        else:
            merged[name] = dict(theirs)
    return merged


def _merged_cell(theirs: str | None, before: str | None, new: str) -> str:
    """What a person wrote stays; what we wrote the last time may change."""
    if theirs is None or theirs == before:
        return new
    if theirs in _UNKNOWN and before in (None, *_UNKNOWN):
        return new
    return theirs


def _is_untouched(theirs: Mapping[str, str], before: Mapping[str, str]) -> bool:
    """Whether a row is ours alone: every cell as we wrote it, and nothing in the columns of others."""
    return bool(before) and all(before.get(key, "n/a") == (cell or "n/a") for key, cell in theirs.items())


def _read_participants(path: Path) -> dict[str, dict[str, str]] | None:
    """participant_id -> the other columns; None if there is no table or an empty file."""
    hint = "Repair it, or delete it to have it written anew"
    try:
        table = read_tsv(path)
    except FileNotFoundError:
        return None
    except UnicodeDecodeError:
        raise DatasetError("is not UTF-8 text", where=str(path), hint=hint) from None
    rows: dict[str, dict[str, str]] = {}
    for number, row in enumerate(table, start=2):
        name = row.pop("participant_id", "")
        if not name.startswith("sub-") or name in rows:
            what = f"line {number} names no participant" if name not in rows else f"{name} stands there twice"
            raise DatasetError(what, where=str(path), hint=hint)
        rows[name] = row
    return rows or None


def _write_columns(path: Path, columns: Iterable[str], base: Base) -> None:
    """Describe our columns, unless a person described them better or deleted the description."""
    found = _read_object(path)
    ours = {name: text for name, text in COLUMNS.items() if name in columns}
    kept = {name: text for name, text in found.items() if text != base.columns.get(name)}
    new = {
        name: text
        for name, text in ours.items()
        if name not in kept and (name in found or not found or name not in base.columns)
    }
    _write_changed(path, found, new | kept)


# ---------------------------------------------------------------------------------------------------- files


def _remove_empty_subjects(bids: Path) -> None:
    """Folders that renamed sessions left; a session cannot know whether another one is about to use it."""
    for folder in bids.glob("sub-*"):
        if folder.is_dir() and not any(folder.iterdir()):
            folder.rmdir()


def _read_object(path: Path) -> dict[str, Json]:
    try:
        return msgspec.json.decode(path.read_bytes(), type=dict[str, Json])
    except FileNotFoundError:
        return {}
    except msgspec.DecodeError as error:
        hint = "Repair it, or delete it to have it written anew"
        raise DatasetError(f"is no JSON object: {error}", where=str(path), hint=hint) from None


def _write_changed(path: Path, found: Mapping[str, Json], merged: Mapping[str, Json]) -> None:
    if dict(found) != dict(merged) or not path.exists():
        write_json(path, merged)


def _write_once(bids: Path, names: Iterable[str], name: str, content: str) -> str:
    """Write the file unless there is one under any of ``names``; returns the name it has."""
    for there in names:
        if (bids / there).exists():
            return there
    write_text(bids / name, content)
    return name
