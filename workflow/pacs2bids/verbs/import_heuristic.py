"""``pacs2bids import-heuristic``: a configuration of dcm2bids, or a bidsmap of BIDScoin, as rules."""

from __future__ import annotations

import argparse
import logging
import tempfile
from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path

from pacs2bids.dialects.problem import Problem
from pacs2bids.dialects.rules.reading import check_rules
from pacs2bids.files import write_text
from pacs2bids.imports import read_foreign
from pacs2bids.imports.records import Imported, Lost
from pacs2bids.imports.writing import text_of
from pacs2bids.model import ConfigError
from pacs2bids.text import counted

log = logging.getLogger("pacs2bids.import_heuristic")


def configure(parser: argparse.ArgumentParser) -> None:
    """Add the arguments of this verb."""
    parser.add_argument(
        "file", type=Path, metavar="FILE", help="config.json of dcm2bids, or bidsmap.yaml of BIDScoin"
    )
    parser.add_argument(
        "--out", type=Path, metavar="FILE", help="a new file, as heuristics/mine.yaml; else it is printed"
    )


def run(arguments: argparse.Namespace) -> str:
    """Write the rules; returns how many there are. What could not be carried over is told, and stands there.

    Raises HeuristicError if the file is of neither program, ConfigError if ``--out`` is there already.
    """
    out: Path | None = arguments.out
    if out is not None and out.exists():
        raise ConfigError("is there already", where=str(out), hint="Give another name to --out")
    imported = _usable(read_foreign(arguments.file))
    text = text_of(imported, arguments.file.name)
    for lost in imported.all_lost:
        log.warning("%s", lost)
    if out is None:
        return text.removesuffix("\n")
    write_text(out, text)
    return f"{out}: {_summary(imported)}"


def _summary(imported: Imported) -> str:
    active = sum(rule.is_active for rule in imported.rules)
    said = f"{active} of {counted(len(imported.rules), 'rule')} of {imported.program} can be used"
    lost = len(imported.all_lost)
    return f"{said}; {counted(lost, 'thing')} not carried over, listed at its head" if lost else said


def _usable(imported: Imported) -> Imported:
    """The same, with those rules left out that the reader of rules refuses, as for a name not of BIDS."""
    problems = _problems(imported)
    active = iter(range(sum(rule.is_active for rule in imported.rules)))
    rules = []
    for rule in imported.rules:
        wrong = problems.get(next(active), ()) if rule.is_active else ()
        lost = [
            Lost(where=rule.name, what=one.what, why=one.hint or "so it is no rule", is_rule=True)
            for one in wrong
        ]
        rules.append(replace(rule, lost=(*rule.lost, *lost)))
    return replace(imported, rules=tuple(rules))


def _problems(imported: Imported) -> Mapping[int, Sequence[Problem]]:
    """What is wrong with the rules that are written, by their ordinal."""
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "imported.yaml"
        path.write_text(text_of(imported, ""), encoding="utf-8")
        read, problems = check_rules(path)
    begins = [rule.line for rule in read.rules] if read else []
    found = defaultdict(list)
    for problem in problems:
        if problem.is_error:
            found[sum(line <= problem.line for line in begins) - 1].append(problem)
    return found
