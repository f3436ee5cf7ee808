"""The records that cross floors, and the errors.

Patient -> Study -> Series -> Stack -> Frame. A *frame* is one stored plane of pixels with its own header,
whatever the storage form it came in; a *stack* is the frames that make one NIfTI file. Frames know vendors
and storage forms; above them nobody does.

Conventions: lengths in mm, times in s, angles in degrees; ``_lps`` is the DICOM patient frame (x to the
patient's Left, y to Posterior, z Superior; PS3.3 C.7.6.2.1.1), ``_ras`` the NIfTI frame. ``None`` means that
the header does not say. All records are frozen; those under "kept on disk" are written as JSON by ``files``.
They are msgspec's, not dataclasses: a class takes 0.05 ms to make instead of 1 ms, which every start would
pay fifty times, and a record a tenth of the time, which every frame would pay.
"""

from __future__ import annotations

from enum import StrEnum
from typing import TYPE_CHECKING, Any, TypeAlias

from msgspec import Struct, field

if TYPE_CHECKING:
    Json: TypeAlias = "bool | int | float | str | list[Json] | dict[str, Json] | None"
else:
    Json = Any  # msgspec knows no recursive alias; what it decodes as Any is exactly the above
Vector: TypeAlias = tuple[float, float, float]

# ---------------------------------------------------------------------------------------------- errors


class Pacs2BidsError(Exception):
    """A failure that a user can act on: where it is, what is wrong, and what to do.

    ``where`` names a file, a series or a configuration key; never a patient.
    """

    exit_code = 1

    def __init__(self, what: str, *, where: str = "", hint: str = "") -> None:
        super().__init__(what)
        self.what, self.where, self.hint = what, where, hint

    def __str__(self) -> str:
        text = f"{self.where}: {self.what}" if self.where else self.what
        stop = "" if text.endswith(("?", ".")) else "."
        return f"{text}{stop} {self.hint}" if self.hint else text


class ConfigError(Pacs2BidsError):
    """A wrong key or value in the configuration, the studies table or the command line."""

    exit_code = 2


class HeaderError(Pacs2BidsError):
    """A header that cannot be read, or a record that is missing."""


class NotDicomError(HeaderError):
    """A file that has nothing of DICOM."""


class NoInstanceError(HeaderError):
    """A DICOM file that is sound and no instance of any series: the directory of a medium."""


class ConversionError(Pacs2BidsError):
    """A stack that cannot be reconstructed exactly."""


class QueryError(Pacs2BidsError):
    """The PACS could not be asked, or its answer makes no studies table."""


class UnavailableError(QueryError):
    """The source cannot be reached or is busy: the same attempt may succeed later."""


class UnansweredError(UnavailableError):
    """Something accepts connections there, and does not answer as a PACS does."""


class PullError(Pacs2BidsError):
    """A study could not be retrieved whole."""


class HeuristicError(Pacs2BidsError):
    """The user's heuristic cannot be loaded, or gives an answer outside its contract."""


class EndlessError(HeuristicError):
    """The user's heuristic does not come to an end within its time."""


class PlanError(Pacs2BidsError):
    """Names that collide or that BIDS does not allow."""


class DatasetError(Pacs2BidsError):
    """The BIDS tree cannot be written, or does not hold what was planned."""


# ---------------------------------------------------------------------------------------------- reasons


class Reason(StrEnum):
    """Why an instance is in no stack. Every leftover carries exactly one."""

    NOT_DICOM = "not-dicom"
    UNREADABLE = "unreadable"
    NO_IMAGE = "no-image"  # structured report, raw data, presentation state, spectroscopy, ...
    NO_GEOMETRY = "no-geometry"  # a picture that has no place in the patient
    UNSUPPORTED = "unsupported"  # a form this engine refuses rather than guesses
    DUPLICATE = "duplicate"  # the same SOPInstanceUID with the same content
    INCOMPLETE = "incomplete"  # belongs to a volume that lacks slices
    INCONSISTENT = "inconsistent"  # contradicts the rest of its stack
    FOREIGN = "foreign"  # another study's instance


