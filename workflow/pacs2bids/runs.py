"""Which volumes were measured together, which acquisitions were cut short, and which run is which.

Theory of operation. An *acquisition* is what one press of a button gave: the stacks of one series, and series
whose stacks began at the same moment (Siemens writes phase, phase differences and maps as series of their
own, with the AcquisitionTime of what they come from; corpus fmap, xa30). The same moment is within one
repetition, which any acquisition lasts: the second echo of a field map bears the time of its second one
(corpus fmap: 0.4025 s later at a TR of 0.4 s). Names that differ only in what one
acquisition may hold several of (echo, part, inversion, flip angle, transfer; magnitudes and phases of a field
map) are one *family*, and a family's acquisitions are numbered in the order of time, so that a run has the
same number in all of them. Where parts of one run were acquired apart, they are put together only if that
comes out even; else nothing tells which belong together, and that is an error. A single-volume reference
("sbref") takes the number of the run that it was made for, which is the next one, or began at the same time.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Hashable, Iterable, Iterator, Sequence
from datetime import datetime, timedelta
from itertools import pairwise
from typing import TypeVar

from msgspec import Struct
from msgspec.structs import replace

from pacs2bids.bids import BidsName
from pacs2bids.model import PlanError, Reason
from pacs2bids.moments import moment
from pacs2bids.session import Claim
from pacs2bids.text import counted

T = TypeVar("T")
Acquisition = list[Claim]

# entities of which one acquisition may hold several
_WITHIN = ("echo", "flip", "inv", "mt", "part")
# suffixes that come of one acquisition: BIDS, "Fieldmap data"; MP2RAGE and the image combined of it
_TOGETHER = {
    **dict.fromkeys(
        ("magnitude", "magnitude1", "magnitude2", "phase1", "phase2", "phasediff", "fieldmap"), "fieldmap"
    ),
    **dict.fromkeys(("MP2RAGE", "UNIT1"), "MP2RAGE"),
}
REFERENCE = "sbref"


def grouped(items: Iterable[T], key: Callable[[T], Hashable]) -> list[list[T]]:
    """Items of the same key, in the order in which each key was first seen."""
    groups: dict[Hashable, list[T]] = defaultdict(list)
    for item in items:
        groups[key(item)].append(item)
    return list(groups.values())


# ------------------------------------------------------------------------------------------ acquisitions


def acquisitions(claims: Sequence[Claim]) -> list[Acquisition]:
    """What was measured together, in the order of time; what has no time comes last."""
    series = grouped(claims, lambda claim: claim.series.key)
    one_of = list(range(len(series)))  # which acquisition each series is of, by the first series of it
    for one, other in _met(series):
        kept, gone = sorted((one_of[one], one_of[other]))
        if kept != gone:
            one_of = [kept if each == gone else each for each in one_of]
    found = grouped(zip(one_of, series, strict=True), lambda pair: pair[0])
    return sorted(([claim for _, its in pairs for claim in its] for pairs in found), key=_start)


def _met(series: Sequence[Sequence[Claim]]) -> Iterator[tuple[int, int]]:
    """Pairs of series, by number, of which something began at the same moment.

    Not by the time of the series, which a whole study may share for want of a better one.
    """
    begun = sorted(
        (moment(claim.facts.acquired), number, _near_s(claim))
        for number, its in enumerate(series)
        for claim in its
        if claim.facts.acquired
    )
    for place, (when, number, near_s) in enumerate(begun):
        for before in reversed(range(place)):
            earlier, other, other_near_s = begun[before]
            apart_s = (when - earlier).total_seconds()
            if apart_s >= near_s:
                break
            if other != number and apart_s < other_near_s:
                yield other, number


def _near_s(claim: Claim) -> float:
    """Within how many seconds no other acquisition can have begun."""
    return max(_LEAST_S, _REPETITIONS * (claim.facts.repetition_time_s or 0.0))


# nobody starts two acquisitions within a second; a little more than one TR, since times are of the clock
_LEAST_S, _REPETITIONS = 1.0, 1.02
_NEVER = "9"  # later than all ISO dates of this millennium


def _start(acquisition: Acquisition) -> str:
    return min((claim.acquired for claim in acquisition if claim.acquired), default=_NEVER)


def without_run(name: BidsName) -> BidsName:
    """The name that repeats of one thing share."""
    return name.without_entity("run")


def is_of_field_map(name: BidsName) -> bool:
    """Whether it is one of the files that make a map of phase differences, or a measured one."""
    return name.datatype == "fmap" and _TOGETHER.get(name.suffix) == "fieldmap"


def _family(claim: Claim) -> Hashable:
    suffix = _TOGETHER.get(claim.name.suffix, claim.name.suffix)
    return without_run(claim.name).without_entity(*_WITHIN).with_suffix(suffix)


# ------------------------------------------------------------------------------------------- short ones


def with_notes(claims: Sequence[Claim]) -> list[Claim]:
    """The claims, with what is to be said of those whose acquisition was cut short."""
    longest = {
        without_run(group[0].name): max(_volumes(claim) for claim in group)
        for group in grouped(claims, lambda claim: without_run(claim.name))
    }
    found = []
    for claim in claims:
        short = _short(claim, longest[without_run(claim.name)])
        note = "; ".join(filter(None, (short, _incomplete(claim))))
        found.append(replace(claim, note=note, is_short=bool(short)))
    return found


def _short(claim: Claim, longest: int) -> str:
    volumes, asked = _volumes(claim), claim.answer.volumes
    if asked is not None:
        return f"short: {volumes} of {asked} volumes" if volumes < asked else ""
    if volumes < longest:
        return f"short: {counted(volumes, 'volume')}, where another of its name has {longest}"
    whole = sum(stack.shape[3] for stack in claim.series.stacks)
    promised = claim.facts.volumes_promised or 0
    return f"short: {whole} of the {promised} volumes that its header promises" if whole < promised else ""


def with_mates(claims: Sequence[Claim]) -> Iterable[tuple[Claim, str]]:
    """Each claim, and why it is of an acquisition that was cut short; "" if it is of none.

    What was measured together is short together: the phase of a short magnitude has no longer one of its own
    name beside it. Only within a family: de-identified data may give one time to all that a session holds.
    """
    for family in grouped(claims, _family):
        longest = max(_volumes(claim) for claim in family)
        for acquisition in acquisitions(family):
            short = [claim for claim in acquisition if claim.is_short]
            for claim in acquisition:
                yield claim, short[0].note if claim.is_short or _is_mate(claim, short, longest) else ""


def _is_mate(claim: Claim, short: Sequence[Claim], longest: int) -> bool:
    """Whether it was cut with the short ones: it has no more volumes than they, or less than its family."""
    if not short or claim.answer.volumes is not None:
        return False  # with so many volumes asked for, it is whole
    return _volumes(claim) < longest or _volumes(claim) <= max(map(_volumes, short))


def marked(claim: Claim, entity: str) -> Claim:
    """A short one with the entity that a rule wants for such, as "acq-short"."""
    key, _, label = entity.partition("-")
    said = claim.name.label(key)
    label = said + label[:1].upper() + label[1:] if said else label
    return replace(claim, name=claim.name.with_entity(key, label), unmarked=claim.name)


def _incomplete(claim: Claim) -> str:
    """No measure of how short it is: whoever stops each run by hand loses a part of a volume each time."""
    lost = sum(leftover.reason is Reason.INCOMPLETE for leftover in claim.series.leftovers)
    return f"{counted(lost, 'picture')} of a volume that lacks slices left out" if lost else ""


def _volumes(claim: Claim) -> int:
    return claim.stack.shape[3] if claim.stack else 0


# ----------------------------------------------------------------------------------------------- numbers


def numbered(claims: Sequence[Claim]) -> tuple[list[Claim], list[str]]:
    """Names with the numbers of their runs, and what is wrong. References have none of their own."""
    found, problems = list[Claim](), list[str]()
    for family in grouped(claims, _family):
        try:
            found += _numbered_family(family)
        except PlanError as error:
            problems.append(str(error))
    return found, problems


def _numbered_family(family: Sequence[Claim]) -> list[Claim]:
    shots = _put_together([part for one in acquisitions(family) for part in _repeats(one)])
    if len(shots) > 1:
        _require_times(shots)
    width = max((len(claim.name.label("run") or "") for claim in family), default=0)
    always = width > 0 or any(claim.answer.run == "always" for claim in family)
    if len(shots) == 1 and not always:
        return list(family)
    return [
        _with_run(claim, f"{number:0{max(width, 1)}d}")
        for number, shot in enumerate(shots, start=1)
        for claim in shot
    ]


def _repeats(acquisition: Acquisition) -> list[Acquisition]:
    """An acquisition, parted where series of one name began at different times within one repetition.

    Of a long one: who cancels and starts again is quicker.
    """
    parts: list[Acquisition] = []
    for series in sorted(grouped(acquisition, lambda claim: claim.series.key), key=_start):
        same = [claim for claim in parts[-1] if _names([claim]) & _names(series)] if parts else []
        if not parts or (same and _apart_s(_start(same), _start(series)) >= _LEAST_S):
            parts.append([])
        parts[-1] += series
    return parts


def _apart_s(one: str, other: str) -> float:
    return 0.0 if _NEVER in (one, other) else abs((moment(one) - moment(other)).total_seconds())


def _with_run(claim: Claim, label: str | None) -> Claim:
    name = claim.name.with_entity("run", label) if label else without_run(claim.name)
    return replace(claim, name=name)


def _require_times(shots: Sequence[Acquisition]) -> None:
    starts = [_start(shot) for shot in shots]
    unclear = [
        shot for shot, start in zip(shots, starts, strict=True) if start == _NEVER or starts.count(start) > 1
    ]
    if unclear:
        who = ", ".join(dict.fromkeys(claim.series.label for shot in unclear for claim in shot))
        what = f"{who}: their headers have no times of acquisition by which runs can be numbered"
        raise PlanError(what, where=without_run(shots[0][0].name).path, hint="Write 'run-' into the name")


def _put_together(found: Sequence[Acquisition]) -> list[Acquisition]:
    """Acquisitions as runs: those that hold but a part of a run each (one flip angle, one echo) are joined.

    Raises PlanError if that does not come out even.
    """
    names = [_names(one) for one in found]
    whole = frozenset().union(*names)
    partial = [one for one in names if one != whole]
    if not any(one.isdisjoint(other) for one in partial for other in partial):
        return list(found)  # what lacks something was cut short, or is the only one of its kind
    joined: list[Acquisition] = []
    for one in found:
        if joined and _names(joined[-1]) != whole and _names(joined[-1]).isdisjoint(_names(one)):
            joined[-1] = joined[-1] + one
        else:
            joined.append(one)
    if any(_names(one) != whole for one in joined):
        raise PlanError(_uneven(found), where=min(name.path for name in whole), hint=_UNEVEN)
    return joined


_UNEVEN = "Write 'run-' into their names, or leave those out that are no part of a whole run"


def _uneven(found: Sequence[Acquisition]) -> str:
    told = "; ".join(
        f"{claim.label} ({(claim.acquired or 'unknown').partition('T')[2][:8]}): "
        f"{without_run(claim.name).path.rpartition('/')[2]}"
        for one in found
        for claim in one
    )
    return f"nothing tells which of these belong to one run ({told})"


def _names(acquisition: Acquisition) -> frozenset[BidsName]:
    return frozenset(without_run(claim.name) for claim in acquisition)


def out_of_order(claims: Sequence[Claim]) -> list[str]:
    """Warnings of runs whose numbers, as written by the heuristic, are not in the order of time."""
    found = dict[Hashable, str]()
    for group in grouped(claims, lambda claim: without_run(claim.name)):
        runs = [claim for claim in group if (claim.name.label("run") or "").isdecimal() and claim.acquired]
        runs.sort(key=lambda claim: int(claim.name.label("run") or 0))
        for earlier, later in pairwise(runs):
            if str(later.acquired) < str(earlier.acquired):
                found[earlier.series.key, later.series.key] = (
                    f"{later.name.path} ({later.series.label}) was acquired before run-"
                    f"{earlier.name.label('run')} ({earlier.series.label}); "
                    "'naming: {runs: by_time}' in config.yaml numbers runs by time"
                )
    return list(found.values())


# -------------------------------------------------------------------------------------------- references


class References(Struct, frozen=True, kw_only=True):
    """``named``: with the number of their runs. ``orphans``: those that have no run, and why."""

    named: tuple[Claim, ...]
    orphans: tuple[tuple[Claim, str], ...]
    problems: tuple[str, ...]


def references(mine: Sequence[Claim], runs: Sequence[Claim], dropped: Sequence[Claim]) -> References:
    """References named after the runs that they were made for.

    ``mine``: the references. ``runs``: everything else that has a name. ``dropped``: what a rule dropped.
    """
    named, orphans, problems = list[Claim](), list[tuple[Claim, str]](), list[str]()
    for family in grouped(mine, _family):
        theirs = [claim for claim in runs if _is_run_of(claim, family[0])]
        gone = [claim for claim in dropped if _is_run_of(claim, family[0])]
        try:
            found = _paired(family, theirs, gone)
        except PlanError as error:
            problems.append(str(error))
            continue
        named += [claim for claim, why in found if not why]
        orphans += [(claim, why) for claim, why in found if why]
    return References(named=tuple(named), orphans=tuple(orphans), problems=tuple(problems))


def _paired(family: Sequence[Claim], runs: Sequence[Claim], gone: Sequence[Claim]) -> list[tuple[Claim, str]]:
    """References with their names and "", or with the reason why they have none."""
    if not runs and not gone:
        return [(claim, "") for claim in _numbered_family(family)]
    shots, theirs = acquisitions(family), acquisitions([*runs, *gone])
    pairs: Iterable[tuple[Acquisition, Claim | None]] = [(shots[0], theirs[0][0])]
    if len(shots) > 1 or len(theirs) > 1:
        _require_times(shots)
        _require_times(theirs)
        pairs = _followed(shots, [*runs, *gone])
    return [
        (_like(claim, run), "" if run and not _is_one_of(run, gone) else _reason(run))
        for shot, run in pairs
        for claim in shot
    ]


def _followed(
    shots: Sequence[Acquisition], runs: Sequence[Claim]
) -> Iterable[tuple[Acquisition, Claim | None]]:
    """Each acquisition with the first run that began at or after it, and before the next one.

    Within a second is at the same time: a header may say that the run began a little before its reference.
    """
    early = -timedelta(seconds=_LEAST_S)
    timed = [(moment(claim.acquired), claim) for claim in runs if claim.acquired]
    starts = [moment(_start(shot)) for shot in shots]
    for shot, since, until in zip(shots, starts, [*starts[1:], datetime.max], strict=True):
        following = [
            (begun, claim) for begun, claim in timed if early < begun - since and begun - until <= early
        ]
        yield shot, min(following, key=lambda one: one[0], default=(None, None))[1]


def _like(reference: Claim, run: Claim | None) -> Claim:
    """With what the names of its run say of run and direction, and that it was cut short."""
    if run is None:
        return reference
    if run.unmarked and not reference.unmarked:
        reference = marked(reference, run.answer.short)
    towards = run.name.label("dir")
    if towards and reference.name.label("dir") is None:
        reference = replace(reference, name=reference.name.with_entity("dir", towards))
    return _with_run(reference, run.name.label("run"))


def _is_one_of(run: Claim, gone: Sequence[Claim]) -> bool:
    return any(run is claim for claim in gone)


def _reason(run: Claim | None) -> str:
    if run is None:
        return "a reference that no run follows before the next one: its run was never recorded"
    return f"the reference of {run.series.label}, which is left out"


def _is_run_of(run: Claim, reference: Claim) -> bool:
    if run.name.suffix == REFERENCE or run.name.datatype != reference.name.datatype:
        return False
    name = (run.unmarked or run.name).with_suffix(REFERENCE)
    if reference.name.label("dir") is None:  # it has one if references of several directions share its name
        name = name.without_entity("dir")
    return _family(replace(run, name=name)) == _family(reference)
