"""Where the images of a study are: in its ``volumes/``, or, let go by ``keep: none``, in the dataset alone.

An image that was let go is known by its SHA-256, and found by what the sessions that held it own
(``owned.json``): whatever the plan calls it by now, and wherever a killed run left it. A file that somebody
changed is not it. From its own part of the dataset a session links it. Another session's part may change at
any moment: from there, and from a name that something else is to have, it is copied back into ``volumes/``
first, from where all goes as with an image that never left. So is what leaves the dataset, before it leaves.
"""

from __future__ import annotations

import hashlib
import logging
import os
from collections import defaultdict
from collections.abc import Collection, Iterable, Iterator
from dataclasses import dataclass
from itertools import chain
from pathlib import Path
from typing import IO

from pacs2bids.files import atomic, flush_to_disk, private_folder, sha256
from pacs2bids.model import DatasetError, HeaderError
from pacs2bids.owned import owned_files
from pacs2bids.released import VOLUMES, LetGo, bring_again, let_go_images, released_of

log = logging.getLogger("pacs2bids.place")

AWAY = "its image was removed (keep: none)"  # where a picture would be

_CHUNK_BYTES = 1 << 20


class _OtherError(Exception):
    """What was copied is another content."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Finder:
    """Finds images for one session. ``targets``: the files of the dataset that they are from now on."""

    session_dir: Path
    bids: Path
    targets: Collection[Path]

    def source(self, study: Path, name: str, digest: str, target: Path) -> Path:
        """The file to link an image from that is to be ``target``; that itself, if it is there.

        Raises DatasetError, as ``original``.
        """
        file = study / VOLUMES / name
        gone = _let_go(study, name, digest)
        if gone is None:
            return file
        owned = owned_files(self.session_dir).get(target.relative_to(self.bids).as_posix())
        if owned == (digest,) and _is_untouched(target, gone):  # as usual: a dataset is not read for it
            return target
        # the target: it may be all there, and unknown to a workdir that came out of an older backup
        held = dict.fromkeys([*_held(self.session_dir, self.bids, digest), target])
        here = [path for path in held if _is_plain(path) and sha256(path) == digest]
        if target in here:
            return target
        free = (path for path in here if path not in self.targets)
        return next(free, None) or self.original(study, name, digest, target)

    def original(self, study: Path, name: str, digest: str, target: Path) -> Path:
        """The file of an image in ``volumes/``, brought back if it was let go.

        Raises DatasetError if it is nowhere, or there is no room for it. ``target``: what it is planned as.
        """
        file = study / VOLUMES / name
        gone = _let_go(study, name, digest)
        if gone is None:
            return file
        others = [self.session_dir.with_name(key) for key in gone.sessions if key != self.session_dir.name]
        sessions = [self.session_dir, *others]
        held = (path for session in sessions for path in _held(session, self.bids, digest))
        there = (path for path in chain(held, (target,)) if path.is_file())
        if any(_is_brought_back(file, path, digest) for path in there) or file.is_file():
            return file  # at last: the job of another session may have brought it back meanwhile
        what = f"was removed (`keep: none`), and is needed for {target.relative_to(self.bids)}: "
        what += "the dataset holds it no more as it was" if gone.sessions else "the series had no name then"
        raise DatasetError(what, where=str(file), hint=bring_again(study))


def where_is(study: Path, name: str, bids: Path) -> Path | None:
    """An image of a study in a workdir, to look at, unchanged or not; None: it is nowhere."""
    file, gone = study / VOLUMES / name, away(study, name)
    if gone is None:
        return file if file.is_file() else None
    sessions = (study.parent.parent / "sessions" / key for key in gone.sessions)
    try:
        return next((path for session in sessions for path in _held(session, bids, gone.digest)), None)
    except HeaderError:  # whoever needs that record tells of it
        return None


def away(study: Path, name: str) -> LetGo | None:
    """What is told of an image that was let go and did not come back; None of any other. To look at."""
    try:
        return let_go_images(study).get(name)
    except HeaderError:
        return None


def is_let_go(study: Path, name: str, digest: str) -> bool:
    """Whether an image with this content was let go, and did not come back."""
    return _let_go(study, name, digest) is not None


def put_back(
    session_dir: Path,
    bids: Path,
    leaving: Iterable[str],
    studies: Iterable[Path],
    *,
    staying: Collection[str] = (),
) -> None:
    """Before files of a session leave the dataset, copy the images back that were let go for their sake.

    ``leaving``: paths in the dataset of files that are to be removed, or to become others. ``studies``:
    whose images they may be. ``staying``: contents (SHA-256) that the session will have under other names.
    Raises DatasetError if there is no room for one.
    """
    owned = owned_files(session_dir)
    left: dict[str, list[Path]] = defaultdict(list)
    for path in leaving:
        if path.endswith(".nii.gz") and (bids / path).is_file():
            for digest in {*owned.get(path, ())}.difference(staying):
                left[digest].append(bids / path)
    for study in studies if left else ():
        for name, gone in let_go_images(study).items():
            held = left.get(gone.digest, []) if session_dir.name in gone.sessions else []
            file = study / VOLUMES / name
            if any(_is_brought_back(file, path, gone.digest) for path in held):
                log.info("%s: here again, as it leaves the dataset", file)


def _let_go(study: Path, name: str, digest: str) -> LetGo | None:
    """What is told of an image with this content that was let go; None of any other."""
    if (study / VOLUMES / name).is_file():
        return None
    mark = released_of(study)
    gone = mark.images.get(name) if mark else None
    return gone if gone and gone.digest == digest else None


def _held(session_dir: Path, bids: Path, digest: str) -> Iterator[Path]:
    """Files in the dataset that the session may have placed with this content.

    Links, too, as git-annex (DataLad) makes of files: what they lead to can be copied.
    """
    for path, digests in owned_files(session_dir).items():
        if digest in digests and (bids / path).is_file():
            yield bids / path


def _is_plain(path: Path) -> bool:
    return path.is_file() and not path.is_symlink()


def _is_untouched(copy: Path, gone: LetGo) -> bool:
    """Whether a copy has the size and the time that it was made with, as copies of ``place`` are known."""
    if not _is_plain(copy):
        return False
    status = copy.stat()
    return (status.st_size, status.st_mtime_ns) == (gone.size_bytes, gone.mtime_ns)


def _is_brought_back(file: Path, source: Path, digest: str) -> bool:
    """Copy it if it has this content; whether it had. Raises DatasetError if it cannot be written."""
    try:
        stream = source.open("rb")
    except OSError:  # gone meanwhile
        return False
    private_folder(file.parent)
    try:
        with stream, atomic(file) as copy:
            _copy_of(stream, copy, digest)
        flush_to_disk([file])
    except _OtherError:
        return False
    except OSError as error:
        what = f"cannot be brought back from the dataset: {error.strerror or error}"
        hint = "Make room, or look after the disk; then run again"
        raise DatasetError(what, where=str(file), hint=hint) from error
    return True


def _copy_of(source: IO[bytes], copy: IO[bytes], digest: str) -> None:
    """The content, and its time, by which a file of the dataset is known as its copy. Raises _OtherError."""
    summed = hashlib.sha256()
    while chunk := source.read(_CHUNK_BYTES):
        summed.update(chunk)
        copy.write(chunk)
    if summed.hexdigest() != digest:
        raise _OtherError
    copy.flush()  # it would make the file younger
    times = os.fstat(source.fileno())
    os.utime(copy.fileno(), ns=(times.st_atime_ns, times.st_mtime_ns))
