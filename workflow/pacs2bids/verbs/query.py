"""``pacs2bids query``: the studies to convert, from a table by hand or by C-FIND, as ``studies.tsv``.

With ``--dry-run``: what it would write, on the terminal. With ``--list``: what there is.
"""

from __future__ import annotations

import argparse
import logging
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from itertools import chain
from pathlib import Path
from typing import TYPE_CHECKING

from msgspec.structs import asdict

from pacs2bids.conditions import checked_conditions
from pacs2bids.config import Config, SourcesOnly, load_config, load_sources
from pacs2bids.files import read_tsv, write_tsv
from pacs2bids.model import ConfigError, Pacs2BidsError, QueryError, StudyRow
from pacs2bids.peers import PacsPeer, Source, WebPeer
from pacs2bids.shape import suggest
from pacs2bids.studies_table import read_table
from pacs2bids.text import counted
from pacs2bids.turn import beside_no_run

if TYPE_CHECKING:
    from pacs2bids.pacs.asking import Ask
    from pacs2bids.pacs.catalogue import Catalogue
    from pacs2bids.pacs.present import Change
    from pacs2bids.pacs.query import Found, Settled
    from pacs2bids.peers import Attributes, Conditions

_MOST_STUDIES = 10_000  # of one question: a PACS of a hospital has millions

log = logging.getLogger("pacs2bids.query")


def configure(parser: argparse.ArgumentParser) -> None:
    """Command line of the verb."""
    parser.add_argument(
        "--config",
        type=Path,
        default=Path("config.yaml"),
        metavar="FILE",
        help="the configuration (default: %(default)s)",
    )
    what = parser.add_mutually_exclusive_group(required=True)
    what.add_argument("--out", type=Path, metavar="FILE", help="studies.tsv to write")
    what.add_argument(
        "--dry-run",
        action="store_true",
        help="only show what would be written: what is new, changed or gone, and what is left out and why",
    )
    what.add_argument(
        "--list",
        action="store_true",
        help="only show which studies there are; the configuration need not be complete",
    )
    parser.add_argument(
        "--identities",
        action="store_true",
        help="with --dry-run or --list: show accession number, and the patient's ID, name and birth date",
    )
    listing = parser.add_argument_group("with --list")
    listing.add_argument("--source", metavar="NAME", help="ask this source only")
    listing.add_argument(
        "--match",
        action="append",
        metavar="KEY=VALUE",
        help="ask for these, not for what the configuration's queries match: StudyDate=20260101- or "
        "StudyDescription='X*'; another key narrows, the same key again widens",
    )


def run(arguments: argparse.Namespace) -> str:
    """Write the table, or show studies. A table that stands there stays if anything is wrong.

    Raises ConfigError if a run is at work on the workdir, unless it is of that run.
    """
    if arguments.list:
        return _listed(arguments)
    if arguments.source or arguments.match:
        raise ConfigError("--source and --match go with --list")
    if arguments.identities and not arguments.dry_run:
        raise ConfigError("--identities goes with --dry-run or --list")
    config = load_config(arguments.config)
    sources = _Sources(config.sources, config.memory)
    from pacs2bids.pacs.listing import IDENTITIES  # noqa: PLC0415 - a wrong config is told before pydicom loads

    if not arguments.dry_run:
        with beside_no_run(config.workdir):
            answer = _asked(config, arguments.config, sources.ask, ())
            return _written(config, answer, sources.ask, arguments.out)
    answer = _asked(config, arguments.config, sources.ask, IDENTITIES if arguments.identities else ())
    return _previewed(config, answer, sources.ask, identities=arguments.identities)


# ------------------------------------------------------------------------------------------------ asking


@dataclass(frozen=True, slots=True, kw_only=True)
class _Answer:
    """What table or questions bring. ``where``: who says so. ``found``: by the name of the question."""

    where: str
    found: Mapping[str, Found]
    settled: Settled
    by_hand: bool


def _asked(config: Config, path: Path, ask: Ask, also: Sequence[str] | Mapping[str, str]) -> _Answer:
    from pacs2bids.pacs.query import Found, resolve_table, search, settle  # noqa: PLC0415

    if config.table is not None:
        where = str(config.table)
        candidates = resolve_table(read_table(config.table), [*config.sources], ask, where)
        found = {where: Found(candidates=tuple(candidates))}
    else:
        where = f"{path}: studies.query"
        found = {
            f"{where}[{n}]": search(one, ask, f"{where}[{n}]", also) for n, one in enumerate(config.queries)
        }
    by_hand = config.table is not None
    settled = settle(chain.from_iterable(one.candidates for one in found.values()), once=by_hand)
    return _Answer(where=where, found=found, settled=settled, by_hand=by_hand)


