"""Small drawings as SVG: how a series' signal goes, and where diffusion directions point.

Numbers alone go into them, so that nothing needs escaping; colours are left to the style sheet, which knows
light and dark.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from pacs2bids.model import Vector

WIDTH, HEIGHT = 616, 96  # of the signal, in the units of a picture
LEFT, TOP, BOTTOM = 58, 10, 20  # room for numbers
RADIUS, EDGE = 78, 20  # of the sphere, and room for its letters
UNWEIGHTED = 50  # s/mm²; below, a direction means nothing
SAME_SHELL = 0.05  # of the b-value: scanners vary it by direction
MANY_POINTS = 1200  # a line of more is thinned: a screen has no more columns


@dataclass(frozen=True, slots=True, kw_only=True)
class Shell:
    """Volumes of one weighting: the mean of their b-values, and how many."""

    b_value_s_per_mm2: float
    volumes: tuple[int, ...]


def shells_of(b_values_s_per_mm2: Sequence[float]) -> tuple[Shell, ...]:
    """Volumes of one weighting together, the weakest first; what is below 50 s/mm² is unweighted."""
    order = sorted(range(len(b_values_s_per_mm2)), key=lambda volume: b_values_s_per_mm2[volume])
    shells: list[list[int]] = []
    for volume in order:
        if shells and _is_same_shell(b_values_s_per_mm2[shells[-1][0]], b_values_s_per_mm2[volume]):
            shells[-1].append(volume)
        else:
            shells.append([volume])
    return tuple(
        Shell(
            b_value_s_per_mm2=sum(b_values_s_per_mm2[volume] for volume in shell) / len(shell),
            volumes=tuple(sorted(shell)),
        )
        for shell in shells
    )


def _is_same_shell(least: float, value: float) -> bool:
    if least < UNWEIGHTED:
        return value < UNWEIGHTED
    return value - least <= SAME_SHELL * value


def colours_of(shells: Sequence[Shell]) -> list[str]:
    """Classes of the style sheet, one a shell: colours by number of those that are weighted, six in turn."""
    first = sum(shell.b_value_s_per_mm2 < UNWEIGHTED for shell in shells)
    colours = [f"shell{number % 6}" for number in range(len(shells) - first)]
    return ["unweighted"] * first + colours


def directions_svg(shells: Sequence[Shell], b_vectors_lps: Sequence[Vector]) -> str:
    """The sphere of directions from above: as in the pictures, the patient's left is on the left.

    Full points lie on the upper half, hollow ones on the lower. "" without any direction.
    """
    points = []
    for shell, colour in zip(shells, colours_of(shells), strict=True):
        for volume in shell.volumes if shell.b_value_s_per_mm2 >= UNWEIGHTED else ():
            x, y, z = b_vectors_lps[volume]
            if not (x or y or z):
                continue
            # LPS: x to the patient's left, which is on the left; y to posterior, which is down
            place = f'cx="{-x * RADIUS:.1f}" cy="{y * RADIUS:.1f}"'
            half = "above" if z >= 0 else "below"
            points.append(f'<circle {place} r="3.2" class="{colour} {half}"/>')
    if not points:
        return ""
    side = RADIUS + EDGE
    letters = (("L", -side + 6, 0), ("R", side - 6, 0), ("A", 0, -side + 8), ("P", 0, side - 8))
    said = f"{len(points)} directions on a sphere, seen from above, the patient's left on the left"
    return (
        f'<svg class="sphere" viewBox="{-side} {-side} {2 * side} {2 * side}" role="img" aria-label="{said}">'
        f'<circle r="{RADIUS}" class="outline"/>'
        f'<path d="M{-RADIUS} 0H{RADIUS}M0 {-RADIUS}V{RADIUS}" class="grid"/>'
        + "".join(f'<text x="{x}" y="{y}">{letter}</text>' for letter, x, y in letters)
        + "".join(points)
        + "</svg>"
    )


def signal_svg(signal: Sequence[float], step_s: float | None) -> str:
    """The signal as a line over time, in percent of its mean; "" where it has no line."""
    percent = _percent_of_mean(signal)
    if not percent:
        return ""
    low, high = _range(percent)
    stride = -(-len(percent) // MANY_POINTS)
    points = list(_points(percent, low, high))[::stride]
    line = " ".join(f"{x:.1f},{y:.1f}" for x, y in points)
    drawn = f'<polyline points="{line}"/>'
    return _in_axes(drawn, (low, high), _end(len(signal), step_s), of="its mean")


def weighted_signal_svg(signal: Sequence[float], shells: Sequence[Shell], step_s: float | None) -> str:
    """The signal volume by volume as points, each in percent of the mean of its shell, in its colour.

    Signals of two shells differ by far more than what may be wrong with a volume of one. A volume that is
    alone in its shell has no point: it would lie at 0 % whatever is wrong with it. "" without points.
    """
    percent, colours = [0.0] * len(signal), [""] * len(signal)
    for shell, colour in zip(shells, colours_of(shells), strict=True):
        if len(shell.volumes) == 1:
            continue
        its = _percent_of_mean([signal[volume] for volume in shell.volumes])
        if not its:
            return ""
        for volume, value in zip(shell.volumes, its, strict=True):
            percent[volume], colours[volume] = value, colour
    if not any(colours):
        return ""
    low, high = _range(percent)
    points = "".join(
        f'<circle cx="{x:.1f}" cy="{y:.1f}" r="2.6" class="{colour} above"/>'
        for (x, y), colour in zip(_points(percent, low, high), colours, strict=True)
        if colour
    )
    return _in_axes(points, (low, high), _end(len(signal), step_s), of="the mean of their shell")


def _percent_of_mean(signal: Sequence[float]) -> list[float]:
    """How far each is from the mean, in percent of it; [] where that says nothing."""
    mean = sum(signal) / len(signal) if signal else 0.0
    if not math.isfinite(mean) or not mean:
        return []
    return [100 * (value / mean - 1) for value in signal]


def _range(percent: Sequence[float]) -> tuple[float, float]:
    low, high = min(percent), max(percent)
    return (low, high) if high - low > 1e-6 else (-1.0, 1.0)


def _points(percent: Sequence[float], low: float, high: float) -> Iterator[tuple[float, float]]:
    """Across and down, in the units of the picture."""
    across = (WIDTH - LEFT - 6) / max(len(percent) - 1, 1)
    down = (HEIGHT - TOP - BOTTOM) / (high - low)
    for number, value in enumerate(percent):
        yield LEFT + number * across, TOP + (high - value) * down


def _end(count: int, step_s: float | None) -> str:
    return f"volume {count}" + (f", {_clock(step_s * count)}" if step_s else "")


def _in_axes(drawn: str, limits: tuple[float, float], end: str, *, of: str) -> str:
    """What is drawn, within axes. ``limits``: the lowest and the highest value. ``of``: what 100 % is."""
    low, high = limits
    said = f"Mean signal up to {end}, from {low:+.2f} % to {high:+.2f} % of {of}"
    zero = TOP + high * (HEIGHT - TOP - BOTTOM) / (high - low)
    base = HEIGHT - BOTTOM
    return (
        f'<svg class="signal" viewBox="0 0 {WIDTH} {HEIGHT}" role="img" aria-label="{said}">'
        f'<path d="M{LEFT} {TOP}V{base}H{WIDTH - 6}" class="outline"/>'
        f'<path d="M{LEFT} {zero:.1f}H{WIDTH - 6}" class="grid"/>'
        f'<text x="{LEFT - 6}" y="{TOP + 4}" class="end">{high:+.2f} %</text>'
        f'<text x="{LEFT - 6}" y="{base}" class="end">{low:+.2f} %</text>'
        f'<text x="{LEFT}" y="{HEIGHT - 4}">volume 1</text>'
        f'<text x="{WIDTH - 6}" y="{HEIGHT - 4}" class="end">{end}</text>'
        f"{drawn}</svg>"
    )


def _clock(duration_s: float) -> str:
    minutes, seconds = divmod(round(duration_s), 60)
    return f"{minutes}:{seconds:02d} min"
