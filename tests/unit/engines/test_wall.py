"""What an app's process has left of the rights of its user."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[3]


def behind_the_wall(folder: Path, code: str) -> list[str]:
    """Returns what a program prints in an app's place."""
    source, scratch = folder / "app", folder / "scratch"
    source.mkdir()
    scratch.mkdir()
    (source / "probe.py").write_text(code)
    wall = [sys.executable, "-m", "serving.engines.apps.wall", sys.executable, str(source), str(scratch), sys.prefix]
    inherited = {**os.environ, "PYTHONPATH": str(ROOT)}
    done = subprocess.run([*wall, str(source / "probe.py")], env=inherited, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    return done.stdout.splitlines()


@pytest.mark.skipif(os.geteuid() != 0, reason="only root has capabilities")
def test_root_keeps_no_capabilities(tmp_path: Path) -> None:
    code = """
for line in open("/proc/self/status"):
    if line.startswith(("Cap", "NoNewPrivs")):
        print(*line.split())
"""
    nothing = "0" * 16
    sets = [f"Cap{name}: {nothing}" for name in ("Inh", "Prm", "Eff", "Bnd", "Amb")]
    assert behind_the_wall(tmp_path, code) == [*sets, "NoNewPrivs: 1"]
