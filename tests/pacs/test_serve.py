"""The embedded PACS against independent clients: dcmtk, and pynetdicom's own SCU and SCP."""

from __future__ import annotations

import argparse
import itertools
import logging
import re
import shutil
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

import pydicom
import pytest
from pydicom.dataset import Dataset
from pydicom.uid import ExplicitVRLittleEndian, JPEG2000Lossless
from pynetdicom import AE, _config, build_role, evt
from pynetdicom.association import Association
from pynetdicom.sop_class import (  # type: ignore[attr-defined]
    MRImageStorage,
    PatientRootQueryRetrieveInformationModelFind,
    StudyRootQueryRetrieveInformationModelFind,
    StudyRootQueryRetrieveInformationModelGet,
    StudyRootQueryRetrieveInformationModelMove,
)

from pacs2bids.model import ConfigError
from pacs2bids.pacs.find import settle
from pacs2bids.pacs.identifiers import identifier_of
from pacs2bids.pacs.retrieval import Retrieval
from pacs2bids.pacs.sender import Destination
from pacs2bids.pacs.server import EmbeddedPacs, serving
from pacs2bids.verbs import serve
from peers.available import unavailable
from peers.embedded import wait_for
from peers.instances import CSA_NON_IMAGE, STUDY, data_set_bytes, instance, write_study
from peers.ports import free_port

OTHER = f"{STUDY}.99"
FIND = StudyRootQueryRetrieveInformationModelFind
MOVE = StudyRootQueryRetrieveInformationModelMove
GET = StudyRootQueryRetrieveInformationModelGet


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Two studies of two series; one more series with a private SOP class and a compressed instance."""
    root = tmp_path_factory.mktemp("archive")
    write_study(root / "one", series=2, instances=5)
    write_study(root / "other", series=2, instances=3, study=OTHER)
    odd = instance(900, study=OTHER, sop_class=CSA_NON_IMAGE, text="private")
    pydicom.dcmwrite(root / "csa.dcm", odd, enforce_file_format=True)
    packed = instance(901, study=OTHER, text="packed")
    packed.file_meta.TransferSyntaxUID = JPEG2000Lossless
    packed.add_new(0x7FE00010, "OB", pydicom.encaps.encapsulate([b"not really J2K."]))
    packed["PixelData"].is_undefined_length = True
    pydicom.dcmwrite(root / "packed.dcm", packed, enforce_file_format=True)
    (root / "notes.txt").write_text("no DICOM")
    return root


@pytest.fixture(scope="module")
def receiver_port() -> int:
    return free_port()


@pytest.fixture(scope="module")
def pacs(folder: Path, receiver_port: int) -> Iterator[EmbeddedPacs]:
    destinations = {
        "RECEIVER": Destination(host="127.0.0.1", port=receiver_port),
        "NOBODY": Destination(host="127.0.0.1", port=free_port()),
    }
    with serving(folder, destinations=destinations) as pacs:
        yield pacs


def dcmtk(tool: str, *words: str | Path) -> str:
    """Run one of dcmtk's clients; what it says, both streams."""
    path = shutil.which(tool, path="/usr/bin:/usr/local/bin")
    if path is None:
        unavailable(f"dcmtk's {tool} is not installed")
    done = subprocess.run([str(path), *map(str, words)], check=False, capture_output=True, timeout=60)
    return (done.stdout + done.stderr).decode(errors="replace")


def found(output: str, tag: str) -> list[str]:
    """The values of one element in the responses that findscu prints."""
    pattern = rf"^I: \({tag}\) .. \[?([^\]#(]*)"
    return [value.strip(" \0") for value in re.findall(pattern, output, re.MULTILINE)]


@contextmanager
def receiving(
    port: int, status: Callable[[str], int] = lambda _uid: 0, only: list[str] | None = None
) -> Iterator[list[Any]]:
    """A plain C-STORE SCP that keeps every request; ``status`` answers, ``only`` restricts SOP classes."""
    requests: list[Any] = []

    def store(event: evt.Event) -> int:
        requests.append(event.request)
        return status(str(event.request.AffectedSOPInstanceUID))

    ae = AE(ae_title="RECEIVER")
    for sop_class in only or [MRImageStorage, CSA_NON_IMAGE]:
        ae.add_supported_context(sop_class, [ExplicitVRLittleEndian, JPEG2000Lossless])
    _config.UNRESTRICTED_STORAGE_SERVICE = not only  # else pynetdicom stores no private SOP class
    server = ae.start_server(("127.0.0.1", port), block=False, evt_handlers=[(evt.EVT_C_STORE, store)])
    assert server is not None
    try:
        yield requests
    finally:
        server.shutdown()
        _config.UNRESTRICTED_STORAGE_SERVICE = False


