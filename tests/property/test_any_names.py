"""Whatever a session holds and a heuristic says: right names or an error, whatever the order."""

from __future__ import annotations

from collections import Counter

from hypothesis import given
from hypothesis import strategies as st

from pacs2bids.bids import BidsName
from pacs2bids.model import NamingRules, PlanError, Stack
from pacs2bids.plan import SessionPlan
from pacs2bids.runs import without_run
from pacs2bids.session import Answer
from planning import answer, index, planned, stack

NAMES = [
    *(f"func/task-rest_{words}" for words in ("bold", "run-02_bold", "sbref", "part-phase_bold")),
    *(f"dwi/{suffix}" for suffix in ("dwi", "sbref")),
    *(f"anat/{suffix}" for suffix in ("T1w", "VFA", "MP2RAGE", "UNIT1", "MPM", "MEGRE")),
    *(f"fmap/{suffix}" for suffix in ("epi", "magnitude", "phasediff", "fieldmap")),
    *(f"fmap/{suffix}" for suffix in ("TB1DAM", "TB1AFI", "RB1COR")),
]
TIMES = [f"2026-01-02T10:{minute:02d}:{second}" for minute in (1, 2, 9) for second in ("00", "01.5")]

FACTS = {
    "component": st.sampled_from([None, "magnitude", "phase", "real"]),
    "content": st.sampled_from([None, "fieldmap", "reversed"]),
    "echo_time_s": st.sampled_from([None, 0.005, 0.0050001, 0.0075]),
    "echo_number": st.sampled_from([None, 1, 2]),
    "inversion_time_s": st.sampled_from([None, 0.8, 2.5]),
    "flip_angle_deg": st.sampled_from([None, 5.0, 20.0]),
    "repetition_time_s": st.sampled_from([None, 0.02, 0.1, 2.0]),
    "phase_encoding_direction": st.sampled_from([None, "j", "j-"]),
    "acquired": st.sampled_from([None, *TIMES]),
    "is_diffusion_map": st.booleans(),
    "volumes": st.sampled_from([1, 1, 9]),
    "volumes_promised": st.sampled_from([None, 9]),
    "sidecar": st.sampled_from([{}, {"MTState": True}, {"MTState": False}, {"ReceiveCoilName": "BC"}]),
}  # fmt: skip


@st.composite
def sessions(draw: st.DrawFn) -> tuple[list[list[Stack]], list[Answer], NamingRules]:
    """Up to five series of up to three stacks that differ in a few facts, and what is said of them."""
    varying = draw(st.lists(st.sampled_from(sorted(FACTS)), max_size=4, unique=True))
    known = {key: draw(FACTS[key]) for key in FACTS if key not in varying}
    chosen = draw(st.lists(st.sampled_from(NAMES), min_size=1, max_size=3))
    groups, answers = [], []
    for number in range(1, draw(st.integers(1, 5)) + 1):
        facts = [known | {key: draw(FACTS[key]) for key in varying} for _ in range(draw(st.integers(1, 3)))]
        groups.append([stack(number, n, **one) for n, one in enumerate(facts, start=1)])
        run, short = draw(st.sampled_from(["", "several", "always"])), draw(st.sampled_from(["", "drop"]))
        answers.append(answer(number, draw(st.sampled_from(chosen)), run=run, short=short))
    rules = NamingRules(
        runs=draw(st.sampled_from(["written", "several"])),
        short_runs=draw(st.sampled_from(["keep", "drop", "acq-short"])),
        computed_maps=draw(st.sampled_from(["skip", "name"])),
    )
    return groups, answers, rules


def result(groups: list[list[Stack]], answers: list[Answer], rules: NamingRules) -> SessionPlan | None:
    try:
        return planned(index(*groups), *answers, rules=rules)
    except PlanError:
        return None


@given(drawn=sessions())
def test_right_names_or_an_error(drawn: tuple[list[list[Stack]], list[Answer], NamingRules]) -> None:
    groups, answers, rules = drawn
    plan = result(groups, answers, rules)
    again = result(groups, answers[::-1], rules)
    assert (plan and plan.rows) == (again and again.rows)  # whatever the order in which it is said
    if plan is None:
        return
    assert Counter(row.stack_id for row in plan.rows) == Counter(s.stack_id for g in groups for s in g)
    assert all(bool(row.bids_name) != bool(row.reason) for row in plan.rows)
    names = [BidsName.parse(row.bids_name) for row in plan.rows if row.bids_name]
    assert len(set(names)) == len(names)
    assert not [name for name in names if name.problems()]


@given(drawn=sessions())
def test_numbers_are_in_the_order_of_time(
    drawn: tuple[list[list[Stack]], list[Answer], NamingRules],
) -> None:
    groups, answers, _ = drawn
    plan = result(groups, answers, NamingRules(runs="several"))
    runs: dict[BidsName, list[tuple[int, str]]] = {}
    for row in plan.rows if plan else ():
        name = BidsName.parse(row.bids_name) if row.bids_name else None
        number = name.label("run") if name else None
        if name and number:
            runs.setdefault(without_run(name), []).append((int(number), row.acquired))
    for numbered in runs.values():
        times = [time for _, time in sorted(numbered)]
        assert times == sorted(times)
