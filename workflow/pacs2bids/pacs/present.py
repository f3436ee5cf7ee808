"""A new answer and the table that stands there: what stays in its place, what is new, what has gone.

Studies that are being worked on are not to be moved about by a query: their rows keep their places, new ones
come at the end. A study that a source has lost stays if it was pulled: the dataset does not shrink because a
PACS is tidied up. One that the source has and the question does not match any more goes: that is what was
asked for.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from enum import StrEnum

from pacs2bids.model import StudyRow
from pacs2bids.pacs.asking import Ask, studies_with


class Fate(StrEnum):
    """What a query does to the row of a study."""

    NEW = "new"
    SAME = "same"
    CHANGED = "changed"  # labels or source
    KEPT = "kept"  # its source does not have it any more
    GONE = "gone"  # leaves the table


@dataclass(frozen=True, slots=True, kw_only=True)
class Change:
    """One study. ``row``: as it is to be; of what is gone: as it was. ``reason``: of what stays or goes."""

    fate: Fate
    row: StudyRow
    before: StudyRow | None = None
    reason: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Lost:
    """Studies of the table that no question matches any more, by StudyInstanceUID.

    ``pulled``: those that are here, whole. ``absent``: those that their source does not have any more.
    """

    pulled: frozenset[str] = frozenset()
    absent: frozenset[str] = frozenset()


def changes(rows: Sequence[StudyRow], before: Sequence[StudyRow], lost: Lost) -> tuple[Change, ...]:
    """What becomes of each study: in the order of the table before, then what is new."""
    found = {row.study_instance_uid: row for row in rows}
    known = {row.study_instance_uid for row in before}
    old = [_change(found.get(row.study_instance_uid), row, lost) for row in before]
    return (*old, *(Change(fate=Fate.NEW, row=row) for row in rows if row.study_instance_uid not in known))


def _change(row: StudyRow | None, before: StudyRow, lost: Lost) -> Change:
    if row is not None:
        return Change(fate=Fate.SAME if row == before else Fate.CHANGED, row=row, before=before)
    uid = before.study_instance_uid
    if uid not in lost.absent:
        return Change(fate=Fate.GONE, row=before, before=before, reason="no question matches it any more")
    if uid in lost.pulled:
        reason = "its source does not have it any more, but it was pulled"
        return Change(fate=Fate.KEPT, row=before, before=before, reason=reason)
    reason = "its source does not have it any more, and it was not pulled"
    return Change(fate=Fate.GONE, row=before, before=before, reason=reason)


def absent(rows: Iterable[StudyRow], ask: Ask) -> frozenset[str]:
    """The StudyInstanceUIDs of those rows whose source does not have them."""
    by_source: dict[str, list[str]] = {}
    for row in rows:
        by_source.setdefault(row.source, []).append(row.study_instance_uid)
    missing: set[str] = set()
    for source, uids in by_source.items():
        there = studies_with(source, {"StudyInstanceUID": tuple(uids)}, ["StudyInstanceUID"], ask).studies
        missing |= set(uids) - {one.get("StudyInstanceUID", "") for one in there}
    return frozenset(missing)
