"""The contract of the vendor modules, and what each makes of private elements, on headers written here."""

from __future__ import annotations

import gzip
import logging
import struct

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from msgspec.structs import replace
from pydicom.dataset import Dataset
from test_csa import csa2

from pacs2bids import vendors
from pacs2bids.header import Header, Private
from pacs2bids.model import Facts, HeaderError
from pacs2bids.vendors import _ge_epi, canon, ge, philips, siemens, standard, uih

MANUFACTURERS = [
    ("SIEMENS", siemens),
    ("Siemens Healthineers", siemens),
    ("GE MEDICAL SYSTEMS", ge),
    ("Philips", philips),
    ("Philips Medical Systems", philips),
    ("UIH", uih),
    ("CANON_MEC", canon),
    ("TOSHIBA_MEC", canon),
    ("Somebody Else", standard),
    (None, standard),
]

STANDARD: dict[str, object] = {
    "SOPInstanceUID": "1.2.3",
    "ImageType": ["ORIGINAL", "PRIMARY", "P", "ND"],
    "RepetitionTime": 2000,
    "InPlanePhaseEncodingDirection": "COL",
    "ImageOrientationPatient": [1, 0, 0, 0, 0.6, 0.8],
    "MRAcquisitionType": "2D",
    "ParallelReductionFactorInPlane": 2.0,
    "Rows": 60,
    "Columns": 81,
}

CSA = {
    "PhaseEncodingDirectionPositive": (1, ["1"]),
    "NumberOfImagesInMosaic": (1, ["5"]),
    "SliceNormalVector": (3, ["0", "-0.8", "0.6"]),
    "MosaicRefAcqTimes": (0, ["0", "1000", "500", "1500", "1000"]),
    "BandwidthPerPixelPhaseEncode": (1, ["25"]),
    "B_value": (1, ["1000"]),
    "DiffusionGradientDirection": (3, ["0", "3", "4"]),
}


def header(values: dict[str, object], private: list[tuple[Private, object]] | None = None) -> Header:
    """A header with standard elements by keyword and private ones by creator."""
    dataset = Dataset()
    for keyword, value in values.items():
        setattr(dataset, keyword, value)
    for element, value in private or []:
        block = dataset.private_block(element.group, element.creator, create=True)
        block.add_new(element.element, "OB" if isinstance(value, bytes) else element.vr, value)
    return Header.of(dataset)


def made_by(manufacturer: str, private: list[tuple[Private, object]], **values: object) -> Facts:
    return vendors.facts(header({"Manufacturer": manufacturer, **STANDARD, **values}, private))


# ---------------------------------------------------------------------------------------------- contract


@pytest.mark.parametrize(("manufacturer", "module"), MANUFACTURERS)
def test_each_header_goes_to_its_vendor(manufacturer: str | None, module: vendors.Vendor) -> None:
    values = {} if manufacturer is None else {"Manufacturer": manufacturer}
    claiming = [vendor for vendor in vendors.VENDORS if vendor.claims(header(values))]
    assert claiming == ([] if module is standard else [module])


def test_private_blocks_tell_the_vendor_where_the_name_is_lost() -> None:
    blocks = [(private, 1000.0) for private in (philips.B_VALUE, *philips.GRADIENT)]
    for manufacturer in ("", "Anonymized", "Ph\0lips"):
        assert made_by(manufacturer, blocks).b_value_s_per_mm2 == 1000


def test_mosaic_of_nobody_is_refused() -> None:
    with pytest.raises(HeaderError, match="mosaic of slices by nobody"):
        made_by("", [], ImageType=["ORIGINAL", "PRIMARY", "M", "MOSAIC"])


@pytest.mark.parametrize(("manufacturer", "module"), MANUFACTURERS)
def test_without_private_elements_the_standard_speaks(
    manufacturer: str | None, module: vendors.Vendor
) -> None:
    del module
    values = dict(STANDARD) if manufacturer is None else {"Manufacturer": manufacturer, **STANDARD}
    found = vendors.facts(header(values))
    assert replace(found, extra={}) == Facts(
        component="phase",
        phase_encoding="column",
        repetition_time_s=2.0,
        parallel_reduction_factor_in_plane=2.0,
    )


@pytest.mark.parametrize(("manufacturer", "module"), MANUFACTURERS)
def test_an_empty_header_says_nothing(manufacturer: str | None, module: vendors.Vendor) -> None:
    del module
    values = {} if manufacturer is None else {"Manufacturer": manufacturer}
    assert vendors.facts(header(values)) == Facts()


PRIVATE = [
    element
    for module in (siemens, ge, _ge_epi, philips, uih)
    for element in vars(module).values()
    if isinstance(element, Private)
]


@settings(deadline=None)  # a busy machine is no defect
@given(st.data())
def test_malformed_private_elements_raise_header_error_or_nothing(data: st.DataObject) -> None:
    manufacturer = data.draw(st.sampled_from([name for name, _ in MANUFACTURERS if name]))
    dataset = Dataset()
    dataset.Manufacturer = manufacturer
    dataset.ImageType = data.draw(
        st.sampled_from([["A", "B", "MOSAIC"], ["A", "B", "VFRAME"], ["A", "B", "M"]])
    )
    dataset.ScanOptions = ["EPI_GEMS", data.draw(st.sampled_from(["MP_GEMS", "PFF"]))]
    for keyword in ("Rows", "Columns", "InstanceNumber", "RepetitionTime", "SpacingBetweenSlices"):
        setattr(dataset, keyword, data.draw(st.integers(0, 60)))
    dataset.InPlanePhaseEncodingDirection = "COL"
    for element in PRIVATE:
        block = dataset.private_block(element.group, element.creator, create=True)
        block.add_new(element.element, "UN", data.draw(st.binary(max_size=24)))
    try:
        vendors.facts(Header.of(dataset))
    except HeaderError:
        return  # the only error that callers turn into a leftover


