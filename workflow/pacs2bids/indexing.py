"""Instances to a study index: every instance ends in a stack or among the leftovers, and the count closes.

``Indexer`` takes one parsed file after another and lets its header go at once, except for one template a
stack; so memory grows with less than a kilobyte a plane, not with the headers.
"""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Callable, Collection, Iterable
from itertools import permutations
from typing import NamedTuple

import numpy as np
from msgspec import Struct, field
from msgspec.structs import replace

from pacs2bids.arranging import arrange
from pacs2bids.describe import echo_time_s, series_info, stack_of
from pacs2bids.frames import Frame, UnusableError, frames_of
from pacs2bids.geometry import (
    orientation_name,
)
from pacs2bids.header import Header
from pacs2bids.model import (
    ConversionError,
    FailedStack,
    HeaderError,
    ImageRef,
    Leftover,
    NoInstanceError,
    Pacs2BidsError,
    Physiology,
    Reason,
    SeriesInfo,
    Stack,
    StudyIndex,
)
from pacs2bids.physiology import known_of
from pacs2bids.reading import ParsedFile
from pacs2bids.recalled import recall
from pacs2bids.series import Part, Series, join, kind_of, scans
from pacs2bids.spacing import UnevenError, even_runs
from pacs2bids.splitting import Key, differing, merged, split_key, without_direction
from pacs2bids.stack import Arrangement, Piece, SamePicture, sequence, without_copies
from pacs2bids.text import AGAIN, listed
from pacs2bids.vendors import physiolog

SameContent = Callable[[str, str], bool]
Reread = Callable[[str], ParsedFile]

GEOMETRY = {
    "matrix",
    "PixelSpacing",
    "ImageOrientationPatient",
}  # rules of ``stack`` that say where voxels lie
MANY_PARTS = 8


def _nobody_knows(_one: ImageRef, _other: ImageRef) -> bool:
    return False


class _Known(NamedTuple):
    """Where a SOPInstanceUID was seen first."""

    path: str
    series_instance_uid: str


