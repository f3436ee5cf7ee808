"""A plain folder as a source, and the verb's own errors."""

from __future__ import annotations

import os
import shutil
import stat
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pydicom
import pytest

from pacs2bids.__main__ import main
from pacs2bids.files import read_record, sha256
from pacs2bids.model import ConfigError, PullError, Receipt
from pacs2bids.pacs.sources import pull_from_folder
from pacs2bids.peers import FolderSource
from pacs2bids.text import megabytes
from peers.available import unavailable
from peers.instances import STUDY, write_study


def snapshot(folder: Path) -> dict[Path, tuple[int, int, str]]:
    return {
        path: (path.stat().st_mode, path.stat().st_mtime_ns, sha256(path))
        for path in sorted(folder.rglob("*"))
        if path.is_file()
    }


def pull(folder: Path, out: Path, study: str = STUDY) -> Receipt:
    return pull_from_folder(FolderSource(name="disk", path=folder), study, out)


def test_files_are_linked_and_the_source_stays_as_it_is(tmp_path: Path) -> None:
    sources = write_study(tmp_path / "in")
    write_study(tmp_path / "in" / "another", study="1.2.3")
    for path in sources:
        path.chmod(0o640)
    before = snapshot(tmp_path / "in")
    out = tmp_path / "work" / STUDY
    receipt = pull(tmp_path / "in", out)
    assert receipt.complete
    assert receipt.kind == "folder"
    assert sorted(one.path for one in receipt.received) == sorted(
        f"{STUDY}.{s}/{STUDY}.{s}.{n}.dcm" for s in (1, 2) for n in range(1, 6)
    )
    linked = [out / "dicom" / one.path for one in receipt.received]
    assert {path.stat().st_ino for path in linked} == {path.stat().st_ino for path in sources}
    assert stat.S_IMODE((out / "dicom").stat().st_mode) == 0o700
    assert snapshot(tmp_path / "in") == before
    assert read_record(out / "receipt.json", Receipt) == receipt


def test_again_is_the_same(tmp_path: Path) -> None:
    write_study(tmp_path / "in")
    first, second = (pull(tmp_path / "in", tmp_path / "out") for _ in range(2))
    assert first.received == second.received
    assert (second.duplicates, second.conflicting) == ((), ())
    assert not list((tmp_path / "out").rglob("*.part"))


