"""The receipt of one study: what was announced, what came, and whether that is all.

``receipt.json`` stands in the study's folder only if the study is complete. One that is not leaves
``receipt.incomplete.json`` instead, of the same shape: no stage takes half a study for a whole one, and
Snakemake, which removes the outputs of a job that failed, does not remove the list of what is missing. It
removes them before a job runs again, too: so the last receipt has a second name, ``.receipt.json``, by which
a file that was damaged since then is known.
"""

from __future__ import annotations

import logging
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from pathlib import Path

from msgspec import structs

from pacs2bids.engine import digest_of
from pacs2bids.files import link_or_copy, read_record, write_record
from pacs2bids.model import HeaderError, PullError, Receipt, TransferStatus
from pacs2bids.pacs.inbox import Inbox
from pacs2bids.released import RELEASED, forget_released, made_of
from pacs2bids.text import counted, listed, megabytes

COMPLETE = "receipt.json"
INCOMPLETE = "receipt.incomplete.json"
LAST = ".receipt.json"
_SOFTWARE, _LIBRARIES = ("files.py", "model.py", "pacs/*.py", "peers.py"), ("pydicom", "pynetdicom")
_MOST_UIDS = 10
_MOST_SERIES = 3

log = logging.getLogger("pacs2bids.pull")


@dataclass(frozen=True, slots=True, kw_only=True)
class Announcement:
    """What a source says it has of one study.

    ``listed``: SeriesInstanceUID -> SOPInstanceUIDs, both sorted. ``counted``: SeriesInstanceUID ->
    NumberOfSeriesRelatedInstances, for those series where the source tells it. A count may exceed the list:
    not every PACS answers at IMAGE level, and some cut long answers. ``unlisted``, ``unlisted_series``: by
    how much its counts of the study exceed those of its series. ``patient``: who it says the patient is.
    """

    listed: Mapping[str, tuple[str, ...]]
    counted: Mapping[str, int]
    unlisted: int = 0
    unlisted_series: int = 0
    patient: Mapping[str, str] = field(default_factory=dict, compare=False)

    def with_earlier(self, earlier: Announcement) -> Announcement:
        """With what ``earlier`` announced besides: what is announced no more, and never came, is missing."""
        listed = {
            series: tuple(sorted({*self.listed.get(series, ()), *earlier.listed.get(series, ())}))
            for series in sorted({*self.listed, *earlier.listed})
        }
        counted = {series: count for series, count in earlier.counted.items() if series not in self.listed}
        return replace(self, listed=listed, counted=counted | dict(self.counted))

    @property
    def totals(self) -> dict[str, int]:
        """SeriesInstanceUID -> how many instances it has, by its list or its count."""
        return {uid: max(len(uids), self.counted.get(uid, 0)) for uid, uids in self.listed.items()}

    def not_listed(self, received: Mapping[str, int]) -> tuple[int, int]:
        """How many instances and series lack of the counts of the study, besides what is listed."""
        besides = sum(received.values()) - sum(self.totals.values())
        series = len(received.keys() - self.listed.keys())
        return max(0, self.unlisted - max(0, besides)), max(0, self.unlisted_series - series)

    def short(self, received: Mapping[str, int]) -> dict[str, int]:
        """SeriesInstanceUID -> count, where neither the list nor what was ``received`` comes up to it."""
        return {
            series: count
            for series, count in self.counted.items()
            if count > max(len(self.listed.get(series, ())), received.get(series, 0))
        }


def now() -> str:
    """The time as ISO 8601, UTC, to the second."""
    return datetime.now(UTC).isoformat(timespec="seconds")


