"""The head: an analytic function of the position in the patient frame.

Every picture of the phantom is this function at the centres of its voxels, so the true value is known at any
position, in any orientation and on any grid. Positions are DICOM's patient frame (PS3.3 C.7.6.2.1.1): mm, x
to the patient's Left, y to Posterior, z Superior.

The head is told from its mirror image: a capsule sits at the right temple and the left ventricle is larger.
Anterior has a nose, superior a brain. Edges are ramps, never steps, so a position that is off by the rounding
of a 32-bit affine (1e-5 mm) changes a value by far less than one unit; see ``EDGE_MM``.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum
from typing import TypeAlias

import numpy as np
from numpy.typing import NDArray

from pacs2bids.model import Vector

Floats: TypeAlias = NDArray[np.float64]

BLOCK = 1 << 14  # points at a time: the arrays of one block stay in the processor's cache
EDGE_MM = 1.0  # width of the ramp between two tissues, in the sharpest contrast


class Tissue(StrEnum):
    """What a point is made of."""

    CAPSULE = "capsule"
    EYE = "eye"
    LENS = "lens"
    FLUID = "fluid"
    GREY = "grey"
    DEEP_GREY = "deep grey"
    WHITE = "white"
    BONE = "bone"
    MARROW = "marrow"
    MUSCLE = "muscle"
    FAT = "fat"
    AIR = "air"


Fractions: TypeAlias = dict[Tissue, Floats]


@dataclass(frozen=True, slots=True, kw_only=True)
class Contrast:
    """How bright each tissue is (stored units), and over how many mm one fades into the next."""

    brightness: Mapping[Tissue, float]
    edge_mm: float = EDGE_MM


CONTRASTS: Mapping[str, Contrast] = {
    "T1w": Contrast(
        brightness={
            Tissue.CAPSULE: 2200,
            Tissue.EYE: 230,
            Tissue.LENS: 520,
            Tissue.FLUID: 210,
            Tissue.GREY: 640,
            Tissue.DEEP_GREY: 760,
            Tissue.WHITE: 1000,
            Tissue.BONE: 70,
            Tissue.MARROW: 620,
            Tissue.MUSCLE: 480,
            Tissue.FAT: 1450,
            Tissue.AIR: 12,
        },
    ),
    "EPI": Contrast(
        brightness={
            Tissue.CAPSULE: 1500,
            Tissue.EYE: 1700,
            Tissue.LENS: 400,
            Tissue.FLUID: 1750,
            Tissue.GREY: 1050,
            Tissue.DEEP_GREY: 850,
            Tissue.WHITE: 760,
            Tissue.BONE: 40,
            Tissue.MARROW: 90,
            Tissue.MUSCLE: 220,
            Tissue.FAT: 120,
            Tissue.AIR: 20,
        },
        edge_mm=3.0,
    ),
    "GRE": Contrast(
        brightness={
            Tissue.CAPSULE: 2100,
            Tissue.EYE: 700,
            Tissue.LENS: 500,
            Tissue.FLUID: 800,
            Tissue.GREY: 1250,
            Tissue.DEEP_GREY: 1100,
            Tissue.WHITE: 1100,
            Tissue.BONE: 90,
            Tissue.MARROW: 800,
            Tissue.MUSCLE: 900,
            Tissue.FAT: 1700,
            Tissue.AIR: 25,
        },
        edge_mm=2.0,
    ),
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Head:
    """One subject as it lies in the scanner.

    ``scale``: size along the head's own x, y, z, relative to the template. ``ventricle_left`` and
    ``ventricle_right``: relative sizes. ``gyri``: phases that shape the folds. ``shift_lps_mm`` and
    ``turn_deg`` (about x, y, z): how the head lies in this session.
    """

    scale: Vector
    ventricle_left: float
    ventricle_right: float
    gyri: Vector
    shift_lps_mm: Vector
    turn_deg: Vector


def head_of(subject: int, session: int) -> Head:
    """The head of the subject and session with these numbers (from 1): similar, yet all distinct."""

    def spread(step: int, seed: int) -> float:
        """A number in -1..1, by the golden ratio: even, and the same on every machine."""
        return 2 * math.modf((seed + step * 7) * 0.6180339887498949)[0] - 1

    return Head(
        scale=(1 + 0.03 * spread(1, subject), 1 + 0.03 * spread(2, subject), 1 + 0.025 * spread(3, subject)),
        ventricle_left=1.2 + 0.15 * spread(4, subject),
        ventricle_right=0.85 + 0.1 * spread(5, subject),
        gyri=(3 * spread(6, subject), 3 * spread(7, subject), 3 * spread(8, subject)),
        shift_lps_mm=(2 * spread(9, subject + 3 * session), 2 * spread(10, subject + session), 1.5 * session),
        turn_deg=(
            3 * spread(11, subject + session),
            1.5 * spread(12, session),
            2 * spread(13, subject + session),
        ),
    )


def rotation(about_x_deg: float, about_y_deg: float, about_z_deg: float) -> Floats:
    """The matrix that turns about x, then y, then z (right-handed)."""
    turned = np.eye(3)
    for axis, degrees in enumerate((about_x_deg, about_y_deg, about_z_deg)):
        cos, sin = math.cos(math.radians(degrees)), math.sin(math.radians(degrees))
        step = np.eye(3)
        first, second = (axis + 1) % 3, (axis + 2) % 3
        step[first, first] = step[second, second] = cos
        step[first, second], step[second, first] = -sin, sin
        turned = step @ turned
    return turned


def intensity(points_lps: Floats, *, contrast: str, head: Head) -> Floats:
    """Brightness of ``contrast`` (a key of ``CONTRASTS``) at each position of ``points_lps`` (..., 3)."""
    chosen = CONTRASTS[contrast]

    def brightness(points: Floats) -> Floats:
        parts = fractions(points, head=head, edge_mm=chosen.edge_mm)
        total = np.zeros(len(points))
        for tissue, fraction in parts.items():
            total += chosen.brightness[tissue] * fraction
        return total * _coil(points)

    return _by_block(brightness, points_lps)


def diffusivities(points_lps: Floats, gradients_lps: Sequence[Vector], *, head: Head) -> Floats:
    """Apparent diffusivity g'Dg in mm2/s along each unit vector, at each position: (gradients, ...).

    D is free in fluid, slow in all else, and faster along the fibres in white matter; fibres fan out from
    the brain stem, so no two directions (nor a direction and its mirror image) look the same.
    """
    directions = np.array(gradients_lps, dtype=np.float64).reshape(-1, 3) @ _pose(head)

    def along(points: Floats) -> Floats:
        parts = fractions(points, head=head, edge_mm=CONTRASTS["EPI"].edge_mm)
        x, y, z = _head_frame(points, head)
        fibre = np.stack((x - 4, 0.7 * (y - 25), 1.2 * (z + 48)))
        # the softened length keeps the field smooth where the fibres meet
        cosines = directions @ fibre / np.sqrt((fibre * fibre).sum(axis=0) + 100)
        white = parts[Tissue.WHITE]
        total: Floats = 0.8e-3 + 2.0e-3 * parts[Tissue.FLUID] + white * (1.3e-3 * cosines**2 - 0.45e-3)
        return total

    return _by_block(along, points_lps)


def field_hz(points_lps: Floats, *, head: Head) -> Floats:
    """Off-resonance in Hz at each position of ``points_lps`` (..., 3): sinus, one ear, a shim; 0 in air."""

    def off_resonance(points: Floats) -> Floats:
        at = _head_frame(points, head)
        shim = 0.25 * at[0] + 0.15 * at[1] - 0.2 * at[2]
        total: Floats = shim + 90 * _bump(at, (0, -70, -30), 24) - 60 * _bump(at, (70, 20, -35), 20)
        total *= _ramp(_outline(at), 4.0)
        return total

    return _by_block(off_resonance, points_lps)


def activation(points_lps: Floats, *, head: Head) -> Floats:
    """0..1: how much a position takes part in the task; a blob in the left motor cortex."""
    return _by_block(lambda points: _bump(_head_frame(points, head), (36, 22, 52), 11), points_lps)


def fractions(points: Floats, *, head: Head, edge_mm: float) -> Fractions:
    """How much of each tissue is at each of ``points`` (n, 3); they sum to 1."""
    at = _head_frame(points, head)
    parts: Fractions = {tissue: np.zeros(len(points)) for tissue in Tissue}
    parts[Tissue.AIR][:] = 1
    outline = _outline(at)
    covered = np.minimum(outline, _capsule(at)) < edge_mm
    at, outline = np.ascontiguousarray(at[:, covered]), outline[covered]
    left_over = np.ones(at.shape[1])
    inside: Fractions = {tissue: np.zeros(at.shape[1]) for tissue in Tissue}
    for tissue, distance in _layers(at, outline, head):
        share = left_over * _ramp(distance, edge_mm)
        inside[tissue] += share
        left_over -= share
    inside[Tissue.AIR] += left_over
    for tissue, share in inside.items():
        parts[tissue][covered] = share
    return parts


# ------------------------------------------------------------------------------------------------- anatomy
# Shapes are signed distances in mm, negative inside, of positions (3, n) in the frame of the template.


def _layers(at: Floats, outline: Floats, head: Head) -> Iterator[tuple[Tissue, Floats]]:
    """The capsule and the parts of the head, front to back: what comes first covers what comes later."""
    yield Tissue.CAPSULE, _capsule(at)
    for tissue, distance in _organs(at, head):
        yield tissue, np.maximum(distance, outline)
    yield Tissue.MUSCLE, outline + 4.5
    yield Tissue.FAT, outline


def _organs(at: Floats, head: Head) -> Iterator[tuple[Tissue, Floats]]:
    yield from _cavities(at)
    for side in (-1.0, 1.0):
        yield Tissue.LENS, _ellipsoid(at, (side * 31, -80, -26), (4, 2.5, 4))
        yield Tissue.EYE, _ellipsoid(at, (side * 31, -72, -26), (11.5, 11.5, 11.5))
    yield from _deep_brain(at, head)
    stem = _ellipsoid(at, (0, 26, -42), (13, 12, 34))
    cerebellum = _ellipsoid(at, (0, 54, -34), (46, 29, 21))
    cerebrum = _cerebrum(at)
    yield Tissue.WHITE, stem
    yield from _cerebellar_leaves(at, cerebellum)
    yield from _cortex(at, cerebrum, head)
    brain = np.minimum(np.minimum(stem, cerebellum), cerebrum)
    yield Tissue.FLUID, np.minimum(brain - 2.5, _ellipsoid(at, (0, 34, -100), (9, 9, 60)))
    yield from _bones(at, brain)


def _capsule(at: Floats) -> Floats:
    return _ellipsoid(at, (-73, -36, 8), (7, 7, 7))


def _cavities(at: Floats) -> Iterator[tuple[Tissue, Floats]]:
    """Nose, sinuses, airway, mouth."""
    septum = 1.5 - np.abs(at[0])
    yield Tissue.AIR, np.maximum(_ellipsoid(at, (0, -74, -50), (10, 26, 15)), septum)
    for side in (-1.0, 1.0):
        yield Tissue.AIR, _ellipsoid(at, (side * 25, -64, -56), (10, 13, 13))
    yield Tissue.AIR, _ellipsoid(at, (3, -80, 0), (14, 4, 8))
    yield Tissue.AIR, _ellipsoid(at, (0, -2, -90), (8, 6, 42))
    yield Tissue.AIR, _ellipsoid(at, (0, -62, -79), (18, 26, 3))


def _deep_brain(at: Floats, head: Head) -> Iterator[tuple[Tissue, Floats]]:
    x, y, z = at
    bow = (y - 5) ** 2
    spread = 7 + 0.012 * bow / (1 + 0.004 * bow)  # the horns part towards front and back
    for side, size in ((1.0, head.ventricle_left), (-1.0, head.ventricle_right)):
        horn = np.stack((x - side * spread, y, z))
        yield Tissue.FLUID, _ellipsoid(horn, (side * 5, 8, 24), (6.5 * size, 34 * size, 9 * size))
    yield Tissue.FLUID, _ellipsoid(at, (0, 8, 8), (2.2, 12, 11))
    yield Tissue.FLUID, _ellipsoid(at, (0, 42, -32), (6, 5, 11))
    for side in (-1.0, 1.0):
        yield Tissue.DEEP_GREY, _ellipsoid(at, (side * 11, 16, 10), (8, 14, 9))
        yield Tissue.DEEP_GREY, _ellipsoid(at, (side * 25, -2, 6), (7, 19, 11))
        yield Tissue.DEEP_GREY, _ellipsoid(at, (side * 14, -18, 13), (5, 10, 9))


def _cerebrum(at: Floats) -> Floats:
    floor = -(at[2] + 22) + 0.08 * at[1]
    surface: Floats = np.maximum(_ellipsoid(at, (0, 10, 10), (64, 82.5, 65.5)), floor)
    for side in (-1.0, 1.0):
        surface = np.minimum(surface, _ellipsoid(at, (side * 40, -2, -22), (21, 38, 19)))
    return surface


def _cortex(at: Floats, surface: Floats, head: Head) -> Iterator[tuple[Tissue, Floats]]:
    """White matter, then the ribbon of grey around it; what is left of the cerebrum is fluid in sulci."""
    depth = -surface
    callosum = _ellipsoid(np.stack((np.zeros_like(depth), at[1], at[2])), (0, 8, 6), (1, 42, 24))
    midline = np.maximum(np.abs(at[0]), -callosum)
    sulci = np.maximum(_folds(at, head), 0.55 * (depth - 18))
    to_fluid = np.minimum(np.minimum(depth, midline), sulci)
    yield Tissue.WHITE, np.maximum(surface, 4.0 - to_fluid)
    yield Tissue.GREY, np.maximum(surface, 0.9 - to_fluid)


def _folds(at: Floats, head: Head) -> Floats:
    """About the distance in mm to the nearest sulcus: the zero level of a warped gyroid."""
    a, b, c = head.gyri
    x, y, z = at
    wave = 2 * math.pi / 31
    u = wave * (x + 5 * np.sin(y / 15 + a))
    v = wave * (y + 5 * np.sin(z / 13 + b))
    w = wave * (z + 5 * np.sin(x / 14 + c))
    gyroid = np.sin(u) * np.cos(v) + np.sin(v) * np.cos(w) + np.sin(w) * np.cos(u)
    distance: Floats = np.abs(gyroid) / (1.25 * wave)
    return distance


def _cerebellar_leaves(at: Floats, surface: Floats) -> Iterator[tuple[Tissue, Floats]]:
    x, y, z = at
    leaves = 1.6 * np.abs(np.sin(0.45 * (z + 0.25 * y) + 0.03 * np.abs(x))) - 0.35
    yield Tissue.WHITE, np.maximum(surface + 9, 1 - 4 * leaves)
    yield Tissue.GREY, np.maximum(surface, np.minimum(-leaves, -(surface + 9)))


def _bones(at: Floats, brain: Floats) -> Iterator[tuple[Tissue, Floats]]:
    vault = np.maximum(np.maximum(_ellipsoid(at, (0, 10, 9), (71.5, 91, 74)), brain - 9), -(at[2] + 56))
    yield Tissue.MARROW, np.maximum(vault + 1.7, -(vault + 3.2))
    yield Tissue.BONE, vault
    jaw = _ellipsoid(at, (0, -36, -55), (52, 56, 66))
    yield Tissue.BONE, np.maximum(np.abs(jaw + 9) - 3, np.maximum(at[2] + 84, at[1] + 12))
    spine = _ellipsoid(at, (0, 34, -115), (17, 16, 58))
    yield Tissue.MARROW, spine + 2
    yield Tissue.BONE, spine


def _outline(at: Floats) -> Floats:
    """The skin: vault, face, neck, nose and its bridge, ears."""
    skin = _ellipsoid(at, (0, 10, 8), (76.5, 97, 80))
    for centre, radii in (
        ((0, -36, -55), (55, 59, 69)),
        ((0, 30, -125), (53, 53, 95)),
        ((0, -95, -50), (11, 17, 13)),
        ((0, -89, -38), (8, 13, 22)),
        ((-79, 16, -26), (5, 17, 27)),
        ((79, 16, -26), (5, 17, 27)),
    ):
        skin = _joined(skin, _ellipsoid(at, centre, radii), 7.0)
    return skin


# -------------------------------------------------------------------------------------------------- shapes


def _ellipsoid(at: Floats, centre: Vector, radii: Vector) -> Floats:
    """About the signed distance to an ellipsoid: exact on its surface, to first order near it."""
    level, steepness = np.zeros(at.shape[1]), np.zeros(at.shape[1])
    for coordinate, middle, radius in zip(at, centre, radii, strict=True):
        square = ((coordinate - middle) / radius) ** 2
        level += square
        steepness += square / radius**2
    np.sqrt(level, out=level)
    distance: Floats = level * (level - 1) / np.sqrt(np.maximum(steepness, 1e-12))
    return distance


def _joined(one: Floats, other: Floats, radius: float) -> Floats:
    """The union of two shapes, with a fillet of that radius."""
    blend = np.maximum(radius - np.abs(one - other), 0) / radius
    union: Floats = np.minimum(one, other) - blend * blend * (radius / 4)
    return union


def _ramp(distance: Floats, width_mm: float) -> Floats:
    """1 inside, 0 outside, a straight line between."""
    share: Floats = np.clip(0.5 - distance / width_mm, 0, 1)
    return share


def _bump(at: Floats, centre: Vector, width_mm: float) -> Floats:
    away = at - np.array(centre, dtype=np.float64)[:, np.newaxis]
    bump: Floats = np.exp((away * away).sum(axis=0) / (-2 * width_mm**2))
    return bump


def _coil(points: Floats) -> Floats:
    """Receive sensitivity: a slope, so that nowhere in the head two neighbours are alike."""
    sensitivity: Floats = 1 + points @ np.array([4e-4, 7e-4, 5e-4])
    return sensitivity


def _head_frame(points: Floats, head: Head) -> Floats:
    """Positions (n, 3) in the patient frame -> (3, n) in the frame of the template."""
    turned = _pose(head).T @ (points - np.asarray(head.shift_lps_mm)).T
    inside: Floats = turned / np.asarray(head.scale)[:, np.newaxis]
    return inside


def _pose(head: Head) -> Floats:
    """The rotation from the frame of the template to the patient frame."""
    return rotation(*head.turn_deg)


def _by_block(function: Callable[[Floats], Floats], points_lps: Floats) -> Floats:
    """``function`` of (n, 3) gives (..., n); here of (a, b, c, 3) it gives (..., a, b, c)."""
    flat = np.asarray(points_lps, dtype=np.float64).reshape(-1, 3)
    parts = [function(flat[start : start + BLOCK]) for start in range(0, len(flat), BLOCK)]
    values = np.concatenate(parts, axis=-1)
    return values.reshape(*values.shape[:-1], *np.shape(points_lps)[:-1])
