"""The embedded PACS as a peer of pulls in this process, and a patience that suits it."""

from __future__ import annotations

import itertools
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from pacs2bids.pacs.catalogue import Instance
from pacs2bids.pacs.pull import Patience
from pacs2bids.pacs.sender import Destination, Sender
from pacs2bids.pacs.server import serving
from pacs2bids.peers import PacsPeer, Slot
from peers.ports import free_port

# short only where nothing more is to come; what comes may take its time, on a machine that does other things
QUICK = Patience(
    quiet_s=0.6,
    quiet_after_failure_s=0.3,
    last_word_s=60,
    silence_s=60,
    settle_s=0,
    turn_s=60,
    retry_s=0.2,
)


def peer_at(port: int, **changes: Any) -> PacsPeer:
    """A PACS on loopback that knows us as PACS2BIDS at a free port."""
    settings: dict[str, Any] = {
        "name": "main",
        "host": "127.0.0.1",
        "port": port,
        "ae_title": "PACS",
        "receive_host": "127.0.0.1",
        "slots": (Slot(ae_title="PACS2BIDS", port=free_port()),),
    }
    return PacsPeer(**{**settings, **changes})


@contextmanager
def embedded(folder: Path, **changes: Any) -> Iterator[PacsPeer]:
    """The embedded PACS with the files of ``folder``, while the block runs; ``changes``: of its record."""
    peer = peer_at(0, **changes)
    destinations = {"PACS2BIDS": Destination(host="127.0.0.1", port=peer.slots[0].port)}
    with serving(folder, ae_title="PACS", destinations=destinations) as pacs:
        yield peer_at(pacs.port, slots=peer.slots, **changes)


@contextmanager
def before_each_sent(step: Callable[[Instance], object]) -> Iterator[None]:
    """What embedded PACS of this process do before each C-STORE of a C-MOVE, while the block runs."""
    store = Sender.store

    def stepping(sender: Sender, instance: Instance, **words: Any) -> int:
        step(instance)
        return store(sender, instance, **words)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(Sender, "store", stepping)
        yield


@contextmanager
def held_back(count: int) -> Iterator[None]:
    """Embedded PACS of this process send so many instances, and the others when the block ends.

    So that what is to happen in the midst of a pull happens there, however fast it is or late who watches it.
    """
    over, numbers = threading.Event(), itertools.count(1)
    with before_each_sent(lambda _: next(numbers) <= count or over.wait()):
        try:
            yield
        finally:
            over.set()


def wait_for(condition: Callable[[], bool], timeout_s: float = 120) -> None:
    """Wait until it holds; it must, in time."""
    deadline = time.monotonic() + timeout_s
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.01)
