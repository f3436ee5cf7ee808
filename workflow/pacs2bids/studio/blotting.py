"""What identifies the patient is blotted out of what the page is told, as in the report."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, TypeVar

from msgspec import Struct
from msgspec.structs import replace

from pacs2bids.gate import NOTHING, Needles, masked
from pacs2bids.model import Pacs2BidsError

T = TypeVar("T", bound=Struct)

# fields by which series and sessions are found, or whose words are ours
_OURS = frozenset({"key", "study", "series", "stack", "change", "kind", "baseline"})


def blotted_of(needles: Needles, ask: Callable[[], T]) -> T:
    """What ``ask`` says, and what it raises (Pacs2BidsError), without what ``needles`` find."""
    try:
        return blotted(ask(), needles)
    except Pacs2BidsError as error:
        error.what, error.hint = masked(error.what, needles), masked(error.hint, needles)
        raise


def blotted(record: T, needles: Needles) -> T:
    """The same record without what ``needles`` find."""
    if needles == NOTHING:
        return record
    clean: T = _blotted(record, needles)
    return clean


def _blotted(value: Any, needles: Needles) -> Any:
    if isinstance(value, str):
        return masked(value, needles)
    if isinstance(value, list | tuple):
        return type(value)(_blotted(one, needles) for one in value)
    if isinstance(value, dict):
        return {name: _blotted(one, needles) for name, one in value.items()}
    if isinstance(value, Struct):
        names = (name for name in value.__struct_fields__ if name not in _OURS)
        return replace(value, **{name: _blotted(getattr(value, name), needles) for name in names})
    return value
