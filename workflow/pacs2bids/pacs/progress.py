"""Lines for a person who waits: what has come of a study, how fast, and how long the rest will take."""

from __future__ import annotations

import logging
import time
from collections import Counter

from pacs2bids.pacs.inbox import Inbox
from pacs2bids.pacs.receipt import Announcement
from pacs2bids.text import counted, duration, megabytes, rate

_LOOK_S = 1.0  # a look takes 5 ms for 7,000 instances
_LINE_S = 10.0

log = logging.getLogger("pacs2bids.pull")


class Progress:
    """Says how a pull goes on: a line each ten seconds, and one whenever a series is whole.

    ``look`` may be called as often as one likes.
    """

    def __init__(self, inbox: Inbox, *, line_s: float = _LINE_S, look_s: float = _LOOK_S) -> None:
        self._inbox, self._line_s, self._look_s = inbox, line_s, look_s
        self._totals: dict[str, int] = {}
        self._whole: set[str] = set()
        self._looked_s = self._said_s = time.monotonic()
        self._counts, self._sizes = _tally(inbox)
        self._said = (self._counts, self._sizes)
        self._begun: dict[
            str, tuple[float, int]
        ] = {}  # series -> when we first looked for it, what was there

    def announced(self, announced: Announcement) -> None:
        """Note what there is to come."""
        if not self._totals:
            self._looked_s = self._said_s = time.monotonic()
        self._totals = announced.totals
        self._whole = {one for one, total in self._totals.items() if self._counts[one] >= total}

    def look(self) -> None:
        """Say what is due."""
        now_s = time.monotonic()
        if now_s - self._looked_s < self._look_s:
            return
        self.finish()
        if now_s - self._said_s >= self._line_s:
            self._say(now_s)

    def finish(self) -> None:
        """Say which series are whole now."""
        before_s, self._looked_s = self._looked_s, time.monotonic()
        counts, sizes = _tally(self._inbox)
        for series, total in self._totals.items():
            if counts[series] > self._counts[series]:
                self._begun.setdefault(series, (before_s, self._sizes[series]))
            if counts[series] >= total and series not in self._whole:
                self._whole.add(series)
                self._say_whole(series, counts[series], sizes[series])
        self._counts, self._sizes = counts, sizes

    def _say_whole(self, series: str, count: int, size_bytes: int) -> None:
        begun_s, here_bytes = self._begun.get(series, (self._looked_s, 0))
        spent_s = self._looked_s - begun_s
        speed = f" in {duration(spent_s)}, {rate(size_bytes - here_bytes, spent_s)}" if spent_s else ""
        what = f"{counted(count, 'instance')}, {megabytes(size_bytes)}{speed}"
        log.info("%s is whole: %s", self._named(series), what)

    def _say(self, now_s: float) -> None:
        spent_s, (counts, sizes) = now_s - self._said_s, self._said
        self._said_s, self._said = now_s, (self._counts, self._sizes)
        came = self._counts - counts
        here, total = self._counts.total(), sum(self._totals.values())
        if came:
            came_bytes = self._sizes.total() - sizes.total()
            left_s = max(0, total - here) / came.total() * spent_s
            speed = f"{rate(came_bytes, spent_s)}, {duration(left_s)} left"
            ((series, _),) = came.most_common(1)
            under_way = (
                f"; {self._named(series)}: {self._counts[series]:,} of {self._totals.get(series, 0):,}"
            )
        else:
            speed, under_way = f"nothing came for {duration(now_s - self._inbox.last_activity_s)}", ""
        size = megabytes(self._sizes.total())
        log.info("%s of %s instances, %s, %s%s", f"{here:,}", f"{total:,}", size, speed, under_way)

    def _named(self, series: str) -> str:
        number = list(self._totals).index(series) + 1 if series in self._totals else 0
        return f"series {number} of {len(self._totals)} ({series})"


def _tally(inbox: Inbox) -> tuple[Counter[str], Counter[str]]:
    """Series -> instances, and bytes, that are here."""
    counts, sizes = Counter[str](), Counter[str]()
    for one in inbox.received:
        counts[one.series_instance_uid] += 1
        sizes[one.series_instance_uid] += one.bytes
    return counts, sizes
