"""Runs commands on a host over SSH, with a verified host key and errors for the operator.

Commands contain no secrets, which are passed on standard input. The output of commands is never logged.
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

from infra.resources.problem import Problem
from infra.resources.resource import Task, Values

if TYPE_CHECKING:  # takes half a second to import, which only on-premises stacks need
    from asyncssh import SSHClientConnection

CONNECT_S = 10
LOGIN_S = 20
KEEPALIVE_S = 5
"""Interval of keepalive messages. After three without an answer the connection counts as lost."""
COMMAND_S = 300
RECONNECT_S = 90
"""How long to retry a lost connection: a restarting host is back by then."""
REMOVAL_PATIENCE_S = 60
"""How long to wait for a host that does not answer before it is removed without it."""
SHOWN_LINES = 8
READ_BYTES = 1 << 18
"""Block size when reading files to upload: asyncssh's default of 8 KiB is several times slower."""
ENVIRONMENT = "export LC_ALL=C PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"

T = TypeVar("T")


class HostUnreachable(Problem):
    """A host does not answer."""


class AccessRefused(Problem):
    """A host answers but rejects the login, or has an unexpected host key."""


class ConnectionLost(Problem):
    """The connection was lost during a command, whose result is unknown."""


class CommandFailed(Problem):
    """A command ended with an error."""


@dataclass(frozen=True)
class SshAddress:
    """Address, user and keys for SSH to a host."""

    name: str
    address: str
    port: int = 22
    user: str = "root"
    key_file: str = ""
    host_key: str = ""
    known_hosts: str = ""

    @classmethod
    def from_values(cls, values: Values) -> SshAddress:
        """Creates an address from the inputs of a resource."""
        return cls(**{name: values[name] for name in cls.__dataclass_fields__ if name in values})

    @property
    def login(self) -> str:
        """User, address and port in SSH's notation."""
        return f"{self.user}@{self.address}" + (f":{self.port}" if self.port != 22 else "")


@dataclass(frozen=True)
class CommandResult:
    """Exit status and output of a command."""

    status: int
    output: str
    error: str


