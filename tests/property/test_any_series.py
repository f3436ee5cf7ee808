"""Properties of the engine over synthetic series: any grid, in any storage form, in files of any name.

Every voxel holds a number of its own, so that where it ends is compared with where its header put it.
"""

from __future__ import annotations

import json
import random
import tempfile
from dataclasses import replace
from itertools import permutations, product
from pathlib import Path

import nibabel as nib
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pydicom.dataset import Dataset

from forms import CLASSIC, FORMS, Marked
from pacs2bids.store import index_folder, reconstruct

FLOAT32_MM = 1e-3  # an affine of 32-bit floats knows positions of a metre to less
# NIfTI keeps b, c, d of a quaternion in 32-bit floats: a^2 = 1 - b^2 - c^2 - d^2 is known to 2e-7, which
# near a half turn, where a is near 0, is an angle of up to a thousandth
QUATERNION_RAD = 1e-3
Rotation = tuple[tuple[float, float, float], tuple[float, float, float]]

# ------------------------------------------------------------------------------------------- strategies


def straight(order: tuple[int, ...], signs: tuple[int, ...]) -> Rotation:
    """Rows and columns along two axes of the patient: all that scanners call axial, coronal, sagittal."""
    rows, columns = np.eye(3)[list(order[:2])] * np.array(signs)[:, None]
    return tuple(map(float, rows)), tuple(map(float, columns))  # type: ignore[return-value]


def turned(axis: np.ndarray, angle_deg: float) -> Rotation:
    """Rows and columns turned from those of an axial picture (Rodrigues' formula)."""
    x, y, z = axis / np.linalg.norm(axis)
    angle = np.radians(angle_deg)
    across = np.array([[0, -z, y], [z, 0, -x], [-y, x, 0]])
    matrix = np.eye(3) + np.sin(angle) * across + (1 - np.cos(angle)) * across @ across
    rows, columns = (np.round(matrix[:, 0], 9), np.round(matrix[:, 1], 9))
    return tuple(map(float, rows)), tuple(map(float, columns))  # type: ignore[return-value]


STRAIGHT = [
    straight(order, signs) for order in permutations(range(3)) for signs in product((-1, 1), repeat=2)
]
# near a half turn a quaternion's real part is near zero, where the qform's fourth number is least certain
ANGLES = st.one_of(st.floats(0, 360), st.floats(179.99, 180.01), st.floats(-0.01, 0.01))
AXES = st.tuples(*[st.floats(-1, 1)] * 3).filter(lambda axis: np.linalg.norm(axis) > 0.1).map(np.array)
ORIENTATIONS = st.one_of(st.sampled_from(STRAIGHT), st.builds(turned, AXES, ANGLES))
MILLIMETRES = st.integers(30, 600).map(lambda tenths: tenths / 100)


@st.composite
def grids(draw: st.DrawFn, *, volumes: int = 3) -> Marked:
    """A small series anywhere, its slices stored along their normal or against it."""
    rows, columns = draw(ORIENTATIONS)
    spacing = draw(MILLIMETRES), draw(MILLIMETRES), draw(MILLIMETRES)
    against = draw(st.sampled_from([1, -1]))
    step = np.cross(rows, columns) * spacing[2] * against
    return Marked(
        columns=draw(st.integers(2, 6)),
        rows=draw(st.integers(2, 6)),
        slices=draw(st.integers(2, 7)),
        volumes=draw(st.integers(1, volumes)),
        row_cosines=rows,
        column_cosines=columns,
        spacing=spacing,
        step=tuple(map(float, step)),
        origin=tuple(draw(st.integers(-3000, 3000)) / 10 for _ in range(3)),
    )


# ------------------------------------------------------------------------------------------- conversion


def converted(instances: list[Dataset], seed: int) -> list[tuple[bytes, nib.nifti1.Nifti1Image, str]]:
    """Volumes of instances under arbitrary names in arbitrary folders: (file, image, sidecar)."""
    chance = random.Random(seed)
    with tempfile.TemporaryDirectory() as top:
        folder, out = Path(top, "in"), Path(top, "out")
        for number in chance.sample(range(len(instances)), len(instances)):
            path = folder / f"{chance.randrange(3)}" / f"{chance.random()}"
            path.parent.mkdir(parents=True, exist_ok=True)
            instances[number].save_as(path, enforce_file_format=True)
        found = index_folder(folder)
        assert not found.others + found.damaged
        (index,) = found.indices
        assert not index.leftovers + index.refused
        manifest = reconstruct(index, folder, out, jobs=1, gzip="fast")
        files = [out / f"{volume.stack_id}.nii.gz" for volume in manifest.volumes]
        images = [(path.read_bytes(), nib.nifti1.load(path)) for path in files]
        for _, image in images:
            image.get_fdata()  # kept when the folder goes
        sidecars = [path.with_name(path.name.replace(".nii.gz", ".json")).read_text() for path in files]
        return [(*both, text) for both, text in zip(images, sidecars, strict=True)]


