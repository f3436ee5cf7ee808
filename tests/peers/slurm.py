"""A real Slurm for tests: munged, slurmctld and three slurmd on this host, beside Orthanc.

It lives in Orthanc's network namespace (loopback only, every port free, and the PACS within reach, as from a
cluster's login node), with processes and mounts of its own: /etc/slurm is a folder of the test there, and
whatever Slurm started ends with the one process that keeps the namespace. With accounting there are, in there
too, slurmdbd and a MariaDB in memory that is reached by a socket alone.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import psutil
import pytest

from peers.available import unavailable
from peers.line import ENVIRONMENT, ROOT
from peers.orthanc import Orthanc

NODES = ("n1", "n2", "n3")
PROFILE = ROOT / "profiles" / "slurm"
_PROGRAMS = ("munged", "slurmctld", "slurmd", "sbatch", "srun", "squeue", "scontrol")
_PROGRAMS_OF_ACCOUNTS = ("slurmdbd", "sacctmgr", "sacct", "mariadbd", "mariadb-install-db")
_PATH = "/usr/sbin:/usr/bin:/sbin:/bin:/usr/local/sbin:/usr/local/bin"
# the two may be up at the same time, in one network
_PORT = 26817
_PORT_WITH_ACCOUNTS = 26827
_PATIENCE_S = 300

# memory is watched by polling (OverMemoryKill), as there may be no cgroup to limit it in a container; a
# controller that is slow on a busy machine (ten seconds are the default of MessageTimeout) is not gone
_CONFIGURATION = """\
ClusterName=test
SlurmctldHost=localhost(127.0.0.1)
SlurmctldPort={port}
SlurmUser=root
SlurmdUser=root
AuthType=auth/munge
AuthInfo=socket={folder}/munge.socket
CredType=cred/munge
CommunicationParameters=NoCtldInAddrAny,NoInAddrAny
MessageTimeout=60
StateSaveLocation={folder}/state
SlurmdSpoolDir={folder}/spool/%n
SlurmctldPidFile={folder}/slurmctld.pid
SlurmdPidFile={folder}/%n.pid
SlurmctldLogFile={folder}/slurmctld.log
SlurmdLogFile={folder}/%n.log
ProctrackType=proctrack/linuxproc
TaskPlugin=task/none
SwitchType=switch/none
MpiDefault=none
SelectType=select/cons_tres
SelectTypeParameters=CR_CPU_Memory
SlurmdParameters=config_overrides
SchedulerParameters=batch_sched_delay=0,sched_interval=1
{accounts}
JobAcctGatherType=jobacct_gather/linux
JobAcctGatherFrequency=task=1
JobAcctGatherParams=OverMemoryKill
KillWait=2
ReturnToService=1
PreemptType=preempt/partition_prio
PreemptMode=CANCEL
{nodes}
PartitionName=main Nodes={names} Default=YES MaxTime=INFINITE State=UP
PartitionName=urgent Nodes={names} PriorityTier=9 MaxTime=INFINITE State=UP
"""

# slurmd looks for cgroups though nothing here uses them, and does not start where none are mounted (a chroot)
# or not as it expects (22.05: "Hybrid mode is not supported"); the plugin of version 1 does not look
_NO_CGROUPS = "CgroupPlugin=cgroup/v1\n"
_WITHOUT_ACCOUNTS = "AccountingStorageType=accounting_storage/none"
_WITH_ACCOUNTS = """\
AccountingStorageType=accounting_storage/slurmdbd
AccountingStorageHost=127.0.0.1
AccountingStoragePort={port}
AccountingStoragePass={folder}/munge.socket"""
_ACCOUNTS = """\
AuthType=auth/munge
AuthInfo=socket={folder}/munge.socket
DbdHost=localhost
DbdAddr=127.0.0.1
DbdPort={port}
SlurmUser=root
CommunicationParameters=NoInAddrAny
LogFile={folder}/slurmdbd.log
DebugLevel=debug2
PidFile={folder}/slurmdbd.pid
StorageType=accounting_storage/mysql
StorageHost=localhost
StorageUser=root
StorageLoc=accounts
"""

# glibc resolves no address at all where there is none but 127.0.0.1 (AI_ADDRCONFIG): one for documentation
# (RFC 5737) on loopback is enough
_KEEP = """\
set -e
ip addr show dev lo | grep -q 192.0.2.1 || ip addr add 192.0.2.1/32 dev lo
mkdir -p /etc/slurm
mount --bind {folder}/etc /etc/slurm
munged --force --key-file={folder}/munge.key --socket={folder}/munge.socket --pid-file={folder}/munged.pid \\
    --log-file={folder}/munged.log --seed-file={folder}/munge.seed
{start_accounts}
slurmctld -c
for node in {nodes}; do slurmd -N $node; done
sleep infinity & wait
"""
# MariaDB's library takes the socket from MYSQL_UNIX_PORT; root needs no password there. A cluster cannot be
# added again where only the answer came too late: whether it is there is asked
_START_ACCOUNTS = """\
mkdir {folder}/database
mount -t tmpfs tmpfs {folder}/database
own="--no-defaults --user=root --datadir={folder}/database"
small="--innodb-log-file-size=4M --innodb-buffer-pool-size=16M"
mariadb-install-db $own $small --skip-test-db >{folder}/mariadb-install.log 2>&1
export MYSQL_UNIX_PORT={folder}/database.socket
mariadbd $own $small --skip-networking --socket=$MYSQL_UNIX_PORT --log-error={folder}/mariadb.log &
until [ -S $MYSQL_UNIX_PORT ]; do sleep 0.05; done
slurmdbd
until sacctmgr --noheader list cluster test format=cluster | grep --word-regexp test; do
    sacctmgr --immediate add cluster test || sleep 0.1
