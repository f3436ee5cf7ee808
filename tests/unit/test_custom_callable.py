"""heudiconv's custom_callable: called when a session is placed, on copies; what it may do, and what not."""

from __future__ import annotations

import json
import logging
import os
import runpy
import shutil
import sys
from pathlib import Path
from types import SimpleNamespace

import pydicom
import pytest

from pacs2bids.__main__ import main
from pacs2bids.dialects.after_conversion import Call, after_conversion
from pacs2bids.files import read_record, sha256, write_record
from pacs2bids.model import HeuristicError, PlacedSession, Receipt, ReceivedInstance
from pacs2bids.owned import text_item
from pacs2bids.plan_table import read_plan
from synthetic import Series, uid

FOLDER = "sub-01/ses-a"
NAMES = """
def key(name, *types):
    return (f"{{bids_subject_session_dir}}/{name}", types or ("nii.gz",), None)

def infotodict(seqinfo):
    rest, t1w = "func/{bids_subject_session_prefix}_task-rest_bold", "anat/{bids_subject_session_prefix}_T1w"
    rest, t1w, scout = key(rest), key(t1w, "nii.gz", "dicom"), key("misc/scout", "dicom")
    found = {rest: [], t1w: [], scout: []}
    for s in seqinfo:
        found[{"1": scout, "2": t1w, "3": rest}[s.series_id[0]]].append(s.series_id)
    return found
"""


class Line:
    """A study of three series, reconstructed; plans and places it by a heuristic."""

    def __init__(self, folder: Path, study: Path) -> None:
        self.folder, self.study, self.heuristic = folder, study, folder / "mine.py"
        self.bids, self.session = folder / "bids", folder / "sessions" / "sub-01_ses-a"

    def plan(self, text: str) -> int:
        self.heuristic.write_text(text)
        words = ["--heuristic", str(self.heuristic), "--subject", "01", "--session", "a"]
        return main(["plan", *words, "--out", str(self.session), str(self.study)])

    def place(self) -> int:
        words = ["--session-dir", str(self.session), "--studies-dir", str(self.study.parent)]
        return main(["place", *words, "--bids", str(self.bids), "--dates", "keep"])

    def __call__(self, text: str) -> int:
        assert self.plan(text) == 0
        return self.place()

    def files(self) -> set[str]:
        return {
            path.relative_to(self.bids / FOLDER).as_posix()
            for path in (self.bids / FOLDER).rglob("*")
            if path.is_file()
        }


def a_receipt(study: Path) -> Receipt:
    """That all files in its folder came."""
    received = [
        ReceivedInstance(
            sop_instance_uid=str(data.SOPInstanceUID),
            sop_class_uid=str(data.SOPClassUID),
            series_instance_uid=str(data.SeriesInstanceUID),
            transfer_syntax_uid=str(data.file_meta.TransferSyntaxUID),
            path=path.name,
            bytes=path.stat().st_size,
            sha256=sha256(path),
        )
        for path in sorted((study / "dicom").iterdir())
        for data in [pydicom.dcmread(path)]
    ]
    return Receipt(
        study_instance_uid=study.name,
        source="here",
        kind="folder",
        complete=True,
        started="2026-01-02T03:04:05",
        finished="2026-01-02T03:04:06",
        announced={},
        received=tuple(received),
    )


