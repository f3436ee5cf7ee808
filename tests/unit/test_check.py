"""Our own checks, one broken thing at a time on small volumes made by nibabel."""

from __future__ import annotations

import gzip
import hashlib
import json
from collections.abc import Callable
from pathlib import Path

import nibabel as nib
import numpy as np
import pytest
from msgspec.structs import replace

from pacs2bids.check import (
    _absent,
    _empty,
    _rows_without_session,
    _stray_files,
    _unexpected,
    check_files,
    check_links,
    validate,
)
from pacs2bids.files import write_record
from pacs2bids.model import CheckResult, Finding, Json, PlacedSession
from pacs2bids.status import is_to_be_repeated

STEM = "sub-01/dwi/sub-01_dwi"
SHAPE = (4, 5, 6, 3)
# a rotation by 30 degrees about x, so that sform and qform have something to disagree about
COS, SIN = np.cos(np.pi / 6), np.sin(np.pi / 6)
AFFINE = np.array([[-2, 0, 0, 10], [0, 2 * COS, -3 * SIN, 20], [0, 2 * SIN, 3 * COS, 30], [0, 0, 0, 1.0]])
SHEARED = AFFINE + np.array([[0, 0, 0, 0], [0, 0, 0.5, 0], [0, 0, 0, 0], [0, 0, 0, 0.0]])
SIDECAR: dict[str, Json] = {"RepetitionTime": 2.5, "SliceTiming": [0, 0.4, 0.8, 1.2, 1.6, 2.0]}
BVEC = "0 1 0.6\n0 0 0.8\n0 0 0\n"

Change = Callable[[nib.Nifti1Image], None]


class Volume:
    """One placed volume that every check accepts; each test breaks one thing."""

    def __init__(self, bids: Path) -> None:
        self.bids = bids
        self.write(".json", json.dumps(SIDECAR).encode())
        self.write(".bval", b"0 1000 1000\n")
        self.write(".bvec", BVEC.encode())
        self.save(lambda _: None)

    def write(self, extension: str, content: bytes) -> None:
        path = self.bids / f"{STEM}{extension}"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(content)

    def save(self, change: Change) -> None:
        image = nib.Nifti1Image(np.random.default_rng(1).integers(0, 4000, SHAPE, dtype=np.int16), AFFINE)
        image.set_sform(AFFINE, 1)
        image.set_qform(AFFINE, 1)
        image.header.set_xyzt_units("mm", "sec")
        image.header["pixdim"][4] = 2.5
        change(image)
        nib.save(image, self.bids / f"{STEM}.nii.gz")

    @property
    def content(self) -> bytes:
        return (self.bids / f"{STEM}.nii.gz").read_bytes()

    def placed(self) -> PlacedSession:
        """The record of all that is there now."""
        files = {
            path.relative_to(self.bids).as_posix(): hashlib.sha256(path.read_bytes()).hexdigest()
            for path in self.bids.rglob("*")
            if path.is_file()
        }
        return PlacedSession(session_key="sub-01", subject="01", session="", files=files, volumes={})

    def findings(self) -> list[tuple[str, str]]:
        found = check_files(self.bids, [self.placed()], threads=2)
        return [(finding.severity, finding.code) for finding in found]


@pytest.fixture
def volume(tmp_path: Path) -> Volume:
    return Volume(tmp_path / "bids")


def test_a_good_volume(volume: Volume) -> None:
    assert volume.findings() == []


# ------------------------------------------------------------------------------------------- the bytes


@pytest.mark.parametrize("extension", [".nii.gz", ".json", ".bval", ".bvec"])
def test_a_file_that_is_gone(volume: Volume, extension: str) -> None:
    placed = volume.placed()
    (volume.bids / f"{STEM}{extension}").unlink()
    found = check_files(volume.bids, [placed])
    assert ("MISSING_FILE", f"{STEM}{extension}") in [(each.code, each.location) for each in found]


