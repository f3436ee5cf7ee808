"""Words for people."""

from __future__ import annotations

AGAIN = "If the source has it whole, get it again (if pulled: remove the study's folder, run again)"


def counted(number: int, thing: str, things: str = "") -> str:
    """Like "1 error", "2,000 errors"; ``things``: the plural where it is not made by an s."""
    return f"{number:,} {thing if number == 1 else things or thing + 's'}"
