"""README, CONTRIBUTING and docs/: links lead somewhere, and what is to be typed is understood."""

from __future__ import annotations

import argparse
import ast
import importlib
import json
import re
import shlex
from pathlib import Path
from typing import Any

import pytest
import yaml
from jsonschema import Draft202012Validator
from pages import PAGES, ROOT, anchors, blocks, links, name_of, words_in_code
from snakemake.cli import get_argument_parser

from pacs2bids.command import VERBS
from pacs2bids.dialects.linting import lint

SCHEMA = json.loads((ROOT / "workflow/pacs2bids/schemas/config.schema.json").read_text())
KEYS = SCHEMA["properties"]
RULES = "\n".join(path.read_text() for path in (ROOT / "workflow/rules").glob("*.smk"))
# folders of the repository that are tracked: a path below them that a page names is there
TRACKED = ("workflow/", "tests/", "profiles/", "docs/", "heuristics/", ".ci/")
YOURS = re.compile(
    r"heuristics/(mine|<study>)\.\w+|profiles/lsf/config\.yaml"
)  # files that the reader is to write


def commands(first: str) -> list[tuple[str, str]]:
    """(where, command) of all lines in blocks that begin so, comments removed."""
    lines = [(str(block), line.strip()) for block in blocks() for line in block.text.splitlines()]
    return [(where, line.partition("  #")[0]) for where, line in lines if line.split()[:1] == [first]]


def said_in_passing(first: str) -> list[tuple[str, str]]:
    """The same of what stands between backticks; there arguments may be left out."""
    words = [(name_of(page), word) for page in PAGES for word in words_in_code(page)]
    # a message that is shortened may begin with a command's name
    return [(where, word) for where, word in words if word.startswith(first + " ") and "…" not in word]


# ------------------------------------------------------------------------------------------------- links


def test_links_lead_to_files_and_headings() -> None:
    broken = []
    for page in PAGES:
        for link in links(page):
            if link.startswith(("https://", "http://")):
                continue
            path, _, anchor = link.partition("#")
            target = (page.parent / path).resolve() if path else page
            if not target.exists() or (anchor and anchor not in anchors(target)):
                broken.append(f"{name_of(page)}: {link}")
    assert broken == []


def test_a_broken_anchor_would_be_seen() -> None:
    config = ROOT / "docs/config.md"
    assert {"sources", "dates", "on-the-command-line"} <= anchors(config)
    assert "source" not in anchors(config)


def test_files_that_are_named_are_there() -> None:
    named = {(name_of(page), word.split(":")[0]) for page in PAGES for word in words_in_code(page)}
    missing = [
        f"{page}: {word}"
        for page, word in sorted(named)
        if word.startswith(TRACKED)
        and " " not in word
        and not YOURS.fullmatch(word)
        and not ((ROOT / word).exists() or ("<" in word and list(ROOT.glob(re.sub("<.*?>", "*", word)))))
    ]
    assert missing == []


# ------------------------------------------------------------------------------------------------ commands


def verb_parser(verb: str) -> argparse.ArgumentParser:
    """A verb's own options, as the command line has them; what is wrong is raised."""

    class Parser(argparse.ArgumentParser):
        def error(self, message: str) -> Any:
            raise ValueError(message)

    parser = Parser(prog=verb, allow_abbrev=False)
    parser.add_argument("--log", type=Path)
    parser.add_argument("--verbose", "-v", action="store_true")
    parser.add_argument("--debug", action="store_true")
    importlib.import_module(f"pacs2bids.verbs.{verb.replace('-', '_')}").configure(parser)
    return parser


def complaint(command: str) -> str:
    """What the command line says to a pacs2bids command, "" if it takes it."""
    _, verb, *words = shlex.split(command.replace("[", "").replace("]", "").replace(" ...", ""))
    if verb.startswith("-"):
        return "" if verb in ("--help", "--version") and not words else "no such option"
    if verb not in VERBS:
        return f"no such verb: {verb}"
    try:
        verb_parser(verb).parse_args(words)
    except ValueError as error:
        return str(error)
    return ""


def test_commands_of_blocks_are_understood() -> None:
    # "convert ...": the arguments of the line above
    full = [(where, line.replace("convert ...", "convert IN OUT")) for where, line in commands("pacs2bids")]
    assert len(full) > 20
    wrong = [f"{where}: {line}: {said}" for where, line in full if (said := complaint(line))]
    assert wrong == []


def test_commands_in_passing_are_understood() -> None:
    wrong = []
    for where, word in said_in_passing("pacs2bids"):
        said = complaint(word)
        # left out: what must be given, for a sentence is about something else
        if (
            said
            and "are required" not in said
            and "expected one argument" not in said
            and "<verb>" not in word
        ):
            wrong.append(f"{where}: {word}: {said}")
    assert wrong == []


