"""Which files of the dataset are a session's: it replaces and removes these, and never another.

The session's ``owned.json`` lists every file that it may have put into the dataset. It is written *before*
the first file is placed (with the old and the new names together) and again after the last one, so a killed
run leaves no file that the next one does not know, whatever the plan says by then. It is kept apart from
``placed.json`` because a workflow engine deletes the outputs of a job that it starts again. A file that
nobody of ours placed, or that was changed since, is never overwritten and never removed.

``.placed.json`` is a second ``placed.json``, for the same reason: of a session that cannot be placed anew,
the files of before are in the dataset still, and so are its rows. It does not count as placed by it.
"""

from __future__ import annotations

import hashlib
import logging
import os
import re
import shutil
from collections import Counter
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from enum import Enum
from pathlib import Path

from pacs2bids.files import (
    flush_to_disk,
    link_or_copy,
    private_folder,
    read_record,
    remove_left,
    sha256,
    write_bytes,
    write_record,
)
from pacs2bids.model import DatasetError, HeaderError, PlacedSession, session_folder
from pacs2bids.text import counted, listed

log = logging.getLogger("pacs2bids.place")

SOURCEDATA = "sourcedata"  # BIDS, "Source vs. raw vs. derived data": where files before conversion lie

PLACED, PLACED_BEFORE = "placed.json", ".placed.json"

CHANGED_ON_PURPOSE = "docs/files.md, Files you changed on purpose"

# tables that we begin and people fill in: what happened in the scanner room no header tells
SKELETONS = "_events.tsv"

_SESSION_KEY = re.compile(r"sub-(?P<subject>[0-9A-Za-z+]+)(?:_ses-(?P<session>[0-9A-Za-z+]+))?")
_LEFT_BEHIND = re.compile(r"\.(?P<name>.+)\.[^.]+\.part")  # the temporary names of ``files``


class Kind(Enum):
    """What may become of a file that we placed. The value: its mode."""

    OURS = 0o444  # edits belong into the heuristic
    MERGED = 0o644  # a table: whoever makes its content has put the edits of people into it
    SKELETON = 0o664  # for people to fill in: from their first edit on it is theirs
    PRIVATE = 0o400  # DICOM files, which hold identities


EDITABLE = (Kind.MERGED, Kind.SKELETON)


@dataclass(frozen=True, slots=True, kw_only=True)
class Item:
    """One file to be: an existing file to link, or else the content to write.

    ``path``: in the dataset. ``digest``: SHA-256, hexadecimal.
    """

    path: str
    digest: str
    source: Path | None = None
    content: bytes = b""
    kind: Kind = Kind.OURS


def text_item(path: str, text: str, *, kind: Kind = Kind.OURS) -> Item:
    """A file of UTF-8 text."""
    return content_item(path, text.encode(), kind=kind)


def content_item(path: str, content: bytes, *, kind: Kind = Kind.OURS) -> Item:
    """A file of this content."""
    return Item(path=path, digest=hashlib.sha256(content).hexdigest(), content=content, kind=kind)


@dataclass(frozen=True, slots=True, kw_only=True)
class Owned:
    """``owned.json``: path in the dataset -> SHA-256 of the contents that this session may have put there."""

    files: dict[str, tuple[str, ...]] = field(default_factory=dict)


@dataclass(frozen=True, slots=True, kw_only=True)
class Remains:
    """What a session that is no longer wanted left in the dataset: paths there.

    ``ours``: as we placed them. ``others``: changed since, or put there by others; never to be removed.
    """

    session_dir: Path
    ours: tuple[str, ...]
    others: tuple[str, ...]


def session_labels(session_key: str) -> tuple[str, str]:
    """The subject's and the session's label (or "") of "sub-01_ses-a".

    Raises DatasetError if it is no such key.
    """
    match = _SESSION_KEY.fullmatch(session_key)
    if match is None:
        hint = 'The folder of a session is called "sub-<label>" or "sub-<label>_ses-<label>"'
        raise DatasetError("is no session's name", where=session_key, hint=hint)
    return match["subject"], match["session"] or ""


def owned_files(session_dir: Path) -> dict[str, tuple[str, ...]]:
    """What the session may have put into the dataset, as ``Owned.files``; empty if it never did."""
    record = session_dir / "owned.json"
    return read_record(record, Owned).files if record.exists() else {}


def placed_before(session_dir: Path, bids: Path) -> PlacedSession | None:
    """What an earlier run placed of a session, if files of it still lie in the dataset."""
    folder = f"{session_folder(session_dir.name)}/"
    own = (path for path in owned_files(session_dir) if path.startswith(folder))
    if not any((bids / path).is_file() for path in own):
        return None
    try:
        return read_record(session_dir / PLACED_BEFORE, PlacedSession)
    except HeaderError:  # there is none, or one of another version
        return None


