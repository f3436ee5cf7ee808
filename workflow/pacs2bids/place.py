"""Put the volumes of one session into the dataset under their planned names.

Volumes are hard links into ``volumes/`` (copies across file systems), so a new name costs no pixels; sidecars
are written anew with what only a name can tell. Everything is read-only: edits belong into the heuristic.

Who owns a name: the session's ``owned.json`` lists every file that it may have put into the dataset. It is
written *before* the first file is placed (with the old and the new names together) and again after the last
one, so a killed run leaves no file that the next one does not know, whatever the plan says by then. It is
kept apart from ``placed.json`` because a workflow engine deletes the outputs of a job that it starts again.
A file that nobody of ours placed, or that was changed since, is never overwritten and never removed.
"""

from __future__ import annotations

import hashlib
import logging
import os
import re
import shutil
from collections import Counter
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import date, datetime
from pathlib import Path, PurePosixPath

import msgspec

from pacs2bids.files import link_or_copy, read_record, sha256, write_bytes, write_record
from pacs2bids.model import (
    DatasetError,
    Json,
    Manifest,
    PlacedSession,
    PlanRow,
    SeriesInfo,
    VolumeFile,
)
from pacs2bids.text import counted

log = logging.getLogger("pacs2bids.place")

READ_ONLY = 0o444
STARTED = 0o644

# tables that we begin and people fill in: what happened in the scanner room no header tells
STARTS = "_events.tsv"

# where BIDS allows gradient tables (schema: rules.files.raw.dwi.dwi, rules.files.raw.fmap.pepolar)
GRADIENT_NAMES = frozenset({("dwi", "dwi"), ("fmap", "epi")})

# BIDS, Common principles, Units: dates that are shifted to hide them lie before 1925
FIRST_DAY = date(1900, 1, 1)

_SESSION_KEY = re.compile(r"sub-(?P<subject>[0-9A-Za-z+]+)(?:_ses-(?P<session>[0-9A-Za-z+]+))?")
_LEFT_BEHIND = re.compile(r"\.(?P<name>.+)\.[^.]+\.part")  # the temporary names of ``files``
_OF_ONE_IMAGE = re.compile(r"_(echo|part)-[0-9A-Za-z+]+")
_AGE = re.compile(r"(?P<number>[0-9]{1,3})(?P<unit>[DWMY])")
_UNITS_PER_YEAR = {"D": 365.25, "W": 365.25 / 7, "M": 12.0, "Y": 1.0}


@dataclass(frozen=True, slots=True, kw_only=True)
class StudyVolumes:
    """The reconstructed volumes of one study: the folder they lie in, and its manifest."""

    folder: Path
    manifest: Manifest


@dataclass(frozen=True, slots=True, kw_only=True)
class Owned:
    """``owned.json``: path in the dataset -> SHA-256 of the contents that this session may have put there."""

    files: dict[str, tuple[str, ...]] = field(default_factory=dict)


@dataclass(frozen=True, slots=True, kw_only=True)
class _Item:
    """One file to be: a volume's file to link, or else the content to write.

    ``is_start``: people are to go on from it; from their first edit on it is theirs.
    """

    path: str
    digest: str
    source: Path | None = None
    content: bytes = b""
    is_start: bool = False


def session_labels(session_key: str) -> tuple[str, str]:
    """The subject's and the session's label (or "") of "sub-01_ses-a".

    Raises DatasetError if it is no such key.
    """
    match = _SESSION_KEY.fullmatch(session_key)
    if match is None:
        hint = 'The folder of a session is called "sub-<label>" or "sub-<label>_ses-<label>"'
        raise DatasetError("is no session's name", where=session_key, hint=hint)
    return match["subject"], match["session"] or ""


def participant_facts(series: Iterable[SeriesInfo]) -> dict[str, Json]:
    """What participants.tsv needs, from the first series (in the order given) that says it.

    ``age``: years, from PatientAge (0010,1010; PS3.5 6.2, AS: nnnD, nnnW, nnnM, nnnY). ``sex``: PatientSex
    (0010,0040): M, F, O.
    """
    facts: dict[str, Json] = {}
    for entry in series:
        age = _AGE.fullmatch(entry.patient_age or "")
        if age and "age" not in facts:
            years = int(age["number"]) / _UNITS_PER_YEAR[age["unit"]]
            facts["age"] = int(years) if years == int(years) else round(years, 2)
        if entry.patient_sex in ("M", "F", "O"):
            facts.setdefault("sex", entry.patient_sex)
    return facts


