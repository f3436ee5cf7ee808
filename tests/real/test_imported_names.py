"""Imported rules on real series: the names that dcm2bids gives the same files, and those of a bidsmap."""

from __future__ import annotations

import importlib
import json
import subprocess
import sys
from collections import defaultdict
from collections.abc import Callable
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

from pacs2bids.__main__ import main
from pacs2bids.dialects import ask
from pacs2bids.model import PlanRow, StudyIndex
from pacs2bids.plan import plan_session
from synthetic import indexed

Corpus = Callable[[str], Path]

# of a Siemens XA30: T1w, BOLD, a GRE field map, diffusion with its maps, ASL
SIEMENS: dict[str, Any] = {
    "extractors": {"SeriesDescription": ["task-(?P<task>[a-zA-Z0-9]+)"]},
    "descriptions": [
        {
            "datatype": "anat",
            "suffix": "T1w",
            "criteria": {
                "SeriesDescription": "anat-T1w*",
                "ImageType": ["ORIG*", "PRIMARY", "M", "NONE", "MAGNITUDE"],
            },
        },
        {
            "datatype": "func",
            "suffix": "bold",
            "custom_entities": ["task", "acq-epi"],
            "criteria": {"ProtocolName": "func-[ab]*", "RepetitionTime": {"btwe": [0.1, "10"]}},
        },
        {
            "datatype": "fmap",
            "suffix": "magnitude1",
            "criteria": {"SeriesDescription": "gre_field*", "EchoNumber": 1},
        },
        {
            "datatype": "fmap",
            "suffix": "magnitude2",
            "criteria": {
                "EchoTime": {"gt": 0.011},
                "ImageType": {"any": [["*", "*", "M", "*", "MAGNITUDE"], ["x"]]},
                "SeriesDescription": "gre_field*",
            },
        },
        {
            "datatype": "fmap",
            "suffix": "phasediff",
            "criteria": {"ImageType": ["*", "*", "P", "NONE", "PHASE"], "SidecarFilename": "009*"},
        },
        {
            "datatype": "dwi",
            "suffix": "dwi",
            "custom_entities": "dir-PA",
            "criteria": {"SeriesDescription": {"any": ["DWI_dir80_PA", "dti"]}, "InversionTime": ""},
        },
        {"datatype": "dwi", "suffix": "ADC", "criteria": {"SeriesDescription": "*_ADC"}},
        # two of these fit the computed perfusion: dcm2bids converts nothing then
        {
            "datatype": "perf",
            "suffix": "asl",
            "criteria": {"ProtocolName": "asl*", "MRAcquisitionType": "2D"},
        },
        {
            "datatype": "perf",
            "suffix": "asl",
            "custom_entities": "acq-cbf",
            "criteria": {"SeriesDescription": "relCBF"},
        },
    ],
}
# of a GE scanner: two runs of one name
GE: dict[str, Any] = {
    "search_method": "re",
    "descriptions": [
        {
            "datatype": "func",
            "suffix": "bold",
            "custom_entities": "task-rest",
            "criteria": {"SeriesDescription": r"Axial EPI", "SliceThickness": {"lt": 10}},
        },
        {"datatype": "anat", "suffix": "T1w", "criteria": {"SeriesDescription": "(?i)t1"}},
    ],
}