# ---------------------------------------------------------------------------------------------- frames


class Plane(Struct, frozen=True, kw_only=True):
    """Where one stored plane lies (PS3.3 C.7.6.2).

    ``position_lps``: centre of the first voxel. ``row_cosines_lps``: direction of increasing column index
    (the first three values of ImageOrientationPatient). ``column_cosines_lps``: of increasing row index.
    ``row_spacing_mm``: between rows (PixelSpacing[0]). ``column_spacing_mm``: between columns.
    ``placed``: False where the header gives no place in the patient; then the rest but the matrix is formal.
    """

    position_lps: Vector
    row_cosines_lps: Vector
    column_cosines_lps: Vector
    row_spacing_mm: float
    column_spacing_mm: float
    rows: int
    columns: int
    placed: bool = True


class Mosaic(Struct, frozen=True, kw_only=True):
    """How a vendor tiles one volume into one picture; tiles fill rows first.

    ``slices``: used tiles. ``tiles_per_row``: width of the grid. ``normal_lps``: unit vector from tile n to
    tile n + 1. ``slice_step_mm``: distance between their centres. ``first_position_lps``: centre of the first
    voxel of tile 0 where the vendor gives it; None: derive it from the picture's own position
    (Siemens: that of the whole picture, as if it were one huge slice).
    """

    slices: int
    tiles_per_row: int
    normal_lps: Vector
    slice_step_mm: float
    first_position_lps: Vector | None = None


class Facts(Struct, frozen=True, kw_only=True):
    """What standard and private elements of one header say, in vendor-neutral terms.

    ``phase_encoding``: "row" when phase is encoded along rows of the stored picture (increasing column
    index; InPlanePhaseEncodingDirection ROW), "column" along columns. ``phase_encoding_positive``: it runs
    towards increasing stored index (of rows from the top); None: polarity unknown.
    ``slice_times_s``: onset of each slice of a mosaic, in tile order, from the volume's first excitation.
    ``slice_time_s``: the same for a frame that is one slice (its onset may be counted from any fixed origin;
    the stack subtracts the volume's first).
    ``b_vector_lps``: unit vector in the patient frame, (0, 0, 0) for b = 0, None when unknown or isotropic.
    ``rows_reversed``: the last row is stored first, though ImageOrientationPatient speaks of the first.
    ``component``: "magnitude", "phase", "real", "imaginary". ``content``: what else tells pictures of one
    series apart that may not share a volume file though ImageType is the same ("fieldmap", "reversed").
    ``volume_type``: of spin labelling, in the words of BIDS's aslcontext.tsv: "control", "label", "m0scan".
    ``effective_echo_spacing_s``, ``total_readout_time_s``: as BIDS defines them, on the reconstructed matrix.
    ``measurement``: what the scanner calls the one scan that this is of, in all its series.
    ``rescale``: (slope, intercept) that replaces the standard rescale (Philips precise values).
    ``extra``: further BIDS or dcm2niix sidecar fields that only the vendor can tell, in BIDS units.
    """

    mosaic: Mosaic | None = None
    component: str | None = None
    content: str | None = None
    rows_reversed: bool = False
    phase_encoding: str | None = None
    phase_encoding_positive: bool | None = None
    slice_times_s: tuple[float, ...] | None = None
    slice_time_s: float | None = None
    b_value_s_per_mm2: float | None = None
    b_vector_lps: Vector | None = None
    is_diffusion_map: bool = False  # trace, ADC, FA, ...: computed, no direction
    volume_type: str | None = None
    measurement: str | None = None
    repetition_time_s: float | None = None
    multiband_factor: int | None = None
    effective_echo_spacing_s: float | None = None
    total_readout_time_s: float | None = None
    bandwidth_per_pixel_phase_encode_hz: float | None = None
    partial_fourier: float | None = None
    parallel_reduction_factor_in_plane: float | None = None
    rescale: tuple[float, float] | None = None
    extra: dict[str, Json] = field(default_factory=dict)


