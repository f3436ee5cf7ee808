"""dcm2niix, the reference of the differential tests, as the corpus' README runs it."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path


def dcm2niix(folder: Path, out: Path, *further: str) -> subprocess.Popen[bytes]:
    """Start it on all files below ``folder``, with further options; ``out`` is made."""
    out.mkdir(parents=True)
    program = Path(sys.executable).with_name("dcm2niix")
    options = ["-b", "y", "-ba", "n", "-z", "n", "-d", "9", "-w", "2", "-f", "%s_%d_%t"]
    command = [str(program), *options, *further, "-o", str(out), str(folder)]
    return subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
