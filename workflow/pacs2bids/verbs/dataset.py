"""``pacs2bids dataset``: write the top-level files of the dataset."""

from __future__ import annotations

import argparse
from pathlib import Path

from pacs2bids.config import DatasetInfo, load_config
from pacs2bids.dataset import write_dataset
from pacs2bids.model import Json
from pacs2bids.verbs._placed import add_placed, read_placed


def configure(parser: argparse.ArgumentParser) -> None:
    """Declare the arguments."""
    parser.add_argument("--config", type=Path, required=True, help="the configuration, config.yaml")
    parser.add_argument("--bids", type=Path, required=True, help="root of the BIDS dataset")
    parser.add_argument("--out", type=Path, required=True, help="record of what was written")
    add_placed(parser)


def run(arguments: argparse.Namespace) -> str:
    """Write the files."""
    record = write_dataset(
        bids=arguments.bids,
        out=arguments.out,
        placed=read_placed(arguments),
        description=_description(load_config(arguments.config).dataset),
    )
    return f"dataset: {len(record.participants)} participants, {len(record.sessions)} sessions"


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
    }
    return {key: value for key, value in fields.items() if value}