def move(
    pacs: EmbeddedPacs,
    level: str,
    to: str = "RECEIVER",
    *,
    caller: str = "ASKER",
    msg_id: int = 7,
    **keys: str,
) -> tuple[Dataset, Dataset | None]:
    """The last response to a C-MOVE, and its identifier."""
    ae = AE(ae_title=caller)
    ae.add_requested_context(MOVE)
    association = ae.associate(pacs.host, pacs.port)
    assert association.is_established
    settle(association)
    responses = list(association.send_c_move(identifier_of(level, keys), to, MOVE, msg_id=msg_id))
    association.release()
    return responses[-1]


def counters(status: Dataset) -> tuple[int, int, int]:
    return (
        status.NumberOfCompletedSuboperations,
        status.NumberOfFailedSuboperations,
        status.NumberOfWarningSuboperations,
    )


# ------------------------------------------------------------------------------------------------ C-FIND


def test_echo(pacs: EmbeddedPacs) -> None:
    assert "error" not in dcmtk("echoscu", "127.0.0.1", str(pacs.port)).lower()


def test_studies_with_their_counts(pacs: EmbeddedPacs) -> None:
    keys = ("StudyInstanceUID", "NumberOfStudyRelatedSeries", "NumberOfStudyRelatedInstances")
    words = [word for key in ("QueryRetrieveLevel=STUDY", *keys) for word in ("-k", key)]
    output = dcmtk("findscu", "-S", *words, "127.0.0.1", str(pacs.port))
    assert sorted(found(output, "0020,000d"))[-2:] == [STUDY, OTHER]
    assert sorted(found(output, "0020,1208"))[-2:] == ["10", "8"]
    assert sorted(found(output, "0020,1206"))[-2:] == ["2", "3"]


@pytest.mark.parametrize("root", ["-S", "-P"])
def test_series_and_images_by_uid(pacs: EmbeddedPacs, root: str) -> None:
    scope = ("-k", f"StudyInstanceUID={STUDY}", "-k", "PatientID")
    series = dcmtk(
        "findscu", root, "-k", "QueryRetrieveLevel=SERIES", *scope,
        "-k", "SeriesInstanceUID", "-k", "NumberOfSeriesRelatedInstances", "127.0.0.1", str(pacs.port),
    )  # fmt: skip
    assert found(series, "0020,000e")[-2:] == [f"{STUDY}.1", f"{STUDY}.2"]
    assert found(series, "0020,1209")[-2:] == ["5", "5"]
    images = dcmtk(
        "findscu", root, "-k", "QueryRetrieveLevel=IMAGE", *scope, "-k", f"SeriesInstanceUID={STUDY}.1",
        "-k", f"SOPInstanceUID={STUDY}.1.2\\{STUDY}.1.4\\{STUDY}.2.1", "127.0.0.1", str(pacs.port),
    )  # fmt: skip
    assert found(images, "0008,0018")[-2:] == [f"{STUDY}.1.2", f"{STUDY}.1.4"]
    assert f"{STUDY}.2.1" not in found(images, "0008,0018")


def test_patients_and_case_of_names(pacs: EmbeddedPacs) -> None:
    ae = AE()
    ae.add_requested_context(PatientRootQueryRetrieveInformationModelFind)
    association = ae.associate(pacs.host, pacs.port)
    settle(association)
    question = identifier_of("PATIENT", {"PatientName": "phantom^o?e", "NumberOfPatientRelatedStudies": ""})
    answers = [
        answer
        for _, answer in association.send_c_find(question, PatientRootQueryRetrieveInformationModelFind)
        if answer is not None
    ]
    association.release()
    assert [str(answer.PatientName) for answer in answers] == ["Phantom^One"]
    assert answers[0].NumberOfPatientRelatedStudies == 2


def test_an_unknown_level_is_refused(pacs: EmbeddedPacs) -> None:
    ae = AE()
    ae.add_requested_context(FIND)
    association = ae.associate(pacs.host, pacs.port)
    settle(association)
    ((status, _),) = association.send_c_find(identifier_of("BANANA", {"StudyID": ""}), FIND)
    association.release()
    assert status.Status == 0xA900


# ------------------------------------------------------------------------------------------------ C-MOVE


