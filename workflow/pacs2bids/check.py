"""The verdict on the dataset: the official bids-validator, and what it does not look at.

The validator reads the headers of volumes only (a truncated one passes) and knows nothing of a plan. So every
file that was placed is compared with its record, every volume is read to its last byte, and header, sidecar
and gradient table must tell the same story. A check that cannot run is an error, never a silent pass.
"""

from __future__ import annotations

import gzip
import logging
import math
import os
import shutil
import subprocess
import sys
import tempfile
from collections import Counter
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from functools import partial
from importlib import metadata
from io import BytesIO
from pathlib import Path, PurePosixPath

import msgspec
import nibabel as nib
import numpy as np
from isal import igzip, igzip_lib

from pacs2bids.bids import intended_file, values_of
from pacs2bids.files import read_tsv, sha256
from pacs2bids.model import CheckResult, DatasetError, Finding, Json, PlacedSession
from pacs2bids.text import listed

log = logging.getLogger("pacs2bids.check")

OURS = "pacs2bids"
VALIDATOR = "bids-validator"
SET_ASIDE = "SERIES_SET_ASIDE"

# A qform holds its rotation as three float32: near half a turn (a = sqrt(1 - b2 - c2 - d2) close to 0) the
# fourth is known to sqrt(2**-23), 3.5e-4, no better. Real mistakes are whole axes or shears of degrees.
_ROTATION_TOLERANCE = 1e-3
_ORIGIN_TOLERANCE_MM = 1e-3
_TIME_TOLERANCE_S = 1e-4

# written beside our files by the people and programs that know what happened in the scanner room
_SUFFIXES_OF_OTHERS = frozenset({"events", "physio", "physioevents", "stim", "beh", "sessions", "aslcontext"})

_CHUNK = 1 << 20
_SHOWN = 5  # names in one message


def check_dataset(
    bids: Path,
    placed: Sequence[PlacedSession],
    *,
    expected: Collection[str],
    prune: str,
    prunable: Collection[str] = (),
    more: Iterable[Finding] = (),
    threads: int = 1,
) -> CheckResult:
    """Check the whole dataset; ``ok`` if there is no error.

    ``expected``: keys of the sessions that may be there. ``prune``: the command that removes others, of which
    ``prunable`` are the keys. ``more``: what the caller found. Raises DatasetError if there is no dataset.
    """
    if not bids.is_dir():
        raise DatasetError("is no folder", where=str(bids), hint="Run the stages place and dataset first")
    with ThreadPoolExecutor(max_workers=1) as beside:
        verdict = beside.submit(validate, bids)
        own = [
            *check_files(bids, placed, threads=threads),
            *check_links(bids, placed),
            *_unexpected(bids, expected, prune, prunable),
            *_rows_without_session(bids, expected),
            *_stray_files(bids, placed),
            *_empty(placed),
            *_absent(placed),
            *more,
        ]
        version, official = verdict.result()
    findings = sorted(
        [*official, *own],
        # ours say what to do, and may be the cause of what the validator finds: they are told first
        key=lambda each: (each.severity, each.origin == VALIDATOR, each.origin, each.location, each.code),
    )
    ok = not any(finding.severity == "error" for finding in findings)
    return CheckResult(ok=ok, validator_version=version, findings=tuple(findings))


def _finding(code: str, location: str, message: str, *, severity: str = "error") -> Finding:
    return Finding(severity=severity, code=code, location=location, message=message, origin=OURS)


def set_aside(session_key: str, series_number: int | None, reason: str, *, severity: str) -> Finding:
    """A series that the dataset lacks because the heuristic failed on it."""
    series = "a series without a number" if series_number is None else f"series {series_number}"
    cure = "Mend the heuristic, or accept it by `on_heuristic_error: skip` in config.yaml"
    message = f"{series} is left out: {reason}" + (f". {cure}" if severity == "error" else "")
    return _finding(SET_ASIDE, session_key, message, severity=severity)


def as_before(session_key: str) -> Finding:
    """A session that could not be placed anew, and is in the dataset still."""
    message = "it could not be placed anew: the dataset holds it as an earlier run placed it"
    return _finding("SESSION_AS_BEFORE", session_key, message, severity="warning")


