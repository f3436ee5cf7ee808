"""The heuristic's file, as an editor sees it: never overwritten if another has written it meanwhile."""

from __future__ import annotations

import difflib
import hashlib
import stat
from pathlib import Path

from pacs2bids.builtin import heuristic_file, is_builtin
from pacs2bids.dialects import RULES
from pacs2bids.files import write_bytes
from pacs2bids.model import HeuristicError
from pacs2bids.studio.records import Document

MOST_BYTES = 1_000_000


def read_document(heuristic: Path) -> Document:
    """Read it. Raises HeuristicError if it cannot be read, or is no text; ConfigError for no built-in."""
    path = heuristic_file(heuristic)
    content = _content(path)
    try:
        text = content.decode()
    except UnicodeDecodeError:
        raise HeuristicError("is no UTF-8 text", where=str(path)) from None
    return Document(
        path=str(path),
        name=path.name,
        kind="rules" if path.suffix in RULES else "python",
        text="\n".join(text.replace("\r\n", "\n").split("\r")),
        digest=_digest(content),
        is_editable=not is_builtin(heuristic),
    )


def save(heuristic: Path, text: str, *, base: str) -> bool:
    """Write it, if it is still the one with the digest ``base``; whether it was.

    Its permissions stay, its line ends, and a link that leads to it. Raises HeuristicError as
    ``read_document``, and for a text that is too long.
    """
    path = heuristic_file(heuristic).resolve()
    content = _content(path)
    if _digest(content) != base:
        return False
    ends = "\r\n" if b"\r\n" in content else "\n"
    new = text.replace("\n", ends).encode()
    if len(new) > MOST_BYTES:
        raise _too_long(path)
    write_bytes(path, new, mode=stat.S_IMODE(path.stat().st_mode))
    return True


def is_still(heuristic: Path, digest: str) -> bool:
    """Whether the file is not known to be another than the one with this digest."""
    try:
        return _digest(_content(heuristic_file(heuristic))) == digest
    except HeuristicError:
        return True


def differences(theirs: str, mine: str) -> list[str]:
    """Lines of a unified diff, without its head."""
    return [*difflib.unified_diff(theirs.splitlines(), mine.splitlines(), lineterm="", n=2)][2:]


def digest_of(text: str) -> str:
    """Of a text that is saved nowhere."""
    return _digest(text.encode())


def _content(path: Path) -> bytes:
    try:
        with path.open("rb") as stream:
            content = stream.read(MOST_BYTES + 1)
    except OSError as error:
        raise HeuristicError(f"cannot be read: {error.strerror}", where=str(path)) from error
    if len(content) > MOST_BYTES:
        raise _too_long(path)
    return content


def _digest(content: bytes) -> str:
    return hashlib.sha256(content).hexdigest()


def _too_long(path: Path) -> HeuristicError:
    return HeuristicError(f"is longer than {MOST_BYTES:,} bytes", where=str(path))
