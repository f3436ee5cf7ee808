"""Instances to a study index: every instance ends in a stack or among the leftovers, and the count closes.

``Indexer`` takes one parsed file after another and lets its header go at once, except for one template a
stack; so memory grows with less than a kilobyte a plane, not with the headers.
"""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field, replace
from itertools import permutations

from pacs2bids import timing
from pacs2bids.frames import Frame, UnusableError, frames_of
from pacs2bids.geometry import grid_affine_ras, is_sheared, orientation_name, phase_encoding_direction
from pacs2bids.header import Header, ParsedFile, recall
from pacs2bids.model import (
    ConversionError,
    FailedStack,
    Gradients,
    HeaderError,
    ImageRef,
    Json,
    Leftover,
    Pacs2BidsError,
    Placement,
    Reason,
    SeriesInfo,
    Stack,
    StackFacts,
    StudyIndex,
)
from pacs2bids.sidecar import sidecar
from pacs2bids.stack import (
    Arrangement,
    Key,
    Piece,
    arrange,
    differing,
    echo_time_ms,
    image_type,
    iso_date_time,
    merged,
    piece_of,
    sequence,
    split_key,
)

SameContent = Callable[[str, str], bool]

GEOMETRY = {
    "matrix",
    "PixelSpacing",
    "ImageOrientationPatient",
}  # rules of ``stack`` that say where voxels lie
MANY_PARTS = 8
AGAIN = "If the source has it whole: remove the study's folder and run again"


@dataclass(slots=True)
class _Part:
    """Frames with one split key: their pieces, and the frame that comes first as the template."""

    template: Frame
    first: Piece | None = None
    pieces: list[Piece] = field(default_factory=list)

    def add(self, frame: Frame) -> None:
        piece = piece_of(frame)
        if self.first is None or sequence(piece) < sequence(self.first):
            self.template, self.first = frame, piece
        self.pieces.append(piece)


@dataclass(slots=True)
class _Series:
    """What is collected of one SeriesInstanceUID."""

    first: Header
    first_path: str
    first_order: tuple[int, str]
    files: int = 0
    pictures: int = 0
    parts: dict[Key, _Part] = field(default_factory=dict)
    kinds: set[tuple[str | None, ...]] = field(default_factory=set)
    unusable: dict[str, tuple[str | None, ...]] = field(default_factory=dict)


