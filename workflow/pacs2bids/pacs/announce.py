"""What a source says it has of one study (a search at SERIES and IMAGE level, PS3.4 section C.4.1)."""

from __future__ import annotations

import logging
from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import TypeAlias

from pacs2bids.identifiers import ASKED
from pacs2bids.model import PullError, QueryError, UnavailableError
from pacs2bids.pacs.inbox import is_uid
from pacs2bids.pacs.receipt import Announcement
from pacs2bids.peers import Attributes

# (level, question) -> answers, by C-FIND or QIDO-RS
Find: TypeAlias = Callable[[str, Attributes], Sequence[Attributes]]

log = logging.getLogger("pacs2bids.pull")


def announce(find: Find, called: str, study_instance_uid: str) -> Announcement:
    """Ask for the series of a study and their instances; of an unknown study nothing is listed.

    ``called``: the source, for messages. Raises QueryError if it cannot be asked, PullError if its answer is
    not usable.
    """
    listed, counted = dict[str, tuple[str, ...]](), dict[str, int]()
    study = {"StudyInstanceUID": study_instance_uid}
    found = find("SERIES", study | {"SeriesInstanceUID": "", "NumberOfSeriesRelatedInstances": ""})
    for series in found:
        uid = _uid(series, "SeriesInstanceUID", called)
        images = find("IMAGE", study | {"SeriesInstanceUID": uid, "SOPInstanceUID": ""})
        uids = {_uid(image, "SOPInstanceUID", called) for image in images}
        count = series.get("NumberOfSeriesRelatedInstances", "")
        if count.isdecimal():
            counted[uid] = int(count)
            if int(count) != len(uids):
                log.info("series %s: the PACS counts %s instances and lists %d", uid, count, len(uids))
        elif not uids:
            what = f"tells neither which instances series {uid} has, nor how many: nothing can prove it whole"
            hint = "Ask those who run it, or pull from an export of the study"
            raise PullError(what, where=called, hint=hint)
        if uids or counted.get(uid):
            listed[uid] = tuple(sorted(uids))
    announced = Announcement(
        listed={uid: listed[uid] for uid in sorted(listed)},
        counted={uid: counted[uid] for uid in sorted(listed) if uid in counted},
    )
    if not listed:
        return announced
    told = _of_study(find, study_instance_uid)
    instances, in_study = (max((_number(one.get(key, "")) for one in told), default=0) for key in _COUNTS)
    return replace(
        announced,
        patient={key: value for one in told for key in ASKED if (value := one.get(key, ""))},
        unlisted=max(0, instances - sum(announced.totals.values())),
        unlisted_series=max(0, in_study - len(found)),
    )


_COUNTS = ("NumberOfStudyRelatedInstances", "NumberOfStudyRelatedSeries")


def _of_study(find: Find, study_instance_uid: str) -> list[Attributes]:
    """How many instances and series the source says the study has, and who its patient is.

    Not every source keeps the counts true: they are a hint that a list may have been cut, and no more.
    """
    try:
        keys = dict.fromkeys((*_COUNTS, *ASKED), "")
        answers = find("STUDY", {"StudyInstanceUID": study_instance_uid} | keys)
    except UnavailableError:
        raise
    except QueryError as error:  # to these optional keys, maybe (PS3.4 table C.6-5)
        log.info("%s", error)
        return []
    return [one for one in answers if one.get("StudyInstanceUID") == study_instance_uid]


def _number(text: str) -> int:
    return int(text) if text.isdecimal() else 0


def _uid(answer: Attributes, keyword: str, called: str) -> str:
    uid = answer.get(keyword, "")
    if not is_uid(uid):
        what = f"answers a query with {uid[:80]!r} for {keyword}, which is no UID"
        raise PullError(what, where=called, hint="Have the study corrected there, then run again")
    return uid
