"""Pulling studies from the embedded PACS, and from PACS that misbehave by script."""

from __future__ import annotations

import itertools
import re
import signal
import socket
import stat
import subprocess
import sys
import threading
import time
import warnings
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import pydicom
import pytest
from pydicom.dataset import Dataset
from pynetdicom import AE, build_context, evt
from pynetdicom.dimse_primitives import C_MOVE
from pynetdicom.sop_class import (  # type: ignore[attr-defined]
    MRImageStorage,
    StudyRootQueryRetrieveInformationModelFind,
    StudyRootQueryRetrieveInformationModelMove,
)

from pacs2bids.files import read_record
from pacs2bids.model import Identity, PullError, QueryError, Receipt
from pacs2bids.pacs.pull import pull_from_pacs, requests_for
from pacs2bids.pacs.sender import Destination
from pacs2bids.pacs.server import serving
from pacs2bids.pacs.turns import own_slot
from pacs2bids.peers import GET, MOVE, Courtesy, PacsPeer, Slot
from peers.embedded import QUICK, before_each_sent, held_back, wait_for
from peers.instances import SERIES, STUDY, data_set_bytes, instance, write_study
from peers.ports import free_port
from peers.requestor import parked


def peer_at(port: int, *, receive_port: int = 0, **changes: Any) -> PacsPeer:
    slot = Slot(ae_title="PACS2BIDS", port=receive_port or free_port())
    peer = PacsPeer(
        name="test", host="127.0.0.1", port=port, ae_title="PACS", receive_host="127.0.0.1", slots=(slot,)
    )
    return replace(peer, **changes)


@contextmanager
def embedded(folder: Path, *, known: bool = True, reachable: bool = True) -> Iterator[PacsPeer]:
    port = free_port()
    destination = Destination(host="127.0.0.1", port=port if reachable else free_port())
    destinations = {"PACS2BIDS" if known else "OTHER": destination}
    with serving(folder, ae_title="PACS", destinations=destinations) as pacs:
        yield peer_at(pacs.port, receive_port=port)


def files_below(folder: Path) -> list[str]:
    return sorted(path.relative_to(folder).as_posix() for path in folder.rglob("*") if path.is_file())


# ------------------------------------------------------------------------------------------ embedded PACS


def test_whole_study(tmp_path: Path) -> None:
    sources = write_study(tmp_path / "pacs")
    write_study(tmp_path / "pacs" / "another", study="1.2.3")
    out = tmp_path / "work" / STUDY
    with embedded(tmp_path / "pacs") as peer:
        receipt = pull_from_pacs(peer, STUDY, out, patience=QUICK)
    assert receipt.complete
    assert (receipt.source, receipt.kind, receipt.missing) == ("test", "pacs", ())
    assert {series: len(uids) for series, uids in receipt.announced.items()} == {
        f"{STUDY}.1": 5,
        f"{STUDY}.2": 5,
    }
    assert read_record(out / "receipt.json", Receipt) == receipt
    expected = sorted(f"dicom/{STUDY}.{s}/{STUDY}.{s}.{n}.dcm" for s in (1, 2) for n in range(1, 6))
    assert files_below(out) == [".receipt.json", *expected, "identity.pacs.json", "receipt.json"]
    said = read_record(out / "identity.pacs.json", Identity)
    assert said.values["PatientName"] == ("Phantom^One",)
    for source, one in zip(sorted(sources), receipt.received, strict=True):
        assert data_set_bytes(out / "dicom" / one.path) == data_set_bytes(source)
    assert stat.S_IMODE(out.stat().st_mode) == 0o700
    assert {stat.S_IMODE((out / name).stat().st_mode) for name in files_below(out)} == {0o600}


@pytest.mark.parametrize("name", ["ts", "frag"])
def test_compressed_instances_come_as_they_are(
    tmp_path: Path, corpus: Callable[[str], Path], name: str
) -> None:
    with ExitStack() as stack:
        port = free_port()
        destinations = {"PACS2BIDS": Destination(host="127.0.0.1", port=port)}
        pacs = stack.enter_context(serving(corpus(name), ae_title="PACS", destinations=destinations))
        held = {one.sop_instance_uid: one for one in pacs.catalogue.instances}
        received = {}
        for study in pacs.catalogue.studies:
            out = tmp_path / study.study_instance_uid
            peer = peer_at(pacs.port, receive_port=port)
            receipt = pull_from_pacs(peer, study.study_instance_uid, out, patience=QUICK)
            received |= {one.sop_instance_uid: (one, out / "dicom" / one.path) for one in receipt.received}
    assert received.keys() == held.keys()
    for uid, (one, path) in received.items():
        assert one.transfer_syntax_uid == held[uid].transfer_syntax_uid
        assert pydicom.filereader.read_file_meta_info(path).TransferSyntaxUID == one.transfer_syntax_uid
        assert data_set_bytes(path) == data_set_bytes(held[uid].path)
    assert any(pydicom.uid.UID(one.transfer_syntax_uid).is_compressed for one, _ in received.values())


