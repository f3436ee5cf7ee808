"""Put the volumes of one session into the dataset under their planned names.

Volumes are hard links into ``volumes/`` (copies across file systems), so a new name costs no pixels; of one
that ``keep: none`` let go the dataset's own file takes the new name (``images``). Sidecars are written anew
with what only a name can tell. Everything is read-only: edits belong into the heuristic. But for the tables
that people edit, too: what they wrote into the scans table stays (``scans``), and a table that they filled in
is theirs. ``owned`` tells whose a file is, ``notes`` what people noted of volumes that were another
session's.
"""

from __future__ import annotations

import hashlib
import hmac
import logging
import re
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from itertools import chain
from pathlib import Path, PurePosixPath

import msgspec

from pacs2bids.archive import EXTENSION, series_archive
from pacs2bids.bids import intended_file, values_of
from pacs2bids.dates import ABOUT, Dates, Hide, exact_moment
from pacs2bids.deface import defaced, is_meant
from pacs2bids.edited import read_object, read_rows
from pacs2bids.files import write_record
from pacs2bids.filled_in import (
    Beside,
    EventTables,
    beside,
    carry_out,
    remember,
    settled,
    table_beside,
    without_deleted,
)
from pacs2bids.gate import DESCRIPTIONS, NOTHING, Hit, Needles, cure, hits, masked, search_file
from pacs2bids.images import Finder, is_let_go, put_back
from pacs2bids.model import (
    DatasetError,
    Defacing,
    Json,
    Manifest,
    PlacedSession,
    PlanRow,
    PrivacyRules,
    SeriesInfo,
    Stack,
    VolumeFile,
    session_folder,
)
from pacs2bids.notes import (
    SCANS_BASE,
    Noted,
    bring_home,
    noted_elsewhere,
    read_base,
    scans_paths,
    table_digest,
)
from pacs2bids.owned import (
    EDITABLE,
    PLACED,
    PLACED_BEFORE,
    SKELETONS,
    SOURCEDATA,
    Item,
    Kind,
    Prepared,
    make_it_so,
    prepared,
    session_labels,
    text_item,
    without_theirs,
)
from pacs2bids.released import RELEASED
from pacs2bids.scans import KEY, Scan, ScansBase, scans_table

log = logging.getLogger("pacs2bids.place")

# where BIDS allows gradient tables (schema: rules.files.raw.dwi.dwi, rules.files.raw.fmap.pepolar)
GRADIENT_NAMES = frozenset({("dwi", "dwi"), ("fmap", "epi")})

SERIAL = "DeviceSerialNumber"

_AGE = re.compile(r"(?P<number>[0-9]{1,3})(?P<unit>[DWMY])")
_UNITS_PER_YEAR = {"D": 365.25, "W": 365.25 / 7, "M": 12.0, "Y": 1.0}


Finish = Callable[[Sequence[Item]], list[Item]]


@dataclass(frozen=True, slots=True, kw_only=True)
class StudyVolumes:
    """The reconstructed volumes of one study: the folder they lie in, its manifest, and its stacks by id."""

    folder: Path
    manifest: Manifest
    stacks: Mapping[str, Stack] = field(default_factory=dict)


@dataclass(frozen=True, slots=True, kw_only=True)
class Privacy:
    """What may leave: by ``rules``, and ``needles``: what identifies the patient. ``defacing``: which volumes
    lose their faces, and how. ``key``: to hash by."""

    rules: PrivacyRules = field(default_factory=PrivacyRules)
    defacing: Defacing = field(default_factory=Defacing)
    needles: Needles = NOTHING
    key: bytes = b""


DEFAULT_PRIVACY = Privacy()


