"""heudiconv itself on the same files: the same rows of SeqInfo, and the same series under the same names.

Where they differ, ours is right for a stated reason: ``DIFFERENCES`` is all of it. The oracle gets files in
the order of InstanceNumber, as consoles export them: it takes what comes first for the first.
"""

from __future__ import annotations

import functools
import logging
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from types import ModuleType
from typing import Any

import pydicom
import pytest
from agreement import study_folder

from pacs2bids.builtin import builtin_names
from pacs2bids.dialects.heudiconv import ask
from pacs2bids.dialects.seqinfos import Shown, series_to_show
from pacs2bids.model import HeuristicError, StudyIndex
from pacs2bids.store import index_folder
from peers.available import unavailable

ROOT = Path(__file__).resolve().parents[2]
SUBJECT, SESSION = "01", "a"

# folders of the corpus, each with the series of one session
SESSIONS = (
    "uih",
    "philips_enh/enh",
    "fmap/GE",
    "fmap/Siemens",  # two echoes in a series
    "mosaic",
    "asl",
    "nih/20180918GE",
    "table/Ph",  # magnitude and phase of two echoes in a series
    "table/GE",
    "xa60",
    "toshiba",
    "xa30i",  # one series a volume
)


@dataclass(frozen=True, kw_only=True)
class Session:
    """``theirs``: heudiconv's rows. ``fails``: SeriesInstanceUID of series on which it raises -> what."""

    indexes: Sequence[StudyIndex]
    folder: Path
    ours: list[Shown]
    theirs: list[Any]
    fails: dict[str, str]

    def of(self, uid: str) -> Shown:
        return next(one for one in self.ours if one.series.series_instance_uid == uid)


Read = Callable[[str], Session]


@pytest.fixture(scope="module")
def heudiconv() -> ModuleType:
    """heudiconv with the functions that are its conversion."""
    try:
        import heudiconv.convert  # noqa: PLC0415
        import heudiconv.dicoms  # noqa: PLC0415
        import heudiconv.utils  # noqa: PLC0415
    except ImportError:
        unavailable("heudiconv is not installed")
    logging.getLogger("heudiconv").setLevel(logging.CRITICAL)
    module: ModuleType = heudiconv
    return module


@pytest.fixture(scope="module")
def read(corpus: Callable[[str], Path], heudiconv: ModuleType) -> Read:
    """``read("asl")``: that session, as we and as heudiconv see it."""

    @functools.cache
    def session(name: str) -> Session:
        folder = study_folder(corpus, name)
        indexes = index_folder(folder).indices
        files: dict[str, list[str]] = {}
        for path, uid in _in_order(folder):
            files.setdefault(uid, []).append(str(path))
        fails: dict[str, str] = {}
        try:
            theirs = _rows(heudiconv, [path for paths in files.values() for path in paths])
        except Exception:  # noqa: BLE001 (it raises what it likes)
            fails = {uid: why for uid, paths in files.items() if (why := _fails(heudiconv, paths))}
            good = [path for uid, paths in files.items() if uid not in fails for path in paths]
            theirs = _rows(heudiconv, good)
        ours = series_to_show(indexes)
        return Session(indexes=indexes, folder=folder, ours=ours, theirs=theirs, fails=fails)

    return session


def _in_order(folder: Path) -> Iterator[tuple[Path, str]]:
    """DICOM files with their SeriesInstanceUID, by InstanceNumber."""
    found = []
    for path in folder.rglob("*"):
        if path.is_file() and path.open("rb").read(132)[128:] == b"DICM":
            tags = ["SeriesInstanceUID", "InstanceNumber"]
            found.append((path, pydicom.dcmread(path, specific_tags=tags)))
    found.sort(key=lambda one: (int(one[1].get("InstanceNumber") or 0), str(one[0])))
    yield from ((path, str(head.SeriesInstanceUID)) for path, head in found if "SeriesInstanceUID" in head)


def _rows(heudiconv: ModuleType, paths: Sequence[str]) -> list[Any]:
    heudiconv.dicoms.total_files = 0
    studies = heudiconv.dicoms.group_dicoms_into_seqinfos(list(paths), "studyUID")
    return [row for study in studies.values() for row in study]


def _fails(heudiconv: ModuleType, paths: Sequence[str]) -> str:
    try:
        _rows(heudiconv, paths)
    except Exception as error:  # noqa: BLE001
        return f"{type(error).__name__}: {error}"
    return ""


# ------------------------------------------------------------------------------------------------- rows


@dataclass(frozen=True, kw_only=True)
class Case:
    """One field of one row that differs."""

    theirs: Any
    ours: Any
    one: Shown
    session: Session