# ---------------------------------------------------------------------------------------------- kept on disk


class ImageRef(Struct, frozen=True, kw_only=True):
    """One stored picture: where its pixels are and how to read them (PS3.5 section 8, PS3.3 C.7.6.3).

    ``path`` is relative to the study's DICOM folder. ``frame`` counts from 0. ``offset``, ``length``: bytes
    of this frame in the file (in a deflated file: in its inflated data set). Of encapsulated (compressed)
    pixels the offset is that of the first item, which all frames share, and the length is None.
    ``big_endian``: samples of 16 bits and more, or words of 16 bits with smaller ones in them (PS3.5 8.1.2).
    ``bottom_up``: its last row is stored first.
    """

    path: str
    frame: int
    transfer_syntax_uid: str
    offset: int
    length: int | None
    rows: int
    columns: int
    samples_per_pixel: int
    planar_configuration: int
    bits_allocated: int
    bits_stored: int
    high_bit: int
    signed: bool
    is_float: bool
    photometric_interpretation: str
    big_endian: bool
    overlaid: bool = False
    bottom_up: bool = False

    @property
    def is_colour(self) -> bool:
        """Whether its values are RGB once loaded."""
        return self.samples_per_pixel > 1 or self.photometric_interpretation == "PALETTE COLOR"


class Placement(Struct, frozen=True, kw_only=True):
    """Where each plane of a stack comes from; the five tuples run in parallel, one entry a plane.

    ``image``: index into ``Stack.images``. ``tile_row``, ``tile_column``: first stored row and column of the
    plane inside that picture (0 unless tiled). ``slice``, ``volume``: where it goes.
    """

    image: tuple[int, ...]
    tile_row: tuple[int, ...]
    tile_column: tuple[int, ...]
    slice: tuple[int, ...]
    volume: tuple[int, ...]


class Gradients(Struct, frozen=True, kw_only=True):
    """Diffusion weighting, one entry a volume; vectors in the patient frame, (0, 0, 0) where b = 0."""

    b_values_s_per_mm2: tuple[float, ...]
    b_vectors_lps: tuple[Vector, ...]


class StackFacts(Struct, frozen=True, kw_only=True):
    """What a name or a report needs to know of a stack. ``acquired``: ISO date and time of frame one.

    ``volume_types``: as in Facts, one a volume; () if a volume does not tell its own. ``gaps``: volumes that
    were left out because slices are missing, and that others follow. ``measurement``: as in Facts.
    """

    acquired: str | None = None
    image_type: tuple[str, ...] = ()
    component: str | None = None
    content: str | None = None  # as in Facts: "fieldmap", "reversed"
    echo_number: int | None = None
    echo_time_s: float | None = None
    repetition_time_s: float | None = None
    inversion_time_s: float | None = None
    flip_angle_deg: float | None = None
    phase_encoding_direction: str | None = None  # BIDS letters of the stored NIfTI: i, i-, j, ...
    is_derived: bool = False
    is_diffusion: bool = False
    is_diffusion_map: bool = False
    is_localizer: bool = False  # several orientations in one series
    volume_types: tuple[str, ...] = ()
    gaps: int = 0
    orientation: str | None = None  # "axial", "coronal", "sagittal", "oblique"
    # by NumberOfTemporalPositions (0020,0105), of all stacks of its series; None of what was computed
    volumes_promised: int | None = None
    is_burned_in: bool = False  # its pixels may hold text that names the patient
    measurement: str | None = None


