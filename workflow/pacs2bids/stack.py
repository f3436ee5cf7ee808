"""Frames to stacks: what belongs together, in which slice and volume each plane goes.

Theory of operation. A series is first *split* by what makes voxels incomparable (tables ``SPLIT`` and
``CLOSE``). The planes of one part are then *arranged*: their distance along the slice normal gives the slice;
a label made of what tells volumes apart (temporal position, diffusion weighting, and the n-th return to the
same slice) gives the volume. Every label must hold each slice exactly once, and where returns were counted,
something must prove that none is missing. Nothing depends on file names, on UIDs, or on the order in which
files are read. What does not fit is refused with an error, or listed as incomplete when the complete volumes
are certain.

Slices at uneven distances have no affine. Where the distance changes between stretches of three and more
slices (CT: finer through the base of the skull), or a gap of another length parts them, each stretch is an
exact volume of its own (``even_runs``). Where gaps are whole multiples of one distance, slices are missing:
that is refused, and so is anything less regular. dcm2niix writes one volume, with the first distance
throughout. Slabs that are shifted against each other in their plane are volumes of their own, too.
"""

from __future__ import annotations

import math
from collections import Counter, defaultdict
from collections.abc import Callable, Hashable, Iterable, Sequence
from datetime import datetime
from itertools import pairwise

import numpy as np
from msgspec import Struct
from msgspec.structs import replace

from pacs2bids.frames import MAPPINGS, PARAMETRIC_MAP, Frame
from pacs2bids.geometry import Floats, slice_normal
from pacs2bids.header import Header, recall, recalled
from pacs2bids.model import ConversionError, Facts, ImageRef, Json, Plane, Vector
from pacs2bids.sidecar import per_volume
from pacs2bids.vendors import standard

SAME_PLACE_MM = 0.02  # IPP is text of a few digits: the same slice of two volumes may differ in the last one
SAME_DIRECTION = 0.005  # of unit vectors: a third of a degree
MANY_FRAMES = 1_000_000  # more than an instance has
EVEN_SPACING = 0.02  # allowed deviation from an even grid, as a fraction of the slice step
SHORTEST_RUN = 3  # slices at one distance that are taken for a volume of their own
IN_LINE_MM = 0.5  # texts of positions and of directions that are rounded move no slice as far
MANY_LINES = 8
SHOWN = 5


SamePicture = Callable[[ImageRef, ImageRef], bool]


class Piece(Struct, frozen=True, kw_only=True):
    """What is kept of a frame once its header is let go. Times in s, b-values in s/mm^2.

    ``temporal_position``: as the header numbers volumes, None if it does not.
    ``rescale``: (slope, intercept). ``display_rescale``: the standard's, where the vendor has another.
    ``volume_type``: as in Facts. ``per_volume``: sidecar values that may change between volumes.
    """

    plane: Plane
    image: ImageRef
    tile: int
    tile_row: int
    tile_column: int
    sop_instance_uid: str
    instance_number: int
    temporal_position: int | None
    acquisition_number: int | None
    acquired: str
    b_value_s_per_mm2: float | None
    b_vector_lps: Vector | None
    volume_type: str | None = None
    slice_time_s: float | None
    rescale: tuple[float, float]
    display_rescale: tuple[float, float]
    per_volume: tuple[Json, ...]


class Arrangement(Struct, frozen=True, kw_only=True):
    """Planes on a grid: ``grid[volume][slice]``; slices ascend along the normal.

    ``slice_step_lps``: mm, shape (3,). ``incomplete``: pieces of volumes that lack slices.
    ``gaps``: how many of these volumes are followed by complete ones.
    """

    grid: tuple[tuple[Piece, ...], ...]
    slice_step_lps: Floats
    incomplete: tuple[Piece, ...] = ()
    gaps: int = 0


class UnevenError(ConversionError):
    """Slices that lie on no even grid."""


def piece_of(frame: Frame, *, like: Piece | None = None) -> Piece:
    """The little of a frame that arranging needs. ``like``: the piece of another tile of its picture."""
    header, facts = frame.header, frame.facts
    slice_time_s = facts.slice_time_s
    if facts.slice_times_s is not None and frame.tile < len(facts.slice_times_s):
        slice_time_s = facts.slice_times_s[frame.tile]
    if like is not None:
        return replace(
            like,
            plane=frame.plane,
            tile=frame.tile,
            tile_row=frame.tile_row,
            tile_column=frame.tile_column,
            slice_time_s=slice_time_s,
        )
    rescale, temporal, acquisition = _counted(header)
    return Piece(
        plane=frame.plane,
        image=frame.image,
        tile=frame.tile,
        tile_row=frame.tile_row,
        tile_column=frame.tile_column,
        sop_instance_uid=frame.instance.text("SOPInstanceUID") or "",
        instance_number=frame.instance.integer("InstanceNumber") or 0,
        temporal_position=temporal,
        acquisition_number=acquisition,
        acquired=acquired(frame),
        b_value_s_per_mm2=facts.b_value_s_per_mm2,
        b_vector_lps=facts.b_vector_lps,
        volume_type=facts.volume_type,
        slice_time_s=slice_time_s,
        rescale=facts.rescale or rescale,
        display_rescale=rescale,
        per_volume=recall(per_volume, header),
    )