def changes(before: Mapping[str, Collection[str]], after: Mapping[str, Collection[str]]) -> str:
    """What became of the volumes that a session had, as in "2 renamed, 1 added"; "" if it had none.

    Both map paths in the dataset to digests, as ``Owned.files``. A volume whose content stands under a new
    name was renamed.
    """
    if not before:
        return ""
    old, new = ({path for path in files if path.endswith(".nii.gz")} for files in (before, after))
    gone = Counter(digest for path in old - new for digest in before[path])
    came = Counter(digest for path in new - old for digest in after[path])
    renamed = (gone & came).total()
    counts = {
        "renamed": renamed,
        "added": len(new - old) - renamed,
        "removed": max(len(old - new) - renamed, 0),
    }
    told = [f"{count} {what}" for what, count in counts.items() if count]
    updated = sum(tuple(before[path]) != tuple(after[path]) for path in before.keys() & after.keys())
    if not told and updated:
        told = [f"{counted(updated, 'file')} updated"]
    return ", ".join(told) or "unchanged"


def owned_files(session_dir: Path) -> dict[str, tuple[str, ...]]:
    """What the session may have put into the dataset, as ``Owned.files``; empty if it never did."""
    record = session_dir / "owned.json"
    return read_record(record, Owned).files if record.exists() else {}


@dataclass(frozen=True, slots=True, kw_only=True)
class Remains:
    """What a session that is no longer wanted left in the dataset: paths there.

    ``ours``: as we placed them. ``others``: changed since, or put there by others; never to be removed.
    """

    session_dir: Path
    ours: tuple[str, ...]
    others: tuple[str, ...]


def remains_of(session_dir: Path, bids: Path) -> Remains:
    """Look for what the session left. Raises DatasetError if the folder's name is none of a session."""
    subject, session = session_labels(session_dir.name)
    folder = bids / f"sub-{subject}" / (f"ses-{session}" if session else "")
    owned = owned_files(session_dir)
    present = {path: bids / path for path in owned if (bids / path).is_file()}
    ours = {path for path, file in present.items() if sha256(file) in owned[path]}
    inside = (path for path in folder.rglob("*") if not path.is_dir())
    if not session:  # the folders of sessions beside it are not its own
        inside = (path for path in inside if not path.relative_to(folder).parts[0].startswith("ses-"))
    known = {path.relative_to(bids).as_posix() for path in inside} | present.keys()
    return Remains(session_dir=session_dir, ours=tuple(sorted(ours)), others=tuple(sorted(known - ours)))


def remove_remains(remains: Remains, bids: Path) -> None:
    """Remove the files that are ours, folders that are empty then, and the session's own folder."""
    _clean(remains.ours, remains.ours, bids, bids)
    shutil.rmtree(remains.session_dir)


def place_session(
    *,
    session_dir: Path,
    bids: Path,
    rows: Sequence[PlanRow],
    studies: Mapping[str, StudyVolumes],
    participant: dict[str, Json],
) -> PlacedSession:
    """Make the session's part of the dataset what the plan says; writes ``placed.json`` last.

    ``studies`` maps StudyInstanceUID to its volumes. Stacks that could not be reconstructed are left out
    and told. Raises DatasetError, before anything is written, if a volume is missing or if a file that is
    not ours is in the way.
    """
    subject, session = session_labels(session_dir.name)
    named = [row for row in rows if row.bids_name]
    _check_names(named, subject, session)
    absent = _failed_stacks(named, studies)
    present = [row for row in named if row.bids_name not in absent]
    lost = _lost(absent, present)
    items = [item for row in present for item in _volume_items(row, studies, lost)]
    items += _tables_beside(present)
    if present:
        items += _scans_items(present, _first_day(rows), subject, session)
    before, edited = _without_edited(owned_files(session_dir), bids)
    items = [item for item in items if not (item.path in edited or _is_others(item, bids, before))]
    placed = PlacedSession(
        session_key=session_dir.name,
        subject=subject,
        session=session,
        files={item.path: item.digest for item in sorted(items, key=lambda item: item.path)},
        volumes={row.bids_name: f"{row.study_instance_uid}/{row.stack_id}" for row in present},
        participant=participant,
        absent=absent,
    )
    # the subject's own folder may be another session's too: ``dataset`` removes it once it is empty
    ground = bids / f"sub-{subject}" if session else bids
    _make_it_so(session_dir, bids, items, before, ground)
    write_record(session_dir / "placed.json", placed)
    return placed


