"""The gate finds nobody in what scanners' data became, by what their own headers say of the patient."""

from __future__ import annotations

from collections import defaultdict
from pathlib import Path

import pytest
from agreement import SETS, Conversions
from pydicom import dcmread
from pydicom.errors import InvalidDicomError

from pacs2bids.gate import needles_of, search_file
from pacs2bids.header import Header
from pacs2bids.identity import Identifying
from pacs2bids.model import Identity

A_FOLDER = 40  # files that are read of each: who it is says the first, the rest the days


def identities_of(folder: Path) -> list[Identity]:
    """Of each study below a folder."""
    seen: dict[str, Identifying] = defaultdict(Identifying)
    for inside in (folder, *(one for one in folder.rglob("*") if one.is_dir())):
        for path in sorted(one for one in inside.iterdir() if one.is_file())[:A_FOLDER]:
            try:
                data = dcmread(path, stop_before_pixels=True)
            except InvalidDicomError:
                continue  # notes beside the images
            seen[data.get("StudyInstanceUID", "")].see(Header.of(data))
    return [identifying.identity(uid) for uid, identifying in seen.items()]


@pytest.mark.parametrize("name", SETS)
def test_nobody_is_found(conversion: Conversions, name: str) -> None:
    made = conversion(name)
    identities = identities_of(made.folder)
    assert identities
    needles = needles_of(identities)
    # tables of ``convert`` tell of its input, and go into no dataset
    files = [path for path in made.ours.rglob("[!.]*") if path.is_file() and path.suffix != ".tsv"]
    assert files
    found = {path.name: search_file(path.name, path, needles) for path in files}
    assert {path: [hit for hit in some if hit.is_sure] for path, some in found.items() if some} == {}
