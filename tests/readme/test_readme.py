"""README's two commands, as a new user runs them: in a fresh clone, with an empty home."""

from __future__ import annotations

import os
import subprocess
import time
from pathlib import Path

import pytest

from pacs2bids.files import read_record
from pacs2bids.model import CheckResult

ROOT = Path(__file__).resolve().parents[2]
SYSTEM_PATH = "/usr/local/bin:/usr/bin:/bin"
DEMO_SECONDS = 180  # on 2 cores, after installation

# what a machine needs to reach a package registry; everything else of our environment stays behind
NETWORK = ("SSL_CERT_FILE", "SSL_CERT_DIR", "PIP_CERT", "REQUESTS_CA_BUNDLE", "PIP_INDEX_URL", "UV_INDEX_URL")
NETWORK += ("UV_DEFAULT_INDEX", "PIP_FIND_LINKS", "http_proxy", "https_proxy", "HTTP_PROXY", "HTTPS_PROXY")


def commands() -> list[str]:
    """The commands under "Try it"."""
    section = (ROOT / "README.md").read_text().split("## Try it")[1].split("##")[0]
    return [line.strip() for line in section.splitlines() if line.startswith("    make")]


def test_readme_names_two_commands() -> None:
    assert commands() == ["make demo", "make test"]


@pytest.fixture(scope="module")
def clone(tmp_path_factory: pytest.TempPathFactory) -> Path:
    if os.environ.get("CI") != "true":
        pytest.skip("clones and installs anew, some minutes: with CI=true only")
    folder = tmp_path_factory.mktemp("readme") / "pacs2bids"
    subprocess.run(["git", "clone", "--quiet", ROOT, folder], check=True)
    return folder


@pytest.fixture(scope="module")
def environment(tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    kept = {name: os.environ[name] for name in NETWORK if name in os.environ}
    caches = {f"{tool}_CACHE_DIR": str(ROOT / f".tooling/{tool.lower()}-cache") for tool in ("UV", "PIP")}
    return kept | caches | {"PATH": SYSTEM_PATH, "HOME": str(tmp_path_factory.mktemp("home"))}


def make(clone: Path, environment: dict[str, str], *words: str) -> str:
    result = subprocess.run(
        ["make", *words],
        cwd=clone,
        env=environment,
        text=True,
        capture_output=True,
        check=False,
        timeout=1800,
    )
    assert result.returncode == 0, result.stdout + result.stderr
    return result.stdout


def test_demo_in_a_fresh_clone(clone: Path, environment: dict[str, str]) -> None:
    make(clone, environment)
    start = time.monotonic()
    said = make(clone, environment, "demo")
    seconds = time.monotonic() - start
    assert "demo/report.html" in said
    assert (clone / "demo/report.html").stat().st_size > 0
    assert read_record(clone / "demo/work/check.json", CheckResult).ok
    assert len(list((clone / "demo/bids").glob("sub-*/ses-*"))) == 4
    status = subprocess.run(
        ["git", "status", "--porcelain"], cwd=clone, text=True, capture_output=True, check=True
    )
    assert status.stdout == ""
    assert not list(Path(environment["HOME"]).iterdir())
    assert seconds < DEMO_SECONDS


def test_demo_again_does_nothing_twice(clone: Path, environment: dict[str, str]) -> None:
    manifests = list((clone / "demo/work/studies").glob("*/volumes/manifest.json"))
    before = [path.stat().st_mtime_ns for path in manifests]
    make(clone, environment, "demo")
    assert len(before) == 4
    assert [path.stat().st_mtime_ns for path in manifests] == before


def test_tests_run_in_a_fresh_clone(clone: Path, environment: dict[str, str]) -> None:
    """Some of them: all of them is what CI does with this very command."""
    said = make(clone, environment, "test", "TESTS=tests/unit/test_config.py")
    assert " passed" in said.splitlines()[-1]
