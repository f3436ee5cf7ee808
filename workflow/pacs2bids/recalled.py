"""Results of functions of headers, remembered for headers that read the same.

Headers of one template differ in few elements, and most functions read none or few of those: ``recall`` notes
which, and computes a result once for all headers that have the same bytes there.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import wraps
from itertools import groupby
from operator import itemgetter
from typing import Any, TypeVar

from pacs2bids.header import Header, RawLayer

T = TypeVar("T")

REMEMBERED = 1024  # results of one function under one template


def recall(function: Callable[[Header], T], header: Header) -> T:
    """``function(header)``, remembered for headers that read the same.

    While the function runs, the varying elements that it reads are noted. Another header of the same template
    with the same bytes in all of these must give the same result, so it is not computed again. The function
    must depend on the header alone, and nobody may change its result. It may call ``recall`` for a part of
    its work that reads less.
    """
    memory, layers = header.memory, header.layers
    if memory is None:
        return function(header)
    known: _Memory | None = memory.get(function)
    if known is None:
        known = memory[function] = _Memory(())
    elif known.is_useless:
        return function(header)
    read = known.read(layers)
    if read in known.results:
        known.hits += 1
        first = layers[0]
        if isinstance(first, RawLayer) and first.recorder is not None:
            first.recorder.update(known.touched)
        remembered: T = known.results[read]
        return remembered
    result, seen = _watched(function, header)
    if not seen.issubset(known.touched):
        known = memory[function] = _Memory(tuple(sorted(seen.union(known.touched))))
        read = known.read(layers)
    known.keep(read, result)
    return result


def recalled(function: Callable[[Header], T]) -> Callable[[Header], T]:
    """A function whose results are remembered: see ``recall``."""

    @wraps(function)
    def remembering(header: Header) -> T:
        return recall(function, header)

    return remembering


class _Memory:
    """What one function gave: which varying elements it reads, and its results by their bytes.

    ``touched``: (layer, span number) in order. ``is_useless``: what it reads hardly ever comes again.
    """

    __slots__ = ("_readers", "hits", "is_useless", "results", "touched")

    def __init__(self, touched: tuple[tuple[int, int], ...]) -> None:
        self.touched = touched
        self.results: dict[Any, Any] = {}
        self.hits = 0
        self.is_useless = False
        self._readers = [
            (index, itemgetter(*[number for _, number in numbers]))
            for index, numbers in groupby(touched, key=itemgetter(0))
        ]

    def keep(self, read: Any, result: Any) -> None:
        """Remember one more result; all are forgotten when there are too many."""
        if len(self.results) >= REMEMBERED:
            self.is_useless = self.hits < REMEMBERED
            self.results, self.hits = {}, 0
        if not self.is_useless:
            self.results[read] = result

    def read(self, layers: Sequence[Any]) -> Any:
        """The bytes of these elements: what results are kept by."""
        if len(self._readers) == 1:
            index, reader = self._readers[0]
            return reader(layers[index].varying)
        return tuple([reader(layers[index].varying) for index, reader in self._readers])


def _watched(function: Callable[[Header], T], header: Header) -> tuple[T, set[tuple[int, int]]]:
    layers = [layer for layer in header.layers if isinstance(layer, RawLayer)]
    outer = layers[0].recorder
    seen: set[tuple[int, int]] = set()
    for layer in layers:
        layer.recorder = seen
    try:
        return function(header), seen
    finally:
        for layer in layers:
            layer.recorder = outer
        if outer is not None:
            outer.update(seen)
