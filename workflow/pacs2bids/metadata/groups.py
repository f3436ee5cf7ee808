"""Field maps as groups: the volumes of ``fmap/`` that together make one map of the field.

Source: BIDS, "Fieldmap data": a phase difference or two phases with their magnitudes (cases 1 and 2), a
measured field with its magnitude (case 3), echo-planar images of opposed polarity (case 4).
"""

from __future__ import annotations

import dataclasses
from bisect import bisect
from collections import Counter, defaultdict
from collections.abc import Generator, Iterable, Iterator, Sequence
from datetime import datetime
from itertools import combinations, pairwise
from math import isclose
from typing import NamedTuple, TypeAlias

from msgspec import Struct
from msgspec.structs import replace

from pacs2bids.bids import BidsName, intended_file, values_of
from pacs2bids.metadata import space
from pacs2bids.metadata.added import Shims
from pacs2bids.model import Json, Stack, Vector
from pacs2bids.moments import moment_of
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
_ROUNDED = 1e-3  # relative: the same current in two headers
_CORRECTED = ("func", "dwi", "perf")


class FieldMap(Struct, frozen=True, kw_only=True):
    """One map to be. ``members``: the volumes that it is made of, the earliest first, magnitudes last.

    ``shares_stem``: another map would be called the same, but for the direction.
    """

    kind: str
    members: tuple[Named, ...]
    shares_stem: bool = False

    @property
    def is_planar(self) -> bool:
        """Whether it is made of echo-planar images of opposed polarity."""
        return self.kind in (PEPOLAR, PEPOLAR_M0)

    @property
    def label(self) -> str:
        """What B0FieldIdentifier calls it: unique in the subject, letters, digits and underscores only.

        What the heuristic adds to a sidecar itself comes first. Source: BIDS, "B0FieldIdentifier": unique
        within the participant's tree.
        """
        if said := next(self._said("B0FieldIdentifier"), None):
            return said
        first = self.members[0].name
        name = first if self.shares_stem else _stem(first)
        words = [("ses", name.session)] if name.session else []
        said = "_".join([self.kind, *(key + label for key, label in (*words, *name.entities))])
        return said.replace("+", "_plus_")  # no entity begins so, as "acq-aplusb" might

    @property
    def is_given(self) -> bool:
        """Whether the heuristic itself says what it is for: its IntendedFor."""
        return any("IntendedFor" in one.answer.metadata for one in self.members)

    @property
    def given_to(self) -> frozenset[str]:
        """Files that its IntendedFor names, by path in the dataset."""
        subject = f"sub-{self.members[0].name.subject}"
        files = (intended_file(target, subject) for target in self._said("IntendedFor"))
        return frozenset(file for file in files if file is not None)

    def _said(self, name: str) -> Iterator[str]:
        """What the heuristic adds to the sidecars of its volumes in one field."""
        for one in self.members:
            yield from (str(value) for value in values_of(one.answer.metadata.get(name)))

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
    return moment_of(one.stack.facts.acquired)


def opposed(one: Vector, other: Vector) -> bool:
    """Whether two directions lie on one axis and point against each other."""
    return sum(a * b for a, b in zip(one, other, strict=True)) < _OPPOSED


def same_shims(one: Stack, other: Stack, *, tolerance: float = _ROUNDED) -> bool | None:
    """Whether both were made under the same shims; None: unknown. ``tolerance``: relative."""
    mine, others = (stack.sidecar.get("ShimSetting") for stack in (one, other))
    if not isinstance(mine, list) or not isinstance(others, list):
        return None
    same = (_is_close(a, b, tolerance) for a, b in zip(mine, others, strict=False))
    return len(mine) == len(others) and all(same)


def _is_close(one: Json, other: Json, tolerance: float) -> bool:
    if not (isinstance(one, int | float) and isinstance(other, int | float)):
        return False
    return isclose(one, other, rel_tol=tolerance)


def field_maps(session: Sequence[Named], shims: Shims) -> list[FieldMap]:
    """All groups of the session, the earliest first.

    Volumes go together whose names differ in what tells the files of one map apart (``dir-``, suffix). For
    echo-planar images "run-" is not taken at its word: see ``_paired``.
    """
    begun = sorted(when for one in session if one.name.datatype in _CORRECTED and (when := moment(one)))
    paired = sorted(_paired(named_maps(session), begun, shims), key=lambda group: _order(group.members[0]))
    named = Counter(group.label for group in paired)
    return [replace(group, shares_stem=named[group.label] > 1) for group in paired]


def named_maps(session: Sequence[Named]) -> list[FieldMap]:
    """Groups by their names alone, as heudiconv makes them, the earliest first."""
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
    return sorted(groups, key=lambda group: _order(group.members[0]))


def _stem(name: BidsName) -> BidsName:
    """What the volumes of one map share of their names."""
    return _without(name, "dir", "part", "echo")


def _without(name: BidsName, *keys: str) -> BidsName:
    kept = tuple((key, label) for key, label in name.entities if key not in keys)
    return dataclasses.replace(name, entities=kept, suffix="")


def _order(one: Named) -> tuple[datetime, str]:
    return moment(one) or datetime.max, one.name.path  # all are local times of one scanner


# ------------------------------------------------------------------------------------------- both polarities


