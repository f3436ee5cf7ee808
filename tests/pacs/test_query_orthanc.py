"""Queries to a real Orthanc, whose matching is its own."""

from __future__ import annotations

from pathlib import Path

import pydicom
import pytest

from pacs2bids.files import read_record
from pacs2bids.model import Receipt
from peers.instances import STUDY, instance, write_study, write_visits
from peers.orthanc import AE_TITLE, DICOM_PORT, Orthanc, running_orthanc

# a study root of its own: the Orthanc is shared with other tests
ROOT = f"{STUDY}.77"
CONFIG = f"""
heuristic: heuristics/none.py
dataset: {{name: Test}}
sources:
  orthanc: {{kind: pacs, host: 127.0.0.1, port: {DICOM_PORT}, ae_title: %s}}
studies: %s
"""
QUERY = """
  query:
    - match: {PatientID: "QRY*", StudyDate: 20260101-20260131, ModalitiesInStudy: MR}
      subject: {from: PatientID, pattern: '^QRY(?P<subject>[0-9]+)$'}
      session: {from: StudyDescription, pattern: 'Visit (?P<session>[0-9])'}
"""


@pytest.fixture(scope="module")
def filled(orthanc: Orthanc, tmp_path_factory: pytest.TempPathFactory) -> Orthanc:
    folder = tmp_path_factory.mktemp("studies")
    write_visits(folder, root=ROOT, letters="QRY", name="Phäntom^Öne")
    orthanc.load(folder)
    return orthanc


def ask(orthanc: Orthanc, tmp_path: Path, studies: str, ae_title: str = AE_TITLE) -> tuple[int, str, str]:
    (tmp_path / "config.yaml").write_text(CONFIG % (ae_title, studies))
    out = tmp_path / "studies.tsv"
    done = orthanc.pacs2bids("query", "--config", tmp_path / "config.yaml", "--out", out)
    return done.returncode, done.stdout, done.stderr


def test_a_query(filled: Orthanc, tmp_path: Path) -> None:
    code, said, errors = ask(filled, tmp_path, QUERY)
    assert (code, errors) == (0, "")
    assert said.startswith("2 studies of 2 subjects -> ")
    assert (tmp_path / "studies.tsv").read_text().splitlines()[1:] == [
        f"{ROOT}.0\t01\t3\torthanc",
        f"{ROOT}.2\t02\t3\torthanc",
    ]


def test_a_name_in_other_letters(filled: Orthanc, tmp_path: Path) -> None:
    query = QUERY.replace("ModalitiesInStudy: MR", 'PatientName: "Phäntom*"')
    code, said, errors = ask(filled, tmp_path, query)
    assert (code, errors) == (0, "")
    assert said.startswith("2 studies")


def test_accession_numbers(filled: Orthanc, tmp_path: Path) -> None:
    (tmp_path / "mine.tsv").write_text("AccessionNumber\tsubject\nQ1\t07\n")
    code, _, errors = ask(filled, tmp_path, f"{{table: {tmp_path}/mine.tsv}}")
    assert (code, errors) == (0, "")
    assert (tmp_path / "studies.tsv").read_text().splitlines()[1:] == [f"{ROOT}.1\t07\t\torthanc"]


def test_a_wrong_ae_title_is_told(filled: Orthanc, tmp_path: Path) -> None:
    code, _, errors = ask(filled, tmp_path, QUERY, ae_title="WRONG")
    assert code == 1
    assert "rejected" in errors
    assert "WRONG" in errors
    assert len(errors.splitlines()) == 1


PEOPLE = {
    "1": ("ISO_IR 192", "山田^太郎", ""),
    "2": ("ISO_IR 100", "Phäntom^Öne", "20260201"),
    "3": ("ISO_IR 192", "Люкceмбypг", "20260301"),
    "4": ("ISO_IR 192", "Other", "20250101"),
}


