"""QIDO-RS and WADO-RS with the DICOMweb plug-in of a real Orthanc."""

from __future__ import annotations

import sys
from collections.abc import Callable
from pathlib import Path

import pydicom
import pytest

from pacs2bids.files import read_record, sha256
from pacs2bids.model import Receipt
from peers.available import unavailable
from peers.instances import STUDY, instance, write_visits
from peers.orthanc import AE_TITLE, DICOM_PORT, DICOMWEB_PLUGIN, HTTP_PORT, Orthanc, is_dicom, running_orthanc

# a study root of its own: the Orthanc is shared with other tests
ROOT = f"{STUDY}.78"
URL = f"http://127.0.0.1:{HTTP_PORT}/dicom-web"
SOURCE = f"kind: dicomweb, url: {URL}"
CONFIG = f"""
heuristic: heuristics/none.py
dataset: {{name: Test}}
sources:
  web: {{{SOURCE}}}
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
    write_visits(folder, root=ROOT, letters="WEB", name="Phäntom^Öne=幻^影")
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


# ---------------------------------------------------------------------------------------------- pull


def pull(orthanc: Orthanc, study: str, folder: Path, source: str = SOURCE) -> tuple[int, str, str]:
    (folder / "config.yaml").write_text((CONFIG % "{table: none.tsv}").replace(SOURCE, source))
    (folder / "studies.tsv").write_text(f"study_instance_uid\tsubject\tsession\tsource\n{study}\t01\t\tweb\n")
    options = ["--config", folder / "config.yaml", "--studies", folder / "studies.tsv"]
    done = orthanc.pacs2bids("pull", *options, "--study", study, "--out", folder / study)
    return done.returncode, done.stdout, done.stderr


# nih: many small ones; ts: seven transfer syntaxes, four of them compressed; frag: JPEG in fragments
@pytest.mark.parametrize("name", ["nih", "ts", "frag"])
def test_whole_studies_byte_for_byte(
    orthanc: Orthanc, corpus: Callable[[str], Path], tmp_path: Path, name: str
) -> None:
    orthanc.load(corpus(name))
    for study, files in held(corpus(name)).items():
        code, line, errors = pull(orthanc, study, tmp_path)
        assert (code, errors) == (0, "")
        receipt = read_record(tmp_path / study / "receipt.json", Receipt)
        assert (receipt.complete, receipt.kind, receipt.refused) == (True, "dicomweb", ())
        assert [one.status for one in receipt.transfers] == ["200"]
        assert {one.sop_instance_uid: one.sha256 for one in receipt.received} == files
        for one in receipt.received:
            assert sha256(tmp_path / study / "dicom" / one.path) == one.sha256
        assert line.startswith(f"{len(files):,} instances in {len(receipt.announced)} series, ")


def held(folder: Path) -> dict[str, dict[str, str]]:
    """StudyInstanceUID -> SOPInstanceUID -> SHA-256 of the file."""
    studies: dict[str, dict[str, str]] = {}
    for path in sorted(folder.rglob("*")):
        if is_dicom(path):
            head = pydicom.dcmread(path, specific_tags=["StudyInstanceUID", "SOPInstanceUID"])
            studies.setdefault(head.StudyInstanceUID, {})[head.SOPInstanceUID] = sha256(path)
    return studies


def test_an_instance_of_300_mb_in_little_memory(orthanc: Orthanc, tmp_path: Path) -> None:
    dataset = instance(1, study=f"{ROOT}.300")
    dataset.SeriesInstanceUID = f"{ROOT}.300.1"
    dataset.SOPInstanceUID = dataset.file_meta.MediaStorageSOPInstanceUID = f"{ROOT}.300.1.1"
    dataset.Rows = dataset.Columns = 12_500
    dataset.BitsAllocated, dataset.PixelData = 16, bytes(2 * 12_500 * 12_500)
    dataset["PixelData"].VR = "OW"
    (tmp_path / "pacs").mkdir()
    pydicom.dcmwrite(tmp_path / "pacs" / "1.dcm", dataset, enforce_file_format=True)
    assert orthanc.load(tmp_path / "pacs") == {"Success": 1}
    code = (
        "import re, sys\n"
        "from pathlib import Path\n"
        "from pacs2bids.pacs.web_pull import pull_from_web\n"
        "from pacs2bids.peers import WebPeer\n"
        f"pull_from_web(WebPeer(name='web', url='{URL}'), '{ROOT}.300', Path(sys.argv[1]))\n"
        "print(re.search(r'VmHWM:\\s*(\\d+)', Path('/proc/self/status').read_text())[1])\n"
    )
    done = orthanc.run([sys.executable, "-c", code, tmp_path / "out"])
    assert done.returncode == 0, done.stderr
    assert int(done.stdout) < 200 * 1024  # KB; 312 MB came
    (came,) = (tmp_path / "out" / "dicom").rglob("*.dcm")
    assert sha256(came) == sha256(tmp_path / "pacs" / "1.dcm")


def test_a_pacs_that_has_dicomweb_too(
    orthanc: Orthanc, corpus: Callable[[str], Path], tmp_path: Path
) -> None:
    orthanc.load(corpus("ts"))
    dicom = f"kind: pacs, host: 127.0.0.1, port: {DICOM_PORT}, ae_title: {AE_TITLE}, retrieve: auto"
    for study, files in held(corpus("ts")).items():
        code, _, errors = pull(orthanc, study, tmp_path, source=f"{dicom}, dicomweb: {{url: {URL}}}")
        assert (code, errors) == (0, "")
        receipt = read_record(tmp_path / study / "receipt.json", Receipt)
        assert receipt.complete
        assert [one.way for one in receipt.transfers] == ["wado"]
        assert {one.sop_instance_uid: one.sha256 for one in receipt.received} == files


def test_an_unknown_study_and_a_wrong_root(orthanc: Orthanc, tmp_path: Path) -> None:
    code, _, errors = pull(orthanc, "1.2.3.4", tmp_path)
    assert code == 1
    assert "knows no such study" in errors
    code, _, errors = pull(orthanc, "1.2.3.4", tmp_path, source=SOURCE.replace("dicom-web", "web"))
    assert code == 1
    assert "url in config.yaml: it must be the DICOMweb root" in errors
    assert len(errors.splitlines()) == 1


def test_a_server_that_wants_a_password(tmp_path: Path) -> None:
    with running_orthanc(AuthenticationEnabled=True, RegisteredUsers={"lab": "sesame"}) as locked:
        password = tmp_path / "password"
        password.write_text("wrong\n")
        password.chmod(0o600)
        source = f"{SOURCE}, user: lab, password: {{file: {password}}}"
        code, _, errors = pull(locked, "1.2.3.4", tmp_path, source=source)
        assert code == 1
        assert f"Check user, and the file {password}" in errors
        password.write_text("sesame\n")
        code, _, errors = pull(locked, "1.2.3.4", tmp_path, source=source)
        assert "knows no such study" in errors
