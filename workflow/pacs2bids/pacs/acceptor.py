"""pynetdicom's association server, but no caller can hold it up.

pynetdicom does the TLS handshake on the thread that accepts calls, so that one silent client blocks all
others; it counts calls that have not said who they are as associations; and it waits for ever for the rest
of a message. Here each call has a thread, and a time limit, of its own from its first byte.
"""

from __future__ import annotations

import logging
import socket
import ssl
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from threading import Thread
from typing import Any

from pynetdicom import AE
from pynetdicom.association import Association
from pynetdicom.transport import AssociationServer, ThreadedAssociationServer

_GREETING_S = 10.0  # for the TLS handshake; AE.acse_timeout bounds what comes next, the association request
_POLL_S = 0.05
_END_S = 5.0

log = logging.getLogger("pacs2bids.pull")


class Entity(AE):
    """An application entity for which a connection counts as an association when it has become one."""

    @property
    def active_associations(self) -> list[Association]:
        """Those that are established; compared with ``maximum_associations``."""
        return [one for one in super().active_associations if one.is_established]


class Acceptor(ThreadedAssociationServer):
    """Listens at ``address`` for ``entity``. Raises OSError if it cannot.

    ``secured``: None for plain connections. ``on_insecure(host, error)``: a call failed to become encrypted.
    """

    daemon_threads = True  # a silent call is not waited for when we end
    request_queue_size = 128  # calls at the same moment; by default 5, the others try again after a second

    def __init__(
        self,
        entity: Entity,
        address: tuple[str, int],
        *,
        handlers: list[tuple[Any, ...]],
        secured: ssl.SSLContext | None,
        on_insecure: Callable[[str, OSError], None],
    ) -> None:
        self._secured, self._on_insecure = secured, on_insecure
        self._is_ending = False
        super().__init__(entity, address, entity.ae_title, entity.supported_contexts, evt_handlers=handlers)

    @contextmanager
    def serving(self) -> Iterator[None]:
        """Take calls until the block ends; then hang up on whoever is still there."""
        thread = Thread(target=self.serve_forever, args=(_POLL_S,), name="receiver", daemon=True)
        thread.start()
        try:
            yield
        finally:
            self._is_ending = True
            super(AssociationServer, self).shutdown()
            thread.join()
            self.server_close()
            self._hang_up()

    def finish_request(self, request: Any, client_address: Any) -> None:
        """Begin with a call, on a thread of its own."""
        try:
            connection = self._opened(request)
        except OSError as error:
            self._on_insecure(str(client_address[0]), error)
            self.shutdown_request(request)
            return
        if self._is_ending:
            self.shutdown_request(connection)
        else:
            super().finish_request(connection, client_address)

    def _opened(self, request: socket.socket) -> socket.socket:
        request.settimeout(_GREETING_S)
        connection = self._secured.wrap_socket(request, server_side=True) if self._secured else request
        connection.settimeout(self.ae.network_timeout)  # for the rest of a message that has begun
        return connection

    def _hang_up(self) -> None:
        """End what is open; a polite abort would wait for a caller that is stuck in mid-message."""
        calls = self.active_associations
        for call in calls:
            if call.dul.socket is not None and call.dul.socket.socket is not None:
                with suppress(OSError):
                    call.dul.socket.socket.shutdown(socket.SHUT_RDWR)
            if not call.is_established:
                waiting: Any = call.dul.to_user_queue
                waiting.put(None)  # what it gets when it has waited long enough for a request
        for call in calls:
            call.join(_END_S)
