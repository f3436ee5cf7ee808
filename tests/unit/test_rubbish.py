"""``pacs2bids gc``: what it shows, what it removes, and what it leaves alone."""

from __future__ import annotations

import os
import shutil
from pathlib import Path
from unittest.mock import Mock

import pytest

from pacs2bids.__main__ import main
from pacs2bids.files import write_record, write_tsv
from pacs2bids.model import StudyRow
from pacs2bids.notes import Home
from pacs2bids.rubbish import remove, rubbish_in
from pacs2bids.status import PROVISIONAL
from pacs2bids.turn import alone

NEEDED = (
    "studies/1.1/receipt.json",
    "studies/1.1/dicom/1/1.dcm",
    "studies/1.1/volumes/1-1.nii.gz",
    "studies/1.1/volumes/.2-1.nii.gz.x.part",  # of just now: a job of a cluster, whose run was killed
    "studies/1.3/volumes/1-1.nii.gz",  # of a session that is to be pruned
    "sessions/sub-01/plan.tsv",
    "sessions/sub-03/owned.json",
    "logs/pull/1.1.log",
    "logs/place/sub-01.log",
    "logs/check.log",
    "check.json",
    "dates.key",
)
RUBBISH = (
    "studies/1.2/dicom/1/1.dcm",
    "studies/1.2/volumes/1-1.nii.gz",
    "studies/1.1/quarantine/1.dcm",
    "studies/1.1/dicom/1/.2.dcm.x.part",
    "studies/1.1/volumes/.1-1.nii.gz.x.part",
    "logs/pull/1.2.log",
    "logs/plan/sub-02.log",
    PROVISIONAL,
)

CONFIG = """\
sources: {pacs: {kind: folder, path: dicom}}
studies: {table: studies.tsv}
heuristic: heuristic.py
dataset: {name: Phantoms}
workdir: elsewhere
"""


@pytest.fixture
def work(tmp_path: Path) -> Path:
    """Study 1.1 is in the table; 1.2 and 1.3 were, and 1.3's session is not pruned yet."""
    root = tmp_path / "work"
    for name in (*NEEDED, *RUBBISH):
        path = root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(b"x" * 1_000_000)
    for name in RUBBISH:
        if name.endswith(".part"):
            os.utime(root / name, (0, 0))
    os.link(root / "studies/1.2/volumes/1-1.nii.gz", tmp_path / "in_the_dataset.nii.gz")
    list_studies(root, "1.1")
    write_record(root / "studies/1.2/placed_in.json", Home(session_key="sub-02"))
    write_record(root / "studies/1.3/placed_in.json", Home(session_key="sub-03"))
    return root


def list_studies(root: Path, *uids: str) -> None:
    columns = StudyRow.__struct_fields__
    rows = [dict(zip(columns, (uid, "01", "", "pacs"), strict=True)) for uid in uids]
    write_tsv(root / "studies.tsv", columns, rows)


def there(work: Path, names: tuple[str, ...]) -> list[bool]:
    return [(work / name).exists() for name in names]


def test_it_shows_before_it_removes(work: Path, capsys: pytest.CaptureFixture[str]) -> None:
    options = ["gc", "--workdir", str(work)]
    assert main(options) == 0
    said = capsys.readouterr().out
    assert all(there(work, NEEDED + RUBBISH))
    assert "Nothing is removed yet" in said
    # eight files, of which the volume has another name in the dataset; and a record of some bytes
    assert "7.0 MB in all" in said
    assert "1.0 MB  study that is not in the studies table" in said
    assert "studies/1.3" not in said
    assert main([*options, "--delete"]) == 0
    assert all(there(work, NEEDED))
    assert not any(there(work, RUBBISH))
    assert (work.parent / "in_the_dataset.nii.gz").exists()
    capsys.readouterr()
    assert main([*options, "--delete"]) == 0
    assert "nothing to remove" in capsys.readouterr().out


