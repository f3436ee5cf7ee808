"""Media with a DICOMDIR, as dcmtk makes them: what it lists must be there."""

from __future__ import annotations

import shutil
import subprocess
import zipfile
from collections.abc import Callable
from pathlib import Path

import pydicom
import pytest

from pacs2bids.files import read_record
from pacs2bids.model import PullError, Receipt
from pacs2bids.pacs.catalogue import scan
from pacs2bids.pacs.dicomdir import listed_in
from pacs2bids.pacs.sources import pull_from_folder
from pacs2bids.peers import FolderSource
from peers.available import unavailable
from peers.instances import STUDY, write_study

OTHER = "1.2.3"


def pull(source: Path, out: Path, study: str = STUDY) -> Receipt:
    return pull_from_folder(FolderSource(name="disc", path=source), study, out)


@pytest.fixture
def medium(tmp_path: Path) -> Path:
    """Two studies of ten instances: DICOM/IM0000 to IM0019, and the DICOMDIR."""
    program = shutil.which("dcmmkdir")
    if program is None:
        unavailable("dcmmkdir of dcmtk")
    folder = tmp_path / "medium"
    (folder / "DICOM").mkdir(parents=True)
    made = [path for study in (STUDY, OTHER) for path in write_study(tmp_path / study, study=study)]
    for number, path in enumerate(made):
        dataset = pydicom.dcmread(path)
        dataset.PatientID, dataset.Modality, dataset.StudyID = "P1", "MR", "1"
        dataset.StudyDate, dataset.StudyTime, dataset.StudyDescription = "20260101", "120000", "x"
        dataset.save_as(folder / "DICOM" / f"IM{number:04}")
    subprocess.run(
        [program, "+r", "-Nxc", "+id", folder, "DICOM"], cwd=folder, check=True, capture_output=True
    )
    return folder


def test_what_the_directory_lists(medium: Path) -> None:
    with (medium / "DICOMDIR").open("rb") as stream:
        listed = listed_in(stream)
    assert {(one.study_instance_uid, one.series_instance_uid, one.sop_instance_uid) for one in listed} == {
        (study, f"{study}.{series}", f"{study}.{series}.{number}")
        for study in (STUDY, OTHER)
        for series in (1, 2)
        for number in range(1, 6)
    }
    assert sorted(one.file for one in listed) == [f"DICOM/IM{number:04}" for number in range(20)]


def test_a_whole_medium(medium: Path, tmp_path: Path) -> None:
    receipt = pull(medium, tmp_path / "out")
    assert (receipt.complete, len(receipt.received)) == (True, 10)
    told = [*receipt.refused, *pull(medium, tmp_path / "other", OTHER).refused]
    assert [one.reason for one in told] == ["DICOMDIR: is a DICOMDIR"]


def as_iso9660(path: Path) -> None:
    path.rename(path.with_name(f"{path.name}.;1"))


def as_lower(path: Path) -> None:
    path.rename(path.with_name(path.name.lower()))


@pytest.mark.parametrize("rename", [as_iso9660, as_lower])
def test_names_as_file_systems_change_them(
    medium: Path, tmp_path: Path, rename: Callable[[Path], None]
) -> None:
    """The instances got other UIDs since, as when a medium is made anonymous: by their names all are here."""
    for path in sorted((medium / "DICOM").iterdir()):
        dataset = pydicom.dcmread(path)
        dataset.SOPInstanceUID += ".9"
        dataset.save_as(path)
        rename(path)
    rename(medium / "DICOMDIR")
    assert len(pull(medium, tmp_path / "out").received) == 10


def test_what_is_listed_and_not_there_is_missing(medium: Path, tmp_path: Path) -> None:
    """The receipt announces it; the other study is none the worse."""
    (medium / "DICOM" / "IM0007").unlink()
    (medium / "DICOM" / "IM0003").write_bytes(b"")
    with pytest.raises(
        PullError, match=r"2 of 10 announced .*IM0007: is listed in the DICOMDIR, but is not there"
    ):
        pull(medium, tmp_path / "out")
    receipt = read_record(tmp_path / "out" / "receipt.incomplete.json", Receipt)
    assert receipt.missing == (f"{STUDY}.1.4", f"{STUDY}.2.3")
    assert {one.sop_instance_uid: one.reason for one in receipt.refused if one.sop_instance_uid} == {
        f"{STUDY}.1.4": "DICOM/IM0003: is empty: a copy that failed?",
        f"{STUDY}.2.3": "DICOM/IM0007: is listed in the DICOMDIR, but is not there",
    }
    assert pull(medium, tmp_path / "other", OTHER).complete


