"""A disk that is full where nobody looks for it: the error says where, and what to do."""

from __future__ import annotations

from pathlib import Path

import pytest

from pacs2bids.__main__ import main
from pacs2bids.files import atomic

FULL = Path("/dev/full")  # of Linux: each write fails as on a full disk, by write(2), which names no file


@pytest.mark.skipif(not FULL.exists(), reason="this system has no /dev/full")
def test_a_full_disk_is_told_with_its_place(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    path = tmp_path / "check.json"

    def beside_a_record(_: object) -> str:
        with atomic(path):
            FULL.write_bytes(b"x")
        return ""

    def elsewhere(_: object) -> str:
        FULL.write_bytes(b"x")
        return ""

    monkeypatch.setattr("pacs2bids.verbs.lint.run", beside_a_record)
    assert main(["lint", "x.yaml"]) == 1
    said = capsys.readouterr().err
    assert f"{path}: No space left on device" in said
    assert "Make room there, then run again" in said
    assert not [*tmp_path.iterdir()]
    monkeypatch.setattr("pacs2bids.verbs.lint.run", elsewhere)
    assert main(["lint", "x.yaml"]) == 1
    assert (
        "No space left on device. Make room where workdir, dataset and temporary" in capsys.readouterr().err
    )
