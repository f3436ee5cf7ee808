"""Answers of a heuristic, which speak of series, become names of stacks.

Theory of operation. An answer claims a name for each stack of its series (``Claim``). Claims to one name,
of one series or of several, are told apart by their facts (``telling``); short acquisitions are marked, kept,
dropped or renamed, and runs are numbered by time where that is asked for (``runs``). What then still shares a
name, or has one that BIDS does not allow, is a problem that says which series, which facts and what to do.
A refused stack counts when the others are named: what is left of two echoes is still one of two echoes.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from itertools import product

from msgspec import Struct
from msgspec.structs import replace

from pacs2bids.bids import BidsName
from pacs2bids.model import NamingRules, PlanError, Stack, StackFacts
from pacs2bids.runs import acquisitions, grouped, numbered, out_of_order, references, with_notes, without_run
from pacs2bids.session import (
    Answer,
    Answers,
    Claim,
    LeftOut,
    Named,
    Series,
    Unanswered,
    ordinal,
)
from pacs2bids.telling import PROTOCOL, described, differing, tell_apart

UNPLACED = "its pictures have no place in the patient (captures without position and orientation)"
BESIDE_DIFFUSION = "a map computed from the diffusion volumes of the same series"
COMPUTED = "a map that the scanner computed, no diffusion volumes"

# suffixes of maps that the scanner computes, by values of ImageType (Siemens; BIDS, "Diffusion imaging data")
_MAPS = {"ADC": "ADC", "EADC": "expADC", "FA": "FA", "TRACEW": "trace"}


class Names(Struct, frozen=True, kw_only=True):
    """What came of the answers. ``problems``: sentences, each a reason to place nothing."""

    named: tuple[Named, ...]
    left_out: tuple[LeftOut, ...]
    problems: tuple[str, ...]
    warnings: tuple[str, ...]


def name_all(
    all_series: Sequence[Series],
    answers: Sequence[Answer],
    subject: str,
    session: str,
    rules: NamingRules,
) -> Names:
    """A name for each stack that an answer means, or why it has none, and what is wrong with the answers."""
    claims, left_out, problems = _claimed(all_series, answers, subject, session, rules)
    claims, more = _told(_once(claims))
    problems += more
    claims = with_notes([claim for claim in claims if claim.stack is not None])
    warnings = _of_maps(left_out)
    warnings += [f"{claim.series.label}: {claim.note}" for claim in claims if claim.note]
    kept, dropped = _without_short(claims)
    left_out += [_left_out(claim, f"{claim.note}; dropped (short: drop)") for claim in dropped]
    written = [claim for claim in kept if claim.answer.run == "written"]
    warnings += out_of_order(written)
    by_time, more = numbered([claim for claim in kept if claim.answer.run != "written"])
    problems += more
    by_time, orphans = references(by_time, dropped)
    left_out += [_left_out(claim, reason) for claim, reason in orphans]
    warnings += [f"{claim.label} has no name: {reason}" for claim, reason in orphans]
    named = [_named(claim) for claim in (*written, *by_time)]
    warnings += _unlike_runs(named)
    problems += _not_allowed(named)
    return Names(
        named=tuple(named),
        left_out=tuple(left_out),
        problems=tuple(dict.fromkeys([*problems, *_collisions(named)])),
        warnings=tuple(dict.fromkeys(warnings)),
    )


# ------------------------------------------------------------------------------------------------ claims


def _claimed(
    all_series: Sequence[Series], answers: Sequence[Answer], subject: str, session: str, rules: NamingRules
) -> tuple[list[Claim], list[LeftOut], list[str]]:
    """A claim for each stack that an answer means, what of it is no volume of that kind, and problems."""
    by_key = {series.key: series for series in all_series}
    claims, left_out, problems = list[Claim](), list[LeftOut](), list[str]()
    for said in answers:
        answer = replace(said, run=said.run or rules.runs, short=said.short or rules.short_runs)
        series = by_key[answer.study_instance_uid, answer.series_instance_uid]
        try:
            base = _base(answer, subject, session)
            found = _claims_of_series(series, answer, base)
        except PlanError as error:
            problems.append(_told_of([series], [answer], error))
            continue
        for claim in found:
            kind = _computed(claim, rules) if answer.stack is None else claim
            if isinstance(kind, LeftOut):
                left_out.append(kind)
            else:
                claims.append(kind)
    return claims, left_out, problems


def _base(answer: Answer, subject: str, session: str) -> BidsName:
    """The name that an answer says. Raises PlanError if it is none, or not of this session."""
    base = BidsName.read(answer.path)
    if (base.subject, base.session) != (subject, session):
        wanted = f"sub-{subject}" + (f"_ses-{session}" if session else " without a session")
        raise PlanError(f"is not a name of {wanted}", where=answer.path)
    return base


def _claims_of_series(series: Series, answer: Answer, base: BidsName) -> list[Claim]:
    stacks = _chosen(series, answer)
    gone = _facts_of_refused(series, stacks) if answer.stack is None else None
    pairs = [(stack.facts, stack) for stack in stacks] + [(facts, None) for facts in gone or ()]
    return [
        Claim(series=series, answer=answer, name=base, facts=facts, stack=stack) for facts, stack in pairs
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


def _computed(claim: Claim, rules: NamingRules) -> Claim | LeftOut:
    """A map of a series of maps that is named as if it were diffusion volumes: by policy; else the claim."""
    if not (claim.stack and claim.name.suffix == "dwi" and claim.facts.is_diffusion_map):
        return claim
    kind = _kind_of_map(claim.stack)
    if rules.computed_maps == "name" and kind:
        return replace(claim, name=claim.name.with_suffix(kind))
    hint = (
        f"name it '..._{kind}', or set 'naming: {{computed_maps: name}}'"
        if kind
        else "BIDS has no name for it"
    )
    return _left_out(claim, f"{COMPUTED} ({'/'.join(claim.facts.image_type)}): {hint}")


def _of_maps(left_out: Sequence[LeftOut]) -> list[str]:
    """One warning of all maps that are left out."""
    labels = ", ".join(dict.fromkeys(one.series.label for one in left_out))
    return (
        [f"named as diffusion volumes, but computed by the scanner, and left out: {labels}"] if labels else []
    )


def _kind_of_map(stack: Stack) -> str | None:
    """The suffix that BIDS has for a diffusion map of the scanner; None: none, or it cannot be told."""
    kinds = {_MAPS[value] for value in stack.facts.image_type if value in _MAPS}
    if len(kinds) != 1:
        return None
    kind = kinds.pop()
    return "colFA" if kind == "FA" and any(image.is_colour for image in stack.images[:1]) else kind


# -------------------------------------------------------------------------------------------- told apart


def _told(claims: Sequence[Claim]) -> tuple[list[Claim], list[str]]:
    """Claims to the same name told apart. Runs that are numbered by time share a name until they are."""
    found, problems = list[Claim](), list[str]()
    for group in grouped(claims, _shared):
        try:
            found += tell_apart(acquisitions(group))
        except PlanError as error:
            problems.append(_told_of([c.series for c in group], [c.answer for c in group], error))
    return found, problems


def _once(claims: Sequence[Claim]) -> list[Claim]:
    """Without what a heuristic says twice: the same name for the same stack."""
    groups = grouped(claims, lambda claim: (claim.series.key, claim.name, claim.stack is None, _of(claim)))
    return [group[0] for group in groups]


def _of(claim: Claim) -> tuple[object, ...]:
    """Which stack of its series it is, there or refused."""
    return (claim.stack.stack_id,) if claim.stack else (claim.facts.echo_number, claim.facts.component)


def _shared(claim: Claim) -> BidsName:
    return claim.name if claim.answer.run == "written" else without_run(claim.name)


def _without_short(claims: Sequence[Claim]) -> tuple[list[Claim], list[Claim]]:
    """Claims to go on with, short ones under another name where that is asked for; and those to drop."""
    kept, dropped = list[Claim](), list[Claim]()
    for acquisition in acquisitions(claims):
        note = next((claim.note for claim in acquisition if claim.is_short), "")
        for claim in acquisition:
            rule = claim.answer.short if note else "keep"
            if rule == "drop":
                dropped.append(replace(claim, note=claim.note or note))
            else:
                kept.append(claim if rule == "keep" else _marked(claim, rule))
    return kept, dropped


def _marked(claim: Claim, entity: str) -> Claim:
    """A short one with the entity that a rule wants for such, as "acq-short"."""
    key, _, label = entity.partition("-")
    said = claim.name.label(key)
    label = said + label[:1].upper() + label[1:] if said else label
    return replace(claim, name=claim.name.with_entity(key, label))


def _named(claim: Claim) -> Named:
    return Named(
        series=claim.series, stack=_there(claim), answer=claim.answer, name=claim.name, note=claim.note
    )


def _left_out(claim: Claim, reason: str) -> LeftOut:
    return LeftOut(series=claim.series, stack=_there(claim), answer=claim.answer, reason=reason)


def _there(claim: Claim) -> Stack:
    if claim.stack is None:
        raise ValueError(f"{claim.label}: a refused stack gets no name")  # they are gone before this
    return claim.stack


# --------------------------------------------------------------------------------------------- problems


def _not_allowed(named: Iterable[Named]) -> list[str]:
    """Names that BIDS does not allow: one problem a series and template."""
    found = dict[tuple[str, str], str]()
    for one in named:
        if problems := one.name.problems():
            error = PlanError("; ".join(problems), where=one.name.path)
            key = (one.series.info.series_instance_uid, one.answer.template)
            found.setdefault(key, _told_of([one.series], [one.answer], error))
    return list(found.values())


def _collisions(named: Sequence[Named]) -> list[str]:
    """What to tell of names that several volumes share."""
    groups = [group for group in grouped(named, lambda one: one.name.path) if len(group) > 1]
    return [
        _within_series(group) if len({one.series.key for one in group}) == 1 else _across(group)
        for group in groups
    ]


def _within_series(group: Sequence[Named]) -> str:
    held = "; ".join(f"stack {ordinal(one.stack)}: {described(one.stack)}" for one in group)
    hint = f"Name one of them, {_as_one(group[0].stack)}, or leave the series out"
    error = PlanError(f"one name for {len(group)} stacks ({held})", where=group[0].name.path, hint=hint)
    return _told_of([one.series for one in group], [one.answer for one in group], error)


def _across(group: Sequence[Named]) -> str:
    listed = ", ".join(f"{one.series.label} stack {ordinal(one.stack)}" for one in group)
    templates = " and ".join(sorted({repr(one.answer.template) for one in group}))
    facts = differing([one.stack for one in group])
    return (
        f"{group[0].name.path} is the name of {len(group)} volumes: {listed} (template {templates}). "
        + (f"They differ in: {facts}. " if facts else "Their facts do not differ. ")
        + "Give them a run, as in 'run-{item:02d}' (in rules: run: when_several), another entity, "
        "or leave all but one out"
    )


def _told_of(series: Sequence[Series], answers: Sequence[Answer], error: PlanError) -> str:
    labels = ", ".join(dict.fromkeys(one.label for one in series))
    templates = " and ".join(dict.fromkeys(repr(answer.template) for answer in answers))
    return f"{labels}, template {templates}: {error}"


def _unlike_runs(named: Sequence[Named]) -> list[str]:
    """Warnings of runs that are no repeats of one protocol."""
    found = []
    for group in grouped(named, lambda one: without_run(one.name)):
        facts = differing([one.stack for one in group], PROTOCOL)
        if facts:
            runs = ", ".join(f"{one.series.label}" for one in group)
            found.append(f"{without_run(group[0].name).path}: runs that are no repeats ({runs}): {facts}")
    return found


# ------------------------------------------------------------------------------------------ refused stacks


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
    return (
        f"{refused}. The name of the others depends on what it was (an echo, a part, a map). "
        f"To name one all the same, choose it, {_as_one(series.stacks[0])}"
    )


def _as_one(stack: Stack) -> str:
    """How a heuristic says that it means one stack of a series."""
    number = ordinal(stack)
    return f'as in {{"item": s.series_id, "stack": {number}}} (in rules: match: {{stack: {number}}})'


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
