"""The receiver alone, against senders of dcmtk and pynetdicom."""

from __future__ import annotations

import os
import random
import shutil
import socket
import stat
import subprocess
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pydicom
import pytest
from pydicom.dataset import Dataset
from pydicom.encaps import encapsulate
from pydicom.uid import (
    DeflatedExplicitVRLittleEndian,
    ExplicitVRBigEndian,
    ExplicitVRLittleEndian,
    ImplicitVRLittleEndian,
    JPEGLSLossless,
    MRImageStorage,
)
from pynetdicom import AE, _config

from pacs2bids.model import PullError
from pacs2bids.pacs.catalogue import Instance
from pacs2bids.pacs.inbox import Identity, Inbox
from pacs2bids.pacs.receiver import Address, Receiver, receiving
from pacs2bids.pacs.sender import Destination, Originator, Sender
from peers.available import unavailable
from peers.instances import CSA_NON_IMAGE, SERIES, STUDY, data_set_bytes, first_of, instance
from peers.requestor import parked


@contextmanager
def listening(folder: Path, *, callers: tuple[str, ...] = ("PACS",)) -> Iterator[tuple[Inbox, Receiver]]:
    inbox = Inbox(folder, STUDY)
    address = Address(ae_title="US", host="127.0.0.1", port=0, callers=callers)
    with receiving(address, inbox) as receiver:
        yield inbox, receiver


@contextmanager
def associated(receiver: Receiver, *, calling: str = "PACS", called: str = "US") -> Iterator[Any]:
    entity = AE(ae_title=calling)
    for sop_class in (MRImageStorage, CSA_NON_IMAGE):
        entity.add_requested_context(sop_class, [ImplicitVRLittleEndian, ExplicitVRLittleEndian])
    association = parked(entity.associate("127.0.0.1", receiver.port, ae_title=called))
    try:
        yield association
    finally:
        if association.is_established:
            association.release()


def send(receiver: Receiver, *datasets: Dataset, **originator: Any) -> list[int]:
    with associated(receiver) as association:
        assert association.is_established
        return [association.send_c_store(dataset, **originator).Status for dataset in datasets]


def test_stores_what_comes_as_it_comes(tmp_path: Path) -> None:
    with listening(tmp_path / "study") as (inbox, receiver):
        assert send(receiver, instance(1, text="a"), instance(2, text="b")) == [0, 0]
    path = tmp_path / "study" / "dicom" / SERIES / f"{SERIES}.1.dcm"
    stored = pydicom.dcmread(path)
    # Implicit was offered first; Explicit was taken
    assert stored.file_meta.TransferSyntaxUID == ExplicitVRLittleEndian
    assert stored.file_meta.MediaStorageSOPInstanceUID == f"{SERIES}.1"
    assert stored == instance(1, text="a")
    assert path.read_bytes()[:132] == bytes(128) + b"DICM"
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert stat.S_IMODE(path.parent.stat().st_mode) == 0o700
    assert [one.sop_instance_uid for one in inbox.received] == [f"{SERIES}.1", f"{SERIES}.2"]
    assert [one.bytes for one in inbox.received] == [path.stat().st_size] * 2


def test_private_sop_class_is_stored_and_settings_are_put_back(tmp_path: Path) -> None:
    before = _config.UNRESTRICTED_STORAGE_SERVICE, _config.LOG_HANDLER_LEVEL
    with listening(tmp_path) as (inbox, receiver):
        assert send(receiver, instance(1, sop_class=CSA_NON_IMAGE)) == [0]
    assert inbox.received[0].sop_class_uid == CSA_NON_IMAGE
    assert before == (_config.UNRESTRICTED_STORAGE_SERVICE, _config.LOG_HANDLER_LEVEL)


def test_foreign_study_is_refused_and_recorded(tmp_path: Path) -> None:
    with listening(tmp_path) as (inbox, receiver):
        assert send(receiver, instance(1, study="1.2.3"), instance(2)) == [0x0124, 0]
    assert inbox.foreign == (f"{SERIES}.1",)
    assert "1.2.3" in inbox.refused[0].reason
    assert [path.name for path in tmp_path.rglob("*.*") if path.is_file()] == [f"{SERIES}.2.dcm"]


