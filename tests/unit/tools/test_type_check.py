"""The cache of mypy that checkouts share: what is reused, what is not, and runs at the same time."""

from __future__ import annotations

import os
import threading
from pathlib import Path

import pytest

from tools import cache, type_check

SECOND = 1_700_000_000


@pytest.fixture
def checkout(tmp_path: Path) -> Path:
    """A checkout with one source, which was written at a whole second."""
    root = tmp_path / "checkout"
    (root / "serving").mkdir(parents=True)
    (root / "requirements").mkdir()
    (root / "requirements" / "dev.txt").write_text("mypy==1\n")
    write(root, "x = 1\n")
    return root


def write(root: Path, text: str, at: float = SECOND) -> None:
    file = root / "serving" / "module.py"
    file.write_text(text)
    os.utime(file, (at, at))


class Mypy:
    """Stands in for mypy: notes what its cache contains, and adds `writes` to it."""

    def __init__(self, writes: str, status: int = 0) -> None:
        self.writes = writes
        self.status = status
        self.found: str | None = None

    def __call__(self, work: Path) -> int:
        entry = work / "cache.db"
        self.found = entry.read_text() if entry.exists() else None
        entry.write_text(self.writes)
        return self.status


def found(checkout: Path) -> str | None:
    """Returns what a further run finds in its cache."""
    mypy = Mypy("further")
    type_check.check(checkout, mypy)
    return mypy.found


def test_the_first_run_starts_with_an_empty_cache(cache_root: Path, checkout: Path) -> None:
    assert found(checkout) is None


@pytest.mark.parametrize("status", [0, 1])
def test_a_run_continues_with_the_cache_of_the_run_before(cache_root: Path, checkout: Path, status: int) -> None:
    assert type_check.check(checkout, Mypy("first", status)) == status
    assert found(checkout) == "first"


def test_the_cache_of_a_crashed_run_is_not_shared(cache_root: Path, checkout: Path) -> None:
    type_check.check(checkout, Mypy("first"))
    assert type_check.check(checkout, Mypy("crashed", status=2)) == 2
    assert found(checkout) == "first"


def test_another_checkout_shares_the_cache(cache_root: Path, checkout: Path, tmp_path: Path) -> None:
    type_check.check(checkout, Mypy("first"))
    other = checkout.rename(tmp_path / "other")
    write(other, "y = 2\n")  # mypy hashes it, since its path is another one
    assert found(other) == "first"


@pytest.mark.parametrize(("text", "at"), [("x = 10\n", SECOND), ("y = 2\n", SECOND + 1), ("x = 1\n", SECOND + 1)])
def test_a_change_that_mypy_notices_keeps_the_cache(cache_root: Path, checkout: Path, text: str, at: float) -> None:
    type_check.check(checkout, Mypy("first"))
    write(checkout, text, at)
    assert found(checkout) == "first"


def test_a_change_that_mypy_would_overlook_discards_the_cache(cache_root: Path, checkout: Path) -> None:
    type_check.check(checkout, Mypy("first"))
    write(checkout, "y = 2\n", SECOND + 0.5)  # of the same length, in the same second
    assert found(checkout) is None


@pytest.mark.parametrize("sources", [None, "{", "[]", '{"FILE": 1}'])
def test_a_cache_without_a_description_of_its_sources_is_discarded(
    cache_root: Path, checkout: Path, sources: str | None
) -> None:
    type_check.check(checkout, Mypy("first"))
    file = type_check.folder(checkout) / type_check.SOURCES
    if sources is None:
        file.unlink()
    else:
        file.write_text(sources.replace("FILE", str(checkout / "serving" / "module.py")))
    assert found(checkout) is None


def test_other_packages_have_another_cache(cache_root: Path, checkout: Path) -> None:
    type_check.check(checkout, Mypy("first"))
    (checkout / "requirements" / "dev.txt").write_text("mypy==2\n")
    assert found(checkout) is None


def test_two_runs_at_once_do_not_share_a_folder(cache_root: Path, checkout: Path) -> None:
    type_check.check(checkout, Mypy("before"))
    both = threading.Barrier(2, timeout=120)
    folders: list[Path] = []
    seen: list[str] = []

    def mypy(work: Path) -> int:
        folders.append(work)
        seen.append((work / "cache.db").read_text())
        both.wait()  # each has begun before the other ends
        (work / "cache.db").write_text(work.name)
        return 0

    runs = [threading.Thread(target=type_check.check, args=(checkout, mypy)) for _ in range(2)]
    for run in runs:
        run.start()
    for run in runs:
        run.join(20)
    assert seen == ["before", "before"]
    assert len(set(folders)) == 2
    assert found(checkout) in {each.name for each in folders}, "the last one to end is kept"


def test_nothing_is_left_beside_the_shared_cache(cache_root: Path, checkout: Path) -> None:
    def interrupted(work: Path) -> int:
        raise KeyboardInterrupt

    type_check.check(checkout, Mypy("first"))
    with pytest.raises(KeyboardInterrupt):
        type_check.check(checkout, interrupted)
    shared = type_check.folder(checkout)
    assert list(shared.parent.iterdir()) == [shared]


def test_only_old_copies_of_killed_runs_are_deleted(cache_root: Path, checkout: Path) -> None:
    parent = cache.root() / "mypy"
    old, new = parent / ".run-old", parent / ".run-new"
    for leftover in (old, new):
        leftover.mkdir(parents=True)
    os.utime(old, (SECOND, SECOND))
    type_check.check(checkout, Mypy("first"))
    assert (old.exists(), new.exists()) == (False, True)
