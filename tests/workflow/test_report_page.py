"""The report of a phantom study in a real browser: no error, nothing asked for, every picture drawn."""

from __future__ import annotations

import base64
import shutil
import time
from io import BytesIO
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from playwright.sync_api import Locator, Page, expect

from pacs2bids.__main__ import main
from pacs2bids.files import write_tsv
from pacs2bids.phantom.head import field_hz, head_of
from pacs2bids.plan_table import read_plan
from pacs2bids.report.evidence import Outline, outline, session_evidence
from pacs2bids.report.facts import session_view
from pacs2bids.report.page import render_dataset
from pacs2bids.report.pictures import Solid, drawing_of
from pacs2bids.report.view import Acquired, Value
from pacs2bids.report.viewer import installed, volume_script
from pacs2bids.report.whole import Page as DatasetPage
from pacs2bids.report.whole import page_of
from peers.available import unavailable
from peers.browser import PATIENCE_MS, Tab
from summaries import summary

HEURISTIC = Path(__file__).parents[2] / "heuristics/demo.py"


@pytest.fixture(scope="module")
def report(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The report of a small phantom study that went through every stage but the validator."""
    folder = tmp_path_factory.mktemp("report")
    work, session = folder / "work", folder / "work/sessions/sub-01_ses-a"
    assert main(["phantom", str(folder / "dicom"), "--small", "--subjects", "1", "--sessions", "1"]) == 0
    (source,) = (folder / "dicom").iterdir()
    uid = _study_uid(source)
    study = work / "studies" / uid
    shutil.copytree(source, study / "dicom/all")
    for verb in ("index", "reconstruct"):
        assert main([verb, str(study)]) == 0
    names = ["--heuristic", str(HEURISTIC), "--subject", "01", "--session", "a"]
    assert main(["plan", *names, "--out", str(session), str(study)]) == 0
    bids = ["--bids", str(folder / "bids")]
    assert main(["place", "--session-dir", str(session), "--studies-dir", str(study.parent), *bids]) == 0
    row = {"study_instance_uid": uid, "subject": "01", "session": "a", "source": "disk"}
    write_tsv(work / "studies.tsv", list(row), [row])
    page = folder / "report.html"
    assert main(["report", "--workdir", str(work), *bids, "--out", str(page)]) == 0
    return page


def _study_uid(folder: Path) -> str:
    from pydicom import dcmread  # noqa: PLC0415 - the fixture's only use of it

    return str(dcmread(next(folder.glob("*.dcm")), stop_before_pixels=True).StudyInstanceUID)


@pytest.fixture
def pages(report: Path) -> list[Path]:
    """All pages of the report, the dataset's first."""
    return [report, *sorted(report.with_name("report_files").glob("*.html"))]


def images(page: Page) -> list[str]:
    """Addresses of the images that are drawn; any that is not is an error."""
    drawn = "one => one.decode().then(() => [one.src, one.naturalWidth])"
    told = page.evaluate(f"Promise.all([...document.images].map({drawn}))")
    assert all(width > 0 for _, width in told)
    return [address for address, _ in told]


def test_complaints_are_heard(tab: Tab, tmp_path: Path) -> None:
    page = tmp_path / "bad.html"
    page.write_text("<!doctype html><script>nothing.at.all()</script><img src=none.jpg>")
    tab.page.goto(page.as_uri())
    assert len(tab.complaints) == 2


def test_nothing_is_complained_of_and_nothing_outside_asked_for(tab: Tab, pages: list[Path]) -> None:
    drawn = 0
    for path in pages:
        tab.page.goto(path.as_uri())
        drawn += len(images(tab.page))
    assert tab.complaints == []
    assert tab.requests == [path.as_uri() for path in pages]
    assert drawn >= 11


def test_links_lead_somewhere(tab: Tab, pages: list[Path]) -> None:
    led = set()
    for path in pages:
        tab.page.goto(path.as_uri())
        for link in tab.page.evaluate("[...document.links].map(link => link.href)"):
            address, _, part = link.partition("#")
            assert Path(address.removeprefix("file://")).is_file(), link
            if part:
                assert address == path.as_uri()
                assert tab.page.locator(f"#{part}").count() == 1, link
            led.add(Path(address).name)
    assert led == {path.name for path in pages} | {"drift.tsv"}
    tab.page.goto(pages[0].as_uri())
    tab.page.click("table.matrix a")
    tab.page.click("header a")
    assert tab.page.url == pages[0].as_uri()


def test_a_telephone_is_wide_enough(tab: Tab, pages: list[Path]) -> None:
    tab.page.set_viewport_size({"width": 360, "height": 740})
    for path in pages:
        tab.page.goto(path.as_uri())
        assert tab.page.evaluate("document.documentElement.scrollWidth") == 360
        pressed = tab.page.evaluate(PRESSED)
        assert len(pressed) > 8
        assert [words for words, is_hit in pressed if not is_hit] == []


# what can be pressed, brought to the middle as a finger would: whether it is what a press meets there
PRESSED = """[...document.querySelectorAll("a, button, summary, input")]
  .filter(one => one.checkVisibility())
  .map(one => {
    one.scrollIntoView({ block: "center", inline: "center", behavior: "instant" });
    const { x, y, width, height } = one.getClientRects()[0];
    const met = document.elementFromPoint(x + width / 2, y + height / 2);
    return [one.textContent.trim().slice(0, 40), one.contains(met)];
  })"""


@pytest.mark.parametrize(("scheme", "lowest", "highest"), [("light", 200, 255), ("dark", 0, 60)])
def test_dark_mode_is_dark(tab: Tab, pages: list[Path], scheme: str, lowest: int, highest: int) -> None:
    tab.page.emulate_media(color_scheme=scheme)  # type: ignore[arg-type]
    for path in pages:
        tab.page.goto(path.as_uri())
        shot = Image.open(BytesIO(tab.page.screenshot())).convert("L")
        assert lowest <= np.asarray(shot)[890, 5] <= highest


def test_words_stand_out_from_what_is_behind_them(tab: Tab, pages: list[Path]) -> None:
    """WCAG 2.1, 1.4.3: contrast of text at least 4.5 to 1."""
    for scheme in ("light", "dark"):
        tab.page.emulate_media(color_scheme=scheme)  # type: ignore[arg-type]
        for path in pages:
            tab.page.goto(path.as_uri())
            for words, ink, paper in tab.page.evaluate(COLOURS):
                assert contrast(ink, paper) >= 4.5, (scheme, words, ink, paper)


# of every element with words of its own: the colour of them, and of the nearest opaque thing behind
COLOURS = """[...document.querySelectorAll("body *")]
  .filter(one => one.closest("svg, script, button:disabled, .none") === null
    && [...one.childNodes].some(node => node.nodeType === 3 && node.textContent.trim()))
  .map(one => {
    let behind = one;
    const paper = () => getComputedStyle(behind).backgroundColor;
    while (paper() === "rgba(0, 0, 0, 0)" && behind.parentElement) behind = behind.parentElement;
    const numbers = colour => colour.match(/[0-9.]+/g).slice(0, 3).map(Number);
    return [one.textContent.trim().slice(0, 40), numbers(getComputedStyle(one).color), numbers(paper())];
  })"""


def contrast(ink: list[float], paper: list[float]) -> float:
    """Of two sRGB colours, by WCAG 2.1 ("contrast ratio", "relative luminance")."""

    def luminance(colour: list[float]) -> float:
        shares = [part / 255 for part in colour]
        linear = [one / 12.92 if one <= 0.03928 else ((one + 0.055) / 1.055) ** 2.4 for one in shares]
        return float(np.dot([0.2126, 0.7152, 0.0722], linear))

    dark, light = sorted((luminance(ink), luminance(paper)))
    return (light + 0.05) / (dark + 0.05)


def test_left_is_where_the_page_says(tab: Tab, pages: list[Path]) -> None:
    """The phantom has a bright capsule at its right temple: seen from above, on the side marked R."""
    tab.page.goto(pages[1].as_uri())
    assert "the patient’s left is on the left (L)" in tab.page.inner_text("body")
    source = tab.page.locator('img[alt^="axial, axial, axial"]').first.get_attribute("src") or ""
    picture = np.asarray(Image.open(BytesIO(base64.b64decode(source.partition(",")[2]))).convert("L"), float)
    temple = picture[:170, 416:]  # of the three slices the highest, without the letters
    middle = round(float(np.nonzero(temple > 60)[1].mean()))
    reach = min(middle, temple.shape[1] - middle)
    left, right = temple[:, middle - reach : middle][:, ::-1], temple[:, middle : middle + reach]
    assert ((right > 150) & (left < 30)).sum() > 20
    assert ((left > 150) & (right < 30)).sum() == 0


def test_a_phase_difference_is_told_as_a_field_in_hertz(tab: Tab, report: Path, pages: list[Path]) -> None:
    """The phantom's field is known everywhere; from voxel to voxel a picture of 12 bits rounds it."""
    (known,) = outline(report.parent / "work", report.parent / "bids", read_plan=read_plan).sessions
    session = session_evidence(report.parent / "work", known, read_plan=read_plan)
    (phase,) = (
        one
        for one in session_view(session, report.parent / "bids").volumes()
        if one.path.name.endswith("_phasediff.nii.gz")
    )
    solid = drawing_of(phase).solid
    assert solid is not None
    places = np.moveaxis(np.indices(solid.voxels.shape), 0, -1) @ solid.affine_ras[:3, :3].T
    places_lps = (places + solid.affine_ras[:3, 3]) * [-1, -1, 1]
    true_hz = field_hz(places_lps, head=head_of(1, 1))
    assert np.ptp(true_hz) > 50
    assert np.abs(solid.voxels - true_hz).max() < 1
    tab.page.goto(pages[1].as_uri())
    assert tab.page.locator(".scale").inner_text().endswith(" Hz")


def test_viewer_opens_on_a_click_and_left_is_on_the_left(tab: Tab, report: Path, tmp_path: Path) -> None:
    """In a copy of the report whose first volume is a dim cube, bright at its right, in front."""
    if not installed():
        unavailable("ipyniivue, which ships the viewer, is not installed")
    shutil.copytree(report.parent, tmp_path / "copy", ignore=shutil.ignore_patterns("work", "bids", "dicom"))
    page = tmp_path / "copy/report_files" / "sub-01_ses-a.html"
    voxels = np.full((40, 40, 40), 300, np.float32)
    voxels[[0, -1]] = voxels[:, [0, -1]] = voxels[:, :, [0, -1]] = 0
    voxels[28:36, 28:36] = 1000
    solid = Solid(voxels=voxels, affine_ras=np.diag([2.0, 2.0, 2.0, 1.0]))
    page.with_name("sub-01_ses-a_volumes").joinpath("000.js").write_text(volume_script(solid, "000"))
    tab.page.goto(page.as_uri())
    assert len(tab.requests) == 1
    tab.page.locator("button[data-volume]").first.click()
    tab.page.wait_for_selector('dialog[data-shown="000"]')
    shot = drawn(tab.page.locator(".stage"))
    is_grey = np.ptp(shot, axis=2) < 8  # not the cross
    seen = is_grey & (shot.mean(axis=2) > 40)
    assert seen.mean() > 0.1
    columns = np.flatnonzero(seen.sum(axis=0) > 60)
    axial = columns[: np.flatnonzero(np.diff(columns, append=10_000) > 12)[0] + 1]  # the first of the planes
    bright = is_grey & (shot.mean(axis=2) > 200)
    rows = np.flatnonzero(seen[:, axial].sum(axis=1) > 60)
    down, across = (numbers.mean() for numbers in np.nonzero(bright[:, axial[0] : axial[-1]]))
    assert across > 0.6 * len(axial)
    assert down < rows.mean()
    inside = page.parent.as_uri()
    assert all(address.startswith(inside) for address in tab.requests)
    assert tab.complaints == []
    tab.page.keyboard.press("Escape")
    expect(tab.page.locator("dialog")).to_be_hidden()


def drawn(stage: Locator) -> np.ndarray:
    """What is seen there once a volume is: the widget reads it after the page has handed it over."""
    deadline = time.monotonic() + PATIENCE_MS / 1000
    before = None
    while True:
        shot = np.asarray(Image.open(BytesIO(stage.screenshot())).convert("RGB")).astype(int)
        if before is not None and (shot.mean(axis=2) > 40).mean() > 0.1 and np.array_equal(shot, before):
            return shot
        assert time.monotonic() < deadline, "nothing is drawn, or never the same"
        before = shot


def test_tables_are_paged_searched_and_filtered(tab: Tab, tmp_path: Path) -> None:
    """Hundreds of sessions of sixty names: fifty at a time, in a page of a few MB."""
    page = tmp_path / "report.html"
    page.write_text(render_dataset(large_page(), files="report_files", drift_table="drift.tsv"))
    assert page.stat().st_size < 1_500_000
    tab.page.goto(page.as_uri())
    matrix = tab.page.locator("#matrix")
    assert matrix.locator("tbody:not([hidden])").count() == 50
    assert matrix.locator(".where").inner_text() == "1–50 of 200"
    matrix.get_by_label("Later").click()
    assert matrix.locator("tbody:not([hidden]) th").first.inner_text() == "sub-0050"
    matrix.get_by_label("only those with gaps").check()
    assert matrix.locator("tbody:not([hidden]) th").all_inner_texts() == ["sub-0007"]
    matrix.locator("td.missing").click()
    assert matrix.locator(".told").inner_text() == "sub-0007, func/task-3_bold: missing"
    matrix.get_by_label("only those with gaps").uncheck()
    matrix.get_by_label("Search sessions").fill("0199")
    assert matrix.locator("tbody:not([hidden])").count() == 1
    assert tab.complaints == []
    tab.page.set_viewport_size({"width": 360, "height": 740})
    assert tab.page.evaluate("document.documentElement.scrollWidth") == 360
    matrix.get_by_label("Search sessions").fill("")
    assert_a_shadow_tells_that_a_table_goes_on(matrix.locator(".scroll"))


def assert_a_shadow_tells_that_a_table_goes_on(scroll: Locator) -> None:
    """Sixty columns on a telephone: the right edge is dark until the last of them is there."""

    def brightness(share: float) -> float:
        """Of the right edge when so much of the table is scrolled away; most of it are cells."""
        scroll.evaluate("(one, share) => one.scrollLeft = share * (one.scrollWidth - one.clientWidth)", share)
        shot = np.asarray(Image.open(BytesIO(scroll.screenshot())).convert("L")).astype(float)
        return float(np.median(shot[shot.shape[0] // 2 : -20, -4]))

    assert brightness(0) < brightness(1) - 20


def large_page() -> DatasetPage:
    """Session 7 lacks one of sixty names."""
    values: dict[str, Value] = {"TR": 2000.0, "Volumes": 3}
    acquired = [
        Acquired(name=f"task-{key}", key=f"func/task-{key}_bold", state="placed", values=values)
        for key in range(60)
    ]
    summaries = [
        summary(f"{number:04}", [one for one in acquired if number != 7 or one.name != "task-3"], "")
        for number in range(200)
    ]
    known = Outline(
        description={"Name": "Large"},
        workdir=Path("work"),
        bids=Path("bids"),
        sessions=(),
        check=None,
        logs={},
    )
    return page_of(known, summaries)


def test_size(pages: list[Path]) -> None:
    assert all(path.stat().st_size < 1_000_000 for path in pages)


def test_a_volume_without_a_name_is_told_by_its_series(tab: Tab, pages: list[Path]) -> None:
    tab.page.goto(pages[1].as_uri())
    titles = tab.page.evaluate("[...document.querySelectorAll('[data-name]')].map(one => one.dataset.name)")
    assert "1 localizer" in titles
    assert any(title.endswith("_T1w") for title in titles)


def test_names_break_between_their_parts_on_a_telephone(tab: Tab, pages: list[Path]) -> None:
    tab.page.set_viewport_size({"width": 360, "height": 740})
    tab.page.goto(pages[0].as_uri())
    # the height of one piece of a name is that of one line: none is broken within
    tall = """[...document.querySelectorAll('.drift tbody th[scope=row]')]
      .flatMap(cell => [...cell.childNodes]
      .filter(one => one.nodeType === 3 && one.data.trim()).filter(one => {
        const range = document.createRange(); range.selectNodeContents(one);
        return range.getClientRects().length > 1 && !one.data.includes("-");
      }).map(one => one.data))"""
    assert tab.page.locator(".drift wbr").count() > 0
    assert tab.page.evaluate(tall) == []