def test_what_is_refused_is_no_sign_of_life(tmp_path: Path) -> None:
    """A pull waits until nothing comes any more: a PACS that sends other studies must not keep it."""
    with listening(tmp_path) as (inbox, receiver):
        before_s = inbox.last_activity_s
        large = instance(1, study="1.2.3")
        large.EncapsulatedDocument = bytes(3_000_000)
        assert send(receiver, instance(1, study="1.2.3"), large) == [0x0124, 0x0124]
        assert inbox.last_activity_s == before_s
        assert send(receiver, instance(2)) == [0]
        inbox.flush()
        assert inbox.last_activity_s > before_s


def test_only_our_own_moves_are_served(tmp_path: Path) -> None:
    with listening(tmp_path) as (inbox, receiver):
        receiver.moves.add(("US", 101))
        ours = send(receiver, instance(1), originator_aet="US", originator_id=101)
        other_move = send(receiver, instance(2), originator_aet="US", originator_id=202)
        other_station = send(receiver, instance(3), originator_aet="THEM", originator_id=101)
    assert ours + other_move + other_station == [0, 0x0124, 0x0124]
    assert inbox.foreign == (f"{SERIES}.2", f"{SERIES}.3")


@pytest.mark.parametrize(("calling", "called"), [("STRANGER", "US"), ("PACS", "OTHER")])
def test_wrong_ae_titles_are_rejected(tmp_path: Path, calling: str, called: str) -> None:
    with (
        listening(tmp_path) as (_, receiver),
        associated(receiver, calling=calling, called=called) as association,
    ):
        assert association.is_rejected
    assert receiver.rejected == {calling}
    assert receiver.associations == 0


def test_duplicates_and_conflicts(tmp_path: Path) -> None:
    with listening(tmp_path) as (inbox, receiver):
        assert send(receiver, instance(1), instance(1), instance(2, text="first")) == [0, 0, 0]
        assert send(receiver, instance(2, text="second")) == [0]
    assert inbox.duplicates == (f"{SERIES}.1",)
    assert inbox.conflicting == (f"{SERIES}.2",)
    assert pydicom.dcmread(inbox.dicom / SERIES / f"{SERIES}.2.dcm").ImageComments == "first"
    (aside,) = (tmp_path / "quarantine").iterdir()
    assert pydicom.dcmread(aside).ImageComments == "second"
    assert len(inbox) == 2


@pytest.mark.parametrize("uid", ["../../../escape", "1.2/3", "..", "1.2." + "3" * 70])
def test_uid_that_is_no_file_name_is_refused(tmp_path: Path, uid: str) -> None:
    dataset = instance(1)
    with pytest.warns(UserWarning, match="VR UI"):
        dataset.SeriesInstanceUID = uid
    with listening(tmp_path / "study") as (inbox, receiver):
        assert send(receiver, dataset) == [0xC000]
    assert len(inbox) == 0
    assert not [path for path in tmp_path.rglob("*") if path.is_file()]


def stored(path: Path, syntax: str) -> Instance:
    """What a catalogue has of the first instance, which lies in ``path``."""
    return Instance(
        path=path,
        member=None,
        name=path.name,
        size_bytes=path.stat().st_size,
        sop_instance_uid=f"{SERIES}.1",
        sop_class_uid=MRImageStorage,
        transfer_syntax_uid=syntax,
        attributes={},
    )


def status_of(receiver: Receiver, one: Instance) -> int | None:
    """The answer to C-STORE of a file as it is, damaged or not."""
    destination = Destination(host="127.0.0.1", port=receiver.port)
    receiver.moves.add(("US", 1))
    with Sender(destination, [one], calling_ae_title="PACS", called_ae_title="US") as sender:
        return sender.store(one, message_id=1, originator=Originator(ae_title="US", message_id=1))