# ------------------------------------------------------------------------------------------ the validator


@dataclass(frozen=True, slots=True, kw_only=True)
class _Issue:
    """One issue as bids-validator 3 reports it; its own key names."""

    code: str
    severity: str
    subCode: str = ""  # noqa: N815
    location: str = ""
    issueMessage: str = ""  # noqa: N815


@dataclass(frozen=True, slots=True, kw_only=True)
class _Issues:
    issues: tuple[_Issue, ...]
    codeMessages: dict[str, str] = field(default_factory=dict)  # noqa: N815


@dataclass(frozen=True, slots=True, kw_only=True)
class _Summary:
    schemaVersion: str  # noqa: N815


@dataclass(frozen=True, slots=True, kw_only=True)
class _Report:
    issues: _Issues
    summary: _Summary


def validate(bids: Path, program: Path | None = None) -> tuple[str, list[Finding]]:
    """Run the official validator; returns its version and its findings.

    Errors come one by one, warnings once a kind (every volume lacks some recommended field). A validator
    that is missing or crashes is an error among the findings.
    """
    program = program or _validator()
    if program is None:
        message = "bids-validator-deno is not installed beside this Python; the dataset was not validated"
        return "", [_crash("VALIDATOR_MISSING", message)]
    with tempfile.TemporaryDirectory(prefix="pacs2bids-check-") as folder:
        out = Path(folder) / "report.json"
        command = [str(program), str(bids), "--format", "json", "-o", str(out)]
        try:
            # exit codes: 0 valid, 16 errors in the dataset, 1 crash, 2 usage
            done = subprocess.run(
                command, capture_output=True, text=True, check=False, env={**os.environ, "NO_COLOR": "1"}
            )
        except OSError as error:
            return "", [_crash("VALIDATOR_CRASHED", f"bids-validator cannot be run: {error}")]
        try:
            report = msgspec.json.decode(out.read_bytes(), type=_Report)
        except (OSError, msgspec.DecodeError):
            message = (
                f"bids-validator gave no result (exit code {done.returncode}): {_last_words(done.stderr)}"
            )
            return "", [_crash("VALIDATOR_CRASHED", message)]
    version = f"{_version()} (schema {report.summary.schemaVersion})"
    findings = [*_official_errors(report.issues), *_official_warnings(report.issues)]
    has_errors = any(finding.severity == "error" for finding in findings)
    if done.returncode != (16 if has_errors else 0):
        message = f"bids-validator ended with exit code {done.returncode}: {_last_words(done.stderr)}"
        findings.append(_crash("VALIDATOR_CRASHED", message))
    return version, findings


def _last_words(said: str) -> str:
    """Of what a validator that crashed says: the line with the error, else the last; all goes to the log."""
    lines = [line.strip() for line in said.splitlines() if line.strip()]
    for line in lines:
        log.info("bids-validator: %s", line)
    # behind its error Deno tells where in the sources it was
    words = next(
        (line for line in lines if line.lower().startswith("error")), (lines or ["it says nothing"])[-1]
    )
    # since Deno 1.43 it takes --allow-all, which the validator is not run with (GHSA-23rx-c3g5-hv9w)
    elsewhere = ". It reads nothing below /dev, /proc and /sys: set `bids` to a folder elsewhere"
    return words + (elsewhere if "NotCapable: Requires all access" in words else "")


def _validator() -> Path | None:
    beside = Path(sys.executable).with_name("bids-validator-deno")
    if beside.exists():
        return beside
    found = shutil.which("bids-validator-deno")
    return Path(found) if found else None


def _version() -> str:
    try:
        return metadata.version("bids-validator-deno")
    except metadata.PackageNotFoundError:
        return "unknown version"


def _crash(code: str, message: str) -> Finding:
    return Finding(severity="error", code=code, location="", message=message, origin=VALIDATOR)


def _official_errors(report: _Issues) -> Iterator[Finding]:
    for issue in report.issues:
        if issue.severity == "error":
            yield _official(issue, report.codeMessages)


