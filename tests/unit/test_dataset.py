"""The top-level files: what sessions bring, and what people made of them."""

from __future__ import annotations

import json
import logging
import os
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
from msgspec.structs import replace

from pacs2bids.__main__ import main
from pacs2bids.dataset import BIDS_VERSION, DatasetRecord, Told, write_dataset
from pacs2bids.files import read_record, read_tsv, write_record
from pacs2bids.model import DatasetError, Json, PlacedSession
from pacs2bids.owned import PLACED_BEFORE, Owned

Write = Callable[..., DatasetRecord]


def a_session(
    subject: str, session: str = "", files: int = 1, begun: str = "", dates: str = "keep", **participant: Json
) -> PlacedSession:
    key = f"sub-{subject}_ses-{session}" if session else f"sub-{subject}"
    return PlacedSession(
        session_key=key,
        subject=subject,
        session=session,
        files={f"sub-{subject}/{n}": "" for n in range(files)},
        volumes={f"sub-{subject}/{n}": "" for n in range(files)},
        participant=participant,
        begun=begun,
        acq_time=begun,
        dates=dates,
    )


@pytest.fixture
def bids(tmp_path: Path) -> Path:
    return tmp_path / "bids"


@pytest.fixture
def write(tmp_path: Path, bids: Path) -> Write:
    def written(*placed: PlacedSession, **description: Json) -> DatasetRecord:
        out = tmp_path / "work" / "dataset.json"
        told = Told(description={"Name": "Phantoms"} | description)
        return write_dataset(bids=bids, out=out, placed=placed, told=told)

    return written


def participants(bids: Path) -> list[list[str]]:
    return [line.split("\t") for line in (bids / "participants.tsv").read_text().splitlines()]


def edit(path: Path, old: str, new: str) -> None:
    text = path.read_text()
    assert old in text
    path.write_text(text.replace(old, new))


# ------------------------------------------------------------------------------------------ written anew


def test_the_files_of_a_new_dataset(write: Write, bids: Path) -> None:
    record = write(
        a_session("02", age=41, sex="M"), a_session("01", age=30.5), License="CC0", Authors=["A", "B"]
    )
    assert sorted(record.files) == sorted(path.name for path in bids.iterdir())
    assert participants(bids) == [
        ["participant_id", "age", "sex"],
        ["sub-01", "30.5", "n/a"],
        ["sub-02", "41", "M"],
    ]
    about = json.loads((bids / "dataset_description.json").read_text())
    assert about["GeneratedBy"][0]["Name"] == "pacs2bids"
    del about["GeneratedBy"]
    assert about == {
        "Name": "Phantoms",
        "BIDSVersion": BIDS_VERSION,
        "DatasetType": "raw",
        "License": "CC0",
        "Authors": ["A", "B"],
    }
    assert set(json.loads((bids / "participants.json").read_text())) == {"age", "sex"}
    assert "# Phantoms" in (bids / "README.md").read_text()
    assert record.participants == ("sub-01", "sub-02")


def contents(folder: Path) -> dict[str, bytes]:
    paths = sorted(path for path in folder.rglob("*") if path.is_file())
    return {path.relative_to(folder).as_posix(): path.read_bytes() for path in paths}


def test_the_same_sessions_in_any_order_give_the_same_bytes(write: Write, bids: Path, tmp_path: Path) -> None:
    one, two = a_session("01", "a", age=30), a_session("01", "b", age=31)
    write(one, two)
    first = contents(bids)
    write(two, one)
    assert contents(bids) == first
    other, told = tmp_path / "other", Told(description={"Name": "Phantoms"})
    write_dataset(bids=other, out=tmp_path / "other.json", placed=[two, one], told=told)
    assert contents(other) == first
    assert (tmp_path / "other.json").read_bytes() == (tmp_path / "work/dataset.json").read_bytes()


def test_the_record_changes_with_what_is_placed_so_that_check_and_report_follow(write: Write) -> None:
    one = a_session("01", "a", age=30)
    # of what stands at the top of the dataset nothing changes by this
    again = replace(one, volumes={name: f"{volume}-2" for name, volume in one.volumes.items()})
    before, after = write(one), write(again)
    assert (before.files, before.sessions) == (after.files, after.sessions)
    assert before != after


