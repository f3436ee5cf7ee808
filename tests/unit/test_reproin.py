"""ReproIn beside heudiconv's own on the same series: the same answers, but for one table of differences."""

from __future__ import annotations

import logging
import random
import re
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

from pacs2bids.dialects import ask
from pacs2bids.dialects.builtins import reproin
from pacs2bids.dialects.standins import SeqInfo
from pacs2bids.plan import plan_session
from peers.available import unavailable
from rules_sessions import series as a_series
from rules_sessions import session as a_session

M, P = ("ORIGINAL", "PRIMARY", "M", "ND"), ("ORIGINAL", "PRIMARY", "P", "ND")
DIFFUSION = ("ORIGINAL", "PRIMARY", "DIFFUSION", "NONE")
STUDY = "Lab_Phantom^Study"


@pytest.fixture(scope="module")
def theirs() -> ModuleType:
    """heudiconv's heuristic of that name."""
    try:
        from heudiconv.heuristics import reproin as module  # noqa: PLC0415
    except ImportError:
        unavailable("heudiconv is not installed (pip install heudiconv)")
    logging.getLogger("heudiconv").setLevel(logging.CRITICAL)
    return module


def series(number: int, name: str, **fields: Any) -> SeqInfo:
    """One series as a console would send it; ``name`` is that of its protocol."""
    known: dict[str, Any] = {
        "total_files_till_now": number,
        "example_dcm_file": "1.dcm",
        "series_id": f"{number}-{name}",
        "dcm_dir_name": str(number),
        "series_files": 10,
        "unspecified": "",
        **dict.fromkeys(("dim1", "dim2", "dim3", "dim4"), 64),
        "TR": 2.0,
        "TE": 30.0,
        "protocol_name": name,
        "is_motion_corrected": False,
        "is_derived": False,
        "patient_id": "SID-007",
        "study_description": STUDY,
        "referring_physician_name": "",
        "series_description": name,
        "sequence_name": "",
        "image_type": M,
        "accession_number": "A1",
        "patient_age": None,
        "patient_sex": None,
        "date": "20260102",
        "series_uid": f"1.2.{number}",
        "time": f"{100000 + 100 * number}.5",
    }
    return SeqInfo(**(known | fields))


def asked(module: ModuleType, session: list[SeqInfo]) -> object:
    """What ``infotodict`` answers, in order; "raises" if it does not."""
    try:
        return list(module.infotodict(list(session)).items())
    except Exception:  # noqa: BLE001 - heudiconv's raises what it likes
        return "raises"


def short(answer: object, *, with_ids: bool) -> object:
    """Templates without what all of them share, and the numbers of their series."""
    if not isinstance(answer, list):
        return answer
    shared = re.compile(r"{bids_subject_session_(dir}/|prefix}_)")
    numbers = ["".join(f" {one.partition('-')[0]}" for one in ids) if with_ids else "" for _, ids in answer]
    return [shared.sub("", key[0]) + number for (key, _), number in zip(answer, numbers, strict=True)]


# ----------------------------------------------------------------------------------------- the same answers


def words(draw: random.Random, datatype: str) -> list[str]:
    """Entities that a protocol of this datatype may bear, in any order."""
    found = ["task-rest" if datatype.startswith("func") else ""]
    found.append(draw.choice(("", "", "acq-p2", "acq-p2-s4", "acq-3.5mm", "acq-MB+8")))
    found.append(draw.choice(("", "run-1", "run-02", "run-12", "run+", "run=")))
    found.append(draw.choice(("", "", "ses-01", "ses-{date}", "ses-(date)", "ses+", "ses-DATE")))
    found.append("ce-gad" if datatype == "anat" and draw.random() < 0.2 else "")
    if datatype.startswith(("dwi", "fmap")):
        found.append(draw.choice(("dir-AP", "dir-PA")))
    draw.shuffle(found)
    return [word for word in found if word]


