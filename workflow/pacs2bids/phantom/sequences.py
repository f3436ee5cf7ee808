"""How each contrast of the phantom is acquired."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from pacs2bids.phantom.protocol import PhantomSeries


@dataclass(frozen=True, slots=True, kw_only=True)
class Sequence:
    """A pulse sequence in DICOM's words (PS3.3 C.8.3.1). ``file``: the vendor's name for it."""

    name: str
    file: str
    scanning: str | list[str]
    variants: list[str]
    options: str
    acquisition: str
    pixel_bandwidth_hz: float


SEQUENCES: Mapping[str, Sequence] = {
    "T1w": Sequence(
        name="*tfl3d1_16ns",
        file="tfl",
        scanning=["GR", "IR"],
        variants=["SK", "SP", "MP"],
        options="IR",
        acquisition="3D",
        pixel_bandwidth_hz=240,
    ),
    "GRE": Sequence(
        name="*fm2d2r",
        file="gre",
        scanning="GR",
        variants=["SP"],
        options="",
        acquisition="2D",
        pixel_bandwidth_hz=290,
    ),
    "FLASH": Sequence(
        name="*fl3d1",
        file="gre",
        scanning="GR",
        variants=["SP"],
        options="",
        acquisition="3D",
        pixel_bandwidth_hz=320,
    ),
    "TSE": Sequence(
        name="*tse2d1_15",
        file="tse",
        scanning="SE",
        variants=["SK", "SP"],
        options="",
        acquisition="2D",
        pixel_bandwidth_hz=220,
    ),
    "TIR": Sequence(
        name="*tir2d1_16",
        file="tse",
        scanning=["SE", "IR"],
        variants=["SK", "SP", "MP"],
        options="IR",
        acquisition="2D",
        pixel_bandwidth_hz=220,
    ),
    "EPI": Sequence(
        name="epfid2d1_64",
        file="ep2d_bold",
        scanning="EP",
        variants=["SK"],
        options="FS",
        acquisition="2D",
        pixel_bandwidth_hz=2315,
    ),
    "DWI": Sequence(
        name="ep_b0",
        file="ep2d_diff",
        scanning="EP",
        variants=["SK", "SP"],
        options="FS",
        acquisition="2D",
        pixel_bandwidth_hz=1955,
    ),
    "GRASE": Sequence(
        name="tgse3d1_512",
        file="tgse_pcasl",
        scanning=["SE", "EP"],
        variants=["SK", "SP"],
        options="FS",
        acquisition="3D",
        pixel_bandwidth_hz=2298,
    ),
}
_OF_CONTRAST = {"PHASE": "GRE", "BOLD": "EPI", "SBREF": "EPI"}


def sequence_of(series: PhantomSeries) -> Sequence:
    """How this series is acquired."""
    return SEQUENCES[series.sequence or _OF_CONTRAST.get(series.contrast, series.contrast)]
