"""Our short table of elements says what pydicom's dictionary says, and is as long as it needs to be."""

from __future__ import annotations

import ast
import subprocess
import sys
from pathlib import Path

import pytest
from pydicom.datadict import dictionary_VR, keyword_dict, keyword_for_tag, private_dictionary_VR
from pydicom.tag import Tag

import pacs2bids
from pacs2bids import vendors
from pacs2bids.dictionary import Private, rows, tag_of, vr_of
from pacs2bids.engine import SOURCES
from synthetic import Series

PACKAGE = Path(pacs2bids.__file__).parent


def test_each_row_is_as_in_pydicom() -> None:
    assert {row.keyword: (row.tag, row.vr) for row in rows()} == {
        keyword_for_tag(row.tag): (row.tag, dictionary_VR(row.tag)[:2]) for row in rows()
    }


def test_each_keyword_of_the_engine_has_a_row() -> None:
    """Else its first use imports pydicom, which costs more than a thousand files."""
    known = {row.keyword for row in rows()} | {"FloatPixelData", "DoubleFloatPixelData", "PixelData", ""}
    known |= {"SamplingFrequency"}  # of recordings: the BIDS field; no header is asked for it
    missing = {
        f"{keyword_dict[node.value]:08X} {dictionary_VR(keyword_dict[node.value])[:2]} {node.value}"
        for pattern in SOURCES
        for path in PACKAGE.glob(pattern)
        for node in ast.walk(ast.parse(path.read_text()))
        if isinstance(node, ast.Constant) and node.value in keyword_dict and node.value not in known
    }
    assert not missing, "add these rows to dictionary.py"


def test_what_is_not_in_the_table_comes_from_pydicom() -> None:
    assert tag_of("PatientComments") == 0x00104000
    assert (vr_of(0x00104000), vr_of(0x00090001)) == ("LT", "UN")
    with pytest.raises(LookupError):
        tag_of("NoSuchKeyword")


@pytest.mark.parametrize("vendor", vendors.VENDORS, ids=lambda vendor: vendor.__name__.rsplit(".", 1)[-1])
def test_private_elements_have_the_vr_that_pydicom_knows(vendor: object) -> None:
    for value in vars(vendor).values():
        for element in value if isinstance(value, tuple) else (value,):
            if isinstance(element, Private) and element.vr != "UN":
                tag = Tag(element.group, 0x1000 | element.element)
                try:
                    assert private_dictionary_VR(tag, element.creator) == element.vr, element
                except KeyError:
                    continue


def test_a_usual_file_is_indexed_without_pydicom(tmp_path: Path) -> None:
    Series().dataset(0).save_as(tmp_path / "one.dcm", enforce_file_format=True)
    code = """
import sys
from pacs2bids.frames import frames_of
from pacs2bids.reading import Reader
from pacs2bids.indexing import Indexer

with open(sys.argv[1], "rb") as stream:
    parsed = Reader().parse(stream, "one.dcm")
uid = parsed.header.text("StudyInstanceUID")
indexer = Indexer(study_instance_uid=uid, engine_version="", same_content=None, reread=None)
indexer.add("one.dcm", parsed)
assert len(indexer.finish().stacks) == 1
assert "pydicom" not in sys.modules
"""
    command = [sys.executable, "-c", code, str(tmp_path / "one.dcm")]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
