"""One session between the heuristic and the plan: what it holds, and what the heuristic says of it.

The languages that a heuristic can be written in (``dialects``) make ``Answers``; ``plan`` makes names of
them.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator

from msgspec import Struct, field

from pacs2bids.bids import BidsName
from pacs2bids.model import FailedStack, HookCall, Json, Leftover, SeriesInfo, Stack, StackFacts, StudyIndex

# of one volume of arterial spin labelling. Source: BIDS schema, objects.columns.volume_type
VOLUME_TYPES = ("control", "label", "m0scan", "deltam", "cbf", "noRF")


class Answer(Struct, frozen=True, kw_only=True):
    """What a heuristic says of one series.

    ``path``: name in the dataset without extension; "" if only DICOM files are asked for. ``template``: how
    the heuristic wrote it, for messages. ``stack``: ordinal of the one stack that is meant (2 for "005-2");
    None: the whole series, or, where ``stacks`` tells ordinals, these, named together as the whole would be.
    ``origin``: which rule or line said so, "study.yaml, line 12". ``metadata``:
    sidecar fields that the heuristic adds. ``sourcedata``: path in the dataset without extension of an
    archive of the series' DICOM files, "" for none. ``volume_types``: of spin labelling, what each volume is,
    in the words of aslcontext.tsv; fewer words than volumes repeat.

    ``call``: of the heuristic, when its volumes are placed.

    ``run``: who numbers the runs. "written": ``path`` says it all. "several": they are numbered from 1 by
    the time of acquisition if several acquisitions have this name; one alone gets no "run-". "always": one
    alone is "run-1", too, as where the path has a "run-", which then only says how wide the number is
    ("run-01"). "": as the
    configuration says (``naming.runs``), which is "written" by default.
    ``short``: what becomes of an acquisition that was cancelled: one with fewer volumes than ``volumes``, or,
    where that is None, than the longest of the same name (runs apart), or than its own header promises.
    "keep": it is named, and numbered, as the others. "drop": it gets no name, and the others are numbered
    without it. An entity as "acq-short" or "rec-cancelled": it is added to its name (to its label, if the
    name has one). "": as the configuration says (``naming.short_runs``), which is "keep" by default. A short
    one is told by a warning and in its row of the plan in any case.
    """

    study_instance_uid: str
    series_instance_uid: str
    template: str
    path: str
    stack: int | None = None
    stacks: tuple[int, ...] = ()
    origin: str = ""
    metadata: dict[str, Json] = field(default_factory=dict)
    sourcedata: str = ""
    run: str = ""
    short: str = ""
    volumes: int | None = None
    volume_types: tuple[str, ...] = ()
    call: HookCall | None = None

    @property
    def key(self) -> tuple[str, str]:
        """Of the series: StudyInstanceUID and SeriesInstanceUID."""
        return (self.study_instance_uid, self.series_instance_uid)


class Unanswered(Struct, frozen=True, kw_only=True):
    """A series for which the heuristic gave no usable answer, or meant to give none, and why, for a person.

    ``is_meant``: the heuristic says itself that it is to be left out; no warning then. ``stack``: ordinal of
    the one stack that it is said of; None: the whole series.
    """

    study_instance_uid: str
    series_instance_uid: str
    reason: str
    origin: str = ""
    is_meant: bool = False
    stack: int | None = None

    @property
    def key(self) -> tuple[str, str]:
        """Of the series, as ``Answer.key``."""
        return (self.study_instance_uid, self.series_instance_uid)


class IntendedForOptions(Struct, frozen=True, kw_only=True):
    """How a heuristic wants IntendedFor to be chosen, in heudiconv's words (POPULATE_INTENDED_FOR_OPTS).

    ``matching_parameters``: what a field map and its images share, tried in this order: "Shims",
    "ImagingVolume", "ModalityAcquisitionLabel", "CustomAcquisitionLabel", "PlainAcquisitionLabel", "Force".
    ``criterion``: which of several field maps that match, "First" or "Closest" in time.
    """

    matching_parameters: tuple[str, ...]
    criterion: str


class Answers(Struct, frozen=True, kw_only=True):
    """All that a heuristic says of a session. ``intended_for``: None if it does not speak of it."""

    named: tuple[Answer, ...]
    unanswered: tuple[Unanswered, ...] = ()
    warnings: tuple[str, ...] = ()
    intended_for: IntendedForOptions | None = None


class Tried(Struct, frozen=True, kw_only=True):
    """What became of one series at one place of a heuristic (a rule, or an ``if``).

    ``origin``: the place, as in ``Answer``. ``took``: whether it took the series. ``met``: conditions that
    held. ``failed``: the first that did not, with the value that it met, for a person; "" if none.
    """

    origin: str
    took: bool
    met: int = 0
    failed: str = ""


class Series(Struct, frozen=True, kw_only=True):
    """A series with everything known about it."""

    info: SeriesInfo
    stacks: tuple[Stack, ...]
    leftovers: tuple[Leftover, ...]
    refused: tuple[FailedStack, ...]  # single stacks, or the series as a whole

    @property
    def key(self) -> tuple[str, str]:
        """StudyInstanceUID and SeriesInstanceUID."""
        return (self.info.study_instance_uid, self.info.series_instance_uid)

    @property
    def label(self) -> str:
        """As messages call it: its key and its description, which a person knows from the console."""
        description = self.info.series_description or self.info.protocol_name
        return f"series {self.info.series_key}" + (f" ({description})" if description else "")


class Claim(Struct, frozen=True, kw_only=True):
    """A stack on its way to its name: ``name`` is what is known of it so far.

    ``stack``: None for one that was refused, which counts when the others of its series are named.
    ``note``: what its row in the plan says beside the name. ``is_short``: fewer volumes than were planned.
    ``unmarked``: the name before the rule for short ones marked it; None if it did not.
    """

    series: Series
    answer: Answer
    name: BidsName
    facts: StackFacts
    stack: Stack | None
    note: str = ""
    is_short: bool = False
    unmarked: BidsName | None = None

    @property
    def acquired(self) -> str | None:
        """ISO date and time at which it began; of its series, if it has none of its own."""
        return self.facts.acquired or self.series.info.acquired

    @property
    def label(self) -> str:
        """As messages call it."""
        return self.series.label + (f" stack {ordinal(self.stack)}" if self.stack else "")


class LeftOut(Struct, frozen=True, kw_only=True):
    """A stack that an answer means and that gets no name all the same, and why."""

    series: Series
    stack: Stack
    answer: Answer
    reason: str


class Named(Struct, frozen=True, kw_only=True):
    """A stack that has a name. ``note``: what is odd about it, as in ``PlanRow``."""

    series: Series
    stack: Stack
    answer: Answer
    name: BidsName
    note: str = ""


def series_of(index: StudyIndex) -> Iterator[Series]:
    """All series of a study, each with what belongs to it."""
    stacks, leftovers = defaultdict(list), defaultdict(list)
    for stack in index.stacks:
        stacks[stack.series_instance_uid].append(stack)
    for leftover in index.leftovers:
        leftovers[leftover.series_instance_uid].append(leftover)
    refused = defaultdict(list)
    for failed in index.refused:
        refused[series_key(failed)].append(failed)
    for info in index.series:
        uid = info.series_instance_uid
        yield Series(
            info=info,
            stacks=tuple(stacks[uid]),
            leftovers=tuple(leftovers[uid]),
            refused=tuple(refused[info.series_key]),
        )


def series_key(failed: FailedStack) -> str:
    """Of the series that a refused stack, or a refused series, is of."""
    return failed.stack_id.partition("-")[0]


def ordinal(stack: Stack) -> int:
    """2 for "005-2"."""
    return int(stack.stack_id.rpartition("-")[2])