def test_deflated_data_set_that_cannot_be_inflated_is_refused_with_the_reason(tmp_path: Path) -> None:
    path = tmp_path / "broken.dcm"
    dataset = instance(1)
    dataset.file_meta.TransferSyntaxUID = DeflatedExplicitVRLittleEndian
    pydicom.dcmwrite(path, dataset, enforce_file_format=True)
    length = len(path.read_bytes()) - len(data_set_bytes(path))
    path.write_bytes(path.read_bytes()[:length] + b"\xff" * 100)
    with listening(tmp_path / "study") as (inbox, receiver):
        assert status_of(receiver, stored(path, DeflatedExplicitVRLittleEndian)) == 0xC000
    (refused,) = inbox.refused
    assert refused.sop_instance_uid == dataset.SOPInstanceUID
    assert refused.reason == "cannot be read: error"


@pytest.mark.parametrize("kind", ["pixels", "compressed", "large", "big endian", "text"])
def test_an_instance_that_ends_too_early_is_kept_and_told(
    tmp_path: Path, caplog: pytest.LogCaptureFixture, kind: str
) -> None:
    """The PACS has it so. One with something behind its last element that is none is whole."""
    dataset, path = instance(1, text="a comment of some length"), tmp_path / "1.dcm"
    pixels = random.Random(1).randbytes(3_000_000 if kind == "large" else 4096)
    syntax = {
        "compressed": JPEGLSLossless,
        "big endian": ExplicitVRBigEndian,
    }.get(kind, ExplicitVRLittleEndian)
    dataset.file_meta.TransferSyntaxUID = syntax
    if kind != "text":
        dataset.add_new("PixelData", "OW", encapsulate([pixels]) if kind == "compressed" else pixels)
    pydicom.dcmwrite(path, dataset, enforce_file_format=True)
    content = path.read_bytes()
    for number, cut in enumerate((4, 12) if kind == "text" else (12, 1000)):
        caplog.clear()
        with listening(tmp_path / f"study{number}") as (inbox, receiver):
            path.write_bytes(content[:-cut])
            assert status_of(receiver, stored(path, syntax)) == 0
        assert (len(inbox), inbox.refused) == (1, ())
        assert f"{SERIES}.1 is cut short" in caplog.text
    caplog.clear()
    with listening(tmp_path / "whole") as (inbox, receiver):
        path.write_bytes(content + bytes(2))
        assert status_of(receiver, stored(path, syntax)) == 0
    assert len(inbox) == 1
    assert "cut short" not in caplog.text


def test_write_error_is_told_to_the_pacs_and_leaves_nothing(tmp_path: Path) -> None:
    with listening(tmp_path) as (inbox, receiver):
        (inbox.dicom / SERIES).write_text("a file where the folder of the series should be")
        assert send(receiver, instance(1)) == [0xA700]
        assert isinstance(inbox.disk_error, OSError)
        (inbox.dicom / SERIES).unlink()
        assert send(receiver, instance(1)) == [0]
    assert inbox.refused == ()


def test_aborted_association_leaves_no_half_file(tmp_path: Path) -> None:
    """Cut the connection in the middle of the second instance."""
    with listening(tmp_path) as (inbox, receiver):
        with associated(receiver) as association:
            assert association.send_c_store(instance(1)).Status == 0
            connection = association.dul.socket.socket
            # a P-DATA-TF that announces 1000 bytes and brings 10 (PS3.8 section 9.3.5)
            connection.sendall(b"\x04\x00\x00\x00\x03\xe8" + bytes(10))
            connection.shutdown(socket.SHUT_RDWR)
        assert send(receiver, instance(2)) == [0]  # it still serves
    assert len(inbox) == 2
    assert sorted(path.name for path in tmp_path.rglob("*.*") if path.is_file()) == [
        f"{SERIES}.{number}.dcm" for number in (1, 2)
    ]


def test_parts_of_a_killed_attempt_are_removed(tmp_path: Path) -> None:
    stale = tmp_path / "dicom" / SERIES / ".1.2.dcm.0.part"
    stale.parent.mkdir(parents=True)
    stale.write_bytes(b"half")
    Inbox(tmp_path, STUDY)
    assert not stale.exists()


