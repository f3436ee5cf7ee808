"""Field maps as groups: the volumes of ``fmap/`` that together make one map of the field.

Source: BIDS, "Fieldmap data": a phase difference or two phases with their magnitudes (cases 1 and 2), a
measured field with its magnitude (case 3), echo-planar images of opposed polarity (case 4).
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import replace
from datetime import datetime

from msgspec import Struct

from pacs2bids.bids import BidsName
from pacs2bids.metadata import space
from pacs2bids.model import Vector
from pacs2bids.session import Named

PEPOLAR = "pepolar"
PEPOLAR_M0 = "pepolarM0"  # of perfusion
KINDS = {
    "phasediff": "phasediff",
    "phase1": "twophase",
    "phase2": "twophase",
    "fieldmap": "fieldmap",
    "epi": PEPOLAR,
    "m0scan": PEPOLAR_M0,
}
_MAGNITUDES = ("magnitude", "magnitude1", "magnitude2")
_OPPOSED = -0.9  # cosine of the angle between two directions along the same axis


class FieldMap(Struct, frozen=True, kw_only=True):
    """One map to be. ``members``: the volumes that it is made of, the earliest first."""

    kind: str
    members: tuple[Named, ...]

    @property
    def is_planar(self) -> bool:
        """Whether it is made of echo-planar images of opposed polarity."""
        return self.kind in (PEPOLAR, PEPOLAR_M0)

    @property
    def label(self) -> str:
        """What B0FieldIdentifier calls it: unique in the subject, letters, digits and underscores only.

        Source: BIDS, "B0FieldIdentifier": unique within the participant's tree.
        """
        name = _stem(self.members[0].name)
        words = [("ses", name.session)] if name.session else []
        return "_".join([self.kind, *(key + label for key, label in (*words, *name.entities))]).replace(
            "+", "p"
        )

    @property
    def title(self) -> str:
        """As a person calls it: the names of its volumes, without what all of the session share."""
        return " + ".join(short(one.name) for one in self.members)

    @property
    def started(self) -> datetime | None:
        """Start of its first volume."""
        return min((when for one in self.members if (when := moment(one))), default=None)

    @property
    def directions_ras(self) -> tuple[Vector, ...]:
        """Phase-encoding directions of its echo-planar images in RAS, where they are told."""
        if not self.is_planar:
            return ()
        return tuple(to for one in self.members if (to := space.phase_encoding(one.stack)) is not None)

    @property
    def has_both_polarities(self) -> bool:
        """Whether it needs no other image to be a map."""
        return any(opposed(one, other) for one in self.directions_ras for other in self.directions_ras)


def short(name: BidsName) -> str:
    """The file name without subject and session."""
    return "_".join([*(f"{key}-{label}" for key, label in name.entities), name.suffix])


def moment(one: Named) -> datetime | None:
    """Start of its acquisition."""
    try:
        return datetime.fromisoformat(one.stack.facts.acquired or "").replace(tzinfo=None)
    except ValueError:
        return None


def opposed(one: Vector, other: Vector) -> bool:
    """Whether two directions lie on one axis and point against each other."""
    return sum(a * b for a, b in zip(one, other, strict=True)) < _OPPOSED


def field_maps(session: Sequence[Named]) -> list[FieldMap]:
    """All groups of the session, the earliest first.

    Echo-planar images go together that differ in ``dir-`` alone. Where runs were counted over both polarities
    (dir-AP_run-1, dir-PA_run-2), those that follow each other go together.
    """
    members = defaultdict(list)
    for one in sorted(session, key=_order):
        if one.name.datatype == "fmap" and one.name.suffix in KINDS:
            members[KINDS[one.name.suffix], _stem(one.name)].append(one)
    for one in sorted(session, key=_order):
        if one.name.datatype == "fmap" and one.name.suffix in _MAGNITUDES:
            stem = _stem(one.name)
            kind = next(
                (kind for kind, other in members if other == stem and kind not in (PEPOLAR, PEPOLAR_M0)), None
            )
            if kind is not None:
                members[kind, stem].append(one)
    groups = [FieldMap(kind=kind, members=tuple(group)) for (kind, _), group in members.items()]
    return sorted(_paired(groups), key=lambda group: _order(group.members[0]))


def _stem(name: BidsName) -> BidsName:
    """What the volumes of one map share of their names."""
    kept = tuple((key, label) for key, label in name.entities if key not in ("dir", "part", "echo"))
    return replace(name, entities=kept, suffix="")


def _order(one: Named) -> tuple[datetime, str]:
    return moment(one) or datetime.max, one.name.path  # all are local times of one scanner


def _paired(groups: Iterable[FieldMap]) -> Iterator[FieldMap]:
    """Groups with one polarity and the next that has the opposed one, if only their runs differ."""
    left: list[FieldMap] = []
    for group in groups:
        if not group.is_planar or group.has_both_polarities or not group.directions_ras:
            yield group
            continue
        pair = next((other for other in left if _make_a_pair(other, group)), None)
        if pair is None:
            left.append(group)
            continue
        left.remove(pair)
        yield FieldMap(kind=group.kind, members=(*pair.members, *group.members))
    yield from left


def _make_a_pair(one: FieldMap, other: FieldMap) -> bool:
    stems = {replace(_stem(each.members[0].name), entities=_without_run(each)) for each in (one, other)}
    opposite = opposed(one.directions_ras[0], other.directions_ras[0])
    return (
        one.kind == other.kind
        and len(stems) == 1
        and opposite
        and space.same_grid(one.members[0].stack, other.members[0].stack)
    )


def _without_run(group: FieldMap) -> tuple[tuple[str, str], ...]:
    return tuple((key, label) for key, label in _stem(group.members[0].name).entities if key != "run")
