"""``pacs2bids convert IN OUT``: any folder of DICOM to NIfTI, without workflow and BIDS names."""

from __future__ import annotations

import argparse
import logging
import re
from pathlib import Path

from pacs2bids.files import write_tsv
from pacs2bids.model import ConversionError, HeaderError, Leftover, Manifest, StudyIndex
from pacs2bids.verbs.reconstruct import add_engine_options, described

log = logging.getLogger("pacs2bids.convert")


def configure(parser: argparse.ArgumentParser) -> None:
    """Add the arguments."""
    parser.add_argument("input", type=Path, metavar="IN", help="a folder of DICOM files, searched throughout")
    parser.add_argument("output", type=Path, metavar="OUT", help="where the volumes go; made if missing")
    add_engine_options(parser)


def run(arguments: argparse.Namespace) -> str:
    """Convert; list what is in no volume in ``OUT/leftovers.tsv``.

    Raises HeaderError if there is no DICOM at all, ConversionError if a stack fails (the others are written).
    """
    from pacs2bids.store import index_folder, reconstruct  # noqa: PLC0415 - heavy: numpy, pydicom, nibabel

    source, target = arguments.input, arguments.output
    if not source.is_dir():
        raise HeaderError("is no folder", where=str(source))
    indices, others = index_folder(source)
    if not indices:
        what = f"holds no DICOM file ({len(others)} other files)" if others else "is empty"
        raise HeaderError(what, where=str(source))
    manifests = []
    for index in indices:
        folder = target / index.study_instance_uid if len(indices) > 1 else target
        manifest = reconstruct(
            index, source, folder, jobs=arguments.jobs, gzip=arguments.gzip, names=_names(index)
        )
        manifests.append(manifest)
    _list_leftovers(target, indices, others)
    return _result(indices, manifests, target)


def _names(index: StudyIndex) -> dict[str, str]:
    """File stems: stack id and series description, as far as it is fit for a file name."""
    descriptions = {
        stack_id: series.series_description or series.protocol_name
        for series in index.series
        for stack_id in series.stack_ids
    }
    return {
        stack_id: "_".join(filter(None, [stack_id, re.sub(r"[^A-Za-z0-9.+-]+", "_", text).strip("_")]))
        for stack_id, text in descriptions.items()
    }


def _list_leftovers(target: Path, indices: list[StudyIndex], others: list[str]) -> None:
    left: list[Leftover] = [leftover for index in indices for leftover in index.leftovers]
    rows = [{"path": one.path, "reason": str(one.reason), "detail": one.detail} for one in left]
    rows += [{"path": path, "reason": "not-dicom", "detail": "is not a DICOM file"} for path in others]
    write_tsv(target / "leftovers.tsv", ("path", "reason", "detail"), rows)


def _result(indices: list[StudyIndex], manifests: list[Manifest], target: Path) -> str:
    failed = [one for manifest in manifests for one in manifest.failed]
    written = sum(len(manifest.volumes) for manifest in manifests)
    instances = sum(index.instances for index in indices)
    left = sum(len(index.leftovers) for index in indices)
    line = f"{written} volumes of {instances} instances, {left} left over -> {target}"
    if failed:
        lines = "; ".join(described(one) for one in failed)
        raise ConversionError(f"{len(failed)} stacks failed: {lines}", where=line)
    return line
