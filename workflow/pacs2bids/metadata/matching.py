"""Which field map is for which image: the tests that both must pass, and the choice among those that do.

Two sets of tests. Ours ask the header: the same shims, a field of view that covers the image, and of
echo-planar images phase encoding along the same axis. heudiconv's are those of POPULATE_INTENDED_FOR_OPTS,
which a heuristic sets (heudiconv, docs/heuristics.rst). Before both comes what the heuristic says of single
volumes, by fields that it adds to their sidecars.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from math import isclose

from msgspec import Struct

from pacs2bids.bids import VOLUME, values_of
from pacs2bids.metadata import space
from pacs2bids.metadata.added import Shims
from pacs2bids.metadata.groups import PEPOLAR_M0, FieldMap, moment, opposed, same_shims, short
from pacs2bids.session import IntendedForOptions, Named

COVERED = 0.5  # of an image's field of view: less is no map of it
_ALONG = 0.9  # cosine of the angle between two directions that count as one
_HEUDICONV_TOLERANCE = 0.05  # relative, as find_compatible_fmaps_for_run compares

# What an acquisition label says of the images a field map is for; heudiconv's words
_MODALITIES = {"func": ("fmri", "bold", "func"), "dwi": ("diff", "dwi"), "anat": ("anat", "struct")}


class Match(Struct, frozen=True, kw_only=True):
    """The field map of one image, or none; several if the heuristic says so.

    ``why``: what spoke for it, or against each one, for a person. ``is_given``: the heuristic says it.
    """

    target: Named
    chosen: tuple[FieldMap, ...]
    why: str
    is_given: bool = False


Test = Callable[[FieldMap, Named], str]
"""Why a field map is not for an image; "" if it may be."""


def given(target: Named, maps: Sequence[FieldMap]) -> Match | None:
    """What the heuristic says itself, in the sidecar of the image or of field maps; None if nothing."""
    sources = values_of(target.answer.metadata.get("B0FieldSource"))
    chosen = tuple(one for one in maps if one.label in sources or target.name.path + VOLUME in one.given_to)
    if not chosen and "B0FieldSource" not in target.answer.metadata:
        return None
    names = " and ".join(one.title for one in chosen)
    why = f"field map {names}: as the heuristic says" if chosen else "the heuristic says its B0FieldSource"
    return Match(target=target, chosen=chosen, why=why, is_given=True)


def match(target: Named, maps: Sequence[FieldMap], options: IntendedForOptions | None, shims: Shims) -> Match:
    """Choose one field map for an image. ``shims``: of our tests."""
    tests = (_is_for_others, *_tests(options, shims))
    left, against = [], []
    for one in maps:
        objection = next((said for test in tests if (said := test(one, target))), "")
        if objection:
            against.append(f"not {one.title}: {objection}")
        else:
            left.append(one)
    if not left:
        return Match(target=target, chosen=(), why="no field map: " + "; ".join(against))
    chosen, reason = _choose(target, left, options)
    why = "; ".join([f"field map {chosen.title}: {reason}", *against])
    return Match(target=target, chosen=(chosen,), why=why)


def _tests(options: IntendedForOptions | None, shims: Shims) -> Sequence[Test]:
    if options is not None:
        return [_HEUDICONV[name] for name in options.matching_parameters]
    return _OUR_TESTS if shims is Shims.ANY else (_shims_differ, *_OUR_TESTS)


def _choose(
    target: Named, left: Sequence[FieldMap], options: IntendedForOptions | None
) -> tuple[FieldMap, str]:
    if options is not None:
        held = ", ".join(options.matching_parameters)
        ranked = left if options.criterion == "First" else sorted(left, key=lambda one: _apart_s(one, target))
        order = f", {options.criterion} of {len(left)}" if len(left) > 1 else ""
        return ranked[0], f"{held} as the heuristic asks{order}"
    ranked = sorted(
        left,
        key=lambda one: (
            bool(_shims_differ(one, target)),  # they are here only if the configuration lets them
            not _is_made_alike(one, target),
            one.kind != PEPOLAR_M0,
            _apart_s(one, target),
        ),
    )
    chosen = ranked[0]
    reason = [_shims_said(chosen, target), _place_said(chosen, target)]
    if len(left) > 1:
        apart_s = _apart_s(chosen, target)
        reason.append(
            f"of {len(left)} the closest, {apart_s / 60:.0f} min apart" if apart_s < _NEVER_S else ""
        )
    return chosen, ", ".join(word for word in reason if word)


_NEVER_S = 1e9


def _apart_s(one: FieldMap, target: Named) -> float:
    """Time between the beginnings of both."""
    start, other = one.started, moment(target)
    return abs((start - other).total_seconds()) if start and other else _NEVER_S


def _is_made_alike(one: FieldMap, target: Named) -> bool:
    """Echo-planar images on the image's own grid: somebody took them for it."""
    return one.is_planar and _has_its_voxels(one, target)


def _has_its_voxels(one: FieldMap, target: Named) -> bool:
    return all(space.same_grid(member.stack, target.stack) for member in one.members)


# ------------------------------------------------------------------------------------------------ our tests


def _is_for_others(one: FieldMap, _: Named) -> str:
    return "the heuristic says what it is for" if one.is_given else ""


