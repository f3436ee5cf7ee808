"""From conditions to questions, and from what a source answers to the studies that are meant.

C-FIND knows one key an attribute, UIDs apart, so alternatives become several questions. What sources do with
a key differs: Orthanc matches an empty date with an open range, some PACS ignore keys that they do not index,
many cannot read letters beyond ASCII. So every answer is held against the conditions again, and what does not
satisfy them is left out, and said.

Pure: answers come in through ``Ask``. Messages name attributes, never values.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
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
_LOST_LETTERS = frozenset("?\ufffd")  # what a source writes for letters that its character set lacks


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
    heeded = _heeded(conditions, found)
    if not heeded and (plain := _in_ascii(conditions)) != conditions:
        # the source did not understand our UTF-8, or has no such study: which of them, its answers tell
        found = _distinct(ask(source, [{**wanted, **one} for one in questions(plain)]))
        heeded = _heeded(conditions, [row for row in found if not _is_garbled(conditions, row)])
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


def _heeded(conditions: Conditions, answers: Sequence[Attributes]) -> list[Attributes]:
    """The answers that satisfy all conditions, as far as the source tells."""
    told = {keyword: values for keyword, values in conditions.items() if _is_told(keyword, answers)}
    return [row for row in answers if not _failing(told, row)]


def _failing(conditions: Conditions, row: Attributes) -> list[str]:
    """The keywords of conditions that a row does not satisfy."""
    return [
        keyword
        for keyword, values in conditions.items()
        if not satisfies(keyword, values, row.get(keyword, "")) and not _lost_letters(values, row, keyword)
    ]


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
        wrong = sum(bool(_failing({keyword: values}, row)) for row in answers)
        if wrong:
            studies = counted(wrong, "study", "studies")
            yield f"source {source!r} answered {studies} against the condition on {keyword}: left out"


# ------------------------------------------------------------------------------------------ other letters


def _in_ascii(conditions: Conditions) -> Conditions:
    """The same with a wildcard for each letter beyond ASCII, which every source understands."""
    return {
        keyword: tuple(dict.fromkeys(map(_plain, values))) if vr_of(keyword) in WILDCARD_VRS else values
        for keyword, values in conditions.items()
    }


def _plain(value: str) -> str:
    text = "".join(letter if letter.isascii() else "*" for letter in value)
    while "**" in text:
        text = text.replace("**", "*")
    return text


def _lost_letters(values: Iterable[str], row: Attributes, keyword: str) -> bool:
    """Whether a value is asked for in letters that the source could not write."""
    value = row.get(keyword, "")
    return not all(map(str.isascii, values)) and (not value or not _LOST_LETTERS.isdisjoint(value))


def _is_garbled(conditions: Mapping[str, Sequence[str]], row: Attributes) -> bool:
    return any(_lost_letters(values, row, keyword) for keyword, values in conditions.items())
