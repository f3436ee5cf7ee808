"""Sessions x keys: what each session has of what sessions like it have.

What a session should have is what most of its *peers* have: the sessions of the same label if there are
three or more of them (so that a second visit may have another protocol than the first), else all sessions.
How many volumes a series should have is what most have of those that were measured on the same model.
"""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

from pacs2bids.report.drift import models_of
from pacs2bids.report.view import Acquired, SessionSummary, Value

PEERS = 3  # sessions of a label, from which on they are compared among themselves

PRESENT, SHORT, MISSING, REPEATED, FAILED, NONE = "present", "short", "missing", "repeated", "failed", "none"

# a sign for each state: shapes, so that nobody needs to tell colours
SIGNS = {PRESENT: "●", SHORT: "◐", MISSING: "○", REPEATED: "+", FAILED: "✕", NONE: "·"}


@dataclass(frozen=True, slots=True, kw_only=True)
class Cell:
    """What a session has of a key. ``detail``: what a person should know besides, "" where all is well."""

    state: str
    detail: str = ""

    @property
    def title(self) -> str:
        """In words; "" of what is there as it should be, and of what nobody expects."""
        if self.state in (PRESENT, NONE):
            return self.detail
        # what plan and badge say may begin with it
        is_told = not self.detail or self.detail.startswith(f"{self.state}:")
        return (self.detail or self.state) if is_told else f"{self.state}: {self.detail}"

    @property
    def sign(self) -> str:
        """The sign of its state."""
        return SIGNS[self.state]


@dataclass(frozen=True, slots=True, kw_only=True)
class Row:
    """One session: a cell a key. ``is_whole``: nothing of it is short, missing, repeated or failed."""

    session: str
    cells: tuple[Cell, ...]

    @property
    def is_whole(self) -> bool:
        """Whether nobody has to look."""
        return all(cell.state in (PRESENT, NONE) for cell in self.cells)


@dataclass(frozen=True, slots=True, kw_only=True)
class Matrix:
    """``keys`` are the columns of the rows' cells."""

    keys: tuple[str, ...]
    rows: tuple[Row, ...]

    def count(self, state: str) -> int:
        """Cells in this state."""
        return sum(cell.state == state for row in self.rows for cell in row.cells)


def matrix_of(sessions: Sequence[SessionSummary]) -> Matrix:
    """One row a session, in the order given; one column a key that any session has."""
    models = models_of(one.scanner for session in sessions for one in session.acquired)
    had = {session.key: _by_key(session.acquired, models) for session in sessions}
    keys = sorted({key for of_session in had.values() for key in of_session})
    groups = _peers(sessions)
    expected: dict[str, Mapping[str, _Expected]] = {}
    for label, peers in groups.items():
        expected[label] = {key: _expected([had[peer].get(key, []) for peer in peers]) for key in keys}
    rows = [
        Row(session=one.key, cells=tuple(_cell(one, had[one.key].get(key, []), asked[key]) for key in keys))
        for one in sessions
        for asked in [expected[one.session if one.session in groups else ""]]
    ]
    return Matrix(keys=tuple(keys), rows=tuple(rows))


def _by_key(acquired: Sequence[Acquired], models: Mapping[str, str]) -> dict[str, list[Acquired]]:
    """With scanners by their model."""
    of_key: dict[str, list[Acquired]] = defaultdict(list)
    for one in acquired:
        of_key[one.key].append(replace(one, scanner=models[one.scanner]))
    return dict(of_key)


def _peers(sessions: Sequence[SessionSummary]) -> dict[str, list[str]]:
    """Label -> keys of its sessions, if these are enough; under "" all sessions that have a plan."""
    planned = [session for session in sessions if session.acquired]
    of_label: dict[str, list[str]] = defaultdict(list)
    for session in planned:
        of_label[session.session].append(session.key)
    peers = {label: keys for label, keys in of_label.items() if label and len(keys) >= PEERS}
    return peers | {"": [session.key for session in planned]}


@dataclass(frozen=True, slots=True, kw_only=True)
class _Expected:
    """``runs``: that most peers have. ``volumes``: of a run, by scanner, what more than half of them have.

    These may be several: of a long and a short run of one task, neither is cut.
    """

    runs: int
    volumes: Mapping[str, frozenset[float]]


def _expected(peers: Sequence[Sequence[Acquired]]) -> _Expected:
    counts = Counter(len(acquired) for acquired in peers)
    # of equals the larger: what half of the sessions have, the other half may lack
    runs = max(counts, key=lambda number: (counts[number], number), default=0)
    on = Counter(scanner for acquired in peers for scanner in {one.scanner for one in acquired})
    volumes: dict[str, Counter[Value | None]] = defaultdict(Counter)
    for acquired in peers:
        for scanner, number in {(one.scanner, one.values.get("Volumes")) for one in acquired}:
            volumes[scanner][number] += 1
    agreed = {
        scanner: frozenset(
            number
            for number, times in counter.items()
            if isinstance(number, int | float) and 2 * times > on[scanner]
        )
        for scanner, counter in volumes.items()
    }
    return _Expected(runs=runs, volumes=agreed)


def _cell(session: SessionSummary, acquired: Sequence[Acquired], asked: _Expected) -> Cell:
    absent = sum(one.state == "absent" for one in acquired)
    if absent:
        return Cell(state=FAILED, detail=f"{absent} of {len(acquired)} could not be made")
    if asked.runs and (session.failed or not session.placed):
        return Cell(state=FAILED, detail=session.badge.text)
    shortage = next((detail for one in acquired if (detail := _shortage(one, asked))), "")
    return Cell(state=SHORT, detail=shortage) if shortage else _counted(len(acquired), asked.runs)


def _counted(runs: int, usual: int) -> Cell:
    if runs < usual:
        return Cell(state=MISSING, detail=f"{runs} of {usual}" if runs else "")
    if runs > max(usual, 1):
        return Cell(state=REPEATED, detail=f"{runs} of it; most have {usual or 'none'}")
    return Cell(state=PRESENT if runs else NONE)


def _shortage(one: Acquired, asked: _Expected) -> str:
    if one.short:
        return one.short
    volumes, usual = one.values.get("Volumes"), asked.volumes.get(one.scanner, frozenset[float]())
    if not isinstance(volumes, int | float) or volumes in usual:
        return ""
    more = min((number for number in usual if number > volumes), default=None)
    return "" if more is None else f"{volumes:.0f} of {more:.0f} volumes"
