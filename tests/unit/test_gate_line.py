"""A planted identifier, place by place, by the verbs of the workflow.

``place`` refuses it, ``check`` finds what came into the dataset otherwise, the verdict what is in the report
and the logs. Without it all three pass.
"""

from __future__ import annotations

import gzip
import json
import shutil
import struct
from collections.abc import Callable
from pathlib import Path

import pytest

import synthetic
from pacs2bids.__main__ import main
from pacs2bids.files import read_record
from pacs2bids.model import CheckResult
from physiologs import instance, says_measurement, two_sensors

KEY = "sub-01_ses-a"
SESSION = "sub-01/ses-a"
T1W, BOLD, DWI = (
    f"{SESSION}/anat/{KEY}_T1w",
    f"{SESSION}/func/{KEY}_task-look_bold",
    f"{SESSION}/dwi/{KEY}_dwi",
)
WHO = {
    "PatientName": "Zzyzx^Quuxify",
    "PatientID": "Q-90210",
    "OtherPatientIDs": "7741985",
    "PatientBirthDate": "19700302",
    "AccessionNumber": "ACC4711X",
    "ReferringPhysicianName": "Wibble^Wobble",
}
UID = "1.3.12.2.1107.5.2.43.66012.2026030410154512345"
# a part of what is planted: no message may hold it
VALUES = ("quux", "zzyzx", "90210", "774198", "1970", "4711", "wibble", "wobble", "66012")
HEURISTIC = """\
NAMES = ("mprage", "anat", "T1w"), ("look", "func", "task-look_bold"), ("diff", "dwi", "dwi")

def infotodict(seqinfo):
    info = {}
    for s in seqinfo:
        for word, kind, name in (NAMES):
            if word in s.series_description:
                full = "{bids_subject_session_dir}/" + kind + "/{bids_subject_session_prefix}_" + name
                info[full, ("nii.gz",), None] = [s.series_id]
    return info
"""
CONFIG = """\
sources: {disk: {kind: folder, path: dicom}}
studies: {table: studies.tsv}
heuristic: heuristic.py
dataset: {name: Phantom, authors: [Author One, Author Two], license: CC0}
"""


def write_study(folder: Path) -> None:
    """A T1w, a run of four volumes with a log of physiology, and four diffusion weighted volumes."""
    for number, (name, volumes) in enumerate({"mprage": 1, "look": 4, "diff": 4}.items(), start=1):
        series = synthetic.Series(name=name, number=number, volumes=volumes)
        for index in range(series.slices * volumes):
            volume, slice_ = divmod(index, series.slices)
            data = series.dataset(slice_, volume)
            for keyword, value in WHO.items():
                setattr(data, keyword, value)
            data.AcquisitionTime = f"{1000 + number}{2 * volume:02d}"
            if name == "look":
                says_measurement(data)
            if name == "diff":
                data.DiffusionBValue = 1000.0 * (volume > 0)
                data.DiffusionGradientOrientation = [float(volume == axis) for axis in (1, 2, 3)]
            synthetic.save(data, folder / f"{number}-{volume}-{slice_}.dcm")
    synthetic.save(instance(two_sensors(4), 4, "look_PhysioLog"), folder / "log.dcm")


