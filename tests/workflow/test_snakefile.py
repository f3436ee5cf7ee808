"""The workflow on the command line: one clear line when it cannot start, one line a job, what runs when.

Which jobs ran is read from their logs: each job writes its own anew.
"""

from __future__ import annotations

import html
import os
import re
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from pacs2bids.files import read_record, read_tsv
from pacs2bids.model import CheckResult, Manifest, PlacedSession
from pacs2bids.phantom.protocol import PhantomStudy, studies
from pacs2bids.phantom.write import write
from pacs2bids.turn import take_turn
from peers.available import thorough

ROOT = Path(__file__).resolve().parents[2]
SNAKEMAKE = [sys.executable, "-m", "snakemake", "--snakefile", str(ROOT / "Snakefile"), "--cores", "2"]
CONFIG = """\
sources: {{disk: {{kind: folder, path: {path}}}}}
studies: {{table: studies.tsv}}
heuristic: heuristic.py
dataset: {{name: Two subjects}}
"""
ENDING = {"dataset.log", "check.log", "report.log", "verdict.log"}

Made = tuple[PhantomStudy, ...]


def snakemake(folder: Path, *options: str, package: Path | None = None) -> subprocess.CompletedProcess[str]:
    """Run it; ``package``: the folder of a pacs2bids other than this checkout's."""
    return subprocess.run(
        [*SNAKEMAKE, *options],
        cwd=folder,
        env=os.environ | ({"PYTHONPATH": str(package)} if package else {}),
        text=True,
        capture_output=True,
        check=False,
        timeout=300,
    )


def logs(folder: Path) -> dict[str, int]:
    place = folder / "work/logs"
    return {str(path.relative_to(place)): path.stat().st_mtime_ns for path in place.rglob("*.log")}


def ran(folder: Path, *options: str) -> set[str]:
    """Run to a good end; the logs of the jobs that ran."""
    before = logs(folder)
    result = snakemake(folder, *options)
    assert result.returncode == 0, result.stdout + result.stderr
    return {log for log, changed in logs(folder).items() if before.get(log) != changed}


def table(made: Made) -> str:
    rows = [f"{study.uid}\t{study.subject:02d}\n" for study in made]
    return "StudyInstanceUID\tsubject\n" + "".join(rows)


def prepared(folder: Path, source: Path, made: Made) -> Path:
    folder.mkdir()
    (folder / "config.yaml").write_text(CONFIG.format(path=source))
    (folder / "studies.tsv").write_text(table(made))
    shutil.copy(ROOT / "heuristics/demo.py", folder / "heuristic.py")
    return folder


@pytest.fixture(scope="module")
def made() -> Made:
    return studies(subjects=2, sessions=1, small=True)


@pytest.fixture(scope="module")
def source(tmp_path_factory: pytest.TempPathFactory, made: Made) -> Path:
    folder = tmp_path_factory.mktemp("pacs") / "dicom"
    write(made, folder)
    return folder


@pytest.fixture(scope="module")
def finished(tmp_path_factory: pytest.TempPathFactory, source: Path, made: Made) -> Path:
    folder = prepared(tmp_path_factory.mktemp("finished") / "run", source, made)
    result = snakemake(folder)
    assert result.returncode == 0, result.stdout + result.stderr
    (folder / "said").write_text(result.stdout)
    return folder


@pytest.fixture
def copied(tmp_path: Path, finished: Path) -> Path:
    folder = tmp_path / "run"
    subprocess.run(["cp", "-a", finished, folder], check=True)  # volumes stay hard-linked to the dataset
    return folder


# ------------------------------------------------------------------------------------- before anything runs


@pytest.fixture
def bare(tmp_path: Path) -> Path:
    """What is in a fresh checkout: no studies.tsv."""
    shutil.copy(ROOT / "config.yaml", tmp_path)
    shutil.copytree(ROOT / "heuristics", tmp_path / "heuristics")
    return tmp_path


def the_error(result: subprocess.CompletedProcess[str]) -> str:
    assert result.returncode == 2, result.stderr
    assert "Traceback" not in result.stderr
    (line,) = [line for line in result.stderr.splitlines() if "profile" not in line]
    return line


def test_bare_checkout_says_what_to_do(bare: Path) -> None:
    line = the_error(snakemake(bare, "-n"))
    assert "studies.table: there is no file studies.tsv. Write this table" in line