def test_a_study_arrives_byte_for_byte_and_names_its_originator(
    pacs: EmbeddedPacs, folder: Path, receiver_port: int
) -> None:
    with receiving(receiver_port) as requests:
        status, _ = move(pacs, "STUDY", StudyInstanceUID=OTHER, caller="ASKER", msg_id=77)
    assert status.Status == 0x0000
    assert counters(status) == (8, 0, 0)
    stored = {
        str(pydicom.dcmread(path, specific_tags=["SOPInstanceUID"]).SOPInstanceUID): data_set_bytes(path)
        for path in [*folder.glob("other/*/*.dcm"), folder / "csa.dcm", folder / "packed.dcm"]
    }
    assert {str(one.AffectedSOPInstanceUID): one.DataSet.getvalue() for one in requests} == stored
    assert {one.MoveOriginatorApplicationEntityTitle for one in requests} == {"ASKER"}
    assert {one.MoveOriginatorMessageID for one in requests} == {77}
    assert len({one.MessageID for one in requests}) == len(requests)


@pytest.mark.parametrize(
    ("level", "keys", "expected"),
    [
        ("SERIES", {"StudyInstanceUID": STUDY, "SeriesInstanceUID": f"{STUDY}.2"}, 5),
        ("SERIES", {"StudyInstanceUID": STUDY, "SeriesInstanceUID": f"{STUDY}.1\\{STUDY}.2"}, 10),
        ("IMAGE", {"StudyInstanceUID": STUDY, "SOPInstanceUID": f"{STUDY}.1.1\\{STUDY}.2.5"}, 2),
        ("IMAGE", {"SOPInstanceUID": f"{STUDY}.1.1\\1.2.3"}, 1),
        ("STUDY", {"StudyInstanceUID": f"{STUDY}\\{OTHER}"}, 18),
        ("STUDY", {"StudyInstanceUID": "1.2.3"}, 0),
    ],
)
def test_what_is_moved(
    pacs: EmbeddedPacs, receiver_port: int, level: str, keys: dict[str, str], expected: int
) -> None:
    with receiving(receiver_port) as requests:
        status, _ = move(pacs, level, **keys)
    assert status.Status == 0x0000
    assert counters(status) == (expected, 0, 0)
    assert len(requests) == expected


@pytest.mark.parametrize(
    ("level", "keys"), [("STUDY", {"StudyInstanceUID": ""}), ("IMAGE", {"PatientID": "x"})]
)
def test_nothing_moves_without_the_key_of_its_level(
    pacs: EmbeddedPacs, receiver_port: int, level: str, keys: dict[str, str]
) -> None:
    with receiving(receiver_port) as requests:
        status, _ = move(pacs, level, **keys)
    assert status.Status == 0xA900
    assert requests == []


def test_unknown_and_silent_destinations(pacs: EmbeddedPacs) -> None:
    assert move(pacs, "STUDY", "STRANGER", StudyInstanceUID=STUDY)[0].Status == 0xA801
    status, identifier = move(pacs, "STUDY", "NOBODY", StudyInstanceUID=STUDY)
    assert status.Status == 0xA702
    assert identifier is not None
    assert len(identifier.FailedSOPInstanceUIDList) == 10
    assert counters(status) == (0, 10, 0)


def test_a_refused_instance_is_listed_and_the_rest_goes_on(pacs: EmbeddedPacs, receiver_port: int) -> None:
    bad = f"{STUDY}.1.3"
    with receiving(receiver_port, lambda uid: 0xA700 if uid == bad else 0) as requests:
        status, identifier = move(pacs, "STUDY", StudyInstanceUID=STUDY)
    assert status.Status == 0xB000
    assert counters(status) == (9, 1, 0)
    assert identifier is not None
    assert identifier.FailedSOPInstanceUIDList == bad
    assert len(requests) == 10


def test_a_class_that_the_receiver_does_not_take(pacs: EmbeddedPacs, receiver_port: int) -> None:
    with receiving(receiver_port, only=[MRImageStorage]) as requests:
        status, identifier = move(pacs, "STUDY", StudyInstanceUID=OTHER)
    assert status.Status == 0xB000
    assert counters(status) == (7, 1, 0)
    assert identifier is not None
    assert str(identifier.FailedSOPInstanceUIDList).endswith(".900")
    assert len(requests) == 7


def test_a_receiver_that_breaks_off(pacs: EmbeddedPacs, receiver_port: int) -> None:
    listener = socket.create_server(("127.0.0.1", receiver_port))

    def hang_up() -> None:
        connection, _ = listener.accept()
        connection.recv(10)
        connection.close()

    thread = threading.Thread(target=hang_up)
    thread.start()
    status, _ = move(pacs, "STUDY", StudyInstanceUID=STUDY)
    thread.join()
    listener.close()
    assert status.Status == 0xA702
    assert counters(status) == (0, 10, 0)