def participant_facts(series: Iterable[SeriesInfo]) -> dict[str, Json]:
    """What participants.tsv needs, from the first series (in the order given) that says it.

    ``age``: years, from PatientAge (0010,1010; PS3.5 6.2, AS: nnnD, nnnW, nnnM, nnnY). ``sex``: PatientSex
    (0010,0040): M, F, O.

    An age of 0 in any unit is none: scanners fill in 000Y where nobody entered a birth date, and AS counts
    whole units, so 000Y and 000M of an infant say no more. 000D may be a newborn's first day, too: rather an
    n/a that the centre's own table can fill than a 0 that may be an adult.
    """
    facts: dict[str, Json] = {}
    for entry in series:
        age = _AGE.fullmatch(entry.patient_age or "")
        if age and int(age["number"]) and "age" not in facts:
            years = int(age["number"]) / _UNITS_PER_YEAR[age["unit"]]
            facts["age"] = int(years) if years == int(years) else round(years, 2)
        if entry.patient_sex in ("M", "F", "O"):
            facts.setdefault("sex", entry.patient_sex)
    return facts


def place_session(
    *,
    session_dir: Path,
    bids: Path,
    rows: Sequence[PlanRow],
    studies: Mapping[str, StudyVolumes],
    participant: dict[str, Json],
    hide: Hide,
    privacy: Privacy = DEFAULT_PRIVACY,
    finish: Finish = list,
) -> PlacedSession:
    """Make the session's part of the dataset what the plan says; writes ``placed.json`` last.

    ``studies`` maps StudyInstanceUID to its volumes. ``finish`` gets the files to be, but for the scans
    table, and gives those that are placed. Stacks that could not be reconstructed are left out and told.
    Raises DatasetError, before anything is written, if a volume is missing, if a file that is not ours is in
    the way, or if one holds what ``privacy`` does not let leave.
    """
    subject, session = session_labels(session_dir.name)
    named = [row for row in rows if row.bids_name]
    _check_names(named, session_dir.name)
    absent = _failed_stacks(named, studies)
    present = [row for row in named if row.bids_name not in absent]
    begun = _begun(rows)
    dates = hide.of(subject, begun)
    lost = _lost(absent, named)
    _refuse_burned_in(present, studies, privacy.rules)
    targets = {bids / f"{row.bids_name}.nii.gz" for row in present}
    finder = Finder(session_dir=session_dir, bids=bids, targets=targets)
    items = [item for row in present for item in _volume_items(row, studies, lost, privacy, finder)]
    items += _tables_beside(present)
    items += _physiology(present, studies)
    items += _archives(rows, studies, session_dir.name)
    items = finish(items)
    volumes = {row.bids_name: _volume_key(row) for row in present}
    study_dirs = [study.folder.parent for study in studies.values()]
    taken = noted_elsewhere(session_dir, bids, study_dirs)
    scans, base, until = _scans_items(session_dir, bids, present, taken, dates)
    items = sorted([*items, *scans], key=lambda item: item.path)
    _require_clean(session_dir.name, items, privacy.needles)
    around = beside(session_dir, bids, volumes, study_dirs)
    items = _without_others(items, around.theirs)
    what, known = _prepared(session_dir, bids, items, around, volumes)
    _put_back(what, study_dirs)
    placed = PlacedSession(
        session_key=session_dir.name,
        subject=subject,
        session=session,
        files={item.path: item.digest for item in what.items if item.kind not in EDITABLE},
        tables=tuple(item.path for item in what.items if item.kind in EDITABLE),
        volumes=volumes,
        participant=participant,
        absent=absent,
        begun=begun.isoformat() if begun else "",
        acq_time=dates.hidden(begun) or "",
        dates=hide.name,
        defaced={name: privacy.defacing.command for name in volumes if is_meant(privacy.defacing, name)},
        basis=_basis(rows, studies),
    )
    is_news = base != read_base(session_dir)
    if is_news:
        write_record(session_dir / SCANS_BASE, until)
    begun_tables = [item.path for item in items if item.kind is Kind.SKELETON]
    record = remember(session_dir, bids, known, volumes, begun_tables)
    make_it_so(what)
    if is_news:
        write_record(session_dir / SCANS_BASE, base)
    settled(session_dir, record)
    bring_home(session_dir.name, study_dirs)
    for name in (PLACED_BEFORE, PLACED):
        write_record(session_dir / name, placed)
    return placed


