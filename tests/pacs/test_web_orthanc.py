"""QIDO-RS and WADO-RS with the DICOMweb plug-in of a real Orthanc."""

from __future__ import annotations

from pathlib import Path

import pydicom
import pytest

from peers.available import unavailable
from peers.instances import STUDY, instance
from peers.orthanc import DICOMWEB_PLUGIN, HTTP_PORT, Orthanc

pytest_plugins = ["peers.orthanc"]

# a study root of its own: the Orthanc is shared with other tests
ROOT = f"{STUDY}.78"
URL = f"http://127.0.0.1:{HTTP_PORT}/dicom-web"
CONFIG = f"""
heuristic: heuristics/none.py
dataset: {{name: Test}}
sources:
  web: {{kind: dicomweb, url: {URL}}}
studies: %s
"""
QUERY = """
  query:
    - match: {PatientID: "WEB*", StudyDate: 20260101-20260131, ModalitiesInStudy: MR, PatientName: "Ph*ntom*"}
      subject: {from: PatientID, pattern: '^WEB(?P<subject>[0-9]+)$'}
      session: {from: StudyDescription, pattern: 'Visit (?P<session>[0-9])'}
"""


@pytest.fixture(scope="session", autouse=True)
def _plug_in() -> None:
    if not DICOMWEB_PLUGIN.exists():
        unavailable("Orthanc's DICOMweb plug-in is not installed (apt-get install orthanc-dicomweb)")


@pytest.fixture(scope="module")
def filled(orthanc: Orthanc, tmp_path_factory: pytest.TempPathFactory) -> Orthanc:
    folder = tmp_path_factory.mktemp("studies")
    dates = ("20260103", "20260201", "20260102")
    for number, (patient, date) in enumerate(zip(("WEB01", "WEB01", "WEB02"), dates, strict=True)):
        dataset = instance(number, study=f"{ROOT}.{number}")
        dataset.SpecificCharacterSet = "ISO_IR 192"
        dataset.PatientName = "Phäntom^Öne=幻^影"
        dataset.PatientID, dataset.StudyDate, dataset.StudyTime = patient, date, "120000"
        dataset.StudyDescription, dataset.AccessionNumber, dataset.Modality = "Visit 3", f"W{number}", "MR"
        dataset.SeriesInstanceUID = f"{ROOT}.{number}.1"
        dataset.SOPInstanceUID = dataset.file_meta.MediaStorageSOPInstanceUID = f"{ROOT}.{number}.1.1"
        pydicom.dcmwrite(folder / f"{number}.dcm", dataset, enforce_file_format=True)
    assert orthanc.load(folder) == {"Success": 3}
    return orthanc


def ask(orthanc: Orthanc, tmp_path: Path, studies: str) -> list[str]:
    (tmp_path / "config.yaml").write_text(CONFIG % studies)
    out = tmp_path / "studies.tsv"
    done = orthanc.pacs2bids("query", "--config", tmp_path / "config.yaml", "--out", out)
    assert (done.returncode, done.stderr) == (0, "")
    return out.read_text().splitlines()[1:]


def test_a_query(filled: Orthanc, tmp_path: Path) -> None:
    assert ask(filled, tmp_path, QUERY) == [f"{ROOT}.0\t01\t3\tweb", f"{ROOT}.2\t02\t3\tweb"]


def test_accession_numbers(filled: Orthanc, tmp_path: Path) -> None:
    (tmp_path / "mine.tsv").write_text("AccessionNumber\tsubject\nW1\t07\n")
    assert ask(filled, tmp_path, f"{{table: {tmp_path}/mine.tsv}}") == [f"{ROOT}.1\t07\t\tweb"]


def test_a_list(filled: Orthanc, tmp_path: Path) -> None:
    (tmp_path / "config.yaml").write_text(f"sources: {{web: {{kind: dicomweb, url: {URL}}}}}")
    options = ["--config", tmp_path / "config.yaml", "--match", "PatientID=WEB*", "--identities"]
    done = filled.pacs2bids("query", "--list", *options)
    assert (done.returncode, done.stderr) == (0, "")
    heading, *rows = done.stdout.splitlines()
    assert [row.split()[0] for row in rows] == ["20260102", "20260103", "20260201"]
    assert all("Phäntom^Öne=幻^影" in row for row in rows)
    at = heading.index("Instances")
    assert [row[at : at + 9].strip() for row in rows] == ["1", "1", "1"]
