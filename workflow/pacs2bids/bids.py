"""Names of BIDS files, built and checked by the rules of the BIDS schema.

Nothing of the standard is repeated here: datatypes, suffixes, entities, their order and their formats all
come from the schema that ``bidsschematools`` carries. Names are those of *volumes*: paths in the dataset
without extension, as in ``sub-01/ses-a/func/sub-01_ses-a_task-rest_run-1_bold``.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass, replace
from difflib import get_close_matches
from functools import cache
from importlib.util import find_spec
from itertools import pairwise
from pathlib import Path
from typing import Any

import msgspec

from pacs2bids.model import Json, PlanError

VOLUME = ".nii.gz"


@dataclass(frozen=True, slots=True, kw_only=True)
class EntityRule:
    """How one entity is written. ``key``: "acq"; ``name``: "acquisition"; ``allowed``: () means any label."""

    key: str
    name: str
    pattern: re.Pattern[str]
    allowed: tuple[str, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class FileRule:
    """Entities of one kind of file, by key. ``optional`` does not repeat ``required``."""

    required: frozenset[str]
    optional: frozenset[str]
    extensions: tuple[str, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Vocabulary:
    """What a name of a volume may say. ``entities`` are in the order in which BIDS wants them."""

    entities: dict[str, EntityRule]
    files: dict[tuple[str, str], tuple[FileRule, ...]]

    @property
    def datatypes(self) -> tuple[str, ...]:
        """Folders that may hold volumes."""
        return tuple(dict.fromkeys(datatype for datatype, _ in self.files))

    def suffixes(self, datatype: str) -> tuple[str, ...]:
        """Suffixes of volumes in one datatype's folder."""
        return tuple(suffix for folder, suffix in self.files if folder == datatype)

    def rank(self, key: str) -> int:
        """Position of an entity in a name; unknown ones come last."""
        keys = list(self.entities)
        return keys.index(key) if key in self.entities else len(keys)


@cache
def vocabulary() -> Vocabulary:
    """The rules of the BIDS schema that concern volumes; read once, on first use."""
    schema = _schema()
    names = list(schema["rules"]["entities"])
    entities = {name: _entity_rule(schema, name) for name in names}
    files: dict[tuple[str, str], tuple[FileRule, ...]] = {}
    for group in schema["rules"]["files"]["raw"].values():
        for rule in group.values():
            if VOLUME not in rule.get("extensions", ()):
                continue
            file_rule = _file_rule(rule, entities)
            for datatype in rule.get("datatypes", ()):
                for suffix in rule.get("suffixes", ()):
                    files[datatype, suffix] = (*files.get((datatype, suffix), ()), file_rule)
    return Vocabulary(entities={rule.key: rule for rule in entities.values()}, files=files)


def values_of(field: Json) -> list[Json]:
    """Of a field that BIDS lets be one value or a list of them; [] if it is absent."""
    return field if isinstance(field, list) else [] if field is None else [field]


def intended_file(target: str, subject: str) -> str | None:
    """Path in the dataset of a target of IntendedFor; None if that lies in another dataset.

    ``target``: a BIDS URI, or (deprecated) a path below the folder of the subject. ``subject``: "sub-01".
    Source: BIDS, "BIDS URI" and "IntendedFor".
    """
    if target.startswith("bids::"):
        return target.removeprefix("bids::")
    return None if target.startswith("bids:") else f"{subject}/{target}"


@cache
def metadata_fields() -> frozenset[str]:
    """Names of the fields that sidecars may hold, by the BIDS schema."""
    return frozenset(field["name"] for field in _schema()["objects"]["metadata"].values())


@cache
def _schema() -> Any:
    """The schema that ``bidsschematools`` carries, from its file: to import its reader takes 0.1 s more."""
    found = find_spec("bidsschematools")
    path = Path(found.origin).with_name("data") / "schema.json" if found and found.origin else None
    if path is not None and path.is_file():
        return msgspec.json.decode(path.read_bytes())
    from bidsschematools.schema import load_schema  # noqa: PLC0415 - a checkout of it has no such file

    return load_schema()


def _entity_rule(schema: Any, name: str) -> EntityRule:
    entity = schema["objects"]["entities"][name]
    return EntityRule(
        key=entity["name"],
        name=name,
        pattern=re.compile(schema["objects"]["formats"][entity["format"]]["pattern"]),
        allowed=tuple(str(value) for value in entity.get("enum", ())),
    )


def _file_rule(rule: Any, entities: dict[str, EntityRule]) -> FileRule:
    levels = {
        entities[name].key: spec if isinstance(spec, str) else spec["level"]
        for name, spec in rule["entities"].items()
    }
    required = frozenset(key for key, level in levels.items() if level == "required")
    return FileRule(
        required=required,
        optional=frozenset(levels) - required,
        extensions=tuple(rule["extensions"]),
    )


