"""Ctrl-C and SIGTERM (a batch system's time limit, ``kill``): what runs ends soon, whatever it waits for.

Both become KeyboardInterrupt in the main thread, so that what is half done is cleaned up. That may take its
time: threads wait for a server that is silent, and libraries have some that Python would wait for at its end.
So after two seconds the process ends as it is. Nothing is lost by that: outputs appear under their names only
when they are whole.
"""

from __future__ import annotations

import os
import signal
import threading
from collections.abc import Callable
from types import FrameType
from typing import Any, Self

_LONGEST_S = 2.0


class Ending:
    """Heeds both signals until its block ends. ``tell``: says, once, that it was interrupted.

    A signal that whoever started us wants ignored stays so (``nohup``, ``&`` in a script).
    """

    def __init__(self, tell: Callable[[], None]) -> None:
        self._tell = tell
        self._code = 0
        self._lock = threading.Lock()
        self._is_told = False
        self._before: dict[int, Any] = {}

    def __enter__(self) -> Self:
        if threading.current_thread() is threading.main_thread():  # others may not
            for number in (signal.SIGINT, signal.SIGTERM):
                if signal.getsignal(number) is not signal.SIG_IGN:
                    self._before[number] = signal.signal(number, self._end)
        return self

    def __exit__(self, *_: object) -> None:
        for number, handler in self._before.items():
            signal.signal(number, handler)

    def told(self) -> int:
        """Say it, unless it was said; returns the exit code, as of who is killed by the signal."""
        with self._lock:
            if not self._is_told:
                self._is_told = True
                self._tell()
        return self._code

    def _end(self, number: int, _: FrameType | None) -> None:
        if self._code:
            return  # it is ending
        self._code = 128 + number
        watch = threading.Timer(_LONGEST_S, self._end_at_once)
        watch.daemon = True
        watch.start()
        raise KeyboardInterrupt

    def _end_at_once(self) -> None:
        os._exit(self.told())