def test_a_file_that_changed(volume: Volume) -> None:
    placed = volume.placed()
    volume.write(".json", b"{}")
    assert [finding.code for finding in check_files(volume.bids, [placed])] == ["CHANGED_FILE"]


@pytest.mark.parametrize("keep", [0, 9, 100, -200, -8, -1])
def test_a_volume_cut_short(volume: Volume, keep: int) -> None:
    volume.write(".nii.gz", volume.content[:keep])
    assert volume.findings() == [("error", "DAMAGED_VOLUME")]


def test_a_flipped_bit_in_the_last_voxels(volume: Volume) -> None:
    # stored without compression, so that the bit is a voxel's and only the checksum can tell
    stored = bytearray(gzip.compress(gzip.decompress(volume.content), compresslevel=0))
    stored[-20] ^= 1
    volume.write(".nii.gz", bytes(stored))
    assert volume.findings() == [("error", "DAMAGED_VOLUME")]


@pytest.mark.parametrize("lost", [2, 1000])
def test_an_intact_gzip_file_of_too_few_voxels(volume: Volume, lost: int) -> None:
    volume.write(".nii.gz", gzip.compress(gzip.decompress(volume.content)[:-lost]))
    assert volume.findings() == [("error", "DAMAGED_VOLUME")]


def test_several_gzip_members_are_one_file(volume: Volume) -> None:
    # RFC 1952 2.2: members simply follow each other; fast writers make such files
    plain = gzip.decompress(volume.content)
    volume.write(".nii.gz", gzip.compress(plain[:500]) + gzip.compress(plain[500:]))
    assert volume.findings() == []


@pytest.mark.parametrize(
    "content", [b"", b"no gzip", gzip.compress(b"", mtime=0), gzip.compress(bytes(1000), mtime=0)]
)
def test_no_volume_at_all(volume: Volume, content: bytes) -> None:
    volume.write(".nii.gz", content)
    assert volume.findings() == [("error", "DAMAGED_VOLUME")]


def test_nifti2_is_understood(volume: Volume) -> None:
    image = nib.load(volume.bids / f"{STEM}.nii.gz")
    second = nib.Nifti2Image(np.asarray(image.dataobj), AFFINE)
    second.set_sform(AFFINE, 1)
    second.set_qform(AFFINE, 1)
    second.header.set_xyzt_units("mm", "sec")
    second.header["pixdim"][4] = 2.5
    nib.save(second, volume.bids / f"{STEM}.nii.gz")
    assert volume.findings() == []


# ------------------------------------------------------------------------------------------- the header


def shifted(image: nib.Nifti1Image) -> None:
    image.header["qoffset_x"] += 0.01


def mirrored(image: nib.Nifti1Image) -> None:
    image.set_qform(AFFINE @ np.diag([-1, 1, 1, 1]), 1)


def sheared_with_qform(image: nib.Nifti1Image) -> None:
    image.set_sform(SHEARED, 1)


def sheared_without_qform(image: nib.Nifti1Image) -> None:
    image.set_sform(SHEARED, 1)
    image.set_qform(None, 0)


@pytest.mark.parametrize(
    ("change", "expected"),
    [
        (shifted, ("error", "SFORM_QFORM")),
        (mirrored, ("error", "SFORM_QFORM")),
        (sheared_with_qform, ("error", "SFORM_QFORM")),
        (sheared_without_qform, ("warning", "SHEARED")),
        (lambda image: image.set_qform(None, 0), ("error", "QFORM")),
        (lambda image: image.set_qform(AFFINE, 2), ("error", "QFORM")),
        (lambda image: image.set_sform(None, 0), ("error", "SFORM")),
        (lambda image: image.set_sform(AFFINE, 4), ("error", "SFORM")),
        (lambda image: image.header["pixdim"].__setitem__(4, 2.6), ("error", "REPETITION_TIME")),
        (lambda image: image.header.set_xyzt_units("mm", "msec"), ("error", "REPETITION_TIME")),
        (lambda image: image.header.set_xyzt_units("mm", "unknown"), ("error", "REPETITION_TIME")),
    ],
)
def test_a_header_that_contradicts(volume: Volume, change: Change, expected: tuple[str, str]) -> None:
    volume.save(change)
    assert volume.findings() == [expected]


