"""``pacs2bids dataset``: write the top-level files of the dataset."""

from __future__ import annotations

import argparse
import logging
import os
from collections.abc import Sequence
from pathlib import Path

from pacs2bids.config import Config, DatasetInfo, SourceDataset, load_config
from pacs2bids.dataset import PARTICIPANT, Told, write_dataset
from pacs2bids.dialects import default_fields
from pacs2bids.edited import read_object, read_rows
from pacs2bids.files import remove_unfinished
from pacs2bids.model import ConfigError, DatasetError, HeuristicError, Json, PlacedSession
from pacs2bids.plan_table import read_plan
from pacs2bids.text import counted
from pacs2bids.verbs._placed import add_placed, placed_paths, read_in_dataset

log = logging.getLogger("pacs2bids.dataset")


def configure(parser: argparse.ArgumentParser) -> None:
    """Declare the arguments."""
    parser.add_argument("--config", type=Path, required=True, help="the configuration, config.yaml")
    parser.add_argument("--bids", type=Path, required=True, help="root of the BIDS dataset")
    parser.add_argument("--out", type=Path, required=True, help="record of what was written")
    add_placed(parser)


def run(arguments: argparse.Namespace) -> str:
    """Write the files. Raises DatasetError if no session has a volume: then the heuristic is to be edited."""
    remove_unfinished(arguments.out)
    config = load_config(arguments.config)
    paths = placed_paths(arguments)
    placed = read_in_dataset(paths, arguments.bids, partial=arguments.partial)
    told = _told(config, is_partial=arguments.partial)
    record = write_dataset(bids=arguments.bids, out=arguments.out, placed=placed, told=told)
    _require_names(paths, placed, config)
    participants = counted(len(record.participants), "participant")
    return f"dataset: {participants}, {counted(len(record.sessions), 'session')}"


def _require_names(paths: Sequence[Path], placed: Sequence[PlacedSession], config: Config) -> None:
    """BIDS knows no dataset without a subject."""
    if not placed or any(session.volumes or session.absent for session in placed):
        return
    plans = [plan for path in paths if (plan := path.with_name("plan.tsv")).exists()]
    series = len({row.series_instance_uid for plan in plans for row in read_plan(plan)})
    what = f"names none of the {counted(series, 'series', 'series')}"
    hint = f"Edit it; {config.report} shows them"
    raise DatasetError(what, where=f"the heuristic {config.heuristic}", hint=hint)


def _told(config: Config, *, is_partial: bool) -> Told:
    """Raises ConfigError if the table of participants is none, HeuristicError as ``default_fields``."""
    rows, columns = {}, dict[str, Json]()
    if config.participants is not None:
        try:
            found = read_rows(config.participants, PARTICIPANT, "participant") or {}
            described = read_object(config.participants.with_suffix(".json"))
        except DatasetError as error:
            raise ConfigError(error.what, where=error.where, hint="Repair it") from None
        rows = {f"sub-{name.removeprefix('sub-')}": cells for name, cells in found.items()}
        names = dict.fromkeys(name for cells in rows.values() for name in cells)
        columns = {name: described.get(name, {"Description": name}) for name in names}
    description = _defaults(config.heuristic, is_partial=is_partial) | _description(config.dataset)
    return Told(description=description, participants=rows, columns=columns, container=_container())


def _defaults(heuristic: Path, *, is_partial: bool) -> dict[str, Json]:
    """What the heuristic says for all datasets. A broken one keeps nobody from those that are placed."""
    try:
        return default_fields(heuristic)
    except HeuristicError as error:
        if not is_partial:
            raise
        log.warning("its DEFAULT_FIELDS are left out: %s", error)
        return {}


def _container() -> dict[str, Json]:
    """What Apptainer tells of its image (its user guide, "Environment and Metadata")."""
    image = os.environ.get("APPTAINER_NAME") or os.environ.get("SINGULARITY_NAME")
    return {"Type": "apptainer", "Tag": image} if image else {}


def _description(info: DatasetInfo) -> dict[str, Json]:
    """The fields of dataset_description.json that a person told, under their names in BIDS."""
    fields: dict[str, Json] = {
        "Name": info.name,
        "License": info.license,
        "Authors": list(info.authors),
        "Acknowledgements": info.acknowledgements,
        "HowToAcknowledge": info.how_to_acknowledge,
        "Funding": list(info.funding),
        "EthicsApprovals": list(info.ethics_approvals),
        "ReferencesAndLinks": list(info.references_and_links),
        "DatasetDOI": info.doi,
        "SourceDatasets": [_source(source) for source in info.source_datasets],
    }
    return {key: value for key, value in fields.items() if value}


def _source(source: SourceDataset) -> Json:
    fields: dict[str, Json] = {"URL": source.url, "DOI": source.doi, "Version": source.version}
    return {key: value for key, value in fields.items() if value}
