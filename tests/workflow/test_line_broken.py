"""When something of the input is broken: the rest is delivered, and the errors say which file and why."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest
from pydicom import dcmread

from pacs2bids.files import read_record, read_tsv
from pacs2bids.model import CheckResult, Manifest, PlacedSession, Receipt
from pacs2bids.phantom.protocol import PhantomSeries, PhantomStudy
from peers.available import thorough
from peers.line import KNOWN, Line, Run, digests, hospital, pacs_of, session_key

pytestmark = thorough

CUT, GAPPED, GOOD = KNOWN


def t1w_of(study: PhantomStudy) -> PhantomSeries:
    return next(series for series in study.series if series.contrast == "T1w")


def files_of(folder: Path, series: PhantomSeries) -> list[Path]:
    """In the order of InstanceNumber."""
    headers = [(dcmread(path, stop_before_pixels=True), path) for path in folder.iterdir()]
    mine = [
        (int(header.InstanceNumber), path)
        for header, path in headers
        if header.SeriesInstanceUID == series.uid
    ]
    return [path for _, path in sorted(mine)]


def instance_of(path: Path) -> str:
    return str(dcmread(path, stop_before_pixels=True).SOPInstanceUID)


def in_dataset(line: Line, study: PhantomStudy) -> dict[str, str]:
    return digests(line.bids / session_key(study).replace("_", "/"))


def errors(run: Run) -> list[str]:
    return [text for text in run.terminal.splitlines() if text.startswith("ERROR: ")]


def no_traceback(line: Line, run: Run) -> None:
    assert "Traceback" not in run.terminal
    for log in (line.work / "logs").rglob("*.log"):
        assert "Traceback" not in log.read_text(encoding="utf-8"), log


# ---------------------------------------------------------------------------------------- a series is broken


@dataclass(frozen=True, kw_only=True)
class Broken:
    """A run on three sessions. ``cut_uid``: the instance of ``CUT`` whose file ends too early."""

    line: Line
    run: Run
    cut_uid: str


@pytest.fixture(scope="module")
def broken(phantom_files: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Broken]:
    folder = hospital(phantom_files, tmp_path_factory.mktemp("broken"), KNOWN)
    cut = files_of(folder / CUT.uid, t1w_of(CUT))[7]
    cut.write_bytes(cut.read_bytes()[:-500])
    files_of(folder / GAPPED.uid, t1w_of(GAPPED))[7].unlink()
    with pacs_of(folder) as pacs:
        line = Line(folder=tmp_path_factory.mktemp("line") / "broken", pacs=pacs).prepared()
        yield Broken(line=line, run=line.run(), cut_uid=instance_of(cut))


def test_broken_series_keeps_no_other_session_back(broken: Broken, finished: Line) -> None:
    line, run = broken.line, broken.run
    assert run.code != 0
    assert in_dataset(line, GOOD) == in_dataset(finished, GOOD)
    assert not in_dataset(line, CUT)
    assert not in_dataset(line, GAPPED)
    # the top of the dataset, the check and the report are made all the same
    people = [row["participant_id"] for row in read_tsv(line.bids / "participants.tsv")]
    assert people == [f"sub-{GOOD.subject:02d}"]
    assert "dataset valid" in run.terminal
    page = (line.folder / "report.html").read_text(encoding="utf-8")
    assert all(session_key(study) in page for study in KNOWN)
    assert broken.cut_uid in page


def test_errors_name_file_and_reason(broken: Broken) -> None:
    """Each on one line, also in the job's log; the bytes are what the test cut off."""
    about = {study.uid: line for line in errors(broken.run) for study in KNOWN if study.uid in line}
    assert set(about) == {CUT.uid, GAPPED.uid}
    assert f"{t1w_of(CUT).uid}/{broken.cut_uid}.dcm: is cut short" in about[CUT.uid]
    due = 2 * t1w_of(CUT).stacks[0].grid.rows ** 2
    assert f"{due - 500} bytes of pixels where {due} are due" in about[CUT.uid]
    assert f"series 002 ({t1w_of(GAPPED).uid})" in about[GAPPED.uid]
    step = t1w_of(GAPPED).stacks[0].grid.slice_spacing_mm
    assert f"gaps from {step:.3f} to {2 * step:.3f} mm" in about[GAPPED.uid]
    assert "A slice may be missing" in about[GAPPED.uid]
    for study, line in about.items():
        log = broken.line.work / "logs" / "reconstruct" / f"{study}.log"
        assert line.removeprefix("ERROR: ") in log.read_text(encoding="utf-8")
    no_traceback(broken.line, broken.run)


