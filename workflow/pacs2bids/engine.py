"""The engine's version: a digest of its own source, so that no change of it can be forgotten.

What an older engine wrote is done again; what the same engine wrote is kept.
"""

from __future__ import annotations

import hashlib
import os
import sys
from collections.abc import Sequence
from functools import cache
from pathlib import Path

from pacs2bids import __version__

# what decides an index or a volume: floors 0 to 3, and the reading and writing around them
SOURCES = (
    "arranging.py",
    "codecs.py",
    "compress.py",
    "files.py",
    "datasets.py",
    "describe.py",
    "dictionary.py",
    "frames.py",
    "geometry.py",
    "header.py",
    "identifiers.py",
    "identity.py",
    "indexing.py",
    "model.py",
    "nifti.py",
    "physiology.py",
    "pixels.py",
    "reading.py",
    "recalled.py",
    "series.py",
    "sidecar.py",
    "sidecar_fields.py",
    "sidecar_readers.py",
    "spacing.py",
    "splitting.py",
    "stack.py",
    "store.py",
    "template.py",
    "text.py",
    "timing.py",
    "unshear.py",
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
        digest.update(f"{library} {version_of(library)}".encode())
    return f"{__version__}+{digest.hexdigest()[:8]}"


def version_of(library: str) -> str:
    """As ``importlib.metadata.version``, which takes as long to import as a hundred headers to read."""
    known = _installed().get(library.replace("-", "_").lower())
    if known is not None:
        return known
    from importlib.metadata import version  # noqa: PLC0415 - see above

    return version(library)


@cache
def _installed() -> dict[str, str]:
    """Versions by normalized name: a package is installed beside a folder ``<name>-<version>.dist-info``.

    Source: the Python Packaging User Guide, "Recording installed projects". The first on the path counts.
    """
    found: dict[str, str] = {}
    for folder in sys.path:
        try:
            names = os.listdir(folder or ".")  # noqa: PTH208 - names are all that is wanted
        except OSError:  # an archive, or not there
            continue
        for name in names:
            project, _, version = name.removesuffix(".dist-info").partition("-")
            if name.endswith(".dist-info"):
                found.setdefault(project.lower(), version)
    return found