@pytest.mark.parametrize(
    ("offset", "values", "code"),
    [
        (280, [np.nan] * 12, "SFORM"),
        (280, [0] * 12, "SFORM"),
        (256, [2, 2, 2], "QFORM"),
        (256, [np.nan] * 3, "SFORM_QFORM"),
    ],
    ids=["sform not a number", "sform flat", "no unit quaternion", "quaternion not a number"],
)
def test_an_affine_that_is_none(volume: Volume, offset: int, values: list[float], code: str) -> None:
    # offsets of srow_x and quatern_b in nifti1.h
    plain = bytearray(gzip.decompress(volume.content))
    plain[offset : offset + 4 * len(values)] = np.array(values, "<f4").tobytes()
    volume.write(".nii.gz", gzip.compress(plain))
    assert volume.findings() == [("error", code)]


def test_milliseconds_are_understood(volume: Volume) -> None:
    def change(image: nib.Nifti1Image) -> None:
        image.header.set_xyzt_units("mm", "msec")
        image.header["pixdim"][4] = 2500

    volume.save(change)
    assert volume.findings() == []


@pytest.mark.parametrize("degrees", [0, 1e-3, 0.05, 180, 179.9])
def test_a_qform_near_half_a_turn_is_as_good_as_float32_can(volume: Volume, degrees: float) -> None:
    turn, tilt = np.deg2rad(degrees), np.deg2rad(20)
    about_z = np.array([[np.cos(turn), -np.sin(turn), 0], [np.sin(turn), np.cos(turn), 0], [0, 0, 1]])
    about_x = np.array([[1, 0, 0], [0, np.cos(tilt), -np.sin(tilt)], [0, np.sin(tilt), np.cos(tilt)]])
    affine = np.eye(4)
    affine[:3, :3] = about_z @ about_x @ np.diag([-0.8, 0.8, 3])

    def change(image: nib.Nifti1Image) -> None:
        image.set_sform(affine, 1)
        image.set_qform(affine, 1)

    volume.save(change)
    assert volume.findings() == []


# ------------------------------------------------------------------------- sidecar and gradient table


@pytest.mark.parametrize(
    ("extension", "content", "code"),
    [
        (".json", b"{", "DAMAGED_SIDECAR"),
        (".json", b"[]", "DAMAGED_SIDECAR"),
        (".json", b'{"SliceTiming": [0, 1]}', "SLICE_TIMING"),
        (".json", b'{"SliceTiming": [0, 0.4, 0.8, 1.2, 1.6, 2.6], "RepetitionTime": 2.5}', "SLICE_TIMING"),
        (".json", b'{"SliceTiming": [0, 0.4, 0.8, 1.2, 1.6, -0.1]}', "SLICE_TIMING"),
        (".json", b'{"SliceTiming": [0, 0.4, 0.8, 1.2, 1.6, null]}', "SLICE_TIMING"),
        (".bval", b"0 1000\n", "GRADIENTS"),
        (".bval", b"0 1000 1000\n0 0 0\n", "GRADIENTS"),
        (".bval", b"0 1000 many\n", "GRADIENTS"),
        (".bval", b"", "GRADIENTS"),
        (".bvec", b"0 1 0.6\n0 0 0.8\n", "GRADIENTS"),
        (".bvec", b"0 1\n0 0\n0 0\n", "GRADIENTS"),
        (".bvec", b"0 1 0.6\n0 0 0.7\n0 0 0\n", "GRADIENTS"),
        (".bvec", b"nan 1 0.6\n0 0 0.8\n0 0 0\n", "GRADIENTS"),
    ],
)
def test_text_that_contradicts_the_volume(volume: Volume, extension: str, content: bytes, code: str) -> None:
    volume.write(extension, content)
    assert volume.findings() == [("error", code)]