class Indexer(Struct):
    """Collects the instances of one study.

    ``add`` and ``add_unreadable`` once a file, in any order; then ``finish``. ``same_content`` compares two
    files: copies of an instance are left out, but two that differ under one UID spoil their series.
    ``same_picture`` compares pixels where two planes of different UIDs lie in one place and nothing orders
    them: a copy under another UID is left out, too. ``reread`` gives the header of a file once more, for the
    few that describe a stack and were not kept for it.
    """

    study_instance_uid: str
    engine_version: str
    same_content: SameContent
    reread: Reread
    same_picture: SamePicture = _nobody_knows
    _series: dict[str, Series] = field(default_factory=dict)
    _seen: dict[str, _Known] = field(default_factory=dict)
    _hints: dict[str, str] = field(default_factory=dict)
    _clashes: dict[str, dict[str, str]] = field(default_factory=lambda: defaultdict(dict))
    _leftovers: list[Leftover] = field(default_factory=list)
    _misfits: dict[str, set[str]] = field(default_factory=dict)
    _logs: list[Physiology] = field(default_factory=list)
    _files: int = 0

    def add(self, path: str, parsed: ParsedFile) -> None:
        """Take one DICOM file; ``path`` is relative to the study's DICOM folder."""
        self._files += 1
        header = parsed.header
        sop, uid = header.text("SOPInstanceUID"), header.text("SeriesInstanceUID")
        study = header.text("StudyInstanceUID")
        if sop is None or uid is None:
            missing = "SOPInstanceUID" if sop is None else "SeriesInstanceUID"
            self._leave(path, Reason.UNREADABLE, f"has no {missing}", header)
        elif study != self.study_instance_uid:
            self._leave(path, Reason.FOREIGN, f"belongs to study {study}", header)
        elif sop in self._seen and self.same_content(path, self._seen[sop].path):
            self._leave(path, Reason.DUPLICATE, f"is a copy of {self._seen[sop].path}", header)
        elif sop in self._seen:
            known, what = self._seen[sop], "has the SOPInstanceUID of {}, but another content"
            self._leave(path, Reason.INCONSISTENT, what.format(known.path), header)
            # nothing tells which of the two is right: not the order of files, if they are of two series
            self._clashes[known.series_instance_uid].setdefault(known.path, what.format(path))
        else:
            self._seen[sop] = _Known(path, uid)
            self._take(path, parsed, uid)

    def add_unreadable(self, path: str, error: Pacs2BidsError, series_instance_uid: str | None) -> None:
        """Take a file whose header cannot be read. Its folder may tell of which series it was."""
        self._files += 1
        reason = Reason.UNREADABLE if series_instance_uid else Reason.NOT_DICOM
        if isinstance(error, NoInstanceError):
            reason, series_instance_uid = Reason.NO_IMAGE, None  # no part of the series it lies with
        leftover = Leftover(
            path=path, reason=reason, detail=error.what, series_instance_uid=series_instance_uid
        )
        self._leftovers.append(leftover)

    def _leave(self, path: str, reason: Reason, detail: str, header: Header) -> None:
        leftover = Leftover(
            path=path,
            reason=reason,
            detail=detail,
            sop_instance_uid=header.text("SOPInstanceUID"),
            series_instance_uid=header.text("SeriesInstanceUID"),
        )
        self._leftovers.append(leftover)

    def _take(self, path: str, parsed: ParsedFile, uid: str) -> None:
        header = parsed.header
        order = (header.integer("InstanceNumber") or 0, header.text("SOPInstanceUID") or "")
        series = self._series.get(uid)
        if series is None:
            series = self._series[uid] = Series(first=header, first_path=path, first_order=order)
        elif order < series.first_order:
            series.first, series.first_path, series.first_order = header, path, order
        series.files += 1
        if physiolog.is_log(header):
            self._leave(path, Reason.NO_IMAGE, "holds no image (a log of physiology)", header)
            self._logs.append(known_of(header, path, uid))
            return
        try:
            frames = frames_of(parsed, path)
        except UnusableError as error:
            self._leave(path, error.reason, error.what, header)
            if error.reason in (Reason.NO_GEOMETRY, Reason.UNSUPPORTED):
                series.unusable[path] = kind_of(header)
            return
        except HeaderError as error:
            self._leave(path, Reason.UNREADABLE, error.what, header)
            self._hints[path] = error.hint or AGAIN
            return
        if frames[0].plane.placed:
            series.kinds.add(recall(kind_of, header))
        else:
            series.unusable[path] = kind_of(header)
        series.add(frames)

    def finish(self) -> StudyIndex:
        """Split, arrange, describe. Raises ConversionError only if the count of instances does not close."""
        keys = _series_keys(self._series)
        self._misfits = {uid: _misfits(series) for uid, series in self._series.items()}
        self._leave_misfits()
        stacks: list[Stack] = []
        infos: list[SeriesInfo] = []
        damaged = self._damaged(keys)
        refused = list(damaged.values())
        received = {uid: series.files for uid, series in self._series.items()}
        joined_to, warnings = self._join(damaged)
        for uid, series in sorted(self._series.items(), key=lambda item: keys[item[0]]):
            mine: list[Stack] = []
            if uid in damaged:
                left = _left(
                    series.pieces, uid, Reason.INCONSISTENT, "another file of its series cannot be used"
                )
                clashes = self._clashes[uid]
                left = [replace(one, detail=clashes.get(one.path, one.detail)) for one in left]
            elif uid in joined_to:
                left = []
            else:
                mine, failed, left = _stacks_of(uid, keys[uid], series, self.same_picture, self.reread)
                refused += failed
            stacks += [replace(stack, warnings=(*stack.warnings, *warnings.get(uid, ()))) for stack in mine]
            self._leftovers += left
            info = series_info(uid, keys[uid], series, mine, self.study_instance_uid)
            info = replace(info, instances=received[uid], joined_to=keys.get(joined_to.get(uid, "")))
            infos.append(info)
        index = StudyIndex(
            engine_version=self.engine_version,
            study_instance_uid=self.study_instance_uid,
            instances=self._files,
            series=tuple(sorted(infos, key=lambda info: (info.acquired or "9999", info.series_key))),
            stacks=tuple(stacks),
            leftovers=tuple(sorted(self._leftovers, key=lambda leftover: leftover.path)),
            refused=tuple(refused),
            physiology=_numbered(self._logs, keys),
        )
        _require_closed(index)
        return index

    def _leave_misfits(self) -> None:
        """Pictures without a place among others of their kind that have one: no stack of their own."""
        for uid, series in self._series.items():
            misfits = self._misfits[uid]
            for key, part in list(series.parts.items()):
                if not part.template.plane.placed and any(
                    piece.image.path in misfits for piece in part.pieces
                ):
                    what = "has no ImagePositionPatient, which others of its kind have"
                    self._leftovers += _left(part.pieces, uid, Reason.NO_GEOMETRY, what)
                    del series.parts[key]

    def _join(self, damaged: Collection[str]) -> tuple[dict[str, str], dict[str, list[str]]]:
        """Join series that are one scan to the first of them.

        Returns UID -> UID of the series it is joined to, and warnings for the stacks of a series.
        """
        found = scans({uid: one for uid, one in self._series.items() if uid not in damaged})
        joined_to: dict[str, str] = {}
        warnings: dict[str, list[str]] = defaultdict(list)
        for uid, warning in (*found.doubts.items(), *found.short.items()):
            warnings[uid].append(warning)
        for first, *others in found.joined:
            members = [self._series[uid] for uid in (first, *others)]
            self._series[first] = join([first, *others], members)
            joined_to |= dict.fromkeys(others, first)
        return joined_to, warnings

    def _damaged(self, keys: dict[str, str]) -> dict[str, FailedStack]:
        """Series with a file that cannot be used: what they give may lack a slice, so they are refused.

        A picture without place in the patient counts only beside others of its kind that have one: a series
        of screen shots is no volume that lacks slices.
        """
        files: dict[str, list[Leftover]] = defaultdict(list)
        for uid, clashes in self._clashes.items():
            files[uid] += [
                Leftover(path=path, reason=Reason.INCONSISTENT, detail=detail)
                for path, detail in clashes.items()
            ]
        for leftover in self._leftovers:
            uid = leftover.series_instance_uid or ""
            spoilt = leftover.reason in (Reason.UNREADABLE, Reason.INCONSISTENT)
            if spoilt or leftover.path in self._misfits.get(uid, ()):
                files[uid].append(leftover)
        damaged = {}
        for uid, leftovers in sorted(files.items()):
            told = listed([f"{one.path}: {one.detail}" for one in leftovers], 1, separator="; ")
            hint = self._hints.get(leftovers[0].path, AGAIN)
            error = f"{told}. {hint}"
            damaged[uid] = FailedStack(stack_id=keys.get(uid, uid or "unknown"), error=error)
        return damaged