def _check(answer: _Answer) -> None:
    from pacs2bids.pacs.query import require_any, require_sound  # noqa: PLC0415

    for origin, found in answer.found.items():
        require_sound(found.problems, origin)
    require_sound(answer.settled.problems, answer.where)
    require_any(answer.settled, answer.where)


def _warn(answer: _Answer) -> None:
    for origin, found in answer.found.items():
        for warning in found.warnings:
            log.warning("%s: %s", origin, warning)
        for one in found.left_out:
            log.info("%s: left out: %s", origin, one)
    for warning in answer.settled.warnings:
        log.warning("%s", warning)


# ------------------------------------------------------------------------------------------------ writing


def _written(config: Config, answer: _Answer, ask: Ask, out: Path) -> str:
    from pacs2bids.pacs.present import Fate  # noqa: PLC0415

    _check(answer)
    _warn(answer)
    rows: Sequence[StudyRow] = answer.settled.rows
    if not answer.by_hand:
        changed = _changes(config, answer, ask, _present(out))
        rows = [change.row for change in changed if change.fate is not Fate.GONE]
        for change in changed:
            if change.reason:
                stays = "its row stays" if change.fate is Fate.KEPT else "it leaves the table"
                study, key = change.row.study_instance_uid, change.row.session_key
                log.warning("study %s (%s): %s; %s", study, key, change.reason, stays)
    write_tsv(out, StudyRow.__struct_fields__, [asdict(row) for row in rows], mode=0o600)
    again = _set_back(config, rows, ask)
    return f"{_summary(answer, rows)}{again} -> {out}"


def _set_back(config: Config, rows: Sequence[StudyRow], ask: Ask) -> str:
    """Have those pulled again that have grown at their source."""
    from pacs2bids.pacs.grown import grown, set_back  # noqa: PLC0415

    studies = config.workdir / "studies"
    found = grown(rows, studies, ask)
    for one in found:
        uid = one.row.study_instance_uid
        log.warning("study %s (%s): %s; it is pulled again", uid, one.row.session_key, one.told)
        set_back(one, studies / uid)
        # of a pull that has no result any more
        (config.workdir / "logs" / "pull" / f"{uid}.log").unlink(missing_ok=True)
    return f", {counted(len(found), 'study', 'studies')} to be pulled again" if found else ""


def _summary(answer: _Answer, rows: Sequence[StudyRow]) -> str:
    left_out = sum(len(found.left_out) for found in answer.found.values())
    studies = counted(len(rows), "study", "studies")
    subjects = counted(len({row.subject for row in rows}), "subject")
    return f"{studies} of {subjects}" + (f" ({left_out:,} left out)" if left_out else "")


def _present(path: Path) -> list[StudyRow]:
    """The table that stands there; nothing if there is none, or another file."""
    columns = StudyRow.__struct_fields__
    rows = read_tsv(path) if path.exists() else []
    return [StudyRow(**{name: row[name] for name in columns}) for row in rows if {*columns} <= {*row}]


def _changes(config: Config, answer: _Answer, ask: Ask, before: Sequence[StudyRow]) -> tuple[Change, ...]:
    from pacs2bids.pacs.present import Lost, absent, changes  # noqa: PLC0415

    rows = answer.settled.rows
    if answer.by_hand:
        return changes(rows, before, Lost())
    found = {row.study_instance_uid for row in rows}
    asked = {query.source for query in config.queries}
    missing = [row for row in before if row.study_instance_uid not in found and row.source in asked]
    here = [row.study_instance_uid for row in missing if _is_pulled(config, row)]
    return changes(rows, before, Lost(pulled=frozenset(here), absent=absent(missing, ask)))


def _is_pulled(config: Config, row: StudyRow) -> bool:
    return (config.workdir / "studies" / row.study_instance_uid / "receipt.json").exists()


# ------------------------------------------------------------------------------------------------ showing


def _previewed(config: Config, answer: _Answer, ask: Ask, *, identities: bool) -> str:
    """The table on the terminal, with all that is wrong, and then the error if there is one."""
    from pacs2bids.pacs.grown import grown  # noqa: PLC0415
    from pacs2bids.pacs.listing import IDENTITIES, preview  # noqa: PLC0415

    also = IDENTITIES if identities else ()
    told = _described(answer, ask, also) if answer.by_hand else _told(answer)
    changed = _changes(config, answer, ask, _present(config.workdir / "studies.tsv"))
    left_out = chain.from_iterable(found.left_out for found in answer.found.values())
    table = preview(changed, left_out, told, identities=identities)
    print(table, flush=True)  # noqa: T201 - before an error, too
    for one in grown(answer.settled.rows, config.workdir / "studies", ask):
        uid = one.row.study_instance_uid
        log.warning("study %s (%s): %s; it would be pulled again", uid, one.row.session_key, one.told)
    _warn(answer)
    _check(answer)
    return ""


def _told(answer: _Answer) -> dict[str, Attributes]:
    candidates = chain.from_iterable(found.candidates for found in answer.found.values())
    return {one.study.study_instance_uid: one.answer for one in candidates}


