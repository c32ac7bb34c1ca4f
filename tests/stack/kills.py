"""Kills processes of a stack under load, by their process ids, and sees the alerts that this must fire."""

from __future__ import annotations

import os
import signal
import time
from collections.abc import Iterable

from tests.stack.life import named
from tests.stack.watch import Watch
from tests.stacks.load import Load
from tests.stacks.stack import Stack
from tests.wait import eventually

AGENT = "ray::DashboardAgent"
"""Gives Prometheus Ray's metrics, and goes on with that for a minute after Ray has ended: no test waits for it."""
GOES_ON_S = 4
"""How long the load goes on after a kill, at least."""


def kill_under_load(stack: Stack, watch: Watch, record: str, titles: Iterable[str], alerts: Iterable[str]) -> Load:
    """Kills one process of each title, and waits until `alerts` have fired for that; returns the load, ended."""
    pids = {title: named(stack, record, title) for title in titles}
    assert all(pids.values()), f"there is no {' or no '.join(title for title in pids if not pids[title])}"
    with Load(stack) as load:
        eventually(lambda: load.complete, "the load works", 120)
        watch.quiet(alerts)
        since, until = time.time(), time.monotonic() + GOES_ON_S
        for pid, *_ in pids.values():
            os.kill(pid, signal.SIGKILL)
        watch.fire(alerts, since)
        time.sleep(max(0, until - time.monotonic()))
    return load