@recalled
def _counted(header: Header) -> tuple[tuple[float, float], int | None, int | None]:
    """Rescale, temporal position and acquisition number: few of a series differ in them."""
    temporal = header.integer("TemporalPositionIndex") or header.integer("TemporalPositionIdentifier")
    return _rescale(header), temporal, header.integer("AcquisitionNumber")


def acquired(frame: Frame) -> str:
    """When the frame was acquired, as ISO date and time ("" if unknown): fit for sorting."""
    header = frame.header
    stamp = header.text("FrameAcquisitionDateTime") or header.text("AcquisitionDateTime")
    if stamp is None:
        date = header.text("AcquisitionDate") or header.text("SeriesDate") or header.text("StudyDate")
        time = header.text("AcquisitionTime") or header.text("SeriesTime") or header.text("StudyTime")
        stamp = f"{date}{time}" if date and time else date or ""
    return iso_date_time(stamp)


def iso_date_time(stamp: str) -> str:
    """A DICOM DT as ISO 8601; what is missing is zero, "" if there is no such date."""
    moment = standard.date_time(stamp)
    return "" if moment is None else moment.isoformat(timespec="microseconds")


def _rescale(header: Header) -> tuple[float, float]:
    """Slope and intercept of the modality's values (PS3.3 C.11.1, C.7.6.16.2.9); (1, 0) if there are none.

    A parametric map keeps its values' meaning in a real world value mapping instead (PS3.3 C.8.32.2, table
    A.75-2); of several mappings, to several units, none is preferred. Elsewhere such a mapping only adds
    units to the same values, or others beside them, and the rescale goes first. A slope of zero says nothing.
    """
    slope, intercept = header.number("RescaleSlope"), header.number("RescaleIntercept")
    if header.text("SOPClassUID") == PARAMETRIC_MAP and len(header.items(MAPPINGS)) == 1:
        slope, intercept = header.number("RealWorldValueSlope"), header.number("RealWorldValueIntercept")
    return (slope or 1.0, intercept or 0.0)


# ---------------------------------------------------------------------------------------------- split


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


# ---------------------------------------------------------------------------------------------- arrange


def arrange(pieces: Sequence[Piece], slice_spacing_mm: float | None) -> Arrangement:
    """Give every plane its slice and its volume.

    ``slice_spacing_mm``: what the header says; used only where a single slice leaves it open.
    Raises UnevenError if the planes make no even grid, ConversionError if no volume is certain.
    """
    if not pieces[0].plane.placed:
        return _unplaced(pieces, slice_spacing_mm)
    places = _slices(pieces)
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
    step = _slice_step(grid, slice_spacing_mm)
    _require_even(grid, step)
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


def sequence(piece: Piece) -> tuple[int, int, int, int, str]:
    """What orders planes in time: temporal position, instance number, frame; then acquisition, for a series
    that numbers its instances anew in each volume, or not at all."""
    return (
        piece.temporal_position or 0,
        piece.instance_number,
        piece.image.frame,
        piece.acquisition_number or 0,
        piece.acquired,
    )


def without_copies(pieces: Sequence[Piece], same_picture: SamePicture) -> tuple[list[Piece], list[Piece]]:
    """Pieces, and those that show again what another one shows: all but the UID says so, and the pixels do.

    An archive may keep an instance twice, under two UIDs. Which of the two is kept does not matter. None are
    told apart once two such pieces differ in their pixels: nothing orders these, so no volume is certain.
    """
    kept: list[Piece] = []
    copies: list[Piece] = []
    firsts: dict[Hashable, Piece] = {}
    known: dict[tuple[ImageRef, ImageRef], bool] = {}
    for piece in sorted(pieces, key=lambda piece: piece.sop_instance_uid):
        key = (piece.plane, piece.tile, sequence(piece), piece.b_value_s_per_mm2, piece.b_vector_lps)
        first = firsts.setdefault(key, piece)
        if first is piece:
            kept.append(piece)
            continue
        pair = (piece.image, first.image)
        if pair not in known:
            known[pair] = piece.rescale == first.rescale and same_picture(*pair)
        if not known[pair]:
            return list(pieces), []
        copies.append(piece)
    return kept, copies


def _slices(pieces: Sequence[Piece]) -> list[int]:
    """The slice number of each plane, counted along the normal of the first."""
    positions = np.array([piece.plane.position_lps for piece in pieces])
    distance = positions @ slice_normal(pieces[0].plane)
    order = np.argsort(distance, kind="stable")
    new = np.diff(distance[order], prepend=distance[order[0]]) > SAME_PLACE_MM
    places = np.empty(len(pieces), dtype=int)
    places[order] = np.cumsum(new)
    return [int(place) for place in places]


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