def changes(before: Mapping[str, Collection[str]], after: Mapping[str, Collection[str]]) -> str:
    """What became of the volumes that a session had, as in "2 renamed, 1 added"; "" if it had none.

    Both map paths in the dataset to digests, as ``Owned.files``. A volume whose content stands under a new
    name was renamed.
    """
    if not before:
        return ""
    old, new = ({path for path in files if path.endswith(".nii.gz")} for files in (before, after))
    gone = Counter(digest for path in old - new for digest in before[path])
    came = Counter(digest for path in new - old for digest in after[path])
    renamed = (gone & came).total()
    counts = {
        "renamed": renamed,
        "added": len(new - old) - renamed,
        "removed": max(len(old - new) - renamed, 0),
    }
    told = [f"{count} {what}" for what, count in counts.items() if count]
    updated = sum(tuple(before[path]) != tuple(after[path]) for path in before.keys() & after.keys())
    if not told and updated:
        told = [f"{counted(updated, 'file')} updated"]
    return ", ".join(told) or "unchanged"


# ------------------------------------------------------------------------------------------------ placing


def without_theirs(session_dir: Path, bids: Path, items: Iterable[Item]) -> list[Item]:
    """Those items that are not begun by us and gone on with by people, nor there before us."""
    before = _still_ours(session_dir, bids)
    return [item for item in items if not _is_theirs(item, bids, before)]


@dataclass(frozen=True, slots=True, kw_only=True)
class Prepared:
    """The session's part of the dataset to be, nothing of which is refused.

    ``todo``: which of ``items`` are not there yet. ``stale``: paths to remove. ``either``: as
    ``Owned.files``, before and after together.
    """

    session_dir: Path
    bids: Path
    items: Sequence[Item]
    todo: Sequence[Item]
    stale: Sequence[str]
    either: dict[str, tuple[str, ...]]


def prepared(
    session_dir: Path, bids: Path, items: Sequence[Item], *, merged: Collection[str] = ()
) -> Prepared:
    """See what is to be done for the session's part of the dataset to hold these files and no others of ours.

    ``items``: what ``without_theirs`` left. Skeletons that people filled in are not ours any more.
    ``merged``: tables of ours that may go though people edited them, as whoever made the items has kept the
    edits. Nothing is written. Raises DatasetError if a file that is not ours is in the way.
    """
    before = _still_ours(session_dir, bids)
    after: dict[str, tuple[str, ...]] = {item.path: (item.digest,) for item in items}
    stale = sorted(before.keys() - after.keys())
    todo = [item for item in items if not _is_there(item, bids, before)]
    _refuse_foreign(todo, [path for path in stale if path not in merged], items, bids, before)
    either = {path: (*before.get(path, ()), *after.get(path, ())) for path in sorted({*before, *after})}
    return Prepared(session_dir=session_dir, bids=bids, items=items, todo=todo, stale=stale, either=either)


def make_it_so(what: Prepared) -> None:
    """Have the session's part of the dataset hold the files that were prepared, and no others of ours."""
    record, bids = what.session_dir / "owned.json", what.bids
    write_record(record, Owned(files=what.either))
    _put(what.todo, bids)
    for item in what.items:
        _protect(bids / item.path, item.kind)
    _clean(what.stale, what.either, bids, _grounds(what.session_dir, bids))
    write_record(record, Owned(files={item.path: (item.digest,) for item in what.items}))


def _still_ours(session_dir: Path, bids: Path) -> dict[str, tuple[str, ...]]:
    """What the session owns, without the tables begun by us that people went on with."""
    owned = owned_files(session_dir)
    return {path: digests for path, digests in owned.items() if not is_filled_in(bids / path, digests)}


def is_filled_in(target: Path, digests: Collection[str]) -> bool:
    """Whether people went on with a table that we began with one of these contents, or began it."""
    return target.name.endswith(SKELETONS) and target.is_file() and sha256(target) not in digests


def _is_theirs(item: Item, bids: Path, before: Collection[str]) -> bool:
    """Whether the table that we would begin is there already, and not ours."""
    return item.kind is Kind.SKELETON and item.path not in before and os.path.lexists(bids / item.path)


def _is_there(item: Item, bids: Path, before: Mapping[str, tuple[str, ...]]) -> bool:
    target = bids / item.path
    if not target.is_file() or target.is_symlink():
        return False
    if item.source is None:
        return target.read_bytes() == item.content
    there, source = target.stat(), item.source.stat()
    # a copy to another file system keeps size and time of its source; volumes may share both
    is_copy = before.get(item.path) == (item.digest,) and (there.st_size, there.st_mtime_ns) == (
        source.st_size,
        source.st_mtime_ns,
    )
    return is_copy or os.path.samestat(there, source)


