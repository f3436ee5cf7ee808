"""Rules files: what takes what, what it is called, and what is said of mistakes."""

from __future__ import annotations

import json
from pathlib import Path
from random import Random

import pytest
import yaml
from jsonschema import Draft202012Validator
from msgspec.structs import replace

from pacs2bids import telling
from pacs2bids.bids import vocabulary
from pacs2bids.dialects import ask, rules
from pacs2bids.dialects.rules.facts import FACTS
from pacs2bids.dialects.rules.reading import check_text
from pacs2bids.model import FailedStack, HeuristicError, Leftover, Reason, StudyIndex
from pacs2bids.plan import plan_session
from pacs2bids.session import series_of
from rules_sessions import series, session, volume

ROOT = Path(__file__).resolve().parents[2]
SCHEMA = json.loads((ROOT / "workflow/pacs2bids/schemas/rules.schema.json").read_text())


def file_of(folder: Path, text: str) -> Path:
    path = folder / "mine.yaml"
    path.write_text(text)
    return path


def one_rule(folder: Path, match: str, said: str = "datatype: anat, suffix: T1w") -> Path:
    return file_of(folder, f"rules:\n  - {{match: {match}, {said}}}\n")


def planned(path: Path, index: StudyIndex) -> dict[str, str]:
    """Name behind the prefix, or reason, of each stack."""
    answers = ask(path, [index], subject="01", session="a")
    plan = plan_session(subject="01", session="a", indexes=[index], answers=answers)
    return {row.stack_id: row.bids_name.rpartition("_ses-a_")[2] or row.reason for row in plan.rows}


# ------------------------------------------------------------------------------------------- conditions

# a series of which every fact is known, and conditions that hold of it
SERIES = series(
    4,
    "T1w_MPRAGE",
    volume(
        shape=(256, 240, 176, 2),
        sidecar={
            "EchoTime": 0.00302,
            "ScanningSequence": "GR\\IR",
            "ShimSetting": [1, 2, 3],
            "MTState": False,
        },
        image_type=("ORIGINAL", "PRIMARY", "M", "NORM"),
        component="phase",
        echo_time_s=0.00302,
        echo_number=2,
        inversion_time_s=0.9,
        flip_angle_deg=9.0,
        phase_encoding_direction="j-",
        orientation="axial",
    ),
    series_description="Head (T1) 1.0mm *",
    manufacturer="Siemens Healthineers",
)
HOLD = """
protocol_name: t1w_mprage
protocol_name: "*mprage"
protocol_name: "T1w?M*"
protocol_name: [bold, "T1*"]
protocol_name: {regex: "w_m"}
protocol_name: {regex: "^T1w_MPRAGE$"}
protocol_name: {not: bold}
protocol_name: {not: [bold, dwi]}
protocol_name: {all: ["T1*", {not: "*dwi*"}]}
protocol_name: {any: [bold, {regex: "^t1"}]}
series_description: "head (t1)*"
series_description: {is: "HEAD (T1) 1.0mm *"}
series_number: 4
series_number: {from: 1, to: 4}
echo_time_ms: 3.02
echo_time_s: 0.00302
echo_time_ms: {above: 3, below: 4}
echo_time_ms: [1, {from: 3}]
echo_number: {not: 1}
inversion_time_s: {not: null}
repetition_time_s: null
flip_angle_deg: 9
image_type: norm
image_type: [MOSAIC, NORM]
image_type: {all: [NORM, M]}
image_type: {not: MOSAIC}
image_type: {list: [ORIGINAL, PRIMARY, M, "*"]}
is_derived: false
columns: 256
rows: 240
slices: 176
volumes: {to: 2}
component: phase
part: phase
phase_encoding: AP
orientation: {not: [coronal, sagittal]}
manufacturer: "siemens*"
stacks: 1
stack: 1
sidecar.EchoTime: 0.00302
sidecar.EchoTime: {above: 0.003, below: 0.0031}
sidecar.ScanningSequence: '*IR'
sidecar.ShimSetting: {list: [1, 2, 3]}
sidecar.ShimSetting: 2
sidecar.MTState: false
sidecar.NoSuchField: null
any: [{protocol_name: bold}, {echo_number: 2}]
all: [{protocol_name: T1w*}, {echo_number: 2}]
not: {protocol_name: bold}
not: [{protocol_name: T1w*, echo_number: 1}, {echo_number: 3}]
""".strip().splitlines()
FAIL = """
protocol_name: T1w
protocol_name: mprage
protocol_name: {is: "T1w*"}
protocol_name: {regex: "^mprage"}
protocol_name: {not: "T1*"}
protocol_name: null
series_number: {above: 4}
series_number: {below: 4}
echo_time_ms: 3.03
repetition_time_s: {above: 0}
image_type: [MOSAIC, MOCO]
image_type: {all: [NORM, MOSAIC]}
image_type: {not: NORM}
image_type: {list: [ORIGINAL, PRIMARY, M]}
image_type: {list: [PRIMARY, ORIGINAL, M, NORM]}
is_derived: true
component: magnitude
sidecar.NoSuchField: "*"
sidecar.NoSuchField: {below: 3}
sidecar.MTState: true
any: [{protocol_name: bold}, {echo_number: 1}]
all: [{protocol_name: T1w*}, {echo_number: 1}]
not: {protocol_name: bold, echo_number: 2}
not: [{protocol_name: bold}, {echo_number: 2}]
""".strip().splitlines()


