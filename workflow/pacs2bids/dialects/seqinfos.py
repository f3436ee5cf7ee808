"""The series of a session as heudiconv's ``SeqInfo``: what a heuristic in its dialect sees.

Where heudiconv's answer is a defect, ours is another by default; ``SEQINFOS`` has the choices.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from msgspec import Struct
from msgspec.structs import replace

from pacs2bids.dialects.standins import SeqInfo
from pacs2bids.model import Json, Reason, SeriesInfo, Stack, StudyIndex

# "pacs2bids": of a series with several echoes or parts the first speaks.
# "heudiconv": the last does, as it does there (its issues 158, 549 and 834).
# "header": dim1 Columns, dim2 Rows, dim3 NumberOfFrames, dim4 1; TR in ms; 0 where missing, as in forks of
# heudiconv that fill the fields from single elements.
SEQINFOS = ("pacs2bids", "heudiconv", "header")

PHOENIX = "PhoenixZIPReport"  # a Siemens report without picture that heudiconv shows to heuristics, too

# leftovers that are pictures all the same; heudiconv shows their series
PICTURES = {
    Reason.NO_GEOMETRY,
    Reason.UNSUPPORTED,
    Reason.DUPLICATE,
    Reason.INCOMPLETE,
    Reason.INCONSISTENT,
}


class Shown(Struct, frozen=True):
    """A series, and what the heuristic sees of it."""

    series: SeriesInfo
    info: SeqInfo


def series_to_show(indexes: Sequence[StudyIndex], seqinfo: str = SEQINFOS[0]) -> list[Shown]:
    """The series that a heuristic sees, as heudiconv counts and sorts them.

    Within a study by number, then protocol; studies in the order of acquisition. Series without a picture are
    not shown; those with pictures that make no volume are, so that they count as runs. Ids are unique: where
    heudiconv would mix two series of one number and protocol, the later one gets "+2" behind its id. A series
    without a number counts as 0. ``seqinfo``: one of ``SEQINFOS``.
    """
    ordered = sorted(
        indexes, key=lambda index: min((one.acquired or "9" for one in index.series), default="9")
    )
    shown: list[Shown] = []
    ids: set[str] = set()
    files = 0
    for index in ordered:
        pictures = _with_pictures(index)
        for series in sorted(index.series, key=lambda one: (one.series_number or 0, one.protocol_name)):
            if series.series_instance_uid not in pictures and series.series_description != PHOENIX:
                continue
            files += series.series_files
            stacks = [one for one in index.stacks if one.series_instance_uid == series.series_instance_uid]
            info = _with_ours(_seqinfo(series, _unique_id(series, ids), files), series, stacks)
            info = _as_heudiconv(info, stacks) if seqinfo == "heudiconv" else info
            info = _as_header(info, series, stacks) if seqinfo == "header" else info
            shown.append(Shown(series, info))
            ids.add(info.series_id)
    return shown


def _with_pictures(index: StudyIndex) -> set[str]:
    """UIDs of the series that hold a picture."""
    refused = {failed.stack_id for failed in index.refused}
    stacked = {one.series_instance_uid for one in index.series if one.stack_ids or one.series_key in refused}
    left = {one.series_instance_uid for one in index.leftovers if one.reason in PICTURES}
    return stacked | {uid for uid in left if uid is not None}


def _unique_id(series: SeriesInfo, taken: set[str]) -> str:
    plain = f"{series.series_number or 0}-{series.protocol_name}"
    series_id, count = plain, 1
    while series_id in taken:
        count += 1
        series_id = f"{plain}+{count}"
    return series_id


def _seqinfo(series: SeriesInfo, series_id: str, files_till_now: int) -> SeqInfo:
    example = Path(series.example_path)
    is_report = not series.stack_ids and series.series_description == PHOENIX
    dim1, dim2, dim3, dim4 = (0, 0, 0, series.series_files) if is_report else series.dims
    return SeqInfo(
        total_files_till_now=files_till_now,
        example_dcm_file=example.name,
        series_id=series_id,
        dcm_dir_name=example.parent.name,
        series_files=series.series_files,
        unspecified="",
        dim1=dim1,
        dim2=dim2,
        dim3=dim3,
        dim4=dim4,
        TR=-1.0 if series.repetition_time_s is None else series.repetition_time_s,
        TE=-1.0 if series.echo_time_ms is None else series.echo_time_ms,
        protocol_name=series.protocol_name,
        is_motion_corrected=series.is_motion_corrected,
        is_derived=series.is_derived,
        patient_id=series.patient_id,
        study_description=series.study_description,
        referring_physician_name=series.referring_physician_name,
        series_description=series.series_description,
        sequence_name=series.sequence_name,
        image_type=series.image_type,
        accession_number=series.accession_number,
        patient_age=series.patient_age,
        patient_sex=series.patient_sex,
        date=series.date,
        series_uid=series.series_instance_uid,
        time=series.time,
    )


def _with_ours(info: SeqInfo, series: SeriesInfo, stacks: Sequence[Stack]) -> SeqInfo:
    """With what stands behind heudiconv's fields."""
    facts = [stack.facts for stack in stacks]
    times_ms = {round(one.echo_time_s * 1000, 6) for one in facts if one.echo_time_s is not None}
    return info._replace(
        series_number=series.series_number,
        modality=series.modality,
        manufacturer=series.manufacturer,
        model_name=series.model_name,
        stacks=len(stacks),
        slices=stacks[0].shape[2] if stacks else None,
        volumes=stacks[0].shape[3] if stacks else None,
        echo_times_ms=tuple(sorted(times_ms)),
        components=tuple(dict.fromkeys(one.component for one in facts if one.component)),
        phase_encoding_direction=facts[0].phase_encoding_direction if facts else None,
        is_diffusion=any(one.is_diffusion for one in facts),
        is_localizer=any(one.is_localizer for one in facts),
        repetition_time_s=facts[0].repetition_time_s if facts else None,
    )


