"""Headers read by template give what pydicom gives, whatever varies from file to file."""

from __future__ import annotations

import io
import random
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pydicom.dataset import Dataset
from pydicom.sequence import Sequence
from pydicom.uid import ExplicitVRLittleEndian, ImplicitVRLittleEndian

from pacs2bids.header import Header, Private, RawLayer
from pacs2bids.reading import Reader, frame_headers, parse_slowly
from pacs2bids.recalled import recall
from pacs2bids.template import Span, Templates, walk
from synthetic import Series, uid

KEYWORDS = (
    "SOPInstanceUID",
    "SpecificCharacterSet",
    "SeriesDescription",
    "ImageComments",
    "EchoTime",
    "InstanceNumber",
    "ImagePositionPatient",
    "ImageType",
    "PatientName",
    "Rows",
    "InversionTime",
)
OURS = Private(creator="PACS2BIDS TEST", group=0x0099, element=0x01, vr="FD")


def seen(header: Header) -> list[Any]:
    values: list[Any] = [header.texts(keyword) for keyword in KEYWORDS]
    values += [header.numbers(keyword) for keyword in ("EchoTime", "ImagePositionPatient", "Rows")]
    values += [header.private_numbers(OURS), header.has_private("PACS2BIDS TEST", 0x99)]
    codes = header.items("ProcedureCodeSequence")
    return values + [code.text("CodeValue") for code in codes]


def written(data: Dataset, syntax: str, *, undefined: bool = False) -> bytes:
    data.file_meta.TransferSyntaxUID = syntax
    for element in data:
        if element.VR == "SQ":
            element.is_undefined_length = undefined
            for item in element.value:
                item.is_undefined_length_sequence_item = undefined
    stream = io.BytesIO()
    implicit = syntax == ImplicitVRLittleEndian
    data.save_as(stream, implicit_vr=implicit, little_endian=True, enforce_file_format=True)
    return stream.getvalue()


def varied(rng: random.Random, number: int) -> Dataset:
    data = Series().dataset(number % 3)
    data.SOPInstanceUID = data.file_meta.MediaStorageSOPInstanceUID = uid("varied", number)
    data.SpecificCharacterSet = rng.choice(["ISO_IR 192", "ISO_IR 192", "ISO_IR 100"])
    data.PatientName = rng.choice(["Phantom^One", "Phäntom^Zwei"])
    data.EchoTime = rng.choice([30.0, 30.0, 4.92])
    data.InstanceNumber = rng.choice([1, 10, 1000])
    if rng.random() < 0.3:
        data.ImageComments = "x" * rng.choice([0, 1, 5])
    if rng.random() < 0.5:
        block = data.private_block(0x0099, rng.choice(["PACS2BIDS TEST", "SOMEBODY ELSE"]), create=True)
        block.add_new(0x01, "FD", rng.choice([0.5, 1e9]))
    if rng.random() < 0.5:
        data.ProcedureCodeSequence = Sequence([Dataset() for _ in range(rng.choice([0, 1, 2]))])
        for code in data.ProcedureCodeSequence:
            code.CodeValue = rng.choice(["A", "LONGER"])
    return data


@settings(max_examples=60, deadline=None)
@given(seed=st.integers(0, 2**31), syntax=st.sampled_from([ExplicitVRLittleEndian, ImplicitVRLittleEndian]))
def test_any_mixture_of_files_reads_as_by_pydicom(seed: int, syntax: str) -> None:
    rng = random.Random(seed)
    reader = Reader()
    for number in range(8):
        content = written(varied(rng, number), syntax, undefined=rng.random() < 0.5)
        fast, slow = reader.parse(io.BytesIO(content), "x"), parse_slowly(io.BytesIO(content), "x")
        assert isinstance(fast.header.layers[0], RawLayer), "read by template, not by pydicom"
        assert seen(fast.header) == seen(slow.header)
        assert (fast.pixels, fast.transfer_syntax_uid) == (slow.pixels, slow.transfer_syntax_uid)


