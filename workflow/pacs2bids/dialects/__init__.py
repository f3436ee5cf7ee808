"""The languages a heuristic can be written in."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from pacs2bids.builtin import heuristic_file
from pacs2bids.dialects.imports import files_that_say
from pacs2bids.model import Json, StudyIndex
from pacs2bids.session import Answers, Tried, series_of

RULES = (".yaml", ".yml")  # endings of files of rules; others are Python


def ask(
    heuristic: Path,
    indexes: Sequence[StudyIndex],
    *,
    subject: str,
    session: str,
    folders: Sequence[Path] = (),
    seqinfo: str = "pacs2bids",
) -> Answers:
    """Ask a heuristic, in whatever language it is, for the names of one session's series.

    ``heuristic``: a file, whose ending tells its language, or the name of a built-in. ``folders``: where the
    DICOM files of each index lie. ``seqinfo``: of Python files, what they see (``dialects.seqinfos``). Raises
    ConfigError for an unknown built-in, HeuristicError if the file cannot be read, fails for more than single
    series, or gives an answer that cannot be used.
    """
    # each language is imported when it is spoken: a plan is made for each session, by a process of its own
    path = heuristic_file(heuristic)
    if path.suffix in RULES:
        from pacs2bids.dialects import rules  # noqa: PLC0415

        return rules.ask(path, indexes, subject=subject, session=session)
    from pacs2bids.dialects import heudiconv  # noqa: PLC0415

    return heudiconv.ask(path, indexes, subject=subject, session=session, folders=folders, seqinfo=seqinfo)


def explain(
    heuristic: Path,
    indexes: Sequence[StudyIndex],
    *,
    subject: str,
    session: str,
    series: tuple[str, str],
    folders: Sequence[Path] = (),
    seqinfo: str = "pacs2bids",
) -> tuple[Tried, ...]:
    """What became of one series at each place of a heuristic that looked at it, in their order.

    ``series``: its StudyInstanceUID and SeriesInstanceUID; the rest as for ``ask``. Raises as ``ask`` does,
    and KeyError for a series that the indexes do not hold.
    """
    path = heuristic_file(heuristic)
    found = {one.key: one for index in indexes for one in series_of(index)}[series]
    if path.suffix in RULES:
        from pacs2bids.dialects import rules  # noqa: PLC0415

        return rules.explain(path, indexes, subject=subject, session=session, series=found)
    from pacs2bids.dialects import heudiconv  # noqa: PLC0415

    return heudiconv.explain(
        path,
        indexes,
        subject=subject,
        session=session,
        folders=folders,
        seqinfo=seqinfo,
        series=found.info,
    )


def default_fields(heuristic: Path) -> dict[str, Json]:
    """What a heuristic says for dataset_description.json, whatever the dataset. Raises as ``ask`` does."""
    if not files_that_say(heuristic, "DEFAULT_FIELDS"):
        return {}
    from pacs2bids.dialects import heudiconv  # noqa: PLC0415

    return heudiconv.default_fields(heuristic)


def seen(
    heuristic: Path, indexes: Sequence[StudyIndex], *, series: tuple[str, str], seqinfo: str = "pacs2bids"
) -> list[tuple[str, str, Json]]:
    """What a heuristic can ask of a series: volume ("" for all of it), name as it writes it, value.

    Without what identifies a person. ``series``: as for ``explain``; raises KeyError as it does.
    """
    found = {one.key: one for index in indexes for one in series_of(index)}[series]
    if heuristic_file(heuristic).suffix in RULES:
        from pacs2bids.dialects.rules.facts import seen_of  # noqa: PLC0415

        return seen_of(found)
    from pacs2bids.dialects.seqinfos import seen_as  # noqa: PLC0415

    return seen_as(indexes, found.info, seqinfo)
