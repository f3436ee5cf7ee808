"""What the page shows, as records of plain text: no markup, no pixels."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from pacs2bids.standing import Trouble

GOOD, FAIR, BAD, PLAIN = "good", "fair", "bad", "plain"

SHOWN = 200  # entries of a list; the rest is counted


@dataclass(frozen=True, slots=True, kw_only=True)
class Badge:
    """A short verdict. ``tone``: "good", "fair", "bad" or "plain"."""

    tone: str
    text: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Fact:
    """A label and a value, both for people."""

    label: str
    value: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Group:
    """Things of one kind: how many, and the first of them as lines (``more``: how many are not listed)."""

    tone: str
    title: str
    detail: str
    count: int
    lines: tuple[str, ...]
    more: int = 0


@dataclass(frozen=True, slots=True, kw_only=True)
class VolumeRef:
    """A file to draw."""

    path: Path
    b_values_s_per_mm2: tuple[float, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class StackView:
    """One volume: its names (folder and file). ``reason``: why it has none, or what its plan notes of it."""

    badge: Badge
    names: tuple[tuple[str, str], ...]
    reason: str
    tags: tuple[str, ...]
    facts: tuple[Fact, ...]
    warnings: tuple[str, ...]
    volume: VolumeRef | None


@dataclass(frozen=True, slots=True, kw_only=True)
class SeriesView:
    """One series of the scanner. ``number`` may be "", as may all texts."""

    number: str
    description: str
    time: str
    instances: int
    stacks: tuple[StackView, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class ReceiptView:
    """What a source announced for a study, and what came."""

    study: str
    badge: Badge
    facts: tuple[Fact, ...]
    groups: tuple[Group, ...]
    transfers: tuple[str, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class SessionView:
    """One session. ``troubles``: what keeps it from going on. ``notes``: warnings of its jobs.

    ``failed``: a job of it ended without a result; what the dataset holds of it is older. ``set_aside``:
    series that its heuristic failed on.
    """

    key: str
    subject: str
    session: str
    badge: Badge
    failed: bool
    set_aside: int
    troubles: tuple[Trouble, ...]
    named: int
    stacks: int
    left_over: int
    instances: str
    clock: str
    scanner: str
    opinion: str
    notes: tuple[str, ...]
    series: tuple[SeriesView, ...]
    leftovers: tuple[Group, ...]
    receipts: tuple[ReceiptView, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Page:
    """The whole page."""

    title: str
    badge: Badge
    counts: tuple[Fact, ...]
    sessions: tuple[SessionView, ...]
    findings: tuple[Group, ...]
    findings_note: str
    problems: tuple[str, ...]
    provenance: tuple[Fact, ...]

    def volumes(self) -> Iterator[VolumeRef]:
        """The files to draw, in the order of the page."""
        for session in self.sessions:
            for series in session.series:
                for stack in series.stacks:
                    if stack.volume:
                        yield stack.volume


def group(*, tone: str, title: str, lines: Sequence[str], detail: str = "") -> Group:
    """The group of these lines."""
    return Group(
        tone=tone,
        title=title,
        detail=detail,
        count=len(lines),
        lines=tuple(lines[:SHOWN]),
        more=max(len(lines) - SHOWN, 0),
    )
