"""What a source announces of a study, from its answers at SERIES and IMAGE level."""

from __future__ import annotations

from collections.abc import Sequence

import pytest

from pacs2bids.model import PullError, QueryError
from pacs2bids.pacs.announce import Find, announce
from pacs2bids.peers import Attributes


def source(count: str, listed: Sequence[str], studies: Sequence[Attributes] = ()) -> Find:
    """One with a single series, of which it counts and lists instances; ``studies``: its answer of those."""

    def find(level: str, _question: Attributes) -> Sequence[Attributes]:
        if level == "STUDY":
            return studies
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


def study(instances: str, series: str, uid: str = "1") -> Attributes:
    return {
        "StudyInstanceUID": uid,
        "NumberOfStudyRelatedInstances": instances,
        "NumberOfStudyRelatedSeries": series,
    }


@pytest.mark.parametrize(
    ("studies", "unlisted"),
    [
        ([], (0, 0)),
        ([{"StudyInstanceUID": "1"}], (0, 0)),
        ([study("2", "1")], (0, 0)),
        ([study("1", "0")], (0, 0)),
        ([study("7", "3")], (5, 2)),
        ([study("9", "9", uid="2"), study("3", "1")], (1, 0)),  # a PACS that does not heed the question
    ],
)
def test_what_a_study_is_said_to_have_besides_its_series(
    studies: Sequence[Attributes], unlisted: tuple[int, int]
) -> None:
    announced = announce(source("2", ["1.2.1", "1.2.2"], studies), "PACS", "1")
    assert (announced.unlisted, announced.unlisted_series) == unlisted


def test_a_source_that_does_not_count_studies_is_pulled_from_all_the_same() -> None:
    series = source("2", ["1.2.1", "1.2.2"])

    def find(level: str, question: Attributes) -> Sequence[Attributes]:
        if level == "STUDY":
            raise QueryError("the query at level STUDY failed with status C001")
        return series(level, question)

    assert announce(find, "PACS", "1").unlisted == 0
