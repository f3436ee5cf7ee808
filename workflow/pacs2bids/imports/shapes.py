"""The shape that a foreign file must have, so that what reads it need not doubt each value."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from jsonschema import Draft202012Validator
from jsonschema.exceptions import best_match

from pacs2bids.model import HeuristicError

LONG = 150  # characters of a message, which holds the wrong value

_WORD: dict[str, Any] = {"type": ["string", "number", "boolean", "null"]}
_WORDS: dict[str, Any] = {"type": "array", "items": _WORD}
_CHOICE: dict[str, Any] = {"anyOf": [_WORD, _WORDS]}
_TEXT: dict[str, Any] = {"type": "string"}
_TEXTS: dict[str, Any] = {"type": ["array", "null"], "items": _TEXT}
_OBJECT: dict[str, Any] = {"type": ["object", "null"]}
_CRITERION: dict[str, Any] = {
    "anyOf": [
        _WORD,
        _WORDS,
        {
            "type": "object",
            "maxProperties": 1,
            "properties": {"any": {"type": "array", "items": _CHOICE}},
            "additionalProperties": _CHOICE,
        },
    ]
}
_DESCRIPTION: dict[str, Any] = {
    "type": "object",
    "properties": {
        **dict.fromkeys(("datatype", "dataType", "suffix", "modalityLabel"), _TEXT),
        **dict.fromkeys(("custom_entities", "customLabels"), _CHOICE),
        **dict.fromkeys(("sidecar_changes", "sidecarChanges"), _OBJECT),
        "criteria": {**_OBJECT, "additionalProperties": _CRITERION},
    },
}
DCM2BIDS: dict[str, Any] = {
    "properties": {
        "descriptions": {"type": "array", "items": _DESCRIPTION},
        "extractors": {**_OBJECT, "additionalProperties": _TEXTS},
    }
}

_ITEM: dict[str, Any] = {
    **_OBJECT,
    "properties": {
        "properties": {**_OBJECT, "additionalProperties": _WORD},
        "attributes": {**_OBJECT, "additionalProperties": _WORD},
        "bids": {**_OBJECT, "additionalProperties": _CHOICE},
        "meta": _OBJECT,
    },
}
BIDSCOIN: dict[str, Any] = {
    "properties": {
        "Options": {
            **_OBJECT,
            "properties": {
                "bidscoin": {**_OBJECT, "properties": {"ignoretypes": _TEXTS, "unknowntypes": _TEXTS}}
            },
        },
        "DICOM": {
            "type": "object",
            "additionalProperties": {"if": {"type": "array"}, "then": {"items": _ITEM}},
        },
    }
}


def require_shape(content: Mapping[str, Any], shape: Mapping[str, Any], *, where: str) -> None:
    """Raises HeuristicError that names the entry which is not of this shape, and what it should be."""
    error = best_match(Draft202012Validator(shape).iter_errors(content))
    if error is not None:
        place = "".join(f"[{one + 1}]" if isinstance(one, int) else f".{one}" for one in error.absolute_path)
        message = error.message if len(error.message) <= LONG else f"...{error.message[-LONG:]}"
        raise HeuristicError(message, where=f"{where}: {place.removeprefix('.')}")