@pytest.mark.parametrize(("direction", "entries"), [("i", 4), ("j-", 5), ("k", 6)])
def test_slices_are_counted_along_their_axis(volume: Volume, direction: str, entries: int) -> None:
    for count, expected in ((entries, []), (entries + 1, [("error", "SLICE_TIMING")])):
        volume.write(
            ".json", json.dumps({"SliceEncodingDirection": direction, "SliceTiming": [0] * count}).encode()
        )
        assert volume.findings() == expected


def test_a_volume_needs_its_sidecar(volume: Volume) -> None:
    (volume.bids / f"{STEM}.json").unlink()
    assert volume.findings() == [("error", "NO_SIDECAR")]


def test_a_gradient_table_has_two_files(volume: Volume) -> None:
    (volume.bids / f"{STEM}.bvec").unlink()
    assert volume.findings() == [("error", "GRADIENTS")]


# ------------------------------------------------------------------------------ strays and absentees


def test_files_that_nobody_placed(volume: Volume) -> None:
    placed = volume.placed()
    func = volume.bids / "sub-01" / "func"
    func.mkdir()
    for name in ("sub-01_task-a_events.tsv", "sub-01_task-a_bold.nii.gz", ".sub-01_x.json.7.part"):
        (func / name).write_text("")
    (volume.bids / "derivatives" / "sub-01").mkdir(parents=True)
    (volume.bids / "derivatives" / "sub-01" / "mask.nii.gz").write_text("")
    (found,) = _stray_files(volume.bids, [placed])
    assert (found.severity, found.code, found.location) == ("warning", "STRAY_FILES", "sub-01/func")
    assert found.message.startswith(".sub-01_x.json.7.part, sub-01_task-a_bold.nii.gz: ")


@pytest.mark.parametrize(
    ("expected", "folders"),
    [
        (["sub-01_ses-a", "sub-02"], ["sub-01/ses-b", "sub-03"]),
        (["sub-01_ses-a", "sub-01_ses-b", "sub-02_ses-a", "sub-03"], ["sub-02/func"]),
        (["sub-01", "sub-02", "sub-03"], ["sub-01/ses-a", "sub-01/ses-b"]),
        ([], ["sub-01", "sub-02", "sub-03"]),
    ],
)
def test_folders_of_no_session_of_the_table_are_errors(
    tmp_path: Path, expected: list[str], folders: list[str]
) -> None:
    for name in (
        "sub-01/ses-a/anat",
        "sub-01/ses-b/anat",
        "sub-02/func",
        "sub-03/func",
        "derivatives/sub-09",
    ):
        (tmp_path / name).mkdir(parents=True)
    (tmp_path / "sub-02/func/mine.nii.gz").touch()
    prune, sessions = (
        "pacs2bids prune --workdir w --bids b",
        ["sub-01_ses-a", "sub-01_ses-b", "sub-02", "sub-03"],
    )
    found = list(_unexpected(tmp_path, expected, prune, sessions))
    assert [one.location for one in found] == folders
    for one in found:
        assert (one.severity, one.code) == ("error", "SESSION_NOT_IN_TABLE")
        # sub-02 is in the work folder: as "sub-02" it is what a table with "sub-02_ses-a" has no more
        assert f"`{prune}`" in one.message
    # all was pruned, but for what people made
    for one in _unexpected(tmp_path, expected, prune, expected):
        assert "prune" not in one.message
        assert ("sub-02/func/mine.nii.gz. Move" in one.message) == one.location.startswith("sub-02")


