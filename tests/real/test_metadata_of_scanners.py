"""Metadata that needs names, on real scanners' sessions: field maps under other shims, labels of volumes."""

from __future__ import annotations

import json
import math
from collections import Counter
from collections.abc import Sequence
from pathlib import Path

import nibabel as nib
import numpy as np
import pytest
from agreement import Corpus
from pydicom import dcmread

from pacs2bids.__main__ import main
from pacs2bids.check import validate
from pacs2bids.files import read_record, read_tsv
from pacs2bids.model import StudyIndex

HEURISTIC = """
def infotodict(seqinfo):
    info = {}
    for s in seqinfo:
        for words, name in NAMES.items():
            if all(word in (*s.image_type, s.series_description) for word in words.split()):
                key = "{bids_subject_session_dir}/" + name.replace("/", "/{bids_subject_session_prefix}_")
                info.setdefault((key, ("nii.gz",), None), []).append(s.series_id)
                break
    return info
"""


def placed(root: Path, files: Sequence[Path], names: dict[str, str], more: str = "") -> Path:
    """The dataset of one study, named by words of its series."""
    uid = str(dcmread(files[0], stop_before_pixels=True).StudyInstanceUID)
    study, session, bids = root / "studies" / uid, root / "sessions" / "sub-01", root / "bids"
    if not study.exists():
        (study / "dicom").mkdir(parents=True)
        session.mkdir(parents=True)
        for number, file in enumerate(files):
            (study / "dicom" / f"{number}.dcm").symlink_to(file)
        assert main(["index", str(study)]) == 0
        assert main(["reconstruct", str(study)]) == 0
    heuristic = root / "h.py"
    heuristic.write_text(f"NAMES = {names!r}\n{more}\n{HEURISTIC}")
    plan = ["plan", str(study), "--subject", "01", "--heuristic", str(heuristic), "--out", str(session)]
    assert main(plan) == 0
    where = ["--session-dir", str(session), "--studies-dir", str(study.parent), "--bids", str(bids)]
    assert main(["place", *where]) == 0
    (bids / "dataset_description.json").write_text('{"Name": "x", "BIDSVersion": "1.10.0"}')
    (bids / "README.md").write_text("Of a test.\n")
    return bids


def test_a_field_map_under_other_shims(corpus: Corpus, tmp_path: Path) -> None:
    """XA30 adjusted between field map and BOLD: alShimCurrent[0] is 574, then 601 (dumped by hand)."""
    files = [*corpus("xa30").glob("[789]_*/*")]
    names = {
        "func-bold_task-fa_run-1": "func/task-fa_bold",
        "gre_field_mapping M": "fmap/magnitude",
        "gre_field_mapping P": "fmap/phasediff",
    }
    bids = placed(tmp_path, files, names) / "sub-01"
    says = {path.name: json.loads(path.read_text()) for path in bids.glob("*/*.json")}
    assert "B0FieldSource" not in says["sub-01_task-fa_bold.json"]
    assert "IntendedFor" not in says["sub-01_phasediff.json"]
    rows = read_tsv(tmp_path / "sessions" / "sub-01" / "plan.tsv")
    (notes,) = {row["notes"] for row in rows if row["bids_name"].endswith("_bold")}
    assert "its shim settings differ" in notes

    options = {"matching_parameters": "Force", "criterion": "First"}
    forced = placed(tmp_path, files, names, f"POPULATE_INTENDED_FOR_OPTS = {options}")
    for name in ("magnitude1", "magnitude2", "phasediff"):
        said = json.loads((forced / "sub-01" / "fmap" / f"sub-01_{name}.json").read_text())
        assert said["IntendedFor"] == ["bids::sub-01/func/sub-01_task-fa_bold.nii.gz"]
    version, findings = validate(forced)
    assert version
    assert [finding for finding in findings if finding.severity == "error"] == []


def test_labels_of_volumes_are_those_of_their_instances(corpus: Corpus, tmp_path: Path) -> None:
    """Philips's private label (2005,xx29) of "Philips MR Imaging DD 005", read here by pydicom alone."""
    files = [
        file for file in corpus("philips_asl").rglob("*") if file.is_file() and "402_" in file.parent.name
    ]
    bids = placed(tmp_path, files, {"SE": "perf/asl"})
    table = (bids / "sub-01" / "perf" / "sub-01_aslcontext.tsv").read_text().split()
    (study,) = (tmp_path / "studies").iterdir()
    (stack,) = read_record(study / "index.json", StudyIndex).stacks
    labels = {}
    for file in files:
        header = dcmread(file, stop_before_pixels=True)
        labels[header.SOPInstanceUID] = header.private_block(0x2005, "Philips MR Imaging DD 005")[0x29].value
    said = [set[str]() for _ in range(stack.shape[3])]
    for image, volume in zip(stack.placement.image, stack.placement.volume, strict=True):
        said[volume].add(labels[stack.sop_instance_uids[image]].lower())
    assert table == ["volume_type", *(kind for (kind,) in said)]
    assert Counter(table[1:]) == {"control": 8, "label": 8}


@pytest.mark.parametrize(("vendor", "units"), [("GE", "Hz"), ("Philips", "Hz")])
def test_units_of_measured_fields(corpus: Corpus, tmp_path: Path, vendor: str, units: str) -> None:
    files = [file for file in (corpus("fmap") / vendor).rglob("*") if file.is_file()]
    bids = placed(tmp_path, files, {"": "fmap/magnitude"})
    said = json.loads((bids / "sub-01" / "fmap" / "sub-01_fieldmap.json").read_text())
    assert said["Units"] == units
    assert said["B0FieldIdentifier"] == "fieldmap"


def test_precise_phase_is_in_radians(corpus: Corpus, tmp_path: Path) -> None:
    """A full turn: the values themselves tell the unit."""
    files = [*(corpus("table") / "Ph" / "1301_Dual-echo_iso").iterdir()]
    bids = placed(tmp_path, files, {"": "anat/MEGRE"})
    folder = bids / "sub-01" / "anat"
    for echo in (1, 2):
        image = nib.nifti1.load(folder / f"sub-01_echo-{echo}_part-phase_MEGRE.nii.gz")
        largest = float(np.abs(image.get_fdata()).max())
        assert largest == pytest.approx(math.pi, rel=1e-2)
        said = json.loads((folder / f"sub-01_echo-{echo}_part-phase_MEGRE.json").read_text())
        assert said["Units"] == "rad"
        magnitude = json.loads((folder / f"sub-01_echo-{echo}_part-mag_MEGRE.json").read_text())
        assert "Units" not in magnitude
