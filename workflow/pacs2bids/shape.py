"""Whether what a person wrote has the shape that a JSON schema asks for, and in their words what is wrong."""

from __future__ import annotations

import difflib
import re
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any, cast

import yaml
from jsonschema import Draft202012Validator
from jsonschema.exceptions import ValidationError

from pacs2bids.model import ConfigError
from pacs2bids.text import listed


def check_shape(content: object, path: Path, schema: Mapping[str, Any]) -> None:
    """Raises ConfigError if ``content``, which was read from ``path``, does not follow the schema."""
    errors = sorted(
        Draft202012Validator(schema).iter_errors(content),
        key=lambda error: (len(error.absolute_path), error.validator != "additionalProperties"),
    )
    if not errors:
        return
    first, *rest = errors
    what, hint = _explain(first)
    if rest:
        others = [f"{_key_path(one)} {_explain(one)[0]}".strip() for one in rest]
        what = f"{what} (and {listed(others, 1, separator='; ')})"
    key = _key_path(first)
    raise ConfigError(what, where=f"{path}: {key}" if key else str(path), hint=hint)


def _key_path(error: ValidationError) -> str:
    text = ""
    for step in error.absolute_path:
        text += f"[{step}]" if isinstance(step, int) else f".{step}" if text else str(step)
    return text


def _explain(error: ValidationError) -> tuple[str, str]:
    """What is wrong and what is allowed, in a person's words; ``error.message`` speaks of JSON schemas."""
    rule, value, found = str(error.validator), cast(Any, error.validator_value), cast(Any, error.instance)
    schema = cast("Mapping[str, Any]", error.schema)
    if rule == "additionalProperties":
        allowed = list(schema["properties"])
        unknown = next(key for key in found if key not in allowed)
        return f"unknown key {_shown(unknown)}", suggest(str(unknown), allowed)
    if rule == "enum":
        return f"{_shown(found)} is not allowed", ". ".join([suggest(str(found), value), *_described(schema)])
    if schema.get("writeOnly"):  # what stands there may be a secret
        return f"must be {schema['description']}", ""
    example = [f"As in: {_flow(one)}" for one in schema.get("examples", ())]
    return _explain_value(rule, value, found, schema), ". ".join(example)


def _flow(value: object) -> str:
    """A value as a person may write it in YAML, on one line."""
    return yaml.safe_dump(value, default_flow_style=True, sort_keys=False, width=1000).strip()


def _described(schema: Mapping[str, Any]) -> list[str]:
    return [schema["description"]] if "description" in schema else []


def _explain_value(rule: str, value: Any, found: Any, schema: Mapping[str, Any]) -> str:
    if rule == "required":
        missing = next(key for key in value if key not in found)
        return f"the key {missing!r} is missing"
    if rule == "type":
        return f"must be {_type_names(value)}, not {_shown(found)}"
    if rule in ("minimum", "maximum"):
        return f"must be from {schema['minimum']} to {schema['maximum']}, not {found}"
    if rule == "pattern":
        public = re.sub(r"//[^/]*@", "//...@", found)  # an address may hold a password
        return f"must be {schema['description']}, not {_shown(public)}"
    if rule in ("minProperties", "maxProperties") and "properties" in schema:
        return f"must hold one of the keys {_listed(schema['properties'])}, and no other"
    return "must not be empty"


def _type_names(types: str | list[str]) -> str:
    words = {
        "object": "keys with values",
        "array": "a list",
        "string": "a text",
        "integer": "a whole number",
    }
    return " or ".join(words[name] for name in ([types] if isinstance(types, str) else types))


def _shown(value: object) -> str:
    if isinstance(value, dict):
        return "keys with values"
    if isinstance(value, list):
        return "a list"
    if isinstance(value, bool):
        return str(value).lower()
    return "empty" if value is None else repr(value)


def suggest(word: str, allowed: Iterable[str]) -> str:
    """A hint for a misspelt word: the closest of those allowed, or all of them."""
    words = list(allowed)
    close = difflib.get_close_matches(word, words, n=1)
    return f"Did you mean {close[0]!r}? Allowed: {_listed(words)}" if close else f"Allowed: {_listed(words)}"


def _listed(words: Iterable[str]) -> str:
    return ", ".join(words)
