"""A process that does one thing after the other, and can be given up while it does."""

from __future__ import annotations

import multiprocessing
import os
import signal
import threading
import time
from collections.abc import Callable
from multiprocessing.connection import Connection
from multiprocessing.context import ForkServerProcess
from typing import Any, Concatenate, ParamSpec, TypeVar

from pacs2bids.model import Pacs2BidsError
from pacs2bids.studio import bench
from pacs2bids.studio.bench import Shelf

P = ParamSpec("P")
T = TypeVar("T")

POLL_S = 0.05
PATIENCE_S = 1.0  # with what nobody waits for any more: usually it is done sooner than a new process starts


class GivenUpError(Exception):
    """Nobody wants the answer any more."""


class Process:
    """Started at the first question; after it was given up, or died, anew at the next.

    It leads a group of its own: with it end the heuristics that it has forked off, and Ctrl-C is not for it.
    """

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._process: ForkServerProcess | None = None
        self._pipe: Connection | None = None

    def ask(
        self,
        function: Callable[Concatenate[Shelf, P], T],
        *args: P.args,
        **kwargs: P.kwargs,
    ) -> T:
        """What a function of ``bench`` says. Raises its Pacs2BidsError, and one if the process dies."""
        return self.ask_unless(lambda: False, function, *args, **kwargs)

    def ask_unless(
        self,
        is_stale: Callable[[], bool],
        function: Callable[Concatenate[Shelf, P], T],
        *args: P.args,
        **kwargs: P.kwargs,
    ) -> T:
        """The same. Raises GivenUpError, and ends the process, once ``is_stale`` and it still is at it."""
        with self._lock:
            pipe = self._running()
            began = time.monotonic()
            try:
                pipe.send((function, args, kwargs))
                while not pipe.poll(POLL_S):
                    if is_stale() and time.monotonic() - began > PATIENCE_S:
                        self._end()
                        raise GivenUpError
                answer = pipe.recv()
            except (EOFError, OSError) as error:
                self._end()
                raise Pacs2BidsError("the process that asks the heuristic has ended; save again") from error
        if isinstance(answer, Pacs2BidsError):
            raise answer
        said: T = answer
        return said

    def close(self) -> None:
        """End it, whatever it does."""
        self._end()

    def _running(self) -> Connection:
        if self._process is None or self._pipe is None or not self._process.is_alive():
            self._end()
            # not forked from us, who have threads, but from one that has none and has all modules at hand
            context = multiprocessing.get_context("forkserver")
            context.set_forkserver_preload([bench.__name__])
            self._pipe, theirs = context.Pipe()
            self._process = context.Process(target=_serve, args=(theirs,), daemon=True)
            self._process.start()
            theirs.close()
        return self._pipe

    def _end(self) -> None:
        process, pipe, self._process, self._pipe = self._process, self._pipe, None, None
        if process is not None and process.pid is not None:
            try:
                os.killpg(process.pid, signal.SIGKILL)
            except ProcessLookupError:
                process.kill()
            process.join()
        if pipe is not None:
            pipe.close()


def _serve(pipe: Connection) -> None:
    """In the process: answer until nobody asks any more."""
    os.setpgrp()
    shelf = Shelf()
    while True:
        try:
            function, args, kwargs = pipe.recv()
            pipe.send(_answer(function, shelf, args, kwargs))
        except (EOFError, BrokenPipeError):
            return


def _answer(function: Callable[..., Any], shelf: Shelf, args: Any, kwargs: Any) -> object:
    try:
        return function(shelf, *args, **kwargs)
    except Pacs2BidsError as error:
        return error
    except OSError as error:
        return Pacs2BidsError(error.strerror or type(error).__name__, where=str(error.filename or ""))
    except Exception as error:  # noqa: BLE001 (a mistake of ours, which only the page can tell)
        what = f"unexpected {type(error).__name__}"
        return Pacs2BidsError(
            what, hint="This is a defect of pacs2bids; `pacs2bids plan --debug` may tell it"
        )
