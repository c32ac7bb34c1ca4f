"""What an app's process has left of the rights of its user."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[3]


def run_confined(folder: Path, code: str) -> list[str]:
    """Returns what a program prints in an app's place."""
    source, scratch = folder / "app", folder / "scratch"
    source.mkdir()
    scratch.mkdir()
    (source / "probe.py").write_text(code)
    confined = [
        sys.executable,
        "-m",
        "serving.engines.apps.confinement",
        sys.executable,
        str(source),
        str(scratch),
        sys.prefix,
    ]
    inherited = {**os.environ, "PYTHONPATH": str(ROOT)}
    done = subprocess.run(
        [*confined, str(source / "probe.py")], env=inherited, capture_output=True, text=True, check=False
    )
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
    assert run_confined(tmp_path, code) == [*sets, "NoNewPrivs: 1"]


def test_calls_that_landlock_does_not_guard_are_rejected(tmp_path: Path) -> None:
    outside = tmp_path / "outside"
    outside.touch(0o600)
    os.utime(outside, (1, 1))
    code = f"""
import asyncio, ctypes, errno, os, shutil, socket, subprocess, sys
def attempt(call, *arguments):
    try:
        call(*arguments)
        print("done")
    except OSError as e:
        print(errno.errorcode[e.errno])
attempt(socket.socket, socket.AF_UNIX)
attempt(os.setxattr, {str(outside)!r}, "user.a", b"")
libc = ctypes.CDLL(None, use_errno=True)
libc.syscall(425, 1, ctypes.create_string_buffer(200))
print(errno.errorcode[ctypes.get_errno()])
for path in ({str(outside)!r}, sys.executable):
    attempt(os.chmod, path, 0o777)
    attempt(os.chown, path, os.getuid(), os.getgid())
    attempt(os.utime, path, (9, 9))
print("and works:")
scratch = os.environ["TMPDIR"]
attempt(shutil.copy2, __file__, scratch)
attempt(shutil.copytree, os.path.dirname(__file__), scratch + "/all")
attempt(lambda: asyncio.run(asyncio.sleep(0)))
attempt(lambda: [each.close() for each in socket.socketpair()])
attempt(lambda: socket.create_server(("127.0.0.1", 0)).close())
attempt(lambda: subprocess.run([sys.executable, "-c", ""], check=True))
"""
    before = outside.stat()
    said = run_confined(tmp_path, code)
    assert said == ["EPERM", "ENOTSUP", "ENOSYS", *["done"] * 6, "and works:", *["done"] * 6]
    after = outside.stat()
    assert (after.st_mode, after.st_mtime, after.st_ctime_ns) == (before.st_mode, 1, before.st_ctime_ns)
