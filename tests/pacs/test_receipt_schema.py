"""Receipts as they are written, against the schema and the words that describe them."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from pacs2bids.model import PullError, Receipt, ReceivedInstance, Refused, TransferStatus
from pacs2bids.pacs.pull import pull_from_pacs
from pacs2bids.pacs.sources import pull_from_folder
from pacs2bids.peers import FolderSource
from peers.embedded import QUICK, embedded
from peers.instances import STUDY, write_study
from peers.receipts import faults, read_fitting, schema

DOCS = Path(__file__).resolve().parents[2] / "docs" / "files.md"


def test_receipts_of_a_pacs_and_what_they_tell(tmp_path: Path) -> None:
    lost, *_ = write_study(tmp_path / "pacs")
    out = tmp_path / "work"
    with embedded(tmp_path / "pacs") as peer:
        content = lost.read_bytes()
        lost.unlink()
        with pytest.raises(PullError):
            pull_from_pacs(peer, STUDY, out, patience=QUICK)
        part = read_fitting(out / "receipt.incomplete.json")
        lost.write_bytes(content)
        pull_from_pacs(peer, STUDY, out, patience=QUICK)
    whole = read_fitting(out / "receipt.json")
    assert (part.complete, whole.complete) == (False, True)
    assert part.started <= part.transfers[0].begun <= part.finished <= whole.started <= whole.finished
    assert [one.came for one in part.transfers][:1] == [9]
    ((came, size),) = {(one.came, one.bytes) for one in whole.transfers}
    assert (came, size) == (1, (out / "dicom" / f"{STUDY}.1" / f"{STUDY}.1.1.dcm").stat().st_size)
    assert all(one.duration_s is not None for one in part.transfers)
    assert part.asked is not None
    assert part.asked > 2  # fruitless rounds
    assert whole.asked == 2  # once before, once after


def test_receipt_of_a_folder(tmp_path: Path) -> None:
    write_study(tmp_path / "source")
    (tmp_path / "source" / "emptied").write_bytes(bytes(10))
    with pytest.raises(PullError):
        pull_from_folder(FolderSource(name="disk", path=tmp_path / "source"), STUDY, tmp_path / "work")
    assert read_fitting(tmp_path / "work" / "receipt.incomplete.json").refused
    (tmp_path / "source" / "emptied").unlink()
    pull_from_folder(FolderSource(name="disk", path=tmp_path / "source"), STUDY, tmp_path / "work")
    assert read_fitting(tmp_path / "work" / "receipt.json").complete


@pytest.mark.parametrize(
    ("record", "described"),
    [
        (Receipt, schema),
        (ReceivedInstance, lambda: schema()["$defs"]["received"]),
        (Refused, lambda: schema()["$defs"]["refused"]),
        (TransferStatus, lambda: schema()["$defs"]["transfer"]),
    ],
)
def test_every_field_is_described(record: Any, described: Callable[[], dict[str, Any]]) -> None:
    assert set(described()["properties"]) == set(record.__struct_fields__)
    if record in (Receipt, TransferStatus):
        section = DOCS.read_text().split("\n## receipt.json")[1].split("\n## ")[0]
        assert [field for field in record.__struct_fields__ if f"`{field}`" not in section] == []


def changed(content: dict[str, Any], **values: Any) -> dict[str, Any]:
    return {**content, **values}


@pytest.mark.parametrize(
    "spoil",
    [
        lambda whole: changed(whole, missing=["1.2"]),  # and complete
        lambda whole: changed(whole, announced={"not a uid": []}),
        lambda whole: changed(whole, received=[changed(whole["received"][0], sha256="0")]),
        lambda whole: changed(whole, received=[changed(whole["received"][0], path="../../x.dcm")]),
        lambda whole: changed(whole, started="yesterday"),
        lambda whole: changed(whole, secret=1),
        lambda whole: {key: value for key, value in whole.items() if key != "transfers"},
    ],
)
def test_what_is_no_receipt_does_not_fit(tmp_path: Path, spoil: Callable[[Any], Any]) -> None:
    write_study(tmp_path / "source", series=1, instances=1)
    pull_from_folder(FolderSource(name="disk", path=tmp_path / "source"), STUDY, tmp_path / "work")
    path = tmp_path / "work" / "receipt.json"
    content = json.loads(path.read_bytes())
    assert faults(path) == []
    path.write_text(json.dumps(spoil(content)))
    assert faults(path) != []
