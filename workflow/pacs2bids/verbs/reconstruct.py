"""``pacs2bids reconstruct``: the stacks of one study become volumes with sidecars."""

from __future__ import annotations

import argparse
import logging
import os
from collections.abc import Mapping, Sequence
from pathlib import Path

from msgspec.structs import replace

from pacs2bids.engine import engine_version
from pacs2bids.files import flush_to_disk, private_folder, read_record, write_record
from pacs2bids.model import ConversionError, FailedStack, Manifest, Receipt, StudyIndex
from pacs2bids.provenance import file_digests, received_digests, with_sources
from pacs2bids.released import MANIFEST, bring_again, is_put_back
from pacs2bids.text import counted, listed

_MOST_NAMED = 5  # series, in an error

log = logging.getLogger("pacs2bids.reconstruct")


def configure(parser: argparse.ArgumentParser) -> None:
    """Add the arguments."""
    parser.add_argument("study", type=Path, metavar="STUDY", help="the study's folder: holds index.json")
    add_engine_options(parser)
    parser.add_argument(
        "--allow-failed",
        action="store_true",
        help="succeed although some series cannot be reconstructed; the manifest and the report list them",
    )


def _positive(text: str) -> int:
    number = int(text)
    if number < 1:
        raise ValueError
    return number


def add_engine_options(parser: argparse.ArgumentParser, gzip: Sequence[str] = ("fast", "small")) -> None:
    """Options that every use of the engine shares. ``gzip``: the choices of --gzip."""
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    parser.add_argument(
        "-j", "--jobs", type=_positive, default=cores, metavar="N", help="threads (one a core)"
    )
    parser.add_argument(
        "--gzip",
        choices=gzip,
        default="fast",
        help="fast: several times quicker, files a few per cent larger; small: as zlib makes them"
        + ("; off: plain .nii" if "off" in gzip else "")
        + " (fast)",
    )
    parser.add_argument(
        "--philips-values",
        choices=("precise", "display"),
        default="precise",
        help="of Philips scans: precise values, comparable between scans; or those on the console (precise)",
    )


def run(arguments: argparse.Namespace) -> str:
    """Write ``volumes/`` and its manifest. Raises ConversionError if a stack fails, after all were tried."""
    folder: Path = arguments.study
    if is_put_back(folder, MANIFEST, Manifest):
        return _as_it_was(folder, arguments)
    from pacs2bids.store import reconstruct, remove_stale, write_physiology  # noqa: PLC0415 - heavy: numpy, nibabel

    index = read_record(folder / "index.json", StudyIndex)
    volumes = private_folder(folder / "volumes")
    remove_stale(volumes, index)
    manifest = reconstruct(
        index,
        folder / "dicom",
        volumes,
        jobs=arguments.jobs,
        gzip=arguments.gzip,
        philips_values=arguments.philips_values,
    )
    manifest = replace(manifest, physiology=write_physiology(index, folder / "dicom", volumes))
    flush_to_disk(volumes / name for name in manifest.files)
    manifest = with_sources(manifest, index, _digests(folder, index, arguments.jobs))
    write_record(volumes / "manifest.json", manifest)
    if manifest.failed and not arguments.allow_failed:
        raise failure(manifest.failed, titles_of(index, folder), folder)
    for failed in manifest.failed:
        log.warning("left out: %s", described(failed))
    left = f", {len(manifest.failed)} failed" if manifest.failed else ""
    return f"study {folder.name}: {counted(len(manifest.volumes), 'volume')}{left}"


def _as_it_was(folder: Path, arguments: argparse.Namespace) -> str:
    """What is said of a study whose DICOM files were removed; a warning where it would be made otherwise."""
    manifest = read_record(folder / MANIFEST, Manifest)
    asked = engine_version(), arguments.gzip, arguments.philips_values
    made = manifest.engine_version, manifest.gzip, manifest.philips_values
    if made != asked:
        what = "study %s: its volumes stay as they were made (%s), not as they would be now (%s): %s. %s"
        why = "its DICOM files were removed (`keep`)"
        log.warning(what, folder.name, ", ".join(made), ", ".join(asked), why, bring_again(folder))
    return f"study {folder.name}: made before its DICOM files were removed (keep)"


def _digests(folder: Path, index: StudyIndex, jobs: int) -> dict[str, str | None]:
    """From the receipt; a folder that was filled by hand has none."""
    receipt = folder / "receipt.json"
    if receipt.exists():
        return received_digests(read_record(receipt, Receipt))
    return file_digests(index, folder / "dicom", jobs=jobs)


def titles_of(index: StudyIndex, folder: Path) -> dict[str, str]:
    """Descriptions of series by their keys, as they may be told: errors are mailed."""
    # imported here: only what fails needs it
    from pacs2bids.gate import masked  # noqa: PLC0415
    from pacs2bids.verbs._gate import needles_to_blot  # noqa: PLC0415

    needles = needles_to_blot(None, [folder])
    return {one.series_key: masked(one.series_description, needles) for one in index.series}


def described(failed: FailedStack) -> str:
    """One line on a stack that failed."""
    return f"series {failed.stack_id.split('-')[0]} (stack {failed.stack_id}): {failed.error}"


def failure(failed: Sequence[FailedStack], titles: Mapping[str, str], folder: Path) -> ConversionError:
    """The error that names every stack that failed, first by what a person knows its series by.

    ``titles``: descriptions of the series by their keys. ``folder``: of the study.
    """
    keys = dict.fromkeys(one.stack_id.split("-")[0] for one in failed)
    named = listed([f"series {key} ({titles.get(key) or 'no description'})" for key in keys], _MOST_NAMED)
    lines = "; ".join(described(one) for one in failed)
    hint = f"The other volumes of {folder} are written; `on_broken_series: skip` goes on without this"
    return ConversionError(f"{named} cannot be reconstructed: {lines}", hint=hint)
