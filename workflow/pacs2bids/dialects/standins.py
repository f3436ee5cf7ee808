"""Stand-ins for the modules of heudiconv that heuristics import.

Heuristics written for heudiconv import a few names from it, mostly for annotations; some change ``reproin``,
behind whose name our built-in stands. They get these whether heudiconv is installed or not, so that a file
gives the same names everywhere. What is not here comes from heudiconv itself where it is installed; else it
is an ImportError that names what is missing.
"""

from __future__ import annotations

import importlib.util
import json
import sys
from collections.abc import Callable
from importlib.abc import Loader, MetaPathFinder
from importlib.machinery import ModuleSpec
from pathlib import Path
from types import ModuleType
from typing import Any, NamedTuple

from pacs2bids.builtin import FOLDER, builtin_names, heudiconv_folders


class SeqInfo(NamedTuple):
    """One series as ``infotodict`` gets it: names, order and units of heudiconv's contract.

    ``TR`` in s, ``TE`` in ms, -1 where the header does not say at its top level, as in enhanced files;
    ``date`` YYYYMMDD, ``time`` HHMMSS.FFFFFF. Behind its 28 fields stand ours, by the names that rules have
    for them; ``slices``, ``volumes``, ``phase_encoding_direction`` (BIDS letters) and ``repetition_time_s``
    are of the first of ``stacks`` volume files.
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
    series_number: int | None = None
    modality: str | None = None
    manufacturer: str | None = None
    model_name: str | None = None
    stacks: int = 0
    slices: int | None = None
    volumes: int | None = None
    echo_times_ms: tuple[float, ...] = ()
    components: tuple[str, ...] = ()
    phase_encoding_direction: str | None = None
    is_diffusion: bool = False
    is_localizer: bool = False
    repetition_time_s: float | None = None


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


HEURISTICS = "heudiconv.heuristics"
MODULES: dict[str, dict[str, object]] = {
    "heudiconv": {"__version__": "1.5"},  # whose contract this is
    "heudiconv.utils": {
        "SeqInfo": SeqInfo,
        "StudySessionInfo": StudySessionInfo,
        "load_json": load_json,
        "save_json": save_json,
        "set_readonly": set_readonly,
    },
    HEURISTICS: {},
    "heudiconv.due": {"due": DueCredit(), **dict.fromkeys(("BibTeX", "Doi", "Text", "Url"), Citation)},
}


def install() -> None:
    """Make imports of ``heudiconv`` give stand-ins; what was imported under its name is forgotten.

    For a process of its own: others in this one would get them, too.
    """
    for name in [name for name in sys.modules if name.partition(".")[0] == "heudiconv"]:
        del sys.modules[name]
    if not any(isinstance(finder, _Finder) for finder in sys.meta_path):
        sys.meta_path.insert(0, _Finder())


class _Finder(MetaPathFinder, Loader):
    """Finds stand-ins and, as ``heudiconv.heuristics.<name>``, our built-ins."""

    def find_spec(self, fullname: str, *_others: object) -> ModuleSpec | None:
        """Return None for what is not ours."""
        if fullname in MODULES:
            spec = ModuleSpec(fullname, self, is_package=True)
            # other submodules are heudiconv's, or, without it, a plain ImportError
            spec.submodule_search_locations = _locations(fullname)
            return spec
        package, _, name = fullname.rpartition(".")
        if package == HEURISTICS and name in builtin_names():
            return importlib.util.spec_from_file_location(fullname, FOLDER / f"{name}.py")
        return None

    def exec_module(self, module: ModuleType) -> None:
        """Fill a stand-in."""
        vars(module).update(MODULES[module.__name__], __doc__="A stand-in of pacs2bids.")
        vars(module)["__getattr__"] = lambda name: _of_heudiconv(module, name)


def _locations(name: str) -> list[str]:
    """Where heudiconv itself keeps a package; none if it is not installed, or for a module."""
    folders = [folder.joinpath(*name.split(".")[1:]) for folder in heudiconv_folders()]
    return [str(folder) for folder in folders if folder.is_dir()]


def package_of(file: Path) -> str:
    """Of which package a heuristic is a part, so that it may import others of it relatively; "" of none."""
    return HEURISTICS if str(file.parent) in _locations(HEURISTICS) else ""


def _of_heudiconv(standin: ModuleType, name: str) -> object:
    """A name that the stand-in has not got, of the module that it stands for, where that is installed."""
    package, _, stem = standin.__name__.rpartition(".")
    files = [file for folder in heudiconv_folders() if (file := folder / f"{stem}.py").is_file()]
    if package != "heudiconv" or name.startswith("__") or not files:
        raise AttributeError(f"module {standin.__name__!r} has no attribute {name!r}")
    whole = f"heudiconv._installed_{stem}"
    if whole not in sys.modules:
        spec = importlib.util.spec_from_file_location(whole, files[0])
        assert spec is not None and spec.loader is not None  # noqa: PT018 (it has a file)
        sys.modules[whole] = importlib.util.module_from_spec(spec)
        spec.loader.exec_module(sys.modules[whole])
    return getattr(sys.modules[whole], name)
