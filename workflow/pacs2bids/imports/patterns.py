"""Patterns of other programs as tests of rules."""

from __future__ import annotations

import re

from pacs2bids.model import Json

FLAGS = re.compile(r"\(\?[aiLmsux]+\)")


def anchored(pattern: str, *, whole: bool) -> str | None:
    """A regular expression that must begin where the text does (``re.match``), or fit all of it.

    None if it is no regular expression.
    """
    flags, rest = "", pattern
    while found := FLAGS.match(rest):
        flags, rest = flags + found[0], rest[found.end() :]
    text = rf"{flags}^(?:{rest})" + (r"\Z" if whole else "")
    try:
        re.compile(text)
    except re.error:
        return None
    return text


def globbed(pattern: str) -> Json:
    """What ``fnmatch`` takes: ``*`` and ``?`` are ours, too; ``[abc]`` needs a regular expression."""
    if "[" not in pattern:
        return pattern
    words = {"*": ".*", "?": "."}
    parts = re.split(r"(\[!?\]?[^\]]*\]|[*?])", pattern)
    regex = "".join(_char_class(one) or words.get(one) or re.escape(one) for one in parts)
    return {"regex": rf"(?s)^{regex}\Z"}


def _char_class(part: str) -> str:
    if not (part.startswith("[") and part.endswith("]") and len(part) > 2):
        return ""
    inner = part[1:-1].replace("\\", r"\\").replace("[", r"\[")
    return f"[^{inner[1:]}]" if inner.startswith("!") else f"[{inner}]"


def parted(test: Json, other: Json) -> Json:
    """Both of two tests of one fact."""
    return {"all": [test, other]}
