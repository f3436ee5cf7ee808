"""The protocol: which series a study has, and the truth about each, as records.

This is what a test compares with. ``studies(...)`` says for every study and series where its voxels are, when
its slices were excited, along what its gradients pointed; the writers of DICOM read the same records. Nothing
here knows how a header or a NIfTI file says it.

A *stack* is what makes one NIfTI file: a localizer has three (one an orientation), a field map's magnitudes
two (one an echo), all else one.
"""

from __future__ import annotations

import datetime
import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from enum import StrEnum

import numpy as np
from pydicom.uid import generate_uid

from pacs2bids.model import Vector
from pacs2bids.phantom.head import Floats, Head, head_of, rotation

FIELD_OF_VIEW_CENTRE_LPS = (0.0, -3.0, -8.0)
NAMES = ("One", "Two", "Three", "Four", "Five", "Six", "Seven", "Eight", "Nine")


class Form(StrEnum):
    """How a series is stored."""

    CLASSIC = "classic"  # one slice a file
    MOSAIC = "mosaic"  # one volume a file, tiled (Siemens)
    ENHANCED = "enhanced"  # one volume a file, one frame a slice
    REPORT = "report"  # no pixels


@dataclass(frozen=True, slots=True, kw_only=True)
class Grid:
    """Where the voxels of one stack are, in the patient frame, in mm.

    ``first_lps``: centre of the first voxel of the first slice. ``row_cosines_lps``: direction of increasing
    column index; ``column_cosines_lps``: of increasing row index. ``step_lps``: from slice to slice.
    """

    first_lps: Vector
    row_cosines_lps: Vector
    column_cosines_lps: Vector
    step_lps: Vector
    row_spacing_mm: float
    column_spacing_mm: float
    slice_thickness_mm: float
    rows: int
    columns: int
    slices: int

    @property
    def slice_spacing_mm(self) -> float:
        """Distance between the centres of neighbouring slices."""
        return math.hypot(*self.step_lps)

    @property
    def normal_lps(self) -> Vector:
        """Unit vector from slice to slice."""
        return _vector(np.array(self.step_lps) / self.slice_spacing_mm)

    def position_lps(self, number: int) -> Vector:
        """Centre of the first voxel of the slice with this number (from 0)."""
        return _vector(np.array(self.first_lps) + number * np.array(self.step_lps))

    def centre_lps(self, number: int) -> Vector:
        """Centre of the slice with this number (from 0)."""
        along_row = np.array(self.row_cosines_lps) * self.column_spacing_mm * (self.columns - 1) / 2
        along_column = np.array(self.column_cosines_lps) * self.row_spacing_mm * (self.rows - 1) / 2
        return _vector(np.array(self.position_lps(number)) + along_row + along_column)

    def points_lps(self) -> Floats:
        """Centres of all voxels: (slices, rows, columns, 3)."""
        slices, rows, columns = np.ogrid[: self.slices, : self.rows, : self.columns]
        points: Floats = (
            np.array(self.first_lps)
            + slices[..., np.newaxis] * np.array(self.step_lps)
            + rows[..., np.newaxis] * np.array(self.column_cosines_lps) * self.row_spacing_mm
            + columns[..., np.newaxis] * np.array(self.row_cosines_lps) * self.column_spacing_mm
        )
        return points


@dataclass(frozen=True, slots=True, kw_only=True)
class PhantomStack:
    """One NIfTI file to be: its grid and its echo."""

    grid: Grid
    volumes: int = 1
    echo_number: int = 1
    echo_time_s: float = 0.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Diffusion:
    """Weighting of one volume; the vector is a unit vector in the patient frame, (0, 0, 0) for b = 0."""

    b_value_s_per_mm2: float
    b_vector_lps: Vector


@dataclass(frozen=True, slots=True, kw_only=True)
class Echoplanar:
    """What only echo-planar series have, on the reconstructed matrix, as BIDS defines it."""

    effective_echo_spacing_s: float
    total_readout_time_s: float
    bandwidth_per_pixel_phase_encode_hz: float
    reduction_factor: int
    multiband_factor: int


