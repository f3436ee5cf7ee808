"""A session's series and volumes in words: names or reasons, and the facts a person looks for first."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Sequence
from datetime import datetime
from hashlib import sha256
from math import pi
from pathlib import Path, PurePosixPath

import numpy as np

from pacs2bids.images import AWAY, away, where_is
from pacs2bids.model import Json, PlacedSession, PlanRow, SeriesInfo, Stack, VolumeFile
from pacs2bids.moments import moment_of
from pacs2bids.report.evidence import SessionEvidence, StudyEvidence
from pacs2bids.report.view import (
    BAD,
    FAIR,
    GOOD,
    PLAIN,
    Acquired,
    Badge,
    Fact,
    SeriesView,
    StackView,
    Value,
    VolumeRef,
)
from pacs2bids.text import counted

# entities that tell acquisitions of one protocol from each other
_OCCASION = ("sub-", "ses-", "run-")

# what it was measured with, as far as the sidecar says
_MACHINE = {
    "Coil": "ReceiveCoilName",
    "Sequence": "SequenceName",
    "Software": "SoftwareVersions",
    "Scanner": "ManufacturersModelName",
}

MAY_TELL = "its pixels may hold text that tells who the patient is"

# suffixes of volumes whose values measure a field or an angle
_MEASURED = ("_fieldmap", "_phasediff", "_phase1", "_phase2")

# Siemens: stored values of 12 bits, rescaled to -4096..4094, are -180 to 180 degrees (corpus fmap/Siemens,
# xa30; nipreps/fmriprep#1359, shimming-toolbox/shimming-toolbox#410)
_PHASE_RESCALE, _PHASE_TURN = (2.0, -4096.0), 8192.0


def series_of(session: SessionEvidence, bids: Path) -> tuple[SeriesView, ...]:
    """The series of all studies of the session, in time order. ``bids``: root of the dataset."""
    entries = [(info, study) for study in session.studies if study.index for info in study.index.series]
    entries.sort(key=lambda entry: (entry[0].acquired or "~", entry[0].series_key))
    moments = [moment for info, _ in entries if (moment := moment_of(info.acquired))]
    first = min(moments) if moments else None
    return tuple(_series(info, study, session, bids, first) for info, study in entries)


def _series(
    info: SeriesInfo, study: StudyEvidence, session: SessionEvidence, bids: Path, first: datetime | None
) -> SeriesView:
    failed = _failed(info, study)
    stacks = study.index.stacks if study.index else ()
    mine = [stack for stack in stacks if stack.stack_id in info.stack_ids]
    views = [_stack(stack, study, session, bids, failed.pop(stack.stack_id, "")) for stack in mine]
    views += [_without_volume(BAD, "failed", error) for error in failed.values()]
    if not views:
        rows = [row for row in session.plan or () if row.series_instance_uid == info.series_instance_uid]
        views = [_without_volume(PLAIN, "no volume", rows[0].reason if rows else "no volume in it")]
    return SeriesView(
        number="" if info.series_number is None else str(info.series_number),
        description=info.series_description or info.protocol_name,
        time=_time_of_day(info.acquired, first),
        instances=info.instances,
        stacks=tuple(views),
    )


def _failed(info: SeriesInfo, study: StudyEvidence) -> dict[str, str]:
    """Stack id, or series key, -> error of what could not be stacked or reconstructed."""
    refused = study.index.refused if study.index else ()
    failed = study.manifest.failed if study.manifest else ()
    return {
        one.stack_id: one.error
        for one in (*refused, *failed)
        if one.stack_id.partition("-")[0] == info.series_key
    }


def _without_volume(tone: str, text: str, reason: str) -> StackView:
    badge = Badge(tone=tone, text=text)
    return StackView(
        badge=badge,
        names=(),
        reason=reason,
        doubts=(),
        tags=(),
        facts=(),
        warnings=(),
        provenance=(),
        volume=None,
    )


def _stack(stack: Stack, study: StudyEvidence, session: SessionEvidence, bids: Path, error: str) -> StackView:
    rows = _rows_of(stack, study, session)
    badge, reason = _naming(rows, session, error)
    names = [row.bids_name for row in rows if row.bids_name]
    volume = None if error else _volume(stack, study, session, bids, rows)
    # what is in the dataset, the policy has let through
    is_unseen = volume is not None and may_tell(stack) and bids not in volume.path.parents
    unseen = MAY_TELL if is_unseen else ""
    if volume is None and away(*_image_of(stack, study)):
        unseen = AWAY
    return StackView(
        badge=badge,
        names=tuple(_folder_and_file(name) for name in names),
        reason=reason,
        doubts=tuple(dict.fromkeys(row.notes for row in rows if row.notes)),
        tags=_tags(stack),
        facts=tuple(_stack_facts(stack)),
        warnings=stack.warnings,
        provenance=tuple(_provenance(stack, study, rows)),
        volume=None if is_unseen else volume,
        unseen=unseen,
    )


def may_tell(stack: Stack) -> bool:
    """Whether its pixels may hold text, which nobody searches: marked so, or a capture of a screen."""
    return stack.facts.is_burned_in or not stack.placed


def _rows_of(stack: Stack, study: StudyEvidence, session: SessionEvidence) -> list[PlanRow]:
    key = (study.row.study_instance_uid, stack.stack_id)
    return [row for row in session.plan or () if (row.study_instance_uid, row.stack_id) == key]


def _volume(
    stack: Stack, study: StudyEvidence, session: SessionEvidence, bids: Path, rows: Sequence[PlanRow]
) -> VolumeRef | None:
    """What the dataset has, if it does: it may be without a face, and volumes need not be kept."""
    placed = [row.bids_name for row in rows if session.placed and row.bids_name in session.placed.volumes]
    there = (image for name in placed if (image := bids / f"{name}.nii.gz").is_file())
    path = next(there, None) or where_is(*_image_of(stack, study), bids)
    if path is None:
        return None
    gradients = stack.gradients
    unit, factor = _measured_in(stack, study, rows)
    return VolumeRef(
        path=path,
        b_values_s_per_mm2=gradients.b_values_s_per_mm2 if gradients else (),
        b_vectors_lps=gradients.b_vectors_lps if gradients else (),
        unit=unit,
        factor=factor,
        step_s=stack.repetition_time_s,
    )


def _image_of(stack: Stack, study: StudyEvidence) -> tuple[Path, str]:
    """The study's folder, and the image's name there."""
    return study.volumes.parent, f"{stack.stack_id}.nii.gz"


def _measured_in(stack: Stack, study: StudyEvidence, rows: Sequence[PlanRow]) -> tuple[str, float]:
    """Unit of values that measure a field or an angle, and the factor that makes them of it; else "" and 1.

    A phase difference is shown as the field that made it, where its turn and the times of its echoes are
    known.
    """
    unit = _unit(stack, study, rows)
    turn, gap_s = _turn(stack, unit), _between_echoes_s(stack, rows)
    return ("Hz", 1 / (turn * gap_s)) if turn and gap_s else (unit, 1.0)


def _unit(stack: Stack, study: StudyEvidence, rows: Sequence[PlanRow]) -> str:
    is_measured = stack.facts.component == "phase" or stack.facts.content == "fieldmap"
    is_measured |= any(row.bids_name.endswith(_MEASURED) for row in rows)
    said = [row.metadata.get("Units") for row in rows] + [stack.sidecar.get("Units")]
    unit = next((one for one in said if isinstance(one, str)), "arbitrary")
    is_as_displayed = study.manifest is not None and study.manifest.philips_values == "display"
    if unit == "arbitrary" or (unit == "rad" and stack.display_rescale and is_as_displayed):
        unit = "arbitrary units"
    return unit if is_measured else ""


def _turn(stack: Stack, unit: str) -> float | None:
    """How much of the unit is 360 degrees of phase, None if unknown."""
    if unit == "rad":
        return 2 * pi
    is_whole_range = stack.facts.component == "phase" and set(stack.rescale) == {_PHASE_RESCALE}
    return _PHASE_TURN if is_whole_range and unit else None


def _between_echoes_s(stack: Stack, rows: Sequence[PlanRow]) -> float | None:
    """Of a phase difference: the time in which its phase gathered."""
    for row in rows:
        said = stack.sidecar | row.metadata
        first, second = said.get("EchoTime1"), said.get("EchoTime2")
        if row.bids_name.endswith("_phasediff") and isinstance(first, float) and isinstance(second, float):
            return second - first
    return None


def _provenance(stack: Stack, study: StudyEvidence, rows: Sequence[PlanRow]) -> Iterator[Fact]:
    for origin in dict.fromkeys(row.origin for row in rows if row.origin):
        yield Fact(label="Named or skipped by", value=origin)
    written = _file_of(stack, study)
    yield Fact(label="Made of", value=_sources(stack, written))
    if study.manifest:
        yield Fact(label="Engine", value=study.manifest.engine_version)
    for name, digest in (written.files if written else {}).items():
        yield Fact(label=f"SHA-256 of {name}", value=digest)


def _file_of(stack: Stack, study: StudyEvidence) -> VolumeFile | None:
    files = study.manifest.volumes if study.manifest else ()
    return next((one for one in files if one.stack_id == stack.stack_id), None)


def _sources(stack: Stack, written: VolumeFile | None) -> str:
    """The instances: how many, and one digest of all of theirs, sorted, where each has been computed."""
    made_of = counted(len(set(stack.sop_instance_uids)), "instance")
    digests = sorted(digest or "" for digest in written.sources.values()) if written else []
    if not digests or not digests[0]:
        return made_of
    return f"{made_of}; SHA-256 of their SHA-256: {sha256(' '.join(digests).encode()).hexdigest()}"


def acquired_of(session: SessionEvidence) -> tuple[Acquired, ...]:
    """The volumes that the plan names, in its order."""
    stacks = {
        (study.row.study_instance_uid, stack.stack_id): stack
        for study in session.studies
        if study.index
        for stack in study.index.stacks
    }
    return tuple(
        Acquired(
            name=row.bids_name,
            key=key_of(row.bids_name),
            state=_state(row.bids_name, session.placed),
            scanner=scanner_of(stack) if stack else "",
            short=next((note for note in row.notes.split("; ") if note.startswith("short:")), ""),
            values=_values(stack) if stack else {},
        )
        for row in session.plan or ()
        if row.bids_name
        for stack in [stacks.get((row.study_instance_uid, row.stack_id))]
    )


def key_of(bids_name: str) -> str:
    """What an acquisition is called in every session: "func/task-rest_bold"."""
    path = PurePosixPath(bids_name)
    parts = [part for part in path.name.split("_") if not part.startswith(_OCCASION)]
    return f"{path.parent.name}/{'_'.join(parts)}"


def _state(name: str, placed: PlacedSession | None) -> str:
    if placed is None or (name not in placed.absent and name not in placed.volumes):
        return "planned"
    return "absent" if name in placed.absent else "placed"


def _values(stack: Stack) -> dict[str, Value]:
    """With what it was measured; labels as in ``drift.PARAMETERS``, without what is not known."""
    facts, said = stack.facts, stack.sidecar
    columns, rows, slices, volumes = stack.shape
    times_s = {"TR": facts.repetition_time_s, "TE": facts.echo_time_s, "TI": facts.inversion_time_s}
    values: dict[str, Value | None] = {
        label: None if time_s is None else round(time_s * 1000, 4) for label, time_s in times_s.items()
    }
    values |= {
        "Flip angle": facts.flip_angle_deg,
        "Matrix": f"{columns} × {rows}",
        "Slices": slices,
        "Volumes": volumes,
        "Voxel": tuple(round(size, 3) for size in voxel_sizes_mm(stack)),
        "Phase encoding": facts.phase_encoding_direction,
        "Coil": _word(said.get("ReceiveCoilName") or said.get("ReceiveCoilActiveElements")),
        "Software": _word(said.get("SoftwareVersions")),
    }
    return {label: value for label, value in values.items() if value is not None}


def scanner_of(stack: Stack) -> str:
    """Model and nominal field, as "Prisma_fit 3 T"; "" if the header does not tell the model."""
    model, field_t = (stack.sidecar.get(key) for key in ("ManufacturersModelName", "MagneticFieldStrength"))
    if not model or not isinstance(field_t, int | float):
        return str(model or "")
    # what headers tell is the field itself, of one scanner of 3 T 2.89
    field = f"{round(field_t * 2) / 2 if field_t >= 1 else field_t:g}"
    return str(model) if f"{field}T" in str(model) else f"{model} {field} T"


def _word(said: Json) -> str | None:
    if isinstance(said, list):
        return ", ".join(str(one) for one in said)
    return None if said is None else str(said)


def _naming(rows: Sequence[PlanRow], session: SessionEvidence, error: str) -> tuple[Badge, str]:
    names = [row.bids_name for row in rows if row.bids_name]
    if error:
        return Badge(tone=BAD, text="failed"), error
    if not rows:
        return Badge(tone=FAIR, text="not planned"), "No plan says yet what it is called."
    if not names:
        return Badge(tone=PLAIN, text="skipped"), rows[0].reason
    return _placing(names, session.placed)


def _placing(names: Sequence[str], placed: PlacedSession | None) -> tuple[Badge, str]:
    if placed is None:
        return Badge(tone=FAIR, text="planned"), "It has a name and is not in the dataset yet."
    absent = [placed.absent[name] for name in names if name in placed.absent]
    if absent:
        return Badge(tone=BAD, text="missing"), absent[0]
    if not set(names) <= set(placed.volumes):
        return Badge(tone=FAIR, text="planned"), "The plan changed after the session was placed."
    return Badge(tone=GOOD, text="placed"), ""


def _folder_and_file(bids_name: str) -> tuple[str, str]:
    path = PurePosixPath(bids_name)
    return path.parent.name, path.name


def _tags(stack: Stack) -> tuple[str, ...]:
    facts = stack.facts
    said = {
        "localizer": facts.is_localizer,
        "derived": facts.is_derived,
        "diffusion map": facts.is_diffusion_map,
        "sheared grid": stack.shear,
    }
    component = facts.component if facts.component not in (None, "magnitude") else ""
    return tuple(part for part in (facts.orientation, component) if part) + tuple(
        tag for tag, applies in said.items() if applies
    )


# ------------------------------------------------------------------------------------------ key facts


def _stack_facts(stack: Stack) -> Iterator[Fact]:
    facts = stack.facts
    columns, rows, slices, volumes = stack.shape
    yield Fact(label="Matrix", value=f"{columns} × {rows} × {slices}")
    yield Fact(label="Voxel", value=" × ".join(f"{size:.3g}" for size in voxel_sizes_mm(stack)) + " mm")
    if volumes > 1:
        yield Fact(label="Volumes", value=str(volumes))
    times_s = {
        "TR": facts.repetition_time_s,
        "TE": facts.echo_time_s,
        "TI": facts.inversion_time_s,
    }
    for label, time_s in times_s.items():
        if time_s is not None:
            yield Fact(label=label, value=f"{time_s * 1000:,.5g} ms")
    angles = stack.sidecar.get("FlipAngle")  # a list where it changes from volume to volume
    if isinstance(angles, list):
        yield Fact(label="Flip angle", value=", ".join(f"{angle:.4g}°" for angle in dict.fromkeys(angles)))
    elif facts.flip_angle_deg is not None:
        yield Fact(label="Flip angle", value=f"{facts.flip_angle_deg:.4g}°")
    if facts.phase_encoding_direction:
        yield Fact(label="Phase encoding", value=phase_encoding(stack, facts.phase_encoding_direction))
    yield from _timing_facts(stack)
    if stack.gradients:
        yield Fact(label="b-values", value=b_value_summary(stack.gradients.b_values_s_per_mm2))
    for label, key in _MACHINE.items():
        if word := _word(stack.sidecar.get(key)):
            yield Fact(label=label, value=word)


def _timing_facts(stack: Stack) -> Iterator[Fact]:
    times = stack.sidecar.get("SliceTiming")
    if isinstance(times, list):
        together = max(Counter(str(time) for time in times).values(), default=1)
        multiband = f", {together} at a time" if together > 1 else ""
        yield Fact(label="Slice times", value=f"{len(times)} slices{multiband}")
    elif stack.shape[3] > 1 and stack.repetition_time_s and not stack.gradients:
        yield Fact(label="Slice times", value="unknown")
    readout_s = stack.sidecar.get("TotalReadoutTime")
    if isinstance(readout_s, int | float):
        yield Fact(label="Readout", value=f"{readout_s * 1000:.4g} ms")


def voxel_sizes_mm(stack: Stack) -> tuple[float, ...]:
    """Lengths of the three steps of the grid, mm."""
    return tuple(float(size) for size in np.linalg.norm(np.array(stack.affine_ras)[:3, :3], axis=0))


def phase_encoding(stack: Stack, letters: str) -> str:
    """BIDS letters and what they mean in the patient, as in "j- (anterior to posterior)"."""
    step = np.array(stack.affine_ras)[:3, "ijk".index(letters[0])]
    if letters.endswith("-"):
        step = -step
    axis = int(np.argmax(np.abs(step)))
    ends = (("left", "right"), ("posterior", "anterior"), ("inferior", "superior"))[axis]
    start, end = ends if step[axis] > 0 else ends[::-1]
    return f"{letters} ({start} to {end})"


def b_value_summary(b_values_s_per_mm2: Sequence[float]) -> str:
    """How many volumes have which weighting, weakest first: "2 × 0, 64 × 1000 s/mm²"."""
    counts = Counter(round(value) for value in b_values_s_per_mm2)
    listed = [f"{count} × {value}" for value, count in sorted(counts.items())]
    text = ", ".join(listed if len(listed) <= 6 else [*listed[:3], "…", *listed[-2:]])
    return f"{text} s/mm²"


def _time_of_day(acquired: str | None, first: datetime | None) -> str:
    """The clock, and the day of the session from its second on; never the date."""
    moment = moment_of(acquired)
    if moment is None or first is None or "T" not in (acquired or ""):
        return ""
    days = (moment.date() - first.date()).days
    return f"{moment:%H:%M:%S}" if days == 0 else f"day {days + 1}, {moment:%H:%M:%S}"


def described(stack: Stack) -> tuple[tuple[Fact, ...], tuple[str, ...]]:
    """The facts and tags of a volume, for another page than the report."""
    return tuple(_stack_facts(stack)), _tags(stack)
