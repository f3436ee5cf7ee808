"""The phantom, pulled by C-MOVE and run through the whole line by `snakemake`: the dataset says the truth."""

from __future__ import annotations

import gzip
import json
import math
import re
import subprocess
import sys
from collections import Counter
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import nibabel as nib
import numpy as np
import pytest
import truth
from numpy.typing import NDArray
from pydicom import dcmread

from pacs2bids.files import read_record, read_tsv
from pacs2bids.model import CheckResult, Reason, Receipt, StudyIndex
from pacs2bids.phantom.protocol import Form, Grid, PhantomSeries, PhantomStudy
from peers.line import KNOWN, Line, session_key

Floats = NDArray[np.float64]
LPS_OF_RAS = np.diag([-1.0, -1.0, 1.0])
HEADER_BYTES = 352  # of a NIfTI-1 file
REPORT = 99  # number of the series without pictures
LOCALIZER = 1

# the end of a file's name in the dataset -> number of its series; what heuristics/demo.py is for
NAMED = {
    "anat/{}_run-1_T1w": 2,
    "fmap/{}_run-1_magnitude1": 3,
    "fmap/{}_run-1_magnitude2": 3,
    "fmap/{}_run-1_phasediff": 4,
    "fmap/{}_dir-PA_run-1_epi": 5,
    "func/{}_task-rest_run-1_sbref": 6,
    "func/{}_task-rest_run-1_bold": 7,
    "dwi/{}_dir-AP_run-1_dwi": 8,
}


@dataclass(frozen=True, kw_only=True)
class Volume:
    """A volume that the line made: in the work folder or in the dataset."""

    path: Path

    @property
    def image(self) -> Any:
        return nib.load(self.path)

    @property
    def affine(self) -> Floats:
        return np.asarray(self.image.affine, dtype=np.float64)

    @property
    def sidecar(self) -> dict[str, Any]:
        says: dict[str, Any] = json.loads(self.beside(".json").read_text())
        return says

    def beside(self, extension: str) -> Path:
        return self.path.with_name(self.path.name.removesuffix(".nii.gz") + extension)


def volumes_of(line: Line, study: PhantomStudy, series: PhantomSeries) -> list[Volume]:
    """The volumes of a series, named or not."""
    folder = line.work / "studies" / study.uid
    index = read_record(folder / "index.json", StudyIndex)
    ids = [stack.stack_id for stack in index.stacks if stack.series_instance_uid == series.uid]
    return [Volume(path=folder / "volumes" / f"{stack}.nii.gz") for stack in ids]


def in_dataset(line: Line, study: PhantomStudy) -> dict[Path, int]:
    """Every image of a session that must be in the dataset, and the number of its series."""
    key = session_key(study)
    return {
        line.bids / key.replace("_", "/") / f"{name.format(key)}.nii.gz": number
        for name, number in NAMED.items()
    }


def cases(*, echoplanar: bool = False, diffusion: bool = False) -> pytest.MarkDecorator:
    """All series with pictures, or those of a kind."""
    return pytest.mark.parametrize(
        ("study", "series"),
        [
            pytest.param(study, series, id=f"{session_key(study)}-{series.number}-{series.form}")
            for study in KNOWN
            for series in truth.with_pixels(study)
            if (series.echoplanar or not echoplanar) and (series.diffusion or not diffusion)
        ],
    )


def test_these_studies_have_every_storage_form() -> None:
    """And mosaics whose slices are stored upwards and downwards."""
    assert {series.form for study in KNOWN for series in study.series} == set(Form)
    mosaics = [
        series.stacks[0].grid.normal_lps[2] > 0
        for study in KNOWN
        for series in study.series
        if series.form is Form.MOSAIC and series.diffusion
    ]
    assert sorted(mosaics) == [False, True]


# ------------------------------------------------------------------------------------------ where voxels are


@cases()
def test_every_voxel_of_every_volume(finished: Line, study: PhantomStudy, series: PhantomSeries) -> None:
    shown = []
    for volume in volumes_of(finished, study, series):
        echo_time = volume.sidecar.get("EchoTime")
        truth.assert_true(volume.path, study, series, echo_time)
        shown.append(truth.stack_of(series, volume.affine, volume.image.shape, echo_time))
    assert sorted(map(repr, shown)) == sorted(map(repr, series.stacks))  # each stack once