def _as_heudiconv(info: SeqInfo, stacks: Sequence[Stack]) -> SeqInfo:
    """With echo time and kind of the last of several volumes, of which heudiconv takes a file for all."""
    if len(stacks) < 2:
        return info
    last = stacks[-1].facts
    kinds = last.image_type
    return info._replace(
        TE=-1.0 if last.echo_time_s is None else round(last.echo_time_s * 1000, 6),
        image_type=kinds,
        is_motion_corrected="MOCO" in kinds,
        is_derived=any("derived" in kind.lower() for kind in kinds),
    )


def _as_header(info: SeqInfo, series: SeriesInfo, stacks: Sequence[Stack]) -> SeqInfo:
    images = [image for stack in stacks for image in stack.images if image.path == series.example_path]
    return info._replace(
        dim1=images[0].columns if images else 0,
        dim2=images[0].rows if images else 0,
        dim3=max(image.frame for image in images) + 1 if images else 0,
        dim4=1,
        TR=(series.repetition_time_s or 0.0) * 1000,
        TE=series.echo_time_ms or 0.0,
    )


def with_files(one: Shown, kept: int) -> Shown:
    """The same when a hook has left only so many of its files."""
    info, files = one.info, one.info.series_files
    changes: dict[str, int] = {"series_files": kept}
    if info.dim4 == files and files > 1:
        changes["dim4"] = kept
    elif (info.dim3, info.dim4) == (files, 1):
        changes["dim3"] = kept
    return replace(one, info=info._replace(**changes))  # type: ignore[arg-type]


# they identify a person, or say no more than that a series is another one
_UNSAID = {
    "accession_number",
    "custom",
    "date",
    "dcm_dir_name",
    "example_dcm_file",
    "patient_age",
    "patient_id",
    "patient_sex",
    "referring_physician_name",
    "series_uid",
    "total_files_till_now",
    "unspecified",
}


def seen_as(indexes: Sequence[StudyIndex], series: SeriesInfo, seqinfo: str) -> list[tuple[str, str, Json]]:
    """The fields of a series: "", name, value; none of a series that is not shown to heuristics."""
    for one in series_to_show(indexes, seqinfo):
        if one.series == series:
            fields: list[tuple[str, Any]] = [*zip(one.info._fields, one.info, strict=True)]
            return [("", name, said) for name, said in fields if name not in _UNSAID]
    return []
