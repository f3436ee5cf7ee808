"""Times that only a whole stack can tell: from volume to volume, and of each slice within one."""

from __future__ import annotations

from pacs2bids.frames import Frame
from pacs2bids.stack import Arrangement


def repetition_time_s(template: Frame, arrangement: Arrangement) -> float | None:
    """Time from volume to volume, in s; RepetitionTime where there is one. ``template``: the first frame."""
    del arrangement
    if template.facts.repetition_time_s is not None:
        return template.facts.repetition_time_s
    milliseconds = template.header.number("RepetitionTime")
    return milliseconds / 1000 if milliseconds else None


def slice_times_s(arrangement: Arrangement, repetition_time_s: float | None) -> list[float]:
    """Onset of each slice after the first; empty if unknown or all at once.

    Of the first volume that has them within one repetition: a single-band reference may stand in front, whose
    times span several (corpus dcm_qa/Orientation/axmb).
    """
    for volume in arrangement.grid:
        times = [piece.slice_time_s for piece in volume if piece.slice_time_s is not None]
        if len(times) < len(volume) or max(times) == min(times):
            continue
        if repetition_time_s is None or max(times) - min(times) < repetition_time_s:
            return [time - min(times) for time in times]
    return []
