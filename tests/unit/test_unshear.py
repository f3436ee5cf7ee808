"""``convert --unshear``: a tilted gantry's slices on a grid of right angles, beside the exact volume."""

from __future__ import annotations

import json
from dataclasses import dataclass, replace
from pathlib import Path

import msgspec
import nibabel
import numpy as np
import pytest
from pydicom.dataset import Dataset

from pacs2bids.__main__ import main
from pacs2bids.model import Manifest
from pacs2bids.store import index_folder, reconstruct
from pacs2bids.unshear import Unshearing, resampled, smallest, unshearing_of
from synthetic import Series

EXACT, RESAMPLED = "001-1_series.nii.gz", "001-1_series_unsheared.nii.gz"


@dataclass(frozen=True, kw_only=True)
class Ramp(Series):
    """A CT whose stored values are linear in the place, with the usual rescale to Hounsfield units."""

    columns: int = 7
    rows: int = 9
    slices: int = 6
    slope: int = 1

    def dataset(self, slice_: int, volume: int = 0) -> Dataset:
        data = super().dataset(slice_, volume)
        data.RescaleSlope, data.RescaleIntercept = self.slope, -1024
        return data

    def hounsfield(self, points_ras: np.ndarray, volume: int) -> np.ndarray:
        """Not rounded."""
        x, y, z = np.moveaxis(points_ras * [-1, -1, 1], -1, 0)
        return np.asarray(self.slope * (7 * x + 31 * y + 101 * z + 1000 * volume) - 1024)


def tilted_plane(tilt_deg: float) -> tuple[float, float, float]:
    """Column cosines of slices that a gantry tilted about the patient's left-right axis makes."""
    tilt = np.radians(tilt_deg)
    return (0.0, float(np.cos(tilt)), float(-np.sin(tilt)))


# whole numbers of mm, where nothing is rounded; the two signs; both axes; a gantry as scanners have it
STEPS = {
    "whole": Ramp(step=(0.0, 1.0, 4.0)),
    "other sign": Ramp(step=(0.0, -2.0, 4.0)),
    "whole voxels": Ramp(step=(0.0, 3.0, 4.0)),
    "negative slope": Ramp(step=(0.0, 1.0, 4.0), slope=-2),
    "along both": Ramp(step=(-1.0, 2.0, 4.0)),
    "in time": Ramp(step=(0.0, 1.0, 4.0), volumes=3),
    "tilted forth": Ramp(column_cosines=tilted_plane(20.0), step=(0.0, 0.0, 5.0)),
    "tilted back": Ramp(column_cosines=tilted_plane(-24.0), step=(0.0, 0.0, 5.0)),
}


def converted(series: Series, folder: Path, *options: str) -> Path:
    series.write(folder / "in")
    out = folder / "out"
    assert main(["convert", str(folder / "in"), str(out), *options]) == 0
    return out


def world(affine: np.ndarray, shape: tuple[int, ...]) -> np.ndarray:
    """RAS of every voxel: (i, j, k, 3)."""
    indices = np.stack(np.meshgrid(*map(np.arange, shape[:3]), indexing="ij"), axis=-1)
    return np.asarray(indices @ affine[:3, :3].T + affine[:3, 3])


def inside(exact: nibabel.Nifti1Image, points: np.ndarray) -> np.ndarray:
    """Which points lie between the voxels of the exact volume."""
    back = np.linalg.inv(exact.affine)
    at = points @ back[:3, :3].T + back[:3, 3]
    return np.asarray(((at > -1e-4) & (at < np.array(exact.shape[:3]) - 1 + 1e-4)).all(axis=-1))


@pytest.mark.parametrize("case", STEPS)
def test_a_ramp_is_where_it_was(tmp_path: Path, case: str) -> None:
    """Linear interpolation keeps what is linear; stored and new values are rounded, by half each."""
    series = STEPS[case]
    out = converted(series, tmp_path, "--unshear")
    exact, image = nibabel.load(out / EXACT), nibabel.load(out / RESAMPLED)
    points = world(image.affine, image.shape)
    within = inside(exact, points)
    values = image.get_fdata().reshape(*image.shape[:3], -1)
    assert values.shape[3] == series.volumes
    lowest = exact.get_fdata().min()
    assert 0 not in (lowest, lowest + 1024)  # in HU, and as stored
    assert within.any(axis=(0, 1)).all()
    assert not within.all()
    for volume in range(series.volumes):
        expected = series.hounsfield(points, volume)
        apart = np.abs(values[..., volume] - expected)[within]
        assert apart.max() <= (1.01 if "tilted" in case else 1e-3)
        assert (values[..., volume][~within] == lowest).all()


