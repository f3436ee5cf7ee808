"""What a source announces of a study, from its answers at SERIES and IMAGE level."""

from __future__ import annotations

from collections.abc import Sequence

import pytest

from pacs2bids.model import PullError
from pacs2bids.pacs.announce import Find, announce
from pacs2bids.peers import Attributes


def source(count: str, listed: Sequence[str]) -> Find:
    """One with a single series, of which it tells a count, and lists instances."""

    def find(level: str, _question: Attributes) -> Sequence[Attributes]:
        if level == "SERIES":
            return [{"SeriesInstanceUID": "1.2", "NumberOfSeriesRelatedInstances": count}]
        return [{"SOPInstanceUID": uid} for uid in listed]

    return find


@pytest.mark.parametrize(
    ("count", "listed", "total"),
    [("", ["1.2.1", "1.2.2"], 2), ("2", ["1.2.1", "1.2.2"], 2), ("3", ["1.2.1"], 3), ("1", [], 1)],
)
def test_what_is_listed_or_counted_is_announced(count: str, listed: Sequence[str], total: int) -> None:
    announced = announce(source(count, listed), "PACS", "1")
    assert announced.listed == {"1.2": tuple(listed)}
    assert announced.totals == {"1.2": total}


def test_a_series_without_instances_is_none() -> None:
    assert not announce(source("0", []), "PACS", "1").listed


def test_a_series_that_is_neither_listed_nor_counted_is_not_passed_over() -> None:
    with pytest.raises(PullError, match=r"PACS: tells neither which instances series 1\.2 has, nor how many"):
        announce(source("", []), "PACS", "1")
