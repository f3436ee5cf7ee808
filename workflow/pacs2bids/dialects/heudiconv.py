"""Heuristics in heudiconv's dialect: a Python file with ``infotodict(seqinfo)``, used unchanged.

The contract (heudiconv's documentation, "Heuristics file"): ``infotodict`` gets a list of ``SeqInfo`` and
returns a dict from keys ``(template, outtypes, annotation)`` to lists of series ids, dicts with an ``item``
and further template fields, or nested lists. A series on which the file trips is set aside with the line
where it did and the values it met, and the file is asked again without it. A mistake in the file itself, as a
misspelt name, is an error.

Beyond the contract: the field ``stack`` of a dict item chooses one stack of a series that holds several,
``sidecar`` adds fields to the sidecar, and ``volume_types`` says what the volumes of spin labelling are.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

import msgspec
from msgspec import Struct

from pacs2bids.dialects import after_conversion, hooks
from pacs2bids.dialects.blanking import Blank
from pacs2bids.dialects.isolated import LIMIT_S, End, isolated
from pacs2bids.dialects.origins import Origins
from pacs2bids.dialects.probes import Condition, Probes
from pacs2bids.dialects.seqinfos import SEQINFOS, series_to_show
from pacs2bids.dialects.series_files import Filtered, unanswered
from pacs2bids.dialects.standins import SeqInfo
from pacs2bids.dialects.user_code import FailedError, Failure, UserCode, spoken
from pacs2bids.model import (
    HeuristicError,
    HookCall,
    Json,
    SeriesInfo,
    StudyIndex,
    session_folder,
    session_key,
)
from pacs2bids.session import VOLUME_TYPES, Answer, Answers, Tried, Unanswered

REPEAT = "__dup-"  # behind the name of a series that was repeated, as ReproIn's get_dups_marked puts it
NIFTI = {"nii", "nii.gz"}
OUTTYPES = {*NIFTI, "dicom"}


def ask(
    path: Path,
    indexes: Sequence[StudyIndex],
    *,
    subject: str,
    session: str,
    folders: Sequence[Path] = (),
    seqinfo: str = SEQINFOS[0],
    limit_s: float = LIMIT_S,
) -> Answers:
    """Ask a heuristic file for the names of one session's series, in a process of its own.

    ``folders``: where the DICOM files of each index lie, for hooks that read them. ``seqinfo``: one of
    ``SEQINFOS``. ``limit_s``: of one call of the user's code.

    Raises HeuristicError if the file cannot be loaded, does not come to an end, fails for more than single
    series, or gives an answer outside its contract.
    """

    def work(end: End) -> Answers:
        shown = series_to_show(indexes, seqinfo)
        blank = Blank(one.info for one in shown)
        code = UserCode(path, blank, end=end, limit_s=limit_s)
        return _answers(code, hooks.filtered(code, shown, indexes, folders), subject, session)

    return isolated(work, Answers, where=str(path))


def explain(
    path: Path,
    indexes: Sequence[StudyIndex],
    *,
    subject: str,
    session: str,
    folders: Sequence[Path] = (),
    seqinfo: str = SEQINFOS[0],
    series: SeriesInfo,
) -> tuple[Tried, ...]:
    """What each ``if`` of the file said of a series, by line, if it was asked.

    ``took``: the innermost around a line that put the series under a key; without one the line itself.
    Raises HeuristicError as ``ask`` does.
    """
    uid = series.series_instance_uid

    def work(end: End) -> tuple[Tried, ...]:
        shown = series_to_show(indexes, seqinfo)
        probes = Probes(uid)
        blank = Blank(one.info for one in shown)
        code = UserCode(path, blank, end=end, limit_s=LIMIT_S, compiled=probes.compiled)
        answers = _answers(code, hooks.filtered(code, shown, indexes, folders), subject, session)
        return tuple(_tried(code, probes.conditions(), answers, uid))

    return isolated(work, tuple[Tried, ...], where=str(path))


def default_fields(path: Path, *, limit_s: float = LIMIT_S) -> dict[str, Json]:
    """What a heuristic file says of the whole dataset (``DEFAULT_FIELDS``), in a process of its own.

    Raises HeuristicError if the file cannot be loaded, or what it says is not of this kind.
    """

    def work(end: End) -> dict[str, Json]:
        return hooks.default_fields(UserCode(path, Blank(()), end=end, limit_s=limit_s))

    return isolated(work, dict[str, Json], where=str(path))


def _tried(code: UserCode, conditions: Sequence[Condition], answers: Answers, uid: str) -> Iterator[Tried]:
    file = code.path.name
    named = {one.origin for one in answers.named if one.series_instance_uid == uid}
    lines = {int(number) for one in named if (number := one.removeprefix(f"{file}, line ")).isdigit()}
    around = {line: [one for one in conditions if one.body[0] <= line <= one.body[1]] for line in lines}
    took = {max(ifs, key=lambda one: one.line).line for ifs in around.values() if ifs}
    for one in conditions:
        failed = "" if one.held else code.blank(one.failed)
        yield Tried(origin=spoken((file, one.line)), took=one.line in took, met=one.met, failed=failed)
    for line in sorted(line for line, ifs in around.items() if not ifs):
        yield Tried(origin=spoken((file, line)), took=True)
    for odd in answers.unanswered:
        if odd.series_instance_uid == uid:
            yield Tried(origin=odd.origin or file, took=False, failed=odd.reason)


def _hook(code: UserCode) -> HookCall | None:
    """What is the same in all calls of ``custom_callable``; None if there is none.

    Raises HeuristicError if it is no function.
    """
    said = code.value(after_conversion.HOOK)
    if said is None:
        return None
    if not callable(said):
        what = f"{after_conversion.HOOK} is a {type(said).__name__}, not a function"
        raise HeuristicError(what, where=code.where)
    version = after_conversion.version_of(Path(code.where))
    return HookCall(heuristic=code.where, version=version, number=0, prefix="", outtypes=())


def _answers(code: UserCode, left: Filtered, subject: str, session: str) -> Answers:
    infos = [one.info for one in left.shown]
    warnings = [*hooks.not_used(code), *left.warnings]
    warnings += hooks.other_labels(code, infos, subject=subject, session=session)
    intended_for = hooks.intended_for(code)
    hooks.default_fields(code)  # a mistake in them is told before anything is placed
    origins = Origins(code.is_users)
    returned, odd = _returned(code, infos, origins)
    reader = _Reader(left, _names(subject, session), origins, _hook(code))
    reader.read(returned)
    if reader.problems:
        listed = "\n  - ".join(dict.fromkeys(reader.problems))
        what = f"infotodict gives answers that cannot be used:\n  - {code.blank(listed)}"
        raise HeuristicError(what, where=code.where)
    reasons = hooks.left_out(code, [info for info in infos if info not in odd])
    meant = [
        unanswered(one.series, reasons[one.info.series_id], is_meant=True)
        for one in left.shown
        if one.info.series_id in reasons
    ]
    set_aside = [_set_aside(one.series, odd[one.info]) for one in left.shown if one.info in odd]
    return Answers(
        named=tuple(reader.named),
        unanswered=(*left.left_out, *set_aside, *reader.unanswered, *meant),
        warnings=(*warnings, *(code.blank(warning) for warning in reader.warnings)),
        intended_for=intended_for,
    )


def _names(subject: str, session: str) -> dict[str, str | None]:
    return {
        "subject": subject,
        "session": f"ses-{session}" if session else None,
        "bids_subject_session_prefix": session_key(subject, session),
        "bids_subject_session_dir": session_folder(session_key(subject, session)),
    }


def _set_aside(series: SeriesInfo, failure: Failure) -> Unanswered:
    reason = f"the heuristic fails on this series: {failure.text}"
    return Unanswered(
        study_instance_uid=series.study_instance_uid,
        series_instance_uid=series.series_instance_uid,
        reason=reason,
        origin=spoken(failure.place),
    )


# --------------------------------------------------------------------------------------------- odd series


def _returned(
    code: UserCode, infos: Sequence[SeqInfo], origins: Origins
) -> tuple[object, dict[SeqInfo, Failure]]:
    """What ``infotodict`` returns, and the series that had to be left out for it, with the failure."""
    left, odd = list(infos), dict[SeqInfo, Failure]()
    failures: list[Failure] = []
    while left:
        try:
            with origins.watching():
                return code.call("infotodict", list(left)), odd
        except FailedError as error:
            failures.append(error.failure)
        code.refuse_mistake(failures[-1])
        culprit = _culprit(code, left, failures[-1])
        if culprit is None:
            break
        odd[culprit] = failures[-1]
        left.remove(culprit)
        code.fresh()
    if not failures:
        return {}, odd  # nothing to ask for
    hint = "It does so on every series" if not left else "No single series is to blame"
    raise HeuristicError(f"infotodict fails: {failures[0].text}", where=code.where, hint=hint)


def _culprit(code: UserCode, infos: Sequence[SeqInfo], failure: Failure) -> SeqInfo | None:
    """The one series that the code trips over; None if it is none or cannot be told.

    A series that the failing lines were looking at, and on which they fail when it comes alone, too; or the
    only one without which the whole list passes; or the first of some, not all, that fail alone, too.
    """

    def fails_alone(info: SeqInfo) -> bool:
        alone = _failure(code, [info])
        return alone is not None and alone.place == failure.place

    for info in dict.fromkeys(failure.shown):
        if info in infos and fails_alone(info):
            return info
    cures = [info for info in infos if _failure(code, [one for one in infos if one != info]) is None]
    if len(cures) == 1 and len(infos) > 1:
        return cures[0]
    odd = [info for info in infos if fails_alone(info)]
    return odd[0] if 0 < len(odd) < len(infos) else None


def _failure(code: UserCode, infos: Sequence[SeqInfo]) -> Failure | None:
    """How ``infotodict`` of the file, loaded anew, fails on these series; None if it does not."""
    code.fresh()
    try:
        code.call("infotodict", list(infos))
    except FailedError as error:
        return error.failure
    return None


# --------------------------------------------------------------------------------------------- what it says


class _Key(Struct, frozen=True, kw_only=True):
    """A key of what it returned. ``written``: the outtypes as they are written there."""

    template: str
    outtypes: frozenset[str]
    written: tuple[str, ...] | str


class _Reader:
    """Reads what ``infotodict`` returned; collects everything that is wrong with it."""

    def __init__(
        self,
        left: Filtered,
        names: Mapping[str, str | None],
        origins: Origins,
        hook: HookCall | None = None,
    ) -> None:
        self.hook = hook
        self.series = {one.info.series_id: one.series for one in left.shown}
        self.only, self.names, self.origins = left.only, names, origins
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
            if not items and isinstance(items, Sequence):
                continue
            known = self._key(key)
            if known is None or not self._is_list(items, known.template):
                continue
            for number, group in enumerate(items):
                place = self.origins.of(items, number)
                for subnumber, said in enumerate(group if isinstance(group, list | tuple) else [group]):
                    counts = {"item": number + 1, "subindex": subnumber + 1}
                    self._item(known, said, counts, spoken(place) if place else "")

    def _key(self, key: object) -> _Key | None:
        if not (isinstance(key, tuple) and len(key) > 1 and isinstance(key[0], str) and key[0]):
            self.problems.append(
                f"the key {key!r} is not (template, outtypes, annotation), as create_key makes it"
            )
            return None
        said = {key[1]} if isinstance(key[1], str) else set(key[1] or NIFTI)
        unknown = " and ".join(sorted(map(repr, said - OUTTYPES)))
        if unknown:  # heudiconv makes nothing of them
            known = ", ".join(sorted(OUTTYPES))
            told = f"{key[0]!r} asks for the unknown outtype {unknown} (known: {known})"
            (self.warnings if said & OUTTYPES else self.problems).append(told)
        if not said & OUTTYPES:
            return None
        written = key[1] if isinstance(key[1], str) else tuple(key[1] or ())
        return _Key(template=key[0], outtypes=frozenset(said & OUTTYPES), written=written)

    def _is_list(self, items: object, template: str) -> bool:
        if isinstance(items, list | tuple):
            return True
        self.problems.append(f"{template!r} holds {items!r}; write a list, as in [s.series_id]")
        return False

    def _item(
        self,
        key: _Key,
        said: object,
        counts: Mapping[str, int],
        origin: str,
    ) -> None:
        template = key.template
        extra = dict(said) if isinstance(said, Mapping) else {"item": said}
        series_id = extra.pop("item", None)
        series = self.series.get(str(series_id))
        if series is None:
            known = ", ".join(self.series)
            self.problems.append(f"{template!r} holds the unknown series id {series_id!r} (known: {known})")
            return
        where = f"{template!r}, series {series_id!r}"
        stack = extra.get("stack")
        if stack is not None and not isinstance(stack, int):
            self.problems.append(f"{where}: 'stack' is a whole number, not {stack!r}")
            return
        fields = {**extra, **counts, **self.names, "seqitem": series_id}
        path = self._formatted(template, fields, str(series_id))
        kept, is_repeat, _ = (path or "").partition(REPEAT)
        if is_repeat:
            other = "its name is that of another series, which repeats it or is what it was computed of"
            reason = f"{other}: {'/'.join(kept.split('/')[-2:])}"
            self.unanswered.append(unanswered(series, reason, is_meant=True))
        elif path is not None:
            self.named.append(
                Answer(
                    study_instance_uid=series.study_instance_uid,
                    series_instance_uid=series.series_instance_uid,
                    template=template,
                    path=path if key.outtypes & NIFTI else "",
                    stack=stack,
                    stacks=self.only.get(str(series_id), ()),
                    origin=origin,
                    metadata=self._sidecar(extra, where),
                    volume_types=self._volume_types(extra, where),
                    sourcedata=f"sourcedata/{path}" if "dicom" in key.outtypes else "",
                    call=self._call(path, key),
                )
            )

    def _call(self, path: str, key: _Key) -> HookCall | None:
        if self.hook is None:
            return None
        number = len(self.named)
        return msgspec.structs.replace(self.hook, number=number, prefix=path, outtypes=key.written)

    def _sidecar(self, extra: Mapping[str, object], where: str) -> dict[str, Json]:
        """Sidecar fields that an item adds; ours, not heudiconv's. JSON has no word for NaN or infinity."""
        said = extra.get("sidecar", {})
        try:
            text = json.dumps(msgspec.to_builtins(said, str_keys=True), allow_nan=False)
            return msgspec.json.decode(text, type=dict[str, Json])
        except (TypeError, ValueError, msgspec.ValidationError):
            self.problems.append(f"{where}: 'sidecar' is a dict of JSON values by field, not {said!r}")
            return {}

    def _volume_types(self, extra: Mapping[str, object], where: str) -> tuple[str, ...]:
        """What an item says of the volumes of spin labelling; ours, not heudiconv's."""
        said = extra.get("volume_types", ())
        if isinstance(said, list | tuple) and all(one in VOLUME_TYPES for one in said):
            return tuple(said)
        listed = ", ".join(VOLUME_TYPES)
        self.problems.append(f"{where}: 'volume_types' is a list of these words: {listed}; not {said!r}")
        return ()

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


def _kind(value: object) -> str:
    return "nothing (is there a 'return info'?)" if value is None else f"a {type(value).__name__}"
