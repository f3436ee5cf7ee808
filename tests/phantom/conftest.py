"""The phantom on disk, written once for all tests and all workers of a run."""

from __future__ import annotations

import fcntl
import os
from pathlib import Path

import pytest

from pacs2bids.phantom.protocol import studies
from pacs2bids.phantom.write import write


@pytest.fixture(scope="session")
def phantom_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The full set; ``studies()[n]`` of ``pacs2bids.phantom.protocol`` is in ``study<n + 1>``."""
    return _once(tmp_path_factory, "phantom", small=False)


@pytest.fixture(scope="session")
def small_phantom_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The same with coarse voxels: ``studies(small=True)``."""
    return _once(tmp_path_factory, "small-phantom", small=True)


def _once(factory: pytest.TempPathFactory, name: str, *, small: bool) -> Path:
    shared = factory.getbasetemp()
    if os.environ.get("PYTEST_XDIST_WORKER"):
        shared = shared.parent  # the workers of one run share it
    folder, done = shared / name, shared / f"{name}.done"
    with (shared / f"{name}.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if not done.exists():
            write(studies(small=small), folder)
            done.touch()
    return folder
