"""Plans as text for the eyes: one as a table, and what an edit of the heuristic changes.

Names are shown without the folders of their session, which the line above tells.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass

from pacs2bids.model import PlanRow, StackFacts, StudyIndex
from pacs2bids.session import Tried
from pacs2bids.text import aligned, counted, printable

# StudyInstanceUID, and stack_id, or SeriesInstanceUID where there is no stack
Key = tuple[str, str]
Names = Mapping[Key, Collection[str]]

_HEADINGS = ["stack", "description", "volume", "facts", "name, or why it has none"]
_LONGEST_FACTS = 48


def names_of(rows: Iterable[PlanRow]) -> dict[Key, tuple[str, ...]]:
    """All that has a row -> its names, in alphabetical order; () for what has none."""
    names: dict[Key, set[str]] = defaultdict(set)
    for row in rows:
        names[key_of(row)] |= {row.bids_name} - {""}
    return {key: tuple(sorted(found)) for key, found in names.items()}


def key_of(row: PlanRow) -> Key:
    """Which stack a row speaks of."""
    return row.study_instance_uid, row.stack_id or row.series_instance_uid


def table(rows: Sequence[PlanRow], indexes: Iterable[StudyIndex]) -> list[str]:
    """Lines of a table, in the order of the rows."""
    facts = {(index.study_instance_uid, one.stack_id): one.facts for index in indexes for one in index.stacks}
    cells = [_cells(row, facts.get(key_of(row))) for row in rows]
    return aligned([_HEADINGS, *cells]) if cells else ["nothing was received"]


def _cells(row: PlanRow, facts: StackFacts | None) -> list[str]:
    said = said_of(facts) if facts else counted(row.instances, "instance")
    stack = row.stack_id or ("-" if row.series_number is None else f"{row.series_number:03d}")
    name = short(row.bids_name) or f"- {printable(row.reason)}"
    return [stack, printable(row.series_description) or "-", row.dims or "-", said, name]


def said_of(facts: StackFacts) -> str:
    """What tells series apart, as a person at the console would."""
    words = [
        None if facts.repetition_time_s is None else f"TR {facts.repetition_time_s:.4g} s",
        None if facts.echo_time_s is None else f"TE {facts.echo_time_s * 1000:.4g} ms",
        None if facts.inversion_time_s is None else f"TI {facts.inversion_time_s:.4g} s",
        facts.component if facts.component != "magnitude" else None,
        facts.content,
        "diffusion" if facts.is_diffusion else None,
        "localizer" if facts.is_localizer else None,
        "derived" if facts.is_derived else None,
    ]
    said = ", ".join(word for word in words if word)
    return said if len(said) <= _LONGEST_FACTS else said[: _LONGEST_FACTS - 3] + "..."


def short(name: str) -> str:
    """ "anat/sub-01_ses-a_T1w" of "sub-01/ses-a/anat/sub-01_ses-a_T1w"."""
    return "/".join(name.split("/")[-2:])


@dataclass(frozen=True, slots=True, kw_only=True)
class Difference:
    """One stack whose names change: () where it has, or had, none. ``why``: of the plan, if it has none."""

    key: Key
    label: str
    before: tuple[str, ...]
    after: tuple[str, ...]
    why: str = ""

    @property
    def kind(self) -> str:
        """What happens to it, for counting."""
        if self.before and self.after:
            return "renamed"
        return "named" if self.after else "left without a name"

    def __str__(self) -> str:
        old, new = (" and ".join(map(short, names)) for names in (self.before, self.after))
        return f"{self.label}: {old or '(no name)'} -> {new or f'no name: {self.why}'}"


def differences(before: Names, rows: Sequence[PlanRow]) -> list[Difference]:
    """What has other names in ``rows`` than ``before``, in the order of the rows; then what is gone."""
    after, found = names_of(rows), []
    labels = {key_of(row): (_label(row), printable(row.reason)) for row in reversed(rows)}
    for key in [*dict.fromkeys(map(key_of, rows)), *(key for key in before if key not in after)]:
        old, new = tuple(sorted(before.get(key, ()))), after.get(key, ())
        if old != new:
            label, why = labels.get(key, (key[1], "it is not in the study any more"))
            found.append(Difference(key=key, label=label, before=old, after=new, why=why))
    return found


def _label(row: PlanRow) -> str:
    number = "" if row.series_number is None else f"{row.series_number:03d}"
    stack = row.stack_id or number or row.series_instance_uid
    return f"{stack} {printable(row.series_description)}".strip()


def fates(rows: Sequence[PlanRow]) -> list[str]:
    """What becomes of each volume of a series, and why its metadata are as they are."""
    lines = []
    for row in rows:
        fate = short(row.bids_name) or f"no name: {printable(row.reason)}"
        notes = f" ({printable(row.notes)})" if row.notes else ""
        lines.append(f"{row.stack_id or 'no volume'}: {fate}{notes}")
    return lines


def explained(tried: Sequence[Tried]) -> list[str]:
    """What places of a heuristic made of one series: those that took it, or fit; else the nearest misses."""
    taken = [f"taken by {one.origin}" for one in tried if one.took]
    if taken:
        return taken
    if held := [one for one in tried if one.met and not one.failed]:
        return [f"{one.origin} fits, and puts it under no name that stays" for one in held]
    nearest = max((one.met for one in tried), default=0)
    misses = [one for one in tried if one.met == nearest and one.failed]
    if not misses:
        return ["no place of the heuristic asks for it"]
    return [f"nearest: {one.origin}, {_met(one.met)}; then not: {printable(one.failed)}" for one in misses]


def _met(number: int) -> str:
    return f"{counted(number, 'condition')} met" if number else "no condition met"