@pytest.mark.parametrize("holds", [True, False])
def test_conditions(tmp_path: Path, holds: bool) -> None:
    wrong = []
    for condition in HOLD if holds else FAIL:
        answers = ask(one_rule(tmp_path, f"{{{condition}}}"), [session(SERIES)], subject="1", session="")
        if bool(answers.named) is not holds:
            wrong.append(condition)
    assert wrong == []


def test_case_counts_if_the_file_says_so(tmp_path: Path) -> None:
    for condition, holds in (("t1w*", False), ("T1w*", True), ("{regex: mprage}", False)):
        path = one_rule(tmp_path, f"{{protocol_name: {condition}}}")
        path.write_text("case_sensitive: true\n" + path.read_text())
        assert bool(ask(path, [session(SERIES)], subject="1", session="").named) is holds


@pytest.mark.parametrize(
    ("direction", "label"), [("j-", "AP"), ("j", "PA"), ("i", "RL"), ("i-", "LR"), ("k", "IS"), (None, None)]
)
def test_phase_encoding_in_the_patient(direction: str | None, label: str | None) -> None:
    # x of AXIAL runs to the left: index i grows from right to left
    assert telling.direction(volume(phase_encoding_direction=direction)) == label


# ------------------------------------------------------------------------------------------- names


def test_the_first_rule_that_fits_takes_a_series(tmp_path: Path) -> None:
    path = file_of(
        tmp_path,
        """
rules:
  - {name: early, match: {protocol_name: "T1*"}, datatype: anat, suffix: T1w}
  - {name: late, match: {protocol_name: "T1w_MPRAGE"}, datatype: anat, suffix: T2w}
  - {match: {protocol_name: scout}, skip: a scout}
""",
    )
    index = session(SERIES, series(5, "scout"), series(6, "else"))
    assert planned(path, index) == {
        "004-1": "T1w",
        "005-1": "a scout",
        "006-1": "the heuristic does not name this series",
    }
    answers = ask(path, [index], subject="01", session="a")
    assert [one.origin for one in answers.named] == ["mine.yaml, line 3 (early)"]
    assert [(one.origin, one.is_meant) for one in answers.unanswered] == [("mine.yaml, line 5", True)]


def test_entities_come_in_the_order_of_bids_whatever_the_file_says(tmp_path: Path) -> None:
    entities = '{run: "02", direction: AP, acq: "{rows}x{columns}", task: "{protocol_name}"}'
    said = f"datatype: func, suffix: bold, entities: {entities}"
    index = session(series(1, "My task, 2.5 mm"))
    assert planned(one_rule(tmp_path, "anything", said), index) == {
        "001-1": "task-Mytask2p5mm_acq-64x64_dir-AP_run-02_bold"
    }


def test_what_a_regex_catches(tmp_path: Path) -> None:
    match = (
        "{any: [{protocol_name: x}, {series_description: {all: ['*', {regex: 'task-(?P<task>[a-z]+)'}]}}]}"
    )
    said = 'datatype: func, suffix: bold, entities: {task: "{task}"}, '
    said += 'sidecar: {TaskName: "{task} {volumes}", N: [1, null]}'
    path = one_rule(tmp_path, match, said)
    answers = ask(path, [session(series(1, "func_task-rest_bold"))], subject="01", session="")
    (one,) = answers.named
    assert one.path == "sub-01/func/sub-01_task-rest_bold"
    assert one.metadata == {"TaskName": "rest 1", "N": [1, None]}


