"""Which run a log of physiology belongs to: a scanner stores it as a series of its own.

A run is known by what CMRR's sequences call the measurement, in the log and in its images. Where images do
not say it (some programs take it away), by name: the log's series is called as the run's, with "_PhysioLog".
The clocks are no help: that of a log need not agree with the time of day (CMRR-C2P/MB#436).
"""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping, Sequence

from msgspec import Struct

from pacs2bids.model import Physiology, Stack, StudyIndex
from pacs2bids.session import Named, Series, series_of

_ENDING = "_PhysioLog"

# where BIDS has recordings beside a run. Source: BIDS schema, rules.files.raw, those with suffix physio
_DATATYPES = ("func", "dwi", "perf")


class Fate(Struct, frozen=True, kw_only=True):
    """What becomes of one log. ``series``: that it is stored as. ``reason``: for its row of the plan.

    ``runs``: names of the volumes that it goes with, and ``note``, for each of their rows. ``warnings``: what
    a person should see to.
    """

    series: Series
    log: Physiology
    reason: str
    runs: tuple[str, ...] = ()
    note: str = ""
    warnings: tuple[str, ...] = ()


def fates_of(indexes: Iterable[StudyIndex], named: Sequence[Named]) -> list[Fate]:
    """One a log, in their order."""
    names: dict[tuple[str, str], list[Named]] = defaultdict(list)
    for one in named:
        names[one.series.info.study_instance_uid, one.stack.stack_id].append(one)
    found = [fate for index in indexes for fate in _of_study(index, names)]
    counts = Counter(run for fate in found for run in set(fate.runs))
    return [_contested(fate) if any(counts[run] > 1 for run in fate.runs) else fate for fate in found]


def _of_study(index: StudyIndex, names: Mapping[tuple[str, str], Sequence[Named]]) -> Iterable[Fate]:
    everything = list(series_of(index)) if index.physiology else []
    by_uid = {series.info.series_instance_uid: series for series in everything}
    for log in index.physiology:
        series = by_uid[log.series_instance_uid]
        if log.error:
            what = f"a log of physiology that cannot be used: {log.error}"
            yield Fate(series=series, log=log, reason=what, warnings=(f"{series.label}: {what}",))
            continue
        stacks, how = _run_of(log, series, everything)
        runs = [
            one
            for stack in stacks
            for one in names.get((index.study_instance_uid, stack.stack_id), ())
            if one.name.datatype in _DATATYPES and one.name.suffix != "sbref"
        ]
        yield _told(log, series, runs, how) if stacks else _astray(log, series, how)


def _run_of(log: Physiology, mine: Series, everything: Sequence[Series]) -> tuple[list[Stack], str]:
    """The stacks of a log's run, and how that is known; or none, and why."""
    same = [
        stack
        for series in everything
        for stack in series.stacks
        if log.measurement and stack.facts.measurement == log.measurement
    ]
    if same:
        return same, "the same measurement by its identifier"
    name = mine.info.series_description.removesuffix(_ENDING)
    runs: dict[str | None, list[Stack]] = defaultdict(list)  # magnitude and phase begin at the same time
    for series in everything:
        for stack in series.stacks:
            if series.info.series_description == name and stack.facts.measurement is None:
                runs[stack.facts.acquired].append(stack)
    if len(runs) > 1:
        alike = {began: run for began, run in runs.items() if run[0].shape[3] == log.volumes}
        runs = defaultdict(list, alike) if len(alike) == 1 else runs
    if len(runs) == 1:
        return next(iter(runs.values())), f"no other run is called {name!r}"
    what = f"{len(runs)} runs are called {name!r}" if runs else f"no run is called {name!r}"
    return [], f"{what}, and none carries its identifier"


def _told(log: Physiology, series: Series, runs: Sequence[Named], how: str) -> Fate:
    recorded = " and ".join(log.recordings)
    if not runs:
        return Fate(
            series=series,
            log=log,
            reason=f"a log of physiology ({recorded}): its run has no name in {', '.join(_DATATYPES)}",
        )
    volumes = runs[0].stack.shape[3]
    short = f"; it tells of {log.volumes} volumes, {volumes} are here" if volumes != log.volumes else ""
    first = runs[0].name.path.rpartition("/")[2]
    return Fate(
        series=series,
        log=log,
        reason=f"a log of physiology: {recorded} beside {first} ({how})",
        runs=tuple(one.name.path for one in runs),
        note=f"physiology ({recorded}) from series {series.info.series_key}: {how}{short}",
        warnings=tuple(f"{series.label}: not used of its log: {one}" for one in log.lost),
    )


def _astray(log: Physiology, series: Series, why: str) -> Fate:
    what = f"a log of physiology whose run cannot be told: {why}"
    return Fate(series=series, log=log, reason=what, warnings=(f"{series.label}: {what}",))


def _contested(fate: Fate) -> Fate:
    what = "a log of physiology of a run that another log belongs to as well: neither is used"
    warning = f"{fate.series.label}: {what}"
    return Fate(series=fate.series, log=fate.log, reason=what, warnings=(warning,))
