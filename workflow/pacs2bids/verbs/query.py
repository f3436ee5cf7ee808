"""``pacs2bids query``: the studies to convert, from a table by hand or by C-FIND, as ``studies.tsv``.

With ``--list``: what there is, on the terminal.
"""

from __future__ import annotations

import argparse
import logging
from collections.abc import Mapping, Sequence
from itertools import chain
from pathlib import Path
from typing import TYPE_CHECKING

from msgspec.structs import asdict

from pacs2bids.config import (
    Config,
    SourcesOnly,
    checked_match,
    load_config,
    load_sources,
    suggest,
)
from pacs2bids.files import write_tsv
from pacs2bids.model import ConfigError, StudyRow
from pacs2bids.peers import PacsPeer, Source, WebPeer
from pacs2bids.studies_table import read_table
from pacs2bids.text import counted

if TYPE_CHECKING:
    from pacs2bids.pacs.catalogue import Catalogue
    from pacs2bids.pacs.query import Settled
    from pacs2bids.peers import Attributes

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
        "--list",
        action="store_true",
        help="only show which studies there are; the configuration need not be complete",
    )
    listing = parser.add_argument_group("with --list")
    listing.add_argument("--source", metavar="NAME", help="ask this source only")
    listing.add_argument(
        "--match",
        action="append",
        metavar="KEY=VALUE",
        help="ask for these, not for what the configuration's queries match: StudyDate=20260101- or "
        "StudyDescription='X*'; repeat to narrow",
    )
    listing.add_argument(
        "--identities",
        action="store_true",
        help="show accession number, and the patient's ID, name and birth date",
    )


def run(arguments: argparse.Namespace) -> str:
    """Write the table, or list studies. A table that stands there stays if anything is wrong."""
    if arguments.list:
        return _listed(arguments)
    if arguments.source or arguments.match or arguments.identities:
        raise ConfigError("--source, --match and --identities go with --list")
    config = load_config(arguments.config)
    settled = _settled(config, arguments.config)
    for warning in settled.warnings:
        log.warning("%s", warning)
    rows = [asdict(row) for row in settled.rows]
    write_tsv(arguments.out, StudyRow.__struct_fields__, rows, mode=0o600)
    studies = counted(len(settled.rows), "study", "studies")
    subjects = counted(len({row.subject for row in settled.rows}), "subject")
    return f"{studies} of {subjects} -> {arguments.out}"


def _listed(arguments: argparse.Namespace) -> str:
    config = load_sources(arguments.config)
    questions = _questions(config, arguments.source, arguments.match or ())

    from pacs2bids.pacs.listing import listed  # noqa: PLC0415 - a wrong config is told before pydicom loads

    return listed(questions, _Sources(config.sources).ask, identities=arguments.identities)


def _questions(
    config: SourcesOnly, source: str | None, match: Sequence[str]
) -> list[tuple[str, Mapping[str, str]]]:
    """Source and match of each question: those of the configuration, but for what the command line says."""
    if source is not None and source not in config.sources:
        hint = suggest(source, config.sources)
        raise ConfigError(f"no source is called {source!r}", where="--source", hint=hint)
    asked = [one for one in config.asked if source in (None, one[0])]
    if asked and not match:
        return [*asked]
    if source is None and len(config.sources) > 1:
        hint = f"Allowed: {', '.join(config.sources)}"
        raise ConfigError("there are several sources: name one", where="--source", hint=hint)
    conditions = dict(_condition(text) for text in match)
    return [(source or next(iter(config.sources)), checked_match(conditions, "--match"))]


def _condition(text: str) -> tuple[str, str]:
    key, equals, value = text.partition("=")
    if not equals:
        hint = "Write KEY=VALUE, as in StudyDate=20260101-"
        raise ConfigError(f"{text!r} is no condition", where="--match", hint=hint)
    return key.strip(), value.strip()


def _settled(config: Config, path: Path) -> Settled:
    from pacs2bids.pacs.query import (  # noqa: PLC0415 - a wrong config is told before pydicom loads
        resolve_table,
        search,
        settle,
    )

    sources = _Sources(config.sources)
    if config.table is not None:
        where = str(config.table)
        rows = read_table(config.table)
        return settle(resolve_table(rows, [*config.sources], sources.ask, where), where, once=True)
    origins = {f"{path}: studies.query[{number}]": query for number, query in enumerate(config.queries)}
    found = {origin: search(query, sources.ask, origin) for origin, query in origins.items()}
    settled = settle(chain.from_iterable(found.values()), f"{path}: studies.query", once=False)
    for origin, candidates in found.items():
        if not candidates:  # if all are, settle has said so
            log.warning("%s: no study of source %r matches", origin, origins[origin].source)
    return settled


class _Sources:
    """Asks the sources of a configuration; a folder is read once."""

    def __init__(self, sources: Mapping[str, Source]) -> None:
        self._sources = sources
        self._catalogues: dict[str, Catalogue] = {}

    def ask(self, name: str, question: Attributes) -> Sequence[Attributes]:
        source = self._sources[name]
        if isinstance(source, PacsPeer):
            from pacs2bids.pacs.find import find  # noqa: PLC0415 - a folder needs no network

            return find(source, "STUDY", question)
        if isinstance(source, WebPeer):
            from pacs2bids.pacs import web_find  # noqa: PLC0415

            return web_find.find(source, "STUDY", question)
        if name not in self._catalogues:
            from pacs2bids.pacs.catalogue import scan  # noqa: PLC0415

            self._catalogues[name] = scan(source.path)
        return self._catalogues[name].find("STUDY", question)
