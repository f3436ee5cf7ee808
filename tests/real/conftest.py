"""The corpus converted, once a session: by ``pacs2bids convert`` and by dcm2niix; all tests share it."""

from __future__ import annotations

import fcntl
import functools
import os
from pathlib import Path

import pytest
from agreement import Conversion, Conversions, Corpus, converted


@pytest.fixture(scope="session")
def conversion(corpus: Corpus, compare: Path, tmp_path_factory: pytest.TempPathFactory) -> Conversions:
    """``conversion("ge")``: that set of ``agreement.SETS``, both volumes of it and their comparison."""
    top = tmp_path_factory.getbasetemp()
    if "PYTEST_XDIST_WORKER" in os.environ:
        top = top.parent  # of all workers
    top = top / "conversions"
    top.mkdir(exist_ok=True)

    @functools.cache
    def run(name: str) -> Conversion:
        place = top / name.replace("/", "_")
        with place.with_suffix(".lock").open("w") as lock:
            fcntl.flock(lock, fcntl.LOCK_EX)
            return converted(corpus, name, place, compare=compare)

    return run
