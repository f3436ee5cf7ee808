"""A session with every kind of MR image that BIDS has a name for becomes a dataset without an error.

What the validator still recommends is listed here, each with the reason why no header could tell it.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
import yaml
from every import DIFFUSION_MAPS, every_datatype

from pacs2bids.__main__ import main
from pacs2bids.bids import BidsName, vocabulary
from pacs2bids.dialects.rules import ask
from pacs2bids.dialects.rules.starter import starter
from pacs2bids.files import read_record, read_tsv
from pacs2bids.model import StudyIndex
from pacs2bids.phantom.write import write_study
from pacs2bids.plan import plan_session

VALIDATOR = Path(sys.executable).with_name("bids-validator-deno")
MR = ("anat", "func", "dwi", "fmap", "perf", "mrs")

# names of BIDS that this session has no image for, and why
LEFT_OUT = {
    ("anat", "defacemask"): "made from an image, not acquired",
    ("anat", "PDT2"): "two echoes in one file: here each echo is a file of its own, PDw and T2w",
    ("anat", "T2star"): "deprecated by BIDS",
    ("anat", "FLASH"): "deprecated by BIDS",
    ("anat", "PD"): "deprecated by BIDS",
    ("func", "phase"): "deprecated by BIDS: part-phase",
    **{("mrs", suffix): "spectra are no images: left over" for suffix in ("svs", "mrsi", "unloc", "mrsref")},
}

# what BIDS requires and no header says: a person does, in the heuristic
BY_A_PERSON: dict[str, dict[str, Any]] = {
    "anat_inv-1_MP2RAGE": {"RepetitionTimeExcitation": 0.007},
    "anat_inv-2_MP2RAGE": {"RepetitionTimeExcitation": 0.007},
    "fmap_flip-1_inv-1_TB1SRGE": {"RepetitionTimeExcitation": 0.004},
    "fmap_flip-2_inv-2_TB1SRGE": {"RepetitionTimeExcitation": 0.004},
    "fmap_acq-tr1_TB1AFI": {"RepetitionTimeExcitation": 0.02},
    "fmap_acq-tr2_TB1AFI": {"RepetitionTimeExcitation": 0.1},
    "fmap_flip-1_TB1EPI": {"MixingTime": 0.03},
    "fmap_flip-2_TB1EPI": {"MixingTime": 0.03},
    "fmap_acq-field_fieldmap": {"Units": "Hz"},
    "perf_asl": {"BackgroundSuppression": False},
}

SITE = "tells which scanner it was and where it stands: kept out of datasets for privacy"
EXPERIMENT = "about the experiment, not the scan"
LABELLING = "of the labelling DICOM has a slab and a duration"
TRANSFER = "of a transfer pulse DICOM says that it was there"
PRIVATE = "enhanced images say it in private elements, if at all"

# what the validator recommends -> (names that may lack it, "" for all; why no header tells it)
REASONS: dict[str, tuple[str, str]] = {
    "DeviceSerialNumber": ("", SITE),
    "StationName": ("", SITE),
    "InstitutionName": ("", SITE),
    "InstitutionAddress": ("", SITE),
    "InstitutionalDepartmentName": ("", SITE),
    "TaskDescription": ("task-", EXPERIMENT),
    "Instructions": ("task-", EXPERIMENT),
    "CogAtlasID": ("task-", EXPERIMENT),
    "CogPOID": ("task-", EXPERIMENT),
    "MatrixCoilMode": ("", "no element of DICOM, and none that the vendors write, says it"),
    "PartialFourierDirection": ("", "all of k-space was acquired, so there is none"),
    "SpoilingType": ("", "classic images say that it was spoiled, not how"),
    "MTOffsetFrequency": ("_mt-on_", TRANSFER),
    "MTPulseBandwidth": ("_mt-on_", TRANSFER),
    "MTNumberOfPulses": ("_mt-on_", TRANSFER),
    "MTPulseShape": ("_mt-on_", TRANSFER),
    "MTPulseDuration": ("_mt-on_", TRANSFER),
    "AcquisitionVoxelSize": ("perf/", "before interpolation: DICOM counts lines, some of them not acquired"),
    "LabelingDistance": ("_asl", LABELLING),
    "LabelingLocationDescription": ("_asl", LABELLING),
    "LabelingPulseAverageB1": ("_asl", LABELLING),
    "LabelingPulseAverageGradient": ("_asl", LABELLING),
    "LabelingPulseDuration": ("_asl", LABELLING),
    "LabelingPulseFlipAngle": ("_asl", LABELLING),
    "LabelingPulseInterval": ("_asl", LABELLING),
    "LabelingPulseMaximumGradient": ("_asl", LABELLING),
    "PCASLType": ("_asl", LABELLING),
    "PhaseEncodingDirection": ("perf/", "an enhanced image says the axis, not the polarity"),
    "TotalReadoutTime": ("perf/", PRIVATE),
    "CoilCombinationMethod": ("perf/", PRIVATE),
    "DwellTime": ("perf/", PRIVATE),
    "NonlinearGradientCorrection": ("perf/", PRIVATE),
    "PulseSequenceDetails": ("perf/", PRIVATE),
    "ScanningSequence": ("perf/", PRIVATE),
    "SequenceVariant": ("perf/", PRIVATE),
    # of dataset files and tables, not of images
    "SUSPICIOUSLY_SHORT_EVENT_DESIGN": ("task-", "a person fills it in"),
    "StimulusPresentation": ("task-", EXPERIMENT),
    "HEDVersion": ("dataset_description", EXPERIMENT),
    "SourceDatasets": ("dataset_description", "a person says it in config.yaml"),
}


@dataclass(frozen=True, kw_only=True)
class Made:
    """The dataset of the session, its plan, and what the validator says of it."""

    bids: Path
    plan: Sequence[dict[str, str]]
    issues: Sequence[dict[str, Any]]
    index: StudyIndex

    def sidecar(self, name: str) -> dict[str, Any]:
        folder, _, words = name.partition("/")
        said: dict[str, Any] = json.loads(
            (self.bids / "sub-01" / folder / f"sub-01_{words}.json").read_text()
        )
        return said


def rules() -> dict[str, Any]:
    """One rule a series: its description is its name."""
    made = []
    for series in every_datatype().series:
        folder, _, name = series.description.partition("_")
        *entities, suffix = name.split("_")
        made.append(
            {
                "match": {"series_description": series.description},
                "datatype": folder,
                "suffix": suffix,
                "entities": dict(entity.split("-") for entity in entities),
                "sidecar": BY_A_PERSON.get(series.description, {}),
            }
        )
    return {"rules": made}


def steps(root: Path, study: Path, session: Path) -> list[list[str]]:
    bids, config = str(root / "bids"), str(root / "config.yaml")
    plan = [
        "plan",
        str(study),
        "--subject",
        "01",
        "--heuristic",
        str(root / "rules.yaml"),
        "--out",
        str(session),
    ]
    places = ["--session-dir", str(session), "--studies-dir", str(study.parent), "--bids", bids]
    top = ["--config", config, "--bids", bids, "--out", str(root / "work" / "dataset.json")]
    return [
        ["index", str(study)],
        ["reconstruct", str(study)],
        [*plan, "--events", "skeleton", "--computed-maps", "name"],
        ["place", *places],
        ["dataset", *top, str(session / "placed.json")],
    ]


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Made:
    if not VALIDATOR.exists():
        if os.environ.get("CI"):
            pytest.fail("bids-validator-deno is not installed")
        pytest.skip("bids-validator-deno is not installed")
    root = tmp_path_factory.mktemp("every-datatype")
    phantom = every_datatype()
    study, session = root / "work" / "studies" / phantom.uid, root / "work" / "sessions" / "sub-01"
    session.mkdir(parents=True)
    study.mkdir(parents=True)
    write_study(phantom, study / "dicom")
    (root / "rules.yaml").write_text(yaml.safe_dump(rules()))
    (root / "config.yaml").write_text(
        "sources: {files: {kind: folder, path: dicom}}\n"
        "studies: {table: studies.tsv}\n"
        "heuristic: rules.yaml\n"
        "dataset: {name: Every datatype, authors: [Author One, Author Two], license: CC0}\n"
    )
    for step in steps(root, study, session):
        assert main(step) == 0, step
    out = root / "issues.json"
    subprocess.run(
        [VALIDATOR, root / "bids", "--format", "json", "-o", out], capture_output=True, check=False
    )
    issues = json.loads(out.read_text())["issues"]["issues"]
    index = read_record(study / "index.json", StudyIndex)
    return Made(bids=root / "bids", plan=read_tsv(session / "plan.tsv"), issues=issues, index=index)


def test_every_name_of_mr_is_there_or_has_a_reason(made: Made) -> None:
    names = [BidsName.parse(row["bids_name"]) for row in made.plan if row["bids_name"] != "n/a"]
    there = {(name.datatype, name.suffix) for name in names}
    wanted = {kind for kind in vocabulary().files if kind[0] in MR}
    assert there | LEFT_OUT.keys() == wanted
    assert not there & LEFT_OUT.keys()
    files = {path.relative_to(made.bids).as_posix() for path in made.bids.rglob("*.nii.gz")}
    assert files == {f"{name.path}.nii.gz" for name in names}


def test_the_validator_finds_no_error(made: Made) -> None:
    assert [issue for issue in made.issues if issue["severity"] == "error"] == []


def test_what_it_recommends_no_header_could_tell(made: Made) -> None:
    unexplained = defaultdict(list)
    for issue in made.issues:
        kind = issue.get("subCode") or issue["code"]
        within, _ = REASONS.get(kind, ("nowhere", ""))
        if within not in issue["location"]:
            unexplained[kind].append(issue["location"])
    assert not unexplained


def test_no_reason_is_left_over(made: Made) -> None:
    """Once a header tells a field, its excuse goes."""
    assert {issue.get("subCode") or issue["code"] for issue in made.issues} == REASONS.keys()


def test_partial_fourier_has_no_direction_because_nothing_is_left_out(made: Made) -> None:
    says = [
        json.loads(path.read_text())
        for path in made.bids.rglob("*_*.json")
        if "sub-01_scans" not in path.name
    ]
    assert {one["PartialFourier"] for one in says if "PartialFourier" in one} == {1.0}


def test_what_the_images_say_of_each_other(made: Made) -> None:
    pair = [made.sidecar(f"fmap/dir-{label}_epi") for label in ("AP", "PA")]
    (label,) = {one["B0FieldIdentifier"] for one in pair}
    for name in (
        "func/task-rest_bold",
        "func/task-rest_sbref",
        "dwi/dir-AP_dwi",
        "func/task-nback_echo-2_bold",
    ):
        assert made.sidecar(name)["B0FieldSource"] == label
        folder, _, words = name.partition("/")
        assert f"bids::sub-01/{folder}/sub-01_{words}.nii.gz" in pair[0]["IntendedFor"]
    asl = made.sidecar("perf/asl")
    assert (asl["M0Type"], asl["TotalAcquiredPairs"]) == ("Separate", 2)
    assert (made.bids / "sub-01/perf/sub-01_aslcontext.tsv").read_text().split() == [
        "volume_type",
        *("control", "label") * 2,
    ]
    assert made.sidecar("perf/m0scan")["IntendedFor"] == ["bids::sub-01/perf/sub-01_asl.nii.gz"]
    assert made.sidecar("anat/inv-1_MP2RAGE")["NumberShots"] == 176
    assert made.sidecar("anat/flip-2_VFA")["RepetitionTimeExcitation"] == 0.015
    assert "bids::sub-01/anat/sub-01_flip-2_VFA.nii.gz" in made.sidecar("fmap/acq-famp_TB1TFL")["IntendedFor"]


def test_the_plan_says_why(made: Made) -> None:
    notes = {row["bids_name"].rpartition("sub-01_")[2]: row["notes"] for row in made.plan}
    assert "the same shims, the same voxels" in notes["task-rest_bold"]
    assert "2 control, 2 label (the header says it)" in notes["asl"]


# one series, two files
PAIRS = {"magnitude": {"magnitude", "magnitude1", "magnitude2"}, "phase": {"phase1", "phase2"}}


def test_suggested_rules_name_every_series_as_it_is_called(made: Made, tmp_path: Path) -> None:
    """The protocols of this session are called in BIDS' words."""
    path = tmp_path / "suggested.yaml"
    path.write_text(starter([made.index], schema=Path("rules.schema.json")))
    answers = ask(path, [made.index], subject="01", session="")
    plan = plan_session(subject="01", session="", indexes=[made.index], answers=answers)
    wrong = []
    for row in plan.rows:
        datatype, *_, suffix = row.series_description.split("_")
        if datatype == "dwi" and suffix in DIFFUSION_MAPS:
            assert row.reason == "computed by the scanner from diffusion images"
        elif row.stack_id:
            name = BidsName.parse(row.bids_name) if row.bids_name else None
            allowed = PAIRS.get(suffix, {suffix})
            if name is None or name.datatype != datatype or name.suffix not in allowed:
                wrong.append((row.series_description, row.bids_name or row.reason))
    assert wrong == []
    assert len(plan.rows) > 80
