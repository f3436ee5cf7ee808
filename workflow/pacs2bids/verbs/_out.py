"""The folder that ``convert`` writes to: what in it is ours, where each study goes, what of it is stale.

A folder is ours by its manifest, a table by its columns. What is not ours is never written over.
"""

from __future__ import annotations

import logging
import re
from collections.abc import Sequence
from pathlib import Path

from pacs2bids.files import read_record, write_record
from pacs2bids.model import ConfigError, Manifest, StudyIndex, VolumeFile, VolumeOpinion

log = logging.getLogger("pacs2bids.convert")

MANIFEST = ".manifest.json"  # which study the volumes of a folder are of, and which files we wrote
LEFTOVERS, LEFTOVER_COLUMNS = "leftovers.tsv", ("path", "reason", "detail")
OPINIONS, OPINION_COLUMNS = "second_opinion.tsv", VolumeOpinion.__struct_fields__
SUFFIXES = tuple(
    f"{word}{suffix}"
    for word in ("", "_unsheared")
    for suffix in (".nii", ".nii.gz", ".json", ".bval", ".bvec")
)
UID = re.compile(r"[0-9]+(\.[0-9]+)*")


def folders(target: Path, indices: Sequence[StudyIndex]) -> list[tuple[Path, StudyIndex]]:
    """Where each study goes: OUT, or a folder in it for each of several.

    A study that has its folder already keeps it. One that came into OUT itself, when it was the only one, is
    moved to a folder of its own now that there are several. Raises ConfigError if OUT holds another study.
    """
    own = [(target / _name(number, index), index) for number, index in enumerate(indices, start=1)]
    if len(own) == 1 and not (own[0][0] / MANIFEST).exists():
        return [(target, own[0][1])]
    if (target / MANIFEST).exists():
        _move(target, own)
    return own


def _name(number: int, index: StudyIndex) -> str:
    """A header is no place to take a path from, unless it is the UID that it should be."""
    uid = index.study_instance_uid
    return uid if UID.fullmatch(uid) else f"study-{number}"


def _move(target: Path, own: Sequence[tuple[Path, StudyIndex]]) -> None:
    """The volumes of one study from OUT to its own folder, the manifest last: by it they are known."""
    manifest = read_record(target / MANIFEST, Manifest)
    folder = next((at for at, one in own if one.study_instance_uid == manifest.study_instance_uid), None)
    if folder is None:
        raise ConfigError("holds the volumes of another study", where=str(target), hint="Give another OUT")
    folder.mkdir(parents=True, exist_ok=True)
    for name in [*(name for volume in manifest.volumes for name in _files(volume)), MANIFEST]:
        if (target / name).exists():
            (target / name).replace(folder / name)
    log.warning("the volumes of %s are in %s now, as there are several studies", target, folder)


def _files(volume: VolumeFile) -> list[str]:
    """A volume's files, and the hidden one beside them."""
    return [*volume.files, *(f".{name}" for name in volume.files if name.endswith(".json"))]


def require_tables(target: Path, *, opinions: bool) -> None:
    """The tables that will be written replace none but ours. Raises ConfigError."""
    tables = {LEFTOVERS: LEFTOVER_COLUMNS} | ({OPINIONS: OPINION_COLUMNS} if opinions else {})
    for name, columns in tables.items():
        if (target / name).exists() and not _is_ours(target / name, columns):
            raise _strange(target, name)


def remove_opinions(target: Path) -> None:
    """The table of an earlier run, which says nothing of these volumes."""
    path = target / OPINIONS
    if path.is_file() and _is_ours(path, OPINION_COLUMNS):
        path.unlink()
        log.warning("%s of an earlier run is removed: no second opinion was asked for now", path)


def _is_ours(table: Path, columns: Sequence[str]) -> bool:
    head = "\t".join(columns).encode() + b"\n"
    with table.open("rb") as stream:
        return stream.read(len(head)) == head


def claim(folder: Path, index: StudyIndex, names: dict[str, str]) -> None:
    """Make sure that the folder is ours to write this study to, and mark it so.

    ``names``: file stems by stack id. Raises ConfigError if it holds another study, or a file of one of these
    names that is neither in the manifest nor, as those of a run that was killed are, beside a record of it.
    """
    path, known = folder / MANIFEST, set[str]()
    if path.exists():
        manifest = read_record(path, Manifest)
        if manifest.study_instance_uid != index.study_instance_uid:
            raise ConfigError(
                "holds the volumes of another study", where=str(folder), hint="Give another OUT"
            )
        known = {name for volume in manifest.volumes for name in volume.files}
    for stem in names.values():
        if not (folder / f".{stem}.json").exists():
            strange = {f"{stem}{suffix}" for suffix in SUFFIXES} - known
            _require_none(folder, sorted(strange))
    if not path.exists():
        empty = Manifest(
            engine_version=index.engine_version,
            study_instance_uid=index.study_instance_uid,
            volumes=(),
            failed=(),
        )
        folder.mkdir(parents=True, exist_ok=True)
        write_record(path, empty)


def _require_none(folder: Path, names: Sequence[str]) -> None:
    strange = [name for name in names if (folder / name).exists()]
    if strange:
        raise _strange(folder, strange[0])


def _strange(folder: Path, name: str) -> ConfigError:
    what = f"holds {name}, which pacs2bids did not write there"
    return ConfigError(what, where=str(folder), hint="Give another OUT")


def remove_stale(folder: Path, manifest: Manifest) -> None:
    """Remove what an earlier run wrote of stacks that are no more."""
    path = folder / MANIFEST
    if not path.exists():
        return
    now = {name for volume in manifest.volumes for name in _files(volume)}
    for volume in read_record(path, Manifest).volumes:
        for name in sorted(set(_files(volume)) - now):
            (folder / name).unlink(missing_ok=True)
            if name in volume.files:
                log.warning(
                    "%s of an earlier run is removed: it is not made of these files now", folder / name
                )
