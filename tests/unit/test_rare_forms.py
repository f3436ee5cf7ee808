"""Rare forms that must be exact, or refused in words, and cost no more than others."""

from __future__ import annotations

import io
from pathlib import Path

import nibabel
import numpy as np
import pytest
from pydicom.dataset import Dataset
from pydicom.encaps import encapsulate
from pydicom.uid import RLELossless

from forms import Marked, enhanced_siemens
from pacs2bids.__main__ import main
from pacs2bids.header import Header
from pacs2bids.indexing import Indexer
from pacs2bids.model import ImageRef, Reason
from pacs2bids.reading import ParsedFile, Reader
from pacs2bids.recalled import recall
from pacs2bids.store import index_folder
from pacs2bids.vendors import standard
from synthetic import Series, indexed, save, uid

MULTI_FRAME_WORD_CAPTURE = "1.2.840.10008.5.1.4.1.1.7.3"


def bits_above(header: Header) -> float | None:
    """An element of group 60xx: behind the functional groups."""
    return header.number("OverlayBitPosition")


def test_elements_behind_the_frames_are_remembered_by_their_own_bytes() -> None:
    reader, said = Reader(), []
    positions = [0, 12, 0, 13, 12, 13, 0]
    for number, position in enumerate(positions):
        data = enhanced_siemens(Marked(name="enhanced", slices=2))[0]
        data.SOPInstanceUID = data.file_meta.MediaStorageSOPInstanceUID = uid("behind", number)
        data.add_new(0x60000102, "US", position)
        stream = io.BytesIO()
        data.save_as(stream, enforce_file_format=True)
        stream.seek(0)
        said.append(recall(bits_above, reader.parse(stream, "enhanced.dcm").header))
    assert said == positions


def captured(frames: int, said: str | None = None) -> Dataset:
    """A capture of several frames (PS3.3 A.8.4), each of one value: 1, 2, ..."""
    data = Series(name="film", number=9).dataset(0)
    data.file_meta.MediaStorageSOPClassUID = data.SOPClassUID = MULTI_FRAME_WORD_CAPTURE
    for keyword in ("ImagePositionPatient", "ImageOrientationPatient"):
        delattr(data, keyword)
    data.NumberOfFrames = said or str(frames)
    size = data.Rows * data.Columns
    data.PixelData = np.repeat(np.arange(1, frames + 1, dtype="<i2"), size).tobytes()
    return data


def test_each_frame_of_a_capture_keeps_its_own_picture(tmp_path: Path) -> None:
    save(captured(3), tmp_path / "in" / "film.dcm")
    assert main(["convert", str(tmp_path / "in"), str(tmp_path / "out")]) == 0
    (path,) = (tmp_path / "out").glob("*.nii.gz")
    data = np.asanyarray(nibabel.load(path).dataobj)
    assert [set(data[..., n].ravel().tolist()) for n in range(data.shape[2])] == [{1}, {2}, {3}]


@pytest.mark.parametrize("said", ["-1", "2000000000"])
def test_a_capture_of_absurdly_many_frames_is_refused(tmp_path: Path, said: str) -> None:
    data = captured(1, said)
    data.file_meta.TransferSyntaxUID = RLELossless
    data.PixelData = encapsulate([b"\0" * 64])
    save(data, tmp_path / "film.dcm")
    (leftover,) = indexed(tmp_path).leftovers
    assert (leftover.reason, leftover.detail) == (Reason.UNREADABLE, f"says {said} frames")


def test_a_description_longer_than_a_file_name_is_cut(tmp_path: Path) -> None:
    data = Series(slices=1).dataset(0)
    data.SeriesDescription = "x" * 400  # against PS3.5 section 6.2, which allows 64
    save(data, tmp_path / "in" / "one.dcm")
    assert main(["convert", str(tmp_path / "in"), str(tmp_path / "out")]) == 0
    assert len(list((tmp_path / "out").glob("*.nii.gz"))) == 1


