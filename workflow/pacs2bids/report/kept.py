"""Pages of sessions that are kept: drawn again only when what they are made of has changed.

Beside each page stands what the dataset's page says of the session, with a digest of all that went in. So a
nightly run over a thousand sessions asks the file system for times and sizes, and draws what is new.
"""

from __future__ import annotations

import hashlib
import re
import shutil
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

import msgspec

from pacs2bids import engine
from pacs2bids.files import write_record
from pacs2bids.model import Finding
from pacs2bids.report.evidence import KnownSession, files_of
from pacs2bids.report.view import SessionSummary

PAGE, SUMMARY, SOLIDS = ".html", ".json", "_volumes"  # what one session has in the folder
_OURS = re.compile(r"\.?(?P<key>sub-[A-Za-z0-9]+(_ses-[A-Za-z0-9]+)?)(\.html|\.json|_volumes)(\..*\.part)?")


DRAWING = (
    *("gate.py", "identifiers.py", "images.py", "model.py", "moments.py", "report/*.*"),
    *("spellings.py", "standing.py", "text.py"),
    *("verbs/_gate.py", "verbs/_workdir.py", "verbs/report.py", "words.py"),
)
DRAWING_LIBRARIES = ("isal", "jinja2", "msgspec", "nibabel", "numpy", "pillow")


@dataclass(frozen=True, slots=True, kw_only=True)
class Kept:
    """What is known of a page that was drawn."""

    digest: str
    summary: SessionSummary


def folder_beside(page: Path) -> Path:
    """The folder of a page's other files, named as browsers name theirs: "report_files"."""
    return page.with_name(f"{page.stem}_files")


def drawing_version() -> str:
    """Changes with all that draws a session's page."""
    return engine.digest_of(DRAWING, DRAWING_LIBRARIES)


def digest_of(
    workdir: Path, known: KnownSession, findings: Sequence[Finding], versions: Iterable[str]
) -> str:
    """Of all that decides what a session's page shows; ``versions``: of what draws it."""
    digest = hashlib.sha256("\n".join(versions).encode())
    digest.update(msgspec.msgpack.encode((known, findings)))
    for path in files_of(workdir, known):
        try:
            state = path.stat()
        except OSError:
            digest.update(b"-")
        else:
            digest.update(f"{state.st_mtime_ns} {state.st_size} ".encode())
    return digest.hexdigest()


def kept_summary(folder: Path, key: str, digest: str) -> SessionSummary | None:
    """Of a page that need not be drawn again."""
    try:
        kept = msgspec.json.decode((folder / f"{key}{SUMMARY}").read_bytes(), type=Kept)
    except (OSError, msgspec.DecodeError):
        return None
    return kept.summary if kept.digest == digest and (folder / f"{key}{PAGE}").exists() else None


def keep(folder: Path, digest: str, summary: SessionSummary) -> None:
    """Remember that the page of this session, which is there, is made of this."""
    write_record(folder / f"{summary.key}{SUMMARY}", Kept(digest=digest, summary=summary), flushed=False)


def remove_others(folder: Path, keys: Iterable[str]) -> None:
    """Remove what is of no session any more, and what killed writers left: nothing but files of our names."""
    known = set(keys)
    for path in folder.iterdir():
        name = _OURS.fullmatch(path.name)
        if name is not None and (name["key"] not in known or path.name.endswith(".part")):
            remove(path)


def pages_of(folder: Path, keys: Iterable[str]) -> list[Path]:
    """What there is of these sessions: the page, what is kept of it, its volumes."""
    names = [f"{key}{ending}" for key in keys for ending in (PAGE, SUMMARY, SOLIDS)]
    return [path for name in names if (path := folder / name).exists()]


def remove(path: Path) -> None:
    """A file, or a folder with all in it."""
    if path.is_dir():
        shutil.rmtree(path)
    else:
        path.unlink()
