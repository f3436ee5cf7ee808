"""Encrypted connections in both directions, with dcmtk, Orthanc and pynetdicom on the other side."""

from __future__ import annotations

import os
import re
import shutil
import socket
import ssl
import subprocess
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import replace
from pathlib import Path

import pydicom
import pytest
from pynetdicom import AE, build_context
from pynetdicom.sop_class import Verification  # type: ignore[attr-defined]

from pacs2bids.model import ConfigError, QueryError
from pacs2bids.pacs import acceptor
from pacs2bids.pacs.find import associated
from pacs2bids.pacs.inbox import Inbox
from pacs2bids.pacs.receiver import Address, Receiver, receiving
from pacs2bids.pacs.tls import client_context, server_context
from pacs2bids.peers import PacsPeer, Tls
from peers.available import unavailable
from peers.certificates import Authority
from peers.embedded import wait_for
from peers.instances import STUDY, instance, write_study
from peers.orthanc import DICOM_PORT, OUR_PORT, Orthanc, running_orthanc

# ---------------------------------------------------------------------------------------------- we call


@contextmanager
def pacs(tls: Tls | None, *, wants_certificate: bool = False) -> Iterator[PacsPeer]:
    """A server that answers C-ECHO, at 127.0.0.1; what it trusts and shows: ``tls``."""
    entity = AE(ae_title="PACS")
    entity.add_supported_context(Verification)
    context = None
    if tls is not None:
        context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH, cafile=tls.ca)
        context.load_cert_chain(str(tls.certificate), str(tls.key))
        context.verify_mode = ssl.CERT_REQUIRED if wants_certificate else ssl.CERT_NONE
    server = entity.start_server(("127.0.0.1", 0), block=False, ssl_context=context)
    assert server is not None
    try:
        yield PacsPeer(name="p", host="127.0.0.1", port=server.server_address[1], ae_title="PACS")
    finally:
        server.shutdown()


def echo(peer: PacsPeer, tls: Tls | None) -> int:
    with associated(replace(peer, tls=tls), [build_context(Verification)]) as association:
        return int(association.send_c_echo().Status)


def test_certificates_of_both_sides_are_shown_and_checked(house: Authority) -> None:
    with pacs(house.tls("PACS"), wants_certificate=True) as peer:
        assert echo(peer, house.tls("US")) == 0


def test_certificate_may_bear_another_name_that_is_expected(house: Authority) -> None:
    with pacs(house.tls("PACS", bears="DNS:pacs.example")) as peer:
        assert echo(peer, Tls(ca=house.ca, server_name="pacs.example")) == 0


def test_certificate_of_the_pacs_itself_can_be_trusted(stranger: Authority) -> None:
    theirs = stranger.tls("PACS")
    with pacs(theirs) as peer:
        assert echo(peer, Tls(ca=theirs.certificate)) == 0


@pytest.mark.parametrize(
    ("theirs", "ours", "told"),
    [
        (lambda house, _: house.tls("OLD", days=-1), lambda house, _: Tls(ca=house.ca), "has expired"),
        (
            lambda _, stranger: stranger.tls("ODD"),
            lambda house, _: Tls(ca=house.ca),
            "was issued by none of tls.ca.*give that certificate as tls.ca",
        ),
        (
            lambda house, _: house.tls("ELSE", bears="DNS:pacs.example,IP:10.9.8.7"),
            lambda house, _: Tls(ca=house.ca),
            "made out to pacs.example, 10.9.8.7, not to 127.0.0.1.*server_name",
        ),
        (lambda *_: None, lambda house, _: Tls(ca=house.ca), "speaks no TLS there"),
        (lambda house, _: house.tls("PACS"), lambda *_: None, "speaks TLS there, and we do not.*Set tls"),
    ],
)
def test_failure_says_what_is_wrong(
    house: Authority,
    stranger: Authority,
    theirs: Callable[[Authority, Authority], Tls | None],
    ours: Callable[[Authority, Authority], Tls | None],
    told: str,
) -> None:
    with pacs(theirs(house, stranger)) as peer, pytest.raises(QueryError, match=told):
        echo(peer, ours(house, stranger))


def test_pacs_that_wants_a_certificate_of_ours(house: Authority, stranger: Authority) -> None:
    with pacs(house.tls("PACS"), wants_certificate=True) as peer:
        with pytest.raises(QueryError, match=r"it wants a certificate of ours.*Set tls.certificate"):
            echo(peer, Tls(ca=house.ca))
        with pytest.raises(QueryError, match=r"does not accept our certificate \(unknown ca"):
            echo(peer, replace(stranger.tls("US"), ca=house.ca))


