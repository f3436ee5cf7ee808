"""Heuristics that come with pacs2bids and are called by a bare word, as ``heuristic: reproin``.

Behind ours stand those of heudiconv, where it is installed.
"""

from __future__ import annotations

from importlib.machinery import PathFinder
from pathlib import Path

from pacs2bids.model import ConfigError

FOLDER = Path(__file__).parent / "dialects" / "builtins"


def builtin_names() -> list[str]:
    """Which there are."""
    return sorted(path.stem for path in FOLDER.glob("*.py") if not path.stem.startswith("_"))


def heudiconv_folders() -> list[Path]:
    """Where heudiconv itself is; empty if it is not installed. Nothing of it is imported."""
    found = PathFinder.find_spec("heudiconv")
    return [Path(folder) for folder in (found.submodule_search_locations if found else None) or ()]


def _of_heudiconv() -> dict[str, Path]:
    files = [file for folder in heudiconv_folders() for file in folder.glob("heuristics/*.py")]
    return {file.stem: file for file in files if not file.stem.startswith(("_", "test_"))}


def is_builtin(heuristic: Path) -> bool:
    """Whether this is a bare word, no path of a file: it has neither a slash nor a dot."""
    return heuristic.name == str(heuristic) and "." not in heuristic.name


def heuristic_file(heuristic: Path, *, where: str = "heuristic") -> Path:
    """The file of a heuristic: itself, or that of the built-in, ours or heudiconv's, with this name.

    Raises ConfigError, which lists the built-ins, for a bare word that is none, and for a file of JSON.
    """
    if not is_builtin(heuristic):
        if heuristic.suffix == ".json":
            what = "is JSON; heuristics are Python files (.py) or rules (.yaml)"
            hint = f"If dcm2bids reads it: `pacs2bids import-heuristic {heuristic}` makes rules of it"
            raise ConfigError(what, where=str(heuristic), hint=hint)
        return heuristic
    names = builtin_names()
    others = {} if heuristic.name in names else _of_heudiconv()
    if heuristic.name in others:
        return others[heuristic.name]
    if heuristic.name not in names:
        names += sorted(others.keys() - set(names))
        hint = f"There is: {', '.join(names) or 'none yet'}. For a file of yours write its ending, too"
        raise ConfigError(f"no built-in heuristic is called {str(heuristic)!r}", where=where, hint=hint)
    return FOLDER / f"{heuristic.name}.py"
