"""A plain folder as a source: its files are hard-linked into the study's folder, and never changed."""

from __future__ import annotations

import logging
from pathlib import Path

from pacs2bids.files import sha256
from pacs2bids.model import ConfigError, PullError, Reason, Receipt
from pacs2bids.pacs import receipt as receipts
from pacs2bids.pacs.catalogue import Catalogue, Instance, Study, scan
from pacs2bids.pacs.inbox import Identity, Inbox, Kept, is_uid
from pacs2bids.peers import FolderSource

log = logging.getLogger("pacs2bids.pull")


def pull_from_folder(source: FolderSource, study_instance_uid: str, folder: Path) -> Receipt:
    """Link the instances of one study into ``folder``, and write their receipt.

    The receipt announces what the source holds. A second file of an instance becomes a duplicate, or a
    conflict if its content differs. Files that cannot be read stand in it as refused. Raises PullError if the
    source does not hold the study or an instance cannot be brought over; ConfigError if ``folder`` lies in
    the source or there is no such source.
    """
    if folder.resolve().is_relative_to(source.path.resolve()):
        hint = "Give workdir a place outside it, so that it is not searched for studies"
        raise ConfigError(f"lies inside the source {source.path}", where=str(folder), hint=hint)
    started = receipts.now()
    catalogue = scan(source.path)
    study = _study(catalogue, study_instance_uid, source)
    inbox = Inbox(folder, study_instance_uid)
    inbox.resume(receipts.earlier(folder))
    for series in study.series:
        for instance in series.instances:
            _bring(inbox, _identity(study, series.series_instance_uid, instance), instance.path)
    _note_leftovers(inbox, catalogue, study)
    receipt = receipts.made_out(
        inbox,
        source=source.name,
        kind="folder",
        started=started,
        announced=_announcement(study),
    )
    receipts.log_series(receipt)
    path = receipts.put(receipt, folder)
    if not receipt.complete:
        raise receipts.missing_error(
            receipt, where=path, cause="", hint="Mend or remove those files in the source, then run again"
        )
    return receipt


def _announcement(study: Study) -> receipts.Announcement:
    listed = {
        series.series_instance_uid: tuple(sorted(one.sop_instance_uid for one in series.instances))
        for series in study.series
    }
    return receipts.Announcement(listed=listed, counted={})


def _study(catalogue: Catalogue, study_instance_uid: str, source: FolderSource) -> Study:
    for study in catalogue.studies:
        if study.study_instance_uid == study_instance_uid:
            return study
    hint = f"It holds {len(catalogue.studies)} studies; 'pacs2bids query --list' shows them"
    raise PullError("holds no such study", where=f"study {study_instance_uid} in {source}", hint=hint)


def _identity(study: Study, series_instance_uid: str, instance: Instance) -> Identity:
    return Identity(
        study_instance_uid=study.study_instance_uid,
        series_instance_uid=series_instance_uid,
        sop_instance_uid=instance.sop_instance_uid,
        sop_class_uid=instance.sop_class_uid,
        transfer_syntax_uid=instance.transfer_syntax_uid,
    )


def _bring(inbox: Inbox, identity: Identity, path: Path) -> None:
    uid = identity.sop_instance_uid
    if not is_uid(uid) or not is_uid(identity.series_instance_uid):
        inbox.refuse(uid, f"{path}: its UIDs are not valid, so they cannot name a file")
        return
    try:
        if not inbox.holds(uid, sha256(path)):  # as an earlier attempt left it
            inbox.link(identity, path)
    except OSError as error:
        where = error.filename or path
        hint = "Make room or give permission, then run again"
        raise PullError(f"cannot be brought over: {error.strerror}", where=str(where), hint=hint) from error


def _note_leftovers(inbox: Inbox, catalogue: Catalogue, study: Study) -> None:
    """Every file that the catalogue leaves out stands in the receipt of exactly one study."""
    known = {
        instance.sop_instance_uid: _identity(study, series.series_instance_uid, instance)
        for series in study.series
        for instance in series.instances
    }
    owners = _owners(catalogue)
    for leftover in catalogue.leftovers:
        path = catalogue.root / leftover.path
        if leftover.reason is Reason.DUPLICATE:
            if leftover.sop_instance_uid in known:
                _bring_again(inbox, known[leftover.sop_instance_uid], path)
        elif next(owners[one] for one in path.parents if one in owners) == study.study_instance_uid:
            inbox.refuse("", f"{leftover.path}: {leftover.detail}")


def _bring_again(inbox: Inbox, identity: Identity, path: Path) -> None:
    try:
        kept = inbox.link(identity, path)
    except OSError as error:
        inbox.refuse("", f"{path}: cannot be read: {error.strerror}")
        return
    if kept is Kept.CONFLICTING:
        log.warning("%s: another content under the same SOPInstanceUID; see quarantine", path)


def _owners(catalogue: Catalogue) -> dict[Path, str]:
    """Folder -> the first study that has a file in it or below; what lies beside its files is told there."""
    owners: dict[Path, str] = {}
    for study in catalogue.studies:
        for instance in study.instances:
            for parent in instance.path.parents:
                if parent in owners:
                    break  # and with it all above
                owners[parent] = study.study_instance_uid
    return owners
