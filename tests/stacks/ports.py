"""Ports of servers that listen long after their ports were chosen, as whole stacks do.

The kernel gives them to no connection, since they lie outside its ephemeral range; no Ray of a stack chooses them; and
no other tests on this host, of whatever checkout, are given them before this process ends.
"""

from __future__ import annotations

import fcntl
import os
import tempfile
from pathlib import Path

from infra.providers.ports import is_free
from infra.providers.ray_ports import BASES

BLOCK = 16
"""Ports that are locked together."""
RANGE = Path("/proc/sys/net/ipv4/ip_local_port_range")
LINUXS = 32_768, 60_999

_held: list[int] = []
"""File descriptors whose locks end with this process."""


def ephemeral() -> range:
    """The ports that the kernel chooses from."""
    first, last = map(int, RANGE.read_text().split()) if RANGE.exists() else LINUXS
    return range(first, last + 1)


def reserve(count: int) -> list[int]:
    """Returns up to 16 ports that are free, and this process's own to its end."""
    assert count <= BLOCK
    folder = Path(tempfile.gettempdir()) / f"headrace-test-ports-{os.getuid()}"
    folder.mkdir(mode=0o700, exist_ok=True)
    ours = ephemeral()
    for first in range(65_536 - BLOCK, BASES.stop, -BLOCK):
        block = range(first, first + BLOCK)
        if (block[0] in ours or block[-1] in ours) or not _locked(folder / str(first)):
            continue
        if all(is_free(port) for port in block):
            return list(block[:count])
    raise AssertionError(f"{folder}: every block of ports above {BASES.stop} and outside {ours} is taken")


def _locked(file: Path) -> bool:
    descriptor = os.open(file, os.O_CREAT | os.O_RDWR, 0o600)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError:
        os.close(descriptor)
        return False
    _held.append(descriptor)
    return True
