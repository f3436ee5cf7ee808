"""What the conditions of a user's file said of one series, for ``explain``.

The file's syntax tree is changed before it runs: every ``if``, and every condition of a comprehension, tells
a probe which of its parts held, and what the fields in it were. The values of all expressions stay the same.
"""

from __future__ import annotations

import ast
import builtins
import sys
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from types import CodeType, FrameType
from typing import Any

from pacs2bids.dialects.standins import SeqInfo
from pacs2bids.dialects.user_code import NOT_SHOWN, seqinfos_of, short

PART, VALUE, WHOLE = "__pacs2bids_part", "__pacs2bids_value", "__pacs2bids_whole"


@dataclass(frozen=True, slots=True, kw_only=True)
class Condition:
    """One ``if``, as it was for the series. ``body``: first and last line of what it guards."""

    line: int
    body: tuple[int, int]
    held: bool = False
    met: int = 0
    failed: str = ""


@dataclass(kw_only=True)
class _Heard:
    """Of a condition that is being asked."""

    met: int = 0
    failed: str = ""
    values: list[str] = field(default_factory=list)


class Probes:
    """Changes a file, and hears what its conditions say while it runs. For a process of its own."""

    def __init__(self, series_uid: str) -> None:
        self._uid = series_uid
        self._heard: dict[FrameType, _Heard] = {}  # conditions may ask others: each in a frame of its own
        self._found: dict[tuple[int, int], Condition] = {}
        for name, function in ((PART, self._part), (VALUE, self._value), (WHOLE, self._whole)):
            setattr(builtins, name, function)

    def compiled(self, source: bytes, path: str) -> CodeType:
        """As ``user_code.compiled``, with probes."""
        tree = _Changed().visit(ast.parse(source, path))
        return compile(ast.fix_missing_locations(tree), path, "exec", dont_inherit=True)

    def conditions(self) -> list[Condition]:
        """What was asked of the series, in the order of lines; of several times the nearest."""
        return [condition for _, condition in sorted(self._found.items())]

    def _of(self, frame: FrameType) -> _Heard:
        return self._heard.setdefault(frame, _Heard())

    def _value(self, text: str, value: Any) -> Any:
        self._of(sys._getframe(1)).values.append(f"{text} is {short(value)}")
        return value

    def _part(self, text: str, value: Any) -> Any:
        heard = self._of(sys._getframe(1))
        if value:
            heard.met += 1
        elif not heard.failed:
            values = "; ".join(dict.fromkeys(heard.values))
            heard.failed = f"{text} ({values})" if values else text
        heard.values.clear()
        return value

    def _whole(self, line: int, column: int, first: int, last: int, value: Any) -> Any:
        frame = sys._getframe(1)
        heard = self._heard.pop(frame, _Heard())
        found = Condition(line=line, body=(first, last), held=bool(value), met=heard.met, failed=heard.failed)
        if any(info.series_uid == self._uid for info in _seen_from(frame)):
            known = self._found.get((line, column), found)
            if (found.held, found.met) >= (known.held, known.met):
                self._found[line, column] = found
        return value


def _seen_from(frame: FrameType | None) -> Sequence[SeqInfo]:
    """The series that the nearest frame speaks of: a helper may get only a text."""
    while frame is not None:
        if seen := seqinfos_of(frame):
            return seen
        frame = frame.f_back
    return ()


class _Changed(ast.NodeTransformer):
    def visit_If(self, node: ast.If) -> ast.If:
        last = node.body[-1]
        node.test = _probed(node.test, (node.body[0].lineno, last.end_lineno or last.lineno))
        node.body = [self.visit(one) for one in node.body]
        node.orelse = [self.visit(one) for one in node.orelse]
        return node

    def visit_comprehension(self, node: ast.comprehension) -> ast.comprehension:
        self.generic_visit(node)
        node.ifs = [_probed(one, (one.lineno, one.end_lineno or one.lineno)) for one in node.ifs]
        return node


def _probed(test: ast.expr, body: tuple[int, int]) -> ast.expr:
    place = [ast.Constant(number) for number in (test.lineno, test.col_offset, *body)]
    return _call(WHOLE, *place, _split(test), like=test)


def _split(test: ast.expr) -> ast.expr:
    """Each part of ``a and b and c`` by itself."""
    if isinstance(test, ast.BoolOp) and isinstance(test.op, ast.And):
        values = [_split(one) for one in test.values]
        return ast.copy_location(ast.BoolOp(op=test.op, values=values), test)
    text = ast.unparse(test)
    return _call(PART, ast.Constant(text), _Valued(test).visit(test), like=test)


class _Valued(ast.NodeTransformer):
    """Tells fields of SeqInfo; where there is none, what is compared, or what a method is called of."""

    def __init__(self, test: ast.expr) -> None:
        fields = any(_is_field(node) for node in ast.walk(test))
        self._other = None if fields else next(_compared(test), None)

    def visit(self, node: ast.AST) -> Any:
        if node is self._other or _is_field(node):
            assert isinstance(node, ast.expr)
            return _call(VALUE, ast.Constant(ast.unparse(node)), node, like=node)
        return self.generic_visit(node)


def _is_field(node: ast.AST) -> bool:
    return (
        isinstance(node, ast.Attribute)
        and isinstance(node.value, ast.Name)
        and node.attr in SeqInfo._fields
        and node.attr not in NOT_SHOWN
    )


def _compared(test: ast.expr) -> Iterator[ast.expr]:
    if isinstance(test, ast.UnaryOp):
        yield from _compared(test.operand)
    elif isinstance(test, ast.Compare):
        yield from (one for one in (test.left, *test.comparators) if not isinstance(one, ast.Constant))
    elif isinstance(test, ast.Call) and isinstance(test.func, ast.Attribute):
        yield test.func.value


def _call(name: str, *arguments: ast.expr, like: ast.expr) -> ast.Call:
    function = ast.Name(id=name, ctx=ast.Load())
    return ast.copy_location(ast.Call(func=function, args=list(arguments), keywords=[]), like)
