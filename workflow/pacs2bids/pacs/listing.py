"""The studies that a source has, as a table for the eyes: dates, descriptions, counts.

Who a patient is stands in it only where that is asked for; nothing of it is logged or written to a file.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence

from pacs2bids.model import QueryError
from pacs2bids.pacs.query import Ask, check_match
from pacs2bids.peers import Attributes

# keyword -> heading
COLUMNS = {
    "StudyDate": "StudyDate",
    "StudyDescription": "StudyDescription",
    "ModalitiesInStudy": "Modalities",
    "NumberOfStudyRelatedSeries": "Series",
    "NumberOfStudyRelatedInstances": "Instances",
    "StudyInstanceUID": "StudyInstanceUID",
}
IDENTITIES = {
    keyword: keyword for keyword in ("AccessionNumber", "PatientID", "PatientName", "PatientBirthDate")
}


def listed(questions: Iterable[tuple[str, Mapping[str, str]]], ask: Ask, *, identities: bool) -> str:
    """A table of the studies that match any of ``questions`` (name of a source, match), in order of time.

    ``identities`` adds accession number and the patient's ID, name and birth date. "-": the PACS
    does not tell. Raises ConfigError for keys that no study has, QueryError if no study matches.
    """
    columns = COLUMNS | (IDENTITIES if identities else {})
    studies: dict[str, Attributes] = {}
    for source, match in questions:
        check_match(match, f"the query of source {source!r}")
        for answer in ask(source, {**dict.fromkeys(columns, ""), "StudyTime": "", **match}):
            studies.setdefault(answer.get("StudyInstanceUID", ""), answer)
    if not studies:
        raise QueryError("no study matches", hint="Ask for less with --match KEY=VALUE")
    ordered = sorted(
        studies.values(),
        key=lambda one: [one.get(key, "") for key in ("StudyDate", "StudyTime", "StudyInstanceUID")],
    )
    return _aligned([[*columns.values()], *([_cell(one, key) for key in columns] for one in ordered)])


def _cell(answer: Attributes, keyword: str) -> str:
    """A value, fit for a terminal: what would steer it is shown as "?"."""
    value = answer.get(keyword, "").replace("\\", " ").strip()
    return "".join(letter if letter.isprintable() else "?" for letter in value) or "-"


def _aligned(rows: Sequence[Sequence[str]]) -> str:
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    lines = ("  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)) for row in rows)
    return "\n".join(line.rstrip() for line in lines)
