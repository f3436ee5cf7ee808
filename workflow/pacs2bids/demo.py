"""The whole line on a synthetic study set: what ``make demo`` runs.

Everything is real but the patients: a PACS answers on this machine, the workflow asks it by C-FIND, gets the
studies by C-MOVE and goes on as it would in a hospital. Run again, it does only what changed.
"""

from __future__ import annotations

import os
import shutil
import socket
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

from pacs2bids.checkout import snakefile
from pacs2bids.files import write_text
from pacs2bids.model import Pacs2BidsError

RECEIVER = "PACS2BIDS"

CONFIG = """\
# Written by `pacs2bids demo` at each of its runs: copy it before you edit it.
sources:
  demo: {{kind: pacs, host: 127.0.0.1, port: {port}, ae_title: {ae_title},
         receive_ae_title: {receiver}, receive_host: 127.0.0.1, receive_port: {receive_port}}}
studies:
  query:
    - source: demo
      match: {{ModalitiesInStudy: MR}}
      subject: {{from: PatientID, pattern: '^PHANTOM(?P<subject>[0-9]+)$'}}
      session: {{from: StudyDescription, pattern: 'ses-(?P<session>[a-z]+)$'}}
heuristic: {heuristic}
dataset:
  name: Synthetic study set of pacs2bids
  authors: [The phantom]
  license: CC0
"""


def run_demo(folder: Path, *, cores: int, say: Callable[[str], None]) -> str:
    """Make studies, serve them, and run the workflow on them in ``folder``; returns what to look at.

    Raises ConfigError outside a checkout, Pacs2BidsError if the workflow fails.
    """
    from pacs2bids.pacs.sender import Destination  # noqa: PLC0415 - pynetdicom, only when something is served
    from pacs2bids.pacs.server import serving  # noqa: PLC0415

    workflow = snakefile()
    folder.mkdir(parents=True, exist_ok=True)
    studies = folder / "pacs"
    if not studies.exists():
        say(f"Making a synthetic study set in {studies} ...")
        _make_studies(studies)
    with (
        own_port() as receive_port,
        serving(studies, destinations={RECEIVER: Destination(host="127.0.0.1", port=receive_port)}) as pacs,
    ):
        say(f"A PACS: {pacs}.")
        config = CONFIG.format(
            port=pacs.port,
            ae_title=pacs.ae_title,
            receiver=RECEIVER,
            receive_port=receive_port,
            heuristic=os.path.relpath(workflow.parent / "heuristics/demo.py", folder),
        )
        write_text(folder / "config.yaml", config)
        say(f"Running snakemake in {folder}, one line a job:")
        _run_workflow(workflow, folder, cores)
    return _what_next(folder, workflow.parent)


def _make_studies(target: Path) -> None:
    """Under another name first: what an interrupted demo left behind is made again, whole."""
    from pacs2bids.phantom.protocol import studies  # noqa: PLC0415 - only the first time
    from pacs2bids.phantom.write import write  # noqa: PLC0415

    unfinished = target.with_name(f".{target.name}.part")
    shutil.rmtree(unfinished, ignore_errors=True)
    write(studies(), unfinished)
    unfinished.replace(target)


@contextmanager
def own_port() -> Iterator[int]:
    """A port of loopback to listen at (with SO_REUSEADDR), which the system gives nobody else until the end.

    It is held by a socket that does not listen. Elsewhere than on Linux that would keep away whoever is to
    listen as well: there the port is only free now.
    """
    with socket.socket() as held:
        held.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        held.bind(("127.0.0.1", 0))
        port: int = held.getsockname()[1]
        if sys.platform != "linux":
            held.close()
        yield port


def _run_workflow(snakefile: Path, folder: Path, cores: int) -> None:
    options = ["--snakefile", str(snakefile), "--directory", str(folder), "--cores", str(cores)]
    if subprocess.run([sys.executable, "-m", "snakemake", *options], check=False).returncode:
        hint = f"The lines above say why; the logs are in {folder / 'work/logs'}"
        raise Pacs2BidsError("the workflow did not succeed", where="demo", hint=hint)


def _what_next(folder: Path, checkout: Path) -> str:
    here = os.path.relpath(folder)
    heuristic = os.path.relpath(checkout / "heuristics/demo.py")
    return f"""
Done. The dataset:  {here}/bids
      The report:   {here}/report.html    <- open it in a browser
Next: edit a name in {heuristic}, then
        source .venv/bin/activate
        snakemake --directory {here}
      and look again: only the names are made anew, in seconds.
      README.md shows how to do the same with your own PACS."""
