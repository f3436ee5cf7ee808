"""The table of docs/retrieval.md: each row is proved by tests, and each message in it is one of ours."""

from __future__ import annotations

import ast
import re
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
TABLE = (ROOT / "docs" / "retrieval.md").read_text(encoding="utf-8").partition("## What can happen")[2]
ROWS = [row for row in TABLE.splitlines() if row.startswith("| ")][1:]
CAUSE, SEEN, REMEDY = range(1, 4)


def cell(row: str, number: int) -> str:
    return row.split("|")[number]


def parsed(*folders: str) -> list[ast.AST]:
    paths = [path for folder in folders for path in sorted((ROOT / folder).rglob("*.py"))]
    return [node for path in paths for node in ast.walk(ast.parse(path.read_text(encoding="utf-8")))]


@pytest.fixture(scope="module")
def tests() -> set[str]:
    functions = [node for node in parsed("tests/pacs", "tests/workflow") if isinstance(node, ast.FunctionDef)]
    return {function.name for function in functions}


@pytest.fixture(scope="module")
def messages() -> str:
    """All texts of the code; of an f-string the pieces between its names."""
    constants = [node.value for node in parsed("workflow/pacs2bids") if isinstance(node, ast.Constant)]
    return "\0".join(text for text in constants if isinstance(text, str))


def test_there_is_a_row_for_each_fault() -> None:
    assert len(ROWS) >= 28
    assert all(row.count("|") == 4 for row in ROWS)


@pytest.mark.parametrize("row", ROWS, ids=lambda row: cell(row, CAUSE).partition("<")[0].strip())
def test_row(row: str, tests: set[str], messages: str) -> None:
    proofs = re.findall(r"<!-- (.*?) -->", cell(row, CAUSE))
    assert len(proofs) == 1
    assert set(proofs[0].split()) <= tests
    for quoted in re.findall(r"`(.+?)`", cell(row, SEEN)):
        for piece in quoted.split("…"):
            assert piece.strip() in messages
    assert cell(row, REMEDY).strip()
