"""Pulling one study whole from a PACS: the completeness protocol.

1. Ask what there is (C-FIND at SERIES and IMAGE level): that is what the PACS *announces*. Where it counts
   more instances in a series than it lists, the series is *short* until as many have come.
2. Ask for it (C-MOVE), and wait until all of it is here, or nothing has come for a while.
3. Ask again what there is: a scanner may still be sending. Go on with 2 for whatever is missing, in lists
   that get shorter with each round, so that one instance that the PACS cannot send costs only itself; of
   short series as a whole.
4. Done when two answers in a row announce the same, all of it lies on disk and no series is short. No C-MOVE
   status counts. A count that the PACS cannot fulfil fails the study after one round that brought nothing.
5. Write the receipt, last.
"""

from __future__ import annotations

import logging
import secrets
import time
from collections.abc import Collection, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

from pacs2bids.model import MoveStatus, Pacs2BidsError, PullError, Receipt
from pacs2bids.pacs import receipt as receipts
from pacs2bids.pacs.announce import announce
from pacs2bids.pacs.inbox import Inbox
from pacs2bids.pacs.move import UNKNOWN_DESTINATION, Move, MoveRequest, moving
from pacs2bids.pacs.receiver import Address, Receiver, receiving
from pacs2bids.pacs.turns import own_turn
from pacs2bids.peers import PacsPeer, Slot

_MOST_IN_A_LIST = 256  # UIDs in one C-MOVE: 16 KB; a UI value holds 64 KB at most (PS3.5 section 7.1.2)
_SHRINK = 8  # lists of the next round are this much shorter
_FRUITLESS_LISTS = 3  # rounds that bring nothing before we stop: lists get shorter from one to the next,
_FRUITLESS_SERIES = 1  # a series that was asked for as a whole cannot be asked for better
_POLL_S = 0.1
_REPORT_S = 10.0

log = logging.getLogger("pacs2bids.pull")


@dataclass(frozen=True, slots=True, kw_only=True)
class Patience:
    """How long to wait, and how often to ask.

    ``quiet_s``: nothing came for so long after the PACS said that it is done (``quiet_after_failure_s``: that
    it failed). ``silence_s``: neither data nor a word in the midst of a move. ``settle_s``: between two
    questions for what there is. ``rounds``: of moves. ``turn_s``: for other pulls to end.
    """

    quiet_s: float = 10.0
    quiet_after_failure_s: float = 2.0
    silence_s: float = 600.0
    settle_s: float = 1.0
    rounds: int = 6
    turn_s: float = 6 * 3600.0


def pull_from_pacs(
    peer: PacsPeer, study_instance_uid: str, folder: Path, *, patience: Patience | None = None
) -> Receipt:
    """Bring a study into ``folder``, prove that it is whole, and write its receipt.

    What an earlier attempt left there is kept and not asked for again. Raises QueryError if the PACS cannot
    be reached, PullError if it does not know the study, our port cannot be had, or the study is not whole.
    """
    patience = patience or Patience()
    started, started_s = receipts.now(), time.monotonic()
    slot = peer.slots[0]
    with own_turn(slot.ae_title, slot.port, wait_s=patience.turn_s):
        inbox = Inbox(folder, study_instance_uid)
        talk, kept = _talk(peer, slot, inbox, patience)
        receipt = receipts.made_out(
            inbox,
            source=peer.name,
            kind="pacs",
            started=started,
            announced=talk.announced,
            transfers=tuple(talk.transfers),
            stable=talk.stable,
        )
    _log_transfer(receipt, folder, time.monotonic() - started_s, kept)
    return _concluded(receipt, talk, folder)


def _talk(peer: PacsPeer, slot: Slot, inbox: Inbox, patience: Patience) -> tuple[_Talk, int]:
    """The conversation, ended; and how many instances were here before it."""
    address = Address(
        ae_title=slot.ae_title,
        host=peer.receive_host,
        port=slot.port,
        callers=(peer.ae_title,),
    )
    with receiving(address, inbox) as receiver:
        kept = inbox.resume(receipts.earlier(inbox.folder))
        if kept:
            study = inbox.study_instance_uid
            log.info("study %s: %d instances are here from an earlier attempt", study, kept)
        talk = _Talk(peer, slot, inbox, receiver, patience)
        talk.run()
    return talk, kept


