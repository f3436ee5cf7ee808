"""Disk to engine and back: scans folders, loads pixels, writes volumes.

Pixels stay on disk until a stack is assembled; a volume that the same engine made of the same files is kept.
"""

from __future__ import annotations

import filecmp
import hashlib
import logging
import os
import threading
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Executor, Future, ThreadPoolExecutor
from functools import partial
from itertools import groupby
from operator import attrgetter, itemgetter
from pathlib import Path
from typing import TypeAlias

import msgspec
import numpy as np
from msgspec import Struct, field
from msgspec.structs import replace

from pacs2bids import nifti
from pacs2bids.compress import LEVELS, Piece, compressed, joined
from pacs2bids.engine import engine_version
from pacs2bids.files import (
    is_emptied,
    read_record,
    remove_left,
    sha256,
    write_bytes,
    write_chunks,
    write_json,
    write_record,
    write_text,
)
from pacs2bids.geometry import fsl_b_vectors
from pacs2bids.identity import Identifying
from pacs2bids.indexing import Indexer
from pacs2bids.model import (
    ConversionError,
    FailedStack,
    HeaderError,
    ImageRef,
    Leftover,
    Manifest,
    NoInstanceError,
    NotDicomError,
    Pacs2BidsError,
    PhysiologyFiles,
    Reason,
    Stack,
    StudyIndex,
    VolumeFile,
)
from pacs2bids.physiology import tables_of
from pacs2bids.pixels import pixel_loader
from pacs2bids.reading import ParsedFile, Reader
from pacs2bids.text import counted
from pacs2bids.unshear import Unshearing, resampled, smallest, unshearing_of
from pacs2bids.vendors import physiolog
from pacs2bids.volume import Layout, Pixels, assemble, layout_of

log = logging.getLogger("pacs2bids.store")

UNSHEARED = "_unsheared"  # behind the stem of the further file
AHEAD = 3  # blocks a thread that are under way or wait to be written


# ---------------------------------------------------------------------------------------------- scan


def files_below(folder: Path) -> Iterator[str]:
    """Paths of all files below ``folder``, relative to it, sorted; hidden ones left out. Links are followed.

    Raises OSError where a folder cannot be read.
    """
    return _files_below(str(folder), "", frozenset([os.path.realpath(folder)]))


def _files_below(folder: str, prefix: str, above: frozenset[str]) -> Iterator[str]:
    """``above``: the real paths of this folder and of those it lies in."""
    with os.scandir(folder) as scan:
        entries = sorted((entry for entry in scan if entry.name[0] != "."), key=attrgetter("name"))
    for entry in entries:
        # a link that leads nowhere is told, as a file that cannot be read; pipes and devices are no files
        if entry.is_file() or (entry.is_symlink() and not entry.is_dir()):
            yield prefix + entry.name
    for entry in entries:
        if entry.is_dir() and (real := os.path.realpath(entry.path)) not in above:
            # a link to a folder above would never end
            yield from _files_below(entry.path, f"{prefix}{entry.name}/", above | {real})


def parse_file(reader: Reader, folder: Path, path: str) -> ParsedFile:
    """The header of one file. Raises HeaderError if it cannot be read."""
    try:
        descriptor = os.open(f"{folder}/{path}", os.O_RDONLY | os.O_CLOEXEC)
        try:
            return reader.parse(_Descriptor(descriptor), path)
        finally:
            os.close(descriptor)
    except OSError as error:
        raise HeaderError(f"cannot be read: {error.strerror}", where=path) from error


class _Descriptor:
    """An open file, of which little is read: half the cost of Python's own."""

    __slots__ = ("_descriptor",)

    def __init__(self, descriptor: int) -> None:
        self._descriptor = descriptor

    def read(self, size: int = -1) -> bytes:
        """The next bytes, up to ``size``; by default all."""
        if size < 0:
            size = os.fstat(self._descriptor).st_size
        return os.read(self._descriptor, size)

    def seek(self, offset: int, whence: int = os.SEEK_SET) -> int:
        """As of any file."""
        return os.lseek(self._descriptor, offset, whence)

    def tell(self) -> int:
        """As of any file."""
        return os.lseek(self._descriptor, 0, os.SEEK_CUR)


