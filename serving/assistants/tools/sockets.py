"""Sockets for requests to URLs from others."""

from __future__ import annotations

import socket
from typing import Any

from serving.assistants.tools.address import may_connect


class GuardedSockets:
    """Creates sockets to allowed addresses, and records whether it rejected one.

    The address is checked when the socket is created, since a second look-up of a name may give another address.
    """

    def __init__(self, private: bool) -> None:
        self._private = private
        self.refused = False

    def __call__(self, address: tuple[Any, ...]) -> socket.socket:
        family, kind, protocol, _, where = address
        if not may_connect(where[0], private=self._private):
            self.refused = True
            raise PermissionError("the address is not allowed")
        return socket.socket(family, kind, protocol)