def _misfits(series: Series) -> set[str]:
    """Pictures that could not be used although others of their kind could."""
    return {path for path, kind in series.unusable.items() if kind in series.kinds}


def _require_closed(index: StudyIndex) -> None:
    stacked = {sop for stack in index.stacks for sop in stack.sop_instance_uids}
    if len(stacked) + len(index.leftovers) != index.instances:
        what = (
            f"{index.instances} instances came, {len(stacked)} are in stacks and {len(index.leftovers)} are "
            "left over: the count does not close"
        )
        where, hint = f"study {index.study_instance_uid}", "This is a defect of pacs2bids; report it"
        raise ConversionError(what, where=where, hint=hint)


def _series_keys(series: dict[str, Series]) -> dict[str, str]:
    """Short names: the SeriesNumber, with a letter where several series share it."""
    numbers = {uid: one.first.integer("SeriesNumber") or 0 for uid, one in series.items()}
    counts, keys = Counter(numbers.values()), {}
    given: Counter[int] = Counter()
    for uid in sorted(numbers):
        number = numbers[uid]
        letter = _letters(given[number]) if counts[number] > 1 else ""
        given[number] += 1
        keys[uid] = f"{number:03d}{letter}"
    return keys


def _numbered(logs: Iterable[Physiology], keys: dict[str, str]) -> tuple[Physiology, ...]:
    """With their ids, in the order of series and paths."""
    counts: Counter[str] = Counter()
    found = []
    for log in sorted(logs, key=lambda log: (keys[log.series_instance_uid], log.path)):
        key = keys[log.series_instance_uid]
        counts[key] += 1
        found.append(replace(log, log_id=f"{key}-physio{counts[key]}"))
    return tuple(found)


