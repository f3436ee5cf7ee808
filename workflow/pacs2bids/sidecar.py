"""What the sidecar of a volume says of how it was acquired: one table, and one loop that reads it.

A row of ``FIELDS`` is a name of BIDS (or, where BIDS has none, of dcm2niix, whose sidecars most tools know),
its unit, where DICOM keeps the value, and a reader made of the small combinators below. A reader that gives
None leaves its field out: an absent field means that the header does not say. The header is that of a
stack's first frame. What makes voxels incomparable splits a stack (``stack.SPLIT``, ``stack.CLOSE``), so that
every frame gives the same value; of the rest that scope SERIES has, scanners keep it constant in a series and
nothing checks it. What is known to vary is marked in the table: FIRST is by intent that of the first frame,
VOLUME is stated only where it holds for all volumes, or as a list where BIDS has one (``per_volume``).

Not in the table, on purpose: anything about the patient or a person, dates, UIDs, and free text that a
technician types beyond the names of series and protocol (PS3.15 Annex E). Fields that need the stored image
axes (PhaseEncodingDirection, SliceTiming) come with the stack, those that need the BIDS name (TaskName,
EchoTime1, Units, ...) when it is placed.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from enum import StrEnum
from typing import TypeAlias

from msgspec import Struct
from msgspec.structs import replace

from pacs2bids import __version__
from pacs2bids.header import Header
from pacs2bids.model import Facts, Json

MS_PER_S = 1000.0


class Policy(StrEnum):
    """When a field leaves. SITE: where the scanner stands, DEVICE: which one it is; both if it is wanted
    (``privacy`` of the configuration). CHECKED: always; people type it, so that the gate may take it away."""

    ALWAYS = "always"
    CHECKED = "checked"
    SITE = "site"
    DEVICE = "device"


class Source(Struct, frozen=True, kw_only=True):
    """All that a reader may look at. ``matrix``: (rows, columns) of one plane; None: not known."""

    header: Header
    facts: Facts
    matrix: tuple[int, int] | None = None


Reader: TypeAlias = Callable[[Source], Json]


class Scope(StrEnum):
    """For what a value holds. SERIES: for every frame of a stack. FIRST: for its first frame only, where one
    wants to know when or how it began. VOLUME: it may change from volume to volume."""

    SERIES = "series"
    FIRST = "first"
    VOLUME = "volume"


class Field(Struct, frozen=True, kw_only=True):
    """One sidecar field: its name, the unit of the value that ``read`` gives, and where DICOM defines it.

    ``is_list``: of a field of VOLUME scope, BIDS lets it be a list with one value a volume.
    """

    bids: str
    read: Reader
    cite: str
    unit: str | None = None
    policy: Policy = Policy.ALWAYS
    scope: Scope = Scope.SERIES
    is_list: bool = False


def sidecar(
    header: Header,
    facts: Facts,
    *,
    matrix: tuple[int, int] | None = None,
    repetition_time_s: float | None = None,
    site: bool = False,
) -> dict[str, Json]:
    """Sidecar fields of a stack, in BIDS units and in the order of the table.

    ``header``, ``facts``: of its first frame; what facts say is read from them alone. ``matrix``: (rows,
    columns) of one plane; for anything but a mosaic the header knows it. ``repetition_time_s``: time from
    volume to volume of a 4-D stack, in place of what the facts say. ``site``: also the fields that name the
    institution and the individual scanner, which BIDS recommends and privacy does not.
    """
    if repetition_time_s is not None:
        facts = replace(facts, repetition_time_s=repetition_time_s)
    source = Source(header=header, facts=facts, matrix=matrix or _stored_matrix(header, facts))
    answers = {row.bids: row.read(source) for row in FIELDS if site or row.policy not in HELD_BACK}
    values = {name: value for name, value in answers.items() if value is not None}
    # a row states where its value comes from; what vendors add fills gaps and never overrides it
    return values | {name: value for name, value in facts.extra.items() if name not in values}


def held_back(header: Header) -> dict[str, Json]:
    """The fields that leave only if they are wanted."""
    source = Source(header=header, facts=_NO_FACTS)
    answers = {row.bids: row.read(source) for row in FIELDS if row.policy in HELD_BACK}
    return {name: value for name, value in answers.items() if value is not None}


def per_volume(header: Header) -> tuple[Json, ...]:
    """What the rows of VOLUME scope say for one frame, in the order of ``VOLUME_FIELDS``."""
    source = Source(header=header, facts=_NO_FACTS)
    return tuple([row.read(source) for row in VOLUME_FIELDS])


_NO_FACTS = Facts()


def of_volumes(said: Sequence[Sequence[tuple[Json, ...]]]) -> dict[str, Json]:
    """The fields of VOLUME scope that vary in a stack: a list, one value a volume, or None: not to be stated.

    ``said``: what ``per_volume`` gave, by volume and slice. A list where BIDS has one and all slices of each
    volume agree; else no one value holds.
    """
    fields: dict[str, Json] = {}
    for column, row in enumerate(VOLUME_FIELDS):
        volumes = [list(dict.fromkeys(frame[column] for frame in volume)) for volume in said]
        if len({value for volume in volumes for value in volume}) > 1:
            is_list = row.is_list and all(len(volume) == 1 and volume[0] is not None for volume in volumes)
            fields[row.bids] = [volume[0] for volume in volumes] if is_list else None
    return fields


def values_of(name: str, said: Sequence[Sequence[tuple[Json, ...]]]) -> list[Json]:
    """All values that a field of VOLUME scope has in a stack, each once. ``said``: as for ``of_volumes``."""
    column = [row.bids for row in VOLUME_FIELDS].index(name)
    return list(dict.fromkeys(frame[column] for volume in said for frame in volume))


def _stored_matrix(header: Header, facts: Facts) -> tuple[int, int] | None:
    rows, columns = header.integer("Rows"), header.integer("Columns")
    if facts.mosaic is not None or rows is None or columns is None:  # a mosaic's Rows are all its tiles'
        return None
    return rows, columns


# ---------------------------------------------------------------------------------------------- combinators


def text(keyword: str) -> Reader:
    """All values of an element as one text, joined by backslashes as DICOM stores them."""
    return lambda source: "\\".join(source.header.texts(keyword)) or None


def texts(keyword: str) -> Reader:
    """All values of an element as a list of texts."""
    return lambda source: list(source.header.texts(keyword)) or None


def number(keyword: str, per: float = 1.0) -> Reader:
    """First value of an element, divided by ``per``: 35.7 ms / 1000 is 0.0357 s, where * 0.001 is not."""

    def read(source: Source) -> float | None:
        value = source.header.number(keyword)
        return None if value is None else value / per

    return read


def integer(keyword: str) -> Reader:
    """First value of an element as an integer."""
    return lambda source: source.header.integer(keyword)


def numbers(keyword: str, count: int) -> Reader:
    """All values of an element if there are ``count`` of them."""

    def read(source: Source) -> list[Json] | None:
        values = source.header.numbers(keyword)
        return list(values) if len(values) == count else None

    return read


def choice(keyword: str, meaning: Mapping[str, Json]) -> Reader:
    """What the first value of a coded element means; None for a code that is not in ``meaning``."""
    return lambda source: meaning.get((source.header.text(keyword) or "").upper())


def clock_time(keyword: str) -> Reader:
    """Time of day of a TM or DT element (PS3.5 section 6.2) as HH:MM:SS.ffffff.

    None unless it is given to the second. TM of the old form with colons is read too. The date of a DT and
    its offset from UTC are left out.
    """

    def read(source: Source) -> str | None:
        match = _TIME.fullmatch(source.header.text(keyword) or "")
        if match is None:
            return None
        return f"{match['h']}:{match['m']}:{match['s']}.{match['f'] or '':0<6}"

    return read


_TIME = re.compile(
    r"(?:\d{8}(?=\d{6}))?"  # YYYYMMDD of a DT
    r"(?P<h>[01]\d|2[0-3]):?(?P<m>[0-5]\d):?(?P<s>[0-5]\d|60)(?:\.(?P<f>\d{1,6}))?"  # 60: a leap second
    r"(?:[+-]\d{4})?"
)


def fact(name: str) -> Reader:
    """A fact that the vendor's module has read."""

    def read(source: Source) -> Json:
        value: Json = getattr(source.facts, name)
        return value

    return read


