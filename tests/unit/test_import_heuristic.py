"""Rules from dcm2bids and BIDScoin: they take what their origins took, and what was lost is listed."""

from __future__ import annotations

import json
import random
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest
import yaml

from pacs2bids.__main__ import main
from pacs2bids.dialects import ask
from pacs2bids.dialects.rules.reading import read_rules
from pacs2bids.imports import read_foreign
from pacs2bids.imports.records import Imported
from pacs2bids.imports.writing import text_of
from pacs2bids.model import HeuristicError, Json, StudyIndex
from pacs2bids.plan import plan_session
from rules_sessions import series, session, volume


def written(folder: Path, content: object) -> Path:
    path = folder / "theirs.json"
    path.write_text(content if isinstance(content, str) else json.dumps(content))
    return path


def rules_of(folder: Path, content: object) -> Path:
    """The rules file that the verb writes."""
    out = folder / f"mine{len(list(folder.glob('mine*')))}.yaml"
    assert main(["import-heuristic", str(written(folder, content)), "--out", str(out)]) == 0
    return out


def imported(folder: Path, content: object) -> Imported:
    return read_foreign(written(folder, content))


def lost(folder: Path, content: object) -> dict[str, bool]:
    """What was lost, and whether its rule was."""
    return {str(one): one.is_rule for one in imported(folder, content).all_lost}


def planned(path: Path, index: StudyIndex) -> dict[str, str]:
    answers = ask(path, [index], subject="01", session="a")
    plan = plan_session(subject="01", session="a", indexes=[index], answers=answers)
    return {row.stack_id: row.bids_name.rpartition("_ses-a_")[2] or row.reason for row in plan.rows}


def description(suffix: str = "T1w", datatype: str = "anat", **more: Any) -> dict[str, Any]:
    return {"datatype": datatype, "suffix": suffix, "criteria": {"SeriesDescription": "*"}, **more}


# ------------------------------------------------------------------------------- dcm2bids: what it takes

TEXTS = ("T1w_MPRAGE", "t1w_mprage", "func_task-rest", "a[b]c", "abc", "*fl3d1", "x.y", "", None)
PATTERNS = ("T1w*", "t1w_mprage", "*[Tt]1*", "[!T]*", "a[[]b]c", "?bc", "*", "*fl*", "x.y", "x?y", "")
EXPRESSIONS = ("T1w", "T1w$", "(?i)t1W_", "func|abc", r"\*fl", ".*rest", "x.y", "")
NUMBERS: tuple[float | None, ...] = (0.03, 0.00302, 2, 2.5, 30, None)
LISTS = (["ORIGINAL", "PRIMARY", "M", "ND"], ["DERIVED", "PRIMARY", "P"], ["ORIGINAL"], None)
LIST_PATTERNS = (["ORIG*", "*", "M", "*"], ["*", "PRIMARY", "P"], ["ORIGINAL"], ["*", "*"])


def criterion(draw: random.Random, *, regex: bool) -> tuple[str, object]:
    """A field, and what dcm2bids' documentation lets ask of it."""
    kind = draw.choice(("text", "text", "any", "number", "limit", "between", "list", "any list"))
    if kind in ("text", "any"):
        field = draw.choice(("SeriesDescription", "ProtocolName", "ScanOptions"))
        words = [draw.choice(EXPRESSIONS if regex else PATTERNS) for _ in range(1 if kind == "text" else 2)]
        return field, words[0] if kind == "text" else {"any": words}
    if kind in ("list", "any list"):
        lists = [draw.choice(LIST_PATTERNS)] + ([draw.choice(LIST_PATTERNS)] if kind == "any list" else [])
        lists = [[word.replace("*", ".*") if regex else word for word in one] for one in lists]
        return "ImageType", lists[0] if kind == "list" else {"any": lists}
    field = draw.choice(("EchoTime", "RepetitionTime", "FlipAngle"))
    known = [number for number in NUMBERS if number is not None]
    if kind == "number" and not regex:  # dcm2bids fails on numbers as regular expressions
        return field, draw.choice(known)
    if kind in ("limit", "number"):
        limit = draw.choice(known)
        return field, {draw.choice(("lt", "le", "gt", "ge")): draw.choice((limit, [limit], str(limit)))}
    return field, {draw.choice(("btw", "btwe")): sorted(draw.sample(known, 2))}


