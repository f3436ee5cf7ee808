"""Volumes of one series that no fact but their field of view tells apart."""

from __future__ import annotations

from msgspec.structs import replace

from pacs2bids.model import Stack
from planning import IDENTITY, answer, index, names, planned, said, stack


def elsewhere(one: Stack, z_mm: float, **changes: object) -> Stack:
    rows = (*IDENTITY[:2], (0, 0, 1.0, z_mm), IDENTITY[3])
    return replace(one, affine_ras=rows, **changes)  # type: ignore[arg-type]


def test_fields_of_view_are_chunks() -> None:
    """Planes of a scout, stacks along a spine: in their order, with what else tells them apart."""
    spine = [stack(1), elsewhere(stack(1, 2), 120.0), elsewhere(stack(1, 3), 240.0, shape=(64, 64, 12, 1))]
    plan = planned(index(spine), answer(1, "anat/run-1_T2w"))
    assert names(plan) == {
        "001-1": "run-1_chunk-1_T2w",
        "001-2": "run-1_chunk-2_T2w",
        "001-3": "run-1_chunk-3_T2w",
    }
    assert plan.warnings == (
        "series 001 (protocol 1): several fields of view under one name: sub-01_ses-a_run-1_chunk-1_T2w, "
        "sub-01_ses-a_run-1_chunk-2_T2w, sub-01_ses-a_run-1_chunk-3_T2w",
    )


def test_one_that_is_chosen_is_no_chunk() -> None:
    spine = [stack(1), elsewhere(stack(1, 2), 120.0)]
    assert names(planned(index(spine), answer(1, "anat/T2w", chosen=2)))["001-2"] == "T2w"


def test_what_stays_a_problem() -> None:
    same = [stack(1), stack(1, 2)]
    assert "one name for 2 stacks" in said(index(same), answer(1, "anat/T2w"))
    some = [stack(1), elsewhere(stack(1, 2), 120.0), stack(1, 3)]
    assert "one name for 3 stacks" in said(index(some), answer(1, "anat/T2w"))
    kinds = [stack(1, image_type=("ORIGINAL",)), elsewhere(stack(1, 2, image_type=("DERIVED",)), 120.0)]
    assert "one name for 2 stacks" in said(index(kinds), answer(1, "anat/T2w"))
    spine = [stack(1), elsewhere(stack(1, 2), 120.0)]
    assert "one name for 2 stacks" in said(index(spine), answer(1, "perf/asl"))  # BIDS knows no chunks there
    assert "one name for 2 stacks" in said(index(spine), answer(1, "anat/chunk-1_T2w"))


def test_two_series_of_several_fields_of_view_are_told() -> None:
    both = [[stack(one), elsewhere(stack(one, 2), 120.0)] for one in (1, 2)]
    error = said(index(*both), answer(1, "anat/T2w"), answer(2, "anat/T2w"))
    assert "sub-01_ses-a_chunk-1_T2w is the name of 2 volumes" in error
