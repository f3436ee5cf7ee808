"""Stacks and a heuristic's answers become names, or reasons why there is none.

Theory of operation. A heuristic names *series* (``Answer``: a path without extension for a series); an index
holds *stacks*, and one series may hold several: echoes, magnitude and phase, maps beside diffusion volumes.
``naming`` gives every stack its own name from what tells stacks apart; ``plan_session`` reports everything
that is wrong at once, and ends every stack, refused or not, and every series without stacks, in a row."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence

from msgspec import Struct
from msgspec.structs import replace

from pacs2bids.bids import intended_file, values_of
from pacs2bids.meant import BESIDE_DIFFUSION, UNPLACED, without_open_names
from pacs2bids.metadata import Added, Choices, complete
from pacs2bids.metadata.physiology import Fate, fates_of
from pacs2bids.model import (
    FailedStack,
    NamingRules,
    PlanError,
    PlanRow,
    Stack,
    StudyIndex,
    session_folder,
    session_key,
)
from pacs2bids.naming import Names, name_all
from pacs2bids.session import Answer, Answers, Named, Series, Unanswered, ordinal, series_key, series_of

DEFAULTS = Choices()
NOT_NAMED = "the heuristic does not name this series"
LOCALIZER = "it looks like a localizer: slices of several orientations"
PHYSIOLOGY = "a recording of physiology of an unknown form; its files stay in the study's dicom folder"
ARCHIVED = "the heuristic asks for its DICOM files alone"
DEFAULT_RULES = NamingRules()


class SessionPlan(Struct, frozen=True, kw_only=True):
    """The rows in the order of acquisition, and what a person should know of them."""

    rows: tuple[PlanRow, ...]
    warnings: tuple[str, ...]


def plan_session(
    *,
    subject: str,
    session: str,
    indexes: Sequence[StudyIndex],
    answers: Answers,
    choices: Choices = DEFAULTS,
    rules: NamingRules = DEFAULT_RULES,
) -> SessionPlan:
    """Names or reasons for everything in the studies of one session. ``rules``: for what answers leave open.

    Raises PlanError that lists every name that BIDS does not allow, that is not of this session, or that two
    stacks share.
    """
    all_series = [series for index in indexes for series in series_of(index)]
    archives = [one for one in answers.named if not one.path]
    answers = _without(answers, archives)
    answers = without_open_names(all_series, answers)
    names = name_all(all_series, answers.named, subject, session, rules)
    if problems := names.problems:
        count = f"{len(problems)} names are wrong" if len(problems) > 1 else "a name is wrong"
        raise PlanError(f"{count}; nothing is placed:\n  - " + "\n  - ".join(problems))
    added = complete(names.named, choices, answers.intended_for)
    logs = fates_of(indexes, names.named)
    rows = [_named_row(one, added[one.name.path]) for one in names.named]
    rows += _skipped(all_series, names, answers)
    rows = [_with_logs(row, logs) for row in rows]
    rows += [row for index in indexes for row in _unread(index)]
    rows = _with_archives(rows, archives)
    rows = _with_calls(rows, [*archives, *_without_volumes(all_series, answers)])
    rows.sort(key=lambda row: (row.acquired or "9", row.series_number or 0, row.stack_id, row.bids_name))
    told = (*_warnings(all_series, names, added, answers), *_lost_targets(rows, subject, session))
    return SessionPlan(rows=tuple(rows), warnings=(*told, *(one for log in logs for one in log.warnings)))


def _without_volumes(all_series: Sequence[Series], answers: Answers) -> list[Answer]:
    empty = {series.key for series in all_series if not series.stacks}
    return [one for one in answers.named if one.key in empty]


def _without(answers: Answers, archives: Sequence[Answer]) -> Answers:
    """Answers of what has a name; an archive alone is a reason to have none."""
    reasons = [
        Unanswered(
            study_instance_uid=one.study_instance_uid,
            series_instance_uid=one.series_instance_uid,
            reason=ARCHIVED,
            origin=one.origin,
            is_meant=True,
        )
        for one in archives
    ]
    named = tuple(one for one in answers.named if one.path)
    return replace(answers, named=named, unanswered=(*answers.unanswered, *reasons))


# ------------------------------------------------------------------------------------------------ rows


def _named_row(one: Named, added: Added) -> PlanRow:
    answer = one.answer
    return replace(
        _row(one.series, one.stack, origin=answer.origin),
        bids_name=one.name.path,
        metadata=added.fields | answer.metadata,
        beside=added.beside,
        notes="; ".join([*([one.note] if one.note else []), *added.notes]),
        sourcedata=answer.sourcedata,
        calls=(answer.call,) if answer.call else (),
    )


def _with_logs(row: PlanRow, logs: Sequence[Fate]) -> PlanRow:
    """The row with the log of physiology that goes with its volume, or with what became of its logs."""
    for fate in logs:
        if row.bids_name and row.bids_name in fate.runs:
            notes = "; ".join(filter(None, (row.notes, fate.note)))
            return replace(row, physiology=fate.log.log_id, notes=notes)
    key = (row.study_instance_uid, row.series_instance_uid)
    mine = [fate.reason for fate in logs if fate.series.key == key]
    return replace(row, reason=f"no volume in it: {'; '.join(mine)}") if mine and not row.stack_id else row


def _row(series: Series, stack: Stack | None, *, reason: str = "", origin: str = "") -> PlanRow:
    info = series.info
    return PlanRow(
        study_instance_uid=info.study_instance_uid,
        series_instance_uid=info.series_instance_uid,
        series_number=info.series_number,
        series_description=info.series_description,
        stack_id=stack.stack_id if stack else "",
        acquired=(stack.facts.acquired if stack else None) or info.acquired or "",
        dims="x".join(map(str, stack.shape)) if stack else "",
        instances=len(set(stack.sop_instance_uids)) if stack else info.instances,
        bids_name="",
        reason=reason,
        origin=origin,
    )


def _skipped(all_series: Sequence[Series], names: Names, answers: Answers) -> Iterable[PlanRow]:
    answered = {one.key for one in answers.named}
    reasons = {(*one.key, one.stack): one for one in answers.unanswered}
    named = {(one.series.key, one.stack.stack_id) for one in names.named}
    left_out = {(one.series.key, one.stack.stack_id): one for one in names.left_out}
    for series in all_series:
        if not series.stacks:
            yield _row(series, None, reason=_no_volume(series))
        else:
            yield from (_refused_row(series, one) for one in series.refused)
        for stack in series.stacks:
            if (series.key, stack.stack_id) in named:
                continue
            said = reasons.get((*series.key, ordinal(stack))) or reasons.get((*series.key, None))
            if gone := left_out.get((series.key, stack.stack_id)):
                yield _row(series, stack, reason=gone.reason, origin=gone.answer.origin)
            elif said is not None and (said.stack is not None or series.key not in answered):
                yield _row(series, stack, reason=said.reason, origin=said.origin)
            elif series.key in answered:
                yield _row(series, stack, reason=_beside(stack))
            else:
                yield _row(series, stack, reason=_not_named(stack))


def _not_named(stack: Stack) -> str:
    """That the heuristic does not name it, and what it is if that is plain."""
    if not stack.placed:
        return f"{NOT_NAMED}; {UNPLACED}"
    return f"{NOT_NAMED}; {LOCALIZER}" if stack.facts.is_localizer else NOT_NAMED


def _beside(stack: Stack) -> str:
    """Why a stack has no name although its series has one."""
    if not stack.placed:
        return UNPLACED
    return BESIDE_DIFFUSION if stack.facts.is_diffusion_map else "the heuristic names other stacks"


def _with_archives(rows: Sequence[PlanRow], archives: Sequence[Answer]) -> list[PlanRow]:
    """The same with the archives of series of which nothing but DICOM files is asked for."""
    found = list(rows)
    for answer in archives:
        mine = [
            number
            for number, row in enumerate(found)
            if (row.study_instance_uid, row.series_instance_uid) == answer.key
        ]
        free = next((number for number in mine if not found[number].sourcedata), mine[0])
        found[free] = replace(found[free], sourcedata=answer.sourcedata)
    return found


def _with_calls(rows: Sequence[PlanRow], answers: Sequence[Answer]) -> list[PlanRow]:
    """The same with the calls of what has no volumes to be placed with."""
    found = list(rows)
    for answer in answers:
        if answer.call is None:
            continue
        mine = (
            number
            for number, row in enumerate(found)
            if (row.study_instance_uid, row.series_instance_uid) == answer.key
        )
        first = next(mine)
        found[first] = replace(found[first], calls=(*found[first].calls, answer.call))
    return found


def _refused_row(series: Series, refused: FailedStack) -> PlanRow:
    """Of a series that has other stacks. Its instances are leftovers, as in ``index.json``."""
    row = _row(series, None, reason=f"refused: {refused.error}")
    return replace(row, stack_id=refused.stack_id, instances=0)


def _unread(index: StudyIndex) -> Iterable[PlanRow]:
    """Series of which no header could be read: the index knows them by their UID alone."""
    keys = {info.series_key for info in index.series}
    for failed in index.refused:
        if series_key(failed) not in keys:
            files = sum(leftover.series_instance_uid == failed.stack_id for leftover in index.leftovers)
            yield PlanRow(
                study_instance_uid=index.study_instance_uid,
                series_instance_uid=failed.stack_id,
                series_number=None,
                series_description="",
                stack_id="",
                acquired="",
                dims="",
                instances=files,
                bids_name="",
                reason=f"no volume in it: {failed.error}",
            )


def _no_volume(series: Series) -> str:
    if series.refused:
        return "no volume in it: " + "; ".join(failed.error for failed in series.refused)
    if series.info.joined_to is not None:
        return f"no volume in it: its pictures are part of series {series.info.joined_to}"
    if _is_physiology(series):
        return f"no volume in it: {PHYSIOLOGY}"
    counts = Counter(leftover.reason.value for leftover in series.leftovers)
    listed = ", ".join(f"{count} {reason}" for reason, count in counts.most_common())
    first = next((leftover.detail for leftover in series.leftovers if leftover.detail), "")
    return f"no volume in it: {listed or 'no instance is left'}" + (f" ({first})" if first else "")


def _is_physiology(series: Series) -> bool:
    """Siemens: ORIGINAL/PRIMARY/RAWDATA/PHYSIO, described as "..._PhysioLog" (rordenlab/dcm2niix#157)."""
    return "PHYSIO" in series.info.image_type or series.info.series_description.endswith("PhysioLog")


def _lost_targets(rows: Sequence[PlanRow], subject: str, session: str) -> Iterator[str]:
    """IntendedFor of the heuristic that means this session and no file of it. Of others the check tells."""
    folder = f"{session_folder(session_key(subject, session))}/"
    planned = {f"{row.bids_name}.nii.gz" for row in rows if row.bids_name}
    for row in rows:
        for target in values_of(row.metadata.get("IntendedFor")):
            file = intended_file(str(target), f"sub-{subject}")
            if file is not None and file.startswith(folder) and file not in planned:
                what = f"its IntendedFor names {target}, which no series of this session becomes"
                yield f"{row.bids_name}: {what}"


def _warnings(
    all_series: Sequence[Series], names: Names, added: Mapping[str, Added], answers: Answers
) -> tuple[str, ...]:
    by_key = {series.key: series for series in all_series}
    found = [*answers.warnings, *names.warnings]
    for odd in answers.unanswered:
        if odd.is_meant:
            continue
        found.append(f"{by_key[odd.key].label}: {odd.reason}")
    for answer in answers.named:
        series = by_key[answer.key]
        if not series.stacks:
            found.append(f"{series.label} is named {answer.path}, but there is {_no_volume(series)}")
    found += [f"{path}: {said}" for path, more in added.items() for said in more.warnings]
    return tuple(found)
