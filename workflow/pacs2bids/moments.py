"""When something was acquired: local times of one scanner, as ISO texts in records."""

from __future__ import annotations

from datetime import datetime


def moment(acquired: str) -> datetime:
    """Date and time, without the time zone. Raises ValueError if it is none."""
    return datetime.fromisoformat(acquired).replace(tzinfo=None)


def moment_of(acquired: str | None) -> datetime | None:
    """The same; None if it is none."""
    try:
        return moment(acquired or "")
    except ValueError:
        return None
