"""C-GET and the trial of several ways: from the embedded PACS, from scripted ones, Orthanc and dcmqrscp."""

from __future__ import annotations

import socket
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import TypeAlias

import pydicom
import pytest

from pacs2bids.files import read_record
from pacs2bids.model import PullError, QueryError, Receipt
from pacs2bids.pacs import server
from pacs2bids.pacs.get import contexts_for
from pacs2bids.pacs.pull import pull_from_pacs
from pacs2bids.pacs.sender import Destination
from pacs2bids.pacs.server import serving
from pacs2bids.peers import Courtesy, PacsPeer, Slot
from peers import dcmqrscp
from peers.dcmqrscp import Dcmqrscp, running_dcmqrscp
from peers.embedded import QUICK
from peers.instances import CSA_NON_IMAGE, STUDY, data_set_bytes, instance, write_study
from peers.orthanc import AE_TITLE, DICOM_PORT, HTTP_PORT, Orthanc, is_dicom
from peers.ports import free_port

Corpus: TypeAlias = Callable[[str], Path]


@contextmanager
def embedded(folder: Path, *ways: str, known: bool = True) -> Iterator[PacsPeer]:
    slot = Slot(ae_title="PACS2BIDS", port=free_port())
    destinations = {"PACS2BIDS" if known else "OTHER": Destination(host="127.0.0.1", port=slot.port)}
    with serving(folder, ae_title="PACS", destinations=destinations) as pacs:
        yield PacsPeer(
            name="test",
            host="127.0.0.1",
            port=pacs.port,
            ae_title="PACS",
            receive_host="127.0.0.1",
            slots=(slot,),
            retrieve=ways,
        )


def ways_of(receipt: Receipt) -> list[tuple[str, str, int | None]]:
    return [(one.way, one.level, one.came) for one in receipt.transfers]


# ------------------------------------------------------------------------------------------ C-GET


def test_whole_study_without_a_port_of_ours(tmp_path: Path) -> None:
    sources = write_study(tmp_path / "pacs")
    with (
        embedded(tmp_path / "pacs", "get", known=False) as peer,
        socket.create_server(("127.0.0.1", peer.slots[0].port)),
    ):
        receipt = pull_from_pacs(peer, STUDY, tmp_path / "work", patience=QUICK)
    assert receipt.complete
    assert ways_of(receipt) == [("get", "STUDY", 10)]
    for source, one in zip(sorted(sources), receipt.received, strict=True):
        assert data_set_bytes(tmp_path / "work" / "dicom" / one.path) == data_set_bytes(source)


def test_missing_instance_is_asked_for_alone(tmp_path: Path) -> None:
    lost, *_ = write_study(tmp_path / "pacs")
    content = lost.read_bytes()
    with embedded(tmp_path / "pacs", "get") as peer:
        lost.unlink()
        with pytest.raises(PullError, match=rf"1 of 10 .* missing: {STUDY}\.1\.1.*; the PACS answered C-GET"):
            pull_from_pacs(peer, STUDY, tmp_path / "work", patience=QUICK)
        lost.write_bytes(content)
        receipt = pull_from_pacs(peer, STUDY, tmp_path / "work", patience=QUICK)
    assert ways_of(receipt) == [("get", "IMAGE", 1)]


def test_private_sop_class(tmp_path: Path) -> None:
    (tmp_path / "pacs").mkdir()
    for number, sop_class in ((1, CSA_NON_IMAGE), (2, pydicom.uid.MRImageStorage)):
        dataset = instance(number, sop_class=sop_class)
        pydicom.dcmwrite(tmp_path / "pacs" / f"{number}.dcm", dataset, enforce_file_format=True)
    with embedded(tmp_path / "pacs", "get") as peer:
        receipt = pull_from_pacs(peer, STUDY, tmp_path / "work", patience=QUICK)
    assert {one.sop_class_uid for one in receipt.received} == {CSA_NON_IMAGE, pydicom.uid.MRImageStorage}


def test_compressed_instances_come_as_they_are(tmp_path: Path, corpus: Corpus) -> None:
    with serving(corpus("ts"), ae_title="PACS") as pacs:
        held = {one.sop_instance_uid: one for one in pacs.catalogue.instances}
        peer = PacsPeer(name="test", host="127.0.0.1", port=pacs.port, ae_title="PACS", retrieve=("get",))
        received = {}
        for study in pacs.catalogue.studies:
            out = tmp_path / study.study_instance_uid
            receipt = pull_from_pacs(peer, study.study_instance_uid, out, patience=QUICK)
            received |= {one.sop_instance_uid: (one, out / "dicom" / one.path) for one in receipt.received}
    assert received.keys() == held.keys()
    for uid, (one, path) in received.items():
        assert one.transfer_syntax_uid == held[uid].transfer_syntax_uid
        assert data_set_bytes(path) == data_set_bytes(held[uid].path)


