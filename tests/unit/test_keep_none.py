"""``keep: none``: which images go, where they are found again, and that none is lost on the way."""

from __future__ import annotations

import errno
import gzip
import os
import random
import shutil
import tempfile
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path

import pytest
import yaml

from pacs2bids import images, owned
from pacs2bids.__main__ import main
from pacs2bids.config import load_config
from pacs2bids.dates import Hide
from pacs2bids.engine import engine_version
from pacs2bids.files import read_record, sha256, write_record, write_tsv
from pacs2bids.images import where_is
from pacs2bids.keeping import Freed, let_go, release_all
from pacs2bids.model import (
    CheckResult,
    DatasetError,
    Defacing,
    HeaderError,
    Manifest,
    PlacedSession,
    PlanRow,
    Receipt,
    StudyIndex,
    StudyRow,
    VolumeFile,
)
from pacs2bids.place import Privacy, StudyVolumes, place_session
from pacs2bids.plan_table import write_plan
from pacs2bids.released import forget_released, let_go_images, released_of

DAY_ONE = Hide(policy="day_one")
WEEK_S = 7 * 24 * 3600
NAMELESS = "2-1"


class Centre:
    """A workdir and a dataset, driven as by the workflow. ``named``: session, study, stack -> run."""

    def __init__(self, root: Path, bids: Path) -> None:
        self.work, self.bids, self.config = root / "work", bids, root / "config.yaml"
        self.table: list[tuple[str, str]] = []
        self.named: dict[tuple[str, str, str], int] = {}
        self.digests: dict[tuple[str, str], str] = {}
        self.nameless = "no rule names it"
        heuristic = root / "heuristic.py"
        heuristic.write_text("def infotodict(seqinfo): return {}\n")
        (root / "archive").mkdir()
        content = {
            "workdir": str(self.work),
            "bids": str(bids),
            "sources": {"disk": {"kind": "folder", "path": str(root / "archive")}},
            "studies": {"table": "studies.tsv"},
            "heuristic": str(heuristic),
            "dataset": {"name": "Phantoms", "authors": ["Author One"], "license": "CC0"},
            "keep": "none",
        }
        self.config.write_text(yaml.safe_dump(content))

    def lists(self, *rows: tuple[str, str]) -> None:
        """The studies table: study and subject."""
        self.table = list(rows)
        columns = StudyRow.__struct_fields__
        table = [dict(zip(columns, (uid, subject, "", "disk"), strict=True)) for uid, subject in rows]
        self.work.mkdir(mode=0o700, exist_ok=True)
        write_tsv(self.work / "studies.tsv", columns, table)

    def study(self, uid: str) -> Path:
        return self.work / "studies" / uid

    def image(self, uid: str, stack: str) -> Path:
        return self.study(uid) / "volumes" / f"{stack}.nii.gz"

    def placed(self, subject: str, run: int) -> Path:
        return self.bids / f"sub-{subject}/anat/sub-{subject}_run-{run}_T1w.nii.gz"

    def made(self, uid: str, *stacks: str) -> None:
        """Pull, index and reconstruct a study; again, with the files that came again."""
        folder = self.study(uid)
        (folder / "dicom" / "9").mkdir(parents=True, exist_ok=True)
        (folder / "volumes").mkdir(exist_ok=True)
        forget_released(folder)
        at = "2026-01-01T00:00:00+00:00"
        receipt = Receipt(
            study_instance_uid=uid,
            source="disk",
            kind="folder",
            complete=True,
            started=at,
            finished=at,
            announced={},
            received=(),
        )
        write_record(folder / "receipt.json", receipt)
        index = StudyIndex(
            engine_version=engine_version(),
            study_instance_uid=uid,
            instances=0,
            series=(),
            stacks=(),
            leftovers=(),
        )
        write_record(folder / "index.json", index)
        volumes = []
        for stack in stacks:
            sidecar, image = folder / "volumes" / f"{stack}.json", self.image(uid, stack)
            image.unlink(missing_ok=True)
            voxels = random.Random(f"{uid} {stack}").randbytes(30_000)
            # all as long, and as old: some file systems tell whole seconds
            image.write_bytes(gzip.compress(bytes(352) + voxels, 0, mtime=0))
            os.utime(image, (1_700_000_000, 1_700_000_000))
            sidecar.write_text("{}")
            files = {path.name: sha256(path) for path in (image, sidecar)}
            self.digests[uid, stack] = files[image.name]
            volumes.append(VolumeFile(stack_id=stack, input_digest="", files=files))
        manifest = Manifest(
            engine_version=engine_version(),
            study_instance_uid=uid,
            volumes=tuple(volumes),
            gzip="fast",
            philips_values="precise",
        )
        write_record(folder / "volumes" / "manifest.json", manifest)

    def name(self, subject: str, uid: str, **runs: int) -> None:
        """What the heuristic names of a study: run numbers by stack ("s1" is 1-1), and no others."""
        self.named = {key: run for key, run in self.named.items() if key[:2] != (subject, uid)}
        self.named |= {(subject, uid, f"{stack[1:]}-1"): run for stack, run in runs.items()}

    def rows(self, subject: str) -> list[PlanRow]:
        studies = [uid for uid, its in self.table if its == subject]
        stacks = [(uid, stack) for uid, stack in self.digests if uid in studies]
        return [self._row(subject, uid, stack) for uid, stack in sorted(stacks)]

    def _row(self, subject: str, uid: str, stack: str) -> PlanRow:
        run = self.named.get((subject, uid, stack))
        name = str(self.placed(subject, run).relative_to(self.bids)) if run else ""
        return PlanRow(
            study_instance_uid=uid,
            series_instance_uid=f"{uid}.{stack[0]}",
            series_number=int(stack[0]),
            series_description="",
            stack_id=stack,
            acquired="",
            dims="",
            instances=1,
            bids_name=name.removesuffix(".nii.gz"),
            reason="" if name else self.nameless,
        )

    def place(self, subject: str, defacing: Defacing | None = None) -> PlacedSession:
        session = self.work / "sessions" / f"sub-{subject}"
        session.mkdir(parents=True, exist_ok=True)
        rows = self.rows(subject)
        write_plan(session / "plan.tsv", rows)
        (session / "placed.json").unlink(missing_ok=True)  # as Snakemake does
        studies = {}
        for uid in {row.study_instance_uid for row in rows}:
            volumes = self.study(uid) / "volumes"
            studies[uid] = StudyVolumes(
                folder=volumes, manifest=read_record(volumes / "manifest.json", Manifest)
            )
        return place_session(
            session_dir=session,
            bids=self.bids,
            rows=rows,
            studies=studies,
            participant={},
            hide=DAY_ONE,
            privacy=Privacy(defacing=defacing or Defacing()),
        )

    def check(self) -> None:
        write_record(self.work / "check.json", CheckResult(ok=True, validator_version="3", findings=()))

    def conclude(self, *, at_once: bool = False) -> Freed:
        self.check()
        return release_all(let_go(load_config(self.config), at_once=at_once), "none")

    def prune(self) -> None:
        assert main(["prune", "--workdir", str(self.work), "--bids", str(self.bids), "--yes"]) == 0

    def a_week_passes(self) -> None:
        self.time_passes(WEEK_S + 60)

    def time_passes(self, seconds: int) -> None:
        files = {path.stat().st_ino: path for path in self.work.rglob("*") if path.is_file()}
        for path in files.values():
            at = path.stat()
            os.utime(path, ns=(at.st_atime_ns, at.st_mtime_ns - seconds * 10**9))

    def contents(self) -> set[str]:
        """Digests of all images that there are, but for half-written and defaced ones."""
        roots = (self.work / "studies", self.bids)
        files = (path for root in roots for path in root.rglob("*.nii.gz"))
        return {sha256(path) for path in files if not path.name.startswith(".")}

    def is_lost(self, uid: str, stack: str) -> bool:
        """Whether an image is nowhere; not one that was let go without a name."""
        mark = released_of(self.study(uid))
        gone = mark.images.get(f"{stack}.nii.gz") if mark else None
        was_named = gone is None or bool(gone.sessions)
        return was_named and self.digests[uid, stack] not in self.contents()


