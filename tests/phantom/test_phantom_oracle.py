"""The phantom read by independent programs: what they make of it must be the phantom's own truth.

This checks the generator, not the engine. dcm2niix reads the classic and mosaic series, nibabel the enhanced:
dcm2niix (v1.0.20260724) takes rescale and echo time of Siemens enhanced files that have no
private elements from memory it never set, so its answer there changes from run to run.
"""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import nibabel as nib
import numpy as np
import pytest
import truth
from nibabel.nicom.dicomwrappers import MultiframeWrapper
from pydicom import dcmread
from pydicom.dataset import Dataset

from pacs2bids.phantom.protocol import Form, PhantomSeries, PhantomStudy, studies

STUDIES = studies(small=True)
Converted = Callable[[PhantomStudy, PhantomSeries], list[Path]]


@pytest.fixture(scope="session")
def converted(small_phantom_folder: Path, tmp_path_factory: pytest.TempPathFactory) -> Converted:
    """The NIfTI files that dcm2niix makes of a series."""
    program = shutil.which("dcm2niix", path=str(Path(sys.executable).parent)) or shutil.which("dcm2niix")
    assert program, "dcm2niix is a dependency of the tests"
    folders = {}
    for number, study in enumerate(STUDIES, start=1):
        folder = folders[study.uid] = tmp_path_factory.mktemp(f"dcm2niix{number}")
        command = [program, "-b", "y", "-z", "n", "-w", "2", "-f", "%s_%d", "-o", str(folder)]
        subprocess.run(
            [*command, str(small_phantom_folder / f"study{number}")], check=True, capture_output=True
        )

    def files(study: PhantomStudy, series: PhantomSeries) -> list[Path]:
        return sorted(folders[study.uid].glob(f"{series.number}_*.nii"))

    return files


def of(*numbers: int, forms: tuple[Form, ...] = tuple(Form)) -> pytest.MarkDecorator:
    """The series with these numbers (all with pixels if none) of all studies."""
    cases = [
        pytest.param(study, series, id=f"{study.patient_id}-{study.session}-{series.number}-{series.form}")
        for study in STUDIES
        for series in truth.with_pixels(study)
        if (not numbers or series.number in numbers) and series.form in forms
    ]
    return pytest.mark.parametrize(("study", "series"), cases)


STACKED = (Form.CLASSIC, Form.MOSAIC)


def sidecar(path: Path) -> dict[str, object]:
    return json.loads(path.with_suffix(".json").read_text())


@of(forms=STACKED)
def test_every_voxel_is_where_the_phantom_says(
    converted: Converted, study: PhantomStudy, series: PhantomSeries
) -> None:
    files = converted(study, series)
    assert len(files) == len(series.stacks)
    for path in files:
        truth.assert_true(path, study, series, sidecar(path).get("EchoTime"))


@of(8, forms=STACKED)
def test_gradients(converted: Converted, study: PhantomStudy, series: PhantomSeries) -> None:
    (path,) = converted(study, series)
    affine = nib.load(path).affine
    vectors = truth.b_vectors_lps(np.loadtxt(path.with_suffix(".bvec")), affine)
    assert np.loadtxt(path.with_suffix(".bval")).tolist() == truth.true_b_values(series)
    # dcm2niix writes six digits
    np.testing.assert_allclose(vectors, truth.true_b_vectors_lps(series), atol=2e-5)


@of(5, 6, 7, 8, forms=STACKED)
def test_slice_times(converted: Converted, study: PhantomStudy, series: PhantomSeries) -> None:
    (path,) = converted(study, series)
    image = nib.load(path)
    stack = truth.stack_of(series, image.affine, image.shape)
    np.testing.assert_allclose(
        sidecar(path)["SliceTiming"], truth.slice_times_s(series, stack, image.affine), atol=1e-6
    )


@of(5, 6, 7, 8, forms=STACKED)
def test_phase_encoding(converted: Converted, study: PhantomStudy, series: PhantomSeries) -> None:
    (path,) = converted(study, series)
    says = sidecar(path)
    direction = truth.phase_encoding_lps(str(says["PhaseEncodingDirection"]), nib.load(path).affine)
    assert series.phase_encoding_lps is not None
    assert series.echoplanar is not None
    np.testing.assert_allclose(direction, series.phase_encoding_lps, atol=1e-5)
    assert says["EffectiveEchoSpacing"] == pytest.approx(series.echoplanar.effective_echo_spacing_s)
    assert says["TotalReadoutTime"] == pytest.approx(series.echoplanar.total_readout_time_s)
    assert says["ParallelReductionFactorInPlane"] == series.echoplanar.reduction_factor
    assert says.get("MultibandAccelerationFactor", 1) == series.echoplanar.multiband_factor


@of(forms=STACKED)
def test_sequence_parameters(converted: Converted, study: PhantomStudy, series: PhantomSeries) -> None:
    for path in converted(study, series):
        says = sidecar(path)
        assert says["RepetitionTime"] == pytest.approx(series.repetition_time_s)
        assert says["FlipAngle"] == series.flip_angle_deg
        assert says["EchoTime"] in [pytest.approx(te) for te in series.echo_times_s]
        assert says.get("InversionTime") == (
            series.inversion_time_s and pytest.approx(series.inversion_time_s)
        )


@of(forms=(Form.ENHANCED,))
def test_every_voxel_of_an_enhanced_series(
    small_phantom_folder: Path, tmp_path: Path, study: PhantomStudy, series: PhantomSeries
) -> None:
    folder = small_phantom_folder / f"study{STUDIES.index(study) + 1}"
    headers = [dcmread(path, defer_size=1024) for path in sorted(folder.iterdir())]
    mine = [header for header in headers if header.SeriesInstanceUID == series.uid]
    wrapped = [MultiframeWrapper(header) for header in sorted(mine, key=lambda one: one.InstanceNumber)]
    # nibabel's affine leads to the patient frame (LPS)
    affine = np.diag([-1.0, -1.0, 1.0, 1.0]) @ wrapped[0].affine
    data = np.stack([one.get_data() for one in wrapped], axis=-1).astype(np.float64)
    nib.save(nib.Nifti1Image(data, affine), tmp_path / "enhanced.nii")
    truth.assert_true(tmp_path / "enhanced.nii", study, series)


def test_gradients_of_an_enhanced_series(small_phantom_folder: Path) -> None:
    series = next(one for one in STUDIES[-1].series if one.form is Form.ENHANCED and one.diffusion)
    said = {}
    for path in (small_phantom_folder / f"study{len(STUDIES)}").iterdir():
        header = dcmread(path, stop_before_pixels=True)
        if header.SeriesInstanceUID != series.uid:
            continue
        groups = [frame.MRDiffusionSequence[0] for frame in header.PerFrameFunctionalGroupsSequence]
        said[int(header.InstanceNumber)] = {_weighting(group) for group in groups}
    weights = enumerate(series.diffusion, start=1)
    assert said == {number: {(one.b_value_s_per_mm2, one.b_vector_lps)} for number, one in weights}


def _weighting(group: Dataset) -> tuple[float, tuple[float, ...]]:
    if group.DiffusionDirectionality == "NONE":
        return group.DiffusionBValue, (0.0, 0.0, 0.0)
    direction = group.DiffusionGradientDirectionSequence[0].DiffusionGradientOrientation
    return group.DiffusionBValue, tuple(direction)
