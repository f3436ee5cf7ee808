"""C-STORE as bytes: commands, heads of files, whose an instance is; what it takes of memory and disk."""

from __future__ import annotations

import os
import resource
import shutil
import socket
import struct
import subprocess
import threading
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from io import BytesIO
from pathlib import Path

import pydicom
import pytest
from pydicom.dataset import Dataset, FileMetaDataset
from pydicom.filebase import DicomBytesIO
from pydicom.filewriter import write_file_meta_info
from pydicom.sequence import Sequence
from pydicom.uid import (
    UID,
    DeflatedExplicitVRLittleEndian,
    ExplicitVRBigEndian,
    ExplicitVRLittleEndian,
    ImplicitVRLittleEndian,
    MRImageStorage,
)
from pynetdicom import AE, evt
from pynetdicom.dimse_messages import C_STORE_RQ, C_STORE_RSP
from pynetdicom.dimse_primitives import C_STORE
from pynetdicom.dsutils import encode

from pacs2bids.model import PullError
from pacs2bids.pacs import heads
from pacs2bids.pacs.command import StoreRequest, store_request, store_response
from pacs2bids.pacs.inbox import Bytes, Inbox, Incoming
from pacs2bids.pacs.pull import pull_from_pacs
from pacs2bids.pacs.receiver import Address, Receiver, receiving
from pacs2bids.pacs.sender import Destination
from pacs2bids.pacs.server import serving
from pacs2bids.peers import PacsPeer, Slot
from peers.available import unavailable
from peers.embedded import wait_for
from peers.instances import SERIES, STUDY, instance
from peers.ports import free_port
from peers.requestor import parked

# ---------------------------------------------------------------------------------------------- bytes


def by_pynetdicom(kind: type, primitive: C_STORE) -> bytes:
    """The command set that pynetdicom sends."""
    message = kind()
    message.primitive_to_message(primitive)
    fragments = [data for pdata in message.encode_msg(1, 0) for _, data in pdata.presentation_data_value_list]
    return b"".join(data[1:] for data in fragments if data[0] & 1)


@pytest.mark.parametrize("originator", [None, ("STATION", 77)])
@pytest.mark.parametrize("uid", ["1.2.3", "1.2.34"])
def test_request_is_read_as_pynetdicom_writes_it(uid: str, originator: tuple[str, int] | None) -> None:
    primitive = C_STORE()
    primitive.MessageID, primitive.Priority = 513, 2
    primitive.AffectedSOPClassUID, primitive.AffectedSOPInstanceUID = MRImageStorage, UID(uid)
    primitive.DataSet = BytesIO(b"xx")
    if originator:
        primitive.MoveOriginatorApplicationEntityTitle, primitive.MoveOriginatorMessageID = originator
    assert store_request(by_pynetdicom(C_STORE_RQ, primitive)) == StoreRequest(
        message_id=513,
        sop_class_uid=MRImageStorage,
        sop_instance_uid=uid,
        originator=originator,
        has_data_set=True,
    )


def test_response_is_what_pynetdicom_would_send() -> None:
    primitive = C_STORE()
    primitive.MessageIDBeingRespondedTo, primitive.Status = 513, 0xA700
    primitive.AffectedSOPClassUID, primitive.AffectedSOPInstanceUID = MRImageStorage, UID("1.2.3")
    request = StoreRequest(
        message_id=513,
        sop_class_uid=MRImageStorage,
        sop_instance_uid="1.2.3",
        originator=None,
        has_data_set=True,
    )
    assert store_response(request, 0xA700) == by_pynetdicom(C_STORE_RSP, primitive)


@pytest.mark.parametrize(
    "content", [b"", b"\0\0\0\1", struct.pack("<HHIH", 0, 0x0100, 2, 0x0030), b"\1" * 40]
)
def test_other_messages_and_noise_are_no_request(content: bytes) -> None:
    assert store_request(content) is None


def test_file_head_is_what_pydicom_writes() -> None:
    meta = FileMetaDataset()
    meta.MediaStorageSOPClassUID, meta.MediaStorageSOPInstanceUID = MRImageStorage, UID("1.2.3")
    meta.TransferSyntaxUID = ExplicitVRLittleEndian
    meta.ImplementationClassUID = heads.IMPLEMENTATION_CLASS_UID
    meta.ImplementationVersionName = heads.IMPLEMENTATION_VERSION_NAME
    stream = DicomBytesIO()
    write_file_meta_info(stream, meta, enforce_standard=True)
    written = heads.file_head(MRImageStorage, "1.2.3", ExplicitVRLittleEndian)
    assert written == bytes(128) + b"DICM" + stream.getvalue()


