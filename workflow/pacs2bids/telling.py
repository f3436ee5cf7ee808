"""What tells volumes of one name apart: the entities, and suffixes of field maps, that follow from facts.

Theory of operation. A heuristic names series, and several volumes may come under one name: echoes, magnitude
and phase, inversions, flip angles, directions of phase encoding, be they stacks of one series or series of
their own. Each entity of ``_LABELS`` has a function that reads its label off the facts of all of them. An
entity is written only if BIDS allows it for that suffix (the schema says so), the name does not say it yet,
the facts differ in it and all of them are known: nothing is guessed. Only volumes of one protocol (``alike``)
are told apart; those of another one count for themselves, so that the echoes of both are "echo-1" and so on.
So do, of one protocol, acquisitions that hold several echoes, inversions or angles each, but for echoes that
were measured in turns (MEGRE). What then still shares a name is an error that ``naming`` words, or runs,
where those are numbered by time.
"""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Callable, Collection, Iterable, Sequence
from itertools import chain
from math import isclose

from msgspec.structs import replace

from pacs2bids.alike import NOISE, protocols
from pacs2bids.model import PlanError, Stack, StackFacts
from pacs2bids.session import Claim

Labels = list[str | None]  # one a claim; None: the facts do not tell

# BIDS labels of the entity "part" (BIDS, appendix Entities)
PARTS = {"magnitude": "mag", "phase": "phase", "real": "real", "imaginary": "imag"}

# what adds to the others; the rest helps only where volumes still share a name
_ALWAYS = ("part", "dir", "echo")
# true of volumes that were measured one after the other, too; echoes, say, are of one excitation
_OF_THEIR_OWN = ("part", "dir", "acq")


def tell_apart(acquisitions: Sequence[Sequence[Claim]]) -> list[Claim]:
    """The claims to one name, each with a name of its own where facts give one.

    ``acquisitions``: claims in groups, each of what was measured together. The order is kept.
    Raises PlanError if the name says an entity of which it holds several.
    """
    claims = list(chain.from_iterable(acquisitions))
    if len(claims) < 2:
        return claims
    named = _measured_maps(claims, acquisitions) or _field_map_echoes(claims, acquisitions)
    if named:
        return named
    for key, labels_of in _LABELS.items():
        labels = _within_protocols(key, labels_of, acquisitions)
        if None in labels or len(set(labels)) < 2 or not _helps(key, labels, claims, acquisitions):
            continue
        claims = [_labelled(claim, key, str(label)) for claim, label in zip(claims, labels, strict=True)]
    return claims


def _within_protocols(
    key: str, labels_of: Callable[[Sequence[Claim]], Labels], acquisitions: Sequence[Sequence[Claim]]
) -> Labels:
    """The labels of each protocol by itself; none where they would tell protocols apart, and nothing else."""
    numbers = protocols(list(chain.from_iterable(acquisitions)), key)
    rest = iter(numbers)
    numbered = [[(next(rest), claim) for claim in one] for one in acquisitions]
    found = {
        number: _counted(key, labels_of, [[claim for its, claim in one if its == number] for one in numbered])
        for number in set(numbers)
    }
    if not set.intersection(*(set(labels) for labels in found.values())):
        return [None for _ in numbers]
    labels = {number: iter(its) for number, its in found.items()}
    return [next(labels[number]) for number in numbers]


def _counted(
    key: str, labels_of: Callable[[Sequence[Claim]], Labels], acquisitions: Sequence[Sequence[Claim]]
) -> Labels:
    """The labels of one protocol: by acquisition, if one of them holds several; else among all.

    A repeat with other echo times has echoes 1 to 3 of its own, not 4 to 6 of the first. Not so echoes of
    MEGRE and the like, which BIDS requires, where they were measured in turns.
    """
    claims = list(chain.from_iterable(acquisitions))
    found = [labels_of(one) for one in acquisitions if one]
    is_apart = all(len(set(labels)) < 2 for labels in found)
    is_required = key == "echo" and claims[0].name.level(key) == "required"
    if is_apart or (is_required and _in_turns(acquisitions)):
        return labels_of(claims)
    return list(chain.from_iterable(found))


def _in_turns(acquisitions: Sequence[Sequence[Claim]]) -> bool:
    """Whether acquisitions hold the same train of echoes, later by one time or at the same one.

    As where every second echo is measured by another series; a repeat with other echo times has another
    spacing of them.
    """
    trains = [
        sorted({claim.facts.echo_time_s or 0.0 for claim in acquisition})
        for acquisition in acquisitions
        if acquisition
    ]
    return all(_is_shifted(train, trains[0]) for train in trains)


def _is_shifted(one: Sequence[float], other: Sequence[float]) -> bool:
    """Whether one time tells two trains of echoes apart, or none."""
    return len(one) == len(other) and all(
        isclose(time - one[0], its - other[0], abs_tol=NOISE * time)
        for time, its in zip(one, other, strict=True)
    )