def _official_warnings(report: _Issues) -> Iterator[Finding]:
    warnings = [issue for issue in report.issues if issue.severity == "warning"]
    counts = Counter((issue.code, issue.subCode) for issue in warnings)
    first = {(issue.code, issue.subCode): issue for issue in reversed(warnings)}
    for kind, issue in sorted(first.items()):
        others = f" (and in {counts[kind] - 1} more places)" if counts[kind] > 1 else ""
        yield _official(issue, report.codeMessages, others)


# what the validator cannot know: how names come about here
_REMEDIES = {
    "BOLD_NOT_4D": "A run that was cancelled can be left out: `short: drop` in its rule, or "
    "`naming: {short_runs: drop}` in config.yaml (`expected_volumes` in the rule, if it is the only one of "
    "its name); a reference of one volume is an sbref"
}


def _official(issue: _Issue, messages: Mapping[str, str], suffix: str = "") -> Finding:
    text = " ".join((issue.issueMessage or messages.get(issue.code, "")).split())
    if issue.code in _REMEDIES:
        text = f"{text.rstrip('.')}. {_REMEDIES[issue.code]}"
    return Finding(
        severity=issue.severity,
        code=f"{issue.code}/{issue.subCode}" if issue.subCode else issue.code,
        location=issue.location.lstrip("/"),
        message=text + suffix,
        origin=VALIDATOR,
    )


# ------------------------------------------------------------------------------------- every placed file


def check_files(bids: Path, placed: Iterable[PlacedSession], *, threads: int = 1) -> list[Finding]:
    """What the records promise against what lies on disk; every volume is read to its end."""
    files = {path: digest for session in placed for path, digest in sorted(session.files.items())}
    with ThreadPoolExecutor(max_workers=max(threads, 1)) as pool:
        found = list(pool.map(partial(_check_file, bids, files), files))
    return [finding for findings in found for finding in findings]


def _check_file(bids: Path, files: Mapping[str, str], name: str) -> list[Finding]:
    path = bids / name
    if not path.is_file():
        return [_finding("MISSING_FILE", name, "was placed and is not there any more")]
    findings = []
    try:
        if sha256(path) != files[name]:
            findings.append(_finding("CHANGED_FILE", name, "its content is not what was placed"))
        if name.endswith(".nii.gz"):
            findings += _check_volume(bids, files, name)
    except OSError as error:
        findings.append(_finding("UNREADABLE_FILE", name, f"cannot be read: {error.strerror or error}"))
    return findings


def _check_volume(bids: Path, files: Mapping[str, str], name: str) -> list[Finding]:
    stem = name.removesuffix(".nii.gz")
    try:
        header = _read_through(bids / name)
        sidecar = _read_sidecar(bids / f"{stem}.json")
    except _Broken as broken:
        location = f"{stem}.json" if broken.code.endswith("SIDECAR") else name
        return [_finding(broken.code, location, broken.message)]
    shape = tuple(int(size) for size in header.get_data_shape())
    volumes = shape[3] if len(shape) > 3 else 1
    found = [*_check_affines(header), *_check_times(header, shape, sidecar)]
    tables = [extension for extension in (".bval", ".bvec") if f"{stem}{extension}" in files]
    if tables:
        found += _check_gradients(bids / stem, volumes)
    return [_finding(code, name, message, severity=severity) for severity, code, message in found]


class _Broken(Exception):  # noqa: N818 - not an error of this program but one that it looks for
    """A file that cannot be understood: no further check of its volume makes sense."""

    def __init__(self, code: str, message: str) -> None:
        super().__init__(message)
        self.code, self.message = code, message


_Problem = tuple[str, str, str]  # severity, code, message


