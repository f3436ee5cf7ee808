"""``pacs2bids suggest``: a file of rules to start from, out of one session."""

from __future__ import annotations

import argparse
import logging
from importlib.resources import files
from pathlib import Path

from pacs2bids.dialects.rules.nameless import nameless
from pacs2bids.dialects.rules.starter import starter
from pacs2bids.files import read_record, write_bytes
from pacs2bids.gate import Needles
from pacs2bids.model import ConfigError, StudyIndex
from pacs2bids.text import counted, listed
from pacs2bids.verbs._gate import needles_to_blot

log = logging.getLogger(__name__)

_SEVERAL = (
    "these studies are of %d patients, and the rules are made as if they were one session: the same protocol "
    "of another patient looks like a run. Give the studies of one session, and try the rules on the others"
)
_IDENTIFYING = (
    "the descriptions of series %s hold what identifies the patient: it is left out of the rules, or '*' "
    "stands for it. `privacy: {descriptions: dropped}` in config.yaml keeps them out of the dataset, too"
)


def configure(parser: argparse.ArgumentParser) -> None:
    """Add the arguments of this verb."""
    parser.add_argument(
        "studies", nargs="+", type=Path, metavar="STUDY", help="folders that hold index.json, of one session"
    )
    parser.add_argument("--out", type=Path, metavar="FILE", help="write it there, as heuristics/mine.yaml")


def run(arguments: argparse.Namespace) -> str:
    """Write the rules; without ``--out`` return them.

    Raises ConfigError if the file is there already: somebody may have edited it.
    """
    out: Path | None = arguments.out
    if out is not None and out.exists():
        raise ConfigError("is there already", where=str(out), hint="Give another name, or remove it")
    if out is not None and out.suffix not in (".yaml", ".yml"):
        raise ConfigError("must end in .yaml", where=str(out), hint="By its ending it is known to hold rules")
    indexes = [_index(folder) for folder in arguments.studies]
    patients = {series.patient_id for index in indexes for series in index.series}
    if len(patients) > 1:
        log.warning(_SEVERAL, len(patients))
    schema = Path(str(files("pacs2bids").joinpath("schemas/rules.schema.json")))
    needles = needles_to_blot(None, arguments.studies)
    text = starter([_nameless(index, needles) for index in indexes], schema=schema)
    if out is None:
        return text.rstrip("\n")
    write_bytes(out, text.encode())
    rules = counted(text.count("\n  - name: "), "rule")
    return f"{out}: {rules} to start from, {text.count(chr(10) + '  # - name: ')} more that wait for you"


def _nameless(index: StudyIndex, needles: Needles) -> StudyIndex:
    clean = nameless(index, needles)
    series = [old.series_key for old, new in zip(index.series, clean.series, strict=True) if old != new]
    if series:
        log.warning(_IDENTIFYING, listed(series, 5))
    return clean


def _index(folder: Path) -> StudyIndex:
    path = folder / "index.json"
    if not path.exists():
        hint = "Name work/studies/<UID>; if it has no index.json, let the workflow run first"
        raise ConfigError("is no study of a workdir that was indexed", where=str(folder), hint=hint)
    return read_record(path, StudyIndex)
