"""Answers of a heuristic, which speak of series, become names of stacks.

Theory of operation. An answer claims a name for each stack of its series (``Claim``). Claims to one name,
of one series or of several, are told apart by their facts (``telling``); short acquisitions are marked, kept,
dropped or renamed, and runs are numbered by time where that is asked for (``runs``). What then still shares a
name, or has one that BIDS does not allow, is a problem that says which series, which facts and what to do.
Which stacks an answer means, ``meant`` says; what is odd about allowed names, ``doubts``.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from msgspec import Struct
from msgspec.structs import replace

from pacs2bids.bids import BidsName
from pacs2bids.chunks import as_chunks
from pacs2bids.doubts import doubts
from pacs2bids.meant import as_one, chosen, computed, facts_of_refused
from pacs2bids.model import NamingRules, PlanError, Stack
from pacs2bids.runs import (
    REFERENCE,
    acquisitions,
    grouped,
    marked,
    numbered,
    out_of_order,
    references,
    with_mates,
    with_notes,
    without_run,
)
from pacs2bids.session import (
    Answer,
    Claim,
    LeftOut,
    Named,
    Series,
    ordinal,
)
from pacs2bids.telling import described, differing, tell_apart


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
    warnings = _of_maps(left_out)
    claims, more, chunked = _told(_once(claims))
    problems += more
    warnings += chunked
    claims = with_notes([claim for claim in claims if claim.stack is not None])
    warnings += [f"{claim.series.label}: {claim.note}" for claim in claims if claim.note]
    kept, dropped = _without_short(claims)
    left_out += [_left_out(claim, f"{claim.note}; dropped (short: drop)") for claim in dropped]
    done = _numbered(kept, dropped)
    named = [_named(claim) for claim in done.claims]
    left_out += [_left_out(claim, reason) for claim, reason in done.orphans]
    problems += [*done.problems, *_not_allowed(named), *_collisions(named)]
    return Names(
        named=tuple(named),
        left_out=tuple(left_out),
        problems=tuple(dict.fromkeys(problems)),
        warnings=tuple(dict.fromkeys([*warnings, *done.warnings, *doubts(done.claims)])),
    )


# ------------------------------------------------------------------------------------------------ claims


def _claimed(
    all_series: Sequence[Series], answers: Sequence[Answer], subject: str, session: str, rules: NamingRules
) -> tuple[list[Claim], list[LeftOut], list[str]]:
    """A claim for each stack that an answer means, what of it is no volume of that kind, and problems."""
    by_key = {series.key: series for series in all_series}
    place = {key: number for number, key in enumerate(by_key)}
    claims, left_out, problems = list[Claim](), list[LeftOut](), list[str]()
    # in the order of the series: nothing hangs on the order in which a heuristic speaks
    for said in sorted(
        answers, key=lambda one: (place[one.study_instance_uid, one.series_instance_uid], one.path)
    ):
        answer = replace(said, run=said.run or rules.runs, short=said.short or rules.short_runs)
        series = by_key[answer.key]
        try:
            base = _base(answer, subject, session)
            found = _claims_of_series(series, answer, base)
        except PlanError as error:
            problems.append(_told_of([series], [answer], error))
            continue
        for claim in found:
            kind, reason = computed(claim, rules)
            if reason:
                left_out.append(_left_out(claim, reason))
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
    stacks = chosen(series, answer)
    gone = facts_of_refused(series, stacks) if answer.stack is None else None
    pairs = [(stack.facts, stack) for stack in stacks] + [(facts, None) for facts in gone or ()]
    return [
        Claim(series=series, answer=answer, name=base, facts=facts, stack=stack) for facts, stack in pairs
    ]


def _of_maps(left_out: Sequence[LeftOut]) -> list[str]:
    """One warning of all maps that are left out."""
    labels = ", ".join(dict.fromkeys(one.series.label for one in left_out))
    text = "named as diffusion volumes, but computed by the scanner, and left out: "
    return [text + labels] if labels else []


# -------------------------------------------------------------------------------------------- told apart


def _told(claims: Sequence[Claim]) -> tuple[list[Claim], list[str], list[str]]:
    """Claims to the same name told apart; problems, and warnings.

    Runs that are numbered by time share a name until they are.
    """
    found, problems, warnings = list[Claim](), list[str](), list[str]()
    for group in grouped(claims, _shared):
        try:
            apart, told = as_chunks(tell_apart(acquisitions(group)))
            found, warnings = [*found, *apart], [*warnings, *told]
        except PlanError as error:
            problems.append(_told_of([c.series for c in group], [c.answer for c in group], error))
    return found, problems, warnings


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
    for claim, note in with_mates(claims):
        rule = claim.answer.short if note else "keep"
        if rule == "drop":
            dropped.append(replace(claim, note=claim.note or note))
        else:
            kept.append(claim if rule == "keep" else marked(claim, rule))
    return kept, dropped


class _Numbered(Struct, frozen=True, kw_only=True):
    """Claims with the numbers of their runs; references that have no run, and why; what is to be said."""

    claims: tuple[Claim, ...]
    orphans: tuple[tuple[Claim, str], ...]
    problems: tuple[str, ...]
    warnings: tuple[str, ...]


def _numbered(kept: Sequence[Claim], dropped: Sequence[Claim]) -> _Numbered:
    """Runs by time where the heuristic leaves them to us; references after the runs they were made for."""
    written = [claim for claim in kept if claim.answer.run == "written"]
    by_time = [claim for claim in kept if claim.answer.run != "written"]
    runs, problems = numbered([claim for claim in by_time if claim.name.suffix != REFERENCE])
    mine = [claim for claim in by_time if claim.name.suffix == REFERENCE]
    pairs = references(mine, [*written, *runs], dropped)
    lost = [f"{claim.label} has no name: {reason}" for claim, reason in pairs.orphans]
    return _Numbered(
        claims=(*written, *runs, *pairs.named),
        orphans=pairs.orphans,
        problems=(*problems, *pairs.problems),
        warnings=(*out_of_order(written), *lost),
    )


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
    hint = f"Name one of them, {as_one(group[0].stack)}, or leave the series out"
    error = PlanError(f"one name for {len(group)} stacks ({held})", where=group[0].name.path, hint=hint)
    return _told_of([one.series for one in group], [one.answer for one in group], error)


def _across(group: Sequence[Named]) -> str:
    listed = ", ".join(f"{one.series.label} stack {ordinal(one.stack)}" for one in group)
    templates = " and ".join(sorted({repr(one.answer.template) for one in group}))
    facts = differing([one.stack for one in group])
    return (
        f"{group[0].name.path} is the name of {len(group)} volumes: {listed} (template {templates}). "
        + (f"They differ in: {facts}. " if facts else "Their facts do not differ. ")
        + (_OF_ONE if _is_of_one_acquisition(group) else _OF_SEVERAL)
    )


_OF_ONE = (
    "They are of one acquisition, no runs: tell them apart by 'rec-' (as corrected or filtered pictures) or "
    "'acq-', or leave all but one out; if the time of their headers is wrong, write 'run-' into the names"
)
_OF_SEVERAL = (
    "Give them a run, as in 'run-{item:02d}' (in rules: run: when_several), another entity, "
    "or leave all but one out"
)


def _is_of_one_acquisition(group: Sequence[Named]) -> bool:
    times = {one.stack.facts.acquired for one in group}
    return len(times) == 1 and None not in times


def _told_of(series: Sequence[Series], answers: Sequence[Answer], error: PlanError) -> str:
    labels = ", ".join(dict.fromkeys(one.label for one in series))
    templates = " and ".join(dict.fromkeys(repr(answer.template) for answer in answers))
    return f"{labels}, template {templates}: {error}"
