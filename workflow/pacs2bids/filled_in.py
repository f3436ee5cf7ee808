"""What people put beside a run goes with its volume when its name, or its session, changes.

That is tables of events, filled in or their own, and recordings of physiology and stimuli, with their
descriptions. ``events.json`` of the session says of which volumes each of them tells. It is written before
each move, with the old and the new place together, so that a killed run loses no file from sight and moves
none twice. From another session files are copied: it may be placed at the same moment. It removes its own
when it sees the copy.
"""

from __future__ import annotations

import logging
import re
from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path, PurePosixPath

from pacs2bids.files import read_record, sha256, write_bytes, write_record
from pacs2bids.model import DatasetError, session_folder
from pacs2bids.notes import home_of, read_base, scans_paths, table_digest
from pacs2bids.owned import SKELETONS, Kind, is_filled_in, owned_files, remove_files

log = logging.getLogger("pacs2bids.place")

_RECORD = "events.json"
_OF_ONE_IMAGE = re.compile(r"_(echo|part)-[0-9A-Za-z+]+")
# BIDS, "Task events" and "Physiological recordings": files that share the entities of a run
_BESIDE = re.compile(
    r"(?P<stem>.+?)(?P<rest>(_recording-[0-9A-Za-z+]+)?_(events|physio|physioevents|stim)\.(tsv|tsv\.gz|json))"
)

Tables = dict[str, tuple[str, ...]]
"""Path in the dataset -> the volumes ("<study>/<stack>") of which the file tells."""


@dataclass(frozen=True, slots=True, kw_only=True)
class EventTables:
    """``events.json``. ``tables``: files of people, and tables of events that we began.

    ``deleted``: volumes of which people deleted our table. ``came``: of copies from another session, the
    SHA-256 of what was there. ``is_whole``: whether all that it names was there when the session was placed.
    """

    tables: Tables = field(default_factory=dict)
    deleted: tuple[str, ...] = ()
    came: dict[str, str] = field(default_factory=dict)
    is_whole: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class Beside:
    """What is to become of files beside the volumes of a session.

    ``known``: the record of now. ``moves``: from where to where, in an order in which they can be moved.
    ``copies``: where to -> from where, in another session, and its volumes. ``gone``: what another session
    has taken over. ``theirs``: where files of people will be.
    """

    known: EventTables
    moves: Mapping[str, str]
    copies: Mapping[str, tuple[str, tuple[str, ...]]]
    gone: Sequence[str]
    theirs: frozenset[str]

    def __bool__(self) -> bool:
        return bool(self.moves or self.copies or self.gone)


def table_beside(bids_name: str, ending: str) -> str:
    """The path of a table that goes with a volume: one for all echoes and parts of a scan.

    Source: BIDS schema, rules.files.raw: neither "echo" nor "part" in names of events and aslcontext.
    """
    return _OF_ONE_IMAGE.sub("", bids_name).rpartition("_")[0] + ending


def beside(session_dir: Path, bids: Path, volumes: Mapping[str, str], study_dirs: Iterable[Path]) -> Beside:
    """See what is to be moved. ``volumes``: name -> volume, as they will be.

    Raises DatasetError if a file would stand beside another volume, or in another's place.
    """
    known, gone = _known(session_dir, bids), taken_over(session_dir, bids)
    theirs = sorted(_theirs(session_dir, bids, known) - gone)
    now = {path: _now(path, known.tables[path], volumes, bids) for path in theirs}
    moves = {path: to for path, to in now.items() if to != path}
    taken = {to for to in moves.values() if to in theirs}
    copies = {}
    for to, path, of in _elsewhere(session_dir, bids, volumes, study_dirs):
        if to in now.values():
            log.warning("%s: not copied, for people wrote %s, too", path, to)
        else:
            copies[to] = path, of
    ordered = {path: moves[path] for path in _in_order(moves, taken, bids)}
    after = frozenset({*now.values(), *copies})
    return Beside(known=known, moves=ordered, copies=copies, gone=sorted(gone), theirs=after)


def carry_out(session_dir: Path, bids: Path, what: Beside) -> EventTables:
    """Move, copy and remove the files; returns the record then."""
    record = session_dir / _RECORD
    known = replace(what.known, tables=dict(what.known.tables), came=dict(what.known.came), is_whole=False)
    if what.gone:
        write_record(record, known)
        remove_files(session_dir, bids, what.gone)
    for path, now in what.moves.items():
        known.tables[now] = known.tables[path]
        write_record(record, known)
        (bids / path).replace(bids / now)
        log.info("%s: its volume has another name, moved to %s", path, now)
        del known.tables[path]
    for now, (path, of) in what.copies.items():
        known.tables[now], known.came[now] = of, sha256(bids / path)
        write_record(record, known)
        write_bytes(bids / now, (bids / path).read_bytes(), mode=Kind.SKELETON.value)
        log.info("%s: its volume is another session's, copied to %s", path, now)
    return known


