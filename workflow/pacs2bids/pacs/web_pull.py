"""Pulling one study from a DICOMweb server: announced by QIDO-RS, brought by WADO-RS."""

from __future__ import annotations

from contextlib import nullcontext
from functools import partial
from pathlib import Path

from pacs2bids.model import Receipt
from pacs2bids.pacs.announce import announce
from pacs2bids.pacs.pull import Origin, Patience, pull_from
from pacs2bids.pacs.transport import Way
from pacs2bids.pacs.web import Client
from pacs2bids.pacs.web_find import searched
from pacs2bids.pacs.web_retrieve import WadoTransport
from pacs2bids.peers import WADO, WebPeer


def pull_from_web(
    web: WebPeer, study_instance_uid: str, folder: Path, *, patience: Patience | None = None
) -> Receipt:
    """Bring a study into ``folder``; raises as ``pull_from``, and ConfigError for an unusable secret."""
    client = Client(web)
    origin = Origin(
        source=web,
        kind="dicomweb",
        announce=partial(announce, partial(searched, client), str(web)),
        ways=[Way(name=WADO, opening=lambda inbox: nullcontext(WadoTransport(client, inbox)))],
    )
    return pull_from(origin, study_instance_uid, folder, patience=patience or Patience())
