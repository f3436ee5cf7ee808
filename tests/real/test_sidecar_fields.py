"""Sidecars of real scanners' headers against dcm2niix's, run live on the same files: field by field."""

from __future__ import annotations

import json
import subprocess
import sys
from collections import defaultdict
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from pacs2bids.frames import frames_of
from pacs2bids.header import Header, frame_headers, parse
from pacs2bids.model import HeaderError
from pacs2bids.sidecar import FIELDS, sidecar

# folders that are converted apart: the same scan lies twice in philips_enh, classic and enhanced
FOLDERS = {"nih": ".", "xa30": ".", "philips_enh": "cl", "philips_enh enhanced": "enh"}

Check = Callable[[Any, Any], bool]


def words(value: Any) -> set[str]:
    """Words of a text or of a list of texts, in lower case."""
    texts = value if isinstance(value, list) else [value]
    return {word for text in texts for word in text.lower().replace("_", " ").split()}


COMPONENTS = {"magnitude", "phase", "real", "imaginary", "mosaic"}

# Where both have a field and it differs: what must hold all the same, and why it differs.
DIFFERS: dict[str, tuple[Check, str]] = {
    "ConversionSoftware": (lambda ours, _: ours == "pacs2bids", "another program"),
    "ConversionSoftwareVersion": (lambda ours, _: ours != "", "another program"),
    "Manufacturer": (
        lambda ours, theirs: words(theirs) <= words(ours),
        "as stored (SIEMENS, Siemens Healthineers, GE MEDICAL SYSTEMS); dcm2niix writes one name a vendor",
    ),
    "ImageType": (
        lambda ours, theirs: words(ours) - COMPONENTS == words(theirs) - COMPONENTS,
        "as stored; dcm2niix splits values at underscores and appends the component",
    ),
    "PulseSequenceType": (
        lambda ours, theirs: (
            words(ours) <= words(theirs) or words(theirs) <= words(ours) or theirs == "MPRAGE"
        ),
        "from standard elements alone; dcm2niix knows sequences by their vendors' names, and takes GRASE "
        "for a gradient echo",
    ),
    "EchoTrainLength": (
        lambda ours, theirs: (ours, theirs) == (112, 7),
        "as stored; dcm2niix gives the 7 gradient echoes of each of 16 spin echoes (Philips GRASE)",
    ),
}

# What dcm2niix writes and ours must not: persons, dates, identifiers, free text.
# fmt: off
NEVER = {
    "AcquisitionDateTime", "ImageComments", "PatientAge", "PatientBirthDate", "PatientID", "PatientName",
    "PatientSex", "PatientSize", "PatientWeight", "ProcedureStepDescription", "SeriesInstanceUID",
    "StudyDescription", "StudyID", "StudyInstanceUID", "WipMemBlock",
}
# fmt: on

# What dcm2niix finds in private elements, of some vendors at least.
# fmt: off
IN_PRIVATE_ELEMENTS = (
    "ConsistencyInfo", "FrequencyEncodingSteps", "MTState", "MatrixCoilMode",
    "NonlinearGradientCorrection", "ParallelAcquisitionTechnique", "ParallelReductionFactorInPlane",
    "ParallelReductionFactorOutOfPlane", "PartialFourierDirection", "PhaseEncodingStepsOutOfPlane",
    "PostLabelingDelay", "ScanOptions", "ScanningSequence", "SequenceName", "SequenceVariant",
    "ShimSetting", "SpoilingState", "TablePosition",
)
# fmt: on

