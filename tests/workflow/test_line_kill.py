"""Killed at any moment and started again, the workflow makes the same dataset, byte for byte."""

from __future__ import annotations

import shutil
import signal
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from peers.available import thorough
from peers.line import KNOWN, Line, Pacs, Run, digests, opened, session_key

pytestmark = thorough

STUDY = KNOWN[-1]
VOLUMES = f"work/studies/{STUDY.uid}/volumes"
SESSION = f"work/sessions/{session_key(STUDY)}"
IN_BIDS = "bids/" + session_key(STUDY).replace("_", "/")

# in the order of the stages: what each leaves, as far as ``STUDY`` is concerned
PRODUCTS = {
    "query": "work/studies.tsv",
    "pull": f"work/studies/{STUDY.uid}",
    "index": f"work/studies/{STUDY.uid}/index.json",
    "reconstruct": VOLUMES,
    "plan": SESSION,
    "place": IN_BIDS,
    "dataset": "work/dataset.json",
    "check": "work/check.json",
    "report": "report.html",
}
TOP_LEVEL = "bids/dataset_description.json"

# where a stage writes many files: the first of them is there. Elsewhere: the job has opened its log
MIDWAY = {
    "pull": f"work/studies/{STUDY.uid}/dicom/*/*",
    "reconstruct": f"{VOLUMES}/*.nii.gz",
    "place": f"{IN_BIDS}/*/*",
    "dataset": TOP_LEVEL,
    "report": "report_files/*.html",
}


TRIES = 20  # the end of a short job may be faster than the blow


def undone_from(line: Line, stage: str) -> None:
    """As if ``STUDY`` had never come to this stage; the other studies are done."""
    stages = list(PRODUCTS)
    doomed = [PRODUCTS[later] for later in stages[stages.index(stage) :]]
    doomed.append("work/valid")
    if stage not in ("check", "report"):
        doomed.append(TOP_LEVEL)
    if stage == "report":
        doomed.append("report_files")  # else it only has to join the pages of sessions, faster than the blow
    if stage in ("place", *stages[: stages.index("place")]):
        doomed += [f"{SESSION}/placed.json", f"{SESSION}/owned.json"]
    for path in (line.folder / product for product in doomed):
        if path.is_dir():
            shutil.rmtree(path)
        else:
            path.unlink(missing_ok=True)


def begun(line: Line, stage: str) -> Callable[[float], bool]:
    """A job of the stage has opened its log."""
    return lambda started: bool(opened(line.work / "logs", started, stage))


def appeared(line: Line, pattern: str) -> Callable[[float], bool]:
    return lambda _started: any(line.folder.glob(pattern))


def delivers_the_same(line: Line, finished: Line, killed: Run | None = None) -> None:
    """``killed``: the run before, whose jobs may live on."""
    run = line.run().succeeded()
    if killed is not None:
        killed.outlived()
    assert "lock" not in run.terminal.lower()
    assert digests(line.bids) == digests(finished.bids)
    assert (line.folder / "report.html").stat().st_size > 0
    for place in (line.bids, *line.work.glob("studies/*/*")):
        assert not list(place.rglob("*.part"))


def killed_within(finished: Line, folder: Path, stage: str, *, alone: bool = False) -> tuple[Line, Run]:
    """A copy of ``finished`` that was killed before its job of this stage was done."""
    for attempt in range(TRIES):
        line = finished.copied(folder / f"line{attempt}")
        undone_from(line, stage)
        midway = appeared(line, MIDWAY[stage]) if stage in MIDWAY else begun(line, stage)
        run = line.killed(midway, alone=alone)
        if run.code == 0:
            continue  # on a busy machine the whole run may be over before the blow falls
        assert run.code == -signal.SIGKILL
        assert stage in run.rules
        if not run.of(stage):  # else the job was done before the blow fell: that is another test
            return line, run
    pytest.fail(f"{stage} was always done before it could be killed")


@pytest.mark.parametrize("stage", PRODUCTS)
def test_killed_in_a_stage(finished: Line, tmp_path: Path, stage: str) -> None:
    line, _ = killed_within(finished, tmp_path, stage)
    delivers_the_same(line, finished)


def test_jobs_that_outlive_their_run_do_no_harm(finished: Line, tmp_path: Path) -> None:
    """Snakemake alone is killed: its job goes on while the next run does the same work."""
    line, killed = killed_within(finished, tmp_path, "reconstruct", alone=True)
    delivers_the_same(line, finished, killed)


def test_killed_again_and_again(finished: Line, pacs: Pacs, tmp_path: Path) -> None:
    """From nothing, killed at moments that nobody chose, each time a little later."""
    line = Line(folder=tmp_path / "line", pacs=pacs).prepared()
    for seconds in (2.0, 2.5, 3.2, 4.1):
        line.killed(lambda started, seconds=seconds: time.time() > started + seconds)
    delivers_the_same(line, finished)
