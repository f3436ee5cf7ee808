"""Where studies come from: a PACS, a DICOMweb server, or files; who we are to it, and how we treat it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import time
from pathlib import Path
from typing import TypeAlias

# What a query asks and what it answers: DICOM keyword -> value as text. Several values of one attribute are
# separated by a backslash, as DICOM stores them; "" means empty (in a question: "tell me").
Attributes: TypeAlias = Mapping[str, str]

# What studies must satisfy: DICOM keyword -> keys of C-FIND of which one must match. All keywords must.
Conditions: TypeAlias = Mapping[str, tuple[str, ...]]

MOVE, GET, WADO = "move", "get", "wado"  # the ways to retrieve: C-MOVE, C-GET, WADO-RS


@dataclass(frozen=True, slots=True, kw_only=True)
class Slot:
    """A move destination that a PACS knows us by: to send to ``ae_title`` is to this host's ``port``."""

    ae_title: str
    port: int

    def __str__(self) -> str:
        return f"{self.ae_title} at port {self.port}"


@dataclass(frozen=True, slots=True, kw_only=True)
class Tls:
    """Files (PEM) for encrypted connections.

    ``ca``: those who vouch for the other side; None: the system's. ``certificate`` and ``key``: ours.
    ``server_name``: what the other side's certificate is made out to; "": the host that is called.
    """

    ca: Path | None = None
    certificate: Path | None = None
    key: Path | None = None
    server_name: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Secret:
    """Where a password or token stands; it is read when it is needed, and never kept, logged or shown.

    Exactly one of ``file`` (its first line) and ``env`` (an environment variable) is given.
    """

    file: Path | None = None
    env: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Courtesy:
    """How a source is spared.

    ``hours``: from when to when studies may be pulled, local time, over midnight if the first is the later;
    None: always. ``pause_s``: between two studies. ``moves``: how many retrievals of one study run at once.
    ``retries``: how often an attempt that could not be made (PACS down, busy) is repeated, with pauses that
    grow.
    """

    hours: tuple[time, time] | None = None
    pause_s: float = 0.0
    moves: int = 1
    retries: int = 3


@dataclass(frozen=True, slots=True, kw_only=True)
class WebPeer:
    """A DICOMweb server (PS3.18). ``url``: its root, such as https://pacs.example/dicom-web.

    ``token``: a bearer token (RFC 6750). ``user`` and ``password``: basic authentication (RFC 7617).
    """

    name: str
    url: str
    token: Secret | None = None
    user: str = ""
    password: Secret | None = None
    tls: Tls = Tls()
    courtesy: Courtesy = Courtesy()

    def __str__(self) -> str:
        return f"DICOMweb server {self.name!r} ({self.url})"


@dataclass(frozen=True, slots=True, kw_only=True)
class PacsPeer:
    """A PACS, and who we are to it. AE titles are at most 16 characters (PS3.5 section 6.2).

    ``name``: what the configuration calls it. ``host``, ``port``, ``ae_title``: where it listens, as whom.
    ``calling_ae_title``: our title when we ask. ``retrieve``: the ways to retrieve, in the order of trial.
    ``slots``: the move destinations of which a pull takes one; ``receive_host``: the address that our
    receiver listens on, "" for all. ``tls``: None for plain connections; with a certificate the receiver
    wants TLS, too. ``web``: the DICOMweb root of the same PACS, for WADO-RS.
    """

    name: str
    host: str
    port: int
    ae_title: str
    calling_ae_title: str = "PACS2BIDS"
    retrieve: tuple[str, ...] = (MOVE,)
    slots: tuple[Slot, ...] = (Slot(ae_title="PACS2BIDS", port=11112),)
    receive_host: str = ""
    tls: Tls | None = None
    web: WebPeer | None = None
    courtesy: Courtesy = Courtesy()

    def __str__(self) -> str:
        return f"PACS {self.name!r} ({self.ae_title} at {self.host}:{self.port})"


@dataclass(frozen=True, slots=True, kw_only=True)
class FolderSource:
    """A folder that holds DICOM files at any depth, also inside of archives; or one archive."""

    name: str
    path: Path

    def __str__(self) -> str:
        return f"folder {self.name!r} ({self.path})"


Source: TypeAlias = PacsPeer | WebPeer | FolderSource


@dataclass(frozen=True, slots=True, kw_only=True)
class Notify:
    """Whom to tell how a run ended. ``webhook``: an address that gets JSON by POST, "" for none.

    ``token``: a bearer token for it. ``mail``: a command that gets a text on its standard input, "" for none.
    ``when``: "problems": if something needs a person; "changes": if that is not what was told last; "always".
    """

    webhook: str = ""
    token: Secret | None = None
    mail: str = ""
    when: str = "problems"
