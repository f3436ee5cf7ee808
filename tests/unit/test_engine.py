"""The engine on series whose voxels say where they are: any orientation, order and number of volumes."""

from __future__ import annotations

import os
import random
from collections.abc import Callable
from pathlib import Path

import nibabel
import numpy as np
import pydicom
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pydicom.dataset import Dataset

from pacs2bids.__main__ import main
from pacs2bids.model import Reason, StudyIndex
from pacs2bids.store import index_folder, reconstruct
from synthetic import Series


def only(folder: Path) -> StudyIndex:
    found = index_folder(folder)
    assert not found.others
    assert not found.damaged
    (index,) = found.indices
    return index


def convert(folder: Path, out: Path) -> list[nibabel.Nifti1Image]:
    index = only(folder)
    manifest = reconstruct(index, folder, out, jobs=1, gzip="fast")
    assert not manifest.failed
    return [nibabel.load(out / f"{volume.stack_id}.nii.gz") for volume in manifest.volumes]


def assert_exact(image: nibabel.Nifti1Image, series: Series) -> None:
    data = np.asanyarray(image.dataobj)
    data = data[..., None] if data.ndim == 3 else data
    assert data.shape == (series.columns, series.rows, series.slices, series.volumes)
    for volume in range(series.volumes):
        assert np.array_equal(data[..., volume], series.expected(image.affine, data.shape, volume))


def rotation(rng: np.random.Generator) -> np.ndarray:
    q, r = np.linalg.qr(rng.normal(size=(3, 3)))
    return q * np.sign(np.diag(r))


@settings(max_examples=40)
@given(
    seed=st.integers(0, 2**31),
    slices=st.integers(2, 5),
    volumes=st.integers(1, 3),
    reverse=st.booleans(),
)
def test_any_orientation_order_and_file_order(
    tmp_path_factory: pytest.TempPathFactory, seed: int, slices: int, volumes: int, reverse: bool
) -> None:
    folder = tmp_path_factory.mktemp("series")
    rng = np.random.default_rng(seed)
    axes = rotation(rng)
    spacing = tuple(float(value) for value in rng.uniform(0.5, 4, 3))
    normal = np.cross(axes[0], axes[1]) * spacing[2]
    series = Series(
        slices=slices,
        volumes=volumes,
        row_cosines=tuple(map(float, axes[0])),
        column_cosines=tuple(map(float, axes[1])),
        step=tuple(map(float, -normal if reverse else normal)),
        spacing=spacing,
        origin=tuple(float(value) for value in rng.uniform(-40, 40, 3)),
    )
    for number, path in enumerate(sorted(series.write(folder), key=lambda _: random.Random(seed).random())):
        path.rename(folder / f"{number:04d}")
    (image,) = convert(folder, folder.parent / f"{folder.name}-out")
    data = np.asanyarray(image.dataobj).reshape(series.columns, series.rows, slices, volumes)
    for volume in range(volumes):
        # positions pass through decimal text and float32 affines: values of up to 101 per mm stay within 1
        expected = series.expected(image.affine, data.shape, volume)
        assert np.abs(data[..., volume].astype(int) - expected).max() <= 1


def test_shuffled_names_change_no_byte(tmp_path: Path) -> None:
    series = Series(volumes=3)
    series.write(tmp_path / "plain")
    paths = series.write(tmp_path / "shuffled")
    names = [f"{n:04d}" for n in range(len(paths))]
    random.Random(1).shuffle(names)
    for path, name in zip(paths, names, strict=True):
        sub = path.parent / name[-1]
        sub.mkdir(exist_ok=True)
        path.rename(sub / name)
    for name in ("plain", "shuffled"):
        convert(tmp_path / name, tmp_path / f"{name}-out")
    files = sorted(path.name for path in (tmp_path / "plain-out").glob("[!.]*"))
    assert files == ["001-1.json", "001-1.nii.gz"]
    for name in files:
        plain, shuffled = tmp_path / "plain-out" / name, tmp_path / "shuffled-out" / name
        assert plain.read_bytes() == shuffled.read_bytes()


