"""Faults in the midst of a pull, by the command line from a real Orthanc.

Each ends with nothing lost and nothing half, with one line that names the cause, and with a pull that
completes and asks only for what is missing.
"""

from __future__ import annotations

import io
import json
import re
import shutil
import subprocess
import sys
import time
import zipfile
from collections.abc import Collection, Iterator
from dataclasses import dataclass, replace
from pathlib import Path

import pydicom
import pytest
from pydicom.dataset import Dataset

from pacs2bids.files import sha256
from peers.available import unavailable
from peers.instances import data_set_bytes, instance
from peers.orthanc import AE_TITLE, DICOM_PORT, HTTP_PORT, OUR_PORT, Orthanc, running_orthanc
from peers.receipts import read_fitting

ROOT = "1.2.826.0.1.3680043.10.200"
# the command line with less patience after a source's last word, or each test would wait for minutes; for how
# long a source may say nothing in the midst is another matter: a busy machine is not one that hangs
IMPATIENT = """
import functools, sys
from pacs2bids.pacs import find, pull
find._NEGOTIATION_TIMEOUT_S = {hang_s}
pull.Patience = functools.partial(
    pull.Patience, quiet_s=1.0, quiet_after_failure_s=0.5, silence_s={hang_s}, settle_s=0.2
)
"""
# so many instances get their names, and the next not before there is a file ``gate`` (or ten minutes later)
HELD = """
import itertools, time
from pathlib import Path
from pacs2bids.pacs.inbox import Inbox
place, numbers = Inbox._place, itertools.count(1)
def held(*arguments):
    number, ends_s = next(numbers), time.monotonic() + 600
    while number > {count} and not Path({gate!r}).exists() and time.monotonic() < ends_s:
        time.sleep(0.01)
    place(*arguments)
Inbox._place = held
"""
MAIN = """
from pacs2bids.__main__ import main
sys.exit(main())
"""
CONFIG = """
sources:
  orthanc:
    kind: pacs
    host: 127.0.0.1
    port: %d
    ae_title: %s
    receive_host: 127.0.0.1
    receive_port: %d
    retrieve: %s
    dicomweb: {url: "http://127.0.0.1:%d/dicom-web"}
    courtesy: {retries: 0}
studies: {table: by-hand.tsv}
heuristic: heuristic.py
dataset: {name: test}
"""


@pytest.fixture(scope="module")
def orthanc() -> Iterator[Orthanc]:
    """One of this module's own: it is killed."""
    with running_orthanc() as one:
        yield one


