"""Programs of pods end when they are asked to, and not only when their grace period is over."""

from __future__ import annotations

import signal
import subprocess
import sys
from pathlib import Path

import pytest


def commands(folder: Path, nobody: str) -> dict[str, list[str]]:
    (folder / "key").write_text("a key")
    (folder / "documents").mkdir()
    (folder / "documents" / "one.md").write_text("One.")
    what = ["--collection=c", f"--documents={folder / 'documents'}", f"--key={folder / 'key'}"]
    return {
        "serving.store": ["wait", f"--database=postgresql://headrace@{nobody}/headrace", f"--data={folder}"],
        "serving.ingest": [f"--url=http://{nobody}", *what],
    }


@pytest.mark.parametrize("prefix", [(), ("sh", "-c", "trap '' INT; exec \"$@\"", "sh")], ids=["plain", "background"])
@pytest.mark.parametrize("module", ["serving.store", "serving.ingest"])
def test_waiting_programs_stop_on_sigterm(
    module: str, prefix: tuple[str, ...], tmp_path: Path, closed_port: int
) -> None:
    """Also where Ctrl-C is ignored, as a shell does it for jobs in its background."""
    process = subprocess.Popen(
        [*prefix, sys.executable, "-m", module, *commands(tmp_path, f"127.0.0.1:{closed_port}")[module]],
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )
    try:
        assert process.stdout is not None
        assert "waiting" in process.stdout.readline()
        process.send_signal(signal.SIGTERM)
        said, _ = process.communicate(timeout=60)
        assert (process.returncode, "error: interrupted" in said) == (1, True), said
    finally:
        process.kill()
        process.wait()