def test_repeated_run_keeps_files(tmp_path: Path) -> None:
    Series().write(tmp_path / "in")
    convert(tmp_path / "in", tmp_path / "out")
    before = (tmp_path / "out" / "001-1.nii.gz").stat()
    convert(tmp_path / "in", tmp_path / "out")
    assert os.path.samestat((tmp_path / "out" / "001-1.nii.gz").stat(), before)
    one = next((tmp_path / "in").iterdir())
    os.utime(one, ns=(1, 1))
    convert(tmp_path / "in", tmp_path / "out")
    assert not os.path.samestat((tmp_path / "out" / "001-1.nii.gz").stat(), before)


def test_a_damaged_volume_is_made_again(tmp_path: Path) -> None:
    series = Series()
    series.write(tmp_path / "in")
    convert(tmp_path / "in", tmp_path / "out")
    volume = tmp_path / "out" / "001-1.nii.gz"
    volume.write_bytes(volume.read_bytes()[:-20])
    (image,) = convert(tmp_path / "in", tmp_path / "out")
    assert_exact(image, series)


def test_header_and_sidecar(tmp_path: Path) -> None:
    series = Series(volumes=2)
    series.write(tmp_path / "in")
    (image,) = convert(tmp_path / "in", tmp_path / "out")
    assert_exact(image, series)
    header = image.header
    assert (int(header["sform_code"]), int(header["qform_code"])) == (1, 1)
    assert np.allclose(image.get_sform(), image.get_qform(), atol=1e-4)
    assert header.get_zooms() == (2.0, 3.0, 4.0, 2.0)
    assert header.get_xyzt_units() == ("mm", "sec")


def test_missing_slice_is_refused_and_named(tmp_path: Path) -> None:
    paths = Series(slices=5).write(tmp_path)
    paths[2].unlink()
    index = only(tmp_path)
    assert not index.stacks
    (refused,) = index.refused
    assert "no even grid" in refused.error
    assert "series 001" in refused.error
    assert [leftover.reason for leftover in index.leftovers] == [Reason.INCONSISTENT] * 4
    assert index.instances == 4


@pytest.mark.parametrize(
    "missing",
    [
        [(1, 1)],  # (volume, slice)
        [(1, 0)],
        [(0, 3)],
        [(0, 0), (1, 1), (2, 2), (0, 3)],  # as many of each slice: counting alone would notice nothing
        [(0, 0), (0, 1), (1, 2), (1, 3)],
    ],
)
def test_missing_slices_are_refused_where_nothing_tells_their_volume(
    tmp_path: Path, missing: list[tuple[int, int]]
) -> None:
    series = Series(slices=4, volumes=3)
    paths = series.write(tmp_path)
    for volume, slice_ in missing:
        paths[4 * volume + slice_].unlink()
    index = only(tmp_path)
    assert not index.stacks
    assert "nothing tells" in index.refused[0].error


def write_with(series: Series, folder: Path, change: Callable[[Dataset, int, int], None]) -> None:
    """Write a series with each instance changed by ``change(data, volume, slice)``."""
    folder.mkdir()
    rng = random.Random(3)
    for volume in range(series.volumes):
        for slice_ in range(series.slices):
            data = series.dataset(slice_, volume)
            change(data, volume, slice_)
            data.save_as(folder / f"{rng.random()}", enforce_file_format=True)


def test_temporal_positions_that_count_planes_tell_no_volumes(tmp_path: Path) -> None:
    def counted(data: Dataset, volume: int, slice_: int) -> None:
        data.TemporalPositionIdentifier = 1 + slice_ + 4 * volume

    series = Series(slices=4, volumes=3)
    write_with(series, tmp_path / "in", counted)
    (stack,) = only(tmp_path / "in").stacks
    assert stack.shape[2:] == (4, 3)


def weighted(*, directed: bool) -> Callable[[Dataset, int, int], None]:
    """Volume 0 with b = 0, 1 the trace of b = 1000; volume 2 has b = 1000 along x if ``directed``."""

    def change(data: Dataset, volume: int, slice_: int) -> None:
        del slice_
        data.DiffusionBValue = 1000.0 if volume else 0.0
        data.DiffusionDirectionality = ("NONE", "ISOTROPIC", "DIRECTIONAL")[volume]
        if volume == 2 and directed:
            data.DiffusionGradientOrientation = [1.0, 0.0, 0.0]

    return change


def test_trace_stays_with_its_unweighted_volume_where_nothing_has_a_direction(tmp_path: Path) -> None:
    write_with(Series(slices=4, volumes=2), tmp_path / "in", weighted(directed=False))
    (stack,) = only(tmp_path / "in").stacks
    assert stack.shape[3] == 2
    assert stack.gradients is not None
    assert stack.gradients.b_values_s_per_mm2 == (0, 1000)
    assert stack.gradients.b_vectors_lps == ((0, 0, 0), (0, 0, 0))