def _concluded(receipt: Receipt, talk: _Talk, folder: Path) -> Receipt:
    """Write the receipt; raises the error of a study that is not complete."""
    disk_error = talk.inbox.disk_error
    if disk_error is not None and not receipt.complete:
        what = f"cannot be written: {disk_error.strerror}"
        hint = "Make room or give write permission, then run again: what came is kept"
        raise PullError(what, where=str(folder), hint=hint) from disk_error
    path = receipts.put(receipt, folder)
    if talk.trouble is not None:
        raise talk.trouble
    if not receipt.complete:
        cause, hint = talk.explanation()
        raise receipts.missing_error(receipt, where=path, cause=cause, hint=hint)
    return receipt


def _log_transfer(receipt: Receipt, folder: Path, seconds: float, kept: int) -> None:
    """One line a series, and one for all. ``kept``: instances that were there before."""
    receipts.log_series(receipt)
    size = sum(one.bytes for one in receipt.received)
    rate = "" if kept else f", {size / 1e6 / max(seconds, 1e-3):.1f} MB/s"
    log.info("%s in %.1f s%s", receipts.summary(receipt, folder), seconds, rate)


class _Talk:
    """The conversation with a PACS about one study."""

    def __init__(
        self, peer: PacsPeer, slot: Slot, inbox: Inbox, receiver: Receiver, patience: Patience
    ) -> None:
        self.peer, self.slot, self.inbox, self.receiver, self.patience = peer, slot, inbox, receiver, patience
        self.announced = receipts.Announcement(listed={}, counted={})
        self.transfers: list[MoveStatus] = []
        self.stable = False
        self.trouble: Pacs2BidsError | None = None  # that ended the talk
        self._asked_s = 0.0
        self._reported_s = time.monotonic()

    def run(self) -> None:
        """Rounds of asking and moving, until all is here and stays all, or nothing helps."""
        self._ask()
        try:
            self._rounds()
        except Pacs2BidsError as error:
            self.trouble = error

    def _rounds(self) -> None:
        fruitless = 0
        for number in range(self.patience.rounds):
            before = len(self.inbox)
            if self._missing() or self._short():
                self._move_missing(number)
            if self.inbox.disk_error is not None or self._is_hopeless():
                return
            self._ask()
            if self.stable and not self._missing() and not self._short():
                return
            fruitless = fruitless + 1 if self.stable and len(self.inbox) == before else 0
            if fruitless >= (_FRUITLESS_LISTS if self._missing() else _FRUITLESS_SERIES):
                return

    # ------------------------------------------------------------------------------------------ what there is

    def _ask(self) -> None:
        study = self.inbox.study_instance_uid
        pause_s = self._asked_s + self.patience.settle_s - time.monotonic()
        if self.announced.listed and pause_s > 0:
            time.sleep(pause_s)
        before, self.announced = self.announced, announce(self.peer, study)
        self._asked_s = time.monotonic()
        if not self.announced.listed:
            hint = "Check the UID and the source; 'pacs2bids query --list' shows what it has"
            raise PullError("the PACS knows no such study", where=f"study {study} at {self.peer}", hint=hint)
        self.stable = before == self.announced
        total, series = self._total(), len(self.announced.listed)
        if not before.listed:
            log.info("study %s: %d instances in %d series announced", study, total, series)
        elif not self.stable:
            log.warning("study %s: grows at the PACS; %d instances announced now", study, total)

    def _total(self) -> int:
        counted = self.announced.counted
        return sum(max(len(uids), counted.get(uid, 0)) for uid, uids in self.announced.listed.items())

    def _missing(self) -> dict[str, list[str]]:
        """SeriesInstanceUID -> announced instances that are not here; without series that are whole."""
        here = self.inbox.holds
        listed = self.announced.listed
        missing = {series: [uid for uid in uids if not here(uid)] for series, uids in listed.items()}
        return {series: uids for series, uids in missing.items() if uids}

    def _short(self) -> Collection[str]:
        """Series of which fewer instances are listed, and fewer are here, than the PACS counts."""
        return self.announced.short(self.inbox.sizes)

    # ------------------------------------------------------------------------------------------ asking for it

    def _move_missing(self, number: int) -> None:
        study, missing, short = self.inbox.study_instance_uid, self._missing(), self._short()
        failed = False
        whole = number == 0 and not len(self.inbox)
        for request in requests_for(study, missing, short, whole=whole, number=number):
            if request.level == "IMAGE" and all(map(self.inbox.holds, request.sop_instance_uids)):
                continue  # they came with their whole series
            status = self._move(request)
            failed = failed or status.status != "0000"
            if self.inbox.disk_error is not None or self._is_hopeless():
                return
        self._wait_until_quiet(self.patience.quiet_after_failure_s if failed else self.patience.quiet_s)

    def _move(self, request: MoveRequest) -> MoveStatus:
        message_id = secrets.randbelow(0xFFFF) + 1  # not those of a pull just before (PS3.7 section 9.1.4.1)
        self.receiver.moves.add((self.peer.calling_ae_title, message_id))
        with moving(self.peer, self.slot.ae_title, request, message_id) as move:
            self._follow(move, request)
        self.transfers.append(move.status)
        ended = move.status.status or "none"
        log.info("C-MOVE %d at %s level: final status %s", message_id, request.level, ended)
        return move.status

    def _follow(self, move: Move, request: MoveRequest) -> None:
        """Until the PACS is done, or all that was asked for came, or it neither talks nor sends."""
        outstanding = set(self._outstanding(request))
        while not move.finished and self.inbox.disk_error is None:
            self.inbox.wait(_POLL_S)
            self._report()
            outstanding = {uid for uid in outstanding if not self.inbox.holds(uid)}
            if not outstanding and not self._is_short_of(request):
                move.join(self.patience.quiet_after_failure_s)
                return
            if time.monotonic() - max(move.last_word_s, self.inbox.last_activity_s) > self.patience.silence_s:
                who, silence_s = move.status.message_id, self.patience.silence_s
                log.warning("C-MOVE %d: no word and no data for %.0f s", who, silence_s)
                return

    def _outstanding(self, request: MoveRequest) -> Collection[str]:
        if request.sop_instance_uids:
            return request.sop_instance_uids
        asked = (request.series_instance_uid,) if request.series_instance_uid else self.announced.listed
        return [uid for series in asked for uid in self.announced.listed[series]]

    def _is_short_of(self, request: MoveRequest) -> bool:
        if request.sop_instance_uids:
            return False
        short = self._short()
        return request.series_instance_uid in short if request.series_instance_uid else bool(short)

    def _wait_until_quiet(self, quiet_s: float) -> None:
        entered_s = time.monotonic()
        while (self._missing() or self._short()) and self.inbox.disk_error is None:
            if time.monotonic() - max(entered_s, self.inbox.last_activity_s) > quiet_s:
                return
            self.inbox.wait(_POLL_S)
            self._report()

    def _report(self) -> None:
        if time.monotonic() - self._reported_s > _REPORT_S:
            self._reported_s = time.monotonic()
            study, here = self.inbox.study_instance_uid, len(self.inbox)
            log.info("study %s: %d of %d instances", study, here, self._total())

    # ------------------------------------------------------------------------------------------ why not

    def _is_hopeless(self) -> bool:
        """The PACS said that it failed, and it never called us."""
        last = self.transfers[-1].status if self.transfers else ""
        if last == UNKNOWN_DESTINATION:
            return True
        return bool(last) and last != "0000" and not self.receiver.associations

    def explanation(self) -> tuple[str, str]:
        """Why instances are missing, as far as can be told, and what to do."""
        last = self.transfers[-1].status if self.transfers else ""
        answer = f"the PACS answered C-MOVE with {last}" if last else "the PACS broke off C-MOVE"
        if not self._missing() and not self._short():
            return "", "Run again when the scanner has sent all"
        if self.receiver.associations:
            again = "Run again: what came is kept and not asked for again"
            return answer, f"{again}. If the same are missing then, ask those who run the PACS"
        if self.receiver.rejected:
            callers = ", ".join(sorted(self.receiver.rejected))
            cause = f"calls came from {callers} instead of {self.peer.ae_title} and were turned away"
            return cause, "If that is your PACS, correct its ae_title in config.yaml"
        cause = f"{answer} and never called us: it does not know where to, or cannot get through"
        us = f"AE title {self.slot.ae_title} with this machine's address"
        port = self.receiver.port
        return cause, f"Register {us} and port {port} there as a move destination, and open the port to it"


def requests_for(
    study_instance_uid: str,
    missing: Mapping[str, list[str]],
    short: Collection[str] = (),
    *,
    whole: bool,
    number: int,
) -> Iterator[MoveRequest]:
    """The moves of round ``number``: the ``whole`` study, or ``short`` series and lists of what is missing.

    Lists are shorter in each round.
    """
    if whole:
        yield MoveRequest(study_instance_uid=study_instance_uid)
        return
    for series in short:
        yield MoveRequest(study_instance_uid=study_instance_uid, series_instance_uid=series)
    total = sum(map(len, missing.values()))
    length = min(_MOST_IN_A_LIST, max(1, total // _SHRINK ** max(0, number - 1)))
    for series, uids in missing.items():
        for start in range(0, len(uids), length):
            yield MoveRequest(
                study_instance_uid=study_instance_uid,
                series_instance_uid=series,
                sop_instance_uids=tuple(uids[start : start + length]),
            )
