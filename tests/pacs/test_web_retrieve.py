"""Pulling from a DICOMweb server that fails in every way: nothing whole is lost, the cause is told."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TypeAlias

import pydicom
import pytest
from pydicom.uid import ExplicitVRBigEndian

from pacs2bids.files import read_record
from pacs2bids.model import Pacs2BidsError, PullError, QueryError, Receipt
from pacs2bids.pacs.inbox import Inbox
from pacs2bids.pacs.pull import Patience
from pacs2bids.pacs.transport import Request
from pacs2bids.pacs.web_pull import pull_from_web
from pacs2bids.pacs.web_retrieve import retrieving
from pacs2bids.peers import Courtesy, Secret, WebPeer
from peers.instances import STUDY, instance, write_study
from peers.web_server import Answer, Asked, WebPacs, instances, multipart, web_pacs, web_server

# short only where nothing more is to come
PATIENCE = Patience(
    retry_s=0.01,
    quiet_s=0.2,
    quiet_after_failure_s=0.1,
    last_word_s=60,
    silence_s=60,
    settle_s=0.01,
    rounds=4,
)

Retrieve: TypeAlias = Callable[[Asked, list[bytes]], Answer]


@pytest.fixture
def pacs(tmp_path: Path) -> WebPacs:
    """Two series of five instances."""
    return web_pacs(write_study(tmp_path / "pacs"))


def pull(pacs: WebPacs, folder: Path, **settings: object) -> Receipt:
    with web_server(pacs) as server:
        peer = WebPeer(name="web", url=server.url, **settings)  # type: ignore[arg-type]
        return pull_from_web(peer, STUDY, folder, patience=PATIENCE)


def contents_of(pacs: WebPacs) -> dict[str, bytes]:
    return {uid: content for series in pacs.held[STUDY].values() for uid, content in series.items()}


def brought(folder: Path) -> dict[str, bytes]:
    return {path.stem: path.read_bytes() for path in (folder / "dicom").rglob("*.dcm")}


def assert_complete(receipt: Receipt, pacs: WebPacs, folder: Path) -> None:
    assert receipt.complete
    assert read_record(folder / "receipt.json", Receipt) == receipt
    assert brought(folder) == contents_of(pacs)
    assert not [*folder.rglob("*.part")]


# ---------------------------------------------------------------------------------------------- whole


def test_a_study_series_by_series(pacs: WebPacs, tmp_path: Path) -> None:
    asked = []

    def noting(one: Asked, contents: list[bytes]) -> Answer:
        asked.append(one.path.removeprefix("/dicom-web"))
        assert one.headers["Accept"] == 'multipart/related; type="application/dicom"; transfer-syntax=*'
        return instances(contents)

    pacs.retrieve = noting
    receipt = pull(pacs, tmp_path / "out")
    assert_complete(receipt, pacs, tmp_path / "out")
    assert asked == [f"/studies/{STUDY}/series/{STUDY}.1", f"/studies/{STUDY}/series/{STUDY}.2"]
    assert receipt.kind == "dicomweb"
    (transfer,) = receipt.transfers
    assert (transfer.way, transfer.status, transfer.completed, transfer.came) == ("wado", "200", 10, 10)


@pytest.mark.parametrize("moves", [1, 2])
@pytest.mark.parametrize("left", [0, 4], ids=["series", "instances"])
def test_as_many_at_a_time_as_courtesy_allows(tmp_path: Path, moves: int, left: int) -> None:
    """Whole series, and instances one by one."""
    pacs = web_pacs(write_study(tmp_path / "pacs", series=5))
    out = tmp_path / "out"
    if left:
        pull(pacs, out)
        for series in out.glob("dicom/*"):
            for one in sorted(series.iterdir())[left:]:
                one.unlink()
    at_once, most, lock, reached = 0, 0, threading.Lock(), threading.Event()

    def noting(_: Asked, contents: list[bytes]) -> Answer:
        def body() -> Iterator[bytes]:
            nonlocal at_once, most
            with lock:
                at_once += 1
                most = max(most, at_once)
                if most == moves:
                    reached.set()
            assert reached.wait(60), "so many are never asked for at once"
            time.sleep(0.1)  # for one too many
            yield from multipart(contents)
            with lock:
                at_once -= 1

        return Answer(headers=instances([]).headers, body=body())

    pacs.retrieve = noting
    receipt = pull(pacs, out, courtesy=Courtesy(moves=moves))
    assert_complete(receipt, pacs, out)
    assert most == moves


def test_parts_that_do_not_say_how_long_they_are(pacs: WebPacs, tmp_path: Path) -> None:
    pacs.retrieve = lambda _, contents: instances(contents, counted=False)
    assert_complete(pull(pacs, tmp_path / "out"), pacs, tmp_path / "out")


def test_an_answer_that_is_one_instance_and_no_multipart(pacs: WebPacs, tmp_path: Path) -> None:
    def single(one: Asked, contents: list[bytes]) -> Answer:
        if "/instances/" not in one.path:
            return Answer(status=501, length=0)
        return Answer(headers={"Content-Type": "application/dicom"}, body=contents, length=len(contents[0]))

    pacs.retrieve = single
    assert_complete(pull(pacs, tmp_path / "out"), pacs, tmp_path / "out")


def test_a_server_that_wants_another_accept(pacs: WebPacs, tmp_path: Path) -> None:
    refused = []

    def picky(one: Asked, contents: list[bytes]) -> Answer:
        if "transfer-syntax" in one.headers["Accept"]:
            refused.append(one.path)
            return Answer(status=406, length=0)
        return instances(contents)

    pacs.retrieve = picky
    assert_complete(pull(pacs, tmp_path / "out"), pacs, tmp_path / "out")
    assert len(refused) == 1  # it is not asked twice


def test_unusual_instances(tmp_path: Path) -> None:
    """Big endian, and one with the UIDs far behind its beginning."""
    big = instance(1)
    big.file_meta.TransferSyntaxUID = ExplicitVRBigEndian
    late = instance(2)
    late.add_new(0x00091001, "UN", bytes(6_000_000))
    for number, dataset in enumerate((big, late)):
        pydicom.dcmwrite(tmp_path / f"{number}.dcm", dataset, enforce_file_format=True)
    pacs = web_pacs(sorted(tmp_path.glob("*.dcm")))
    for counted in (True, False):
        out = tmp_path / f"out{counted}"
        pacs.retrieve = lambda _, contents, counted=counted: instances(contents, counted=counted)  # type: ignore[misc]
        assert_complete(pull(pacs, out), pacs, out)


# ---------------------------------------------------------------------------------------------- broken


def once(break_it: Retrieve) -> Retrieve:
    """The first answer about the first series is broken, all others are well."""
    broken: list[str] = []

    def retrieve(asked: Asked, contents: list[bytes]) -> Answer:
        if not broken:
            broken.append(asked.path)
            return break_it(asked, contents)
        return instances(contents)

    return retrieve


def cut_within_a_part(_: Asked, contents: list[bytes]) -> Answer:
    body = b"".join(multipart(contents))
    at = body.index(contents[3]) + 300
    return Answer(headers=instances([]).headers, body=[body[:at]])


def cut_within_the_last_boundary(_: Asked, contents: list[bytes]) -> Answer:
    return Answer(headers=instances([]).headers, body=[b"".join(multipart(contents))[:-4]])


def shorter_than_the_answer_says(_: Asked, contents: list[bytes]) -> Answer:
    return Answer(headers=instances([]).headers, body=multipart(contents[:3], closed=False), length=99_999)


def error_page_within_a_part(_: Asked, contents: list[bytes]) -> Answer:
    body = b"".join(multipart(contents, counted=False))
    at = body.index(contents[3]) + len(contents[3]) - 10
    return Answer(headers=instances([]).headers, body=[body[:at], b"HTTP/1.1 500 Internal Server Error"])


@pytest.mark.parametrize(
    ("break_it", "status"),
    [
        (cut_within_a_part, ""),
        (error_page_within_a_part, ""),
        (lambda _, contents: instances(contents[:3], closed=False), ""),
        (cut_within_the_last_boundary, ""),
        (shorter_than_the_answer_says, ""),
        (lambda _, contents: instances(contents[:3]), "200"),  # it says that this is all
        (lambda _, __: instances([]), "200"),
        (lambda _, __: Answer(status=500, length=0), "500"),
        (lambda _, __: Answer(status=404, length=0), "404"),
        (lambda _, __: Answer(status=204), "200"),
    ],
)
def test_what_breaks_off_is_noted_and_made_good(
    pacs: WebPacs, tmp_path: Path, break_it: Retrieve, status: str
) -> None:
    pacs.retrieve = once(break_it)
    receipt = pull(pacs, tmp_path / "out")
    assert_complete(receipt, pacs, tmp_path / "out")
    assert receipt.transfers[0].status == status
    assert all(one.succeeded for one in receipt.transfers[1:])


def test_what_came_whole_before_a_break_is_not_asked_for_again(pacs: WebPacs, tmp_path: Path) -> None:
    pacs.retrieve = once(cut_within_a_part)
    receipt = pull(pacs, tmp_path / "out")
    first, *others = receipt.transfers
    assert (first.came, first.failed, first.comment) == (8, 1, "it ends without its closing boundary")
    assert sum(one.came or 0 for one in others) == 2
    assert not receipt.duplicates


def test_series_of_which_nothing_came_are_asked_for_as_a_whole(pacs: WebPacs, tmp_path: Path) -> None:
    second = pacs.held[STUDY].pop(f"{STUDY}.2")
    pull(pacs, tmp_path / "out")
    pacs.held[STUDY][f"{STUDY}.2"] = second
    receipt = pull(pacs, tmp_path / "out")
    assert_complete(receipt, pacs, tmp_path / "out")
    assert [(one.level, one.came) for one in receipt.transfers] == [("SERIES", 5)]


@pytest.mark.parametrize(("size", "level"), [(64, "SERIES"), (1_500_000, "IMAGE")])
def test_the_rest_of_a_series_is_asked_for_as_is_quicker(tmp_path: Path, size: int, level: str) -> None:
    """Of small instances as a whole series, of which what is here is no duplicate; of large ones by name."""
    for number in range(1, 6):
        dataset = instance(number)
        dataset.add_new("PixelData", "OW", bytes(size))
        dataset.BitsAllocated = 16
        pydicom.dcmwrite(tmp_path / f"{number}.dcm", dataset, enforce_file_format=True)
    pacs, out = web_pacs(sorted(tmp_path.glob("*.dcm"))), tmp_path / "out"
    pull(pacs, out)
    for path in sorted(out.glob("dicom/*/*.dcm"))[2:]:
        path.unlink()
    receipt = pull(pacs, out)
    assert_complete(receipt, pacs, out)
    (transfer,) = receipt.transfers
    assert (transfer.level, transfer.completed, transfer.came) == (level, 3, 3)
    assert receipt.duplicates == ()


def enclosed(_: Asked, contents: list[bytes]) -> Answer:
    return instances([contents[0][:-20]], counted=False)


def enclosed_and_counted(_: Asked, contents: list[bytes]) -> Answer:
    return instances([contents[0][:-20]])


def broken_off(_: Asked, contents: list[bytes]) -> Answer:
    return Answer(headers=instances([]).headers, body=[b"".join(multipart(contents))[:-100]])


# the second is too large to be held in memory: what of it is on the disk must go again
@pytest.mark.parametrize("size", [128, 9_000_000])
@pytest.mark.parametrize("break_it", [enclosed, enclosed_and_counted, broken_off])
def test_pixels_that_are_cut(tmp_path: Path, size: int, break_it: Retrieve) -> None:
    dataset = instance(1)
    dataset.BitsAllocated, dataset.PixelData = 16, bytes(size)
    dataset["PixelData"].VR = "OW"
    pydicom.dcmwrite(tmp_path / "1.dcm", dataset, enforce_file_format=True)
    pacs = web_pacs([tmp_path / "1.dcm"])
    pacs.retrieve = once(break_it)
    receipt = pull(pacs, tmp_path / "out")
    assert_complete(receipt, pacs, tmp_path / "out")
    assert receipt.transfers[0].completed == 0


@pytest.mark.parametrize(
    ("content", "reason"),
    [
        (b"", "a part of the answer"),
        (b"<html>no</html>", "a part of the answer is not a DICOM file"),
        (bytes(128) + b"DICM" + b"\x08\0\x05\0CS\x10\0ISO", "a part of the answer"),
    ],
)
@pytest.mark.filterwarnings("ignore:Unknown encoding")
@pytest.mark.parametrize("counted", [True, False])
def test_parts_that_are_no_instance(
    pacs: WebPacs, tmp_path: Path, content: bytes, reason: str, counted: bool
) -> None:
    pacs.retrieve = lambda _, contents: instances([content, *contents], counted=counted)
    receipt = pull(pacs, tmp_path / "out")
    assert_complete(receipt, pacs, tmp_path / "out")
    assert receipt.refused[0].sop_instance_uid == ""
    assert receipt.refused[0].reason.startswith(reason)


def test_what_belongs_to_another_study_is_not_kept(pacs: WebPacs, tmp_path: Path) -> None:
    path = tmp_path / "other.dcm"
    pydicom.dcmwrite(path, instance(99, study="1.2.3.4"), enforce_file_format=True)
    pacs.retrieve = lambda _, contents: instances([path.read_bytes(), *contents])
    receipt = pull(pacs, tmp_path / "out")
    assert_complete(receipt, pacs, tmp_path / "out")
    (refused,) = receipt.refused
    assert refused.reason == "belongs to study 1.2.3.4"
    assert receipt.foreign == (refused.sop_instance_uid,)


@pytest.mark.filterwarnings("ignore:Invalid value for VR UI")
def test_uids_that_cannot_be_file_names(pacs: WebPacs, tmp_path: Path) -> None:
    path = tmp_path / "evil.dcm"
    dataset = instance(99)
    dataset.SeriesInstanceUID = "../../1.2.3"
    pydicom.dcmwrite(path, dataset, enforce_file_format=True)
    pacs.retrieve = lambda _, contents: instances([path.read_bytes(), *contents])
    receipt = pull(pacs, tmp_path / "out")
    assert_complete(receipt, pacs, tmp_path / "out")
    assert receipt.refused[0].reason == "has no valid SeriesInstanceUID"


def test_another_content_under_the_same_uid(pacs: WebPacs, tmp_path: Path) -> None:
    def twice(_: Asked, contents: list[bytes]) -> Answer:
        return instances([*contents, contents[0], contents[1][:-1] + b"?"])

    pacs.retrieve = twice
    receipt = pull(pacs, tmp_path / "out")
    assert_complete(receipt, pacs, tmp_path / "out")
    assert receipt.duplicates == (f"{STUDY}.1.1", f"{STUDY}.2.1")
    assert receipt.conflicting == (f"{STUDY}.1.2", f"{STUDY}.2.2")
    assert len([*(tmp_path / "out" / "quarantine").iterdir()]) == 2


# ---------------------------------------------------------------------------------------------- no good


def fails(pacs: WebPacs, folder: Path, kind: type[Pacs2BidsError], **settings: object) -> str:
    with pytest.raises(kind) as error:
        pull(pacs, folder, **settings)
    assert not (folder / "receipt.json").exists()
    return str(error.value)


def test_an_instance_that_the_server_cannot_give(pacs: WebPacs, tmp_path: Path) -> None:
    lost = f"{STUDY}.2.3"

    def without(_: Asked, contents: list[bytes]) -> Answer:
        kept = [one for one in contents if lost.encode() not in one]
        return instances(kept) if kept else Answer(status=500, length=0)

    pacs.retrieve = without
    told = fails(pacs, tmp_path / "out", PullError)
    assert f"1 of 10 announced instances are missing: {lost}" in told
    assert "the server answered WADO-RS with 500" in told
    receipt = read_record(tmp_path / "out" / "receipt.incomplete.json", Receipt)
    assert receipt.missing == (lost,)
    pacs.retrieve = lambda _, contents: instances(contents)
    receipt = pull(pacs, tmp_path / "out")
    assert_complete(receipt, pacs, tmp_path / "out")
    assert [one.came for one in receipt.transfers] == [1]


def test_a_token_that_expires_on_the_way_and_is_renewed(pacs: WebPacs, tmp_path: Path) -> None:
    token = tmp_path / "token"
    token.write_text("first")

    def expiring(asked: Asked, contents: list[bytes]) -> Answer:
        if asked.path.endswith(".2") and asked.headers["Authorization"] == "Bearer first":
            token.write_text("second")
            return Answer(status=401, length=0)
        return instances(contents)

    pacs.retrieve = expiring
    receipt = pull(pacs, tmp_path / "out", token=Secret(file=token))
    assert_complete(receipt, pacs, tmp_path / "out")
    assert len(receipt.transfers) == 1


def test_a_token_that_expires_and_stays_so(pacs: WebPacs, tmp_path: Path) -> None:
    token = tmp_path / "token"
    token.write_text("sesame")
    pacs.retrieve = lambda asked, contents: (
        instances(contents) if f"/series/{STUDY}.1" in asked.path else Answer(status=401, length=0)
    )
    told = fails(pacs, tmp_path / "out", QueryError, token=Secret(file=token))
    assert f"it may have expired (HTTP 401). Renew it in the file {token}" in told
    assert "sesame" not in told
    assert len(brought(tmp_path / "out")) == 5
    pacs.retrieve = lambda _, contents: instances(contents)
    receipt = pull(pacs, tmp_path / "out", token=Secret(file=token))
    assert_complete(receipt, pacs, tmp_path / "out")
    assert sum(one.came or 0 for one in receipt.transfers) == 5


def test_a_server_that_is_busy_on_the_way(pacs: WebPacs, tmp_path: Path) -> None:
    pacs.retrieve = once(lambda _, __: Answer(status=429, headers={"Retry-After": "0"}, length=0))
    receipt = pull(pacs, tmp_path / "out")
    assert_complete(receipt, pacs, tmp_path / "out")
    assert len(receipt.transfers) == 1


def test_a_server_that_stays_busy(pacs: WebPacs, tmp_path: Path) -> None:
    pacs.retrieve = lambda _, __: Answer(status=503, headers={"Retry-After": "0"}, length=0)
    told = fails(pacs, tmp_path / "out", QueryError, courtesy=Courtesy(retries=1))
    assert "the server is busy (HTTP 503)" in told
    pacs.retrieve = lambda _, contents: instances(contents)
    assert_complete(pull(pacs, tmp_path / "out"), pacs, tmp_path / "out")


def test_a_page_to_log_in_is_no_dicom(pacs: WebPacs, tmp_path: Path) -> None:
    pacs.retrieve = lambda _, __: Answer(headers={"Content-Type": "text/html"}, body=[b"<html>"])
    told = fails(pacs, tmp_path / "out", QueryError)
    assert "calls itself text/html, which is no DICOM" in told


def test_an_unknown_study(pacs: WebPacs, tmp_path: Path) -> None:
    pacs.held = {"1.2.3.4": pacs.held[STUDY]}
    assert "knows no such study" in fails(pacs, tmp_path / "out", PullError)


def test_a_disk_that_is_full(pacs: WebPacs, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(*_: object) -> None:
        raise OSError(28, "No space left on device")

    with monkeypatch.context() as patch:
        patch.setattr("os.fsync", full)
        assert "No space left on device" in fails(pacs, tmp_path / "out", PullError)
    assert not [path for path in (tmp_path / "out").rglob("*") if path.is_file()]
    assert_complete(pull(pacs, tmp_path / "out"), pacs, tmp_path / "out")


# ---------------------------------------------------------------------------------------------- abandoned


def test_a_silent_answer_can_be_abandoned(pacs: WebPacs, tmp_path: Path) -> None:
    over = threading.Event()

    def slow(_: Asked, contents: list[bytes]) -> Answer:
        def body() -> Iterator[bytes]:
            yield from multipart(contents[:2], closed=False)
            over.wait(300)

        return Answer(headers=instances([]).headers, body=body())

    pacs.retrieve = slow
    inbox = Inbox(tmp_path / "out", STUDY)
    with web_server(pacs) as server, retrieving(WebPeer(name="web", url=server.url), inbox) as transport:
        with transport.transferring(Request(study_instance_uid=STUDY)) as transfer:
            while not len(inbox):
                inbox.wait(1)
            assert not transfer.finished
            begun = time.monotonic()
        transfer.join(100)
        assert time.monotonic() - begun < 100, "for 300 s the rest would be waited for"
        assert transfer.finished
        over.set()
    assert transfer.status.status == ""
