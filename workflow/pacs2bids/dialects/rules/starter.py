"""A file of rules to start from, out of the series of one session.

Each series is told apart from the others by as few facts as that takes. What the guesses say is then planned
for this session, rule by rule: one whose names would be wrong here is left to a person, with the reason.
"""

from __future__ import annotations

import json
import re
from collections.abc import Collection, Iterator, Sequence
from dataclasses import dataclass, replace
from itertools import takewhile
from pathlib import Path

from pacs2bids.dialects.rules import answers
from pacs2bids.dialects.rules.conditions import as_text
from pacs2bids.dialects.rules.facts import value
from pacs2bids.dialects.rules.guessing import Guess, guess
from pacs2bids.dialects.rules.nameless import as_glob, takes
from pacs2bids.dialects.rules.reading import PLACEHOLDER, check_text
from pacs2bids.gate import BLOT
from pacs2bids.model import Json, PlanError, StudyIndex
from pacs2bids.plan import plan_session
from pacs2bids.session import Series, series_of
from pacs2bids.text import counted

# facts by which all of a kind are left out, whatever they are called
GENERAL: tuple[tuple[str, Json], ...] = (
    ("is_localizer", True),
    ("is_diffusion_map", True),
    ("is_motion_corrected", True),
    ("modality", "CT"),
)
# facts that tell series apart, in the order of trial; then the number of the series does
TELLING = (
    "protocol_name",
    "series_description",
    "component",
    "image_type",
    "sequence_name",
    "manufacturer",
    "volumes",
    "rows",
)
WORD = 3  # letters from which on a beginning is a word
LONG = 300  # letters of what is wrong
WIDTH = 100  # of a line; longer ones are broken up

HEAD = """\
# yaml-language-server: $schema={schema}
#
# Rules to start from, made by `pacs2bids suggest` out of {studies}: {count}.
# The comment above each rule says which series it takes here, and what in their headers speaks for it.
# Read each, correct it, and give it to other sessions: a protocol that is called "rest_1" here may be
# "rest_2" there, and '*' stands for any letters. What a rule can say: docs/rules.md.
# Rules that begin with '#' wait for you to decide.

rules:
"""
LAST = """\
  - name: all else
    match: anything
    skip: no rule is meant for it
"""


@dataclass(frozen=True, slots=True, kw_only=True)
class _Suggestion:
    """One rule, for these series. ``match``: facts and their values."""

    series: tuple[Series, ...]
    guess: Guess
    match: dict[str, Json]

    @property
    def target(self) -> tuple[object, ...]:
        """What the series are called here; magnitude and phase are told apart by the plan."""
        labels = {
            key: PLACEHOLDER.sub(lambda match: as_text(_fact(self.series[0], match[1])), label)
            for key, label in self.guess.entities.items()
        }
        component = _fact(self.series[0], "component")
        return (self.guess.datatype, self.guess.suffix, tuple(labels.items()), component)


def starter(indexes: Sequence[StudyIndex], *, schema: Path) -> str:
    """The text of a file of rules. ``schema``: where editors find ``rules.schema.json``.

    ``indexes``: ``nameless``, as the file is given to others.
    """
    all_series = [series for index in indexes for series in series_of(index) if series.stacks]
    title = _title(all_series)
    blocks = [_block(one) for one in _general(all_series, title)]
    left = [series for series in all_series if not _is_general(series)]
    suggestions = _told_apart(left, title)
    whole = [*blocks, *(_block(one) for one in suggestions if one.guess.is_sure)]
    is_proved = not _problem("rules:\n" + "\n".join([*whole, LAST]), indexes)
    for one in suggestions:
        blocks.append(_proved(one, blocks, indexes) if one.guess.is_sure and not is_proved else _told(one))
    count = counted(len(all_series), "series", "series")
    studies = "one session" if len(indexes) == 1 else counted(len(indexes), "study", "studies")
    return HEAD.format(schema=schema, studies=studies, count=count) + "\n".join([*blocks, LAST])


# --------------------------------------------------------------------------------------------- suggestions


def _fact(series: Series, name: str) -> Json:
    return value(name, series, series.stacks[0])


def _is_general(series: Series) -> bool:
    """Whether all its volumes are left out by a general rule."""
    return all(any(value(name, series, stack) == said for name, said in GENERAL) for stack in series.stacks)