def without_deleted(paths: Iterable[str], known: EventTables, volumes: Mapping[str, str]) -> list[str]:
    """Of tables of events that are to be begun those that people did not delete."""
    return [path for path, of in _told_of(paths, volumes).items() if not {*of} & {*known.deleted}]


def remember(
    session_dir: Path, bids: Path, known: EventTables, volumes: Mapping[str, str], wanted: Iterable[str]
) -> EventTables:
    """Keep of which volumes files tell: those of people, and the tables that are ``wanted``.

    Returns the record, to be ``settled`` when they all are there.
    """
    of_wanted = _told_of(wanted, volumes)
    tables = {path: known.tables[path] for path in sorted(_theirs(session_dir, bids, known))}
    tables |= {path: of_wanted[path] for path in without_deleted(of_wanted, known, volumes)}
    # who wants no tables for a while gets them again
    unwanted = {*volumes.values()}.difference(*of_wanted.values())
    after = EventTables(
        tables=tables,
        deleted=tuple(sorted({*known.deleted} - unwanted)),
        came={path: digest for path, digest in known.came.items() if path in tables},
        is_whole=True,
    )
    if after != _read(session_dir):
        write_record(session_dir / _RECORD, replace(after, is_whole=False))
    return after


def settled(session_dir: Path, record: EventTables) -> None:
    """Note that all is there."""
    if record != _read(session_dir):
        write_record(session_dir / _RECORD, record)


# ------------------------------------------------------------------------------------------ what there is


def _read(session_dir: Path) -> EventTables:
    record = session_dir / _RECORD
    return read_record(record, EventTables) if record.exists() else EventTables()


def _known(session_dir: Path, bids: Path) -> EventTables:
    """The record, with what people put beside volumes, or deleted, since."""
    record, before = _read(session_dir), _before(session_dir, bids)
    owned = owned_files(session_dir)
    tables = dict(record.tables)
    news = (path for path in _files_beside(bids, before) if path not in tables)
    tables |= _told_of((path for path in news if _is_theirs(path, bids, owned)), before)
    deleted = {*record.deleted, *(_deleted(record, bids, before) if record.is_whole else ())}
    back = {volume for path in tables if _is_theirs(path, bids, owned) for volume in tables[path]}
    return replace(record, tables=tables, deleted=tuple(sorted(deleted - back)))


def _before(session_dir: Path, bids: Path) -> dict[str, str]:
    """Name -> volume, as the session was placed the last time, where it can be told."""
    base = read_base(session_dir).of_table(table_digest(bids / scans_paths(session_dir.name)[0]))
    folder = session_folder(session_dir.name)
    return {
        f"{folder}/{name.removesuffix('.nii.gz')}": scans[0].volume
        for name, scans in base.rows.items()
        if len({scan.volume for scan in scans}) == 1
    }


def _files_beside(bids: Path, volumes: Mapping[str, str]) -> Iterator[str]:
    """Files of the kinds that people put beside these volumes."""
    stems = _by_stem(volumes)
    for folder in sorted({str(PurePosixPath(name).parent) for name in volumes}):
        for file in sorted((bids / folder).glob("*")):
            path = f"{folder}/{file.name}"
            match = _BESIDE.fullmatch(path)
            if match and match["stem"] in stems and file.is_file():
                yield path


def _deleted(record: EventTables, bids: Path, before: Mapping[str, str]) -> Iterator[str]:
    """Volumes that are there, but their table of events, of which we knew, is not."""
    there = {of for path, of in record.tables.items() if (bids / path).is_file()}
    names = {volume: name for name, volume in before.items()}
    for path, of in record.tables.items():
        if path.endswith(SKELETONS) and of not in there:
            yield from (one for one in of if one in names and (bids / f"{names[one]}.nii.gz").is_file())


def _theirs(session_dir: Path, bids: Path, known: EventTables) -> set[str]:
    """Of what is known what people put there, or went on with."""
    owned = owned_files(session_dir)
    return {path for path in known.tables if _is_theirs(path, bids, owned)}


