"""Planes of one part to an arrangement: in which slice and in which volume each of them goes.

The slice follows from the place along the normal. The volume follows from a label, made of what tells volumes
apart, and of the n-th return to the same slice: counting is believed only where nothing can be missing.
"""

from __future__ import annotations

import math
from collections import Counter, defaultdict
from collections.abc import Callable, Hashable, Iterable, Sequence
from datetime import datetime
from itertools import pairwise

from pacs2bids.geometry import slice_normal
from pacs2bids.model import ConversionError, Vector
from pacs2bids.spacing import require_even, slice_step, slices_of
from pacs2bids.stack import Arrangement, Piece, sequence
from pacs2bids.vendors import standard

SAME_DIRECTION = 0.005  # of unit vectors: a third of a degree
MANY_FRAMES = 1_000_000  # more than an instance has


def arrange(pieces: Sequence[Piece], slice_spacing_mm: float | None) -> Arrangement:
    """Give every plane its slice and its volume.

    ``slice_spacing_mm``: what the header says; used only where a single slice leaves it open.
    Raises UnevenError if the planes make no even grid, ConversionError if no volume is certain.
    """
    if not pieces[0].plane.placed:
        return _unplaced(pieces, slice_spacing_mm)
    places = slices_of(pieces)
    volumes = _volumes(pieces, places)
    count = 1 + max(places)
    incomplete = tuple(pieces[n] for volume in volumes if len(volume) < count for n in volume)
    if all(len(volume) < count for volume in volumes):
        raise ConversionError(f"no volume has all of its {count} slices")
    volumes.sort(key=lambda volume: min(sequence(pieces[n]) for n in volume))
    grid = tuple(
        tuple(pieces[n] for n in sorted(volume, key=lambda n: places[n]))
        for volume in volumes
        if len(volume) == count
    )
    step = slice_step(grid, slice_spacing_mm)
    require_even(grid, step)
    last = max(n for n, volume in enumerate(volumes) if len(volume) == count)
    gaps = sum(len(volume) < count for volume in volumes[:last])
    return Arrangement(grid=grid, slice_step_lps=step, incomplete=incomplete, gaps=gaps)


def _unplaced(pieces: Sequence[Piece], slice_spacing_mm: float | None) -> Arrangement:
    """Pictures without a place in the patient: one volume, in the order of their instance numbers."""
    ordered = sorted(pieces, key=sequence)
    if any(sequence(one) == sequence(other) for one, other in pairwise(ordered)):
        raise ConversionError("pictures have no place in the patient and nothing orders them")
    step = slice_normal(ordered[0].plane) * (slice_spacing_mm or 1.0)
    return Arrangement(grid=(tuple(ordered),), slice_step_lps=step)


def _volumes(pieces: Sequence[Piece], places: Sequence[int]) -> list[list[int]]:
    """Indices of pieces grouped to volumes; each holds a slice at most once.

    Counting returns to a slice is believed only where nothing can be missing. Else an acquisition number that
    tells every plane apart, or an unbroken order of instances, is believed; else nothing.
    """
    counted = _labelled(pieces, places)
    if _is_whole(counted) and (_is_regular(counted, pieces, places) or _is_contiguous(pieces)):
        return list(counted.values())
    by_acquisition = _labelled(pieces, places, by_acquisition=True)
    if all(returns == 0 for _, returns in by_acquisition):
        return list(by_acquisition.values())
    by_order = _chunks(pieces, places)
    if by_order is not None:
        return by_order
    count = Counter(len(volume) for volume in counted.values())
    sizes = ", ".join(f"{number} with {size} slices" for size, number in sorted(count.items()))
    what = f"nothing tells to which volume each of the {len(pieces)} planes belongs (by counting: {sizes})"
    raise ConversionError(what, hint="Slices may be missing: does the source have more?")


Volumes = dict[tuple[Hashable, int], list[int]]


