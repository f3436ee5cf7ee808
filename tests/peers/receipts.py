"""Receipts as others read them: by the schema that comes with the package."""

from __future__ import annotations

import json
from importlib.resources import files
from pathlib import Path
from typing import Any

from jsonschema import Draft202012Validator

from pacs2bids.files import read_record
from pacs2bids.model import Receipt


def schema() -> dict[str, Any]:
    content: dict[str, Any] = json.loads(
        files("pacs2bids").joinpath("schemas/receipt.schema.json").read_bytes()
    )
    Draft202012Validator.check_schema(content)
    return content


def faults(path: Path) -> list[str]:
    """Where a receipt does not fit the schema."""
    found = Draft202012Validator(schema()).iter_errors(json.loads(path.read_bytes()))
    return [f"{error.json_path}: {error.message}" for error in found]


def read_fitting(path: Path) -> Receipt:
    """A receipt that fits the schema."""
    assert faults(path) == []
    return read_record(path, Receipt)
