"""``pacs2bids convert`` on real scanners' files against dcm2niix, and against the files themselves."""

from __future__ import annotations

import functools
from collections.abc import Callable
from pathlib import Path

import pytest
from agreement import STUDIES, Corpus, assert_agrees, study_folder

from pacs2bids.__main__ import main

Converted = Callable[[str], tuple[Path, Path]]


@pytest.fixture(scope="module")
def converted(corpus: Corpus, tmp_path_factory: pytest.TempPathFactory) -> Converted:
    """``converted(study)``: its DICOM folder, and the folder of its volumes."""

    @functools.cache
    def run(study: str) -> tuple[Path, Path]:
        folder, out = study_folder(corpus, study), tmp_path_factory.mktemp("converted")
        assert main(["convert", str(folder), str(out), "-j", "2"]) == 0
        return folder, out

    return run


@pytest.mark.parametrize("study", STUDIES)
def test_volumes_are_those_of_dcm2niix(
    converted: Converted, compare: Path, tmp_path: Path, study: str
) -> None:
    folder, ours = converted(study)
    assert_agrees(study, ours, folder, compare=compare, scratch=tmp_path)
