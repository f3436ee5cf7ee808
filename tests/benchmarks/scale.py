"""``python -m tests.benchmarks.scale``: what a thousand sessions cost, when there is little or nothing to do.

One tiny synthetic study goes through the workflow. The others get its stage files and what Snakemake noted of
them, under UIDs and labels of their own (volumes as hard links: what counts here is their number), and are
placed by the real stage. Kept; made once. Then each command is measured as a whole process.
"""

from __future__ import annotations

import argparse
import json
import os
import shutil
import subprocess
import sys
import tempfile
from base64 import b64decode, b64encode
from collections.abc import Iterator, Sequence
from contextlib import redirect_stdout
from dataclasses import dataclass
from pathlib import Path

from tests.benchmarks.measure import WATCH, table
from tests.benchmarks.synthetic_ge import ROOT as UIDS
from tests.benchmarks.synthetic_ge import Protocol, write_session

from pacs2bids.__main__ import main as pacs2bids
from pacs2bids.engine import engine_version
from pacs2bids.files import sha256
from pacs2bids.versions import delivery_version, naming_version

CHECKOUT = Path(__file__).resolve().parents[2]
SNAKEMAKE = (sys.executable, "-m", "snakemake", "--snakefile", str(CHECKOUT / "Snakefile"), "--cores", "2")
PROTOCOLS = (
    Protocol(name="T1w", slices=4, matrix=16),
    Protocol(name="task-rest_bold", slices=4, volumes=2, matrix=16),
)
CONFIG = """\
sources: {{disk: {{kind: folder, path: {source}}}}}
studies: {{table: studies.tsv}}
heuristic: heuristic.py
dataset: {{name: Benchmark}}
"""
HEURISTIC = """\
def infotodict(seqinfo):
    info = {}
    for s in seqinfo:
        folder = "anat" if s.protocol_name == "T1w" else "func"
        name = f"{{bids_subject_session_dir}}/{folder}/{{bids_subject_session_prefix}}_{s.protocol_name}"
        info[name, ("nii.gz",), None] = [s.series_id]
    return info
"""

