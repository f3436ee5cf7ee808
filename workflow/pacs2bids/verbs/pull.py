"""``pacs2bids pull``: one study from its source into the work folder, whole, with a receipt."""

from __future__ import annotations

import argparse
from contextlib import nullcontext
from pathlib import Path

from pacs2bids.config import Config, load_config
from pacs2bids.files import read_tsv
from pacs2bids.model import ConfigError, Receipt
from pacs2bids.peers import FolderSource, WebPeer
from pacs2bids.shape import suggest
from pacs2bids.turn import beside_no_run


def configure(parser: argparse.ArgumentParser) -> None:
    """The options of ``pull``."""
    parser.add_argument("--config", type=Path, required=True, metavar="FILE", help="config.yaml")
    parser.add_argument(
        "--studies", type=Path, required=True, metavar="FILE", help="studies.tsv as 'query' writes it"
    )
    parser.add_argument("--study", required=True, metavar="UID", help="StudyInstanceUID, as in that table")
    parser.add_argument("--out", type=Path, required=True, metavar="FOLDER", help="where the study goes")


def run(arguments: argparse.Namespace) -> str:
    """Pull the study from the source that the table names.

    Raises ConfigError if a run is at work on the workdir that it goes to, unless it is of that run.
    """
    from pacs2bids.pacs.receipt import summary  # noqa: PLC0415 - a wrong config is told before pynetdicom loads

    config = load_config(arguments.config)
    source = _source_name(arguments.studies, arguments.study, config)
    is_of_workdir = arguments.out.resolve().is_relative_to(config.workdir.resolve())
    with beside_no_run(config.workdir) if is_of_workdir else nullcontext():
        return summary(_pull(config, source, arguments.study, arguments.out), arguments.out)


def _source_name(table: Path, study: str, config: Config) -> str:
    if not table.exists():
        raise ConfigError("is missing", where=str(table), hint="Run 'pacs2bids query' first")
    sources = {row.get("source", "") for row in read_tsv(table) if row.get("study_instance_uid") == study}
    if not sources:
        raise ConfigError(f"does not list the study {study}", where=str(table), hint="Run 'pacs2bids query'")
    name = min(sources)
    if name not in config.sources:
        where, hint = f"{table}: study {study}", suggest(name, config.sources)
        raise ConfigError(f"no source is called {name!r}", where=where, hint=hint)
    return name


def _pull(config: Config, name: str, study: str, out: Path) -> Receipt:
    source = config.sources[name]
    if isinstance(source, FolderSource):
        from pacs2bids.pacs.sources import pull_from_folder  # noqa: PLC0415

        return pull_from_folder(source, study, out, config.memory(name))
    if isinstance(source, WebPeer):
        from pacs2bids.pacs.web_pull import pull_from_web  # noqa: PLC0415

        return pull_from_web(source, study, out)
    from pacs2bids.pacs.pull import pull_from_pacs  # noqa: PLC0415

    return pull_from_pacs(source, study, out)