def _helps(
    key: str, labels: Labels, claims: Sequence[Claim], acquisitions: Sequence[Sequence[Claim]]
) -> bool:
    """Whether an entity of which the facts differ goes into these names."""
    level = claims[0].name.level(key)
    if level is None:
        return False
    if level == "required":
        return True
    if key not in _ALWAYS and len({claim.name for claim in claims}) == len(claims):
        return False
    return key in _OF_THEIR_OWN or _differ_within(labels, acquisitions)


def _differ_within(labels: Labels, acquisitions: Sequence[Sequence[Claim]]) -> bool:
    """Whether one acquisition holds several of these labels."""
    rest = iter(labels)
    return any(len({next(rest) for _ in one}) > 1 for one in acquisitions)


def _labelled(claim: Claim, key: str, label: str) -> Claim:
    said = claim.name.label(key)
    if said is not None:
        what = f"it says {key}-{said}, but the series holds several of them"
        raise PlanError(what, where=claim.name.path, hint=f"Leave '{key}-' to pacs2bids")
    return replace(claim, name=claim.name.with_entity(key, label))


# ------------------------------------------------------------------------------------- labels from facts


def _parts(claims: Sequence[Claim]) -> Labels:
    return [PARTS.get(claim.facts.component or "") for claim in claims]


def _echoes(claims: Sequence[Claim]) -> Labels:
    """By EchoNumbers (0018,0086) where times do not speak against them; else by time, 1 for the shortest.

    By number, a series that lacks its first echo has echoes 2 and 3.
    """
    numbers = [claim.facts.echo_number for claim in claims]
    times, ranks = _ranks(claim.facts.echo_time_s for claim in claims), _ranks(numbers)
    is_told = None not in times and len(set(times)) > 1
    if None in ranks or (is_told and times != ranks):
        return times
    return [str(number) for number in numbers] if all(number and number > 0 for number in numbers) else ranks


def _inversions(claims: Sequence[Claim]) -> Labels:
    return _ranks(claim.facts.inversion_time_s for claim in claims)


def _flips(claims: Sequence[Claim]) -> Labels:
    return _ranks(claim.facts.flip_angle_deg for claim in claims)


def _transfers(claims: Sequence[Claim]) -> Labels:
    states = [claim.stack.sidecar.get("MTState") if claim.stack else None for claim in claims]
    return [("on" if state else "off") if isinstance(state, bool) else None for state in states]


def _directions(claims: Sequence[Claim]) -> Labels:
    return [direction(claim.stack) if claim.stack else None for claim in claims]


def _kinds(claims: Sequence[Claim]) -> Labels:
    """The labels that BIDS gives the entity "acq" of maps of radio-frequency fields (appendix qMRI)."""
    suffix = claims[0].name.suffix
    if suffix == "TB1AFI":
        ranks = _ranks(claim.facts.repetition_time_s for claim in claims)
        return [rank and f"tr{rank}" for rank in ranks]
    if suffix in ("TB1TFL", "TB1RFM"):
        return ["famp" if _is_flip_angle_map(claim.facts) else "anat" for claim in claims]
    if suffix == "RB1COR":
        return [_coil(claim.stack) for claim in claims]
    return [None for _ in claims]


def _is_flip_angle_map(facts: StackFacts) -> bool:
    return any("FLIP" in value.upper() for value in facts.image_type)


def _coil(stack: Stack | None) -> str | None:
    """Received with the body coil, or with another. Siemens calls it "BC" or "Body"."""
    coil = stack.sidecar.get("ReceiveCoilName") if stack else None
    if not isinstance(coil, str):
        return None
    return "body" if coil.upper().startswith(("BC", "BODY", "QBODY")) or coil == "Q-Body" else "head"


def _ranks(values: Iterable[float | None]) -> Labels:
    """ "1" for the smallest value, and so on; values that differ by less than ``NOISE`` are the same."""
    values = list(values)
    steps: list[float] = []  # the smallest of each
    for value in sorted({value for value in values if value is not None}):
        if not steps or value > steps[-1] * (1 + NOISE):
            steps.append(value)
    return [None if value is None else str(bisect_right(steps, value)) for value in values]


_LABELS: dict[str, Callable[[Sequence[Claim]], Labels]] = {
    "dir": _directions,
    "part": _parts,
    "echo": _echoes,
    "inv": _inversions,
    "flip": _flips,
    "mt": _transfers,
    "acq": _kinds,
}


def direction(stack: Stack) -> str | None:
    """Where phase encoding runs from and to, as "AP": of the patient, from the volume's own affine.

    PhaseEncodingDirection "j" runs towards increasing second index (BIDS, "In-Plane Spatial Encoding"); a
    volume whose second axis points to anterior is then "PA". None: the polarity is unknown.
    """
    letters = stack.facts.phase_encoding_direction
    if not letters or not stack.placed:
        return None
    column = "ijk".index(letters[0])
    step_ras = [row[column] * (-1 if letters.endswith("-") else 1) for row in stack.affine_ras[:3]]
    axis = max(range(3), key=lambda one: abs(step_ras[one]))
    ends = ("LR", "PA", "IS")[axis]
    return ends if step_ras[axis] > 0 else ends[::-1]


