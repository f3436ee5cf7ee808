"""What a series most likely is, from its facts, and why.

A guess looks at how the images were made (kind of sequence, echo and inversion times, diffusion, labelling,
what the scanner computed) and takes words of the console only for what nothing else tells: the task, and
whether a single echo-planar volume is a reference or a field map. Times are those usual in the brain at 1.5
to 7 T; what lies between them is not sure.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field

from pacs2bids.bids import label_problem, vocabulary
from pacs2bids.model import Stack
from pacs2bids.session import Series
from pacs2bids.telling import direction
from pacs2bids.text import counted

FEW = 5  # volumes of a time series that was cancelled, or is something else
MANY = 80  # slices of a volume that holds the whole head
LONG_TRAIN = 10  # gradient echoes after one excitation: echo planar (Philips says so nowhere else)
LONG_ECHO_S = 0.06  # of spin echoes: T2 weighted from here on
SHORT_ECHO_S = 0.03
SHORT_REPETITION_S = 1.5  # of spin echoes: T1 weighted up to here
# of a magnetization that was inverted: T1 weighted (MPRAGE), or without fluid (FLAIR)
MPRAGE_INVERSION_S = (0.4, 1.5)
FLAIR_INVERSION_S = 1.5
DERIVED = "computed by the scanner"
# values of ImageType: projections and planes that were cut out of a volume
REFORMATTED = re.compile(r"MPR|MIP|MNIP|MIN ?IP|PROJECTION IMAGE")
# words in names of protocols that tell how it was made, not what was done
TECHNICAL = (
    r"bold|fmri|func|epi\w*|ep2d|cmrr|mb\d*|sms\d*|p\d|run[-_]?\d+|product|c2p|axial|\bax\b|[0-9.]+ ?mm"
)
# entities that the studies table or the plan puts in
LEFT_TO_PLAN = ("sub", "ses", "run", "echo", "part")


@dataclass(frozen=True, slots=True, kw_only=True)
class Guess:
    """``skip``: why it is to be left out; else ``datatype``, ``suffix``, ``entities`` (labels, or facts).

    ``why``: the facts that speak for it, for a person. ``is_sure``: else a person has to decide.
    """

    why: str
    datatype: str = ""
    suffix: str = ""
    entities: Mapping[str, str] = field(default_factory=dict)
    skip: str = ""
    is_sure: bool = True


@dataclass(frozen=True, slots=True, kw_only=True)
class Looks:
    """What of a series is looked at: its first volume, and all. ``title``: what people call it."""

    series: Series
    first: Stack
    stacks: Sequence[Stack]
    title: str

    @property
    def words(self) -> str:
        """What was typed at the console, in small letters."""
        return f"{self.series.info.protocol_name} {self.series.info.series_description}".lower()

    def said(self, name: str) -> str:
        """A field of the sidecar as text; "" if there is none."""
        value = self.first.sidecar.get(name)
        return "" if value is None else str(value)

    @property
    def image_type(self) -> set[str]:
        """All values of ImageType."""
        return {*self.series.info.image_type, *self.first.facts.image_type}

    @property
    def is_echo_planar(self) -> bool:
        """By the sequence; the names of Siemens' begin with "ep", as "epfid2d1_64"."""
        kind = f"{self.said('PulseSequenceType')} {self.said('EchoPlanarPulseSequence')}"
        scans = self.said("ScanningSequence").split("\\")
        is_train = "GR" in scans and self.train > LONG_TRAIN
        return (
            is_train or "EPI" in kind or "EP" in scans or bool(re.match(r"\*?ep(fid|se|_|2d)", self.sequence))
        )

    @property
    def train(self) -> float:
        """EchoTrainLength; 0 if it is unknown."""
        length = self.first.sidecar.get("EchoTrainLength")
        return float(length) if isinstance(length, int | float) else 0.0

    @property
    def is_spin_echo(self) -> bool | None:
        """None: the header does not say. "epse" and "epfid" are Siemens' two kinds of EPI."""
        scans = set(self.said("ScanningSequence").split("\\"))
        if "Spin Echo" in self.said("PulseSequenceType") or "SE" in scans or "epse" in self.sequence:
            return True
        if "Gradient Echo" in self.said("PulseSequenceType") or "GR" in scans or "epfid" in self.sequence:
            return False
        return None

    @property
    def is_3d(self) -> bool:
        """MRAcquisitionType."""
        return self.said("MRAcquisitionType") == "3D"

    @property
    def sequence(self) -> str:
        """The name of the sequence in small letters."""
        return self.series.info.sequence_name.lower()

    @property
    def echoes_s(self) -> list[float]:
        """Distinct echo times, sorted."""
        times = {round(one.facts.echo_time_s, 6) for one in self.stacks if one.facts.echo_time_s}
        return sorted(times)

    @property
    def direction(self) -> dict[str, str]:
        """The entity ``dir``, of a fact, where it is known."""
        return {"dir": "{phase_encoding}"} if direction(self.first) else {}

    def has(self, *words: str) -> bool:
        """Whether one of these stands in what was typed."""
        return any(re.search(word, self.words) for word in words)


