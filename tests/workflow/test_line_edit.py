"""After an edit: what `snakemake` does again, and what it leaves alone."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from pacs2bids.demo import own_port
from pacs2bids.files import read_record, write_record
from pacs2bids.model import CheckResult, Finding
from pacs2bids.status import PROVISIONAL, Standing, status_of
from peers.available import thorough
from peers.line import KNOWN, NEW, Line, digests, hospital, pacs_of, session_key

NAMING = {"plan", "place", "dataset", "check", "report", "verdict"}
TEMPLATE = "{PREFIX}_run-{{item}}_T1w"


@pytest.fixture
def line(finished: Line, tmp_path: Path) -> Line:
    return finished.copied(tmp_path / "line")


def edited(line: Line) -> str:
    """Put acq-mprage into the name of the T1w; returns the heuristic as it was."""
    before = line.heuristic.read_text()
    assert before.count(TEMPLATE) == 1
    line.heuristic.write_text(before.replace(TEMPLATE, "{PREFIX}_acq-mprage_run-{{item}}_T1w"))
    return before


def images(bids: Path) -> dict[str, int]:
    """Path in the dataset -> inode."""
    return {str(path.relative_to(bids)): path.stat().st_ino for path in bids.rglob("*.nii.gz")}


def test_edit_renames_and_converts_nothing(line: Line) -> None:
    assert line.run().succeeded().rules == set()
    before = images(line.bids)
    edited(line)
    run = line.run().succeeded()
    print(f"\nfrom an edit of the heuristic to the checked dataset: {run.seconds:.1f} s")
    assert run.rules == NAMING
    assert len(run.of("plan")) == len(run.of("place")) == len(KNOWN)
    new_name = {name: name.replace("_run-1_T1w", "_acq-mprage_run-1_T1w") for name in before}
    after = images(line.bids)
    # the very same files under new names; the old names are gone
    assert after == {new_name[name]: inode for name, inode in before.items()}
    assert sum(name != new for name, new in new_name.items()) == len(KNOWN)
    renamed = [name for name in digests(line.bids) if "T1w" in name]
    assert len(renamed) == len(KNOWN) * len((".nii.gz", ".json"))
    assert all("_acq-mprage_" in name for name in renamed)
    for table in line.bids.glob("sub-*/**/*_scans.tsv"):
        assert "_acq-mprage_run-1_T1w.nii.gz" in table.read_text()


@thorough
def test_session_that_cannot_be_placed_anew_stays_as_it_was(line: Line) -> None:
    """A file of a person is in the way of the new name; all else of the dataset is delivered, and valid."""
    rows, of_subjects = (line.bids / "participants.tsv").read_text(), [study.subject for study in KNOWN]
    # of whom no other session keeps the row
    key = next(session_key(study) for study in KNOWN if of_subjects.count(study.subject) == 1)
    (old,) = line.bids.glob(f"{key.replace('_', '/')}/anat/*_T1w.json")
    theirs = old.with_name(old.name.replace("_run-1_", "_acq-mprage_run-1_"))
    theirs.write_text("{}")
    (line.bids / ".bidsignore").write_text(f"{theirs.name}\n")
    edited(line)
    run = line.run()
    assert run.code != 0
    assert "exists, and this session did not place it" in run.terminal
    assert "dataset valid" in run.terminal
    assert (line.bids / "participants.tsv").read_text() == rows
    assert old.is_file()
    found = read_record(line.work / PROVISIONAL, CheckResult).findings
    assert ("SESSION_AS_BEFORE", key) in {(one.code, one.location) for one in found}
    (standing,) = [one for one in status_of(line.work).lines if one.session == key]
    assert standing.state is Standing.FAILED
    assert "did not place it" in standing.why
    theirs.unlink()
    assert line.run().succeeded().of("place") == [f"work/sessions/{key}/placed.json"]


@thorough
def test_reverted_edit_reruns_nothing(line: Line) -> None:
    line.heuristic.write_text(edited(line))  # newer than the plans, and the same
    assert line.run().succeeded().rules == set()
    # that of a check whose validator crashed, or that was killed: it is not missed by what was made of it
    crash = Finding(severity="error", code="VALIDATOR_CRASHED", location="", message="", origin="x")
    write_record(line.work / "check.json", CheckResult(ok=False, validator_version="", findings=(crash,)))
    assert line.run().code == 1
    assert not (line.work / "check.json").exists()
    assert line.run().succeeded().rules == {"check", "report", "verdict"}


@thorough
def test_new_study_runs_its_own_jobs_only(phantom_files: Path, tmp_path: Path) -> None:
    folder = hospital(phantom_files, tmp_path / "pacs", KNOWN)
    with own_port() as port:
        with pacs_of(folder, at=port) as pacs:
            line = Line(folder=tmp_path / "later", pacs=pacs).prepared()
            line.run().succeeded()
        known = {key: digests(line.bids / key.replace("_", "/")) for key in map(session_key, KNOWN)}
        # the same PACS has got more: another port would be another source
        with pacs_of(hospital(phantom_files, folder, [NEW]), at=port) as pacs:
            replace(line, pacs=pacs).configure()
            run = line.run("--forcerun", "query").succeeded()
    study, session = f"work/studies/{NEW.uid}", f"work/sessions/{session_key(NEW)}"
    assert [(job.rule, job.output) for job in run.jobs] == [
        ("check", "work/check.json"),
        ("dataset", "work/dataset.json"),
        ("index", f"{study}/index.json"),
        ("place", f"{session}/placed.json"),
        ("plan", f"{session}/plan.tsv"),
        ("pull", f"{study}/receipt.json"),
        ("query", "work/studies.tsv"),
        ("reconstruct", f"{study}/volumes/manifest.json"),
        ("report", "report.html"),
        ("verdict", "work/valid"),
    ]
    assert len(run.started) == len(run.jobs)
    later = tmp_path / "later" / "bids"
    assert {key: digests(later / key.replace("_", "/")) for key in known} == known
    assert images(later / session_key(NEW).replace("_", "/"))
