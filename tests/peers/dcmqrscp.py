"""dcmtk's dcmqrscp for tests: the standard's own statuses, one process a connection.

It listens on all interfaces, so it runs in a network namespace of its own, as Orthanc does.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from peers.available import unavailable

AE_TITLE = "DCMQRSCP"
DICOM_PORT = 4243
OUR_AE_TITLE = "PACS2BIDS"
OUR_PORT = 11112

_CONFIGURATION = """\
NetworkTCPPort = {port}
MaxPDUSize = 131072
MaxAssociations = 16
HostTable BEGIN
us = ({us}, 127.0.0.1, {our_port})
HostTable END
VendorTable BEGIN
VendorTable END
AETable BEGIN
{ae_title} {archive} RW (100, 1024mb) ANY
AETable END
"""


@dataclass(frozen=True, kw_only=True)
class Dcmqrscp:
    """A running dcmqrscp; ``run`` starts programs beside it."""

    process: subprocess.Popen[bytes]

    def run(
        self, command: Sequence[str | Path], *, timeout_s: float = 300
    ) -> subprocess.CompletedProcess[str]:
        """Run a program in its namespace; look at ``returncode`` yourself."""
        inside = ["nsenter", "--net", "--target", str(self.process.pid), "--", *map(str, command)]
        return subprocess.run(inside, check=False, text=True, capture_output=True, timeout=timeout_s)

    def pacs2bids(self, *words: str | Path) -> subprocess.CompletedProcess[str]:
        """``pacs2bids WORDS`` in its namespace."""
        return self.run([sys.executable, "-m", "pacs2bids", *words])


@contextmanager
def running_dcmqrscp(files: Sequence[Path], folder: Path, *options: str) -> Iterator[Dcmqrscp]:
    """Serve ``files`` where they lie; ``folder`` takes the index; ``options`` of the command line."""
    for tool in ("dcmqrscp", "dcmqridx", "unshare", "nsenter", "ip"):
        if shutil.which(tool) is None:
            unavailable(f"{tool} is not installed (apt-get install dcmtk util-linux iproute2)")
    if subprocess.run(["unshare", "--net", "true"], check=False, capture_output=True).returncode:
        unavailable("network namespaces need root (unshare --net)")
    archive = folder / "archive"
    archive.mkdir(parents=True)
    subprocess.run(["dcmqridx", archive, *files], check=True, capture_output=True, timeout=300)
    config = folder / "dcmqrscp.cfg"
    config.write_text(
        _CONFIGURATION.format(
            port=DICOM_PORT, us=OUR_AE_TITLE, our_port=OUR_PORT, ae_title=AE_TITLE, archive=archive
        )
    )
    words = " ".join(["dcmqrscp", "--config", str(config), *options])
    with (folder / "log").open("wb") as log:
        process = subprocess.Popen(
            ["unshare", "--net", "sh", "-c", f"ip link set lo up && exec {words}"],
            env={**os.environ, "TCP_NODELAY": "1"},
            stdout=log,
            stderr=log,
            start_new_session=True,  # it forks for each connection
        )
    try:
        one = Dcmqrscp(process=process)
        _wait_for(one, folder / "log")
        yield one
    finally:
        os.killpg(process.pid, 9)
        process.wait()


def _wait_for(one: Dcmqrscp, log: Path) -> None:
    deadline = time.monotonic() + 120
    while time.monotonic() < deadline:
        if one.run(["echoscu", "-to", "2", "-aec", AE_TITLE, "127.0.0.1", str(DICOM_PORT)]).returncode == 0:
            return
        time.sleep(0.05)
    raise RuntimeError(f"dcmqrscp did not start: {log.read_text()[-2000:]}")
