"""``pacs2bids plan``: ask the heuristic for the BIDS names of one session."""

from __future__ import annotations

import argparse
import logging
from collections import Counter
from collections.abc import Sequence
from pathlib import Path

from pacs2bids.bids import BidsName
from pacs2bids.dialects import ask
from pacs2bids.files import read_record
from pacs2bids.model import ConfigError, PlanRow, StudyIndex
from pacs2bids.plan import plan_session
from pacs2bids.plan_table import write_plan
from pacs2bids.text import counted

log = logging.getLogger("pacs2bids.plan")


def configure(parser: argparse.ArgumentParser) -> None:
    """Add the arguments of this verb."""
    parser.add_argument("studies", nargs="+", type=Path, metavar="STUDY", help="folders that hold index.json")
    parser.add_argument(
        "--heuristic", required=True, type=Path, metavar="FILE", help="a file, or the name of a built-in"
    )
    parser.add_argument("--subject", required=True, metavar="LABEL", help="subject, without 'sub-'")
    parser.add_argument(
        "--session", default="", metavar="LABEL", help="session, without 'ses-', if there is one"
    )
    parser.add_argument("--out", required=True, type=Path, metavar="FOLDER", help="where plan.tsv goes")


def run(arguments: argparse.Namespace) -> str:
    """Write ``plan.tsv``; returns how many stacks have a name.

    Raises ConfigError for labels that BIDS does not allow and studies that repeat, HeuristicError and
    PlanError for what the heuristic does or says.
    """
    _check_labels(arguments.subject, arguments.session)
    indexes = [read_record(folder / "index.json", StudyIndex) for folder in arguments.studies]
    _check_distinct(indexes)
    answers = ask(arguments.heuristic, indexes, subject=arguments.subject, session=arguments.session)
    plan = plan_session(
        subject=arguments.subject, session=arguments.session, indexes=indexes, answers=answers
    )
    for warning in plan.warnings:
        log.warning("%s", warning)
    for row in plan.rows:
        log.info("%s: %s", row.stack_id or row.series_description, row.bids_name or row.reason)
    write_plan(arguments.out / "plan.tsv", plan.rows)
    session = f"_ses-{arguments.session}" if arguments.session else ""
    return f"sub-{arguments.subject}{session}: {_counted(plan.rows)}"


def _counted(rows: Sequence[PlanRow]) -> str:
    """How many stacks have a name; a stack may have several, and a series may have no stack."""
    named = {(row.study_instance_uid, row.stack_id) for row in rows if row.bids_name}
    stacks = {(row.study_instance_uid, row.stack_id) for row in rows if row.stack_id}
    empty = sum(not row.stack_id for row in rows)
    text = f"{len(named)} of {counted(len(stacks), 'stack')} named, {len(stacks) - len(named)} skipped"
    return text + (f", {empty} series without volumes" if empty else "")


def _check_labels(subject: str, session: str) -> None:
    name = BidsName(subject=subject, session=session, datatype="anat", suffix="T1w")
    if problems := name.problems():
        raise ConfigError("; ".join(problems), where="--subject, --session")


def _check_distinct(indexes: list[StudyIndex]) -> None:
    counts = Counter(index.study_instance_uid for index in indexes)
    for uid, count in counts.items():
        if count > 1:
            raise ConfigError(f"the study {uid} is there {count} times", where="STUDY")
