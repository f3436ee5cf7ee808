"""Frames to stacks: what belongs together, in which slice and volume each plane goes.

Theory of operation. A series is first *split* by what makes voxels incomparable (table ``SPLIT``). The
planes of one part are then *arranged*: their distance along the slice normal gives the slice; a label made of
what tells volumes apart (temporal position, diffusion weighting, and the n-th return to the same slice)
gives the volume. Every label must hold each slice exactly once. Nothing depends on file names or on the order
in which files are read. What does not fit is refused with an error, or listed as incomplete when the
complete volumes are certain.
"""

from __future__ import annotations

import re
from collections import Counter, defaultdict
from collections.abc import Callable, Hashable, Sequence
from dataclasses import dataclass

import numpy as np

from pacs2bids.frames import Frame
from pacs2bids.geometry import Floats, slice_normal
from pacs2bids.header import Header, recall
from pacs2bids.model import ConversionError, ImageRef, Plane, Vector

SAME_PLACE_MM = 0.02  # IPP is text of a few digits: the same slice of two volumes may differ in the last one
EVEN_SPACING = 0.02  # allowed deviation from an even grid, as a fraction of the slice step


@dataclass(frozen=True, slots=True, kw_only=True)
class Piece:
    """What is kept of a frame once its header is let go. Times in s, b-values in s/mm^2.

    ``temporal_position``: as the header numbers volumes, None if it does not.
    ``rescale``: (slope, intercept).
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
    slice_time_s: float | None
    rescale: tuple[float, float]


@dataclass(frozen=True, slots=True, kw_only=True)
class Arrangement:
    """Planes on a grid: ``grid[volume][slice]``; slices ascend along the normal.

    ``slice_step_lps``: mm, shape (3,). ``incomplete``: pieces of volumes that lack slices.
    """

    grid: tuple[tuple[Piece, ...], ...]
    slice_step_lps: Floats
    incomplete: tuple[Piece, ...]


def piece_of(frame: Frame) -> Piece:
    """The little of a frame that arranging needs."""
    header, facts = frame.header, frame.facts
    slice_time_s = facts.slice_time_s
    if facts.slice_times_s is not None and frame.tile < len(facts.slice_times_s):
        slice_time_s = facts.slice_times_s[frame.tile]
    temporal = facts.volume_index
    if temporal is None:
        temporal = header.integer("TemporalPositionIndex") or header.integer("TemporalPositionIdentifier")
    return Piece(
        plane=frame.plane,
        image=frame.image,
        tile=frame.tile,
        tile_row=frame.tile_row,
        tile_column=frame.tile_column,
        sop_instance_uid=frame.instance.text("SOPInstanceUID") or "",
        instance_number=frame.instance.integer("InstanceNumber") or 0,
        temporal_position=temporal,
        acquisition_number=header.integer("AcquisitionNumber"),
        acquired=acquired(frame),
        b_value_s_per_mm2=facts.b_value_s_per_mm2,
        b_vector_lps=facts.b_vector_lps,
        slice_time_s=slice_time_s,
        rescale=frame.facts.rescale or recall(_rescale, header),
    )


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
    """A DICOM DT (PS3.5 section 6.2, YYYYMMDDHHMMSS.FFFFFF) as ISO 8601; what is missing is zero."""
    local = re.split("[+-]", stamp, maxsplit=1)[0]  # the offset from UTC, if any, does not matter here
    digits, _, fraction = local.partition(".")
    if not digits.isdigit() or len(digits) < 8:
        return ""
    digits = digits[:14].ljust(14, "0")
    date, clock = digits[:8], digits[8:]
    fraction = (fraction if fraction.isdigit() else "").ljust(6, "0")[:6]
    return f"{date[:4]}-{date[4:6]}-{date[6:]}T{clock[:2]}:{clock[2:4]}:{clock[4:]}.{fraction}"


def _rescale(header: Header) -> tuple[float, float]:
    return (header.number("RescaleSlope") or 1.0, header.number("RescaleIntercept") or 0.0)


# ---------------------------------------------------------------------------------------------- split

Split = Callable[[Frame], Hashable]


def _cosines(frame: Frame) -> Hashable:
    # repeated scans of one geometry may differ in the last digits: 0.002 is a tenth of a degree
    values = (*frame.plane.row_cosines_lps, *frame.plane.column_cosines_lps)
    return tuple(round(value / 0.002) for value in values)


def _echo_time(header: Header) -> Hashable:
    echo_time_ms = header.number("EffectiveEchoTime") or header.number("EchoTime")
    return None if echo_time_ms is None else round(echo_time_ms, 3)


def _echo_number(header: Header) -> Hashable:
    return header.integer("EchoNumbers")


def _image_type(header: Header) -> Hashable:
    return header.texts("FrameType") or header.texts("ImageType")


def _has_direction(frame: Frame) -> Hashable:
    b_value = frame.facts.b_value_s_per_mm2
    return not b_value or frame.facts.b_vector_lps is not None


# Planes that differ in one of these are never in one volume file.
SPLIT: dict[str, Split] = {
    "matrix": lambda frame: (frame.plane.columns, frame.plane.rows),
    "PixelSpacing": lambda frame: (
        round(frame.plane.row_spacing_mm, 4),
        round(frame.plane.column_spacing_mm, 4),
    ),
    "ImageOrientationPatient": _cosines,
    "ImageType": lambda frame: recall(_image_type, frame.header),
    "complex component": lambda frame: frame.facts.component,
    "EchoTime": lambda frame: recall(_echo_time, frame.header),
    "EchoNumbers": lambda frame: recall(_echo_number, frame.header),
    "diffusion map": lambda frame: frame.facts.is_diffusion_map,
    "diffusion direction": _has_direction,
    "samples": lambda frame: (frame.image.samples_per_pixel, frame.image.photometric_interpretation),
    "pixel format": lambda frame: (frame.image.bits_allocated, frame.image.signed, frame.image.is_float),
}


def split_key(frame: Frame) -> tuple[Hashable, ...]:
    """Frames of one series with equal keys belong to one stack."""
    return tuple(rule(frame) for rule in SPLIT.values())


def differing(keys: Sequence[tuple[Hashable, ...]]) -> list[str]:
    """The names of the ``SPLIT`` rules by which these keys differ."""
    return [name for name, *values in zip(SPLIT, *keys, strict=True) if len(set(values)) > 1]


# ---------------------------------------------------------------------------------------------- arrange


def arrange(pieces: Sequence[Piece], slice_spacing_mm: float | None) -> Arrangement:
    """Give every plane its slice and its volume.

    ``slice_spacing_mm``: what the header says; used only where a single slice leaves it open.
    Raises ConversionError if the planes make no even grid.
    """
    places = _slices(pieces)
    volumes = _volumes(pieces, places)
    count = 1 + max(places)
    complete = [volume for volume in volumes if len(volume) == count]
    incomplete = tuple(pieces[n] for volume in volumes if len(volume) < count for n in volume)
    if not complete:
        raise ConversionError(f"no volume has all of its {count} slices")
    grid = tuple(
        tuple(pieces[n] for n in sorted(volume, key=lambda n: places[n]))
        for volume in sorted(complete, key=lambda volume: min(sequence(pieces[n]) for n in volume))
    )
    step = _slice_step(grid, slice_spacing_mm)
    _require_even(grid, step)
    return Arrangement(grid=grid, slice_step_lps=step, incomplete=incomplete)


def sequence(piece: Piece) -> tuple[int, int, int, str]:
    """What orders planes in time: temporal position, instance number, frame."""
    temporal = piece.temporal_position
    return (temporal or 0, piece.instance_number, piece.image.frame, piece.sop_instance_uid)


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

    Where slices are missing, counting returns to a slice would shift the volumes behind the gap. Then only
    an acquisition number that tells every plane apart, or an unbroken order of instances, is believed.
    """
    counted = list(_labelled(pieces, places).values())
    if len({len(volume) for volume in counted}) == 1:
        return counted
    by_acquisition = _labelled(pieces, places, by_acquisition=True)
    if all(returns == 0 for _, returns in by_acquisition):
        return list(by_acquisition.values())
    by_order = _chunks(pieces, places)
    if by_order is not None:
        return by_order
    count = Counter(len(volume) for volume in counted)
    sizes = ", ".join(f"{number} with {size} slices" for size, number in sorted(count.items()))
    what = f"slices are missing and nothing tells to which volume the others belong ({sizes})"
    raise ConversionError(what, hint="Retrieve the series again; if it stays so, the scan is incomplete")


