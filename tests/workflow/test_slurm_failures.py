"""What goes wrong on a cluster: a job out of memory, one cancelled, a node that dies, a full scratch disk."""

from __future__ import annotations

import fcntl
import json
import re
import shutil
import subprocess
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from pacs2bids.files import write_text
from peers.line import ENVIRONMENT, KNOWN, Line, digests, session_key
from peers.slurm import Slurm, snakemake_on

PATIENCE_S = 600
SESSIONS = [session_key(study) for study in KNOWN]
PLACED = [f"work/sessions/{key}/placed.json" for key in SESSIONS]
STAGES = ("index", "reconstruct", "opinion", "plan", "place")
# else what happens to the node of one may happen to another, which Slurm lets wait for two minutes
A_NODE_EACH = ("--default-resources", "slurm_extra='--exclusive'")
TOP_LEVEL = ("dataset.json", "check.json", "valid")


def only_pulled(finished: Line, folder: Path, keys: list[str]) -> Line:
    """A copy of ``finished`` in which these sessions are pulled and no more."""
    line = finished.copied(folder)
    for study, key in zip(KNOWN, SESSIONS, strict=True):
        if key in keys:
            (line.work / "studies" / study.uid / "index.json").unlink()
            shutil.rmtree(line.work / "studies" / study.uid / "volumes")
            shutil.rmtree(line.work / "sessions" / key)
            shutil.rmtree(line.bids.joinpath(*key.split("_")))
    for name in TOP_LEVEL:
        (line.work / name).unlink()
    (line.folder / "report.html").unlink()
    return line


@contextmanager
def on_slurm(slurm: Slurm, line: Line, *options: str) -> Iterator[tuple[subprocess.Popen[bytes], Path]]:
    """A `snakemake` under way, and what it has printed."""
    screen = line.folder.with_suffix(".terminal")
    with screen.open("wb") as stream:
        command = snakemake_on(slurm, line.folder, *options)
        process = subprocess.Popen(command, env=ENVIRONMENT, stdout=stream, stderr=stream)
    try:
        yield process, screen
    finally:
        process.terminate()
        process.wait(PATIENCE_S)


def wait_until(condition: Callable[[], object], screen: Path) -> None:
    deadline = time.monotonic() + PATIENCE_S
    while not condition():
        assert time.monotonic() < deadline, screen.read_text()
        time.sleep(0.2)


def delivers_the_same(line: Line, finished: Line) -> None:
    """The next plain run, on this machine: every instance accounted for, the dataset valid, byte for byte."""
    line.run().succeeded()
    assert digests(line.bids) == digests(finished.bids)
    for study in KNOWN:
        place = Path("studies", study.uid)
        assert (line.work / place / "receipt.json").read_bytes() == (
            finished.work / place / "receipt.json"
        ).read_bytes()
        assert digests(line.work / place / "dicom") == digests(finished.work / place / "dicom")
    for place in (line.bids, *line.work.glob("studies/*/*")):
        assert not list(place.rglob("*.part"))


def numbers(screen: Path) -> dict[str, list[str]]:
    """Session -> the numbers of its jobs in Slurm, oldest first."""
    found: dict[str, list[str]] = {}
    for key, number in re.findall(
        r"^(\S+): submitted \(Slurm job (\d+)\)$", screen.read_text(), re.MULTILINE
    ):
        found.setdefault(key, []).append(number)
    return found


# a job of which the number stands in "held" waits; all wait for that file. One that waits holds a lock
DEFACE = """\
exec 9>{held}.$SLURM_JOB_ID
flock 9
while [ ! -e {held} ] || grep --quiet --line-regexp "$SLURM_JOB_ID" {held}; do sleep 0.2; done
cp "$1" "$2"
"""


def hold_jobs(line: Line) -> Path:
    """The file that is to name the jobs, a line each, that must not come to their end by themselves.

    They wait in the one program of a stage that may take as long as it likes. To stop them by a signal would
    be a race: Slurm calls a job running before it has a process, and a busy machine is late with the signal.
    """
    held = line.folder / "held"
    script = line.folder / "deface.sh"
    script.write_text(DEFACE.format(held=held))
    line.configure(deface={"command": f"sh {script} {{input}} {{output}}"})
    return held


