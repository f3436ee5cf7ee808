"""How a source is spared: allowed hours, a pause between two studies, attempts that are repeated politely.

Several pulls of one host know of each other by a small file beside the locks of the slots, whose time of
modification says when the last study from a source ended. There is no daemon.
"""

from __future__ import annotations

import logging
import os
import random
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from datetime import datetime, timedelta
from pathlib import Path
from typing import TypeVar

from pacs2bids.model import UnavailableError
from pacs2bids.peers import Courtesy, PacsPeer, WebPeer

FIRST_PAUSE_S = 5.0  # before the second attempt; those that follow are three times as long each: 5, 15, 45 s
_GROWTH = 3.0
_LOOK_S = 30.0  # how often the clock is looked at: it may be set, and computers sleep

Result = TypeVar("Result")

log = logging.getLogger("pacs2bids.pull")


# ---------------------------------------------------------------------------------------------- hours


def is_open(courtesy: Courtesy, now: datetime | None = None) -> bool:
    """Whether studies may be pulled now (or at ``now``, local time)."""
    if courtesy.hours is None:
        return True
    start, end = courtesy.hours
    clock = (now or datetime.now()).time()
    return start <= clock < end if start < end else clock >= start or clock < end


def opens_at(courtesy: Courtesy, now: datetime | None = None) -> datetime:
    """When studies may be pulled next, local time; now if they may."""
    now = now or datetime.now()
    if courtesy.hours is None or is_open(courtesy, now):
        return now
    today = datetime.combine(now.date(), courtesy.hours[0])
    return today if today > now else today + timedelta(days=1)


def wait_until_open(courtesy: Courtesy, who: str) -> None:
    """Wait for the allowed hours, if they are not now. ``who``: the source, for the log."""
    if courtesy.hours is None or is_open(courtesy):
        return
    start, end = (f"{one:%H:%M}" for one in courtesy.hours)
    at = opens_at(courtesy)
    log.warning("%s: pulls are allowed from %s to %s; waiting until %s", who, start, end, f"{at:%a %H:%M}")
    while not is_open(courtesy):
        left_s = (opens_at(courtesy) - datetime.now()).total_seconds()
        time.sleep(min(max(left_s, 0.05), _LOOK_S))
    log.info("%s: it is %s, going on", who, f"{datetime.now():%H:%M}")


# ---------------------------------------------------------------------------------------------- pauses


class Spacing:
    """The pause before one study. ``keep`` waits the first time, and never again."""

    def __init__(self, stamp: int, pause_s: float, who: str) -> None:
        self.kept = False
        self._stamp, self._pause_s, self._who = stamp, pause_s, who

    def keep(self) -> None:
        """Wait until ``pause_s`` have passed since the last study of the source ended on this host."""
        if not self.kept and self._pause_s:
            _pause(self._stamp, self._pause_s, self._who)
        self.kept = True


@contextmanager
def spaced(source: PacsPeer | WebPeer) -> Iterator[Spacing]:
    """Pull one study; whoever comes next waits from the end of this one, if it kept its own pause."""
    stamp = _stamp(source) if source.courtesy.pause_s else -1
    spacing = Spacing(stamp, source.courtesy.pause_s, str(source))
    try:
        yield spacing
    finally:
        if stamp >= 0:
            if spacing.kept:
                os.utime(stamp)
            os.close(stamp)


def _pause(stamp: int, pause_s: float, who: str) -> None:
    said = False
    while True:
        since_s = time.time() - os.fstat(stamp).st_mtime
        if not 0 <= since_s < pause_s:  # a time to come is nobody's end
            return
        if not said:
            log.info("%s: pausing for %.0f s between two studies", who, pause_s - since_s)
            said = True
        time.sleep(min(pause_s - since_s, _LOOK_S))


def _stamp(source: PacsPeer | WebPeer) -> int:
    """The open file, which every user of this host may touch."""
    address = source.url if isinstance(source, WebPeer) else f"{source.ae_title}-{source.host}-{source.port}"
    name = "".join(letter if letter.isalnum() else "_" for letter in address)[:200]
    path = Path(tempfile.gettempdir(), f"pacs2bids-pause-{name}.stamp")
    try:
        # first without O_CREAT: in a sticky folder Linux refuses to "create" what another user owns
        return os.open(path, os.O_RDWR | os.O_NOFOLLOW)
    except FileNotFoundError:
        stamp = os.open(path, os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW, 0o666)
        with suppress(OSError):  # another's, who was quicker
            os.fchmod(stamp, 0o666)
            os.utime(stamp, (0, 0))  # nothing has ended yet
        return stamp


# ---------------------------------------------------------------------------------------------- attempts


def persistently(
    attempt: Callable[[], Result],
    courtesy: Courtesy,
    *,
    first_pause_s: float = FIRST_PAUSE_S,
    sleep: Callable[[float], None] = time.sleep,
) -> Result:
    """What ``attempt`` returns; made again ``courtesy.retries`` times, with growing pauses, if it cannot be.

    ``sleep``: how to pause, in seconds. Only UnavailableError is a reason to try again; the last one is
    raised, and every other error at once.
    """
    for number in range(courtesy.retries):
        try:
            return attempt()
        except UnavailableError as error:
            # jitter: those who were turned away together shall not come back together
            pause_s = first_pause_s * _GROWTH**number * random.uniform(0.75, 1.25)
            where, count = error.where or "source", courtesy.retries
            until = datetime.now() + timedelta(seconds=_pauses_s(first_pause_s, number, count))
            what = "%s: %s; again in %.0f s (%d of %d, until about %s)"
            log.warning(what, where, error.what, pause_s, number + 1, count, f"{until:%H:%M:%S}")
            sleep(pause_s)
    return attempt()


def _pauses_s(first_pause_s: float, number: int, count: int) -> float:
    """How long the pauses from ``number`` on are together."""
    return sum(first_pause_s * _GROWTH**one for one in range(number, count))
