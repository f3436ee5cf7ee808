"""Elements by keyword and private creator; odd and damaged files."""

from __future__ import annotations

import io

import pytest
from pydicom.dataset import Dataset
from pydicom.sequence import Sequence
from pydicom.uid import ExplicitVRBigEndian, ImplicitVRLittleEndian

from pacs2bids.header import Header, Private
from pacs2bids.model import HeaderError
from pacs2bids.reading import frame_headers, parse
from synthetic import Series


def stored(data: Dataset, **options: bool) -> io.BytesIO:
    stream = io.BytesIO()
    data.save_as(stream, **(options or {"enforce_file_format": True}))
    stream.seek(0)
    return stream


def test_values_by_keyword() -> None:
    header = parse(stored(Series().dataset(1)), "x").header
    assert header.text("SeriesDescription") == "series"
    assert header.texts("ImageType") == ("ORIGINAL", "PRIMARY", "M", "ND")
    assert header.numbers("PixelSpacing") == (3.0, 2.0)
    assert header.integer("InstanceNumber") == 2
    assert header.number("InversionTime") is None
    assert header.texts("InversionTime") == ()


@pytest.mark.parametrize("text", ["1.2.3", "abc", "1e999", "nan"])
def test_malformed_number_counts_as_missing(text: str) -> None:
    data = Series().dataset(0)
    data.EchoTime = 123456.0
    raw = stored(data).getvalue().replace(b"123456.0", text.encode().ljust(8))
    assert text.encode() in raw
    assert parse(io.BytesIO(raw), "x").header.number("EchoTime") is None


def test_private_element_is_found_by_creator_in_any_block() -> None:
    data = Dataset()
    data.add_new(0x00190010, "LO", "SOMEBODY ELSE")
    data.add_new(0x00190011, "LO", "SIEMENS MR HEADER")
    data.add_new(0x0019110C, "IS", "1000")
    data.add_new(0x0019100C, "IS", "7")
    header = Header.of(data)
    assert header.private_number(Private(creator="SIEMENS MR HEADER", group=0x19, element=0x0C)) == 1000
    assert header.private_number(Private(creator="NOBODY", group=0x19, element=0x0C)) is None
    assert header.has_private("SOMEBODY ELSE", 0x19)
    assert not header.has_private("SOMEBODY ELSE", 0x21)


def test_unknown_vr_is_read_as_told() -> None:
    data = Dataset()
    data.add_new(0x00110010, "LO", "SOME CREATOR")
    data.add_new(0x00111001, "UN", b"\x01\x00\xff\xff")
    data.add_new(0x00111002, "UN", b"1.5\\2 ")
    header = Header.of(data)
    assert header.private_numbers(Private(creator="SOME CREATOR", group=0x11, element=1, vr="SS")) == (1, -1)
    assert header.private_numbers(Private(creator="SOME CREATOR", group=0x11, element=2, vr="DS")) == (1.5, 2)
    assert header.private_bytes(Private(creator="SOME CREATOR", group=0x11, element=1)) == b"\x01\x00\xff\xff"


def test_frames_see_their_own_groups_then_shared_then_the_instance() -> None:
    def item(**values: object) -> Dataset:
        data = Dataset()
        for keyword, value in values.items():
            setattr(data, keyword, value)
        return data

    data = Series().dataset(0)
    echoes = [10.0, 20.0]
    data.NumberOfFrames = 2
    data.SharedFunctionalGroupsSequence = Sequence(
        [item(MREchoSequence=Sequence([item(EffectiveEchoTime=99.0)]), FlipAngle=5.0)]
    )
    data.PerFrameFunctionalGroupsSequence = Sequence(
        [item(MREchoSequence=Sequence([item(EffectiveEchoTime=echo)])) for echo in echoes]
    )
    frames = list(frame_headers(parse(stored(data), "x")))
    assert [frame.number("EffectiveEchoTime") for frame in frames] == echoes
    assert [frame.number("FlipAngle") for frame in frames] == [5.0, 5.0]
    assert frames[1].text("SeriesDescription") == "series"


@pytest.mark.parametrize("syntax", [ImplicitVRLittleEndian, ExplicitVRBigEndian])
def test_pixels_are_found_in_other_syntaxes(syntax: str) -> None:
    data = Series().dataset(0)
    data.file_meta.TransferSyntaxUID = syntax
    stream = io.BytesIO()
    implicit = syntax == ImplicitVRLittleEndian
    data.save_as(stream, implicit_vr=implicit, little_endian=implicit, enforce_file_format=True)
    stream.seek(0)
    pixels = parse(stream, "x").pixels
    assert pixels is not None
    assert pixels.offset is not None
    assert stream.getvalue()[pixels.offset : pixels.offset + (pixels.length or 0)] == data.PixelData


@pytest.mark.parametrize(
    "content", [b"", b"\0" * 200, b"plain text", b"\0" * 128 + b"DICM", b"\0" * 128 + b"DICM" + b"\x02" * 50]
)
def test_what_is_no_dicom_is_said_to_be_none(content: bytes) -> None:
    with pytest.raises(HeaderError, match="some/file"):
        parse(io.BytesIO(content), "some/file")


def test_any_cut_gives_a_header_or_a_clear_error() -> None:
    whole = stored(Series().dataset(0)).getvalue()
    outcomes = {_outcome(whole[:size]) for size in range(0, len(whole), 3)}
    assert outcomes == {"a header", "an error that names the file"}


def _outcome(content: bytes) -> str:
    try:
        parse(io.BytesIO(content), "some/file").header.text("SeriesInstanceUID")
    except HeaderError as error:
        return "an error that names the file" if error.where == "some/file" else str(error)
    return "a header"
