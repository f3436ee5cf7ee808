"""Which studies, and whose: from a table by hand or the answers of a PACS to the rows of ``studies.tsv``.

What a source answers comes in through ``Ask``. Messages name studies by StudyInstanceUID and rows by line;
never the value of an attribute, which may name a patient.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import combinations
from pathlib import Path
from typing import Protocol

from pacs2bids.model import ConfigError, QueryError, StudyRow
from pacs2bids.pacs.asking import Ask, studies_with
from pacs2bids.pacs.contents import IMAGE_KEYS, SERIES_KEYS
from pacs2bids.pacs.matching import is_met
from pacs2bids.peers import Attributes, Conditions
from pacs2bids.studies_table import TableRow, is_label, is_uid, read_labels, summed_up
from pacs2bids.text import listed

# of a study: to show it, and to tell two people of one label apart
DESCRIBING = ("StudyInstanceUID", "StudyDate", "StudyTime", "StudyDescription")
_IDENTIFYING = ("PatientID", "PatientBirthDate", "PatientSex")
_SHOWN = 5  # labels in one message


class LabelRule(Protocol):
    """How a label follows from an attribute: its value, a group of ``pattern``, or what ``table`` says."""

    @property
    def attribute(self) -> str:
        """DICOM keyword."""

    @property
    def pattern(self) -> re.Pattern[str] | None:
        """Searched in the attribute's value."""

    @property
    def group(self) -> str:
        """Name of the group that is the label (the first group if none has that name), or of the column."""

    @property
    def table(self) -> Path | None:
        """A table with the values and their labels."""