@dataclass(frozen=True, kw_only=True)
class Site:
    """A folder in which studies are pulled beside an Orthanc.

    ``hang_s``: how long an Orthanc that says nothing is waited for.
    """

    folder: Path
    orthanc: Orthanc
    study: str
    way: str = "move"
    hang_s: float = 120.0

    @property
    def out(self) -> Path:
        return self.folder / self.study

    @property
    def gate(self) -> Path:
        return self.folder / "go on"

    def command(self, held: str = "") -> list[str | Path]:
        config, table = self.folder / "config.yaml", self.folder / "studies.tsv"
        config.write_text(CONFIG % (DICOM_PORT, AE_TITLE, OUR_PORT, self.way, HTTP_PORT), encoding="utf-8")
        table.write_text(f"study_instance_uid\tsubject\tsession\tsource\n{self.study}\t01\t\torthanc\n")
        words = ["pull", "--config", config, "--studies", table, "--study", self.study, "--out", self.out]
        return [sys.executable, "-c", IMPATIENT.format(hang_s=self.hang_s) + held + MAIN, *words]

    def pulls(self) -> None:
        """A pull that must succeed."""
        done = self.orthanc.run(self.command())
        assert (done.returncode, done.stderr) == (0, "")

    def fails(self) -> str:
        """The one line of a pull that must fail."""
        return self.told(self.begun())

    def begun(self, held: str = "") -> subprocess.Popen[str]:
        """A pull that is under way."""
        command = self.orthanc.inside(self.command(held))
        return subprocess.Popen(command, text=True, stdout=subprocess.PIPE, stderr=subprocess.PIPE)

    def midway(self, count: int = 40) -> subprocess.Popen[str]:
        """A pull that has brought so many instances, and brings no more until ``ended`` or ``told``."""
        pull = self.begun(HELD.format(count=count, gate=str(self.gate)))
        deadline = time.monotonic() + 300
        while len(self.files()) < count:
            assert time.monotonic() < deadline
            assert pull.poll() is None
            time.sleep(count / 8000)  # to count thousands takes its time, which the pull needs
        return pull

    def ended(self, pull: subprocess.Popen[str]) -> tuple[int, str, str]:
        """Let it go on to its end: exit code and both streams."""
        self.gate.touch()
        out, err = pull.communicate(timeout=300)
        return pull.returncode, out, err

    def told(self, pull: subprocess.Popen[str]) -> str:
        """The error of a pull that must fail: one line. Nothing is half, and no receipt calls it whole."""
        code, out, err = self.ended(pull)
        assert (code, out) == (1, ""), err
        *warnings, line = err.splitlines()
        assert line.startswith("ERROR: ")
        assert all(one.startswith("WARNING: ") for one in warnings)
        assert not (self.out / "receipt.json").exists()
        assert not list(self.out.rglob("*.part"))
        return line

    def files(self) -> set[str]:
        """SOPInstanceUIDs of what lies under its final name."""
        return {path.stem for path in self.out.glob("dicom/*/*.dcm")}

    def completes(self, expected: Collection[str], *, had: Collection[str]) -> None:
        """A pull brings all that is expected, and asks only for what was not there."""
        self.pulls()
        receipt = read_fitting(self.out / "receipt.json")
        assert {one.sop_instance_uid for one in receipt.received} == set(expected) == self.files()
        assert sum(one.came or 0 for one in receipt.transfers) == len(set(expected) - set(had))
        assert receipt.duplicates == ()
        for one in receipt.received:
            assert sha256(self.out / "dicom" / one.path) == one.sha256


def stored(orthanc: Orthanc, datasets: Collection[Dataset]) -> list[str]:
    """Give Orthanc instances, in one archive (its REST interface unpacks it); returns their UIDs."""
    archive = io.BytesIO()
    with zipfile.ZipFile(archive, "w") as members:
        for number, dataset in enumerate(datasets):
            content = io.BytesIO()
            pydicom.dcmwrite(content, dataset, enforce_file_format=True)
            members.writestr(f"{number}.dcm", content.getvalue())
    answers = json.loads(orthanc.ask("POST", "/instances", archive.getvalue()))
    assert {one["Status"] for one in answers} <= {"Success"}
    assert len(answers) == len(datasets)
    return [str(dataset.SOPInstanceUID) for dataset in datasets]


def instances(study: str, count: int, *, first: int = 1) -> list[Dataset]:
    """Two series of small instances."""
    made = []
    for number in range(first, first + count):
        dataset = instance(number, study=study)
        dataset.PatientID, dataset.StudyID = "P1", "1"
        dataset.SeriesInstanceUID = f"{study}.{number % 2}"
        dataset.SOPInstanceUID = f"{dataset.SeriesInstanceUID}.{number}"
        dataset.file_meta.MediaStorageSOPInstanceUID = dataset.SOPInstanceUID
        made.append(dataset)
    return made


def in_orthanc(orthanc: Orthanc, kind: str, uid: str) -> str:
    """Orthanc's own name of a study or an instance."""
    (name,) = json.loads(orthanc.ask("POST", "/tools/lookup", uid.encode()))
    assert name["Type"] == kind
    return str(name["Path"])


