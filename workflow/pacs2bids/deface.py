"""Volumes without faces: made by a command of the user's before they are placed, and kept with the study.

The command gets a volume and writes another, of the same grid: ``pydeface {input} --outfile {output}``. What
was reconstructed stays as it is; what is placed is the defaced one.
"""

from __future__ import annotations

import logging
import shlex
import subprocess
import tempfile
from dataclasses import dataclass
from pathlib import Path, PurePosixPath

from isal import igzip

from pacs2bids.files import private_folder, read_record, sha256, write_record
from pacs2bids.model import DatasetError, Defacing

log = logging.getLogger("pacs2bids.place")

FOLDER = "defaced"
# bytes of a NIfTI-1 header (nifti1.h) that say where voxels lie: dim, and qform and sform with their codes
_GRID = (slice(40, 56), slice(252, 328))


@dataclass(frozen=True, slots=True, kw_only=True)
class Defaced:
    """``defaced/<stack>.json``: what a volume was made of, and its SHA-256."""

    input_digest: str
    command: str
    digest: str


def is_meant(defacing: Defacing, bids_name: str) -> bool:
    """Whether a volume with this name (without extension) is to be defaced."""
    return bool(defacing.command) and any(PurePosixPath(bids_name).match(one) for one in defacing.names)


def defaced(study: Path, volume: Path, input_digest: str, defacing: Defacing) -> tuple[Path, str]:
    """The volume without a face, and its SHA-256; made unless it is there.

    ``study``: its folder. Raises DatasetError if the command fails, or does not write the same grid.
    """
    folder = private_folder(study / FOLDER)
    path, record = folder / volume.name, folder / f"{volume.name.partition('.')[0]}.json"
    if path.exists() and record.exists():
        made = read_record(record, Defaced)
        if (made.input_digest, made.command) == (input_digest, defacing.command):
            return path, made.digest
    with tempfile.TemporaryDirectory(dir=folder) as temporary:
        written = Path(temporary) / volume.name
        _run(defacing.command, volume, written)
        _require_same_grid(volume, written)
        written.replace(path)
    made = Defaced(input_digest=input_digest, command=defacing.command, digest=sha256(path))
    write_record(record, made)
    log.info("%s: defaced", volume)
    return path, made.digest


def _run(command: str, volume: Path, written: Path) -> None:
    paths = {"{input}": str(volume.resolve()), "{output}": str(written.resolve())}
    words = shlex.split(command)
    for name, path in paths.items():
        words = [word.replace(name, path) for word in words]
    hint = "Try it by hand on this volume, and correct `deface` in config.yaml"
    try:
        done = subprocess.run(words, capture_output=True, text=True, errors="replace", check=False)
    except OSError as error:
        what = f"cannot be defaced: {words[0]} cannot be run ({error.strerror})"
        raise DatasetError(what, where=str(volume), hint=hint) from None
    log.info("%s", "\n".join([shlex.join(words), done.stdout.strip(), done.stderr.strip()]).strip())
    if done.returncode or not written.is_file():
        how = f"ended with exit code {done.returncode}" if done.returncode else "wrote no file"
        raise DatasetError(f"cannot be defaced: {words[0]} {how}", where=str(volume), hint=hint)


def _require_same_grid(volume: Path, written: Path) -> None:
    heads = []
    for path in (volume, written):
        try:
            with igzip.IGzipFile(path, "rb") as stream:  # type: ignore[no-untyped-call]
                heads.append(stream.read(348))
        except (OSError, EOFError):
            heads.append(b"")
    if len(heads[1]) < 348 or any(heads[0][part] != heads[1][part] for part in _GRID):
        what = "cannot be defaced: what the command wrote is no gzipped NIfTI-1 of the same grid"
        hint = "Have it change nothing but voxel values; both paths it gets end in .nii.gz"
        raise DatasetError(what, where=str(volume), hint=hint)
