"""Mistakes in heuristics that are found without data."""

from __future__ import annotations

from pathlib import Path

import pytest

from pacs2bids.__main__ import main
from pacs2bids.dialects.linting import lint

ROOT = Path(__file__).resolve().parents[2]
BEGIN = "{bids_subject_session_dir}/anat/{bids_subject_session_prefix}"

CREATE_KEY = "create_key = lambda first='', template='': (first or template, ('nii.gz',), None)"
# files, each with what is said of it, and at which line: E an error, W a warning, nothing else
CASES = """
def infotodict(seqinfo)
    return {}
=> E1 is no Python: expected ':'

import numpy
=> E0 has no function infotodict

from common import infotodict

from common import *

def infotodict(seqinfo):
    print(seqinfo)
=> E1 infotodict returns nothing

def infotodict(seqinfo):
    return {}
def infotoid(seqinfos, outdir):
    return {}
filter_file = None
=> W3 'infotoid' is no hook of heudiconv's: nothing calls it. Did you mean 'infotoids'?
=> W5 'filter_file' is no hook of heudiconv's: nothing calls it. Did you mean 'filter_files'?

def infotodict(seqinfo):
    for i, s in enumerate(seqinfo):
        s.protocol_name, s.index, seqinfo[i + 1][9]
        if s.protocol == "x" or s.TI > 3:
            pass
    return {}
=> E4 a series has no field 'protocol'. Did you mean 'protocol_name'?
=> E4 a series has no field 'TI'. There are total_files

import os.path as osp
from json import dumps as told
LIMIT = 3
class Kinds:
    first = LIMIT
    both = [first, LIMIT]
def inner(s, *more, **named):
    global LATER
    LATER = 1
    def deeper():
        nonlocal s
        s = [x for x in more if (y := x) and named]
        return __file__, filename, osp, told, y
    try:
        return Kinds, deeper(), lambda a, b=LIMITS: a + b + c
    except ValueError as error:
        return error, LATER, {k: v for k, v in named.items()}, t1w, __nam__
def infotodict(seqinfo):
    for s in seqinfo:
        if bolt in s.protocol_name:
            del s
    return {}
=> E15 the name 'LIMITS' is not defined. Did you mean 'LIMIT'?
=> E15 the name 'c' is not defined. Define or import it; a text wants quotes
=> E17 the name '__nam__' is not defined
=> E17 the name 't1w' is not defined
=> E20 the name 'bolt' is not defined

t1 = create_key("BEGIN_T1w")
t2 = create_key("BEGIN_run-{item:02d}_T2w")
acq = create_key("BEGIN_acq-{acq}_T2w")
def infotodict(seqinfo):
    info = {t1: [], t2: []}
    for s in seqinfo:
        info[t2].append(s.series_id)
        info[acq].append({"item": s.series_id, "acq": "x"})
        info[t1] = [s.series_id]
    return info

t1 = create_key("BEGIN_T1w")
def infotodict(seqinfo):
    info = {t1: []}
    for s in seqinfo:
        info[t1].append(s.series_id)
        info[t1] += [s.series_id]
    return info
=> W5 't1' takes every series that fits, but its names do not count them. Add 'run-{item}'

KEY = ("BEGIN_T1", ("nii.gz",), None)
def infotodict(seqinfo):
    return {KEY: []}
=> E1 unknown suffix 'T1' for volumes of anat: did you mean T1w?

DIR = "{bids_subject_session_dir}/func"
def infotodict(seqinfo):
    pre = "{bids_subject_session_prefix}"
    rest = create_key(DIR + "/" + pre + f"_run-1_task-rest_bold")
    nback = create_key(template=f"{DIR}/{pre}_tsk-nback_bold")
    none = create_key(f"{DIR}/{pre}_bold")
    return {}
=> E4 the entity 'task' must come before 'run'
=> E5 unknown entity 'tsk': did you mean 'task'?
=> E5 func/*_bold needs the entity 'task'
=> E6 func/*_bold needs the entity 'task'

def bids(datatype, name):
    begin = "{bids_subject_session_dir}/" + datatype
    return (begin + "/{bids_subject_session_prefix}_" + name, ("nii.gz",), None)
ONE = bids("anat", "acq-x_T1w")
TWO = bids("anat", "T1w_acq-y")
def infotodict(seqinfo):
    return {ONE: [], TWO: []}
=> E5 'T1w' is no entity

import no_such_module
def infotodict(seqinfo):
    return {}
=> E1 cannot be loaded: ModuleNotFoundError: No module named 'no_such_module'

POPULATE_INTENDED_FOR_OPTS = {"matching_parameters": "Shim", "criterion": "Closest"}
def custom_callable(*files):
    pass
def infotodict(seqinfo):
    return {}
=> E0 POPULATE_INTENDED_FOR_OPTS holds 'Shim'. Allowed: Shims

scaninfo_suffix = ".scan"
def infotodict(seqinfo):
    return {}[seqinfo[0]]
=> W0 'scaninfo_suffix' is '.scan'

rest = create_key("rsfmri/rest_run{item:03d}/rest")
def infotodict(seqinfo):
    return {rest: []}
=> E1 does not hold the subject

a = create_key("BEGIN_T1w")
b = create_key("BEGIN_T1w")
def infotodict(seqinfo):
    return {}
=> W1 'a' and 'b' have one template

a = create_key("sub-{subject}/anat/sub-{subject}_T1w")
b = create_key("sub-{subject}/anat/sub-{subject}_T2w")
c = create_key("sub-{subject}/{session}/anat/sub-{subject}_{session}_T2w")
d = create_key("sub-{subject}/ses-{session}/anat/sub-{subject}_ses-{session}_T2w")
e = create_key("anat/{subject}_T1w")
def infotodict(seqinfo):
    return {}
=> W1 3 templates, the first 'sub-{subject}/anat/sub-{subject}_T1w', have no session
=> W3 2 templates, the first 'sub-{subject}/{session}/anat/
=> E4 {session} is 'ses-a' already, with 'ses-'
=> E5 'anat/{subject}_T1w': '01' is no entity

a = create_key("BEGIN_{kind}")
b = create_key("BEGIN_acq-{acq_T1w")
c = create_key("BEGIN_acq-{ac}_T1w")
d = create_key("BEGIN_part-{part}_T1w")
e = create_key("BEGIN_T1w.nii.gz")
def infotodict(seqinfo):
    return {a: [{"item": 1, "kind": "T1w", "part": "mag"}]}
=> E2 cannot be filled in: expected '}' before end of string
=> E3 uses {ac}, which nothing here gives. Give it with the item, as in {"item": s.series_id, "ac": ...}
=> E5 leave the extension .nii.gz away

a = create_key("{bids_subject_session_dir}/anat/{bids_subject_session_prefix}_MEGRE")
b = create_key("{bids_subject_session_dir}/fmap/{bids_subject_session_prefix}_phase")
c = create_key("{bids_subject_session_dir}/func/{bids_subject_session_prefix}_task-x_dir-AP_mag-x_bold")
def infotodict(seqinfo):
    return {}
=> E3 unknown entity 'mag'
"""


