"""A pull spares its PACS: it heeds allowed hours, pauses, and comes again when the PACS was away or busy."""

from __future__ import annotations

import logging
import os
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import datetime, timedelta
from pathlib import Path

import pytest
from pynetdicom import AE
from pynetdicom.sop_class import Verification  # type: ignore[attr-defined]

from pacs2bids.model import QueryError, TransferStatus, UnavailableError
from pacs2bids.pacs import courtesy
from pacs2bids.pacs.inbox import Identity, Inbox
from pacs2bids.pacs.pull import Origin, pull_from, pull_from_pacs
from pacs2bids.pacs.receipt import Announcement
from pacs2bids.pacs.sender import Destination
from pacs2bids.pacs.server import serving
from pacs2bids.pacs.transport import Explanation, Request, Way
from pacs2bids.peers import Courtesy
from peers.embedded import QUICK, embedded, peer_at, wait_for
from peers.instances import STUDY, write_study
from peers.ports import free_port


@pytest.fixture(autouse=True)
def own_temporary_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))


class Clock:
    """What courtesy takes for the clock: it goes on while somebody sleeps by it, and when a test says so."""

    combine = staticmethod(datetime.combine)

    def __init__(self) -> None:
        self.at = datetime.now()

    def now(self) -> datetime:
        return self.at

    def time(self) -> float:
        return self.at.timestamp()

    def sleep(self, seconds: float) -> None:
        self.at += timedelta(seconds=seconds, microseconds=1)  # what is less would be no time at all


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    clock = Clock()
    monkeypatch.setattr(courtesy, "datetime", clock)
    monkeypatch.setattr(courtesy, "time", clock)
    return clock


HELD_BACK = """
import sys
from pacs2bids.__main__ import main
from peers.embedded import held_back
with held_back(int(sys.argv.pop(1))):
    main()
"""


@contextmanager
def served(folder: Path, port: int, receive_port: int, *, count: int) -> Iterator[subprocess.Popen[str]]:
    """The embedded PACS in a process of its own, which sends ``count`` instances and can be killed."""
    words = ["serve", str(folder), "--port", str(port), "--ae-title", "PACS"]
    words += ["--destination", f"PACS2BIDS=127.0.0.1:{receive_port}"]
    command = [sys.executable, "-c", HELD_BACK, str(count), *words]
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(filter(None, sys.path))}
    process = subprocess.Popen(
        command, env=environment, text=True, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL
    )
    try:
        yield process
    finally:
        process.kill()
        process.wait()


def retries_in(caplog: pytest.LogCaptureFixture) -> list[str]:
    return [text for text in (record.getMessage() for record in caplog.records) if "; again in" in text]


