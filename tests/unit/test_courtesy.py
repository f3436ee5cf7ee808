"""Allowed hours, pauses between studies, and attempts that are repeated."""

from __future__ import annotations

import logging
import os
import re
import stat
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from datetime import datetime, timedelta, tzinfo
from datetime import time as time_of_day
from pathlib import Path
from typing import Self

import pytest

from pacs2bids.model import QueryError, UnavailableError
from pacs2bids.pacs import courtesy as courtesy_module
from pacs2bids.pacs.courtesy import is_open, opens_at, persistently, spaced, wait_until_open
from pacs2bids.peers import Courtesy, PacsPeer, WebPeer

NIGHT = Courtesy(hours=(time_of_day(19), time_of_day(6, 30)))
LUNCH = Courtesy(hours=(time_of_day(12), time_of_day(13)))


@pytest.fixture(autouse=True)
def own_temporary_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))


def at(text: str) -> datetime:
    return datetime.fromisoformat(f"2026-03-04T{text}")


@pytest.mark.parametrize(
    ("courtesy", "now", "opens"),
    [
        (NIGHT, "18:59:59", "2026-03-04T19:00"),
        (NIGHT, "19:00", None),
        (NIGHT, "23:59:59", None),
        (NIGHT, "00:00", None),
        (NIGHT, "06:29:59", None),
        (NIGHT, "06:30", "2026-03-04T19:00"),
        (LUNCH, "11:59", "2026-03-04T12:00"),
        (LUNCH, "12:00", None),
        (LUNCH, "13:00", "2026-03-05T12:00"),
        (LUNCH, "00:00", "2026-03-04T12:00"),
        (Courtesy(), "03:00", None),
    ],
)
def test_hours(courtesy: Courtesy, now: str, opens: str | None) -> None:
    assert is_open(courtesy, at(now)) is (opens is None)
    assert opens_at(courtesy, at(now)) == (datetime.fromisoformat(opens) if opens else at(now))
    assert is_open(courtesy, opens_at(courtesy, at(now)))


# ------------------------------------------------------------------------------------------ pauses


def peer(pause_s: float, port: int = 104) -> PacsPeer:
    return PacsPeer(
        name="x", host="pacs.example", port=port, ae_title="A", courtesy=Courtesy(pause_s=pause_s)
    )


class Clock:
    """The clock of this machine, and the time that was slept besides, which passes at once."""

    slept_s = 0.0

    def time(self) -> float:
        return time.time() + self.slept_s

    def sleep(self, seconds: float) -> None:
        self.slept_s += seconds

    def waited_s(self, work: Callable[[], object]) -> float:
        self.slept_s = 0.0
        work()
        return self.slept_s


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    clock = Clock()
    monkeypatch.setattr(courtesy_module, "time", clock)
    return clock


def test_waits_for_the_hours_and_says_until_when(
    caplog: pytest.LogCaptureFixture, clock: Clock, monkeypatch: pytest.MonkeyPatch
) -> None:
    class Evening(datetime):
        """Forty minutes before the hours begin, and what was slept since."""

        @classmethod
        def now(cls, tz: tzinfo | None = None) -> Self:
            assert tz is None
            return cls.fromisoformat("2026-03-04T18:20") + timedelta(seconds=clock.slept_s)

    monkeypatch.setattr(courtesy_module, "datetime", Evening)
    caplog.set_level(logging.INFO)
    assert clock.waited_s(lambda: wait_until_open(NIGHT, "PACS 'x'")) == 40 * 60
    assert [record.getMessage() for record in caplog.records] == [
        "PACS 'x': pulls are allowed from 19:00 to 06:30; waiting until Wed 19:00",
        "PACS 'x': it is 19:00, going on",
    ]
    wait_until_open(NIGHT, "PACS 'x'")
    assert len(caplog.records) == 2


def study(source: PacsPeer | WebPeer) -> Callable[[], None]:
    def pull() -> None:
        with spaced(source) as spacing:
            spacing.keep()

    return pull


def test_pause_between_two_studies_of_one_source(tmp_path: Path, clock: Clock) -> None:
    assert clock.waited_s(study(peer(600))) == 0  # the first waits for nobody
    assert clock.waited_s(study(peer(600, port=105))) == 0  # another source
    web = WebPeer(name="x", url="https://pacs.example/web", courtesy=Courtesy(pause_s=600))
    assert clock.waited_s(study(web)) == 0
    assert 0 < clock.waited_s(study(peer(600))) <= 600
    for stamp in tmp_path.glob("pacs2bids-pause-*"):
        os.utime(stamp, (time.time() - 600,) * 2)
    assert clock.waited_s(study(peer(600))) == 0


