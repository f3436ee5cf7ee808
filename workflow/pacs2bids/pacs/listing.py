"""Studies as tables for the eyes: those that a source has, and those that a query would write down.

Who a patient is stands in them only where that is asked for; nothing of it is logged or written to a file.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping

from pacs2bids.pacs.present import Change, Fate
from pacs2bids.pacs.query import LeftOut
from pacs2bids.peers import Attributes
from pacs2bids.text import aligned, printable

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
_DESCRIBING = {keyword: keyword for keyword in ("StudyDate", "StudyDescription", "StudyInstanceUID")}


def listed(studies: Iterable[tuple[str, Attributes]], *, sources: bool, identities: bool) -> str:
    """A table of studies (name of the source, what it answers), in order of time.

    ``sources`` adds the name of the source, ``identities`` accession number and the patient's ID, name and
    birth date. "-": the source does not tell.
    """
    columns = COLUMNS | (IDENTITIES if identities else {})
    ordered = sorted(studies, key=lambda one: (*_time(one[1]), one[0]))
    table = [["source", *columns.values()]]
    table += [[source, *(_cell(answer, key) for key in columns)] for source, answer in ordered]
    return "\n".join(aligned(table if sources else [cells[1:] for cells in table]))


def preview(
    changes: Iterable[Change],
    left_out: Iterable[LeftOut],
    answers: Mapping[str, Attributes],
    *,
    identities: bool,
) -> str:
    """What a query does to each study, and why. ``answers``: StudyInstanceUID -> what its source says."""
    columns = _DESCRIBING | (IDENTITIES if identities else {})
    table = [["change", "subject", "session", *columns.values(), "why"]]
    for change in changes:
        row = change.row
        answer = {"StudyInstanceUID": row.study_instance_uid, **answers.get(row.study_instance_uid, {})}
        cells = [_cell(answer, key) for key in columns]
        table.append([change.fate, row.subject, row.session or "-", *cells, _reason(change)])
    for one in sorted(left_out, key=lambda one: (not one.excluded, *_time(one.answer))):
        fate = "excluded" if one.excluded else "no label"
        table.append([fate, "-", "-", *(_cell(one.answer, key) for key in columns), one.reason])
    return "\n".join(aligned(table))


def _reason(change: Change) -> str:
    if change.fate is Fate.CHANGED and change.before is not None:
        before = change.before
        if before.session_key != change.row.session_key:
            return f"was {before.session_key}"
        return f"was of source {before.source!r}"
    return change.reason


def _time(answer: Attributes) -> list[str]:
    return [answer.get(key, "") for key in ("StudyDate", "StudyTime", "StudyInstanceUID")]


def _cell(answer: Attributes, keyword: str) -> str:
    return printable(answer.get(keyword, "").replace("\\", " ").strip()) or "-"
