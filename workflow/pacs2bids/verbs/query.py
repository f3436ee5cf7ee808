"""``pacs2bids query``: the studies to convert, from a table by hand or by C-FIND, as ``studies.tsv``."""

from __future__ import annotations

import argparse
import logging
from collections.abc import Sequence
from dataclasses import asdict, fields
from pathlib import Path
from typing import TYPE_CHECKING

from pacs2bids.config import Config, PacsSource, load_config
from pacs2bids.files import write_tsv
from pacs2bids.model import StudyRow
from pacs2bids.verbs._peers import peer_of

if TYPE_CHECKING:
    from pacs2bids.pacs.catalogue import Catalogue
    from pacs2bids.pacs.peers import Attributes
    from pacs2bids.pacs.query import Settled

log = logging.getLogger("pacs2bids.query")


def configure(parser: argparse.ArgumentParser) -> None:
    """Command line of the verb."""
    parser.add_argument("--config", type=Path, required=True, metavar="FILE", help="config.yaml")
    parser.add_argument("--out", type=Path, required=True, metavar="FILE", help="studies.tsv to write")


def run(arguments: argparse.Namespace) -> str:
    """Write the table; a table that stands there stays if anything is wrong."""
    config = load_config(arguments.config)
    settled = _settled(config, arguments.config)
    for warning in settled.warnings:
        log.warning("%s", warning)
    columns = [field.name for field in fields(StudyRow)]
    write_tsv(arguments.out, columns, [asdict(row) for row in settled.rows], mode=0o600)
    studies = _counted(len(settled.rows), "study", "studies")
    subjects = _counted(len({row.subject for row in settled.rows}), "subject", "subjects")
    return f"{studies} of {subjects} -> {arguments.out}"


def _counted(count: int, one: str, many: str) -> str:
    return f"{count} {one if count == 1 else many}"


def _settled(config: Config, path: Path) -> Settled:
    from pacs2bids.pacs.query import (  # noqa: PLC0415 - a wrong config is told before pydicom loads
        read_table,
        resolve_table,
        search,
        settle,
    )

    sources = _Sources(config)
    if config.table is not None:
        where = str(config.table)
        rows = read_table(config.table)
        return settle(resolve_table(rows, [*config.sources], sources.ask, where), where, once=True)
    candidates = []
    for number, query in enumerate(config.queries):
        origin = f"{path}: studies.query[{number}]"
        found = search(query, sources.ask, origin)
        if not found:
            log.warning("%s: no study of source %r matches", origin, query.source)
        candidates += found
    return settle(candidates, f"{path}: studies.query", once=False)


class _Sources:
    """Asks the sources of a configuration; a folder is read once."""

    def __init__(self, config: Config) -> None:
        self._sources = config.sources
        self._catalogues: dict[str, Catalogue] = {}

    def ask(self, name: str, question: Attributes) -> Sequence[Attributes]:
        source = self._sources[name]
        if isinstance(source, PacsSource):
            from pacs2bids.pacs.find import find  # noqa: PLC0415 - a folder needs no network

            return find(peer_of(source), "STUDY", question)
        if name not in self._catalogues:
            from pacs2bids.pacs.catalogue import scan  # noqa: PLC0415

            self._catalogues[name] = scan(source.path)
        return self._catalogues[name].find("STUDY", question)
