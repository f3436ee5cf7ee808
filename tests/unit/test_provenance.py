"""The manifest names the instances behind each volume, with the digests of their files."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path
from typing import Any

from pydicom import dcmread

from pacs2bids.__main__ import main
from pacs2bids.files import write_record
from pacs2bids.model import Receipt, ReceivedInstance
from synthetic import Series


def digests_of(folder: Path) -> dict[str, str]:
    """SHA-256 of every file by the UID that pydicom reads in it."""
    return {
        str(dcmread(path, stop_before_pixels=True).SOPInstanceUID): hashlib.sha256(
            path.read_bytes()
        ).hexdigest()
        for path in folder.rglob("*.dcm")
    }


def volumes_of(manifest: Path) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = json.loads(manifest.read_text())["volumes"]
    return found


def test_convert_names_instances_and_digests_them_on_request(tmp_path: Path) -> None:
    Series().write(tmp_path / "in")
    expected = digests_of(tmp_path / "in")
    assert main(["convert", str(tmp_path / "in"), str(tmp_path / "plain")]) == 0
    (plain,) = volumes_of(tmp_path / "plain" / ".manifest.json")
    assert plain["sources"] == dict.fromkeys(expected)
    assert main(["convert", str(tmp_path / "in"), str(tmp_path / "full"), "--digests"]) == 0
    (full,) = volumes_of(tmp_path / "full" / ".manifest.json")
    assert full["sources"] == expected


def test_reconstruct_takes_digests_from_the_receipt(tmp_path: Path) -> None:
    series = Series()
    series.write(tmp_path / "dicom")
    uid = str(dcmread(next((tmp_path / "dicom").rglob("*.dcm"))).StudyInstanceUID)
    study = tmp_path / uid
    study.mkdir()
    (tmp_path / "dicom").rename(study / "dicom")
    expected = digests_of(study / "dicom")
    assert main(["index", str(study)]) == 0
    assert main(["reconstruct", str(study)]) == 0
    (by_hand,) = volumes_of(study / "volumes" / "manifest.json")
    assert by_hand["sources"] == expected

    received = [
        ReceivedInstance(
            sop_instance_uid=sop,
            sop_class_uid="",
            series_instance_uid="",
            transfer_syntax_uid="",
            path="",
            bytes=0,
            sha256=f"digest of {sop}",
        )
        for sop in expected
    ]
    receipt = Receipt(
        study_instance_uid=uid,
        source="",
        kind="folder",
        complete=True,
        started="",
        finished="",
        announced={},
        received=tuple(received),
    )
    write_record(study / "receipt.json", receipt)
    assert main(["reconstruct", str(study)]) == 0
    (pulled,) = volumes_of(study / "volumes" / "manifest.json")
    assert pulled["sources"] == {sop: f"digest of {sop}" for sop in expected}
