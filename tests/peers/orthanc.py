"""A real Orthanc for tests, in a network namespace of its own.

Orthanc 1.10 listens on all interfaces; in its own namespace there is none but loopback. Whatever is to talk
to it runs in there too: ``orthanc.run([...])``. In the namespace every port is free, so ours are fixed.
"""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path

import pytest

from peers.available import unavailable

AE_TITLE = "ORTHANC"
DICOM_PORT = 4242
HTTP_PORT = 8042
OUR_AE_TITLE = "PACS2BIDS"
OUR_PORT = 11112
DICOMWEB_PLUGIN = Path("/usr/share/orthanc/plugins/libOrthancDicomWeb.so")

# runs in the namespace: sends files to Orthanc over one connection and counts what it took
_LOADER = f"""
import http.client, json, pathlib, sys
connection = http.client.HTTPConnection("127.0.0.1", {HTTP_PORT}, timeout=60)
counts = {{}}
for path in sys.stdin.read().split("\\0"):
    connection.request("POST", "/instances", pathlib.Path(path).read_bytes())
    answer = connection.getresponse()
    text = answer.read()
    status = json.loads(text)["Status"] if answer.status == 200 else "refused"
    counts[status] = counts.get(status, 0) + 1
print(json.dumps(counts))
"""


@dataclass(frozen=True, kw_only=True)
class Orthanc:
    """A running Orthanc. ``load`` fills it, ``run`` starts programs beside it.

    ``namespace``: a process that keeps the network namespace, also while Orthanc is down. ``folder``: where
    configuration, storage and log are.
    """

    namespace: subprocess.Popen[bytes]
    folder: Path
    servers: list[subprocess.Popen[bytes]] = field(default_factory=list)
    loaded: dict[Path, dict[str, int]] = field(default_factory=dict)

    def inside(self, command: Sequence[str | Path]) -> list[str]:
        """The command that runs a program in Orthanc's namespace."""
        return ["nsenter", "--net", "--target", str(self.namespace.pid), "--", *map(str, command)]

    def start(self) -> None:
        """Start it over what it has stored, and wait until it answers."""
        with (self.folder / "log").open("ab") as log:
            command = self.inside([_orthanc_program(), self.folder / "orthanc.json"])
            environment = {**os.environ, "TCP_NODELAY": "1"}
            self.servers.append(subprocess.Popen(command, env=environment, stdout=log, stderr=log))
        _wait_for(self)

    def kill(self) -> None:
        """End it as a power failure does; what it has stored stays."""
        for server in self.servers:
            server.kill()
            server.wait()
        self.servers.clear()

    @contextmanager
    def frozen(self) -> Iterator[None]:
        """It holds its connections and says nothing, until the block ends."""
        self.servers[-1].send_signal(signal.SIGSTOP)
        try:
            yield
        finally:
            self.servers[-1].send_signal(signal.SIGCONT)

    def run(
        self, command: Sequence[str | Path], *, timeout_s: float = 300, **options: object
    ) -> subprocess.CompletedProcess[str]:
        """Run a program in Orthanc's namespace; its output is captured. Look at ``returncode`` yourself."""
        settings: dict[str, object] = {"text": True, "capture_output": True, "timeout": timeout_s, **options}
        return subprocess.run(self.inside(command), check=False, **settings)  # type: ignore[call-overload, no-any-return]

    def pacs2bids(self, *words: str | Path, **options: object) -> subprocess.CompletedProcess[str]:
        """``pacs2bids WORDS`` in Orthanc's namespace."""
        return self.run([sys.executable, "-m", "pacs2bids", *words], **options)  # type: ignore[arg-type]

    def load(self, folder: Path) -> dict[str, int]:
        """Send every DICOM file of a folder, once; how many were new ("Success"), known or refused."""
        if folder not in self.loaded:
            paths = [str(path) for path in sorted(folder.rglob("*")) if is_dicom(path)]
            done = self.run([sys.executable, "-c", _LOADER], input="\0".join(paths))
            assert done.returncode == 0, done.stderr
            self.loaded[folder] = json.loads(done.stdout)
        return self.loaded[folder]

    def get(self, path: str) -> bytes:
        """Body of a GET request to Orthanc's REST interface."""
        return self.ask("GET", path)

    def ask(self, method: str, path: str, body: bytes = b"") -> bytes:
        """Body of the answer to a request to Orthanc's REST interface; a failure is an AssertionError."""
        code = (
            "import sys, urllib.request as r\n"
            "body = sys.stdin.buffer.read() or None\n"
            f"asked = r.Request('http://127.0.0.1:{HTTP_PORT}{path}', body, method={method!r})\n"
            "sys.stdout.buffer.write(r.urlopen(asked).read())"
        )
        done = self.run([sys.executable, "-c", code], text=False, input=body)
        assert done.returncode == 0, done.stderr
        return done.stdout  # type: ignore[return-value]