def guess(series: Series, title: str) -> Guess:
    """What a series with volumes most likely is. ``title``: the name that tells it from others."""
    main = [one for one in series.stacks if one.placed and not one.facts.is_diffusion_map]
    looks = Looks(series=series, first=(main or series.stacks)[0], stacks=main or series.stacks, title=title)
    answers = (question(looks) for question in QUESTIONS)
    unknown = Guess(why=f"{_sequence(looks)}: not known", is_sure=False, datatype="anat", suffix="T1w")
    by_facts = next((found for found in answers if found is not None), unknown)
    if by_facts.skip not in ("", DERIVED):
        return by_facts
    return _by_name(looks, by_facts) or by_facts


# --------------------------------------------------------------------------------------------- questions


def _not_magnetic(looks: Looks) -> Guess | None:
    modality = looks.series.info.modality
    if modality in ("MR", None):
        return None
    return Guess(why=f"modality {modality}", skip=f"{modality} is not part of this dataset")


def _computed(looks: Looks) -> Guess | None:
    """What the scanner made of other images, or what shows where to scan."""
    facts, kinds = looks.first.facts, looks.image_type
    image_type = f"ImageType {'/'.join(sorted(kinds))}"
    cases = (
        (not looks.first.placed, "no position and orientation", "a capture without a place in the patient"),
        (facts.is_localizer, "several orientations in one series", "localizer"),
        (facts.is_diffusion_map, image_type, "computed by the scanner from diffusion images"),
        ("MOCO" in kinds, image_type, "motion-corrected by the scanner"),
        (any(map(REFORMATTED.match, kinds)), image_type, "reformatted by the scanner"),
        (facts.is_derived and "UNI" not in kinds, image_type, DERIVED),
        (looks.has("localizer", "scout", "survey", "3.?plane"), "by its name", "localizer"),
    )
    return next((Guess(why=why, skip=skip) for holds, why, skip in cases if holds), None)


def _measured_field(looks: Looks) -> Guess | None:
    if any(one.facts.content == "fieldmap" for one in looks.stacks):
        return Guess(datatype="fmap", suffix="fieldmap", why="holds a field map in Hz")
    return None


def _labelling(looks: Looks) -> Guess | None:
    kind = looks.said("ArterialSpinLabelingType")
    is_said = bool(kind) or "ASL" in looks.image_type
    if not is_said and not looks.has("asl"):
        return None
    volumes = looks.first.shape[3]
    why = f"arterial spin labelling ({kind or 'by its name'}), {counted(volumes, 'volume')}"
    suffix = "m0scan" if volumes == 1 or looks.has("m0") else "asl"
    return Guess(datatype="perf", suffix=suffix, why=why, is_sure=is_said)


def _diffusion(looks: Looks) -> Guess | None:
    if not looks.first.facts.is_diffusion:
        return None
    why = f"diffusion weighted, {counted(looks.first.shape[3], 'volume')}"
    return Guess(datatype="dwi", suffix="dwi", entities=looks.direction, why=why)


def _echo_planar(looks: Looks) -> Guess | None:
    if not looks.is_echo_planar:
        return None
    volumes, time_s = looks.first.shape[3], looks.first.facts.repetition_time_s
    why = f"{_sequence(looks)}, {counted(volumes, 'volume')}" + (f" each {time_s:g} s" if time_s else "")
    if looks.has(r"sbref\b"):
        return _reference(looks, why)
    is_pair = any(one.facts.content == "reversed" for one in looks.stacks)
    is_map = volumes <= FEW and looks.has("fmap", "field", "topup", "dist", "blip", "pepolar")
    if looks.is_spin_echo or is_pair or is_map:
        entities = looks.direction or {"dir": "AP"}
        sure = volumes <= FEW and bool(looks.direction)
        return Guess(datatype="fmap", suffix="epi", entities=entities, why=why, is_sure=sure)
    is_known = looks.is_spin_echo is False or 0.01 <= (looks.first.facts.echo_time_s or 0) <= 0.05
    if volumes < FEW:
        why += ": a time series that was cancelled, or a reference?"
    sure = is_known and volumes >= FEW
    return Guess(datatype="func", suffix="bold", entities={"task": task(looks)}, why=why, is_sure=sure)


