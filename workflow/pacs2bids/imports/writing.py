"""Imported rules as the text of a rules file."""

from __future__ import annotations

from collections.abc import Iterator

import yaml

from pacs2bids.imports.records import Imported, ImportedRule
from pacs2bids.model import Json
from pacs2bids.text import counted

WIDTH = 110


def text_of(imported: Imported, source: str) -> str:
    """A rules file with comments. ``source``: name of the file that it came from."""
    lines = [
        f"# Rules made of {source}, a file of {imported.program}. What they can say: docs/rules.md.",
        "# `pacs2bids lint FILE` finds mistakes; `pacs2bids plan --heuristic FILE` shows what they do.",
        *_lost(imported),
        "",
        *(["case_sensitive: true"] if imported.is_case_sensitive else []),
        *(["exclusive: true  # what several rules fit gets no name"] if imported.is_exclusive else []),
        "rules:",
    ]
    for rule in imported.rules:
        lines += ["", *_rule(rule)]
    if not any(rule.is_active for rule in imported.rules):
        lines += ["", "  - {match: anything, skip: nothing could be imported}"]
    return "\n".join(lines) + "\n"


def _lost(imported: Imported) -> Iterator[str]:
    if not imported.all_lost:
        return
    yield "#"
    yield f"# Not carried over ({counted(len(imported.all_lost), 'thing')}):"
    for one in imported.all_lost:
        yield f"# - {one}"


def _rule(rule: ImportedRule) -> list[str]:
    content: dict[str, Json] = {"name": rule.name, "match": dict(rule.match) or "anything"}
    if rule.skip:
        content["skip"] = rule.skip
    else:
        content |= {"datatype": rule.datatype, "suffix": rule.suffix}
        for key, value in (("entities", rule.entities), ("run", rule.run), ("sidecar", rule.sidecar)):
            if value:
                content[key] = dict(value) if not isinstance(value, str) else value
    comments = [f"  # not carried over: {one.what}: {one.why}" for one in rule.lost]
    dumped = yaml.safe_dump(
        [content], sort_keys=False, default_flow_style=None, width=WIDTH - 4, allow_unicode=True
    )
    mark = "  " if rule.is_active else "  # "
    return comments + [mark + line for line in dumped.splitlines()]
