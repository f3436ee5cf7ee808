"""Bidsmaps of BIDScoin as rules.

Source: BIDScoin's documentation, "The bidsmap explained": a run-item takes data of which all attributes that
are not empty match, as regular expressions of the whole value; the first wins, in the order of the ignored
datatypes, fmap, the others, the unknown ones.
"""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any, TypeGuard

from pacs2bids.imports.patterns import anchored, parted
from pacs2bids.imports.records import Imported, ImportedRule, Lost
from pacs2bids.model import Json

FORMATS = ("DICOM",)
# DICOM attributes as facts that are texts; their values stand in pydicom's words
TEXTS = {
    "ProtocolName": "protocol_name",
    "SeriesDescription": "series_description",
    "StudyDescription": "study_description",
    "SequenceName": "sequence_name",
    "PulseSequenceName": "sequence_name",
    "Modality": "modality",
    "Manufacturer": "manufacturer",
    "ManufacturerModelName": "model_name",
    "MRAcquisitionType": "sidecar.MRAcquisitionType",
    "PhaseEncodingDirection": "phase_encoding",  # of BIDScoin's own: AP, PA, ...
    "InPlanePhaseEncodingDirection": "sidecar.InPlanePhaseEncodingDirectionDICOM",
}
LISTS = {"SequenceVariant": "sidecar.SequenceVariant", "ScanningSequence": "sidecar.ScanningSequence"}
# facts that are numbers, and how many of DICOM's units they have in one of theirs
NUMBERS = {
    "EchoTime": ("echo_time_ms", 1.0),
    "RepetitionTime": ("sidecar.RepetitionTime", 1000.0),
    "InversionTime": ("inversion_time_s", 1000.0),
    "FlipAngle": ("flip_angle_deg", 1.0),
    "EchoNumbers": ("sidecar.EchoNumber", 1.0),
    "SliceThickness": ("sidecar.SliceThickness", 1.0),
    "SeriesNumber": ("series_number", 1.0),
}
OF_IMAGE_TYPE = re.compile(r"(\.\*'[\w ]+')+\.\*|\.\*[\w ]+\.\*")  # .*'NORM'.* and .*FLIP ANGLE MAP.*
SIMPLE = re.compile(r"(\.\*)?[^.^$*+?{}\[\]\\|()]*(\.\*)?")  # as .*T1w.*
DYNAMIC = re.compile(r"<<?([^<>:]+)(?::([^<>]*))?>>?")
BY_ITSELF = {
    "IntendedFor": "pacs2bids finds by itself what a field map is for",
    "B0FieldIdentifier": "pacs2bids writes it by itself",
    "B0FieldSource": "pacs2bids writes it by itself",
}


def is_bidsmap(content: object) -> TypeGuard[Mapping[str, Any]]:
    """Whether this is a bidsmap."""
    return isinstance(content, Mapping) and any(isinstance(content.get(one), Mapping) for one in FORMATS)


def read_bidsmap(content: Mapping[str, Any]) -> Imported:
    """Rules for all run-items of DICOM data, and what could not be carried over."""
    options = (content.get("Options") or {}).get("bidscoin") or {}
    ignored = list(options.get("ignoretypes") or ["exclude"])
    unknown = list(options.get("unknowntypes") or ["extra_data"])
    section = content["DICOM"]
    rules = []
    for datatype in _ordered(section, ignored, unknown):
        for number, item in enumerate(section[datatype], start=1):
            if isinstance(item, Mapping) and _asks(item):
                reader = _RunItem(datatype, number, item)
                rules.append(reader.skipped(unknown) if datatype in (*ignored, *unknown) else reader.rule())
    return Imported(
        program="BIDScoin", rules=tuple(rules), lost=tuple(_of_file(content)), is_case_sensitive=True
    )


def _ordered(section: Mapping[str, Any], ignored: list[str], unknown: list[str]) -> list[str]:
    """Datatypes in the order in which BIDScoin asks them."""
    there = [name for name, items in section.items() if isinstance(items, list)]
    usual = [name for name in there if name not in (*ignored, *unknown)]
    usual.sort(key=lambda name: name != "fmap")
    return [name for name in (*ignored, *usual, *unknown) if name in there]


