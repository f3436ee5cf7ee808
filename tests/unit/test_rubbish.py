"""``pacs2bids gc``: what it shows, what it removes, and what it leaves alone."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from pacs2bids.__main__ import main
from pacs2bids.files import write_record, write_tsv
from pacs2bids.model import StudyRow
from pacs2bids.notes import Home
from pacs2bids.status import PROVISIONAL
from pacs2bids.turn import alone

NEEDED = (
    "studies/1.1/receipt.json",
    "studies/1.1/dicom/1/1.dcm",
    "studies/1.1/volumes/1-1.nii.gz",
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


@pytest.fixture
def work(tmp_path: Path) -> Path:
    """Study 1.1 is in the table; 1.2 and 1.3 were, and 1.3's session is not pruned yet."""
    root = tmp_path / "work"
    for name in (*NEEDED, *RUBBISH):
        path = root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(b"x" * 1_000_000)
    os.link(root / "studies/1.2/volumes/1-1.nii.gz", tmp_path / "in_the_dataset.nii.gz")
    row = dict(zip(StudyRow.__struct_fields__, ("1.1", "01", "", "pacs"), strict=True))
    write_tsv(root / "studies.tsv", StudyRow.__struct_fields__, [row])
    write_record(root / "studies/1.2/placed_in.json", Home(session_key="sub-02"))
    write_record(root / "studies/1.3/placed_in.json", Home(session_key="sub-03"))
    return root


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
