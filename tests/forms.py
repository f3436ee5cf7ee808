"""One grid in every storage form: classic instances, Siemens mosaics, UIH grids, enhanced instances.

Each function of ``FORMS`` gives the instances of a series; what they hold is the same, whatever the form.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from dataclasses import dataclass

import numpy as np
from pydicom.dataset import Dataset
from pydicom.sequence import Sequence
from pydicom.uid import EnhancedMRImageStorage

from pacs2bids.phantom import csa
from synthetic import Series, uid

Form = Callable[["Marked"], list[Dataset]]


@dataclass(frozen=True, kw_only=True)
class Marked(Series):
    """A series whose every voxel has a number of its own, which tells where it is: see ``where``."""

    def stored(self, slice_: int, volume: int) -> np.ndarray:
        size = self.rows * self.columns
        first = (volume * self.slices + slice_) * size
        assert first + size <= 2**15
        return np.arange(first, first + size, dtype=np.int16).reshape(self.rows, self.columns)

    def where(self, numbers: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """(position in the patient frame (..., 3), volume) of voxels that hold these numbers."""
        rest, column = np.divmod(numbers.astype(int), self.columns)
        rest, row = np.divmod(rest, self.rows)
        volume, slice_ = np.divmod(rest, self.slices)
        grid = np.stack([self.points(number) for number in range(self.slices)])
        return grid[slice_, row, column], volume


# ----------------------------------------------------------------------------------------------- classic


def classic(series: Marked) -> list[Dataset]:
    """One instance a slice, numbered slice by slice within each volume."""
    return [data for _, _, data in _slices(series)]


def classic_siemens(series: Marked) -> list[Dataset]:
    """Numbered as ``classic``; each volume is an acquisition."""
    return _classic(series, "SIEMENS", lambda data, _, volume: _set(data, AcquisitionNumber=volume + 1))


def classic_philips(series: Marked) -> list[Dataset]:
    """All volumes of one slice, then of the next; the temporal position is told."""

    def number(data: Dataset, slice_: int, volume: int) -> None:
        instance = 1 + volume + slice_ * series.volumes
        _set(data, InstanceNumber=instance, TemporalPositionIdentifier=volume + 1)

    return _classic(series, "Philips Medical Systems", number)


def classic_ge(series: Marked) -> list[Dataset]:
    """Numbered as ``classic``; TriggerTime starts anew in each volume."""
    return _classic(
        series, "GE MEDICAL SYSTEMS", lambda data, slice_, _: _set(data, TriggerTime=10.0 * (slice_ + 1))
    )


def classic_canon(series: Marked) -> list[Dataset]:
    """Numbers start anew in each volume; only the time of acquisition tells them apart."""
    return _classic(series, "CANON_MEC", lambda data, slice_, _: _set(data, InstanceNumber=slice_ + 1))


def _classic(series: Marked, manufacturer: str, change: Callable[[Dataset, int, int], None]) -> list[Dataset]:
    instances = []
    for slice_, volume, data in _slices(series):
        data.Manufacturer = manufacturer
        change(data, slice_, volume)
        instances.append(data)
    return instances


def _slices(series: Marked) -> Iterator[tuple[int, int, Dataset]]:
    for volume in range(series.volumes):
        for slice_ in range(series.slices):
            yield slice_, volume, series.dataset(slice_, volume)


# ------------------------------------------------------------------------------------------------- tiles


def siemens_mosaic(series: Marked) -> list[Dataset]:
    """One picture a volume; its position is that of one slice as large as the picture about the same centre.

    NA-MIC's and nibabel's pages on mosaics. The direction from tile to tile is CSA's SliceNormalVector.
    """
    across = math.ceil(math.sqrt(series.slices))
    step = series.slice_step()
    outwards = np.array(series.row_cosines) * series.spacing[0] * series.columns * (across - 1) / 2
    upwards = np.array(series.column_cosines) * series.spacing[1] * series.rows * (across - 1) / 2
    tags = [
        csa.Tag("NumberOfImagesInMosaic", "US", [series.slices]),
        csa.Tag("SliceNormalVector", "FD", [*(step / np.linalg.norm(step))], 3),
    ]
    header = csa.pack(tags)
    instances = []
    for volume in range(series.volumes):
        data = _tiled(series, volume, across, across)
        data.Manufacturer, data.ImageType = "SIEMENS", ["ORIGINAL", "PRIMARY", "M", "ND", "MOSAIC"]
        data.ImagePositionPatient = list(series.position(0) - outwards - upwards)
        data.SpacingBetweenSlices = float(np.linalg.norm(step))
        block = data.private_block(0x29, "SIEMENS CSA HEADER", create=True)
        block.add_new(0x10, "OB", header + bytes(len(header) % 2))
        instances.append(data)
    return instances


def uih_grid(series: Marked) -> list[Dataset]:
    """One picture a volume; each tile has its position (github.com/rordenlab/dcm2niix, UIH/README.md)."""
    across = math.ceil(math.sqrt(series.slices))
    instances = []
    for volume in range(series.volumes):
        data = _tiled(series, volume, across, math.ceil(series.slices / across))
        data.Manufacturer, data.ImageType = "UIH", ["ORIGINAL", "PRIMARY", "VFRAME"]
        del data.ImagePositionPatient
        block = data.private_block(0x65, "Image Private Header", create=True)
        block.add_new(0x50, "DS", str(series.slices))
        tiles = [_item(ImagePositionPatient=list(series.position(tile))) for tile in range(series.slices)]
        block.add_new(0x51, "SQ", Sequence(tiles))
        instances.append(data)
    return instances


def _tiled(series: Marked, volume: int, across: int, down: int) -> Dataset:
    tiles = np.zeros((down * across, series.rows, series.columns), dtype="<i2")
    tiles[: series.slices] = [series.stored(slice_, volume) for slice_ in range(series.slices)]
    picture = tiles.reshape(down, across, series.rows, series.columns).swapaxes(1, 2)
    data = series.dataset(0, volume)
    data.InstanceNumber = data.AcquisitionNumber = volume + 1
    data.Rows, data.Columns = down * series.rows, across * series.columns
    data.PixelData = picture.tobytes()
    return data


# ---------------------------------------------------------------------------------------------- enhanced


def enhanced_siemens(series: Marked) -> list[Dataset]:
    """XA: one instance a volume, without a temporal position."""
    return [
        _enhanced(series, "Siemens Healthineers", [(slice_, volume) for slice_ in range(series.slices)])
        for volume in range(series.volumes)
    ]


def enhanced_philips(series: Marked) -> list[Dataset]:
    """All in one instance: the volumes of one slice, then those of the next."""
    frames = [(slice_, volume) for slice_ in range(series.slices) for volume in range(series.volumes)]
    return [_enhanced(series, "Philips", frames, temporal=True)]


def enhanced_ge(series: Marked) -> list[Dataset]:
    """All in one instance: the slices of one volume, then those of the next; the position in time is told."""
    return [_enhanced(series, "GE MEDICAL SYSTEMS", _by_volume(series), temporal=True)]


def enhanced_canon(series: Marked) -> list[Dataset]:
    """As ``enhanced_ge``, but only the order of frames tells the volumes apart."""
    return [_enhanced(series, "CANON_MEC", _by_volume(series))]


def _by_volume(series: Marked) -> list[tuple[int, int]]:
    return [(slice_, volume) for volume in range(series.volumes) for slice_ in range(series.slices)]


def _enhanced(
    series: Marked, manufacturer: str, frames: list[tuple[int, int]], *, temporal: bool = False
) -> Dataset:
    first_slice, first_volume = frames[0]
    data = series.dataset(first_slice, first_volume)
    shared = {
        "PlaneOrientationSequence": _item(ImageOrientationPatient=list(data.ImageOrientationPatient)),
        "PixelMeasuresSequence": _item(
            PixelSpacing=list(data.PixelSpacing), SliceThickness=data.SliceThickness
        ),
        "MRTimingAndRelatedParametersSequence": _item(RepetitionTime=2000.0, FlipAngle=70.0),
        "MREchoSequence": _item(EffectiveEchoTime=30.0),
    }
    for keyword in (
        *("ImagePositionPatient", "ImageOrientationPatient", "PixelSpacing", "SliceThickness"),
        *("EchoTime", "RepetitionTime", "FlipAngle"),
    ):
        delattr(data, keyword)
    data.file_meta.MediaStorageSOPClassUID = data.SOPClassUID = EnhancedMRImageStorage
    sop = uid(series.name, "enhanced", first_volume)
    data.file_meta.MediaStorageSOPInstanceUID = data.SOPInstanceUID = sop
    data.Manufacturer, data.NumberOfFrames = manufacturer, len(frames)
    data.InstanceNumber = data.AcquisitionNumber = first_volume + 1
    data.SharedFunctionalGroupsSequence = Sequence(
        [_item(**{name: Sequence([group]) for name, group in shared.items()})]
    )
    data.PerFrameFunctionalGroupsSequence = Sequence(
        [_frame(series, slice_, volume, temporal=temporal) for slice_, volume in frames]
    )
    data.PixelData = b"".join(series.stored(*frame).astype("<i2").tobytes() for frame in frames)
    return data


def _frame(series: Marked, slice_: int, volume: int, *, temporal: bool) -> Dataset:
    content = _item(
        StackID="1",
        InStackPositionNumber=slice_ + 1,
        FrameAcquisitionDateTime=f"20260102{1030 + volume // 30}{2 * volume % 60:02d}.5",  # each repetition
    )
    if temporal:
        content.TemporalPositionIndex = volume + 1
    position = _item(ImagePositionPatient=list(series.position(slice_)))
    return _item(
        FrameContentSequence=Sequence([content]),
        PlanePositionSequence=Sequence([position]),
    )


def _item(**elements: object) -> Dataset:
    return _set(Dataset(), **elements)


def _set(data: Dataset, **elements: object) -> Dataset:
    for keyword, value in elements.items():
        setattr(data, keyword, value)
    return data


CLASSIC: dict[str, Form] = {
    "classic": classic,
    "classic, Siemens": classic_siemens,
    "classic, Philips": classic_philips,
    "classic, GE": classic_ge,
    "classic, Canon": classic_canon,
}
TILED: dict[str, Form] = {"Siemens mosaic": siemens_mosaic, "UIH grid": uih_grid}
ENHANCED: dict[str, Form] = {
    "enhanced, Siemens": enhanced_siemens,
    "enhanced, Philips": enhanced_philips,
    "enhanced, GE": enhanced_ge,
    "enhanced, Canon": enhanced_canon,
}
FORMS = CLASSIC | TILED | ENHANCED