class Stack(Struct, frozen=True, kw_only=True):
    """The planes that make one NIfTI file, fully described; only the pixels are missing.

    ``stack_id`` names the volume under ``volumes/``: series key, hyphen, ordinal, as in "005-1".
    ``shape``: (columns, rows, slices, volumes) of the NIfTI array. ``affine_ras``: its 4x4, rows as stored
    (bottom-up), in mm. ``rescale``: one (slope, intercept) a picture in ``images`` order, or a single pair
    for all. ``display_rescale``: likewise, what Philips shows on its console, where ``rescale`` gives its
    precise values; None: the same. ``sidecar``: BIDS fields in BIDS units, without those that only a name
    can tell.
    ``held_back``: fields of institution and device, for the sidecar if these are wanted.
    ``shear``: True if the slice step is not perpendicular to the slices (tilted gantry).
    ``placed``: False for pictures without a place in the patient (secondary captures): the file says so with
    sform and qform codes of 0, and ``affine_ras`` is but a convention.
    """

    stack_id: str
    series_instance_uid: str
    sop_instance_uids: tuple[str, ...]  # one a picture in ``images`` order
    shape: tuple[int, int, int, int]
    affine_ras: tuple[tuple[float, float, float, float], ...]
    repetition_time_s: float | None
    images: tuple[ImageRef, ...]
    placement: Placement
    rescale: tuple[tuple[float, float], ...]
    gradients: Gradients | None
    facts: StackFacts
    sidecar: dict[str, Json]
    shear: bool = False
    placed: bool = True
    warnings: tuple[str, ...] = ()
    held_back: dict[str, Json] = field(default_factory=dict)
    display_rescale: tuple[tuple[float, float], ...] | None = None


class Leftover(Struct, frozen=True, kw_only=True):
    """An instance that is in no stack, and why. ``detail`` is a sentence for a person."""

    path: str
    reason: Reason
    detail: str
    sop_instance_uid: str | None = None
    series_instance_uid: str | None = None


class Physiology(Struct, frozen=True, kw_only=True):
    """A log of physiology among the leftovers: what a plan needs to know of it.

    ``log_id`` names its files under ``volumes/``: series key, "-physio", ordinal. ``path``: of the instance,
    relative to the study's DICOM folder. ``measurement``: as in Facts, "" if unknown. ``volumes``: that it
    tells times of. ``recordings``: as BIDS labels them, "cardiac". ``lost``: what of it cannot be used, and
    why. ``error``: why nothing of it can be; "" otherwise.
    """

    log_id: str
    path: str
    series_instance_uid: str
    measurement: str = ""
    volumes: int = 0
    recordings: tuple[str, ...] = ()
    lost: tuple[str, ...] = ()
    error: str = ""


class FailedStack(Struct, frozen=True, kw_only=True):
    """A stack that could not be reconstructed, and the error as a person reads it."""

    stack_id: str
    error: str


class SeriesInfo(Struct, frozen=True, kw_only=True):
    """One series as a heuristic sees it. The fields from ``dims`` on follow heudiconv's SeqInfo.

    ``series_key``: short, unique in the study, sortable: "005", or "005b" where a number repeats.
    ``dims``: (rows, columns, ...) of the representative instance as heudiconv counts them, then the number of
    files, padded with 1. ``repetition_time_s``/``echo_time_ms``: units as heudiconv's TR and TE; None if
    missing. ``joined_to``: key of the series whose stacks hold the pictures of this one: volumes of one time
    series that was exported as many series.
    """

    series_key: str
    study_instance_uid: str
    series_instance_uid: str
    series_number: int | None
    modality: str | None
    acquired: str | None
    instances: int  # received, stacked or not
    stack_ids: tuple[str, ...]
    example_path: str
    dims: tuple[int, int, int, int]
    series_files: int
    series_description: str = ""
    protocol_name: str = ""
    sequence_name: str = ""
    study_description: str = ""
    referring_physician_name: str = ""
    accession_number: str = ""
    patient_id: str = ""
    patient_age: str | None = None
    patient_sex: str | None = None
    image_type: tuple[str, ...] = ()
    is_motion_corrected: bool = False
    is_derived: bool = False
    repetition_time_s: float | None = None
    echo_time_ms: float | None = None
    date: str | None = None  # AcquisitionDate as stored, YYYYMMDD; else of AcquisitionDateTime, or the series
    time: str | None = None  # AcquisitionTime as stored, HHMMSS.FFFFFF; else of the same
    manufacturer: str | None = None
    model_name: str | None = None
    joined_to: str | None = None


