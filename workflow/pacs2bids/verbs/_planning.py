"""Planning sessions with the configuration, or with what the command line says instead of it."""

from __future__ import annotations

import argparse
import logging
import sys
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from pacs2bids.bids import label_problem
from pacs2bids.dialects.seqinfos import SEQINFOS
from pacs2bids.gate import masked
from pacs2bids.metadata import Choices, Events, FieldMaps, Shims
from pacs2bids.model import (
    RUNS,
    ConfigError,
    EndlessError,
    NamingRules,
    Pacs2BidsError,
    PlanError,
    PlanRow,
    is_set_aside,
)
from pacs2bids.planning import Asked, Planned, asked_of_config, plan_of
from pacs2bids.roster import Session, is_indexed, sessions_of_table
from pacs2bids.text import counted
from pacs2bids.verbs._gate import needles_to_blot
from pacs2bids.verbs._sessions import session_by_hand

log = logging.getLogger("pacs2bids.plan")

_MOST_KEYS = 3  # of sessions that fail alike
_OF_CONFIG = "default: the configuration's, where it is read"


def add_planning(parser: argparse.ArgumentParser) -> None:
    """Declare the arguments that say how names are found."""
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
    parser.add_argument(
        "--fieldmap-shims",
        choices=[*Shims],
        help=f"whether a field map of other shims may be an image's; {_OF_CONFIG}",
    )
    parser.add_argument("--events", choices=[*Events], help=f"begin events.tsv; {_OF_CONFIG}")


def _short_rule(said: str) -> str:
    key, _, label = said.partition("-")
    if said in ("keep", "drop") or (label and label_problem(key, label) is None):
        return said
    raise argparse.ArgumentTypeError(f"{said!r} is neither keep, nor drop, nor an entity such as acq-short")


def asked_of(arguments: argparse.Namespace) -> tuple[list[Session], Asked]:
    """Which sessions, and how. Raises ConfigError for sessions or a configuration that are none."""
    if arguments.studies and arguments.heuristic:  # as the workflow asks
        asked = Asked(
            heuristic=arguments.heuristic,
            seqinfo=arguments.seqinfo or SEQINFOS[0],
            rules=_rules(arguments, NamingRules()),
            choices=_choices(arguments, Choices()),
        )
        return [session_by_hand(arguments)], asked
    # imported here: checking a configuration takes longer than planning a session
    from pacs2bids.config import load_config, require_heuristic  # noqa: PLC0415

    if not arguments.studies and (arguments.out or arguments.subject):
        what = "of which studies? This is for one session"
        hint = "Name the folders that hold its index.json, as in work/studies/<UID>"
        raise ConfigError(what, where="STUDY", hint=hint)
    config = load_config(arguments.config)
    if not arguments.heuristic:
        require_heuristic(config, arguments.config)
    said = asked_of_config(config)
    asked = Asked(
        heuristic=arguments.heuristic or said.heuristic,
        seqinfo=arguments.seqinfo or said.seqinfo,
        rules=_rules(arguments, said.rules),
        choices=_choices(arguments, said.choices),
        on_heuristic_error=said.on_heuristic_error,
    )
    if arguments.studies:
        return [session_by_hand(arguments)], asked
    sessions = sessions_of_table(config.workdir, arguments.only)
    if config.table is not None and _is_newer(config.table, config.workdir / "studies.tsv"):
        what = (
            "%s was edited since the last run: these are the sessions that it had then; snakemake takes it up"
        )
        log.warning(what, config.table)
    return sessions, asked


def _is_newer(table: Path, resolved: Path) -> bool:
    return table.is_file() and table.stat().st_mtime_ns > resolved.stat().st_mtime_ns


def _rules(arguments: argparse.Namespace, rules: NamingRules) -> NamingRules:
    """Those of the configuration, but for what the command line says."""
    return NamingRules(
        runs=RUNS[arguments.runs] if arguments.runs else rules.runs,
        short_runs=arguments.short_runs or rules.short_runs,
        computed_maps=arguments.computed_maps or rules.computed_maps,
    )


