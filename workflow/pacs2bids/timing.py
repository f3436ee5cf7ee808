"""Times that only a whole stack can tell: from volume to volume, and of each slice within one."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from datetime import datetime
from itertools import pairwise

from pacs2bids.frames import Frame
from pacs2bids.stack import Arrangement, Piece

ONE_EXCITATION_S = 0.005  # slices excited together: scanners' clocks tick in 2.5 ms or less
PAUSE_S, PAUSE_REPETITIONS = 20.0, 5  # longer than scanners wait for a breath or a heart beat
UNEVEN = 0.02  # clock ticks of 2.5 ms in the fastest of volumes; dropped or paused volumes are far above


def repetition_time_s(template: Frame, arrangement: Arrangement) -> float | None:
    """Time from volume to volume, in s; RepetitionTime where there is one. ``template``: the first frame.

    In 3-D imaging RepetitionTime is from shot to shot, and how many shots a volume takes may be nowhere: the
    acquisition times of the volumes count (github.com/rordenlab/dcm2niix/issues/1024). Two volumes show them
    only in echo-planar imaging: elsewhere the second may be a scan that was repeated.
    """
    header = template.header
    stated_s = template.facts.repetition_time_s
    if stated_s is None:
        milliseconds = header.number("RepetitionTime")
        stated_s = milliseconds / 1000 if milliseconds else None
    planar = "EP" in header.texts("ScanningSequence") or header.text("EchoPlanarPulseSequence") == "YES"
    if stated_s is not None and header.text("MRAcquisitionType") == "3D":
        pace_s = _pace_s(arrangement, least=2 if planar else 3)
        # within a clock tick the stated time is the exact one
        return stated_s if pace_s is None or abs(pace_s - stated_s) <= ONE_EXCITATION_S else pace_s
    return stated_s


def _pace_s(arrangement: Arrangement, *, least: int) -> float | None:
    """Mean time between the starts of volumes, if they follow each other evenly; else None.

    Philips gives label and control of one repetition the same time (corpus philips_asl/402): they share it.
    """
    starts = _starts(arrangement)
    shared = starts.count(starts[0])
    if len(set(starts)) < least or not all(starts) or set(Counter(starts).values()) != {shared}:
        return None
    steps = _steps_s(starts[::shared])
    mean = sum(steps) / len(steps)
    even = min(steps) > 0 and max(steps) - min(steps) <= UNEVEN * mean
    return mean / shared if even else None


def _starts(arrangement: Arrangement) -> list[str]:
    """When each volume began, as ISO date and time; "" if unknown."""
    return [min(piece.acquired for piece in volume) for volume in arrangement.grid]


def _steps_s(starts: Sequence[str]) -> list[float]:
    moments = [datetime.fromisoformat(start) for start in starts]
    return [(later - earlier).total_seconds() for earlier, later in pairwise(moments)]


def pause(arrangement: Arrangement, repetition_time_s: float | None) -> str:
    """A warning if volumes that should follow each other do not: "" if they do, or if nothing tells.

    A scan that was stopped and started again under one series is two runs; a pause of many repetitions tells.
    """
    starts = _starts(arrangement)
    if repetition_time_s is None or not all(starts):
        return ""
    steps = _steps_s(starts)
    longest = max(steps, default=0.0)
    if longest <= max(PAUSE_S, PAUSE_REPETITIONS * repetition_time_s):
        return ""
    volume = steps.index(longest) + 1
    return (
        f"volume {volume + 1} comes {longest:.0f} s behind volume {volume}, where the repetition time is "
        f"{repetition_time_s:g} s: are these two runs?"
    )


def slice_times_s(template: Frame, arrangement: Arrangement, repetition_time_s: float | None) -> list[float]:
    """Onset of each slice after the first, in s; empty if unknown or all at once.

    Of the first or second volume, whichever ``_preferred`` takes; of a later one if both contradict the
    repetition time or the number of slices excited together.
    """
    factor = template.facts.multiband_factor or 1
    volumes = [_onsets(volume) for volume in arrangement.grid[:2]]
    usable = [times for times in volumes if _is_schedule(times, repetition_time_s, factor)]
    if len(usable) == 2:
        return _preferred(usable[0], usable[1], is_tiled=any(piece.tile for piece in arrangement.grid[0]))
    later = (_onsets(volume) for volume in arrangement.grid[2:])
    rest = (times for times in later if _is_schedule(times, repetition_time_s, factor))
    return usable[0] if usable else next(rest, [])


def _onsets(volume: Sequence[Piece]) -> list[float]:
    times = [piece.slice_time_s for piece in volume if piece.slice_time_s is not None]
    return [time - min(times) for time in times] if len(times) == len(volume) else []


def _is_schedule(times: list[float], repetition_time_s: float | None, factor: int) -> bool:
    """Whether each slice has its time within one repetition, ``factor`` slices at once.

    A first volume may carry the times of the single-band reference before it: they span several repetitions
    (corpus dcm_qa/Orientation/axmb, sag/XA30), or no two slices coincide (corpus xa60/4).
    """
    if not times or max(times) == 0 or (repetition_time_s is not None and max(times) >= repetition_time_s):
        return False
    excitations = 1 + sum(later - earlier > ONE_EXCITATION_S for earlier, later in pairwise(sorted(times)))
    return excitations * factor <= len(times) + factor


def _preferred(first: list[float], second: list[float], *, is_tiled: bool) -> list[float]:
    """The second where the scanner wrote slices one by one, or where the two disagree on how long they took.

    Each is a reading of one schedule by a clock of 2.5 ms, none better than the other: dcm2niix's choice
    (corpus dcm_qa/Orientation, 20 series; xa30, xa60), so that both give the same numbers.
    """
    spans_differ = abs(max(first) - max(second)) > 1e-6
    return second if spans_differ or not is_tiled else first
