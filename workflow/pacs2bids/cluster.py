"""What a batch system is asked for, and what a person is told of it: sizes of jobs, and how one ended.

Known here are files of ours (receipts, logs of jobs) and words of a batch system; nothing of Snakemake.
"""

from __future__ import annotations

import re
import time
from collections.abc import Iterable, Mapping
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

# words of Slurm (job state codes of sacct, squeue) that need no second look, and Snakemake's plugin knows
_CLEAR = {
    *("COMPLETED", "BOOT_FAIL", "CANCELLED", "DEADLINE", "FAILED", "OUT_OF_MEMORY", "TIMEOUT"),
    *("COMPLETING", "CONFIGURING", "PENDING", "RUNNING", "SUSPENDED"),
}
# words of Slurm for a job that it ended itself, and what a person is told
_ENDED_BY_SLURM = {
    "OUT_OF_MEMORY": "it needed more memory than it asked for",
    "TIMEOUT": "it took longer than it asked for",
    "CANCELLED": CANCELLED,
    "NODE_FAIL": "its node failed",
    "DEADLINE": "it could not end before its deadline",
    "PREEMPTED": "another job took its place",
    "BOOT_FAIL": "its node did not start",
}
# after these Slurm starts a job again, or does not: if it will, the queue has another word for it
_ENDS = {"NODE_FAIL", "PREEMPTED"}
GONE = "GONE"
_LOOKS = 3  # one answer may lack a job that runs: accounts lag behind, and the queue is of one cluster only

_BUSY = re.compile(r"contact|timed out|temporarily|transmitted", re.IGNORECASE)
_REFUSED = re.compile(r"error message was '(.*?)'", re.DOTALL)
_SLURM_SAYS = re.compile(r"^(?:slurmstepd|slurmd|srun)(?:-\S+)?: error: (.*)$", re.MULTILINE)
_OUT_OF_MEMORY = re.compile(r"exceeded .*memory|oom.?kill|out.of.memory", re.IGNORECASE)
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
    such folder, or it is full, the job ends with one line that says so. A job that is killed leaves its
    folder: the next one of this user on this machine removes it, known by a lock that nobody holds.
    """
    names = re.findall(r"\$\{?(\w+)\}?", path)
    unset = "".join(f' && [ -n "${{{name}:-}}" ]' for name in names)
    told = path.replace("$", "\\$")
    fail = f'{{ echo "ERROR: scratch {told}: $1 on $(hostname): see scratch in config.yaml" >&2; exit 1; }}'
    return (
        f"no_scratch() {fail}; "
        f"true{unset} || no_scratch 'is not set'; "
        f'[ -d "{path}" ] || no_scratch "is no folder"; '
        # not those of another machine, whose locks may not be seen here; not one that is about to be locked
        f'find "{path}" -maxdepth 1 -type d -name "pacs2bids.$(hostname).??????" -user "$(id -u)" -mmin +1 '
        "-exec flock --nonblock {} rm -rf {} ';' 2>/dev/null || true; "
        f'[ "$(df -k --output=avail "{path}" | tail -n 1)" -ge {_SCRATCH_KB} ] || no_scratch "is full"; '
        f'TMPDIR=$(mktemp -d "{path}/pacs2bids.$(hostname).XXXXXX") || no_scratch "cannot be written to"; '
        'exec 9<"$TMPDIR"; flock 9 2>/dev/null || true; '
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


def is_clear(state: str | None) -> bool:
    """Whether a word of Slurm tells by itself whether the job has ended; None: Slurm did not name the job."""
    return state in _CLEAR


def settled(state: str | None, queued: str | None) -> str:
    """The word for a job: ``state`` by the accounts, ``queued`` in the queue; None: not named there.

    ``GONE`` is a job of which nobody knows how it ended: without accounts, Slurm forgets one some minutes
    after its end (MinJobAge).
    """
    word = queued or state
    return word if word in _ENDS else queued or GONE


def queued(number: str, queue: Mapping[str, str]) -> str | None:
    """The word for a job in the queue (number -> word); None: not named there.

    Tasks of an array that wait are one line, ``7_[3-9]``: whether this one is among them is not looked at.
    """
    waiting = (word for name, word in queue.items() if name.startswith(f"{number.partition('_')[0]}_["))
    return queue.get(number) or next(waiting, None)


def for_plugin(word: str, *, is_done: bool, missed: int) -> str:
    """The word for Snakemake's plugin, which waits without end for what it does not know; others as they are.

    ``is_done``: whether the job has written all of its results. ``missed``: how often in a row it was
    ``GONE``. One that is taken for ended while it runs would run twice, on the same files.
    """
    if word == GONE:
        return "COMPLETED" if is_done else "ERROR" if missed >= _LOOKS else "PENDING"
    return "ERROR" if word in _ENDS else word


def ended_by_slurm(state: str, output: Path | None) -> str | None:
    """Why Slurm itself ended a job, in one sentence; None: it did not. Arguments: as of ``why_ended``.

    What the job says of itself then is no reason: it gets SIGTERM before SIGKILL, a stage after the programs
    that it runs, and so speaks of an interruption, or of a program that failed.
    """
    if any(_OUT_OF_MEMORY.search(line) for line in _SLURM_SAYS.findall(_printed(output))):
        return _ENDED_BY_SLURM["OUT_OF_MEMORY"]
    return _ENDED_BY_SLURM.get(state)


def why_ended(state: str, output: Path | None) -> str:
    """Why a job of a cluster failed that Slurm did not end and no stage said anything of, in one sentence.

    ``state``: Slurm's word, empty if there is none. ``output``: what the job printed, where Slurm kept it.
    """
    printed = _printed(output)
    said_before = _SAID.findall(printed)
    if said_before:
        return str(said_before[-1])
    if state == GONE:
        return "Slurm knows nothing of it any more"
    says = _SLURM_SAYS.findall(printed)
    return f"it ended as {state or 'failed'}" + (f": {says[-1]}" if says else "")


def _printed(output: Path | None) -> str:
    return output.read_text("utf-8", errors="replace") if output and output.exists() else ""


def why_refused(message: str) -> str | None:
    """Why Slurm did not take a job, in one sentence; None: it took it.

    ``message``: of Snakemake's plugin, with all that sbatch printed.
    """
    refused = _REFUSED.search(message)
    if not refused:
        return None
    lines = [line.removeprefix("sbatch: error: ").strip() for line in refused[1].splitlines()]
    return f"Slurm does not take the job: {'; '.join(line for line in lines if line)}"


def is_busy(refusal: str) -> bool:
    """Whether Slurm may take the same job in a while, as it was not reached."""
    return bool(_BUSY.search(refusal))