def test_trace_beside_directions_is_a_map_of_its_own(tmp_path: Path) -> None:
    write_with(Series(slices=4, volumes=3), tmp_path / "in", weighted(directed=True))
    first, second = sorted(only(tmp_path / "in").stacks, key=lambda stack: stack.shape[3])
    assert (first.shape[3], first.gradients) == (1, None)
    assert second.gradients is not None
    assert second.gradients.b_values_s_per_mm2 == (0, 1000)
    assert second.gradients.b_vectors_lps == ((0, 0, 0), (1, 0, 0))


def numbered_anew(data: Dataset, volume: int, slice_: int) -> None:
    data.InstanceNumber, data.AcquisitionNumber = slice_ + 1, volume + 1


def numbered_anew_but_timed(data: Dataset, volume: int, slice_: int) -> None:
    data.InstanceNumber, data.AcquisitionTime = slice_ + 1, f"10{volume:02d}{slice_:02d}"


def without_numbers(data: Dataset, volume: int, slice_: int) -> None:
    del data.InstanceNumber
    data.AcquisitionTime = f"10{volume:02d}{slice_:02d}"


def slice_by_slice(data: Dataset, volume: int, slice_: int) -> None:
    data.InstanceNumber = 1 + volume + 3 * slice_


def in_other_order_each_volume(data: Dataset, volume: int, slice_: int) -> None:
    data.InstanceNumber = 1 + 4 * volume + (slice_ * (1 + 2 * (volume % 2))) % 4


@pytest.mark.parametrize(
    "change",
    [numbered_anew, numbered_anew_but_timed, without_numbers, slice_by_slice, in_other_order_each_volume],
)
def test_volumes_are_told_apart_however_instances_are_numbered(
    tmp_path: Path, change: Callable[[Dataset, int, int], None]
) -> None:
    series = Series(slices=4, volumes=3)
    write_with(series, tmp_path / "in", change)
    (image,) = convert(tmp_path / "in", tmp_path / "out")
    assert_exact(image, series)


def test_planes_that_nothing_orders_are_refused(tmp_path: Path) -> None:
    def all_alike(data: Dataset, _volume: int, _slice: int) -> None:
        data.InstanceNumber, data.AcquisitionTime = 1, "100000"

    write_with(Series(slices=4, volumes=3), tmp_path / "in", all_alike)
    index = only(tmp_path / "in")
    assert not index.stacks
    assert "nothing orders them" in index.refused[0].error


def test_noise_in_the_last_digits_splits_nothing(tmp_path: Path) -> None:
    def noisy(data: Dataset, _volume: int, slice_: int) -> None:
        noise = 1e-7 * (-1) ** slice_
        data.ImageOrientationPatient = [1.0, 0.001 + noise, 0.0, -(0.001 + noise), 1.0, 0.0]
        data.PixelSpacing = [3.00005 + noise, 2.00005 + noise]
        data.EchoTime = 30.0005 + noise

    write_with(Series(slices=4), tmp_path / "in", noisy)
    (stack,) = only(tmp_path / "in").stacks
    assert stack.shape == (5, 4, 4, 1)


def test_one_odd_slice_is_pointed_out(tmp_path: Path) -> None:
    def odd(data: Dataset, _volume: int, slice_: int) -> None:
        data.EchoTime = 31.0 if slice_ == 1 else 30.0

    write_with(Series(slices=3), tmp_path / "in", odd)
    warnings = [warning for stack in only(tmp_path / "in").stacks for warning in stack.warnings]
    assert len(warnings) == 2
    assert all("one volume" in warning and "EchoTime" in warning for warning in warnings)


def without_position(data: Dataset) -> None:
    del data.ImagePositionPatient


def with_position_nan(data: Dataset) -> None:
    data["ImagePositionPatient"]._value = None  # type: ignore[attr-defined]


def without_rows(data: Dataset) -> None:
    del data.Rows


def without_pixels(data: Dataset) -> None:
    del data.PixelData


def of_seven_frames(data: Dataset) -> None:
    data.NumberOfFrames = 7


def of_no_rows(data: Dataset) -> None:
    data.Rows = 0


