"""What a run left behind, as it is: any file may be missing or broken, and the page says so.

Nothing here judges or words anything; ``facts`` does.
"""

from __future__ import annotations

import re
from collections import defaultdict
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TypeVar

import msgspec

from pacs2bids.files import read_record, read_tsv
from pacs2bids.model import (
    CheckResult,
    ConfigError,
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

Record = TypeVar("Record")

# "2026-01-31 12:00:00,123 ERROR   pacs2bids: ..."; lines without such a head continue the message
_LOG_HEAD = re.compile(r"^\d{4}-\d\d-\d\d \d\d:\d\d:\d\d,\d{3} (?P<level>[A-Z]+) +\S+: ", re.MULTILINE)
_TRACEBACK = "\nTraceback (most recent call last):"
_LOG_TAIL_BYTES = 64 * 1024


@dataclass(frozen=True, slots=True, kw_only=True)
class Log:
    """The end of one job's log. ``error``: its last error, "" if there is none."""

    path: str
    exists: bool
    error: str = ""
    warnings: tuple[str, ...] = ()


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


@dataclass(frozen=True, slots=True, kw_only=True)
class Evidence:
    """Everything. ``problems``: records that exist and cannot be read."""

    description: dict[str, Json]  # dataset_description.json
    bids: Path
    sessions: tuple[SessionEvidence, ...]
    check: CheckResult | None
    logs: dict[str, Log]  # of what is done once, as far as it has no result: query, dataset, check
    problems: tuple[str, ...] = ()


def gather(workdir: Path, bids: Path, *, read_plan: Callable[[Path], Sequence[PlanRow]]) -> Evidence:
    """Read what the stages wrote. Raises ConfigError if there is no ``workdir``."""
    if not workdir.is_dir():
        raise ConfigError("is no folder", where=str(workdir), hint="Give the workdir of the configuration")
    return _Gatherer(workdir, read_plan).all(bids)


class _Gatherer:
    """Reads records that may be missing; remembers those that are broken."""

    def __init__(self, workdir: Path, read_plan: Callable[[Path], Sequence[PlanRow]]) -> None:
        self._workdir = workdir
        self._read_plan = read_plan
        self._problems: list[str] = []

    def all(self, bids: Path) -> Evidence:
        listed: dict[str, list[StudyRow]] = defaultdict(list)
        for row in self._study_rows():
            listed[row.session_key].append(row)
        # those of an earlier table, too: their files are in the dataset
        known = {folder.name for folder in self._workdir.glob("sessions/*/")}
        sessions = tuple(self._session(key, listed.get(key)) for key in sorted(known | set(listed)))
        check = self._record(self._workdir / "check.json", CheckResult)
        return Evidence(
            description=self._description(bids),
            bids=bids,
            sessions=sessions,
            check=check,
            logs=self._logs(),
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

    def _session(self, key: str, rows: Sequence[StudyRow] | None) -> SessionEvidence:
        folder = self._workdir / "sessions" / key
        plan = self._plan(folder / "plan.tsv")
        return SessionEvidence(
            key=key,
            is_listed=rows is not None,
            studies=tuple(self._study(row) for row in rows or _planned_studies(key, plan or ())),
            plan=plan,
            placed=self._record(folder / "placed.json", PlacedSession),
            logs={stage: self._log(stage, key) for stage in ("plan", "place")},
        )

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
            logs={stage: self._log(stage, uid) for stage in ("pull", "index", "reconstruct", "opinion")},
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

    def _plan(self, path: Path) -> tuple[PlanRow, ...] | None:
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

    def _logs(self) -> dict[str, Log]:
        products = {"query": "studies.tsv", "dataset": "dataset.json", "check": "check.json"}
        return {
            stage: self._log(stage)
            for stage, product in products.items()
            if not (self._workdir / product).exists()
        }

    def _log(self, stage: str, key: str = "") -> Log:
        path = self._workdir / "logs" / (f"{stage}/{key}.log" if key else f"{stage}.log")
        if not path.exists():
            return Log(path=str(path), exists=False)
        entries = list(_log_entries(_tail(path)))
        errors = [message for level, message in entries if level == "ERROR"]
        warnings = dict.fromkeys(message for level, message in entries if level == "WARNING")
        return Log(path=str(path), exists=True, error=errors[-1] if errors else "", warnings=tuple(warnings))


def _planned_studies(key: str, plan: Sequence[PlanRow]) -> list[StudyRow]:
    """The studies of a session as its plan tells them, where no table does."""
    subject, _, session = key.removeprefix("sub-").partition("_ses-")
    uids = dict.fromkeys(row.study_instance_uid for row in plan)
    return [StudyRow(study_instance_uid=uid, subject=subject, session=session, source="") for uid in uids]


def _tail(path: Path) -> str:
    """A log may be long; what ended the job stands at its end."""
    with path.open("rb") as stream:
        stream.seek(max(path.stat().st_size - _LOG_TAIL_BYTES, 0))
        return stream.read().decode(errors="replace")


def _log_entries(text: str) -> Iterator[tuple[str, str]]:
    """Level and message of each entry, without its time and without tracebacks."""
    heads = list(_LOG_HEAD.finditer(text))
    ends = [head.start() for head in heads[1:]] + [len(text)]
    for head, end in zip(heads, ends, strict=False):  # without heads there is one end
        yield head["level"], text[head.end() : end].partition(_TRACEBACK)[0].strip()
