"""Archives as sources: what is in them comes whole, and nothing that is hostile does harm."""

from __future__ import annotations

import bz2
import gzip
import io
import lzma
import os
import shutil
import stat
import subprocess
import tarfile
import zipfile
from collections.abc import Callable, Iterable
from pathlib import Path

import pydicom
import pytest

from pacs2bids.files import read_record, sha256
from pacs2bids.model import ConfigError, PullError, Receipt
from pacs2bids.pacs import archives
from pacs2bids.pacs.archives import ArchiveError, Limits, members
from pacs2bids.pacs.catalogue import scan
from pacs2bids.pacs.sources import pull_from_folder
from pacs2bids.peers import FolderSource
from peers.instances import STUDY, write_study

Pack = Callable[[Path, Path], None]


def tar(folder: Path, archive: Path, *, mode: str = "w", form: int = tarfile.PAX_FORMAT) -> None:
    with tarfile.open(archive, mode, format=form) as packed:  # type: ignore[call-overload]
        packed.add(folder, arcname="exports")


def zipped(folder: Path, archive: Path, *, method: int = zipfile.ZIP_DEFLATED) -> None:
    with zipfile.ZipFile(archive, "w", method, strict_timestamps=False) as packed:
        for path in sorted(folder.rglob("*")):
            packed.write(path, path.relative_to(folder))


FORMATS: dict[str, Pack] = {
    "pax.tar": tar,
    "gnu.tar": lambda folder, archive: tar(folder, archive, form=tarfile.GNU_FORMAT),
    "ustar.tar": lambda folder, archive: tar(folder, archive, form=tarfile.USTAR_FORMAT),
    "a.tar.gz": lambda folder, archive: tar(folder, archive, mode="w:gz"),
    "a.tar.bz2": lambda folder, archive: tar(folder, archive, mode="w:bz2"),
    "a.tar.xz": lambda folder, archive: tar(folder, archive, mode="w:xz"),
    "deflated.zip": zipped,
    "stored.zip": lambda folder, archive: zipped(folder, archive, method=zipfile.ZIP_STORED),
    "called-otherwise": zipped,
}


def pull(source: Path, out: Path, study: str = STUDY) -> Receipt:
    return pull_from_folder(FolderSource(name="disk", path=source), study, out)


def incomplete(source: Path, out: Path, message: str, study: str = STUDY) -> Receipt:
    with pytest.raises(PullError, match=message):
        pull(source, out, study)
    return read_record(out / "receipt.incomplete.json", Receipt)


def completes_with(folder: Path, archive: Path, out: Path) -> None:
    """An archive of ``folder``, in order, in the place of this one; what came of this one stays as it is."""
    had = {path: path.stat().st_mtime_ns for path in out.glob("dicom/*/*.dcm")}
    assert had
    archive.unlink()
    zipped(folder, archive)
    assert len(pull(archive, out).received) == len(list(folder.rglob("*.dcm")))
    assert had == {path: path.stat().st_mtime_ns for path in had}


def contents(receipt: Receipt) -> dict[str, tuple[int, str]]:
    return {one.path: (one.bytes, one.sha256) for one in receipt.received}


# ------------------------------------------------------------------------------------------ what comes


@pytest.mark.parametrize("name", FORMATS)
def test_an_archive_gives_what_the_folder_gives(tmp_path: Path, name: str) -> None:
    write_study(tmp_path / "in")
    (tmp_path / "packed").mkdir()
    archive = tmp_path / "packed" / name
    FORMATS[name](tmp_path / "in", archive)
    before = sha256(archive)
    expected = pull(tmp_path / "in", tmp_path / "plain")
    for source, out in ((archive, tmp_path / "one"), (archive.parent, tmp_path / "all")):
        receipt = pull(source, out)
        assert contents(receipt) == contents(expected)
        assert receipt.announced == expected.announced
        assert (receipt.refused, receipt.duplicates) == ((), ())
        for one in receipt.received:
            path = out / "dicom" / one.path
            assert (sha256(path), stat.S_IMODE(path.stat().st_mode)) == (one.sha256, 0o600)
        assert {path.name for path in out.iterdir()} == {"dicom", ".receipt.json", "receipt.json"}
    assert (sha256(archive), [*archive.parent.iterdir()]) == (before, [archive])


