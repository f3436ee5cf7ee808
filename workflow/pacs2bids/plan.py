"""Stacks and a heuristic's answers become names, or reasons why there is none.

Theory of operation. A heuristic names *series* (``Answer``: a path without extension for a series); an index
holds *stacks*, and one series may hold several: echoes, magnitude and phase, maps beside diffusion volumes.
``plan_session`` gives every stack its own name from what tells the stacks of a series apart, checks all names
against BIDS and against each other, and reports everything that is wrong at once. Every stack, refused or
not, and every series without stacks, ends in a row. A refused stack counts when the others are named: what
is left of two echoes is still one of two echoes.
"""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Iterable, Sequence
from itertools import product

from msgspec import Struct
from msgspec.structs import replace

from pacs2bids.bids import BidsName
from pacs2bids.model import (
    FailedStack,
    Json,
    Leftover,
    PlanError,
    PlanRow,
    SeriesInfo,
    Stack,
    StackFacts,
    StudyIndex,
)

NOT_NAMED = "the heuristic does not name this series"
UNPLACED = "its pictures have no place in the patient (captures without position and orientation)"
BESIDE_DIFFUSION = "a map computed from the diffusion volumes of the same series"

# BIDS labels of the entity "part" (BIDS, appendix Entities)
PARTS = {"magnitude": "mag", "phase": "phase", "real": "real", "imaginary": "imag"}


class Answer(Struct, frozen=True, kw_only=True):
    """What a heuristic says of one series.

    ``path``: name in the dataset without extension. ``template``: how the heuristic wrote it, for messages.
    ``stack``: ordinal of the one stack that is meant (2 for "005-2"); None: the whole series.
    """

    study_instance_uid: str
    series_instance_uid: str
    template: str
    path: str
    stack: int | None = None


class Unanswered(Struct, frozen=True, kw_only=True):
    """A series for which the heuristic gave no usable answer, and why, for a person."""

    study_instance_uid: str
    series_instance_uid: str
    reason: str


class Answers(Struct, frozen=True, kw_only=True):
    """All that a heuristic says of a session."""

    named: tuple[Answer, ...]
    unanswered: tuple[Unanswered, ...] = ()
    warnings: tuple[str, ...] = ()


class SessionPlan(Struct, frozen=True, kw_only=True):
    """The rows in the order of acquisition, and what a person should know of them."""

    rows: tuple[PlanRow, ...]
    warnings: tuple[str, ...]


class _Series(Struct, frozen=True, kw_only=True):
    """A series with everything known about it."""

    info: SeriesInfo
    stacks: tuple[Stack, ...]
    leftovers: tuple[Leftover, ...]
    refused: tuple[FailedStack, ...]  # single stacks, or the series as a whole

    @property
    def key(self) -> tuple[str, str]:
        return (self.info.study_instance_uid, self.info.series_instance_uid)

    @property
    def label(self) -> str:
        """As messages call it: its key and its description, which a person knows from the console."""
        description = self.info.series_description or self.info.protocol_name
        return f"series {self.info.series_key}" + (f" ({description})" if description else "")


class _Named(Struct, frozen=True, kw_only=True):
    """A stack that has a name."""

    series: _Series
    stack: Stack
    template: str
    name: BidsName


def plan_session(
    *, subject: str, session: str, indexes: Sequence[StudyIndex], answers: Answers
) -> SessionPlan:
    """Names or reasons for everything in the studies of one session.

    Raises PlanError that lists every name that BIDS does not allow, that is not of this session, or that two
    stacks share.
    """
    all_series = [series for index in indexes for series in _series_of(index)]
    answers = _without_open_names(all_series, answers)
    named, problems = _name_all(all_series, answers.named, subject, session)
    problems += _collisions(named)
    if problems:
        count = f"{len(problems)} names are wrong" if len(problems) > 1 else "a name is wrong"
        raise PlanError(f"{count}; nothing is placed:\n  - " + "\n  - ".join(problems))
    rows = [_row(one.series, one.stack, name=one.name.path, metadata=_metadata(one, named)) for one in named]
    named_stacks = {(one.series.key, one.stack.stack_id) for one in named}
    rows += _skipped(all_series, named_stacks, answers)
    rows += [row for index in indexes for row in _unread(index)]
    rows.sort(key=lambda row: (row.acquired or "9", row.series_number or 0, row.stack_id, row.bids_name))
    return SessionPlan(rows=tuple(rows), warnings=_warnings(all_series, named, answers))