def test_wrong_configuration_is_one_line(bare: Path) -> None:
    path = bare / "config.yaml"
    path.write_text(path.read_text().replace("port: 4242", "prot: 4242"))
    assert "config.yaml: sources.scanner: unknown key 'prot'" in the_error(snakemake(bare, "-n"))


def test_half_a_configuration_on_the_command_line_is_refused(bare: Path) -> None:
    (bare / "studies.tsv").touch()
    assert "no --config" in the_error(snakemake(bare, "-n", "--config", "bids=elsewhere"))


def test_dry_run_asks_nobody_and_writes_nothing(bare: Path) -> None:
    """The shipped configuration names a PACS that is not there."""
    (bare / "studies.tsv").write_text("StudyInstanceUID\tsubject\n1.2.3\t01\n")
    result = snakemake(bare, "-n")
    assert result.returncode == 0, result.stderr
    assert result.stdout.count("\nquery ") == 1
    assert result.stderr.count("Not queried yet") == 1
    assert not (bare / "work").exists()


# -------------------------------------------------------------------------------------------- what runs when


def test_each_job_prints_one_line(finished: Path) -> None:
    lines = (finished / "said").read_text().splitlines()
    assert len(lines) == len(logs(finished)) == 1 + 2 * 5 + 4


def test_dataset_is_valid_and_complete(finished: Path, made: Made) -> None:
    assert read_record(finished / "work/check.json", CheckResult).ok
    people = read_tsv(finished / "bids/participants.tsv")
    assert [row["participant_id"] for row in people] == ["sub-01", "sub-02"]
    for study in made:
        placed = read_record(finished / f"work/sessions/sub-{study.subject:02d}/placed.json", PlacedSession)
        assert any(name.endswith("_T1w.nii.gz") for name in placed.files)
    assert (finished / "report.html").stat().st_size > 0


def test_nothing_is_done_twice(copied: Path) -> None:
    assert ran(copied) == set()


def test_table_read_again_pulls_nothing(copied: Path) -> None:
    assert ran(copied, "--forcerun", "query") == {"query.log"}


def test_changed_description_reruns_the_end(copied: Path) -> None:
    path = copied / "config.yaml"
    path.write_text(path.read_text().replace("Two subjects", "Another name"))
    assert ran(copied) == ENDING


@thorough
def test_second_opinion_is_asked_where_wanted(copied: Path, made: Made) -> None:
    with (copied / "config.yaml").open("a") as config:
        config.write("second_opinion: dcm2niix\n")
    assert ran(copied) == {f"opinion/{study.uid}.log" for study in made} | {"report.log", "verdict.log"}
    for study in made:
        folder = copied / "work/studies" / study.uid
        volumes = read_record(folder / "volumes/manifest.json", Manifest).volumes
        assert len(read_tsv(folder / "second_opinion.tsv")) >= len(volumes)
    assert ran(copied) == set()


def due(folder: Path, *options: str, package: Path | None = None) -> set[str]:
    """The rules that would run, from the table of a dry run."""
    result = snakemake(folder, "-n", *options, package=package)
    assert result.returncode == 0, result.stdout + result.stderr
    return set(re.findall(r"^(\w+) +[0-9]+$", result.stdout, re.MULTILINE)) - {"total", "all"}


@thorough
def test_only_what_the_heuristic_imports_reruns_it(copied: Path) -> None:
    heuristic = copied / "heuristic.py"
    heuristic.write_text("from common import nothing\n" + heuristic.read_text())
    (copied / "common.py").write_text("def nothing():\n    pass\n")
    named = {"plan/sub-01.log", "plan/sub-02.log", "place/sub-01.log", "place/sub-02.log"} | ENDING
    assert ran(copied) == named
    (copied / "other.py").write_text("import common\n")
    assert ran(copied) == set()
    (copied / "common.py").write_text("def nothing():\n    return 1\n")
    assert ran(copied) == named


