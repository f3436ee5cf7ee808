"""Pulling one study whole: the completeness protocol, the same for all ways of retrieving.

1. Ask what there is: that is what the source *announces*. Where it counts more instances in a series than it
   lists, the series is *short* until as many have come. Counts of the whole study are often stale: what they
   say more is asked for with the study, once, and told in log and receipt if it does not come.
2. Ask for it (C-MOVE, C-GET or WADO-RS), and wait until all of it is here, or nothing has come for a while.
3. Ask again what there is: a scanner may still be sending. Go on with 2 for whatever is missing, in lists
   that get shorter with each round, so that one instance that the source cannot send costs only itself; of
   short series as a whole.
4. Done when two answers in a row announce the same, all of it lies on disk and no series is short. What a
   source says of its transfers does not count. A count that it cannot fulfil fails the study after one round
   that brought nothing.
5. Where the configuration names several ways, one that cannot be gone, or that leaves something missing,
   gives way to the next. What came stays.
6. Write the receipt, last.
"""

from __future__ import annotations

import errno
import itertools
import logging
import shutil
import time
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from threading import Event, Lock
from typing import TypeAlias, TypeVar

from msgspec.structs import replace

from pacs2bids.files import write_record
from pacs2bids.identifiers import OF_PACS, of_answer
from pacs2bids.model import Pacs2BidsError, PullError, Receipt, TransferStatus
from pacs2bids.pacs import receipt as receipts
from pacs2bids.pacs.announce import announce
from pacs2bids.pacs.courtesy import FIRST_PAUSE_S, Spacing, is_open, persistently, spaced, wait_until_open
from pacs2bids.pacs.find import find
from pacs2bids.pacs.get import getting
from pacs2bids.pacs.inbox import Inbox
from pacs2bids.pacs.move import moving
from pacs2bids.pacs.progress import Progress
from pacs2bids.pacs.transport import SPOKEN, Explanation, Opening, Request, Transfer, Transport, Way
from pacs2bids.pacs.web_retrieve import retrieving
from pacs2bids.peers import GET, MOVE, WADO, PacsPeer, WebPeer
from pacs2bids.text import counted, duration, megabytes, rate

_MOST_IN_A_LIST = 256  # UIDs in one C-MOVE: 16 KB; a UI value holds 64 KB at most (PS3.5 section 7.1.2)
_SHRINK = 8  # lists of the next round are this much shorter
# rounds that bring nothing before we stop
_FRUITLESS = 1  # a series that was asked for as a whole cannot be asked for better; or there is another way
_FRUITLESS_LISTS = 3  # lists get shorter from one to the next
_POLL_S = 0.1
# what flows by in a stream while one question is asked and answered: of Orthanc on loopback 8 ms at 75 MB/s;
# over a network both are slower
_QUESTION_BYTES = 500_000

Result = TypeVar("Result")
# StudyInstanceUID -> what the source has of it; of an unknown study nothing is listed
Announce: TypeAlias = Callable[[str], receipts.Announcement]

log = logging.getLogger("pacs2bids.pull")


@dataclass(frozen=True, slots=True, kw_only=True)
class Patience:
    """How long to wait, and how often to ask.

    ``quiet_s``: nothing came for so long after the source said that it is done (``quiet_after_failure_s``:
    that it failed). ``last_word_s``: for its last word, when all has come. ``silence_s``: neither data nor a
    word in the midst of a transfer. ``stall_s``: words, but neither data nor progress; long, since a PACS
    that fetches a study from tape has no more to say. ``settle_s``: between two questions for what there is.
    ``rounds``: of transfers, for each way. ``turn_s``: for other pulls to end. ``retry_s``: before an attempt
    that could not be made is made again, for the first time.
    """

    quiet_s: float = 10.0
    quiet_after_failure_s: float = 2.0
    last_word_s: float = 2.0
    silence_s: float = 600.0
    stall_s: float = 3600.0
    settle_s: float = 1.0
    rounds: int = 6
    turn_s: float = 6 * 3600.0
    retry_s: float = FIRST_PAUSE_S


@dataclass(frozen=True, slots=True, kw_only=True)
class Origin:
    """Where a study comes from: what to ask, and the ways to bring it, in the order of trial.

    ``kind``: "pacs" or "dicomweb", for the receipt.
    """

    source: PacsPeer | WebPeer
    kind: str
    announce: Announce
    ways: Sequence[Way]


