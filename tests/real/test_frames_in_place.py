"""``pacs2bids convert`` on real scanners' files against the files themselves."""

from __future__ import annotations

import functools
import json
from collections.abc import Callable, Collection
from pathlib import Path

import nibabel as nib
import numpy as np
import pytest
from agreement import STUDIES, Corpus, study_folder
from nibabel.arrayproxy import ArrayProxy
from stored_frames import StoredFrame, dicom_headers, stored_frames, volumes_of

from pacs2bids.__main__ import main

Converted = Callable[[str], tuple[Path, Path]]


@pytest.fixture(scope="module")
def converted(corpus: Corpus, tmp_path_factory: pytest.TempPathFactory) -> Converted:
    """``converted(study)``: its DICOM folder, and the folder of its volumes."""

    @functools.cache
    def run(study: str) -> tuple[Path, Path]:
        folder, out = study_folder(corpus, study), tmp_path_factory.mktemp("converted")
        assert main(["convert", str(folder), str(out), "-j", "2"]) == 0
        return folder, out

    return run


SAMPLE = 20  # frames a series
TO_RAS = np.diag([-1, -1, 1, 1])


@pytest.mark.parametrize("study", STUDIES)
@pytest.mark.filterwarnings("ignore:The DICOM readers are highly experimental")
def test_frames_lie_in_the_volumes_where_they_say(converted: Converted, study: str) -> None:
    folder, ours = converted(study)
    series = stored_frames(dicom_headers(folder))
    images = {_series_and_echo(path, series): nib.nifti1.load(path) for path in ours.rglob("*.nii.gz")}
    assert images.keys() == series.keys()
    for key, frames in series.items():
        volumes = volumes_of(frames)
        assert np.prod(images[key].shape[3:]) == max(volumes) + 1
        if not frames[0].mosaic:
            assert len(frames) == np.prod(images[key].shape[2:])
        held = np.asarray(images[key].dataobj.get_unscaled())
        for chosen in np.unique(np.linspace(0, len(frames) - 1, SAMPLE).round().astype(int)):
            _assert_holds(images[key], held, frames[chosen], volumes[chosen])


def _series_and_echo(path: Path, series: Collection[tuple[int, float | None]]) -> tuple[int, float | None]:
    """What a volume's sidecar says it is made of; the echo time in ms as the files have it."""
    sidecar = json.loads(path.with_name(path.name.replace(".nii.gz", ".json")).read_text())
    (found,) = [
        (number, echo_time_ms)
        for number, echo_time_ms in series
        if number == sidecar["SeriesNumber"]
        and (echo_time_ms is None or sidecar["EchoTime"] * 1000 == pytest.approx(echo_time_ms, abs=1e-4))
    ]
    return found


def _assert_holds(image: nib.nifti1.Nifti1Image, held: np.ndarray, frame: StoredFrame, volume: int) -> None:
    """Each stored value is at the voxel of its place in the world, and means what the header says."""
    stored, label = frame.stored(), f"{frame.path.name}, frame {frame.frame}"
    corners = np.indices(stored.shape[:3]).reshape(3, -1)
    places = TO_RAS @ frame.affine_lps @ np.vstack([corners, np.ones(corners.shape[1])])
    voxels = (np.linalg.inv(image.affine) @ places)[:3]
    nearest = voxels.round().astype(int)
    assert np.abs(voxels - nearest).max() < 0.01, label
    assert (nearest >= 0).all(), label
    found = held.reshape(*held.shape[:3], -1)[(*nearest, volume)]
    if held.dtype.names:
        found = np.stack([found[name] for name in held.dtype.names], axis=1)
    np.testing.assert_array_equal(found, stored.reshape(found.shape), err_msg=label)
    proxy = image.dataobj
    assert isinstance(proxy, ArrayProxy)
    assert (proxy.slope, proxy.inter) == pytest.approx(frame.scale, rel=1e-6), label