def _basis(rows: Sequence[PlanRow], studies: Mapping[str, StudyVolumes]) -> str:
    manifests = [studies[uid].manifest for uid in sorted(studies)]
    return hashlib.sha256(msgspec.json.encode((rows, manifests))).hexdigest()


def _prepared(
    session_dir: Path, bids: Path, items: Sequence[Item], around: Beside, volumes: Mapping[str, str]
) -> tuple[Prepared, EventTables]:
    """Prepare it, with what people put beside volumes moved to where these are now: nothing, if refused."""
    skeletons = [item.path for item in items if item.kind is Kind.SKELETON]
    deleted = {*skeletons}.difference(without_deleted(skeletons, around.known, volumes))
    items = [item for item in items if item.path not in deleted]
    _refuse(session_dir, bids, items)
    known = carry_out(session_dir, bids, around)
    return _refuse(session_dir, bids, items), known


def _refuse(session_dir: Path, bids: Path, items: Sequence[Item]) -> Prepared:
    """What is to be done. Raises DatasetError if anything of it is refused."""
    ours = without_theirs(session_dir, bids, items)
    return prepared(session_dir, bids, ours, merged=scans_paths(session_dir.name))


def _put_back(what: Prepared, study_dirs: Collection[Path]) -> None:
    """What ``keep: none`` let go for the sake of files that leave the dataset now is with its study again.

    That may be a study which the session has no more.
    """
    others = (path.parent for path in what.session_dir.parent.parent.glob(f"studies/*/{RELEASED}"))
    leaving = [*what.stale, *(item.path for item in what.todo)]
    staying = {item.digest for item in what.items}
    put_back(what.session_dir, what.bids, leaving, chain(study_dirs, others), staying=staying)


def _refuse_burned_in(
    present: Iterable[PlanRow], studies: Mapping[str, StudyVolumes], rules: PrivacyRules
) -> None:
    """Raise DatasetError for pictures whose pixels may name the patient, unless they are allowed."""
    for row in present:
        stack = _study(row, studies).stacks.get(row.stack_id)
        if rules.burned_in == "refuse" and stack is not None and stack.facts.is_burned_in:
            what = (
                f"series {row.series_number} has text in its pixels (Burned In Annotation), or is a picture "
                "of a screen: it may name the patient, and the gate reads no pixels"
            )
            hint = (
                "Give it no name; or look at it, and write `burned_in: allow` under `privacy` in config.yaml"
            )
            raise DatasetError(what, where=row.bids_name, hint=hint)


def _wanted(held_back: Mapping[str, Json], privacy: Privacy) -> dict[str, Json]:
    """Of institution and device what the configuration lets leave."""
    fields = dict(held_back) if privacy.rules.institution == "keep" else {}
    serial = str(held_back.get(SERIAL, ""))
    fields.pop(SERIAL, None)
    if serial and privacy.rules.device_serial == "hash":
        fields[SERIAL] = hmac.digest(privacy.key, f"device {serial}".encode(), hashlib.sha256).hex()[:16]
    elif serial and privacy.rules.device_serial == "keep":
        fields[SERIAL] = serial
    return fields


def _drop_descriptions(fields: dict[str, Json], name: str, needles: Needles) -> None:
    """Take away what people typed where it holds an identifier."""
    for key in DESCRIPTIONS:
        if key in fields and any(hit.is_sure for hit in hits(str(fields[key]), needles)):
            del fields[key]
            log.warning("%s: %s is left out, as it holds an identifier", name, key)