def _refuse_foreign(
    todo: Iterable[Item],
    stale: Iterable[str],
    items: Sequence[Item],
    bids: Path,
    before: Mapping[str, tuple[str, ...]],
) -> None:
    """Raise DatasetError if a file that we would replace or remove has a content that we never put there."""
    merged = {item.path for item in todo if item.kind is Kind.MERGED and item.path in before}
    paths = [path for path in (*(item.path for item in todo), *stale) if path not in merged]
    known_files = {_identity(item.source) for item in items if item.source}
    wanted = {item.path: item.digest for item in items}
    foreign = []
    for path in paths:
        target = bids / path
        if not os.path.lexists(target) or (target.is_file() and _identity(target) in known_files):
            continue
        known = {*before.get(path, ()), wanted.get(path)}
        if not target.is_file() or sha256(target) not in known:
            foreign.append(path)
    if foreign:
        more = f" (and {listed(foreign[1:], 1)})" if len(foreign) > 1 else ""
        owned = foreign[0] in before
        what = "was changed since it was placed" if owned else "exists, and this session did not place it"
        hint = f"Move it out of the dataset to have it placed anew ({CHANGED_ON_PURPOSE})"
        raise DatasetError(f"{what}{more}", where=str(bids / foreign[0]), hint=hint)


def _identity(path: Path) -> tuple[int, int]:
    status = path.stat()
    return status.st_dev, status.st_ino


def _put(items: Iterable[Item], bids: Path) -> None:
    """Link or write; what was written is on the disk before a record says that it is there."""
    written = []
    for item in items:
        target = bids / item.path
        if item.kind is Kind.PRIVATE:
            inner = target.relative_to(bids).parents[:-1]
            for folder in reversed(inner):
                private_folder(bids / folder)
        if item.source is not None:
            link_or_copy(item.source, target)
            if item.source.is_relative_to(bids):  # its other name goes
                written.append(target)
        else:
            write_bytes(target, item.content, mode=item.kind.value, flushed=False)
            written.append(target)
    flush_to_disk(written)


def _protect(target: Path, kind: Kind) -> None:
    if target.stat().st_mode & 0o777 != kind.value:
        target.chmod(kind.value)


def _grounds(session_dir: Path, bids: Path) -> set[Path]:
    """Folders that stay, empty or not: another session may be about to use them. ``dataset`` removes them."""
    subject, session = session_labels(session_dir.name)
    roots = {bids, bids / SOURCEDATA}
    return {root / f"sub-{subject}" for root in roots} if session else roots


def _clean(stale: Sequence[str], names: Collection[str], bids: Path, grounds: Collection[Path]) -> None:
    """Remove what is ours and no longer planned: files, temporary files of killed runs, empty folders."""
    for folder in {(bids / name).parent for name in names}:
        for part in folder.glob(".*.part"):
            match = _LEFT_BEHIND.fullmatch(part.name)
            if match and (folder / match["name"]).relative_to(bids).as_posix() in names:
                remove_left(part)
    for path in stale:
        (bids / path).unlink(missing_ok=True)
        log.info("%s: removed, it is no longer planned", path)
    for folder in {(bids / path).parent for path in stale}:
        _remove_empty(folder, grounds)


def remove_files(session_dir: Path, bids: Path, paths: Sequence[str]) -> None:
    """Remove files of a session, and folders that are empty then."""
    for path in paths:
        (bids / path).unlink(missing_ok=True)
        log.info("%s: removed, it stands with its volume in another session", path)
    for folder in {(bids / path).parent for path in paths}:
        _remove_empty(folder, _grounds(session_dir, bids))


def _remove_empty(folder: Path, grounds: Collection[Path]) -> None:
    while folder not in grounds:
        try:
            folder.rmdir()
        except FileNotFoundError:
            pass
        except OSError:  # not empty
            return
        folder = folder.parent


# ------------------------------------------------------------------------------------- sessions that are gone


def remains_of(
    session_dir: Path, bids: Path, tables: Collection[str], *, are_ours: bool, moved: Collection[str] = ()
) -> Remains:
    """Look for what the session left.

    ``tables``: those that we merge with what people write. Their content tells whose they are
    (``are_ours``), not their digest. ``moved``: files of people that stand elsewhere now, as they are.
    Raises DatasetError if the folder's name is none of a session.
    """
    _, session = session_labels(session_dir.name)
    folder = bids / session_folder(session_dir.name)
    owned = owned_files(session_dir)
    present = {path: bids / path for path in owned if (bids / path).is_file()}
    ours = {
        path
        for path, file in present.items()
        if (are_ours if path in tables else sha256(file) in owned[path])
    }.union(moved)
    inside = (path for path in folder.rglob("*") if not path.is_dir())
    if not session:  # the folders of sessions beside it are not its own
        inside = (path for path in inside if not path.relative_to(folder).parts[0].startswith("ses-"))
    known = {path.relative_to(bids).as_posix() for path in inside} | present.keys()
    return Remains(session_dir=session_dir, ours=tuple(sorted(ours)), others=tuple(sorted(known - ours)))


def remove_remains(remains: Remains, bids: Path, *, keep_records: bool = False) -> None:
    """Remove the files that are ours, folders that are empty then, and the session's own folder."""
    _clean(remains.ours, remains.ours, bids, {bids, bids / SOURCEDATA})
    if not keep_records:
        shutil.rmtree(remains.session_dir)