def index_study(dicom: Path, study_instance_uid: str, identifying: Identifying | None = None) -> StudyIndex:
    """Read every header below ``dicom`` (folders named by SeriesInstanceUID) once, and index the study.

    ``identifying`` collects what identifies the patient.
    """
    indexer, reader = _indexer(dicom, study_instance_uid), Reader()
    for path in files_below(dicom):
        try:
            parsed = parse_file(reader, dicom, path)
            indexer.add(path, parsed)
            if identifying is not None:
                identifying.see(parsed.header)
        except HeaderError as error:
            indexer.add_unreadable(path, error, Path(path).parent.name or None)
    return indexer.finish()


def _indexer(folder: Path, study_instance_uid: str) -> Indexer:
    def same_content(one: str, other: str) -> bool:
        return filecmp.cmp(folder / one, folder / other, shallow=False)

    def same_picture(one: ImageRef, other: ImageRef) -> bool:
        load = pixel_loader(folder, lambda _: None)  # what is odd is told when it is written
        try:
            return bool((load(one) == load(other)).all())
        except ConversionError:
            return False

    return Indexer(
        study_instance_uid=study_instance_uid,
        engine_version=engine_version(),
        same_content=same_content,
        reread=partial(parse_file, Reader(), folder),
        same_picture=same_picture,
    )


class IndexedFolder(Struct, frozen=True, kw_only=True):
    """What any folder holds: studies, files that are not DICOM, and DICOM files that cannot be used.

    ``directories``: DICOMDIR files, which are sound and no instances.
    """

    indices: tuple[StudyIndex, ...]
    others: tuple[str, ...]
    damaged: tuple[Leftover, ...]
    directories: tuple[Leftover, ...] = ()


def index_folder(folder: Path) -> IndexedFolder:
    """Index all studies of any folder."""
    indexers: dict[str, Indexer] = {}
    others: list[str] = []
    damaged: list[Leftover] = []
    directories: list[Leftover] = []
    reader = Reader()
    for path in files_below(folder):
        try:
            parsed = parse_file(reader, folder, path)
        except NotDicomError:
            if is_emptied(folder / path):
                what = "is empty: a copy that failed?"
                damaged.append(Leftover(path=path, reason=Reason.UNREADABLE, detail=what))
            else:
                others.append(path)
            continue
        except NoInstanceError as error:
            directories.append(Leftover(path=path, reason=Reason.NO_IMAGE, detail=error.what))
            continue
        except HeaderError as error:
            damaged.append(Leftover(path=path, reason=Reason.UNREADABLE, detail=error.what))
            continue
        uid = parsed.header.text("StudyInstanceUID")
        if uid is None:
            what = "has no StudyInstanceUID"
            damaged.append(Leftover(path=path, reason=Reason.UNREADABLE, detail=what))
            continue
        if uid not in indexers:
            indexers[uid] = _indexer(folder, uid)
        indexers[uid].add(path, parsed)
    return IndexedFolder(
        indices=tuple(indexers[uid].finish() for uid in sorted(indexers)),
        others=tuple(others),
        damaged=tuple(damaged),
        directories=tuple(directories),
    )


# ---------------------------------------------------------------------------------------------- volumes


def reconstruct(
    index: StudyIndex,
    dicom: Path,
    volumes: Path,
    *,
    jobs: int,
    gzip: str,
    philips_values: str = "precise",
    unshear: bool = False,
    names: dict[str, str] | None = None,
) -> Manifest:
    """Write every stack of a study below ``volumes``; stacks that are up to date are kept.

    ``philips_values``: "precise" or "display" (see ``Stack.display_rescale``). ``unshear``: a sheared stack
    gets a further file, resampled. ``names`` maps stack ids to file stems (default: the id). A stack that
    fails is listed in the manifest, with the error; the others go on. The files are not flushed to the disk
    yet.
    """
    volumes.mkdir(parents=True, exist_ok=True)
    stems = {stack.stack_id: (names or {}).get(stack.stack_id, stack.stack_id) for stack in index.stacks}
    stacks = [_shown(stack) if philips_values == "display" else stack for stack in index.stacks]
    writer = _Writer(dicom=dicom, volumes=volumes, gzip=gzip, stems=stems, unshear=unshear)
    with ThreadPoolExecutor(max_workers=max(jobs, 1)) as pool:
        results = list(writer.results(stacks, pool, max(jobs, 1)))
    return Manifest(
        engine_version=index.engine_version,
        study_instance_uid=index.study_instance_uid,
        volumes=tuple(result for result in results if isinstance(result, VolumeFile)),
        failed=(*index.refused, *(result for result in results if isinstance(result, FailedStack))),
        gzip=gzip,
        philips_values=philips_values,
    )


