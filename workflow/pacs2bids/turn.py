"""One run at a time on a workdir: the lock ``.lock``, and who holds it.

Runs, and what removes anything, have it alone. What a person starts by hand to bring something into a workdir
shares it with others of that kind.

Whoever is killed leaves no lock behind: it is flock(2), which ends with its process. On NFS Linux turns it
into a lock at the server (flock(2), "NFS details"), so that it holds between hosts, too. A file system that
knows no locks at all (Lustre mounted without ``flock``) is told of, and the run goes on.
"""

from __future__ import annotations

import errno
import fcntl
import logging
import os
import socket
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO

from pacs2bids.model import ConfigError

LOCK = ".lock"
RUN = "PACS2BIDS_RUN"  # environment of the jobs of a run: its pid, so that it does not keep them out
# whoever asks who holds the lock has it himself for a moment
_ATTEMPTS, _PAUSE_S = 5, 0.1
_NO_LOCKS = (errno.ENOLCK, errno.ENOSYS, errno.EOPNOTSUPP)

log = logging.getLogger("pacs2bids")


def take_turn(workdir: Path, *, shared: bool = False) -> IO[str]:
    """Lock a workdir until what is returned is closed, or the process ends.

    ``shared``: others may share it, but nobody has it alone. Raises ConfigError, which says by whom, if it is
    locked.
    """
    # not "w", which would empty the file of who holds it
    stream = (workdir / LOCK).open("a+", encoding="utf-8")
    for attempt in range(_ATTEMPTS):
        if attempt:
            time.sleep(_PAUSE_S)
        if _locked(stream, fcntl.LOCK_SH if shared else fcntl.LOCK_EX):
            stream.truncate(0)
            stream.write(f"{socket.gethostname()} {os.getpid()}\n")
            stream.flush()
            # by the clock of the file system, as it dates all that this run writes
            os.utime(stream.fileno())
            return stream
    who = _holder(stream)
    stream.close()
    what = f"another run is at work on it{f' ({who})' if who else ''}"
    raise ConfigError(what, where=str(workdir), hint="Wait for it, or stop it")


@contextmanager
def alone(workdir: Path) -> Iterator[None]:
    """Hold the lock of a workdir. Raises ConfigError if it is locked."""
    with take_turn(workdir):
        yield


@contextmanager
def beside_no_run(workdir: Path) -> Iterator[None]:
    """Keep runs away from a workdir, if there is one: for what a person starts by hand, several if he likes.

    A job of the run that has the lock goes on. Raises ConfigError if a run is at work.
    """
    if not workdir.is_dir() or _is_of_its_run(workdir):
        yield
        return
    with take_turn(workdir, shared=True):
        yield


def _is_of_its_run(workdir: Path) -> bool:
    if RUN not in os.environ:
        return False
    with (workdir / LOCK).open("a+", encoding="utf-8") as stream:
        return _holder(stream) == _name(os.environ[RUN], socket.gethostname())


def who_is_at_work(workdir: Path) -> str | None:
    """Like "pid 4711 on scanner2", of the run that has the lock; None if there is none."""
    try:
        stream = (workdir / LOCK).open("r", encoding="utf-8")
    except OSError:
        return None
    with stream:
        return None if _locked(stream, fcntl.LOCK_SH) else _holder(stream) or "unknown"


def _locked(stream: IO[str], kind: int) -> bool:
    try:
        fcntl.flock(stream, kind | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    except OSError as error:
        if error.errno not in _NO_LOCKS:
            raise
        if kind == fcntl.LOCK_EX:
            log.warning("%s: %s: nothing keeps two runs apart here", stream.name, error.strerror)
    return True


def _holder(stream: IO[str]) -> str:
    """Who wrote his name into the lock file last; "" if nobody did."""
    stream.seek(0)
    host, _, pid = stream.read(300).strip().partition(" ")
    return _name(pid, host) if pid.isdecimal() else ""


def _name(pid: str, host: str) -> str:
    return f"pid {pid} on {host}"
