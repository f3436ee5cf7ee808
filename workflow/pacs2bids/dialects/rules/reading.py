"""A rules file from its text: every mistake is told at its line, all of them at once.

The shape is also in ``schemas/rules.schema.json``, for editors; a test holds the two together.
"""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from difflib import get_close_matches
from functools import lru_cache
from pathlib import Path

import yaml

from pacs2bids.bids import BidsName, FileRule, label_problem, metadata_fields, vocabulary
from pacs2bids.dialects.problem import AUTOMATIC, PAIRED, Problem, meant
from pacs2bids.dialects.rules import conditions
from pacs2bids.dialects.rules.conditions import Condition, Test
from pacs2bids.dialects.rules.facts import FACTS, SIDECAR
from pacs2bids.dialects.rules.records import Rule, RulesFile, Target
from pacs2bids.model import HeuristicError, Json
from pacs2bids.session import VOLUME_TYPES
from pacs2bids.yaml_text import NoYamlError, compose, read_text

ANYTHING = "anything"
FILE_KEYS = ("rules", "case_sensitive", "exclusive")
RULE_KEYS = (
    "name",
    "match",
    "datatype",
    "suffix",
    "entities",
    "sidecar",
    "run",
    "short",
    "expected_volumes",
    "volume_types",
    "skip",
)
TARGET_KEYS = tuple(key for key in RULE_KEYS if key not in ("name", "match", "skip"))
LIMITS = {"from": "least", "to": "most", "above": "above", "below": "below"}
OPERATORS = ("is", "regex", *LIMITS, "list", "any", "all", "not")
COMBINERS = ("any", "all", "not")
RUNS = {"when_several": "several", "always": "always", "as_written": "written"}
DEPTH = 20  # of conditions in conditions; YAML can make endless ones

PLACEHOLDER = re.compile(r"\{([^{}]*)\}")
_NUMBER = re.compile(r"-?(0|[1-9][0-9]*)(\.[0-9]+)?([eE][-+]?[0-9]+)?|-?\.[0-9]+")
_WHOLE = re.compile(r"-?[0-9]{1,18}")  # longer ones are rounded, as in JSON
_SHORT = re.compile(r"keep|drop|[a-z]+-[A-Za-z0-9+]+")


def read_rules(path: Path) -> RulesFile:
    """Read a rules file. Raises HeuristicError that tells every mistake with its line."""
    rules, problems = check_rules(path)
    errors = [problem for problem in problems if problem.is_error]
    if rules is None or errors:
        if len(errors) == 1:
            (one,) = errors
            where = f"{path}, line {one.line}" if one.line else str(path)
            raise HeuristicError(one.what, where=where, hint=one.hint)
        listed = "\n  - ".join(map(str, errors))
        raise HeuristicError(f"{len(errors)} mistakes:\n  - {listed}", where=str(path))
    return rules


def check_rules(path: Path) -> tuple[RulesFile | None, tuple[Problem, ...]]:
    """A rules file, as far as it can be read, and all that is wrong with it, by line."""
    try:
        return check_text(read_text(path), path)
    except NoYamlError as error:
        return None, (Problem(line=0, what=error.what),)


@lru_cache(maxsize=4)  # the sessions of a study ask the same file
def check_text(text: str, path: Path) -> tuple[RulesFile | None, tuple[Problem, ...]]:
    """The same of a text. ``path``: the file that messages tell."""
    try:
        node = compose(text)
    except NoYamlError as error:
        return None, (Problem(line=error.line or 0, what=error.what, hint=error.hint),)
    reader = _Reader()
    file = RulesFile(
        path=path,
        rules=reader.file(node),
        is_exclusive=reader.is_exclusive,
        has_patterns=reader.has_patterns,
    )
    return file, tuple(sorted(reader.problems, key=lambda problem: problem.line))


# --------------------------------------------------------------------------------------------- nodes


def _line(node: yaml.Node) -> int:
    return int(node.start_mark.line) + 1


def _scalar(node: yaml.Node) -> Json:
    """What one word of YAML means: a number, true, false, nothing, or a text."""
    if node.tag.endswith(":null"):
        return None
    if node.tag.endswith(":bool"):
        return bool(node.value == "true")
    is_plain = isinstance(node, yaml.ScalarNode) and node.style is None
    if not is_plain or not _NUMBER.fullmatch(node.value) or not math.isfinite(float(node.value)):
        return str(node.value)
    return int(node.value) if _WHOLE.fullmatch(node.value) else float(node.value)


