"""What a process of the studio is asked in tests: in a module that takes no time to be imported there."""

from __future__ import annotations

import os
import time

from pacs2bids.model import HeuristicError


def sleep_for(_: object, seconds: float) -> int:
    time.sleep(seconds)
    return os.getpid()


def fail(_: object) -> None:
    raise HeuristicError("is wrong", where="mine.py", hint="Mend it")


def end_at_once(_: object) -> None:
    os._exit(3)
