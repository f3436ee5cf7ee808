"""Fixtures shared by all tests: the corpus, and the order in which tests run (cheap ones first)."""

from __future__ import annotations

import fcntl
import os
import shutil
import subprocess
import tempfile
from collections.abc import Callable
from pathlib import Path

import pytest
from hypothesis import HealthCheck, settings

from peers.available import unavailable

# failed assertions in helpers tell their values, too
pytest.register_assert_rewrite("truth")

pytest_plugins = [
    "peers.orthanc",
    "peers.line",
    "peers.certificates",
    "peers.foreign",
    "peers.browser",
    "peers.slurm",
]

# machines differ and are shared: how long an example takes, or is drawn, is no property of what is tested
settings.register_profile(
    "steady",
    deadline=None,
    derandomize=bool(os.environ.get("CI")),
    suppress_health_check=[HealthCheck.too_slow],
)
settings.load_profile("steady")

ROOT = Path(__file__).resolve().parent.parent
SHARED = ROOT.parent / "shared"

# folders of tests in the order in which they run
ORDER = ("unit", "property", "phantom", "pacs", "real", "workflow", "readme")


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    def rank(item: pytest.Item) -> int:
        parts = item.path.relative_to(ROOT / "tests").parts
        return ORDER.index(parts[0]) if parts[0] in ORDER else len(ORDER)

    items.sort(key=rank)


@pytest.fixture(scope="session")
def corpus() -> Callable[[str], Path]:
    """``corpus("nih")``: the folder of that unpacked set of real scanner data."""
    pack = SHARED / "corpus"
    # one copy for all workers and runs of this machine; ``unpack`` leaves complete sets alone
    default = Path(tempfile.gettempdir()) / f"pacs2bids-corpus-{os.getuid()}"
    target = Path(os.environ.get("PACS2BIDS_TEST_CORPUS", default))

    def unpacked(name: str) -> Path:
        full = name if name == "dcm_qa" else f"dcm_qa_{name}"
        if not (pack / "unpack").exists():
            unavailable("the corpus of real scanner data is not beside this checkout")
        if shutil.which("zstd") is None:
            unavailable("the zstd command is not installed")
        target.mkdir(parents=True, exist_ok=True)
        with (target / ".lock").open("w") as lock:
            fcntl.flock(lock, fcntl.LOCK_EX)
            subprocess.run([pack / "unpack", target, full], check=True, stdout=subprocess.DEVNULL)
        return target / full

    return unpacked


@pytest.fixture(scope="session")
def compare() -> Path:
    """The program that compares two trees of NIfTI files in world space."""
    program = SHARED / "tools" / "compare.py"
    if not program.exists():
        unavailable("the comparison tool is not beside this checkout")
    return program


@pytest.fixture(scope="session")
def chromium() -> str:
    """Path of a Chromium."""
    program = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
    if program is None:
        unavailable("chromium is not installed (apt-get install --no-install-recommends chromium)")
    return str(program)
