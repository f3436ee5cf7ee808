"""Reading multipart/related bodies (RFC 2046 section 5.1, RFC 2387) as they come, for parts of any size.

Theory of operation. One chunk of the body is held at a time. A part that says how long it is, is taken at its
word: exactly so many bytes, and behind them the boundary must stand, or the stream is broken. Of one that
does not, the end is searched for: "\\r\\n--boundary", of which the last bytes of a chunk may be a beginning,
so they are held back until more comes. What precedes the first boundary and follows the last is ignored.
(email.parser of the standard library wants whole bodies, and goes over them line by line.)
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from email.message import Message

_CHUNK = 256 * 1024
_LONGEST_HEAD = 64 * 1024  # of a part: more is no head
_NAMES = "latin-1"  # any bytes are; what we look at is ASCII


class BrokenError(Exception):
    """The body ends or errs before its closing boundary; says where, for people."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Part:
    """One part. ``length``: of its content in bytes, if its head says so.

    ``content``: its bytes in pieces; raises BrokenError where the stream breaks off. To be read before the
    next part is asked for; what is not read is skipped then.
    """

    content_type: str
    length: int | None
    content: Iterator[bytes | memoryview]


def media_type(content_type: str) -> str:
    """The type alone, in small letters: "multipart/related"."""
    return content_type.partition(";")[0].strip().lower()


def boundary_of(content_type: str) -> bytes:
    """The boundary that a Content-Type announces; b"" if there is none."""
    message = Message()
    message["Content-Type"] = content_type
    boundary = message.get_boundary("")
    return boundary.encode(_NAMES, "replace")


def parts(read: Callable[[int], bytes], boundary: bytes) -> Iterator[Part]:
    """The parts of a body. ``read``: gives at most so many bytes, b"" at the end.

    Raises BrokenError if the body ends without its closing boundary, or does not follow its own rules.
    """
    stream = _Stream(read)
    delimiter = b"--" + boundary
    stream.skip_to(delimiter)
    while not stream.is_closed_here():
        stream.end_line()
        part = _part(stream, b"\r\n" + delimiter)
        yield part
        for _ in part.content:  # what nobody wanted
            pass
    stream.drain()


def _part(stream: _Stream, delimiter: bytes) -> Part:
    head = stream.head()
    length = head.get("content-length", "")
    known = int(length) if length.isdecimal() else None
    content = stream.searched(delimiter) if known is None else stream.counted(known, delimiter)
    return Part(content_type=head.get("content-type", ""), length=known, content=content)


class _Stream:
    """A body, and the chunk of it that is looked at."""

    def __init__(self, read: Callable[[int], bytes]) -> None:
        self._read = read
        self._chunk = b""
        self._at = 0

    # ------------------------------------------------------------------------------------------ small steps

    def _more(self) -> None:
        """Another chunk behind the rest of this one."""
        further = self._read(_CHUNK)
        if not further:
            raise BrokenError("it ends without its closing boundary")
        self._chunk = self._chunk[self._at :] + further
        self._at = 0

    def _next(self, size: int) -> bytes:
        while len(self._chunk) - self._at < size:
            self._more()
        self._at += size
        return self._chunk[self._at - size : self._at]

    def is_closed_here(self) -> bool:
        """Whether "--" follows the boundary: it was the last."""
        if self._next(2) == b"--":
            return True
        self._at -= 2
        return False

    def end_line(self) -> None:
        """Go behind the end of a boundary's line, which may have blanks."""
        while (letter := self._next(1)) != b"\n":
            if letter not in b" \t\r":
                raise BrokenError("something stands behind a boundary")

    def skip_to(self, delimiter: bytes) -> None:
        """Go behind the first boundary."""
        while (found := self._chunk.find(delimiter, self._at)) < 0:
            if len(self._chunk) > _LONGEST_HEAD:
                raise BrokenError("no boundary is there")
            self._more()
        self._at = found + len(delimiter)

    def head(self) -> dict[str, str]:
        """The fields of a part's head, names in small letters."""
        fields: dict[str, str] = {}
        while line := self._line():
            name, _, value = line.decode(_NAMES).partition(":")
            fields[name.strip().lower()] = value.strip()
        return fields

    def _line(self) -> bytes:
        while (found := self._chunk.find(b"\n", self._at)) < 0:
            if len(self._chunk) - self._at > _LONGEST_HEAD:
                raise BrokenError("the head of a part has no end")
            self._more()
        line = self._chunk[self._at : found]
        self._at = found + 1
        return line.rstrip(b"\r")

    def drain(self) -> None:
        """To the end of the body, so that the connection may serve again."""
        while self._read(_CHUNK):
            pass

    # ------------------------------------------------------------------------------------------ content

    def counted(self, length: int, delimiter: bytes) -> Iterator[memoryview]:
        """So many bytes; the boundary must follow."""
        left = length
        while left:
            if self._at == len(self._chunk):
                self._more()
            piece = memoryview(self._chunk)[self._at : self._at + left]
            self._at += len(piece)
            left -= len(piece)
            yield piece
        try:
            behind = self._next(len(delimiter))
        except BrokenError:  # this part is whole; whoever asks for the next is told
            self._at = len(self._chunk)
            return
        if behind != delimiter:
            raise BrokenError("a part is not as long as it says")

    def searched(self, delimiter: bytes) -> Iterator[memoryview]:
        """Up to the boundary."""
        # an empty part may have its boundary at once: the line end of its head is the one before it
        if self._starts(delimiter[2:]):
            return
        while (found := self._chunk.find(delimiter, self._at)) < 0:
            end = max(self._at, len(self._chunk) - len(delimiter) + 1)
            yield memoryview(self._chunk)[self._at : end]
            self._at = end
            self._more()
        yield memoryview(self._chunk)[self._at : found]
        self._at = found + len(delimiter)

    def _starts(self, delimiter: bytes) -> bool:
        if self._next(len(delimiter)) == delimiter:
            return True
        self._at -= len(delimiter)
        return False