def _is_theirs(path: str, bids: Path, owned: Mapping[str, tuple[str, ...]]) -> bool:
    """Whether a file is there that people put there, or went on with."""
    if path.endswith(SKELETONS):
        return is_filled_in(bids / path, owned.get(path, ()))
    return path not in owned and (bids / path).is_file()


def _told_of(paths: Iterable[str], volumes: Mapping[str, str]) -> Tables:
    """Of which of ``volumes`` files tell that lie there."""
    by_stem = _by_stem(volumes)
    return {path: tuple(sorted(by_stem.get(_split(path)[0], ()))) for path in paths}


def _by_stem(volumes: Mapping[str, str]) -> Mapping[str, Sequence[str]]:
    """Volumes by what files beside them share of their names. A reference image has no events."""
    found = defaultdict(list)
    for name, volume in volumes.items():
        if not name.endswith("_sbref"):
            found[table_beside(name, "")].append(volume)
    return found


def _split(path: str) -> tuple[str, str]:
    """What a file shares with its volume, and the rest of its path."""
    match = _BESIDE.fullmatch(path)
    return (match["stem"], match["rest"]) if match else (path, "")


# --------------------------------------------------------------------------------------- where it belongs


def _now(path: str, of: tuple[str, ...], volumes: Mapping[str, str], bids: Path) -> str:
    """Where a file belongs now; where it is, if its volumes have no name or several."""
    places = _places(path, of, volumes, PurePosixPath(path).parent)
    if path in places:
        return path
    if len(places) == 1:
        return places.pop()
    if _told_of([path], volumes)[path]:
        what = "was written by people, its volume has no name any more, and another one has its name"
        raise DatasetError(what, where=str(bids / path), hint="Move it out of the dataset, and run again")
    log.warning("%s: kept, for people wrote it; its volume has no name any more", path)
    return path


def _places(path: str, of: Iterable[str], volumes: Mapping[str, str], folder: PurePosixPath) -> set[str]:
    """Where in a folder a file may belong by the names that its volumes have."""
    told, rest = set(of), _split(path)[1]
    names = [
        name for name, volume in volumes.items() if volume in told and PurePosixPath(name).parent == folder
    ]
    return {table_beside(name, rest) for name in names}


def _in_order(moves: Mapping[str, str], taken: set[str], bids: Path) -> list[str]:
    """First those files whose new place is free. Raises DatasetError if there is none."""
    order: list[str] = []
    taken = set(taken)
    while len(order) < len(moves):
        free = [path for path, now in moves.items() if path not in order and now not in taken]
        if not free:
            path = next(path for path in moves if path not in order)
            what = f"was written by people, and belongs where another file of theirs is: {moves[path]}"
            hint = "Move it out of the dataset, run again, and put it back under that name"
            raise DatasetError(what, where=str(bids / path), hint=hint)
        order.append(free[0])
        taken.discard(free[0])
        taken.add(moves[free[0]])
    return order


# ---------------------------------------------------------------------------------------- other sessions


def _elsewhere(
    session_dir: Path, bids: Path, volumes: Mapping[str, str], study_dirs: Iterable[Path]
) -> Iterator[tuple[str, str, tuple[str, ...]]]:
    """Files beside volumes of these studies while these were another session's.

    Where they belong here, where they are, and of which volumes they tell.
    """
    for folder in study_dirs:
        other = session_dir.with_name(home_of(folder) or session_dir.name)
        if other == session_dir:
            continue
        known = _known(other, bids)
        for path in sorted(_theirs(other, bids, known)):
            of = known.tables[path]
            here = PurePosixPath(session_folder(session_dir.name), PurePosixPath(path).parent.name)
            places = _places(path, of, volumes, here)
            if len(places) == 1 and _studies(of) == {folder.name}:
                yield places.pop(), path, of


def taken_over(session_dir: Path, bids: Path) -> set[str]:
    """Files of people of this session that another one has copied, with the volumes, as they are."""
    known = _known(session_dir, bids)
    studies_dir = session_dir.parent.parent / "studies"
    found = set()
    for path in _theirs(session_dir, bids, known):
        homes = {home_of(studies_dir / study) for study in _studies(known.tables[path])}
        for home in homes - {"", session_dir.name}:
            theirs = _read(session_dir.with_name(home))
            copies = {copy for copy, of in theirs.tables.items() if of == known.tables[path]}
            if sha256(bids / path) in {theirs.came.get(copy) for copy in copies if (bids / copy).is_file()}:
                found.add(path)
    return found


def _studies(volumes: Iterable[str]) -> set[str]:
    return {volume.partition("/")[0] for volume in volumes}
