"""What `snakemake` pulls again: a study whose source was corrected, and no other."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pydicom
import pytest

from pacs2bids.__main__ import main
from pacs2bids.files import read_record
from pacs2bids.model import Receipt
from peers.instances import write_study

ROOT = Path(__file__).resolve().parents[2]
STUDIES = ("1.2.1", "1.2.2")
CONFIG = """\
sources:
  one: {kind: folder, path: one}
  two: {kind: folder, path: two}
studies: {table: studies.tsv}
heuristic: heuristic.py
dataset: {name: Two sources}
"""


class Folder:
    """A folder to run `snakemake` in, with two folders as sources that both hold both studies."""

    def __init__(self, path: Path) -> None:
        self.path = path
        for source in ("one", "two"):
            for study in STUDIES:
                write_study(path / source / study, series=1, instances=2, study=study)
                for file in (path / source / study).rglob("*.dcm"):
                    dataset = pydicom.dcmread(file)
                    dataset.PatientID = study
                    dataset.save_as(file)
        (path / "config.yaml").write_text(CONFIG)
        (path / "heuristic.py").touch()
        self.table("one", "one")

    def table(self, *sources: str) -> None:
        rows = [
            f"{study}\t0{n}\t{source}\n"
            for n, (study, source) in enumerate(zip(STUDIES, sources, strict=True))
        ]
        (self.path / "studies.tsv").write_text("StudyInstanceUID\tsubject\tsource\n" + "".join(rows))

    def pulled(self, *options: str) -> set[str]:
        """Run as far as pull; the studies of the jobs that ran, by the logs that they opened."""
        place = self.path / "work/logs/pull"
        before = {log: log.stat().st_mtime_ns for log in place.glob("*.log")}
        targets = [f"work/studies/{study}/receipt.json" for study in STUDIES]
        words = ["--snakefile", str(ROOT / "Snakefile"), "--cores", "1", *targets, *options]
        run = subprocess.run(
            [sys.executable, "-m", "snakemake", *words],
            cwd=self.path,
            text=True,
            capture_output=True,
            check=False,
            timeout=120,
        )
        assert run.returncode == 0, run.stdout + run.stderr
        return {log.stem for log in place.glob("*.log") if log.stat().st_mtime_ns != before.get(log)}

    def receipt(self, study: str) -> Receipt:
        return read_record(self.path / "work/studies" / study / "receipt.json", Receipt)


@pytest.fixture
def folder(tmp_path: Path) -> Folder:
    folder = Folder(tmp_path)
    assert folder.pulled() == set(STUDIES)
    return folder


def test_corrected_source_pulls_that_study_only(folder: Folder) -> None:
    folder.table("one", "two")
    assert folder.pulled() == {"1.2.2"}
    assert [folder.receipt(study).source for study in STUDIES] == ["one", "two"]
    assert folder.pulled() == set()
    # a source that moved: what its receipts say stays true
    (folder.path / "two").rename(folder.path / "moved")
    (folder.path / "config.yaml").write_text(CONFIG.replace("path: two", "path: moved"))
    assert folder.pulled() == set()
    assert folder.pulled("--forcerun", "query") == set()


def test_study_that_has_grown_is_pulled_again_and_no_other(folder: Folder) -> None:
    """When the query is made again. One that has shrunk stays as it came."""
    write_study(folder.path / "one" / "more", series=1, instances=3, study="1.2.1")
    for path in (folder.path / "one" / "more" / "1" / f"{n}.dcm" for n in (1, 2)):
        path.unlink()
    (folder.path / "one/1.2.2/1/2.dcm").unlink()
    assert folder.pulled("--forcerun", "query") == {"1.2.1"}
    assert [len(folder.receipt(study).received) for study in STUDIES] == [3, 2]
    assert folder.pulled("--forcerun", "query") == set()


def test_folder_that_gained_files_is_pulled_again_on_demand(folder: Folder) -> None:
    there = {path: path.stat().st_ino for path in (folder.path / "work/studies").rglob("*.dcm")}
    write_study(folder.path / "one" / "more", series=1, instances=3, study="1.2.1")
    for path in (folder.path / "one" / "more" / "1" / f"{n}.dcm" for n in (1, 2)):
        path.unlink()
    assert folder.pulled() == set()
    assert folder.pulled("--forcerun", "pull") == set(STUDIES)
    assert [len(folder.receipt(study).received) for study in STUDIES] == [3, 2]
    assert there == {path: path.stat().st_ino for path in there}


def test_damaged_file_is_brought_again_as_verify_says(folder: Folder) -> None:
    """Well-formed, of the same length: its receipt alone tells, which Snakemake removes before the job."""
    study = folder.path / "work/studies/1.2.1"
    file, *_ = sorted(study.rglob("*.dcm"))
    content = file.read_bytes()
    file.unlink()  # it is a link to the source's
    file.write_bytes(content.replace(b"1/1", b"1/7"))
    assert main(["verify", str(study)]) == 1
    assert folder.pulled("--forcerun", "work/studies/1.2.1/receipt.json") == {"1.2.1"}
    assert file.read_bytes() == content
    assert main(["verify", str(study)]) == 0