def write_people(folder: Path) -> Path:
    for number, (character_set, name, date) in PEOPLE.items():
        dataset = instance(int(number), study=f"{ROOT}.8{number}")
        dataset.SpecificCharacterSet, dataset.PatientName, dataset.StudyDate = character_set, name, date
        dataset.PatientID, dataset.Modality, dataset.StudyDescription = f"CHR{number}", "MR", "Any"
        dataset.SeriesInstanceUID = f"{ROOT}.8{number}.1"
        dataset.SOPInstanceUID = dataset.file_meta.MediaStorageSOPInstanceUID = f"{ROOT}.8{number}.1.1"
        pydicom.dcmwrite(folder / f"{number}.dcm", dataset, enforce_file_format=True)
    return folder


@pytest.mark.parametrize("encoding", ["Utf8", "Latin1", "Japanese"])
def test_names_and_dates_of_an_orthanc_of_any_encoding(tmp_path: Path, encoding: str) -> None:
    """It answers in its own encoding, without the letters that this lacks, and matches empty dates."""
    folder = tmp_path / "files"
    folder.mkdir()
    question = """
  query:
    - match: {PatientID: "CHR*", %s}
      subject: {from: PatientID, pattern: '^CHR(?P<subject>[0-9]+)$'}
"""
    found, told = {}, {}
    with running_orthanc(DefaultEncoding=encoding) as orthanc:
        orthanc.load(write_people(folder))
        matches = {
            "Latin": "PatientName: 'Phänt*'",
            "Japanese": "PatientName: ['山田*']",
            "Cyrillic": "PatientName: 'Люк*'",
            "several": "PatientName: ['山田*', 'Люк*']",
            "date": "StudyDate: -20260228",
        }
        for name, match in matches.items():
            code, _, errors = ask(orthanc, tmp_path, question % match)
            assert code == 0, (name, errors)
            rows = (tmp_path / "studies.tsv").read_text().splitlines()[1:]
            found[name], told[name] = sorted(row.split("\t")[1] for row in rows), errors
            (tmp_path / "studies.tsv").unlink()
    assert found == {
        "Latin": ["2"],
        "Japanese": ["1"],
        "Cyrillic": ["3"],
        "several": ["1", "3"],
        "date": ["2", "4"],
    }, told
    assert "against the condition on StudyDate" in told["date"]


def test_study_that_has_grown_is_asked_for_again(orthanc: Orthanc, tmp_path: Path) -> None:
    """A series that reached the PACS after the pull: the query sees it by the count."""
    study, other = f"{ROOT}.91", f"{ROOT}.92"
    for uid in (study, other):
        write_study(tmp_path / "first" / uid, series=1, instances=2, study=uid)
    orthanc.load(tmp_path / "first")
    listed = tmp_path / "mine.tsv"
    listed.write_text(f"StudyInstanceUID\tsubject\n{study}\t01\n{other}\t02\n")
    config, table, work = tmp_path / "config.yaml", tmp_path / "studies.tsv", tmp_path / "work"
    peer = f"host: 127.0.0.1, port: {DICOM_PORT}, ae_title: {AE_TITLE}, receive_host: 127.0.0.1"
    config.write_text(
        f"workdir: {work}\nheuristic: h.py\ndataset: {{name: Test}}\n"
        f"sources: {{orthanc: {{kind: pacs, {peer}}}}}\nstudies: {{table: {listed}}}\n"
    )

    def query() -> str:
        done = orthanc.pacs2bids("query", "--config", config, "--out", table)
        assert done.returncode == 0, done.stderr
        return done.stderr

    def pull(uid: str) -> Receipt:
        out = work / "studies" / uid
        options = ["--config", config, "--studies", table, "--study", uid, "--out", out]
        done = orthanc.pacs2bids("pull", *options)
        assert done.returncode == 0, done.stderr
        return read_record(out / "receipt.json", Receipt)

    assert query() == ""
    assert [len(pull(uid).received) for uid in (study, other)] == [2, 2]
    assert query() == ""
    write_study(tmp_path / "second", series=2, instances=2, study=study)
    orthanc.load(tmp_path / "second")
    said = query()
    assert f"study {study} (sub-01): its source has 4 instances of it now, 2 are known" in said
    assert len(said.splitlines()) == 1
    assert [(work / "studies" / uid / "receipt.json").exists() for uid in (study, other)] == [False, True]
    assert len(pull(study).received) == 4
    assert query() == ""