def is_cancelled() -> bool:
    """Whether a C-CANCEL has come to an association that a server of this process has."""
    calls = [one for one in threading.enumerate() if isinstance(one, Association) and one.is_acceptor]
    return any(one.dimse.cancel_req for one in calls)


def test_cancelling_ends_the_move(pacs: EmbeddedPacs, receiver_port: int) -> None:
    taken = itertools.count(1)

    def slow(_uid: str) -> int:
        """Until there is progress to tell of; what comes then is not taken before the cancellation."""
        if next(taken) < 3:
            time.sleep(0.15)
        else:
            wait_for(is_cancelled)
        return 0

    ae = AE(ae_title="ASKER")
    ae.add_requested_context(MOVE)
    association = ae.associate(pacs.host, pacs.port)
    identifier = identifier_of("STUDY", {"StudyInstanceUID": STUDY})
    with receiving(receiver_port, slow) as requests:
        last = Dataset()
        settle(association)
        for status, _ in association.send_c_move(identifier, "RECEIVER", MOVE, msg_id=9):
            if last == Dataset():
                association.send_c_cancel(9, query_model=MOVE)
            last = status
    association.release()
    assert last.Status == 0xFE00
    assert 0 < len(requests) <= 3
    assert last.NumberOfRemainingSuboperations == 10 - len(requests)


def test_two_moves_at_once_keep_apart(pacs: EmbeddedPacs, receiver_port: int) -> None:
    with receiving(receiver_port) as requests:
        threads = [
            threading.Thread(target=move, args=(pacs, "STUDY"), kwargs={"msg_id": n, "StudyInstanceUID": uid})
            for n, uid in ((101, STUDY), (202, OTHER))
        ]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
    by_move = [one.MoveOriginatorMessageID for one in requests]
    assert (by_move.count(101), by_move.count(202)) == (10, 8)


def test_dcmtk_takes_all_it_asks_for(folder: Path, tmp_path: Path) -> None:
    """movescu with its own receiver, which knows nothing of us."""
    port = free_port()
    with serving(folder, destinations={"MOVESCU": Destination(host="127.0.0.1", port=port)}) as own:
        output = dcmtk(
            "movescu", "-S", "-aet", "MOVESCU", "-aem", "MOVESCU", "+P", str(port), "-od", tmp_path,
            "-k", "QueryRetrieveLevel=STUDY", "-k", f"StudyInstanceUID={STUDY}", "127.0.0.1", str(own.port),
        )  # fmt: skip
    assert len(list(tmp_path.iterdir())) == 10, output


# ------------------------------------------------------------------------------------------------ C-GET


def test_get_with_dcmtk(pacs: EmbeddedPacs, folder: Path, tmp_path: Path) -> None:
    output = dcmtk(
        "getscu", "-S", "+B", "-od", tmp_path, "-k", "QueryRetrieveLevel=STUDY",
        "-k", f"StudyInstanceUID={STUDY}", "127.0.0.1", str(pacs.port),
    )  # fmt: skip
    got = {data_set_bytes(path) for path in tmp_path.iterdir()}
    assert got == {data_set_bytes(path) for path in folder.glob("one/*/*.dcm")}, output


def test_get_of_private_and_compressed_instances(pacs: EmbeddedPacs, folder: Path) -> None:
    received: list[Any] = []

    def store(event: evt.Event) -> int:
        received.append(event.request)
        return 0

    ae = AE()
    ae.add_requested_context(GET)
    ae.add_requested_context(MRImageStorage, JPEG2000Lossless)
    ae.add_requested_context(CSA_NON_IMAGE, ExplicitVRLittleEndian)
    association = ae.associate(
        pacs.host,
        pacs.port,
        ext_neg=[build_role(uid, scp_role=True) for uid in (MRImageStorage, CSA_NON_IMAGE)],
        evt_handlers=[(evt.EVT_C_STORE, store)],
    )
    settle(association)
    responses = list(association.send_c_get(identifier_of("STUDY", {"StudyInstanceUID": OTHER}), GET))
    association.release()
    status, identifier = responses[-1]
    assert status.Status == 0xB000  # the six in Explicit VR Little Endian were not negotiated
    assert counters(status) == (2, 6, 0)
    assert identifier is not None
    assert len(identifier.FailedSOPInstanceUIDList) == 6
    content = {one.DataSet.getvalue() for one in received}
    assert content == {data_set_bytes(folder / name) for name in ("csa.dcm", "packed.dcm")}