@thorough
@pytest.mark.parametrize(
    ("changed", "rerun"),
    [
        ("place.py", {"plan", "place", "dataset", "check", "report", "verdict"}),
        ("report/page.css", {"dataset", "check", "report", "verdict"}),
    ],
)
def test_changed_source_reruns_its_stages(
    copied: Path, tmp_path: Path, changed: str, rerun: set[str]
) -> None:
    package = tmp_path / "workflow"
    # other processes compile: what they write under another name at first is gone a moment later
    shutil.copytree(ROOT / "workflow", package, ignore=shutil.ignore_patterns("*.pyc.*"))
    assert due(copied, package=package) == set()
    with (package / "pacs2bids" / changed).open("a") as stream:
        stream.write("\n")
    assert due(copied, package=package) == rerun


def test_command_lines_do_not_grow_with_the_sessions(copied: Path) -> None:
    result = snakemake(copied, "-n", "-p", "--workflow-profile", "none", "--forcerun", "dataset", "check")
    shell = [line for line in result.stdout.splitlines() if "-m pacs2bids" in line]
    assert any(" dataset " in line for line in shell)
    assert any(" check --bids " in line for line in shell)
    assert not any("sub-01" in line for line in shell if " dataset " in line or " check " in line)


# -------------------------------------------------------------------------------------------- what goes wrong

NO_JOB = re.compile("Traceback|RuleException|CalledProcessError|WorkflowError|set -euo pipefail")


def failed(folder: Path, *options: str) -> list[str]:
    """Run to a bad end; the errors, one line each and nothing of Snakemake's beside them."""
    result = snakemake(folder, *options)
    assert result.returncode == 1, result.stdout + result.stderr
    assert not NO_JOB.search(result.stdout + result.stderr), result.stderr
    (folder / "said").write_text(result.stderr)
    return [line for line in result.stderr.splitlines() if line.startswith("ERROR: ")]


def report(folder: Path) -> str:
    return html.unescape((folder / "report.html").read_text())


def add(heuristic: Path, lines: str) -> str:
    """Put lines at the start of infotodict; returns the heuristic as it was."""
    before = heuristic.read_text()
    changed = re.sub(r"(def infotodict\(.*\n(    \"\"\".*\n)?)", rf"\g<1>{lines}", before)
    assert changed != before
    heuristic.write_text(changed)
    return before


def told_failures(copied: Path, cause: str, *, sessions: int) -> str:
    """Run; so many of the two sessions fail for this cause, which the errors tell, and the page: returned."""
    errors = failed(copied)
    assert [cause in error for error in errors] == [True] * sessions
    assert f"made of what there is, {2 - sessions} of 2 sessions" in (copied / "said").read_text()
    page = report(copied)
    assert f"{sessions} of 2 sessions failed" in page
    assert cause in page
    return page


def test_failure_is_told_until_it_is_repaired(copied: Path) -> None:
    heuristic = copied / "heuristic.py"
    good = heuristic.read_text()
    heuristic.write_text(good + "\nthis is no Python\n")
    for _ in range(2):
        assert "failed: not planned" in told_failures(copied, "SyntaxError", sessions=2)
    heuristic.write_text(good)
    assert ran(copied) >= ENDING
    assert "2 of 2 sessions failed" not in report(copied)
    assert ran(copied) == set()


@thorough
def test_one_failed_session_of_two_is_told_again(copied: Path) -> None:
    heuristic = copied / "heuristic.py"
    config = copied / "config.yaml"
    config.write_text(config.read_text() + "notify: {mail: tee mailed, when: changes}\n")
    good = add(heuristic, "    if seqinfo[0].patient_id.endswith('2'):\n        return 1 / 0\n")
    for night in range(2):
        assert "of an earlier run" in told_failures(copied, "ZeroDivisionError", sessions=1)
        said = (copied / "said").read_text().splitlines()
        assert "2 sessions: 1 placed, 1 failed" in said
        (line,) = [line for line in said if line.startswith("sub-02  failed: not planned: ")]
        mailed = copied / "mailed"
        assert mailed.exists() == (night == 0)
        if mailed.exists():
            assert line in mailed.read_text().splitlines()
            mailed.unlink()
    heuristic.write_text(good)
    assert ran(copied) >= ENDING
    assert "Nothing needs a person." in (copied / "mailed").read_text()
    assert ran(copied) == set()


