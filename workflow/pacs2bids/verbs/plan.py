"""``pacs2bids plan``: ask the heuristic for the BIDS names of sessions.

Of one session: ``plan STUDY... --subject 01``. Of all sessions of the studies table: without STUDY. It
prints a table, or what changes, or why; only with ``--out`` it writes ``plan.tsv``, as the workflow does.
"""

from __future__ import annotations

import argparse
import logging
from collections import Counter
from collections.abc import Sequence
from pathlib import Path

from pacs2bids import plan_text
from pacs2bids.gate import Needles, hits, masked
from pacs2bids.model import ConfigError, Pacs2BidsError, PlanError, PlanRow
from pacs2bids.plan_table import read_plan, write_plan
from pacs2bids.planning import Asked, Planned, placed_names, plan_of, tried_of
from pacs2bids.roster import Session
from pacs2bids.session import Series, series_of
from pacs2bids.text import counted
from pacs2bids.verbs._gate import Policy, needles_to_blot, policy_of
from pacs2bids.verbs._planning import AllPlanned, add_planning, asked_of, planned_of
from pacs2bids.verbs._sessions import add_sessions

log = logging.getLogger("pacs2bids.plan")


def configure(parser: argparse.ArgumentParser) -> None:
    """Add the arguments of this verb."""
    add_sessions(parser)
    add_planning(parser)
    then = parser.add_mutually_exclusive_group()
    then.add_argument("--out", type=Path, metavar="FOLDER", help="write plan.tsv there; with STUDY")
    then.add_argument(
        "--diff", action="store_true", help="only what gets another name than it has in the dataset"
    )
    then.add_argument(
        "--explain", metavar="SERIES", help="why a series (number, description, UID) has its name or none"
    )
    then.add_argument("--check", type=Path, metavar="FILE", help="compare with a plan that was kept")
    then.add_argument("--keep", type=Path, metavar="FILE", help="write all plans into one table, for --check")


def run(arguments: argparse.Namespace) -> str:
    """Plan, and tell or write it.

    Raises ConfigError for sessions that cannot be told, HeuristicError and PlanError for what the heuristic
    does or says; of several sessions, the others are told before. A series on which the heuristic fails is an
    error, too, but not with ``--out``: the workflow goes on, and its check tells.
    """
    sessions, asked = asked_of(arguments)
    if arguments.out:
        return _written(sessions[0], asked, arguments.out)
    planned = planned_of(sessions, asked)
    by_hand = arguments.studies and arguments.heuristic  # as the workflow asks: without a configuration
    policy = policy_of(None if by_hand else arguments.config)
    if arguments.check:
        told = _checked(planned, arguments.check, policy, is_all=not arguments.only)
    elif arguments.keep:
        is_all = not (arguments.only or arguments.studies or planned.waiting)
        told = _kept(planned, arguments.keep, is_all=is_all)
    elif arguments.diff:
        told = _changes(planned.done, policy)
    elif arguments.explain:
        told = [
            line
            for one in planned.done
            for line in _blotted(_explained(one, asked, arguments.explain), _needles(one, policy))
        ]
        if not told and not planned.failed:
            raise ConfigError(f"no session has a series {arguments.explain!r}", where="--explain")
    else:
        told = [line for one in planned.done for line in _shown(one, _needles(one, policy))]
    is_narrow = arguments.check or arguments.explain or asked.on_heuristic_error == "skip"
    return planned.end("\n".join(told)) if is_narrow else planned.whole("\n".join(told))


def _written(session: Session, asked: Asked, folder: Path) -> str:
    needles = needles_to_blot(session.key, session.studies)
    try:
        planned = plan_of(session, asked)
    except Pacs2BidsError as error:
        error.what, error.where, error.hint = (
            masked(said, needles) for said in (error.what, error.where, error.hint)
        )
        raise
    for warning in planned.plan.warnings:
        log.warning("%s", masked(warning, needles))
    for row in planned.plan.rows:
        line = f"{row.stack_id or row.series_description}: {row.bids_name or row.reason}"
        log.info("%s", masked(line, needles))
    write_plan(folder / "plan.tsv", planned.plan.rows)
    return f"{session.key}: {_counted(planned.plan.rows)}"


def _needles(one: Planned, policy: Policy) -> Needles:
    return needles_to_blot(one.session.key, one.session.studies, policy)


def _blotted(lines: Sequence[str], needles: Needles) -> list[str]:
    """Without what identifies the patient."""
    return [masked(line, needles) for line in lines]


def _shown(one: Planned, needles: Needles) -> list[str]:
    lines = [f"{one.session.key}: {_counted(one.plan.rows)}", *plan_text.table(one.plan.rows, one.indexes)]
    warnings = [f"WARNING: {warning}" for warning in one.plan.warnings]
    return _blotted([*lines, *warnings, *_refused(one, needles), ""], needles)