def is_dicom(path: Path) -> bool:
    """Whether a file has the preamble of PS3.10 section 7.1."""
    if not path.is_file():
        return False
    with path.open("rb") as stream:
        return stream.read(132)[128:] == b"DICM"


@pytest.fixture(scope="session")
def orthanc() -> Iterator[Orthanc]:
    """An Orthanc that answers C-MOVE when everything is sent. Knows PACS2BIDS at port 11112."""
    with running_orthanc() as one:
        yield one


@pytest.fixture(scope="session")
def hasty_orthanc() -> Iterator[Orthanc]:
    """An Orthanc that says "completed" to a C-MOVE at once, and sends then."""
    with running_orthanc(SynchronousCMove=False) as one:
        yield one


@contextmanager
def running_orthanc(**settings: object) -> Iterator[Orthanc]:
    """Start an Orthanc with empty storage in a namespace of its own; end it with the block."""
    _orthanc_program()
    memory = Path("/dev/shm")
    with tempfile.TemporaryDirectory(
        prefix="pacs2bids-orthanc-", dir=memory if memory.is_dir() else None
    ) as folder:
        Path(folder, "orthanc.json").write_text(json.dumps(_configuration(Path(folder)) | settings))
        keep = ["unshare", "--net", "sh", "-c", "ip link set lo up && exec sleep infinity"]
        one = Orthanc(namespace=subprocess.Popen(keep), folder=Path(folder))
        try:
            _wait_for_namespace(one.namespace.pid)
            one.start()
            yield one
        finally:
            one.kill()  # it takes 4 s to end by itself
            one.namespace.kill()
            one.namespace.wait()


def _orthanc_program() -> str:
    program = shutil.which("Orthanc", path="/usr/sbin:/usr/bin:/usr/local/sbin:/usr/local/bin")
    if program is None:
        unavailable("Orthanc is not installed (apt-get install orthanc orthanc-dicomweb)")
    for tool in ("unshare", "nsenter", "ip"):
        if shutil.which(tool) is None:
            unavailable(f"{tool} is not installed (apt-get install util-linux iproute2)")
    may = subprocess.run(["unshare", "--net", "true"], check=False, capture_output=True)
    if may.returncode:
        unavailable("network namespaces need root (unshare --net)")
    return str(program)


def _configuration(folder: Path) -> dict[str, object]:
    return {
        "Name": AE_TITLE,
        "DicomAet": AE_TITLE,
        "DicomPort": DICOM_PORT,
        "DicomCheckCalledAet": True,
        "DicomModalities": {
            "pacs2bids": [OUR_AE_TITLE, "127.0.0.1", OUR_PORT],
            "other": ["OTHER", "127.0.0.1", OUR_PORT + 1],
        },
        "HttpPort": HTTP_PORT,
        "AuthenticationEnabled": False,
        "RemoteAccessAllowed": False,
        "HttpCompressionEnabled": False,
        "StorageDirectory": str(folder / "storage"),
        "IndexDirectory": str(folder / "index"),
        "SyncStorageArea": False,
        "SaveJobs": False,
        "UnknownSopClassAccepted": True,
        "DefaultEncoding": "Utf8",
        "SynchronousCMove": True,
        "Plugins": [str(DICOMWEB_PLUGIN)] if DICOMWEB_PLUGIN.exists() else [],
        "DicomWeb": {"Enable": True},
    }


def _wait_for(one: Orthanc) -> None:
    poll = (
        "import socket, sys, time\n"
        "for _ in range(2400):\n"
        "    try:\n"
        f"        socket.create_connection(('127.0.0.1', {HTTP_PORT}), 1).close()\n"
        f"        socket.create_connection(('127.0.0.1', {DICOM_PORT}), 1).close()\n"
        "        sys.exit(0)\n"
        "    except OSError:\n"
        "        time.sleep(0.05)\n"
        "sys.exit(1)\n"
    )
    if one.run([sys.executable, "-c", poll]).returncode:
        raise RuntimeError(f"Orthanc did not start: {(one.folder / 'log').read_text()[-2000:]}")


def _wait_for_namespace(pid: int) -> None:
    """Until ``unshare`` has gone there and ``sleep`` says that loopback is up."""
    deadline = time.monotonic() + 120
    while time.monotonic() < deadline:
        with suppress(OSError):
            if Path(f"/proc/{pid}/comm").read_text().strip() == "sleep":
                return
        time.sleep(0.01)
    raise RuntimeError("no network namespace could be made")