class Dataset:
    """A work folder with one session, placed by the verbs."""

    def __init__(self, root: Path) -> None:
        self.root, self.work, self.bids = root, root / "work", root / "bids"
        self.study = self.work / "studies" / synthetic.uid("study")
        self.session = self.work / "sessions" / KEY
        self.table = ("--sessions", self.work / "sessions", "--studies", self.work / "studies.tsv")

    def verb(self, *words: object) -> int:
        return main([str(word) for word in words])

    def place(self) -> int:
        where = ("--session-dir", self.session, "--studies-dir", self.study.parent, "--bids", self.bids)
        return self.verb("place", *where, "--config", self.root / "config.yaml")

    def check(self, *words: object) -> int:
        return self.verb("check", *words, "--config", self.root / "config.yaml", *self.table)

    def findings(self) -> dict[str, str]:
        """What identifies: file -> message. The validator is asked elsewhere."""
        out = self.work / "check.json"
        self.check("--bids", self.bids, "--out", out, "--no-fail")
        found = [one for one in read_record(out, CheckResult).findings if one.code == "IDENTITY"]
        assert all(one.severity == "error" for one in found)
        return {one.location: one.message for one in reversed(found)}  # the first of each

    def bytes_of_session(self) -> dict[str, bytes]:
        return {str(path): path.read_bytes() for path in self.bids.glob("sub-*/**/*") if path.is_file()}

    def write(self, path: Path, content: bytes) -> None:
        """Over what is there, a hard link as it may be."""
        path.parent.mkdir(parents=True, exist_ok=True)
        path.unlink(missing_ok=True)
        path.write_bytes(content)


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Dataset:
    root = tmp_path_factory.mktemp("gate")
    one = Dataset(root)
    (root / "config.yaml").write_text(CONFIG)
    (root / "heuristic.py").write_text(HEURISTIC)
    write_study(one.study / "dicom")
    assert one.verb("index", one.study) == 0
    assert one.verb("reconstruct", one.study, "-j", 1) == 0
    labels = ("--subject", "01", "--session", "a", "--events", "skeleton")
    plan = ("--heuristic", root / "heuristic.py", *labels, "--out", one.session, one.study)
    assert one.verb("plan", *plan) == 0
    (one.work / "studies.tsv").write_text(
        f"study_instance_uid\tsubject\tsession\tsource\n{one.study.name}\t01\ta\tdisk\n"
    )
    assert one.place() == 0
    out = one.work / "dataset.json"
    assert (
        one.verb("dataset", "--config", root / "config.yaml", "--bids", one.bids, "--out", out, *one.table)
        == 0
    )
    assert (
        one.verb("report", "--workdir", one.work, "--bids", one.bids, "--out", root / "report.html", "-j", 1)
        == 0
    )
    return one


@pytest.fixture
def copy(made: Dataset, tmp_path: Path) -> Dataset:
    """Of the same, to plant in."""
    shutil.copytree(made.root, tmp_path / "copy")
    return Dataset(tmp_path / "copy")


# ----------------------------------------------------------------------------------------------- what we make

Plant = Callable[[bytes], bytes]


def at(start: int, text: bytes) -> Plant:
    """In the header of a volume (nifti1.h)."""

    def planted(volume: bytes) -> bytes:
        raw = bytearray(gzip.decompress(volume))
        raw[start : start + len(text)] = text
        return gzip.compress(bytes(raw))

    return planted


