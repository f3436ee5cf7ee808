"""Files that an earlier attempt left: which are instances as they came."""

from __future__ import annotations

import random
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from threading import Event

import pydicom
import pytest
from msgspec.structs import replace
from pydicom.dataset import Dataset
from pydicom.uid import ExplicitVRBigEndian, ExplicitVRLittleEndian, ImplicitVRLittleEndian

from pacs2bids.files import sha256
from pacs2bids.pacs.left_behind import left_behind
from pacs2bids.pacs.threaded import threaded
from peers.instances import SERIES, STUDY, instance


def put(dicom: Path, dataset: Dataset) -> Path:
    path = dicom / SERIES / f"{dataset.SOPInstanceUID}.dcm"
    path.parent.mkdir(parents=True, exist_ok=True)
    pydicom.dcmwrite(path, dataset, enforce_file_format=True)
    return path


def with_pixels(number: int) -> Dataset:
    dataset = instance(number)
    dataset.Rows = dataset.Columns = 32
    dataset.BitsAllocated = 16
    dataset.add_new("PixelData", "OW", random.Random(number).randbytes(2048))
    return dataset


@pytest.mark.parametrize("syntax", [ExplicitVRLittleEndian, ImplicitVRLittleEndian, ExplicitVRBigEndian])
@pytest.mark.parametrize("behind", [False, True], ids=["pixels last", "padding behind the pixels"])
def test_whole_and_cut_files(tmp_path: Path, syntax: str, behind: bool) -> None:
    dataset = with_pixels(1)
    dataset.file_meta.TransferSyntaxUID = syntax
    if behind:
        dataset.DataSetTrailingPadding = bytes(40)
    path = put(tmp_path, dataset)
    ((_, record),) = left_behind(tmp_path, STUDY)
    assert not isinstance(record, str)
    assert (record.sop_instance_uid, record.series_instance_uid) == (dataset.SOPInstanceUID, SERIES)
    assert (record.sop_class_uid, record.transfer_syntax_uid) == (dataset.SOPClassUID, syntax)
    assert (record.path, record.bytes) == (path.relative_to(tmp_path).as_posix(), path.stat().st_size)
    assert record.sha256 == sha256(path)
    content = path.read_bytes()
    for cut in (2, 30, 1000):
        path.write_bytes(content[:-cut])
        ((_, wrong),) = left_behind(tmp_path, STUDY)
        assert isinstance(wrong, str), cut


def test_what_a_receipt_knows_is_judged_by_its_digest_alone(tmp_path: Path) -> None:
    """Also a file that no reader could make sense of: it came like that."""
    path = put(tmp_path, with_pixels(1))
    ((_, record),) = left_behind(tmp_path, STUDY)
    assert not isinstance(record, str)
    path.write_bytes(b"odd")
    odd = replace(record, bytes=3, sha256=sha256(path))
    assert list(left_behind(tmp_path, STUDY, [odd])) == [(path, odd)]
    assert isinstance(dict(left_behind(tmp_path, STUDY, [record]))[path], str)


@pytest.mark.parametrize("name", [f"{SERIES}.2", "9.9"])
def test_file_under_another_name_or_of_another_study(tmp_path: Path, name: str) -> None:
    path = put(tmp_path, with_pixels(1))
    path.rename(path.with_name(f"{name}.dcm"))
    ((_, wrong),) = left_behind(tmp_path, STUDY)
    assert wrong == "is not the instance that its name says"
    path.with_name(f"{name}.dcm").rename(path)
    ((_, wrong),) = left_behind(tmp_path, "1.2.3")
    assert wrong == "is not the instance that its name says"


def test_who_stops_listening_leaves_the_rest_undone(monkeypatch: pytest.MonkeyPatch) -> None:
    """Ctrl-C in the midst of a hundred gigabytes ends at once."""
    done, is_told = [], Event()

    class Pool(ThreadPoolExecutor):
        """Whose work ends once the pool was told to end, however late that is."""

        def shutdown(self, wait: bool = True, *, cancel_futures: bool = False) -> None:
            super().shutdown(wait=False, cancel_futures=cancel_futures)
            is_told.set()
            super().shutdown(wait=wait)

    def work(number: int) -> int:
        assert number == 0 or is_told.wait(60)
        done.append(number)
        return number

    monkeypatch.setattr("pacs2bids.pacs.threaded.ThreadPoolExecutor", Pool)
    with threaded(work, range(100)) as results:
        assert next(results) == 0
    assert 0 < len(done) <= 1 + 4, "the first, and what four threads had begun"
