"""Lines about what comes: by series, with rate and time left."""

from __future__ import annotations

import logging
import re
import time
from pathlib import Path

import pytest

from pacs2bids.pacs.inbox import Identity, Inbox
from pacs2bids.pacs.progress import Progress, duration
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


def test_lines_of_a_study(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO)
    inbox = Inbox(tmp_path, "1.2")
    put(inbox, 1, 0)  # of an earlier attempt
    progress = Progress(inbox, line_s=0.25, look_s=0)
    progress.announced(Announcement(listed=LISTED, counted={"1.2.2": 5}))
    progress.look()
    assert lines(caplog) == []
    time.sleep(0.3)
    put(inbox, 1, 1)
    progress.look()
    (line,) = lines(caplog)
    match = re.fullmatch(
        r"2 of 9 instances, 1\.0 MB, (.*) MB/s, (.*) s left; series 1 of 2 \(1\.2\.1\): 2 of 4", line
    )
    assert match is not None
    rate, left = map(float, match.groups())
    assert 0.5 < rate < 0.5 / 0.3 + 0.1  # half a megabyte in at least 0.3 s
    assert left >= 2  # seven more, 0.3 s each
    progress.look()
    assert lines(caplog) == []  # not so soon again
    put(inbox, 1, 2, 3)
    progress.look()
    (line,) = lines(caplog)
    assert re.fullmatch(r"series 1 of 2 \(1\.2\.1\) is whole: 4 instances, 2\.0 MB in .* s, .* MB/s", line)
    time.sleep(0.3)
    progress.look()
    lines(caplog)
    time.sleep(0.3)
    progress.look()
    (line,) = lines(caplog)
    assert re.fullmatch(r"4 of 9 instances, 2\.0 MB, nothing came for 0\.\d s", line)


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


@pytest.mark.parametrize(
    ("seconds", "text"),
    [
        (0.04, "0.0 s"),
        (0.5, "0.5 s"),
        (1.4, "1 s"),
        (99, "99 s"),
        (100, "2 min"),
        (5990, "1 h 40 min"),
        (7500, "2 h 05 min"),
        (90_000, "25 h 00 min"),
    ],
)
def test_durations(seconds: float, text: str) -> None:
    assert duration(seconds) == text
