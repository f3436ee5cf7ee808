"""dcm2niix's opinion of our volumes: run on the same files, compared volume by volume, reported in words.

Advice for a person, never an input of the dataset: nothing that dcm2niix writes is kept but the words. Where
the two differ, either may be right; the sidecar, the header and docs/second_opinion.md help to find out.
"""

from __future__ import annotations

import json
import logging
import shutil
import subprocess
import sys
import tempfile
from collections import defaultdict
from collections.abc import Sequence
from pathlib import Path

import nibabel as nib
import numpy as np

from pacs2bids.agreement import Reading, differences, distance_mm
from pacs2bids.files import write_tsv
from pacs2bids.geometry import Floats
from pacs2bids.model import ConfigError, Json, Manifest, StudyIndex, VolumeOpinion
from pacs2bids.text import counted

log = logging.getLogger("pacs2bids.second_opinion")

PROGRAM = "dcm2niix"
SECONDS = 3600  # for one series; a program that takes longer hangs
COLUMNS = VolumeOpinion.__struct_fields__


def program() -> str:
    """Where dcm2niix is: on PATH, or beside this Python. Raises ConfigError if it is not."""
    found = shutil.which(PROGRAM) or shutil.which(PROGRAM, path=str(Path(sys.executable).parent))
    if found is None:
        hint = f"Install it (`pip install {PROGRAM}`), or do without a second opinion"
        raise ConfigError("is not installed", where=PROGRAM, hint=hint)
    return found


def second_opinion(
    index: StudyIndex, manifest: Manifest, dicom: Path, volumes: Path
) -> tuple[VolumeOpinion, ...]:
    """What dcm2niix says of each volume of a study, and which volumes only it has.

    ``dicom``: what the paths of the index are relative to. ``volumes``: where the files of the manifest are.
    Raises ConfigError if dcm2niix is not installed.
    """
    command = program()
    written = {volume.stack_id: volume for volume in manifest.volumes}
    opinions: list[VolumeOpinion] = []
    for stack_ids, paths in _groups(index):
        ours = [_read(_nifti(volumes, list(written[one].files))) for one in stack_ids if one in written]
        with tempfile.TemporaryDirectory(prefix="pacs2bids-") as folder:  # 0700
            theirs, complaint = _converted(command, [dicom / path for path in paths], Path(folder))
            opinions += _compared(ours, theirs, complaint)
    return tuple(opinions)


def write_opinions(path: Path, opinions: Sequence[VolumeOpinion]) -> str:
    """Write the table, warn of each difference, and give the line that sums up."""
    rows = [{name: getattr(one, name) or None for name in COLUMNS} for one in opinions]
    write_tsv(path, COLUMNS, rows)
    for one in opinions:
        if one.verdict != "agrees":
            log.warning("second opinion: %s: %s", one.volume or f"{PROGRAM}'s {one.other}", one.detail)
    agreeing = sum(one.verdict == "agrees" for one in opinions)
    return (
        f"second opinion of {PROGRAM}: {agreeing} of {counted(len(opinions), 'volume')} agree ({path.name})"
    )


def _groups(index: StudyIndex) -> list[tuple[list[str], list[str]]]:
    """Stack ids and files of what belongs together: series that share a stack are one."""
    stacks: dict[str, list[str]] = defaultdict(list)
    paths: dict[str, dict[str, None]] = defaultdict(dict)
    for stack in index.stacks:
        stacks[stack.series_instance_uid].append(stack.stack_id)
        paths[stack.series_instance_uid].update(dict.fromkeys(image.path for image in stack.images))
    for leftover in index.leftovers:  # dcm2niix may make something of them
        if leftover.series_instance_uid in paths:
            paths[leftover.series_instance_uid][leftover.path] = None
    return [(stacks[uid], list(paths[uid])) for uid in sorted(stacks, key=lambda uid: stacks[uid])]


def _converted(command: str, files: Sequence[Path], folder: Path) -> tuple[list[Reading], str]:
    """dcm2niix's volumes of these files, loaded, and what went wrong with it."""
    source, target = folder / "in", folder / "out"
    source.mkdir()
    target.mkdir()
    for number, file in enumerate(files):
        (source / f"{number:06d}.dcm").symlink_to(file.resolve())
    # anonymised, uncompressed, a suffix where two would share a name
    options = ["-b", "y", "-ba", "y", "-z", "n", "-w", "2", "-f", "%s_%d"]
    call = [command, *options, "-o", str(target), str(source)]
    try:
        done = subprocess.run(call, capture_output=True, timeout=SECONDS, check=False)
    except subprocess.TimeoutExpired:
        return [], f"{PROGRAM} did not end within {SECONDS} s"
    readings = [_read(path) for path in sorted(target.glob("*.nii"))]
    for reading in readings:
        _ = reading.stored  # before the folder goes
    complaint = f"{PROGRAM} ended with code {done.returncode}" if done.returncode else ""
    return readings, complaint