@thorough
def test_failed_pull_is_tried_again(copied: Path, source: Path, tmp_path: Path) -> None:
    """The folder that was the source is away for a while."""
    config = copied / "config.yaml"
    away = tmp_path / "moved"
    shutil.copytree(source, away)
    config.write_text(config.read_text().replace(str(source), str(away)))
    ran(copied)
    for study in away.iterdir():
        study.rename(tmp_path / study.name)
    for options in (("--forcerun", "pull"), ()):
        assert len(failed(copied, *options)) == 2
        assert "2 of 2 sessions failed" in report(copied)
    for study in tmp_path.glob("study*"):
        study.rename(away / study.name)
    ran(copied)
    assert len(list(copied.glob("work/studies/*/receipt.json"))) == 2
    assert ran(copied) == set()


@thorough
def test_failed_query_is_told_and_asked_again(copied: Path, source: Path, tmp_path: Path) -> None:
    """The table of an earlier query stands, and would pass for new."""
    config, away = copied / "config.yaml", tmp_path / "moved"
    label = "subject: {from: PatientID, pattern: '(?P<subject>[0-9]+)$'}"
    question = f"{{query: [{{source: disk, match: {{StudyDate: 19000101-}}, {label}}}]}}"
    text = config.read_text().replace("{table: studies.tsv}", question).replace(str(source), str(away))
    config.write_text(text)
    result = snakemake(copied)
    assert result.returncode == 1
    assert "dataset  failed: query: " in result.stderr
    away.symlink_to(source)
    assert "query.log" in ran(copied)
    assert ran(copied) == set()


@thorough
def test_series_that_the_heuristic_fails_on_is_told_at_the_end(copied: Path) -> None:
    add(
        copied / "heuristic.py",
        "    for s in seqinfo:\n"
        "        if s.patient_id.endswith('2') and 'T1' in s.protocol_name.upper():\n"
        "            raise KeyError('trips')\n",
    )
    result = snakemake(copied)
    assert result.returncode == 1
    assert "dataset valid, but not whole:" in result.stdout + result.stderr
    assert "the dataset is valid, but lacks 1 series set aside by heuristic errors" in result.stderr
    assert "SERIES_SET_ASIDE" in result.stderr
    assert "placed, 1 series set aside" in report(copied)
    config = copied / "config.yaml"
    config.write_text(f"{config.read_text()}\non_heuristic_error: skip\n")
    result = snakemake(copied)
    assert result.returncode == 0, result.stderr
    assert "verdict: the dataset is valid; 1 series set aside by heuristic errors" in result.stdout


def test_heuristic_that_names_nothing_is_one_line(tmp_path: Path, source: Path, made: Made) -> None:
    folder = prepared(tmp_path / "run", source, made)
    (folder / "heuristic.py").write_text("def infotodict(seqinfo):\n    return {}\n")
    (error,) = failed(folder)
    series = sum(len(study.series) for study in made)
    assert f"the heuristic heuristic.py: names none of the {series} series. Edit it" in error
    assert "names none of the" in report(folder)


@thorough
def test_job_that_is_killed_is_told_by_snakemake(copied: Path) -> None:
    """It says nothing itself. The heuristic runs in a child of the job."""
    add(copied / "heuristic.py", "    import os\n    os.kill(os.getppid(), 9)\n")
    result = snakemake(copied)
    assert result.returncode == 1
    assert "SIGKILL" in result.stderr or "status 137" in result.stderr
    assert "ended without a result" in report(copied)


SLEEPY = """\
import os, pathlib, time
pathlib.Path(f"asleep-{os.getpid()}").touch()
time.sleep(60)
"""


@thorough
def test_interrupted_run_delivers_nothing(tmp_path: Path, source: Path, made: Made) -> None:
    """Ctrl-C reaches Snakemake and its jobs. They are well under way: a Python that starts says more."""
    folder = prepared(tmp_path / "run", source, made)
    (folder / "heuristic.py").write_text(SLEEPY)
    ran(folder, "--until", "reconstruct")
    with (tmp_path / "said").open("w+") as screen:
        run = subprocess.Popen(
            SNAKEMAKE, cwd=folder, stdout=screen, stderr=subprocess.STDOUT, start_new_session=True
        )
        deadline = time.monotonic() + 120
        while len(list(folder.glob("asleep-*"))) < len(made):
            assert run.poll() is None
            assert time.monotonic() < deadline
            time.sleep(0.05)
        os.killpg(run.pid, signal.SIGINT)
        assert run.wait(120) == 130
    said = (tmp_path / "said").read_text()
    assert said.count("Interrupted. Run again to go on") == 1
    assert not NO_JOB.search(said), said
    assert "Not everything succeeded" not in said
    assert not (folder / "work/logs/dataset.log").exists()
    assert not (folder / "report.html").exists()
    shutil.copy(ROOT / "heuristics/demo.py", folder / "heuristic.py")
    assert ran(folder) >= ENDING


