"""Disk to engine and back: scans folders, loads pixels, writes volumes.

Pixels stay on disk until a stack is assembled; a volume that the same engine made of the same files is kept.
"""

from __future__ import annotations

import filecmp
import hashlib
import logging
import os
import warnings
import zlib
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any

import msgspec
import numpy as np
from isal import isal_zlib
from nibabel.nifti1 import Nifti1Header

from pacs2bids.engine import engine_version
from pacs2bids.files import atomic, read_record, sha256, write_json, write_record, write_text
from pacs2bids.geometry import fsl_b_vectors
from pacs2bids.header import ParsedFile, Reader
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
    Reason,
    Stack,
    StudyIndex,
    VolumeFile,
)
from pacs2bids.volume import Pixels, Volume, assemble, decode

log = logging.getLogger("pacs2bids.store")

BLOCK = 1 << 20
GZIP_LEVELS = {"fast": 2, "small": 6}
NIFTI_LONGEST = 32767  # dim[] is a signed 16-bit number
RGB = np.dtype([("R", "u1"), ("G", "u1"), ("B", "u1")])


# ---------------------------------------------------------------------------------------------- scan


def files_below(folder: Path) -> Iterator[str]:
    """Paths of all regular files below ``folder``, relative to it, sorted; hidden ones left out."""
    for parent, folders, names in os.walk(folder):
        folders[:] = sorted(name for name in folders if not name.startswith("."))
        for name in sorted(names):
            if not name.startswith("."):
                yield str((Path(parent) / name).relative_to(folder))


def parse_file(reader: Reader, folder: Path, path: str) -> ParsedFile:
    """The header of one file. Raises HeaderError if it cannot be read."""
    try:
        # pydicom warns of each odd value of each file; what matters of it we find ourselves
        with open(f"{folder}/{path}", "rb", buffering=0) as stream:  # noqa: PTH123 - microseconds count here
            return reader.parse(stream, path)
    except OSError as error:
        raise HeaderError(f"cannot be read: {error.strerror}", where=path) from error


def index_study(dicom: Path, study_instance_uid: str) -> StudyIndex:
    """Read every header below ``dicom`` (folders named by SeriesInstanceUID) once, and index the study."""
    indexer, reader = _indexer(dicom, study_instance_uid), Reader()
    for path in files_below(dicom):
        try:
            indexer.add(path, parse_file(reader, dicom, path))
        except HeaderError as error:
            indexer.add_unreadable(path, error, Path(path).parent.name or None)
    return indexer.finish()


def _indexer(folder: Path, study_instance_uid: str) -> Indexer:
    def same_content(one: str, other: str) -> bool:
        return filecmp.cmp(folder / one, folder / other, shallow=False)

    return Indexer(
        study_instance_uid=study_instance_uid, engine_version=engine_version(), same_content=same_content
    )


@dataclass(frozen=True, slots=True, kw_only=True)
class IndexedFolder:
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


# ---------------------------------------------------------------------------------------------- pixels


def pixel_loader(folder: Path) -> Callable[[ImageRef], Pixels]:
    """A loader of pictures whose paths are relative to ``folder``."""

    def load(image: ImageRef) -> Pixels:
        path = folder / image.path
        if image.offset is None or image.length is None or image.photometric_interpretation[:3] == "YBR":
            return _decompressed(path, image)
        try:
            with path.open("rb", buffering=0) as stream:
                raw = os.pread(stream.fileno(), image.length, image.offset)
        except OSError as error:
            raise ConversionError(f"cannot be read: {error.strerror}", where=image.path) from error
        return decode(raw, image)

    return load


def _decompressed(path: Path, image: ImageRef) -> Pixels:
    """Stored values through pydicom's decoders; colour comes as RGB."""
    from pydicom.pixels.utils import pixel_array  # noqa: PLC0415 - costs start-up time, seldom needed

    try:
        with warnings.catch_warnings(action="ignore"):
            return pixel_array(path, index=image.frame)
    except (RuntimeError, ValueError, AttributeError, NotImplementedError, OSError, IndexError) as error:
        what = f"pixels of transfer syntax {image.transfer_syntax_uid} cannot be decoded: {error}"
        raise ConversionError(what, where=image.path) from error


# ---------------------------------------------------------------------------------------------- volumes


def reconstruct(
    index: StudyIndex,
    dicom: Path,
    volumes: Path,
    *,
    jobs: int,
    gzip: str,
    names: dict[str, str] | None = None,
) -> Manifest:
    """Write every stack of a study below ``volumes``; stacks that are up to date are kept.

    ``names`` maps stack ids to file stems (default: the id). A stack that fails is listed in the manifest,
    with the error; the others go on.
    """
    volumes.mkdir(parents=True, exist_ok=True)
    stems = {stack.stack_id: (names or {}).get(stack.stack_id, stack.stack_id) for stack in index.stacks}
    writer = _Writer(dicom=dicom, volumes=volumes, gzip=gzip, stems=stems)
    with ThreadPoolExecutor(max_workers=max(jobs, 1)) as pool:
        results = list(pool.map(writer.attempt, index.stacks))
    return Manifest(
        engine_version=index.engine_version,
        study_instance_uid=index.study_instance_uid,
        volumes=tuple(result for result in results if isinstance(result, VolumeFile)),
        failed=(*index.refused, *(result for result in results if isinstance(result, FailedStack))),
    )


