"""The catalogue of a folder, and the matching rules of C-FIND (expected results: PS3.4 section C.2.2.2)."""

from __future__ import annotations

import logging
import zlib
from pathlib import Path

import pydicom
import pytest
from pydicom.dataset import Dataset, FileMetaDataset
from pydicom.uid import ExplicitVRLittleEndian, MRImageStorage

from pacs2bids.model import ConfigError, Reason
from pacs2bids.pacs.catalogue import scan, tell_leftovers
from pacs2bids.pacs.contents import plain_contents_of
from pacs2bids.pacs.identifiers import attributes_of, identifier_of
from pacs2bids.pacs.matching import value_matches
from peers.instances import write_study

ROOT = "1.2.826.0.1.3680043.10.7"


def write(path: Path, **attributes: object) -> Path:
    dataset = Dataset()
    dataset.SOPClassUID = MRImageStorage
    dataset.StudyInstanceUID, dataset.SeriesInstanceUID = f"{ROOT}.1", f"{ROOT}.1.1"
    dataset.SOPInstanceUID = f"{ROOT}.{zlib.crc32(path.name.encode())}"
    for keyword, value in attributes.items():
        setattr(dataset, keyword, value)
    dataset.file_meta = FileMetaDataset()
    dataset.file_meta.TransferSyntaxUID = ExplicitVRLittleEndian
    dataset.file_meta.MediaStorageSOPClassUID = dataset.SOPClassUID
    dataset.file_meta.MediaStorageSOPInstanceUID = dataset.get("SOPInstanceUID") or "1.2"
    path.parent.mkdir(parents=True, exist_ok=True)
    pydicom.dcmwrite(path, dataset, enforce_file_format=True)
    return path


@pytest.mark.parametrize(
    ("keyword", "key", "value", "expected"),
    [
        ("StudyDescription", "", "anything", True),
        ("StudyDescription", "*", "", True),
        ("StudyDescription", "Head", "Head", True),
        ("StudyDescription", "head", "Head", False),  # only person names may ignore case
        ("StudyDescription", "He*", "Head", True),
        ("StudyDescription", "H?ad", "Head", True),
        ("StudyDescription", "H?d", "Head", False),
        ("StudyDescription", "[H]ead", "Head", False),  # brackets are no wildcards
        ("StudyDescription", "a.b*", "axb", False),
        ("StudyDescription", "Head ", "Head", True),  # trailing spaces are padding
        ("PatientName", "phantom^one", "Phantom^One", True),
        ("PatientName", "PHANTOM*", "Phantom^One", True),
        ("PatientName", "Phantom^One", "Phantom^One^^^", True),
        ("PatientName", "Phantom^Two", "Phantom^One", False),
        ("StudyInstanceUID", "1.2\\1.3", "1.3", True),
        ("StudyInstanceUID", "1.2", "1.22", False),
        ("StudyInstanceUID", "1.*", "1.22", False),  # no wildcards in UIDs
        ("StudyDate", "20260131", "20260131", True),
        ("StudyDate", "20260101-20260131", "20260131", True),
        ("StudyDate", "20260101-20260131", "20260201", False),
        ("StudyDate", "20260101-", "20260201", True),
        ("StudyDate", "-20260101", "20260102", False),
        ("StudyDate", "20260101-", "", False),
        ("StudyDate", "20260131", "2026.01.31", True),  # ACR-NEMA
        ("StudyTime", "1000-1100", "105959.999", True),
        ("StudyTime", "1000-1100", "110059", True),  # an hour and minute stand for all of that minute
        ("StudyTime", "1000-1100", "110100", False),
        ("StudyTime", "100000", "100000.000000", True),
        ("ModalitiesInStudy", "MR", "CT\\MR", True),
        ("ModalitiesInStudy", "PT", "CT\\MR", False),
        ("SeriesNumber", "5", "005", True),
        ("SeriesNumber", "5", "50", False),
    ],
)
def test_one_key_against_one_value(keyword: str, key: str, value: str, expected: bool) -> None:
    assert value_matches(keyword, key, value) is expected