def made_out(
    inbox: Inbox,
    *,
    source: str,
    kind: str,
    started: str,
    announced: Announcement,
    transfers: tuple[TransferStatus, ...] = (),
    stable: bool = True,
    asked: int = 1,
) -> Receipt:
    """The receipt for what an inbox holds; it takes nothing more.

    ``stable``: the source's last two answers announced the same. ``asked``: how often it was asked.
    """
    inbox.close()
    missing = tuple(uid for uids in announced.listed.values() for uid in uids if not inbox.holds(uid))
    is_all_here = bool(announced.listed) and not missing and not announced.short(inbox.sizes)
    unlisted, unlisted_series = announced.not_listed(inbox.sizes)
    return Receipt(
        study_instance_uid=inbox.study_instance_uid,
        source=source,
        kind=kind,
        complete=stable and is_all_here,
        started=started,
        finished=now(),
        announced=dict(announced.listed),
        received=inbox.received,
        missing=missing,
        refused=inbox.refused,
        duplicates=inbox.duplicates,
        conflicting=inbox.conflicting,
        foreign=inbox.foreign,
        transfers=transfers,
        counted=dict(announced.counted),
        asked=asked,
        unlisted=unlisted,
        unlisted_series=unlisted_series,
        software_version=digest_of(_SOFTWARE, _LIBRARIES),
    )


def put(receipt: Receipt, folder: Path) -> Path:
    """Write a receipt, last of all, and remove the one of an earlier attempt; returns where it is.

    A study whose files had been removed (``released``) has them again once it is complete, and not before.
    Raises PullError if its source has lost some that images were made of: these images are all there is, and
    would go with the next stage.
    """
    lost = _lost_at_source(receipt, folder) if receipt.complete else []
    receipt = structs.replace(receipt, complete=receipt.complete and not lost)
    name, other = (COMPLETE, INCOMPLETE) if receipt.complete else (INCOMPLETE, COMPLETE)
    if receipt.complete:
        forget_released(folder)
    write_record(folder / name, receipt)
    (folder / other).unlink(missing_ok=True)
    link_or_copy(folder / name, folder / LAST)
    if lost:
        what = (
            "its DICOM files were removed (`keep`), and the source has no longer all that images were made of"
        )
        hint = (
            "Nothing of it changes. Have the source hold the study whole again. To go on without these "
            f"images (in the dataset, too), copy what you need, delete {folder / RELEASED}, and run again"
        )
        raise PullError(f"{what}: stacks {listed(lost, _MOST_SERIES)}", where=str(folder), hint=hint)
    return folder / name


def _lost_at_source(receipt: Receipt, folder: Path) -> list[str]:
    """Ids of stacks of which images were made once, and cannot be made of what came now."""
    came = {one.sop_instance_uid for one in receipt.received}
    return [stack for stack, instances in made_of(folder).items() if not instances <= came]


def resume(inbox: Inbox) -> int:
    """Take what an earlier attempt left in an inbox, as far as it still is what came; returns how many.

    A receipt that says more than that is taken away: it must not outlive an attempt that fails. Raises
    PullError if the folder is that of another study.
    """
    last = _earlier(inbox.folder)
    if last is not None and last.study_instance_uid != inbox.study_instance_uid:
        what, hint = f"holds the study {last.study_instance_uid}", "Give each study a folder of its own"
        raise PullError(what, where=str(inbox.folder), hint=hint)
    before = () if last is None else last.received
    inbox.resume(before)
    if not all(inbox.holds(one.sop_instance_uid, one.sha256) for one in before):
        (inbox.folder / COMPLETE).unlink(missing_ok=True)
    return len(inbox)


def _earlier(folder: Path) -> Receipt | None:
    """The receipt of an earlier attempt; None if there is none that can be read."""
    for path in (folder / COMPLETE, folder / INCOMPLETE, folder / LAST):
        if path.exists():
            try:
                return read_record(path, Receipt)
            except HeaderError as error:  # of another version, or damaged: the files must tell by themselves
                log.info("%s", error)
    return None


