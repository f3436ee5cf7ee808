"""Volumes of ours against dcm2niix, run live on the same files; each difference is explained in one table."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from explained import EXPLAINED, Difference, Pair
from reference import dcm2niix

from pacs2bids.__main__ import main

Corpus = Callable[[str], Path]

Conversions = Callable[[str], "Conversion"]

# all of the corpus. The folders of canon_61 and philips_enh hold one scan twice, classic and enhanced.
SETS = (
    "dcm_qa",
    "asl",
    "canon_61/cl",
    "canon_61/enh",
    "cs_dl",
    "ct",
    "decubitus",
    "enh",
    "fmap",
    "frag",
    "ge",
    "mosaic",
    "nih",
    "philips",
    "philips_asl",
    "philips_enh/cl",
    "philips_enh/enh",
    "polar",
    "sag",
    "stc",
    "table",
    "toshiba",
    "trt",
    "ts",
    "uih",
    "xa30",
    "xa30i",
    "xa60",
)

# folders of the corpus, one study each
STUDIES = ("nih/20180918Si", "nih/20180918GE", "xa30", "philips_enh/cl", "philips_enh/enh")

# what must agree, in the words of compare.py
COMPARED = ("volume", "tr", "dwi", "missing", "extra", "pe", "slicetiming")
CERTAIN = 50  # points by which compare.py recognises a series; content alone gives less


def study_folder(corpus: Corpus, name: str) -> Path:
    """The folder of one of ``SETS`` or ``STUDIES``."""
    top, _, rest = name.partition("/")
    return corpus(top) / rest


# --------------------------------------------------------------------------------------------- conversion


@dataclass(frozen=True, kw_only=True)
class Conversion:
    """One set, converted twice. ``comparison``: what compare.py says of the two, as it writes it."""

    name: str
    folder: Path
    ours: Path
    reference: Path
    comparison: dict[str, Any]


def converted(corpus: Corpus, name: str, place: Path, *, compare: Path) -> Conversion:
    """Convert a set below ``place``, unless another process has done it: the comparison is written last."""
    folder, details = study_folder(corpus, name), place / "comparison.json"
    if not details.exists():
        reference = dcm2niix(folder, place / "dcm2niix")
        # 1: a set may hold files that no volume can be made of; what is missing the comparison tells
        assert main(["convert", str(folder), str(place / "ours"), "-j", "2"]) in (0, 1)
        assert reference.wait(timeout=300) == 0
        compared(compare, place / "ours", place / "dcm2niix", details)
    return Conversion(
        name=name,
        folder=folder,
        ours=place / "ours",
        reference=place / "dcm2niix",
        comparison=json.loads(details.read_text()),
    )


def compared(program: Path, ours: Path, reference: Path, details: Path) -> dict[str, Any]:
    """What compare.py finds. Its exit code must tell the same: that is what people look at."""
    started = details.with_suffix(".part")
    options = ["--fail-on", ",".join(COMPARED), "--json", started]
    done = subprocess.run(
        [str(word) for word in (sys.executable, program, ours, reference, *options)],
        check=False,
        capture_output=True,
        text=True,
        timeout=300,
    )
    assert done.returncode in (0, 1), done.stderr
    result: dict[str, Any] = json.loads(started.read_text())
    unpaired = result["absent_in_ours"] + result["only_in_ours"]
    assert done.returncode == bool(unpaired or any(pair["fails"] for pair in result["pairs"])), done.stdout
    started.replace(details)
    return result


# --------------------------------------------------------------------------------------------- judgement


def assert_agrees(study: str, ours: Path, folder: Path, *, compare: Path, scratch: Path) -> None:
    """Compare a folder of volumes with what dcm2niix makes of ``folder``; see ``assert_explained``."""
    reference = scratch / "dcm2niix"
    assert dcm2niix(folder, reference).wait(timeout=300) == 0
    comparison = compared(compare, ours, reference, scratch / "comparison.json")
    assert_explained(
        Conversion(name=study, folder=folder, ours=ours, reference=reference, comparison=comparison)
    )


def assert_explained(conversion: Conversion) -> None:
    """Each difference is in ``EXPLAINED``, its explanation holds, and none stands there without need."""
    found = differences(conversion)
    expected = {key for key in EXPLAINED if key[0] == conversion.name}
    unknown = {key: told for key, told in found.items() if key not in expected}
    assert not unknown, "\n".join(f"{key}: {told.notes}" for key, told in unknown.items())
    assert found.keys() == expected, f"not needed any more: {sorted(expected - found.keys())}"
    for key, told in found.items():
        EXPLAINED[key].shown_by(told)


def differences(conversion: Conversion) -> dict[Difference, Pair]:
    """Where ours and theirs differ: by set, file of dcm2niix (or ours, if only there) and check."""
    found = {}
    result = conversion.comparison
    assert len(result["pairs"]) + len(result["absent_in_ours"]) > 0
    for details in result["pairs"]:
        pair = _pair(details, conversion)
        if not details["fails"]:
            assert details["score"] > CERTAIN, f"not certain that these are the same: {pair.notes}"
        for what in _failed(details):
            found[conversion.name, _stem(details["ref"]), what] = pair
    for what, names in (("missing", result["absent_in_ours"]), ("extra", result["only_in_ours"])):
        for name in names:
            found[conversion.name, _stem(name), what] = _alone(name, what, conversion)
    return found


def _failed(details: dict[str, Any]) -> list[str]:
    failed = [what for what in details["why"] if what in COMPARED]
    stored_alike = (details.get("volume") or {}).get("storage") in (None, "i,j,k")
    return failed if stored_alike else [*failed, "storage"]


def _stem(name: str) -> str:
    return Path(name).name.removesuffix(".gz").removesuffix(".nii")


def _pair(details: dict[str, Any], conversion: Conversion) -> Pair:
    ours, theirs = conversion.ours / details["ours"], conversion.reference / details["ref"]
    return Pair(
        folder=conversion.folder,
        ours=ours,
        theirs=theirs,
        our_sidecar=_sidecar(ours),
        their_sidecar=_sidecar(theirs),
        details=details,
    )


def _alone(name: str, what: str, conversion: Conversion) -> Pair:
    mine, other = conversion.ours / name, conversion.reference / name
    return Pair(
        folder=conversion.folder,
        ours=mine if what == "extra" else None,
        theirs=other if what == "missing" else None,
        our_sidecar=_sidecar(mine) if what == "extra" else {},
        their_sidecar=_sidecar(other) if what == "missing" else {},
        details={},
    )


def _sidecar(image: Path) -> dict[str, Any]:
    path = image.with_name(_stem(image.name) + ".json")
    # dcm2niix gives parts that it splits off (an ADC map) none
    content: dict[str, Any] = json.loads(path.read_text()) if path.exists() else {}
    return content