@pytest.fixture(scope="module")
def reconstructed(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("studies") / uid("study")
    for number, name in enumerate(("scout", "mprage", "rest"), start=1):
        Series(name=name, number=number, volumes=1 + number // 3).write(folder / "dicom")
    write_record(folder / "receipt.json", a_receipt(folder))
    assert main(["index", str(folder)]) == 0
    assert main(["reconstruct", str(folder)]) == 0
    return folder


@pytest.fixture
def line(tmp_path: Path, reconstructed: Path) -> Line:
    study = tmp_path / "studies" / reconstructed.name
    shutil.copytree(reconstructed, study)
    return Line(tmp_path, study)


TELLS = """
import json
from pathlib import Path
def custom_callable(prefix, outtypes, dicoms):
    assert all(Path(one).is_file() for one in dicoms)
    name = prefix[prefix.index("/sub-01/") + 1:]
    images = [one.name for one in sorted(Path(prefix).parent.glob("*.nii.gz"))]
    told = Path(prefix).parent.parent / "told.json"
    before = json.loads(told.read_text()) if told.exists() else []
    dicoms = sorted(Path(one).name for one in dicoms)
    told.write_text(json.dumps([*before, [name, list(outtypes), images, dicoms]]))
"""


def test_arguments_and_order_are_heudiconvs(line: Line, monkeypatch: pytest.MonkeyPatch) -> None:
    """Its own conversion of the same items, by its dcm2niix, calls the same function with the same things."""
    convert = pytest.importorskip("heudiconv.convert")
    logging.getLogger("heudiconv").setLevel(logging.CRITICAL)
    monkeypatch.setenv("PATH", f"{Path(sys.executable).parent}:{os.environ['PATH']}")
    assert line(TELLS + NAMES) == 0
    mine = json.loads((line.bids / FOLDER / "told.json").read_text())
    assert [name for name, *_ in mine] == [
        f"{FOLDER}/func/sub-01_ses-a_task-rest_bold",
        f"{FOLDER}/anat/sub-01_ses-a_T1w",
        f"{FOLDER}/misc/scout",
    ]
    info = runpy.run_path(str(line.heuristic))
    files = {
        f"{number}-": sorted(map(str, (line.study / "dicom").glob(f"{name}-*")))
        for number, name in enumerate(("scout", "mprage", "rest"), start=1)
    }
    keys = info["infotodict"]([SimpleNamespace(series_id=one) for one in files])
    out = line.folder / "theirs"
    convert.convert(
        convert.conversion_info("01", str(out), keys, files, "a"),
        converter="dcm2niix",
        scaninfo_suffix=".json",
        custom_callable=info["custom_callable"],
        with_prov=False,
        bids_options="",
        outdir=str(out),
        min_meta=True,
        overwrite=False,
    )
    assert json.loads((out / FOLDER / "told.json").read_text()) == mine
    assert not (line.session / "called").exists()


def test_what_it_adds_and_writes_is_placed(line: Line) -> None:
    """A table beside the volume, a field in the sidecar; both go when the heuristic does not make them."""
    hook = """
import json, os
def custom_callable(prefix, outtypes, dicoms):
    if prefix.endswith("_bold"):
        with open(prefix[:-4] + "recording-motion_physio.tsv", "w") as table:
            table.write(f"{len(dicoms)}\\n")
        with open(prefix + ".json") as file:
            fields = json.load(file)
        fields["Instructions"] = fields["TaskName"]
        os.chmod(prefix + ".json", 0o600)
        with open(prefix + ".json", "w") as file:
            json.dump(fields, file)
"""
    base = f"{FOLDER}/func/sub-01_ses-a_task-rest"
    assert line(NAMES) == 0
    plain = line.files()
    sidecar = json.loads((line.bids / f"{base}_bold.json").read_text())
    assert line(hook + NAMES) == 0
    table = line.bids / f"{base}_recording-motion_physio.tsv"
    assert line.files() - plain == {table.relative_to(line.bids / FOLDER).as_posix()}
    assert table.read_text() == "6\n"
    assert json.loads((line.bids / f"{base}_bold.json").read_text()) == {**sidecar, "Instructions": "rest"}
    assert table.stat().st_mode & 0o777 == 0o444
    placed = read_record(line.session / "placed.json", PlacedSession)
    assert placed.files.keys() >= {f"{base}_bold.json", f"{base}_recording-motion_physio.tsv"}
    image = (line.bids / f"{base}_bold.nii.gz").stat()
    assert image.st_ino == next((line.study / "volumes").glob("003-1.nii.gz")).stat().st_ino
    before = {name: (line.bids / FOLDER / name).stat().st_mtime_ns for name in line.files()}
    assert line.place() == 0
    assert {name: (line.bids / FOLDER / name).stat().st_mtime_ns for name in line.files()} == before
    assert line(NAMES) == 0
    assert line.files() == plain
    assert "Instructions" not in json.loads((line.bids / f"{base}_bold.json").read_text())


@pytest.mark.parametrize(
    ("body", "told"),
    [
        (
            "1 / 0",
            "custom_callable fails on sub-01/ses-a/func/sub-01_ses-a_task-rest_bold: ZeroDivisionError",
        ),
        ("os.chmod(p + '.nii.gz', 0o600); open(p + '.nii.gz', 'ab').write(b'x')", "changes the image"),
        ("os.remove(p + '.json')", "removes sub-01/ses-a/func/sub-01_ses-a_task-rest_bold.json"),
        ("os.rename(p + '.json', p + '.txt')", "removes sub-01/ses-a/func/sub-01_ses-a_task-rest_bold.json"),
        ("open(p.split('/sub-01/')[0] + '/x', 'w')", "makes x, which is no file below sub-01/ses-a/"),
        ("os.symlink('/', p + '.txt')", "which is no file below sub-01/ses-a/"),
        ("os._exit(0)", "ended without an answer"),
        ("kind.there_is_none", "AttributeError"),
    ],
)
def test_what_it_may_not_do(line: Line, capsys: pytest.CaptureFixture[str], body: str, told: str) -> None:
    """One clear error; nothing of the session is written, and what lies in volumes/ stays as it is."""
    hook = f"import os\ndef custom_callable(p, kind, dicoms):\n    if p.endswith('bold'): {body}\n"
    volumes = {path: path.read_bytes() for path in (line.study / "volumes").iterdir()}
    assert line(hook + NAMES) == 1
    error = capsys.readouterr().err
    assert told in error
    assert error.startswith("ERROR: ")
    assert "mine.py" in error
    assert not line.bids.exists() or not line.files()
    assert not (line.session / "called").exists()
    assert {path: path.read_bytes() for path in (line.study / "volumes").iterdir()} == volumes


def test_an_edit_after_the_plan_is_told(line: Line, capsys: pytest.CaptureFixture[str]) -> None:
    assert line.plan(TELLS + NAMES) == 0
    line.heuristic.write_text(TELLS.replace("assert", "pass; assert") + NAMES)
    assert line.place() == 1
    assert "was edited, or is gone, since the plan was made" in capsys.readouterr().err


def test_calls_are_a_part_of_the_plan(line: Line) -> None:
    """So that an edit of the function has the session placed again."""
    assert line.plan(TELLS + NAMES) == 0
    rows = read_plan(line.session / "plan.tsv")
    calls = sorted((call.number, call.prefix, call.outtypes) for row in rows for call in row.calls)
    assert [(name.rpartition("_")[2], types) for _, name, types in calls] == [
        ("bold", ("nii.gz",)),
        ("T1w", ("nii.gz", "dicom")),
        ("sub-01/ses-a/misc/scout", ("dicom",)),
    ]
    first = (line.session / "plan.tsv").read_bytes()
    assert line.plan(TELLS.replace("before", "earlier") + NAMES) == 0
    assert (line.session / "plan.tsv").read_bytes() != first
    assert line.plan(NAMES) == 0
    assert not any(row.calls for row in read_plan(line.session / "plan.tsv"))


def test_no_function_is_told(line: Line, capsys: pytest.CaptureFixture[str]) -> None:
    assert line.plan("custom_callable = 'later'\n" + NAMES) == 1
    assert "custom_callable is a str, not a function" in capsys.readouterr().err


@pytest.mark.parametrize("prefix", ["sub-02/anat/x", "sub-01/ses-a/../../x", "/tmp/x"])
def test_nothing_is_laid_out_elsewhere(tmp_path: Path, prefix: str) -> None:
    path = tmp_path / "mine.py"
    path.write_text(NAMES)
    call = Call(prefix=prefix, outtypes=("nii.gz",), dicoms=())
    items = [text_item(f"{FOLDER}/anat/x.json", "{}")]
    with pytest.raises(HeuristicError, match="not below sub-01/ses-a/"):
        after_conversion(path, [call], items, indexes=[], session=FOLDER, folder=tmp_path / "called")
    assert not (tmp_path / "called").exists()
