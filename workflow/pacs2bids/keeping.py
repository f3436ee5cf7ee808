"""What of studies is needed no more, by ``keep`` in the configuration.

The DICOM files of those whose sessions are in the dataset whole, as the last check found them, and made by
this engine with these settings. With ``keep: none`` then also images that cost disk in ``volumes/`` for
nothing: those of which the dataset holds a copy, and those without a name. Whatever is not sure stays.
"""

from __future__ import annotations

import logging
import os
import time
from collections import defaultdict
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from pacs2bids.archive import EXTENSION
from pacs2bids.config import Config
from pacs2bids.dialects.imports import files_that_say
from pacs2bids.engine import engine_version
from pacs2bids.files import flush_to_disk, read_record, sha256
from pacs2bids.model import (
    CheckResult,
    HeaderError,
    Manifest,
    Pacs2BidsError,
    PlacedSession,
    Receipt,
    is_set_aside,
)
from pacs2bids.plan_table import read_plan
from pacs2bids.released import (
    DICOM,
    INDEX,
    MANIFEST,
    OPINIONS,
    RELEASED,
    VOLUMES,
    LetGo,
    release,
    release_images,
)
from pacs2bids.roster import rows_of_table
from pacs2bids.status import PROVISIONAL, Standing, status_of
from pacs2bids.text import listed

IMAGE = ".nii.gz"
ALL, NONE = "dicom", "none"  # the values of ``keep`` by which nothing goes, and most
# of heuristics: what reads DICOM files when a session is planned or placed
_HOOKS = ("custom_callable", "custom_seqinfo", "filter_dicom", "filter_files", "grouping")
# an image that has no name is nowhere else, and a slip in a heuristic takes names from many: time to see it
_REGRET_S = 7 * 24 * 3600.0

log = logging.getLogger("pacs2bids.keep")