def _refused(one: Planned, needles: Needles) -> list[str]:
    """A line if names of this session will not be placed, as they hold what identifies the patient."""
    names = {row.bids_name for row in one.plan.rows if row.bids_name}
    number = sum(any(hit.is_sure for hit in hits(name, needles)) for name in names)
    if not number:
        return []
    what = f"what identifies the patient is in {counted(number, 'name')} (***): the privacy gate refuses that"
    return [f"WARNING: {what}, and nothing of {one.session.key} is placed (docs/privacy.md)"]


def _counted(rows: Sequence[PlanRow]) -> str:
    """How many stacks have a name; a stack may have several, and a series may have no stack."""
    named = {(row.study_instance_uid, row.stack_id) for row in rows if row.bids_name}
    stacks = {(row.study_instance_uid, row.stack_id) for row in rows if row.stack_id}
    empty = sum(not row.stack_id for row in rows)
    text = f"{len(named)} of {counted(len(stacks), 'stack')} named, {len(stacks) - len(named)} skipped"
    return text + (f", {empty} series without volumes" if empty else "")


def _sessions(number: int) -> str:
    return counted(number, "session")


def _changes(planned: Sequence[Planned], policy: Policy) -> list[str]:
    """Old and new names of all sessions, before anything is placed."""
    lines, changed, kinds = list[str](), 0, list[str]()
    for one in planned:
        found = plan_text.differences(placed_names(one.session), one.plan.rows)
        if not found:
            continue
        changed += 1
        kinds += [difference.kind for difference in found]
        needles = _needles(one, policy)
        shown = _blotted([f"  {difference}" for difference in found], needles)
        lines += [one.session.key, *shown, *_refused(one, needles)]
    if not planned:  # none could be planned, or none is indexed: what is said after this tells it
        return []
    counts = ", ".join(f"{count} {kind}" for kind, count in sorted(Counter(kinds).items()))
    of_all = f"{changed} of {_sessions(len(planned))} change"
    return [*lines, f"{of_all}: {counts}" if counts else f"nothing changes in {_sessions(len(planned))}"]


def _kept(planned: AllPlanned, path: Path, *, is_all: bool) -> list[str]:
    """Keep the plans. Unless they are of all sessions, rows of other studies stay in the file.

    Nothing is written if a session failed: a part would pass for the whole in the next check.
    """
    if planned.failed:
        return [f"{path}: is left as it was"]
    rows = [row for one in planned.done for row in one.plan.rows]
    studies = {row.study_instance_uid for row in rows}
    stays = [] if is_all or not path.exists() else read_plan(path)
    stays = [row for row in stays if row.study_instance_uid not in studies]
    write_plan(path, [*stays, *rows])
    behind = f"; {counted(len(stays), 'row')} of others stay" if stays else ""
    return [f"{path}: {counted(len(rows), 'row')} of {_sessions(len(planned.done))}{behind}"]


def _checked(planned: AllPlanned, path: Path, policy: Policy, *, is_all: bool) -> list[str]:
    """Raises PlanError if names are not those of the kept plan; if a session failed, that is told last."""
    expected = read_plan(path)
    rows = [row for one in planned.done for row in one.plan.rows]
    studies = {row.study_instance_uid for row in rows}
    lost = {row.study_instance_uid for row in expected} - studies if is_all else ()
    told = [f"study {uid}: is expected and was not planned" for uid in sorted(lost)]
    for one in planned.done:
        own = {row.study_instance_uid for row in one.plan.rows}
        before = plan_text.names_of(row for row in expected if row.study_instance_uid in own)
        found = plan_text.differences(before, one.plan.rows)
        told += _blotted([str(difference) for difference in found], _needles(one, policy)) if found else []
    if told:
        what = f"{counted(len(told), 'difference')} from what is expected:\n  - " + "\n  - ".join(told)
        hint = "If the new names are right, keep them with --keep"
        error = PlanError(what, where=str(path), hint=hint)
        if not planned.failed:
            raise error
        return [str(error)]
    return [f"{path}: all {counted(len(rows), 'row')} as expected"]


def _explained(planned: Planned, asked: Asked, wanted: str) -> list[str]:
    """What each series that is meant is called, and which rule or line says so, or came nearest."""
    lines = list[str]()
    for series in (one for index in planned.indexes for one in series_of(index) if _is(one, wanted)):
        rows = [row for row in planned.plan.rows if _series_of(row) == series.key]
        told = [*plan_text.fates(rows), *plan_text.explained(tried_of(planned, asked, series.key))]
        lines += [f"{planned.session.key}, {series.label}", *(f"  {line}" for line in told)]
    return lines


def _series_of(row: PlanRow) -> tuple[str, str]:
    """Of the series that a row is of."""
    return row.study_instance_uid, row.series_instance_uid


def _is(series: Series, wanted: str) -> bool:
    info = series.info
    number = "" if info.series_number is None else str(info.series_number)
    said = (number, info.series_key, info.series_instance_uid, info.series_description, info.protocol_name)
    return wanted in said
