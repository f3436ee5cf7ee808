"""The engine's version: a digest of its own source, so that no change of it can be forgotten.

What an older engine wrote is done again; what the same engine wrote is kept.
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from functools import cache
from importlib.metadata import version
from pathlib import Path

from pacs2bids import __version__

# what decides an index or a volume: floors 0 to 3, and the reading and writing around them
SOURCES = (
    "codecs.py",
    "compress.py",
    "files.py",
    "datasets.py",
    "describe.py",
    "dictionary.py",
    "frames.py",
    "geometry.py",
    "header.py",
    "indexing.py",
    "model.py",
    "nifti.py",
    "pixels.py",
    "series.py",
    "sidecar.py",
    "stack.py",
    "store.py",
    "template.py",
    "timing.py",
    "vendors/*.py",
    "volume.py",
)
LIBRARIES = ("imagecodecs", "isal", "msgspec", "numpy", "pydicom")


@cache
def engine_version() -> str:
    """Like "0.1.0+3f2a9c1d": the release, and eight digits that change with the engine and its libraries."""
    return digest_of(SOURCES, LIBRARIES)


def digest_of(sources: Sequence[str], libraries: Sequence[str] = ()) -> str:
    """The release, and eight digits of these source files (patterns in the package) and library versions."""
    digest = hashlib.sha256()
    folder = Path(__file__).parent
    for pattern in sources:
        for path in sorted(folder.glob(pattern)):
            digest.update(path.name.encode() + path.read_bytes())
    for library in libraries:
        digest.update(f"{library} {version(library)}".encode())
    return f"{__version__}+{digest.hexdigest()[:8]}"
