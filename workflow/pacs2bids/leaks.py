"""The gate over what lies there already: the whole dataset, the report and the logs.

Files of a subject are searched for that subject's identifiers, those of all for everybody's. What speaks of
many people, or is prose, is searched for whole names only: "Brown" in a README is a colour, and "Smith" among
the authors may be another.
"""

from __future__ import annotations

import os
import re
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path

from pacs2bids.gate import ORIGIN, Hit, Needles, cure, decoded, hits, masked, search, search_file
from pacs2bids.model import Finding, PlanRow
from pacs2bids.owned import SOURCEDATA

IDENTITY, DOUBT, SHOWN, NATURE = "IDENTITY", "MAYBE_IDENTITY", "IDENTITY_IN_REPORT", "SOURCEDATA_IDENTIFIES"

# what others make of a dataset, and what keeps its versions
NOT_SEARCHED = ("derivatives", ".git", ".datalad")

_DATA_URL = re.compile(r"data:[\w/+.-]+;base64,[A-Za-z0-9+/=]+")
_PAGES = (".html", ".tsv", ".json", ".txt", ".log")


@dataclass(frozen=True, slots=True, kw_only=True)
class Known:
    """``subjects``: "sub-01" -> what identifies its patient. ``everyone``: all of them, whole. ``studies``:
    StudyInstanceUID -> "sub-01".
    """

    subjects: Mapping[str, Needles]
    everyone: Needles
    studies: Mapping[str, str] = field(default_factory=dict)

    def of(self, name: str) -> Needles:
        """For a file of the dataset."""
        subject = next((part for part in Path(name).parts if part in self.subjects), "")
        return self.subjects.get(subject, self.everyone)

    def of_page(self, name: str) -> Needles:
        """For a page or a log. One of a session, or a study, tells what was read in its own files."""
        stem = Path(name).stem
        subject = self.studies.get(stem, stem.partition("_")[0])
        return self.subjects[subject].whole if subject in self.subjects else self.everyone


def leaks(bids: Path, known: Known) -> Iterator[Finding]:
    """What identifies a patient in a dataset: names and texts of all files but what others derived."""
    identified = 0
    for name in sorted(_files(bids)):
        path, needles = bids / name, known.of(name)
        if name.startswith(f"{SOURCEDATA}/"):
            found = hits(name, needles, "its name")
            identified += name.endswith(".dicom.tgz")
        elif name.endswith(".tsv") and needles is known.everyone:
            found = [*hits(name, needles, "its name"), *_of_rows(path, known)]
        else:
            try:
                found = search_file(name, path, needles)
            except OSError:  # the check of files says so
                continue
        yield from (_finding(masked(name, needles), hit) for hit in found)
    if identified:
        message = (
            f"{identified} archives of DICOM files, which the heuristic asks for, hold identities by nature, "
            "and are not searched. Give the dataset away without this folder"
        )
        yield Finding(severity="warning", code=NATURE, location=SOURCEDATA, message=message, origin=ORIGIN)


def leaks_of_rows(session_key: str, rows: Iterable[PlanRow], needles: Needles) -> Iterator[Finding]:
    """Descriptions of series without a name: no file of the dataset has them, but the report."""
    for row in rows:
        if not row.bids_name:
            for hit in hits(row.series_description, needles, "SeriesDescription"):
                what = (
                    f"{hit} in series {row.series_number}, which is not in the dataset; the report shows it"
                )
                yield Finding(
                    severity="warning", code=SHOWN, location=session_key, message=what, origin=ORIGIN
                )


def leaks_of_pages(root: Path, known: Known) -> Iterator[tuple[str, Hit]]:
    """Name and hit of each line in a page, a log, or a folder of them, that names a patient.

    They may tell UIDs: they stay here.
    """
    paths = [root] if root.is_file() else [root / name for name in sorted(_files(root))]
    for path in paths:
        if path.suffix in _PAGES:
            needles = replace(known.of_page(path.name), uids=False)
            for text in decoded(path.read_bytes()):
                yield from (
                    (masked(str(path), needles), hit) for hit in _of_page(_DATA_URL.sub("", text), needles)
                )


def _of_page(text: str, needles: Needles) -> Iterator[Hit]:
    if next(search(text, needles), None) is not None:
        for number, line in enumerate(text.splitlines(), start=1):
            yield from hits(line, needles, f"line {number}")


def _of_rows(path: Path, known: Known) -> list[Hit]:
    """participants.tsv, phenotype/*.tsv: each line that begins with a subject is of that subject."""
    found: list[Hit] = []
    for text in decoded(path.read_bytes()):
        heading, *lines = text.splitlines() or [""]
        found += hits(heading, known.everyone, "its heading")
        columns = heading.split("\t")
        for number, line in enumerate(lines, start=2):
            needles = known.of(line.partition("\t")[0])
            for column, cell in zip(columns, line.split("\t"), strict=False):
                shown = masked(masked(column, known.everyone), needles)
                found += hits(cell, needles, f"{shown} in line {number}")
    return found


def _finding(name: str, hit: Hit) -> Finding:
    if hit.is_sure:
        return Finding(
            severity="error", code=IDENTITY, location=name, message=f"{hit}. {cure(hit)}", origin=ORIGIN
        )
    what = f"{hit}, or another word of two letters: please look"
    return Finding(severity="warning", code=DOUBT, location=name, message=what, origin=ORIGIN)


def _files(root: Path) -> Iterator[str]:
    """Paths of all files below a folder, relative to it."""
    for folder, folders, names in os.walk(root):
        inside = Path(folder).relative_to(root)
        if inside == Path():
            folders[:] = [name for name in folders if name not in NOT_SEARCHED]
        yield from ((inside / name).as_posix() for name in names)
