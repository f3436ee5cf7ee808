"""What jobs ask a batch system for, and what is said of those that ended."""

from __future__ import annotations

import os
import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest

from pacs2bids.cluster import memory_mb, note, runtime_min, said, scratch_folder, size_of, why_ended
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
    ("message", "printed", "reason"),
    [
        ("SLURM-job '5' failed, SLURM status is: 'OUT_OF_MEMORY'. Reason: x", "", "more memory"),
        (
            "SLURM-job '5' failed, SLURM status is: 'FAILED'. Reason: Unknown.",
            "slurmstepd-n1: error: StepId=5.0 exceeded memory limit (9 > 8), being killed\n",
            "more memory",
        ),
        ("SLURM-job '5' failed, SLURM status is: 'TIMEOUT'.", "", "longer"),
        ("SLURM-job '5' failed, SLURM status is: 'CANCELLED'.", "", "cancelled"),
        ("SLURM-job '5' failed due to a node failure, SLURM status is: 'NODE_FAIL'.", "", "node failed"),
        ("SLURM-job '5' failed, SLURM status is: 'FAILED'.", "x\nERROR: no room\ny\n", "no room"),
        (
            (
                "SLURM sbatch failed. The error message was "
                "'sbatch: error: CPU count per node can not be satisfied\n"
                "sbatch: error: Batch job submission failed: x'.\n"
                "    sbatch call:\n        sbatch --wrap 'a'"
            ),
            "",
            "does not take the job: CPU count per node can not be satisfied; Batch job submission failed: x",
        ),
        ("something new", "", "failed"),
    ],
)
def test_why_a_job_ended_is_one_sentence(tmp_path: Path, message: str, printed: str, reason: str) -> None:
    output = tmp_path / "5.log"
    output.write_text(printed)
    told = why_ended(message, output)
    assert reason in told
    assert "\n" not in told
    assert "--wrap" not in told


def test_each_job_has_a_private_folder_in_scratch_that_goes_with_it(tmp_path: Path) -> None:
    done = in_scratch("$PLACE", 'echo "$TMPDIR"; stat -c %a "$TMPDIR"', PLACE=str(tmp_path))
    folder, mode = done.stdout.split()
    assert Path(folder).parent == tmp_path
    assert mode == "700"
    assert not list(tmp_path.iterdir())


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