def test_workdir_is_its_owners_alone(finished: Path) -> None:
    """So is each file in it that tells who is who, wherever it is moved to; and the report."""
    work = finished / "work"
    private = [*work.glob("studies/*/dicom/**/*"), *work.glob("studies/*/*"), *work.glob("sessions/*/*")]
    private += [work, *work.glob("*.key"), *work.glob("*.tsv"), *finished.glob("report*/**/*")]
    names = {path.name for path in private}
    assert {"dicom", "identity.json", "receipt.json", "plan.tsv", "placed.json", "dates.key"} <= names
    # DICOM files of a folder are links to it (test_pull and test_pull_folder have those of a PACS and copies)
    private = [path for path in private if path.suffix != ".dcm" or path.stat().st_nlink == 1]
    modes = {(path.is_dir(), path.stat().st_mode & 0o777) for path in private}
    assert modes == {(True, 0o700), (False, 0o600)}


@thorough
def test_corrected_label_is_told_and_pruned(copied: Path) -> None:
    """Subject 02 becomes 03: the old folder is an error until it is pruned. What was noted goes along."""
    listed = copied / "studies.tsv"
    scans = copied / "bids/sub-02/sub-02_scans.tsv"
    head, *rows = scans.read_text().splitlines()
    scans.write_text("".join(f"{line}\n" for line in (f"{head}\tquality", *(f"{row}\tgood" for row in rows))))
    listed.write_text(listed.read_text().replace("\t02\n", "\t03\n"))
    told = failed(copied)
    assert any("the dataset has" in line for line in told)
    findings = read_record(copied / "work/check.json", CheckResult).findings
    (found,) = [one for one in findings if one.code == "SESSION_NOT_IN_TABLE"]
    assert (found.severity, found.location) == ("error", "sub-02")
    assert "`pacs2bids prune`" in found.message
    prune = [sys.executable, "-m", "pacs2bids", "prune", "--yes"]
    done = subprocess.run(prune, cwd=copied, text=True, capture_output=True, check=True)
    assert "1 session, " in done.stdout
    assert not (copied / "bids/sub-02").exists()
    assert {row["quality"] for row in read_tsv(copied / "bids/sub-03/sub-03_scans.tsv")} == {"good"}
    assert ran(copied) == ENDING
    assert ran(copied) == set()
    people = read_tsv(copied / "bids/participants.tsv")
    assert [row["participant_id"] for row in people] == ["sub-01", "sub-03"]


def jobs_due(folder: Path) -> dict[str, set[str]]:
    """Rule -> sessions that a dry run would do, of the rules that work on sessions and studies."""
    said = snakemake(folder, "-n", "--workflow-profile", "none").stdout
    rules = re.findall(
        r"^rule (\w+):\n(?:    .*\n)*?    wildcards: (?:session|study)=(\S+)$", said, re.MULTILINE
    )
    return {rule: {key for other, key in rules if other == rule} for rule, _ in rules}


def pruned(folder: Path) -> str:
    """Remove what the table does not have any more; what a look at it said before."""
    prune = [sys.executable, "-m", "pacs2bids", "prune"]
    look, _ = (
        subprocess.run([*prune, *more], cwd=folder, text=True, capture_output=True, check=True)
        for more in ((), ("--yes",))
    )
    return look.stdout


def images(folder: Path) -> dict[str, int]:
    """Path in the dataset -> inode."""
    bids = folder / "bids"
    return {str(path.relative_to(bids)): path.stat().st_ino for path in bids.rglob("*.nii.gz")}


