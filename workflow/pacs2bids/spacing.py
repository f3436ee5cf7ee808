"""Where slices lie along their normal: on one even grid, in even runs, or refused.

Slices at uneven distances have no affine. Where the distance changes between stretches of three and more
slices (CT: finer through the base of the skull), or a gap of another length parts them, each stretch is an
exact volume of its own (``even_runs``). Where gaps are whole multiples of one distance, slices are missing:
that is refused, and so is anything less regular. dcm2niix writes one volume, with the first distance
throughout. Slabs that are shifted against each other in their plane are volumes of their own, too.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from pacs2bids.geometry import Floats, slice_normal
from pacs2bids.model import ConversionError
from pacs2bids.stack import Piece

SAME_PLACE_MM = 0.02  # IPP is text of a few digits: the same slice of two volumes may differ in the last one
EVEN_SPACING = 0.02  # allowed deviation from an even grid, as a fraction of the slice step
SHORTEST_RUN = 3  # slices at one distance that are taken for a volume of their own
IN_LINE_MM = 0.5  # texts of positions and of directions that are rounded move no slice as far
MANY_LINES = 8
SHOWN = 5


class UnevenError(ConversionError):
    """Slices that lie on no even grid."""


def slices_of(pieces: Sequence[Piece]) -> list[int]:
    """The slice number of each plane, counted along the normal of the first."""
    positions = np.array([piece.plane.position_lps for piece in pieces])
    distance = positions @ slice_normal(pieces[0].plane)
    order = np.argsort(distance, kind="stable")
    new = np.diff(distance[order], prepend=distance[order[0]]) > SAME_PLACE_MM
    places = np.empty(len(pieces), dtype=int)
    places[order] = np.cumsum(new)
    return [int(place) for place in places]


def slice_step(grid: tuple[tuple[Piece, ...], ...], slice_spacing_mm: float | None) -> Floats:
    """From slice to slice in mm, shape (3,). ``slice_spacing_mm``: see ``arranging.arrange``."""
    first, last = grid[0][0].plane, grid[0][-1].plane
    count = len(grid[0])
    if count > 1:
        step: Floats = (np.array(last.position_lps) - np.array(first.position_lps)) / (count - 1)
        return step
    return slice_normal(first) * (slice_spacing_mm or 1.0)


def _tolerance_mm(gap_mm: float) -> float:
    return max(EVEN_SPACING * gap_mm, SAME_PLACE_MM)


def require_even(grid: tuple[tuple[Piece, ...], ...], step: Floats) -> None:
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
    places = slices_of(pieces)
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
