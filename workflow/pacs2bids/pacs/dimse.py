"""What C-MOVE and C-GET have in common (PS3.4 sections C.4.2 and C.4.3): what is asked, and the answers.

A transfer runs in a thread of its own, so that what the PACS says and what arrives can be watched together.
What it says is noted for a person to read and believed by nobody: PACS answer 0000 with instances missing,
and failures with all of them sent.
"""

from __future__ import annotations

import itertools
import logging
import secrets
import time
from collections.abc import Iterator
from contextlib import contextmanager

from msgspec.structs import replace
from pydicom.dataset import Dataset
from pynetdicom.association import Association

from pacs2bids.model import TransferStatus
from pacs2bids.pacs.identifiers import identifier_of
from pacs2bids.pacs.transport import SPOKEN, Errand, Request

# A PACS may be silent for long before it says a word: who watches what arrives decides when to give up
LONGEST_TRANSFER_S = 7 * 24 * 3600.0

_HIGHEST_MESSAGE_ID = 0xFFFF
_PENDING = (0xFF00, 0xFF01)
_PATIENCE_S = 2.0

log = logging.getLogger("pacs2bids.pull")


def message_ids() -> Iterator[int]:
    """Numbers for our requests, from a random one on: not those of a pull before (PS3.7 section 9.1.4.1).

    Several threads may take from it.
    """
    first = secrets.randbelow(_HIGHEST_MESSAGE_ID) + 1
    return itertools.cycle(itertools.chain(range(first, _HIGHEST_MESSAGE_ID + 1), range(1, first)))


def identifier_for(request: Request) -> Dataset:
    """The unique keys of all levels down to the one asked for (PS3.4 sections C.4.2.1.4 and C.4.3.1.3)."""
    keys = {
        "StudyInstanceUID": request.study_instance_uid,
        "SeriesInstanceUID": request.series_instance_uid,
        "SOPInstanceUID": "\\".join(request.sop_instance_uids),
    }
    identifier = identifier_of(request.level, {keyword: value for keyword, value in keys.items() if value})
    del identifier.SpecificCharacterSet  # nothing here but UIDs
    return identifier


class DimseTransfer(Errand):
    """A C-MOVE or C-GET under way; a ``Transfer``."""

    def __init__(
        self,
        association: Association,
        answers: Iterator[tuple[Dataset, Dataset | None]],
        model: str,
        started: TransferStatus,
    ) -> None:
        self.status = started
        self.last_word_s = self.last_progress_s = time.monotonic()
        self._association, self._answers, self._model = association, answers, model
        self._message_id = started.message_id or 0
        self._name = f"{SPOKEN[started.way]} {self._message_id}"
        super().__init__(self._name, self._listen)

    def abandon(self) -> None:
        """End a transfer that is not finished: ask the PACS to stop, then hang up."""
        if self.finished or not self._association.is_established:
            return
        log.info("%s: cancelled", self._name)
        self._association.send_c_cancel(self._message_id, query_model=self._model)
        self.join(_PATIENCE_S)
        # the thread would sleep in get_msg until the DIMSE timeout: give it what a closed connection gives
        self._association.dimse.msg_queue.put((None, None))
        self.join(_PATIENCE_S)

    def _listen(self) -> None:
        for answer, _ in self._answers:
            self.last_word_s = time.monotonic()
            if "Status" not in answer:  # empty: the connection broke, or the PACS was silent for too long
                continue
            before, self.status = self.status, _noted(self.status, answer)
            if self.status != before:
                self.last_progress_s = self.last_word_s


def _noted(status: TransferStatus, answer: Dataset) -> TransferStatus:
    return replace(
        status,
        status="" if answer.Status in _PENDING else f"{answer.Status:04X}",
        completed=answer.get("NumberOfCompletedSuboperations", status.completed),
        failed=answer.get("NumberOfFailedSuboperations", status.failed),
        warning=answer.get("NumberOfWarningSuboperations", status.warning),
        comment=str(answer.get("ErrorComment", status.comment)),
    )


@contextmanager
def listening(
    association: Association,
    answers: Iterator[tuple[Dataset, Dataset | None]],
    model: str,
    started: TransferStatus,
) -> Iterator[DimseTransfer]:
    """Listen to the answers to a request that was sent; abandon it if it is not finished at the end."""
    transfer = DimseTransfer(association, answers, model, started)
    try:
        yield transfer
    finally:
        transfer.abandon()
