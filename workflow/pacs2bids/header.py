"""Reading headers: the only module that knows pydicom's datasets.

A ``Header`` is a stack of layers, first hit wins: this frame's functional groups, the groups shared by all
frames, the instance's own elements. Code above asks by keyword, or by private creator, and cannot tell a
classic image from a frame of an enhanced one.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from pydicom.dataset import Dataset


@dataclass(frozen=True, slots=True, kw_only=True)
class Private:
    """A private element: found by its creator, wherever the block lies (PS3.5 section 7.8.1).

    ``element`` is the low byte. ``vr`` reads the value where the file says UN.
    """

    creator: str
    group: int
    element: int
    vr: str = "UN"


class Header:
    """Elements of one frame by keyword. A missing or empty element is None (or an empty tuple)."""

    def __init__(self, layers: Iterable[Dataset]) -> None:
        self.layers = tuple(layers)

    def text(self, keyword: str) -> str | None:
        """First value as stripped text."""
        raise NotImplementedError

    def texts(self, keyword: str) -> tuple[str, ...]:
        """All values as stripped text."""
        raise NotImplementedError

    def number(self, keyword: str) -> float | None:
        """First value as a float; None if it is no finite number."""
        raise NotImplementedError

    def numbers(self, keyword: str) -> tuple[float, ...]:
        """All values as floats; empty if any is no number."""
        raise NotImplementedError

    def integer(self, keyword: str) -> int | None:
        """First value as an integer."""
        raise NotImplementedError

    def items(self, keyword: str) -> tuple[Header, ...]:
        """Items of a sequence."""
        raise NotImplementedError

    def has_private(self, creator: str, group: int) -> bool:
        """Whether a block of this creator is there."""
        raise NotImplementedError

    def private_bytes(self, element: Private) -> bytes | None:
        """Raw value of a private element (OB, OW, UN)."""
        raise NotImplementedError

    def private_text(self, element: Private) -> str | None:
        """First value of a private element as stripped text."""
        raise NotImplementedError

    def private_texts(self, element: Private) -> tuple[str, ...]:
        """All values of a private element as stripped text."""
        raise NotImplementedError

    def private_number(self, element: Private) -> float | None:
        """First value of a private element as a float."""
        raise NotImplementedError

    def private_numbers(self, element: Private) -> tuple[float, ...]:
        """All values of a private element as floats."""
        raise NotImplementedError

    def private_items(self, element: Private) -> tuple[Header, ...]:
        """Items of a private sequence."""
        raise NotImplementedError