@pytest.mark.parametrize(
    "harm", [without_position, with_position_nan, without_rows, without_pixels, of_seven_frames, of_no_rows]
)
@pytest.mark.parametrize("place", [0, 3])
def test_a_slice_that_cannot_be_used_spoils_its_series(
    tmp_path: Path, harm: Callable[[Dataset], None], place: int
) -> None:
    def change(data: Dataset, _volume: int, slice_: int) -> None:
        if slice_ == place:
            harm(data)

    write_with(Series(slices=4), tmp_path / "in", change)
    index = only(tmp_path / "in")
    assert not index.stacks, "an end slice less would go unnoticed"
    assert len(index.leftovers) == index.instances == 4
    assert index.refused


def test_two_contents_under_one_uid_spoil_their_series(tmp_path: Path) -> None:
    paths = Series().write(tmp_path)
    data = Series().dataset(0)
    data.PixelData = bytes(len(data.PixelData))
    data.save_as(tmp_path / "zz", enforce_file_format=True)
    index = only(tmp_path)
    assert not index.stacks
    assert "another content" in index.refused[0].error
    assert len(index.leftovers) == len(paths) + 1


@pytest.mark.parametrize("first", ["one", "two"])
def test_one_uid_for_two_pictures_of_two_series_spoils_both(tmp_path: Path, first: str) -> None:
    """Whichever is read first: nothing tells which of them is right."""
    Series(name="one", number=1).write(tmp_path / ("a" if first == "one" else "b"))
    Series(name="two", number=2).write(tmp_path / ("b" if first == "one" else "a"))
    Series(name="three", number=3).write(tmp_path / "c")
    data = Series(name="two", number=2).dataset(1)
    (path,) = (
        path for path in tmp_path.glob("?/*") if pydicom.dcmread(path).SOPInstanceUID == data.SOPInstanceUID
    )
    data.SOPInstanceUID = data.file_meta.MediaStorageSOPInstanceUID = (
        Series(name="one").dataset(0).SOPInstanceUID
    )
    data.save_as(path, enforce_file_format=True)
    index = only(tmp_path)
    assert [stack.stack_id for stack in index.stacks] == ["003-1"]
    assert sorted(one.stack_id for one in index.refused) == ["001", "002"]
    assert all("another content" in one.error for one in index.refused)
    told = [one for one in index.leftovers if "another content" in one.detail]
    assert len(told) == 2
    assert {one.sop_instance_uid for one in told} == {data.SOPInstanceUID}
    assert len({one.series_instance_uid for one in told}) == 2
    assert len(index.leftovers) == 6


def test_a_refusal_says_what_helps_against_it(tmp_path: Path) -> None:
    """No copy of the file would help: it is whole."""

    def mosaic(data: Dataset, _volume: int, _slice: int) -> None:
        data.ImageType = ["ORIGINAL", "PRIMARY", "M", "MOSAIC"]

    write_with(Series(slices=2), tmp_path / "in", mosaic)
    (refused,) = only(tmp_path / "in").refused
    assert "Manufacturer and private elements" in refused.error
    assert "get it again" not in refused.error


def test_a_repetition_time_that_some_pictures_lack_is_not_stated(tmp_path: Path) -> None:
    def change(data: Dataset, volume: int, slice_: int) -> None:
        if (volume, slice_) == (1, 1):
            del data.RepetitionTime

    write_with(Series(slices=2, volumes=2), tmp_path / "in", change)
    (stack,) = only(tmp_path / "in").stacks
    assert stack.repetition_time_s is None
    assert "2 s, none" in stack.warnings[0]


@pytest.mark.parametrize("scope", ["volume", "slice"])
def test_repetition_times_that_differ_are_not_stated(tmp_path: Path, scope: str) -> None:
    def change(data: Dataset, volume: int, slice_: int) -> None:
        data.RepetitionTime = 2000 + 500 * (volume if scope == "volume" else slice_)

    write_with(Series(slices=2, volumes=2), tmp_path / "in", change)
    (stack,) = only(tmp_path / "in").stacks
    assert stack.repetition_time_s is None
    assert stack.facts.repetition_time_s is None
    assert "RepetitionTime" not in stack.sidecar
    (warning,) = stack.warnings
    assert "2 s, 2.5 s" in warning
    (image,) = convert(tmp_path / "in", tmp_path / "out")
    assert image.header.get_zooms()[3] == 0