def test_counts_and_levels(tmp_path: Path) -> None:
    for number in range(3):
        write(tmp_path / f"a{number}.dcm", Modality="MR", SeriesNumber=7, InstanceNumber=3 - number)
    write(tmp_path / "deep/er/b.dcm", Modality="SR", SeriesInstanceUID=f"{ROOT}.1.2", SeriesNumber=2)
    catalogue = scan(tmp_path)
    (study,) = catalogue.find("STUDY", {})
    assert study["NumberOfStudyRelatedSeries"] == "2"
    assert study["NumberOfStudyRelatedInstances"] == "4"
    assert study["ModalitiesInStudy"] == "MR\\SR"
    assert [row["SeriesNumber"] for row in catalogue.find("SERIES", {})] == ["2", "7"]
    (series,) = catalogue.find("SERIES", {"Modality": "MR"})
    assert series["NumberOfSeriesRelatedInstances"] == "3"
    images = catalogue.find("IMAGE", {"SeriesInstanceUID": f"{ROOT}.1.1"})
    assert [row["InstanceNumber"] for row in images] == ["1", "2", "3"]
    assert len(catalogue.select("SERIES", {"SeriesInstanceUID": f"{ROOT}.1.1"})) == 3
    assert catalogue.select("STUDY", {"StudyInstanceUID": "1.2.3"}) == []


def test_every_file_is_an_instance_or_a_leftover_with_its_reason(tmp_path: Path) -> None:
    good = write(tmp_path / "good.dcm", PatientName="Phantom^One")
    (tmp_path / "zz_copy.dcm").write_bytes(good.read_bytes())
    (tmp_path / "README.txt").write_text("hello")
    (tmp_path / "empty.dcm").touch()
    (tmp_path / "empty.log").touch()
    (tmp_path / "cut.dcm").write_bytes(good.read_bytes()[:200])
    write(tmp_path / "orphan.dcm", StudyInstanceUID="")
    odd = write(tmp_path / "odd.dcm", SOPInstanceUID="1.2.3.45")
    odd.write_bytes(odd.read_bytes().replace(b"1.2.3.45", b"../../ab"))
    write(tmp_path / "DICOMDIR", SOPClassUID="1.2.840.10008.1.3.10")
    catalogue = scan(tmp_path)
    assert [one.path for one in catalogue.instances] == [good]
    reasons = {one.path: one.reason for one in catalogue.leftovers}
    assert reasons == {
        "zz_copy.dcm": Reason.DUPLICATE,
        "README.txt": Reason.NOT_DICOM,
        "empty.dcm": Reason.UNREADABLE,
        "empty.log": Reason.NOT_DICOM,
        "cut.dcm": Reason.UNREADABLE,
        "orphan.dcm": Reason.UNREADABLE,
        "odd.dcm": Reason.UNREADABLE,
        "DICOMDIR": Reason.NO_IMAGE,
    }


def test_odd_values_neither_stop_the_scan_nor_show_up(
    tmp_path: Path, caplog: pytest.LogCaptureFixture, recwarn: pytest.WarningsRecorder
) -> None:
    path = write(tmp_path / "a.dcm", InstanceNumber=42, PatientID="SECRET")
    path.write_bytes(path.read_bytes().replace(b"IS\x02\x0042", b"IS\x02\x00x?"))
    with caplog.at_level(logging.DEBUG, logger="pacs2bids"):
        (row,) = scan(tmp_path).find("IMAGE", {})
    assert row["InstanceNumber"] == "x?"
    assert "SECRET" not in caplog.text
    # what another test left open is told whenever it is collected
    assert [one for one in recwarn.list if one.category is not ResourceWarning] == []


def test_the_order_of_files_does_not_matter(tmp_path: Path) -> None:
    for number in range(4):
        uid = f"{ROOT}.5.{number}"
        write(tmp_path / "up" / f"{number}.dcm", SOPInstanceUID=uid, InstanceNumber=number)
        write(tmp_path / "down" / f"{9 - number}.dcm", SOPInstanceUID=uid, InstanceNumber=number)
    up, down = scan(tmp_path / "up"), scan(tmp_path / "down")
    assert up.find("IMAGE", {}) == down.find("IMAGE", {})