# ---------------------------------------------------------------------------------------------- standard


def test_diffusion_macro() -> None:
    weighted = {"DiffusionBValue": 700.0, "DiffusionGradientOrientation": [0.0, 0.0, -2.0]}
    assert standard.facts(header(weighted)).b_vector_lps == (0, 0, -1)
    isotropic = weighted | {"DiffusionDirectionality": "ISOTROPIC"}
    assert standard.facts(header(isotropic)).b_vector_lps is None
    assert standard.facts(header({"DiffusionBValue": 0.0})).b_vector_lps == (0, 0, 0)
    assert standard.facts(header({"DiffusionBValue": 700.0})).b_vector_lps is None


@pytest.mark.parametrize(
    ("image_type", "expected"),
    [
        (["DERIVED", "PRIMARY", "DIFFUSION", "ADC"], True),
        (["DERIVED", "PRIMARY", "DIFFUSION", "TRACEW", "ND"], True),
        (["ORIGINAL", "PRIMARY", "DIFFUSION", "NONE"], False),
        (["ADC", "FA", "M"], False),
    ],
)
def test_diffusion_maps(image_type: list[str], expected: bool) -> None:
    assert standard.facts(header({"ImageType": image_type})).is_diffusion_map is expected


def test_moments() -> None:
    # 2000-03-01 is day 60 of a leap year
    assert standard.date_time_s("20000301000000.25") == 60 * 86400 + 0.25
    assert standard.date_time_s("20000101000001.5+0100") == 1.5
    assert standard.date_time_s("2000") is None
    assert standard.moment(header({"AcquisitionDate": "20000102", "AcquisitionTime": "000001.5"})) == 86401.5


# ---------------------------------------------------------------------------------------------- Siemens


def test_siemens_mosaic() -> None:
    private: list[tuple[Private, object]] = [(siemens.CSA_IMAGE, csa2(CSA))]
    values = {"ImageType": ["ORIGINAL", "PRIMARY", "M", "MOSAIC"], "SpacingBetweenSlices": 3.3}
    facts = made_by("SIEMENS", private, **values)
    assert facts.mosaic is not None
    assert (facts.mosaic.slices, facts.mosaic.tiles_per_row) == (5, 3)  # 5 tiles need a grid of 3 x 3
    assert facts.mosaic.normal_lps == pytest.approx((0, -0.8, 0.6))
    assert facts.mosaic.slice_step_mm == 3.3
    assert facts.slice_times_s == (0.0, 1.0, 0.5, 1.5, 1.0)
    assert facts.multiband_factor is None  # times repeat unevenly
    assert facts.b_value_s_per_mm2 == 1000
    assert facts.b_vector_lps == pytest.approx((0, 0.6, 0.8))
    assert facts.phase_encoding_positive is True
    # 60 rows in 3 tiles: 20 lines at 25 Hz a pixel
    assert facts.effective_echo_spacing_s == pytest.approx(1 / (25 * 20))
    assert facts.total_readout_time_s == pytest.approx(19 / (25 * 20))


@pytest.mark.parametrize(
    ("times", "expected"),
    [
        (["86397500", "0", "500", "86399000", "1000"], None),  # wrapped and 3.5 s long: TR is 2 s
        (["86399500", "0", "500", "86399750", "1000"], (0.0, 0.5, 1.0, 0.25, 1.5)),
        (["0", "0", "0", "0", "0"], None),
        (["0", "500"], None),
    ],
)
def test_siemens_slice_times_that_contradict_are_left_out(
    times: list[str], expected: tuple[float, ...] | None
) -> None:
    private: list[tuple[Private, object]] = [
        (siemens.CSA_IMAGE, csa2(CSA | {"MosaicRefAcqTimes": (0, times)}))
    ]
    values = {"ImageType": ["ORIGINAL", "PRIMARY", "M", "MOSAIC"], "SpacingBetweenSlices": 3.3}
    assert made_by("SIEMENS", private, **values).slice_times_s == expected


def test_siemens_damaged_csa_is_a_warning_and_the_rest_stands(caplog: pytest.LogCaptureFixture) -> None:
    private: list[tuple[Private, object]] = [(siemens.CSA_IMAGE, csa2(CSA)[:200]), (siemens.B_VALUE, "50")]
    with caplog.at_level(logging.WARNING, "pacs2bids"):
        facts = made_by("SIEMENS", private)
    assert "1.2.3" in caplog.text
    assert "ends early" in caplog.text
    assert (facts.phase_encoding, facts.phase_encoding_positive) == ("column", None)
    assert facts.b_value_s_per_mm2 == 50


def test_siemens_mosaic_without_layout_is_refused() -> None:
    with pytest.raises(HeaderError, match=r"1\.2\.3") as error:
        made_by("SIEMENS", [], ImageType=["ORIGINAL", "PRIMARY", "M", "MOSAIC"], SpacingBetweenSlices=3)
    assert "private elements" in error.value.hint


