"""Heuristics in heudiconv's dialect: a Python file with ``infotodict(seqinfo)``, used unchanged.

The contract (heudiconv's documentation, "Heuristics file"): ``infotodict`` gets a list of ``SeqInfo`` and
returns a dict from keys ``(template, outtypes, annotation)`` to lists of series ids, dicts with an ``item``
and further template fields, or nested lists. A series on which the file trips is set aside with the line
where it did, and the file is asked again without it.

Beyond the contract: the field ``stack`` of a dict item chooses one stack of a series that holds several.
"""

from __future__ import annotations

import contextlib
import sys
import traceback
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from importlib.machinery import SourceFileLoader
from pathlib import Path
from types import FrameType, ModuleType
from typing import Any

from pacs2bids.dialects.blanking import Blank, BlankedStream
from pacs2bids.dialects.standins import SeqInfo, install
from pacs2bids.model import HeuristicError, Reason, SeriesInfo, StudyIndex
from pacs2bids.session import Answer, Answers, Unanswered

PHOENIX = "PhoenixZIPReport"  # a Siemens report without picture that heudiconv shows to heuristics, too

# leftovers that are pictures all the same; heudiconv shows their series
PICTURES = {
    Reason.NO_GEOMETRY,
    Reason.UNSUPPORTED,
    Reason.DUPLICATE,
    Reason.INCOMPLETE,
    Reason.INCONSISTENT,
}

# hooks of heudiconv that change its answers and that are not called here
HOOKS = {
    "filter_files": "all files are used",
    "filter_dicom": "all files are used",
    "custom_seqinfo": "the field 'custom' is None",
    "custom_callable": "it is not called after the conversion",
    "grouping": "sessions come from the studies table",
    "POPULATE_INTENDED_FOR_OPTS": "IntendedFor is not written",
}


def ask(path: Path, indexes: Sequence[StudyIndex], *, subject: str, session: str) -> Answers:
    """Ask a heuristic file for the names of one session's series.

    Raises HeuristicError if the file cannot be loaded, fails for more than single series, or gives an answer
    outside its contract.
    """
    shown = series_to_show(indexes)
    blank = Blank(info for _, info in shown)
    heuristic = _Heuristic(path, blank)
    returned, odd = _returned(heuristic, [info for _, info in shown])
    names = {
        "subject": subject,
        "session": f"ses-{session}" if session else None,
        "bids_subject_session_prefix": f"sub-{subject}" + (f"_ses-{session}" if session else ""),
        "bids_subject_session_dir": f"sub-{subject}" + (f"/ses-{session}" if session else ""),
    }
    reader = _Reader({info.series_id: series for series, info in shown}, names)
    reader.read(returned)
    if reader.problems:
        listed = "\n  - ".join(dict.fromkeys(reader.problems))
        what = f"infotodict gives answers that cannot be used:\n  - {blank(listed)}"
        raise HeuristicError(what, where=str(path))
    set_aside = [_unanswered(series, odd[info]) for series, info in shown if info in odd]
    return Answers(
        named=tuple(reader.named),
        unanswered=(*set_aside, *reader.unanswered),
        warnings=(*heuristic.warnings(), *reader.warnings),
    )


# --------------------------------------------------------------------------------------------- what it sees


def series_to_show(indexes: Sequence[StudyIndex]) -> list[tuple[SeriesInfo, SeqInfo]]:
    """The series that a heuristic sees, as heudiconv counts and sorts them.

    Within a study by number, then protocol; studies in the order of acquisition. Series without a picture are
    not shown; those with pictures that make no volume are, so that they count as runs. Ids are unique: where
    heudiconv would mix two series of one number and protocol, the later one gets "+2" behind its id. A series
    without a number counts as 0.
    """
    ordered = sorted(
        indexes, key=lambda index: min((one.acquired or "9" for one in index.series), default="9")
    )
    shown: list[tuple[SeriesInfo, SeqInfo]] = []
    ids: set[str] = set()
    files = 0
    for index in ordered:
        pictures = _with_pictures(index)
        for series in sorted(index.series, key=lambda one: (one.series_number or 0, one.protocol_name)):
            if series.series_instance_uid not in pictures and series.series_description != PHOENIX:
                continue
            files += series.series_files
            info = _seqinfo(series, _unique_id(series, ids), files)
            shown.append((series, info))
            ids.add(info.series_id)
    return shown


