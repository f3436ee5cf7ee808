"""The error of a study of which a series cannot be reconstructed."""

from __future__ import annotations

from pathlib import Path

from pacs2bids.model import FailedStack
from pacs2bids.verbs.reconstruct import failure


def test_series_and_description_come_first() -> None:
    failed = [FailedStack(stack_id=one, error="is cut") for one in ("002-1", "002-2", "007-1")]
    text = str(failure(failed, {"002": "t1_mprage", "007": ""}, Path("work/studies/1.2")))
    assert text.startswith("series 002 (t1_mprage), series 007 (no description) cannot be reconstructed: ")
    assert text.count("is cut") == 3
    assert text.endswith("work/studies/1.2 are written; `on_broken_series: skip` goes on without this")
