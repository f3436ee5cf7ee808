"""A part of a WADO-RS answer as it flows by: which instance it is, and whether it is all of it."""

from __future__ import annotations

from collections.abc import Iterator

from pacs2bids.model import HeaderError
from pacs2bids.pacs.inbox import Identity, is_uid
from pacs2bids.pacs.web_multipart import Part
from pacs2bids.pacs.whole import TAIL_BYTES, has_cut_pixels
from pacs2bids.reading import ParsedFile, Reader


class UnusableError(Exception):
    """A part that is not kept, and why."""


class _Look:
    """A stream over a part for whoever reads its header; what was seen stays, the rest has not come yet."""

    def __init__(self, content: Iterator[bytes | memoryview]) -> None:
        self._content = content
        self._seen = bytearray()
        self._at = 0

    def read(self, size: int = -1, /) -> bytes:
        """The next ``size`` bytes, fewer only at the end."""
        while size < 0 or len(self._seen) < self._at + size:
            piece = next(self._content, None)
            if piece is None:
                break
            self._seen += piece
        end = len(self._seen) if size < 0 else min(self._at + size, len(self._seen))
        found = bytes(memoryview(self._seen)[self._at : end])
        self._at = max(self._at, end)
        return found

    def seek(self, offset: int, whence: int = 0, /) -> int:
        """Go to another place; as in a file it may be behind the end."""
        if whence == 2:
            self._at = len(self._seen)
            self.read()
        start = (0, self._at, len(self._seen))[whence]
        self._at = start + offset
        return self._at

    def tell(self) -> int:
        """The place."""
        return self._at

    def all(self) -> Iterator[bytes | memoryview]:
        """Everything from the beginning: what was seen, then the rest as it comes."""
        seen, self._seen = self._seen, bytearray()
        yield memoryview(seen)
        del seen
        yield from self._content


class Instance:
    """The instance in a part; raises UnusableError if there is none that could be kept."""

    def __init__(self, part: Part, reader: Reader) -> None:
        self._look = _Look(part.content)
        try:
            self._parsed = reader.parse(self._look, "a part")
        except HeaderError as error:
            raise UnusableError(f"a part of the answer {error.what}") from None
        self.identity = _identity(self._parsed)

    def content(self) -> Iterator[bytes | memoryview]:
        """The bytes as they come. Raises UnusableError at the end if there should be more."""
        size, tail = 0, b""
        is_compressed = self._parsed.pixels is not None and self._parsed.pixels.length is None
        for piece in self._look.all():
            size += len(piece)
            if is_compressed:
                tail = (tail + bytes(piece[-TAIL_BYTES:]))[-TAIL_BYTES:]
            yield piece
        if has_cut_pixels(self._parsed, size, lambda _: tail):
            raise UnusableError("is cut short within its pixels")


def _identity(parsed: ParsedFile) -> Identity:
    texts = {
        keyword: parsed.header.text(keyword) or ""
        for keyword in ("StudyInstanceUID", "SeriesInstanceUID", "SOPInstanceUID")
    }
    for keyword, uid in texts.items():
        if not is_uid(uid):
            raise UnusableError(f"has no valid {keyword}")
    return Identity(
        study_instance_uid=texts["StudyInstanceUID"],
        series_instance_uid=texts["SeriesInstanceUID"],
        sop_instance_uid=texts["SOPInstanceUID"],
        sop_class_uid=parsed.header.text("SOPClassUID") or "",
        transfer_syntax_uid=parsed.transfer_syntax_uid,
    )