def _with_pictures(index: StudyIndex) -> set[str]:
    """UIDs of the series that hold a picture."""
    refused = {failed.stack_id for failed in index.refused}
    stacked = {one.series_instance_uid for one in index.series if one.stack_ids or one.series_key in refused}
    left = {one.series_instance_uid for one in index.leftovers if one.reason in PICTURES}
    return stacked | {uid for uid in left if uid is not None}


def _unique_id(series: SeriesInfo, taken: set[str]) -> str:
    plain = f"{series.series_number or 0}-{series.protocol_name}"
    series_id, count = plain, 1
    while series_id in taken:
        count += 1
        series_id = f"{plain}+{count}"
    return series_id


def _seqinfo(series: SeriesInfo, series_id: str, files_till_now: int) -> SeqInfo:
    example = Path(series.example_path)
    dim1, dim2, dim3, dim4 = series.dims
    return SeqInfo(
        total_files_till_now=files_till_now,
        example_dcm_file=example.name,
        series_id=series_id,
        dcm_dir_name=example.parent.name,
        series_files=series.series_files,
        unspecified="",
        dim1=dim1,
        dim2=dim2,
        dim3=dim3,
        dim4=dim4,
        TR=-1.0 if series.repetition_time_s is None else series.repetition_time_s,
        TE=-1.0 if series.echo_time_ms is None else series.echo_time_ms,
        protocol_name=series.protocol_name,
        is_motion_corrected=series.is_motion_corrected,
        is_derived=series.is_derived,
        patient_id=series.patient_id,
        study_description=series.study_description,
        referring_physician_name=series.referring_physician_name,
        series_description=series.series_description,
        sequence_name=series.sequence_name,
        image_type=series.image_type,
        accession_number=series.accession_number,
        patient_age=series.patient_age,
        patient_sex=series.patient_sex,
        date=series.date,
        series_uid=series.series_instance_uid,
        time=series.time,
    )


# --------------------------------------------------------------------------------------------- the file


@dataclass(frozen=True, slots=True)
class _Failure:
    """An exception that the user's code raised. ``shown``: SeqInfos its frames were looking at."""

    text: str
    place: tuple[str, int]
    shown: tuple[SeqInfo, ...]


class _FailedError(Exception):
    def __init__(self, failure: _Failure) -> None:
        super().__init__(failure.text)
        self.failure = failure


