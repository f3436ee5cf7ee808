"""``pacs2bids plan``: ask the heuristic for the BIDS names of sessions.

Of one session: ``plan STUDY... --subject 01``. Of all sessions of the studies table: without STUDY. It
prints a table, or what changes, or why; only with ``--out`` it writes ``plan.tsv``, as the workflow does.
"""

from __future__ import annotations

import argparse
import logging
import sys
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

from pacs2bids import plan_text
from pacs2bids.bids import label_problem
from pacs2bids.dialects import ask
from pacs2bids.dialects.seqinfos import SEQINFOS
from pacs2bids.files import read_record
from pacs2bids.metadata import Choices, Events, FieldMaps
from pacs2bids.model import (
    RUNS,
    ConfigError,
    NamingRules,
    Pacs2BidsError,
    PlacedSession,
    PlanError,
    PlanRow,
    StudyIndex,
)
from pacs2bids.plan import SessionPlan, plan_session
from pacs2bids.plan_table import read_plan, write_plan
from pacs2bids.text import counted
from pacs2bids.verbs._sessions import (
    Session,
    add_sessions,
    indexes_of,
    is_indexed,
    session_by_hand,
    sessions_of_table,
)

log = logging.getLogger("pacs2bids.plan")

_OF_CONFIG = "default: the configuration's, where it is read"


def configure(parser: argparse.ArgumentParser) -> None:
    """Add the arguments of this verb."""
    add_sessions(parser)
    parser.add_argument(
        "--config", type=Path, default=Path("config.yaml"), metavar="FILE", help="default: config.yaml"
    )
    parser.add_argument(
        "--heuristic", type=Path, metavar="FILE", help="a file, or a built-in; default: the configuration's"
    )
    parser.add_argument("--seqinfo", choices=SEQINFOS, help=f"how a Python file sees series; {_OF_CONFIG}")
    parser.add_argument("--runs", choices=("as_written", "by_time"), help=f"naming.runs; {_OF_CONFIG}")
    parser.add_argument(
        "--short-runs", metavar="RULE", type=_short_rule, help=f"naming.short_runs; {_OF_CONFIG}"
    )
    parser.add_argument(
        "--computed-maps", choices=("skip", "name"), help=f"naming.computed_maps; {_OF_CONFIG}"
    )
    parser.add_argument(
        "--fieldmaps",
        choices=[*FieldMaps],
        help=f"how field maps and images name each other; {_OF_CONFIG}",
    )
    parser.add_argument("--events", choices=[*Events], help=f"begin events.tsv; {_OF_CONFIG}")
    then = parser.add_mutually_exclusive_group()
    then.add_argument("--out", type=Path, metavar="FOLDER", help="write plan.tsv there; with STUDY")
    then.add_argument(
        "--diff", action="store_true", help="only what gets another name than it has in the dataset"
    )
    then.add_argument(
        "--check",
        type=Path,
        metavar="FILE",
        help="compare with a plan that was kept",
    )
    then.add_argument("--keep", type=Path, metavar="FILE", help="write all plans into one table, for --check")


def _short_rule(said: str) -> str:
    key, _, label = said.partition("-")
    if said in ("keep", "drop") or (label and label_problem(key, label) is None):
        return said
    raise argparse.ArgumentTypeError(f"{said!r} is neither keep, nor drop, nor an entity such as acq-short")


def run(arguments: argparse.Namespace) -> str:
    """Plan, and tell or write it.

    Raises ConfigError for sessions that cannot be told, HeuristicError and PlanError for what the heuristic
    does or says; of several sessions, the others are told before.
    """
    sessions, asked = _asked(arguments)
    if arguments.out:
        return _written(sessions[0], asked, arguments.out)
    planned = _planned(sessions, asked)
    rows = [row for one in planned.done for row in one.plan.rows]
    if arguments.check:
        told = _checked(rows, arguments.check, is_all=not arguments.only)
    elif arguments.keep:
        write_plan(arguments.keep, rows)
        told = [f"{arguments.keep}: {counted(len(rows), 'row')} of {_sessions(len(planned.done))}"]
    elif arguments.diff:
        told = _changes(planned.done)
    else:
        told = [line for one in planned.done for line in _shown(one)]
    return planned.end("\n".join(told))


