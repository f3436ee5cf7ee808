"""``pacs2bids index``: read every header of a study once."""

from __future__ import annotations

import argparse
import logging
from collections import Counter
from pathlib import Path

from pacs2bids.files import read_record, write_record
from pacs2bids.identifiers import OF_HEADERS
from pacs2bids.model import HeaderError, Receipt, StudyIndex
from pacs2bids.released import INDEX, is_put_back

log = logging.getLogger("pacs2bids.index")


def configure(parser: argparse.ArgumentParser) -> None:
    """Add the arguments."""
    parser.add_argument("study", type=Path, metavar="STUDY", help="the study's folder: holds dicom/")


def run(arguments: argparse.Namespace) -> str:
    """Write ``identity.json`` and ``index.json`` into the study's folder."""
    folder: Path = arguments.study
    if is_put_back(folder, INDEX, StudyIndex):
        return f"study {folder.name}: indexed before its DICOM files were removed (keep)"
    from pacs2bids.identity import Identifying  # noqa: PLC0415 - heavy, as below
    from pacs2bids.store import index_study  # noqa: PLC0415 - heavy: numpy, pydicom, nibabel

    dicom = folder / "dicom"
    if not dicom.is_dir():
        raise HeaderError("holds no dicom folder", where=str(folder), hint="Run `pacs2bids pull` first")
    uid, identifying = _study_instance_uid(folder), Identifying()
    index = index_study(dicom, uid, identifying)
    if not index.instances:
        raise HeaderError("holds no files", where=str(dicom), hint="Run `pacs2bids pull` again")
    for leftover in index.leftovers:
        log.info("left over: %s: %s (%s)", leftover.path, leftover.detail, leftover.reason)
    for failed in index.refused:
        log.warning("%s: %s", failed.stack_id, failed.error)
    write_record(folder / OF_HEADERS, identifying.identity(uid))
    write_record(folder / "index.json", index)
    return f"study {folder.name}: {summary(index)}"


def _study_instance_uid(folder: Path) -> str:
    """From the receipt; a folder that was filled by hand is named by the study."""
    receipt = folder / "receipt.json"
    return read_record(receipt, Receipt).study_instance_uid if receipt.exists() else folder.resolve().name


def summary(index: StudyIndex) -> str:
    """Like "412 instances in 9 series: 14 stacks, 3 left over (2 no-image, 1 duplicate)"."""
    reasons = Counter(str(leftover.reason) for leftover in index.leftovers)
    why = ", ".join(f"{count} {reason}" for reason, count in reasons.most_common())
    left = f", {len(index.leftovers)} left over ({why})" if why else ", none left over"
    refused = f", {len(index.refused)} refused" if index.refused else ""
    found = f"{index.instances} instances in {len(index.series)} series: {len(index.stacks)} stacks"
    return f"{found}{left}{refused}"
