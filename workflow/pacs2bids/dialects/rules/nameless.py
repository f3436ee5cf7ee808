"""What a file of rules may be made of: the words of headers without what identifies the patient."""

from __future__ import annotations

import re
from collections.abc import Sequence

from msgspec.structs import replace

from pacs2bids.gate import BLOT, NOTHING, Needles, masked
from pacs2bids.model import SeriesInfo, Stack, StudyIndex


def nameless(index: StudyIndex, needles: Needles) -> StudyIndex:
    """The same with ``BLOT`` for what ``needles`` find in words of the console that rules can ask for."""
    if needles == NOTHING:
        return index
    series = tuple(_info(one, needles) for one in index.series)
    return replace(index, series=series, stacks=tuple(_stack(one, needles) for one in index.stacks))


def as_glob(said: str) -> str:
    """A value with ``BLOT`` as a rule asks for it."""
    return re.sub(r"\*+", "*", said.replace(BLOT, "*"))


def takes(said: object, found: object) -> bool:
    """Whether a rule that asks for ``said`` takes what has the value ``found``."""
    if isinstance(said, str) and isinstance(found, str) and BLOT in said:
        return _fits(said, found)
    return said == found


def _info(info: SeriesInfo, needles: Needles) -> SeriesInfo:
    return replace(
        info,
        series_description=_clean(info.series_description, needles),
        protocol_name=_clean(info.protocol_name, needles),
        sequence_name=_clean(info.sequence_name, needles),
        study_description=_clean(info.study_description, needles),
        image_type=_all_clean(info.image_type, needles),
    )


def _stack(stack: Stack, needles: Needles) -> Stack:
    return replace(stack, facts=replace(stack.facts, image_type=_all_clean(stack.facts.image_type, needles)))


def _all_clean(words: Sequence[str], needles: Needles) -> tuple[str, ...]:
    return tuple(masked(word, needles) for word in words)


def _clean(text: str, needles: Needles) -> str:
    """Without what identifies; "" where then nothing is left that a rule could ask for.

    That is also so where a blotted text has lost its accents, and would not be found again.
    """
    shown = masked(text, needles)
    if shown == text or (any(map(str.isalnum, shown)) and _fits(shown, text)):
        return shown
    return ""


def _fits(said: str, found: str) -> bool:
    return bool(re.fullmatch(".*".join(map(re.escape, said.split(BLOT))), found, re.DOTALL | re.IGNORECASE))
