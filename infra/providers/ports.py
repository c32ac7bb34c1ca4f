"""TCP ports of this host: which process uses one, and blocks of free ones."""

from __future__ import annotations

import errno
import socket
from collections.abc import Collection, Iterable

import psutil


def is_free(port: int, host: str = "") -> bool:
    """Returns whether a server could listen on `port` of `host` (default: all interfaces)."""
    with socket.socket(socket.AF_INET, socket.SOCK_STREAM) as s:
        s.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            s.bind((host, port))
            s.listen(1)
        except OSError as e:
            if e.errno in (errno.EADDRINUSE, errno.EACCES):
                return False
            raise
    return True


def listener(port: int) -> psutil.Process | None:
    """Returns the process that listens on `port`; None if this user cannot see it."""
    for c in psutil.net_connections("tcp"):
        if c.status == psutil.CONN_LISTEN and c.laddr and c.laddr[1] == port and c.pid is not None:
            try:
                return psutil.Process(c.pid)
            except psutil.NoSuchProcess:
                return None
    return None


def occupant(port: int, own: Collection[int]) -> str | None:
    """Describes the process that uses `port`; None if the port is free, or used by one of the process ids `own`."""
    if is_free(port):
        return None
    process = listener(port)
    if process is None:
        return "another process"
    if process.pid in own:
        return None
    try:
        return f"{process.name()} (process {process.pid})"
    except psutil.Error:
        return f"process {process.pid}"


def free_block(size: int, bases: Iterable[int]) -> int | None:
    """Returns the first of `bases` that starts a block of `size` free ports; None if there is none."""
    return next((base for base in bases if all(is_free(base + i) for i in range(size))), None)
