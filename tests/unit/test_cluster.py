"""What jobs ask a batch system for, and what is said of those that ended."""

from __future__ import annotations

import os
import signal
import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest

from pacs2bids.cluster import (
    GONE,
    ended_by_slurm,
    for_plugin,
    is_busy,
    is_clear,
    memory_mb,
    note,
    queued,
    runtime_min,
    said,
    scratch_folder,
    settled,
    size_of,
    why_ended,
    why_refused,
)
from pacs2bids.files import write_record
from pacs2bids.model import Receipt, ReceivedInstance


def write_receipt(path: Path, count: int) -> None:
    received = [
        ReceivedInstance(
            sop_instance_uid=f"1.2.{number}",
            sop_class_uid="1.2",
            series_instance_uid="1.2.3",
            transfer_syntax_uid="1.2",
            path=f"{number}.dcm",
            bytes=200_000,
            sha256="",
        )
        for number in range(count)
    ]
    receipt = Receipt(
        study_instance_uid="1.2",
        source="pacs",
        kind="pacs",
        complete=True,
        started="",
        finished="",
        announced={"1.2.3": tuple(one.sop_instance_uid for one in received)},
        received=tuple(received),
    )
    write_record(path, receipt)


def in_scratch(path: str, command: str, **variables: str) -> subprocess.CompletedProcess[str]:
    """As Snakemake runs a job."""
    return subprocess.run(
        ["bash", "-c", f"set -euo pipefail; {scratch_folder(path)}{command}"],
        env={"PATH": os.environ["PATH"], **variables},
        capture_output=True,
        text=True,
        check=False,
    )


def test_larger_studies_and_further_attempts_ask_for_more(tmp_path: Path) -> None:
    sizes = []
    for number, count in enumerate((10, 10_000)):
        path = tmp_path / f"{number}.json"
        write_receipt(path, count)
        sizes.append(size_of([path]))
    both = size_of([tmp_path / "0.json", tmp_path / "1.json"])
    assert [size.instances for size in (*sizes, both)] == [10, 10_000, 10_010]
    for stage in ("index", "reconstruct", "opinion", "plan", "place"):
        for needed in (memory_mb, runtime_min):
            small, large = (needed(stage, size, 1) for size in sizes)
            assert 0 < small <= large < needed(stage, sizes[1], 2)
    assert memory_mb("reconstruct", sizes[0], 1) < memory_mb("reconstruct", sizes[1], 1)


def test_before_the_pull_a_job_asks_for_the_least(tmp_path: Path) -> None:
    write_receipt(tmp_path / "receipt.json", 1)
    unknown, known = size_of([tmp_path / "none.json"]), size_of([tmp_path / "receipt.json"])
    assert 0 < memory_mb("index", unknown, 1) <= memory_mb("index", known, 1)


def test_a_log_tells_its_warnings_and_errors(tmp_path: Path) -> None:
    log = tmp_path / "index.log"
    log.write_text(
        "2026-01-01 10:00:00,000 INFO    pacs2bids.index: all is well\n"
        "2026-01-01 10:00:00,001 WARNING pacs2bids.index: one is odd: see there\n"
        "2026-01-01 10:00:00,002 ERROR   pacs2bids: study 1.2: holds no files. Pull again\n"
    )
    assert said(log) == [
        ("WARNING", "one is odd: see there"),
        ("ERROR", "study 1.2: holds no files. Pull again"),
    ]
    assert said(tmp_path / "none.log") == []
    note(log, "it was cancelled")
    assert said(log)[-1] == ("ERROR", "it was cancelled")


@pytest.mark.parametrize(
    # of a stage that heeds SIGTERM, and of one that is told first of a program which got it too
    "printed",
    [
        "",
        "ERROR: interrupted; run again to go on\n",
        "ERROR: x: cannot be defaced: sh ended with exit code -15\n",
    ],
)
@pytest.mark.parametrize(
    ("state", "slurm_says", "reason"),
    [
        ("OUT_OF_MEMORY", "", "more memory"),
        (
            "FAILED",
            "slurmstepd-n1: error: StepId=5.0 exceeded memory limit (9 > 8), being killed\n",
            "more memory",
        ),
        ("FAILED", "slurmstepd: error: Detected 1 oom-kill event(s) in StepId=5.0.\n", "more memory"),
        ("TIMEOUT", "slurmstepd-n1: error: *** JOB 5 ON n1 CANCELLED AT x DUE TO TIME LIMIT ***\n", "longer"),
        ("CANCELLED", "", "cancelled"),
        ("NODE_FAIL", "", "node failed"),
        ("PREEMPTED", "", "another job took its place"),
    ],
)
def test_what_slurm_ended_is_told_by_slurms_word_whatever_the_job_said(
    tmp_path: Path, state: str, slurm_says: str, reason: str, printed: str
) -> None:
    output = tmp_path / "5.log"
    output.write_text(printed + slurm_says)
    told = ended_by_slurm(state, output) or ""
    assert reason in told
    assert "\n" not in told


@pytest.mark.parametrize(
    ("state", "printed", "reason"),
    [
        (GONE, "", "Slurm knows nothing of it"),
        (GONE, "ERROR: no room\n", "no room"),
        ("FAILED", "x\nERROR: no room\ny\n", "no room"),
        ("FAILED", "ERROR: no memory for 3 volumes\n", "no memory for 3 volumes"),
        ("FAILED", "srun: error: n3: task 0: Exited with exit code 1\n", "FAILED: n3: task 0"),
        ("SOMETHING_NEW", "", "SOMETHING_NEW"),
        ("", "", "failed"),
    ],
)
def test_why_another_job_ended_is_one_sentence(tmp_path: Path, state: str, printed: str, reason: str) -> None:
    output = tmp_path / "5.log"
    output.write_text(printed)
    assert ended_by_slurm(state, output) is None
    told = why_ended(state, output)
    assert reason in told
    assert "\n" not in told


