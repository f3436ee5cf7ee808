"""Ctrl-C and SIGTERM while a pull waits for a source: it ends soon, with one line and no traceback."""

from __future__ import annotations

import json
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path

import pytest

from peers.embedded import wait_for
from peers.instances import STUDY, write_study
from peers.web_server import Answer, instances, web_pacs, web_server

# what starts in the background may have been told to heed no Ctrl-C
HEEDING = (
    "import signal, sys; signal.signal(signal.SIGINT, signal.default_int_handler); "
    "from pacs2bids.__main__ import main; sys.exit(main())"
)


def command(source: dict[str, object], folder: Path) -> list[str | Path]:
    """That pulls STUDY from a source as ``config.yaml`` has it."""
    config = {
        "sources": {"pacs": source},
        "studies": {"table": "studies.tsv"},
        "heuristic": "none.py",
        "dataset": {"name": "Phantoms"},
    }
    (folder / "config.yaml").write_text(json.dumps(config))  # JSON is YAML
    table = f"study_instance_uid\tsubject\tsession\tsource\n{STUDY}\t1\t\tpacs\n"
    (folder / "studies.tsv").write_text(table)
    files = ["--config", folder / "config.yaml", "--studies", folder / "studies.tsv"]
    return [sys.executable, "-c", HEEDING, "pull", *files, "--study", STUDY, "--out", folder / "out"]


@pytest.mark.parametrize(
    ("is_silent", "number"), [(False, signal.SIGTERM), (True, signal.SIGINT)], ids=["busy", "silent"]
)
def test_a_pull_that_waits_ends_when_it_is_told_to(
    tmp_path: Path, is_silent: bool, number: signal.Signals
) -> None:
    """One server asks for a minute's patience, the other takes requests and never answers."""
    script = web_pacs(write_study(tmp_path / "pacs"))
    asked, over = threading.Event(), threading.Event()

    def retrieve(*_: object) -> Answer:
        asked.set()
        if is_silent:
            over.wait(600)
            return instances([])
        return Answer(status=429, headers={"Retry-After": "60"}, length=0)

    script.retrieve = retrieve
    with web_server(script) as server:
        words = command({"kind": "dicomweb", "url": server.url}, tmp_path)
        with subprocess.Popen(words, stderr=subprocess.PIPE, text=True) as pull:
            wait_for(asked.is_set)
            time.sleep(0.2)
            pull.send_signal(number)
            begun = time.monotonic()
            _, said = pull.communicate(timeout=300)
        spent_s = time.monotonic() - begun
        over.set()
    assert pull.returncode == 128 + number
    assert said == "ERROR: interrupted; run again to go on\n"
    assert spent_s < 50, "so long a silent server would be waited for"