def test_missing_instance_is_reported_and_the_next_run_fetches_only_it(tmp_path: Path) -> None:
    lost, *_ = sources = write_study(tmp_path / "pacs")
    out = tmp_path / "work"
    with embedded(tmp_path / "pacs") as peer:
        content = lost.read_bytes()
        lost.unlink()
        with pytest.raises(PullError) as caught:
            pull_from_pacs(peer, STUDY, out, patience=QUICK)
        assert f"1 of 10 announced instances are missing: {STUDY}.1.1" in str(caught.value)
        assert "Run again" in str(caught.value)
        assert not (out / "receipt.json").exists()
        incomplete = read_record(out / "receipt.incomplete.json", Receipt)
        assert not incomplete.complete
        assert incomplete.missing == (f"{STUDY}.1.1",)
        assert len(incomplete.received) == len(sources) - 1
        assert any(transfer.status not in ("", "0000") for transfer in incomplete.transfers)

        lost.write_bytes(content)
        stamps = {path: path.stat().st_mtime_ns for path in (out / "dicom").rglob("*.dcm")}
        receipt = pull_from_pacs(peer, STUDY, out, patience=QUICK)
    assert receipt.complete
    assert [transfer.level for transfer in receipt.transfers] == ["IMAGE"]
    assert receipt.duplicates == ()
    assert not (out / "receipt.incomplete.json").exists()
    assert stamps == {path: path.stat().st_mtime_ns for path in stamps}


def test_complete_study_is_asked_for_no_more(tmp_path: Path) -> None:
    write_study(tmp_path / "pacs")
    with embedded(tmp_path / "pacs") as peer:
        first = pull_from_pacs(peer, STUDY, tmp_path / "work", patience=QUICK)
        second = pull_from_pacs(peer, STUDY, tmp_path / "work", patience=QUICK)
    assert second.transfers == ()
    assert second.received == first.received


def test_damaged_file_of_an_earlier_attempt_is_fetched_again(tmp_path: Path) -> None:
    write_study(tmp_path / "pacs")
    series = tmp_path / "work" / "dicom" / f"{STUDY}.1"
    with embedded(tmp_path / "pacs") as peer:
        first = pull_from_pacs(peer, STUDY, tmp_path / "work", patience=QUICK)
        (series / f"{STUDY}.1.1.dcm").write_bytes(b"damaged")
        (series / f"{STUDY}.1.3.dcm").replace(series / f"{STUDY}.1.2.dcm")  # not what its name says
        second = pull_from_pacs(peer, STUDY, tmp_path / "work", patience=QUICK)
    assert second.received == first.received
    assert second.complete


@pytest.mark.parametrize("receipt", ["complete", "incomplete", "none"])
def test_cut_file_of_an_earlier_attempt_is_fetched_again(
    tmp_path: Path, receipt: str, caplog: pytest.LogCaptureFixture
) -> None:
    write_study(tmp_path / "pacs")
    cut = tmp_path / "work" / "dicom" / f"{STUDY}.2" / f"{STUDY}.2.4.dcm"
    with embedded(tmp_path / "pacs") as peer:
        first = pull_from_pacs(peer, STUDY, tmp_path / "work", patience=QUICK)
        content = cut.read_bytes()
        cut.write_bytes(content[:-20])
        if receipt == "none":  # Snakemake removes it before the job runs again
            (tmp_path / "work" / "receipt.json").unlink()
        elif receipt == "incomplete":
            (tmp_path / "work" / "receipt.json").rename(tmp_path / "work" / "receipt.incomplete.json")
        second = pull_from_pacs(peer, STUDY, tmp_path / "work", patience=QUICK)
    assert second.received == first.received
    assert cut.read_bytes() == content
    assert [(one.level, one.completed) for one in second.transfers] == [("IMAGE", 1)]
    (aside,) = (tmp_path / "work" / "quarantine").iterdir()
    assert aside.read_bytes() == content[:-20]
    assert f"{cut}: " in caplog.text


def test_file_that_its_receipt_does_not_know_so_is_fetched_again(tmp_path: Path) -> None:
    """The same length, and well-formed, but not what came."""
    write_study(tmp_path / "pacs")
    changed = tmp_path / "work" / "dicom" / f"{STUDY}.2" / f"{STUDY}.2.4.dcm"
    with embedded(tmp_path / "pacs") as peer:
        first = pull_from_pacs(peer, STUDY, tmp_path / "work", patience=QUICK)
        changed.write_bytes(changed.read_bytes().replace(b"2/4", b"2/5"))
        assert pull_from_pacs(peer, STUDY, tmp_path / "work", patience=QUICK).received == first.received
    assert b"2/4" in changed.read_bytes()


@pytest.mark.parametrize("damaged", [False, True])
def test_receipt_that_does_not_hold_any_more_does_not_outlive_a_failure(
    tmp_path: Path, damaged: bool
) -> None:
    write_study(tmp_path / "pacs")
    out = tmp_path / "work"
    with embedded(tmp_path / "pacs") as peer:
        pull_from_pacs(peer, STUDY, out, patience=QUICK)
    if damaged:
        (out / "dicom" / f"{STUDY}.1" / f"{STUDY}.1.1.dcm").write_bytes(b"damaged")
    with pytest.raises(QueryError, match="no connection"):  # the PACS is down
        pull_from_pacs(peer, STUDY, out, patience=QUICK)
    assert (out / "receipt.json").exists() is not damaged


