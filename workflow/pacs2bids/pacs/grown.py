"""Studies that have grown at their source since they were pulled: a scan that was sent late, a second visit.

One question tells it of a hundred studies: how many instances each has (PS3.4 table C.6-5,
NumberOfStudyRelatedInstances). Not every source tells it, and not every source keeps it true; so a study is
asked for again once for each count that is higher than what is known of it. What a source has lost is kept:
``receipt`` sees to it where the files of the study were removed (``keep``).
"""

from __future__ import annotations

import logging
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import TypeAlias

import msgspec
from msgspec.structs import replace

from pacs2bids.files import read_record, write_record
from pacs2bids.model import Pacs2BidsError, Receipt, StudyRow
from pacs2bids.pacs.asking import Ask, studies_with
from pacs2bids.pacs.receipt import COMPLETE, INCOMPLETE
from pacs2bids.text import counted

_TOLD = "grown.json"
_COUNT = "NumberOfStudyRelatedInstances"

log = logging.getLogger("pacs2bids.query")

_Uids: TypeAlias = dict[str, tuple[msgspec.Raw, ...]]


class _Counts(msgspec.Struct, frozen=True):
    """What of a receipt tells how many instances a study has: a thousand of them are read."""

    announced: _Uids
    received: tuple[msgspec.Raw, ...]
    counted: dict[str, int] = {}
    unlisted: int = 0

    @property
    def known(self) -> int:
        """Instances that came or were announced, with those that the source counted and never listed."""
        announced = sum(max(len(uids), self.counted.get(one, 0)) for one, uids in self.announced.items())
        return max(len(self.received), announced) + self.unlisted


class _Told(msgspec.Struct, frozen=True):
    """``grown.json``: the count for which the study was asked for again the last time."""

    instances: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Grown:
    """A study that has more at its source than we know of."""

    row: StudyRow
    known: int
    there: int

    @property
    def told(self) -> str:
        """For a person."""
        return f"its source has {counted(self.there, 'instance')} of it now, {self.known:,} are known"


def grown(rows: Iterable[StudyRow], studies: Path, ask: Ask) -> list[Grown]:
    """Those of the studies pulled into the folder ``studies`` that have grown since.

    A source that cannot be asked fails nothing, as what is here stays good, and is told as an error of the
    query: by its log ``status`` and the end of the run know it. Else a PACS may be away for weeks in silence.
    """
    by_source: dict[str, dict[str, StudyRow]] = {}
    for row in rows:
        if (studies / row.study_instance_uid / COMPLETE).exists():
            by_source.setdefault(row.source, {})[row.study_instance_uid] = row
    return [one for source, pulled in by_source.items() for one in _grown_at(source, pulled, studies, ask)]


def _grown_at(source: str, pulled: dict[str, StudyRow], studies: Path, ask: Ask) -> Iterable[Grown]:
    conditions = {"StudyInstanceUID": tuple(pulled)}
    try:
        answers = studies_with(source, conditions, ["StudyInstanceUID", _COUNT], ask).studies
    except Pacs2BidsError as error:
        what = "whether studies have grown since they were pulled cannot be told: %s"
        log.error(what, error)  # noqa: TRY400 - no traceback: it is no defect of ours
        return
    for answer in answers:
        row = pulled.get(answer.get("StudyInstanceUID", ""))
        told = answer.get(_COUNT, "")
        if row is None or not told.isdecimal():
            continue
        folder = studies / row.study_instance_uid
        known = _known(folder)
        if known is not None and int(told) > known:
            yield Grown(row=row, known=known, there=int(told))


def _known(folder: Path) -> int | None:
    """How many instances are known; None if the receipt cannot be read: that is for others to tell."""
    try:
        known = read_record(folder / COMPLETE, _Counts).known
        told = folder / _TOLD
        return max(known, read_record(told, _Told).instances) if told.exists() else known
    except Pacs2BidsError:
        return None


def set_back(study: Grown, folder: Path) -> None:
    """Have the study in ``folder`` pulled again: its receipt is none of a whole study any more."""
    receipt = read_record(folder / COMPLETE, Receipt)
    write_record(folder / INCOMPLETE, replace(receipt, complete=False))
    (folder / COMPLETE).unlink()
    # last: a count that is noted is not asked for again, so of a query that is killed before it must not be
    write_record(folder / _TOLD, _Told(instances=study.there))
