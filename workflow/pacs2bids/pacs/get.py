"""C-GET (PS3.4 section C.4.3): the PACS stores on the connection that we opened; no port of ours is needed.

Here we must say beforehand which kinds of instances may come, and in which transfer syntaxes: one context can
carry one syntax only, and an association 128 contexts. So we ask the PACS which SOP classes the study has,
and propose each in as many syntaxes as there is room for: what is stored compressed comes as it is.
"""

from __future__ import annotations

import logging
from collections.abc import Iterator, Sequence
from contextlib import contextmanager

from pydicom import uid as uids
from pynetdicom import build_role, evt
from pynetdicom.association import Association
from pynetdicom.presentation import PresentationContext, build_context
from pynetdicom.sop_class import (  # type: ignore[attr-defined]  # pynetdicom makes these names at run time
    StudyRootQueryRetrieveInformationModelGet,
)

from pacs2bids.model import QueryError, TransferStatus
from pacs2bids.pacs.dimse import (
    LONGEST_TRANSFER_S,
    DimseTransfer,
    identifier_for,
    listening,
    message_ids,
)
from pacs2bids.pacs.find import associated, find, settle
from pacs2bids.pacs.inbox import Inbox, is_uid
from pacs2bids.pacs.receiver import process_settings
from pacs2bids.pacs.storing import store_into
from pacs2bids.pacs.transport import Explanation, Request, explained
from pacs2bids.peers import GET, PacsPeer

_MODEL = StudyRootQueryRetrieveInformationModelGet
_MOST_CONTEXTS = 128  # their ids are the odd numbers of one byte (PS3.8 section 9.3.2.2)
_SLOW_ANSWER_S = 600.0  # where the PACS reads each file for it

# in the order of what is found in archives; the last ones share a context if there is no room for all
_SYNTAXES = (
    uids.ExplicitVRLittleEndian,
    uids.JPEGLosslessSV1,
    uids.JPEG2000Lossless,
    uids.JPEGLSLossless,
    uids.RLELossless,
    uids.JPEGBaseline8Bit,
    uids.JPEG2000,
    uids.JPEGExtended12Bit,
    uids.JPEGLSNearLossless,
    uids.JPEGLossless,
    uids.DeflatedExplicitVRLittleEndian,
    uids.HTJ2KLossless,
    uids.HTJ2KLosslessRPCL,
    uids.HTJ2K,
    uids.ExplicitVRBigEndian,
    uids.ImplicitVRLittleEndian,
)
# for a PACS that tells no SOP classes at all
_USUAL_CLASSES = (
    uids.MRImageStorage,
    uids.EnhancedMRImageStorage,
    uids.EnhancedMRColorImageStorage,
    uids.LegacyConvertedEnhancedMRImageStorage,
    uids.MRSpectroscopyStorage,
    uids.CTImageStorage,
    uids.EnhancedCTImageStorage,
    uids.PositronEmissionTomographyImageStorage,
    uids.EnhancedPETImageStorage,
    uids.SecondaryCaptureImageStorage,
    uids.MultiFrameGrayscaleWordSecondaryCaptureImageStorage,
    uids.MultiFrameTrueColorSecondaryCaptureImageStorage,
    uids.GrayscaleSoftcopyPresentationStateStorage,
    uids.RawDataStorage,
    uids.ParametricMapStorage,
    uids.SegmentationStorage,
    uids.EncapsulatedPDFStorage,
    uids.BasicTextSRStorage,
    uids.EnhancedSRStorage,
    uids.ComprehensiveSRStorage,
    uids.UID("1.3.12.2.1107.5.9.1"),  # Siemens CSA non-image
)

log = logging.getLogger("pacs2bids.pull")


@contextmanager
def getting(peer: PacsPeer, inbox: Inbox) -> Iterator[GetTransport]:
    """C-GET into ``inbox``."""
    with process_settings():
        try:
            yield GetTransport(peer, inbox)
        finally:
            inbox.flush()


