"""What is remembered of a folder must be what is there, whatever changes."""

from __future__ import annotations

import os
import shutil
import stat
import time
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace

import pydicom
import pytest

from pacs2bids.__main__ import main
from pacs2bids.pacs import remembered
from pacs2bids.pacs.catalogue import Catalogue, scan
from pacs2bids.pacs.contents import contents_of
from pacs2bids.pacs.sources import catalogue_of, pull_from_folder
from pacs2bids.peers import FolderSource
from peers.instances import STUDY, write_study


@pytest.fixture
def opened(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Names of the files that were read."""
    names: list[str] = []

    def watched(reader: object, path: Path) -> object:
        names.append(path.name)
        return contents_of(reader, path)  # type: ignore[arg-type]

    monkeypatch.setattr(remembered, "contents_of", watched)
    return names


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A study, an archive with another, and a file that is no DICOM, all of yesterday."""
    write_study(tmp_path / "in")
    write_study(tmp_path / "packed", study="1.2.3")
    shutil.make_archive(str(tmp_path / "in" / "a"), "gztar", tmp_path / "packed")
    (tmp_path / "in" / "README").write_text("no DICOM")
    age(tmp_path / "in")
    return tmp_path / "in"


def age(folder: Path) -> None:
    yesterday = time.time() - 86400
    for path in folder.rglob("*"):
        os.utime(path, (yesterday, yesterday))


def remember(folder: Path) -> Catalogue:
    return catalogue_of(FolderSource(name="disk", path=folder), folder.parent / "work" / "disk.json")


def test_a_second_look_opens_nothing_and_sees_the_same(folder: Path, opened: list[str]) -> None:
    first = remember(folder)
    assert len(opened) == 12
    assert remember(folder) == first == scan(folder)
    assert len(opened) == 12


def test_the_record_is_for_its_owner_alone(folder: Path) -> None:
    remember(folder)
    record = folder.parent / "work" / "disk.json"
    assert stat.S_IMODE(record.stat().st_mode) == 0o600
    assert stat.S_IMODE(record.parent.stat().st_mode) == 0o700


def changed_in_place(path: Path) -> None:
    """The same length, another content."""
    path.write_bytes(path.read_bytes().replace(b"Phantom^One", b"Phantom^Two"))


def replaced(path: Path) -> None:
    """The same length and the same time, as rsync leaves it: another inode."""
    before = path.stat()
    beside = path.with_name("beside")
    beside.write_bytes(path.read_bytes().replace(b"Phantom^One", b"Phantom^Two"))
    os.utime(beside, ns=(before.st_atime_ns, before.st_mtime_ns))
    beside.replace(path)


def emptied(path: Path) -> None:
    path.write_bytes(b"")


def removed(path: Path) -> None:
    path.unlink()


def added(path: Path) -> None:
    dataset = pydicom.dcmread(path)
    dataset.SOPInstanceUID += ".9"
    dataset.save_as(path.with_name("new.dcm"))


@pytest.mark.parametrize("change", [changed_in_place, replaced, emptied, removed, added])
def test_what_changes_is_read_again(folder: Path, change: Callable[[Path], None]) -> None:
    before = remember(folder)
    change(folder / "1" / "1.dcm")
    after = remember(folder)
    assert after == scan(folder)
    assert after != before
    assert remember(folder) == after


def test_a_file_that_has_only_just_changed_is_read_again(
    folder: Path, opened: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Two changes within one tick of the clock look like one."""
    remember(folder)
    path = folder / "1" / "1.dcm"
    changed_in_place(path)
    status = path.stat()
    # however long it takes us to look
    just_now = SimpleNamespace(time_ns=lambda: status.st_mtime_ns + 1_000_000_000)
    monkeypatch.setattr(remembered, "time", just_now)
    remember(folder)
    path.write_bytes(path.read_bytes().replace(b"Phantom^Two", b"Phantom^Six"))
    os.utime(path, ns=(status.st_atime_ns, status.st_mtime_ns))
    opened.clear()
    assert remember(folder).find("STUDY", {"StudyInstanceUID": STUDY})[0]["PatientName"] == "Phantom^Six"
    assert opened == ["1.dcm"]


@pytest.mark.parametrize("content", [b"", b"{}", b"[1, 2]", b'{"version": "older", "files": {}}'])
def test_a_record_that_is_none_is_made_anew(folder: Path, opened: list[str], content: bytes) -> None:
    (folder.parent / "work").mkdir()
    (folder.parent / "work" / "disk.json").write_bytes(content)
    assert remember(folder) == scan(folder)
    opened.clear()
    remember(folder)
    assert opened == []


def test_what_is_gone_is_forgotten(folder: Path) -> None:
    remember(folder)
    shutil.rmtree(folder / "1")
    remember(folder)
    assert "1.dcm" in (folder.parent / "work" / "disk.json").read_text()
    shutil.rmtree(folder / "2")
    (folder / "a.tar.gz").unlink()
    remember(folder)
    assert "dcm" not in (folder.parent / "work" / "disk.json").read_text()


def test_names_that_are_no_unicode(folder: Path) -> None:
    """As of old Windows machines; they stand in receipts and records, which are."""
    shutil.copy(folder / "README", os.fsencode(folder) + b"/M\xfcller.txt")
    shutil.move(folder / "1" / "1.dcm", os.fsencode(folder) + b"/\xfc.dcm")
    age(folder)
    first = remember(folder)
    assert remember(folder) == first
    source = FolderSource(name="disk", path=folder)
    receipts = [pull_from_folder(source, study, folder.parent / study) for study in (STUDY, "1.2.3")]
    assert [len(receipt.received) for receipt in receipts] == [10, 10]
    assert "M\ufffdller.txt: is no DICOM" in {one.reason for receipt in receipts for one in receipt.refused}


def test_the_verbs_remember(
    folder: Path, tmp_path: Path, opened: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    Path("h.py").write_text("def infotodict(seqinfo): return {}\n")
    Path("by-hand.tsv").write_text(f"StudyInstanceUID\tsubject\tsource\n{STUDY}\t01\tdisk\n1.2.3\t02\tdisk\n")
    Path("config.yaml").write_text(
        "sources: {disk: {kind: folder, path: in}}\nstudies: {table: by-hand.tsv}\n"
        "heuristic: h.py\ndataset: {name: test}\n"
    )
    assert main(["query", "--out", "work/studies.tsv"]) == 0
    for study in (STUDY, "1.2.3"):
        out = ["--studies", "work/studies.tsv", "--out", f"work/studies/{study}"]
        assert main(["pull", "--config", "config.yaml", "--study", study, *out]) == 0
    assert sorted(opened) == sorted(path.name for path in folder.rglob("*") if path.is_file())