def _letters(number: int) -> str:
    """a, b, ... z, aa, ab, ..."""
    letters = ""
    number += 1
    while number:
        number, rest = divmod(number - 1, 26)
        letters = chr(ord("a") + rest) + letters
    return letters


# ---------------------------------------------------------------------------------------------- stacks


def _stacks_of(
    uid: str, series_key: str, series: Series, same_picture: SamePicture, reread: Reread
) -> tuple[list[Stack], list[FailedStack], list[Leftover]]:
    stacks: list[Stack] = []
    failed: list[FailedStack] = []
    left: list[tuple[Iterable[Piece], Reason, str]] = []
    merged = sorted(_merged_parts(series), key=_part_order)
    parts = [one for part in merged for one in _arranged(part, same_picture, reread)]
    placed = [part.template.plane for part in merged if part.template.plane.placed]
    is_localizer = len({orientation_name(plane) for plane in placed}) > 1
    torn = _torn([part for part, _ in parts])
    for number, (part, arrangement) in enumerate(parts, start=1):
        stack_id = f"{series_key}-{number}"
        if isinstance(arrangement, ConversionError) and not part.template.plane.placed:
            left.append((part.pieces, Reason.NO_GEOMETRY, arrangement.what))
            continue
        if isinstance(arrangement, ConversionError):
            where = f"series {series_key} ({uid}), {len(part.pieces)} planes"
            failed.append(FailedStack(stack_id=stack_id, error=f"{where}: {arrangement}"))
            left.append((part.pieces, Reason.INCONSISTENT, arrangement.what))
            continue
        stack = stack_of(stack_id, uid, part, arrangement, is_localizer=is_localizer)
        if number - 1 in torn:
            stack = replace(stack, warnings=(*stack.warnings, torn[number - 1]))
        stacks.append(stack)
        left.append((arrangement.incomplete, Reason.INCOMPLETE, "its volume lacks slices"))
        left.append((part.copies, Reason.DUPLICATE, "shows the same as another instance, in the same place"))
    stacked = {sop for stack in stacks for sop in stack.sop_instance_uids}
    rest: dict[str, Leftover] = {}
    for pieces, reason, detail in left:
        for leftover in _left(pieces, uid, reason, detail):
            sop = leftover.sop_instance_uid or ""
            if sop not in stacked:
                owner = series.owners.get(sop, uid)
                rest.setdefault(leftover.path, replace(leftover, series_instance_uid=owner))
    return stacks, failed, list(rest.values())


def _arranged(
    part: Part, same_picture: SamePicture, reread: Reread
) -> list[tuple[Part, Arrangement | ConversionError]]:
    """The volumes of a part, one a run where its slices lie at uneven distances; or why there are none."""
    spacing = _slice_spacing(part.template)
    try:
        return [(part, arrange(part.pieces, spacing))]
    except UnevenError as error:
        return _uneven(part, spacing, error, reread)
    except ConversionError as error:
        kept, copies = without_copies(part.pieces, same_picture)
        if copies:
            return _arranged(replace(part, pieces=kept, copies=copies), same_picture, reread)
        return [(part, error)]