def _series_of(index: StudyIndex) -> Iterable[_Series]:
    stacks, leftovers = defaultdict(list), defaultdict(list)
    for stack in index.stacks:
        stacks[stack.series_instance_uid].append(stack)
    for leftover in index.leftovers:
        leftovers[leftover.series_instance_uid].append(leftover)
    refused = defaultdict(list)
    for failed in index.refused:
        refused[_series_key(failed)].append(failed)
    for info in index.series:
        uid = info.series_instance_uid
        yield _Series(
            info=info,
            stacks=tuple(stacks[uid]),
            leftovers=tuple(leftovers[uid]),
            refused=tuple(refused[info.series_key]),
        )


def _series_key(failed: FailedStack) -> str:
    return failed.stack_id.partition("-")[0]


# ------------------------------------------------------------------------------------------------ names


def _name_all(
    all_series: Sequence[_Series], answers: Sequence[Answer], subject: str, session: str
) -> tuple[list[_Named], list[str]]:
    by_key = {series.key: series for series in all_series}
    named, problems = [], []
    for answer in answers:
        series = by_key[answer.study_instance_uid, answer.series_instance_uid]
        try:
            named += _name_series(series, answer, subject, session)
        except PlanError as error:
            problems.append(f"{series.label}, template {answer.template!r}: {error}")
    return named, list(dict.fromkeys(problems))


def _name_series(series: _Series, answer: Answer, subject: str, session: str) -> list[_Named]:
    base = BidsName.read(answer.path)
    if (base.subject, base.session) != (subject, session):
        wanted = f"sub-{subject}" + (f"_ses-{session}" if session else " without a session")
        raise PlanError(f"is not a name of {wanted}", where=answer.path)
    stacks = _chosen(series, answer)
    gone = () if answer.stack is not None else _facts_of_refused(series, stacks)
    names = _tell_apart(base, stacks, gone or ())
    for name in names:
        if problems := name.problems():
            raise PlanError("; ".join(problems), where=name.path)
    return [
        _Named(series=series, stack=stack, template=answer.template, name=name)
        for stack, name in zip(stacks, names, strict=True)
    ]


def _chosen(series: _Series, answer: Answer) -> tuple[Stack, ...]:
    """The stacks that an answer means; none of a series that has none."""
    if series.stacks and answer.stack is not None:
        chosen = tuple(stack for stack in series.stacks if _ordinal(stack) == answer.stack)
        if not chosen:
            known = ", ".join(str(_ordinal(stack)) for stack in series.stacks) or "none"
            raise PlanError(f"there is no stack {answer.stack} (stacks: {known})", where=answer.path)
        return chosen
    placed = tuple(stack for stack in series.stacks if stack.placed)
    volumes = tuple(stack for stack in placed if not stack.facts.is_diffusion_map)
    return volumes or placed  # a series of maps only is named as the heuristic says


def _ordinal(stack: Stack) -> int:
    return int(stack.stack_id.rpartition("-")[2])


def _tell_apart(base: BidsName, stacks: Sequence[Stack], gone: Sequence[StackFacts]) -> list[BidsName]:
    """One name a stack, from what tells the stacks of one series apart, those that are ``gone`` included.

    Raises PlanError if nothing that BIDS has a word for does.
    """
    facts = [*(stack.facts for stack in stacks), *gone]
    if not stacks or len(facts) < 2:
        return [base for _ in stacks]
    names = _measured_map_names(base, facts) or _field_map_names(base, facts)
    names = names or _with_echo(_with_part([base] * len(facts), facts), facts)
    names = names[: len(stacks)]
    if len(set(names)) < len(names):
        held = "; ".join(f"stack {_ordinal(stack)}: {_described(stack)}" for stack in stacks)
        hint = (
            f'Name one of them, as in {{"item": s.series_id, "stack": {_ordinal(stacks[0])}}}, '
            "or leave the series out"
        )
        raise PlanError(f"one name for {len(stacks)} stacks ({held})", where=base.path, hint=hint)
    return names