@pytest.mark.parametrize(
    ("command", "said"),
    [
        ("pacs2bids plann", "no such verb"),
        ("pacs2bids plan --dif", "unrecognized arguments"),
        ("pacs2bids convert IN OUT --gzip best", "invalid choice"),
        ("pacs2bids convert IN", "are required"),
        ("pacs2bids plan --diff", ""),
    ],
)
def test_a_wrong_command_would_be_seen(command: str, said: str) -> None:
    assert complaint(command).find(said) >= 0
    assert bool(complaint(command)) == bool(said)


def test_targets_of_make_exist() -> None:
    targets = set(re.findall(r"^([a-z][a-z-]*):", (ROOT / "Makefile").read_text(), re.MULTILINE))
    variables = ("TESTS=", "BENCH=", "PYTHON=")
    named = [*commands("make"), *said_in_passing("make")]
    assert {line for _, line in named} >= {"make demo", "make test"}
    words = [(where, word) for where, line in named for word in shlex.split(line)[1:]]
    words = [(where, word) for where, word in words if not word.startswith(variables)]
    # "make bench BENCH=session ct": what follows belongs to the variable
    assert [f"{where}: {word}" for where, word in words if word not in targets] == []


def test_options_of_snakemake_exist(capsys: pytest.CaptureFixture[str]) -> None:
    parser = get_argument_parser()
    rules = set(re.findall(r"^(?:rule|checkpoint) (\w+)", RULES, re.MULTILINE))
    wrong = []
    for where, line in [*commands("snakemake"), *said_in_passing("snakemake")]:
        try:
            asked = parser.parse_args(shlex.split(line)[1:])
        except SystemExit:
            wrong.append(f"{where}: {line}: {capsys.readouterr().err.splitlines()[-1]}")
            continue
        aims = [*(asked.forcerun or ()), *(asked.until or ()), *asked.targets]
        wrong += [f"{where}: {line}: no rule {aim}" for aim in aims if "/" not in aim and aim not in rules]
    assert wrong == []


# ---------------------------------------------------------------------------------- configuration, heuristics


def faults(configured: dict[str, Any]) -> list[str]:
    """What the schema says to some keys of a configuration."""
    some = {**SCHEMA, "required": []}
    # as texts: numbers and dates of the configuration are read as they are written
    return [error.message for error in Draft202012Validator(some).iter_errors(configured)]


def test_blocks_of_yaml_are_configurations_or_rules(tmp_path: Path) -> None:
    seen, wrong = 0, []
    for block in blocks():
        is_config = block.text.partition(":")[0] in KEYS
        if not is_config and block.language != "yaml":
            continue
        content, seen = yaml.safe_load(block.text), seen + 1
        if is_config:
            wrong += [f"{block}: {fault}" for fault in faults(content)]
            continue
        text = block.text if "rules:" in block.text else f"rules:\n{block.text}"
        if isinstance(content, dict) and "match" in content:  # the conditions of a rule
            text = f"rules:\n  -\n{block.text}    skip: for a test\n"
        path = tmp_path / "rules.yaml"
        path.write_text(text)
        wrong += [f"{block}: {problem}" for problem in lint(path)]
    assert wrong == []
    assert seen > 12


def test_settings_in_passing_are_allowed() -> None:
    wrong, seen = [], 0
    for page in PAGES:
        for word in words_in_code(page):
            if word.partition(": ")[0] in KEYS and ": " in word and "..." not in word:
                seen += 1
                wrong += [f"{name_of(page)}: {word}: {fault}" for fault in faults(yaml.safe_load(word))]
    assert wrong == []
    assert seen > 5


def test_a_wrong_setting_would_be_seen() -> None:
    assert faults({"on_broken_series": "ignore"})
    assert faults({"gzip_level": 3})
    assert not faults({"on_broken_series": "skip"})


def test_config_md_tells_every_key() -> None:
    told = set(words_in_code(ROOT / "docs/config.md"))
    assert set(KEYS) - told == set()


def test_blocks_of_python_compile_and_heuristics_are_clean(tmp_path: Path) -> None:
    wrong, linted = [], 0
    for number, block in enumerate(blocks()):
        if block.language != "python":
            continue
        ast.parse(block.text, filename=str(block))
        if "infotodict" in block.text or "heudiconv.heuristics" in block.text:
            path = tmp_path / f"block{number}.py"
            path.write_text(block.text)
            wrong += [f"{block}: {problem}" for problem in lint(path)]
            linted += 1
    assert wrong == []
    assert linted >= 2


def test_what_is_to_be_typed_is_known_as_such() -> None:
    """A language that no test here looks at would pass unseen."""
    assert {block.language for block in blocks()} <= {"", "yaml", "python", "text"}
