"""The whole line as a person runs it: a folder with a configuration, a PACS that answers, and `snakemake`.

A plugin of all tests, so that those of several folders share one finished run.
"""

from __future__ import annotations

import base64
import hashlib
import json
import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path

import psutil
import pytest
import yaml

from pacs2bids.demo import own_port
from pacs2bids.pacs.sender import Destination
from pacs2bids.pacs.server import serving
from pacs2bids.phantom.protocol import PhantomStudy, studies
from pacs2bids.phantom.write import write

ROOT = Path(__file__).resolve().parents[2]
SNAKEMAKE = [sys.executable, "-m", "snakemake", "--snakefile", str(ROOT / "Snakefile"), "--cores", "2"]
RECEIVER = "PACS2BIDS"
PATIENCE_S = 900
# without bytecode on disk a start takes 4 s instead of 1 s
ENVIRONMENT = {key: value for key, value in os.environ.items() if key != "PYTHONDONTWRITEBYTECODE"}
QUERY = {
    "source": "pacs",
    "match": {"ModalitiesInStudy": "MR"},
    "subject": {"from": "PatientID", "pattern": "^PHANTOM(?P<subject>[0-9]+)$"},
    "session": {"from": "StudyDescription", "pattern": "ses-(?P<session>[a-z]+)$"},
}


@dataclass(frozen=True, kw_only=True)
class Pacs:
    """A PACS that is up. ``source``: what ``config.yaml`` says of it."""

    folder: Path
    source: Mapping[str, object]


@contextmanager
def pacs_of(folder: Path, *, at: int = 0) -> Iterator[Pacs]:
    """Serve ``folder`` at ports that the operating system chooses; ``at``: at one from ``own_port``."""
    with own_port() as port, serving(folder, port=at, destinations=destinations_at(port)) as server:
        source = {
            "kind": "pacs",
            "host": server.host,
            "port": server.port,
            "ae_title": server.ae_title,
            "receive_ae_title": RECEIVER,
            "receive_host": "127.0.0.1",
            "receive_port": port,
        }
        yield Pacs(folder=folder, source=source)


def destinations_at(port: int) -> dict[str, Destination]:
    return {RECEIVER: Destination(host="127.0.0.1", port=port)}


@dataclass(frozen=True, kw_only=True)
class Job:
    """A job that Snakemake ran to its end."""

    rule: str
    output: str


@dataclass(frozen=True, kw_only=True)
class Run:
    """One call of `snakemake`. ``terminal``: all that a person saw, both streams in order.

    ``jobs``: what Snakemake itself recorded as done. ``started``: names of the logs that stages opened
    ("plan/sub-01_ses-a"); a stage opens its log first of all, so failed and killed jobs are among them.
    ``group``: of snakemake and all its jobs.
    """

    code: int
    terminal: str
    seconds: float
    jobs: tuple[Job, ...]
    started: frozenset[str]
    group: int = 0

    @property
    def rules(self) -> set[str]:
        """Which rules ran: of the jobs done, and of the logs opened."""
        return {job.rule for job in self.jobs} | {name.partition("/")[0] for name in self.started}

    def of(self, rule: str) -> list[str]:
        """What the jobs of a rule wrote."""
        return sorted(job.output for job in self.jobs if job.rule == rule)

    def succeeded(self) -> Run:
        """This run, which must have ended well."""
        assert self.code == 0, self.terminal
        return self

    def outlived(self) -> None:
        """Wait until the jobs that live on have ended, too."""
        deadline = time.monotonic() + PATIENCE_S
        while members(self.group):
            assert time.monotonic() < deadline
            time.sleep(0.05)


