"""``pacs2bids convert IN OUT``: any folder of DICOM to NIfTI, without workflow and BIDS names."""

from __future__ import annotations

import argparse
import logging
import re
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from msgspec.structs import replace

from pacs2bids.files import write_record, write_tsv
from pacs2bids.model import (
    ConfigError,
    ConversionError,
    HeaderError,
    Leftover,
    Manifest,
    Reason,
    StackFacts,
    StudyIndex,
    VolumeOpinion,
)
from pacs2bids.provenance import file_digests, with_sources
from pacs2bids.text import counted, listed
from pacs2bids.verbs._out import (
    LEFTOVER_COLUMNS,
    LEFTOVERS,
    MANIFEST,
    OPINIONS,
    claim,
    folders,
    remove_opinions,
    remove_stale,
    require_tables,
)
from pacs2bids.verbs.reconstruct import add_engine_options, described

if TYPE_CHECKING:
    from pacs2bids.store import IndexedFolder

log = logging.getLogger("pacs2bids.convert")

SHOWN = 10
LONGEST = 64  # characters of a description (LO, PS3.5 section 6.2): file names have an end
COMPONENTS = {"phase": "ph", "real": "real", "imaginary": "imaginary"}


def configure(parser: argparse.ArgumentParser) -> None:
    """Add the arguments."""
    parser.add_argument("input", type=Path, metavar="IN", help="a folder of DICOM files, searched throughout")
    parser.add_argument(
        "output",
        type=Path,
        metavar="OUT",
        help="where the volumes go; made if missing. A hidden file beside each tells what it was made of",
    )
    parser.add_argument(
        "--second-opinion",
        action="store_true",
        help="compare each volume with the one that dcm2niix makes of the same files: second_opinion.tsv",
    )
    parser.add_argument(
        "--digests",
        action="store_true",
        help="put the SHA-256 of every file that is in a volume into .manifest.json: reads all bytes again",
    )
    parser.add_argument(
        "--unshear",
        action="store_true",
        help="of slices of a tilted gantry write a further file, <name>_unsheared: resampled to right angles",
    )
    add_engine_options(parser, gzip=("fast", "small", "off"))


def run(arguments: argparse.Namespace) -> str:
    """Convert; list what is in no volume in ``OUT/leftovers.tsv``.

    Raises HeaderError if there is no DICOM at all, ConversionError if a file or a stack cannot be used (the
    other volumes are written), ConfigError if OUT holds what is not ours.
    """
    source, target = arguments.input, arguments.output
    _require_folders(source, target)
    require_tables(target, opinions=arguments.second_opinion)
    if arguments.second_opinion:
        _require_second_converter()
    found = _found(source)
    manifests: list[Manifest] = []
    opinions: list[VolumeOpinion] = []
    leftovers = [*found.damaged, *found.directories]
    for folder, index in folders(target, found.indices):
        manifest = _converted(index, folder, arguments)
        manifests.append(manifest)
        leftovers += [*index.leftovers, *_unwritten(index, manifest)]
        _warn(index)
        if arguments.second_opinion:
            place = "" if folder == target else f"{folder.name}/"
            opinions += _second_opinion(index, manifest, source, folder, place)
    _list_leftovers(target, leftovers, found.others)
    summary = _summary(found, manifests, len(leftovers), target)
    if arguments.second_opinion:
        summary += f"; {_list_opinions(target, opinions)}"
    else:
        remove_opinions(target)
    return _result(manifests, found.damaged, summary, source)


def _require_folders(source: Path, target: Path) -> None:
    if not source.is_dir():
        raise HeaderError("is no folder", where=str(source))
    if source.resolve() in (target.resolve(), *target.resolve().parents):
        raise ConfigError("lies in the folder that is read", where=str(target), hint="Give another OUT")


def _found(source: Path) -> IndexedFolder:
    """What the folder holds. Raises HeaderError if that is nothing of DICOM."""
    from pacs2bids.store import index_folder  # noqa: PLC0415 - heavy: numpy

    found = index_folder(source)
    if not found.indices and not found.damaged:
        others = len(found.others) + len(found.directories)
        what = f"holds no DICOM instance ({counted(others, 'other file')})" if others else "is empty"
        raise HeaderError(what, where=str(source))
    return found


def _converted(index: StudyIndex, folder: Path, arguments: argparse.Namespace) -> Manifest:
    """Write the volumes of one study; what an earlier run wrote and is no more goes."""
    from pacs2bids.store import reconstruct  # noqa: PLC0415 - heavy: numpy

    names = _names(index)
    claim(folder, index, names)
    manifest = reconstruct(
        index,
        arguments.input,
        folder,
        jobs=arguments.jobs,
        gzip=arguments.gzip,
        philips_values=arguments.philips_values,
        unshear=arguments.unshear,
        names=names,
    )
    digests = file_digests(index, arguments.input, jobs=arguments.jobs) if arguments.digests else {}
    manifest = with_sources(manifest, index, digests)
    remove_stale(folder, manifest)
    write_record(folder / MANIFEST, manifest)
    return manifest