def test_a_fact_that_the_header_does_not_tell(tmp_path: Path) -> None:
    said = 'datatype: fmap, suffix: epi, entities: {dir: "{phase_encoding}"}'
    index = session(series(1, "epi"), series(2, "epi", volume(phase_encoding_direction="j")))
    names = planned(one_rule(tmp_path, "anything", said), index)
    assert names == {
        "001-1": "its name needs {phase_encoding}, which its header does not tell",
        "002-1": "dir-PA_epi",
    }


def test_volumes_of_a_series_are_named_together(tmp_path: Path) -> None:
    echoes = [
        volume(echo_time_s=time, component=part) for time in (0.01, 0.02) for part in ("magnitude", "phase")
    ]
    index = session(series(1, "bold", *echoes))
    said = "datatype: func, suffix: bold, entities: {task: rest}"
    assert sorted(planned(one_rule(tmp_path, "anything", said), index).values()) == [
        "task-rest_echo-1_part-mag_bold",
        "task-rest_echo-1_part-phase_bold",
        "task-rest_echo-2_part-mag_bold",
        "task-rest_echo-2_part-phase_bold",
    ]
    path = file_of(
        tmp_path,
        f"rules:\n  - {{match: {{component: phase}}, skip: no phase}}\n  - {{match: anything, {said}}}\n",
    )
    assert planned(path, index) == {
        "001-1": "task-rest_echo-1_bold",
        "001-2": "no phase",
        "001-3": "task-rest_echo-2_bold",
        "001-4": "no phase",
    }


def test_a_single_volume_of_a_series(tmp_path: Path) -> None:
    index = session(series(1, "x", volume(), volume(content="fieldmap"), volume(is_diffusion_map=True)))
    path = file_of(
        tmp_path,
        """
rules:
  - {match: {content: fieldmap}, datatype: fmap, suffix: fieldmap}
  - {match: {stack: 1}, datatype: anat, suffix: T2w}
""",
    )
    names = planned(path, index)
    assert names["001-2"] == "fieldmap"
    assert names["001-1"] == "T2w"
    assert names["001-3"] == "a map computed from the diffusion volumes of the same series"


def test_series_without_volumes(tmp_path: Path) -> None:
    """What should have made volumes is asked about, so that its absence is told; a report is not."""
    info, _ = series(1, "T1w")
    broken = replace(info, stack_ids=())
    report = replace(series(2, "report")[0], stack_ids=())
    part = replace(series(3, "part")[0], stack_ids=(), joined_to="001")
    index = replace(
        session(),
        series=(broken, report, part),
        refused=(FailedStack(stack_id="001", error="slices are missing"),),
        leftovers=(Leftover(path="a", reason=Reason.NO_IMAGE, detail="", series_instance_uid="1.2.3.2"),),
    )
    path = one_rule(tmp_path, "anything")
    answers = ask(path, [index], subject="01", session="a")
    assert [one.series_instance_uid for one in answers.named] == ["1.2.3.1"]
    plan = plan_session(subject="01", session="a", indexes=[index], answers=answers)
    assert [warning for warning in plan.warnings if "T1w" in warning]


def test_explained(tmp_path: Path) -> None:
    path = file_of(
        tmp_path,
        """
rules:
  - {name: bold, match: {protocol_name: "T1*", volumes: {above: 50}, series_number: 7}, skip: none}
  - {match: {any: [{component: real}, {rows: 3}]}, skip: none}
  - {match: {not: {component: phase}}, skip: none}
  - {match: anything, skip: all else}
  - {match: {rows: 4}, skip: never asked}
""",
    )
    (one,) = series_of(session(SERIES))
    tried = rules.explain(path, [session(SERIES)], subject="01", session="a", series=one)
    assert [(each.took, each.met) for each in tried] == [(False, 1), (False, 0), (False, 0), (True, 0)]
    assert tried[0].origin == "mine.yaml, line 3 (bold)"
    assert tried[0].failed == "volumes is 2, and must be above 50"
    assert (
        tried[1].failed == "under 'any': component is 'phase', and must be 'real'; rows is 240, and must be 3"
    )
    assert tried[2].failed == "what stands under 'not' holds"


# ------------------------------------------------------------------------------------------- mistakes

