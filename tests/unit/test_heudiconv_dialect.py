"""heudiconv's contract as its documentation and its users' files have it, and files that fail."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest
from msgspec.structs import replace

from pacs2bids.__main__ import main
from pacs2bids.bids import BidsName
from pacs2bids.dialects import explain
from pacs2bids.dialects.heudiconv import ask
from pacs2bids.dialects.seqinfos import series_to_show
from pacs2bids.dialects.standins import SeqInfo
from pacs2bids.files import write_record
from pacs2bids.model import HeuristicError, Leftover, Reason, SeriesInfo, StudyIndex
from pacs2bids.plan_table import read_plan
from pacs2bids.session import Answers

ROOT = Path(__file__).resolve().parents[2]
STUDY = "1.2.3"

# heudiconv 1.5, documentation, "Heuristics file": the fields in their order
FIELDS = """
total_files_till_now example_dcm_file series_id dcm_dir_name series_files unspecified dim1 dim2 dim3 dim4 TR
TE protocol_name is_motion_corrected is_derived patient_id study_description referring_physician_name
series_description sequence_name image_type accession_number patient_age patient_sex date series_uid
time custom
"""


def series(number: int, protocol: str, *, study: str = STUDY, **fields: object) -> SeriesInfo:
    known: dict[str, object] = {
        "series_key": f"{number:03d}",
        "study_instance_uid": study,
        "series_instance_uid": f"{study}.{number}",
        "series_number": number,
        "modality": "MR",
        "acquired": f"2026-01-02T10:{number:02d}:00",
        "instances": 10,
        "stack_ids": (f"{number:03d}-1",),
        "example_path": f"{study}.{number}/1.dcm",
        "dims": (64, 64, 10, 1),
        "series_files": 10,
        "series_description": protocol,
        "protocol_name": protocol,
        "image_type": ("ORIGINAL", "PRIMARY", "M"),
    }
    return SeriesInfo(**(known | fields))  # type: ignore[arg-type]


def index(*infos: SeriesInfo, leftovers: tuple[Leftover, ...] = ()) -> StudyIndex:
    return StudyIndex(
        engine_version="0",
        study_instance_uid=infos[0].study_instance_uid,
        instances=1,
        series=infos,
        stacks=(),
        leftovers=leftovers,
    )


SESSION = index(series(1, "T1w"), series(2, "bold"), series(3, "bold"), series(4, "odd", image_type=()))


def asked(path: Path, *studies: StudyIndex, session: str = "a") -> Answers:
    return ask(path, studies or [SESSION], subject="01", session=session)


def paths(answers: Answers) -> dict[str, str]:
    return {one.series_instance_uid.rpartition(".")[2]: one.path for one in answers.named}


def heuristic(folder: Path, body: str, *, head: str = "") -> Path:
    """A file whose ``infotodict`` is ``body``."""
    path = folder / "mine.py"
    lines = "\n".join("    " + line for line in body.strip().splitlines())
    path.write_text(f"{head}\ndef infotodict(seqinfo):\n{lines}\n")
    return path


def said(path: Path, *studies: StudyIndex, session: str = "a") -> str:
    with pytest.raises(HeuristicError) as caught:
        asked(path, *studies, session=session)
    return str(caught.value)


# ---------------------------------------------------------------------------------------------- what it sees


def test_fields_and_their_order() -> None:
    assert list(SeqInfo._fields[:28]) == FIELDS.split()
    assert SeqInfo._fields[27] == "custom"  # ours come behind


def test_series_as_heudiconv_counts_them() -> None:
    one = series(
        12,
        "bold",
        repetition_time_s=2.0,
        echo_time_ms=30.0,
        dims=(64, 64, 30, 200),
        series_files=200,
        sequence_name="epfid2d1_64",
        is_derived=False,
        date="20260102",
        time="101112.5",
    )
    infos = [shown.info for shown in series_to_show([index(one, series(2, "T1w"))])]
    assert [info.series_id for info in infos] == ["2-T1w", "12-bold"]  # by number, not by letters
    bold = infos[1]
    assert bold[0] == bold.total_files_till_now == 210
    assert (bold.example_dcm_file, bold.dcm_dir_name) == ("1.dcm", "1.2.3.12")
    assert bold[6:10] == (64, 64, 30, 200)
    assert (bold.TR, bold.TE) == (2.0, 30.0)
    assert (infos[0].TR, infos[0].TE) == (-1.0, -1.0)
    assert (bold.date, bold.time, bold.series_uid) == ("20260102", "101112.5", "1.2.3.12")
    assert bold.unspecified == ""
    assert bold.custom is None


def test_ids_are_unique_over_repeated_numbers_and_studies() -> None:
    twice = replace(series(2, "bold"), series_key="002b", series_instance_uid=f"{STUDY}.99")
    later = index(series(2, "bold", study="9.9", acquired="2026-01-03T09:00:00"))
    ids = [one.info.series_id for one in series_to_show([later, index(series(2, "bold"), twice)])]
    assert ids == ["2-bold", "2-bold+2", "2-bold+3"]
    assert series_to_show([later, index(twice)])[-1].series.study_instance_uid == "9.9"  # the later study


def test_only_series_with_pictures_are_shown() -> None:
    leftovers = (
        Leftover(path="a", reason=Reason.NO_IMAGE, detail="", series_instance_uid=f"{STUDY}.2"),
        Leftover(path="b", reason=Reason.INCOMPLETE, detail="", series_instance_uid=f"{STUDY}.3"),
    )
    session = index(
        series(1, "T1w"),
        series(2, "report", stack_ids=()),
        series(3, "bold", stack_ids=()),
        series(99, "Phoenix", series_description="PhoenixZIPReport", stack_ids=()),
        leftovers=leftovers,
    )
    assert [one.info.series_id for one in series_to_show([session])] == [
        "1-T1w",
        "3-bold",
        "99-Phoenix",
    ]


# ---------------------------------------------------------------------------------------------- answers

NAMES = """
path = "{bids_subject_session_dir}/func/{bids_subject_session_prefix}_task-rest_run-{item:02d}_bold"
bold = (path, ("nii.gz",), None)
info = {bold: []}
for s in seqinfo:
    if s.protocol_name == "bold":
        info[bold].append(s.series_id)
