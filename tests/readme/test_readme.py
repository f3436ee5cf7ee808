"""README's two commands, as a new user runs them: in a fresh clone, with an empty home."""

from __future__ import annotations

import argparse
import os
import re
import resource
import subprocess
import sys
from pathlib import Path

import pytest

from pacs2bids.config import load_config, load_sources
from pacs2bids.files import read_record
from pacs2bids.model import CheckResult
from pacs2bids.pacs.server import DEFAULT_DESTINATIONS
from pacs2bids.peers import PacsPeer
from pacs2bids.studies_table import read_table
from pacs2bids.verbs import serve

ROOT = Path(__file__).resolve().parents[2]
SYSTEM_PATH = "/usr/local/bin:/usr/bin:/bin"
DEMO_SECONDS = 120  # of processors, after installation: on two of them within two minutes, and it took 42

TABLE_AND_DRY_RUN = [r"printf 'StudyInstanceUID\tsubject\n1.2.3\t01\n' > studies.tsv", "snakemake -n"]

# what a machine needs to reach a package registry; everything else of our environment stays behind
NETWORK = ("SSL_CERT_FILE", "SSL_CERT_DIR", "PIP_CERT", "REQUESTS_CA_BUNDLE", "PIP_INDEX_URL", "UV_INDEX_URL")
NETWORK += ("UV_DEFAULT_INDEX", "PIP_FIND_LINKS", "http_proxy", "https_proxy", "HTTP_PROXY", "HTTPS_PROXY")


def commands() -> list[str]:
    """The commands under "Try it"."""
    section = (ROOT / "README.md").read_text().split("## Try it")[1].split("##")[0]
    return [line.strip() for line in section.splitlines() if line.startswith("    make")]


def test_readme_names_two_commands() -> None:
    assert commands() == ["make demo", "make test"]


def blocks(first_word: str) -> list[str]:
    """Fenced blocks of README that begin so."""
    found = re.findall(r"^```\n(.*?)^```$", (ROOT / "README.md").read_text(), re.DOTALL | re.MULTILINE)
    return [block for block in found if block.startswith(first_word)]


def test_the_table_of_studies_can_be_copied(tmp_path: Path) -> None:
    (block,) = blocks("StudyInstanceUID")
    (tmp_path / "studies.tsv").write_text(block)
    assert [(row.subject, row.session) for row in read_table(tmp_path / "studies.tsv")] == [
        ("01", "a"),
        ("02", "a"),
    ]


def test_the_shipped_configuration_and_that_of_readme_fit_serve(tmp_path: Path) -> None:
    parser = argparse.ArgumentParser()
    serve.configure(parser)
    served = parser.parse_args(["folder"])
    (block,) = blocks("sources:")
    (tmp_path / "config.yaml").write_text(block)
    for sources in (
        load_config(ROOT / "config.yaml").sources,
        load_sources(tmp_path / "config.yaml").sources,
    ):
        (source,) = sources.values()
        assert isinstance(source, PacsPeer)
        assert (source.host, source.port, source.ae_title) == (served.host, served.port, served.ae_title)
        assert [(slot.ae_title, slot.port) for slot in source.slots] == [
            (title, destination.port) for title, destination in DEFAULT_DESTINATIONS.items()
        ]


@pytest.mark.parametrize("options", [[], ["--workflow-profile", "slurm"]])
def test_a_folder_of_its_own(tmp_path: Path, options: list[str]) -> None:
    """The commands of step 2, and that the profiles are found from there."""
    text = (ROOT / "README.md").read_text().split("**2.")[1].split("**3.")[0]
    commands = [line.strip() for line in text.splitlines() if line.startswith("    ")]
    assert len(commands) == 2
    lines = "\n".join(["set -e", "shopt -s expand_aliases", *commands, "pwd", *TABLE_AND_DRY_RUN])
    done = subprocess.run(
        ["bash", "-c", f"{lines} {' '.join(options)}"],
        cwd=ROOT,
        env=os.environ
        | {"HOME": str(tmp_path), "PATH": f"{Path(sys.executable).parent}:{os.environ['PATH']}"},
        text=True,
        capture_output=True,
        check=False,
        timeout=120,
    )
    assert done.returncode == 0, done.stderr
    assert done.stdout.startswith(f"{tmp_path}/my-study\n")
    profile = ROOT / "profiles" / (options[-1] if options else "default")
    assert f"profile {profile} for" in done.stderr
    assert re.search(r"^query +1$", done.stdout, re.MULTILINE)


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


def processor_s() -> float:
    """What our processes took that have ended."""
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    return used.ru_utime + used.ru_stime


def test_demo_in_a_fresh_clone(clone: Path, environment: dict[str, str]) -> None:
    make(clone, environment)
    before = processor_s()
    said = make(clone, environment, "demo")
    seconds = processor_s() - before
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