def _read_through(path: Path) -> nib.Nifti1Header:
    """The header of a volume whose every byte was decompressed and whose checksum is right."""
    try:
        with igzip.IGzipFile(path, "rb") as stream:  # type: ignore[no-untyped-call]
            head = stream.read(540)
            size = len(head)
            while chunk := stream.read(_CHUNK):
                size += len(chunk)
    except (EOFError, gzip.BadGzipFile, igzip_lib.IsalError) as error:  # type: ignore[misc]  # its stub is wrong
        raise _Broken("DAMAGED_VOLUME", f"is no whole gzip file: {error}") from error
    is_nifti2 = 540 in (int.from_bytes(head[:4], "little"), int.from_bytes(head[:4], "big"))
    kind = nib.Nifti2Header if is_nifti2 else nib.Nifti1Header
    try:
        header: nib.Nifti1Header = kind.from_fileobj(BytesIO(head))
    except (nib.spatialimages.HeaderDataError, nib.wrapstruct.WrapStructError) as error:
        raise _Broken("DAMAGED_VOLUME", f"is no NIfTI file: {error}") from error
    voxels = math.prod(int(size) for size in header.get_data_shape())
    expected = int(header["vox_offset"]) + voxels * header.get_data_dtype().itemsize
    if size != expected:
        raise _Broken("DAMAGED_VOLUME", f"holds {size} bytes where its header promises {expected}")
    return header


def _read_sidecar(path: Path) -> dict[str, Json]:
    try:
        return msgspec.json.decode(path.read_bytes(), type=dict[str, Json])
    except FileNotFoundError:
        raise _Broken("NO_SIDECAR", "the volume has no sidecar") from None
    except msgspec.DecodeError as error:
        raise _Broken("DAMAGED_SIDECAR", f"is no JSON object: {error}") from error


# -------------------------------------------------------------------------------- one volume's own story


def _check_affines(header: nib.Nifti1Header) -> Iterator[_Problem]:
    """sform and qform agree and both carry code 1; a sheared volume has no qform (it cannot hold a shear)."""
    sform, sform_code = header.get_sform(coded=True)
    try:
        qform, qform_code = header.get_qform(coded=True)
    except (ValueError, nib.spatialimages.HeaderDataError):
        yield "error", "QFORM", "its qform holds no rotation"
        return
    if sform_code != 1 or not np.isfinite(sform).all() or np.linalg.det(sform[:3, :3]) == 0:
        yield "error", "SFORM", f"has no sform in scanner coordinates (code {int(sform_code)})"
        return
    lengths = np.linalg.norm(sform[:3, :3], axis=0)
    axes = sform[:3, :3] / lengths
    is_sheared = np.abs(axes.T @ axes - np.eye(3)).max() > _ROTATION_TOLERANCE
    if is_sheared and qform_code == 0:
        yield "warning", "SHEARED", "its slices are tilted: only the sform places it, it has no qform"
    elif qform_code != 1:
        yield "error", "QFORM", f"has no qform in scanner coordinates (code {int(qform_code)})"
    elif not (  # so that a NaN is no agreement
        np.abs((sform - qform)[:3, :3] / lengths).max() <= _ROTATION_TOLERANCE
        and np.abs((sform - qform)[:3, 3]).max() <= _ORIGIN_TOLERANCE_MM
    ):
        yield "error", "SFORM_QFORM", "sform and qform place it differently"


def _check_times(
    header: nib.Nifti1Header, shape: tuple[int, ...], sidecar: Mapping[str, Json]
) -> Iterator[_Problem]:
    repetition = sidecar.get("RepetitionTime")
    if isinstance(repetition, int | float) and len(shape) > 3 and shape[3] > 1:
        units = {"sec": 1.0, "msec": 1e-3, "usec": 1e-6}.get(header.get_xyzt_units()[1], math.nan)
        stored = float(header["pixdim"][4]) * units
        if not abs(stored - repetition) <= _TIME_TOLERANCE_S:
            yield (
                "error",
                "REPETITION_TIME",
                f"RepetitionTime is {repetition} s, the header says {stored:g} s",
            )
    timing = sidecar.get("SliceTiming")
    if isinstance(timing, list):
        yield from _check_slice_timing(timing, shape, sidecar)


def _check_slice_timing(
    timing: list[Json], shape: tuple[int, ...], sidecar: Mapping[str, Json]
) -> Iterator[_Problem]:
    axis = "ijk".find(str(sidecar.get("SliceEncodingDirection", "k"))[:1])
    slices = shape[axis] if 0 <= axis < len(shape) else 0
    if len(timing) != slices:
        yield "error", "SLICE_TIMING", f"SliceTiming has {len(timing)} entries for {slices} slices"
    times = [time for time in timing if isinstance(time, int | float)]
    repetition = sidecar.get("RepetitionTime")
    last = repetition if isinstance(repetition, int | float) else math.inf
    if len(times) != len(timing) or not all(0 <= time <= last for time in times):
        yield "error", "SLICE_TIMING", "SliceTiming has entries that are no times from 0 to RepetitionTime"


