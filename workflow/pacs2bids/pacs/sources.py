"""A folder, or an archive, as a source: it is read, and never changed."""

from __future__ import annotations

import logging
from collections.abc import Iterable
from dataclasses import replace
from pathlib import Path

from pacs2bids.model import ConfigError, PullError, Reason, Receipt
from pacs2bids.pacs import receipt as receipts
from pacs2bids.pacs.catalogue import Catalogue, LeftOut, Study, scan, tell_leftovers
from pacs2bids.pacs.delivery import Delivery, Item
from pacs2bids.pacs.inbox import Identity, Inbox
from pacs2bids.pacs.owners import Owners
from pacs2bids.pacs.remembered import Remembered
from pacs2bids.peers import FolderSource
from pacs2bids.text import counted, listed

_MOST_NAMED = 3  # files, in an error
_HINT = (
    "Copy those files into the source again, or take them (and a DICOMDIR that lists them) out of it if they \
are no loss; then run again"
)


def catalogue_of(source: FolderSource, memory: Path | None) -> Catalogue:
    """What a source holds. ``memory``: the record of what was read of it before; None: all is read.

    Raises ConfigError if there is no such folder or archive.
    """
    if memory is None:
        return scan(source.path)
    remembered = Remembered(memory)
    catalogue = scan(source.path, remembered)
    remembered.save()
    return catalogue


def pull_from_folder(
    source: FolderSource, study_instance_uid: str, folder: Path, memory: Path | None = None
) -> Receipt:
    """Bring the instances of one study into ``folder``, and write their receipt.

    Files are linked, members of archives unpacked. The receipt announces what the source holds. A second file
    of an instance becomes a duplicate, or a conflict if its content differs. Files that cannot be read stand
    in it as refused; the study is not complete if they may be instances of it. Raises PullError if the source
    does not hold the study or not all of it can be brought over; ConfigError if ``folder`` lies in the source
    or there is no such source. ``memory``: as of ``catalogue_of``.
    """
    if folder.resolve().is_relative_to(source.path.resolve()):
        hint = "Give workdir a place outside it, so that it is not searched for studies"
        raise ConfigError(f"lies inside the source {source.path}", where=str(folder), hint=hint)
    started = receipts.now()
    catalogue = catalogue_of(source, memory)
    tell_leftovers(catalogue, source.path, logging.INFO)  # the query has warned of them
    study = _study(catalogue, study_instance_uid, source)
    inbox = Inbox(folder, study_instance_uid)
    receipts.resume(inbox)
    delivery = Delivery(inbox, catalogue.root)
    items = _items(study)
    delivery.bring(items)
    delivery.bring_again(_items_again(catalogue, items))
    lost = _note_leftovers(inbox, catalogue, study)
    receipt = receipts.made_out(
        inbox,
        source=source.name,
        kind="folder",
        started=started,
        announced=_announcement(study, lost),
        stable=not lost,  # there may be more than is announced
    )
    receipts.log_series(receipt)
    path = receipts.put(receipt, folder)
    if not receipt.complete:
        raise _not_whole(receipt, lost, path)
    return receipt


def _not_whole(receipt: Receipt, lost: list[LeftOut], path: Path) -> PullError:
    if receipt.missing:
        return receipts.missing_error(receipt, where=path, cause="", hint=_HINT)
    where, hint = f"study {receipt.study_instance_uid}", f"{_HINT}. The whole list: {path}"
    return PullError(f"instances of it may be lost: {_named(lost)}", where=where, hint=hint)


def _announcement(study: Study, lost: Iterable[LeftOut]) -> receipts.Announcement:
    """What is there, and what should be: a DICOMDIR may list more."""
    listed = {
        series.series_instance_uid: {one.sop_instance_uid for one in series.instances}
        for series in study.series
    }
    for one in lost:
        if one.series_instance_uid and one.sop_instance_uid:
            listed.setdefault(one.series_instance_uid, set()).add(one.sop_instance_uid)
    return receipts.Announcement(
        listed={uid: tuple(sorted(uids)) for uid, uids in listed.items()}, counted={}
    )


def _study(catalogue: Catalogue, study_instance_uid: str, source: FolderSource) -> Study:
    for study in catalogue.studies:
        if study.study_instance_uid == study_instance_uid:
            return study
    where = f"study {study_instance_uid} in {source}"
    lost = [one for one in catalogue.leftovers if one.study_instance_uid == study_instance_uid]
    if lost:
        raise PullError(f"all of its files are lost: {_named(lost)}", where=where, hint=_HINT)
    held = counted(len(catalogue.studies), "study", "studies")
    hint = f"It holds {held}; 'pacs2bids query --list' shows them"
    if unreadable := [one for one in catalogue.leftovers if one.reason is Reason.UNREADABLE]:
        hint += f". It may have been in what cannot be read: {_named(unreadable)}"
    raise PullError("holds no such study", where=where, hint=hint)


def _named(lost: list[LeftOut]) -> str:
    return listed([str(one) for one in lost], _MOST_NAMED, separator="; ")


def _items(study: Study) -> list[Item]:
    return [
        Item(
            path=instance.path,
            member=instance.member,
            name=instance.name,
            size_bytes=instance.size_bytes,
            identity=Identity(
                study_instance_uid=study.study_instance_uid,
                series_instance_uid=series.series_instance_uid,
                sop_instance_uid=instance.sop_instance_uid,
                sop_class_uid=instance.sop_class_uid,
                transfer_syntax_uid=instance.transfer_syntax_uid,
            ),
        )
        for series in study.series
        for instance in series.instances
    ]


def _items_again(catalogue: Catalogue, items: Iterable[Item]) -> list[Item]:
    """Further files of the same instances."""
    known = {item.identity.sop_instance_uid: item for item in items}
    return [
        replace(
            known[one.sop_instance_uid],
            path=one.file,
            member=one.member,
            name=one.path.partition("!")[2],
            oddity=one.oddity,
        )
        for one in catalogue.leftovers
        if one.reason is Reason.DUPLICATE and one.sop_instance_uid in known
    ]


def _note_leftovers(inbox: Inbox, catalogue: Catalogue, study: Study) -> list[LeftOut]:
    """Note what the catalogue leaves out, each file in a receipt; returns what may be lost of the study."""
    owners = Owners(catalogue)
    lost = []
    for leftover in catalogue.leftovers:
        if leftover.reason is Reason.DUPLICATE:
            continue
        is_lost = study.study_instance_uid in owners.that_lost(leftover)
        if is_lost:
            lost.append(leftover)
        if is_lost or study.study_instance_uid == owners.told(leftover):
            inbox.refuse(leftover.sop_instance_uid, f"{leftover.path}: {leftover.detail}")
    return lost
