"""``pacs2bids ping`` to a real Orthanc: one that knows us, and one that does not."""

from __future__ import annotations

from pathlib import Path

import pytest

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