def test_rows_of_sessions_that_are_gone_are_told(tmp_path: Path) -> None:
    for name, rows in (("sub-01", "ses-a\t70\nses-b\tn/a\nses-c\t1\n"), ("sub-02", "ses-a\t70\n")):
        (tmp_path / name).mkdir()
        (tmp_path / name / f"{name}_sessions.tsv").write_text(f"session_id\tweight\n{rows}")
    (tmp_path / "sub-01/ses-c/beh").mkdir(parents=True)  # made by others
    (found,) = _rows_without_session(tmp_path, ["sub-01_ses-b", "sub-02_ses-a"])
    assert (found.severity, found.location) == ("warning", "sub-01/sub-01_sessions.tsv")
    assert "no session ses-a;" in found.message


def test_an_absent_volume_is_told_with_its_reason() -> None:
    placed = PlacedSession(
        session_key="sub-01",
        subject="01",
        session="",
        files={},
        volumes={},
        absent={STEM: "slice 7 is missing"},
    )
    (found,) = _absent([placed])
    assert (found.severity, found.location) == ("warning", STEM)
    assert "slice 7 is missing" in found.message


# --------------------------------------------------------------------------- what the validator cannot know


def test_a_cancelled_run_is_told_with_its_remedy(tmp_path: Path) -> None:
    description = {"Name": "x", "BIDSVersion": "1.10.0"}
    (tmp_path / "dataset_description.json").write_text(json.dumps(description))
    (tmp_path / "README").write_text("x" * 200)
    image = tmp_path / "sub-01/func/sub-01_task-rest_bold.nii.gz"
    image.parent.mkdir(parents=True)
    nib.save(nib.Nifti1Image(np.zeros((4, 4, 4), np.int16), np.eye(4)), image)  # type: ignore[no-untyped-call]
    (said,) = (one.message for one in validate(tmp_path)[1] if one.code == "BOLD_NOT_4D")
    assert "`short: drop` in its rule" in said


# ------------------------------------------------------------------------- a validator that cannot run


def only(findings: list[Finding]) -> Finding:
    (finding,) = findings
    return finding