class _Heuristic:
    """A user's file. It is loaded afresh for every call: none sees what another left behind.

    What it says, printed or in exceptions, goes through ``blank``.
    """

    def __init__(self, path: Path, blank: Blank) -> None:
        self.path, self.blank = path.resolve(), blank
        self.where = str(path)
        if not self.path.is_file():
            raise HeuristicError("no such heuristic file", where=self.where)
        install()
        self._fresh: Any = self._load()
        self._hooks = tuple(name for name in HOOKS if hasattr(self._fresh, name))

    def warnings(self) -> list[str]:
        """What the file asks for and does not get."""
        return [f"{self.where}: '{name}' is not supported yet: {HOOKS[name]}" for name in self._hooks]

    def call(self, infos: Sequence[SeqInfo]) -> object:
        """Return what ``infotodict`` returns. Raises _FailedError if the user's code raises anything."""
        module, self._fresh = self._fresh or self._load(), None
        try:
            with self._importing(), self._talking():
                return module.infotodict(list(infos))
        except (Exception, SystemExit) as error:  # user code may raise anything
            raise _FailedError(self._failure(error)) from error

    def failure(self, infos: Sequence[SeqInfo]) -> _Failure | None:
        """How ``infotodict`` fails on these series; None if it does not."""
        try:
            self.call(infos)
        except _FailedError as error:
            return error.failure
        return None

    def _load(self) -> Any:
        stem = self.path.stem
        module = ModuleType(stem)
        module.__file__ = module.filename = str(self.path)  # type: ignore[attr-defined]
        loader = SourceFileLoader(stem, str(self.path))
        sys.modules[stem] = module
        try:
            with self._importing(), self._talking():
                code = loader.source_to_code(loader.get_data(str(self.path)), str(self.path))
                exec(code, vars(module))
        except (Exception, SystemExit) as error:  # user code may raise anything
            hint = "Install it beside pacs2bids, or drop the import" if isinstance(error, ImportError) else ""
            what = f"cannot be loaded: {self._failure(error).text}"
            raise HeuristicError(what, where=self.where, hint=hint) from error
        if not callable(getattr(module, "infotodict", None)):
            hint = "heudiconv's dialect wants 'def infotodict(seqinfo):'"
            raise HeuristicError("has no function infotodict", where=self.where, hint=hint)
        return module

    @contextlib.contextmanager
    def _importing(self) -> Iterator[None]:
        """Siblings import each other; no compiled copies, which could outlive an edit within one second."""
        path, flag = sys.path[:], sys.dont_write_bytecode
        sys.path.insert(0, str(self.path.parent))
        sys.dont_write_bytecode = True
        try:
            yield
        finally:
            sys.path[:], sys.dont_write_bytecode = path, flag

    @contextlib.contextmanager
    def _talking(self) -> Iterator[None]:
        """Users print to debug; standard output is for the one line of result."""
        stream = BlankedStream(sys.stderr, self.blank)
        with contextlib.redirect_stdout(stream), contextlib.redirect_stderr(stream):
            try:
                yield
            finally:
                stream.flush()

    def _failure(self, error: BaseException) -> _Failure:
        if isinstance(error, SyntaxError):
            place = (error.filename or str(self.path), error.lineno or 0)
            return _Failure(f"{type(error).__name__}: {self.blank(error.msg)} ({_spoken(place)})", place, ())
        frames = [frame for frame in traceback.walk_tb(error.__traceback__) if self._is_users(frame[0])]
        frame, line = frames[-1] if frames else (None, 0)
        place = (frame.f_code.co_filename if frame else str(self.path), line)
        kind, colon, said = "".join(traceback.format_exception_only(error)).strip().partition(":")
        seen = [info for inner, _ in reversed(frames) for info in _seqinfos(inner)]
        return _Failure(f"{kind}{colon}{self.blank(said)} ({_spoken(place)})", place, tuple(seen))

    def _is_users(self, frame: FrameType) -> bool:
        return Path(frame.f_code.co_filename).is_relative_to(self.path.parent)


def _spoken(place: tuple[str, int]) -> str:
    return f"{Path(place[0]).name}, line {place[1]}"


def _seqinfos(frame: FrameType) -> list[SeqInfo]:
    return [value for value in frame.f_locals.values() if isinstance(value, SeqInfo)]


# --------------------------------------------------------------------------------------------- odd series


def _returned(heuristic: _Heuristic, infos: Sequence[SeqInfo]) -> tuple[object, dict[SeqInfo, str]]:
    """What ``infotodict`` returns, and the series that had to be left out for it, with the failure."""
    left, odd = list(infos), dict[SeqInfo, str]()
    failures: list[_Failure] = []
    while left:
        try:
            return heuristic.call(left), odd
        except _FailedError as error:
            failures.append(error.failure)
        culprit = _culprit(heuristic, left, failures[-1])
        if culprit is None:
            break
        odd[culprit] = f"the heuristic fails on this series: {failures[-1].text}"
        left.remove(culprit)
    if not failures:
        return {}, odd  # nothing to ask for
    hint = "It does so on every series" if not left else "No single series is to blame"
    raise HeuristicError(f"infotodict fails: {failures[0].text}", where=heuristic.where, hint=hint)


def _culprit(heuristic: _Heuristic, infos: Sequence[SeqInfo], failure: _Failure) -> SeqInfo | None:
    """The one series that the code trips over; None if it is none or cannot be told.

    A series that the failing lines were looking at, and on which they fail when it comes alone, too; or the
    only one without which the whole list passes.
    """
    for info in dict.fromkeys(failure.shown):
        alone = heuristic.failure([info])
        if info in infos and alone is not None and alone.place == failure.place:
            return info
    cures = [info for info in infos if heuristic.failure([one for one in infos if one != info]) is None]
    return cures[0] if len(cures) == 1 and len(infos) > 1 else None


# --------------------------------------------------------------------------------------------- what it says


