"""What a run left behind, as it is: any file may be missing or broken, and the page says so.

Nothing here judges or words anything; ``facts`` does.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TypeVar

import msgspec

from pacs2bids.files import read_record, read_tsv
from pacs2bids.identifiers import OF_HEADERS, OF_PACS
from pacs2bids.model import (
    CheckResult,
    Json,
    Manifest,
    Pacs2BidsError,
    PlacedSession,
    PlanRow,
    Receipt,
    StudyIndex,
    StudyRow,
    VolumeOpinion,
)
from pacs2bids.standing import Log, log_path, logs_of_failed, read_log

Record = TypeVar("Record")


@dataclass(frozen=True, slots=True, kw_only=True)
class StudyEvidence:
    """One study's records, each None where it is not there. ``volumes``: the folder of its volumes.

    ``opinions``: dcm2niix's, of these volumes; None where it was not asked.
    """

    row: StudyRow
    volumes: Path
    receipt: Receipt | None
    index: StudyIndex | None
    manifest: Manifest | None
    opinions: tuple[VolumeOpinion, ...] | None
    logs: dict[str, Log]  # by stage: pull, index, reconstruct, opinion


@dataclass(frozen=True, slots=True, kw_only=True)
class SessionEvidence:
    """One session: its studies, its plan and what was placed; None where it is not there.

    ``is_listed``: it stands in ``studies.tsv``.
    """

    key: str
    is_listed: bool
    studies: tuple[StudyEvidence, ...]
    plan: tuple[PlanRow, ...] | None
    placed: PlacedSession | None
    logs: dict[str, Log]  # by stage: plan, place
    problems: tuple[str, ...] = ()  # records that exist and cannot be read


@dataclass(frozen=True, slots=True, kw_only=True)
class KnownSession:
    """A session by name, nothing of it read. ``is_listed``: it stands in ``studies.tsv``."""

    key: str
    is_listed: bool
    studies: tuple[StudyRow, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Outline:
    """The dataset without its sessions' records. ``problems``: records that exist and cannot be read."""

    description: dict[str, Json]  # dataset_description.json
    workdir: Path
    bids: Path
    sessions: tuple[KnownSession, ...]
    check: CheckResult | None
    logs: dict[str, Log]  # of what is done once, as far as it has no result: query, dataset, check
    problems: tuple[str, ...] = ()


ReadPlan = Callable[[Path], Sequence[PlanRow]]


def outline(workdir: Path, bids: Path, *, read_plan: ReadPlan) -> Outline:
    """What is known of the whole, at the price of one file a dataset and one folder a session."""
    return _Reader(workdir, read_plan).outline(bids)


def session_evidence(workdir: Path, known: KnownSession, *, read_plan: ReadPlan) -> SessionEvidence:
    """What the stages wrote of one session."""
    return _Reader(workdir, read_plan).session(known)


def files_of(workdir: Path, known: KnownSession) -> Iterator[Path]:
    """The files that ``session_evidence`` reads, and those of who it is, whether they are there or not."""
    folder = workdir / "sessions" / known.key
    yield from (folder / name for name in ("plan.tsv", "placed.json"))
    yield from (log_path(workdir, stage, known.key) for stage in _OF_SESSION)
    for row in known.studies:
        study = workdir / "studies" / row.study_instance_uid
        yield from (study / name for name in _OF_STUDY_FILES)
        yield from (log_path(workdir, stage, row.study_instance_uid) for stage in _OF_STUDY)


_OF_SESSION = ("plan", "place")
_OF_STUDY = ("pull", "index", "reconstruct", "opinion")
_OF_STUDY_FILES = (
    "receipt.json",
    "receipt.incomplete.json",
    "index.json",
    "volumes/manifest.json",
    "second_opinion.tsv",
    OF_HEADERS,
    OF_PACS,
)