def test_headers_longer_than_what_is_read_at_first() -> None:
    """Long elements of many lengths: the header ends behind what was read, or a template is cut short."""
    rng, reader = random.Random(1), Reader()
    for number in range(40):
        data = varied(rng, number)
        block = data.private_block(0x0099, "LONG ONES", create=True)
        block.add_new(0x02, "OB", bytes([number % 3]) * rng.choice([2, 30_000, 32_700, 40_000, 300_000]))
        block.add_new(0x03, "OB", bytes(rng.choice([2, 50_000])))
        content = written(data, ExplicitVRLittleEndian)
        fast, slow = reader.parse(io.BytesIO(content), "x"), parse_slowly(io.BytesIO(content), "x")
        assert isinstance(fast.header.layers[0], RawLayer)
        assert (seen(fast.header), fast.pixels) == (seen(slow.header), slow.pixels)


def test_recall_inside_recall_notes_what_the_inner_function_read() -> None:
    reader = Reader()

    def inner(header: Header) -> float | None:
        return header.number("EchoTime")

    def outer(header: Header) -> tuple[float | None, float | None]:
        return recall(inner, header), header.number("InstanceNumber")

    for number, echo in [(0, 30.0), (1, 30.0), (0, 40.0), (1, 30.0), (1, 40.0), (0, 30.0), (1, 40.0)]:
        data = Series().dataset(number)
        data.InstanceNumber, data.EchoTime = number, echo
        header = reader.parse(io.BytesIO(written(data, ExplicitVRLittleEndian)), "x").header
        recall(inner, header)  # so that the inner one is known before the outer one is asked
        assert recall(outer, header) == (echo, float(number))


def test_recall_computes_once_for_equal_reading_and_anew_for_other() -> None:
    reader, calls = Reader(), []

    def echo_time(header: Header) -> float | None:
        calls.append(header.text("SOPInstanceUID") if header.number("EchoTime") == 7.0 else "")
        return header.number("EchoTime")

    def answer(number: int, echo: float) -> float | None:
        data = Series().dataset(number)
        data.EchoTime = echo
        content = written(data, ExplicitVRLittleEndian)
        return recall(echo_time, reader.parse(io.BytesIO(content), "x").header)

    assert [answer(0, 30.0), answer(1, 30.0), answer(2, 30.0)] == [30.0] * 3
    learnt = len(calls)
    assert [answer(0, 40.0), answer(1, 30.0), answer(2, 40.0)] == [40.0, 30.0, 40.0]
    # with an echo time of 7 the function also reads the UID: then each instance is another case
    assert [answer(0, 7.0), answer(1, 7.0)] == [7.0, 7.0]
    before = len(calls)
    assert [answer(0, 40.0), answer(0, 7.0), answer(1, 7.0)] == [40.0, 7.0, 7.0]
    assert learnt <= 2
    assert len(calls) - before <= 2


def enhanced(echoes: list[float], *, undefined: bool) -> bytes:
    data = Series().dataset(0)
    data.NumberOfFrames = len(echoes)
    frames = []
    for number, echo in enumerate(echoes):
        frame, group, inner = Dataset(), Dataset(), Dataset()
        group.EffectiveEchoTime = echo
        inner.DiffusionBValue = 1000.0 * number
        group.DiffusionGradientDirectionSequence = Sequence([inner])
        block = group.private_block(0x0099, "PACS2BIDS TEST", create=True)
        block.add_new(0x01, "FD", float(number))
        frame.MREchoSequence = Sequence([group])
        plane = Dataset()
        plane.ImagePositionPatient = [0.0, 0.25 * number, 10.0**number]  # texts of many lengths
        frame.PlanePositionSequence = Sequence([plane])
        for item in (frame, group, inner, plane):
            item.is_undefined_length_sequence_item = undefined
        frames.append(frame)
    data.PerFrameFunctionalGroupsSequence = Sequence(frames)
    return written(data, ExplicitVRLittleEndian, undefined=undefined)