return info
"""


def test_the_common_form(tmp_path: Path) -> None:
    answers = asked(heuristic(tmp_path, NAMES))
    assert paths(answers) == {
        "2": "sub-01/ses-a/func/sub-01_ses-a_task-rest_run-01_bold",
        "3": "sub-01/ses-a/func/sub-01_ses-a_task-rest_run-02_bold",
    }
    assert answers.unanswered == ()
    assert answers.warnings == ()


def test_without_a_session(tmp_path: Path) -> None:
    answers = asked(heuristic(tmp_path, NAMES), session="")
    assert paths(answers)["2"] == "sub-01/func/sub-01_task-rest_run-01_bold"


def test_every_kind_of_item_and_field(tmp_path: Path) -> None:
    body = """
return {
    ("a/{subject}/{session}/{item}/{subindex}/{seqitem}", "nii.gz"): ["1-T1w", ["2-bold", "3-bold"]],
    ("b/{item}/{label}", ("nii", "dicom"), None): [{"item": "4-odd", "label": "x", "subject": "99"}],
    ("c/{subject}", ("nii.gz",), None): [{"item": "1-T1w", "stack": 2}],
    ("d", ("nii.gz",), None): [],
}
"""
    answers = asked(heuristic(tmp_path, body))
    assert [one.path for one in answers.named] == [
        "a/01/ses-a/1/1/1-T1w",
        "a/01/ses-a/2/1/2-bold",
        "a/01/ses-a/2/2/3-bold",
        "b/1/x",
        "c/01",
    ]
    assert [one.stack for one in answers.named] == [None, None, None, None, 2]
    assert [one.sourcedata for one in answers.named] == ["", "", "", "sourcedata/b/1/x", ""]


def test_what_an_item_adds_to_the_sidecar_and_says_of_its_volumes(tmp_path: Path) -> None:
    def of(words: str) -> Path:
        item = f'{{"item": "1-T1w", {words}}}'
        return heuristic(tmp_path, f'return {{("sub-01_asl", ("nii.gz",), None): [{item}]}}')

    (answer,) = asked(of('"sidecar": {"M0Type": "Absent"}, "volume_types": ["control", "label"]')).named
    assert answer.metadata == {"M0Type": "Absent"}
    assert answer.volume_types == ("control", "label")
    for wrong, told in (
        ('"sidecar": {1: object()}', "'sidecar'"),
        ('"sidecar": {"EchoTime": [float("nan")]}', "not {'EchoTime': [nan]}"),
        ('"volume_types": ["tag"]', "m0scan"),
    ):
        assert told in said(of(wrong))


def test_what_cannot_be_made_of_a_series(tmp_path: Path) -> None:
    answers = asked(heuristic(tmp_path, 'return {("a", ("nii.gz", "mgz")): ["1-T1w"]}'))
    assert paths(answers) == {"1": "a"}
    assert answers.warnings == ("'a' asks for the unknown outtype 'mgz' (known: dicom, nii, nii.gz)",)
    assert "unknown outtype 'mgz'" in said(heuristic(tmp_path, 'return {("a", "mgz"): ["1-T1w"]}'))


def test_reserved_fields_win_over_those_of_an_item(tmp_path: Path) -> None:
    body = 'return {("{subject}_{item}", "nii.gz"): [{"item": "1-T1w", "subject": "99"}]}'
    assert paths(asked(heuristic(tmp_path, body))) == {"1": "01_1"}


def test_dicom_alone_has_no_volume(tmp_path: Path) -> None:
    (one,) = asked(heuristic(tmp_path, 'return {("a", ("dicom",), None): ["1-T1w"]}')).named
    assert (one.path, one.sourcedata) == ("", "sourcedata/a")


def test_the_line_that_named_a_series(tmp_path: Path) -> None:
    head = """
