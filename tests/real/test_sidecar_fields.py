"""Sidecars of the whole corpus against dcm2niix's, run live on the same files: field by field.

Whatever differs is in ``explained_fields.EXPLAINED_FIELDS``, or is a field of another test's.
"""

from __future__ import annotations

import json
from collections import defaultdict
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import jsonschema
import pytest
from agreement import SETS, Conversion, Conversions, Corpus
from bidsschematools.schema import load_schema
from explained_fields import EXPLAINED_FIELDS, NEVER, Explained, How, Sidecar

from pacs2bids.frames import Frame, UnusableError, frames_of
from pacs2bids.model import HeaderError
from pacs2bids.reading import Reader
from pacs2bids.sidecar_fields import FIELDS, Scope
from pacs2bids.sidecar_readers import Source
from pacs2bids.splitting import split_key
from pacs2bids.store import files_below, parse_file

# what test_corpus_differential compares, with explanations of its own
COMPARED_THERE = {"PhaseEncodingAxis", "PhaseEncodingDirection", "RepetitionTime", "SliceTiming"}


@dataclass(frozen=True, kw_only=True)
class Pair:
    """The two sidecars of one volume."""

    name: str
    ours: Sidecar
    theirs: Sidecar


@dataclass(frozen=True, kw_only=True)
class Difference:
    """One field in which two sidecars differ."""

    pair: Pair
    field: str
    how: How

    def explained_by(self, row: Explained, of_set: str) -> bool:
        """Whether a row of the table speaks of this difference, and what it says holds."""
        is_meant = self.how is row.how and self.field in row.fields and of_set in (row.sets or SETS)
        return is_meant and row.holds(self.field, self.pair.ours, self.pair.theirs)

    def __str__(self) -> str:
        ours, theirs = self.pair.ours.get(self.field), self.pair.theirs.get(self.field)
        return f"{self.pair.name}: {self.field} {self.how}: ours {ours!r:.100}, dcm2niix's {theirs!r:.100}"


def pairs_of(conversion: Conversion) -> Iterator[Pair]:
    for pair in conversion.comparison["pairs"]:
        ours, theirs = (
            (folder / name).with_name(Path(name).name.removesuffix(".gz").removesuffix(".nii") + ".json")
            for folder, name in ((conversion.ours, pair["ours"]), (conversion.reference, pair["ref"]))
        )
        if theirs.exists():  # dcm2niix gives parts that it splits off (an ADC map) none
            sidecars = json.loads(ours.read_text()), json.loads(theirs.read_text())
            yield Pair(name=theirs.stem, ours=sidecars[0], theirs=sidecars[1])


def differences(pair: Pair) -> Iterator[Difference]:
    for field in sorted((pair.ours.keys() | pair.theirs.keys()) - COMPARED_THERE):
        if field not in pair.ours:
            yield Difference(pair=pair, field=field, how=How.MISSING)
        elif field not in pair.theirs:
            yield Difference(pair=pair, field=field, how=How.ADDED)
        elif not agree(pair.ours[field], pair.theirs[field]):
            yield Difference(pair=pair, field=field, how=How.DIFFERS)


def agree(ours: Any, theirs: Any) -> bool:
    """Equal; numbers to the six digits that dcm2niix prints."""
    if isinstance(ours, list) and isinstance(theirs, list):
        return len(ours) == len(theirs) and all(map(agree, ours, theirs))
    if isinstance(ours, int | float) and isinstance(theirs, int | float):
        return isinstance(ours, bool) == isinstance(theirs, bool) and ours == pytest.approx(
            theirs, rel=6e-6, abs=2e-6
        )
    return bool(ours == theirs)


@pytest.mark.parametrize("name", SETS)
def test_each_field_agrees_or_its_difference_is_explained(conversion: Conversions, name: str) -> None:
    pairs = list(pairs_of(conversion(name)))
    assert pairs
    found = [difference for pair in pairs for difference in differences(pair)]
    unknown = [one for one in found if not any(one.explained_by(row, name) for row in EXPLAINED_FIELDS)]
    hint = "a row of sidecar_fields.FIELDS, a vendor's Facts.extra, or an entry in EXPLAINED_FIELDS?"
    assert not unknown, "\n".join([hint, *map(str, unknown)])


def test_explanations_are_needed(conversion: Conversions) -> None:
    found = {name: [one for pair in pairs_of(conversion(name)) for one in differences(pair)] for name in SETS}
    for row in EXPLAINED_FIELDS:
        used = {one.field for name, all_ in found.items() for one in all_ if one.explained_by(row, name)}
        assert used == set(row.fields), f"not needed any more: {row.why}"


@pytest.fixture(scope="module")
def definitions() -> dict[str, list[dict[str, Any]]]:
    """BIDS name -> its definitions; one that differs between data types has several."""
    found = defaultdict(list)
    for definition in load_schema().objects.metadata.to_dict().values():
        found[definition["name"]].append(definition)
    return dict(found)


@pytest.mark.parametrize("name", SETS)
def test_each_field_has_type_range_and_words_of_bids(
    conversion: Conversions, name: str, definitions: dict[str, list[dict[str, Any]]]
) -> None:
    sidecars = [json.loads(path.read_text()) for path in sidecars_below(conversion(name).ours)]
    said = [(field, value) for one in sidecars for field, value in one.items() if field in definitions]
    assert len(said) > 3 * len(sidecars) > 0
    wrong = [
        (field, value)
        for field, value in said
        if not any(jsonschema.Draft202012Validator(one).is_valid(value) for one in definitions[field])
    ]
    assert wrong == []


def sidecars_below(folder: Path) -> list[Path]:
    return [path.with_name(path.name.removesuffix(".nii.gz") + ".json") for path in folder.rglob("*.nii.gz")]


@pytest.mark.parametrize("name", SETS)
def test_nothing_that_identifies_comes_out(conversion: Conversions, name: str) -> None:
    secrets = ("PatientName", "PatientBirthDate", "StudyInstanceUID", "SeriesInstanceUID")
    for pair in pairs_of(conversion(name)):
        assert pair.ours.keys().isdisjoint(NEVER)
        said = json.dumps(pair.ours)
        values = [str(pair.theirs.get(secret, "")) for secret in secrets]
        # phantoms are called "HEAD", "HFS" or "fMRI", which are words of protocols, too
        assert not [value for value in values if len(value) > 5 and value in said]


# ---------------------------------------------------------------------------------------------- scope


def frames_below(folder: Path) -> Iterator[Frame]:
    reader = Reader()
    for path in files_below(folder):
        try:
            yield from frames_of(parse_file(reader, folder, path), path)
        except (HeaderError, UnusableError):
            continue


@pytest.mark.parametrize("name", ["uih", "decubitus", "xa60", "fmap", "philips_asl", "nih"])
def test_fields_of_a_series_do_not_vary_within_what_is_stacked(corpus: Corpus, name: str) -> None:
    said: dict[tuple[object, str], set[str]] = defaultdict(set)
    rows = [row for row in FIELDS if row.scope is Scope.SERIES]
    for frame in frames_below(corpus(name)):
        split, close = split_key(frame)
        near = tuple(tuple(round(value, 2) for value in values) for values in close)
        key = (frame.instance.text("SeriesInstanceUID"), split, near)
        source = Source(
            header=frame.header, facts=frame.facts, matrix=(frame.plane.rows, frame.plane.columns)
        )
        for row in rows:
            said[key, row.bids].add(repr(row.read(source)))
    assert said
    varying = {field: values for (_, field), values in said.items() if len(values) > 1}
    assert varying == {}, "split by it (splitting.SPLIT), or say in the table that it may vary (Scope)"
