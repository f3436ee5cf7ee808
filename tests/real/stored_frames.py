"""Frames of DICOM files as pydicom and nibabel's reader of mosaics see them: no converter is asked.

``dicom_headers`` lists what is there; ``stored_frames`` reads one file: where each of its frames lies, what
its stored values mean, and how it is weighted by diffusion, from the standard's elements or the vendor's.
"""

from __future__ import annotations

import functools
import math
import warnings
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pydicom
from numpy.typing import NDArray
from pydicom.dataset import Dataset
from pydicom.errors import InvalidDicomError

with warnings.catch_warnings():
    warnings.simplefilter("ignore")  # "The DICOM readers are highly experimental"
    from nibabel.nicom.csareader import get_csa_header, get_vector
    from nibabel.nicom.dicomwrappers import MosaicWrapper, wrapper_from_data

Floats = NDArray[np.float64]
Pixels = NDArray[np.generic]

PHILIPS_SCALE_SLOPE = (0x2005, 0x100E)
PHILIPS_FRAME_GROUP = (0x2005, 0x140F)
UIH_TILES = (0x0065, 0x1050)
UIH_TILE_ITEMS = (0x0065, 0x1051)


@dataclass(frozen=True, kw_only=True)
class Weighting:
    """Diffusion weighting: b in s/mm^2, direction in the patient frame ((0, 0, 0): it has none)."""

    b_value: float
    b_vector_lps: Floats


@dataclass(frozen=True, kw_only=True, eq=False)
class StoredFrame:
    """One frame, or one mosaic. ``frame`` counts from 0 in its file.

    ``affine_lps``: (row, column, slice) to the patient frame, mm. ``scale``: (slope, intercept) of stored
    values. ``stored``: (rows, columns, slices) or, of a colour picture, (rows, columns, slices, samples).
    """

    path: Path
    frame: int
    affine_lps: Floats
    scale: tuple[float, float]
    stored: Pixels
    weighting: Weighting | None


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


def stored_frames(path: Path, chosen: Sequence[int] | None = None) -> Iterator[StoredFrame]:
    """The frames of one file with these numbers, or all."""
    data = pydicom.dcmread(path)
    groups = data.get("PerFrameFunctionalGroupsSequence")
    pixels = data.pixel_array if groups is None else data.pixel_array.reshape(len(groups), *_shape(data))
    for number in range(len(groups or [None])) if chosen is None else chosen:
        layers = [] if groups is None else [groups[number], data.SharedFunctionalGroupsSequence[0]]
        affine, tiles = _affine(data, layers), pixels if groups is None else pixels[number]
        stored = tiles[:, :, np.newaxis]
        if "MOSAIC" in data.get("ImageType", ()):
            affine, stored = _siemens_mosaic(data)
        elif UIH_TILES in data and "VFRAME" in data.ImageType:
            affine, stored = _uih_grid(data, affine, tiles)
        if _is_turned_over(data):
            stored = stored[::-1]
        yield StoredFrame(
            path=path,
            frame=number,
            affine_lps=affine,
            scale=_scale(data, layers),
            stored=stored,
            weighting=_weighting(data, layers),
        )


def _shape(data: Dataset) -> tuple[int, ...]:
    samples = (data.SamplesPerPixel,) if data.SamplesPerPixel > 1 else ()
    return (data.Rows, data.Columns, *samples)


def item(header: Dataset, layers: Sequence[Dataset], sequence: str) -> Dataset:
    """A frame's functional group, its own or shared (PS3.3 C.7.6.16); the header itself if it is classic."""
    return next((layer[sequence][0] for layer in layers if sequence in layer), header)


# ------------------------------------------------------------------------------------------------- place


def _affine(header: Dataset, layers: Sequence[Dataset]) -> Floats:
    """PS3.3 C.7.6.2.1.1; PixelSpacing is that between rows, then that between columns."""
    orientation = item(header, layers, "PlaneOrientationSequence").get("ImageOrientationPatient")
    cosines = np.array(orientation, float).reshape(2, 3)
    cosines /= np.linalg.norm(cosines, axis=1, keepdims=True)  # directions: their text is rounded
    spacing = item(header, layers, "PixelMeasuresSequence").PixelSpacing
    position = item(header, layers, "PlanePositionSequence").get("ImagePositionPatient", (0, 0, 0))
    affine = np.eye(4)
    affine[:3, 0] = cosines[1] * float(spacing[0])
    affine[:3, 1] = cosines[0] * float(spacing[1])
    affine[:3, 2] = np.cross(*cosines)
    affine[:3, 3] = np.array(position, float)
    return affine


def _siemens_mosaic(data: Dataset) -> tuple[Floats, Pixels]:
    """As nibabel reads it, which takes the slice normal from the CSA header."""
    wrapper = wrapper_from_data(data)
    assert isinstance(wrapper, MosaicWrapper)
    return np.asarray(wrapper.affine), np.asarray(wrapper.get_unscaled_data())


