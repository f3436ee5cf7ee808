"""What an import makes of a file of another program."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from pacs2bids.model import Json


@dataclass(frozen=True, slots=True, kw_only=True)
class Lost:
    """Something that could not be carried over. ``where``: the entry, as a person finds it in the file.

    ``what``: as it stands there. ``why``: why not, and what to do. ``is_rule``: so the entry makes no rule.
    """

    where: str
    what: str
    why: str
    is_rule: bool = False

    def __str__(self) -> str:
        return f"{self.where}: {self.what}: {self.why}"


@dataclass(frozen=True, slots=True, kw_only=True)
class ImportedRule:
    """One rule, in the words of docs/rules.md.

    ``match``: from fact to test. ``skip``: the reason, instead of a name. ``run``: "" or a word of ``run``.
    ``lost``: what of its entry could not be carried over; a rule with an ``is_rule`` among them is written as
    a comment only, as it would take what the entry did not.
    """

    name: str
    match: Mapping[str, Json]
    datatype: str = ""
    suffix: str = ""
    entities: Mapping[str, str] = field(default_factory=dict)
    sidecar: Mapping[str, Json] = field(default_factory=dict)
    run: str = ""
    skip: str = ""
    lost: tuple[Lost, ...] = ()

    @property
    def is_active(self) -> bool:
        """Whether it can be used."""
        return not any(one.is_rule for one in self.lost)


@dataclass(frozen=True, slots=True, kw_only=True)
class Imported:
    """A whole file. ``program``: that it was written for. ``is_exclusive``: several rules that fit are none.

    ``lost``: of the file as a whole, beside those of its rules.
    """

    program: str
    rules: tuple[ImportedRule, ...]
    lost: tuple[Lost, ...] = ()
    is_case_sensitive: bool = False
    is_exclusive: bool = False

    @property
    def all_lost(self) -> tuple[Lost, ...]:
        """All that could not be carried over, in the order of the file."""
        return (*self.lost, *(one for rule in self.rules for one in rule.lost))
