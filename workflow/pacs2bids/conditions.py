"""What studies must satisfy, as a person writes it: keys of C-FIND (PS3.4 section C.2.2.2), checked.

A PACS answers a key that is not well formed with no study, with every study, or with a failure that names
nothing. So it is checked before it is asked.
"""

from __future__ import annotations

import difflib
import re
from collections.abc import Mapping
from datetime import date

from pacs2bids.model import ConfigError
from pacs2bids.peers import Conditions

_DATES = re.compile(r"(\d{8})?(-)?(\d{8})?", re.ASCII)  # PS3.4 section C.2.2.2.5
_TIME = r"([01]\d|2[0-3])([0-5]\d([0-5]\d(\.\d{1,6})?)?)?"
_TIMES = re.compile(rf"{_TIME}|{_TIME}-({_TIME})?|-{_TIME}", re.ASCII)
_UID = re.compile(r"[0-9.]{1,64}", re.ASCII)
_SHAPES = {
    "DA": "Write YYYYMMDD, or a range: YYYYMMDD-YYYYMMDD, YYYYMMDD- or -YYYYMMDD",
    "TM": "Write HHMM, or a range: HHMM-HHMM, HHMM- or -HHMM",
    "UI": "Write it in full: UIDs take no wildcards; several stand in a list",
}
_NAMES = {"DA": "date", "TM": "time", "UI": "UID"}


def checked_conditions(entry: Mapping[str, object], where: str) -> Conditions:
    """Conditions by DICOM keyword; a list (or values separated by backslashes) are alternatives.

    Raises ConfigError for what is no keyword, and for dates, times and UIDs in another form than DICOM's.
    """
    conditions = {}
    for keyword, said in entry.items():
        check_keyword(keyword, where)
        texts = [str(one) for one in said] if isinstance(said, list) else [str(said)]
        values = dict.fromkeys(part.strip() for text in texts for part in text.split("\\"))
        for value in values:
            _check_value(keyword, value, f"{where}.{keyword}")
        conditions[keyword] = tuple(values)
    return conditions


def check_keyword(keyword: str, where: str) -> None:
    """Raise ConfigError for what DICOM does not know."""
    from pydicom.datadict import keyword_dict  # noqa: PLC0415 - only queries need it

    if keyword not in keyword_dict:
        close = difflib.get_close_matches(keyword, keyword_dict, n=1)
        hint = f"Did you mean {close[0]!r}?" if close else "Write it as in PatientID or StudyDescription"
        raise ConfigError(f"{keyword!r} is no DICOM keyword", where=where, hint=hint)


def _check_value(keyword: str, value: str, where: str) -> None:
    from pydicom.datadict import dictionary_VR, keyword_dict  # noqa: PLC0415

    vr = dictionary_VR(keyword_dict[keyword])
    if not value or vr not in _SHAPES:
        return
    if vr == "DA":
        _check_dates(value, where)
    elif not (_TIMES if vr == "TM" else _UID).fullmatch(value):
        raise ConfigError(f"{value!r} is no {_NAMES[vr]} of DICOM", where=where, hint=_SHAPES[vr])


def _check_dates(value: str, where: str) -> None:
    found = _DATES.fullmatch(value)
    ends = [end for end in (found[1], found[3]) if end] if found else []
    if found is None or not ends or (len(ends) > 1 and not found[2]) or not all(map(_is_day, ends)):
        raise ConfigError(f"{value!r} is no date of DICOM", where=where, hint=_SHAPES["DA"])
    if ends != sorted(ends):
        raise ConfigError(
            f"{value!r} ends before it begins", where=where, hint="Write the earlier date first"
        )


def _is_day(text: str) -> bool:
    try:
        date.fromisoformat(text)
    except ValueError:
        return False
    return True
