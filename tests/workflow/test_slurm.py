"""The line on a real Slurm: pulled from Orthanc on the login node, computed on nodes, seen in Chromium."""

from __future__ import annotations

import json
import re
import subprocess
import time
from pathlib import Path

from peers.browser import Tab
from peers.line import ENVIRONMENT, KNOWN, Line, Pacs, Run, opened, recorded, session_key
from peers.orthanc import AE_TITLE, DICOM_PORT, OUR_AE_TITLE, OUR_PORT, Orthanc
from peers.slurm import Slurm, snakemake_on

ORTHANC = {
    "kind": "pacs",
    "host": "127.0.0.1",
    "port": DICOM_PORT,
    "ae_title": AE_TITLE,
    "receive_ae_title": OUR_AE_TITLE,
    "receive_host": "127.0.0.1",
    "receive_port": OUR_PORT,
}
STUDIES = KNOWN[:2]
PATIENCE_S = 600


def run_on(slurm: Slurm, line: Line, *options: str) -> Run:
    """`snakemake` as a user of the cluster calls it, to its end."""
    started_at = time.time()
    done = subprocess.run(
        snakemake_on(slurm, line.folder, *options),
        env=ENVIRONMENT,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        check=False,
        timeout=PATIENCE_S,
    )
    return Run(
        code=done.returncode,
        terminal=done.stdout,
        seconds=time.time() - started_at,
        jobs=recorded(line.folder, started_at),
        started=opened(line.work / "logs", started_at),
    )


def pulls(line: Line) -> list[tuple[float, float]]:
    """When each pull began and ended, in seconds since the epoch, as Snakemake recorded it; oldest first."""
    records = [json.loads(path.read_text()) for path in (line.folder / ".snakemake/metadata").glob("*")]
    return sorted((one["starttime"], one["endtime"]) for one in records if one["rule"] == "pull")


def test_from_orthanc_through_slurm_to_a_page_in_chromium(
    slurm: Slurm, orthanc: Orthanc, phantom_files: Path, tab: Tab, tmp_path: Path
) -> None:
    for study in STUDIES:
        orthanc.load(phantom_files / study.uid)
    line = Line(folder=tmp_path / "line", pacs=Pacs(folder=phantom_files, source=ORTHANC)).prepared()
    # Orthanc may have more by other tests
    table = [f"{study.uid}\t{session_key(study)}" for study in STUDIES]
    rows = [re.sub(r"sub-(\w+)_ses-(\w+)", r"\1\t\2", row) for row in table]
    (line.folder / "studies.tsv").write_text("\n".join(["StudyInstanceUID\tsubject\tsession", *rows, ""]))
    line.configure(studies={"table": "studies.tsv"})

    run = run_on(slurm, line).succeeded()

    # one submission a session, and one for each of what looks at all of them; nothing is pulled on a node
    numbers = re.findall(r"^\S+: submitted \(Slurm job (\d+)\)$", run.terminal, re.MULTILINE)
    ours = f"--jobs={','.join(numbers)}"  # this cluster may know of those of other tests, too
    comments = slurm.told("squeue", "--states=all", "--noheader", ours, "--format=%k").split()
    assert sorted(comments) == [
        "rule_check",
        "rule_report",
        *["rule_session_index_place_plan_reconstruct"] * 2,
    ]
    # the profile's pacs=1: one study after the other, though both were there to be pulled from the start
    first, second = pulls(line)
    assert first[1] <= second[0]
    for study in STUDIES:
        assert f"{session_key(study)}: done (Slurm job " in run.terminal
    # a line a person reads; nothing of what Snakemake and its plugin say to each other
    for noise in ("SLURM", "rule ", "jobid", "Traceback"):
        assert noise not in run.terminal
    assert "the dataset is valid" in run.terminal

    tab.page.goto((line.folder / "report.html").as_uri())
    assert all(session_key(study) in tab.page.content() for study in STUDIES)
    assert tab.page.evaluate("[...document.images].every(image => image.complete && image.naturalWidth)")
    assert tab.complaints == []

    again = run_on(slurm, line).succeeded()
    assert again.rules == set()