def _reference(looks: Looks, why: str) -> Guess:
    """A single-band reference image, of a time series or of diffusion images."""
    why += ", by its name"
    if looks.has("dwi", "diff", "dti"):
        return Guess(datatype="dwi", suffix="sbref", entities=looks.direction, why=why)
    return Guess(datatype="func", suffix="sbref", entities={"task": task(looks)}, why=why)


def _field_echoes(looks: Looks) -> Guess | None:
    """A gradient echo field map: Siemens' sequence is called "fm2d"; others have short echoes and a name."""
    is_named = looks.has("field.?map", "b0.?map", "gre_field", "fmap")
    if looks.is_spin_echo is not False or not ("fm2d" in looks.sequence or is_named):
        return None
    components = {one.facts.component for one in looks.stacks}
    echoes = ", ".join(f"{time * 1000:g}" for time in looks.echoes_s)
    why = f"{_sequence(looks)}, {'/'.join(sorted(filter(None, components)))}, echo times {echoes} ms"
    sure = max(looks.echoes_s, default=1) < 0.02
    if components == {"phase"}:
        suffix = "phasediff" if len(looks.stacks) == 1 else "phase"
        return Guess(datatype="fmap", suffix=suffix, why=why, is_sure=sure)
    if components == {"magnitude"}:
        sure = sure and len(looks.stacks) == 2
        return Guess(datatype="fmap", suffix="magnitude", why=why, is_sure=sure)
    return None


def _inverted(looks: Looks) -> Guess | None:
    """MP2RAGE, MPRAGE and FLAIR."""
    time_s, echo_s = looks.first.facts.inversion_time_s, looks.first.facts.echo_time_s or 0
    kinds = looks.image_type
    if "UNI" in kinds or looks.has("_uni", "uni_?(images|den)"):
        return Guess(datatype="anat", suffix="UNIT1", why=f"{_sequence(looks)}, uniform image of MP2RAGE")
    for number in ("1", "2"):
        if looks.has(rf"_?inv_?{number}\b"):
            why = f"{_sequence(looks)}, inversion {number} of MP2RAGE, by its name"
            return Guess(datatype="anat", suffix="MP2RAGE", entities={"inv": number}, why=why)
    if time_s is None:
        return None
    why = f"{_sequence(looks)}, inversion time {time_s:g} s, echo time {echo_s * 1000:g} ms"
    if time_s > FLAIR_INVERSION_S and echo_s >= LONG_ECHO_S:
        return Guess(datatype="anat", suffix="FLAIR", why=why)
    low, high = MPRAGE_INVERSION_S
    if low <= time_s <= high and echo_s < 0.01 and looks.is_3d:
        return Guess(datatype="anat", suffix="T1w", why=why)
    return Guess(datatype="anat", suffix="T1w", why=why, is_sure=False)


def _spin_echo(looks: Looks) -> Guess | None:
    if not looks.is_spin_echo:
        return None
    echo_s, time_s = looks.first.facts.echo_time_s, looks.first.facts.repetition_time_s
    if echo_s is None or time_s is None:
        return None
    why = f"{_sequence(looks)}, echo time {echo_s * 1000:g} ms, repetition time {time_s:g} s"
    echoes = len(looks.echoes_s)
    if echoes > 1:
        why += f", {echoes} echoes" + (": or PDw and T2w?" if echoes == 2 else "")
    cases = (
        (echoes > 1, "MESE", echoes > 2),
        (echo_s >= LONG_ECHO_S and time_s > SHORT_REPETITION_S, "T2w", True),
        (echo_s <= SHORT_ECHO_S and time_s <= SHORT_REPETITION_S, "T1w", True),
        (echo_s <= SHORT_ECHO_S, "PDw", False),
        (True, "T2w", False),
    )
    suffix, is_sure = next((suffix, is_sure) for holds, suffix, is_sure in cases if holds)
    return Guess(datatype="anat", suffix=suffix, why=why, is_sure=is_sure)


