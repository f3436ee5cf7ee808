"""Frames to stacks: pieces, which are what is kept of frames, and planes arranged on a grid.

Theory of operation. A series is first *split* by what makes voxels incomparable (``splitting``). The planes
of one part are then *arranged* (``arranging``): their distance along the slice normal gives the slice; a
label made of what tells volumes apart (temporal position, diffusion weighting, and the n-th return to the
same slice) gives the volume. Every label must hold each slice exactly once, and where returns were counted,
something must prove that none is missing. Nothing depends on file names, on UIDs, or on the order in which
files are read. What does not fit is refused with an error, or listed as incomplete when the complete volumes
are certain. Slices at uneven distances have no affine: they are cut into even runs, or refused (``spacing``).
"""

from __future__ import annotations

from collections.abc import Callable, Hashable, Sequence

from msgspec import Struct
from msgspec.structs import replace

from pacs2bids.frames import MAPPINGS, PARAMETRIC_MAP, Frame
from pacs2bids.geometry import Floats
from pacs2bids.header import Header
from pacs2bids.model import ImageRef, Json, Plane, Vector
from pacs2bids.recalled import recall, recalled
from pacs2bids.sidecar import per_volume
from pacs2bids.vendors import standard

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