def _require_clean(key: str, items: Iterable[Item], needles: Needles) -> None:
    """Raise DatasetError if anything that is about to be placed holds what identifies the patient.

    DICOM files in sourcedata do so by nature: of them the name alone is looked at.
    """
    found: list[tuple[str, Hit]] = []
    for item in items:
        content = b"" if item.kind is Kind.PRIVATE else item.source or item.content
        found += [(masked(item.path, needles), hit) for hit in search_file(item.path, content, needles)]
    for name, hit in found:
        if not hit.is_sure:
            log.warning("%s: %s, or another word of two letters: please look", name, hit)
    sure = [(name, hit) for name, hit in found if hit.is_sure]
    if sure:
        name, told = _told(sure)
        what = f"{told}; nothing of {masked(key, needles)} is placed"
        raise DatasetError(what, where=name, hint=cure(*(hit for _, hit in sure)))


def _told(found: Sequence[tuple[str, Hit]]) -> tuple[str, str]:
    """The first file, and what is in it and elsewhere: of each kind one, at most three, and how many more."""
    firsts: dict[Hit, str] = {}
    for name, hit in found:
        firsts.setdefault(hit, name)
    (hit, where), *rest = list(firsts.items())[:3]
    others = [str(one) if name == where else f"{PurePosixPath(name).name}: {one}" for one, name in rest]
    more = len(found) - 1 - len(rest)
    others += [f"{more:,} more"] * bool(more)
    return where, f"{hit} (and {'; '.join(others)})" if others else str(hit)


def _begun(rows: Iterable[PlanRow]) -> datetime | None:
    """When the first series began, named or not: a change of names must not move the others' times."""
    return min((moment for row in rows if (moment := exact_moment(row.acquired))), default=None)


# ------------------------------------------------------------------------------------------ what should be


def _check_names(named: Sequence[PlanRow], key: str) -> None:
    """No session may reach into the folder of another: they are placed at the same time."""
    folder = f"{session_folder(key)}/"
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


def _volume_items(
    row: PlanRow, studies: Mapping[str, StudyVolumes], lost: _Lost, privacy: Privacy, finder: Finder
) -> Iterable[Item]:
    study = _study(row, studies)
    by_extension = _volume_files(row, study)
    stack = study.stacks.get(row.stack_id)
    more = _wanted(stack.held_back, privacy) if stack else {}
    sidecar = _sidecar(study.folder / by_extension.pop(".json")[0], row, lost, more)
    if privacy.rules.descriptions == "dropped":
        _drop_descriptions(sidecar, row.bids_name, privacy.needles)
    yield _written(f"{row.bids_name}.json", sidecar)
    name = PurePosixPath(row.bids_name)
    takes_gradients = (name.parent.name, name.name.rpartition("_")[2]) in GRADIENT_NAMES
    for extension, (file, digest) in sorted(by_extension.items()):
        path = f"{row.bids_name}{extension}"
        if extension == ".nii.gz" and is_meant(privacy.defacing, row.bids_name):
            # with its face it is in the dataset no more: where it was let go, it stays with its study again
            original = finder.original(study.folder.parent, file, digest, finder.bids / path)
            source, made = defaced(study.folder.parent, original, digest, privacy.defacing)
            yield Item(path=path, digest=made, source=source)
        elif extension == ".nii.gz":
            source = finder.source(study.folder.parent, file, digest, finder.bids / path)
            yield Item(path=path, digest=digest, source=source)
        elif takes_gradients:
            yield Item(path=path, digest=digest, source=study.folder / file)
        elif extension == ".bval" and any(map(float, (study.folder / file).read_text().split())):
            log.warning("%s: BIDS has no place for its b-values under this name", row.bids_name)


def _tables_beside(present: Sequence[PlanRow]) -> Iterable[Item]:
    """The tables that go with volumes. Raises DatasetError if two volumes want different ones."""
    contents: dict[str, str] = {}
    for row in present:
        for ending, content in row.beside.items():
            path = table_beside(row.bids_name, ending)
            if contents.setdefault(path, content) != content:
                hint = "Run the plan stage again"
                raise DatasetError("is planned with two contents", where=path, hint=hint)
    for path, content in contents.items():
        yield text_item(path, content, kind=Kind.SKELETON if path.endswith(SKELETONS) else Kind.OURS)


