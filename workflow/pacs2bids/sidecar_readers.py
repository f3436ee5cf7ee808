"""How one value of a sidecar is read: small combinators, and readers that follow a rule of their own.

A reader takes a ``Source`` and gives a value in the unit of its field; None leaves the field out: an absent
field means that the header does not say. Which field is read by which is told by ``sidecar_fields``.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from typing import TypeAlias

from msgspec import Struct
from msgspec.structs import replace

from pacs2bids.header import Header
from pacs2bids.model import Facts, Json

MS_PER_S = 1000.0


class Source(Struct, frozen=True, kw_only=True):
    """All that a reader may look at. ``matrix``: (rows, columns) of one plane; None: not known."""

    header: Header
    facts: Facts
    matrix: tuple[int, int] | None = None


Reader: TypeAlias = Callable[[Source], Json]


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

inversion_time_s = positive(first_of(number("InversionTimes", MS_PER_S), number("InversionTime", MS_PER_S)))


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
