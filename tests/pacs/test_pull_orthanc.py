"""Pulling with the command line from a real Orthanc."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import TypeAlias

import pydicom
import pytest
from pydicom.filereader import read_file_meta_info, read_partial

from peers.available import unavailable
from peers.instances import CSA_NON_IMAGE, STUDY, data_set_bytes, instance
from peers.orthanc import AE_TITLE, DICOM_PORT, OUR_PORT, Orthanc, is_dicom
from peers.receipts import read_fitting

Corpus: TypeAlias = Callable[[str], Path]
Pull: TypeAlias = Callable[..., tuple[int, str, str]]  # exit code, standard output and error

CONFIG = f"""
sources:
  orthanc:
    {{kind: pacs, host: 127.0.0.1, port: {DICOM_PORT}, ae_title: {AE_TITLE}, receive_host: 127.0.0.1,
     receive_ae_title: %s}}
studies: {{table: by-hand.tsv}}
heuristic: heuristic.py
dataset: {{name: test}}
"""


@pytest.fixture
def pull(tmp_path: Path) -> Pull:
    def run(peer: Orthanc, study: str, *, receive_as: str = "PACS2BIDS") -> tuple[int, str, str]:
        (tmp_path / "config.yaml").write_text(CONFIG % receive_as)
        columns = "study_instance_uid\tsubject\tsession\tsource"
        (tmp_path / "studies.tsv").write_text(f"{columns}\n{study}\t01\t\torthanc\n")
        options = ["--config", tmp_path / "config.yaml", "--studies", tmp_path / "studies.tsv"]
        done = peer.pacs2bids("pull", *options, "--study", study, "--out", tmp_path / study)
        return done.returncode, done.stdout, done.stderr

    return run


def held(folder: Path) -> dict[str, dict[str, Path]]:
    """StudyInstanceUID -> SOPInstanceUID -> file."""
    studies: dict[str, dict[str, Path]] = {}
    for path in sorted(folder.rglob("*")):
        if is_dicom(path):
            with path.open("rb") as stream:
                head = read_partial(stream, lambda tag, _vr, _length: tag > 0x0020000D)
            studies.setdefault(head.StudyInstanceUID, {}).setdefault(head.SOPInstanceUID, path)
    return studies


@pytest.mark.parametrize("name", ["nih", "xa30", "ts", "frag"])
def test_whole_studies(
    orthanc: Orthanc,
    corpus: Corpus,
    pull: Pull,
    tmp_path: Path,
    name: str,
) -> None:
    assert orthanc.load(corpus(name)).keys() <= {"Success", "AlreadyStored"}
    for study, files in held(corpus(name)).items():
        code, line, errors = pull(orthanc, study)
        assert (code, errors) == (0, "")
        receipt = read_fitting(tmp_path / study / "receipt.json")
        assert receipt.complete
        assert {one.sop_instance_uid for one in receipt.received} == files.keys()
        assert line.startswith(f"{len(files):,} instances in {len(receipt.announced)} series, ")
        assert line.endswith(f" MB, complete -> {tmp_path / study}\n")
        for one in receipt.received:
            assert_same(tmp_path / study / "dicom" / one.path, files[one.sop_instance_uid])


def assert_same(ours: Path, theirs: Path) -> None:
    """Same transfer syntax and same content.

    Orthanc sends by dcmtk, which writes the lengths of sequences in its own way: where the bytes differ, both
    files are written anew by dcmtk.
    """
    assert read_file_meta_info(ours).TransferSyntaxUID == read_file_meta_info(theirs).TransferSyntaxUID
    if data_set_bytes(ours) != data_set_bytes(theirs):
        assert rewritten(ours) == rewritten(theirs)


def rewritten(path: Path) -> bytes:
    if shutil.which("dcmconv") is None:
        unavailable("dcmconv of dcmtk is not installed")
    with tempfile.TemporaryDirectory() as folder:
        target = Path(folder, "out.dcm")
        subprocess.run(["dcmconv", path, target], check=True, capture_output=True, timeout=60)
        return data_set_bytes(target)


def test_orthanc_that_says_done_before_it_sends(
    hasty_orthanc: Orthanc,
    corpus: Corpus,
    pull: Pull,
    tmp_path: Path,
) -> None:
    hasty_orthanc.load(corpus("xa30"))
    ((study, files),) = held(corpus("xa30")).items()
    code, line, errors = pull(hasty_orthanc, study)
    assert (code, errors) == (0, "")
    assert f"{len(files)} instances in" in line
    receipt = read_fitting(tmp_path / study / "receipt.json")
    assert {one.sop_instance_uid for one in receipt.received} == files.keys()


def test_private_sop_class(orthanc: Orthanc, pull: Pull, tmp_path: Path) -> None:
    folder = tmp_path / "pacs"
    folder.mkdir()
    for number, sop_class in ((1, CSA_NON_IMAGE), (2, pydicom.uid.MRImageStorage)):
        dataset = instance(number, sop_class=sop_class, text="Ä" if number == 1 else "")
        pydicom.dcmwrite(folder / f"{number}.dcm", dataset, enforce_file_format=True)
    assert orthanc.load(folder) == {"Success": 2}
    assert pull(orthanc, STUDY)[0] == 0
    receipt = read_fitting(tmp_path / STUDY / "receipt.json")
    assert {one.sop_class_uid for one in receipt.received} == {CSA_NON_IMAGE, pydicom.uid.MRImageStorage}


def test_unknown_destination_is_explained(
    orthanc: Orthanc, corpus: Corpus, pull: Pull, tmp_path: Path
) -> None:
    orthanc.load(corpus("xa30"))
    ((study, _),) = held(corpus("xa30")).items()
    code, line, errors = pull(orthanc, study, receive_as="NOBODY")
    assert (code, line) == (1, "")
    assert "C-MOVE with C000" in errors
    assert f"Register AE title NOBODY with this machine's address and port {OUR_PORT}" in errors
    assert "Traceback" not in errors
    assert not (tmp_path / study / "receipt.json").exists()


def test_unknown_study(orthanc: Orthanc, pull: Pull) -> None:
    code, _, errors = pull(orthanc, "1.2.3.4")
    assert code == 1
    assert "study 1.2.3.4" in errors
    assert "knows no such study" in errors


def test_orthanc_is_not_reachable_from_outside(orthanc: Orthanc) -> None:
    probe = [sys.executable, "-c", f"import socket; socket.create_connection(('127.0.0.1', {DICOM_PORT}), 2)"]
    assert orthanc.run(probe).returncode == 0
    interfaces = json.loads(orthanc.run(["ip", "-json", "address"]).stdout)
    assert [one["ifname"] for one in interfaces] == ["lo"]
