"""Uneven slices, tilted gantries, pictures without a place, media: exact, or refused with a reason."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import nibabel
import numpy as np
import pydicom
import pytest
from pydicom.dataset import Dataset, FileMetaDataset
from pydicom.uid import ExplicitVRLittleEndian

from pacs2bids.__main__ import main
from pacs2bids.model import Reason
from pacs2bids.store import index_study, reconstruct
from synthetic import Series, indexed, save, uid

SECONDARY_CAPTURE = "1.2.840.10008.5.1.4.1.1.7"
MEDIA_DIRECTORY = "1.2.840.10008.1.3.10"


def write_at(folder: Path, distances_mm: Sequence[float], *, tilt_mm: float = 0.0) -> None:
    """Slices at these distances along z, each moved by ``tilt_mm`` along y for each mm."""
    for n, distance in enumerate(distances_mm):
        series = Series(slices=len(distances_mm), origin=(-10, -20 + tilt_mm * distance, 30 + distance))
        data = series.dataset(0)
        data.SOPInstanceUID = data.file_meta.MediaStorageSOPInstanceUID = uid("uneven", n)
        data.InstanceNumber = n + 1
        save(data, folder / f"{uid('name', n)}.dcm")


@pytest.mark.parametrize("tilt_mm", [0.0, 0.3])
@pytest.mark.parametrize(
    ("distances_mm", "stretches"),
    [
        # CT of the head: thin slices through the base of the skull
        ([0, 2.5, 5, 7.5, 12.5, 17.5, 22.5], [(4, 2.5), (3, 5)]),
        ([0, 8, 16, 18, 20, 22, 30, 38, 46], [(3, 8), (3, 2), (3, 8)]),
        # two slabs, parted by what is no multiple of their distance
        ([0, 3, 6, 40, 43, 46], [(3, 3), (3, 3)]),
    ],
)
def test_each_even_stretch_is_an_exact_volume(
    tmp_path: Path, distances_mm: list[float], stretches: list[tuple[int, float]], tilt_mm: float
) -> None:
    write_at(tmp_path / "in", distances_mm, tilt_mm=tilt_mm)
    index = indexed(tmp_path / "in")
    length = np.hypot(1, tilt_mm)
    found = [
        (stack.shape[2], float(np.linalg.norm(np.array(stack.affine_ras)[:3, 2]))) for stack in index.stacks
    ]
    assert [slices for slices, _ in found] == [slices for slices, _ in stretches]
    assert [step for _, step in found] == pytest.approx([step * length for _, step in stretches])
    assert all("no one even grid" in stack.warnings[0] for stack in index.stacks)
    assert not index.leftovers
    manifest = reconstruct(index, tmp_path / "in", tmp_path / "out", jobs=1, gzip="fast")
    for volume in manifest.volumes:
        image = nibabel.load(tmp_path / "out" / f"{volume.stack_id}.nii.gz")
        data = np.asanyarray(image.dataobj)
        # voxel values tell their place in the patient
        assert np.abs(data - Series().expected(image.affine, data.shape, 0)).max() <= 1


def test_each_stretch_is_described_by_its_own_first_slice(tmp_path: Path) -> None:
    """CT through the base of the skull: thinner slices, at another dose and another time."""
    write_at(tmp_path / "in", [0, 2, 4, 6, 11, 16, 21])
    for path in (tmp_path / "in").iterdir():
        data = pydicom.dcmread(path)
        upper = data.InstanceNumber > 4
        data.SliceThickness = 5 if upper else 2
        data.Exposure, data.AcquisitionTime = 100 + data.InstanceNumber, f"1030{data.InstanceNumber:02d}"
        save(data, path)
    fine, coarse = (stack.sidecar for stack in indexed(tmp_path / "in").stacks)
    names = ("SliceThickness", "XRayExposure", "AcquisitionTime")
    assert [fine[name] for name in names] == [2, 101, "10:30:01.000000"]
    assert [coarse[name] for name in names] == [5, 105, "10:30:05.000000"]


def test_slabs_shifted_in_their_plane_are_volumes_of_their_own(tmp_path: Path) -> None:
    for slab, origin in enumerate([(-10.0, -20.0, 30.0), (-10.0, 5.0, 42.0)]):
        series = Series(origin=origin)
        for slice_ in range(3):
            data = series.dataset(slice_)
            data.SOPInstanceUID = data.file_meta.MediaStorageSOPInstanceUID = uid("slab", slab, slice_)
            data.InstanceNumber = 1 + slice_ + 3 * slab
            save(data, tmp_path / f"{slab}{slice_}")
    index = indexed(tmp_path)
    assert [stack.shape for stack in index.stacks] == [(5, 4, 3, 1)] * 2
    # the first voxel in the file is that of the last row, 9 mm further along y; x and y turn from LPS to RAS
    assert [tuple(row[3] for row in stack.affine_ras[:3]) for stack in index.stacks] == [
        (10.0, 11.0, 30.0),
        (10.0, -14.0, 42.0),
    ]
    assert not index.leftovers


@pytest.mark.parametrize(
    ("distances_mm", "says"),
    [
        ([0, 2, 4, 6, 10, 12, 14, 16], "missing are 1 behind slice 4"),
        ([0, 2, 4, 6, 12, 14, 18, 20], "missing are 2 behind slice 4, 1 behind slice 6"),
        ([0, 2, 5, 6, 10, 11, 15, 19], "slices lie on no even grid"),
        ([0, 2, 4, 6, 8.5, 11], "slices lie on no even grid"),  # two slices show no distance for sure
    ],
)
def test_missing_slices_and_chaos_are_refused_and_named(
    tmp_path: Path, distances_mm: list[float], says: str
) -> None:
    write_at(tmp_path, distances_mm)
    index = indexed(tmp_path)
    assert not index.stacks
    (refused,) = index.refused
    assert says in refused.error
    assert [one.reason for one in index.leftovers] == [Reason.INCONSISTENT] * len(distances_mm)


@pytest.mark.parametrize("tilt_mm", [0.1, 0.3, -0.5, 1.5])
def test_a_tilted_gantry_is_an_even_grid_of_true_steps(tmp_path: Path, tilt_mm: float) -> None:
    distances = [2.5 * n for n in range(40)]
    write_at(tmp_path, distances[::-1], tilt_mm=tilt_mm)
    (stack,) = indexed(tmp_path).stacks
    assert stack.shear
    # from LPS to RAS the sign of y turns
    assert np.array(stack.affine_ras)[:3, 2] == pytest.approx([0, -2.5 * tilt_mm, 2.5])


def capture(number: int, **elements: object) -> Dataset:
    """A secondary capture as PS3.3 A.8 has it: no position, no orientation."""
    series = Series(name="capture", number=9)
    data = series.dataset(0, number)
    data.file_meta.MediaStorageSOPClassUID = data.SOPClassUID = SECONDARY_CAPTURE
    for keyword in ("ImagePositionPatient", "ImageOrientationPatient", "PixelSpacing", "SliceThickness"):
        delattr(data, keyword)
    data.InstanceNumber = 1 + number
    for keyword, value in elements.items():
        setattr(data, keyword, value)
    return data


def test_captures_are_volumes_without_a_place(tmp_path: Path) -> None:
    for number in range(3):
        save(capture(number), tmp_path / "in" / uid("name", number))
    index = indexed(tmp_path / "in")
    (stack,) = index.stacks
    assert (stack.shape, stack.placed) == ((5, 4, 3, 1), False)
    assert "no place in the patient" in stack.warnings[0]
    assert not stack.facts.is_localizer
    reconstruct(index, tmp_path / "in", tmp_path / "out", jobs=1, gzip="fast")
    image = nibabel.load(tmp_path / "out" / "009-1.nii.gz")
    assert (int(image.header["sform_code"]), int(image.header["qform_code"])) == (0, 0)
    # what a reader that finds no place assumes is what the index says
    assert np.allclose(image.affine, stack.affine_ras)
    data = np.asanyarray(image.dataobj)
    for number in range(3):
        stored = capture(number).pixel_array
        assert np.array_equal(data[..., number], stored[::-1].T)


def test_captures_of_several_kinds_are_apart(tmp_path: Path) -> None:
    kinds = (["DERIVED", "SECONDARY", "DOSE_INFO"], ["DERIVED", "SECONDARY", "RESULTS"])
    for number, kind in enumerate(kinds):
        save(capture(number, ImageType=kind), tmp_path / str(number))
    assert [stack.facts.image_type[2] for stack in indexed(tmp_path).stacks] == ["DOSE_INFO", "RESULTS"]


def test_captures_that_nothing_orders_are_left_over(tmp_path: Path) -> None:
    for number in range(2):
        data = capture(number, InstanceNumber=1, AcquisitionTime="103000")
        save(data, tmp_path / str(number))
    index = indexed(tmp_path)
    assert not index.stacks
    assert not index.refused
    assert [one.reason for one in index.leftovers] == [Reason.NO_GEOMETRY] * 2


def test_a_capture_among_captures_with_a_place_spoils_their_series(tmp_path: Path) -> None:
    for number in range(2):
        data = capture(number)
        data.ImagePositionPatient, data.ImageOrientationPatient = [0, 0, 3 * number], [1, 0, 0, 0, 1, 0]
        data.PixelSpacing = [2, 2]
        save(data, tmp_path / str(number))
    save(capture(2), tmp_path / "2")
    index = indexed(tmp_path)
    assert not index.stacks
    (refused,) = index.refused
    assert "has no ImagePositionPatient" in refused.error


def media_directory() -> Dataset:
    data = Dataset()
    data.file_meta = FileMetaDataset()
    data.file_meta.TransferSyntaxUID = ExplicitVRLittleEndian
    data.file_meta.MediaStorageSOPClassUID = MEDIA_DIRECTORY
    data.file_meta.MediaStorageSOPInstanceUID = uid("directory")
    data.FileSetID = "MEDIUM"
    record = Dataset()
    record.DirectoryRecordType = "PATIENT"
    data.DirectoryRecordSequence = [record]
    return data


@pytest.mark.parametrize("name", ["DICOMDIR", "DIRFILE"])
def test_the_directory_of_a_medium_is_no_damage(tmp_path: Path, name: str) -> None:
    Series().write(tmp_path / "in")
    save(media_directory(), tmp_path / "in" / name)
    assert main(["convert", str(tmp_path / "in"), str(tmp_path / "out")]) == 0
    lines = (tmp_path / "out" / "leftovers.tsv").read_text().splitlines()
    assert [line.split("\t")[:2] for line in lines[1:]] == [[name, "no-image"]]


def test_the_directory_of_a_medium_spoils_no_series_beside_it(tmp_path: Path) -> None:
    Series().write(tmp_path / "1.2.3")
    save(media_directory(), tmp_path / "1.2.3" / "DICOMDIR")
    index = index_study(tmp_path, uid("study"))
    assert len(index.stacks) == 1
    assert [one.reason for one in index.leftovers] == [Reason.NO_IMAGE]


@pytest.mark.parametrize("length", [0, 100])
def test_emptied_file_among_good_ones_is_damage(
    tmp_path: Path, length: int, capsys: pytest.CaptureFixture[str]
) -> None:
    """What a full disk leaves of the last slice; without it the rest would be a volume a slice short."""
    paths = Series(slices=4).write(tmp_path / "in")
    paths[-1].write_bytes(paths[-1].read_bytes()[:length])
    (tmp_path / "in/README").write_text("no image")
    assert main(["convert", str(tmp_path / "in"), str(tmp_path / "out")]) == 1
    message = capsys.readouterr().err
    assert f"{paths[-1].name}: is empty" in message
    assert "1 other file" in message


def test_linked_folders_are_searched_and_a_loop_ends(tmp_path: Path) -> None:
    Series(slices=3).write(tmp_path / "elsewhere")
    (tmp_path / "in").mkdir()
    (tmp_path / "in/study").symlink_to(tmp_path / "elsewhere")
    (tmp_path / "elsewhere/again").symlink_to(tmp_path / "in")
    assert indexed(tmp_path / "in").instances == 3


def test_files_of_a_volume_that_fails_are_listed(tmp_path: Path) -> None:
    paths = Series(slices=3).write(tmp_path / "in")
    paths[1].write_bytes(paths[1].read_bytes()[:-1])
    out = tmp_path / "out"
    assert main(["convert", str(tmp_path / "in"), str(out)]) == 1
    listed = (out / "leftovers.tsv").read_text()
    assert all(path.name in listed for path in paths)


def test_echo_in_a_name_counts_pictures_of_one_kind(tmp_path: Path) -> None:
    """A field map's echo time beside the one magnitude echo makes that no second echo (corpus enh)."""
    for number, (echo_time, kind) in enumerate([(1.5, "M"), (0.5, "P")]):
        for slice_ in range(3):
            data = Series(slices=3).dataset(slice_, number)
            data.EchoTime, data.ImageType = echo_time, ["ORIGINAL", "PRIMARY", kind, "ND"]
            save(data, tmp_path / "in" / f"{number}-{slice_}.dcm")
    assert main(["convert", str(tmp_path / "in"), str(tmp_path / "out")]) == 0
    names = {path.name.removesuffix(".nii.gz").partition("_")[2] for path in (tmp_path / "out").glob("*.gz")}
    assert names == {"series", "series_ph"}
