"""Summaries of sessions as the report keeps them, of sessions that went well but for what a test says."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from pacs2bids.model import session_key
from pacs2bids.report.view import GOOD, Acquired, Badge, SessionSummary


def summary(subject: str, acquired: Sequence[Acquired], label: str = "a", **changes: Any) -> SessionSummary:
    """Of ``sub-<subject>_ses-<label>``, or of ``sub-<subject>`` if the label is empty."""
    facts: dict[str, Any] = {
        "key": session_key(subject, label),
        "subject": subject,
        "session": label,
        "badge": Badge(tone=GOOD, text="placed"),
        "failed": False,
        "placed": True,
        "absent": 0,
        "set_aside": 0,
        "troubles": (),
        "named": len(acquired),
        "stacks": len(acquired),
        "series": len(acquired),
        "instances": 1,
        "left_over": 0,
        "came": "1",
        "acquired": tuple(acquired),
        "skipped": (),
        "errors": 0,
        "receipts": (),
        "engines": (),
        "problems": (),
    }
    return SessionSummary(**(facts | changes))
