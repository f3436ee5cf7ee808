"""Which stacks of its series an answer means: the refused ones among them, and maps that are no volumes.

A refused stack counts when the others are named: what is left of two echoes is still one of two echoes.
"""

from __future__ import annotations

from collections.abc import Sequence
from itertools import product

from msgspec.structs import replace

from pacs2bids.model import NamingRules, PlanError, Stack, StackFacts
from pacs2bids.session import Answer, Answers, Claim, Series, Unanswered, ordinal

UNPLACED = "its pictures have no place in the patient (captures without position and orientation)"
BESIDE_DIFFUSION = "a map computed from the diffusion volumes of the same series"
COMPUTED = "a map that the scanner computed, no diffusion volumes"

# suffixes of maps that the scanner computes, by values of ImageType (Siemens; BIDS, "Diffusion imaging data")
_MAPS = {"ADC": "ADC", "EADC": "expADC", "FA": "FA", "TRACEW": "trace"}


def chosen(series: Series, answer: Answer) -> tuple[Stack, ...]:
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


def without_open_names(all_series: Sequence[Series], answers: Answers) -> Answers:
    """Answers that mean what has no name in BIDS, or whose names hang on a refused stack, become reasons."""
    by_key = {series.key: series for series in all_series}
    sure, unsure = [], []
    for answer in answers.named:
        reason = _open(by_key[answer.key], answer)
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
    if facts_of_refused(series, chosen(series, answer)) is not None:
        return ""
    refused = "; ".join(f"stack {one.stack_id} was refused: {one.error}" for one in series.refused)
    return (
        f"{refused}. The name of the others depends on what it was (an echo, a part, a map). "
        f"To name one all the same, choose it, {as_one(series.stacks[0])}"
    )


def as_one(stack: Stack) -> str:
    """How a heuristic says that it means one stack of a series."""
    number = ordinal(stack)
    return f'as in {{"item": s.series_id, "stack": {number}}} (in rules: match: {{stack: {number}}})'


def facts_of_refused(series: Series, stacks: Sequence[Stack]) -> list[StackFacts] | None:
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


# ------------------------------------------------------------------------------------------ computed maps


def computed(claim: Claim, rules: NamingRules) -> tuple[Claim, str]:
    """The claim, and why it gets no name; "" if it gets one.

    A map of a series of maps that is named as if it were diffusion volumes is renamed or left out, as the
    rules say. Who chooses a single stack knows what it is.
    """
    is_mistaken = claim.name.suffix == "dwi" and claim.facts.is_diffusion_map and claim.answer.stack is None
    if claim.stack is None or not is_mistaken:
        return claim, ""
    kind = _kind_of_map(claim.stack)
    if rules.computed_maps == "name" and kind:
        return replace(claim, name=claim.name.with_suffix(kind)), ""
    hint = "BIDS has no name for it"
    if kind:
        hint = f"name it '..._{kind}', or set 'naming: {{computed_maps: name}}'"
    return claim, f"{COMPUTED} ({'/'.join(claim.facts.image_type)}): {hint}"


def _kind_of_map(stack: Stack) -> str | None:
    """The suffix that BIDS has for a diffusion map of the scanner; None: none, or it cannot be told."""
    kinds = {_MAPS[value] for value in stack.facts.image_type if value in _MAPS}
    if len(kinds) != 1:
        return None
    kind = kinds.pop()
    return "colFA" if kind == "FA" and any(image.is_colour for image in stack.images[:1]) else kind
