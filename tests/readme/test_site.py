"""`make site`: docs/ as a static site in a browser: whole, searchable, asking nobody else for anything."""

from __future__ import annotations

import re
import subprocess
import sys
import time
from collections.abc import Iterator
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from importlib.util import find_spec
from pathlib import Path
from threading import Thread
from typing import Any

import pytest
import yaml
from pages import MARKDOWN, PAGES, ROOT, name_of

from peers.available import unavailable
from peers.browser import PATIENCE_MS, Tab

STRUCTURE = re.compile(r"</?(?:ul|ol|li|table|tr|td|th|pre|h[1-6]|strong|em|blockquote)\b")
PHONE = 390  # pixels
DOCS = [page for page in PAGES if page.parent.name == "docs"]


class Quiet(SimpleHTTPRequestHandler):
    """Serves without a line on the terminal for each file."""

    def log_message(self, *_: Any) -> None:
        pass


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Path:
    if find_spec("mkdocs") is None:
        unavailable("MkDocs is not installed: the extra 'docs'")
    folder = tmp_path_factory.mktemp("site") / "built"
    command = [sys.executable, "-m", "mkdocs", "build", "--strict", "--site-dir", folder]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False, timeout=300)
    assert done.returncode == 0, done.stderr
    return folder


@pytest.fixture(scope="module")
def address(site: Path) -> Iterator[str]:
    handler = partial(Quiet, directory=str(site))
    with ThreadingHTTPServer(("127.0.0.1", 0), handler) as server:
        thread = Thread(target=server.serve_forever, args=(0.05,))
        thread.start()
        yield f"http://127.0.0.1:{server.server_port}"
        server.shutdown()
        thread.join()


def test_every_page_stands_in_the_navigation() -> None:
    """MkDocs itself warns of pages that do not; this one needs no MkDocs."""
    nav = re.findall(r"[\w/]+\.md", yaml.dump(yaml.safe_load((ROOT / "mkdocs.yml").read_text())["nav"]))
    assert sorted(nav) == sorted(page.name for page in DOCS)


def test_pages_are_the_same_there_and_where_the_code_is() -> None:
    """MkDocs reads Markdown by older rules than code hosts: lists and tables may come out otherwise."""
    if find_spec("markdown") is None:
        unavailable("Python-Markdown is not installed: the extra 'docs'")
    import markdown  # noqa: PLC0415 - of an extra

    differ = []
    for page in DOCS:
        text = page.read_text(encoding="utf-8")
        there = markdown.markdown(text, extensions=["toc", "tables", "fenced_code"])
        if STRUCTURE.findall(MARKDOWN.render(text)) != STRUCTURE.findall(there):
            differ.append(name_of(page))
    assert differ == []


def test_pages_ask_nothing_from_outside_and_fit_a_telephone(address: str, tab: Tab) -> None:
    tab.page.set_viewport_size({"width": PHONE, "height": 844})
    widths = {}
    for page in DOCS:
        tab.page.goto(f"{address}/{page.stem}.html")
        assert tab.page.locator("h1").first.is_visible()
        widths[page.stem] = tab.page.evaluate("document.documentElement.scrollWidth")
    assert {page for page, width in widths.items() if width > PHONE} == set()
    assert [url for url in tab.requests if not url.startswith(f"{address}/")] == []
    assert len(tab.requests) > len(DOCS)
    assert tab.complaints == []


@pytest.mark.parametrize("is_served", [True, False], ids=["served", "on a disk"])
def test_search_finds_a_key(site: Path, address: str, tab: Tab, *, is_served: bool) -> None:
    tab.page.goto(f"{address if is_served else site.as_uri()}/report.html")
    tab.page.keyboard.press("s")
    query = tab.page.locator("#mkdocs-search-query")
    query.press_sequentially("fieldmap_shims")
    results = tab.page.locator("#mkdocs-search-results article")
    deadline = time.monotonic() + PATIENCE_MS / 1000
    while not results.count():
        assert time.monotonic() < deadline, "nothing is found"
        query.press("End")  # it listens to keys, and only when it has read its index
        tab.page.wait_for_timeout(50)
    found = results.locator("a[href$='config.html']")
    assert found.count() == 1
    found.evaluate("link => link.click()")
    tab.page.wait_for_url("**/config.html")
    assert tab.page.locator("h1").first.inner_text() == "config.yaml"
    assert tab.complaints == []


def test_the_brand_leads_to_the_first_page_and_not_to_its_folder(site: Path, tab: Tab) -> None:
    for page in DOCS:
        tab.page.goto((site / f"{page.stem}.html").as_uri())
        brand = tab.page.locator("a.navbar-brand").evaluate("link => link.href")
        assert brand == (site / "index.html").as_uri()
