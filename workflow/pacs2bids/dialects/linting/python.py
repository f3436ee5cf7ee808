"""Mistakes in a heuristic of heudiconv's dialect that can be seen in its text.

Nothing of the file is run here. Which templates its keys have can be told only where they stand as text;
``templates`` of others come from the file itself, called without series.
"""

from __future__ import annotations

import ast
import builtins
import symtable
from collections.abc import Collection, Iterator, Mapping, Sequence
from difflib import get_close_matches
from functools import cached_property

from pacs2bids.dialects.linting.templates import (
    COUNTERS,
    DIR,
    PREFIX,
    SAMPLES,
    fields_of,
    problems,
    without_session,
)
from pacs2bids.dialects.problem import Problem
from pacs2bids.dialects.standins import SeqInfo

# what heudiconv looks for in a file (its documentation, "Heuristics file")
HOOKS = (
    "infotodict",
    "infotoids",
    "filter_files",
    "filter_dicom",
    "custom_seqinfo",
    "custom_callable",
    "grouping",
    "DEFAULT_FIELDS",
    "POPULATE_INTENDED_FOR_OPTS",
)
# of every module, and what heudiconv sets in that of a heuristic
OF_MODULES = {"__file__", "__name__", "__doc__", "__package__", "__spec__", "__loader__", "filename"}
_OF_A_SUBJECT = ("{subject}", f"{{{DIR}}}", f"{{{PREFIX}}}")