def give(info, key, one):
    info[key].append(one)

"""
    body = """
t1, bold, odd = ("b", "nii"), ("c{item}", "nii"), ("d", "nii")
info = {t1: [], bold: []}
for s in seqinfo:
    if s.protocol_name == "bold":
        give(info, bold, s.series_id)
    elif s.protocol_name == "T1w":
        info[t1] = [s.series_id]
info[odd] = [s.series_id for s in seqinfo if s.protocol_name == "odd"]
return info
"""
    answers = asked(heuristic(tmp_path, body, head=head))
    lines = {one.path: one.origin for one in answers.named}
    assert lines == {
        "b": "mine.py, line 13",
        "c1": "mine.py, line 11",
        "c2": "mine.py, line 11",
        "d": "mine.py, line 14",
    }


def test_a_session_without_series_asks_nothing(tmp_path: Path) -> None:
    empty = replace(SESSION, series=())
    assert asked(heuristic(tmp_path, "return seqinfo[0]"), empty).named == ()


WRONG_ANSWERS = [
    ("pass", "it returns nothing (is there a 'return info'?)"),
    ("return [1]", "it returns a list"),
    ('return {"anat/x": ["1-T1w"]}', "the key 'anat/x' is not (template, outtypes, annotation)"),
    ('return {("a", "nii.gz"): "1-T1w"}', "write a list, as in [s.series_id]"),
    ('return {("a", "nii.gz"): ["7-x"]}', "unknown series id '7-x' (known: 1-T1w, 2-bold, 3-bold, 4-odd)"),
    ('return {("a{label}", "nii.gz"): ["1-T1w"]}', "it uses {label}, which is no field"),
    ('return {("a{item:zz}", "nii.gz"): ["1-T1w"]}', "cannot be filled in"),
    ('return {("a{}", "nii.gz"): ["1-T1w"]}', "cannot be filled in"),
    ('return {("a", "nii.gz"): [{"item": "1-T1w", "stack": "x"}]}', "'stack' is a whole number"),
]


@pytest.mark.parametrize(("body", "words"), WRONG_ANSWERS)
def test_an_answer_outside_the_contract(tmp_path: Path, body: str, words: str) -> None:
    text = said(heuristic(tmp_path, body))
    assert words in text
    assert "mine.py" in text


def test_all_wrong_answers_are_told_at_once(tmp_path: Path) -> None:
    text = said(heuristic(tmp_path, 'return {("a{x}", "nii.gz"): ["1-T1w", "8-y"], ("b", "nii.gz"): "c"}'))
    assert "{x}" in text
    assert "'8-y'" in text
    assert "'c'" in text


def test_a_session_that_is_not_there(tmp_path: Path) -> None:
    path = heuristic(tmp_path, 'return {("sub-{subject}/{session}/x", "nii.gz"): ["1-T1w"]}')
    assert paths(asked(path)) == {"1": "sub-01/ses-a/x"}
    assert "it uses {session}, but this study has none" in said(path, session="")


# ---------------------------------------------------------------------------------------------- the file


def test_imports_of_users_files_resolve(tmp_path: Path) -> None:
    (tmp_path / "sibling_of_mine.py").write_text("NAME = 'from-a-sibling'\n")
    head = """