# ------------------------------------------------------------------------------------------ what should be


def _check_names(named: Sequence[PlanRow], subject: str, session: str) -> None:
    """No session may reach into the folder of another: they are placed at the same time."""
    folder = f"sub-{subject}/ses-{session}/" if session else f"sub-{subject}/"
    hint = "Run the plan stage again"
    seen = set()
    for row in named:
        if not row.bids_name.startswith(folder) or ".." in PurePosixPath(row.bids_name).parts:
            raise DatasetError(f"is planned outside {folder}", where=row.bids_name, hint=hint)
        if row.bids_name in seen:
            raise DatasetError("is planned twice", where=row.bids_name, hint=hint)
        seen.add(row.bids_name)


def _failed_stacks(named: Sequence[PlanRow], studies: Mapping[str, StudyVolumes]) -> dict[str, str]:
    absent = {}
    for row in named:
        for failed in _study(row, studies).manifest.failed:
            if failed.stack_id == row.stack_id:
                absent[row.bids_name] = failed.error
                log.warning("%s: not placed: %s", row.bids_name, failed.error)
    return absent


def _study(row: PlanRow, studies: Mapping[str, StudyVolumes]) -> StudyVolumes:
    if row.study_instance_uid not in studies:
        what = f"belongs to study {row.study_instance_uid}, which is not among the session's"
        raise DatasetError(what, where=row.bids_name, hint="Run the plan stage again")
    return studies[row.study_instance_uid]


def _volume_items(row: PlanRow, studies: Mapping[str, StudyVolumes], lost: _Lost) -> Iterable[_Item]:
    study = _study(row, studies)
    by_extension = _volume_files(row, study)
    sidecar = _sidecar(study.folder / by_extension.pop(".json")[0], row, lost)
    yield _written(f"{row.bids_name}.json", sidecar)
    name = PurePosixPath(row.bids_name)
    takes_gradients = (name.parent.name, name.name.rpartition("_")[2]) in GRADIENT_NAMES
    for extension, (file, digest) in sorted(by_extension.items()):
        if extension == ".nii.gz" or takes_gradients:
            yield _Item(path=f"{row.bids_name}{extension}", digest=digest, source=study.folder / file)
        elif extension == ".bval" and any(map(float, (study.folder / file).read_text().split())):
            log.warning("%s: BIDS has no place for its b-values under this name", row.bids_name)


def _tables_beside(present: Sequence[PlanRow]) -> Iterable[_Item]:
    """The tables that go with volumes: one for all echoes and parts of a scan, as BIDS wants.

    Source: BIDS schema, rules.files.raw: neither "echo" nor "part" in names of events and aslcontext. Raises
    DatasetError if two volumes want different ones.
    """
    contents: dict[str, str] = {}
    for row in present:
        for ending, content in row.beside.items():
            path = _OF_ONE_IMAGE.sub("", row.bids_name).rpartition("_")[0] + ending
            if contents.setdefault(path, content) != content:
                hint = "Run the plan stage again"
                raise DatasetError("is planned with two contents", where=path, hint=hint)
    for path, content in contents.items():
        yield replace(_text(path, content), is_start=path.endswith(STARTS))


def _volume_files(row: PlanRow, study: StudyVolumes) -> dict[str, tuple[str, str]]:
    """Extension -> (name in ``volumes/``, digest) of a stack's files, all of them there."""
    volume = _volume(row, study)
    files = {file.removeprefix(row.stack_id): (file, digest) for file, digest in volume.files.items()}
    lost = [file for file, _ in files.values() if not (study.folder / file).is_file()]
    lost += [row.stack_id + extension for extension in (".nii.gz", ".json") if extension not in files]
    if lost:
        hint = f"Run the reconstruct stage of study {row.study_instance_uid} again"
        raise DatasetError(
            f"is missing, planned as {row.bids_name}", where=str(study.folder / lost[0]), hint=hint
        )
    return files


def _volume(row: PlanRow, study: StudyVolumes) -> VolumeFile:
    for volume in study.manifest.volumes:
        if volume.stack_id == row.stack_id:
            return volume
    what = f"stack {row.stack_id} is planned as {row.bids_name} and was never reconstructed"
    hint = f"Run the stages reconstruct and plan of study {row.study_instance_uid} again"
    raise DatasetError(what, where=str(study.folder / "manifest.json"), hint=hint)