def test_siemens_mosaic_that_was_cut_apart_is_none() -> None:
    # XA30, dcm2niix issue 553: enhanced frames of one slice each, the word is left over
    values = {"ImageType": ["ORIGINAL", "PRIMARY", "M", "ND", "MOSAIC"], "NumberOfFrames": 20}
    assert made_by("SIEMENS", [], **values).mosaic is None


def test_siemens_mosaic_named_in_private_only_is_refused() -> None:
    private: list[tuple[Private, object]] = [(siemens.IMAGE_TYPE_XA, ["ORIGINAL", "PRIMARY", "M", "MOSAIC"])]
    with pytest.raises(HeaderError, match="mosaic"):
        made_by("Siemens Healthineers", private, NumberOfFrames=1)


def test_siemens_xa_frame() -> None:
    private: list[tuple[Private, object]] = [
        (siemens.POLARITY_XA, 0),
        (siemens.BANDWIDTH_XA, 50.0),
        (siemens.PARALLEL_TEXT_XA, "p2 s3"),
    ]
    values = {"EchoPlanarPulseSequence": "YES", "FrameAcquisitionDateTime": "20000101000010.5"}
    facts = made_by("Siemens Healthineers", private, **values)
    assert facts.phase_encoding_positive is False
    assert facts.multiband_factor == 3
    assert facts.slice_time_s == 10.5
    assert facts.effective_echo_spacing_s == pytest.approx(1 / (50 * 60))
    with_clock = [*private, (siemens.TIME_AFTER_START_XA, "0.5025")]
    assert made_by("Siemens Healthineers", with_clock, **values).slice_time_s == 0.5025
    assert made_by("Siemens Healthineers", with_clock, **values, MRAcquisitionType="3D").slice_time_s is None


def siemens_protocol(*lines: str) -> bytes:
    return "\n".join(["### ASCCONV BEGIN ###", *lines, "### ASCCONV END ###"]).encode()


def test_siemens_shots_of_three_dimensions() -> None:
    lines = ["sFastImaging.lSegments = 6", r'tSequenceFileName = ""%SiemensSeq%\tgse_pasl""']
    private: list[tuple[Private, object]] = [(siemens.CSA_SERIES, siemens_protocol(*lines))]
    values = {"ScanningSequence": "EP", "MRAcquisitionType": "3D", "RepetitionTime": 3600}
    facts = made_by("SIEMENS", private, **values)
    assert facts.repetition_time_s == pytest.approx(21.6)
    assert facts.extra["RepetitionTimeExcitation"] == facts.extra["RepetitionTimePreparation"] == 3.6
    flat = made_by("SIEMENS", private, **values | {"MRAcquisitionType": "2D"})
    assert flat.repetition_time_s == 3.6
    # of 3-D EPI a shot covers one partition: how many shots make a volume is not told
    other = siemens_protocol(lines[0], r'tSequenceFileName = ""%CustomerSeq%\ep3d_bold""')
    planar = made_by("SIEMENS", [(siemens.CSA_SERIES, other)], **values)
    assert planar.repetition_time_s == planar.extra["RepetitionTimeExcitation"] == 3.6


def test_siemens_bands_of_the_protocol() -> None:
    private: list[tuple[Private, object]] = [
        (siemens.CSA_SERIES, siemens_protocol("sSliceAcceleration.lMultiBandFactor = 4"))
    ]
    assert made_by("SIEMENS", private).multiband_factor == 4
    assert made_by("SIEMENS", private, ImageComments="Unaliased MB3/PE3/LB").multiband_factor == 3
    alone = siemens_protocol("sSliceAcceleration.lMultiBandFactor = 1")
    assert made_by("SIEMENS", [(siemens.CSA_SERIES, alone)]).multiband_factor is None


@pytest.mark.parametrize(("time_ms", "echo"), [(10.0, 1), (12.46, 2), (14.92, None), (None, None)])
def test_siemens_echo_of_an_enhanced_frame_is_found_in_the_protocol(
    time_ms: float | None, echo: int | None
) -> None:
    times = ["alTE[0] = 10000", "alTE[1] = 12460", "alTE[2] = 14920"]
    told = {} if time_ms is None else {"EffectiveEchoTime": time_ms}

    def found(*lines: str) -> object:
        private: list[tuple[Private, object]] = [(siemens.CSA_SERIES, siemens_protocol(*lines))]
        return made_by("SIEMENS", private, **told).extra.get("EchoNumber")

    assert found("lContrasts = 2", *times) == echo  # the third is left from another protocol
    assert found("lContrasts = 1", *times) is None
    assert found("lContrasts = 1000000000", *times) is None
    assert found("lContrasts = 2", times[0], "alTE[1] = 10000") is None  # one time, two echoes


def test_siemens_preparation_of_turbo_flash() -> None:
    lines = [r'tSequenceFileName = ""%SiemensSeq%\tfl""']
    private: list[tuple[Private, object]] = [(siemens.CSA_SERIES, siemens_protocol(*lines))]
    facts = made_by("SIEMENS", private, RepetitionTime=2300, InversionTime=900)
    assert facts.extra["RepetitionTimePreparation"] == 2.3
    assert "RepetitionTimePreparation" not in made_by("SIEMENS", private, RepetitionTime=2300).extra