from __future__ import annotations
from typing import Optional
import logging, os
import numpy as np
from heudiconv.due import due, Doi, BibTeX
from heudiconv.utils import SeqInfo, StudySessionInfo, save_json, set_readonly
from sibling_of_mine import NAME
import dataclasses

@dataclasses.dataclass
class Own:
    name: Optional[str] = None

@due.dcite(Doi("10.0/0"), path="x", description="y")
def helper(s: SeqInfo) -> str:
    return NAME
"""
    body = """
assert os.path.basename(filename) == "mine.py"
return {(helper(s) + "{item}", "nii.gz"): [s.series_id] for s in seqinfo[:1]}
"""
    assert paths(asked(heuristic(tmp_path, body, head=head))) == {"1": "from-a-sibling1"}
    assert not (tmp_path / "__pycache__").exists()


def test_a_file_that_changes_reproin(tmp_path: Path) -> None:
    path = tmp_path / "mine.py"
    path.write_text("""
from heudiconv.heuristics import reproin
from heudiconv.heuristics.reproin import *

protocols2fix.update({"": [("^bold$", "func_task-rest_run+"), ("^T1w$", "anat-T1w")]})
assert reproin.protocols2fix is protocols2fix
""")
    for _ in range(2):  # what one run changed the next does not see
        answers = asked(path)
        assert {one.path.rpartition("/")[2] for one in answers.named} == {
            "sub-01_ses-a_T1w",
            "sub-01_ses-a_task-rest_run-01_bold",
            "sub-01_ses-a_task-rest_run-02_bold",
        }


def test_what_only_heudiconv_has_comes_from_it(tmp_path: Path) -> None:
    pytest.importorskip("heudiconv")
    head = """
from heudiconv.utils import SeqInfo, get_typed_attr
from heudiconv.bids import sanitize_label
from heudiconv.heuristics.convertall import infotodict as theirs
"""
    body = """
assert type(seqinfo[0]) is SeqInfo
assert SeqInfo.__module__.startswith("pacs2bids")
assert sanitize_label("a_b") == "ab"
return theirs(seqinfo)
"""
    answers = asked(heuristic(tmp_path, body, head=head))
    assert paths(answers)["1"] == "run001"


def test_an_edit_within_the_same_second_is_seen(tmp_path: Path) -> None:
    for name in ("one", "two"):
        path = heuristic(tmp_path, f'return {{("{name}", "nii.gz"): ["1-T1w"]}}')
        assert paths(asked(path)) == {"1": name}


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("def infotodict(seqinfo)\n    return {}\n", "SyntaxError: expected ':' (mine.py, line 1)"),
        (
            "import os\nimport no_such_module_here\n",
            "No module named 'no_such_module_here' (mine.py, line 2)",
        ),
        ("from heudiconv.utils import no_such_name\n", "cannot import name 'no_such_name'"),
        ("import sys\nsys.exit(3)\n", "SystemExit: 3 (mine.py, line 2)"),
        ("x = 1 / 0\n", "ZeroDivisionError: division by zero (mine.py, line 1)"),
        ("def infotodicts(seqinfo): pass\n", "has no function infotodict"),
    ],
)
def test_a_file_that_cannot_be_loaded(tmp_path: Path, text: str, words: str) -> None:
    path = tmp_path / "mine.py"
    path.write_text(text)
    assert words in said(path)


def test_a_missing_file(tmp_path: Path) -> None:
    assert "no such heuristic file" in said(tmp_path / "none.py")


def test_prints_do_not_reach_standard_output(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    asked(heuristic(tmp_path, "print('hello')\nreturn {}"))
    captured = capfd.readouterr()
    assert captured.out == ""
    assert "hello" in captured.err


# ---------------------------------------------------------------------------------------------- odd series

TRIPS = """
key = ("x{item}", "nii.gz")
info = {key: []}
for s in seqinfo:
    if s.image_type[2] == "M":
        info[key].append(s.series_id)
