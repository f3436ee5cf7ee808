"""Whether a receipt still holds: what it says came against the disk, what was announced against the source.

Nothing is changed here, and nothing mended: that is what a pull does.
"""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from functools import partial
from pathlib import Path

from pacs2bids.files import sha256
from pacs2bids.model import Receipt, ReceivedInstance
from pacs2bids.pacs.receipt import Announcement, named
from pacs2bids.pacs.threaded import threaded
from pacs2bids.text import counted

# instance by instance: how many were looked at, and their bytes
Watch = Callable[[int, int], None]

_AGAIN = "Pull it again (`snakemake --forcerun {folder}/receipt.json`): what is whole is not asked for again"

MISSING, CHANGED = "missing from the disk", "not what came"
EXTRA, UNFINISHED = "in dicom/ that never came", "left by a pull that was killed"
NEW, GONE = "at the source that did not come", "gone from the source"
UNPROVED, SHORT = "announced that did not come", "short of the count of the source"
_INSTANCE, _FILE = ("instance", "instances"), ("file", "files")
_THINGS = {
    MISSING: _INSTANCE,
    CHANGED: _INSTANCE,
    EXTRA: _FILE,
    UNFINISHED: _FILE,
    NEW: _INSTANCE,
    GONE: _INSTANCE,
    UNPROVED: _INSTANCE,
    SHORT: ("series", "series"),
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Fault:
    """One way in which a receipt does not hold. ``names``: the UIDs or files, ``what``: in words, "missing".

    ``hint``: what to do about it.
    """

    what: str
    names: tuple[str, ...]
    hint: str

    def __str__(self) -> str:
        return f"{counted(len(self.names), *_THINGS[self.what])} {self.what}: {named(self.names)}"


def faults_on_disk(receipt: Receipt, folder: Path, watch: Watch) -> Iterator[Fault]:
    """What does not hold of a receipt by itself, and against the files below ``folder/dicom``."""
    again = _AGAIN.format(folder=folder)
    yield from faults_of_claim(receipt, folder)
    dicom = folder / "dicom"
    states = _states(receipt, dicom, watch)
    for state in (MISSING, CHANGED):
        yield from _fault(state, (uid for uid, found in states.items() if found == state), again)
    known = {one.path for one in receipt.received}
    others = sorted(path for path in _files_below(dicom) if path not in known)
    unfinished = [path for path in others if path.endswith(".part")]
    yield from _fault(UNFINISHED, unfinished, again)
    hint = "Look at them and take them away; a pull takes instances of this study for its own"
    yield from _fault(EXTRA, (path for path in others if path not in unfinished), hint)


def faults_at_source(receipt: Receipt, announced: Announcement, folder: Path) -> Iterator[Fault]:
    """What a source announces now, against what it announced then and what came."""
    received = {one.sop_instance_uid for one in receipt.received}
    here = Counter(one.series_instance_uid for one in receipt.received)
    now = {uid for uids in announced.listed.values() for uid in uids}
    then = {uid for uids in receipt.announced.values() for uid in uids}
    again = _AGAIN.format(folder=folder)
    yield from _fault(NEW, sorted(now - received), again)
    yield from _fault(SHORT, announced.short(here), again)
    hint = "If they were deleted there on purpose, what came of them is still here: decide what to do with it"
    yield from _fault(GONE, sorted(then - now), hint)


def faults_of_claim(receipt: Receipt, folder: Path) -> Iterator[Fault]:
    """What does not hold of a receipt by itself: it announces more than came."""
    again = _AGAIN.format(folder=folder)
    received = {one.sop_instance_uid for one in receipt.received}
    here = Counter(one.series_instance_uid for one in receipt.received)
    announced = Announcement(listed=receipt.announced, counted=receipt.counted)
    unproved = (uid for uids in receipt.announced.values() for uid in uids if uid not in received)
    yield from _fault(UNPROVED, unproved, again)
    yield from _fault(SHORT, announced.short(here), again)


def _fault(what: str, names: Iterable[str], hint: str) -> Iterator[Fault]:
    listed = tuple(names)
    if listed:
        yield Fault(what=what, names=listed, hint=hint)


def _states(receipt: Receipt, dicom: Path, watch: Watch) -> dict[str, str]:
    """SOPInstanceUID -> how its file is, in the order of the receipt."""
    states: dict[str, str] = {}
    size_bytes = 0
    with threaded(partial(_state, dicom), receipt.received) as found:
        for instance, state in zip(receipt.received, found, strict=True):
            states[instance.sop_instance_uid] = state
            size_bytes += instance.bytes
            watch(len(states), size_bytes)
    return states


def _state(dicom: Path, instance: ReceivedInstance) -> str:
    path = dicom / instance.path
    try:
        if path.stat().st_size != instance.bytes:
            return CHANGED
        return "" if sha256(path) == instance.sha256 else CHANGED
    except FileNotFoundError:
        return MISSING
    except OSError:  # a disk that fails, or a file that is not ours to read
        return CHANGED


def _files_below(dicom: Path) -> Iterator[str]:
    """All files, hidden ones too, relative to ``dicom``."""
    for folder, _, names in os.walk(dicom):
        for name in names:
            yield Path(folder, name).relative_to(dicom).as_posix()
