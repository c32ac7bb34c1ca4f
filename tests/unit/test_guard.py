"""A unit test that reaches out of its process fails."""

from __future__ import annotations

import asyncio
import socket
import subprocess
import sys
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

import pytest

from tests.unit.guard import GUARD, Reached


def bind() -> None:
    with socket.socket() as one:
        one.bind(("127.0.0.1", 0))


def connect() -> None:
    socket.create_connection(("127.0.0.1", 9), timeout=1)


def connect_by_6() -> None:
    with socket.socket(socket.AF_INET6) as one:
        one.connect(("::1", 9))


def datagram() -> None:
    with socket.socket(type=socket.SOCK_DGRAM) as one:
        one.connect(("127.0.0.1", 9))


def listen() -> None:
    async def serve() -> None:
        await asyncio.start_server(lambda reader, writer: None, "127.0.0.1", 0)

    asyncio.run(serve())


def database() -> None:
    subprocess.run(["/usr/lib/postgresql/17/bin/postgres", "--version"], check=False)


@pytest.mark.parametrize("reach", [bind, connect, connect_by_6, datagram, listen, database])
def test_forbidden_operations_are_blocked(reach: Callable[[], None]) -> None:
    with pytest.raises(Reached, match="tests/contract"), GUARD.watching(), pytest.raises(Reached):
        reach()


def test_caught_violations_still_fail_the_test() -> None:
    with pytest.raises(Reached, match=r"bind \('127.0.0.1', 0\)"), GUARD.watching(), suppress(AssertionError):
        bind()


def test_permitted_operations_work(tmp_path: Path) -> None:
    """An event loop, a socket of this host's files, and a process."""

    async def nothing() -> None:
        await asyncio.sleep(0)

    asyncio.run(nothing())
    with socket.socket(socket.AF_UNIX) as one:
        one.bind(str(tmp_path / "socket"))
    assert subprocess.check_output([sys.executable, "-c", "print(1)"]) == b"1\n"
