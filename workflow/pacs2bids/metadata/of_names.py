"""Fields that a volume's own name asks for, or that it takes from volumes named alike."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence
from math import isclose

from pacs2bids.bids import BidsName, required_fields
from pacs2bids.metadata.added import Added
from pacs2bids.model import Json
from pacs2bids.session import Named

# spoiled gradient echoes in a steady state (BIDS, appendix "Quantitative MRI")
_STEADY = ("VFA", "MPM", "MTS", "MTR")

_SAME_ECHO_S = 1e-5  # of rounding in headers, which tell ms


def added(session: Sequence[Named]) -> dict[str, Added]:
    """Of all volumes of the session, by path."""
    return {one.name.path: _added(one, session) for one in session}


def _added(one: Named, session: Sequence[Named]) -> Added:
    kind = (one.name.datatype, one.name.suffix)
    fields: dict[str, Json] = {}
    warnings: list[str] = []
    known = one.stack.sidecar | one.answer.metadata
    task = one.name.label("task")
    if task is not None:
        fields["TaskName"] = task
    if _is_phase(one.name) and "Units" not in one.stack.sidecar:
        fields["Units"] = "arbitrary"  # stored values are not scaled to radians
    if kind == ("fmap", "phasediff"):
        fields |= _echo_times(one, session)
        if "EchoTime1" not in fields | known:
            warnings.append("its echo times are unknown; name its two magnitude images, too")
        known |= dict.fromkeys(("EchoTime1", "EchoTime2"))  # so much for them
    if one.name.label("mt") in ("on", "off") and "MTState" not in one.stack.sidecar:
        fields["MTState"] = one.name.label("mt") == "on"
    fields |= _excitation_time(one)
    missing = [name for name in required_fields(one.name) if name not in fields | known]
    if missing:
        warnings.append(
            f"BIDS needs {', '.join(missing)}, which the header does not say: let the heuristic add it"
        )
    return Added(fields=fields, warnings=tuple(warnings))


def _excitation_time(one: Named) -> dict[str, Json]:
    """RepetitionTimeExcitation of steady states without preparation: DICOM's RepetitionTime is that."""
    sidecar = one.stack.sidecar
    if one.name.suffix not in _STEADY or {"RepetitionTimeExcitation", "InversionTime"} & sidecar.keys():
        return {}
    seconds = sidecar.get("RepetitionTime")
    return {} if seconds is None else {"RepetitionTimeExcitation": seconds}


def _is_phase(name: BidsName) -> bool:
    """BIDS, "part"; and the old suffix of functional series."""
    return name.label("part") == "phase" or (name.datatype, name.suffix) == ("func", "phase")


def _echo_times(phase_difference: Named, session: Sequence[Named]) -> dict[str, Json]:
    """Echo times of the two magnitudes that go with a phase difference, in s; nothing if they are unknown.

    They go together when their names differ in the suffix alone; or when the session has no other pair, and
    the echo time in the header of the difference is that of the second.
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
    own_s = phase_difference.stack.facts.echo_time_s
    if times is None and len(whole) == 1 and own_s is not None:
        (others,) = whole.values()
        times = others if isclose(others[1], own_s, abs_tol=_SAME_ECHO_S) else None
    return {"EchoTime1": times[0], "EchoTime2": times[1]} if times else {}