def _described(answer: _Answer, ask: Ask, also: Iterable[str]) -> dict[str, Attributes]:
    """What the sources say of the studies of a table by hand."""
    from pacs2bids.pacs.query import DESCRIBING  # noqa: PLC0415

    uids: dict[str, list[str]] = {}
    for row in answer.settled.rows:
        uids.setdefault(row.source, []).append(row.study_instance_uid)
    questions = [(source, {"StudyInstanceUID": tuple(some)}) for source, some in uids.items()]
    studies = _studies(questions, [*DESCRIBING, *also], ask)
    told = {study.get("StudyInstanceUID", ""): study for _, study in studies}
    for row in answer.settled.rows:
        if row.study_instance_uid not in told:
            log.warning("study %s: source %r does not have it", row.study_instance_uid, row.source)
    return told


def _listed(arguments: argparse.Namespace) -> str:
    config = load_sources(arguments.config)
    questions = _questions(config, arguments.source, arguments.match or ())
    for source, match in questions:
        from pacs2bids.pacs.query import check_match  # noqa: PLC0415 - as above

        check_match(match, f"the query of source {source!r}")
    from pacs2bids.pacs.listing import COLUMNS, IDENTITIES, listed  # noqa: PLC0415

    keys = [*COLUMNS, "StudyTime", *(IDENTITIES if arguments.identities else ())]
    studies = _studies(questions, keys, _Sources(config.sources).ask)
    if not studies:
        raise QueryError("no study matches", hint="Ask with fewer conditions (--match KEY=VALUE)")
    several = len({source for source, _ in questions}) > 1
    return listed(studies, sources=several, identities=arguments.identities)


def _studies(
    questions: Sequence[tuple[str, Conditions]], keys: Sequence[str], ask: Ask
) -> list[tuple[str, Attributes]]:
    """Source and attributes of each study; a source that cannot be asked hides no other."""
    from pacs2bids.pacs.asking import studies_with  # noqa: PLC0415

    found: dict[tuple[str, str], Attributes] = {}
    failures: list[Pacs2BidsError] = []
    for source, match in questions:
        try:
            answers = studies_with(source, match, keys, ask)
        except Pacs2BidsError as error:
            failures.append(error)
            continue
        for warning in answers.warnings:
            log.warning("%s", warning)
        for one in answers.studies:
            found.setdefault((source, one.get("StudyInstanceUID", "")), one)
    if failures and not found:
        raise failures[0]
    for failure in failures:
        log.warning("%s", failure)
    return [(source, answer) for (source, _), answer in found.items()]


def _questions(config: SourcesOnly, source: str | None, match: Sequence[str]) -> list[tuple[str, Conditions]]:
    """Source and match of each question: those of the configuration, but for what the command line says."""
    if source is not None and source not in config.sources:
        hint = suggest(source, config.sources)
        raise ConfigError(f"no source is called {source!r}", where="--source", hint=hint)
    asked = [one for one in config.asked if source in (None, one[0])]
    if asked and not match:
        return [*asked]
    conditions: dict[str, list[str]] = {}
    for text in match:
        key, equals, value = text.partition("=")
        if not equals:
            hint = "Write KEY=VALUE, as in StudyDate=20260101-"
            raise ConfigError(f"{text!r} is no condition", where="--match", hint=hint)
        conditions.setdefault(key.strip(), []).append(value.strip())
    checked = checked_conditions(conditions, "--match")
    return [(name, checked) for name in ([source] if source else config.sources)]


class _Sources:
    """Asks the sources of a configuration; a folder is read once. ``memory``: where that is recorded."""

    def __init__(
        self, sources: Mapping[str, Source], memory: Callable[[str], Path | None] = lambda _: None
    ) -> None:
        self._sources, self._memory = sources, memory
        self._catalogues: dict[str, Catalogue] = {}

    def ask(self, name: str, questions: Sequence[Attributes]) -> Sequence[Attributes]:
        source = self._sources[name]
        if isinstance(source, PacsPeer):
            from pacs2bids.pacs.find import find_all  # noqa: PLC0415 - a folder needs no network

            return find_all(source, "STUDY", questions, at_most=_MOST_STUDIES)
        if isinstance(source, WebPeer):
            from pacs2bids.pacs import web_find  # noqa: PLC0415

            return [one for question in questions for one in web_find.find(source, "STUDY", question)]
        if name not in self._catalogues:
            from pacs2bids.pacs.catalogue import tell_leftovers  # noqa: PLC0415
            from pacs2bids.pacs.sources import catalogue_of  # noqa: PLC0415

            self._catalogues[name] = catalogue_of(source, self._memory(name))
            tell_leftovers(self._catalogues[name], source.path)
        found = self._catalogues[name].find
        return [answer for question in questions for answer in found("STUDY", question)]