def summary(receipt: Receipt, folder: Path) -> str:
    """One line: "1,203 instances in 14 series, 512 MB, complete -> work/studies/1.2.3"."""
    series = {instance.series_instance_uid for instance in receipt.received}
    size = megabytes(sum(instance.bytes for instance in receipt.received))
    state = "complete" if receipt.complete else "not complete"
    if receipt.missing:
        state = f"{len(receipt.missing):,} missing"
    instances = counted(len(receipt.received), "instance")
    return f"{instances} in {len(series):,} series, {size}, {state} -> {folder}"


def log_series(receipt: Receipt) -> None:
    """One line a series in the log: received of announced, and how large."""
    counts, sizes = Counter[str](), Counter[str]()
    for one in receipt.received:
        counts[one.series_instance_uid] += 1
        sizes[one.series_instance_uid] += one.bytes
    for series, announced in receipt.announced.items():
        total = max(len(announced), receipt.counted.get(series, 0))
        log.info("series %s: %d of %d instances, %s", series, counts[series], total, megabytes(sizes[series]))


def warn_of_unlisted(receipt: Receipt) -> None:
    """Say that the source counts more in the study than in its series."""
    log.warning(
        "study %s: the PACS counts %s and %s more in the study than its series list, and has not sent them. "
        "Some PACS do not keep that count true; look there whether it shows more than %s, and run again "
        "when it lists them",
        receipt.study_instance_uid,
        counted(receipt.unlisted, "instance"),
        counted(receipt.unlisted_series, "series", "series"),
        counted(len({one.series_instance_uid for one in receipt.received}), "series", "series"),
    )


def missing_error(receipt: Receipt, *, where: Path, cause: str, hint: str) -> PullError:
    """The error for a study that is not complete: what is missing (the first by name), why, what to do.

    ``where``: the receipt.
    """
    short = _short(receipt)
    what = _count(receipt)
    if not receipt.missing and not short:
        what += ", but the PACS announces more with each answer"
    what += f"; {listed(short, _MOST_SERIES, separator='; ')}" if short else ""
    reasons = sorted({one.reason for one in receipt.refused if one.sop_instance_uid in receipt.missing})
    what += "".join(f"; refused: {reason}" for reason in reasons[:3])
    if cause:  # if nothing came, it is all that there is to tell
        what = f"{what}; {cause}" if receipt.received else f"{cause}; {what}"
    return PullError(
        what, where=f"study {receipt.study_instance_uid}", hint=f"{hint}. The whole list: {where}"
    )


def _count(receipt: Receipt) -> str:
    total, missing = sum(map(len, receipt.announced.values())), len(receipt.missing)
    if not receipt.received:
        return f"none of {counted(total, 'announced instance')} came"
    if not missing:
        return f"all {total:,} listed instances came"
    return f"{missing:,} of {total:,} announced instances are missing: {_by_series(receipt)}"


def _short(receipt: Receipt) -> list[str]:
    """A sentence for each series that falls short of its count."""
    announced = Announcement(listed=receipt.announced, counted=receipt.counted)
    here = Counter(one.series_instance_uid for one in receipt.received)
    return [
        f"series {uid}: the PACS counts {count:,} instances, lists {len(announced.listed[uid]):,} "
        f"and sent {here[uid]:,}"
        for uid, count in announced.short(here).items()
    ]


def _by_series(receipt: Receipt) -> str:
    """The first of what is missing, series by series."""
    missing = set(receipt.missing)
    lacking = []
    for series, announced in receipt.announced.items():
        if uids := tuple(uid for uid in announced if uid in missing):
            lacking.append((series, uids))
    most = _MOST_UIDS // min(max(len(lacking), 1), _MOST_SERIES)
    told = [f"{named(uids, most)} of series {series}" for series, uids in lacking]
    return listed(told, _MOST_SERIES, separator="; ") + (" series" if len(told) > _MOST_SERIES + 1 else "")


def named(uids: tuple[str, ...], most: int = _MOST_UIDS) -> str:
    """The first of them, for a person."""
    return listed(uids, most)
