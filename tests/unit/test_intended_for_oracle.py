"""POPULATE_INTENDED_FOR_OPTS means what it means to heudiconv: both choose on the same sessions, and agree.

Left out, as heudiconv's own answer is a defect there: a field map whose name is the beginning of another's
gets that one's images, too (it looks for one text in the other); the magnitude of a measured field counts as
a map of its own; a label of no modality, and shims that a sidecar lacks, end with an exception. It writes
paths below the subject, we write BIDS URIs.
"""

from __future__ import annotations

import json
import random
from collections.abc import Iterator, Sequence
from itertools import product
from pathlib import Path
from typing import Any

import nibabel as nib
import numpy as np
import pytest
from heudiconv.bids import populate_intended_for

from pacs2bids.metadata import Choices, FieldMaps, complete
from pacs2bids.session import IntendedForOptions, Named
from planning import named_stack, stack

SHAPES = ((8, 8, 4), (8, 8, 6))
SHIMS = ([100, -200, 300, 4], [100, -260, 300, 4], [102, -200, 300, 4])  # the last: within 5 % of the first
SPACINGS = (3.0, 4.0)
# no two distances between a map and an image are the same
MAP_MINUTES, IMAGE_MINUTES = (0, 7, 20, 41), (3, 11, 27, 50)
LABELS = {"ModalityAcquisitionLabel": ("func", "diff", "anat", "fMRI")}
ANY_LABELS = ("rest", "func", "same", "only")
IMAGES = (
    "func/task-rest_bold",
    "func/task-func_acq-same_bold",
    "dwi/acq-same_dwi",
    "anat/acq-only_T1w",
    "dwi/dwi",
)
REFERENCE = "func/task-rest_sbref"
PARAMETERS = (
    ("Shims",),
    ("ImagingVolume",),
    ("ModalityAcquisitionLabel",),
    ("CustomAcquisitionLabel",),
    ("PlainAcquisitionLabel",),
    ("Force",),
    ("Shims", "ImagingVolume"),
    ("Force", "Shims", "CustomAcquisitionLabel"),
)


def volume(name: str, minute: int, chance: random.Random) -> Named:
    folder, words = name.split("/")
    path = f"sub-01/ses-a/{folder}/sub-01_ses-a_{words}"
    spacing, shims, shape = chance.choice(SPACINGS), chance.choice(SHIMS), chance.choice(SHAPES)
    affine = ((-spacing, 0, 0, 10.0), (0, spacing, 0, -20.0), (0, 0, spacing, -30.0), (0, 0, 0, 1.0))
    one = stack(
        1,
        grid=shape,
        affine=affine,
        sidecar={"ShimSetting": list(shims)},
        acquired=f"2026-01-02T10:{minute:02d}:00",
        phase_encoding_direction="j",
    )
    return named_stack(one, name, path)


def a_session(chance: random.Random, labels: Sequence[str]) -> Iterator[Named]:
    """Two or three field maps of any kind, and all images."""
    for run, minute in enumerate(sorted(chance.sample(MAP_MINUTES, chance.choice((2, 3)))), start=1):
        label = chance.choice(labels)
        kinds = chance.choice((("magnitude1", "phasediff"), ("fieldmap",), ("epi", "epi")))
        alike = random.Random(chance.random())
        state = alike.getstate()
        for number, kind in enumerate(kinds):
            alike.setstate(state)  # the volumes of one map were acquired together
            direction = ("dir-AP_", "dir-PA_")[number] if kind == "epi" else ""
            yield volume(f"fmap/acq-{label}_{direction}run-{run}_{kind}", minute, alike)
    for name in (*IMAGES, REFERENCE):
        yield volume(name, chance.choice(IMAGE_MINUTES), chance)


def written(session: Sequence[Named], root: Path) -> Path:
    """The session as heudiconv sees it."""
    lines = ["filename\tacq_time"]
    for one in session:
        path = root / one.name.path
        path.parent.mkdir(parents=True, exist_ok=True)
        path.with_name(path.name + ".json").write_text(json.dumps(one.stack.sidecar))
        image = nib.Nifti1Image(np.zeros(one.stack.shape[:3], np.uint8), np.array(one.stack.affine_ras))
        nib.save(image, path.with_name(path.name + ".nii.gz"))
        lines.append(f"{one.name.datatype}/{path.name}.nii.gz\t{one.stack.facts.acquired}.000000")
    folder = root / "sub-01" / "ses-a"
    (folder / "sub-01_ses-a_scans.tsv").write_text("\n".join(lines) + "\n")
    return folder


def theirs(session: Sequence[Named], root: Path, options: IntendedForOptions) -> dict[str, Any]:
    folder = written(session, root)
    populate_intended_for(str(folder), list(options.matching_parameters), options.criterion)
    found = {}
    for path in folder.glob("fmap/*.json"):
        targets = json.loads(path.read_text()).get("IntendedFor")
        if targets:
            found[path.stem] = sorted(f"bids::sub-01/{target}" for target in targets)
    return found


def ours(session: Sequence[Named], options: IntendedForOptions) -> dict[str, Any]:
    found = complete(session, Choices(fieldmaps=FieldMaps.INTENDED_FOR), options)
    return {
        path.rpartition("/")[2]: added.fields["IntendedFor"]
        for path, added in found.items()
        if "IntendedFor" in added.fields
    }


@pytest.mark.parametrize("parameters", PARAMETERS, ids="+".join)
def test_the_same_field_maps_are_for_the_same_images(parameters: tuple[str, ...], tmp_path: Path) -> None:
    chance = random.Random(repr(parameters))
    given = set()
    for number, criterion in product(range(6), ("First", "Closest")):
        labels = next((LABELS[one] for one in parameters if one in LABELS), ANY_LABELS)
        session = list(a_session(chance, labels))
        options = IntendedForOptions(matching_parameters=parameters, criterion=criterion)
        expected = theirs(session, tmp_path / f"{criterion}{number}", options)
        assert ours(session, options) == expected
        given |= {target for targets in expected.values() for target in targets}
    assert given, "no field map was for anything: nothing was compared"