class _Reader:
    """Reads what ``infotodict`` returned; collects everything that is wrong with it."""

    def __init__(self, series: Mapping[str, SeriesInfo], names: Mapping[str, str | None]) -> None:
        self.series, self.names = series, names
        self.named: list[Answer] = []
        self.unanswered: list[Unanswered] = []
        self.problems: list[str] = []
        self.warnings: list[str] = []

    def read(self, returned: object) -> None:
        """Read the whole answer."""
        if not isinstance(returned, Mapping):
            self.problems.append(f"it returns {_kind(returned)}, not a dict of keys to lists of series ids")
            return
        for key, items in returned.items():
            template, outtypes = self._key(key)
            if template is None or not self._is_list(items, template):
                continue
            for item, group in enumerate(items, start=1):
                for subindex, said in enumerate(
                    group if isinstance(group, list | tuple) else [group], start=1
                ):
                    self._item(template, outtypes, said, {"item": item, "subindex": subindex})

    def _key(self, key: object) -> tuple[str | None, tuple[str, ...]]:
        if not (isinstance(key, tuple) and len(key) > 1 and isinstance(key[0], str) and key[0]):
            self.problems.append(
                f"the key {key!r} is not (template, outtypes, annotation), as create_key makes it"
            )
            return None, ()
        outtypes = (key[1],) if isinstance(key[1], str) else tuple(key[1] or ())
        if "dicom" in outtypes:
            self._warn("the outtype 'dicom' is not supported yet: no DICOM files are put into sourcedata")
        return key[0], outtypes

    def _is_list(self, items: object, template: str) -> bool:
        if isinstance(items, list | tuple):
            return True
        self.problems.append(f"{template!r} holds {items!r}; write a list, as in [s.series_id]")
        return False

    def _item(self, template: str, outtypes: tuple[str, ...], said: object, place: Mapping[str, int]) -> None:
        extra = dict(said) if isinstance(said, Mapping) else {"item": said}
        series_id = extra.pop("item", None)
        series = self.series.get(str(series_id))
        if series is None:
            known = ", ".join(self.series)
            self.problems.append(f"{template!r} holds the unknown series id {series_id!r} (known: {known})")
            return
        if outtypes and not {"nii", "nii.gz"} & set(outtypes):
            reason = f"the heuristic asks for it as {' and '.join(outtypes)} only, which is not supported yet"
            self.unanswered.append(_unanswered(series, reason))
            return
        stack = extra.get("stack")
        if stack is not None and not isinstance(stack, int):
            self.problems.append(
                f"{template!r}, series {series_id!r}: 'stack' is a whole number, not {stack!r}"
            )
            return
        fields = {**extra, **place, **self.names, "seqitem": series_id}
        path = self._formatted(template, fields, str(series_id))
        if path is not None:
            self.named.append(
                Answer(
                    study_instance_uid=series.study_instance_uid,
                    series_instance_uid=series.series_instance_uid,
                    template=template,
                    path=path,
                    stack=stack,
                )
            )

    def _formatted(self, template: str, fields: Mapping[str, object], series_id: str) -> str | None:
        where = f"{template!r}, series {series_id!r}"
        if fields["session"] is None:
            fields = {name: value for name, value in fields.items() if name != "session"}
        try:
            return template.format(**fields)
        except KeyError as error:
            if error.args[0] == "session":
                hint = "Fill it in the studies table, or write {bids_subject_session_dir}"
                self.problems.append(f"{where}: it uses {{session}}, but this study has none. {hint}")
            else:
                known = ", ".join(fields)
                self.problems.append(
                    f"{where}: it uses {{{error.args[0]}}}, which is no field (fields: {known})"
                )
        except (IndexError, ValueError, AttributeError, TypeError) as error:
            self.problems.append(f"{where}: it cannot be filled in: {error}")
        return None

    def _warn(self, warning: str) -> None:
        if warning not in self.warnings:
            self.warnings.append(warning)


def _unanswered(series: SeriesInfo, reason: str) -> Unanswered:
    return Unanswered(
        study_instance_uid=series.study_instance_uid,
        series_instance_uid=series.series_instance_uid,
        reason=reason,
    )


def _kind(value: object) -> str:
    return "nothing (is there a 'return info'?)" if value is None else f"a {type(value).__name__}"
