"""TCP ports of this host: who has one, and a block of free ones."""

from __future__ import annotations

import errno
import socket
from collections.abc import Collection, Iterable

import psutil


def is_free(port: int, host: str = "") -> bool:
    """True when a server could listen on `port` of `host` (all interfaces by default)."""
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


def holder(port: int) -> psutil.Process | None:
    """The process that listens on `port`, as far as this user may see it."""
    for c in psutil.net_connections("tcp"):
        if c.status == psutil.CONN_LISTEN and c.laddr and c.laddr[1] == port and c.pid is not None:
            try:
                return psutil.Process(c.pid)
            except psutil.NoSuchProcess:
                return None
    return None


def taken(port: int, own: Collection[int]) -> str | None:
    """Says who has `port`, or None when it is free or held by one of the processes `own`."""
    if is_free(port):
        return None
    process = holder(port)
    if process is None:
        return "another process"
    if process.pid in own:
        return None
    try:
        return f"{process.name()} (process {process.pid})"
    except psutil.Error:
        return f"process {process.pid}"


def free_block(size: int, bases: Iterable[int]) -> int | None:
    """The first of `bases` from which `size` ports in a row are free on every interface."""
    return next((base for base in bases if all(is_free(base + i) for i in range(size))), None)
