"""Which studies, and whose: from a table by hand or the answers of a PACS to the rows of ``studies.tsv``.

Pure: what a source answers comes in through ``Ask``. Messages name studies by StudyInstanceUID and rows by
line; never the value of an attribute, which may name a patient.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Protocol, TypeAlias

from pacs2bids.model import ConfigError, QueryError, StudyRow
from pacs2bids.pacs.contents import IMAGE_KEYS, SERIES_KEYS
from pacs2bids.peers import Attributes
from pacs2bids.studies_table import TableRow, is_label, is_uid, summed_up

# (name of a source, question) -> the studies that match
Ask: TypeAlias = Callable[[str, Attributes], Sequence[Attributes]]


class LabelRule(Protocol):
    """How a label follows from an attribute: a group of ``pattern``, or the whole value without one."""

    @property
    def attribute(self) -> str:
        """DICOM keyword."""

    @property
    def pattern(self) -> re.Pattern[str] | None:
        """Searched in the attribute's value."""

    @property
    def group(self) -> str:
        """Name of the group that is the label; the first group if none has that name."""


class StudyQuery(Protocol):
    """One question to one source, and how its answers are labelled."""

    @property
    def source(self) -> str:
        """Name of the source."""

    @property
    def match(self) -> Mapping[str, str]:
        """Keyword -> key, as in C-FIND at STUDY level."""

    @property
    def subject(self) -> LabelRule:
        """The subject's label."""

    @property
    def session(self) -> LabelRule | None:
        """The session's label; None: no sessions."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Candidate:
    """A study with its labels, before all of them are looked at together. ``origin``: who says so."""

    study: StudyRow
    date: str
    origin: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Settled:
    """The rows of ``studies.tsv`` in order, and what a person should look at."""

    rows: tuple[StudyRow, ...]
    warnings: tuple[str, ...]


# ------------------------------------------------------------------------------------------------ by hand


def resolve_table(rows: Iterable[TableRow], sources: Sequence[str], ask: Ask, where: str) -> list[Candidate]:
    """Give every row its source and its StudyInstanceUID; a source is asked for accession numbers only.

    ``where`` names the table. Raises QueryError for sources that are not defined, and for
    accession numbers that stand for no study or for several.
    """
    candidates, problems = [], []
    for row in rows:
        try:
            uid = row.study_instance_uid
            source = _source(row.source, sources)
            if not uid:
                uid = _by_accession_number(row.accession_number, source, ask)
        except _Problem as problem:
            problems.append(f"line {row.line}: {problem}")
            continue
        study = StudyRow(study_instance_uid=uid, subject=row.subject, session=row.session, source=source)
        candidates.append(Candidate(study=study, date="", origin=f"line {row.line}"))
    if problems:
        raise QueryError(summed_up(problems), where=where)
    return candidates


class _Problem(Exception):  # noqa: N818 - one of several, gathered into one error
    """What is wrong with one row or one study."""


def _source(name: str, sources: Sequence[str]) -> str:
    if not name and len(sources) == 1:
        return sources[0]
    if name in sources:
        return name
    allowed = f"allowed: {', '.join(sources)}"
    if not name:
        raise _Problem(f"no source, and there are several ({allowed})")
    raise _Problem(f"no source is called {name!r} ({allowed})")


def _by_accession_number(number: str, source: str, ask: Ask) -> str:
    if re.search(r"[*?\\]", number):
        raise _Problem("the AccessionNumber has a wildcard or a backslash; write it in full")
    found = ask(source, {"AccessionNumber": number, "StudyInstanceUID": ""})
    uids = sorted({one.get("StudyInstanceUID", "") for one in found} - {""})
    if not uids:
        raise _Problem(
            f"source {source!r} has no study with the AccessionNumber of this line; "
            "'pacs2bids query --list --identities' shows those that it has"
        )
    if len(uids) > 1:
        listed = ", ".join(uids)
        raise _Problem(f"the AccessionNumber stands for several studies ({listed}); give the UID")
    return uids[0]


# ------------------------------------------------------------------------------------------------ by query


def search(query: StudyQuery, ask: Ask, origin: str) -> list[Candidate]:
    """Ask one question and label its answers. ``origin`` names the question, as "studies.query[0]".

    Raises ConfigError for keys that no study has, and QueryError with all studies that get no valid label.
    """
    check_match(query.match, f"{origin}.match")
    rules = [("subject", query.subject)] + ([("session", query.session)] if query.session else [])
    keys = ("StudyInstanceUID", "StudyDate", "StudyTime", *(rule.attribute for _, rule in rules))
    answers = ask(query.source, {**dict.fromkeys(keys, ""), **query.match})
    candidates, problems = [], []
    for answer in answers:
        uid = answer.get("StudyInstanceUID", "")
        if not is_uid(uid):
            problems.append("an answer has no valid StudyInstanceUID")
            continue
        labels = {"subject": "", "session": ""}
        for name, rule in rules:
            try:
                labels[name] = _label(rule, answer, name)
            except _Problem as problem:
                problems.append(f"study {uid}: {problem}")
        study = StudyRow(study_instance_uid=uid, source=query.source, **labels)
        date = f"{answer.get('StudyDate', '')} {answer.get('StudyTime', '')}"
        candidates.append(Candidate(study=study, date=date, origin=origin))
    if problems:
        what = "these studies get no label: narrow `match` to leave them out, or widen the pattern"
        raise QueryError("\n  - ".join([what, *sorted(problems)]), where=origin)
    return candidates


def check_match(match: Mapping[str, str], where: str) -> None:
    """Raise ConfigError for a key that is not one of studies: a PACS would ignore it."""
    for keyword in match:
        if keyword in SERIES_KEYS or keyword in IMAGE_KEYS:
            hint = "Use ModalitiesInStudy" if keyword == "Modality" else "Match attributes of the study"
            what = f"{keyword} belongs to series or images; a query for studies would ignore it"
            raise ConfigError(what, where=where, hint=hint)


def _label(rule: LabelRule, answer: Attributes, name: str) -> str:
    value = answer.get(rule.attribute)
    if not value:
        raise _Problem(f"{rule.attribute}, which gives the {name}, is empty or not answered")
    label: str | None = value
    if rule.pattern is not None:
        found = rule.pattern.search(value)
        if found is None:
            raise _Problem(f"{rule.attribute} does not match the pattern {rule.pattern.pattern!r}")
        named = rule.group in rule.pattern.groupindex
        label = found[rule.group if named else min(1, rule.pattern.groups)]
    if label is None or not is_label(label):
        by = f"the group of the pattern {rule.pattern.pattern!r}" if rule.pattern else "the whole value"
        raise _Problem(
            f"{by} in {rule.attribute} makes a {name} that is empty or has more than letters a-z and digits"
        )
    return label


# ------------------------------------------------------------------------------------------------ together


def settle(candidates: Iterable[Candidate], where: str, *, once: bool) -> Settled:
    """Look at all studies together: one row a study, sorted by subject, session, date and UID.

    Two labels for one study are an error (QueryError); with ``once`` (a table by hand) two rows are one, too.
    Several studies of one session are allowed (consoles are restarted), and warned of.
    """
    by_uid: dict[str, Candidate] = {}
    problems = []
    for candidate in candidates:
        first = by_uid.setdefault(candidate.study.study_instance_uid, candidate)
        if first is not candidate and (once or first.study != candidate.study):
            problems.append(_twice(first, candidate))
    if problems:
        raise QueryError(summed_up(problems), where=where)
    if not by_uid:
        hint = "Check `match`: each of its keys must hold; 'pacs2bids query --list --match ...' tries others"
        raise QueryError("no study matches", where=where, hint=hint)
    ordered = sorted(
        by_uid.values(),
        key=lambda one: (one.study.subject, one.study.session, one.date, one.study.study_instance_uid),
    )
    rows = tuple(one.study for one in ordered)
    return Settled(rows=rows, warnings=tuple(_warnings(rows)))


def _twice(first: Candidate, second: Candidate) -> str:
    labels = {first.study.session_key, second.study.session_key}
    of = f"as {' and '.join(sorted(labels))}" if len(labels) > 1 else f"as {first.study.session_key}"
    origins = " and ".join(dict.fromkeys((first.origin, second.origin)))
    return f"study {first.study.study_instance_uid} stands there twice, {of} ({origins})"


def _warnings(rows: Sequence[StudyRow]) -> list[str]:
    sessions: dict[str, int] = {}
    for row in rows:
        sessions[row.session_key] = sessions.get(row.session_key, 0) + 1
    warnings = [f"{key} is made of {count} studies" for key, count in sessions.items() if count > 1]
    folded: dict[str, str] = {}
    for subject in dict.fromkeys(row.subject for row in rows):
        other = folded.setdefault(subject.casefold(), subject)
        if other != subject:
            warnings.append(f"sub-{other} and sub-{subject} differ in case only: one folder on some disks")
        with_session = {bool(row.session) for row in rows if row.subject == subject}
        if len(with_session) > 1:
            warnings.append(f"sub-{subject} has studies with and without a session")
    return warnings
