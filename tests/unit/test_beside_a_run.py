"""``query`` and ``pull`` by hand, while a run is at work on the same workdir, and as jobs of that run."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from pacs2bids.__main__ import main
from pacs2bids.turn import RUN, alone

CONFIG = """\
sources: {disk: {kind: folder, path: dicom}}
studies: {table: studies.tsv}
heuristic: heuristic.py
dataset: {name: Phantoms}
"""
QUERY = ("query", "--config", "config.yaml", "--out", "work/studies.tsv")
PULL = ("pull", "--config", "config.yaml", "--studies", "work/studies.tsv", "--study", "1.2.3", "--out")


def test_by_hand_neither_writes_beside_a_run_and_as_its_jobs_both_do(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "dicom").mkdir()
    (tmp_path / "config.yaml").write_text(CONFIG)
    (tmp_path / "studies.tsv").write_text("StudyInstanceUID\tsubject\n1.2.3\t01\n")

    def said(*words: str) -> str:
        assert main(words) in (0, 1, 2)
        return capsys.readouterr().err

    refused = f"work: another run is at work on it (pid {os.getpid()} on "
    assert said(*QUERY) == ""  # before there is a workdir
    with alone(Path("work")):
        assert refused in said(*QUERY)
        assert refused in said(*PULL, "work/studies/1.2.3")
        assert not Path("work/studies").exists()
        # what goes elsewhere is in nobody's way
        no_study = said(*PULL, "elsewhere")
        assert no_study.startswith("ERROR: ")
        assert "at work" not in no_study
        monkeypatch.setenv(RUN, str(os.getpid()))
        assert said(*QUERY) == ""
        assert said(*PULL, "work/studies/1.2.3") == no_study
