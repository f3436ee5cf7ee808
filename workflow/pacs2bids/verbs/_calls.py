"""The calls of a heuristic that a plan holds (``custom_callable``), made when its session is placed."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Sequence
from pathlib import Path

from pacs2bids.dialects.after_conversion import Call, after_conversion, version_of
from pacs2bids.dialects.series_files import SeriesFiles
from pacs2bids.model import HookCall, PlanError, PlanRow, StudyIndex, session_folder
from pacs2bids.owned import Item

FOLDER = "called"  # of the copies, in the session's folder


def called(
    items: Sequence[Item],
    *,
    rows: Sequence[PlanRow],
    indexes: Sequence[StudyIndex],
    studies_dir: Path,
    session_dir: Path,
) -> list[Item]:
    """The files of a session after the calls; raises as ``after_conversion`` does.

    Raises PlanError if the heuristic is not any more what it was when the plan was made.
    """
    heuristic, version = next((Path(call.heuristic), call.version) for row in rows for call in row.calls)
    if not heuristic.is_file() or version_of(heuristic) != version:
        what = "was edited, or is gone, since the plan was made"
        raise PlanError(what, where=str(heuristic), hint="Run 'pacs2bids plan' again")
    there = {item.path for item in items}
    return after_conversion(
        heuristic,
        list(_calls(rows, there, indexes, studies_dir)),
        items,
        indexes=indexes,
        session=session_folder(session_dir.name),
        folder=session_dir / FOLDER,
    )


def _calls(
    rows: Sequence[PlanRow], there: Collection[str], indexes: Sequence[StudyIndex], studies_dir: Path
) -> Iterator[Call]:
    """In their order; none of an item whose volumes could not be made."""
    due: dict[int, tuple[HookCall, list[PlanRow]]] = {}
    for row in rows:
        for call in row.calls:
            due.setdefault(call.number, (call, []))[1].append(row)
    for _, (call, its_rows) in sorted(due.items()):
        names = [row.bids_name for row in its_rows if row.bids_name]
        present = [name for name in names if f"{name}.json" in there]
        if names and not present:
            continue
        # of several volumes each has a name of its own: then it is what the heuristic said, as in heudiconv
        prefix = present[0] if len(present) == 1 else call.prefix
        dicoms = _dicoms(its_rows[0], indexes, studies_dir)
        yield Call(prefix=prefix, outtypes=call.outtypes, dicoms=tuple(dicoms))


def _dicoms(row: PlanRow, indexes: Sequence[StudyIndex], studies_dir: Path) -> Iterator[Path]:
    """The DICOM files of a row's series. Raises HeuristicError if they are gone."""
    (index,) = [one for one in indexes if one.study_instance_uid == row.study_instance_uid]
    for series in index.series:
        if series.series_instance_uid == row.series_instance_uid:
            folder = studies_dir / index.study_instance_uid / "dicom"
            files = SeriesFiles(row.calls[0].heuristic, folder, index, series)
            yield from (files.path(name) for name in files.paths)