@dataclass(frozen=True, slots=True, kw_only=True)
class Spare:
    """An image in ``volumes/``, of that name, that is needed no more. ``digest``: SHA-256, by the manifest.

    ``copies``: by the key of its session, what should be the same in the dataset; none: it has no name.
    """

    name: str
    digest: str
    copies: tuple[tuple[str, Path], ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Going:
    """What of a study (its folder) can be removed. ``dicom``: whether its DICOM files can."""

    study: Path
    dicom: bool
    spares: tuple[Spare, ...] = ()

    @property
    def images(self) -> tuple[tuple[Path, Spare], ...]:
        """The images with their files."""
        return tuple((self.study / VOLUMES / one.name, one) for one in self.spares)


def let_go(config: Config, *, at_once: bool = False) -> list[Going]:
    """What can be removed, study by study. For whoever holds the lock of the workdir.

    DICOM files whose removal was begun are among it, unless the configuration keeps all now. ``at_once``:
    images without a name, too, whose sessions were placed within the last week. Raises ConfigError without a
    studies table.
    """
    if config.keep == ALL or hooks_of(config.heuristic):
        return []
    studies = config.workdir / "studies"
    sessions, users = defaultdict[str, list[Path]](list), defaultdict[Path, set[str]](set)
    for row in rows_of_table(config.workdir / "studies.tsv"):
        sessions[row.session_key].append(studies / row.study_instance_uid)
        users[studies / row.study_instance_uid].add(row.session_key)
    ours = {study for study in users if _is_ours(study)}
    alone = {study: found for study in users if (found := _alone(study))} if config.keep == NONE else {}
    asked = {key for study in {*ours, *alone} for key in users[study]}
    good = _proven(config.workdir, asked, sessions)
    going = []
    for study, keys in users.items():
        is_begun, is_good = (study / RELEASED).exists(), keys <= good
        dicom = study in ours and (is_begun or (is_good and _is_made(study, config)))
        spares = list[Spare]()
        if is_good and study in alone and (is_begun or dicom):
            spares += (one for one in _spares(study, keys, config, at_once) if one.name in alone[study])
        going.append(Going(study=study, dicom=dicom, spares=tuple(spares)))
    return [one for one in going if one.dicom or one.spares]


def hooks_of(heuristic: Path) -> list[str]:
    """The hooks of a heuristic that read DICOM files, by its text: a comment counts, too."""
    return [hook for hook in _HOOKS if files_that_say(heuristic, hook)]


@dataclass(frozen=True, slots=True, kw_only=True)
class Freed:
    """What was removed: the DICOM files of how many studies, and how many images."""

    studies: int
    images: int


def release_all(going: Iterable[Going], keep: str) -> Freed:
    """Remove it. What cannot be removed, and a copy that is none, is a warning."""
    studies = images = 0
    for one in going:
        try:
            if one.dicom:
                release(one.study, keep)
                studies += 1
            images += _released_spares(one)
        except OSError as error:
            log.warning("%s: cannot be removed: %s", error.filename or one.study, error.strerror or error)
        except Pacs2BidsError as error:
            log.warning("%s: not all is removed: %s", one.study, error)
    return Freed(studies=studies, images=images)


def _released_spares(one: Going) -> int:
    """Remove the images of a study, once each copy was read; returns how many."""
    sure = dict[str, LetGo]()
    for file, spare in one.images:
        keys = {key for key, copy in spare.copies if _is_copy(copy, file, spare.digest)}
        if keys or not spare.copies:
            sure[spare.name] = _mark(file, spare.digest, sorted(keys))
        else:
            log.warning("%s stays: %s is not the same any more", file, spare.copies[0][1])
    if sure:
        release_images(one.study, sure)
    return len(sure)


def _mark(file: Path, digest: str, keys: Iterable[str]) -> LetGo:
    status = file.stat()
    return LetGo(digest=digest, size_bytes=status.st_size, mtime_ns=status.st_mtime_ns, sessions=tuple(keys))


def _is_copy(copy: Path, file: Path, digest: str) -> bool:
    """Whether it is another file with the content that an image was made with, and on the disk."""
    try:
        there, ours = copy.lstat(), file.stat()
        if there.st_size != ours.st_size or os.path.samestat(there, ours) or not copy.is_file():
            return False
        flush_to_disk([copy])  # it was copied without: a power cut must not take both
        return not copy.is_symlink() and sha256(copy) == digest
    except OSError:
        return False


def _alone(study: Path) -> frozenset[str]:
    """Images of a study that have no second name, as those have that are the dataset's own files.

    None of a study that lies elsewhere by a link.
    """
    volumes = study / VOLUMES
    if not volumes.is_dir() or any(path.is_symlink() for path in (study.parent, study, volumes)):
        return frozenset()
    with os.scandir(volumes) as entries:
        images = [one for one in entries if one.name.endswith(IMAGE) and not one.name.startswith(".")]
        files = [one for one in images if one.is_file(follow_symlinks=False)]
        # ``os.stat``: of some file systems a folder does not tell the number of links
        return frozenset(one.name for one in files if os.stat(one.path).st_nlink == 1)  # noqa: PTH116


def _spares(study: Path, keys: Collection[str], config: Config, at_once: bool) -> Iterator[Spare]:
    """The images of a study that sessions which are in the dataset whole have there, or have no name for."""
    folders = {key: config.workdir / "sessions" / key for key in sorted(keys)}
    try:
        volumes = read_record(study / MANIFEST, Manifest).volumes
        sessions = {key: read_record(path / "placed.json", PlacedSession) for key, path in folders.items()}
    except HeaderError:
        return
    placed = {volume.partition("/")[0] for one in sessions.values() for volume in one.volumes.values()}
    # of a study of which nothing has a name the heuristic is not written yet
    is_settled = at_once or (study.name in placed and all(map(_is_settled, folders.values())))
    for volume in volumes:
        named = _placed_as(f"{study.name}/{volume.stack_id}", sessions)
        for name, digest in volume.files.items():
            copies = tuple((key, config.bids / path) for key, path, its in named if its == digest)
            if name.endswith(IMAGE) and (copies or (is_settled and not named)):
                yield Spare(name=name, digest=digest, copies=copies)


def _is_settled(session: Path) -> bool:
    """Whether the heuristic seems to name what it shall: time has passed, and it did not trip."""
    if time.time() - (session / "placed.json").stat().st_mtime <= _REGRET_S:
        return False
    return not any(map(is_set_aside, read_plan(session / "plan.tsv")))


def _placed_as(volume: str, sessions: Mapping[str, PlacedSession]) -> list[tuple[str, str, str]]:
    """Session, path and digest of the images that a volume is in the dataset; another's, if it is defaced."""
    return [
        (key, f"{name}{IMAGE}", one.files.get(f"{name}{IMAGE}", ""))
        for key, one in sessions.items()
        for name, placed in one.volumes.items()
        if placed == volume
    ]


def _is_ours(study: Path) -> bool:
    """Whether DICOM files lie there, nothing that people put beside them, and all by no link."""
    dicom = study / DICOM
    if not dicom.is_dir() or any(path.is_symlink() for path in (study.parent, study, dicom)):
        return False
    try:
        came = {one.path for one in read_record(study / "receipt.json", Receipt).received}
    except HeaderError:
        return False
    there = (path for path in dicom.rglob("*") if path.is_symlink() or not path.is_dir())
    names = (path.relative_to(dicom).as_posix() for path in there if path.suffix != ".part")
    if others := sorted(name for name in names if name not in came):
        log.warning("%s stays: it holds %s, which did not come with the study", dicom, listed(others, 2))
    return not others


def _proven(workdir: Path, asked: Collection[str], sessions: Mapping[str, Sequence[Path]]) -> set[str]:
    """Of the sessions that are asked about those that are in the dataset whole."""
    if not asked or not _is_checked(workdir):
        return set()
    lines = status_of(workdir, is_over=True).lines
    placed = {line.session for line in lines if line.state is Standing.PLACED}
    return {key for key in placed & {*asked} if _is_proven(workdir, key, sessions[key])}


def _is_checked(workdir: Path) -> bool:
    """Whether the last check had a result: an error without a place may be of any session.

    So is that of a validator which crashed, or is missing: it found nothing because it looked at nothing.
    """
    try:
        findings = read_record(_check_of(workdir), CheckResult).findings
    except HeaderError:
        return False
    return all(one.location or one.severity != "error" for one in findings)


def _check_of(workdir: Path) -> Path:
    check = workdir / "check.json"
    return check if check.exists() else workdir / PROVISIONAL


def _is_proven(workdir: Path, key: str, studies: Sequence[Path]) -> bool:
    """Whether each file of a session was made after what it was made of, up to the check.

    But for a plan that came out the same again: Snakemake does not have that placed anew.
    """
    session = workdir / "sessions" / key
    plan, placed = session / "plan.tsv", session / "placed.json"
    chains: list[tuple[Path, ...]] = [(placed, _check_of(workdir))]
    for study in studies:
        index, manifest = study / INDEX, study / MANIFEST
        chains += [(study / "receipt.json", index, manifest, placed), (index, plan)]
    return all(_is_in_order(chain) for chain in chains) and _is_as_planned(plan, placed)


def _is_as_planned(plan: Path, placed: Path) -> bool:
    """Whether all volumes and archives of a plan are placed, and no other volumes."""
    try:
        rows, record = read_plan(plan), read_record(placed, PlacedSession)
    except Pacs2BidsError:
        return False
    volumes = {row.bids_name: f"{row.study_instance_uid}/{row.stack_id}" for row in rows if row.bids_name}
    archives = {f"{row.sourcedata}{EXTENSION}" for row in rows if row.sourcedata}
    return volumes == record.volumes and archives <= record.files.keys()


def _is_in_order(paths: Sequence[Path]) -> bool:
    """Whether all are there, none older than the one before."""
    try:
        times = [path.stat().st_mtime_ns for path in paths]
    except FileNotFoundError:
        return False
    return times == sorted(times)


def _is_made(study: Path, config: Config) -> bool:
    """Whether all that can be made of a study's files was, as it would be made now."""
    try:
        manifest = read_record(study / MANIFEST, Manifest)
    except HeaderError:
        return False
    made = manifest.engine_version, manifest.gzip, manifest.philips_values
    if manifest.failed or made != (engine_version(), config.gzip, config.philips_values):
        return False
    if config.second_opinion != "none" and not (study / OPINIONS).exists():
        return False
    return all((study / MANIFEST).with_name(name).is_file() for name in manifest.files)