@pytest.fixture(scope="module")
def heavy(orthanc: Orthanc) -> tuple[str, list[str]]:
    """A study and its instances: together more than fits into the buffers of a connection."""
    made = instances(f"{ROOT}.1", 400)
    for dataset in made:
        # together more than a connection buffers, so that not all is under way when the blow falls
        dataset.Rows, dataset.Columns, dataset.BitsAllocated = 300, 300, 16
        dataset.add_new("PixelData", "OW", bytes(2 * 300 * 300))
    return f"{ROOT}.1", stored(orthanc, made)


@pytest.mark.parametrize("way", ["move", "get", "wado"])
def test_pacs_killed_in_the_midst_and_down(
    orthanc: Orthanc, heavy: tuple[str, list[str]], tmp_path: Path, way: str
) -> None:
    study, uids = heavy
    site = Site(folder=tmp_path, orthanc=orthanc, study=study, way=way)
    pull = site.midway()
    orthanc.kill()
    try:
        told = site.told(pull)
        had = site.files()
        assert "no connection: Connection refused" in told
        assert told.endswith(f"What came is kept ({len(had)} instances): run again to go on")
        assert 40 <= len(had) < 400
    finally:
        orthanc.start()
    site.completes(uids, had=had)


def test_pacs_frozen_in_the_midst(orthanc: Orthanc, tmp_path: Path) -> None:
    site = Site(folder=tmp_path, orthanc=orthanc, study=f"{ROOT}.2", hang_s=3)
    uids = stored(orthanc, instances(site.study, 400))
    pull = site.midway()
    with orthanc.frozen():
        told = site.told(pull)
        had = site.files()
    assert re.search(r"takes our calls and does not answer \(no word for [0-9]+ s\). It may hang", told)
    assert 40 <= len(had) < 400
    replace(site, hang_s=120).completes(uids, had=had)


def test_study_deleted_in_the_midst(orthanc: Orthanc, tmp_path: Path) -> None:
    site = Site(folder=tmp_path, orthanc=orthanc, study=f"{ROOT}.3")
    uids = stored(orthanc, given := instances(site.study, 400))
    pull = site.midway()
    orthanc.ask("DELETE", in_orthanc(orthanc, "Study", site.study))
    told = site.told(pull)
    had = site.files()
    assert "the source has none of its 400 instances any more: deleted meanwhile, or moved" in told
    assert told.endswith(f"What came is kept ({len(had)} instances): run again to go on")
    assert 40 <= len(had) < 400
    stored(orthanc, given)  # it was sent again
    site.completes(uids, had=had)


def test_study_that_grows_in_the_midst(orthanc: Orthanc, tmp_path: Path) -> None:
    site = Site(folder=tmp_path, orthanc=orthanc, study=f"{ROOT}.4")
    uids = stored(orthanc, instances(site.study, 200))
    pull = site.midway()
    uids += stored(orthanc, instances(site.study, 30, first=201))
    code, _, errors = site.ended(pull)
    assert code == 0, errors
    assert "changes at its source; 230 instances announced now" in errors
    assert all("changes at its source" in line for line in errors.splitlines())
    receipt = read_fitting(site.out / "receipt.json")
    assert {one.sop_instance_uid for one in receipt.received} == set(uids)
    uids += stored(orthanc, instances(site.study, 5, first=231))  # and after it
    site.completes(uids, had=site.files())


def test_one_instance_that_the_pacs_lost(orthanc: Orthanc, tmp_path: Path) -> None:
    """Its file in the storage of the PACS is empty: the move fails there, with C000."""
    site = Site(folder=tmp_path, orthanc=orthanc, study=f"{ROOT}.5")
    uids = stored(orthanc, instances(site.study, 20))
    lost = uids[7]
    where = in_orthanc(orthanc, "Instance", lost)
    name = json.loads(orthanc.get(f"{where}/attachments/dicom/info"))["Uuid"]
    file = orthanc.folder / "storage" / name[:2] / name[2:4] / name
    content = file.read_bytes()
    orthanc.kill()  # it has the file in memory
    file.write_bytes(b"")
    orthanc.start()
    told = site.fails()
    assert f"1 of 20 announced instances are missing: {lost}" in told
    assert "the PACS answered C-MOVE with C000" in told
    assert site.files() == set(uids) - {lost}
    file.write_bytes(content)
    site.completes(uids, had=set(uids) - {lost})


