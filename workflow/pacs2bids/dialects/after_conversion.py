"""heudiconv's hook ``custom_callable``: a function of the heuristic that sees what was converted.

heudiconv calls it for each item after its conversion, with the path of its files without extension, the
outtypes and the DICOM files. Here it works on copies, in a folder that is laid out as the session's part of
the dataset, before anything of it is placed: what it adds there, and what it writes into sidecars and tables,
is placed with the rest, recorded with the rest, and goes when the heuristic does not make it any more. An
image that it changes, and a file that it removes, are errors: an image of the dataset is what was
reconstructed.
"""

from __future__ import annotations

import contextlib
import hashlib
import os
import shutil
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from pacs2bids.dialects.blanking import Blank
from pacs2bids.dialects.imports import files_of
from pacs2bids.dialects.isolated import End, isolated
from pacs2bids.dialects.seqinfos import series_to_show
from pacs2bids.dialects.user_code import FailedError, UserCode
from pacs2bids.files import private_folder, sha256
from pacs2bids.model import HeuristicError, StudyIndex
from pacs2bids.owned import Item, Kind, content_item

HOOK = "custom_callable"
LIMIT_S = 600.0  # of one call: it may read every DICOM file of a long series
IMAGES = (".nii.gz", ".nii")


@dataclass(frozen=True, slots=True, kw_only=True)
class Call:
    """One call. ``prefix``: path in the dataset without extension. ``dicoms``: the item's DICOM files."""

    prefix: str
    outtypes: tuple[str, ...] | str
    dicoms: tuple[Path, ...]


def version_of(heuristic: Path) -> str:
    """SHA-256, hexadecimal, of the files that a heuristic is made of."""
    digest = hashlib.sha256()
    for path in files_of(heuristic) or [heuristic]:
        digest.update(f"{path.name}\0".encode() + path.read_bytes())
    return digest.hexdigest()


def after_conversion(
    heuristic: Path,
    calls: Sequence[Call],
    items: Sequence[Item],
    *,
    indexes: Sequence[StudyIndex],
    session: str,
    folder: Path,
    limit_s: float = LIMIT_S,
) -> list[Item]:
    """The files of a session as the heuristic's function leaves them.

    ``session``: the session's folder in the dataset, "sub-01/ses-a". ``folder``: for the copies; it needs
    room for them, and is removed. Raises HeuristicError if the function fails, comes to no end, or does what
    it may not.
    """
    where = str(heuristic)
    for call in calls:
        if not call.prefix.startswith(f"{session}/") or ".." in Path(call.prefix).parts:
            raise HeuristicError(f"names {call.prefix!r}, which is not below {session}/", where=where)

    def work(end: End) -> bool:
        blank = Blank(one.info for one in series_to_show(indexes))
        code = UserCode(heuristic, blank, end=end, limit_s=limit_s)
        for call in calls:
            paths = [str(path) for path in call.dicoms]
            try:
                code.call(HOOK, str(folder.resolve() / call.prefix), call.outtypes, paths)
            except FailedError as error:
                what = f"{HOOK} fails on {call.prefix}: {error.failure.text}"
                raise HeuristicError(what, where=where) from error
        return True

    with _copies(items, calls, folder) as before:
        isolated(work, bool, where=where)
        return [*_kept(items, before, folder, where), *_new(before, session, folder, where)]


@contextlib.contextmanager
def _copies(
    items: Sequence[Item], calls: Sequence[Call], folder: Path
) -> Iterator[Mapping[str, os.stat_result]]:
    """Lay out copies of the files, images read-only; yields what they are like."""
    shutil.rmtree(folder, ignore_errors=True)  # of a run that was killed
    private_folder(folder)
    try:
        for parent in {folder / call.prefix for call in calls} | {folder / item.path for item in items}:
            parent.parent.mkdir(parents=True, exist_ok=True)
        for item in (item for item in items if item.kind is not Kind.PRIVATE):
            copy = folder / item.path
            if item.source is not None:
                shutil.copyfile(item.source, copy)
            else:
                copy.write_bytes(item.content)
            copy.chmod(0o444 if copy.name.endswith(IMAGES) else 0o644)
        yield {item.path: (folder / item.path).stat() for item in items if item.kind is not Kind.PRIVATE}
    finally:
        shutil.rmtree(folder)


def _kept(
    items: Sequence[Item], before: Mapping[str, os.stat_result], folder: Path, where: str
) -> Iterator[Item]:
    """What we made, with the function's changes of texts."""
    for item in items:
        if item.path not in before:
            yield item
            continue
        copy = folder / item.path
        if copy.is_symlink() or not copy.is_file():
            what = f"{HOOK} removes {item.path}, which the plan names"
            raise HeuristicError(what, where=where, hint="Leave it out in infotodict instead")
        if _same(copy.stat(), before[item.path]) or sha256(copy) == item.digest:
            yield item
        elif copy.name.endswith(IMAGES):
            what = f"{HOOK} changes the image {item.path}: images are placed as they were reconstructed"
            raise HeuristicError(what, where=where, hint="Write the result into a file of its own")
        else:
            yield content_item(item.path, copy.read_bytes(), kind=item.kind)


def _new(before: Mapping[str, object], session: str, folder: Path, where: str) -> Iterator[Item]:
    """What the function added."""
    for path in sorted(folder.rglob("*")):
        name = path.relative_to(folder).as_posix()
        if name in before or (path.is_dir() and not path.is_symlink()):
            continue
        if path.is_symlink() or not path.is_file() or not name.startswith(f"{session}/"):
            what = f"{HOOK} makes {name}, which is no file below {session}/"
            raise HeuristicError(what, where=where, hint=f"Files of a session belong below {session}/")
        yield content_item(name, path.read_bytes())


def _same(one: os.stat_result, other: os.stat_result) -> bool:
    return (one.st_ino, one.st_size, one.st_mtime_ns) == (other.st_ino, other.st_size, other.st_mtime_ns)
