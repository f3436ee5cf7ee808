"""Logs of physiology that CMRR's sequences for Siemens scanners store as a DICOM instance of their own.

Theory of operation. A "..._PhysioLog" series holds one instance without an image, whose private element
(7FE1,xx10) "SIEMENS CSA NON-IMAGE" is a row of text files in blocks of one length: AcquisitionNumber rows of
1024 bytes. A block's first row says the length of the text and of its name (uint32, little endian) and the
name; the text follows. Each text has lines ``key = value``, and lines of numbers below a line of headings:

- ``LogDataType = ACQUISITION_INFO``: volume, slice, start and end in tics, and (since R015a) echo;
- ``PULS``, ``RESP``, ``ECG``, ``EXT``: time in tics, channel, value and perhaps a mark as PULS_TRIGGER;
  ``SampleTime`` is in tics, too.

A tic is 2.5 ms of the scanner's clock, which need not agree with the time of day. Source: CMRR-C2P/MB,
extractCMRRPhysio.m and readCMRRPhysio.m (log version EJA_1); issues 253, 389 and 436 there for what is odd.
"""

from __future__ import annotations

import re
import struct
from collections import defaultdict
from collections.abc import Iterable, Iterator

from msgspec import Struct

from pacs2bids.header import Header, Private
from pacs2bids.model import HeaderError

TICS_PER_S = 400
PAYLOAD = Private(creator="SIEMENS CSA NON-IMAGE", group=0x7FE1, element=0x10, vr="OB")

_ROW = 1024  # bytes
_VERSION, _INFO, _KINDS = "EJA_1", "ACQUISITION_INFO", ("PULS", "RESP", "ECG", "EXT")
_GZIP = b"\x1f\x8b"
_DIGITS = re.compile(r"[0-9]{1,10}")
_LEAST_FILLED = 0.5  # of the samples between the first and the last
_MOST_FILLED = (
    1.02  # more would be lost: two that fall on one time, as a clock that drifts gives now and then
)
_MOST_FILES = 64  # five are known


class Recording(Struct, frozen=True, kw_only=True):
    """One sensor's samples at even distances.

    ``kind``: "PULS", "RESP", "ECG", "EXT". ``start_tics``: time of the first sample. ``step_tics``: from one
    to the next. ``channels``: name ("ECG1") -> values in the sensor's own units, None where none was logged.
    """

    kind: str
    start_tics: int
    step_tics: int
    channels: dict[str, tuple[int | None, ...]]

    @property
    def samples(self) -> int:
        """How many each channel has."""
        return max(map(len, self.channels.values()))


class PhysioLog(Struct, frozen=True, kw_only=True):
    """What one instance holds.

    ``measurement``: UUID of the scan, in lower case, which its images carry, too; "" if none.
    ``volumes_tics``: when each volume begins. ``lost``: recordings that cannot be used, and why.
    """

    measurement: str
    volumes_tics: tuple[int, ...]
    recordings: tuple[Recording, ...]
    lost: tuple[str, ...] = ()


class _Text(Struct, frozen=True):
    """One text file: its ``key = value`` lines, and the words of its lines of numbers."""

    values: dict[str, str]
    rows: list[list[str]]

    @property
    def kind(self) -> str:
        return self.values.get("LogDataType", "")

    @property
    def measurement(self) -> str:
        return self.values.get("UUID", "").lower()


def is_log(header: Header) -> bool:
    """Whether an instance holds such a log, by its private block and what its series is called.

    Source: rordenlab/dcm2niix#157: ImageType ORIGINAL\\PRIMARY\\RAWDATA\\PHYSIO, "..._PhysioLog".
    """
    if not header.has_private(PAYLOAD.creator, PAYLOAD.group):
        return False
    description = header.text("SeriesDescription") or ""
    return "PHYSIO" in header.texts("ImageType") or description.endswith("PhysioLog")


def of_header(header: Header) -> PhysioLog:
    """The log in an instance. Raises HeaderError as ``read_log`` does."""
    return read_log(header.private_bytes(PAYLOAD) or b"", header.integer("AcquisitionNumber") or 0)


def read_log(payload: bytes, rows: int) -> PhysioLog:
    """Decode the private element. ``rows``: AcquisitionNumber, of 1024 bytes a file.

    Raises HeaderError if it is no such log, or tells no times of volumes, or no sensor recorded anything.
    """
    texts = [_text(content) for content in _files(payload, rows) if content]
    if {text.values.get("LogVersion") for text in texts} != {_VERSION}:
        raise HeaderError(f"is not of version {_VERSION} of these logs, the one that is known")
    if len({text.measurement for text in texts}) > 1:
        raise HeaderError("holds logs of several measurements (their UUID differ)")
    infos = [text for text in texts if text.kind == _INFO]
    if len(infos) != 1:
        raise HeaderError(f"holds {len(infos)} tables of volumes, not one")
    volumes_tics = _volumes_tics(infos[0].rows)
    recordings, lost = list[Recording](), list[str]()
    for text in (text for text in texts if text.kind in _KINDS):
        try:
            found = _recording(text, volumes_tics)
        except HeaderError as error:
            lost.append(f"{text.kind}: {error.what}")
        else:
            recordings += [found] if found else []
    if not recordings:
        raise HeaderError("; ".join(lost) or "no sensor recorded anything")
    return PhysioLog(
        measurement=infos[0].measurement,
        volumes_tics=volumes_tics,
        recordings=tuple(recordings),
        lost=tuple(lost),
    )


