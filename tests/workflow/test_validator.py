"""From volumes to a verdict by the real bids-validator: place, dataset and check as the rules call them."""

from __future__ import annotations

import hashlib
import json
import shutil
from pathlib import Path

import nibabel as nib
import numpy as np
import pytest

from pacs2bids.__main__ import main
from pacs2bids.check import validate
from pacs2bids.files import read_record, write_record
from pacs2bids.model import (
    CheckResult,
    Finding,
    Identity,
    Json,
    Manifest,
    PlanRow,
    SeriesInfo,
    StudyIndex,
    VolumeFile,
)
from pacs2bids.plan_table import write_plan

UID = "1.2.3"
AFFINE = np.array([[-2, 0, 0, 10], [0, 2, 0, 20], [0, 0, 3, 30], [0, 0, 0, 1.0]])
CONFIG = """\
sources: {files: {kind: folder, path: dicom}}
studies: {table: studies.tsv}
heuristic: heuristics/demo.py
dataset:
  {name: Phantoms, authors: [Author One, Author Two], license: CC0, source_datasets: [{url: "https://x.org"}]}
"""
PEOPLE = "participant_id\tgroup\nsub-01\tpilot\nsub-77\tnobody\n"


class Project:
    """A folder with config.yaml, one reconstructed study of two volumes, and their plan."""

    def __init__(self, root: Path) -> None:
        self.root, self.bids = root, root / "bids"
        self.session_dir = root / "work" / "sessions" / "sub-01_ses-a"
        self.volumes: list[VolumeFile] = []
        self.rows: list[PlanRow] = []
        (root / "config.yaml").write_text(f"{CONFIG}participants: {root}/people.tsv\n")
        (root / "people.tsv").write_text(PEOPLE)
        self.add("002-1", "anat/sub-01_ses-a_T1w", (4, 5, 6), {"EchoTime": 0.003})
        timing: Json = [0.0, 0.3, 0.6, 0.9, 1.2, 1.5]
        sidecar: dict[str, Json] = {"RepetitionTime": 2.0, "SliceTiming": timing}
        self.add(
            "003-1", "func/sub-01_ses-a_task-rest_bold", (4, 5, 6, 7), sidecar, metadata={"TaskName": "rest"}
        )
        gradients = {".bval": "0 1000 1000\n", ".bvec": "0 1 0\n0 0 1\n0 0 0\n"}
        self.add("004-1", "dwi/sub-01_ses-a_dwi", (4, 5, 6, 3), {"RepetitionTime": 2.0}, text=gradients)

    def add(
        self,
        stack_id: str,
        name: str,
        shape: tuple[int, ...],
        sidecar: dict[str, Json],
        *,
        metadata: dict[str, Json] | None = None,
        text: dict[str, str] | None = None,
    ) -> None:
        folder = self.root / "work" / "studies" / UID / "volumes"
        folder.mkdir(parents=True, exist_ok=True)
        image = nib.Nifti1Image(np.arange(np.prod(shape), dtype=np.int16).reshape(shape), AFFINE)
        image.set_sform(AFFINE, 1)
        image.set_qform(AFFINE, 1)
        image.header.set_xyzt_units("mm", "sec")
        if len(shape) == 4:
            image.header["pixdim"][4] = 2
        nib.save(image, folder / f"{stack_id}.nii.gz")
        for extension, content in {".json": json.dumps(sidecar), **(text or {})}.items():
            (folder / f"{stack_id}{extension}").write_text(content)
        files = {
            path.name: hashlib.sha256(path.read_bytes()).hexdigest() for path in folder.glob(f"{stack_id}.*")
        }
        self.volumes.append(VolumeFile(stack_id=stack_id, input_digest="", files=files))
        row = PlanRow(
            study_instance_uid=UID,
            series_instance_uid=f"{UID}.{stack_id}",
            series_number=int(stack_id[:3]),
            series_description="",
            stack_id=stack_id,
            acquired=f"2026-03-04T10:{stack_id[1:3]}:00",
            dims="",
            instances=1,
            bids_name=f"sub-01/ses-a/{name}",
            reason="",
            metadata=metadata or {},
        )
        self.rows.append(row)

    def place(self) -> None:
        study = self.root / "work" / "studies" / UID
        manifest = Manifest(engine_version="0", study_instance_uid=UID, volumes=tuple(self.volumes))
        write_record(study / "volumes" / "manifest.json", manifest)
        series = SeriesInfo(
            series_key="002",
            study_instance_uid=UID,
            series_instance_uid=f"{UID}.2",
            series_number=2,
            modality="MR",
            acquired=None,
            instances=1,
            stack_ids=("002-1",),
            example_path="",
            dims=(1, 1, 1, 1),
            series_files=1,
            patient_age="095Y",
            patient_sex="F",
        )
        index = StudyIndex(
            engine_version="0", study_instance_uid=UID, instances=1, series=(series,), stacks=(), leftovers=()
        )
        write_record(study / "index.json", index)
        write_record(
            study / "identity.json", Identity(study_instance_uid=index.study_instance_uid, values={})
        )
        write_plan(self.session_dir / "plan.tsv", self.rows)
        self.run(
            "place", "--session-dir", self.session_dir, "--studies-dir", study.parent, "--bids", self.bids
        )
        placed = self.session_dir / "placed.json"
        out = self.root / "work" / "dataset.json"
        self.run("dataset", "--config", self.root / "config.yaml", "--bids", self.bids, "--out", out, placed)

    @staticmethod
    def run(*words: str | Path, expected: int = 0) -> None:
        assert main([str(word) for word in words]) == expected

    def check(self, *words: str, expected: int = 0) -> CheckResult:
        out, placed = self.root / "work" / "check.json", self.session_dir / "placed.json"
        self.run("check", "--bids", self.bids, "--out", out, *words, placed, expected=expected)
        return read_record(out, CheckResult)


