"""Unit tests need nothing: no connection, and no server. What needs one is for tests/contract."""

from __future__ import annotations

import socket
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

# Asks on import, by a socket that it binds, whether there is IPv6.
import urllib3.util.connection  # noqa: F401

INTERNET = (socket.AF_INET, socket.AF_INET6)
SERVERS = {"initdb", "moto_server", "node", "postgres", "prometheus"}


class Reached(AssertionError):
    """A unit test reached out of its process."""


class Guard:
    """Refuses what unit tests may not do, and remembers it: what is tested may have caught the refusal."""

    def __init__(self) -> None:
        self._found: list[str] = []
        self._on = False
        sys.addaudithook(self._hear)  # for good: there is no way to remove one

    def _hear(self, event: str, args: tuple[Any, ...]) -> None:
        if not self._on:
            return
        if event in ("socket.bind", "socket.connect") and args[0].family in INTERNET:
            self._refuse(f"{event} {args[1]}")
        elif event == "subprocess.Popen" and Path(str(args[0])).name in SERVERS:
            self._refuse(f"the start of {args[0]}")

    def _refuse(self, what: str) -> None:
        self._found.append(what)
        raise Reached(f"no unit test may do this: {what}")

    @contextmanager
    def watching(self) -> Iterator[None]:
        """Refuses until the end, where it raises `Reached` for what it refused."""
        before = self._found, self._on
        self._found, self._on = [], True
        try:
            yield
        finally:
            found = self._found
            self._found, self._on = before
        if found:
            raise Reached(f"this belongs into tests/contract: {'; '.join(found)}")


GUARD = Guard()
"""Of this process, since nobody can remove it."""
