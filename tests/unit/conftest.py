"""What holds for all unit tests."""

from __future__ import annotations

import os

import pytest


@pytest.fixture(autouse=True)
def no_power_cut(monkeypatch: pytest.MonkeyPatch) -> None:
    """For speed: what a killed process has written stays with the kernel, flushed to the disk or not.

    Of the tests that place a session and die at each step, half of the time went into fsync.
    """
    monkeypatch.setattr(os, "fsync", lambda _: None)