@cache
def _requirements() -> dict[tuple[str, str], frozenset[str]]:
    """Sidecar fields that BIDS requires, by (what of a name, its value): ("suffix", "VFA").

    Only rules that ask for nothing but the name: those that look into the sidecar are the validator's.
    """
    from bidsschematools.schema import load_schema  # noqa: PLC0415  # as in ``vocabulary``

    schema: Any = load_schema()
    found: dict[tuple[str, str], frozenset[str]] = {}
    for group in ("entity_rules", "fmap", "func", "qmri"):
        for rule in schema.rules.sidecars[group].values():
            about = _about(rule["selectors"])
            needed = {
                schema.objects.metadata[name]["name"]
                for name, said in rule["fields"].items()
                if (said if isinstance(said, str) else said["level"]) == "required"
            }
            for key in about if needed else ():
                found[key] = found.get(key, frozenset()) | needed
    return found


_SUFFIX = re.compile(r'suffix == "(\w+)"')
_SUFFIXES = re.compile(r"intersects\(\[suffix\], \[(.*)\]\)")
_ENTITY = re.compile(r'"(\w+)" in entities')
_UNIMPORTANT = re.compile(r'match\(extension, .*\)|datatype == "\w+"')


def _about(selectors: Iterable[str]) -> list[tuple[str, str]]:
    """What of a name a rule of the schema asks for; empty if it asks for anything else."""
    found: list[tuple[str, str]] = []
    for selector in selectors:
        if match := _SUFFIX.fullmatch(selector):
            found.append(("suffix", match[1]))
        elif match := _SUFFIXES.fullmatch(selector):
            found += [("suffix", word.strip(" \"'")) for word in match[1].split(",")]
        elif match := _ENTITY.fullmatch(selector):
            found.append(("entity", match[1]))
        elif not _UNIMPORTANT.fullmatch(selector):
            return []
    return found


def required_fields(name: BidsName) -> list[str]:
    """Sidecar fields without which the validator refuses this name, as far as the name alone decides."""
    rules = _requirements()
    asked = [("suffix", name.suffix), *(("entity", key) for key, _ in name.entities)]
    return sorted({field for key in asked for field in rules.get(key, ())})


@dataclass(frozen=True, slots=True, kw_only=True)
class BidsName:
    """The name of one volume. ``entities``: (key, label) in BIDS order, without subject and session.

    A ``BidsName`` can be wrong; ``problems`` tells. ``parse`` gives right ones only, ``read`` any.
    """

    subject: str
    session: str  # "" where the dataset has no sessions
    datatype: str
    entities: tuple[tuple[str, str], ...] = ()
    suffix: str

    @classmethod
    def parse(cls, path: str) -> BidsName:
        """Read a path in the dataset, without extension.

        Raises PlanError that says all that is wrong with it and what BIDS allows.
        """
        name = cls.read(path)
        if problems := name.problems():
            raise PlanError("; ".join(problems), where=path)
        return name

    @classmethod
    def read(cls, path: str) -> BidsName:
        """Read a path that has the form of a name, whatever BIDS thinks of its words.

        Raises PlanError if it has not, or if folders and file name contradict each other.
        """
        folders, words, suffix = _split(path)
        has_session = len(words) > 1 and words[1][0] == "ses"
        name = cls(
            subject=words[0][1],
            session=words[1][1] if has_session else "",
            datatype=folders[-1] if folders else "",
            entities=tuple(words[2:] if has_session else words[1:]),
            suffix=suffix,
        )
        wanted = name.path.split("/")[:-1]
        if folders != wanted:
            what = f"the file name asks for the folder {'/'.join(wanted)!r}, not {'/'.join(folders)!r}"
            raise PlanError(what, where=path)
        return name

    @property
    def path(self) -> str:
        """Path in the dataset, without extension."""
        subject, session = f"sub-{self.subject}", f"ses-{self.session}" if self.session else ""
        words = [subject, session, *(f"{key}-{label}" for key, label in self.entities), self.suffix]
        folders = [subject, session, self.datatype]
        return "/".join(filter(None, folders)) + "/" + "_".join(filter(None, words))

    def label(self, key: str) -> str | None:
        """Label of an entity; None if the name does not hold it."""
        return dict(self.entities).get(key)

    def with_entity(self, key: str, label: str) -> BidsName:
        """The same name with one more entity (or another label), at its place."""
        rank = vocabulary().rank
        others = [(other, value) for other, value in self.entities if other != key]
        place = next((i for i, (other, _) in enumerate(others) if rank(other) > rank(key)), len(others))
        return replace(self, entities=(*others[:place], (key, label), *others[place:]))

    def without_entity(self, *keys: str) -> BidsName:
        """The same name without these entities, whether it has them or not."""
        return replace(self, entities=tuple(pair for pair in self.entities if pair[0] not in keys))

    def level(self, key: str) -> str | None:
        """Whether names of this datatype and suffix hold an entity: "required", "optional"; None: never."""
        rules = vocabulary().files.get((self.datatype, self.suffix), ())
        if any(key in rule.required for rule in rules):
            return "required"
        return "optional" if any(key in rule.optional for rule in rules) else None

    def with_suffix(self, suffix: str) -> BidsName:
        """The same name with another suffix."""
        return replace(self, suffix=suffix)

    def problems(self) -> list[str]:
        """All that BIDS does not allow in this name, as sentences; empty if it is right."""
        labels = [("sub", self.subject), *([("ses", self.session)] if self.session else []), *self.entities]
        found = [problem for key, label in labels if (problem := label_problem(key, label))]
        return [*found, *_order_problems([key for key, _ in labels]), *self._rule_problems()]

    def _rule_problems(self) -> list[str]:
        rules = vocabulary().files.get((self.datatype, self.suffix))
        if rules is None:
            return [_suffix_problem(self.datatype, self.suffix)]
        keys = {"sub", *(key for key, _ in self.entities), *(["ses"] if self.session else [])}
        return min((self._against(rule, keys) for rule in rules), key=len)

    def _against(self, rule: FileRule, keys: set[str]) -> list[str]:
        kind = f"{self.datatype}/*_{self.suffix}"
        allowed = rule.required | rule.optional
        known = {key for key in keys if key in vocabulary().entities}
        missing = [f"{kind} needs the entity {key!r}" for key in _ordered(rule.required - keys - {"sub"})]
        listed = ", ".join(_ordered(allowed - {"sub", "ses"}))
        extra = [f"{kind} allows no entity {key!r} (allowed: {listed})" for key in _ordered(known - allowed)]
        return missing + extra