# what of a study's folder names it: the rest is linked
RECORDS = frozenset(
    {"receipt.json", ".receipt.json", "index.json", "identity.json", "manifest.json", "plan.tsv"}
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Session:
    """The n-th of them. UIDs of one's own begin with 2.25. (PS3.5 section B.2); all are of one length."""

    number: int

    @property
    def root(self) -> str:
        return f"2.25.1{self.number:0{len(UIDS) - 6}d}"

    @property
    def study(self) -> str:
        return f"{self.root}.1000"

    @property
    def labels(self) -> tuple[str, str]:
        return f"{self.number // 2 + 1:05d}", "ab"[self.number % 2]

    @property
    def key(self) -> str:
        return "sub-{}_ses-{}".format(*self.labels)


@dataclass(frozen=True, slots=True, kw_only=True)
class Cost:
    """Of a whole process and its children."""

    wall_s: float
    cpu_s: float
    peak_mib: float


def cost_of(command: Sequence[str | Path], folder: Path) -> Cost:
    """Run it. Raises RuntimeError if it fails."""
    watched = [sys.executable, "-c", WATCH, *map(str, command)]
    told = subprocess.run(watched, cwd=folder, capture_output=True, text=True, check=True).stdout
    wall_s, cpu_s, peak_kib = map(float, told.split())
    return Cost(wall_s=wall_s, cpu_s=cpu_s, peak_mib=peak_kib / 1024)


def snakemake(folder: Path, *options: str) -> str:
    """Run it; returns what it says. Raises RuntimeError if it fails."""
    done = subprocess.run([*SNAKEMAKE, *options], cwd=folder, capture_output=True, text=True, check=False)
    if done.returncode:
        raise RuntimeError((done.stderr or done.stdout)[-3000:])
    return done.stdout + done.stderr


# ------------------------------------------------------------------------------------------------ made once


def prepared(data: Path, sessions: int) -> Path:
    """A folder in which so many sessions are done, by the stages as they are now: else they would be due."""
    folder = data / f"scale-{sessions}"
    made, stages = folder / "made", f"{engine_version()} {naming_version()} {delivery_version()}"
    if not made.exists() or made.read_text() != stages:
        shutil.rmtree(folder, ignore_errors=True)
        folder.mkdir(parents=True)
        print(f"{sessions} sessions are made once ...", flush=True)
        write_inputs(folder)
        write_table(folder, 1)
        snakemake(folder)
        for number in range(1, sessions):
            copy_session(folder, Session(number=number))
        place(folder, [Session(number=number) for number in range(1, sessions)])
        for number in range(1, sessions):
            copy_notes(folder, Session(number=number))
        write_table(folder, sessions)
        snakemake(folder)
        made.write_text(stages)
    return folder


def write_inputs(folder: Path) -> None:
    """Configuration and heuristic, and the first study as the source has it."""
    with tempfile.TemporaryDirectory() as first:
        write_session(Path(first), PROTOCOLS)
        copy_study(Path(first), folder / "dicom" / "first", Session(number=0))
    (folder / "config.yaml").write_text(CONFIG.format(source=folder / "dicom"))
    (folder / "heuristic.py").write_text(HEURISTIC)


def copy_study(made: Path, target: Path, session: Session) -> None:
    """The files of a study under other UIDs, as long as its own."""
    for path in sorted(made.rglob("*.MRDC")):
        copy = target / path.relative_to(made)
        copy.parent.mkdir(parents=True, exist_ok=True)
        copy.write_bytes(path.read_bytes().replace(UIDS.encode(), session.root.encode()))


def write_table(folder: Path, sessions: int) -> None:
    rows = ["StudyInstanceUID\tsubject\tsession"]
    for session in (Session(number=number) for number in range(sessions)):
        rows.append("\t".join((session.study, *session.labels)))
    (folder / "studies.tsv").write_text("".join(f"{row}\n" for row in rows))


def renamed(text: str, session: Session) -> str:
    """The same of another session than the first."""
    first = Session(number=0)
    text = text.replace(first.root, session.root).replace(first.key, session.key)
    text = text.replace(first.key.replace("_", "/"), session.key.replace("_", "/"))
    options = "--subject {} --session {}"
    return text.replace(options.format(*first.labels), options.format(*session.labels))


def copy_session(folder: Path, session: Session) -> None:
    """Stage files of the first session, under other UIDs and labels, and as old."""
    first, work = Session(number=0), folder / "work"
    source, target = work / "studies" / first.study, work / "studies" / session.study
    pairs = [
        (path, target / renamed(path.relative_to(source).as_posix(), session))
        for path in source.rglob("*")
        if path.is_file() and path.name != "placed_in.json"
    ]
    plan = Path("sessions", first.key, "plan.tsv")
    pairs.append((work / plan, work / renamed(plan.as_posix(), session)))
    for path, copy in pairs:
        copy.parent.mkdir(parents=True, exist_ok=True)
        if path.name in RECORDS:
            copy.write_text(renamed(path.read_text(), session))
            shutil.copystat(path, copy)
        else:
            os.link(path, copy)


def copy_notes(folder: Path, session: Session) -> None:
    """What Snakemake noted of the jobs of the first session: parameters, and digests of small inputs."""
    first, notes = Session(number=0), folder / ".snakemake" / "metadata"
    for path in [*notes.iterdir()]:
        output = b64decode(path.name).decode()
        if first.study not in output and first.key not in output:
            continue
        note = json.loads(renamed(path.read_text(), session))
        for name in note["input_checksums"]:
            note["input_checksums"][name] = f"sha256:{sha256(folder / name)}"
        copy = notes / b64encode(renamed(output, session).encode()).decode()
        copy.write_text(json.dumps(note))


def place(folder: Path, sessions: Sequence[Session]) -> None:
    """By the real stage, in this process. Raises RuntimeError if it fails."""
    before = Path.cwd()
    os.chdir(folder)
    try:
        for session in sessions:
            where = ["--session-dir", f"work/sessions/{session.key}", "--studies-dir", "work/studies"]
            with Path(os.devnull).open("w") as nowhere, redirect_stdout(nowhere):
                failed = pacs2bids(["place", *where, "--bids", "bids"])
            if failed:
                raise RuntimeError(f"{session.key} cannot be placed")
    finally:
        os.chdir(before)


# ------------------------------------------------------------------------------------------------ measured


def measured(folder: Path, sessions: int) -> Iterator[tuple[str, ...]]:
    """The rows of the table."""
    for name, options in {
        "snakemake -n, nothing to do": ("-n",),
        "snakemake, nothing to do": (),
        "snakemake --forcerun query (nightly), nothing new": ("--forcerun", "query"),
    }.items():
        yield row(name, cost_of([*SNAKEMAKE, *options], folder))
    yield from of_verbs(folder)
    yield from of_one_more(folder, sessions)


def of_verbs(folder: Path) -> Iterator[tuple[str, ...]]:
    """The verbs of the whole dataset, by themselves."""
    table_ = ["--sessions", "work/sessions", "--studies", "work/studies.tsv"]
    for verb, options in {
        "dataset": ["--config", "config.yaml", "--bids", "bids", "--out", "work/x.json", *table_],
        "check": ["--bids", "bids", "--out", "work/x.json", "--no-fail", *table_],
        "report": ["--workdir", "work", "--bids", "bids", "--out", "x.html"],
        "status": [],
        "conclude": ["--config", "config.yaml"],
    }.items():
        yield row(verb, cost_of([sys.executable, "-m", "pacs2bids", verb, *options], folder))


def of_one_more(folder: Path, sessions: int) -> Iterator[tuple[str, ...]]:
    """One study is added to the table, and taken out again afterwards."""
    session = Session(number=sessions)
    with tempfile.TemporaryDirectory() as made:
        write_session(Path(made), PROTOCOLS)
        copy_study(Path(made), folder / "dicom" / "more", session)
    write_table(folder, sessions + 1)
    begun_s = (folder / "studies.tsv").stat().st_mtime
    cost = cost_of([*SNAKEMAKE], folder)
    yield row("snakemake, one study more", cost, jobs_of(folder, session, begun_s))
    write_table(folder, sessions)
    prune = [sys.executable, "-m", "pacs2bids", "prune", "--yes"]
    snakemake(folder, "--until", "query")
    subprocess.run(prune, cwd=folder, check=True, capture_output=True)
    shutil.rmtree(folder / "work" / "studies" / session.study)
    shutil.rmtree(folder / "dicom" / "more")
    snakemake(folder)


def jobs_of(folder: Path, session: Session, begun_s: float) -> str:
    """The jobs that ran since then, by their logs."""
    ran = [path for path in (folder / "work" / "logs").rglob("*.log") if path.stat().st_mtime >= begun_s]
    own = [path for path in ran if path.stem in (session.study, session.key)]
    once = sorted(path.stem for path in ran if path.parent.name == "logs")
    others = len(ran) - len(own) - len(once)
    return f"{len(own)} jobs of its own, {others} of others, and {', '.join(once)}"


HEAD = ("", "wall s", "CPU s", "peak MiB", "")


def row(name: str, cost: Cost, note: str = "") -> tuple[str, ...]:
    return (name, f"{cost.wall_s:.1f}", f"{cost.cpu_s:.1f}", f"{cost.peak_mib:.0f}", note)


def main() -> int:
    """Print one table."""
    parser = argparse.ArgumentParser(prog="python -m tests.benchmarks.scale", description=__doc__)
    parser.add_argument("--sessions", type=int, default=1000, metavar="N")
    parser.add_argument(
        "--data", type=Path, default=Path(tempfile.gettempdir()) / "pacs2bids-benchmarks", metavar="DIR"
    )
    arguments = parser.parse_args()
    # an installed package has its bytecode: compiling it at each start would be measured
    os.environ.pop("PYTHONDONTWRITEBYTECODE", None)
    folder = prepared(arguments.data.resolve(), arguments.sessions)
    rows = list(measured(folder, arguments.sessions))
    print(
        f"{arguments.sessions:,} sessions. CPU seconds with all children: on a busy machine those to trust.\n"
    )
    print(*table([HEAD, *rows]), sep="\n")
    return 0


if __name__ == "__main__":
    sys.exit(main())
