"""Protocol drift: with what most sessions measured an acquisition, and which of them did it otherwise.

An acquisition is known by its key, its name without subject, session and run ("func/task-rest_bold"). What
is measured on different scanners cannot be the same: volumes of a key are compared where they are of one
model. For each key, model and parameter the *consensus* is the value that most volumes have; a volume
deviates if its value is further from that than rounding explains, or if its header says nothing where most
say something.
"""

from __future__ import annotations

import re
from bisect import bisect_left, bisect_right
from collections import Counter, defaultdict
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass

from pacs2bids.report.view import Acquired, SessionSummary, Value


@dataclass(frozen=True, slots=True, kw_only=True)
class Parameter:
    """What is compared. ``tolerance``: of numbers, a part of the value, or absolute, in ``unit``."""

    label: str
    unit: str = ""
    relative: float = 0.0
    absolute: float = 0.0


# labels are those of ``view.Acquired.values``
PARAMETERS = (
    Parameter(label="TR", unit="ms", relative=1e-3),
    Parameter(label="TE", unit="ms", relative=1e-3),
    Parameter(label="TI", unit="ms", relative=1e-3),
    Parameter(label="Flip angle", unit="°", relative=1e-2),
    Parameter(label="Matrix"),
    Parameter(label="Slices"),
    Parameter(label="Voxel", unit="mm", absolute=0.01),
    Parameter(label="Volumes"),
    Parameter(label="Phase encoding"),
    Parameter(label="Coil"),
    Parameter(label="Software"),
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Deviation:
    """A volume with another value than the consensus; "" if its header does not say."""

    session: str
    name: str
    label: str
    value: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Consensus:
    """Of one parameter: the value of most volumes, "" if most do not say, and how many have it or not."""

    label: str
    value: str
    holding: int
    deviating: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Drift:
    """One key on one model of scanner ("" if unknown): how many volumes, in how many sessions.

    ``consensus``: of each parameter, in the order of ``PARAMETERS``.
    """

    key: str
    scanner: str
    volumes: int
    sessions: int
    consensus: tuple[Consensus, ...]
    deviations: tuple[Deviation, ...]

    def deviating_sessions(self) -> int:
        """How many sessions have a volume that deviates."""
        return len({one.session for one in self.deviations})


def drift_of(sessions: Sequence[SessionSummary]) -> tuple[Drift, ...]:
    """The sheet, by key and scanner in alphabetic order.

    Of volumes whose index could not be read, nothing is said.
    """
    models = models_of(one.scanner for session in sessions for one in session.acquired)
    volumes: dict[tuple[str, str], list[tuple[str, Acquired]]] = defaultdict(list)
    for session in sessions:
        for one in session.acquired:
            if one.values:
                volumes[one.key, models[one.scanner]].append((session.key, one))
    return tuple(_drift(key, scanner, volumes[key, scanner]) for key, scanner in sorted(volumes))


def models_of(scanners: Iterable[str]) -> dict[str, str]:
    """Each scanner as its model is called the shortest.

    An upgrade may put a brand before the name of the same model ("Prisma_fit", "MAGNETOM Prisma Fit"), and
    what an upgrade changes is what the sheet is for.
    """
    words = {scanner: re.findall("[a-z0-9.]+", scanner.lower()) for scanner in set(scanners)}
    shortest = sorted(words, key=lambda scanner: (len(words[scanner]), scanner))
    return {
        scanner: next(one for one in shortest if words[one] and words[one] == its[-len(words[one]) :])
        if its
        else scanner
        for scanner, its in words.items()
    }


def _drift(key: str, scanner: str, volumes: Sequence[tuple[str, Acquired]]) -> Drift:
    consensus, deviations = [], []
    for parameter in PARAMETERS:
        said = [one.values.get(parameter.label) for _, one in volumes]
        if all(value is None for value in said):
            continue
        agreed = consensus_of(said, parameter)
        others = [
            Deviation(session=session, name=one.name, label=parameter.label, value=text_of(value, parameter))
            for (session, one), value in zip(volumes, said, strict=True)
            if not is_alike(value, agreed, parameter)
        ]
        deviations += others
        consensus.append(
            Consensus(
                label=parameter.label,
                value=text_of(agreed, parameter),
                holding=len(volumes) - len(others),
                deviating=len(others),
            )
        )
    return Drift(
        key=key,
        scanner=scanner,
        volumes=len(volumes),
        sessions=len({session for session, _ in volumes}),
        consensus=tuple(consensus),
        deviations=tuple(sorted(deviations, key=lambda one: (one.session, one.name))),
    )


def consensus_of(values: Sequence[Value | None], parameter: Parameter) -> Value | None:
    """The value that most have, near ones counted together; of equals the one that comes first.

    None if more say nothing than agree on any value.
    """
    counts = Counter(value for value in values if value is not None)
    numbers = sorted(value for value in counts if isinstance(value, int | float))
    running = [0]
    for number in numbers:
        running.append(running[-1] + counts[number])

    def support(value: Value) -> int:
        if isinstance(value, int | float):
            reach = _reach(value, parameter)
            return (
                running[bisect_right(numbers, value + reach)] - running[bisect_left(numbers, value - reach)]
            )
        if isinstance(value, tuple):
            return sum(number for other, number in counts.items() if is_alike(other, value, parameter))
        return counts[value]

    ranked = max(counts, key=lambda value: (support(value), counts[value]), default=None)
    if ranked is None or support(ranked) < sum(value is None for value in values):
        return None
    return ranked


def is_alike(value: Value | None, other: Value | None, parameter: Parameter) -> bool:
    """Whether two values are the same but for rounding. What is unknown is like what is unknown alone."""
    if isinstance(value, int | float) and isinstance(other, int | float):
        return abs(value - other) <= _reach(other, parameter)
    if isinstance(value, tuple) and isinstance(other, tuple) and len(value) == len(other):
        return all(is_alike(one, its, parameter) for one, its in zip(value, other, strict=True))
    return value == other


def _reach(value: float, parameter: Parameter) -> float:
    return max(abs(value) * parameter.relative, parameter.absolute) + 1e-9


def text_of(value: Value | None, parameter: Parameter) -> str:
    """As a person reads it, with its unit; "" of what is unknown."""
    if value is None:
        return ""
    unit = parameter.unit if parameter.unit == "°" else f" {parameter.unit}".rstrip()
    if isinstance(value, tuple):
        return " × ".join(f"{one:.4g}" for one in value) + unit
    return value if isinstance(value, str) else f"{value:,.6g}{unit}"


COLUMNS = ("key", "scanner", "parameter", "consensus", "holding", "session", "name", "value")


def table_of(sheet: Sequence[Drift]) -> Iterator[dict[str, object]]:
    """``drift.tsv``: one row a deviation; of a parameter without any, one row without session."""
    for drift in sheet:
        for agreed in drift.consensus:
            row: dict[str, object] = {
                "key": drift.key,
                "scanner": drift.scanner or None,
                "parameter": agreed.label,
                "consensus": agreed.value or None,
                "holding": f"{agreed.holding} of {drift.volumes}",
            }
            others = [one for one in drift.deviations if one.label == agreed.label]
            if not others:
                yield row
            for one in others:
                yield row | {"session": one.session, "name": one.name, "value": one.value or None}
