"""``pacs2bids verify``: whether the receipts of studies still hold, against the disk and their source."""

from __future__ import annotations

import argparse
import logging
import sys
import time
from collections.abc import Mapping
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

from pacs2bids.config import load_sources
from pacs2bids.files import read_record
from pacs2bids.model import ConfigError, Pacs2BidsError, PullError, Receipt
from pacs2bids.peers import Courtesy, FolderSource, PacsPeer, Source
from pacs2bids.released import released_of
from pacs2bids.shape import suggest
from pacs2bids.text import counted, duration, megabytes, rate
from pacs2bids.verbs._workdir import CONFIG, workdir_of

if TYPE_CHECKING:
    from pacs2bids.pacs.announce import Find
    from pacs2bids.pacs.proof import Fault
    from pacs2bids.pacs.receipt import Announcement

_LINE_S = 10.0  # between two lines of the log
_SHOWN_S = 0.5  # between two looks of a person

log = logging.getLogger("pacs2bids.verify")


def configure(parser: argparse.ArgumentParser) -> None:
    """Declare the arguments."""
    parser.add_argument("study", nargs="?", metavar="STUDY", help="the study's folder, or its UID")
    parser.add_argument("--all", action="store_true", help="all studies in --workdir, one line each")
    parser.add_argument(
        "--workdir", type=Path, metavar="FOLDER", help="where the studies are; default: the configuration's"
    )
    parser.add_argument(
        "--pacs", action="store_true", help="also ask the source what it has of the study now"
    )
    parser.add_argument(
        "--config",
        type=Path,
        default=CONFIG,
        metavar="FILE",
        help="the configuration: its workdir, and with --pacs its sources (%(default)s)",
    )


def run(arguments: argparse.Namespace) -> str:
    """Prove one study or all. Raises PullError, with what does not hold, if one is not proven."""
    if bool(arguments.study) == arguments.all:
        raise ConfigError("name one study, or give --all", where="STUDY")
    sources = load_sources(arguments.config).sources if arguments.pacs else None
    announcements = _Announcements(sources, arguments.config) if sources is not None else None
    if not arguments.all:
        return _proven(_folder_of(arguments), announcements)
    return _all_proven(workdir_of(arguments.workdir, arguments.config), announcements)


def _folder_of(arguments: argparse.Namespace) -> Path:
    folder = Path(arguments.study)
    if not folder.is_dir():
        folder = workdir_of(arguments.workdir, arguments.config) / "studies" / arguments.study
    if not folder.is_dir():
        hint = "Give the folder of a study, or its UID, and --workdir if the configuration has another"
        raise ConfigError("is no study that was pulled", where=arguments.study, hint=hint)
    # as Snakemake calls it, for the hint
    whole, here = folder.resolve(), Path.cwd()
    return whole.relative_to(here) if whole.is_relative_to(here) else folder


def _all_proven(workdir: Path, announcements: _Announcements | None) -> str:
    folders = sorted(path for path in workdir.glob("studies/*/") if path.is_dir())
    if not folders:
        raise ConfigError("holds no studies", where=str(workdir), hint="Give the workdir of the config")
    failed = 0
    for folder in folders:
        try:
            line = f"proven: {_proven(folder, announcements)}"
        except Pacs2BidsError as error:
            failed += 1
            line = f"NOT PROVEN: {error}"
        sys.stdout.write(f"{line}\n")
        sys.stdout.flush()
    if failed:
        what = f"{failed:,} of {counted(len(folders), 'study', 'studies')} not proven"
        raise PullError(what, where=str(workdir))
    return f"{counted(len(folders), 'study', 'studies')} proven"


def _proven(folder: Path, announcements: _Announcements | None) -> str:
    """What holds, in a line. Raises PullError with what does not."""
    from pacs2bids.pacs.proof import (  # noqa: PLC0415 - loads pydicom
        faults_at_source,
        faults_of_claim,
        faults_on_disk,
    )

    receipt = _receipt(folder)
    uid = receipt.study_instance_uid
    size_bytes = sum(one.bytes for one in receipt.received)
    removed = released_of(folder)
    if removed is None:
        with_progress = _Progress(uid, len(receipt.received), size_bytes)
        faults = [*faults_on_disk(receipt, folder, with_progress.watch)]
        with_progress.end()
    else:
        faults = [*faults_of_claim(receipt, folder)]
    if announcements is not None:
        faults += faults_at_source(receipt, announcements.of(receipt), folder)
    if faults:
        raise _unproven(uid, faults)
    source = "" if announcements is None else f", and {receipt.source} has the same"
    what = f"{counted(len(receipt.received), 'instance')}, {megabytes(size_bytes)}"
    gone = "" if removed is None else f"; its DICOM files were removed on {removed.on[:10]} (keep)"
    return f"study {uid}: {what}, as received on {receipt.finished[:10]}{source}{gone}"


