"""What goes wrong on a cluster: a job out of memory, one cancelled, a node that dies, a full scratch disk."""

from __future__ import annotations

import re
import shutil
import subprocess
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from peers.line import ENVIRONMENT, KNOWN, Line, digests, session_key
from peers.slurm import Slurm, snakemake_on

PATIENCE_S = 300
SESSIONS = [session_key(study) for study in KNOWN]
PLACED = [f"work/sessions/{key}/placed.json" for key in SESSIONS]
STAGES = ("index", "reconstruct", "opinion", "plan", "place")
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


def test_out_of_memory_then_one_is_cancelled_and_one_loses_its_node(
    slurm: Slurm, finished: Line, tmp_path: Path
) -> None:
    line = only_pulled(finished, tmp_path / "line", SESSIONS)
    cancelled, unlucky, undisturbed = SESSIONS
    too_little = [f"{stage}:mem_mb=60 if attempt == 1 else 1500" for stage in STAGES]
    with on_slurm(slurm, line, "--set-resources", *too_little, "--", *PLACED) as (process, screen):
        # each asks for too little at first, is killed, and asks for more
        wait_until(lambda: all(len(numbers(screen).get(key, ())) == 2 for key in SESSIONS), screen)
        second = {key: its[1] for key, its in numbers(screen).items()}
        wait_until(lambda: set(second.values()) <= set(slurm.jobs("RUNNING")), screen)
        slurm.told("scancel", second[cancelled])
        node = slurm.told("squeue", "--noheader", f"--jobs={second[unlucky]}", "--format=%N")
        slurm.set_state(node, "down")
        try:
            # Slurm waits two minutes before it starts such a job again: an administrator need not
            wait_until(lambda: second[unlucky] in slurm.jobs("PENDING"), screen)
            slurm.told("scontrol", "update", f"jobid={second[unlucky]}", "starttime=now")
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


def test_with_accounts_jobs_are_followed_by_sacct(
    slurm_with_accounts: Slurm, finished: Line, tmp_path: Path
) -> None:
    slurm = slurm_with_accounts
    cancelled, undisturbed = SESSIONS[:2]
    line = only_pulled(finished, tmp_path / "line", [cancelled, undisturbed])
    with on_slurm(slurm, line, "--", *PLACED[:2]) as (process, screen):
        wait_until(lambda: len(numbers(screen)) == 2, screen)
        job = {key: its[0] for key, its in numbers(screen).items()}
        wait_until(lambda: job[cancelled] in slurm.jobs("RUNNING"), screen)
        slurm.told("scancel", job[cancelled])
        process.wait(PATIENCE_S)
    told = screen.read_text()
    assert process.returncode == 1, told
    # slurmdbd was asked for jobs, which squeue does not do
    assert "DBD_GET_JOBS_COND" in (slurm.folder / "slurmdbd.log").read_text()
    # not the bare word that squeue and Snakemake's plugin have for it
    states = slurm.told("sacct", "-X", "--noheader", "--parsable2", "--format=JobIDRaw,State").splitlines()
    assert sorted(states) == sorted([f"{job[cancelled]}|CANCELLED by 0", f"{job[undisturbed]}|COMPLETED"])
    assert told.count("ERROR") == 1
    assert told.count(f"ERROR: {cancelled}: it was cancelled; Slurm job {job[cancelled]}.") == 1
    assert f"{undisturbed}: done (Slurm job {job[undisturbed]})" in told
    assert [(line.folder / path).exists() for path in PLACED[:2]] == [False, True]