def _warn(index: StudyIndex) -> None:
    """Say what a person should know of volumes that are written."""
    for stack in index.stacks:
        for warning in stack.warnings:
            log.warning("%s: %s", stack.stack_id, warning)


def _require_second_converter() -> None:
    """Before anything is converted. Raises ConfigError."""
    from pacs2bids.second_opinion import program  # noqa: PLC0415 - heavy: nibabel

    program()


def _second_opinion(
    index: StudyIndex, manifest: Manifest, source: Path, folder: Path, place: str
) -> list[VolumeOpinion]:
    """``place``: what stands before the names of the volumes, where there are several studies."""
    from pacs2bids.second_opinion import second_opinion  # noqa: PLC0415 - heavy: nibabel

    opinions = second_opinion(index, manifest, source, folder)
    return [replace(one, volume=one.volume and place + one.volume) for one in opinions]


def _list_opinions(target: Path, opinions: Sequence[VolumeOpinion]) -> str:
    from pacs2bids.second_opinion import write_opinions  # noqa: PLC0415 - heavy: nibabel

    return write_opinions(target / OPINIONS, opinions)


def _names(index: StudyIndex) -> dict[str, str]:
    """File stems: stack id, series description as fit for a file name, echo, component, content and map."""
    stacks = {stack.stack_id: stack.facts for stack in index.stacks}
    names = {}
    for series in index.series:
        mine = [stacks[stack_id] for stack_id in series.stack_ids]
        text = series.series_description or series.protocol_name
        description = re.sub(r"[^A-Za-z0-9.+-]+", "_", text).strip("_")[:LONGEST]
        for stack_id in series.stack_ids:
            facts = stacks[stack_id]
            alike = [one for one in mine if (one.component, one.content) == (facts.component, facts.content)]
            echoes = sorted({one.echo_time_s for one in alike if one.echo_time_s is not None})
            several = len(echoes) > 1 and facts.echo_time_s is not None
            echo = f"e{1 + echoes.index(facts.echo_time_s)}" if several and facts.echo_time_s else ""
            component = COMPONENTS.get(facts.component or "", "")
            words = [stack_id, description, echo, component, facts.content, _map_word(facts, description)]
            names[stack_id] = "_".join(filter(None, words))
    return names


def _map_word(facts: StackFacts, description: str) -> str:
    """What a map shows, like "ADC", by ImageType, unless the description says so; "" of what is no map."""
    from pacs2bids.vendors.standard import DIFFUSION_MAPS  # noqa: PLC0415 - only here, and of many modules

    if not facts.is_diffusion_map:
        return ""
    # Philips appends the picture of the mean weighting to the weighted ones, under the same ImageType
    word = next((word for word in facts.image_type if word in DIFFUSION_MAPS), "isotropic")
    told = re.split("[^a-z0-9]+", description.lower())
    return "" if word.lower() in told or description.lower().endswith(word.lower()) else word


def _unwritten(index: StudyIndex, manifest: Manifest) -> list[Leftover]:
    """The instances of stacks that could not be written."""
    errors = {failed.stack_id: failed.error for failed in manifest.failed}
    return [
        Leftover(path=path, reason=Reason.INCONSISTENT, detail=f"its volume failed: {errors[stack.stack_id]}")
        for stack in index.stacks
        if stack.stack_id in errors
        for path in dict.fromkeys(image.path for image in stack.images)
    ]


def _list_leftovers(target: Path, leftovers: Sequence[Leftover], others: Sequence[str]) -> None:
    rows = [{"path": one.path, "reason": str(one.reason), "detail": one.detail} for one in leftovers]
    rows += [{"path": path, "reason": "not-dicom", "detail": "is not a DICOM file"} for path in others]
    write_tsv(target / LEFTOVERS, LEFTOVER_COLUMNS, rows)


def _summary(found: IndexedFolder, manifests: Sequence[Manifest], left: int, target: Path) -> str:
    written = sum(len(manifest.volumes) for manifest in manifests)
    instances = sum(index.instances for index in found.indices)
    instances += len(found.damaged) + len(found.directories)
    others = f", {counted(len(found.others), 'other file')}" if found.others else ""
    listed = f" (see {target / LEFTOVERS})" if left or found.others else ""
    made = f"{counted(written, 'volume')} of {counted(instances, 'instance')}"
    return f"{made}, {left} left over{others}{listed} -> {target}"


def _result(manifests: Sequence[Manifest], damaged: Sequence[Leftover], summary: str, source: Path) -> str:
    """``summary``, or what went wrong. Raises ConversionError."""
    problems = [described(one) for manifest in manifests for one in manifest.failed]
    problems += [f"{one.path}: {one.detail}; a volume beside it may lack slices" for one in damaged]
    if not problems:
        return summary
    told = listed(problems, SHOWN, separator="; ")
    hint = f"The other volumes are written: {summary}"
    raise ConversionError(f"not all could be converted: {told}", where=str(source), hint=hint)
