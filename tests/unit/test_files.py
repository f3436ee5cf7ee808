"""What is half-written: removed where its writer is dead, and left to a writer that is at work."""

from __future__ import annotations

import errno
import os
import subprocess
import sys
from pathlib import Path

import pytest

from pacs2bids import files
from pacs2bids.files import atomic, remove_unfinished

KILLED = """
import os, sys
from pathlib import Path
from pacs2bids.files import atomic
with atomic(Path(sys.argv[1])) as stream:
    stream.write(b"half")
    stream.flush()
    os.kill(os.getpid(), 9)
"""


def parts(path: Path) -> list[Path]:
    return sorted(path.parent.glob(".*.part"))


def test_what_a_killed_writer_left_is_removed(tmp_path: Path) -> None:
    path, other = tmp_path / "1-1.nii.gz", tmp_path / "1-10.nii.gz"
    for one in (path, other):
        subprocess.run([sys.executable, "-c", KILLED, one], check=False)
    assert len(parts(path)) == 2
    remove_unfinished(path)
    assert [part.name.startswith(".1-10.") for part in parts(path)] == [True]


def test_a_writer_that_is_at_work_keeps_its_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """As a job that outlived its run, while the next run does the same work: up to the last moment."""
    path = tmp_path / "1-1.nii.gz"
    replace = Path.replace

    def late(part: Path, target: Path) -> Path:
        remove_unfinished(path)
        return replace(part, target)

    monkeypatch.setattr(Path, "replace", late)
    with atomic(path) as stream:
        remove_unfinished(path)
        stream.write(b"whole")
    assert path.read_bytes() == b"whole"
    assert not parts(path)


def test_where_there_are_no_locks_files_are_written_and_removed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fails(_: object, __: int) -> None:
        raise OSError(errno.ENOLCK, os.strerror(errno.ENOLCK))

    monkeypatch.setattr(files.fcntl, "flock", fails)
    path = tmp_path / "1-1.nii.gz"
    with atomic(path) as stream:
        stream.write(b"whole")
    assert path.read_bytes() == b"whole"
    (tmp_path / ".1-1.nii.gz.abc.part").touch()
    remove_unfinished(path)
    assert not parts(path)
