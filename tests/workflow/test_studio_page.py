"""The live page in a real browser, on a finished run: from an edit to the names in the dataset."""

from __future__ import annotations

import re
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from playwright.sync_api import Locator, Page, expect

from pacs2bids.studio.document import digest_of
from peers.browser import Tab
from peers.line import ENVIRONMENT, Line

T1W = "{PREFIX}_run-{{item}}_T1w"
RENAMED = "{PREFIX}_acq-mprage_run-{{item}}_T1w"


@pytest.fixture(scope="module")
def line(finished: Line, tmp_path_factory: pytest.TempPathFactory) -> Line:
    return finished.copied(tmp_path_factory.mktemp("studio") / "line")


@pytest.fixture(scope="module")
def url(line: Line) -> Iterator[str]:
    """Of a studio that runs in the folder of the line."""
    command = [sys.executable, "-m", "pacs2bids", "studio", "--no-open"]
    process = subprocess.Popen(
        command, cwd=line.folder, env=ENVIRONMENT, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    )
    assert process.stdout is not None
    yield process.stdout.readline().strip()
    process.send_signal(signal.SIGINT)
    said, errors = process.communicate(timeout=120)
    assert (process.returncode, said.splitlines()[-1], errors) == (0, "studio: ended", "")


@pytest.fixture
def page(tab: Tab, url: str, line: Line) -> Iterator[Page]:
    """The page with the first plan; in the end there is nothing that it complained of or asked of others."""
    before = line.heuristic.read_text()
    tab.page.goto(url)
    expect(area(tab.page)).to_have_value(before)
    planned(tab.page, before)
    yield tab.page
    assert tab.complaints == []
    assert all(asked.startswith(url) for asked in tab.requests)
    line.heuristic.write_text(before)


def area(page: Page) -> Locator:
    return page.get_by_label("Heuristic").locator("textarea")


def type_whole(page: Page, text: str) -> None:
    area(page).fill(text)


def planned(page: Page, text: str) -> None:
    """Wait for the plan of this text."""
    expect(page.locator(f'#plan[data-digest="{digest_of(text)}"]:not(.old) tr').first).to_be_visible()


def renamed(page: Page) -> None:
    """Wait until every T1w is marked, with its old name."""
    marked = page.locator("tr.renamed")
    expect(marked).to_have_count(3)
    expect(marked.first.locator(".file")).to_have_text(re.compile("^anat/.*_acq-mprage_run-1_T1w$"))
    expect(marked.first.locator("s")).to_have_text(re.compile("^anat/.*_run-1_T1w$"))
    expect(page.locator("#counts")).to_have_text("3 renamed")


def test_edits_of_the_page_and_of_another_program(page: Page, line: Line) -> None:
    before = line.heuristic.read_text()
    edited = before.replace(T1W, RENAMED)
    type_whole(page, edited)
    planned(page, edited)
    renamed(page)
    expect(page.locator("#dirty")).to_be_visible()
    assert line.heuristic.read_text() == before
    page.keyboard.press("Control+s")
    expect(page.locator("#dirty")).to_be_hidden()
    assert line.heuristic.read_text() == edited
    line.heuristic.write_text(before)  # as another editor does
    planned(page, before)
    assert area(page).input_value() == before  # the plan of a text comes after the text
    expect(page.locator("tr.renamed")).to_have_count(0)


def test_two_who_edit_are_asked(page: Page, line: Line) -> None:
    before = line.heuristic.read_text()
    mine, theirs = before.replace(T1W, RENAMED), f"# of another program\n{before}"
    type_whole(page, mine)
    line.heuristic.write_text(theirs)
    expect(page.locator("#conflict")).to_be_visible()
    page.keyboard.press("Control+s")
    assert line.heuristic.read_text() == theirs
    page.get_by_role("button", name="Compare").click()
    expect(page.locator(".difference .minus").first).to_have_text("-# of another program")
    page.locator("#dialog-close").click()
    page.get_by_role("button", name="Keep mine").click()
    page.keyboard.press("Control+s")
    expect(page.locator("#dirty")).to_be_hidden()
    assert line.heuristic.read_text() == mine


