"""The engine's version: a digest of its own source, so that no change of it can be forgotten.

What an older engine wrote is done again; what the same engine wrote is kept.
"""

from __future__ import annotations

import hashlib
from functools import cache
from pathlib import Path

from pacs2bids import __version__

# what decides an index or a volume: floors 0 to 2, and the reading and writing around them
SOURCES = (
    "bids.py",
    "frames.py",
    "geometry.py",
    "header.py",
    "indexing.py",
    "model.py",
    "sidecar.py",
    "stack.py",
    "store.py",
    "template.py",
    "vendors/*.py",
    "volume.py",
)


@cache
def engine_version() -> str:
    """Like "0.1.0+3f2a9c1d": the release, and eight digits that change with the engine's source."""
    digest = hashlib.sha256()
    folder = Path(__file__).parent
    for pattern in SOURCES:
        for path in sorted(folder.glob(pattern)):
            digest.update(path.name.encode() + path.read_bytes())
    return f"{__version__}+{digest.hexdigest()[:8]}"