def constant(value: Json) -> Reader:
    """The same value for every stack."""
    return lambda _: value


def vendor(name: str) -> Reader:
    """What the vendor's module says under this name, where it knows better than the standard's elements."""
    return lambda source: source.facts.extra.get(name)


def item(sequence: str, read: Reader) -> Reader:
    """``read`` of the first item of a sequence; None if there is none."""

    def read_item(source: Source) -> Json:
        items = source.header.items(sequence)
        return read(replace(source, header=items[0])) if items else None

    return read_item


def first_of(*readers: Reader) -> Reader:
    """The first answer that is not None."""
    return lambda source: next((value for read in readers if (value := read(source)) is not None), None)


def positive(read: Reader) -> Reader:
    """A number above zero. Scanners fill in 0 where a time does not apply, and BIDS forbids it."""

    def checked(source: Source) -> Json:
        value = read(source)
        return value if isinstance(value, int | float) and value > 0 else None

    return checked


def megahertz(read: Reader) -> Reader:
    """A resonance frequency: thousands of MHz are of no magnet but a number in Hz (the vendor's to tell)."""

    def checked(source: Source) -> Json:
        value = positive(read)(source)
        return value if isinstance(value, int | float) and value < _MOST_MHZ else None

    return checked


_MOST_MHZ = 3000  # hydrogen at 70 T


