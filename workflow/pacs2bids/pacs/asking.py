"""From conditions to questions, and from what a source answers to the studies that are meant.

C-FIND knows one key an attribute, UIDs apart, so alternatives become several questions. What sources do with
a key differs: Orthanc matches an empty date with an open range, some PACS ignore keys that they do not index,
many cannot read letters beyond ASCII. So every answer is held against the conditions again, and what does not
satisfy them is left out, and said.

Pure: answers come in through ``Ask``. Messages name attributes, never values.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from itertools import product
from math import prod
from typing import TypeAlias

from pacs2bids.model import ConfigError
from pacs2bids.pacs.matching import WILDCARD_VRS, satisfies, vr_of
from pacs2bids.peers import Attributes, Conditions
from pacs2bids.text import counted

# (name of a source, questions) -> the studies that match any of them; one may come several times
Ask: TypeAlias = Callable[[str, Sequence[Attributes]], Sequence[Attributes]]

_MOST_QUESTIONS = 2000
_UIDS_IN_A_LIST = 100
# keys that every PACS must support (PS3.4 table C.6-5): an empty value of these is no silence
_REQUIRED = frozenset(
    {"StudyDate", "StudyTime", "AccessionNumber", "PatientName", "PatientID", "StudyID", "StudyInstanceUID"}
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Answers:
    """The studies that satisfy the conditions, each once, and what a person should know of the source."""

    studies: tuple[Attributes, ...]
    warnings: tuple[str, ...]


def studies_with(source: str, conditions: Conditions, keys: Iterable[str], ask: Ask) -> Answers:
    """The studies of ``source`` that satisfy ``conditions``, with their attributes ``keys``.

    Raises ConfigError for more questions than a PACS should be asked.
    """
    wanted = dict.fromkeys(keys, "")
    found = _distinct(ask(source, [{**wanted, **one} for one in questions(conditions)]))
    heeded = _heeded(conditions, found, strict=False)
    if not heeded and (plain := _in_ascii(conditions)) != conditions:
        # the source did not understand our UTF-8, or has no such study: which of them, its answers tell
        found = _distinct(ask(source, [{**wanted, **one} for one in questions(plain)]))
        heeded = _heeded(conditions, found, strict=True)
        conditions = plain  # that is what it was asked for
    return Answers(studies=tuple(heeded), warnings=tuple(_warnings(source, conditions, found)))


def questions(conditions: Conditions) -> Iterator[Attributes]:
    """One question for each combination of alternatives; UIDs go in lists (PS3.4 section C.2.2.2.2)."""
    alternatives = {keyword: _keys(keyword, values) for keyword, values in conditions.items()}
    count = prod(map(len, alternatives.values()))
    if count > _MOST_QUESTIONS:
        what = f"these conditions make {count:,} questions, one for each combination of their values"
        raise ConfigError(what, where=", ".join(conditions), hint=f"At most {_MOST_QUESTIONS:,} are asked")
    for values in product(*alternatives.values()):
        yield dict(zip(alternatives, values, strict=True))


def _keys(keyword: str, values: Sequence[str]) -> Sequence[str]:
    if vr_of(keyword) != "UI":
        return values
    starts = range(0, len(values), _UIDS_IN_A_LIST)
    return ["\\".join(values[start : start + _UIDS_IN_A_LIST]) for start in starts]


def _distinct(answers: Iterable[Attributes]) -> list[Attributes]:
    """Each study once; answers without a UID stay, for somebody to complain of."""
    found: dict[str, Attributes] = {}
    for number, answer in enumerate(answers):
        found.setdefault(answer.get("StudyInstanceUID") or f"without UID {number}", answer)
    return list(found.values())


# ------------------------------------------------------------------------------------------ what is meant


def _heeded(conditions: Conditions, answers: Sequence[Attributes], *, strict: bool) -> list[Attributes]:
    """The answers that satisfy all conditions, as far as the source tells.

    Unless ``strict`` a source is believed where it matched letters that it may not be able to write.
    """
    told = {keyword: values for keyword, values in conditions.items() if _is_told(keyword, answers)}
    return [row for row in answers if all(_meets(row, keyword, told[keyword], strict) for keyword in told)]


def _meets(row: Attributes, keyword: str, values: Sequence[str], strict: bool) -> bool:
    value = row.get(keyword, "")
    if satisfies(keyword, values, value):
        return True
    # Orthanc reads UTF-8, matches, and leaves out of its answer the letters that its own encoding lacks
    legible = value.replace("\ufffd", "?")
    return not strict and legible.isascii() and satisfies(keyword, _plain_keys(keyword, values), legible)


def _is_told(keyword: str, answers: Iterable[Attributes]) -> bool:
    """Whether the source answers this attribute at all."""
    if keyword in _REQUIRED:
        return any(keyword in row for row in answers)
    return any(row.get(keyword) for row in answers)


def _warnings(source: str, conditions: Conditions, answers: Sequence[Attributes]) -> Iterator[str]:
    for keyword, values in conditions.items():
        if not answers or not any(values) or set(values) == {"*"}:
            continue
        if not _is_told(keyword, answers):
            yield (
                f"source {source!r} does not answer {keyword}, so whether it heeded that condition cannot be "
                "told: see the studies with 'pacs2bids query --dry-run'"
            )
            continue
        wrong = sum(not _meets(row, keyword, values, strict=False) for row in answers)
        if wrong:
            studies = counted(wrong, "study", "studies")
            yield f"source {source!r} answered {studies} against the condition on {keyword}: left out"


# ------------------------------------------------------------------------------------------ other letters


def _in_ascii(conditions: Conditions) -> Conditions:
    """The same with a wildcard for each letter beyond ASCII, which every source understands."""
    return {keyword: _plain_keys(keyword, values) for keyword, values in conditions.items()}


def _plain_keys(keyword: str, values: Sequence[str]) -> tuple[str, ...]:
    if vr_of(keyword) not in WILDCARD_VRS:
        return tuple(values)
    return tuple(dict.fromkeys(map(_plain, values)))


def _plain(value: str) -> str:
    text = "".join(letter if letter.isascii() else "*" for letter in value)
    while "**" in text:
        text = text.replace("**", "*")
    return text
