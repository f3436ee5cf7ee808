"""Where each session stands, of the whole workdir at once: by which results are there, without reading them.

An index of a thousand sessions is gigabytes; that it is there says enough. Only what is small is read: the
records of placing, the findings of the check, and the logs of what has no result. Nothing here identifies a
patient: session keys, UIDs of studies, and errors, which never do.
"""

from __future__ import annotations

import re
from collections import defaultdict
from collections.abc import Collection, Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from enum import StrEnum
from pathlib import Path

import msgspec

from pacs2bids.files import read_record, read_tsv
from pacs2bids.model import CheckResult, Finding, HeaderError, Pacs2BidsError, StudyRow
from pacs2bids.standing import (
    ENDED,
    Log,
    State,
    Trouble,
    is_pulled,
    logs_of_failed,
    read_log,
    standing_of,
    troubles_of,
)
from pacs2bids.text import counted
from pacs2bids.turn import LOCK, who_is_at_work

# the check of a run in which not all succeeded; the next run makes it anew
PROVISIONAL = "check.provisional.json"
VERDICT = "dataset "  # how the check begins what it says of its findings: "dataset invalid: 12 files, ..."
DATASET = "dataset"  # instead of a session's key: what is of the whole


def is_to_be_repeated(check: Path) -> bool:
    """Whether a check (its record) had no result, as the validator crashed or is missing; or is damaged."""
    try:
        findings = read_record(check, CheckResult).findings
    except HeaderError:
        return True
    return any(one.code.startswith("VALIDATOR_") for one in findings)


class Standing(StrEnum):
    """In which state a line is, in the order in which lines are told: what a person must see comes last."""

    PLACED = "placed"
    LEFT = "left"  # not in the studies table any more
    LACKING = "lacking"  # placed, but for volumes that could not be made, which the configuration allows
    WAITING = "waiting"
    RUNNING = "running"
    INVALID = "invalid"  # placed, and the check has errors
    FAILED = "failed"


_OF_STATE = {
    State.PLACED: Standing.PLACED,
    State.LACKING: Standing.LACKING,
    State.WAITING: Standing.WAITING,
    State.FAILED: Standing.FAILED,
}
NEEDS_A_PERSON = frozenset({Standing.INVALID, Standing.FAILED})


@dataclass(frozen=True, slots=True, kw_only=True)
class SessionStatus:
    """One session, or what is of the whole dataset (``DATASET``). ``why``: one line. ``log``: "" if none."""

    session: str
    state: Standing
    why: str
    log: str = ""
    studies: tuple[str, ...] = ()

    @property
    def needs_a_person(self) -> bool:
        """Whether it will not mend itself in the next run."""
        return self.state in NEEDS_A_PERSON

    def __str__(self) -> str:
        """One line for a person."""
        where = f" (see {self.log})" if self.log else ""
        return f"{self.session}  {self.state}: {self.why}{where}"


@dataclass(frozen=True, slots=True, kw_only=True)
class Status:
    """All of them, in the order of ``Standing``. ``at_work``: who holds the lock; None if nobody does."""

    lines: tuple[SessionStatus, ...]
    at_work: str | None = None

    @property
    def problems(self) -> tuple[SessionStatus, ...]:
        """Those that need a person."""
        return tuple(line for line in self.lines if line.needs_a_person)

    @property
    def counts(self) -> dict[str, int]:
        """State -> sessions, of the states that occur."""
        counts: dict[str, int] = defaultdict(int)
        for line in self.lines:
            counts[line.state.value] += line.session != DATASET
        return {state: count for state, count in counts.items() if count}

    @property
    def summary(self) -> str:
        """Like "1,000 sessions: 997 placed, 1 waiting, 2 failed"."""
        counts = self.counts
        told = ", ".join(f"{count:,} {state}" for state, count in counts.items())
        broken = sum(line.session == DATASET for line in self.problems)
        dataset = f"; {counted(broken, 'problem')} of the dataset" if broken else ""
        return counted(sum(counts.values()), "session") + (f": {told}" if told else "") + dataset