# What dcm2niix writes and the table leaves to others, or out.
ABSENT: dict[str, str] = {
    "PhaseEncodingDirection": "needs the image axes: the stack adds it",
    "PhaseEncodingAxis": "needs the image axes: the stack adds it",
    "SliceTiming": "needs all slices: the stack adds it",
    "EchoTime1": "needs the name: added when placed",
    "EchoTime2": "needs the name: added when placed",
    "EchoNumber": "enhanced images have no element for it",
    "AcquisitionDuration": "BIDS deprecates it for func, where RepetitionTime says more",
    "BidsGuess": "dcm2niix's guess of a name",
    "CoilString": "a second name for ReceiveCoilName",
    "DerivedVendorReportedEchoSpacing": "EffectiveEchoSpacing times the acceleration",
    "EstimatedEffectiveEchoSpacing": "Philips headers do not say it, and an estimate is not a fact",
    "EstimatedTotalReadoutTime": "Philips headers do not say it, and an estimate is not a fact",
    "ImageOrientationText": "follows from the affine",
    "ImageTypeText": "Siemens' private copy of ImageType",
    "InstitutionalDepartmentName": "dcm2niix writes None where the header has none",
    "InternalPulseSequenceName": "GE, private",
    "NumberOfKSpaceTrajectories": "says nothing that an analysis uses",
    "PhaseEncodingPolarityGE": "PhaseEncodingDirection says it",
    "PhaseEncodingStepsNoPartialFourier": "follows from PhaseEncodingSteps and PartialFourier",
    "PartialFourierEnabled": "dcm2niix's name for PartialFourier where the fraction is unknown",
    "PhilipsRWVIntercept": "values are scaled in the NIfTI header",
    "PhilipsRWVSlope": "values are scaled in the NIfTI header",
    "PhilipsRescaleIntercept": "values are scaled in the NIfTI header",
    "PhilipsRescaleSlope": "values are scaled in the NIfTI header",
    "PhilipsScaleSlope": "values are scaled in the NIfTI header",
    "PrescanReuseString": "GE, private",
    "RawImage": "ImageType says DERIVED",
    **dict.fromkeys(IN_PRIVATE_ELEMENTS, "the vendor's module adds it where it reads the element"),
}

