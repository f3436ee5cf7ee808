"""A small authority of certificates for tests, made with openssl."""

from __future__ import annotations

import shutil
import subprocess
from dataclasses import dataclass
from pathlib import Path

import pytest

from pacs2bids.peers import Tls
from peers.available import unavailable

_NEW_KEY = ["-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes"]


@dataclass(frozen=True, kw_only=True)
class Authority:
    """Issues certificates into its folder. ``ca``: its own."""

    folder: Path

    @property
    def ca(self) -> Path:
        return self.folder / "ca.pem"

    def tls(self, name: str, *, bears: str = "IP:127.0.0.1", days: int = 2) -> Tls:
        """A certificate of CN ``name`` for ``bears`` (subjectAltName); its holder trusts this authority."""
        key, request, certificate = (self.folder / f"{name}.{kind}" for kind in ("key", "csr", "pem"))
        _openssl(
            "req", *_NEW_KEY, "-keyout", key, "-out", request,
            "-subj", f"/CN={name}", "-addext", f"subjectAltName={bears}",
        )  # fmt: skip
        _openssl(
            "x509", "-req", "-in", request, "-CA", self.ca, "-CAkey", self.folder / "ca.key",
            "-CAcreateserial", "-copy_extensions", "copy", "-extfile", self.folder / "issued.cnf",
            "-days", days, "-out", certificate,
        )  # fmt: skip
        return Tls(ca=self.ca, certificate=certificate, key=key)


def authority(folder: Path) -> Authority:
    """A new one, with a key of its own."""
    if shutil.which("openssl") is None:
        unavailable("openssl is not installed")
    folder.mkdir()
    key, certificate = folder / "ca.key", folder / "ca.pem"
    # what RFC 5280 asks of authorities and of what they issue: Python 3.13 asks for it by default
    _openssl(
        "req", "-x509", *_NEW_KEY, "-keyout", key, "-out", certificate, "-days", 2,
        "-subj", "/CN=House", "-addext", "keyUsage=critical,keyCertSign",
    )  # fmt: skip
    (folder / "issued.cnf").write_text("authorityKeyIdentifier=keyid\n")
    return Authority(folder=folder)


@pytest.fixture(scope="session")
def house(tmp_path_factory: pytest.TempPathFactory) -> Authority:
    """The authority that both sides trust."""
    return authority(tmp_path_factory.mktemp("certificates") / "house")


@pytest.fixture(scope="session")
def stranger(tmp_path_factory: pytest.TempPathFactory) -> Authority:
    """An authority that nobody trusts."""
    return authority(tmp_path_factory.mktemp("certificates") / "stranger")


def _openssl(*words: object) -> None:
    subprocess.run(["openssl", *map(str, words)], check=True, capture_output=True)
