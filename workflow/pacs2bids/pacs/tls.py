"""Encrypted connections (TLS; PS3.15 annex B): files become contexts, failures become sentences.

A certificate of the other side must come from ``Tls.ca`` and bear the name of the host that we call, or
``Tls.server_name``: with a hospital's own authority, anybody whom it vouches for could pose as the PACS
otherwise. Whoever calls our receiver must show a certificate of ``Tls.ca``; callers are known by no name.
"""

from __future__ import annotations

import itertools
import socket
import ssl
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pacs2bids.model import ConfigError
from pacs2bids.peers import Tls

_UNKNOWN_ISSUER = (2, 18, 19, 20, 21)  # X509_V_ERR_* of OpenSSL's x509_vfy.h
_NOT_YET_VALID, _EXPIRED, _WRONG_PURPOSE = 9, 10, 26
_WRONG_NAME = (62, 63, 64)
_NAMES = ("DNS", "IP Address", "commonName")  # as the ssl module calls them
# in TLS 1.3 a server refuses our certificate only after the handshake (RFC 8446 section 2), a busy one a
# while after it; so long one that has nothing against us is listened to
_ALERT_S = 10.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Trouble:
    """Why an encrypted connection did not come about, and what to do."""

    what: str
    hint: str


def client_context(tls: Tls) -> ssl.SSLContext:
    """What our calls go by. Raises ConfigError if a file cannot be used."""
    context = _context(ssl.Purpose.SERVER_AUTH, tls)
    if tls.certificate is not None:
        _load_own(context, tls)
    return context


def server_context(tls: Tls) -> ssl.SSLContext:
    """What our receiver goes by: callers must show a certificate.

    ``tls`` has a certificate. Raises ConfigError if a file cannot be used.
    """
    if tls.ca is None:
        what = "tls.ca is missing: our receiver must know whose certificates callers may show"
        raise ConfigError(what, where=str(tls.certificate), hint="Give it in config.yaml")
    context = _context(ssl.Purpose.CLIENT_AUTH, tls)
    context.verify_mode = ssl.CERT_REQUIRED
    _load_own(context, tls)
    return context


def _context(purpose: ssl.Purpose, tls: Tls) -> ssl.SSLContext:
    context: ssl.SSLContext = _loaded(tls.ca, lambda: ssl.create_default_context(purpose, cafile=tls.ca))
    # `ca` may be the other side's own certificate, and not every authority of a house is strict about
    # RFC 5280; Python 3.13 has other defaults than 3.11 for both
    context.verify_flags |= ssl.VERIFY_X509_PARTIAL_CHAIN
    context.verify_flags &= ~ssl.VERIFY_X509_STRICT
    return context


def _load_own(context: ssl.SSLContext, tls: Tls) -> None:
    def password() -> str:  # otherwise OpenSSL asks at the terminal, or hangs
        raise ConfigError(
            "the key is encrypted", where=str(tls.key), hint="Decrypt it: openssl pkey -in KEY -out PLAIN_KEY"
        )

    certificate, key = str(tls.certificate), str(tls.key)
    _loaded(tls.key, lambda: Path(key).open("rb").close())  # of two files, OpenSSL does not say which
    _loaded(tls.certificate, lambda: context.load_cert_chain(certificate, key, password))


def _loaded(path: Path | None, load: Callable[[], Any]) -> Any:
    where = str(path)
    try:
        return load()
    except ssl.SSLError as error:
        if error.reason == "KEY_VALUES_MISMATCH":
            hint = "Give the key that the certificate was made with"
            raise ConfigError("the key does not belong to the certificate", where=where, hint=hint) from None
        hint = "It must be a PEM file: text that begins with -----BEGIN"
        raise ConfigError("holds no certificate or key that can be used", where=where, hint=hint) from None
    except OSError as error:
        hint = "Check tls in config.yaml"
        raise ConfigError(f"cannot be read: {error.strerror or error}", where=where, hint=hint) from None


# ------------------------------------------------------------------------------------------ what went wrong


def trouble_with(host: str, port: int, tls: Tls, *, timeout_s: float) -> Trouble | None:
    """Call once more, to learn why TLS fails; None if it does not. Raises OSError if nobody listens."""
    context, name = client_context(tls), tls.server_name or host
    with socket.create_connection((host, port), timeout=timeout_s) as plain:
        try:
            _shake_hands(plain, context, name)
        except ssl.SSLCertVerificationError as error:
            return _untrusted(error, name, lambda: _names_of(host, port, tls, timeout_s))
        except OSError as error:
            return _broken(error, with_certificate=tls.certificate is not None)
    return None