def test_siemens_fields_of_xa() -> None:
    private: list[tuple[Private, object]] = [
        (siemens.SEQUENCE_XA["ScanningSequence"], ["GR", "IR"]),
        (siemens.SEQUENCE_XA["ScanOptions"], "FS"),
        (siemens.TABLE_POSITION_MM_XA, [0, 0, -12]),
        (siemens.IMAGE_TYPE_XA, ["ORIGINAL", "PRIMARY", "M", "DIS2D"]),
    ]
    extra = made_by("Siemens Healthineers", private, ScanOptions="PFP").extra
    assert extra["ScanningSequence"] == "GR\\IR"  # as dcm2niix writes several values
    assert "ScanOptions" not in extra  # the standard's element says it
    assert extra["TablePosition"] == [0, 0, -12]
    assert extra["NonlinearGradientCorrection"] is True
    assert made_by("SIEMENS", []).extra["NonlinearGradientCorrection"] is False  # ImageType ends in ND


# ---------------------------------------------------------------------------------------------- GE


def ge_private(**protocol: str) -> list[tuple[Private, object]]:
    text = "".join(f'{key} "{value}"\n' for key, value in protocol.items())
    block = gzip.compress(text.encode())
    return [
        (_ge_epi.PROTOCOL_BLOCK, struct.pack("<I", len(block)) + block),
        (_ge_epi.PULSE_SEQUENCE, "epiRT"),
        (_ge_epi.LOCATIONS, 6),
        (_ge_epi.ECHO_SPACING_US, 500),
        (_ge_epi.ASSET, [0.5, 1]),
    ]


GE_VALUES: dict[str, object] = {
    "ScanOptions": ["EPI_GEMS", "PFF"],
    "AcquisitionMatrix": [80, 0, 0, 60],
    "SoftwareVersions": ["28", "LX", "MR Software release:DV28.0_R02_1947.a"],
}