def test_folder_of_another_study_stays_as_it_is(tmp_path: Path) -> None:
    write_study(tmp_path / "pacs")
    write_study(tmp_path / "pacs" / "b", study="1.2.3")
    out = tmp_path / "work"
    with embedded(tmp_path / "pacs") as peer:
        first = pull_from_pacs(peer, STUDY, out, patience=QUICK)
        with pytest.raises(PullError, match=f"holds the study {STUDY}"):
            pull_from_pacs(peer, "1.2.3", out, patience=QUICK)
    assert read_record(out / "receipt.json", Receipt) == first
    assert all((out / "dicom" / one.path).exists() for one in first.received)


def test_killed_pull_goes_on_where_it_was(tmp_path: Path) -> None:
    write_study(tmp_path / "pacs", instances=150)
    out = tmp_path / "work"
    with embedded(tmp_path / "pacs") as peer:
        code = (
            "import sys, pathlib; from pacs2bids.pacs.pull import *; from pacs2bids.peers import *; "
            f"pull_from_pacs({peer!r}, {STUDY!r}, pathlib.Path({str(out)!r}))"
        )
        with held_back(30):
            killed = subprocess.Popen([sys.executable, "-c", code])
            wait_for(lambda: len(list(out.glob("dicom/*/*.dcm"))) == 30)
            killed.kill()
            killed.wait()
        there = {path.name: path.read_bytes() for path in out.glob("dicom/*/*.dcm")}
        assert not list(out.glob("receipt*"))
        receipt = pull_from_pacs(peer, STUDY, out, patience=QUICK)
    assert receipt.complete
    assert len(receipt.received) == 300
    asked = sum(transfer.completed or 0 for transfer in receipt.transfers)
    assert asked == 300 - len(there) == 270
    assert not list(out.rglob("*.part"))


def test_ctrl_c_ends_the_move_and_not_only_the_waiting_for_it(tmp_path: Path) -> None:
    write_study(tmp_path / "pacs", instances=400)
    out = tmp_path / "work"
    numbers, ended = itertools.count(1), threading.Event()

    def slowly(_: object) -> None:
        """But for the first: to send all takes 40 s, if nobody ends it."""
        if next(numbers) > 30:
            ended.wait(0.05)

    with embedded(tmp_path / "pacs") as peer, before_each_sent(slowly):
        code = (
            # what starts in the background may have been told to heed no Ctrl-C
            "import pathlib, signal; signal.signal(signal.SIGINT, signal.default_int_handler); "
            "from pacs2bids.pacs.pull import *; from pacs2bids.peers import *; "
            f"pull_from_pacs({peer!r}, {STUDY!r}, pathlib.Path({str(out)!r}))"
        )
        pull = subprocess.Popen([sys.executable, "-c", code], stderr=subprocess.DEVNULL)
        wait_for(lambda: len(list(out.glob("dicom/*/*.dcm"))) > 20)
        pull.send_signal(signal.SIGINT)
        pull.wait()
        ended.set()
        assert pull.returncode != 0
        assert len(list(out.glob("dicom/*/*.dcm"))) < 800
        assert pull_from_pacs(peer, STUDY, out, patience=QUICK).complete
    assert not list(out.rglob("*.part"))


def test_odd_uids_are_no_trouble(tmp_path: Path, recwarn: pytest.WarningsRecorder) -> None:
    """Leading zeros are against PS3.5 section 9.1, and found in the field."""
    study = "1.2.03"
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        first, *_ = write_study(tmp_path / "pacs", study=study)
    with embedded(tmp_path / "pacs") as peer:
        content = first.read_bytes()
        first.unlink()
        with pytest.raises(PullError, match=r"1\.2\.03\.1\.1"):
            pull_from_pacs(peer, study, tmp_path / "work", patience=QUICK)
        first.write_bytes(content)
        assert pull_from_pacs(peer, study, tmp_path / "work", patience=QUICK).complete
    assert [str(one.message) for one in recwarn] == []


def test_unknown_study(tmp_path: Path) -> None:
    write_study(tmp_path / "pacs")
    with (
        embedded(tmp_path / "pacs") as peer,
        pytest.raises(PullError, match=r"study 9\.9.*knows no such study"),
    ):
        pull_from_pacs(peer, "9.9", tmp_path / "work", patience=QUICK)
    assert files_below(tmp_path / "work") == []


def completes_when_mended(folder: Path) -> None:
    """Nothing says that the study is whole; where all is in order the next pull brings it, once."""
    assert not (folder / "work" / "receipt.json").exists()
    had = len(list((folder / "work").glob("dicom/*/*.dcm")))
    with embedded(folder / "pacs") as peer:
        receipt = pull_from_pacs(peer, STUDY, folder / "work", patience=QUICK)
    assert (receipt.complete, len(receipt.received), receipt.duplicates) == (True, 10, ())
    assert sum(one.came or 0 for one in receipt.transfers) == 10 - had


UNKNOWN_DESTINATION = (
    rf"^study {STUDY}: the PACS answered C-MOVE with A801 and never called us: .*; none of 10 announced "
    "instances came. Register AE title PACS2BIDS with this machine's address and port .*The whole list: "
)