@pytest.mark.parametrize(
    ("facts", "row"),
    [
        ([{"age": 30, "sex": "F"}, {"age": 31, "sex": "F"}], ["30", "F"]),
        ([{"age": 95}], ["89", "n/a"]),
        ([{}, {"age": 30}], ["30", "n/a"]),
        ([{"sex": "F"}, {"sex": "M", "age": 31}, {"age": 32}], ["31", "F"]),
    ],
    ids=["first session", "capped", "from the session that tells", "each from the first"],
)
def test_facts_of_several_sessions(
    write: Write, bids: Path, facts: list[dict[str, Json]], row: list[str]
) -> None:
    write(*(a_session("01", f"{n}", **told) for n, told in enumerate(facts)))
    assert participants(bids)[1] == ["sub-01", *row]


def test_a_session_without_files_brings_no_participant(write: Write, bids: Path) -> None:
    assert write(a_session("01"), a_session("02", files=0)).participants == ("sub-01",)
    assert len(participants(bids)) == 2


def test_empty_folders_of_renamed_subjects_go(write: Write, bids: Path) -> None:
    (bids / "sub-01").mkdir(parents=True)
    (bids / "sub-02" / "anat").mkdir(parents=True)
    write(a_session("02"))
    assert not (bids / "sub-01").exists()
    assert (bids / "sub-02" / "anat").exists()


def test_sessions_come_and_go(write: Write, bids: Path) -> None:
    write(a_session("01", age=30), a_session("02"))
    write(a_session("01", age=29), a_session("03"))
    assert participants(bids)[1:] == [["sub-01", "29", "n/a"], ["sub-03", "n/a", "n/a"]]


def sessions_of(bids: Path, subject: str = "sub-01") -> list[list[str]]:
    lines = (bids / subject / f"{subject}_sessions.tsv").read_text().splitlines()
    return [line.split("\t") for line in lines]


def test_sessions_of_a_subject_have_a_table(write: Write, bids: Path) -> None:
    record = write(
        a_session("01", "b", begun="1820-01-01T10:00:00", age=30),
        a_session("01", "a", begun="1820-02-01T09:30:00", age=95, sex="F"),
        a_session("02"),
    )
    assert sessions_of(bids) == [
        ["session_id", "acq_time", "age"],
        ["ses-a", "1820-02-01T09:30:00", "89"],
        ["ses-b", "1820-01-01T10:00:00", "30"],
    ]
    assert set(json.loads((bids / "sub-01/sub-01_sessions.json").read_text())) == {"acq_time", "age"}
    assert not (bids / "sub-02").exists(), "a subject without sessions has no table of them"
    assert "sub-01/sub-01_sessions.tsv" in record.files
    # the first in time that tells it, not the first in the alphabet
    assert participants(bids)[1] == ["sub-01", "30", "F"]


def test_sessions_that_all_begin_on_one_day_are_not_told_when(write: Write, bids: Path) -> None:
    write(a_session("01", "a", begun="1900-01-01T10:00:00", dates="day_one"))
    assert sessions_of(bids)[1] == ["ses-a", "n/a", "n/a"]


def test_tables_of_sessions_follow_and_keep_what_people_wrote(write: Write, bids: Path) -> None:
    write(a_session("01", "a"), a_session("01", "b"), a_session("02", "a"), a_session("03", "a"))
    edit(bids / "sub-01/sub-01_sessions.tsv", "acq_time\tage\n", "acq_time\tage\tdrug\n")
    edit(bids / "sub-01/sub-01_sessions.tsv", "ses-a\tn/a\tn/a\n", "ses-a\tn/a\tn/a\tplacebo\n")
    edit(bids / "sub-03/sub-03_sessions.tsv", "ses-a\tn/a\tn/a", "ses-a\tn/a\t44")
    write(a_session("01", "a", age=30), a_session("01", "c"))
    assert sessions_of(bids) == [
        ["session_id", "acq_time", "age", "drug"],
        ["ses-a", "n/a", "30", "placebo"],
        ["ses-c", "n/a", "n/a", "n/a"],
    ]
    assert not (bids / "sub-02").exists(), "nobody had touched its table"
    assert sessions_of(bids, "sub-03")[1] == ["ses-a", "n/a", "44"]


