"""One pull at a time for each slot of this host: a PACS knows us by its AE title and port.

A slot is held by a lock (flock) on a file that is there as long as it is held: who holds it removes it and
lets go then. So a lock counts only if its file still has its name: between its opening and its locking it may
have gone, and another come in its place. What a killed process leaves is taken over by the next.
"""

from __future__ import annotations

import errno
import fcntl
import logging
import os
import socket
import tempfile
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path

from pacs2bids.model import PullError
from pacs2bids.peers import Slot

_POLL_S = 0.5
_SHARED = Path("/tmp")

log = logging.getLogger("pacs2bids.pull")


@contextmanager
def own_slot(slots: Sequence[Slot], host: str, *, wait_s: float) -> Iterator[Slot]:
    """Hold the right to listen at the first slot that is free while the block runs; wait for it if none is.

    ``host``: the address that will listen, "" for all. A slot whose port another program has is left out. The
    kernel gives the right back even when a process is killed. Raises PullError after ``wait_s``, or at once
    if other programs have all ports.
    """
    deadline_s = time.monotonic() + wait_s
    told: set[str] = set()
    while True:
        slot, handle, taken = _first_free(slots, host)
        if slot is not None:
            break
        if len(taken) == len(slots):
            raise _all_taken(slots)
        if time.monotonic() > deadline_s:
            raise _never_free(slots, wait_s)
        _tell(told, f"{_named(slots)}: {_holders(slots)} there; waiting for the end")
        time.sleep(min(_POLL_S, wait_s))
    try:
        for other in taken:
            _tell(told, f"{other}: its port is taken by another program; {slot} is used instead")
        yield slot
    finally:
        _give_back(_lock_file(slot), handle)


def _first_free(slots: Sequence[Slot], host: str) -> tuple[Slot | None, int, list[Slot]]:
    """A slot and its lock, held; and those before it whose port is not to be had."""
    taken: list[Slot] = []
    for slot in slots:
        path = _lock_file(slot)
        handle = _locked(path)
        if handle is None:
            continue
        if _is_free(host, slot.port):
            return slot, handle, taken
        _give_back(path, handle)
        taken.append(slot)
    return None, -1, taken


def _lock_file(slot: Slot) -> Path:
    # not TMPDIR, which differs between users and jobs of one host, as ports do not
    folder = _SHARED if _SHARED.is_dir() else Path(tempfile.gettempdir())
    return folder / f"pacs2bids-receiver-{slot.port}{_network()}.lock"


def _network() -> str:
    """Which network of this host is ours: each has ports of its own (network_namespaces(7))."""
    try:
        return f"-{Path('/proc/self/ns/net').stat().st_ino}"
    except OSError:  # another operating system, which has one network
        return ""


def _locked(path: Path) -> int | None:
    """A handle that holds the lock; None if somebody else does."""
    while True:
        handle = _open(path)
        try:
            fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            os.close(handle)
            return None
        if _is_named(path, handle):
            return handle
        os.close(handle)


def _open(path: Path) -> int:
    while True:
        with suppress(FileNotFoundError):
            # without O_CREAT: in a sticky folder Linux refuses to "create" what another user owns
            return os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK)  # a pipe would block for ever
        with suppress(FileExistsError):  # another was quicker
            handle = os.open(path, os.O_RDONLY | os.O_CREAT | os.O_EXCL, 0o644)
            os.fchmod(handle, 0o644)  # whatever our umask: other users wait for it, too
            return handle


def _is_named(path: Path, handle: int) -> bool:
    try:
        return os.path.samestat(path.stat(follow_symlinks=False), os.fstat(handle))
    except FileNotFoundError:
        return False


def _give_back(path: Path, handle: int) -> None:
    with suppress(OSError):  # another user's, who was killed: it stays
        if _is_named(path, handle):  # a cleaner of /tmp may have been there
            path.unlink()
    os.close(handle)


def _is_free(host: str, port: int) -> bool:
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)  # as the receiver does
        try:
            probe.bind((host, port))
        except OSError as error:
            return error.errno != errno.EADDRINUSE  # what else is wrong, the receiver says better
    return True


# ---------------------------------------------------------------------------------------------- words


def _tell(told: set[str], text: str) -> None:
    """Each thing once."""
    if text not in told:
        told.add(text)
        log.warning("receiver %s", text)


def _named(slots: Sequence[Slot]) -> str:
    return ", ".join(map(str, slots))


def _holders(slots: Sequence[Slot]) -> str:
    """Who holds the locks, as far as Linux tells: "another pull receives (process 4711 of user ada)"."""
    found = [text for slot in slots for text in _holder(_lock_file(slot))]
    if len(slots) == 1:
        return "another pull receives" + "".join(f" ({text})" for text in found)
    return "other pulls receive" + (f" ({', '.join(found)})" if found else "")


def _holder(path: Path) -> Iterator[str]:
    """From lines as "1: FLOCK  ADVISORY  WRITE 4711 fe:00:9241 0 EOF" (proc_locks(5))."""
    try:
        inode = str(path.stat().st_ino)
        for line in Path("/proc/locks").read_text().splitlines():
            words = line.split()
            if words[1] == "FLOCK" and words[5].rpartition(":")[2] == inode:
                yield f"process {words[4]} of user {Path('/proc', words[4]).owner()}"
    except (OSError, KeyError, IndexError):
        return  # another operating system, another container, or gone meanwhile


def _all_taken(slots: Sequence[Slot]) -> PullError:
    ports = ", ".join(str(slot.port) for slot in slots)
    hint = (
        f"See who has it with 'ss -ltnp sport = :{slots[0].port}' and end that program, "
        "or set another receive_port and register it at the PACS"
    )
    what = f"port {ports} is taken by another program"
    if len(slots) > 1:
        what = f"ports {ports} are taken by other programs"
    return PullError(what, where=f"receiver {_named(slots)}", hint=hint)


def _never_free(slots: Sequence[Slot], wait_s: float) -> PullError:
    what = f"another pull has been receiving there for {wait_s:.0f} s"
    hint = f"See which with 'fuser {_lock_file(slots[0])}', or register one more slot at the PACS (slots)"
    return PullError(what, where=f"receiver {_named(slots)}", hint=hint)
