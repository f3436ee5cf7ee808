"""Configurations of dcm2bids (version 3, and 2 with its older words) as rules.

Source: dcm2bids' documentation, "How to create a configuration file" and "Advanced configuration". Criteria
ask the sidecars that dcm2niix writes; ours have the same fields, by the same names and in the same units.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from fnmatch import fnmatchcase
from typing import Any, TypeGuard

from pacs2bids.imports.patterns import anchored, globbed, parted
from pacs2bids.imports.records import Imported, ImportedRule, Lost
from pacs2bids.model import Json
from pacs2bids.sidecar_fields import FIELDS

# words of version 2 -> of version 3
OLD_WORDS = {
    "dataType": "datatype",
    "modalityLabel": "suffix",
    "customLabels": "custom_entities",
    "sidecarChanges": "sidecar_changes",
    "intendedFor": "IntendedFor",
    "caseSensitive": "case_sensitive",
    "searchMethod": "search_method",
    "dupMethod": "dup_method",
    "defaceTpl": "post_op",
}
# facts that people know by these names; every other field is asked as sidecar.<Field>
FACTS = {
    "SeriesDescription": "series_description",
    "ProtocolName": "protocol_name",
    "SeriesNumber": "series_number",
    "Modality": "modality",
    "ImageType": "image_type",
}
# what dcm2niix adds to ImageType, as facts
ADDED_WORDS: dict[str, dict[str, Json]] = {
    "PHASE": {"component": "phase"},
    "REAL": {"component": "real"},
    "IMAGINARY": {"component": "imaginary"},
    "FIELDMAPHZ": {"content": "fieldmap"},
    "MAGNITUDE": {"not": {"component": ["phase", "real", "imaginary"], "content": "fieldmap"}},
}
LIMITS = {
    "lt": ("below",),
    "le": ("to",),
    "gt": ("above",),
    "ge": ("from",),
    "btw": ("above", "below"),
    "btwe": ("from", "to"),
}
TOP_LEVEL = {
    "post_op": "commands that change images are not run here; run them on the dataset",
    "dcm2niixOptions": "dcm2niix is not used",
    "compKeys": "runs are numbered in the order of acquisition",
    "bids_uri": "IntendedFor and its kin are written by pacs2bids itself, as BIDS URIs",
}
FILE_NAME = re.compile(r"0*(\d{1,4})_?\*")  # of dcm2niix, which begins with the number of the series
PATHS = ("IntendedFor", "Sources")
BY_ITSELF = "pacs2bids finds by itself what a field map is for"
KNOWN_FIELDS = {one.bids for one in FIELDS} | {"PhaseEncodingDirection", "EchoNumber", "SliceTiming"}


def is_config(content: object) -> TypeGuard[Mapping[str, Any]]:
    """Whether this is a configuration of dcm2bids."""
    return isinstance(content, Mapping) and isinstance(content.get("descriptions"), list)


def read_config(content: Mapping[str, Any]) -> Imported:
    """Rules for all descriptions, and what could not be carried over."""
    content = _renewed(content)
    uses_regex = content.get("search_method") == "re"
    lost = [
        Lost(where=key, what="is not used", why=why) for key, why in TOP_LEVEL.items() if content.get(key)
    ]
    if content.get("dup_method") == "dup":
        why = "BIDS has no entity 'dup'; repeats are numbered as runs, in the order of acquisition"
        lost.append(Lost(where="dup_method", what="'dup'", why=why))
    extractors = content.get("extractors") or {}
    rules = [
        _Description(number, _renewed(one), uses_regex=uses_regex, extractors=extractors).rule()
        for number, one in enumerate(content["descriptions"], start=1)
        if isinstance(one, Mapping)
    ]
    return Imported(
        program="dcm2bids",
        rules=tuple(rules),
        lost=tuple(lost),
        is_case_sensitive=uses_regex or content.get("case_sensitive") is not False,
        is_exclusive=True,
    )


def _renewed(content: Mapping[str, Any]) -> dict[str, Any]:
    return {OLD_WORDS.get(key, key): value for key, value in content.items()}


@dataclass(slots=True, kw_only=False)
class _Description:
    """One description on its way to a rule."""

    number: int
    content: Mapping[str, Any]
    uses_regex: bool
    extractors: Mapping[str, Any]
    lost: list[Lost] = field(default_factory=list)

    @property
    def where(self) -> str:
        words = [str(self.content.get("datatype", "")), str(self.content.get("suffix", "")).lstrip("_")]
        return f"description {self.number} ({'/'.join(filter(None, words))})"

    def rule(self) -> ImportedRule:
        match: dict[str, Json] = {}
        for name, wanted in (self.content.get("criteria") or {}).items():
            self._criterion(match, str(name), wanted)
        if not self.content.get("criteria"):
            self._lose("criteria", "there are none, so dcm2bids never uses it", is_rule=True)
        entities = self._entities(match)
        return ImportedRule(
            name=str(self.content.get("id") or self.content.get("suffix", "")).lstrip("_"),
            match=match,
            datatype=str(self.content.get("datatype", "")),
            suffix=str(self.content.get("suffix", "")).lstrip("_"),
            entities=entities,
            sidecar=self._sidecar(),
            lost=tuple(self.lost),
        )

    def _lose(self, what: str, why: str, *, is_rule: bool = False) -> None:
        self.lost.append(Lost(where=self.where, what=what, why=why, is_rule=is_rule))

    # ------------------------------------------------------------------------------------- criteria

    def _criterion(self, match: dict[str, Json], name: str, wanted: Any) -> None:
        if name == "SidecarFilename":
            self._file_name(match, wanted)
        elif name not in KNOWN_FIELDS and name not in FACTS and wanted:
            self._lose(f"criterion {name}", "sidecars of pacs2bids do not hold this field", is_rule=True)
        elif name == "ImageType":
            match.update(self._image_type(wanted))
        elif name in KNOWN_FIELDS or name in FACTS:  # one that is to be absent, and is in all of ours, is met
            match[FACTS.get(name, f"sidecar.{name}")] = self._test(name, wanted)

    def _test(self, name: str, wanted: Any) -> Json:
        if wanted in ("", None, [], {}):
            return None
        if isinstance(wanted, list):
            return {"list": [self._one(one) for one in wanted]}
        if not isinstance(wanted, Mapping):
            return self._one(wanted)
        return self._operator(name, wanted)

    def _operator(self, name: str, wanted: Mapping[str, Any]) -> Json:
        word, said = next(iter(wanted.items()))
        values = said if isinstance(said, list) else [said]
        if word == "any":
            fits_nothing = any(self._fits("", one) for one in values)  # dcm2bids: "*" fits what is not there
            said = [self._one(one) if isinstance(one, str) else self._test(name, one) for one in values]
            return {"any": [*said, *([None] * fits_nothing)]}
        try:
            limits = [float(one) for one in values]
            return dict(zip(LIMITS[word], limits, strict=True))
        except (KeyError, TypeError, ValueError):
            self._lose(f"criterion {name}: {wanted}", "dcm2bids knows no such operator", is_rule=True)
            return None

    def _one(self, wanted: Any) -> Json:
        if isinstance(wanted, bool | int | float):
            return wanted
        text = str(wanted)
        if text in ("True", "False"):
            return text == "True"
        if not self.uses_regex:
            return globbed(text)
        regex = anchored(text, whole=False)
        if regex is None:
            self._lose(f"criterion {text!r}", "it is no regular expression", is_rule=True)
        return {"regex": regex or text}

    def _fits(self, text: str, wanted: Any) -> bool:
        if not isinstance(wanted, str):
            return False
        regex = anchored(wanted, whole=False)
        return bool(regex and re.match(regex, text)) if self.uses_regex else fnmatchcase(text, wanted)

    def _image_type(self, wanted: Any) -> dict[str, Json]:
        """dcm2niix writes another list than the header: it parts words at "_", and adds the component."""
        found = wanted.get("any") if isinstance(wanted, Mapping) else [wanted]
        if wanted in ("", None, []):
            return {"image_type": None}
        if not isinstance(found, list) or not all(isinstance(one, list) for one in found):
            why = "ImageType is a list, which dcm2bids compares with a list only: it fits nothing there"
            self._lose(f"criterion ImageType: {wanted!r}", why, is_rule=True)
            return {}
        forms: list[dict[str, Json]] = []
        for one in found:
            words: Json = [self._one(word) for word in one]
            forms.append({"image_type_words": {"list": words}})
            if one and one[-1] in ADDED_WORDS:
                shorter: dict[str, Json] = {"image_type_words": {"list": [*map(self._one, one[:-1])]}}
                forms.append(shorter | ADDED_WORDS[one[-1]])
        return forms[0] if len(forms) == 1 else {"any": [*forms]}

    def _file_name(self, match: dict[str, Json], wanted: Any) -> None:
        number = FILE_NAME.fullmatch(wanted) if isinstance(wanted, str) and not self.uses_regex else None
        echo = (
            re.fullmatch(r"\*_?(?:echo-|e)(\d)_?\*?(?:\.json)?", wanted) if isinstance(wanted, str) else None
        )
        if number:
            match["series_number"] = int(number[1])
        elif echo and not self.uses_regex:
            match["echo_number"] = int(echo[1])
        elif wanted in ("*_ph*", "*ph*", "*_ph", "*_ph.json", "*_ph*.json"):
            match["component"] = "phase"
        else:
            why = "there are no files of dcm2niix; write a fact instead, as series_number or echo_number"
            self._lose(f"criterion SidecarFilename: {wanted!r}", why, is_rule=True)

    # ------------------------------------------------------------------------------------- what it is called

    def _entities(self, match: dict[str, Json]) -> dict[str, str]:
        said = self.content.get("custom_entities") or []
        words = said if isinstance(said, list) else str(said).split("_")
        found: dict[str, str] = {}
        for word in filter(None, (part.strip() for one in words for part in str(one).split("_"))):
            key, hyphen, label = word.partition("-")
            if hyphen:
                found[key] = label
            else:
                found |= self._extracted(match, key)
        return found

    def _extracted(self, match: dict[str, Json], key: str) -> dict[str, str]:
        """An entity whose label dcm2bids takes from a field: from a named group of a rule's expression."""
        if key == "dir" and self._patterns("PhaseEncodingDirection", "dir"):
            return {"dir": "{phase_encoding}"}
        if key == "echo":
            return {}  # echoes are told apart by themselves
        for name in self.extractors:
            patterns = self._patterns(name, key)
            if not patterns:
                continue
            fact = FACTS.get(name, f"sidecar.{name}")
            test: Json = {"regex": patterns[0]}
            match[fact] = parted(match[fact], test) if fact in match else test
            if len(patterns) > 1:
                self._lose(f"extractors of {key!r}", "of several expressions only the first is used")
            return {key: f"{{{key}}}"}
        self._lose(f"entity {key!r}", "no extractor of the file gives its label", is_rule=True)
        return {}

    def _patterns(self, name: str, key: str) -> list[str]:
        """Expressions for a field that catch this entity."""
        found = []
        for pattern in self.extractors.get(name) or ():
            try:
                found += [pattern] if key in re.compile(pattern).groupindex else []
            except re.error:
                self._lose(f"extractor {pattern!r}", "it is no regular expression", is_rule=True)
        return found

    def _sidecar(self) -> dict[str, Json]:
        if self.content.get("IntendedFor") not in (None, ""):
            self._lose("IntendedFor", BY_ITSELF)
        return dict(self._changes())

    def _changes(self) -> Iterator[tuple[str, Json]]:
        for name, value in (self.content.get("sidecar_changes") or {}).items():
            if name in PATHS:
                self._lose(f"sidecar_changes: {name}", BY_ITSELF)
            elif "{" in str(value):
                self._lose(f"sidecar_changes: {name}", "braces stand for facts here; write it by hand")
            else:
                yield name, None if value == "" else value