def with_other_uids_inside(syntax: UID) -> bytes:
    """A data set in which sequences before group 0020 name other studies and series."""
    dataset = instance(1)
    inner = Dataset()
    inner.StudyInstanceUID, inner.SeriesInstanceUID, inner.SOPInstanceUID = "9.9.1", "9.9.2", "9.9.3"
    dataset.RelatedSeriesSequence = Sequence([inner])
    dataset.ReferencedStudySequence = Sequence([inner, inner])
    dataset.RelatedSeriesSequence.is_undefined_length = True
    dataset.add_new(0x00290010, "LO", "OTHER")
    encoded = encode(dataset, syntax.is_implicit_VR, syntax.is_little_endian, syntax.is_deflated)
    assert encoded is not None
    return encoded


@pytest.mark.parametrize(
    "syntax",
    [ExplicitVRLittleEndian, ImplicitVRLittleEndian, ExplicitVRBigEndian, DeflatedExplicitVRLittleEndian],
)
def test_uids_of_an_instance_are_its_own_however_much_has_come(syntax: UID) -> None:
    content = with_other_uids_inside(syntax)
    expected = {
        heads.SOP_INSTANCE_UID: f"{SERIES}.1",
        heads.STUDY_INSTANCE_UID: STUDY,
        heads.SERIES_INSTANCE_UID: SERIES,
    }
    assert heads.uids_of(content, syntax, is_whole=True) == expected
    for length in range(len(content)):
        assert heads.uids_of(content[:length], syntax, is_whole=False) in (None, expected), length


# ---------------------------------------------------------------------------------------------- the receiver


@contextmanager
def listening(folder: Path) -> Iterator[tuple[Inbox, Receiver]]:
    inbox = Inbox(folder, STUDY)
    with receiving(Address(ae_title="US", host="127.0.0.1", port=0, callers=("PACS",)), inbox) as receiver:
        yield inbox, receiver


def with_storescu(receiver: Receiver, *paths: Path) -> list[str]:
    """The command that sends with dcmtk."""
    if shutil.which("storescu") is None:
        unavailable("storescu of dcmtk is not installed")
    command = ["storescu", "-v", "-aet", "PACS", "-aec", "US", "-xe", "127.0.0.1", str(receiver.port)]
    return [*command, *map(str, paths)]


def storescu(receiver: Receiver, *paths: Path) -> str:
    """Send with dcmtk; what it says."""
    environment = {**os.environ, "TCP_NODELAY": "1"}
    done = subprocess.run(
        with_storescu(receiver, *paths),
        check=False,
        timeout=120,
        env=environment,
        capture_output=True,
        text=True,
    )
    return done.stdout + done.stderr


def large(path: Path, size_bytes: int) -> Path:
    """An instance with so many bytes of pixels, which take no room on the disk."""
    dataset = instance(1)
    dataset.add_new("PixelData", "OW", b"")
    pydicom.dcmwrite(path, dataset, enforce_file_format=True)
    with path.open("r+b") as stream:
        stream.seek(-4, os.SEEK_END)
        stream.write(struct.pack("<I", size_bytes))
        stream.truncate(stream.tell() + size_bytes)
    return path


def peak_bytes() -> int:
    status = Path("/proc/self/status").read_text()
    return int(status.partition("VmHWM:")[2].split()[0]) * 1024


@pytest.mark.skipif(not Path("/proc/self/clear_refs").exists(), reason="needs Linux to measure memory")
def test_instance_of_300_mb_is_not_held_in_memory(tmp_path: Path) -> None:
    source = large(tmp_path / "large.dcm", 300_000_000)
    with listening(tmp_path / "study") as (inbox, receiver):
        Path("/proc/self/clear_refs").write_text("5")  # the peak begins anew
        before = peak_bytes()
        storescu(receiver, source)
        inbox.flush()
        assert peak_bytes() - before < 30_000_000
    (stored,) = inbox.received
    assert stored.bytes > 300_000_000
    compared = subprocess.run(
        ["cmp", "-i", f"{source.stat().st_size - 300_000_000}:{stored.bytes - 300_000_000}", source,
         inbox.dicom / stored.path], check=False,
    )  # fmt: skip
    assert compared.returncode == 0