def _nifti(folder: Path, names: Sequence[str]) -> Path:
    return folder / next(name for name in names if name.endswith((".nii.gz", ".nii")))


def _read(path: Path) -> Reading:
    stem = path.name.removesuffix(".gz").removesuffix(".nii")
    beside = path.with_name(f"{stem}.json")
    sidecar: dict[str, Json] = json.loads(beside.read_bytes()) if beside.exists() else {}
    b_values, b_vectors = _numbers(path.with_name(f"{stem}.bval")), _numbers(path.with_name(f"{stem}.bvec"))
    return Reading(
        name=stem,
        image=nib.nifti1.load(path),
        sidecar=sidecar,
        b_values_s_per_mm2=None if b_values is None else b_values.ravel(),
        b_vectors_fsl=None if b_vectors is None else b_vectors.T,
    )


def _numbers(path: Path) -> Floats | None:
    return np.loadtxt(path, ndmin=2) if path.exists() else None


# ---------------------------------------------------------------------------------------------- pairs


def _compared(ours: Sequence[Reading], theirs: Sequence[Reading], complaint: str) -> list[VolumeOpinion]:
    pairs = _pairs(ours, theirs)
    opinions = []
    for number, mine in enumerate(ours):
        if number not in pairs:
            what = complaint or f"{PROGRAM} makes no such volume of these files"
            opinions.append(VolumeOpinion(volume=mine.name, verdict="alone", other="", detail=what))
            continue
        other = theirs[pairs[number]]
        found = differences(mine, other, PROGRAM)
        opinions.append(
            VolumeOpinion(
                volume=mine.name,
                verdict="differs" if found else "agrees",
                other=other.name,
                detail="; ".join(found),
            )
        )
    for number, other in enumerate(theirs):
        if number not in pairs.values():
            what = f"only {PROGRAM} makes this volume of {' x '.join(map(str, other.shape))} voxels"
            opinions.append(VolumeOpinion(volume="", verdict="absent", other=other.name, detail=what))
    return opinions


def _pairs(ours: Sequence[Reading], theirs: Sequence[Reading]) -> dict[int, int]:
    """Which of theirs is which of ours: the most alike first."""
    costs = sorted(
        (_unlike(mine, other), number, other_number)
        for number, mine in enumerate(ours)
        for other_number, other in enumerate(theirs)
    )
    pairs: dict[int, int] = {}
    for _, number, other_number in costs:
        if number not in pairs and other_number not in pairs.values():
            pairs[number] = other_number
    return pairs


def _unlike(mine: Reading, other: Reading) -> tuple[float, ...]:
    """How little two volumes have in common, the weightiest first."""
    same_grid = mine.shape[:3] == other.shape[:3]
    named = [_disagree(mine, other, field) for field in ("EchoTime", "EchoNumber", "AcquisitionTime")]
    kinds = set(_words(mine)) ^ set(_words(other))
    apart = distance_mm(mine, other)
    return (
        0.0 if same_grid else 1.0,
        1.0 if apart > 1 else 0.0,
        named[0],
        float(mine.shape[3] != other.shape[3]),
        _correlation(mine, other) if same_grid else 1.0,
        float(len(kinds)),
        *named[1:],
        apart,
    )


def _words(reading: Reading) -> list[str]:
    words = reading.sidecar.get("ImageType")
    return [str(word) for word in words] if isinstance(words, list) else []


def _disagree(mine: Reading, other: Reading, field: str) -> float:
    one, two = mine.sidecar.get(field), other.sidecar.get(field)
    if isinstance(one, int | float) and isinstance(two, int | float):
        return float(abs(one - two) > 1e-4 * max(abs(one), abs(two)))
    return float(one is not None and two is not None and one != two)


def _correlation(mine: Reading, other: Reading) -> float:
    """0 if the middle slices of the first volumes are alike up to scaling, 1 if nothing is alike."""
    middle = mine.shape[2] // 2
    one, two = mine.values(0)[:, :, middle].ravel(), other.values(0)[:, :, middle].ravel()
    if one.shape != two.shape or one.std() == 0 or two.std() == 0:
        return 1.0
    return round(1 - abs(float(np.corrcoef(one, two)[0, 1])), 3)