@dataclass(frozen=True, slots=True, kw_only=True)
class _Lost:
    """Planned names without a volume, and of those with one what they call their field maps."""

    names: Collection[str]
    identifiers_left: Collection[str]


def _lost(absent: Collection[str], present: Sequence[PlanRow]) -> _Lost:
    left = {str(one) for row in present for one in _listed(row.metadata.get("B0FieldIdentifier"))}
    return _Lost(names=absent, identifiers_left=left)


def _listed(value: Json) -> list[Json]:
    """Of a field that BIDS lets be one value or a list of them."""
    return value if isinstance(value, list) else [] if value is None else [value]


def _sidecar(path: Path, row: PlanRow, lost: _Lost) -> dict[str, Json]:
    """The stack's own fields in their order, then those of the plan in alphabetical order.

    The plan wins; what is None there is taken away.
    """
    try:
        fields = msgspec.json.decode(path.read_bytes(), type=dict[str, Json])
    except msgspec.DecodeError as error:
        hint = f"Run the reconstruct stage of study {row.study_instance_uid} again"
        raise DatasetError(f"is no sidecar: {error}", where=str(path), hint=hint) from error
    fields |= dict(sorted(row.metadata.items()))
    fields = {name: value for name, value in fields.items() if value is not None}
    if lost.names and "IntendedFor" in fields:
        _drop_absent_targets(fields, row.bids_name, lost.names)
    if lost.names and "B0FieldSource" in fields:
        sources = _listed(fields["B0FieldSource"])
        _keep(fields, "B0FieldSource", [one for one in sources if one in lost.identifiers_left])
    return fields


def _keep(fields: dict[str, Json], name: str, values: list[Json]) -> None:
    """Leave those in a field, in its form; nothing of it if there are none."""
    said = fields.pop(name)
    if values:
        fields[name] = values if isinstance(said, list) else values[0]


def _drop_absent_targets(fields: dict[str, Json], name: str, absent: Collection[str]) -> None:
    """Take volumes that do not exist out of IntendedFor (BIDS URIs, or paths below the subject's folder)."""
    subject = PurePosixPath(name).parts[0]
    gone = {f"{other}.nii.gz" for other in absent}
    left = [
        target
        for target in _listed(fields["IntendedFor"])
        if str(target).removeprefix("bids::") not in gone and f"{subject}/{target}" not in gone
    ]
    _keep(fields, "IntendedFor", left)


def _without_edited(
    before: Mapping[str, tuple[str, ...]], bids: Path
) -> tuple[dict[str, tuple[str, ...]], set[str]]:
    """What is still ours of ``before``, and the tables begun by us that people went on with."""
    edited = {
        path
        for path, digests in before.items()
        if path.endswith(STARTS) and (bids / path).is_file() and sha256(bids / path) not in digests
    }
    return {path: digests for path, digests in before.items() if path not in edited}, edited


def _is_others(item: _Item, bids: Path, before: Collection[str]) -> bool:
    """Whether the table that we would begin is there already."""
    return item.is_start and item.path not in before and os.path.lexists(bids / item.path)


def _scans_items(
    present: Sequence[PlanRow], first_day: date | None, subject: str, session: str
) -> Iterable[_Item]:
    """The scans table (BIDS, Scans file), in time order, with the dates shifted and the time of day kept."""
    folder = f"sub-{subject}/ses-{session}" if session else f"sub-{subject}"
    prefix = f"{folder}/{folder.replace('/', '_')}_scans"
    lines = []
    for row in present:
        hidden = _hidden(_moment(row.acquired), first_day)
        # "n" sorts after digits, so that files without a time come last
        lines.append((hidden or "n/a", f"{row.bids_name.removeprefix(folder + '/')}.nii.gz"))
    table = "".join(f"{file}\t{when}\n" for when, file in sorted(lines))
    yield _text(f"{prefix}.tsv", f"filename\tacq_time\n{table}")
    about = (
        "Start of the acquisition. The date is hidden: the session's first day became "
        f"{FIRST_DAY.isoformat()}; the time of day is the scanner's."
    )
    yield _written(f"{prefix}.json", {"acq_time": {"Description": about}})


def _moment(acquired: str) -> datetime | None:
    if "T" not in acquired and " " not in acquired:  # a date alone says no time
        return None
    try:
        return datetime.fromisoformat(acquired).replace(tzinfo=None)
    except ValueError:
        return None


def _first_day(rows: Iterable[PlanRow]) -> date | None:
    """Of all series, named or not: a change of names must not move the others' times."""
    return min((moment.date() for row in rows if (moment := _moment(row.acquired))), default=None)