def assert_in_place(image: nib.nifti1.Nifti1Image, series: Marked) -> None:
    """Every number is there once, at the position and in the volume that it stands for."""
    shape = (series.columns, series.rows, series.slices, series.volumes)
    numbers = image.get_fdata().reshape(shape).astype(int)
    assert np.array_equal(np.sort(numbers, axis=None), np.arange(numbers.size))
    positions, volumes = series.where(numbers)
    assert (volumes == np.arange(series.volumes)).all()
    indices = np.moveaxis(np.indices(shape[:3]), 0, -1)
    there = (indices @ image.affine[:3, :3].T + image.affine[:3, 3]) * [-1, -1, 1]
    away = np.linalg.norm(positions - there[:, :, :, None], axis=-1)
    assert away.max() < FLOAT32_MM


# ------------------------------------------------------------------------------------------- properties


@pytest.mark.parametrize("form", FORMS.values(), ids=FORMS.keys())
@settings(max_examples=25, deadline=None)
@given(series=grids(), seed=st.integers(0, 2**16))
def test_every_voxel_is_where_its_header_puts_it(form, series: Marked, seed: int) -> None:  # type: ignore[no-untyped-def]
    ((_, image, _),) = converted(form(series), seed)
    assert_in_place(image, series)
    assert (int(image.header["sform_code"]), int(image.header["qform_code"])) == (1, 1)
    spacing = np.linalg.norm(image.affine[:3, :3], axis=0).max()
    np.testing.assert_allclose(image.get_qform(), image.get_sform(), atol=QUATERNION_RAD * spacing)


@settings(max_examples=15, deadline=None)
@given(series=grids(), seed=st.integers(0, 2**16), other=st.integers(0, 2**16))
def test_names_folders_and_order_of_files_change_no_byte(series: Marked, seed: int, other: int) -> None:
    for form in FORMS.values():
        ((plain, _, sidecar),) = converted(form(series), seed)
        ((shuffled, _, again),) = converted(form(series), other)
        assert plain == shuffled
        assert json.loads(sidecar) == json.loads(again)


@settings(max_examples=15, deadline=None)
@given(series=grids(), seed=st.integers(0, 2**16))
def test_all_forms_give_one_volume(series: Marked, seed: int) -> None:
    images = [converted(form(series), seed)[0][1] for form in FORMS.values()]
    for image in images[1:]:
        np.testing.assert_array_equal(image.get_fdata(), images[0].get_fdata())
        np.testing.assert_allclose(image.affine, images[0].affine, atol=FLOAT32_MM)


@pytest.mark.parametrize("form", FORMS.values(), ids=FORMS.keys())
@settings(max_examples=10, deadline=None)
@given(series=grids(), seed=st.integers(0, 2**16))
def test_reversed_slices_keep_their_places(form, series: Marked, seed: int) -> None:  # type: ignore[no-untyped-def]
    """The same planes, numbered from the other end: the same file, but for the numbers in the voxels."""
    last = tuple(map(float, series.position(series.slices - 1)))
    step = tuple(map(float, -series.slice_step()))
    backwards = replace(series, origin=last, step=step)
    ((_, there, _),), ((_, back, _),) = converted(form(series), seed), converted(form(backwards), seed)
    assert_in_place(back, backwards)
    assert there.shape == back.shape
    np.testing.assert_allclose(there.affine, back.affine, atol=FLOAT32_MM)


@pytest.mark.parametrize("form", CLASSIC.values(), ids=CLASSIC.keys())
@settings(max_examples=10, deadline=None)
@given(
    series=grids(),
    along_row=st.floats(-0.6, 0.6),
    along_column=st.floats(-0.6, 0.6),
    seed=st.integers(0, 2**16),
)
def test_tilted_slices_lie_where_they_were(  # type: ignore[no-untyped-def]
    form, series: Marked, along_row: float, along_column: float, seed: int
) -> None:
    """A gantry's tilt is a step that is not along the normal: the affine shears, nothing is resampled."""
    shift = along_row * np.array(series.row_cosines) + along_column * np.array(series.column_cosines)
    tilted = replace(series, step=tuple(map(float, np.round(series.slice_step() + shift, 6))))
    ((_, image, _),) = converted(form(tilted), seed)
    assert_in_place(image, tilted)