def _gradient_echo(looks: Looks) -> Guess | None:
    if looks.is_spin_echo is not False or not looks.echoes_s:
        return None
    longest_s, angle = looks.echoes_s[-1], looks.first.facts.flip_angle_deg or 0
    why = f"{_sequence(looks)}, echo time {longest_s * 1000:g} ms, flip angle {angle:g} degrees"
    if looks.has("tof", "angio"):
        return Guess(datatype="anat", suffix="angio", why=f"{why}, by its name")
    if len(looks.echoes_s) >= 3:
        return Guess(datatype="anat", suffix="MEGRE", why=f"{why}, {len(looks.echoes_s)} echoes")
    if len(looks.echoes_s) == 1 and longest_s >= 0.015:
        is_raw = "SWI" not in looks.image_type  # a product of magnitude and phase, which BIDS has no word for
        return Guess(datatype="anat", suffix="T2starw", why=why, is_sure=is_raw)
    # spoiled, in slices with a large angle; or a turbo field echo of the whole head that says its weighting
    in_slices = not looks.is_3d and angle >= 40
    in_3d = looks.is_3d and looks.first.shape[2] >= MANY and looks.has("t1")
    is_t1 = longest_s < 0.006 and (in_slices or in_3d) and len(looks.stacks) == 1
    return Guess(datatype="anat", suffix="T1w", why=why, is_sure=is_t1)


QUESTIONS: tuple[Callable[[Looks], Guess | None], ...] = (
    _not_magnetic,
    _computed,
    _measured_field,
    _labelling,
    _diffusion,
    _echo_planar,
    _field_echoes,
    _inverted,
    _spin_echo,
    _gradient_echo,
)


# --------------------------------------------------------------------------------------------- words


def _by_name(looks: Looks, by_facts: Guess) -> Guess | None:
    """What a name says that is made of BIDS' words for folder and suffix: "func-bold_task-rest_run-1".

    Who types that at the console means it. The description comes first: it marks what the scanner adds.
    """
    for name in (looks.series.info.series_description, looks.series.info.protocol_name):
        labels, words = _words(name)
        for suffix in reversed(words):
            kinds = [kind for kind in vocabulary().files if kind[1].lower() == suffix and kind[0] in words]
            if not kinds:
                continue
            datatype, written = kinds[-1]
            rules = vocabulary().files[datatype, written]
            allowed = {key for rule in rules for key in rule.required | rule.optional}
            known = {"dir": by_facts.entities["dir"]} if "dir" in by_facts.entities else {}
            entities = {key: label for key, label in (known | labels).items() if key in allowed}
            if any("task" in rule.required for rule in rules):
                entities.setdefault("task", task(looks))
            said = f"{by_facts.datatype}/{by_facts.suffix}" if by_facts.suffix else by_facts.skip
            why = f"by its name; {by_facts.why}"
            if said != f"{datatype}/{written}":
                why += f" (its facts alone: {said})"
            is_alone = written == "bold" and looks.first.shape[3] == 1
            return Guess(datatype=datatype, suffix=written, entities=entities, why=why, is_sure=not is_alone)
    return None


def _words(name: str) -> tuple[dict[str, str], list[str]]:
    """Labels of entities that a name holds, but those that are put in anyway; and its other words, small."""
    labels, words = dict[str, str](), list[str]()
    for word in re.split(r"[_\s]+", name):
        key, _, label = word.partition("-")
        rule = vocabulary().entities.get(key)
        if rule is None or not label:
            words += word.lower().split("-")
        elif key not in LEFT_TO_PLAN and label_problem(key, label) is None:
            labels[key] = label
    return labels, words


def task(looks: Looks) -> str:
    """A label for the task: what follows "task-", "rest", or what is left of its title."""
    said = re.search(r"task[-_]?([a-z0-9]+)", looks.words)
    if said:
        return said[1]
    if looks.has("rest", r"\brs"):
        return "rest"
    left = re.sub(
        r"[^A-Za-z0-9]", "", re.sub(TECHNICAL, " ", looks.title.replace("_", " "), flags=re.IGNORECASE)
    )
    return left or "unknown"


def _sequence(looks: Looks) -> str:
    kind = looks.said("PulseSequenceType") or looks.said("ScanningSequence") or "unknown sequence"
    dimensions = looks.said("MRAcquisitionType")
    return f"{dimensions} {kind}".strip()