@pytest.mark.parametrize("classes", [1, 7, 8, 9, 40, 127, 200])
def test_contexts_never_exceed_what_an_association_holds(classes: int) -> None:
    names = [f"1.2.{number}" for number in range(classes)]
    contexts = contexts_for(names)
    assert len(contexts) <= 127
    assert list(dict.fromkeys(str(one.abstract_syntax) for one in contexts)) == names[:127]
    of_first = [one.transfer_syntax for one in contexts if one.abstract_syntax == "1.2.0"]
    syntaxes = [syntax for some in of_first for syntax in some]
    assert len(syntaxes) == len(set(syntaxes))
    assert {syntax for one in contexts_for(["1.2"]) for syntax in one.transfer_syntax} == set(syntaxes)


# ------------------------------------------------------------------------------------------ several ways


def test_move_that_cannot_come_gives_way_to_get(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    write_study(tmp_path / "pacs")
    with embedded(tmp_path / "pacs", "move", "get", known=False) as peer:
        receipt = pull_from_pacs(peer, STUDY, tmp_path / "work", patience=QUICK)
    assert ways_of(receipt) == [("move", "STUDY", 0), ("get", "STUDY", 10)]
    (line,) = [line for line in caplog.messages if "trying" in line]
    assert line.startswith("C-MOVE: the PACS answered C-MOVE with A801 and never called us")
    assert line.endswith("; trying C-GET")


def test_port_that_is_taken_gives_way_to_get(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    write_study(tmp_path / "pacs")
    with (
        embedded(tmp_path / "pacs", "move", "get") as peer,
        socket.create_server(("127.0.0.1", peer.slots[0].port)),
    ):
        receipt = pull_from_pacs(peer, STUDY, tmp_path / "work", patience=QUICK)
    assert ways_of(receipt) == [("get", "STUDY", 10)]
    assert f"C-MOVE: port {peer.slots[0].port} is taken by another program; trying C-GET" in caplog.text


def test_service_that_is_not_offered_gives_way_to_move(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    models = [model for model in server._QUERY_MODELS if "Get" not in model.keyword]
    monkeypatch.setattr(server, "_QUERY_MODELS", models)
    write_study(tmp_path / "pacs")
    with embedded(tmp_path / "pacs", "get", "move") as peer:
        receipt = pull_from_pacs(peer, STUDY, tmp_path / "one", patience=QUICK)
        with pytest.raises(QueryError, match=r"does not offer C-GET.*set retrieve: move"):
            pull_from_pacs(replace(peer, retrieve=("get",)), STUDY, tmp_path / "two", patience=QUICK)
    assert ways_of(receipt) == [("move", "STUDY", 10)]
    assert "C-GET: the PACS does not offer C-GET; trying C-MOVE" in caplog.text


def test_next_way_is_asked_for_what_is_missing(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    """C-GET proposes no film; who is called takes what is offered."""
    film, *_ = write_study(tmp_path / "pacs")
    dataset = pydicom.dcmread(film)
    dataset.file_meta.TransferSyntaxUID = pydicom.uid.MPEG2MPML
    dataset.save_as(film, enforce_file_format=True)
    with embedded(tmp_path / "pacs", "get", "move") as peer:
        receipt = pull_from_pacs(peer, STUDY, tmp_path / "work", patience=QUICK)
    assert receipt.complete
    assert {one.way for one in receipt.transfers[:-1]} == {"get"}
    assert [one.came for one in receipt.transfers if one.came] == [9, 1]
    assert ways_of(receipt)[-1] == ("move", "IMAGE", 1)
    assert receipt.transfers[-1].completed == 1
    assert "trying C-MOVE" in caplog.text


def test_all_ways_fail_and_each_says_why(tmp_path: Path) -> None:
    lost, *_ = write_study(tmp_path / "pacs")
    with embedded(tmp_path / "pacs", "get", "move", known=False) as peer:
        lost.unlink()
        with pytest.raises(PullError) as caught:
            pull_from_pacs(peer, STUDY, tmp_path / "work", patience=QUICK)
    said = str(caught.value)
    assert f"1 of 10 announced instances are missing: {STUDY}.1.1" in said
    assert "C-GET: the PACS answered C-GET with " in said
    assert "C-MOVE: the PACS answered C-MOVE with A801 and never called us" in said
    assert "For C-MOVE: Register AE title PACS2BIDS" in said
    receipt = read_record(tmp_path / "work" / "receipt.incomplete.json", Receipt)
    assert {one.way for one in receipt.transfers} == {"get", "move"}


# ------------------------------------------------------------------------------------------ at once


@pytest.mark.parametrize("way", ["get", "move"])
def test_as_many_at_once_as_courtesy_allows(tmp_path: Path, way: str) -> None:
    """Each series is a transfer with a message id of its own."""
    write_study(tmp_path / "pacs", series=5, instances=20)
    with embedded(tmp_path / "pacs", way) as peer:
        busy = replace(peer, courtesy=Courtesy(moves=3))
        receipt = pull_from_pacs(busy, STUDY, tmp_path / "work", patience=QUICK)
    assert receipt.complete
    assert receipt.foreign == receipt.duplicates == ()
    assert {one.level for one in receipt.transfers} == {"SERIES"}
    assert len({one.message_id for one in receipt.transfers}) == len(receipt.transfers) == 5
    assert sum(one.came or 0 for one in receipt.transfers) == 100


def test_what_is_missing_is_asked_for_at_once_too(tmp_path: Path) -> None:
    lost = write_study(tmp_path / "pacs", series=3)[::5]
    contents = [path.read_bytes() for path in lost]
    with embedded(tmp_path / "pacs", "move") as peer:
        busy = replace(peer, courtesy=Courtesy(moves=3))
        for path in lost:
            path.unlink()
        with pytest.raises(PullError, match="3 of 15 announced"):
            pull_from_pacs(busy, STUDY, tmp_path / "work", patience=QUICK)
        for path, content in zip(lost, contents, strict=True):
            path.write_bytes(content)
        receipt = pull_from_pacs(busy, STUDY, tmp_path / "work", patience=QUICK)
    assert [(one.level, one.completed) for one in receipt.transfers] == [("IMAGE", 1)] * 3


# ------------------------------------------------------------------------------------------ real PACS

CONFIG = """
sources:
  pacs:
    {kind: pacs, host: 127.0.0.1, port: %d, ae_title: %s, receive_host: 127.0.0.1, retrieve: %s}
studies: {table: by-hand.tsv}
heuristic: heuristic.py
dataset: {name: test}
"""


def pulled(beside: Orthanc | Dcmqrscp, config: str, study: str, folder: Path, *, said: str = "") -> Receipt:
    """The receipt of `pacs2bids pull` beside a PACS; ``said``: what its standard error begins with."""
    (folder / "config.yaml").write_text(config)
    columns = "study_instance_uid\tsubject\tsession\tsource"
    (folder / "studies.tsv").write_text(f"{columns}\n{study}\t01\t\tpacs\n")
    options = ["--config", folder / "config.yaml", "--studies", folder / "studies.tsv"]
    done = beside.pacs2bids("pull", *options, "--study", study, "--out", folder / study)
    assert (done.returncode, done.stderr[: len(said)]) == (0, said)
    assert len(done.stderr.splitlines()) == bool(said)
    return read_record(folder / study / "receipt.json", Receipt)


def held(folder: Path) -> dict[str, dict[str, str]]:
    """StudyInstanceUID -> SOPInstanceUID -> transfer syntax."""
    studies: dict[str, dict[str, str]] = {}
    for path in sorted(folder.rglob("*")):
        if is_dicom(path):
            head = pydicom.dcmread(path, specific_tags=["StudyInstanceUID", "SOPInstanceUID"])
            syntax = str(head.file_meta.TransferSyntaxUID)
            studies.setdefault(head.StudyInstanceUID, {}).setdefault(head.SOPInstanceUID, syntax)
    return studies


@pytest.mark.parametrize("name", ["cs_dl", "ts", "frag"])
def test_orthanc(orthanc: Orthanc, corpus: Corpus, tmp_path: Path, name: str) -> None:
    orthanc.load(corpus(name))
    for study, syntaxes in held(corpus(name)).items():
        receipt = pulled(orthanc, CONFIG % (DICOM_PORT, AE_TITLE, "get"), study, tmp_path)
        assert {one.sop_instance_uid: one.transfer_syntax_uid for one in receipt.received} == syntaxes
        assert ways_of(receipt) == [("get", "STUDY", len(syntaxes))]


@pytest.mark.parametrize(
    ("port", "says"),
    [(HTTP_PORT, ""), (HTTP_PORT + 1, "WARNING: WADO-RS: no connection")],
    ids=["served", "nobody there"],
)
def test_auto(orthanc: Orthanc, corpus: Corpus, tmp_path: Path, port: int, says: str) -> None:
    orthanc.load(corpus("cs_dl"))
    ((study, syntaxes),) = held(corpus("cs_dl")).items()
    web = f"auto, dicomweb: {{url: 'http://127.0.0.1:{port}/dicom-web'}}, courtesy: {{retries: 0}}"
    receipt = pulled(orthanc, CONFIG % (DICOM_PORT, AE_TITLE, web), study, tmp_path, said=says)
    assert {one.sop_instance_uid: one.transfer_syntax_uid for one in receipt.received} == syntaxes
    assert ways_of(receipt) == [("get" if says else "wado", "STUDY", len(syntaxes))]


@pytest.mark.parametrize("way", ["get", "move"])
def test_dcmqrscp(corpus: Corpus, tmp_path: Path, way: str) -> None:
    ((study, syntaxes),) = held(corpus("cs_dl")).items()
    files = [path for path in corpus("cs_dl").rglob("*") if is_dicom(path)]
    config = CONFIG % (dcmqrscp.DICOM_PORT, dcmqrscp.AE_TITLE, way)
    with running_dcmqrscp(files, tmp_path / "pacs") as pacs:
        receipt = pulled(pacs, config, study, tmp_path)
    assert {one.sop_instance_uid: one.transfer_syntax_uid for one in receipt.received} == syntaxes
    assert ways_of(receipt) == [(way, "STUDY", len(syntaxes))]