@pytest.mark.parametrize(
    ("fields", "says"),
    [
        ({"BitsStored": 17, "HighBit": 16}, "BitsStored 17 of 16"),
        ({"BitsStored": 12, "HighBit": 20}, "HighBit 20"),
        ({"BitsStored": 12, "HighBit": 3}, "HighBit 3"),
        ({"PhotometricInterpretation": "PALETTE COLOR"}, "palette"),
        ({"SamplesPerPixel": 2}, "2 samples of 16 bits"),
        ({"SamplesPerPixel": 3, "PhotometricInterpretation": "RGB"}, "3 samples of 16 bits"),
    ],
)
def test_pixels_of_no_known_form_are_refused(tmp_path: Path, fields: dict[str, object], says: str) -> None:
    def change(data: Dataset, _volume: int, _slice: int) -> None:
        for keyword, value in fields.items():
            setattr(data, keyword, value)

    write_with(Series(), tmp_path / "in", change)
    index = only(tmp_path / "in")
    assert not index.stacks
    assert {leftover.reason for leftover in index.leftovers} == {Reason.UNSUPPORTED}
    assert all(says in leftover.detail for leftover in index.leftovers)


def test_colour_reaches_the_file(tmp_path: Path) -> None:
    colours = np.arange(60, dtype=np.uint8).reshape(4, 5, 3)

    def coloured(data: Dataset, _volume: int, slice_: int) -> None:
        data.SamplesPerPixel, data.PhotometricInterpretation, data.PlanarConfiguration = 3, "RGB", 0
        data.BitsAllocated, data.BitsStored, data.HighBit, data.PixelRepresentation = 8, 8, 7, 0
        data.RescaleSlope = 1.0 + slice_  # means nothing for colours
        data.PixelData = (colours + 60 * slice_).tobytes()

    write_with(Series(), tmp_path / "in", coloured)
    (image,) = convert(tmp_path / "in", tmp_path / "out")
    voxels = np.asanyarray(image.dataobj)
    stored = np.stack([voxels[name] for name in ("R", "G", "B")], axis=-1)
    for slice_ in range(3):
        expected = np.transpose((colours + 60 * slice_)[::-1], (1, 0, 2))
        assert np.array_equal(stored[:, :, slice_], expected)


def test_acquisition_numbers_tell_which_volume_lacks_a_slice(tmp_path: Path) -> None:
    series = Series(slices=4, volumes=3)
    (tmp_path / "in").mkdir()
    for volume in range(3):
        for slice_ in range(4):
            if (volume, slice_) != (1, 1):
                data = series.dataset(slice_, volume)
                data.AcquisitionNumber = volume + 1
                data.save_as(tmp_path / "in" / f"{volume}-{slice_}", enforce_file_format=True)
    (image,) = convert(tmp_path / "in", tmp_path / "out")
    data = np.asanyarray(image.dataobj)
    assert data.shape[3] == 2
    for n, volume in enumerate((0, 2)):
        assert np.array_equal(data[..., n], series.expected(image.affine, data.shape, volume))
    index = only(tmp_path / "in")
    assert [leftover.reason for leftover in index.leftovers] == [Reason.INCOMPLETE] * 3


def test_interrupted_run_keeps_its_complete_volumes(tmp_path: Path) -> None:
    series = Series(slices=4, volumes=3)
    for path in series.write(tmp_path / "in")[-2:]:
        path.unlink()
    (image,) = convert(tmp_path / "in", tmp_path / "out")
    assert image.shape[3] == 2
    assert len(only(tmp_path / "in").leftovers) == 2


def test_duplicates_are_listed(tmp_path: Path) -> None:
    paths = Series().write(tmp_path)
    (tmp_path / "zz-copy").write_bytes(paths[0].read_bytes())
    index = only(tmp_path)
    (leftover,) = index.leftovers
    assert (leftover.path, leftover.reason) == ("zz-copy", Reason.DUPLICATE)
    assert index.instances == 4


def test_tilted_stack_keeps_its_shear_in_the_sform(tmp_path: Path) -> None:
    series = Series(step=(0.0, 1.0, 4.0))
    series.write(tmp_path / "in")
    (image,) = convert(tmp_path / "in", tmp_path / "out")
    assert_exact(image, series)
    assert (int(image.header["sform_code"]), int(image.header["qform_code"])) == (1, 0)