return info
"""


def test_a_series_on_which_the_file_trips_is_set_aside(tmp_path: Path) -> None:
    answers = asked(heuristic(tmp_path, TRIPS))
    assert paths(answers) == {"1": "x1", "2": "x2", "3": "x3"}
    (odd,) = answers.unanswered
    assert odd.series_instance_uid == f"{STUDY}.4"
    assert odd.reason == (
        "the heuristic fails on this series: IndexError: tuple index out of range "
        "(mine.py, line 6; s.image_type is ())"
    )


def test_several_odd_series_in_a_helper(tmp_path: Path) -> None:
    session = index(*SESSION.series, series(5, "odd", image_type=("DERIVED",)), series(6, "T1w"))
    helper = "def third(one):\n    return one.image_type[2]\n"
    body = 'return {("x{item}", "nii.gz"): [s.series_id for s in seqinfo if third(s)]}'
    answers = asked(heuristic(tmp_path, body, head=helper), session)
    assert list(paths(answers)) == ["1", "2", "3", "6"]
    assert [one.series_instance_uid for one in answers.unanswered] == [f"{STUDY}.4", f"{STUDY}.5"]
    assert [one.origin for one in answers.unanswered] == ["mine.py, line 2"] * 2
    assert "one.image_type is ('DERIVED',)" in answers.unanswered[1].reason


def test_an_odd_series_that_no_variable_holds(tmp_path: Path) -> None:
    body = 'return {("x{item}", "nii.gz"): [seqinfo[i][2] for i in range(len(seqinfo)) if seqinfo[i][20][2]]}'
    path = heuristic(tmp_path, body)
    answers = asked(path)
    assert list(paths(answers)) == ["1", "2", "3"]
    assert len(answers.unanswered) == 1
    two = index(*SESSION.series, series(5, "odd", image_type=("DERIVED",)), series(6, "T1w"))
    answers = asked(path, two)
    assert list(paths(answers)) == ["1", "2", "3", "6"]
    assert [one.series_instance_uid for one in answers.unanswered] == [f"{STUDY}.4", f"{STUDY}.5"]


def test_state_of_a_failed_call_does_not_leak(tmp_path: Path) -> None:
    body = TRIPS.replace("info = {key: []}", "info = FOUND\ninfo.setdefault(key, [])")
    answers = asked(heuristic(tmp_path, body, head="FOUND = {}"))
    assert paths(answers) == {"1": "x1", "2": "x2", "3": "x3"}


def test_a_failure_on_every_series_is_an_error(tmp_path: Path) -> None:
    text = said(heuristic(tmp_path, "for s in seqinfo:\n    {}[s.series_id]"))
    assert "KeyError: '1-T1w' (mine.py, line 4" in text
    assert "on every series" in text


@pytest.mark.parametrize(
    ("line", "words"),
    [
        ("bolt", "NameError: name 'bolt' is not defined"),
        ("later; later = 1", "UnboundLocalError: "),
        ("s.no_such_field", "'SeqInfo' object has no attribute 'no_such_field'"),
        ("import os; os.pth", "module 'os' has no attribute 'pth'"),
        ("import no_such_module_here", "No module named 'no_such_module_here'"),
    ],
)
def test_a_mistake_of_the_file_is_no_odd_series(tmp_path: Path, line: str, words: str) -> None:
    """Even if it is met on one series alone: what was placed would vanish."""
    text = said(heuristic(tmp_path, f"for s in seqinfo:\n    if not s.image_type: {line}\nreturn {{}}"))
    assert words in text
    assert "(mine.py, line " in text
    assert "no series' fault" in text


@pytest.mark.parametrize("line", ["{}[1]", "int('x')", "None + 1", "None.lower()", "len(1, 2)"])
def test_other_failures_set_a_series_aside(tmp_path: Path, line: str) -> None:
    body = f"for s in seqinfo:\n    if not s.image_type: {line}\nreturn {{}}"
    (odd,) = asked(heuristic(tmp_path, body)).unanswered
    assert odd.series_instance_uid == f"{STUDY}.4"


def test_a_failure_that_is_no_series_fault_blames_none(tmp_path: Path) -> None:
    text = said(heuristic(tmp_path, "for s in seqinfo:\n    pass\nassert len(seqinfo) < 3, 'too many'"))
    assert "AssertionError: too many (mine.py, line 5)" in text
    assert "No single series is to blame" in text


def test_a_good_file_is_loaded_once(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "late_sibling.py").write_text("")
    asked(heuristic(tmp_path, "import late_sibling\nreturn {}", head="print('loaded')"))
    assert capfd.readouterr().err == "loaded\n"


# ---------------------------------------------------------------------------------------------- explain

BRANCHES = """
def is_rest(name):
    if "bold" in name and not name.startswith("x"):
        return True
    return False