def conforming(draw: random.Random, number: int) -> Iterator[SeqInfo]:
    """Series of one protocol: one, or magnitude and phase of a field map."""
    kinds = (
        "func",
        "func-bold",
        "dwi",
        "dwi-dwi",
        "fmap-epi",
        "fmap",
        "anat-T1w",
        "anat-FLAIR",
        "anat-scout",
    )
    kind = draw.choice((*kinds, "anat-FLAIR", "AAHead_Scout", "fieldmap", "t1_mprage"))
    before = draw.choice(("", "", "WIP ", "PU:", "" if kind == "scout" else "bids_"))
    name = "_".join([before + kind, *words(draw, kind)])
    name += draw.choice(("", "", "__note", "__a_b__c"))
    if kind == "fieldmap":  # two series of one protocol
        name = re.sub("^.*fieldmap", "fmap", name)
        yield series(number, name)
        yield series(number + 1, name, image_type=P)
        return
    fields: dict[str, Any] = {"image_type": DIFFUSION} if kind.startswith("dwi") else {}
    if "run+" not in name and draw.random() < 0.3:
        derived = ("DERIVED", "PRIMARY", draw.choice(("MPR", "MIP_SAG", "OTHER")))
        fields = draw.choice(
            (
                {"series_description": f"{name}_SBRef"} if kind.startswith(("func", "dwi")) else {},
                {"is_motion_corrected": True, "image_type": (*M, "MOCO")},
                {"is_derived": True, "image_type": derived} if kind.startswith("anat") else {},
                {"protocol_name": "as typed at the console"},
                {"accession_number": "A2"},
            )
        )
    yield series(number, name, **fields)


def session(draw: random.Random) -> list[SeqInfo]:
    found: list[SeqInfo] = []
    while len(found) < draw.randint(1, 9):
        again = found and draw.random() < 0.2  # a run that was cancelled and repeated
        new = [found[-1]] if again and "P" not in found[-1].image_type else conforming(draw, len(found) + 1)
        for one in new:
            number = len(found) + 1
            numbered = one._replace(
                series_id=f"{number}-{one.protocol_name}", time=f"{100000 + 100 * number}"
            )
            found.append(numbered)
    return found


FIXES: list[dict[Any, list[tuple[str, str]]]] = [
    {},
    {reproin.md5sum(STUDY): [("^t1_(.*)", r"anat-T1w_acq-\1"), ("mprage", "MPR")]},
    {re.compile("Phantom"): [("t1_mprage", "anat-T1w")], "": [("run-1$", "run-3"), ("^as typed.*", "dwi")]},
    {re.compile("Other"): [("anat", "func")], "no md5": [("anat", "func")]},
]


