"""Pictures of volumes, drawn as the report draws them: one after the other, and the last are kept."""

from __future__ import annotations

import threading
from collections import OrderedDict
from pathlib import Path

from pacs2bids.report.pictures import Picture, pictures_of

MOST_VOLUMES = 50  # whose pictures are kept: some 20 kB each


class Album:
    """For the threads of the server: a long volume is read once for all of its pictures."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._kept: OrderedDict[tuple[Path, int], tuple[Picture, ...]] = OrderedDict()

    def pictures(self, path: Path) -> tuple[Picture, ...]:
        """Of a ``.nii.gz``. Raises ConversionError if it cannot be read, OSError if there is none."""
        key = (path, path.stat().st_mtime_ns)
        with self._lock:
            if key not in self._kept:
                self._kept[key] = pictures_of(path, _b_values(path))
            self._kept.move_to_end(key)
            while len(self._kept) > MOST_VOLUMES:
                self._kept.popitem(last=False)
            return self._kept[key]


def _b_values(path: Path) -> tuple[float, ...]:
    """Of the ``.bval`` beside a volume, in s/mm²; () if there is none."""
    beside = path.with_name(path.name.removesuffix(".nii.gz") + ".bval")
    return tuple(map(float, beside.read_text().split())) if beside.is_file() else ()
