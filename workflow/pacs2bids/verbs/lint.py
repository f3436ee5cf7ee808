"""``pacs2bids lint``: find mistakes in heuristics without data."""

from __future__ import annotations

import argparse
import logging
from pathlib import Path

from pacs2bids.builtin import heuristic_file
from pacs2bids.dialects.linting import lint
from pacs2bids.model import HeuristicError
from pacs2bids.text import counted

log = logging.getLogger("pacs2bids.lint")


def configure(parser: argparse.ArgumentParser) -> None:
    """Add the arguments of this verb."""
    parser.add_argument(
        "heuristics", nargs="+", type=Path, metavar="HEURISTIC", help="files, or names of built-ins"
    )


def run(arguments: argparse.Namespace) -> str:
    """Tell every mistake with its line; returns how many warnings there are.

    Raises HeuristicError if there is an error among them.
    """
    errors = warnings = 0
    for heuristic in arguments.heuristics:
        for problem in lint(heuristic_file(heuristic)):
            errors += problem.is_error
            warnings += not problem.is_error
            place = f"{heuristic}, line {problem.line}" if problem.line else str(heuristic)
            told = HeuristicError(problem.what, where=place, hint=problem.hint)
            log.log(logging.ERROR if problem.is_error else logging.WARNING, "%s", told)
    names = ", ".join(map(str, arguments.heuristics))
    if errors:
        raise HeuristicError(
            f"{counted(errors, 'error')}, {counted(warnings, 'warning')}",
            where=names,
            hint="`pacs2bids plan` would refuse it",
        )
    return f"{names}: {counted(warnings, 'warning')}" if warnings else f"{names}: no mistakes found"