def test_pacs_that_is_down_is_asked_again_and_then_told(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    peer = peer_at(free_port(), courtesy=Courtesy(retries=2))
    with pytest.raises(UnavailableError, match=r"no connection.*host and port"):
        pull_from_pacs(peer, STUDY, tmp_path / "work", patience=QUICK)
    first, second = retries_in(caplog)
    assert first.startswith(f"{peer}: no connection: Connection refused; again in 0 s (1 of 2, until about ")
    assert "(2 of 2, until about " in second
    write_study(tmp_path / "pacs")
    destinations = {"PACS2BIDS": Destination(host="127.0.0.1", port=peer.slots[0].port)}
    with serving(tmp_path / "pacs", port=peer.port, ae_title="PACS", destinations=destinations):
        assert pull_from_pacs(peer, STUDY, tmp_path / "work", patience=QUICK).complete


def test_pacs_that_comes_up_meanwhile(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    write_study(tmp_path / "pacs")
    peer = peer_at(free_port(), courtesy=Courtesy(retries=8))
    destinations = {"PACS2BIDS": Destination(host="127.0.0.1", port=peer.slots[0].port)}
    done = threading.Event()

    def come_up() -> None:
        wait_for(lambda: bool(retries_in(caplog)))
        with serving(tmp_path / "pacs", port=peer.port, ae_title="PACS", destinations=destinations):
            done.wait(300)

    thread = threading.Thread(target=come_up)
    thread.start()
    try:
        assert pull_from_pacs(peer, STUDY, tmp_path / "work", patience=QUICK).complete
    finally:
        done.set()
        thread.join()


def test_busy_pacs_is_asked_again(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    """pynetdicom rejects one association too many as transient: local limit exceeded (PS3.8 table 9-21)."""
    entity = AE(ae_title="PACS")
    entity.add_supported_context(Verification)
    entity.maximum_associations = 1
    server = entity.start_server(("127.0.0.1", 0), block=False)
    peer = peer_at(server.server_address[1], courtesy=Courtesy(retries=1))
    guest = AE()
    guest.add_requested_context(Verification)
    association = guest.associate("127.0.0.1", peer.port)
    assert association.is_established
    try:
        with pytest.raises(UnavailableError, match="rejected"):
            pull_from_pacs(peer, STUDY, tmp_path / "work", patience=QUICK)
    finally:
        association.release()
        server.shutdown()
    assert len(retries_in(caplog)) == 1


def test_pacs_that_does_not_know_us_is_not_asked_again(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    entity = AE(ae_title="PACS")
    entity.add_supported_context(Verification)
    entity.require_called_aet = True
    server = entity.start_server(("127.0.0.1", 0), block=False)
    try:
        peer = peer_at(server.server_address[1], courtesy=Courtesy(retries=5), ae_title="ELSE")
        with pytest.raises(QueryError, match="rejected"):
            pull_from_pacs(peer, STUDY, tmp_path / "work", patience=QUICK)
    finally:
        server.shutdown()
    assert retries_in(caplog) == []


def test_pacs_that_is_killed_in_the_midst_and_comes_back(tmp_path: Path) -> None:
    """One pull goes through with it; what had come is not asked for again."""
    write_study(tmp_path / "pacs", instances=150)
    peer = peer_at(free_port(), courtesy=Courtesy(retries=7))
    out, ports = tmp_path / "work", (peer.port, peer.slots[0].port)
    is_up, finished = threading.Event(), threading.Event()

    def live_twice() -> None:
        with served(tmp_path / "pacs", *ports, count=30) as pacs:
            assert pacs.stdout is not None
            pacs.stdout.readline()
            is_up.set()
            wait_for(lambda: len(list(out.glob("dicom/*/*.dcm"))) == 30)
        with served(tmp_path / "pacs", *ports, count=10_000):
            finished.wait(300)

    thread = threading.Thread(target=live_twice)
    thread.start()
    assert is_up.wait(120)
    try:
        receipt = pull_from_pacs(peer, STUDY, out, patience=QUICK)
    finally:
        finished.set()
        thread.join()
    assert receipt.complete
    assert len(receipt.received) == 300
    assert receipt.duplicates == ()
    first, *others = receipt.transfers
    assert (first.level, first.status) == ("STUDY", "")
    assert first.came == 30
    assert {one.level for one in others} == {"IMAGE"}
    assert sum(one.came or 0 for one in receipt.transfers) == 300


class SlowWay:
    """Takes until ``ends`` for each request, and brings little of a whole study; notes when it is open."""

    way = "move"
    asks_one_by_one = False
    reached_us = True

    def __init__(self, clock: Clock, ends: datetime) -> None:
        self.clock, self.ends = clock, ends
        self.openings: list[tuple[datetime, datetime]] = []

    @contextmanager
    def opening(self, inbox: Inbox) -> Iterator[SlowWay]:
        begun, self.inbox = self.clock.now(), inbox
        try:
            yield self
        finally:
            self.openings.append((begun, self.clock.now()))

    @contextmanager
    def transferring(self, request: Request) -> Iterator[SlowWay]:
        self.clock.at = max(self.clock.at, self.ends)
        for uid in request.sop_instance_uids or [f"{STUDY}.0.1"]:
            identity = Identity(
                study_instance_uid=STUDY,
                series_instance_uid=uid.rpartition(".")[0],
                sop_instance_uid=uid,
                sop_class_uid="1.2",
                transfer_syntax_uid="1.2",
            )
            self.inbox.write(identity, [b"content"])
        self.status = TransferStatus(level=request.level, status="0000")
        self.last_word_s, self.finished = time.monotonic(), True
        self.last_progress_s = self.last_word_s
        yield self

    def explanation(self, last: TransferStatus) -> Explanation:
        raise AssertionError(last)


@pytest.mark.parametrize("moves", [1, 2])
def test_pull_that_is_overtaken_by_the_end_of_the_hours(
    tmp_path: Path, caplog: pytest.LogCaptureFixture, clock: Clock, moves: int
) -> None:
    """It ends the request under way, holds nothing, and goes on when the hours begin again."""
    caplog.set_level(logging.INFO)
    listed = {f"{STUDY}.{series}": (f"{STUDY}.{series}.1",) for series in range(3)}
    clock.at = datetime(2026, 6, 1, 23, 58)
    closing = clock.at + timedelta(minutes=1)
    opening = closing + timedelta(minutes=3)
    way = SlowWay(clock, ends=closing + timedelta(seconds=1))
    hours = Courtesy(moves=moves, hours=(opening.time(), closing.time()))
    origin = Origin(
        source=peer_at(1, courtesy=hours),
        kind="pacs",
        announce=lambda _: Announcement(listed=listed, counted={}),
        ways=[Way(name="move", opening=way.opening)],
    )
    receipt = pull_from(origin, STUDY, tmp_path / "work", patience=QUICK)
    assert receipt.complete
    (first, first_ends), (second, _) = way.openings
    assert first < closing < first_ends < opening <= second
    assert [one.status for one in receipt.transfers] == ["0000"] * 3
    assert sum(one.came or 0 for one in receipt.transfers) == 3
    assert f"{origin.source}: pulls are allowed from" in caplog.text


def test_next_study_waits(tmp_path: Path, caplog: pytest.LogCaptureFixture, clock: Clock) -> None:
    caplog.set_level(logging.INFO)
    begun_s = time.time()
    write_study(tmp_path / "pacs")
    write_study(tmp_path / "pacs" / "b", study="1.2.3")
    with embedded(tmp_path / "pacs", courtesy=Courtesy(pause_s=60)) as peer:
        pull_from_pacs(peer, STUDY, tmp_path / "a", patience=QUICK)
        pull_from_pacs(peer, STUDY, tmp_path / "a", patience=QUICK)  # all is here: asks for nothing
        assert "pausing" not in caplog.text
        (stamp,) = tmp_path.glob("pacs2bids-pause-*")
        ended_s = stamp.stat().st_mtime
        assert ended_s > begun_s - 1  # a file system's clock may be a tick behind
        clock.at = datetime.fromtimestamp(ended_s + 17)
        assert pull_from_pacs(peer, "1.2.3", tmp_path / "b", patience=QUICK).complete
        assert clock.time() - ended_s == pytest.approx(60, abs=0.1)
    assert "pausing for 43 s between two studies" in caplog.text