done"""


@dataclass(frozen=True, kw_only=True)
class Slurm:
    """A running Slurm. ``keeper``: all of it ends with this process. ``folder``: its files and logs."""

    keeper: subprocess.Popen[bytes]
    folder: Path

    def inside(self, command: Sequence[str | Path], folder: Path = ROOT) -> list[str]:
        """The command that runs a program on the cluster's login node, in a folder."""
        (first,) = psutil.Process(self.keeper.pid).children()
        namespaces = ["nsenter", "--net", "--mount", "--pid", "--target", str(first.pid), "--"]
        # a working directory from outside is another mount: renames between it and an absolute path fail
        return [*namespaces, "env", f"--chdir={folder}", *map(str, command)]

    def run(
        self, command: Sequence[str | Path], *, timeout_s: float = 300, **options: object
    ) -> subprocess.CompletedProcess[str]:
        """Run a program there; its output is captured. Look at ``returncode`` yourself."""
        settings: dict[str, object] = {"text": True, "capture_output": True, "timeout": timeout_s, **options}
        return subprocess.run(self.inside(command), check=False, **settings)  # type: ignore[call-overload, no-any-return]

    def told(self, *command: str) -> str:
        """What a command of Slurm says; its failure is an AssertionError."""
        done = self.run(command, timeout_s=60)
        assert done.returncode == 0, f"{command}: {done.stderr}"
        return done.stdout.strip()

    def jobs(self, *states: str) -> list[str]:
        """Ids of the jobs in these states ("RUNNING"), oldest first."""
        wanted = f"--states={','.join(states) or 'all'}"
        return self.told("squeue", "--noheader", wanted, "--sort=i", "--format=%i").split()

    def set_state(self, node: str, state: str) -> None:
        """As an administrator does: "down", "resume"."""
        self.told("scontrol", "update", f"nodename={node}", f"state={state}", "reason=test")

    def wait_until_idle(self, nodes: Sequence[str] = NODES) -> None:
        """Until these nodes can take jobs."""
        deadline = time.monotonic() + _PATIENCE_S
        asked = ["sinfo", "--noheader", "--Node", "--format=%N %T"]
        while time.monotonic() < deadline and self.keeper.poll() is None:
            lines = self.run(asked, timeout_s=60).stdout.split("\n")
            if {f"{node} idle" for node in nodes} <= set(lines):
                return
            time.sleep(0.1)
        logs = "\n".join(path.read_text()[-1500:] for path in sorted(self.folder.glob("*.log")))
        raise RuntimeError(f"Slurm did not start:\n{logs}")


@pytest.fixture(scope="session")
def slurm(orthanc: Orthanc) -> Iterator[Slurm]:
    """A Slurm with three nodes that reaches ``orthanc`` at 127.0.0.1. It keeps no accounts."""
    _must_have(_PROGRAMS, "slurm-wlm munge")
    with running_slurm(orthanc) as cluster:
        yield cluster


@pytest.fixture(scope="session")
def slurm_with_accounts(orthanc: Orthanc) -> Iterator[Slurm]:
    """Another one, that keeps accounts."""
    _must_have((*_PROGRAMS, *_PROGRAMS_OF_ACCOUNTS), "slurm-wlm munge slurmdbd mariadb-server")
    with running_slurm(orthanc, accounts=True) as cluster:
        yield cluster


