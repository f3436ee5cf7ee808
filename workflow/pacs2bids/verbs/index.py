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
from pacs2bids.text import counted

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
    write_record(folder / OF_HEADERS, identifying.identity(uid))
    tell(index, folder)
    write_record(folder / "index.json", index)
    return f"study {folder.name}: {summary(index)}"


def tell(index: StudyIndex, folder: Path) -> None:
    """What makes no volume, and why; without what identifies the patient."""
    if not (index.leftovers or index.refused):
        return
    # imported here: most studies have nothing to tell
    from pacs2bids.gate import masked  # noqa: PLC0415
    from pacs2bids.verbs._gate import needles_to_blot  # noqa: PLC0415

    needles = needles_to_blot(None, [folder])
    for leftover in index.leftovers:
        told = f"left over: {leftover.path}: {leftover.detail} ({leftover.reason})"
        log.info("%s", masked(told, needles))
    for failed in index.refused:
        log.warning("%s", masked(f"{failed.stack_id}: {failed.error}", needles))


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
    came = f"{counted(index.instances, 'instance')} in {len(index.series)} series"
    return f"{came}: {counted(len(index.stacks), 'stack')}{left}{refused}"
