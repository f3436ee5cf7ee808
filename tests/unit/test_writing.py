"""Volumes on disk: the same bytes for any number of threads, plain where asked; a failure harms no other."""

from __future__ import annotations

import gzip
import hashlib
from collections.abc import Iterator
from pathlib import Path

import nibabel
import numpy as np
import pytest

from pacs2bids.__main__ import main
from pacs2bids.model import Manifest
from pacs2bids.store import index_folder, reconstruct
from synthetic import Series

# 64 pictures of 32 kB: two blocks a series
LARGE = {"rows": 128, "columns": 128, "slices": 16, "volumes": 4}


@pytest.fixture(scope="module")
def large(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("large")
    for number in (1, 2, 3):
        Series(name=f"s{number}", number=number, **LARGE).write(folder)
    return folder


def written(folder: Path, out: Path, *, jobs: int, gzip: str = "fast") -> Manifest:
    (index,) = index_folder(folder).indices
    return reconstruct(index, folder, out, jobs=jobs, gzip=gzip)


def contents(folder: Path) -> Iterator[tuple[str, str]]:
    for path in sorted(folder.iterdir()):
        yield path.name, hashlib.sha256(path.read_bytes()).hexdigest()


@pytest.mark.parametrize("kind", ["fast", "small", "off"])
def test_threads_change_no_byte(large: Path, tmp_path: Path, kind: str) -> None:
    for jobs in (1, 3):
        assert not written(large, tmp_path / str(jobs), jobs=jobs, gzip=kind).failed
    assert list(contents(tmp_path / "1")) == list(contents(tmp_path / "3"))


def test_the_manifest_knows_the_bytes_on_disk(large: Path, tmp_path: Path) -> None:
    manifest = written(large, tmp_path, jobs=2)
    on_disk = dict(contents(tmp_path))
    assert [volume.stack_id for volume in manifest.volumes] == ["001-1", "002-1", "003-1"]
    for volume in manifest.volumes:
        assert volume.files == {name: on_disk[name] for name in volume.files}


def test_a_series_of_several_blocks_is_exact(large: Path, tmp_path: Path) -> None:
    written(large, tmp_path, jobs=2)
    series = Series(name="s2", number=2, **LARGE)
    image = nibabel.load(tmp_path / "002-1.nii.gz")
    data = np.asanyarray(image.dataobj)
    for volume in range(series.volumes):
        assert np.array_equal(data[..., volume], series.expected(image.affine, data.shape, volume))


def test_gzip_off_writes_what_gzip_wraps(tmp_path: Path) -> None:
    Series().write(tmp_path / "in")
    for kind in ("off", "fast", "small"):
        assert main(["convert", str(tmp_path / "in"), str(tmp_path / kind), "--gzip", kind]) == 0
    plain = (tmp_path / "off" / "001-1_series.nii").read_bytes()
    for kind in ("fast", "small"):
        assert gzip.decompress((tmp_path / kind / "001-1_series.nii.gz").read_bytes()) == plain


def test_another_form_replaces_the_volume(tmp_path: Path) -> None:
    Series().write(tmp_path / "in")
    for kind in ("fast", "off"):
        assert main(["convert", str(tmp_path / "in"), str(tmp_path / "out"), "--gzip", kind]) == 0
    assert [path.name for path in (tmp_path / "out").glob("*.nii*")] == ["001-1_series.nii"]


def test_a_plain_volume_of_others_is_not_overwritten(tmp_path: Path) -> None:
    Series().write(tmp_path / "in")
    (tmp_path / "out").mkdir()
    (tmp_path / "out" / "001-1_series.nii").write_text("mine")
    assert main(["convert", str(tmp_path / "in"), str(tmp_path / "out"), "--gzip", "off"]) == 2
    assert (tmp_path / "out" / "001-1_series.nii").read_text() == "mine"


def test_a_failure_in_a_late_block_leaves_nothing_and_harms_no_other(large: Path, tmp_path: Path) -> None:
    folder = tmp_path / "in"
    for number in (1, 2, 3):
        Series(name=f"s{number}", number=number, **LARGE).write(folder)
    last = max(folder.glob("s2-*"))
    last.write_bytes(last.read_bytes()[:-10])
    manifest = written(folder, tmp_path / "out", jobs=2)
    assert [failed.stack_id for failed in manifest.failed] == ["002-1"]
    assert last.name in manifest.failed[0].error
    assert {volume.stack_id for volume in manifest.volumes} == {"001-1", "003-1"}
    assert not list((tmp_path / "out").glob("*002-1*"))
    whole = dict(contents(tmp_path / "out"))
    written(large, tmp_path / "whole", jobs=1)
    intact = dict(contents(tmp_path / "whole"))
    for name in ("001-1.nii.gz", "003-1.nii.gz"):
        assert whole[name] == intact[name]


def test_a_series_too_long_for_the_format_harms_no_other(tmp_path: Path) -> None:
    Series(name="good", number=2).write(tmp_path / "in")
    Series(name="long", number=1, rows=1, columns=40_000).write(tmp_path / "in")
    manifest = written(tmp_path / "in", tmp_path / "out", jobs=2)
    assert [volume.stack_id for volume in manifest.volumes] == ["002-1"]
    assert "NIfTI-1 holds up to 32767" in manifest.failed[0].error
