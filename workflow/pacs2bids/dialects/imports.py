"""Which files a heuristic is made of, told from their text: nothing of the user's is run here."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from pathlib import Path

from pacs2bids.builtin import is_builtin


def files_of(heuristic: Path) -> list[Path]:
    """Return the heuristic first, then what it imports from its own folder, and what that imports, sorted.

    Of a built-in nothing: a change of it is told by ``versions.naming_version``.
    A module is a file; a package counts with all its files. What cannot be read or parsed imports nothing
    here: the error is told when the heuristic is asked.
    """
    if is_builtin(heuristic):
        return []
    found, todo = {heuristic}, [heuristic]
    while todo:
        for name in sorted(_imported(todo.pop())):
            new = {path for path in _module(heuristic.parent, name) if path not in found}
            found |= new
            todo += sorted(new)
    return [heuristic, *sorted(found - {heuristic})]


def files_that_say(heuristic: Path, word: str) -> list[Path]:
    """``files_of`` a heuristic in Python if one of them holds this word; else nothing."""
    files = [path for path in files_of(heuristic) if path.suffix == ".py" and path.is_file()]
    return files if any(word.encode() in path.read_bytes() for path in files) else []


def _imported(path: Path) -> set[str]:
    """First words of all absolute imports, also of those inside functions."""
    try:
        tree = ast.parse(path.read_bytes())
    except (OSError, SyntaxError, ValueError):
        return set()
    return {name.partition(".")[0] for node in ast.walk(tree) for name in _names(node)}


def _names(node: ast.AST) -> Iterator[str]:
    if isinstance(node, ast.Import):
        yield from (alias.name for alias in node.names)
    elif isinstance(node, ast.ImportFrom) and node.module and not node.level:
        yield node.module


def _module(folder: Path, name: str) -> list[Path]:
    """The files of a module of this folder, or none; a package wins over a file, as in Python."""
    package = folder / name
    if (package / "__init__.py").is_file():
        return list(package.rglob("*.py"))
    file = folder / f"{name}.py"
    return [file] if file.is_file() else []