def _shown(stack: Stack) -> Stack:
    """The stack with the values that its scanner displays, where these are others."""
    if stack.display_rescale is None:
        return stack
    sidecar = {**stack.sidecar, "UsePhilipsFloatNotDisplayScaling": 0}
    if sidecar.get("Units") == "rad":
        sidecar["Units"] = "arbitrary"  # thousandths of a radian, which BIDS has no word for
    return replace(stack, rescale=stack.display_rescale, sidecar=sidecar)


def remove_stale(volumes: Path, index: StudyIndex) -> None:
    """Remove what earlier runs left: of stacks that the index does not know any more, and half-written."""
    known = {stack.stack_id for stack in index.stacks}
    for path in volumes.iterdir():
        stem = path.name.lstrip(".").split(".")[0]
        is_known = stem in known or path.name == "manifest.json"
        if path.is_file() and path.suffix == ".part":
            remove_left(path)
        elif path.is_file() and not is_known:
            path.unlink(missing_ok=True)  # a job that outlived its run may be at it, too


class _Work(Struct, frozen=True, kw_only=True, eq=False):
    """A stack that is to be written. ``odd``: files with bits beyond the stored ones, for no known reason.

    ``unshearing``: if a resampled file is due, too. ``smallest``: then the smallest value of each block.
    """

    stack: Stack
    layout: Layout
    header: bytes
    input_digest: str
    unshearing: Unshearing | None = None
    odd: set[str] = field(default_factory=set)
    smallest: list[float] = field(default_factory=list)

    @property
    def warnings(self) -> tuple[str, ...]:
        """Those of the stack, and what its pixels showed."""
        if not self.odd:
            return self.stack.warnings
        what = (
            f"pixels of {counted(len(self.odd), 'file')} have bits beyond BitsStored, which were cut off "
            f"(one is {min(self.odd)}): an overlay that is not declared, or BitsStored is wrong"
        )
        return (*self.stack.warnings, what)


_Start: TypeAlias = _Work | VolumeFile | FailedStack
_Block: TypeAlias = Callable[[], Piece]


class _Loader(threading.local):
    """A loader a thread: each remembers the last file that it read."""

    def __init__(self, folder: Path) -> None:
        self.odd: set[str] = set()
        self.load = pixel_loader(folder, lambda image: self.odd.add(image.path))