def _hidden(moment: datetime | None, first_day: date | None) -> str | None:
    if moment is None or first_day is None:
        return None
    return datetime.combine(FIRST_DAY + (moment.date() - first_day), moment.time()).isoformat()


def _written(path: str, document: Mapping[str, Json]) -> _Item:
    return _text(path, msgspec.json.format(msgspec.json.encode(document).decode(), indent=2) + "\n")


def _text(path: str, text: str) -> _Item:
    content = text.encode()
    return _Item(path=path, digest=hashlib.sha256(content).hexdigest(), content=content)


# ---------------------------------------------------------------------------------------------- what is


def _make_it_so(
    session_dir: Path,
    bids: Path,
    items: Sequence[_Item],
    before: Mapping[str, tuple[str, ...]],
    ground: Path,
) -> None:
    record = session_dir / "owned.json"
    after: dict[str, tuple[str, ...]] = {item.path: (item.digest,) for item in items}
    stale = sorted(before.keys() - after.keys())
    todo = [item for item in items if not _is_there(item, bids, before)]
    _refuse_foreign([item.path for item in todo] + stale, items, bids, before)
    either = {path: (*before.get(path, ()), *after.get(path, ())) for path in sorted({*before, *after})}
    write_record(record, Owned(files=either))
    for item in todo:
        _put(item, bids / item.path)
    for item in items:
        if not item.is_start:
            _protect(bids / item.path)
    _clean(stale, either, bids, ground)
    write_record(record, Owned(files=after))


def _is_there(item: _Item, bids: Path, before: Mapping[str, object]) -> bool:
    target = bids / item.path
    if not target.is_file() or target.is_symlink():
        return False
    if item.source is None:
        return target.read_bytes() == item.content
    there, source = target.stat(), item.source.stat()
    # a copy to another file system keeps size and time of its source
    is_copy = item.path in before and (there.st_size, there.st_mtime_ns) == (
        source.st_size,
        source.st_mtime_ns,
    )
    return is_copy or os.path.samestat(there, source)


def _refuse_foreign(
    paths: Iterable[str], items: Sequence[_Item], bids: Path, before: Mapping[str, tuple[str, ...]]
) -> None:
    """Raise DatasetError if a file that we would replace or remove has a content that we never put there."""
    known_files = {_identity(item.source) for item in items if item.source}
    wanted = {item.path: item.digest for item in items}
    foreign = []
    for path in paths:
        target = bids / path
        if not os.path.lexists(target) or (target.is_file() and _identity(target) in known_files):
            continue
        known = {*before.get(path, ()), wanted.get(path)}
        if not target.is_file() or sha256(target) not in known:
            foreign.append(path)
    if foreign:
        more = f" (and {len(foreign) - 1} more)" if len(foreign) > 1 else ""
        owned = foreign[0] in before
        what = "was changed since it was placed" if owned else "exists, and this session did not place it"
        hint = "Move it out of the dataset to have it placed anew"
        raise DatasetError(f"{what}{more}", where=str(bids / foreign[0]), hint=hint)


def _identity(path: Path) -> tuple[int, int]:
    status = path.stat()
    return status.st_dev, status.st_ino


def _put(item: _Item, target: Path) -> None:
    if item.source is None:
        write_bytes(target, item.content, mode=STARTED if item.is_start else READ_ONLY)
    else:
        link_or_copy(item.source, target)


def _protect(target: Path) -> None:
    if target.stat().st_mode & 0o777 != READ_ONLY:
        target.chmod(READ_ONLY)


def _clean(stale: Sequence[str], names: Collection[str], bids: Path, ground: Path) -> None:
    """Remove what is ours and no longer planned: files, temporary files of killed runs, empty folders."""
    for folder in {(bids / name).parent for name in names}:
        for part in folder.glob(".*.part"):
            match = _LEFT_BEHIND.fullmatch(part.name)
            if match and (folder / match["name"]).relative_to(bids).as_posix() in names:
                part.unlink(missing_ok=True)
    for path in stale:
        (bids / path).unlink(missing_ok=True)
        log.info("%s: removed, it is no longer planned", path)
    for folder in {(bids / path).parent for path in stale}:
        _remove_empty(folder, ground)


def _remove_empty(folder: Path, ground: Path) -> None:
    while folder != ground:
        try:
            folder.rmdir()
        except FileNotFoundError:
            pass
        except OSError:  # not empty
            return
        folder = folder.parent