def infotodict(seqinfo):
    t1, rest, odd = ("t1", "nii"), ("rest{item}", "nii"), ("odd", "nii")
    info = {t1: [], rest: []}
    for s in seqinfo:
        if s.image_type and s.dim1 == 64 and s.protocol_name == "T1w":
            info[t1].append(s.series_id)
        elif is_rest(s.protocol_name) and (s.dim4 > 10 or s.TR < 0) and not s.series_files < 5:
            if s.dim2:
                info[rest].append(s.series_id)
    info[odd] = [s.series_id for s in seqinfo if s.series_description == "odd" and s.patient_id]
    return info
"""


def explained(path: Path, number: int, *studies: StudyIndex) -> list[tuple[str, bool, int, str]]:
    tried = explain(path, studies or [SESSION], subject="01", session="", series=(STUDY, f"{STUDY}.{number}"))
    return [(one.origin.rpartition(" ")[2], one.took, one.met, one.failed) for one in tried]


def test_each_condition_tells_what_it_met(tmp_path: Path) -> None:
    path = tmp_path / "mine.py"
    path.write_text(BRANCHES)
    is_odd = ("16", False, 0, "s.series_description == 'odd' (s.series_description is '%s')")
    assert explained(path, 1) == [("11", True, 3, ""), (*is_odd[:3], is_odd[3] % "T1w")]
    assert explained(path, 2) == [
        ("3", False, 2, ""),
        ("11", False, 2, "s.protocol_name == 'T1w' (s.protocol_name is 'bold')"),
        ("13", False, 3, ""),
        ("14", True, 1, ""),
        (*is_odd[:3], is_odd[3] % "bold"),
    ]
    short = index(series(2, "bold", dims=(64, 64, 10, 3), repetition_time_s=2.0))
    assert explained(path, 2, short)[2] == (
        "13",
        False,
        1,
        "s.dim4 > 10 or s.TR < 0 (s.dim4 is 3; s.TR is 2.0)",
    )
    assert explained(path, 4)[-1] == ("16", False, 1, "s.patient_id")  # a person's: no value
    assert paths(asked(path)) == {"1": "t1", "2": "rest1", "3": "rest2"}


def test_a_method_tells_what_it_was_called_of(tmp_path: Path) -> None:
    path = heuristic(
        tmp_path,
        "for s in seqinfo:\n    name = s[12]\n    if not name.startswith('b'):\n        pass\nreturn {}",
    )
    assert explained(path, 2) == [("5", False, 0, "not name.startswith('b') (name is 'bold')")]


def test_a_series_that_fails_is_explained_by_that(tmp_path: Path) -> None:
    (told,) = explained(heuristic(tmp_path, TRIPS), 4)
    assert told[:3] == ("6", False, 0)
    assert "IndexError" in told[3]


# ---------------------------------------------------------------------------------------------- privacy

WHO = {
    "patient_id": "0012345",
    "accession_number": "ACC\\7788",
    "referring_physician_name": "Phantom^Physician",
}
KNOWN = index(series(1, "T1w", **WHO), series(2, "bold", **WHO))  # type: ignore[arg-type]


def nobody(text: str) -> bool:
    words = ("12345", "7788", "phantom", "physician^", "^physician")
    return not any(word in text.lower() for word in words)


@pytest.mark.parametrize(
    ("line", "shown"),
    [
        ("{}[s.patient_id]", "KeyError: '<patient_id>' (mine.py, line 4)"),
        ("{}[int(s.patient_id)]", "KeyError: <patient_id> (mine.py, line 4)"),
        ("{}[s.accession_number]", "KeyError: '<accession_number>' (mine.py, line 4)"),
        (
            "raise ValueError(s.referring_physician_name.lower().split('^')[0])",
            "ValueError: <referring_physician_name> (mine.py, line 4)",
        ),
        ("assert s.patient_age, s", "AssertionError: SeqInfo("),
        ("eval(f'sub{s.patient_id} x')", "SyntaxError: invalid syntax"),
    ],
)
def test_an_exception_shows_its_kind_and_line_and_no_identity(tmp_path: Path, line: str, shown: str) -> None:
    text = said(heuristic(tmp_path, f"for s in seqinfo:\n    {line}"), KNOWN)
    assert shown in text
    assert nobody(text)


@pytest.mark.parametrize(
    "taken",
    [
        "s.patient_id.split('_')[0]",
        "s.patient_id.split('-')[1]",
        "int(s.patient_id.split('-')[1])",
        "s.patient_id.replace('_', ' ').replace('-', '.').lower()",
        "'sub' + ''.join(one for one in s.patient_id if one.isalnum())",
        "s.accession_number[2:]",
        "s.accession_number.partition('5')[0]",
    ],
)
def test_parts_of_an_identity_are_not_shown(tmp_path: Path, taken: str) -> None:
    one = index(series(1, "T1w", patient_id="PHANTOM_ONE-0057", accession_number="AC56789"))
    text = said(heuristic(tmp_path, f"for s in seqinfo:\n    {{}}[{taken}]"), one)
    text = text.replace(str(tmp_path), "")  # its numbers are nobody's
    assert "KeyError: " in text
    assert not any(part in text.lower() for part in ("phantom", "one", "57", "789", "'ac"))


def test_words_that_are_nobodys_stay(tmp_path: Path) -> None:
    one = index(series(1, "T1w", patient_id="sub-0057_test"))
    text = said(heuristic(tmp_path, "raise KeyError('latest sub-{subject}', seqinfo[0].patient_id)"), one)
    assert "KeyError: ('latest sub-{subject}', '<patient_id>')" in text


def test_a_series_set_aside_shows_no_identity(tmp_path: Path) -> None:
    body = "ages = {'': 3}\nfor s in seqinfo:\n    ages[s.patient_id]\nreturn {}"
    (odd,) = asked(heuristic(tmp_path, body), index(series(1, "T1w"), *KNOWN.series[1:])).unanswered
    assert "KeyError: '<patient_id>' (mine.py, line 5)" in odd.reason
    assert nobody(odd.reason)


def test_a_short_id_is_blanked_as_a_word_of_its_own(tmp_path: Path) -> None:
    one = index(series(1, "T1w", patient_id="E1"))
    text = said(heuristic(tmp_path, "raise KeyError(seqinfo[0].patient_id, 'E10')"), one)
    assert "KeyError: ('<patient_id>', 'E10') (mine.py, line 3)" in text


def test_what_a_file_prints_or_logs_shows_no_identity(
    tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    body = """
