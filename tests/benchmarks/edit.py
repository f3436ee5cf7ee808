"""``python -m tests.benchmarks.edit``: from an edit of the heuristic to placed sessions, Snakemake included.

Synthetic sessions of 30 series are made and converted once, and kept. Then, in each round, the heuristic is
edited (8 names of each session change), and the workflow plans and places all sessions on two cores.
"""

from __future__ import annotations

import argparse
import os
import resource
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from tests.benchmarks.measure import table
from tests.benchmarks.synthetic_ge import ROOT as UIDS
from tests.benchmarks.synthetic_ge import Protocol, write_session

CHECKOUT = Path(__file__).resolve().parents[2]
CORES = 2
SNAKEMAKE = (
    sys.executable,
    "-m",
    "snakemake",
    "--snakefile",
    str(CHECKOUT / "Snakefile"),
    "--cores",
    str(CORES),
)
TASKS = [f"task-{task}_run-{run}_bold" for task in ("rest", "faces", "go") for run in range(1, 9)]
SERIES = {
    **dict.fromkeys(("T1w", "T2w", "FLAIR"), "anat"),
    **dict.fromkeys([f"task-{task}_run-1_sbref" for task in ("rest", "faces", "go")], "func"),
    **dict.fromkeys(TASKS, "func"),
}  # protocol, and what is to become of its name -> folder
CONFIG = """\
sources: {{disk: {{kind: folder, path: {source}}}}}
studies: {{table: studies.tsv}}
heuristic: heuristic.py
dataset: {{name: Benchmark}}
"""
HEURISTIC = """\
FOLDERS = {folders!r}


def infotodict(seqinfo):
    info = {{}}
    for s in seqinfo:
        name = s.protocol_name.replace("task-rest", "task-{task}")
        folder = "{{bids_subject_session_dir}}/" + FOLDERS[s.protocol_name]
        info[folder + "/{{bids_subject_session_prefix}}_" + name, ("nii.gz",), None] = [s.series_id]
    return info
"""


@dataclass(frozen=True, slots=True, kw_only=True)
class Cost:
    """``cpu_s``: user and system time of the process and its children."""

    wall_s: float
    cpu_s: float

    def __str__(self) -> str:
        return f"{self.wall_s:.1f} ({self.cpu_s:.1f})"


@dataclass(frozen=True, slots=True, kw_only=True)
class Place:
    """Where the workflow runs."""

    folder: Path
    sessions: int

    def name(self, task: str) -> None:
        """Edit the heuristic: what was a resting state has this name now."""
        heuristic = HEURISTIC.format(folders=SERIES, task=task)
        (self.folder / "heuristic.py").write_text(heuristic, encoding="utf-8")

    def snakemake(self, *options: str) -> Cost:
        """Run it. Raises RuntimeError if it fails."""
        return timed([*SNAKEMAKE, *options], self.folder)

    def verb(self, *words: str | Path) -> Cost:
        """Run one stage by itself. Raises RuntimeError if it fails."""
        return timed([sys.executable, "-m", "pacs2bids", *map(str, words)], self.folder)

    def is_named(self, task: str) -> bool:
        """Whether every session is placed under the names of the last edit, and under no others."""
        images = [path.name for path in (self.folder / "bids").rglob("*_bold.nii.gz")]
        fresh = sum(f"_task-{task}_" in name for name in images)
        return len(images) == len(TASKS) * self.sessions and fresh == 8 * self.sessions


def timed(command: Sequence[str], folder: Path) -> Cost:
    """What a whole process costs. Raises RuntimeError with its last words if it fails."""
    before, begun = resource.getrusage(resource.RUSAGE_CHILDREN), time.perf_counter()
    done = subprocess.run(command, cwd=folder, capture_output=True, text=True, check=False)
    if done.returncode:
        raise RuntimeError(f"{' '.join(command)}: {(done.stderr or done.stdout)[-2000:]}")
    after, wall_s = resource.getrusage(resource.RUSAGE_CHILDREN), time.perf_counter() - begun
    cpu_s = after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime
    return Cost(wall_s=wall_s, cpu_s=cpu_s)


