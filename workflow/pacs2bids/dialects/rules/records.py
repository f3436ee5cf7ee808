"""A rules file, read and checked."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

from pacs2bids.dialects.rules.conditions import Condition
from pacs2bids.model import Json


@dataclass(frozen=True, slots=True, kw_only=True)
class Target:
    """What the series that a rule takes are called, and what becomes of them.

    ``entities``: labels by key, which may hold ``{fact}``. ``run``, ``short``, ``volumes``,
    ``volume_types``: as in ``session.Answer``. ``sidecar``: fields to add; None takes one away.
    """

    datatype: str
    suffix: str
    entities: Mapping[str, str] = field(default_factory=dict)
    sidecar: Mapping[str, Json] = field(default_factory=dict)
    run: str = "several"
    short: str = ""
    volumes: int | None = None
    volume_types: tuple[str, ...] = ()

    @property
    def template(self) -> str:
        """The name as it is written, for messages: "func/task-{task}_bold"."""
        words = [f"{key}-{label}" for key, label in self.entities.items()]
        return f"{self.datatype}/" + "_".join([*words, self.suffix])


@dataclass(frozen=True, slots=True, kw_only=True)
class Rule:
    """One rule: either ``target``, or ``skip``, the reason why what it takes is left out.

    ``line``: where it begins, from 1.
    """

    name: str
    line: int
    condition: Condition
    target: Target | None
    skip: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class RulesFile:
    """All rules in their order. ``is_exclusive``: a volume that several of them fit gets no name.

    ``has_patterns``: a regular expression is among their conditions.
    """

    path: Path
    rules: tuple[Rule, ...]
    is_exclusive: bool = False
    has_patterns: bool = False

    def origin(self, rule: Rule) -> str:
        """Like "mine.yaml, line 12 (T1w)"."""
        return f"{self.path.name}, line {rule.line}" + (f" ({rule.name})" if rule.name else "")