@pytest.mark.parametrize("study", KNOWN, ids=session_key)
def test_every_image_of_the_dataset_has_its_own_name(finished: Line, study: PhantomStudy) -> None:
    expected = in_dataset(finished, study)
    session = finished.bids / session_key(study).replace("_", "/")
    assert set(session.rglob("*.nii.gz")) == set(expected)
    for path, number in expected.items():
        series = truth.series_numbered(study, number)
        truth.assert_true(path, study, series, Volume(path=path).sidecar.get("EchoTime"))
    echo_times = [
        Volume(path=path).sidecar["EchoTime"]
        for path in sorted(expected)
        if re.search(r"_magnitude[12]\.", path.name)
    ]
    assert echo_times == list(truth.series_numbered(study, 3).echo_times_s)


@cases()
def test_both_transforms_of_a_header_agree(
    finished: Line, study: PhantomStudy, series: PhantomSeries
) -> None:
    for volume in volumes_of(finished, study, series):
        sform, sform_code = volume.image.header.get_sform(coded=True)
        qform, qform_code = volume.image.header.get_qform(coded=True)
        assert sform_code == qform_code == 1
        np.testing.assert_allclose(sform, qform, atol=1e-4)


# ---------------------------------------------------------------------------------------------- what they say


def directions_lps(bvec: Floats, affine: Floats) -> Floats:
    """FSL's b-vectors (3, n) to the patient frame (n, 3).

    FSL looks at every image as if it were stored radiologically (a negative determinant): where it is not,
    x runs the other way. Its vectors are along the axes of that image, whatever the voxels' size.
    """
    as_fsl_sees_it = np.array(affine[:3, :3])
    if np.linalg.det(as_fsl_sees_it) > 0:
        as_fsl_sees_it[:, 0] *= -1
    axes = [axis / math.hypot(*axis) for axis in as_fsl_sees_it.T]
    return np.array([LPS_OF_RAS @ sum(c * axis for c, axis in zip(one, axes, strict=True)) for one in bvec.T])


@cases(diffusion=True)
def test_gradients(finished: Line, study: PhantomStudy, series: PhantomSeries) -> None:
    (volume,) = volumes_of(finished, study, series)
    b_values = [float(word) for word in volume.beside(".bval").read_text().split()]
    assert b_values == [one.b_value_s_per_mm2 for one in series.diffusion]
    found = directions_lps(np.loadtxt(volume.beside(".bvec")), volume.affine)
    for direction, one in zip(found, series.diffusion, strict=True):
        if one.b_value_s_per_mm2 == 0:
            assert direction.tolist() == [0, 0, 0]
            continue
        assert np.linalg.norm(direction) == pytest.approx(1, abs=1e-5)
        # the sense counts: the angle to the vector, not to its line
        chord = np.linalg.norm(direction - np.array(one.b_vector_lps))
        assert math.degrees(2 * math.asin(chord / 2)) < 0.01


def slice_of(grid: Grid, position_lps: Floats) -> int:
    """The slice of the phantom that lies there."""
    away = [
        abs(np.dot(position_lps - np.array(grid.centre_lps(number)), grid.normal_lps))
        for number in range(grid.slices)
    ]
    assert min(away) < 1e-3
    return away.index(min(away))


@cases(echoplanar=True)
def test_slice_times(finished: Line, study: PhantomStudy, series: PhantomSeries) -> None:
    (volume,) = volumes_of(finished, study, series)
    if series.form is Form.ENHANCED:  # its header gives one time for the whole volume
        assert "SliceTiming" not in volume.sidecar
        return
    times = volume.sidecar["SliceTiming"]
    grid = series.stacks[0].grid
    assert len(times) == volume.image.shape[2] == grid.slices
    for k, seconds in enumerate(times):
        position = LPS_OF_RAS @ (volume.affine @ [0, 0, k, 1])[:3]
        assert seconds == pytest.approx(series.slice_times_s[slice_of(grid, position)], abs=1e-4)


@cases()
def test_phase_encoding(finished: Line, study: PhantomStudy, series: PhantomSeries) -> None:
    for volume in volumes_of(finished, study, series):
        says = volume.sidecar
        if series.phase_encoding_lps is None:
            assert "PhaseEncodingDirection" not in says
        elif series.form is Form.ENHANCED:  # its header tells the axis, not the polarity
            assert "PhaseEncodingDirection" not in says
            along = truth.phase_encoding_lps(says["PhaseEncodingAxis"], volume.affine)
            assert abs(np.dot(along, series.phase_encoding_lps)) == pytest.approx(1, abs=1e-6)
        else:
            along = truth.phase_encoding_lps(says["PhaseEncodingDirection"], volume.affine)
            np.testing.assert_allclose(along, series.phase_encoding_lps, atol=1e-5)