def test_broken_series_may_be_skipped(broken: Broken, finished: Line, tmp_path: Path) -> None:
    line = broken.line.copied(tmp_path / "line")
    line.configure(on_broken_series="skip")
    run = line.run().succeeded()
    no_traceback(line, run)
    assert not {"pull", "index", "plan"} & run.rules
    assert in_dataset(line, GOOD) == in_dataset(finished, GOOD)
    for study in (CUT, GAPPED):
        whole = in_dataset(finished, study)
        expected = {name for name in whole if "_T1w." not in name}
        assert set(in_dataset(line, study)) == expected
        manifest = read_record(line.work / "studies" / study.uid / "volumes" / "manifest.json", Manifest)
        assert [failed.stack_id for failed in manifest.failed] == ["002-1"]
    placed = read_record(line.work / "sessions" / session_key(CUT) / "placed.json", PlacedSession)
    (name,) = placed.absent
    assert name.endswith("_T1w")
    assert "is cut short" in placed.absent[name]
    # a series that makes no stack was never named: the plan says why
    rows = read_tsv(line.work / "sessions" / session_key(GAPPED) / "plan.tsv")
    (reason,) = [row["reason"] for row in rows if row["series_instance_uid"] == t1w_of(GAPPED).uid]
    assert "no even grid" in reason
    page = (line.folder / "report.html").read_text(encoding="utf-8")
    assert "is cut short" in page
    assert "no even grid" in page
    assert read_record(line.work / "check.json", CheckResult).ok


# ----------------------------------------------------------------------- the PACS cannot deliver it all


def test_study_that_does_not_come_whole(finished: Line, phantom_files: Path, tmp_path: Path) -> None:
    """Two files of one study are lost at the PACS after it listed them; then they are found again."""
    folder = hospital(phantom_files, tmp_path / "pacs", (GOOD, CUT))
    lost = files_of(folder / CUT.uid, t1w_of(CUT))[3:5]
    contents = {path: path.read_bytes() for path in lost}
    uids = {instance_of(path) for path in lost}
    with pacs_of(folder) as pacs:
        line = Line(folder=tmp_path / "line", pacs=pacs).prepared()
        lost[0].unlink()
        lost[1].unlink()
        lost[1].mkdir()  # there, and not to be read
        run = line.run()
        assert run.code != 0
        no_traceback(line, run)
        (error,) = errors(run)
        assert f"study {CUT.uid}" in error
        assert f"2 of {len(list(folder.glob(f'{CUT.uid}/*'))) + 1} announced instances are missing" in error
        assert all(uid in error for uid in uids)
        assert not (line.work / "studies" / CUT.uid / "receipt.json").exists()
        receipt = read_record(line.work / "studies" / CUT.uid / "receipt.incomplete.json", Receipt)
        assert not receipt.complete
        assert set(receipt.missing) == uids
        assert in_dataset(line, GOOD) == in_dataset(finished, GOOD)
        assert not in_dataset(line, CUT)
        assert (line.folder / "report.html").exists()

        lost[1].rmdir()
        for path, content in contents.items():
            path.write_bytes(content)
        again = line.run().succeeded()
    assert again.of("pull") == [f"work/studies/{CUT.uid}/receipt.json"]
    assert read_record(line.work / "studies" / CUT.uid / "receipt.json", Receipt).complete
    assert in_dataset(line, CUT) == in_dataset(finished, CUT)
    assert in_dataset(line, GOOD) == in_dataset(finished, GOOD)