@dataclass(slots=True)
class Indexer:
    """Collects the instances of one study.

    ``add`` and ``add_unreadable`` once a file, in any order; then ``finish``. ``same_content`` compares two
    files: copies of an instance are left out, but two that differ under one UID spoil their series.
    """

    study_instance_uid: str
    engine_version: str
    same_content: SameContent
    _series: dict[str, _Series] = field(default_factory=dict)
    _seen: dict[str, str] = field(default_factory=dict)
    _leftovers: list[Leftover] = field(default_factory=list)
    _misfits: dict[str, set[str]] = field(default_factory=dict)
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
        elif sop in self._seen and self.same_content(path, self._seen[sop]):
            self._leave(path, Reason.DUPLICATE, f"is a copy of {self._seen[sop]}", header)
        elif sop in self._seen:
            what = f"has the SOPInstanceUID of {self._seen[sop]}, but another content"
            self._leave(path, Reason.INCONSISTENT, what, header)
        else:
            self._seen[sop] = path
            self._take(path, parsed, uid)

    def add_unreadable(self, path: str, error: Pacs2BidsError, series_instance_uid: str | None) -> None:
        """Take a file whose header cannot be read. Its folder may tell of which series it was."""
        self._files += 1
        leftover = Leftover(
            path=path,
            reason=Reason.UNREADABLE if series_instance_uid else Reason.NOT_DICOM,
            detail=error.what,
            series_instance_uid=series_instance_uid,
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
            series = self._series[uid] = _Series(first=header, first_path=path, first_order=order)
        elif order < series.first_order:
            series.first, series.first_path, series.first_order = header, path, order
        series.files += 1
        try:
            frames = frames_of(parsed, path)
        except UnusableError as error:
            self._leave(path, error.reason, error.what, header)
            if error.reason in (Reason.NO_GEOMETRY, Reason.UNSUPPORTED):
                series.unusable[path] = _kind(header)
            return
        except HeaderError as error:
            self._leave(path, Reason.UNREADABLE, error.what, header)
            return
        series.pictures += 1
        series.kinds.add(recall(_kind, header))
        for frame in frames:
            key = split_key(frame)
            part = series.parts.get(key)
            if part is None:
                part = series.parts[key] = _Part(template=frame)
            part.add(frame)

    def finish(self) -> StudyIndex:
        """Split, arrange, describe. Raises ConversionError only if the count of instances does not close."""
        keys = _series_keys(self._series)
        self._misfits = {uid: _misfits(series) for uid, series in self._series.items()}
        stacks: list[Stack] = []
        infos: list[SeriesInfo] = []
        damaged = self._damaged(keys)
        refused = list(damaged.values())
        for uid, series in sorted(self._series.items(), key=lambda item: keys[item[0]]):
            if uid in damaged:
                pieces = [piece for part in series.parts.values() for piece in part.pieces]
                left = _left(pieces, uid, Reason.INCONSISTENT, "another file of its series cannot be read")
                mine: list[Stack] = []
            else:
                mine, failed, left = _stacks_of(uid, keys[uid], series)
                refused += failed
            stacks += mine
            self._leftovers += left
            infos.append(_series_info(uid, keys[uid], series, mine, self.study_instance_uid))
        index = StudyIndex(
            engine_version=self.engine_version,
            study_instance_uid=self.study_instance_uid,
            instances=self._files,
            series=tuple(sorted(infos, key=lambda info: (info.acquired or "9999", info.series_key))),
            stacks=tuple(stacks),
            leftovers=tuple(sorted(self._leftovers, key=lambda leftover: leftover.path)),
            refused=tuple(refused),
        )
        _require_closed(index)
        return index

    def _damaged(self, keys: dict[str, str]) -> dict[str, FailedStack]:
        """Series with a file that cannot be used: what they give may lack a slice, so they are refused.

        A picture without place in the patient counts only beside others of its kind that have one: a series
        of screen shots is no volume that lacks slices.
        """
        files: dict[str, list[Leftover]] = defaultdict(list)
        for leftover in self._leftovers:
            uid = leftover.series_instance_uid or ""
            spoilt = leftover.reason in (Reason.UNREADABLE, Reason.INCONSISTENT)
            if spoilt or leftover.path in self._misfits.get(uid, ()):
                files[uid].append(leftover)
        damaged = {}
        for uid, leftovers in sorted(files.items()):
            more = f", and {len(leftovers) - 1} more files" if len(leftovers) > 1 else ""
            error = f"{leftovers[0].path}: {leftovers[0].detail}{more}. {AGAIN}"
            damaged[uid] = FailedStack(stack_id=keys.get(uid, uid or "unknown"), error=error)
        return damaged


def _kind(header: Header) -> tuple[str | None, ...]:
    """What pictures of one scan share: the SOP class and the first words of ImageType."""
    return (header.text("SOPClassUID"), *header.texts("ImageType")[:3])


def _misfits(series: _Series) -> set[str]:
    """Pictures that could not be used although others of their kind could."""
    return {path for path, kind in series.unusable.items() if kind in series.kinds}


def _require_closed(index: StudyIndex) -> None:
    stacked = {sop for stack in index.stacks for sop in stack.sop_instance_uids}
    if len(stacked) + len(index.leftovers) != index.instances:
        what = (
            f"{index.instances} instances came, {len(stacked)} are in stacks and {len(index.leftovers)} are "
            "left over: the count does not close"
        )
        raise ConversionError(what, where=f"study {index.study_instance_uid}")


def _series_keys(series: dict[str, _Series]) -> dict[str, str]:
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
    uid: str, series_key: str, series: _Series
) -> tuple[list[Stack], list[FailedStack], list[Leftover]]:
    stacks: list[Stack] = []
    failed: list[FailedStack] = []
    left: list[tuple[Iterable[Piece], Reason, str]] = []
    parts = sorted(_merged_parts(series), key=_part_order)
    orientations = {orientation_name(part.template.plane) for part in parts}
    torn = _torn(parts)
    for number, part in enumerate(parts, start=1):
        stack_id = f"{series_key}-{number}"
        try:
            arrangement = arrange(part.pieces, _slice_spacing(part.template))
        except ConversionError as error:
            where = f"series {series_key} ({uid}), {len(part.pieces)} planes"
            failed.append(FailedStack(stack_id=stack_id, error=f"{where}: {error}"))
            left.append((part.pieces, Reason.INCONSISTENT, error.what))
            continue
        stack = _stack(stack_id, uid, part, arrangement, is_localizer=len(orientations) > 1)
        if number - 1 in torn:
            stack = replace(stack, warnings=(*stack.warnings, torn[number - 1]))
        stacks.append(stack)
        left.append((arrangement.incomplete, Reason.INCOMPLETE, "its volume lacks slices"))
    stacked = {sop for stack in stacks for sop in stack.sop_instance_uids}
    rest: dict[str, Leftover] = {}
    for pieces, reason, detail in left:
        for leftover in _left(pieces, uid, reason, detail):
            if leftover.sop_instance_uid not in stacked:
                rest.setdefault(leftover.path, leftover)
    return stacks, failed, list(rest.values())


