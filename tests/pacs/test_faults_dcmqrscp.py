"""What dcmtk's dcmqrscp refuses to send, and how the pull ends and goes on."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Collection
from pathlib import Path

import pydicom
from pydicom.encaps import encapsulate
from pydicom.uid import JPEGLSLossless, MRImageStorage

from peers.dcmqrscp import AE_TITLE, DICOM_PORT, Dcmqrscp, running_dcmqrscp
from peers.instances import CSA_NON_IMAGE, SERIES, STUDY, instance
from peers.receipts import read_fitting

# the command line with less patience, or each test would wait for a minute
IMPATIENT = """
import functools, sys
from pacs2bids.pacs import pull
pull.Patience = functools.partial(pull.Patience, quiet_s=1.0, quiet_after_failure_s=0.5, settle_s=0.2)
from pacs2bids.__main__ import main
sys.exit(main())
"""
CONFIG = f"""
sources:
  pacs: {{kind: pacs, host: 127.0.0.1, port: {DICOM_PORT}, ae_title: {AE_TITLE}, receive_host: 127.0.0.1}}
  copy: {{kind: folder, path: FILES}}
studies: {{table: by-hand.tsv}}
heuristic: heuristic.py
dataset: {{name: test}}
"""


def written(folder: Path, *, sop_class: str = MRImageStorage, syntax: str = "") -> list[Path]:
    """Three instances; the second is of this SOP class, in this transfer syntax."""
    paths = []
    for number in (1, 2, 3):
        dataset = instance(number, sop_class=sop_class if number == 2 else MRImageStorage)
        dataset.PatientID, dataset.StudyID = "P1", "1"
        if syntax and number == 2:
            dataset.file_meta.TransferSyntaxUID = syntax
            dataset.Rows = dataset.Columns = 8
            dataset.PixelData = encapsulate([bytes(64)])
            dataset["PixelData"].VR = "OB"
        path = folder / "files" / f"{number}.dcm"
        path.parent.mkdir(exist_ok=True)
        pydicom.dcmwrite(path, dataset, enforce_file_format=True)
        paths.append(path)
    return paths


def pulled(beside: Dcmqrscp, folder: Path, *, source: str = "pacs") -> subprocess.CompletedProcess[str]:
    (folder / "config.yaml").write_text(CONFIG.replace("FILES", str(folder / "files")))
    (folder / "studies.tsv").write_text(
        f"study_instance_uid\tsubject\tsession\tsource\n{STUDY}\t01\t\t{source}\n"
    )
    words = ["--config", folder / "config.yaml", "--studies", folder / "studies.tsv", "--study", STUDY]
    return beside.run([sys.executable, "-c", IMPATIENT, "pull", *words, "--out", folder / "out"])


def lacks_the_second(done: subprocess.CompletedProcess[str], out: Path) -> None:
    assert (done.returncode, done.stdout) == (1, "")
    line = done.stderr.splitlines()[-1]
    assert f"1 of 3 announced instances are missing: {SERIES}.2 " in line
    assert "the PACS answered C-MOVE with" in line
    assert "Run again: what came is kept" in line
    assert here(out) == {f"{SERIES}.1", f"{SERIES}.3"}
    assert not (out / "receipt.json").exists()


def here(out: Path) -> Collection[str]:
    return {path.stem for path in out.glob("dicom/*/*.dcm")}


def test_a_sop_class_that_the_pacs_does_not_send(tmp_path: Path) -> None:
    """dcmtk offers the classes of the standard only. What it cannot send, a folder can bring."""
    files = written(tmp_path, sop_class=CSA_NON_IMAGE)
    out = tmp_path / "out"
    with running_dcmqrscp(files, tmp_path / "pacs") as pacs:
        lacks_the_second(pulled(pacs, tmp_path), out)
        done = pulled(pacs, tmp_path, source="copy")
    assert done.returncode == 0, (
        done.stderr
    )  # it may warn: a file is not byte for byte what a PACS sends of it
    receipt = read_fitting(out / "receipt.json")
    assert (receipt.complete, receipt.kind) == (True, "folder")
    assert here(out) == {f"{SERIES}.{number}" for number in (1, 2, 3)}


def test_a_transfer_syntax_that_the_pacs_does_not_send(tmp_path: Path) -> None:
    """Left as it comes, dcmqrscp offers nothing compressed; then it is told to offer JPEG-LS, too."""
    files = written(tmp_path, syntax=JPEGLSLossless)
    out = tmp_path / "out"
    with running_dcmqrscp(files, tmp_path / "pacs") as pacs:
        lacks_the_second(pulled(pacs, tmp_path), out)
    with running_dcmqrscp(files, tmp_path / "again", "-xt") as pacs:
        done = pulled(pacs, tmp_path)
    assert (done.returncode, done.stderr) == (0, "")
    receipt = read_fitting(out / "receipt.json")
    assert [one.came for one in receipt.transfers] == [1]
    assert {one.sop_instance_uid for one in receipt.received} == here(out)
