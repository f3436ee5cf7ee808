"""Whose is a file that cannot be read? By where it lies, as nothing else tells.

It may be an instance of the studies that have files in its folder, or else in the next folder above. Not so
where each study has a folder of its own there, and the file lies in yet another one: then it is of a study
that is not there at all.
"""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

from pacs2bids.model import Reason
from pacs2bids.pacs.catalogue import Catalogue, LeftOut


class Owners:
    """The studies of a catalogue, by folder. An archive counts as a folder."""

    def __init__(self, catalogue: Catalogue) -> None:
        # folder -> study -> the names in that folder under which it has files; "" for files of its own
        self._below: dict[Path, dict[str, set[str]]] = {}
        for study in catalogue.studies:
            for folder in {instance.folder for instance in study.instances}:
                self._note(study.study_instance_uid, folder)

    def _note(self, study: str, folder: Path) -> None:
        child = ""
        for place in (folder, *folder.parents):
            self._below.setdefault(place, {}).setdefault(study, set()).add(child)
            child = place.name

    def told(self, leftover: LeftOut) -> str:
        """The one study whose receipt tells of a file, so that all are told of."""
        if leftover.study_instance_uid:
            return leftover.study_instance_uid
        return next(iter(self._near(leftover)[1]), "")

    def that_lost(self, leftover: LeftOut) -> Iterable[str]:
        """The studies of which a file may be an instance that cannot be read."""
        if leftover.reason is not Reason.UNREADABLE:
            return ()
        if leftover.study_instance_uid:
            return (leftover.study_instance_uid,)
        place, studies = self._near(leftover)
        homes = [name for names in studies.values() for name in names]
        sorted_by_study = len(studies) > 1 and len(studies) == len(homes) == len({*homes} - {""})
        return () if sorted_by_study and leftover.folder != place else studies

    def _near(self, leftover: LeftOut) -> tuple[Path, dict[str, set[str]]]:
        """The next folder that holds files of studies, and these."""
        places = (leftover.folder, *leftover.folder.parents)
        return next(((place, self._below[place]) for place in places if place in self._below), (Path(), {}))