def _paired(groups: Iterable[FieldMap], begun: Sequence[datetime], shims: Shims) -> Iterator[FieldMap]:
    """Groups whose echo-planar images were made for each other.

    Who counts runs counts each polarity for itself, or both together: after an AP that was repeated,
    dir-AP_run-2 and dir-PA_run-1 are a map. So within all runs of a name it is shims, grid and time that make
    pairs, unless the runs themselves make maps, one after the other. ``begun``: when the images began that
    want maps, in order.
    """
    families: dict[tuple[str, BidsName], list[FieldMap]] = defaultdict(list)
    for group in groups:
        if group.is_planar and len(group.directions_ras) == len(group.members):
            families[group.kind, _without(_stem(group.members[0].name), "run")].append(group)
        else:
            yield group
    for family in families.values():
        yield from family if _stands(family, shims) else _by_time(family, begun, shims)


def _stands(family: Sequence[FieldMap], shims: Shims) -> bool:
    """Whether the runs of a name make maps as they are numbered."""
    if not all(_may_be_one(group, shims) for group in family):
        return False
    spans = sorted((_order(group.members[0])[0], _order(group.members[-1])[0]) for group in family)
    follow = all(one[1] <= other[0] for one, other in pairwise(spans))
    return len(family) == 1 or (follow and all(group.has_both_polarities for group in family))


def _may_be_one(group: FieldMap, shims: Shims) -> bool:
    """Whether its volumes have the same shims, or need not."""
    pairs = combinations((one.stack for one in group.members), 2)
    return shims is Shims.ANY or all(same_shims(one, other) is not False for one, other in pairs)


def _by_time(family: Sequence[FieldMap], begun: Sequence[datetime], shims: Shims) -> Iterator[FieldMap]:
    """Pairs of a name: those first between which no image was taken that wants a map."""
    rest: list[FieldMap] = []
    for alike in _alike(_single(family)):
        blocks: dict[int, list[FieldMap]] = defaultdict(list)
        for one in alike:
            blocks[bisect(begun, one.started or datetime.max)].append(one)
        alone: list[FieldMap] = []
        for block in blocks.values():
            alone += yield from _closest(block)
        rest += yield from _closest(sorted(alone, key=lambda one: _order(one.members[0])))
    by_name: dict[BidsName, list[FieldMap]] = defaultdict(list)
    for one in rest:
        by_name[_stem(one.members[0].name)].append(one)
    for several in by_name.values():
        together = _together(*several)  # on other voxels, and nothing else fits either
        yield from [together] if _may_be_one(together, shims) else several


def _single(family: Sequence[FieldMap]) -> list[FieldMap]:
    """Each image by itself, with its echoes and parts, the earliest first."""
    images: dict[BidsName, list[Named]] = defaultdict(list)
    for one in sorted((one for group in family for one in group.members), key=_order):
        images[_without(one.name, "part", "echo")].append(one)
    return [FieldMap(kind=family[0].kind, members=tuple(each)) for each in images.values()]


def _alike(images: Sequence[FieldMap]) -> list[list[FieldMap]]:
    """Those together that have shims, voxels and the axis of phase encoding in common."""
    kinds: list[list[FieldMap]] = []
    for image in images:
        kind = next((kind for kind in kinds if _is_like(image, kind[0])), None)
        if kind is None:
            kinds.append([image])
        else:
            kind.append(image)
    return kinds


def _is_like(one: FieldMap, other: FieldMap) -> bool:
    mine, others = one.members[0].stack, other.members[0].stack
    cosine = sum(a * b for a, b in zip(one.directions_ras[0], other.directions_ras[0], strict=True))
    return abs(cosine) > -_OPPOSED and same_shims(mine, others) is not False and space.same_grid(mine, others)


def _together(*images: FieldMap) -> FieldMap:
    members = sorted((one for image in images for one in image.members), key=_order)
    return FieldMap(kind=images[0].kind, members=tuple(members))


_Pairs: TypeAlias = "tuple[FieldMap, FieldMap, _Pairs] | None"
_Pairing = tuple[int, float, int, _Pairs]
"""Pairs made (negative), seconds between them, how many are of two runs; and the pairs, one and the rest."""
_NONE: _Pairing = (0, 0.0, 0, None)


def _closest(images: Sequence[FieldMap]) -> Generator[FieldMap, None, list[FieldMap]]:
    """As many pairs as there can be, in the order of time, and of those the closest; returns who has none."""
    against = [opposed(one.directions_ras[0], images[0].directions_ras[0]) for one in images]
    ones = [_Image.of(one) for one, is_other in zip(images, against, strict=True) if not is_other]
    others = [_Image.of(one) for one, is_other in zip(images, against, strict=True) if is_other]
    best = [_NONE] * (len(others) + 1)  # of those from here on, with each of the others from there on
    for one in reversed(ones):
        later, best = best, [_NONE] * (len(others) + 1)
        for place, other in reversed([*enumerate(others)]):
            made, apart_s, of_two, pairs = later[place + 1]
            its_s, is_of_two = one.apart_s(other), one.stem != other.stem
            both = (made - 1, apart_s + its_s, of_two + is_of_two, (one.image, other.image, pairs))
            best[place] = min(both, later[place], best[place + 1], key=lambda found: found[:3])
    paired = list(_listed(best[0][3]))
    yield from (_together(*pair) for pair in paired)
    taken = {id(image) for pair in paired for image in pair}
    return [image for image in images if id(image) not in taken]


def _listed(pairs: _Pairs) -> Iterator[tuple[FieldMap, FieldMap]]:
    while pairs is not None:
        one, other, pairs = pairs
        yield one, other


class _Image(NamedTuple):
    """An image, and what is asked of it once for each of the others."""

    image: FieldMap
    started: datetime | None
    stem: BidsName

    @classmethod
    def of(cls, image: FieldMap) -> _Image:
        return cls(image, image.started, _stem(image.members[0].name))

    def apart_s(self, other: _Image) -> float:
        return abs((self.started - other.started).total_seconds()) if self.started and other.started else 0.0