def _physiology(present: Sequence[PlanRow], studies: Mapping[str, StudyVolumes]) -> Iterable[Item]:
    """Recordings that the scanner stored; echoes and parts share one. Raises DatasetError if one is lost."""
    items: dict[str, Item] = {}
    for row in (row for row in present if row.physiology):
        study, log_id = _study(row, studies), row.physiology
        logs = [log for log in study.manifest.physiology if log.log_id == log_id]
        files = {name: digest for log in logs for name, digest in log.files.items()}
        gone = [name for name in files if not (study.folder / name).is_file()]
        if gone or not files:
            what = f"is missing, planned for {row.bids_name}"
            hint = f"Run the reconstruct stage of study {row.study_instance_uid} again"
            where = str(study.folder / (gone[0] if gone else log_id))
            raise DatasetError(what, where=where, hint=hint)
        for name, digest in files.items():
            path = table_beside(row.bids_name, name.removeprefix(log_id))
            if path.endswith(".json"):
                said = {"TaskName": row.metadata["TaskName"]} if "TaskName" in row.metadata else {}
                items[path] = _written(path, _fields(study.folder / name, row) | said)
            else:
                items[path] = Item(path=path, digest=digest, source=study.folder / name)
    return items.values()


def _without_others(items: Iterable[Item], theirs: Collection[str]) -> list[Item]:
    """Without the recordings in whose place people have put their own."""
    recordings = {path.partition(".")[0] for path in theirs if "_physio." in path}
    kept = []
    for item in items:
        if item.path.partition(".")[0] in recordings:
            log.warning("%s: not placed, for people put their own there", item.path)
        else:
            kept.append(item)
    return kept


def _archives(rows: Iterable[PlanRow], studies: Mapping[str, StudyVolumes], key: str) -> Iterable[Item]:
    """DICOM files of the series that the heuristic wants in sourcedata, named or not."""
    folder = f"{SOURCEDATA}/{session_folder(key)}/"
    series: dict[str, PlanRow] = {}
    for row in rows:
        path, hint = f"{row.sourcedata}{EXTENSION}", "Run the plan stage again"
        if not row.sourcedata:
            continue
        if not path.startswith(folder) or ".." in PurePosixPath(path).parts:
            raise DatasetError(f"is planned outside {folder}", where=path, hint=hint)
        other = series.setdefault(path, row)
        if other.series_instance_uid != row.series_instance_uid:
            hint = "Give the templates in the heuristic a run, as in 'run-{item:02d}'"
            raise DatasetError("is planned for the DICOM files of two series", where=path, hint=hint)
    for path, row in series.items():
        source, digest = series_archive(_study(row, studies).folder.parent, row.series_instance_uid)
        yield Item(path=path, digest=digest, source=source, kind=Kind.PRIVATE)


def _volume_files(row: PlanRow, study: StudyVolumes) -> dict[str, tuple[str, str]]:
    """Extension -> (name in ``volumes/``, digest) of a stack's files, all of them there, or let go."""
    volume = _volume(row, study)
    files = {file.removeprefix(row.stack_id): (file, digest) for file, digest in volume.files.items()}
    absent = {file: digest for file, digest in files.values() if not (study.folder / file).is_file()}
    lost = [file for file, digest in absent.items() if not is_let_go(study.folder.parent, file, digest)]
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
    """Planned names without a volume, and of those with one what they call their field maps.

    ``uncalibrated``: perfusion whose M0 scan is among the lost, by file.
    """

    names: Collection[str]
    identifiers_left: Collection[str]
    uncalibrated: Collection[str | None]