def test_connection_that_ends_in_mid_instance_leaves_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The receiver is held up meanwhile, so that it is mid-instance: sockets hold less than all."""
    gone, write = threading.Event(), Incoming.write

    def held_up(incoming: Incoming, piece: Bytes) -> None:
        write(incoming, piece)
        gone.wait()

    monkeypatch.setattr(Incoming, "write", held_up)
    source = large(tmp_path / "large.dcm", 300_000_000)
    with listening(tmp_path / "study") as (inbox, receiver):
        sender = subprocess.Popen(with_storescu(receiver, source))
        try:
            wait_for(lambda: any(inbox.dicom.glob("*/.*.part")))
        finally:
            sender.kill()
            sender.wait()
            gone.set()
        wait_for(lambda: not any(inbox.dicom.glob("*/.*.part")))
    assert len(inbox) == 0
    assert not [path for path in (tmp_path / "study").rglob("*") if path.is_file()]


def test_foreign_instance_is_never_written(tmp_path: Path) -> None:
    """However large it is, nothing of it reaches the disk."""
    source = large(tmp_path / "large.dcm", 20_000_000)
    inbox = Inbox(tmp_path / "study", "1.2.3")
    address = Address(ae_title="US", host="127.0.0.1", port=0, callers=("PACS",))
    written = []
    with receiving(address, inbox) as receiver:
        assert "0x124" in storescu(receiver, source)
        written = [path for path in (tmp_path / "study").rglob("*") if path.is_file()]
    assert not written
    assert inbox.foreign == (f"{SERIES}.1",)


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """A real disk of 1 MB."""
    disk = tmp_path / "disk"
    disk.mkdir()
    mount = ["mount", "-t", "tmpfs", "-o", "size=1m", "none", str(disk)]
    if shutil.which("mount") is None or subprocess.run(mount, check=False, capture_output=True).returncode:
        unavailable("mounting a small disk needs root")
    yield disk
    subprocess.run(["umount", str(disk)], check=True)


def test_disk_that_is_full_leaves_no_file_and_tells_the_pacs(tmp_path: Path, small_disk: Path) -> None:
    source = large(tmp_path / "large.dcm", 3_000_000)
    small = tmp_path / "small.dcm"
    pydicom.dcmwrite(small, instance(2), enforce_file_format=True)
    with listening(small_disk / "study") as (inbox, receiver):
        assert "Refused: OutOfResources" in storescu(receiver, source)
        assert not [path for path in small_disk.rglob("*") if path.is_file()]
        assert "Store Response (Success)" in storescu(receiver, small)
    assert [one.sop_instance_uid for one in inbox.received] == [f"{SERIES}.2"]
    assert isinstance(inbox.disk_error, OSError)
    assert "No space left" in inbox.refused[0].reason


def test_pull_that_fills_the_disk_tells_how_much_is_needed_and_goes_on_later(
    tmp_path: Path, small_disk: Path
) -> None:
    (tmp_path / "pacs").mkdir()
    for number in range(1, 11):
        dataset = instance(number)
        dataset.add_new("PixelData", "OW", bytes([number]) * 200_000)
        pydicom.dcmwrite(tmp_path / "pacs" / f"{number}.dcm", dataset, enforce_file_format=True)
    slot = Slot(ae_title="US", port=free_port())
    with serving(
        tmp_path / "pacs", destinations={"US": Destination(host="127.0.0.1", port=slot.port)}
    ) as server:
        peer = PacsPeer(
            name="p",
            host=server.host,
            port=server.port,
            ae_title=server.ae_title,
            slots=(slot,),
            receive_host="127.0.0.1",
        )
        with pytest.raises(PullError, match=r"disk/study: .*No space left.* are free, about .* MB are still"):
            pull_from_pacs(peer, STUDY, small_disk / "study")
        whole = [path for path in small_disk.rglob("*.*") if path.is_file()]
        assert {path.suffix for path in whole} == {".dcm"}
        assert all(path.stat().st_size > 200_000 for path in whole)
        subprocess.run(["mount", "-o", "remount,size=9m", str(small_disk)], check=True)
        assert pull_from_pacs(peer, STUDY, small_disk / "study").complete


def test_file_size_limit_is_told_and_leaves_no_file(tmp_path: Path) -> None:
    """As a quota does; without root."""
    source = large(tmp_path / "large.dcm", 3_000_000)
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    with listening(tmp_path / "study") as (_, receiver):
        resource.setrlimit(resource.RLIMIT_FSIZE, (1_000_000, hard))
        try:
            said = storescu(receiver, source)
        finally:
            resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
        assert "Refused: OutOfResources" in said
    assert not [path for path in (tmp_path / "study").rglob("*") if path.is_file()]


def test_silent_and_idle_callers_take_no_place_from_fifty_associations(tmp_path: Path) -> None:
    said: list[bytes] = []
    entity = AE(ae_title="PACS")
    entity.add_requested_context(MRImageStorage, ExplicitVRLittleEndian)
    with listening(tmp_path / "study") as (inbox, receiver), ExitStack() as others:

        def call() -> socket.socket:
            return others.enter_context(socket.create_connection(("127.0.0.1", receiver.port), timeout=120))

        for _ in range(60):
            call()
        handlers = [(evt.EVT_DATA_SENT, lambda event: said.append(event.data))]
        association = parked(
            entity.associate("127.0.0.1", receiver.port, ae_title="US", evt_handlers=handlers)
        )
        idle = [call() for _ in range(49)]
        for one in idle:
            one.sendall(said[0])  # the same request for an association
        assert {one.recv(1) for one in idle} == {b"\x02"}  # A-ASSOCIATE-AC (PS3.8 section 9.3.3)
        assert association.send_c_store(instance(1)).Status == 0
        association.release()
    assert len(inbox) == 1
    assert receiver.associations == 50


def test_caller_that_is_stuck_in_mid_message_does_not_hold_up_the_end(tmp_path: Path) -> None:
    entity = AE(ae_title="PACS")
    entity.add_requested_context(MRImageStorage, ExplicitVRLittleEndian)
    with listening(tmp_path / "study") as (_, receiver):
        association = entity.associate("127.0.0.1", receiver.port, ae_title="US")
        # a P-DATA-TF that announces 1000 bytes and brings 10 (PS3.8 section 9.3.5)
        association.dul.socket.socket.sendall(b"\x04\x00\x00\x00\x03\xe8" + bytes(10))
        ended = time.monotonic()
    assert time.monotonic() - ended < 60, "its rest would be waited for ten minutes"
    association.abort()


def test_command_in_mid_instance_leaves_nothing_of_it(tmp_path: Path) -> None:
    request = C_STORE()
    request.MessageID, request.Priority = 1, 2
    request.AffectedSOPClassUID, request.AffectedSOPInstanceUID = MRImageStorage, instance(1).SOPInstanceUID
    request.DataSet = BytesIO(b"")
    command = by_pynetdicom(C_STORE_RQ, request)
    encoded = encode(instance(1), False, True) or b""
    entity = AE(ae_title="PACS")
    entity.add_requested_context(MRImageStorage, ExplicitVRLittleEndian)
    with listening(tmp_path / "study") as (inbox, receiver):
        association = parked(entity.associate("127.0.0.1", receiver.port, ae_title="US"))
        for control, fragment in ((3, command), (0, encoded + bytes(100_000)), (3, command)):
            value = struct.pack(">IBB", len(fragment) + 2, 1, control) + fragment
            association.dul.socket.socket.sendall(b"\x04\x00" + struct.pack(">I", len(value)) + value)
            if not control:
                wait_for(lambda: any(inbox.dicom.glob("*/.*.part")))
        wait_for(lambda: not any(inbox.dicom.glob("*/.*.part")))
        association.abort()
    assert len(inbox) == 0


@pytest.mark.parametrize("fragment", [b"\x00\x00\x00\x01\x01", b"\x00\x00\x00\x02\x01\x03"])
def test_messages_that_make_no_sense_end_the_association(tmp_path: Path, fragment: bytes) -> None:
    """A presentation data value without a control header; a command set without elements."""
    entity = AE(ae_title="PACS")
    entity.add_requested_context(MRImageStorage, ExplicitVRLittleEndian)
    with listening(tmp_path / "study") as (inbox, receiver):
        association = entity.associate("127.0.0.1", receiver.port, ae_title="US")
        pdu = b"\x04\x00" + struct.pack(">I", len(fragment)) + fragment
        association.dul.socket.socket.sendall(pdu)
        wait_for(lambda: association.is_aborted)
        again = parked(entity.associate("127.0.0.1", receiver.port, ae_title="US"))
        assert again.send_c_store(instance(1)).Status == 0
        again.release()
    assert len(inbox) == 1
