"""Writing the study set: every series in its storage form, into files as a PACS would hand them out.

The same bytes on every run. File names say nothing: they follow the (random-looking) SOPInstanceUIDs.
"""

from __future__ import annotations

import math
import shutil
import tempfile
from collections.abc import Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass
from multiprocessing import get_context
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from pydicom.dataset import Dataset, FileMetaDataset
from pydicom.sequence import Sequence as Items
from pydicom.uid import ExplicitVRLittleEndian

from pacs2bids.model import ConfigError
from pacs2bids.phantom import enhanced, headers, picture
from pacs2bids.phantom.headers import Instance
from pacs2bids.phantom.protocol import Form, PhantomSeries, PhantomStack, PhantomStudy

Stored = NDArray[np.uint16]


@dataclass(frozen=True, slots=True, kw_only=True)
class Written:
    """What was written: instances and bytes."""

    instances: int
    bytes: int


def write(studies: Sequence[PhantomStudy], folder: Path, *, force: bool = False, jobs: int = 2) -> Written:
    """Write one folder a study under ``folder``.

    Nothing appears there before all is made, and nothing that is there already is deleted. Raises ConfigError
    if ``folder`` holds something and ``force`` is not given; then only files of the same name are replaced.
    """
    if folder.exists() and (not folder.is_dir() or any(folder.iterdir())) and not force:
        hint = "Name another folder, or add --force to write beside what is there"
        raise ConfigError("exists and is not empty", where=str(folder), hint=hint)
    folder.parent.mkdir(parents=True, exist_ok=True)
    stage = Path(tempfile.mkdtemp(dir=folder.parent, prefix=f".{folder.name}."))
    try:
        targets = [stage / f"study{number}" for number in range(1, len(studies) + 1)]
        totals = _write_all(studies, targets, jobs)
        for made in sorted(path for path in stage.rglob("*") if path.is_file()):
            target = folder / made.relative_to(stage)
            target.parent.mkdir(parents=True, exist_ok=True)
            made.replace(target)
    finally:
        shutil.rmtree(stage)
    return Written(
        instances=sum(one.instances for one in totals),
        bytes=sum(one.bytes for one in totals),
    )


def _write_all(studies: Sequence[PhantomStudy], targets: Sequence[Path], jobs: int) -> list[Written]:
    if jobs == 1 or len(studies) == 1:
        return [write_study(study, target) for study, target in zip(studies, targets, strict=True)]
    # spawn: a fork of a process that runs threads (a server, a test runner) may hang
    with ProcessPoolExecutor(min(jobs, len(studies)), mp_context=get_context("spawn")) as pool:
        return list(pool.map(write_study, studies, targets))


def write_study(study: PhantomStudy, folder: Path) -> Written:
    """Write all instances of one study into ``folder``, numbered in the order of their SOPInstanceUIDs."""
    folder.mkdir(parents=True)
    instances = [data for series in study.series for data in _instances(study, series)]
    instances.sort(key=lambda data: str(data.SOPInstanceUID))
    size = 0
    for number, data in enumerate(instances, start=1):
        path = folder / f"{number:05d}.dcm"
        _save(data, path)
        size += path.stat().st_size
    return Written(instances=len(instances), bytes=size)


def _save(data: Dataset, path: Path) -> None:
    meta = FileMetaDataset()
    meta.MediaStorageSOPClassUID = data.SOPClassUID
    meta.MediaStorageSOPInstanceUID = data.SOPInstanceUID
    meta.TransferSyntaxUID = ExplicitVRLittleEndian
    data.file_meta = meta
    data.save_as(path, enforce_file_format=True)


def _instances(study: PhantomStudy, series: PhantomSeries) -> Iterator[Dataset]:
    match series.form:
        case Form.CLASSIC:
            return _classic(study, series)
        case Form.MOSAIC:
            return _mosaic(study, series)
        case Form.ENHANCED:
            return _enhanced(study, series)
        case Form.REPORT:
            return _report(study, series)


def _volumes(study: PhantomStudy, series: PhantomSeries, stack: PhantomStack) -> Iterator[Stored]:
    """Stored values (slices, rows, columns), volume by volume: the truth at the centre of each voxel."""
    points = stack.grid.points_lps()
    for values in picture.volumes(points, series=series, stack=stack, head=study.head):
        yield np.rint(values).astype(np.uint16)


def _classic(study: PhantomStudy, series: PhantomSeries) -> Iterator[Dataset]:
    number = 0
    for stack in series.stacks:
        for volume, stored in enumerate(_volumes(study, series, stack)):
            for which in range(stack.grid.slices):
                number += 1
                instance = Instance(number=number, stack=stack, volume=volume, slice=which)
                data = headers.identity(study, series, number)
                headers.acquisition(data, study, series, instance)
                headers.plane(data, stack.grid, stack.grid.position_lps(which))
                headers.pixels(data, stored[which])
                headers.window(data, series, int(stored.max()))
                headers.private(data, series, instance)
                yield data


def _mosaic(study: PhantomStudy, series: PhantomSeries) -> Iterator[Dataset]:
    (stack,) = series.stacks
    tiles = math.ceil(math.sqrt(stack.grid.slices))
    for volume, stored in enumerate(_volumes(study, series, stack)):
        instance = Instance(number=volume + 1, stack=stack, volume=volume)
        data = headers.identity(study, series, instance.number)
        headers.acquisition(data, study, series, instance)
        headers.plane(data, stack.grid, headers.mosaic_position(stack.grid, tiles))
        headers.pixels(data, _tiled(stored, tiles))
        headers.window(data, series, int(stored.max()))
        headers.private(data, series, instance)
        yield data


def _tiled(stored: Stored, tiles: int) -> Stored:
    """Slices side by side, rows of tiles filled first; the rest stays 0."""
    slices, rows, columns = stored.shape
    full = np.zeros((tiles * tiles, rows, columns), dtype=np.uint16)
    full[:slices] = stored
    return full.reshape(tiles, tiles, rows, columns).swapaxes(1, 2).reshape(tiles * rows, tiles * columns)


def _enhanced(study: PhantomStudy, series: PhantomSeries) -> Iterator[Dataset]:
    (stack,) = series.stacks
    for volume, stored in enumerate(_volumes(study, series, stack)):
        instance = Instance(number=volume + 1, stack=stack, volume=volume)
        data = headers.identity(study, series, instance.number)
        enhanced.fill(data, study, series, instance)
        headers.pixels(data, stored)
        yield data


def _report(study: PhantomStudy, series: PhantomSeries) -> Iterator[Dataset]:
    """A structured report without pixels (PS3.3 A.35.2)."""
    data = headers.identity(study, series, 1)
    data.ValueType = "CONTAINER"
    data.ContinuityOfContent = "SEPARATE"
    data.CompletionFlag, data.VerificationFlag = "COMPLETE", "UNVERIFIED"
    data.ReferencedPerformedProcedureStepSequence = Items([])
    data.PerformedProcedureCodeSequence = Items([])
    title = Dataset()
    title.CodeValue, title.CodingSchemeDesignator = "126000", "DCM"
    title.CodeMeaning = "Imaging Measurement Report"
    data.ConceptNameCodeSequence = Items([title])
    data.ContentSequence = Items([])
    yield data
