"""What a test does when something that it needs is not on this machine."""

from __future__ import annotations

import os
from typing import NoReturn

import pytest

IN_CI = os.environ.get("CI", "").lower() == "true"


def unavailable(reason: str) -> NoReturn:
    """Skip on a user's machine; fail in CI, where everything must be there."""
    if IN_CI:
        pytest.fail(f"needed in CI: {reason}")
    pytest.skip(reason)


# on two cores the rest takes less than ten minutes
thorough = pytest.mark.skipif(not IN_CI, reason="runs the workflow again and again: with CI=true only")
