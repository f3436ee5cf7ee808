"""``pacs2bids status``: what it says of sessions in every state, as a person and a program read it."""

from __future__ import annotations

import fcntl
import json
import os
import time
from pathlib import Path

import pytest

from pacs2bids.__main__ import main
from pacs2bids.files import write_record, write_tsv
from pacs2bids.model import CheckResult, ConfigError, Finding, PlacedSession
from pacs2bids.status import PROVISIONAL, Standing, status_of
from pacs2bids.turn import RUN, alone, beside_no_run, take_turn, who_is_at_work

ERROR = "2026-03-01 03:00:00,123 ERROR   pacs2bids: {}\n"
COLUMNS = ("study_instance_uid", "subject", "session", "source")


class Work:
    """A workdir with the results and logs that the jobs of these sessions would have left."""

    def __init__(self, root: Path) -> None:
        self.root = root / "work"
        self.rows: list[dict[str, str]] = []

    def session(self, key: str, *, done: int = 5, absent: dict[str, str] | None = None) -> str:
        """Add a session of one study, of which the first ``done`` of the five stages have a result."""
        subject, _, label = key.removeprefix("sub-").partition("_ses-")
        uid = f"1.2.{len(self.rows) + 1}"
        self.rows.append(dict(zip(COLUMNS, (uid, subject, label, "pacs"), strict=True)))
        write_tsv(self.root / "studies.tsv", COLUMNS, self.rows)
        study, session = self.root / "studies" / uid, self.root / "sessions" / key
        plain = (study / "receipt.json", study / "index.json", study / "volumes/manifest.json")
        for path in (*plain, session / "plan.tsv")[:done]:
            path.parent.mkdir(parents=True, exist_ok=True)
            path.touch()
        if done == 5:
            placed = PlacedSession(
                session_key=key,
                subject=subject,
                session=label,
                files={},
                volumes={"sub-x_T1w": f"{uid}/1-1"},
                absent=absent or {},
            )
            write_record(session / "placed.json", placed)
        return uid

    def log(self, name: str, error: str = "") -> Path:
        path = self.root / "logs" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(ERROR.format(error) if error else "")
        return path

    def check(self, *findings: tuple[str, str], name: str = "check.json") -> None:
        told = [
            Finding(severity="error", code=code, location=location, message="is odd", origin="pacs2bids")
            for code, location in findings
        ]
        told.append(Finding(severity="warning", code="W", location="sub-01", message="", origin="x"))
        write_record(self.root / name, CheckResult(ok=False, validator_version="3", findings=tuple(told)))

    def states(self) -> dict[str, Standing]:
        return {line.session: line.state for line in status_of(self.root).lines}

    def why(self, key: str) -> str:
        return next(line.why for line in status_of(self.root).lines if line.session == key)


@pytest.fixture
def work(tmp_path: Path) -> Work:
    return Work(tmp_path)


def test_each_state_is_told(work: Work) -> None:
    work.session("sub-01_ses-a")
    work.session("sub-01_ses-b", done=2)
    failed = work.session("sub-02", done=0)
    work.log(f"pull/{failed}.log", "the PACS\ncannot be reached")
    work.session("sub-03", absent={"anat/sub-03_T1w": "slices are missing"})
    work.session("sub-04")
    work.session("sub-05")
    killed = work.session("sub-06", done=1)
    work.log(f"index/{killed}.log")
    (work.root / "sessions/sub-99").mkdir()
    (work.root / "sessions/.DS_Store").touch()
    work.check(
        ("CHANGED_FILE", "sub-04/anat/sub-04_T1w.json"), ("EMPTY_SESSION", "sub-05"), ("NO_README", "")
    )
    assert work.states() == {
        "sub-01_ses-a": Standing.PLACED,
        "sub-99": Standing.LEFT,
        "sub-03": Standing.LACKING,
        "sub-01_ses-b": Standing.WAITING,
        "sub-04": Standing.INVALID,
        "sub-05": Standing.INVALID,
        "dataset": Standing.INVALID,
        "sub-02": Standing.FAILED,
        "sub-06": Standing.FAILED,
    }
    assert work.why("sub-02") == "not received: the PACS cannot be reached"
    assert work.why("sub-01_ses-b") == "not reconstructed"
    assert "slices are missing" in work.why("sub-03")
    assert "CHANGED_FILE: is odd" in work.why("sub-04")
    assert "ended without a result" in work.why("sub-06")
    # what needs a person comes last, next to the prompt
    assert [line.needs_a_person for line in status_of(work.root).lines] == [False] * 4 + [True] * 5