@dataclass(frozen=True, kw_only=True)
class Line:
    """A folder in which `snakemake` runs on all studies that a PACS has."""

    folder: Path
    pacs: Pacs

    @property
    def work(self) -> Path:
        return self.folder / "work"

    @property
    def bids(self) -> Path:
        return self.folder / "bids"

    @property
    def heuristic(self) -> Path:
        return self.folder / "heuristic.py"

    def prepared(self) -> Line:
        """The folder with all that a person writes: configuration and heuristic."""
        self.folder.mkdir(parents=True, exist_ok=True)
        shutil.copy(ROOT / "heuristics" / "demo.py", self.heuristic)
        self.work.mkdir(mode=0o700)
        key = self.work / "dates.key"  # else each line would hide dates by a key of its own
        key.touch(mode=0o600)
        key.write_text(f"{'5a' * 32}\n")
        self.configure()
        return self

    def configure(self, **settings: object) -> None:
        """Write ``config.yaml``; ``settings`` are keys besides the usual."""
        config = {
            "sources": {"pacs": dict(self.pacs.source)},
            "studies": {"query": [QUERY]},
            "heuristic": "heuristic.py",
            "dataset": {"name": "Phantoms", "authors": ["Author One"], "license": "CC0"},
            **settings,
        }
        (self.folder / "config.yaml").write_text(yaml.safe_dump(config), encoding="utf-8")

    def copied(self, folder: Path, pacs: Pacs | None = None) -> Line:
        """The same in another folder, times of files kept, so that nothing has to be done anew."""
        subprocess.run(["cp", "-a", self.folder, folder], check=True)
        line = replace(self, folder=folder, pacs=pacs or self.pacs)
        line.configure()
        return line

    def run(self, *options: str) -> Run:
        """Call `snakemake` and wait for its end."""
        with self._running(*options) as run:
            run.process.wait(PATIENCE_S)
        return run.ended()

    def killed(
        self,
        when: Callable[[float], bool],
        *,
        alone: bool = False,
        environment: Mapping[str, str] = ENVIRONMENT,
    ) -> Run:
        """Call `snakemake` and kill it with all its jobs as soon as ``when(started)`` is true.

        ``started``: seconds since the epoch, as files have their times. ``alone``: its jobs live on. A run
        that was over before comes back with the exit code 0.
        """
        with self._running(environment=environment) as run:
            deadline = time.monotonic() + PATIENCE_S
            while not when(run.started_at):
                if run.process.poll() is not None:
                    assert run.process.returncode == 0, run.terminal()
                    return run.ended()
                assert time.monotonic() < deadline, run.terminal()
                time.sleep(0.002)
            if alone:
                run.process.kill()
                run.process.wait(PATIENCE_S)
            else:
                run.kill()
        return run.ended()

    @contextmanager
    def _running(self, *options: str, environment: Mapping[str, str] = ENVIRONMENT) -> Iterator[_Process]:
        with (self.folder.parent / f"{self.folder.name}.terminal").open("w+b") as screen:
            started_at = time.time()
            process = subprocess.Popen(
                [*SNAKEMAKE, *options],
                cwd=self.folder,
                env=environment,
                stdin=subprocess.DEVNULL,
                stdout=screen,
                stderr=subprocess.STDOUT,
                start_new_session=True,  # a process group of its own: snakemake and all its jobs
            )
            run = _Process(line=self, process=process, screen=Path(screen.name), started_at=started_at)
            try:
                yield run
            finally:
                if process.poll() is None:
                    run.kill()


@dataclass(frozen=True, kw_only=True)
class _Process:
    line: Line
    process: subprocess.Popen[bytes]
    screen: Path
    started_at: float

    def terminal(self) -> str:
        return self.screen.read_text(encoding="utf-8", errors="replace")

    def kill(self) -> None:
        """SIGKILL to the whole process group, and wait until none of it runs."""
        os.killpg(self.process.pid, signal.SIGKILL)
        self.process.wait(PATIENCE_S)
        while members(self.process.pid):
            time.sleep(0.01)

    def ended(self) -> Run:
        return Run(
            code=self.process.returncode,
            terminal=self.terminal(),
            seconds=time.time() - self.started_at,
            jobs=recorded(self.line.folder, self.started_at),
            started=opened(self.line.work / "logs", self.started_at),
            group=self.process.pid,
        )


# Python reads this module by itself: it holds the jobs of a stage (audit hooks: PEP 578)
HOLDING = """
import os, sys, time
here, stage, left = os.path.dirname(__file__), {stage!r}, [{files}]

def hold(event, _):
    if event == "os.rename":
        left[0] -= 1
        if left[0] == 0:
            open(os.path.join(here, "held"), "w").close()
            while not os.path.exists(os.path.join(here, "go")):
                time.sleep(0.01)

if sys.orig_argv[1:4] == ["-m", "pacs2bids", stage]:
    sys.addaudithook(hold)
"""


