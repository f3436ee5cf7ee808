"""A run of the workflow, as a person would start it: its lines as they come, and how it ended."""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import sys
import tempfile
import threading
import time
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import IO

from pacs2bids.checkout import snakefile
from pacs2bids.model import ConfigError, Pacs2BidsError
from pacs2bids.studio.records import Run
from pacs2bids.text import printable
from pacs2bids.turn import who_is_at_work

MOST_LINES = 1000  # of its lines the last stay in the page
LONGEST_LINE = 2000
LOOK_EVERY_S = 0.1
PART_BYTES = 65_536


def command_of(config: Path) -> list[str]:
    """What a person would type in this folder. Raises ConfigError where the workflow is not there."""
    here = Path("Snakefile")
    file = here if here.is_file() else snakefile()
    # the default unsaid: what the workflow is told is part of what it compares with the last run
    told = [] if config == Path("config.yaml") else ["--configfile", str(config)]
    return [sys.executable, "-m", "snakemake", "--snakefile", str(file), *told]


class Workflow:
    """At most one run at a time. ``tell``: is called with each news of it."""

    def __init__(self, tell: Callable[[Run], None]) -> None:
        self._tell = tell
        self._lock = threading.Lock()
        self._process: subprocess.Popen[bytes] | None = None
        self._is_stopped = False
        self._lines: deque[str] = deque(maxlen=MOST_LINES)

    def start(self, command: Sequence[str], workdir: Path) -> None:
        """Run it in the background. Raises Pacs2BidsError if another run is at work on ``workdir``."""
        with self._lock:
            who = who_is_at_work(workdir) if self._process is None else "started from this page"
            if who:
                what = f"another run is at work on it ({who}); nothing was started"
                raise Pacs2BidsError(what, where=str(workdir), hint="Wait for it, or stop it")
            self._lines.clear()
            self._is_stopped = False
            said = tempfile.TemporaryFile(buffering=0)  # noqa: SIM115 (closed by who follows it)
            try:
                self._process = subprocess.Popen(
                    command,
                    stdin=subprocess.DEVNULL,
                    stdout=said,  # no pipe: the run would break if we were killed; so it goes on to its end
                    stderr=subprocess.STDOUT,
                    start_new_session=True,  # Ctrl-C is told to it once, by ``stop``
                )
            except OSError as error:
                said.close()
                raise ConfigError(f"snakemake cannot be started: {error.strerror}") from error
            self._tell(Run(state="running"))
            threading.Thread(target=self._follow, args=(self._process, said), daemon=True).start()

    def stop(self) -> None:
        """Interrupt it, as Ctrl-C does; if there is one."""
        with self._lock:
            if self._process is not None:
                self._is_stopped = True
                with contextlib.suppress(ProcessLookupError):
                    os.killpg(self._process.pid, signal.SIGINT)

    def _follow(self, process: subprocess.Popen[bytes], said: IO[bytes]) -> None:
        with said:
            for line in _lines_of(process, said):
                if text := printable(line)[:LONGEST_LINE]:
                    self._lines.append(text)
                    self._tell(Run(state="running", lines=tuple(self._lines)))
        code = process.wait()
        with self._lock:
            self._process = None
            state = "done" if code == 0 else "stopped" if self._is_stopped else "failed"
        self._tell(Run(state=state, lines=tuple(self._lines)))


def _lines_of(process: subprocess.Popen[bytes], said: IO[bytes]) -> Iterator[str]:
    """The lines that a process writes into a file, as they come, until it ends."""
    at, rest = 0, b""
    while True:
        is_over = process.poll() is not None  # asked first: what it said last is read then
        part = os.pread(said.fileno(), PART_BYTES, at)  # where it writes stays as it is
        at += len(part)
        *lines, rest = (rest + part).split(b"\n")
        yield from (line.decode(errors="replace") for line in lines)
        if not part and is_over:
            yield rest.decode(errors="replace")
            return
        if not part:
            time.sleep(LOOK_EVERY_S)