def contains(keyword: str, value: str) -> Reader:
    """True if ``value`` is among an element's values; None, not False, if it is not."""
    return lambda source: value in source.header.texts(keyword) or None


# ---------------------------------------------------------------------------------------------- readers


def acquisition_matrix_phase(source: Source) -> int | None:
    """Acquired phase-encoding lines. The element's last two values are phase rows and columns, one of them 0.

    Which of them is filled does not follow the direction (Siemens writes 72, 0, 0, 72 for COL: corpus nih/3).
    """
    values = source.header.numbers("AcquisitionMatrix")
    phase = [int(value) for value in values[2:] if value > 0]
    return phase[0] if len(values) == 4 and len(phase) == 1 else None


def reconstructed_matrix_phase(source: Source) -> int | None:
    """Voxels along the phase-encoding axis of one plane: rows if phase runs along a column."""
    if source.matrix is None:
        return None
    rows, columns = source.matrix
    sizes = {"ROW": columns, "COL": rows}
    return sizes.get(in_plane_phase_encoding(source) or "")


def in_plane_phase_encoding(source: Source) -> str | None:
    """ROW or COL, as classic images spell it."""
    return {"row": "ROW", "column": "COL"}.get(source.facts.phase_encoding or "")


def whole_body_sar(source: Source) -> float | None:
    """Whole-body specific absorption rate; enhanced images list one rate a definition."""
    for rate in source.header.items("SpecificAbsorptionRateSequence"):
        if rate.text("SpecificAbsorptionRateDefinition") == "IEC_WHOLE_BODY":
            return rate.number("SpecificAbsorptionRateValue")
    return source.header.number("SAR")


def pulse_sequence_type(source: Source) -> str | None:
    """Family of the sequence in words, as far as the standard's own elements tell it."""
    coded, variant = set(source.header.texts("ScanningSequence")), source.header.texts("SequenceVariant")
    planar = source.header.text("EchoPlanarPulseSequence") == "YES" or "EP" in coded
    echo = _ECHOES.get(source.header.text("EchoPulseSequence") or "") or _classic_echo(coded)
    if not planar and echo == _ECHOES["GRADIENT"]:
        if magnetisation_prepared(source):
            return "MPRAGE"
        echo = f"Spoiled {echo}" if "SP" in variant else echo
    multiband = "Multiband" if (source.facts.multiband_factor or 1) > 1 else ""
    words = [multiband if planar else "", echo, "EPI" if planar else ""]
    return " ".join(word for word in words if word) or None


_ECHOES = {"GRADIENT": "Gradient Echo", "SPIN": "Spin Echo", "BOTH": "Gradient and Spin Echo"}


def _classic_echo(scanning_sequence: set[str]) -> str:
    echoes = {"GR": "GRADIENT", "SE": "SPIN"}.keys() & scanning_sequence
    if len(echoes) == 2:
        return _ECHOES["BOTH"]
    return {"GR": _ECHOES["GRADIENT"], "SE": _ECHOES["SPIN"]}.get("".join(echoes), "")


def magnetisation_prepared(source: Source) -> bool:
    """Whether each train of a 3-D gradient echo follows an inversion: MPRAGE."""
    header = source.header
    return (
        header.text("MRAcquisitionType") == "3D"
        and "MP" in header.texts("SequenceVariant")
        and inversion_time_s(source) is not None
    )


def excitation_time_s(source: Source) -> float | None:
    """Time from excitation to excitation where a 3-D volume takes several: RepetitionTime as DICOM has it."""
    repetition_ms, volume_s = source.header.number("RepetitionTime"), source.facts.repetition_time_s
    if not repetition_ms or not volume_s or source.header.text("MRAcquisitionType") != "3D":
        return None
    repetition_s = repetition_ms / MS_PER_S
    return repetition_s if volume_s > 1.01 * repetition_s else None


def labeling_delay_s(source: Source) -> float | None:
    """Inversion time of a spin-labelled picture, by which BIDS defines the delay."""
    labelled = source.header.text("ArterialSpinLabelingContrast") is not None
    delay = inversion_time_s(source)
    return delay if labelled and isinstance(delay, float) else None


def active_coil_elements(source: Source) -> str | None:
    """Names of the used elements of a multi-coil. Not counted: one name may stand for a group of elements
    ("MULTI ELEMENT": Philips, corpus cs_dl)."""
    elements = source.header.items("MultiCoilDefinitionSequence")
    used = [one.text("MultiCoilElementName") for one in elements if one.text("MultiCoilElementUsed") == "YES"]
    return ";".join(name for name in used if name) or None


