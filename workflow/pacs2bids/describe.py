"""Arranged planes to records: what a stack's volume file holds, and a series as a heuristic sees it."""

from __future__ import annotations

import re
from collections.abc import Iterator

import numpy as np

from pacs2bids import timing
from pacs2bids.frames import Frame
from pacs2bids.geometry import (
    Floats,
    grid_affine_ras,
    is_sheared,
    orientation_name,
    phase_encoding_direction,
    unplaced_affine_ras,
)
from pacs2bids.header import Header
from pacs2bids.model import Gradients, ImageRef, Json, Placement, SeriesInfo, Stack, StackFacts
from pacs2bids.series import Part, Series
from pacs2bids.sidecar import held_back, of_volumes, sidecar, values_of
from pacs2bids.splitting import echo_time_ms, image_type
from pacs2bids.stack import Arrangement, Piece, iso_date_time

SECONDARY_CAPTURE = "1.2.840.10008.5.1.4.1.1.7"  # PS3.4 B.5; with .1 to .4, its multi-frame forms
SHOWN = 5  # of values in a warning

_DATE_TIME = re.compile(r"(\d{8})(\d{6})(?:\.(\d{1,6}))?")  # PS3.5 6.2, DT


def echo_time_s(header: Header) -> float | None:
    """Echo time of a frame in either form."""
    time_ms = echo_time_ms(header)
    return None if time_ms is None else time_ms / 1000


def stack_of(stack_id: str, uid: str, part: Part, arrangement: Arrangement, *, is_localizer: bool) -> Stack:
    """The record of an arranged part. ``is_localizer``: its series has several orientations."""
    grid, first = arrangement.grid, arrangement.grid[0][0]
    affine = _affine_ras(arrangement)
    images = {piece.image: piece for volume in grid for piece in volume}
    # colours are what they are: a rescale is defined for one sample a pixel (PS3.3 C.11.1)
    colour = first.image.is_colour
    rescale = _once([(1.0, 0.0) if colour else piece.rescale for piece in images.values()])
    display = _once([(1.0, 0.0) if colour else piece.display_rescale for piece in images.values()])
    repetition_time_s = _repetition_time_s(part, arrangement)
    fields = _fields(part, arrangement, repetition_time_s)
    placed = first.plane.placed
    return Stack(
        stack_id=stack_id,
        series_instance_uid=uid,
        sop_instance_uids=tuple(piece.sop_instance_uid for piece in images.values()),
        shape=(first.plane.columns, first.plane.rows, len(grid[0]), len(grid)),
        affine_ras=tuple(tuple(float(value) for value in row) for row in affine),  # type: ignore[misc]
        repetition_time_s=repetition_time_s,
        images=tuple(images),
        placement=_placement(arrangement, list(images)),
        rescale=rescale,
        display_rescale=None if display == rescale else display,
        gradients=_gradients(grid),
        facts=_facts(
            part.template,
            arrangement,
            fields,
            repetition_time_s=repetition_time_s,
            is_localizer=is_localizer,
        ),
        sidecar=fields,
        held_back=held_back(part.template.header),
        shear=is_sheared(affine),
        placed=placed,
        warnings=_stack_warnings(part, arrangement, repetition_time_s),
    )


def _repetition_time_s(part: Part, arrangement: Arrangement) -> float | None:
    """Time from volume to volume; None if the header has several."""
    if len(values_of("RepetitionTime", _per_volume(arrangement))) > 1:
        return None
    return timing.repetition_time_s(part.template, arrangement)


def _per_volume(arrangement: Arrangement) -> list[list[tuple[Json, ...]]]:
    return [[piece.per_volume for piece in volume] for volume in arrangement.grid]


def _once(rescale: list[tuple[float, float]]) -> tuple[tuple[float, float], ...]:
    """One entry a picture; a single one where all are the same."""
    return tuple(rescale[:1] if len(set(rescale)) == 1 else rescale)


