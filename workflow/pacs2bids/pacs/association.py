"""Calling a PACS: an association for one service, or an error that says what to do."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from pynetdicom import AE
from pynetdicom.association import Association

from pacs2bids.model import Pacs2BidsError
from pacs2bids.pacs.peers import PacsPeer

_SERVICES = {
    "1.2.840.10008.5.1.4.1.2.2.1": "C-FIND",
    "1.2.840.10008.5.1.4.1.2.2.2": "C-MOVE",
}


@contextmanager
def associated(
    peer: PacsPeer, model: str, *, error: type[Pacs2BidsError], timeout_s: float = 600.0
) -> Iterator[Association]:
    """An association with ``peer`` for the study root information model ``model``; released at the end.

    ``timeout_s``: the longest silence. Raises ``error`` if the PACS cannot be reached, turns us away or does
    not offer the service.
    """
    entity = AE(ae_title=peer.calling_ae_title)
    entity.connection_timeout = entity.acse_timeout = 10
    entity.dimse_timeout = entity.network_timeout = timeout_s
    entity.add_requested_context(model)
    association = entity.associate(peer.host, peer.port, ae_title=peer.ae_title)
    if not association.is_established:
        raise _refused(association, peer, model, error)
    try:
        yield association
    finally:
        if association.is_established:
            association.release()


def _refused(
    association: Association, peer: PacsPeer, model: str, error: type[Pacs2BidsError]
) -> Pacs2BidsError:
    where = str(peer)
    if association.is_rejected:
        answer = association.acceptor.primitive
        reason = answer.reason_str if answer else "no reason"
        ours, its = peer.calling_ae_title, peer.ae_title
        hint = f"Register our AE title {ours} at the PACS, and check that its own is {its}"
        return error(f"turned us away: {reason}", where=where, hint=hint)
    if association.rejected_contexts:
        return error(f"offers no {_SERVICES[model]} to {peer.calling_ae_title}", where=where)
    hint = "Check host and port in config.yaml, that the PACS runs, and that no firewall is in between"
    return error("cannot be reached", where=where, hint=hint)