def ct_units(source: Source) -> str | None:
    """HU of original CT slices: there RescaleType may be missing only if it is HU (PS3.3 C.8.2.1)."""
    header = source.header
    is_slice = header.text("Modality") == "CT" and header.texts("ImageType")[:3:2] == ("ORIGINAL", "AXIAL")
    units = header.text("RescaleType") or ("HU" if is_slice and header.number("RescaleSlope") else None)
    return "HU" if units == "HU" else None


def deidentification_codes(source: Source) -> list[Json] | None:
    """Codes of what was done to remove identity, as BIDS lists them."""
    names = ("CodeValue", "CodeMeaning", "CodingSchemeDesignator", "CodingSchemeVersion")
    codes: list[Json] = []
    for code in source.header.items("DeidentificationMethodCodeSequence"):
        said: dict[str, Json] = {name: text for name in names if (text := code.text(name)) is not None}
        if said:
            codes.append(said)
    return codes or None


def is_pet(source: Source) -> bool:
    """Whether the picture is of positron emission tomography."""
    return source.header.text("Modality") == "PT"


def radionuclide(source: Source) -> str | None:
    """Nuclide as BIDS spells it, "F18", from DICOM's "^18^Fluorine" (PS3.16 CID 4020)."""
    match = _NUCLIDE.fullmatch(source.header.text("CodeMeaning") or "")
    symbol = _SYMBOLS.get(match["element"].lower()) if match else None
    return f"{symbol}{match['mass']}" if match and symbol else None


_NUCLIDE = re.compile(r"\^(?P<mass>\d+m?)\^(?P<element>[A-Za-z]+)")
_SYMBOLS = {
    "bromine": "Br",
    "carbon": "C",
    "copper": "Cu",
    "fluorine": "F",
    "gallium": "Ga",
    "iodine": "I",
    "nitrogen": "N",
    "oxygen": "O",
    "rubidium": "Rb",
    "zirconium": "Zr",
}

# ---------------------------------------------------------------------------------------------- the table

YES_NO: Mapping[str, Json] = {"YES": True, "NO": False}

inversion_time_s = positive(first_of(number("InversionTimes", MS_PER_S), number("InversionTime", MS_PER_S)))