@pytest.mark.parametrize(
    ("order", "bands", "expected"),
    [
        ("0", "1", [0, 1, 2, 3, 4, 5]),
        ("1", "1", [0, 3, 1, 4, 2, 5]),
        ("1", "2", [0, 2, 1, 0, 2, 1]),
        ("0", "3", [0, 1, 0, 1, 0, 1]),
    ],
)
def test_ge_slots(order: str, bands: str, expected: list[int]) -> None:
    private = [*ge_private(SLICEORDER=order), (_ge_epi.MULTIBAND, [bands, "1", "1"])]
    times = [
        made_by("GE MEDICAL SYSTEMS", private, **GE_VALUES, InstanceNumber=number).slice_time_s
        for number in range(7, 13)  # volume 2
    ]
    slot = 2.0 / (6 // int(bands))
    assert times == pytest.approx([count * slot for count in expected])


@pytest.mark.parametrize(
    ("release", "locations", "expected"),
    [
        # 27.0 R03 and later: the last two of four excitations change places
        ("27\\LX\\MR Software release:RX27.0_R03_1831.a", 8, [0, 0.75, 0.25, 0.5]),
        # before: a fifth excitation, whose slices are thrown away
        ("27\\LX\\MR Software release:DV26.0_R05_2008.a", 8, [0, 0.6, 0.2, 0.8, 0.4]),
        # seven slices in two bands: four excitations, and one slice of the last is thrown away
        ("28\\LX\\MR29.1_EA_2039.g", 7, [0, 0.75, 0.25, 0.5]),
        ("a release that nobody knows", 8, None),
    ],
)
def test_ge_slots_of_an_even_number_of_excitations(
    release: str, locations: int, expected: list[float] | None
) -> None:
    private = [
        *ge_private(SLICEORDER="1"),
        (_ge_epi.MULTIBAND, ["2", "1", "1"]),
        (_ge_epi.LOCATIONS, locations),
    ]
    values = GE_VALUES | {"SoftwareVersions": release.split("\\"), "RepetitionTime": 1000}
    times = [
        made_by("GE MEDICAL SYSTEMS", private, **values, InstanceNumber=number).slice_time_s
        for number in range(1, locations + 1)
    ]
    if expected is None:
        assert set(times) == {None}
    else:
        # github.com/rordenlab/dcm2niix/issues/544: times repeat with each band
        assert times == pytest.approx([expected[index % len(expected)] for index in range(locations)])


@pytest.mark.parametrize(
    ("model", "user_12", "user_15", "known"),
    [
        ("SIGNA Pioneer", "1", "0", True),
        ("SIGNA Premier", "1", "0", False),
        ("SIGNA Premier", "1", "0.72", True),
        ("SIGNA UHP", "2", "0", False),
        ("SIGNA UHP", "2", "0.53", True),
        ("SIGNA 7T", "3", "1.0", True),
    ],
)
def test_ge_diffusion_slots(model: str, user_12: str, user_15: str, known: bool) -> None:
    """github.com/rordenlab/dcm2niix/issues/635, 796 and 933: 8 slices in 2 bands are five excitations."""
    private = [
        (_ge_epi.INTERNAL_PULSE_SEQUENCE, "EPI2"),
        (_ge_epi.MULTIBAND, ["2", "1", "1"]),
        (_ge_epi.LOCATIONS, 8),
        (_ge_epi.USER_12, user_12),
        (_ge_epi.USER_15, user_15),
    ]
    values = GE_VALUES | {"ManufacturerModelName": model, "RepetitionTime": 5000}
    times = [
        made_by("GE MEDICAL SYSTEMS", private, **values, InstanceNumber=number).slice_time_s
        for number in range(1, 9)
    ]
    assert times == ([0, 3, 1, 4, 2, 0, 3, 1] if known else [None] * 8)
    extra = made_by("GE MEDICAL SYSTEMS", private, **values).extra
    assert ("DiffGradientCyclingGE" in extra) is not known


def test_ge_timer_of_releases_that_have_one() -> None:
    """Seconds in release 24 (corpus stc/GE/RTIA), 0.1 ms in release 14 (dcm2niix issue 286)."""
    for release, timer in (("DV24.0_R02_1607.b", "0.752300"), ("14.0_M4_0629.a", "7523.000000")):
        values = GE_VALUES | {"SoftwareVersions": ["24", "LX", f"MR Software release:{release}"]}
        facts = made_by("GE MEDICAL SYSTEMS", [(_ge_epi.TIMER, timer)], **values)
        assert facts.slice_time_s == pytest.approx(0.7523)
    unknown = GE_VALUES | {"SoftwareVersions": ["15", "LX", "MR Software release:15.0_M4_0910.a"]}
    assert made_by("GE MEDICAL SYSTEMS", [(_ge_epi.TIMER, "7523")], **unknown).slice_time_s is None


def test_ge_multiband_multiphase_is_interleaved_where_its_triggers_are_wrong() -> None:
    private = [(_ge_epi.MULTIBAND, ["2", "1", "1"]), (_ge_epi.LOCATIONS, 6)]
    values = GE_VALUES | {"ScanOptions": ["EPI_GEMS", "MP_GEMS"], "TriggerTime": 700, "InstanceNumber": 2}
    assert made_by("GE MEDICAL SYSTEMS", private, **values).slice_time_s == 0.7
    early = values | {"SoftwareVersions": ["27", "LX", "MR Software release:RX27.0_R02_1831.a"]}
    # three excitations in 2 s: slices 0, 2, then 1
    assert made_by("GE MEDICAL SYSTEMS", private, **early).slice_time_s == pytest.approx(2 * 2 / 3)


@pytest.mark.parametrize("rows", [60, 120])
def test_ge_readout(rows: int) -> None:
    facts = made_by("GE MEDICAL SYSTEMS", ge_private(), **GE_VALUES | {"Rows": rows})
    # 60 lines, every second: 30, up to a multiple of four with partial Fourier: 32 echoes, 31 gaps of 0.5 ms;
    # 1 Hz displaces by that many seconds times the field of view, on however many lines it is reconstructed
    assert facts.effective_echo_spacing_s == pytest.approx(0.0155 / 59)
    assert facts.total_readout_time_s == pytest.approx(0.0155 / 59 * (rows - 1))
    assert facts.parallel_reduction_factor_in_plane == 2


def user_data(control: int, direction: int, version: float) -> bytes:
    """(0043,xx2A) with a raw header at byte 40: version, logo, dacq_ctrl and kydir where rdbm.h has them."""
    logo, traversal = (110, 852) if version > 25.001 else (34, 916)
    data = bytearray(1000)
    struct.pack_into("<I", data, 24, 40)
    struct.pack_into("<f", data, 40, version)
    struct.pack_into("<10s4xH", data, 40 + logo, b"GE_MED_NMR", control)
    struct.pack_into("<i", data, 40 + traversal, direction)
    return bytes(data)


@pytest.mark.parametrize("version", [24.0, 26.002, 30.0])
@pytest.mark.parametrize(
    ("direction", "control", "reordering", "expected"),
    [
        (2, 8, None, False),
        (2, 12, None, True),
        (0, 8, None, True),
        (0, 12, None, False),
        (1, 8, None, None),
        (2, 8, "REVERSE_LINEAR", True),
        (2, 12, "LINEAR", False),
    ],
)
def test_ge_polarity(
    direction: int, control: int, reordering: str | None, expected: bool | None, version: float
) -> None:
    private: list[tuple[Private, object]] = [(_ge_epi.USER_DATA, user_data(control, direction, version))]
    values = GE_VALUES | ({} if reordering is None else {"RectilinearPhaseEncodeReordering": reordering})
    facts = made_by("GE MEDICAL SYSTEMS", private, **values)
    assert facts.phase_encoding_positive is expected
    word = {True: "Unflipped", False: "Flipped", None: None}[expected]
    assert facts.extra.get("PhaseEncodingPolarityGE") == word


@pytest.mark.parametrize(
    ("scheme", "reversed_volumes"),
    [("0", set()), ("1", {1, 2, 3, 4}), ("2", {1, 3}), ("3", {2, 4}), ("9", None)],
)
def test_ge_volumes_with_reversed_phase_encoding(scheme: str, reversed_volumes: set[int] | None) -> None:
    """github.com/neurolabusc/dcm_qa_polar: 0 forward, 1 reversed, 2 both in turns, 3 both, forward first."""
    private = [
        (_ge_epi.PULSE_SEQUENCE, "research/ABCD/epi_pepolar"),
        (_ge_epi.USER_12, scheme),
        (_ge_epi.USER_DATA, user_data(8, 2, 28.0)),
    ]
    for volume in range(1, 5):
        facts = made_by("GE MEDICAL SYSTEMS", private, **GE_VALUES, TemporalPositionIdentifier=volume)
        if reversed_volumes is None:
            assert (facts.content, facts.rows_reversed, facts.phase_encoding_positive) == (None, False, None)
            continue
        turned = volume in reversed_volumes
        assert (facts.content, facts.rows_reversed) == ("reversed" if turned else None, turned)
        assert facts.phase_encoding_positive is turned
        assert facts.extra["PhaseEncodingPolarityGE"] == ("Unflipped" if turned else "Flipped")


@pytest.mark.parametrize(("volume", "is_reversed"), [(1, True), (2, False)])
def test_ge_reversed_volumes_with_phase_along_rows_are_refused(volume: int, is_reversed: bool) -> None:
    """Shown for columns alone (github.com/rordenlab/dcm2niix/issues/532); here, left and right count."""
    private = [(_ge_epi.PULSE_SEQUENCE, "research/ABCD/epi_pepolar"), (_ge_epi.USER_12, "2")]
    values = {**GE_VALUES, "InPlanePhaseEncodingDirection": "ROW", "TemporalPositionIdentifier": volume}
    if is_reversed:
        with pytest.raises(HeaderError, match="which side of its picture is left is not known"):
            made_by("GE MEDICAL SYSTEMS", private, **values)
    else:
        assert not made_by("GE MEDICAL SYSTEMS", private, **values).rows_reversed


def test_ge_field_map() -> None:
    def facts(number: int, content: int | None, sequence: str = "B0map") -> Facts:
        private = [(_ge_epi.PULSE_SEQUENCE, sequence), (_ge_epi.LOCATIONS, 80), (ge.COMPONENT, 0)]
        known = [] if content is None else [(ge.CONTENT, content)]
        return made_by("GE MEDICAL SYSTEMS", [*private, *known], InstanceNumber=number)

    for found in (facts(80, 0), facts(80, None, "3db0map"), facts(1, 0, "B0rf")):
        assert (found.content, found.component, found.extra["Units"]) == ("fieldmap", None, "Hz")
    for found in (facts(81, 2), facts(81, None), facts(1, 2), facts(1, 0, "fgre")):
        assert (found.content, found.component) == (None, "magnitude")
        assert "Units" not in found.extra


def test_ge_private_fields() -> None:
    private: list[tuple[Private, object]] = [
        (ge.DURATION_US, 311679040.0),
        (_ge_epi.ASSET, [0.5, 0.5]),
        *((element, number) for element, number in zip(ge.SHIMS, (-5, 7, -16), strict=True)),
        (ge.TABLE, ["960.5", "400", "23.4578", "0", "-9999", "-9999"]),
        (ge.LABELLING, "PSEUDOCONTINUOUS"),
        (ge.LABEL_DURATION_MS, 1450),
        (ge.POINTS_PER_ARM, 512.0),
    ]
    extra = made_by("GE MEDICAL SYSTEMS", private, InversionTime=2025).extra
    assert extra == {
        "AcquisitionDuration": 311.67904,
        "ParallelReductionFactorOutOfPlane": 2,
        "ShimSetting": [-5, 7, -16],
        "TablePosition": [0, 0, 23.4578],
        "ArterialSpinLabelingType": "PCASL",
        "LabelingDuration": 1.45,
        "PostLabelingDelay": 2.025,
        "NumberOfPointsPerArm": 512,
    }


def test_ge_diffusion() -> None:
    gradient = list(zip(ge.GRADIENT, ("0.6", "0", "0.8"), strict=True))
    facts = made_by("GE MEDICAL SYSTEMS", [(ge.B_VALUE, [1_000_000_700, 8, 0, 0]), *gradient])
    assert facts.b_value_s_per_mm2 == 700
    # rows along x, columns (0, .6, .8), normal (0, -.8, .6): coronal; up to sign .6 x - .8 normal
    assert facts.b_vector_lps == pytest.approx((-0.6, -0.64, 0.48))
    assert made_by("GE MEDICAL SYSTEMS", [(ge.B_VALUE, [0, 8, 0, 0])]).b_value_s_per_mm2 is None


@pytest.mark.parametrize(
    ("orientation", "along", "expected"),
    [
        # (frequency, phase, slice) = (.36, .48, .8) along rows, columns and normal, as GE tabled it for
        # dcm2niix (issue 970), by plane and by the axis of phase
        ([1, 0, 0, 0, 1, 0], "COL", (-0.36, -0.48, 0.8)),
        ([1, 0, 0, 0, 1, 0], "ROW", (-0.48, 0.36, 0.8)),
        ([0, 1, 0, 0, 0, -1], "COL", (-0.36, -0.48, 0.8)),
        ([0, 1, 0, 0, 0, -1], "ROW", (-0.48, 0.36, 0.8)),
        ([1, 0, 0, 0, 0, -1], "COL", (-0.36, 0.48, 0.8)),
        ([1, 0, 0, 0, 0, -1], "ROW", (0.48, 0.36, 0.8)),
    ],
)
def test_ge_gradients_of_each_plane(
    orientation: list[float], along: str, expected: tuple[float, float, float]
) -> None:
    gradient = list(zip(ge.GRADIENT, ("0.36", "0.48", "0.8"), strict=True))
    facts = made_by(
        "GE MEDICAL SYSTEMS",
        [(ge.B_VALUE, [1000, 8, 0, 0]), *gradient],
        ImageOrientationPatient=orientation,
        InPlanePhaseEncodingDirection=along,
    )
    row, column = np.array(orientation[:3]), np.array(orientation[3:])
    world = expected @ np.array([row, column, np.cross(row, column)])
    assert facts.b_vector_lps == pytest.approx(tuple(world))


@pytest.mark.parametrize(
    ("scale", "kind", "expected"),
    [
        (1.0, 16, (2000, True)),
        (0.99, 16, (2000, True)),  # a table of two digits
        (0.5**0.5, 16, (1000, True)),  # a shell at half of the largest b-value
        (0.0, 16, (0, True)),  # a row of zeros in the table
        (0.0, 7, (2000, False)),  # a trace-weighted picture
    ],
)
def test_ge_b_values_of_several_shells(scale: float, kind: int, expected: tuple[float, bool]) -> None:
    gradient = [
        (element, f"{scale * x:.6f}") for element, x in zip(ge.GRADIENT, (0.36, 0.48, 0.8), strict=True)
    ]
    facts = made_by("GE MEDICAL SYSTEMS", [(ge.B_VALUE, [2000]), (ge.DIFFUSION_KIND, kind), *gradient])
    assert (facts.b_value_s_per_mm2, facts.b_vector_lps is not None) == expected


# ---------------------------------------------------------------------------------------------- the others


def test_philips_precise_values() -> None:
    facts = made_by("Philips", [(philips.SCALE_SLOPE, 0.004)], RescaleSlope=2.0, RescaleIntercept=-10.0)
    assert facts.rescale is not None
    slope, intercept = facts.rescale
    stored = 100
    assert slope * stored + intercept == pytest.approx((stored * 2.0 - 10.0) / (2.0 * 0.004))


def test_philips_diffusion() -> None:
    gradient = list(zip(philips.GRADIENT, (0.0, -1.0, 0.0), strict=True))
    weighted = [(philips.B_VALUE, 800.0), (philips.DIRECTION_CLASS, "O"), *gradient]
    assert made_by("Philips", weighted).b_vector_lps == (0, -1, 0)
    trace = made_by("Philips", [(philips.B_VALUE, 800.0), (philips.DIRECTION_CLASS, "I")])
    assert (trace.b_value_s_per_mm2, trace.b_vector_lps, trace.is_diffusion_map) == (800, None, True)


PHILIPS_TRAIN: list[tuple[Private, object]] = [(philips.EPI_FACTOR, 31), (philips.WATER_FAT_SHIFT, 7.95575)]


def test_philips_readout_is_estimated_from_the_water_fat_shift() -> None:
    """Values of corpus philips/601: a shift of 7.95575 pixels over a train of 31 echoes at 127.763568 MHz."""
    extra = made_by("Philips", PHILIPS_TRAIN, ImagingFrequency=127.763568).extra
    spacing_s = 7.95575 / (127.763568 * 3.4 * 32)  # dcm2niix issue 377
    assert extra["EstimatedTotalReadoutTime"] == pytest.approx(31 * spacing_s)
    assert extra["EstimatedEffectiveEchoSpacing"] == pytest.approx(31 * spacing_s / 59)  # 60 rows
    assert made_by("Philips", PHILIPS_TRAIN, ImagingFrequency=127.763568).total_readout_time_s is None
    one_echo = [(philips.EPI_FACTOR, 1), (philips.WATER_FAT_SHIFT, 7.95575)]
    assert "EstimatedTotalReadoutTime" not in made_by("Philips", one_echo, ImagingFrequency=127.76).extra


@pytest.mark.parametrize(
    ("stored", "position"),
    [
        ((30.7, 1.7e38, 0.0), [0, 0, -30.7]),
        ((0.0, 0.0, 0.0), [0, 0, 0]),
        ((30.7, 1.0, 0.0), None),
        ((1.7e38, 0.0, 0.0), None),
        ((), None),
    ],
)
def test_philips_table_is_told_along_the_bore(
    stored: tuple[float, ...], position: list[float] | None
) -> None:
    stack = Dataset()
    for element, value in zip(philips.TABLE_MM, stored, strict=False):
        block = stack.private_block(element.group, element.creator, create=True)
        block.add_new(element.element, element.vr, value)
    assert made_by("Philips", [(philips.STACK, [stack])]).extra.get("TablePosition") == position


def test_philips_scales_are_of_mr_only() -> None:
    tomogram = made_by("Philips", [], Modality="CT", RescaleSlope=1.0, RescaleIntercept=-1024.0)
    assert tomogram.extra == {}


@pytest.mark.parametrize(("technique", "compressed"), [("CSENSE", 4.0), ("MBSENSE", None)])
def test_philips_classic_images_speak_as_enhanced_ones_in_a_private_item(
    technique: str, compressed: float | None
) -> None:
    item = Dataset()
    item.ParallelReductionFactorInPlane = 4.0
    item.ParallelReductionFactorOutOfPlane = 2.0
    item.ParallelAcquisitionTechnique = technique
    item.PartialFourier, item.PartialFourierDirection = "YES", "PHASE"
    item.MagnetizationTransfer, item.Spoiling = "NONE", "RF"
    item.MRAcquisitionPhaseEncodingStepsInPlane = 78
    item.DiffusionBValue = 0.0  # of every sequence: no sign of diffusion weighting
    values = {key: value for key, value in STANDARD.items() if key != "ParallelReductionFactorInPlane"}
    values |= {"Manufacturer": "Philips", "SOPClassUID": "1.2.840.10008.5.1.4.1.1.4"}
    facts = vendors.facts(header(values, [(philips.ENHANCED, [item])]))
    assert facts.parallel_reduction_factor_in_plane == 4
    assert facts.multiband_factor == (2 if technique == "MBSENSE" else None)
    assert (facts.b_value_s_per_mm2, facts.partial_fourier) == (None, None)
    expected = {
        "ParallelAcquisitionTechnique": technique,
        "ParallelReductionFactorOutOfPlane": 2,
        "MTState": False,
        "SpoilingState": True,
        "PartialFourierEnabled": "YES",
        "PartialFourierDirection": "PHASE",
        "PhaseEncodingStepsNoPartialFourier": 78,
    } | ({} if compressed is None else {"CompressedSensingFactor": compressed})
    assert facts.extra == expected


@pytest.mark.parametrize("word", ["B0 MAP", "B0", "FIELD_MAP"])
def test_philips_field_map(word: str) -> None:
    facts = made_by("Philips", [], ImageType=["ORIGINAL", "PRIMARY", word, "B0", "UNSPECIFIED"])
    assert (facts.content, facts.extra["Units"]) == ("fieldmap", "Hz")


def test_uih_grid() -> None:
    items = []
    for number in range(3):
        item = Dataset()
        item.ImagePositionPatient = [-10.0, -20.0, 5.0 - 2.5 * number]
        item.AcquisitionDate, item.AcquisitionTime = "20200101", f"10000{number}.5"
        items.append(item)
    facts = made_by(
        "UIH",
        [(uih.GRID_SLICES, "3"), (uih.GRID_ITEMS, items), (uih.B_VALUE, 1.2), (uih.PRESCRIBED_B_VALUE, 0.0)],
        ImageType=["ORIGINAL", "PRIMARY", "M", "VFRAME"],
    )
    assert facts.mosaic is not None
    assert (facts.mosaic.slices, facts.mosaic.tiles_per_row) == (3, 2)
    assert facts.mosaic.normal_lps == (0, 0, -1)
    assert facts.mosaic.slice_step_mm == 2.5
    assert facts.mosaic.first_position_lps == (-10, -20, 5)
    assert facts.slice_times_s == (0, 1, 2)
    assert facts.b_vector_lps == (0, 0, 0)
    assert facts.extra["AcquisitionTime"] == "10:00:00.500000"
    with pytest.raises(HeaderError, match="grid"):
        made_by("UIH", [(uih.GRID_SLICES, "3")], ImageType=["ORIGINAL", "PRIMARY", "M", "VFRAME"])


def test_uih_picture_of_one_slice() -> None:
    values: dict[str, object] = {"Manufacturer": "UIH", "ImagingFrequency": 128176051}
    values |= {"MRAcquisitionType": "2D", "AcquisitionDateTime": "20000101000010.5"}
    facts = vendors.facts(header(values, [(uih.PARALLEL, "F:2S")]))
    assert facts.slice_time_s == 10.5
    assert facts.parallel_reduction_factor_in_plane == 2
    assert facts.extra == {"ImagingFrequency": 128.176051}  # its headers are in Hz, DICOM's unit is MHz


def test_canon_comment_is_along_the_picture() -> None:
    axial = {"ImageOrientationPatient": [1, 0, 0, 0, 1, 0]}
    comment = {"ImageComments": "b=1500(0.100, 0.300,-0.949)", **axial}
    facts = made_by("CANON_MEC", [], **comment)
    # dcm2niix issue 422, dcm2niix run on such a header: second number along rows, first along columns
    assert facts.b_value_s_per_mm2 == 1500
    assert facts.b_vector_lps == pytest.approx((-0.3, -0.1, -0.949), abs=1e-3)
    # the same picture, tilted by arcsin(0.8) about its rows
    tilted = comment | {"ImageOrientationPatient": STANDARD["ImageOrientationPatient"]}
    expected = (-0.3, -0.1 * 0.6 + 0.949 * 0.8, -0.1 * 0.8 - 0.949 * 0.6)
    assert made_by("CANON_MEC", [], **tilted).b_vector_lps == pytest.approx(expected, abs=1e-3)


def test_canon_comment_along_rows_is_not_guessed() -> None:
    comment = {"ImageComments": "b=1500(0.445,0.000,0.895)", "InPlanePhaseEncodingDirection": "ROW"}
    facts = made_by("TOSHIBA_MEC", [], **comment)
    assert (facts.b_value_s_per_mm2, facts.b_vector_lps) == (1500, None)


def test_canon_standard_goes_before_the_comment() -> None:
    values = {"DiffusionBValue": 1000.0, "DiffusionGradientOrientation": [0.0, 0.0, 1.0]}
    facts = made_by("CANON_MEC", [], ImageComments="b=1500(0.445,0.000,0.895)", **values)
    assert (facts.b_value_s_per_mm2, facts.b_vector_lps) == (1000, (0, 0, 1))
    unweighted = made_by("CANON_MEC", [], ImageComments="b=0(0.000,0.000,0.000)")
    assert (unweighted.b_value_s_per_mm2, unweighted.b_vector_lps) == (0, (0, 0, 0))
