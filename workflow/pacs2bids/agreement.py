"""Two converters' volumes of one scan: do they say the same, and if not, what differs, in words for a person.

Storage order is a converter's choice, so both are turned to the order nearest to right, anterior, superior
before anything is compared: what is compared is where each value lies in the world, when it was acquired and
how it was weighted, never how the file is laid out.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
from nibabel.arrayproxy import ArrayProxy
from nibabel.nifti1 import Nifti1Image
from nibabel.orientations import apply_orientation, inv_ornt_aff, io_orientation
from numpy.typing import NDArray

from pacs2bids.geometry import Floats
from pacs2bids.model import Json

FAR_MM = 0.05  # corners further apart than this are elsewhere; texts of positions are rounded to less
UNEQUAL = 1e-5  # of the largest value: float32 holds seven digits
LATE_S = 0.005  # two ticks of the clock that times Siemens slices
APART_DEGREES = 0.5
AXES = ("left and right", "front and back", "head and feet")
UNITS_PER_S = {"sec": 1.0, "msec": 1e3, "usec": 1e6}


@dataclass(frozen=True, kw_only=True)
class Reading:
    """One volume file and what stands beside it.

    ``b_values_s_per_mm2``: (n,); ``b_vectors_fsl``: (n, 3), along the array axes in FSL's convention.
    """

    name: str
    image: Nifti1Image
    sidecar: Mapping[str, Json]
    b_values_s_per_mm2: Floats | None = None
    b_vectors_fsl: Floats | None = None

    @cached_property
    def orientation(self) -> NDArray[Any]:
        """nibabel's orientation of the stored axes, shape (3, 2): world axis, and 1 or -1."""
        turned: NDArray[Any] = io_orientation(self.image.affine)
        return turned

    @cached_property
    def affine_ras(self) -> Floats:
        """4x4 from the indices of the turned array to mm."""
        shape = self.image.shape[:3]
        affine: Floats = self.image.affine @ inv_ornt_aff(self.orientation, shape)
        return affine

    @cached_property
    def shape(self) -> tuple[int, int, int, int]:
        """Of the turned array: three axes and the number of volumes."""
        stored = [*self.image.shape, 1, 1][:4]
        turned = [0, 0, 0]
        for axis, (world, _) in enumerate(self.orientation):
            turned[int(world)] = int(stored[axis])
        return (turned[0], turned[1], turned[2], int(stored[3]))

    @cached_property
    def stored(self) -> NDArray[Any]:
        """Stored values, turned; three axes, volumes last."""
        raw = np.asarray(self._proxy.get_unscaled())
        turned: NDArray[Any] = apply_orientation(raw, self.orientation)
        return turned.reshape(self.shape)

    @property
    def _proxy(self) -> ArrayProxy:
        """The values on disk, before slope and intercept."""
        proxy = self.image.dataobj
        if not isinstance(proxy, ArrayProxy):
            raise TypeError(f"{self.name} is no file")
        return proxy

    def values(self, volume: int) -> Floats:
        """True values of one volume; colours as one more axis."""
        one = self.stored[..., volume]
        if one.dtype.names:
            return np.stack([one[name] for name in one.dtype.names], axis=-1).astype(np.float64)
        proxy = self._proxy
        return np.asarray(one.astype(np.float64) * proxy.slope + proxy.inter)

    @property
    def repetition_time_s(self) -> float | None:
        """From the header of a 4-D file."""
        if len(self.image.shape) < 4:
            return None
        seconds = float(self.image.header.get_zooms()[3])
        return seconds / UNITS_PER_S.get(self.image.header.get_xyzt_units()[1], 1.0)

    def b_vectors_ras(self) -> Floats | None:
        """Directions in the patient frame, (n, 3)."""
        if self.b_vectors_fsl is None:
            return None
        axes = self.image.affine[:3, :3] / np.linalg.norm(self.image.affine[:3, :3], axis=0)
        along = self.b_vectors_fsl.copy()
        if np.linalg.det(axes) > 0:
            along[:, 0] = -along[:, 0]
        turned: Floats = along @ axes.T
        return turned


def distance_mm(ours: Reading, theirs: Reading) -> float:
    """How far apart a voxel lies by the two, at the corner where it is worst; infinite for other shapes."""
    if ours.shape[:3] != theirs.shape[:3]:
        return float("inf")
    corners = np.array(list(np.ndindex(2, 2, 2))).T * (np.array(ours.shape[:3])[:, None] - 1)
    homogeneous = np.vstack([corners, np.ones(8)])
    apart = (ours.affine_ras - theirs.affine_ras) @ homogeneous
    return float(np.linalg.norm(apart[:3], axis=0).max())


def differences(ours: Reading, theirs: Reading, other: str) -> tuple[str, ...]:
    """What differs, one phrase each; empty if nothing does. ``other``: the other converter's name."""
    found = [*_grid(ours, theirs, other)]
    if ours.shape == theirs.shape:
        found += _voxels(ours, theirs, other)
    return (*found, *_times(ours, theirs, other), *_weighting(ours, theirs, other))


def _grid(ours: Reading, theirs: Reading, other: str) -> Iterator[str]:
    if ours.shape != theirs.shape:
        yield f"{_size(ours.shape)} voxels against {_size(theirs.shape)} of {other}"
    elif (apart := distance_mm(ours, theirs)) > FAR_MM:
        yield f"lies up to {apart:.2f} mm from where {other} has it"


def _size(shape: Sequence[int]) -> str:
    return " x ".join(str(size) for size in shape)


