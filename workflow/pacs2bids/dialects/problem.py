"""What is wrong with a heuristic, without data."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from difflib import get_close_matches

# entities that the plan puts in by itself where BIDS wants them, or says that it cannot
AUTOMATIC = frozenset(("sub", "ses", "echo", "part", "inv", "dir", "flip", "mt"))
# kinds that stand for two suffixes: a series with two echoes gets both
PAIRED = {("fmap", "phase"): "phase1"}


@dataclass(frozen=True, slots=True, kw_only=True)
class Problem:
    """What is wrong, where, and what to do.

    ``line``: from 1; 0 if it is not at one line. ``is_error``: the file cannot be used as it is.
    """

    line: int
    what: str
    hint: str = ""
    is_error: bool = True

    def __str__(self) -> str:
        where = f"line {self.line}: " if self.line else ""
        stop = "" if self.what.endswith(("?", ".")) else "."
        return f"{where}{self.what}" + (f"{stop} {self.hint}" if self.hint else "")


def meant(word: str, allowed: Iterable[str]) -> str:
    """A hint for a misspelt word: the closest of those allowed, or all of them."""
    words = list(allowed)
    by_lower = {one.lower(): one for one in words}
    close = get_close_matches(word.lower(), by_lower, n=1)
    listed = f"Allowed: {', '.join(words)}"
    return f"Did you mean {by_lower[close[0]]!r}? {listed}" if close else listed