import logging, sys
print("who:", seqinfo[0].patient_id, seqinfo[0].referring_physician_name)
sys.stderr.write(seqinfo[0].accession_number[:4])
sys.stderr.write(seqinfo[0].accession_number[4:] + "!")
logging.getLogger("mine").warning("of %s", seqinfo[0].patient_id)
return {}
"""
    asked(heuristic(tmp_path, body), KNOWN)
    captured = capfd.readouterr()
    assert captured.out == ""
    assert "who: <patient_id> <referring_physician_name>" in captured.err
    assert "<accession_number>!" in captured.err
    assert nobody(captured.err)


def test_an_answer_that_cannot_be_used_shows_no_identity(tmp_path: Path) -> None:
    text = said(heuristic(tmp_path, 'return {("a", "nii.gz"): [s.patient_id for s in seqinfo]}'), KNOWN)
    assert "unknown series id '<patient_id>' (known: 1-T1w, 2-bold)" in text
    assert nobody(text)


# ------------------------------------------------------------------------------------------- our heuristics


def test_the_demo_names_the_phantom() -> None:
    session = index(
        series(1, "localizer"),
        series(2, "T1w_MPRAGE"),
        series(3, "gre_field_mapping"),
        series(4, "gre_field_mapping", image_type=("ORIGINAL", "PRIMARY", "P", "ND")),
        series(5, "fmap_epi_dir-PA"),
        series(6, "func_task-rest_bold", series_description="func_task-rest_bold_SBRef"),
        series(7, "func_task-rest_bold"),
        series(8, "dwi_dir-AP"),
    )
    answers = asked(ROOT / "heuristics" / "demo.py", session)
    assert {key: path.rpartition("/")[2] for key, path in paths(answers).items()} == {
        "2": "sub-01_ses-a_run-1_T1w",
        "3": "sub-01_ses-a_run-1_magnitude",
        "4": "sub-01_ses-a_run-1_phasediff",
        "5": "sub-01_ses-a_dir-PA_run-1_epi",
        "6": "sub-01_ses-a_task-rest_run-1_sbref",
        "7": "sub-01_ses-a_task-rest_run-1_bold",
        "8": "sub-01_ses-a_dir-AP_run-1_dwi",
    }
    for path in paths(answers).values():
        BidsName.parse(path.replace("magnitude", "magnitude1"))


# ---------------------------------------------------------------------------------------------- the verb


def test_the_verb_writes_the_table_and_one_line(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    write_record(
        tmp_path / "study" / "index.json", replace(SESSION, series=(series(1, "T1w", stack_ids=()),))
    )
    path, out = heuristic(tmp_path, "return {}"), tmp_path / "sub-01_ses-a"
    words = ["--heuristic", str(path), "--subject", "01", "--session", "a", "--out", str(out)]
    assert main(["plan", *words, str(tmp_path / "study")]) == 0
    assert (
        capfd.readouterr().out == "sub-01_ses-a: 0 of 0 stacks named, 0 skipped, 1 series without volumes\n"
    )
    (row,) = read_plan(out / "plan.tsv")
    assert row.reason.startswith("no volume in it")


@pytest.mark.parametrize(
    ("words", "said_of_it", "code"),
    [
        (["--subject", "0_1"], "the label '0_1' of 'sub'", 2),
        (["--subject", "01", "--session", "a-b"], "the label 'a-b' of 'ses'", 2),
        (["again", "--subject", "01"], "is there 2 times", 2),
        (["--subject", "01"], "infotodict fails", 1),
    ],
)
def test_the_verb_fails_with_one_error_and_no_table(
    tmp_path: Path, capfd: pytest.CaptureFixture[str], words: list[str], said_of_it: str, code: int
) -> None:
    write_record(tmp_path / "study" / "index.json", SESSION)
    path, out = heuristic(tmp_path, "raise ValueError(seqinfo[0].series_id)"), tmp_path / "out"
    study = str(tmp_path / "study")
    words = [study if word == "again" else word for word in words]
    assert main(["plan", "--heuristic", str(path), "--out", str(out), study, *words]) == code
    captured = capfd.readouterr()
    assert captured.out == ""
    assert said_of_it in captured.err
    assert "Traceback" not in captured.err
    assert not (out / "plan.tsv").exists()


def test_a_plan_needs_no_heavy_library(tmp_path: Path) -> None:
    write_record(tmp_path / "index.json", SESSION)
    path = heuristic(tmp_path, NAMES)
    program = (
        "import sys; from pacs2bids.__main__ import main; "
        f"code = main(['plan', {str(tmp_path)!r}, '--heuristic', {str(path)!r}, '--subject', '01', "
        f"'--out', {str(tmp_path / 'out')!r}]); "
        "print(sorted({'pandas', 'numpy', 'nibabel', 'pydicom'} & set(sys.modules)), code)"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert done.stdout.splitlines()[-1] == "[] 0"