def speaks_tls(host: str, port: int, *, timeout_s: float) -> bool:
    """Whether who listens there answers to TLS."""
    looking = ssl.create_default_context()  # nothing is sent on such a connection
    looking.check_hostname, looking.verify_mode = False, ssl.CERT_NONE
    try:
        with (
            socket.create_connection((host, port), timeout=timeout_s) as plain,
            looking.wrap_socket(plain, server_hostname=host),
        ):
            pass
    except ssl.SSLError as error:
        return "ALERT" in (error.reason or "")  # it wants a certificate of ours
    except OSError:
        return False
    return True


def refused_caller(error: OSError) -> str:
    """Why a call to our receiver was not let in."""
    if isinstance(error, ssl.SSLCertVerificationError):
        return f"its certificate {_fault_of(error)}"
    reason = getattr(error, "reason", None) or ""
    if "PEER_DID_NOT_RETURN_A_CERTIFICATE" in reason:
        return "it showed no certificate"
    if "ALERT" in reason:
        return f"it does not accept our certificate ({_plain(reason)})"
    if isinstance(error, TimeoutError):
        return "it said nothing"
    return f"it speaks no TLS that we know ({_plain(reason)})" if reason else "it hung up"


def _shake_hands(plain: socket.socket, context: ssl.SSLContext, name: str) -> None:
    with context.wrap_socket(plain, server_hostname=name) as connection:
        connection.settimeout(_ALERT_S)
        try:
            connection.recv(1)
        except TimeoutError:
            return  # it waits for us to speak: all is well


def _untrusted(error: ssl.SSLCertVerificationError, name: str, names: Callable[[], str]) -> Trouble:
    code = error.verify_code
    hint = "Ask those who run the PACS for a valid certificate; and check this machine's clock"
    if code in _UNKNOWN_ISSUER:
        hint = "Ask those who run the PACS who issued it, and give that certificate as tls.ca"
    if code in _WRONG_NAME:
        told = names()
        hint = "Set host to a name that it bears, or tls.server_name to the one to expect"
        return Trouble(what=f"its certificate is made out to {told or 'others'}, not to {name}", hint=hint)
    return Trouble(what=f"its certificate {_fault_of(error)}", hint=hint)


def _fault_of(error: ssl.SSLCertVerificationError) -> str:
    if error.verify_code == _EXPIRED:
        return "has expired"
    if error.verify_code == _NOT_YET_VALID:
        return "is not valid yet"
    if error.verify_code in _UNKNOWN_ISSUER:
        return "was issued by none of tls.ca"
    if error.verify_code == _WRONG_PURPOSE:
        return "was not made for this use (extended key usage)"
    return f"is not trusted: {error.verify_message}"


def _broken(error: OSError, *, with_certificate: bool) -> Trouble:
    reason = getattr(error, "reason", None) or ""
    if "PROTOCOL_VERSION" in reason or "UNSUPPORTED_PROTOCOL" in reason:
        hint = "It must be set to TLS 1.2 or later"
        return Trouble(what="it speaks only versions of TLS that are not safe any more", hint=hint)
    if "ALERT" in reason and with_certificate:
        hint = "The PACS must trust the issuer of tls.certificate; check that it has not expired"
        return Trouble(what=f"it does not accept our certificate ({_plain(reason)})", hint=hint)
    if "ALERT" in reason:
        hint = "Set tls.certificate and tls.key to a certificate that the PACS trusts"
        return Trouble(what=f"it wants a certificate of ours ({_plain(reason)})", hint=hint)
    hint = "Check the port: with many PACS TLS has a port of its own, often 2762; or leave tls out"
    said = f" ({_plain(reason)})" if reason else ""
    return Trouble(what=f"it speaks no TLS there{said}", hint=hint)


def _names_of(host: str, port: int, tls: Tls, timeout_s: float) -> str:
    """What the certificate of who listens there is made out to; "" if it cannot be told."""
    context = client_context(tls)
    context.check_hostname = False
    try:
        with (
            socket.create_connection((host, port), timeout=timeout_s) as plain,
            context.wrap_socket(plain) as connection,
        ):
            certificate: Any = connection.getpeercert() or {}
    except OSError:
        return ""
    bears = certificate.get("subjectAltName") or itertools.chain(*certificate.get("subject", ()))
    return ", ".join(f"{value}" for kind, value in bears if kind in _NAMES)


def _plain(reason: str) -> str:
    """OpenSSL's "TLSV1_ALERT_UNKNOWN_CA" as "unknown ca"."""
    return reason.rpartition("ALERT_")[2].replace("_", " ").lower()