@pytest.mark.parametrize(
    ("printed", "reason", "busy"),
    [
        (
            "sbatch: error: CPU count per node can not be satisfied\n"
            "sbatch: error: Batch job submission failed: x",
            "CPU count per node can not be satisfied; Batch job submission failed: x",
            False,
        ),
        (
            "sbatch: error: Batch job submission failed: "
            "Unable to contact slurm controller (connect failure)",
            "Batch job submission failed: Unable to contact slurm controller (connect failure)",
            True,
        ),
    ],
)
def test_why_a_job_is_not_taken_is_one_sentence(printed: str, reason: str, busy: bool) -> None:
    # of Snakemake's plugin 2.8
    message = (
        f"SLURM sbatch failed. The error message was '{printed}'.\n    sbatch call:\n        sbatch x 'a'"
    )
    told = why_refused(message)
    assert told == f"Slurm does not take the job: {reason}"
    assert is_busy(told) is busy
    assert why_refused("SLURM-job '5' failed, SLURM status is: 'FAILED'. Reason: Unknown.") is None


@pytest.mark.parametrize(
    ("state", "in_queue", "word"),
    [
        # as seen with Slurm 22.05: a node down, the job put into the queue again, or not; one displaced
        ("NODE_FAIL", "PENDING", "PENDING"),
        ("NODE_FAIL", "NODE_FAIL", "NODE_FAIL"),
        ("NODE_FAIL", None, "NODE_FAIL"),
        ("PREEMPTED", "PREEMPTED", "PREEMPTED"),
        ("REQUEUED", "PENDING", "PENDING"),
        ("SPECIAL_EXIT", "SPECIAL_EXIT", "SPECIAL_EXIT"),
        (None, "RUNNING", "RUNNING"),
        (None, "COMPLETED", "COMPLETED"),
        (None, None, GONE),
    ],
)
def test_where_a_word_is_not_clear_the_queue_tells(
    state: str | None, in_queue: str | None, word: str
) -> None:
    assert not is_clear(state)
    assert settled(state, in_queue) == word
    for is_done in (True, False):
        told = for_plugin(word, is_done=is_done, missed=3)
        if word == GONE:
            assert told == ("COMPLETED" if is_done else "ERROR")
        else:
            assert told == ("ERROR" if word in ("NODE_FAIL", "PREEMPTED") else word)


def test_a_job_that_one_answer_lacks_is_waited_for_unless_its_results_are_there() -> None:
    assert [for_plugin(GONE, is_done=False, missed=n) for n in (1, 2, 3)] == ["PENDING", "PENDING", "ERROR"]
    assert for_plugin(GONE, is_done=True, missed=1) == "COMPLETED"


def test_tasks_of_an_array_that_wait_are_one_line_of_the_queue() -> None:
    # of `squeue --format=%i|%T`, its manual, "JOB ARRAY"
    queue = {"7_[3-9%2]": "PENDING", "7_2": "RUNNING", "7_1": "COMPLETED", "70": "FAILED"}
    assert [queued(number, queue) for number in ("7_1", "7_2", "7_5")] == ["COMPLETED", "RUNNING", "PENDING"]
    assert queued("70", queue) == "FAILED"
    assert queued("71", queue) is queued("70_1", queue) is None


def test_each_job_has_a_private_folder_in_scratch_that_goes_with_it(tmp_path: Path) -> None:
    done = in_scratch("$PLACE", 'echo "$TMPDIR"; stat -c %a "$TMPDIR"', PLACE=str(tmp_path))
    folder, mode = done.stdout.split()
    assert Path(folder).parent == tmp_path
    assert mode == "700"
    assert not list(tmp_path.iterdir())


def test_what_a_killed_job_left_in_scratch_goes_with_the_next(tmp_path: Path) -> None:
    assert in_scratch(str(tmp_path), "kill -9 $$").returncode == -signal.SIGKILL
    (left,) = tmp_path.iterdir()
    # of jobs of other machines, which may still run there
    foreign = [tmp_path / f"pacs2bids.{host}.abcdef" for host in ("elsewhere", f"{os.uname().nodename}.two")]
    for folder in foreign:
        folder.mkdir()
    # within its folder another job begins, when both look old
    age = f"touch --date '5 minutes ago' {tmp_path}/pacs2bids.*"
    done = in_scratch(str(tmp_path), f"{age}; {scratch_folder(str(tmp_path))} ls {tmp_path}")
    assert done.returncode == 0, done.stderr
    names = set(done.stdout.split())
    assert left.name not in names
    assert {folder.name for folder in foreign} < names
    assert len(names) == 4


def not_there(folder: Path) -> str:
    return str(folder / "none")


def not_set(_: Path) -> str:
    return "${UNSET_HERE}/x"


@pytest.mark.parametrize(
    ("place", "problem"),
    [(not_there, "is no folder"), (not_set, "${UNSET_HERE}/x: is not set")],
)
def test_scratch_that_is_not_there(tmp_path: Path, place: Callable[[Path], str], problem: str) -> None:
    done = in_scratch(place(tmp_path), "echo never")
    assert done.returncode == 1
    assert done.stdout == ""
    (line,) = done.stderr.splitlines()
    assert line.startswith("ERROR: scratch ")
    assert problem in line


@pytest.mark.parametrize("content", ["", "{", '{"received": []}'])
def test_a_damaged_receipt_has_no_size_and_stops_no_plan_of_jobs(tmp_path: Path, content: str) -> None:
    (tmp_path / "receipt.json").write_text(content)
    assert size_of([tmp_path / "receipt.json"]) == size_of([])
