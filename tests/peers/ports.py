"""Ports of loopback for those that others must know before they listen; who can, binds to port 0 instead."""

from __future__ import annotations

from collections import deque
from contextlib import ExitStack

from pacs2bids.demo import own_port

_MOST_HELD = 256  # more than one test asks for
_held: deque[ExitStack] = deque()


def free_port() -> int:
    """``own_port``, held here without an end in sight: nobody listens there, and connections are refused.

    bind() to port 0 and connect() pass it over, also those of other processes. Who names it may have it, if
    he sets SO_REUSEADDR as servers do.
    """
    holder = ExitStack()
    port = holder.enter_context(own_port())
    _held.append(holder)
    if len(_held) > _MOST_HELD:
        _held.popleft().close()
    return port