# What the table gives and dcm2niix does not: what must hold, and why.
ADDED: dict[str, tuple[Check, str]] = {
    "BolusCutOffFlag": (lambda ours, _: ours is False, "C.8.13.5.14, which dcm2niix does not read"),
    "VascularCrushing": (lambda ours, _: ours is False, "C.8.13.5.14, which dcm2niix does not read"),
    "EchoNumber": (lambda ours, _: ours == 1, "dcm2niix writes it for several echoes only"),
    "EchoTrainLength": (lambda ours, _: ours == 1, "dcm2niix leaves 1 out"),
    "NumberOfAverages": (lambda ours, _: ours == 1, "dcm2niix leaves 1 out"),
    "PartialFourier": (lambda ours, _: ours == 1, "dcm2niix leaves 1 out"),
    "PhaseEncodingSteps": (
        lambda ours, theirs: ours == theirs["PhaseEncodingStepsNoPartialFourier"],
        "as stored; dcm2niix renames it where a Philips scan is partial",
    ),
    "ReceiveCoilName": (lambda ours, theirs: ours == theirs["CoilString"], "dcm2niix calls it CoilString"),
    "SAR": (
        lambda ours, _: 0 < ours < 4,
        "enhanced, which dcm2niix does not read; IEC 60601-2-33 allows 4 W/kg",
    ),
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Pair:
    """The two sidecars of one series and echo."""

    name: str
    ours: dict[str, Any]
    theirs: dict[str, Any]


def images(folder: Path) -> Iterator[tuple[Path, Header]]:
    """Every image under ``folder`` and the header of its first frame."""
    for path in sorted(path for path in folder.rglob("*") if path.is_file()):
        try:
            with path.open("rb") as stream:
                parsed = parse(stream, path.name)
        except HeaderError:
            continue
        if parsed.pixels is not None:
            yield path, next(frame_headers(parsed), parsed.header)


def first_of(series: list[tuple[Path, Header]], echo_time_s: float) -> Path:
    """The first image of an echo."""

    def rank(image: tuple[Path, Header]) -> tuple[float, float]:
        header = image[1]
        echo_ms = header.number("EffectiveEchoTime") or header.number("EchoTime") or 0
        return round(abs(echo_ms / 1000 - echo_time_s), 6), header.number("InstanceNumber") or 0

    return min(series, key=rank)[0]


def sidecar_of(path: Path) -> dict[str, Any]:
    with path.open("rb") as stream:
        frame = frames_of(parse(stream, path.name), path.name)[0]
    return sidecar(frame.header, frame.facts, matrix=(frame.plane.rows, frame.plane.columns), site=True)


def pairs_of(name: str, folder: Path, reference: Path) -> Iterator[Pair]:
    program = Path(sys.executable).with_name("dcm2niix")
    options = ["-b", "o", "-ba", "n", "-z", "n", "-d", "9", "-w", "2", "-f", "%s_%d_%t"]
    command = [program, *options, "-o", reference, folder]
    subprocess.run(command, check=True, stdout=subprocess.DEVNULL)
    series: dict[int | None, list[tuple[Path, Header]]] = defaultdict(list)
    for path, header in images(folder):
        series[header.integer("SeriesNumber")].append((path, header))
    for path in sorted(reference.glob("*.json")):
        theirs = json.loads(path.read_text())
        first = first_of(series[theirs["SeriesNumber"]], theirs["EchoTime"])
        yield Pair(name=f"{name} {path.stem}", ours=sidecar_of(first), theirs=theirs)


@pytest.fixture(scope="module")
def pairs(corpus: Callable[[str], Path], tmp_path_factory: pytest.TempPathFactory) -> list[Pair]:
    found: list[Pair] = []
    for name, subfolder in FOLDERS.items():
        folder = corpus(name.split()[0]) / subfolder
        found += pairs_of(name, folder, tmp_path_factory.mktemp("reference"))
    return found


def agree(ours: Any, theirs: Any) -> bool:
    """Equal; numbers to the six digits that dcm2niix prints."""
    if isinstance(ours, list) and isinstance(theirs, list):
        return len(ours) == len(theirs) and all(map(agree, ours, theirs))
    if isinstance(ours, int | float) and isinstance(theirs, int | float):
        return isinstance(ours, bool) == isinstance(theirs, bool) and ours == pytest.approx(
            theirs, rel=6e-6, abs=2e-6
        )
    return bool(ours == theirs)


def test_every_series_has_a_pair(pairs: list[Pair]) -> None:
    sets = {pair.name.split()[0] for pair in pairs}
    assert sets == {"nih", "xa30", "philips_enh"}
    assert all(set(pair.ours) >= {"Modality", "EchoTime", "SeriesNumber"} for pair in pairs)


def test_fields_that_both_write_agree(pairs: list[Pair]) -> None:
    wrong = []
    for pair in pairs:
        for name in pair.ours.keys() & pair.theirs.keys():
            ours, theirs = pair.ours[name], pair.theirs[name]
            explained = name in DIFFERS and DIFFERS[name][0](ours, theirs)
            if not (agree(ours, theirs) or explained):
                wrong.append((pair.name, name, ours, theirs))
    assert wrong == []


def test_nothing_is_missing_without_a_reason(pairs: list[Pair]) -> None:
    missing = {(name, pair.name) for pair in pairs for name in pair.theirs.keys() - pair.ours.keys()}
    assert {pair for pair in missing if pair[0] not in ABSENT and pair[0] not in NEVER} == set()


def test_nothing_is_added_without_a_reason(pairs: list[Pair]) -> None:
    rows = {row.bids for row in FIELDS}  # what vendors add is tested with the vendors
    for pair in pairs:
        for name in (pair.ours.keys() - pair.theirs.keys()) & rows:
            check, _ = ADDED[name]
            assert check(pair.ours[name], pair.theirs), (pair.name, name, pair.ours[name])


def test_nothing_that_identifies_comes_out(pairs: list[Pair]) -> None:
    assert any("PatientName" in pair.theirs for pair in pairs)
    for pair in pairs:
        assert pair.ours.keys().isdisjoint(NEVER)
        said = json.dumps(pair.ours)
        secrets = ("PatientName", "PatientBirthDate", "StudyInstanceUID", "SeriesInstanceUID")
        assert not [name for name in secrets if str(pair.theirs.get(name, "\0")) in said]


def test_tables_of_deviations_name_fields_that_are_there(pairs: list[Pair]) -> None:
    theirs = {name for pair in pairs for name in pair.theirs}
    both = {name for pair in pairs for name in pair.ours if name in pair.theirs}
    assert set(ABSENT) | set(NEVER) <= theirs
    assert set(DIFFERS) <= both
    assert set(ADDED) <= {name for pair in pairs for name in pair.ours}
