"""Slots: which one a pull takes, and who waits."""

from __future__ import annotations

import logging
import os
import shutil
import socket
import stat
import subprocess
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

import pytest

from pacs2bids.model import PullError
from pacs2bids.pacs.pull import pull_from_pacs
from pacs2bids.pacs.sender import Destination
from pacs2bids.pacs.server import serving
from pacs2bids.pacs.turns import _lock_file, own_slot
from pacs2bids.peers import PacsPeer, Slot
from peers.instances import STUDY, write_study

HOST = "127.0.0.1"


@pytest.fixture
def slots() -> tuple[Slot, Slot]:
    with socket.create_server((HOST, 0)) as one, socket.create_server((HOST, 0)) as two:
        ports = one.getsockname()[1], two.getsockname()[1]
    return Slot(ae_title="LAB1", port=ports[0]), Slot(ae_title="LAB2", port=ports[1])


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
            pass
    finally:
        os.umask(before)
    path = _lock_file(slots[0])
    assert stat.S_IMODE(path.stat().st_mode) == 0o644
    path.unlink()


def test_who_is_waited_for_is_told(slots: tuple[Slot, Slot], caplog: pytest.LogCaptureFixture) -> None:
    with (
        own_slot(slots[:1], HOST, wait_s=0),
        pytest.raises(PullError),
        own_slot(slots[:1], HOST, wait_s=0.1),
    ):
        pass
    assert f"another pull receives (process {os.getpid()} of user {Path.home().owner()})" in caplog.text


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
    lock = f"/tmp/pacs2bids-receiver-{slots[0].port}.lock"

    def another_user_has_it() -> bool:
        done = subprocess.run(["sh", "-c", f"exec 9<{lock} && flock -n 9"], user="nobody", check=False)
        return done.returncode == 0

    with own_slot(slots, HOST, wait_s=0):
        assert not another_user_has_it()
    assert another_user_has_it()


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
