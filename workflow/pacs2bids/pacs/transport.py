"""What each way of retrieving is to a pull: something that brings what is asked for into an inbox.

C-MOVE, C-GET and WADO-RS differ in how they carry instances, and in nothing that proves a study complete.
So a pull knows only this: a transport starts a transfer, which runs in a thread of its own; what it says is
noted for a person to read and believed by nobody.
"""

from __future__ import annotations

import threading
from collections.abc import Callable
from contextlib import AbstractContextManager
from dataclasses import dataclass
from types import MappingProxyType
from typing import Protocol, TypeAlias

from pacs2bids.model import TransferStatus
from pacs2bids.pacs.inbox import Inbox
from pacs2bids.peers import GET, MOVE, WADO

SPOKEN = MappingProxyType({MOVE: "C-MOVE", GET: "C-GET", WADO: "WADO-RS"})


@dataclass(frozen=True, slots=True, kw_only=True)
class Request:
    """What to bring: a study, one of its series, or some instances of one series."""

    study_instance_uid: str
    series_instance_uid: str = ""
    sop_instance_uids: tuple[str, ...] = ()

    @property
    def level(self) -> str:
        """QueryRetrieveLevel."""
        if self.sop_instance_uids:
            return "IMAGE"
        return "SERIES" if self.series_instance_uid else "STUDY"


@dataclass(frozen=True, slots=True, kw_only=True)
class Explanation:
    """Why something did not come, as far as can be told, and what a person can do about it."""

    cause: str
    hint: str


class Transfer(Protocol):
    """A transfer under way. ``status``: its last words; ``last_word_s``: when they came (monotonic).

    ``last_progress_s``: when it last said something new.
    """

    status: TransferStatus
    last_word_s: float
    last_progress_s: float

    @property
    def finished(self) -> bool:
        """Whether the source gave its final answer, or will give none."""

    def join(self, timeout_s: float) -> None:
        """Wait for the final answer, at most so long."""


class Errand:
    """Work that runs in a thread of its own; the part of a ``Transfer`` that tells whether it has ended.

    The thread itself cannot be asked: if Ctrl-C comes while it is waited for, CPython 3.11 takes it for ended
    from then on (Thread._wait_for_tstate_lock, bpo-45274), and what was to be abandoned would go on.
    """

    def __init__(self, name: str, work: Callable[[], None]) -> None:
        self._ended = threading.Event()
        self._work = work
        threading.Thread(target=self._run, name=name, daemon=True).start()

    @property
    def finished(self) -> bool:
        """Whether the work has ended."""
        return self._ended.is_set()

    def join(self, timeout_s: float | None = None) -> None:
        """Wait until it has, at most so long; None: however long it takes."""
        self._ended.wait(timeout_s)

    def _run(self) -> None:
        try:
            self._work()
        finally:
            self._ended.set()


class Transport(Protocol):
    """A way to bring instances into one inbox. ``way``: "move", "get" or "wado", as in the configuration.

    ``asks_one_by_one``: a list of instances costs a question for each.
    """

    way: str
    asks_one_by_one: bool

    @property
    def reached_us(self) -> bool:
        """Whether the source has a line to us: it called us, or took our call and what we ask on it.

        If it has not when a transfer failed, nothing will ever come by this way.
        """

    def transferring(self, request: Request) -> AbstractContextManager[Transfer]:
        """Start to bring what ``request`` names; what is not finished when the block ends is abandoned.

        May be called from several threads at once. Raises QueryError if the source cannot be reached or
        does not talk to us.
        """

    def explanation(self, last: TransferStatus) -> Explanation:
        """Why instances are missing after the transfer that ended with ``last``, and what to do."""


# Makes a transport; raises PullError or QueryError if this way cannot be gone: a port is taken, a refusal
Opening: TypeAlias = Callable[[Inbox], AbstractContextManager[Transport]]


@dataclass(frozen=True, slots=True, kw_only=True)
class Way:
    """A transport that is not open yet."""

    name: str
    opening: Opening


def explained(last: TransferStatus, who: str) -> Explanation:
    """What can be told of every way: the last words of ``who`` ("the PACS")."""
    way = SPOKEN[last.way]
    answer = f"{who} answered {way} with {last.status}" if last.status else f"{who} broke off {way}"
    again = "Run again: what came is kept and not asked for again"
    return Explanation(cause=answer, hint=f"{again}. If the same are missing then, ask those who run {who}")
