"""dcm2niix's second opinion: on volumes that are right, on a spoilt one, and where it is not installed."""

from __future__ import annotations

import gzip
from pathlib import Path

import pytest

from pacs2bids import second_opinion as module
from pacs2bids.__main__ import main
from pacs2bids.files import read_record, read_tsv
from pacs2bids.model import Manifest
from pacs2bids.store import index_folder
from synthetic import Series


@pytest.fixture
def source(tmp_path: Path) -> Path:
    """A run of three volumes and a single volume, of one study."""
    folder = tmp_path / "in"
    Series(name="run", number=1, rows=8, columns=8, slices=4, volumes=3).write(folder)
    Series(name="anatomy", number=2, rows=9, columns=8, slices=5).write(folder)
    return folder


def test_opinion_on_each_volume(source: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    out = tmp_path / "out"
    assert main(["convert", str(source), str(out), "--second-opinion"]) == 0
    assert "second opinion of dcm2niix: 2 of 2 volumes agree" in capsys.readouterr().out
    rows = read_tsv(out / "second_opinion.tsv")
    assert [(row["volume"], row["verdict"]) for row in rows] == [
        ("001-1_run", "agrees"),
        ("002-1_anatomy", "agrees"),
    ]


def test_spoilt_volume_differs(source: Path, tmp_path: Path) -> None:
    out = tmp_path / "out"
    assert main(["convert", str(source), str(out)]) == 0
    path = out / "001-1_run.nii.gz"
    content = gzip.decompress(path.read_bytes())
    volume = 8 * 8 * 4 * 2
    first, second, third = (content[352 + n * volume : 352 + (n + 1) * volume] for n in range(3))
    path.write_bytes(gzip.compress(content[:352] + first + third + second))
    manifest = read_record(out / ".manifest.json", Manifest)
    (index,) = index_folder(source).indices
    spoilt, good = module.second_opinion(index, manifest, source, out)
    assert (spoilt.verdict, good.verdict) == ("differs", "agrees")
    assert spoilt.detail == "has the same volumes in another order, against dcm2niix"


def test_volume_that_only_dcm2niix_makes_is_listed(source: Path, tmp_path: Path) -> None:
    out = tmp_path / "out"
    assert main(["convert", str(source), str(out)]) == 0
    manifest = read_record(out / ".manifest.json", Manifest)
    less = Manifest(
        engine_version=manifest.engine_version,
        study_instance_uid=manifest.study_instance_uid,
        volumes=manifest.volumes[1:],
    )
    (index,) = index_folder(source).indices
    opinions = module.second_opinion(index, less, source, out)
    assert [(one.volume, one.verdict) for one in opinions] == [("", "absent"), ("002-1_anatomy", "agrees")]


def test_without_dcm2niix_it_is_one_line_before_any_work(
    source: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(module, "PROGRAM", "dcm2niix-that-is-not-there")
    out = tmp_path / "out"
    assert main(["convert", str(source), str(out), "--second-opinion"]) == 2
    assert "is not installed. Install it (`pip install" in capsys.readouterr().err
    assert not out.exists()
    assert main(["convert", str(source), str(out)]) == 0
