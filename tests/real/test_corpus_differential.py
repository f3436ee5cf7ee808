"""The whole corpus by ``pacs2bids convert`` against dcm2niix, run live on the same files.

All volumes agree in what the issue of trust names (voxels in world space, TR, diffusion weighting, phase
encoding, slice timing, none missing, none too many); the exceptions stand in ``explained.EXPLAINED``.
"""

from __future__ import annotations

import pytest
from agreement import SETS, Conversions, assert_explained
from explained import EXPLAINED


@pytest.mark.parametrize("name", SETS)
def test_volumes_are_those_of_dcm2niix(conversion: Conversions, name: str) -> None:
    assert_explained(conversion(name))


def test_exceptions_are_of_the_corpus() -> None:
    assert {key[0] for key in EXPLAINED} <= set(SETS)