class RemoteHost:
    """A host for the time of one operation, connected on first use and reconnected after a lost connection."""

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
        """Connects, with retries for `patience_s` seconds. Raises `HostUnreachable` or `AccessRefused`."""
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
        """Runs a shell script as root, with `arguments` as $1 and so on, and `input` on standard input.

        With `again`, the script may be run again after a lost connection. `what` names it in errors, by default its
        first line. With `secret`, errors do not show its output.

        Raises:
            CommandFailed: It failed, and `check` is set.
            ConnectionLost: The connection was lost and not restored, or `again` is not set.
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
                self.task.say(f"{self.name}: connection lost; trying again")
                self.task.pause(2)
        if check and result.status:
            raise CommandFailed(f"{self.name}: {what} failed with status {result.status}{_output_tail(result, secret)}")
        return result

    def output(self, script: str, *arguments: str, **options: Any) -> str:
        """Returns the output of a script, without the final newline."""
        return self.run(script, *arguments, **options).output.rstrip("\n")

    def succeeds(self, script: str, *arguments: str, **options: Any) -> bool:
        """Returns whether a script ends with status 0."""
        return self.run(script, *arguments, check=False, **options).status == 0

    def _run(
        self, script: str, arguments: tuple[str, ...], input: str | bytes | Path | None, timeout_s: float, what: str
    ) -> CommandResult:
        from asyncssh import DEVNULL, Error

        assert self._connection is not None
        command = ["sh", "-ec", f"{ENVIRONMENT}\n{script}", "sh", *arguments]
        if self.address.user != "root":
            command = ["sudo", "-n", "--", *command]
        standard_input: dict[str, Any] = {"stdin": DEVNULL}
        if isinstance(input, Path):
            standard_input = {"stdin": str(input), "bufsize": READ_BYTES}
        elif input:  # asyncssh would never send the end of an empty input
            standard_input = {"input": input.encode() if isinstance(input, str) else input}
        try:
            done = self._wait(self._connection.run(shlex.join(command), encoding=None, **standard_input), timeout_s)
        except (Error, OSError) as e:
            raise ConnectionLost(f"{self.name}: connection lost during {what}: {_error_line(e)}") from None
        if done.exit_status is None or done.exit_status < 0:
            raise ConnectionLost(f"{self.name}: connection lost during {what}")
        return CommandResult(done.exit_status, _decode(done.stdout), _decode(done.stderr))

    def _check_sudo(self) -> None:
        from asyncssh import DEVNULL

        assert self._connection is not None
        done = self._wait(self._connection.run("sudo -n true", encoding=None, stdin=DEVNULL), LOGIN_S)
        if done.exit_status:
            user = self.address.user
            raise AccessRefused(
                f"{self.name}: {user} cannot use sudo without a password;"
                f" add `{user} ALL=(ALL) NOPASSWD: ALL` to /etc/sudoers.d, or log in as root"
            )

    def _wait(self, work: Coroutine[Any, Any, T], timeout_s: float) -> T:
        """Waits for a coroutine on the event loop; the operator can cancel it with Ctrl-C."""
        future = asyncio.run_coroutine_threadsafe(work, _loop())
        deadline = time.monotonic() + timeout_s
        try:
            while True:
                try:
                    return future.result(0.2)
                except concurrent.futures.TimeoutError:
                    if future.done():  # it finished just now, or the timeout is the coroutine's own
                        try:
                            return future.result()
                        except concurrent.futures.TimeoutError:
                            raise ConnectionLost(f"{self.name}: timed out") from None
                    self.task.pause(0)
                    if time.monotonic() > deadline:
                        raise ConnectionLost(f"{self.name}: timed out after {timeout_s:g} s") from None
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
            f"{to.name}: the host key at {to.address} differs from {source}; if the host was reinstalled, update the"
            " key there, otherwise find out which host answers"
        ) from None
    except asyncssh.PermissionDenied:
        key = to.key_file or "the agent or ~/.ssh"
        raise AccessRefused(
            f"{to.name}: {to.login} does not accept the key of {key};"
            f" add its public key to ~/.ssh/authorized_keys of {to.user} there"
        ) from None
    except asyncssh.KeyImportError as e:
        raise AccessRefused(
            f"{to.name}: the key {to.key_file or to.host_key} cannot be used: {_error_line(e)}"
        ) from None
    except FileNotFoundError as e:
        raise AccessRefused(f"{to.name}: file not found: {e.filename or to.key_file}") from None
    except (OSError, asyncssh.Error, TimeoutError) as e:
        raise HostUnreachable(
            f"{to.name}: cannot reach {to.login}: {_error_line(e)}; is it on, and does its firewall allow SSH?"
        ) from None


def _known_hosts(to: SshAddress) -> Any:
    if to.host_key:
        from asyncssh import import_known_hosts

        pattern = to.address if to.port == 22 else f"[{to.address}]:{to.port}"
        return import_known_hosts(f"{pattern} {to.host_key.strip()}\n")
    path = Path(to.known_hosts).expanduser()
    if not path.is_file():
        raise AccessRefused(f"{to.name}: there is neither host_key nor a file {path}; set host_key to its public key")
    return str(path)


class _ConnectionLoop:
    """The event loop of all connections, in a thread, so that keepalives continue between commands."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._event_loop: asyncio.AbstractEventLoop | None = None

    def __call__(self) -> asyncio.AbstractEventLoop:
        with self._lock:  # operations on several hosts start at the same time
            if self._event_loop is None:
                self._event_loop = asyncio.new_event_loop()
                threading.Thread(target=self._event_loop.run_forever, daemon=True, name="ssh").start()
            return self._event_loop


_loop = _ConnectionLoop()


def _script_name(script: str) -> str:
    """Returns the script's first line as its name; it contains neither arguments nor input."""
    lines = [line.strip() for line in script.strip().splitlines() if line.strip() and not line.strip().startswith("#")]
    return f"`{lines[0][:80]}`" if lines else "nothing"


def _output_tail(result: CommandResult, secret: bool) -> str:
    lines = [] if secret else (result.error.strip() or result.output.strip()).splitlines()[-SHOWN_LINES:]
    return "".join(f"\n    {line}" for line in lines)


def _decode(data: Any) -> str:
    return data.decode(errors="replace") if isinstance(data, bytes) else str(data or "")


def _error_line(error: BaseException) -> str:
    return " ".join(str(error).split())[:200] or type(error).__name__
