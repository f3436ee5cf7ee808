"""``pacs2bids ping`` to a real Orthanc, one that knows us and one that does not, and to dcmqrscp."""

from __future__ import annotations

from pathlib import Path

import pytest

from peers import dcmqrscp
from peers.dcmqrscp import running_dcmqrscp
from peers.instances import write_study
from peers.orthanc import AE_TITLE, DICOM_PORT, HTTP_PORT, OUR_PORT, Orthanc, running_orthanc

STUDY = "1.2.826.0.1.3680043.10.1.99"


def config(folder: Path, ae_title: str = AE_TITLE, port: int = DICOM_PORT, title: str = "PACS2BIDS") -> Path:
    path = folder / "config.yaml"
    path.write_text(
        f"sources:\n  orthanc: {{kind: pacs, host: 127.0.0.1, port: {port}, ae_title: {ae_title}, "
        f"receive_ae_title: {title}, receive_port: {OUR_PORT}}}\n"
    )
    return path


def ping(orthanc: Orthanc, folder: Path, **changes: str | int) -> tuple[int, str]:
    path = config(folder, **changes)  # type: ignore[arg-type]
    done = orthanc.pacs2bids("ping", "--config", path, "--study", STUDY)
    assert "Traceback" not in done.stderr
    return done.returncode, done.stdout


@pytest.fixture(scope="module")
def filled(orthanc: Orthanc, tmp_path_factory: pytest.TempPathFactory) -> Orthanc:
    folder = tmp_path_factory.mktemp("files")
    write_study(folder, series=1, instances=2, study=STUDY)
    orthanc.load(folder)
    return orthanc


def test_all_is_well(filled: Orthanc, tmp_path: Path) -> None:
    code, text = ping(filled, tmp_path)
    assert code == 0, text
    assert f"ok    C-MOVE to PACS2BIDS at port {OUR_PORT}: an instance came from ORTHANC at 127.0.0.1" in text
    assert "Explicit VR Little Endian" in text


def test_all_ways_and_dicomweb(filled: Orthanc, tmp_path: Path) -> None:
    web = f"'http://127.0.0.1:{HTTP_PORT}/dicom-web'"
    path = config(tmp_path)
    path.write_text(
        path.read_text().replace("}\n", f", retrieve: auto, dicomweb: {{url: {web}}}}}\n")
        + f"  web: {{kind: dicomweb, url: {web}}}\n"
    )
    done = filled.pacs2bids("ping", "--config", path, "--study", STUDY)
    assert done.returncode == 0, done.stdout + done.stderr
    for way, times in (("WADO-RS", 2), ("C-GET", 1), ("C-MOVE to PACS2BIDS", 1)):
        assert done.stdout.count(f"ok    {way}") == times, done.stdout


@pytest.mark.parametrize(
    ("changes", "told"),
    [
        ({"ae_title": "WRONG"}, "FAIL  C-ECHO: the association was rejected"),
        ({"port": HTTP_PORT}, "FAIL  C-ECHO"),
        ({"title": "NOBODY"}, "Register AE title NOBODY with this machine's address"),
        ({"title": "OTHER"}, "Register AE title OTHER"),  # Orthanc has another port for it
    ],
)
def test_what_is_wrong_is_told(
    filled: Orthanc, tmp_path: Path, changes: dict[str, str | int], told: str
) -> None:
    code, text = ping(filled, tmp_path, **changes)
    assert code == 1
    assert told in text, text


def test_an_orthanc_that_does_not_know_us(tmp_path: Path) -> None:
    with running_orthanc(DicomModalities={}, DicomCheckModalityHost=False) as stranger:
        code, text = ping(stranger, tmp_path)
    assert code == 1
    assert "ok    C-ECHO" in text
    assert "FAIL  C-FIND" in text, text


def test_dcmqrscp(tmp_path: Path) -> None:
    files = write_study(tmp_path / "files", series=1, instances=2, study=STUDY)
    path = tmp_path / "config.yaml"
    source = f"kind: pacs, host: 127.0.0.1, port: {dcmqrscp.DICOM_PORT}, retrieve: [get, move]"
    path.write_text(
        "sources:\n"
        f"  good: {{{source}, ae_title: {dcmqrscp.AE_TITLE}}}\n"
        f"  title: {{{source}, ae_title: WRONG}}\n"
        f"  destination: {{{source}, ae_title: {dcmqrscp.AE_TITLE}, receive_ae_title: NOBODY}}\n"
    )
    with running_dcmqrscp(files, tmp_path / "pacs") as pacs:
        done = pacs.pacs2bids("ping", "--config", path)
    assert done.returncode == 1
    *_, good, title, destination = done.stdout.splitlines()
    assert good.split() == ["good", "ok"], done.stdout
    assert title.startswith("title        C-ECHO: the association was rejected"), done.stdout
    assert "C-MOVE to NOBODY" in destination
    assert "the PACS does not know this move destination (A801)" in destination, done.stdout