def remove_stale(volumes: Path, index: StudyIndex) -> None:
    """Remove what earlier runs left: of stacks that the index does not know any more, and half-written."""
    known = {stack.stack_id for stack in index.stacks}
    for path in volumes.iterdir():
        stem = path.name.lstrip(".").split(".")[0]
        is_known = stem in known or path.name == "manifest.json"
        if path.is_file() and (not is_known or path.suffix == ".part"):
            path.unlink()


@dataclass(frozen=True, slots=True, kw_only=True)
class _Writer:
    dicom: Path
    volumes: Path
    gzip: str
    stems: dict[str, str]

    def attempt(self, stack: Stack) -> VolumeFile | FailedStack:
        try:
            return self._write(stack)
        except (Pacs2BidsError, MemoryError) as error:
            what = str(error) or "not enough memory"
            log.info("stack %s failed: %s", stack.stack_id, what)
            return FailedStack(stack_id=stack.stack_id, error=what)

    def _write(self, stack: Stack) -> VolumeFile:
        digest = self._input_digest(stack)
        stem = self.stems[stack.stack_id]
        record = self.volumes / f".{stem}.json"
        kept = self._kept(record, digest)
        if kept is not None:
            return kept
        volume = assemble(stack, pixel_loader(self.dicom))
        names = [f"{stem}.nii.gz", f"{stem}.json"]
        write_nifti(self.volumes / names[0], stack, volume, level=GZIP_LEVELS[self.gzip])
        write_json(self.volumes / names[1], stack.sidecar)
        if stack.gradients is not None:
            names += [f"{stem}.bval", f"{stem}.bvec"]
            write_gradients(self.volumes / stem, stack)
        result = VolumeFile(
            stack_id=stack.stack_id,
            input_digest=digest,
            files={name: sha256(self.volumes / name) for name in names},
            warnings=stack.warnings,
        )
        write_record(record, result)
        log.info("stack %s: %s voxels written", stack.stack_id, " x ".join(map(str, stack.shape)))
        return result

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
        digest.update(f"{engine_version()} {self.gzip}".encode())
        for path in sorted({image.path for image in stack.images}):
            try:
                status = (self.dicom / path).stat()
            except OSError as error:
                raise ConversionError(f"cannot be read: {error.strerror}", where=path) from error
            digest.update(f"{path} {status.st_size} {status.st_mtime_ns}".encode())
        return digest.hexdigest()


def write_nifti(path: Path, stack: Stack, volume: Volume, *, level: int) -> None:
    """Write a ``.nii.gz``, always the same bytes for the same voxels (no time in the gzip header)."""
    header = nifti_header(stack, volume)
    with atomic(path) as stream:
        compress: Any = (
            isal_zlib.compressobj(level, isal_zlib.DEFLATED, 31)
            if level <= isal_zlib.ISAL_BEST_COMPRESSION
            else zlib.compressobj(level, zlib.DEFLATED, 31)
        )
        # 4 zero bytes: no extensions (NIfTI-1.1)
        stream.write(compress.compress(header.binaryblock + bytes(4)))
        _write_blocks(stream, compress, np.ascontiguousarray(volume.voxels))
        stream.write(compress.flush())


def _write_blocks(stream: IO[bytes], compress: Any, voxels: Pixels) -> None:
    octets = voxels.reshape(-1).view(np.uint8).data
    for start in range(0, len(octets), BLOCK):
        stream.write(compress.compress(octets[start : start + BLOCK]))


def nifti_header(stack: Stack, volume: Volume) -> Nifti1Header:
    """Header of a single-file NIfTI-1: sform and qform from the affine, both code 1 (scanner).

    A sheared grid has no quaternion: then qform_code is 0. Without a place in the patient both codes are 0.
    """
    colour = volume.voxels.ndim == 5
    affine = np.array(stack.affine_ras)
    shape = stack.shape if stack.shape[3] > 1 else stack.shape[:3]
    if max(shape) > NIFTI_LONGEST:
        raise ConversionError(f"has {max(shape)} voxels along one axis; NIfTI-1 holds up to {NIFTI_LONGEST}")
    header = Nifti1Header()
    header.set_data_dtype(RGB if colour else volume.voxels.dtype)
    header.set_data_shape(shape)
    zooms = [float(np.linalg.norm(affine[:3, axis])) for axis in range(3)]
    header.set_zooms([*zooms, stack.repetition_time_s or 0.0][: len(shape)])
    header.set_xyzt_units("mm", "sec" if len(shape) > 3 else None)
    header.set_dim_info(slice=2)
    header.set_sform(affine if stack.placed else None, code=int(stack.placed))
    has_qform = stack.placed and not stack.shear
    header.set_qform(affine if has_qform else None, code=int(has_qform))
    header.set_slope_inter(volume.slope, volume.intercept)
    header["magic"] = b"n+1"
    header["vox_offset"] = 352
    return header


def write_gradients(stem: Path, stack: Stack) -> None:
    """Write ``.bval`` and ``.bvec`` in FSL's form: one row of b-values, three rows of directions."""
    if stack.gradients is None:
        return
    b_vectors = fsl_b_vectors(np.array(stack.gradients.b_vectors_lps), np.array(stack.affine_ras))
    b_values = " ".join(f"{value:.6g}" for value in stack.gradients.b_values_s_per_mm2)
    rows = "\n".join(" ".join(f"{value:.7g}" for value in axis) for axis in b_vectors.T)
    write_text(stem.with_name(f"{stem.name}.bval"), b_values + "\n")
    write_text(stem.with_name(f"{stem.name}.bvec"), rows + "\n")
