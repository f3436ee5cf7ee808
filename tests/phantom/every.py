"""A session with every kind of MR image that BIDS has a name for, tiny: what a dataset must be able to hold.

Descriptions say what each series is: folder and name in the dataset, without the entities that follow from
the header (``echo-``). Nothing else of the phantom depends on them.
"""

from __future__ import annotations

import datetime
from collections.abc import Iterator, Sequence
from dataclasses import replace

from pacs2bids.model import Vector
from pacs2bids.phantom.head import head_of
from pacs2bids.phantom.protocol import (
    Diffusion,
    Echoplanar,
    Form,
    Grid,
    PhantomSeries,
    PhantomStack,
    PhantomStudy,
    timed,
    uid_of,
)

MATRIX, SLICES, VOXEL_MM = 8, 4, 24.0
READOUT_S, SPACING_S = 0.035, 0.005  # TotalReadoutTime, EffectiveEchoSpacing: READOUT_S = SPACING_S * 7

GRID = Grid(
    first_lps=(-84.0, -84.0, -36.0),
    row_cosines_lps=(1.0, 0.0, 0.0),
    column_cosines_lps=(0.0, 1.0, 0.0),
    step_lps=(0.0, 0.0, VOXEL_MM),
    row_spacing_mm=VOXEL_MM,
    column_spacing_mm=VOXEL_MM,
    slice_thickness_mm=20.0,
    rows=MATRIX,
    columns=MATRIX,
    slices=SLICES,
)
TOWARDS_BACK: Vector = GRID.column_cosines_lps
TOWARDS_FRONT: Vector = (0.0, -1.0, 0.0)
PLANAR = Echoplanar(
    effective_echo_spacing_s=SPACING_S,
    total_readout_time_s=READOUT_S,
    bandwidth_per_pixel_phase_encode_hz=1 / (SPACING_S * MATRIX),
    reduction_factor=2,
    multiband_factor=1,
)
SLICE_TIMES_S = (0.5, 0.0, 0.75, 0.25)
COMPUTED = ("DERIVED", "PRIMARY", "M", "ND")
MAPS = (
    *("T1map", "T2map", "T2starmap", "R1map", "R2map", "R2starmap", "PDmap", "MTRmap", "MTsat", "UNIT1"),
    *("T1rho", "MWFmap", "MTVmap", "Chimap", "S0map", "M0map"),
)
DIFFUSION_MAPS = {
    "ADC": "ADC",
    "FA": "FA",
    "S0map": "TENSOR_B0",
    "colFA": "COLFA",
    "expADC": "EADC",
    "trace": "TRACEW",
}


def every_datatype() -> PhantomStudy:
    """One study of one subject without sessions."""
    numbered = [
        replace(series, number=number, uid=uid_of("every", number))
        for number, series in enumerate(_series(), start=1)
    ]
    return PhantomStudy(
        uid=uid_of("every datatype"),
        subject=1,
        session=1,
        frame_of_reference_uid=uid_of("every datatype", "frame of reference"),
        started=datetime.datetime(2026, 1, 12, 9, 0, 0),
        birth_date=datetime.date(1992, 3, 14),
        head=head_of(1, 1),
        series=timed(numbered),
    )


def _series() -> Iterator[PhantomSeries]:
    yield from _anatomical()
    yield from _quantitative()
    yield from _functional()
    yield from _diffusion()
    yield from _b0_maps()
    yield from _b1_maps()
    yield from _perfusion()


def _one(
    description: str,
    sequence: str,
    *,
    echo_times_s: Sequence[float] = (0.004,),
    volumes: int = 1,
    repetition_time_s: float = 2.0,
    flip_angle_deg: float = 20,
    image_type: tuple[str, ...] = ("ORIGINAL", "PRIMARY", "M", "ND"),
    **more: object,
) -> PhantomSeries:
    """A series of the small grid; a stack an echo."""
    stacks = tuple(
        PhantomStack(grid=GRID, volumes=volumes, echo_number=number, echo_time_s=echo_time)
        for number, echo_time in enumerate(echo_times_s, start=1)
    )
    fields: dict[str, object] = {
        "number": 0,
        "description": description,
        "contrast": "EPI" if volumes > 1 else "T1w",
        "sequence": sequence,
        "form": Form.CLASSIC,
        "stacks": stacks,
        "duration_s": 5.0 * volumes,
        "repetition_time_s": repetition_time_s,
        "flip_angle_deg": flip_angle_deg,
        "phase_encoding_lps": TOWARDS_BACK,
        "slice_times_s": () if sequence in ("T1w", "FLASH", "GRASE") else SLICE_TIMES_S,
        "image_type": image_type,
        "echo_times_s": tuple(echo_times_s),
    }
    return PhantomSeries(**fields | more)  # type: ignore[arg-type]


