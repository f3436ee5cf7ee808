"""No source that decides a result may be missing in the version of its stage."""

from __future__ import annotations

import ast
from collections.abc import Iterator, Sequence
from pathlib import Path

import pytest

import pacs2bids
from pacs2bids import versions

PACKAGE = Path(pacs2bids.__file__).parent


def modules(path: Path) -> Iterator[Path]:
    """The modules of this package that a file imports, anywhere in it."""
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.ImportFrom) and node.module and node.module.startswith("pacs2bids"):
            names = [f"{node.module}.{alias.name}" for alias in node.names]
            for name in (node.module, *names):
                file = PACKAGE.parent / f"{name.replace('.', '/')}.py"
                if file.is_file():
                    yield file


def needed(verbs: Sequence[str]) -> set[Path]:
    todo = [PACKAGE / "verbs" / f"{verb}.py" for verb in verbs]
    seen = set(todo)
    while todo:
        new = {path for path in modules(todo.pop()) if path not in seen}
        seen |= new
        todo += new
    return seen


@pytest.mark.parametrize(
    ("verbs", "patterns"),
    [
        (("plan", "place"), versions.NAMING),
        (("dataset", "check", "report"), versions.DELIVERY),
    ],
)
def test_all_that_a_stage_imports_is_in_its_version(verbs: Sequence[str], patterns: Sequence[str]) -> None:
    covered = {path for pattern in patterns for path in PACKAGE.glob(pattern)}
    assert all(list(PACKAGE.glob(pattern)) for pattern in patterns)
    assert needed(verbs) <= covered


def test_the_stages_have_versions_of_their_own() -> None:
    assert versions.naming_version().startswith(f"{pacs2bids.__version__}+")
    assert versions.naming_version() != versions.delivery_version()