def _voxels(ours: Reading, theirs: Reading, other: str) -> Iterator[str]:
    unequal = [volume for volume in range(ours.shape[3]) if _differs(ours, theirs, volume, volume)]
    if not unequal:
        return
    explained = (
        _mirrored(ours, theirs, unequal[0]) or _reordered(ours, theirs) or _scaled(ours, theirs, unequal)
    )
    if explained:
        yield f"{explained}, against {other}"
        return
    apart = np.abs(ours.values(unequal[0]) - theirs.values(unequal[0]))
    where = f"{len(unequal)} of {ours.shape[3]} volumes" if ours.shape[3] > 1 else "the volume"
    yield (
        f"the values of {where} differ from {other}'s: by up to {apart.max():.4g} in "
        f"{100 * np.mean(apart > 0):.2g} % of the voxels of volume {unequal[0] + 1}"
    )


def _differs(ours: Reading, theirs: Reading, volume: int, other_volume: int) -> bool:
    return not _same(ours.values(volume), theirs.values(other_volume))


def _same(one: Floats, other: Floats) -> bool:
    if one.shape != other.shape:
        return False
    largest = max(float(np.abs(one).max()), float(np.abs(other).max()))
    return float(np.abs(one - other).max()) <= UNEQUAL * largest


def _mirrored(ours: Reading, theirs: Reading, volume: int) -> str:
    mine, others = ours.values(volume), theirs.values(volume)
    for axis, name in enumerate(AXES):
        if _same(np.flip(mine, axis), others):
            return f"is mirrored: {name} are exchanged"
    return ""


def _reordered(ours: Reading, theirs: Reading) -> str:
    """The same volumes in another order: each has one equal among the other's."""
    free = list(range(theirs.shape[3]))
    for volume in range(ours.shape[3]):
        twin = next((n for n in free if not _differs(ours, theirs, volume, n)), None)
        if twin is None:
            return ""
        free.remove(twin)
    return "has the same volumes in another order"


def _scaled(ours: Reading, theirs: Reading, volumes: Sequence[int]) -> str:
    mine, others = ours.values(volumes[0]).ravel(), theirs.values(volumes[0]).ravel()
    if mine.std() == 0 or others.std() == 0:
        return ""
    slope, intercept = np.polyfit(others, mine, 1)
    if not _same(others * slope + intercept, mine):
        return ""
    return f"the values are scaled: by {slope:.6g}, then {intercept:+.6g}"


# ---------------------------------------------------------------------------------------------- times


def _times(ours: Reading, theirs: Reading, other: str) -> Iterator[str]:
    mine, others = ours.repetition_time_s, theirs.repetition_time_s
    if mine is not None and others is not None and abs(mine - others) > 1e-3:
        yield f"the time from volume to volume is {mine:.6g} s against {others:.6g} s of {other}"
    ours_s, theirs_s = _slice_times_s(ours), _slice_times_s(theirs)
    if ours_s is not None and theirs_s is not None and len(ours_s) == len(theirs_s):
        late = float(np.abs(ours_s - theirs_s).max())
        if late > LATE_S:
            yield f"slice times differ by up to {late:.4g} s from {other}'s"
    one, two = _phase_axis(ours), _phase_axis(theirs)
    if one is not None and two is not None and one @ two < 0.9:
        along = "the opposite direction" if one @ two < -0.9 else "another axis"
        yield f"phase is encoded along {along}, by {other}"


def _slice_times_s(reading: Reading) -> Floats | None:
    """In the order of the turned array's slices."""
    times = reading.sidecar.get("SliceTiming")
    if not isinstance(times, list) or not times:
        return None
    # BIDS: slices are counted along the third stored axis unless SliceEncodingDirection says otherwise
    backwards = str(reading.sidecar.get("SliceEncodingDirection", "k")).endswith("-")
    turned = reading.orientation[2][1] < 0
    array = np.array(times, dtype=float)
    return array[::-1] if turned != backwards else array


def _phase_axis(reading: Reading) -> Floats | None:
    letter = reading.sidecar.get("PhaseEncodingDirection")
    if not isinstance(letter, str) or letter[:1] not in ("i", "j", "k"):
        return None
    axis: Floats = reading.image.affine[:3, "ijk".index(letter[0])]
    unit: Floats = axis / np.linalg.norm(axis)
    return -unit if letter.endswith("-") else unit


# ---------------------------------------------------------------------------------------------- diffusion


def _weighting(ours: Reading, theirs: Reading, other: str) -> Iterator[str]:
    mine, others = ours.b_values_s_per_mm2, theirs.b_values_s_per_mm2
    if mine is None or others is None or len(mine) != len(others):
        if (mine is None) != (others is None):
            with_some, without = (other, "ours") if mine is None else ("ours", other)
            yield f"{with_some} has b-values, {without} has none"
        return
    unequal = np.flatnonzero(np.abs(mine - others) > 1)
    if unequal.size:
        n = int(unequal[0])
        yield f"{unequal.size} b-values differ: volume {n + 1} has {mine[n]:g}, {others[n]:g} by {other}"
    one, two = ours.b_vectors_ras(), theirs.b_vectors_ras()
    if one is None or two is None or one.shape != two.shape:
        return
    cosine = np.abs(np.sum(one * two, axis=1)).clip(0, 1)
    weighted = (np.linalg.norm(one, axis=1) > 0.5) & (np.linalg.norm(two, axis=1) > 0.5)
    apart = np.where(weighted, np.degrees(np.arccos(cosine)), 0.0)
    if apart.size and apart.max() > APART_DEGREES:
        yield f"gradient directions differ by up to {apart.max():.1f} degrees from {other}'s"
