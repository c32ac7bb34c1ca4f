"""Packs the chart and pushes it into a registry."""

from __future__ import annotations

import re
import subprocess
from pathlib import Path

from tools.binaries import find
from tools.report import ToolError

NAME = "headrace"

_SAVED = re.compile(r"saved it to: (.+\.tgz)$", re.MULTILINE)
_DIGEST = re.compile(r"^Digest: (sha256:[0-9a-f]{64})$", re.MULTILINE)


def pack(root: Path, folder: Path) -> Path:
    """Writes the chart's archive into a folder and returns it.

    Raises:
        ToolError: Helm cannot be had or does not pack it.
    """
    said = _helm("package", str(root / "charts" / NAME), "--destination", str(folder))
    if (saved := _SAVED.search(said)) is None:
        raise ToolError(f"helm package does not say what it wrote: {said.strip()}")
    return Path(saved[1])


def push(archive: Path, folder: str) -> str:
    """Pushes a chart's archive into a folder of a registry; returns its reference, which ends with its digest.

    Raises:
        ToolError: Helm cannot push it, or does not say its digest.
    """
    said = _helm("push", str(archive), f"oci://{folder}")
    if (digest := _DIGEST.search(said)) is None:
        raise ToolError(f"helm push does not say the chart's digest: {said.strip()}")
    return f"{folder}/{NAME}@{digest[1]}"


def _helm(*arguments: str) -> str:
    """Returns what Helm prints; a digest goes to one stream or the other, as its version has it."""
    command = [str(find.ensure(["helm"])["helm"]), *arguments]
    done = subprocess.run(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
    if done.returncode:
        raise ToolError(f"helm {arguments[0]} failed: {done.stdout.strip()}")
    return done.stdout