def _anatomical() -> Iterator[PhantomSeries]:
    yield _one("anat_T1w", "T1w", inversion_time_s=0.9)
    yield _one("anat_T2w", "TSE", echo_times_s=(0.09,), flip_angle_deg=150)
    yield _one("anat_PDw", "TSE", echo_times_s=(0.011,), flip_angle_deg=150)
    yield _one("anat_FLAIR", "TIR", echo_times_s=(0.09,), inversion_time_s=2.5, repetition_time_s=9.0)
    yield _one("anat_T2starw", "GRE", echo_times_s=(0.02,))
    yield _one("anat_inplaneT1", "GRE")
    yield _one("anat_inplaneT2", "TSE", echo_times_s=(0.09,))
    yield _one("anat_angio", "FLASH")
    for name in MAPS:
        yield _one(f"anat_{name}", "FLASH", image_type=COMPUTED)


def _quantitative() -> Iterator[PhantomSeries]:
    yield _one("anat_MEGRE", "GRE", echo_times_s=(0.005, 0.01, 0.015))
    yield _one("anat_MESE", "TSE", echo_times_s=(0.012, 0.024, 0.036))
    for number, angle in enumerate((4.0, 18.0), start=1):
        yield _one(f"anat_flip-{number}_VFA", "FLASH", flip_angle_deg=angle, repetition_time_s=0.015)
    for number, inversion in enumerate((0.1, 0.4, 1.6), start=1):
        yield _one(f"anat_inv-{number}_IRT1", "TIR", inversion_time_s=inversion, repetition_time_s=6.0)
    for number, inversion in enumerate((0.7, 2.5), start=1):
        yield _one(
            f"anat_inv-{number}_MP2RAGE",
            "T1w",
            inversion_time_s=inversion,
            repetition_time_s=5.0,
            flip_angle_deg=4,
            shots=176,
        )
    for suffix in ("MPM", "MTS"):
        for flip, transfer, angle in ((1, "off", 6.0), (1, "on", 6.0), (2, "off", 21.0)):
            yield _one(
                f"anat_flip-{flip}_mt-{transfer}_{suffix}",
                "FLASH",
                flip_angle_deg=angle,
                repetition_time_s=0.024,
                has_transfer=transfer == "on",
            )
    for transfer in ("off", "on"):
        yield _one(f"anat_mt-{transfer}_MTR", "FLASH", repetition_time_s=0.03, has_transfer=transfer == "on")


def _planar(description: str, sequence: str = "EPI", **more: object) -> PhantomSeries:
    """Echo-planar, one mosaic a volume."""
    mosaic: dict[str, object] = {
        "form": Form.MOSAIC,
        "echoplanar": PLANAR,
        "echo_times_s": (0.033,),
        "repetition_time_s": 1.0,
        "contrast": "EPI",
        "image_type": ("ORIGINAL", "PRIMARY", "M", "ND", "MOSAIC"),
    }
    return _one(description, sequence, **mosaic | more)  # type: ignore[arg-type]


def _functional() -> Iterator[PhantomSeries]:
    yield _planar("func_task-rest_sbref")
    yield _planar("func_task-rest_bold", volumes=3)
    yield _planar(
        "func_task-nback_bold",
        volumes=2,
        form=Form.CLASSIC,
        echo_times_s=(0.012, 0.03, 0.048),
        image_type=("ORIGINAL", "PRIMARY", "M", "ND"),
    )
    for part, word in (("mag", "M"), ("phase", "P")):
        kinds = ("ORIGINAL", "PRIMARY", word, "ND", "MOSAIC")
        yield _planar(f"func_task-motor_part-{part}_bold", volumes=2, image_type=kinds)
    yield _planar("func_task-motor_cbv", volumes=2)
    yield _planar("func_task-motor_noRF", volumes=2, flip_angle_deg=0.1)