def test_strangers_push_in_the_midst(orthanc: Orthanc, tmp_path: Path) -> None:
    """The PACS itself pushes another study (a routing rule), and a station we do not know pushes ours."""
    site = Site(folder=tmp_path, orthanc=orthanc, study=f"{ROOT}.6")
    uids = stored(orthanc, instances(site.study, 200))
    (other,) = stored(orthanc, instances(f"{ROOT}.66", 1))
    pydicom.dcmwrite(tmp_path / "own.dcm", instances(site.study, 1, first=999)[0], enforce_file_format=True)
    pull = site.midway(20)
    job = {"Resources": [in_orthanc(orthanc, "Instance", other).rpartition("/")[2]], "Permissive": True}
    orthanc.ask("POST", "/modalities/pacs2bids/store", json.dumps(job).encode())
    storescu = ["storescu", "-aet", "STRANGER", "-aec", "PACS2BIDS", "127.0.0.1", str(OUR_PORT)]
    if shutil.which("storescu") is None:
        unavailable("storescu of dcmtk is not installed")
    assert orthanc.run([*storescu, tmp_path / "own.dcm"]).returncode != 0
    code, _, errors = site.ended(pull)
    assert code == 0, errors
    assert f"refused instance {other}: belongs to study {ROOT}.66" in errors
    assert "turned away a call of STRANGER to PACS2BIDS; only ORTHANC may send here" in errors
    receipt = read_fitting(site.out / "receipt.json")
    assert receipt.foreign == (other,)
    assert site.files() == set(uids)
    site.completes(uids, had=uids)


def test_idle_connections_hold_nothing_up(orthanc: Orthanc, tmp_path: Path) -> None:
    site = Site(folder=tmp_path, orthanc=orthanc, study=f"{ROOT}.7")
    uids = stored(orthanc, instances(site.study, 300))
    idle = (
        "import socket, sys\n"
        f"held = [socket.create_connection(('127.0.0.1', {OUR_PORT})) for _ in range(60)]\n"
        "print(len(held), flush=True)\n"
        "sys.stdin.read()\n"
    )
    pull = site.midway(5)
    command = orthanc.inside([sys.executable, "-c", idle])
    holder = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
    assert holder.stdout is not None
    assert holder.stdout.readline() == "60\n"
    try:
        code, _, errors = site.ended(pull)
    finally:
        holder.communicate()
    assert (code, errors) == (0, "")
    assert site.files() == set(uids)


# ---------------------------------------------------------------------------------------------- what is large


def test_7000_instances_in_one_study(orthanc: Orthanc, tmp_path: Path) -> None:
    """By C-MOVE, killed on the way and gone on with; and by WADO-RS."""
    site = Site(folder=tmp_path, orthanc=orthanc, study=f"{ROOT}.70")
    uids = stored(orthanc, instances(site.study, 7000))
    pull = site.midway(4000)
    pull.kill()
    pull.communicate()
    had = site.files()
    assert 4000 <= len(had) < 7000
    assert not (site.out / "receipt.json").exists()
    site.completes(uids, had=had)
    (tmp_path / "web").mkdir()
    again = replace(site, folder=tmp_path / "web", way="wado")
    again.pulls()
    assert again.files() == set(uids)