def _labelled(
    pieces: Sequence[Piece], places: Sequence[int], *, by_acquisition: bool = False
) -> dict[tuple[Hashable, int], list[int]]:
    """Volumes by (label, n-th return to a slice under that label)."""
    seen: Counter[Hashable] = Counter()
    volumes: dict[tuple[Hashable, int], list[int]] = defaultdict(list)
    for n in sorted(range(len(pieces)), key=lambda n: sequence(pieces[n])):
        piece = pieces[n]
        b_vector = piece.b_vector_lps and tuple(round(value, 2) for value in piece.b_vector_lps)
        acquisition = piece.acquisition_number if by_acquisition else None
        label = (piece.temporal_position, piece.b_value_s_per_mm2, b_vector, acquisition)
        returns = seen[label, places[n]]
        seen[label, places[n]] += 1
        volumes[label, returns].append(n)
    return volumes


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


def _require_even(grid: tuple[tuple[Piece, ...], ...], step: Floats) -> None:
    """Every plane lies where the grid of the first volume puts it."""
    size = float(np.linalg.norm(step))
    tolerance = max(EVEN_SPACING * size, SAME_PLACE_MM)
    first = np.array(grid[0][0].plane.position_lps)
    expected = first + np.arange(len(grid[0]))[:, None] * step
    positions = np.array([[piece.plane.position_lps for piece in volume] for volume in grid])
    offset = np.linalg.norm(positions - expected, axis=2)
    worst = np.unravel_index(int(np.argmax(offset)), offset.shape)
    if offset[worst] > tolerance:
        gaps = np.linalg.norm(np.diff(positions[0], axis=0), axis=1)
        spread = f"gaps from {gaps.min():.3f} to {gaps.max():.3f} mm" if len(gaps) else "one slice"
        what = (
            f"slices lie on no even grid ({spread}); the plane of instance "
            f"{grid[worst[0]][worst[1]].sop_instance_uid} is {offset[worst]:.3f} mm off"
        )
        raise ConversionError(what, hint="A slice may be missing; retrieve the series again")
