"""What older code or libraries wrote is done again: nothing may be missing from the digests."""

from __future__ import annotations

import ast
import importlib.metadata
from pathlib import Path

import pytest

import pacs2bids
from pacs2bids.engine import LIBRARIES, SOURCES, version_of
from pacs2bids.versions import DELIVERY_LIBRARIES, NAMING_LIBRARIES

PACKAGE = Path(pacs2bids.__file__).parent
# the digest names the release itself, and changes with what engine.py lists
BESIDE = {"__init__.py", "engine.py"}


def imported_by(path: Path) -> set[Path]:
    """Files of the package that a file imports, at its head or inside a function."""
    names = set()
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.ImportFrom) and node.module:
            names |= {node.module, *(f"{node.module}.{alias.name}" for alias in node.names)}
        elif isinstance(node, ast.Import):
            names |= {alias.name for alias in node.names}
    places = [PACKAGE.parent.joinpath(*name.split(".")) for name in names if name.startswith("pacs2bids")]
    files = [file for place in places for file in (place.with_suffix(".py"), place / "__init__.py")]
    return {file for file in files if file.exists()}


def test_the_digest_of_the_engine_knows_all_that_the_engine_imports() -> None:
    found, waiting = set[Path](), {PACKAGE / "store.py"}
    while waiting:
        path = waiting.pop()
        found.add(path)
        waiting |= imported_by(path) - found
    listed = {path for pattern in SOURCES for path in PACKAGE.glob(pattern)}
    assert PACKAGE / "datasets.py" in found  # imported inside functions only
    assert {str(path.relative_to(PACKAGE)) for path in found - listed} - BESIDE == set()
    assert all(list(PACKAGE.glob(pattern)) for pattern in SOURCES)


@pytest.mark.parametrize("library", sorted({*LIBRARIES, *NAMING_LIBRARIES, *DELIVERY_LIBRARIES}))
def test_versions_of_libraries(library: str) -> None:
    assert version_of(library) == importlib.metadata.version(library)


def test_an_unknown_library_has_no_version() -> None:
    with pytest.raises(importlib.metadata.PackageNotFoundError):
        version_of("no-such-library")