@dataclass(frozen=True, kw_only=True)
class Difference:
    """Fields that may differ, in which cases, and the evidence that ours are right."""

    fields: tuple[str, ...]
    seen: Callable[[Case], bool]
    why: str


def _numbers(name: str, case: Case) -> set[int]:
    """InstanceNumber of the files of this name in the series; other series may have files of that name."""
    tags = ["InstanceNumber", "SeriesInstanceUID"]
    files = (path for path in case.session.folder.rglob(name) if path.is_file())
    heads = (pydicom.dcmread(path, specific_tags=tags) for path in files)
    uids = _joined(case.one, case.session)
    return {int(head.InstanceNumber) for head in heads if head.SeriesInstanceUID in uids}


def _joined(one: Shown, session: Session) -> list[str]:
    """UIDs of all series whose volumes this one holds."""
    everything = [series for index in session.indexes for series in index.series]
    key = one.series.series_key
    return [
        series.series_instance_uid for series in everything if key in (series.joined_to, series.series_key)
    ]


def _mixed(one: Shown, session: Session) -> list[str]:
    """UIDs of all series with its number and protocol, if there are several."""
    name = one.info.series_id.partition("+")[0]
    found = [other for other in session.ours if other.info.series_id.partition("+")[0] == name]
    return [other.series.series_instance_uid for other in found] if len(found) > 1 else []


def _files(uids: Sequence[str], session: Session) -> int:
    return sum(row.series_files for row in session.theirs if row.series_uid in uids)


DIFFERENCES = (
    Difference(
        fields=("patient_id", "study_description", "accession_number", "patient_age", "patient_sex"),
        seen=lambda case: not case.theirs and not case.ours,
        why="an absent element is None there and an empty one ''; its annotations say str (utils.SeqInfo)",
    ),
    Difference(
        fields=("TE", "time", "image_type", "is_derived", "is_motion_corrected"),
        seen=lambda case: len(case.one.series.stack_ids) > 1,
        why="of several echoes or parts in one series heudiconv shows the last: its issues 158, 549, 834",
    ),
    Difference(
        fields=("example_dcm_file",),
        seen=lambda case: bool(_numbers(case.theirs, case) & _numbers(case.ours, case)),
        why="echoes that share an InstanceNumber: which of them is first is arbitrary (dcm2niix issue 349)",
    ),
    Difference(
        fields=("dcm_dir_name",),
        seen=lambda case: case.ours == "" and case.theirs == case.session.folder.name,
        why="files that lie in the study's folder itself, which they never do where we pull them to",
    ),
    Difference(
        fields=("sequence_name",),
        seen=lambda case: case.theirs == "" and str(case.one.series.manufacturer).startswith("Philips"),
        why="Philips has it in (2001,1020), which heudiconv does not read",
    ),
    Difference(
        fields=("series_files", "dim3"),
        seen=lambda case: case.ours == _files(_joined(case.one, case.session), case.session),
        why="one time series that was exported as a series a volume (dcm2niix issue 236) is one here",
    ),
    Difference(
        fields=("total_files_till_now",),
        seen=lambda case: len(_joined(case.one, case.session)) > 1,
        why="the same",
    ),
    Difference(
        fields=("series_id", "series_files", "dim3", "example_dcm_file"),
        seen=lambda case: len(_mixed(case.one, case.session)) > 1,
        why="two series of one number and protocol are mixed there: its issues 813 and 624; here one is +2",
    ),
)


def _differences(row: Any, one: Shown, session: Session) -> Iterator[str]:
    for name, theirs, ours in zip(row._fields, row, one.info[:28], strict=True):
        case = Case(theirs=theirs, ours=ours, one=one, session=session)
        known = (difference.seen(case) for difference in DIFFERENCES if name in difference.fields)
        if theirs != ours and not any(known):
            yield f"{one.info.series_id}: {name} is {ours!r}, heudiconv says {theirs!r}"


@pytest.mark.parametrize("name", SESSIONS)
def test_the_same_rows(read: Read, name: str) -> None:
    session = read(name)
    wrong = []
    for row in session.theirs:
        shown = [one for one in session.ours if one.series.series_instance_uid == row.series_uid]
        for one in shown:
            wrong += _differences(row, one, session)
    assert not wrong