# Sections are of PS3.3; "enh." marks the functional groups and modules of enhanced multi-frame images.
FIELDS: tuple[Field, ...] = (
    # -- scanner
    Field(bids="Modality", read=text("Modality"), cite="C.7.3.1 (0008,0060)"),
    Field(
        bids="MagneticFieldStrength",
        unit="T",
        read=positive(number("MagneticFieldStrength")),
        cite="C.8.3.1 (0018,0087) T",
    ),
    Field(
        bids="ImagingFrequency",
        unit="MHz",
        read=megahertz(first_of(number("ImagingFrequency"), number("TransmitterFrequency"))),
        cite="C.8.3.1 (0018,0084) MHz; enh. C.8.13.5.6 (0018,9098) MHz",
    ),
    Field(bids="Manufacturer", read=text("Manufacturer"), cite="C.7.5.1 (0008,0070)"),
    Field(bids="ManufacturersModelName", read=text("ManufacturerModelName"), cite="C.7.5.1 (0008,1090)"),
    Field(bids="SoftwareVersions", read=text("SoftwareVersions"), cite="C.7.5.1 (0018,1020)"),
    Field(
        bids="InstitutionName",
        read=text("InstitutionName"),
        cite="C.7.5.1 (0008,0080)",
        policy=Policy.SITE,
    ),
    Field(
        bids="InstitutionAddress",
        read=text("InstitutionAddress"),
        cite="C.7.5.1 (0008,0081)",
        policy=Policy.SITE,
    ),
    Field(
        bids="InstitutionalDepartmentName",
        read=text("InstitutionalDepartmentName"),
        cite="C.7.5.1 (0008,1040)",
        policy=Policy.SITE,
    ),
    Field(bids="StationName", read=text("StationName"), cite="C.7.5.1 (0008,1010)", policy=Policy.SITE),
    Field(
        bids="DeviceSerialNumber",
        read=text("DeviceSerialNumber"),
        cite="C.7.5.1 (0018,1000)",
        policy=Policy.DEVICE,
    ),
    # -- series
    Field(bids="BodyPart", read=text("BodyPartExamined"), cite="C.7.3.1 (0018,0015)"),
    Field(bids="PatientPosition", read=text("PatientPosition"), cite="C.7.3.1 (0018,5100)"),
    Field(
        bids="SeriesDescription",
        read=text("SeriesDescription"),
        cite="C.7.3.1 (0008,103E)",
        policy=Policy.CHECKED,
    ),
    Field(bids="ProtocolName", read=text("ProtocolName"), cite="C.7.3.1 (0018,1030)", policy=Policy.CHECKED),
    Field(bids="SeriesNumber", read=integer("SeriesNumber"), cite="C.7.3.1 (0020,0011)"),
    Field(
        bids="AcquisitionNumber",
        read=first_of(integer("AcquisitionNumber"), integer("FrameAcquisitionNumber")),
        cite="C.7.10.1 (0020,0012); enh. C.7.6.16.2.2 (0020,9156)",
        scope=Scope.FIRST,
    ),
    Field(
        bids="AcquisitionTime",
        read=first_of(
            clock_time("AcquisitionTime"),
            clock_time("AcquisitionDateTime"),
            clock_time("FrameAcquisitionDateTime"),
        ),
        cite="C.7.10.1 (0008,0032); enh. C.7.10.1 (0008,002A), C.7.6.16.2.2 (0018,9074)",
        scope=Scope.FIRST,
    ),
    Field(
        bids="ImageType",
        read=first_of(texts("FrameType"), texts("ImageType")),
        cite="C.7.6.1 (0008,0008); enh. C.8.13.5.1 (0008,9007)",
    ),
    # -- sequence
    Field(
        bids="MRAcquisitionType",
        read=choice("MRAcquisitionType", {"1D": "1D", "2D": "2D", "3D": "3D"}),
        cite="C.8.3.1 (0018,0023); enh. C.8.13.4",
    ),
    Field(bids="ScanningSequence", read=text("ScanningSequence"), cite="C.8.3.1 (0018,0020)"),
    Field(bids="SequenceVariant", read=text("SequenceVariant"), cite="C.8.3.1 (0018,0021)"),
    Field(bids="ScanOptions", read=text("ScanOptions"), cite="C.8.3.1 (0018,0022)"),
    Field(
        bids="SequenceName",
        read=first_of(text("SequenceName"), text("PulseSequenceName")),
        cite="C.8.3.1 (0018,0024); enh. C.8.13.4 (0018,9005)",
        scope=Scope.FIRST,  # Siemens names the direction of diffusion in it, "ep_b1000#12" (corpus decubitus)
    ),
    Field(
        bids="PulseSequenceType",
        read=first_of(vendor("PulseSequenceType"), pulse_sequence_type),
        cite="C.8.3.1 (0018,0020), (0018,0021), (0018,0023), (0018,0082); "
        "enh. C.8.13.4 (0018,9008), (0018,9018), C.8.13.5.5 (0018,9079)",
    ),
    # -- times and angles
    Field(bids="EchoNumber", read=integer("EchoNumbers"), cite="C.8.3.1 (0018,0086)"),
    Field(
        bids="EchoTime",
        unit="s",
        read=positive(first_of(number("EffectiveEchoTime", MS_PER_S), number("EchoTime", MS_PER_S))),
        cite="C.8.3.1 (0018,0081) ms; enh. C.8.13.5.4 (0018,9082) ms",
    ),
    Field(
        bids="RepetitionTime",
        unit="s",
        read=positive(first_of(fact("repetition_time_s"), number("RepetitionTime", MS_PER_S))),
        cite="C.8.3.1 (0018,0080) ms; enh. C.8.13.5.2; the time from volume to volume where a vendor says it",
        scope=Scope.VOLUME,  # triggered by the heart, or several in one series to map T1 or B1
    ),
    Field(
        bids="InversionTime",
        unit="s",
        read=inversion_time_s,
        cite="C.8.3.1 (0018,0082) ms; enh. C.8.13.5.5 (0018,9079) ms",
        scope=Scope.VOLUME,
    ),
    Field(
        bids="FlipAngle",
        unit="degree",
        read=positive(number("FlipAngle")),
        cite="C.8.3.1 (0018,1314) degrees; enh. C.8.13.5.2",
        scope=Scope.VOLUME,
        is_list=True,
    ),
    Field(
        bids="RepetitionTimeExcitation",
        unit="s",
        read=excitation_time_s,
        cite="C.8.3.1 (0018,0080) ms, (0018,0023); enh. C.8.13.5.2",
    ),
    Field(
        bids="AcquisitionDuration",
        unit="s",
        read=positive(number("AcquisitionDuration")),
        cite="C.8.3.1, enh. C.8.13.1 (0018,9073) s; BIDS: of the whole scan",
    ),
    # -- magnetisation
    Field(
        bids="MTState",
        read=first_of(
            choice("MagnetizationTransfer", {"ON_RESONANCE": True, "OFF_RESONANCE": True, "NONE": False}),
            contains("SequenceVariant", "MTC"),
        ),
        cite="C.8.3.1 (0018,0021); enh. C.8.13.5.6 (0018,9020)",
    ),
    Field(
        bids="SpoilingState",
        read=first_of(
            choice("Spoiling", {"RF": True, "GRADIENT": True, "RF_AND_GRADIENT": True, "NONE": False}),
            contains("SequenceVariant", "SP"),
        ),
        cite="C.8.3.1 (0018,0021); enh. C.8.13.5.5 (0018,9016)",
    ),
    Field(
        bids="SpoilingType",
        read=choice("Spoiling", {"RF": "RF", "GRADIENT": "GRADIENT", "RF_AND_GRADIENT": "COMBINED"}),
        cite="enh. C.8.13.5.5 (0018,9016)",
    ),
    Field(
        bids="ContrastBolusIngredient",
        read=choice(
            "ContrastBolusIngredient",
            {code: code for code in ("IODINE", "GADOLINIUM", "CARBON DIOXIDE", "BARIUM", "XENON")},
        ),
        cite="C.7.6.4 (0018,1048)",
    ),
    Field(
        bids="WaterSuppression",
        read=choice(
            "SpectrallySelectedSuppression",
            {"WATER": True, "FAT_AND_WATER": True, "FAT": False, "SILICON_GEL": False, "NONE": False},
        ),
        cite="enh. C.8.13.4 (0018,9025)",
    ),
    Field(
        bids="SAR",
        unit="W/kg",
        read=whole_body_sar,
        cite="C.8.3.1 (0018,1316); enh. C.8.13.5.2 (0018,9239), (0018,9179), (0018,9181)",
        scope=Scope.FIRST,
    ),
    Field(
        bids="NumberOfAverages",
        read=positive(number("NumberOfAverages")),
        cite="C.8.3.1 (0018,0083); enh. C.8.13.5.10",
        scope=Scope.VOLUME,  # more for higher b-values (corpus uih)
    ),
    # -- geometry and k-space
    Field(
        bids="SliceThickness",
        unit="mm",
        read=positive(number("SliceThickness")),
        cite="C.7.6.2 (0018,0050) mm; enh. C.7.6.16.2.1",
    ),
    Field(
        bids="SpacingBetweenSlices",
        unit="mm",
        read=number("SpacingBetweenSlices"),
        cite="C.8.3.1 (0018,0088) mm; enh. C.7.6.16.2.1",
    ),
    Field(
        bids="EchoTrainLength",
        read=positive(integer("EchoTrainLength")),
        cite="C.8.3.1 (0018,0091); enh. C.8.13.5.2",
    ),
    Field(
        bids="PercentPhaseFOV",
        unit="%",
        read=positive(number("PercentPhaseFieldOfView")),
        cite="C.8.3.1 (0018,0094); enh. C.8.13.5.3",
    ),
    Field(
        bids="PercentSampling",
        unit="%",
        read=positive(number("PercentSampling")),
        cite="C.8.3.1 (0018,0093); enh. C.8.13.5.3",
    ),
    Field(
        bids="PhaseEncodingSteps",
        read=positive(
            first_of(integer("NumberOfPhaseEncodingSteps"), integer("MRAcquisitionPhaseEncodingStepsInPlane"))
        ),
        cite="C.8.3.1 (0018,0089); enh. C.8.13.5.3 (0018,9231)",
    ),
    Field(
        bids="PhaseEncodingStepsOutOfPlane",
        read=positive(integer("MRAcquisitionPhaseEncodingStepsOutOfPlane")),
        cite="enh. C.8.13.5.3 (0018,9232)",
    ),
    Field(
        bids="FrequencyEncodingSteps",
        read=positive(integer("MRAcquisitionFrequencyEncodingSteps")),
        cite="enh. C.8.13.5.3 (0018,9058)",
    ),
    Field(
        bids="NumberOfKSpaceTrajectories",
        read=positive(integer("NumberOfKSpaceTrajectories")),
        cite="enh. C.8.13.4 (0018,9093)",
    ),
    Field(
        bids="AcquisitionMatrixPE",
        read=first_of(acquisition_matrix_phase, integer("MRAcquisitionPhaseEncodingStepsInPlane")),
        cite="C.8.3.1 (0018,1310); enh. C.8.13.5.3 (0018,9231)",
    ),
    Field(
        bids="ReconMatrixPE",
        read=reconstructed_matrix_phase,
        cite="C.7.6.3 (0028,0010), (0028,0011); C.8.3.1 (0018,1312)",
    ),
    Field(
        bids="InPlanePhaseEncodingDirectionDICOM",
        read=in_plane_phase_encoding,
        cite="C.8.3.1 (0018,1312); enh. C.8.13.5.3",
    ),
    Field(
        bids="ImageOrientationPatientDICOM",
        read=numbers("ImageOrientationPatient", 6),
        cite="C.7.6.2 (0020,0037); enh. C.7.6.16.2.4",
        scope=Scope.FIRST,  # within the tolerance of stack.CLOSE (corpus ge: the tenth digit)
    ),
    Field(
        bids="PartialFourier",
        read=fact("partial_fourier"),
        cite="enh. C.8.13.5.5 (0018,9081); the fraction is the vendor's to tell",
    ),
    Field(
        bids="PartialFourierDirection",
        read=text("PartialFourierDirection"),
        cite="enh. C.8.13.5.5 (0018,9036)",
    ),
    Field(
        bids="ParallelReductionFactorInPlane",
        read=positive(fact("parallel_reduction_factor_in_plane")),
        cite="enh. C.8.13.5.5 (0018,9069)",
    ),
    Field(
        bids="ParallelReductionFactorOutOfPlane",
        read=positive(number("ParallelReductionFactorOutOfPlane")),
        cite="enh. C.8.13.5.5 (0018,9155)",
    ),
    Field(
        bids="ParallelAcquisitionTechnique",
        read=text("ParallelAcquisitionTechnique"),
        cite="enh. C.8.13.5.5 (0018,9078)",
    ),
    Field(
        bids="MultibandAccelerationFactor",
        read=fact("multiband_factor"),
        cite="BIDS; DICOM has no element for it: the vendor's to tell",
    ),
    # -- readout
    Field(
        bids="PixelBandwidth",
        unit="Hz",
        read=positive(number("PixelBandwidth")),
        cite="C.8.3.1 (0018,0095) Hz/pixel; enh. C.8.13.5.6",
    ),
    Field(
        bids="BandwidthPerPixelPhaseEncode",
        unit="Hz",
        read=fact("bandwidth_per_pixel_phase_encode_hz"),
        cite="DICOM has no element for it: the vendor's to tell",
    ),
    Field(
        bids="EffectiveEchoSpacing",
        unit="s",
        read=positive(fact("effective_echo_spacing_s")),
        cite="BIDS; DICOM has no element for it: the vendor's to tell",
    ),
    Field(
        bids="TotalReadoutTime",
        unit="s",
        read=positive(fact("total_readout_time_s")),
        cite="BIDS; DICOM has no element for it: the vendor's to tell",
    ),
    Field(
        bids="ReceiveCoilName",
        read=text("ReceiveCoilName"),
        cite="C.8.3.1 (0018,1250); enh. C.8.13.5.7",
    ),
    Field(
        bids="ReceiveCoilActiveElements",
        read=first_of(vendor("ReceiveCoilActiveElements"), active_coil_elements),
        cite="enh. C.8.13.5.7 (0018,9045), (0018,9047), (0018,9048)",
    ),
    Field(
        bids="MRTransmitCoilSequence",
        read=text("TransmitCoilName"),
        cite="C.8.3.1 (0018,1251); enh. C.8.13.5.8",
    ),
    # -- arterial spin labelling
    Field(
        bids="ArterialSpinLabelingType",
        read=choice(
            "ArterialSpinLabelingContrast",
            {"CONTINUOUS": "CASL", "PSEUDOCONTINUOUS": "PCASL", "PULSED": "PASL"},
        ),
        cite="enh. C.8.13.4 (0018,9250)",
    ),
    Field(
        bids="LabelingDuration",
        unit="s",
        read=positive(number("ASLPulseTrainDuration", MS_PER_S)),
        cite="enh. C.8.13.5.14 (0018,9258) ms",
    ),
    Field(
        bids="VascularCrushing",
        read=choice("ASLCrusherFlag", YES_NO),
        cite="enh. C.8.13.5.14 (0018,9259)",
    ),
    Field(
        bids="BolusCutOffFlag",
        read=choice("ASLBolusCutoffFlag", YES_NO),
        cite="enh. C.8.13.5.14 (0018,925C)",
    ),
    Field(
        bids="BolusCutOffTechnique",
        read=text("ASLBolusCutoffTechnique"),
        cite="enh. C.8.13.5.14 (0018,925E)",
    ),
    Field(
        bids="BolusCutOffDelayTime",
        unit="s",
        read=number("ASLBolusCutoffDelayTime", MS_PER_S),
        cite="enh. C.8.13.5.14 (0018,925F) ms",
    ),
    Field(
        bids="PostLabelingDelay",
        unit="s",
        read=first_of(vendor("PostLabelingDelay"), labeling_delay_s),
        cite="BIDS; C.8.3.1 (0018,0082) ms; enh. C.8.13.4 (0018,9250), C.8.13.5.5 (0018,9079) ms",
    ),
    Field(
        bids="VascularCrushingVENC",
        unit="cm/s",
        read=positive(number("ASLCrusherFlowLimit")),
        cite="enh. C.8.13.5.14 (0018,925A) cm/s",
    ),
    Field(
        bids="LabelingSlabThickness",
        unit="mm",
        read=item("ASLSlabSequence", positive(number("ASLSlabThickness"))),
        cite="enh. C.8.13.5.14 (0018,9260), (0018,9254) mm",
    ),
    Field(
        bids="LabelingOrientation",
        read=item("ASLSlabSequence", numbers("ASLSlabOrientation", 3)),
        cite="enh. C.8.13.5.14 (0018,9260), (0018,9255)",
    ),
    # -- positron emission tomography
    Field(
        bids="TracerName",
        read=item("RadiopharmaceuticalInformationSequence", text("Radiopharmaceutical")),
        cite="C.8.9.2 (0054,0016), (0018,0031)",
    ),
    Field(
        bids="TracerRadionuclide",
        read=item("RadiopharmaceuticalInformationSequence", item("RadionuclideCodeSequence", radionuclide)),
        cite="C.8.9.2 (0054,0016), (0054,0300), (0008,0104)",
    ),
    Field(
        bids="InjectedRadioactivity",
        unit="MBq",
        read=item("RadiopharmaceuticalInformationSequence", positive(number("RadionuclideTotalDose", 1e6))),
        cite="C.8.9.2 (0054,0016), (0018,1074) Bq",
    ),
    Field(
        bids="InjectedRadioactivityUnits",
        read=item(
            "RadiopharmaceuticalInformationSequence",
            lambda source: "MBq" if positive(number("RadionuclideTotalDose"))(source) else None,
        ),
        cite="C.8.9.2 (0054,0016), (0018,1074) Bq",
    ),
    Field(
        bids="InjectedVolume",
        unit="mL",
        read=item("RadiopharmaceuticalInformationSequence", positive(number("RadiopharmaceuticalVolume"))),
        cite="C.8.9.2 (0054,0016), (0018,1071) cm3",
    ),
    Field(
        bids="Units",
        read=first_of(vendor("Units"), choice("Units", {"BQML": "Bq/mL"}), ct_units),
        cite="C.8.9.1 (0054,1001); CT: C.8.2.1 (0028,1054), (0028,1053), of C.7.3.1 (0008,0060), (0008,0008)",
    ),
    Field(
        bids="ImageDecayCorrected",
        read=choice("DecayCorrection", {"START": True, "ADMIN": True, "NONE": False}),
        cite="C.8.9.1 (0054,1102)",
    ),
    Field(
        bids="AttenuationCorrection",
        read=text("AttenuationCorrectionMethod"),
        cite="C.8.9.1 (0054,1101)",
    ),
    Field(bids="ReconMethodName", read=text("ReconstructionMethod"), cite="C.8.9.1 (0054,1103)"),
    Field(
        bids="ReconFilterType",
        read=lambda source: text("ConvolutionKernel")(source) if is_pet(source) else None,
        cite="C.8.9.1 (0018,1210), of C.7.3.1 (0008,0060) PT",
    ),
    Field(
        bids="DoseCalibrationFactor",
        read=positive(number("DoseCalibrationFactor")),
        cite="C.8.9.4 (0054,1322)",
        scope=Scope.FIRST,
    ),
    # -- computed tomography
    Field(
        bids="ExposureTime",
        unit="s",
        read=positive(number("ExposureTime", MS_PER_S)),
        cite="C.8.2.1 (0018,1150) ms",
        scope=Scope.FIRST,  # dose modulation: it follows the body from slice to slice
    ),
    Field(
        bids="XRayTubeCurrent",
        unit="mA",
        read=positive(number("XRayTubeCurrent")),
        cite="C.8.2.1 (0018,1151) mA",
        scope=Scope.FIRST,  # dose modulation
    ),
    Field(
        bids="XRayExposure",
        unit="mAs",
        read=positive(number("Exposure")),
        cite="C.8.2.1 (0018,1152) mAs",
        scope=Scope.FIRST,  # dose modulation
    ),
    Field(bids="KVP", unit="kV", read=positive(number("KVP")), cite="C.8.2.1 (0018,0060) kV"),
    Field(
        bids="ConvolutionKernel",
        read=lambda source: None if is_pet(source) else text("ConvolutionKernel")(source),
        cite="C.8.2.1 (0018,1210), but of C.7.3.1 (0008,0060) PT",
    ),
    Field(
        bids="GantryDetectorTilt",
        unit="degree",
        read=number("GantryDetectorTilt"),
        cite="C.8.2.1 (0018,1120) degrees",
    ),
    Field(
        bids="CTDIvol",
        unit="mGy",
        read=positive(number("CTDIvol")),
        cite="C.8.2.1 (0018,9345) mGy",
        scope=Scope.FIRST,
    ),
    # -- what was done to the header
    Field(
        bids="DeidentificationMethod",
        read=texts("DeidentificationMethod"),
        cite="C.7.1.1 (0012,0063)",
    ),
    Field(
        bids="DeidentificationMethodCodeSequence",
        read=deidentification_codes,
        cite="C.7.1.1 (0012,0064), (0008,0100), (0008,0104), (0008,0102), (0008,0103)",
    ),
    # -- this program
    Field(bids="ConversionSoftware", read=constant("pacs2bids"), cite="pacs2bids"),
    Field(bids="ConversionSoftwareVersion", read=constant(__version__), cite="pacs2bids"),
)

HELD_BACK = (Policy.SITE, Policy.DEVICE)
VOLUME_FIELDS = tuple(row for row in FIELDS if row.scope is Scope.VOLUME)
