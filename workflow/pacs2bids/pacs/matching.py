"""Does this attribute match that key? The rules of C-FIND (PS3.4 section C.2.2.2), on plain text.

The embedded PACS and the folder source answer by the same rules as a hospital's PACS does: an empty key
matches everything, ``*`` and ``?`` are wildcards in text, UIDs come in lists, dates and times in ranges.
"""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Iterable

from pydicom.datadict import dictionary_VR
from pydicom.datadict import keyword_dict as _KEYWORDS  # noqa: N812 - a constant of pydicom

from pacs2bids.peers import Attributes, Conditions

WILDCARD_VRS = frozenset({"AE", "CS", "LO", "LT", "PN", "SH", "ST", "UC", "UR", "UT"})
_TIME_DIGITS = 12  # HHMMSSFFFFFF


def vr_of(keyword: str) -> str | None:
    """Value representation of a standard attribute; None if there is no such keyword."""
    return dictionary_VR(_KEYWORDS[keyword]) if keyword in _KEYWORDS else None


def matches(question: Attributes, row: Attributes) -> bool:
    """Whether ``row`` satisfies every key of ``question``; a key that it does not know is no condition."""
    return all(
        value_matches(keyword, key, row[keyword]) for keyword, key in question.items() if keyword in row
    )


def value_matches(keyword: str, key: str, value: str) -> bool:
    """Whether one stored ``value`` satisfies one ``key``; both may hold several values."""
    vr = vr_of(keyword) or "LO"
    key = key.strip(" \0")
    if not key or (key.strip("*") == "" and vr in WILDCARD_VRS):
        return True
    stored = [part.strip(" \0") for part in value.split("\\")]
    return any(_single(vr, wanted.strip(), part) for wanted in key.split("\\") for part in stored)


def satisfies(keyword: str, alternatives: Iterable[str], value: str) -> bool:
    """Whether ``value``, as a source answered it, satisfies one of ``alternatives``; case does not count.

    Sources differ in what they take for the same text (case, composed letters, wide letters): whoever looks
    at their answers must not be stricter than they are.
    """
    folded = _folded(value)
    return any(value_matches(keyword, _folded(one), folded) for one in alternatives)


def is_met(conditions: Conditions, row: Attributes) -> bool:
    """Whether ``row`` has every attribute of ``conditions``, and each satisfies its own."""
    return all(
        keyword in row and satisfies(keyword, alternatives, row[keyword])
        for keyword, alternatives in conditions.items()
    )


def _folded(text: str) -> str:
    return unicodedata.normalize("NFKC", text).casefold()


def _single(vr: str, key: str, value: str) -> bool:
    if vr in ("DA", "TM"):
        return _in_range(vr, key, value)
    if vr == "PN":
        return any(_text(_plain_name(key), _plain_name(group)) for group in value.split("="))
    if vr == "IS":
        return _whole(key) == _whole(value)
    if vr in WILDCARD_VRS:
        return _text(key, value)
    return key == value


def _text(key: str, value: str) -> bool:
    # one letter may be one code point or two; macOS and some consoles write two
    key, value = unicodedata.normalize("NFC", key), unicodedata.normalize("NFC", value)
    pattern = "".join({"*": ".*", "?": "."}.get(letter, re.escape(letter)) for letter in key)
    return re.fullmatch(pattern, value, re.DOTALL) is not None


def _plain_name(name: str) -> str:
    return name.rstrip("^ ").casefold()


def _whole(text: str) -> int | str:
    try:
        return int(text)
    except ValueError:
        return text


def _in_range(vr: str, key: str, value: str) -> bool:
    """A date or time within "from-to", "from-", "-to", or equal to as much of it as the key gives."""
    low, dash, high = key.partition("-")
    if not dash:
        high = low
    stored = _digits(value)
    if not stored:
        return False
    width = 8 if vr == "DA" else _TIME_DIGITS
    from_, to = _digits(low).ljust(width, "0"), _digits(high).ljust(width, "9")
    return from_ <= stored.ljust(width, "0") <= to


def _digits(text: str) -> str:
    # ACR-NEMA wrote 2026.01.31 and 12:30:00; PS3.5 section 6.2 asks readers to understand both
    return re.sub(r"[.:\s]", "", text)