def _merged_parts(series: _Series) -> list[_Part]:
    """Parts whose keys differ by less than the tolerances become one."""
    parts = []
    for keys in merged(series.parts):
        mine = [series.parts[key] for key in keys]
        first = min(mine, key=lambda part: min(sequence(piece) for piece in part.pieces))
        pieces = [piece for part in mine for piece in part.pieces]
        parts.append(_Part(template=first.template, first=first.first, pieces=pieces))
    return parts


def _torn(parts: list[_Part]) -> dict[int, str]:
    """Warnings for parts (by place in the list) that together would fill one volume.

    One slice with an odd header would leave two volumes, each even by itself, with twice the spacing.
    """
    warnings = {}
    single = [n for n, part in enumerate(parts) if _has_no_place_twice(part)]
    for one, other in permutations(single if len(single) <= MANY_PARTS else (), 2):
        rules = differing(split_key(parts[one].template), split_key(parts[other].template))
        pieces = [*parts[one].pieces, *parts[other].pieces]
        if not GEOMETRY & set(rules) and _is_one_volume(pieces):
            warnings[one] = f"may be one volume with stack {other + 1}: only {', '.join(rules)} differ"
    return warnings


def _has_no_place_twice(part: _Part) -> bool:
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


def _part_order(part: _Part) -> tuple[object, ...]:
    first = min(sequence(piece) for piece in part.pieces)
    return (first[:3], _echo_time_s(part.template.header) or 0.0, repr(split_key(part.template)))


def _slice_spacing(template: Frame) -> float | None:
    return template.header.number("SpacingBetweenSlices") or template.header.number("SliceThickness")


def _echo_time_s(header: Header) -> float | None:
    time_ms = echo_time_ms(header)
    return None if time_ms is None else time_ms / 1000