def test_pause_counts_from_the_end_also_of_a_failed_one_and_in_another_process(
    tmp_path: Path, clock: Clock
) -> None:
    code = (
        "import time\n"
        "from pacs2bids.pacs.courtesy import spaced\n"
        "from pacs2bids.peers import Courtesy, PacsPeer, Slot\n"
        f"with spaced({peer(600)!r}) as spacing:\n"
        "    spacing.keep()\n"
        "    time.sleep(0.3)\n"
        "    raise SystemExit(3)\n"
    )
    begun = time.time()
    done = subprocess.run(
        [sys.executable, "-c", code], env={**os.environ, "TMPDIR": str(tmp_path)}, check=False
    )
    assert done.returncode == 3
    (stamp,) = tmp_path.glob("pacs2bids-pause-*")
    ended = stamp.stat().st_mtime
    assert ended - begun > 0.29
    study(peer(600))()
    assert clock.time() - ended >= 600


def test_who_asks_for_nothing_is_no_study(clock: Clock) -> None:
    with spaced(peer(600)):
        pass
    assert clock.waited_s(study(peer(600))) == 0


def test_pause_is_kept_once(clock: Clock) -> None:
    study(peer(600))()
    with spaced(peer(600)) as spacing:
        assert clock.waited_s(spacing.keep) > 0
        assert clock.waited_s(spacing.keep) == 0


def test_a_time_to_come_holds_nobody_up(tmp_path: Path, clock: Clock) -> None:
    study(peer(600))()
    (stamp,) = tmp_path.glob("pacs2bids-pause-*")
    assert stat.S_IMODE(stamp.stat().st_mode) == 0o666  # every user of the host
    os.utime(stamp, (time.time() + 3600,) * 2)
    assert clock.waited_s(study(peer(600))) == 0


def test_no_pause_leaves_no_file(tmp_path: Path) -> None:
    study(peer(0))()
    assert list(tmp_path.iterdir()) == []


# ------------------------------------------------------------------------------------------ attempts


class Attempts:
    """Fails as it is told, then succeeds."""

    def __init__(self, *errors: Exception) -> None:
        self.errors = list(errors)
        self.times_s: list[float] = []

    def __call__(self) -> str:
        self.times_s.append(time.monotonic())
        if self.errors:
            raise self.errors.pop(0)
        return "done"


def down() -> UnavailableError:
    return UnavailableError("no connection: refused", where="PACS 'x'", hint="Check")


def test_attempts_are_repeated_with_growing_pauses(caplog: pytest.LogCaptureFixture) -> None:
    attempts, pauses_s = Attempts(down(), down()), list[float]()
    pulled = persistently(attempts, Courtesy(retries=2), first_pause_s=0.1, sleep=pauses_s.append)
    assert (pulled, len(attempts.times_s)) == ("done", 3)
    assert pauses_s == [pytest.approx(0.1, rel=0.25), pytest.approx(0.3, rel=0.25)]
    told = [re.sub("[0-9:]{8}", "TIME", record.getMessage()) for record in caplog.records]
    assert told == [
        "PACS 'x': no connection: refused; again in 0 s (1 of 2, until about TIME)",
        "PACS 'x': no connection: refused; again in 0 s (2 of 2, until about TIME)",
    ]


def test_attempts_are_bounded() -> None:
    attempts = Attempts(*[down() for _ in range(9)])
    with pytest.raises(UnavailableError, match="no connection"):
        persistently(attempts, Courtesy(retries=2), first_pause_s=0.01)
    assert len(attempts.times_s) == 3
    with pytest.raises(UnavailableError):
        persistently(attempts, Courtesy(retries=0))
    assert len(attempts.times_s) == 4


def test_what_cannot_get_better_is_not_repeated() -> None:
    attempts = Attempts(QueryError("called AE title not recognised"))
    with pytest.raises(QueryError, match="not recognised"):
        persistently(attempts, Courtesy(retries=5), first_pause_s=0.01)
    assert len(attempts.times_s) == 1


def test_two_that_wait_together_do_not_come_back_together() -> None:
    pauses_s: list[float] = []
    for _ in range(12):
        persistently(Attempts(down()), Courtesy(retries=1), first_pause_s=0.4, sleep=pauses_s.append)
    assert max(pauses_s) - min(pauses_s) > 0.02
    assert pauses_s == [pytest.approx(0.4, rel=0.25)] * 12