def _files(payload: bytes, rows: int) -> Iterator[bytes]:
    if payload.startswith(_GZIP):
        raise HeaderError("is a log of Siemens' own form (compressed XML), not of CMRR's")
    block = rows * _ROW
    if rows < 2 or not payload or len(payload) % block or len(payload) // block > _MOST_FILES:
        raise HeaderError(f"{len(payload)} bytes are no files of {rows} rows of {_ROW} bytes")
    for begin in range(0, len(payload), block):
        length, name_length = struct.unpack_from("<2I", payload, begin)
        if length > block - _ROW or name_length > _ROW - 8:
            raise HeaderError("a file in it is longer than its block: it is damaged or cut short")
        yield payload[begin + _ROW : begin + _ROW + length]


def _text(content: bytes) -> _Text:
    values, rows = dict[str, str](), list[list[str]]()
    for line in content.decode("latin-1").splitlines():
        said = line.partition("#")[0]
        key, separator, value = said.partition("=")
        if separator:
            values.setdefault(key.strip(), value.strip())
        elif (words := said.split()) and words[0].isdigit():
            rows.append(words)
    return _Text(values, rows)


def _number(words: list[str], place: int) -> int:
    if place >= len(words) or not _DIGITS.fullmatch(words[place]):
        raise HeaderError(f"a line is not understood ({len(words)} columns)")
    return int(words[place])


def _volumes_tics(rows: Iterable[list[str]]) -> tuple[int, ...]:
    """When each volume begins: the first start of its slices, whatever the echo."""
    starts: dict[int, int] = {}
    for words in rows:
        volume, start = _number(words, 0), _number(words, 2)
        starts[volume] = min(start, starts.get(volume, start))
    found = tuple(starts[volume] for volume in sorted(starts))
    if not found:
        raise HeaderError("tells no times of volumes")
    if list(found) != sorted(set(found)):
        raise HeaderError("its volumes do not begin one after the other")
    return found


def _recording(text: _Text, volumes_tics: tuple[int, ...]) -> Recording | None:
    """The samples of one text; None if no channel recorded anything but zeros."""
    step = _number([text.values.get("SampleTime", "")], 0)
    if not 0 < step <= TICS_PER_S:
        raise HeaderError(f"a SampleTime of {step} tics is not plausible")
    samples, marked = _samples(text.rows)
    samples = {name: values for name, values in samples.items() if any(values.values())}
    if not samples:
        return None
    start = min(tics for values in samples.values() for tics in values)
    end = max(tics for values in samples.values() for tics in values)
    if end < volumes_tics[0] or start > volumes_tics[-1]:
        raise HeaderError("its clock is not that of the volumes: no sample was taken while they were")
    count = (end - start + (step - 1) // 2) // step + 1
    taken = max(map(len, samples.values()))
    if taken < _LEAST_FILLED * count:
        raise HeaderError("most of its samples are missing")
    if taken > _MOST_FILLED * count:
        raise HeaderError(f"its samples come faster than its SampleTime of {step} tics says")
    for name, values in samples.items():
        for tics, value in marked.get(name, {}).items():
            if (tics - start) % step == 0 and start <= tics <= end:
                values.setdefault(tics, value)
    channels = {name: _even(values, start, step, count) for name, values in sorted(samples.items())}
    return Recording(kind=text.kind, start_tics=start, step_tics=step, channels=channels)


_Samples = dict[str, dict[int, int]]


def _samples(rows: Iterable[list[str]]) -> tuple[_Samples, _Samples]:
    """Channel -> time -> value: of plain lines, and of those with a mark.

    A marked line is the sample of its time where no plain one is: some versions write it beside the sample,
    with a value of its own, and late (CMRR-C2P/MB#436).
    """
    plain: _Samples = defaultdict(dict)
    marked: _Samples = defaultdict(dict)
    for words in rows:
        tics, value = _number(words, 0), _number(words, 2)
        (plain if len(words) == 3 else marked)[words[1]].setdefault(tics, value)
    return dict(plain), dict(marked)


def _even(values: dict[int, int], start: int, step: int, count: int) -> tuple[int | None, ...]:
    """Each value at the nearest of evenly spaced times: those of the log may be a tic off (issue 253).

    Half a step counts as late: else two of a row that are a tic late would meet.
    """
    slots: list[int | None] = [None] * count
    for tics, value in sorted(values.items()):
        slots[(tics - start + (step - 1) // 2) // step] = value
    return tuple(slots)
