"""From what the configuration says of a source to what ``pacs`` talks to; no verb, but for those that do."""

from __future__ import annotations

from dataclasses import asdict

from pacs2bids.config import PacsSource
from pacs2bids.pacs.peers import PacsPeer


def peer_of(source: PacsSource) -> PacsPeer:
    """The PACS of a configuration. Both records have the same fields, so that none can be forgotten."""
    return PacsPeer(**asdict(source))
