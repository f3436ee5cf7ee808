"""Cases that the corpus lacks, and where each is tested; those that had no better place are tested here.

The table is checked: what it names is there.
"""

from __future__ import annotations

import ast
import gzip
from dataclasses import replace
from itertools import chain
from pathlib import Path

import nibabel
import numpy as np
import pytest
from pydicom.dataset import Dataset
from pydicom.uid import CTImageStorage

from forms import CLASSIC, FORMS, TILED, Marked
from pacs2bids.model import Reason, StudyIndex
from pacs2bids.store import index_folder, reconstruct
from synthetic import uid

HERE = Path(__file__).parent

# case -> (file, tests)
CASES = {
    "missing slice of a single volume": (
        "test_odd_series.py",
        ["test_missing_slices_and_chaos_are_refused_and_named"],
    ),
    "missing slice in the middle or at the end of a run": (
        "test_interrupted.py",
        [
            "test_the_last_volume_lacks_its_last_slice",
            "test_a_volume_within_lacks_a_slice",
            "test_where_nothing_tells_the_volume_a_missing_slice_is_refused",
            "test_a_direction_that_lacks_a_slice_is_left_out",
        ],
    ),
    "missing volumes": (
        "test_series.py",
        [
            "test_fewer_volumes_than_announced_are_told",
            "test_the_last_volume_of_an_interrupted_scan_is_listed",
        ],
    ),
    "uneven distances": ("test_odd_series.py", ["test_each_even_stretch_is_an_exact_volume"]),
    "duplicate: same UID, same content": (
        "test_synthetic_cases.py",
        ["test_a_copy_is_listed_and_changes_nothing"],
    ),
    "duplicate: same UID, other content": (
        "test_engine.py",
        ["test_two_contents_under_one_uid_spoil_their_series"],
    ),
    "duplicate: same picture, other UID": (
        "test_synthetic_cases.py",
        [
            "test_a_picture_twice_under_two_uids_is_no_second_volume",
            "test_two_pictures_that_nothing_orders_are_refused",
        ],
    ),
    "tilted gantry": (
        "test_synthetic_cases.py",
        ["test_a_tilted_ct_lies_where_its_frames_say"],
    ),
    "tilted gantry, resampled on request": (
        "test_unshear.py",
        ["test_a_ramp_is_where_it_was", "test_the_new_grid_has_right_angles_and_holds_all_voxels"],
    ),
    "localizer": ("test_synthetic_cases.py", ["test_a_localizer_is_a_volume_each_orientation"]),
    "decubitus, prone, feet first": (
        "test_synthetic_cases.py",
        ["test_the_position_of_the_patient_moves_nothing"],
    ),
    "damaged, unreadable, cut short": (
        "test_engine.py",
        [
            "test_a_slice_that_cannot_be_used_spoils_its_series",
            "test_truncated_pixels_fail_that_stack_alone",
            "test_damaged_file_is_named_and_the_exit_code_tells",
        ],
    ),
    "compressed, deflated, lossy": (
        "test_transfer_syntaxes.py",
        [
            "test_lossless_syntaxes_give_every_value_back",
            "test_lossy_jpeg_stays_close",
            "test_lossy_jpeg_2000_stays_close",
            "test_frames_of_rle_and_deflated_files",
        ],
    ),
    "packed 12-bit": ("test_transfer_syntaxes.py", ["test_packed_samples_of_12_bits"]),
    "float pixels, parametric map": (
        "test_transfer_syntaxes.py",
        ["test_a_parametric_map_has_floats_and_its_mapping"],
    ),
    "PET": ("test_transfer_syntaxes.py", ["test_pet_with_a_rescale_of_each_slice"]),
    "SEG": ("test_transfer_syntaxes.py", ["test_segmentations_are_refused_and_said"]),
    "pictures without a place": (
        "test_odd_series.py",
        ["test_captures_are_volumes_without_a_place"],
    ),
    "no image": ("test_engine.py", ["test_objects_without_image_are_left_over_with_a_reason"]),
}


@pytest.mark.parametrize("case", CASES)
def test_the_table_is_true(case: str) -> None:
    file, tests = CASES[case]
    tree = ast.parse((HERE / file).read_text())
    there = {node.name for node in ast.walk(tree) if isinstance(node, ast.FunctionDef)}
    assert set(tests) <= there


# --------------------------------------------------------------------------------------------- conversion


def indexed(instances: list[Dataset], folder: Path) -> StudyIndex:
    folder.mkdir()
    for number, data in enumerate(instances):
        data.save_as(folder / f"{number:03d}", enforce_file_format=True)
    (index,) = index_folder(folder).indices
    return index


def converted(index: StudyIndex, folder: Path) -> dict[str, bytes]:
    """Every volume by its stack, as a file."""
    out = folder.with_name(f"{folder.name}-out")
    manifest = reconstruct(index, folder, out, jobs=1, gzip="fast")
    assert not manifest.failed
    return {one.stack_id: (out / f"{one.stack_id}.nii.gz").read_bytes() for one in manifest.volumes}


def assert_in_place(content: bytes, series: Marked) -> None:
    image = nibabel.Nifti1Image.from_bytes(gzip.decompress(content))
    numbers = np.asanyarray(image.dataobj).reshape(*image.shape[:3], series.volumes)
    assert numbers.size == series.columns * series.rows * series.slices * series.volumes
    places, volumes = series.where(numbers)
    there = np.moveaxis(np.indices(numbers.shape[:3]), 0, -1) @ image.affine[:3, :3].T + image.affine[:3, 3]
    assert np.abs(places - (there * [-1, -1, 1])[:, :, :, None]).max() < 1e-3
    assert (volumes == np.arange(series.volumes)).all()


