"""``keep``: a line whose DICOM files and images go after success lives on, and gets them again."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

from pacs2bids.__main__ import main
from peers.available import thorough
from peers.line import KNOWN, Line, digests

pytestmark = thorough

TEMPLATE = "{PREFIX}_run-{{item}}_T1w"
STUDIES = [study.uid for study in KNOWN]


@pytest.fixture
def line(finished: Line, tmp_path: Path) -> Line:
    return finished.copied(tmp_path / "line")


def dicom_of(line: Line) -> dict[str, int]:
    """StudyInstanceUID -> how many DICOM files of it are there."""
    folders = ((uid, line.work / "studies" / uid / "dicom") for uid in STUDIES)
    return {uid: sum(path.is_file() for path in folder.rglob("*")) for uid, folder in folders}


def images_of(line: Line) -> dict[str, set[str]]:
    """StudyInstanceUID -> the images that lie in its ``volumes/``."""
    folders = ((uid, line.work / "studies" / uid / "volumes") for uid in STUDIES)
    return {uid: {path.name for path in folder.glob("*.nii.gz")} for uid, folder in folders}


def as_on_another_file_system(bids: Path) -> None:
    """Images of the dataset are copies, not the files of ``volumes/``."""
    for path in [*bids.rglob("sub-*.nii.gz")]:
        copy = path.with_name("copy")
        shutil.copy2(path, copy)
        copy.replace(path)


def test_a_line_without_dicom_files_and_images(line: Line) -> None:
    as_on_another_file_system(line.bids)
    whole, images, dataset = dicom_of(line), images_of(line), digests(line.bids)
    line.configure(keep="none")
    run = line.run("--forcerun", "query").succeeded()
    assert not run.rules & {"pull", "index", "reconstruct", "place"}
    assert f"the DICOM files of {len(KNOWN)} studies are removed" in run.terminal
    assert "without a name, or with a copy in the dataset, removed" in run.terminal
    assert set(dicom_of(line).values()) == {0}
    gone = {uid: names - images_of(line)[uid] for uid, names in images.items()}
    assert all(gone.values())  # what has no name stays for a week
    assert main(["verify", "--all", "--workdir", str(line.work)]) == 0

    # another engine, other settings: what was made stays, and nothing fails
    line.configure(keep="none", gzip="small")
    run = line.run().succeeded()
    assert {"reconstruct"} <= run.rules <= {"reconstruct", "place", "dataset", "check", "report", "verdict"}
    assert run.terminal.count("its volumes stay as they were made") == len(KNOWN)
    assert digests(line.bids) == dataset
    line.configure(keep="none")
    run = line.run("--forcerun", "index").succeeded()
    assert digests(line.bids) == dataset
    assert set(dicom_of(line).values()) == {0}
    assert line.run().succeeded().rules == set()

    # a name changes without a pull, and without the image
    before = line.heuristic.read_text()
    line.heuristic.write_text(before.replace(TEMPLATE, "{PREFIX}_acq-mprage_run-{{item}}_T1w"))
    run = line.run().succeeded()
    assert run.rules == {"plan", "place", "dataset", "check", "report", "verdict"}
    renamed = [name for name in digests(line.bids) if "_acq-mprage_" in name]
    assert len(renamed) == len(KNOWN) * len((".nii.gz", ".json"))
    assert sorted(digests(line.bids)[name] for name in renamed if name.endswith(".nii.gz")) == sorted(
        digest for name, digest in dataset.items() if name.endswith("_T1w.nii.gz")
    )
    assert not any(names & images_of(line)[uid] for uid, names in gone.items())

    # a study comes again, is made by the settings of now, and stays
    line.configure(gzip="small")
    receipt = f"work/studies/{STUDIES[0]}/receipt.json"
    run = line.run("--forcerun", receipt, "--", receipt).succeeded()
    assert run.of("pull") == [receipt]
    assert dicom_of(line) == {uid: whole[uid] if uid == STUDIES[0] else 0 for uid in STUDIES}
    run = line.run().succeeded()
    study = f"work/studies/{STUDIES[0]}"
    assert run.of("index") == [f"{study}/index.json"]
    assert f"{study}/volumes/manifest.json" in run.of("reconstruct")
    assert dicom_of(line) == {uid: whole[uid] if uid == STUDIES[0] else 0 for uid in STUDIES}
    assert images_of(line)[STUDIES[0]] == images[STUDIES[0]]
    assert '"gzip":"small"' in (line.folder / study / "volumes/manifest.json").read_text()


def test_killed_while_the_files_go(line: Line) -> None:
    whole = dicom_of(line)
    removed = line.work / "studies" / STUDIES[0]
    line.configure(keep="volumes")
    (line.work / "valid").unlink()  # else there is nothing to do, and no end of a run
    killed = line.killed(lambda _: (removed / "released.json").exists())
    assert killed.code != 0 or set(dicom_of(line).values()) == {0}
    # what a kill just after the mark leaves, wherever this one came
    dicom = removed / "dicom"
    dicom.mkdir(exist_ok=True)
    (dicom / ".1.dcm.part").touch()
    line.run("--forcerun", "query").succeeded()
    assert not dicom.exists()
    assert set(dicom_of(line).values()) == {0}
    assert all(whole.values())
