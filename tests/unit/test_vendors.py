"""The contract of the vendor modules, and what each makes of private elements, on headers written here."""

from __future__ import annotations

import gzip
import logging
import struct
from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydicom.dataset import Dataset
from test_csa import csa2

from pacs2bids import vendors
from pacs2bids.header import Header, Private
from pacs2bids.model import Facts, HeaderError
from pacs2bids.vendors import canon, ge, philips, siemens, standard, uih

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
    for module in (siemens, ge, philips, uih)
    for element in vars(module).values()
    if isinstance(element, Private)
]


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


# ---------------------------------------------------------------------------------------------- GE


def ge_private(**protocol: str) -> list[tuple[Private, object]]:
    text = "".join(f'{key} "{value}"\n' for key, value in protocol.items())
    block = gzip.compress(text.encode())
    return [
        (ge.PROTOCOL_BLOCK, struct.pack("<I", len(block)) + block),
        (ge.PULSE_SEQUENCE, "epiRT"),
        (ge.LOCATIONS, 6),
        (ge.ECHO_SPACING_US, 500),
        (ge.ASSET, [0.5, 1]),
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
    private = [*ge_private(SLICEORDER=order), (ge.MULTIBAND, [bands, "1", "1"])]
    times = [
        made_by("GE MEDICAL SYSTEMS", private, **GE_VALUES, InstanceNumber=number).slice_time_s
        for number in range(7, 13)  # volume 2
    ]
    slot = 2.0 / (6 // int(bands))
    assert times == pytest.approx([count * slot for count in expected])


def test_ge_readout() -> None:
    facts = made_by("GE MEDICAL SYSTEMS", ge_private(), **GE_VALUES)
    # 60 lines, every second: 30, up to a multiple of four with partial Fourier: 32 echoes, 31 gaps of 0.5 ms
    assert facts.total_readout_time_s == pytest.approx(0.0155)
    assert facts.effective_echo_spacing_s == pytest.approx(0.0155 / 59)
    assert facts.parallel_reduction_factor_in_plane == 2


def user_data(control: int) -> bytes:
    """(0043,xx2A) with a raw header at byte 40."""
    return (
        bytes(24)
        + struct.pack("<I", 40)
        + bytes(12 + 110)
        + b"GE_MED_NMR"
        + bytes(4)
        + struct.pack("<H", control)
    )


@pytest.mark.parametrize(
    ("view_order", "control", "reordering", "expected"),
    [
        ("1", 8, None, False),
        ("1", 12, None, True),
        ("0", 8, None, True),
        ("0", 12, None, False),
        ("2", 8, None, None),
        ("1", 8, "REVERSE_LINEAR", True),
        ("1", 12, "LINEAR", False),
    ],
)
def test_ge_polarity(view_order: str, control: int, reordering: str | None, expected: bool | None) -> None:
    private = [*ge_private(VIEWORDER=view_order), (ge.USER_DATA, user_data(control))]
    values = GE_VALUES | ({} if reordering is None else {"RectilinearPhaseEncodeReordering": reordering})
    assert made_by("GE MEDICAL SYSTEMS", private, **values).phase_encoding_positive is expected


def test_ge_diffusion() -> None:
    gradient = list(zip(ge.GRADIENT, ("0.6", "0", "0.8"), strict=True))
    facts = made_by("GE MEDICAL SYSTEMS", [(ge.B_VALUE, [1_000_000_700, 8, 0, 0]), *gradient])
    assert facts.b_value_s_per_mm2 == 700
    # rows along x, columns (0, .6, .8), normal (0, -.8, .6): up to sign .6 x + 0 - .8 normal
    assert facts.b_vector_lps == pytest.approx((-0.6, -0.64, 0.48))
    assert made_by("GE MEDICAL SYSTEMS", [(ge.B_VALUE, [0, 8, 0, 0])]).b_value_s_per_mm2 is None


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
    with pytest.raises(HeaderError, match="grid"):
        made_by("UIH", [(uih.GRID_SLICES, "3")], ImageType=["ORIGINAL", "PRIMARY", "M", "VFRAME"])


def test_canon_comment() -> None:
    facts = made_by("TOSHIBA_MEC", [], ImageComments="b=1500(0.445,0.000,0.895)")
    assert (facts.b_value_s_per_mm2, facts.b_vector_lps) == (1500, None)