def test_unknown_destination(tmp_path: Path) -> None:
    write_study(tmp_path / "pacs")
    with (
        embedded(tmp_path / "pacs", known=False) as peer,
        pytest.raises(PullError, match=UNKNOWN_DESTINATION),
    ):
        pull_from_pacs(peer, STUDY, tmp_path / "work", patience=QUICK)
    completes_when_mended(tmp_path)


def test_destination_that_does_not_lead_to_us(tmp_path: Path) -> None:
    write_study(tmp_path / "pacs")
    with (
        embedded(tmp_path / "pacs", reachable=False) as peer,
        pytest.raises(PullError, match=r"never called us.*Register AE title PACS2BIDS"),
    ):
        pull_from_pacs(peer, STUDY, tmp_path / "work", patience=QUICK)
    completes_when_mended(tmp_path)


def test_pacs_that_calls_itself_otherwise_is_named(tmp_path: Path) -> None:
    """The embedded PACS takes any called AE title, so a wrong one shows only when it sends."""
    write_study(tmp_path / "pacs")
    with (
        embedded(tmp_path / "pacs") as peer,
        pytest.raises(PullError, match=r"calls came from PACS instead of ELSE.*ae_title"),
    ):
        pull_from_pacs(replace(peer, ae_title="ELSE"), STUDY, tmp_path / "work", patience=QUICK)


def test_pacs_down(tmp_path: Path) -> None:
    peer = peer_at(free_port())
    with pytest.raises(QueryError, match=rf"PACS at 127\.0\.0\.1:{peer.port}.*no connection.*host and port"):
        pull_from_pacs(peer, STUDY, tmp_path / "work", patience=QUICK)


def test_disk_that_refuses(tmp_path: Path) -> None:
    write_study(tmp_path / "pacs")
    blocked = tmp_path / "work" / "dicom" / f"{STUDY}.1"
    blocked.parent.mkdir(parents=True)
    blocked.write_text("a file where the folder of the series should be")
    with (
        embedded(tmp_path / "pacs") as peer,
        pytest.raises(PullError, match=r"cannot be written: File exists.*run again"),
    ):
        pull_from_pacs(peer, STUDY, tmp_path / "work", patience=QUICK)
    blocked.unlink()
    completes_when_mended(tmp_path)


def test_two_pulls_of_one_host_take_turns(tmp_path: Path) -> None:
    write_study(tmp_path / "pacs", study=STUDY)
    write_study(tmp_path / "pacs" / "b", study="1.2.3")
    done: list[Receipt] = []
    with embedded(tmp_path / "pacs") as peer:
        threads = [
            threading.Thread(
                target=lambda uid=uid: done.append(
                    pull_from_pacs(peer, uid, tmp_path / uid, patience=replace(QUICK, turn_s=300))
                )
            )
            for uid in (STUDY, "1.2.3")
        ]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
    assert [receipt.complete for receipt in done] == [True, True]
    assert {receipt.foreign for receipt in done} == {()}


def test_turn_that_never_comes(tmp_path: Path) -> None:
    write_study(tmp_path / "pacs")
    with (
        embedded(tmp_path / "pacs") as peer,
        own_slot(peer.slots, "127.0.0.1", wait_s=0),
        pytest.raises(PullError, match="another pull has been receiving"),
    ):
        pull_from_pacs(peer, STUDY, tmp_path / "work", patience=replace(QUICK, turn_s=0.2))
    completes_when_mended(tmp_path)


def test_port_of_another_program(tmp_path: Path) -> None:
    write_study(tmp_path / "pacs")
    with embedded(tmp_path / "pacs") as peer:
        with (
            socket.create_server(("127.0.0.1", peer.slots[0].port)),
            pytest.raises(PullError, match=r"is taken by another program.*end that program.*receive_port"),
        ):
            pull_from_pacs(peer, STUDY, tmp_path / "work", patience=QUICK)
        assert pull_from_pacs(peer, STUDY, tmp_path / "work", patience=QUICK).complete


# ------------------------------------------------------------------------------------------ scripted PACS