class _Writer(Struct, frozen=True, kw_only=True):
    """Writes stacks block by block: one big stack keeps all threads busy, and so do many small ones."""

    dicom: Path
    volumes: Path
    gzip: str
    stems: dict[str, str]
    unshear: bool

    def results(
        self, stacks: Iterable[Stack], pool: Executor, jobs: int
    ) -> Iterator[VolumeFile | FailedStack]:
        """One a stack, in their order. Holds a few blocks a thread in memory, whatever the stacks are."""
        blocks = _in_turn(self._blocks(stacks), pool, ahead=AHEAD * jobs)
        for start, mine in groupby(blocks, key=itemgetter(0)):
            yield self._write(start, mine, pool, jobs) if isinstance(start, _Work) else start

    def _blocks(self, stacks: Iterable[Stack]) -> Iterator[tuple[_Start, _Block | None]]:
        """Each stack with each of its blocks, header first; with None where there is nothing to write."""
        loader, level = _Loader(self.dicom), LEVELS[self.gzip]

        def block_of(work: _Work, planes: tuple[int, ...]) -> Piece:
            voxels = assemble(work.stack, work.layout, planes, loader.load)
            work.odd.update(loader.odd)
            loader.odd.clear()
            if work.unshearing is not None:
                work.smallest.append(smallest(voxels, work.layout.slope))
            return compressed(octets(voxels), level)

        for stack in stacks:
            start = self._start(stack)
            if not isinstance(start, _Work):
                yield start, None
                continue
            yield start, partial(compressed, memoryview(start.header), level)
            for planes in start.layout.blocks:
                yield start, partial(block_of, start, planes)

    def _start(self, stack: Stack) -> _Start:
        try:
            digest = self._input_digest(stack)
            kept = self._kept(self._record(stack), digest)
            if kept is not None:
                return kept
            layout = layout_of(stack)
            return _Work(
                stack=stack,
                layout=layout,
                header=nifti_header(stack, layout),
                input_digest=digest,
                unshearing=unshearing_of(stack) if self.unshear and stack.shear else None,
            )
        except Pacs2BidsError as error:
            return _failed(stack, error)

    def _write(
        self, work: _Work, blocks: Iterable[tuple[_Start, Future[Piece] | None]], pool: Executor, jobs: int
    ) -> VolumeFile | FailedStack:
        stack, stem = work.stack, self.stems[work.stack.stack_id]
        pieces = (block.result() for _, block in blocks if block is not None)
        try:
            files = self._write_volume(stem, stack, pieces)
        except (Pacs2BidsError, MemoryError) as error:
            return _failed(stack, error)
        warnings = work.warnings
        if work.odd:
            log.warning("stack %s: %s", stack.stack_id, warnings[-1])
        if work.unshearing is not None:
            try:
                files |= self._write_unsheared(work, work.unshearing, pool, jobs)
            except (Pacs2BidsError, MemoryError) as error:
                warnings = (*warnings, f"has no unsheared file: {error or 'not enough memory'}")
                log.warning("stack %s %s", stack.stack_id, warnings[-1])
        result = VolumeFile(
            stack_id=stack.stack_id, input_digest=work.input_digest, files=files, warnings=warnings
        )
        write_record(self._record(stack), result, flushed=False)
        log.info("stack %s: %s voxels written", stack.stack_id, " x ".join(map(str, stack.shape)))
        return result

    def _write_unsheared(
        self, work: _Work, unshearing: Unshearing, pool: Executor, jobs: int
    ) -> dict[str, str]:
        """The further file of a sheared stack. Reads its pictures again: now its smallest value is known."""
        stack, layout, level = work.stack, work.layout, LEVELS[self.gzip]
        loader, fill = _Loader(self.dicom), smallest(np.array(work.smallest), layout.slope)

        def block_of(planes: tuple[int, ...]) -> Piece:
            slices = [stack.placement.slice[plane] for plane in planes]
            voxels = assemble(stack, layout, planes, loader.load)
            return compressed(octets(resampled(voxels, slices, unshearing, fill)), level)

        header = memoryview(nifti_header(unshearing.stack, layout))
        blocks: list[_Block] = [partial(compressed, header, level)]
        blocks += [partial(block_of, planes) for planes in layout.blocks]
        running = _in_turn(((work, block) for block in blocks), pool, ahead=AHEAD * jobs)
        pieces = (block.result() for _, block in running if block is not None)
        stem = self.stems[stack.stack_id]
        sidecar = unshearing.stack.sidecar | {"Sources": [self._volume_name(stem)]}
        return self._write_volume(f"{stem}{UNSHEARED}", replace(unshearing.stack, sidecar=sidecar), pieces)

    def _volume_name(self, stem: str) -> str:
        return f"{stem}.nii" if LEVELS[self.gzip] is None else f"{stem}.nii.gz"

    def _write_volume(self, stem: str, stack: Stack, pieces: Iterable[Piece]) -> dict[str, str]:
        """The volume and what belongs beside it: names and digests, the volume first."""
        name = self._volume_name(stem)
        files = {name: write_chunks(self.volumes / name, joined(pieces, LEVELS[self.gzip]), flushed=False)}
        write_json(self.volumes / f"{stem}.json", stack.sidecar, flushed=False)
        names = [f"{stem}.json"]
        if stack.gradients is not None:
            names += [f"{stem}.bval", f"{stem}.bvec"]
            write_gradients(self.volumes / stem, stack)
        return files | {name: sha256(self.volumes / name) for name in names}

    def _record(self, stack: Stack) -> Path:
        return self.volumes / f".{self.stems[stack.stack_id]}.json"

    def _kept(self, record: Path, digest: str) -> VolumeFile | None:
        if not record.exists():
            return None
        try:
            kept = read_record(record, VolumeFile)
        except HeaderError:
            return None
        if kept.input_digest != digest:
            return None
        files = ((self.volumes / name, content) for name, content in kept.files.items())
        return kept if all(path.is_file() and sha256(path) == content for path, content in files) else None

    def _input_digest(self, stack: Stack) -> str:
        """Changes with the engine, with what the index says, and with any of the files."""
        digest = hashlib.sha256(msgspec.json.encode(stack))
        request = f"{self.gzip} unshear" if self.unshear and stack.shear else self.gzip
        digest.update(f"{engine_version()} {request}".encode())
        for path in sorted({image.path for image in stack.images}):
            try:
                status = os.stat(f"{self.dicom}/{path}")  # noqa: PTH116 - microseconds count here
            except OSError as error:
                raise ConversionError(f"cannot be read: {error.strerror}", where=path) from error
            digest.update(f"{path} {status.st_size} {status.st_mtime_ns}".encode())
        return digest.hexdigest()


