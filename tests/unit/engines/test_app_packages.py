"""Apps' files on a node: made once, kept while a replica runs from them, removed long after."""

from __future__ import annotations

import os
import time
from pathlib import Path

import pytest

from serving.engines.apps import packages


def test_packages_in_use_are_never_removed(tmp_path: Path) -> None:
    used, unused = tmp_path / "packages-used", tmp_path / "packages-unused"
    filled: list[Path] = []
    locks = [packages._lock_whole(folder, filled.append) for folder in (used, unused, used)]
    assert filled == [used, unused], "two share one"
    locks[1].close()
    old = time.time() - packages.UNUSED_S - 1
    for folder in (used, unused):
        os.utime(folder / ".whole", (old, old))
    packages._remove_unused(tmp_path)
    assert (used.exists(), unused.exists()) == (True, False)
    for lock in locks:
        lock.close()
    packages._remove_unused(tmp_path)
    assert not used.exists()


def test_a_failed_installation_is_repeated(tmp_path: Path) -> None:
    def fails(folder: Path) -> None:
        (folder / "half").touch()
        raise packages.InstallError

    with pytest.raises(packages.InstallError):
        packages._lock_whole(tmp_path / "packages-x", fails)
    packages._lock_whole(tmp_path / "packages-x", lambda folder: (folder / "done").touch()).close()
    assert {path.name for path in (tmp_path / "packages-x").iterdir()} == {"done", ".whole"}
