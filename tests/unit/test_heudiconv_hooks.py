"""heudiconv's hooks and dates on DICOM files, and files that would end, or outlast, our process."""

from __future__ import annotations

import os
import runpy
import signal
import time
from pathlib import Path

import pytest
from msgspec.structs import replace
from pydicom import Dataset

from pacs2bids.dialects import default_fields
from pacs2bids.dialects.heudiconv import ask
from pacs2bids.dialects.isolated import isolated
from pacs2bids.dialects.seqinfos import series_to_show
from pacs2bids.model import HeuristicError, Json, StudyIndex
from pacs2bids.plan import plan_session
from pacs2bids.session import Answers, IntendedForOptions
from synthetic import Series, indexed, save


class Echoes(Series):
    """Its volumes are echoes, of 4, 7, ... ms."""

    def dataset(self, slice_: int, volume: int = 0) -> Dataset:
        data = super().dataset(slice_, volume)
        data.EchoTime, data.EchoNumbers = 4.0 + 3 * volume, volume + 1
        data.PatientID, data.PatientName = "P_0017", "Phantom^One"
        return data


ALL = """
def infotodict(seqinfo):
    assert [s.total_files_till_now for s in seqinfo][-1:] == [sum(s.series_files for s in seqinfo)]
    def key(s):
        return f"x{s.series_id[0]}_{s.custom}_{s.series_files}"

    return {(key(s), "nii"): [s.series_id] for s in seqinfo}
"""


