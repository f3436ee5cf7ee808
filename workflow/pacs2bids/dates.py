"""How the dates of acquisition are hidden in the dataset; the time of day stays the scanner's.

- ``shift``: all dates of a subject are moved by one number of days, so that intervals between sessions stay
  as they were. It follows from the subject's label and a secret key that never leaves the workdir: who has
  only the dataset cannot undo it, and jobs need not agree on anything.
- ``day_one``: the first day of each session becomes 1900-01-01; intervals between sessions are lost.
- ``keep``: nothing is hidden.

Source: BIDS, "Describing dates and timestamps": shifted dates lie before 1925, so that they are known for it.
"""

from __future__ import annotations

import hashlib
import hmac
import logging
import os
import secrets
import tempfile
from dataclasses import dataclass
from datetime import date, datetime, timedelta
from pathlib import Path

from pacs2bids.files import private_folder, read_record
from pacs2bids.model import ConfigError, PlacedSession
from pacs2bids.moments import moment_of

log = logging.getLogger("pacs2bids.dates")

SHIFT, DAY_ONE, KEEP = "shift", "day_one", "keep"
POLICIES = (SHIFT, DAY_ONE, KEEP)

FIRST_DAY = date(1900, 1, 1)

# days: 200 years, so that what is scanned until 2124 lies before 1925, and up to ten years more
_AT_LEAST_DAYS, _SPREAD_DAYS = 73_049, 3_653
_KEY_BYTES = 32

ABOUT = {
    SHIFT: "The date is hidden: all dates of a subject are moved by the same secret number of days, so "
    "that intervals are true; the time of day is the scanner's.",
    DAY_ONE: f"The date is hidden: the session's first day became {FIRST_DAY.isoformat()}; the time of day "
    "is the scanner's.",
    KEEP: "Date and time of day are the scanner's.",
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Dates:
    """What becomes of the dates of one session: they are ``days`` earlier in the dataset."""

    policy: str
    days: int

    def hidden(self, moment: datetime | None) -> str | None:
        """A moment as the dataset tells it, ISO 8601; None if there is none.

        None, too, of the years that de-identification invents (0001): what lies before it no calendar tells.
        """
        try:
            return None if moment is None else (moment - timedelta(days=self.days)).isoformat()
        except OverflowError:
            return None


@dataclass(frozen=True, slots=True, kw_only=True)
class Hide:
    """How dates are hidden in the dataset. ``key``: of ``shift``, else empty."""

    policy: str
    key: bytes = b""

    @property
    def name(self) -> str:
        """Policy and key, without telling it: sessions of one name have true intervals between them."""
        mark = hmac.digest(self.key, b"name", hashlib.sha256).hex()[:8] if self.key else ""
        return f"{self.policy} {mark}".strip()

    def of(self, subject: str, begun: datetime | None) -> Dates:
        """For a session of this subject that began then."""
        if self.policy == SHIFT:
            return Dates(policy=SHIFT, days=shift_days(self.key, subject))
        if self.policy == DAY_ONE and begun is not None:
            return Dates(policy=DAY_ONE, days=(begun.date() - FIRST_DAY).days)
        return Dates(policy=self.policy, days=0)


def exact_moment(acquired: str) -> datetime | None:
    """Read "2026-03-04T10:00:00.25"; None if it does not tell date and time of day."""
    if "T" not in acquired and " " not in acquired:  # a date alone says no time
        return None
    return moment_of(acquired)


def shift_days(key: bytes, subject: str) -> int:
    """By how many days the dates of a subject are moved into the past."""
    digest = hmac.digest(key, f"sub-{subject}".encode(), hashlib.sha256)
    return _AT_LEAST_DAYS + int.from_bytes(digest[:8], "big") % _SPREAD_DAYS


def read_key(path: Path, sessions: Path) -> bytes:
    """The key of a workdir, readable by its owner alone; made by the first job that wants it.

    ``sessions``: the folder of the sessions that were placed with it. Raises ConfigError if the file holds
    something else, or is gone though the dates of a session were shifted by it: a new key would change them.
    """
    if not path.exists():
        shifted = _shifted(sessions)
        if shifted and not path.exists():  # another job may have made it, and placed its session by it
            hint = (
                f"Restore it from a backup. If there is none, delete {sessions}/*/placed.json and run again: "
            )
            hint += "all dates in the dataset change then"
            raise ConfigError(
                f"is gone, by which the dates of {shifted} were shifted", where=str(path), hint=hint
            )
        _make_key(path)
    if path.stat().st_mode & 0o077:
        log.warning("%s: others may read it, and with it undo the shift of dates: chmod 600 it", path)
    try:
        key = bytes.fromhex(path.read_text(encoding="ascii").strip())
    except ValueError:
        key = b""
    if len(key) != _KEY_BYTES:
        hint = "Restore it from a backup. If there is none, delete it and run `snakemake --forcerun place`"
        raise ConfigError("is no key for shifting dates", where=str(path), hint=hint)
    return key


def _shifted(sessions: Path) -> str:
    """A session whose dates were shifted, "" if there is none."""
    for record in sorted(sessions.glob("*/placed.json")):
        if read_record(record, PlacedSession).dates.startswith(SHIFT):
            return record.parent.name
    return ""


def _make_key(path: Path) -> None:
    """Whole or not at all, and never over the one that another job has just made."""
    if not path.parent.exists():
        private_folder(path.parent)
    handle, temporary = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.", suffix=".part")
    try:
        with os.fdopen(handle, "w") as stream:
            stream.write(f"{secrets.token_hex(_KEY_BYTES)}\n")
            stream.flush()
            os.fsync(stream.fileno())
        os.link(temporary, path)
    except FileExistsError:
        pass
    finally:
        Path(temporary).unlink()
