"""What is wrong with a heuristic, found without data."""

from __future__ import annotations

from pathlib import Path

from pacs2bids.dialects.linting.python import Source
from pacs2bids.dialects.problem import Problem
from pacs2bids.dialects.rules.reading import check_rules


def lint(path: Path) -> list[Problem]:
    """All that is wrong with a heuristic, whatever its language, by line."""
    found = check_rules(path)[1] if path.suffix in (".yaml", ".yml") else _python(path)
    return sorted(dict.fromkeys(found), key=lambda problem: (problem.line, not problem.is_error))


def _python(path: Path) -> list[Problem]:
    try:
        source = Source(path.read_bytes())
    except OSError as error:
        return [Problem(line=0, what=f"cannot be read: {error.strerror}")]
    except SyntaxError as error:
        return [Problem(line=error.lineno or 0, what=f"is no Python: {error.msg}")]
    except ValueError as error:
        return [Problem(line=0, what=f"is no Python: {error}")]
    return list(source.problems(()))
