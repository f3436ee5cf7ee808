"""Killed at any moment and started again, the workflow makes the same dataset, byte for byte."""

from __future__ import annotations

import shutil
import signal
import threading
import time
from pathlib import Path

import pytest

from peers.available import thorough
from peers.line import KNOWN, PATIENCE_S, Hold, Line, Pacs, Run, digests, opened, session_key

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

# these write many files: one has its name when the job is killed. The others: none, and one is half-written
OF_MANY = ("pull", "reconstruct", "place", "dataset", "report")


def undone_from(line: Line, stage: str) -> None:
    """As if ``STUDY`` had never come to this stage; the other studies are done."""
    stages = list(PRODUCTS)
    doomed = [PRODUCTS[later] for later in stages[stages.index(stage) :]]
    doomed.append("work/valid")
    if stage not in ("check", "report"):
        doomed.append(TOP_LEVEL)
    if stage == "report":
        doomed.append("report_files")  # else it only has to join the pages of sessions
    if stage in ("place", *stages[: stages.index("place")]):
        doomed += [f"{SESSION}/placed.json", f"{SESSION}/owned.json"]
    for path in (line.folder / product for product in doomed):
        if path.is_dir():
            shutil.rmtree(path)
        else:
            path.unlink(missing_ok=True)


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


def killed_within(finished: Line, folder: Path, stage: str, *, alone: bool = False) -> tuple[Line, Run, Hold]:
    """A copy of ``finished`` that was killed in the midst of its job of this stage."""
    line = finished.copied(folder / "line")
    undone_from(line, stage)
    hold = Hold.of(stage, files=2 if stage in OF_MANY else 1, folder=folder / "hold")
    run = line.killed(lambda _: hold.is_reached, alone=alone, environment=hold.environment)
    assert run.code == -signal.SIGKILL
    assert stage in run.rules
    assert not run.of(stage)
    return line, run, hold


@pytest.mark.parametrize("stage", PRODUCTS)
def test_killed_in_a_stage(finished: Line, tmp_path: Path, stage: str) -> None:
    line, *_ = killed_within(finished, tmp_path, stage)
    delivers_the_same(line, finished)


def test_jobs_that_outlive_their_run_do_no_harm(finished: Line, tmp_path: Path) -> None:
    """Snakemake alone is killed: its job goes on while the next run does the same work."""
    line, killed, hold = killed_within(finished, tmp_path, "reconstruct", alone=True)
    began = time.time()

    def go_on_beside_the_next() -> None:
        while not opened(line.work / "logs", began, "reconstruct") and time.time() < began + PATIENCE_S:
            time.sleep(0.01)
        hold.end()

    beside = threading.Thread(target=go_on_beside_the_next)
    beside.start()
    delivers_the_same(line, finished, killed)
    beside.join()


def test_killed_again_and_again(finished: Line, pacs: Pacs, tmp_path: Path) -> None:
    """From nothing, killed at moments that nobody chose, each time a little later."""
    line = Line(folder=tmp_path / "line", pacs=pacs).prepared()
    for seconds in (2.0, 2.5, 3.2, 4.1):
        line.killed(lambda started, seconds=seconds: time.time() > started + seconds)
    delivers_the_same(line, finished)