class Source:
    """The text of a file, and what can be told from it.

    Raises SyntaxError or ValueError if it is no Python.
    """

    def __init__(self, text: bytes) -> None:
        self.tree = ast.parse(text)
        self._names = symtable.symtable(text.decode(errors="replace"), "heuristic", "exec")

    def problems(self, called: Collection[str]) -> Iterator[Problem]:
        """All that is wrong; ``called``: templates that the file gave when it was called without series."""
        yield from self._hooks()
        yield from self._infotodict()
        yield from self._undefined()
        yield from self._fields()
        lines = dict(self.templates)
        for text in called:
            lines.setdefault(text, self._line_of(text))
        for text, line in sorted(lines.items(), key=lambda item: item[1]):
            yield from problems(text, line, self.given)
        yield from without_session(lines)
        yield from self._twins()
        yield from self._collected()

    # ---------------------------------------------------------------------------------- templates

    @cached_property
    def constants(self) -> Mapping[str, str]:
        """Names that are given one text only, wherever."""
        found: dict[str, str | None] = {}
        for node in ast.walk(self.tree):
            for name, value in _assigned(node):
                text = _text(value, {known: said for known, said in found.items() if said is not None})
                found[name] = text if name not in found or found[name] == text else None
        return {name: text for name, text in found.items() if text is not None}

    @cached_property
    def templates(self) -> Mapping[str, int]:
        """Templates that stand as text, and the line of each."""
        found: dict[str, int] = {}
        for node in ast.walk(self.tree):
            for text in _templates_in(node, self.constants):
                found.setdefault(text, getattr(node, "lineno", 0))
        return found

    @cached_property
    def keys(self) -> Mapping[str, str]:
        """Template of each variable that is given a key: ``t1w = create_key("...")``."""
        found: dict[str, str] = {}
        for node in ast.walk(self.tree):
            for name, value in _assigned(node):
                for text in _templates_in(value, self.constants):
                    found.setdefault(name, text)
        return found

    @cached_property
    def given(self) -> set[str]:
        """Fields that items may bring along: keys of dicts, and names of keyword arguments."""
        found: set[str] = set()
        for node in ast.walk(self.tree):
            keys = node.keys if isinstance(node, ast.Dict) else ()
            slices = (node.slice,) if isinstance(node, ast.Subscript) else ()
            for one in (*keys, *slices):
                if isinstance(one, ast.Constant) and isinstance(one.value, str):
                    found.add(one.value)
            if isinstance(node, ast.keyword) and node.arg:
                found.add(node.arg)
        return found

    def _line_of(self, template: str) -> int:
        """Where most of a template stands: the line of the longest text that is part of it; 0 if none is."""
        parts = [(text, line) for text, line in self._texts() if len(text) > 2 and text in template]
        own = [one for one in parts if not any(word in one[0] for word in _OF_A_SUBJECT)] or parts
        return max(own, key=lambda one: len(one[0]), default=("", 0))[1]

    def _texts(self) -> Iterator[tuple[str, int]]:
        for node in ast.walk(self.tree):
            if isinstance(node, ast.Constant) and isinstance(node.value, str):
                yield node.value, node.lineno

    # ---------------------------------------------------------------------------------- what else

    def _hooks(self) -> Iterator[Problem]:
        """Names that are nearly those of hooks, and so are never called."""
        for node in self.tree.body:
            names = (
                [node.name] if isinstance(node, ast.FunctionDef) else [name for name, _ in _assigned(node)]
            )
            for name in names:
                close = get_close_matches(name, HOOKS, n=1, cutoff=0.85)
                if close and name not in HOOKS:
                    what = f"{name!r} is no hook of heudiconv's: nothing calls it"
                    yield Problem(
                        line=node.lineno, what=what, hint=f"Did you mean {close[0]!r}?", is_error=False
                    )

    @cached_property
    def _function(self) -> ast.FunctionDef | None:
        found = [
            one for one in self.tree.body if isinstance(one, ast.FunctionDef) and one.name == "infotodict"
        ]
        return found[-1] if found else None

    @property
    def _imported(self) -> bool:
        """Whether infotodict may come from another file."""
        names = [one.asname or one.name for node in self.tree.body for one in getattr(node, "names", ())]
        return any(name in ("infotodict", "*") for name in names) or "infotodict" in dict(
            pair for node in self.tree.body for pair in _assigned(node)
        )

    def _infotodict(self) -> Iterator[Problem]:
        if self._function is None:
            if not self._imported:
                hint = "heudiconv's dialect wants 'def infotodict(seqinfo):'"
                yield Problem(line=0, what="has no function infotodict", hint=hint)
            return
        returns = [one for one in ast.walk(self._function) if isinstance(one, ast.Return) and one.value]
        yields = any(isinstance(one, ast.Raise) for one in ast.walk(self._function))
        if not returns and not yields:
            yield Problem(
                line=self._function.lineno,
                what="infotodict returns nothing",
                hint="End it with 'return info'",
            )

    def _undefined(self) -> Iterator[Problem]:
        """Names that are used and nowhere given; none if the file takes all that another one has."""
        if any(isinstance(one, ast.alias) and one.name == "*" for one in ast.walk(self.tree)):
            return
        loaded = [one for one in ast.walk(self.tree) if isinstance(one, ast.Name)]
        lines = {one.id: one.lineno for one in reversed(loaded) if isinstance(one.ctx, ast.Load)}
        given = _given(self._names)
        for name in sorted(_used(self._names) - given - set(dir(builtins)) - OF_MODULES):
            close = get_close_matches(name, given, n=1, cutoff=0.75)
            hint = f"Did you mean {close[0]!r}?" if close else "Define or import it; a text wants quotes"
            yield Problem(line=lines.get(name, 0), what=f"the name {name!r} is not defined", hint=hint)

    def _fields(self) -> Iterator[Problem]:
        """Fields of a series that there are none of: ``s.protocol``."""
        function = self._function
        if function is None or not function.args.args:
            return
        argument = function.args.args[0].arg
        series = {name for node in ast.walk(function) for name in _looped(node, argument)}
        for node in ast.walk(function):
            if not (isinstance(node, ast.Attribute) and isinstance(node.value, ast.Name)):
                continue
            if node.value.id in series and node.attr not in dir(SeqInfo):
                close = get_close_matches(node.attr, SeqInfo._fields, n=1, cutoff=0.6)
                hint = f"Did you mean {close[0]!r}?" if close else f"There are {', '.join(SeqInfo._fields)}"
                yield Problem(line=node.lineno, what=f"a series has no field {node.attr!r}", hint=hint)

    def _twins(self) -> Iterator[Problem]:
        """Two keys of one name."""
        first: dict[str, str] = {}
        for name, template in self.keys.items():
            other = first.setdefault(template, name)
            if other != name:
                what = f"{other!r} and {name!r} have one template, {template!r}"
                hint = "Tell them apart by an entity, or use one key for both"
                yield Problem(line=self.templates.get(template, 0), what=what, hint=hint, is_error=False)

    def _collected(self) -> Iterator[Problem]:
        """Lists that take several series, of keys whose names do not count them."""
        appended = sorted((line, name) for node in ast.walk(self.tree) for name, line in _appended(node))
        first = {name: line for line, name in reversed(appended) if name in self.keys}
        for name, line in first.items():
            template = self.keys[name]
            try:
                counted = [one for one in fields_of(template) if one in COUNTERS or one not in SAMPLES]
            except ValueError:
                continue
            if not counted:
                what = f"{name!r} takes every series that fits, but its names do not count them"
                hint = "Add 'run-{item}' to its template, or take one series alone: info[key] = [s.series_id]"
                yield Problem(line=line, what=what, hint=hint, is_error=False)


