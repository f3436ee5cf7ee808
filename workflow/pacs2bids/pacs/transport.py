"""What each way of retrieving is to a pull: something that brings what is asked for into an inbox.

C-MOVE, C-GET and WADO-RS differ in how they carry instances, and in nothing that proves a study complete.
So a pull knows only this: a transport starts a transfer, which runs in a thread of its own; what it says is
noted for a person to read and believed by nobody.
"""

from __future__ import annotations

from contextlib import AbstractContextManager
from dataclasses import dataclass
from typing import Protocol

from pacs2bids.model import MoveStatus


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


class Transfer(Protocol):
    """A transfer under way. ``status``: its last words; ``last_word_s``: when they came (monotonic)."""

    status: MoveStatus
    last_word_s: float

    @property
    def finished(self) -> bool:
        """Whether the source gave its final answer, or will give none."""

    def join(self, timeout_s: float) -> None:
        """Wait for the final answer, at most so long."""


class Transport(Protocol):
    """A way to bring instances into one inbox.

    ``way``: "move", "get" or "wado", as in the configuration. ``reached_us``: whether the source has sent
    anything at all, or called us.
    """

    way: str

    @property
    def reached_us(self) -> bool:
        """Whether anything has come by this way."""

    def transferring(self, request: Request) -> AbstractContextManager[Transfer]:
        """Start to bring what ``request`` names; what is not finished when the block ends is abandoned.

        Raises QueryError if the source cannot be reached or does not talk to us.
        """
