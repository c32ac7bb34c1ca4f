"""The sources of the page in a folder with their locked packages, in which they are checked and built."""

from __future__ import annotations

import shutil
import subprocess
from pathlib import Path

from tests.npm import node

ROOT = Path(__file__).parents[3]
UI = ROOT / "ui"
ASSETS = ROOT / "serving" / "page" / "assets"
RUN_S = 300


def copied(folder: Path) -> Path:
    """Copies the sources; the test is skipped on a machine without Node."""
    place = folder / "ui"
    shutil.copytree(UI, place, ignore=shutil.ignore_patterns("node_modules", ".tests"))
    (place / "node_modules").symlink_to(node.packages(UI) / "node_modules")
    return place


def run(place: Path, *command: str) -> str:
    """Runs a program of Node there, and returns what it says; fails with that."""
    done = subprocess.run(
        [node.program("node"), *command],
        cwd=place,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        timeout=RUN_S,
    )
    assert done.returncode == 0, done.stdout[-6000:]
    return done.stdout