def test_finding_goes_to_its_session(work: Work) -> None:
    for key in ("sub-01_ses-a", "sub-01_ses-b", "sub-010"):
        work.session(key)
    work.check(
        ("A", "sub-01/ses-b/anat/x.json"), ("A", "sub-01/sub-01_sessions.tsv"), ("B", "sub-010/anat/y")
    )
    states = work.states()
    assert states["sub-01_ses-a"] is Standing.PLACED
    assert [states[key] for key in ("sub-01_ses-b", "sub-010", "dataset")] == [Standing.INVALID] * 3


def test_provisional_check_counts_until_there_is_another(work: Work) -> None:
    work.session("sub-01")
    work.check(("A", "sub-01/anat/x"), name=PROVISIONAL)
    assert work.states()["sub-01"] is Standing.INVALID
    work.check()
    assert work.states()["sub-01"] is Standing.PLACED


def test_exit_code_and_filter(work: Work, capsys: pytest.CaptureFixture[str]) -> None:
    work.session("sub-01")
    options = ["status", "--workdir", str(work.root)]
    assert main(options) == 0
    assert "1 session: 1 placed" in capsys.readouterr().out
    uid = work.session("sub-02", done=0)
    work.log(f"pull/{uid}.log", "no such study")
    assert main([*options, "--problems"]) == 1
    told = capsys.readouterr()
    assert "sub-01" not in told.out
    assert "sub-02  failed: not received: no such study (see " in told.out
    assert "1 line above needs a person" in told.err
    assert main([*options, "--json"]) == 1
    read = json.loads(capsys.readouterr().out)
    assert [one["session"] for one in read["sessions"]] == ["sub-01", "sub-02"]
    assert read["counts"] == {"placed": 1, "failed": 1}
    assert read["problems"] == 1


def test_no_workdir_is_a_wrong_configuration(tmp_path: Path) -> None:
    assert main(["status", "--workdir", str(tmp_path / "none")]) == 2


def test_broken_files_are_told_and_hide_nothing(work: Work) -> None:
    work.session("sub-01")
    (work.root / "sessions/sub-01/placed.json").write_text("{")
    work.session("sub-02")
    (work.root / "check.json").write_text("[]")
    work.log("query.log", "the PACS is away")
    states = work.states()
    assert (states["sub-01"], states["sub-02"]) == (Standing.FAILED, Standing.PLACED)
    assert states["dataset"] is Standing.FAILED
    (work.root / "studies.tsv").write_text("nothing\n1\n")
    assert any("is no table of studies" in line.why for line in status_of(work.root).lines)


def test_job_of_a_run_that_goes_on_has_not_failed(work: Work) -> None:
    uid = work.session("sub-01", done=1)
    old = work.session("sub-02", done=1)
    stale = work.log(f"index/{old}.log")
    os.utime(stale, (1, 1))
    with alone(work.root):
        work.log(f"index/{uid}.log")
        assert work.states() == {"sub-01": Standing.RUNNING, "sub-02": Standing.FAILED}
        assert f"pid {os.getpid()} on " in str(status_of(work.root).at_work)
    assert work.states() == {"sub-01": Standing.FAILED, "sub-02": Standing.FAILED}


def test_lock_names_its_holder(tmp_path: Path) -> None:
    with take_turn(tmp_path), pytest.raises(ConfigError, match=f"pid {os.getpid()} on "):
        take_turn(tmp_path)
    assert who_is_at_work(tmp_path) is None
    take_turn(tmp_path).close()


