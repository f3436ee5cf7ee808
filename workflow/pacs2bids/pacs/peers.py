"""Where studies come from: a PACS, or a plain folder of DICOM files."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TypeAlias

# What a query asks and what it answers: DICOM keyword -> value as text. Several values of one attribute are
# separated by a backslash, as DICOM stores them; "" means empty (in a question: "tell me").
Attributes: TypeAlias = Mapping[str, str]


@dataclass(frozen=True, slots=True, kw_only=True)
class PacsPeer:
    """A PACS, and who we are to it. AE titles are at most 16 characters (PS3.5 section 6.2).

    ``name``: what the configuration calls it. ``host``, ``port``, ``ae_title``: where it listens, as whom.
    ``calling_ae_title``: our title when we ask. ``receive_ae_title``: the title to which it is told to move
    instances; "" means the calling one. ``receive_port``, ``receive_host``: where our receiver listens;
    host "" means all interfaces.
    """

    name: str
    host: str
    port: int
    ae_title: str
    calling_ae_title: str = "PACS2BIDS"
    receive_ae_title: str = ""
    receive_port: int = 11112
    receive_host: str = ""

    @property
    def destination_ae_title(self) -> str:
        """The AE title that a C-MOVE names as its destination."""
        return self.receive_ae_title or self.calling_ae_title

    def __str__(self) -> str:
        return f"PACS {self.name!r} ({self.ae_title} at {self.host}:{self.port})"


@dataclass(frozen=True, slots=True, kw_only=True)
class FolderSource:
    """A folder that holds DICOM files, at any depth."""

    name: str
    path: Path

    def __str__(self) -> str:
        return f"folder {self.name!r} ({self.path})"


Source: TypeAlias = PacsPeer | FolderSource