def _affine_ras(arrangement: Arrangement) -> Floats:
    plane, step = arrangement.grid[0][0].plane, arrangement.slice_step_lps
    if plane.placed:
        return grid_affine_ras(plane, step)
    return unplaced_affine_ras(plane, len(arrangement.grid[0]), float(np.linalg.norm(step)))


def _stack_warnings(part: Part, arrangement: Arrangement, repetition_time_s: float | None) -> tuple[str, ...]:
    found = [part.warning] if part.warning else []
    found += _time_warnings(part, arrangement, repetition_time_s)
    if arrangement.incomplete:
        found.append(f"{len(arrangement.incomplete)} planes of incomplete volumes left out")
    if arrangement.gaps:
        found.append(f"{arrangement.gaps} of these volumes lie within the run: later ones come too early")
    if part.template.plane.placed and is_sheared(_affine_ras(arrangement)):
        found.append(
            "the gantry was tilted: the grid is sheared (sform alone), which not all tools can show; "
            "`pacs2bids convert --unshear` writes a resampled one, too"
        )
    if not part.template.plane.placed:
        found.append(
            "has no place in the patient: the pictures are captures without position and orientation"
        )
    return tuple(found)


def _time_warnings(part: Part, arrangement: Arrangement, repetition_time_s: float | None) -> Iterator[str]:
    times_s = values_of("RepetitionTime", _per_volume(arrangement))
    if len(times_s) > 1:
        some = ", ".join("none" if time is None else f"{time:g} s" for time in times_s[:SHOWN])
        more = ", ..." if len(times_s) > SHOWN else ""
        yield f"RepetitionTime is not the same throughout ({some}{more}): it is left out"
    pause = timing.pause(arrangement, repetition_time_s)
    if pause:
        yield pause
    vendor_s, volumes = part.template.facts.repetition_time_s, len(arrangement.grid)
    if repetition_time_s is not None and vendor_s is None and volumes > 1:
        yield (
            "by its protocol the scanner waited for different times between the volumes: "
            f"RepetitionTime ({repetition_time_s:g} s) is without these"
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
    """Weighting of each volume; None unless one has a direction, or weightings differ (b = 0 and trace).

    A volume without a direction has (0, 0, 0). Volumes without any diffusion element in such a series are
    unweighted (corpus toshiba).
    """
    b_values = [volume[0].b_value_s_per_mm2 for volume in grid]
    b_vectors = [volume[0].b_vector_lps for volume in grid]
    directed = any(b and vector for b, vector in zip(b_values, b_vectors, strict=True))
    if not directed and len({b or 0.0 for b in b_values}) == 1:
        return None
    return Gradients(
        b_values_s_per_mm2=tuple(b or 0.0 for b in b_values),
        b_vectors_lps=tuple(vector or (0.0, 0.0, 0.0) for vector in b_vectors),
    )


def _fields(part: Part, arrangement: Arrangement, repetition_time_s: float | None) -> dict[str, Json]:
    """The sidecar: the table's fields, and those that only a whole stack can tell."""
    facts, plane = part.template.facts, part.template.plane
    fields = sidecar(
        part.template.header,
        facts,
        matrix=(plane.rows, plane.columns),
        repetition_time_s=repetition_time_s,
    )
    fields |= of_volumes(_per_volume(arrangement))
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
    return {name: value for name, value in fields.items() if value is not None}


def _facts(
    template: Frame,
    arrangement: Arrangement,
    fields: dict[str, Json],
    *,
    repetition_time_s: float | None,
    is_localizer: bool,
) -> StackFacts:
    header, facts, grid = template.header, template.facts, arrangement.grid
    kinds = image_type(header)
    inversion_time_ms = header.number("InversionTime") or header.number("InversionTimes")
    direction = fields.get("PhaseEncodingDirection")
    is_derived = any("derived" in value.lower() for value in kinds)
    return StackFacts(
        acquired=min(piece.acquired for volume in grid for piece in volume) or None,
        image_type=kinds,
        component=facts.component,
        content=facts.content,
        echo_number=header.integer("EchoNumbers"),
        echo_time_s=echo_time_s(header),
        repetition_time_s=repetition_time_s,
        inversion_time_s=inversion_time_ms / 1000 if inversion_time_ms else None,
        flip_angle_deg=header.number("FlipAngle"),
        phase_encoding_direction=direction if isinstance(direction, str) else None,
        is_derived=is_derived,
        is_diffusion=any(volume[0].b_value_s_per_mm2 for volume in grid),
        is_diffusion_map=facts.is_diffusion_map,
        is_localizer=is_localizer,
        volume_types=_volume_types(grid),
        gaps=arrangement.gaps,
        orientation=orientation_name(template.plane) if template.plane.placed else None,
        # a map that the scanner computed repeats the number of what it comes from (corpus xa30/11)
        measurement=facts.measurement,
        volumes_promised=None if is_derived else header.integer("NumberOfTemporalPositions"),
        is_burned_in=_is_burned_in(header),
    )


def _is_burned_in(header: Header) -> bool:
    """Whether the pixels may hold text that names the patient (PS3.3 C.7.6.1, Burned In Annotation).

    A secondary capture is a picture of a screen, unless it says that it has no such text.
    """
    said = (header.text("BurnedInAnnotation") or "").upper()
    is_capture = (header.text("SOPClassUID") or "").startswith(SECONDARY_CAPTURE)
    return said == "YES" or (is_capture and said != "NO")


def _volume_types(grid: tuple[tuple[Piece, ...], ...]) -> tuple[str, ...]:
    """What each volume of a labelled series is; () if one says nothing, or two things."""
    said = [{piece.volume_type for piece in volume} for volume in grid]
    types = tuple(kind for kinds in said for kind in kinds if kind is not None and len(kinds) == 1)
    return types if len(types) == len(grid) else ()


# ---------------------------------------------------------------------------------------------- series


def series_info(
    uid: str, series_key: str, series: Series, stacks: list[Stack], study_instance_uid: str
) -> SeriesInfo:
    """The record of a series with these stacks."""
    header = series.first
    acquired = [stack.facts.acquired for stack in stacks if stack.facts.acquired]
    kinds = header.texts("ImageType")
    text = header.text
    repetition_time_ms = header.number("RepetitionTime")
    date, time = _date_time(header)
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
        protocol_name=text("ProtocolName") or _of_vendor(series, "ProtocolName"),
        sequence_name=text("SequenceName")
        or _of_vendor(series, "SequenceName")
        or text("PulseSequenceName")
        or "",
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
        date=date,
        time=time,
        manufacturer=text("Manufacturer"),
        model_name=text("ManufacturerModelName"),
    )


def _of_vendor(series: Series, field: str) -> str:
    """What the vendor keeps in a private element besides a standard one that is empty; "" if nothing."""
    template = next(iter(series.parts.values())).template if series.parts else None
    name = template.facts.extra.get(field) if template else None
    return name if isinstance(name, str) else ""


def _date_time(header: Header) -> tuple[str | None, str | None]:
    """Of the acquisition, as DICOM writes them; both of one source, as in heudiconv's SeqInfo."""
    date, time = header.text("AcquisitionDate"), header.text("AcquisitionTime")
    if date and time:
        return date, time
    series = f"{header.text('SeriesDate') or ''}{header.text('SeriesTime') or ''}"
    both = _DATE_TIME.match(header.text("AcquisitionDateTime") or "") or _DATE_TIME.match(series)
    return (both[1], f"{both[2]}.{both[3] or '':0<6}") if both else (date, time)


def _object_time(header: Header) -> str | None:
    date = header.text("ContentDate") or header.text("SeriesDate") or header.text("StudyDate")
    time = header.text("ContentTime") or header.text("SeriesTime") or header.text("StudyTime")
    return iso_date_time(f"{date or ''}{time or ''}") or None


def _dims(series: Series) -> tuple[int, int, int, int]:
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