class _Placed(msgspec.Struct, frozen=True):
    """What of ``placed.json`` counts here."""

    volumes: dict[str, str] = {}
    absent: dict[str, str] = {}


def status_of(workdir: Path, *, is_over: bool = False) -> Status:
    """Look at a workdir; what is missing or broken is told, never raised.

    ``is_over``: the run that has the lock is about to end, and no job of it is at work.
    """
    at_work = None if is_over else who_is_at_work(workdir)
    since_ns = (workdir / LOCK).stat().st_mtime_ns if at_work else None
    return _Reader(workdir, since_ns).status(at_work)


@dataclass(slots=True, kw_only=True)
class _Found:
    """Errors of the check: those of each session, and those of none."""

    sessions: dict[str, list[Finding]] = field(default_factory=lambda: defaultdict(list))
    dataset: list[Finding] = field(default_factory=list)


class _Reader:
    """Reads one workdir. ``since_ns``: when the run began that is at work on it; None if none is."""

    def __init__(self, workdir: Path, since_ns: int | None) -> None:
        self._workdir, self._since_ns = workdir, since_ns
        self._broken: list[SessionStatus] = []

    def status(self, at_work: str | None) -> Status:
        rows = self._rows()
        left = {path.name for path in self._workdir.glob("sessions/*/")} - rows.keys()
        found = self._findings({*rows, *left})
        lines = [self._session(key, studies, found.sessions.get(key, ())) for key, studies in rows.items()]
        lines += [_left(key, found.sessions.get(key, ())) for key in left]
        lines += [*self._broken, *_of_dataset(found.dataset), *self._of_jobs()]
        order = [*Standing]
        return Status(
            lines=tuple(sorted(lines, key=lambda line: (order.index(line.state), line.session))),
            at_work=at_work,
        )

    def _rows(self) -> dict[str, list[str]]:
        """Session key -> its studies, of the table."""
        path, rows = self._workdir / "studies.tsv", dict[str, list[str]]()
        try:
            for row in msgspec.convert(read_tsv(path), list[StudyRow]) if path.exists() else ():
                rows.setdefault(row.session_key, []).append(row.study_instance_uid)
        except (msgspec.ValidationError, UnicodeDecodeError) as error:
            self._break(DATASET, f"{path} is no table of studies: {error}")
        return rows

    def _break(self, session: str, why: str) -> None:
        self._broken.append(SessionStatus(session=session, state=Standing.FAILED, why=_line(why)))

    # -------------------------------------------------------------------------------------- a session

    def _session(self, key: str, studies: Sequence[str], found: Sequence[Finding]) -> SessionStatus:
        try:
            placed = self._placed(key)
        except Pacs2BidsError as error:
            return SessionStatus(session=key, state=Standing.FAILED, why=_line(str(error)))
        absent = None if placed is None else placed.absent
        troubles = troubles_of(list(self._open_stages(key, studies, is_placed=placed is not None)), absent)
        state, words = standing_of(troubles, absent)
        standing, why, log = _OF_STATE[state], words, ""
        if placed is not None and state is State.PLACED:
            why = counted(len(placed.volumes), "volume")
        if state is State.FAILED and self._is_under_way(troubles):
            standing, why = Standing.RUNNING, troubles[0].stage
        elif troubles and state is not State.WAITING:
            why, log = _why(words, troubles), troubles[0].log
        if found and standing is not Standing.FAILED:
            standing, why, log = Standing.INVALID, _findings(found), ""
        return SessionStatus(session=key, state=standing, why=why, log=log, studies=tuple(studies))

    def _placed(self, key: str) -> _Placed | None:
        path = self._workdir / "sessions" / key / "placed.json"
        return read_record(path, _Placed) if path.exists() else None

    def _open_stages(self, key: str, studies: Iterable[str], *, is_placed: bool) -> Iterator[tuple[str, Log]]:
        """The stages without a result, in order."""
        for uid in studies:
            folder = self._workdir / "studies" / uid
            results = {"index": folder / "index.json", "reconstruct": folder / "volumes" / "manifest.json"}
            is_done = {stage: path.exists() for stage, path in results.items()}
            if not (folder / "receipt.json").exists():
                log = self._log("pull", uid)
                if not is_pulled(is_whole=False, is_indexed=is_done["index"], log=log):
                    yield "pull", log
            yield from ((stage, self._log(stage, uid)) for stage, done in is_done.items() if not done)
        if not (self._workdir / "sessions" / key / "plan.tsv").exists():
            yield "plan", self._log("plan", key)
        if not is_placed:
            yield "place", self._log("place", key)

    def _log(self, stage: str, key: str) -> Log:
        return read_log(self._workdir, stage, key)

    def _is_under_way(self, troubles: Sequence[Trouble]) -> bool:
        """Whether nothing failed but a job that may be at work: its log is of the run that goes on."""
        if self._since_ns is None or len(troubles) > 1 or _is_told(troubles[0]):
            return False
        return Path(troubles[0].log).stat().st_mtime_ns >= self._since_ns

    # -------------------------------------------------------------------------------------- the dataset

    def _of_jobs(self) -> Iterator[SessionStatus]:
        """Errors of the jobs that no session has."""
        for stage, log in logs_of_failed(self._workdir).items():
            is_verdict = (
                stage == "check" and (self._workdir / PROVISIONAL).exists() and log.error.startswith(VERDICT)
            )
            if log.error and not is_verdict:  # its findings are told already
                why = _line(log.error if stage == DATASET else f"{stage}: {log.error}")
                yield SessionStatus(session=DATASET, state=Standing.FAILED, why=why, log=log.path)

    def _findings(self, keys: Collection[str]) -> _Found:
        found = _Found()
        path = self._workdir / "check.json"
        path = path if path.exists() else self._workdir / PROVISIONAL
        if not path.exists():
            return found
        try:
            findings = read_record(path, CheckResult).findings
        except Pacs2BidsError as error:
            self._break(DATASET, str(error))
            return found
        for finding in findings:
            if finding.severity == "error":
                key = _session_of(finding.location, keys)
                (found.sessions[key] if key else found.dataset).append(finding)
        return found