@dataclass(frozen=True, kw_only=True)
class Hold:
    """Whether jobs of a stage stand still, and may go on: as one is about to name its n-th file."""

    folder: Path

    @classmethod
    def of(cls, stage: str, *, files: int, folder: Path) -> Hold:
        folder.mkdir()
        (folder / "sitecustomize.py").write_text(HOLDING.format(stage=stage, files=files))
        return cls(folder=folder)

    @property
    def environment(self) -> dict[str, str]:
        """For a run whose jobs are held."""
        paths = [str(self.folder), *filter(None, [ENVIRONMENT.get("PYTHONPATH")])]
        return ENVIRONMENT | {"PYTHONPATH": os.pathsep.join(paths)}

    @property
    def is_reached(self) -> bool:
        return (self.folder / "held").exists()

    def end(self) -> None:
        (self.folder / "go").touch()


def members(group: int) -> list[psutil.Process]:
    """The processes of a group that still run."""
    found = []
    for process in psutil.process_iter():
        try:
            if os.getpgid(process.pid) == group and process.status() != psutil.STATUS_ZOMBIE:
                found.append(process)
        except (ProcessLookupError, psutil.NoSuchProcess):
            continue
    return found


def recorded(folder: Path, since: float) -> tuple[Job, ...]:
    """The jobs that Snakemake recorded as done: one record an output, named by its path in base 64.

    It writes them in place: one that a kill cut short says nothing, to Snakemake neither.
    """
    jobs = []
    for path in (folder / ".snakemake" / "metadata").glob("*"):
        try:
            record = json.loads(path.read_text())
        except json.JSONDecodeError:
            continue
        if record["starttime"] >= since and not record["incomplete"]:
            jobs.append(Job(rule=record["rule"], output=base64.b64decode(path.name).decode()))
    return tuple(sorted(jobs, key=lambda job: (job.rule, job.output)))


def opened(logs: Path, since: float, stage: str = "*") -> frozenset[str]:
    """The logs that were written to, of all stages or of one: "query", "pull/1.2.3", ..."""
    paths = [*logs.glob(f"{stage}.log"), *logs.glob(f"{stage}/*.log")]
    return frozenset(str(path.relative_to(logs).with_suffix("")) for path in paths if _written(path) >= since)


def _written(path: Path) -> float:
    """When a file was written last; Snakemake removes a log before its job begins, maybe just now."""
    try:
        return path.stat().st_mtime
    except FileNotFoundError:
        return 0.0


def digests(folder: Path) -> dict[str, str]:
    """SHA-256 of every file below ``folder``, hidden ones too."""
    return {
        str(path.relative_to(folder)): hashlib.sha256(path.read_bytes()).hexdigest()
        for path in sorted(folder.rglob("*"))
        if path.is_file()
    }


def session_key(study: PhantomStudy) -> str:
    """As the workflow calls a session: "sub-01_ses-a"."""
    return f"sub-{study.subject:02d}_ses-{'abcdefghi'[study.session - 1]}"


# ---------------------------------------------------------------------------------------------- fixtures

PHANTOMS = studies(small=True)
NEW = PHANTOMS[2]  # comes to the PACS later
KNOWN = tuple(study for study in PHANTOMS if study is not NEW)


@pytest.fixture(scope="session")
def phantom_files(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder a study, named by its StudyInstanceUID."""
    folder = tmp_path_factory.mktemp("phantoms")
    write(PHANTOMS, folder / "all")
    for number, study in enumerate(PHANTOMS, start=1):
        (folder / "all" / f"study{number}").rename(folder / study.uid)
    (folder / "all").rmdir()
    return folder


def hospital(phantom_files: Path, folder: Path, phantoms: Sequence[PhantomStudy]) -> Path:
    """A folder for a PACS to serve, with these studies."""
    for study in phantoms:
        shutil.copytree(phantom_files / study.uid, folder / study.uid)
    return folder


@pytest.fixture(scope="session")
def pacs(phantom_files: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Pacs]:
    """A PACS that has the ``KNOWN`` studies: both forms of storage, slices upwards and downwards."""
    with pacs_of(hospital(phantom_files, tmp_path_factory.mktemp("pacs"), KNOWN)) as server:
        yield server


@pytest.fixture(scope="session")
def finished(pacs: Pacs, tmp_path_factory: pytest.TempPathFactory) -> Line:
    """A run on all that ``pacs`` has, undisturbed. Not to be changed: take a copy."""
    line = Line(folder=tmp_path_factory.mktemp("line") / "finished", pacs=pacs)
    line.prepared().run().succeeded()
    return line
