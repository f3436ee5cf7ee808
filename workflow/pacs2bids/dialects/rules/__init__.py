"""Heuristics as rules: a YAML file that says what series look like, and what they are called.

Theory of operation. A rule is tried on one *volume* (stack) at a time, with the facts of its series beside
its own; the first rule that fits takes it. Volumes of one series that one rule takes under one name are then
answered together, so that what tells them apart (echo, part) is named by ``naming`` as for any heuristic.
docs/rules.md is the page for people.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from itertools import islice
from pathlib import Path
from typing import TypeVar

from msgspec.structs import replace

from pacs2bids.dialects.isolated import End, isolated, limited
from pacs2bids.dialects.rules.conditions import Caught, Lookup, as_text, members
from pacs2bids.dialects.rules.facts import FACTS, SIDECAR, value
from pacs2bids.dialects.rules.reading import PLACEHOLDER, read_rules
from pacs2bids.dialects.rules.records import Rule, RulesFile, Target
from pacs2bids.model import EndlessError, Json, Reason, Stack, StudyIndex, session_folder, session_key
from pacs2bids.session import Answer, Answers, Series, Tried, Unanswered, ordinal, series_of

T = TypeVar("T")

LIMIT_S = 20.0  # of one session; it takes milliseconds
# instances that are no picture: a series of these alone is not asked about
NO_PICTURES = {Reason.NOT_DICOM, Reason.UNREADABLE, Reason.NO_IMAGE, Reason.FOREIGN}


def ask(
    path: Path, indexes: Sequence[StudyIndex], *, subject: str, session: str, limit_s: float = LIMIT_S
) -> Answers:
    """Ask a rules file for the names of one session's series.

    Raises HeuristicError that tells every mistake of the file with its line, or that a regular expression
    takes longer than ``limit_s``.
    """
    rules = read_rules(path)
    said = partial(answers, rules, indexes, subject=subject, session=session)
    return _ended(said, Answers, path, limit_s) if rules.has_patterns else said()


def _ended(work: Callable[[], T], kind: type[T], path: Path, limit_s: float) -> T:
    """What ``work`` returns, of this kind; raises HeuristicError if it takes longer than ``limit_s``."""
    hint = "Repeats of repeats, as (a+)+, can take for ever: write a+"
    what = f"its regular expressions do not come to an end: after {limit_s:g} s one is still searching"

    def inside(end: End) -> T:
        with limited(limit_s, lambda _: end(EndlessError(what, where=str(path), hint=hint))):
            return work()

    return isolated(inside, kind, where=str(path))


def answers(rules: RulesFile, indexes: Sequence[StudyIndex], *, subject: str, session: str) -> Answers:
    """What rules that are read already say of one session's series."""
    folder = session_folder(session_key(subject, session))
    named: list[Answer] = []
    unanswered: list[Unanswered] = []
    for series in _asked_about(indexes):
        for one in _answers(rules, series, folder):
            if isinstance(one, Answer):
                named.append(one)
            else:
                unanswered.append(one)
    return Answers(named=tuple(named), unanswered=tuple(unanswered))


def explain(
    path: Path,
    indexes: Sequence[StudyIndex],
    *,
    subject: str,
    session: str,
    series: Series,
    limit_s: float = LIMIT_S,
) -> tuple[Tried, ...]:
    """What became of a series at each rule, in their order, up to the one that took the last of its volumes.

    Of a file that is exclusive, at all of them.
    Where a series has several volumes, a rule is told by the one that came nearest. Raises HeuristicError as
    ``ask`` does.
    """
    del indexes, subject, session  # a rule looks at one series alone, whosever it is
    rules = read_rules(path)
    tried = partial(_tried, rules, series)
    return _ended(tried, tuple[Tried, ...], path, limit_s) if rules.has_patterns else tried()


def _tried(rules: RulesFile, series: Series) -> tuple[Tried, ...]:
    tried: list[Tried] = []
    left: list[Stack | None] = list(series.stacks) or [None]
    for rule in rules.rules:
        verdicts = [(rule.condition(_lookup(series, stack)), stack) for stack in left]
        nearest, stack = max(verdicts, key=lambda one: (one[0].holds, one[0].met))
        which = f" (volume {stack.stack_id})" if stack and len(series.stacks) > 1 else ""
        tried.append(
            Tried(
                origin=rules.origin(rule),
                took=nearest.holds,
                met=nearest.met,
                failed=nearest.failed + which if nearest.failed else "",
            )
        )
        left = [one for verdict, one in verdicts if rules.is_exclusive or not verdict.holds]
        if not left:
            break
    return tuple(tried)


def _asked_about(indexes: Sequence[StudyIndex]) -> Iterator[Series]:
    """Series with volumes, or with pictures that should have made some."""
    for index in indexes:
        for series in series_of(index):
            pictures = any(one.reason not in NO_PICTURES for one in series.leftovers)
            if series.stacks or (series.info.joined_to is None and (series.refused or pictures)):
                yield series


# --------------------------------------------------------------------------------------------- one series


@dataclass(frozen=True, slots=True, kw_only=True)
class _Taken:
    """A volume (None: a series without any) that a rule took, and what its regular expressions caught."""

    rule: Rule
    stack: Stack | None
    caught: Caught