def _stack(stack_id: str, uid: str, part: _Part, arrangement: Arrangement, *, is_localizer: bool) -> Stack:
    grid, first = arrangement.grid, arrangement.grid[0][0]
    affine = grid_affine_ras(first.plane, arrangement.slice_step_lps)
    images = {piece.image: piece for volume in grid for piece in volume}
    # colours are what they are: a rescale is defined for one sample a pixel (PS3.3 C.11.1)
    colour = first.image.samples_per_pixel > 1
    rescale = tuple((1.0, 0.0) if colour else piece.rescale for piece in images.values())
    repetition_time_s = timing.repetition_time_s(part.template, arrangement)
    fields = _fields(part, arrangement, repetition_time_s)
    count = len(arrangement.incomplete)
    warning = (f"{count} planes of incomplete volumes left out",) if count else ()
    return Stack(
        stack_id=stack_id,
        series_instance_uid=uid,
        sop_instance_uids=tuple(piece.sop_instance_uid for piece in images.values()),
        shape=(first.plane.columns, first.plane.rows, len(grid[0]), len(grid)),
        affine_ras=tuple(tuple(float(value) for value in row) for row in affine),  # type: ignore[misc]
        repetition_time_s=repetition_time_s,
        images=tuple(images),
        placement=_placement(arrangement, list(images)),
        rescale=rescale[:1] if len(set(rescale)) == 1 else rescale,
        gradients=_gradients(grid),
        facts=_facts(
            part.template, grid, fields, repetition_time_s=repetition_time_s, is_localizer=is_localizer
        ),
        sidecar=fields,
        shear=is_sheared(affine),
        warnings=warning,
    )


def _placement(arrangement: Arrangement, images: list[ImageRef]) -> Placement:
    numbers = {image: number for number, image in enumerate(images)}
    cells = [
        (numbers[piece.image], piece.tile_row, piece.tile_column, slice_, volume)
        for volume, planes in enumerate(arrangement.grid)
        for slice_, piece in enumerate(planes)
    ]
    image, tile_row, tile_column, slices, volumes = zip(*cells, strict=True)
    return Placement(image=image, tile_row=tile_row, tile_column=tile_column, slice=slices, volume=volumes)


def _gradients(grid: tuple[tuple[Piece, ...], ...]) -> Gradients | None:
    """Weighting of each volume; None unless some volume has a direction (a trace or ADC map has none).

    Volumes without any diffusion element in such a series are unweighted (corpus toshiba).
    """
    b_values = [volume[0].b_value_s_per_mm2 for volume in grid]
    b_vectors = [volume[0].b_vector_lps for volume in grid]
    weighted = any(b and vector for b, vector in zip(b_values, b_vectors, strict=True))
    if not weighted:
        return None
    return Gradients(
        b_values_s_per_mm2=tuple(b or 0.0 for b in b_values),
        b_vectors_lps=tuple(vector or (0.0, 0.0, 0.0) for vector in b_vectors),
    )


def _fields(part: _Part, arrangement: Arrangement, repetition_time_s: float | None) -> dict[str, Json]:
    """The sidecar: the table's fields, and those that only a whole stack can tell."""
    facts, plane = part.template.facts, part.template.plane
    fields = sidecar(
        part.template.header,
        facts,
        matrix=(plane.rows, plane.columns),
        repetition_time_s=repetition_time_s,
    )
    if facts.phase_encoding is not None and facts.phase_encoding_positive is not None:
        fields["PhaseEncodingDirection"] = phase_encoding_direction(
            facts.phase_encoding, positive=facts.phase_encoding_positive
        )
    elif facts.phase_encoding is not None:
        fields["PhaseEncodingAxis"] = phase_encoding_direction(facts.phase_encoding, positive=True)[0]
    times = timing.slice_times_s(part.template, arrangement, repetition_time_s)
    if times:
        # DICOM times have six decimals (PS3.5 section 6.2); the rest is what a float of the clock cannot hold
        fields["SliceTiming"] = [round(time, 6) for time in times]
    return fields


