"""Lets processes of pytest-xdist end what they have started when a run is interrupted.

pytest-xdist itself gives them ten seconds, and execnet fifteen, before they are killed. A stack, a cluster and the
servers of fixtures take longer to end, and would stay.
"""

from __future__ import annotations

from contextlib import suppress

import pytest

LIMIT_S = 900
"""More than any fixture takes to end."""


@pytest.hookimpl(tryfirst=True)  # before pytest-xdist's own, which ends its processes
def pytest_sessionfinish(session: pytest.Session) -> None:
    """After an interruption, waits for processes that still tear fixtures down; a further one ends the wait."""
    distributed = session.config.pluginmanager.getplugin("dsession")
    manager = getattr(distributed, "nodemanager", None)  # not there if the session failed before
    if manager is None or session.exitstatus != pytest.ExitCode.INTERRUPTED:
        return
    print("\nwaiting until the tests' processes have ended what they started; interrupt to stop at once")
    with suppress(KeyboardInterrupt):
        for gateway in manager.group:
            with suppress(gateway.node.channel.RemoteError, EOFError, OSError):
                gateway.node.channel.waitclose(LIMIT_S)
