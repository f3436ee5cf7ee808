"""Echo-planar GE: polarity, readout, time from volume to volume, and onset of slices.

What the elements mean: see ``ge``. Each GE header holds a copy of the raw data's header, (0043,xx2A), and the
protocol as text, (0025,xx1B); what neither says stays unknown.
"""

from __future__ import annotations

import math
import re
import struct
import zlib
from functools import lru_cache

from msgspec import Struct

from pacs2bids.header import Header, Private
from pacs2bids.model import Facts
from pacs2bids.recalled import recalled

PARAMETERS, ACQUISITION, RELATION, SERIES = "GEMS_PARM_01", "GEMS_ACQU_01", "GEMS_RELA_01", "GEMS_SERS_01"

PULSE_SEQUENCE = Private(creator=ACQUISITION, group=0x19, element=0x9C, vr="LO")
INTERNAL_PULSE_SEQUENCE = Private(creator=ACQUISITION, group=0x19, element=0x9E, vr="LO")
USER_12 = Private(creator=ACQUISITION, group=0x19, element=0xB3, vr="DS")
USER_15 = Private(creator=ACQUISITION, group=0x19, element=0xB6, vr="DS")
LOCATIONS = Private(creator=RELATION, group=0x21, element=0x4F, vr="SS")
TIMER = Private(creator=RELATION, group=0x21, element=0x5E, vr="DS")
ACQUISITIONS = Private(creator=SERIES, group=0x25, element=0x11, vr="SS")
PROTOCOL_BLOCK = Private(creator=SERIES, group=0x25, element=0x1B)
USER_DATA = Private(creator=PARAMETERS, group=0x43, element=0x2A)
ECHO_SPACING_US = Private(creator=PARAMETERS, group=0x43, element=0x2C, vr="SS")
GROUP_DELAY_S = Private(creator=PARAMETERS, group=0x43, element=0x7C, vr="FL")
ASSET = Private(creator=PARAMETERS, group=0x43, element=0x83, vr="DS")
MULTIBAND = Private(creator=PARAMETERS, group=0x43, element=0xB6, vr="LO")

_PHASE_FLIPPED = 4  # bit of dacq_ctrl
_TOP_DOWN, _BOTTOM_UP = 0, 2  # kydir; its other values are centre-out


class Epi(Struct, frozen=True, kw_only=True):
    """What is needed of an echo-planar header, read once. ``planar``: whether it is one.

    ``acceleration``: in plane. ``acquisitions``: passes that make one volume. ``release``: of the software,
    as (28, 2) for 28.x R02; (0, 0) if it is not there. ``reversed_rows``: this volume of a pepolar series has
    its phase encoded the other way, and its rows stored in reverse.
    """

    planar: bool
    multiphase: bool
    diffusion: bool
    sequence: str
    options: tuple[str, ...]
    acceleration: float | None
    acquisitions: int
    multiband: int | None
    release: tuple[int, int]
    reversed_rows: bool | None
    protocol: dict[str, str]


@recalled
def read(header: Header) -> Epi:
    """The echo-planar facts of one instance."""
    asset = header.private_numbers(ASSET)
    multiband = header.private_texts(MULTIBAND)[:1]
    bands = int(multiband[0]) if multiband and multiband[0].isdecimal() else 0
    options = header.texts("ScanOptions")
    sequence = header.private_text(PULSE_SEQUENCE) or ""
    return Epi(
        planar="EPI_GEMS" in options,
        multiphase="MP_GEMS" in options,
        diffusion=header.private_text(INTERNAL_PULSE_SEQUENCE) == "EPI2",
        sequence=sequence,
        options=options,
        # the reciprocal of the factor is stored
        acceleration=round(1 / asset[0], 4) if asset and asset[0] > 0 else None,
        acquisitions=int(header.private_number(ACQUISITIONS) or 1),
        multiband=bands if bands > 1 else None,
        release=_release(header),
        reversed_rows=_reversed_rows(header) if "epi_pepolar" in sequence else False,
        protocol=_protocol(header.private_bytes(PROTOCOL_BLOCK) or b""),
    )


def _release(header: Header) -> tuple[int, int]:
    """(28, 2) of "DV28.0_R02_1947.a", "RX28.0_R02"; (14, 0) of "14.0_M4_0629.a"."""
    versions = "\\".join(header.texts("SoftwareVersions"))
    found = re.search(r"(?:DV|MR|RX|HD|PX|SV|\brelease:)(\d\d)\.\d+(?:_R(\d\d))?", versions)
    return (int(found[1]), int(found[2] or 0)) if found else (0, 0)


def _reversed_rows(header: Header) -> bool | None:
    """Whether this volume of the research sequence epi_pepolar has the other polarity; None: it is not told.

    User variable 12 is the scheme: 0 all forward, 1 all reversed, 2 reversed first and then in turns, 3
    forward first (github.com/neurolabusc/dcm_qa_polar; github.com/rordenlab/dcm2niix/issues/532).
    """
    scheme, volume = header.private_number(USER_12), header.integer("TemporalPositionIdentifier")
    if scheme in (0, 1):
        return scheme == 1
    if scheme not in (2, 3) or volume is None:
        return None
    return (volume % 2 == 1) == (scheme == 2)


