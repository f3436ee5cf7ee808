"""Heuristics of other programs, as rules: what can be carried over, and a list of what cannot."""

from __future__ import annotations

import json
from pathlib import Path

import yaml

from pacs2bids.imports import bidscoin, dcm2bids
from pacs2bids.imports.records import Imported
from pacs2bids.imports.shapes import BIDSCOIN, DCM2BIDS, require_shape
from pacs2bids.model import HeuristicError


def read_foreign(path: Path) -> Imported:
    """Read a configuration of dcm2bids (JSON) or a bidsmap of BIDScoin (YAML).

    Raises HeuristicError if it is neither, or cannot be read.
    """
    content = _parsed(path)
    if dcm2bids.is_config(content):
        require_shape(content, DCM2BIDS, where=str(path))
        return dcm2bids.read_config(content)
    if bidscoin.is_bidsmap(content):
        require_shape(content, BIDSCOIN, where=str(path))
        return bidscoin.read_bidsmap(content)
    what = "is neither a configuration of dcm2bids (it has no 'descriptions') nor a bidsmap (no 'DICOM')"
    raise HeuristicError(what, where=str(path))


def _parsed(path: Path) -> object:
    try:
        text = path.read_text(encoding="utf-8")
    except FileNotFoundError:
        raise HeuristicError("there is no such file", where=str(path)) from None
    except UnicodeDecodeError:
        raise HeuristicError("is no text in UTF-8", where=str(path)) from None
    try:
        if text.lstrip().startswith("{"):
            return json.loads(text)
        return yaml.safe_load(text)
    except json.JSONDecodeError as error:
        raise HeuristicError(f"is no JSON: {error.msg}", where=f"{path}, line {error.lineno}") from None
    except yaml.MarkedYAMLError as error:
        line = error.problem_mark.line + 1 if error.problem_mark else 1
        raise HeuristicError(f"is no YAML: {error.problem}", where=f"{path}, line {line}") from None
    except (yaml.YAMLError, ValueError, RecursionError):
        raise HeuristicError("is no YAML, or holds what no such file does", where=str(path)) from None