def _title(all_series: Sequence[Series]) -> str:
    """The fact that names a series: the protocol, unless all have one (GE: that of the whole examination)."""
    protocols = {one.info.protocol_name for one in all_series}
    descriptions = {one.info.series_description for one in all_series}
    return (
        "series_description"
        if len(protocols) == 1 < len(descriptions) or "" in protocols
        else "protocol_name"
    )


def _guess(series: Series, title: str) -> Guess:
    return guess(series, str(_fact(series, title) or ""))


def _general(all_series: Sequence[Series], title: str) -> Iterator[_Suggestion]:
    for name, said in GENERAL:
        taken = tuple(one for one in all_series if _fact(one, name) == said)
        if taken:
            yield _Suggestion(series=taken, guess=_guess(taken[0], title), match={name: said})


def _told_apart(left: Sequence[Series], title: str) -> list[_Suggestion]:
    """One suggestion for all series of one protocol, description and guess, under names of their own."""
    groups: dict[object, list[tuple[Series, Guess]]] = {}
    for series in left:
        found = _guess(series, title)
        names = (series.info.protocol_name, series.info.series_description)
        key = (names, found.datatype, found.suffix, tuple(found.entities.items()), found.skip, found.is_sure)
        groups.setdefault(key, []).append((series, found))
    suggestions = []
    for group in groups.values():
        own = tuple(series for series, _ in group)
        others = [series for series in left if series not in own]
        suggestions.append(_Suggestion(series=own, guess=group[0][1], match=_match(own, others, title)))
    return _of_one_field_map([_named_apart(one, suggestions, title) for one in suggestions])


def _match(own: Sequence[Series], others: Sequence[Series], title: str) -> dict[str, Json]:
    """As few facts as tell these series from the others."""
    match: dict[str, Json] = {}
    for name in dict.fromkeys((title, *TELLING)):
        values = [_fact(one, name) for one in own]
        if values[0] in (None, "") or any(one != values[0] for one in values):
            continue
        alike = [one for one in others if takes(values[0], _fact(one, name))]
        if not match or len(alike) < len(others):
            match[name], others = values[0], alike
        if not others:
            return match
    return match | {"series_number": [one.info.series_number for one in own]}


def _named_apart(one: _Suggestion, suggestions: Sequence[_Suggestion], title: str) -> _Suggestion:
    """With an entity ``acq`` where another protocol would get the same name."""
    twins = [other for other in suggestions if other.target == one.target and not other.guess.skip]
    if one.guess.skip or len(twins) < 2:
        return one
    titles = {_fact(twin.series[0], title) for twin in twins}
    name = title if len(titles) == len(twins) else "series_description"
    label = re.sub(r"[^A-Za-z0-9]", "", str(_fact(one.series[0], name) or ""))
    label = label or f"series{one.series[0].info.series_number}"
    return replace(one, guess=replace(one.guess, entities={"acq": label, **one.guess.entities}))


def _of_one_field_map(suggestions: Sequence[_Suggestion]) -> list[_Suggestion]:
    """Phase and magnitude that have only each other, under one ``acq``.

    A phase difference takes its echo times from the magnitudes of its name, and consoles call them apart
    ("gre_field_ph", "gre_field_mag"; corpus fmap).
    """
    found = list(suggestions)
    for phase in [one for one in suggestions if one.guess.suffix in ("phase", "phasediff")]:
        lone = [one for one in found if one.guess.suffix == "magnitude" and not _is_paired(one, found)]
        fitting = [one for one in lone if _shape(one) == _shape(phase)]
        if _is_paired(phase, found) or not fitting:
            continue
        magnitude = min(fitting, key=lambda one: abs(_place(one) - _place(phase)))
        label = _label_of_both(magnitude, phase, {one.guess.entities.get("acq", "") for one in found})
        if not label:
            continue
        for one in (phase, magnitude):
            entities = {**one.guess.entities, "acq": label}
            found[found.index(one)] = replace(one, guess=replace(one.guess, entities=entities))
    return found


def _label_of_both(magnitude: _Suggestion, phase: _Suggestion, taken: Collection[str]) -> str:
    """What their labels begin with, if that is a word of its own; else that of one of them."""
    labels = [one.guess.entities.get("acq", "") for one in (magnitude, phase)]
    pairs = takewhile(lambda pair: pair[0] == pair[1], zip(*labels, strict=False))
    shared = "".join(letter for letter, _ in pairs)
    is_word = len(shared) >= WORD and shared not in taken
    return shared if is_word else labels[0] or labels[1]


