"""What the pages show, as records of plain text and numbers: no markup, no pixels."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from pacs2bids.model import Vector
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
    """A file to draw.

    ``unit``: of its values where they measure something ("Hz", "rad"), "" where they are but bright or dark.
    ``factor``: what the file's values are multiplied with to be of this unit. ``b_vectors_lps``: as in
    ``model.Gradients``. ``step_s``: time from volume to volume, None if unknown.
    """

    path: Path
    b_values_s_per_mm2: tuple[float, ...] = ()
    b_vectors_lps: tuple[Vector, ...] = ()
    unit: str = ""
    factor: float = 1.0
    step_s: float | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class StackView:
    """One volume: its names (folder and file). ``reason``: why it has none. ``doubts``: notes of its plan.

    ``provenance``: how it came to be. ``unseen``: why there is no picture of it, or may be none; "" else.
    """

    badge: Badge
    names: tuple[tuple[str, str], ...]
    reason: str
    doubts: tuple[str, ...]
    tags: tuple[str, ...]
    facts: tuple[Fact, ...]
    warnings: tuple[str, ...]
    provenance: tuple[Fact, ...]
    volume: VolumeRef | None
    unseen: str = ""


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


# a value of a protocol: a number, several (voxel sizes), or a word
Value = int | float | tuple[float, ...] | str


@dataclass(frozen=True, slots=True, kw_only=True)
class Acquired:
    """One volume that the plan names. ``key``: its name without subject, session and run.

    ``scanner``: its model and field, as "Prisma_fit 3 T", "" if unknown. ``state``: "placed", "absent" (it
    could not be made) or "planned". ``short``: what the plan notes of one that was cancelled, else "".
    ``values``: what was measured with, label -> value, as ``drift.PARAMETERS``.
    """

    name: str
    key: str
    state: str
    scanner: str = ""
    short: str = ""
    values: dict[str, Value] = field(default_factory=dict)


@dataclass(frozen=True, slots=True, kw_only=True)
class ReceiptCount:
    """Instances that a source announced, and those of them that did not come."""

    source: str
    announced: int
    missing: int
    complete: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class SessionSummary:
    """What the page of the dataset says of one session; kept beside the session's own page.

    ``failed``: a job of it ended without a result; what the dataset holds of it is older. ``troubles``: what
    keeps it from going on. ``set_aside``: series that its heuristic failed on. ``came``: instances received,
    of those announced. ``skipped``: (reason, description of the series). ``errors``: of the checks, in
    its files. ``problems``: records that cannot be read.
    """

    key: str
    subject: str
    session: str
    badge: Badge
    failed: bool
    placed: bool
    absent: int
    set_aside: int
    troubles: tuple[Trouble, ...]
    named: int
    stacks: int
    series: int
    instances: int
    left_over: int
    came: str
    acquired: tuple[Acquired, ...]
    skipped: tuple[tuple[str, str], ...]
    errors: int
    receipts: tuple[ReceiptCount, ...]
    engines: tuple[str, ...]
    problems: tuple[str, ...]

    @property
    def needs_a_look(self) -> bool:
        """Whether a person should open its page."""
        return self.badge.tone != GOOD or bool(self.errors)


@dataclass(frozen=True, slots=True, kw_only=True)
class SessionView:
    """The page of one session. ``notes``: warnings of its jobs."""

    summary: SessionSummary
    clock: str
    scanner: str
    opinion: str
    notes: tuple[str, ...]
    findings: tuple[Group, ...]
    series: tuple[SeriesView, ...]
    leftovers: tuple[Group, ...]
    receipts: tuple[ReceiptView, ...]

    def volumes(self) -> Iterator[VolumeRef]:
        """The files to draw, in the order of the page."""
        for series in self.series:
            for stack in series.stacks:
                if stack.volume:
                    yield stack.volume


def group(
    *, tone: str, title: str, lines: Sequence[str], detail: str = "", count: int | None = None
) -> Group:
    """The group of these lines. ``count``: of things, where a line may tell of several."""
    return Group(
        tone=tone,
        title=title,
        detail=detail,
        count=len(lines) if count is None else count,
        lines=tuple(lines[:SHOWN]),
        more=max(len(lines) - SHOWN, 0),
    )
