"""What a person should look at once more in names that BIDS allows: warnings, no errors.

Theory of operation. Who writes a heuristic may know what no header says, so a name is kept as it is. Yet some
names contradict what is known of their volumes, or of each other: runs that are no repeats, parts of one
image or files of one field map that were not measured together, echoes without the first, a magnitude
that is called a phase, labels that differ in capitals alone. Each is told once, with series and facts.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Sequence
from datetime import datetime, timedelta

from pacs2bids.moments import moment
from pacs2bids.runs import Acquisition, acquisitions, grouped, is_of_field_map, without_run
from pacs2bids.session import Claim
from pacs2bids.telling import PARTS, PROTOCOL, differing, direction


def doubts(claims: Sequence[Claim]) -> list[str]:
    """Warnings of claims that have their names."""
    found = [
        *_unlike_runs(claims),
        *_runs_at_once(claims),
        *_parts_apart(claims),
        *_maps_apart(claims),
        *_without_echoes(claims),
        *map(_against_facts, claims),
        *_capitals(claims),
    ]
    return [text for text in dict.fromkeys(found) if text]


def _unlike_runs(claims: Sequence[Claim]) -> Iterable[str]:
    """Of runs that are no repeats of one protocol."""
    for group in grouped(claims, lambda claim: without_run(claim.name)):
        facts = differing([claim.stack for claim in group if claim.stack], PROTOCOL)
        if facts:
            runs = ", ".join(claim.series.label for claim in group)
            yield f"{without_run(group[0].name).path}: runs that are no repeats ({runs}): {facts}"


def _runs_at_once(claims: Sequence[Claim]) -> Iterable[str]:
    """Of runs that began within one repetition: most likely pictures of one acquisition, as filtered ones.

    Not where all that has a time has the same: so de-identification leaves it.
    """
    timed = [claim for claim in claims if claim.facts.acquired]
    if len({claim.facts.acquired for claim in timed}) < 2:
        return
    for group in grouped(timed, lambda claim: without_run(claim.name)):
        for shot in acquisitions(group):
            if len({claim.name for claim in shot}) > 1:
                runs = ", ".join(dict.fromkeys(claim.series.label for claim in shot))
                what = (
                    "began within one repetition: if they are pictures of one acquisition, they are no runs"
                )
                yield f"{without_run(shot[0].name).path}: runs that {what}, but need a 'rec-' ({runs})"


# -------------------------------------------------------------------------------------- measured together


def _parts_apart(claims: Sequence[Claim]) -> Iterable[str]:
    """Of magnitude and phase of one name that are not of one acquisition."""
    parts = [claim for claim in claims if claim.name.label("part")]
    for group in grouped(parts, lambda claim: claim.name.without_entity("part")):
        shots = acquisitions([claim for claim in group if claim.facts.acquired])
        if len(shots) > 1:
            yield _apart("parts of one image", shots)


# a field map takes a minute or two; its magnitudes may be two acquisitions, one after the other
_NEIGHBOURS = timedelta(minutes=5)


def _maps_apart(claims: Sequence[Claim]) -> Iterable[str]:
    """Of files of one field map between which something else was begun, or more than a few minutes passed."""
    timed = [claim for claim in claims if claim.facts.acquired]
    maps = [claim for claim in timed if is_of_field_map(claim.name)]
    for group in grouped(maps, lambda claim: claim.name.with_suffix("fieldmap")):
        shots = acquisitions(group)
        if len(shots) < 2:
            continue
        first, last = (min(map(_begun, shot)) for shot in (shots[0], shots[-1]))
        mine = {claim.series.key for claim in group}
        others = [claim for claim in timed if claim.series.key not in mine]
        if last - first > _NEIGHBOURS or any(first < _begun(claim) < last for claim in others):
            yield _apart("files of one field map", shots)


def _apart(what: str, shots: Sequence[Acquisition]) -> str:
    times = ", ".join(
        f"{shot[0].series.label} at {_begun(shot[0]).time().isoformat('seconds')}" for shot in shots
    )
    name = without_run(shots[0][0].name).path
    return f"{name}: named as {what}, but not measured together ({times}): if they are none, give each a run"


def _begun(claim: Claim) -> datetime:
    return moment(claim.facts.acquired or "")


def _without_echoes(claims: Sequence[Claim]) -> Iterable[str]:
    """Of images that lack an echo before their last one."""
    echoes = [claim for claim in claims if (claim.name.label("echo") or "").isdecimal()]
    for group in grouped(echoes, lambda claim: claim.name.without_entity("echo", "part")):
        there = {int(claim.name.label("echo") or 0) for claim in group}
        gone = sorted(set(range(1, max(there))) - there)
        if gone:
            path = group[0].name.without_entity("echo", "part").path
            listed = ", ".join(map(str, sorted(there)))
            yield f"{path}: there are echoes {listed}, but not {', '.join(map(str, gone))}"


# --------------------------------------------------------------------------------- one volume and its name

_MAGNITUDES = ("magnitude", "magnitude1", "magnitude2")
_PHASES = ("phase1", "phase2", "phasediff")
_DIRECTIONS = ("AP", "PA", "LR", "RL", "IS", "SI")


def _against_facts(claim: Claim) -> str:
    """That a name says another component or direction than the header; "" if it does not."""
    component = claim.facts.component
    said, part = claim.name.suffix, claim.name.label("part")
    found = []
    if (said in _PHASES and component == "magnitude") or (said in _MAGNITUDES and component == "phase"):
        found.append(f"{said}, but its header says {component}")
    if part and component and part != PARTS.get(component):
        found.append(f"part-{part}, but its header says {component}")
    towards, label = direction(claim.stack) if claim.stack else None, claim.name.label("dir")
    if towards and label in _DIRECTIONS and label != towards:
        found.append(f"dir-{label}, but its header says that phase encoding runs {towards}")
    return f"{claim.series.label} is named {'; '.join(found)}" if found else ""


def _capitals(claims: Sequence[Claim]) -> Iterable[str]:
    """Of labels of one entity that differ in capitals alone: on some disks their files are the same."""
    spelt: dict[tuple[str, str], dict[str, str]] = defaultdict(dict)
    for claim in claims:
        for key, label in claim.name.entities:
            spelt[key, label.lower()].setdefault(label, claim.series.label)
    for (key, _), labels in spelt.items():
        if len(labels) > 1:
            told = ", ".join(f"{key}-{label} ({series})" for label, series in labels.items())
            yield f"names that differ in capitals alone: {told}; if they mean the same, spell it one way"
