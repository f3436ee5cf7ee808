"""Defacing: a command makes the volume that is placed, once and of the same grid; the other one stays."""

from __future__ import annotations

import gzip
import sys
from pathlib import Path

import pytest

from pacs2bids.deface import Defaced, defaced, is_meant
from pacs2bids.files import read_record
from pacs2bids.model import DatasetError, Defacing
from synthetic import small_header

# what a defacing tool does, in four lines: the first half of the voxels becomes 0
BLANK = """\
import gzip, pathlib, sys
source, target, calls = sys.argv[1:]
content = gzip.decompress(pathlib.Path(source).read_bytes())
pathlib.Path(target).write_bytes(gzip.compress(content[:352] + bytes(8) + content[360:]))
pathlib.Path(calls).open("a").write("called ")
"""


@pytest.fixture
def volume(tmp_path: Path) -> Path:
    path = tmp_path / "study/volumes/002-1.nii.gz"
    path.parent.mkdir(parents=True)
    path.write_bytes(gzip.compress(small_header() + b"face" * 4))
    return path


def command(tmp_path: Path, script: str = BLANK) -> Defacing:
    (tmp_path / "a script.py").write_text(script)
    return Defacing(
        command=f"{sys.executable} '{tmp_path}/a script.py' {{input}} {{output}} {tmp_path}/calls"
    )


def test_the_defaced_volume_is_made_once(volume: Path, tmp_path: Path) -> None:
    defacing, before = command(tmp_path), volume.read_bytes()
    path, digest = defaced(tmp_path / "study", volume, "digest of 002-1", defacing)
    assert gzip.decompress(path.read_bytes())[352:] == bytes(8) + b"face" * 2
    assert volume.read_bytes() == before
    record = read_record(path.with_name("002-1.json"), Defaced)
    assert record == Defaced(input_digest="digest of 002-1", command=defacing.command, digest=digest)
    assert defaced(tmp_path / "study", volume, "digest of 002-1", defacing) == (path, digest)
    assert (tmp_path / "calls").read_text() == "called "
    defaced(tmp_path / "study", volume, "another digest", defacing)
    assert (tmp_path / "calls").read_text() == "called called "
    assert sorted(one.name for one in path.parent.iterdir()) == ["002-1.json", "002-1.nii.gz"]


@pytest.mark.parametrize(
    ("script", "what"),
    [
        ("raise SystemExit(3)", "ended with exit code 3"),
        ("", "wrote no file"),
        ("import sys; open(sys.argv[2], 'w').write('no volume')", "no gzipped NIfTI-1 of the same grid"),
        (BLANK.replace("content[:352]", "content[:42] + bytes(2) + content[44:352]"), "of the same grid"),
    ],
)
def test_what_fails_is_an_error_and_leaves_nothing(
    volume: Path, tmp_path: Path, script: str, what: str
) -> None:
    with pytest.raises(DatasetError, match=what):
        defaced(tmp_path / "study", volume, "1", command(tmp_path, script))
    assert not list((tmp_path / "study/defaced").iterdir())


def test_a_program_that_is_not_there(volume: Path, tmp_path: Path) -> None:
    with pytest.raises(DatasetError, match="no-such-program cannot be run"):
        defaced(tmp_path / "study", volume, "1", Defacing(command="no-such-program {input} {output}"))


def test_which_volumes_are_meant() -> None:
    all_anatomical = Defacing(command="x {input} {output}")
    assert is_meant(all_anatomical, "sub-01/ses-a/anat/sub-01_ses-a_T1w")
    assert not is_meant(all_anatomical, "sub-01/func/sub-01_task-rest_bold")
    assert not is_meant(Defacing(), "sub-01/anat/sub-01_T1w")
    assert is_meant(Defacing(command="x", names=("*_PDw", "*_T1w")), "sub-01/anat/sub-01_T1w")
