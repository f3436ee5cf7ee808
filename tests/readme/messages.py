"""What the program can say, read from its sources: texts, errors with what they say, codes of findings."""

from __future__ import annotations

import ast
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from functools import cache
from typing import TypeGuard

from pages import ROOT

from pacs2bids import model
from pacs2bids.model import Pacs2BidsError

SOURCES = sorted((ROOT / "workflow/pacs2bids").rglob("*.py"))
HOLE = "…"  # for a name or a number in a text
FINDERS = ("_finding", "_crash", "_Broken")  # functions of the check that take a code first
ERRORS = {
    name for name, kind in vars(model).items() if isinstance(kind, type) and issubclass(kind, Pacs2BidsError)
}


class Text(ast.Constant):
    """A constant that is a text."""

    value: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Raised:
    """An error as it is raised.

    ``what``: all that it may say, ``…`` for what is filled in; () if it is put together elsewhere.
    ``has_hint``: whether it says what to do, too.
    """

    where: str
    kind: str
    what: tuple[str, ...]
    has_hint: bool


@cache
def texts() -> str:
    """All texts of the program, of those with names in them the pieces between."""
    nodes = (node for tree in _trees().values() for node in ast.walk(tree))
    return "\0".join(node.value for node in nodes if _is_text(node))


@cache
def raised() -> tuple[Raised, ...]:
    """Each error of ours that the sources make."""
    return tuple(_raised())


def _raised() -> Iterator[Raised]:
    for name, tree in _trees().items():
        for function in _functions(tree):
            for call in ast.walk(function):
                if isinstance(call, ast.Call) and isinstance(call.func, ast.Name) and call.func.id in ERRORS:
                    yield Raised(
                        where=f"{name}:{call.lineno}",
                        kind=call.func.id,
                        what=tuple(_said(call.args[0], function)) if call.args else (),
                        has_hint=any(keyword.arg == "hint" for keyword in call.keywords),
                    )


def codes() -> set[str]:
    """Codes of our own findings: what those who make them are called with, or (severity, code, ...)."""
    found = set[str]()
    for tree in _trees().values():
        constants = {
            target.id: node.value.value
            for node in tree.body
            if isinstance(node, ast.Assign) and _is_text(node.value)
            for target in node.targets
            if isinstance(target, ast.Name)
        }
        for node in ast.walk(tree):
            words: list[ast.expr] = []
            if isinstance(node, ast.Call) and isinstance(node.func, ast.Name) and node.func.id in FINDERS:
                words = node.args[:1]
            elif isinstance(node, ast.Tuple) and node.elts and _is_severity(node.elts[0]):
                words = node.elts[1:2]
            for word in words:
                name = constants.get(word.id, "") if isinstance(word, ast.Name) else ""
                code = word.value if _is_text(word) else name
                found |= {code} if code.isupper() else set()
    return found


def _is_text(node: ast.AST) -> TypeGuard[Text]:
    return isinstance(node, ast.Constant) and isinstance(node.value, str)


def _is_severity(node: ast.AST) -> bool:
    return _is_text(node) and node.value in ("error", "warning")


@cache
def _trees() -> dict[str, ast.Module]:
    return {
        path.relative_to(ROOT / "workflow/pacs2bids").as_posix(): ast.parse(path.read_text(encoding="utf-8"))
        for path in SOURCES
    }


def _functions(tree: ast.Module) -> list[ast.FunctionDef]:
    """The outermost ones, and methods."""
    found = []
    for node in tree.body:
        body = node.body if isinstance(node, ast.ClassDef) else [node]
        found += [one for one in body if isinstance(one, ast.FunctionDef)]
    return found


def _said(node: ast.expr, function: ast.FunctionDef) -> Iterable[str]:
    """The texts that an expression may be, as far as the function around it tells."""
    if _is_text(node):
        return [node.value]
    if isinstance(node, ast.JoinedStr):
        return ["".join(part.value if isinstance(part, ast.Constant) else HOLE for part in node.values)]
    if isinstance(node, ast.IfExp):
        return [*_said(node.body, function), *_said(node.orelse, function)]
    if isinstance(node, ast.BinOp):
        return [left + right for left in _said(node.left, function) for right in _said(node.right, function)]
    if isinstance(node, ast.Name):
        given = [
            one.value
            for one in ast.walk(function)
            if isinstance(one, ast.Assign)
            and any(isinstance(t, ast.Name) and t.id == node.id for t in one.targets)
        ]
        return [text for one in given for text in _said(one, function)]
    return []
