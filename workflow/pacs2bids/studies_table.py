"""The tables that a person writes: of studies, and of labels.

Studies: StudyInstanceUID or AccessionNumber, subject, session, source. Labels: values of a DICOM attribute,
and the subject or session that each stands for.

They are configuration: the workflow checks them before anything runs, and ``query`` reads the same.
"""

from __future__ import annotations

import csv
import difflib
import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from pacs2bids.model import ConfigError
from pacs2bids.text import listed

COLUMNS = ("StudyInstanceUID", "AccessionNumber", "subject", "session", "source")
_LABEL = re.compile(r"[0-9A-Za-z]+")  # BIDS, common principles: labels are alphanumeric
_UID = re.compile(r"[0-9]+(\.[0-9]+)*")
_SHOWN = 3  # problems in one message


@dataclass(frozen=True, slots=True, kw_only=True)
class TableRow:
    """One row of a table written by hand; "" where a cell is empty. ``line`` counts from 1, the header's."""

    line: int
    study_instance_uid: str
    accession_number: str
    subject: str
    session: str
    source: str


def read_table(path: Path) -> list[TableRow]:
    """Read a table written by hand: tab-separated, UTF-8 or what Excel calls Unicode text.

    Raises ConfigError that names the line and what is wrong.
    """
    lines = [[_cell(cell) for cell in row] for row in csv.reader(_text(path).splitlines(), delimiter="\t")]
    columns = _columns(lines[0] if lines else [], path)
    rows, problems = [], []
    for line, cells in enumerate(lines[1:], start=2):
        if not any(cells):
            continue
        if len(cells) < len(columns) and any(_has_space(cell) for cell in cells):
            problems.append(f"line {line} is separated by spaces; use tabs")
            continue
        if any(cells[len(columns) :]):
            problems.append(f"line {line} has more cells than the header has columns")
            continue
        values = dict(zip(columns, cells, strict=False))
        row = TableRow(
            line=line,
            study_instance_uid=values.get("StudyInstanceUID", ""),
            accession_number=values.get("AccessionNumber", ""),
            subject=values.get("subject", ""),
            session=values.get("session", ""),
            source=values.get("source", ""),
        )
        problems += [f"line {line}: {problem}" for problem in _row_problems(row)]
        rows.append(row)
    if problems:
        raise ConfigError(summed_up(problems), where=str(path))
    if not rows:
        raise ConfigError("lists no study", where=str(path), hint="Add a line for each study")
    return rows


def read_labels(path: Path, attribute: str, column: str) -> dict[str, str]:
    """Which label each value of a DICOM attribute stands for: two columns of a table, found by their names.

    Messages name lines, not values, which may be patients' IDs. Raises ConfigError.
    """
    lines = [[_cell(cell) for cell in row] for row in csv.reader(_text(path).splitlines(), delimiter="\t")]
    header = [name.casefold() for name in lines[0]] if lines else []
    for name in (attribute, column):
        if header.count(name.casefold()) != 1:
            hint = f"Its first line names the columns, separated by tabs: {attribute}, {column}"
            raise ConfigError(f"needs one column {name!r}", where=f"{path}, line 1", hint=hint)
    key_at, label_at = header.index(attribute.casefold()), header.index(column.casefold())
    labels: dict[str, str] = {}
    problems = []
    for line, cells in enumerate(lines[1:], start=2):
        if not any(cells):
            continue
        key, label = (cells[at] if at < len(cells) else "" for at in (key_at, label_at))
        if not key or not is_label(label):
            problems.append(f"line {line} has no {attribute}, or no {column} of letters a-z and digits only")
        elif labels.setdefault(key, label) != label:
            problems.append(f"line {line} gives another {column} to a {attribute} of a line before")
    if problems:
        raise ConfigError(summed_up(problems), where=str(path))
    return labels


def is_label(text: str) -> bool:
    """Whether BIDS takes this as the label of a subject or session."""
    return _LABEL.fullmatch(text) is not None


def is_uid(text: str) -> bool:
    """Whether this has the form of a UID (PS3.5 section 9.1)."""
    return len(text) <= 64 and _UID.fullmatch(text) is not None


def summed_up(problems: Sequence[str]) -> str:
    """The first problems of several, and how many more there are, on one line."""
    return listed(problems, _SHOWN, separator="; ")


def _text(path: Path) -> str:
    try:
        content = path.read_bytes()
    except OSError as error:
        hint = "Write it, or name another file in config.yaml"
        raise ConfigError(f"cannot be read: {error.strerror}", where=str(path), hint=hint) from None
    try:
        return content.decode("utf-16" if content[:2] in (b"\xff\xfe", b"\xfe\xff") else "utf-8-sig")
    except UnicodeDecodeError:
        raise ConfigError("is not a UTF-8 text", where=str(path), hint="Save it as UTF-8") from None


def _cell(text: str) -> str:
    text = text.strip(" \0\u00a0")
    return "" if text.casefold() == "n/a" else text


def _columns(header: Sequence[str], path: Path) -> list[str]:
    allowed = f"Columns: {', '.join(COLUMNS)}, separated by tabs"
    while header and not header[-1]:
        header = header[:-1]
    if len(header) == 1 and re.search(r"[,;]", header[0]):
        raise ConfigError("is separated by commas or semicolons", where=str(path), hint=allowed)
    columns: list[str] = []
    for name in header:
        if _has_space(name) and any(_known(word) for word in name.split()):
            what = "is separated by spaces; use tabs, in the header and in every line"
            raise ConfigError(what, where=f"{path}, line 1", hint=allowed)
        column = _known(name)
        if column is None:
            close = difflib.get_close_matches(name, COLUMNS, n=1)
            hint = f"Did you mean {close[0]!r}? {allowed}" if close else allowed
            raise ConfigError(f"unknown column {name!r}", where=f"{path}, line 1", hint=hint)
        if column in columns:
            raise ConfigError(f"the column {column!r} stands there twice", where=f"{path}, line 1")
        columns.append(column)
    if "subject" not in columns or not {"StudyInstanceUID", "AccessionNumber"} & {*columns}:
        what = "the header needs 'subject', and 'StudyInstanceUID' or 'AccessionNumber'"
        raise ConfigError(what, where=f"{path}, line 1", hint=allowed)
    return columns


def _known(name: str) -> str | None:
    """The column that is meant, however it is capitalised."""
    return {column.casefold(): column for column in COLUMNS}.get(name.replace("_", "").casefold())


def _has_space(cell: str) -> bool:
    return len(cell.split()) > 1


def _row_problems(row: TableRow) -> list[str]:
    problems = []
    if not row.study_instance_uid and not row.accession_number:
        problems.append("neither StudyInstanceUID nor AccessionNumber")
    if row.study_instance_uid and not is_uid(row.study_instance_uid):
        problems.append(f"{row.study_instance_uid!r} is no UID")
    if not row.subject:
        problems.append("no subject")
    for column, label, prefix in (("subject", row.subject, "sub-"), ("session", row.session, "ses-")):
        if label and not is_label(label):
            clean = re.sub(r"[^0-9A-Za-z]", "", label.removeprefix(prefix))
            advice = f"; write {clean!r}" if clean else ""
            problems.append(f"the {column} {label!r} may have letters a-z and digits only{advice}")
    return problems