# --------------------------------------------------------------------------------------------- duplicates


@pytest.mark.parametrize("form", FORMS)
def test_a_copy_is_listed_and_changes_nothing(tmp_path: Path, form: str) -> None:
    series = Marked(volumes=2)
    instances = FORMS[form](series)
    alone = converted(indexed(instances, tmp_path / "alone"), tmp_path / "alone")
    index = indexed([*instances, *instances[:2]], tmp_path / "copied")
    assert [one.reason for one in index.leftovers] == [Reason.DUPLICATE] * len(instances[:2])
    assert converted(index, tmp_path / "copied") == alone


@pytest.mark.parametrize("form", [*CLASSIC, *TILED])
@pytest.mark.parametrize("volumes", [1, 2])
def test_a_picture_twice_under_two_uids_is_no_second_volume(tmp_path: Path, form: str, volumes: int) -> None:
    """A picture that an archive has under two UIDs was acquired once; which of both is taken is the same."""
    series = Marked(volumes=volumes)
    index = indexed([*FORMS[form](series), under_another_uid(series, form)], tmp_path / "in")
    assert [one.reason for one in index.leftovers] == [Reason.DUPLICATE]
    ((_, content),) = converted(index, tmp_path / "in").items()
    assert_in_place(content, series)


@pytest.mark.parametrize("form", [*CLASSIC, *TILED])
@pytest.mark.parametrize("volumes", [1, 2])
def test_two_pictures_that_nothing_orders_are_refused(tmp_path: Path, form: str, volumes: int) -> None:
    """The same place and number, another UID and another content: no rule says which is right."""
    series = Marked(volumes=volumes)
    again = under_another_uid(series, form)
    again.PixelData = bytes(len(again.PixelData))
    index = indexed([*FORMS[form](series), again], tmp_path / "in")
    assert not index.stacks
    assert index.refused
    assert len(index.leftovers) == index.instances


def under_another_uid(series: Marked, form: str) -> Dataset:
    """The last instance of a series, but for its SOPInstanceUID."""
    again = FORMS[form](series)[-1]
    again.SOPInstanceUID = again.file_meta.MediaStorageSOPInstanceUID = uid("again")
    return again


# ------------------------------------------------------------------------------------------------- places


@pytest.mark.parametrize("tilt_deg", [-24.0, 8.5, 20.0])
@pytest.mark.parametrize("told", [None, 1.0, -1.0])
def test_a_tilted_ct_lies_where_its_frames_say(tmp_path: Path, tilt_deg: float, told: float | None) -> None:
    """GantryDetectorTilt (0018,1120) has no sign that all vendors share: positions decide."""
    tilt = np.radians(tilt_deg)
    series = Marked(
        slices=5,
        column_cosines=(0.0, float(np.cos(tilt)), float(-np.sin(tilt))),
        step=(0.0, 0.0, 5.0),
    )
    instances = CLASSIC["classic"](series)
    for data in instances:
        data.file_meta.MediaStorageSOPClassUID = data.SOPClassUID = CTImageStorage
        data.Modality = "CT"
        if told is not None:
            data.GantryDetectorTilt = told * tilt_deg
    index = indexed(instances, tmp_path / "in")
    ((_, content),) = converted(index, tmp_path / "in").items()
    assert index.stacks[0].shear
    assert_in_place(content, series)


def test_a_localizer_is_a_volume_each_orientation(tmp_path: Path) -> None:
    planes = {
        "axial": ((1.0, 0.0, 0.0), (0.0, 1.0, 0.0)),
        "coronal": ((1.0, 0.0, 0.0), (0.0, 0.0, -1.0)),
        "sagittal": ((0.0, 1.0, 0.0), (0.0, 0.0, -1.0)),
    }
    parts = [
        Marked(name=name, row_cosines=rows, column_cosines=columns)
        for name, (rows, columns) in planes.items()
    ]
    instances = list(chain.from_iterable(CLASSIC["classic"](part) for part in parts))
    for number, data in enumerate(instances, start=1):
        data.InstanceNumber, data.SeriesInstanceUID, data.SeriesDescription = number, uid("scout"), "scout"
    index = indexed(instances, tmp_path / "in")
    assert {stack.facts.orientation for stack in index.stacks} == set(planes)
    assert all(stack.facts.is_localizer for stack in index.stacks)
    files = converted(index, tmp_path / "in")
    for stack in index.stacks:
        (part,) = (part for part in parts if part.name == stack.facts.orientation)
        assert_in_place(files[stack.stack_id], part)


POSITIONS = ("HFS", "HFP", "HFDR", "HFDL", "FFS", "FFP", "FFDR", "FFDL")


@pytest.mark.parametrize("form", FORMS)
def test_the_position_of_the_patient_moves_nothing(tmp_path: Path, form: str) -> None:
    """ImagePositionPatient is of the patient already, however he lies in the scanner (PS3.3 C.7.6.2.1.1)."""
    series = replace(Marked(), row_cosines=(0.0, -1.0, 0.0), column_cosines=(1.0, 0.0, 0.0))
    found = set()
    for position in POSITIONS:
        instances = FORMS[form](series)
        for data in instances:
            data.PatientPosition = position
        index = indexed(instances, tmp_path / position)
        ((_, content),) = converted(index, tmp_path / position).items()
        assert_in_place(content, series)
        found.add(content)
    assert len(found) == 1
