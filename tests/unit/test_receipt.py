"""The receipt: complete or not, where it lies, and what its error says."""

from __future__ import annotations

from pathlib import Path

import pytest

from pacs2bids.files import read_record
from pacs2bids.model import Receipt
from pacs2bids.pacs import receipt as receipts
from pacs2bids.pacs.inbox import Identity, Inbox, is_uid


def inbox_with(folder: Path, *numbers: int) -> Inbox:
    inbox = Inbox(folder, "1.2")
    for number in numbers:
        identity = Identity(
            study_instance_uid="1.2",
            series_instance_uid="1.2.1",
            sop_instance_uid=f"1.2.1.{number}",
            sop_class_uid="1.2.840.10008.5.1.4.1.1.4",
            transfer_syntax_uid="1.2.840.10008.1.2.1",
        )
        inbox.write(identity, [b"x" * 600_000])
    return inbox


def made_out(
    inbox: Inbox, announced: int, *, stable: bool = True, counted: dict[str, int] | None = None
) -> Receipt:
    uids = tuple(f"1.2.1.{number}" for number in range(announced))
    return receipts.made_out(
        inbox,
        source="s",
        kind="pacs",
        started=receipts.now(),
        announced=receipts.Announcement(listed={"1.2.1": uids}, counted=counted or {}),
        stable=stable,
    )


def test_complete(tmp_path: Path) -> None:
    receipt = made_out(inbox_with(tmp_path, 0, 1), 2)
    assert receipt.complete
    assert receipts.summary(receipt, Path("work")) == "2 instances in 1 series, 1.2 MB, complete -> work"
    assert receipts.put(receipt, tmp_path) == tmp_path / "receipt.json"
    assert read_record(tmp_path / "receipt.json", Receipt) == receipt


def test_complete_only_if_the_source_says_the_same_twice(tmp_path: Path) -> None:
    receipt = made_out(inbox_with(tmp_path, 0, 1), 2, stable=False)
    assert receipt.missing == ()
    assert not receipt.complete


@pytest.mark.parametrize(
    ("listed", "count", "complete"), [(2, 2, True), (2, 3, False), (0, 2, True), (0, 3, False)]
)
def test_complete_only_if_no_count_is_missed(tmp_path: Path, listed: int, count: int, complete: bool) -> None:
    receipt = made_out(inbox_with(tmp_path, 0, 1), listed, counted={"1.2.1": count})
    assert receipt.missing == ()
    assert receipt.complete is complete


def test_error_gives_the_numbers_of_short_series(tmp_path: Path) -> None:
    receipt = made_out(inbox_with(tmp_path, 0, 1), 2, counted={"1.2.1": 1200})
    error = receipts.missing_error(receipt, where=Path("w/receipt"), cause="", hint="Ask")
    assert str(error) == (
        "study 1.2: all 2 listed instances came; series 1.2.1: the PACS counts 1,200 instances, lists 2 and "
        "sent 2. Ask. The whole list: w/receipt"
    )
    assert "not complete" in receipts.summary(receipt, tmp_path)


def test_incomplete_replaces_complete_and_the_other_way_round(tmp_path: Path) -> None:
    inbox = inbox_with(tmp_path, 0, 1)
    whole, part = made_out(inbox, 2), made_out(inbox, 3)
    for receipt, name in (
        (whole, "receipt.json"),
        (part, "receipt.incomplete.json"),
        (whole, "receipt.json"),
    ):
        receipts.put(receipt, tmp_path)
        assert [path.name for path in tmp_path.glob("receipt*")] == [name]


def test_extra_instances_do_not_hurt(tmp_path: Path) -> None:
    receipt = made_out(inbox_with(tmp_path, 0, 1, 77), 2)
    assert receipt.complete
    assert len(receipt.received) == 3


def test_error_names_ten_and_counts_the_rest(tmp_path: Path) -> None:
    inbox = inbox_with(tmp_path, 0)
    inbox.refuse("1.2.1.3", "belongs to study 9.9")
    receipt = made_out(inbox, 1013)
    error = receipts.missing_error(receipt, where=Path("w/receipt"), cause="the PACS slept", hint="Wake it")
    named = ", ".join(f"1.2.1.{number}" for number in range(1, 11))
    assert str(error) == (
        f"study 1.2: 1,012 of 1,013 announced instances are missing: {named} and 1,002 more of "
        "series 1.2.1; refused: belongs to study 9.9; the PACS slept. Wake it. The whole list: w/receipt"
    )


def test_error_names_some_of_each_series(tmp_path: Path) -> None:
    listed = {f"1.2.{series}": tuple(f"1.2.{series}.{n}" for n in range(5)) for series in (1, 2, 3, 4, 5)}
    receipt = receipts.made_out(
        inbox_with(tmp_path, 0, 1),
        source="s",
        kind="pacs",
        started=receipts.now(),
        announced=receipts.Announcement(listed=listed, counted={}),
    )
    told = str(receipts.missing_error(receipt, where=Path("w"), cause="", hint="Ask"))
    assert told.startswith(
        "study 1.2: 23 of 25 announced instances are missing: 1.2.1.2, 1.2.1.3, 1.2.1.4 of "
    )
    assert "series 1.2.1; 1.2.2.0, 1.2.2.1, 1.2.2.2 and 2 more of series 1.2.2; " in told
    assert told.endswith("and 2 more of series 1.2.3; and 2 more series. Ask. The whole list: w")


@pytest.mark.parametrize("uid", ["1.2.840.10008.1.2", "1", "1.2.03", "1." * 31 + "1"])
def test_uids(uid: str) -> None:
    assert is_uid(uid)


@pytest.mark.parametrize(
    "uid", ["", ".", "..", "1.", ".1", "1..2", "1.2/3", "1.a", "1.2\n", "１.２", "1" * 65]
)
def test_no_uids(uid: str) -> None:
    assert not is_uid(uid)