def extended(text: bytes) -> Plant:
    """With an extension, which is a comment (ecode 6)."""

    def planted(volume: bytes) -> bytes:
        raw = bytearray(gzip.decompress(volume))
        size = 16 * (1 + (len(text) + 8) // 16)
        raw[108:112], raw[348] = struct.pack("<f", 352 + size), 1
        extension = struct.pack("<ii", size, 6) + text.ljust(size - 8, b"\0")
        return gzip.compress(bytes(raw[:352]) + extension + bytes(raw[352:]))

    return planted


def field(name: str, value: object) -> Plant:
    return lambda sidecar: json.dumps({**json.loads(sidecar), name: value}).encode()


PHYSIO = "004-physio1_recording-cardiac_physio"
# file in volumes/ -> what is done to it, and how the message begins
MADE: dict[str, tuple[str, Plant, str]] = {
    "a part of a name in a sidecar": (
        *("001-1.json", field("SeriesDescription", "t1 quuxify rep")),
        f"{T1W}.json: SeriesDescription holds a part of PatientName",
    ),
    "an ID, deep in a sidecar": (
        *("001-1.json", field("Extra", [{"Notes": "q90210"}])),
        f"{T1W}.json: Extra.Notes holds PatientID",
    ),
    "a number in a sidecar": (
        "001-1.json",
        field("Extra", 7741985),
        f"{T1W}.json: Extra holds OtherPatientIDs",
    ),
    "a key of a sidecar": ("001-1.json", field("ZzyzxQuuxify", 1), f"{T1W}.json: a key holds PatientName"),
    "the birth date in a sidecar": (
        *("002-1.json", field("Extra", "born 02.03.1970")),
        f"{BOLD}.json: Extra holds PatientBirthDate",
    ),
    "a UID in a sidecar": ("002-1.json", field("Extra", UID), f"{BOLD}.json: Extra holds a UID"),
    "descrip": ("001-1.nii.gz", at(148, b"TE=3 Zzyzx"), f"{T1W}.nii.gz: descrip holds a part of PatientName"),
    "aux_file": ("001-1.nii.gz", at(228, b"acc-4711-x"), f"{T1W}.nii.gz: aux_file holds AccessionNumber"),
    "intent_name": (
        "001-1.nii.gz",
        at(328, b"19700302"),
        f"{T1W}.nii.gz: intent_name holds PatientBirthDate",
    ),
    "db_name": ("001-1.nii.gz", at(14, b"Q-90210"), f"{T1W}.nii.gz: db_name holds PatientID"),
    "data_type": ("001-1.nii.gz", at(4, b"QUUXIFY"), f"{T1W}.nii.gz: data_type holds a part of PatientName"),
    "an extension": (
        *("003-1.nii.gz", extended(f"<a>Quuxify</a> of {UID}".encode())),
        f"{DWI}.nii.gz: extension 1 holds a UID",
    ),
    "bval": ("003-1.bval", lambda text: text + b"7741985\n", f"{DWI}.bval: line 2 holds OtherPatientIDs"),
    "bvec": ("003-1.bvec", lambda text: text + b"zzyzx\n", f"{DWI}.bvec: line 4 holds a part of PatientName"),
    "gz contents of physiology": (
        *(f"{PHYSIO}.tsv.gz", lambda table: table + gzip.compress(b"Quuxify\t1\n")),
        f"{BOLD.removesuffix('_bold')}_recording-cardiac_physio.tsv.gz: column 1 in line 1801 holds a part",
    ),
    "a sidecar of physiology": (
        *(f"{PHYSIO}.json", field("Extra", "Wobble, Wibble")),
        f"{BOLD.removesuffix('_bold')}_recording-cardiac_physio.json: Extra holds ReferringPhysicianName",
    ),
}


@pytest.mark.parametrize("what", MADE)
def test_nothing_is_placed_that_identifies(
    copy: Dataset, what: str, capsys: pytest.CaptureFixture[str]
) -> None:
    """In each file that a stage before makes."""
    name, plant, begins = MADE[what]
    planted = copy.study / "volumes" / name
    before = copy.bytes_of_session()
    copy.write(planted, plant(planted.read_bytes()))
    assert copy.place() == 1
    said = capsys.readouterr().err
    assert begins in said
    assert "nothing of sub-01_ses-a is placed" in said
    assert not any(value in said.lower() for value in VALUES)
    assert copy.bytes_of_session() == before


NAMED = {
    "a name in parts, in a label": (
        "_T1w",
        "_acq-QuuxZZYZX_T1w",
        "acq-Quux***_T1w.json: its name holds a part",
    ),
    "an ID, run together": ("_T1w", "_acq-t1q90210x_T1w", "acq-t1***x_T1w.json: its name holds PatientID"),
}


@pytest.mark.parametrize("what", NAMED)
def test_no_file_is_placed_whose_name_identifies(
    copy: Dataset, what: str, capsys: pytest.CaptureFixture[str]
) -> None:
    old, new, begins = NAMED[what]
    plan = copy.session / "plan.tsv"
    plan.write_text(plan.read_text().replace(old, new))
    assert copy.place() == 1
    said = capsys.readouterr().err
    assert begins in said
    assert not any(value in said.lower() for value in VALUES if value != "quux")


# ---------------------------------------------------------------------------------- what people wrote into it

# what is added to a file of the dataset, or a new file; and how the finding begins
EDITED: dict[str, tuple[str, str]] = {
    "dataset_description.json": ("ACC4711X", "Extra holds AccessionNumber"),
    "participants.json": ("Zzyzx^Quuxify", "Extra holds PatientName"),
    "participants.tsv": ("Mr Quuxify", "note in line 2 holds a part of PatientName"),
    "README.md": ("of QUUXIFY, ZZYZX", "line "),
    "CHANGES": ("1970-03-02", "line "),
    "phenotype/moca.tsv": ("participant_id\tnote\nsub-01\tQ-90210\n", "note in line 2 holds PatientID"),
    "code/convert.sh": ("echo 7741985\n", "line 1 holds OtherPatientIDs"),
    "stimuli/order.txt": ("of Wibble Wobble", "line 1 holds ReferringPhysicianName"),
    f"sub-01/{KEY[:6]}_sessions.tsv": ("zzyzx moved", "note in line 2 holds a part of PatientName"),
    f"sub-01/{KEY[:6]}_sessions.json": ("q90210", "Extra holds PatientID"),
    f"{SESSION}/{KEY}_scans.tsv": ("2 Mar 1970", "note in line 2 holds PatientBirthDate"),
    f"{SESSION}/{KEY}_scans.json": (UID, "Extra holds a UID"),
    f"{T1W}.json": ("2026-01-02", "Extra holds AcquisitionDate"),
    f"{BOLD[:-5]}_events.tsv": ("Quuxify", "note in line 2 holds a part of PatientName"),
    f"{BOLD[:-5]}_events.json": (
        '{"trial_type": {"Description": "7741985"}}',
        "trial_type.Description holds Other",
    ),
    f"{DWI}.bval": ("7741985", "line "),
    f"{BOLD[:-5]}_recording-mine_physio.tsv.gz": (
        "1\t2\nZzyzx\t3\n",
        "column 1 in line 2 holds a part of PatientName",
    ),
    f"{SESSION}/beh/{KEY}_task-look_beh.tsv": (
        "trial\tnote\n1\tacc 4711 x\n",
        "note in line 2 holds Accession",
    ),
    f"sourcedata/sub-01/{KEY}_q90210.log": ("of this nothing is read", "its name holds PatientID"),
}


def edited(before: bytes, name: str, text: str) -> bytes:
    """A file with a line, a field or a column more."""
    if not before:
        return gzip.compress(text.encode()) if name.endswith(".gz") else text.encode()
    if name.endswith(".json"):
        return field("Extra", text)(before)
    if name.endswith(".tsv"):
        heading, *rows = before.decode().splitlines()
        rows = rows or ["\t".join("1" for _ in heading.split("\t"))]
        return "\n".join([f"{heading}\tnote", *(f"{row}\t{text}" for row in rows), ""]).encode()
    return before + f"{text}\n".encode()


def test_what_people_wrote_is_searched(made: Dataset, copy: Dataset) -> None:
    assert made.findings() == {}, "before"
    for name, (text, _) in EDITED.items():
        path = copy.bids / name
        copy.write(path, edited(path.read_bytes() if path.exists() else b"", name, text))
    found = copy.findings()
    shown = {name.replace("q90210", "***"): begins for name, (_, begins) in EDITED.items()}
    assert found.keys() == shown.keys()
    assert [name for name, begins in shown.items() if not found[name].startswith(begins)] == []
    assert not any(value in repr(found).lower() for value in VALUES)
    assert "IDENTITY" in (copy.work / "check.json").read_text(), "what the report and the verdict read"
    assert copy.check("--verdict", copy.work / "check.json") == 1


# ------------------------------------------------------------------------------------ the report and the logs

PAGES = {
    "report.html": "<p>Zzyzx Quuxify</p>",
    f"report_files/{KEY}.html": "<td>Q-90210</td>",
    f"report_files/{KEY}.json": '"1970-03-02"',
    "report_files/drift.tsv": "7741985",
    "work/logs/check.log": "ACC4711X",
    f"work/logs/place/{KEY}.log": "of Zzyzx^Quuxify",
    "work/logs/pull/9.8.7.log": "quuxify_zzyzx",
}


def test_report_and_logs_are_searched(copy: Dataset, capsys: pytest.CaptureFixture[str]) -> None:
    copy.findings()
    pages = ("--pages", copy.root / "report.html", copy.root / "report_files", copy.work / "logs")
    assert copy.check("--verdict", copy.work / "check.json", *pages) == 0
    for name, text in PAGES.items():
        path = copy.root / name
        before = path.read_text() if path.exists() else ""
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(f"{before}\n{text}\n")
        capsys.readouterr()
        assert copy.check("--verdict", copy.work / "check.json", *pages) == 1, name
        said = capsys.readouterr().err
        assert f"report or logs name a patient: {path}: line " in said
        assert not any(value in said.lower() for value in VALUES)
        path.write_text(before)


# --------------------------------------------------------------------------------- what no gate needs to find


def test_what_our_stages_make_holds_no_identity(made: Dataset) -> None:
    """Nothing at all of what is in the headers, by a search of its own."""
    for path in (one for one in made.bids.rglob("*") if one.is_file()):
        raw = path.read_bytes()
        text = f"{path.name} {(gzip.decompress(raw) if path.suffix == '.gz' else raw).decode('latin-1')}"
        assert not any(value in text.lower() for value in VALUES), path.name
