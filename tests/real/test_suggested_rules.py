"""Rules that are suggested for real sessions: valid names, no errors, and right where the answer is known."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from pacs2bids.bids import BidsName
from pacs2bids.dialects.linting import lint
from pacs2bids.dialects.rules import ask
from pacs2bids.dialects.rules.starter import starter
from pacs2bids.plan import plan_session
from pacs2bids.store import index_folder

# what series are, by those who made them (their names, and the readme of each set): set, description -> kind
KNOWN: dict[str, dict[str, str]] = {
    "asl": {
        "T1_mprage_ns_sag_p2_iso 1.0mm_192": "anat/T1w",
        "pcasl_2d_m0": "perf/m0scan",
        "pasl_3d": "perf/asl",
        "pasl_3d_m0": "perf/m0scan",
    },
    "decubitus": {"ep2d_diff_mddw_20_p2": "dwi/dwi", "t1_fl2d_sag": "anat/T1w"},
    "fmap": {
        "gre_field_magph": "fmap/magnitude1 fmap/magnitude2 fmap/phasediff",
        "gre_field_ph": "fmap/phasediff",
        "B0Map (GRE)": "fmap/fieldmap fmap/magnitude",
        "B0 NS": "fmap/fieldmap fmap/magnitude",
    },
    "ge": {
        "Ax DWI TENSOR R2": "dwi/dwi",
        "Ax DWI TENSOR R2MB2": "dwi/dwi",
        "3D Ax T1 MP-RAGE_R22": "anat/T1w",
        "fMRI Multiphase Des": "func/bold",
    },
    "nih": {"Axial EPI-FMRI (Interleaved I to S)": "func/bold"},
    "philips": {"dti_ax": "dwi/dwi"},
    "polar": {"FM_cv12_2_3mm": "fmap/epi"},
    "table": {"3-Plane Localizer": ""},
    "toshiba": {"DTI AX 30d": "dwi/dwi"},
    "uih": {"dti_tra_dir16_PA_SaveBySlc": "dwi/dwi"},
    "xa30": {
        "anat-T1w_acq-tfl": "anat/T1w",
        "func-bold_task-fa_run-1": "func/bold",
        "gre_field_mapping": "fmap/magnitude1 fmap/magnitude2 fmap/phasediff",
        "DWI_dir80_PA": "dwi/dwi",
        "DWI_dir80_PA_ADC": "",
        "DWI_dir80_PA_FA": "",
        "asl_2d_tra": "perf/asl",
        "relCBF": "",
    },
    # names must be valid, whatever they are
    "canon_61": {},
    "ct": {},
    "philips_asl": {},
    "sag": {},
    "ts": {},
}


@pytest.mark.parametrize("name", KNOWN)
def test_suggested(corpus: Callable[[str], Path], name: str, tmp_path: Path) -> None:
    found: dict[str, set[str]] = {}
    for index in index_folder(corpus(name)).indices:
        path = tmp_path / "suggested.yaml"
        path.write_text(starter([index], schema=Path("rules.schema.json")))
        assert lint(path) == []
        answers = ask(path, [index], subject="01", session="a")
        plan = plan_session(subject="01", session="a", indexes=[index], answers=answers)
        for row in plan.rows:
            kinds = found.setdefault(row.series_description, set())
            if row.bids_name:
                parsed = BidsName.parse(row.bids_name)
                kinds.add(f"{parsed.datatype}/{parsed.suffix}")
    for description, wanted in KNOWN[name].items():
        assert found[description] == set(wanted.split()), description