def test_workdir_is_that_of_the_configuration(
    work: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(work.parent)
    work.rename("elsewhere")
    assert main(["gc"]) == 2
    assert "work: is no folder" in capsys.readouterr().err
    Path("config.yaml").write_text(CONFIG)
    assert main(["gc"]) == 0
    assert "7.0 MB in all" in capsys.readouterr().out
    Path("config.yaml").rename("mine.yaml")
    assert main(["gc", "--config", "mine.yaml"]) == 0
    assert "7.0 MB in all" in capsys.readouterr().out


def test_a_provisional_check_that_counts_stays(work: Path) -> None:
    (work / "check.json").unlink()
    assert main(["gc", "--workdir", str(work), "--delete"]) == 0
    assert (work / PROVISIONAL).exists()


def test_nothing_is_touched_during_a_run_or_without_a_table(work: Path) -> None:
    options = ["gc", "--workdir", str(work), "--delete"]
    with alone(work):
        assert main(options) == 2
    (work / "studies.tsv").unlink()
    assert main(options) == 2
    assert main(["gc", "--workdir", str(work / "none")]) == 2
    assert all(there(work, NEEDED + RUBBISH))


def test_what_pacs2bids_did_not_put_there_stays(work: Path, caplog: pytest.LogCaptureFixture) -> None:
    persons = (
        "studies/my notes/a.txt",
        "studies/.snapshot/a.txt",
        "studies/1.4/dicom/1/1.dcm",
        "studies/1.4/a.txt",
    )
    for name in persons:
        (work / name).parent.mkdir(parents=True, exist_ok=True)
        (work / name).write_text("needed")
    for found in rubbish_in(work):
        assert not any(str(work / name).startswith(f"{path}/") for path in found.paths for name in persons)
    assert "studies/1.4 stays: it holds a.txt" in caplog.text
    assert main(["gc", "--workdir", str(work), "--delete"]) == 0
    assert all(there(work, persons))


def test_no_link_is_followed(work: Path, tmp_path: Path) -> None:
    other = tmp_path / "other"
    names = (
        *(
            "whole/dicom/1.dcm",
            "whole/.1.x.part",
            "whole/quarantine/1.dcm",
            "gone/dicom/1.dcm",
            "series/1.dcm",
        ),
        *("logs/9.9.log", "quarantine/1.dcm"),
    )
    for name in names:
        (other / name).parent.mkdir(parents=True, exist_ok=True)
        (other / name).touch()
        os.utime(other / name, (0, 0))
    list_studies(work, "1.1", "1.5")
    (work / "studies/1.5").symlink_to(other / "whole")
    (work / "studies/1.6").symlink_to(other / "gone")
    (work / "studies/1.2/dicom/2").symlink_to(other / "series")
    (work / "studies/1.1/.y.part").symlink_to(other / "series")
    os.utime(work / "studies/1.1/.y.part", (0, 0), follow_symlinks=False)
    (work / "logs/index").symlink_to(other / "logs")
    (work / "sessions/sub-04").symlink_to(tmp_path / "a disk that is not mounted")
    write_record(work / "studies/1.4/placed_in.json", Home(session_key="sub-04"))
    assert main(["gc", "--workdir", str(work), "--delete"]) == 0
    assert all(there(other, names))
    assert all(there(work, (*NEEDED, "studies/1.4", "studies/1.5", "studies/1.6")))
    assert not any(there(work, RUBBISH))
    # a whole folder that lies on another disk, and may be that of several workdirs
    (work / "studies").rename(other / "studies")
    (work / "studies").symlink_to(other / "studies")
    (work / "studies/1.7/dicom").mkdir(parents=True)
    assert main(["gc", "--workdir", str(work), "--delete"]) == 0
    assert (work / "studies/1.7").exists()


def test_a_table_without_rows_condemns_nothing(work: Path) -> None:
    for content in ("", "\t".join(StudyRow.__struct_fields__) + "\n"):
        (work / "studies.tsv").write_text(content)
        assert main(["gc", "--workdir", str(work), "--delete"]) == 2
        assert main(["prune", "--workdir", str(work), "--bids", str(work / "none"), "--yes"]) == 2
    assert all(there(work, NEEDED + RUBBISH))


def test_half_a_study_never_lies_under_its_name(work: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    found = rubbish_in(work)
    with monkeypatch.context() as patched:
        patched.setattr(shutil, "rmtree", Mock(side_effect=KeyboardInterrupt))
        with pytest.raises(KeyboardInterrupt):
            remove(found)
    assert not (work / "studies/1.2").exists()
    assert main(["gc", "--workdir", str(work), "--delete"]) == 0
    assert {path.name for path in (work / "studies").iterdir()} == {"1.1", "1.3"}
