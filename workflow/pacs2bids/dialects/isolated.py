"""A user's code in a process of its own, with an end.

The process is forked: it costs milliseconds, what the code leaves behind in memory is gone with it, and
nothing it does (an endless loop, ``os._exit``, a crash in a library) ends ours. Each call of the code has a
limit; when it is over, a signal handler tells where the code was and ends the process without an exception
that a bare ``except:`` could catch. Should the signal not be let in, a watchdog in C ends it a little later.
The answer comes in a file without a name: a pipe would be held open by processes that the code leaves behind.
"""

from __future__ import annotations

import contextlib
import faulthandler
import os
import signal
import sys
import tempfile
import traceback
from collections.abc import Callable, Iterator
from pathlib import Path
from types import FrameType
from typing import BinaryIO, NoReturn, TypeVar

import msgspec

from pacs2bids.model import EndlessError, HeuristicError

LIMIT_S = 20.0  # of one call of the user's code; a heuristic takes milliseconds
GRACE_S = 2.0  # of the handler before the watchdog

GOOD, BAD, ENDLESS = b"=", b"!", b"~"

T = TypeVar("T")
End = Callable[[HeuristicError], NoReturn]


def isolated(work: Callable[[End], T], kind: type[T], *, where: str) -> T:
    """What ``work`` returns, a record of this kind, from a process of its own.

    ``work`` gets a function that ends the process with an error. Raises the HeuristicError that it raises or
    ends with, and one of its own if the process says nothing. ``where``: the heuristic.
    """
    sys.stdout.flush()
    sys.stderr.flush()
    with tempfile.TemporaryFile() as answer:
        child = os.fork()
        if child == 0:
            for number in (signal.SIGINT, signal.SIGTERM):
                if callable(signal.getsignal(number)):  # what heeds it in our process has nothing to say here
                    signal.signal(number, signal.SIG_DFL)
            _work(work, answer, where)
        try:
            _, status = os.waitpid(child, 0)
        except BaseException:
            os.kill(child, signal.SIGKILL)
            os.waitpid(child, 0)
            raise
        answer.seek(0)
        said = answer.read() if status == 0 else b""
    if said.startswith(GOOD):
        return msgspec.json.decode(said[1:], type=kind)
    if said:
        what, place, hint = msgspec.json.decode(said[1:], type=tuple[str, str, str])
        error = EndlessError if said.startswith(ENDLESS) else HeuristicError
        raise error(what, where=place, hint=hint)
    raise HeuristicError(_ended(status), where=where)


def _work(work: Callable[[End], object], answer: BinaryIO, where: str) -> NoReturn:
    """In the child: say what comes out of it, and end."""

    def say(kind: bytes, content: object) -> NoReturn:
        answer.write(kind + msgspec.json.encode(content))
        answer.flush()
        sys.stderr.flush()
        os._exit(0)

    def end(error: HeuristicError) -> NoReturn:
        say(ENDLESS if isinstance(error, EndlessError) else BAD, (error.what, error.where, error.hint))

    try:
        say(GOOD, work(end))
    except HeuristicError as error:
        end(error)
    except KeyboardInterrupt:
        os._exit(1)  # ours ends as well
    except Exception as error:  # noqa: BLE001 (a mistake of ours: in this process nobody else would tell it)
        end(_defect(error, where))
    finally:
        os._exit(1)


def _defect(error: Exception, where: str) -> HeuristicError:
    """Where and of which kind; not the error's own words, which may hold values of headers."""
    *_, last = traceback.extract_tb(error.__traceback__)
    what = f"could not be asked: {type(error).__name__} ({Path(last.filename).name}, line {last.lineno})"
    return HeuristicError(what, where=where, hint="This is a defect of pacs2bids; report what is said here")


def _ended(status: int) -> str:
    code = os.waitstatus_to_exitcode(status)
    if code < 0:
        return f"its process was ended by {signal.Signals(-code).name}"
    return (
        f"its process ended without an answer (exit code {code}): os._exit, or a call that nothing interrupts"
    )


@contextlib.contextmanager
def limited(limit_s: float, over: Callable[[FrameType | None], NoReturn]) -> Iterator[None]:
    """Call ``over`` with the frame that runs when the limit is reached; end the process if that is in vain.

    For the main thread of a child process. Should the block fork and come out twice, the copy ends here.
    """
    child = os.getpid()
    signal.signal(signal.SIGALRM, lambda _, frame: over(frame))
    signal.pthread_sigmask(signal.SIG_UNBLOCK, {signal.SIGALRM})
    with open(os.devnull, "w") as nowhere:  # noqa: PTH123 (the watchdog writes where it was)
        faulthandler.dump_traceback_later(limit_s + GRACE_S, exit=True, file=nowhere)
        signal.setitimer(signal.ITIMER_REAL, limit_s)
        try:
            yield
        finally:
            if os.getpid() != child:
                os._exit(0)
            signal.setitimer(signal.ITIMER_REAL, 0)
            faulthandler.cancel_dump_traceback_later()
