"""Sidecar fields, and tables beside volumes, that follow from the names of a session.

The engine says in a sidecar what a header says. What no header can say comes here, once the names are known:
the task (``of_names``), which field map is for what (``field_maps``), what the volumes of a perfusion series
are (``perfusion``), where a person has to go on (``task_events``). Each choice is told in the plan, with its
reason.
"""

from __future__ import annotations

from collections.abc import Sequence

from pacs2bids.metadata import b1_maps, field_maps, of_names, perfusion, task_events
from pacs2bids.metadata.added import Added, Choices, Events, FieldMaps, Shims, merged
from pacs2bids.session import IntendedForOptions, Named

__all__ = ["Added", "Choices", "Events", "FieldMaps", "Shims", "complete"]


def complete(
    session: Sequence[Named], choices: Choices, intended_for: IntendedForOptions | None
) -> dict[str, Added]:
    """What is added to the volumes of one session, by path in the dataset.

    ``intended_for``: what the heuristic itself says of how field maps are matched.
    """
    nothing = {one.name.path: Added() for one in session}
    maps = field_maps.added(session, choices, intended_for)
    events = task_events.added(session, choices.events)
    names, labelled = of_names.added(session), perfusion.added(session)
    return merged([nothing, names, labelled, maps, b1_maps.added(session), events])
