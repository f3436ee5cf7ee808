"""What the page is told, as JSON: plain text and numbers, no markup."""

from __future__ import annotations

from msgspec import Struct

from pacs2bids.model import Json


class Mark(Struct, frozen=True, kw_only=True):
    """What is wrong with the heuristic. ``line``: from 1; 0: not at one line. ``hint``: what to do."""

    line: int
    what: str
    hint: str = ""
    is_error: bool


class Row(Struct, frozen=True, kw_only=True):
    """One volume, or a series without any. ``line``: of the heuristic, which named or skipped it; 0: none.

    ``change``: "renamed", "named" or "left without a name" where it has another name than it had: ``before``.
    """

    study: str
    series: str
    stack: str
    number: str
    description: str
    dims: str
    facts: str
    time: str
    names: tuple[str, ...]
    reason: str
    notes: str
    line: int
    change: str
    before: tuple[str, ...]
    set_aside: bool


class SessionPlan(Struct, frozen=True, kw_only=True):
    """The plan of one session. ``error``: why there is none; the rows are those of the last good one then.

    ``baseline``: what ``before`` is: "dataset", "last plan", or "" where there is nothing yet. ``gone``:
    names of volumes that are not in the studies any more.
    """

    key: str
    rows: tuple[Row, ...] = ()
    warnings: tuple[str, ...] = ()
    gone: tuple[str, ...] = ()
    baseline: str = ""
    error: str = ""


class Plan(Struct, frozen=True, kw_only=True):
    """All that is shown on the right. ``digest``: of the text that it is of; ``is_draft``: not the saved one.

    ``error``: why nothing can be planned; then the sessions are as they were. ``took_s``: planning.
    """

    digest: str
    is_draft: bool
    error: str
    marks: tuple[Mark, ...]
    sessions: tuple[SessionPlan, ...]
    took_s: float


class Listed(Struct, frozen=True, kw_only=True):
    """One session of the studies table."""

    key: str
    is_indexed: bool
    is_chosen: bool


class Stage(Struct, frozen=True, kw_only=True):
    """What the page is about. ``trouble``: why configuration or heuristic cannot be read."""

    config: str
    folder: str
    sessions: tuple[Listed, ...]
    trouble: str = ""


class Document(Struct, frozen=True, kw_only=True):
    """The heuristic as it is saved. ``kind``: "python" or "rules". ``digest``: of its bytes."""

    path: str
    name: str
    kind: str
    text: str
    digest: str
    is_editable: bool


class Fact(Struct, frozen=True, kw_only=True):
    """A label and a value."""

    label: str
    value: str


class Volume(Struct, frozen=True, kw_only=True):
    """One volume of a series. ``is_drawable``: it is reconstructed."""

    stack: str
    names: tuple[str, ...]
    reason: str
    notes: str
    facts: tuple[Fact, ...]
    tags: tuple[str, ...]
    warnings: tuple[str, ...]
    is_drawable: bool


class SeriesDetail(Struct, frozen=True, kw_only=True):
    """What is shown of a series when it is chosen. ``why``: which rule or line took it, or came nearest.

    ``seen``: volume ("" for all), name and value of what the heuristic may ask for.
    """

    label: str
    why: tuple[str, ...]
    volumes: tuple[Volume, ...]
    seen: tuple[tuple[str, str, Json], ...]
    time: str
    instances: int


class Change(Struct, frozen=True, kw_only=True):
    """Old and new names of one volume. ``kind``: as ``Row.change``."""

    label: str
    kind: str
    before: tuple[str, ...]
    after: tuple[str, ...]
    why: str


class SessionChanges(Struct, frozen=True, kw_only=True):
    """What would change in one session. ``error``: why that cannot be told, and it stays as it is."""

    key: str
    changes: tuple[Change, ...] = ()
    error: str = ""


class Changes(Struct, frozen=True, kw_only=True):
    """What would be placed, of all sessions of the table. ``digest``: of the files that it follows from."""

    digest: str
    sessions: tuple[SessionChanges, ...]
    unchanged: int
    waiting: tuple[str, ...]


class Run(Struct, frozen=True, kw_only=True):
    """A run of the workflow. ``state``: "idle", "running", "done", "failed" or "stopped"."""

    state: str = "idle"
    lines: tuple[str, ...] = ()


class Pictures(Struct, frozen=True, kw_only=True):
    """What there is to see of a volume: what each picture shows, in the order of their numbers."""

    captions: tuple[str, ...]


class Busy(Struct, frozen=True, kw_only=True):
    """Planning goes on: ``done`` of ``sessions`` are. ``sessions`` 0: nothing goes on."""

    done: int = 0
    sessions: int = 0
