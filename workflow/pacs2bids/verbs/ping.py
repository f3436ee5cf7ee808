"""``pacs2bids ping``: does each source work for us? One line a step; what is wrong, and what to do."""

from __future__ import annotations

import argparse
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from pacs2bids.config import load_sources
from pacs2bids.model import ConfigError, QueryError
from pacs2bids.peers import Source
from pacs2bids.shape import suggest
from pacs2bids.studies_table import is_uid

if TYPE_CHECKING:
    from pacs2bids.pacs.ping import Sample


def configure(parser: argparse.ArgumentParser) -> None:
    """Command line of the verb."""
    parser.add_argument("names", nargs="*", metavar="NAME", help="sources to try (default: all)")
    parser.add_argument(
        "--config",
        type=Path,
        default=Path("config.yaml"),
        metavar="FILE",
        help="the configuration, which need not be complete (default: %(default)s)",
    )
    parser.add_argument(
        "--study", default="", metavar="UID", help="try to bring an instance of this study (default: of any)"
    )
    parser.add_argument(
        "--keep", type=Path, metavar="FOLDER", help="keep the instance that came (default: it is thrown away)"
    )


def run(arguments: argparse.Namespace) -> str:
    """Try all steps of each source, telling each as it ends."""
    sources = _chosen(load_sources(arguments.config).sources, arguments.names)
    if arguments.study and not is_uid(arguments.study):
        raise ConfigError(f"{arguments.study!r} is no UID", where="--study")
    from pacs2bids.pacs.ping import Sample  # noqa: PLC0415 - a wrong config is told before pynetdicom loads

    sample = Sample(study=arguments.study, folder=arguments.keep)
    results = {name: _tried(source, sample) for name, source in sources.items()}
    wrong = {name: first for name, first in results.items() if first}
    if len(results) > 1:
        width = max(map(len, results))
        _tell("\n".join(f"{name.ljust(width)}  {first or 'ok'}" for name, first in results.items()))
    if wrong:
        what = "not all that is configured works"
        raise QueryError(what, where=", ".join(wrong), hint="The steps that failed say why, and what to do")
    return "all is well"


def _chosen(sources: Mapping[str, Source], names: Sequence[str]) -> dict[str, Source]:
    for name in names:
        if name not in sources:
            raise ConfigError(f"no source is called {name!r}", hint=suggest(name, sources))
    return {name: source for name, source in sources.items() if not names or name in names}


def _tried(source: Source, sample: Sample) -> str:
    """What was the first to fail; "" if nothing did."""
    from pacs2bids.pacs.ping import ping  # noqa: PLC0415

    _tell(str(source))
    first = ""
    for step in ping(source, sample):
        _tell(f"  {step}")
        if not step.ok and not first:
            first = f"{step.name}: {step.said}"
    return first


def _tell(text: str) -> None:
    print(text, flush=True)  # noqa: T201 - as it happens: a step may take a minute
