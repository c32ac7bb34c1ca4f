"""A host over SSH: commands and files, with its key checked, and errors in the operator's words.

Nothing secret is in a command: it goes by standard input, and what a command prints is never logged.
"""

from __future__ import annotations

import asyncio
import concurrent.futures
import shlex
import threading
import time
from collections.abc import Coroutine
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING, Any, Self, TypeVar

from infra.providers.problem import Problem
from infra.providers.resource import Task, Values

if TYPE_CHECKING:  # half a second that stacks without hosts of their own need not wait for
    from asyncssh import SSHClientConnection

CONNECT_S = 10
LOGIN_S = 20
KEEPALIVE_S = 5
"""After three that are not answered the connection counts as lost."""
COMMAND_S = 300
RECONNECT_S = 90
"""A host that restarts is back by then."""
REMOVAL_PATIENCE_S = 60
"""A host that does not answer for this long is not waited for when it is taken out."""
SHOWN_LINES = 8
READ_BYTES = 1 << 18
"""Bytes of a file that are read at once: asyncssh's own 8 KiB make a bundle's way several times as long."""
ENVIRONMENT = "export LC_ALL=C PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"

T = TypeVar("T")


class HostUnreachable(Problem):
    """Nothing answers at a host's address."""


class AccessRefused(Problem):
    """A host answers and does not let us in, or is not the one that it should be."""


class ConnectionLost(Problem):
    """The connection ended in the middle; what the command did is not known."""


class CommandFailed(Problem):
    """A command ended with an error."""


@dataclass(frozen=True)
class SshAddress:
    """Where a host answers, as whom we log in, and which key it must show."""

    name: str
    address: str
    port: int = 22
    user: str = "root"
    key_file: str = ""
    host_key: str = ""
    known_hosts: str = ""

    @classmethod
    def from_values(cls, values: Values) -> SshAddress:
        """Out of a resource's inputs."""
        return cls(**{name: values[name] for name in cls.__dataclass_fields__ if name in values})

    @property
    def login(self) -> str:
        """As SSH names it."""
        return f"{self.user}@{self.address}" + (f":{self.port}" if self.port != 22 else "")


@dataclass(frozen=True)
class CommandResult:
    """How a command ended."""

    status: int
    output: str
    error: str


class RemoteHost:
    """A host that one operation works on: connected when first needed, and again when the connection is lost."""

    def __init__(self, address: SshAddress, task: Task) -> None:
        self.address = address
        self.task = task
        self._connection: SSHClientConnection | None = None

    @property
    def name(self) -> str:
        return self.address.name

    def __enter__(self) -> Self:
        self.connect()
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        self.close()

    def connect(self, patience_s: float = 0) -> None:
        """Connects; one that does not answer is tried again for a while. Raises `Unreachable` or `Refused`."""
        deadline = time.monotonic() + patience_s
        while self._connection is None:
            try:
                self._connection = self._wait(_connect(self.address), CONNECT_S + LOGIN_S + 5)
            except HostUnreachable as e:
                if time.monotonic() > deadline:
                    raise
                self.task.say(str(e))
                self.task.pause(2)
            else:
                if self.address.user != "root":
                    self._check_sudo()

    def close(self) -> None:
        if self._connection is not None:
            _loop().call_soon_threadsafe(self._connection.abort)
            self._connection = None

    def run(
        self,
        script: str,
        *arguments: str,
        input: str | bytes | Path | None = None,
        timeout_s: float = COMMAND_S,
        check: bool = True,
        again: bool = True,
        what: str = "",
        secret: bool = False,
    ) -> CommandResult:
        """Runs a script of sh as root; `arguments` are its $1 and so on, `input` is what it reads.

        `again`: it may be run a second time when the connection is lost. `what` names it in errors; its first line
        does where nothing is said. `secret`: what it says is not shown.

        Raises:
            Failed: it failed, and `check` is set.
            Lost: the connection ended, and could not be made again, or `again` is not set.
        """
        deadline = time.monotonic() + RECONNECT_S
        what = what or _script_name(script)
        while True:
            try:
                self.connect()
                result = self._run(script, arguments, input, timeout_s, what)
                break
            except (ConnectionLost, HostUnreachable):
                self.close()
                if not again or time.monotonic() > deadline:
                    raise
                self.task.say(f"{self.name}: the connection is lost; trying again")
                self.task.pause(2)
        if check and result.status:
            raise CommandFailed(f"{self.name}: {what} failed with status {result.status}{_output_tail(result, secret)}")
        return result

    def output(self, script: str, *arguments: str, **options: Any) -> str:
        """What the script prints, without the last line's end."""
        return self.run(script, *arguments, **options).output.rstrip("\n")

    def succeeds(self, script: str, *arguments: str, **options: Any) -> bool:
        """True when the script ends with status 0."""
        return self.run(script, *arguments, check=False, **options).status == 0

    def _run(
        self, script: str, arguments: tuple[str, ...], input: str | bytes | Path | None, timeout_s: float, what: str
    ) -> CommandResult:
        from asyncssh import DEVNULL, Error

        assert self._connection is not None
        words = ["sh", "-ec", f"{ENVIRONMENT}\n{script}", "sh", *arguments]
        if self.address.user != "root":
            words = ["sudo", "-n", "--", *words]
        given: dict[str, Any] = {"stdin": DEVNULL}
        if isinstance(input, Path):
            given = {"stdin": str(input), "bufsize": READ_BYTES}
        elif input:  # of an empty one asyncssh would never send the end
            given = {"input": input.encode() if isinstance(input, str) else input}
        try:
            done = self._wait(self._connection.run(shlex.join(words), encoding=None, **given), timeout_s)
        except (Error, OSError) as e:
            raise ConnectionLost(f"{self.name}: the connection was lost while {what} ran: {_error_line(e)}") from None
        if done.exit_status is None or done.exit_status < 0:
            raise ConnectionLost(f"{self.name}: the connection was lost while {what} ran")
        return CommandResult(done.exit_status, _decode(done.stdout), _decode(done.stderr))

    def _check_sudo(self) -> None:
        from asyncssh import DEVNULL

        assert self._connection is not None
        done = self._wait(self._connection.run("sudo -n true", encoding=None, stdin=DEVNULL), LOGIN_S)
        if done.exit_status:
            user = self.address.user
            raise AccessRefused(
                f"{self.name}: {user} may not use sudo without a password;"
                f" add `{user} ALL=(ALL) NOPASSWD: ALL` to /etc/sudoers.d, or log in as root"
            )

    def _wait(self, work: Coroutine[Any, Any, T], timeout_s: float) -> T:
        """Waits for what happens on the loop; the operator's Ctrl-C ends it."""
        future = asyncio.run_coroutine_threadsafe(work, _loop())
        deadline = time.monotonic() + timeout_s
        try:
            while True:
                try:
                    return future.result(0.2)
                except concurrent.futures.TimeoutError:
                    if future.done():  # since our time was over, or what it raised is the work's own
                        try:
                            return future.result()
                        except concurrent.futures.TimeoutError:
                            raise ConnectionLost(f"{self.name}: it took too long to answer") from None
                    self.task.pause(0)
                    if time.monotonic() > deadline:
                        raise ConnectionLost(f"{self.name}: no end after {timeout_s:g} s") from None
        finally:
            future.cancel()


