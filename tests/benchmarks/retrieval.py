"""``python -m tests.benchmarks.retrieval``: pacs2bids pull and dcmtk's programs in turns, from the same PACS.

The PACS are a real Orthanc (TCP_NODELAY=1, data in memory) and our own ``pacs2bids serve``, both in one
network namespace of their own, with those who retrieve: needs Linux, root, and Orthanc and dcmtk installed.
"""

from __future__ import annotations

import argparse
import random
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import msgspec
import pydicom
import pytest
from tests.benchmarks.measure import table

from pacs2bids.files import read_record
from pacs2bids.model import Receipt
from peers.instances import instance
from peers.orthanc import (
    AE_TITLE,
    DICOM_PORT,
    HTTP_PORT,
    OUR_AE_TITLE,
    OUR_PORT,
    Orthanc,
    is_dicom,
    running_orthanc,
)

OUR_PACS, OUR_PACS_PORT = "EMBEDDED", 4243
PATIENCE_S = 600
HEAD = ("set", "PACS", "way", "beside", "inst/s", "MB/s", "their inst/s", "their MB/s", "ratio", "whole")


@dataclass(frozen=True, slots=True, kw_only=True)
class Set:
    """A study of one series of square pictures of 16 bits."""

    name: str
    study: str
    instances: int
    edge: int

    def write(self, folder: Path) -> None:
        """The same bytes every time."""
        folder.mkdir(parents=True)
        pixels = random.Random(self.edge).randbytes(2 * self.edge**2)
        for number in range(1, self.instances + 1):
            dataset = instance(number, study=self.study)
            dataset.PatientID = dataset.StudyID = self.name
            dataset.SOPInstanceUID = f"{self.study}.{number}"
            dataset.SeriesInstanceUID = f"{self.study}.0"
            dataset.file_meta.MediaStorageSOPInstanceUID = dataset.SOPInstanceUID
            dataset.Rows = dataset.Columns = self.edge
            dataset.SamplesPerPixel, dataset.PhotometricInterpretation = 1, "MONOCHROME2"
            dataset.BitsAllocated = dataset.BitsStored = 16
            dataset.HighBit, dataset.PixelRepresentation = 15, 0
            dataset.PixelData = pixels
            pydicom.dcmwrite(folder / f"{number}.dcm", dataset, enforce_file_format=True)


