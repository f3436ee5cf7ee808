"""What would be placed, of all sessions, before anything is: for Apply, which shows it first."""

from __future__ import annotations

import threading
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from pacs2bids.gate import Needles
from pacs2bids.model import ConversionError, EndlessError, HeuristicError, Pacs2BidsError
from pacs2bids.planning import Asked
from pacs2bids.roster import Session, is_indexed
from pacs2bids.studio import bench, records
from pacs2bids.studio.bench import Text
from pacs2bids.studio.blotting import blotted_of
from pacs2bids.studio.process import GivenUpError, Process
from pacs2bids.text import counted


def of_all(errors: Sequence[str]) -> str:
    """What is wrong with every session: the first error, and of how many others there is one."""
    others = f"\n(and in {counted(len(errors) - 1, 'other session')})" if len(errors) > 1 else ""
    return errors[0] + others


@dataclass(frozen=True, slots=True, kw_only=True)
class Ground:
    """What the answer follows from. ``digest``: of the files that say so."""

    text: Text
    asked: Asked
    sessions: Sequence[Session]
    digest: str
    needles_of: Callable[[Session], Needles]


class Proposer:
    """Plans session after session in a process of its own, so that the page goes on meanwhile.

    ``tell``: is called with how far it is. A newer question ends an older one.
    """

    def __init__(self, tell: Callable[[records.Busy], None]) -> None:
        self._tell = tell
        self._process = Process()
        self._lock = threading.Lock()
        self._last: object = None

    def changes(self, ground: Ground) -> records.Changes:
        """What would change. Raises HeuristicError, and ConversionError if it was cancelled."""
        with self._lock:
            self._last = mine = object()
        try:
            return self._changes(ground, lambda: self._last is not mine)
        except GivenUpError:
            what, hint = "was cancelled, or asked anew from another tab", "Press Apply again"
            raise ConversionError(what, where="the plan of all sessions", hint=hint) from None
        finally:
            if self._last is mine:
                self._tell(records.Busy())

    def cancel(self) -> None:
        """Give up what is being planned, if anything is."""
        with self._lock:
            self._last = None
        self._tell(records.Busy())

    def close(self) -> None:
        """End it, whatever it does."""
        self.cancel()
        self._process.close()

    def _changes(self, ground: Ground, is_stale: Callable[[], bool]) -> records.Changes:
        ready = [one for one in ground.sessions if is_indexed(one)]
        found = list[records.SessionChanges]()
        for session in ready:
            if is_stale():
                raise GivenUpError
            self._tell(records.Busy(done=len(found), sessions=len(ready)))
            found.append(self._of(session, ground, is_stale, is_first=not found))
        if found and all(one.error for one in found):
            raise HeuristicError(of_all([one.error for one in found]))
        changed = tuple(one for one in found if one.changes or one.error)
        known = {one.key for one in ready}
        return records.Changes(
            digest=ground.digest,
            sessions=changed,
            unchanged=len(found) - len(changed),
            waiting=tuple(one.key for one in ground.sessions if one.key not in known),
        )

    def _of(
        self, session: Session, ground: Ground, is_stale: Callable[[], bool], *, is_first: bool
    ) -> records.SessionChanges:
        ask, text = self._process.ask_unless, ground.text
        try:
            return blotted_of(
                ground.needles_of(session),
                lambda: ask(is_stale, bench.changes, text, ground.asked, session),
            )
        except EndlessError:  # each would take its limit
            raise
        except Pacs2BidsError as error:
            # what is wrong with the file is wrong with it for all; one odd series stops its session alone
            if is_first and any(mark.is_error for mark in ask(is_stale, bench.marks, text)):
                raise
            return records.SessionChanges(key=session.key, error=str(error))
