"""Where a session stands and why, concluded from what its jobs left: results, and the logs of what has none.

Report, ``pacs2bids status`` and the closing lines of a run say it in the same words, because all ask here.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path

from pacs2bids.text import counted

# what a session or study is not yet, while a stage has no result
UNDONE = {
    "pull": "not received",
    "index": "not indexed",
    "reconstruct": "not reconstructed",
    "plan": "not planned",
    "place": "not placed",
}

# what is done once a run: its product, beside which an error in its log is an old one (of the query: not so)
ONCE = {"query": "studies.tsv", "dataset": "dataset.json", "check": "check.json"}

ENDED = "The job ended without a result or an error."

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
class Trouble:
    """Why a stage, or a planned volume, has no result. ``log``: where more is told, "" if nowhere."""

    stage: str
    error: str
    log: str


class State(StrEnum):
    """How far a session came."""

    PLACED = "placed"
    LACKING = "lacking"  # placed, but for volumes that could not be made
    WAITING = "waiting"  # a stage has not run yet
    FAILED = "failed"  # a job ended without a result; what the dataset holds of the session is older


def log_path(workdir: Path, stage: str, key: str = "") -> Path:
    """Where a job writes its log. ``key``: of which study or session, "" for what is done once."""
    return workdir / "logs" / (f"{stage}/{key}.log" if key else f"{stage}.log")


def read_log(workdir: Path, stage: str, key: str = "") -> Log:
    """The log of a job; the arguments are those of ``log_path``."""
    path = log_path(workdir, stage, key)
    if not path.exists():
        return Log(path=str(path), exists=False)
    entries = list(_log_entries(_tail(path)))
    errors = [message for level, message in entries if level == "ERROR"]
    warnings = dict.fromkeys(message for level, message in entries if level == "WARNING")
    return Log(path=str(path), exists=True, error=errors[-1] if errors else "", warnings=tuple(warnings))


def logs_of_failed(workdir: Path) -> dict[str, Log]:
    """The logs of what is done once, by stage, as far as it has no result.

    A query that fails leaves the table of an earlier one in its place: of the last one its log tells.
    """
    logs = {stage: read_log(workdir, stage) for stage in ONCE}
    return {
        stage: log
        for stage, log in logs.items()
        if not (workdir / ONCE[stage]).exists() or (stage == "query" and log.error)
    }


def is_pulled(*, is_whole: bool, is_indexed: bool, log: Log) -> bool:
    """Whether a study is here. ``is_whole``: by its receipt.

    An index alone tells it, too, where no pull is known: studies need not come from the workflow.
    """
    return is_whole or (is_indexed and not log.exists)


def troubles_of(stages: Sequence[tuple[str, Log]], absent: Mapping[str, str] | None) -> tuple[Trouble, ...]:
    """Every error; else, of a session that is not placed, the first stage that has no result.

    ``stages``: those without a result, in order. ``absent``: planned names without a volume, and why; None if
    the session is not placed. A session may be placed and have failed since: by a later run, which took the
    result of the stage away.
    """
    failed = [Trouble(stage=stage, error=log.error, log=log.path) for stage, log in stages if log.error]
    if failed:
        return tuple(failed)
    if stages and stages[0][1].exists:
        stage, log = stages[0]
        return (Trouble(stage=stage, error=ENDED, log=log.path),)
    if absent is not None:
        return tuple(
            Trouble(stage=name.rpartition("/")[2], error=why, log="") for name, why in absent.items()
        )
    return (Trouble(stage=stages[0][0], error="This stage has not run yet.", log=""),)


def standing_of(troubles: Sequence[Trouble], absent: Mapping[str, str] | None) -> tuple[State, str]:
    """How far a session came, and the same in words. Both arguments as of ``troubles_of``."""
    stopped = next((trouble.stage for trouble in troubles if trouble.log), None)
    if stopped:
        return State.FAILED, f"failed: {UNDONE[stopped]}"
    if absent is None:
        return State.WAITING, UNDONE[troubles[0].stage]
    if absent:
        return State.LACKING, f"placed, {counted(len(absent), 'volume')} missing"
    return State.PLACED, "placed"


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
