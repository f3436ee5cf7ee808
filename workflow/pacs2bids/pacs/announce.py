"""What a PACS says it has of one study (C-FIND at SERIES and IMAGE level, PS3.4 section C.4.1)."""

from __future__ import annotations

import logging
from collections.abc import Mapping

from pacs2bids.model import PullError
from pacs2bids.pacs.find import find
from pacs2bids.pacs.inbox import is_uid
from pacs2bids.pacs.peers import Attributes, PacsPeer

log = logging.getLogger("pacs2bids.pull")


def announce(peer: PacsPeer, study_instance_uid: str) -> Mapping[str, tuple[str, ...]]:
    """SeriesInstanceUID -> SOPInstanceUIDs, both sorted; empty if the PACS does not know the study.

    Raises QueryError if it cannot be asked, PullError if its answer is not usable.
    """
    announced = {}
    study = {"StudyInstanceUID": study_instance_uid}
    for series in find(
        peer, "SERIES", study | {"SeriesInstanceUID": "", "NumberOfSeriesRelatedInstances": ""}
    ):
        uid = _uid(series, "SeriesInstanceUID", peer)
        images = find(peer, "IMAGE", study | {"SeriesInstanceUID": uid, "SOPInstanceUID": ""})
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