@thorough
def test_studies_move_to_one_session_and_to_sessions_of_one_subject(copied: Path, made: Made) -> None:
    before = images(copied)
    one, two = (study.uid for study in made)
    listed = copied / "studies.tsv"
    # two studies are one session: a break of the scanner
    listed.write_text(f"StudyInstanceUID\tsubject\n{one}\t01\n{two}\t01\n")
    snakemake(copied, "--until", "query")
    assert jobs_due(copied) == {"plan": {"sub-01"}, "place": {"sub-01"}}
    assert any("`pacs2bids prune" in error or "errors" in error for error in failed(copied))
    assert set(before) < set(images(copied)), "what left the table is there until it is pruned"
    look = pruned(copied)
    assert "work/sessions/sub-02/" in look
    assert (
        sum("sub-02/" in line and line.endswith(".nii.gz") for line in look.splitlines()) == len(before) / 2
    )
    assert ran(copied) == ENDING
    merged = images(copied)
    assert sorted(merged.values()) == sorted(before.values()), "the very same files, under new names"
    assert {"sub-01/anat/sub-01_run-1_T1w.nii.gz", "sub-01/anat/sub-01_run-2_T1w.nii.gz"} < set(merged)
    scans = read_tsv(copied / "bids/sub-01/sub-01_scans.tsv")
    assert {f"sub-01/{row['filename']}" for row in scans} == set(merged)
    assert [row["acq_time"] for row in scans] == sorted(row["acq_time"] for row in scans)
    assert [row["participant_id"] for row in read_tsv(copied / "bids/participants.tsv")] == ["sub-01"]

    # two sessions of one subject
    listed.write_text(f"StudyInstanceUID\tsubject\tsession\n{one}\t01\ta\n{two}\t01\tb\n")
    snakemake(copied, "--until", "query")
    sessions = {"sub-01_ses-a", "sub-01_ses-b"}
    assert jobs_due(copied) == {"plan": sessions, "place": sessions}
    failed(copied)
    assert "ses-" not in pruned(copied)
    assert ran(copied) == ENDING
    assert sorted(images(copied).values()) == sorted(before.values())
    rows = read_tsv(copied / "bids/sub-01/sub-01_sessions.tsv")
    assert [row["session_id"] for row in rows] == ["ses-a", "ses-b"]
    assert read_record(copied / "work/check.json", CheckResult).ok


@thorough
def test_dataset_that_cannot_be_written_is_tried_and_told_once(copied: Path) -> None:
    heuristic = copied / "heuristic.py"
    heuristic.write_text(heuristic.read_text() + "\n")  # so that the sessions are placed anew
    (copied / "bids/dataset_description.json").write_text("no object")
    result = snakemake(copied)
    assert result.returncode == 1
    told = [
        line for line in result.stderr.splitlines() if "dataset_description.json: is no JSON object" in line
    ]
    assert len([line for line in told if line.startswith("ERROR")]) == 1
    assert "dataset failed" in report(copied)
    assert "The dataset is made of what there is" not in result.stderr


@thorough
def test_failed_session_keeps_no_other_back(tmp_path: Path, source: Path, made: Made) -> None:
    folder = prepared(tmp_path / "run", source, made)
    (folder / "studies.tsv").write_text(
        table(made) + "1.2.3.4\t03\n"
    )  # a study that the source does not have
    result = snakemake(folder)
    assert result.returncode == 1
    assert "Traceback" not in result.stderr
    assert "1.2.3.4" in next(line for line in result.stderr.splitlines() if line.startswith("ERROR:"))
    people = read_tsv(folder / "bids/participants.tsv")
    assert [row["participant_id"] for row in people] == ["sub-01", "sub-02"]
    assert (folder / "report.html").exists()
    (folder / "studies.tsv").write_text(table(made))
    assert ran(folder) == {"query.log"} | ENDING


def test_invalid_dataset_fails_after_the_report(copied: Path) -> None:
    heuristic = copied / "heuristic.py"
    heuristic.write_text(heuristic.read_text() + "\n")
    (copied / "bids/sub-01/anat/sub-01_stray.nii.gz").write_bytes(b"no image")
    before = logs(copied)
    result = snakemake(copied)
    assert result.returncode == 1
    assert "the dataset has" in result.stderr
    assert logs(copied)["report.log"] > before["report.log"]
    assert not (copied / "work/valid").exists()


def test_one_run_at_a_time(copied: Path) -> None:
    (copied / "heuristic.py").write_text((copied / "heuristic.py").read_text() + "\n")
    with take_turn(copied / "work"):
        result = snakemake(copied)
    assert result.returncode == 2
    assert f"pid {os.getpid()} on " in result.stderr
    assert "work: another run is at work on it" in result.stderr