def test_another_content_than_an_earlier_attempt_brought_is_told(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    source, *_ = write_study(tmp_path / "in")
    first = pull(tmp_path / "in", tmp_path / "out")
    corrected = source.read_bytes() + b"\0\0"
    source.unlink()  # it is linked
    source.write_bytes(corrected)
    second = pull(tmp_path / "in", tmp_path / "out")
    assert second.received == first.received
    assert second.conflicting == (f"{STUDY}.1.1",)
    assert f"{source.name}: another content" in caplog.text
    (aside,) = (tmp_path / "out" / "quarantine").iterdir()
    assert aside.read_bytes() == corrected


@pytest.mark.skipif(not Path("/dev/shm").is_dir(), reason="needs a second file system")
def test_copy_across_file_systems(tmp_path: Path) -> None:
    memory = Path("/dev/shm", f"pacs2bids-{os.getpid()}")
    try:
        sources = write_study(memory)
        if memory.stat().st_dev == tmp_path.stat().st_dev:
            pytest.skip("needs a second file system")
        receipt = pull(memory, tmp_path / "out")
        copies = [tmp_path / "out" / "dicom" / one.path for one in receipt.received]
        assert [path.read_bytes() for path in copies] == [path.read_bytes() for path in sources]
        assert {stat.S_IMODE(path.stat().st_mode) for path in copies} == {0o600}
    finally:
        shutil.rmtree(memory)


def test_nothing_is_lost_and_nothing_told_twice(tmp_path: Path) -> None:
    """Copies, another content under the same UID, junk: each in exactly one receipt."""
    folder = tmp_path / "in"
    first, second, *_ = write_study(folder)
    write_study(folder / "x", study="1.2.3")
    shutil.copy(first, folder / "copy.dcm")
    changed = pydicom.dcmread(second)
    changed.ImageComments = "changed later"
    changed.save_as(folder / "x" / "changed.dcm")
    (folder / "README").write_text("no DICOM")
    (folder / "x" / "notes.txt").write_text("no DICOM")
    receipts = {study: pull(folder, tmp_path / study, study) for study in (STUDY, "1.2.3")}

    ours = receipts[STUDY]
    assert ours.duplicates == (f"{STUDY}.1.1",)
    assert ours.conflicting == (f"{STUDY}.1.2",)
    kept = pydicom.dcmread(tmp_path / STUDY / "dicom" / f"{STUDY}.1" / f"{STUDY}.1.2.dcm")
    (aside,) = (tmp_path / STUDY / "quarantine").iterdir()
    assert {kept.ImageComments, pydicom.dcmread(aside).ImageComments} == {"1/2", "changed later"}
    told = [one.reason.split(":")[0] for receipt in receipts.values() for one in receipt.refused]
    assert sorted(told) == ["README", "x/notes.txt"]
    assert [one.reason.split(":")[0] for one in receipts["1.2.3"].refused][-1] == "x/notes.txt"
    files = sum(path.is_file() for path in folder.rglob("*"))
    accounted = sum(
        len(one.received) + len(one.duplicates) + len(one.conflicting) + len(one.refused)
        for one in receipts.values()
    )
    assert accounted == files


@pytest.mark.parametrize("name", ["2/9.dcm", "2/IM9", "2/1.2.3.9", "9.dcm", "3/9.dcm"])
def test_an_emptied_file_is_a_loss(tmp_path: Path, name: str) -> None:
    """What a copy that failed leaves must not pass for a whole study; the rest is kept."""
    write_study(tmp_path / "in")
    lost = tmp_path / "in" / name
    lost.parent.mkdir(exist_ok=True)
    lost.write_bytes(bytes(100))
    with pytest.raises(PullError, match=rf"{name} is empty: a copy that failed\?.*receipt\.incomplete\.json"):
        pull(tmp_path / "in", tmp_path / "out")
    receipt = read_record(tmp_path / "out" / "receipt.incomplete.json", Receipt)
    assert (receipt.complete, len(receipt.received)) == (False, 10)
    assert [one.reason for one in receipt.refused] == [f"{name}: is empty: a copy that failed?"]
    lost.unlink()
    assert pull(tmp_path / "in", tmp_path / "out").complete


@pytest.mark.parametrize("name", [".gitkeep", "index.lock", "1/.DS_Store", "Thumbs.db"])
def test_an_empty_file_that_is_called_otherwise_is_none(tmp_path: Path, name: str) -> None:
    write_study(tmp_path / "in")
    (tmp_path / "in" / name).touch()
    receipt = pull(tmp_path / "in", tmp_path / "out")
    assert [one.reason for one in receipt.refused] == [f"{name}: is empty"]


def test_a_loss_is_that_of_the_study_whose_folder_it_is_in(tmp_path: Path) -> None:
    """Studies in folders of their own: "b" lost a file, "d" all of its files, "a" and "c" none."""
    folder = tmp_path / "in"
    for number, name in enumerate("abc", start=1):
        write_study(folder / name, series=1, instances=1, study=f"1.2.{number}")
    (folder / "b" / "2").mkdir()
    (folder / "b" / "2" / "1.dcm").touch()
    (folder / "d").mkdir()
    (folder / "d" / "1.dcm").touch()
    refused = [pull(folder, tmp_path / one, one).refused for one in ("1.2.1", "1.2.3")]
    assert sorted(len(one) for one in refused) == [0, 1]  # one of them tells of "d"
    with pytest.raises(PullError, match=r"b/2/1\.dcm is empty"):
        pull(folder, tmp_path / "b", "1.2.2")


def test_a_file_whose_pixels_are_cut_is_a_loss_of_its_study_alone(tmp_path: Path) -> None:
    folder = tmp_path / "in"
    first, second = (write_study(folder, study=one)[-1] for one in (STUDY, "1.2.3"))
    assert first == second  # the second study has replaced the first
    write_study(folder / "x")
    dataset = pydicom.dcmread(second)
    dataset.Rows = dataset.Columns = dataset.BitsAllocated = 16
    dataset.add_new("PixelData", "OW", bytes(512))
    dataset.save_as(second)
    second.write_bytes(second.read_bytes()[:-100])
    assert pull(folder, tmp_path / "one").complete
    with pytest.raises(PullError, match=r"2/5\.dcm is cut short"):
        pull(folder, tmp_path / "two", "1.2.3")


def test_a_cut_copy_beside_a_whole_one_loses_nothing(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """Both are named; and a second attempt leaves nothing half done."""
    whole = write_study(tmp_path / "in")[0]
    dataset = pydicom.dcmread(whole)
    dataset.Rows = dataset.Columns = dataset.BitsAllocated = 16
    dataset.add_new("PixelData", "OW", bytes(512))
    dataset.save_as(whole)
    (tmp_path / "in" / "aaa_cut.dcm").write_bytes(whole.read_bytes()[:-300])
    for _ in range(2):
        receipt = pull(tmp_path / "in", tmp_path / "out")
        assert (receipt.complete, len(receipt.received)) == (True, 10)
        assert receipt.conflicting == (f"{STUDY}.1.1",)
        kept = tmp_path / "out" / "dicom" / f"{STUDY}.1" / f"{STUDY}.1.1.dcm"
        assert kept.read_bytes() == whole.read_bytes()
        assert "aaa_cut.dcm: ends too early; 1/1.dcm, which is used, has the same instance" in caplog.text
        assert not list((tmp_path / "out").rglob("*.part"))


def test_a_pipe_is_not_waited_for(tmp_path: Path) -> None:
    write_study(tmp_path / "in")
    os.mkfifo(tmp_path / "in" / "pipe")
    receipt = pull(tmp_path / "in", tmp_path / "out")
    assert [one.reason for one in receipt.refused] == ["pipe: is no file but a pipe or a device"]


def test_links_to_folders_are_followed_but_not_for_ever(tmp_path: Path) -> None:
    write_study(tmp_path / "elsewhere")
    (tmp_path / "in").mkdir()
    (tmp_path / "in" / "link").symlink_to(tmp_path / "elsewhere")
    (tmp_path / "elsewhere" / "loop").symlink_to(tmp_path / "in")
    receipt = pull(tmp_path / "in", tmp_path / "out")
    assert (len(receipt.received), receipt.duplicates) == (10, ())


def test_real_data(tmp_path: Path, corpus: Callable[[str], Path]) -> None:
    folder = corpus("nih")
    before = snapshot(folder)
    heads = [pydicom.dcmread(path, stop_before_pixels=True) for path in folder.rglob("*.dcm")]
    for study in {str(head.StudyInstanceUID) for head in heads}:
        expected = {head.SOPInstanceUID for head in heads if head.StudyInstanceUID == study}
        receipt = pull(folder, tmp_path / study, study)
        assert {one.sop_instance_uid for one in receipt.received} == expected
    assert snapshot(folder) == before


def test_unknown_study(tmp_path: Path) -> None:
    write_study(tmp_path / "in")
    with pytest.raises(PullError, match=r"study 9\.9 in folder 'disk'.*holds no such study"):
        pull(tmp_path / "in", tmp_path / "out", "9.9")


def test_work_inside_the_source_is_refused(tmp_path: Path) -> None:
    write_study(tmp_path / "in")
    with pytest.raises(ConfigError, match="lies inside the source"):
        pull(tmp_path / "in", tmp_path / "in" / "work")


# ------------------------------------------------------------------------------------------ the verb


@pytest.fixture
def words(tmp_path: Path) -> list[str]:
    write_study(tmp_path / "in")
    (tmp_path / "config.yaml").write_text(
        f"sources:\n  disk: {{kind: folder, path: {tmp_path / 'in'}}}\n"
        "studies: {table: by-hand.tsv}\nheuristic: h.py\ndataset: {name: test}\n"
    )
    table = f"study_instance_uid\tsubject\tsession\tsource\n{STUDY}\t01\t\tdisk\n1.2.3\t02\t\tdisc\n"
    (tmp_path / "studies.tsv").write_text(table)
    config, studies = str(tmp_path / "config.yaml"), str(tmp_path / "studies.tsv")
    return ["pull", "--config", config, "--studies", studies, "--out", str(tmp_path / "out"), "--study"]


def test_verb_prints_one_line(words: list[str], tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main([*words, STUDY]) == 0
    size = megabytes(sum(path.stat().st_size for path in (tmp_path / "in").rglob("*.dcm")))
    expected = f"10 instances in 2 series, {size}, complete -> {tmp_path / 'out'}\n"
    assert capsys.readouterr() == (expected, "")


@pytest.mark.parametrize(
    ("study", "message"),
    [("9.9", "does not list the study 9.9"), ("1.2.3", "no source is called 'disc'. Did you mean 'disk'?")],
)
def test_verb_explains(
    words: list[str], capsys: pytest.CaptureFixture[str], study: str, message: str
) -> None:
    assert main([*words, study]) == 2
    output, errors = capsys.readouterr()
    assert output == ""
    assert message in errors
    assert errors.count("\n") == 1


def test_a_folder_that_cannot_be_read_is_a_loss(words: list[str], tmp_path: Path) -> None:
    command = [sys.executable, "-m", "pacs2bids", *words, STUDY]
    if os.getuid() == 0:  # who may read everything, but for these two (capabilities(7))
        if shutil.which("setpriv") is None:
            unavailable("setpriv is not installed (apt-get install util-linux)")
        command = ["setpriv", "--bounding-set", "-dac_override,-dac_read_search", *command]
    (tmp_path / "in" / "2").chmod(0)
    done = subprocess.run(command, text=True, capture_output=True, check=False)
    (tmp_path / "in" / "2").chmod(0o700)
    assert done.returncode == 1
    assert "2/ cannot be read: Permission denied" in done.stderr
    assert len(list((tmp_path / "out").glob("dicom/*/*.dcm"))) == 5
    assert main([*words, STUDY]) == 0


def test_verb_without_a_table(words: list[str], tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "studies.tsv").unlink()
    assert main([*words, STUDY]) == 2
    assert "Run 'pacs2bids query' first" in capsys.readouterr().err