def _kind(node: yaml.Node) -> str:
    if isinstance(node, yaml.MappingNode):
        return "keys with values"
    if isinstance(node, yaml.SequenceNode):
        return "a list" if node.value else "an empty one"
    return conditions.shown(_scalar(node)) if _scalar(node) is not None else "empty"


def _shape(node: yaml.Node, depth: int = 0) -> str:
    """What a node says, whatever the order of its keys and the way it is written; "" if it has no end."""
    if depth > DEPTH:
        return ""
    if isinstance(node, yaml.MappingNode):
        pairs = [f"{key.value}: {_shape(value, depth + 1)}" for key, value in node.value]
        return f"{{{', '.join(sorted(pairs))}}}"
    if isinstance(node, yaml.SequenceNode):
        return f"[{', '.join(_shape(one, depth + 1) for one in node.value)}]"
    return repr(_scalar(node))


@dataclass(frozen=True, slots=True)
class _Entry:
    """One key of a mapping, and what stands there."""

    key: str
    line: int
    node: yaml.Node


# --------------------------------------------------------------------------------------------- the reader


class _Reader:
    """Makes records of nodes; what is wrong goes to ``problems``, and the reading goes on."""

    def __init__(self) -> None:
        self.problems: list[Problem] = []
        self.flags = re.IGNORECASE
        self.is_exclusive = self.has_patterns = False

    def file(self, node: yaml.Node | None) -> tuple[Rule, ...]:
        """The whole file."""
        hint = "Write 'rules:' and below it a list, each rule beginning with '- name:'"
        if not isinstance(node, yaml.MappingNode):
            self._wrong(_line(node) if node else 1, "must hold the key 'rules'", hint)
            return ()
        entries = {entry.key: entry for entry in self._entries(node, FILE_KEYS, "a rules file")}
        if "case_sensitive" in entries and self._flag(entries["case_sensitive"]):
            self.flags = re.NOFLAG
        self.is_exclusive = "exclusive" in entries and self._flag(entries["exclusive"])
        if "rules" not in entries:
            self._wrong(_line(node), "must hold the key 'rules'", hint)
            return ()
        nodes = self._list(entries["rules"])
        if not self.is_exclusive:
            self._never_asked(nodes)
        found = [self._rule(one) for one in nodes]
        return tuple(rule for rule in found if rule is not None)

    def _never_asked(self, nodes: Sequence[yaml.Node]) -> None:
        """Rules below one that takes everything, or that asks for the same."""
        first: dict[str, int] = {}
        for node in nodes:
            pairs = node.value if isinstance(node, yaml.MappingNode) else ()
            asked = next((_shape(value) for key, value in pairs if key.value == "match"), "")
            line = first.get(repr(ANYTHING), first.get(asked))
            if asked and line is not None:
                what = f"is never asked: the rule of line {line} takes all that it would"
                self._wrong(
                    _line(node), what, "The first that fits wins: put that rule lower", is_error=False
                )
            first.setdefault(asked, _line(node))

    # ---------------------------------------------------------------------------------- a rule

    def _rule(self, node: yaml.Node) -> Rule | None:
        if not isinstance(node, yaml.MappingNode):
            self._wrong(
                _line(node), f"a rule must be keys with values, not {_kind(node)}", "Begin it with '- name:'"
            )
            return None
        entries = {entry.key: entry for entry in self._entries(node, RULE_KEYS, "a rule")}
        name = self._text(entries["name"]) if "name" in entries else ""
        condition, groups = conditions.every(()), frozenset[str]()
        if "match" in entries:
            condition, groups = self._match(entries["match"])
        else:
            hint = f"Say what it takes, as in 'match: {{protocol_name: \"*T1w*\"}}', or 'match: {ANYTHING}'"
            self._wrong(_line(node), "the rule has no 'match'", hint)
        skip = self._skip(entries)
        target = None if "skip" in entries else self._target(entries, groups, _line(node))
        return Rule(name=name, line=_line(node), condition=condition, target=target, skip=skip)

    def _skip(self, entries: dict[str, _Entry]) -> str:
        if "skip" not in entries:
            return ""
        for key in TARGET_KEYS:
            if key in entries:
                self._wrong(entries[key].line, f"{key!r} stands beside 'skip'", "Write one of them")
        said = self._text(entries["skip"])
        if said in ("true", "false"):
            self._wrong(entries["skip"].line, "'skip' says why, for the plan", "As in 'skip: localizer'")
        return said

    def _target(self, entries: dict[str, _Entry], groups: frozenset[str], line: int) -> Target | None:
        missing = [key for key in ("datatype", "suffix") if key not in entries]
        if missing:
            hint = "Or write 'skip: <reason>' to leave out what it takes"
            self._wrong(line, f"the rule has no {' and no '.join(map(repr, missing))}", hint)
        entities = self._entities(entries.get("entities"), groups)
        sidecar: dict[str, Json] = {}
        for entry in self._entries_of(entries.get("sidecar")):
            self._known_field(entry.key, entry)
            sidecar[entry.key] = self._json(entry.node)
            self._not_python(sidecar[entry.key], entry)
            self._placeholders(sidecar[entry.key], groups, entry.line)
        if missing:
            return None
        target = Target(
            datatype=self._text(entries["datatype"]),
            suffix=self._text(entries["suffix"]),
            entities={key: label for key, (label, _) in entities.items()},
            sidecar=sidecar,
            run=self._run(entries, has_run="run" in entities),
            short=self._short(entries),
            volumes=self._volumes(entries),
            volume_types=self._volume_types(entries),
        )
        self._check_name(target, entries, {key: at for key, (_, at) in entities.items()}, line)
        return target

    def _run(self, entries: dict[str, _Entry], *, has_run: bool) -> str:
        if "run" not in entries:
            return "written" if has_run else "several"
        said = self._text(entries["run"])
        if said not in RUNS:
            hint = f"{meant(said, RUNS)}. A fixed number stands under entities: 'run: 2'"
            self._wrong(entries["run"].line, f"'run' cannot be {said!r}", hint)
        return RUNS.get(said, "several")

    def _short(self, entries: dict[str, _Entry]) -> str:
        said = self._text(entries["short"]) if "short" in entries else ""
        if said and not _SHORT.fullmatch(said):
            hint = "Write keep, drop, or an entity to mark it with, as 'acq-short'"
            self._wrong(entries["short"].line, f"'short' cannot be {said!r}", hint)
        return said

    def _volumes(self, entries: dict[str, _Entry]) -> int | None:
        if "expected_volumes" not in entries:
            return None
        said = self._json(entries["expected_volumes"].node)
        if isinstance(said, int) and not isinstance(said, bool) and said > 0:
            return said
        self._wrong(entries["expected_volumes"].line, "'expected_volumes' must be a whole number, as 200")
        return None

    def _volume_types(self, entries: dict[str, _Entry]) -> tuple[str, ...]:
        if "volume_types" not in entries:
            return ()
        entry = entries["volume_types"]
        said = [_scalar(one) for one in self._list(entry)]
        for one in said:
            if one not in VOLUME_TYPES:
                hint = meant(str(one), VOLUME_TYPES)
                self._wrong(entry.line, f"'volume_types' cannot hold {conditions.shown(one)}", hint)
        return tuple(str(one) for one in said)

    # ---------------------------------------------------------------------------------- names

    def _entities(self, entry: _Entry | None, groups: frozenset[str]) -> dict[str, tuple[str, int]]:
        """Labels by key in BIDS' order, each with its line."""
        by_name = {rule.name: rule.key for rule in vocabulary().entities.values()}
        found: dict[str, tuple[str, int]] = {}
        for one in self._entries_of(entry):
            key = by_name.get(one.key, one.key)
            label = self._text(one)
            if key in ("sub", "ses"):
                self._wrong(one.line, f"{one.key!r} comes from the studies table", "Leave it out here")
            elif key in found:
                self._wrong(one.line, f"the entity {key!r} is there twice")
            else:
                found[key] = (label, one.line)
                self._check_label(key, label, one.line)
                self._placeholders(label, groups, one.line)
        return dict(sorted(found.items(), key=lambda item: vocabulary().rank(item[0])))

    def _check_label(self, key: str, label: str, line: int) -> None:
        rule = vocabulary().entities.get(key)
        sample = PLACEHOLDER.sub("1", label)
        if rule is not None and rule.allowed and sample != label:
            sample = rule.allowed[0]  # what the fact says is checked when it is known
        problem = label_problem(key, sample)
        if problem:
            self._wrong(line, problem.replace(repr(sample), repr(label)))

    def _check_name(
        self, target: Target, entries: dict[str, _Entry], lines: dict[str, int], line: int
    ) -> None:
        suffix = PAIRED.get((target.datatype, target.suffix), target.suffix)
        kinds = vocabulary().files.get((target.datatype, suffix))
        if kinds is None:
            is_folder = target.datatype in vocabulary().datatypes
            name = BidsName(subject="1", session="", datatype=target.datatype, suffix=suffix)
            self._wrong(entries["suffix" if is_folder else "datatype"].line, "; ".join(name.problems()))
            return
        keys = {key for key in lines if key in vocabulary().entities}
        kind = min(kinds, key=lambda one: len(_missing(one, keys)) + len(_extra(one, keys)))
        file = f"{target.datatype}/*_{target.suffix}"
        for key in _missing(kind, keys):
            self._wrong(line, f"{file} needs the entity {key!r}", f"As in 'entities: {{{key}: ...}}'")
        for key in _extra(kind, keys):
            allowed = sorted((kind.required | kind.optional) - {"sub", "ses"}, key=vocabulary().rank)
            self._wrong(lines[key], f"{file} allows no entity {key!r}", f"Allowed: {', '.join(allowed)}")

    def _placeholders(self, said: Json, groups: frozenset[str], line: int) -> None:
        """Whether all ``{words}`` in a text, or in the texts of a list or object, are known."""
        if isinstance(said, dict | list):
            for one in said.values() if isinstance(said, dict) else said:
                self._placeholders(one, groups, line)
        for word in PLACEHOLDER.findall(said) if isinstance(said, str) else ():
            if word not in groups and word not in FACTS and not word.startswith(SIDECAR):
                known = meant(word, [*sorted(groups), *FACTS])
                hint = f"{known}, sidecar.<Field>, or (?P<{word or 'name'}>...) in a regex"
                self._wrong(
                    line, f"{{{word}}} is no fact, and nothing that a regex of this rule catches", hint
                )

    # ---------------------------------------------------------------------------------- conditions

    def _match(self, entry: _Entry) -> tuple[Condition, frozenset[str]]:
        """The condition, and the names of groups that it can catch."""
        if isinstance(entry.node, yaml.ScalarNode) and entry.node.value == ANYTHING:
            return conditions.every(()), frozenset()
        if not isinstance(entry.node, yaml.MappingNode) or not entry.node.value:
            hint = (
                f"As in 'match: {{protocol_name: \"*T1w*\"}}'; to take all that is left: 'match: {ANYTHING}'"
            )
            self._wrong(entry.line, f"'match' must be facts with values, not {_kind(entry.node)}", hint)
            return conditions.every(()), frozenset()
        groups: set[str] = set()
        return conditions.every(self._conditions(entry.node, groups, 0)), frozenset(groups)

    def _conditions(self, node: yaml.Node, groups: set[str], depth: int) -> list[Condition]:
        found = []
        for entry in self._entries(node, (*FACTS, *COMBINERS), "the match", is_open=True):
            self._known_field(entry.key.removeprefix(SIDECAR), entry)
            if entry.key in COMBINERS:
                found.append(self._combined(entry, groups, depth + 1))
            else:
                found.append(conditions.asks(entry.key, self._test(entry.node, entry.key, groups, depth + 1)))
        return found

    def _known_field(self, field: str, entry: _Entry) -> None:
        """Warn of a field of the sidecar that is nearly one of BIDS'."""
        close = [] if field in metadata_fields() else get_close_matches(field, metadata_fields(), 1, 0.85)
        if close and field not in (*FACTS, *COMBINERS):
            what = f"BIDS has no field {field!r}"
            self._wrong(entry.line, what, f"Did you mean {close[0]!r}?", is_error=False)

    def _not_python(self, said: Json, entry: _Entry) -> None:
        """Warn of None, which is a word in YAML."""
        if said == "None":
            what = f'{entry.key!r} becomes the text "None"'
            self._wrong(entry.line, what, "Write null to leave the field out", is_error=False)

    def _combined(self, entry: _Entry, groups: set[str], depth: int) -> Condition:
        if depth > DEPTH:
            self._wrong(entry.line, f"conditions are nested more than {DEPTH} deep")
            return conditions.every(())
        caught = set[str]() if entry.key == "not" else groups  # what does not match catches nothing
        if entry.key == "not" and isinstance(entry.node, yaml.MappingNode):
            return conditions.none_of(self._conditions(entry.node, caught, depth))
        parts = [conditions.every(self._conditions(one, caught, depth)) for one in self._list(entry)]
        combine: dict[str, Callable[[list[Condition]], Condition]] = {
            "any": conditions.some,
            "all": conditions.every,
            "not": conditions.none_of,
        }
        return combine[entry.key](parts)

    def _test(self, node: yaml.Node, fact: str, groups: set[str], depth: int) -> Test:
        if depth > DEPTH:
            self._wrong(_line(node), f"conditions are nested more than {DEPTH} deep")
        elif isinstance(node, yaml.SequenceNode):
            if not node.value:
                self._wrong(_line(node), f"{fact!r} holds an empty list, which nothing satisfies")
            return conditions.any_of([self._test(one, fact, groups, depth + 1) for one in node.value])
        elif isinstance(node, yaml.MappingNode):
            return self._operators(node, fact, groups, depth)
        else:
            return self._plain(node, fact)
        return conditions.unknown()

    def _plain(self, node: yaml.Node, fact: str, *, exact: bool = False) -> Test:
        """What one word asks for: a text may hold ``*`` and ``?`` unless ``exact``."""
        said, kind = _scalar(node), FACTS[fact].kind if fact in FACTS else ""
        if said is None:
            return conditions.unknown()
        if kind == "flag" and not isinstance(said, bool):
            self._wrong(_line(node), f"{fact!r} is true or false, not {_kind(node)}")
        if kind == "number" and (isinstance(said, bool | str)):
            hint = "Write a number, or limits as {from: 1, to: 2}, {above: 1}, {below: 2}"
            self._wrong(_line(node), f"{fact!r} is a number, not {_kind(node)}", hint)
        if isinstance(said, bool) and kind not in ("text", "texts"):
            return conditions.is_flag(said)
        if isinstance(said, int | float) and not isinstance(said, bool):
            return conditions.is_number(said)
        text = str(node.value)
        parts = [text] if exact else re.split(r"([*?])", text)
        pattern = "".join({"*": ".*", "?": "."}.get(part, re.escape(part)) for part in parts)
        if exact:
            pattern = re.escape(text)
        return conditions.matches(re.compile(pattern, self.flags | re.DOTALL), repr(text), whole=True)

    def _operators(self, node: yaml.Node, fact: str, groups: set[str], depth: int) -> Test:
        """Everything that is said of one fact in braces must hold."""
        tests, limits = [], dict[str, float]()
        entries = self._entries(node, OPERATORS, f"the test of {fact!r}")
        for entry in entries:
            if entry.key in LIMITS:
                limits[LIMITS[entry.key]] = self._limit(entry)
            elif entry.key == "regex":
                tests.append(self._regex(entry, groups))
            elif entry.key == "not":
                tests.append(conditions.negated(self._test(entry.node, fact, set(), depth + 1)))
            elif entry.key == "is" and isinstance(entry.node, yaml.ScalarNode):
                tests.append(self._plain(entry.node, fact, exact=True))
            elif entry.key == "is":
                self._wrong(
                    entry.line, "'is' is followed by one value", "For a whole list write 'list: [...]'"
                )
            else:
                combine = {"list": conditions.whole_list, "any": conditions.any_of, "all": conditions.all_of}
                inner = [self._test(one, fact, groups, depth + 1) for one in self._list(entry)]
                tests.append(combine[entry.key](inner))
        if limits:
            tests.append(conditions.in_range(**limits))
        if not entries and not node.value:
            self._wrong(_line(node), f"the test of {fact!r} is empty", f"Allowed: {', '.join(OPERATORS)}")
        return tests[0] if len(tests) == 1 else conditions.all_of(tests)

    def _limit(self, entry: _Entry) -> float:
        said = self._json(entry.node)
        if isinstance(said, int | float) and not isinstance(said, bool):
            return float(said)
        self._wrong(entry.line, f"{entry.key!r} must be a number, not {_kind(entry.node)}")
        return 0.0

    def _regex(self, entry: _Entry, groups: set[str]) -> Test:
        text = self._text(entry)
        try:
            pattern = re.compile(text, self.flags)
        except re.error as error:
            what = f"is no regular expression: {error.msg} at character {(error.pos or 0) + 1}"
            self._wrong(entry.line, f"{text!r} {what}")
            return conditions.unknown()
        groups.update(pattern.groupindex)
        self.has_patterns = True
        return conditions.matches(pattern, f"like {text!r}")

    # ---------------------------------------------------------------------------------- parts

    def _wrong(self, line: int, what: str, hint: str = "", *, is_error: bool = True) -> None:
        self.problems.append(Problem(line=line, what=what, hint=hint, is_error=is_error))

    def _entries_of(self, entry: _Entry | None) -> list[_Entry]:
        return self._entries(entry.node, (), entry.key, is_open=True) if entry else []

    def _entries(
        self, node: yaml.Node, allowed: tuple[str, ...], where: str, *, is_open: bool = False
    ) -> list[_Entry]:
        """The keys of a mapping, those that are not allowed left out.

        ``is_open``: if nothing is listed as allowed, all is; else ``sidecar.<Field>`` is, too.
        """
        if not isinstance(node, yaml.MappingNode):
            self._wrong(_line(node), f"{where} must be keys with values, not {_kind(node)}")
            return []
        return list(self._known_entries(node, allowed, where, is_open=is_open))

    def _known_entries(
        self, node: yaml.MappingNode, allowed: tuple[str, ...], where: str, *, is_open: bool
    ) -> Iterator[_Entry]:
        seen: set[str] = set()
        for key, value in node.value:
            word = key.value if isinstance(key, yaml.ScalarNode) else ""
            if not word:
                self._wrong(_line(key), "a key must be a text")
            elif word in seen:
                self._wrong(_line(key), f"the key {word!r} stands there twice")
            elif allowed and word not in allowed and not (is_open and word.startswith(SIDECAR)):
                self._wrong(_line(key), *_unknown(word, allowed, where, is_open=is_open))
            else:
                yield _Entry(word, _line(key), value)
            seen.add(word)

    def _list(self, entry: _Entry) -> list[yaml.Node]:
        if isinstance(entry.node, yaml.SequenceNode) and entry.node.value:
            return list(entry.node.value)
        self._wrong(
            entry.line, f"{entry.key!r} must be a list, not {_kind(entry.node)}", "Begin each with '- '"
        )
        return []

    def _flag(self, entry: _Entry) -> bool:
        said = self._json(entry.node)
        if not isinstance(said, bool):
            self._wrong(entry.line, f"{entry.key!r} is true or false, not {_kind(entry.node)}")
        return said is True

    def _text(self, entry: _Entry) -> str:
        """A word as it is written; a number is one, too."""
        if isinstance(entry.node, yaml.ScalarNode) and not entry.node.tag.endswith(":null"):
            return str(entry.node.value)
        self._wrong(entry.line, f"{entry.key!r} must be a text, not {_kind(entry.node)}", _quoted(entry.node))
        return ""

    def _json(self, node: yaml.Node, depth: int = 0) -> Json:
        if depth > DEPTH:
            self._wrong(_line(node), f"values are nested more than {DEPTH} deep")
            return None
        if isinstance(node, yaml.SequenceNode):
            return [self._json(one, depth + 1) for one in node.value]
        if isinstance(node, yaml.MappingNode):
            entries = self._entries(node, (), "a value", is_open=True)
            return {entry.key: self._json(entry.node, depth + 1) for entry in entries}
        return _scalar(node)


def _missing(kind: FileRule, keys: set[str]) -> list[str]:
    """Required entities that neither the rule gives nor the plan finds by itself."""
    return sorted(kind.required - keys - AUTOMATIC)


def _extra(kind: FileRule, keys: set[str]) -> list[str]:
    return sorted(keys - kind.required - kind.optional)


def _unknown(word: str, allowed: tuple[str, ...], where: str, *, is_open: bool) -> tuple[str, str]:
    """What to say of a key that is not allowed."""
    if is_open and word.lower().startswith("patient"):
        return f"{word!r} cannot be asked: it tells who the patient is", "Names must follow from the images"
    hint = meant(word, allowed) + (", sidecar.<Field>" if is_open else "")
    return f"{where} knows no {word!r}", hint


def _quoted(node: yaml.Node) -> str:
    """What to write where braces stand without quotes: YAML takes ``{task}`` for keys with values."""
    pairs = node.value if isinstance(node, yaml.MappingNode) else ()
    names = [key.value for key, value in pairs if isinstance(key, yaml.ScalarNode) and value.value == ""]
    return f'Write it in quotes: "{{{names[0]}}}"' if len(names) == 1 == len(pairs) else ""