@pytest.mark.parametrize("undefined", [False, True])
def test_frames_of_an_enhanced_image_read_as_by_pydicom(undefined: bool) -> None:
    content = enhanced([10.0, 10.0, 4.5, 10.0, 123.456], undefined=undefined)
    fast = Reader().parse(io.BytesIO(content), "x")
    slow = parse_slowly(io.BytesIO(content), "x")

    def all_of(header: Header) -> list[Any]:
        (inner,) = header.items("DiffusionGradientDirectionSequence")
        return [
            header.number("EffectiveEchoTime"),
            header.number("DiffusionBValue"),
            inner.number("DiffusionBValue"),
            inner.number("EffectiveEchoTime"),  # outside that item: must not be seen in it
            header.numbers("ImagePositionPatient"),
            header.private_number(OURS),
        ]

    ours, theirs = ([all_of(header) for header in frame_headers(parsed)] for parsed in (fast, slow))
    assert ours == theirs
    assert [frame[1] for frame in ours] == [0.0, 1000.0, 2000.0, 3000.0, 4000.0]
    assert ours[0][3] is None


def with_codes(*meanings: str) -> tuple[bytes, list[Span]]:
    """A data set with a sequence of undefined length, and its elements as they are walked."""
    data = Series().dataset(0)
    data.ProcedureCodeSequence = Sequence([Dataset() for _ in meanings])
    for item, meaning in zip(data.ProcedureCodeSequence, meanings, strict=True):
        item.CodeMeaning = meaning
    content = written(data, ExplicitVRLittleEndian, undefined=True)
    content = content[144 + int.from_bytes(content[140:144], "little") :]  # behind the meta information
    return content, list(walk(content, 0, len(content), implicit=False))


def test_a_sequence_of_undefined_length_ends_by_its_inner_lengths() -> None:
    """As long as the one before or not, with the same inner lengths or others, a delimiter in a value."""
    templates = Templates(implicit=False)
    for meanings in (("A", "B"), ("A", "LONGER")):
        content, spans = with_codes(*meanings)
        templates.learn(content, spans, 0, spans[-1].end)
    end = b"\xfe\xff\xdd\xe0\0\0\0\0".decode("latin-1")
    for meanings in (
        ("A", "SECOND"),
        ("LONGER", "A"),
        ("A", "B", "C"),
        ("A" + end + "B", "C"),
        ("B" + end + "A", "D"),
        ("B" + end, "A", "D"),
        ("AB", "D"),
    ):
        content, spans = with_codes(*meanings)
        found = templates.match(content, 0)
        assert found is not None
        (number,) = [number for number, span in enumerate(spans) if span.vr == b"SQ"]
        assert found[1][number] == content[spans[number].value : spans[number].end]
        assert found[2] == spans[-1].end


def test_a_changed_constant_is_noticed_wherever_it_is() -> None:
    """Flip each byte of a second file: it must read as pydicom reads it, or fall back to pydicom."""
    first = written(Series().dataset(0), ExplicitVRLittleEndian)
    rng = random.Random(0)
    for place in rng.sample(range(132, len(first) - 60), 150):
        other = bytearray(first)
        other[place] ^= 1 << rng.randrange(8)
        reader = Reader()
        reader.parse(io.BytesIO(first), "x")
        assert outcome(reader.parse, bytes(other)) == outcome(parse_slowly, bytes(other)), place


def outcome(parse: Any, content: bytes) -> Any:
    try:
        header = parse(io.BytesIO(content), "x").header
    except Exception as error:  # noqa: BLE001 - whatever pydicom raises
        return type(error)
    return [header.texts("SOPInstanceUID"), header.numbers("EchoTime"), header.numbers("PixelSpacing")]
