"""A real MCP server as a process of its own."""

from __future__ import annotations

import select
import subprocess
import sys
from contextlib import ExitStack

from tests.servers.process import held_port

START_S = 60
"""Seconds within which a server must listen."""


class Process:
    """A server as a process of its own, which can be started again on its port."""

    def __init__(self, *options: str) -> None:
        self._options = options
        self._held = ExitStack()
        self.port = self._held.enter_context(held_port())
        self.start()

    def start(self) -> None:
        command = [sys.executable, "-m", "tests.contract.assistants.mcp_server", str(self.port), *self._options]
        self._process = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
        assert self._process.stdout is not None
        if not select.select([self._process.stdout], [], [], START_S)[0]:
            self.stop()
            raise TimeoutError("the MCP server does not start")
        assert int(self._process.stdout.readline()) == self.port

    def close(self) -> None:
        """Ends it for good."""
        self.stop()
        self._held.close()

    def stop(self) -> None:
        self._process.kill()
        self._process.wait()
        assert self._process.stdout is not None
        self._process.stdout.close()

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}/mcp"
