"""YAML without its traps, and what is wrong with a text that is none, with the line."""

from __future__ import annotations

import re
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import yaml

from pacs2bids.model import Pacs2BidsError

MOST = 100_000  # values of a file; aliases of aliases can make it endless


class NoYamlError(Pacs2BidsError):
    """A file that cannot be read as YAML; ``line`` counts from 1, None: not at one line."""

    def __init__(self, what: str, *, line: int | None = None, hint: str = "") -> None:
        super().__init__(what, hint=hint)
        self.line = line


class Loader(yaml.SafeLoader):
    """YAML without its traps: 007, 1_000, 12:30, no and 2026-01-01 are texts, and so is every key."""

    def construct_mapping(self, node: yaml.MappingNode, deep: bool = False) -> dict[Any, Any]:
        """Like SafeLoader's, but a key that stands there twice is an error."""
        keys: set[str] = set()
        for key, _ in node.value:
            if not isinstance(key, yaml.ScalarNode):
                what = "a key must be a text"
                raise yaml.constructor.ConstructorError(None, None, what, key.start_mark)
            key.tag = "tag:yaml.org,2002:str"
            if key.value in keys:
                what = f"the key {key.value!r} stands there twice"
                raise yaml.constructor.ConstructorError(None, None, what, key.start_mark)
            keys.add(key.value)
        return super().construct_mapping(node, deep=deep)

    def parse_node(self, block: bool = False, indentless_sequence: bool = False) -> Any:
        """As it is, but a value that is missing within braces or brackets is told with where they begin."""
        try:
            return super().parse_node(block, indentless_sequence)
        except yaml.parser.ParserError as error:
            if block or not self.marks:
                raise
            begin = self.marks[-1]
            raise yaml.parser.ParserError(error.context, begin, error.problem, error.problem_mark) from None


Loader.yaml_implicit_resolvers = {}  # those of YAML 1.1 guess too much
Loader.add_implicit_resolver("tag:yaml.org,2002:bool", re.compile("^(true|false)$"), list("tf"))
Loader.add_implicit_resolver("tag:yaml.org,2002:null", re.compile("^(~|null|)$"), ["~", "n", ""])
Loader.add_implicit_resolver("tag:yaml.org,2002:int", re.compile("^(0|-?[1-9][0-9]*)$"), list("-0123456789"))


def load(path: Path) -> Any:
    """What a file holds, as lists, dicts, texts, whole numbers, true, false and None. Raises NoYamlError."""
    with _told():
        return yaml.load(path.read_text(encoding="utf-8"), Loader=Loader)


def read_text(path: Path) -> str:
    """The text of a file. Raises NoYamlError."""
    with _told():
        return path.read_text(encoding="utf-8")


def compose(text: str) -> yaml.Node | None:
    """What a text holds, as nodes that know their lines; None if it is empty. Raises NoYamlError."""
    with _told():
        node: yaml.Node | None = yaml.compose(text, Loader=Loader)
    if node is not None and _size(node, {}) > MOST:
        raise NoYamlError(f"is more than {MOST:,} values long, with all that stands for *names written out")
    return node


def _size(node: yaml.Node, known: dict[int, int | None]) -> int:
    """How many values a node holds, aliases written out. Raises NoYamlError for one that holds itself."""
    if id(node) in known:
        size = known[id(node)]
        if size is None:
            raise NoYamlError("holds itself, by a *name", line=node.start_mark.line + 1)
        return size
    known[id(node)] = None
    children = node.value if isinstance(node, yaml.CollectionNode) else ()
    pairs = [one if isinstance(one, tuple) else (one,) for one in children]
    size = 1 + sum(_size(one, known) for pair in pairs for one in pair)
    known[id(node)] = size
    return size


@contextmanager
def _told() -> Iterator[None]:
    """Turns all that can go wrong with a file into NoYamlError."""
    try:
        yield
    except OSError as error:
        raise NoYamlError(f"cannot be read: {error.strerror}") from None
    except UnicodeDecodeError:
        raise NoYamlError("is not a UTF-8 text") from None
    except yaml.MarkedYAMLError as error:
        mark, what = _what(error)
        line = mark.line + 1 if mark else None
        raise NoYamlError(f"is no YAML: {what}", line=line, hint=_hint(error)) from None
    except yaml.YAMLError as error:
        raise NoYamlError(f"is no YAML: {' '.join(str(error).split())}") from None


def _what(error: yaml.MarkedYAMLError) -> tuple[yaml.Mark | None, str]:
    """Where and what. Of what is open, where it begins: the parser notices only far below, or at the end."""
    context, problem, begin = str(error.context), str(error.problem), error.context_mark
    if begin is None or begin.buffer is None:
        return error.problem_mark, problem
    if "a flow " in context and problem.startswith(("expected ','", "expected the node content")):
        closing = {"{": "}", "[": "]"}.get(begin.buffer[begin.pointer])
        if closing:
            opening = begin.buffer[begin.pointer]
            return (
                begin,
                f"the {opening} on this line is not closed with {closing}, or a comma is missing in it",
            )
    if context.endswith("a quoted scalar") and "end of stream" in problem:
        return begin, "the text in quotes that begins on this line has no end"
    if context.endswith("a simple key") and "':'" in problem:
        return begin, "the text on this line has no colon behind its key, as in `key: value`"
    return error.problem_mark, problem


def _hint(error: yaml.MarkedYAMLError) -> str:
    """What to do, where the parser speaks of its own tokens."""
    problem = str(error.problem)
    if "'\\t'" in problem:
        return "A tab stands there: indent with spaces, not tabs"
    if "escape character" in problem:
        return "Put patterns into single quotes"
    if "block" in problem or "mapping values" in problem:
        return (
            "Check the indentation of this line and those before it (with spaces, not tabs), the space after "
            "each colon, and the quotes of texts that hold a colon"
        )
    return ""
