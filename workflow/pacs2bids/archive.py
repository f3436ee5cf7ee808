"""Archives of the DICOM files of series, for ``sourcedata/``: of those that the heuristic wants there.

They hold identities, as the files do: only their owner may read them. An archive is made in the study's own
folder, the same bytes for the same files, and linked from there: another name costs nothing.
"""

from __future__ import annotations

import hashlib
import tarfile
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from io import BytesIO
from pathlib import Path

from isal import igzip

from pacs2bids.files import atomic, private_folder, read_record, sha256, write_record
from pacs2bids.model import DatasetError, Receipt, ReceivedInstance
from pacs2bids.released import bring_again

EXTENSION = ".dicom.tgz"  # as heudiconv calls them
_LEVEL = 1  # of 0 to 3: DICOM files shrink by little more with the others


@dataclass(frozen=True, slots=True, kw_only=True)
class Archive:
    """``archives/<SeriesInstanceUID>.json``: what an archive was made of, and its SHA-256."""

    inputs: str
    digest: str


def series_archive(study: Path, series_instance_uid: str) -> tuple[Path, str]:
    """The archive of a series in ``study`` (its folder), and its SHA-256; made unless it is there.

    Raises DatasetError if the series has no files, or not all that its receipt tells; HeaderError if there is
    no receipt.
    """
    received = read_record(study / "receipt.json", Receipt).received
    files = sorted(
        (one for one in received if one.series_instance_uid == series_instance_uid), key=lambda one: one.path
    )
    if not files:
        what = f"series {series_instance_uid} is wanted in sourcedata and has no files"
        raise DatasetError(what, where=str(study / "receipt.json"), hint="Run the plan stage again")
    folder = study / "archives"
    path, record = folder / f"{series_instance_uid}{EXTENSION}", folder / f"{series_instance_uid}.json"
    inputs = hashlib.sha256("".join(f"{one.path} {one.sha256}\n" for one in files).encode()).hexdigest()
    if path.exists() and record.exists():
        made = read_record(record, Archive)
        if made.inputs == inputs:
            return path, made.digest
    private_folder(folder)
    _write(path, study / "dicom", files)
    made = Archive(inputs=inputs, digest=sha256(path))
    write_record(record, made)
    return path, made.digest


def _write(path: Path, dicom: Path, files: Sequence[ReceivedInstance]) -> None:
    with (
        atomic(path, mode=0o400) as stream,
        igzip.IGzipFile("", "wb", _LEVEL, stream, mtime=0) as packed,  # type: ignore[no-untyped-call]
        tarfile.open(fileobj=packed, mode="w", format=tarfile.PAX_FORMAT) as tar,
    ):
        for name, content in _contents(dicom, files):
            member = tarfile.TarInfo(name)  # of nobody, at the beginning of time: the same bytes every time
            member.size, member.mode = len(content), 0o600
            tar.addfile(member, BytesIO(content))


def _contents(dicom: Path, files: Iterable[ReceivedInstance]) -> Iterable[tuple[str, bytes]]:
    for one in files:
        try:
            yield one.path, (dicom / one.path).read_bytes()
        except OSError as error:
            hint = f"{bring_again(dicom.parent)}, or take 'dicom' out of the heuristic's outtypes"
            what = f"cannot be put into sourcedata: {error.strerror}"
            raise DatasetError(what, where=str(dicom / one.path), hint=hint) from None
