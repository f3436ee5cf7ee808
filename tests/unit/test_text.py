"""Words for people."""

from __future__ import annotations

import pytest

from pacs2bids.text import duration, listed, megabytes


@pytest.mark.parametrize(
    ("count", "told"),
    [
        (0, ""),
        (1, "a"),
        (2, "a; b"),
        (3, "a; b; c"),  # to count one is as long as to name it
        (4, "a; b; and 2 more"),
        (26, "a; b; and 24 more"),
    ],
)
def test_some_are_named_and_the_rest_is_counted(count: int, told: str) -> None:
    things = [chr(ord("a") + number) for number in range(count)]
    assert listed(things, 2, separator="; ") == told
    assert listed(things, 2) == told.replace("; and", " and").replace(";", ",")


def test_large_numbers() -> None:
    assert listed(["x"] * 1234, 1) == "x and 1,233 more"


@pytest.mark.parametrize(
    ("size_bytes", "told"),
    [
        (0, "0 kB"),
        (1, "1 kB"),  # not nothing
        (99_999, "100 kB"),
        (100_000, "0.1 MB"),
        (9_940_000, "9.9 MB"),
        (10_000_000, "10 MB"),
        (1_234_567_890, "1,235 MB"),
    ],
)
def test_sizes_for_people(size_bytes: int, told: str) -> None:
    assert megabytes(size_bytes) == told


@pytest.mark.parametrize(
    ("seconds", "text"),
    [
        (0.04, "0.0 s"),
        (0.5, "0.5 s"),
        (1.4, "1 s"),
        (99, "99 s"),
        (100, "2 min"),
        (5990, "1 h 40 min"),
        (7500, "2 h 05 min"),
        (90_000, "25 h 00 min"),
    ],
)
def test_durations(seconds: float, text: str) -> None:
    assert duration(seconds) == text
