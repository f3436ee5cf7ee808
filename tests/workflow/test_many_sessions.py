"""Many sessions: what one study more makes the workflow do. The results of the others are fabricated."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

from pacs2bids.files import write_tsv
from pacs2bids.model import StudyRow
from peers.available import thorough

pytestmark = thorough

ROOT = Path(__file__).resolve().parents[2]
SESSIONS = 30
CONFIG = """\
sources: {disk: {kind: folder, path: nowhere}}
studies: {table: studies.tsv}
heuristic: heuristic.py
dataset: {name: Many}
"""
# in the order of the stages: one second between them, for their times
OF_STUDIES = ("receipt.json", "index.json", "volumes/manifest.json")
OF_SESSIONS = ("plan.tsv", "placed.json")
OF_ALL = ("work/dataset.json", "work/check.json", "report.html", "work/valid")


def snakemake(folder: Path, *options: str) -> str:
    command = [sys.executable, "-m", "snakemake", "--snakefile", str(ROOT / "Snakefile"), "--cores", "2"]
    done = subprocess.run(
        [*command, *options], cwd=folder, text=True, capture_output=True, check=False, timeout=300
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


def rows(count: int) -> list[dict[str, str]]:
    """Two studies to every third session."""
    made = []
    for number in range(count):
        subject, label = f"{number // 2:03d}", "ab"[number % 2]
        made.append((f"1.2.{number}", subject, label, "disk"))
        if number % 3 == 0:
            made.append((f"1.2.{number}.1", subject, label, "disk"))
    return [dict(zip(StudyRow.__struct_fields__, row, strict=True)) for row in made]


def listed(folder: Path, count: int) -> None:
    lines = ["\t".join((row["study_instance_uid"], row["subject"], row["session"])) for row in rows(count)]
    (folder / "studies.tsv").write_text("\n".join(["StudyInstanceUID\tsubject\tsession", *lines, ""]))


def fabricated(folder: Path) -> None:
    """All results of all sessions, as old as their stages are late."""
    (folder / "config.yaml").write_text(CONFIG)
    (folder / "heuristic.py").write_text("def infotodict(seqinfo):\n    return {}\n")
    listed(folder, SESSIONS)
    write_tsv(folder / "work/studies.tsv", StudyRow.__struct_fields__, rows(SESSIONS))
    studies = {row["study_instance_uid"] for row in rows(SESSIONS)}
    sessions = {f"sub-{row['subject']}_ses-{row['session']}" for row in rows(SESSIONS)}
    made = [[folder / "work/studies" / uid / name for uid in studies] for name in OF_STUDIES]
    made += [[folder / "work/sessions" / key / name for key in sessions] for name in OF_SESSIONS]
    made += [[folder / name] for name in OF_ALL]
    begun = (folder / "work/studies.tsv").stat().st_mtime
    for age, paths in enumerate(reversed(made)):
        for path in paths:
            path.parent.mkdir(parents=True, exist_ok=True)
            path.touch()
            os.utime(path, (begun - age, begun - age))
    for path in (folder / name for name in ("studies.tsv", "heuristic.py", "work/studies.tsv")):
        os.utime(path, (begun - 100, begun - 100))


def planned(folder: Path) -> dict[str, int]:
    """Rule -> jobs, of a dry run."""
    told = snakemake(folder, "-n", "--workflow-profile", str(ROOT / "profiles/default"))
    return {rule: int(count) for rule, count in re.findall(r"^(\w+) +([0-9]+)$", told, re.MULTILINE)}


def test_one_study_more_starts_its_own_jobs_only(tmp_path: Path) -> None:
    fabricated(tmp_path)
    # as if all had been made: so that Snakemake knows the parameters, too, and would notice another
    snakemake(tmp_path, "--touch", "--forceall")
    listed(tmp_path, SESSIONS + 1)
    snakemake(tmp_path, "--until", "query")
    jobs = planned(tmp_path)
    assert (SESSIONS % 3, jobs.pop("total")) == (0, 13)
    # the new session has two studies; at the end, what is of the whole
    assert {rule for rule, count in jobs.items() if count == 2} == {"pull", "index", "reconstruct"}
    once = {"all", "plan", "place", "dataset", "check", "report", "verdict"}
    assert {rule for rule, count in jobs.items() if count == 1} == once


def test_a_night_with_nothing_new_runs_the_query_alone_and_what_is_gone_is_missed(tmp_path: Path) -> None:
    fabricated(tmp_path)
    snakemake(tmp_path, "--touch", "--forceall")
    shutil.rmtree(tmp_path / "work/logs")
    snakemake(tmp_path, "--forcerun", "query")
    ran = {path.stem for path in (tmp_path / "work/logs").rglob("*.log")}
    assert ran == {"query"}
    (tmp_path / "work/studies/1.2.4/volumes/manifest.json").unlink()
    once = ("reconstruct", "place", "dataset", "check", "report", "verdict", "all")
    assert planned(tmp_path) == {**dict.fromkeys(once, 1), "total": len(once)}