def _asks(item: Mapping[str, Any]) -> bool:
    """Whether a run-item asks anything; those that do not never match."""
    asked = [*(item.get("properties") or {}).values(), *(item.get("attributes") or {}).values()]
    return any(value not in (None, "") for value in asked)


def _of_file(content: Mapping[str, Any]) -> Iterator[Lost]:
    for name, section in content.items():
        if name not in (*FORMATS, "Options", "PlugIns", "$schema") and isinstance(section, Mapping):
            yield Lost(where=name, what="all of it", why="only DICOM files are read here")
    section = content["DICOM"]
    if any(isinstance(section.get(name), Mapping) for name in ("participant", "subject", "session")) or any(
        section.get(name) for name in ("subject", "session")
    ):
        why = "subjects and sessions come from the studies table; see studies and dataset in config.yaml"
        yield Lost(where="DICOM", what="participant, subject, session", why=why)


@dataclass(slots=True)
class _RunItem:
    """One run-item on its way to a rule."""

    datatype: str
    number: int
    item: Mapping[str, Any]
    lost: list[Lost] = field(default_factory=list)

    @property
    def name(self) -> str:
        suffix = str(self._bids().get("suffix") or "")
        return f"{self.datatype} {self.number}" + (f" ({suffix})" if suffix and "<" not in suffix else "")

    def skipped(self, unknown: list[str]) -> ImportedRule:
        """What BIDScoin leaves out, or puts beside the dataset."""
        reason = "excluded, as in the bidsmap"
        if self.datatype in unknown:
            reason = f"{self.datatype} of the bidsmap: BIDS has no name for it"
        return ImportedRule(name=self.name, match=self._match(), skip=reason, lost=tuple(self.lost))

    def rule(self) -> ImportedRule:
        match = self._match()
        bids = self._bids()
        run = str(bids.get("run") or "")
        entities = dict(self._entities(bids, match))
        if self.item.get("events"):
            self._lose("events", "events.tsv is not made of logs here")
        return ImportedRule(
            name=self.name,
            match=match,
            datatype=self.datatype,
            suffix=str(bids.get("suffix") or ""),
            entities=entities,
            run="always" if run.startswith("<<") and run != "<<>>" else "",  # <<>>: if there are several
            sidecar=dict(self._meta()),
            lost=tuple(self.lost),
        )

    def _lose(self, what: str, why: str, *, is_rule: bool = False) -> None:
        self.lost.append(Lost(where=self.name, what=what, why=why, is_rule=is_rule))

    def _bids(self) -> dict[str, Any]:
        """What is filled in, of lists what is chosen: ['', mag, phase, 1] is mag."""
        chosen = {str(key): _chosen(value) for key, value in (self.item.get("bids") or {}).items()}
        return {key: value for key, value in chosen.items() if value not in (None, "")}

    # ------------------------------------------------------------------------------------- what it takes

    def _match(self) -> dict[str, Json]:
        match: dict[str, Json] = {}
        for name, value in (self.item.get("properties") or {}).items():
            if value in (None, ""):
                continue
            if name == "nrfiles" and str(value).isdecimal():
                match["instances"] = int(value)
            else:
                self._lose(
                    f"property {name}: {value}", "names and sizes of files tell nothing here", is_rule=True
                )
        for name, value in (self.item.get("attributes") or {}).items():
            if value not in (None, ""):
                self._attribute(match, str(name), value)
        return match

    def _attribute(self, match: dict[str, Json], name: str, value: Any) -> None:
        text = str(value).strip()
        if name in TEXTS:
            fact, test = TEXTS[name], self._text(text)
        elif name in NUMBERS:
            fact, test = NUMBERS[name][0], self._number(name, text)
        elif name == "ImageType":
            fact, test = "image_type", self._image_type(text)
        elif name in LISTS:
            fact, test = LISTS[name], self._joined(text)
        else:
            self._lose(f"attribute {name}", "there is no such fact", is_rule=True)
            return
        match[fact] = parted(match[fact], test) if fact in match else test

    def _text(self, text: str) -> Json:
        if SIMPLE.fullmatch(text):
            return text.replace(".*", "*")
        regex = anchored(text, whole=True)
        if regex is None:
            return {"is": text}  # BIDScoin compares it as it stands, too
        fits_itself = "(?" in text or re.fullmatch(text, text) is not None
        return {"regex": regex} if fits_itself else {"any": [{"is": text}, {"regex": regex}]}

    def _number(self, name: str, text: str) -> Json:
        try:
            number = float(text) / NUMBERS[name][1]
            return int(number) if number.is_integer() else number
        except ValueError:
            why = "a number is asked by a regular expression; write limits, as {from: 2, to: 3}"
            self._lose(f"attribute {name}: {text}", why, is_rule=True)
            return None

    def _image_type(self, text: str) -> Json:
        """A list as Python writes it, or a regular expression of that."""
        words = _literal(text)
        if words is not None:
            return {"list": words}
        if OF_IMAGE_TYPE.fullmatch(text):
            found: list[Json] = [*re.findall(r"'([\w ]+)'", text)]
            if not found:
                return text.replace(".*", "*")
            return {"all": found} if len(found) > 1 else found[0]
        why = "it asks how Python writes a list; write image_type with its words"
        self._lose(f"attribute ImageType: {text}", why, is_rule=True)
        return None

    def _joined(self, text: str) -> Json:
        r"""Lists that sidecars hold as one text, "GR\IR"."""
        words = _literal(text)
        if words is not None:
            return {"is": "\\".join(map(str, words))}
        plain = text.replace("'?", "").replace("'", "").replace(", ", r"\\")
        return self._text(plain)

    # ------------------------------------------------------------------------------------- what it is called

    def _entities(self, bids: Mapping[str, Any], match: dict[str, Json]) -> Iterator[tuple[str, str]]:
        for key, value in bids.items():
            text = str(value)
            if key == "suffix" or (key == "run" and text.startswith("<<")):
                continue
            if key == "echo" and text.strip("<>") in ("EchoNumbers", "EchoNumber"):
                continue  # echoes are told apart by themselves
            label = self._label(key, text, match)
            if label:
                yield key, label

    def _label(self, key: str, text: str, match: dict[str, Json]) -> str:
        """A label with BIDScoin's ``<Attribute>`` as ``{fact}``, without what no label holds."""
        words = []
        for part in re.split(r"(<<?[^<>]+>>?)", text):
            dynamic = DYNAMIC.fullmatch(part)
            word = self._fact(key, dynamic, match) if dynamic else re.sub("[^0-9A-Za-z+]", "", part)
            if word is None:
                self._lose(f"{key}: {text}", "its value is not known here; the entity is left out")
                return ""
            words.append(word)
        return "".join(words)

    def _fact(self, key: str, dynamic: re.Match[str], match: dict[str, Json]) -> str | None:
        fact = _fact_of(dynamic[1])
        if fact is None or not dynamic[2]:
            return f"{{{fact}}}" if fact else None
        # <ProtocolName:task-(.*?)_> is the first group: here one that bears the entity's name
        regex, groups = re.subn(r"(?<!\\)\((?!\?)", f"(?P<{key}>", dynamic[2], count=1)
        if groups == 0 or anchored(regex, whole=False) is None:
            return None
        test: Json = {"regex": regex}
        match[fact] = parted(match[fact], test) if fact in match else test
        return f"{{{key}}}"

    def _meta(self) -> Iterator[tuple[str, Json]]:
        for name, value in (self.item.get("meta") or {}).items():
            if value in (None, "") or name == "TaskName":  # that follows from the entity task
                continue
            if name in BY_ITSELF:
                self._lose(f"meta {name}", BY_ITSELF[name])
                continue
            dynamic = DYNAMIC.fullmatch(str(value))
            fact = _fact_of(dynamic[1]) if dynamic and not dynamic[2] else None
            if fact:
                yield str(name), f"{{{fact}}}"
            elif re.search(r"[<{]", str(value)):
                self._lose(f"meta {name}: {value}", "its value is not known here")
            else:
                yield str(name), value


def _chosen(value: Any) -> Any:
    *choices, number = value if isinstance(value, list) and value else [value, 0]
    return choices[number] if isinstance(number, int) and number < len(choices) else ""


def _fact_of(attribute: str) -> str | None:
    return TEXTS.get(attribute) or LISTS.get(attribute) or NUMBERS.get(attribute, (None,))[0]


def _literal(text: str) -> list[Json] | None:
    """The words of a list that Python wrote; None for anything else."""
    try:
        found = ast.literal_eval(text)
    except (ValueError, SyntaxError):
        return None
    return [str(one) for one in found] if isinstance(found, list) else None