def test_a_validator_that_crashes_is_an_error(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level("INFO", logger="pacs2bids")
    found = only(validate(tmp_path, Path("/bin/false"))[1])
    assert (found.severity, found.code) == ("error", "VALIDATOR_CRASHED")
    program = tmp_path / "validator"
    program.write_text(
        "#!/bin/sh\necho 'error: out of memory' >&2\necho '    at validate.ts:1' >&2\nexit 3\n"
    )
    program.chmod(0o755)
    version, findings = validate(tmp_path, program)
    assert only(findings).message == "bids-validator gave no result (exit code 3): error: out of memory"
    assert caplog.messages[-1] == "bids-validator: at validate.ts:1"
    record = tmp_path / "check.json"
    write_record(record, CheckResult(ok=False, validator_version=version, findings=tuple(findings)))
    assert is_to_be_repeated(record)  # by the next run: the dataset may be fine
    odd = Finding(severity="error", code="EMPTY_FILE", location="sub-01", message="", origin="bids-validator")
    write_record(record, CheckResult(ok=False, validator_version="3", findings=(odd,)))
    assert not is_to_be_repeated(record)
    record.write_text("{")
    assert is_to_be_repeated(record)


def test_the_validator_says_why_it_reads_no_dataset_below_dev() -> None:
    memory = Path("/dev/shm")  # of Linux, in memory
    if not memory.is_dir():
        pytest.skip("this system has no /dev/shm")
    found = only(validate(memory)[1])
    assert found.code == "VALIDATOR_CRASHED"
    assert str(memory) in found.message
    assert found.message.endswith("set `bids` to a folder elsewhere")


def test_a_validator_that_is_missing_is_an_error(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert only(validate(tmp_path, tmp_path / "nothing")[1]).code == "VALIDATOR_CRASHED"
    monkeypatch.setattr("sys.executable", str(tmp_path / "python"))
    monkeypatch.setenv("PATH", str(tmp_path))
    found = only(validate(tmp_path)[1])
    assert (found.severity, found.code) == ("error", "VALIDATOR_MISSING")


def test_a_session_without_a_volume_is_an_error() -> None:
    """Else a new subject that the heuristic forgot would be missing in silence."""
    empty = PlacedSession(session_key="sub-01", subject="01", session="", files={}, volumes={})
    (found,) = _empty(
        [empty, replace(empty, volumes={STEM: "1.2/001-1"}), replace(empty, absent={STEM: "x"})]
    )
    assert (found.severity, found.code, found.location) == ("error", "EMPTY_SESSION", "sub-01")


# ------------------------------------------------------------------------------------------------ links


def linked(bids: Path, session: str, name: str, **fields: Json) -> PlacedSession:
    """A volume with these fields in its sidecar, in a session of its own."""
    stem = f"sub-01/{session}/{name}"
    (bids / stem).parent.mkdir(parents=True, exist_ok=True)
    (bids / f"{stem}.json").write_text(json.dumps(fields))
    (bids / f"{stem}.nii.gz").touch()
    files = {f"{stem}.json": "", f"{stem}.nii.gz": ""}
    return PlacedSession(
        session_key=f"sub-01_{session}", subject="01", session=session, files=files, volumes={}
    )


@pytest.mark.parametrize(
    "targets",
    [
        "bids::sub-01/ses-a/func/bold.nii.gz",
        ["bids::sub-01/ses-a/func/bold.nii.gz", "ses-a/func/bold.nii.gz", "bids:other:sub-01/x.nii.gz"],
    ],
)
def test_links_that_lead_somewhere(tmp_path: Path, targets: Json) -> None:
    sessions = [
        linked(tmp_path, "ses-a", "func/bold", B0FieldSource=["one", "two"]),
        linked(tmp_path, "ses-a", "fmap/phasediff", B0FieldIdentifier="one", IntendedFor=targets),
        linked(tmp_path, "ses-b", "fmap/phasediff", B0FieldIdentifier=["two", "three"]),
    ]
    assert check_links(tmp_path, sessions) == []


@pytest.mark.parametrize(
    "target",
    [
        "bids::sub-01/ses-a/func/nope.nii.gz",
        "func/bold.nii.gz",
        "bids::sub-01/ses-a/func",
        "bids::../out.nii.gz",
        "bids::/etc/hostname",
        "",
        7,
    ],
)
def test_a_target_that_is_no_file_of_the_dataset(tmp_path: Path, target: Json) -> None:
    bids = tmp_path / "bids"
    (tmp_path / "out.nii.gz").touch()
    image = linked(bids, "ses-a", "func/bold")
    good = "bids::sub-01/ses-a/func/bold.nii.gz"
    field_map = linked(bids, "ses-a", "fmap/phasediff", IntendedFor=[good, target])
    found = only(check_links(bids, [image, field_map]))
    assert (found.severity, found.code) == ("error", "INTENDED_FOR")
    assert found.location == "sub-01/ses-a/fmap/phasediff.json"
    assert f"names {target}: " in found.message
    assert "the heuristic adds" in found.message


def test_a_source_that_no_field_map_of_the_subject_is(tmp_path: Path) -> None:
    image = linked(tmp_path, "ses-a", "func/bold", B0FieldSource="one")
    other = replace(linked(tmp_path, "ses-b", "fmap/epi", B0FieldIdentifier="one"), subject="02")
    found = only(check_links(tmp_path, [image, other]))
    assert (found.severity, found.code) == ("error", "B0_FIELD_SOURCE")
    assert found.location == "sub-01/ses-a/func/bold.json"
    assert "B0FieldSource is one" in found.message


def test_sidecars_that_cannot_be_read_are_told_by_others(tmp_path: Path) -> None:
    image = linked(tmp_path, "ses-a", "func/bold")
    (tmp_path / "sub-01/ses-a/func/bold.json").write_bytes(b'{"IntendedFor": ')
    assert check_links(tmp_path, [image]) == []
    (tmp_path / "sub-01/ses-a/func/bold.json").unlink()
    assert check_links(tmp_path, [image]) == []
