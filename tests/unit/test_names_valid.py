"""Names are right or wrong to us as they are to the official validator."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from test_telling import CASES

from pacs2bids.bids import BidsName, FileRule, vocabulary
from pacs2bids.check import validate
from pacs2bids.model import PlanError
from pacs2bids.plan import plan_session
from pacs2bids.session import Answer, Answers
from peers.available import unavailable
from planning import STUDY, index, stack

KINDS = [
    (datatype, suffix, rule) for (datatype, suffix), rules in vocabulary().files.items() for rule in rules
]
# what the validator says of names alone; its rules for contents of files do not matter here
OF_NAMES = {
    "NOT_INCLUDED",
    "INVALID_LOCATION",
    "INVALID_ENTITY_LABEL",
    "ENTITY_NOT_IN_RULE",
    "FILENAME_MISMATCH",
    "MISSING_REQUIRED_ENTITY",
    "DATATYPE_MISMATCH",
    "EXTENSION_MISMATCH",
    "ALL_FILENAME_RULES_HAVE_ISSUES",
}


def label(key: str) -> str:
    """One that BIDS allows."""
    rule = vocabulary().entities[key]
    if rule.allowed:
        return rule.allowed[0]
    return "1" if rule.pattern.fullmatch("1") and not rule.pattern.fullmatch("a") else "aB1"


def built(datatype: str, suffix: str, keys: frozenset[str], session: str = "") -> BidsName:
    """A name with these entities, each put to its place by ``with_entity``."""
    name = BidsName(subject="01", session=session, datatype=datatype, suffix=suffix)
    for key in sorted(keys - {"sub", "ses"}):  # any order but that of BIDS
        name = name.with_entity(key, label(key))
    return name


@st.composite
def right_names(draw: st.DrawFn) -> tuple[BidsName, FileRule]:
    datatype, suffix, rule = draw(st.sampled_from(KINDS))
    optional = draw(st.frozensets(st.sampled_from(sorted(rule.optional)))) if rule.optional else frozenset()
    session = draw(st.sampled_from(["", "a", "Pre1"])) if "ses" in rule.optional else ""
    return built(datatype, suffix, rule.required | optional, session), rule


def planned(name: BidsName) -> str:
    """What naming makes of it for one stack."""
    answer = Answer(
        study_instance_uid=STUDY, series_instance_uid=f"{STUDY}.1", template="any", path=name.path
    )
    plan = plan_session(
        subject="01",
        session=name.session,
        indexes=[index([stack(1)])],
        answers=Answers(named=(answer,)),
    )
    return plan.rows[0].bids_name


@given(drawn=right_names())
def test_names_of_the_schema_pass_through_naming(drawn: tuple[BidsName, FileRule]) -> None:
    name, _ = drawn
    assert name.problems() == []
    assert BidsName.parse(name.path) == name
    assert planned(name) == name.path


@given(drawn=right_names(), data=st.data())
def test_wrong_names_are_refused(drawn: tuple[BidsName, FileRule], data: st.DataObject) -> None:
    name, _ = drawn
    wrong = data.draw(st.sampled_from(list(_spoilt(name))))
    with pytest.raises(PlanError):
        planned(wrong)


def _spoilt(name: BidsName) -> Iterator[BidsName]:
    """The same name, wrong in one way each."""
    keys = {key for key, _ in name.entities}
    rules = vocabulary().files[name.datatype, name.suffix]
    foreign = [key for key in vocabulary().entities if all(key not in r.required | r.optional for r in rules)]
    for key in foreign:
        if key not in ("sub", "ses"):
            yield name.with_entity(key, label(key))
    for key in keys:
        if all(key in rule.required for rule in rules):
            yield name.without_entity(key)
        yield name.with_entity(key, "a_b")
        yield name.with_entity(key, "a-b")
    if len(name.entities) > 1:
        yield _with_entities(name, name.entities[::-1])
        yield _with_entities(name, (*name.entities, name.entities[0]))
    yield name.with_suffix(name.suffix + "x")
    yield name.with_suffix(name.suffix.swapcase())


def _with_entities(name: BidsName, entities: tuple[tuple[str, str], ...]) -> BidsName:
    return BidsName(
        subject=name.subject,
        session=name.session,
        datatype=name.datatype,
        entities=entities,
        suffix=name.suffix,
    )


# ------------------------------------------------------------------------------ beside the official validator


def of_all_kinds() -> set[BidsName]:
    """Of each kind of volume: the shortest name, the longest, and what our tests of naming make."""
    found = {built(datatype, suffix, rule.required, "a") for datatype, suffix, rule in KINDS}
    found |= {built(d, s, rule.required | rule.optional, "a") for d, s, rule in KINDS}
    for said, _, expected in CASES.values():
        folder = f"sub-01/ses-a/{said.partition('/')[0]}"
        found |= {BidsName.read(f"{folder}/sub-01_ses-a_{words}") for words in expected}
    return found


def spoilt_ones() -> set[BidsName]:
    """Wrong in all ways that a path can show."""
    base = (("func", "bold"), ("anat", "VFA"), ("anat", "MP2RAGE"), ("fmap", "epi"), ("dwi", "dwi"))
    rules = {(datatype, suffix): rule for datatype, suffix, rule in KINDS}
    found = set[BidsName]()
    for kind in base:
        rule = rules[kind]
        found |= set(_spoilt(built(*kind, rule.required | {"run", "dir"} & rule.optional, "a")))
    return found


def test_the_official_validator_agrees(tmp_path: Path) -> None:
    right, wrong = of_all_kinds(), spoilt_ones()
    (tmp_path / "dataset_description.json").write_text(json.dumps({"Name": "x", "BIDSVersion": "1.10.0"}))
    for name in right | wrong:
        path = tmp_path / f"{name.path}.nii.gz"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(b"")
    version, findings = validate(tmp_path)
    if not version:
        unavailable("bids-validator-deno is not installed")
    told = {one.location for one in findings if one.severity == "error" and one.code in OF_NAMES}
    blamed = {location.removeprefix("/").removesuffix(".nii.gz") for location in told}
    assert {name.path for name in right if name.problems()} == set()
    assert {name.path for name in wrong if not name.problems()} == set()
    assert blamed == {name.path for name in wrong}