@pytest.mark.parametrize("form", ["v7", "oldgnu", "gnu", "ustar", "posix"])
def test_what_tar_itself_writes(tmp_path: Path, form: str) -> None:
    program = shutil.which("tar")
    if program is None:
        pytest.skip("needs the program tar")
    long = tmp_path / "in" / ("x" * 60) / ("y" * 30 if form == "v7" else "y" * 90)
    write_study(long if form != "v7" else tmp_path / "in")
    archive = tmp_path / "a.tar"
    subprocess.run([program, "-C", tmp_path / "in", f"--format={form}", "-cf", archive, "."], check=True)
    found = list(members(archive))
    assert len(found) == 10
    assert all(member.refusal is None for member in found)
    assert sorted(member.name for member in found) == sorted(
        f"./{path.relative_to(tmp_path / 'in')}" for path in (tmp_path / "in").rglob("*.dcm")
    )
    assert contents(pull(archive, tmp_path / "one")) == contents(pull(tmp_path / "in", tmp_path / "two"))


def test_again_and_after_a_kill(tmp_path: Path) -> None:
    """What is here stays and counts neither as a duplicate nor anew; what a kill left is cleared away."""
    write_study(tmp_path / "in")
    archive = tmp_path / "a.tar.gz"
    FORMATS[archive.name](tmp_path / "in", archive)
    first = pull(archive, tmp_path / "out")
    (tmp_path / "out" / "receipt.json").unlink()
    (tmp_path / "out" / ".unpacking").mkdir()
    (tmp_path / "out" / ".unpacking" / "0").write_bytes(b"half")
    lost = tmp_path / "out" / "dicom" / first.received[3].path
    lost.unlink()
    second = pull(archive, tmp_path / "out")
    assert contents(first) == contents(second)
    assert (second.duplicates, second.conflicting, second.refused) == ((), (), ())
    assert not list((tmp_path / "out").glob("*unpacking*"))


def test_several_studies_copies_and_conflicts(tmp_path: Path) -> None:
    folder = tmp_path / "in"
    sources = write_study(folder / "one")
    write_study(folder / "two", study="1.2.3")
    shutil.copytree(folder / "one", folder / "copy")
    changed = pydicom.dcmread(sources[0])
    changed.ImageComments = "changed later"
    changed.save_as(folder / "two" / "changed.dcm")
    (folder / "two" / "README").write_text("no DICOM")
    packed = tmp_path / "packed"
    packed.mkdir()
    tar(folder, packed / "a.tgz", mode="w:gz")
    write_study(packed / "loose" / "4", series=1, study="1.2.4")
    ours, other = pull(packed, tmp_path / "1", STUDY), pull(packed, tmp_path / "2", "1.2.3")
    assert (len(ours.received), len(ours.duplicates), ours.conflicting) == (10, 10, (f"{STUDY}.1.1",))
    assert (len(other.received), other.duplicates, other.conflicting) == (10, (), ())
    told = [one.reason for receipt in (ours, other) for one in receipt.refused]
    assert told == ["a.tgz!exports/two/README: is no DICOM"]


