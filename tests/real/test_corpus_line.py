"""The whole line on real scanners' data: from Orthanc over C-MOVE to a valid BIDS dataset."""

from __future__ import annotations

import html
import json
import shutil
import subprocess
import sys
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from importlib import metadata
from pathlib import Path

import pytest
import yaml
from agreement import STUDIES, Corpus, assert_agrees, study_folder
from stored_frames import dicom_headers

from pacs2bids.files import read_record
from pacs2bids.model import CheckResult, PlacedSession, Receipt, StudyIndex
from peers.orthanc import AE_TITLE, DICOM_PORT, OUR_AE_TITLE, OUR_PORT, Orthanc, running_orthanc

ROOT = Path(__file__).resolve().parents[2]
PATIENCE_S = 900  # also of a machine on which others are at work

SOURCE = {
    "kind": "pacs",
    "host": "127.0.0.1",
    "port": DICOM_PORT,
    "ae_title": AE_TITLE,
    "receive_ae_title": OUR_AE_TITLE,
    "receive_host": "127.0.0.1",
    "receive_port": OUR_PORT,
}
# by C-FIND: what these public data sets have for a subject and a session
QUERIES = [
    {
        "source": "orthanc",
        "match": {"StudyDate": "20180918", "ModalitiesInStudy": "MR"},
        "subject": {"from": "PatientID", "pattern": "^(?P<subject>DEV)$"},
        "session": {"from": "StudyTime", "pattern": r"^(?P<session>\d{6})"},
    },
    {
        "source": "orthanc",
        "match": {"StudyDate": "20220701-20220731"},
        "subject": {"from": "StudyDescription", "pattern": "(?P<subject>test)$"},
        "session": {"from": "StudyDate"},
    },
    {
        "source": "orthanc",
        "match": {"StudyDescription": "d2n_*"},
        "subject": {"from": "StudyDescription", "pattern": "^d2n_(?P<subject>[A-Za-z]+)_"},
        "session": {"from": "StudyDate"},
    },
]
BY_QUERY = STUDIES[:4]
# the same scan as philips_enh/cl once more, under the same UIDs: in a PACS and a work folder of its own
BY_HAND = STUDIES[4]

# From the names of the protocols: nih "EPI PE=AP", "EPI PE=RL", "Axial EPI-FMRI (Interleaved I to S)",
# "(Sequential S to I)"; xa30 "anat-T1w_acq-tfl", "func-bold_task-fa_run-1", "DWI_dir80_PA",
# "gre_field_mapping" (two echoes, then their phase difference); philips_enh "DTIphase_S2MB2".
NAMES = {
    "sub-DEV/ses-121229/func/sub-DEV_ses-121229_task-rest_dir-AP_bold",
    "sub-DEV/ses-121229/func/sub-DEV_ses-121229_task-rest_dir-RL_bold",
    "sub-DEV/ses-114023/func/sub-DEV_ses-114023_task-rest_acq-interleaved_bold",
    "sub-DEV/ses-114023/func/sub-DEV_ses-114023_task-rest_acq-sequential_bold",
    "sub-test/ses-20220711/anat/sub-test_ses-20220711_acq-tfl_T1w",
    "sub-test/ses-20220711/func/sub-test_ses-20220711_task-fa_run-1_bold",
    "sub-test/ses-20220711/dwi/sub-test_ses-20220711_dir-PA_dwi",
    "sub-test/ses-20220711/fmap/sub-test_ses-20220711_run-1_magnitude1",
    "sub-test/ses-20220711/fmap/sub-test_ses-20220711_run-1_magnitude2",
    "sub-test/ses-20220711/fmap/sub-test_ses-20220711_run-1_phasediff",
    "sub-Philips/ses-20210902/dwi/sub-Philips_ses-20210902_acq-mb2_dwi",
}
SESSIONS = {"sub-DEV_ses-114023", "sub-DEV_ses-121229", "sub-test_ses-20220711", "sub-Philips_ses-20210902"}
TOP_LEVEL = {"dataset_description.json", "participants.tsv", "participants.json", "README.md", "CHANGES"}


@dataclass(frozen=True, kw_only=True)
class Line:
    """A folder in which `snakemake` ran on the studies of an Orthanc. ``done``: that run."""

    folder: Path
    done: subprocess.CompletedProcess[str]

    @property
    def bids(self) -> Path:
        return self.folder / "bids"

    def study(self, folder: Path) -> Path:
        """Our folder of the study whose files are in ``folder``."""
        return self.folder / "work" / "studies" / study_uid(folder)


