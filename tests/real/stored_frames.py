"""Frames of DICOM files as pydicom and nibabel's reader of mosaics see them: no converter is asked."""

from __future__ import annotations

import functools
from collections import defaultdict
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pydicom
from nibabel.nicom.dicomwrappers import MosaicWrapper, wrapper_from_data
from pydicom.dataset import Dataset
from pydicom.errors import InvalidDicomError
from pydicom.pixels.utils import pixel_array

PHILIPS_SCALE_SLOPE = (0x2005, 0x100E)
PHILIPS_FRAME_GROUP = (0x2005, 0x140F)


@functools.cache
def dicom_headers(folder: Path) -> dict[Path, Dataset]:
    """Every DICOM file below a folder, read by pydicom; pixels are left on disk."""
    headers: dict[Path, Dataset] = {}
    for path in sorted(path for path in folder.rglob("*") if path.is_file()):
        try:
            headers[path] = pydicom.dcmread(path, stop_before_pixels=True)
        except InvalidDicomError:
            continue  # notes beside the images
    assert headers
    return headers


@dataclass(frozen=True, kw_only=True)
class StoredFrame:
    """One frame, or one mosaic. ``frame`` counts from 0 in its file.

    ``affine_lps``: (row, column, slice) to the patient frame, mm. ``scale``: (slope, intercept) of stored
    values. ``echo``: which stack of its series it belongs to, where that has several echoes.
    """

    path: Path
    frame: int
    series: int
    echo_time_ms: float | None
    instance: int
    affine_lps: np.ndarray
    scale: tuple[float, float]
    mosaic: bool

    @property
    def place(self) -> bytes:
        """Same for frames at the same position."""
        return np.round(self.affine_lps[:3, 3], 2).tobytes()

    def stored(self) -> np.ndarray:
        """Stored values: (rows, columns, slices), or (rows, columns, slices, samples) of a colour picture."""
        if self.mosaic:
            return np.asarray(wrapper_from_data(pydicom.dcmread(self.path)).get_unscaled_data())
        return pixel_array(self.path, index=self.frame)[:, :, np.newaxis]


def stored_frames(headers: dict[Path, Dataset]) -> dict[tuple[int, float | None], list[StoredFrame]]:
    """All frames of a study by series and echo, in order of InstanceNumber and of frames in a file."""
    found = defaultdict(list)
    for path, header in headers.items():
        if "Rows" in header:
            for frame in _frames(path, header):
                found[frame.series, frame.echo_time_ms].append(frame)
    return {key: sorted(frames, key=lambda one: (one.instance, one.frame)) for key, frames in found.items()}


def volumes_of(frames: Sequence[StoredFrame]) -> list[int]:
    """Which volume each frame belongs to: how many frames were at its place before."""
    seen: dict[bytes, int] = defaultdict(int)
    volumes = []
    for frame in frames:
        volumes.append(seen[frame.place])
        seen[frame.place] += 1
    return volumes


def _frames(path: Path, header: Dataset) -> Iterator[StoredFrame]:
    mosaic = "MOSAIC" in header.ImageType
    shared = header.SharedFunctionalGroupsSequence[0] if "SharedFunctionalGroupsSequence" in header else None
    groups = header.get("PerFrameFunctionalGroupsSequence", [None])
    for number, group in enumerate(groups):
        layers = [layer for layer in (group, shared) if layer is not None]
        yield StoredFrame(
            path=path,
            frame=number,
            series=int(header.SeriesNumber),
            echo_time_ms=_echo_time(header, layers),
            instance=int(header.InstanceNumber),
            affine_lps=_mosaic_affine(path) if mosaic else _affine(header, layers),
            scale=_scale(header, layers),
            mosaic=mosaic,
        )


def _item(header: Dataset, layers: Sequence[Dataset], sequence: str) -> Dataset:
    """A frame's functional group, its own or shared (PS3.3 C.7.6.16); the header itself if it is classic."""
    return next((layer[sequence][0] for layer in layers if sequence in layer), header)


def _echo_time(header: Dataset, layers: Sequence[Dataset]) -> float | None:
    echo = _item(header, layers, "MREchoSequence")
    value = echo.get("EffectiveEchoTime", echo.get("EchoTime"))
    return None if value is None else float(value)


def _affine(header: Dataset, layers: Sequence[Dataset]) -> np.ndarray:
    """PS3.3 C.7.6.2.1.1; PixelSpacing is that between rows, then that between columns."""
    orientation = _item(header, layers, "PlaneOrientationSequence").ImageOrientationPatient
    cosines = np.array(orientation, float).reshape(2, 3)
    between_rows, between_columns = map(float, _item(header, layers, "PixelMeasuresSequence").PixelSpacing)
    affine = np.eye(4)
    affine[:3, 0] = cosines[1] * between_rows
    affine[:3, 1] = cosines[0] * between_columns
    affine[:3, 2] = np.cross(*cosines)
    affine[:3, 3] = np.array(_item(header, layers, "PlanePositionSequence").ImagePositionPatient, float)
    return affine


def _mosaic_affine(path: Path) -> np.ndarray:
    wrapper = wrapper_from_data(pydicom.dcmread(path))
    assert isinstance(wrapper, MosaicWrapper)
    return np.asarray(wrapper.affine)


def _scale(header: Dataset, layers: Sequence[Dataset]) -> tuple[float, float]:
    """RescaleSlope and -Intercept; of Philips those of the values that do not depend on the display.

    Philips: displayed = stored * RS + RI, precise = displayed / (RS * SS) with SS the private scale slope
    (Chenevert et al., Transl Oncol 2014, doi:10.1593/tlo.13811).
    """
    item = _item(header, layers, "PixelValueTransformationSequence")
    slope, intercept = float(item.get("RescaleSlope", 1)), float(item.get("RescaleIntercept", 0))
    private = [layer[PHILIPS_FRAME_GROUP][0] for layer in layers if PHILIPS_FRAME_GROUP in layer] or [header]
    if PHILIPS_SCALE_SLOPE not in private[0]:
        return slope, intercept
    scale_slope = float(private[0][PHILIPS_SCALE_SLOPE].value)
    return 1 / scale_slope, intercept / (slope * scale_slope)
