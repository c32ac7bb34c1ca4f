"""The test cluster as the processes of one session share it, some tests of which have it for themselves."""

from __future__ import annotations

import fcntl
import json
import os
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import IO

from tests.cluster.listing import differences, listings
from tests.cluster.residue import Residue
from tools.cluster import cluster as life
from tools.cluster.layout import BEFORE, FOLDER, NODES
from tools.machines import host

SESSION = os.environ.get("PYTEST_XDIST_TESTRUNUID", str(os.getpid()))
"""The same in each process of a session."""
KEPT = "kept"
"""The session of a cluster that shall outlive its tests."""
_KEEPS = os.environ.get("HEADRACE_TEST_CLUSTER") == "keep"


class Turn:
    """This process's place among those of the checkout that use the cluster, as a lock that ends with the process."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._file: IO[str] | None = None
        self._alone = False

    def share(self) -> None:
        """Waits until nobody has the cluster for himself; a process that has it lets others in."""
        self._lock(fcntl.LOCK_SH)

    def alone(self) -> None:
        """Waits until nobody else uses the cluster, and keeps others out."""
        if not self._alone:
            self._lock(fcntl.LOCK_EX)
            self._alone = True

    def join(self) -> None:
        """Uses the cluster from now on: as before, or else with others."""
        if self._file is None:
            self.share()

    def leave(self) -> bool:
        """Uses it no more; returns whether nobody else does, and then keeps others out until `close`."""
        assert self._file is not None
        self._lock(fcntl.LOCK_UN)
        with suppress(BlockingIOError):
            self._lock(fcntl.LOCK_EX | fcntl.LOCK_NB)
            return True
        return False

    def close(self) -> None:
        """Lets others in."""
        if self._file is not None:
            self._file.close()
            self._file = None
            self._alone = False

    def _lock(self, how: int) -> None:
        if self._file is None:
            self._path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
            self._file = self._path.open("w")
        fcntl.flock(self._file, how)
        self._alone = False


USERS = FOLDER.parent / "cluster-users"
TURN = Turn(USERS)


@dataclass(frozen=True)
class Before:
    """What was there before the tests of a session made the cluster: in each machine, and on this host."""

    session: str
    machines: Mapping[str, frozenset[str]]
    residue: Residue

    def write(self) -> None:
        machines = {name: sorted(found) for name, found in self.machines.items()}
        BEFORE.write_text(json.dumps([self.session, machines, self.residue.lists()]))

    @classmethod
    def read(cls) -> Before | None:
        """Returns None where the cluster was made by hand."""
        try:
            session, machines, residue = json.loads(BEFORE.read_text())
        except FileNotFoundError:
            return None
        return cls(session, {name: frozenset(found) for name, found in machines.items()}, Residue.of_lists(residue))


@contextmanager
def session_cluster() -> Iterator[Mapping[str, frozenset[str]]]:
    """The cluster: one that runs is used, else one is brought up; yields what each machine was before.

    The last process of the session that made the cluster ends it, unless HEADRACE_TEST_CLUSTER is `keep`.
    """
    host.check()
    TURN.join()
    residue = Residue.now()
    try:
        life.up(booted=lambda: Before(KEPT if _KEEPS else SESSION, listings(NODES), residue).write())
        before = Before.read()
        yield before.machines if before else {}
    except BaseException:
        if TURN.leave() and _is_ours():
            life.down()
        TURN.close()
        raise
    try:
        if TURN.leave() and _is_ours():
            _end()
    finally:
        TURN.close()


def _is_ours() -> bool:
    """Whether this session ends the cluster."""
    if _KEEPS:
        return False
    before = Before.read()
    # Without a record the machines have not had their images yet: `up` failed before.
    return before.session == SESSION if before else not life.running()


def _end() -> None:
    """Destroys the stack, which leaves the machines as they were, and ends them, which leaves this host as it was."""
    before = Before.read()
    assert before
    try:
        life.onprem_stack().destroy()
        left = {node.name: differences(node, before.machines) for node in NODES}
        assert left == {node.name: ([], []) for node in NODES}, f"the stack left machines changed: {left}"
    finally:
        life.down()
    assert Residue.now() - before.residue == Residue(), "ending the cluster left something behind"
