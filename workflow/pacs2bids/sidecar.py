"""What the sidecar of a volume says of how it was acquired: one table, and one loop that reads it.

A row of ``FIELDS`` is a name of BIDS (or, where BIDS has none, of dcm2niix, whose sidecars most tools know),
its unit, where DICOM keeps the value, and a reader made of the small combinators below. A reader that gives
None leaves its field out: an absent field means that the header does not say. The header is that of a
stack's first frame. What must not vary inside a stack splits it, so every frame would give the same values;
AcquisitionTime and its like are by intent those of the first.

Not in the table, on purpose: anything about the patient or a person, dates, UIDs, and free text that a
technician types beyond the names of series and protocol (PS3.15 Annex E). Fields that need the stored image
axes (PhaseEncodingDirection, SliceTiming) come with the stack, those that need the BIDS name (TaskName,
EchoTime1, Units, ...) when it is placed.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from enum import StrEnum
from typing import TypeAlias

from pacs2bids import __version__
from pacs2bids.header import Header
from pacs2bids.model import Facts, Json

MS_PER_S = 1000.0


class Policy(StrEnum):
    """Who wants a field. SITE fields tell one scanner from another, and where it stands."""

    ALWAYS = "always"
    SITE = "site"


@dataclass(frozen=True, slots=True, kw_only=True)
class Source:
    """All that a reader may look at. ``matrix``: (rows, columns) of one plane; None: not known."""

    header: Header
    facts: Facts
    matrix: tuple[int, int] | None = None


Reader: TypeAlias = Callable[[Source], Json]


@dataclass(frozen=True, slots=True, kw_only=True)
class Field:
    """One sidecar field: its name, the unit of the value that ``read`` gives, and where DICOM defines it."""

    bids: str
    read: Reader
    cite: str
    unit: str | None = None
    policy: Policy = Policy.ALWAYS


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
    answers = {row.bids: row.read(source) for row in FIELDS if site or row.policy is not Policy.SITE}
    values = {name: value for name, value in answers.items() if value is not None}
    # a row states where its value comes from; what vendors add fills gaps and never overrides it
    return values | {name: value for name, value in facts.extra.items() if name not in values}


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
    coded = set(source.header.texts("ScanningSequence"))
    planar = source.header.text("EchoPlanarPulseSequence") == "YES" or "EP" in coded
    echo = _ECHOES.get(source.header.text("EchoPulseSequence") or "") or _classic_echo(coded)
    multiband = "Multiband" if (source.facts.multiband_factor or 1) > 1 else ""
    words = [multiband if planar else "", echo, "EPI" if planar else ""]
    return " ".join(word for word in words if word) or None


_ECHOES = {"GRADIENT": "Gradient Echo", "SPIN": "Spin Echo", "BOTH": "Gradient and Spin Echo"}


def _classic_echo(scanning_sequence: set[str]) -> str:
    echoes = {"GR": "GRADIENT", "SE": "SPIN"}.keys() & scanning_sequence
    if len(echoes) == 2:
        return _ECHOES["BOTH"]
    return {"GR": _ECHOES["GRADIENT"], "SE": _ECHOES["SPIN"]}.get("".join(echoes), "")


# ---------------------------------------------------------------------------------------------- the table

YES_NO: Mapping[str, Json] = {"YES": True, "NO": False}

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
        policy=Policy.SITE,
    ),
    # -- series
    Field(bids="BodyPart", read=text("BodyPartExamined"), cite="C.7.3.1 (0018,0015)"),
    Field(bids="PatientPosition", read=text("PatientPosition"), cite="C.7.3.1 (0018,5100)"),
    Field(bids="SeriesDescription", read=text("SeriesDescription"), cite="C.7.3.1 (0008,103E)"),
    Field(bids="ProtocolName", read=text("ProtocolName"), cite="C.7.3.1 (0018,1030)"),
    Field(bids="SeriesNumber", read=integer("SeriesNumber"), cite="C.7.3.1 (0020,0011)"),
    Field(
        bids="AcquisitionNumber",
        read=first_of(integer("AcquisitionNumber"), integer("FrameAcquisitionNumber")),
        cite="C.7.10.1 (0020,0012); enh. C.7.6.16.2.2 (0020,9156)",
    ),
    Field(
        bids="AcquisitionTime",
        read=first_of(
            clock_time("AcquisitionTime"),
            clock_time("AcquisitionDateTime"),
            clock_time("FrameAcquisitionDateTime"),
        ),
        cite="C.7.10.1 (0008,0032); enh. C.7.10.1 (0008,002A), C.7.6.16.2.2 (0018,9074)",
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
    ),
    Field(
        bids="PulseSequenceType",
        read=pulse_sequence_type,
        cite="C.8.3.1 (0018,0020); enh. C.8.13.4 (0018,9008), (0018,9018)",
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
        read=positive(fact("repetition_time_s")),
        cite="C.8.3.1 (0018,0080) ms; enh. C.8.13.5.2; the time from volume to volume where a vendor says it",
    ),
    Field(
        bids="InversionTime",
        unit="s",
        read=positive(first_of(number("InversionTimes", MS_PER_S), number("InversionTime", MS_PER_S))),
        cite="C.8.3.1 (0018,0082) ms; enh. C.8.13.5.5 (0018,9079) ms",
    ),
    Field(
        bids="FlipAngle",
        unit="degree",
        read=positive(number("FlipAngle")),
        cite="C.8.3.1 (0018,1314) degrees; enh. C.8.13.5.2",
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
        bids="SAR",
        unit="W/kg",
        read=whole_body_sar,
        cite="C.8.3.1 (0018,1316); enh. C.8.13.5.2 (0018,9239), (0018,9179), (0018,9181)",
    ),
    Field(
        bids="NumberOfAverages",
        read=positive(number("NumberOfAverages")),
        cite="C.8.3.1 (0018,0083); enh. C.8.13.5.10",
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
    # -- computed tomography
    Field(
        bids="ExposureTime",
        unit="s",
        read=positive(number("ExposureTime", MS_PER_S)),
        cite="C.8.2.1 (0018,1150) ms",
    ),
    Field(
        bids="XRayTubeCurrent",
        unit="mA",
        read=positive(number("XRayTubeCurrent")),
        cite="C.8.2.1 (0018,1151) mA",
    ),
    Field(bids="XRayExposure", unit="mAs", read=positive(number("Exposure")), cite="C.8.2.1 (0018,1152) mAs"),
    # -- this program
    Field(bids="ConversionSoftware", read=constant("pacs2bids"), cite="pacs2bids"),
    Field(bids="ConversionSoftwareVersion", read=constant(__version__), cite="pacs2bids"),
)
