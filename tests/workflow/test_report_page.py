"""The report of a phantom study in a real browser: no error, nothing asked for, every picture drawn."""

from __future__ import annotations

import html
import json
import re
import shutil
import subprocess
from pathlib import Path

import pytest
from PIL import Image

from pacs2bids.__main__ import main
from pacs2bids.files import write_tsv

HEURISTIC = Path(__file__).parents[2] / "heuristics/demo.py"

OPTIONS = (
    "--headless",
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
    "--hide-scrollbars",
    "--enable-logging=stderr",
)

# measured in the page itself, inside a frame of the width of a telephone
PROBE = """<!doctype html><iframe width="360" height="800" srcdoc="{page}"></iframe>
<pre id="told"></pre><script>
onload = () => {{
  const inner = document.querySelector("iframe").contentDocument, root = inner.documentElement;
  const images = [...inner.images];
  document.getElementById("told").textContent = JSON.stringify({{
    images: images.length,
    drawn: images.filter(image => image.complete && image.naturalWidth > 0).length,
    width: root.clientWidth, needed: root.scrollWidth,
    requests: inner.defaultView.performance.getEntriesByType("resource")
      .map(entry => entry.name).filter(name => !name.startsWith("data:")),
  }});
}};
</script>"""


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


def browse(chromium: str, page: Path, folder: Path, *options: str) -> tuple[str, list[str]]:
    """What Chromium writes to standard output, and what it says on the page's console."""
    command = [chromium, *OPTIONS, f"--user-data-dir={folder}", *options, page.as_uri()]
    done = subprocess.run(command, capture_output=True, text=True, timeout=120, check=True)
    return done.stdout, [line for line in done.stderr.splitlines() if "CONSOLE" in line]


def test_console_is_heard(chromium: str, tmp_path: Path) -> None:
    page = tmp_path / "bad.html"
    page.write_text("<!doctype html><script>nothing.at.all()</script>")
    _, console = browse(chromium, page, tmp_path / "profile", "--dump-dom")
    assert console


def test_browser_has_nothing_to_say(chromium: str, report: Path, tmp_path: Path) -> None:
    dom, console = browse(chromium, report, tmp_path / "profile", "--dump-dom")
    assert console == []
    assert "sub-01_ses-a" in dom


def test_pictures_are_drawn_and_a_telephone_is_wide_enough(
    chromium: str, report: Path, tmp_path: Path
) -> None:
    # the policy of the page forbids every script, that of this test too
    page = re.sub(r"<meta http-equiv=[^>]*>", "", report.read_text())
    probe = tmp_path / "probe.html"
    probe.write_text(PROBE.format(page=html.escape(page)))
    dom, _ = browse(chromium, probe, tmp_path / "profile", "--dump-dom")
    match = re.search(r'<pre id="told">(.*?)</pre>', dom)
    assert match
    told = json.loads(html.unescape(match[1]))
    assert told["images"] == told["drawn"] == len(re.findall("<img", page))
    assert told["images"] >= 11
    assert told["needed"] <= told["width"]
    assert told["requests"] == []


def test_dark_mode_is_dark(chromium: str, report: Path, tmp_path: Path) -> None:
    brightness = []
    for scheme in ("1", "0"):  # light, dark
        shot = tmp_path / f"{scheme}.png"
        options = [f"--screenshot={shot}", "--window-size=1200,900"]
        browse(
            chromium, report, tmp_path / scheme, *options, f"--blink-settings=preferredColorScheme={scheme}"
        )
        brightness.append(Image.open(shot).convert("L").getpixel((5, 890)))
    light, dark = brightness
    assert isinstance(light, int | float)
    assert isinstance(dark, int | float)
    assert light > 200
    assert dark < 60


def test_size(report: Path) -> None:
    assert report.stat().st_size < 1_000_000