def _without_open_names(all_series: Sequence[_Series], answers: Answers) -> Answers:
    """Answers that mean what has no name in BIDS, or whose names hang on a refused stack, become reasons."""
    by_key = {series.key: series for series in all_series}
    sure, unsure = [], []
    for answer in answers.named:
        reason = _open(by_key[answer.study_instance_uid, answer.series_instance_uid], answer)
        if reason:
            uids = (answer.study_instance_uid, answer.series_instance_uid)
            unsure.append(Unanswered(study_instance_uid=uids[0], series_instance_uid=uids[1], reason=reason))
        else:
            sure.append(answer)
    return replace(answers, named=tuple(sure), unanswered=(*answers.unanswered, *dict.fromkeys(unsure)))


def _open(series: _Series, answer: Answer) -> str:
    """Why a series gets no name from its answer: nothing to name, or refused stacks; else ""."""
    meant = [stack for stack in series.stacks if answer.stack in (None, _ordinal(stack))]
    if meant and not any(stack.placed for stack in meant):
        return UNPLACED
    if not (series.refused and series.stacks):
        return ""
    if answer.stack is not None:
        lost = [one for one in series.refused if one.stack_id == f"{series.info.series_key}-{answer.stack}"]
        return f"named is stack {lost[0].stack_id}, which was refused: {lost[0].error}" if lost else ""
    if _facts_of_refused(series, _chosen(series, answer)) is not None:
        return ""
    refused = "; ".join(f"stack {one.stack_id} was refused: {one.error}" for one in series.refused)
    example = f'{{"item": s.series_id, "stack": {_ordinal(series.stacks[0])}}}'
    return (
        f"{refused}. The name of the others depends on what it was (an echo, a part, a map). "
        f"To name one all the same, choose it, as in {example}"
    )


def _facts_of_refused(series: _Series, stacks: Sequence[Stack]) -> list[StackFacts] | None:
    """Echo and component of the refused stacks; None if they cannot be told.

    They can if the series is then whole: all components of the others, each with all echoes from 1
    to the highest EchoNumbers (0018,0086) among the others.
    """
    facts = [stack.facts for stack in stacks]
    there = {(one.echo_number, one.component) for one in facts}
    components = dict.fromkeys(one.component for one in facts)
    numbers = [one.echo_number for one in facts if one.echo_number is not None]
    if len(numbers) < len(facts) or (None in components and len(components) > 1):
        return None
    whole = product(range(1, max(numbers, default=0) + 1), components)
    gone = [one for one in whole if one not in there]
    if len(there) < len(facts) or len(gone) != len(series.refused):
        return None
    return [StackFacts(echo_number=number, component=component) for number, component in gone]


def _field_map_names(base: BidsName, facts: Sequence[StackFacts]) -> list[BidsName]:
    """Two echoes of a field map are magnitude1 and magnitude2, or phase1 and phase2; else nothing.

    Source: BIDS, "Fieldmap data", cases 1 and 2; heudiconv's users write "magnitude" or "magnitude1".
    """
    stem = base.suffix.removesuffix("1")
    ranks = _echo_ranks(facts)
    if base.datatype != "fmap" or stem not in ("magnitude", "phase") or sorted(ranks) != [1, 2]:
        return []
    return [base.with_suffix(f"{stem}{rank}") for rank in ranks]