def test_nothing_of_two_tabs_is_lost(page: Page, url: str, line: Line) -> None:
    before = line.heuristic.read_text()
    mine, theirs = f"{before}# mine\n", f"{before}# theirs\n"
    other = page.context.new_page()
    other.goto(url)
    planned(other, before)
    type_whole(page, mine)
    expect(other.locator("#work")).to_contain_text("draft of another tab")
    assert area(other).input_value() == before
    type_whole(other, theirs)
    other.keyboard.press("Control+s")
    expect(page.locator("#conflict")).to_be_visible()
    expect(area(page)).to_have_value(mine)
    page.get_by_role("button", name="Take theirs").click()
    expect(area(page)).to_have_value(theirs)
    expect(page.locator("#dirty")).to_be_hidden()
    area(page).focus()
    page.keyboard.press("Control+z")
    expect(area(page)).to_have_value(mine)
    other.close()
    expect(page.locator("#work")).to_contain_text("draft planned")
    page.keyboard.press("Control+s")
    expect(page.locator("#dirty")).to_be_hidden()
    assert line.heuristic.read_text() == mine


def test_a_mistake_is_told_on_its_line_until_it_is_mended(page: Page, line: Line) -> None:
    before = line.heuristic.read_text()
    wrong = before.replace('if name == "localizer":', 'if name == "localizer"')
    number = wrong[: wrong.index('if name == "localizer"')].count("\n") + 1
    type_whole(page, wrong)
    expect(page.locator("#plan.old tr").first).to_be_visible()
    expect(page.locator("#error")).to_contain_text(f"line {number}: is no Python")
    expect(page.locator(".gutter .bad")).to_have_text([str(number)])
    expect(page.locator(".paint .bad .said")).to_contain_text("expected ':'")
    expect(page.locator("#marks")).to_contain_text(f"line {number}")
    type_whole(page, before)
    planned(page, before)
    expect(page.locator(".gutter .bad")).to_have_count(0)


def test_a_series_is_looked_at(page: Page) -> None:
    row = page.locator("tr", has_text="T1w_MPRAGE").first
    row.click()
    detail = page.locator("aside")
    expect(detail).to_contain_text("taken by heuristic.py, line")
    expect(detail).to_contain_text("Matrix")
    expect(detail).to_contain_text('protocol_name = "T1w_MPRAGE"')
    picture = detail.locator("img")
    expect(picture).to_be_visible()
    width = "image => image.decode().then(() => image.naturalWidth)"
    page.keyboard.press("Escape")
    page.locator("tr", has_text="dwi_dir-AP").first.click()
    captions = detail.locator("figcaption")
    expect(captions).to_have_text(["b = 0 s/mm²", "b = 2000 s/mm²"])
    assert all(one.evaluate(width) > 100 for one in detail.locator("img").all())
    row.click()
    expect(detail.locator("h2")).to_contain_text("T1w_MPRAGE")
    assert picture.evaluate(width) > 100
    detail.get_by_role("button", name=re.compile("line")).click()
    caret = "area => area.value.slice(0, area.selectionStart).split('\\n').length"
    line_number = area(page).evaluate(caret)
    assert 'name == "T1w_MPRAGE"' in area(page).input_value().splitlines()[line_number - 1]
    row.focus()
    page.keyboard.press("ArrowUp")
    expect(detail.locator("h2")).to_contain_text("localizer")
    expect(detail).to_contain_text("fits, and puts it under no name")
    page.keyboard.press("Escape")
    expect(detail).to_be_hidden()


def test_nothing_is_placed_before_it_is_confirmed(page: Page, line: Line) -> None:
    def t1ws() -> set[Path]:
        return set(line.bids.rglob("*_T1w.nii.gz"))

    before = t1ws()
    edited = line.heuristic.read_text().replace(T1W, RENAMED)
    type_whole(page, edited)
    planned(page, edited)
    renamed(page)
    page.locator("#apply").click()  # saves, too
    change = page.locator("dialog .change")
    expect(change).to_have_count(3)
    expect(change.first.locator("s")).to_have_text(re.compile("_run-1_T1w$"))
    expect(change.first.locator(".file")).to_have_text(re.compile("_acq-mprage_run-1_T1w$"))
    page.get_by_role("button", name="Cancel").click()
    expect(page.locator("#run-pill")).to_be_hidden()
    assert t1ws() == before
    page.locator("#apply").click()
    page.locator("#confirm").click()
    expect(page.locator("#dialog-title")).to_have_text("snakemake: done", timeout=600_000)
    expect(page.locator("dialog .log")).to_contain_text("dataset valid")
    assert len(t1ws()) == len(before)
    assert all("_acq-mprage_" in path.name for path in t1ws())
    page.locator("#dialog-close").click()
    expect(page.locator("tr.renamed")).to_have_count(0)


def test_what_is_clicked_lies_within_a_telephone(page: Page) -> None:
    page.set_viewport_size({"width": 360, "height": 740})
    for name in ("#save", "#apply", "#row-filter"):
        box = page.locator(name).bounding_box()
        assert box is not None
        assert box["x"] >= 0
        assert box["x"] + box["width"] <= 360
        assert box["width"] >= 50