class ScriptedPacs:
    """A PACS of pynetdicom whose answers and deeds a test writes: ``on_move(pacs, number, uids)`` sends with
    ``send`` and returns the final status."""

    def __init__(self, on_move: Callable[[ScriptedPacs, int, list[str]], int]) -> None:
        self.on_move = on_move
        self.numbers = [1, 2, 3]  # the instances that it lists
        self.counted: int | None = None  # what it says of their number
        self.in_study: tuple[int, int] | None = None  # of instances and series of the study
        self.odd: list[str] = []  # UIDs that it lists, too
        self.is_failing = False  # to answer queries
        self.moves = 0
        self.receive_port = free_port()
        self.background: list[threading.Thread] = []

    def send(self, numbers: list[int], *, text: str = "", **originator: Any) -> list[int]:
        entity = AE(ae_title="PACS")
        entity.add_requested_context(MRImageStorage, pydicom.uid.ExplicitVRLittleEndian)
        association = parked(entity.associate("127.0.0.1", self.receive_port, ae_title="PACS2BIDS"))
        assert association.is_established
        try:
            datasets = [instance(number, text=text) for number in numbers]
            return [association.send_c_store(dataset, **originator).Status for dataset in datasets]
        finally:
            association.release()

    def later(self, delay_s: float, numbers: list[int]) -> None:
        def work() -> None:
            time.sleep(delay_s)
            self.send(numbers)

        self.background.append(threading.Thread(target=work))
        self.background[-1].start()

    def find(self, event: Any) -> Iterator[tuple[int, Dataset | None]]:
        asked = event.identifier
        if self.is_failing:
            yield 0xC001, None
            return
        if asked.QueryRetrieveLevel == "STUDY":
            yield 0xFF00, self.study()
            return
        uid = instance(1).SeriesInstanceUID
        series = [0] if self.numbers or self.counted is not None else []
        for number in series if asked.QueryRetrieveLevel == "SERIES" else self.numbers:
            answer = Dataset()
            answer.QueryRetrieveLevel = asked.QueryRetrieveLevel
            answer.SeriesInstanceUID = uid
            if not number and self.counted is not None:
                answer.NumberOfSeriesRelatedInstances = self.counted
            if number:
                answer.SOPInstanceUID = instance(number).SOPInstanceUID
            yield 0xFF00, answer
        for odd in self.odd if asked.QueryRetrieveLevel == "IMAGE" else []:
            answer.SOPInstanceUID = odd
            yield 0xFF00, answer

    def study(self) -> Dataset:
        answer = Dataset()
        answer.QueryRetrieveLevel, answer.StudyInstanceUID = "STUDY", STUDY
        if self.in_study is not None:
            answer.NumberOfStudyRelatedInstances, answer.NumberOfStudyRelatedSeries = self.in_study
        return answer

    def move(self, event: Any) -> Iterator[Any]:
        self.moves += 1
        uids = event.identifier.get("SOPInstanceUID", [])
        status = self.on_move(self, self.moves, [uids] if isinstance(uids, str) else list(uids))
        # pynetdicom sends nothing by itself: no sub-operations for 0000, or a failure in place of the first
        yield "127.0.0.1", self.receive_port, {"contexts": [build_context(MRImageStorage)]}
        yield int(status != 0)
        if status:
            yield status, None


@contextmanager
def scripted(
    on_move: Callable[[ScriptedPacs, int, list[str]], int], kind: type[ScriptedPacs] = ScriptedPacs
) -> Iterator[tuple[ScriptedPacs, PacsPeer]]:
    pacs = kind(on_move)
    entity = AE(ae_title="PACS")
    entity.add_supported_context(StudyRootQueryRetrieveInformationModelFind)
    entity.add_supported_context(StudyRootQueryRetrieveInformationModelMove)
    handlers: list[Any] = [(evt.EVT_C_FIND, pacs.find), (evt.EVT_C_MOVE, pacs.move)]
    server = entity.start_server(("127.0.0.1", 0), block=False, evt_handlers=handlers)
    try:
        yield pacs, peer_at(server.server_address[1], receive_port=pacs.receive_port)
    finally:
        for thread in pacs.background:
            thread.join()
        server.shutdown()


def uids(*numbers: int) -> tuple[str, ...]:
    return tuple(str(instance(number).SOPInstanceUID) for number in numbers)


def test_success_is_not_believed(tmp_path: Path) -> None:
    """0000 with two of three sent: the third is asked for by its UID."""
    asked: list[list[str]] = []

    def on_move(pacs: ScriptedPacs, number: int, wanted: list[str]) -> int:
        asked.append(wanted)
        pacs.send([1, 2] if number == 1 else [3])
        return 0x0000

    with scripted(on_move) as (_, peer):
        receipt = pull_from_pacs(peer, STUDY, tmp_path, patience=QUICK)
    assert receipt.complete
    assert asked == [[], list(uids(3))]
    assert [(one.level, one.status) for one in receipt.transfers] == [("STUDY", "0000"), ("IMAGE", "0000")]


def test_failure_is_not_believed(tmp_path: Path) -> None:
    def on_move(pacs: ScriptedPacs, _number: int, _wanted: list[str]) -> int:
        pacs.send([1, 2, 3])
        return 0xC000

    with scripted(on_move) as (_, peer):
        receipt = pull_from_pacs(peer, STUDY, tmp_path, patience=QUICK)
    assert receipt.complete
    assert [one.status for one in receipt.transfers] == ["C000"]


def test_instances_that_come_after_success(tmp_path: Path) -> None:
    def on_move(pacs: ScriptedPacs, _number: int, _wanted: list[str]) -> int:
        pacs.later(0.3, [1, 2, 3])
        return 0x0000

    with scripted(on_move) as (pacs, peer):
        receipt = pull_from_pacs(peer, STUDY, tmp_path, patience=replace(QUICK, quiet_s=60))
    assert receipt.complete
    assert pacs.moves == 1


def test_last_word_after_all_has_come_is_waited_for(tmp_path: Path) -> None:
    def on_move(pacs: ScriptedPacs, _number: int, _wanted: list[str]) -> int:
        pacs.send([1, 2, 3])
        time.sleep(3 * QUICK.quiet_after_failure_s)
        return 0x0000

    with scripted(on_move) as (_, peer):
        receipt = pull_from_pacs(peer, STUDY, tmp_path, patience=QUICK)
    assert [one.status for one in receipt.transfers] == ["0000"]