def test_an_instance_of_300_mb(orthanc: Orthanc, tmp_path: Path) -> None:
    """By C-MOVE, killed while it comes, and again."""
    site = Site(folder=tmp_path, orthanc=orthanc, study=f"{ROOT}.300")
    small, large = instances(site.study, 2)
    large.Rows = large.Columns = 12_500
    large.BitsAllocated, large.PixelData = 16, bytes(range(250)) * (12_500 * 100)
    large["PixelData"].VR = "OW"
    path = tmp_path / "large.dcm"
    pydicom.dcmwrite(path, large, enforce_file_format=True)
    (uid,) = stored(orthanc, [small])
    orthanc.ask("POST", "/instances", path.read_bytes())
    pull = site.midway(1)
    pull.kill()
    pull.communicate()
    had = site.files()
    assert not (site.out / "receipt.json").exists()
    site.completes([uid, str(large.SOPInstanceUID)], had=had)
    (came,) = site.out.glob(f"dicom/*/{large.SOPInstanceUID}.dcm")
    assert data_set_bytes(came) == data_set_bytes(path)


# ---------------------------------------------------------------------------------------------- disk, names


def test_a_disk_that_is_full(orthanc: Orthanc, tmp_path: Path) -> None:
    """A file system of 600 KB, which is then enlarged."""
    site = Site(folder=tmp_path, orthanc=orthanc, study=f"{ROOT}.8")
    uids = stored(orthanc, instances(site.study, 300))
    site.out.mkdir()
    if subprocess.run(["unshare", "--mount", "true"], check=False, capture_output=True).returncode:
        unavailable("mount namespaces need root (unshare --mount)")
    script = (
        'mount -t tmpfs -o size=600k none "$0" || exit 9; "$@" 2> told; echo $? >> told\n'
        'find "$0" > there; mount -o remount,size=60m none "$0" || exit 9\n'
        '"$@" || exit; cp -r "$0" kept'
    )
    done = orthanc.run(["unshare", "--mount", "sh", "-c", script, site.out, *site.command()], cwd=tmp_path)
    assert (done.returncode, done.stderr) == (0, "")
    *lines, code = (tmp_path / "told").read_text().splitlines()
    assert code == "1"
    assert f"{site.out}: cannot be written: No space left on device" in lines[-1]
    assert "Make room or give write permission, then run again: what came is kept" in lines[-1]
    there = [Path(line) for line in (tmp_path / "there").read_text().splitlines()]
    had = {path.stem for path in there if path.suffix == ".dcm"}
    assert 0 < len(had) < 300
    assert not [path for path in there if path.suffix == ".part" or path.name == "receipt.json"]
    shutil.rmtree(site.out)
    (tmp_path / "kept").rename(site.out)
    receipt = read_fitting(site.out / "receipt.json")
    assert site.files() == set(uids)
    assert sum(one.came or 0 for one in receipt.transfers) == 300 - len(had)


def test_nothing_is_ascii(orthanc: Orthanc, tmp_path: Path) -> None:
    folder = tmp_path / "Größe 研究"
    folder.mkdir()
    site = Site(folder=folder, orthanc=orthanc, study=f"{ROOT}.9")
    given = instances(site.study, 10)
    for dataset in given:
        dataset.SpecificCharacterSet = "ISO_IR 192"
        dataset.PatientName, dataset.PatientID = "Phäntom^Öne=幻影^一=ファントム^ワン", "Ü1"
        dataset.StudyDescription, dataset.SeriesDescription = "Schädel 頭部", "Übersicht 位置決め"
    uids = stored(orthanc, given)
    lost = in_orthanc(orthanc, "Instance", uids[3])
    orthanc.ask("DELETE", lost)
    site.pulls()
    assert site.files() == set(uids) - {uids[3]}
    stored(orthanc, [given[3]])
    site.completes(uids, had=site.files())
    for path in site.out.glob("dicom/*/*.dcm"):
        dataset = pydicom.dcmread(path)
        assert dataset.PatientName == given[0].PatientName
        assert dataset.StudyDescription == "Schädel 頭部"
