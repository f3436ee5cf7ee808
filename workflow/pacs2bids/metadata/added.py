"""What completing a session's volumes adds to them, and the choices that a person has in it."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from enum import StrEnum

from msgspec import Struct, field

from pacs2bids.model import Json


class FieldMaps(StrEnum):
    """How field maps and what they correct speak of each other (``fieldmaps`` in config.yaml)."""

    BOTH = "both"
    B0FIELD = "b0field"  # B0FieldIdentifier and B0FieldSource
    INTENDED_FOR = "intended_for"
    NONE = "none"


class Shims(StrEnum):
    """Whether a field map of other shims may be an image's (``fieldmap_shims`` in config.yaml)."""

    SAME = "same"
    ANY = "any"  # where no other is there


class Events(StrEnum):
    """Whether runs of a task get an ``events.tsv`` to be filled in (``events`` in config.yaml)."""

    NONE = "none"
    SKELETON = "skeleton"


class Choices(Struct, frozen=True, kw_only=True):
    """What a person chooses for a whole dataset."""

    fieldmaps: FieldMaps = FieldMaps.BOTH
    shims: Shims = Shims.SAME
    events: Events = Events.NONE


class Added(Struct, frozen=True, kw_only=True):
    """What is added to one volume. ``fields``: of its sidecar. ``beside``: as ``PlanRow.beside``.

    ``notes``: why, for a person. ``warnings``: what a person should see to, without the volume's name.
    """

    fields: dict[str, Json] = field(default_factory=dict)
    beside: dict[str, str] = field(default_factory=dict)
    notes: tuple[str, ...] = ()
    warnings: tuple[str, ...] = ()


def merged(parts: Iterable[Mapping[str, Added]]) -> dict[str, Added]:
    """All that is added, by the volume's path; of one field two parts say the same or only one speaks."""
    found: dict[str, Added] = {}
    for part in parts:
        for path, more in part.items():
            said = found.get(path, Added())
            found[path] = Added(
                fields=said.fields | more.fields,
                beside=said.beside | more.beside,
                notes=(*said.notes, *more.notes),
                warnings=(*said.warnings, *more.warnings),
            )
    return found