# ---------------------------------------------------------------------------------------------- we are called


@contextmanager
def listening(folder: Path, tls: Tls) -> Iterator[tuple[Inbox, Receiver]]:
    inbox = Inbox(folder / "study", STUDY)
    address = Address(ae_title="US", host="127.0.0.1", port=0, callers=("PACS",), tls=tls)
    with receiving(address, inbox) as receiver:
        yield inbox, receiver


def storescu(receiver: Receiver, path: Path, *options: str | Path | None) -> int:
    """Send with dcmtk; its exit code."""
    if shutil.which("storescu") is None:
        unavailable("storescu of dcmtk is not installed")
    command = ["storescu", "-aet", "PACS", "-aec", "US", "-to", "60", "-ta", "60"]
    words = [str(word) for word in (*options, "127.0.0.1", receiver.port, path)]
    environment = {**os.environ, "TCP_NODELAY": "1"}
    return subprocess.run([*command, *words], check=False, timeout=120, env=environment).returncode


def secured(tls: Tls) -> Sequence[str | Path | None]:
    return ("+tls", tls.key, tls.certificate, "+cf", tls.ca)


@pytest.fixture
def one(tmp_path: Path) -> Path:
    path = tmp_path / "one.dcm"
    pydicom.dcmwrite(path, instance(1), enforce_file_format=True)
    return path


def test_receiver_takes_only_those_who_show_a_certificate(
    tmp_path: Path, one: Path, house: Authority, stranger: Authority
) -> None:
    with listening(tmp_path, house.tls("US")) as (inbox, receiver):
        assert storescu(receiver, one) != 0
        assert storescu(receiver, one, "+tla", "-ic") != 0
        assert storescu(receiver, one, *secured(replace(stranger.tls("PACS"), ca=house.ca))) != 0
        assert len(inbox) == 0
        assert storescu(receiver, one, *secured(house.tls("PACS"))) == 0
        wait_for(lambda: len(receiver.insecure) == 3)  # who is turned away may know it before it is noted
    assert len(inbox) == 1
    told = sorted(receiver.insecure)
    assert "it showed no certificate" in told
    assert "its certificate was issued by none of tls.ca" in told
    assert any(reason.startswith("it speaks no TLS") for reason in told)


