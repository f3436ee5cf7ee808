"""What of a folder is read, and in which order."""

from __future__ import annotations

import os
from pathlib import Path

from pacs2bids.store import files_below, index_folder


def test_files_of_a_folder_come_before_those_of_its_folders_and_both_by_name(tmp_path: Path) -> None:
    for name in ("b/2", "b/10", "a/1", "z", "B", ".hidden", "a/.hidden", ".folder/x", "a/b/c"):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).touch()
    assert list(files_below(tmp_path)) == ["B", "z", "a/1", "a/b/c", "b/10", "b/2"]


def test_links_are_followed_to_files_only_and_pipes_are_not_opened(tmp_path: Path) -> None:
    below = tmp_path / "below"
    below.mkdir()
    (tmp_path / "file").write_bytes(b"no dicom")
    (below / "link").symlink_to(tmp_path / "file")
    (below / "nowhere").symlink_to(tmp_path / "missing")
    (below / "loop").symlink_to(below)
    os.mkfifo(below / "pipe")
    assert list(files_below(below)) == ["link", "nowhere"]
    found = index_folder(below)
    assert found.others == ("link",)
    assert [one.path for one in found.damaged] == ["nowhere"]