def _is_told(trouble: Trouble) -> bool:
    """Whether a job said what went wrong."""
    return trouble.error != ENDED


def _session_of(location: str, keys: Collection[str]) -> str:
    """Of which session a finding speaks: "sub-01_ses-a" or a path in the dataset; "" if of none."""
    first, _, rest = location.partition("/")
    both = f"{first}_{rest.partition('/')[0]}"
    return next((key for key in (first, both) if key in keys), "")


def _left(key: str, found: Sequence[Finding]) -> SessionStatus:
    gone = "not in the studies table any more: see `pacs2bids prune`"
    state, why = (Standing.INVALID, _findings(found)) if found else (Standing.LEFT, gone)
    return SessionStatus(session=key, state=state, why=why)


def _of_dataset(findings: Sequence[Finding]) -> Iterator[SessionStatus]:
    if findings:
        yield SessionStatus(session=DATASET, state=Standing.INVALID, why=_findings(findings))


def _findings(found: Sequence[Finding]) -> str:
    """The first, and how many more there are."""
    first, more = found[0], len(found) - 1
    said = ": ".join(part for part in (first.code, first.message) if part)
    return _line(said) + (f" (and {counted(more, 'error')} more)" if more else "")


def _why(words: str, troubles: Sequence[Trouble]) -> str:
    more = len(troubles) - 1
    said = f"{words.removeprefix('failed: ')}: {_line(troubles[0].error)}"
    return said + (f" (and {more:,} more)" if more else "")


def _line(text: str) -> str:
    """The lines of a list, which are indented, become parts of one sentence."""
    parts = re.split(r"\n[ \t]+(?:- )?", text.strip())
    text = "".join(part + (" " if part.endswith(":") else "; ") for part in parts[:-1]) + parts[-1]
    return " ".join(text.split())
