"""What hooks leave of the series of a session, and the DICOM files that they look at."""

from __future__ import annotations

from collections.abc import Sequence
from functools import cached_property
from pathlib import Path

from msgspec import Struct, field

from pacs2bids.dialects.seqinfos import Shown
from pacs2bids.model import HeuristicError, SeriesInfo, Stack, StudyIndex
from pacs2bids.released import bring_again
from pacs2bids.session import Unanswered, ordinal


class Filtered(Struct, kw_only=True):
    """What the hooks leave. ``only``: series_id -> the stacks of which files are left."""

    shown: list[Shown] = field(default_factory=list)
    left_out: list[Unanswered] = field(default_factory=list)
    only: dict[str, tuple[int, ...]] = field(default_factory=dict)
    warnings: list[str] = field(default_factory=list)


def unanswered(series: SeriesInfo, reason: str, *, is_meant: bool = False) -> Unanswered:
    """No name for a series."""
    return Unanswered(
        study_instance_uid=series.study_instance_uid,
        series_instance_uid=series.series_instance_uid,
        reason=reason,
        is_meant=is_meant,
    )


class SeriesFiles:
    """The DICOM files of one series. ``folder``: where those of its study lie; None: not known."""

    def __init__(self, where: str, folder: Path | None, index: StudyIndex, series: SeriesInfo) -> None:
        self._where, self._folder, self._index, self._series = where, folder, index, series

    @cached_property
    def stacks(self) -> Sequence[Stack]:
        """The volumes that they make."""
        uid = self._series.series_instance_uid
        return [stack for stack in self._index.stacks if stack.series_instance_uid == uid]

    @cached_property
    def paths(self) -> Sequence[str]:
        """All of them, below the folder."""
        uid = self._series.series_instance_uid
        paths = {image.path for stack in self.stacks for image in stack.images}
        paths |= {one.path for one in self._index.leftovers if one.series_instance_uid == uid}
        return sorted(paths | {self._series.example_path})

    def path(self, name: str) -> Path:
        """Where one of ``paths`` lies. Raises HeuristicError if it is gone."""
        path = self._folder / name if self._folder else None
        if path is None or not path.is_file():
            what = "has hooks that read DICOM files, and they are not there any more"
            place = f" in {self._folder}" if self._folder else ""
            hint = bring_again(self._folder.parent) if self._folder else "Pull the study again"
            raise HeuristicError(f"{what}{place}", where=self._where, hint=hint)
        return path

    def left(self, kept: set[str]) -> tuple[tuple[int, ...], bool]:
        """Ordinals of the stacks of which all files are kept, and whether one is kept in part."""
        there = {ordinal(one): {image.path in kept for image in one.images} for one in self.stacks}
        whole = tuple(number for number, files in there.items() if files == {True})
        return whole, any(len(files) > 1 for files in there.values())


def files_of_all(
    where: str, shown: Sequence[Shown], indexes: Sequence[StudyIndex], folders: Sequence[Path]
) -> list[SeriesFiles]:
    """The files of each series that is shown. ``folders``: where the files of each index lie, or none."""
    known = dict(zip((index.study_instance_uid for index in indexes), folders, strict=False))
    of_study = {index.study_instance_uid: index for index in indexes}
    uids = [(one.series.study_instance_uid, one.series) for one in shown]
    return [SeriesFiles(where, known.get(uid), of_study[uid], series) for uid, series in uids]