async def _connect(to: SshAddress) -> SSHClientConnection:
    import asyncssh

    options: dict[str, Any] = {}
    if to.key_file:
        options = {"client_keys": [str(Path(to.key_file).expanduser())], "agent_path": None}
    try:
        return await asyncssh.connect(
            to.address,
            to.port,
            username=to.user,
            known_hosts=_known_hosts(to),
            config=None,
            password=None,
            connect_timeout=CONNECT_S,
            login_timeout=LOGIN_S,
            keepalive_interval=KEEPALIVE_S,
            preferred_auth="publickey",
            **options,
        )
    except asyncssh.HostKeyNotVerifiable:
        source = "onprem.hosts' host_key" if to.host_key else to.known_hosts
        raise AccessRefused(
            f"{to.name}: what answers at {to.address} has another key than {source} says; if the machine was"
            " made anew, put its new key there, and else find out who answers"
        ) from None
    except asyncssh.PermissionDenied:
        key = to.key_file or "the agent or ~/.ssh"
        raise AccessRefused(
            f"{to.name}: {to.login} does not accept the key of {key};"
            f" add its public half to ~/.ssh/authorized_keys of {to.user} there"
        ) from None
    except asyncssh.KeyImportError as e:
        raise AccessRefused(
            f"{to.name}: the key {to.key_file or to.host_key} cannot be used: {_error_line(e)}"
        ) from None
    except FileNotFoundError as e:
        raise AccessRefused(f"{to.name}: there is no file {e.filename or to.key_file}") from None
    except (OSError, asyncssh.Error, TimeoutError) as e:
        raise HostUnreachable(
            f"{to.name}: {to.login} cannot be reached: {_error_line(e)}; is it on, and does its firewall let SSH in?"
        ) from None


def _known_hosts(to: SshAddress) -> Any:
    if to.host_key:
        from asyncssh import import_known_hosts

        pattern = to.address if to.port == 22 else f"[{to.address}]:{to.port}"
        return import_known_hosts(f"{pattern} {to.host_key.strip()}\n")
    path = Path(to.known_hosts).expanduser()
    if not path.is_file():
        raise AccessRefused(
            f"{to.name}: no host_key is given, and there is no file {path}; give the machine's public key"
        )
    return str(path)


class _ConnectionLoop:
    """Where all connections live, so that their keepalives go on while nobody waits for a command."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._event_loop: asyncio.AbstractEventLoop | None = None

    def __call__(self) -> asyncio.AbstractEventLoop:
        with self._lock:  # operations on several hosts begin at once
            if self._event_loop is None:
                self._event_loop = asyncio.new_event_loop()
                threading.Thread(target=self._event_loop.run_forever, daemon=True, name="ssh").start()
            return self._event_loop


_loop = _ConnectionLoop()


def _script_name(script: str) -> str:
    """The script's first line, as a name for it; arguments and input are not in it."""
    lines = [line.strip() for line in script.strip().splitlines() if line.strip() and not line.strip().startswith("#")]
    return f"`{lines[0][:80]}`" if lines else "nothing"


def _output_tail(result: CommandResult, secret: bool) -> str:
    lines = [] if secret else (result.error.strip() or result.output.strip()).splitlines()[-SHOWN_LINES:]
    return "".join(f"\n    {line}" for line in lines)


def _decode(data: Any) -> str:
    return data.decode(errors="replace") if isinstance(data, bytes) else str(data or "")


def _error_line(error: BaseException) -> str:
    return " ".join(str(error).split())[:200] or type(error).__name__