def _measured_map_names(base: BidsName, facts: Sequence[StackFacts]) -> list[BidsName]:
    """A field map in Hz and its magnitude in one series (GE) are fieldmap and magnitude; else nothing.

    Source: BIDS, "Fieldmap data", case 3.
    """
    maps = [one.content == "fieldmap" for one in facts]
    if base.datatype != "fmap" or base.suffix not in ("fieldmap", "magnitude") or sum(maps) != 1:
        return []
    return [base.with_suffix("fieldmap" if is_map else "magnitude") for is_map in maps]


def _with_part(names: list[BidsName], facts: Sequence[StackFacts]) -> list[BidsName]:
    parts = [PARTS.get(one.component or "") for one in facts]
    if len(set(parts)) < 2:
        return names
    if None in parts:
        return names  # one stack's component is unknown: no guess
    return [_completed(name, "part", part or "") for name, part in zip(names, parts, strict=True)]


def _with_echo(names: list[BidsName], facts: Sequence[StackFacts]) -> list[BidsName]:
    ranks = _echo_ranks(facts)
    if len(set(ranks)) < 2:
        return names
    return [_completed(name, "echo", str(rank)) for name, rank in zip(names, ranks, strict=True)]


def _echo_ranks(facts: Sequence[StackFacts]) -> list[int]:
    """1 for the shortest echo, and so on; empty if a stack does not tell its echo."""
    times: list[float] = [one.echo_time_s for one in facts if one.echo_time_s is not None]
    if len(times) < len(facts) or len(set(times)) < 2:
        times = [one.echo_number for one in facts if one.echo_number is not None]
    if len(times) < len(facts):
        return []
    ordered = sorted(set(times))
    return [ordered.index(time) + 1 for time in times]


def _completed(name: BidsName, key: str, label: str) -> BidsName:
    said = name.label(key)
    if said is not None:
        what = f"it says {key}-{said}, but the series holds several of them"
        raise PlanError(what, where=name.path, hint=f"Leave '{key}-' to pacs2bids")
    return name.with_entity(key, label)


def _described(stack: Stack) -> str:
    facts = stack.facts
    words = ["x".join(map(str, stack.shape)), facts.orientation, facts.component, facts.content]
    if facts.echo_time_s is not None:
        words.append(f"echo time {facts.echo_time_s * 1000:g} ms")
    words.append("/".join(facts.image_type))
    return ", ".join(word for word in words if word)


def _collisions(named: Sequence[_Named]) -> list[str]:
    by_path = defaultdict(list)
    for one in named:
        by_path[one.name.path].append(one)
    hint = "give them a run, as in 'run-{item:02d}', or leave all but one out"
    return [
        f"{path} is the name of {len(group)} volumes: "
        + ", ".join(f"{one.series.label} stack {_ordinal(one.stack)}" for one in group)
        + f" (template {' and '.join(sorted({repr(one.template) for one in group}))}): {hint}"
        for path, group in by_path.items()
        if len(group) > 1
    ]


# ------------------------------------------------------------------------------------------------ metadata


def _metadata(one: _Named, session: Sequence[_Named]) -> dict[str, Json]:
    """Sidecar fields that follow from the name (BIDS, "Task", "Phase-difference map", "part")."""
    fields: dict[str, Json] = {}
    task = one.name.label("task")
    if task is not None:
        fields["TaskName"] = task
    if one.name.label("part") == "phase" and "Units" not in one.stack.sidecar:
        fields["Units"] = "arbitrary"  # stored values are not scaled to radians
    if (one.name.datatype, one.name.suffix) == ("fmap", "phasediff"):
        fields |= _echo_times(one, session)
    return fields


def _echo_times(phase_difference: _Named, session: Sequence[_Named]) -> dict[str, Json]:
    """Echo times of the two magnitudes that go with a phase difference, in s; nothing if they are unknown.

    They go together when their names differ in the suffix alone, or when the session has no other pair.
    """
    if "EchoTime1" in phase_difference.stack.sidecar:
        return {}
    pairs: dict[BidsName, dict[str, float]] = defaultdict(dict)
    for one in session:
        echo_time_s = one.stack.facts.echo_time_s
        if one.name.suffix in ("magnitude1", "magnitude2") and echo_time_s is not None:
            pairs[one.name.with_suffix("phasediff")][one.name.suffix] = echo_time_s
    whole = {name: sorted(times.values()) for name, times in pairs.items() if len(times) == 2}
    times = whole.get(phase_difference.name)
    if times is None and len(whole) == 1:
        times = next(iter(whole.values()))
    return {"EchoTime1": times[0], "EchoTime2": times[1]} if times else {}


