"""What a series shows: the head, seen through its contrast, volume by volume.

``volumes`` is the truth for every stored value: the writers call it at the centres of the voxels they write,
a test calls it at the positions that the affine of a NIfTI file gives.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Mapping

import numpy as np

from pacs2bids.phantom.head import Floats, Head, activation, diffusivities, field_hz, intensity
from pacs2bids.phantom.protocol import PhantomSeries, PhantomStack

MAXIMUM = 4095  # 12 bits
DRIFT_PER_VOLUME = 0.01
ACTIVATION = 0.05
BLOCK_VOLUMES = 4  # volumes of rest, then as many of task
T2_STAR_S = 0.03

Painter = Callable[[Floats, PhantomSeries, PhantomStack, Head], Iterator[Floats]]


def volumes(
    points_lps: Floats, *, series: PhantomSeries, stack: PhantomStack, head: Head
) -> Iterator[Floats]:
    """True values, before rounding, at ``points_lps`` (..., 3), one array a volume; stored units, 0..4095."""
    for values in _PAINTERS[series.contrast](points_lps, series, stack, head):
        yield np.clip(values, 0, MAXIMUM)


def _anatomy(points: Floats, _: PhantomSeries, __: PhantomStack, head: Head) -> Iterator[Floats]:
    yield intensity(points, contrast="T1w", head=head)


def _gradient_echo(points: Floats, _: PhantomSeries, stack: PhantomStack, head: Head) -> Iterator[Floats]:
    """The second echo is darker than the first."""
    yield intensity(points, contrast="GRE", head=head) * math.exp(-stack.echo_time_s / T2_STAR_S)


def _phase(points: Floats, series: PhantomSeries, _: PhantomStack, head: Head) -> Iterator[Floats]:
    """Phase that off-resonance gathers between the echoes; 2048 is 0, a half-turn is 2048 units."""
    first, second = series.echo_times_s
    yield 2048 + 2 * field_hz(points, head=head) * (second - first) * 2048


def _reference(points: Floats, _: PhantomSeries, stack: PhantomStack, head: Head) -> Iterator[Floats]:
    """Echo-planar volumes that differ by drift alone."""
    base = intensity(points, contrast="EPI", head=head)
    for number in range(stack.volumes):
        yield base * (1 + DRIFT_PER_VOLUME * number)


def _single_band(points: Floats, _: PhantomSeries, __: PhantomStack, head: Head) -> Iterator[Floats]:
    """As the BOLD series, brighter."""
    yield intensity(points, contrast="EPI", head=head) * 1.4


def _bold(points: Floats, _: PhantomSeries, stack: PhantomStack, head: Head) -> Iterator[Floats]:
    """Each volume is brighter than the one before, and the motor cortex rests and works in turn."""
    base = intensity(points, contrast="EPI", head=head)
    blob = base * activation(points, head=head) * ACTIVATION
    for number in range(stack.volumes):
        at_work = number // BLOCK_VOLUMES % 2
        yield base * (1 + DRIFT_PER_VOLUME * number) + at_work * blob


def _diffusion(points: Floats, series: PhantomSeries, _: PhantomStack, head: Head) -> Iterator[Floats]:
    """exp(-b g'Dg), with the tensor of each position."""
    base = intensity(points, contrast="EPI", head=head)
    along = diffusivities(points, [weight.b_vector_lps for weight in series.diffusion], head=head)
    for weight, diffusivity in zip(series.diffusion, along, strict=True):
        yield base * np.exp(-weight.b_value_s_per_mm2 * diffusivity)


_PAINTERS: Mapping[str, Painter] = {
    "T1w": _anatomy,
    "GRE": _gradient_echo,
    "PHASE": _phase,
    "EPI": _reference,
    "SBREF": _single_band,
    "BOLD": _bold,
    "DWI": _diffusion,
}