def _labelled(pieces: Sequence[Piece], places: Sequence[int], *, by_acquisition: bool = False) -> Volumes:
    """Volumes by (label, n-th return to a slice under that label).

    Raises ConversionError if nothing orders two planes of one slice: their UIDs must not decide.
    """
    last: dict[Hashable, tuple[int, int, int, int, str]] = {}
    seen: Counter[Hashable] = Counter()
    volumes: Volumes = defaultdict(list)
    order = sorted(range(len(pieces)), key=lambda n: sequence(pieces[n]))
    directions = _directions([pieces[n].b_vector_lps for n in order])
    # numbers that tell every plane apart count planes, not volumes
    counts_planes = len({piece.temporal_position for piece in pieces}) == len(pieces) and len(set(places)) > 1
    for n in order:
        piece = pieces[n]
        b_vector = piece.b_vector_lps and directions[piece.b_vector_lps]
        acquisition = piece.acquisition_number if by_acquisition else None
        temporal = None if counts_planes else piece.temporal_position
        label = (temporal, piece.b_value_s_per_mm2, b_vector, piece.volume_type, acquisition)
        if last.get((label, places[n])) == sequence(piece):
            what = f"two planes lie in one place and nothing orders them (one is {piece.sop_instance_uid})"
            raise ConversionError(what)
        last[label, places[n]] = sequence(piece)
        volumes[label, seen[label, places[n]]].append(n)
        seen[label, places[n]] += 1
    return volumes


def _directions(vectors: Iterable[Vector | None]) -> dict[Vector, Vector]:
    """For each b-vector the first one that it is but for its last digits, which slices may differ in."""
    same: dict[Vector, Vector] = {}
    distinct: list[Vector] = []
    for vector in vectors:
        if vector is None or vector in same:
            continue
        close = (one for one in distinct if math.dist(one, vector) < SAME_DIRECTION)
        same[vector] = next(close, vector)
        if same[vector] is vector:
            distinct.append(vector)
    return same


def _is_whole(volumes: Volumes) -> bool:
    return len({len(volume) for volume in volumes.values()}) == 1


def _is_regular(volumes: Volumes, pieces: Sequence[Piece], places: Sequence[int]) -> bool:
    """Whether each slice returns in the same rhythm: a plane missing from one slice would break it.

    Where instance numbers begin anew in each volume they have no rhythm: then the acquisition number of each
    volume, or the rhythm of acquisition times, must show that its planes belong together.
    """
    by_label: dict[Hashable, list[dict[int, Piece]]] = defaultdict(list)
    for (label, _), volume in volumes.items():
        by_label[label].append({places[n]: pieces[n] for n in volume})
    for returns in by_label.values():
        steps = [_steps(returns[0], later, _instance) for later in returns[1:]]
        tolerance = 0
        if any(0 in step for step in steps):
            steps = [] if _is_numbered(returns) else [_steps(returns[0], it, _tenths) for it in returns[1:]]
            tolerance = 2
        if any(max(step) - min(step) > tolerance for step in steps):
            return False
    return True


def _steps(first: dict[int, Piece], later: dict[int, Piece], clock: Callable[[Piece], int]) -> list[int]:
    """How far each slice of one volume is behind the same slice of another."""
    return [clock(later[place]) - clock(first[place]) for place in later]


def _instance(piece: Piece) -> int:
    return piece.instance_number * MANY_FRAMES + piece.image.frame


def _tenths(piece: Piece) -> int:
    """Time in tenths of a second: finer than volumes follow each other, coarser than clocks jitter."""
    if not piece.acquired:
        return 0
    return round((datetime.fromisoformat(piece.acquired) - standard.EPOCH).total_seconds() * 10)


def _is_numbered(volumes: list[dict[int, Piece]]) -> bool:
    """Whether each volume has an acquisition number of its own."""
    numbers = [{piece.acquisition_number for piece in volume.values()} for volume in volumes]
    return all(len(number) == 1 and None not in number for number in numbers) and (
        len(set.union(*numbers)) == len(volumes)
    )


def _is_contiguous(pieces: Sequence[Piece]) -> bool:
    """Whether instance numbers run without a gap or a repeat: then no instance is missing inside."""
    numbers = sorted(piece.instance_number for piece in pieces)
    return len(set(numbers)) == len(numbers) == numbers[-1] - numbers[0] + 1


def _chunks(pieces: Sequence[Piece], places: Sequence[int]) -> list[list[int]] | None:
    """Volumes cut from the order of instances, for a run that was interrupted in its last volume.

    None unless every volume takes the slices in the order of the first: else one is missing before the end.
    """
    size = 1 + max(places)
    order = sorted(range(len(pieces)), key=lambda n: sequence(pieces[n]))
    chunks = [order[start : start + size] for start in range(0, len(order), size)]
    first = [places[n] for n in chunks[0]]
    if len(set(first)) < size or any([places[n] for n in chunk] != first[: len(chunk)] for chunk in chunks):
        return None
    return chunks