def _lost(absent: Collection[str], named: Sequence[PlanRow]) -> _Lost:
    present = [row for row in named if row.bids_name not in absent]
    left = {str(one) for row in present for one in values_of(row.metadata.get("B0FieldIdentifier"))}
    calibrations = [row for row in named if row.bids_name.endswith("_m0scan") and "/perf/" in row.bids_name]
    lost, kept = set[str | None](), set[str | None]()
    for row in calibrations:
        subject = PurePosixPath(row.bids_name).parts[0]
        targets = (intended_file(str(one), subject) for one in values_of(row.metadata.get("IntendedFor")))
        (lost if row.bids_name in absent else kept).update(targets)
    return _Lost(names=absent, identifiers_left=left, uncalibrated=lost - kept)


def _sidecar(path: Path, row: PlanRow, lost: _Lost, more: Mapping[str, Json]) -> dict[str, Json]:
    """The stack's own fields in their order, ``more``, then those of the plan in alphabetical order.

    The plan wins; what is None there is taken away.
    """
    fields = _fields(path, row) | {**more, **dict(sorted(row.metadata.items()))}
    fields = {name: value for name, value in fields.items() if value is not None}
    if lost.names and "IntendedFor" in fields:
        _drop_absent_targets(fields, row.bids_name, lost.names)
    if lost.names and "B0FieldSource" in fields:
        sources = values_of(fields["B0FieldSource"])
        _keep(fields, "B0FieldSource", [one for one in sources if one in lost.identifiers_left])
    if fields.get("M0Type") == "Separate" and f"{row.bids_name}.nii.gz" in lost.uncalibrated:
        fields["M0Type"] = "Estimate" if "M0Estimate" in fields else "Absent"
    return fields


def _fields(path: Path, row: PlanRow) -> dict[str, Json]:
    """Of a sidecar in ``volumes/``."""
    try:
        return msgspec.json.decode(path.read_bytes(), type=dict[str, Json])
    except msgspec.DecodeError as error:
        hint = f"Run the reconstruct stage of study {row.study_instance_uid} again"
        raise DatasetError(f"is no sidecar: {error}", where=str(path), hint=hint) from error


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
        for target in values_of(fields["IntendedFor"])
        if intended_file(str(target), subject) not in gone
    ]
    _keep(fields, "IntendedFor", left)


def _scans_items(
    session_dir: Path, bids: Path, present: Sequence[PlanRow], taken: Noted, dates: Dates
) -> tuple[list[Item], ScansBase, ScansBase]:
    """The scans table (BIDS, Scans file), what to remember of it, and of it while it is replaced.

    ``taken``: notes of people that come with volumes from other sessions.
    """
    path, about = scans_paths(session_dir.name)
    folder = path.rpartition("/")[0]
    scans = [
        Scan(
            filename=f"{row.bids_name.removeprefix(folder + '/')}.nii.gz",
            acq_time=dates.hidden(exact_moment(row.acquired)),
            volume=_volume_key(row),
        )
        for row in present
    ]
    digest = table_digest(bids / path)
    recorded = read_base(session_dir).of_table(digest)
    found, before = taken.instead_of(read_rows(bids / path, KEY, "file"), recorded)
    described = {**taken.columns, **read_object(bids / about)}
    table = scans_table(scans, found, described, before, ABOUT[dates.policy])
    items = [
        text_item(path, table.text, kind=Kind.MERGED),
        _written(about, table.description, kind=Kind.MERGED),
    ]
    until = before.until(digest, table.base, items[0].digest if table.text else "")
    return items if table.text else [], table.base, until


def _volume_key(row: PlanRow) -> str:
    return f"{row.study_instance_uid}/{row.stack_id}"


def _written(path: str, document: Mapping[str, Json], *, kind: Kind = Kind.OURS) -> Item:
    text = msgspec.json.format(msgspec.json.encode(document).decode(), indent=2)
    return text_item(path, f"{text}\n", kind=kind)