def _is_paired(one: _Suggestion, among: Sequence[_Suggestion]) -> bool:
    """Whether a phase has a magnitude of its name, or a magnitude a phase."""
    wanted = ("phase", "phasediff") if one.guess.suffix == "magnitude" else ("magnitude",)
    return any(other.guess.suffix in wanted and other.guess.entities == one.guess.entities for other in among)


def _shape(one: _Suggestion) -> tuple[int, ...]:
    return one.series[0].stacks[0].shape[:3]


def _place(one: _Suggestion) -> int:
    return one.series[0].info.series_number or 0


# --------------------------------------------------------------------------------------------- proof


def _told(one: _Suggestion) -> str:
    """The rule; behind '#' if it is a mere guess."""
    return _block(one) if one.guess.is_sure else _asleep(one, "not sure")


def _proved(one: _Suggestion, blocks: Sequence[str], indexes: Sequence[StudyIndex]) -> str:
    """The rule; behind '#' if this session cannot be planned with it."""
    problem = _problem("rules:\n" + "\n".join([*blocks, _block(one)]), indexes)
    return _asleep(one, f"not as it stands: {problem}") if problem else _block(one)


def _problem(text: str, indexes: Sequence[StudyIndex]) -> str:
    """Why this session cannot be planned with these rules; "" if it can."""
    rules, problems = check_text(text, Path("suggested.yaml"))
    if rules is None or problems:
        return str(problems[0])
    try:
        plan_session(
            subject="01",
            session="",
            indexes=indexes,
            answers=answers(rules, indexes, subject="01", session=""),
        )
    except PlanError as error:
        return error.what.partition("nothing is placed:")[2].strip(" \n-")[:LONG]
    return ""


# --------------------------------------------------------------------------------------------- text


def _block(one: _Suggestion) -> str:
    """A rule as text, and its comment above it."""
    return "".join(f"{line}\n" for line in [*_comment(one, ""), *_lines(one)])


def _asleep(one: _Suggestion, why: str) -> str:
    lines = [f"  # {line[2:]}" for line in _lines(one)]
    return "".join(f"{line}\n" for line in [*_comment(one, why), *lines])


def _comment(one: _Suggestion, doubt: str) -> Iterator[str]:
    for series in one.series:
        names = dict.fromkeys((series.info.series_description, series.info.protocol_name))
        words = " / ".join(_printable(name) for name in names if name)
        yield f"  # series {series.info.series_key}: {words}"
    why = _printable(one.guess.why)
    yield f"  #   {why}" + (f" ({_printable(doubt)})" if doubt else "")


def _lines(one: _Suggestion) -> Iterator[str]:
    found = one.guess
    labels = [label for label in found.entities.values() if "{" not in label]
    name = found.skip or " ".join([found.suffix, *labels])
    yield f"  - name: {_scalar(name)}"
    yield from _mapping("match", {key: _test(said) for key, said in one.match.items()})
    if found.skip:
        yield f"    skip: {_scalar(found.skip)}"
        return
    yield f"    datatype: {found.datatype}"
    yield f"    suffix: {found.suffix}"
    if found.entities:
        yield from _mapping("entities", {key: _scalar(label) for key, label in found.entities.items()})


def _mapping(key: str, pairs: dict[str, str]) -> Iterator[str]:
    flow = ", ".join(f"{name}: {text}" for name, text in pairs.items())
    if len(flow) < WIDTH - len(key):
        yield f"    {key}: {{{flow}}}"
    else:
        yield f"    {key}:"
        yield from (f"      {name}: {text}" for name, text in pairs.items())


def _test(said: Json) -> str:
    """A value to be matched exactly, but for what was blotted out."""
    if isinstance(said, list):
        listed = ", ".join(
            _scalar(as_glob(one) if isinstance(one, str) and BLOT in one else one) for one in said
        )
        return f"{{list: [{listed}]}}" if all(isinstance(one, str) for one in said) else f"[{listed}]"
    if isinstance(said, str) and BLOT in said:
        return _scalar(as_glob(said))
    if isinstance(said, str) and re.search(r"[*?]", said):
        return f"{{is: {_scalar(said)}}}"
    return _scalar(said)


def _scalar(said: Json) -> str:
    """A word of YAML, in quotes where it could be taken for something else."""
    if isinstance(said, str) and re.fullmatch(r"[A-Za-z][A-Za-z0-9_]*([ -][A-Za-z0-9_]+)*", said):
        return said if said not in ("true", "false", "null") else f'"{said}"'
    return json.dumps(said, ensure_ascii=False)


def _printable(text: str) -> str:
    return "".join(one if one.isprintable() else " " for one in " ".join(text.split()))