@cases()
def test_times_and_angles(finished: Line, study: PhantomStudy, series: PhantomSeries) -> None:
    for volume in volumes_of(finished, study, series):
        says = volume.sidecar
        # of two echoes the voxels say which one it is: test_every_voxel_of_every_volume
        stack = truth.stack_of(series, volume.affine, volume.image.shape, says["EchoTime"])
        assert says["RepetitionTime"] == pytest.approx(series.repetition_time_s, rel=1e-9)
        assert says["EchoTime"] == pytest.approx(stack.echo_time_s, rel=1e-9)
        assert says["FlipAngle"] == pytest.approx(series.flip_angle_deg, rel=1e-9)
        assert says.get("InversionTime") == series.inversion_time_s
        if stack.volumes > 1:
            assert volume.image.header.get_zooms()[3] == pytest.approx(series.repetition_time_s)


# -------------------------------------------------------------------------------------------- nothing is lost


@pytest.mark.parametrize("study", KNOWN, ids=session_key)
def test_every_instance_came_and_is_accounted_for(finished: Line, study: PhantomStudy) -> None:
    sent = [dcmread(path, stop_before_pixels=True) for path in (finished.pacs.folder / study.uid).iterdir()]
    series_of = {str(one.SOPInstanceUID): str(one.SeriesInstanceUID) for one in sent}
    assert len(series_of) == len(sent)

    receipt = read_record(finished.work / "studies" / study.uid / "receipt.json", Receipt)
    assert receipt.complete
    assert {uid: series for series, uids in receipt.announced.items() for uid in uids} == series_of
    assert {one.sop_instance_uid: one.series_instance_uid for one in receipt.received} == series_of

    index = read_record(finished.work / "studies" / study.uid / "index.json", StudyIndex)
    places = Counter(uid for stack in index.stacks for uid in set(stack.sop_instance_uids))
    places.update(str(one.sop_instance_uid) for one in index.leftovers)
    assert places == Counter(series_of.keys())  # each in one place
    assert index.instances == len(series_of)
    assert not index.refused
    (left,) = index.leftovers
    assert left.series_instance_uid == truth.series_numbered(study, REPORT).uid
    assert left.reason is Reason.NO_IMAGE


@pytest.mark.parametrize("study", KNOWN, ids=session_key)
def test_what_is_not_in_the_dataset_has_a_reason(finished: Line, study: PhantomStudy) -> None:
    rows = read_tsv(finished.work / "sessions" / session_key(study) / "plan.tsv")
    left_out = Counter(row["series_number"] for row in rows if row["bids_name"] == "n/a")
    assert left_out == {str(LOCALIZER): 3, str(REPORT): 1}
    reasons = {row["series_number"]: row["reason"] for row in rows if row["bids_name"] == "n/a"}
    assert "heuristic" in reasons[str(LOCALIZER)]
    assert "no-image" in reasons[str(REPORT)]
    page = (finished.folder / f"report_files/{session_key(study)}.html").read_text(encoding="utf-8")
    for series in study.series:
        assert series.description in page


def test_the_official_validator_finds_no_error(finished: Line, tmp_path: Path) -> None:
    """As the line says itself, and as the validator says to us."""
    result = read_record(finished.work / "check.json", CheckResult)
    assert result.ok
    assert not [finding for finding in result.findings if finding.severity == "error"]
    assert re.match(r"[0-9]+\.[0-9]+", result.validator_version)
    program, out = Path(sys.executable).with_name("bids-validator-deno"), tmp_path / "issues.json"
    done = subprocess.run(
        [program, finished.bids, "--format", "json", "-o", out], capture_output=True, check=False
    )
    assert done.returncode == 0, done.stdout
    said = json.loads(out.read_text())
    assert not [issue for issue in said["issues"]["issues"] if issue["severity"] == "error"]
    assert sorted(said["summary"]["subjects"]) == ["01", "02"]
    seen = [path for path in finished.bids.rglob("*") if path.is_file() and path.name != ".bidsignore"]
    assert said["summary"]["totalFiles"] == len(seen)


def test_nothing_in_the_dataset_names_a_person(finished: Line) -> None:
    secrets = [
        secret.encode()
        for study in KNOWN
        for secret in (study.patient_name, study.patient_id, f"{study.birth_date:%Y%m%d}")
    ]
    for path in (path for path in finished.bids.rglob("*") if path.is_file()):
        content = path.read_bytes()
        content = gzip.decompress(content)[:HEADER_BYTES] if path.suffix == ".gz" else content
        assert not [secret for secret in secrets if secret in content], path
