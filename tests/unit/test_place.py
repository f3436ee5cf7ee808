"""Placing a session: names, sidecars, the scans table; renames, kills and files that are not ours."""

from __future__ import annotations

import dataclasses
import fcntl
import hashlib
import json
import logging
import os
import shutil
import stat
import sys
import tarfile
from dataclasses import dataclass, field
from datetime import datetime
from pathlib import Path

import bidsschematools.schema
import pytest
from msgspec.structs import replace

from pacs2bids.__main__ import main
from pacs2bids.dates import Hide, read_key
from pacs2bids.files import read_record, read_tsv, write_record
from pacs2bids.model import (
    ConfigError,
    DatasetError,
    FailedStack,
    Identity,
    Json,
    Manifest,
    PlacedSession,
    PlanRow,
    Receipt,
    ReceivedInstance,
    SeriesInfo,
    StudyIndex,
    VolumeFile,
)
from pacs2bids.notes import noted_in
from pacs2bids.owned import changes, session_labels
from pacs2bids.place import GRADIENT_NAMES, StudyVolumes, participant_facts, place_session
from pacs2bids.plan_table import write_plan

UID = "1.2.3"
T1W = "sub-01/ses-a/anat/sub-01_ses-a_T1w"
BOLD = "sub-01/ses-a/func/sub-01_ses-a_task-rest_bold"
DWI = "sub-01/ses-a/dwi/sub-01_ses-a_dwi"
DAY_ONE = Hide(policy="day_one")
SCANS = "sub-01/ses-a/sub-01_ses-a_scans"


def a_row(stack_id: str, bids_name: str, acquired: str = "", **metadata: Json) -> PlanRow:
    return PlanRow(
        study_instance_uid=UID,
        series_instance_uid=f"{UID}.{stack_id[:3]}",
        series_number=int(stack_id[:3]),
        series_description="",
        stack_id=stack_id,
        acquired=acquired,
        dims="4x4x4x1",
        instances=4,
        bids_name=bids_name,
        reason="" if bids_name else "no rule names it",
        metadata=metadata,
    )


@dataclass
class Session:
    """A work folder with one reconstructed study, and a dataset to place it into."""

    root: Path
    key: str = "sub-01_ses-a"
    failed: tuple[FailedStack, ...] = ()
    volumes: dict[str, VolumeFile] = field(default_factory=dict)

    @property
    def bids(self) -> Path:
        return self.root / "bids"

    @property
    def session_dir(self) -> Path:
        return self.root / "work" / "sessions" / self.key

    @property
    def folder(self) -> Path:
        return self.root / "work" / "studies" / UID / "volumes"

    def add(self, stack_id: str, gradients: str = "", **sidecar: Json) -> None:
        self.folder.mkdir(parents=True, exist_ok=True)
        files = {".nii.gz": f"voxels of {stack_id}", ".json": json.dumps(sidecar)}
        if gradients:
            files |= {".bval": f"{gradients}\n", ".bvec": "0 1\n0 0\n0 0\n"}
        digests = {}
        for extension, content in files.items():
            path = self.folder / f"{stack_id}{extension}"
            path.unlink(missing_ok=True)
            path.write_text(content)
            digests[path.name] = hashlib.sha256(content.encode()).hexdigest()
        self.volumes[stack_id] = VolumeFile(stack_id=stack_id, input_digest="", files=digests)

    @property
    def manifest(self) -> Manifest:
        volumes = tuple(self.volumes.values())
        return Manifest(engine_version="0", study_instance_uid=UID, volumes=volumes, failed=self.failed)

    def place(self, *rows: PlanRow, hide: Hide = DAY_ONE) -> PlacedSession:
        self.session_dir.mkdir(parents=True, exist_ok=True)
        study = StudyVolumes(folder=self.folder, manifest=self.manifest)
        return place_session(
            session_dir=self.session_dir,
            bids=self.bids,
            rows=rows,
            studies={row.study_instance_uid: study for row in rows},
            participant={"age": 30},
            hide=hide,
        )

    def tree(self) -> dict[str, bytes | None]:
        """Everything in the dataset, folders (None) and hidden files too."""
        return {
            path.relative_to(self.bids).as_posix(): path.read_bytes() if path.is_file() else None
            for path in self.bids.rglob("*")
        }


@pytest.fixture
def session(tmp_path: Path) -> Session:
    made = Session(root=tmp_path)
    made.add("002-1", Manufacturer="Phantom", EchoTime=0.003)
    made.add("003-1", RepetitionTime=2.0)
    made.add("004-1", gradients="0 1000")
    return made


ROWS = (
    a_row("002-1", T1W, "2026-03-04T10:00:00"),
    a_row("003-1", BOLD, "2026-03-04T09:30:00.250000", TaskName="rest"),
    a_row("004-1", DWI, "2026-03-05T00:10:00"),
    a_row("001-1", "", "2026-03-03T23:59:00"),
)


# ---------------------------------------------------------------------------------------------- the files


def test_volumes_are_the_same_file_read_only(session: Session) -> None:
    session.place(*ROWS)
    placed = session.bids / f"{T1W}.nii.gz"
    assert placed.samefile(session.folder / "002-1.nii.gz")
    assert stat.S_IMODE(placed.stat().st_mode) == 0o444


