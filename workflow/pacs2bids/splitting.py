"""What makes voxels incomparable: frames that differ in it are never in one volume file.

Two tables say so: values of ``SPLIT`` must be equal, numbers of ``CLOSE`` the same within a tolerance.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Hashable, Iterable, Sequence

import numpy as np
from msgspec import Struct

from pacs2bids.frames import Frame
from pacs2bids.header import Header
from pacs2bids.model import Facts
from pacs2bids.recalled import recalled


class Said(Struct, frozen=True, kw_only=True):
    """What headers say that frames are split by; one record, so that it is remembered in one step."""

    image_type: tuple[str, ...]
    echo_number: int | None
    echo_times_ms: tuple[float, ...]
    has_rescale: tuple[bool, bool]


Split = Callable[[Frame, Said], Hashable]
Close = Callable[[Frame, Said], tuple[float, ...]]
Key = tuple[tuple[Hashable, ...], tuple[tuple[float, ...], ...]]


def echo_time_ms(header: Header) -> float | None:
    """Of a frame in either form: EffectiveEchoTime (enhanced) or EchoTime (classic)."""
    return header.number("EffectiveEchoTime") or header.number("EchoTime")


def image_type(header: Header) -> tuple[str, ...]:
    """Of a frame in either form: FrameType (enhanced) or ImageType (classic)."""
    return header.texts("FrameType") or header.texts("ImageType")


def _has_direction(facts: Facts) -> bool:
    return not facts.b_value_s_per_mm2 or facts.b_vector_lps is not None


@recalled
def _series_number(header: Header) -> int | None:
    return header.integer("SeriesNumber")


@recalled
def _said(header: Header) -> Said:
    time_ms = echo_time_ms(header)
    return Said(
        image_type=image_type(header),
        echo_number=header.integer("EchoNumbers"),
        echo_times_ms=() if time_ms is None else (time_ms,),
        has_rescale=(
            header.number("RescaleSlope") is not None,
            header.number("RescaleIntercept") is not None,
        ),
    )


# Planes that differ in one of these are never in one volume file.
SPLIT: dict[str, Split] = {
    # copies of a series may keep its UID and get numbers of their own (corpus ts)
    "SeriesNumber": lambda frame, _: _series_number(frame.instance),
    "matrix": lambda frame, _: (frame.plane.columns, frame.plane.rows),
    "place in the patient": lambda frame, _: frame.plane.placed,
    "ImageType": lambda _, said: said.image_type,
    "complex component": lambda frame, _: frame.facts.component,
    "content": lambda frame, _: frame.facts.content,
    "EchoNumbers": lambda _, said: said.echo_number,
    # values with and without a rescale are no values of one scan
    "rescale": lambda frame, said: (said.has_rescale, frame.facts.rescale is not None),
    "diffusion map": lambda frame, _: frame.facts.is_diffusion_map,
    "diffusion direction": lambda frame, _: _has_direction(frame.facts),
    "samples": lambda frame, _: (frame.image.samples_per_pixel, frame.image.photometric_interpretation),
    "pixel format": lambda frame, _: (frame.image.bits_allocated, frame.image.signed, frame.image.is_float),
}
# Numbers that may differ in their last digits: within the tolerance they are the same.
CLOSE: dict[str, tuple[Close, float]] = {
    "PixelSpacing": (
        lambda frame, _: (frame.plane.row_spacing_mm, frame.plane.column_spacing_mm),
        1e-4,
    ),
    # a field of view of 250 mm turned by 2e-4 is 0.05 mm off at its edge
    "ImageOrientationPatient": (
        lambda frame, _: (*frame.plane.row_cosines_lps, *frame.plane.column_cosines_lps),
        2e-4,
    ),
    "EchoTime": (lambda _, said: said.echo_times_ms, 1e-3),
}


def split_key(frame: Frame) -> Key:
    """What a frame is split by: the values of ``SPLIT``, then those of ``CLOSE``."""
    said = _said(frame.header)
    return (
        tuple([rule(frame, said) for rule in SPLIT.values()]),
        tuple([rule(frame, said) for rule, _ in CLOSE.values()]),
    )


def without_direction(key: Key) -> Key:
    """The key, whether its planes have a diffusion direction, or are said to be without one, or not."""
    values = tuple(
        None if name in ("diffusion direction", "diffusion map") else value
        for name, value in zip(SPLIT, key[0], strict=True)
    )
    return (values, key[1])


def merged(keys: Iterable[Key]) -> list[list[Key]]:
    """Keys that belong to one stack: equal by ``SPLIT``, and each close to another one by ``CLOSE``."""
    alike: dict[Hashable, list[Key]] = defaultdict(list)
    for key in sorted(keys, key=repr):
        alike[key[0], tuple(map(len, key[1]))].append(key)
    return [[group[n] for n in near] for group in alike.values() for near in _near(group)]


def _near(keys: Sequence[Key]) -> list[list[int]]:
    """Indices of keys grouped so that each is within the tolerances of another one of its group."""
    tolerances = [tolerance for _, tolerance in CLOSE.values()]
    limits = np.array([limit for limit, values in zip(tolerances, keys[0][1], strict=True) for _ in values])
    numbers = np.array([[value for values in key[1] for value in values] for key in keys])
    left = np.ones(len(keys), dtype=bool)
    groups = []
    for start in range(len(keys)):
        group, waiting = [], [start] if left[start] else []
        left[start] = False
        while waiting:
            group.append(waiting.pop())
            others = np.flatnonzero(left)
            close = others[(np.abs(numbers[others] - numbers[group[-1]]) <= limits).all(axis=1)]
            left[close] = False
            waiting += close.tolist()
        groups += [sorted(group)] if group else []
    return groups


def _far(one: Key, other: Key) -> list[str]:
    return [
        name
        for (name, (_, tolerance)), a, b in zip(CLOSE.items(), one[1], other[1], strict=True)
        if len(a) != len(b) or any(abs(x - y) > tolerance for x, y in zip(a, b, strict=True))
    ]


def differing(one: Key, other: Key) -> list[str]:
    """The names of the rules by which two keys differ."""
    split = [name for name, a, b in zip(SPLIT, one[0], other[0], strict=True) if a != b]
    return split + _far(one, other)
