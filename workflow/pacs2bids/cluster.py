"""What a batch system is asked for, and what a person is told of it: sizes of jobs, and how one ended.

Known here are files of ours (receipts, logs of jobs) and words of a batch system; nothing of Snakemake.
"""

from __future__ import annotations

import re
import time
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

import msgspec

# measured: index and reconstruct of five sets of the corpus (up to 2,160 instances) peak at 47 to 91 MB, and
# each of the three Snakemakes within a submission takes 135 MB; what a stage needs besides grows with the
# headers that it holds, and with the largest file that it decodes. The slopes are generous, not measured
_BASE_MB = 1000
_MB_PER_INSTANCE = {"index": 0.1, "reconstruct": 0.1, "plan": 0.05, "place": 0.02, "opinion": 0.05}
_LARGEST_FILES = {"reconstruct": 20, "opinion": 20}
_BASE_MIN = 5
_INSTANCES_PER_MIN = {"index": 1000, "reconstruct": 500, "opinion": 250}
_MB_PER_MIN = {"index": 500, "reconstruct": 100, "place": 500, "opinion": 50}

_SCRATCH_KB = 100_000  # a file of dcm2niix, or the validator's findings, would end on less

_SESSIONS_PER_MB = 0.5
_SESSIONS_PER_MIN = 20

CANCELLED = "it was cancelled"

_STATUS = re.compile(r"(?:status is: |with status )'(\w+)")
_REFUSED = re.compile(r"error message was '(.*?)'", re.DOTALL)
_SLURM_SAYS = re.compile(r"^(?:slurmstepd|slurmd|srun)(?:-\S+)?: error: (.*)$", re.MULTILINE)
_SAID = re.compile(r"^ERROR: (.*)$", re.MULTILINE)
_LINE = re.compile(r"^\S+ \S+ (WARNING|ERROR) +[\w.]+: (.*)$", re.MULTILINE)


@dataclass(frozen=True, slots=True, kw_only=True)
class Size:
    """Of the studies of a job: how many instances the source announced, MB of all, MB of the largest."""

    instances: int
    megabytes: float
    largest_mb: float


class _File(msgspec.Struct):
    bytes: int


class _Announced(msgspec.Struct):
    """Of a receipt, what tells its size."""

    announced: dict[str, tuple[str, ...]]
    received: tuple[_File, ...]


def size_of(receipts: Iterable[Path]) -> Size:
    """Add up the receipts that are there: before a study is pulled nothing is known of it.

    Nor by a damaged receipt: the job that needs it says so, and sizes are asked for where nobody can be told.
    """
    records = [record for path in receipts if (record := _announced(path))]
    files = [one.bytes / 1e6 for record in records for one in record.received]
    listed = sum(len(uids) for record in records for uids in record.announced.values())
    # a PACS that lists no instances sends them all the same
    return Size(instances=max(listed, len(files)), megabytes=sum(files), largest_mb=max(files, default=0.0))


def _announced(receipt: Path) -> _Announced | None:
    try:
        return msgspec.json.decode(receipt.read_bytes(), type=_Announced)
    except (OSError, msgspec.DecodeError):
        return None


def memory_mb(stage: str, size: Size, attempt: int) -> int:
    """What a job of this stage may need, with room to spare; ``attempt``: 1, 2, ... wants so much more."""
    needed = _BASE_MB + _MB_PER_INSTANCE[stage] * size.instances
    return round(attempt * (needed + _LARGEST_FILES.get(stage, 0) * size.largest_mb))


def runtime_min(stage: str, size: Size, attempt: int) -> int:
    """Minutes that it may take on a slow network file system; ``attempt`` as in ``memory_mb``."""
    needed = float(_BASE_MIN)
    needed += size.instances / _INSTANCES_PER_MIN[stage] if stage in _INSTANCES_PER_MIN else 0
    needed += size.megabytes / _MB_PER_MIN[stage] if stage in _MB_PER_MIN else 0
    return round(attempt * needed)


def of_all_mb(sessions: int, attempt: int) -> int:
    """Memory of a job on the whole dataset: measured, the validator takes 0.5 MB a session."""
    return round(attempt * (2 * _BASE_MB + sessions / _SESSIONS_PER_MB))


def of_all_min(sessions: int, attempt: int) -> int:
    """Minutes of a job on the whole dataset."""
    return round(attempt * (4 * _BASE_MIN + sessions / _SESSIONS_PER_MIN))


def scratch_folder(path: str) -> str:
    """Shell code that makes a folder in ``path`` for one job, its TMPDIR, and removes it when the job ends.

    Variables in ``path`` (``/scratch/$USER``) are those of the machine on which the job runs. If there is no
    such folder, or it is full, the job ends with one line that says so.
    """
    names = re.findall(r"\$\{?(\w+)\}?", path)
    unset = "".join(f' && [ -n "${{{name}:-}}" ]' for name in names)
    told = path.replace("$", "\\$")
    fail = f'{{ echo "ERROR: scratch {told}: $1 on $(hostname): see scratch in config.yaml" >&2; exit 1; }}'
    return (
        f"no_scratch() {fail}; "
        f"true{unset} || no_scratch 'is not set'; "
        f'[ -d "{path}" ] || no_scratch "is no folder"; '
        f'[ "$(df -k --output=avail "{path}" | tail -n 1)" -ge {_SCRATCH_KB} ] || no_scratch "is full"; '
        f'TMPDIR=$(mktemp -d "{path}/pacs2bids.XXXXXX") || no_scratch "cannot be written to"; '
        "export TMPDIR; trap 'rm -rf \"$TMPDIR\"' EXIT; "
    )


def said(log: Path) -> list[tuple[str, str]]:
    """Warnings and errors of the log of a job, as (level, message); none if there is no such log."""
    if not log.exists():
        return []
    return [(level, text) for level, text in _LINE.findall(log.read_text("utf-8", errors="replace"))]


def note(log: Path, reason: str) -> None:
    """Write why a job was ended into its log, as an error of its own, for whatever tells of sessions."""
    log.parent.mkdir(parents=True, exist_ok=True)
    now = time.strftime("%Y-%m-%d %H:%M:%S")
    with log.open("a", encoding="utf-8") as stream:
        stream.write(f"{now},000 ERROR   pacs2bids.cluster: {reason}\n")


def why_ended(message: str, output: Path | None) -> str:
    """Why a job of Slurm failed that said nothing itself, in one sentence that says what to do.

    ``message``: of Snakemake's plugin. ``output``: what the job printed, where Slurm kept it.
    """
    refused = _REFUSED.search(message)
    if refused:
        lines = [line.removeprefix("sbatch: error: ").strip() for line in refused[1].splitlines()]
        return f"Slurm does not take the job: {'; '.join(line for line in lines if line)}"
    found = _STATUS.search(message)
    status = found[1] if found else ""
    printed = output.read_text("utf-8", errors="replace") if output and output.exists() else ""
    said_before = _SAID.findall(printed)
    if said_before:
        return str(said_before[-1])
    says = _SLURM_SAYS.findall(printed)
    if status == "OUT_OF_MEMORY" or any("memory" in line.lower() for line in says):
        return "it needed more memory than it asked for"
    known = {
        "TIMEOUT": "it took longer than it asked for",
        "CANCELLED": CANCELLED,
        "NODE_FAIL": "its node failed",
        "DEADLINE": "it could not end before its deadline",
        "PREEMPTED": "another job took its place",
        "BOOT_FAIL": "its node did not start",
    }
    if status in known:
        return known[status]
    return f"it ended as {status or 'failed'}" + (f": {says[-1]}" if says else "")
