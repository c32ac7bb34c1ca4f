"""A real SSH server on the loopback interface; it runs commands as whoever runs the tests."""

from __future__ import annotations

import asyncio
import os
import signal
import threading
from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from pathlib import Path

import asyncssh
import pytest

from infra.onprem.ssh import RemoteHost, SshAddress
from infra.resources.resource import Task


@dataclass
class Server:
    """The server, what it was asked, and what the operator was told."""

    folder: Path
    port: int = 0
    commands: list[str] = field(default_factory=list)
    said: list[str] = field(default_factory=list)
    cut: int = 0
    """Commands whose connection is to be cut."""
    running: set[asyncio.Task[None]] = field(default_factory=set)

    @property
    def address(self) -> SshAddress:
        public = (self.folder / "host.pub").read_text()
        return SshAddress("h1", "127.0.0.1", self.port, "root", str(self.folder / "user"), public)

    def remote(self, **changes: object) -> RemoteHost:
        return RemoteHost(replace(self.address, **changes), Task(self.said.append))  # type: ignore[arg-type]

    async def handle(self, process: asyncssh.SSHServerProcess[bytes]) -> None:
        assert process.command
        self.commands.append(process.command)
        if self.cut:
            self.cut -= 1
            process.get_extra_info("connection").abort()
            return
        # Without sudo's right: what runs as another user first asks for it.
        command = process.command.replace("sudo -n --", "").replace("sudo -n true", "exit 1")
        self.running.add(asyncio.current_task())  # type: ignore[arg-type]
        child = await asyncio.create_subprocess_shell(
            command,
            stdin=asyncio.subprocess.PIPE,
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.PIPE,
            start_new_session=True,
        )
        try:
            output, error = await child.communicate(await process.stdin.read())
        finally:
            if child.returncode is None:
                os.killpg(child.pid, signal.SIGKILL)
                await child.wait()
        process.stdout.write(output)
        process.stderr.write(error)
        process.exit(child.returncode or 0)


@pytest.fixture
def server(tmp_path: Path) -> Iterator[Server]:
    for name in ("host", "user", "stranger"):
        key = asyncssh.generate_private_key("ssh-ed25519")
        key.write_private_key(tmp_path / name)
        key.write_public_key(tmp_path / f"{name}.pub")
    made = Server(tmp_path)
    loop = asyncio.new_event_loop()
    thread = threading.Thread(target=loop.run_forever, daemon=True)
    thread.start()

    async def listen() -> asyncssh.SSHAcceptor:
        return await asyncssh.listen(
            "127.0.0.1",
            0,
            server_host_keys=[str(tmp_path / "host")],
            authorized_client_keys=str(tmp_path / "user.pub"),
            process_factory=made.handle,
            encoding=None,
        )

    acceptor = asyncio.run_coroutine_threadsafe(listen(), loop).result(60)
    made.port = acceptor.get_port()
    yield made

    async def end() -> None:
        for task in made.running:
            task.cancel()
        await asyncio.gather(*made.running, return_exceptions=True)
        acceptor.close()
        await acceptor.wait_closed()

    asyncio.run_coroutine_threadsafe(end(), loop).result(60)
    loop.call_soon_threadsafe(loop.stop)
    thread.join(10)
    loop.close()
