"""Studies whose DICOM files are gone because the configuration says so (``keep``).

``released.json`` marks them, and is on the disk before the first file goes: where it stands, nothing below
``dicom/`` counts, however much of it is still there. What was made of the files has a second name then.
Snakemake removes the outputs of a job before it runs again, as after an update of the engine, and the job
could not make them: it takes them from there.

Images of ``volumes/`` may be gone, too (``keep: none``): the mark names them, again before the first goes.
One that it names and that lies there nonetheless came back, and counts. ``images`` finds the others.
"""

from __future__ import annotations

import shutil
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from pathlib import Path

from pacs2bids.files import flush_to_disk, link_or_copy, read_record, write_record
from pacs2bids.model import HeaderError, Manifest

RELEASED = "released.json"
DICOM, VOLUMES = "dicom", "volumes"
INDEX, MANIFEST, OPINIONS = "index.json", "volumes/manifest.json", "second_opinion.tsv"
_SPARES = {INDEX: ".index.json", MANIFEST: ".manifest.json", OPINIONS: ".second_opinion.tsv"}
OURS = frozenset({RELEASED, *_SPARES.values()})  # in the folder of a study, besides what stages write


@dataclass(frozen=True, slots=True, kw_only=True)
class LetGo:
    """An image that was removed from ``volumes/``.

    ``digest``: its SHA-256, hexadecimal. ``size_bytes``, ``mtime_ns``: of the file; a copy in the dataset
    that nobody touched has the same. ``sessions``: keys of those whose part of the dataset held a copy then;
    none: it had no name, and is nowhere.
    """

    digest: str
    size_bytes: int
    mtime_ns: int
    sessions: tuple[str, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Released:
    """``released.json``. ``on``: ISO date and time, UTC. ``keep``: what the configuration said.

    ``images``: those of ``volumes/`` that may be gone, by their names there.
    """

    on: str
    keep: str
    images: dict[str, LetGo] = field(default_factory=dict)


def released_of(study: Path) -> Released | None:
    """The mark of a study (its folder); None if its DICOM files were not removed.

    Raises HeaderError if it cannot be read; it must not be deleted, for what it tells stands nowhere else.
    """
    mark = study / RELEASED
    if not mark.exists():
        return None
    try:
        return read_record(mark, Released)
    except HeaderError as error:
        what = f"{error.what}. It tells what `keep` removed of the study"
        raise HeaderError(what, where=str(mark), hint=bring_again(study)) from None


def release(study: Path, keep: str) -> None:
    """Remove the DICOM files of a study; again after a kill, to go on.

    Raises OSError if they cannot be removed; then the mark stands, and they count no more.
    """
    if not (study / RELEASED).exists():
        made = {product: spare for product, spare in _SPARES.items() if (study / product).exists()}
        for product, spare in made.items():
            link_or_copy(study / product, study / spare)
        flush_to_disk(study / spare for spare in made.values())
        now = datetime.now(UTC).isoformat(timespec="seconds")
        write_record(study / RELEASED, Released(on=now, keep=keep))
        flush_to_disk([study / RELEASED])  # the folder, which names it
    shutil.rmtree(study / DICOM)


def release_images(study: Path, images: Mapping[str, LetGo]) -> None:
    """Remove images of a study whose DICOM files were removed; again after a kill, to go on.

    Raises OSError if one cannot be removed; HeaderError for a study that has its DICOM files.
    """
    mark = read_record(study / RELEASED, Released)
    write_record(study / RELEASED, replace(mark, images={**mark.images, **images}))
    flush_to_disk([study / RELEASED])
    for name in images:
        (study / VOLUMES / name).unlink(missing_ok=True)


def let_go_images(study: Path) -> dict[str, LetGo]:
    """The images of a study that were removed and did not come back, by their names in ``volumes/``."""
    mark = released_of(study)
    images = mark.images if mark else {}
    return {name: gone for name, gone in images.items() if not (study / VOLUMES / name).is_file()}


def bring_again(study: Path) -> str:
    """What a person does to have the DICOM files of a study again."""
    return f"To have them again: `snakemake --forcerun {study / 'receipt.json'}`"


def is_put_back(study: Path, product: str, kind: type | None = None) -> bool:
    """Of a study whose files were removed, let what was made of them stand under its own name again, as new.

    ``kind``: the record that it is, if it is one. False for other studies. Raises HeaderError if it was never
    made, or by a version whose records cannot be read any more.
    """
    if released_of(study) is None:
        return False
    spare = study / _SPARES[product]
    if not spare.exists():
        what = f"cannot be made: the DICOM files of the study were removed (`keep`, {RELEASED})"
        raise HeaderError(what, where=str(study / product), hint=bring_again(study))
    if kind is not None:
        try:
            read_record(spare, kind)
        except HeaderError as error:
            what = f"is of another version ({error.what}), and the study's DICOM files were removed (`keep`)"
            raise HeaderError(what, where=str(spare), hint=bring_again(study)) from None
    link_or_copy(spare, study / product)
    (study / product).touch()  # else it would be older than what it was made of
    return True


def made_of(study: Path) -> dict[str, frozenset[str]]:
    """Of a study whose files were removed: stack id -> the instances (SOPInstanceUID) that it was made of.

    Empty for other studies, and if that cannot be read any more.
    """
    if released_of(study) is None:
        return {}
    try:
        manifest = read_record(study / _SPARES[MANIFEST], Manifest)
    except HeaderError:
        return {}
    return {one.stack_id: frozenset(one.sources) for one in manifest.volumes}


def forget_released(study: Path) -> None:
    """The files come again: what they were made of is of no use."""
    (study / RELEASED).unlink(missing_ok=True)
    for spare in _SPARES.values():
        (study / spare).unlink(missing_ok=True)
