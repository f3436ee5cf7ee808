"""What identifies a patient, collected from headers while they are read for the index: the gate looks for it.

Which attributes these are: ``identifiers``.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable

from pacs2bids.header import Header
from pacs2bids.identifiers import (
    BIRTH_DATES,
    CONTACTS,
    KEYWORDS,
    NAMES,
    NESTED,
    NUMBERS,
    PEOPLE,
    SCAN_DATES,
)
from pacs2bids.model import Identity
from pacs2bids.recalled import recall

_Values = tuple[tuple[str, str], ...]


class Identifying:
    """Collects what identifies the patient of a study, header after header.

    The elements in question are the same in all files of a series but for dates, so that a further file costs
    a look-up (``recalled.recall``).
    """

    def __init__(self) -> None:
        self._seen: dict[_Values, None] = {}

    def see(self, header: Header) -> None:
        """Take the values of one header."""
        self._seen[recall(_of_header, header)] = None
        self._seen[recall(_dates_of_header, header)] = None

    def identity(self, study_instance_uid: str) -> Identity:
        """All that was seen."""
        values = defaultdict[str, set[str]](set)
        for pairs in self._seen:
            for keyword, value in pairs:
                values[keyword].add(value)
        return Identity(
            study_instance_uid=study_instance_uid,
            values={keyword: tuple(sorted(values[keyword])) for keyword in KEYWORDS if keyword in values},
        )


def _of_header(header: Header) -> _Values:
    found = [*_values(header, (*NAMES, *NUMBERS, *BIRTH_DATES, *CONTACTS, *PEOPLE))]
    for sequence, keywords in NESTED.items():
        for item in header.items(sequence):
            found += _values(item, keywords)
    return tuple(found)


def _dates_of_header(header: Header) -> _Values:
    """Days only: apart from the rest, as other files of a series may have other times."""
    return tuple((keyword, value[:8]) for keyword, value in _values(header, SCAN_DATES))


def _values(header: Header, keywords: Iterable[str]) -> Iterable[tuple[str, str]]:
    for keyword in keywords:
        for value in header.texts(keyword):
            if value:
                yield keyword, value
