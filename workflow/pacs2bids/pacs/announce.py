"""What a PACS says it has of one study (C-FIND at SERIES and IMAGE level, PS3.4 section C.4.1)."""

from __future__ import annotations

import logging
from collections.abc import Mapping

from pynetdicom.association import Association
from pynetdicom.sop_class import (  # type: ignore[attr-defined]  # pynetdicom makes these names at run time
    StudyRootQueryRetrieveInformationModelFind,
)

from pacs2bids.model import PullError
from pacs2bids.pacs.association import associated
from pacs2bids.pacs.identifiers import attributes_of, identifier_of
from pacs2bids.pacs.inbox import is_uid
from pacs2bids.pacs.peers import Attributes, PacsPeer

_PENDING = (0xFF00, 0xFF01)

log = logging.getLogger("pacs2bids.pull")


def announce(peer: PacsPeer, study_instance_uid: str) -> Mapping[str, tuple[str, ...]]:
    """SeriesInstanceUID -> SOPInstanceUIDs, both sorted; empty if the PACS does not know the study.

    Raises PullError if it cannot be asked, or its answer is not usable.
    """
    announced = {}
    with associated(peer, StudyRootQueryRetrieveInformationModelFind, error=PullError) as association:
        keys = {"StudyInstanceUID": study_instance_uid}
        asked = {**keys, "SeriesInstanceUID": "", "NumberOfSeriesRelatedInstances": ""}
        for series in _find(association, peer, "SERIES", asked):
            uid = _uid(series, "SeriesInstanceUID", peer)
            images = _find(
                association, peer, "IMAGE", {**keys, "SeriesInstanceUID": uid, "SOPInstanceUID": ""}
            )
            uids = {_uid(image, "SOPInstanceUID", peer) for image in images}
            announced[uid] = tuple(sorted(uids))
            count = series.get("NumberOfSeriesRelatedInstances", "")
            if count.isdigit() and int(count) != len(uids):
                log.warning("series %s: the PACS counts %s instances and lists %d", uid, count, len(uids))
    return {uid: announced[uid] for uid in sorted(announced) if announced[uid]}


def _uid(answer: Attributes, keyword: str, peer: PacsPeer) -> str:
    uid = answer.get(keyword, "")
    if not is_uid(uid):
        raise PullError(f"answers a query with {uid[:80]!r} for {keyword}, which is no UID", where=str(peer))
    return uid


def _find(association: Association, peer: PacsPeer, level: str, keys: Attributes) -> list[Attributes]:
    answers: list[Attributes] = []
    responses = association.send_c_find(
        identifier_of(level, keys), StudyRootQueryRetrieveInformationModelFind
    )
    for status, identifier in responses:
        if "Status" not in status:
            raise PullError(f"broke off the C-FIND at {level} level without an answer", where=str(peer))
        if status.Status in _PENDING and identifier is not None:
            answers.append(attributes_of(identifier))
        elif status.Status not in (0x0000, *_PENDING):
            raise PullError(
                f"failed the C-FIND at {level} level: status {status.Status:04X}", where=str(peer)
            )
    return answers
