"""``pacs2bids plan`` for a person: tables of all sessions, what an edit changes, plans kept as tests."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest
from msgspec.structs import asdict, replace

from pacs2bids.__main__ import main
from pacs2bids.dialects.heudiconv import ask
from pacs2bids.files import read_record, write_record, write_tsv
from pacs2bids.model import Identity, PlacedSession, StudyIndex, StudyRow
from synthetic import Series, indexed

HEURISTIC = """
def infotodict(seqinfo):
    t1w = ("{bids_subject_session_dir}/anat/{bids_subject_session_prefix}_T1w", ("nii.gz",), None)
    return {t1w: [s.series_id for s in seqinfo if "mprage" in s.series_description]}
"""
CONFIG = """
heuristic: mine.py
sources: {disk: {kind: folder, path: dicom}}
studies: {table: studies.tsv}
dataset: {name: A study}
"""
STUDIES = {"1.2.1": "01", "1.2.2": "02", "1.2.3": "03"}  # the last is not indexed yet


@pytest.fixture
def work(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A work directory of three sessions, of which one was placed under other names."""
    monkeypatch.chdir(tmp_path)
    (tmp_path / "mine.py").write_text(HEURISTIC)
    (tmp_path / "config.yaml").write_text(CONFIG)
    Series(name="mprage", number=5).write(tmp_path / "dicom")
    Series(name="scout", number=1).write(tmp_path / "dicom")
    index = indexed(tmp_path / "dicom")
    for uid in [*STUDIES][:2]:
        series = tuple(replace(one, study_instance_uid=uid) for one in index.series)
        write_record(
            tmp_path / "work/studies" / uid / "index.json",
            replace(index, study_instance_uid=uid, series=series),
        )
    rows = [
        StudyRow(study_instance_uid=uid, subject=who, session="", source="disk")
        for uid, who in STUDIES.items()
    ]
    write_tsv(tmp_path / "work/studies.tsv", StudyRow.__struct_fields__, map(asdict, rows))
    placed = PlacedSession(
        session_key="sub-01",
        subject="01",
        session="",
        files={},
        volumes={"sub-01/anat/sub-01_T2w": "1.2.1/005-1"},
    )
    write_record(tmp_path / "work/sessions/sub-01/placed.json", placed)
    return tmp_path


def told(capsys: pytest.CaptureFixture[str], *words: str, code: int = 0) -> tuple[list[str], str]:
    """Lines of standard output, and standard error."""
    assert main(["plan", *words]) == code
    said = capsys.readouterr()
    return said.out.splitlines(), said.err


def test_all_sessions_as_tables(work: Path, capsys: pytest.CaptureFixture[str]) -> None:
    lines, _ = told(capsys)
    assert lines[0] == "sub-01: 1 of 2 stacks named, 1 skipped"
    (named,) = (line for line in lines if line.endswith("anat/sub-02_T1w"))
    assert named.split()[:3] == ["005-1", "mprage", "5x4x3x1"]
    assert "TR 2 s" in named
    assert "TE 30 ms" in named
    assert any("scout" in line and "does not name this series" in line for line in lines)
    assert lines[-1] == "1 session not indexed yet: sub-03"
    assert not list(work.rglob("plan.tsv"))


@pytest.mark.usefixtures("work")
def test_one_session_by_hand(capsys: pytest.CaptureFixture[str]) -> None:
    lines, _ = told(capsys, "work/studies/1.2.2", "--subject", "77")
    assert lines[0].startswith("sub-77: 1 of 2")