class StudyIndex(Struct, frozen=True, kw_only=True):
    """``index.json``: every instance of one study, in a stack or among the leftovers.

    ``instances`` counts files received; it equals the distinct instances in stacks plus ``leftovers``.
    ``refused``: series that hold images but could not be stacked exactly, under their series key.
    """

    engine_version: str
    study_instance_uid: str
    instances: int
    series: tuple[SeriesInfo, ...]  # in time order
    stacks: tuple[Stack, ...]
    leftovers: tuple[Leftover, ...]
    refused: tuple[FailedStack, ...] = ()
    physiology: tuple[Physiology, ...] = ()


class Identity(Struct, frozen=True, kw_only=True):
    """``identity.json``, ``identity.pacs.json``: what identifies the patient of a study (``identity``).

    ``values``: DICOM keyword -> its different values, as the headers, or the PACS, give them.
    """

    study_instance_uid: str
    values: dict[str, tuple[str, ...]]


class VolumeFile(Struct, frozen=True, kw_only=True):
    """The files of one reconstructed stack: names inside ``volumes/`` and their SHA-256, hexadecimal.

    ``sources``: the instances that it was made of, SOPInstanceUID -> SHA-256 of the file; None: not computed.
    """

    stack_id: str
    input_digest: str
    files: dict[str, str]
    warnings: tuple[str, ...] = ()
    sources: dict[str, str | None] = field(default_factory=dict)


class PhysiologyFiles(Struct, frozen=True, kw_only=True):
    """The files of one log of physiology: names inside ``volumes/``, from its id on, and their SHA-256."""

    log_id: str
    files: dict[str, str]


class VolumeOpinion(Struct, frozen=True, kw_only=True):
    """What another converter says of one volume. ``volume``, ``other``: our name and its, "" if it has none.

    ``verdict``: "agrees"; "differs", and ``detail`` says how; "alone" if only we have it; "absent" if only
    the other has.
    """

    volume: str
    verdict: str
    other: str
    detail: str


class Manifest(Struct, frozen=True, kw_only=True):
    """``volumes/manifest.json``: what was reconstructed, from what, by which engine with which settings."""

    engine_version: str
    study_instance_uid: str
    volumes: tuple[VolumeFile, ...]
    failed: tuple[FailedStack, ...] = ()
    physiology: tuple[PhysiologyFiles, ...] = ()
    gzip: str = ""
    philips_values: str = ""

    @property
    def files(self) -> list[str]:
        """Names of all files beside it that it tells of."""
        volumes = [name for one in self.volumes for name in one.files]
        return volumes + [name for one in self.physiology for name in one.files]


class ReceivedInstance(Struct, frozen=True, kw_only=True):
    """One instance on disk. ``path`` is relative to the study's DICOM folder."""

    sop_instance_uid: str
    sop_class_uid: str
    series_instance_uid: str
    transfer_syntax_uid: str
    path: str
    bytes: int
    sha256: str


class Refused(Struct, frozen=True, kw_only=True):
    """An instance that was offered or announced and not kept, and why."""

    sop_instance_uid: str
    reason: str


class TransferStatus(Struct, frozen=True, kw_only=True):
    """How one transfer ended, in the source's own words, and what came while it ran, in ours.

    ``way``: "move" (C-MOVE), "get" (C-GET), "wado" (WADO-RS). ``came``, ``bytes``: instances that were new
    here, and their size; ``begun``: ISO 8601; ``duration_s``: until its final answer, or until we left it.
    The others are what the source says: ``status`` is of four hexadecimal digits (PS3.7 annex C), for
    WADO-RS of three decimal ones (HTTP), "" when it gave none.
    """

    level: str
    status: str
    message_id: int | None = None
    completed: int | None = None
    failed: int | None = None
    warning: int | None = None
    comment: str = ""
    way: str = "move"
    came: int | None = None
    bytes: int | None = None
    begun: str = ""
    duration_s: float | None = None

    @property
    def succeeded(self) -> bool:
        """Whether the source says that it did all it was asked for."""
        return self.status in ("0000", "200")


