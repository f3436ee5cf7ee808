"""Interrupted runs, and volumes that lack a slice, in every storage form: complete volumes are kept.

What is left out is listed, and nothing is said of volumes that the files do not prove.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import nibabel
import numpy as np
import pytest
from pydicom.dataset import Dataset
from pydicom.sequence import Sequence

from forms import CLASSIC, ENHANCED, TILED, Marked
from pacs2bids.model import Reason, StudyIndex
from pacs2bids.store import index_folder, reconstruct
from synthetic import uid

SERIES = Marked(name="run", slices=3, volumes=3)

Form = Callable[[Marked], list[Dataset]]


def indexed(instances: list[Dataset], folder: Path) -> StudyIndex:
    folder.mkdir()
    for number, data in enumerate(instances):
        data.save_as(folder / uid("name", number), enforce_file_format=True)
    (index,) = index_folder(folder).indices
    return index


def volumes_of(index: StudyIndex, folder: Path, out: Path) -> list[int]:
    """Which volumes of the scan the one stack holds, in its order; each voxel must lie where it was."""
    (stack,) = index.stacks
    manifest = reconstruct(index, folder, out, jobs=1, gzip="fast")
    assert not manifest.failed
    image = nibabel.load(out / f"{stack.stack_id}.nii.gz")
    data = np.asanyarray(image.dataobj).reshape(stack.shape)
    places, volumes = SERIES.where(data)
    indices = np.stack(np.meshgrid(*map(np.arange, stack.shape[:3]), indexing="ij"), axis=-1)
    expected = (indices @ image.affine[:3, :3].T + image.affine[:3, 3]) * [-1, -1, 1]
    assert np.abs(places - expected[:, :, :, None]).max() < 1e-3
    kept = [int(volumes[0, 0, 0, n]) for n in range(stack.shape[3])]
    assert (volumes == np.array(kept)).all()
    return kept


def without(instances: list[Dataset], volume: int, slice_: int) -> list[Dataset]:
    """Without the instance, or the frame, of one plane; told by the number of its first voxel."""
    left = []
    for data in instances:
        pictures = data.pixel_array.reshape(-1, data.Rows, data.Columns)
        kept = [n for n, picture in enumerate(pictures) if not _is_plane(picture, volume, slice_)]
        if len(kept) == len(pictures):
            left.append(data)
        elif kept:
            frames = data.PerFrameFunctionalGroupsSequence
            data.PerFrameFunctionalGroupsSequence = Sequence([frames[n] for n in kept])
            data.NumberOfFrames = len(kept)
            data.PixelData = pictures[kept].astype("<i2").tobytes()
            left.append(data)
    return left


def _is_plane(picture: np.ndarray, volume: int, slice_: int) -> bool:
    return bool(picture[0, 0] == SERIES.stored(slice_, volume)[0, 0])


# where numbers begin anew and only times tell volumes apart, one more missing slice is one too many
ORDERED = [name for name in CLASSIC | ENHANCED if name != "classic, Canon"]


@pytest.mark.parametrize("name", ORDERED)
def test_the_last_volume_lacks_its_last_slice(name: str, tmp_path: Path) -> None:
    index = indexed(without((CLASSIC | ENHANCED)[name](SERIES), 2, 2), tmp_path / "in")
    assert volumes_of(index, tmp_path / "in", tmp_path / "out") == [0, 1]
    (stack,) = index.stacks
    assert stack.warnings == ("2 planes of incomplete volumes left out",)
    assert stack.facts.gaps == 0
    assert all(one.reason is Reason.INCOMPLETE for one in index.leftovers)


# what tells the volume of each plane, whatever is missing
LABELLED = ("classic, Siemens", "classic, Philips", "enhanced, Siemens", "enhanced, Philips", "enhanced, GE")


@pytest.mark.parametrize("name", LABELLED)
def test_a_volume_within_lacks_a_slice(name: str, tmp_path: Path) -> None:
    index = indexed(without((CLASSIC | ENHANCED)[name](SERIES), 1, 1), tmp_path / "in")
    assert volumes_of(index, tmp_path / "in", tmp_path / "out") == [0, 2]
    (stack,) = index.stacks
    assert "later ones come too early" in stack.warnings[1]
    assert stack.facts.gaps == 1


@pytest.mark.parametrize("name", ["classic", "classic, GE", "classic, Canon", "enhanced, Canon"])
def test_where_nothing_tells_the_volume_a_missing_slice_is_refused(name: str, tmp_path: Path) -> None:
    index = indexed(without((CLASSIC | ENHANCED)[name](SERIES), 1, 1), tmp_path / "in")
    assert not index.stacks
    assert len(index.refused) == 1
    assert all(one.reason is Reason.INCONSISTENT for one in index.leftovers)


@pytest.mark.parametrize("form", TILED.values(), ids=TILED)
def test_tiled_volumes_come_whole_or_not_at_all(form: Form, tmp_path: Path) -> None:
    index = indexed(form(SERIES)[:2], tmp_path / "in")
    assert volumes_of(index, tmp_path / "in", tmp_path / "out") == [0, 1]


def weighted(data: Dataset, volume: int) -> None:
    """Diffusion weighting as PS3.3 C.8.13.5.9 has it."""
    data.DiffusionBValue = 0.0 if volume == 0 else 1000.0
    data.DiffusionGradientOrientation = [0.0, float(volume == 1), float(volume == 2)]


@pytest.mark.parametrize("volume", [1, 2])
def test_a_direction_that_lacks_a_slice_is_left_out(volume: int, tmp_path: Path) -> None:
    instances = CLASSIC["classic"](SERIES)
    for number, data in enumerate(instances):
        weighted(data, number // SERIES.slices)
    index = indexed(without(instances, volume, 1), tmp_path / "in")
    kept = [one for one in range(3) if one != volume]
    assert volumes_of(index, tmp_path / "in", tmp_path / "out") == kept
    (stack,) = index.stacks
    assert stack.gradients is not None
    assert stack.gradients.b_vectors_lps == tuple((0.0, float(n == 1), float(n == 2)) for n in kept)
    assert [one.reason for one in index.leftovers] == [Reason.INCOMPLETE] * 2


def copied(form: Form, number: int) -> Dataset:
    """An instance under another UID."""
    data = form(SERIES)[number]
    data.SOPInstanceUID = data.file_meta.MediaStorageSOPInstanceUID = uid("copy", number)
    return data


@pytest.mark.parametrize("name", ["classic, Siemens", "classic, Philips", "UIH grid", "enhanced, Siemens"])
def test_one_picture_under_two_uids_is_left_out_once(name: str, tmp_path: Path) -> None:
    form = (CLASSIC | TILED | ENHANCED)[name]
    index = indexed([*form(SERIES), copied(form, 0), copied(form, 2)], tmp_path / "in")
    assert volumes_of(index, tmp_path / "in", tmp_path / "out") == [0, 1, 2]
    assert [one.reason for one in index.leftovers] == [Reason.DUPLICATE] * 2


def test_two_pictures_in_one_place_that_nothing_orders_are_refused(tmp_path: Path) -> None:
    form = CLASSIC["classic, Siemens"]
    other = copied(form, 0)
    other.PixelData = bytes(len(other.PixelData))
    index = indexed([*form(SERIES), other], tmp_path / "in")
    assert not index.stacks
    assert "two planes lie in one place and nothing orders them" in index.refused[0].error
