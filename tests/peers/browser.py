"""A real Chromium, driven: what a page shows, what it says on its console, what it asks the network for."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass, field

import pytest
from playwright.sync_api import Browser, ConsoleMessage, Page, Request, expect, sync_playwright

from peers.available import unavailable

PATIENCE_MS = 60_000  # the machine may be busy; what is quick is measured elsewhere
# as root there is no sandbox of its own; without a graphics card WebGL is drawn by the processor
OPTIONS = ("--no-sandbox", "--use-gl=angle", "--use-angle=swiftshader", "--enable-unsafe-swiftshader")


@dataclass(frozen=True, slots=True, kw_only=True)
class Tab:
    """``page``, with what it has said and asked for until now. ``complaints``: errors and warnings."""

    page: Page
    complaints: list[str] = field(default_factory=list)
    requests: list[str] = field(default_factory=list)

    def listen(self) -> None:
        """Begin to note them. No bound methods: playwright sets attributes on what they are bound to."""

        def said(message: ConsoleMessage) -> None:
            if message.type in ("error", "warning"):
                self.complaints.append(f"{message.type}: {message.text}")

        def asked(request: Request) -> None:
            if not request.url.startswith(("data:", "blob:")):
                self.requests.append(request.url)

        self.page.on("console", said)
        self.page.on("pageerror", lambda error: self.complaints.append(str(error)))
        self.page.on("request", asked)


@pytest.fixture(scope="session")
def browser(chromium: str) -> Iterator[Browser]:
    """The system's Chromium, started once."""
    _driver_must_run()
    expect.set_options(timeout=PATIENCE_MS)
    with sync_playwright() as playwright:
        started = playwright.chromium.launch(executable_path=chromium, args=list(OPTIONS))
        yield started
        started.close()


@pytest.fixture
def tab(browser: Browser) -> Iterator[Tab]:
    """A fresh page of 1280 x 900 pixels; ``tab.page.set_viewport_size`` for another, as of a telephone."""
    with browser.new_context(viewport={"width": 1280, "height": 900}, accept_downloads=True) as context:
        context.set_default_timeout(PATIENCE_MS)
        opened = Tab(page=context.new_page())
        opened.listen()
        yield opened


def _driver_must_run() -> None:
    """It is a Node of its own, and says nothing through playwright's interface if it finds no libatomic."""
    asked = subprocess.run(
        [sys.executable, "-m", "playwright", "--version"], check=False, capture_output=True, text=True
    )
    if asked.returncode:
        unavailable(f"playwright cannot run (apt-get install libatomic1?): {asked.stderr.strip()}")
