"""The embedded PACS as a peer of pulls in this process, and a patience that suits it."""

from __future__ import annotations

import socket
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from pacs2bids.pacs.pull import Patience
from pacs2bids.pacs.sender import Destination
from pacs2bids.pacs.server import serving
from pacs2bids.peers import PacsPeer, Slot

QUICK = Patience(quiet_s=0.6, quiet_after_failure_s=0.3, silence_s=5, settle_s=0, turn_s=5, retry_s=0.2)


def free_port() -> int:
    """One of loopback that nobody listens on now."""
    with socket.create_server(("127.0.0.1", 0)) as probe:
        return int(probe.getsockname()[1])


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


def wait_for(condition: Callable[[], bool], timeout_s: float = 30) -> None:
    """Wait until it holds; it must, in time."""
    deadline = time.monotonic() + timeout_s
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.01)