# --------------------------------------------------------------------------------------------- names


def _used(table: symtable.SymbolTable) -> set[str]:
    """Names that the module, and what is in it, takes from the module."""
    is_module = table.get_type() == "module"
    names = {one.get_name() for one in table.get_symbols() if one.is_referenced()}
    mine = {one.get_name() for one in table.get_symbols() if is_module or one.is_global()}
    return set().union(names & mine, *map(_used, table.get_children()))


def _given(table: symtable.SymbolTable) -> set[str]:
    """Names that the module has, once all of it has run."""
    is_module = table.get_type() == "module"
    names = {
        one.get_name()
        for one in table.get_symbols()
        if (one.is_assigned() or one.is_imported() or one.is_namespace())
        and (is_module or one.is_declared_global())
    }
    return set().union(names, *map(_given, table.get_children()))


# --------------------------------------------------------------------------------------------- nodes


def _assigned(node: ast.AST) -> Iterator[tuple[str, ast.expr]]:
    if isinstance(node, ast.Assign):
        yield from ((target.id, node.value) for target in node.targets if isinstance(target, ast.Name))
    elif isinstance(node, ast.AnnAssign) and isinstance(node.target, ast.Name) and node.value:
        yield node.target.id, node.value


def _templates_in(node: ast.AST, constants: Mapping[str, str]) -> Iterator[str]:
    """The template that a call, or a tuple, begins with: ``create_key("...")``, ``("...", ("nii.gz",))``."""
    first: Sequence[ast.expr] = ()
    if isinstance(node, ast.Call):
        named = [one.value for one in node.keywords if one.arg == "template"]
        first = [*named, *node.args[:1]][:1]
    elif isinstance(node, ast.Tuple):
        first = node.elts[:1]
    for one in first:
        text = _text(one, constants)
        if text and "/" in text and any(word in text for word in _OF_A_SUBJECT):
            yield text


def _text(node: ast.expr, constants: Mapping[str, str]) -> str | None:
    """The text that an expression stands for; None if it cannot be told."""
    if isinstance(node, ast.Constant):
        return node.value if isinstance(node.value, str) else None
    if isinstance(node, ast.Name):
        return constants.get(node.id)
    parts: list[str | None]
    if isinstance(node, ast.BinOp) and isinstance(node.op, ast.Add):
        parts = [_text(node.left, constants), _text(node.right, constants)]
    elif isinstance(node, ast.JoinedStr):
        values = [one.value if isinstance(one, ast.FormattedValue) else one for one in node.values]
        parts = [_text(one, constants) for one in values]
    else:
        return None
    known = [part for part in parts if part is not None]
    return "".join(known) if len(known) == len(parts) else None


def _looped(node: ast.AST, argument: str) -> Iterator[str]:
    """Variables that go over the series: ``for s in seqinfo``, ``for i, s in enumerate(seqinfo)``."""
    if not isinstance(node, ast.For | ast.comprehension):
        return
    over, target = node.iter, node.target
    if isinstance(over, ast.Call) and getattr(over.func, "id", "") == "enumerate" and over.args:
        over = over.args[0]
        target = target.elts[-1] if isinstance(target, ast.Tuple) else target
    if isinstance(over, ast.Name) and over.id == argument and isinstance(target, ast.Name):
        yield target.id


def _appended(node: ast.AST) -> Iterator[tuple[str, int]]:
    """The variable k of ``info[k].append(...)`` or ``info[k] += ...``, and the line."""
    held: ast.expr | None = None
    if isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute):
        held = node.func.value if node.func.attr in ("append", "extend") else None
    elif isinstance(node, ast.AugAssign):
        held = node.target
    if isinstance(held, ast.Subscript) and isinstance(held.slice, ast.Name):
        yield held.slice.id, held.lineno