def test_study_that_grows_meanwhile(tmp_path: Path) -> None:
    def on_move(pacs: ScriptedPacs, number: int, _wanted: list[str]) -> int:
        pacs.send([1, 2, 3] if number == 1 else [4])
        pacs.numbers = [1, 2, 3, 4]
        return 0x0000

    with scripted(on_move) as (_, peer):
        receipt = pull_from_pacs(peer, STUDY, tmp_path, patience=QUICK)
    assert receipt.complete
    assert [one.sop_instance_uid for one in receipt.received] == list(uids(1, 2, 3, 4))


def test_study_that_shrinks_is_not_complete_until_it_is_asked_for_anew(tmp_path: Path) -> None:
    """What was announced and never came is missing, though the PACS lists it no more: was it meant to go?"""

    def on_move(pacs: ScriptedPacs, number: int, _wanted: list[str]) -> int:
        pacs.numbers = [1, 2]
        if number == 1:
            pacs.send(pacs.numbers)
        return 0x0000

    with scripted(on_move) as (_, peer):
        with pytest.raises(PullError, match=r"1 of 3 announced instances are missing"):
            pull_from_pacs(peer, STUDY, tmp_path, patience=QUICK)
        receipt = read_record(tmp_path / "receipt.incomplete.json", Receipt)
        assert receipt.missing == uids(3)
        again = pull_from_pacs(peer, STUDY, tmp_path, patience=QUICK)
    assert again.complete
    assert not again.transfers
    assert [one.sop_instance_uid for one in again.received] == list(uids(1, 2))


def test_study_that_never_stops_growing_is_not_complete(tmp_path: Path) -> None:
    def on_move(pacs: ScriptedPacs, _number: int, _wanted: list[str]) -> int:
        pacs.send(pacs.numbers[-3:])
        pacs.numbers = [*pacs.numbers, pacs.numbers[-1] + 1]
        return 0x0000

    with scripted(on_move) as (pacs, peer):
        with pytest.raises(PullError, match="announced"):
            pull_from_pacs(peer, STUDY, tmp_path, patience=QUICK)
        assert not read_record(tmp_path / "receipt.incomplete.json", Receipt).complete
        assert not (tmp_path / "receipt.json").exists()
        pacs.on_move = lambda pacs, *_: pacs.send(pacs.numbers[-1:])[0]  # the scanner is done
        receipt = pull_from_pacs(peer, STUDY, tmp_path, patience=QUICK)
    assert (receipt.complete, [one.came for one in receipt.transfers]) == (True, [1])
    assert len(receipt.received) == len(pacs.numbers)


@pytest.mark.parametrize("ways", [(MOVE,), (MOVE, GET)])
def test_study_that_is_deleted_after_it_was_announced_twice(tmp_path: Path, ways: tuple[str, ...]) -> None:
    """Then nothing is announced, so nothing is missing of that; but it was."""

    def on_move(pacs: ScriptedPacs, number: int, _wanted: list[str]) -> int:
        pacs.send([1, 2])
        if number == 2:
            pacs.numbers = []
        return 0x0000

    with scripted(on_move) as (pacs, scripted_peer):
        peer = replace(scripted_peer, retrieve=ways, courtesy=Courtesy(retries=0))
        with pytest.raises(PullError, match="has none of its 3 instances any more"):
            pull_from_pacs(peer, STUDY, tmp_path, patience=QUICK)
        assert not (tmp_path / "receipt.json").exists()
        assert read_record(tmp_path / "receipt.incomplete.json", Receipt).missing == uids(3)
        pacs.numbers, pacs.on_move = [1, 2, 3], lambda pacs, *_: pacs.send([3])[0]
        receipt = pull_from_pacs(peer, STUDY, tmp_path, patience=QUICK)
    assert (receipt.complete, [one.came for one in receipt.transfers]) == (True, [1])


def test_pacs_that_answers_no_more_when_all_has_come(tmp_path: Path) -> None:
    """It announced the same twice, but whether that was all is not known."""

    def on_move(pacs: ScriptedPacs, number: int, _wanted: list[str]) -> int:
        pacs.send([1, 2] if number == 1 else [3])
        pacs.is_failing = number == 2
        return 0x0000

    with scripted(on_move) as (pacs, peer):
        with pytest.raises(QueryError, match="C001"):
            pull_from_pacs(peer, STUDY, tmp_path, patience=QUICK)
        receipt = read_record(tmp_path / "receipt.incomplete.json", Receipt)
        assert (receipt.complete, receipt.missing, len(receipt.received)) == (False, (), 3)
        pacs.is_failing = False
        again = pull_from_pacs(peer, STUDY, tmp_path, patience=QUICK)
    assert (again.complete, again.transfers) == (True, ())