def prepared(data: Path, sessions: int) -> Place:
    """Sessions that are pulled, indexed and reconstructed; made once."""
    place = Place(folder=data / f"edit-{sessions}", sessions=sessions)
    if (place.folder / "work" / "valid").exists():
        return place
    shutil.rmtree(place.folder, ignore_errors=True)
    write_studies(place.folder, sessions)
    place.name("rest")
    print(f"{sessions} sessions of {len(SERIES)} series are converted once ...", flush=True)
    print(f"... in {place.snakemake().wall_s:.0f} s\n", flush=True)
    return place


def write_studies(folder: Path, sessions: int) -> None:
    """One study a session: the same files under UIDs of their own, as long as those of the first."""
    protocols = [
        Protocol(name=name, slices=4, volumes=2 if name in TASKS else 1, matrix=16) for name in SERIES
    ]
    with tempfile.TemporaryDirectory() as first:
        write_session(Path(first), tuple(protocols))
        files = {path.relative_to(first): path.read_bytes() for path in sorted(Path(first).rglob("*.MRDC"))}
    rows = ["StudyInstanceUID\tsubject\tsession"]
    for number in range(sessions):
        # UIDs of one's own begin with 2.25. (PS3.5 section B.2)
        root = f"2.25.1{number:0{len(UIDS) - 6}d}"
        rows.append(f"{root}.1000\t{number // 2 + 1:03d}\t{'ab'[number % 2]}")
        for path, content in files.items():
            target = folder / "dicom" / f"{number:03d}" / path
            target.parent.mkdir(parents=True, exist_ok=True)
            target.write_bytes(content.replace(UIDS.encode(), root.encode()))
    (folder / "studies.tsv").write_text("".join(f"{row}\n" for row in rows), encoding="utf-8")
    (folder / "config.yaml").write_text(CONFIG.format(source=folder / "dicom"), encoding="utf-8")


def measured(place: Place, task: str) -> tuple[str, ...]:
    """A row of the table: one edit."""
    place.name(task)
    graph = place.snakemake("--dry-run", "--quiet", "all", "--until", "place")
    edit = place.snakemake("--until", "place")
    if not place.is_named(task):
        raise RuntimeError(f"{place.folder}/bids is not what the edited heuristic says")
    rest = place.snakemake()
    again = place.snakemake()
    session, study = one_session(place)
    subject, _, label = session.name.removeprefix("sub-").partition("_ses-")
    names = ["--heuristic", "heuristic.py", "--subject", subject, "--session", label]
    plan = place.verb("plan", *names, "--out", session, study)
    placed = place.verb("place", "--session-dir", session, "--studies-dir", study.parent, "--bids", "bids")
    rate = f"{place.sessions / edit.wall_s:.1f}"
    costs = [str(cost) for cost in (edit, graph, plan, placed, rest, again)]
    return (str(place.sessions), str(len(SERIES)), costs[0], rate, *costs[1:])


def one_session(place: Place) -> tuple[Path, Path]:
    """Folders of the first session and its study, relative to the workflow's."""
    study, subject, session = (place.folder / "studies.tsv").read_text().splitlines()[1].split("\t")
    work = Path("work")
    return work / "sessions" / f"sub-{subject}_ses-{session}", work / "studies" / study


HEAD = ("sessions", "series", "edit", "sessions/s", "graph", "plan one", "place one", "rest", "again")


def main() -> int:
    """Print one table."""
    parser = argparse.ArgumentParser(prog="python -m tests.benchmarks.edit", description=__doc__)
    parser.add_argument("--sessions", type=int, default=100, metavar="N")
    parser.add_argument("--rounds", type=int, default=1, metavar="N", help="edits (1)")
    parser.add_argument(
        "--data", type=Path, default=Path(tempfile.gettempdir()) / "pacs2bids-benchmarks", metavar="DIR"
    )
    arguments = parser.parse_args()
    # an installed package has its bytecode: compiling it at each start would be measured
    os.environ.pop("PYTHONDONTWRITEBYTECODE", None)
    place = prepared(arguments.data.resolve(), arguments.sessions)
    place.name("rest")
    place.snakemake()
    rows = [measured(place, f"rest{round_}") for round_ in range(1, arguments.rounds + 1)]
    print("Seconds; in brackets, CPU seconds with all children: on a busy machine those to trust.\n")
    print(*table([HEAD, *rows]), sep="\n")
    return 0


if __name__ == "__main__":
    sys.exit(main())