def is_held(held: Path, number: str) -> bool:
    """Whether a job waits in the midst of its stage: no longer as soon as it is killed, by whatever."""
    try:
        with held.with_name(f"{held.name}.{number}").open("rb") as lock:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except FileNotFoundError:
        return False
    except BlockingIOError:
        return True
    return False


def number_in(text: str) -> int:
    """ "1021M"."""
    return int(text.rstrip("M"))


def test_what_is_asked_for_grows_with_a_study_and_not_with_the_number_of_studies(
    slurm: Slurm, finished: Line, tmp_path: Path
) -> None:
    line = only_pulled(finished, tmp_path / "line", SESSIONS)
    rows = [f"{study.uid}\t01\t{'large' if study is KNOWN[0] else 'several'}" for study in KNOWN]
    (line.folder / "table.tsv").write_text("\n".join(["StudyInstanceUID\tsubject\tsession", *rows, ""]))
    line.configure(studies={"table": "table.tsv"})
    receipt = line.work / "studies" / KNOWN[0].uid / "receipt.json"
    told = json.loads(receipt.read_text())
    told["announced"]["1.2.3"] = [f"1.2.3.{number}" for number in range(20_000)]
    receipt.write_text(json.dumps(told))
    keys = ["sub-01_ses-large", "sub-01_ses-several"]
    held = ["--default-resources", "slurm_extra='--hold'"]
    wanted = [f"work/sessions/{key}/placed.json" for key in keys]
    with on_slurm(slurm, line, *held, "--", *wanted) as (process, screen):
        wait_until(lambda: len(numbers(screen)) == 2, screen)
        jobs = [numbers(screen)[key][0] for key in keys]
        asked = [slurm.told("squeue", "-h", f"-j{number}", "-o%C %m %L").split() for number in jobs]
        slurm.told("scancel", *jobs)
        process.wait(PATIENCE_S)
    (_, large_mb, large_time), (_, several_mb, _) = asked
    # the profile's, though two studies could be reconstructed at the same time
    assert [cores for cores, _, _ in asked] == ["4", "4"]
    assert number_in(large_mb) > number_in(several_mb)
    assert number_in(several_mb) < 2500
    assert large_time.startswith("1:")  # hours


def test_out_of_memory_then_one_is_cancelled_and_one_loses_its_node(
    slurm: Slurm, finished: Line, tmp_path: Path
) -> None:
    line = only_pulled(finished, tmp_path / "line", SESSIONS)
    cancelled, unlucky, undisturbed = SESSIONS
    too_little = [f"{stage}:mem_mb=60 if attempt == 1 else 1500" for stage in STAGES]
    held = hold_jobs(line)
    options = [*A_NODE_EACH, "--set-resources", *too_little]
    with on_slurm(slurm, line, *options, "--", *PLACED) as (process, screen):
        # each asks for too little at first, is killed, and asks for more
        wait_until(lambda: all(len(numbers(screen).get(key, ())) == 2 for key in SESSIONS), screen)
        second = {key: its[1] for key, its in numbers(screen).items()}
        write_text(held, "\n".join(second.values()))
        wait_until(lambda: all(is_held(held, number) for number in second.values()), screen)
        slurm.told("scancel", second[cancelled])
        node = slurm.told("squeue", "--noheader", f"--jobs={second[unlucky]}", "--format=%N")
        slurm.set_state(node, "down")
        try:
            # Slurm waits two minutes before it starts such a job again: an administrator need not
            wait_until(lambda: second[unlucky] in slurm.jobs("PENDING"), screen)
            slurm.told("scontrol", "update", f"jobid={second[unlucky]}", "starttime=now")
            # its node is no dead one: what ran there must not go on beside what runs elsewhere
            wait_until(lambda: not is_held(held, second[unlucky]), screen)
            write_text(held, second[cancelled])  # which may not be dead yet
            process.wait(PATIENCE_S)
        finally:
            slurm.set_state(node, "resume")
    told = screen.read_text()
    assert process.returncode == 1, told
    for key in SESSIONS:
        assert told.count(f"WARNING: {key}: it needed more memory than it asked for") == 1
    assert told.count(f"ERROR: {cancelled}: it was cancelled; Slurm job {second[cancelled]}.") == 1
    assert re.search(rf"^{cancelled} +failed: .*it was cancelled", told, re.MULTILINE)
    for key in (unlucky, undisturbed):
        assert f"{key}: done (Slurm job {second[key]})" in told
    assert told.count("ERROR") == 1
    assert [(line.folder / path).exists() for path in PLACED] == [False, True, True]
    line.configure()
    delivers_the_same(line, finished)