def test_the_same_answers_for_names_that_follow_the_convention(
    theirs: ModuleType, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(reproin, "KEEP_DICOM", True)
    draw = random.Random(5)
    named, dups = 0, 0
    for number in range(600):
        for module in (theirs, reproin):
            monkeypatch.setattr(module, "protocols2fix", FIXES[number % len(FIXES)])
            monkeypatch.setattr(module, "fix_accession2run", {"A2": ["^[2-4]-", "5-"]} if number % 2 else {})
        infos = session(draw)
        expected = asked(theirs, infos)
        ours = asked(reproin, infos)
        assert ours == expected, [(one.series_id, one.series_description, one.image_type) for one in infos]
        assert isinstance(expected, list)
        named += len(expected)
        dups += sum("__dup" in key[0] for key, _ in expected)
    assert named > 2000  # else little was compared
    assert dups > 100


def test_names_are_parsed_alike(theirs: ModuleType) -> None:
    draw = random.Random(7)
    names = [one.series_description for _ in range(300) for one in conforming(draw, 1)]
    assert [reproin.parse_series_spec(name) for name in names] == [
        {key: value for key, value in theirs.parse_series_spec(name).items() if value} for name in names
    ]


# ------------------------------------------------------------------------------------- the differences

XA = ("ORIGINAL", "PRIMARY", "FMRI", "NONE")
SBREF = "func_task-a_run+"


def mapped(word: str) -> tuple[str, ...]:
    return ("DERIVED", "PRIMARY", "DIFFUSION", word, "ND")


# whose defect it is -> series (name and fields), heudiconv's answer, ours
DIFFERENCES: dict[str, tuple[list[tuple[str, dict[str, Any]]], object, object]] = {
    "heudiconv#769, labelled bug: BIDS has part-phase in place of the deprecated suffix phase": (
        [("func_task-a", {}), ("func_task-a", {"image_type": P})],
        ["func/task-a_bold", "func/task-a_phase"],
        ["func/task-a_bold", "func/task-a_part-phase_bold"],
    ),
    "reproin#39: the phase of a single-band reference is no repeat of its magnitude": (
        [
            ("func_task-a", {"series_description": "func_task-a_SBRef"}),
            ("func_task-a", {"series_description": "func_task-a_SBRef", "image_type": P}),
        ],
        ["func/task-a_sbref", "func/task-a_sbref__dup-01"],
        ["func/task-a_sbref", "func/task-a_part-phase_sbref"],
    ),
    "BIDS, part: nor that of an anatomical image": (
        [("anat-T2starw", {}), ("anat-T2starw", {"image_type": P})],
        ["anat/T2starw", "anat/T2starw__dup-01"],
        ["anat/T2starw", "anat/part-phase_T2starw"],
    ),
    "heudiconv's own documentation of ReproIn: task-UNKNOWN if a name of func gives none": (
        [("func_run-1", {})],
        ["func/run-01_bold"],
        ["func/task-UNKNOWN_run-01_bold"],
    ),
    "BIDS, entities: their order (heudiconv's comment there: not to be relied on)": (
        [("anat-T1w_rec-norm_ce-gad", {}), ("anat-MEGRE_echo-1_run-2", {})],
        ["anat/rec-norm_ce-gad_T1w", "anat/echo-1_run-02_MEGRE"],
        ["anat/ce-gad_rec-norm_T1w", "anat/run-02_echo-1_MEGRE"],
    ),
    "BIDS, entities: the suffix comes last, once; heudiconv's parser wants it with a hyphen": (
        [("anat_T2w_run-1", {}), ("func_task-a_bold", {})],
        ["anat/T2w_run-01", "func/task-a_bold_bold"],
        ["anat/run-01_T2w", "func/task-a_bold"],
    ),
    "BIDS, suffixes: T1w, never t1w": (
        [("anat-t1w", {})],
        ["anat/t1w"],
        ["anat/T1w"],
    ),
    "BIDS, labels: letters, digits and +": (
        [("func_task-a b/c", {}), ("anat-T1w_ce-gad.1", {})],
        ["func/task-a b/c_bold", "anat/ce-gad.1_T1w"],
        ["func/task-abc_bold", "anat/ce-gad1_T1w"],
    ),
    "bids-specification#1723: maps that the scanner computed are no repeats of the images": (
        [
            ("dwi_dir-AP", {"image_type": DIFFUSION}),
            *(("dwi_dir-AP", {"image_type": mapped(word)}) for word in ("ADC", "TRACEW", "FA", "TENSOR")),
        ],
        ["dwi/dir-AP_dwi", *(f"dwi/dir-AP_dwi__dup-{n:02d}" for n in (1, 2, 3, 4))],
        ["dwi/dir-AP_dwi", "dwi/dir-AP_ADC", "dwi/dir-AP_trace", "dwi/dir-AP_FA"],
    ),
    "reproin#31: perf, a datatype since BIDS 1.5": (
        [("perf_acq-pcasl", {}), ("perf-m0scan", {})],
        [],
        ["perf/acq-pcasl_asl", "perf/m0scan"],
    ),
    "BIDS, datatypes: none is called behav": (
        [("behav-events", {})],
        ["behav/events"],
        [],
    ),
    "BIDS, fmap: no single-band reference there": (
        [("fmap-epi_dir-AP", {"series_description": "fmap-epi_dir-AP_SBRef"})],
        ["fmap/dir-AP_sbref"],
        [],
    ),
    "BIDS, sbref: that of a run has the run's number": (
        [(SBREF, {"series_description": f"{SBREF}_SBRef"}), (SBREF, {})] * 2,
        [f"func/task-a_run-{n:02d}_{suffix}" for n, suffix in enumerate(("sbref", "bold") * 2, start=1)],
        [f"func/task-a_run-{run}_{suffix}" for run in ("01", "02") for suffix in ("sbref", "bold")],
    ),
    "the same of images that the scanner corrected for motion": (
        [(SBREF, {}), (SBREF, {"is_motion_corrected": True})],
        ["func/task-a_run-01_bold", "func/task-a_rec-moco_run-02_bold"],
        ["func/task-a_run-01_bold", "func/task-a_rec-moco_run-01_bold"],
    ),
    "heudiconv#740: the last repeat is the last in time": (
        [("anat-T1w", {"time": "120000"}), ("anat-T1w", {"time": "110000"})],
        ["anat/T1w 2", "anat/T1w__dup-01 1"],
        ["anat/T1w 1", "anat/T1w__dup-01 2"],
    ),
    "reproin: what the scanner computed of the images is no later repeat of them": (
        [("func_task-a", {}), ("func_task-a", {"is_derived": True, "image_type": mapped("T_MAP")})],
        ["func/task-a_bold 2", "func/task-a_bold__dup-01 1"],
        ["func/task-a_bold 1", "func/task-a_bold__dup-01 2"],
    ),
    "Siemens: its report bears the name of a protocol; it has no image, and repeats none": (
        [("anat-T1w", {}), ("anat-T1w", {"series_description": "PhoenixZIPReport", "image_type": ()})],
        ["anat/T1w", "anat/T1w__dup-01"],
        ["anat/T1w"],
    ),
    "heudiconv applies what stands for all studies twice to one without a description": (
        [("anat-T1w", {"study_description": ""})],
        ["anat/acq-xx_T1w"],
        ["anat/acq-x_T1w"],
    ),
    "reproin: a word for the scout of a console is no part of its name": (
        [("AAHead_Scout_64ch-head-coil", {})],
        ["anat/64ch-head-coil_scout"],
        ["anat/64ch-headXcoil_scout"],
    ),
    "heudiconv raises KeyError: ImageType of XA and Philips has another third word": (
        [
            ("fmap_dir-AP", {"image_type": XA}),
            ("fmap", {"image_type": ("ORIGINAL", "PRIMARY", "M_FFE", "M", "FFE")}),
        ],
        "raises",
        ["fmap/dir-AP_epi", "fmap/magnitude"],
    ),
    "heudiconv raises RuntimeError: a phase whose magnitude was not stored": (
        [("fmap_run+", {"image_type": P})],
        "raises",
        ["fmap/run-01_phasediff"],
    ),
    "heudiconv raises NotImplementedError: two things to say of a reconstruction": (
        [("func_task-a_rec-norm", {"is_motion_corrected": True})],
        "raises",
        ["func/task-a_rec-normmoco_bold"],
    ),
    "heudiconv raises AssertionError: two studies in one session": (
        [("anat-T1w", {}), ("anat-T2w", {"study_description": "Lab_Other^Study"})],
        "raises",
        ["anat/T1w", "anat/T2w"],
    ),
    "heudiconv raises IndexError, KeyError, ValueError: odd characters that an operator typed": (
        [("func_task-a_", {}), ("localizer {x} }", {}), ("func_task-b(2)", {})],
        "raises",
        ["func/task-a_bold", "func/task-b2_bold"],
    ),
    "heudiconv names it task-None": (
        [("func_task", {})],
        ["func/task-None_bold"],
        "raises",
    ),
    "BIDS, anat: without a suffix it is no name": (
        [("anat_acq-p2", {})],
        ["anat/acq-p2"],
        "raises",
    ),
}


@pytest.mark.parametrize("why", DIFFERENCES)
def test_differences(theirs: ModuleType, why: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(reproin, "KEEP_DICOM", True)
    named, expected, ours = DIFFERENCES[why]
    infos = [series(number, name, **fields) for number, (name, fields) in enumerate(named, start=1)]
    fixes = {"": [("T1w$", "T1w_acq-"), ("acq-", "acq-x")]} if not infos[0].study_description else {}
    for module in (theirs, reproin):
        monkeypatch.setattr(module, "protocols2fix", fixes)
    with_ids = isinstance(ours, list) and any(" " in name for name in ours)
    assert short(asked(theirs, infos), with_ids=with_ids) == expected
    assert short(asked(reproin, infos), with_ids=with_ids) == ours


def test_whatever_an_operator_types_is_a_name_of_valid_words_or_a_value_error() -> None:
    draw = random.Random(11)
    pieces = (
        "func",
        "anat-T1w",
        "fmap",
        "dwi",
        "_task-",
        "_run",
        "run-1",
        "_",
        "__",
        "-",
        "+",
        "=",
        "{",
        "}",
    )
    pieces += (
        "(",
        "{date}",
        "(time)",
        "{x}",
        "ses-",
        "\xe9",
        " ",
        ".",
        "WIP ",
        "A:",
        "bids_",
        "acq-1",
        "0",
        "\\",
    )
    named = 0
    for number in range(3000):
        name = "".join(draw.choices(pieces, k=draw.randint(1, 8)))
        one = series(number, name, image_type=draw.choice((M, P, DIFFUSION, (), ("ORIGINAL",))))
        try:
            keys = list(reproin.infotodict([one]))
        except ValueError:  # any other is a defect
            continue
        for template, outtypes, _ in keys:
            path = template.format(bids_subject_session_dir="sub-1", bids_subject_session_prefix="sub-1")
            words = re.split("[/_]", path.removeprefix("sub-1/"))
            labels = [word.partition("-")[2] for word in words[2:] if "-" in word]
            assert all(re.fullmatch("[0-9A-Za-z+]+", label) for label in labels), (name, path)
            named += "nii.gz" in outtypes
    assert named > 100


# ------------------------------------------------------------------------------------- in a plan

USERS = """
from heudiconv.heuristics import reproin
from heudiconv.heuristics.reproin import *

protocols2fix.update({
    "": [("^t1_mprage.*", "anat-T1w"), (r"^rest_([0-9])", r"func_task-rest_run-\\1")],
    re.compile("^Lab"): [("^dti.*", "dwi")],
})

def first_fix(seqinfo):
    reproin._apply_substitutions(seqinfo, [("^NEW ", "")], "mine")
    return seqinfo

ours = reproin.fix_seqinfo
reproin.fix_seqinfo = lambda seqinfo: ours(first_fix(seqinfo))
"""


def planned(heuristic: Path, *more: Any, session: str = "a") -> tuple[dict[str, str], tuple[str, ...]]:
    """Name or reason of each stack, and the warnings."""
    index = a_session(*more)
    answers = ask(heuristic, [index], subject="01", session=session)
    plan = plan_session(subject="01", session=session, indexes=[index], answers=answers)
    return {
        row.stack_id: row.bids_name.rpartition(f"_ses-{session}_")[2] or row.reason for row in plan.rows
    }, plan.warnings


def test_by_its_bare_name() -> None:
    said, warnings = planned(
        Path("reproin"),
        a_series(1, "anat-scout_ses-b", study_description=STUDY),
        a_series(2, "func_task-rest_run-1", acquired="2026-01-02T10:02:00", date="20260102", time="100200"),
        a_series(3, "func_task-rest_run-1", acquired="2026-01-02T10:03:00", date="20260102", time="100300"),
        a_series(4, "localizer"),
        a_series(5, "anat_acq-odd"),
        a_series(6, "dwi_dir-AP", image_type=("DERIVED", "PRIMARY", "DIFFUSION", "TENSOR")),
    )
    assert said["003-1"] == "task-rest_run-01_bold"
    assert said["002-1"].startswith("its name is that of another series")
    assert said["002-1"].endswith(": func/sub-01_ses-a_task-rest_run-01_bold")
    assert said["001-1"] == "a scout"
    assert said["004-1"] == "its name is not one of ReproIn"
    assert "'anat' alone does not tell which image it is" in said["005-1"]
    assert said["006-1"] == "BIDS has no name for tensors that the scanner computed"
    (odd,) = [one for one in warnings if "anat_acq-odd" in one]
    assert "write it as in anat-T1w" in odd
    (other,) = [one for one in warnings if "session" in one]
    assert "another session; what counts is the studies table's 'a'" in other


def test_files_that_change_it_run_unchanged(tmp_path: Path) -> None:
    path = tmp_path / "mine.py"
    path.write_text(USERS)
    said, _ = planned(
        path,
        a_series(1, "NEW t1_mprage_sag", study_description=STUDY),
        a_series(2, "rest_2", study_description=STUDY),
        a_series(3, "dti_64", study_description=STUDY),
        a_series(4, "dti_64", study_description="Another^Study"),
    )
    assert said == {
        "001-1": "T1w",
        "002-1": "task-rest_run-02_bold",
        "003-1": "dwi",
        "004-1": "its name is not one of ReproIn",
    }


def test_dicom_files_go_into_the_dataset_only_if_a_file_says_so(tmp_path: Path) -> None:
    path = tmp_path / "mine.py"
    text = "from heudiconv.heuristics import reproin\nfrom heudiconv.heuristics.reproin import *\n"
    names = ("anat-scout", "func_task-a")
    index = a_session(*(a_series(number, name) for number, name in enumerate(names, start=1)))
    for line, expected in (
        ("", [""]),
        ("reproin.KEEP_DICOM = True\n", ["anat/sub-1_scout", "func/sub-1_task-a_bold"]),
    ):
        path.write_text(text + line)
        found = ask(path, [index], subject="1", session="").named
        assert [one.sourcedata.removeprefix("sourcedata/sub-1/") for one in found] == expected


def test_sessions_that_names_ask_for(theirs: ModuleType) -> None:
    for names, expected in (
        (["anat-scout_ses-01", "func_task-a"], "01"),
        (["anat-scout_ses-{date}"], "20260102"),
        (["anat-scout_ses-(date)"], "20260102"),
        (["anat-scout_ses-DATE"], "20260102"),
        (["func_task-a"], None),
    ):
        infos = [series(number, name) for number, name in enumerate(names, start=1)]
        assert reproin.infotoids(infos)["session"] == expected
        assert theirs.infotoids(infos, "/nowhere")["session"] == expected
    several = [series(1, "anat-scout_ses-1"), series(2, "anat-T1w_ses-2"), series(3, "anat-T2w_ses+")]
    assert reproin.infotoids(several)["session"] == "1 and 2"
