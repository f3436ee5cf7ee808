"""A pull that was cut anywhere goes on with what is missing, and with nothing else."""

from __future__ import annotations

import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path

import pytest

from pacs2bids.files import read_record
from pacs2bids.model import PullError, Receipt
from pacs2bids.pacs.pull import Patience, pull_from_pacs
from pacs2bids.pacs.sender import Destination
from pacs2bids.pacs.server import serving
from pacs2bids.peers import PacsPeer, Slot
from peers.instances import STUDY, write_study
from peers.receipts import read_fitting

QUICK = Patience(quiet_s=0.6, quiet_after_failure_s=0.3, silence_s=5, settle_s=0, turn_s=5, retry_s=0.1)


@contextmanager
def embedded(folder: Path) -> Iterator[PacsPeer]:
    with socket.create_server(("127.0.0.1", 0)) as probe:
        slot = Slot(ae_title="PACS2BIDS", port=probe.getsockname()[1])
    destinations = {"PACS2BIDS": Destination(host="127.0.0.1", port=slot.port)}
    with serving(folder, ae_title="PACS", destinations=destinations) as pacs:
        yield PacsPeer(
            name="main",
            host="127.0.0.1",
            port=pacs.port,
            ae_title="PACS",
            receive_host="127.0.0.1",
            slots=(slot,),
        )


def killed_when(condition: Callable[[], bool], peer: PacsPeer, out: Path, patience: Patience) -> None:
    """A pull in a process of its own, killed as soon as ``condition`` holds."""
    code = (
        "import pathlib\n"
        "from pacs2bids.pacs.pull import Patience, pull_from_pacs\n"
        "from pacs2bids.peers import Courtesy, PacsPeer, Slot\n"
        f"pull_from_pacs({peer!r}, {STUDY!r}, pathlib.Path({str(out)!r}), patience={patience!r})\n"
    )
    process = subprocess.Popen([sys.executable, "-c", code])
    deadline = time.monotonic() + 30
    while not condition():
        assert time.monotonic() < deadline
        assert process.poll() is None
        time.sleep(0.005)
    process.kill()
    process.wait()


def files_in(out: Path) -> dict[Path, int]:
    return {path: path.stat().st_mtime_ns for path in out.glob("dicom/*/*.dcm")}


def test_killed_when_all_had_come_and_no_receipt_was_written(tmp_path: Path) -> None:
    write_study(tmp_path / "pacs")
    out = tmp_path / "work"
    with embedded(tmp_path / "pacs") as peer:
        waiting = Patience(quiet_s=0.6, settle_s=30)  # before it asks whether there is more
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
        killed_when(lambda: len(files_in(out)) > 150, peer, out, Patience())
        there = files_in(out)
        assert 150 < len(there) < 240
        receipt = pull_from_pacs(peer, STUDY, out, patience=QUICK)
    assert receipt.complete
    assert {one.level for one in receipt.transfers} == {"IMAGE"}
    assert sum(one.completed or 0 for one in receipt.transfers) == 240 - len(there)
    assert receipt.duplicates == ()
    assert {path: files_in(out)[path] for path in there} == there
    assert not (out / "receipt.incomplete.json").exists()