def test_echoes_and_orientations_become_stacks(tmp_path: Path) -> None:
    series = Series()
    (tmp_path / "in").mkdir()
    for echo in (1, 2):
        for slice_ in range(3):
            data = series.dataset(slice_)
            data.EchoTime, data.EchoNumbers = 5.0 * echo, echo
            data.SOPInstanceUID = data.file_meta.MediaStorageSOPInstanceUID = f"1.2.{echo}.{slice_}"
            data.save_as(tmp_path / "in" / f"{echo}-{slice_}", enforce_file_format=True)
    index = only(tmp_path / "in")
    assert [stack.facts.echo_time_s for stack in index.stacks] == [0.005, 0.01]
    assert index.series[0].stack_ids == ("001-1", "001-2")


def test_truncated_pixels_fail_that_stack_alone(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    paths = Series(name="broken", number=7).write(tmp_path / "in")
    Series(name="good", number=8).write(tmp_path / "in")
    paths[1].write_bytes(paths[1].read_bytes()[:-10])
    assert main(["convert", str(tmp_path / "in"), str(tmp_path / "out")]) == 1
    assert (tmp_path / "out" / "008-1_good.nii.gz").exists()
    assert not (tmp_path / "out" / "007-1_broken.nii.gz").exists()
    message = capsys.readouterr().err
    assert paths[1].name in message
    assert "cut short" in message
    assert "Traceback" not in message


@pytest.mark.parametrize(
    ("content", "says"), [(None, "is empty"), (b"not dicom", "holds no DICOM instance (1 other file)")]
)
def test_convert_of_nothing_says_so(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], content: bytes | None, says: str
) -> None:
    (tmp_path / "in").mkdir()
    if content is not None:
        (tmp_path / "in" / "x").write_bytes(content)
    assert main(["convert", str(tmp_path / "in"), str(tmp_path / "out")]) == 1
    assert says in capsys.readouterr().err


def test_damaged_file_is_named_and_the_exit_code_tells(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    paths = Series().write(tmp_path / "in")
    paths[2].write_bytes(paths[2].read_bytes()[:400])
    assert main(["convert", str(tmp_path / "in"), str(tmp_path / "out")]) == 1
    message = capsys.readouterr().err
    assert paths[2].name in message
    assert "1 left over" in message or "3 left over" in message
    assert paths[2].name in (tmp_path / "out" / "leftovers.tsv").read_text()


def test_a_study_uid_is_no_path(tmp_path: Path) -> None:
    Series(name="one").write(tmp_path / "in")

    def elsewhere(data: Dataset, _volume: int, _slice: int) -> None:
        data.StudyInstanceUID = "../../escaped"

    write_with(Series(name="two"), tmp_path / "in" / "two", elsewhere)
    assert main(["convert", str(tmp_path / "in"), str(tmp_path / "a" / "b" / "out")]) == 0
    assert not list(tmp_path.glob("**/escaped"))
    assert len(list((tmp_path / "a" / "b" / "out").glob("*/001-1*.nii.gz"))) == 2


def test_out_of_another_study_is_not_written_into(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    def other_study(data: Dataset, _volume: int, _slice: int) -> None:
        data.StudyInstanceUID = "1.2.3"

    Series().write(tmp_path / "one")
    write_with(Series(name="two"), tmp_path / "two", other_study)
    assert main(["convert", str(tmp_path / "one"), str(tmp_path / "out")]) == 0
    assert main(["convert", str(tmp_path / "two"), str(tmp_path / "out")]) == 2
    assert "another study" in capsys.readouterr().err
    assert main(["convert", str(tmp_path / "one"), str(tmp_path / "out")]) == 0


def test_objects_without_image_are_left_over_with_a_reason(tmp_path: Path) -> None:
    Series().write(tmp_path)
    report = Series(name="report", number=9).dataset(0)
    for keyword in ("PixelData", "Rows", "Columns"):
        delattr(report, keyword)
    report.SOPClassUID = "1.2.840.10008.5.1.4.1.1.88.22"
    report.save_as(tmp_path / "report", enforce_file_format=True)
    index = only(tmp_path)
    (leftover,) = index.leftovers
    assert leftover.reason is Reason.NO_IMAGE
    assert "enhanced report" in leftover.detail
    assert [series.series_key for series in index.series] == ["001", "009"]
