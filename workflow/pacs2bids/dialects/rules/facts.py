"""What a rule may ask about: facts of a series and of its volumes, by the names that people write.

None of them identifies a person: names, IDs, ages and dates of birth are not to be matched, and are not made
part of a name. Any field of the sidecar can be asked as ``sidecar.<Field>``, by its name in BIDS.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from pacs2bids.model import Json, SeriesInfo, Stack, StackFacts
from pacs2bids.session import Series, ordinal
from pacs2bids.telling import PARTS, direction

SIDECAR = "sidecar."


@dataclass(frozen=True, slots=True, kw_only=True)
class Fact:
    """One thing to ask. ``kind``: "text", "number", "flag" (true or false) or "texts" (several).

    ``about``: what it is, with its unit, for people. ``of``: its value; None where the header does not say.
    """

    kind: str
    about: str
    of: Callable[[Series, Stack | None], Json]


def value(name: str, series: Series, stack: Stack | None) -> Json:
    """A fact of a volume (``stack`` None: of a series without any); None: the header does not say."""
    if name.startswith(SIDECAR):
        return stack.sidecar.get(name.removeprefix(SIDECAR)) if stack else None
    found = FACTS[name].of(series, stack)
    return None if found == "" else found


def _info(about: str, kind: str, of: Callable[[SeriesInfo], Json]) -> Fact:
    return Fact(kind=kind, about=about, of=lambda series, _: of(series.info))


def _stack(about: str, kind: str, of: Callable[[Stack], Json]) -> Fact:
    return Fact(kind=kind, about=about, of=lambda _, stack: of(stack) if stack else None)


def _told(about: str, kind: str, of: Callable[[StackFacts], Json]) -> Fact:
    return _stack(about, kind, lambda stack: of(stack.facts))


def _ms(time_s: float | None) -> float | None:
    return None if time_s is None else round(time_s * 1000, 6)


def _image_type(series: Series, stack: Stack | None) -> Json:
    found = (stack.facts.image_type if stack else ()) or series.info.image_type
    return list(found) or None


def _image_type_words(series: Series, stack: Stack | None) -> Json:
    found = _image_type(series, stack)
    return [word for one in found for word in str(one).split("_")] if isinstance(found, list) else None


def _flip_angle_deg(facts: StackFacts) -> Json:
    return facts.flip_angle_deg


FACTS: dict[str, Fact] = {
    # of the series
    "protocol_name": _info("ProtocolName, as typed at the console", "text", lambda one: one.protocol_name),
    "series_description": _info("SeriesDescription", "text", lambda one: one.series_description),
    "study_description": _info("StudyDescription", "text", lambda one: one.study_description),
    "sequence_name": _info("name of the pulse sequence", "text", lambda one: one.sequence_name),
    "series_number": _info("SeriesNumber", "number", lambda one: one.series_number),
    "modality": _info("Modality: MR, CT, PT", "text", lambda one: one.modality),
    "manufacturer": _info("who made the scanner", "text", lambda one: one.manufacturer),
    "model_name": _info("the scanner's model", "text", lambda one: one.model_name),
    "instances": _info("number of DICOM instances (files)", "number", lambda one: one.instances),
    "stacks": Fact(
        kind="number",
        about="number of volume files that the series makes (echoes, magnitude and phase, ...)",
        of=lambda series, _: len(series.stacks),
    ),
    "is_motion_corrected": _info("ImageType holds MOCO", "flag", lambda one: one.is_motion_corrected),
    # of the volume, or of the series where it has none
    "image_type": Fact(kind="texts", about="ImageType, as ORIGINAL, PRIMARY, M, ND", of=_image_type),
    "image_type_words": Fact(
        kind="texts",
        about="the same parted at _, as dcm2niix writes it: M, SE for M_SE",
        of=_image_type_words,
    ),
    "is_derived": Fact(
        kind="flag",
        about="ImageType holds DERIVED",
        of=lambda series, stack: stack.facts.is_derived if stack else series.info.is_derived,
    ),
    # of the volume
    "stack": _stack("ordinal of the volume in its series: 2 for 005-2", "number", ordinal),
    "columns": _stack("matrix: number of columns", "number", lambda stack: stack.shape[0]),
    "rows": _stack("matrix: number of rows", "number", lambda stack: stack.shape[1]),
    "slices": _stack("number of slices", "number", lambda stack: stack.shape[2]),
    "volumes": _stack("number of volumes in time (or of directions)", "number", lambda stack: stack.shape[3]),
    "repetition_time_s": _told("RepetitionTime in s", "number", lambda facts: facts.repetition_time_s),
    "echo_time_s": _told("EchoTime in s", "number", lambda facts: facts.echo_time_s),
    "echo_time_ms": _told("EchoTime in ms", "number", lambda facts: _ms(facts.echo_time_s)),
    "echo_number": _told("EchoNumbers", "number", lambda facts: facts.echo_number),
    "inversion_time_s": _told("InversionTime in s", "number", lambda facts: facts.inversion_time_s),
    "flip_angle_deg": _told("FlipAngle in degrees", "number", _flip_angle_deg),
    "component": _told("magnitude, phase, real or imaginary", "text", lambda facts: facts.component),
    "part": _told(
        "the same in BIDS' words: mag, phase, real, imag",
        "text",
        lambda facts: PARTS.get(facts.component or ""),
    ),
    "content": _told(
        "what else tells pictures of a series apart: fieldmap, reversed", "text", lambda facts: facts.content
    ),
    "orientation": _told("axial, coronal, sagittal or oblique", "text", lambda facts: facts.orientation),
    "phase_encoding_direction": _told(
        "PhaseEncodingDirection in BIDS' letters: i, i-, j, j-, k, k-",
        "text",
        lambda facts: facts.phase_encoding_direction,
    ),
    "phase_encoding": _stack("the same in the patient: AP, PA, RL, LR, IS, SI", "text", direction),
    "is_diffusion": _told("it has b-values above 0", "flag", lambda facts: facts.is_diffusion),
    "is_diffusion_map": _told(
        "computed from diffusion: ADC, FA, trace, ...", "flag", lambda facts: facts.is_diffusion_map
    ),
    "is_localizer": _told("its series has several orientations", "flag", lambda facts: facts.is_localizer),
}


def seen_of(series: Series) -> list[tuple[str, str, Json]]:
    """All facts that a series has: volume ("" where all have the same), name, value."""
    stacks = series.stacks or (None,)
    lines: list[tuple[str, str, Json]] = []
    for name in FACTS:
        values = [value(name, series, stack) for stack in stacks]
        if all(one == values[0] for one in values):
            lines.append(("", name, values[0]))
        else:
            lines += [(one.stack_id, name, said) for one, said in zip(series.stacks, values, strict=True)]
    return [line for line in lines if line[2] is not None]