def _check_gradients(stem: Path, volumes: int) -> Iterator[_Problem]:
    tables = {}
    for extension, rows in ((".bval", 1), (".bvec", 3)):
        path = stem.with_name(stem.name + extension)
        try:
            table = [
                [float(cell) for cell in line.split()]
                for line in path.read_text().splitlines()
                if line.strip()
            ]
        except FileNotFoundError:
            yield "error", "GRADIENTS", f"has no {extension} beside it"
            continue
        except ValueError as error:
            yield "error", "GRADIENTS", f"its {extension} holds something else than numbers: {error}"
            continue
        if [len(row) for row in table] != [volumes] * rows:
            sizes = " + ".join(str(len(row)) for row in table) or "no"
            yield "error", "GRADIENTS", f"its {extension} has {sizes} entries for {rows} x {volumes}"
            continue
        tables[extension] = np.array(table)
    if ".bvec" in tables:
        lengths = np.linalg.norm(tables[".bvec"], axis=0)
        # text of 6 digits and more: a direction is a unit vector, no direction is a zero
        if not np.all((np.abs(lengths - 1) < 1e-3) | (lengths == 0)):
            yield "error", "GRADIENTS", "its .bvec holds vectors that are neither of length 1 nor 0"


# --------------------------------------------------------------------- what field maps and images name


class _Links(msgspec.Struct, frozen=True):
    """Of a sidecar, the fields that name files or each other."""

    IntendedFor: Json = None
    B0FieldSource: Json = None
    B0FieldIdentifier: Json = None


def check_links(bids: Path, placed: Iterable[PlacedSession]) -> list[Finding]:
    """Targets of IntendedFor that are no files, and values of B0FieldSource that are no B0FieldIdentifier.

    An identifier holds for all sessions of a subject (BIDS, "B0FieldIdentifier": unique within one
    participant's tree). Measured: 30 sidecars of each of 1,000 sessions cost 2 s.
    """
    by_subject: dict[str, dict[str, _Links]] = {}
    for session in placed:
        links = by_subject.setdefault(f"sub-{session.subject}", {})
        links.update({name: _links(bids / name) for name in session.files if name.endswith(".json")})
    return [lost for subject, links in by_subject.items() for lost in _lost_links(bids, subject, links)]


def _lost_links(bids: Path, subject: str, links: Mapping[str, _Links]) -> Iterator[Finding]:
    identifiers = {str(one) for each in links.values() for one in values_of(each.B0FieldIdentifier)}
    hint = "Correct the fields that the heuristic adds to this sidecar, or leave them to pacs2bids"
    for name, each in links.items():
        for target in values_of(each.IntendedFor):
            if not _is_there(bids, intended_file(str(target), subject)):
                what = f"IntendedFor names {target}: there is no such file in the dataset. {hint}"
                yield _finding("INTENDED_FOR", name, what)
        for source in values_of(each.B0FieldSource):
            if str(source) not in identifiers:
                what = (
                    f"B0FieldSource is {source}, and no file of {subject} has that B0FieldIdentifier. {hint}"
                )
                yield _finding("B0_FIELD_SOURCE", name, what)


def _links(path: Path) -> _Links:
    """Those of a sidecar; none of one that cannot be read, which ``check_files`` tells."""
    try:
        content = path.read_bytes()
        named = b'"IntendedFor"' in content or b'"B0Field' in content
        return msgspec.json.decode(content, type=_Links) if named else _Links()
    except (OSError, msgspec.DecodeError):
        return _Links()


def _is_there(bids: Path, name: str | None) -> bool:
    """Whether it is a file of the dataset; True for None, a file of another dataset."""
    if name is None:
        return True
    parts = PurePosixPath(name).parts
    return ".." not in parts and not name.startswith("/") and (bids / name).is_file()


# -------------------------------------------------------------------------------- what nobody asked for


