"""Sockets for requests to URLs that others chose."""

from __future__ import annotations

import socket
from typing import Any

from serving.assistants.tools.address import may_connect


class GuardedSockets:
    """Makes sockets to addresses that are allowed, and remembers whether it refused one.

    Only where a socket is made is it known what a name has led to: asked again, a resolver may say something else.
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