@pytest.fixture
def full_scratch(slurm: Slurm, tmp_path: Path) -> Iterator[Path]:
    """A folder that is a full disk for the nodes, and an ordinary folder here."""
    folder = tmp_path / "scratch"
    folder.mkdir()
    assert slurm.run(["mount", "-t", "tmpfs", "-o", "size=64k", "tmpfs", folder]).returncode == 0
    yield folder
    slurm.run(["umount", folder])


def test_a_full_scratch_disk_is_told_and_nothing_is_lost(
    slurm: Slurm, finished: Line, full_scratch: Path, tmp_path: Path
) -> None:
    line = only_pulled(finished, tmp_path / "line", SESSIONS[:1])
    line.configure(scratch=str(full_scratch))
    with on_slurm(slurm, line, "--retries", "0", "--", PLACED[0]) as (process, screen):
        process.wait(PATIENCE_S)
    assert process.returncode == 1
    (error,) = re.findall("^ERROR: .*$", screen.read_text(), re.MULTILINE)
    assert error.startswith(f"ERROR: {SESSIONS[0]}: scratch {full_scratch}: is full on ")
    assert not (line.folder / PLACED[0]).exists()
    delivers_the_same(line, finished)
    assert not list(full_scratch.iterdir())


def test_with_accounts_no_end_of_a_job_is_waited_for_in_vain(
    slurm_with_accounts: Slurm, finished: Line, tmp_path: Path
) -> None:
    slurm = slurm_with_accounts
    cancelled, unlucky, displaced = SESSIONS
    line = only_pulled(finished, tmp_path / "line", SESSIONS)
    held = hold_jobs(line)
    with on_slurm(slurm, line, *A_NODE_EACH, "--", *PLACED) as (process, screen):
        wait_until(lambda: len(numbers(screen)) == 3, screen)
        first = {key: its[0] for key, its in numbers(screen).items()}
        write_text(held, "\n".join(first.values()))
        wait_until(lambda: all(is_held(held, number) for number in first.values()), screen)
        slurm.told("scancel", first[cancelled])
        node = {key: slurm.told("squeue", "-h", f"-j{first[key]}", "-o%N") for key in (unlucky, displaced)}
        whole = ["--cpus-per-task=8", "--mem=15000", f"--nodelist={node[displaced]}"]
        slurm.told("sbatch", "--partition=urgent", *whole, "--output=/dev/null", "--wrap=:")
        # not to be put into the queue again, as where that is forbidden
        slurm.told("scontrol", "update", f"jobid={first[unlucky]}", "requeue=0")
        slurm.set_state(node[unlucky], "down")
        try:
            process.wait(PATIENCE_S)
        finally:
            slurm.set_state(node[unlucky], "resume")
    told = screen.read_text()
    assert process.returncode == 1, told
    # slurmdbd was asked for jobs, which squeue does not do
    assert "DBD_GET_JOBS_COND" in (slurm.folder / "slurmdbd.log").read_text()
    asked = slurm.told(
        "sacct", "-X", "--noheader", "--parsable2", "--format=JobIDRaw,State,ReqMem,TimelimitRaw"
    )
    jobs = {number: rest for number, *rest in (line.split("|") for line in asked.splitlines())}
    # no words that Snakemake's plugin knows for an end
    assert jobs[first[cancelled]][0] == "CANCELLED by 0"
    assert (
        told.count(f"ERROR: {cancelled}: it was cancelled; Slurm job {first[cancelled]}. Run again to go on")
        == 1
    )
    for key, state, reason in (
        (unlucky, "NODE_FAIL", "its node failed"),
        (displaced, "PREEMPTED", "another job took its place"),
    ):
        assert jobs[first[key]][0] == state
        assert told.count(f"WARNING: {key}: {reason}; Slurm job {first[key]}. Trying again, with more") == 1
        _, second = numbers(screen)[key]
        assert f"{key}: done (Slurm job {second})" in told
        for before, after in zip(jobs[first[key]][1:], jobs[second][1:], strict=True):
            assert 1.9 < number_in(after) / number_in(before) < 2.1
    assert told.count("ERROR") == 1
    assert [(line.folder / path).exists() for path in PLACED] == [False, True, True]