@dataclass(frozen=True, slots=True, kw_only=True)
class _Asked:
    """What names are asked of, and how what it leaves open is decided."""

    heuristic: Path
    seqinfo: str
    rules: NamingRules
    choices: Choices


def _asked(arguments: argparse.Namespace) -> tuple[list[Session], _Asked]:
    if arguments.studies and arguments.heuristic:  # as the workflow asks
        asked = _Asked(
            heuristic=arguments.heuristic,
            seqinfo=arguments.seqinfo or SEQINFOS[0],
            rules=_rules(arguments, NamingRules()),
            choices=_choices(arguments),
        )
        return [session_by_hand(arguments)], asked
    # imported here: checking a configuration takes longer than planning a session
    from pacs2bids.config import load_config  # noqa: PLC0415

    if not arguments.studies and (arguments.out or arguments.subject):
        what = "of which studies? This is for one session"
        hint = "Name the folders that hold its index.json, as in work/studies/<UID>"
        raise ConfigError(what, where="STUDY", hint=hint)
    config = load_config(arguments.config)
    asked = _Asked(
        heuristic=arguments.heuristic or config.heuristic,
        seqinfo=arguments.seqinfo or config.seqinfo,
        rules=_rules(arguments, config.naming),
        choices=_choices(arguments, fieldmaps=config.fieldmaps, events=config.events),
    )
    if arguments.studies:
        return [session_by_hand(arguments)], asked
    return sessions_of_table(config.workdir, arguments.only), asked


def _rules(arguments: argparse.Namespace, rules: NamingRules) -> NamingRules:
    """Those of the configuration, but for what the command line says."""
    return NamingRules(
        runs=RUNS[arguments.runs] if arguments.runs else rules.runs,
        short_runs=arguments.short_runs or rules.short_runs,
        computed_maps=arguments.computed_maps or rules.computed_maps,
    )


def _choices(arguments: argparse.Namespace, *, fieldmaps: str = "both", events: str = "none") -> Choices:
    """What the command line says, else the configuration."""
    return Choices(
        fieldmaps=FieldMaps(arguments.fieldmaps or fieldmaps), events=Events(arguments.events or events)
    )


# ------------------------------------------------------------------------------------------------ planning


@dataclass(frozen=True, slots=True, kw_only=True)
class _Planned:
    session: Session
    indexes: Sequence[StudyIndex]
    plan: SessionPlan


@dataclass(frozen=True, slots=True, kw_only=True)
class _AllPlanned:
    """What could be planned, and what is to be said of the others."""

    done: Sequence[_Planned]
    waiting: Sequence[str]  # keys of sessions without an index
    failed: Sequence[str]

    def end(self, told: str) -> str:
        """The last words. Raises PlanError if a session could not be planned, with the rest told."""
        if self.waiting:
            told += f"\n{_sessions(len(self.waiting))} not indexed yet: {', '.join(self.waiting)}"
        if not self.failed:
            return told
        sys.stdout.write(f"{told}\n" if told else "")
        sys.stdout.flush()  # before what is wrong
        what = f"{_sessions(len(self.failed))} cannot be planned:\n  - " + "\n  - ".join(self.failed)
        raise PlanError(what)


def _plan(session: Session, asked: _Asked) -> _Planned:
    indexes, labels = indexes_of(session), (session.subject, session.session)
    answers = ask(
        asked.heuristic,
        indexes,
        subject=labels[0],
        session=labels[1],
        folders=[study / "dicom" for study in session.studies],
        seqinfo=asked.seqinfo,
    )
    plan = plan_session(
        subject=labels[0],
        session=labels[1],
        indexes=indexes,
        answers=answers,
        rules=asked.rules,
        choices=asked.choices,
    )
    return _Planned(session=session, indexes=indexes, plan=plan)