def _unexpected(
    bids: Path, expected: Collection[str], prune: str, prunable: Collection[str]
) -> Iterator[Finding]:
    """Folders of subjects and sessions that the table does not have (any more).

    A subject with sessions has nothing but their folders, one without has no folder of a session.
    """
    owned = {tuple(key.split("_")) for key in expected}  # ("sub-01", "ses-a"), or ("sub-01",)
    subjects = {parts[0] for parts in owned}
    gone = set(prunable).difference(expected)
    folders = []
    for subject in sorted(path for path in bids.glob("sub-*") if path.is_dir()):
        inner = sorted(path for path in subject.iterdir() if path.is_dir())
        if subject.name not in subjects:
            folders.append(subject)
        elif (subject.name,) in owned:
            folders += [path for path in inner if path.name.startswith("ses-")]
        else:
            folders += [path for path in inner if (subject.name, path.name) not in owned]
    for folder in folders:
        name = folder.relative_to(bids).as_posix()
        key = name.replace("/", "_") + "_"
        if any(f"{one}_".startswith(key) or key.startswith(f"{one}_") for one in gone):
            what = f"`{prune}` shows what it holds, with --yes it removes what pacs2bids placed"
        else:
            left = [path.relative_to(bids).as_posix() for path in sorted(folder.rglob("*")) if path.is_file()]
            what = (
                "What is in it are files that people changed or put there: "
                f"{listed(left, _SHOWN) or 'none'}. "
                "Move what you need out of the dataset, and delete the folder"
            )
        why = "no session of the studies table has this folder: a label was corrected or a row was removed"
        yield _finding("SESSION_NOT_IN_TABLE", name, f"{why}. {what}")


def _rows_without_session(bids: Path, expected: Collection[str]) -> Iterator[Finding]:
    """Rows of sessions.tsv without session and folder. People wrote into them: ours alone would be gone."""
    for table in sorted(bids.glob("sub-*/sub-*_sessions.tsv")):
        subject = table.parent
        try:
            names = [row.get("session_id", "") for row in read_tsv(table)]
        except UnicodeDecodeError:  # the validator says so
            continue
        lone = [
            name
            for name in names
            if f"{subject.name}_{name}" not in expected and not (subject / name).is_dir()
        ]
        if lone:
            message = (
                f"there is no session {listed(lone, _SHOWN)}; the row is kept, as people wrote into it. "
                "Copy what you need to the row of the right session, and delete it"
            )
            location = table.relative_to(bids).as_posix()
            yield _finding("ROW_WITHOUT_SESSION", location, message, severity="warning")


def _stray_files(bids: Path, placed: Iterable[PlacedSession]) -> Iterator[Finding]:
    """Files in subjects' folders that no session placed, told once a folder."""
    known = {name for session in placed for name in (*session.files, *session.tables)}
    strays: dict[str, list[str]] = {}
    for path in sorted(path for subject in bids.glob("sub-*") for path in subject.rglob("*")):
        name = path.relative_to(bids)
        suffix = path.name.partition(".")[0].rpartition("_")[2]
        if path.is_file() and name.as_posix() not in known and suffix not in _SUFFIXES_OF_OTHERS:
            strays.setdefault(name.parent.as_posix(), []).append(name.name)
    for folder, names in strays.items():
        message = (
            f"{listed(names, 1)}: no session placed it; files of your own belong into derivatives/ or "
            "sourcedata/"
        )
        yield _finding("STRAY_FILES", folder, message, severity="warning")


def _empty(placed: Iterable[PlacedSession]) -> Iterator[Finding]:
    """Sessions of the table of which nothing is in the dataset: a name that was forgotten, most likely."""
    for session in placed:
        if not session.volumes and not session.absent:
            message = (
                "no volume of this session has a name: its plan.tsv in work/sessions says why. Name one in "
                "the heuristic, or take the session out of the studies table"
            )
            yield _finding("EMPTY_SESSION", session.session_key, message)


def _absent(placed: Iterable[PlacedSession]) -> Iterator[Finding]:
    """Planned volumes that could not be reconstructed, where the user chose to go on without them."""
    for session in placed:
        for name, reason in session.absent.items():
            message = f"was planned and could not be reconstructed: {reason}"
            yield _finding("ABSENT_VOLUME", name, message, severity="warning")
