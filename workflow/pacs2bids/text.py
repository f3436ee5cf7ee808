"""Words for people."""

from __future__ import annotations

from collections.abc import Sequence
from math import ceil

AGAIN = "If the source has it whole, get it again (if pulled: remove the study's folder, run again)"


def counted(number: int, thing: str, things: str = "") -> str:
    """Like "1 error", "2,000 errors"; ``things``: the plural where it is not made by an s."""
    return f"{number:,} {thing if number == 1 else things or thing + 's'}"


def megabytes(size_bytes: int) -> str:
    """Like "512 MB", "1.2 MB"; of less "34 kB". A megabyte has 10^6 bytes."""
    if size_bytes < 1e5:
        return f"{ceil(size_bytes / 1e3)} kB"
    size_mb = size_bytes / 1e6
    return f"{size_mb:,.0f} MB" if size_mb >= 10 else f"{size_mb:.1f} MB"


def rate(size_bytes: int, seconds: float) -> str:
    """Like "11.2 MB/s"."""
    return f"{size_bytes / 1e6 / max(seconds, 1e-3):.1f} MB/s"


def duration(seconds: float) -> str:
    """Like "0.8 s", "45 s", "6 min", "2 h 05 min"."""
    if seconds < 1:
        return f"{seconds:.1f} s"
    if seconds < 99.5:
        return f"{seconds:.0f} s"
    minutes = round(seconds / 60)
    return f"{minutes} min" if minutes < 100 else f"{minutes // 60} h {minutes % 60:02d} min"


def printable(text: str) -> str:
    """Fit for a terminal: what would steer it is shown as "?"."""
    return "".join(letter if letter.isprintable() else "?" for letter in text)


def aligned(rows: Sequence[Sequence[str]]) -> list[str]:
    """Lines of a table; all rows have the same number of cells."""
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    lines = ("  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)) for row in rows)
    return [line.rstrip() for line in lines]


def listed(things: Sequence[str], most: int, *, separator: str = ", ") -> str:
    """Like "a, b and 5 more"; ``most``: how many are named. One that is left over is named, too."""
    if len(things) <= most + 1:
        return separator.join(things)
    joint = " " if separator == ", " else separator
    return f"{separator.join(things[:most])}{joint}and {len(things) - most:,} more"