def _choices(arguments: argparse.Namespace, choices: Choices) -> Choices:
    """Those of the configuration, but for what the command line says."""
    return Choices(
        fieldmaps=FieldMaps(arguments.fieldmaps or choices.fieldmaps),
        shims=Shims(arguments.fieldmap_shims or choices.shims),
        events=Events(arguments.events or choices.events),
    )


@dataclass(frozen=True, slots=True, kw_only=True)
class AllPlanned:
    """What could be planned, and what is to be said of the others."""

    done: Sequence[Planned]
    waiting: Sequence[str]  # keys of sessions without an index
    failed: Mapping[str, Sequence[str]]  # what is wrong -> keys of the sessions of which that is said
    unasked: Sequence[str]  # keys of sessions behind one on which the heuristic came to no end

    def whole(self, told: str) -> str:
        """The last words. Raises PlanError if the heuristic failed on a series, or as ``end`` does."""
        aside = {
            _of_series(one.session, row) for one in self.done for row in one.plan.rows if is_set_aside(row)
        }
        if self.failed or not aside:
            return self.end(told)
        sys.stdout.write(f"{self.end(told)}\n")
        sys.stdout.flush()  # before what is wrong
        what = f"the heuristic fails on {counted(len(aside), 'series', 'series')}: {', '.join(sorted(aside))}"
        hint = "Mend it, or accept that by `on_heuristic_error: skip` in config.yaml"
        raise PlanError(what, hint=hint)

    def end(self, told: str) -> str:
        """The last words. Raises PlanError if a session could not be planned, with the rest told."""
        if self.waiting:
            told += f"\n{counted(len(self.waiting), 'session')} not indexed yet: {', '.join(self.waiting)}"
        if not self.failed:
            return told
        sys.stdout.write(f"{told}\n" if told else "")
        sys.stdout.flush()  # before what is wrong
        number = sum(len(keys) for keys in self.failed.values())
        lines = [f"{_keys(keys)}: {said}".replace("\n", "\n    ") for said, keys in self.failed.items()]
        what = f"{counted(number, 'session')} cannot be planned:\n  - " + "\n  - ".join(lines)
        if self.unasked:
            behind = counted(len(self.unasked), "session")
            what += f"\n{behind} behind it not asked: {', '.join(self.unasked)}"
        raise PlanError(what)


def _keys(keys: Sequence[str]) -> str:
    """Of sessions that have one mistake: a file that cannot be read is one for a thousand of them."""
    first, more = ", ".join(keys[:_MOST_KEYS]), len(keys) - _MOST_KEYS
    return f"{first} and {more:,} more" if more > 0 else first


def _of_series(session: Session, row: PlanRow) -> str:
    number = "without a number" if row.series_number is None else row.series_number
    description = masked(row.series_description, needles_to_blot(session.key, session.studies))
    return f"{session.key} series {number} ({description})"


def planned_of(sessions: Iterable[Session], asked: Asked) -> AllPlanned:
    """All that can be planned. Raises what goes wrong with a session that was named by hand.

    A heuristic that comes to no end on one session is not asked about the next: each would take its limit.
    """
    done, waiting, unasked = list[Planned](), list[str](), list[str]()
    failed = dict[str, list[str]]()
    is_endless = False
    for session in sessions:
        if session.folder is not None and not is_indexed(session):
            waiting.append(session.key)
            continue
        if is_endless:
            unasked.append(session.key)
            continue
        try:
            done.append(plan_of(session, asked))
        except Pacs2BidsError as error:
            if session.folder is None:
                raise
            said = masked(str(error), needles_to_blot(session.key, session.studies))
            failed.setdefault(said, []).append(session.key)
            is_endless = isinstance(error, EndlessError)
    return AllPlanned(done=done, waiting=waiting, failed=failed, unasked=unasked)