def test_names_in_other_scripts(tmp_path: Path) -> None:
    write(tmp_path / "a.dcm", SpecificCharacterSet="ISO_IR 100", PatientName="Phäntom^Öne")
    (row,) = scan(tmp_path).find("STUDY", {"PatientName": "phäntom*"})
    assert row["PatientName"] == "Phäntom^Öne"


def test_a_missing_folder_is_told(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="is no folder"):
        scan(tmp_path / "nowhere")


def test_identifiers_keep_ranges_wildcards_and_lists() -> None:
    keys = {"StudyDate": "20260101-", "PatientName": "Phant*", "StudyInstanceUID": "1.2\\1.3", "StudyID": ""}
    assert attributes_of(identifier_of("STUDY", keys)) == keys
    with pytest.raises(KeyError):
        identifier_of("STUDY", {"NoSuchKeyword": ""})


def write_image(folder: Path) -> Path:
    """An instance with pixels, and before them a long private element."""
    (path,) = write_study(folder, series=1, instances=1)
    data = pydicom.dcmread(path)
    data.Rows = data.Columns = 4
    data.BitsAllocated = 16
    data.private_block(0x0029, "PHANTOM", create=True).add_new(0x10, "OB", bytes(2000))
    data["PixelData"] = pydicom.DataElement("PixelData", "OW", bytes(32))
    data.save_as(path)
    return path


def test_what_is_cut_is_served_all_the_same(tmp_path: Path) -> None:
    """A PACS that kept it back would hide the loss: what asks it must see a damaged instance, not none."""
    path = write_image(tmp_path)
    assert scan(tmp_path).studies
    path.write_bytes(path.read_bytes()[:-2])
    assert not scan(tmp_path).studies
    (study,) = scan(tmp_path, plain_contents_of, with_cut=True).studies
    assert [one.path for one in study.instances] == [path]


@pytest.mark.parametrize("name", ["aaa_cut.dcm", "zzz_cut.dcm"])
@pytest.mark.parametrize("lost_bytes", [2, 500])  # of the pixels; of what comes before, with all pixels
def test_of_two_copies_the_whole_one_counts(tmp_path: Path, name: str, lost_bytes: int) -> None:
    whole = write_image(tmp_path)
    cut = tmp_path / name
    cut.write_bytes(whole.read_bytes()[:-lost_bytes])
    for catalogue in (scan(tmp_path), scan(tmp_path, plain_contents_of, with_cut=True)):
        assert [one.path for one in catalogue.instances] == [whole]
        (left,) = catalogue.leftovers
        assert (left.file, left.reason) == (cut, Reason.DUPLICATE)
        assert str(left) == f"{name} ends too early; 1/1.dcm, which is used, has the same instance"


@pytest.mark.parametrize("lost_bytes", [2, 500])
def test_a_cut_file_of_which_there_is_no_other_is_a_loss(tmp_path: Path, lost_bytes: int) -> None:
    path = write_image(tmp_path)
    path.write_bytes(path.read_bytes()[:-lost_bytes])
    (left,) = scan(tmp_path).leftovers
    assert (left.reason, left.detail) == (Reason.UNREADABLE, "is cut short: a copy that failed?")
    assert left.study_instance_uid


def test_what_is_left_out_is_named(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    write_study(tmp_path, series=1, instances=1)
    for name in "abcdefg":
        (tmp_path / f"{name}.dcm").write_bytes(bytes(10))
    (tmp_path / "README").write_text("no DICOM")
    with caplog.at_level(logging.INFO, logger="pacs2bids"):
        tell_leftovers(scan(tmp_path), tmp_path)
    (warning,) = [one.getMessage() for one in caplog.records if one.levelno == logging.WARNING]
    empty = "is empty: a copy that failed?"
    named = "; ".join(f"{name}.dcm {empty}" for name in "abc")
    assert warning.endswith(f": 8 files are left out (1 not-dicom, 7 unreadable): {named}; and 4 more")
    told = [one.getMessage() for one in caplog.records if one.levelno == logging.INFO]
    assert "left out: README is no DICOM" in told
    assert len(told) == 8