@dataclass(frozen=True, slots=True, kw_only=True)
class PhantomSeries:
    """One series, and the truth about it. Times in s, angles in degrees.

    ``contrast``: what its voxels show (see ``picture``). ``start_s``, ``duration_s``: from the start of the
    study. ``slice_times_s``: onset of each slice within the volume; () where slices have none.
    ``phase_encoding_lps``: unit vector along which phase encoding runs, with its polarity.
    ``rescale``: (slope, intercept) of the stored values. ``sequence``: by which it is acquired, "" for that
    of the contrast. ``has_transfer``: with a pulse for magnetisation transfer. ``shots``: excitations
    after each of two inversions. ``labels``: of spin labelling, ASL Context of each volume.
    """

    uid: str = ""
    number: int
    description: str
    contrast: str
    form: Form
    stacks: tuple[PhantomStack, ...]
    start_s: float = 0.0
    duration_s: float = 0.0
    repetition_time_s: float = 0.0
    flip_angle_deg: float = 0.0
    inversion_time_s: float | None = None
    slice_times_s: tuple[float, ...] = ()
    phase_encoding_lps: Vector | None = None
    echoplanar: Echoplanar | None = None
    diffusion: tuple[Diffusion, ...] = ()
    image_type: tuple[str, ...] = ()
    rescale: tuple[float, float] | None = None
    echo_times_s: tuple[float, ...] = ()
    sequence: str = ""
    has_transfer: bool = False
    shots: int | None = None
    labels: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class PhantomStudy:
    """One session of one subject. ``subject``, ``session``: numbers from 1."""

    uid: str
    subject: int
    session: int
    frame_of_reference_uid: str
    started: datetime.datetime
    birth_date: datetime.date
    head: Head
    series: tuple[PhantomSeries, ...]

    @property
    def patient_name(self) -> str:
        """As DICOM writes it: family^given."""
        return f"Phantom^{NAMES[self.subject - 1]}"

    @property
    def patient_id(self) -> str:
        """As a hospital would number it."""
        return f"PHANTOM{self.subject:02d}"

    @property
    def patient_sex(self) -> str:
        """F and M in turn."""
        return "FM"[(self.subject - 1) % 2]

    @property
    def description(self) -> str:
        """StudyDescription; it names the session."""
        return f"PHANTOM^DEMO ses-{'abcdefghi'[self.session - 1]}"

    @property
    def accession_number(self) -> str:
        """Unique for each study."""
        return f"PH{self.subject:02d}{self.session:02d}"


@dataclass(frozen=True, slots=True, kw_only=True)
class _Sizes:
    """Matrices, slices and volumes: one set for the demo, one for tests."""

    t1w_matrix: int
    t1w_slices: int
    localizer_matrix: int
    localizer_slices: int
    epi_matrix: int
    epi_slices: int
    bold_volumes: int
    directions_per_shell: int


FULL = _Sizes(
    t1w_matrix=128,
    t1w_slices=96,
    localizer_matrix=128,
    localizer_slices=3,
    epi_matrix=64,
    epi_slices=30,
    bold_volumes=12,
    directions_per_shell=6,
)
SMALL = _Sizes(
    t1w_matrix=32,
    t1w_slices=20,
    localizer_matrix=32,
    localizer_slices=3,
    epi_matrix=16,
    epi_slices=12,
    bold_volumes=5,
    directions_per_shell=3,
)


def studies(*, subjects: int = 2, sessions: int = 2, small: bool = False) -> tuple[PhantomStudy, ...]:
    """The study set. The last session of the last subject (of several) is stored in other forms: its T1w and
    DWI as enhanced multi-frame images, its BOLD as one file a slice.
    """
    pairs = [(subject, session) for subject in range(1, subjects + 1) for session in range(1, sessions + 1)]
    sizes = SMALL if small else FULL
    return tuple(
        _study(subject, session, sizes, other_forms=len(pairs) > 1 and (subject, session) == pairs[-1])
        for subject, session in pairs
    )


def uid_of(*words: object) -> str:
    """A UID that follows from ``words``: the same in every run."""
    return str(generate_uid(entropy_srcs=["pacs2bids phantom", *(str(word) for word in words)]))


