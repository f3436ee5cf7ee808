"""What is collected of one series while files are read, and which series are one scan.

Theory of operation. A scanner may export one time series with a SeriesInstanceUID and a SeriesNumber of its
own for each volume: Siemens XA does when enhanced images are sent as classic ones ("interoperability",
ImageType MFSPLIT; corpus xa30i/7001 to 7020, sag/XA30/classic 5001 to 5005; dcm2niix issue 236). Such series
share what their common source had: description, protocol, frame of reference, NumberOfTemporalPositions
(0020,0105) and, to the fraction of a second, the SeriesTime, which two runs of one protocol never share. They
are joined only if all else proves it, too: acquisition numbers that count the volumes without a gap or a
repeat, series numbers and times in the same order, one split key, the same slices. Series that look like
parts of one scan and do not prove it stay apart, each with a warning.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Hashable, Mapping, Sequence
from itertools import pairwise

import numpy as np
from msgspec import Struct, field

from pacs2bids.frames import Frame
from pacs2bids.header import Header
from pacs2bids.spacing import SAME_PLACE_MM
from pacs2bids.splitting import SPLIT, Key, split_key
from pacs2bids.stack import Piece, piece_of, sequence

SERIES_NUMBER = list(SPLIT).index("SeriesNumber")


class Part(Struct):
    """Frames with one split key: their pieces, and the frame that comes first as the template.

    ``copies``: pieces left out because others show the same. ``warning``: what its volume's users must know
    of how it was cut.
    """

    template: Frame
    first: Piece | None = None
    pieces: list[Piece] = field(default_factory=list)
    copies: list[Piece] = field(default_factory=list)
    warning: str = ""

    def add(self, frame: Frame, piece: Piece) -> None:
        """Take one frame; it becomes the template if it comes before all others."""
        if self.first is None or sequence(piece) < sequence(self.first):
            self.template, self.first = frame, piece
        self.pieces.append(piece)


class Series(Struct):
    """What is collected of one SeriesInstanceUID.

    ``unusable``: path -> kind of the pictures that have no frames, or frames without a place in the patient.
    ``owners``: SOPInstanceUID -> SeriesInstanceUID of instances that came from series joined to this one.
    """

    first: Header
    first_path: str
    first_order: tuple[int, str]
    files: int = 0
    pictures: int = 0
    parts: dict[Key, Part] = field(default_factory=dict)
    kinds: set[tuple[str | None, ...]] = field(default_factory=set)
    unusable: dict[str, tuple[str | None, ...]] = field(default_factory=dict)
    owners: dict[str, str] = field(default_factory=dict)

    def add(self, frames: Sequence[Frame]) -> None:
        """Take the frames of one picture file."""
        self.pictures += 1
        last: tuple[Frame, Key, Piece] | None = None
        for frame in frames:
            if last is not None and frame.image is last[0].image:  # a further tile of one picture
                key, piece = last[1], piece_of(frame, like=last[2])
            else:
                key, piece = split_key(frame), piece_of(frame)
            part = self.parts.get(key)
            if part is None:
                part = self.parts[key] = Part(template=frame)
            part.add(frame, piece)
            last = frame, key, piece

    @property
    def pieces(self) -> list[Piece]:
        """All pieces of all parts."""
        return [piece for part in self.parts.values() for piece in part.pieces]


# ---------------------------------------------------------------------------------------------- joining


class Scans(Struct, frozen=True, kw_only=True):
    """``joined``: groups of SeriesInstanceUIDs that are one scan each, in order of acquisition.

    ``doubts``: SeriesInstanceUID -> warning, for series that look like parts of one and stay apart.
    ``short``: first SeriesInstanceUID of a group -> warning, where volumes are missing at its ends.
    """

    joined: tuple[tuple[str, ...], ...]
    doubts: dict[str, str]
    short: dict[str, str]


def scans(series: Mapping[str, Series]) -> Scans:
    """Which series of one study are volumes of one time series."""
    candidates: dict[Hashable, list[str]] = defaultdict(list)
    for uid, one in series.items():
        scan = _scan(one)
        if scan is not None:
            candidates[scan].append(uid)
    joined: list[tuple[str, ...]] = []
    doubts: dict[str, str] = {}
    short: dict[str, str] = {}
    for uids in candidates.values():
        if len(uids) < 2:
            continue
        uids.sort(key=lambda uid: (_acquisition(series[uid]) or 0, _number(series[uid])))
        members = [series[uid] for uid in uids]
        doubt = _doubt(members)
        if doubt:
            what = f"may be part of one scan with {len(uids) - 1} other series; not joined: {doubt}"
            doubts |= dict.fromkeys(uids, what)
            continue
        joined.append(tuple(uids))
        count = members[0].first.integer("NumberOfTemporalPositions") or 0
        if len(uids) < count:
            short[uids[0]] = f"{len(uids)} of {count} volumes: the others are missing or were never acquired"
    return Scans(joined=tuple(joined), doubts=doubts, short=short)


def _scan(series: Series) -> Hashable:
    """What series of one scan share; None if the header does not tell enough."""
    header = series.first
    texts = [header.text(keyword) for keyword in ("SeriesTime", "FrameOfReferenceUID", "ProtocolName")]
    count = header.integer("NumberOfTemporalPositions") or 0
    if None in texts or count < 2 or not series.parts:
        return None
    further = [header.text(keyword) for keyword in ("SeriesDate", "SeriesDescription", "Modality")]
    keys = frozenset(_without_number(key) for key in series.parts)
    return (*texts, *further, count, header.text("SOPClassUID"), keys)


def _without_number(key: Key, number: Hashable = None) -> Key:
    """The key with another SeriesNumber, or none."""
    split = (*key[0][:SERIES_NUMBER], number, *key[0][SERIES_NUMBER + 1 :])
    return (split, key[1])


def _doubt(members: Sequence[Series]) -> str:
    """Why these series, in order of acquisition, are not joined; "" if they are one time series."""
    acquisitions = [_acquisition(one) for one in members]
    known = [number for number in acquisitions if number is not None]
    if len(known) < len(members):
        return "a series has no AcquisitionNumber of its own"
    if known != list(range(known[0], known[0] + len(known))):
        return "their acquisition numbers repeat or leave some out"
    if len(members) > (members[0].first.integer("NumberOfTemporalPositions") or 0):
        return "there are more than NumberOfTemporalPositions says"
    if any(_number(later) <= _number(earlier) for earlier, later in pairwise(members)):
        return "series numbers are not in the order of acquisition"
    times = [min(piece.acquired for piece in one.pieces) for one in members]
    if any(later <= earlier for earlier, later in pairwise(times) if earlier and later):
        return "times are not in the order of acquisition numbers"
    return "" if _same_places(members) else "their slices lie elsewhere"


def _acquisition(series: Series) -> int | None:
    """The one AcquisitionNumber of all planes."""
    numbers = {piece.acquisition_number for piece in series.pieces}
    return numbers.pop() if len(numbers) == 1 else None


def _number(series: Series) -> int:
    return series.first.integer("SeriesNumber") or 0


def _same_places(members: Sequence[Series]) -> bool:
    """Whether every plane lies where the series with the most places has one."""
    positions = [np.array(sorted({piece.plane.position_lps for piece in one.pieces})) for one in members]
    fullest = max(positions, key=len)
    return all(
        np.linalg.norm(these[:, None] - fullest[None], axis=2).min(axis=1).max() <= SAME_PLACE_MM
        for these in positions
    )


def join(uids: Sequence[str], members: Sequence[Series]) -> Series:
    """One series out of several, under the identity of the first."""
    head = members[0]
    number = next(iter(head.parts))[0][SERIES_NUMBER]
    parts: dict[Key, Part] = {}
    for one in members:
        for key, part in one.parts.items():
            known = parts.get(_without_number(key, number))
            if known is None:
                known = Part(template=part.template, first=part.first)
                parts[_without_number(key, number)] = known
            known.pieces += part.pieces
    return Series(
        first=head.first,
        first_path=head.first_path,
        first_order=head.first_order,
        files=sum(one.files for one in members),
        pictures=sum(one.pictures for one in members),
        parts=parts,
        kinds=head.kinds,
        owners={
            piece.sop_instance_uid: uid
            for uid, one in zip(uids, members, strict=True)
            for piece in one.pieces
        },
    )


def kind_of(header: Header) -> tuple[str | None, ...]:
    """What pictures of one scan share: the SOP class and the first words of ImageType."""
    return (header.text("SOPClassUID"), *header.texts("ImageType")[:3])
