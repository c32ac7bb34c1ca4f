"""A host over SSH: its key is checked, errors say what to do, and what is secret stays out of commands."""

from __future__ import annotations

import asyncio
import concurrent.futures
import threading
from pathlib import Path
from typing import Any

import pytest

from infra.onprem import ssh
from infra.onprem.ssh import AccessRefused, CommandFailed, ConnectionLost, HostUnreachable
from infra.resources.problem import Interrupted
from infra.resources.resource import Task
from tests.replace import replace


def test_a_script_gets_arguments_and_input_as_they_are(server: Any) -> None:
    awkward = 'it\'s $HOME; "quoted" & `cut` \\ * \n last'
    with server.remote() as host:
        assert host.run('printf %s "$1"', awkward).output == awkward
        assert host.output("cat", input="a\nb\n") == "a\nb"
        assert host.run("cat", input=server.folder / "user.pub").output == (server.folder / "user.pub").read_text()
        assert host.output("cat", input="", timeout_s=60, again=False) == ""
        assert not host.succeeds("exit 3")


def test_a_failed_script_reports_its_output(server: Any) -> None:
    with server.remote() as host:
        with pytest.raises(CommandFailed, match=r"h1: `ls \"\$1\"` failed with status 2\n.*cannot access '/absent'"):
            host.run('ls "$1"', "/absent")
        with pytest.raises(CommandFailed) as e:
            host.run("echo hunter2 >&2; exit 1", what="it", secret=True)
    assert str(e.value) == "h1: it failed with status 1"


def test_input_is_in_no_command(server: Any) -> None:
    with server.remote() as host:
        host.run("cat >/dev/null", input="hunter2")
    assert "hunter2" not in "".join(server.commands)


def test_another_host_at_the_address_is_refused(server: Any) -> None:
    stranger = (server.folder / "stranger.pub").read_text()
    with pytest.raises(AccessRefused, match=r"h1: the host key at 127\.0\.0\.1 differs from"):
        server.remote(host_key=stranger).connect()
    assert not server.commands


def test_a_host_without_a_known_key_is_not_trusted(server: Any, tmp_path: Path) -> None:
    with pytest.raises(AccessRefused, match="there is neither host_key nor a file"):
        server.remote(host_key="", known_hosts=str(tmp_path / "absent")).connect()
    empty = tmp_path / "known_hosts"
    empty.touch()
    with pytest.raises(AccessRefused, match="differs from"):
        server.remote(host_key="", known_hosts=str(empty)).connect()


def test_a_known_hosts_file_is_enough(server: Any, tmp_path: Path) -> None:
    known = tmp_path / "known_hosts"
    known.write_text(f"[127.0.0.1]:{server.port} {(server.folder / 'host.pub').read_text()}")
    with server.remote(host_key="", known_hosts=str(known)) as host:
        assert host.succeeds("true")


def test_a_key_that_the_host_does_not_accept(server: Any) -> None:
    with pytest.raises(AccessRefused, match=r"does not accept the key of .*stranger;\s.*authorized_keys of root"):
        server.remote(key_file=str(server.folder / "stranger")).connect()


def test_a_missing_key_file_is_reported(server: Any) -> None:
    with pytest.raises(AccessRefused, match="absent"):
        server.remote(key_file=str(server.folder / "absent")).connect()


def test_an_unreachable_host_is_reported(server: Any, closed_port: int) -> None:
    with pytest.raises(HostUnreachable, match=r"h1: cannot reach root@127\.0\.0\.1:\d+: .*; is it on"):
        server.remote(port=closed_port).connect()


def test_a_user_without_sudo_is_told_how_to_allow_it(server: Any) -> None:
    with pytest.raises(AccessRefused, match="ann cannot use sudo without a password; add `ann ALL="):
        server.remote(user="ann").connect()


def test_a_lost_connection_is_restored_if_safe(server: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    with server.remote() as host:
        server.cut = 1
        assert host.output("echo done") == "done"
        assert len(server.commands) == 2
        assert server.said == ["h1: connection lost; trying again"]
        server.cut = 1
        with pytest.raises(ConnectionLost, match="h1: connection lost during kubeadm init"):
            host.run("true", again=False, what="kubeadm init")
        monkeypatch.setattr(ssh, "RECONNECT_S", 0)
        server.cut = 2
        with pytest.raises(ConnectionLost):
            host.run("true")


def test_endless_commands_time_out(server: Any) -> None:
    with server.remote() as host, pytest.raises(ConnectionLost, match=r"timed out after 0\.5 s"):
        host.run("sleep 60", timeout_s=0.5, again=False)


class Late:
    """A future whose result is there just when the time to wait for it is over."""

    def __init__(self, future: concurrent.futures.Future[Any]) -> None:
        self._future = future
        self.done, self.cancel = future.done, future.cancel

    def result(self, timeout: float | None = None) -> Any:
        found = self._future.result()
        if timeout is None:
            return found
        raise concurrent.futures.TimeoutError


def test_output_at_the_last_moment_is_read(server: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    begin = asyncio.run_coroutine_threadsafe
    replace(monkeypatch, ssh, asyncio, run_coroutine_threadsafe=lambda work, loop: Late(begin(work, loop)))
    with server.remote() as host:
        assert host.output("echo there") == "there"


def test_the_operator_can_interrupt_a_command(server: Any) -> None:
    cancelled = threading.Event()
    remote = server.remote()
    remote.task = Task(server.said.append, cancelled)
    with remote as host, pytest.raises(Interrupted):
        threading.Timer(0.3, cancelled.set).start()
        host.run("sleep 60")
