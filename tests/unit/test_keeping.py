"""``keep``: which DICOM files go, which never, and what the verbs do with a study that has none any more."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path

import pytest
import yaml
from msgspec.structs import replace
from pydicom import dcmread

from pacs2bids.__main__ import main
from pacs2bids.archive import series_archive
from pacs2bids.config import load_config
from pacs2bids.engine import engine_version
from pacs2bids.files import sha256, write_record, write_tsv
from pacs2bids.keeping import let_go
from pacs2bids.model import (
    CheckResult,
    ConfigError,
    DatasetError,
    FailedStack,
    Finding,
    Manifest,
    PlacedSession,
    PlanRow,
    PullError,
    Receipt,
    ReceivedInstance,
    StudyIndex,
    StudyRow,
    VolumeFile,
)
from pacs2bids.pacs.sources import pull_from_folder
from pacs2bids.peers import FolderSource
from pacs2bids.plan_table import write_plan
from pacs2bids.released import RELEASED, is_put_back, release
from pacs2bids.status import PROVISIONAL
from peers.instances import STUDY, write_study

BEGIN_S = 1_700_000_000  # of the oldest file; each that is written later is a second younger


class Work:
    """A workdir as a run leaves it: two sessions of one study each, one session of two."""

    def __init__(self, root: Path) -> None:
        self.root, self.config = root / "work", root / "config.yaml"
        self.clock_s = BEGIN_S
        self.heuristic = root / "heuristic.py"
        self.heuristic.write_text("def infotodict(seqinfo): return {}\n")
        self.rows = [("1.1", "01"), ("1.2", "02"), ("1.31", "03"), ("1.32", "03")]
        self.configure(keep="volumes")
        columns = StudyRow.__struct_fields__
        table = [dict(zip(columns, (uid, subject, "", "pacs"), strict=True)) for uid, subject in self.rows]
        write_tsv(self.root / "studies.tsv", columns, table)
        for uid, _ in self.rows:
            self.made(uid)
        for subject in ("01", "02", "03"):
            self.placed(subject)
        self.check()

    def configure(self, **settings: object) -> None:
        content = {
            "workdir": str(self.root),
            "sources": {"pacs": {"kind": "folder", "path": str(self.root.parent / "archive")}},
            "studies": {"table": "studies.tsv"},
            "heuristic": str(self.heuristic),
            "dataset": {"name": "Phantoms", "authors": ["Author One"], "license": "CC0"},
            **settings,
        }
        self.config.write_text(yaml.safe_dump(content))

    def study(self, uid: str) -> Path:
        return self.root / "studies" / uid

    def young(self, path: Path) -> None:
        """Make it younger than all before."""
        self.clock_s += 1
        os.utime(path, (self.clock_s, self.clock_s))

    def made(self, uid: str, **differing: object) -> None:
        """Pull, index and reconstruct a study."""
        folder = self.study(uid)
        dicom = folder / "dicom" / "9" / "1.dcm"
        for path in (dicom, folder / "volumes" / "1-1.nii.gz"):
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(b"x" * 1_000_000)
        one = ReceivedInstance(
            sop_instance_uid="1",
            sop_class_uid="1",
            series_instance_uid="9",
            transfer_syntax_uid="1",
            path="9/1.dcm",
            bytes=1_000_000,
            sha256=sha256(dicom),
        )
        receipt = Receipt(
            study_instance_uid=uid,
            source="pacs",
            kind="folder",
            complete=True,
            started="2026-01-01T00:00:00+00:00",
            finished="2026-01-01T00:00:00+00:00",
            announced={"9": ("1",)},
            received=(one,),
        )
        write_record(folder / "receipt.json", receipt)
        index = StudyIndex(
            engine_version=engine_version(),
            study_instance_uid=uid,
            instances=1,
            series=(),
            stacks=(),
            leftovers=(),
        )
        write_record(folder / "index.json", index)
        self.manifest(uid, **differing)
        for name in ("receipt.json", "index.json", "volumes/manifest.json"):
            self.young(folder / name)

    def manifest(self, uid: str, **differing: object) -> None:
        usual: dict[str, object] = {
            "engine_version": engine_version(),
            "study_instance_uid": uid,
            "volumes": (VolumeFile(stack_id="1-1", input_digest="", files={"1-1.nii.gz": ""}),),
            "gzip": "fast",
            "philips_values": "precise",
        }
        path = self.study(uid) / "volumes" / "manifest.json"
        at = path.stat().st_mtime if path.exists() else self.clock_s
        write_record(path, Manifest(**{**usual, **differing}))  # type: ignore[arg-type]
        os.utime(path, (at, at))

    def placed(self, subject: str, **more: dict[str, str]) -> None:
        """Plan and place a session."""
        folder = self.root / "sessions" / f"sub-{subject}"
        folder.mkdir(parents=True, exist_ok=True)
        (folder / "plan.tsv").touch()
        placed = PlacedSession(
            session_key=folder.name, subject=subject, session="", files={}, volumes={}, **more
        )
        write_record(folder / "placed.json", placed)
        for name in ("plan.tsv", "placed.json"):
            self.young(folder / name)

    def check(self, *locations: str, name: str = "check.json") -> None:
        """Check the dataset; one error at each of the locations."""
        found = tuple(
            Finding(severity="error", code="A", location=one, message="is odd", origin="x")
            for one in locations
        )
        result = CheckResult(ok=not found, validator_version="3", findings=found)
        write_record(self.root / name, result)
        self.young(self.root / name)

    def going(self) -> list[str]:
        """Studies that can go."""
        return [one.study.name for one in let_go(load_config(self.config)) if one.dicom]

    def conclude(self) -> None:
        assert main(["conclude", "--config", str(self.config)]) == 0

    def has_dicom(self) -> list[str]:
        return [uid for uid, _ in self.rows if (self.study(uid) / "dicom" / "9" / "1.dcm").exists()]


@pytest.fixture
def work(tmp_path: Path) -> Work:
    return Work(tmp_path)


def test_what_is_in_the_dataset_goes_and_all_else_stays(
    work: Work, capsys: pytest.CaptureFixture[str]
) -> None:
    assert work.going() == ["1.1", "1.2", "1.31", "1.32"]
    before = {path for path in work.root.rglob("*") if path.is_file()}
    work.conclude()
    assert "keep: the DICOM files of 4 studies are removed, 4.0 MB" in capsys.readouterr().out
    after = {path for path in work.root.rglob("*") if path.is_file()}
    assert {path.relative_to(work.root).parts[2] for path in before - after} == {"dicom"}
    assert work.has_dicom() == []
    work.conclude()
    assert "keep:" not in capsys.readouterr().out


def test_all_stays_by_default(work: Work) -> None:
    work.configure()
    work.conclude()
    assert work.has_dicom() == [uid for uid, _ in work.rows]


def _fail_a_study(work: Work) -> None:
    (work.study("1.31") / "index.json").unlink()  # the other study of the session stays with it


def _leave_a_session(work: Work) -> None:
    (work.root / "sessions/sub-03/placed.json").unlink()


def _lack_a_volume(work: Work) -> None:
    work.placed("03", absent={"sub-03/anat/sub-03_T1w": "slices are missing"})
    work.check()


def _find_an_error(work: Work) -> None:
    work.check("sub-03/anat/sub-03_T1w.json")


def _find_an_error_when_not_all_succeeded(work: Work) -> None:
    (work.root / "check.json").unlink()
    work.check("sub-03/anat/sub-03_T1w.json", name=PROVISIONAL)


def _place_after_the_check(work: Work) -> None:
    work.placed("03")


def _make_after_it_was_placed(work: Work) -> None:
    work.made("1.31")
    work.made("1.32")


def _plan(work: Work, **row: str) -> None:
    """Plan session 03 anew, and do not place it."""
    path = work.root / "sessions/sub-03/plan.tsv"
    usual = PlanRow(
        study_instance_uid="1.31",
        series_instance_uid="9",
        series_number=1,
        series_description="t1",
        stack_id="1-1",
        acquired="",
        dims="",
        instances=1,
        bids_name="",
        reason="",
    )
    write_plan(path, [replace(usual, **row)])
    work.young(path)
    work.check()


def _plan_another_name(work: Work) -> None:
    _plan(work, bids_name="sub-03/anat/sub-03_T1w")


def _plan_an_archive(work: Work) -> None:
    _plan(work, sourcedata="sourcedata/sub-03/anat/sub-03_T1w")


@pytest.mark.parametrize(
    "happening",
    [
        _fail_a_study,
        _leave_a_session,
        _lack_a_volume,
        _find_an_error,
        _find_an_error_when_not_all_succeeded,
        _place_after_the_check,
        _make_after_it_was_placed,
        _plan_another_name,
        _plan_an_archive,
    ],
)
def test_the_studies_of_a_session_that_is_not_proven_stay(
    work: Work, happening: Callable[[Work], None]
) -> None:
    happening(work)
    assert work.going() == ["1.1", "1.2"]


def test_a_study_that_would_be_made_otherwise_stays(work: Work) -> None:
    failed = FailedStack(stack_id="2-1", error="slices are missing")
    for differing in (
        {"engine_version": "0.0.1+older"},
        {"gzip": "small"},
        {"philips_values": "display"},
        {"failed": (failed,)},
        {"volumes": (VolumeFile(stack_id="1-2", input_digest="", files={"1-2.nii.gz": ""}),)},
    ):
        work.manifest("1.31", **differing)
        assert work.going() == ["1.1", "1.2", "1.32"], differing
    work.configure(keep="volumes", second_opinion="dcm2niix")
    (work.study("1.2") / "second_opinion.tsv").touch()
    assert work.going() == ["1.2"]


def test_a_plan_that_came_out_the_same_keeps_nothing(work: Work) -> None:
    _plan(work, reason="a scout")
    assert work.going() == ["1.1", "1.2", "1.31", "1.32"]


def test_a_run_in_which_not_all_succeeded_lets_go_what_did(work: Work) -> None:
    (work.study("1.2") / "index.json").unlink()
    (work.root / "check.json").rename(work.root / PROVISIONAL)
    assert work.going() == ["1.1", "1.31", "1.32"]


def test_nothing_goes_by_a_check_without_a_result(work: Work) -> None:
    """The validator crashed, or is missing: it found no error of any session, for it looked at none."""
    work.check("")
    assert work.going() == []
    work.check("participants.tsv")
    assert work.going() != []
    (work.root / "check.json").write_text("{")
    assert work.going() == []


def test_a_study_of_two_sessions_needs_both(work: Work) -> None:
    columns = StudyRow.__struct_fields__
    rows = [("1.1", "01", "", "pacs"), ("1.1", "04", "", "pacs"), ("1.2", "02", "", "pacs")]
    table = [dict(zip(columns, row, strict=True)) for row in rows]
    write_tsv(work.root / "studies.tsv", columns, table)
    assert work.going() == ["1.2"]
    work.placed("04")
    work.check()
    assert work.going() == ["1.1", "1.2"]


@pytest.mark.parametrize("hook", ["def filter_dicom(dcm): return False", "grouping = 'all'"])
def test_a_heuristic_that_reads_dicom_files_keeps_them(
    work: Work, hook: str, capsys: pytest.CaptureFixture[str]
) -> None:
    work.heuristic.write_text(f"{hook}\n")
    work.conclude()
    assert "no DICOM files are removed" in capsys.readouterr().out
    assert len(work.has_dicom()) == len(work.rows)


def test_a_removal_that_was_killed_goes_on(work: Work, monkeypatch: pytest.MonkeyPatch) -> None:
    def killed(_: Path) -> None:
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr("shutil.rmtree", killed)
        with pytest.raises(KeyboardInterrupt):
            release(work.study("1.1"), "volumes")
    assert (work.study("1.1") / RELEASED).exists()
    (work.root / "sessions/sub-01/placed.json").unlink()  # the session fails meanwhile: it was decided before
    assert "1.1" in work.has_dicom()
    work.configure(keep="dicom")
    work.conclude()
    assert "1.1" in work.has_dicom()  # nothing goes against the configuration
    work.configure(keep="volumes")
    work.conclude()
    assert work.has_dicom() == []


def test_what_people_put_there_stays(work: Work, capsys: pytest.CaptureFixture[str]) -> None:
    (work.study("1.1") / "dicom" / "9" / "notes.txt").touch()
    work.conclude()
    assert work.has_dicom() == ["1.1"]
    assert "9/notes.txt, which did not come" in capsys.readouterr().err


def test_a_link_is_not_followed(work: Work, tmp_path: Path) -> None:
    dicom, elsewhere = work.study("1.1") / "dicom", tmp_path / "elsewhere"
    dicom.rename(elsewhere)
    dicom.symlink_to(elsewhere)
    study, there = work.study("1.2"), tmp_path / "there"
    study.rename(there)
    study.symlink_to(there)
    work.conclude()
    assert (elsewhere / "9" / "1.dcm").exists()
    assert work.has_dicom() == ["1.1", "1.2"]


def test_what_was_made_comes_back_for_a_job_that_runs_again(
    work: Work, capsys: pytest.CaptureFixture[str], caplog: pytest.LogCaptureFixture
) -> None:
    study = work.study("1.1")
    work.conclude()
    for stage, product in (("index", "index.json"), ("reconstruct", "volumes/manifest.json")):
        made, at = (study / product).read_bytes(), (study / product).stat().st_mtime
        for _ in range(2):
            (study / product).unlink()  # as Snakemake does
            assert main([stage, str(study)]) == 0
            assert (study / product).read_bytes() == made
            assert (study / product).stat().st_mtime > at
    assert "its volumes stay" not in caplog.text + capsys.readouterr().err
    assert main(["reconstruct", str(study), "--gzip", "small"]) == 0
    told = caplog.text + capsys.readouterr().err
    assert "its volumes stay as they were made" in told
    assert f"--forcerun {study}/receipt.json" in told
    assert main(["opinion", str(study)]) == 0
    assert len((study / "second_opinion.tsv").read_text().splitlines()) == 1  # nobody asked before
    write_record(study / ".index.json", {"engine_version": "of long ago"})
    capsys.readouterr()
    assert main(["index", str(study)]) == 1
    assert "is of another version" in capsys.readouterr().err
    assert not is_put_back(work.study("1.9"), "index.json")


def test_a_pull_brings_the_files_again_and_only_then_they_count(tmp_path: Path) -> None:
    out = tmp_path / "work" / "studies" / STUDY
    archive = FolderSource(name="disk", path=tmp_path / "archive")
    write_study(archive.path)
    write_study(tmp_path / "later", instances=6)
    write_study(tmp_path / "elsewhere", study="1.2.3")
    first = pull_from_folder(archive, STUDY, out)
    write_record(out / "index.json", first)  # any record
    release(out, "volumes")
    (out / "receipt.json").unlink()  # as Snakemake does
    with pytest.raises(PullError):
        pull_from_folder(FolderSource(name="disk", path=tmp_path / "elsewhere"), STUDY, out)
    assert is_put_back(out, "index.json")  # nothing came: what was made is all there is
    again = pull_from_folder(archive, STUDY, out)
    assert again.received == first.received
    assert sum(path.is_file() for path in (out / "dicom").rglob("*")) == len(first.received)
    assert not is_put_back(out, "index.json")
    release(out, "volumes")
    grown = pull_from_folder(FolderSource(name="disk", path=tmp_path / "later"), STUDY, out)
    assert len(grown.received) == len(first.received) + 2
    assert sum(path.is_file() for path in (out / "dicom").rglob("*")) == len(grown.received)


def test_images_outlive_a_source_that_lost_what_they_were_made_of(tmp_path: Path) -> None:
    """A study that has grown comes again by itself, whatever its source has lost meanwhile."""
    out = tmp_path / "work" / "studies" / STUDY
    archive = FolderSource(name="disk", path=tmp_path / "archive")
    write_study(archive.path)
    first = pull_from_folder(archive, STUDY, out)
    *others, lost = sorted(one.sop_instance_uid for one in first.received)
    volumes = [
        VolumeFile(stack_id=stack, input_digest="", files={}, sources=dict.fromkeys(sources))
        for stack, sources in (("001-1", others), ("002-1", [lost]))
    ]
    manifest = Manifest(engine_version="", study_instance_uid=STUDY, volumes=tuple(volumes))
    write_record(out / "volumes" / "manifest.json", manifest)
    release(out, "none")
    (out / "receipt.json").unlink()
    for path in archive.path.rglob("*.dcm"):
        if dcmread(path).SOPInstanceUID == lost:
            path.rename(tmp_path / "lost.dcm")
    write_study(tmp_path / "later", instances=6)
    for number, path in enumerate(sorted((tmp_path / "later").rglob("*.dcm"))):
        if dcmread(path).SOPInstanceUID not in {lost, *others}:
            path.rename(archive.path / f"late{number}.dcm")
    for _ in range(2):
        with pytest.raises(PullError, match="no longer all that images were made of: stacks 002-1"):
            pull_from_folder(archive, STUDY, out)
        assert is_put_back(out, "volumes/manifest.json")
        assert not (out / "receipt.json").exists()
    (tmp_path / "lost.dcm").rename(archive.path / "found.dcm")
    assert len(pull_from_folder(archive, STUDY, out).received) == len(first.received) + 2
    assert not is_put_back(out, "volumes/manifest.json")


def test_an_archive_for_sourcedata_outlives_the_files(tmp_path: Path) -> None:
    out = tmp_path / STUDY
    write_study(tmp_path / "archive")
    pull_from_folder(FolderSource(name="disk", path=tmp_path / "archive"), STUDY, out)
    one, other = (f"{STUDY}.{number}" for number in (1, 2))
    packed = series_archive(out, one)
    release(out, "volumes")
    assert series_archive(out, one) == packed
    with pytest.raises(DatasetError, match="cannot be put into sourcedata") as error:
        series_archive(out, other)
    assert f"--forcerun {out}/receipt.json" in error.value.hint


def test_verify_believes_the_receipt(work: Work, capsys: pytest.CaptureFixture[str]) -> None:
    work.conclude()
    assert main(["verify", "--all", "--workdir", str(work.root)]) == 0
    assert capsys.readouterr().out.count("its DICOM files were removed on") == len(work.rows)
    (work.study("1.1") / RELEASED).unlink()
    assert main(["verify", str(work.study("1.1"))]) == 1


def test_gc_shows_and_removes_the_same(work: Work, capsys: pytest.CaptureFixture[str]) -> None:
    work.placed("03")
    options = ["gc", "--workdir", str(work.root)]
    assert main(options) == 0
    assert "nothing to remove" in capsys.readouterr().out
    assert main([*options, "--config", str(work.config)]) == 0
    said = capsys.readouterr().out
    assert "DICOM files that are needed no more (keep: volumes)" in said
    assert "2.0 MB in all" in said
    assert len(work.has_dicom()) == len(work.rows)
    assert main([*options, "--config", str(work.config), "--delete"]) == 0
    assert work.has_dicom() == ["1.31", "1.32"]
    assert (work.study("1.1") / RELEASED).exists()


def test_a_source_in_the_workdir_is_refused(work: Work) -> None:
    work.configure(sources={"pacs": {"kind": "folder", "path": str(work.root / "studies")}}, keep="volumes")
    with pytest.raises(ConfigError, match="where `keep` removes files"):
        load_config(work.config)