# as BIDScoin's bidsmapper writes one of the same session: all attributes of a series' first file
BIDSMAP = """
DICOM:
  anat:
  - attributes:
      Modality: MR
      ProtocolName: anat-T1w_acq-tfl
      SeriesDescription: anat-T1w_acq-tfl
      ImageType: "['ORIGINAL', 'PRIMARY', 'M', 'NONE']"
      ScanningSequence: "['GR', 'IR']"
      SequenceVariant: "['SK', 'SP', 'MP']"
      EchoTime: '2.41'
      EchoNumbers:
    bids: {acq: tfl, run: <<>>, part: ['', mag, phase, 0], suffix: T1w}
  func:
  - attributes: {ProtocolName: func-bold_.*, RepetitionTime: '1000'}
    bids: {task: '<ProtocolName:task-([a-z]+)>', dir: <PhaseEncodingDirection>, run: <<1>>, suffix: bold}
  dwi:
  - attributes: {SeriesDescription: DWI.*, ImageType: .*'DIFFUSION'.*}
    bids: {acq: <SeriesDescription>, suffix: dwi}
  fmap:
  - attributes: {ProtocolName: gre_field_mapping, ImageType: .*'P'.*}
    bids: {suffix: phasediff}
  - attributes: {ProtocolName: gre_field_mapping}
    bids: {suffix: magnitude}
  exclude:
  - attributes: {ImageType: .*'DERIVED'.*}
    bids: {suffix: derived}
"""
BIDSMAP_NAMES = {
    5: ["anat/acq-tfl_T1w"],
    7: ["func/task-fa_dir-AP_run-1_bold"],
    8: ["fmap/magnitude1", "fmap/magnitude2"],
    9: ["fmap/phasediff"],
    10: ["dwi/acq-DWIdir80PA_dwi"],
}


def their_names(module: ModuleType, folder: Path, config: dict[str, Any], place: Path) -> dict[Any, str]:
    """Names by number of series and echo time, in s."""
    place.mkdir()
    words = ["-b", "o", "-ba", "n", "-f", "%3s_%f_%p_%t", "-o", str(place), str(folder)]
    program = Path(sys.executable).with_name("dcm2niix")
    subprocess.run([program, *words], check=True, stdout=subprocess.DEVNULL)
    options = {key: value for key, value in config.items() if key != "descriptions"}
    sidecars = sorted(module.Sidecar(str(path)) for path in place.glob("*.json"))
    pairing = module.SidecarPairing(sidecars, config["descriptions"], **options)
    pairing.build_graph()
    pairing.build_acquisitions(importlib.import_module("dcm2bids.participant").Participant("01", "a"))
    pairing.find_runs()
    return {
        (
            one.src_sidecar.data["SeriesNumber"],
            round(one.src_sidecar.data["EchoTime"], 5),
        ): one.dstRoot.replace(
            "_run-0",
            "_run-",  # two digits, which BIDS leaves open
        )
        for one in pairing.acquisitions
    }


def planned(text: str, index: StudyIndex, place: Path) -> list[PlanRow]:
    """The rows with a name that the imported rules make."""
    (place / "theirs.txt").write_text(text)
    rules = place / "mine.yaml"
    assert main(["import-heuristic", str(place / "theirs.txt"), "--out", str(rules)]) == 0
    assert main(["lint", str(rules)]) == 0
    answers = ask(rules, [index], subject="01", session="a")
    plan = plan_session(subject="01", session="a", indexes=[index], answers=answers)
    return [row for row in plan.rows if row.bids_name]


# config, and how many files dcm2bids names
SETS = {"xa30": (SIEMENS, 8), "nih/20180918GE": (GE, 2)}


@pytest.mark.parametrize("name", SETS)
def test_the_names_of_dcm2bids(
    corpus: Corpus, dcm2bids_sidecar: ModuleType, tmp_path: Path, name: str
) -> None:
    config, count = SETS[name]
    name, _, inner = name.partition("/")
    folder = corpus(name) / inner
    expected = their_names(dcm2bids_sidecar, folder, config, tmp_path / "theirs")
    assert len(expected) == count
    index = indexed(folder)
    echoes = {stack.stack_id: round(float(str(stack.sidecar["EchoTime"])), 5) for stack in index.stacks}
    rows = planned(json.dumps(config), index, tmp_path)
    assert {(row.series_number, echoes[row.stack_id]): row.bids_name for row in rows} == expected


def test_the_names_of_a_bidsmap(corpus: Corpus, tmp_path: Path) -> None:
    """By BIDScoin's documentation, "The bidsmap explained"."""
    names = defaultdict(list)
    for row in planned(BIDSMAP, indexed(corpus("xa30")), tmp_path):
        names[row.series_number].append(
            row.bids_name.replace("sub-01/ses-a/", "").replace("sub-01_ses-a_", "")
        )
    assert names == BIDSMAP_NAMES