def _receipt(folder: Path) -> Receipt:
    """Of a study that came whole. Raises PullError for any other."""
    from pacs2bids.pacs.receipt import COMPLETE, INCOMPLETE  # noqa: PLC0415 - loads pydicom

    where, hint = str(folder), "Run snakemake to pull it"
    if (folder / COMPLETE).exists():
        return read_record(folder / COMPLETE, Receipt)
    if not (folder / INCOMPLETE).exists():
        raise PullError("has no receipt: its pull did not come to an end", where=where, hint=hint)
    missing = len(read_record(folder / INCOMPLETE, Receipt).missing)
    what = f"never came whole: {counted(missing, 'instance')} missing, listed in {INCOMPLETE}"
    raise PullError(what, where=where, hint=f"{hint} on")


def _unproven(uid: str, faults: list[Fault]) -> PullError:
    for fault in faults:
        for name in fault.names:
            log.info("study %s: %s: %s", uid, fault.what, name)
    hints = dict.fromkeys(fault.hint for fault in faults)
    return PullError("; ".join(map(str, faults)), where=f"study {uid}", hint=". ".join(hints))


class _Announcements:
    """What the sources of a configuration say now; a folder is read once."""

    def __init__(self, sources: Mapping[str, Source], config: Path) -> None:
        self._sources, self._config = sources, config
        self._finds: dict[str, Find] = {}

    def of(self, receipt: Receipt) -> Announcement:
        """Of the study of ``receipt``. Raises ConfigError if the source is not there any more."""
        from pacs2bids.pacs.announce import announce  # noqa: PLC0415 - loads pydicom
        from pacs2bids.pacs.courtesy import persistently  # noqa: PLC0415

        name = receipt.source
        if name not in self._sources:
            where, hint = f"{self._config}: sources", suggest(name, self._sources)
            raise ConfigError(f"no source is called {name!r} (any more)", where=where, hint=hint)
        source = self._sources[name]
        if name not in self._finds:
            self._finds[name] = _find_of(source)
        ask = partial(announce, self._finds[name], str(source), receipt.study_instance_uid)
        return persistently(ask, Courtesy() if isinstance(source, FolderSource) else source.courtesy)


def _find_of(source: Source) -> Find:
    if isinstance(source, FolderSource):
        from pacs2bids.pacs.catalogue import scan  # noqa: PLC0415 - a PACS needs none

        return scan(source.path).find
    if isinstance(source, PacsPeer):
        from pacs2bids.pacs.find import find  # noqa: PLC0415 - a folder needs no network

        return partial(find, source)
    from pacs2bids.pacs.web_find import find as find_by_web  # noqa: PLC0415

    return partial(find_by_web, source)


class _Progress:
    """How far one study is: a line of the log each ten seconds, and one that changes where a person looks."""

    def __init__(self, uid: str, instances: int, size_bytes: int) -> None:
        self._what, self._instances, self._size_bytes = f"study {uid}", instances, size_bytes
        self._begun_s = self._said_s = self._shown_s = time.monotonic()
        self._is_seen = sys.stderr.isatty()

    def watch(self, instances: int, size_bytes: int) -> None:
        """Say what is due."""
        now_s = time.monotonic()
        if now_s - self._said_s >= _LINE_S:
            self._said_s = now_s
            log.info("%s", self._line(instances, size_bytes))
        if self._is_seen and now_s - self._shown_s >= _SHOWN_S:
            self._shown_s = now_s
            sys.stderr.write(f"\r\033[K{self._line(instances, size_bytes)}")

    def end(self) -> None:
        """Leave no trace on the terminal."""
        if self._is_seen and self._shown_s > self._begun_s:
            sys.stderr.write("\r\033[K")

    def _line(self, instances: int, size_bytes: int) -> str:
        spent_s = time.monotonic() - self._begun_s
        left_s = (self._size_bytes - size_bytes) / max(size_bytes, 1) * spent_s
        speed = f"{rate(size_bytes, spent_s)}, {duration(left_s)} left"
        return f"{self._what}: {instances:,} of {self._instances:,} instances, {speed}"
