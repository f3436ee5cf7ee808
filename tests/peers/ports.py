"""Ports of loopback for those that others must know before they listen; who can, binds to port 0 instead."""

from __future__ import annotations

import socket
from collections import deque

_MOST_HELD = 256  # more than one test asks for
_held: deque[socket.socket] = deque()


def free_port() -> int:
    """One that nobody listens at (it refuses connections), and that nobody gets who asks for any port.

    It stays bound here, without listening: bind() to port 0 and connect() pass it over, also those of other
    processes. Who names it may have it, if he sets SO_REUSEADDR as servers do.
    """
    holder = socket.socket()
    holder.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    holder.bind(("127.0.0.1", 0))
    _held.append(holder)
    if len(_held) > _MOST_HELD:
        _held.popleft().close()
    return int(holder.getsockname()[1])