def cases() -> list[tuple[str, list[str]]]:
    found = []
    for case in CASES.replace("BEGIN", BEGIN).strip().split("\n\n"):
        text, *said = case.split("\n=> ")
        found.append((text + "\n", said))
    return found


def test_each_mistake_is_told_at_its_line_and_nothing_else(tmp_path: Path) -> None:
    path, wrong = tmp_path / "mine.py", []
    (tmp_path / "common.py").write_text("def infotodict(seqinfo):\n    return {}\n")
    for text, said in cases():
        path.write_text(f"{CREATE_KEY}; {text}" if "create_key(" in text else text)
        told = sorted(
            f"{'E' if one.is_error else 'W'}{one.line} {str(one).removeprefix(f'line {one.line}: ')}"
            for one in lint(path)
        )
        is_right = len(told) == len(said) and all(
            line[:3] == wanted[:3] and wanted[3:] in line
            for line, wanted in zip(told, sorted(said), strict=True)
        )
        if not is_right:
            wrong.append((text, told))
    assert wrong == []


def test_the_examples_have_no_mistakes() -> None:
    for name in ("demo.py", "corpus.py", "demo.yaml"):
        assert lint(ROOT / "heuristics" / name) == []


def test_rules_are_linted_by_their_reader(tmp_path: Path) -> None:
    path = tmp_path / "mine.yaml"
    path.write_text(
        """rules:
  - {match: {row: 1}, skip: x}
  - {match: {sidecar.EchoTme: 1, sidecar.MyOwn: 1}, skip: x}
  - {match: {rows: 1, slices: 2}, datatype: anat, suffix: T1w, sidecar: {Instrutions: x, A: null, Me: None}}
  - match: {slices: 2, rows: 1}
    skip: x
  - {match: anything, skip: x}
  - {match: {rows: 5}, skip: x}
"""
    )
    told = [(one.line, one.is_error, one.what, one.hint.partition("?")[0]) for one in lint(path)]
    assert told == [
        (2, True, "the match knows no 'row'", "Did you mean 'rows'"),
        (3, False, "BIDS has no field 'EchoTme'", "Did you mean 'EchoTime'"),
        (4, False, "BIDS has no field 'Instrutions'", "Did you mean 'Instructions'"),
        (4, False, "'Me' becomes the text \"None\"", "Write null to leave the field out"),
        (5, False, "is never asked: the rule of line 4 takes all that it would", told[4][3]),
        (8, False, "is never asked: the rule of line 7 takes all that it would", told[5][3]),
    ]


def test_the_command(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    good, warned, bad = (tmp_path / name for name in ("good.py", "warned.yml", "bad.py"))
    good.write_text("def infotodict(seqinfo):\n    return {}\n")
    warned.write_text("rules:\n  - {match: anything, skip: x}\n  - {match: anything, skip: x}\n")
    bad.write_text("def infotodict(seqinfo):\n    pass\n")
    assert main(["lint", str(good)]) == 0
    assert capsys.readouterr().out == f"{good}: no mistakes found\n"
    assert main(["lint", str(warned)]) == 0
    said = capsys.readouterr()
    assert said.out == f"{warned}: 1 warning\n"
    assert said.err.startswith(f"WARNING: {warned}, line 3: is never asked")
    assert main(["lint", str(good), str(bad)]) == 1
    said = capsys.readouterr()
    assert said.out == ""
    assert f"ERROR: {bad}, line 1: infotodict returns nothing. End it with 'return info'" in said.err
    assert "1 error, 0 warnings" in said.err
    assert main(["lint", str(tmp_path / "none.py")]) == 1
    assert "none.py: cannot be read: No such file" in capsys.readouterr().err
