"""The CSA reader on bytes written here, after the layout that nibabel documents."""

from __future__ import annotations

import contextlib
import struct

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pacs2bids.model import HeaderError
from pacs2bids.vendors import _csa, _protocol

Tags = dict[str, tuple[int, list[str]]]  # name -> (multiplicity, items as text)

TAGS: Tags = {
    "First": (1, ["7", "", ""]),
    "SliceNormalVector": (3, ["0.5", "-0.5", "0.70710678", "", "", ""]),
    "Empty": (0, []),
    "MosaicRefAcqTimes": (0, [f"{value}.25" for value in range(40)]),
    "Last": (1, ["abcde"]),
}


def csa2(tags: Tags) -> bytes:
    """The newer form, which starts with SV10."""
    table = b"SV10\4\3\2\1" + struct.pack("<2I", len(tags), 77)
    for name, (multiplicity, items) in tags.items():
        table += struct.pack(
            "<64si4s3i", name.encode() + b"\0junk", multiplicity, b"FD\0\0", 4, len(items), 77
        )
        for item in items:
            text = item.encode() + b"\0" if item else b""
            table += struct.pack("<4i", len(text), len(text), 77, len(text)) + text + b"\0" * (-len(text) % 4)
    return table


def csa1(tags: Tags) -> bytes:
    """The older form: no magic, lengths offset by the first tag's number of items."""
    table = struct.pack("<2I", len(tags), 77)
    base = len(next(iter(tags.values()))[1])
    for name, (multiplicity, items) in tags.items():
        table += struct.pack("<64si4s3i", name.encode(), multiplicity, b"FD\0\0", 4, len(items), 77)
        for item in items:
            text = item.encode() + b"\0" if item else b""
            table += struct.pack("<4i", len(text) + base, 0, 77, 0) + text + b"\0" * (-len(text) % 4)
    return table


@pytest.mark.parametrize("write", [csa1, csa2])
def test_values_come_back(write: object) -> None:
    assert callable(write)
    found = _csa.read(write(TAGS), ["Last", "SliceNormalVector", "MosaicRefAcqTimes", "Empty", "Absent"])
    assert found == {
        "SliceNormalVector": ("0.5", "-0.5", "0.70710678"),
        "MosaicRefAcqTimes": tuple(f"{value}.25" for value in range(40)),
        "Last": ("abcde",),
    }


def test_no_more_values_than_the_multiplicity_says() -> None:
    assert _csa.read(csa2({"Triple": (2, ["1", "2", "3"])}), ["Triple"]) == {"Triple": ("1", "2")}


def test_what_follows_the_wanted_tags_is_not_read() -> None:
    whole = csa2(TAGS)
    cut = whole[: whole.index(b"MosaicRefAcqTimes")]
    assert _csa.read(cut, ["First"]) == {"First": ("7",)}
    with pytest.raises(HeaderError, match="ends early"):
        _csa.read(cut, ["Last"])


@pytest.mark.parametrize(
    ("raw", "message"),
    [
        (b"", "ends early"),
        (b"SV10", "ends early"),
        (b"no CSA header, just text", "not a Siemens CSA header"),
        (b"SV10\4\3\2\1" + struct.pack("<2I", 0, 77), "0 tags"),
        (b"SV10\4\3\2\1" + struct.pack("<2I", 2**31, 77), "2147483648 tags"),
        (b"SV10\4\3\2\1" + struct.pack("<2I", 5, 76), "check word 76"),
        (
            csa2({"A": (1, ["x"])}).replace(struct.pack("<3i", 4, 1, 77), struct.pack("<3i", 4, 10**9, 77)),
            "items",
        ),
        (csa2({"A": (1, ["x"])}).replace(struct.pack("<2i", 2, 2), struct.pack("<2i", 2, 10**6)), "beyond"),
        (csa2({"A": (1, ["x"])}).replace(struct.pack("<2i", 2, 2), struct.pack("<2i", 2, -4)), "beyond"),
    ],
)
def test_what_is_wrong_is_said(raw: bytes, message: str) -> None:
    with pytest.raises(HeaderError, match=message):
        _csa.read(raw, ["Absent"])


@given(st.data())
def test_damage_raises_header_error_or_nothing(data: st.DataObject) -> None:
    raw = bytearray(data.draw(st.sampled_from([csa1(TAGS), csa2(TAGS)])))
    for position in data.draw(st.lists(st.integers(0, len(raw) - 1), max_size=8)):
        raw[position] = data.draw(st.integers(0, 255))
    cut = bytes(raw[: data.draw(st.integers(0, len(raw)))])
    try:
        found = _csa.read(cut, TAGS)
    except HeaderError:
        return
    assert set(found) <= set(TAGS)


