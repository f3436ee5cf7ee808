"""The viewer behind a click: Niivue, as the package ``ipyniivue`` ships it, and volumes small enough for it.

Pages are opened from a disk, where browsers load neither modules nor data: only scripts. So the module
becomes a plain script, one for the whole report, and each volume a script that holds it; each is loaded on a
click.
The package is optional (``pip install pacs2bids[viewer]``); without it, pages have no such button.
"""

from __future__ import annotations

import base64
import re
from importlib.machinery import PathFinder
from pathlib import Path

import numpy as np
from isal import igzip
from nibabel.nifti1 import Nifti1Image

from pacs2bids.engine import version_of
from pacs2bids.report.pictures import Solid

PACKAGE, MODULE = "ipyniivue", "static/widget.js"
SCRIPT = "niivue.js"  # its name in the folder of the report
WINDOW_PERCENT = (0.5, 99.8)
LEVELS = 255  # of a byte
PACKING = 2  # level of ISA-L

# what an ES module ends with, when it exports one thing alone
_EXPORT = re.compile(r"export\s*\{\s*(?P<name>[\w$]+) as default\s*\};?\s*$")


def installed() -> str:
    """Version of the viewer's package, "" without it. Nothing of it is imported: it takes seconds."""
    return version_of(PACKAGE) if _module() else ""


def _module() -> Path | None:
    found = PathFinder.find_spec(PACKAGE)
    if found is None or found.origin is None:
        return None
    path = Path(found.origin).parent / MODULE
    return path if path.is_file() else None


def script() -> str:
    """Niivue as a plain script that leaves its widget in ``niivueWidget``; "" if there is none to be had."""
    path = _module()
    text = path.read_text(encoding="utf-8") if path else ""
    exported = _EXPORT.search(text)
    if exported is None:
        return ""
    return f"(()=>{{{text[: exported.start()]}\nglobalThis.niivueWidget={exported['name']};}})();\n"


def volume_script(solid: Solid, number: str) -> str:
    """A script that leaves a small volume (NIfTI in base64) under this number in ``volumes``."""
    return f'(globalThis.volumes ??= {{}})["{number}"] = "{base64.b64encode(small_nifti(solid)).decode()}";\n'


def small_nifti(solid: Solid) -> bytes:
    """The volume as a packed NIfTI file of bytes, whose slope and intercept tell its values."""
    low, high = (float(value) for value in np.percentile(solid.voxels, WINDOW_PERCENT))
    if high <= low:
        low, high = float(solid.voxels.min()), float(solid.voxels.max())
    step = (high - low) / LEVELS if high > low else 1.0
    stored = np.clip((solid.voxels - low) / step, 0, LEVELS).round().astype(np.uint8)
    image = Nifti1Image(stored, solid.affine_ras)
    image.header.set_slope_inter(step, low)
    image.header["cal_min"], image.header["cal_max"] = low, high
    # a fiftieth of zlib's time for 7 % more bytes
    return igzip.compress(image.to_bytes(), PACKING, mtime=0)
