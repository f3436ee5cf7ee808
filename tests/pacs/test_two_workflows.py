"""Two pulls of one host, as processes: on one slot one after the other, on two slots at once."""

from __future__ import annotations

import subprocess
import sys
from collections import Counter
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from threading import Barrier

import pytest

from pacs2bids.model import Receipt
from pacs2bids.pacs.catalogue import Instance
from pacs2bids.pacs.sender import Destination
from pacs2bids.pacs.server import serving
from peers.embedded import before_each_sent, held_back, wait_for
from peers.instances import write_study
from peers.ports import free_port
from peers.receipts import read_fitting

ROOT = Path(__file__).resolve().parents[2]
STUDIES = ("1.2.1", "1.2.2")
COUNT = 300  # instances of each
CONFIG = """\
sources:
  pacs:
    {{kind: pacs, host: 127.0.0.1, port: {port}, ae_title: PACS, receive_host: 127.0.0.1, slots: {slots}}}
studies: {{table: studies.tsv}}
heuristic: heuristic.py
dataset: {{name: Two studies}}
"""


@pytest.fixture(scope="module")
def files(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("pacs")
    for study in STUDIES:
        write_study(folder / study, series=1, instances=COUNT, study=study)
    return folder


@contextmanager
def configured(files: Path, *folders: Path, slots: int) -> Iterator[None]:
    """A PACS that knows so many slots, and folders that are set up to pull from it."""
    ports = {f"LAB{number}": free_port() for number in range(1, slots + 1)}
    destinations = {title: Destination(host="127.0.0.1", port=port) for title, port in ports.items()}
    with serving(files, ae_title="PACS", destinations=destinations) as pacs:
        written = ", ".join(f"{{ae_title: {title}, port: {port}}}" for title, port in ports.items())
        for folder in folders:
            folder.mkdir()
            (folder / "config.yaml").write_text(CONFIG.format(port=pacs.port, slots=f"[{written}]"))
            (folder / "heuristic.py").touch()
            rows = [f"{study}\t0{number}\tpacs\n" for number, study in enumerate(STUDIES)]
            (folder / "studies.tsv").write_text("StudyInstanceUID\tsubject\tsource\n" + "".join(rows))
            rows = [f"{study}\t0{number}\t\tpacs\n" for number, study in enumerate(STUDIES)]
            (folder / "written.tsv").write_text(
                "study_instance_uid\tsubject\tsession\tsource\n" + "".join(rows)
            )
        yield


@dataclass(frozen=True, kw_only=True)
class Came:
    """What came of a study. ``first_ns``, ``last_ns``: when its first and its last file were written."""

    receipt: Receipt
    first_ns: int
    last_ns: int


def came(study: Path) -> Came:
    """A study that must be whole, and have nothing of another."""
    receipt = read_fitting(study / "receipt.json")
    files = list(study.glob("dicom/*/*.dcm"))
    uid = receipt.study_instance_uid
    assert (receipt.complete, receipt.foreign, receipt.duplicates) == (True, (), ())
    assert {path.stem for path in files} == {f"{uid}.1.{number}" for number in range(1, COUNT + 1)}
    assert not (study / "quarantine").exists()
    times = [path.stat().st_mtime_ns for path in files]
    return Came(receipt=receipt, first_ns=min(times), last_ns=max(times))


def pull(folder: Path, study: str, stack: ExitStack) -> subprocess.Popen[str]:
    """`pacs2bids pull`, as the workflow calls it; killed at the end if it still runs."""
    words = ["--config", "config.yaml", "--studies", "written.tsv", "--study", study]
    command = [sys.executable, "-m", "pacs2bids", "pull", *words, "--out", study, "--log", "log"]
    process = subprocess.Popen(command, cwd=folder, text=True, stderr=subprocess.PIPE)
    stack.callback(process.kill)
    return process


def test_two_workflows_on_one_slot(files: Path, tmp_path: Path) -> None:
    """The PACS stops in the midst of the first, until the second has found its slot taken."""
    one, two = tmp_path / "one", tmp_path / "two"
    with configured(files, one, two, slots=1), ExitStack() as stack:
        with held_back(COUNT // 10):
            first = pull(one, STUDIES[0], stack)
            wait_for(lambda: len(list(one.glob("*/dicom/*/*.dcm"))) == COUNT // 10)
            second = pull(two, STUDIES[1], stack)
            wait_for(lambda: (two / "log").exists() and "waiting for the end" in (two / "log").read_text())
        errors = [process.communicate(timeout=300)[1] for process in (first, second)]
    assert (first.returncode, second.returncode) == (0, 0), errors
    assert errors[0] == ""
    assert f"another pull receives (process {first.pid} of user " in errors[1]
    earlier, later = came(one / STUDIES[0]), came(two / STUDIES[1])
    assert earlier.last_ns < later.first_ns
    assert earlier.receipt.finished <= later.receipt.transfers[0].begun


def test_one_workflow_with_two_slots(files: Path, tmp_path: Path) -> None:
    """The PACS sends the first of a study when it may send both studies, and the last so, too."""
    folder, met, sent = tmp_path / "folder", Barrier(len(STUDIES), timeout=120), Counter[str]()

    def together(instance: Instance) -> None:
        (study,) = (one for one in STUDIES if instance.sop_instance_uid.startswith(f"{one}."))
        sent[study] += 1
        if sent[study] in (1, COUNT):
            met.wait()

    with configured(files, folder, slots=2), before_each_sent(together):
        targets = [f"work/studies/{study}/receipt.json" for study in STUDIES]
        options = ["--snakefile", str(ROOT / "Snakefile"), "--cores", "2", *targets, "--resources", "pacs=2"]
        command = [sys.executable, "-m", "snakemake", *options]
        done = subprocess.run(command, cwd=folder, text=True, capture_output=True, timeout=300, check=False)
    assert done.returncode == 0, done.stderr
    both = [came(folder / "work/studies" / study) for study in STUDIES]
    assert max(one.first_ns for one in both) < min(one.last_ns for one in both)
    assert max(one.receipt.started for one in both) <= min(one.receipt.finished for one in both)