def test_who_numbers_runs_is_said_by_the_configuration_or_the_command_line(
    work: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (work / "mine.py").write_text(HEURISTIC.replace("_T1w", "_run-07_T1w"))
    by_hand = ("work/studies/1.2.2", "--subject", "02")
    assert told(capsys, *by_hand)[0][3].endswith("sub-02_run-07_T1w")
    assert told(capsys, *by_hand, "--runs", "by_time")[0][3].endswith("sub-02_run-01_T1w")
    (work / "config.yaml").write_text(CONFIG + "naming: {runs: by_time}\n")
    assert told(capsys, *by_hand)[0][3].endswith("sub-02_run-01_T1w")
    assert told(capsys, *by_hand, "--runs", "as_written")[0][3].endswith("sub-02_run-07_T1w")
    with pytest.raises(SystemExit):
        main(["plan", *by_hand, "--short-runs", "dropped"])
    assert "nor an entity such as acq-short" in capsys.readouterr().err


def test_what_an_edit_changes(work: Path, capsys: pytest.CaptureFixture[str]) -> None:
    lines, _ = told(capsys, "--diff")
    assert lines[:4] == [
        "sub-01",
        "  005-1 mprage: anat/sub-01_T2w -> anat/sub-01_T1w",
        "sub-02",
        "  005-1 mprage: (no name) -> anat/sub-02_T1w",
    ]
    assert lines[4] == "2 of 2 sessions change: 1 named, 1 renamed"
    (work / "mine.py").write_text(HEURISTIC.replace("_T1w", "_T2w").replace('"mprage" in', '"scout" in'))
    lines, _ = told(capsys, "--diff", "--only", "sub-01")
    assert lines == [
        "sub-01",
        "  001-1 scout: (no name) -> anat/sub-01_T2w",
        "  005-1 mprage: anat/sub-01_T2w -> no name: the heuristic does not name this series",
        "1 of 1 session change: 1 left without a name, 1 named",
    ]


def test_what_identifies_the_patient_is_not_told(
    work: Path, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    study = work / "work/studies/1.2.1"
    who = Identity(study_instance_uid="1.2.1", values={"PatientName": ("Zyzzyx^Quux",)})
    write_record(study / "identity.json", who)
    index = read_record(study / "index.json", StudyIndex)
    said = tuple(replace(one, series_description=f"{one.series_description} zyzzyx") for one in index.series)
    write_record(study / "index.json", replace(index, series=said))
    (work / "mine.py").write_text(HEURISTIC.replace("prefix}_T1w", "prefix}_acq-t1zyzzyxrepeat_T1w"))
    told(capsys, "--keep", "expected.tsv")
    kept = (work / "expected.tsv").read_text()
    (work / "expected.tsv").write_text(kept.replace("repeat_T1w", "again_T1w"))
    for words in ([], ["--diff"], ["--explain", "5"], ["--check", "expected.tsv"]):
        lines, error = told(capsys, "--only", "sub-01", *words, code=int("--check" in words))
        assert "***" in "".join(lines) + error, words
        assert "zyzzyx" not in ("".join(lines) + error).lower(), words
        is_told = "WARNING: what identifies the patient is in 1 name (***)" in "".join(lines)
        assert is_told == (words in ([], ["--diff"])), words
    by_hand = [str(study), "--subject", "01", "--heuristic", "mine.py", "--out", str(tmp_path / "out")]
    assert main(["plan", *by_hand, "--log", str(tmp_path / "plan.log")]) == 0
    assert "acq-t1***repeat" in (tmp_path / "plan.log").read_text()
    assert "zyzzyx" not in (tmp_path / "plan.log").read_text().lower()
    assert "zyzzyx" in (tmp_path / "out/plan.tsv").read_text()
    (work / "zyzzyx.py").write_text("def infotodict(seqinfo):\n    return {'zyzzyx': 1}\n")
    assert main(["plan", *by_hand[:-4], "--heuristic", "zyzzyx.py", "--out", str(tmp_path / "out")]) == 1
    error = capsys.readouterr().err
    assert "***" in error
    assert "zyzzyx" not in error.lower()


def test_nothing_changes(work: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (work / "mine.py").write_text(HEURISTIC.replace("_T1w", "_T2w"))
    assert told(capsys, "--diff", "--only", "sub-01")[0] == ["nothing changes in 1 session"]


def test_a_plan_kept_as_a_test(work: Path, capsys: pytest.CaptureFixture[str]) -> None:
    told(capsys, "--keep", "expected.tsv")
    lines, _ = told(capsys, "--check", "expected.tsv")
    assert lines[0] == "expected.tsv: all 4 rows as expected"
    (work / "mine.py").write_text(HEURISTIC.replace("_T1w", "_T2w"))
    _, error = told(capsys, "--check", "expected.tsv", code=1)
    assert "expected.tsv: 2 differences" in error
    assert "005-1 mprage: anat/sub-01_T1w -> anat/sub-01_T2w" in error
    _, error = told(capsys, "--check", "expected.tsv", "--only", "sub-02", code=1)
    assert "1 difference " in error
    assert "sub-01" not in error


def test_a_kept_plan_loses_no_session(work: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Neither by one that fails, nor by plans of some, nor by one whose index is gone for now."""
    told(capsys, "--keep", "expected.tsv")
    kept = (work / "expected.tsv").read_text()
    (work / "mine.py").write_text(HEURISTIC.replace("_T1w", "_T2w"))
    index = work / "work/studies/1.2.2/index.json"
    whole = index.read_text()
    index.write_text(whole[:-30])
    lines, _ = told(capsys, "--keep", "expected.tsv", code=1)
    assert lines[0] == "expected.tsv: is left as it was"
    assert (work / "expected.tsv").read_text() == kept
    index.unlink()
    assert "; 2 rows of others stay" in told(capsys, "--keep", "expected.tsv")[0][0]
    index.write_text(whole)
    for words in (["--only", "sub-01"], ["work/studies/1.2.1", "--subject", "01"]):
        assert told(capsys, "--keep", "expected.tsv", *words)[0] == [
            "expected.tsv: 2 rows of 1 session; 2 rows of others stay"
        ]
        names = (work / "expected.tsv").read_text()
        assert "sub-01_T2w" in names
        assert "sub-02_T1w" in names
    assert "stay" not in told(capsys, "--keep", "expected.tsv")[0][0]


def test_a_check_tells_why_a_session_is_not_planned(work: Path, capsys: pytest.CaptureFixture[str]) -> None:
    told(capsys, "--keep", "expected.tsv")
    index = work / "work/studies/1.2.2/index.json"
    index.write_text(index.read_text()[:-30])
    lines, error = told(capsys, "--check", "expected.tsv", code=1)
    assert "study 1.2.2: is expected and was not planned" in "\n".join(lines)
    assert "1 session cannot be planned:\n  - sub-02: " in error


def test_a_study_that_is_expected_and_gone(work: Path, capsys: pytest.CaptureFixture[str]) -> None:
    told(capsys, "--keep", "expected.tsv")
    (work / "work/studies/1.2.2/index.json").unlink()
    _, error = told(capsys, "--check", "expected.tsv", code=1)
    assert "study 1.2.2: is expected and was not planned" in error


def test_the_others_are_told_where_one_fails(work: Path, capsys: pytest.CaptureFixture[str]) -> None:
    index = work / "work/studies/1.2.2/index.json"
    index.write_text(index.read_text()[:-30])
    lines, error = told(capsys, code=1)
    assert lines[0] == "sub-01: 1 of 2 stacks named, 1 skipped"
    assert "1 session cannot be planned" in error
    assert "sub-02: " in error
    assert "index.json" in error


def test_a_series_that_is_set_aside_is_told_by_the_exit_code(
    work: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """But where the workflow goes on, or a person has accepted it."""
    trips = "    [s for s in seqinfo if 'scout' in s.series_description and {}[s.series_id]]\n"
    (work / "mine.py").write_text(HEURISTIC.replace("    t1w =", f"{trips}    t1w ="))
    lines, error = told(capsys, code=1)
    assert lines[0] == "sub-01: 1 of 2 stacks named, 1 skipped"
    assert "fails on 2 series: sub-01 series 1 (scout), sub-02 series 1 (scout)" in error
    assert "on_heuristic_error: skip" in error
    told(capsys, "--diff", code=1)
    told(capsys, "--keep", "expected.tsv", code=1)
    told(capsys, "--check", "expected.tsv")
    told(capsys, "--explain", "1")
    by_hand = ("--heuristic", "mine.py", "--subject", "01", "work/studies/1.2.1")
    told(capsys, *by_hand, code=1)
    told(capsys, *by_hand, "--out", "there")
    (work / "config.yaml").write_text(f"{CONFIG}on_heuristic_error: skip\n")
    told(capsys)


@pytest.mark.usefixtures("work")
@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["--only", "sub-09"], "has no session sub-09. It has sub-01, sub-02, sub-03"),
        (["work/studies/1.2.1"], "Add --subject"),
        (["work/studies/1.2.1", "--subject", "a b"], "--subject, --session"),
        (["--subject", "01"], "of which studies"),
        (["--out", "there"], "of which studies"),
    ],
)
def test_sessions_that_cannot_be_told(
    capsys: pytest.CaptureFixture[str], words: list[str], said: str
) -> None:
    assert said in told(capsys, *words, code=2)[1]


def test_without_a_table(work: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (work / "work/studies.tsv").unlink()
    assert "work/studies.tsv: is missing. Run snakemake first" in told(capsys, code=2)[1]
    text = (work / "config.yaml").read_text()
    (work / "config.yaml").write_text(re.sub("(?m)^heuristic: .*", "heuristic: nowhere.py", text))
    assert "config.yaml: heuristic: there is no file" in told(capsys, code=2)[1]


RULES = """
rules:
  - match: {series_description: mprage, volumes: {above: 3}}
    datatype: anat
    suffix: T2w
  - match: {series_description: "mpr*"}
    datatype: anat
    suffix: T1w
  - match: {series_description: mprage2}
    skip: a repeat
"""


def test_why_a_series_has_its_name(work: Path, capsys: pytest.CaptureFixture[str]) -> None:
    lines, _ = told(capsys, "--explain", "mprage", "--only", "sub-01")
    assert lines[0] == "sub-01, series 005 (mprage)"
    assert lines[1].startswith("  005-1: anat/sub-01_T1w")
    assert lines[2:] == ["  taken by mine.py, line 4"]
    (work / "mine.yaml").write_text(RULES)
    lines, _ = told(capsys, "--explain", "5", "--only", "sub-01", "--heuristic", "mine.yaml")
    assert lines[-1] == "  taken by mine.yaml, line 6"


def test_why_a_series_has_none(work: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (work / "mine.yaml").write_text(RULES.replace('"mpr*"', "mpr"))
    lines, _ = told(capsys, "--explain", "005", "--heuristic", "mine.yaml", "--only", "sub-02")
    assert lines[1].startswith("  005-1: no name: the heuristic does not name this series")
    assert len(lines) == 3
    assert lines[2].startswith("  nearest: mine.yaml, line 3, 1 condition met; then not: volumes")
    (work / "mine.py").write_text(HEURISTIC.replace("    return", IFS + "    return"))
    lines, _ = told(capsys, "--explain", "scout", "--only", "sub-02")
    assert lines[-1] == "  mine.py, line 5 fits, and puts it under no name that stays"


IFS = """    for s in seqinfo:
        if s.series_description == "scout" and s.dim3 > 1:
            continue
"""


@pytest.mark.usefixtures("work")
def test_a_series_that_is_nowhere(capsys: pytest.CaptureFixture[str]) -> None:
    assert "no session has a series 'nothing'" in told(capsys, "--explain", "nothing", code=2)[1]


def test_all_sessions_of_a_subject(work: Path, capsys: pytest.CaptureFixture[str]) -> None:
    rows = [
        StudyRow(study_instance_uid=f"1.2.{number}", subject="01", session=f"v{number}", source="disk")
        for number in (1, 2)
    ]
    write_tsv(work / "work/studies.tsv", StudyRow.__struct_fields__, map(asdict, rows))
    lines, _ = told(capsys, "--only", "sub-01")
    keys = [line.split(":")[0] for line in lines if line.startswith("sub-")]
    assert keys == ["sub-01_ses-v1", "sub-01_ses-v2"]


def test_a_table_that_was_edited_since_is_told(work: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (work / "studies.tsv").write_text("StudyInstanceUID\tsubject\n1.2.1\t09\n")
    os.utime(work / "work/studies.tsv", (1, 1))  # else both may be of one tick of the file system's clock
    assert "studies.tsv was edited since the last run" in told(capsys)[1]
    os.utime(work / "studies.tsv", (0, 0))
    assert "edited" not in told(capsys)[1]


def test_a_configuration_of_dcm2bids_is_no_heuristic(work: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (work / "d2b.json").write_text("{}")
    error = told(capsys, "--heuristic", "d2b.json", code=1)[1]
    assert "pacs2bids import-heuristic d2b.json" in error


@pytest.mark.usefixtures("work")
def test_a_folder_that_is_not_there(capsys: pytest.CaptureFixture[str]) -> None:
    error = told(capsys, "work/studies/9", "--subject", "01", code=1)[1]
    assert "work/studies/9: there is no such folder" in error


def test_letters_that_the_terminal_has_not(work: Path) -> None:
    (work / "mine.yaml").write_text("rules:\n- {match: {series_description: mprage}, skip: 頭部}\n", "utf-8")
    words = ("plan", "--heuristic", "mine.yaml", "--only", "sub-01")
    for encoding, told in (("latin-1", "\\u982d\\u90e8"), ("utf-8", "頭部")):
        environment = {**os.environ, "PYTHONIOENCODING": encoding}
        done = subprocess.run(
            [sys.executable, "-m", "pacs2bids", *words],
            cwd=work,
            env=environment,
            capture_output=True,
            check=False,
        )
        assert (done.returncode, done.stderr) == (0, b"")
        assert told in done.stdout.decode(encoding)


def test_after_a_loop_without_an_end_the_others_are_not_asked(
    work: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(ask.__kwdefaults__, "limit_s", 1.0)
    monkeypatch.setattr("pacs2bids.dialects.isolated.GRACE_S", 60)  # however busy the machine is
    (work / "mine.py").write_text(HEURISTIC.replace("    return", "    while True: pass\n    return"))
    lines, error = told(capsys, code=1)
    assert lines == ["", "1 session not indexed yet: sub-03"]
    assert error.count("does not come to an end: after 1 s") == 1
    assert "1 session cannot be planned:\n  - sub-01: " in error
    assert "1 session behind it not asked: sub-02" in error


def test_a_mistake_of_all_sessions_is_told_once(work: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (work / "broken.yaml").write_text("rules:\n- matsch: {}\n")
    lines, error = told(capsys, "--diff", "--heuristic", "broken.yaml", code=1)
    assert lines == ["", "1 session not indexed yet: sub-03"]
    assert "2 sessions cannot be planned:\n  - sub-01, sub-02: " in error
    assert error.count("matsch") == 1