# ---------------------------------------------------------------------------------------------- readout


def readout(header: Header, epi: Epi, matrix: int | None) -> tuple[float, float] | None:
    """(effective echo spacing, total readout time) in s on a stored picture of ``matrix`` lines.

    GE gives the time between acquired echoes, divided by shots, (0043,xx2C). Lines acquired: those of the
    acquisition matrix over the acceleration, rounded up to an even number, or to a multiple of four with
    partial Fourier. A displacement in mm does not depend on interpolation, so the effective spacing is one on
    the acquisition matrix, and BIDS' total readout time, which counts displacement in stored voxels, is
    that spacing times the stored lines. (GE/README.md; proved there by measured field maps against those that
    TOPUP finds, github.com/rordenlab/dcm2niix/pull/725; corpus trt/2, trt/10, trt/12.)
    """
    spacing_us = header.private_number(ECHO_SPACING_US)
    lines = max(header.numbers("AcquisitionMatrix")[2:], default=0.0)
    if not epi.planar or not spacing_us or lines < 2 or matrix is None or matrix < 2:
        return None
    multiple = 4 if {"PFF", "PFP"} & set(epi.options) else 2
    acquired = math.ceil(lines / (epi.acceleration or 1) / multiple) * multiple
    spacing = (acquired - 1) * spacing_us / 1e6 / (lines - 1)
    return spacing, spacing * (matrix - 1)


# ---------------------------------------------------------------------------------------------- polarity


def polarity(header: Header, epi: Epi) -> bool | None:
    """Whether phase is encoded towards the increasing row or column index; None where it is not told.

    It is, unless flipped. RectilinearPhaseEncodeReordering says so for diffusion from release 27 on. Else
    two facts of the raw header tell: k-space is traversed top-down or bottom-up (kydir), and the gradient
    may be inverted (dacq_ctrl); either one flips, both do not (github.com/rordenlab/dcm2niix/issues/163 and
    674). A reversed volume of pepolar is flipped once more. Agrees with dcm2niix on all 26 such series of
    the corpus.
    """
    if not epi.planar or epi.reversed_rows is None:
        return None
    order = header.text("RectilinearPhaseEncodeReordering")
    if order in ("LINEAR", "REVERSE_LINEAR"):
        return (order == "REVERSE_LINEAR") != epi.reversed_rows
    found = _traversal(header.private_bytes(USER_DATA) or b"")
    if found is None:
        return None
    direction, control = found
    flipped = (direction == _BOTTOM_UP) != bool(control & _PHASE_FLIPPED)
    return flipped == epi.reversed_rows


def _traversal(user_data: bytes) -> tuple[int, int] | None:
    """(kydir, dacq_ctrl) of the raw header inside (0043,xx2A).

    The 32-bit number at byte 24 is where that header starts, with its version as a float. Up to version
    25.001 the logo stands at byte 34, dacq_ctrl at 48, kydir at 916; since then 76, 76 and -64 further
    (rdbm.h; corpus stc/GE/RTIA is version 24, the others 26 to 30).
    """
    try:
        (start,) = struct.unpack_from("<I", user_data, 24)
        (version,) = struct.unpack_from("<f", user_data, start)
        shift, back = (76, 64) if version >= 25.002 else (0, 0)
        logo, control = struct.unpack_from("<10s4xH", user_data, start + shift + 34)
        (direction,) = struct.unpack_from("<i", user_data, start + 916 - back)
    except struct.error:
        return None
    known = logo.startswith(b"GE") and direction in (_TOP_DOWN, _BOTTOM_UP)
    return (direction, control) if known else None


# ---------------------------------------------------------------------------------------------- time


def repetition_time(header: Header, base: Facts, epi: Epi) -> float | None:
    """From volume to volume, in s. RepetitionTime is that of one pass, without the pause after a volume.

    The pause: group delay of "epiRT" (corpus ge/SliceTimingRT), DELACQ of multiphase (ge/SliceTimingMPh).
    Multiphase may need several passes a volume: ten volumes of two passes of 2 s took 40 s by (0019,xx5A),
    and their trigger times reach 38.963 s (corpus trt/10, trt/12). Where delays vary from volume to volume
    ("MPhVar", ge/SliceTimingMPh/5) there is no such time.
    """
    repetition = base.repetition_time_s
    if repetition is None or not epi.planar:
        return repetition
    if not epi.multiphase:
        return round(repetition + (header.private_number(GROUP_DELAY_S) or 0.0), 6)
    if "MPhVar" in epi.protocol.get("IOPT", ""):
        return None
    pause = epi.protocol.get("DELACQ", "")  # "Minimum", or seconds
    seconds = float(pause) if re.fullmatch(r"\d+(\.\d+)?", pause) else 0.0
    return round(repetition * max(epi.acquisitions, 1) + seconds, 6)