def _study(subject: int, session: int, sizes: _Sizes, *, other_forms: bool) -> PhantomStudy:
    key = (subject, session, sizes.t1w_matrix, other_forms)
    series = timed([_with_uid(one, key) for one in _series(sizes, session, other_forms=other_forms)])
    days = 28 * (session - 1) + 3 * (subject - 1)
    return PhantomStudy(
        uid=uid_of("study", *key),
        subject=subject,
        session=session,
        frame_of_reference_uid=uid_of("frame of reference", *key),
        started=datetime.datetime(2026, 1, 12, 9 + subject, 12 * session, 30) + datetime.timedelta(days=days),
        birth_date=datetime.date(1985 + 7 * subject, 3, 14),
        head=head_of(subject, session),
        series=series,
    )


def _with_uid(series: PhantomSeries, key: tuple[object, ...]) -> PhantomSeries:
    return replace(series, uid=uid_of("series", *key, series.number))


def timed(all_series: Sequence[PhantomSeries]) -> tuple[PhantomSeries, ...]:
    """One after the other, half a minute between; a phase map is of the scan before it."""
    timed: list[PhantomSeries] = []
    clock_s = 60.0
    for series in all_series:
        if series.contrast == "PHASE":
            clock_s = timed[-1].start_s
        timed.append(replace(series, start_s=clock_s))
        clock_s += series.duration_s + 30
    return tuple(timed)


def _series(sizes: _Sizes, session: int, *, other_forms: bool) -> list[PhantomSeries]:
    return [
        _localizer(sizes),
        _t1w(sizes, Form.ENHANCED if other_forms else Form.CLASSIC),
        *_field_map(sizes),
        _reversed_epi(sizes),
        *_bold(sizes, Form.CLASSIC if other_forms else Form.MOSAIC),
        _dwi(sizes, Form.ENHANCED if other_forms else Form.MOSAIC, downwards=session % 2 == 0),
        PhantomSeries(
            number=99,
            description="PhoenixZIPReport",
            contrast="",
            form=Form.REPORT,
            stacks=(),
            duration_s=0,
        ),
    ]


# -------------------------------------------------------------------------------------------- the series


def _localizer(sizes: _Sizes) -> PhantomSeries:
    planes = (
        ((0, 1, 0), (0, 0, -1), (1, 0, 0)),  # sagittal
        ((1, 0, 0), (0, 0, -1), (0, 1, 0)),  # coronal
        ((1, 0, 0), (0, 1, 0), (0, 0, 1)),  # axial
    )
    grids = [
        _grid(
            np.array(axes, dtype=np.float64),
            matrix=sizes.localizer_matrix,
            slices=sizes.localizer_slices,
            field_of_view_mm=256,
            thickness_mm=7,
            spacing_mm=21,
        )
        for axes in planes
    ]
    return PhantomSeries(
        number=1,
        description="localizer",
        contrast="GRE",
        form=Form.CLASSIC,
        stacks=tuple(PhantomStack(grid=grid, echo_time_s=0.004) for grid in grids),
        duration_s=14,
        repetition_time_s=0.0086,
        flip_angle_deg=20,
        image_type=("ORIGINAL", "PRIMARY", "M", "NORM", "DIS2D"),
        echo_times_s=(0.004,),
    )


def _t1w(sizes: _Sizes, form: Form) -> PhantomSeries:
    """Sagittal, slices from right to left, turned a little about all three axes."""
    turn = rotation(-4, 2.5, 3)
    axes = np.array([(0, 1, 0), (0, 0, -1), (1, 0, 0)], dtype=np.float64) @ turn.T
    thickness = 1.8 * 96 / sizes.t1w_slices
    grid = _grid(
        axes,
        matrix=sizes.t1w_matrix,
        slices=sizes.t1w_slices,
        field_of_view_mm=230.4,
        thickness_mm=thickness,
        spacing_mm=thickness,
    )
    return PhantomSeries(
        number=2,
        description="T1w_MPRAGE",
        contrast="T1w",
        form=form,
        stacks=(PhantomStack(grid=grid, echo_time_s=0.00298),),
        duration_s=312,
        repetition_time_s=2.3,
        flip_angle_deg=9,
        inversion_time_s=0.9,
        phase_encoding_lps=grid.row_cosines_lps,
        image_type=("ORIGINAL", "PRIMARY", "M", "ND", "NORM"),
        echo_times_s=(0.00298,),
    )


