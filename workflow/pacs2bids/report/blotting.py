"""What identifies the patient is blotted out of all that the pages say of a session."""

from __future__ import annotations

from dataclasses import fields, is_dataclass, replace
from typing import Any

from pacs2bids.gate import NOTHING, Needles, masked
from pacs2bids.report.view import SessionView, VolumeRef

_OURS = frozenset({"tone", "state", "label", "log"})  # fields whose words are not of people


def blotted(view: SessionView, needles: Needles) -> SessionView:
    """The same without what ``needles`` find; key and labels of the session stay: pages are found by them."""
    if needles == NOTHING:
        return view
    clean: SessionView = _blotted(view, needles)
    known = view.summary
    summary = replace(clean.summary, key=known.key, subject=known.subject, session=known.session)
    return replace(clean, summary=summary)


def _blotted(value: Any, needles: Needles) -> Any:
    if isinstance(value, str):
        return masked(value, needles)
    if isinstance(value, tuple):
        return tuple(_blotted(one, needles) for one in value)
    if isinstance(value, dict):
        return {name: _blotted(one, needles) for name, one in value.items()}
    if is_dataclass(value) and not isinstance(value, VolumeRef | type):
        names = (one.name for one in fields(value) if one.name not in _OURS)
        return replace(value, **{name: _blotted(getattr(value, name), needles) for name in names})
    return value