T1W = "datatype: anat, suffix: T1w"
# files, each with what is said of it; one in braces is a rule.
MISTAKES = """
rules:
  - match: {a: [}
=> line 2: is no YAML: the [ on this line is not closed with ]

rules:
  - match: {a: b
    skip: c
=> line 2: is no YAML: the { on this line is not closed with }

rules:
  - match: {a: b,
=> line 2: is no YAML: the { on this line is not closed with }

rules:
  - {match: {a: [1, 2}, skip: c}
=> line 2: is no YAML: the [ on this line is not closed with ]

rules:
  - skip: 'c
=> line 2: is no YAML: the text in quotes that begins on this line has no end

rules:
\t- a
=> line 2: is no YAML

# nothing
=> must hold the key 'rules'

rule: [{}]
=> a rules file knows no 'rule'. Did you mean 'rules'?

rules: []
=> 'rules' must be a list, not an empty one

rules:
  - T1w
=> line 2: a rule must be keys with values, not 'T1w'

{macth: anything, T1W}
=> a rule knows no 'macth'. Did you mean 'match'?

{T1W}
=> the rule has no 'match'

{match: everything, T1W}
=> line 2: 'match' must be facts

rules:
  - match:
      protocol: x
    skip: y
=> line 3: the match knows no 'protocol'. Did you mean 'protocol_name'?

{match: {patient_id: x}, skip: y}
=> 'patient_id' cannot be asked: it tells who the patient is

{match: {volumes: many}, skip: y}
=> 'volumes' is a number, not 'many'. Write a number, or limits

{match: {is_derived: 1}, skip: y}
=> 'is_derived' is true or false, not 1

{match: {volumes: {form: 1}}, skip: y}
=> the test of 'volumes' knows no 'form'. Did you mean 'from'?

{match: {volumes: {from: a}}, skip: y}
=> 'from' must be a number, not 'a'

{match: {volumes: []}, skip: y}
=> an empty list

{match: {protocol_name: {is: [a]}}, skip: y}
=> 'is' is followed by one value

{match: {protocol_name: {regex: '('}}, skip: y}
=> '(' is no regular expression

{match: {rows: 1, rows: 2}, skip: y}
=> the key 'rows' stands there twice

{match: anything}
=> the rule has no 'datatype' and no 'suffix'

{match: anything, skip: true}
=> 'skip' says why

rules:
  - match: anything
    skip: x
    suffix: T1w
=> line 4: 'suffix' stands beside 'skip'

rules:
  - match: anything
    datatype: anta
    suffix: T1w
=> line 3: unknown datatype folder 'anta': did you mean anat?

rules:
  - match: anything
    datatype: anat
    suffix: t1w
=> line 4: unknown suffix 't1w' for volumes of anat: did you mean T1w?

{match: anything, datatype: anat, suffix: bold}
=> the suffix 'bold' belongs into the folder func

{match: anything, datatype: func, suffix: bold}
=> line 2: func/*_bold needs the entity 'task'

rules:
  - match: anything
    datatype: anat
    suffix: T1w
    entities:
      trc: x
=> line 6: anat/*_T1w allows no entity 'trc'

{match: anything, T1W, entities: {aqc: x}}
=> unknown entity 'aqc': did you mean 'acq'?

{match: anything, T1W, entities: {acq: a-b}}
=> the label 'a-b' of 'acq' does not match

{match: anything, T1W, entities: {acq: ''}}
=> the entity 'acq' has no label

{match: anything, T1W, entities: {run: one}}
=> the label 'one' of 'run' does not match

{match: anything, T1W, entities: {sub: x}}
=> 'sub' comes from the studies table

{match: anything, T1W, entities: {acq: a, acquisition: b}}
=> the entity 'acq' is there twice

{match: anything, T1W, entities: {acq: '{row}'}}
=> {row} is no fact

{match: anything, T1W, sidecar: {A: [{B: '{row}'}]}}
=> {row} is no fact

{match: {not: {protocol_name: {regex: '(?P<a>x)'}}}, T1W, entities: {acq: '{a}'}}
=> {a} is no fact

{match: anything, T1W, run: 2}
=> 'run' cannot be '2'

{match: anything, T1W, short: maybe}
=> 'short' cannot be 'maybe'

{match: anything, T1W, expected_volumes: -1}
=> 'expected_volumes' must be a whole number

rules:
  - match: &a {any: [*a]}
    skip: x
=> line 2: holds itself, by a *name

{match: MANY, skip: x}
=> nested more than 20 deep

a: &a [x, x, x, x, x, x, x, x, x, x]
b: &b [*a, *a, *a, *a, *a, *a, *a, *a, *a, *a]
c: &c [*b, *b, *b, *b, *b, *b, *b, *b, *b, *b]
d: &d [*c, *c, *c, *c, *c, *c, *c, *c, *c, *c]
rules: [*d, *d, *d, *d, *d, *d, *d, *d, *d, *d]
=> is more than 100,000 values long
"""


