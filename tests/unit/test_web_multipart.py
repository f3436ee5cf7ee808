"""The reader of multipart bodies: the same parts however the body is cut, and no part of a broken one."""

from __future__ import annotations

from collections.abc import Iterable

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pacs2bids.pacs.web_multipart import BrokenError, boundary_of, media_type, parts

BOUNDARY = b"b0-x"


def body(contents: Iterable[bytes], *, counted: bool, end: bytes = b"\r\n--b0-x--\r\n") -> bytes:
    written = b"preamble\r\n--b0-x"
    for content in contents:
        length = f"Content-Length: {len(content)}\r\n".encode() if counted else b""
        written += b"\r\nContent-Type: application/dicom\r\n" + length + b"\r\n" + content + b"\r\n--b0-x"
    return written.removesuffix(b"\r\n--b0-x") + end


def read(written: bytes, size: int = 1 << 20) -> list[bytes]:
    """The parts of a body that comes in pieces of at most ``size`` bytes."""
    at = 0

    def more(most: int) -> bytes:
        nonlocal at
        piece = written[at : at + min(size, most)]
        at += len(piece)
        return piece

    return [b"".join(part.content) for part in parts(more, BOUNDARY)]


# near misses of the boundary are what a search may stumble over
pieces = st.sampled_from([b"\r", b"\n", b"-", b"--b0", b"\r\n--b0-", b"DICM", b"\0" * 40, b"x"])
contents_of_parts = st.lists(st.lists(pieces, max_size=8).map(b"".join), min_size=1, max_size=4)


@given(contents_of_parts, st.booleans(), st.integers(1, 50))
def test_any_parts_cut_anywhere(contents: list[bytes], counted: bool, size: int) -> None:
    if not counted and any(b"\r\n--b0-x" in content for content in contents):
        return
    assert read(body(contents, counted=counted), size) == contents


def test_a_counted_part_may_hold_its_own_boundary() -> None:
    contents = [b"1\r\n--b0-x--\r\n2", b""]
    assert read(body(contents, counted=True)) == contents


@given(st.integers(0, 200), st.booleans())
def test_a_body_that_ends_early_is_broken(length: int, counted: bool) -> None:
    whole = body([b"x" * 60, b"y" * 60], counted=counted, end=b"\r\n--b0-x--")
    with pytest.raises(BrokenError, match="closing boundary"):
        read(whole[: min(length, len(whole) - 1)])


def test_whole_parts_before_the_break_are_given() -> None:
    whole = body([b"x" * 60, b"y" * 60], counted=True)
    chunks = iter([whole[:-40]])
    several = parts(lambda _: next(chunks, b""), BOUNDARY)
    assert b"".join(next(several).content) == b"x" * 60
    broken = next(several)
    with pytest.raises(BrokenError):
        list(broken.content)


@pytest.mark.parametrize("length", ["59", "61"])
def test_a_part_that_is_not_as_long_as_it_says(length: str) -> None:
    whole = body([b"x" * 60, b"y" * 60], counted=True).replace(
        b"Length: 60", b"Length: " + length.encode(), 1
    )
    with pytest.raises(BrokenError, match="not as long as it says"):
        read(whole)


def test_what_is_no_multipart_at_all() -> None:
    with pytest.raises(BrokenError, match="no boundary is there"):
        read(b"<html>" * 100_000)
    with pytest.raises(BrokenError, match="the head of a part has no end"):
        read(b"--b0-x\r\n" + b"x" * 1_000_000)
    with pytest.raises(BrokenError, match="something stands behind a boundary"):
        read(b"--b0-xyz\r\n\r\n")


def test_parts_that_nobody_reads_are_skipped() -> None:
    whole = iter([body([b"x" * 60, b"y" * 60, b"z"], counted=False)])
    kinds = [part.content_type for part in parts(lambda _: next(whole, b""), BOUNDARY)]
    assert kinds == ["application/dicom"] * 3


def test_content_types() -> None:
    quoted = 'Multipart/Related; type="application/dicom"; start="<a;b>"; boundary="x y;z"'
    assert media_type(quoted) == "multipart/related"
    assert boundary_of(quoted) == b"x y;z"
    assert boundary_of("multipart/related; boundary=abc; type=application/dicom") == b"abc"
    assert boundary_of("text/html") == b""
