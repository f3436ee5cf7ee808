"""Which studies have grown at their source, as far as receipts and counts can tell."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from unittest.mock import DEFAULT, Mock

import pytest

from pacs2bids.files import write_record
from pacs2bids.model import QueryError, Receipt, ReceivedInstance, StudyRow
from pacs2bids.pacs.grown import grown, set_back
from pacs2bids.peers import Attributes

UID = "1.2.3"
ROW = StudyRow(study_instance_uid=UID, subject="01", session="", source="pacs")


def receipt(
    folder: Path, *, received: int, announced: int, counted: int | None = None, unlisted: int = 0
) -> None:
    instances = tuple(
        ReceivedInstance(
            sop_instance_uid=f"1.{n}",
            sop_class_uid="1",
            series_instance_uid="1.9",
            transfer_syntax_uid="1",
            path=f"1.9/1.{n}.dcm",
            bytes=1,
            sha256="",
        )
        for n in range(received)
    )
    made = Receipt(
        study_instance_uid=UID,
        source="pacs",
        kind="pacs",
        complete=True,
        started="",
        finished="",
        announced={"1.9": tuple(f"1.{n}" for n in range(announced))},
        received=instances,
        counted={} if counted is None else {"1.9": counted},
        unlisted=unlisted,
    )
    write_record(folder / UID / "receipt.json", made)


def found(folder: Path, count: str, uid: str = UID) -> list[int]:
    """The counts of those that have grown, by a source that answers this."""

    def ask(_: str, questions: Sequence[Attributes]) -> Sequence[Attributes]:
        assert len(questions) == 1
        return [{"StudyInstanceUID": uid, "NumberOfStudyRelatedInstances": count}]

    return [one.there for one in grown([ROW], folder, ask)]


@pytest.mark.parametrize(
    ("known", "count", "told"),
    [
        ({"received": 5, "announced": 5}, "6", [6]),
        ({"received": 5, "announced": 5}, "5", []),
        ({"received": 5, "announced": 5}, "3", []),  # lost there: what came stays
        ({"received": 5, "announced": 5}, "", []),  # it does not tell
        ({"received": 5, "announced": 3, "counted": 5}, "5", []),  # it lists less than it counts
        ({"received": 5, "announced": 5, "unlisted": 2}, "7", []),  # it never sent what it counts besides
        ({"received": 5, "announced": 5, "unlisted": 2}, "8", [8]),
        ({"received": 7, "announced": 5}, "7", []),  # it sent more than it lists
    ],
)
def test_counts(tmp_path: Path, known: dict[str, int], count: str, told: list[int]) -> None:
    receipt(tmp_path, **known)
    assert found(tmp_path, count) == told


def test_a_count_that_is_not_kept_true_costs_one_pull(tmp_path: Path) -> None:
    receipt(tmp_path, received=5, announced=5)
    (one,) = grown(
        [ROW], tmp_path, lambda *_: [{"StudyInstanceUID": UID, "NumberOfStudyRelatedInstances": "9"}]
    )
    set_back(one, tmp_path / UID)
    assert found(tmp_path, "9") == []  # not pulled yet
    receipt(tmp_path, received=5, announced=5)
    assert found(tmp_path, "9") == []
    assert found(tmp_path, "10") == [10]


@pytest.mark.parametrize("writes", [0, 1])
def test_a_query_that_is_killed_loses_no_growth(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, writes: int
) -> None:
    receipt(tmp_path, received=5, announced=5)
    asked = [{"StudyInstanceUID": UID, "NumberOfStudyRelatedInstances": "9"}]
    (one,) = grown([ROW], tmp_path, lambda *_: asked)
    with monkeypatch.context() as patched:
        outcomes = [*[DEFAULT] * writes, KeyboardInterrupt]
        patched.setattr("pacs2bids.pacs.grown.write_record", Mock(wraps=write_record, side_effect=outcomes))
        with pytest.raises(KeyboardInterrupt):
            set_back(one, tmp_path / UID)
    assert found(tmp_path, "9") == [9] or not (tmp_path / UID / "receipt.json").exists()


def test_what_is_not_here_or_not_asked_has_not_grown(tmp_path: Path) -> None:
    assert grown([ROW], tmp_path, lambda *_: pytest.fail("nothing is here, so nothing is asked")) == []
    receipt(tmp_path, received=1, announced=1)
    assert found(tmp_path, "9", uid="1.2.4") == []


def test_source_that_is_away_fails_nothing(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    receipt(tmp_path, received=1, announced=1)

    def ask(*_: object) -> Sequence[Attributes]:
        raise QueryError("cannot be reached", where="pacs")

    assert grown([ROW], tmp_path, ask) == []
    (told,) = caplog.records
    assert told.levelname == "ERROR"  # by which `status` tells it
    assert "whether studies have grown" in told.message
