"""By default no true date leaves: place by place, of sessions whose headers hold it wherever they may."""

from __future__ import annotations

import gzip
import json
import re
from collections.abc import Iterator
from datetime import datetime
from pathlib import Path

import pytest
from pydicom.datadict import DicomDictionary
from pydicom.dataset import Dataset

import synthetic
from forms import Marked, enhanced_siemens
from pacs2bids.__main__ import main
from pacs2bids.files import read_tsv
from physiologs import instance, says_measurement, two_sensors

DAYS = {"sub-01_ses-a": "20260304", "sub-01_ses-b": "20260527", "sub-02_ses-a": "20260304"}
BIRTH = "19910817"
KEY = "5a" * 32  # one of chance moves two subjects alike once in 3,653 times
HEURISTIC = """\
def infotodict(seqinfo):
    info = {}
    for s in seqinfo:
        what = "anat/{0}_T1w" if s.series_description == "enhanced" else "func/{0}_task-look_bold"
        name = "{bids_subject_session_dir}/" + what.format("{bids_subject_session_prefix}")
        info[name, ("nii.gz",), None] = [s.series_id]
    return info
"""
CONFIG = """\
sources: {disk: {kind: folder, path: dicom}}
studies: {table: studies.tsv}
heuristic: heuristic.py
dataset: {name: Phantom}
"""
# of the dictionary (PS3.6): dates, and dates with times
DATES = {entry[4]: entry[0] for entry in DicomDictionary.values() if entry[0] in ("DA", "DT") and entry[4]}