def test_a_compressed_tar_is_read_once_for_the_catalogue_and_once_for_a_pull(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    write_study(tmp_path / "in", instances=50)
    archive = tmp_path / "a.tgz"
    tar(tmp_path / "in", archive, mode="w:gz")
    opened = []
    gzip_open = archives.igzip.open
    monkeypatch.setattr(archives.igzip, "open", lambda path: opened.append(path) or gzip_open(path))
    scan(archive)
    assert len(opened) == 1
    opened.clear()
    assert len(pull(archive, tmp_path / "out").received) == 100
    assert len(opened) == 2


def test_pictures_in_a_plain_tar_are_not_read_for_the_catalogue(tmp_path: Path) -> None:
    """A hole of 64 GB in a tar: in place means that what is not asked for costs nothing."""
    (path,) = write_study(tmp_path / "in", series=1, instances=1)
    dataset = pydicom.dcmread(path)
    dataset.add_new("PixelData", "OW", b"")
    archive = tmp_path / "a.tar"
    with archive.open("wb") as stream:
        for name, size in (("hole.raw", 64 << 30), ("1.dcm", path.stat().st_size)):
            info = tarfile.TarInfo(name)
            info.size = size
            stream.write(info.tobuf(tarfile.GNU_FORMAT))
            if name == "1.dcm":
                stream.write(path.read_bytes())
            else:
                stream.write(b"RAW!" * 1000)
                stream.seek(size - 4000, os.SEEK_CUR)
        stream.seek(-path.stat().st_size % 512, os.SEEK_CUR)
        stream.write(bytes(1024))
    assert len(pull(archive, tmp_path / "out").received) == 1


@pytest.mark.parametrize("name", ["nih", "uih", "enh"])
@pytest.mark.parametrize("form", ["pax.tar", "a.tar.gz", "deflated.zip"])
def test_real_data(tmp_path: Path, corpus: Callable[[str], Path], name: str, form: str) -> None:
    folder = corpus(name)
    FORMATS[form](folder, tmp_path / form)
    plain, packed = scan(folder), scan(tmp_path / form)
    assert packed.find("IMAGE", {}) == plain.find("IMAGE", {})
    study = plain.studies[0].study_instance_uid
    assert contents(pull(tmp_path / form, tmp_path / "one", study)) == contents(
        pull(folder, tmp_path / "two", study)
    )


# ------------------------------------------------------------------------------------------ what is hostile


def instance_bytes(tmp_path: Path, *, pixels: int = 0) -> bytes:
    (path,) = write_study(tmp_path / "made", series=1, instances=1)
    if pixels:
        dataset = pydicom.dcmread(path)
        dataset.add_new("PixelData", "OW", bytes(pixels))
        dataset.save_as(path)
    return path.read_bytes()


def tar_of(path: Path, files: Iterable[tuple[tarfile.TarInfo, bytes]], mode: str = "w") -> Path:
    with tarfile.open(path, mode) as packed:  # type: ignore[call-overload]
        for info, content in files:
            info.size = len(content)
            packed.addfile(info, io.BytesIO(content))
    return path


def zip_of(path: Path, files: Iterable[tuple[str, bytes]]) -> Path:
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as packed:
        for name, content in files:
            packed.writestr(name, content)
    return path


ESCAPES = [
    "/tmp/pacs2bids-escaped.dcm",
    "../escaped.dcm",
    "a/../../escaped.dcm",
    "C:\\escaped.dcm",
    "..\\x.dcm",
]


@pytest.mark.parametrize("name", ESCAPES)
@pytest.mark.parametrize("kind", ["tar", "zip"])
def test_a_member_that_would_escape_is_refused_and_the_rest_comes(
    tmp_path: Path, kind: str, name: str
) -> None:
    study = write_study(tmp_path / "in")
    files = [(f"{number}.dcm", path.read_bytes()) for number, path in enumerate(study)]
    files.insert(3, (name, instance_bytes(tmp_path)))
    archive = tmp_path / "source" / f"a.{kind}"
    archive.parent.mkdir()
    if kind == "tar":
        tar_of(archive, [(tarfile.TarInfo(one), content) for one, content in files])
    else:
        zip_of(archive, files)
    before = sorted(tmp_path.rglob("*"))
    receipt = incomplete(archive.parent, tmp_path / "out", "absolute path or leads out")
    assert len(receipt.received) == 10
    assert [one.reason.split(": ")[0] for one in receipt.refused] == [f"a.{kind}!{name}"]
    assert [
        path for path in sorted(tmp_path.rglob("*")) if tmp_path / "out" not in (path, *path.parents)
    ] == before
    assert not Path(ESCAPES[0]).exists()
    completes_with(tmp_path / "in", archive, tmp_path / "out")


def test_links_and_devices_are_told_and_do_nothing(tmp_path: Path) -> None:
    study = write_study(tmp_path / "in")
    secret = tmp_path / "secret"
    secret.write_text("secret")
    files = [(tarfile.TarInfo(path.name + str(n)), path.read_bytes()) for n, path in enumerate(study)]
    for name, kind in (("hard", tarfile.LNKTYPE), ("soft", tarfile.SYMTYPE), ("null", tarfile.CHRTYPE)):
        info = tarfile.TarInfo(name)
        info.type, info.linkname = kind, str(secret)
        files.append((info, b""))
    receipt = pull(tar_of(tmp_path / "a.tar", files), tmp_path / "out")
    assert len(receipt.received) == 10
    assert [one.reason for one in receipt.refused] == [
        "a.tar!hard: is a link, which is not followed",
        "a.tar!null: is a device or a pipe",
        "a.tar!soft: is a link, which is not followed",
    ]


def test_members_of_one_name_are_all_read(tmp_path: Path) -> None:
    files = [("IM1", path.read_bytes()) for path in write_study(tmp_path / "in")]
    tar_of(tmp_path / "a.tar", [(tarfile.TarInfo(name), content) for name, content in files])
    with pytest.warns(UserWarning, match="Duplicate name"):
        zip_of(tmp_path / "a.zip", files)
    for name in ("a.tar", "a.zip"):
        assert len(pull(tmp_path / name, tmp_path / f"out of {name}").received) == 10


def at_a_border(content: bytes) -> bytes:
    """A tar cut just before a header: the standard library would not notice."""
    headers = [at for at in range(0, len(content), 512) if content[at + 257 : at + 262] == b"ustar"]
    return content[: headers[len(headers) // 2]]


def cut(content: bytes) -> bytes:
    return content[: len(at_a_border(content)) + 700]


def flipped(content: bytes) -> bytes:
    """A bit of the header in the middle."""
    return at_a_border(content) + b"?" + content[len(at_a_border(content)) + 1 :]


@pytest.mark.parametrize("damage", [cut, at_a_border, flipped])
@pytest.mark.parametrize("compress", [bytes, gzip.compress, bz2.compress, lzma.compress])
def test_a_damaged_tar_gives_what_came_before_and_is_not_whole(
    tmp_path: Path, compress: Callable[[bytes], bytes], damage: Callable[[bytes], bytes]
) -> None:
    write_study(tmp_path / "in")
    tar(tmp_path / "in", tmp_path / "a.tar", form=tarfile.USTAR_FORMAT)
    archive = tmp_path / "a"
    archive.write_bytes(compress(damage((tmp_path / "a.tar").read_bytes())))
    receipt = incomplete(archive, tmp_path / "out", "a ends too early|a is damaged")
    assert 0 < len(receipt.received) < 10


@pytest.mark.parametrize("name", ["a.tar.gz", "a.tar.bz2", "a.tar.xz", "deflated.zip", "stored.zip"])
def test_an_archive_that_was_cut_is_not_whole(tmp_path: Path, name: str) -> None:
    write_study(tmp_path / "in" / "loose", series=1, instances=1)
    write_study(tmp_path / "more", instances=40)
    FORMATS[name](tmp_path / "more", tmp_path / "in" / name)
    whole = (tmp_path / "in" / name).read_bytes()
    for kept in (len(whole) - 4, len(whole) // 2, 0):
        (tmp_path / "in" / name).write_bytes(whole[:kept])
        incomplete(tmp_path / "in", tmp_path / f"out {kept}", f"{name} (is|ends)")


def test_a_member_of_a_zip_that_is_damaged_costs_only_itself(tmp_path: Path) -> None:
    files = [(path.name + str(n), path.read_bytes()) for n, path in enumerate(write_study(tmp_path / "in"))]
    files.append(("copy", files[0][1]))
    for number in (4, 10):
        dataset = pydicom.dcmread(io.BytesIO(files[number][1]))
        dataset.add_new("PixelData", "OW", bytes(1 << 20))
        buffer = io.BytesIO()
        dataset.save_as(buffer)
        files[number] = (f"broken{number}", buffer.getvalue())
    with zipfile.ZipFile(tmp_path / "a.zip", "w", zipfile.ZIP_STORED) as packed:
        for name, content in files:
            packed.writestr(name, content)
    content = (tmp_path / "a.zip").read_bytes()
    for number in (4, 10):
        at = content.index(b"broken%d" % number) + (1 << 19)  # in its pixels
        content = content[:at] + b"?" + content[at + 1 :]
    (tmp_path / "a.zip").write_bytes(content)
    receipt = incomplete(tmp_path / "a.zip", tmp_path / "out", "1 of 10 .*a.zip!broken4: is damaged")
    assert len(receipt.received) == 9
    told = {one.reason: one.sop_instance_uid for one in receipt.refused}
    assert told == {
        "a.zip!broken4: is damaged in the archive (BadZipFile)": receipt.missing[0],
        "a.zip!broken10: is damaged in the archive (BadZipFile)": "",  # another copy came
    }


def test_encrypted_members_are_not_passed_over(tmp_path: Path) -> None:
    files = [(path.name + str(n), path.read_bytes()) for n, path in enumerate(write_study(tmp_path / "in"))]
    zip_of(tmp_path / "a.zip", files)
    content = bytearray((tmp_path / "a.zip").read_bytes())
    at = content.rindex(b"PK\x01\x02")
    content[at + 8] |= 1  # the flag, in the list of members
    (tmp_path / "a.zip").write_bytes(content)
    receipt = incomplete(tmp_path / "a.zip", tmp_path / "out", "is encrypted")
    assert len(receipt.received) == 9


@pytest.mark.parametrize("kind", ["tar.gz", "zip"])
def test_an_archive_in_an_archive_is_told(tmp_path: Path, kind: str) -> None:
    study = write_study(tmp_path / "in")
    FORMATS["deflated.zip"](tmp_path / "in", tmp_path / "inner.zip")
    files = [("1.dcm", study[0].read_bytes()), ("deep/inner.zip", (tmp_path / "inner.zip").read_bytes())]
    archive = tmp_path / f"a.{kind}"
    if kind == "zip":
        zip_of(archive, files)
    else:
        tar_of(archive, [(tarfile.TarInfo(name), content) for name, content in files], "w:gz")
    incomplete(archive, tmp_path / "out", f"a.{kind}!deep/inner.zip is an archive inside of an archive")


def test_files_that_only_are_packed_like_archives_are_nothing_to_worry_about(tmp_path: Path) -> None:
    write_study(tmp_path / "in")
    zip_of(tmp_path / "in" / "letter.docx", [("word/document.xml", b"<x/>"), ("viewer.jar", b"PK")])
    (tmp_path / "in" / "brain.nii.gz").write_bytes(gzip.compress(bytes(1000)))
    tar(tmp_path / "in", tmp_path / "a.tar")
    receipt = pull(tmp_path / "in", tmp_path / "out")
    assert sorted(one.reason for one in receipt.refused) == [
        "brain.nii.gz: is no DICOM",
        "letter.docx: is an archive without DICOM files",
    ]
    assert pull(tmp_path / "a.tar", tmp_path / "out2").complete


# ------------------------------------------------------------------------------------------ bombs


@pytest.mark.parametrize("kind", ["tar.gz", "tar.xz", "zip"])
def test_a_bomb_is_left_behind_in_time_and_the_rest_comes(
    tmp_path: Path, kind: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """With a limit of 8 MB: an archive on one side of it is read, one on the other is not."""
    limits = Limits(free_bytes=8 << 20, ratio=10)
    monkeypatch.setattr(archives.members, "__defaults__", (limits,))
    one = instance_bytes(tmp_path)
    for size, is_read in ((7 << 20, True), (9 << 20, False)):
        files = [("1.dcm", one), ("bomb", bytes(size))]
        archive = tmp_path / f"{size}.{kind}"
        if kind == "zip":
            zip_of(archive, files)
        else:
            tar_of(archive, [(tarfile.TarInfo(name), content) for name, content in files], f"w:{kind[4:]}")
        if is_read:
            with pytest.raises(PullError, match="bomb is empty"):
                pull(archive, tmp_path / str(size))
        else:
            receipt = incomplete(archive, tmp_path / str(size), r"unpacks to more than 0\.0 GB")
            assert len(receipt.received) == 1
            completes_with(tmp_path / "made", archive, tmp_path / str(size))


def test_the_limits_are_those_that_the_documentation_tells() -> None:
    assert (archives.LIMITS.ratio, archives.LIMITS.free_bytes) == (200, 4 << 30)


def test_an_empty_volume_that_shrinks_to_a_thousandth_is_no_bomb(tmp_path: Path) -> None:
    volume = instance_bytes(tmp_path, pixels=64 << 20)
    zip_of(tmp_path / "a.zip", [("1.dcm", volume)])
    assert (tmp_path / "a.zip").stat().st_size * 900 < len(volume)
    assert pull(tmp_path / "a.zip", tmp_path / "out").received[0].bytes == len(volume)


def test_a_size_that_is_a_lie_is_found_out(tmp_path: Path) -> None:
    zip_of(tmp_path / "a.zip", [("1.dcm", instance_bytes(tmp_path, pixels=1000))])
    content = bytearray((tmp_path / "a.zip").read_bytes())
    at = content.rindex(b"PK\x01\x02")
    content[at + 24 : at + 28] = (1 << 20).to_bytes(4, "little")
    (tmp_path / "a.zip").write_bytes(content)
    incomplete(tmp_path / "a.zip", tmp_path / "out", r"a\.zip!1\.dcm: unpacks to .* instead of 1,048,576")
    assert not list((tmp_path / "out").glob("*unpacking*"))


def test_what_does_not_fit_on_the_disk_is_not_begun(tmp_path: Path) -> None:
    """More than any disk has, of which nothing is in the file: a hole."""
    info = tarfile.TarInfo("1.dcm")
    start = instance_bytes(tmp_path, pixels=1000)[:-1000]
    info.size = 8 << 40
    with (tmp_path / "a.tar").open("wb") as stream:
        stream.write(info.tobuf(tarfile.GNU_FORMAT) + start)
        try:
            stream.seek(info.size - len(start), os.SEEK_CUR)
            stream.write(bytes(1024))
        except OSError:
            pytest.skip("needs a file system that takes files of 8 TB")
    with pytest.raises(PullError, match=r"its archives unpack to 8,796,093 MB, but .* are free"):
        pull(tmp_path / "a.tar", tmp_path / "out")
    assert not list((tmp_path / "out" / "dicom").iterdir())
    tar(tmp_path / "made", tmp_path / "a.tar")
    assert pull(tmp_path / "a.tar", tmp_path / "out").complete


def test_an_instance_with_a_tail_of_zeros_is_not_read_for_ever(tmp_path: Path) -> None:
    """They look like millions of empty elements."""
    first, second = write_study(tmp_path / "in", series=1, instances=2)
    files = [("1.dcm", first.read_bytes()), ("2.dcm", second.read_bytes() + bytes(1 << 23))]
    zip_of(tmp_path / "a.zip", files)
    receipt = incomplete(tmp_path / "a.zip", tmp_path / "out", r"a\.zip!2\.dcm has a header longer than any")
    assert len(receipt.received) == 1


def header(name: str, size: int, kind: bytes = tarfile.REGTYPE) -> bytes:
    info = tarfile.TarInfo(name)
    info.size, info.type = size, kind
    return info.tobuf(tarfile.GNU_FORMAT)


@pytest.mark.parametrize("compress", [bytes, gzip.compress])
@pytest.mark.parametrize(
    "start",
    [
        header("huge.dcm", 1 << 62),
        header("x", 1 << 40, tarfile.XHDTYPE),
        header("x", 1 << 40, tarfile.GNUTYPE_LONGNAME),
        header("x", 20, tarfile.XHDTYPE) + b"20 size=-1000000000\n".ljust(512, b"\0") + header("a", 10),
        header("x", 20, tarfile.XHDTYPE) + b"9999 path=x".ljust(512, b"\0") + header("a", 10),
    ],
)
def test_absurd_sizes_in_headers(tmp_path: Path, start: bytes, compress: Callable[[bytes], bytes]) -> None:
    (tmp_path / "a").write_bytes(compress(start + bytes(100_000)))
    with pytest.raises(ArchiveError):
        list(members(tmp_path / "a"))


@pytest.mark.parametrize("compress", [bytes, gzip.compress])
def test_joined_tars_are_not_taken_for_the_first(tmp_path: Path, compress: Callable[[bytes], bytes]) -> None:
    content = b""
    for study in (STUDY, "1.2.3"):
        write_study(tmp_path / study, study=study)
        tar(tmp_path / study, tmp_path / "one.tar")
        content += (tmp_path / "one.tar").read_bytes()
    (tmp_path / "a").write_bytes(compress(content))
    assert len(incomplete(tmp_path / "a", tmp_path / "out", "a goes on behind its end").received) == 10


def test_too_many_members(tmp_path: Path) -> None:
    files = [(f"{number}", b"x") for number in range(50)]
    zip_of(tmp_path / "a.zip", files)
    tar_of(tmp_path / "a.tar", [(tarfile.TarInfo(name), content) for name, content in files])
    for archive in (tmp_path / "a.zip", tmp_path / "a.tar"):
        assert len(list(members(archive, Limits(members=51)))) == 50
        with pytest.raises(ArchiveError, match="more than 40 members"):
            list(members(archive, Limits(members=40)))


def test_a_zip_whose_list_of_members_is_too_long(tmp_path: Path) -> None:
    zip_of(tmp_path / "a.zip", [(f"{number}", b"x") for number in range(50)])
    with pytest.raises(ArchiveError, match="lists far too many files"):
        list(members(tmp_path / "a.zip", Limits(directory_bytes=1000)))


def test_thousands_of_tiny_members_are_told_in_a_thousand_lines(tmp_path: Path) -> None:
    files = [("1.dcm", instance_bytes(tmp_path)), *[(f"{number}.txt", b"x") for number in range(3000)]]
    zip_of(tmp_path / "a.zip", files)
    receipt = pull(tmp_path / "a.zip", tmp_path / "out")
    assert len(receipt.refused) == 1001
    assert "a.zip: has 2,000 more files that are no instances" in {one.reason for one in receipt.refused}


def test_no_archive_at_all(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="is no folder and no archive"):
        scan(tmp_path / "nowhere.zip")