def test_a_series_number_of_hundreds_of_digits_is_none(tmp_path: Path) -> None:
    data = Series(slices=1).dataset(0)
    data.add_new("SeriesNumber", "UN", b"9" * 300)  # an IS has 12 characters at most (PS3.5 section 6.2)
    save(data, tmp_path / "in" / "one.dcm")
    assert main(["convert", str(tmp_path / "in"), str(tmp_path / "out")]) == 0
    assert len(list((tmp_path / "out").glob("000-1_*.nii.gz"))) == 1


def test_dates_before_any_clock_order_volumes_too(tmp_path: Path) -> None:
    series = Series(volumes=3)
    for volume in range(3):
        for slice_ in range(3):
            data = series.dataset(slice_, volume)
            # de-identified to the first day of all; instance numbers begin anew in each volume
            data.AcquisitionDate, data.InstanceNumber = "00010101", slice_ + 1
            save(data, tmp_path / f"{volume}-{slice_}.dcm")
    (stack,) = indexed(tmp_path).stacks
    assert stack.shape == (5, 4, 3, 3)


def test_planes_that_nothing_orders_are_not_all_compared_with_each_other() -> None:
    asked: list[ImageRef] = []

    def differ(one: ImageRef, _other: ImageRef) -> bool:
        asked.append(one)
        return False

    indexer, reader = (
        Indexer(
            study_instance_uid=uid("study"),
            engine_version="",
            same_content=_never,
            reread=_not_asked,
            same_picture=differ,
        ),
        Reader(),
    )
    for number in range(30):
        data = Series(slices=1).dataset(0, number)
        data.InstanceNumber, data.AcquisitionTime = 1, "103000"
        stream = io.BytesIO()
        data.save_as(stream, enforce_file_format=True)
        stream.seek(0)
        indexer.add(f"{number}.dcm", reader.parse(stream, ""))
    index = indexer.finish()
    assert ["nothing orders them" in one.error for one in index.refused] == [True]
    assert len(asked) < 30


def _never(_one: str, _other: str) -> bool:
    return False


def _not_asked(path: str) -> ParsedFile:
    raise AssertionError(path)


@pytest.mark.parametrize(("text", "seconds"), [("20000101000130.5", 90.5), ("200001010001", None)])
def test_a_time_that_is_not_given_to_the_second_is_none(text: str, seconds: float | None) -> None:
    assert standard.date_time_s(text) == seconds


def test_a_direction_whose_last_digits_differ_is_one_volume(tmp_path: Path) -> None:
    """Digits on either side of 0.125, a border of rounding: a product with each slice's orientation."""
    series = Series(volumes=2)
    for volume in range(2):
        for slice_ in range(3):
            data = series.dataset(slice_, volume)
            data.DiffusionBValue = 1000.0
            tilted = [0.125 + (slice_ - 1) * 1e-7, 0.0, 0.992157]
            data.DiffusionGradientOrientation = tilted if volume == 0 else [0.0, 1.0, 0.0]
            save(data, tmp_path / f"{volume}-{slice_}.dcm")
    index = indexed(tmp_path)
    (stack,) = index.stacks
    assert (stack.shape, stack.warnings, index.leftovers) == ((5, 4, 3, 2), (), ())
    assert stack.gradients is not None
    assert np.allclose(stack.gradients.b_vectors_lps, [[0.125, 0, 0.992157], [0, 1, 0]], atol=1e-5)


def test_padding_behind_pixels_is_allowed_a_whole_line_is_not(tmp_path: Path) -> None:
    for name, padding in (("padded", bytes(6)), ("contradictory", b"")):
        for slice_ in range(3):
            data = Series(columns=5, rows=4, slices=3).dataset(slice_)
            data.PixelData += padding
            data.Rows = 4 if padding else 3
            (tmp_path / name).mkdir(exist_ok=True)
            data.save_as(tmp_path / name / f"{slice_}.dcm", enforce_file_format=True)
    (padded,) = index_folder(tmp_path / "padded").indices
    assert len(padded.stacks) == 1
    (contradictory,) = index_folder(tmp_path / "contradictory").indices
    assert not contradictory.stacks
    assert all("they contradict" in one.detail for one in contradictory.leftovers)