def test_sessions_whose_dates_were_hidden_differently_are_told(
    write: Write, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("pacs2bids.dataset.log", logging.getLogger("test_dataset"))
    write(a_session("01", "a", dates="shift 1"), a_session("01", "b", dates="shift 1"))
    assert not caplog.records
    write(a_session("01", "a", dates="shift 1"), a_session("01", "b", dates="shift 2"))
    assert "run `snakemake --forcerun place`" in caplog.text


def test_participants_of_a_persons_table(tmp_path: Path, bids: Path) -> None:
    def write(columns: dict[str, Json], **rows: dict[str, str]) -> None:
        told = Told(
            description={"Name": "P"},
            participants={f"sub-{name[1:]}": cells for name, cells in rows.items()},
            columns=columns,
        )
        placed = [a_session("01", age=30, sex="F"), a_session("02", age=40)]
        write_dataset(bids=bids, out=tmp_path / "dataset.json", placed=placed, told=told)

    hand: Json = {"Description": "Handedness"}
    write(
        {"handedness": hand, "sex": {}}, p01={"handedness": "left", "sex": "O"}, p09={"handedness": "right"}
    )
    assert participants(bids) == [
        ["participant_id", "age", "sex", "handedness"],
        ["sub-01", "30", "O", "left"],
        ["sub-02", "40", "n/a", "n/a"],
    ]
    assert json.loads((bids / "participants.json").read_text())["handedness"] == hand
    edit(bids / "participants.tsv", "40\tn/a\tn/a", "40\tn/a\tright")
    write({"group": {}}, p01={"group": "1"}, p02={"group": "2"})
    assert participants(bids) == [
        ["participant_id", "age", "sex", "handedness", "group"],
        ["sub-01", "30", "F", "n/a", "1"],
        ["sub-02", "40", "n/a", "right", "2"],
    ], "a column of the table that is gone stays for what people wrote into it"


# ------------------------------------------------------------------------------------------ edits by people


def test_columns_rows_and_cells_of_people_survive(write: Write, bids: Path) -> None:
    write(a_session("01", age=30, sex="F"), a_session("02", age=40, sex="M"))
    (bids / "participants.tsv").write_text(
        "participant_id\tgroup\tage\tsex\n"
        "sub-02\tcontrol\t40\tn/a\n"  # sex was blanked
        "sub-01\t\t33\tF\n"  # age was corrected
        "sub-99\tpilot\t20\tF\n"  # scanned elsewhere
    )
    write(a_session("01", age=30, sex="F"), a_session("02", age=41, sex="M"), a_session("03", age=50))
    assert participants(bids) == [
        ["participant_id", "group", "age", "sex"],
        ["sub-01", "n/a", "33", "F"],
        ["sub-02", "control", "41", "n/a"],
        ["sub-03", "n/a", "50", "n/a"],
        ["sub-99", "pilot", "20", "F"],
    ]


def test_a_row_with_notes_of_people_stays_when_its_session_goes(write: Write, bids: Path) -> None:
    write(a_session("01", age=30), a_session("02", age=40))
    edit(bids / "participants.tsv", "40\tn/a", "40\tF")
    write(a_session("01", age=30))
    assert participants(bids)[2] == ["sub-02", "40", "F"]


def test_a_deleted_column_stays_deleted(write: Write, bids: Path) -> None:
    write(a_session("01", age=30, sex="F"))
    (bids / "participants.tsv").write_text("participant_id\tsex\nsub-01\tF\n")
    write(a_session("01", age=30, sex="F"))
    assert participants(bids) == [["participant_id", "sex"], ["sub-01", "F"]]
    assert set(json.loads((bids / "participants.json").read_text())) == {"sex"}


def test_a_table_that_was_there_before_us_is_completed(write: Write, bids: Path) -> None:
    bids.mkdir()
    (bids / "participants.tsv").write_text("participant_id\thandedness\nsub-01\tleft\n")
    write(a_session("01", age=30))
    assert participants(bids) == [
        ["participant_id", "handedness", "age", "sex"],
        ["sub-01", "left", "30", "n/a"],
    ]


def test_a_table_from_a_spreadsheet_is_understood(write: Write, bids: Path) -> None:
    bids.mkdir()
    spreadsheet = b"\xef\xbb\xbfparticipant_id\tgroup\t\t\r\nsub-01\tpilot\t\t\t\r\n\r\n"
    (bids / "participants.tsv").write_bytes(spreadsheet)
    write(a_session("01", age=30))
    assert read_tsv(bids / "participants.tsv") == [
        {"participant_id": "sub-01", "group": "pilot", "age": "30", "sex": "n/a"}
    ]


def test_descriptions_of_people_survive(write: Write, bids: Path) -> None:
    write(a_session("01"))
    theirs = {"age": {"Description": "at enrolment", "Units": "month"}, "group": {"Description": "arm"}}
    (bids / "participants.json").write_text(json.dumps(theirs))
    write(a_session("01"))
    assert json.loads((bids / "participants.json").read_text()) == theirs  # that of sex was deleted


def test_the_description_is_the_configurations_and_the_rest_a_persons(write: Write, bids: Path) -> None:
    write(a_session("01"), License="CC0", Funding=["grant"])
    path = bids / "dataset_description.json"
    about = json.loads(path.read_text())
    about |= {"HEDVersion": "8.2.0", "License": "mine"}
    about["GeneratedBy"].append({"Name": "defacer"})
    path.write_text(json.dumps(about))
    write(a_session("01"), License="PDDL")
    about = json.loads(path.read_text())
    assert (about["License"], about["HEDVersion"]) == ("PDDL", "8.2.0")
    assert "Funding" not in about, "no longer in the configuration, and nobody else's"
    assert [entry["Name"] for entry in about["GeneratedBy"]] == ["pacs2bids", "defacer"]


def moved_to(subject: str, session: str, study: str) -> PlacedSession:
    one = a_session(subject, session)
    return replace(one, volumes=dict.fromkeys(one.volumes, f"{study}/002-1"))


def test_what_people_wrote_of_a_session_follows_its_corrected_label(write: Write, bids: Path) -> None:
    first = [moved_to("01", "a", "1.1"), moved_to("01", "b", "1.2"), moved_to("02", "a", "1.3")]
    write(*first)
    table, people = bids / "sub-01/sub-01_sessions.tsv", bids / "participants.tsv"
    for path, notes in ((table, ("mood", "good", "bad")), (people, ("hand", "left", "right"))):
        lines = zip(path.read_text().splitlines(), notes, strict=True)
        path.write_text("".join(f"{line}\t{note}\n" for line, note in lines))
    before = {path: path.read_text() for path in (table, people)}

    def said(path: Path) -> dict[str, str]:
        return {line.split("\t")[0]: line.split("\t")[-1] for line in path.read_text().splitlines()[1:]}

    write(moved_to("01", "c", "1.2"), first[0], moved_to("03", "a", "1.3"))
    assert said(table) == {"ses-a": "good", "ses-c": "bad"}
    assert said(people) == {"sub-01": "left", "sub-03": "right"}
    write(moved_to("01", "a", "1.2"), moved_to("01", "b", "1.1"), first[2])
    assert said(table) == {"ses-a": "bad", "ses-b": "good"}
    write(*first)
    assert {path: path.read_text() for path in (table, people)} == before
    write(first[0], first[2])  # a session that is gone, and no other has its study: the row stays
    assert said(table) == {"ses-a": "good", "ses-b": "bad"}


def test_lines_of_tabs_that_spreadsheets_write_are_no_rows(write: Write, bids: Path) -> None:
    write(a_session("01"))
    path = bids / "participants.tsv"
    before = path.read_text()
    path.write_bytes(b"\xef\xbb\xbf" + before.replace("\n", "\t\r\n").encode() + b"\t \t\r\n\t\t\r\n")
    write(a_session("01"))
    assert path.read_text() == before


def test_texts_of_people_are_left_alone(write: Write, bids: Path) -> None:
    bids.mkdir()
    for name in ("README", "CHANGES", ".bidsignore"):
        (bids / name).write_text("mine\n")
    write(a_session("01"))
    assert not (bids / "README.md").exists()
    assert {(bids / name).read_text() for name in ("README", "CHANGES", ".bidsignore")} == {"mine\n"}


@pytest.mark.parametrize(
    ("name", "content", "what"),
    [
        ("participants.tsv", b"participant_id\nsub-01\nsub-01\n", "sub-01 stands there twice"),
        ("participants.tsv", b"id\tage\n01\t30\n", "line 2 names no participant"),
        ("participants.tsv", "participant_id\tsite\nsub-01\tK\xf6ln\n".encode("latin-1"), "not UTF-8"),
        (
            "participants.tsv",
            b"participant_id\tgroup\tgroup\nsub-01\tA\tB\n",
            "line 1 names the column group",
        ),
        (
            "participants.tsv",
            b"participant_id\tage\nsub-01\t30\tcalled\n",
            "line 2 has a cell without a head",
        ),
        ("participants.json", b"{", "no JSON object"),
        ("dataset_description.json", b"[]", "no JSON object"),
    ],
)
def test_an_unreadable_file_is_an_error_and_kept(
    write: Write, bids: Path, name: str, content: bytes, what: str
) -> None:
    bids.mkdir()
    (bids / name).write_bytes(content)
    with pytest.raises(DatasetError, match=what) as error:
        write(a_session("01"))
    assert str(bids / name) in str(error.value)
    assert (bids / name).read_bytes() == content


def test_a_description_of_sessions_that_a_person_edited_stays(
    write: Write, bids: Path, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("pacs2bids.dataset.log", logging.getLogger("test_dataset"))
    write(a_session("01", "a"), a_session("02", "a"), a_session("03", "a"))
    about = bids / "sub-01/sub-01_sessions.json"
    edit(about, "Age at this session", "Age, checked by hand")
    text = about.read_text()
    write(a_session("03", "a"))
    assert about.read_text() == text
    assert not about.with_suffix(".tsv").exists()
    assert "sub-01_sessions.json: kept" in caplog.text
    assert not (bids / "sub-02").exists()
    write(a_session("01", "a", age=30), a_session("03", "a"))
    assert about.read_text() == text
    assert sessions_of(bids)[1] == ["ses-a", "n/a", "30"]


# ---------------------------------------------------------------------------------------------- kills


def _killed_at(step: int, write: Callable[[], object]) -> bool:
    """Write in a child process that dies right before its ``step``-th change of the file system."""
    child = os.fork()
    if child == 0:
        left = step

        def hook(event: str, _: tuple[object, ...]) -> None:
            nonlocal left
            if event in ("os.rename", "os.remove", "os.rmdir", "os.mkdir"):
                left -= 1
                if left < 0:
                    os._exit(9)

        sys.addaudithook(hook)
        write()
        os._exit(0)
    return os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 9


def test_a_kill_at_any_step_is_made_good(tmp_path: Path) -> None:
    def at(root: Path, columns: dict[str, Json], *placed: PlacedSession) -> None:
        told = Told(description={"Name": "Phantoms", **columns}, columns=columns)
        write_dataset(bids=root / "bids", out=root / "work/dataset.json", placed=placed, told=told)

    def begun(root: Path) -> None:
        at(root, {"hand": {}}, a_session("01", "a", age=30), a_session("02", "a", age=50))
        edit(root / "bids/participants.tsv", "age\tsex\thand\n", "age\tsex\thand\tmine\n")
        edit(root / "bids/participants.tsv", "sub-01\t30\tn/a\tn/a\n", "sub-01\t30\tX\tn/a\tm\n")

    def second(root: Path) -> None:
        at(
            root,
            {"hand": {}, "group": {}},
            a_session("01", "a", age=31),
            a_session("03", "a", age=40, sex="F"),
        )

    def third(root: Path) -> None:
        at(root, {"hand": {}, "more": {}}, a_session("01", "a", age=32), a_session("02", "b"))

    calm = tmp_path / "calm"
    begun(calm)
    third(calm)
    step, killed = 0, True
    while killed:
        root = tmp_path / f"{step}"
        begun(root)
        killed = _killed_at(step, lambda root=root: second(root))
        _killed_at(8 - step % 8, lambda root=root: third(root))
        third(root)
        assert contents(root / "bids") == contents(calm / "bids"), f"killed at step {step}"
        ours = [each / "work/dataset.base.json" for each in (root, calm)]
        assert ours[0].read_bytes() == ours[1].read_bytes()
        step += 1
    assert step > 10, "the kills must have hit work in progress"


# ---------------------------------------------------------------------------------------------- the verb


def test_the_command(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    config = tmp_path / "config.yaml"
    config.write_text(
        "sources: {files: {kind: folder, path: dicom}}\n"
        "studies: {table: studies.tsv}\n"
        "heuristic: heuristics/demo.py\n"
        "participants: people.tsv\n"
        "dataset: {name: Phantoms, authors: [A, B], doi: 'doi:10.1000/1', funding: [grant],\n"
        "  source_datasets: [{url: 'https://example.org/dicom', version: '2'}]}\n"
    )
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("APPTAINER_NAME", "pacs2bids_0.1.sif")
    (tmp_path / "people.tsv").write_text("participant_id\tgroup\n01\tpilot\n")
    (tmp_path / "people.json").write_text('{"group": {"Description": "arm of the study"}}')
    for session in (a_session("01", "a"), a_session("01", "b")):
        write_record(tmp_path / session.session_key / "placed.json", session)
    placed = [str(path) for path in sorted(tmp_path.glob("*/placed.json"))]
    bids, out = tmp_path / "bids", tmp_path / "dataset.json"
    (tmp_path / ".dataset.json.killed.part").touch()
    (tmp_path / ".dataset.base.json.killed.part").touch()
    assert main(["dataset", "--config", str(config), "--bids", str(bids), "--out", str(out), *placed]) == 0
    assert capsys.readouterr().out == "dataset: 1 participant, 2 sessions\n"
    assert not list(tmp_path.glob(".dataset*.part"))
    about = json.loads((bids / "dataset_description.json").read_text())
    assert (about["Authors"], about["DatasetDOI"], about["Funding"]) == (
        ["A", "B"],
        "doi:10.1000/1",
        ["grant"],
    )
    assert "Acknowledgements" not in about
    assert about["SourceDatasets"] == [{"URL": "https://example.org/dicom", "Version": "2"}]
    assert about["GeneratedBy"][0]["Container"] == {"Type": "apptainer", "Tag": "pacs2bids_0.1.sif"}
    assert participants(bids)[1] == ["sub-01", "n/a", "n/a", "pilot"]
    assert json.loads((bids / "participants.json").read_text())["group"] == {
        "Description": "arm of the study"
    }
    assert read_record(out, DatasetRecord).sessions == ("sub-01_ses-a", "sub-01_ses-b")


@pytest.fixture
def command(tmp_path: Path) -> list[str]:
    """The verb for three sessions on disk, two of which are in the studies table, one of these twice."""
    config = tmp_path / "config.yaml"
    config.write_text(
        "sources: {files: {kind: folder, path: dicom}}\n"
        "studies: {table: studies.tsv}\nheuristic: x.py\ndataset: {name: Phantoms}\n"
    )
    for session in (a_session("01", "a"), a_session("02"), a_session("03")):
        write_record(tmp_path / "sessions" / session.session_key / "placed.json", session)
    rows = ["study_instance_uid\tsubject\tsession\tsource", "1.2\t02\t\tx", "1.3\t01\ta\tx", "1.4\t01\ta\tx"]
    (tmp_path / "studies.tsv").write_text("".join(row + "\n" for row in rows))
    words = [
        "--config",
        str(config),
        "--bids",
        str(tmp_path / "bids"),
        "--out",
        str(tmp_path / "dataset.json"),
    ]
    return ["dataset", *words]


def test_what_the_heuristic_says_stands_behind_the_configuration(
    tmp_path: Path, command: list[str], monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    config, heuristic = tmp_path / "config.yaml", tmp_path / "x.py"
    config.write_text(config.read_text().replace("Phantoms", "Phantoms, authors: [A]"))
    words = [*command, "--sessions", "sessions", "--studies", "studies.tsv"]

    def described(text: str, *more: str) -> dict[str, object]:
        heuristic.write_text(text)
        assert main([*words, *more]) == 0
        told: dict[str, object] = json.loads((tmp_path / "bids/dataset_description.json").read_text())
        return told

    rest = "def infotodict(seqinfo): return {}\n"
    told = described(f"DEFAULT_FIELDS = {{'License': 'CC0', 'Authors': ['B', 'C']}}\n{rest}")
    assert (told["License"], told["Authors"]) == ("CC0", ["A"])
    assert "License" not in described(rest)  # withdrawn
    broken = "DEFAULT_FIELDS = 1 / 0\n"
    assert "License" not in described(broken, "--partial")
    assert "its DEFAULT_FIELDS are left out" in capsys.readouterr().err
    assert main(words) == 1


def test_sessions_of_the_studies_table(tmp_path: Path, command: list[str]) -> None:
    table = ["--sessions", str(tmp_path / "sessions"), "--studies", str(tmp_path / "studies.tsv")]
    assert main([*command, *table]) == 0
    assert read_record(tmp_path / "dataset.json", DatasetRecord).sessions == ("sub-01_ses-a", "sub-02")


def test_sessions_that_cannot_be_read(
    tmp_path: Path, command: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    sessions, studies = (
        ["--sessions", str(tmp_path / "sessions")],
        ["--studies", str(tmp_path / "studies.tsv")],
    )
    one = tmp_path / "sessions" / "sub-02" / "placed.json"
    for words in (sessions, studies, [*sessions, *studies, str(one)]):
        assert main([*command, *words]) == 2
        assert "--sessions and --studies go together" in capsys.readouterr().err
    assert main([*command, *sessions, "--studies", str(tmp_path / "none.tsv")]) == 2
    assert "none.tsv: is missing" in capsys.readouterr().err
    assert main([*command, *sessions, "--studies", str(tmp_path / "config.yaml")]) == 2
    assert "has no column 'study_instance_uid'" in capsys.readouterr().err
    one.unlink()
    assert main([*command, *sessions, *studies, "--partial"]) == 0
    assert read_record(tmp_path / "dataset.json", DatasetRecord).sessions == ("sub-01_ses-a",)
    assert main([*command, *sessions, *studies]) == 1
    assert f"{one}: is missing" in capsys.readouterr().err


@pytest.mark.parametrize("lost", ["", "its files", "its records"])
def test_a_session_that_cannot_be_placed_anew_keeps_its_rows(
    tmp_path: Path, bids: Path, command: list[str], lost: str
) -> None:
    """Its files are in the dataset still: without its row the validator would find the dataset invalid."""
    words = [*command, "--sessions", str(tmp_path / "sessions"), "--studies", str(tmp_path / "studies.tsv")]
    folder, image = tmp_path / "sessions" / "sub-02", "sub-02/anat/sub-02_T1w.nii.gz"
    (bids / image).parent.mkdir(parents=True)
    (bids / image).touch()
    write_record(folder / "owned.json", Owned(files={image: ("",)}))
    assert main(words) == 0
    edit(bids / "participants.tsv", "\nsub-02\tn/a", "\nsub-02\t77")
    before = participants(bids)
    # Snakemake removes the outputs of a job that failed
    (folder / "placed.json").rename(folder / PLACED_BEFORE)
    if lost == "its files":
        (bids / image).unlink()
    if lost == "its records":
        (folder / PLACED_BEFORE).write_text("{}")
    assert main([*words, "--partial"]) == 0
    kept = ("sub-01_ses-a",) if lost else ("sub-01_ses-a", "sub-02")
    assert read_record(tmp_path / "dataset.json", DatasetRecord).sessions == kept
    assert lost or participants(bids) == before
    assert main(words) == 1  # it is not placed


def test_no_names_at_all_are_the_heuristics_fault(
    tmp_path: Path, command: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    sessions = tmp_path / "sessions"
    for folder in sessions.iterdir():
        write_record(folder / "placed.json", a_session(folder.name.removeprefix("sub-")[:2], files=0))
    words = ["--sessions", str(sessions), "--studies", str(tmp_path / "studies.tsv")]
    assert main([*command, *words]) == 1
    assert "the heuristic x.py: names none of the 0 series. Edit it; report.html" in capsys.readouterr().err