def test_volumes_are_copied_where_links_are_impossible(
    session: Session, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(*_: object) -> None:
        raise OSError(18, "Invalid cross-device link")

    monkeypatch.setattr(os, "link", refuse)
    session.place(*ROWS)
    placed = session.bids / f"{T1W}.nii.gz"
    assert not placed.samefile(session.folder / "002-1.nii.gz")
    assert placed.read_text() == "voxels of 002-1"
    assert stat.S_IMODE(placed.stat().st_mode) == 0o444
    inode = placed.stat().st_ino
    session.place(*ROWS)
    assert placed.stat().st_ino == inode, "an unchanged copy is not made again"


def test_the_record_holds_the_digests_of_what_is_on_disk(session: Session) -> None:
    placed = session.place(*ROWS)
    on_disk = {
        path: hashlib.sha256(content).hexdigest()
        for path, content in session.tree().items()
        if content is not None
    }
    tables = {path: on_disk.pop(path) for path in (f"{SCANS}.json", f"{SCANS}.tsv")}
    assert placed.files == on_disk
    assert set(placed.tables) == set(tables)
    assert placed.volumes == {T1W: f"{UID}/002-1", BOLD: f"{UID}/003-1", DWI: f"{UID}/004-1"}
    assert (placed.subject, placed.session, placed.participant) == ("01", "a", {"age": 30})
    assert read_record(session.session_dir / "placed.json", PlacedSession) == placed


def test_the_name_completes_the_sidecar_and_wins(session: Session) -> None:
    session.place(a_row("002-1", T1W, EchoTime=0.004, B0FieldSource="b", AcquisitionVoxelSize=[1, 1, 1]))
    text = (session.bids / f"{T1W}.json").read_text()
    assert list(json.loads(text).items()) == [
        ("Manufacturer", "Phantom"),
        ("EchoTime", 0.004),
        ("AcquisitionVoxelSize", [1, 1, 1]),
        ("B0FieldSource", "b"),
    ]
    assert text.endswith("}\n")


def test_what_the_plan_takes_away_is_not_in_the_sidecar(session: Session) -> None:
    session.place(a_row("002-1", T1W, EchoTime=None))
    assert json.loads((session.bids / f"{T1W}.json").read_text()) == {"Manufacturer": "Phantom"}


def test_gradients_go_where_bids_allows_them(
    session: Session, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    # a logger of its own: the command line sets up that of the package
    monkeypatch.setattr("pacs2bids.place.log", logging.getLogger("test_place"))
    assert set(session.place(*ROWS).files) >= {f"{DWI}.bval", f"{DWI}.bvec"}
    assert not caplog.messages
    sbref = DWI.replace("_dwi", "_sbref")
    files = session.place(a_row("004-1", sbref)).files
    assert not [name for name in files if name.endswith((".bval", ".bvec"))]
    told = [record.message for record in caplog.records if record.levelno == logging.WARNING]
    assert told == [f"{sbref}: BIDS has no place for its b-values under this name"]


def test_names_with_gradients_are_those_of_the_schema() -> None:
    rules = bidsschematools.schema.load_schema().rules.files.raw
    allowed = {
        (datatype, suffix)
        for rules_of_file in rules
        for rule in rules[rules_of_file].values()
        if ".bval" in rule.get("extensions", ())
        for datatype in rule["datatypes"]
        for suffix in rule["suffixes"]
    }
    assert allowed == GRADIENT_NAMES


def test_scans_are_in_time_order_with_the_day_hidden(session: Session) -> None:
    session.add("005-1")
    session.place(*ROWS, a_row("005-1", T1W.replace("T1w", "T2w")))
    # the session's first day is that of the series without a name, 3 March
    assert (session.bids / f"{SCANS}.tsv").read_text().splitlines() == [
        "filename\tacq_time",
        "func/sub-01_ses-a_task-rest_bold.nii.gz\t1900-01-02T09:30:00.250000",
        "anat/sub-01_ses-a_T1w.nii.gz\t1900-01-02T10:00:00",
        "dwi/sub-01_ses-a_dwi.nii.gz\t1900-01-03T00:10:00",
        "anat/sub-01_ses-a_T2w.nii.gz\tn/a",
    ]
    assert "2026" not in (session.bids / f"{SCANS}.json").read_text()


def scans_of(session: Session) -> list[list[str]]:
    return [line.split("\t") for line in (session.bids / f"{SCANS}.tsv").read_text().splitlines()]


def noted(session: Session, **notes: str) -> None:
    """Write a column "quality" into the scans table, as a person does: by suffix of the file."""
    head, *rows = scans_of(session)
    cells = [next((note for end, note in notes.items() if f"_{end}." in row[0]), "") for row in rows]
    table = [[*head, "quality"], *([*row, cell] for row, cell in zip(rows, cells, strict=True))]
    (session.bids / f"{SCANS}.tsv").write_text("".join("\t".join(row) + "\n" for row in table))


def test_notes_of_people_on_scans_follow_the_volumes(session: Session) -> None:
    session.place(*ROWS)
    noted(session, T1w="moved", dwi="good")
    about = session.bids / f"{SCANS}.json"
    about.write_text(json.dumps(json.loads(about.read_text()) | {"quality": {"Description": "by eye"}}))
    other = T1W.replace("T1w", "acq-two_T1w")
    session.place(replace(ROWS[0], bids_name=other), *ROWS[1:])
    head, _, t1w, dwi = scans_of(session)
    assert head == ["filename", "acq_time", "quality"]
    assert t1w == [f"{other.removeprefix('sub-01/ses-a/')}.nii.gz", "1900-01-02T10:00:00", "moved"]
    assert dwi[2] == "good"
    assert json.loads(about.read_text())["quality"] == {"Description": "by eye"}
    session.place(ROWS[1], ROWS[2], ROWS[3])  # the T1w has no name for a while
    assert [row[2] for row in scans_of(session)] == ["quality", "n/a", "good"]
    session.place(*ROWS)
    assert [row[2] for row in scans_of(session)] == ["quality", "n/a", "moved", "good"]


def test_notes_of_people_stay_with_volumes_that_swap_names(session: Session) -> None:
    one, two = (T1W.replace("T1w", f"run-{run}_T1w") for run in (1, 2))
    rows = [a_row("002-1", one, "2026-03-04T10:00:00"), a_row("003-1", two, "2026-03-04T11:00:00")]
    session.place(*rows)
    text = (session.bids / f"{SCANS}.tsv").read_text()
    lines = [
        f"{line}\t{note}\n" for line, note in zip(text.splitlines(), ("note", "first", "second"), strict=True)
    ]
    (session.bids / f"{SCANS}.tsv").write_text("".join(lines))
    session.place(*(replace(row, bids_name=name) for row, name in zip(rows, (two, one), strict=True)))
    assert [(row[0][-13:-7], row[2]) for row in scans_of(session)[1:]] == [
        ("-2_T1w", "first"),
        ("-1_T1w", "second"),
    ]


RUNS = tuple(BOLD.replace("_bold", f"_run-{run}_bold") for run in (1, 2, 3))


def runs_of(*stack_ids: str) -> list[PlanRow]:
    """Runs 1 to 3, all at one time, as of echoes or without any; "" for a run that is not."""
    return [a_row(stack_id, name) for stack_id, name in zip(stack_ids, RUNS, strict=False) if stack_id]


def note_each(session: Session) -> None:
    """Note of each run what its voxels are."""
    _, *rows = scans_of(session)
    voxels = [(session.bids / "sub-01/ses-a" / row[0]).read_text() for row in rows]
    table = [
        ["filename", "acq_time", "quality"],
        *([*row[:2], f"of {text[-5:]}"] for row, text in zip(rows, voxels, strict=True)),
    ]
    (session.bids / f"{SCANS}.tsv").write_text("".join("\t".join(row) + "\n" for row in table))


def notes_by_run(session: Session) -> list[str]:
    return [f"{row[0][-13:-12]}: {row[2] if len(row) > 2 else 'n/a'}" for row in scans_of(session)[1:]]


@pytest.mark.parametrize(
    ("before", "after", "notes"),
    [
        (("003-1",), ("004-1",), ["1: n/a"]),
        (("003-1", "004-1"), ("", "003-1"), ["2: of 003-1"]),
        (("003-1", "004-1"), ("004-1",), ["1: of 004-1"]),
        (("003-1", "004-1"), ("004-1", "003-1"), ["1: of 004-1", "2: of 003-1"]),
        (("003-1", "004-1"), ("002-1", "003-1", "004-1"), ["1: n/a", "2: of 003-1", "3: of 004-1"]),
    ],
    ids=["another volume", "the other is dropped", "the first is dropped", "swapped", "an earlier one"],
)
def test_a_note_is_never_put_on_another_volume(
    session: Session, before: tuple[str, ...], after: tuple[str, ...], notes: list[str]
) -> None:
    session.place(*runs_of(*before))
    note_each(session)
    noted = notes_by_run(session)
    session.place(*runs_of(*after))
    assert notes_by_run(session) == notes
    session.place(*runs_of(*before))
    assert notes_by_run(session) == noted, "notes on volumes without a name are kept for when they have one"


def test_notes_stay_with_their_volumes_after_a_refusal_and_an_edit(session: Session) -> None:
    session.place(*runs_of("003-1", "004-1"))
    note_each(session)
    in_the_way = session.bids / f"{T1W}.json"
    in_the_way.parent.mkdir()
    in_the_way.write_text("{}")
    with pytest.raises(DatasetError, match="this session did not place it"):
        session.place(*runs_of("004-1", "003-1"), a_row("002-1", T1W))
    in_the_way.unlink()
    table = session.bids / f"{SCANS}.tsv"
    table.write_text(table.read_text().replace("of 003-1", "of 003-1, bad"))
    session.place(*runs_of("004-1", "003-1"))
    assert notes_by_run(session) == ["1: of 004-1", "2: of 003-1, bad"]


def test_notes_stay_with_their_volumes_after_a_kill(session: Session) -> None:
    one, two = runs_of("003-1", "004-1"), runs_of("004-1", "003-1")
    session.place(*one)
    note_each(session)
    step, told_apart = 0, 0
    while _killed_at(session, tuple(two), step):
        session.place(*two)
        assert notes_by_run(session) == ["1: of 004-1", "2: of 003-1"], f"killed at step {step}"
        session.place(*one)
        assert notes_by_run(session) == ["1: of 003-1", "2: of 004-1"], f"killed at step {step}"
        _killed_at(session, tuple(two), step)
        table = session.bids / f"{SCANS}.tsv"
        table.write_text(table.read_text().replace("quality", "grade"))  # meanwhile a person edits it
        session.place(*one)
        right, kept = {"1: of 003-1", "2: of 004-1"}, (session.session_dir / "scans.base.json").read_text()
        assert set(notes_by_run(session)) <= {*right, "1: n/a", "2: n/a"}
        told_apart += set(notes_by_run(session)) == right
        assert all(note[3:] in kept for note in right - set(notes_by_run(session)))
        table.write_text("".join("\t".join(row[:2]) + "\n" for row in scans_of(session)))
        (session.session_dir / "scans.base.json").unlink()
        session.place(*one)
        note_each(session)
        step += 1
    assert 0 < told_apart < step, "some of the kills must have been between the two records"


def test_dates_of_a_subject_are_shifted_alike(session: Session, tmp_path: Path) -> None:
    hide = Hide(policy="shift", key=read_key(tmp_path / "dates.key", tmp_path))
    assert stat.S_IMODE((tmp_path / "dates.key").stat().st_mode) == 0o600
    assert read_key(tmp_path / "dates.key", tmp_path) == hide.key
    placed = session.place(*ROWS, hide=hide)
    told = [datetime.fromisoformat(row[1]) for row in scans_of(session)[1:]]
    real = sorted(datetime.fromisoformat(row.acquired) for row in ROWS if row.bids_name)
    (shift,) = {there - here for there, here in zip(real, told, strict=True)}
    assert shift.seconds == 0
    assert told[-1].year <= 1925
    later = datetime(2031, 5, 6, 7, 8)
    assert hide.of("01", later).hidden(later) == (later - shift).isoformat()
    one, other = (Hide(policy="shift", key=key) for key in (b"one", b"other"))  # of any two, 1 in 3,653 agree
    assert one.of("02", later).days != one.of("01", later).days != other.of("01", later).days
    assert datetime.fromisoformat(placed.begun) - datetime.fromisoformat(placed.acq_time) == shift
    assert placed.begun == ROWS[3].acquired, "the series without a name began the session"
    assert hide.key.hex() not in placed.dates
    session.place(*ROWS, hide=Hide(policy="keep"))
    assert [datetime.fromisoformat(row[1]) for row in scans_of(session)[1:]] == real


def received(session: Session, series: str, **contents: bytes) -> None:
    """The study's DICOM files and their receipt."""
    study = session.folder.parent
    instances = []
    for name, content in contents.items():
        path = f"{series}/{name}.dcm"
        (study / "dicom" / series).mkdir(parents=True, exist_ok=True)
        (study / "dicom" / path).write_bytes(content)
        one = ReceivedInstance(
            sop_instance_uid=name,
            sop_class_uid="",
            series_instance_uid=series,
            transfer_syntax_uid="",
            path=path,
            bytes=len(content),
            sha256=hashlib.sha256(content).hexdigest(),
        )
        instances.append(one)
    receipt = Receipt(
        study_instance_uid=UID,
        source="x",
        kind="folder",
        complete=True,
        started="",
        finished="",
        announced={},
        received=tuple(instances),
    )
    write_record(study / "receipt.json", receipt)


def test_dicom_files_go_into_sourcedata(session: Session) -> None:
    received(session, f"{UID}.002", b=b"second", a=b"first")
    row = replace(ROWS[0], sourcedata=f"sourcedata/{T1W}")
    placed = session.place(row)
    path = session.bids / f"sourcedata/{T1W}.dicom.tgz"
    with tarfile.open(path) as tar:
        assert tar.getnames() == [f"{UID}.002/a.dcm", f"{UID}.002/b.dcm"]
        first = tar.extractfile(f"{UID}.002/a.dcm")
        assert first is not None
        assert first.read() == b"first"
    folders = [path, *path.parents]
    modes = [stat.S_IMODE(each.stat().st_mode) for each in folders[: folders.index(session.bids)]]
    assert modes == [0o400, *[0o700] * 4], "it holds identities"
    content, inode = path.read_bytes(), path.stat().st_ino
    assert placed.files[path.relative_to(session.bids).as_posix()] == hashlib.sha256(content).hexdigest()

    other = session.bids / f"sourcedata/{T1W.replace('T1w', 'acq-x_T1w')}.dicom.tgz"
    session.place(replace(row, sourcedata=f"sourcedata/{T1W.replace('T1w', 'acq-x_T1w')}"))
    assert not path.exists()
    assert other.stat().st_ino == inode, "another name costs no packing"
    for made in (session.folder.parent / "archives").iterdir():
        made.unlink()
    session.place(row)
    assert path.read_bytes() == content, "the same files give the same bytes"
    received(session, f"{UID}.002", a=b"first", b=b"changed")
    session.place(row)
    assert path.read_bytes() != content
    session.place(ROWS[0])
    assert not list((session.bids / "sourcedata").rglob("*.tgz"))


def test_dicom_files_that_cannot_go_into_sourcedata(session: Session) -> None:
    received(session, f"{UID}.002", a=b"first")
    rows = [replace(row, sourcedata=f"sourcedata/{T1W}") for row in ROWS[:2]]
    with pytest.raises(DatasetError, match="the DICOM files of two series"):
        session.place(*rows)
    with pytest.raises(DatasetError, match="planned outside sourcedata/sub-01/ses-a/"):
        session.place(replace(ROWS[0], sourcedata="sourcedata/sub-02/ses-a/x"))
    with pytest.raises(DatasetError, match=r"series 1\.2\.3\.003 is wanted in sourcedata and has no files"):
        session.place(rows[1])
    (session.folder.parent / "dicom" / f"{UID}.002" / "a.dcm").unlink()
    with pytest.raises(DatasetError, match="cannot be put into sourcedata: No such file"):
        session.place(rows[0])
    assert session.tree() == {}


def test_a_spoilt_key_is_an_error(tmp_path: Path) -> None:
    (tmp_path / "dates.key").write_text("no key\n")
    with pytest.raises(ConfigError, match="is no key for shifting dates"):
        read_key(tmp_path / "dates.key", tmp_path)


def test_a_lost_key_is_not_silently_made_anew(session: Session, tmp_path: Path) -> None:
    path, sessions = tmp_path / "dates.key", session.session_dir.parent
    session.place(*ROWS)  # by another policy: no key is lost
    hide = Hide(policy="shift", key=read_key(path, sessions))
    session.place(*ROWS, hide=hide)
    path.rename(tmp_path / "lost.key")
    with pytest.raises(ConfigError, match=r"is gone, by which the dates of sub-01_ses-a were shifted"):
        read_key(path, sessions)
    assert not path.exists()
    (session.session_dir / "placed.json").unlink()  # as the hint says
    assert read_key(path, sessions) != hide.key


def test_a_key_that_others_may_read_is_told_and_its_folder_left_alone(
    tmp_path: Path, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("pacs2bids.dates.log", logging.getLogger("test_place"))
    shared = tmp_path / "shared"
    shared.mkdir()
    shared.chmod(0o750)
    key = read_key(shared / "dates.key", tmp_path)
    assert stat.S_IMODE(shared.stat().st_mode) == 0o750
    assert not caplog.messages
    (shared / "dates.key").chmod(0o644)
    assert read_key(shared / "dates.key", tmp_path) == key
    assert "others may read it" in caplog.text


def test_times_of_a_year_that_cannot_be_shifted_are_not_told(session: Session) -> None:
    rows = [a_row("002-1", T1W, "0001-01-01T10:00:00"), a_row("003-1", BOLD, "2026-03-04T09:30:00")]
    placed = session.place(*rows, hide=Hide(policy="shift", key=b"phantom"))
    times = [row[1] for row in scans_of(session)[1:]]
    assert times[0][-8:] == "09:30:00"
    assert times[1] == "n/a"
    assert placed.acq_time == "", "when it began is as unknown"


def test_tables_go_beside_their_volume_and_with_it(session: Session) -> None:
    label = {"_aslcontext.tsv": "volume_type\ncontrol\nlabel\n"}
    asl = "sub-01/ses-a/perf/sub-01_ses-a_asl"
    placed = session.place(replace(a_row("002-1", asl), beside=label), a_row("003-1", BOLD))
    table = asl.removesuffix("_asl") + "_aslcontext.tsv"
    assert (session.bids / table).read_text() == label["_aslcontext.tsv"]
    assert placed.files[table] == hashlib.sha256(label["_aslcontext.tsv"].encode()).hexdigest()
    session.place(a_row("003-1", BOLD))
    assert not (session.bids / asl).parent.exists()


def test_a_table_of_all_echoes_is_one(session: Session) -> None:
    echoes = [BOLD.replace("_bold", f"_echo-{number}_bold") for number in (1, 2)]
    rows = [a_row(stack, echo) for stack, echo in zip(("002-1", "003-1"), echoes, strict=True)]
    session.place(*(replace(row, beside={"_events.tsv": "onset\tduration\n"}) for row in rows))
    assert (session.bids / f"{BOLD.removesuffix('_bold')}_events.tsv").exists()
    with pytest.raises(DatasetError, match=r"_task-rest_events.tsv: is planned with two contents"):
        session.place(*(replace(row, beside={"_events.tsv": row.stack_id}) for row in rows))


@pytest.mark.parametrize("acquired", ["", "2026-03-04", "yesterday"])
def test_a_time_that_is_not_told_is_not_invented(session: Session, acquired: str) -> None:
    session.place(a_row("002-1", T1W, acquired))
    assert (session.bids / f"{SCANS}.tsv").read_text().splitlines()[1].endswith("\tn/a")


# ---------------------------------------------------------------------------------------------- renames


def test_a_rename_leaves_nothing_behind(session: Session, tmp_path: Path) -> None:
    session.place(*ROWS)
    renamed = [a_row("002-1", BOLD), a_row("003-1", T1W.replace("T1w", "T2w"))]
    session.place(*renamed)
    fresh = Session(root=tmp_path / "fresh", volumes=session.volumes)
    fresh.folder.parent.mkdir(parents=True)
    fresh.folder.symlink_to(session.folder)
    fresh.place(*renamed)
    assert session.tree() == fresh.tree()
    assert not (session.bids / "sub-01/ses-a/dwi").exists()


def test_a_session_without_names_leaves_no_folder(session: Session) -> None:
    session.place(*ROWS)
    assert session.place(a_row("002-1", "")).files == {}
    assert session.tree() == {"sub-01": None}, "which may be another session's too"


def test_a_subject_without_sessions_leaves_no_folder(session: Session) -> None:
    row = a_row("002-1", "sub-01/anat/sub-01_T1w", "2026-03-04T10:00:00")
    session.session_dir.parent.mkdir(parents=True)
    studies = {UID: StudyVolumes(folder=session.folder, manifest=session.manifest)}
    for rows in ([row], []):
        placed = place_session(
            session_dir=session.session_dir.with_name("sub-01"),
            bids=session.bids,
            rows=rows,
            studies=studies,
            participant={},
            hide=DAY_ONE,
        )
        assert bool(placed.files) == bool(session.tree())
        assert not rows or "sub-01/sub-01_scans.tsv" in placed.tables


def test_files_of_others_survive_renames(session: Session) -> None:
    session.place(*ROWS)
    events = session.bids / "sub-01/ses-a/func/sub-01_ses-a_task-rest_events.tsv"
    events.write_text("onset\tduration\n")
    session.place(a_row("002-1", T1W))
    assert events.read_text() == "onset\tduration\n"
    assert not (session.bids / f"{BOLD}.nii.gz").exists()


def test_a_repeat_touches_nothing(session: Session) -> None:
    session.place(*ROWS)
    before = {path: path.stat() for path in session.bids.rglob("*")}
    session.place(*ROWS)
    after = {path: path.stat() for path in session.bids.rglob("*")}
    assert {p: (s.st_ino, s.st_mtime_ns) for p, s in before.items()} == {
        p: (s.st_ino, s.st_mtime_ns) for p, s in after.items()
    }


def test_the_record_tells_of_what_changes_no_file(session: Session) -> None:
    """The report shows it, and is made again for no more than the record."""
    *named, unnamed = ROWS
    before = session.place(*ROWS)
    assert session.place(*ROWS) == before
    other_reason = session.place(*named, replace(unnamed, reason="the heuristic failed"))
    session.failed = (FailedStack(stack_id="001-1", error="slices are missing"),)
    failed = session.place(*ROWS)
    assert len({before.basis, other_reason.basis, failed.basis}) == 3
    assert replace(other_reason, basis="") == replace(failed, basis="") == replace(before, basis="")


def test_a_volume_made_anew_is_placed_anew(session: Session) -> None:
    session.place(*ROWS)
    (session.folder / "002-1.nii.gz").unlink()
    (session.folder / "002-1.nii.gz").write_text("better voxels")
    digest = hashlib.sha256(b"better voxels").hexdigest()
    files = session.volumes["002-1"].files | {"002-1.nii.gz": digest}
    session.volumes["002-1"] = replace(session.volumes["002-1"], files=files)
    assert session.place(*ROWS).files[f"{T1W}.nii.gz"] == digest
    assert (session.bids / f"{T1W}.nii.gz").read_text() == "better voxels"


@pytest.mark.parametrize("name", [f"{T1W}.nii.gz", f"{T1W}.json", f"{SCANS}.tsv"])
def test_a_file_by_hand_is_never_overwritten(session: Session, name: str) -> None:
    target = session.bids / name
    target.parent.mkdir(parents=True)
    target.write_text("by hand")
    before = session.tree()
    with pytest.raises(DatasetError, match="this session did not place it") as error:
        session.place(*ROWS)
    assert str(target) in str(error.value)
    assert session.tree() == before, "nothing is written before the conflict is told"


@pytest.mark.parametrize("rows", [ROWS, ()], ids=["planned", "no longer planned"])
def test_a_file_changed_by_hand_is_kept(session: Session, rows: tuple[PlanRow, ...]) -> None:
    session.place(*ROWS)
    target = session.bids / f"{T1W}.nii.gz"
    target.unlink()
    target.write_text("defaced voxels")
    if rows:  # the volume itself is new as well
        session.add("002-1", Manufacturer="Phantom", EchoTime=0.005)
    with pytest.raises(DatasetError, match="was changed since it was placed"):
        session.place(*rows)
    assert target.read_text() == "defaced voxels"


EVENTS = "sub-01/ses-a/func/sub-01_ses-a_task-rest_events.tsv"


def with_events(name: str = BOLD, content: str = "onset\tduration\n") -> PlanRow:
    return replace(a_row("003-1", name), beside={"_events.tsv": content})


def test_events_that_people_filled_in_are_theirs(session: Session) -> None:
    session.place(with_events())
    target = session.bids / EVENTS
    target.write_text("onset\tduration\n1\t2\n")  # it may be written to
    for row in (with_events(), with_events(content="onset\tduration\ttrial_type\n")):
        placed = session.place(row)
        assert EVENTS not in placed.files
    session.place(with_events(BOLD.replace("rest", "still")))  # it goes with its volume
    assert not target.exists()
    assert (session.bids / EVENTS.replace("rest", "still")).read_text() == "onset\tduration\n1\t2\n"


def runs_with_events(*stack_ids: str) -> list[PlanRow]:
    names = [BOLD.replace("_bold", f"_run-{run}_bold") for run, _ in enumerate(stack_ids, start=1)]
    rows = [a_row(stack_id, name) for stack_id, name in zip(stack_ids, names, strict=True) if stack_id]
    return [replace(row, beside={"_events.tsv": "onset\tduration\n"}) for row in rows]


def events_of_runs(session: Session) -> list[str]:
    """The last lines of the tables of the runs, in order of their names."""
    tables = sorted(session.bids.glob("sub-01/ses-a/func/*_events.tsv"))
    return [f"{path.name[-12:-11]} {path.read_text().splitlines()[-1]}" for path in tables]


def fill_in(session: Session, run: int, text: str) -> None:
    path = session.bids / EVENTS.replace("_events", f"_run-{run}_events")
    path.write_text(f"onset\tduration\n{text}\n")


def test_filled_events_follow_their_volumes(session: Session) -> None:
    session.place(*runs_with_events("003-1", "004-1"))
    fill_in(session, 1, "of 3")
    fill_in(session, 2, "of 4")
    session.place(*runs_with_events("002-1", "003-1", "004-1"))  # an earlier series came late
    assert events_of_runs(session) == ["1 onset\tduration", "2 of 3", "3 of 4"]
    session.place(*runs_with_events("003-1", "004-1"))
    assert events_of_runs(session) == ["1 of 3", "2 of 4"]
    session.place(*runs_with_events("", "004-1"))  # a table without its volume is kept, and told
    assert events_of_runs(session) == ["1 of 3", "2 of 4"]
    for stacks in (("004-1",), ("002-1", "004-1"), ("004-1", "003-1")):
        before = session.tree()
        with pytest.raises(DatasetError, match=r"was written by people, .* Move it out of the dataset"):
            session.place(*runs_with_events(*stacks))
        assert session.tree() == before
    away = session.bids / EVENTS.replace("_events", "_run-1_events")
    away.rename(session.root / "away.tsv")
    session.place(*runs_with_events("004-1", "003-1"))  # the hint was followed
    assert events_of_runs(session) == ["1 of 4", "2 onset\tduration"]
    (session.root / "away.tsv").rename(session.bids / EVENTS.replace("_events", "_run-2_events"))
    session.place(*runs_with_events("002-1", "004-1", "003-1"))
    assert events_of_runs(session) == ["1 onset\tduration", "2 of 4", "3 of 3"]


def test_filled_events_of_a_killed_run_follow_their_volumes(session: Session) -> None:
    two, three = runs_with_events("003-1", "004-1"), runs_with_events("002-1", "003-1", "004-1")
    session.place(*two)
    fill_in(session, 1, "of 3")
    fill_in(session, 2, "of 4")
    step = 0
    while _killed_at(session, tuple(three), step):
        session.place(*three)
        assert events_of_runs(session) == ["1 onset\tduration", "2 of 3", "3 of 4"], f"killed at step {step}"
        session.place(*two)
        assert events_of_runs(session) == ["1 of 3", "2 of 4"]
        _killed_at(session, tuple(three), step)
        session.place(*two)
        assert events_of_runs(session) == ["1 of 3", "2 of 4"], f"killed at step {step}, then edited back"
        step += 2
    assert step > 10, "the kills must have hit work in progress"


def test_events_that_people_delete_stay_away(session: Session) -> None:
    rows = runs_with_events("003-1", "004-1")
    session.place(*rows)
    fill_in(session, 1, "of 3")
    for run in (1, 2):
        (session.bids / EVENTS.replace("_events", f"_run-{run}_events")).unlink()
    for these in (rows, runs_with_events("002-1", "003-1", "004-1")):
        session.place(*these)
        assert events_of_runs(session) == ["1 onset\tduration"][: len(these) - 2]
    session.place(*runs_of("002-1", "003-1", "004-1"))  # events: none
    session.place(*runs_with_events("002-1", "003-1", "004-1"))
    assert events_of_runs(session) == [f"{run} onset\tduration" for run in (1, 2, 3)]
    shutil.rmtree(session.bids)  # nobody means the tables by that
    session.place(*rows)
    assert events_of_runs(session) == [f"{run} onset\tduration" for run in (1, 2)]


def put_beside(session: Session) -> None:
    """What people put beside two runs for which we begin no table."""
    for run, text in ((1, "of 3"), (2, "of 4")):
        fill_in(session, run, text)
        stem = str(session.bids / BOLD.replace("_bold", f"_run-{run}"))
        for end in ("_events.json", "_recording-pulse_physio.tsv.gz", "_stim.json"):
            Path(f"{stem}{end}").write_text(text)


def what_is_beside(session: Session) -> dict[str, str]:
    paths = (path for path in (session.bids / BOLD).parent.iterdir() if "_bold" not in path.name)
    return {path.name.partition("rest_")[2]: path.read_text().split("\n", 1)[-1].strip() for path in paths}


def test_what_people_put_beside_runs_follows_them(session: Session) -> None:
    two, three = runs_of("003-1", "004-1"), runs_of("002-1", "003-1", "004-1")
    session.place(*two)
    put_beside(session)
    before = what_is_beside(session)
    after = {name.replace("run-2", "run-3").replace("run-1", "run-2"): said for name, said in before.items()}
    step = 0
    while _killed_at(session, tuple(three), step):
        session.place(*three)
        assert what_is_beside(session) == after, f"killed at step {step}"
        session.place(*two)
        assert what_is_beside(session) == before
        step += 7
    assert step > 20


def events_of_session(session: Session, rows: tuple[PlanRow, ...]) -> dict[str, str]:
    """What stands in all tables of events, by session, after it was placed."""
    session.place(*rows)
    return {path.parts[-3]: path.read_text() for path in session.bids.rglob("*_events.tsv")}


@pytest.mark.parametrize("is_ours", [True, False], ids=["a skeleton", "of their own"])
def test_events_follow_a_study_into_another_session(
    session: Session, is_ours: bool, capsys: pytest.CaptureFixture[str]
) -> None:
    here = (with_events() if is_ours else a_row("003-1", BOLD),)
    there = (replace(here[0], bids_name=BOLD.replace("ses-a", "ses-b")),)
    other = dataclasses.replace(session, key="sub-01_ses-b")
    session.place(*here)
    (session.bids / EVENTS).write_text("first")
    (session.bids / EVENTS.replace(".tsv", ".json")).write_text("{}")
    step = 0
    while _killed_at(other, there, step):
        step += 3
    assert step > 9
    assert events_of_session(other, there) == {"ses-a": "first", "ses-b": "first"}
    assert (session.bids / EVENTS.replace("ses-a", "ses-b").replace(".tsv", ".json")).read_text() == "{}"
    (session.bids / EVENTS.replace("ses-a", "ses-b")).write_text("second")
    assert events_of_session(session, ()) == {"ses-b": "second"}, "the copy replaces what it was made of"
    assert events_of_session(session, here) == {"ses-a": "second", "ses-b": "second"}
    table_of(session, "a")
    assert prune(session, "--yes") == 0
    assert "stays" not in capsys.readouterr().err
    assert not (session.bids / "sub-01/ses-b").exists()
    assert events_of_session(session, here) == {"ses-a": "second"}


def test_events_that_were_written_in_both_sessions_are_kept_in_both(session: Session) -> None:
    other = dataclasses.replace(session, key="sub-01_ses-b")
    there = (with_events(BOLD.replace("ses-a", "ses-b")),)
    session.place(with_events())
    (session.bids / EVENTS).write_text("first")
    other.place(*there)
    (session.bids / EVENTS).write_text("changed in the old place")
    (session.bids / EVENTS.replace("ses-a", "ses-b")).write_text("second")
    assert events_of_session(session, (with_events(),)) == {
        "ses-a": "changed in the old place",
        "ses-b": "second",
    }


def test_events_that_nobody_filled_in_move_with_their_volume(session: Session) -> None:
    session.place(with_events())
    session.place(with_events(BOLD.replace("rest", "still")))
    assert not (session.bids / EVENTS).exists()
    assert (session.bids / EVENTS.replace("rest", "still")).exists()


def test_events_that_were_there_first_are_kept(session: Session) -> None:
    target = session.bids / EVENTS
    target.parent.mkdir(parents=True)
    target.write_text("by hand")
    assert EVENTS not in session.place(with_events()).files
    assert target.read_text() == "by hand"


def test_the_same_content_is_adopted(session: Session) -> None:
    session.place(*ROWS)
    before = session.tree()
    (session.session_dir / "owned.json").unlink()  # the work folder was lost, the dataset was not
    session.place(*ROWS)
    assert session.tree() == before


# ---------------------------------------------------------------------------------------------- kills


def _killed_at(session: Session, rows: tuple[PlanRow, ...], step: int) -> bool:
    """Place in a child process that dies right before its ``step``-th change of the file system."""
    child = os.fork()
    if child == 0:
        left = step

        def hook(event: str, arguments: tuple[object, ...]) -> None:
            nonlocal left
            writes = (
                event == "open" and isinstance(arguments[2], int) and arguments[2] & (os.O_WRONLY | os.O_RDWR)
            )
            if writes or event in ("os.rename", "os.link", "os.remove", "os.rmdir", "os.mkdir", "os.chmod"):
                left -= 1
                if left < 0:
                    os._exit(9)

        sys.addaudithook(hook)
        session.place(*rows)
        os._exit(0)
    return os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 9


def test_a_kill_at_any_step_is_made_good(session: Session) -> None:
    other = (a_row("002-1", BOLD), a_row("004-1", DWI.replace("_dwi", "_acq-x_dwi")))
    session.place(*ROWS)
    first = session.tree()
    session.place(*other)
    second = session.tree()
    step, residue = 0, 0
    while _killed_at(session, ROWS, step):
        residue += session.tree() not in (first, second)
        # a rule that is started again has lost its output; the heuristic was edited back meanwhile
        (session.session_dir / "placed.json").unlink(missing_ok=True)
        session.place(*other)
        assert session.tree() == second, f"killed at step {step}, then renamed"
        assert _killed_at(session, ROWS, step)
        session.place(*ROWS)
        assert session.tree() == first, f"killed at step {step}, then repeated"
        session.place(*other)
        step += 1
    assert residue > 10, "the kills must have hit work in progress"


# ---------------------------------------------------------------------------------------------- what is wrong


@pytest.mark.parametrize(("is_lost", "m0_type"), [(True, "Absent"), (False, "Separate")])
def test_perfusion_does_not_speak_of_an_m0_scan_that_is_not_there(
    session: Session, is_lost: bool, m0_type: str
) -> None:
    """BIDS: of "Separate" an m0scan must be beside it."""
    if is_lost:
        session.failed = (FailedStack(stack_id="003-1", error="slice 7 is missing"),)
        del session.volumes["003-1"]
    labelled, calibration = (f"sub-01/ses-a/perf/sub-01_ses-a_{suffix}" for suffix in ("asl", "m0scan"))
    session.place(
        a_row("002-1", labelled, M0Type="Separate"),
        a_row("003-1", calibration, IntendedFor=[f"bids::{labelled}.nii.gz"]),
    )
    assert json.loads((session.bids / f"{labelled}.json").read_text())["M0Type"] == m0_type


def test_a_failed_stack_is_absent_and_told(session: Session) -> None:
    session.failed = (FailedStack(stack_id="003-1", error="slice 7 is missing"),)
    del session.volumes["003-1"]
    placed = session.place(
        a_row("002-1", T1W, IntendedFor=[f"bids::{BOLD}.nii.gz", "ses-a/dwi/sub-01_ses-a_dwi.nii.gz"]),
        a_row("003-1", BOLD),
        a_row("004-1", DWI, IntendedFor="ses-a/func/sub-01_ses-a_task-rest_bold.nii.gz"),
    )
    assert placed.absent == {BOLD: "slice 7 is missing"}
    assert not [name for name in session.tree() if "bold" in name]
    sidecar = json.loads((session.bids / f"{T1W}.json").read_text())
    assert sidecar["IntendedFor"] == ["ses-a/dwi/sub-01_ses-a_dwi.nii.gz"]
    assert "IntendedFor" not in json.loads((session.bids / f"{DWI}.json").read_text())
    assert "bold" not in (session.bids / f"{SCANS}.tsv").read_text()


def test_a_source_of_which_nothing_is_left_is_not_named(session: Session) -> None:
    session.failed = (FailedStack(stack_id="003-1", error="slice 7 is missing"),)
    del session.volumes["003-1"]
    epi, other = (f"sub-01/ses-a/fmap/sub-01_ses-a_dir-{label}_epi" for label in ("AP", "PA"))
    rows = (
        a_row("003-1", epi, B0FieldIdentifier="gone"),
        a_row("002-1", other, B0FieldIdentifier=["left", "other"]),
        a_row("004-1", DWI, B0FieldSource=["gone", "left"]),
    )
    session.place(*rows)
    assert json.loads((session.bids / f"{DWI}.json").read_text())["B0FieldSource"] == ["left"]
    session.place(*rows[:2], replace(rows[2], metadata={"B0FieldSource": "gone"}))
    assert "B0FieldSource" not in json.loads((session.bids / f"{DWI}.json").read_text())


@pytest.mark.parametrize("extension", [".nii.gz", ".json", ".bval"])
def test_a_missing_file_names_itself_and_the_stage(session: Session, extension: str) -> None:
    (session.folder / f"004-1{extension}").unlink()
    with pytest.raises(DatasetError, match=rf"004-1{extension}.*missing.*reconstruct stage"):
        session.place(*ROWS)
    assert not session.bids.exists()


def test_a_stack_that_was_never_reconstructed(session: Session) -> None:
    with pytest.raises(DatasetError, match=r"stack 009-1 is planned as .* never reconstructed"):
        session.place(a_row("009-1", T1W))


@pytest.mark.parametrize(
    "name", ["sub-02/ses-a/anat/sub-02_ses-a_T1w", "sub-01/ses-b/x", "sub-01/ses-a/../x", "x"]
)
def test_no_session_reaches_outside_its_folder(session: Session, name: str) -> None:
    with pytest.raises(DatasetError, match="planned outside sub-01/ses-a/"):
        session.place(a_row("002-1", name))


def test_two_stacks_under_one_name(session: Session) -> None:
    with pytest.raises(DatasetError, match="planned twice"):
        session.place(a_row("002-1", T1W), a_row("003-1", T1W))


def test_session_labels() -> None:
    assert session_labels("sub-01_ses-a") == ("01", "a")
    assert session_labels("sub-01") == ("01", "")
    with pytest.raises(DatasetError, match="is no session's name"):
        session_labels("ses-a")


# ---------------------------------------------------------------------------------------------- the verb


def a_series(**facts: str | None) -> SeriesInfo:
    return SeriesInfo(
        series_key="002",
        study_instance_uid=UID,
        series_instance_uid=f"{UID}.2",
        series_number=2,
        modality="MR",
        acquired="2026-03-04T10:00:00",
        instances=1,
        stack_ids=("002-1",),
        example_path="",
        dims=(1, 1, 1, 1),
        series_files=1,
        **facts,  # type: ignore[arg-type]
    )


@pytest.mark.parametrize(
    ("age", "years"), [("034Y", 34), ("018M", 1.5), ("026W", 0.5), ("100D", 0.27), ("95Y", 95)]
)
def test_age_in_years(age: str, years: float) -> None:
    assert participant_facts([a_series(patient_age=age)]) == {"age": years}


def test_the_first_series_that_says_it_tells_age_and_sex() -> None:
    series = [a_series(), a_series(patient_sex="F"), a_series(patient_age="030Y", patient_sex="M")]
    assert participant_facts(series) == {"age": 30, "sex": "F"}
    assert participant_facts([a_series(patient_age="old", patient_sex="")]) == {}


def test_an_age_of_zero_is_none() -> None:
    zeros = [a_series(patient_age=f"000{unit}") for unit in "YMWD"]
    assert participant_facts(zeros) == {}
    assert participant_facts([*zeros, a_series(patient_age="001D")]) == {"age": 0}  # 1/365, to two digits


def test_the_command(session: Session, capsys: pytest.CaptureFixture[str]) -> None:
    session.session_dir.mkdir(parents=True)
    write_plan(session.session_dir / "plan.tsv", ROWS)
    write_record(session.folder / "manifest.json", session.manifest)
    index = StudyIndex(
        engine_version="0",
        study_instance_uid=UID,
        instances=1,
        series=(a_series(patient_age="034Y", patient_id="Phantom^One"),),
        stacks=(),
        leftovers=(),
    )
    write_record(session.folder.parent / "index.json", index)
    identity = Identity(study_instance_uid=UID, values={"PatientID": ("Phantom^One",)})
    write_record(session.folder.parent / "identity.json", identity)
    studies, bids = str(session.folder.parent.parent), str(session.bids)
    command = ["place", "--session-dir", str(session.session_dir), "--studies-dir", studies, "--bids", bids]
    assert main(command) == 0
    assert capsys.readouterr().out == "sub-01_ses-a: 3 volumes in 10 files\n"
    assert main(command) == 0
    assert capsys.readouterr().out == "sub-01_ses-a: 3 volumes in 10 files, unchanged\n"
    write_plan(
        session.session_dir / "plan.tsv", [replace(ROWS[0], bids_name=f"{T1W[:-4]}_run-1_T1w"), *ROWS[1:]]
    )
    (session.session_dir / ".placed.json.killed.part").touch()
    assert main(command) == 0
    assert capsys.readouterr().out == "sub-01_ses-a: 3 volumes in 10 files, 1 renamed\n"
    assert not list(session.session_dir.glob(".*.part"))
    record = (session.session_dir / "placed.json").read_text()
    assert read_record(session.session_dir / "placed.json", PlacedSession).participant == {"age": 34}
    assert "Phantom" not in record


@pytest.mark.parametrize(
    ("before", "after", "told"),
    [
        ({}, {"a.nii.gz": "1"}, ""),
        ({"a.nii.gz": "1"}, {"a.nii.gz": "1"}, "unchanged"),
        ({"a.nii.gz": "1", "b.nii.gz": "2"}, {"c.nii.gz": "1", "b.nii.gz": "3"}, "1 renamed"),
        ({"a.nii.gz": "1"}, {"a.nii.gz": "1", "b.nii.gz": "2"}, "1 added"),
        ({"a.nii.gz": "1", "b.nii.gz": "2"}, {"b.nii.gz": "2"}, "1 removed"),
        ({"a.nii.gz": "1", "b.nii.gz": "2"}, {"b.nii.gz": "1", "a.nii.gz": "2"}, "2 files updated"),
        ({"a.json": "1"}, {"a.json": "2"}, "1 file updated"),
    ],
)
def test_changes_are_counted(before: dict[str, str], after: dict[str, str], told: str) -> None:
    old, new = ({path: (digest,) for path, digest in files.items()} for files in (before, after))
    assert changes(old, new) == told


# ---------------------------------------------------------------------------------------------- prune


def table_of(session: Session, *labels: str) -> None:
    """The table lists our study in these sessions, and one of somebody else."""
    rows = ["study_instance_uid\tsubject\tsession\tsource", "9.9\t99\t\tx"]
    rows += [f"{UID}\t01\t{one}\tx" for one in labels]
    (session.root / "work" / "studies.tsv").write_text("".join(row + "\n" for row in rows))


def prune(session: Session, *options: str) -> int:
    return main(["prune", "--workdir", str(session.root / "work"), "--bids", str(session.bids), *options])


def test_prune_lists_and_removes_what_left_the_table(
    session: Session, capsys: pytest.CaptureFixture[str]
) -> None:
    session.place(*ROWS)
    for product in ("dataset.json", "check.json", "valid"):
        (session.root / "work" / product).touch()
    table_of(session, "a")
    assert prune(session, "--yes") == 0
    assert "nothing to prune" in capsys.readouterr().out
    table_of(session, "b")
    pages = session.bids.parent / "report_files"
    (pages / "sub-01_ses-a_volumes").mkdir(parents=True)
    for name in ("sub-01_ses-a.html", "sub-01_ses-a.json", "sub-01_ses-b.html"):
        (pages / name).touch()
    before = session.tree()
    assert prune(session) == 0
    listed = capsys.readouterr().out
    assert f"  {pages / 'sub-01_ses-a.html'}\n" in listed
    assert f"  {T1W}.nii.gz\n" in listed
    assert "--yes" in listed
    assert session.tree() == before
    assert prune(session, "--yes") == 0
    assert capsys.readouterr().out.startswith("1 session, 10 files, 3 parts of the report removed")
    assert [path.name for path in pages.iterdir()] == ["sub-01_ses-b.html"]
    assert session.tree() == {}
    assert not session.session_dir.exists()
    assert not list((session.root / "work").glob("*.json"))
    assert session.folder.exists()


def test_prune_of_a_session_folder_that_is_a_link_removes_nothing(
    session: Session, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    session.place(*ROWS)
    table_of(session)
    elsewhere = session.session_dir.rename(tmp_path / "elsewhere")
    session.session_dir.symlink_to(elsewhere)
    before, records = session.tree(), sorted(elsewhere.iterdir())
    for options in ((), ("--yes",)):
        assert prune(session, *options) == 1
        told = capsys.readouterr().err
        assert told.startswith(
            f"ERROR: {session.session_dir}: is a link to {elsewhere}; nothing is removed. "
        )
        assert (session.tree(), sorted(elsewhere.iterdir())) == (before, records)


def test_prune_refuses_a_folder_that_is_not_the_dataset(
    session: Session, capsys: pytest.CaptureFixture[str]
) -> None:
    session.place(*ROWS)
    table_of(session)
    before, records = session.tree(), sorted(session.session_dir.iterdir())
    other = session.root / "other"

    def refused() -> str:
        for more in ((), ("--yes",)):
            assert prune(session, "--bids", str(other), *more) == 2
            assert (session.tree(), sorted(session.session_dir.iterdir())) == (before, records)
        return capsys.readouterr().err.splitlines()[-1]

    assert f"{other}: is no folder; nothing is removed. Give the dataset" in refused()
    (other / T1W).parent.mkdir(parents=True)
    (other / f"{T1W}.json").write_text("{}")  # of the same name
    assert "is no dataset: it has no dataset_description.json; nothing" in refused()
    (other / "dataset_description.json").touch()
    staying, rows = moved(session)
    staying.place(*rows)
    table_of(session, "b")
    before, records = session.tree(), sorted(session.session_dir.iterdir())
    assert "holds no file of the sessions in the studies table" in refused()
    # in their dataset, a session of which people removed all files still goes
    shutil.rmtree(session.bids / "sub-01/ses-a")
    assert prune(session, "--yes") == 0
    assert not session.session_dir.exists()


def test_prune_takes_its_folders_from_the_configuration(
    session: Session, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    session.place(*ROWS)
    table_of(session)
    page = session.root / "pages/index_files/sub-01_ses-a.html"
    page.parent.mkdir(parents=True)
    page.touch()
    monkeypatch.chdir(session.root)
    assert main(["prune"]) == 2
    assert "Run in the folder that holds config.yaml" in capsys.readouterr().err
    config = session.root / "mine.yaml"
    config.write_text(
        "sources: {pacs: {kind: folder, path: dicom}}\nstudies: {table: studies.tsv}\nheuristic: h.py\n"
        f"dataset: {{name: Phantoms}}\nbids: {session.bids}\nreport: pages/index.html\n"
    )
    assert main(["prune", "--config", "mine.yaml", "--bids", "none", "--yes"]) == 2  # what is told here wins
    assert main(["prune", "--config", "mine.yaml"]) == 0
    assert session.session_dir.exists()
    config.rename("config.yaml")
    assert main(["prune", "--yes"]) == 0
    assert session.tree() == {}
    assert not session.session_dir.exists()
    assert not page.exists()


def test_prune_keeps_what_others_made(session: Session, capsys: pytest.CaptureFixture[str]) -> None:
    session.place(*ROWS)
    table_of(session)
    events = session.bids / f"{BOLD.removesuffix('_bold')}_events.tsv"
    events.write_text("onset")
    edited = session.bids / f"{T1W}.json"
    edited.unlink()
    edited.write_text("{}")
    beside = session.bids / "sub-01/ses-b/mine.txt"
    beside.parent.mkdir()
    beside.write_text("mine")
    assert prune(session) == 0
    listed = capsys.readouterr().out
    assert f"({T1W}.json stays: pacs2bids did not place it as it is. Move" in listed
    assert "_events.tsv stays: people filled it in. Move" in listed
    assert prune(session, "--yes") == 0
    left = {path for path, content in session.tree().items() if content is not None}
    assert left == {path.relative_to(session.bids).as_posix() for path in (events, edited, beside)}
    assert f"{T1W}.json stays: pacs2bids" in capsys.readouterr().err


def moved(session: Session, key: str = "sub-01_ses-b") -> tuple[Session, tuple[PlanRow, ...]]:
    """The same study, as another session has it."""
    rows = (replace(row, bids_name=row.bids_name.replace("ses-a", key[-5:])) for row in ROWS)
    return dataclasses.replace(session, key=key), tuple(rows)


def noted_and_merged(session: Session) -> None:
    """A person's notes, of which a run has made our own table."""
    session.place(*ROWS)
    noted(session, T1w="moved", dwi="good")
    about = session.bids / f"{SCANS}.json"
    about.write_text(json.dumps(json.loads(about.read_text()) | {"quality": "by eye"}))
    session.place(*ROWS)


def qualities(path: Path) -> dict[str, str]:
    return {row["filename"].rpartition("_")[2]: row.get("quality", "") for row in read_tsv(path)}


@pytest.mark.parametrize("merged", [True, False], ids=["a run between", "no run between"])
def test_notes_follow_a_study_into_another_session(
    session: Session, capsys: pytest.CaptureFixture[str], merged: bool
) -> None:
    if merged:
        noted_and_merged(session)
    else:
        session.place(*ROWS)
        noted(session, T1w="moved", dwi="good")
    other, rows = moved(session)
    table_of(session, "b")
    new = session.bids / "sub-01/ses-b/sub-01_ses-b_scans.tsv"
    other.place(*(replace(row, bids_name="") if row.stack_id == "002-1" else row for row in rows))
    assert qualities(new) == {"bold.nii.gz": "n/a", "dwi.nii.gz": "good"}
    other.place(*rows)  # the T1w has a name now: what was noted of it was kept
    assert qualities(new) == {"bold.nii.gz": "n/a", "T1w.nii.gz": "moved", "dwi.nii.gz": "good"}
    assert read_tsv(new)[0].keys() == {"filename", "acq_time", "quality"}
    about = json.loads(new.with_suffix(".json").read_text())
    assert about.get("quality") == ("by eye" if merged else None)
    assert prune(session, "--yes") == 0
    assert "stays" not in capsys.readouterr().err
    assert not (session.bids / "sub-01/ses-a").exists()
    assert not session.session_dir.exists()
    # and back, with what was noted meanwhile
    new.write_text(new.read_text().replace("good", "fair"))
    session.place(*ROWS)
    assert qualities(session.bids / f"{SCANS}.tsv")["dwi.nii.gz"] == "fair"


@pytest.mark.parametrize("last", ["fair", "n/a"])
@pytest.mark.parametrize("is_emptied", [True, False])
def test_a_study_that_comes_back_brings_what_was_noted_last(
    session: Session, last: str, is_emptied: bool
) -> None:
    noted_and_merged(session)
    if is_emptied:  # the session went on without the study
        session.place(ROWS[3])
    other, rows = moved(session)
    other.place(*rows)
    table = session.bids / "sub-01/ses-b/sub-01_ses-b_scans.tsv"
    table.write_text(table.read_text().replace("good", last))
    session.place(*ROWS)
    notes = {"bold.nii.gz": "n/a", "T1w.nii.gz": "moved", "dwi.nii.gz": last}
    assert qualities(session.bids / f"{SCANS}.tsv") == notes
    session.place(*ROWS)
    assert qualities(session.bids / f"{SCANS}.tsv") == notes


@pytest.mark.parametrize("merged", [True, False], ids=["a run between", "no run between"])
def test_what_people_wrote_outlasts_a_time_without_names(session: Session, merged: bool) -> None:
    session.place(*ROWS)
    before = session.tree()
    table, about = (session.bids / f"{SCANS}{end}" for end in (".tsv", ".json"))
    noted(session, T1w="moved", dwi="good")
    table.write_text(table.read_text().replace("T10:00:00", "T10:00:07"))
    about.write_text(json.dumps(json.loads(about.read_text()) | {"quality": "by eye"}))
    if merged:
        session.place(*ROWS)
    session.place(ROWS[3])
    assert list(session.tree()) == ["sub-01"]
    session.place(*ROWS)
    assert qualities(table) == {"bold.nii.gz": "n/a", "T1w.nii.gz": "moved", "dwi.nii.gz": "good"}
    assert "\t1900-01-02T10:00:07\tmoved\n" in table.read_text()
    assert json.loads(about.read_text())["quality"] == "by eye"
    assert set(session.tree()) == set(before)


def test_rows_of_people_stay_in_a_session_without_names(session: Session) -> None:
    noted_and_merged(session)
    table = session.bids / f"{SCANS}.tsv"
    table.write_text(f"{table.read_text()}anat/mine.nii.gz\tn/a\tmine\n")
    session.place(ROWS[3])
    assert table.read_text() == "filename\tacq_time\tquality\nanat/mine.nii.gz\tn/a\tmine\n"
    session.place(*ROWS)
    assert set(qualities(table).values()) == {"n/a", "moved", "good", "mine"}


def test_notes_of_sessions_that_swap_a_study_for_another_are_read_at_any_moment(session: Session) -> None:
    """The session that lost the study may be placed just then: whatever it was at, the notes are found."""
    noted_and_merged(session)
    other, rows = moved(session)
    before = session.tree()
    step = 0
    while _killed_at(session, (replace(ROWS[0], bids_name=""), *ROWS[1:]), step):
        noted = noted_in(session.session_dir, session.bids)
        assert noted.notes == {f"{UID}/002-1": {"quality": "moved"}, f"{UID}/004-1": {"quality": "good"}}
        session.place(*ROWS)
        assert session.tree() == before
        step += 1
    assert step > 5
    other.place(*rows)
    assert qualities(session.bids / "sub-01/ses-b/sub-01_ses-b_scans.tsv")["T1w.nii.gz"] == "moved"


@pytest.mark.parametrize("what", ["a note", "a row", "a time", "a description", "no table any more"])
def test_prune_keeps_a_table_with_what_no_session_took_over(
    session: Session, capsys: pytest.CaptureFixture[str], what: str
) -> None:
    noted_and_merged(session)
    other, rows = moved(session)
    table, about = (session.bids / f"{SCANS}{end}" for end in (".tsv", ".json"))
    if what != "a note":  # of which there is no session that took it over
        other.place(*rows)
    text = table.read_text()
    if what == "a row":
        table.write_text(f"{text}anat/mine.nii.gz\tn/a\tn/a\n")
    elif what == "a time":
        table.write_text(text.replace("T10:00:00", "T10:00:01"))
    elif what == "a description":
        about.write_text(about.read_text().replace("by eye", "by two eyes"))
    elif what == "no table any more":
        table.write_bytes(b"\xff\xfe")
    table_of(session, *([] if what == "a note" else ["b"]))
    left = {path.relative_to(session.bids).as_posix(): path.read_bytes() for path in (table, about)}
    assert prune(session) == 0
    listed = capsys.readouterr().out
    assert f"({SCANS}.tsv stays: it holds what people wrote" in listed
    assert f"  {SCANS}.tsv\n" not in listed
    assert prune(session, "--yes") == 0
    assert f"{SCANS}.tsv stays: it holds" in capsys.readouterr().err
    tree = {path: content for path, content in session.tree().items() if content is not None}
    assert {path: content for path, content in tree.items() if "ses-a" in path} == left
    for path in (table, about):  # as it was told
        path.unlink()
    (session.bids / "dataset_description.json").touch()
    assert prune(session, "--yes") == 0
    assert not session.session_dir.exists()


def test_prune_tells_what_was_noted_of_volumes_without_a_name(
    session: Session, capsys: pytest.CaptureFixture[str]
) -> None:
    noted_and_merged(session)
    session.place(*ROWS[1:])
    for end in (".tsv", ".json"):
        (session.bids / f"{SCANS}{end}").unlink()
    table_of(session)
    assert prune(session) == 0
    assert f"(goes, too, what was noted of volume {UID}/002-1, which has no name: quality: moved)" in (
        capsys.readouterr().out
    )


def test_prune_keeps_events_that_were_filled_in_before_another_run(session: Session) -> None:
    session.place(with_events())
    (session.bids / EVENTS).write_text("onset\tduration\n1\t2\n")
    session.place(with_events())
    table_of(session)
    assert prune(session, "--yes") == 0
    assert [path for path, content in session.tree().items() if content is not None] == [EVENTS]


def test_prune_waits_for_no_run(session: Session, capsys: pytest.CaptureFixture[str]) -> None:
    session.place(*ROWS)
    table_of(session)
    with (session.root / "work/.lock").open("w") as run:
        fcntl.flock(run, fcntl.LOCK_EX)
        assert prune(session, "--yes") == 2
    assert "another run is at work" in capsys.readouterr().err
    assert session.session_dir.exists()
