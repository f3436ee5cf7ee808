"""Work on many files at once: with large ones it uses the cores, with small ones it hides delays."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from typing import TypeVar

_THREADS = 4

Item = TypeVar("Item")
Result = TypeVar("Result")


@contextmanager
def threaded(work: Callable[[Item], Result], items: Iterable[Item]) -> Iterator[Iterator[Result]]:
    """What ``work`` says of each item, in order; what is not begun when the block ends is left undone."""
    pool = ThreadPoolExecutor(_THREADS)
    try:
        yield pool.map(work, items)
    finally:
        pool.shutdown(cancel_futures=True)
