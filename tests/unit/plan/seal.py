"""A plan reaches nothing: whatever it tries is stopped, and written down."""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

FORBIDDEN = frozenset({"socket.connect", "socket.getaddrinfo", "socket.gethostbyname", "subprocess.Popen", "os.exec"})


class Seal:
    """No network, no other program and no credential, while it is closed."""

    def __init__(self) -> None:
        self._tried: list[str] | None = None  # while it is closed
        sys.addaudithook(self._hear)  # for good: there is no way to remove one

    def _hear(self, event: str, arguments: tuple[Any, ...]) -> None:
        if self._tried is not None and event in FORBIDDEN:
            self._tried.append(f"{event} {arguments}")
            raise PermissionError(f"a plan must not {event}")

    @contextmanager
    def closed(self, patch: pytest.MonkeyPatch, home: Path) -> Iterator[None]:
        """Raises at the end for what was tried: the program may have caught the refusal."""
        for name in [n for n in os.environ if "KUBE" in n or "AWS" in n or "TOKEN" in n]:
            patch.delenv(name)
        patch.setenv("HOME", str(home))
        self._tried = tried = []
        try:
            yield
        finally:
            self._tried = None
        assert not tried, tried


SEAL = Seal()
"""Of this process, since nobody can remove it."""