def sidecar(draw: random.Random) -> dict[str, Json]:
    """Fields as dcm2niix would write them; for ImageType without what it adds."""
    found: dict[str, Any] = {name: draw.choice(TEXTS) for name in ("SeriesDescription", "ProtocolName")}
    found["ScanOptions"] = draw.choice(TEXTS)
    found |= {name: draw.choice(NUMBERS) for name in ("EchoTime", "RepetitionTime", "FlipAngle")}
    found["ImageType"] = draw.choice(LISTS)
    return {name: value for name, value in found.items() if value not in (None, "")}


def lookup(data: dict[str, Json], name: str) -> Json:
    """The facts of a volume with this sidecar."""
    fields = {
        "series_description": "SeriesDescription",
        "protocol_name": "ProtocolName",
        "image_type": "ImageType",
        "image_type_words": "ImageType",
    }
    return data.get(fields.get(name, name.removeprefix("sidecar.")))


@pytest.mark.parametrize("method", ["fnmatch", "fnmatch, any case", "re"])
def test_criteria_take_what_they_take_in_dcm2bids(
    dcm2bids_sidecar: ModuleType, tmp_path: Path, method: str
) -> None:
    draw, regex = random.Random(3), method == "re"
    options = {"search_method": method.partition(",")[0], "case_sensitive": "any" not in method}
    wanted = [dict(criterion(draw, regex=regex) for _ in range(draw.randint(1, 2))) for _ in range(100)]
    descriptions = [{"datatype": "anat", "suffix": "T1w", "criteria": one} for one in wanted]
    theirs = dcm2bids_sidecar.SidecarPairing([], descriptions, **options)
    whole = imported(tmp_path, {"descriptions": descriptions, **options})
    path = tmp_path / "mine.yaml"
    path.write_text(text_of(whole, "theirs.json"))
    rules = iter(read_rules(path).rules)
    pairs = [(one, next(rules)) for one, rule in zip(wanted, whole.rules, strict=True) if rule.is_active]
    assert len(pairs) == len(wanted)
    taken = 0
    for _ in range(100):
        data = sidecar(draw)
        for criteria, rule in pairs:
            expected = theirs.isLink(data, criteria)
            taken += expected
            assert rule.condition(lambda name, data=data: lookup(data, name)).holds == expected, (  # type: ignore[misc]
                criteria,
                data,
            )
    assert taken > 500


def test_what_dcm2niix_adds_to_image_type(tmp_path: Path) -> None:
    """Seen in its sidecars of the corpus: "M_SE" and "M" become M, SE, M, and MAGNITUDE comes last."""
    lists = {
        "T1w": ["ORIGINAL", "PRIMARY", "M", "SE", "M", "MAGNITUDE"],
        "T2w": ["ORIGINAL", "PRIMARY", "P", "PHASE"],
        "PDw": ["ORIGINAL", "PRIMARY", "P", "MAGNITUDE"],
        "FLAIR": ["ORIGINAL", "PRIMARY", "X", "PHASE"],
        "inplaneT1": ["ORIGINAL", "PRIMARY", "OTHER", "FIELDMAPHZ"],
    }
    rules = rules_of(
        tmp_path,
        {"descriptions": [description(name, criteria={"ImageType": one}) for name, one in lists.items()]},
    )
    index = session(
        series(1, "a", volume(image_type=("ORIGINAL", "PRIMARY", "M_SE", "M"))),
        series(2, "b", volume(image_type=("ORIGINAL", "PRIMARY", "P"), component="phase")),
        series(3, "c", volume(image_type=("ORIGINAL", "PRIMARY", "X", "PHASE"))),  # of the header itself
        series(4, "d", volume(image_type=("ORIGINAL", "PRIMARY", "OTHER"), content="fieldmap")),
        series(5, "e", volume(image_type=("ORIGINAL", "PRIMARY", "OTHER"))),
    )
    said = planned(rules, index)
    assert [said[f"00{number}-1"] for number in (1, 2, 3, 4)] == ["T1w", "T2w", "FLAIR", "inplaneT1"]
    assert said["005-1"] == "the heuristic does not name this series"