def pull_from_pacs(
    peer: PacsPeer, study_instance_uid: str, folder: Path, *, patience: Patience | None = None
) -> Receipt:
    """Bring a study from a PACS into ``folder``; raises as ``pull_from``."""
    patience = patience or Patience()
    openings: dict[str, Opening] = {
        GET: partial(getting, peer),
        MOVE: partial(moving, peer, turn_s=patience.turn_s),
    }
    if peer.web is not None:
        openings[WADO] = partial(retrieving, peer.web)
    origin = Origin(
        source=peer,
        kind="pacs",
        announce=partial(announce, partial(find, peer), str(peer)),
        ways=[Way(name=way, opening=openings[way]) for way in peer.retrieve],
    )
    return pull_from(origin, study_instance_uid, folder, patience=patience)


def pull_from(origin: Origin, study_instance_uid: str, folder: Path, *, patience: Patience) -> Receipt:
    """Bring a study into ``folder``, prove that it is whole, and write its receipt.

    What an earlier attempt left there is kept and not asked for again. Raises QueryError if the source cannot
    be reached, PullError if it does not know the study, our port cannot be had, or the study is not whole.
    """
    wait_until_open(origin.source.courtesy, str(origin.source))
    started, started_s = receipts.now(), time.monotonic()
    inbox = Inbox(folder, study_instance_uid)
    kept = receipts.resume(inbox)
    if kept:
        here = counted(kept, "instance")
        log.info("study %s: here from an earlier attempt: %s", study_instance_uid, here)
    with spaced(origin.source) as spacing:
        talk = _Talk(origin, inbox, patience, spacing)
        talk.run()
    receipt = receipts.made_out(
        inbox,
        source=origin.source.name,
        kind=origin.kind,
        started=started,
        announced=talk.announced,
        transfers=tuple(talk.transfers),
        stable=talk.stable,
        asked=talk.asked,
    )
    _log_transfer(receipt, folder, time.monotonic() - started_s, kept)
    if receipt.unlisted or receipt.unlisted_series:
        receipts.warn_of_unlisted(receipt)
    return _concluded(receipt, talk, folder)


def _concluded(receipt: Receipt, talk: _Talk, folder: Path) -> Receipt:
    """Write the receipt; raises the error of a study that is not complete."""
    disk_error = talk.inbox.disk_error
    if disk_error is not None and not receipt.complete:
        what = f"cannot be written: {disk_error.strerror}"
        if disk_error.errno in (errno.ENOSPC, errno.EDQUOT):
            what += f" ({_room(talk.inbox, receipt)})"
        hint = "Make room or give write permission, then run again: what came is kept"
        raise PullError(what, where=str(folder), hint=hint) from disk_error
    if patient := talk.announced.patient:
        write_record(folder / OF_PACS, of_answer(receipt.study_instance_uid, patient))
    path = receipts.put(receipt, folder)
    if talk.trouble is not None:
        raise _with_what_is_kept(talk.trouble, len(receipt.received))
    if not receipt.complete:
        told = talk.explanation()
        raise receipts.missing_error(receipt, where=path, cause=told.cause, hint=told.hint)
    return receipt


def _room(inbox: Inbox, receipt: Receipt) -> str:
    """How much is free, and about how much more is needed: sizes are known of what came, not of the rest."""
    free = f"{megabytes(shutil.disk_usage(inbox.folder).free)} are free"
    if not len(inbox):
        return free
    to_come_bytes = inbox.size_bytes // len(inbox) * len(receipt.missing)
    return f"{free}, about {megabytes(to_come_bytes)} are still to come"


def _with_what_is_kept(error: Pacs2BidsError, count: int) -> Pacs2BidsError:
    """The error that ended a pull, with what a person wants to know next: was all for nothing?"""
    if not count:
        return error
    kept = f"What came is kept ({counted(count, 'instance')}): run again to go on"
    stop = "" if not error.hint or error.hint.endswith((".", "?")) else "."
    error.hint = f"{error.hint}{stop} {kept}".strip()
    return error


def _log_transfer(receipt: Receipt, folder: Path, seconds: float, kept: int) -> None:
    """One line for all, and one a series if not all are whole. ``kept``: instances that were there before."""
    if not receipt.complete:
        receipts.log_series(receipt)
    size = sum(one.bytes for one in receipt.received)
    speed = "" if kept else f", {rate(size, seconds)}"
    log.info("%s in %.1f s%s", receipts.summary(receipt, folder), seconds, speed)


class _ClosedError(Exception):
    """The allowed hours are over."""


class _BrokenOffError(Exception):
    """A transfer that runs beside others is not to go on."""


