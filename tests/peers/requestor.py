"""pynetdicom as the one who calls, without a race of its own."""

from __future__ import annotations

import time
from threading import Event
from typing import Any


def parked(association: Any) -> Any:
    """The same association, whose own loop does not take what ``send_c_store`` waits for.

    pynetdicom 3.0.4 pauses its loop before it sends, but may take it for paused when it has just gone on
    (Association._run_reactor): an answer that comes within the next milliseconds is lost then.
    """
    if association.is_established:
        association._reactor_checkpoint.clear()
        time.sleep(0.02)  # the loop comes by every millisecond
        association._reactor_checkpoint = Event()  # the loop still waits for the other one
    return association