def mistakes() -> list[tuple[str, str]]:
    found = []
    many = "{any: [" * 25 + "{rows: 1}" + "]}" * 25
    for case in MISTAKES.strip().replace("MANY", many).split("\n\n"):
        text, _, said = case.replace("T1W}", f"{T1W}}}").replace("T1W,", f"{T1W},").partition("\n=> ")
        found.append((f"rules:\n  - {text}\n" if text.startswith("{") else f"{text}\n", said))
    return found


def test_mistakes_are_told_with_line_and_remedy(tmp_path: Path) -> None:
    untold = []
    for text, said in mistakes():
        message = "nothing"
        try:
            ask(file_of(tmp_path, text), [session(SERIES)], subject="01", session="a")
        except HeuristicError as error:
            message = str(error).replace("mine.yaml, line", "line")
        if said not in message:
            untold.append((text, said, message))
    assert untold == []


def test_all_mistakes_at_once_in_the_order_of_lines(tmp_path: Path) -> None:
    text = (
        "rules:\n  - match: {row: 1}\n    skip: a\n  - match: anything\n    datatype: anat\n    suffix: X\n"
    )
    with pytest.raises(HeuristicError, match=r"(?s)2 mistakes:\n  - line 2: .*\n  - line 6: "):
        ask(file_of(tmp_path, text), [], subject="01", session="")


def test_a_missing_file(tmp_path: Path) -> None:
    with pytest.raises(HeuristicError, match=r"none\.yaml: cannot be read: No such file"):
        ask(tmp_path / "none.yaml", [], subject="01", session="")


def test_no_text_is_too_odd(tmp_path: Path) -> None:
    """Spoilt files are answered with mistakes and their lines, never with another exception."""
    random = Random(7)
    demo = "rules:\n" + "".join(f"  - match: {{{one}}}\n    skip: x\n" for one in HOLD[5:8] + HOLD[-3:])
    demo += (
        "  - match: anything\n    datatype: anat\n    suffix: T1w\n    entities: {acq: '{rows}', run: 1}\n"
    )
    odd = [
        "[",
        "]",
        "{",
        "}",
        "*a",
        "&a ",
        "!!int x",
        "!!python/name:os.system ",
        "null",
        ": ",
        "\n",
        "  ",
        "- ",
    ]
    odd += [
        "\t",
        "'",
        '"',
        "\x00",
        "\ufeff",
        "9" * 5000,
        "1e999",
        ".nan",
        "<<: ",
        "? ",
        "%",
        "(?P<",
        "{{",
        "\ud800",
    ]
    failed = 0
    for _ in range(300):
        at, end = sorted(random.choices(range(len(demo)), k=2))
        text = demo[:at] + random.choice(odd) + demo[random.choice([at, at + 1, end]) :]
        rules_file, problems = check_text(text, Path("odd.yaml"))
        failed += any(one.is_error for one in problems)
        assert rules_file is not None or problems
        assert all(0 <= one.line <= text.count("\n") + 2 for one in problems)
    assert 100 < failed < 300
    (tmp_path / "latin.yaml").write_bytes(b"rules: \xe9")
    with pytest.raises(HeuristicError, match="is not a UTF-8 text"):
        ask(tmp_path / "latin.yaml", [], subject="01", session="")


