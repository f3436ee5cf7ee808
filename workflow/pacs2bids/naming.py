"""Answers of a heuristic, which speak of series, become names of stacks.

One series may hold several stacks: echoes, magnitude and phase, maps beside diffusion volumes. Each gets its
own name from what tells the stacks of its series apart. A refused stack counts when the others are named:
what is left of two echoes is still one of two echoes.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence
from itertools import product

from msgspec.structs import replace

from pacs2bids.bids import BidsName
from pacs2bids.model import PlanError, Stack, StackFacts
from pacs2bids.session import Answer, Answers, Named, Series, Unanswered, ordinal

UNPLACED = "its pictures have no place in the patient (captures without position and orientation)"

# BIDS labels of the entity "part" (BIDS, appendix Entities)
PARTS = {"magnitude": "mag", "phase": "phase", "real": "real", "imaginary": "imag"}


def name_all(
    all_series: Sequence[Series], answers: Sequence[Answer], subject: str, session: str
) -> tuple[list[Named], list[str]]:
    """A name for each stack that an answer means, and what is wrong with the answers."""
    by_key = {series.key: series for series in all_series}
    named, problems = [], []
    for answer in answers:
        series = by_key[answer.study_instance_uid, answer.series_instance_uid]
        try:
            named += _name_series(series, answer, subject, session)
        except PlanError as error:
            problems.append(f"{series.label}, template {answer.template!r}: {error}")
    return named, list(dict.fromkeys(problems))


def _name_series(series: Series, answer: Answer, subject: str, session: str) -> list[Named]:
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
        Named(series=series, stack=stack, answer=answer, name=name)
        for stack, name in zip(stacks, names, strict=True)
    ]


def _chosen(series: Series, answer: Answer) -> tuple[Stack, ...]:
    """The stacks that an answer means; none of a series that has none."""
    if series.stacks and answer.stack is not None:
        chosen = tuple(stack for stack in series.stacks if ordinal(stack) == answer.stack)
        if not chosen:
            known = ", ".join(str(ordinal(stack)) for stack in series.stacks) or "none"
            raise PlanError(f"there is no stack {answer.stack} (stacks: {known})", where=answer.path)
        return chosen
    placed = tuple(stack for stack in series.stacks if stack.placed and _is_meant(stack, answer))
    volumes = tuple(stack for stack in placed if not stack.facts.is_diffusion_map)
    return volumes or placed  # maps alone are named as the heuristic says


def _is_meant(stack: Stack, answer: Answer) -> bool:
    if answer.stack is not None:
        return ordinal(stack) == answer.stack
    return not answer.stacks or ordinal(stack) in answer.stacks


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
        held = "; ".join(f"stack {ordinal(stack)}: {_described(stack)}" for stack in stacks)
        hint = (
            f'Name one of them, as in {{"item": s.series_id, "stack": {ordinal(stacks[0])}}}, '
            "or leave the series out"
        )
        raise PlanError(f"one name for {len(stacks)} stacks ({held})", where=base.path, hint=hint)
    return names


def without_open_names(all_series: Sequence[Series], answers: Answers) -> Answers:
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


def _open(series: Series, answer: Answer) -> str:
    """Why a series gets no name from its answer: nothing to name, or refused stacks; else ""."""
    meant = [stack for stack in series.stacks if _is_meant(stack, answer)]
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
    example = f'{{"item": s.series_id, "stack": {ordinal(series.stacks[0])}}}'
    return (
        f"{refused}. The name of the others depends on what it was (an echo, a part, a map). "
        f"To name one all the same, choose it, as in {example}"
    )


def _facts_of_refused(series: Series, stacks: Sequence[Stack]) -> list[StackFacts] | None:
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


def collisions(named: Sequence[Named]) -> list[str]:
    """What to tell of names that several volumes share."""
    by_path = defaultdict(list)
    for one in named:
        by_path[one.name.path].append(one)
    hint = "give them a run, as in 'run-{item:02d}', or leave all but one out"
    return [
        f"{path} is the name of {len(group)} volumes: "
        + ", ".join(f"{one.series.label} stack {ordinal(one.stack)}" for one in group)
        + f" (template {' and '.join(sorted({repr(one.answer.template) for one in group}))}): {hint}"
        for path, group in by_path.items()
        if len(group) > 1
    ]
