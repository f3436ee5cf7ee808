"""What a user's code says, without the persons it speaks of.

A heuristic sees patient IDs, accession numbers and names of physicians. Its names may be made of them, that
is its author's decision; the texts of its exceptions and what it prints end in logs, tables and the report,
where no identity belongs.
"""

from __future__ import annotations

import io
import re
from collections.abc import Iterable, Iterator, Mapping
from typing import TextIO

from pacs2bids.dialects.standins import SeqInfo

IDENTITIES = ("patient_id", "accession_number", "referring_physician_name")
# of a header that the file's hooks get, by DICOM keyword
IN_HEADERS = {
    "PatientName": "patient_name",
    "PatientBirthDate": "patient_birth_date",
    "OtherPatientIDs": "patient_id",
    "PerformingPhysicianName": "performing_physician_name",
    "OperatorsName": "operators_name",
}
# words of which IDs are made, and which stand in names and exceptions of everybody: they tell no person
NOBODY = {"sub", "subj", "subject", "ses", "session", "patient", "study", "scan", "test", "pilot"}
ALONE = 4  # shorter values are blanked as whole words only: an ID "1" is in half of all words and numbers


class Blank:
    """A function of a text: each value of ``IDENTITIES`` in these series becomes ``<field>``."""

    def __init__(self, infos: Iterable[SeqInfo]) -> None:
        self._fields: dict[str, str] = {}
        self._learn((field, str(getattr(info, field) or "")) for info in infos for field in IDENTITIES)

    def learn(self, header: Mapping[str, str]) -> None:
        """Blank the persons of a header, too: ``IN_HEADERS`` of a DICOM file that the user's code gets."""
        self._learn((field, header[keyword]) for keyword, field in IN_HEADERS.items())

    def _learn(self, values: Iterable[tuple[str, str]]) -> None:
        known = len(self._fields)
        for field, value in values:
            for spelling in _spellings(field, value):
                self._fields.setdefault(spelling.lower(), field)
        if known and known == len(self._fields):
            return
        longest_first = sorted(self._fields, key=len, reverse=True)
        self._pattern = re.compile("|".join(map(_found_as, longest_first)) or r"(?!)", re.IGNORECASE)

    def __call__(self, text: str) -> str:
        """Return the text without identities."""
        return self._pattern.sub(lambda match: f"<{self._fields.get(match[0].lower(), 'identity')}>", text)


def _spellings(field: str, value: str) -> Iterator[str]:
    """As it stands, as ``repr`` escapes it, as a number, letters and digits alone, and the parts of it.

    Parts of a name (PS3.5 6.2, PN) are its words. Those of an ID are also runs of letters, and of digits:
    heuristics take IDs apart for the labels in them.
    """
    whole = (value, repr(value)[1:-1], value.lstrip("0"), "".join(filter(str.isalnum, value)))
    yield from (one for one in whole if one.strip())
    parts = re.split(r"[\^=\s]+" if field.endswith("_name") else r"[\W_]+", value)
    if not field.endswith("_name"):
        parts += re.findall(r"[^\W\d_]+|\d+", value)
    parts += [one.lstrip("0") for one in parts]
    yield from (one for one in parts if len(one) > 1 and one.lower() not in NOBODY)


def _found_as(value: str) -> str:
    literal = re.escape(value)
    return literal if len(value) >= ALONE else rf"(?<![^\W_]){literal}(?![^\W_])"


class BlankedStream(io.TextIOBase):
    """A text stream that passes whole lines on to another, without identities."""

    def __init__(self, stream: TextIO, blank: Blank) -> None:
        self._stream, self._blank, self._begun = stream, blank, ""

    def writable(self) -> bool:
        """Return True."""
        return True

    def write(self, text: str) -> int:
        """Pass on what is complete; a line may come in pieces."""
        whole, newline, self._begun = (self._begun + text).rpartition("\n")
        self._stream.write(self._blank(whole + newline))
        return len(text)

    def flush(self) -> None:
        """Pass on a begun line, too."""
        begun, self._begun = self._begun, ""
        self._stream.write(self._blank(begun))
        self._stream.flush()
