"""Logs of physiology as BIDS keeps them: one table and one description a sensor.

Source: BIDS, "Physiological recordings": ``_recording-<label>_physio.tsv.gz`` without a line of headings and
its ``.json``, with SamplingFrequency in Hz, StartTime in s from the start of the first volume, and Columns.
"""

from __future__ import annotations

import gzip
from collections.abc import Iterator

from msgspec import Struct
from msgspec.structs import replace

from pacs2bids.header import Header
from pacs2bids.model import HeaderError, Json, Physiology
from pacs2bids.vendors.physiolog import TICS_PER_S, PhysioLog, Recording, of_header

# BIDS, "Physiological recordings": "cardiac" and "respiratory" are columns that it defines
LABELS = {"PULS": "cardiac", "RESP": "respiratory", "ECG": "ecg", "EXT": "external"}
_SENSORS = {
    "PULS": "pulse oximeter",
    "RESP": "respiratory belt",
    "ECG": "electrocardiogram, channel {}",
    "EXT": "external signal, channel {}",
}
_TRIGGER: Json = {"Description": "1 at the sample nearest to the start of a volume, else 0"}
_LEVEL = 6  # of gzip: the bytes must not depend on anything but the samples


class Table(Struct, frozen=True, kw_only=True):
    """One recording. ``ending``: of its files' names, without extension. ``content``: of the .tsv.gz."""

    ending: str
    content: bytes
    sidecar: dict[str, Json]


def known_of(header: Header, path: str, series_instance_uid: str) -> Physiology:
    """What the index says of a log; never raises, but says why it cannot be used."""
    found = Physiology(log_id="", path=path, series_instance_uid=series_instance_uid)
    try:
        log = of_header(header)
    except HeaderError as error:
        return replace(found, error=error.what)
    return replace(
        found,
        measurement=log.measurement,
        volumes=len(log.volumes_tics),
        recordings=tuple(LABELS[one.kind] for one in log.recordings),
        lost=log.lost,
    )


def ending_of(recording: str) -> str:
    """Behind the name of a run: "_recording-cardiac_physio"."""
    return f"_recording-{recording}_physio"


def tables_of(log: PhysioLog) -> Iterator[Table]:
    """One a recording."""
    for recording in log.recordings:
        names = _columns(recording)
        triggers = _triggers(recording, log.volumes_tics)
        lines = zip(*recording.channels.values(), triggers, strict=True)
        text = "".join("\t".join(map(_cell, line)) + "\n" for line in lines)
        yield Table(
            ending=ending_of(LABELS[recording.kind]),
            content=gzip.compress(text.encode(), _LEVEL, mtime=0),
            sidecar={
                "SamplingFrequency": TICS_PER_S / recording.step_tics,
                "StartTime": (recording.start_tics - log.volumes_tics[0]) / TICS_PER_S,
                "PhysioType": "generic",
                "Columns": [*names.values(), "trigger"],
                **{name: _described(recording.kind, channel) for channel, name in names.items()},
                "trigger": _TRIGGER,
            },
        )


def _columns(recording: Recording) -> dict[str, str]:
    """Channel -> column: "cardiac" if it is the only one, else "ecg1", ..."""
    if recording.kind in ("PULS", "RESP") and len(recording.channels) == 1:
        return dict.fromkeys(recording.channels, LABELS[recording.kind])
    return {channel: channel.lower() for channel in recording.channels}


def _cell(value: int | None) -> str:
    return "n/a" if value is None else str(value)


def _described(kind: str, channel: str) -> Json:
    sensor = _SENSORS[kind].format(channel)
    return {"Description": f"{sensor}, as the scanner logged it", "Units": "arbitrary"}


def _triggers(recording: Recording, volumes_tics: tuple[int, ...]) -> list[int]:
    found = [0] * recording.samples
    for tics in volumes_tics:
        place = round((tics - recording.start_tics) / recording.step_tics)
        if 0 <= place < len(found):
            found[place] = 1
    return found
