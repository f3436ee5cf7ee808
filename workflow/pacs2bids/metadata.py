"""Sidecar fields that follow from names: of the volume itself, and of the others in its session."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence

from pacs2bids.bids import BidsName
from pacs2bids.model import Json
from pacs2bids.session import Named


def metadata_of(one: Named, session: Sequence[Named]) -> dict[str, Json]:
    """Sidecar fields that follow from the name (BIDS, "Task", "Phase-difference map", "part")."""
    fields: dict[str, Json] = {}
    task = one.name.label("task")
    if task is not None:
        fields["TaskName"] = task
    if one.name.label("part") == "phase" and "Units" not in one.stack.sidecar:
        fields["Units"] = "arbitrary"  # stored values are not scaled to radians
    if (one.name.datatype, one.name.suffix) == ("fmap", "phasediff"):
        fields |= _echo_times(one, session)
    return fields


def _echo_times(phase_difference: Named, session: Sequence[Named]) -> dict[str, Json]:
    """Echo times of the two magnitudes that go with a phase difference, in s; nothing if they are unknown.

    They go together when their names differ in the suffix alone, or when the session has no other pair.
    """
    if "EchoTime1" in phase_difference.stack.sidecar:
        return {}
    pairs: dict[BidsName, dict[str, float]] = defaultdict(dict)
    for one in session:
        echo_time_s = one.stack.facts.echo_time_s
        if one.name.suffix in ("magnitude1", "magnitude2") and echo_time_s is not None:
            pairs[one.name.with_suffix("phasediff")][one.name.suffix] = echo_time_s
    whole = {name: sorted(times.values()) for name, times in pairs.items() if len(times) == 2}
    times = whole.get(phase_difference.name)
    if times is None and len(whole) == 1:
        times = next(iter(whole.values()))
    return {"EchoTime1": times[0], "EchoTime2": times[1]} if times else {}