@pytest.mark.parametrize("name", SESSIONS)
def test_the_same_series_in_the_same_order(read: Read, name: str) -> None:
    session = read(name)
    ours = [one.series.series_instance_uid for one in session.ours]
    theirs = [str(row.series_uid) for row in session.theirs]
    joined = {uid for one in session.ours for uid in _joined(one, session)[1:]}
    mixed = {uid for one in session.ours for uid in _mixed(one, session)} - set(theirs)
    assert [uid for uid in ours if uid not in session.fails and uid not in mixed] == [
        uid for uid in theirs if uid not in joined
    ]


def test_a_session_on_which_heudiconv_stops(read: Read) -> None:
    session = read("uih")
    # its AcquisitionDate, anonymised as "***", stops the whole session (its issues 493, 777)
    assert set(session.fails.values()) == {"ValueError: Unable to parse datetime string: ***"}
    assert len(session.ours) == len(session.fails) == 3


def test_the_switch_gives_what_heudiconv_shows_of_several_echoes(read: Read) -> None:
    found = 0
    for name in ("fmap/Siemens", "table/Ph"):
        session = read(name)
        theirs = {row.series_uid: row for row in session.theirs}
        for one in series_to_show(session.indexes, "heudiconv"):
            row = theirs[one.series.series_instance_uid]
            fields = ("TE", "image_type", "is_derived", "is_motion_corrected")
            assert [getattr(one.info, field) for field in fields] == [getattr(row, field) for field in fields]
            found += one.info != session.of(one.series.series_instance_uid).info
    assert found >= 2  # echo times and parts that are others than ours


def test_the_switch_gives_single_elements_of_the_header(read: Read) -> None:
    for name in ("asl", "mosaic", "fmap/GE", "xa60", "philips_enh/enh"):
        session = read(name)
        for one in series_to_show(session.indexes, "header"):
            head = pydicom.dcmread(session.folder / one.series.example_path, stop_before_pixels=True)
            frames = int(head.get("NumberOfFrames", 1 if "Rows" in head else 0))
            assert one.info[6:10] == (head.get("Columns", 0), head.get("Rows", 0), frames, 1)
            if "RepetitionTime" in head:
                assert (head.RepetitionTime, head.EchoTime) == (one.info.TR, one.info.TE)


# ------------------------------------------------------------------------------------------------- names


def _heuristics(heudiconv: ModuleType) -> list[Path]:
    """All that heudiconv ships, and ours."""
    theirs = Path(heudiconv.__file__ or "").parent / "heuristics"
    ours = (ROOT / "heuristics").glob("*.py")
    shipped = [path for path in theirs.glob("*.py") if not path.stem.startswith(("_", "test_"))]
    shipped.append(theirs / "test_b0dwi_for_fmap.py")  # a heuristic, for heudiconv's tests
    assert len(shipped) >= 12
    return sorted(ours) + sorted(path for path in shipped if path.stem not in builtin_names())


def _theirs(heudiconv: ModuleType, heuristic: Path, rows: Sequence[Any]) -> set[tuple[str, str]] | None:
    """(path, SeriesInstanceUID) as heudiconv would convert; None if it stops."""
    is_ours = heuristic.is_relative_to(ROOT / "heuristics")  # not what .venv holds
    module = heudiconv.utils.load_heuristic(str(heuristic) if is_ours else heuristic.stem)
    files = {row.series_id: [str(row.series_uid)] for row in rows}
    try:
        info = module.infotodict(list(rows))
        found = heudiconv.convert.conversion_info(SUBJECT, "", info, files, SESSION)
    except Exception:  # noqa: BLE001
        return None
    return {(path, uids[0]) for path, _, uids in found}


@pytest.mark.parametrize("name", SESSIONS)
def test_the_same_names_by_all_heuristics(read: Read, heudiconv: ModuleType, name: str) -> None:
    session = read(name)
    same = [row.series_id for row in session.theirs] == [one.info.series_id for one in session.ours]
    rows = session.theirs if same else [one.info for one in session.ours]
    folders = [session.folder] * len(session.indexes)
    wrong: dict[str, str] = {}
    for heuristic in _heuristics(heudiconv):
        theirs = _theirs(heudiconv, heuristic, rows)
        try:
            answers = ask(heuristic, session.indexes, subject=SUBJECT, session=SESSION, folders=folders)
        except HeuristicError as error:
            wrong |= {} if theirs is None else {heuristic.stem: str(error)}
            continue
        paths = ((one.path or one.sourcedata.partition("/")[2], one) for one in answers.named)
        ours = {(path, one.series_instance_uid) for path, one in paths}
        if theirs is None:
            assert answers.unanswered, heuristic.stem
        elif ours != theirs:
            wrong[heuristic.stem] = f"{ours - theirs} / {theirs - ours}"
    assert not wrong