class StudyQuery(Protocol):
    """One question to one source, which answers are not meant, and how the others are labelled."""

    @property
    def source(self) -> str:
        """Name of the source."""

    @property
    def match(self) -> Conditions:
        """What studies must satisfy."""

    @property
    def exclude(self) -> Sequence[Conditions]:
        """A study that satisfies any of these is left out."""

    @property
    def subject(self) -> LabelRule:
        """The subject's label."""

    @property
    def session(self) -> LabelRule | None:
        """The session's label; None: no sessions."""

    @property
    def skip_unlabelled(self) -> bool:
        """Whether studies that get no label are left out; else they are an error."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Candidate:
    """A study with its labels, before all of them are looked at together.

    ``origin``: who says so. ``answer``: what the source says of it; empty if it was not asked.
    ``by_hand``: a person wrote down whose it is.
    """

    study: StudyRow
    origin: str
    answer: Attributes = field(default_factory=dict)
    by_hand: bool = False

    @property
    def date(self) -> str:
        """Date and time, to sort by."""
        return f"{self.answer.get('StudyDate', '')} {self.answer.get('StudyTime', '')}"


@dataclass(frozen=True, slots=True, kw_only=True)
class LeftOut:
    """A study that is not for the table. ``excluded``: the configuration says so; else it gets no label."""

    answer: Attributes
    reason: str
    excluded: bool

    def __str__(self) -> str:
        return f"study {self.answer.get('StudyInstanceUID', 'without a UID')}: {self.reason}"


@dataclass(frozen=True, slots=True, kw_only=True)
class Found:
    """What one question brought. ``problems``: why its studies make no table, () if they do."""

    candidates: tuple[Candidate, ...]
    left_out: tuple[LeftOut, ...] = ()
    warnings: tuple[str, ...] = ()
    problems: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class Settled:
    """The rows of ``studies.tsv`` in order, what a person should look at, and what contradicts itself."""

    rows: tuple[StudyRow, ...]
    warnings: tuple[str, ...]
    problems: tuple[str, ...]


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
        candidates.append(Candidate(study=study, origin=f"line {row.line}", by_hand=True))
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
    found = studies_with(source, {"AccessionNumber": (number,)}, ["StudyInstanceUID"], ask).studies
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


def search(query: StudyQuery, ask: Ask, origin: str, also: Iterable[str] = ()) -> Found:
    """Ask one question and label its answers. ``origin`` names the question, as "studies.query[0]".

    ``also``: further attributes to ask for.
    Raises ConfigError for keys that no study has.
    """
    check_match(query.match, f"{origin}.match")
    for number, rule in enumerate(query.exclude):
        check_match(rule, f"{origin}.exclude[{number}]")
    label_rules = [query.subject] + ([query.session] if query.session else [])
    keys = [*DESCRIBING, *_IDENTIFYING, *also, *(rule.attribute for rule in label_rules)]
    keys += [keyword for rule in query.exclude for keyword in rule]
    answers = studies_with(query.source, query.match, keys, ask)
    tables = {one.group: read_labels(one.table, one.attribute, one.group) for one in label_rules if one.table}
    candidates, left_out = [], []
    for answer in answers.studies:
        try:
            _check_wanted(query.exclude, answer)
            study = _labelled(query, answer, tables)
        except _Problem as problem:
            excluded = isinstance(problem, _Exclusion)
            left_out.append(LeftOut(answer=answer, reason=str(problem), excluded=excluded))
        else:
            by_hand = query.subject.table is not None
            candidates.append(Candidate(study=study, origin=origin, answer=answer, by_hand=by_hand))
    nothing = () if answers.studies else (f"no study of source {query.source!r} matches",)
    return Found(
        candidates=tuple(candidates),
        left_out=tuple(left_out),
        warnings=(*nothing, *answers.warnings, *_blind_exclusions(query, answers.studies)),
        problems=tuple(_without_label(query, left_out)),
    )


def check_match(match: Conditions, where: str) -> None:
    """Raise ConfigError for a key that is not one of studies: a PACS would ignore it."""
    for keyword in match:
        if keyword in SERIES_KEYS or keyword in IMAGE_KEYS:
            hint = "Use ModalitiesInStudy" if keyword == "Modality" else "Match attributes of the study"
            what = f"{keyword} belongs to series or images; a query for studies would ignore it"
            raise ConfigError(what, where=where, hint=hint)


class _Exclusion(_Problem):
    """The study is one that the configuration excludes."""


def _check_wanted(rules: Sequence[Conditions], answer: Attributes) -> None:
    for number, rule in enumerate(rules):
        if is_met(rule, answer):
            raise _Exclusion(f"excluded by exclude[{number}] ({', '.join(rule)})")


def _blind_exclusions(query: StudyQuery, answers: Sequence[Attributes]) -> Iterator[str]:
    for number, rule in enumerate(query.exclude):
        for keyword in rule:
            if answers and not any(keyword in answer for answer in answers):
                source = f"source {query.source!r} does not answer {keyword}"
                yield f"exclude[{number}] excludes nothing: {source}"


def _without_label(query: StudyQuery, left_out: Sequence[LeftOut]) -> Sequence[str]:
    unlabelled = sorted(str(one) for one in left_out if not one.excluded)
    if not unlabelled or query.skip_unlabelled:
        return ()
    what = (
        "these studies get no label: widen the pattern, leave them out with `exclude`, or all such with "
        "`unlabelled: skip`"
    )
    return ["\n  - ".join([what, *unlabelled])]


def _labelled(query: StudyQuery, answer: Attributes, tables: Mapping[str, Mapping[str, str]]) -> StudyRow:
    uid = answer.get("StudyInstanceUID", "")
    if not is_uid(uid):
        raise _Problem("an answer has no valid StudyInstanceUID")
    subject = _label(query.subject, answer, "subject", tables)
    session = _label(query.session, answer, "session", tables) if query.session else ""
    return StudyRow(study_instance_uid=uid, subject=subject, session=session, source=query.source)


def _label(rule: LabelRule, answer: Attributes, name: str, tables: Mapping[str, Mapping[str, str]]) -> str:
    value = answer.get(rule.attribute)
    if not value:
        raise _Problem(f"{rule.attribute}, which gives the {name}, is empty or not answered")
    label: str | None = value
    if rule.table is not None:
        label = tables[rule.group].get(value)
        if label is None:
            raise _Problem(f"{rule.table} has no line for its {rule.attribute}")
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


def settle(candidates: Iterable[Candidate], *, once: bool) -> Settled:
    """Look at all studies together: one row a study, sorted by subject, session, date and UID.

    Two labels for one study, and two people under one label, are problems; with ``once`` (a table by hand)
    two rows for one study are one, too. Several studies of one session are allowed (consoles are restarted),
    and warned of.
    """
    by_uid: dict[str, Candidate] = {}
    problems = []
    for candidate in candidates:
        first = by_uid.setdefault(candidate.study.study_instance_uid, candidate)
        if first is not candidate and (once or first.study != candidate.study):
            problems.append(_twice(first, candidate))
    ordered = sorted(
        by_uid.values(),
        key=lambda one: (one.study.subject, one.study.session, one.date, one.study.study_instance_uid),
    )
    rows = tuple(one.study for one in ordered)
    people, doubts = _people(ordered)
    return Settled(rows=rows, warnings=(*_warnings(rows), *doubts), problems=(*problems, *people))


def require_sound(problems: Sequence[str], where: str) -> None:
    """Raise QueryError if there are any problems."""
    if problems:
        raise QueryError(summed_up(problems), where=where)


def require_any(settled: Settled, where: str) -> None:
    """Raise QueryError if there is no study at all."""
    if not settled.rows:
        hint = "Check `match`: each of its keys must hold; 'pacs2bids query --list --match ...' tries others"
        raise QueryError("no study matches", where=where, hint=hint)


def _people(candidates: Iterable[Candidate]) -> tuple[list[str], list[str]]:
    """Labels that stand for two people, and those that may: they have several PatientIDs.

    A person has one birth date and one sex, and may have another PatientID at each visit. Where a person
    wrote down who is who, nothing is doubted.
    """
    by_subject: dict[str, dict[tuple[str, str], Candidate]] = {}
    for one in candidates:
        if one.answer.get("PatientID") and not one.by_hand:
            patient = (one.answer["PatientID"], one.study.source)
            by_subject.setdefault(one.study.subject, {}).setdefault(patient, one)
    problems, doubtful = [], []
    for subject, patients in by_subject.items():
        two = _two_people(patients.values())
        if two:
            problems.append(f"sub-{subject} stands for two people: {two}")
        elif len({patient_id for patient_id, _ in patients}) > 1:
            doubtful.append(f"sub-{subject}")
    if not doubtful:
        return problems, []
    labels = listed(doubtful, _SHOWN)
    return problems, [f"several PatientIDs share a label: is it one person each? ({labels})"]


def _two_people(studies: Iterable[Candidate]) -> str:
    """What makes people of the studies of one label two; "" if nothing does."""
    for first, second in combinations(studies, 2):
        differing = [key for key in _IDENTIFYING[1:] if _contradict(first.answer, second.answer, key)]
        if differing:
            pair = " and ".join(one.study.study_instance_uid for one in (first, second))
            return f"PatientID and {' and '.join(differing)} differ in the studies {pair}"
    return ""


def _contradict(first: Attributes, second: Attributes, keyword: str) -> bool:
    one, other = first.get(keyword, ""), second.get(keyword, "")
    return bool(one and other and one != other and "O" not in (one, other))


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