@pytest.mark.parametrize("case", STEPS)
def test_the_new_grid_has_right_angles_and_holds_all_voxels(tmp_path: Path, case: str) -> None:
    out = converted(STEPS[case], tmp_path, "--unshear")
    exact, image = nibabel.load(out / EXACT), nibabel.load(out / RESAMPLED)
    assert [int(image.header[code]) for code in ("sform_code", "qform_code")] == [1, 1]
    assert image.get_qform() == pytest.approx(image.get_sform(), abs=1e-4)
    axes = image.affine[:3, :3]
    sizes = np.linalg.norm(axes, axis=0)
    assert axes.T @ axes == pytest.approx(np.diag(sizes**2), abs=1e-4)
    assert sizes[:2] == pytest.approx(np.linalg.norm(exact.affine[:3, :2], axis=0))
    assert np.linalg.det(axes) == pytest.approx(np.linalg.det(exact.affine[:3, :3]))  # a shear keeps volumes
    assert image.get_data_dtype() == exact.get_data_dtype()
    assert image.header.get_slope_inter() == exact.header.get_slope_inter()
    assert image.header.get_zooms()[3:] == exact.header.get_zooms()[3:]
    back = np.linalg.inv(image.affine)
    at = world(exact.affine, exact.shape) @ back[:3, :3].T + back[:3, 3]
    assert (at > -1e-3).all()
    assert (at < np.array(image.shape[:3]) - 1 + 1e-3).all()
    # and no voxel more than that takes
    assert (at.reshape(-1, 3).min(axis=0) < 1).all()
    assert (at.reshape(-1, 3).max(axis=0) > np.array(image.shape[:3]) - 2).all()


def test_the_exact_volume_is_the_same_with_and_without(tmp_path: Path) -> None:
    series = STEPS["whole"]
    plain = converted(series, tmp_path / "plain")
    assert not list(plain.glob("*unsheared*"))
    before = {path.name: path.read_bytes() for path in plain.glob("001-1*")}
    assert set(before) == {EXACT, "001-1_series.json"}
    out = converted(series, tmp_path / "both", "--unshear")
    assert {name: (out / name).read_bytes() for name in before} == before
    told = json.loads((out / RESAMPLED.replace("nii.gz", "json")).read_bytes())
    assert told.pop("Sources") == [EXACT]
    assert told.pop("Description").startswith("Resampled")
    assert told == json.loads(before["001-1_series.json"])


def test_the_request_comes_and_goes(tmp_path: Path) -> None:
    """Each run leaves what it was asked for, and the manifest lists it."""
    STEPS["whole"].write(tmp_path / "in")  # once: new files would be converted anew in any case
    out = tmp_path / "out"
    for options in ([], ["--unshear"], ["--unshear"], []):
        assert main(["convert", str(tmp_path / "in"), str(out), *options]) == 0
        written = {path.name for path in out.glob("001-1*")}
        assert (RESAMPLED in written) == bool(options)
        listed = json.loads((out / ".manifest.json").read_bytes())["volumes"][0]["files"]
        assert set(listed) == written


def test_slices_at_right_angles_get_no_further_file(tmp_path: Path) -> None:
    out = converted(Ramp(), tmp_path, "--unshear", "--gzip", "off")
    assert {path.name for path in out.glob("0*")} == {"001-1_series.nii", "001-1_series.json"}


def reconstructed(folder: Path, jobs: int) -> Manifest:
    (index,) = index_folder(folder / "in").indices
    out = folder / f"out-{jobs}"
    return reconstruct(index, folder / "in", out, jobs=jobs, gzip="fast", unshear=True)


