"""Volumes of one series under one name that differ in their field of view: ``chunk-1``, ``chunk-2``, ...

heudiconv numbers such files behind the suffix, which BIDS does not know. BIDS has the entity "chunk" for them
(appendix Entities: different regions, or volumes of different fields of view, of one subject in one
experiment): the planes of a scout, stacks along a spine. Volumes of one field of view, or of several kinds,
keep their one name, which ``naming`` tells as a problem: what they are a person must say.
"""

from __future__ import annotations

from collections.abc import Hashable, Sequence

from msgspec.structs import replace

from pacs2bids.session import Claim

CHUNK = "chunk"


def as_chunks(claims: Sequence[Claim]) -> tuple[list[Claim], list[str]]:
    """The claims to one name, chunks of a series told apart, and a warning for each such series.

    Whoever names a single stack has said what it is. The order is kept.
    """
    warnings, found = list[str](), list(claims)
    twins: dict[Hashable, list[int]] = {}
    for number, claim in enumerate(found):
        if claim.stack is not None and claim.answer.stack is None:
            twins.setdefault((claim.series.key, claim.name), []).append(number)
    for numbers in twins.values():
        if not _are_chunks([found[number] for number in numbers]):
            continue
        for count, number in enumerate(numbers, start=1):
            claim = found[number]
            found[number] = replace(claim, name=claim.name.with_entity(CHUNK, str(count)))
        names = ", ".join(found[number].name.path.rpartition("/")[2] for number in numbers)
        warnings.append(f"{found[numbers[0]].series.label}: several fields of view under one name: {names}")
    return found, warnings


def _are_chunks(claims: Sequence[Claim]) -> bool:
    """Whether each has a field of view of its own, all are of one kind, and their name takes a chunk."""
    if len(claims) < 2 or len({_field_of_view(claim) for claim in claims}) < len(claims):
        return False
    kinds = {(claim.facts.image_type, claim.facts.component, claim.facts.content) for claim in claims}
    name = claims[0].name
    return len(kinds) == 1 and name.level(CHUNK) is not None and name.label(CHUNK) is None


def _field_of_view(claim: Claim) -> Hashable:
    """Matrix and affine, to a hundredth of a mm."""
    stack = claim.stack
    if stack is None:
        return None
    return stack.shape[:3], tuple(round(value, 2) for row in stack.affine_ras for value in row)