class Receipt(Struct, frozen=True, kw_only=True):
    """``receipt.json``: what the source announced for a study, what came, what is missing.

    ``announced`` maps SeriesInstanceUID to SOPInstanceUIDs; ``counted`` to how many the source says it has,
    where it does. ``complete``: nothing announced is missing, and no series falls short of its count, by two
    answers that were the same. ``asked``: how often the source was asked what it has. ``unlisted``,
    ``unlisted_series``: instances and series that it counts in the study besides, lists nowhere, and did not
    send. ``software_version``: of the modules that retrieved, as ``engine_version``.
    """

    study_instance_uid: str
    source: str
    kind: str
    complete: bool
    started: str
    finished: str
    announced: dict[str, tuple[str, ...]]
    received: tuple[ReceivedInstance, ...]
    missing: tuple[str, ...] = ()
    refused: tuple[Refused, ...] = ()
    duplicates: tuple[str, ...] = ()
    conflicting: tuple[str, ...] = ()
    foreign: tuple[str, ...] = ()
    transfers: tuple[TransferStatus, ...] = ()
    counted: dict[str, int] = field(default_factory=dict)
    asked: int | None = None
    unlisted: int = 0
    unlisted_series: int = 0
    software_version: str = ""


class HookCall(Struct, frozen=True, kw_only=True):
    """A call of a heuristic's ``custom_callable`` that is due when a session is placed.

    ``heuristic``: its file; ``version``: SHA-256 of what it is made of. ``number``: calls are in this order.
    ``prefix``: path in the dataset without extension, as the heuristic says it. ``outtypes``: likewise.
    """

    heuristic: str
    version: str
    number: int
    prefix: str
    outtypes: tuple[str, ...] | str


class PlanRow(Struct, frozen=True, kw_only=True):
    """One row of ``plan.tsv``: a stack (or a series without one) and its name, or the reason it has none.

    ``bids_name``: path in the dataset without extension, "sub-01/ses-a/anat/sub-01_ses-a_T1w"; "" if
    skipped. ``reason``: "" if named. ``metadata``: sidecar fields that follow from the name (TaskName, ...).
    ``origin``: which rule or line of the heuristic named or skipped it. ``sourcedata``: path in the dataset
    without extension of an archive of its DICOM files, "" for none. ``beside``: tables that go with the
    volume, suffix and extension -> content, as {"_aslcontext.tsv": ...}; echoes and parts share one.
    ``notes``: why ``metadata`` and ``beside`` are as they are, and what is odd about a named one, as
    "short: 12 of 300 volumes"; for a person. ``calls``: of the heuristic, when it is placed.
    ``physiology``: id of the log of physiology of its study that goes with it, "" for none.
    """

    study_instance_uid: str
    series_instance_uid: str
    series_number: int | None
    series_description: str
    stack_id: str
    acquired: str
    dims: str
    instances: int
    bids_name: str
    reason: str
    metadata: dict[str, Json] = field(default_factory=dict)
    origin: str = ""
    sourcedata: str = ""
    beside: dict[str, str] = field(default_factory=dict)
    notes: str = ""
    calls: tuple[HookCall, ...] = ()
    physiology: str = ""


# how the configuration and the command line call who numbers runs -> as in ``NamingRules``
RUNS = {"as_written": "written", "by_time": "several"}


