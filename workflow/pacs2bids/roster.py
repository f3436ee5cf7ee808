"""The sessions of a workdir, as its resolved studies table lists them."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

from pacs2bids.files import read_record, read_tsv
from pacs2bids.model import ConfigError, StudyIndex, StudyRow, session_key
from pacs2bids.studies_table import read_table
from pacs2bids.text import listed

_SHOWN = 3  # sessions in one line


@dataclass(frozen=True, slots=True, kw_only=True)
class Session:
    """``studies``: folders that hold ``index.json``. ``folder``: where its plan lies; None if it has none."""

    subject: str
    session: str
    studies: tuple[Path, ...]
    folder: Path | None = None

    @property
    def key(self) -> str:
        """ "sub-01_ses-a"."""
        return session_key(self.subject, self.session)


def session_keys(studies: Path) -> list[str]:
    """The sessions of the resolved table. Raises ConfigError if it is missing or is none."""
    return sorted({row.session_key for row in rows_of_table(studies)})


def rows_of_table(path: Path) -> list[StudyRow]:
    """The resolved studies table. Raises ConfigError if it is missing, is none, or has no rows.

    ``query`` writes none without rows; by one that was emptied by an accident nothing would be needed.
    """
    try:
        table = read_tsv(path)
    except FileNotFoundError:
        hint = "Run snakemake first, or 'pacs2bids query'"
        raise ConfigError("is missing", where=str(path), hint=hint) from None
    if not table:
        raise ConfigError("lists no study", where=str(path), hint="Run 'pacs2bids query' again")
    columns = StudyRow.__struct_fields__
    try:
        return [StudyRow(**{column: row[column] for column in columns}) for row in table]
    except KeyError as error:
        what = f"has no column {error}"
        raise ConfigError(what, where=str(path), hint="Run 'pacs2bids query' again") from None


def edited_since(table: Path, resolved: Path) -> str:
    """What a table by hand says that the query has not read yet: one line, "" if nothing.

    ``resolved``: what the query made of it. Raises ConfigError if the table cannot be read any more.
    """
    try:
        if table.stat().st_mtime_ns <= resolved.stat().st_mtime_ns:
            return ""
    except FileNotFoundError:
        return ""
    written, known = dict[str, list[str]](), dict[str, list[str]]()
    for line in read_table(table):
        written.setdefault(session_key(line.subject, line.session), []).append(line.study_instance_uid)
    for row in rows_of_table(resolved):
        known.setdefault(row.session_key, []).append(row.study_instance_uid)
    changed = [key for key in written.keys() & known.keys() if _is_changed(written[key], known[key])]
    counts = {
        "new": written.keys() - known.keys(),
        "changed": changed,
        "gone": known.keys() - written.keys(),
    }
    told = [f"{len(keys):,} {what} ({listed(sorted(keys), _SHOWN)})" for what, keys in counts.items() if keys]
    return f"{table} was edited since the last query. Sessions: {', '.join(told)}" if told else ""


def _is_changed(written: Sequence[str], known: Sequence[str]) -> bool:
    """Whether these are not its studies. An accession number, for which there is "" here, is of one study."""
    return len(written) != len(known) or not {*written} - {""} <= {*known}


def sessions_of_table(workdir: Path, only: Iterable[str] | None) -> list[Session]:
    """The sessions of the resolved studies table, by key.

    ``only``: keys, or subjects ("sub-01") for all their sessions. Raises ConfigError if the table is missing,
    or has none of one of ``only``.
    """
    table = workdir / "studies.tsv"
    rows = rows_of_table(table)
    found: dict[str, list[StudyRow]] = {}
    for row in rows:
        found.setdefault(row.session_key, []).append(row)
    wanted = set(found) if only is None else set[str]()
    for one in only or ():
        keys = {key for key in found if key == one or key.startswith(f"{one}_ses-")}
        if not keys:
            hint = f"It has {listed(sorted(found), 5)}"
            raise ConfigError(f"has no session {one}", where=str(table), hint=hint)
        wanted |= keys
    return [_session(workdir, key, found[key]) for key in sorted(wanted)]


def _session(workdir: Path, key: str, rows: list[StudyRow]) -> Session:
    return Session(
        subject=rows[0].subject,
        session=rows[0].session,
        studies=tuple(workdir / "studies" / row.study_instance_uid for row in rows),
        folder=workdir / "sessions" / key,
    )


def is_indexed(session: Session) -> bool:
    """Whether all its studies are."""
    return all((folder / "index.json").exists() for folder in session.studies)


def indexes_of(session: Session) -> list[StudyIndex]:
    """Its studies. Raises ConfigError for one that comes twice, HeaderError for one that cannot be read."""
    return distinct(read_record(folder / "index.json", StudyIndex) for folder in session.studies)


def distinct(read: Iterable[StudyIndex]) -> list[StudyIndex]:
    """The same. Raises ConfigError for a study that comes twice."""
    indexes = list(read)
    for uid, count in Counter(index.study_instance_uid for index in indexes).items():
        if count > 1:
            raise ConfigError(f"the study {uid} is there {count} times", where="STUDY")
    return indexes