def _facts(
    template: Frame,
    grid: tuple[tuple[Piece, ...], ...],
    fields: dict[str, Json],
    *,
    repetition_time_s: float | None,
    is_localizer: bool,
) -> StackFacts:
    header, facts = template.header, template.facts
    kinds = image_type(header)
    inversion_time_ms = header.number("InversionTime") or header.number("InversionTimes")
    direction = fields.get("PhaseEncodingDirection")
    return StackFacts(
        acquired=min(piece.acquired for volume in grid for piece in volume) or None,
        image_type=kinds,
        component=facts.component,
        echo_number=header.integer("EchoNumbers"),
        echo_time_s=_echo_time_s(header),
        repetition_time_s=repetition_time_s,
        inversion_time_s=inversion_time_ms / 1000 if inversion_time_ms else None,
        flip_angle_deg=header.number("FlipAngle"),
        phase_encoding_direction=direction if isinstance(direction, str) else None,
        is_derived=any("derived" in value.lower() for value in kinds),
        is_diffusion=any(volume[0].b_value_s_per_mm2 for volume in grid),
        is_diffusion_map=facts.is_diffusion_map,
        is_localizer=is_localizer,
        orientation=orientation_name(template.plane),
    )


# ---------------------------------------------------------------------------------------------- series


def _series_info(
    uid: str, series_key: str, series: _Series, stacks: list[Stack], study_instance_uid: str
) -> SeriesInfo:
    header = series.first
    acquired = [stack.facts.acquired for stack in stacks if stack.facts.acquired]
    kinds = header.texts("ImageType")
    text = header.text
    repetition_time_ms = header.number("RepetitionTime")
    return SeriesInfo(
        series_key=series_key,
        study_instance_uid=study_instance_uid,
        series_instance_uid=uid,
        series_number=header.integer("SeriesNumber"),
        modality=text("Modality"),
        acquired=min(acquired) if acquired else _object_time(header),
        instances=series.files,
        stack_ids=tuple(stack.stack_id for stack in stacks),
        example_path=series.first_path,
        dims=_dims(series),
        series_files=series.pictures or series.files,
        series_description=text("SeriesDescription") or "",
        protocol_name=text("ProtocolName") or "",
        sequence_name=text("SequenceName") or _sequence_name(series) or text("PulseSequenceName") or "",
        study_description=text("StudyDescription") or "",
        referring_physician_name=text("ReferringPhysicianName") or "",
        accession_number=text("AccessionNumber") or "",
        patient_id=text("PatientID") or "",
        patient_age=text("PatientAge"),
        patient_sex=text("PatientSex"),
        image_type=kinds,
        is_motion_corrected="MOCO" in kinds,
        is_derived=any("derived" in value.lower() for value in kinds),
        repetition_time_s=None if repetition_time_ms is None else repetition_time_ms / 1000,
        echo_time_ms=header.number("EchoTime"),
        date=text("AcquisitionDate") or (text("AcquisitionDateTime") or "")[:8] or None,
        time=text("AcquisitionTime") or (text("AcquisitionDateTime") or "")[8:21] or None,
        manufacturer=text("Manufacturer"),
        model_name=text("ManufacturerModelName"),
    )


def _sequence_name(series: _Series) -> str | None:
    """What the vendor keeps in a private element instead of SequenceName (GE)."""
    template = next(iter(series.parts.values())).template if series.parts else None
    name = template.facts.extra.get("SequenceName") if template else None
    return name if isinstance(name, str) else None


def _object_time(header: Header) -> str | None:
    date = header.text("ContentDate") or header.text("SeriesDate") or header.text("StudyDate")
    time = header.text("ContentTime") or header.text("SeriesTime") or header.text("StudyTime")
    return iso_date_time(f"{date or ''}{time or ''}") or None


def _dims(series: _Series) -> tuple[int, int, int, int]:
    """Matrix as heudiconv counts it: nibabel's image_shape of one file, then the number of files."""
    header = series.first
    rows, columns = header.integer("Rows") or 1, header.integer("Columns") or 1
    template = next(iter(series.parts.values())).template if series.parts else None
    if template is not None and template.facts.mosaic is not None:
        return (template.plane.rows, template.plane.columns, template.facts.mosaic.slices, series.files)
    frames = header.integer("NumberOfFrames") or 1
    if frames > 1:
        places = len({piece.plane.position_lps for part in series.parts.values() for piece in part.pieces})
        volumes = frames * series.pictures // max(places, 1)
        return (rows, columns, max(places, 1), max(volumes, 1))
    return (rows, columns, series.files, 1)