def _uneven(
    part: Part, spacing: float | None, refused: UnevenError, reread: Reread
) -> list[tuple[Part, Arrangement | ConversionError]]:
    """Slices at uneven distances as one volume for each even run, if that is an answer; else why not."""
    runs = even_runs(part.pieces)
    parts = [replace(part, first=min(run, key=sequence), pieces=run) for run in runs]
    try:
        arranged = [(one, arrange(one.pieces, spacing)) for one in parts]
    except ConversionError:
        arranged = []
    for number, (one, arrangement) in enumerate(arranged, start=1):
        if one.first is not None and one.first is not part.first:  # its slices may be of another thickness
            one.template = _frame_of(one.first, reread)
        count, step = len(arrangement.grid[0]), float(np.linalg.norm(arrangement.slice_step_lps))
        one.warning = (
            f"slices lie on no one even grid: this is stretch {number} of {len(runs)}, "
            f"{count} slices {step:.4g} mm apart"
        )
    return [*arranged] or [(part, refused)]


def _frame_of(piece: Piece, reread: Reread) -> Frame:
    path, place = piece.image.path, (piece.image.frame, piece.tile)
    frames = frames_of(reread(path), path)
    return next(frame for frame in frames if (frame.image.frame, frame.tile) == place)


def _merged_parts(series: Series) -> list[Part]:
    """Parts whose keys differ by less than the tolerances become one.

    So do unweighted and trace-weighted planes of a series that has no plane with a direction: there the
    weighting alone tells volumes apart. Beside directions, a trace is a map that was appended.
    """
    alike: dict[Key, list[Part]] = defaultdict(list)
    directed = {without_direction(key) for key, part in series.parts.items() if _has_directions(part)}
    for key, part in series.parts.items():
        plain = without_direction(key)
        alike[key if plain in directed else plain].append(part)
    parts = []
    for keys in merged(alike):
        mine = [part for key in keys for part in alike[key]]
        first = min(mine, key=lambda part: min(sequence(piece) for piece in part.pieces))
        pieces = [piece for part in mine for piece in part.pieces]
        parts.append(Part(template=first.template, first=first.first, pieces=pieces))
    return parts


def _has_directions(part: Part) -> bool:
    return any(piece.b_value_s_per_mm2 and piece.b_vector_lps for piece in part.pieces)


def _torn(parts: list[Part]) -> dict[int, str]:
    """Warnings for parts (by place in the list) that together would fill one volume.

    One slice with an odd header would leave two volumes, each even by itself, with twice the spacing.
    """
    warnings = {}
    single = [n for n, part in enumerate(parts) if not part.warning and _has_no_place_twice(part)]
    for one, other in permutations(single if len(single) <= MANY_PARTS else (), 2):
        rules = differing(split_key(parts[one].template), split_key(parts[other].template))
        pieces = [*parts[one].pieces, *parts[other].pieces]
        if not GEOMETRY & set(rules) and _is_one_volume(pieces):
            warnings[one] = f"may be one volume with stack {other + 1}: only {', '.join(rules)} differ"
    return warnings


def _has_no_place_twice(part: Part) -> bool:
    """Whether a part is one volume of planes in the patient."""
    if not part.template.plane.placed:
        return False
    return len({piece.plane.position_lps for piece in part.pieces}) == len(part.pieces)


def _is_one_volume(pieces: list[Piece]) -> bool:
    try:
        return len(arrange(pieces, None).grid) == 1
    except ConversionError:
        return False


def _left(pieces: Iterable[Piece], uid: str, reason: Reason, detail: str) -> list[Leftover]:
    """One leftover an instance, whatever the number of its planes."""
    instances = {piece.sop_instance_uid: piece for piece in pieces}
    return [
        Leftover(
            path=piece.image.path,
            reason=reason,
            detail=detail,
            sop_instance_uid=piece.sop_instance_uid,
            series_instance_uid=uid,
        )
        for piece in instances.values()
    ]


def _part_order(part: Part) -> tuple[object, ...]:
    first = min(sequence(piece) for piece in part.pieces)
    return (first[:3], echo_time_s(part.template.header) or 0.0, repr(split_key(part.template)))


def _slice_spacing(template: Frame) -> float | None:
    return template.header.number("SpacingBetweenSlices") or template.header.number("SliceThickness")
