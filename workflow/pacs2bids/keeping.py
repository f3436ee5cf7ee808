"""Which studies need their DICOM files no more, by ``keep`` in the configuration.

Those of sessions that are in the dataset whole, as the last check found them, and made by this engine with
these settings. Whatever is not sure stays.
"""

from __future__ import annotations

import logging
from collections import defaultdict
from collections.abc import Iterable, Sequence
from pathlib import Path

from pacs2bids.archive import EXTENSION
from pacs2bids.config import Config
from pacs2bids.dialects.imports import files_that_say
from pacs2bids.engine import engine_version
from pacs2bids.files import read_record
from pacs2bids.model import HeaderError, Manifest, Pacs2BidsError, PlacedSession, Receipt
from pacs2bids.plan_table import read_plan
from pacs2bids.released import DICOM, INDEX, MANIFEST, OPINIONS, RELEASED, release
from pacs2bids.roster import rows_of_table
from pacs2bids.status import PROVISIONAL, Standing, status_of
from pacs2bids.text import listed

ALL = "dicom"  # the value of ``keep`` by which nothing goes
# of heuristics: what reads DICOM files when a session is planned or placed
_HOOKS = ("custom_callable", "custom_seqinfo", "filter_dicom", "filter_files", "grouping")

log = logging.getLogger("pacs2bids.keep")


def let_go(config: Config) -> list[Path]:
    """Folders of the studies whose DICOM files can be removed. For whoever holds the lock of the workdir.

    Those whose removal was begun are among them, unless the configuration keeps all now. Raises ConfigError
    without a studies table.
    """
    if config.keep == ALL or hooks_of(config.heuristic):
        return []
    studies = config.workdir / "studies"
    sessions, users = defaultdict[str, list[Path]](list), defaultdict[Path, set[str]](set)
    for row in rows_of_table(config.workdir / "studies.tsv"):
        sessions[row.session_key].append(studies / row.study_instance_uid)
        users[studies / row.study_instance_uid].add(row.session_key)
    ours = [study for study in users if _is_ours(study)]
    lines = status_of(config.workdir, is_over=True).lines
    placed = {line.session for line in lines if line.state is Standing.PLACED}
    asked = placed & {key for study in ours for key in users[study]}
    good = {key for key in asked if _is_proven(config.workdir, key, sessions[key])}
    return [
        study
        for study in ours
        if (study / RELEASED).exists() or (users[study] <= good and _is_made(study, config))
    ]


def hooks_of(heuristic: Path) -> list[str]:
    """The hooks of a heuristic that read DICOM files, by its text: a comment counts, too."""
    return [hook for hook in _HOOKS if files_that_say(heuristic, hook)]


def release_all(studies: Iterable[Path], keep: str) -> int:
    """Remove the DICOM files of each; returns of how many. What cannot be removed is a warning."""
    count = 0
    for study in studies:
        try:
            release(study, keep)
            count += 1
        except OSError as error:
            log.warning("%s: cannot be removed: %s", study / DICOM, error.strerror or error)
    return count


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


def _is_proven(workdir: Path, key: str, studies: Sequence[Path]) -> bool:
    """Whether each file of a session was made after what it was made of, up to the check.

    But for a plan that came out the same again: Snakemake does not have that placed anew.
    """
    session, check = workdir / "sessions" / key, workdir / "check.json"
    plan, placed = session / "plan.tsv", session / "placed.json"
    chains: list[tuple[Path, ...]] = [(placed, check if check.exists() else workdir / PROVISIONAL)]
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
