"""Which user of this machine is at the other end of a connection over the loopback."""

from __future__ import annotations

import socket
import struct
from pathlib import Path

TABLES = (Path("/proc/net/tcp"), Path("/proc/net/tcp6"))  # proc_net_tcp.rst of the Linux kernel
ESTABLISHED = "01"  # of others the kernel tells no user
_LOCAL, _REMOTE, _STATE, _USER = 1, 2, 3, 7


def user_of(client: tuple[str, int], server: tuple[str, int]) -> int | None:
    """The user id of who called from ``client``; -1 if there is none; None where the system does not tell."""
    mine, theirs = _written(client), _written(server)
    tables = [lines for table in TABLES if (lines := _lines(table))]
    for line in (line for _, *lines in tables for line in lines):
        words = line.split()
        # an IPv4 address within IPv6 ends as it does alone
        if words[_LOCAL].endswith(mine) and words[_REMOTE].endswith(theirs) and words[_STATE] == ESTABLISHED:
            return int(words[_USER])
    return -1 if tables else None


def _lines(table: Path) -> list[str]:
    """With their head; [] where there is no such table, or we may not read it, as in some containers."""
    try:
        return table.read_text().splitlines()
    except OSError:
        return []


def _written(address: tuple[str, int]) -> str:
    host, port = address
    (number,) = struct.unpack("=I", socket.inet_aton(host))
    return f"{number:08X}:{port:04X}"