# ------------------------------------------------------------------------- dcm2bids: what it is called


def test_exactly_one_description_converts(tmp_path: Path) -> None:
    """dcm2bids, "Usage": sidecars with no or more than one matching description are not converted."""
    both = [
        description("T1w", criteria={"SeriesDescription": "*T1*"}),
        description("T2w", criteria={"SeriesDescription": "*T2*"}),
    ]
    said = planned(
        rules_of(tmp_path, {"descriptions": both}),
        session(series(1, "T1"), series(2, "T2"), series(3, "T1T2"), series(4, "t1")),
    )
    assert said["001-1"] == "T1w"
    assert said["002-1"] == "T2w"
    assert said["003-1"].startswith("2 rules fit")
    assert "(T1w)" in said["003-1"]
    assert "(T2w)" in said["003-1"]
    assert said["004-1"] == "the heuristic does not name this series"


def test_runs_are_numbered_as_dcm2bids_does(tmp_path: Path) -> None:
    """dcm2bids, "dup_method": run, where several have one name; with two digits, which BIDS leaves open."""
    content = {
        "descriptions": [
            description("bold", "func", custom_entities="task-rest", criteria={"SeriesDescription": "rest*"}),
            description("T1w", criteria={"SeriesDescription": "T1*"}),
        ]
    }
    index = session(series(1, "rest"), series(2, "T1"), series(3, "rest 2"))
    assert planned(rules_of(tmp_path, content), index) == {
        "001-1": "task-rest_run-1_bold",
        "002-1": "T1w",
        "003-1": "task-rest_run-2_bold",
    }


def test_entities_and_extractors(tmp_path: Path) -> None:
    extractors = {
        "SeriesDescription": ["task-(?P<task>[a-z]+)", "(?P<acq>hi|lo)res"],
        "PhaseEncodingDirection": ["(?P<dir>(j|i)-?)"],
    }
    content = {
        "extractors": extractors,
        "descriptions": [
            description(
                "_bold",
                "func",
                custom_entities=["task", "dir", "acq", "echo", "rec-norm"],
                criteria={"SeriesDescription": "bold*"},
            ),
            description("sbref", "func", custom_entities="_rec-a_task-b", criteria={"ProtocolName": "sb"}),
        ],
    }
    rules = rules_of(tmp_path, content)
    index = session(
        series(1, "bold task-rest hires", volume(phase_encoding_direction="j-")),
        series(2, "sb"),
        series(3, "bold"),
    )
    assert planned(rules, index) == {
        "001-1": "task-rest_acq-hi_rec-norm_dir-AP_bold",
        "002-1": "task-b_rec-a_sbref",
        "003-1": "the heuristic does not name this series",
    }


def test_changes_of_the_sidecar(tmp_path: Path) -> None:
    changes = {"Instructions": "lie still", "SeriesNumber": "", "MTState": True, "IntendedFor": ["t1"]}
    rules = rules_of(tmp_path, {"descriptions": [description(sidecar_changes=changes)]})
    (answer,) = ask(rules, [session(series(1, "T1"))], subject="01", session="a").named
    assert answer.metadata == {"Instructions": "lie still", "SeriesNumber": None, "MTState": True}


def test_version_two_has_other_words(tmp_path: Path) -> None:
    old = {
        "caseSensitive": False,
        "descriptions": [
            {
                "dataType": "func",
                "modalityLabel": "bold",
                "customLabels": "task-rest",
                "criteria": {"SeriesDescription": "REST*"},
                "sidecarChanges": {"Instructions": "x"},
                "intendedFor": 0,
            }
        ],
    }
    assert planned(rules_of(tmp_path, old), session(series(1, "rest"))) == {"001-1": "task-rest_bold"}
    assert list(lost(tmp_path, old)) == [
        "description 1 (func/bold): IntendedFor: pacs2bids finds by itself what a field map is for"
    ]