def _planned(sessions: Iterable[Session], asked: _Asked) -> _AllPlanned:
    done, waiting, failed = list[_Planned](), list[str](), list[str]()
    for session in sessions:
        if session.folder is not None and not is_indexed(session):
            waiting.append(session.key)
            continue
        try:
            done.append(_plan(session, asked))
        except Pacs2BidsError as error:
            if session.folder is None:
                raise
            failed.append(f"{session.key}: {error}".replace("\n", "\n    "))
    return _AllPlanned(done=done, waiting=waiting, failed=failed)


# ------------------------------------------------------------------------------------------------ telling


def _written(session: Session, asked: _Asked, folder: Path) -> str:
    planned = _plan(session, asked)
    for warning in planned.plan.warnings:
        log.warning("%s", warning)
    for row in planned.plan.rows:
        log.info("%s: %s", row.stack_id or row.series_description, row.bids_name or row.reason)
    write_plan(folder / "plan.tsv", planned.plan.rows)
    return f"{session.key}: {_counted(planned.plan.rows)}"


def _shown(one: _Planned) -> list[str]:
    lines = [f"{one.session.key}: {_counted(one.plan.rows)}", *plan_text.table(one.plan.rows, one.indexes)]
    return [*lines, *(f"WARNING: {warning}" for warning in one.plan.warnings), ""]


def _counted(rows: Sequence[PlanRow]) -> str:
    """How many stacks have a name; a stack may have several, and a series may have no stack."""
    named = {(row.study_instance_uid, row.stack_id) for row in rows if row.bids_name}
    stacks = {(row.study_instance_uid, row.stack_id) for row in rows if row.stack_id}
    empty = sum(not row.stack_id for row in rows)
    text = f"{len(named)} of {counted(len(stacks), 'stack')} named, {len(stacks) - len(named)} skipped"
    return text + (f", {empty} series without volumes" if empty else "")


def _sessions(number: int) -> str:
    return counted(number, "session")


def _changes(planned: Sequence[_Planned]) -> list[str]:
    """Old and new names of all sessions, before anything is placed."""
    lines, changed, kinds = list[str](), 0, list[str]()
    for one in planned:
        found = plan_text.differences(_placed(one.session), one.plan.rows)
        changed += bool(found)
        kinds += [difference.kind for difference in found]
        lines += [one.session.key, *(f"  {difference}" for difference in found)] if found else []
    counts = ", ".join(f"{count} {kind}" for kind, count in sorted(Counter(kinds).items()))
    of_all = f"{changed} of {_sessions(len(planned))} change"
    return [*lines, f"{of_all}: {counts}" if counts else f"nothing changes in {_sessions(len(planned))}"]


def _placed(session: Session) -> plan_text.Names:
    """What stands in the dataset: (StudyInstanceUID, stack_id) -> names."""
    record = session.folder / "placed.json" if session.folder else None
    if record is None or not record.exists():
        return {}
    names: dict[plan_text.Key, set[str]] = {}
    placed = read_record(record, PlacedSession)
    for name, volume in placed.volumes.items():
        study, _, stack = volume.partition("/")
        names.setdefault((study, stack), set()).add(name)
    return names


def _checked(rows: Sequence[PlanRow], path: Path, *, is_all: bool) -> list[str]:
    """Raises PlanError if the names are not those of the kept plan."""
    expected = read_plan(path)
    studies = {row.study_instance_uid for row in rows}
    before = plan_text.names_of(row for row in expected if row.study_instance_uid in studies)
    found = plan_text.differences(before, rows)
    lost = {row.study_instance_uid for row in expected} - studies if is_all else ()
    told = [f"study {uid}: is expected and was not planned" for uid in sorted(lost)]
    told += [str(difference) for difference in found]
    if told:
        what = f"{counted(len(told), 'difference')} from what is expected:\n  - " + "\n  - ".join(told)
        hint = "If the new names are right, keep them with --keep"
        raise PlanError(what, where=str(path), hint=hint)
    return [f"{path}: all {counted(len(rows), 'row')} as expected"]