def _slice_step(grid: tuple[tuple[Piece, ...], ...], slice_spacing_mm: float | None) -> Floats:
    first, last = grid[0][0].plane, grid[0][-1].plane
    count = len(grid[0])
    if count > 1:
        step: Floats = (np.array(last.position_lps) - np.array(first.position_lps)) / (count - 1)
        return step
    return slice_normal(first) * (slice_spacing_mm or 1.0)


def _tolerance_mm(gap_mm: float) -> float:
    return max(EVEN_SPACING * gap_mm, SAME_PLACE_MM)


def _require_even(grid: tuple[tuple[Piece, ...], ...], step: Floats) -> None:
    """Every plane lies where the grid of the first volume puts it."""
    first = np.array(grid[0][0].plane.position_lps)
    expected = first + np.arange(len(grid[0]))[:, None] * step
    positions = np.array([[piece.plane.position_lps for piece in volume] for volume in grid])
    offset = np.linalg.norm(positions - expected, axis=2)
    worst = np.unravel_index(int(np.argmax(offset)), offset.shape)
    if offset[worst] > _tolerance_mm(float(np.linalg.norm(step))):
        gaps = np.linalg.norm(np.diff(positions[0], axis=0), axis=1)
        spread = f"gaps from {gaps.min():.3f} to {gaps.max():.3f} mm" if len(gaps) else "one slice"
        what = (
            f"slices lie on no even grid ({spread}); the plane of instance "
            f"{grid[worst[0]][worst[1]].sop_instance_uid} is {offset[worst]:.3f} mm off{_missing(gaps)}"
        )
        raise UnevenError(what, hint="A slice may be missing: does the source have more?")


def _missing(gaps_mm: Floats) -> str:
    """In words, how many slices are missing and where, if whole numbers of them fill the gaps."""
    step = float(np.median(gaps_mm)) if len(gaps_mm) else 0.0
    if not step or not _is_multiple(gaps_mm, step):
        return ""
    counts = np.round(gaps_mm / step)
    where = [f"{int(counts[n]) - 1} behind slice {n + 1}" for n in np.flatnonzero(counts > 1)]
    more = " and more" if len(where) > SHOWN else ""
    return f"; missing are {', '.join(where[:SHOWN])}{more}" if where else ""


def even_runs(pieces: Sequence[Piece]) -> list[list[Piece]]:
    """Pieces that lie on no even grid, cut where the distance of slices changes; else empty.

    Slices that stand on several lines (slabs that are shifted in their plane) are first told apart by these.
    Each run has at least ``SHORTEST_RUN`` slices. Runs at one distance, parted by whole multiples of it,
    are not cut: there slices are missing.
    """
    lines = _lines(pieces)
    if len(lines) > 1:
        return lines
    places = _slices(pieces)
    one_each = dict(zip(places, pieces, strict=True))
    positions = np.array([one_each[place].plane.position_lps for place in sorted(one_each)])
    gaps = np.linalg.norm(np.diff(positions, axis=0), axis=1)
    starts = _run_starts(gaps)
    lengths = np.diff([*starts, len(positions)])
    if len(starts) < 2 or lengths.min() < SHORTEST_RUN:
        return []
    distances, between = gaps[starts], gaps[np.array(starts[1:]) - 1]
    if (
        _is_multiple(np.array([*distances, *between]), float(distances[0]))
        and np.ptp(distances) < SAME_PLACE_MM
    ):
        return []
    number = np.searchsorted(starts, places, side="right") - 1
    return [
        [piece for piece, run in zip(pieces, number, strict=True) if run == n] for n in range(len(starts))
    ]


def _lines(pieces: Sequence[Piece]) -> list[list[Piece]]:
    """Pieces by the line along the normal that their first voxels stand on, if each has enough of them."""
    first = pieces[0].plane
    axes = np.array([first.row_cosines_lps, first.column_cosines_lps])
    lines: list[tuple[Floats, list[Piece]]] = []
    for piece in pieces:
        foot = axes @ np.array(piece.plane.position_lps)
        known = next((line for at, line in lines if np.abs(at - foot).max() <= IN_LINE_MM), None)
        if known is None:
            known = []
            lines.append((foot, known))
            if len(lines) > MANY_LINES:  # a tilted gantry: each slice stands on a line of its own
                return []
        known.append(piece)
    shortest = min(len({piece.plane.position_lps for piece in line}) for _, line in lines)
    return [line for _, line in lines] if shortest >= SHORTEST_RUN else []


def _run_starts(gaps_mm: Floats) -> list[int]:
    """The slices at which a new distance begins; the gap before a run belongs to none."""
    starts = [0]
    for n, gap in enumerate(gaps_mm):
        known = gaps_mm[starts[-1]] if n >= starts[-1] else gap
        if abs(gap - known) > _tolerance_mm(float(known)):
            starts.append(n + 1)
    return starts


def _is_multiple(gaps_mm: Floats, step_mm: float) -> bool:
    return bool(np.abs(gaps_mm - np.round(gaps_mm / step_mm) * step_mm).max() <= _tolerance_mm(step_mm))
