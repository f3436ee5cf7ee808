"""Blocks compressed apart are one gzip file that any tool reads."""

from __future__ import annotations

import gzip
import io
import random
import zlib

import pytest
from isal import igzip

from pacs2bids.compress import LEVELS, compressed, joined

RANDOM = random.Random(1)
BLOCKS = (b"header", RANDOM.randbytes(70_000), bytes(1_000_000), b"", b"abc" * 50_000)


def written(blocks: tuple[bytes, ...], kind: str) -> bytes:
    level = LEVELS[kind]
    return b"".join(joined((compressed(memoryview(block), level) for block in blocks), level))


@pytest.mark.parametrize("kind", ["fast", "small"])
@pytest.mark.parametrize("blocks", [BLOCKS, BLOCKS[:1], ()])
def test_every_reader_gives_the_blocks_back(kind: str, blocks: tuple[bytes, ...]) -> None:
    content, plain = written(blocks, kind), b"".join(blocks)
    assert gzip.decompress(content) == plain
    assert igzip.IGzipFile(fileobj=io.BytesIO(content)).read() == plain
    # one member, checksum and length right, nothing after it
    one = zlib.decompressobj(31)
    assert one.decompress(content) == plain
    assert one.eof
    assert not one.unused_data


def test_repeats_are_found() -> None:
    assert len(written(BLOCKS[2:], "fast")) < 10_000


def test_off_is_plain() -> None:
    assert written(BLOCKS, "off") == b"".join(BLOCKS)
