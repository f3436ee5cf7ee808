"""Maps of the radio-frequency fields and the quantitative images that they correct: IntendedFor.

Source: BIDS, appendix "Quantitative MRI": maps of B1+ and of the receive sensitivity correct quantitative
anatomical images. Which one is for what no header says: of several maps of one kind the closest in time.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Hashable, Mapping, Sequence
from dataclasses import replace

from pacs2bids.bids import BidsName
from pacs2bids.metadata.added import Added
from pacs2bids.metadata.groups import moment, short
from pacs2bids.session import Named

_QUANTITATIVE = ("VFA", "IRT1", "MP2RAGE", "UNIT1", "MPM", "MTS", "MTR")
_TARGETS = {("anat", suffix) for suffix in _QUANTITATIVE}
_VARIES = ("flip", "inv", "echo", "part", "acq")  # within the files that make one map
_FAR_S = float("inf")


def added(session: Sequence[Named]) -> dict[str, Added]:
    """Of the B1 maps of a session, by path; nothing if it has no quantitative image."""
    targets = [one for one in session if (one.name.datatype, one.name.suffix) in _TARGETS]
    kinds: dict[str, dict[Hashable, list[Named]]] = defaultdict(lambda: defaultdict(list))
    for one in session:
        if one.name.datatype == "fmap" and one.name.suffix.startswith(("TB1", "RB1")):
            kinds[one.name.suffix][_stem(one.name)].append(one)
    found: dict[str, Added] = {}
    for groups in kinds.values():
        chosen = {target.name.path: _closest(target, groups) for target in targets}
        for key, members in groups.items():
            found |= _of_group(members, [target for target in targets if chosen[target.name.path] == key])
    return found


def _stem(name: BidsName) -> BidsName:
    return replace(name, entities=tuple(entity for entity in name.entities if entity[0] not in _VARIES))


def _closest(target: Named, groups: Mapping[Hashable, Sequence[Named]]) -> Hashable:
    """Key of the group that began closest in time; the first of several."""
    return min(groups, key=lambda key: min(_apart_s(target, member) for member in groups[key]))


def _apart_s(one: Named, other: Named) -> float:
    start, when = moment(one), moment(other)
    return abs((start - when).total_seconds()) if start and when else _FAR_S


def _of_group(members: Sequence[Named], targets: Sequence[Named]) -> dict[str, Added]:
    if not targets:
        return {}
    uris = [f"bids::{path}.nii.gz" for path in sorted(target.name.path for target in targets)]
    note = "for " + ", ".join(short(target.name) for target in targets)
    return {one.name.path: Added(fields={"IntendedFor": list(uris)}, notes=(note,)) for one in members}
