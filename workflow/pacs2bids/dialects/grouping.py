"""heudiconv's hook ``grouping``: which DICOM files are one series, and which series are one session.

heudiconv asks it with ``-g custom``. A function is asked here, too, and what it returns is what
``infotodict`` gets. Which series make a session the studies table says; where the hook, be it a function or
the keyword of a DICOM element, makes several sessions of them, a warning tells.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence

from pacs2bids.dialects.seqinfos import Shown
from pacs2bids.dialects.series_files import Filtered, SeriesFiles, unanswered
from pacs2bids.dialects.standins import SeqInfo
from pacs2bids.dialects.user_code import FailedError, UserCode
from pacs2bids.model import HeuristicError, SeriesInfo

HOOK = "grouping"
# what heudiconv's -g takes instead of a keyword
ELEMENTS = {"studyUID": "StudyInstanceUID", "accession_number": "AccessionNumber"}
ALL = "all"


def is_function(code: UserCode) -> bool:
    """Whether the file makes the series itself."""
    return callable(code.value(HOOK))


# --------------------------------------------------------------------------------------------- a function


def grouped(code: UserCode, shown: Sequence[Shown], files: Sequence[SeriesFiles]) -> Filtered:
    """The series as the file's function makes them of all DICOM files of the session.

    Raises HeuristicError if it fails, or returns what is no dict of SeqInfo and files.
    """
    paths, series = list[str](), dict[str, int]()
    for number, one in enumerate(files):
        for name in one.paths:
            path = str(one.path(name))
            paths.append(path)
            series[path] = number
    try:
        if code.value("filter_files") is not None:
            paths = [path for path in paths if code.call("filter_files", path)]
        returned = code.call(HOOK, list(paths), code.value("filter_dicom"), SeqInfo)
    except FailedError as error:
        raise HeuristicError(f"{HOOK} fails: {error.failure.text}", where=code.where) from error
    result = Filtered()
    groups = list(_groups(code, returned))
    _refuse_twins(code, [info for group in groups for info in group])
    told = list[str]()
    for group in groups:
        for info, its_files in group.items():
            _add(code, result, info, _Known([str(path) for path in its_files], series, shown, files))
        told.append(", ".join(str(info.series_id) for info in group))
    _leave_others(result, shown)
    if len(groups) > 1:
        result.warnings.append(_several(code, HOOK, told))
    return result


def _groups(code: UserCode, returned: object) -> Iterator[Mapping[SeqInfo, Sequence[str]]]:
    """The session, or several by some key: a dict of SeqInfo and files, or a dict of these."""
    what = f"{HOOK} returns no dict of seqinfo objects and lists of DICOM files"
    hint = "As in {SeqInfo(...): ['/path/to/first.dcm', ...]}"
    if not isinstance(returned, Mapping):
        raise HeuristicError(what, where=code.where, hint=hint)
    is_flat = all(isinstance(key, SeqInfo) for key in returned)
    for group in [returned] if is_flat else returned.values():
        right = isinstance(group, Mapping) and all(isinstance(key, SeqInfo) for key in group)
        if not right or any(not isinstance(value, list | tuple) for value in group.values()):
            raise HeuristicError(what, where=code.where, hint=hint)
        yield group


def _refuse_twins(code: UserCode, infos: Sequence[SeqInfo]) -> None:
    ids = [info.series_id for info in infos]
    for twin in (one for number, one in enumerate(ids) if one in ids[:number]):
        what = f"{HOOK} gives the id {twin!r} twice"
        raise HeuristicError(code.blank(what), where=code.where, hint="Make each series_id another one")


class _Known:
    """What is known of the files of one group."""

    def __init__(
        self,
        paths: Sequence[str],
        series: Mapping[str, int],
        shown: Sequence[Shown],
        files: Sequence[SeriesFiles],
    ) -> None:
        self.unknown = [path for path in paths if path not in series]
        self._paths = set(paths)
        numbers = sorted({series[path] for path in paths if path in series})
        self.series: list[SeriesInfo] = [shown[number].series for number in numbers]
        self._files = [files[number] for number in numbers]

    def stacks(self) -> tuple[int, ...] | None:
        """Of its one series, those of which all files are in the group; () for all; None if one is cut."""
        (files,) = self._files
        kept = {name for name in files.paths if str(files.path(name)) in self._paths}
        whole, is_cut = files.left(kept)
        if len(kept) == len(files.paths):
            return ()
        return None if is_cut or not whole else whole


def _add(code: UserCode, result: Filtered, info: SeqInfo, known: _Known) -> None:
    if known.unknown or not known.series:
        what = f"{HOOK} gives {info.series_id!r} files that it was not given" if known.unknown else ""
        what = what or f"{HOOK} gives {info.series_id!r} no files"
        raise HeuristicError(code.blank(what), where=code.where)
    stacks = known.stacks() if len(known.series) == 1 else None
    if stacks is None:
        reason = "the heuristic's grouping takes a volume of it apart: only whole volumes have names"
        if len(known.series) > 1:
            reason = "the heuristic's grouping puts its files together with those of another series"
        result.left_out += [unanswered(series, reason) for series in known.series]
        return
    result.shown.append(Shown(known.series[0], info))
    if stacks:
        result.only[info.series_id] = stacks


def _leave_others(result: Filtered, shown: Sequence[Shown]) -> None:
    """Those of which it returns nothing."""
    told = {(one.study_instance_uid, one.series_instance_uid) for one in result.left_out}
    told |= {(one.series.study_instance_uid, one.series.series_instance_uid) for one in result.shown}
    for one in shown:
        if (one.series.study_instance_uid, one.series.series_instance_uid) not in told:
            reason = f"the heuristic's {HOOK} leaves it out"
            result.left_out.append(unanswered(one.series, reason, is_meant=True))


# ---------------------------------------------------------------------------------------------- a keyword


def sessions_of_keyword(
    code: UserCode, shown: Sequence[Shown], files: Sequence[SeriesFiles]
) -> Iterator[str]:
    """A warning if the element that the file names differs between series of the session.

    Its values are not told: they may be identities.
    """
    said = code.value(HOOK)
    if not isinstance(said, str) or said == ALL:
        return
    keyword = ELEMENTS.get(said, said)
    import pydicom  # noqa: PLC0415 (few heuristics have this hook)

    if pydicom.datadict.tag_for_keyword(keyword) is None:
        yield f"{code.where}: {HOOK} is {said!r}, which is no keyword of DICOM: it separates nothing"
        return
    groups: dict[str, list[str]] = {}
    for one, its_files in zip(shown, files, strict=True):
        path = its_files.path(one.series.example_path)
        header = pydicom.dcmread(path, specific_tags=[keyword], force=True)
        groups.setdefault(str(header.get(keyword)), []).append(one.info.series_id)
    if len(groups) > 1:
        yield _several(code, f"{HOOK} by {said!r}", [", ".join(ids) for ids in groups.values()])


def _several(code: UserCode, what: str, groups: Sequence[str]) -> str:
    told = code.blank("; ".join(groups))
    return (
        f"{code.where}: {what} makes {len(groups)} sessions of these series ({told}); what counts is the "
        "studies table, which has them in one"
    )
