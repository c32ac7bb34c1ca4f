"""The folder of this checkout's machines, and its lock."""

import fcntl
from collections.abc import Iterator
from contextlib import contextmanager

from infra.layout import CHECKOUT

FOLDER = CHECKOUT / ".headrace/machines"


@contextmanager
def locked() -> Iterator[None]:
    """Locks what all machines share while it is checked and created."""
    FOLDER.mkdir(mode=0o700, parents=True, exist_ok=True)
    with (FOLDER / "lock").open("w") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        yield