def _must_have(programs: Sequence[str], packages: str) -> None:
    for program in programs:
        if shutil.which(program, path=_PATH) is None:
            unavailable(f"{program} is not installed (apt-get install {packages})")


@contextmanager
def running_slurm(orthanc: Orthanc, *, accounts: bool = False) -> Iterator[Slurm]:
    """Start a Slurm beside this Orthanc; end it, and all its jobs, with the block."""
    with tempfile.TemporaryDirectory(prefix="pacs2bids-slurm-") as name:
        folder = Path(name)
        _write_configuration(folder, accounts=accounts)
        start_accounts = _START_ACCOUNTS.format(folder=folder) if accounts else ""
        script = _KEEP.format(folder=folder, nodes=" ".join(NODES), start_accounts=start_accounts)
        # bash waits for whatever is left to the first process of a namespace, so that no zombies gather
        alone = [
            "unshare",
            "--mount",
            "--pid",
            "--fork",
            "--mount-proc",
            "--kill-child",
            "bash",
            "-c",
            script,
        ]
        with (folder / "start.log").open("wb") as log:
            keeper = subprocess.Popen(
                orthanc.inside(alone),
                env=_environment({"PATH": _PATH}),
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
            )
        cluster = Slurm(keeper=keeper, folder=folder)
        try:
            _wait_for_children(keeper)
            cluster.wait_until_idle()
            yield cluster
        finally:
            _end(keeper)


def _write_configuration(folder: Path, *, accounts: bool) -> None:
    folder.chmod(0o755)  # munged wants its socket to be within everybody's reach
    (folder / "etc").mkdir()
    (folder / "state").mkdir()
    (folder / "spool").mkdir()
    port = _PORT_WITH_ACCOUNTS if accounts else _PORT
    nodes = "\n".join(
        f"NodeName={node} NodeHostname=localhost NodeAddr=127.0.0.1 Port={port + number}"
        " CPUs=8 RealMemory=16000"
        for number, node in enumerate(NODES, start=1)
    )
    its_accounts = _WITH_ACCOUNTS.format(folder=folder, port=port - 1) if accounts else _WITHOUT_ACCOUNTS
    text = _CONFIGURATION.format(
        folder=folder, port=port, accounts=its_accounts, nodes=nodes, names=",".join(NODES)
    )
    (folder / "etc/slurm.conf").write_text(text)
    (folder / "etc/cgroup.conf").write_text(_NO_CGROUPS)
    if accounts:
        settings = folder / "etc/slurmdbd.conf"
        settings.touch(mode=0o600)  # slurmdbd wants it so
        settings.write_text(_ACCOUNTS.format(folder=folder, port=port - 1))
    key = folder / "munge.key"
    key.touch(mode=0o400)
    key.write_bytes(os.urandom(1024))


def _environment(changes: Mapping[str, str]) -> dict[str, str]:
    """Ours without what tells Slurm of another cluster."""
    return {key: value for key, value in ENVIRONMENT.items() if not key.startswith("SLURM_")} | dict(changes)


def _end(keeper: subprocess.Popen[bytes]) -> None:
    """All of it, and wait until none of it runs: nothing must write into a folder that is being removed.

    The first process of a namespace is gone only when all others are, and the keeper waits for it. Were the
    keeper killed itself, that would go on while nobody waits.
    """
    for first in psutil.Process(keeper.pid).children() if keeper.poll() is None else ():
        first.kill()
    try:
        keeper.wait(_PATIENCE_S)
    finally:
        keeper.kill()


def _wait_for_children(keeper: subprocess.Popen[bytes]) -> None:
    deadline = time.monotonic() + _PATIENCE_S
    while time.monotonic() < deadline and keeper.poll() is None:
        if psutil.Process(keeper.pid).children():
            return
        time.sleep(0.01)
    raise RuntimeError("no namespace could be made")


def snakemake_on(slurm: Slurm, folder: Path, *options: str) -> list[str]:
    """The command of a user on a login node, but that jobs are looked after every second."""
    often = ["--slurm-init-seconds-before-status-checks", "1", "--seconds-between-status-checks", "1"]
    command = [sys.executable, "-m", "snakemake", "--snakefile", str(ROOT / "Snakefile")]
    return slurm.inside(
        [*command, "--workflow-profile", str(PROFILE), *often, "--latency-wait", "5", *options], folder
    )
