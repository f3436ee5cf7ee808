"""What a rule asks of a volume, and what to say where it does not hold.

A ``Test`` looks at one value, a ``Condition`` at the facts of a volume; both are pure. A value that is a list
(ImageType) satisfies a test if one of its members does, and an unknown value satisfies none but ``unknown``
and ``negated``.
"""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TypeAlias

from pacs2bids.model import Json

Lookup: TypeAlias = Callable[[str], Json]  # from the name of a fact to its value
Caught: TypeAlias = Mapping[str, str]  # named groups of regular expressions
_NOTHING: Caught = {}


# --------------------------------------------------------------------------------------------- tests


@dataclass(frozen=True, slots=True, kw_only=True)
class Test:
    """``match``: what its named groups caught; None: the value does not satisfy it. ``shown``: for people."""

    match: Callable[[Json], Caught | None]
    shown: str


def _test(holds: Callable[[Json], bool], shown: str) -> Test:
    return Test(match=lambda value: _NOTHING if holds(value) else None, shown=shown)


def unknown() -> Test:
    """The header does not say."""
    return _test(lambda value: value is None or value in ("", []), "unknown")


def is_flag(wanted: bool) -> Test:
    """True or false."""
    return _test(lambda value: any(one is wanted for one in members(value)), as_text(wanted))


def is_number(wanted: float) -> Test:
    """A number, to six digits."""

    def same(value: Json) -> bool:
        return any(math.isclose(one, wanted, rel_tol=1e-6, abs_tol=1e-12) for one in _numbers(value))

    return _test(same, as_text(wanted))


def in_range(
    *,
    least: float | None = None,
    most: float | None = None,
    above: float | None = None,
    below: float | None = None,
) -> Test:
    """A number between limits, of which the first two are allowed themselves; None: no limit."""

    def inside(number: float) -> bool:
        slack = 1e-9 * max(1.0, abs(number))  # 0.1 + 0.2 is no more than 0.3
        return (
            (least is None or number >= least - slack)
            and (most is None or number <= most + slack)
            and (above is None or number > above)
            and (below is None or number < below)
        )

    words = {"from": least, "to": most, "above": above, "below": below}
    shown = " ".join(f"{word} {limit:g}" for word, limit in words.items() if limit is not None)
    return _test(lambda value: any(map(inside, _numbers(value))), shown)


def matches(pattern: re.Pattern[str], shown: str, *, whole: bool = False) -> Test:
    """A text that a pattern is found in, or that it is the ``whole`` of."""
    find = pattern.fullmatch if whole else pattern.search

    def match(value: Json) -> Caught | None:
        for one in members(value):
            if found := find(as_text(one)):
                return {name: text for name, text in found.groupdict().items() if text is not None}
        return None

    return Test(match=match, shown=shown)


def whole_list(tests: Sequence[Test]) -> Test:
    """A list whose members satisfy these tests one by one, and that has no others."""

    def holds(value: Json) -> bool:
        values = members(value)
        return len(values) == len(tests) and all(
            test.match(one) is not None for test, one in zip(tests, values, strict=True)
        )

    return _test(holds, f"[{', '.join(test.shown for test in tests)}]")


def any_of(tests: Sequence[Test]) -> Test:
    """One of several."""

    def match(value: Json) -> Caught | None:
        return next((caught for test in tests if (caught := test.match(value)) is not None), None)

    return Test(match=match, shown=" or ".join(test.shown for test in tests))


def all_of(tests: Sequence[Test]) -> Test:
    """All of several, each by whichever member."""

    def match(value: Json) -> Caught | None:
        all_caught: dict[str, str] = {}
        for test in tests:
            caught = test.match(value)
            if caught is None:
                return None
            all_caught.update(caught)
        return all_caught

    return Test(match=match, shown=" and ".join(test.shown for test in tests))


def negated(test: Test) -> Test:
    """What must not hold. It does of an unknown value, unless that is what must not be."""
    shown = "known" if test.shown == "unknown" else f"other than {test.shown}"
    return _test(lambda value: test.match(value) is None, shown)


def members(value: Json) -> Sequence[Json]:
    """A value as list: none of an unknown one, all of a list, itself of any other."""
    if value is None:
        return []
    return value if isinstance(value, list) else [value]


def as_text(value: Json) -> str:
    """As people write it: 30, not 30.0; true, not True."""
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, float):
        return f"{value:.10g}"
    return str(value)


def _numbers(value: Json) -> list[float]:
    """The members that are numbers, or texts of one."""
    found = []
    for one in members(value):
        try:
            if isinstance(one, int | float | str) and not isinstance(one, bool):
                found.append(float(one))
        except ValueError:
            continue
    return found


# --------------------------------------------------------------------------------------------- conditions


@dataclass(frozen=True, slots=True, kw_only=True)
class Verdict:
    """``met``: how many conditions held. ``failed``: the first that did not, for a person, "" if none.

    ``caught``: by the named groups of regular expressions.
    """

    met: int
    failed: str = ""
    caught: Caught = field(default_factory=dict)

    @property
    def holds(self) -> bool:
        """Whether all conditions held."""
        return not self.failed


Condition: TypeAlias = Callable[[Lookup], Verdict]


def asks(fact: str, test: Test) -> Condition:
    """A fact must satisfy a test."""

    def judge(lookup: Lookup) -> Verdict:
        value = lookup(fact)
        caught = test.match(value)
        if caught is not None:
            return Verdict(met=1, caught=caught)
        return Verdict(met=0, failed=f"{fact} is {shown(value)}, and must be {test.shown}")

    return judge


def every(parts: Sequence[Condition]) -> Condition:
    """All of these; none is always met."""

    def judge(lookup: Lookup) -> Verdict:
        verdicts = [part(lookup) for part in parts]
        return Verdict(
            met=sum(one.met for one in verdicts),
            failed=next((one.failed for one in verdicts if not one.holds), ""),
            caught={name: text for one in verdicts for name, text in one.caught.items()},
        )

    return judge


def some(parts: Sequence[Condition]) -> Condition:
    """At least one of these; it counts as one condition."""

    def judge(lookup: Lookup) -> Verdict:
        verdicts = [part(lookup) for part in parts]
        held = next((one for one in verdicts if one.holds), None)
        if held is not None:
            return Verdict(met=1, caught=held.caught)
        return Verdict(met=0, failed="under 'any': " + "; ".join(one.failed for one in verdicts))

    return judge


def none_of(parts: Sequence[Condition]) -> Condition:
    """Not even one of these; it counts as one condition."""

    def judge(lookup: Lookup) -> Verdict:
        if any(part(lookup).holds for part in parts):
            return Verdict(met=0, failed="what stands under 'not' holds")
        return Verdict(met=1)

    return judge


def shown(value: Json) -> str:
    """A value in a message."""
    if value is None:
        return "unknown"
    if isinstance(value, list):
        return f"[{', '.join(map(as_text, value))}]"
    return repr(value) if isinstance(value, str) else as_text(value)