@given(st.binary(max_size=300))
def test_any_bytes_raise_header_error_or_nothing(raw: bytes) -> None:
    with contextlib.suppress(HeaderError):
        _csa.read(b"SV10\4\3\2\1" + raw, ["A"])


def test_protocol_values() -> None:
    text = (
        b"binary \x00\xff\n### ASCCONV BEGIN object=X ###\n"
        b'tSequenceFileName\t = \t""%SiemensSeq%\\ep2d_bold""\n'
        b"sKSpace.ucPhasePartialFourier = 0x4\nsPat.lAccelFactPE = 2\nsPat.ucPATMode = 2\n"
        b"sGRADSPEC.asGPAData[0].lOffsetX = -3717\nsGRADSPEC.alShimCurrent[1] = -312\n"
        b"sKSpace.lBaseResolution = 64 # comment\nlDelayTimeInTR = 500000\nno value here\n"
        b'tProtocolName = ""func task-rest""\n'
        b'tProtocolName = ""func task-rest""\n'
        b"### ASCCONV END ###\nsPat.lAccelFactPE = 9\n"
    )
    protocol = _protocol.read(text)
    assert protocol.partial_fourier == 6 / 8
    assert protocol.parallel_reduction_factor_in_plane == 2
    assert protocol.extra == {
        "PulseSequenceDetails": "%SiemensSeq%\\ep2d_bold",
        "ProtocolName": "functask-rest",  # as heudiconv, which takes spaces out of it
        "ShimSetting": [-3717, 0, 0, 0, -312, 0, 0, 0],
        "BaseResolution": 64,
        "ParallelAcquisitionTechnique": "GRAPPA",
        "DelayTime": 0.5,
        "PartialFourierDirection": "PHASE",
    }


@pytest.mark.parametrize("raw", [b"", b"### ASCCONV BEGIN ###\nsPat.lAccelFactPE = 2\n", b"\x00" * 100])
def test_no_whole_protocol_no_values(raw: bytes) -> None:
    assert _protocol.read(raw) == _protocol.Protocol()


def protocol(*lines: str) -> _protocol.Protocol:
    text = "\n".join(["### ASCCONV BEGIN ###", *lines, "### ASCCONV END ###"])
    return _protocol.read(text.encode())


def test_pulsed_labelling() -> None:
    lines = [r'tSequenceFileName = ""%SiemensSeq%\tgse_pasl""', "sAsl.ulMode = 4", "sAsl.ulArrayLength = 1"]
    lines += ["alTI[0] = 700000", "alTI[2] = 1990000", "sFastImaging.lSegments = 6"]
    read = protocol(*lines)
    assert read.segments == 6
    # BIDS: of PASL, PostLabelingDelay is from the labelling pulse to the excitation
    assert read.extra["PostLabelingDelay"] == read.extra["InversionTime"] == 1.99
    assert (read.extra["ArterialSpinLabelingType"], read.extra["PASLType"]) == ("PASL", "FAIR QII")
    assert (read.extra["BolusCutOffFlag"], read.extra["BolusCutOffDelayTime"]) == (True, 0.7)
    several = protocol(*[line.replace("Length = 1", "Length = 3") for line in lines])
    assert "PostLabelingDelay" not in several.extra


def test_pseudo_continuous_labelling() -> None:
    lines = [r'tSequenceFileName = ""%SiemensSeq%\ep2d_asl""', "sAsl.ulMode = 32"]
    lines += ["sAsl.ulLabelingDuration = 1800000", "sAsl.ulDelayArraySize = 2"]
    lines += ["sAsl.sPostLabelingDelay[0] = 1500000", "sAsl.sPostLabelingDelay[1] = 1500000"]
    one = protocol(*lines).extra
    assert (one["ArterialSpinLabelingType"], one["LabelingDuration"]) == ("PCASL", 1.8)
    assert one["PostLabelingDelay"] == 1.5
    assert "PostLabelingDelay" not in protocol(*lines[:-1], lines[-1].replace("15", "20")).extra
    # 82 blocks of 20 pulses, each 0.56 ms and a gap of 0.36 ms
    block = [
        f"sWipMemBlock.adFree[{n}] = {value}" for n, value in ((1, "90.0"), (2, "200000.0"), (3, "82.0"))
    ]
    usc = protocol(r'tSequenceFileName = ""%CustomerSeq%\ep2d_pcasl_ve11c""', *block).extra
    assert usc["LabelingDuration"] == pytest.approx(82 * 20 * 0.00092)
    assert (usc["PostLabelingDelay"], usc["LabelingDistance"]) == (0.2, 90)


def test_labelling_is_not_read_out_of_other_sequences() -> None:
    other = protocol(r'tSequenceFileName = ""%SiemensSeq%\ep2d_bold""', "sAsl.ulMode = 4", "alTI[0] = 300000")
    assert "ArterialSpinLabelingType" not in other.extra
    assert "InversionTime" not in other.extra
