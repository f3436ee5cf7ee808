"""Arterial spin labelling: what each volume is (``aslcontext.tsv``), and what goes with it.

The order of volumes comes from the header where it tells (ASL Context of enhanced images, Philips's private
label), from the image type of a computed map, or from the heuristic; else nothing is written, and a warning
says what is missing. Source: BIDS, "Arterial Spin Labeling perfusion data"; schema: rules.sidecars.asl.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from itertools import cycle, islice

from pacs2bids.metadata import space
from pacs2bids.metadata.added import Added
from pacs2bids.metadata.groups import moment, short
from pacs2bids.model import Json
from pacs2bids.session import VOLUME_TYPES, Named

_FLOW = {"CBF", "RCBF", "RELCBF"}  # words of ImageType: Siemens (corpus xa30i/20001)

_OF_BOTH = ("EchoTime", "RepetitionTimePreparation")
REQUIRED = (
    "ArterialSpinLabelingType",
    "PostLabelingDelay",
    "BackgroundSuppression",
    "M0Type",
    "TotalAcquiredPairs",
    "MagneticFieldStrength",
    "MRAcquisitionType",
)
REQUIRED_OF = {"PASL": ("BolusCutOffFlag",), "CASL": ("LabelingDuration",), "PCASL": ("LabelingDuration",)}


def added(session: Sequence[Named]) -> dict[str, Added]:
    """Of the volumes in ``perf/``, by path."""
    labelled = [one for one in session if one.name.datatype == "perf" and one.name.suffix == "asl"]
    calibrations = [one for one in session if one.name.datatype == "perf" and one.name.suffix == "m0scan"]
    without = [one for one in labelled if "m0scan" not in _volume_types(one)[0]]
    pairs = {one.name.path: _calibration(one, calibrations if one in without else ()) for one in labelled}
    found = {one.name.path: _of_labelled(one, pairs[one.name.path]) for one in labelled}
    for one in calibrations:
        targets = [target for target in labelled if pairs[target.name.path] is one]
        found[one.name.path] = _of_calibration(one, targets or _nearest(one, without))
    return found


def _calibration(one: Named, calibrations: Sequence[Named]) -> Named | None:
    """The M0 scan of a series: on its own voxels if there is one, else the closest in time."""
    return next(iter(_nearest(one, calibrations)), None)


def _nearest(one: Named, others: Sequence[Named]) -> list[Named]:
    """The best of several, in a list; an empty one if there is none."""

    def order(other: Named) -> tuple[bool, float, str]:
        start, when = moment(one), moment(other)
        apart_s = abs((start - when).total_seconds()) if start and when else float("inf")
        return not space.same_grid(one.stack, other.stack), apart_s, other.name.path

    return sorted(others, key=order)[:1]


def _of_calibration(one: Named, targets: Sequence[Named]) -> Added:
    fields = _preparation(one)
    warnings = [*_missing((), one.stack.sidecar | one.answer.metadata | fields)]
    if not targets:
        warnings.append(
            "it is for no perfusion series of the session: none is there without an M0 of its own"
        )
        return Added(fields=fields, warnings=tuple(warnings))
    fields["IntendedFor"] = [f"bids::{path}.nii.gz" for path in sorted(one.name.path for one in targets)]
    note = "for " + ", ".join(short(target.name) for target in targets)
    return Added(fields=fields, notes=(note,), warnings=tuple(warnings))


def _of_labelled(one: Named, calibration: Named | None) -> Added:
    types, source = _volume_types(one)
    said = one.stack.sidecar | one.answer.metadata
    fields = _preparation(one)
    if "m0scan" in types:
        fields["M0Type"] = "Included"
    elif calibration is not None:
        fields["M0Type"] = "Separate"
    elif "M0Estimate" in said:
        fields["M0Type"] = "Estimate"
    elif types:
        fields["M0Type"] = "Absent"
    pairs = min(types.count("control"), types.count("label"))
    if pairs:
        fields["TotalAcquiredPairs"] = pairs
    table = "\n".join(["volume_type", *types, ""])
    return Added(
        fields=fields,
        beside={"_aslcontext.tsv": table} if types else {},
        notes=tuple(_notes(types, source, calibration)),
        warnings=tuple(_warnings(one, types, said | fields)),
    )


def _preparation(one: Named) -> dict[str, Json]:
    """RepetitionTimePreparation: each repetition begins with one labelling (or none, of an M0 scan).

    Of segmented 3-D scans RepetitionTime is that of all shots of a volume, and RepetitionTimeExcitation that
    from shot to shot, each with its own labelling (``sidecar.excitation_time_s``).
    """
    sidecar = one.stack.sidecar
    if "RepetitionTimePreparation" in sidecar:
        return {}
    seconds = sidecar.get("RepetitionTimeExcitation", sidecar.get("RepetitionTime"))
    return {} if seconds is None else {"RepetitionTimePreparation": seconds}


def _volume_types(one: Named) -> tuple[tuple[str, ...], str]:
    """What the volumes are, and who says it; () if nobody does, or not for this number of volumes."""
    volumes, said = one.stack.shape[3], one.answer.volume_types
    if said:
        fits = volumes % len(said) == 0 and set(said) <= set(VOLUME_TYPES) and not _is_torn(one)
        return (tuple(islice(cycle(said), volumes)) if fits else ()), "the heuristic says it"
    if one.stack.facts.volume_types:
        return one.stack.facts.volume_types, "the header says it"
    if _FLOW & set(one.stack.facts.image_type):
        return ("cbf",) * volumes, "by its ImageType"
    return (), ""


def _is_torn(one: Named) -> bool:
    """Whether words that repeat would be counted over volumes that are missing."""
    return bool(one.stack.facts.gaps) and len(one.answer.volume_types) < one.stack.shape[3]


def _notes(types: Sequence[str], source: str, calibration: Named | None) -> Iterator[str]:
    if types:
        kinds = ", ".join(f"{types.count(kind)} {kind}" for kind in dict.fromkeys(types))
        yield f"volumes: {kinds} ({source})"
    if calibration is not None:
        yield f"M0 scan: {short(calibration.name)}"


def _warnings(one: Named, types: Sequence[str], said: dict[str, Json]) -> Iterator[str]:
    volumes, wanted = one.stack.shape[3], one.answer.volume_types
    if wanted and not types and _is_torn(one):
        yield (
            f"{one.stack.facts.gaps} volumes within the run lack slices and were left out, so its volume "
            "types cannot repeat, and there is no aslcontext.tsv: let the heuristic list a word for each of "
            f"the {volumes} that are left"
        )
    elif wanted and not types:
        listed = ", ".join(VOLUME_TYPES)
        yield f"its volume types do not fit its {volumes} volumes, or are none of BIDS's ({listed})"
    elif not types:
        yield (
            f"BIDS needs aslcontext.tsv, and the header does not say which of its {volumes} volumes are "
            "control or label: let the heuristic say it (docs/heuristics.md, Perfusion)"
        )
    yield from _contradicted(types, one.stack.facts.volume_types)
    yield from _missing((*REQUIRED, *REQUIRED_OF.get(str(said.get("ArterialSpinLabelingType")), ())), said)


def _contradicted(types: Sequence[str], by_header: Sequence[str]) -> Iterator[str]:
    """A warning if the heuristic and the header do not agree; the heuristic wins."""
    pairs = enumerate(zip(types, by_header, strict=False), start=1)
    odd = next((found for found in pairs if found[1][0] != found[1][1]), None)
    if odd is not None:
        number, (said, other) = odd
        yield f"the heuristic says that volume {number} is {said}, and the header that it is {other}"


def _missing(needed: Sequence[str], said: Mapping[str, Json]) -> Iterator[str]:
    """A warning if something that BIDS needs is not said."""
    timed = ("SliceTiming",) if said.get("MRAcquisitionType") == "2D" else ()
    missing = [name for name in (*needed, *_OF_BOTH, *timed) if name not in said]
    if missing:
        yield f"BIDS needs {', '.join(missing)}, which the header does not say: let the heuristic add it"
