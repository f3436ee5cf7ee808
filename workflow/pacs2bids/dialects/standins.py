"""Stand-ins for the modules of heudiconv that heuristics import.

Heuristics written for heudiconv import a few names from it, mostly for annotations. Where heudiconv itself is
not installed, these let the file load unchanged. They are thin on purpose: a file that calls deeper into
heudiconv gets an ImportError that names what is missing.
"""

from __future__ import annotations

import importlib.util
import json
import sys
from collections.abc import Callable
from pathlib import Path
from types import ModuleType
from typing import Any, NamedTuple


class SeqInfo(NamedTuple):
    """One series as ``infotodict`` gets it: names, order and units of heudiconv's contract.

    ``TR`` in s, ``TE`` in ms, -1 where missing; ``date`` YYYYMMDD, ``time`` HHMMSS.FFFFFF.
    """

    total_files_till_now: int
    example_dcm_file: str
    series_id: str
    dcm_dir_name: str
    series_files: int
    unspecified: str
    dim1: int
    dim2: int
    dim3: int
    dim4: int
    TR: float
    TE: float
    protocol_name: str
    is_motion_corrected: bool
    is_derived: bool
    patient_id: str
    study_description: str
    referring_physician_name: str
    series_description: str
    sequence_name: str
    image_type: tuple[str, ...]
    accession_number: str
    patient_age: str | None
    patient_sex: str | None
    date: str | None
    series_uid: str
    time: str | None
    custom: object = None


class StudySessionInfo(NamedTuple):
    """What the hook ``infotoids`` speaks of."""

    locator: str | None
    session: str | None
    subject: str | None


class Citation:
    """duecredit's ``Doi``, ``BibTeX``, ``Text`` and ``Url``: taken, not used."""

    def __init__(self, *_: object, **__: object) -> None:
        """Accept whatever duecredit accepts."""


class DueCredit:
    """duecredit's collector, which collects nothing."""

    active = False

    def dcite(self, *_: object, **__: object) -> Callable[[Any], Any]:
        """Return a decorator that leaves its function alone."""
        return lambda function: function

    def cite(self, *_: object, **__: object) -> None:
        """Do nothing."""

    add = cite
    load = cite


def load_json(path: str | Path) -> Any:
    """Read a JSON file."""
    return json.loads(Path(path).read_text(encoding="utf-8"))


def save_json(path: str | Path, content: Any, indent: int = 2, sort_keys: bool = True) -> None:
    """Write a JSON file."""
    Path(path).write_text(json.dumps(content, indent=indent, sort_keys=sort_keys) + "\n", encoding="utf-8")


def set_readonly(path: str | Path, read_only: bool = True) -> int:
    """Take away, or give back, the right to write; returns the new mode."""
    mode = Path(path).stat().st_mode
    mode = mode & ~0o222 if read_only else mode | 0o200
    Path(path).chmod(mode)
    return mode


MODULES: dict[str, dict[str, object]] = {
    "heudiconv": {},
    "heudiconv.utils": {
        "SeqInfo": SeqInfo,
        "StudySessionInfo": StudySessionInfo,
        "load_json": load_json,
        "save_json": save_json,
        "set_readonly": set_readonly,
    },
    "heudiconv.due": {"due": DueCredit(), **dict.fromkeys(("BibTeX", "Doi", "Text", "Url"), Citation)},
}


def install() -> None:
    """Make ``import heudiconv.utils`` and ``heudiconv.due`` work, unless heudiconv itself is there."""
    if "heudiconv" in sys.modules or importlib.util.find_spec("heudiconv") is not None:
        return
    for name, content in MODULES.items():
        module = ModuleType(name, doc="A stand-in of pacs2bids.")
        module.__path__ = []  # a package without files: other submodules are a plain ImportError
        vars(module).update(content)
        sys.modules[name] = module
        parent, _, child = name.rpartition(".")
        if parent:
            setattr(sys.modules[parent], child, module)
