"""One pull at a time for each AE title and port of this host: a PACS knows us by them."""

from __future__ import annotations

import fcntl
import logging
import os
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from pacs2bids.model import PullError

log = logging.getLogger("pacs2bids.pull")


@contextmanager
def own_turn(ae_title: str, port: int, *, wait_s: float) -> Iterator[None]:
    """Hold the right to listen as ``ae_title`` on ``port`` while the block runs; other pulls wait.

    The kernel gives it back even when a process is killed. Raises PullError after ``wait_s``.
    """
    name = "".join(letter if letter.isalnum() else "_" for letter in ae_title)
    path = Path(tempfile.gettempdir(), f"pacs2bids-receiver-{name}-{port}.lock")
    handle = _open(path)
    try:
        _wait(handle, f"{ae_title} at port {port}", wait_s, path)
        yield
    finally:
        os.close(handle)


def _open(path: Path) -> int:
    try:
        # first without O_CREAT: in a sticky folder Linux refuses to "create" what another user owns
        return os.open(path, os.O_RDONLY | os.O_NOFOLLOW)
    except FileNotFoundError:
        return os.open(path, os.O_RDONLY | os.O_CREAT | os.O_NOFOLLOW, 0o644)


def _wait(handle: int, who: str, wait_s: float, path: Path) -> None:
    deadline_s = time.monotonic() + wait_s
    said = False
    while True:
        try:
            fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            if time.monotonic() > deadline_s:
                hint = (
                    f"See which with 'fuser {path}', or set another receive_port and register it at the PACS"
                )
                what = f"another pull has been receiving there for {wait_s:.0f} s"
                raise PullError(what, where=f"receiver {who}", hint=hint) from None
            if not said:
                log.warning("receiver %s: another pull receives there; waiting for it to end", who)
                said = True
            time.sleep(min(0.5, wait_s))
        else:
            return
