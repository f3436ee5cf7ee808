"""``events.tsv`` for a person to fill in: no header knows what happened in the scanner room."""

from __future__ import annotations

from collections.abc import Sequence

from pacs2bids.metadata.added import Added, Events
from pacs2bids.session import Named

# BIDS, "Task events": onset and duration in s from the first volume; trial_type names the condition
SKELETON = "onset\tduration\ttrial_type\n"


def added(session: Sequence[Named], wanted: Events) -> dict[str, Added]:
    """A table without rows beside each run of a task; one for all of its echoes and parts."""
    if wanted is Events.NONE:
        return {}
    return {
        one.name.path: Added(beside={"_events.tsv": SKELETON}, notes=("fill in its events.tsv",))
        for one in session
        if one.name.datatype == "func" and one.name.suffix in ("bold", "cbv") and not _is_rest(one)
    }


def _is_rest(one: Named) -> bool:
    """Nothing happens at rest. Source: BIDS, "Task": resting state by the letters of its label."""
    return (one.name.label("task") or "").lower().startswith("rest")