def test_file_is_on_the_disk_before_it_has_its_name(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    synced = []

    def fsync(handle: int, fsync: Callable[[int], None] = os.fsync) -> None:
        fsync(handle)
        name = Path(f"/proc/self/fd/{handle}").readlink()
        synced.append((name.suffix, name.stat().st_size, [*tmp_path.rglob("*.dcm")]))

    monkeypatch.setattr(os, "fsync", fsync)
    with listening(tmp_path) as (inbox, receiver):
        assert send(receiver, instance(1)) == [0]
    assert synced == [(".part", inbox.received[0].bytes, [])]


@pytest.mark.parametrize("syntax", [None, DeflatedExplicitVRLittleEndian, JPEGLSLossless])
def test_files_that_end_too_early_are_not_taken(tmp_path: Path, syntax: str | None) -> None:
    """Native, deflated, and encapsulated pixels; cut anywhere in the last bytes."""
    dataset = instance(1)
    pixels = random.Random(1).randbytes(4096)
    dataset.add_new("PixelData", "OW", pixels)
    if syntax is not None:
        dataset.file_meta.TransferSyntaxUID = syntax
    if syntax == JPEGLSLossless:
        dataset.PixelData = encapsulate([pixels])
    path = tmp_path / "dicom" / SERIES / f"{SERIES}.1.dcm"
    path.parent.mkdir(parents=True)
    pydicom.dcmwrite(path, dataset, enforce_file_format=True)
    assert Inbox(tmp_path, STUDY).resume() == 1
    content = path.read_bytes()
    for cut in (2, 7, 8, 20, 1000):  # the last byte may be padding
        path.write_bytes(content[:-cut])
        assert Inbox(tmp_path, STUDY).resume() == 0, cut
        sizes = {aside.stat().st_size for aside in (tmp_path / "quarantine").iterdir()}
        assert len(content) - cut in sizes
    assert len(sizes) == 5  # none took the place of another


def test_many_associations_at_once(tmp_path: Path) -> None:
    with listening(tmp_path) as (inbox, receiver):
        numbers = [range(start, 40, 8) for start in range(8)]
        threads = [
            threading.Thread(target=send, args=(receiver, *[instance(n) for n in some])) for some in numbers
        ]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
    assert len(inbox) == 40
    assert receiver.associations == 8


def test_port_taken(tmp_path: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        address = Address(ae_title="US", host="127.0.0.1", port=port)
        with (
            pytest.raises(PullError, match=f"port {port} is taken.*receive_port"),
            receiving(address, Inbox(tmp_path, STUDY)),
        ):
            pass
    assert not _config.UNRESTRICTED_STORAGE_SERVICE


def test_dcmtk_sender_and_compressed_instances(tmp_path: Path, corpus: Any) -> None:
    if shutil.which("storescu") is None:
        unavailable("storescu of dcmtk is not installed")
    source = first_of(corpus("ts"), JPEGLSLossless)
    head = pydicom.dcmread(source, stop_before_pixels=True)
    inbox = Inbox(tmp_path, head.StudyInstanceUID)
    address = Address(ae_title="US", host="127.0.0.1", port=0, callers=("PACS",))
    with receiving(address, inbox) as receiver:
        port = str(receiver.port)
        command = ["storescu", "-aet", "PACS", "-aec", "US", "-xt", "127.0.0.1", port, str(source)]
        subprocess.run(command, check=True, timeout=60, capture_output=True)
    (stored,) = inbox.received
    assert stored.transfer_syntax_uid == JPEGLSLossless
    assert data_set_bytes(inbox.dicom / stored.path) == data_set_bytes(source)


def test_what_comes_after_the_receipt_is_not_kept(tmp_path: Path) -> None:
    """Of a transfer that was given up, say: no receipt would tell of it."""
    inbox = Inbox(tmp_path, STUDY)
    identity = Identity(
        study_instance_uid=STUDY,
        series_instance_uid=SERIES,
        sop_instance_uid=f"{SERIES}.1",
        sop_class_uid=MRImageStorage,
        transfer_syntax_uid=ExplicitVRLittleEndian,
    )
    late = inbox.incoming(identity)
    late.write(b"DICM")
    inbox.close()
    late.keep()
    assert inbox.received == ()
    assert not [path for path in tmp_path.rglob("*") if path.is_file()]