@pytest.mark.parametrize("level", [logging.INFO, logging.DEBUG])
def test_defect_is_one_line_and_a_traceback_for_debug_only(
    folder: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture, level: int
) -> None:
    def defect(_self: Retrieval) -> None:
        raise RuntimeError("Phantom^One")

    monkeypatch.setattr(Retrieval, "run", defect)
    caplog.set_level(level, "pacs2bids.serve")
    with serving(folder) as own:
        status, _ = move(own, "STUDY", StudyInstanceUID=STUDY)
    assert "Status" not in status  # broken off
    (record,) = [one for one in caplog.records if one.levelno == logging.ERROR]
    assert "unexpected RuntimeError" in record.getMessage()
    assert "Phantom" not in record.getMessage()
    assert bool(record.exc_info) == (level == logging.DEBUG)


def test_leaving_while_clients_come_and_go(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Whatever runs when the block ends is ended too: no error, no thread, no port is left."""
    failed: list[object] = []
    monkeypatch.setattr(threading, "excepthook", failed.append)
    left = threading.Event()

    def call(port: int) -> None:
        entity = AE()
        entity.add_requested_context(FIND)
        entity.acse_timeout = entity.dimse_timeout = 2  # of the client, which may miss that we hung up
        while not left.is_set():
            association = entity.associate("127.0.0.1", port)
            if association.is_established:
                with suppress(RuntimeError):  # pynetdicom's, of an association that was ended just now
                    list(association.send_c_find(identifier_of("STUDY", {"StudyInstanceUID": ""}), FIND))
                association.release()

    before = set(threading.enumerate())
    for delay_s in (0, 0.05, 0.1, 0.2):
        left.clear()
        with serving(folder) as own, socket.create_connection((own.host, own.port)):
            clients = [threading.Thread(target=call, args=(own.port,)) for _ in range(3)]
            for client in clients:
                client.start()
            time.sleep(delay_s)
        # the server waits five seconds for its threads, and then leaves without them
        names = [thread.name for thread in threading.enumerate() if thread not in before]
        left.set()
        for client in clients:
            client.join()
        assert not [name for name in names if name == "pacs" or name.startswith("AcceptorThread")]
        socket.create_server((own.host, own.port)).close()
    assert failed == []


def test_a_call_to_another_title_is_rejected(folder: Path) -> None:
    """So that a rehearsal shows a wrong title in the configuration; what is told of it: test_ping."""
    for any_title, title, is_taken in (
        (False, "PACS2BIDS_PACS", True),
        (False, "WRONG", False),
        (True, "WRONG", True),
    ):
        with serving(folder, any_title=any_title) as own:
            ae = AE()
            ae.add_requested_context(FIND)
            association = ae.associate(own.host, own.port, ae_title=title)
            assert association.is_established is is_taken
            assert association.is_rejected is not is_taken
            if is_taken:
                association.release()
    parser = argparse.ArgumentParser()
    serve.configure(parser)
    assert parser.parse_args([str(folder)]).any_title is False


# ------------------------------------------------------------------------------------------------ the verb


def test_serve_tells_what_it_serves_and_ends_cleanly(folder: Path) -> None:
    command = [sys.executable, "-m", "pacs2bids", "serve", str(folder), "--port", "0"]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        line = process.stdout.readline()
        process.send_signal(signal.SIGTERM)
        rest, errors = process.communicate(timeout=120)
    assert process.returncode == 0, errors
    assert rest == ""
    expected = r"2 studies, 5 series, 18 instances of .* served as PACS2BIDS_PACS at 127\.0\.0\.1:[0-9]+, .*"
    advice = r"\. 'pacs2bids query --list' shows its studies; Ctrl-C stops it"
    assert re.fullmatch(expected + r"PACS2BIDS=127\.0\.0\.1:11112" + advice, line.rstrip())


def test_a_port_that_is_taken_is_told(folder: Path, pacs: EmbeddedPacs) -> None:
    with pytest.raises(ConfigError, match="cannot listen"), serving(folder, port=pacs.port):
        pass


@pytest.mark.parametrize("word", ["PACS2BIDS", "X=host", "X=host:0", "=h:1", "X=h:99999"])
def test_a_destination_that_is_none_is_told(folder: Path, word: str) -> None:
    parser = argparse.ArgumentParser()
    serve.configure(parser)
    with pytest.raises(ConfigError, match="AET=HOST:PORT"):
        serve.run(parser.parse_args([str(folder), "--port", "0", "--destination", word]))