def test_a_pattern_without_end_is_ended(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("pacs2bids.dialects.isolated.GRACE_S", 60)  # however busy the machine is
    path = one_rule(tmp_path, "{protocol_name: {regex: '^(a+)+$'}}")
    index = session(series(1, "a" * 60 + "b"))
    with pytest.raises(HeuristicError, match=r"mine\.yaml: its regular expressions do not come to an end"):
        rules.ask(path, [index], subject="01", session="", limit_s=0.3)
    assert rules.ask(path, [session(series(1, "aaa"))], subject="01", session="").named
    (one,) = series_of(index)
    words = {"subject": "01", "session": "", "limit_s": 0.3}
    with pytest.raises(HeuristicError, match="do not come to an end"):
        rules.explain(path, [index], series=one, **words)  # type: ignore[arg-type]
    (short,) = series_of(session(series(1, "aaa")))
    assert [one.took for one in rules.explain(path, [], series=short, subject="01", session="")] == [True]


def test_braces_without_quotes_are_told(tmp_path: Path) -> None:
    text = "rules:\n  - {name: a, match: anything, datatype: func, suffix: bold, entities: {task: {task}}}\n"
    _, problems = check_text(text, tmp_path / "mine.yaml")
    (told,) = [one for one in problems if "must be a text" in one.what]
    assert (told.line, told.hint) == (2, 'Write it in quotes: "{task}"')


def test_in_an_exclusive_file_what_several_rules_fit_gets_no_name(tmp_path: Path) -> None:
    text = """exclusive: true
rules:
  - {name: one, match: {protocol_name: "*T1*"}, datatype: anat, suffix: T1w}
  - {name: two, match: {protocol_name: "*mprage*"}, datatype: anat, suffix: T2w}
"""
    index = session(series(1, "T1"), series(2, "T1 mprage"))
    exclusive = file_of(tmp_path, text)
    said = planned(exclusive, index)
    assert said["001-1"] == "T1w"
    assert said["002-1"] == (
        "2 rules fit, of a file that is exclusive: mine.yaml, line 3 (one); mine.yaml, line 4 (two)"
    )
    (_, both) = series_of(index)
    tried = rules.explain(exclusive, [index], subject="01", session="a", series=both)
    assert [one.took for one in tried] == [True, True]


# ------------------------------------------------------------------------------------------- the schema


def test_the_schema_for_editors_knows_what_the_reader_knows() -> None:
    rule = SCHEMA["$defs"]["rule"]["properties"]
    words = vocabulary()
    assert rule["datatype"]["enum"] == list(words.datatypes)
    assert set(rule["suffix"]["enum"]) == {suffix for _, suffix in words.files} | {"phase"}
    names = {name for one in words.entities.values() for name in (one.key, one.name)}
    assert set(rule["entities"]["properties"]) == names - {"sub", "subject", "ses", "session"}
    assert set(SCHEMA["$defs"]["match"]["properties"]) == {*FACTS, "any", "all", "not"}
    about = {
        name: fact["description"]
        for name, fact in SCHEMA["$defs"]["match"]["properties"].items()
        if name in FACTS
    }
    assert about == {name: fact.about for name, fact in FACTS.items()}


def test_schema_and_reader_agree() -> None:
    """On all conditions above, on the demo, and on mistakes of form."""
    valid = Draft202012Validator(SCHEMA).is_valid
    assert valid(yaml.safe_load((ROOT / "heuristics/demo.yaml").read_text()))
    for condition in HOLD + FAIL:
        assert valid({"rules": [{"match": yaml.safe_load(condition), "skip": "x"}]}), condition
    beyond_form = (
        "is no YAML",
        "regular",
        "needs the entity",
        "allows no",
        "belongs into",
        "label",
        "is no fact",
    )
    beyond_form += ("comes twice", "is there twice", "stands there twice", "nested", "unknown suffix")
    for text, said in mistakes():
        if (
            not any(word in said for word in beyond_form)
            and "&a" not in text
            and "[{any: [{any" not in text
            and not text.startswith("#")
        ):
            assert not valid(yaml.safe_load(text)), text


# ------------------------------------------------------------------------------------------- the demo


def test_the_demo_names_what_the_python_demo_names() -> None:
    """The phantom's protocols, as ``demo.py`` lists them."""
    index = session(
        series(1, "localizer"),
        series(2, "T1w_MPRAGE"),
        series(3, "gre_field_mapping", volume(echo_time_s=0.005), volume(echo_time_s=0.007)),
        series(4, "gre_field_mapping", volume(component="phase")),
        series(5, "fmap_epi_dir-PA"),
        series(6, "func_task-rest_bold", series_description="func_task-rest_bold_SBRef"),
        series(7, "func_task-rest_bold"),
        series(8, "dwi_dir-AP", volume(is_diffusion=True)),
    )
    assert planned(ROOT / "heuristics/demo.yaml", index) == {
        "001-1": "localizer, not wanted in the dataset",
        "002-1": "T1w",
        "003-1": "magnitude1",
        "003-2": "magnitude2",
        "004-1": "phasediff",
        "005-1": "dir-PA_epi",
        "006-1": "task-rest_sbref",
        "007-1": "task-rest_bold",
        "008-1": "dir-AP_dwi",
    }
