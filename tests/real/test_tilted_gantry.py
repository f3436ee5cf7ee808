"""A CT of a tilted gantry (corpus ct, Philips S3010), resampled on request: the exact volume, elsewhere."""

from __future__ import annotations

from itertools import product
from pathlib import Path

import nibabel as nib
import numpy as np
from agreement import Corpus
from numpy.typing import NDArray

from pacs2bids.__main__ import main

SAMPLE = 20_000
Floats = NDArray[np.float64]


def interpolated(image: nib.nifti1.Nifti1Image, points_ras: Floats) -> Floats:
    """Values between the eight voxels about each point, (n, 3); NaN beyond the volume."""
    back = np.linalg.inv(image.affine)
    at = points_ras @ back[:3, :3].T + back[:3, 3]
    last = np.array(image.shape) - 1
    beyond = ((at < -1e-3) | (at > last + 1e-3)).any(axis=1)
    below = np.floor(at.clip(0, last)).astype(int).clip(0, last - 1)
    part, values = at - below, image.get_fdata()
    total = np.zeros(len(at))
    for corner in product((0, 1), repeat=3):
        weights = np.where(corner, part, 1 - part).prod(axis=1)
        total += weights * values[tuple((below + corner).T)]
    return np.where(beyond, np.nan, total)


def test_values_agree_with_the_exact_volume_by_world_position(corpus: Corpus, tmp_path: Path) -> None:
    folder = corpus("ct") / "Philips" / "S21610" / "S3010"
    assert main(["convert", str(folder), str(tmp_path), "--unshear"]) == 0
    ((moved, path),) = [
        (path, path.with_name(path.name.replace("_unsheared", "")))
        for path in tmp_path.glob("*_unsheared.nii.gz")
    ]
    image, exact = nib.nifti1.load(moved), nib.nifti1.load(path)
    assert (int(exact.header["qform_code"]), int(image.header["qform_code"])) == (0, 1)
    axes = image.affine[:3, :3] / np.linalg.norm(image.affine[:3, :3], axis=0)
    assert np.abs(axes.T @ axes - np.eye(3)).max() < 1e-6
    chance = np.random.default_rng(3010)
    indices = chance.integers(0, image.shape, (SAMPLE, 3))
    expected = interpolated(exact, indices @ image.affine[:3, :3].T + image.affine[:3, 3])
    values = image.get_fdata()[tuple(indices.T)]
    inside = np.isfinite(expected)
    assert 0.5 < inside.mean() < 1
    slope = abs(image.dataobj.slope)
    # half a step of rounding; the affine is of single precision, which counts where tissue meets air
    assert np.quantile(np.abs(values - expected)[inside], 0.999) <= 0.51 * slope
    assert np.abs(values - expected)[inside].max() <= 2 * slope
    assert set(values[~inside]) == {exact.get_fdata().min()}
    assert exact.get_fdata().min() <= -1000  # air or padding, in HU
