"""``pacs2bids ping``: what works is said, and what does not is named, with what to do."""

from __future__ import annotations

import re
import socket
import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pydicom
import pytest
from pynetdicom import AE, evt
from pynetdicom.sop_class import (  # type: ignore[attr-defined]
    MRImageStorage,
    StudyRootQueryRetrieveInformationModelFind,
    StudyRootQueryRetrieveInformationModelMove,
    Verification,
)

import pacs2bids.pacs.ping
from pacs2bids.__main__ import main
from pacs2bids.pacs.identifiers import identifier_of
from pacs2bids.pacs.sender import Destination
from pacs2bids.pacs.server import serving
from peers.instances import SERIES, STUDY, instance, write_study
from peers.ports import free_port
from peers.web_server import json_answer, web_server

FIND, MOVE = StudyRootQueryRetrieveInformationModelFind, StudyRootQueryRetrieveInformationModelMove


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    write_study(tmp_path / "files", series=2, instances=2)
    return tmp_path / "files"


class Ping:
    """``pacs2bids ping`` on sources that are written down as YAML; both streams as a person sees them."""

    def __init__(self, folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
        self.config, self._capsys = folder / "config.yaml", capsys

    def __call__(self, sources: str | Sequence[str], *words: str) -> tuple[int, str]:
        lines = [sources] if isinstance(sources, str) else sources
        named = "\n".join(f"  source{number}: {{{line}}}" for number, line in enumerate(lines))
        self.config.write_text(f"sources:\n{named}\n")
        code = main(["ping", "--config", str(self.config), *words])
        captured = self._capsys.readouterr()
        text = captured.out + captured.err
        assert "Traceback" not in text
        assert "Phantom" not in text
        return code, text


@pytest.fixture
def ping(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> Ping:
    return Ping(tmp_path, capsys)


def at(port: int, ae_title: str = "PACS2BIDS_PACS", rest: str = "") -> str:
    return f"kind: pacs, host: 127.0.0.1, port: {port}, ae_title: {ae_title}, receive_host: 127.0.0.1{rest}"


@contextmanager
def scripted(
    handlers: Sequence[Any] = (), services: Sequence[str] = (Verification, FIND, MOVE), **settings: Any
) -> Iterator[int]:
    """A PACS that does as told; yields its port."""
    ae = AE(ae_title="SCRIPTED")
    for name, value in settings.items():
        setattr(ae, name, value)
    for service in services:
        ae.add_supported_context(service)
    ae.add_requested_context(MRImageStorage)
    server = ae.start_server(("127.0.0.1", 0), block=False, evt_handlers=[*handlers])
    assert server is not None
    try:
        yield server.server_address[1]
    finally:
        server.shutdown()


def one_study(event: Any) -> Iterator[Any]:
    """A C-FIND handler of a PACS that has one study of one instance."""
    level = event.identifier.QueryRetrieveLevel
    keys = {"StudyInstanceUID": STUDY, "PatientName": "Phantom^One", "StudyDate": "20260101"}
    keys |= {"SERIES": {"SeriesInstanceUID": SERIES}, "IMAGE": {"SOPInstanceUID": f"{SERIES}.1"}}.get(
        level, {}
    )
    yield 0xFF00, identifier_of(level, keys)


# ------------------------------------------------------------------------------------------------ it works


def test_all_is_well_at_every_slot(folder: Path, tmp_path: Path, ping: Ping) -> None:
    first, second = free_port(), free_port()
    destinations = {
        "LAB1": Destination(host="127.0.0.1", port=first),
        "LAB2": Destination(host="127.0.0.1", port=second),
    }
    slots = f", slots: [{{ae_title: LAB1, port: {first}}}, {{ae_title: LAB2, port: {second}}}]"
    with serving(folder, destinations=destinations) as pacs:
        code, text = ping(at(pacs.port, rest=slots), "--keep", str(tmp_path / "kept"))
    assert code == 0, text
    assert re.search(r"ok +C-ECHO: PACS2BIDS_PACS answers PACS2BIDS, \d+ ms", text)
    assert re.search(r"ok +C-FIND: answers", text)
    for slot in ("LAB1", "LAB2"):
        came = rf"ok +C-MOVE to {slot} at port \d+: an instance came from PACS2BIDS_PACS at 127\.0\.0\.1"
        assert re.search(came + r" after [0-9.]+ s \(\d+ bytes, Explicit VR Little Endian\)", text)
    kept = list((tmp_path / "kept").rglob("*.dcm"))
    assert len(kept) == 2
    assert {path.stat().st_mode & 0o777 for path in kept} == {0o600}


def test_every_way_that_is_configured_is_tried(folder: Path, ping: Ping) -> None:
    ways = f", retrieve: [get, move], receive_port: {free_port()}"
    with serving(folder) as pacs:
        code, text = ping(at(pacs.port, rest=ways))
    assert code == 1
    assert re.search(r"ok +C-GET: an instance came after", text)
    assert "FAIL  C-MOVE to PACS2BIDS" in text
    with scripted([(evt.EVT_C_FIND, one_study)]) as port:
        code, text = ping(at(port, "SCRIPTED", ", retrieve: get"))
    assert code == 1
    assert "FAIL  C-GET: the PACS does not offer it to us" in text


def test_what_came_is_thrown_away(folder: Path, tmp_path: Path, ping: Ping, monkeypatch: Any) -> None:
    temporary = tmp_path / "temporary"
    temporary.mkdir()
    monkeypatch.setattr("tempfile.tempdir", str(temporary))
    port = free_port()
    with serving(folder, destinations={"PACS2BIDS": Destination(host="127.0.0.1", port=port)}) as pacs:
        code, text = ping(at(pacs.port, rest=f", receive_port: {port}"))
    assert code == 0, text
    assert not list(temporary.rglob("*.dcm"))


def test_a_study_that_is_named(folder: Path, ping: Ping) -> None:
    port = free_port()
    rest = f", receive_port: {port}"
    with serving(folder, destinations={"PACS2BIDS": Destination(host="127.0.0.1", port=port)}) as pacs:
        code, text = ping(at(pacs.port, rest=rest), "--study", STUDY)
        missing, told = ping(at(pacs.port, rest=rest), "--study", "1.2.3")
    assert (code, missing) == (0, 1), text
    assert "C-FIND: does not have that study" in told
    assert "not tried: there is no instance" in told


def test_several_sources_end_in_a_table(folder: Path, tmp_path: Path, ping: Ping) -> None:
    empty = tmp_path / "empty"
    empty.mkdir()
    folders = [f"kind: folder, path: {one}" for one in (folder, empty, tmp_path / "nowhere")]
    code, text = ping(folders)
    assert code == 1
    assert "ok    folder: 1 study, 4 instances, 0 other files" in text
    assert re.search("^source0  ok$", text, re.MULTILINE)
    assert re.search("^source1  folder: 0 studies", text, re.MULTILINE)
    assert re.search("^source2  folder: is no folder", text, re.MULTILINE)
    assert "source1, source2: not all that is configured works" in text
    assert ping(folders, "source0")[0] == 0
    (folder / "lost.dcm").touch()
    code, text = ping(folders, "source0")
    assert code == 1
    assert "FAIL  files: lost.dcm: is empty: a copy that failed?" in text


def test_a_dicomweb_server(ping: Ping) -> None:
    study = {"0020000D": {"vr": "UI", "Value": [STUDY]}}
    with web_server(lambda _: json_answer([study])) as server:
        code, text = ping(f"kind: dicomweb, url: '{server.url}'")
        assert all(int(dict(asked.query)["limit"]) <= 20 for asked in server.asked)
    assert code == 1, text
    assert "ok    QIDO-RS: answers" in text
    assert "FAIL  WADO-RS: not tried: there is no instance" in text
    code, text = ping(f"kind: dicomweb, url: 'http://127.0.0.1:{free_port()}'")
    assert code == 1
    assert "FAIL  QIDO-RS" in text


# ------------------------------------------------------------------------------------------------ the call


def test_nobody_listens(ping: Ping) -> None:
    code, text = ping(at(free_port()))
    assert code == 1
    assert "FAIL  C-ECHO: no connection: Connection refused. Check host and port" in text


def test_an_unknown_host(ping: Ping) -> None:
    code, text = ping(at(104).replace("127.0.0.1", "no-such-host.invalid", 1))
    assert code == 1
    assert "the host name 'no-such-host.invalid' is unknown" in text


@pytest.mark.parametrize(
    ("settings", "told"),
    [
        ({"require_called_aet": True}, r"Called AE title not recogni.ed. Check ae_title \(WRONG\)"),
        ({"require_calling_aet": ["OTHER"]}, r"Calling AE title .*have our calling_ae_title \(PACS2BIDS\)"),
    ],
)
def test_a_pacs_that_rejects_us(ping: Ping, settings: dict[str, Any], told: str) -> None:
    with scripted(**settings) as port:
        code, text = ping(at(port, "WRONG"))
    assert code == 1
    assert re.search(told, text, re.IGNORECASE), text


def test_our_own_pacs_rejects_another_title(folder: Path, ping: Ping) -> None:
    with serving(folder, any_title=False) as pacs:
        code, text = ping(at(pacs.port, "WRONG"))
    assert code == 1
    told = r"FAIL  C-ECHO: .*Called AE title not recogni.ed.*Check ae_title \(WRONG\)"
    assert re.search(told, text, re.IGNORECASE), text


def test_a_web_server_on_that_port(ping: Ping, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(pacs2bids.pacs.ping, "_HTTP_TIMEOUT_S", 60.0)

    class Quiet(BaseHTTPRequestHandler):
        timeout = 1  # our call has no line break: it would wait for one

        def log_message(self, *_: Any) -> None:
            """Nothing to be seen."""

    server = ThreadingHTTPServer(("127.0.0.1", 0), Quiet)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    try:
        code, text = ping(at(server.server_port))
    finally:
        server.shutdown()
        server.server_close()
    assert code == 1
    assert "a web server listens there, and no DICOM server. Check port" in text


def test_a_pacs_that_offers_no_query(ping: Ping) -> None:
    with scripted(services=(Verification,)) as port:
        code, text = ping(at(port, "SCRIPTED"))
    assert code == 1
    assert "ok    C-ECHO" in text
    assert "FAIL  C-FIND: the PACS does not offer it to us. Ask those who run the PACS to allow" in text


def test_a_pacs_that_refuses_to_answer(ping: Ping) -> None:
    def refuse(_event: Any) -> Iterator[Any]:
        yield 0x0124, None

    with scripted([(evt.EVT_C_FIND, refuse)]) as port:
        code, text = ping(at(port, "SCRIPTED"))
    assert code == 1
    assert "FAIL  C-FIND: the query at level STUDY failed with status 0124 (not authorized)" in text


def test_a_pacs_that_shows_nothing(ping: Ping) -> None:
    with scripted([(evt.EVT_C_FIND, lambda _event: iter(()))]) as port:
        code, text = ping(at(port, "SCRIPTED"))
    assert code == 1
    assert "answers, and shows us no study. If it should have some, ask whether we may see them" in text


# ------------------------------------------------------------------------------------------------ way back


def moved(move: Callable[[Any], Iterator[Any]], ping: Ping, rest: str = "") -> tuple[int, str]:
    handlers = [(evt.EVT_C_FIND, one_study), (evt.EVT_C_MOVE, move)]
    with scripted(handlers) as port:
        return ping(at(port, "SCRIPTED", f", receive_port: {free_port()}{rest}"))


def test_an_unknown_destination(ping: Ping) -> None:
    def unknown(_event: Any) -> Iterator[Any]:
        yield None, None

    code, text = moved(unknown, ping)
    assert code == 1
    assert "the PACS does not know this move destination (A801). Register AE title PACS2BIDS with" in text


def test_a_destination_at_another_port(folder: Path, ping: Ping) -> None:
    wrong = Destination(host="127.0.0.1", port=free_port())
    with serving(folder, destinations={"PACS2BIDS": wrong}) as pacs:
        code, text = ping(at(pacs.port, rest=f", receive_port: {free_port()}"))
    assert code == 1
    assert "the PACS could not reach us: it has another address or port for us" in text


def test_a_destination_that_is_somebody_else(ping: Ping) -> None:
    """The PACS knows our title under another machine's address, and sends there."""
    with scripted([(evt.EVT_C_STORE, lambda _event: 0)], services=(MRImageStorage,)) as other:

        def elsewhere(_event: Any) -> Iterator[Any]:
            yield "127.0.0.1", other
            yield 1
            yield 0xFF00, instance(1)

        code, text = moved(elsewhere, ping)
    assert code == 1
    assert "the PACS says that it sent an instance, and not to us" in text


def test_a_pacs_that_calls_under_another_title(folder: Path, ping: Ping) -> None:
    """A cluster's archive sends under its own title, and not under that of the node which was asked."""
    port = free_port()
    destinations = {"PACS2BIDS": Destination(host="127.0.0.1", port=port)}
    with serving(folder, destinations=destinations, ae_title="ARCHIVE") as pacs:
        code, text = ping(at(pacs.port, "NODE", f", receive_port: {port}"))
    assert code == 1
    assert "calls came from ARCHIVE instead of NODE and were turned away" in text


def test_our_port_is_taken(folder: Path, ping: Ping) -> None:
    with serving(folder) as pacs, socket.create_server(("127.0.0.1", 0)) as other:
        port = other.getsockname()[1]
        code, text = ping(at(pacs.port, rest=f", receive_port: {port}"))
    assert code == 1
    assert f"FAIL  C-MOVE to PACS2BIDS at port {port}: port {port} is taken by another program" in text


def test_wrong_words(ping: Ping) -> None:
    assert "Did you mean 'source0'" in ping("kind: folder, path: x", "source1")[1]
    assert "is no UID" in ping("kind: folder, path: x", "--study", "1.2.x")[1]


def test_unanonymous_instances_do_not_tell_themselves(folder: Path) -> None:
    """The checks above would be worth nothing if no name were there."""
    assert "Phantom" in str(pydicom.dcmread(next(folder.rglob("*.dcm"))).PatientName)