def test_one_instance_that_stops_every_move_costs_only_itself(tmp_path: Path) -> None:
    """The PACS cannot send number 7, and stops there."""

    def on_move(pacs: ScriptedPacs, _number: int, wanted: list[str]) -> int:
        numbers = [number for number in pacs.numbers if not wanted or uids(number)[0] in wanted]
        good = numbers[: numbers.index(7)] if 7 in numbers else numbers
        if good:
            pacs.send(good)
        return 0xC000 if 7 in numbers else 0x0000

    with scripted(on_move) as (pacs, peer):
        pacs.numbers = list(range(1, 21))
        with pytest.raises(PullError, match="1 of 20 announced"):
            pull_from_pacs(peer, STUDY, tmp_path, patience=QUICK)
        assert read_record(tmp_path / "receipt.incomplete.json", Receipt).missing == uids(7)
        pacs.on_move = lambda pacs, *_: pacs.send([7])[0]
        receipt = pull_from_pacs(peer, STUDY, tmp_path, patience=QUICK)
    assert (receipt.complete, [one.came for one in receipt.transfers]) == (True, [1])


def test_frozen_pacs_is_left(tmp_path: Path) -> None:
    released = threading.Event()

    def on_move(pacs: ScriptedPacs, number: int, _wanted: list[str]) -> int:
        if number == 1:
            pacs.send([1])
            released.wait(300)  # the PACS hangs in the midst of the first move
        else:
            pacs.send([2, 3])
        return 0x0000

    with scripted(on_move) as (_, peer):
        start = time.monotonic()
        receipt = pull_from_pacs(peer, STUDY, tmp_path, patience=replace(QUICK, silence_s=1))
        seconds = time.monotonic() - start
        released.set()
    assert receipt.complete
    assert receipt.transfers[0].status == ""
    assert seconds < 60