class _Reader:
    """Reads records that may be missing; remembers those that are broken."""

    def __init__(self, workdir: Path, read_plan: ReadPlan) -> None:
        self._workdir = workdir
        self._read_plan = read_plan
        self._problems: list[str] = []

    def outline(self, bids: Path) -> Outline:
        listed: dict[str, list[StudyRow]] = defaultdict(list)
        for row in self._study_rows():
            listed[row.session_key].append(row)
        # those of an earlier table, too: their files are in the dataset
        known = {folder.name for folder in self._workdir.glob("sessions/*/")}
        sessions = tuple(self._known(key, listed.get(key)) for key in sorted(known | set(listed)))
        check = self._record(self._workdir / "check.json", CheckResult)
        return Outline(
            description=self._description(bids),
            workdir=self._workdir,
            bids=bids,
            sessions=sessions,
            check=check,
            logs=logs_of_failed(self._workdir),
            problems=tuple(self._problems),
        )

    def _known(self, key: str, rows: Sequence[StudyRow] | None) -> KnownSession:
        if rows is not None:
            return KnownSession(key=key, is_listed=True, studies=tuple(rows))
        # a plan that is broken is told by the session that it is of
        planned = _Reader(self._workdir, self._read_plan).plan(key) or ()
        return KnownSession(key=key, is_listed=False, studies=tuple(_planned_studies(key, planned)))

    def session(self, known: KnownSession) -> SessionEvidence:
        placed = self._workdir / "sessions" / known.key / "placed.json"
        return SessionEvidence(
            key=known.key,
            is_listed=known.is_listed,
            studies=tuple(self._study(row) for row in known.studies),
            plan=self.plan(known.key),
            placed=self._record(placed, PlacedSession),
            logs={stage: read_log(self._workdir, stage, known.key) for stage in _OF_SESSION},
            problems=tuple(self._problems),
        )

    def _study_rows(self) -> list[StudyRow]:
        path = self._workdir / "studies.tsv"
        if not path.exists():
            return []
        try:
            return msgspec.convert(read_tsv(path), list[StudyRow])
        except (msgspec.ValidationError, UnicodeDecodeError) as error:
            self._problems.append(f"{path}: is no table of studies: {error}")
            return []

    def _study(self, row: StudyRow) -> StudyEvidence:
        uid = row.study_instance_uid
        folder = self._workdir / "studies" / uid
        whole, part = folder / "receipt.json", folder / "receipt.incomplete.json"
        manifest = folder / "volumes" / "manifest.json"
        return StudyEvidence(
            row=row,
            volumes=folder / "volumes",
            receipt=self._record(whole if whole.exists() else part, Receipt),
            index=self._record(folder / "index.json", StudyIndex),
            manifest=self._record(manifest, Manifest),
            opinions=self._opinions(folder / "second_opinion.tsv", manifest),
            logs={stage: read_log(self._workdir, stage, uid) for stage in _OF_STUDY},
        )

    def _opinions(self, path: Path, manifest: Path) -> tuple[VolumeOpinion, ...] | None:
        """None of a table that is older than the volumes: it speaks of others."""
        if not (path.exists() and manifest.exists()) or path.stat().st_mtime < manifest.stat().st_mtime:
            return None
        try:
            return tuple(msgspec.convert(read_tsv(path), list[VolumeOpinion]))
        except (msgspec.ValidationError, UnicodeDecodeError) as error:
            self._problems.append(f"{path}: is no table of opinions: {error}")
            return None

    def _record(self, path: Path, kind: type[Record]) -> Record | None:
        if not path.exists():
            return None
        try:
            return read_record(path, kind)
        except Pacs2BidsError as error:
            self._problems.append(str(error))
            return None

    def plan(self, key: str) -> tuple[PlanRow, ...] | None:
        path = self._workdir / "sessions" / key / "plan.tsv"
        if not path.exists():
            return None
        try:
            return tuple(self._read_plan(path))
        except Pacs2BidsError as error:
            self._problems.append(str(error))
            return None

    def _description(self, bids: Path) -> dict[str, Json]:
        path = bids / "dataset_description.json"
        if not path.exists():
            return {}
        try:
            return msgspec.json.decode(path.read_bytes(), type=dict[str, Json])
        except msgspec.DecodeError as error:
            self._problems.append(f"{path}: is no JSON object: {error}")
            return {}


def _planned_studies(key: str, plan: Sequence[PlanRow]) -> list[StudyRow]:
    """The studies of a session as its plan tells them, where no table does."""
    subject, _, session = key.removeprefix("sub-").partition("_ses-")
    uids = dict.fromkeys(row.study_instance_uid for row in plan)
    return [StudyRow(study_instance_uid=uid, subject=subject, session=session, source="") for uid in uids]