def test_silent_callers_block_nobody_and_hold_up_nothing(
    tmp_path: Path, one: Path, house: Authority, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(acceptor, "_GREETING_S", 300.0)
    with ExitStack() as silent:
        with listening(tmp_path, house.tls("US")) as (inbox, receiver):
            for _ in range(60):
                silent.enter_context(socket.create_connection(("127.0.0.1", receiver.port)))
            assert storescu(receiver, one, *secured(house.tls("PACS"))) == 0
            ended = time.monotonic()
        assert len(inbox) == 1
        assert time.monotonic() - ended < 100, "the handshake would be waited for 300 s"


# ---------------------------------------------------------------------------------------------- both


@pytest.fixture(scope="module")
def orthanc(house: Authority, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Orthanc]:
    """One that wants a certificate of who calls, and calls us by TLS; it has a study."""
    theirs = house.tls("ORTHANC")
    settings = {
        "DicomTlsEnabled": True,
        "DicomTlsCertificate": str(theirs.certificate),
        "DicomTlsPrivateKey": str(theirs.key),
        "DicomTlsTrustedCertificates": str(house.ca),
        "DicomTlsRemoteCertificateRequired": True,
        "DicomModalities": {
            "us": {"AET": "PACS2BIDS", "Host": "127.0.0.1", "Port": OUR_PORT, "UseDicomTls": True}
        },
    }
    files = tmp_path_factory.mktemp("files")
    write_study(files)
    with running_orthanc(**settings) as one:
        one.load(files)
        yield one


def source(tls: Tls | None, *, port: int = DICOM_PORT, rest: str = "") -> str:
    """As it stands in config.yaml."""
    files = {} if tls is None else {"ca": tls.ca, "certificate": tls.certificate, "key": tls.key}
    told = ", ".join(f"{name}: {path}" for name, path in files.items() if path)
    secured = f", tls: {{{told}{rest}}}" if told else ""
    return f"{{kind: pacs, host: 127.0.0.1, port: {port}, ae_title: ORTHANC{secured}}}"


def test_pull_over_tls_from_orthanc(
    orthanc: Orthanc, tmp_path: Path, house: Authority, stranger: Authority
) -> None:
    ours = house.tls("US")
    config, table, out = (tmp_path / name for name in ("config.yaml", "studies.tsv", "study"))
    table.write_text(f"study_instance_uid\tsubject\tsession\tsource\n{STUDY}\t01\t\tpacs\n")
    words = ["pull", "--config", config, "--studies", table, "--study", STUDY, "--out", out]
    done = []
    for tls in (replace(ours, ca=stranger.ca), ours):
        config.write_text(
            f"sources:\n  pacs: {source(tls)}\n"
            "studies: {table: studies.tsv}\nheuristic: reproin\ndataset: {name: T}\n"
        )
        done.append(orthanc.pacs2bids(*words))
    assert [one.returncode for one in done] == [1, 0], done
    assert "was issued by none of tls.ca" in done[0].stderr.splitlines()[-1]
    assert len(list((tmp_path / "study" / "dicom").glob("*/*.dcm"))) == 10


def wait_until_listening(orthanc: Orthanc, port: int) -> None:
    """Until somebody takes calls at a port beside Orthanc."""

    def listens() -> bool:
        sockets = orthanc.run(["cat", "/proc/net/tcp", "/proc/net/tcp6"]).stdout
        return re.search(rf":{port:04X} [0-9A-F:]+ 0A ", sockets) is not None

    wait_for(listens, 120)


def test_ping_over_tls(orthanc: Orthanc, tmp_path: Path, house: Authority, stranger: Authority) -> None:
    """Orthanc, and dcmtk's storescp with and without TLS; its dcmqrscp (3.6.7) has none."""
    theirs, ours = house.tls("PACS"), house.tls("US")
    expected = {
        "good": (source(ours), "ok"),
        "dcmtk": (source(ours, port=2762), "C-FIND: the PACS does not offer it to us"),
        "authority": (
            source(replace(ours, ca=stranger.ca)),
            "C-ECHO: its certificate was issued by none of tls.ca",
        ),
        "bare": (source(Tls(ca=house.ca)), "C-ECHO: it wants a certificate of ours"),
        "foreign": (
            source(replace(stranger.tls("US"), ca=house.ca)),
            "C-ECHO: it does not accept our certificate",
        ),
        "name": (
            source(ours, rest=", server_name: pacs.example"),
            "C-ECHO: its certificate is made out to 127.0.0.1, not to pacs.example",
        ),
        "plain": (source(ours, port=104), "C-ECHO: it speaks no TLS there"),
        "open": (source(None), "C-ECHO: the PACS speaks TLS there, and we do not"),
    }
    lines = [f"  {name}: {settings}\n" for name, (settings, _) in expected.items()]
    (tmp_path / "config.yaml").write_text("sources:\n" + "".join(lines))
    if shutil.which("storescp") is None:
        unavailable("storescp of dcmtk is not installed")
    with ExitStack() as stack:
        for options in ([*secured(theirs), 2762], [104]):
            command = orthanc.inside(["storescp", "-od", tmp_path, *options])
            server = stack.enter_context(subprocess.Popen(command))
            stack.callback(server.kill)
            wait_until_listening(orthanc, int(options[-1]))
        done = orthanc.pacs2bids("ping", "--config", tmp_path / "config.yaml")
    assert done.returncode == 1
    assert "ok    C-ECHO: ORTHANC answers PACS2BIDS over TLS" in done.stdout
    told = dict(line.split(maxsplit=1) for line in done.stdout.splitlines()[-len(expected) :])
    for name, (_, said) in expected.items():
        assert told[name].startswith(said), done.stdout


# ---------------------------------------------------------------------------------------------- files


def test_files_that_cannot_be_used_are_named(tmp_path: Path, house: Authority) -> None:
    ours, others = house.tls("US"), house.tls("THEM")
    text = tmp_path / "text.pem"
    text.write_text("no certificate")
    locked = tmp_path / "locked.key"
    lock = [
        "openssl",
        "pkey",
        "-in",
        str(ours.key),
        "-aes256",
        "-passout",
        "pass:secret",
        "-out",
        str(locked),
    ]
    subprocess.run(lock, check=True, capture_output=True)
    for wrong, told in (
        (replace(ours, ca=tmp_path / "none.pem"), "none.pem: cannot be read: No such file"),
        (replace(ours, ca=text), "text.pem: holds no certificate"),
        (replace(ours, certificate=text), "text.pem: holds no certificate"),
        (replace(ours, key=others.key), "the key does not belong to the certificate"),
        (replace(ours, key=locked), "locked.key: the key is encrypted"),
    ):
        with pytest.raises(ConfigError, match=told):
            client_context(wrong)
    with pytest.raises(ConfigError, match="ca is missing"):
        server_context(replace(ours, ca=None))