def test_a_pacs_that_is_pending_for_ever_is_left(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    """It says so time and again, and nothing comes and no number changes."""
    released = threading.Event()

    class Pending(ScriptedPacs):
        def move(self, event: Any) -> Iterator[Any]:
            again = C_MOVE()
            again.MessageIDBeingRespondedTo, again.Status = event.message_id, 0xFF00
            again.AffectedSOPClassUID = event.request.AffectedSOPClassUID
            while self.moves == 0 and not released.wait(0.1) and not event.is_cancelled:
                event.assoc.dimse.send_msg(again, event.context.context_id)
            yield from super().move(event)

    def on_move(pacs: ScriptedPacs, number: int, _wanted: list[str]) -> int:
        if number > 1:
            pacs.send([1, 2, 3])
        return 0x0000

    with scripted(on_move, Pending) as (_, peer):
        receipt = pull_from_pacs(peer, STUDY, tmp_path, patience=replace(QUICK, silence_s=60, stall_s=1))
        released.set()
    assert receipt.complete
    first, *others = [one.came or 0 for one in receipt.transfers]
    assert (first, sum(others)) == (0, 3)  # each is left that brings nothing for a second
    assert re.search("pending, but no progress and no data for [1-9][0-9]* s", caplog.text)


def test_originator_is_relayed_and_strangers_are_turned_away(tmp_path: Path) -> None:
    answers: list[list[int]] = []

    def on_move(pacs: ScriptedPacs, _number: int, _wanted: list[str]) -> int:
        answers.append(pacs.send([1, 2], originator_aet="STRANGER", originator_id=1))
        pacs.send([1, 2, 3])
        return 0x0000

    with scripted(on_move) as (_, peer):
        receipt = pull_from_pacs(peer, STUDY, tmp_path, patience=QUICK)
    assert answers == [[0x0124, 0x0124]]
    assert receipt.complete
    assert receipt.foreign == uids(1, 2)
    assert receipt.refused == ()  # they came after all


@pytest.mark.parametrize("listed", [[], [1, 2]], ids=["lists none", "cuts its list"])
def test_count_is_believed_where_the_list_is_short(tmp_path: Path, listed: list[int]) -> None:
    """A pause in the midst of the move, longer than we wait when all that is listed has come."""

    def on_move(pacs: ScriptedPacs, _number: int, _wanted: list[str]) -> int:
        pacs.send([1, 2])
        time.sleep(4 * QUICK.quiet_after_failure_s)
        pacs.send([3, 4])
        return 0x0000

    with scripted(on_move) as (pacs, peer):
        pacs.numbers, pacs.counted = listed, 4
        receipt = pull_from_pacs(peer, STUDY, tmp_path, patience=QUICK)
    assert receipt.complete
    assert [one.sop_instance_uid for one in receipt.received] == list(uids(1, 2, 3, 4))
    assert receipt.counted == {SERIES: 4}
    assert [(one.level, one.status) for one in receipt.transfers] == [("STUDY", "0000")]


def test_series_that_is_short_is_asked_for_as_a_whole(tmp_path: Path) -> None:
    def on_move(pacs: ScriptedPacs, number: int, _wanted: list[str]) -> int:
        pacs.send([1] if number == 1 else [1, 2, 3, 4])
        return 0x0000

    with scripted(on_move) as (pacs, peer):
        pacs.numbers, pacs.counted = [1, 2], 4
        receipt = pull_from_pacs(peer, STUDY, tmp_path, patience=QUICK)
    assert receipt.complete
    assert len(receipt.received) == 4
    # the second instance, which is listed and was missing, came with its series
    assert [one.level for one in receipt.transfers] == ["STUDY", "SERIES"]


@pytest.mark.parametrize("mended", ["its count", "what it sends"])
def test_count_that_is_never_fulfilled_fails_with_the_numbers(tmp_path: Path, mended: str) -> None:
    """Until the PACS corrects its count, or sends what it counts."""

    def on_move(pacs: ScriptedPacs, _number: int, _wanted: list[str]) -> int:
        pacs.send([1, 2, 3])
        return 0x0000

    with scripted(on_move) as (pacs, peer):
        pacs.counted = 5
        told = rf"series {SERIES}: the PACS counts 5 instances, lists 3 and sent 3"
        with pytest.raises(PullError, match=told) as caught:
            pull_from_pacs(peer, STUDY, tmp_path, patience=QUICK)
        assert "ask those who run the PACS" in str(caught.value)
        assert pacs.moves == 2
        incomplete = read_record(tmp_path / "receipt.incomplete.json", Receipt)
        assert (incomplete.complete, incomplete.missing, len(incomplete.received)) == (False, (), 3)
        assert not (tmp_path / "receipt.json").exists()
        if mended == "its count":
            pacs.counted = 3
        else:
            pacs.on_move = lambda pacs, *_: pacs.send([1, 2, 3, 4, 5])[0]
        receipt = pull_from_pacs(peer, STUDY, tmp_path, patience=QUICK)
    came = {"its count": [], "what it sends": [2]}[mended]  # the series is asked for as a whole
    assert (receipt.complete, [one.came for one in receipt.transfers]) == (True, came)


@pytest.mark.filterwarnings("ignore:Invalid value for VR UI")
def test_listed_uid_that_cannot_be_a_file_name(tmp_path: Path) -> None:
    with scripted(lambda pacs, *_: pacs.send([1, 2, 3])[0]) as (pacs, peer):
        pacs.odd = ["../../1.2.3"]
        told = r"'\.\./\.\./1\.2\.3' for SOPInstanceUID, which is no UID.*Have the study corrected"
        with pytest.raises(PullError, match=told):
            pull_from_pacs(peer, STUDY, tmp_path, patience=QUICK)
        assert not pacs.moves
        pacs.odd = []
        receipt = pull_from_pacs(peer, STUDY, tmp_path, patience=QUICK)
    assert (receipt.complete, len(receipt.received)) == (True, 3)


@pytest.mark.parametrize("sent", [3, 5])
def test_what_only_the_count_of_the_study_tells(
    tmp_path: Path, sent: int, caplog: pytest.LogCaptureFixture
) -> None:
    """Of a list that was cut, the rest comes with the whole study; a count that is not true fails nothing."""

    def on_move(pacs: ScriptedPacs, _number: int, _wanted: list[str]) -> int:
        pacs.send([1, 2, 3])
        time.sleep(4 * QUICK.quiet_after_failure_s)
        pacs.send([4, 5][: sent - 3])
        return 0x0000

    with scripted(on_move) as (pacs, peer):
        pacs.in_study = (5, 1)
        several = replace(peer, courtesy=Courtesy(moves=2))  # so that else it would be asked for by series
        receipt = pull_from_pacs(several, STUDY, tmp_path, patience=QUICK)
    assert (receipt.complete, len(receipt.received), receipt.unlisted) == (True, sent, 5 - sent)
    assert [one.level for one in receipt.transfers] == ["STUDY"]
    assert ("counts 2 instances and 0 series more in the study" in caplog.text) == (sent == 3)


def test_count_below_the_list_does_not_hurt(tmp_path: Path) -> None:
    def on_move(pacs: ScriptedPacs, _number: int, _wanted: list[str]) -> int:
        pacs.send([1, 2, 3])
        return 0x0000

    with scripted(on_move) as (pacs, peer):
        pacs.counted = 0
        assert pull_from_pacs(peer, STUDY, tmp_path, patience=QUICK).complete


def test_second_content_is_flagged(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    def on_move(pacs: ScriptedPacs, _number: int, _wanted: list[str]) -> int:
        pacs.send([1, 2], text="first")
        pacs.send([2, 3], text="second")
        return 0x0000

    with scripted(on_move) as (_, peer):
        receipt = pull_from_pacs(peer, STUDY, tmp_path, patience=QUICK)
    assert receipt.conflicting == uids(2)
    assert uids(2)[0] in caplog.text
    assert len(list((tmp_path / "quarantine").iterdir())) == 1


def test_long_lists_are_cut() -> None:
    missing = {"1.1": [f"1.1.{n}" for n in range(300)], "1.2": ["1.2.1"]}
    first = list(requests_for("1", missing, whole=False, number=1))
    assert [(one.series_instance_uid, len(one.sop_instance_uids)) for one in first] == [
        ("1.1", 256),
        ("1.1", 44),
        ("1.2", 1),
    ]
    lengths = [
        max(len(one.sop_instance_uids) for one in requests_for("1", missing, whole=False, number=number))
        for number in (1, 2, 3, 4)
    ]
    assert lengths == [256, 37, 4, 1]
    for number in (1, 2, 3, 4):
        moves = requests_for("1", missing, whole=False, number=number)
        assert sorted(uid for one in moves for uid in one.sop_instance_uids) == sorted(
            missing["1.1"] + missing["1.2"]
        )
    (study,) = requests_for("1", missing, whole=True, number=0)
    assert (study.level, study.sop_instance_uids) == ("STUDY", ())
