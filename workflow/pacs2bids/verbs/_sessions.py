"""The sessions that a plan is asked for: study folders and labels by hand, or those of the studies table."""

from __future__ import annotations

import argparse
from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

from pacs2bids.bids import BidsName
from pacs2bids.files import read_record
from pacs2bids.model import ConfigError, StudyIndex, StudyRow, session_key
from pacs2bids.verbs._placed import rows_of_table


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


def add_sessions(parser: argparse.ArgumentParser) -> None:
    """Declare the arguments."""
    parser.add_argument(
        "studies", nargs="*", type=Path, metavar="STUDY", help="folders that hold index.json; with --subject"
    )
    parser.add_argument("--subject", metavar="LABEL", help="subject, without 'sub-'")
    parser.add_argument(
        "--session", default="", metavar="LABEL", help="session, without 'ses-', if there is one"
    )
    parser.add_argument(
        "--only",
        nargs="+",
        metavar="SESSION",
        help="without STUDY: these of all, as in sub-01_ses-a",
    )


def session_by_hand(arguments: argparse.Namespace) -> Session:
    """The one session that the arguments describe. Raises ConfigError for labels that BIDS does not allow."""
    if not arguments.subject:
        raise ConfigError("whose studies are they?", where="--subject", hint="Add --subject 01")
    name = BidsName(subject=arguments.subject, session=arguments.session, datatype="anat", suffix="T1w")
    if problems := name.problems():
        raise ConfigError("; ".join(problems), where="--subject, --session")
    return Session(subject=arguments.subject, session=arguments.session, studies=tuple(arguments.studies))


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
            hint = f"It has {', '.join(sorted(found)[:5])}" + (", ..." if len(found) > 5 else "")
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
    indexes = [read_record(folder / "index.json", StudyIndex) for folder in session.studies]
    for uid, count in Counter(index.study_instance_uid for index in indexes).items():
        if count > 1:
            raise ConfigError(f"the study {uid} is there {count} times", where="STUDY")
    return indexes