SETS = (
    Set(name="small", study="1.2.826.0.1.3680043.10.51", instances=540, edge=160),
    Set(name="large", study="1.2.826.0.1.3680043.10.416", instances=211, edge=456),
    Set(name="huge", study="1.2.826.0.1.3680043.10.65536", instances=8, edge=5793),
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Pacs:
    """Where to retrieve from. ``ways``: of ours, and what stands beside each."""

    name: str
    ae_title: str
    port: int
    ways: tuple[tuple[str, str], ...]


PACS = (
    Pacs(
        name="orthanc",
        ae_title=AE_TITLE,
        port=DICOM_PORT,
        ways=(("move", "storescp"), ("get", "getscu"), ("wado", "getscu")),
    ),
    Pacs(
        name="serve",
        ae_title=OUR_PACS,
        port=OUR_PACS_PORT,
        ways=(("move", "storescp"), ("get", "getscu")),
    ),
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Cost:
    """Of one run: while instances came, and from the start of the process to its end."""

    transfer_s: float
    whole_s: float


@dataclass(frozen=True, slots=True, kw_only=True)
class Bench:
    """A PACS that runs, and a folder for what comes."""

    beside: Orthanc
    folder: Path

    def cost(self, tool: str, pacs: Pacs, one: Set) -> Cost:
        """Retrieve with a program of dcmtk, or with ours by a way. Raises RuntimeError if not all come."""
        with tempfile.TemporaryDirectory(dir=self.folder) as out:
            by = {"storescp": self._storescp, "getscu": self._getscu}
            cost = by[tool](pacs, one, Path(out)) if tool in by else self._ours(tool, pacs, one, Path(out))
            came = [path for path in Path(out).rglob("*") if is_dicom(path)]
            if len(came) != one.instances:
                raise RuntimeError(f"{tool} of {pacs.name}: {len(came)} of {one.instances} came")
        return cost

    def _storescp(self, pacs: Pacs, one: Set, out: Path) -> Cost:
        receiver = ["storescp", "+B", "-aet", OUR_AE_TITLE, "-od", str(out), str(OUR_PORT)]
        with started(self.beside, receiver):
            time.sleep(0.5)  # it says nothing when it is ready
            names = ["-aet", OUR_AE_TITLE, "-aem", OUR_AE_TITLE, "-aec", pacs.ae_title]
            return self._timed(["movescu", "-S", *names, *asked(one), "127.0.0.1", str(pacs.port)])

    def _getscu(self, pacs: Pacs, one: Set, out: Path) -> Cost:
        names = ["-aet", OUR_AE_TITLE, "-aec", pacs.ae_title]
        return self._timed(
            ["getscu", "-S", "+B", "-od", out, *names, *asked(one), "127.0.0.1", str(pacs.port)]
        )

    def _timed(self, command: Sequence[str | Path]) -> Cost:
        begun = time.perf_counter()
        done = self.beside.run(["env", "TCP_NODELAY=1", *command], timeout_s=PATIENCE_S)
        if done.returncode:
            raise RuntimeError(f"{command[0]}: {done.stderr}")
        spent_s = time.perf_counter() - begun
        return Cost(transfer_s=spent_s, whole_s=spent_s)

    def _ours(self, way: str, pacs: Pacs, one: Set, out: Path) -> Cost:
        source = {
            "kind": "pacs",
            "host": "127.0.0.1",
            "port": pacs.port,
            "ae_title": pacs.ae_title,
            "receive_host": "127.0.0.1",
            "retrieve": way,
            "dicomweb": {"url": f"http://127.0.0.1:{HTTP_PORT}/dicom-web"},
        }
        config = {"sources": {"pacs": source}, "studies": {"table": "studies.tsv"}, "heuristic": "none.py"}
        config["dataset"] = {"name": "benchmark"}
        (out / "config.yaml").write_bytes(msgspec.json.encode(config))  # JSON is YAML
        (out / "studies.tsv").write_text(
            f"study_instance_uid\tsubject\tsession\tsource\n{one.study}\t1\t\tpacs\n"
        )
        tables = ("--config", out / "config.yaml", "--studies", out / "studies.tsv")
        begun = time.perf_counter()
        done = self.beside.pacs2bids("pull", *tables, "--study", one.study, "--out", out / "study")
        whole_s = time.perf_counter() - begun
        if done.returncode:
            raise RuntimeError(done.stderr)
        receipt = read_record(out / "study" / "receipt.json", Receipt)
        return Cost(transfer_s=sum(each.duration_s or 0.0 for each in receipt.transfers), whole_s=whole_s)


def asked(one: Set) -> list[str]:
    """What a program of dcmtk asks for."""
    return ["-k", "QueryRetrieveLevel=STUDY", "-k", f"StudyInstanceUID={one.study}"]


@contextmanager
def started(beside: Orthanc, command: Sequence[str | Path]) -> Iterator[None]:
    """A program in the namespace, until the block ends."""
    inside = beside.inside(["env", "TCP_NODELAY=1", *command])
    with subprocess.Popen(inside, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL) as process:
        try:
            yield
        finally:
            process.kill()


@contextmanager
def bench(sets: Sequence[Set]) -> Iterator[Bench]:
    """Both PACS with the sets in them."""
    with tempfile.TemporaryDirectory(prefix="pacs2bids-retrieval-") as folder, running_orthanc() as orthanc:
        for one in sets:
            one.write(Path(folder, "pacs", one.name))
        orthanc.load(Path(folder, "pacs"))
        ours = [sys.executable, "-m", "pacs2bids", "serve", f"{folder}/pacs", "--ae-title", OUR_PACS]
        destination = f"{OUR_AE_TITLE}=127.0.0.1:{OUR_PORT}"
        ours += ["--port", str(OUR_PACS_PORT), "--destination", destination]
        with started(orthanc, ours):
            echo = ["echoscu", "-aec", OUR_PACS, "127.0.0.1", str(OUR_PACS_PORT)]
            while orthanc.run(echo).returncode:
                time.sleep(0.2)
            yield Bench(beside=orthanc, folder=Path(folder))


def rows_of(one: Set, running: Bench, pacs: Sequence[Pacs], rounds: int) -> Iterator[tuple[str, ...]]:
    """All programs in turns, ``rounds`` times; then a row for each of our ways."""
    for each in pacs:
        print(f"{one.name} from {each.name} ...", file=sys.stderr, flush=True)
        tools = list(dict.fromkeys(tool for pair in each.ways for tool in pair))
        costs = [{tool: running.cost(tool, each, one) for tool in tools} for _ in range(rounds)]
        for way, other in each.ways:
            yield (
                one.name,
                each.name,
                way,
                other,
                *rates(one, [cost[way] for cost in costs]),
                *rates(one, [cost[other] for cost in costs]),
                f"{statistics.median(cost[way].transfer_s / cost[other].transfer_s for cost in costs):.2f}",
                f"{statistics.median(cost[way].whole_s / cost[other].whole_s for cost in costs):.2f}",
            )


def rates(one: Set, costs: Sequence[Cost]) -> tuple[str, str]:
    """Instances and megabytes (of 10^6 bytes) a second while they came; medians."""
    seconds = statistics.median(cost.transfer_s for cost in costs)
    return f"{one.instances / seconds:.0f}", f"{one.instances * 2 * one.edge**2 / 1e6 / seconds:.0f}"


def main() -> int:
    """Run the sets asked for and print one table."""
    parser = argparse.ArgumentParser(prog="python -m tests.benchmarks.retrieval", description=__doc__)
    parser.add_argument("set", nargs="*", help=f"default: all of {', '.join(one.name for one in SETS)}")
    parser.add_argument("--rounds", type=int, default=3, metavar="N", help="of all programs in turns (3)")
    parser.add_argument("--pacs", choices=[one.name for one in PACS], help="only this one")
    arguments = parser.parse_args()
    sets = [one for one in SETS if not arguments.set or one.name in arguments.set]
    pacs = [one for one in PACS if arguments.pacs in (None, one.name)]
    for tool in ("movescu", "storescp", "getscu", "echoscu"):
        if shutil.which(tool) is None:
            parser.error(f"{tool} is not installed (apt-get install dcmtk)")
    try:
        with bench(sets) as running:
            rows = [row for one in sets for row in rows_of(one, running, pacs, arguments.rounds)]
    except pytest.skip.Exception as reason:
        parser.error(str(reason))
    print(
        f"Ratios of times are ours to theirs, medians of {arguments.rounds} paired rounds; below 1 is better."
    )
    print(*table([HEAD, *rows]), sep="\n")
    return 0


if __name__ == "__main__":
    sys.exit(main())
