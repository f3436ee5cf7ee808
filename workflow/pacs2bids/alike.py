"""Which volumes of one name are of one protocol: only such can be its echoes, parts, flip angles and so on.

A rule that takes too much brings a T1w and the magnitudes of a field map under one name. Their echo times
differ, but they are no echoes: the matrices differ.
"""

from __future__ import annotations

from collections.abc import Callable, Hashable, Sequence

from pacs2bids.model import Stack
from pacs2bids.session import Claim

# entities whose labels all come of one excitation, and so of one voxel grid and repetition time
_OF_ONE_EXCITATION = ("echo", "part")

# edges of one grid, as written for echoes, or for magnitude and phase, differ in the last digits at most
_SAME_PLACE_MM = 0.1
# consoles write times and angles with noise in the last digits, another one in each run (Philips)
NOISE = 0.002


def protocols(claims: Sequence[Claim], entity: str) -> list[int]:
    """Of each claim the number of its protocol, from 0, as far as ``entity`` wants volumes to be alike.

    All: the same matrix, in any order of axes, which turn with the direction of phase encoding. Echoes and
    parts: the same voxel grid and repetition time; echoes: the same kind of sequence, too. What a header does
    not tell is no difference. A refused stack is of the protocol of its series.
    """
    members: list[list[Stack]] = []
    known: dict[Hashable, int] = {}  # of stacks that look the same: a run may be repeated 1,000 times
    numbers: list[int | None] = []
    for stack in (claim.stack for claim in claims):
        if stack is not None and (look := _look(stack)) not in known:
            known[look] = _number(stack, members, entity)
        numbers.append(known[look] if stack is not None else None)
    of_series = {
        claim.series.key: number for claim, number in zip(claims, numbers, strict=True) if number is not None
    }
    return [
        of_series.get(claim.series.key, 0) if number is None else number
        for claim, number in zip(claims, numbers, strict=True)
    ]


def _look(stack: Stack) -> Hashable:
    """All that ``_alike`` asks of a stack."""
    kind = str(stack.sidecar.get("ScanningSequence"))
    return stack.shape[:3], stack.affine_ras, stack.facts.repetition_time_s, kind


def _number(stack: Stack, members: list[list[Stack]], entity: str) -> int:
    """The first protocol whose members are all like this stack, which then is one of them."""
    for number, stacks in enumerate(members):
        if all(_alike(stack, other, entity) for other in stacks):
            stacks.append(stack)
            return number
    members.append([stack])
    return len(members) - 1


def _alike(one: Stack, other: Stack, entity: str) -> bool:
    asked: list[Callable[[Stack, Stack], bool]] = [_same_matrix]
    if entity in _OF_ONE_EXCITATION:
        asked += [_same_grid, _same_repetition]
    if entity == "echo":
        asked.append(_same_sequence)
    return all(holds(one, other) for holds in asked)


def _same_matrix(one: Stack, other: Stack) -> bool:
    return sorted(one.shape[:3]) == sorted(other.shape[:3])


def _same_grid(one: Stack, other: Stack) -> bool:
    """The corners of both boxes of voxels are in the same places."""
    if one.shape[:3] != other.shape[:3]:
        return False
    return all(
        abs(a - b) * length < _SAME_PLACE_MM
        for row, other_row in zip(one.affine_ras[:3], other.affine_ras[:3], strict=True)
        for a, b, length in zip(row, other_row, (*one.shape[:3], 1), strict=True)
    )


def _same_repetition(one: Stack, other: Stack) -> bool:
    first, second = one.facts.repetition_time_s, other.facts.repetition_time_s
    return first is None or second is None or abs(first - second) <= NOISE * max(first, second)


def _same_sequence(one: Stack, other: Stack) -> bool:
    """ScanningSequence (0018,0020): spin echo, gradient echo, inversion recovery, echo planar."""
    kinds = one.sidecar.get("ScanningSequence"), other.sidecar.get("ScanningSequence")
    return None in kinds or kinds[0] == kinds[1]