def _split(path: str) -> tuple[list[str], list[tuple[str, str]], str]:
    """Folders, (key, label) pairs and suffix of a path. Raises PlanError if it has no such form."""
    *folders, file_name = path.removeprefix("./").split("/")
    if "." in file_name:
        stem, _, extension = file_name.partition(".")
        raise PlanError(f"leave the extension .{extension} away, or write {stem!r} without a dot", where=path)
    *words, suffix = file_name.split("_")
    pairs = []
    for word in words:
        key, hyphen, label = word.partition("-")
        if not (hyphen and key):
            raise PlanError(f"{word!r} is no entity; entities look like 'acq-label'", where=path)
        pairs.append((key, label))
    if "-" in suffix or not suffix:
        raise PlanError(f"{file_name!r} does not end in a suffix such as _T1w or _bold", where=path)
    if not pairs or pairs[0][0] != "sub":
        raise PlanError("the file name must begin with 'sub-<label>'", where=path)
    return folders, pairs, suffix


def _order_problems(keys: list[str]) -> Iterable[str]:
    rank = vocabulary().rank
    for key in dict.fromkeys(keys):
        if keys.count(key) > 1:
            yield f"the entity {key!r} is there twice"
    for first, second in pairwise(keys):
        if rank(first) > rank(second):
            yield f"the entity {second!r} must come before {first!r}"


def label_problem(key: str, label: str) -> str | None:
    """What BIDS does not allow in one entity, as a sentence; None if it is right."""
    entities = vocabulary().entities
    rule = entities.get(key)
    if rule is None:
        by_name = {entity.name: entity.key for entity in entities.values()}
        meant = by_name.get(key) or next(iter(get_close_matches(key, entities, n=1)), None)
        hint = f": did you mean {meant!r}?" if meant else f" (known: {', '.join(entities)})"
        return f"unknown entity {key!r}{hint}"
    if not label:
        return f"the entity {key!r} has no label"
    if rule.allowed and label not in rule.allowed:
        return f"the entity {key!r} must be one of {', '.join(rule.allowed)}, not {label!r}"
    if not rule.pattern.fullmatch(label):
        return f"the label {label!r} of {key!r} does not match BIDS' {rule.pattern.pattern}"
    return None


def _suffix_problem(datatype: str, suffix: str) -> str:
    words = vocabulary()
    if datatype not in words.datatypes:
        meant = next(iter(get_close_matches(datatype, words.datatypes, n=1)), None)
        hint = f"did you mean {meant}?" if meant else f"volumes lie in {', '.join(words.datatypes)}"
        return f"unknown datatype folder {datatype!r}: {hint}"
    folders = [folder for folder, other in words.files if other == suffix]
    if folders:
        return f"the suffix {suffix!r} belongs into the folder {' or '.join(folders)}, not into {datatype}"
    known = words.suffixes(datatype)
    meant = next(iter(_close_ignoring_case(suffix, known)), None)
    hint = f"did you mean {meant}?" if meant else f"it allows {', '.join(known)}"
    return f"unknown suffix {suffix!r} for volumes of {datatype}: {hint}"


def _close_ignoring_case(word: str, known: Iterable[str]) -> list[str]:
    by_lower = {other.lower(): other for other in known}
    return [by_lower[match] for match in get_close_matches(word.lower(), by_lower, n=1)]


def _ordered(keys: Iterable[str]) -> list[str]:
    return sorted(keys, key=vocabulary().rank)