def test_the_file_does_not_depend_on_the_number_of_threads(tmp_path: Path) -> None:
    replace(STEPS["in time"], columns=200, rows=150, slices=12).write(tmp_path / "in")  # several blocks
    assert reconstructed(tmp_path, 1) == reconstructed(tmp_path, 3)


def test_where_it_cannot_be_the_exact_volume_is_there_nevertheless(tmp_path: Path) -> None:
    """A grid beyond the format's 32767 voxels: a warning, and the exact volume as ever."""
    series = Ramp(slices=5, step=(0.0, 30_000.0, 4.0))
    series.write(tmp_path / "in")
    manifest = reconstructed(tmp_path, 1)
    assert not manifest.failed
    (volume,) = manifest.volumes
    assert set(volume.files) == {"001-1.nii.gz", "001-1.json"}
    assert "no unsheared file" in volume.warnings[-1]


def test_gradients_stand_beside_the_further_file(tmp_path: Path) -> None:
    """A shear within the planes turns no axis of the slices, and their normal is the third one now."""
    series = replace(STEPS["whole"], volumes=2)
    (tmp_path / "in").mkdir()
    for volume in range(2):
        for slice_ in range(series.slices):
            data = series.dataset(slice_, volume)
            data.DiffusionBValue = 1000.0 * volume
            data.DiffusionGradientOrientation = [0.0, 0.6, 0.8]
            data.save_as(tmp_path / "in" / f"{volume}-{slice_}", enforce_file_format=True)
    out = tmp_path / "out"
    assert main(["convert", str(tmp_path / "in"), str(out), "--unshear"]) == 0
    stem = out / RESAMPLED.removesuffix(".nii.gz")
    assert np.loadtxt(stem.with_suffix(".bval")) == pytest.approx([0, 1000])
    # LPS (0, 0.6, 0.8) is RAS (0, -0.6, 0.8); the array axes run along -x, +y, +z of RAS: left-handed, so
    # FSL reverses none of them
    assert np.loadtxt(stem.with_suffix(".bvec"))[:, 1] == pytest.approx([0, -0.6, 0.8], abs=1e-5)


def along_rows(folder: Path, *, columns: int, slices: int, shift: float) -> Unshearing:
    """Slices of one row, voxels of 1 mm, each slice ``shift`` mm further along the row."""
    Series().write(folder)
    (index,) = index_folder(folder).indices
    affine = ((1.0, 0.0, shift, 0.0), (0.0, 1.0, 0.0, 0.0), (0.0, 0.0, 1.0, 0.0), (0.0, 0.0, 0.0, 1.0))
    return unshearing_of(
        msgspec.structs.replace(index.stacks[0], shape=(columns, 1, slices, 1), affine_ras=affine)
    )


def test_colours_do_not_mix(tmp_path: Path) -> None:
    picture = np.zeros((1, 1, 3, 3), np.uint8)
    picture[0, 0, :, 0], picture[0, 0, :, 2] = (10, 20, 40), (200, 100, 0)
    to = along_rows(tmp_path, columns=3, slices=2, shift=0.5)
    (moved,) = resampled(picture, [1], to, 7)
    # slice 1 lies half a voxel further on: new voxel 1 is half-way from its voxel 0 to 1
    assert moved.tolist() == [[[7, 7, 7], [15, 0, 150], [30, 0, 50], [7, 7, 7]]]


def test_a_voxel_without_a_value_spreads_only_where_it_weighs(tmp_path: Path) -> None:
    values, to = np.array([[[1.0, np.nan, 3.0, 5.0]]]), along_rows(tmp_path, columns=4, slices=3, shift=0.5)
    (first,) = resampled(values, [0], to, -9.0)
    (half,) = resampled(values, [1], to, -9.0)
    (whole,) = resampled(values, [2], to, -9.0)
    assert first[0] == pytest.approx([1, np.nan, 3, 5, -9], nan_ok=True)
    assert half[0] == pytest.approx([-9, np.nan, np.nan, 4, -9], nan_ok=True)
    assert whole[0] == pytest.approx([-9, 1, np.nan, 3, 5], nan_ok=True)
    assert smallest(values, 1.0) == 1
    assert smallest(values, -1.0) == 5