def _field_map(sizes: _Sizes) -> list[PhantomSeries]:
    grid = _epi_grid(sizes)
    echo_times = (0.00492, 0.00738)
    shots = grid.slices
    magnitude = PhantomSeries(
        number=3,
        description="gre_field_mapping",
        contrast="GRE",
        form=Form.CLASSIC,
        stacks=tuple(
            PhantomStack(grid=grid, echo_number=number, echo_time_s=echo_time)
            for number, echo_time in enumerate(echo_times, start=1)
        ),
        duration_s=52,
        repetition_time_s=0.4,
        flip_angle_deg=60,
        slice_times_s=_interleaved(shots, 0.0125, bands=1),
        phase_encoding_lps=grid.column_cosines_lps,
        image_type=("ORIGINAL", "PRIMARY", "M", "ND"),
        echo_times_s=echo_times,
    )
    phase = replace(
        magnitude,
        number=4,
        contrast="PHASE",
        # the difference is stored under the later echo
        stacks=(PhantomStack(grid=grid, echo_number=2, echo_time_s=echo_times[1]),),
        image_type=("ORIGINAL", "PRIMARY", "P", "ND"),
        # stored 0..4095 is -pi..pi
        rescale=(2.0, -4096.0),
    )
    return [magnitude, phase]


def _reversed_epi(sizes: _Sizes) -> PhantomSeries:
    """The geometry of the BOLD series, phase encoding from posterior to anterior, one band."""
    grid = _epi_grid(sizes)
    return PhantomSeries(
        number=5,
        description="fmap_epi_dir-PA",
        contrast="EPI",
        form=Form.MOSAIC,
        stacks=(PhantomStack(grid=grid, volumes=2, echo_time_s=0.033),),
        duration_s=2 * 2.4,
        repetition_time_s=2.4,
        flip_angle_deg=80,
        slice_times_s=_interleaved(grid.slices, 2.4 / sizes.epi_slices, bands=1),
        phase_encoding_lps=_vector(-np.array(grid.column_cosines_lps)),
        echoplanar=_echoplanar(grid, bands=1),
        image_type=("ORIGINAL", "PRIMARY", "M", "ND", "MOSAIC"),
        echo_times_s=(0.033,),
    )


def _bold(sizes: _Sizes, form: Form) -> list[PhantomSeries]:
    grid = _epi_grid(sizes)
    mosaic = ("MOSAIC",) if form is Form.MOSAIC else ()
    bands, repetition_time = 3, 1.0
    bold = PhantomSeries(
        number=7,
        description="func_task-rest_bold",
        contrast="BOLD",
        form=form,
        stacks=(PhantomStack(grid=grid, volumes=sizes.bold_volumes, echo_time_s=0.033),),
        duration_s=sizes.bold_volumes * repetition_time,
        repetition_time_s=repetition_time,
        flip_angle_deg=62,
        slice_times_s=_interleaved(grid.slices, repetition_time * bands / grid.slices, bands=bands),
        phase_encoding_lps=grid.column_cosines_lps,
        echoplanar=_echoplanar(grid, bands=bands),
        image_type=("ORIGINAL", "PRIMARY", "M", "MB", "ND", *mosaic),
        echo_times_s=(0.033,),
    )
    reference = replace(
        bold,
        number=6,
        description=f"{bold.description}_SBRef",
        contrast="SBREF",
        stacks=(PhantomStack(grid=grid, volumes=1, echo_time_s=0.033),),
        duration_s=repetition_time,
        image_type=("ORIGINAL", "PRIMARY", "M", "ND", *mosaic),
    )
    return [reference, bold]


def _dwi(sizes: _Sizes, form: Form, *, downwards: bool) -> PhantomSeries:
    """``downwards``: slices are stored from head to feet."""
    grid = _epi_grid(sizes, about_x_deg=9, about_z_deg=-2, downwards=downwards)
    weights = _shells(sizes.directions_per_shell)
    mosaic = ("MOSAIC",) if form is Form.MOSAIC else ()
    return PhantomSeries(
        number=8,
        description="dwi_dir-AP",
        contrast="DWI",
        form=form,
        stacks=(PhantomStack(grid=grid, volumes=len(weights), echo_time_s=0.089),),
        duration_s=len(weights) * 3.6,
        repetition_time_s=3.6,
        flip_angle_deg=90,
        slice_times_s=_interleaved(grid.slices, 3.6 * 2 / grid.slices, bands=2),
        phase_encoding_lps=grid.column_cosines_lps,
        echoplanar=_echoplanar(grid, bands=2),
        diffusion=weights,
        image_type=("ORIGINAL", "PRIMARY", "DIFFUSION", "NONE", "MB", "ND", *mosaic),
        echo_times_s=(0.089,),
    )