class NamingRules(Struct, frozen=True, kw_only=True):
    """What the configuration says of names (``naming``), where a heuristic leaves it open.

    ``runs``: who numbers them; "written": the heuristic, "several": pacs2bids, by time, where several
    acquisitions share a name. ``short_runs``: "keep" those that were cancelled, "drop" them, or an entity to
    add to their names, as "acq-short". ``computed_maps``: of series that the heuristic names as diffusion
    volumes though the scanner computed them: "skip", or "name" with the suffix of the map (ADC, FA, trace,
    colFA) where BIDS has one.
    """

    runs: str = "written"
    short_runs: str = "keep"
    computed_maps: str = "skip"


class PrivacyRules(Struct, frozen=True, kw_only=True):
    """What the configuration says may leave (``privacy``).

    ``pseudonyms``: DICOM keywords whose values are no identity here, as a PatientID that a study gave out.
    ``words``: what is no name in this dataset, though a patient may have it for one. ``institution``: "keep"
    its fields, or "drop" them; ``device_serial``: also "hash". ``descriptions``: "checked", or "dropped"
    where they hold an identifier. ``burned_in``: "refuse" such pictures, or "allow" them.
    """

    pseudonyms: tuple[str, ...] = ()
    words: tuple[str, ...] = ()
    institution: str = "drop"
    device_serial: str = "drop"
    descriptions: str = "checked"
    burned_in: str = "refuse"


class Defacing(Struct, frozen=True, kw_only=True):
    """``deface`` of the configuration. ``command``: with {input} and {output}, "" for none. ``names``:
    patterns of paths in the dataset without extension, from their end.
    """

    command: str = ""
    names: tuple[str, ...] = ("anat/*",)


def is_set_aside(row: PlanRow) -> bool:
    """Whether the heuristic tripped over this series, so that it was asked again without it."""
    return row.reason.startswith("the heuristic fails on this series")


def session_key(subject: str, session: str) -> str:
    """What a session is called, in messages and as a folder: "sub-01_ses-a", or "sub-01" without session."""
    return f"sub-{subject}" + (f"_ses-{session}" if session else "")


def session_folder(key: str) -> str:
    """Where a session with this key lies in a dataset: "sub-01/ses-a", or "sub-01"."""
    return key.replace("_ses-", "/ses-")


class StudyRow(Struct, frozen=True, kw_only=True):
    """One row of the resolved ``studies.tsv``. ``session`` is "" where the study has no sessions."""

    study_instance_uid: str
    subject: str
    session: str
    source: str

    @property
    def session_key(self) -> str:
        """Name of the session's folder under ``sessions/``: "sub-01_ses-a", or "sub-01"."""
        return session_key(self.subject, self.session)


class PlacedSession(Struct, frozen=True, kw_only=True):
    """``placed.json``: the files one session put into the dataset, path in the dataset -> SHA-256.

    ``tables``: files besides that people may edit. ``volumes``: path in the dataset without extension ->
    "<StudyInstanceUID>/<stack_id>". ``participant``: age in years and sex. ``absent``: planned name -> why
    its volume is not there. ``begun``: when its first series began, ISO 8601; ``acq_time``: the same as the
    dataset tells it; ``dates``: how they are hidden (``dates.Hide.name``). ``defaced``: names of volumes that
    have no face -> the command that took it away. ``basis``: SHA-256 of plan and manifests: check and report
    tell of reasons and warnings of series, too, which change no file.
    """

    session_key: str
    subject: str
    session: str
    files: dict[str, str]
    volumes: dict[str, str]
    tables: tuple[str, ...] = ()
    participant: dict[str, Json] = field(default_factory=dict)
    absent: dict[str, str] = field(default_factory=dict)
    begun: str = ""
    acq_time: str = ""
    dates: str = ""
    defaced: dict[str, str] = field(default_factory=dict)
    basis: str = ""


class Finding(Struct, frozen=True, kw_only=True):
    """One result of the checks. ``severity``: "error" or "warning". ``origin``: which check found it."""

    severity: str
    code: str
    location: str
    message: str
    origin: str


class CheckResult(Struct, frozen=True, kw_only=True):
    """``check.json``: the verdict on the dataset."""

    ok: bool
    validator_version: str
    findings: tuple[Finding, ...]