def _uih_grid(data: Dataset, affine: Floats, tiles: Pixels) -> tuple[Floats, Pixels]:
    """(0065,xx50) tiles fill a square grid row by row; each has its own position in (0065,xx51).

    United Imaging's table in github.com/rordenlab/dcm2niix, UIH/README.md.
    """
    count = int(data[UIH_TILES].value)
    places = [np.array(one.ImagePositionPatient, float) for one in data[UIH_TILE_ITEMS].value]
    assert len(places) == count
    across = math.ceil(math.sqrt(count))
    columns, rows = data.Columns // across, data.Rows // math.ceil(count / across)
    affine[:3, 3] = places[0]
    affine[:3, 2] = (places[-1] - places[0]) / (count - 1)
    np.testing.assert_allclose(places, places[0] + np.arange(count)[:, None] * affine[:3, 2], atol=0.01)
    corners = [(rows * (tile // across), columns * (tile % across)) for tile in range(count)]
    cut = [tiles[row : row + rows, column : column + columns] for row, column in corners]
    return affine, np.stack(cut, axis=2)


def _is_turned_over(header: Dataset) -> bool:
    """Whether rows are stored in reverse: in GE's research sequence epi_pepolar, where polarity is.

    User variable 12 is 2 ("cv12_2"): reversed in the first volume, then in turns (dcm_qa_polar). That rows
    are, too, only the pictures tell: turned over, they match those of the other polarity (test_vendor_facts).
    """
    if "epi_pepolar" not in str(header.get((0x0019, 0x109C), "")):
        return False
    assert "cv12_2" in header.SeriesDescription
    return int(header.TemporalPositionIdentifier) % 2 == 1


# ------------------------------------------------------------------------------------------------ values


def _scale(header: Dataset, layers: Sequence[Dataset]) -> tuple[float, float]:
    """RescaleSlope and -Intercept; of Philips those of the values that do not depend on the display.

    Philips: displayed = stored * RS + RI, precise = displayed / (RS * SS) with SS the private scale slope
    (Chenevert et al., Transl Oncol 2014, doi:10.1593/tlo.13811).
    """
    rescale = item(header, layers, "PixelValueTransformationSequence")
    slope, intercept = float(rescale.get("RescaleSlope", 1)), float(rescale.get("RescaleIntercept", 0))
    private = [layer[PHILIPS_FRAME_GROUP][0] for layer in layers if PHILIPS_FRAME_GROUP in layer] or [header]
    if PHILIPS_SCALE_SLOPE not in private[0]:
        return slope, intercept
    scale_slope = float(private[0][PHILIPS_SCALE_SLOPE].value)
    return 1 / scale_slope, intercept / (slope * scale_slope)


# --------------------------------------------------------------------------------------------- weighting


def _weighting(header: Dataset, layers: Sequence[Dataset]) -> Weighting | None:
    """None if the header says nothing of a direction, as in computed maps."""
    vendor = str(header.get("Manufacturer", "")).upper()
    if vendor.startswith("GE") and (0x0019, 0x10BB) in header:
        return _ge(header)
    if vendor.startswith("UIH") and (0x0065, 0x1009) in header:
        return _uih(header)
    if vendor.startswith("SIEMENS") and not layers and (0x0019, 0x100C) in header:
        return _siemens(header)
    return _by_the_standard(item(header, layers, "MRDiffusionSequence"))


def _by_the_standard(group: Dataset) -> Weighting | None:
    """The MR Diffusion macro (PS3.3 C.8.13.5.9); Canon and Philips write its elements in classic files."""
    if "DiffusionBValue" not in group or group.get("DiffusionDirectionality") == "ISOTROPIC":
        return None
    inner = group.get("DiffusionGradientDirectionSequence", [group])[0]
    return _weighted(float(group.DiffusionBValue), inner.get("DiffusionGradientOrientation") or (0, 0, 0))


def _siemens(header: Dataset) -> Weighting:
    """CSA's DiffusionGradientDirection is in the patient frame (nibabel: "Siemens format DICOM")."""
    csa = get_csa_header(header)
    direction = get_vector(csa, "DiffusionGradientDirection", 3) if csa else header.get((0x0019, 0x100E))
    return _weighted(float(header[0x0019, 0x100C].value), (0, 0, 0) if direction is None else direction)


def _ge(header: Dataset) -> Weighting | None:
    """(0019,xxBB..BD), image frame: (x, y, -z) of columns, rows and slices where phase runs along columns.

    (0043,xx39): b, from some release on with 10^9 added. Both: GE/README.md of github.com/rordenlab/dcm2niix.
    """
    x, y, z = (float(header[0x0019, element].value) for element in (0x10BB, 0x10BC, 0x10BD))
    b_value = float(header[0x0043, 0x1039].value[0]) % 1e9
    if b_value and header.InPlanePhaseEncodingDirection != "COL":
        return None
    return _weighted(b_value, _image_frame(header, (x, y, -z)))


def _uih(header: Dataset) -> Weighting:
    """(0065,xx37), image frame. (0065,xx09) counts the imaging gradients, too: it is never zero."""
    return _weighted(float(header[0x0065, 0x1009].value), _image_frame(header, header[0x0065, 0x1037].value))


def _image_frame(header: Dataset, vector: Sequence[float]) -> Floats:
    along_row, along_column = np.array(header.ImageOrientationPatient, float).reshape(2, 3)
    axes = np.stack([along_row, along_column, np.cross(along_row, along_column)])
    return np.asarray(np.array(vector, float) @ axes)


def _weighted(b_value: float, vector: Sequence[float] | Floats) -> Weighting:
    direction = np.array(vector, float)
    length = float(np.linalg.norm(direction))
    return Weighting(b_value=b_value, b_vector_lps=direction / length if b_value and length else np.zeros(3))
