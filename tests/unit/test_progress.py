"""Lines about what comes: by series, with rate and time left."""

from __future__ import annotations

import logging
from pathlib import Path

import pytest

from pacs2bids.pacs import inbox as inbox_module
from pacs2bids.pacs import progress as progress_module
from pacs2bids.pacs.inbox import Identity, Inbox
from pacs2bids.pacs.progress import Progress
from pacs2bids.pacs.receipt import Announcement

LISTED = {f"1.2.{series}": tuple(f"1.2.{series}.{number}" for number in range(4)) for series in (1, 2)}


def put(inbox: Inbox, series: int, *numbers: int) -> None:
    for number in numbers:
        identity = Identity(
            study_instance_uid="1.2",
            series_instance_uid=f"1.2.{series}",
            sop_instance_uid=f"1.2.{series}.{number}",
            sop_class_uid="1.2.840.10008.5.1.4.1.1.4",
            transfer_syntax_uid="1.2.840.10008.1.2.1",
        )
        inbox.write(identity, [b"x" * 500_000])


def lines(caplog: pytest.LogCaptureFixture) -> list[str]:
    said = [record.getMessage() for record in caplog.records]
    caplog.clear()
    return said


class Clock:
    """It stands still until it is set."""

    now_s = 0.0

    def monotonic(self) -> float:
        return self.now_s


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    clock = Clock()
    for module in (inbox_module, progress_module):
        monkeypatch.setattr(module, "time", clock)
    return clock


def test_lines_of_a_study(tmp_path: Path, caplog: pytest.LogCaptureFixture, clock: Clock) -> None:
    caplog.set_level(logging.INFO)
    inbox = Inbox(tmp_path, "1.2")
    put(inbox, 1, 0)  # of an earlier attempt
    progress = Progress(inbox, line_s=10, look_s=0)
    progress.announced(Announcement(listed=LISTED, counted={"1.2.2": 5}))
    progress.look()
    assert lines(caplog) == []
    clock.now_s = 10.0
    put(inbox, 1, 1)
    progress.look()  # seven are left, ten seconds each
    left = "0.1 MB/s, 70 s left"
    assert lines(caplog) == [f"2 of 9 instances, 1.0 MB, {left}; series 1 of 2 (1.2.1): 2 of 4"]
    clock.now_s = 15.0
    progress.look()
    assert lines(caplog) == []  # not so soon again
    put(inbox, 1, 2, 3)
    progress.look()  # a megabyte and a half came since the beginning
    assert lines(caplog) == ["series 1 of 2 (1.2.1) is whole: 4 instances, 2.0 MB in 15 s, 0.1 MB/s"]
    clock.now_s = 20.0
    progress.look()
    lines(caplog)
    clock.now_s = 30.0
    progress.look()
    assert lines(caplog) == ["4 of 9 instances, 2.0 MB, nothing came for 15 s"]


def test_what_is_whole_is_said_once_and_only_if_it_came(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO)
    inbox = Inbox(tmp_path, "1.2")
    put(inbox, 1, 0, 1, 2, 3)
    progress = Progress(inbox, look_s=0)
    progress.announced(Announcement(listed=LISTED, counted={}))
    put(inbox, 2, 0, 1, 2, 3)
    progress.finish()
    progress.finish()
    progress.announced(Announcement(listed=LISTED, counted={}))
    progress.finish()
    (line,) = lines(caplog)
    assert line.startswith("series 2 of 2 (1.2.2) is whole: 4 instances, 2.0 MB")
