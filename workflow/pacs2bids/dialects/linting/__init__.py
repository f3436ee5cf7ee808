"""What is wrong with a heuristic, found without data."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from pathlib import Path

from msgspec import Struct

from pacs2bids.dialects import hooks
from pacs2bids.dialects.blanking import Blank
from pacs2bids.dialects.isolated import End, isolated
from pacs2bids.dialects.linting.python import Source
from pacs2bids.dialects.problem import Problem
from pacs2bids.dialects.rules.reading import check_rules
from pacs2bids.dialects.user_code import FailedError, UserCode
from pacs2bids.model import HeuristicError

LIMIT_S = 10.0  # of loading a file, and of asking it about no series


def lint(path: Path) -> list[Problem]:
    """All that is wrong with a heuristic, whatever its language, by line."""
    found: Iterable[Problem] = check_rules(path)[1] if path.suffix in (".yaml", ".yml") else _python(path)
    return sorted(dict.fromkeys(found), key=lambda problem: (problem.line, not problem.is_error))


class _Called(Struct, frozen=True, kw_only=True):
    """What a file says when it is asked about no series.

    ``templates``: of its keys. ``unused``: what it asks for and does not get.
    """

    templates: tuple[str, ...] = ()
    unused: tuple[str, ...] = ()


def _python(path: Path) -> list[Problem]:
    try:
        source = Source(path.read_bytes())
    except OSError as error:
        return [Problem(line=0, what=f"cannot be read: {error.strerror}")]
    except SyntaxError as error:
        return [Problem(line=error.lineno or 0, what=f"is no Python: {error.msg}")]
    except ValueError as error:
        return [Problem(line=0, what=f"is no Python: {error}")]
    try:
        called = _called(path)
    except HeuristicError as error:
        found = list(source.problems(()))
        is_told = any(problem.what == error.what for problem in found)
        place = re.search(rf"\({re.escape(path.name)}, line (\d+)", error.what)
        told = Problem(line=int(place[1]) if place else 0, what=error.what, hint=error.hint)
        return found if is_told else [*found, told]
    unused = [Problem(line=0, what=said, is_error=False) for said in called.unused]
    return [*source.problems(called.templates), *unused]


def _called(path: Path) -> _Called:
    """Load the file in a process of its own, and ask it about no series.

    Raises HeuristicError if it cannot be loaded, has no infotodict, does not come to an end, or holds hooks
    that cannot be used.
    """

    def work(end: End) -> _Called:
        code = UserCode(path, Blank(()), end=end, limit_s=LIMIT_S)
        hooks.intended_for(code)
        hooks.default_fields(code)
        unused = tuple(said.removeprefix(f"{path}: ") for said in hooks.not_used(code))
        try:
            returned = code.call("infotodict", [])
        except FailedError:  # it need not bear that: what stands in its text is all that can be told
            return _Called(unused=unused)
        keys = returned if isinstance(returned, Mapping) else ()
        first = [key[0] for key in keys if isinstance(key, tuple) and key]
        return _Called(templates=tuple(one for one in first if isinstance(one, str)), unused=unused)

    return isolated(work, _Called, where=str(path))
