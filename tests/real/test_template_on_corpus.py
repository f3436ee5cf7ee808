"""Indexing by template gives the same as with every header parsed by pydicom, on real scanner data."""

from __future__ import annotations

import filecmp
import warnings
from collections.abc import Callable
from functools import partial
from pathlib import Path

import msgspec
import pytest

from pacs2bids.engine import engine_version
from pacs2bids.indexing import Indexer
from pacs2bids.model import HeaderError
from pacs2bids.reading import ParsedFile, parse_slowly
from pacs2bids.store import files_below, index_folder


def _parsed(folder: Path, path: str) -> ParsedFile:
    with warnings.catch_warnings(action="ignore"), (folder / path).open("rb") as stream:
        return parse_slowly(stream, path)


# Siemens mosaic and GE; XA enhanced; Philips classic, enhanced and compressed; UIH grids; implicit VR
SETS = ("nih", "xa60", "philips_asl", "uih", "ts", "table")


@pytest.mark.parametrize("name", SETS)
def test_same_index(corpus: Callable[[str], Path], name: str) -> None:
    folder = corpus(name)
    fast = index_folder(folder).indices
    assert fast
    for index in fast:
        slow = Indexer(
            study_instance_uid=index.study_instance_uid,
            engine_version=engine_version(),
            same_content=lambda one, other: filecmp.cmp(folder / one, folder / other, shallow=False),
            reread=partial(_parsed, folder),
        )
        for path in files_below(folder):
            try:
                parsed = _parsed(folder, path)
            except HeaderError:
                continue
            if parsed.header.text("StudyInstanceUID") == index.study_instance_uid:
                slow.add(path, parsed)
        assert msgspec.json.encode(slow.finish()) == msgspec.json.encode(index)
