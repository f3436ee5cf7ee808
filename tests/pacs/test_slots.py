"""Slots: which one a pull takes, and who waits."""

from __future__ import annotations

import logging
import os
import pwd
import shutil
import socket
import stat
import subprocess
import sys
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path

import pytest

from pacs2bids.model import PullError
from pacs2bids.pacs.pull import pull_from_pacs
from pacs2bids.pacs.sender import Destination
from pacs2bids.pacs.server import serving
from pacs2bids.pacs.turns import _lock_file, own_slot
from pacs2bids.peers import PacsPeer, Slot
from peers.instances import STUDY, write_study
from peers.ports import free_port

HOST = "127.0.0.1"


@pytest.fixture
def slots() -> tuple[Slot, Slot]:
    return Slot(ae_title="LAB1", port=free_port()), Slot(ae_title="LAB2", port=free_port())


@contextmanager
def taken(*slots: Slot) -> Iterator[None]:
    """A program of somebody else listens there."""
    with ExitStack() as servers:
        for slot in slots:
            servers.enter_context(socket.create_server((HOST, slot.port)))
        yield


def test_each_pull_has_a_slot_of_its_own(slots: tuple[Slot, Slot]) -> None:
    with own_slot(slots, HOST, wait_s=0) as first, own_slot(slots, HOST, wait_s=0) as second:
        assert (first, second) == slots
        with (
            pytest.raises(PullError, match="another pull has been receiving"),
            own_slot(slots, HOST, wait_s=0),
        ):
            pass
    with own_slot(slots, HOST, wait_s=0) as again:
        assert again == slots[0]


def test_lock_can_be_waited_for_by_other_users_whatever_our_umask(slots: tuple[Slot, Slot]) -> None:
    before = os.umask(0o077)
    try:
        with own_slot(slots[:1], HOST, wait_s=0):
            assert stat.S_IMODE(_lock_file(slots[0]).stat().st_mode) == 0o644
    finally:
        os.umask(before)


def test_locks_leave_nothing_behind(slots: tuple[Slot, Slot]) -> None:
    with taken(slots[0]), own_slot(slots, HOST, wait_s=0):
        assert [_lock_file(slot).exists() for slot in slots] == [False, True]
    assert not _lock_file(slots[1]).exists()
    with suppress(KeyboardInterrupt), own_slot(slots, HOST, wait_s=0):
        raise KeyboardInterrupt
    assert not _lock_file(slots[0]).exists()


def test_lock_whose_file_was_removed_is_none(slots: tuple[Slot, Slot]) -> None:
    """A cleaner of /tmp took it away; who is there now keeps its own when the other ends."""
    with ExitStack() as late:
        with own_slot(slots[:1], HOST, wait_s=0):
            _lock_file(slots[0]).unlink()
            late.enter_context(own_slot(slots[:1], HOST, wait_s=0))
        with pytest.raises(PullError), own_slot(slots[:1], HOST, wait_s=0):
            pass


RUSH = """
import logging, sys
from pathlib import Path
from pacs2bids.pacs import turns
from pacs2bids.peers import Slot
logging.disable()
turns._POLL_S = 0
slot, place = Slot(ae_title="LAB1", port=int(sys.argv[1])), Path(sys.argv[2])
for _ in range(150):
    with turns.own_slot([slot], "127.0.0.1", wait_s=300):
        (place / "held").mkdir()  # fails if another has it
        (place / "held").rmdir()
"""


def test_many_who_come_and_go_never_meet(slots: tuple[Slot, Slot], tmp_path: Path) -> None:
    """Each takes a file away that the others may just have opened."""
    command = [sys.executable, "-c", RUSH, str(slots[0].port), str(tmp_path)]
    rush = [subprocess.Popen(command, text=True, stderr=subprocess.PIPE) for _ in range(4)]
    assert [one.communicate(timeout=300)[1] for one in rush] == [""] * 4


def test_who_is_waited_for_is_told(slots: tuple[Slot, Slot], caplog: pytest.LogCaptureFixture) -> None:
    with (
        own_slot(slots[:1], HOST, wait_s=0),
        pytest.raises(PullError),
        own_slot(slots[:1], HOST, wait_s=0.1),
    ):
        pass
    user = pwd.getpwuid(os.getuid()).pw_name
    assert f"another pull receives (process {os.getpid()} of user {user})" in caplog.text


def test_port_of_another_program_is_left_out(
    slots: tuple[Slot, Slot], caplog: pytest.LogCaptureFixture
) -> None:
    with taken(slots[0]), own_slot(slots, HOST, wait_s=0) as slot:
        assert slot == slots[1]
    assert [record.levelno for record in caplog.records] == [logging.WARNING]
    assert "LAB1" in caplog.text


def test_nothing_is_waited_for_if_other_programs_have_all_ports(slots: tuple[Slot, Slot]) -> None:
    told = f"ports {slots[0].port}, {slots[1].port} are taken"
    with taken(*slots), pytest.raises(PullError, match=told), own_slot(slots, HOST, wait_s=60):
        pass


@pytest.mark.skipif(os.getuid() != 0 or shutil.which("flock") is None, reason="needs root and flock")
def test_other_users_wait_too(slots: tuple[Slot, Slot]) -> None:
    script = '[ -e "$0" ] || : > "$0"; exec 9< "$0" && flock -n 9 && echo held && read _'
    command = ["sh", "-c", script, str(_lock_file(slots[0]))]

    def another_user() -> subprocess.Popen[str]:
        return subprocess.Popen(
            command, user="nobody", text=True, stdin=subprocess.PIPE, stdout=subprocess.PIPE
        )

    with own_slot(slots[:1], HOST, wait_s=0):
        assert another_user().communicate(timeout=60)[0] == ""
    with another_user() as other:
        assert other.stdout is not None
        assert other.stdout.readline() == "held\n"
        with pytest.raises(PullError), own_slot(slots[:1], HOST, wait_s=0):
            pass
        other.communicate("")
    with own_slot(slots[:1], HOST, wait_s=0):  # its file is still there, and nobody has it
        pass


def test_pull_goes_by_the_slot_that_is_free(slots: tuple[Slot, Slot], tmp_path: Path) -> None:
    write_study(tmp_path / "pacs")
    destinations = {slot.ae_title: Destination(host=HOST, port=slot.port) for slot in slots}
    with serving(tmp_path / "pacs", destinations=destinations) as server:
        peer = PacsPeer(
            name="p",
            host=server.host,
            port=server.port,
            ae_title=server.ae_title,
            slots=slots,
            receive_host=HOST,
        )
        with own_slot(slots, HOST, wait_s=0) as held:
            assert held == slots[0]
            assert pull_from_pacs(peer, STUDY, tmp_path / "study").complete