@pytest.fixture
def elsewhere(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """Where a dataset is on another file system than the workdir; where there is none, files are copied."""
    other = Path("/dev/shm")
    if other.is_dir() and os.access(other, os.W_OK) and other.stat().st_dev != tmp_path.stat().st_dev:
        folder = Path(tempfile.mkdtemp(dir=other))
        yield folder / "bids"
        shutil.rmtree(folder)
        return
    link = os.link

    def link_within(source: Path, target: Path) -> None:
        if ("bids" in Path(source).parts) != ("bids" in Path(target).parts):
            raise OSError(errno.EXDEV, os.strerror(errno.EXDEV))
        link(source, target)

    monkeypatch.setattr("os.link", link_within)
    yield tmp_path / "bids"


@pytest.fixture
def centre(tmp_path: Path, elsewhere: Path) -> Centre:
    """A study with two images that have names and one that has none, placed."""
    made = Centre(tmp_path, elsewhere)
    made.lists(("1.1", "01"))
    made.made("1.1", "1-1", NAMELESS, "3-1")
    made.name("01", "1.1", s1=1, s3=2)
    made.place("01")
    return made


def without_images(centre: Centre) -> Centre:
    """The same, with the images that have names let go."""
    assert centre.conclude() == Freed(studies=1, images=2)
    return centre


# --------------------------------------------------------------------------------------------- what goes


def test_images_go_that_the_dataset_holds_and_after_a_week_those_without_a_name(
    centre: Centre, capsys: pytest.CaptureFixture[str]
) -> None:
    centre.check()
    options = ["gc", "--workdir", str(centre.work), "--config", str(centre.config)]
    assert main(options) == 0
    shown = capsys.readouterr().out
    assert "images of which the dataset has a copy (keep: none)" in shown
    assert "images without a name (keep: none)" in shown
    assert "volumes/2-1.nii.gz" in shown
    assert main(["conclude", "--config", str(centre.config)]) == 0
    said = capsys.readouterr().out
    assert "keep: the DICOM files of 1 study are removed" in said
    assert "keep: 2 images without a name, or with a copy in the dataset, removed, " in said
    volumes = centre.study("1.1") / "volumes"
    assert {path.name for path in volumes.iterdir()} == {
        *("manifest.json", "1-1.json", "2-1.json", "3-1.json", "2-1.nii.gz"),
    }
    assert let_go_images(centre.study("1.1")).keys() == {"1-1.nii.gz", "3-1.nii.gz"}
    assert centre.conclude() == Freed(studies=0, images=0)
    centre.a_week_passes()
    assert centre.conclude() == Freed(studies=0, images=1)
    assert let_go_images(centre.study("1.1"))["2-1.nii.gz"].sessions == ()
    assert not list(volumes.glob("*.nii.gz"))
    centre.place("01")
    assert not centre.is_lost("1.1", "1-1")


def test_gc_does_not_wait_for_a_week(centre: Centre) -> None:
    centre.check()
    options = ["gc", "--workdir", str(centre.work), "--config", str(centre.config), "--delete"]
    assert main(options) == 0
    assert not list((centre.study("1.1") / "volumes").glob("*.nii.gz"))
    assert not (centre.study("1.1") / "dicom").exists()


def test_files_that_are_the_datasets_own_stay(tmp_path: Path) -> None:
    centre = Centre(tmp_path, tmp_path / "bids")  # one file system
    centre.lists(("1.1", "01"))
    centre.made("1.1", "1-1", NAMELESS)
    centre.name("01", "1.1", s1=1)
    centre.place("01")
    assert centre.conclude(at_once=True) == Freed(studies=1, images=1)
    assert centre.image("1.1", "1-1").samefile(centre.placed("01", 1))
    assert not centre.image("1.1", NAMELESS).exists()


def test_a_study_of_which_nothing_has_a_name_waits_for_its_heuristic(centre: Centre) -> None:
    centre.name("01", "1.1")
    centre.place("01")
    centre.a_week_passes()
    assert centre.conclude() == Freed(studies=1, images=0)
    assert centre.conclude(at_once=True) == Freed(studies=0, images=3)  # by hand


def test_where_the_heuristic_tripped_nothing_goes_for_want_of_a_name(centre: Centre) -> None:
    centre.nameless = "the heuristic fails on this series: ValueError (heuristic.py, line 1)"
    centre.place("01")
    centre.a_week_passes()
    assert centre.conclude() == Freed(studies=1, images=2)
    assert centre.image("1.1", NAMELESS).exists()
    centre.nameless = "no rule names it"
    centre.place("01")
    centre.a_week_passes()
    assert centre.conclude() == Freed(studies=0, images=1)


def _change(file: Path, _: Path) -> None:
    file.chmod(0o644)
    file.write_bytes(file.read_bytes()[::-1])  # as long as before


def _cut_short(file: Path, _: Path) -> None:
    file.chmod(0o644)
    file.write_bytes(file.read_bytes()[:-1])


def _remove(file: Path, _: Path) -> None:
    file.unlink()


def _link(file: Path, image: Path) -> None:
    file.unlink()
    file.symlink_to(image)


def _link_folder(file: Path, image: Path) -> None:
    """By its path the file of the dataset is the one in ``volumes/``."""
    (image.parent / file.name).unlink(missing_ok=True)
    image.rename(image.parent / file.name)
    shutil.rmtree(file.parent)
    file.parent.symlink_to(image.parent)
    path = image.parent / "manifest.json"
    at = path.stat()
    path.write_bytes(path.read_bytes().replace(image.name.encode(), file.name.encode()))
    os.utime(path, ns=(at.st_atime_ns, at.st_mtime_ns))


@pytest.mark.parametrize("happening", [_change, _cut_short, _remove, _link, _link_folder])
def test_what_is_no_copy_keeps_its_image(centre: Centre, happening: Callable[[Path, Path], None]) -> None:
    happening(centre.placed("01", 1), centre.image("1.1", "1-1"))
    centre.conclude(at_once=True)
    assert centre.digests["1.1", "1-1"] in {
        sha256(path) for path in (centre.study("1.1") / "volumes").glob("*.nii.gz")
    }


def test_nothing_goes_of_a_session_that_is_not_proven(centre: Centre) -> None:
    without_images(centre)
    centre.name("01", "1.1", s1=1)
    centre.time_passes(1)
    centre.place("01")  # and is not checked yet
    assert centre.image("1.1", "3-1").exists()
    assert let_go(load_config(centre.config), at_once=True) == []
    centre.place("01")
    (centre.work / "sessions/sub-01/placed.json").unlink()
    assert centre.conclude(at_once=True) == Freed(studies=0, images=0)


def test_the_original_of_a_defaced_image_stays(centre: Centre, tmp_path: Path) -> None:
    defacing = _defacing(tmp_path)
    centre.place("01", defacing)
    assert centre.conclude(at_once=True) == Freed(studies=1, images=1)  # the one without a name
    assert centre.image("1.1", "1-1").exists()
    assert centre.image("1.1", "3-1").exists()


def _defacing(tmp_path: Path) -> Defacing:
    """By a command that leaves nothing but the header."""
    script = tmp_path / "deface.sh"
    script.write_text('#!/bin/sh\ngzip -dc "$1" | head -c 352 | gzip -nc > "$2"\n')
    script.chmod(0o755)
    return Defacing(command=f"{script} {{input}} {{output}}", names=("*_T1w",))


# --------------------------------------------------------------------------------------- life without images


def test_names_change_by_links_and_are_swapped(centre: Centre) -> None:
    without_images(centre)
    before = centre.placed("01", 1).stat().st_ino
    centre.name("01", "1.1", s1=5, s3=2)
    centre.place("01")
    assert centre.placed("01", 5).stat().st_ino == before  # no byte was copied
    assert not centre.placed("01", 1).exists()
    assert not centre.image("1.1", "1-1").exists()
    for runs in ({"s1": 2, "s3": 5}, {"s1": 3, "s3": 2}, {"s1": 2, "s3": 1}):
        centre.name("01", "1.1", **runs)
        centre.place("01")
        for stack, run in runs.items():
            placed = centre.placed("01", run)
            assert sha256(placed) == centre.digests["1.1", f"{stack[1:]}-1"], runs
        centre.conclude()
        assert not centre.image("1.1", "1-1").exists()
        assert not centre.image("1.1", "3-1").exists()


def test_what_loses_its_name_is_with_its_study_again_for_a_week(centre: Centre) -> None:
    without_images(centre)
    centre.name("01", "1.1", s1=1)
    centre.place("01")
    assert not centre.placed("01", 2).exists()
    assert sha256(centre.image("1.1", "3-1")) == centre.digests["1.1", "3-1"]
    assert centre.conclude() == Freed(studies=0, images=0)
    centre.name("01", "1.1", s1=1, s3=4)  # it was a slip
    centre.place("01")
    assert sha256(centre.placed("01", 4)) == centre.digests["1.1", "3-1"]
    assert centre.conclude() == Freed(studies=0, images=1)


def test_a_name_for_an_image_that_is_gone_is_refused_before_anything_changes(centre: Centre) -> None:
    without_images(centre)
    assert centre.conclude(at_once=True) == Freed(studies=0, images=1)
    before = {path: path.stat().st_mtime_ns for path in centre.bids.rglob("*")}
    centre.name("01", "1.1", s1=7, s2=1, s3=8)
    with pytest.raises(DatasetError, match=r"needed for .*run-1_T1w.nii.gz: the series had no name") as error:
        centre.place("01")
    assert error.value.where == str(centre.image("1.1", NAMELESS))
    assert f"--forcerun {centre.study('1.1')}/receipt.json" in error.value.hint
    assert {path: path.stat().st_mtime_ns for path in centre.bids.rglob("*")} == before
    centre.made("1.1", "1-1", NAMELESS, "3-1")  # the way back
    centre.place("01")
    assert sha256(centre.placed("01", 1)) == centre.digests["1.1", NAMELESS]
    assert centre.conclude() == Freed(studies=1, images=3)


@pytest.mark.parametrize("happening", [_change, _remove, _link])
def test_a_file_that_somebody_changed_is_not_taken(
    centre: Centre, happening: Callable[[Path, Path], None]
) -> None:
    without_images(centre)
    happening(centre.placed("01", 1), centre.placed("01", 2))
    for run in (1, 5):
        centre.name("01", "1.1", s1=run, s3=2)
        with pytest.raises(DatasetError, match="holds it no more as it was"):
            centre.place("01")


def test_files_that_became_links_to_the_same_are_taken(centre: Centre) -> None:
    """As git-annex makes of them, and with it DataLad."""
    without_images(centre)
    kept = centre.bids / ".git" / "annex"
    kept.mkdir(parents=True)
    for run in (1, 2):
        file = centre.placed("01", run)
        file.rename(kept / f"{run}.nii.gz")
        file.symlink_to(kept / f"{run}.nii.gz")
    centre.name("01", "1.1", s1=1, s3=5)
    centre.place("01")
    for stack, run in (("1-1", 1), ("3-1", 5)):
        assert not centre.placed("01", run).is_symlink()
        assert sha256(centre.placed("01", run)) == centre.digests["1.1", stack]
    assert len(list(kept.iterdir())) == 2


def test_a_workdir_of_an_older_backup_knows_a_file_by_its_content(centre: Centre) -> None:
    without_images(centre)
    session = centre.work / "sessions/sub-01"
    shutil.copytree(session, centre.work / "backup")
    centre.name("01", "1.1", s1=5, s3=6)
    centre.place("01")
    shutil.rmtree(session)
    (centre.work / "backup").rename(session)
    before = [centre.placed("01", run).stat().st_ino for run in (5, 6)]
    centre.place("01")
    assert [centre.placed("01", run).stat().st_ino for run in (5, 6)] == before
    assert centre.conclude() == Freed(studies=0, images=0)


def test_a_study_goes_to_another_session_with_its_images(centre: Centre) -> None:
    without_images(centre)
    centre.lists(("1.1", "02"))
    centre.name("02", "1.1", s1=3, s3=4)
    centre.place("02")
    assert centre.conclude() == Freed(studies=0, images=2)
    assert let_go_images(centre.study("1.1"))["1-1.nii.gz"].sessions == ("sub-02",)
    centre.prune()
    assert not centre.placed("01", 1).exists()
    assert not centre.image("1.1", "1-1").exists()  # session 02 holds it
    assert sha256(centre.placed("02", 3)) == centre.digests["1.1", "1-1"]
    centre.place("02")


def test_two_sessions_may_bring_an_image_back_at_one_time(
    centre: Centre, monkeypatch: pytest.MonkeyPatch
) -> None:
    without_images(centre)
    centre.lists(("1.1", "02"))
    centre.name("02", "1.1", s1=1)

    def other_was_first(file: Path, source: Path, _: str) -> bool:
        shutil.copy2(source, file)
        return False

    monkeypatch.setattr(images, "_is_brought_back", other_was_first)
    centre.place("02")
    assert sha256(centre.placed("02", 1)) == centre.digests["1.1", "1-1"]


def test_a_record_that_cannot_be_read_is_not_to_be_deleted(centre: Centre) -> None:
    without_images(centre)
    (centre.study("1.1") / "released.json").write_text("{")
    with pytest.raises(HeaderError, match="It tells what `keep` removed") as error:
        centre.place("01")
    assert "delete" not in str(error.value)
    assert "--forcerun" in error.value.hint
    assert centre.conclude(at_once=True) == Freed(studies=0, images=0)
    assert where_is(centre.study("1.1"), "1-1.nii.gz", centre.bids) is None


def test_prune_before_the_next_run_puts_images_back(centre: Centre) -> None:
    without_images(centre)
    centre.lists(("1.1", "02"), ("1.2", "03"))
    centre.made("1.2", "1-1")
    centre.prune()
    assert not centre.placed("01", 1).exists()
    centre.name("02", "1.1", s1=1, s3=2)
    centre.place("02")
    assert sha256(centre.placed("02", 1)) == centre.digests["1.1", "1-1"]
    # whose study is not in the table any more: that it goes is what was asked for
    centre.place("03")
    centre.conclude()
    centre.lists(("1.2", "03"))
    centre.prune()
    assert not centre.image("1.1", "1-1").exists()
    assert not centre.placed("02", 1).exists()


def test_a_session_that_keeps_another_study_puts_the_images_of_one_that_left_back(centre: Centre) -> None:
    centre.made("1.2", "1-1")
    centre.lists(("1.1", "01"), ("1.2", "01"))
    centre.name("01", "1.2", s1=3)
    centre.place("01")
    assert centre.conclude() == Freed(studies=2, images=3)
    centre.lists(("1.1", "02"), ("1.2", "01"))
    centre.place("01")  # first: its files of the other study go
    assert not centre.placed("01", 1).exists()
    centre.name("02", "1.1", s1=1, s3=2)
    centre.place("02")
    assert sha256(centre.placed("02", 2)) == centre.digests["1.1", "3-1"]


def test_faces_go_later_and_the_original_is_with_its_study_again(centre: Centre, tmp_path: Path) -> None:
    without_images(centre)
    whole = {stack: centre.digests["1.1", stack] for stack in ("1-1", "3-1")}
    centre.place("01", _defacing(tmp_path))
    for stack, run in (("1-1", 1), ("3-1", 2)):
        assert sha256(centre.image("1.1", stack)) == whole[stack]
        assert sha256(centre.placed("01", run)) != whole[stack]
    assert centre.conclude() == Freed(studies=0, images=0)
    centre.place("01")  # and come back
    assert sha256(centre.placed("01", 1)) == whole["1-1"]
    assert centre.conclude() == Freed(studies=0, images=2)


def test_pictures_are_drawn_of_what_the_dataset_holds(centre: Centre) -> None:
    study = centre.study("1.1")
    assert where_is(study, "1-1.nii.gz", centre.bids) == centre.image("1.1", "1-1")
    without_images(centre)
    centre.conclude(at_once=True)
    assert where_is(study, "1-1.nii.gz", centre.bids) == centre.placed("01", 1)
    assert where_is(study, "2-1.nii.gz", centre.bids) is None
    assert where_is(study, "9-1.nii.gz", centre.bids) is None


# ------------------------------------------------------------------------------------- kills and full disks


def test_a_kill_after_the_record_leaves_the_truth(centre: Centre, monkeypatch: pytest.MonkeyPatch) -> None:
    unlink = Path.unlink

    def killed(path: Path, *, missing_ok: bool = False) -> None:
        if path == centre.image("1.1", "1-1"):
            raise KeyboardInterrupt
        unlink(path, missing_ok=missing_ok)

    centre.check()
    going = let_go(load_config(centre.config))
    with monkeypatch.context() as patch:
        patch.setattr(Path, "unlink", killed)
        with pytest.raises(KeyboardInterrupt):
            release_all(going, "none")
    mark = released_of(centre.study("1.1"))
    assert mark is not None
    assert mark.images.keys() == {"1-1.nii.gz", "3-1.nii.gz"}
    assert let_go_images(centre.study("1.1")) == {}  # they are there
    centre.name("01", "1.1", s1=3, s3=2)
    centre.place("01")
    assert centre.conclude() == Freed(studies=0, images=2)


def test_a_full_disk_removes_nothing(centre: Centre, monkeypatch: pytest.MonkeyPatch) -> None:
    without_images(centre)

    def full(*_: object, **__: object) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    centre.name("01", "1.1", s1=1)
    with monkeypatch.context() as patch:
        patch.setattr(images, "_copy_of", full)
        with pytest.raises(DatasetError, match="No space left"):
            centre.place("01")
        assert sha256(centre.placed("01", 2)) == centre.digests["1.1", "3-1"]
        assert not list((centre.study("1.1") / "volumes").glob(".*.part"))
    centre.place("01")
    assert not centre.is_lost("1.1", "3-1")


class Killer:
    """Kills at one of the steps that change something, before it is done."""

    def __init__(self, patch: pytest.MonkeyPatch) -> None:
        self.left = -1
        for where, name in (
            (owned, "link_or_copy"),
            (owned, "write_record"),
            (images, "_copy_of"),
            (Path, "unlink"),
            (Path, "replace"),
        ):
            self._watch(patch, where, name)

    def _watch(self, patch: pytest.MonkeyPatch, where: object, name: str) -> None:
        real = getattr(where, name)

        def counted(*given: object, **named: object) -> object:
            self.left -= 1
            if self.left == 0:
                raise KeyboardInterrupt
            return real(*given, **named)

        patch.setattr(where, name, counted)


class Walk:
    """Someone who edits, corrects, runs, kills, prunes and waits, by chance."""

    def __init__(self, centre: Centre, seed: int, killer: Killer) -> None:
        self.centre, self.chance, self.killer = centre, random.Random(seed), killer
        self.stacks = {f"1.{number}": ["1-1", "2-1", "3-1"][: 1 + number % 3] for number in (1, 2, 3)}
        self.subjects = ("01", "02", "03")
        for uid, stacks in self.stacks.items():
            centre.made(uid, *stacks)
        self.correct()

    def step(self) -> str:
        steps = {
            self.edit: 4,
            self.correct: 1,
            self.place: 6,
            self.kill: 3,
            self.conclude: 4,
            self.prune: 1,
            self.bring_again: 1,
        }
        (what,) = self.chance.choices(list(steps), list(steps.values()))
        what()
        return what.__name__

    def edit(self) -> None:
        for subject in self.subjects:
            runs = list(range(1, 10))
            self.chance.shuffle(runs)
            for uid, stacks in self.stacks.items():
                named = [stack for stack in stacks if self.chance.random() < 0.8]
                self.centre.name(subject, uid, **{f"s{stack[0]}": runs.pop() for stack in named})

    def correct(self) -> None:
        rows = [(uid, self.chance.choice(self.subjects)) for uid in self.stacks]
        if self.chance.random() < 0.3:  # a study of two sessions
            rows.append((rows[0][0], self.chance.choice(self.subjects)))
        self.centre.lists(*dict.fromkeys(rows))

    def place(self) -> None:
        for subject in self.chance.sample(self.subjects, self.chance.randint(1, 3)):
            if subject not in {its for _, its in self.centre.table}:
                continue
            try:
                placed = self.centre.place(subject)
            except DatasetError as error:
                assert "had no name then" in str(error), error  # noqa: PT017 - all others are faults
                continue
            for path, digest in placed.files.items():
                assert sha256(self.centre.bids / path) == digest, path

    def kill(self) -> None:
        self.killer.left = self.chance.randint(1, 40)
        with suppress(KeyboardInterrupt):
            self.chance.choice([self.place, self.place, self.conclude])()
        self.killer.left = -1

    def conclude(self) -> None:
        self.centre.conclude(at_once=self.chance.random() < 0.2)

    def prune(self) -> None:
        self.centre.prune()

    def bring_again(self) -> None:
        uid = self.chance.choice(list(self.stacks))
        self.centre.made(uid, *self.stacks[uid])


@pytest.mark.parametrize("seed", range(4))
def test_no_image_with_a_name_is_ever_lost(
    tmp_path: Path, elsewhere: Path, seed: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    centre = Centre(tmp_path, elsewhere)
    walk = Walk(centre, seed, Killer(monkeypatch))
    steps = []
    for _ in range(60):
        steps.append(walk.step())
        lost = [key for key in centre.digests if centre.is_lost(*key)]
        assert not lost, (lost, steps)
    # each that is not gone for good is found by whoever names it, whatever was left lying about
    centre.lists(*((uid, "04") for uid in walk.stacks))
    kept = {key for key in centre.digests if not _is_gone(centre, *key)}
    for number, uid in enumerate(walk.stacks):
        stacks = [stack for one, stack in kept if one == uid]
        centre.name("04", uid, **{f"s{stack[0]}": 10 * number + int(stack[0]) + 1 for stack in stacks})
    placed = centre.place("04")
    assert {centre.digests[key] for key in kept} <= set(placed.files.values())
    assert all(sha256(centre.bids / path) == digest for path, digest in placed.files.items())


def _is_gone(centre: Centre, uid: str, stack: str) -> bool:
    gone = let_go_images(centre.study(uid)).get(f"{stack}.nii.gz")
    return gone is not None and not gone.sessions