def write_study(folder: Path, key: str) -> None:
    """The day of the scan in all elements that may hold one: of two volumes and the log of physiology
    beside them, and of an enhanced instance, in each of its sequences, too.
    """
    series = synthetic.Series(name="rest", volumes=2)
    instances = [
        series.dataset(number % series.slices, number // series.slices)
        for number in range(series.slices * series.volumes)
    ]
    for data in instances:
        says_measurement(data)
    log = two_sensors(2, ScanDate=f"{DAYS[key]}_103000")
    instances.append(instance(log, 3, "rest_PhysioLog"))
    instances += enhanced_siemens(Marked(name="enhanced", number=2))
    for number, data in enumerate(instances):
        fill_dates(data, DAYS[key], "103000.5" if "AcquisitionTime" not in data else data.AcquisitionTime)
        data.StudyInstanceUID = synthetic.uid(key)
        data.SeriesInstanceUID = synthetic.uid(key, data.SeriesInstanceUID)
        data.SOPInstanceUID = data.file_meta.MediaStorageSOPInstanceUID = synthetic.uid(key, number)
        data.PatientAge, data.PatientBirthDate = "034Y", BIRTH
        synthetic.save(data, folder / "dicom" / f"{number}.dcm")


def fill_dates(data: Dataset, day: str, time: str) -> None:
    """The day in all elements that may hold one, here and in all sequences."""
    for keyword, kind in DATES.items():
        setattr(data, keyword, day + (time if kind == "DT" else ""))
    data.StudyTime = data.SeriesTime = data.AcquisitionTime = data.ContentTime = time
    for element in [one for one in data if one.VR == "SQ"]:
        for item in element.value:
            fill_dates(item, day, time)


def verb(*words: object) -> None:
    assert main([str(word) for word in words]) == 0, words[0]


@pytest.fixture(scope="module")
def root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Three sessions of two subjects in a dataset, by the verbs that the workflow runs."""
    root = tmp_path_factory.mktemp("dates")
    work, bids, config = root / "work", root / "bids", root / "config.yaml"
    config.write_text(CONFIG)
    (root / "heuristic.py").write_text(HEURISTIC)
    work.mkdir()
    (work / "dates.key").write_text(f"{KEY}\n")
    (work / "dates.key").chmod(0o600)
    rows = ["study_instance_uid\tsubject\tsession\tsource"]
    for key in DAYS:
        subject, session = (part.partition("-")[2] for part in key.split("_"))
        study, folder = work / "studies" / synthetic.uid(key), work / "sessions" / key
        rows.append(f"{study.name}\t{subject}\t{session}\tdisk")
        write_study(study, key)
        verb("index", study)
        verb("reconstruct", study, "-j", 1)
        labels = ("--subject", subject, "--session", session, "--events", "skeleton")
        verb("plan", "--heuristic", root / "heuristic.py", *labels, "--out", folder, study)
        where = ("--session-dir", folder, "--studies-dir", work / "studies", "--bids", bids)
        verb("place", *where, "--config", config)
    (work / "studies.tsv").write_text("".join(f"{row}\n" for row in rows))
    table = ("--sessions", work / "sessions", "--studies", work / "studies.tsv")
    verb("dataset", "--config", config, "--bids", bids, "--out", work / "dataset.json", *table)
    verb("report", "--workdir", work, "--bids", bids, "--out", root / "report.html", "-j", 1)
    return root


def spelled(day: str) -> re.Pattern[str]:
    """A day of a month of a year, in any order, with whatever between them, or with the month's name."""
    year, month, number = day[:4], f"0?{int(day[4:6])}", f"0?{int(day[6:])}"
    name = datetime.strptime(day, "%Y%m%d").strftime("%b")
    orders = ((year, month, number), (number, month, year), (month, number, year))
    forms = [r"\D?".join(order) for order in orders]
    forms += [rf"{number}\W*{name}\w*\W*{year}", rf"{name}\w*\W*{number}\W*{year}"]
    return re.compile("|".join(rf"(?<![\d.]){form}" for form in forms), re.IGNORECASE)


def texts_of(path: Path) -> Iterator[str]:
    """A file's name, and what is in it; of a volume, all before its voxels; and the header of gzip."""
    yield path.name
    raw = path.read_bytes()
    if path.suffix == ".gz":
        yield raw[:64].decode("latin-1")
        raw = gzip.decompress(raw)
    if ".nii" in path.suffixes:
        raw = raw[:352]
    yield raw.decode("latin-1")


def test_the_search_of_this_test_sees_dates() -> None:
    assert len(DATES) > 100
    for text in ("2026-03-04T10", "20260304", "04.03.2026", "3/4/2026", "4 Mar 2026", "March 4, 2026"):
        assert spelled("20260304").search(text)
    assert not spelled("20260304").search("1816-11-21T10:30:00, 12026030, 0.3042026")


@pytest.mark.parametrize(
    ("place", "at_least"),
    [
        ("bids/sub-*/ses-*/func/*_bold.json", 3),
        ("bids/sub-*/ses-*/func/*_bold.nii.gz", 3),
        ("bids/sub-*/ses-*/func/*_physio.*", 12),
        ("bids/sub-*/ses-*/anat/*_T1w.*", 6),
        ("bids/sub-*/ses-*/func/*_events.tsv", 3),
        ("bids/sub-*/ses-*/*_scans.*", 6),
        ("bids/sub-*/*_sessions.*", 4),
        ("bids/*", 4),
        ("bids/**/*", 20),
        ("report.html", 1),
        ("report_files/sub-*.*", 6),
        ("report_files/drift.tsv", 1),
    ],
)
def test_no_true_date_leaves(root: Path, place: str, at_least: int) -> None:
    files = [path for path in root.glob(place) if path.is_file()]
    assert len(files) >= at_least, files
    days = [spelled(day) for day in {*DAYS.values(), BIRTH}]
    told = [
        (path.name, day.pattern) for path in files for day in days if any(map(day.search, texts_of(path)))
    ]
    assert told == []


def test_all_dates_of_a_subject_are_moved_alike_and_times_of_day_stay(root: Path) -> None:
    moved: dict[str, set[int]] = {"sub-01": set(), "sub-02": set()}
    for key, day in DAYS.items():
        subject, session = key.split("_")
        folder = root / "bids" / subject
        scans = read_tsv(folder / session / f"{key}_scans.tsv")
        assert len(scans) == 2, "of the classic series and of the enhanced"
        rows = read_tsv(folder / f"{subject}_sessions.tsv")
        (row,) = (row for row in rows if row["session_id"] == session)
        for told in (*(scan["acq_time"] for scan in scans), row["acq_time"]):
            true = datetime.strptime(f"{day}103000.5", "%Y%m%d%H%M%S.%f")
            difference = true - datetime.fromisoformat(told)
            assert difference.seconds == difference.microseconds == 0, "times of day are the scanner's"
            moved[subject].add(difference.days)
            assert datetime.fromisoformat(told).year < 1925, "BIDS: so that it is known for a shifted one"
        sidecar = json.loads((folder / session / "func" / f"{key}_task-look_bold.json").read_text())
        assert [field for field in sidecar if "date" in field.lower()] == []
    assert [len(days) for days in moved.values()] == [1, 1]
    assert moved["sub-01"] != moved["sub-02"]