def _diffusion() -> Iterator[PhantomSeries]:
    axes: tuple[Vector, ...] = ((1.0, 0.0, 0.0), (0.0, 1.0, 0.0), (0.0, 0.0, 1.0))
    weighted = [Diffusion(b_value_s_per_mm2=1000, b_vector_lps=axis) for axis in axes]
    diffusion = (Diffusion(b_value_s_per_mm2=0, b_vector_lps=(0.0, 0.0, 0.0)), *weighted)
    kinds = ("ORIGINAL", "PRIMARY", "DIFFUSION", "NONE", "ND", "MOSAIC")
    yield _planar("dwi_dir-AP_sbref", "DWI")
    yield _planar("dwi_dir-AP_dwi", "DWI", contrast="DWI", volumes=4, diffusion=diffusion, image_type=kinds)
    for suffix, word in DIFFUSION_MAPS.items():
        kinds = ("DERIVED", "PRIMARY", "DIFFUSION", word, "ND", "MOSAIC")
        yield _planar(f"dwi_dir-AP_{suffix}", "DWI", image_type=kinds)


def _b0_maps() -> Iterator[PhantomSeries]:
    phase = ("ORIGINAL", "PRIMARY", "P", "ND")
    echoes = (0.00492, 0.00738)
    yield _one("fmap_acq-delta_magnitude", "GRE", echo_times_s=echoes)
    yield _one("fmap_acq-delta_phasediff", "GRE", echo_times_s=echoes[1:], image_type=phase)
    yield _one("fmap_acq-two_magnitude", "GRE", echo_times_s=echoes)
    yield _one("fmap_acq-two_phase", "GRE", echo_times_s=echoes, image_type=phase)
    yield _one("fmap_acq-field_magnitude", "GRE")
    yield _one("fmap_acq-field_fieldmap", "GRE", image_type=phase)
    for suffix in ("epi", "m0scan"):
        yield _planar(f"fmap_dir-AP_{suffix}")
        yield _planar(f"fmap_dir-PA_{suffix}", phase_encoding_lps=TOWARDS_FRONT)


def _b1_maps() -> Iterator[PhantomSeries]:
    for flip, angle in ((1, 60.0), (2, 120.0)):
        yield _one(f"fmap_flip-{flip}_TB1DAM", "GRE", flip_angle_deg=angle)
        yield _planar(
            f"fmap_flip-{flip}_TB1EPI",
            form=Form.CLASSIC,
            echo_times_s=(0.02, 0.04),
            flip_angle_deg=angle,
            image_type=("ORIGINAL", "PRIMARY", "M", "ND"),
        )
    for number, repetition in ((1, 0.02), (2, 0.1)):
        yield _one(f"fmap_acq-tr{number}_TB1AFI", "FLASH", repetition_time_s=repetition, flip_angle_deg=60)
    for flip, inversion in ((1, 0.1), (2, 1.0)):
        yield _one(f"fmap_flip-{flip}_inv-{flip}_TB1SRGE", "T1w", inversion_time_s=inversion, shots=96)
    for name in ("acq-anat_TB1TFL", "acq-famp_TB1TFL", "acq-anat_TB1RFM", "acq-famp_TB1RFM"):
        yield _one(f"fmap_{name}", "GRE")
    for coil in ("body", "head"):
        yield _one(f"fmap_acq-{coil}_RB1COR", "FLASH")
    for name in ("TB1map", "RB1map"):
        yield _one(f"fmap_{name}", "FLASH", image_type=COMPUTED)


def _perfusion() -> Iterator[PhantomSeries]:
    labelled: dict[str, object] = {
        "form": Form.ENHANCED,
        "inversion_time_s": 1.8,
        "repetition_time_s": 4.0,
        "echoplanar": PLANAR,
        "echo_times_s": (0.0136,),
    }
    labels = ("CONTROL", "LABEL", "CONTROL", "LABEL")
    yield _one("perf_asl", "GRASE", volumes=4, labels=labels, **labelled)  # type: ignore[arg-type]
    yield _one("perf_m0scan", "GRASE", **labelled | {"inversion_time_s": None})  # type: ignore[arg-type]
    yield _one("perf_noRF", "GRASE", **labelled | {"inversion_time_s": None})  # type: ignore[arg-type]