def study_uid(folder: Path) -> str:
    (uid,) = {header.StudyInstanceUID for header in dicom_headers(folder).values()}
    return str(uid)


def run_line(orthanc: Orthanc, folder: Path, studies: dict[str, object], *targets: str) -> Line:
    """`snakemake`, as a person calls it, beside Orthanc; ended with all its jobs if it takes too long."""
    config = {
        "sources": {"orthanc": SOURCE},
        "studies": studies,
        "heuristic": str(ROOT / "heuristics" / "corpus.py"),
        # braces mean something to Snakemake; a person may write them
        "dataset": {"name": "Scanners of {three} vendors", "authors": ["Author One"], "license": "CC0"},
    }
    (folder / "config.yaml").write_text(yaml.safe_dump(config))
    snakemake = [sys.executable, "-m", "snakemake", "--snakefile", str(ROOT / "Snakefile"), "--cores", "2"]
    bounded = [
        "timeout",
        "--kill-after=10",
        str(PATIENCE_S),
        *snakemake,
        "--directory",
        str(folder),
        *targets,
    ]
    return Line(folder=folder, done=orthanc.run(bounded, timeout_s=PATIENCE_S + 20))


@pytest.fixture(scope="session")
def asked(corpus: Corpus, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Line]:
    """Four studies of three vendors, found by C-FIND, brought to the dataset and the report."""
    with running_orthanc() as orthanc:
        for study in BY_QUERY:
            folder = study_folder(corpus, study)
            assert orthanc.load(folder) == {"Success": len(dicom_headers(folder))}
        yield run_line(orthanc, tmp_path_factory.mktemp("asked"), {"query": QUERIES})


@pytest.fixture(scope="session")
def listed(corpus: Corpus, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Line]:
    """The enhanced arterial spin labelling, from a table by hand to its volume: it has no name."""
    source, folder = study_folder(corpus, BY_HAND), tmp_path_factory.mktemp("listed")
    uid = study_uid(source)
    (folder / "studies.tsv").write_text(f"StudyInstanceUID\tsubject\n{uid}\tPhilips\n")
    with running_orthanc() as orthanc:
        assert orthanc.load(source) == {"Success": len(dicom_headers(source))}
        target = f"work/studies/{uid}/volumes/manifest.json"
        yield run_line(orthanc, folder, {"table": "studies.tsv"}, target)


@pytest.fixture
def line(request: pytest.FixtureRequest, study: str) -> Line:
    """The run that brought ``study``."""
    found: Line = request.getfixturevalue("listed" if study == BY_HAND else "asked")
    return found


each_study = pytest.mark.parametrize("study", STUDIES)


@each_study
def test_the_workflow_succeeds(line: Line) -> None:
    terminal = line.done.stdout + line.done.stderr
    assert line.done.returncode == 0, terminal
    assert "Traceback" not in terminal


@each_study
def test_every_instance_came(corpus: Corpus, line: Line, study: str) -> None:
    folder = study_folder(corpus, study)
    there = Counter(
        (header.SeriesInstanceUID, header.SOPInstanceUID) for header in dicom_headers(folder).values()
    )
    receipt = read_record(line.study(folder) / "receipt.json", Receipt)
    announced = Counter((series, uid) for series, uids in receipt.announced.items() for uid in uids)
    assert announced == there
    kept = dicom_headers(line.study(folder) / "dicom")
    assert Counter((one.SeriesInstanceUID, one.SOPInstanceUID) for one in kept.values()) == there
    assert Counter((one.series_instance_uid, one.sop_instance_uid) for one in receipt.received) == there
    assert receipt.complete
    assert receipt.kind == "pacs"
    assert receipt.transfers
    assert (receipt.missing, receipt.refused, receipt.conflicting, receipt.foreign) == ((), (), (), ())


@each_study
def test_every_instance_is_in_one_stack_or_left_over(corpus: Corpus, line: Line, study: str) -> None:
    folder = study_folder(corpus, study)
    there = Counter(str(header.SOPInstanceUID) for header in dicom_headers(folder).values())
    index = read_record(line.study(folder) / "index.json", StudyIndex)
    # the instances of one stack are its pictures; an enhanced instance has many
    accounted = Counter(uid for stack in index.stacks for uid in set(stack.sop_instance_uids))
    accounted.update(str(leftover.sop_instance_uid) for leftover in index.leftovers)
    assert accounted == there
    assert index.instances == there.total()
    assert not index.refused
    left = {leftover.sop_instance_uid for leftover in index.leftovers}
    without_pixels = {
        header.SOPInstanceUID for header in dicom_headers(folder).values() if "Rows" not in header
    }
    assert left == without_pixels


