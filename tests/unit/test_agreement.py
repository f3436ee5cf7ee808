"""Differences between two volumes in words; each case changes one thing of a volume that is known."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field, replace
from pathlib import Path

import nibabel as nib
import numpy as np
import pytest
from nibabel.orientations import apply_orientation, inv_ornt_aff

from pacs2bids.agreement import Reading, differences
from pacs2bids.geometry import fsl_b_vectors

SHAPE = (5, 6, 4, 3)
AFFINE = np.array([[2.0, 0.1, 0, -20], [-0.1, 2.0, 0, -30], [0, 0, 3.0, 10], [0, 0, 0, 1]])


@dataclass(frozen=True)
class Made:
    """A volume to be stored and read back."""

    values: np.ndarray
    affine: np.ndarray = field(default_factory=lambda: AFFINE)
    slope: float = 1.0
    repetition_time_s: float = 2.0
    slice_times_s: tuple[float, ...] = (0.0, 0.5, 1.0, 1.5)
    phase: str = "j-"
    b_values: tuple[float, ...] = (0.0, 1000.0, 1000.0)
    b_vectors_lps: tuple[tuple[float, ...], ...] = ((0, 0, 0), (1, 0, 0), (0, 0.6, 0.8))

    def read(self, folder: Path, name: str) -> Reading:
        image = nib.nifti1.Nifti1Image(self.values, self.affine)
        image.header.set_zooms((*image.header.get_zooms()[:3], self.repetition_time_s))
        image.header.set_xyzt_units("mm", "sec")
        image.header.set_slope_inter(self.slope, 0)
        image.header["vox_offset"] = 352
        path = folder / f"{name}.nii"
        path.write_bytes(image.header.binaryblock + bytes(4) + self.values.tobytes(order="F"))
        vectors = fsl_b_vectors(np.array(self.b_vectors_lps, dtype=float), self.affine)
        return Reading(
            name=name,
            image=nib.nifti1.load(path),
            sidecar={"SliceTiming": list(self.slice_times_s), "PhaseEncodingDirection": self.phase},
            b_values_s_per_mm2=np.array(self.b_values),
            b_vectors_fsl=vectors,
        )


def one(seed: int = 7) -> Made:
    values = np.random.default_rng(seed).integers(0, 900, SHAPE, dtype=np.int16)
    return Made(values)


def said(folder: Path, ours: Made, theirs: Made) -> tuple[str, ...]:
    return differences(ours.read(folder, "ours"), theirs.read(folder, "theirs"), "another")


def stored_otherwise(made: Made) -> Made:
    """The same volume, its first axis and its slices stored the other way round."""
    turn = np.array([[0, -1], [1, 1], [2, -1]])
    return replace(
        made,
        values=np.ascontiguousarray(apply_orientation(made.values, turn)),
        affine=made.affine @ inv_ornt_aff(turn, SHAPE[:3]),
        slice_times_s=made.slice_times_s[::-1],
    )


def test_storage_order_is_no_difference(tmp_path: Path) -> None:
    assert said(tmp_path, one(), one()) == ()
    assert said(tmp_path, one(), stored_otherwise(one())) == ()


def moved(made: Made) -> Made:
    affine = made.affine.copy()
    affine[2, 3] += 3.0
    return replace(made, affine=affine)


def spoilt(values: np.ndarray) -> np.ndarray:
    changed = values.copy()
    changed[1, 2, 3, 1] += 50
    return changed


CASES: dict[str, tuple[Callable[[Made], Made], str]] = {
    "fewer volumes": (
        lambda made: replace(made, values=made.values[..., :2].copy(order="F")),
        "5 x 6 x 4 x 3 voxels against 5 x 6 x 4 x 2",
    ),
    "moved by a slice": (moved, "lies up to 3.00 mm from where another has it"),
    "mirrored": (lambda made: replace(made, values=made.values[::-1].copy()), "left and right are exchanged"),
    "upside down": (
        lambda made: replace(made, values=made.values[:, :, ::-1].copy()),
        "head and feet are exchanged",
    ),
    "volumes exchanged": (
        lambda made: replace(made, values=made.values[..., [0, 2, 1]].copy()),
        "the same volumes in another order",
    ),
    "scaled": (lambda made: replace(made, slope=4.0), "are scaled: by 0.25"),
    "one voxel": (
        lambda made: replace(made, values=spoilt(made.values)),
        "differ from another's: by up to",
    ),
    "repetition time": (
        lambda made: replace(made, repetition_time_s=1.5),
        "2 s against 1.5 s of another",
    ),
    "slice times": (
        lambda made: replace(made, slice_times_s=(0.0, 1.0, 0.5, 1.5)),
        "slice times differ by up to 0.5 s",
    ),
    "polarity": (lambda made: replace(made, phase="j"), "phase is encoded along the opposite direction"),
    "phase axis": (lambda made: replace(made, phase="i"), "phase is encoded along another axis"),
    "b-values": (
        lambda made: replace(made, b_values=(0.0, 1000.0, 700.0)),
        "1 b-values differ: volume 3 has 1000, 700 by another",
    ),
    "directions": (
        lambda made: replace(made, b_vectors_lps=((0, 0, 0), (1, 0, 0), (0, 0.8, 0.6))),
        "gradient directions differ by up to 16.3 degrees",  # acos(0.6 * 0.8 + 0.8 * 0.6)
    ),
}


@pytest.mark.parametrize(("change", "words"), CASES.values(), ids=CASES.keys())
def test_each_difference_is_named(tmp_path: Path, change: Callable[[Made], Made], words: str) -> None:
    found = said(tmp_path, one(), change(one()))
    assert len(found) == 1, found
    assert words in found[0]


def test_opposite_gradients_are_the_same(tmp_path: Path) -> None:
    """Diffusion weighting has no sign."""
    opposite = replace(one(), b_vectors_lps=((0, 0, 0), (-1, 0, 0), (0, -0.6, -0.8)))
    assert said(tmp_path, one(), opposite) == ()


def test_missing_weighting_is_named(tmp_path: Path) -> None:
    without = replace(one().read(tmp_path, "theirs"), b_values_s_per_mm2=None, b_vectors_fsl=None)
    found = differences(one().read(tmp_path, "ours"), without, "another")
    assert found == ("ours has b-values, another has none",)
