"""Sessions made of facts alone, for tests of what names them: no DICOM file behind, no pixels."""

from __future__ import annotations

from msgspec.structs import replace

from pacs2bids.model import Json, Placement, SeriesInfo, Stack, StackFacts, StudyIndex

STUDY = "1.2.3"
AXIAL = ((-2.0, 0.0, 0.0, 90.0), (0.0, 2.0, 0.0, -90.0), (0.0, 0.0, 2.0, -60.0), (0.0, 0.0, 0.0, 1.0))


def volume(
    key: str = "001",
    ordinal: int = 1,
    *,
    shape: tuple[int, int, int, int] = (64, 64, 30, 1),
    sidecar: dict[str, Json] | None = None,
    placed: bool = True,
    **facts: object,
) -> Stack:
    """A stack with these facts, axial, stored from right to left and from posterior to anterior."""
    number = int(key[:3])
    known: dict[str, object] = {"acquired": f"2026-01-02T10:{number:02d}:00", "component": "magnitude"}
    return Stack(
        stack_id=f"{key}-{ordinal}",
        series_instance_uid=f"{STUDY}.{number}",
        sop_instance_uids=(f"{STUDY}.{number}.{ordinal}",),
        shape=shape,
        affine_ras=AXIAL,
        repetition_time_s=None,
        images=(),
        placement=Placement(image=(), tile_row=(), tile_column=(), slice=(), volume=()),
        rescale=((1.0, 0.0),),
        gradients=None,
        facts=StackFacts(**(known | facts)),  # type: ignore[arg-type]
        sidecar=sidecar or {},
        placed=placed,
    )


def series(number: int, name: str, *stacks: Stack, **fields: object) -> tuple[SeriesInfo, tuple[Stack, ...]]:
    """A series of this protocol and description; ``stacks``: made by ``volume``, for any key."""
    key = f"{number:03d}"
    own = tuple(
        volume_of(stack, key, ordinal) for ordinal, stack in enumerate(stacks or (volume(),), start=1)
    )
    known: dict[str, object] = {
        "series_key": key,
        "study_instance_uid": STUDY,
        "series_instance_uid": f"{STUDY}.{number}",
        "series_number": number,
        "modality": "MR",
        "acquired": f"2026-01-02T10:{number:02d}:00",
        "instances": 10,
        "stack_ids": tuple(stack.stack_id for stack in own),
        "example_path": "1.dcm",
        "dims": (64, 64, 30, 1),
        "series_files": 10,
        "series_description": name,
        "protocol_name": name,
        "image_type": ("ORIGINAL", "PRIMARY", "M", "ND"),
    }
    return SeriesInfo(**(known | fields)), own  # type: ignore[arg-type]


def volume_of(stack: Stack, key: str, ordinal: int) -> Stack:
    """The same stack in the series of this key."""
    own = volume(key, ordinal, shape=stack.shape, sidecar=stack.sidecar, placed=stack.placed)
    return replace(own, facts=replace(stack.facts, acquired=own.facts.acquired))


def session(*all_series: tuple[SeriesInfo, tuple[Stack, ...]]) -> StudyIndex:
    """The index of a study that holds these."""
    return StudyIndex(
        engine_version="0",
        study_instance_uid=STUDY,
        instances=1,
        series=tuple(info for info, _ in all_series),
        stacks=tuple(stack for _, stacks in all_series for stack in stacks),
        leftovers=(),
    )
