"""How processes share the test cluster: who waits for whom, and who is the last. Two locks stand for two processes."""

from __future__ import annotations

import fcntl
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.cluster.session import Turn


@pytest.fixture
def lock(tmp_path: Path) -> Path:
    return tmp_path / "site" / "lock"


@pytest.fixture
def one(lock: Path) -> Iterator[Turn]:
    turn = Turn(lock)
    yield turn
    turn.close()


@pytest.fixture
def other(lock: Path) -> Iterator[Turn]:
    turn = Turn(lock)
    yield turn
    turn.close()


def waits(how: int, lock: Path) -> bool:
    """Whether a third process would wait for such a lock."""
    with lock.open("w") as file:
        try:
            fcntl.flock(file, how | fcntl.LOCK_NB)
        except BlockingIOError:
            return True
        return False


def test_others_wait_until_the_last_test_that_is_alone_lets_them_in(one: Turn, lock: Path) -> None:
    one.alone()
    one.join()  # by the fixture of the same test
    assert waits(fcntl.LOCK_SH, lock)
    one.alone()  # by the next test
    assert waits(fcntl.LOCK_SH, lock)
    one.share()
    assert not waits(fcntl.LOCK_SH, lock)
    assert waits(fcntl.LOCK_EX, lock)


def test_the_last_one_ends_the_cluster_and_keeps_others_out_meanwhile(one: Turn, other: Turn, lock: Path) -> None:
    one.join()
    other.join()
    assert not one.leave()
    one.close()
    assert other.leave()
    assert waits(fcntl.LOCK_SH, lock)
    other.close()
    assert not waits(fcntl.LOCK_EX, lock)
