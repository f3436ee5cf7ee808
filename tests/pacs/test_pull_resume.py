"""A pull that was cut anywhere goes on with what is missing, and with nothing else."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest

from pacs2bids.files import read_record
from pacs2bids.model import PullError, Receipt
from pacs2bids.pacs.pull import Patience, pull_from_pacs
from pacs2bids.peers import PacsPeer
from peers.embedded import QUICK, embedded, held_back, wait_for
from peers.instances import STUDY, write_study
from peers.receipts import read_fitting


def killed_when(condition: Callable[[], bool], peer: PacsPeer, out: Path, patience: Patience) -> None:
    """A pull in a process of its own, killed as soon as ``condition`` holds."""
    code = (
        "import pathlib\n"
        "from pacs2bids.pacs.pull import Patience, pull_from_pacs\n"
        "from pacs2bids.peers import Courtesy, PacsPeer, Slot\n"
        f"pull_from_pacs({peer!r}, {STUDY!r}, pathlib.Path({str(out)!r}), patience={patience!r})\n"
    )
    process = subprocess.Popen([sys.executable, "-c", code])
    try:
        wait_for(lambda: condition() or process.poll() is not None)
    finally:
        process.kill()
    assert process.wait() < 0


def files_in(out: Path) -> dict[Path, int]:
    return {path: path.stat().st_mtime_ns for path in out.glob("dicom/*/*.dcm")}


def test_killed_when_all_had_come_and_no_receipt_was_written(tmp_path: Path) -> None:
    write_study(tmp_path / "pacs")
    out = tmp_path / "work"
    with embedded(tmp_path / "pacs") as peer:
        waiting = Patience(quiet_s=0.6, settle_s=300)  # before it asks whether there is more
        killed_when(lambda: len(files_in(out)) == 10, peer, out, waiting)
        assert not list(out.glob("*receipt*"))
        there = files_in(out)
        receipt = pull_from_pacs(peer, STUDY, out, patience=QUICK)
    assert receipt.complete
    assert receipt.transfers == ()
    assert files_in(out) == there
    assert read_fitting(out / "receipt.json") == receipt


def test_killed_in_the_midst_of_a_second_attempt(tmp_path: Path) -> None:
    """The first left a list of what is missing; the third asks for what neither brought."""
    sources = write_study(tmp_path / "pacs", instances=120)
    out = tmp_path / "work"
    away = tmp_path / "away"
    away.mkdir()
    with embedded(tmp_path / "pacs") as peer:
        held = [path.rename(away / path.name) for path in sources[:100]]
        with pytest.raises(PullError, match="100 of 240 announced"):
            pull_from_pacs(peer, STUDY, out, patience=replace(QUICK, rounds=1))
        for path, name in zip(held, sources[:100], strict=True):
            path.rename(name)
        assert len(read_record(out / "receipt.incomplete.json", Receipt).missing) == 100
        with held_back(15):
            killed_when(lambda: len(files_in(out)) == 155, peer, out, Patience())
        there = files_in(out)
        assert len(there) == 155
        receipt = pull_from_pacs(peer, STUDY, out, patience=QUICK)
    assert receipt.complete
    assert {one.level for one in receipt.transfers} == {"IMAGE"}
    assert sum(one.completed or 0 for one in receipt.transfers) == 240 - len(there)
    assert receipt.duplicates == ()
    assert {path: files_in(out)[path] for path in there} == there
    assert not (out / "receipt.incomplete.json").exists()