def _answers(rules: RulesFile, series: Series, folder: str) -> Iterator[Answer | Unanswered]:
    """What the rules say of one series: one answer for all volumes that share rule and name."""
    groups: list[tuple[Answer | Unanswered, list[Stack]]] = []
    for stack in series.stacks or (None,):
        taken = _take(rules, series, stack)
        if not taken:
            continue
        said = _say(rules, series, taken[0], folder) if len(taken) == 1 else _several(rules, series, taken)
        group = next((stacks for other, stacks in groups if other == said), None)
        if group is None:
            groups.append((said, group := []))
        group += [stack] if stack else []
    for said, stacks in groups:
        yield from _narrowed(said, series, stacks)


def _take(rules: RulesFile, series: Series, stack: Stack | None) -> list[_Taken]:
    """The first rule that fits, or, in a file that is exclusive, all that do."""
    lookup = _lookup(series, stack)
    verdicts = ((rule, rule.condition(lookup)) for rule in rules.rules)
    fits = (_Taken(rule=rule, stack=stack, caught=one.caught) for rule, one in verdicts if one.holds)
    return list(fits if rules.is_exclusive else islice(fits, 1))


def _lookup(series: Series, stack: Stack | None) -> Lookup:
    return lambda name: value(name, series, stack)


# --------------------------------------------------------------------------------------------- what it says


class _UntoldError(Exception):
    """A fact that a name is to be made of, and that the header does not tell. Its name."""


def _say(rules: RulesFile, series: Series, taken: _Taken, folder: str) -> Answer | Unanswered:
    """What a rule says of a volume, as if of its whole series."""
    rule, origin = taken.rule, rules.origin(taken.rule)
    if rule.target is None:
        return _unanswered(series, rule.skip, origin, is_meant=True)
    lookup, caught = _lookup(series, taken.stack), taken.caught
    try:
        return _answer(rule.target, series, origin, folder, lambda word: _word(word, lookup, caught))
    except _UntoldError as error:
        reason = f"its name needs {{{error}}}, which its header does not tell"
        return _unanswered(series, reason, origin, is_meant=False)


def _several(rules: RulesFile, series: Series, taken: Sequence[_Taken]) -> Unanswered:
    """What an exclusive file says of a volume that several of its rules fit."""
    fits = "; ".join(rules.origin(one.rule) for one in taken)
    reason = f"{len(taken)} rules fit, of a file that is exclusive: {fits}"
    return _unanswered(series, reason, rules.origin(taken[0].rule), is_meant=False)


def _answer(target: Target, series: Series, origin: str, folder: str, word: Callable[[str], str]) -> Answer:
    labels = {key: _label(label, word) for key, label in target.entities.items()}
    subject, _, session = folder.partition("/")
    words = [subject, session, *(f"{key}-{label}" for key, label in labels.items()), target.suffix]
    return Answer(
        study_instance_uid=series.info.study_instance_uid,
        series_instance_uid=series.info.series_instance_uid,
        template=target.template,
        path=f"{folder}/{target.datatype}/{'_'.join(filter(None, words))}",
        origin=origin,
        metadata={field: _filled(said, word) for field, said in target.sidecar.items()},
        run=target.run,
        short=target.short,
        volumes=target.volumes,
        volume_types=target.volume_types,
    )


def _unanswered(series: Series, reason: str, origin: str, *, is_meant: bool) -> Unanswered:
    return Unanswered(
        study_instance_uid=series.info.study_instance_uid,
        series_instance_uid=series.info.series_instance_uid,
        reason=reason,
        origin=origin,
        is_meant=is_meant,
    )


def _narrowed(
    said: Answer | Unanswered, series: Series, stacks: Sequence[Stack]
) -> Iterator[Answer | Unanswered]:
    """The same, of these volumes alone unless they are what the whole series is named by."""
    if len(stacks) == len(series.stacks):
        yield said
    elif isinstance(said, Unanswered):
        yield from (replace(said, stack=ordinal(stack)) for stack in stacks)
    elif len(stacks) == 1:
        yield replace(said, stack=ordinal(stacks[0]))
    else:
        yield replace(said, stacks=tuple(ordinal(stack) for stack in stacks))


# --------------------------------------------------------------------------------------------- words


def _word(name: str, lookup: Lookup, caught: Caught) -> str:
    """What stands for ``{name}``. Raises _UntoldError."""
    if name in caught:
        return caught[name]
    known = name in FACTS or name.startswith(SIDECAR)
    found = members(lookup(name)) if known else []
    if not found:
        raise _UntoldError(name)
    return "".join(as_text(one) for one in found)


def _label(label: str, word: Callable[[str], str]) -> str:
    """A label with its facts filled in, without what BIDS allows in no label: "2.5 mm" becomes "2p5mm".

    Raises _UntoldError where nothing is left of a fact.
    """

    def fill(match: re.Match[str]) -> str:
        text = re.sub(r"(?<=[0-9])\.(?=[0-9])", "p", word(match[1]))
        clean = re.sub(r"[^A-Za-z0-9+]", "", text)
        if not clean:
            raise _UntoldError(match[1])
        return clean

    return PLACEHOLDER.sub(fill, label)


def _filled(said: Json, word: Callable[[str], str]) -> Json:
    """A value of a sidecar with the facts in its texts filled in."""
    if isinstance(said, str):
        return PLACEHOLDER.sub(lambda match: word(match[1]), said)
    if isinstance(said, list):
        return [_filled(one, word) for one in said]
    if isinstance(said, dict):
        return {key: _filled(one, word) for key, one in said.items()}
    return said