def slice_time(header: Header, epi: Epi) -> float | None:
    """Onset of this slice within its volume, in s from a fixed origin; None where GE does not say.

    "epi" with multiphase writes the end of the slice's slot into TriggerTime; with multiband before release
    28 those times are wrong (github.com/rordenlab/dcm2niix/issues/336) and its order, always interleaved
    (699), tells. "epiRT" says its order in the protocol. Diffusion ("epi2") is interleaved, unless its
    gradients cycle. What is left may have the timer of the real-time image acquisition.
    """
    if not epi.planar:
        return None
    trigger_ms = header.number("TriggerTime") if epi.multiphase else None
    if trigger_ms and (epi.multiband is None or epi.release[0] >= 28):
        return trigger_ms / 1000
    interleaved = _interleaved(header, epi)
    if interleaved is not None and epi.acquisitions == 1:
        slot = _slot_time(header, epi, interleaved=interleaved)
        if slot is not None:
            return slot
    return None if epi.diffusion else _timer(header, epi)


def _interleaved(header: Header, epi: Epi) -> bool | None:
    """Whether even slices come before odd ones; None where the order is not known."""
    if epi.diffusion:
        return None if diffusion_cycling(header) else True
    if epi.multiphase:
        return True if epi.multiband else None
    return {"0": False, "1": True}.get(epi.protocol.get("SLICEORDER", ""))


def diffusion_cycling(header: Header) -> str | None:
    """How gradients of diffusion cycle over repetitions to spare the coil: then a volume's slices have no
    one time.

    "ALLTR", "2TR", "3TR" (dcm2niix's words) by user variable 12; None: they do not. Premier, UHP and 7T
    cycle, unless user variable 15 says that a study's protocol is used
    (github.com/rordenlab/dcm2niix/issues/635, 796, pull 804).
    """
    model = (header.text("ManufacturerModelName") or "").upper()
    mode, special = header.private_number(USER_12) or 0.0, header.private_number(USER_15) or 0.0
    if "PREMIER" in model:
        off = abs(special - 0.72) < 1e-3
    elif "UHP" in model or "7T" in model:
        off = 0.5 <= special <= 1.0
    else:
        off = True
    return None if off else {2.0: "2TR", 3.0: "3TR"}.get(mode, "ALLTR")


def _slot_time(header: Header, epi: Epi, *, interleaved: bool) -> float | None:
    """Onset by the place in the order of excitations, which share the repetition evenly.

    With multiband the highest slices of an incomplete last band, and of an excitation that is only there to
    make their number odd, are acquired and thrown away (issues 544 and 933).
    """
    number, locations = header.integer("InstanceNumber"), int(header.private_number(LOCATIONS) or 0)
    repetition_ms = header.number("RepetitionTime")
    if not number or locations < 1 or repetition_ms is None:
        return None
    bands = epi.multiband or 1
    excitations = math.ceil(locations / bands)
    even = bands > 1 and interleaved and excitations % 2 == 0
    if even and not epi.diffusion and epi.release == (0, 0):
        return None
    # from 27.0 R03 on "epi" and "epiRT" swap two excitations; before, and in diffusion, one is added (issue
    # 544)
    swap = even and not epi.diffusion and epi.release >= (27, 3)
    excitations += even and not swap
    index = (number - 1) % locations % excitations
    slot = _slot(index, excitations, swap=swap) if interleaved else index
    return slot * repetition_ms / 1000 / excitations


def _slot(index: int, excitations: int, *, swap: bool) -> int:
    """When slice ``index`` is excited if even slices come first, then odd ones.

    ``swap``: the last two change places, which keeps the neighbours at the band's border apart (issue 544;
    the timer of corpus ge/SliceTiming/10 agrees).
    """
    slot = index // 2 if index % 2 == 0 else (excitations + 1) // 2 + index // 2
    if swap and excitations > 2:
        return {excitations - 1: excitations - 2, excitations - 2: excitations - 1}.get(slot, slot)
    return slot


def _timer(header: Header, epi: Epi) -> float | None:
    """The RTIA timer in s: seconds in release 24, 0.1 ms in 14 (github.com/rordenlab/dcm2niix/issues/286)."""
    timer = header.private_number(TIMER)
    if not timer or not (epi.release[0] >= 20 or 0 < epi.release[0] <= 14):
        return None
    return timer if epi.release[0] >= 20 else timer / 1e4


@lru_cache(maxsize=16)
def _protocol(block: bytes) -> dict[str, str]:
    """The protocol data block: a gzip stream after four bytes of length, of lines KEY "value".

    One a series, the same in each of its instances: kept for the last few distinct ones.
    """
    start = block.find(b"\x1f\x8b")
    if start < 0:
        return {}
    try:
        text = zlib.decompressobj(31).decompress(block[start:], 1 << 20).decode("latin-1")
    except zlib.error:
        return {}
    lines = (line.partition(" ") for line in text.splitlines())
    return {key: value.strip().strip('"') for key, _, value in lines if value}
