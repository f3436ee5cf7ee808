"""Field maps and what they are for: IntendedFor, B0FieldIdentifier and B0FieldSource, in both directions.

Each image gets at most one map (``matching`` tells how), or those that the heuristic says; a map is given to
all images that chose it. So both directions agree, and nothing is named that the session does not hold.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from pacs2bids.metadata import space
from pacs2bids.metadata.added import Added, Choices, FieldMaps, merged
from pacs2bids.metadata.groups import FieldMap, field_maps, moment, named_maps, opposed, short
from pacs2bids.metadata.matching import Match, given, is_target, match
from pacs2bids.model import Json
from pacs2bids.session import IntendedForOptions, Named

_IDENTIFIES = (FieldMaps.BOTH, FieldMaps.B0FIELD)
_INTENDS = (FieldMaps.BOTH, FieldMaps.INTENDED_FOR)


def added(session: Sequence[Named], choices: Choices, options: IntendedForOptions | None) -> dict[str, Added]:
    """What field maps and images of a session get, by path; nothing if it has no field map."""
    maps = field_maps(session, choices.shims) if options is None else named_maps(session)
    wanted = choices.fieldmaps
    if wanted is FieldMaps.NONE or not maps:
        return {}
    matches = []
    for image in (one for one in session if one.name.datatype != "fmap"):
        if said := given(image, maps):
            matches.append(said)
        elif is_target(image, options):
            matches.append(match(image, maps, options, choices.shims))
    parts = [_of_image(one, wanted) for one in matches]
    for one in maps:
        chosen_by = [each for each in matches if any(one is chosen for chosen in each.chosen)]
        parts += _of_map(one, chosen_by, wanted)
    return merged(parts)


def _of_image(found: Match, wanted: FieldMaps) -> dict[str, Added]:
    """Its source, and why that."""
    fields: dict[str, Json] = {}
    labels: list[Json] = [one.label for one in found.chosen]
    if labels and wanted in _IDENTIFIES:
        fields["B0FieldSource"] = labels if len(labels) > 1 else labels[0]
    is_missed = not (found.chosen or found.is_given or found.target.name.suffix == "sbref")
    warnings = (f"{found.why} (docs/heuristics.md, Field maps)",) if is_missed else ()
    return {found.target.name.path: Added(fields=fields, notes=(found.why,), warnings=warnings)}


def _of_map(one: FieldMap, chosen_by: Sequence[Match], wanted: FieldMaps) -> Iterator[dict[str, Added]]:
    fields: dict[str, Json] = {}
    if wanted in _IDENTIFIES:
        fields["B0FieldIdentifier"] = one.label
    targets = sorted(found.target.name.path for found in chosen_by)
    if targets and wanted in _INTENDS:
        fields["IntendedFor"] = [f"bids::{path}.nii.gz" for path in targets]
    for member in one.members:
        yield {member.name.path: Added(fields=fields, notes=(_told(chosen_by),))}
    if not (chosen_by or one.is_given):
        yield {one.members[0].name.path: Added(warnings=("this field map is for no image of the session",))}
    partner = _partner(one, chosen_by)
    if partner is not None and wanted in _IDENTIFIES:
        note = f"with {one.title}, which has the opposed polarity only, it makes the map {one.label}"
        yield {partner.name.path: Added(fields={"B0FieldIdentifier": one.label}, notes=(note,))}


def _told(chosen_by: Sequence[Match]) -> str:
    names = ", ".join(short(found.target.name) for found in chosen_by)
    return f"field map for {names or 'no image'}"


def _partner(one: FieldMap, chosen_by: Sequence[Match]) -> Named | None:
    """The image that makes a map with an echo-planar one of the other polarity: a reference if there is one.

    Source: BIDS, "Expressing the MR protocol intent for fieldmaps": images of other datatypes that the
    estimation needs carry its B0FieldIdentifier, too.
    """
    if not one.is_planar or one.has_both_polarities:
        return None
    images = [found.target for found in chosen_by if _is_against(one, found.target)]
    images.sort(key=lambda image: (image.name.suffix != "sbref", _seconds_apart(one, image), image.name.path))
    return images[0] if images else None


def _is_against(one: FieldMap, image: Named) -> bool:
    direction = space.phase_encoding(image.stack)
    return direction is not None and any(opposed(direction, to) for to in one.directions_ras)


def _seconds_apart(one: FieldMap, image: Named) -> float:
    start, other = one.started, moment(image)
    return abs((start - other).total_seconds()) if start and other else float("inf")