# ------------------------------------------------------------------------------------------------- parts


def _epi_grid(
    sizes: _Sizes, *, about_x_deg: float = -14, about_z_deg: float = 2, downwards: bool = False
) -> Grid:
    """Axial, oblique; 224 mm wide, 120 mm high."""
    axes = np.eye(3) @ rotation(about_x_deg, 0, about_z_deg).T
    if downwards:
        axes[2] *= -1
    return _grid(
        axes,
        matrix=sizes.epi_matrix,
        slices=sizes.epi_slices,
        field_of_view_mm=224,
        thickness_mm=108 / sizes.epi_slices,
        spacing_mm=120 / sizes.epi_slices,
        centre_lps=(1.5, 4.0, 14.0),
    )


def _grid(
    axes: Floats,
    *,
    matrix: int,
    slices: int,
    field_of_view_mm: float,
    thickness_mm: float,
    spacing_mm: float,
    centre_lps: Vector = FIELD_OF_VIEW_CENTRE_LPS,
) -> Grid:
    """``axes``: unit vectors along a row, down a column, and from slice to slice."""
    pixel = field_of_view_mm / matrix
    row, column, step = axes[0], axes[1], axes[2] * spacing_mm
    half = (matrix - 1) / 2
    first = np.array(centre_lps) - (row + column) * pixel * half - step * (slices - 1) / 2
    return Grid(
        first_lps=_vector(first),
        row_cosines_lps=_vector(row),
        column_cosines_lps=_vector(column),
        step_lps=_vector(step),
        row_spacing_mm=pixel,
        column_spacing_mm=pixel,
        slice_thickness_mm=thickness_mm,
        rows=matrix,
        columns=matrix,
        slices=slices,
    )


def _interleaved(slices: int, shot_s: float, *, bands: int) -> tuple[float, ...]:
    """Onsets: every second slice, then the others; an even number begins with the second (Siemens).

    ``bands`` slices are excited at once, spread evenly over the stack.
    """
    shots = slices // bands
    first = 1 if shots % 2 == 0 else 0
    order = [*range(first, shots, 2), *range(1 - first, shots, 2)]
    # the scanner's clock ticks 2.5 ms
    onset = {position: round(turn * shot_s / 0.0025) * 0.0025 for turn, position in enumerate(order)}
    return tuple(onset[number % shots] for number in range(slices))


def _echoplanar(grid: Grid, *, bands: int) -> Echoplanar:
    """Echoes 0.5 ms apart, every second line of k-space acquired."""
    spacing_s = 0.0005 / 2
    return Echoplanar(
        effective_echo_spacing_s=spacing_s,
        total_readout_time_s=spacing_s * (grid.rows - 1),
        bandwidth_per_pixel_phase_encode_hz=1 / (spacing_s * grid.rows),
        reduction_factor=2,
        multiband_factor=bands,
    )


def _shells(directions_per_shell: int) -> tuple[Diffusion, ...]:
    """b = 0, a shell at 1000, b = 0, a shell at 2000, b = 0; all directions distinct."""
    unweighted = Diffusion(b_value_s_per_mm2=0, b_vector_lps=(0.0, 0.0, 0.0))
    directions = _half_sphere(2 * directions_per_shell)
    inner = [Diffusion(b_value_s_per_mm2=1000, b_vector_lps=one) for one in directions[::2]]
    outer = [Diffusion(b_value_s_per_mm2=2000, b_vector_lps=one) for one in directions[1::2]]
    return (unweighted, *inner, unweighted, *outer, unweighted)


def _half_sphere(count: int) -> list[Vector]:
    """Directions spread over a half-sphere by the golden angle, none along an axis.

    Eight decimals, as the private header has them, so that the header says exactly this.
    """
    directions = []
    for number in range(count):
        height = 1 - (number + 0.5) / count
        around = number * math.pi * (3 - math.sqrt(5)) + 0.4
        radius = math.sqrt(1 - height * height)
        x, y = radius * math.cos(around), radius * math.sin(around)
        directions.append((round(x, 8), round(y, 8), round(height, 8)))
    return directions


def _vector(values: Floats) -> Vector:
    x, y, z = (float(value) for value in values)
    return x, y, z