@each_study
def test_volumes_are_those_of_dcm2niix(
    corpus: Corpus, line: Line, compare: Path, tmp_path: Path, study: str
) -> None:
    folder = study_folder(corpus, study)
    volumes = line.study(folder) / "volumes"
    assert_agrees(study, volumes, folder, compare=compare, scratch=tmp_path)


def test_files_have_the_names_of_the_protocol(asked: Line) -> None:
    images = {path.relative_to(asked.bids).as_posix() for path in asked.bids.rglob("*.nii.gz")}
    assert images == {f"{name}.nii.gz" for name in NAMES}
    beside = {".nii.gz", ".json"}
    for name in NAMES:
        expected = beside | ({".bval", ".bvec"} if name.endswith("_dwi") else set())
        found = {path.name.removeprefix(Path(name).name) for path in (asked.bids / name).parent.glob("*")}
        assert expected <= found, name
    assert {path.name for path in asked.bids.iterdir()} >= TOP_LEVEL
    for session in SESSIONS:
        subject, _, label = session.partition("_")
        scans = (asked.bids / subject / label / f"{session}_scans.tsv").read_text().splitlines()
        listed_files = {f"{subject}/{label}/{row.split()[0]}" for row in scans[1:]}
        assert listed_files == {f"{name}.nii.gz" for name in NAMES if session in name}


def test_named_volumes_are_the_reconstructed_ones(asked: Line) -> None:
    placed: dict[str, str] = {}
    for session in SESSIONS:
        placed |= read_record(
            asked.folder / "work" / "sessions" / session / "placed.json", PlacedSession
        ).volumes
    assert placed.keys() == NAMES
    assert len(set(placed.values())) == len(NAMES)
    for name, volume in placed.items():
        study, _, stack = volume.partition("/")
        source = asked.folder / "work" / "studies" / study / "volumes" / f"{stack}.nii.gz"
        assert (asked.bids / f"{name}.nii.gz").read_bytes() == source.read_bytes()


def test_the_dataset_is_valid(asked: Line) -> None:
    result = read_record(asked.folder / "work" / "check.json", CheckResult)
    assert result.ok
    assert not [finding for finding in result.findings if finding.severity == "error"]
    assert result.validator_version.split()[0] == metadata.version("bids-validator-deno")


def test_the_official_validator_says_so_too(asked: Line) -> None:
    program = shutil.which("bids-validator-deno", path=str(Path(sys.executable).parent))
    assert program
    done = subprocess.run(
        [program, "--json", asked.bids], check=False, capture_output=True, text=True, timeout=PATIENCE_S
    )
    report = json.loads(done.stdout)
    errors = [issue for issue in report["issues"]["issues"] if issue["severity"] == "error"]
    assert not errors
    summary = report["summary"]
    assert {f"sub-{label.removeprefix('sub-')}" for label in summary["subjects"]} == {
        key.partition("_")[0] for key in SESSIONS
    }
    assert summary["totalFiles"] >= len(NAMES) * 2


def test_the_report_shows_every_series(asked: Line, corpus: Corpus) -> None:
    pages = (asked.folder / "report_files").glob("*.html")
    page = html.unescape("".join(path.read_text() for path in pages))
    for name in NAMES:
        assert Path(name).name in page
    for study in BY_QUERY:
        for header in dicom_headers(study_folder(corpus, study)).values():
            assert str(header.SeriesDescription) in page


def test_nothing_identifies_a_patient(asked: Line, corpus: Corpus) -> None:
    identities = set()
    for study in BY_QUERY:
        for header in dicom_headers(study_folder(corpus, study)).values():
            identities |= {
                str(header.PatientName),
                str(header.PatientID),
                str(header.get("PatientBirthDate")),
            }
    identities -= {"", "None", "DEV"}  # the last is a label here: the query asked for it
    assert identities
    texts = [path for path in asked.bids.rglob("*") if path.is_file() and path.suffix in (".json", ".tsv")]
    assert len(texts) > len(NAMES)
    for path in texts:
        content = path.read_text()
        assert not [one for one in identities if one in content], path