def _failed(stack: Stack, error: BaseException) -> FailedStack:
    what = str(error) or "not enough memory"
    log.info("stack %s failed: %s", stack.stack_id, what)
    return FailedStack(stack_id=stack.stack_id, error=what)


def _in_turn(
    blocks: Iterable[tuple[_Start, _Block | None]], pool: Executor, ahead: int
) -> Iterator[tuple[_Start, Future[Piece] | None]]:
    """Start the blocks on the pool and give them back in order; at most ``ahead`` are under way."""
    waiting: deque[tuple[_Start, Future[Piece] | None]] = deque()
    for start, block in blocks:
        waiting.append((start, None if block is None else pool.submit(block)))
        if len(waiting) > ahead:
            yield waiting.popleft()
    yield from waiting


def nifti_header(stack: Stack, layout: Layout) -> bytes:
    """Header of a single-file NIfTI-1: sform and qform from the affine, both code 1 (scanner).

    A sheared grid has no quaternion: then qform_code is 0. Without a place in the patient both codes are 0.
    """
    return nifti.header(
        shape=stack.shape if stack.shape[3] > 1 else stack.shape[:3],
        dtype=layout.dtype,
        is_rgb=len(layout.plane_shape) == 3,
        affine_ras=np.array(stack.affine_ras),
        has_sform=stack.placed,
        has_qform=stack.placed and not stack.shear,
        repetition_time_s=stack.repetition_time_s,
        slope=layout.slope,
        intercept=layout.intercept,
    )


def octets(voxels: Pixels) -> memoryview:
    """The bytes of a block as they lie in memory."""
    return voxels.reshape(-1).view(np.uint8).data


def write_gradients(stem: Path, stack: Stack) -> None:
    """Write ``.bval`` and ``.bvec`` in FSL's form: one row of b-values, three rows of directions."""
    if stack.gradients is None:
        return
    b_vectors = fsl_b_vectors(np.array(stack.gradients.b_vectors_lps), np.array(stack.affine_ras))
    b_values = " ".join(f"{value:.6g}" for value in stack.gradients.b_values_s_per_mm2)
    rows = "\n".join(" ".join(f"{value:.7g}" for value in axis) for axis in b_vectors.T)
    write_text(stem.with_name(f"{stem.name}.bval"), b_values + "\n", flushed=False)
    write_text(stem.with_name(f"{stem.name}.bvec"), rows + "\n", flushed=False)


# ---------------------------------------------------------------------------------------------- physiology


def write_physiology(index: StudyIndex, dicom: Path, volumes: Path) -> tuple[PhysiologyFiles, ...]:
    """Write the recordings of every log that can be used below ``volumes``. They are small: none is kept.

    Raises HeaderError if a log is not any more what it was when it was indexed.
    """
    found = []
    for known in (log for log in index.physiology if not log.error):
        files: dict[str, str] = {}
        for table in tables_of(physiolog.of_header(parse_file(Reader(), dicom, known.path).header)):
            stem = f"{known.log_id}{table.ending}"
            write_bytes(volumes / f"{stem}.tsv.gz", table.content, flushed=False)
            write_json(volumes / f"{stem}.json", table.sidecar, flushed=False)
            files |= {name: sha256(volumes / name) for name in (f"{stem}.tsv.gz", f"{stem}.json")}
        found.append(PhysiologyFiles(log_id=known.log_id, files=files))
    return tuple(found)