class GetTransport:
    """C-GET; a ``Transport``."""

    way = GET
    asks_one_by_one = False

    def __init__(self, peer: PacsPeer, inbox: Inbox) -> None:
        self._peer, self._inbox = peer, inbox
        self._message_ids = message_ids()
        self._is_open = False
        self._sop_classes: Sequence[str] = ()

    @property
    def reached_us(self) -> bool:
        """Whether the PACS took a call of ours and agreed to store on it."""
        return self._is_open

    @contextmanager
    def transferring(self, request: Request) -> Iterator[DimseTransfer]:
        """Ask the PACS to send to us. Raises QueryError if it does not talk to us, or not so."""
        sop_classes = self._sop_classes or self._asked_classes(request.study_instance_uid)
        self._sop_classes = sop_classes
        contexts = [build_context(_MODEL), *contexts_for(sop_classes)]
        roles = [build_role(one, scp_role=True) for one in sop_classes]
        handlers = [(evt.EVT_CONN_OPEN, lambda event: store_into(self._inbox, event.assoc))]
        with associated(
            self._peer, contexts, response_timeout_s=LONGEST_TRANSFER_S, handlers=handlers, roles=roles
        ) as association:
            self._check_accepted(association)
            self._is_open = True
            message_id = next(self._message_ids)
            settle(association)
            answers = association.send_c_get(identifier_for(request), _MODEL, message_id)
            started = TransferStatus(way=GET, level=request.level, message_id=message_id, status="")
            with listening(association, answers, _MODEL, started) as transfer:
                yield transfer
        if not transfer.status.succeeded:
            self._sop_classes = ()  # the study may have got one that was not proposed

    def explanation(self, last: TransferStatus) -> Explanation:
        """What the PACS said."""
        return explained(last, "the PACS")

    def _check_accepted(self, association: Association) -> None:
        accepted = association.accepted_contexts
        if not any(one.abstract_syntax == _MODEL for one in accepted):
            hint = "It must allow C-GET (Study Root) to our AE title, or set retrieve: move"
            raise QueryError("the PACS does not offer C-GET", where=str(self._peer), hint=hint)
        if not any(one.as_scp for one in accepted):
            hint = "Ask those who run it, or set retrieve: move"
            what = "the PACS offers C-GET, but to send nothing that the study has"
            raise QueryError(what, where=str(self._peer), hint=hint)

    def _asked_classes(self, study_instance_uid: str) -> Sequence[str]:
        """The SOP classes of a study, as the PACS tells them; at IMAGE level only if it must be.

        Orthanc reads each file to answer at IMAGE level; dcmqrscp knows it of no study.
        """
        study = {"StudyInstanceUID": study_instance_uid}
        found = _classes(find(self._peer, "STUDY", study | {"SOPClassesInStudy": ""}), "SOPClassesInStudy")
        if found:
            return found
        for series in find(self._peer, "SERIES", study | {"SeriesInstanceUID": ""}):
            question = study | {"SeriesInstanceUID": series.get("SeriesInstanceUID", "")}
            question |= {"SOPInstanceUID": "", "SOPClassUID": ""}
            images = find(self._peer, "IMAGE", question, response_timeout_s=_SLOW_ANSWER_S)
            found += [one for one in _classes(images, "SOPClassUID") if one not in found]
        return found or _USUAL_CLASSES


def _classes(answers: Sequence[dict[str, str]], keyword: str) -> list[str]:
    values = (value for answer in answers for value in answer.get(keyword, "").split("\\"))
    return list(dict.fromkeys(filter(is_uid, values)))


def contexts_for(sop_classes: Sequence[str]) -> list[PresentationContext]:
    """Contexts for these SOP classes, at most 127: one is for the request itself.

    As many transfer syntaxes as there is room for have a context each, so that the PACS needs not convert;
    the others share the last one, where it is to choose.
    """
    room = _MOST_CONTEXTS - 1
    if len(sop_classes) > room:
        log.warning("the study has %d SOP classes; C-GET can ask for %d", len(sop_classes), room)
    proposed = sop_classes[:room]
    alone = min(len(_SYNTAXES), room // max(1, len(proposed))) - 1
    shares = [_SYNTAXES[number : number + 1] for number in range(alone)] + [_SYNTAXES[alone:]]
    return [build_context(sop_class, list(share)) for sop_class in proposed for share in shares]