# --------------------------------------------------------------------------- field maps: suffixes from facts


def _field_map_echoes(claims: Sequence[Claim], acquisitions: Sequence[Sequence[Claim]]) -> list[Claim]:
    """Two echoes of a field map are magnitude1 and magnitude2, or phase1 and phase2; else nothing.

    One name may hold both (Philips: four stacks in one series). Source: BIDS, "Fieldmap data", cases 1 and
    2; heudiconv's users write "magnitude" or "magnitude1".
    """
    name = claims[0].name
    stem = name.suffix.removesuffix("1")
    if name.datatype != "fmap" or stem not in ("magnitude", "phase"):
        return []
    ranks = _within_protocols("echo", _echoes, acquisitions)
    components = {claim.facts.component for claim in claims}
    if set(ranks) != {"1", "2"}:
        return []
    stems = [stem for _ in claims]
    if components == {"magnitude", "phase"}:
        stems = [str(claim.facts.component) for claim in claims]
        if len(set(zip(stems, ranks, strict=True))) < 4:
            return []  # one phase beside two magnitudes may be a difference: the heuristic must say so
    return [
        _with_suffix(claim, f"{stem}{rank}") for claim, stem, rank in zip(claims, stems, ranks, strict=True)
    ]


def _measured_maps(claims: Sequence[Claim], acquisitions: Sequence[Sequence[Claim]]) -> list[Claim]:
    """A field map in Hz and its magnitude in one series (GE, Philips) are fieldmap and magnitude; else none.

    Source: BIDS, "Fieldmap data", case 3.
    """
    name = claims[0].name
    if name.datatype != "fmap" or name.suffix not in ("fieldmap", "magnitude"):
        return []
    suffixes = _within_protocols("suffix", _maps, acquisitions)
    if len(set(suffixes)) < 2:
        return []
    return [_with_suffix(claim, str(suffix)) for claim, suffix in zip(claims, suffixes, strict=True)]


def _maps(claims: Sequence[Claim]) -> Labels:
    return ["fieldmap" if claim.facts.content == "fieldmap" else "magnitude" for claim in claims]


def _with_suffix(claim: Claim, suffix: str) -> Claim:
    return replace(claim, name=claim.name.with_suffix(suffix))


# ------------------------------------------------------------------------------------------- for messages


def described(stack: Stack) -> str:
    """The facts by which a person tells a volume from others of its name."""
    facts = stack.facts
    words = ["x".join(map(str, stack.shape)), facts.orientation, facts.component, facts.content]
    words += [
        f"{what} {value * scale:.4g} {unit}"
        for what, value, scale, unit in (
            ("echo time", facts.echo_time_s, 1000, "ms"),
            ("inversion time", facts.inversion_time_s, 1000, "ms"),
            ("flip angle", facts.flip_angle_deg, 1, "degrees"),
        )
        if value is not None
    ]
    towards = direction(stack)
    words.append(f"phase encoding {towards}" if towards else None)
    words.append("/".join(facts.image_type))
    return ", ".join(word for word in words if word)


_FACTS: dict[str, Callable[[Stack], str | float | None]] = {
    "matrix": lambda stack: "x".join(map(str, stack.shape[:3])),
    "volumes": lambda stack: str(stack.shape[3]),
    "first voxel at (mm)": lambda stack: " ".join(f"{row[3]:.1f}" for row in stack.affine_ras[:3]),
    "acquired": lambda stack: (stack.facts.acquired or "").partition("T")[2].partition(".")[0],
    "orientation": lambda stack: stack.facts.orientation,
    "component": lambda stack: stack.facts.component,
    "content": lambda stack: stack.facts.content,
    "echo time": lambda stack: stack.facts.echo_time_s,
    "inversion time": lambda stack: stack.facts.inversion_time_s,
    "flip angle": lambda stack: stack.facts.flip_angle_deg,
    "repetition time": lambda stack: stack.facts.repetition_time_s,
    "phase encoding": direction,
    "ImageType": lambda stack: "/".join(stack.facts.image_type),
}
# those that are the same in all runs of one protocol
PROTOCOL = frozenset(_FACTS) - {
    "volumes",
    "first voxel at (mm)",
    "acquired",
    "orientation",
    "repetition time",
    "ImageType",
}


def differing(stacks: Sequence[Stack], among: Collection[str] = frozenset(_FACTS)) -> str:
    """In which facts volumes differ, for a person; "" if in none that we know of."""
    columns = {what: [_spoken(of(stack)) for stack in stacks] for what, of in _FACTS.items() if what in among}
    return "; ".join(
        f"{what} {', '.join(values)}" for what, values in columns.items() if len(set(values)) > 1
    )


def _spoken(value: str | float | None) -> str:
    return (f"{value:.4g}" if isinstance(value, float) else value) or "unknown"
