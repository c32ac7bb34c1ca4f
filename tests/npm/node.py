"""Packages of npm that tests drive, installed as a lock file says, at their first use, in the cache."""

from __future__ import annotations

import hashlib
import shutil
import subprocess
from pathlib import Path

import pytest

from tools import cache
from tools.report import say

INSTALL_S = 300
SOURCES = Path(__file__).parent
"""Has a folder with a lock file for each server and browser of the tests."""


def program(name: str) -> str:
    """Returns the path of `node` or `npm`; the test is skipped on a machine without it."""
    found = shutil.which(name)
    if not found:
        pytest.skip(f"{name} is not installed: apt-get install nodejs npm")
    return found


def packages(source: Path) -> Path:
    """Returns a copy of the folder `source` in which the packages of its `package-lock.json` are installed."""
    npm = program("npm")
    lock = source / "package-lock.json"
    folder = cache.root() / source.name / hashlib.sha256(lock.read_bytes()).hexdigest()[:16]
    if (folder / "whole").is_file():
        return folder
    with cache.lock(source.name):
        if not (folder / "whole").is_file():
            say(f"{source.name}: installing packages by npm")
            shutil.rmtree(folder, ignore_errors=True)
            folder.mkdir(parents=True)
            for name in (".npmrc", "package.json", "package-lock.json"):
                shutil.copy(source / name, folder)
            install = [npm, "ci", "--ignore-scripts", "--no-audit", "--no-fund", "--silent"]
            subprocess.run(install, cwd=folder, check=True, stdin=subprocess.DEVNULL, timeout=INSTALL_S)
            (folder / "whole").touch()
    return folder