# ------------------------------------------------------------------------------------------------ rows


def _row(
    series: _Series,
    stack: Stack | None,
    *,
    name: str = "",
    reason: str = "",
    metadata: dict[str, Json] | None = None,
) -> PlanRow:
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
        bids_name=name,
        reason=reason,
        metadata=metadata or {},
    )


def _skipped(
    all_series: Sequence[_Series], named_stacks: set[tuple[tuple[str, str], str]], answers: Answers
) -> Iterable[PlanRow]:
    answered = {(one.study_instance_uid, one.series_instance_uid) for one in answers.named}
    reasons = {(one.study_instance_uid, one.series_instance_uid): one.reason for one in answers.unanswered}
    for series in all_series:
        if not series.stacks:
            yield _row(series, None, reason=_no_volume(series))
        else:
            yield from (_refused_row(series, one) for one in series.refused)
        for stack in series.stacks:
            if (series.key, stack.stack_id) in named_stacks:
                continue
            if series.key in answered:
                yield _row(series, stack, reason=_beside(stack))
            else:
                yield _row(series, stack, reason=reasons.get(series.key, NOT_NAMED))


def _beside(stack: Stack) -> str:
    """Why a stack has no name although its series has one."""
    if not stack.placed:
        return UNPLACED
    return BESIDE_DIFFUSION if stack.facts.is_diffusion_map else "the heuristic names other stacks"


def _refused_row(series: _Series, refused: FailedStack) -> PlanRow:
    """Of a series that has other stacks. Its instances are leftovers, as in ``index.json``."""
    row = _row(series, None, reason=f"refused: {refused.error}")
    return replace(row, stack_id=refused.stack_id, instances=0)


def _unread(index: StudyIndex) -> Iterable[PlanRow]:
    """Series of which no header could be read: the index knows them by their UID alone."""
    keys = {info.series_key for info in index.series}
    for failed in index.refused:
        if _series_key(failed) not in keys:
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


def _no_volume(series: _Series) -> str:
    if series.refused:
        return "no volume in it: " + "; ".join(failed.error for failed in series.refused)
    if series.info.joined_to is not None:
        return f"no volume in it: its pictures are part of series {series.info.joined_to}"
    counts = Counter(leftover.reason.value for leftover in series.leftovers)
    listed = ", ".join(f"{count} {reason}" for reason, count in counts.most_common())
    first = next((leftover.detail for leftover in series.leftovers if leftover.detail), "")
    return f"no volume in it: {listed or 'no instance is left'}" + (f" ({first})" if first else "")


def _warnings(all_series: Sequence[_Series], named: Sequence[_Named], answers: Answers) -> tuple[str, ...]:
    by_key = {series.key: series for series in all_series}
    found = list(answers.warnings)
    for odd in answers.unanswered:
        found.append(f"{by_key[odd.study_instance_uid, odd.series_instance_uid].label}: {odd.reason}")
    for answer in answers.named:
        series = by_key[answer.study_instance_uid, answer.series_instance_uid]
        if not series.stacks:
            found.append(f"{series.label} is named {answer.path}, but there is {_no_volume(series)}")
    for one in named:
        known = {**one.stack.sidecar, **_metadata(one, named)}
        if one.name.suffix == "phasediff" and "EchoTime1" not in known:
            found.append(f"{one.name.path}: its echo times are unknown; name its two magnitude images, too")
        if one.name.suffix == "asl":
            found.append(f"{one.name.path}: it needs aslcontext.tsv beside it, which is not written yet")
    return tuple(found)
