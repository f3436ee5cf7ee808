"""The error of a study of which a series cannot be reconstructed."""

from __future__ import annotations

import logging
from pathlib import Path

import pytest
from msgspec.structs import replace

from pacs2bids.files import write_record
from pacs2bids.model import FailedStack, Identity, Leftover, Reason
from pacs2bids.verbs.index import tell
from pacs2bids.verbs.reconstruct import failure, titles_of
from planning import STUDY, index, stack


def test_series_and_description_come_first() -> None:
    failed = [FailedStack(stack_id=one, error="is cut") for one in ("002-1", "002-2", "007-1")]
    text = str(failure(failed, {"002": "t1_mprage", "007": ""}, Path("work/studies/1.2")))
    assert text.startswith("series 002 (t1_mprage), series 007 (no description) cannot be reconstructed: ")
    assert text.count("is cut") == 3
    assert text.endswith("work/studies/1.2 are written; `on_broken_series: skip` goes on without this")


def test_a_name_in_a_description_is_not_told(tmp_path: Path) -> None:
    study = index([stack(2)], [stack(7)])
    wanted = ("t1 zzyzx repeat", "t2_tse")
    named = [replace(one, series_description=text) for one, text in zip(study.series, wanted, strict=True)]
    study = replace(study, series=tuple(named))
    assert set(titles_of(study, tmp_path).values()) == set(wanted)
    identity = Identity(study_instance_uid=STUDY, values={"PatientName": ("Zzyzx^Quux",)})
    write_record(tmp_path / "identity.json", identity)
    assert set(titles_of(study, tmp_path).values()) == {"t1 *** repeat", "t2_tse"}


def test_what_the_index_logs_holds_no_name(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    identity = Identity(study_instance_uid=STUDY, values={"PatientName": ("Zzyzx^Quux",)})
    write_record(tmp_path / "identity.json", identity)
    lost = Leftover(path="a/Quux_1.dcm", reason=Reason.NO_IMAGE, detail="is a note of Zzyzx, Quux")
    with caplog.at_level(logging.INFO):
        tell(index([stack(2)], leftovers=(lost,)), tmp_path)
    assert [one.getMessage() for one in caplog.records] == [
        "left over: a/***_1.dcm: is a note of *** (no-image)"
    ]
