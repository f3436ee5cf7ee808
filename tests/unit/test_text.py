"""Words for people."""

from __future__ import annotations

import pytest

from pacs2bids.text import listed


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