@pytest.fixture(scope="module")
def dicom(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A study: a scout of one echo, and a field map of two."""
    folder = tmp_path_factory.mktemp("study")
    Series(name="scout", number=1).write(folder)
    Echoes(name="fmap", number=2, volumes=2).write(folder)
    return folder


@pytest.fixture(scope="module")
def index(dicom: Path) -> StudyIndex:
    return indexed(dicom)


class Asks:
    """Writes a heuristic and asks it."""

    def __init__(self, folder: Path, dicom: Path, index: StudyIndex) -> None:
        self.path, self.dicom, self.index = folder / "mine.py", dicom, index

    def __call__(self, text: str, *, limit_s: float = 60.0, session: str = "") -> Answers:
        self.path.write_text(text)
        folders = [self.dicom]
        return ask(self.path, [self.index], subject="01", session=session, folders=folders, limit_s=limit_s)

    def error(self, text: str, *, limit_s: float = 60.0) -> str:
        with pytest.raises(HeuristicError) as caught:
            self(text, limit_s=limit_s)
        assert "mine.py" in caught.value.where
        return str(caught.value)


@pytest.fixture
def asks(tmp_path: Path, dicom: Path, index: StudyIndex) -> Asks:
    return Asks(tmp_path, dicom, index)


def paths(answers: Answers) -> list[tuple[str, tuple[int, ...]]]:
    return [(one.path, one.stacks) for one in answers.named]


def reasons(answers: Answers) -> list[tuple[str, bool]]:
    return [(one.reason, one.is_meant) for one in answers.unanswered]


# ---------------------------------------------------------------------------------------------- files


def test_files_that_all_are_kept_change_nothing(asks: Asks) -> None:
    hooks = """
def filter_files(path):
    assert open(path, "rb").read()[128:132] == b"DICM"
    return True
def filter_dicom(ds):
    return ds.SeriesDescription == "other"
"""
    assert paths(asks(hooks + ALL)) == [("x1_None_3", ()), ("x2_None_6", ())]


def test_a_series_without_files_is_not_shown(asks: Asks) -> None:
    answers = asks('def filter_dicom(ds):\n    return ds.SeriesDescription == "scout"\n' + ALL)
    assert paths(answers) == [("x2_None_6", ())]
    assert reasons(answers) == [("the heuristic's filter_dicom drops all its files", True)]


def test_one_of_two_volumes_is_left(asks: Asks) -> None:
    answers = asks("def filter_dicom(ds):\n    return ds.EchoTime == 7\n" + ALL)
    assert paths(answers) == [("x1_None_3", ()), ("x2_None_3", (1,))]


def test_two_of_three_volumes_are_left(tmp_path: Path) -> None:
    Echoes(name="gre", number=3, volumes=3).write(tmp_path / "dicom")
    asks = Asks(tmp_path, tmp_path / "dicom", indexed(tmp_path / "dicom"))
    answers = asks("def filter_dicom(ds):\n    return ds.EchoNumbers == 2\n" + ALL)
    assert paths(answers) == [("x3_None_6", (1, 3))]


def test_a_part_of_a_volume_is_never_dropped_silently(asks: Asks) -> None:
    answers = asks("def filter_dicom(ds):\n    return ds.EchoTime == 7 and ds.InstanceNumber % 2\n" + ALL)
    assert paths(answers) == [("x1_None_3", ())]
    ((reason, is_meant),) = reasons(answers)
    assert "filters drop" in reason
    assert "of its 6 files" in reason
    assert not is_meant


def test_a_filter_that_fails_on_one_series(asks: Asks) -> None:
    hook = 'def filter_dicom(ds):\n    return ds.SeriesDescription == "fmap" and ds.NoSuchThing\n'
    answers = asks(hook + ALL)
    assert paths(answers) == [("x1_None_3", ())]
    ((reason, _),) = reasons(answers)
    assert reason.startswith("the heuristic fails on this series: AttributeError: ")
    assert "(mine.py, line 2)" in reason


def test_a_mistake_in_a_filter_is_no_odd_series(asks: Asks) -> None:
    told = asks.error('def filter_dicom(ds):\n    return ds.SeriesDescription == "fmap" and bolt\n' + ALL)
    assert "NameError: name 'bolt' is not defined (mine.py, line 2)" in told


def test_hooks_need_the_files(asks: Asks, tmp_path: Path) -> None:
    asks.dicom = tmp_path / "gone"
    assert "To have them again: `snakemake --forcerun" in asks.error(
        "def filter_files(path):\n    return True\n" + ALL
    )
    assert len(asks(ALL).named) == 2


# ---------------------------------------------------------------------------------------------- fields


def test_our_fields_stand_behind_heudiconvs(index: StudyIndex) -> None:
    scout, fmap = (one.info for one in series_to_show([index]))
    assert (scout.series_number, scout.modality, scout.stacks, scout.slices) == (1, "MR", 1, 3)
    assert (fmap.stacks, fmap.volumes, fmap.echo_times_ms, fmap.TE) == (2, 1, (4.0, 7.0), 4.0)


def test_times_that_enhanced_files_do_not_say_at_their_top_level(index: StudyIndex) -> None:
    """The oracle on files of scanners shows that their series say none."""
    bare = tuple(replace(one, repetition_time_s=None, echo_time_ms=None) for one in index.series)
    for seqinfo, times in (("pacs2bids", (-1, -1)), ("header", (0, 0))):
        _, fmap = (one.info for one in series_to_show([replace(index, series=bare)], seqinfo))
        assert times == (fmap.TR, fmap.TE)
        assert (fmap.repetition_time_s, fmap.echo_times_ms) == (2.0, (4.0, 7.0))


@pytest.mark.parametrize(
    ("elements", "date_time"),
    [
        ({}, ("20260102", "103000.5")),  # as stored
        (
            {"AcquisitionTime": "", "AcquisitionDateTime": "20260203040506.12+0100"},
            ("20260203", "040506.120000"),
        ),
        ({"AcquisitionDate": "", "SeriesDate": "20260304", "SeriesTime": "0506"}, (None, "103000.5")),
        (
            {"AcquisitionDate": "", "SeriesDate": "20260304", "SeriesTime": "050607"},
            ("20260304", "050607.000000"),
        ),
        ({"AcquisitionDate": "", "AcquisitionTime": ""}, (None, None)),
    ],
)
def test_date_and_time_are_of_one_source(
    tmp_path: Path, elements: dict[str, str], date_time: tuple[str | None, str | None]
) -> None:
    data = Series(slices=1).dataset(0)
    for keyword, value in elements.items():
        setattr(data, keyword, value)
    save(data, tmp_path / "one.dcm")
    (info,) = indexed(tmp_path).series
    assert (info.date, info.time) == date_time


# ---------------------------------------------------------------------------------------------- dicom


def test_a_plan_of_archives(asks: Asks) -> None:
    text = """
def infotodict(seqinfo):
    both = ("sub-{subject}/anat/sub-{subject}_T2w", ("nii.gz", "dicom"), None)
    alone = ("sub-{subject}/misc/scout", ("dicom",), None)
    return {both: [{"item": "2-", "stack": 1}], alone: ["1-"]}
"""
    plan = plan_session(subject="01", session="", indexes=[asks.index], answers=asks(text))
    assert [(row.stack_id, row.bids_name, row.sourcedata, row.reason) for row in plan.rows] == [
        ("001-1", "", "sourcedata/sub-01/misc/scout", "the heuristic asks for its DICOM files alone"),
        ("002-1", "sub-01/anat/sub-01_T2w", "sourcedata/sub-01/anat/sub-01_T2w", ""),
        ("002-2", "", "", "the heuristic names other stacks"),
    ]


# ---------------------------------------------------------------------------------------------- custom


def test_custom_seqinfo_gets_a_wrapper_and_the_files(asks: Asks) -> None:
    hook = """
def custom_seqinfo(wrapper, series_files):
    assert wrapper.image_shape[0] > 1
    return wrapper.dcm_data.SeriesDescription, len(series_files)
"""
    assert paths(asks(hook + ALL)) == [("x1_('scout', 3)_3", ()), ("x2_('fmap', 6)_6", ())]


def test_persons_of_a_header_are_not_shown(asks: Asks, capfd: pytest.CaptureFixture[str]) -> None:
    hook = """
def custom_seqinfo(wrapper, series_files):
    print("of", wrapper.dcm_data.get("PatientName"))
    return {}[str(wrapper.dcm_data.get("PatientName")).split("^")[0].upper()]
"""
    (_, (reason, _)) = reasons(asks(hook + ALL))
    assert "KeyError: '<patient_name>' (mine.py, line 4)" in reason
    assert "of <patient_name>" in capfd.readouterr().err


def test_custom_must_be_a_part_of_seqinfo(asks: Asks) -> None:
    assert "custom_seqinfo returns a list" in asks.error(
        "def custom_seqinfo(**known):\n    return []\n" + ALL
    )


# ---------------------------------------------------------------------------------------------- the others


def test_how_intended_for_is_wanted(asks: Asks) -> None:
    said = '{"matching_parameters": %r, "criterion": %r}'
    text = f"POPULATE_INTENDED_FOR_OPTS = {said}\n{ALL}"
    wanted = IntendedForOptions(matching_parameters=("Shims", "Force"), criterion="Closest")
    assert asks(text % (["Shims", "Force"], "Closest")).intended_for == wanted
    one = asks(text % ("ImagingVolume", "First")).intended_for
    assert one == IntendedForOptions(matching_parameters=("ImagingVolume",), criterion="First")
    assert asks(ALL).intended_for is None
    assert "holds 'Shim'" in asks.error(text % ("Shim", "First"))
    assert "holds 'Last'" in asks.error(text % ("Shims", "Last"))
    assert "no dict of matching_parameters" in asks.error('POPULATE_INTENDED_FOR_OPTS = {"x": 1}\n' + ALL)


def test_infotoids_is_compared_with_the_studies_table(asks: Asks) -> None:
    hook = "def infotoids(seqinfos, outdir):\n    return {'locator': None, 'subject': %s, 'session': %r}\n"
    said = asks(hook % ("'02'", "ses-b") + ALL, session="a").warnings
    assert [text.partition("infotoids says ")[2] for text in said] == [
        "another subject; what counts is the studies table's '01'",
        "another session; what counts is the studies table's 'a'",
    ]
    assert asks(hook % ("'sub-01'", None) + ALL).warnings == ()
    assert asks(hook % ("list(seqinfos)[1].patient_id", "a") + ALL, session="a").warnings == ()
    parts = "list(seqinfos)[1].patient_id.split('_')[1]"  # labels within an ID
    assert asks(hook % (parts, "P") + ALL, session="a").warnings == ()
    assert "infotoids fails" in asks(hook % ("1 / 0", "") + ALL).warnings[0]


# ---------------------------------------------------------------------------------------------- grouping

GROUPING = """
from collections import OrderedDict
from pathlib import Path
import pydicom
def grouping(files, dcmfilter, seqinfo):
    assert dcmfilter is None
    found = OrderedDict()
    for path in sorted(files):
        ds = pydicom.dcmread(path, stop_before_pixels=True)
        found.setdefault(KEY, []).append(path)
    return OrderedDict(
        (seqinfo(*[n, files[0], str(key), "", len(files), "", 4, 4, 3, 1, 2.0, 4.0, "p", False, False,
                   "", "", "", "d", "", ("M",), "", None, None, None, str(n), None, "mine"]), files)
        for n, (key, files) in enumerate(found.items())
    )
"""


NAMED = ALL.replace("assert", "#")  # what a file makes itself it need not count as heudiconv does


def test_a_grouping_makes_the_series(asks: Asks) -> None:
    """One of heudiconv's own form, by echo: two series of one."""
    by_echo = GROUPING.replace("KEY", "f'{ds.SeriesNumber}{ds.EchoTime:.0f}'")
    answers = asks(by_echo + NAMED.replace("{s.series_id[0]}", "{s.series_id}"))
    assert sorted(paths(answers)) == [("x130_mine_3", ()), ("x24_mine_3", (1,)), ("x27_mine_3", (2,))]
    assert answers.warnings == ()


def test_a_grouping_that_volumes_cannot_follow(asks: Asks) -> None:
    together = asks(GROUPING.replace("KEY", "'all'") + NAMED)
    reason = "the heuristic's grouping puts its files together with those of another series"
    assert reasons(together) == [(reason, False)] * 2
    apart = asks(GROUPING.replace("KEY", "f'{ds.SeriesNumber}{ds.InstanceNumber % 2}'") + NAMED)
    assert {reason for reason, _ in reasons(apart)} == {
        "the heuristic's grouping takes a volume of it apart: only whole volumes have names"
    }
    scout = GROUPING.replace("sorted(files)", "[one for one in files if 'scout-' in one]")
    none = asks(scout.replace("KEY", "ds.SeriesNumber") + NAMED)
    assert paths(none) == [("x1_mine_3", ())]
    assert reasons(none) == [("the heuristic's grouping leaves it out", True)]


def test_groups_beside_heudiconv(asks: Asks) -> None:
    """Its own answer on these files, with the file's function, and with keywords."""
    dicoms = pytest.importorskip("heudiconv.dicoms")
    files = sorted(map(str, asks.dicom.iterdir()))
    asks.path.write_text(GROUPING.replace("KEY", "f'{ds.SeriesNumber}{ds.EchoTime:.0f}'"))
    mine = runpy.run_path(str(asks.path))["grouping"]
    theirs = dicoms.group_dicoms_into_seqinfos(list(files), "custom", custom_grouping=mine)
    answers = asks(asks.path.read_text() + NAMED.replace("{s.series_id[0]}", "{s.series_id}"))
    told = {one.path.split("_")[0][1:] for one in answers.named}
    assert told == {info.series_id for info in theirs}
    for keyword in ("SeriesNumber", "Modality", "Manufacturer", "EchoTime"):
        found = dicoms.group_dicoms_into_seqinfos(list(files), "custom", custom_grouping=keyword)
        warned = asks(f"grouping = {keyword!r}\n{ALL}").warnings
        assert len(warned) == (len(found) > 1), keyword
        assert not warned or f"makes {len(found)} sessions" in warned[0]


def test_a_grouping_into_sessions_is_told(asks: Asks) -> None:
    nested = GROUPING.replace("return OrderedDict(", "one = dict(").replace("KEY", "ds.SeriesNumber")
    nested += "    return {key.series_id: {key: value} for key, value in one.items()}\n"
    answers = asks(nested + NAMED)
    assert sorted(paths(answers)) == [("x1_mine_3", ()), ("x2_mine_6", ())]
    (warning,) = answers.warnings
    assert "grouping makes 2 sessions of these series (2; 1); what counts is the studies table" in warning
    by_keyword = "grouping = %r\n" + NAMED
    (warning,) = asks(by_keyword % "SeriesNumber").warnings
    assert "grouping by 'SeriesNumber' makes 2 sessions of these series (1-" in warning
    for one in ("all", "studyUID", "accession_number", "Modality"):
        assert asks(by_keyword % one).warnings == (), one
    assert "no keyword of DICOM" in asks(by_keyword % "Acquired").warnings[0]


@pytest.mark.parametrize(
    ("returned", "told"),
    [
        ("[1]", "grouping returns no dict of seqinfo objects"),
        ("{'a': 1}", "grouping returns no dict of seqinfo objects"),
        ("{'a': {'b': []}}", "grouping returns no dict of seqinfo objects"),
        ("1 / 0", "grouping fails: ZeroDivisionError: division by zero (mine.py, line 1)"),
        ("{seqinfo(*range(28)): []}", "gives 2 no files"),
        ("{seqinfo(*range(28)): ['/else']}", "gives 2 files that it was not given"),
        ("{seqinfo(n, *range(27)): [f] for n, f in enumerate(files[:3])}", "gives the id 1 twice"),
    ],
)
def test_groupings_that_are_none(asks: Asks, returned: str, told: str) -> None:
    assert told in asks.error(f"def grouping(files, dcmfilter, seqinfo): return {returned}\n{ALL}")


# ------------------------------------------------------------------------------------------ default fields


def test_fields_of_the_dataset(asks: Asks, tmp_path: Path) -> None:
    def told(text: str) -> dict[str, Json]:
        asks.path.write_text(text + ALL)
        return default_fields(asks.path)

    assert told("") == {}
    said = {"License": "CC0", "Authors": ["One", "Two"], "Acknowledgements": "All"}
    assert told(f"DEFAULT_FIELDS = dict({said!r}, Funding='A grant', Name='x')\n") == {
        **said,
        "Funding": ["A grant"],
    }
    (tmp_path / "base.py").write_text(f"DEFAULT_FIELDS = {said!r}\n")
    assert told("from base import *\n") == said
    assert asks(f"DEFAULT_FIELDS = {said!r}\n{ALL}").warnings == ()
    assert "not used: 'Name'; used are License" in asks("DEFAULT_FIELDS = {'Name': 'x'}\n" + ALL).warnings[0]
    assert "'License' is not a text" in asks.error("DEFAULT_FIELDS = {'License': ['x']}\n" + ALL)
    assert "is a list, not a dict" in asks.error("DEFAULT_FIELDS = ['License']\n" + ALL)


def test_another_ending_of_sidecars_is_told(asks: Asks) -> None:
    assert asks("scaninfo_suffix = '.json'\n" + ALL).warnings == ()
    assert "sidecars end in '.json'" in asks("scaninfo_suffix = '.scan'\n" + ALL).warnings[0]


# ---------------------------------------------------------------------------------------------- no end


@pytest.fixture
def patient(monkeypatch: pytest.MonkeyPatch) -> None:
    """However busy the machine is: where the code was is told before the watchdog ends it."""
    monkeypatch.setattr("pacs2bids.dialects.isolated.GRACE_S", 60)


# the signal of the limit, in the loop itself: of a real limit nobody knows how far a busy machine is then
OVER = "__import__('signal').raise_signal(14)"


@pytest.mark.usefixtures("patient")
@pytest.mark.parametrize(
    ("text", "words"),
    [
        (
            f"def infotodict(seqinfo):\n    for s in seqinfo:\n        while s.dim1: {OVER}\n",
            "after 60 s it is still running (mine.py, line 3; s.dim1 is 4)",
        ),
        (
            f"def infotodict(seqinfo):\n    while True:\n        try:\n            {OVER}\n"
            "        except:\n            pass\n",
            "after 60 s it is still running (mine.py, line 4)",
        ),
        (f"while True:\n    {OVER}\n", "after 60 s it is still running (mine.py, line 2)"),
        ("def infotodict(seqinfo):\n    while True: pass\n", "after 0.3 s it is still running ("),
        ("while True:\n    pass\n", "after 0.3 s it is still running ("),
        ("import os\nos._exit(0)\n", "its process ended without an answer (exit code 0)"),
        ("import os, signal\nos.kill(os.getpid(), signal.SIGKILL)\n", "its process was ended by SIGKILL"),
        (
            "def infotodict(seqinfo):\n    return infotodict(seqinfo)\n",
            "RecursionError: maximum recursion depth exceeded",
        ),
        ("def infotodict(seqinfo):\n    raise SystemExit\n", "SystemExit (mine.py, line 2)"),
    ],
)
def test_code_that_would_end_or_outlast_us(asks: Asks, text: str, words: str) -> None:
    assert words in asks.error(text, limit_s=0.3 if "0.3 s" in words else 60)


def test_a_call_that_lets_no_signal_in_ends_too(asks: Asks, monkeypatch: pytest.MonkeyPatch) -> None:
    # the watchdog comes 0.4 s after the start; the signal, which is too late by itself, while it is kept out
    monkeypatch.setattr("pacs2bids.dialects.isolated.GRACE_S", 0.4 - 60)
    text = """
import signal, time
signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGALRM})
def infotodict(seqinfo):
    signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGALRM})
    signal.setitimer(signal.ITIMER_REAL, 0.01)
    time.sleep(60)
"""
    assert "a call that nothing interrupts" in asks.error(text, limit_s=60)


def test_a_mistake_of_ours_is_told_without_values() -> None:
    def work(_: object) -> int:
        raise KeyError("Phantom^One")

    with pytest.raises(HeuristicError, match="defect of pacs2bids") as caught:
        isolated(work, int, where="mine.py")
    assert caught.value.what.startswith("could not be asked: KeyError (test_heudiconv_hooks.py, line ")


LEFT_BEHIND = """
import os, time
def infotodict(seqinfo):
    if %s:
        open(__file__ + ".pid", "w").write(str(os.getpid()))
        time.sleep(300)
    return {("x", "nii"): [seqinfo[0].series_id]}
"""


def test_a_process_that_is_left_behind_is_not_waited_for(asks: Asks) -> None:
    """A fork that goes on, and one that returns as if it were asked."""
    assert paths(asks("import os\nos.fork()\n" + LEFT_BEHIND % "False")) == [("x", ())]
    answers = asks(LEFT_BEHIND % "os.fork() == 0")
    told, start = asks.path.with_name("mine.py.pid"), time.monotonic()
    while not (told.exists() and told.read_text()):
        assert time.monotonic() < start + 60
        time.sleep(0.01)
    os.kill(int(told.read_text()), signal.SIGKILL)  # it is still there
    assert paths(answers) == [("x", ())]
