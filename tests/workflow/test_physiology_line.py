"""Physiology from its DICOM instance into the dataset, by the verbs of the workflow; then the validator."""

from __future__ import annotations

import gzip
import json
import shutil
from pathlib import Path

import pytest

from pacs2bids.__main__ import main
from pacs2bids.check import validate
from pacs2bids.files import read_record, read_tsv
from pacs2bids.model import Manifest, PlacedSession
from physiologs import MEASUREMENT, instance, says_measurement, stored, two_sensors
from synthetic import Series, save, uid

RULES = """\
rules:
  - match: {series_description: rest}
    datatype: func
    suffix: bold
    entities: {task: rest}
    run: when_several
"""
RUN = "sub-01/func/sub-01_task-rest_run-%d_recording-cardiac_physio.tsv.gz"


def write_run(folder: Path, number: int, measurement: str) -> None:
    """A run of four volumes whose images say their measurement as Siemens' do."""
    made = Series(name=f"run {number}", number=number, volumes=4)
    for volume in range(made.volumes):
        for slice_ in range(made.slices):
            data = made.dataset(slice_, volume)
            data.SeriesDescription = "rest"
            says_measurement(data, measurement)
            data.AcquisitionTime = f"{1000 + number}{2 * volume:02d}"
            save(data, folder / f"{number}-{volume}-{slice_}.dcm")


class Line:
    """A work folder with one study of two runs and their logs."""

    def __init__(self, root: Path) -> None:
        self.root, self.bids = root, root / "bids"
        self.study = root / "work" / "studies" / uid("study")
        self.session = root / "work" / "sessions" / "sub-01"
        self.session.mkdir(parents=True)
        other = "00000000-0000-4000-8000-000000000001"
        dicom = self.study / "dicom"
        write_run(dicom, 2, other)
        write_run(dicom, 4, MEASUREMENT)
        save(instance(two_sensors(4), 5, "rest_PhysioLog"), dicom / "log.dcm")
        save(stored(b"\1" * 4096, 2, 6, "rest_PhysioLog"), dicom / "damaged.dcm")
        (root / "rules.yaml").write_text(RULES)
        (root / "config.yaml").write_text(
            "sources: {files: {kind: folder, path: dicom}}\nstudies: {table: studies.tsv}\n"
            "heuristic: rules.yaml\n"
            "dataset: {name: Physiology, authors: [Author One, Author Two], license: CC0}\n"
        )

    def run(self, *words: str | Path) -> None:
        assert main([str(word) for word in words]) == 0, words

    def name(self) -> list[dict[str, str]]:
        rules, out = self.root / "rules.yaml", self.session
        self.run("plan", self.study, "--subject", "01", "--heuristic", rules, "--out", out)
        return read_tsv(out / "plan.tsv")

    def place(self) -> PlacedSession:
        places = ("--session-dir", self.session, "--studies-dir", self.study.parent, "--bids", self.bids)
        self.run("place", *places)
        return read_record(self.session / "placed.json", PlacedSession)


@pytest.fixture
def line(tmp_path: Path) -> Line:
    made = Line(tmp_path)
    made.run("index", made.study)
    made.run("reconstruct", made.study)
    return made


def test_from_the_instance_to_a_valid_dataset(line: Line) -> None:
    shutil.rmtree(line.study / "dicom")  # `keep: volumes`
    plan = {row["series_number"]: row for row in line.name()}
    assert plan["2"]["physiology"] == "n/a"
    assert plan["4"]["physiology"] == "005-physio1"
    assert "beside sub-01_task-rest_run-2_bold" in plan["5"]["reason"]
    assert "longer than its block" in plan["6"]["reason"]
    placed = line.place()
    physio = [path for path in placed.files if "_physio." in path]
    assert len(physio) == 4
    table = gzip.decompress((line.bids / (RUN % 2)).read_bytes()).decode().splitlines()
    sidecar = json.loads((line.bids / (RUN % 2)).with_suffix("").with_suffix(".json").read_text())
    # a second before the first of four volumes of two seconds
    assert len(table) == 9 * sidecar["SamplingFrequency"] == 9 * 200
    assert sidecar["TaskName"] == "rest"
    assert (sidecar["StartTime"], sum(row.endswith("\t1") for row in table)) == (-1, 4)
    out = line.root / "work" / "dataset.json"
    line.run(
        *("dataset", "--config", line.root / "config.yaml", "--bids", line.bids, "--out", out),
        line.session / "placed.json",
    )
    _, findings = validate(line.bids)
    told = [one for one in findings if one.severity == "error" or "physio" in one.location]
    assert told == []


def test_recordings_follow_their_run(line: Line, capsys: pytest.CaptureFixture[str]) -> None:
    line.name()
    line.place()
    (line.root / "rules.yaml").write_text(RULES.replace("task: rest", "task: movie"))
    line.name()
    placed = line.place()
    there = {path.name for path in (line.bids / "sub-01" / "func").glob("*_physio.*")}
    assert there == {path.rpartition("/")[2] for path in placed.files if "_physio." in path}
    assert all("task-movie_run-2" in name for name in there)
    volumes = line.study / "volumes"
    lost = next(iter(read_record(volumes / "manifest.json", Manifest).physiology[0].files))
    (volumes / lost).unlink()
    words = ["place", "--session-dir", str(line.session), "--studies-dir", str(line.study.parent)]
    assert main([*words, "--bids", str(line.bids)]) == 1
    assert f"{lost}: is missing, planned for" in capsys.readouterr().err


def test_recordings_that_people_made_stay(line: Line, capsys: pytest.CaptureFixture[str]) -> None:
    line.name()
    table = line.session / "plan.tsv"
    table.write_text(table.read_text().replace("005-physio1", "n/a"))  # as before logs were decoded
    line.place()
    theirs = line.bids / (RUN % 2)
    theirs.write_bytes(b"converted by hand")
    line.name()
    placed = line.place()
    assert theirs.read_bytes() == b"converted by hand"
    assert sum("_physio." in path for path in placed.files) == 2
    assert "people put their own there" in capsys.readouterr().err
