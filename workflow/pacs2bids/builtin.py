"""Heuristics that come with pacs2bids and are called by a bare word, as ``heuristic: reproin``."""

from __future__ import annotations

from pathlib import Path

from pacs2bids.model import ConfigError

FOLDER = Path(__file__).parent / "dialects" / "builtins"


def builtin_names() -> list[str]:
    """Which there are."""
    return sorted(path.stem for path in FOLDER.glob("*.py") if not path.stem.startswith("_"))


def is_builtin(heuristic: Path) -> bool:
    """Whether this is a bare word, no path of a file: it has neither a slash nor a dot."""
    return heuristic.name == str(heuristic) and "." not in heuristic.name


def heuristic_file(heuristic: Path, *, where: str = "heuristic") -> Path:
    """The file of a heuristic: itself, or that of the built-in with this name.

    Raises ConfigError, which lists the built-ins, for a bare word that is none.
    """
    if not is_builtin(heuristic):
        return heuristic
    names = builtin_names()
    if heuristic.name not in names:
        hint = f"There is: {', '.join(names) or 'none yet'}. For a file of yours write its ending, too"
        raise ConfigError(f"no built-in heuristic is called {str(heuristic)!r}", where=where, hint=hint)
    return FOLDER / f"{heuristic.name}.py"