def test_a_study_that_is_listed_and_not_there(medium: Path, tmp_path: Path) -> None:
    for number in range(10, 20):
        (medium / "DICOM" / f"IM{number:04}").unlink()
    assert pull(medium, tmp_path / "out").complete
    with pytest.raises(PullError, match=r"all of its files are lost: DICOM/IM0010 .* and 7 more"):
        pull(medium, tmp_path / "other", OTHER)


def test_a_medium_in_a_zip_and_below_a_folder(medium: Path, tmp_path: Path) -> None:
    (medium / "DICOM" / "IM0007").unlink()
    packed = tmp_path / "packed" / "cd.zip"
    packed.parent.mkdir()
    with zipfile.ZipFile(packed, "w") as archive:
        for path in sorted(medium.rglob("*")):
            archive.write(path, Path("CD1") / path.relative_to(medium))
    with pytest.raises(PullError, match=r"cd\.zip!CD1/DICOM/IM0007: is listed in the DICOMDIR"):
        pull(packed.parent, tmp_path / "out")


def test_the_order_of_records_does_not_matter(medium: Path) -> None:
    """Records hang together by offsets; writers may append them (PS3.3 section F.3.2.2)."""
    content = bytearray((medium / "DICOMDIR").read_bytes())
    directory = pydicom.dcmread(medium / "DICOMDIR")
    first, second = [
        item for item in directory.DirectoryRecordSequence if item.DirectoryRecordType == "IMAGE"
    ][:2]
    # the chain goes on from the first image to the third: the second hangs nowhere any more
    offset = second.OffsetOfTheNextDirectoryRecord
    at = content.index(b"\x04\x00\x00\x14", first.seq_item_tell) + 8
    content[at : at + 4] = offset.to_bytes(4, "little")
    (medium / "DICOMDIR").write_bytes(content)
    with (medium / "DICOMDIR").open("rb") as stream:
        assert len(listed_in(stream)) == 19


def test_a_directory_whose_offsets_were_not_minded(medium: Path) -> None:
    """Somebody changed a length: no record is where it should be, but they are in order."""
    directory = pydicom.dcmread(medium / "DICOMDIR")
    directory.DirectoryRecordSequence[0].PatientName = "Phantom^One^With^A^Long^Name"
    directory.save_as(medium / "DICOMDIR")
    with (medium / "DICOMDIR").open("rb") as stream:
        listed = listed_in(stream)
    assert sorted(one.file for one in listed) == [f"DICOM/IM{number:04}" for number in range(20)]
    assert all(one.sop_instance_uid.startswith(one.series_instance_uid) for one in listed)


def test_a_directory_that_runs_in_a_circle(medium: Path) -> None:
    content = bytearray((medium / "DICOMDIR").read_bytes())
    directory = pydicom.dcmread(medium / "DICOMDIR")
    images = [item for item in directory.DirectoryRecordSequence if item.DirectoryRecordType == "IMAGE"]
    at = content.index(b"\x04\x00\x00\x14", images[1].seq_item_tell) + 8
    content[at : at + 4] = images[0].seq_item_tell.to_bytes(4, "little")
    (medium / "DICOMDIR").write_bytes(content)
    with (medium / "DICOMDIR").open("rb") as stream:
        assert 0 < len(listed_in(stream)) < 20


def test_a_directory_that_is_damaged_is_told(medium: Path, tmp_path: Path) -> None:
    (medium / "DICOMDIR").write_bytes((medium / "DICOMDIR").read_bytes()[:900])
    with pytest.raises(PullError, match=r"DICOMDIR is a DICOMDIR that cannot be read"):
        pull(medium, tmp_path / "out")


def test_real_data(corpus: Callable[[str], Path]) -> None:
    """A set that was shared without one of the files of its DICOMDIR."""
    folder = corpus("xa60")
    (path,) = folder.rglob("DICOMDIR")
    with path.open("rb") as stream:
        absent = [one for one in listed_in(stream) if not (path.parent / one.file).exists()]
    lost = [one for one in scan(folder).leftovers if "DICOMDIR, but" in one.detail]
    assert [one.sop_instance_uid for one in lost] == [one.sop_instance_uid for one in absent]
    assert len(lost) == 1
