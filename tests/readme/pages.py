"""README, CONTRIBUTING and docs/ as their readers meet them: links, blocks of code, words in code."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path

from markdown_it import MarkdownIt
from markdown_it.token import Token

ROOT = Path(__file__).resolve().parents[2]
PAGES = (ROOT / "README.md", ROOT / "CONTRIBUTING.md", *sorted((ROOT / "docs").glob("*.md")))
MARKDOWN = MarkdownIt("commonmark").enable("table")


@dataclass(frozen=True, slots=True, kw_only=True)
class Block:
    """A block of code. ``language``: of a fence that names it; "" else."""

    page: str
    line: int
    language: str
    text: str

    def __str__(self) -> str:
        return f"{self.page}:{self.line}"


def name_of(page: Path) -> str:
    """A page as messages call it."""
    return page.relative_to(ROOT).as_posix()


def blocks() -> Iterator[Block]:
    """All blocks of code of all pages."""
    for page in PAGES:
        for token in MARKDOWN.parse(page.read_text(encoding="utf-8")):
            if token.type in ("fence", "code_block"):
                line = (token.map or [0])[0] + 1
                yield Block(page=name_of(page), line=line, language=token.info.strip(), text=token.content)


def inline(page: Path) -> Iterator[Token]:
    """The tokens inside of paragraphs, cells and headings."""
    for token in MARKDOWN.parse(page.read_text(encoding="utf-8")):
        yield from token.children or ()


def words_in_code(page: Path) -> list[str]:
    """What stands between backticks."""
    return [token.content for token in inline(page) if token.type == "code_inline"]


def links(page: Path) -> list[str]:
    """Where its links lead to."""
    found = (token.attrGet("href") for token in inline(page) if token.type == "link_open")
    return [str(target) for target in found]


def anchors(page: Path) -> set[str]:
    """What its headings can be linked by: words in small letters, hyphens between them, no other marks."""
    tokens = MARKDOWN.parse(page.read_text(encoding="utf-8"))
    headings = [after.content for token, after in pairwise(tokens) if token.type == "heading_open"]
    plain = (re.sub(r"[^\w\- ]", "", heading.lower()) for heading in headings)
    return {re.sub(" +", "-", heading.strip()) for heading in plain}
