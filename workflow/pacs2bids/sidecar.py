"""Sidecars of volumes: the one loop that reads the table ``sidecar_fields.FIELDS``, of stacks and of volumes.

A field that its reader gives no value for is left out: an absent field means that the header does not say.
"""

from __future__ import annotations

from collections.abc import Sequence

from msgspec.structs import replace

from pacs2bids.header import Header
from pacs2bids.model import Facts, Json
from pacs2bids.sidecar_fields import FIELDS, HELD_BACK, VOLUME_FIELDS
from pacs2bids.sidecar_readers import Source


def sidecar(
    header: Header,
    facts: Facts,
    *,
    matrix: tuple[int, int] | None = None,
    repetition_time_s: float | None = None,
    site: bool = False,
) -> dict[str, Json]:
    """Sidecar fields of a stack, in BIDS units and in the order of the table.

    ``header``, ``facts``: of its first frame; what facts say is read from them alone. ``matrix``: (rows,
    columns) of one plane; for anything but a mosaic the header knows it. ``repetition_time_s``: time from
    volume to volume of a 4-D stack, in place of what the facts say. ``site``: also the fields that name the
    institution and the individual scanner, which BIDS recommends and privacy does not.
    """
    if repetition_time_s is not None:
        facts = replace(facts, repetition_time_s=repetition_time_s)
    source = Source(header=header, facts=facts, matrix=matrix or _stored_matrix(header, facts))
    answers = {row.bids: row.read(source) for row in FIELDS if site or row.policy not in HELD_BACK}
    values = {name: value for name, value in answers.items() if value is not None}
    # a row states where its value comes from; what vendors add fills gaps and never overrides it
    return values | {name: value for name, value in facts.extra.items() if name not in values}


def held_back(header: Header) -> dict[str, Json]:
    """The fields that leave only if they are wanted."""
    source = Source(header=header, facts=_NO_FACTS)
    answers = {row.bids: row.read(source) for row in FIELDS if row.policy in HELD_BACK}
    return {name: value for name, value in answers.items() if value is not None}


def per_volume(header: Header) -> tuple[Json, ...]:
    """What the rows of VOLUME scope say for one frame, in the order of ``VOLUME_FIELDS``."""
    source = Source(header=header, facts=_NO_FACTS)
    return tuple([row.read(source) for row in VOLUME_FIELDS])


_NO_FACTS = Facts()


def of_volumes(said: Sequence[Sequence[tuple[Json, ...]]]) -> dict[str, Json]:
    """The fields of VOLUME scope that vary in a stack: a list, one value a volume, or None: not to be stated.

    ``said``: what ``per_volume`` gave, by volume and slice. A list where BIDS has one and all slices of each
    volume agree; else no one value holds.
    """
    fields: dict[str, Json] = {}
    for column, row in enumerate(VOLUME_FIELDS):
        volumes = [list(dict.fromkeys(frame[column] for frame in volume)) for volume in said]
        if len({value for volume in volumes for value in volume}) > 1:
            is_list = row.is_list and all(len(volume) == 1 and volume[0] is not None for volume in volumes)
            fields[row.bids] = [volume[0] for volume in volumes] if is_list else None
    return fields


def values_of(name: str, said: Sequence[Sequence[tuple[Json, ...]]]) -> list[Json]:
    """All values that a field of VOLUME scope has in a stack, each once. ``said``: as for ``of_volumes``."""
    column = [row.bids for row in VOLUME_FIELDS].index(name)
    return list(dict.fromkeys(frame[column] for volume in said for frame in volume))


def _stored_matrix(header: Header, facts: Facts) -> tuple[int, int] | None:
    rows, columns = header.integer("Rows"), header.integer("Columns")
    if facts.mosaic is not None or rows is None or columns is None:  # a mosaic's Rows are all its tiles'
        return None
    return rows, columns