@pytest.fixture
def project(tmp_path: Path) -> Project:
    made = Project(tmp_path)
    made.place()
    return made


def kinds(findings: tuple[Finding, ...], severity: str) -> set[tuple[str, str]]:
    return {(each.origin, each.code) for each in findings if each.severity == severity}


def test_a_placed_session_is_valid(
    project: Project, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    # neither a home to cache in nor a network to fetch a schema from
    home = tmp_path / "home"
    home.mkdir()
    monkeypatch.setenv("HOME", str(home))
    monkeypatch.setenv("HTTPS_PROXY", "http://127.0.0.1:9")
    capsys.readouterr()
    result = project.check()
    assert (kinds(result.findings, "error"), result.ok) == (set(), True)
    assert result.validator_version.startswith("3.")
    line = capsys.readouterr().out
    assert line.startswith("dataset valid: 18 files, 0 errors, ")
    project.run("check", "--verdict", project.root / "work" / "check.json")
    # recommended fields are the sidecars' business; the tree itself must not be warned about
    warned = {code.partition("/")[0] for _, code in kinds(result.findings, "warning")}
    assert warned <= {"JSON_KEY_RECOMMENDED", "SIDECAR_KEY_RECOMMENDED"}
    people = (project.bids / "participants.tsv").read_text()
    assert people == "participant_id\tage\tsex\tgroup\nsub-01\t89\tF\tpilot\n"


def test_errors_of_both_kinds_are_told(project: Project, capsys: pytest.CaptureFixture[str]) -> None:
    bold = project.bids / "sub-01/ses-a/func/sub-01_ses-a_task-rest_bold.nii.gz"
    whole = bold.read_bytes()
    bold.unlink()
    bold.write_bytes(whole[:-20])  # the validator reads its header only
    (project.bids / "sub-01/ses-a/anat/sub-01_ses-a_T1w.bval").write_text("0\n")
    capsys.readouterr()
    result = project.check(expected=1)
    assert ("bids-validator", "EXTENSION_MISMATCH") in kinds(result.findings, "error")
    assert ("pacs2bids", "DAMAGED_VOLUME") in kinds(result.findings, "error")
    assert ("pacs2bids", "STRAY_FILES") in kinds(result.findings, "warning")
    shown = capsys.readouterr()
    assert shown.out == ""
    assert "dataset invalid: 19 files, 3 errors" in shown.err
    assert f"{bold.relative_to(project.bids)}: DAMAGED_VOLUME" in shown.err
    assert "Traceback" not in shown.err
    assert not project.check("--no-fail").ok
    assert capsys.readouterr().out.startswith("dataset invalid: 19 files, 3 errors")
    project.run("check", "--verdict", project.root / "work" / "check.json", expected=1)
    assert "the dataset has 3 errors" in capsys.readouterr().err


def test_many_errors_are_counted(project: Project, capsys: pytest.CaptureFixture[str]) -> None:
    shutil.rmtree(project.bids / "sub-01")
    for number in range(5):
        (project.bids / f"stray{number}.txt").write_text("of nobody")
    capsys.readouterr()
    result = project.check(expected=1)
    errors = [finding for finding in result.findings if finding.severity == "error"]
    assert len(errors) > 10
    told = capsys.readouterr().err
    assert f"\n  and {len(errors) - 10} more" in told or len(errors) == 11


def test_the_validators_words_reach_the_user(project: Project) -> None:
    (project.bids / "dataset_description.json").write_text('{"Name": "Phantoms"}')
    _, findings = validate(project.bids)
    (error,) = [finding for finding in findings if finding.severity == "error"]
    assert (error.code, error.location) == ("JSON_KEY_REQUIRED/BIDSVersion", "dataset_description.json")
    assert error.message
