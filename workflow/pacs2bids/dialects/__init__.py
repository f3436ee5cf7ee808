"""The languages a heuristic can be written in."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from pacs2bids.dialects import heudiconv
from pacs2bids.model import StudyIndex
from pacs2bids.session import Answers


def ask(heuristic: Path, indexes: Sequence[StudyIndex], *, subject: str, session: str) -> Answers:
    """Ask a heuristic, in whatever language it is, for the names of one session's series.

    Raises HeuristicError if it cannot be read, fails for more than single series, or gives an answer that
    cannot be used.
    """
    return heudiconv.ask(heuristic, indexes, subject=subject, session=session)
