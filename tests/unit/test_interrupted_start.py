"""Ctrl-C while a start still imports."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

CTRL_C = """
import signal, sys

class CtrlC:
    def find_spec(name, path, target=None):
        if name == "%s":
            sys.meta_path.remove(CtrlC)
            signal.raise_signal(signal.SIGINT)

signal.signal(signal.SIGINT, signal.default_int_handler)  # a shell's background ignores it, and so did we
sys.meta_path.insert(0, CtrlC)
"""


@pytest.mark.parametrize(
    "module", ["pacs2bids.ending", "argparse", "logging", "pacs2bids.model", "pacs2bids.verbs.plan"]
)
def test_an_interrupt_while_a_module_is_imported_is_told_in_one_line(tmp_path: Path, module: str) -> None:
    (tmp_path / "sitecustomize.py").write_text(CTRL_C % module)
    places = [str(tmp_path), *sys.path]
    done = subprocess.run(
        [sys.executable, "-m", "pacs2bids", "plan"],
        cwd=tmp_path,
        env={**os.environ, "PYTHONPATH": os.pathsep.join(places)},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 130
    assert done.stderr == "ERROR: interrupted; run again to go on\n"
    assert done.stdout == ""