def _shims_differ(one: FieldMap, target: Named) -> str:
    """The field is that of the shims under which it was mapped; an unknown setting is no objection."""
    others = [member for member in one.members if same_shims(member.stack, target.stack) is False]
    if 0 < len(others) < len(one.members):
        return f"the shim settings of its {' and '.join(short(member.name) for member in others)} differ"
    return "its shim settings differ" if others else ""


def _same_shims(one: FieldMap, target: Named) -> bool | None:
    """Of all that the map is made of; None: unknown."""
    same = [same_shims(member.stack, target.stack) for member in one.members]
    return False if False in same else None if None in same else True


def _covered(one: FieldMap, target: Named) -> float:
    """Share of the image that all of the map cover."""
    return min(space.covered(target.stack, member.stack) for member in one.members)


def _lies_elsewhere(one: FieldMap, target: Named) -> str:
    share = _covered(one, target)
    return f"it covers {share:.0%} of the image" if share < COVERED else ""


def _encodes_otherwise(one: FieldMap, target: Named) -> str:
    """Two polarities along the image's axis, or one against its own."""
    if not one.is_planar:
        return ""
    direction = space.phase_encoding(target.stack)
    if not one.directions_ras:
        return "its phase-encoding direction is unknown"
    if direction is None:
        return "" if one.has_both_polarities else "the image's phase-encoding direction is unknown"
    cosines = [sum(a * b for a, b in zip(direction, to, strict=True)) for to in one.directions_ras]
    if not any(abs(cosine) > _ALONG for cosine in cosines):
        return "it encodes phase along another axis"
    is_pair = one.has_both_polarities or any(opposed(direction, to) for to in one.directions_ras)
    return "" if is_pair else "it encodes phase in the same direction as the image"


def _names_another_modality(one: FieldMap, target: Named) -> str:
    meant = "perf" if one.kind == PEPOLAR_M0 else _modality(one)
    return f"its name says {meant}" if meant not in (None, target.name.datatype) else ""


def _modality(one: FieldMap) -> str | None:
    """What the acquisition label of a field map says that it is for."""
    label = (one.members[0].name.label("acq") or "").lower()
    return next((kind for kind, words in _MODALITIES.items() if any(word in label for word in words)), None)


_OUR_TESTS: Sequence[Test] = (_lies_elsewhere, _encodes_otherwise, _names_another_modality)


def _shims_said(one: FieldMap, target: Named) -> str:
    same = _same_shims(one, target)
    return {True: "the same shims", False: "other shims", None: "shims unknown"}[same]


def _place_said(one: FieldMap, target: Named) -> str:
    if _has_its_voxels(one, target):
        return "the same voxels"
    return f"it covers {_covered(one, target):.0%} of the image"


# ------------------------------------------------------------------------------------------ heudiconv's tests


def _first(one: FieldMap) -> Named:
    """By which heudiconv judges a group: the first by file name."""
    return min(one.members, key=lambda member: member.name.path)


def _same_known_shims(one: FieldMap, target: Named) -> str:
    same = same_shims(_first(one).stack, target.stack, tolerance=_HEUDICONV_TOLERANCE)
    if same is None:
        return "shim settings are unknown"
    return "" if same else "its shim settings differ"


def _same_volume(one: FieldMap, target: Named) -> str:
    """The same affine and shape, up to 5 %."""
    mine, others = _first(one).stack, target.stack
    values = [
        (a, b)
        for row, other in zip(mine.affine_ras, others.affine_ras, strict=True)
        for a, b in zip(row, other, strict=True)
    ]
    values += [*zip(mine.shape[:3], others.shape[:3], strict=True)]
    alike = all(isclose(a, b, rel_tol=_HEUDICONV_TOLERANCE, abs_tol=1e-8) for a, b in values)
    return "" if alike else "its imaging volume differs"


def _acquisition_names_modality(one: FieldMap, target: Named) -> str:
    meant = _modality(one)
    return "" if meant == target.name.datatype else f"its acq- does not say {target.name.datatype}"


def _acquisition_names_task(one: FieldMap, target: Named) -> str:
    label = target.name.label("task" if target.name.datatype == "func" else "acq")
    return _same_label(one, label)


def _same_acquisition(one: FieldMap, target: Named) -> str:
    return _same_label(one, target.name.label("acq"))


def _same_label(one: FieldMap, label: str | None) -> str:
    if label is not None and _first(one).name.label("acq") == label:
        return ""
    return f"its acq- is not {label}" if label is not None else "the image has no label to compare"


_HEUDICONV: Mapping[str, Test] = {
    "Shims": _same_known_shims,
    "ImagingVolume": _same_volume,
    "ModalityAcquisitionLabel": _acquisition_names_modality,
    "CustomAcquisitionLabel": _acquisition_names_task,
    "PlainAcquisitionLabel": _same_acquisition,
    "Force": lambda *_: "",
}


# maps that the scanner computed: it had no field map (BIDS schema, rules.files.raw.dwi.ScannerDerivatives)
_COMPUTED = ("ADC", "FA", "S0map", "colFA", "expADC", "trace")


def is_target(one: Named, options: IntendedForOptions | None) -> bool:
    """Whether an image wants a field map; heudiconv means all of a session but its references."""
    if options is not None:
        return one.name.datatype != "fmap" and one.name.suffix != "sbref"
    return one.name.datatype in ("func", "dwi", "perf") and one.name.suffix not in _COMPUTED