def test_what_dcm2bids_loses(tmp_path: Path) -> None:
    content = {
        "post_op": [{"cmd": "deface src_file dst_file", "datatype": "anat", "suffix": "T1w"}],
        "dcm2niixOptions": "-b y",
        "compKeys": ["AcquisitionTime"],
        "dup_method": "dup",
        "descriptions": [
            description(criteria={"SidecarFilename": "*a*"}),
            description(criteria={"SidecarFilename": "007*", "EchoTime": {"near": 3}}),
            description(criteria={"PatientWeight": 70}),
            description(criteria={"ImageType": "*M*"}),
            description(custom_entities="task"),
            description(criteria={}),
            description(sidecar_changes={"Instructions": "{x}"}),
        ],
    }
    found = lost(tmp_path, content)
    assert [one.partition(":")[0] for one, is_rule in found.items() if not is_rule] == [
        "post_op",
        "dcm2niixOptions",
        "compKeys",
        "dup_method",
        "description 7 (anat/T1w)",
    ]
    ours = [rule.is_active for rule in imported(tmp_path, content).rules]
    assert ours == [False, False, False, False, False, False, True]


def test_names_that_bids_does_not_know_make_no_rule(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    content = {"descriptions": [description("fmap", "fmap"), description("bold", "func"), description("T2w")]}
    rules = rules_of(tmp_path, content)
    assert "1 of 3 rules of dcm2bids can be used; 2 things not carried over" in capsys.readouterr().out
    assert [rule.name for rule in read_rules(rules).rules] == ["T2w"]
    text = rules.read_text()
    assert "unknown suffix 'fmap'" in text
    assert "needs the entity 'task'" in text
    assert "  #   suffix: bold" in text  # to be corrected by hand


def test_nothing_that_can_be_used(tmp_path: Path) -> None:
    rules = rules_of(tmp_path, {"descriptions": [description("fmap", "fmap")]})
    assert planned(rules, session(series(1, "T1"))) == {"001-1": "nothing could be imported"}


# ------------------------------------------------------------------------------------------- BIDScoin

# as its documentation, "The bidsmap explained", has it
BIDSMAP = r"""
Options:
  bidscoin: {ignoretypes: [exclude], unknowntypes: [extra_data]}
PAR: {anat: []}
DICOM:
  participant: {participant_id: {value: <PatientID>}}
  anat:
  - attributes: &nothing {ProtocolName: , ImageType: }
    bids: {suffix: T1w}
  - provenance: a/b.dcm
    attributes:
      <<: *nothing
      ProtocolName: (?i).*(MPRAGE|T1w).*
      EchoTime: '2.5'
      RepetitionTime: '2300'
    bids: {acq: <SeriesDescription>, run: <<>>, part: ['', mag, phase, 2], suffix: T1w}
    meta: {Instructions: lie still, B0FieldSource: <<session_id>>, ScanOptions: <<ProtocolName>>}
  - attributes: {ProtocolName: T2, ImageType: "['ORIGINAL', 'PRIMARY', 'M']"}
    bids: {run: <<1>>, suffix: T2w}
  - attributes: {ProtocolName: T2, ImageType: .*'NORM'.*}
    bids: {rec: nor-m, suffix: T2w}
  - attributes: {ProtocolName: .*A}
    properties: {filename: .*\.IMA}
    bids: {suffix: PDw}
  - attributes: {EchoTime: 2.*}
    bids: {suffix: PDw}
  func:
  - attributes: {SeriesDescription: task.*, ScanningSequence: "['EP', 'GR']"}
    bids:
      task: <SeriesDescription:task-(.*?)_>
      echo: <EchoNumbers>
      dir: <PhaseEncodingDirection>
      suffix: bold
    events: {columns: {}}
  fmap:
  - attributes: {ProtocolName: T1w inverted}
    bids: {dir: PA, suffix: epi}
  extra_data:
  - attributes: {ProtocolName: .*}
    bids: {suffix: x}
  exclude:
  - attributes: {ProtocolName: .*T1w scout.*}
    bids: {suffix: x}
"""


@pytest.fixture
def bidsmap(tmp_path: Path) -> Path:
    path = tmp_path / "bidsmap.yaml"
    path.write_text(BIDSMAP)
    return path


def test_the_first_run_item_wins_in_the_order_of_bidscoin(bidsmap: Path, tmp_path: Path) -> None:
    out = tmp_path / "mine.yaml"
    assert main(["import-heuristic", str(bidsmap), "--out", str(out)]) == 0
    echo = {"echo_time_s": 0.0025}
    slow: dict[str, Json] = {"RepetitionTime": 2.3}
    index = session(
        series(1, "T1w scout"),
        series(2, "T1w inverted", volume(sidecar=slow, **echo)),
        series(3, "my mprage 2", volume(sidecar=slow, component="phase", **echo)),
        series(4, "my mprage", volume(sidecar=slow, echo_time_s=0.0026)),
        series(5, "T2", volume(image_type=("ORIGINAL", "PRIMARY", "M"))),
        series(6, "T2", volume(image_type=("ORIGINAL", "NORM"))),
        series(7, "T2", volume(image_type=("ORIGINAL",))),
        series(
            8,
            "task-rest_x",
            volume(sidecar={"ScanningSequence": "EP\\GR"}, phase_encoding_direction="j-"),
        ),
    )
    beside = "extra_data of the bidsmap: BIDS has no name for it"
    assert planned(out, index) == {
        "001-1": "excluded, as in the bidsmap",
        "002-1": "dir-PA_epi",
        "003-1": "acq-mymprage2_part-phase_T1w",
        "004-1": beside,
        "005-1": "run-1_T2w",
        "006-1": "rec-norm_T2w",
        "007-1": beside,
        "008-1": "task-rest_dir-AP_bold",
    }
    answers = ask(out, [index], subject="01", session="a").named
    t1w = next(one for one in answers if one.path.endswith("T1w"))
    assert t1w.metadata == {"Instructions": "lie still", "ScanOptions": "my mprage 2"}


def test_what_bidscoin_loses(bidsmap: Path) -> None:
    found = {(one.where, one.what): one.is_rule for one in read_foreign(bidsmap).all_lost}
    assert found == {
        ("PAR", "all of it"): False,
        ("DICOM", "participant, subject, session"): False,
        ("anat 2 (T1w)", "meta B0FieldSource"): False,
        ("anat 5 (PDw)", r"property filename: .*\.IMA"): True,
        ("anat 6 (PDw)", "attribute EchoTime: 2.*"): True,
        ("func 1 (bold)", "events"): False,
    }


# ------------------------------------------------------------------------------------------- errors


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("{", "line 1: is no JSON"),
        ("a: [", "line 1: is no YAML"),
        ("[]", "is neither a configuration of dcm2bids"),
        ('{"descriptions": 3}', "is neither a configuration of dcm2bids"),
        ("x: y\n", "is neither a configuration of dcm2bids"),
        ('{"descriptions": [{"criteria": {"A": {"lt": 1, "gt": 2}}}]}', "descriptions[1].criteria.A: "),
        ('{"descriptions": [{"criteria": {}}, 7]}', "descriptions[2]: 7 is not of type 'object'"),
        ('{"descriptions": [], "extractors": {"A": [3]}}', "extractors.A[1]: 3 is not of type 'string'"),
        ("DICOM: {anat: [{bids: 3}]}", "DICOM.anat[1].bids: 3 is not of type 'object'"),
        ("DICOM: {anat: [{attributes: {A: [x]}}]}", "DICOM.anat[1].attributes.A: ['x'] is not of type"),
        ("DICOM: {}\nOptions: [x]", "Options: ['x'] is not of type 'object'"),
    ],
)
def test_files_of_neither(tmp_path: Path, text: str, said: str) -> None:
    with pytest.raises(HeuristicError) as caught:
        imported(tmp_path, text)
    assert said in str(caught.value)


def test_no_file_is_written_over(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    rules = rules_of(tmp_path, {"descriptions": [description()]})
    before = rules.read_text()
    assert main(["import-heuristic", str(tmp_path / "theirs.json"), "--out", str(rules)]) == 2
    assert rules.read_text() == before
    assert main(["import-heuristic", str(tmp_path / "none.json")]) == 1
    capsys.readouterr()
    assert main(["import-heuristic", str(tmp_path / "theirs.json")]) == 0
    assert yaml.safe_load(capsys.readouterr().out) == yaml.safe_load(before)