def test_by_hand_several_share_a_workdir_and_none_is_beside_a_run(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with beside_no_run(tmp_path), beside_no_run(tmp_path), pytest.raises(ConfigError, match="pid "):
        take_turn(tmp_path)
    with alone(tmp_path):
        for pid in ("", str(os.getppid())):  # of another run, or of one that has ended
            monkeypatch.setenv(RUN, pid)
            with pytest.raises(ConfigError, match="another run is at work"), beside_no_run(tmp_path):
                pass
        monkeypatch.setenv(RUN, str(os.getpid()))
        with beside_no_run(tmp_path):  # a job of this run
            pass
    with beside_no_run(tmp_path / "none yet"):
        assert not (tmp_path / "none yet").exists()


def test_who_only_asks_keeps_nobody_from_beginning(tmp_path: Path) -> None:
    take_turn(tmp_path).close()
    with (tmp_path / ".lock").open() as asking:
        fcntl.flock(asking, fcntl.LOCK_SH)
        with pytest.raises(ConfigError):
            take_turn(tmp_path)
    take_turn(tmp_path).close()


def test_a_thousand_sessions_are_told_at_once(work: Work) -> None:
    for number in range(1000):
        key = f"sub-{number:04d}"
        subject = key.removeprefix("sub-")
        work.rows.append(dict(zip(COLUMNS, (f"1.2.{number}", subject, "", "pacs"), strict=True)))
        (work.root / "sessions" / key).mkdir(parents=True)
    write_tsv(work.root / "studies.tsv", COLUMNS, work.rows)
    begun = time.process_time()
    assert status_of(work.root).counts == {"waiting": 1000}
    assert time.process_time() - begun < 2


def test_query_that_failed_is_told_although_an_earlier_table_stands(work: Work) -> None:
    work.session("sub-01")
    work.check()
    work.log("query.log", "the PACS cannot be reached")
    (line,) = status_of(work.root).problems
    assert str(line).startswith("dataset  failed: query: the PACS cannot be reached (see ")
    work.log("query.log")
    assert status_of(work.root).problems == ()


def test_what_is_of_the_dataset_is_told_once_and_on_one_line(work: Work) -> None:
    work.session("sub-01")
    work.check()
    (work.root / "dataset.json").unlink(missing_ok=True)
    work.log("dataset.log", "a.tsv: no table\n  second line")
    work.log("check.log", "dataset invalid: 12 files, 1 error, 23 warnings\n  sub-01: EMPTY_SESSION: none")
    (work.root / "check.json").rename(work.root / "check.provisional.json")
    (line,) = status_of(work.root).problems
    assert str(line).startswith("dataset  failed: a.tsv: no table; second line (see ")
    work.log("check.log", "bids-validator cannot be run")
    _, broken = status_of(work.root).problems
    assert str(broken).startswith("dataset  failed: check: bids-validator cannot be run (see ")


def test_workdir_is_that_of_the_configuration(
    work: Work, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    work.session("sub-01")
    monkeypatch.chdir(work.root.parent)
    moved = work.root.rename("elsewhere")
    assert main(["status"]) == 2
    assert "work: is no folder" in capsys.readouterr().err
    config = Path("config.yaml")
    config.write_text(f"{CONFIG}workdir: elsewhere\n")
    assert main(["status"]) == 0
    config = config.rename("mine.yaml")
    assert main(["status", "--config", "mine.yaml"]) == 0
    assert capsys.readouterr().out.count("1 session: 1 placed") == 2
    assert main(["status", "--config", "none.yaml"]) == 2
    config.write_text("workdir: [")  # of which nobody knows where the workdir is, unless it is told
    assert main(["status", "--config", "mine.yaml"]) == 2
    assert main(["status", "--config", "mine.yaml", "--workdir", str(moved)]) == 0


CONFIG = """\
sources: {pacs: {kind: folder, path: dicom}}
studies: {table: studies.tsv}
heuristic: heuristic.py
dataset: {name: Phantoms}
"""


def test_an_edited_table_is_told_until_it_is_queried(
    work: Work, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = work.root.parent
    monkeypatch.chdir(folder)
    uids = [work.session(f"sub-0{number}") for number in (1, 2, 3)]

    def edited(*rows: str) -> str:
        table = folder / "studies.tsv"
        table.write_text("\n".join(["StudyInstanceUID\tAccessionNumber\tsubject", *rows, ""]))
        later_ns = (work.root / "studies.tsv").stat().st_mtime_ns + 1_000_000
        os.utime(table, ns=(later_ns, later_ns))
        assert main(["status", "--json"]) == 0
        told = json.loads(capsys.readouterr().out)["edited"] or ""
        assert main(["status"]) == 0
        assert told in capsys.readouterr().out.splitlines() or not told
        return str(told.removeprefix("studies.tsv was edited since the last query. Sessions: "))

    same = [f"{uid}\t\t0{number}" for number, uid in enumerate(uids, start=1)]
    assert edited("1.2.9\t\t09") == ""  # without a configuration nobody knows of the table
    (folder / "config.yaml").write_text(CONFIG)
    assert edited(*same) == ""  # saved again, as it was
    assert (
        edited(*same[:2], "\tA1\t03") == ""
    )  # the number of an order; which study it is, the query finds out
    assert edited(*same[:2], "1.2.9\t\t09") == "1 new (sub-09), 1 gone (sub-03)"
    assert edited(same[0], "1.2.9\t\t02", same[2], "\tA1\t03") == "2 changed (sub-02, sub-03)"
    assert edited(*same, "no tabs") == ""  # the run says what is wrong with it
    os.utime(work.root / "studies.tsv")
    assert edited(*same) == ""
