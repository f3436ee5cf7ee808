"""Requests to a DICOMweb server (PS3.18), for QIDO-RS and WADO-RS: who we are, patience, and what went wrong.

A client talks to one host only, by construction: its secret cannot reach another. Messages name the server,
never what was asked for (it may name a patient) and never a secret.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from copy import copy
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from ipaddress import ip_address
from urllib.parse import urlencode, urljoin, urlsplit

import urllib3
from urllib3.exceptions import HTTPError, NameResolutionError, NewConnectionError, ProtocolError, SSLError

from pacs2bids.model import ConfigError, QueryError, UnavailableError
from pacs2bids.pacs.tls import client_context, trouble_with
from pacs2bids.pacs.web_auth import authorization, place_of, warn_of_exposure
from pacs2bids.peers import WebPeer

_CONNECT_TIMEOUT_S = 10.0
# before an answer, and between two of its pieces; Orthanc reads each file for a page of 1000 instances
_SILENCE_S = 300.0
_LONGEST_WAIT_S = 120.0  # that a server may ask of us; for more, come back another time
_FIRST_WAIT_S = 1.0
_MOST_REDIRECTS = 5
_HTTPS_PORT = 443
_BUSY = (429, 503)  # RFC 6585 section 4, RFC 9110 section 15.6.4
_REDIRECTS = (301, 302, 303, 307, 308)
# of wildcards and lists; all may stand in a query (RFC 3986 section 3.4), and Orthanc 1.10 decodes no escapes
_UNESCAPED = "*?,:@/"
_MEANINGS = {
    400: ("the server does not take the question", "A simpler `match` may help; check url in config.yaml"),
    403: ("the server does not allow this", "Those who run it must allow us to search and to retrieve"),
    404: ("there is no such thing", "Check url in config.yaml: it must be the DICOMweb root"),
    429: ("the server is busy", "Run again later; courtesy in config.yaml spares it"),
    500: ("the server failed", "Look into its log, or try later"),
    503: ("the server is busy", "Run again later; courtesy in config.yaml spares it"),
}

log = logging.getLogger("pacs2bids.web")


class AnswerError(QueryError):
    """An answer of the server that is an error; ``status``: of HTTP."""

    def __init__(self, status: int, what: str, *, where: str = "", hint: str = "") -> None:
        super().__init__(what, where=where, hint=hint)
        self.status = status


class Client:
    """Asks one DICOMweb server; may be used by several threads.

    ``sleep``: how to wait, in seconds. Raises ConfigError if the address or a file of ``web.tls`` is of no
    use.
    """

    def __init__(self, web: WebPeer, *, sleep: Callable[[float], None] = time.sleep) -> None:
        self.web = web
        self._sleep = sleep
        self._pool = _pool(web)
        self._root = urlsplit(web.url)
        warn_of_exposure(web)
        if place_of(web) and self._root.scheme == "http" and not _is_loopback(self._root.hostname or ""):
            log.warning("%s: the secret travels unencrypted; use https", web)

    def waiting_by(self, sleep: Callable[[float], None]) -> Client:
        """The same client, which waits otherwise; what ``sleep`` raises ends a request."""
        other = copy(self)
        other._sleep = sleep
        return other

    @contextmanager
    def get(
        self, path: str, *, accept: str, query: Sequence[tuple[str, str]] = ()
    ) -> Iterator[urllib3.BaseHTTPResponse]:
        """The answer to GET of ``path`` below the root, its body still unread; status 200 to 299.

        A busy server is asked again as it says, but ``courtesy.retries`` times at most. Raises AnswerError
        for other answers, QueryError if there is none (UnavailableError if there may be one later),
        ConfigError if the secret cannot be read.
        """
        target = f"{self._root.path}{path}" + (f"?{urlencode(query, safe=_UNESCAPED)}" if query else "")
        response = self._answered(target, accept)
        try:
            yield response
        finally:
            response.close()  # the connection, too, if something is unread; else it is kept for the next

    def _answered(self, target: str, accept: str) -> urllib3.BaseHTTPResponse:
        redirects = retries = 0
        refused: dict[str, str] = {}  # who we were when the server did not believe it
        while True:
            identity = authorization(self.web)
            response = self._sent(target, {"Accept": accept, "Accept-Encoding": "identity", **identity})
            status = response.status
            if 200 <= status < 300:
                return response
            response.close()
            if status in _REDIRECTS and redirects < _MOST_REDIRECTS:
                target, redirects = self._redirected(target, response), redirects + 1
            elif status in _BUSY and retries < self.web.courtesy.retries:
                self._wait(response, retries)
                retries += 1
            # tokens are renewed in their place; the same one again would only count as another wrong trial
            elif status == 401 and not refused and authorization(self.web) != identity:
                refused = identity
            else:
                raise self._refusal(status)

    def _sent(self, target: str, headers: dict[str, str]) -> urllib3.BaseHTTPResponse:
        for attempt in (1, 2):
            try:
                return self._pool.urlopen(
                    "GET", target, headers=headers, preload_content=False, redirect=False, retries=False
                )
            except HTTPError as error:
                # a server may close a connection that it kept for us at the very moment of our next request
                if attempt == 2 or not isinstance(error, ProtocolError):
                    raise self._unsafe(error) or self._unreached(error) from None
        raise AssertionError("unreachable")

    # ------------------------------------------------------------------------------------------ what to do

    def _redirected(self, target: str, response: urllib3.BaseHTTPResponse) -> str:
        here = urlsplit(urljoin(self.web.url, target))
        there = urlsplit(urljoin(here.geturl(), response.headers.get("Location", "")))
        if _origin(there.geturl()) != _origin(here.geturl()):
            origin = f"{there.scheme}://{there.netloc.rpartition('@')[2]}"
            raise AnswerError(
                response.status,
                f"the server sends us on to {origin}",
                where=str(self.web),
                hint="It may be a page to log in: check token or password. If it is the right place, "
                "make it the url in config.yaml",
            )
        return there.path + (f"?{there.query}" if there.query else "")

    def _wait(self, response: urllib3.BaseHTTPResponse, retries: int) -> None:
        asked_s = _retry_after_s(response.headers.get("Retry-After", ""))
        wait_s = _FIRST_WAIT_S * 2**retries if asked_s is None else asked_s
        if wait_s > _LONGEST_WAIT_S:
            raise AnswerError(
                response.status,
                f"the server is busy (HTTP {response.status}) and asks for a pause of {wait_s:.0f} s",
                where=str(self.web),
                hint="Run again after that; courtesy.hours and courtesy.pause_s spare it",
            )
        log.info("%s is busy (HTTP %d): asked again in %.1f s", self.web, response.status, wait_s)
        self._sleep(wait_s)

    # ------------------------------------------------------------------------------------------ what is wrong

    def _unreached(self, error: HTTPError) -> QueryError:
        """Never the text of the error itself: it holds what was asked for."""
        hint = "Check url in config.yaml, and that no firewall is in between"
        if isinstance(error, NameResolutionError):
            what = f"the host name {self._root.hostname!r} is unknown"
        elif isinstance(error, NewConnectionError):
            cause = error.__cause__
            what = f"no connection: {getattr(cause, 'strerror', None) or 'refused'}"
        elif isinstance(error, ProtocolError):
            what = "the connection was broken off before an answer"
            hint = "Check host, port and scheme (http or https); look into the log of the server"
        elif isinstance(error, urllib3.exceptions.ConnectTimeoutError):
            what = f"no connection within {_CONNECT_TIMEOUT_S:.0f} s"
        elif isinstance(error, urllib3.exceptions.ReadTimeoutError):
            what = f"no answer within {_SILENCE_S:.0f} s"
            hint = "The server may be busy: narrow the query, or try later"
        else:
            what = f"cannot be asked: {type(error).__name__}"
        kind = QueryError if isinstance(error, NameResolutionError) else UnavailableError
        return kind(what, where=str(self.web), hint=hint)

    def _unsafe(self, error: HTTPError) -> QueryError | None:
        """What is wrong with the encryption, if it is that."""
        reason = str(getattr(error.args[0] if error.args else None, "reason", None) or "")
        # in TLS 1.3 a server may just hang up on whoever shows no certificate
        may_be = isinstance(error, SSLError | ProtocolError) and "WRONG_VERSION" not in reason
        if self._root.scheme == "https" and may_be:
            with suppress(OSError):
                host, port = self._root.hostname or "", self._root.port or _HTTPS_PORT
                trouble = trouble_with(host, port, self.web.tls, timeout_s=_CONNECT_TIMEOUT_S)
                if trouble is not None:
                    what = f"no secure connection: {trouble.what}"
                    return QueryError(what, where=str(self.web), hint=trouble.hint)
        if not isinstance(error, SSLError):
            return None
        what = f"no secure connection: {reason.lower().replace('_', ' ') or 'no TLS there'}"
        hint = "Check scheme (http or https) and port of url in config.yaml"
        return QueryError(what, where=str(self.web), hint=hint)

    def _refusal(self, status: int) -> AnswerError:
        if status == 401:
            what, hint = self._not_believed()
        elif status in _MEANINGS:
            what, hint = _MEANINGS[status]
        else:
            what, hint = _MEANINGS[400 if status < 500 else 500]
        return AnswerError(status, f"{what} (HTTP {status})", where=str(self.web), hint=hint)

    def _not_believed(self) -> tuple[str, str]:
        place = place_of(self.web)
        if not place:
            return "the server wants to know who we are", "Give token, or user and password, in config.yaml"
        if self.web.token is None:
            return "the server does not accept user and password", f"Check user, and {place}"
        return "the server does not accept the token: it may have expired", f"Renew it in {place}"


def _pool(web: WebPeer) -> urllib3.HTTPConnectionPool:
    """Connections to the one host. Raises ConfigError if the address is none."""
    timeout = urllib3.Timeout(connect=_CONNECT_TIMEOUT_S, read=_SILENCE_S)
    most = max(1, web.courtesy.moves)
    try:
        root = urlsplit(web.url)
        host, port = root.hostname or "", root.port
        if root.scheme == "http":
            return urllib3.HTTPConnectionPool(host, port, timeout=timeout, maxsize=most)
        return urllib3.HTTPSConnectionPool(
            host,
            port,
            timeout=timeout,
            maxsize=most,
            ssl_context=client_context(web.tls),
            server_hostname=web.tls.server_name or None,
        )
    except (ValueError, HTTPError):  # a port that is no number, a host that is no name
        hint = "Write it as https://host/path or https://host:port/path"
        raise ConfigError("url is no address of a server", where=str(web), hint=hint) from None


def _origin(url: str) -> tuple[str, str | None, int | None]:
    parts = urlsplit(url)
    try:
        port = parts.port or {"http": 80, "https": _HTTPS_PORT}.get(parts.scheme)
    except ValueError:  # a redirection to a port that is none
        return "", None, None
    return parts.scheme, parts.hostname, port


def _is_loopback(host: str) -> bool:
    try:
        return ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"


def _retry_after_s(text: str) -> float | None:
    """Seconds to wait: a number, or until a date (RFC 9110 section 10.2.3); None if it says nothing."""
    if text.strip().isdecimal():
        return float(text)
    try:
        until = parsedate_to_datetime(text)
    except ValueError:
        return None
    return max(0.0, (until.astimezone(UTC) - datetime.now(UTC)).total_seconds())
