"""A port of loopback where nobody listens."""

from __future__ import annotations

import socket
from collections.abc import Iterator
from contextlib import contextmanager


@contextmanager
def dead_port() -> Iterator[int]:
    """One that refuses connections, and is nobody else's while the block runs."""
    with socket.socket() as held:
        held.bind(("127.0.0.1", 0))  # and does not listen
        yield int(held.getsockname()[1])
