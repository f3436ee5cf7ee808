"""Words for people."""

from __future__ import annotations

from collections.abc import Sequence

AGAIN = "If the source has it whole, get it again (if pulled: remove the study's folder, run again)"


def counted(number: int, thing: str, things: str = "") -> str:
    """Like "1 error", "2,000 errors"; ``things``: the plural where it is not made by an s."""
    return f"{number:,} {thing if number == 1 else things or thing + 's'}"


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