class _Talk:
    """The conversation with a source about one study."""

    def __init__(self, origin: Origin, inbox: Inbox, patience: Patience, spacing: Spacing) -> None:
        self.origin, self.inbox, self.patience, self.spacing = origin, inbox, patience, spacing
        self.courtesy = origin.source.courtesy
        self.announced = receipts.Announcement(listed={}, counted={})
        self.transfers: list[TransferStatus] = []
        self.stable = False
        self.asked = 0
        self.trouble: Pacs2BidsError | None = None  # that ended the only way
        self._failures: dict[str, Explanation] = {}  # way -> why it left something missing
        self._credited = len(inbox), inbox.size_bytes
        self._asked_s = 0.0
        self._progress = Progress(inbox)
        self._lock = Lock()  # of what transfers that run at once write: transfers, credit, progress
        self._broken_off = Event()

    def run(self) -> None:
        """Bring it; where the allowed hours end meanwhile, hold nothing until they begin again."""
        self._ask()
        if not self._is_wanting():  # an earlier attempt brought everything
            self._ask()
        while not self._is_whole():
            try:
                self._try_ways()
                break
            except _ClosedError:
                wait_until_open(self.courtesy, str(self.origin.source))
        self._progress.finish()

    def _try_ways(self) -> None:
        """Go one way after another until all is here and stays all, or nothing helps."""
        ways = self.origin.ways
        for way, following in itertools.zip_longest(ways, ways[1:]):
            self._go(way, following)
            if self.inbox.disk_error is not None or not self._is_wanting():
                return

    def _go(self, way: Way, following: Way | None) -> None:
        """Bring by one way what it can bring; what ``following`` may do better is not tried as hard."""
        try:
            with way.opening(self.inbox) as transport:
                self._rounds(transport, is_last=following is None)
                last = self._last_of(transport)
                if last is None or not self._is_wanting():
                    return
                why = transport.explanation(last)
        except Pacs2BidsError as error:
            self.trouble = error if len(self.origin.ways) == 1 else None
            why = Explanation(cause=error.what, hint=error.hint)
        self._failures[way.name] = why
        if following is not None:
            names = SPOKEN[way.name], SPOKEN[following.name]
            log.warning("%s: %s; trying %s", names[0], why.cause, names[1])

    def _rounds(self, transport: Transport, *, is_last: bool) -> None:
        fruitless = 0
        for number in range(self.patience.rounds):
            before = len(self.inbox)
            if self._is_wanting():
                self._bring_missing(transport, number)
            if self.inbox.disk_error is not None or self._is_hopeless(transport):
                return
            self._ask()
            if self._is_whole():
                return
            fruitless = fruitless + 1 if self.stable and len(self.inbox) == before else 0
            if fruitless >= (_FRUITLESS_LISTS if self._missing() and is_last else _FRUITLESS):
                return

    # ------------------------------------------------------------------------------------------ what there is

    def _ask(self) -> None:
        study = self.inbox.study_instance_uid
        pause_s = self._asked_s + self.patience.settle_s - time.monotonic()
        if self.announced.listed and pause_s > 0:
            time.sleep(pause_s)
        self._progress.finish()
        self.stable = False  # until it answers, and the same
        before, announced = self.announced, self._persistently(lambda: self.origin.announce(study))
        self._asked_s = time.monotonic()
        self.asked += 1
        if not announced.listed:
            raise self._unknown()  # what was announced before is missing still
        self.announced = announced.with_earlier(before)
        self.stable = before == self.announced
        self._progress.announced(self.announced)
        instances = counted(sum(self.announced.totals.values()), "instance")
        if not before.listed:
            log.info("study %s: %s in %d series announced", study, instances, len(self.announced.totals))
        elif not self.stable:
            log.warning("study %s: changes at its source; %s announced now", study, instances)
        if self.announced != announced:
            gone = sum(self.announced.totals.values()) - sum(announced.totals.values())
            what = "study %s: %s announced before and not any more; still asked for"
            log.warning(what, study, counted(gone, "instance"))

    def _unknown(self) -> PullError:
        where = f"study {self.inbox.study_instance_uid} at {self.origin.source}"
        before = sum(self.announced.totals.values())
        if before:
            had = counted(before, "instance")
            what = f"the source has none of its {had} any more: deleted meanwhile, or moved"
            return PullError(what, where=where, hint="Ask those who run it")
        hint = "Check the UID and the source; 'pacs2bids query --list' shows what it has"
        return PullError("the source knows no such study", where=where, hint=hint)

    def _persistently(self, attempt: Callable[[], Result]) -> Result:
        retry_s = self.patience.retry_s
        return persistently(attempt, self.courtesy, first_pause_s=retry_s, sleep=self._sleep)

    def _sleep(self, seconds: float) -> None:
        if self._broken_off.wait(seconds):
            raise _BrokenOffError

    def _missing(self) -> dict[str, list[str]]:
        """SeriesInstanceUID -> announced instances that are not here; without series that are whole."""
        here = self.inbox.holds
        listed = self.announced.listed
        missing = {series: [uid for uid in uids if not here(uid)] for series, uids in listed.items()}
        return {series: uids for series, uids in missing.items() if uids}

    def _short(self) -> Collection[str]:
        """Series of which fewer instances are listed, and fewer are here, than the PACS counts."""
        return self.announced.short(self.inbox.sizes)

    def _not_listed(self) -> tuple[int, int]:
        """Instances and series that the PACS counts in the study, lists nowhere and has not sent."""
        return self.announced.not_listed(self.inbox.sizes)

    def _is_wanting(self) -> bool:
        return bool(self._missing() or self._short())

    def _is_whole(self) -> bool:
        return self.stable and not self._is_wanting()

    # ------------------------------------------------------------------------------------------ asking for it

    def _bring_missing(self, transport: Transport, number: int) -> None:
        study, missing, entire = self.inbox.study_instance_uid, self._missing(), {*self._short()}
        if number == 0:
            entire |= self._rather_entire(missing, transport)
        # whatever is listed nowhere comes only so
        may_be_whole = self.courtesy.moves == 1 or any(self._not_listed())
        whole = number == 0 and not len(self.inbox) and may_be_whole
        self.spacing.keep()
        requests = [*requests_for(study, missing, sorted(entire), whole=whole, number=number)]
        lists = [one for one in requests if one.sop_instance_uids]
        others = [one for one in requests if not one.sop_instance_uids]
        bring = partial(self._bring, transport)
        # first what is asked for as a whole: lists leave out what has come by then
        done = [*self._each(bring, others), *self._each(bring, lists)]
        if self.inbox.disk_error is None and not self._is_hopeless(transport):
            patience = self.patience
            self._wait_until_quiet(patience.quiet_s if all(done) else patience.quiet_after_failure_s)
            self._credit()

    def _rather_entire(self, missing: Mapping[str, list[str]], transport: Transport) -> set[str]:
        """Series to ask for as a whole, though what is here of them comes again and is passed over.

        Where each instance is a question of its own, that is quicker if what is here is less than what flows
        by in the time that all the questions take. That bounds what comes in vain, too.
        """
        here_bytes = self.inbox.sizes_bytes
        worth_bytes = _QUESTION_BYTES if transport.asks_one_by_one else 0
        return {
            series
            for series, uids in missing.items()
            if len(uids) > 1 and here_bytes[series] <= worth_bytes * len(uids)
        }

    def _each(self, bring: Callable[[Request], bool], requests: Iterable[Request]) -> list[bool]:
        """The answers to all requests; as many run at once as courtesy allows."""
        if self.courtesy.moves == 1:
            return [bring(request) for request in requests]
        self._broken_off.clear()
        with ThreadPoolExecutor(self.courtesy.moves) as pool:
            try:
                return list(pool.map(bring, requests))
            except _ClosedError:
                raise  # the others that are under way may end
            except BaseException:
                self._broken_off.set()  # ends the others that are under way
                raise

    def _bring(self, transport: Transport, request: Request) -> bool:
        """Whether the source says that it did it."""
        if self.inbox.disk_error is not None or self._is_hopeless(transport):
            return False
        if request.sop_instance_uids and all(map(self.inbox.holds, request.sop_instance_uids)):
            return True  # they came with their whole series
        if not is_open(self.courtesy):
            raise _ClosedError
        begun, begun_s = receipts.now(), time.monotonic()
        with ExitStack() as stack:
            transfer = self._persistently(lambda: stack.enter_context(transport.transferring(request)))
            self._follow(transfer, request)
        self.inbox.flush()  # what is on its way to the disk is here: it is not to be asked for again
        spent_s = round(time.monotonic() - begun_s, 2)
        status = replace(transfer.status, begun=begun, duration_s=spent_s)
        with self._lock:
            self.transfers.append(status)
            self._credit()
            came = counted(self.transfers[-1].came or 0, "instance")
        last_word = f"status {status.status}" if status.status else "no final status"
        log.info("%s: %s, %s in %s", _spoken(status), last_word, came, duration(spent_s))
        return status.succeeded

    def _credit(self) -> None:
        """What has come since the last count is to the credit of the last transfer."""
        (count, size_bytes), here = self._credited, (len(self.inbox), self.inbox.size_bytes)
        if self.transfers:
            last = self.transfers[-1]
            came, size = (last.came or 0) + here[0] - count, (last.bytes or 0) + here[1] - size_bytes
            self.transfers[-1] = replace(last, came=came, bytes=size)
        self._credited = here

    def _follow(self, transfer: Transfer, request: Request) -> None:
        """Until the source is done, or all that was asked for came, or it neither talks nor sends."""
        outstanding = list(self._outstanding(request))
        while not (transfer.finished or self._broken_off.is_set() or self.inbox.disk_error):
            transfer.join(_POLL_S)
            self._look()
            while outstanding and self.inbox.holds(outstanding[-1]):
                outstanding.pop()
            if not outstanding and not self._is_short_of(request):
                transfer.join(self.patience.last_word_s)
                return
            if self._is_stuck(transfer):
                return

    def _is_stuck(self, transfer: Transfer) -> bool:
        """Whether it is in vain to wait any longer."""
        now_s, data_s = time.monotonic(), self.inbox.last_activity_s
        silence_s = now_s - max(transfer.last_word_s, data_s)
        stall_s = now_s - max(transfer.last_progress_s, data_s)
        if silence_s > self.patience.silence_s:
            log.warning("%s: no word and no data for %.0f s", _spoken(transfer.status), silence_s)
        elif stall_s > self.patience.stall_s:
            what = "%s: pending, but no progress and no data for %.0f s"
            log.warning(what, _spoken(transfer.status), stall_s)
        else:
            return False
        return True

    def _look(self) -> None:
        with self._lock:
            self._progress.look()

    def _outstanding(self, request: Request) -> Collection[str]:
        if request.sop_instance_uids:
            return request.sop_instance_uids
        asked = (request.series_instance_uid,) if request.series_instance_uid else self.announced.listed
        return [uid for series in asked for uid in self.announced.listed[series]]

    def _is_short_of(self, request: Request) -> bool:
        if request.sop_instance_uids:
            return False
        short = self._short()
        if request.series_instance_uid:
            return request.series_instance_uid in short
        return bool(short) or any(self._not_listed())

    def _wait_until_quiet(self, quiet_s: float) -> None:
        entered_s = time.monotonic()
        while self._is_wanting() and self.inbox.disk_error is None:
            if time.monotonic() - max(entered_s, self.inbox.last_activity_s) > quiet_s:
                break
            time.sleep(_POLL_S)  # not at each instance: for 7,000 that takes 10 s of a processor
            self._look()
        self.inbox.flush()

    # ------------------------------------------------------------------------------------------ why not

    def _last_of(self, transport: Transport) -> TransferStatus | None:
        return next((one for one in reversed(self.transfers) if one.way == transport.way), None)

    def _is_hopeless(self, transport: Transport) -> bool:
        """The source said that it failed, and has no line to us."""
        last = self._last_of(transport)
        return last is not None and bool(last.status) and not last.succeeded and not transport.reached_us

    def explanation(self) -> Explanation:
        """Why instances are missing, as far as can be told, and what to do."""
        if not self._is_wanting():
            return Explanation(cause="", hint="Run again when the scanner has sent all")
        if len(self._failures) == 1:
            return next(iter(self._failures.values()))
        told = {SPOKEN[way]: why for way, why in self._failures.items()}
        return Explanation(
            cause="; ".join(f"{name}: {why.cause}" for name, why in told.items()),
            hint=". ".join(f"For {name}: {why.hint}" for name, why in told.items() if why.hint),
        )


def _spoken(status: TransferStatus) -> str:
    """ "C-MOVE 4711 at STUDY level"."""
    number = "" if status.message_id is None else f" {status.message_id}"
    return f"{SPOKEN[status.way]}{number} at {status.level} level"


def requests_for(
    study_instance_uid: str,
    missing: Mapping[str, list[str]],
    entire: Collection[str] = (),
    *,
    whole: bool,
    number: int,
) -> Iterator[Request]:
    """What to ask for in round ``number``: the ``whole`` study, or ``entire`` series and lists.

    ``missing``: SeriesInstanceUID -> SOPInstanceUIDs. Lists of them are shorter in each round.
    """
    if whole:
        yield Request(study_instance_uid=study_instance_uid)
        return
    for series in entire:
        yield Request(study_instance_uid=study_instance_uid, series_instance_uid=series)
    total = sum(map(len, missing.values()))
    length = min(_MOST_IN_A_LIST, max(1, total // _SHRINK ** max(0, number - 1)))
    for series, uids in missing.items():
        for start in range(0, len(uids), length):
            yield Request(
                study_instance_uid=study_instance_uid,
                series_instance_uid=series,
                sop_instance_uids=tuple(uids[start : start + length]),
            )
